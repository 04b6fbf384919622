package packet_test

import (
	"slices"
	"testing"

	"sakimori/base/wire/packet"
)

// FuzzDecode: no frame crashes the decoder or makes it reach beyond the frame,
// whatever tunnels are switched on; what gopacket reads too, it reads alike; and
// an earlier frame leaves no trace.
func FuzzDecode(f *testing.F) {
	inner := ip4(6, tcp(mss, hello))
	for _, seed := range [][]byte{
		inner,
		ip4(17, udp(4789, []byte{8, 0, 0, 0, 0, 0, 0, 0}, eth(0x0800, inner))),
		ip4(47, []byte{0x30, 0, 0x88, 0xbe, 0, 0, 0, 1, 0, 0, 0, 2, 0x10, 0, 0, 0, 0, 0, 0, 0}, eth(0x0800, inner)),
		ip4(1, []byte{3, 3, 0, 0, 0, 0, 0, 0}, inner),
		with(ip4(17, udp(53)), 6, 0x20, 0),
	} {
		f.Add(uint16(1), uint8(15), uint32(0), eth(0x0800, seed))
		f.Add(uint16(1), uint8(15), uint32(0), eth(0x8847, []byte{0, 1, 1, 64}, seed))
		f.Add(uint16(1), uint8(15), uint32(0), eth(0x8864, []byte{0x11, 0, 0, 1, 0, 99, 0, 0x21}, seed))
		f.Add(uint16(113), uint8(15), uint32(0), cat(make([]byte, 14), u16(0x0800), seed))
		f.Add(uint16(101), uint8(15), uint32(9000), seed)
	}
	f.Add(uint16(1), uint8(0), uint32(0), eth(0x8100, []byte{0, 7, 0x86, 0xdd}, ip6(0, []byte{44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9}, udp(53, hello))))
	f.Add(uint16(0), uint8(15), uint32(0), cat([]byte{2, 0, 0, 0}, inner))
	f.Fuzz(func(t *testing.T, link uint16, tunnels uint8, orig uint32, data []byte) {
		data = slices.Clip(data)
		l := packet.LinkType(link)
		d := packet.Decoder{Tunnels: packet.Tunnels(tunnels), VXLANPort: 8472}
		p, fresh := packet.Packet{Seq: 1, MSS: 2, Payload: hello, Flags: 0xff, Quoted: packet.Quote{Valid: true}}, packet.Packet{}
		s := d.Decode(l, data, orig, &p)
		within(t, data, &p)
		if again := d.Decode(l, data, orig, &fresh); again != s || ours(&fresh) != ours(&p) || fresh.Quoted != p.Quoted {
			t.Fatalf("twice decoded, twice different: %v %+v, %v %+v", s, p, again, fresh)
		}
		if s == packet.OK && p.Version != 4 && p.Version != 6 {
			t.Fatalf("OK without a packet: %+v", p)
		}
		if !comparable(l, data) {
			return
		}
		d = packet.Decoder{}
		s = d.Decode(l, data, 0, &p) // gopacket doesn't know the length on the wire
		if diff := disagreement(l, data, s, &p); diff != "" {
			t.Fatalf("%v: %s", s, diff)
		}
	})
}

// comparable tells whether gopacket reads this link header as we do: IP alone,
// or in Ethernet with up to eight VLAN tags. It has its own ideas of what lies
// under MPLS labels, of PPPoE's length and of 802.2.
func comparable(l packet.LinkType, data []byte) bool {
	switch l {
	case packet.LinkRaw, packet.LinkIPv4, packet.LinkIPv6:
		return len(data) > 0
	case packet.LinkEthernet:
		for at := 12; at <= 12+7*4 && len(data) >= at+2; at += 4 {
			switch kind := int(data[at])<<8 | int(data[at+1]); kind {
			case 0x0800, 0x86dd:
				return true
			case 0x8100, 0x88a8:
			default:
				return false
			}
		}
	}
	return false
}
