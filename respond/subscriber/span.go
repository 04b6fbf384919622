package subscriber

import (
	"bytes"
	"cmp"
	"net/netip"
	"time"
)

// Holder is who used an address: the pseudonym of a contract, or of a translator's
// log the address that the subscriber has before it.
type Holder struct {
	ID     [16]byte
	Inside bool // ID is an address, IPv4 as ::ffff:a.b.c.d
	// Unnamed is somebody whose record doesn't say who: nobody can be named for them, but
	// they keep others from being named.
	Unnamed bool
}

// Address is the address of a holder that is one.
func (h Holder) Address() (netip.Addr, bool) {
	return netip.AddrFrom16(h.ID).Unmap(), h.Inside
}

// Span is what the records of one use of an address come to. Two spans of the same
// use are joined by taking the earliest and the latest of everything: so it doesn't
// matter in which order records come, how often, or how they were kept.
type Span struct {
	Use

	First, Last int64 // Unix nanoseconds: the earliest and the latest sign that the holder had it
	Begin       int64 // the earliest begin that was told; 0 none
	End         int64 // the latest end that was told; 0 none
	Until       int64 // the latest end that was promised; 0 none
}

// Use names one use of an address. Records without a session of their own (leases,
// blocks of ports) are points: each is a use by itself, and what holds between two of
// them is found when somebody asks.
type Use struct {
	Addr    [16]byte // of the prefix; IPv4 as ::ffff:a.b.c.d
	Bits    uint8    // its length, of 128
	Ports   Ports
	Proto   uint8
	Point   bool
	Source  uint16 // number of the source
	Session uint64 // hash of its name; of a point, when it was
	Holder  Holder
}

// Link is the longest silence between two signs of one session that are taken for
// one: a NAS that was started anew may give its sessions the same names again.
const Link = 26 * time.Hour

// Compare orders spans by address, ports and time, so that those that a question is
// about stand together.
func (s *Span) Compare(o *Span) int {
	if c := bytes.Compare(s.Addr[:], o.Addr[:]); c != 0 {
		return c
	}
	// One after the other: most differ in an early field, and there are many to compare.
	switch {
	case s.Bits != o.Bits:
		return cmp.Compare(s.Bits, o.Bits)
	case s.Ports != o.Ports:
		return cmp.Or(cmp.Compare(s.Ports.First, o.Ports.First), cmp.Compare(s.Ports.Last, o.Ports.Last))
	case s.Proto != o.Proto:
		return cmp.Compare(s.Proto, o.Proto)
	case s.Source != o.Source:
		return cmp.Compare(s.Source, o.Source)
	case s.Session != o.Session:
		return cmp.Compare(s.Session, o.Session)
	}
	return cmp.Or(bytes.Compare(s.Holder.ID[:], o.Holder.ID[:]), cmp.Compare(s.First, o.First))
}

// Join adds o to s when both are of the same use, and close enough.
func (s *Span) Join(o *Span) bool {
	if s.Use != o.Use || o.First > s.Last+int64(Link) || s.First > o.Last+int64(Link) {
		return false
	}
	s.First, s.Last = min(s.First, o.First), max(s.Last, o.Last)
	s.End, s.Until = max(s.End, o.End), max(s.Until, o.Until)
	if s.Begin == 0 || o.Begin != 0 && o.Begin < s.Begin {
		s.Begin = o.Begin
	}
	return true
}

// Begun tells whether it is known when the use began.
func (s *Span) Begun() bool { return s.Begin != 0 && s.Begin <= s.First }

// slack is by how much an end may lie before the last sign: an Interim-Update that
// was under way is stamped by another process of the NAS.
const slack = int64(5 * time.Second)

// Ended tells whether it is known when the use ended.
func (s *Span) Ended() bool { return s.End != 0 && s.End+slack >= s.Last }

// Covers tells whether the prefix holds an address (16 bytes).
func (u *Use) Covers(addr [16]byte) bool { return Masked(addr, u.Bits) == u.Addr }

// Masked is an address with only its first bits.
func Masked(a [16]byte, bits uint8) [16]byte {
	for i := range a {
		switch left := int(bits) - 8*i; {
		case left <= 0:
			a[i] = 0
		case left < 8:
			a[i] &= 0xff << (8 - left)
		}
	}
	return a
}

// Has tells whether a port of a protocol belongs to it; port 0 and protocol 0 are
// not told.
func (u *Use) Has(port uint16, proto uint8) bool {
	if u.Proto != 0 && proto != 0 && u.Proto != proto {
		return false
	}
	return u.Ports.Whole() || port == 0 || u.Ports.First <= port && port <= u.Ports.Last
}
