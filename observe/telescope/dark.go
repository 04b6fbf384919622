package telescope

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sort"
	"time"

	"go4.org/netipx"

	"sakimori/base/wire/packet"
)

// DarkPrefix is a block of addresses that nobody uses, for as long as nobody
// does: From inclusive, Until exclusive, zero for always.
type DarkPrefix struct {
	Prefix      netip.Prefix
	From, Until time.Time
}

// space is the dark space as it is valid at one time. IPv4 addresses are
// numbered 0…v4-1 in ascending order, so that sets of them can be exact.
type space struct {
	from, until int64 // Unix nanoseconds of this validity
	first       [256]bool
	v4ranges    []v4range
	v6          []v6range
	v4          uint64 // addresses monitored
	firstLo     uint32 // where the first range begins
	firstEnd    uint32 // of these in the first range
	secondEnd   uint32 // in the first two
	gap         uint32 // addresses between the two
}

type v4range struct{ lo, hi, base uint32 }

type v6range struct{ lo, hi packet.Addr }

// darkness is the dark space over all time: one space for each span in which
// the same prefixes are valid, in order of time, covering all of it.
type darkness []space

func newDarkness(prefixes []DarkPrefix, own []netip.Prefix) (darkness, error) {
	if len(prefixes) == 0 {
		return nil, errors.New("no dark prefix is given: name the unused addresses that the capture watches, for example --dark 198.51.100.0/24")
	}
	cuts := []int64{minTime, maxTime}
	for _, p := range prefixes {
		if !p.Prefix.IsValid() {
			return nil, errors.New("a dark prefix is empty: write it as address/length, for example 198.51.100.0/24")
		}
		from, until := bounds(p)
		if from >= until {
			return nil, fmt.Errorf("dark prefix %s is valid until %s but only from %s on: turn the dates round", p.Prefix, p.Until.Format(time.RFC3339), p.From.Format(time.RFC3339))
		}
		cuts = append(cuts, from, until)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var d darkness
	for i := range len(cuts) - 1 {
		var valid []netip.Prefix
		for _, p := range prefixes {
			if from, until := bounds(p); from <= cuts[i] && cuts[i+1] <= until {
				valid = append(valid, p.Prefix)
			}
		}
		s, err := newSpace(valid, own)
		if err != nil {
			return nil, err
		}
		s.from, s.until = cuts[i], cuts[i+1]
		d = append(d, *s)
	}
	return d, nil
}

// newSpace is the space of the prefixes in, without those of out. Of two that
// overlap the longer one decides: dark addresses are often part of the
// operator's own block, and own addresses may be part of a block that is dark.
func newSpace(in, out []netip.Prefix) (*space, error) {
	type side struct {
		netip.Prefix
		in bool
	}
	all := make([]side, 0, len(in)+len(out))
	for _, p := range out {
		all = append(all, side{plain(p), false})
	}
	for _, p := range in {
		all = append(all, side{plain(p), true})
	}
	slices.SortStableFunc(all, func(a, b side) int { return cmp.Compare(a.Bits(), b.Bits()) })
	var set netipx.IPSetBuilder
	for _, p := range all {
		if p.in {
			set.AddPrefix(p.Prefix)
		} else {
			set.RemovePrefix(p.Prefix)
		}
	}
	built, err := set.IPSet()
	if err != nil {
		return nil, fmt.Errorf("prefixes of the telescope: %w", err)
	}
	s := &space{from: minTime, until: maxTime}
	for _, r := range built.Ranges() {
		lo, hi := packet.FromNetip(r.From()), packet.FromNetip(r.To())
		if !r.From().Is4() {
			s.v6 = append(s.v6, v6range{lo, hi})
			continue
		}
		s.v4ranges = append(s.v4ranges, v4range{lo.V4(), hi.V4(), uint32(s.v4)}) //nolint:gosec // the first of 2^32 at most
		s.v4 += uint64(hi.V4()) - uint64(lo.V4()) + 1
		switch end := uint32(min(s.v4, math.MaxUint32)); len(s.v4ranges) {
		case 1:
			s.firstLo, s.firstEnd, s.secondEnd = lo.V4(), end, end
		case 2:
			s.secondEnd, s.gap = end, lo.V4()-s.firstLo-s.firstEnd
		}
		for o := lo.V4() >> 24; o <= hi.V4()>>24; o++ {
			s.first[o] = true
		}
	}
	return s, nil
}

// plain is the prefix without host bits, and an IPv4-mapped one (RFC 4291
// §2.5.5.2) as the IPv4 prefix that it means: packets have no other form of it.
func plain(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

const (
	minTime = -1 << 63
	maxTime = 1<<63 - 1
)

func bounds(p DarkPrefix) (from, until int64) {
	from, until = minTime, maxTime
	if !p.From.IsZero() {
		from = p.From.UnixNano()
	}
	if !p.Until.IsZero() {
		until = p.Until.UnixNano()
	}
	return from, until
}

// at is the space valid at t, Unix nanoseconds.
func (d darkness) at(t int64) *space {
	for i := range d {
		if t < d[i].until {
			return &d[i]
		}
	}
	return &d[len(d)-1]
}

// index tells whether a is dark, and a 32-bit identity of it: the number of an
// IPv4 address in the dark space, a hash of an IPv6 one.
func (s *space) index(a packet.Addr) (uint32, bool) {
	if !a.Is4() {
		return identity(a), s.dark6(a)
	}
	v := a.V4()
	if !s.first[v>>24] {
		return 0, false
	}
	r := s.v4ranges
	if len(r) > 8 {
		i, _ := slices.BinarySearchFunc(r, v, func(r v4range, v uint32) int { return cmp.Compare(r.hi, v) })
		r = r[min(i, len(r)-1):][:1]
	}
	for i := range r {
		if v >= r[i].lo && v <= r[i].hi {
			return r[i].base + (v - r[i].lo), true
		}
	}
	return 0, false
}

// address is the identity of the IPv4 address with this number.
func (s *space) address(number uint32) uint32 {
	// Most spaces have one range or two: in which of these it lies can't be
	// foreseen, and is told without a branch.
	if number < s.secondEnd {
		beyond := uint32((uint64(s.firstEnd) - 1 - uint64(number)) >> 63)
		return s.firstLo + number + beyond*s.gap
	}
	return s.further(number)
}

func (s *space) further(number uint32) uint32 {
	r := s.v4ranges
	i := 0
	if len(r) > 8 {
		i = sort.Search(len(r), func(i int) bool { return r[i].base > number }) - 1
	} else {
		for i+1 < len(r) && r[i+1].base <= number {
			i++
		}
	}
	return r[i].lo + (number - r[i].base)
}

// contains tells whether a is dark.
func (s *space) contains(a packet.Addr) bool {
	if a.Is4() && !s.first[a.V4()>>24] {
		return false
	}
	_, dark := s.index(a)
	return dark
}

func (s *space) dark6(a packet.Addr) bool {
	for i := range s.v6 {
		if a.Compare(s.v6[i].lo) >= 0 && a.Compare(s.v6[i].hi) <= 0 {
			return true
		}
	}
	return false
}

// identity names an address in 32 bits: itself for IPv4, a hash for IPv6. Among
// a thousand IPv6 addresses two share one with a chance of 1 in 8,600.
func identity(a packet.Addr) uint32 {
	if a.Is4() {
		return a.V4()
	}
	return uint32(mix(a) >> 32)
}

// mix hashes an address; also the choice of shard and of the place in a table.
func mix(a packet.Addr) uint64 {
	x := a.Hi*0x9e3779b97f4a7c15 ^ a.Lo
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return x ^ x>>32
}
