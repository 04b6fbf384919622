package flow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"sakimori/base/wire/ipfix"
	"sakimori/base/wire/netflow"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/base/wire/sflow"
)

// Ports are those that exporters usually send to. In a capture, what goes to them is taken
// for exports; what goes to others only if it looks like nothing else.
var Ports = []uint16{2055, 2056, 4432, 4739, 6343, 9555, 9995, 9996}

// File is what reading one came to, besides what exporters' Health says.
type File struct {
	Frames    uint64 // of the capture
	Datagrams uint64 // of them, exports
	Others    uint64 // datagrams of UDP that are no exports
	Cut       uint64 // exports of which the capture or fragmentation left a part out: read as far as they go
	Malformed uint64 // datagrams that gave an error
	Err       error  // the first of these
	First     int64  // Unix nanoseconds, of the first export
	Last      int64
}

// Each has f called, while files are read, with each later second (Unix) in which
// something came, before it is taken and after what came before was handed on.
func (c *Collector) Each(f func(second int64)) { c.each = f }

// Read takes the exports in a file: a capture of theirs, whose frames tell when they came;
// or a single datagram as it was sent, or several of those that tell their length, which
// came when they say they were sent and from address. Where an exporter's times can't be
// right, its first record counts as it came and the others lie to it as their times do. The
// rest of a batch is handed on at the end. A file that breaks off gives an error after what stood before.
func Read(ctx context.Context, c *Collector, path string, address netip.AddrPort) (n File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return n, fmt.Errorf("open exports: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ReadFrom(ctx, c, f, address)
}

// ReadFrom is Read for a stream.
func ReadFrom(ctx context.Context, c *Collector, r io.Reader, address netip.AddrPort) (n File, err error) {
	c.file = true
	defer func() {
		c.file = false
		c.Flush()
	}()
	head := make([]byte, 4)
	m, err := io.ReadFull(r, head)
	if err != nil {
		return n, fmt.Errorf("a file of %d bytes is neither a capture nor an export: %w", m, err)
	}
	whole := io.MultiReader(&prefix{head}, r)
	if speaks(head) != Unknown {
		return n, n.raw(c, whole, address)
	}
	capture, err := pcap.NewReader(whole)
	if err != nil {
		return n, fmt.Errorf("neither a capture nor an export of NetFlow 5 or 9, IPFIX or sFlow 5: %w", err)
	}
	defer func() { err = errors.Join(err, capture.Close()) }()
	return n, n.capture(ctx, c, capture)
}

// prefix gives its bytes once.
type prefix struct{ b []byte }

func (p *prefix) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}

// capture takes the exports of a capture.
func (n *File) capture(ctx context.Context, c *Collector, r *pcap.Reader) error {
	var b packet.Block
	var d packet.Decoder
	var p packet.Packet
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read exports: %w", err)
		}
		if err := r.ReadBlock(&b); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read exports: %w", err)
		}
		for i := range b.Frames {
			f := &b.Frames[i]
			n.Frames++
			if d.Decode(f.Link, b.Bytes(i), f.Orig, &p) != packet.OK || p.Proto != packet.UDP || p.Flags&(packet.LaterFragment|packet.NoTransport) != 0 {
				continue
			}
			if !slices.Contains(Ports, p.DstPort) && !Looks(p.Payload) {
				n.Others++
				continue
			}
			if f.Len < f.Orig || p.Flags&packet.Fragment != 0 {
				n.Cut++
			}
			n.take(c, p.Payload, netip.AddrPortFrom(p.Src.Netip(), p.SrcPort), f.Time)
		}
	}
}

func (n *File) take(c *Collector, b []byte, from netip.AddrPort, at int64) {
	if n.Datagrams == 0 {
		n.First = at
	}
	n.Datagrams++
	n.Last = at
	if s := at / int64(time.Second); c.each != nil && s > c.second {
		if c.second > 0 {
			c.Flush()
		}
		c.second = s
		c.each(s)
	}
	if err := c.Ingest(b, from, at); err != nil {
		n.Malformed++
		if n.Err == nil {
			n.Err = err
		}
	}
}

// mostRaw is how many bytes a file of exports without a capture may have.
const mostRaw = 64 << 20

// raw takes exports that stand one behind the other.
func (n *File) raw(c *Collector, r io.Reader, address netip.AddrPort) error {
	b, err := io.ReadAll(io.LimitReader(r, mostRaw+1))
	if err != nil {
		return fmt.Errorf("read exports: %w", err)
	}
	if len(b) > mostRaw {
		return fmt.Errorf("more than %d bytes of exports without their times: use a capture of them", mostRaw)
	}
	for len(b) > 0 {
		size, at := len(b), int64(0)
		switch speaks(b) {
		case NetFlow5:
			var m netflow.Message
			if netflow.Parse(b, &m) == nil {
				size = 24 + 48*m.Count
			}
			at = int64(m.Seconds)*1e9 + int64(m.Nanos)
		case NetFlow9, IPFIX:
			var m ipfix.Message
			if ipfix.Parse(b, &m) == nil {
				size = m.Length
			}
			at = int64(m.ExportTime) * 1e9
		case Unknown, SFlow5:
		}
		n.take(c, b[:size], address, at)
		b = b[size:]
	}
	return nil
}

// speaks is the protocol that bytes begin with.
func speaks(b []byte) Protocol {
	if len(b) < 4 {
		return Unknown
	}
	switch binary.BigEndian.Uint16(b) {
	case netflow.Version:
		return NetFlow5
	case ipfix.V9:
		return NetFlow9
	case ipfix.IPFIX:
		return IPFIX
	case 0:
		if binary.BigEndian.Uint32(b) == sflow.Version {
			return SFlow5
		}
	}
	return Unknown
}

// Looks tells whether a datagram is a whole export: its lengths fit each other.
func Looks(b []byte) bool {
	switch speaks(b) {
	case NetFlow5:
		var m netflow.Message
		return netflow.Parse(b, &m) == nil && len(b) == 24+48*m.Count && m.Count > 0
	case NetFlow9, IPFIX:
		var m ipfix.Message
		if ipfix.Parse(b, &m) != nil || m.Length != len(b) {
			return false
		}
		sets := 0
		for s := (ipfix.Set{}); m.Next(&s); sets++ {
			if s.Kind == ipfix.Reserved {
				return false
			}
		}
		return m.Err() == nil && sets > 0
	case SFlow5:
		var d sflow.Datagram
		if sflow.Parse(b, &d) != nil || d.Samples == 0 {
			return false
		}
		for s := (sflow.Sample{}); d.Next(&s); {
		}
		return d.Err() == nil
	}
	return false
}
