package observe

import (
	"net/netip"

	"sakimori/base/wire/packet"
)

// Flow is what an exporter says of packets that have addresses, protocol and ports in
// common: a record of NetFlow or IPFIX, a sample of sFlow, or what was seen on a mirror
// port. It holds no pointer, so a batch of them is one plain array.
//
// Packets and Bytes are estimates of what passed: what was seen, times Rate. Of Seen
// packets that chance took out of many the 95 % error is ±196 %·√(1/Seen).
type Flow struct {
	Src, Dst packet.Addr // of the innermost packet that is looked at
	First    int64       // Unix nanoseconds of the first packet, by this machine's clock
	Last     int64       // of the last one; First where the exporter tells no span
	Packets  uint64
	Bytes    uint64 // of IP packets, with their headers
	Seen     uint32 // packets that the exporter looked at, saturating: exact counts where Rate is 1
	Rate     uint32 // one packet of so many was looked at; 1 all
	Exporter uint32 // as the collector numbers them, from 1
	In, Out  uint32 // SNMP indices of the interfaces, 0 not told
	SrcAS    uint32 // as the exporter says, 0 not told
	DstAS    uint32
	SrcPort  uint16 // of TCP, UDP and SCTP, else 0
	DstPort  uint16 // and of ICMP type<<8|code
	Proto    uint8
	TCPFlags packet.TCPFlags // of all packets together
	TOS      uint8
	Marks    FlowMarks
}

// FlowMarks tell more of a Flow.
type FlowMarks uint8

// What a Flow may be besides.
const (
	FlowSample   FlowMarks = 1 << iota // one packet, not a flow: how many flows there were isn't known
	FlowFragment                       // of later fragments, which have no ports
	FlowInner                          // read from inside a tunnel
	FlowDropped                        // the exporter says that it didn't forward it
	FlowEgress                         // counted where it left the exporter, not where it came in
	FlowNoFlags                        // the exporter doesn't tell TCP flags
)

// Exporter is a device that tells of flows.
type Exporter struct {
	Number  uint32         // in a Flow, from 1
	Address netip.AddrPort // where its datagrams come from; the port is 0 where it may change
	Domain  uint32         // observation domain, source ID or sub-agent
	Name    string         // as configured, or its address
}
