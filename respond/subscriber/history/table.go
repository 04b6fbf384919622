package history

import (
	"slices"

	"sakimori/respond/subscriber"
)

// table holds the newest spans, in memory.
type table struct {
	rows   []subscriber.Span
	next   []int32                  // the row before in the same bucket, -1 none
	bucket map[place]int32          // the newest row of it
	uses   map[subscriber.Use]int32 // the newest row of a use
	bits   [129]bool
	widest uint16
}

// place is a bucket of a table: an address and a piece of its ports.
type place struct {
	addr [16]byte
	bits uint8
	port uint8 // the upper bits of the first port
}

const portShift = 10

func newTable(rows int) *table {
	return &table{rows: make([]subscriber.Span, 0, rows), next: make([]int32, 0, rows), bucket: map[place]int32{}, uses: map[subscriber.Use]int32{}}
}

func (t *table) add(s *subscriber.Span) {
	if i, known := t.uses[s.Use]; known && t.rows[i].Join(s) {
		return
	}
	i := int32(len(t.rows)) //nolint:gosec // below 2^31
	p := place{s.Addr, s.Bits, uint8(s.Ports.First >> portShift)}
	last, known := t.bucket[p]
	if !known {
		last = -1
	}
	t.rows, t.next = append(t.rows, *s), append(t.next, last)
	t.bucket[p], t.uses[s.Use] = i, i
	t.bits[s.Bits] = true
	if !s.Ports.Whole() {
		t.widest = max(t.widest, s.Ports.Last-s.Ports.First)
	}
}

func (t *table) find(list []subscriber.Span, addr [16]byte, bits uint8, port uint16, proto uint8) []subscriber.Span {
	if !t.bits[bits] {
		return list
	}
	from, to := uint8(0), uint8(1<<(16-portShift)-1)
	if port != 0 {
		from, to = uint8((port-min(port, t.widest))>>portShift), uint8(port>>portShift)
	}
	for p := from; ; p++ {
		list = t.chain(list, place{addr, bits, p}, port, proto)
		if p == to {
			break
		}
	}
	if from > 0 { // what is of the whole address
		list = t.chain(list, place{addr, bits, 0}, port, proto)
	}
	return list
}

func (t *table) chain(list []subscriber.Span, p place, port uint16, proto uint8) []subscriber.Span {
	i, known := t.bucket[p]
	if !known {
		return list
	}
	for ; i >= 0; i = t.next[i] {
		if t.rows[i].Has(port, proto) {
			list = append(list, t.rows[i])
		}
	}
	return list
}

// sorted are the rows as a segment has them.
func (t *table) sorted() func() (*row, bool) {
	order := make([]*subscriber.Span, len(t.rows))
	for i := range t.rows {
		order[i] = &t.rows[i]
	}
	slices.SortFunc(order, func(a, b *subscriber.Span) int { return a.Compare(b) })
	i := 0
	var r row
	return func() (*row, bool) {
		if i == len(order) {
			return nil, false
		}
		r = rowOf(order[i])
		i++
		return &r, true
	}
}
