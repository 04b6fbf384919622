package telescope

import (
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// kindOf is the type of a packet to dark space, from its form alone: what it
// asks or answers, never who sent it. The class follows from the kind.
//
// TCP and ICMP are divided as corsaro3's backscatter filter does (SYN+ACK, RST;
// ICMP 0, 3, 4, 5, 11, 12, 14, 16, 18); UDP by what the payload of a service's
// port says, where that filter knows source port 53 only.
func kindOf(p *packet.Packet) observe.Kind {
	if p.Flags&packet.LaterFragment != 0 {
		return observe.KindFragment
	}
	if p.Flags&packet.NoTransport != 0 {
		return observe.KindOther
	}
	switch p.Proto {
	case packet.TCP:
		return tcpKind(p.TCPFlags)
	case packet.UDP:
		return udpKind(p)
	case packet.ICMP:
		switch p.ICMPType {
		case 8, 13, 15, 17:
			return observe.KindICMPRequest
		case 0, 14, 16, 18:
			return observe.KindICMPAnswer
		case 3, 4, 5, 11, 12:
			return observe.KindICMPError
		}
	case packet.ICMPv6:
		switch p.ICMPType {
		case 128:
			return observe.KindICMPRequest
		case 129:
			return observe.KindICMPAnswer
		case 1, 2, 3, 4:
			return observe.KindICMPError
		}
	}
	return observe.KindOther
}

func tcpKind(f packet.TCPFlags) observe.Kind {
	switch f & (packet.SYN | packet.ACK | packet.RST | packet.FIN) {
	case packet.SYN:
		return observe.KindTCPSyn
	case packet.SYN | packet.ACK:
		return observe.KindTCPSynAck
	case 0, packet.FIN, packet.SYN | packet.FIN:
		return observe.KindTCPStealth
	}
	if f&packet.RST != 0 {
		return observe.KindTCPRst
	}
	return observe.KindTCPAck
}

func udpKind(p *packet.Packet) observe.Kind {
	if serves[p.SrcPort>>6]>>(p.SrcPort&63)&1 == 0 {
		return observe.KindUDP
	}
	s := services[p.SrcPort]
	is := notAnswer
	switch {
	case len(p.Payload) > 0:
		is = s.answer(p.Payload)
	case p.Length <= 28, p.Version == 6 && p.Length <= 48: // an empty datagram answers nothing
	default: // cut off by the snapshot length: an answer goes to no service
		_, service := services[p.DstPort]
		is = when(!service && p.DstPort >= 1024)
	}
	switch {
	case is == notAnswer:
		return observe.KindUDP
	case s.reflected || p.SrcPort == 123 && len(p.Payload) > 0 && ntpAmplified(p.Payload):
		return observe.KindUDPReflected
	}
	return observe.KindUDPAnswer
}

// serves has a bit for each port of a service: nearly all packets are spared the
// look-up.
var serves = func() (bits [1 << 16 / 64]uint64) {
	for port := range services {
		bits[port>>6] |= 1 << (port & 63)
	}
	return bits
}()

// portOf is the port by which an event is keyed: the one asked for, the
// source's own in answers (it is the attacked service), and type and code of ICMP.
func portOf(p *packet.Packet, k observe.Kind) uint16 {
	switch {
	case p.Proto == packet.ICMP || p.Proto == packet.ICMPv6:
		return uint16(p.ICMPType)<<8 | uint16(p.ICMPCode)
	case k.SourcePort():
		return p.SrcPort
	}
	return p.DstPort
}

// spoofHint tells whether the source address of a packet may be forged; so does
// forged, of all packets of a source. None of these is proof (corsaro3's filters;
// reference of the telescope §8): a host part of 0 or 255, the target's own
// address, port 0, or a start TTL of 255, which no system's TCP uses but
// raw-socket programs do.
func spoofHint(p *packet.Packet, k observe.Kind, named bool) bool {
	if (p.SrcPort == 0 || p.DstPort == 0) && (p.Proto == packet.TCP || p.Proto == packet.UDP) && p.Flags&packet.NoTransport == 0 || p.Src == p.Dst {
		return true
	}
	return k == observe.KindTCPSyn && p.TTL >= 200 && !named
}

func forged(src packet.Addr) bool {
	if !src.Is4() {
		return false
	}
	v := src.V4()
	if o := v & 0xff; o == 0 || o == 255 {
		return true
	}
	// Not routed on the Internet (RFC 6890), or multicast.
	return v>>24 == 0 || v>>24 == 127 || v>>24 == 10 || v>>28 >= 14 || v>>20 == 0xac1 || v>>16 == 0xc0a8
}
