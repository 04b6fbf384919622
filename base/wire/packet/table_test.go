package packet_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
)

// The builders below write headers by hand, byte for byte as the RFCs draw them.

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func u16(v int) []byte { return []byte{byte(v >> 8), byte(v)} }

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func eth(kind int, body ...[]byte) []byte {
	return cat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, u16(kind), cat(body...))
}

// ip4 is 192.0.2.1 > 198.51.100.7, id 0x1234, DF, time to live 54.
func ip4(proto byte, body ...[]byte) []byte {
	b := cat(body...)
	return cat([]byte{0x45, 0}, u16(20+len(b)), []byte{0x12, 0x34, 0x40, 0, 54, proto, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7}, b)
}

// ip6 is 2001:db8::1 > 2001:db8::2, hop limit 55.
func ip6(next byte, body ...[]byte) []byte {
	b := cat(body...)
	h := cat([]byte{0x60, 0, 0, 0}, u16(len(b)), []byte{next, 55})
	for _, last := range []byte{1, 2} {
		h = cat(h, []byte{0x20, 0x01, 0x0d, 0xb8}, make([]byte, 11), []byte{last})
	}
	return cat(h, b)
}

// tcp is 40000 > 23, SYN, window 14600, with the options given.
func tcp(options []byte, payload ...[]byte) []byte {
	return cat([]byte{0x9c, 0x40, 0, 23, 1, 2, 3, 4, 5, 6, 7, 8, byte(5+len(options)/4) << 4, 2, 0x39, 0x08, 0, 0, 0, 0}, options, cat(payload...))
}

func udp(dst int, payload ...[]byte) []byte {
	b := cat(payload...)
	return cat([]byte{0x9c, 0x40}, u16(dst), u16(8+len(b)), []byte{0, 0}, b)
}

// with returns b with the bytes at an offset replaced.
func with(b []byte, at int, v ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], v)
	return b
}

var (
	src4, dst4 = packet.V4(0xc0000201), packet.V4(0xc6336407)
	src6, dst6 = packet.Addr{Hi: 0x20010db8 << 32, Lo: 1}, packet.Addr{Hi: 0x20010db8 << 32, Lo: 2}
	mss        = []byte{2, 4, 5, 0xb4}
	hello      = []byte("hello")
)

// the4 and the6 are what the builders' packets say before any change.
func the4(change func(p *packet.Packet)) packet.Packet {
	p := packet.Packet{Src: src4, Dst: dst4, ID: 0x1234, Version: 4, TTL: 54, Flags: packet.DontFragment}
	change(&p)
	return p
}

func the6(change func(p *packet.Packet)) packet.Packet {
	p := packet.Packet{Src: src6, Dst: dst6, Version: 6, TTL: 55}
	change(&p)
	return p
}

func syn(length uint32, options, payload []byte) func(p *packet.Packet) {
	return func(p *packet.Packet) {
		p.Length, p.Proto = length, packet.TCP
		p.SrcPort, p.DstPort, p.Seq, p.Ack, p.TCPFlags, p.Window = 40000, 23, 0x01020304, 0x05060708, packet.SYN, 14600
		p.TCPOptions, p.Payload = options, payload
		if len(options) > 0 {
			p.MSS = 1460
		}
	}
}

func datagram(length uint32, dst uint16, payload []byte) func(p *packet.Packet) {
	return func(p *packet.Packet) {
		p.Length, p.Proto, p.SrcPort, p.DstPort, p.Payload = length, packet.UDP, 40000, dst, payload
	}
}

type sample struct {
	link packet.LinkType
	data []byte
	orig uint32
	want packet.Packet
}

