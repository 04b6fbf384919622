package sim

import "slices"

// targets counts distinct IPv4 dark addresses exactly, by their number. Most
// sources touch few, so it starts as a list, becomes a hash table, and ends as
// one bit for each dark address once that is smaller.
type targets struct {
	n     uint32
	list  []uint32 // the numbers plus one; a table with empty places once hashed
	bits  []uint64
	mixed bool // list is a table
}

const listed = 16 // beyond so many a list is slower than a table

// add takes number i of space for size addresses in.
func (t *targets) add(i uint64, size uint64) {
	v := uint32(i) + 1
	switch {
	case t.bits != nil:
		if bit := uint64(1) << (i % 64); t.bits[i/64]&bit == 0 {
			t.bits[i/64] |= bit
			t.n++
		}
	case t.mixed:
		if t.put(v) {
			t.n++
			if int(t.n) > len(t.list)/2 {
				t.grow(size)
			}
		}
	case !slices.Contains(t.list, v):
		t.list = append(t.list, v)
		t.n++
		if t.n > listed {
			t.grow(size)
		}
	}
}

// put stores v in the table and tells whether it is new.
func (t *targets) put(v uint32) bool {
	mask := uint32(len(t.list) - 1)
	for p := v * 0x9e3779b1 & mask; ; p = (p + 1) & mask {
		switch t.list[p] {
		case v:
			return false
		case 0:
			t.list[p] = v
			return true
		}
	}
}

// grow moves to a table twice the size, or to bits.
func (t *targets) grow(size uint64) {
	old := t.list
	places := 64
	if t.mixed {
		places = 2 * len(old)
	}
	if uint64(places)*4 >= size/8 {
		t.list, t.bits = nil, make([]uint64, (size+63)/64)
		for _, v := range old {
			if v != 0 {
				t.bits[(v-1)/64] |= 1 << ((v - 1) % 64)
			}
		}
		return
	}
	t.list, t.mixed = make([]uint32, places), true
	for _, v := range old {
		if v != 0 {
			t.put(v)
		}
	}
}
