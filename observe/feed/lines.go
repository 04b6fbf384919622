package feed

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// line is one line of a file without its end.
type line struct {
	text string
	long bool // longer than allowed: text is empty
	cut  bool // the file ends with it, without an end of line
}

// lines reads lines of bounded length.
type lines struct {
	in  *bufio.Reader
	max int
}

func newLines(r io.Reader, most int) *lines {
	return &lines{in: bufio.NewReaderSize(r, 64<<10), max: most}
}

// next gives io.EOF after the last line. A line that is too long is read over.
func (l *lines) next() (line, error) {
	part, err := l.in.ReadSlice('\n')
	if err == nil { // the usual case: the whole line lies in the buffer
		return l.made(part, len(part) > l.max), nil
	}
	var whole []byte
	long := false
	for {
		if long = long || len(whole)+len(part) > l.max; long {
			whole = nil
		} else {
			whole = append(whole, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
		part, err = l.in.ReadSlice('\n')
	}
	switch {
	case err == nil:
		return l.made(whole, long), nil
	case errors.Is(err, io.EOF) && (long || len(whole) > 0):
		made := l.made(whole, long)
		made.cut = true
		return made, nil
	}
	return line{}, err //nolint:wrapcheck // io.Reader's own contract
}

func (l *lines) made(b []byte, long bool) line {
	if long {
		return line{long: true}
	}
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
	}
	if n > 0 && b[n-1] == '\r' {
		n--
	}
	return line{text: string(b[:n])}
}

// row is a record of a table.
type row struct {
	fields []string // used again by the next row
	raw    string
	line   int // its first
	cut    bool
	why    Reason // fine, or it can't be split
}

// over is over how many lines a quoted field may reach.
const over = 32

// rows reads a table of separated values (RFC 4180). A line that is broken spoils
// no other: a quote that isn't closed is looked for in the next lines, but only a
// record that then has exactly as many fields as the header is taken for one.
type rows struct {
	lines
	comma  byte
	width  int    // fields of the header; 0: not known yet, no record over several lines
	skip   string // what a comment begins with; "" there are none
	at     int    // lines read so far
	ahead  []line // read already
	fields []string
}

// next gives io.EOF after the last row.
func (r *rows) next() (row, error) {
	for {
		l, err := r.take()
		if err != nil {
			return row{}, err
		}
		if l.long {
			return row{line: r.at, why: tooLong}, nil
		}
		if strings.TrimSpace(l.text) == "" || r.skip != "" && strings.HasPrefix(l.text, r.skip) {
			continue
		}
		rw := row{raw: l.text, line: r.at, cut: l.cut}
		var s split
		if rw.fields, s = cutRow(r.fields[:0], l.text, r.comma, false); s != closed && r.width > 0 {
			// Some feeds write \" for a quote. A quote that is missing looks alike,
			// but makes one field of two.
			was := s
			if rw.fields, s = cutRow(r.fields[:0], l.text, r.comma, true); s != closed || len(rw.fields) != r.width {
				if was == open {
					return r.join(rw)
				}
				s = broken
			}
		}
		r.fields = rw.fields
		if s != closed {
			rw.why = badQuote
		}
		return rw, nil
	}
}

// take gives the next line, one that was read ahead first.
func (r *rows) take() (line, error) {
	r.at++
	if len(r.ahead) > 0 {
		l := r.ahead[0]
		r.ahead = r.ahead[1:]
		return l, nil
	}
	return r.lines.next()
}

// join looks whether a row whose quote is open goes on in the next lines.
func (r *rows) join(rw row) (row, error) {
	text := rw.raw
	for i := range over {
		if i == len(r.ahead) {
			l, err := r.lines.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return row{}, err
			}
			r.ahead = append(r.ahead, l)
		}
		l := r.ahead[i]
		if l.long || len(text)+1+len(l.text) > r.max {
			break
		}
		text += "\n" + l.text
		fields, s := cutRow(r.fields[:0], text, r.comma, false)
		r.fields = fields
		if s == closed && len(fields) == r.width {
			r.ahead = r.ahead[i+1:]
			r.at += i + 1
			return row{fields: fields, raw: text, line: rw.line, cut: l.cut}, nil
		}
		if s == broken || len(fields) > r.width {
			break
		}
	}
	rw.why, rw.fields = badQuote, nil
	return rw, nil
}

// split is what became of a line that was cut.
type split uint8

const (
	closed split = iota // well
	open                // something isn't closed at its end
	broken              // it can't be
)

// cutRow appends the fields of a line to dst. A quote inside a field that doesn't
// begin with one stands for itself. With escapes, so does one in a quoted field
// that has a backslash before it.
func cutRow(dst []string, s string, comma byte, escapes bool) ([]string, split) {
	for {
		if s == "" || s[0] != '"' {
			i := strings.IndexByte(s, comma)
			if i < 0 {
				return append(dst, s), closed
			}
			dst, s = append(dst, s[:i]), s[i+1:]
			continue
		}
		s = s[1:]
		end, doubled, escaped := 0, false, false
		for {
			i := strings.IndexByte(s[end:], '"')
			if i < 0 {
				return append(dst, s), open
			}
			end += i
			if escapes && end > 0 && s[end-1] == '\\' {
				end, escaped = end+1, true
				continue
			}
			if end+1 == len(s) || s[end+1] != '"' {
				break
			}
			end, doubled = end+2, true
		}
		f := s[:end]
		if doubled {
			f = strings.ReplaceAll(f, `""`, `"`)
		}
		if escaped {
			f = strings.ReplaceAll(f, `\"`, `"`)
		}
		dst = append(dst, f)
		switch s = s[end+1:]; {
		case s == "":
			return dst, closed
		case s[0] != comma:
			return dst, broken
		}
		s = s[1:]
	}
}
