package telescope

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// DarkPrefix is a block of addresses that nobody uses, for as long as nobody
// does: From inclusive, Until exclusive, zero for always.
type DarkPrefix struct {
	Prefix      netip.Prefix
	From, Until time.Time
}

// MaxDarkV4 is the most IPv4 addresses that one telescope takes: a /8. The
// bitmap of addresses hit then has 2 MiB.
const MaxDarkV4 = 1 << 24

// space is the dark space as it is valid at one time. IPv4 addresses are
// numbered 0…v4-1 in ascending order, so that sets of them can be exact.
type space struct {
	from, until int64 // Unix nanoseconds of this validity
	first       [256]bool
	v4ranges    []v4range
	v6          []v6range
	v4          uint64 // addresses monitored
}

type v4range struct{ lo, hi, base uint32 }

type v6range struct{ lo, hi packet.Addr }

// darkness is the dark space over all time: one space for each span in which
// the same prefixes are valid, in order of time, covering all of it.
type darkness []space

func newDarkness(prefixes []DarkPrefix) (darkness, error) {
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
		s := space{from: cuts[i], until: cuts[i+1]}
		for _, p := range prefixes {
			if from, until := bounds(p); from <= s.from && s.until <= until {
				s.add(p.Prefix)
			}
		}
		if err := s.finish(); err != nil {
			return nil, err
		}
		d = append(d, s)
	}
	return d, nil
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

func (s *space) add(p netip.Prefix) {
	p = p.Masked()
	lo := packet.FromNetip(p.Addr())
	hi := lo
	if p.Addr().Is4() {
		hi.Lo |= 1<<(32-p.Bits()) - 1
		s.v4ranges = append(s.v4ranges, v4range{lo: lo.V4(), hi: hi.V4()})
		return
	}
	if b := p.Bits(); b <= 64 {
		hi.Lo = ^uint64(0)
		hi.Hi |= ^uint64(0) >> b // a shift by 64 gives 0
	} else {
		hi.Lo |= ^uint64(0) >> (b - 64)
	}
	s.v6 = append(s.v6, v6range{lo, hi})
}

// finish merges the ranges and numbers the addresses.
func (s *space) finish() error {
	s.join()
	for i := range s.v4ranges {
		r := &s.v4ranges[i]
		r.base = uint32(s.v4) //nolint:gosec // below MaxDarkV4, checked next
		s.v4 += uint64(r.hi) - uint64(r.lo) + 1
		if s.v4 > MaxDarkV4 {
			return fmt.Errorf("the dark IPv4 prefixes hold more than %d addresses (a /8): watch less with one telescope", MaxDarkV4)
		}
	}
	return nil
}

// join merges ranges that touch or overlap.
func (s *space) join() {
	slices.SortFunc(s.v4ranges, func(a, b v4range) int { return cmp.Compare(a.lo, b.lo) })
	merged := s.v4ranges[:0]
	for _, r := range s.v4ranges {
		if n := len(merged); n > 0 && uint64(r.lo) <= uint64(merged[n-1].hi)+1 {
			merged[n-1].hi = max(merged[n-1].hi, r.hi)
			continue
		}
		merged = append(merged, r)
	}
	s.v4ranges = merged
	for _, r := range s.v4ranges {
		for o := r.lo >> 24; o <= r.hi>>24; o++ {
			s.first[o] = true
		}
	}
	slices.SortFunc(s.v6, func(a, b v6range) int { return a.lo.Compare(b.lo) })
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
	return uint32(mix(a) >> 32) //nolint:gosec // the upper half
}

// mix hashes an address; also the choice of shard and of the place in a table.
func mix(a packet.Addr) uint64 {
	x := a.Hi*0x9e3779b97f4a7c15 ^ a.Lo
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return x ^ x>>32
}

// addr4 is the IPv4 address with number i of the dark space, for reports.
func (s *space) addr4(i uint32) packet.Addr {
	for _, r := range s.v4ranges {
		if i >= r.base && i-r.base <= r.hi-r.lo {
			return packet.V4(r.lo + (i - r.base))
		}
	}
	return packet.Addr{}
}
