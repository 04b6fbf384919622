package record

import (
	"slices"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// What is left out together, step by step. A flood with a million forged sources folds
// to its target and the port that it is sent to, a scan to its source; what has no
// company of either kind to the interface and protocol, and those to the exporter.
const (
	noSrc     = observe.FoldedSrc
	noDst     = observe.FoldedDst
	noPorts   = observe.FoldedSrcPort | observe.FoldedDstPort
	noEnds    = noSrc | noDst | noPorts
	noAnybody = noEnds | observe.FoldedRest
)

// without is the key of the row in which k is counted when it leaves out what.
func (k *key) without(what observe.Folded) key {
	f := *k
	if what&noSrc != 0 {
		f.src = packet.Addr{}
	}
	if what&noDst != 0 {
		f.dst = packet.Addr{}
	}
	if what&observe.FoldedSrcPort != 0 {
		f.ends &^= 0xffff0000
	}
	if what&observe.FoldedDstPort != 0 {
		f.ends &^= 0xffff
	}
	f.rest &^= 0xffff00 // TOS and flags
	if what&observe.FoldedRest != 0 {
		f.interfaces, f.rest = 0, 0
	}
	f.rest |= uint64(what) << 32
	return f
}

// client is the port that matters less: the higher one, of a service's two.
func (k *key) client() observe.Folded {
	if s := k.srcPort(); s != 0 && s < k.dstPort() {
		return observe.FoldedDstPort
	}
	return observe.FoldedSrcPort
}

// folder folds tables; its memory is used again and again.
type folder struct {
	seed    seed
	spare   table
	weights []uint64
	company [1 << 15]uint64 // weight by the hash of a folded key: a hint, so collisions do no harm
	plans   []plan          // of the rows of a pass
}

// plan is what a row is to leave out, and where its company is counted while that isn't
// known.
type plan struct {
	to    observe.Folded // 0: it stays
	open  bool
	steps [2]observe.Folded
	at    [2]uint16
}

// fold brings t down to keep rows, those with most traffic: the others are added to
// rows that tell less. It gives what a row may lack from now on, as a weight: who was
// folded had at most so much, and may come again. Rows of noAnybody are never folded,
// so no more than one for each exporter may be too many.
func (f *folder) fold(t *table, keep int) (lacks uint64) {
	for len(t.rows) > keep {
		line, ok := f.line(t.rows, keep)
		if !ok {
			return lacks
		}
		f.pass(t, line)
		lacks += line
	}
	return lacks
}

// line is the weight up to which rows are to fold, so that keep are left.
func (f *folder) line(rows []row, keep int) (line uint64, ok bool) {
	f.weights = f.weights[:0]
	for i := range rows {
		if rows[i].folded() != noAnybody {
			f.weights = append(f.weights, rows[i].weight())
		}
	}
	n := min(len(rows)-keep, len(f.weights))
	if n <= 0 {
		return 0, false
	}
	return smallestOf(f.weights, n), true
}

// smallestOf is the n-th smallest weight, n from 1 (Hoare's selection; w is reordered).
func smallestOf(w []uint64, n int) uint64 {
	for len(w) > 64 {
		a, b, c := w[0], w[len(w)/2], w[len(w)-1]
		pivot := max(min(a, b), min(max(a, b), c))
		i, j := 0, len(w)-1
		for i <= j {
			for w[i] < pivot {
				i++
			}
			for w[j] > pivot {
				j--
			}
			if i <= j {
				w[i], w[j] = w[j], w[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case n <= j+1:
			w = w[:j+1]
		case n > i:
			w, n = w[i:], n-i
		default:
			return pivot
		}
	}
	slices.Sort(w)
	return w[n-1]
}

// pass folds the rows up to a weight by one step: to where they have company with a
// port, else to where they have it without, or else to those who have none.
func (f *folder) pass(t *table, line uint64) {
	clear(f.company[:])
	f.plans = slices.Grow(f.plans[:0], len(t.rows))[:len(t.rows)]
	for i := range t.rows {
		r := &t.rows[i]
		switch was := r.folded(); {
		case was != 0 && was != noAnybody:
			f.company[r.hash(&f.seed)%uint64(len(f.company))] += r.weight()
			fallthrough
		case was == noAnybody:
			f.plans[i] = plan{}
			if r.weight() <= line && was != noAnybody {
				f.plans[i].to = noEnds
				if was&noEnds == noEnds {
					f.plans[i].to = noAnybody
				}
			}
		case r.weight() > line:
			f.plans[i] = plan{}
		default:
			port := r.client()
			f.note(&f.plans[i], r, noSrc|port, noDst|port)
		}
	}
	f.decide(t)
	for i := range t.rows { // the others, without a port
		switch r, p := &t.rows[i], &f.plans[i]; {
		case p.open:
			f.note(p, r, noSrc|noPorts, noDst|noPorts)
		case p.to == noEnds && r.folded() != 0 && r.folded()&noPorts != noPorts:
			only := r.folded() | noPorts
			f.note(p, r, only, only)
		}
	}
	f.decide(t)
	f.spare.seed = t.seed
	for i := range t.rows {
		k := t.rows[i].key
		if to := f.plans[i].to; to != 0 {
			k = k.without(to)
		}
		f.spare.at(&k, k.hash(t.seed)).merge(&t.rows[i])
	}
	*t, f.spare = f.spare, *t
	f.spare.clear()
}

// note adds a row to the company of what it could be part of.
func (f *folder) note(p *plan, r *row, steps ...observe.Folded) {
	p.to, p.open = noEnds, true
	for i, s := range steps {
		k := r.without(s)
		p.steps[i], p.at[i] = s, uint16(k.hash(&f.seed)%uint64(len(f.company)))
		if i == 0 || s != steps[0] {
			f.company[p.at[i]] += r.weight()
		}
	}
}

// decide settles the plans of rows that have company.
func (f *folder) decide(t *table) {
	for i := range f.plans {
		p := &f.plans[i]
		if !p.open {
			continue
		}
		best := 2 * t.rows[i].weight()
		for j, s := range p.steps {
			if c := f.company[p.at[j]]; c > best {
				best, p.to, p.open = c, s, false
			}
		}
	}
}

// merge adds a row whose key may tell more.
func (r *row) merge(o *row) {
	if r.packets == 0 && r.flows == 0 {
		r.srcAS, r.dstAS = o.srcAS, o.dstAS
		if r.folded()&noSrc != 0 {
			r.srcAS = 0
		}
		if r.folded()&noDst != 0 {
			r.dstAS = 0
		}
	}
	r.add(o)
}
