package access

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLine is the longest line that is read, in bytes: a Kea lease with the options of
// eight relays has a few thousand.
const maxLine = 64 << 10

// lines reads a text line by line, in bounded memory.
type lines struct {
	r      *bufio.Reader
	number uint64 // of the last line, from 1
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLine)} }

// next is the next line without its end. It holds until the next call. A line that
// is too long is passed over, and long is true. At the end comes io.EOF.
func (l *lines) next() (line []byte, long bool, err error) {
	line, err = l.r.ReadSlice('\n')
	switch {
	case err == nil:
		l.number++
		return bytes.TrimRight(line, "\r\n"), false, nil
	case errors.Is(err, io.EOF) && len(line) > 0:
		l.number++
		return line, false, nil
	case !errors.Is(err, bufio.ErrBufferFull):
		return nil, false, err
	}
	l.number++
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = l.r.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, true, err
	}
	return nil, true, nil
}
