package dnstap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The control frames of a frame stream.
const (
	accept = 1
	start  = 2
	stop   = 3
	ready  = 4
	finish = 5
)

const (
	// MaxFrame is the longest frame that is read: two DNS messages and what is said
	// of them fit.
	MaxFrame   = 256 << 10
	maxControl = 512
)

// Why a stream can't be read further.
var (
	ErrContent = errors.New("the frame stream holds something else than " + ContentType)
	ErrStream  = errors.New("not a frame stream")
	ErrTooLong = fmt.Errorf("a frame of more than %d bytes", MaxFrame)
)

// Frames reads a frame stream of dnstap, of a file or of a sender that wants to be
// answered.
type Frames struct {
	r     *bufio.Reader
	w     io.Writer
	begun bool
	both  bool // the sender waits for answers
	err   error
}

// NewFrames begins to read a stream. Answers are written to w; nil where nobody waits
// for them, as in a file.
func NewFrames(r io.Reader, w io.Writer) *Frames {
	return &Frames{r: bufio.NewReaderSize(r, MaxFrame), w: w}
}

// Next gives the next frame, which is good until the next call. At the end that the
// sender announced comes io.EOF; io.ErrUnexpectedEOF says that the stream ended without
// it: what was on its way is lost.
func (f *Frames) Next() ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	b, err := f.next()
	if err != nil {
		f.err = err
	}
	return b, err
}

func (f *Frames) next() ([]byte, error) {
	for !f.begun {
		if err := f.begin(); err != nil {
			return nil, err
		}
	}
	n, err := f.length()
	if err != nil {
		return nil, err
	}
	if n > 0 {
		return take(f.r, n)
	}
	kind, _, err := f.control()
	if err != nil {
		return nil, err
	}
	if kind == stop {
		return nil, f.finish()
	}
	return nil, fmt.Errorf("%w: a control frame of type %d in the middle", ErrStream, kind)
}

// Buffered tells whether another frame can be had without waiting.
func (f *Frames) Buffered() bool { return buffered(f.r, 4) }

func buffered(r *bufio.Reader, header int) bool {
	b, err := r.Peek(min(r.Buffered(), header))
	if err != nil || len(b) < header {
		return false
	}
	n := 0
	for _, c := range b {
		n = n<<8 | int(c)
	}
	return r.Buffered() >= header+n
}

// length reads how long the next frame is; 0: a control frame follows.
func (f *Frames) length() (int, error) {
	b, err := f.r.Peek(4)
	if err != nil {
		return 0, cut(err)
	}
	n := binary.BigEndian.Uint32(b)
	if n > MaxFrame {
		return 0, ErrTooLong
	}
	_, err = f.r.Discard(4)
	return int(n), err
}

// take gives the next n bytes where they lie in the buffer, which holds any frame.
func take(r *bufio.Reader, n int) ([]byte, error) {
	b, err := r.Peek(n)
	if err != nil {
		return nil, cut(err)
	}
	_, err = r.Discard(n) // the bytes stay where they are until the next read
	return b, err
}

// cut is the error of a stream that ended where it may not.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// control reads a control frame behind its escape: its type, and whether it names our
// content type, or none at all.
func (f *Frames) control() (kind uint32, ours bool, err error) {
	b, err := f.r.Peek(4)
	if err != nil {
		return 0, false, cut(err)
	}
	n := int(binary.BigEndian.Uint32(b))
	if n < 4 || n > maxControl {
		return 0, false, fmt.Errorf("%w: a control frame of %d bytes", ErrStream, n)
	}
	if b, err = f.r.Peek(4 + n); err != nil {
		return 0, false, cut(err)
	}
	kind, rest, untyped := binary.BigEndian.Uint32(b[4:]), b[8:], true
	for len(rest) >= 8 {
		field, l := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		if uint64(l) > uint64(len(rest)-8) { //nolint:gosec // not below 0
			return 0, false, fmt.Errorf("%w: a control field longer than its frame", ErrStream)
		}
		const contentType = 1
		if field == contentType {
			untyped = false
			ours = ours || string(rest[8:8+l]) == ContentType
		}
		rest = rest[8+l:]
	}
	if len(rest) > 0 {
		return 0, false, fmt.Errorf("%w: a control frame with %d bytes too many", ErrStream, len(rest))
	}
	_, err = f.r.Discard(4 + n)
	return kind, ours || untyped, err
}

// begin reads the first control frames: START, or READY that is answered by ACCEPT.
func (f *Frames) begin() error {
	n, err := f.length()
	if err != nil {
		return err
	}
	if n != 0 {
		return fmt.Errorf("%w: it doesn't begin with a control frame", ErrStream)
	}
	kind, ours, err := f.control()
	switch {
	case err != nil:
		return err
	case !ours:
		return ErrContent
	case kind == start:
		f.begun = true
		return nil
	case kind == ready && f.w != nil && !f.both:
		f.both = true
		return f.say(accept)
	}
	return fmt.Errorf("%w: it begins with a control frame of type %d", ErrStream, kind)
}

// finish answers a STOP.
func (f *Frames) finish() error {
	if f.both {
		if err := f.say(finish); err != nil {
			return err
		}
	}
	return io.EOF
}

// say writes a control frame; ACCEPT names our content type.
func (f *Frames) say(kind uint32) error {
	_, err := f.w.Write(control(kind, kind == accept))
	return err
}

func control(kind uint32, typed bool) (b []byte) {
	n := uint32(4)
	if typed {
		n += 8 + uint32(len(ContentType))
	}
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, n)
	b = binary.BigEndian.AppendUint32(b, kind)
	if typed {
		b = binary.BigEndian.AppendUint32(b, 1)
		b = binary.BigEndian.AppendUint32(b, uint32(len(ContentType)))
		b = append(b, ContentType...)
	}
	return b
}

// Lengths reads PowerDNS's stream: each message behind its length in two bytes. Nobody
// is answered, and no end is announced.
type Lengths struct {
	r *bufio.Reader
}

// NewLengths begins to read a stream.
func NewLengths(r io.Reader) *Lengths { return &Lengths{r: bufio.NewReaderSize(r, MaxFrame)} }

// Next gives the next message, which is good until the next call; io.EOF when the
// stream ends between two, io.ErrUnexpectedEOF when it ends inside one.
func (l *Lengths) Next() ([]byte, error) {
	b, err := l.r.Peek(2)
	if err != nil {
		if len(b) > 0 {
			err = cut(err)
		}
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(b))
	if _, err := l.r.Discard(2); err != nil {
		return nil, err
	}
	return take(l.r, n)
}

// Buffered tells whether another message can be had without waiting.
func (l *Lengths) Buffered() bool { return buffered(l.r, 2) }
