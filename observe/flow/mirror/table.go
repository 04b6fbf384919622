package mirror

import "math/bits"

// table finds a flow by its hash: open addressing, filled to a half at most. Only so
// much of it is in use as the last periods needed, since all of that is emptied when a
// period ends.
type table struct {
	slots   []slot // in use: a power of two, the beginning of all
	all     []slot
	mask    uint32
	n       int
	touched uint64
}

// slot is empty with ref 0; else flow ref-1 has a hash whose upper half is tag.
type slot struct{ tag, ref uint32 }

const smallest = 1 << 8

func newTable(most int) table {
	t := table{all: make([]slot, max(smallest, 2<<bits.Len(uint(most-1))))}
	t.use(smallest)
	return t
}

// use takes the first n slots, which are empty.
func (t *table) use(n int) { t.slots, t.mask = t.all[:n], uint32(n-1) } //nolint:gosec // at most 2^29

// first is what stands where a flow will be looked for first. To read it early brings it
// into the cache.
func (t *table) first(hash uint64) uint32 { return t.slots[uint32(hash)&t.mask].ref } //nolint:gosec // the lower half

// put puts flow ref-1 in, which isn't there.
func (t *table) put(hash uint64, ref uint32, m *Mirror) {
	if t.n++; 2*t.n > len(t.slots) {
		clear(t.slots)
		t.use(2 * len(t.slots))
		for i := range m.flows[:ref-1] {
			t.set(m.hash(&m.flows[i]), uint32(i)+1)
		}
	}
	t.set(hash, ref)
}

func (t *table) set(hash uint64, ref uint32) {
	i := uint32(hash) & t.mask //nolint:gosec // the lower half
	for t.slots[i].ref != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = slot{uint32(hash >> 32), ref}
}

// empty takes all n flows out, and gives up half of the slots if they were far too many.
func (t *table) empty(n int) {
	clear(t.slots)
	t.n = 0
	if len(t.slots) > smallest && 8*n < len(t.slots) {
		t.use(len(t.slots) / 2)
	}
}
