//go:build !linux

package udp

import (
	"net"
	"net/netip"
)

// Batch takes one datagram at a time here.
type Batch struct {
	conn         *net.UDPConn
	room, answer []byte
	out          []byte
	n            int
	from         netip.AddrPort
}

// NewBatch makes room for a datagram of so many bytes.
func NewBatch(c *net.UDPConn, _, size int) (*Batch, error) {
	return &Batch{conn: c, room: make([]byte, size), answer: make([]byte, 0, size)}, nil
}

// Read waits for a datagram.
func (b *Batch) Read() (int, error) {
	n, from, err := b.conn.ReadFromUDPAddrPort(b.room)
	if err != nil {
		return 0, err
	}
	b.n, b.from, b.out = n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
	return 1, nil
}

// Payload is what came in it; until the next Read.
func (b *Batch) Payload(int) []byte { return b.room[:b.n] }

// From is who sent it.
func (b *Batch) From(int) netip.AddrPort { return b.from }

// Dropped isn't told here.
func (b *Batch) Dropped() (uint32, bool) { return 0, false }

// Room is where an answer may be written, empty: see Answer.
func (b *Batch) Room(int) []byte { return b.answer[:0] }

// Answer puts an answer beside its datagram; Flush sends it.
func (b *Batch) Answer(_ int, payload []byte) { b.out = payload }

// Flush sends the answer.
func (b *Batch) Flush() (failed int, err error) {
	if b.out == nil {
		return 0, nil
	}
	if _, err := b.conn.WriteToUDPAddrPort(b.out, b.from); err != nil {
		failed = 1
	}
	b.out = nil
	return failed, nil
}