func TestDecode(t *testing.T) {
	plain4 := ip4(6, tcp(mss, hello))
	plain6 := ip6(17, udp(53, hello))
	read4, read6 := the4(syn(49, mss, hello)), the6(datagram(53, 53, hello))
	label := []byte{0, 1, 0x01, 64} // label 16, bottom of stack
	later := []byte{0, 1, 0x00, 64}
	snap := []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}
	icmp := func(kind, code byte, body ...[]byte) []byte {
		return cat([]byte{kind, code, 0, 0, 0, 0, 0, 0}, cat(body...))
	}
	quote4 := with(ip4(17, udp(53)), 8, 1)
	quote6 := ip6(60, []byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp(nil))
	fragment6 := func(offset int) []byte { return cat([]byte{17, 0}, u16(offset), u32(0xdeadbeef)) }
	for name, c := range map[string]sample{
		"ethernet":                 {link: packet.LinkEthernet, data: eth(0x0800, plain4), want: read4},
		"ethernet, padding":        {link: packet.LinkEthernet, data: eth(0x0800, plain4, make([]byte, 9)), want: read4},
		"ethernet, IPv6":           {link: packet.LinkEthernet, data: eth(0x86dd, plain6, make([]byte, 9)), want: read6},
		"VLAN":                     {link: packet.LinkEthernet, data: eth(0x8100, []byte{0, 7, 8, 0}, plain4), want: read4},
		"QinQ":                     {link: packet.LinkEthernet, data: eth(0x88a8, []byte{0, 7, 0x81, 0, 0, 8, 0x86, 0xdd}, plain6), want: read6},
		"QinQ, old":                {link: packet.LinkEthernet, data: eth(0x9100, []byte{0, 7, 0x81, 0, 0, 8, 0x08, 0}, plain4), want: read4},
		"MPLS":                     {link: packet.LinkEthernet, data: eth(0x8847, later, later, label, plain4), want: read4},
		"MPLS, IPv6":               {link: packet.LinkEthernet, data: eth(0x8848, label, plain6), want: read6},
		"MPLS, pseudowire":         {link: packet.LinkEthernet, data: eth(0x8847, label, eth(0x0800, plain4)), want: read4},
		"MPLS, control word":       {link: packet.LinkEthernet, data: eth(0x8847, label, u32(7), eth(0x0800, plain4)), want: read4},
		"PPPoE":                    {link: packet.LinkEthernet, data: eth(0x8864, []byte{0x11, 0, 0, 1}, u16(51), []byte{0, 0x21}, plain4), want: read4},
		"PPPoE, IPv6":              {link: packet.LinkEthernet, data: eth(0x8864, []byte{0x11, 0, 0, 1}, u16(55), []byte{0, 0x57}, plain6), want: read6},
		"SNAP":                     {link: packet.LinkEthernet, data: eth(8+49, snap, plain4), want: read4},
		"PPP, framed":              {link: packet.LinkPPP, data: cat([]byte{0xff, 3, 0, 0x21}, plain4), want: read4},
		"PPP, compressed protocol": {link: packet.LinkPPP, data: cat([]byte{0x21}, plain4), want: read4},
		"Cisco HDLC":               {link: packet.LinkCHDLC, data: cat([]byte{0x0f, 0, 8, 0}, plain4), want: read4},
		"SLL":                      {link: packet.LinkSLL, data: cat(make([]byte, 14), u16(0x0800), plain4), want: read4},
		"SLL2":                     {link: packet.LinkSLL2, data: cat(u16(0x86dd), make([]byte, 18), plain6), want: read6},
		"raw":                      {link: packet.LinkRaw, data: plain4, want: read4},
		"raw, IPv6":                {link: 12, data: plain6, want: read6},
		"raw, OpenBSD":             {link: 14, data: plain6, want: read6},
		"IPv4":                     {link: packet.LinkIPv4, data: plain4, want: read4},
		"IPv6":                     {link: packet.LinkIPv6, data: plain6, want: read6},
		"null, little-endian":      {link: packet.LinkNull, data: cat([]byte{2, 0, 0, 0}, plain4), want: read4},
		"null, big-endian":         {link: packet.LinkNull, data: cat([]byte{0, 0, 0, 30}, plain6), want: read6},
		"loop":                     {link: packet.LinkLoop, data: cat([]byte{0, 0, 0, 24}, plain6), want: read6},

		"IPv4 options": {
			data: with(with(cat(ip4(6)[:20], []byte{1, 1, 1, 0}, tcp(nil)), 0, 0x46), 3, 44),
			want: the4(syn(44, nil, []byte{})),
		},
		"total length 0": {data: with(plain4, 2, 0, 0), want: read4},
		"total length 0, snapped": {
			data: with(plain4, 2, 0, 0), orig: 3000,
			want: the4(func(p *packet.Packet) { syn(3000, mss, hello)(p) }),
		},
		"first fragment": {
			data: with(ip4(17, udp(53, hello)), 6, 0x20, 0),
			want: the4(func(p *packet.Packet) { datagram(33, 53, hello)(p); p.Flags = packet.Fragment }),
		},
		"first fragment of a longer datagram": {
			data: with(with(ip4(17, udp(53, hello)), 6, 0x20, 0), 24, 8, 0),
			want: the4(func(p *packet.Packet) { datagram(33, 53, hello)(p); p.Flags = packet.Fragment }),
		},
		"tiny first fragment": {
			data: with(ip4(6, tcp(nil)[:8]), 6, 0x20, 0),
			want: the4(func(p *packet.Packet) {
				p.Length, p.Proto, p.SrcPort, p.DstPort, p.Flags = 28, 6, 40000, 23, packet.Fragment|packet.NoTransport
			}),
		},
		"later fragment": {
			data: with(ip4(17, hello), 6, 0x00, 3),
			want: the4(func(p *packet.Packet) {
				p.Length, p.Proto, p.Payload, p.Flags = 25, 17, hello, packet.Fragment|packet.LaterFragment
			}),
		},
		"snapped in TCP": {
			data: ip4(6, tcp(mss, hello))[:34], orig: 49,
			want: the4(func(p *packet.Packet) {
				p.Length, p.Proto, p.SrcPort, p.DstPort = 49, 6, 40000, 23
				p.Flags |= packet.NoTransport
			}),
		},
		"snapped in the options": {data: plain4[:42], orig: 49, want: the4(func(p *packet.Packet) {
			syn(49, nil, nil)(p)
			p.TCPOptions = mss[:2]
		})},
		"TCP header longer than its packet": {
			data: with(ip4(6, tcp(nil)), 32, 0x60), want: the4(func(p *packet.Packet) { syn(40, nil, nil)(p); p.TCPOptions = []byte{} }),
		},
		"TCP flags": {
			data: with(ip4(6, tcp(nil)), 33, 0xd5),
			want: the4(func(p *packet.Packet) {
				syn(40, nil, []byte{})(p)
				p.TCPFlags = packet.CWR | packet.ECE | packet.ACK | packet.RST | packet.FIN
			}),
		},
		"MSS after padding": {
			data: ip4(6, tcp([]byte{1, 1, 4, 2, 2, 4, 5, 0xb4})),
			want: the4(syn(48, []byte{1, 1, 4, 2, 2, 4, 5, 0xb4}, []byte{})),
		},
		"TCP options, impossible": {
			data: ip4(6, tcp([]byte{8, 0, 2, 4, 5, 0xb4, 0, 0})),
			want: the4(func(p *packet.Packet) { syn(48, []byte{8, 0, 2, 4, 5, 0xb4, 0, 0}, []byte{})(p); p.MSS = 0 }),
		},
		"UDP longer than its packet": {
			data: with(ip4(17, udp(53, hello)), 24, 0xff, 0xff), want: the4(datagram(33, 53, hello)),
		},
		"UDP shorter than its packet": {
			data: with(ip4(17, udp(53, hello)), 25, 10), want: the4(datagram(33, 53, hello[:2])),
		},
		"another protocol": {
			data: ip4(132, hello), want: the4(func(p *packet.Packet) { p.Length, p.Proto, p.Payload = 25, 132, hello }),
		},
		"AH": {
			data: ip4(51, []byte{6, 4, 0, 0}, make([]byte, 20), tcp(nil)), want: the4(syn(64, nil, []byte{})),
		},
		"echo": {
			data: ip4(1, icmp(8, 0, hello)),
			want: the4(func(p *packet.Packet) { p.Length, p.Proto, p.ICMPType, p.Payload = 33, 1, 8, hello }),
		},
		"unreachable": {
			data: ip4(1, icmp(3, 3, quote4)),
			want: the4(func(p *packet.Packet) {
				p.Length, p.Proto, p.ICMPType, p.ICMPCode, p.Payload = 56, 1, 3, 3, quote4
				p.Quoted = packet.Quote{Src: src4, Dst: dst4, SrcPort: 40000, DstPort: 53, Proto: 17, Valid: true}
			}),
		},
		"unreachable, quote cut": {
			data: ip4(1, icmp(3, 3, quote4[:23])),
			want: the4(func(p *packet.Packet) {
				p.Length, p.Proto, p.ICMPType, p.ICMPCode, p.Payload = 51, 1, 3, 3, quote4[:23]
				p.Quoted = packet.Quote{Src: src4, Dst: dst4, Proto: 17, Valid: true}
			}),
		},
		"unreachable, quote broken": {
			data: ip4(1, icmp(3, 3, with(quote4, 0, 0x44))),
			want: the4(func(p *packet.Packet) {
				p.Length, p.Proto, p.ICMPType, p.ICMPCode, p.Payload = 56, 1, 3, 3, with(quote4, 0, 0x44)
			}),
		},
		"ICMPv6 time exceeded": {
			data: ip6(58, icmp(3, 0, quote6)),
			want: the6(func(p *packet.Packet) {
				p.Length, p.Proto, p.ICMPType, p.Payload = 116, 58, 3, quote6
				p.Quoted = packet.Quote{Src: src6, Dst: dst6, SrcPort: 40000, DstPort: 23, Proto: 6, Valid: true}
			}),
		},
		"IPv6 extension headers": {
			data: ip6(0, []byte{43, 0, 1, 4, 0, 0, 0, 0}, []byte{60, 2}, make([]byte, 22), []byte{51, 0, 1, 4, 0, 0, 0, 0}, []byte{6, 2}, make([]byte, 14), tcp(mss)),
			want: the6(syn(120, mss, []byte{})),
		},
		"IPv6 fragment": {
			data: ip6(44, fragment6(1), udp(53, hello)),
			want: the6(func(p *packet.Packet) { datagram(61, 53, hello)(p); p.ID, p.Flags = 0xdeadbeef, packet.Fragment }),
		},
		"IPv6 later fragment": {
			data: ip6(44, fragment6(0x100), hello),
			want: the6(func(p *packet.Packet) {
				p.Length, p.Proto, p.Payload, p.ID, p.Flags = 53, 17, hello, 0xdeadbeef, packet.Fragment|packet.LaterFragment
			}),
		},
		"IPv6 atomic fragment": {
			data: ip6(44, fragment6(0), udp(53, hello)),
			want: the6(func(p *packet.Packet) { datagram(61, 53, hello)(p); p.ID = 0xdeadbeef }),
		},
		"ESP": {data: ip6(50, hello), want: the6(func(p *packet.Packet) { p.Length, p.Proto, p.Payload = 45, 50, hello })},
		"no next header": {
			data: ip6(59), want: the6(func(p *packet.Packet) { p.Length, p.Proto, p.Payload = 40, 59, []byte{} }),
		},
		"mobility": {
			data: ip6(135, []byte{59, 0, 0, 0, 0, 0, 0, 0}),
			want: the6(func(p *packet.Packet) { p.Length, p.Proto, p.Payload = 48, 135, []byte{59, 0, 0, 0, 0, 0, 0, 0} }),
		},
		"IPv6 snapped in an extension header": {
			data: ip6(0, []byte{43, 0, 1, 4, 0, 0, 0, 0}, []byte{6, 2}, make([]byte, 22), tcp(nil))[:60], orig: 92,
			want: the6(func(p *packet.Packet) { p.Length, p.Proto, p.Flags = 92, 6, packet.NoTransport }),
		},
		"jumbogram": {data: with(plain6, 4, 0, 0), want: read6},
	} {
		if c.link == 0 && name != "null, little-endian" && name != "null, big-endian" {
			c.link = packet.LinkRaw
		}
		p := packet.Packet{Payload: hello, MSS: 9, Quoted: packet.Quote{Valid: true}, Flags: 0xff} // what an earlier frame left
		var d packet.Decoder
		if s := d.Decode(c.link, c.data, c.orig, &p); s != packet.OK {
			t.Errorf("%s: %v", name, s)
		}
		if diff := cmp.Diff(c.want, p, cmp.Transformer("bytes", func(b []byte) string { return string(b) })); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestNotOK(t *testing.T) {
	good := ip4(6, tcp(nil))
	deep := func(kind int, header []byte, n int) []byte {
		return eth(kind, slices.Repeat(header, n), good)
	}
	for name, c := range map[string]struct {
		link    packet.LinkType
		data    []byte
		orig    uint32
		want    packet.Status
		version uint8 // that addresses stand for
	}{
		"nothing":                   {packet.LinkEthernet, nil, 0, packet.Cut, 0},
		"ethernet cut":              {packet.LinkEthernet, eth(0x0800)[:13], 60, packet.Cut, 0},
		"IPv4 cut":                  {packet.LinkRaw, good[:19], 40, packet.Cut, 0},
		"IPv4 options cut":          {packet.LinkRaw, with(good, 0, 0x4f), 60, packet.Malformed, 0},
		"IPv4 options snapped":      {packet.LinkRaw, with(with(good, 0, 0x4f), 3, 60), 60, packet.Cut, 0},
		"IPv6 cut":                  {packet.LinkRaw, ip6(6)[:39], 60, packet.Cut, 0},
		"VLAN cut":                  {packet.LinkEthernet, eth(0x8100, []byte{0, 1}), 60, packet.Cut, 0},
		"MPLS cut":                  {packet.LinkEthernet, eth(0x8847, []byte{0, 0, 0, 1}), 60, packet.Cut, 0},
		"SLL cut":                   {packet.LinkSLL, make([]byte, 15), 60, packet.Cut, 0},
		"SLL2 cut":                  {packet.LinkSLL2, make([]byte, 19), 60, packet.Cut, 0},
		"version 5":                 {packet.LinkRaw, with(good, 0, 0x55), 0, packet.Malformed, 0},
		"IPv6 in IPv4's EtherType":  {packet.LinkEthernet, eth(0x0800, ip6(6, tcp(nil))), 0, packet.Malformed, 0},
		"IPv4 in IPv6's EtherType":  {packet.LinkEthernet, eth(0x86dd, good, good), 0, packet.Malformed, 0},
		"IHL 4":                     {packet.LinkRaw, with(good, 0, 0x44), 0, packet.Malformed, 0},
		"total length 19":           {packet.LinkRaw, with(good, 3, 19), 0, packet.Malformed, 0},
		"TCP data offset 4":         {packet.LinkRaw, with(good, 32, 0x40), 0, packet.Malformed, 4},
		"no room for TCP":           {packet.LinkRaw, ip4(6, tcp(nil)[:19]), 0, packet.Malformed, 4},
		"no room for UDP":           {packet.LinkRaw, ip4(17, udp(53)[:7]), 0, packet.Malformed, 4},
		"UDP length 7":              {packet.LinkRaw, with(ip4(17, udp(53)), 25, 7), 0, packet.Malformed, 4},
		"no room for ICMP":          {packet.LinkRaw, ip4(1, []byte{8, 0, 0, 0}), 0, packet.Malformed, 4},
		"hop-by-hop second":         {packet.LinkRaw, ip6(60, []byte{0, 0, 1, 4, 0, 0, 0, 0}, []byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp(nil)), 0, packet.Malformed, 6},
		"extension header too long": {packet.LinkRaw, ip6(60, []byte{6, 9, 1, 4, 0, 0, 0, 0}, tcp(nil)), 0, packet.Malformed, 6},
		"endless extension headers": {packet.LinkRaw, ip6(60, slices.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, 100)), 0, packet.Malformed, 6},
		"endless VLAN tags":         {packet.LinkEthernet, deep(0x8100, []byte{0, 1, 0x81, 0}, 1000), 0, packet.Malformed, 0},
		"endless labels":            {packet.LinkEthernet, deep(0x8847, []byte{0, 1, 0, 64}, 1000), 0, packet.Malformed, 0},
		"endless pseudowires":       {packet.LinkEthernet, deep(0x8847, cat([]byte{0, 1, 1, 64}, u32(0), eth(0x8847)), 1000), 0, packet.Malformed, 0},
		"PPPoE version":             {packet.LinkEthernet, eth(0x8864, []byte{0x12, 0, 0, 0, 0, 0, 0, 0x21}), 0, packet.Malformed, 0},
		"ARP":                       {packet.LinkEthernet, eth(0x0806, make([]byte, 28)), 0, packet.NotIP, 0},
		"LLDP":                      {packet.LinkEthernet, eth(0x88cc, make([]byte, 46)), 0, packet.NotIP, 0},
		"spanning tree":             {packet.LinkEthernet, eth(38, []byte{0x42, 0x42, 3}, make([]byte, 43)), 0, packet.NotIP, 0},
		"SNAP over SNAP":            {packet.LinkEthernet, eth(38, slices.Repeat([]byte{0xaa, 0xaa, 3, 0, 0, 0, 0, 99}, 1000)), 0, packet.Malformed, 0},
		"PPP LCP":                   {packet.LinkPPP, []byte{0xff, 3, 0xc0, 0x21, 1, 1}, 0, packet.NotIP, 0},
		"MPLS associated channel":   {packet.LinkEthernet, eth(0x8847, []byte{0, 1, 1, 64, 0x10, 0, 0, 7}), 0, packet.NotIP, 0},
		"null, AppleTalk":           {packet.LinkNull, []byte{16, 0, 0, 0}, 0, packet.NotIP, 0},
		"netlink":                   {packet.LinkSLL, cat([]byte{0, 4, 3, 0x38}, make([]byte, 10), u16(0x0800), good), 0, packet.NotIP, 0},
		"802.11":                    {105, good, 0, packet.UnknownLink, 0},
	} {
		var d packet.Decoder
		var p packet.Packet
		if s := d.Decode(c.link, c.data, c.orig, &p); s != c.want || p.Version != c.version {
			t.Errorf("%s: %v with version %d, want %v with %d", name, s, p.Version, c.want, c.version)
		}
	}
}

