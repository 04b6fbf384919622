// Package dnstap reads what resolvers tell of their own work: dnstap messages in frame
// streams (BIND, Unbound, Knot Resolver, dnsdist), and PowerDNS's messages, each as it
// lies, without copying.
package dnstap

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ContentType is what a frame stream of dnstap says it holds.
const ContentType = "protobuf:dnstap.Dnstap"

// Type is who speaks to whom.
type Type uint8

// The types of dnstap. An even one is a response.
const (
	AuthQuery Type = iota + 1
	AuthResponse
	ResolverQuery
	ResolverResponse
	ClientQuery
	ClientResponse
	ForwarderQuery
	ForwarderResponse
	StubQuery
	StubResponse
	ToolQuery
	ToolResponse
	UpdateQuery
	UpdateResponse
)

// Response tells whether it is an answer.
func (t Type) Response() bool { return t%2 == 0 }

// What is read, and what can't be.
var (
	ErrMalformed = errors.New("not a message of dnstap: its fields contradict themselves")
	ErrOther     = errors.New("a message of dnstap of an unknown type") // well formed
)

// Message is one message in the bytes that it came in: nothing is copied. Read fills it.
type Message struct {
	Identity []byte // of the resolver, as it names itself
	Type     Type
	TCP      bool // over TCP, or what runs on it

	Client     netip.Addr // the query's address: who asked
	ClientPort uint16
	Server     netip.Addr // the response's address: who was asked
	ServerPort uint16

	QueryTime    int64 // Unix nanoseconds, 0 not told
	ResponseTime int64 // the same
	Query        []byte
	Response     []byte
	Zone         []byte // the name of the zone that the query was sent for, as on the wire
	Policy       Policy
}

// Policy is the policy that a resolver says it applied.
type Policy struct {
	Kind   []byte // "RPZ"; nil: none told
	Rule   []byte // for RPZ the owner of the rule, on the wire; it ends with the zone
	Action uint8  // see the actions
	Match  uint8
	Value  []byte
}

// The actions of a Policy.
const (
	ActionNXDomain = iota + 1
	ActionNoData
	ActionPass
	ActionDrop
	ActionTruncate
	ActionLocalData
)

// At is when it happened: of a response when that was sent, else when it was asked;
// Unix nanoseconds, 0 not told.
func (m *Message) At() int64 {
	if m.Type.Response() && m.ResponseTime != 0 {
		return m.ResponseTime
	}
	if m.QueryTime != 0 {
		return m.QueryTime
	}
	return m.ResponseTime
}

// Wire is the DNS message that it is about, nil where there is none.
func (m *Message) Wire() []byte {
	if m.Type.Response() {
		return m.Response
	}
	return m.Query
}

// Read reads a frame (message Dnstap). What it doesn't know it passes over.
func (m *Message) Read(frame []byte) error {
	*m = Message{}
	var inner []byte
	kind := uint64(0)
	for f := (field{}); len(frame) > 0; {
		if frame = f.read(frame); frame == nil {
			return ErrMalformed
		}
		switch {
		case f.is(1, lengths):
			m.Identity = f.data
		case f.is(14, lengths):
			inner = f.data
		case f.is(15, varint):
			kind = f.v
		}
	}
	if kind != 1 || inner == nil {
		return ErrOther
	}
	return m.read(inner)
}

