package dnstap

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
)

// Append writes a frame that Read reads.
func (m *Message) Append(dst []byte) []byte {
	var b []byte
	b = number(b, 1, uint64(m.Type))
	if family := familyOf(m.Client, m.Server); family != 0 {
		b = number(b, 2, family)
	}
	protocol := uint64(1)
	if m.TCP {
		protocol = 2
	}
	b = number(b, 3, protocol)
	b = addr(b, 4, m.Client)
	b = addr(b, 5, m.Server)
	b = number(b, 6, uint64(m.ClientPort))
	b = number(b, 7, uint64(m.ServerPort))
	b = moments(b, 8, m.QueryTime)
	b = text(b, 10, m.Query)
	b = text(b, 11, m.Zone)
	b = moments(b, 12, m.ResponseTime)
	b = text(b, 14, m.Response)
	b = text(b, 15, m.Policy.append(nil))
	dst = text(dst, 1, m.Identity)
	dst = text(dst, 14, b)
	return number(dst, 15, 1)
}

func (p *Policy) append(b []byte) []byte {
	b = text(b, 1, p.Kind)
	b = text(b, 2, p.Rule)
	b = number(b, 3, uint64(p.Action))
	b = number(b, 4, uint64(p.Match))
	return text(b, 5, p.Value)
}

// familyOf is 1 for IPv4, 2 for IPv6, 0 where there is no address.
func familyOf(list ...netip.Addr) uint64 {
	for _, a := range list {
		switch {
		case a.Is4():
			return 1
		case a.IsValid():
			return 2
		}
	}
	return 0
}

// number writes a field of a number; 0 isn't written.
func number(b []byte, field, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(binary.AppendUvarint(b, field<<3|varint), v)
}

// text writes a field of bytes; none isn't written.
func text(b []byte, field uint64, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return append(binary.AppendUvarint(binary.AppendUvarint(b, field<<3|lengths), uint64(len(v))), v...)
}

func addr(b []byte, field uint64, a netip.Addr) []byte {
	if !a.IsValid() {
		return b
	}
	return text(b, field, a.AsSlice())
}

// moments writes seconds, and the rest behind them.
func moments(b []byte, field uint64, t int64) []byte {
	if t <= 0 {
		return b
	}
	b = number(b, field, uint64(t/1e9))
	b = binary.AppendUvarint(b, (field+1)<<3|fixed32)
	return binary.LittleEndian.AppendUint32(b, uint32(t%1e9))
}

// Writer writes a frame stream of dnstap: to a file, or to somebody who answers.
type Writer struct {
	w   io.Writer
	r   *Frames // what the other side says; nil: nobody answers
	buf []byte
}

// NewWriter begins a stream. r is where the answers of the other side are read; nil where
// there is none, as of a file.
func NewWriter(w io.Writer, r io.Reader) (*Writer, error) {
	out := &Writer{w: w}
	if r != nil {
		out.r = NewFrames(r, nil)
		if _, err := w.Write(control(ready, true)); err != nil {
			return nil, err
		}
		if err := out.heard(accept); err != nil {
			return nil, err
		}
	}
	_, err := w.Write(control(start, true))
	return out, err
}

// heard waits for a control frame.
func (w *Writer) heard(kind uint32) error {
	n, err := w.r.length()
	if err != nil {
		return err
	}
	if n != 0 {
		return fmt.Errorf("%w: data instead of a control frame of type %d", ErrStream, kind)
	}
	got, ours, err := w.r.control()
	switch {
	case err != nil:
		return err
	case got != kind:
		return fmt.Errorf("%w: a control frame of type %d instead of %d", ErrStream, got, kind)
	case !ours:
		return ErrContent
	}
	return nil
}

// AppendFrame writes a frame behind its length, as a stream has it: see Writer.Pass.
func (m *Message) AppendFrame(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = m.Append(append(dst, 0, 0, 0, 0))
	n := len(dst) - at - 4
	if n > MaxFrame {
		return dst[:at], ErrTooLong
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(n)) //nolint:gosec // at most MaxFrame
	return dst, nil
}

// Pass writes frames that AppendFrame made, many at once.
func (w *Writer) Pass(frames []byte) error {
	_, err := w.w.Write(frames)
	return err
}

// Write writes a message.
func (w *Writer) Write(m *Message) (err error) {
	if w.buf, err = m.AppendFrame(w.buf[:0]); err != nil {
		return err
	}
	return w.Pass(w.buf)
}

// Close says that the stream ends, and waits until the other side has all of it.
func (w *Writer) Close() error {
	if _, err := w.w.Write(control(stop, false)); err != nil {
		return err
	}
	if w.r == nil {
		return nil
	}
	return w.heard(finish)
}