// TestTunnelledByHand covers what the captures lack.
func TestTunnelledByHand(t *testing.T) {
	inner := with(ip4(6, tcp(nil)), 12, 10, 0, 0, 1)
	full := cat([]byte{0xb0, 0, 8, 0, 0, 0, 0, 0}, u32(7), u32(8)) // checksum, key, sequence
	platform := cat([]byte{0x20, 1, 0, 1}, make([]byte, 7), []byte{1}, make([]byte, 8))
	vx := func(flags ...byte) []byte { return cat(flags, make([]byte, 8-len(flags))) }
	nested := inner
	for range 5 {
		nested = ip4(4, nested)
	}
	all := packet.GRE | packet.ERSPAN | packet.VXLAN | packet.IPIP
	for name, c := range map[string]struct {
		data   []byte
		want   packet.Status
		inside bool
		proto  uint8
	}{
		"GRE with all fields":      {ip4(47, full, inner), packet.OK, true, 6},
		"GRE over IPv6":            {ip6(47, []byte{0, 0, 8, 0}, inner), packet.OK, true, 6},
		"GRE, bridged":             {ip4(47, []byte{0, 0, 0x65, 0x58}, eth(0x8100, []byte{0, 7, 8, 0}, inner)), packet.OK, true, 6},
		"GRE, MPLS":                {ip4(47, []byte{0, 0, 0x88, 0x47, 0, 1, 1, 64}, inner), packet.OK, true, 6},
		"GRE, ARP inside":          {ip4(47, []byte{0, 0, 0x65, 0x58}, eth(0x0806, make([]byte, 28))), packet.OK, false, 47},
		"GRE, keepalive":           {ip4(47, []byte{0, 0, 0, 0}), packet.OK, false, 47},
		"GRE, version 1":           {ip4(47, []byte{0x20, 1, 0x88, 0x0b}, make([]byte, 12)), packet.OK, false, 47},
		"GRE, source route":        {ip4(47, []byte{0x40, 0, 8, 0}, make([]byte, 12)), packet.OK, false, 47},
		"GRE, no room":             {ip4(47, []byte{0x20, 0, 8, 0}), packet.Malformed, false, 47},
		"GRE, inside malformed":    {ip4(47, []byte{0, 0, 8, 0}, with(inner, 0, 0x41)), packet.Malformed, false, 47},
		"GRE, inside cut":          {ip4(47, []byte{0, 0, 8, 0}, inner[:10]), packet.Cut, false, 47},
		"ERSPAN III with platform": {ip4(47, []byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1}, platform, eth(0x0800, inner)), packet.OK, true, 6},
		"ERSPAN II, wrong version": {ip4(47, []byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1}, platform, eth(0x0800, inner)), packet.Malformed, false, 47},
		"VXLAN":                    {ip4(17, udp(4789, vx(8), eth(0x0800, inner))), packet.OK, true, 6},
		"VXLAN, group policy":      {ip4(17, udp(4789, vx(0x88), eth(0x0800, inner))), packet.OK, true, 6},
		"VXLAN, IPv4 without link": {ip4(17, udp(4789, vx(0x0c, 0, 0, 1), inner)), packet.OK, true, 6},
		"VXLAN's port, knocked":    {ip4(17, udp(4789, hello, hello)), packet.OK, false, 17},
		"VXLAN, the other port":    {ip4(17, udp(8472, vx(8), eth(0x0800, inner))), packet.OK, false, 17},
		"IP in IP, five deep":      {nested, packet.OK, true, 4},
		"IP in IP, a later fragment": {
			with(ip4(4, inner), 6, 0, 1), packet.OK, false, 4,
		},
	} {
		d := packet.Decoder{Tunnels: all}
		var p packet.Packet
		s := d.Decode(packet.LinkRaw, c.data, 0, &p)
		if inside := p.Flags&packet.Tunnelled != 0; s != c.want || inside != c.inside || p.Proto != c.proto {
			t.Errorf("%s: %v, inside %v, protocol %d; want %v, %v, %d", name, s, inside, p.Proto, c.want, c.inside, c.proto)
		}
		if !c.inside && (p.Src != src4 || p.Dst != dst4) {
			t.Errorf("%s: the outer addresses are lost: %v > %v", name, p.Src, p.Dst)
		}
		if c.inside && c.proto == 6 && p.Src != packet.V4(0x0a000001) {
			t.Errorf("%s: inside from %v", name, p.Src)
		}
	}
}

