package indicator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"sakimori/observe/feed/reading"
)

// document walks through JSON without holding more of it than one value at a time. It
// knows the line of what it is at.
type document struct {
	*json.Decoder
	src *source
}

// source counts the lines that went by, and refuses one value that is too long.
type source struct {
	in    io.Reader
	most  int   // bytes that may be read for one value
	left  int   // of these
	read  int64 // bytes in all
	line  int   // of offset at
	ends  []int64
	broke error
}

func (s *source) Read(b []byte) (int, error) {
	if s.left <= 0 {
		s.broke = reading.Damaged(nil, "JSON の一つの値が大きすぎます", "one value of the JSON is too large")
		return 0, s.broke
	}
	n, err := s.in.Read(b[:min(len(b), s.left)])
	for i, c := range b[:n] {
		if c == '\n' {
			s.ends = append(s.ends, s.read+int64(i))
		}
	}
	s.read += int64(n)
	s.left -= n
	if err != nil && !errors.Is(err, io.EOF) {
		s.broke = err
	}
	return n, err //nolint:wrapcheck // io.Reader's own contract
}

func newDocument(r io.Reader, most int) *document {
	s := &source{in: r, most: most, left: most, line: 1}
	return &document{json.NewDecoder(s), s}
}

// line is that of what comes next.
func (d *document) line() int {
	at := d.InputOffset()
	ahead := d.Buffered()
	for b := [1]byte{}; ; at++ { // over what stands before it
		if n, _ := ahead.Read(b[:]); n == 0 || strings.IndexByte(" \t\r\n,:", b[0]) < 0 {
			break
		}
	}
	n := 0
	for n < len(d.src.ends) && d.src.ends[n] < at {
		n++
	}
	d.src.line += n
	d.src.ends = d.src.ends[n:]
	return d.src.line
}

// wrong says what an error of the decoder's means for the whole file: it can't be read
// further.
func (d *document) wrong(err error) error {
	if d.src.broke != nil {
		return d.src.broke
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return reading.Damaged(err, "JSON が途中で終わっています", "the JSON ends too early")
	}
	return reading.Damaged(err, fmt.Sprintf("JSON が壊れています（%d 行目）", d.line()), fmt.Sprintf("the JSON is broken at line %d", d.line()))
}

// token takes one.
func (d *document) token() (json.Token, error) {
	d.src.left = d.src.most
	t, err := d.Token()
	if err != nil {
		return nil, d.wrong(err)
	}
	return t, nil
}

// each goes through the object or array that comes next: do is called at each value,
// with its name or "", and must take it. A value of another kind is passed over.
func (d *document) each(do func(name string) error) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	return d.within(t, do)
}

// within goes on after the token with which a value began.
func (d *document) within(t json.Token, do func(name string) error) error {
	begin, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	for d.More() {
		name := ""
		if begin == '{' {
			t, err := d.token()
			if err != nil {
				return err
			}
			name, _ = t.(string)
		}
		if err := do(name); err != nil {
			return err
		}
	}
	_, err := d.token()
	return err
}

// decode takes the value that comes next. One of the wrong kind is no error of the
// file: ok is false, and the document goes on behind it.
func (d *document) decode(into any) (ok bool, err error) {
	d.src.left = d.src.most
	if err = d.Decode(into); err == nil {
		return true, nil
	}
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		return false, nil
	}
	return false, d.wrong(err)
}

// skip takes the value that comes next and forgets it.
func (d *document) skip() error {
	t, err := d.token()
	if err != nil {
		return err
	}
	return d.within(t, func(string) error { return d.skip() })
}

// text is what a string, a number or nothing says; others are nothing.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	switch {
	case len(b) == 0 || b[0] == 'n' || b[0] == '{' || b[0] == '[':
	case b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err //nolint:wrapcheck // the decoder's own contract
		}
		*t = text(s)
	default: // a number or a truth
		*t = text(b)
	}
	return nil
}

// yes reads true, "true", 1 and "1".
func (t text) yes() bool { return t == "true" || t == "1" }
