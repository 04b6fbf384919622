package speaker

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/respond/mitigate"
)

func hexOf(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// The bytes as RFC 8955, sections 4.2 and 7, and RFC 8956, section 3, have them, by hand.
func TestEncode(t *testing.T) {
	to, from := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("203.0.113.0/24")
	for name, c := range map[string]struct {
		rule mitigate.Rule
		nlri string
		does string
	}{
		"TCP to port 25": { // RFC 8955, section 4.3.1
			mitigate.Rule{Match: mitigate.Match{Dst: to, Proto: mitigate.Just(6), DstPort: mitigate.Just(25)}, Action: mitigate.Drop},
			"0b 01 18 c0 00 02  03 81 06  05 81 19", "80 06 00 00 00 00 00 00",
		},
		"from a net to a span of ports or 8080": { // as section 4.3.2
			mitigate.Rule{Match: mitigate.Match{Dst: to, Src: from, DstPort: mitigate.Union(mitigate.Span{From: 137, To: 139}, mitigate.Span{From: 8080, To: 8080})}, Action: mitigate.RateBytes, Rate: 1000},
			"12 01 18 c0 00 02  02 18 cb 00 71  05 03 89 45 8b 91 1f 90", "80 06 00 00 44 7a 00 00",
		},
		"SYN without ACK or RST": {
			mitigate.Rule{Match: mitigate.Match{Dst: to, Proto: mitigate.Just(6), Flags: mitigate.Flags{Set: packet.SYN, Clear: packet.ACK | packet.RST}}, Action: mitigate.RatePackets, Rate: 1000},
			"0d 01 18 c0 00 02  03 81 06  09 01 02 c2 14", "80 0c 00 00 44 7a 00 00",
		},
		"not ACK": {
			mitigate.Rule{Match: mitigate.Match{Dst: to, Proto: mitigate.Just(6), Flags: mitigate.Flags{Clear: packet.ACK}}, Action: mitigate.Mark, DSCP: 8},
			"0b 01 18 c0 00 02  03 81 06  09 82 10", "80 09 00 00 00 00 00 08",
		},
		"whole datagrams": {
			mitigate.Rule{Match: mitigate.Match{Dst: to, Fragment: mitigate.Whole}, Action: mitigate.Redirect, To: "64500:100"},
			"08 01 18 c0 00 02  0c 82 06", "80 08 fb f4 00 00 00 64",
		},
		"fragments": {
			mitigate.Rule{Match: mitigate.Match{Dst: to, Fragment: mitigate.First | mitigate.Later}, Action: mitigate.Redirect, To: "4200000000:100"},
			"08 01 18 c0 00 02  0c 80 06", "82 08 fa 56 ea 00 00 64",
		},
		"IPv6": {
			mitigate.Rule{Match: mitigate.Match{Dst: netip.MustParsePrefix("2001:db8::/32"), Proto: mitigate.Just(58), ICMPType: mitigate.Just(128)}, Action: mitigate.Redirect, To: "192.0.2.1:100"},
			"0d 01 20 00 20 01 0d b8  03 81 3a  07 81 80", "81 08 c0 00 02 01 00 64",
		},
		"RTBH": {
			mitigate.Rule{Match: mitigate.Match{Dst: netip.MustParsePrefix("192.0.2.66/32")}, Action: mitigate.RTBH},
			"20 c0 00 02 42", "",
		},
	} {
		r, err := encode(c.rule)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := string(r.family) + " " + hexOf(c.nlri); r.key != want {
			t.Errorf("%s: NLRI %x, want %x", name, r.key, want)
		}
		if c.does == "" {
			c.does = hex.EncodeToString([]byte(mitigate.RTBH))
		}
		if r.does != hexOf(c.does) {
			t.Errorf("%s: action %x, want %s", name, r.does, c.does)
		}
	}
}

// What BGP has no word for is an error, not another rule.
func TestEncodeNot(t *testing.T) {
	to := netip.MustParsePrefix("192.0.2.0/24")
	for _, r := range []mitigate.Rule{
		{Action: mitigate.Drop}, // for everybody
		{Match: mitigate.Match{Dst: to}, Action: "burn"},
		{Match: mitigate.Match{Dst: to}, Action: mitigate.Redirect, To: "scrubber"},
		{Match: mitigate.Match{Dst: to}, Action: mitigate.Redirect, To: "4200000000:65536"},
		{Match: mitigate.Match{Dst: to}, Action: mitigate.Redirect, To: "2001:db8::1:1"},
		{Match: mitigate.Match{Src: to}, Action: mitigate.RTBH},
		{Match: mitigate.Match{Dst: to, Proto: mitigate.Just(6), DstPort: mitigate.Just(80)}, Action: mitigate.RTBH},
	} {
		if e, err := encode(r); err == nil {
			t.Errorf("%s became %x", r.String(), e.key)
		}
	}
}

// datagram is a packet, as much of it as a rule may ask for.
type datagram struct {
	dst, src                 netip.Addr
	proto, kind, code, dscp  uint8
	dstPort, srcPort, length uint16
	flags                    packet.TCPFlags
	first, later             bool
}

// fits says by the rule's own words whether it matches.
func fits(m *mitigate.Match, d *datagram) bool {
	part := mitigate.Whole
	if d.first {
		part = mitigate.First
	}
	if d.later {
		part = mitigate.Later
	}
	return (!m.Dst.IsValid() || m.Dst.Contains(d.dst)) && (!m.Src.IsValid() || m.Src.Contains(d.src)) &&
		m.Proto.Has(uint16(d.proto)) && m.DstPort.Has(d.dstPort) && m.SrcPort.Has(d.srcPort) && m.ICMPType.Has(uint16(d.kind)) && m.ICMPCode.Has(uint16(d.code)) &&
		m.Length.Has(d.length) && m.DSCP.Has(uint16(d.dscp)) && d.flags&m.Flags.Set == m.Flags.Set && d.flags&m.Flags.Clear == 0 && (m.Fragment == 0 || m.Fragment&part != 0)
}

// router matches as RFC 8955, section 4.2, tells a router to, from the bytes.
func router8955(t *rapid.T, nlri []byte, six bool, d *datagram) bool {
	n := int(nlri[0])
	nlri = nlri[1:]
	if n >= 0xf0 {
		n, nlri = (n&0xf)<<8|int(nlri[0]), nlri[1:]
	}
	if n != len(nlri) {
		t.Fatalf("%d bytes are told, %d there", n, len(nlri))
	}
	before := byte(0)
	for len(nlri) > 0 {
		typ := nlri[0]
		if typ <= before {
			t.Fatalf("component %d after %d", typ, before)
		}
		before, nlri = typ, nlri[1:]
		if typ <= 2 {
			bits, skip := int(nlri[0]), 1
			if six {
				if nlri[1] != 0 {
					t.Fatal("an offset")
				}
				skip = 2
			}
			b := make([]byte, 4)
			if six {
				b = make([]byte, 16)
			}
			copy(b, nlri[skip:skip+(bits+7)/8])
			nlri = nlri[skip+(bits+7)/8:]
			a, _ := netip.AddrFromSlice(b)
			of := d.dst
			if typ == 2 {
				of = d.src
			}
			if !netip.PrefixFrom(a, bits).Contains(of) {
				return false
			}
			continue
		}
		var v uint64
		switch typ {
		case 3:
			v = uint64(d.proto)
		case 5:
			v = uint64(d.dstPort)
		case 6:
			v = uint64(d.srcPort)
		case 7:
			v = uint64(d.kind)
		case 8:
			v = uint64(d.code)
		case 9:
			v = uint64(d.flags)
		case 10:
			v = uint64(d.length)
		case 11:
			v = uint64(d.dscp)
		case 12:
			if d.later {
				v |= 2
			}
			if d.first {
				v |= 4
			}
		default:
			t.Fatalf("component %d", typ)
		}
		bitmask := typ == 9 || typ == 12
		result, end := false, false
		for i := 0; !end; i++ {
			op := nlri[0]
			size := 1 << (op >> 4 & 3)
			w := make([]byte, 8)
			copy(w[8-size:], nlri[1:1+size])
			want := binary.BigEndian.Uint64(w)
			nlri, end = nlri[1+size:], op&0x80 != 0
			var is bool
			if bitmask {
				is = v&want != 0
				if op&1 != 0 {
					is = v&want == want
				}
				if op&2 != 0 {
					is = !is
				}
			} else {
				is = op&4 != 0 && v < want || op&2 != 0 && v > want || op&1 != 0 && v == want
			}
			switch {
			case i == 0:
				result = is
			case op&0x40 != 0:
				result = result && is
			default:
				result = result || is
			}
		}
		if !result {
			return false
		}
	}
	return true
}

func aSet(t *rapid.T, top uint16, name string) mitigate.Set {
	spans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) mitigate.Span {
		a := rapid.Uint16Range(0, top).Draw(t, "from")
		return mitigate.Span{From: a, To: rapid.Uint16Range(a, top).Draw(t, "to")}
	}), 0, 3).Draw(t, name)
	return mitigate.Union(spans...)
}

