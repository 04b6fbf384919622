package dns

import (
	"encoding/binary"
	"errors"
	"io"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

const port = 53

// capture reads the questions and answers in a capture of packets. What TCP carries is
// put together where its pieces come in order, or nearly so; fragments of IP and what
// else can't be put together are counted as not read.
func (r *reading) capture(in io.Reader) error {
	c, err := pcap.NewReader(in)
	if err != nil {
		return err
	}
	defer c.Close()
	var b packet.Block
	var d packet.Decoder
	var p packet.Packet
	flows := map[flow]*side{}
	for {
		failed := c.ReadBlock(&b)
		for i, f := range b.Frames {
			switch d.Decode(f.Link, b.Bytes(i), f.Orig, &p) {
			case packet.OK:
			case packet.NotIP:
				continue
			default:
				r.add.Malformed++
				continue
			}
			switch {
			case p.Flags&packet.LaterFragment != 0:
				if p.Proto == packet.UDP {
					r.add.Unread++
				}
			case p.SrcPort != port && p.DstPort != port:
			case p.Flags&packet.Fragment != 0:
				r.add.Unread++
			case p.Proto == packet.UDP:
				r.packet(&p, f.Time, p.Payload)
			case p.Proto == packet.TCP:
				r.segment(flows, &p, f.Time)
			}
		}
		r.flush() // before the block is filled again
		switch {
		case errors.Is(failed, io.EOF):
			for _, s := range flows {
				r.add.Unread += uint64(len(s.early))
			}
			return nil
		case failed != nil:
			return failed
		}
	}
}

// packet reads one DNS message.
func (r *reading) packet(p *packet.Packet, at int64, raw []byte) {
	const response = 0x80
	r.add.Frames++
	if len(raw) < 12 {
		r.add.Malformed++
		return
	}
	e := r.next()
	e.At, e.Client = at, p.Src.Netip()
	server := p.Dst
	if raw[2]&response != 0 {
		e.Kind, e.Client, server = Response, p.Dst.Netip(), p.Src
	}
	e.Resolver = r.resolver([]byte(server.String()))
	if !r.message(e, raw) {
		r.add.Malformed++
		return
	}
	r.n++
}

// flow is one direction of a connection.
type flow struct {
	src, dst packet.Addr
	from, to uint16
}

// side is what has come of it.
type side struct {
	next  uint32
	bytes []byte // of a message that isn't whole
	early []piece
	lost  bool
}

// piece is a segment that came before its turn.
type piece struct {
	seq  uint32
	data []byte
}

// The bounds of what is put together.
const (
	mostFlows  = 4096
	mostPieces = 16
)

// segment puts a segment of TCP where it belongs.
func (r *reading) segment(flows map[flow]*side, p *packet.Packet, at int64) {
	key := flow{p.Src, p.Dst, p.SrcPort, p.DstPort}
	s := flows[key]
	seq := p.Seq
	if p.TCPFlags&packet.SYN != 0 {
		seq++ // data may come with it (RFC 7413)
		s = &side{next: seq}
		if len(flows) >= mostFlows && flows[key] == nil {
			for k, old := range flows { // any: there are too many
				r.add.Unread += uint64(len(old.early))
				delete(flows, k)
				break
			}
		}
		flows[key] = s
	}
	if p.TCPFlags&packet.RST != 0 {
		delete(flows, key)
		return
	}
	if len(p.Payload) == 0 {
		return
	}
	if s == nil || s.lost {
		r.add.Unread++ // its beginning isn't there
		return
	}
	r.follow(s, p, at, seq, p.Payload)
	for again := true; again; {
		again = false
		for i, e := range s.early {
			if int32(e.seq-s.next) <= 0 { //nolint:gosec // numbers go round
				s.early = append(s.early[:i:i], s.early[i+1:]...)
				r.follow(s, p, at, e.seq, e.data)
				again = true
				break
			}
		}
	}
}

// follow takes a piece that is due, and keeps one that is early.
func (r *reading) follow(s *side, p *packet.Packet, at int64, seq uint32, data []byte) {
	ahead := int32(seq - s.next) //nolint:gosec // numbers go round
	switch {
	case ahead > 0:
		if len(s.early) >= mostPieces {
			r.add.Unread += uint64(len(s.early)) + 1
			s.lost, s.early, s.bytes = true, nil, nil
			return
		}
		s.early = append(s.early, piece{seq, append([]byte(nil), data...)})
		return
	case -int64(ahead) >= int64(len(data)):
		return // it was there before
	}
	data = data[-int64(ahead):]
	s.next += uint32(len(data)) //nolint:gosec // a segment
	s.bytes = append(s.bytes, data...)
	for len(s.bytes) >= 2 {
		n := int(binary.BigEndian.Uint16(s.bytes))
		if len(s.bytes) < 2+n {
			return
		}
		r.packet(p, at, s.bytes[2:2+n:2+n])
		r.flush() // the bytes move
		s.bytes = append([]byte(nil), s.bytes[2+n:]...)
	}
}