// read reads the message Message.
func (m *Message) read(b []byte) error {
	var seconds [2]uint64
	var nanos [2]uint32
	for f := (field{}); len(b) > 0; {
		if b = f.read(b); b == nil {
			return ErrMalformed
		}
		ok := true
		switch f.key {
		case 1<<3 | varint:
			ok = f.v >= 1 && f.v <= uint64(UpdateResponse)
			m.Type = Type(f.v) //nolint:gosec // was checked
		case 3<<3 | varint:
			m.TCP = f.v != 1 && f.v != 5 && f.v != 7 // UDP, DNSCrypt over UDP, DoQ
		case 4<<3 | lengths:
			m.Client, ok = address(f.data)
		case 5<<3 | lengths:
			m.Server, ok = address(f.data)
		case 6<<3 | varint:
			m.ClientPort = uint16(f.v) //nolint:gosec // a port has 16 bits
		case 7<<3 | varint:
			m.ServerPort = uint16(f.v) //nolint:gosec // as above
		case 8<<3 | varint:
			seconds[0] = f.v
		case 9<<3 | fixed32:
			nanos[0] = uint32(f.v) //nolint:gosec // four bytes were read
		case 10<<3 | lengths:
			m.Query = f.data
		case 11<<3 | lengths:
			m.Zone = f.data
		case 12<<3 | varint:
			seconds[1] = f.v
		case 13<<3 | fixed32:
			nanos[1] = uint32(f.v) //nolint:gosec // as above
		case 14<<3 | lengths:
			m.Response = f.data
		case 15<<3 | lengths:
			ok = m.Policy.read(f.data)
		}
		if !ok {
			return ErrMalformed
		}
	}
	if m.Type == 0 {
		return ErrMalformed
	}
	var ok [2]bool
	m.QueryTime, ok[0] = moment(seconds[0], nanos[0])
	m.ResponseTime, ok[1] = moment(seconds[1], nanos[1])
	if !ok[0] || !ok[1] {
		return ErrMalformed
	}
	return nil
}

// read reads the message Policy.
func (p *Policy) read(b []byte) bool {
	for f := (field{}); len(b) > 0; {
		if b = f.read(b); b == nil {
			return false
		}
		switch f.key {
		case 1<<3 | lengths:
			p.Kind = f.data
		case 2<<3 | lengths:
			p.Rule = f.data
		case 3<<3 | varint:
			p.Action = uint8(min(f.v, 255))
		case 4<<3 | varint:
			p.Match = uint8(min(f.v, 255))
		case 5<<3 | lengths:
			p.Value = f.data
		}
	}
	return true
}

// address reads four or sixteen bytes; none is no address.
func address(b []byte) (netip.Addr, bool) {
	if len(b) == 0 {
		return netip.Addr{}, true
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}

// lastSecond is the end of what nanoseconds since 1970 can say, less a margin.
const lastSecond = 9_000_000_000

// moment is a time in Unix nanoseconds, 0 when none is told.
func moment(seconds uint64, nanos uint32) (int64, bool) {
	if seconds > lastSecond || nanos >= 1e9 {
		return 0, false
	}
	return int64(seconds)*1e9 + int64(nanos), true
}

// The types of fields in protobuf that are read; groups are gone since version 3.
const (
	varint  = 0
	fixed64 = 1
	lengths = 2
	fixed32 = 5
)

// field is one field of a protobuf message.
type field struct {
	key  uint64 // number<<3 | type
	v    uint64 // of varint and fixed
	data []byte // of lengths
}

func (f *field) is(number, kind uint64) bool { return f.key == number<<3|kind }

// read reads the field at the start of b and gives what follows it; nil when there is
// no whole field.
func (f *field) read(b []byte) []byte {
	key, n := uvarint(b)
	if n == 0 || key>>3 == 0 {
		return nil
	}
	f.key, b = key, b[n:]
	switch key & 7 {
	case varint:
		if f.v, n = uvarint(b); n == 0 {
			return nil
		}
		return b[n:]
	case lengths:
		v, n := uvarint(b)
		if n == 0 || v > uint64(len(b)-n) { //nolint:gosec // not below 0
			return nil
		}
		end := n + int(v) //nolint:gosec // was checked
		f.data = b[n:end:end]
		return b[end:]
	case fixed32:
		if len(b) < 4 {
			return nil
		}
		f.v = uint64(binary.LittleEndian.Uint32(b))
		return b[4:]
	case fixed64:
		if len(b) < 8 {
			return nil
		}
		f.v = binary.LittleEndian.Uint64(b)
		return b[8:]
	}
	return nil
}

// uvarint reads a number; n is 0 when there is none. Most have one byte.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	if v, n = binary.Uvarint(b); n <= 0 {
		return 0, 0
	}
	return v, n
}
