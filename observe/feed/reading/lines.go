package reading

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// Line is one line of a file without its end.
type Line struct {
	Text string
	Long bool // longer than allowed: Text is empty
	Cut  bool // the file ends with it, without an end of line
}

// Lines reads lines of bounded length.
type Lines struct {
	in  *bufio.Reader
	max int
}

// NewLines reads lines of at most so many bytes.
func NewLines(r io.Reader, most int) *Lines {
	return &Lines{in: bufio.NewReaderSize(r, 64<<10), max: most}
}

// Next gives io.EOF after the last line. A line that is too long is read over.
func (l *Lines) Next() (Line, error) {
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
		made.Cut = true
		return made, nil
	}
	return Line{}, err //nolint:wrapcheck // io.Reader's own contract
}

func (l *Lines) made(b []byte, long bool) Line {
	if long {
		return Line{Long: true}
	}
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
	}
	if n > 0 && b[n-1] == '\r' {
		n--
	}
	return Line{Text: string(b[:n])}
}

// Row is a record of a table.
type Row struct {
	Fields []string // used again by the next row
	Raw    string
	Line   int // its first
	Cut    bool
	Why    Fault // Fine, or it can't be split
}

// over is over how many lines a quoted field may reach.
const over = 32

// Rows reads a table of separated values (RFC 4180). A line that is broken spoils
// no other: a quote that isn't closed is looked for in the next lines, but only a
// record that then has exactly as many fields as the header is taken for one.
type Rows struct {
	Lines
	Comma byte
	Width int    // fields of the header; 0: not known yet, no record over several lines
	Skip  string // what a comment begins with; "" there are none
	Blank bool   // blanks before a quote mean nothing: "a", "b"

	at     int    // lines read so far
	ahead  []Line // read already
	fields []string
}

// Next gives io.EOF after the last row.
func (r *Rows) Next() (Row, error) {
	for {
		l, err := r.take()
		if err != nil {
			return Row{}, err
		}
		if l.Long {
			return Row{Line: r.at, Why: TooLong}, nil
		}
		if strings.TrimSpace(l.Text) == "" || r.Skip != "" && strings.HasPrefix(l.Text, r.Skip) {
			continue
		}
		rw := Row{Raw: l.Text, Line: r.at, Cut: l.Cut}
		var s split
		if rw.Fields, s = r.cut(l.Text, false); s != closed && r.Width > 0 {
			// Some feeds write \" for a quote. A quote that is missing looks alike,
			// but makes one field of two.
			was := s
			if rw.Fields, s = r.cut(l.Text, true); s != closed || len(rw.Fields) != r.Width {
				if was == open {
					return r.join(rw)
				}
				s = broken
			}
		}
		r.fields = rw.Fields
		if s != closed {
			rw.Why = Quote
		}
		return rw, nil
	}
}

func (r *Rows) cut(text string, escapes bool) ([]string, split) {
	return cutRow(r.fields[:0], text, r.Comma, escapes, r.Blank)
}

// take gives the next line, one that was read ahead first.
func (r *Rows) take() (Line, error) {
	r.at++
	if len(r.ahead) > 0 {
		l := r.ahead[0]
		r.ahead = r.ahead[1:]
		return l, nil
	}
	return r.Lines.Next()
}

// join looks whether a row whose quote is open goes on in the next lines.
func (r *Rows) join(rw Row) (Row, error) {
	text := rw.Raw
	for i := range over {
		if i == len(r.ahead) {
			l, err := r.Lines.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return Row{}, err
			}
			r.ahead = append(r.ahead, l)
		}
		l := r.ahead[i]
		if l.Long || len(text)+1+len(l.Text) > r.max {
			break
		}
		text += "\n" + l.Text
		fields, s := r.cut(text, false)
		r.fields = fields
		if s == closed && len(fields) == r.Width {
			r.ahead = r.ahead[i+1:]
			r.at += i + 1
			return Row{Fields: fields, Raw: text, Line: rw.Line, Cut: l.Cut}, nil
		}
		if s == broken || len(fields) > r.Width {
			break
		}
	}
	rw.Why, rw.Fields = Quote, nil
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
// that has a backslash before it. With blank, what stands before a field may be blanks.
func cutRow(dst []string, s string, comma byte, escapes, blank bool) ([]string, split) {
	for {
		if blank {
			s = strings.TrimLeft(s, " ")
		}
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
