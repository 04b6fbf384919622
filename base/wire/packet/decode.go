package packet

import "encoding/binary"

// Decoder reads frames. Its zero value looks into no tunnel. It holds no state
// between frames: one Decoder may serve any number of goroutines.
type Decoder struct {
	Tunnels   Tunnels
	VXLANPort uint16 // a second VXLAN port beside 4789 (older Linux: 8472); 0 for none
}

// Tunnels is the set of encapsulations to look into. An encapsulation that
// isn't in the set is an IP packet like any other.
//
// Whoever can send a packet to a listed encapsulation can put any addresses
// inside it: switch on only what the sensor's own routers send.
type Tunnels uint8

// The encapsulations that can be looked into.
const (
	GRE    Tunnels = 1 << iota // RFC 2784 and 2890: IPv4, IPv6, MPLS, PPP, bridged Ethernet
	ERSPAN                     // types I, II and III (draft-foschiano-erspan)
	VXLAN                      // RFC 7348
	IPIP                       // RFC 2003, 2473, 4213: 4in4, 6in4, 4in6, 6in6
)

// Status is what became of one frame.
type Status uint8

// The outcomes of Decode.
const (
	OK          Status = iota // an IP packet; see Packet.Flags for how complete it is
	NotIP                     // ARP, LLDP, …: nothing wrong, nothing for us
	Malformed                 // headers that contradict themselves
	Cut                       // ends before the IP header does
	UnknownLink               // a link type that this package doesn't read
)

// String is the outcome in lower-case English, as metric labels have it.
func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case NotIP:
		return "not_ip"
	case Malformed:
		return "malformed"
	case Cut:
		return "cut"
	case UnknownLink:
		return "unknown_link"
	}
	return "invalid"
}

// Bounds on what one frame may nest. Real networks stay far below them; a
// hostile frame can't make the decoder walk more.
const (
	maxTunnels    = 4  // tunnels inside one another
	maxLinks      = 8  // VLAN tags, or link headers inside one another
	maxLabels     = 16 // MPLS labels
	maxExtensions = 10 // IPv6 extension headers
)

// nest counts what has been entered so far.
type nest struct{ tunnels, links uint8 }

// Decode reads one frame into p, every field of which it sets. data is what was
// captured, orig the length on the wire (0 if unknown: then as captured).
//
// Checksums aren't verified: cards that offload them record wrong ones, and
// captures are rewritten by anonymisers.
//
// Beyond a whole IP header the answer is OK as long as nothing contradicts
// itself: a transport header that the snapshot length cut off, or that a tiny
// first fragment doesn't hold, is marked NoTransport, with the ports set as far
// as they were captured. A stated length beyond what is there (IP's beyond the
// frame, TCP's or UDP's beyond the packet) is taken for truncation on the way and
// not for a contradiction. Lengths of 0 (segmentation
// offload, jumbograms) mean "to the end of the frame".
//
// With Malformed and Cut, p.Version tells whether the IP header was whole: if
// it isn't 0, addresses and protocol stand. A broken inside of a tunnel gives
// Malformed or Cut and leaves the outermost packet in p; an inside that carries
// no IP leaves the outer packet and OK.
func (d *Decoder) Decode(link LinkType, data []byte, orig uint32, p *Packet) Status {
	*p = Packet{}
	wire := max(int(orig), len(data))
	if link == LinkEthernet {
		// The one case that is nearly all of the traffic.
		if len(data) >= 34 && data[12] == 0x08 && data[13] == 0x00 {
			return d.ipv4(data[14:], wire-14, nest{}, p)
		}
		return d.ethernet(data, wire, nest{}, p)
	}
	return d.link(link, data, wire, p)
}

// DecodeIP reads an IPv4 or IPv6 packet without a link header.
func (d *Decoder) DecodeIP(data []byte, p *Packet) Status {
	*p = Packet{}
	return d.ip(data, len(data), nest{}, p)
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
