package sim

import (
	"encoding/binary"
	"math/bits"

	"sakimori/base/wire/packet"
)

const (
	etherLen = 14
	etherMin = 60 // a frame is padded to it on the wire (IEEE 802.3), checksum not captured
	maxFrame = 1600
)

// frame is the packet being made: its bytes, and what is true of it.
type frame struct {
	buf   [maxFrame]byte
	n     int
	mark  mark
	inner *frame // scratch for a packet that is quoted inside this one
	part  []byte // scratch for a payload
}

// ipHead is what an actor decides of an IP header; the rest follows from it.
type ipHead struct {
	src, dst packet.Addr
	ttl      uint8  // as it arrives
	id       uint16 // IPv4
	frag     uint16 // IPv4 flags and fragment offset, as on the wire
}

const dontFragment = 0x4000

type tcpHead struct {
	sport, dport uint16
	seq, ack     uint32
	window       uint16
	flags        packet.TCPFlags
	options      []byte // a multiple of 4 bytes
}

// The two stations of the capture's link: a router and the sensor, with locally
// administered addresses.
var etherHead = [12]byte{0x02, 0, 0x5e, 0, 0, 2, 0x02, 0, 0x5e, 0, 0, 1}

// ip writes the Ethernet and IP headers for a body of the given length and
// returns the body, to be filled, with the sum of the pseudo-header.
func (f *frame) ip(h ipHead, proto uint8, body int) ([]byte, uint64) {
	copy(f.buf[:], etherHead[:])
	var off int
	var pseudo uint64
	if h.src.Is4() {
		binary.BigEndian.PutUint16(f.buf[12:], 0x0800)
		b := f.buf[etherLen : etherLen+20]
		src, dst := h.src.V4(), h.dst.V4()
		b[0], b[1] = 0x45, 0
		binary.BigEndian.PutUint16(b[2:], uint16(20+body))
		binary.BigEndian.PutUint16(b[4:], h.id)
		binary.BigEndian.PutUint16(b[6:], h.frag)
		b[8], b[9], b[10], b[11] = h.ttl, proto, 0, 0
		binary.BigEndian.PutUint32(b[12:], src)
		binary.BigEndian.PutUint32(b[16:], dst)
		binary.BigEndian.PutUint16(b[10:], fold(sum(b)))
		pseudo = uint64(src) + uint64(dst) + uint64(proto) + uint64(body)
		off = etherLen + 20
	} else {
		binary.BigEndian.PutUint16(f.buf[12:], 0x86dd)
		b := f.buf[etherLen : etherLen+40]
		b[0], b[1], b[2], b[3] = 0x60, 0, 0, 0
		binary.BigEndian.PutUint16(b[4:], uint16(body))
		b[6], b[7] = proto, h.ttl
		binary.BigEndian.PutUint64(b[8:], h.src.Hi)
		binary.BigEndian.PutUint64(b[16:], h.src.Lo)
		binary.BigEndian.PutUint64(b[24:], h.dst.Hi)
		binary.BigEndian.PutUint64(b[32:], h.dst.Lo)
		pseudo = sum(b[8:40]) + uint64(proto) + uint64(body)
		off = etherLen + 40
	}
	f.n = off + body
	for f.n < etherMin {
		f.buf[f.n] = 0
		f.n++
	}
	return f.buf[off : off+body], pseudo
}

func (f *frame) tcp(h ipHead, t tcpHead) {
	b, pseudo := f.ip(h, packet.TCP, 20+len(t.options))
	binary.BigEndian.PutUint16(b, t.sport)
	binary.BigEndian.PutUint16(b[2:], t.dport)
	binary.BigEndian.PutUint32(b[4:], t.seq)
	binary.BigEndian.PutUint32(b[8:], t.ack)
	b[12], b[13] = uint8(len(b)/4)<<4, uint8(t.flags)
	binary.BigEndian.PutUint16(b[14:], t.window)
	b[16], b[17], b[18], b[19] = 0, 0, 0, 0
	copy(b[20:], t.options)
	binary.BigEndian.PutUint16(b[16:], fold(pseudo+sum(b)))
}

func (f *frame) udp(h ipHead, sport, dport uint16, payload []byte) {
	b, pseudo := f.ip(h, packet.UDP, 8+len(payload))
	putUDP(b, sport, dport, payload, pseudo)
}

func putUDP(b []byte, sport, dport uint16, payload []byte, pseudo uint64) {
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	b[6], b[7] = 0, 0
	copy(b[8:], payload)
	c := fold(pseudo + sum(b))
	if c == 0 {
		c = 0xffff // RFC 768: zero means that there is no checksum
	}
	binary.BigEndian.PutUint16(b[6:], c)
}

// icmp writes ICMP or, for IPv6 addresses, ICMPv6; rest is the second word.
func (f *frame) icmp(h ipHead, typ, code uint8, rest uint32, payload []byte) {
	proto := uint8(packet.ICMP)
	if !h.src.Is4() {
		proto = packet.ICMPv6
	}
	b, pseudo := f.ip(h, proto, 8+len(payload))
	if proto == packet.ICMP {
		pseudo = 0 // only ICMPv6 has a pseudo-header (RFC 4443 §2.3)
	}
	b[0], b[1], b[2], b[3] = typ, code, 0, 0
	binary.BigEndian.PutUint32(b[4:], rest)
	copy(b[8:], payload)
	binary.BigEndian.PutUint16(b[2:], fold(pseudo+sum(b)))
}

// quote builds a UDP packet in the scratch frame and returns it from its IP
// header on, as an ICMP error carries it. It holds until the next call.
func (f *frame) quote(h ipHead, sport, dport uint16, payload []byte) []byte {
	if f.inner == nil {
		f.inner = new(frame)
	}
	f.inner.udp(h, sport, dport, payload)
	head := 28
	if !h.src.Is4() {
		head = 48
	}
	return f.inner.buf[etherLen : etherLen+head+len(payload)]
}

// sum adds up b as big-endian 16-bit words (RFC 1071), four at a time; an odd
// last byte counts as the high half of a word.
func sum(b []byte) uint64 {
	var s uint64
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold turns a sum into the checksum of it.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return ^uint16(s)
}

// hops is how many routers lie between a host and the sensor: always the same
// for one host, 5 to 24.
func hops(who uint64) uint8 {
	hi, _ := bits.Mul64(mix(who, 77), 20)
	return 5 + uint8(hi)
}
