package reading

import (
	"errors"
	"io"
	"strings"
)

// Values cuts a file into JSON objects: one, several one after the other, one a
// line, or the elements of an array. It counts braces outside of strings, so an
// object may go over lines. One that isn't closed ends where the next begins: at a
// line that begins as the object itself began, with the same indentation and, where
// something stood behind the brace, with something behind it; or at a line that can't
// go on with one.
type Values struct {
	Lines
	at   int // lines read so far
	rest string
	held *Line
}

// NewValues cuts objects of at most so many bytes.
func NewValues(r io.Reader, most int) *Values {
	return &Values{Lines: *NewLines(r, most)}
}

// Next gives io.EOF after the last one. What stands between objects, other than
// commas and the brackets of an array, is not JSON.
func (v *Values) Next() (text string, start int, why Fault, err error) {
	for {
		rest := strings.TrimLeft(v.rest, " \t,[]\ufeff")
		if rest == "" {
			l, err := v.take()
			if err != nil {
				return "", 0, Fine, err
			}
			if l.Long {
				return "", v.at, TooLong, nil
			}
			v.rest = l.Text
			continue
		}
		if rest[0] != '{' {
			v.rest = ""
			return "", v.at, NotJSON, nil
		}
		return v.object(rest)
	}
}

func (v *Values) take() (Line, error) {
	if v.held != nil {
		l := *v.held
		v.held = nil
		v.at++
		return l, nil
	}
	l, err := v.Lines.Next()
	if err == nil {
		v.at++
	}
	return l, err
}

// object gathers lines until the braces are even.
func (v *Values) object(text string) (string, int, Fault, error) {
	start := v.at
	indent := v.rest[:len(v.rest)-len(strings.TrimLeft(v.rest, " \t"))]
	compact := len(strings.TrimSpace(text)) > 1
	var whole strings.Builder
	var b braces
	for {
		end, s := b.feed(text)
		switch s {
		case closed:
			whole.WriteString(text[:end])
			v.rest = text[end:]
			return whole.String(), start, Fine, nil
		case broken:
			v.rest = ""
			return "", start, NotJSON, nil
		}
		whole.WriteString(text)
		whole.WriteByte('\n')
		l, err := v.take()
		if errors.Is(err, io.EOF) {
			v.rest = ""
			return "", start, NotJSON, nil
		}
		if err != nil {
			return "", start, Fine, err
		}
		if begins(l.Text, indent, compact) || !continues(l.Text) {
			v.held, v.rest = &l, ""
			v.at--
			return "", start, NotJSON, nil
		}
		if l.Long || whole.Len()+len(l.Text) > v.max {
			return "", start, TooLong, v.skip(indent, compact)
		}
		text = l.Text
	}
}

// skip reads over what is left of an object that is too long.
func (v *Values) skip(indent string, compact bool) error {
	v.rest = ""
	for {
		l, err := v.take()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if begins(l.Text, indent, compact) {
			v.held = &l
			v.at--
			return nil
		}
	}
}

// begins tells whether a line begins an object as one before it did.
func begins(text, indent string, compact bool) bool {
	rest, ok := strings.CutPrefix(text, indent+"{")
	return ok && (!compact || strings.HasPrefix(rest, `"`))
}

// continues tells whether a line may go on with an object: it is blank, or begins with
// what JSON knows (RFC 8259, section 2).
func continues(text string) bool {
	rest := strings.TrimLeft(text, " \t\r")
	if rest == "" || strings.ContainsRune("{}[]:,\"-0123456789", rune(rest[0])) {
		return true
	}
	return strings.HasPrefix(rest, "true") || strings.HasPrefix(rest, "false") || strings.HasPrefix(rest, "null")
}

// braces follows the structure of an object through its text.
type braces struct{ depth int }

// feed goes through a line. It is closed at end, open, or broken: a string doesn't
// go over the end of a line (RFC 8259, section 7).
func (b *braces) feed(s string) (end int, what split) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			b.depth++
		case '}', ']':
			if b.depth--; b.depth == 0 {
				return i + 1, closed
			}
		case '"':
			for i++; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			if i >= len(s) {
				return 0, broken
			}
		}
	}
	return 0, open
}
