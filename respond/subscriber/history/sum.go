package history

import "sakimori/respond/subscriber"

// Sum is what all records come to.
type Sum struct {
	Sessions uint64 // sessions, each once however many addresses it has; leases; blocks of ports
	Open     uint64 // without an end
	Inferred uint64 // whose end was concluded, not told
}

// session is one of those that have a name.
type session struct {
	source uint16
	name   uint64
	holder subscriber.Holder
}

// Sum goes through everything: it takes as long as to read all files, and 60 bytes of
// memory for each session. Nothing else is done meanwhile.
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
	type count struct{ all, open, inferred uint64 }
	sessions := map[session]count{} // of the address with most of each
	flush := func() {
		here := map[session]count{}
		for _, x := range subscriber.Holds(group, h.limits) {
			c := count{all: 1}
			if x.Open && !x.Inferred {
				c.open = 1
			}
			if x.Inferred {
				c.inferred = 1
			}
			if x.Session == 0 {
				z.Sessions, z.Open, z.Inferred = z.Sessions+1, z.Open+c.open, z.Inferred+c.inferred
				continue
			}
			k := session{x.Source, x.Session, x.Holder}
			o := here[k]
			here[k] = count{o.all + 1, o.open + c.open, o.inferred + c.inferred}
		}
		for k, c := range here {
			o := sessions[k]
			sessions[k] = count{max(o.all, c.all), max(o.open, c.open), max(o.inferred, c.inferred)}
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
	for _, c := range sessions {
		z.Sessions, z.Open, z.Inferred = z.Sessions+c.all, z.Open+c.open, z.Inferred+c.inferred
	}
	return z
}