func TestDecodeIP(t *testing.T) {
	var d packet.Decoder
	var p packet.Packet
	if s := d.DecodeIP(ip6(6, tcp(mss)), &p); s != packet.OK || p.MSS != 1460 {
		t.Errorf("%v, MSS %d", s, p.MSS)
	}
	if s := d.DecodeIP(nil, &p); s != packet.Cut || p.Version != 0 {
		t.Errorf("of nothing: %v, version %d", s, p.Version)
	}
}

func TestStatusString(t *testing.T) {
	want := []string{"ok", "not_ip", "malformed", "cut", "unknown_link", "invalid"}
	for s := range packet.Status(6) {
		if s.String() != want[s] {
			t.Errorf("%d: %q, want %q", s, s, want[s])
		}
	}
}

// TestNoAllocation decodes each kind of frame; none may cost an allocation.
func TestNoAllocation(t *testing.T) {
	d := packet.Decoder{Tunnels: packet.GRE | packet.ERSPAN | packet.VXLAN | packet.IPIP}
	var p packet.Packet
	inner := ip4(6, tcp(mss, hello))
	for name, frame := range map[string][]byte{
		"TCP": eth(0x0800, inner), "IPv6": eth(0x86dd, ip6(0, []byte{17, 0, 1, 4, 0, 0, 0, 0}, udp(53))),
		"ICMP":  eth(0x0800, ip4(1, []byte{3, 3, 0, 0, 0, 0, 0, 0}, inner)),
		"VLAN":  eth(0x8100, []byte{0, 7, 8, 0}, inner),
		"VXLAN": eth(0x0800, ip4(17, udp(4789, []byte{8, 0, 0, 0, 0, 0, 0, 0}, eth(0x0800, inner)))),
		"GRE":   eth(0x0800, ip4(47, []byte{0, 0, 8, 0}, ip4(4, inner))),
		"bad":   eth(0x0800, ip4(47, []byte{0, 0, 8, 0}, with(inner, 0, 0x41))),
	} {
		if n := testing.AllocsPerRun(100, func() { d.Decode(packet.LinkEthernet, frame, 0, &p) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
