package route_test

import (
	"encoding/binary"
	"net/netip"

	"sakimori/base/wire/bgp"
)

// said is an UPDATE as a test writes it.
type said struct {
	announce, withdraw []netip.Prefix
	id                 uint32 // ADD-PATH, where with
	with               bool
	ases               []uint32
	communities        []uint32
	hop                netip.Addr
	broken             bool // its ORIGIN can't be: RFC 7606 takes it as a withdrawal
}

var four = bgp.Options{AS4: true}

func (s said) nlri(b []byte, list []netip.Prefix) []byte {
	for _, p := range list {
		if s.with {
			b = binary.BigEndian.AppendUint32(b, s.id)
		}
		b = append(b, byte(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

func attribute(b []byte, flags, code byte, v []byte) []byte {
	b = append(b, flags|0x10, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}

func (s said) attributes(v6 bool) []byte {
	var b []byte
	origin := byte(0)
	if s.broken {
		origin = 9
	}
	b = attribute(b, 0x40, 1, []byte{origin})
	path := []byte{2, byte(len(s.ases))}
	for _, as := range s.ases {
		path = binary.BigEndian.AppendUint32(path, as)
	}
	if len(s.ases) == 0 {
		path = nil
	}
	b = attribute(b, 0x40, 2, path)
	if !v6 {
		b = attribute(b, 0x40, 3, s.hop.AsSlice())
	}
	if len(s.communities) > 0 {
		var c []byte
		for _, v := range s.communities {
			c = binary.BigEndian.AppendUint32(c, v)
		}
		b = attribute(b, 0xc0, 8, c)
	}
	return b
}

// bytes is the message with its header. All of its prefixes are of one family.
func (s said) bytes() []byte {
	v6 := len(s.announce) > 0 && s.announce[0].Addr().Is6() || len(s.withdraw) > 0 && s.withdraw[0].Addr().Is6()
	var attributes, withdrawn, announced []byte
	if !s.hop.IsValid() {
		s.hop = netip.AddrFrom4([4]byte{192, 0, 2, 1})
		if v6 {
			s.hop = netip.MustParseAddr("2001:db8::1")
		}
	}
	if len(s.announce) > 0 {
		attributes = s.attributes(v6)
	}
	if v6 {
		if len(s.announce) > 0 {
			v := append([]byte{0, 2, 1, 16}, s.hop.AsSlice()...)
			attributes = attribute(attributes, 0x80, 14, s.nlri(append(v, 0), s.announce))
		}
		if len(s.withdraw) > 0 {
			attributes = attribute(attributes, 0x80, 15, s.nlri([]byte{0, 2, 1}, s.withdraw))
		}
	} else {
		withdrawn, announced = s.nlri(nil, s.withdraw), s.nlri(nil, s.announce)
	}
	var body []byte
	body = binary.BigEndian.AppendUint16(body, uint16(len(withdrawn)))
	body = append(body, withdrawn...)
	body = binary.BigEndian.AppendUint16(body, uint16(len(attributes)))
	body = append(append(body, attributes...), announced...)
	return message(2, body)
}

func message(kind byte, body []byte) []byte {
	b := make([]byte, 16, 19+len(body))
	for i := range b {
		b[i] = 0xff
	}
	b = binary.BigEndian.AppendUint16(b, uint16(19+len(body)))
	return append(append(b, kind), body...)
}

// endOfRIB is that of IPv4.
func endOfRIB() []byte { return message(2, []byte{0, 0, 0, 0}) }

// open is an OPEN with four-byte numbers, for IPv4 and IPv6; with ADD-PATH both ways.
func open(as uint32, id netip.Addr, addPath bool) []byte {
	caps := []byte{1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4}
	caps = binary.BigEndian.AppendUint32(caps, as)
	if addPath {
		caps = append(caps, 69, 4, 0, 1, 1, 3)
	}
	body := append([]byte{4, 0x5b, 0xa0, 0, 180}, id.AsSlice()...)
	body = append(body, byte(len(caps)+2), 2, byte(len(caps)))
	return message(1, append(body, caps...))
}

// told is a BMP message of a peer.
type told struct {
	kind    byte
	flags   byte // 0x80 IPv6, 0x40 after policy, 0x10 announced
	local   bool // Loc-RIB
	peer    netip.Addr
	as      uint32
	seconds uint32
	micros  uint32
	body    []byte
}

func (m told) bytes() []byte {
	b := []byte{3, 0, 0, 0, 0, m.kind}
	kind := byte(0)
	if m.local {
		kind = 3
	}
	b = append(b, kind, m.flags)
	b = append(b, make([]byte, 8)...)
	a := make([]byte, 16)
	if m.peer.Is4() {
		copy(a[12:], m.peer.AsSlice())
	} else if m.peer.Is6() {
		copy(a, m.peer.AsSlice())
	}
	b = append(b, a...)
	b = binary.BigEndian.AppendUint32(b, m.as)
	b = append(b, 10, 9, 8, 7)
	b = binary.BigEndian.AppendUint32(b, m.seconds)
	b = binary.BigEndian.AppendUint32(b, m.micros)
	b = append(b, m.body...)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)))
	return b
}

// upBody is what stands in a PeerUp: the router has AS 64500.
func upBody(as uint32, addPath bool) []byte {
	b := append(make([]byte, 16), 0, 179, 0x80, 0)
	b = append(b, open(64500, netip.MustParseAddr("192.0.2.61"), addPath)...)
	return append(b, open(as, netip.MustParseAddr("192.0.2.62"), addPath)...)
}
