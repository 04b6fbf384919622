package syslog

import (
	"bufio"
	"errors"
	"io"
)

// longest message that is read, in bytes. RFC 5425 §4.3.1 asks for 8,192 at most; Cisco
// puts several events into one.
const longest = 64 << 10

// frames cuts a stream into messages: by octet counting or at newlines (RFC 6587 §3.4.1,
// §3.4.2), as each message begins.
type frames struct{ r *bufio.Reader }

func newFrames(r io.Reader) *frames { return &frames{bufio.NewReaderSize(r, longest)} }

// next gives a message, which is good until the next call; empty ones are passed over.
// A message that is too long is passed over too, with errLong.
func (f *frames) next() ([]byte, error) {
	for {
		if n, head := f.octets(); n > 0 {
			return f.counted(n, head)
		}
		b, err := f.r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = f.r.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			return nil, errLong
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case len(b) > 0 && b[0] != '\n' && b[0] != '\r':
			return b, nil // the last line may do without its newline
		case err != nil:
			return nil, err
		}
	}
}

// octets reads a count of octets, "123 <", without taking it. It looks at one byte more at
// a time, so that it never waits for what a shorter message doesn't have.
func (f *frames) octets() (n, head int) {
	for i := 1; i <= 7; i++ {
		b, err := f.r.Peek(i)
		if err != nil {
			return 0, 0
		}
		c := b[i-1]
		switch {
		case c >= '0' && c <= '9' && (i > 1 || c != '0'):
			n = n*10 + int(c-'0')
		case c == ' ' && i > 1:
			b, err = f.r.Peek(i + 1)
			if err != nil || b[i] != '<' {
				return 0, 0
			}
			return n, i
		default:
			return 0, 0
		}
	}
	return 0, 0
}

// counted reads a message of n bytes behind a head. A stream that ends within it gives
// what there is.
func (f *frames) counted(n, head int) ([]byte, error) {
	if _, err := f.r.Discard(head); err != nil {
		return nil, err
	}
	if n > longest {
		if _, err := f.r.Discard(n); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, errLong
	}
	b, err := f.r.Peek(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	_, _ = f.r.Discard(len(b)) // they are there
	return b, nil
}
