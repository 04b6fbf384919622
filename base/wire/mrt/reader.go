package mrt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader reads the records of a stream one after another. What stands before damage is
// delivered first.
type Reader struct {
	src    io.Reader
	buf    []byte
	at, to int // of buf: what was read and not yet delivered
	offset int64
	ended  error // what the stream ended with
	err    error // what every further Next answers
}

// readSize is how much is read at once. Longer records make the buffer longer.
const readSize = 1 << 20

// Error says where a file can't be read further and why. It wraps io.ErrUnexpectedEOF
// where the file ends within a record, and otherwise the error of the stream beneath, if
// there was one.
type Error struct {
	Offset   int64  // of the bad record, in bytes of the decompressed stream
	Reason   string // English
	ReasonJA string // Japanese
	Err      error
}

// Error is the English sentence.
func (e *Error) Error() string {
	return fmt.Sprintf("MRT unreadable from byte %d: %s", e.Offset, e.Reason)
}

// JA is the Japanese sentence.
func (e *Error) JA() string {
	return fmt.Sprintf("MRT が %d バイト目から読めません: %s", e.Offset, e.ReasonJA)
}

// Unwrap gives what caused it.
func (e *Error) Unwrap() error { return e.Err }

// NewReader reads a stream that isn't compressed.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// Offset is how many bytes of the stream were delivered as records.
func (r *Reader) Offset() int64 { return r.offset }

// Next reads the next record into rec, which is good until the next call. At the end of
// the stream it answers io.EOF, at damage an *Error. It never waits for more than the
// record needs.
func (r *Reader) Next(rec *Record) error {
	if r.err != nil {
		return r.err
	}
	for {
		n, err := Parse(r.buf[r.at:r.to], rec)
		if err == nil {
			rec.Offset = r.offset
			r.at += n
			r.offset += int64(n)
			return nil
		}
		if !errors.Is(err, ErrShort) {
			length := binary.BigEndian.Uint32(r.buf[r.at+8:])
			r.err = &Error{
				r.offset, fmt.Sprintf("a record of %d bytes: the file is damaged here, or isn't MRT", length),
				fmt.Sprintf("%d バイトのレコードがあります。ここでファイルが壊れているか、MRT ではありません", length), err,
			}
			return r.err
		}
		if r.ended != nil {
			r.err = r.end()
			return r.err
		}
		r.fill()
	}
}

// end is what is answered when the stream has ended.
func (r *Reader) end() error {
	switch {
	case !errors.Is(r.ended, io.EOF):
		return &Error{r.offset, "reading failed: " + r.ended.Error(), "読み込みに失敗しました: " + r.ended.Error(), r.ended}
	case r.at < r.to:
		return &Error{r.offset, "the file ends within a record: was it cut?", "レコードの途中でファイルが終わっています。途中で切れていませんか", io.ErrUnexpectedEOF}
	}
	return io.EOF
}

// fill reads on; the record at hand stands at the beginning of the buffer then.
func (r *Reader) fill() {
	need := readSize
	if have := r.buf[r.at:r.to]; len(have) >= headerSize {
		need = max(need, headerSize+int(binary.BigEndian.Uint32(have[8:])))
	}
	if r.at > 0 {
		r.to = copy(r.buf, r.buf[r.at:r.to])
		r.at = 0
	}
	if r.to == len(r.buf) { // full, and yet not the whole record: twice as long, so that a false length costs nothing
		grown := make([]byte, min(need, max(readSize, 2*len(r.buf))))
		r.to = copy(grown, r.buf[:r.to])
		r.buf = grown
	}
	n, err := r.src.Read(r.buf[r.to:])
	r.to += n
	if err != nil {
		r.ended = err
	}
}
