package sflow

import (
	"net/netip"

	"sakimori/base/wire/packet"
)

// Record is one record of a sample, in place.
type Record struct {
	Type Type   // what it is depends on the kind of the sample too
	Body []byte // without padding
}

// Type is enterprise<<12|format, as on the wire. Records of flows and of counters are
// numbered apart.
type Type uint32

// Enterprise is who defined it; 0 is sFlow itself.
func (t Type) Enterprise() uint32 { return uint32(t) >> 12 }

// Records of flow samples that are read. The others (users, URLs, MPLS, NAT, tunnels,
// 802.11, …) tell nothing that isn't in the header, or nothing that a Flow holds.
const (
	Header   Type = 1    // Record.Header
	Ethernet Type = 2    // Record.Ethernet
	IPv4     Type = 3    // Record.IP
	IPv6     Type = 4    // Record.IP
	Switch   Type = 1001 // Record.Switch
	Router   Type = 1002 // Record.Router
	Gateway  Type = 1003 // Record.Gateway
)

// Interface is the type of the record of counter samples that is read, by
// Record.Interface.
const Interface Type = 1

// RawHeader is the beginning of a packet as it was on the wire.
type RawHeader struct {
	Protocol uint32 // of its first header, see Link
	Length   uint32 // bytes of the frame before sampling
	Stripped uint32 // bytes of Length that aren't looked at: a checksum behind, a preamble or tag before
	Bytes    []byte // the first of what is left
}

// Header reads a record of type Header. A length of the packet's beginning that reaches
// beyond the record gives ErrRecord.
func (r *Record) Header(h *RawHeader) error {
	c := cursor{b: r.Body}
	*h = RawHeader{Protocol: c.u32(), Length: c.u32(), Stripped: c.u32()}
	h.Bytes = c.bytes(c.u32())
	return c.done()
}

// Link is how packet.Decoder reads the bytes; false for a link that it doesn't read.
func (h *RawHeader) Link() (packet.LinkType, bool) {
	switch h.Protocol {
	case 1:
		return packet.LinkEthernet, true
	case 7:
		return packet.LinkPPP, true
	case 11:
		return packet.LinkIPv4, true
	case 12:
		return packet.LinkIPv6, true
	case 14: // PPP in HDLC-like framing, RFC 1662, on SONET
		return packet.LinkPPPHDLC, true
	}
	return 0, false
}

// EthernetHeader is a frame of which nothing but this is told.
type EthernetHeader struct {
	Length   uint32 // bytes of the frame, without the checksum
	Src, Dst [6]byte
	Kind     uint32 // EtherType
}

// Ethernet reads a record of type Ethernet.
func (r *Record) Ethernet(e *EthernetHeader) error {
	c := cursor{b: r.Body}
	*e = EthernetHeader{Length: c.u32()}
	// Each address is an array of six bytes, which XDR pads to eight. Many agents don't,
	// and what they say is 20 bytes long.
	pad := len(r.Body) >= 24
	for _, a := range [...]*[6]byte{&e.Src, &e.Dst} {
		if len(c.b) < 6 {
			return ErrRecord
		}
		copy(a[:], c.b)
		c.b = c.b[6:]
		if pad {
			c.b = c.b[2:]
		}
	}
	e.Kind = c.u32()
	return c.done()
}

// IPHeader is a packet of which nothing but this is told.
type IPHeader struct {
	Length           uint32 // bytes of the IP packet
	Proto            uint32
	Src, Dst         netip.Addr
	SrcPort, DstPort uint32 // 0 where the protocol has none
	TCPFlags         uint32
	TOS              uint32 // of IPv6, the traffic class
}

// IP reads a record of type IPv4 or IPv6.
func (r *Record) IP(h *IPHeader) error {
	c := cursor{b: r.Body}
	*h = IPHeader{Length: c.u32(), Proto: c.u32()}
	if r.Type == IPv6 {
		h.Src, h.Dst = c.addr6(), c.addr6()
	} else {
		h.Src, h.Dst = c.addr4(), c.addr4()
	}
	h.SrcPort, h.DstPort, h.TCPFlags, h.TOS = c.u32(), c.u32(), c.u32(), c.u32()
	return c.done()
}

// SwitchInfo is which VLANs a frame came from and went to.
type SwitchInfo struct {
	SrcVLAN, SrcPriority, DstVLAN, DstPriority uint32
}

