// Package sflow reads datagrams of sFlow version 5 (sflow.org/sflow_version_5.txt, and
// sflow_drops.txt for discarded packets).
//
// A datagram is a header and samples, a sample holds records: of a flow sample what is
// known of one packet that chance took, of a counter sample an interface's counters.
// Parse reads the header in place, Datagram.Next walks the samples and Sample.Next the
// records, of which each kind has a method that reads it. Nothing is copied and nothing
// allocates. What isn't read is passed over by its length.
//
//	var d sflow.Datagram
//	err := sflow.Parse(datagram, &d)
//	for s := (sflow.Sample{}); d.Next(&s); {
//		for r := (sflow.Record{}); s.Next(&r); {
//			switch r.Type {
//			case sflow.Header: err = r.Header(&h) // h.Bytes is the packet's beginning
//			case sflow.Gateway: err = r.Gateway(&g)
//			}
//		}
//		err = s.Err()
//	}
//	err = d.Err()
//
// What stands before a fault is given; then the walk ends, and Err says why. A fault
// within a sample whose own length holds ends that sample alone.
package sflow

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Version is the only one that is read. Versions 2 and 4 ended about 2004.
const Version = 5

// Datagram is one datagram and how far its samples were walked. It refers to the bytes
// that were parsed.
type Datagram struct {
	Agent    netip.Addr // who samples; often not where the datagram comes from. Invalid: it doesn't say
	SubAgent uint32     // which part of it: each has its own Sequence
	Sequence uint32     // of the sub-agent's datagrams
	Uptime   uint32     // milliseconds since the agent started
	Samples  uint32     // how many there are, says the header

	rest []byte
	left uint32
	err  error
}

// What is wrong with a datagram.
var (
	ErrShort   = errors.New("sflow: datagram is shorter than its header: was it cut on the way?")
	ErrVersion = errors.New("sflow: not version 5: does something else send to this port, or an agent from before 2004?")
	ErrAgent   = errors.New("sflow: the agent's address is neither IPv4 nor IPv6: does something else send to this port?")
	ErrCut     = errors.New("sflow: datagram ends before the last of its samples: was it cut on the way?")
	ErrSample  = errors.New("sflow: sample is shorter than its header, or ends before the last of its records: the agent's encoder is at fault")
	ErrRecord  = errors.New("sflow: record is shorter than its kind or than the lengths in it: the agent's encoder is at fault")
)

// The kinds of address, as the format numbers them.
const (
	addressUnknown = 0
	address4       = 1
	address6       = 2
)

// cursor reads XDR (RFC 4506): big-endian, in units of four bytes. Reading beyond the
// end gives zeros and sets short.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) u32() uint32 {
	if len(c.b) < 4 {
		c.b, c.short = nil, true
		return 0
	}
	v := binary.BigEndian.Uint32(c.b)
	c.b = c.b[4:]
	return v
}

func (c *cursor) u64() uint64 {
	high := c.u32()
	return uint64(high)<<32 | uint64(c.u32())
}

// bytes takes n bytes and the padding behind them. Padding that is missing at the very
// end is nothing wrong: whoever counts the length of what holds them may leave it out.
func (c *cursor) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(c.b)) {
		c.b, c.short = nil, true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[min(uint64(len(c.b)), (uint64(n)+3)&^3):]
	return v
}

// addr takes an address with its kind.
func (c *cursor) addr() (a netip.Addr, known bool) {
	switch c.u32() {
	case addressUnknown:
		return a, !c.short
	case address4:
		return c.addr4(), true
	case address6:
		return c.addr6(), true
	}
	return a, false
}

