package dnstap

import "net/netip"

// PowerDNS is one message of PowerDNS's own protocol (PBDNSMessage), which the Recursor
// and dnsdist send. It holds what was asked and answered and not the message itself.
// Nothing is copied. Read fills it.
type PowerDNS struct {
	Identity   []byte
	Type       Type // ClientQuery, ClientResponse, ResolverQuery or ResolverResponse
	Client     netip.Addr
	Server     netip.Addr
	ClientPort uint16
	At         int64  // Unix nanoseconds, 0 not told
	Name       []byte // that was asked for, as people write it, with a dot at its end
	QType      uint16
	Rcode      uint8
	TimedOut   bool // no answer came

	Policy     []byte // the name of the policy that was applied; nil none
	PolicyKind uint8  // what it did: see the kinds; 0 not told
	Answers    [Answers]netip.Addr
	Answered   int // records in the answer
}

// Answers is how many addresses of an answer are kept.
const Answers = 4

// The kinds of policy of PowerDNS.
const (
	KindNoAction = iota + 1
	KindDrop
	KindNXDomain
	KindNoData
	KindTruncate
	KindCustom
)

// Read reads a message. What it doesn't know it passes over.
func (m *PowerDNS) Read(b []byte) error {
	*m = PowerDNS{}
	var seconds uint64
	var micros uint32
	for f := (field{}); len(b) > 0; {
		if b = f.read(b); b == nil {
			return ErrMalformed
		}
		ok := true
		switch f.key {
		case 1<<3 | varint:
			types := [...]Type{0, ClientQuery, ClientResponse, ResolverQuery, ResolverResponse}
			if ok = f.v > 0 && f.v < uint64(len(types)); ok {
				m.Type = types[f.v]
			}
		case 3<<3 | lengths:
			m.Identity = f.data
		case 6<<3 | lengths:
			m.Client, ok = address(f.data)
		case 7<<3 | lengths:
			m.Server, ok = address(f.data)
		case 9<<3 | varint:
			seconds = f.v
		case 10<<3 | varint:
			ok = f.v < 1e6
			micros = uint32(f.v) //nolint:gosec // was checked
		case 12<<3 | lengths:
			ok = m.question(f.data)
		case 13<<3 | lengths:
			ok = m.response(f.data)
		case 20<<3 | varint:
			m.ClientPort = uint16(f.v) //nolint:gosec // a port has 16 bits
		}
		if !ok {
			return ErrMalformed
		}
	}
	var ok bool
	if m.At, ok = moment(seconds, micros*1000); !ok || m.Type == 0 {
		return ErrMalformed
	}
	return nil
}

func (m *PowerDNS) question(b []byte) bool {
	for f := (field{}); len(b) > 0; {
		if b = f.read(b); b == nil {
			return false
		}
		switch f.key {
		case 1<<3 | lengths:
			m.Name = f.data
		case 2<<3 | varint:
			m.QType = uint16(f.v) //nolint:gosec // a type has 16 bits
		}
	}
	return true
}

func (m *PowerDNS) response(b []byte) bool {
	for f := (field{}); len(b) > 0; {
		if b = f.read(b); b == nil {
			return false
		}
		switch f.key {
		case 1<<3 | varint:
			const none = 65536 // what the Recursor says where no answer came
			m.TimedOut = f.v == none
			m.Rcode = uint8(f.v & 15)
		case 2<<3 | lengths:
			if !m.record(f.data) {
				return false
			}
		case 3<<3 | lengths:
			if m.Policy = f.data; len(f.data) == 0 {
				m.Policy = nil
			}
		case 10<<3 | varint:
			m.PolicyKind = uint8(min(f.v, 255))
		}
	}
	return true
}

// record keeps the address of a record that has one.
func (m *PowerDNS) record(b []byte) bool {
	kind, data := uint64(0), []byte(nil)
	for f := (field{}); len(b) > 0; {
		if b = f.read(b); b == nil {
			return false
		}
		switch f.key {
		case 2<<3 | varint:
			kind = f.v
		case 5<<3 | lengths:
			data = f.data
		}
	}
	const a, aaaa = 1, 28
	if kind == a || kind == aaaa {
		if addr, ok := netip.AddrFromSlice(data); ok {
			for i := range m.Answers {
				if !m.Answers[i].IsValid() {
					m.Answers[i] = addr.Unmap()
					break
				}
			}
		}
	}
	m.Answered++
	return true
}
