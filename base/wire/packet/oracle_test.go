package packet_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"sakimori/base/wire/packet"
)

// facts are what both readers say of the outermost IP packet of a frame.
type facts struct {
	Src, Dst         string
	Length, ID       uint32
	Version, Proto   uint8
	TOS, TTL         uint8
	Flags            packet.Flags // Fragment, LaterFragment and DontFragment
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	TCPFlags         packet.TCPFlags
	Window, MSS      uint16
	Type, Code       uint8 // ICMP
}

var firstLayers = map[packet.LinkType]gopacket.LayerType{
	packet.LinkEthernet: layers.LayerTypeEthernet,
	packet.LinkRaw:      layers.LayerTypeIPv4,
	packet.LinkIPv4:     layers.LayerTypeIPv4,
	packet.LinkIPv6:     layers.LayerTypeIPv6,
	packet.LinkSLL:      layers.LayerTypeLinuxSLL,
	packet.LinkPPP:      layers.LayerTypePPP,
}

// oracle reads a frame with gopacket. ip tells whether there was an IP packet,
// transport whether the header after it was whole, fault whether gopacket gave
// up before that, and lax that it let another IP version pass than the frame
// says, or a UDP length of 0 in IPv4.
func oracle(link packet.LinkType, data []byte) (f facts, ip, transport, fault, lax bool) {
	var version uint8
	var zero bool
	first := firstLayers[link]
	if link == packet.LinkRaw && len(data) > 0 && data[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(data, first, gopacket.NoCopy)
	top := false // the last layer was the transport: its fields may be unset
	for _, l := range p.Layers() {
		last := top
		top = false
		switch l := l.(type) {
		case *layers.IPv4:
			if ip {
				return f, ip, transport, fault, zero || ip && version != f.Version
			}
			ip, version = true, l.Version
			f = facts{Src: canonical(l.SrcIP), Dst: canonical(l.DstIP), Length: uint32(l.Length), ID: uint32(l.Id), Version: 4, Proto: uint8(l.Protocol), TOS: l.TOS, TTL: l.TTL}
			if l.Flags&layers.IPv4DontFragment != 0 {
				f.Flags |= packet.DontFragment
			}
			if l.Flags&layers.IPv4MoreFragments != 0 || l.FragOffset != 0 {
				f.Flags |= packet.Fragment
			}
			if l.FragOffset != 0 {
				f.Flags |= packet.LaterFragment
			}
		case *layers.IPv6:
			if ip {
				return f, ip, transport, fault, zero || ip && version != f.Version
			}
			ip, version = true, l.Version
			f = facts{Src: canonical(l.SrcIP), Dst: canonical(l.DstIP), Length: 40 + uint32(l.Length), Version: 6, Proto: uint8(l.NextHeader), TOS: l.TrafficClass, TTL: l.HopLimit}
		case *layers.IPv6HopByHop:
			f.Proto = uint8(l.NextHeader)
		case *layers.IPv6Routing:
			f.Proto = uint8(l.NextHeader)
		case *layers.IPv6Destination:
			f.Proto = uint8(l.NextHeader)
		case *layers.IPSecAH:
			f.Proto = uint8(l.NextHeader)
		case *layers.IPv6Fragment:
			f.Proto, f.ID = uint8(l.NextHeader), l.Identification
			if l.MoreFragments || l.FragmentOffset != 0 {
				f.Flags |= packet.Fragment
			}
			if l.FragmentOffset != 0 {
				f.Flags |= packet.LaterFragment
			}
		case *layers.TCP:
			if !ip {
				continue
			}
			transport, top = true, true
			f.SrcPort, f.DstPort, f.Seq, f.Ack, f.Window = uint16(l.SrcPort), uint16(l.DstPort), l.Seq, l.Ack, l.Window
			for i, on := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR} {
				if on {
					f.TCPFlags |= 1 << i
				}
			}
			for _, o := range l.Options {
				if o.OptionType == layers.TCPOptionKindMSS && len(o.OptionData) == 2 && f.MSS == 0 {
					f.MSS = binary.BigEndian.Uint16(o.OptionData)
				}
			}
		case *layers.UDP:
			if ip && !transport {
				transport, top = true, true
				f.SrcPort, f.DstPort = uint16(l.SrcPort), uint16(l.DstPort)
				zero = l.Length == 0 && f.Version == 4
			}
		case *layers.ICMPv4:
			if ip && !transport {
				transport, top = true, true
				f.Type, f.Code = l.TypeCode.Type(), l.TypeCode.Code()
			}
		case *layers.ICMPv6:
			if ip && !transport {
				transport, top = true, true
				f.Type, f.Code = l.TypeCode.Type(), l.TypeCode.Code()
			}
		case *gopacket.DecodeFailure:
			fault = !transport || last
		}
	}
	return f, ip, transport, fault, zero || ip && version != f.Version
}

func canonical(ip []byte) string {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap().String()
}

func ours(p *packet.Packet) facts {
	return facts{
		Src: p.Src.String(), Dst: p.Dst.String(), Length: p.Length, ID: p.ID, Version: p.Version, Proto: p.Proto, TOS: p.TOS, TTL: p.TTL,
		Flags:   p.Flags & (packet.Fragment | packet.LaterFragment | packet.DontFragment),
		SrcPort: p.SrcPort, DstPort: p.DstPort, Seq: p.Seq, Ack: p.Ack, TCPFlags: p.TCPFlags, Window: p.Window, MSS: p.MSS,
		Type: p.ICMPType, Code: p.ICMPCode,
	}
}

// disagreement compares what we read of a frame (s, p) with what gopacket does,
// and returns "" or how they differ. gopacket is the laxer of the two about
// lengths and the stricter about TCP options and names inside payloads.
func disagreement(link packet.LinkType, data []byte, s packet.Status, p *packet.Packet) string {
	want, ip, transport, fault, lax := oracle(link, data)
	got := ours(p)
	switch {
	case s == packet.OK && !ip && !fault:
		return fmt.Sprintf("we read %+v, gopacket sees no IP", got)
	case s == packet.NotIP && ip && !fault:
		return fmt.Sprintf("we see no IP, gopacket reads %+v", want)
	case s != packet.OK && ip && !fault && !lax && (transport || p.Version == 0 || p.Proto == 6 && p.Flags&(packet.NoTransport|packet.Fragment) == 0):
		// Without a transport header read it says nothing that we contradict: it
		// leaves those of first fragments and of empty packets alone.
		return fmt.Sprintf("we say %v of %+v, gopacket reads %+v", s, got, want)
	}
	if !ip || p.Version == 0 {
		return ""
	}
	if fault && want.Src == "invalid IP" { // options that gopacket couldn't read
		return ""
	}
	if want.Version == 6 && want.Length == 40 {
		want.Length = got.Length // a jumbogram
	}
	if (want.Version == 6 || want.Proto == 51) && (fault || p.Flags&(packet.NoTransport|packet.Fragment) != 0) {
		want.Proto = got.Proto // how far either came along the extension headers
	}
	if transport && fault {
		want.MSS = got.MSS // in options that gopacket couldn't read
		transport = s == packet.OK
	}
	if !transport || p.Flags&packet.NoTransport != 0 {
		for _, f := range []*facts{&got, &want} { // only the IP headers were read by both
			f.SrcPort, f.DstPort, f.Seq, f.Ack, f.TCPFlags, f.Window, f.MSS, f.Type, f.Code = 0, 0, 0, 0, 0, 0, 0, 0, 0
		}
	}
	return cmp.Diff(want, got)
}
