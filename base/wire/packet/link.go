package packet

// The link types that Decode reads, by their LINKTYPE_ numbers
// (draft-ietf-opsawg-pcaplinktype).
const (
	LinkNull     LinkType = 0 // BSD loopback, in the byte order of the capturing host
	LinkEthernet LinkType = 1
	LinkPPP      LinkType = 9
	LinkRawBSD   LinkType = 12 // DLT_RAW of most systems, when written unmapped
	LinkRawOpen  LinkType = 14 // DLT_RAW of OpenBSD, when written unmapped
	LinkPPPHDLC  LinkType = 50
	LinkPPPoE    LinkType = 51
	LinkRaw      LinkType = 101
	LinkCHDLC    LinkType = 104 // Cisco HDLC
	LinkLoop     LinkType = 108 // OpenBSD loopback, in network byte order
	LinkSLL      LinkType = 113 // Linux "cooked" capture
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276 // Linux "cooked" capture, version 2
)

// EtherTypes (IEEE 802, IANA ieee-802-numbers).
const (
	etherIPv4     = 0x0800
	etherIPv6     = 0x86dd
	etherVLAN     = 0x8100
	etherQinQ     = 0x88a8
	etherQinQOld  = 0x9100
	etherMPLS     = 0x8847
	etherMPLSMany = 0x8848
	etherPPPoE    = 0x8864 // session stage
	etherBridge   = 0x6558 // transparent Ethernet bridging, in GRE
	etherPPP      = 0x880b // PPP, in GRE
	etherERSPAN   = 0x88be // types I and II, in GRE
	etherERSPAN3  = 0x22eb
	etherMin      = 0x0600 // below it the field is an IEEE 802.3 length
)

// In the functions below b begins with the header to read and holds what was
// captured of it and of all that follows; wire is how long that was on the wire.

func (d *Decoder) link(link LinkType, b []byte, wire int, p *Packet) Status {
	switch link {
	case LinkRaw, LinkRawBSD, LinkRawOpen:
		return d.ip(b, wire, nest{}, p)
	case LinkIPv4:
		return d.ipv4(b, wire, nest{}, p)
	case LinkIPv6:
		return d.ipv6(b, wire, nest{}, p)
	case LinkNull, LinkLoop:
		return d.loopback(b, wire, p)
	case LinkSLL:
		// packet type 2, ARPHRD type 2, address length 2, address 8, protocol 2
		if len(b) < 16 {
			return Cut
		}
		return d.cooked(be16(b[2:]), be16(b[14:]), b[16:], wire-16, p)
	case LinkSLL2:
		// protocol 2, reserved 2, interface 4, ARPHRD type 2, packet type 1, …
		if len(b) < 20 {
			return Cut
		}
		return d.cooked(be16(b[8:]), be16(b), b[20:], wire-20, p)
	case LinkPPP, LinkPPPHDLC:
		return d.ppp(b, wire, nest{}, p)
	case LinkPPPoE:
		return d.pppoe(b, wire, nest{}, p)
	case LinkCHDLC:
		return d.chdlc(b, wire, nest{}, p)
	}
	return UnknownLink
}

func (d *Decoder) ethernet(b []byte, wire int, n nest, p *Packet) Status {
	if len(b) < 14 {
		return Cut
	}
	return d.ethertype(be16(b[12:]), b[14:], wire-14, n, p)
}

// ethertype reads what follows an EtherType of t: b begins after the field.
func (d *Decoder) ethertype(t uint16, b []byte, wire int, n nest, p *Packet) Status {
	for ; n.links < maxLinks; n.links++ {
		switch t {
		case etherIPv4:
			return d.ipv4(b, wire, n, p)
		case etherIPv6:
			return d.ipv6(b, wire, n, p)
		case etherVLAN, etherQinQ, etherQinQOld:
			if len(b) < 4 {
				return Cut
			}
			t = be16(b[2:])
			b, wire = b[4:], wire-4
		case etherMPLS, etherMPLSMany:
			n.links++
			return d.mpls(b, wire, n, p)
		case etherPPPoE:
			n.links++
			return d.pppoe(b, wire, n, p)
		default:
			if t >= etherMin {
				return NotIP
			}
			// IEEE 802.2: only SNAP (RFC 1042) carries IP; its OUI is 0, or
			// 0000f8 for bridges that tunnelled it (IEEE 802.1H).
			if len(b) < 8 || b[0] != 0xaa || b[1] != 0xaa || b[2] != 3 ||
				b[3] != 0 || b[4] != 0 || b[5] != 0 && b[5] != 0xf8 {
				return NotIP
			}
			t = be16(b[6:])
			b, wire = b[8:], wire-8
		}
	}
	return Malformed
}

