package packet

// ip reads a packet whose version only its first nibble tells.
func (d *Decoder) ip(b []byte, wire int, n nest, p *Packet) Status {
	if len(b) == 0 {
		return Cut
	}
	if b[0]>>4 == 6 {
		return d.ipv6(b, wire, n, p)
	}
	return d.ipv4(b, wire, n, p)
}

// ipv4 reads an IPv4 packet (RFC 791).
func (d *Decoder) ipv4(b []byte, wire int, n nest, p *Packet) Status {
	if len(b) < 20 {
		if len(b) > 0 && b[0]>>4 != 4 {
			return Malformed
		}
		return Cut
	}
	header, total := int(b[0]&15)*4, int(be16(b[2:]))
	if total == 0 { // segmentation offload
		total = wire
	}
	if b[0]>>4 != 4 || header < 20 || total < header {
		return Malformed
	}
	if len(b) < header {
		return Cut
	}
	p.Version = 4
	p.Src, p.Dst = V4(be32(b[12:])), V4(be32(b[16:]))
	p.Length = uint32(total) //nolint:gosec // a frame is shorter than 4 GB
	p.ID = uint32(be16(b[4:]))
	p.TOS, p.TTL, p.Proto = b[1], b[8], b[9]
	// What follows the packet in its frame is Ethernet padding or a trailer.
	body := b[header:min(total, len(b))]
	fragment := be16(b[6:])
	if fragment&0x4000 != 0 {
		p.Flags = DontFragment
	}
	if fragment&0x3fff != 0 {
		p.Flags |= Fragment
		if fragment&0x1fff != 0 {
			p.Flags |= LaterFragment
			p.Payload = body
			return OK
		}
	}
	if p.Proto == TCP {
		return tcp(body, total-header, p)
	}
	if p.Proto == authentication {
		return d.extended(body, total-header, n, p)
	}
	return d.transport(body, total-header, n, p)
}

// ipv6 reads an IPv6 packet (RFC 8200).
func (d *Decoder) ipv6(b []byte, wire int, n nest, p *Packet) Status {
	if len(b) > 0 && b[0]>>4 != 6 {
		return Malformed
	}
	if len(b) < 40 {
		return Cut
	}
	stated := int(be16(b[4:]))
	if stated == 0 && b[6] != noNext { // a jumbogram, or segmentation offload
		stated = wire - 40
	}
	p.Version = 6
	p.Src, p.Dst = addr6(b[8:]), addr6(b[24:])
	p.Length = uint32(40 + stated) //nolint:gosec // a frame is shorter than 4 GB
	p.TOS, p.Proto, p.TTL = b[0]<<4|b[1]>>4, b[6], b[7]
	body := b[40:min(40+stated, len(b))]
	switch p.Proto {
	case TCP, UDP, ICMPv6:
		return d.transport(body, stated, n, p)
	}
	return d.extended(body, stated, n, p)
}

func addr6(b []byte) Addr { return Addr{be64(b), be64(b[8:])} }

// extended walks the extension headers between an IP header and the transport.
func (d *Decoder) extended(b []byte, stated int, n nest, p *Packet) Status {
	c, ok := walk(p.Proto, b, stated)
	p.Proto = c.proto
	p.Flags |= c.flags
	if c.fragmented {
		p.ID = c.id
	}
	if !ok {
		return Malformed
	}
	if c.flags&NoTransport != 0 {
		return OK
	}
	b, stated = b[c.size:], stated-c.size
	if c.flags&LaterFragment != 0 {
		p.Payload = b
		return OK
	}
	return d.transport(b, stated, n, p)
}

// Extension headers (IANA protocol numbers; RFC 7045 lists them).
const (
	hopByHop       = 0
	ipv4InIP       = 4
	ipv6InIP       = 41
	routing        = 43
	fragmentHeader = 44
	gre            = 47
	authentication = 51
	noNext         = 59
	destination    = 60
	mobility       = 135
	hip            = 139
	shim6          = 140
)

// chain is what the extension headers say.
type chain struct {
	size       int // bytes of the headers walked
	id         uint32
	flags      Flags
	proto      uint8 // the first protocol that is no extension header
	fragmented bool  // there was a fragment header
}

// walk reads extension headers from the first, of protocol next. It returns
// false for a chain that doesn't fit its packet, is out of order or too long.
// ESP ends a chain: what follows is encrypted.
func walk(next uint8, b []byte, stated int) (chain, bool) {
	c := chain{proto: next}
	for i := range maxExtensions {
		switch c.proto {
		case hopByHop:
			if i > 0 { // RFC 8200 §4.1: only as the first
				return c, false
			}
		case routing, fragmentHeader, authentication, destination, mobility, hip, shim6:
		default:
			return c, true
		}
		if stated-c.size < 8 {
			return c, false
		}
		if len(b)-c.size < 8 {
			c.flags |= NoTransport
			return c, true
		}
		h := b[c.size:]
		size := (int(h[1]) + 1) * 8
		switch c.proto {
		case authentication: // RFC 4302 §2.2: in 32-bit words, minus 2
			size = (int(h[1]) + 2) * 4
		case fragmentHeader:
			size = 8
			c.fragmented, c.id = true, be32(h[4:])
			// An "atomic" fragment (RFC 6946) is whole: no flag.
			if at := be16(h[2:]); at&0xfff9 != 0 {
				c.flags |= Fragment
				if at&0xfff8 != 0 {
					c.flags |= LaterFragment
				}
			}
		case mobility: // RFC 6275 §6.1.1: ends the chain
			if h[0] == noNext {
				return c, size <= stated-c.size
			}
		}
		if size > stated-c.size {
			return c, false
		}
		c.proto = h[0]
		if size > len(b)-c.size {
			c.flags |= NoTransport
			return c, true
		}
		c.size += size
		if c.flags&LaterFragment != 0 {
			return c, true
		}
	}
	return c, false
}
