package access

import (
	"bufio"
	"errors"
	"io"
)

// statement is one of ISC dhcpd's language: words, and what ends them. Words in quotes
// keep their quotes.
type statement struct {
	words []string
	end   byte   // ';', '{' or '}'; 0 when the file ended before
	line  uint64 // that it begins on
	long  bool   // too long: words are missing
}

// The bounds of a statement: none that is read is longer.
const (
	mostWords     = 16
	mostStatement = 8 << 10 // bytes
)

// statements reads a text statement by statement, in bounded memory.
type statements struct {
	r    *bufio.Reader
	line uint64
	word []byte
	size int
	out  statement
}

func newStatements(r io.Reader) *statements {
	return &statements{r: bufio.NewReaderSize(r, maxLine), line: 1}
}

// next is the next statement, which holds until the next call. At the end comes
// io.EOF; words without an end come before it, with end 0.
func (s *statements) next() (*statement, error) {
	s.out = statement{words: s.out.words[:0]}
	s.word, s.size = s.word[:0], 0
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			s.finish()
			if errors.Is(err, io.EOF) && s.out.line != 0 {
				return &s.out, nil
			}
			return nil, err
		}
		if s.out.line == 0 && c > ' ' && c != '#' {
			s.out.line = s.line
		}
		switch c {
		case '\n':
			s.line++
			s.finish()
		case ' ', '\t', '\r':
			s.finish()
		case '#':
			s.finish()
			err = s.comment()
		case '"':
			err = s.quoted()
		case ';', '{', '}':
			s.finish()
			s.out.end = c
			return &s.out, nil
		default:
			s.add(c)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
}

// add takes a byte of a word.
func (s *statements) add(c byte) {
	if s.size++; s.size > mostStatement {
		s.out.long = true
		return
	}
	s.word = append(s.word, c)
}

// finish ends a word.
func (s *statements) finish() {
	switch {
	case len(s.word) == 0:
	case len(s.out.words) == mostWords:
		s.out.long = true
	default:
		s.out.words = append(s.out.words, string(s.word))
	}
	s.word = s.word[:0]
}

// comment passes over the rest of a line.
func (s *statements) comment() error {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return err
		}
		if c == '\n' {
			s.line++
			return nil
		}
	}
}

// quoted reads up to the quote that ends a string. dhcpd writes a line break in one as
// \n: at a bare one the string has lost its end, and the statement with it.
func (s *statements) quoted() error {
	s.add('"')
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return err
		}
		switch c {
		case '\n':
			s.line++
			return nil
		case '"':
			s.add(c)
			return nil
		case '\\':
			s.add(c)
			if c, err = s.r.ReadByte(); err != nil {
				return err
			}
			if c == '\n' {
				s.line++
			}
		}
		s.add(c)
	}
}
