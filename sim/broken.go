package sim

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// arp makes an ARP request for an address: a frame without IP.
func (f *frame) arp(want uint32) {
	clear(f.buf[:etherMin])
	copy(f.buf[:], etherHead[:])
	b := f.buf[12:]
	copy(b, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1})
	copy(b[10:], etherHead[6:12])
	binary.BigEndian.PutUint32(b[26:], want)
	f.n = etherMin
}

// Fragments sends DNS answers of 2,000 bytes in two parts, as a flooded server
// would: each counts once. Every fifth comes without its first part.
type Fragments struct {
	Source netip.Addr // IPv4
	Pace
	Span
}

type fragments struct {
	beat
	n       *network
	r       rng
	src     packet.Addr
	who     uint64
	count   int
	whole   [2008]byte // the datagram in flight
	head    ipHead
	pending bool // its second part is still to come
	orphan  bool // its first part isn't sent
	resume  int64
}

func (a Fragments) streams(n *network, r *rng) ([]stream, error) {
	src, err := source(a.Source)
	if err != nil {
		return nil, err
	}
	if !src.Is4() {
		return nil, errors.New("it needs a source of IPv4")
	}
	f := &fragments{n: n, r: *r, src: src, who: r.u64() | 1}
	f.beat, err = newBeat(n, a.Span, a.Pace, r)
	return []stream{f}, err
}

// Where the datagram is cut: a multiple of 8 bytes that fits an Ethernet frame.
const (
	cut           = 1480
	moreFragments = 0x2000
)

func (a *fragments) send(now int64, f *frame) int64 {
	m := mark{src: a.src, port: portDNS, proto: packet.UDP, class: ByBackscatter, role: RoleBroken, kind: kindUDPAnswer}
	if !a.pending {
		a.count++
		a.orphan = a.count%5 == 0
		a.head = ipHead{src: a.src, dst: a.n.dark.random4(&a.r), ttl: 64 - hops(a.who), id: a.r.u16()}
		a.fill()
		a.resume = a.next(now, &a.r)
		if !a.orphan {
			h := a.head
			h.frag = moreFragments
			b, _ := f.ip(h, packet.UDP, cut)
			copy(b, a.whole[:cut])
			a.pending = true
			m.dst = h.dst
			f.mark = m
			return now + int64(100*time.Microsecond)
		}
	}
	a.pending = false
	h := a.head
	h.frag = cut / 8
	b, _ := f.ip(h, packet.UDP, len(a.whole)-cut)
	copy(b, a.whole[cut:])
	m.dst, m.later = h.dst, !a.orphan
	if a.orphan {
		m.port, m.class, m.kind = 0, Other, kindFragment
	}
	f.mark = m
	return a.resume
}

// fill makes the datagram: a DNS answer with TXT records of 255 bytes.
func (a *fragments) fill() {
	b := dnsQuery(make([]byte, 0, len(a.whole)), a.r.u16(), "big.example.net", 16)
	b[2], b[3], b[7] = 0x84, 0x00, 7
	for range 7 {
		b = append(b, 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 1, 0, 255)
		for range 255 {
			b = append(b, 'x')
		}
	}
	rest := 2000 - len(b) - 12 // the eighth takes what is left
	b[7]++
	b = append(b, 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60)
	b = binary.BigEndian.AppendUint16(b, uint16(rest))
	b = append(b, byte(rest-1))
	for range rest - 1 {
		b = append(b, 'y')
	}
	pseudo := uint64(a.head.src.V4()) + uint64(a.head.dst.V4()) + packet.UDP + uint64(len(a.whole))
	putUDP(a.whole[:], portDNS, 1024+uint16(a.r.below(64512)), b, pseudo)
}

// Corrupt sends frames whose IP header can't be read: cut short, of a version
// that doesn't exist, with a header or a total length that can't be.
type Corrupt struct {
	Pace
	Span
}

type corrupt struct {
	beat
	n *network
	r rng
	k int
}

func (c Corrupt) streams(n *network, r *rng) ([]stream, error) {
	b, err := newBeat(n, c.Span, c.Pace, r)
	return []stream{&corrupt{beat: b, n: n, r: *r}}, err
}

func (c *corrupt) send(now int64, f *frame) int64 {
	who := c.r.u64() | 1
	p := probe{form: FormLinux, src: packet.V4(0xc0000200 | uint32(c.r.below(256))), dst: c.n.dark.random4(&c.r), port: 23, who: who}
	f.probe(p, &c.r)
	ip := f.buf[etherLen:]
	switch c.k % 5 {
	case 0: // the frame ends in the IPv4 header
		f.n = etherLen + 10
	case 1: // version 5
		ip[0] = 0x55
	case 2: // header of 12 bytes
		ip[0] = 0x43
	case 3: // total length below the header's
		binary.BigEndian.PutUint16(ip[2:], 12)
	default: // the frame ends in the IPv6 header
		binary.BigEndian.PutUint16(f.buf[12:], 0x86dd)
		ip[0] = 0x60
		f.n = etherLen + 24
	}
	c.k++
	f.mark = mark{broken: true, role: RoleBroken}
	return c.next(now, &c.r)
}
