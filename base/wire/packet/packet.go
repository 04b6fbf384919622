// Package packet reads the headers of one captured frame without allocating.
//
// It is the hot path of every source that sees packets: Ethernet (VLAN, QinQ,
// MPLS, PPPoE), Linux cooked captures, raw IP and BSD loopback; IPv4 and IPv6
// with extension headers and fragments; TCP, UDP, ICMP and ICMPv6 with the
// packet they quote; and, where the configuration asks for it, the inside of
// GRE, ERSPAN, VXLAN and IP-in-IP.
package packet

// Packet is what one frame says. Decode overwrites every field, so one Packet
// serves a whole capture. Payload and TCPOptions alias the frame's bytes and
// hold only as long as these do.
type Packet struct {
	Src, Dst Addr
	Quoted   Quote // the packet quoted inside an ICMP or ICMPv6 error

	Payload    []byte // what follows the transport header, as far as it was captured
	TCPOptions []byte // the TCP header beyond its first 20 bytes, as far as captured

	Length uint32 // length in bytes that the IP header states, header included
	ID     uint32 // IPv4 identification, or that of the IPv6 fragment header; 0 without one
	Seq    uint32 // TCP
	Ack    uint32 // TCP

	SrcPort uint16 // TCP and UDP; 0 otherwise
	DstPort uint16 // TCP and UDP; 0 otherwise
	Window  uint16 // TCP
	MSS     uint16 // TCP maximum segment size option, 0 without one

	Version  uint8    // 4, 6, or 0 when the frame carries no IP
	Proto    uint8    // the protocol after all extension headers (IANA number)
	TOS      uint8    // type of service, or traffic class: DSCP and ECN
	TTL      uint8    // time to live, or hop limit
	TCPFlags TCPFlags // CWR ECE URG ACK PSH RST SYN FIN, as on the wire
	ICMPType uint8    // ICMP and ICMPv6
	ICMPCode uint8
	Flags    Flags
}

// Quote is the beginning of the packet that an ICMP error carries: it names
// the true victim and protocol of what caused the error (RFC 792, RFC 4443).
type Quote struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Proto            uint8
	Valid            bool
}

// TCPFlags are the eight flag bits of a TCP header (RFC 9293 §3.1).
type TCPFlags uint8

// The flags by their names in RFC 9293.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Flags tell how the packet was carried and how complete it is.
type Flags uint8

// The circumstances of a packet.
const (
	Fragment      Flags = 1 << iota // part of a fragmented datagram
	LaterFragment                   // and not its first part: no transport header
	NoTransport                     // transport header cut off by the snapshot length
	Tunnelled                       // read from inside a configured tunnel
	DontFragment                    // the IPv4 DF bit
)

// Protocol numbers (IANA) that the house speaks of.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// LinkType says how the first header of a frame is to be read: the LINKTYPE_
// numbers of the capture formats (draft-ietf-opsawg-pcaplinktype).
type LinkType uint16

// Frame locates one captured frame inside a Block.
type Frame struct {
	Time  int64    // Unix nanoseconds
	Off   uint32   // where it starts in Block.Buf
	Len   uint32   // bytes captured
	Orig  uint32   // bytes on the wire
	Link  LinkType // how to read it
	Iface uint16   // capture interface, as numbered by its file or ring
}

// Block is a run of frames in capture order that share one buffer. Readers fill
// it, and any number of goroutines may read it meanwhile without changing it.
type Block struct {
	Buf    []byte
	Frames []Frame
}

// Bytes are the captured bytes of frame i.
func (b *Block) Bytes(i int) []byte {
	f := &b.Frames[i]
	return b.Buf[f.Off : f.Off+f.Len : f.Off+f.Len]
}
