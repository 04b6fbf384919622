package packet

// In the functions below b holds what was captured of the transport header and
// what follows it; stated is how long the IP header says that was.

func (d *Decoder) transport(b []byte, stated int, n nest, p *Packet) Status {
	switch p.Proto {
	case TCP:
		return tcp(b, stated, p)
	case UDP:
		return d.udp(b, stated, n, p)
	case ICMP, ICMPv6:
		return icmp(b, stated, p)
	case gre:
		return d.gre(b, stated, n, p)
	case ipv4InIP:
		if d.Tunnels&IPIP != 0 {
			return d.enter(etherIPv4, b, stated, n, p)
		}
	case ipv6InIP:
		if d.Tunnels&IPIP != 0 {
			return d.enter(etherIPv6, b, stated, n, p)
		}
	}
	p.Payload = b
	return OK
}

// tcp reads a TCP header (RFC 9293 §3.1).
func tcp(b []byte, stated int, p *Packet) Status {
	if len(b) < 20 {
		ports(b, p)
		return short(stated < 20, p)
	}
	p.SrcPort, p.DstPort = be16(b), be16(b[2:])
	p.Seq, p.Ack = be32(b[4:]), be32(b[8:])
	p.TCPFlags = TCPFlags(b[13])
	p.Window = be16(b[14:])
	size := int(b[12]>>4) * 4
	if size == 20 {
		p.Payload = b[20:]
		return OK
	}
	if size < 20 {
		return Malformed
	}
	// A header that claims to be longer than its packet is no rarity: some
	// middleboxes strip the options of Mirai's SYNs and leave the length.
	if size > len(b) {
		p.TCPOptions = b[20:]
	} else {
		p.TCPOptions, p.Payload = b[20:size], b[size:]
	}
	p.MSS = mss(p.TCPOptions)
	return OK
}

// mss finds the maximum segment size option (RFC 9293 §3.7.1). Options that
// contradict themselves end the search and are no fault of the packet's: they
// are what a fingerprint looks at.
func mss(o []byte) uint16 {
	for len(o) >= 4 {
		switch o[0] {
		case 0: // end of list
			return 0
		case 1: // no-operation
			o = o[1:]
			continue
		case 2:
			if o[1] == 4 {
				return be16(o[2:])
			}
		}
		if o[1] < 2 || int(o[1]) > len(o) {
			return 0
		}
		o = o[o[1]:]
	}
	return 0
}

// udp reads a UDP header (RFC 768).
func (d *Decoder) udp(b []byte, stated int, n nest, p *Packet) Status {
	if len(b) < 8 {
		ports(b, p)
		return short(stated < 8, p)
	}
	p.SrcPort, p.DstPort = be16(b), be16(b[2:])
	size := int(be16(b[4:]))
	if size == 0 && p.Version == 6 { // a jumbogram (RFC 2675 §4)
		size = stated
	}
	if size < 8 {
		return Malformed
	}
	size = min(size, stated)
	p.Payload = b[8:min(size, len(b))]
	if d.Tunnels&VXLAN != 0 && (p.DstPort == vxlanPort || p.DstPort == d.VXLANPort && d.VXLANPort != 0) {
		return d.vxlan(p.Payload, size-8, n, p)
	}
	return OK
}

// ports sets what is there of the ports of a cut header.
func ports(b []byte, p *Packet) {
	if len(b) >= 2 {
		p.SrcPort = be16(b)
	}
	if len(b) >= 4 {
		p.DstPort = be16(b[2:])
	}
}

// short is the outcome for a transport header that isn't all there. tooShort
// says that the IP header leaves it no room, which only a first fragment may.
func short(tooShort bool, p *Packet) Status {
	p.Flags |= NoTransport
	if tooShort && p.Flags&Fragment == 0 {
		return Malformed
	}
	return OK
}

// icmp reads ICMP (RFC 792) and ICMPv6 (RFC 4443), and in an error message the
// beginning of the packet that caused it.
func icmp(b []byte, stated int, p *Packet) Status {
	least := 8
	if p.Proto == ICMPv6 {
		least = 4
	}
	if len(b) < 2 || stated < least {
		return short(stated < least, p)
	}
	p.ICMPType, p.ICMPCode = b[0], b[1]
	if len(b) <= 8 {
		return OK
	}
	p.Payload = b[8:]
	switch {
	case p.Proto == ICMP && p.Version == 4:
		switch p.ICMPType {
		case 3, 4, 5, 11, 12: // unreachable, quench, redirect, time exceeded, parameter problem
			quoteIPv4(b[8:], &p.Quoted)
		}
	case p.Proto == ICMPv6 && p.Version == 6:
		if p.ICMPType >= 1 && p.ICMPType <= 4 { // unreachable, too big, time exceeded, parameter problem
			quoteIPv6(b[8:], &p.Quoted)
		}
	}
	return OK
}

// quoteIPv4 reads a quoted packet of which all but 28 bytes may be missing (RFC
// 792 asks for the header and 64 bits). One that makes no sense isn't Valid.
func quoteIPv4(b []byte, q *Quote) {
	if len(b) < 20 || b[0]>>4 != 4 || b[0]&15 < 5 {
		return
	}
	*q = Quote{Src: V4(be32(b[12:])), Dst: V4(be32(b[16:])), Proto: b[9], Valid: true}
	if be16(b[6:])&0x1fff == 0 {
		q.ports(b, int(b[0]&15)*4)
	}
}

func quoteIPv6(b []byte, q *Quote) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	stated := int(be16(b[4:]))
	if stated == 0 {
		stated = len(b) - 40
	}
	c, ok := walk(b[6], b[40:], stated)
	*q = Quote{Src: addr6(b[8:]), Dst: addr6(b[24:]), Proto: c.proto, Valid: true}
	if ok && c.flags&(NoTransport|LaterFragment) == 0 {
		q.ports(b, 40+c.size)
	}
}

func (q *Quote) ports(b []byte, at int) {
	if (q.Proto == TCP || q.Proto == UDP) && len(b) >= at+4 {
		q.SrcPort, q.DstPort = be16(b[at:]), be16(b[at+2:])
	}
}