// Switch reads a record of type Switch.
func (r *Record) Switch(s *SwitchInfo) error {
	c := cursor{b: r.Body}
	*s = SwitchInfo{c.u32(), c.u32(), c.u32(), c.u32()}
	return c.done()
}

// RouterInfo is by which routes a packet went.
type RouterInfo struct {
	NextHop          netip.Addr // invalid: not known
	SrcBits, DstBits uint32     // lengths of the prefixes
}

// Router reads a record of type Router.
func (r *Record) Router(i *RouterInfo) error {
	c := cursor{b: r.Body}
	hop, known := c.addr()
	if !known {
		return ErrRecord
	}
	*i = RouterInfo{NextHop: hop, SrcBits: c.u32(), DstBits: c.u32()}
	return c.done()
}

// GatewayInfo is what BGP says of a packet's two ends.
type GatewayInfo struct {
	NextHop   netip.Addr // invalid: not known
	AS        uint32     // the router's own
	SrcAS     uint32     // where the packet comes from; 0 the router's own
	SrcPeerAS uint32
	DstAS     uint32 // where it goes: the last of the path; 0 the router's own, or not one alone
	DstPeerAS uint32 // the first of the path; 0 as before
	Hops      uint32 // AS numbers in the path
	LocalPref uint32
}

// asSequence is a part of a path in which the order counts; the other kind is a set.
const asSequence = 2

// Gateway reads a record of type Gateway. Of the communities nothing is kept.
func (r *Record) Gateway(g *GatewayInfo) error {
	c := cursor{b: r.Body}
	hop, known := c.addr()
	if !known {
		return ErrRecord
	}
	*g = GatewayInfo{NextHop: hop, AS: c.u32(), SrcAS: c.u32(), SrcPeerAS: c.u32()}
	for parts := c.u32(); parts > 0 && !c.short; parts-- {
		kind, n := c.u32(), c.u32()
		if uint64(n)*4 > uint64(len(c.b)) {
			return ErrRecord
		}
		for i := range n {
			as := c.u32()
			if kind != asSequence && n > 1 {
				as = 0
			}
			if g.Hops == 0 && i == 0 {
				g.DstPeerAS = as
			}
			g.DstAS = as
		}
		g.Hops += n
	}
	n := c.u32()
	if uint64(n)*4 > uint64(len(c.b)) {
		return ErrRecord
	}
	c.b = c.b[n*4:]
	g.LocalPref = c.u32()
	return c.done()
}

// InterfaceCounters are an interface's counters, by the names of RFC 2863. A counter
// that the agent doesn't have is all ones. They wrap.
type InterfaceCounters struct {
	Index            uint32
	Type             uint32 // ifType
	Speed            uint64 // bits per second
	Direction        uint32 // 0 not known, 1 full duplex, 2 half duplex, 3 in, 4 out
	Status           uint32 // bit 0 administratively up, bit 1 up
	InOctets         uint64
	InUcastPkts      uint32
	InMulticastPkts  uint32
	InBroadcastPkts  uint32
	InDiscards       uint32
	InErrors         uint32
	InUnknownProtos  uint32
	OutOctets        uint64
	OutUcastPkts     uint32
	OutMulticastPkts uint32
	OutBroadcastPkts uint32
	OutDiscards      uint32
	OutErrors        uint32
	Promiscuous      uint32
}

// Interface reads a record of type Interface of a counter sample.
func (r *Record) Interface(i *InterfaceCounters) error {
	c := cursor{b: r.Body}
	*i = InterfaceCounters{
		Index: c.u32(), Type: c.u32(), Speed: c.u64(), Direction: c.u32(), Status: c.u32(),
		InOctets: c.u64(), InUcastPkts: c.u32(), InMulticastPkts: c.u32(), InBroadcastPkts: c.u32(),
		InDiscards: c.u32(), InErrors: c.u32(), InUnknownProtos: c.u32(),
		OutOctets: c.u64(), OutUcastPkts: c.u32(), OutMulticastPkts: c.u32(), OutBroadcastPkts: c.u32(),
		OutDiscards: c.u32(), OutErrors: c.u32(), Promiscuous: c.u32(),
	}
	return c.done()
}

// done: a later version of a record may be longer, but none is shorter.
func (c *cursor) done() error {
	if c.short {
		return ErrRecord
	}
	return nil
}
