package dns

import (
	"encoding/binary"
	"fmt"
	"io"
)

// MaxMessage is how long a message may be, behind the two bytes of its length by TCP.
const MaxMessage = 65535

// ToQuestion is the pointer to the name of a message's first question (RFC 1035 §4.1.4).
// Records whose owners end with it can stand in any message about that name.
const ToQuestion = "\xc0\x0c"

// AppendHeader writes the header: what Read reads.
func (m *Message) AppendHeader(dst []byte) []byte {
	f := uint16(m.Opcode&15)<<11 | uint16(m.Rcode&15)
	for _, b := range []struct {
		set bool
		bit uint16
	}{{m.Response, 0x8000}, {m.Authority, 0x400}, {m.Truncated, 0x200}, {m.Desired, 0x100}, {m.Available, 0x80}, {m.Checked, 0x20}} {
		if b.set {
			f |= b.bit
		}
	}
	dst = binary.BigEndian.AppendUint16(dst, m.ID)
	dst = binary.BigEndian.AppendUint16(dst, f)
	for _, n := range m.Counts {
		dst = binary.BigEndian.AppendUint16(dst, n)
	}
	return dst
}

// AppendQuestion writes a question.
func AppendQuestion(dst []byte, q Question) []byte {
	dst = append(dst, q.Name...)
	dst = binary.BigEndian.AppendUint16(dst, q.Type)
	return binary.BigEndian.AppendUint16(dst, q.Class)
}

// AppendRR writes a record. The owner is a Name, or labels with a pointer at their end.
func AppendRR[B []byte | Name | string](dst []byte, owner B, kind, class uint16, ttl uint32, data []byte) []byte {
	dst = append(dst, owner...)
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, class)
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(data))) // #nosec G115 -- no record here is that long
	return append(dst, data...)
}

// Start is the data of a zone's SOA record.
type Start struct {
	Primary, Mail                           Name
	Serial, Refresh, Retry, Expire, Minimum uint32
}

// Append writes the data.
func (s *Start) Append(dst []byte) []byte {
	dst = append(append(dst, s.Primary...), s.Mail...)
	for _, n := range [...]uint32{s.Serial, s.Refresh, s.Retry, s.Expire, s.Minimum} {
		dst = binary.BigEndian.AppendUint32(dst, n)
	}
	return dst
}

// Start reads the data of a SOA record of the message.
func (m *Message) Start(rr *RR) (s Start, err error) {
	var at int
	if s.Primary, at, err = AppendName(nil, m.Raw, rr.DataAt); err != nil {
		return s, err
	}
	if s.Mail, at, err = AppendName(nil, m.Raw, at); err != nil {
		return s, err
	}
	if end := rr.DataAt + len(rr.Data); at+20 != end {
		return s, fmt.Errorf("%w: its SOA record is %d bytes off", ErrShort, at+20-end)
	}
	for i, to := range []*uint32{&s.Serial, &s.Refresh, &s.Retry, &s.Expire, &s.Minimum} {
		*to = binary.BigEndian.Uint32(m.Raw[at+4*i:])
	}
	return s, nil
}

// ReadFrame reads one message as it comes by TCP, behind its length (RFC 1035 §4.2.2),
// into buf, which grows where it must. An end between messages is io.EOF.
func ReadFrame(r io.Reader, buf []byte) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return nil, fmt.Errorf("a message of %d bytes: %w", n, noEOF(err))
	}
	return buf[:n], nil
}

// noEOF is what an end in the middle of something is.
func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // ReadFull gives it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendFrame writes a message behind its length.
func AppendFrame(dst, msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(msg))), msg...) // #nosec G115 -- MaxMessage at most
}
