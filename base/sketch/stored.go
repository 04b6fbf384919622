package sketch

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Unite is the union of stored sets. Runs of dense sets of one precision, which
// is nearly all there is in a span of busy days, are united in their stored
// form, many registers at a time, and unpacked once.
func Unite(f Form, stored [][]byte) (*Set, error) {
	var all *Set
	for len(stored) > 0 {
		n, size := alike(stored)
		one := stored[0]
		if n > 1 {
			one = slices.Clone(one[:size])
			for _, b := range stored[1:n] {
				raise(one[1:], b[1:size])
			}
		}
		o, _, err := Read(one)
		switch {
		case err != nil:
			return nil, err
		case all == nil:
			all = o
		default:
			all.Merge(f, o)
		}
		stored = stored[n:]
	}
	return cmp.Or(all, &Set{}), nil
}

// alike is how many sets from the first on are dense and of its precision, and
// so of the same size in bytes; 1 when the first isn't dense, or has not even
// the 32 registers that raise takes at once.
func alike(stored [][]byte) (n, size int) {
	first := stored[0]
	if len(first) == 0 || first[0] < denseV1+5 || first[0] > denseV1+16 {
		return 1, 0
	}
	size = 1 + 3<<(first[0]-denseV1)/4
	for i, b := range stored {
		if len(b) < size || b[0] != first[0] {
			return max(i, 1), size
		}
	}
	return len(stored), size
}

// Every second of eight registers in 48 bits, as the lower half of a lane of
// twelve; the bit above it tells who is greater.
const (
	lanes  = 0x03f03f03f03f
	greats = 0x040040040040
)

// raise makes each of the packed registers of a at least that of b, 32 of them
// in three words at a time. Words are read and written once: one that overlaps
// what was just written would wait for it.
func raise(a, b []byte) {
	le := binary.LittleEndian
	for ; len(a) >= 24 && len(b) >= 24; a, b = a[24:], b[24:] {
		x0, x1, x2 := le.Uint64(a), le.Uint64(a[8:]), le.Uint64(a[16:])
		y0, y1, y2 := le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])
		m0 := greatest(x0, y0)
		m1 := greatest(x0>>48|x1<<16, y0>>48|y1<<16)
		m2 := greatest(x1>>32|x2<<32, y1>>32|y2<<32)
		m3 := greatest(x2>>16, y2>>16)
		le.PutUint64(a, m0|m1<<48)
		le.PutUint64(a[8:], m1>>16|m2<<32)
		le.PutUint64(a[16:], m2>>32|m3<<16)
	}
}

// greatest is the maximum of each of the eight registers in the lower 48 bits.
func greatest(x, y uint64) uint64 {
	return higher(x&lanes, y&lanes) | higher(x>>6&lanes, y>>6&lanes)<<6
}

// higher is the maximum in each lane.
func higher(x, y uint64) uint64 {
	ge := ((x | greats) - y) & greats
	return x ^ (x^y)&^(ge-ge>>6)
}