// aRule draws from a universe small enough that a packet often fits.
func aRule(t *rapid.T, six bool) mitigate.Rule {
	prefix := func(name, base string, bits, most int) netip.Prefix {
		if rapid.IntRange(0, 2).Draw(t, name) == 0 {
			return netip.Prefix{}
		}
		return netip.PrefixFrom(netip.MustParseAddr(base), rapid.IntRange(bits, most).Draw(t, name+" length")).Masked()
	}
	m := mitigate.Match{Dst: prefix("dst", "192.0.2.1", 20, 32), Src: prefix("src", "203.0.113.1", 20, 32)}
	if six {
		m.Dst, m.Src = prefix("dst", "2001:db8::1", 30, 128), prefix("src", "2001:db8:bad::1", 30, 128)
	}
	m.Proto, m.DstPort, m.SrcPort = aSet(t, 255, "proto"), aSet(t, 65535, "dst port"), aSet(t, 300, "src port")
	m.Length, m.DSCP = aSet(t, 1500, "length"), aSet(t, 63, "dscp")
	m.ICMPType, m.ICMPCode = aSet(t, 255, "type"), aSet(t, 3, "code")
	m.Flags.Set = packet.TCPFlags(rapid.Uint8().Draw(t, "set")) & packet.TCPFlags(rapid.Uint8().Draw(t, "set too"))
	m.Flags.Clear = packet.TCPFlags(rapid.Uint8().Draw(t, "clear")) &^ m.Flags.Set
	m.Fragment = mitigate.Fragments(rapid.Uint8Range(0, 7).Draw(t, "fragment"))
	for _, drop := range rapid.SliceOfN(rapid.IntRange(0, 8), 4, 9).Draw(t, "left out") { // few have them all
		switch drop {
		case 0:
			m.Proto = nil
		case 1:
			m.DstPort = nil
		case 2:
			m.SrcPort = nil
		case 3:
			m.ICMPType = nil
		case 4:
			m.ICMPCode = nil
		case 5:
			m.Length = nil
		case 6:
			m.DSCP = nil
		case 7:
			m.Flags = mitigate.Flags{}
		case 8:
			m.Fragment = 0
		}
	}
	return mitigate.Rule{Match: m, Action: mitigate.Drop}
}

