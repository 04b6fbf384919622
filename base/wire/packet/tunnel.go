package packet

const vxlanPort = 4789 // RFC 7348 §5

// enter reads what a tunnel carries in place of the packet that carries it. kind
// is the EtherType of the inside.
func (d *Decoder) enter(kind uint16, b []byte, wire int, n nest, p *Packet) Status {
	p.Payload = b
	if n.tunnels == maxTunnels {
		return OK
	}
	n = nest{tunnels: n.tunnels + 1}
	outer := *p
	*p = Packet{}
	var s Status
	switch kind {
	case etherBridge:
		s = d.ethernet(b, wire, n, p)
	case etherPPP:
		s = d.ppp(b, wire, n, p)
	default:
		s = d.ethertype(kind, b, wire, n, p)
	}
	switch s {
	case OK:
		p.Flags |= Tunnelled
		return OK
	case NotIP: // a bridged ARP, a keepalive: the outer packet is all there is
		s = OK
	}
	*p = outer
	return s
}

// gre reads a GRE header (RFC 2784, RFC 2890) and, for ERSPAN, the header that
// follows it. PPTP (version 1) and source routes (RFC 1701) aren't looked into.
func (d *Decoder) gre(b []byte, stated int, n nest, p *Packet) Status {
	p.Payload = b
	if d.Tunnels&(GRE|ERSPAN) == 0 {
		return OK
	}
	if len(b) < 4 {
		return short(stated < 4, p)
	}
	flags, kind := be16(b), be16(b[2:])
	if flags&0x4007 != 0 {
		return OK
	}
	const checksum, key, sequence = 0x8000, 0x2000, 0x1000
	size, want := 4, GRE
	for _, f := range [...]uint16{checksum, key, sequence} {
		if flags&f != 0 {
			size += 4
		}
	}
	version, mirror := byte(0), 0
	switch kind {
	case etherERSPAN:
		want, kind = ERSPAN, etherBridge
		if flags&sequence != 0 { // type I has neither sequence number nor header
			version, mirror = 1, 8
		}
	case etherERSPAN3:
		want, kind = ERSPAN, etherBridge
		version, mirror = 2, 12
	}
	if d.Tunnels&want == 0 {
		return OK
	}
	if size+mirror > stated {
		return Malformed
	}
	if size+mirror > len(b) {
		return Cut
	}
	b, stated = b[size:], stated-size
	if mirror == 0 {
		return d.enter(kind, b, stated, n, p)
	}
	if b[0]>>4 != version {
		return Malformed
	}
	if version == 2 {
		// bytes 10 and 11: P 1 bit, frame type 5, hardware 6, direction 1, granularity 2, O 1
		if b[10]>>2&31 != 0 { // 0 is Ethernet
			return OK
		}
		if b[11]&1 != 0 {
			mirror += 8 // the platform-specific subheader
		}
		if mirror > stated {
			return Malformed
		}
		if mirror > len(b) {
			return Cut
		}
	}
	return d.enter(kind, b[mirror:], stated-mirror, n, p)
}

// vxlan reads a VXLAN header (RFC 7348 §5): flags 1, reserved 3, network
// identifier 3, reserved 1. The I flag must be set; two others are in use: group
// policy, and the generic extension (draft-ietf-nvo3-vxlan-gpe), which says in the
// fourth byte what follows. Other flags mean that it isn't VXLAN but, in dark
// space, somebody knocking at the port.
func (d *Decoder) vxlan(b []byte, stated int, n nest, p *Packet) Status {
	const valid, extension, policy = 0x08, 0x04, 0x80
	if len(b) < 8 || b[0]&^(extension|policy) != valid {
		return OK
	}
	kind := uint16(etherBridge)
	if b[0]&extension != 0 {
		switch b[3] {
		case 1:
			kind = etherIPv4
		case 2:
			kind = etherIPv6
		case 3:
		default:
			return OK
		}
	}
	return d.enter(kind, b[8:], stated-8, n, p)
}