func (c *cursor) addr4() netip.Addr {
	if b := c.bytes(4); b != nil {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.Addr{}
}

func (c *cursor) addr6() netip.Addr {
	if b := c.bytes(16); b != nil {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.Addr{}
}

// Parse reads the header of the datagram b.
func Parse(b []byte, d *Datagram) error {
	*d = Datagram{}
	c := cursor{b: b}
	if version := c.u32(); !c.short && version != Version {
		return ErrVersion
	}
	agent, known := c.addr()
	if !c.short && !known {
		return ErrAgent
	}
	h := Datagram{Agent: agent, SubAgent: c.u32(), Sequence: c.u32(), Uptime: c.u32(), Samples: c.u32()}
	if c.short {
		return ErrShort
	}
	h.rest, h.left = c.b, h.Samples
	*d = h
	return nil
}

// Kind is what a sample tells of.
type Kind uint8

// The kinds of sample.
const (
	Other     Kind = iota // of an enterprise, or of a format that isn't read: it has no records
	Flow                  // a packet that was taken out of Rate
	Counters              // counters of an interface or of the agent
	Discarded             // a packet that the agent threw away; not sampled, but perhaps limited in rate
)

// The formats of samples, of enterprise 0.
const (
	formatFlow             = 1
	formatCounters         = 2
	formatExpandedFlow     = 3
	formatExpandedCounters = 4
	formatDiscarded        = 5
)

// Sample is one sample and how far its records were walked.
type Sample struct {
	Kind    Kind
	Type    uint32 // enterprise<<12|format, as on the wire
	Length  uint32 // bytes
	Records uint32 // how many there are, says the sample

	Sequence    uint32 // of the samples of this source
	SourceClass uint32 // what samples: 0 an interface, 1 a VLAN, 2 a physical entity
	SourceIndex uint32 // its ifIndex, VLAN or entPhysicalIndex

	// Of a flow sample.
	Rate   uint32 // one packet of so many was taken
	Pool   uint32 // packets that could have been taken so far
	Drops  uint32 // packets that were taken so far and lost for want of resources; of Discarded, that couldn't be told of
	Input  Port
	Output Port
	Reason uint32 // of Discarded: why, by the list of sflow_drops.txt

	rest cursor
	left uint32
	err  error
}

// Port is the interface of a packet.
type Port struct {
	Format PortFormat
	Value  uint32 // by Format: ifIndex; reason; number of interfaces, 0 not known
}

// PortFormat says what a Port's value means.
type PortFormat uint32

// The formats.
const (
	Single   PortFormat = 0 // one interface
	Dropped  PortFormat = 1 // the packet wasn't forwarded
	Multiple PortFormat = 2 // it was sent out of several
)

// Internal is the value of a Single port that is the device itself.
const Internal = 0x3fffffff

// Index is the ifIndex of the interface; 0 where there isn't one alone or it isn't known.
func (p Port) Index() uint32 {
	if p.Format != Single || p.Value == Internal || p.Value == 1<<32-1 {
		return 0
	}
	return p.Value
}

// packed takes a port in one number: two bits of format, thirty of value.
func packed(v uint32) Port { return Port{PortFormat(v >> 30), v & Internal} }

// Next gives the next sample and tells whether there was one. After the last, Err says
// whether the datagram ended as it should.
func (d *Datagram) Next(s *Sample) bool {
	if d.left == 0 || d.err != nil {
		return false
	}
	c := cursor{b: d.rest}
	kind, n := c.u32(), c.u32()
	body := c.bytes(n)
	if c.short {
		d.rest, d.err = nil, ErrCut
		return false
	}
	d.rest = c.b
	d.left--
	s.read(kind, n, body)
	return true
}

// Err is why Next ended early; nil at the end of the datagram.
func (d *Datagram) Err() error { return d.err }

// read reads the beginning of a sample.
func (s *Sample) read(kind, n uint32, body []byte) {
	*s = Sample{Type: kind, Length: n}
	c := cursor{b: body}
	switch kind {
	case formatFlow, formatExpandedFlow:
		s.Kind = Flow
	case formatCounters, formatExpandedCounters:
		s.Kind = Counters
	case formatDiscarded:
		s.Kind = Discarded
	default:
		return
	}
	s.Sequence = c.u32()
	if kind == formatFlow || kind == formatCounters {
		source := c.u32()
		s.SourceClass, s.SourceIndex = source>>24, source&0xffffff
	} else {
		s.SourceClass, s.SourceIndex = c.u32(), c.u32()
	}
	switch kind {
	case formatFlow:
		s.Rate, s.Pool, s.Drops = c.u32(), c.u32(), c.u32()
		s.Input, s.Output = packed(c.u32()), packed(c.u32())
	case formatExpandedFlow:
		s.Rate, s.Pool, s.Drops = c.u32(), c.u32(), c.u32()
		s.Input, s.Output = Port{PortFormat(c.u32()), c.u32()}, Port{PortFormat(c.u32()), c.u32()}
	case formatDiscarded:
		s.Drops, s.Input, s.Output, s.Reason = c.u32(), Port{Value: c.u32()}, Port{Value: c.u32()}, c.u32()
	}
	s.Records = c.u32()
	if c.short {
		*s = Sample{Type: kind, Length: n, err: ErrSample}
		return
	}
	s.rest, s.left = c, s.Records
}

// Enterprise is who defined the sample's format; 0 is sFlow itself.
func (s *Sample) Enterprise() uint32 { return s.Type >> 12 }

// Err is why Next ended early, or why the sample has neither kind nor records; nil at
// the end of the sample.
func (s *Sample) Err() error { return s.err }

// Next gives the next record and tells whether there was one.
func (s *Sample) Next(r *Record) bool {
	if s.left == 0 || s.err != nil {
		return false
	}
	kind, n := s.rest.u32(), s.rest.u32()
	body := s.rest.bytes(n)
	if s.rest.short {
		s.err = ErrSample
		return false
	}
	s.left--
	*r = Record{Type: Type(kind), Body: body}
	return true
}