// A router that does what the RFC says matches just what the rule says.
func TestRouterUnderstands(t *testing.T) {
	fit := 0
	rapid.Check(t, func(t *rapid.T) {
		six := rapid.Bool().Draw(t, "six")
		r := aRule(t, six)
		e, err := encode(r)
		if err != nil {
			t.Skip(err)
		}
		nlri := []byte(e.key[len(e.family)+1:])
		for range 20 {
			d := datagram{
				dst: netip.MustParseAddr("192.0.2.1"), src: netip.MustParseAddr("203.0.113.1"),
				proto: rapid.Uint8().Draw(t, "proto"), kind: rapid.Uint8().Draw(t, "type"), code: rapid.Uint8Range(0, 3).Draw(t, "code"), dscp: rapid.Uint8Range(0, 63).Draw(t, "dscp"),
				dstPort: rapid.Uint16().Draw(t, "dst port"), srcPort: rapid.Uint16Range(0, 300).Draw(t, "src port"), length: rapid.Uint16Range(0, 1500).Draw(t, "length"),
				flags: packet.TCPFlags(rapid.Uint8().Draw(t, "flags")),
			}
			if six {
				d.dst, d.src = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:bad::1")
			}
			if rapid.IntRange(0, 9).Draw(t, "elsewhere") == 0 {
				d.dst = d.dst.Next().Next()
			}
			switch rapid.IntRange(0, 2).Draw(t, "part") {
			case 1:
				d.first = true
			case 2:
				d.later = true
			}
			want := fits(&r.Match, &d)
			if want {
				fit++
			}
			if got := router8955(t, nlri, six, &d); got != want {
				t.Fatalf("%s: the rule %t, a router %t, of %+v", r.String(), want, got, d)
			}
		}
	})
	if fit == 0 {
		t.Error("no packet fitted a rule")
	}
}

// GoBGP keeps flowspec routes by their text: two rules must not have the same. Numbers are
// written out; what could fall together are names of protocols and of bits.
func TestTextsDiffer(t *testing.T) {
	seen := map[string]string{}
	add := func(m mitigate.Match) {
		m.Dst = netip.MustParsePrefix("192.0.2.1/32")
		e, err := encode(mitigate.Rule{Match: m, Action: mitigate.Drop})
		if err != nil {
			return // no packet is like this
		}
		if had, ok := seen[e.nlri.String()]; ok && had != e.key {
			t.Errorf("%x and %x are both %s", had, e.key, e.nlri)
		}
		seen[e.nlri.String()] = e.key
	}
	for p := range uint16(256) {
		add(mitigate.Match{Proto: mitigate.Just(p)})
		add(mitigate.Match{Proto: mitigate.Just(1), ICMPType: mitigate.Just(p)})
		for clear := range uint16(256) {
			add(mitigate.Match{Proto: mitigate.Just(6), Flags: mitigate.Flags{Set: packet.TCPFlags(p), Clear: packet.TCPFlags(clear)}})
		}
	}
	for f := range mitigate.Fragments(8) {
		add(mitigate.Match{Fragment: f})
	}
	if len(seen) < 3*3*3*3*3*3*3*3 {
		t.Errorf("only %d rules", len(seen))
	}
}