// mpls pops labels (RFC 3032) until the bottom of the stack. Nothing says what
// lies below: the first nibble tells IP, and 0 a pseudowire's control word (RFC
// 4385); what is left may be Ethernet without one (RFC 4448).
func (d *Decoder) mpls(b []byte, wire int, n nest, p *Packet) Status {
	for range maxLabels {
		if len(b) < 4 {
			return Cut
		}
		bottom := b[2]&1 != 0
		b, wire = b[4:], wire-4
		if !bottom {
			continue
		}
		if len(b) == 0 {
			return Cut
		}
		switch b[0] >> 4 {
		case 4:
			return d.ipv4(b, wire, n, p)
		case 6:
			return d.ipv6(b, wire, n, p)
		case 1: // associated channel: the operator's own maintenance (RFC 5586)
			return NotIP
		case 0:
			if len(b) < 4 {
				return Cut
			}
			if be16(b) == 0 { // else a MAC address: RFC 4448 §4.6 reserves these bits
				b, wire = b[4:], wire-4
			}
		}
		return d.ethernet(b, wire, n, p)
	}
	return Malformed
}

// pppoe reads a session frame (RFC 2516): version and type 1, code 0, session 2,
// length 2.
func (d *Decoder) pppoe(b []byte, wire int, n nest, p *Packet) Status {
	if len(b) < 6 {
		return Cut
	}
	if b[0] != 0x11 {
		return Malformed
	}
	if b[1] != 0 {
		return NotIP // discovery
	}
	return d.ppp(b[6:], wire-6, n, p)
}

// ppp reads a PPP frame (RFC 1661) with or without HDLC framing (RFC 1662) and
// with or without a compressed protocol field, or Cisco HDLC in its place.
func (d *Decoder) ppp(b []byte, wire int, n nest, p *Packet) Status {
	if len(b) < 2 {
		return Cut
	}
	if b[0] == 0x0f || b[0] == 0x8f {
		return d.chdlc(b, wire, n, p)
	}
	if b[0] == 0xff && b[1] == 0x03 {
		b, wire = b[2:], wire-2
	}
	if len(b) < 2 {
		return Cut
	}
	proto, size := be16(b), 2
	if b[0]&1 != 0 {
		proto, size = uint16(b[0]), 1
	}
	b, wire = b[size:], wire-size
	switch proto {
	case 0x0021:
		return d.ipv4(b, wire, n, p)
	case 0x0057:
		return d.ipv6(b, wire, n, p)
	case 0x0281, 0x0283: // RFC 3032 §4.3
		return d.mpls(b, wire, n, p)
	}
	return NotIP
}

func (d *Decoder) chdlc(b []byte, wire int, n nest, p *Packet) Status {
	if len(b) < 4 {
		return Cut
	}
	if t := be16(b[2:]); t >= etherMin {
		return d.ethertype(t, b[4:], wire-4, n, p)
	}
	return NotIP
}

// cooked reads below a Linux cooked header: proto is an EtherType except on the
// device types where it means something else.
func (d *Decoder) cooked(arphrd, proto uint16, b []byte, wire int, p *Packet) Status {
	const netlink = 824 // ARPHRD_NETLINK: proto is a netlink family
	if arphrd == netlink {
		return NotIP
	}
	return d.ethertype(proto, b, wire, nest{}, p)
}

// loopback reads the four-byte address family of BSD loopback. The capturing
// host's byte order isn't recorded, but no family exceeds 16 bits.
func (d *Decoder) loopback(b []byte, wire int, p *Packet) Status {
	if len(b) < 4 {
		return Cut
	}
	family := be32(b)
	if family > 0xffff {
		family = uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	}
	switch family {
	case 2: // AF_INET everywhere
		return d.ipv4(b[4:], wire-4, nest{}, p)
	case 10, 23, 24, 28, 30: // AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
		return d.ipv6(b[4:], wire-4, nest{}, p)
	}
	return NotIP
}
