package sim

import (
	"fmt"
	"math/bits"
	"net/netip"

	"sakimori/base/wire/packet"
)

// space is a set of prefixes whose addresses can be drawn, counted and numbered.
type space struct {
	v4     []block4
	n4     uint64 // IPv4 addresses in all
	v6     []block6
	listed []netip.Prefix
}

type block4 struct {
	base, size uint32
	before     uint64 // addresses of the blocks before it
}

type block6 struct {
	base packet.Addr
	bits int // 1..64
}

func newSpace(what string, prefixes []netip.Prefix) (space, error) {
	s := space{listed: prefixes}
	for i, p := range prefixes {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return s, fmt.Errorf("%s prefix %v isn't one: write it as network/bits, with zero host bits", what, p)
		}
		for _, q := range prefixes[:i] {
			if p.Overlaps(q) {
				return s, fmt.Errorf("%s prefixes %v and %v overlap: leave the smaller one out", what, q, p)
			}
		}
		base := packet.FromNetip(p.Addr())
		switch {
		case p.Addr().Is4() && p.Bits() >= 8:
			size := uint32(1) << (32 - p.Bits())
			s.v4 = append(s.v4, block4{base.V4(), size, s.n4})
			s.n4 += uint64(size)
		case p.Addr().Is6() && p.Bits() >= 1 && p.Bits() <= 64:
			s.v6 = append(s.v6, block6{base, p.Bits()})
		default:
			return s, fmt.Errorf("%s prefix %v is out of range: use /8 to /32 of IPv4 or /1 to /64 of IPv6", what, p)
		}
	}
	return s, nil
}

// at is IPv4 address number i, 0 <= i < n4.
func (s *space) at(i uint64) packet.Addr {
	for k := len(s.v4) - 1; k >= 0; k-- {
		if b := &s.v4[k]; i >= b.before {
			return packet.V4(b.base + uint32(i-b.before))
		}
	}
	return packet.Addr{}
}

// index is the number of an IPv4 address, or false when it isn't in the space.
func (s *space) index(a packet.Addr) (uint64, bool) {
	v := a.V4()
	for i := range s.v4 {
		if b := &s.v4[i]; v-b.base < b.size {
			return b.before + uint64(v-b.base), true
		}
	}
	return 0, false
}

func (s *space) contains(a packet.Addr) bool {
	if a.Is4() {
		_, ok := s.index(a)
		return ok
	}
	for i := range s.v6 {
		if b := &s.v6[i]; (a.Hi^b.base.Hi)>>(64-b.bits) == 0 {
			return true
		}
	}
	return false
}

// random4 is an IPv4 address of the space.
func (s *space) random4(r *rng) packet.Addr { return s.at(r.below(s.n4)) }

// random6 is an IPv6 address of the space with random host bits, as a flood
// with forged sources makes them.
func (s *space) random6(r *rng) packet.Addr {
	b := &s.v6[r.below(uint64(len(s.v6)))]
	return packet.Addr{Hi: b.base.Hi | r.u64()>>b.bits, Lo: r.u64()}
}

// likely6 is an IPv6 address of the kind that scanners try, as nobody can try
// all: low bytes, service ports and words in one of the first subnets.
func (s *space) likely6(r *rng) packet.Addr {
	b := &s.v6[r.below(uint64(len(s.v6)))]
	a := packet.Addr{Hi: b.base.Hi}
	if b.bits < 64 {
		a.Hi |= r.below(16) & (1<<(64-b.bits) - 1)
	}
	switch r.below(4) {
	case 0, 1:
		a.Lo = 1 + r.below(255) // ::1 to ::ff (RFC 7707 §4.1.3)
	case 2:
		a.Lo = [...]uint64{0x22, 0x25, 0x53, 0x80, 0x443, 0x1000, 0x8080, 0x8443}[r.below(8)]
	default:
		a.Lo = [...]uint64{0xdead_beef, 0xcafe_babe, 0xface_b00c, 0x1_0001, 0x1111_1111, 0xbeef, 0xabcd, 0x192_0168_0001_0001}[r.below(8)]
	}
	return a
}

// ones counts the bits that are set.
func ones(words []uint64) (n uint64) {
	for _, w := range words {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}
