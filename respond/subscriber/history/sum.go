package history

import "sakimori/respond/subscriber"

// Sum is what all records come to.
type Sum struct {
	Holds    uint64 // uses of an address: sessions, leases, blocks of ports
	Open     uint64 // without an end
	Inferred uint64 // whose end was concluded, not told
}

// Sum goes through everything: as long as it takes to read all files. Nothing else is
// done meanwhile.
func (h *History) Sum() (z Sum) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var q queue
	sources := []func() (*row, bool){h.table.sorted()}
	if h.frozen != nil {
		sources = append(sources, h.frozen.sorted())
	}
	for _, next := range sources {
		var rows []row
		for r, more := next(); more; r, more = next() {
			rows = append(rows, *r)
		}
		if len(rows) > 0 {
			q = append(q, &cursor{rows: rows, span: rows[0].span()})
		}
	}
	for _, s := range h.segments {
		if len(s.rows) > 0 {
			q = append(q, &cursor{rows: s.rows, span: s.rows[0].span()})
		}
	}
	next := q.merged()
	var group []subscriber.Span
	flush := func() {
		for _, x := range subscriber.Holds(group, h.limits) {
			z.Holds++
			if x.Open && !x.Inferred {
				z.Open++
			}
			if x.Inferred {
				z.Inferred++
			}
		}
		group = group[:0]
	}
	for s, more := next(); more; s, more = next() {
		if n := len(group); n > 0 && (group[n-1].Addr != s.Addr || group[n-1].Bits != s.Bits) {
			flush()
		}
		group = append(group, s)
	}
	flush()
	return z
}
