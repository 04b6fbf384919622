// Package relation says what one AS is to another: provider, customer, peer or sibling, by
// CAIDA's files of relationships, or as learnt from one's own tables.
//
// What isn't known is said to be unknown: most errors of such data are on links that few
// see, so every answer has a score, and nobody is accused by a relation alone.
package relation

import (
	"math"
	"slices"
	"time"

	"sakimori/observe"
)

// Table is the links between ASes. It doesn't change once it is made, and may be asked by
// any goroutine. A link costs 20 to 40 bytes: a million of them are 20 MB.
type Table struct {
	keys    []uint64 // lower AS<<32 | higher AS; 0 none. Its length is a power of two
	links   []link
	used    int
	clique  []uint32 // sorted
	ixps    []uint32 // sorted
	degrees map[uint32]Degree
	date    time.Time
}

// link is what the lower AS is to the higher one, and how sure that is in 1/255.
type link struct {
	rel   observe.ASRelation
	score uint8
}

// Degree is how many neighbours of each kind an AS has.
type Degree struct{ Providers, Peers, Customers uint32 }

// Relation is what a is to b, and how sure that is: 0 (not known) to 1.
func (t *Table) Relation(a, b uint32) (observe.ASRelation, float64) {
	if t == nil || a == 0 || b == 0 || a == b {
		return observe.ASUnknown, 0
	}
	i := t.find(key(a, b))
	if t.keys[i] == 0 {
		return observe.ASUnknown, 0
	}
	l := t.links[i]
	if a > b {
		l.rel = turned(l.rel)
	}
	return l.rel, float64(l.score) / 255
}

// Tier1 tells whether the AS has no provider by the data: it belongs to the clique of
// those who are all peers of each other.
func (t *Table) Tier1(as uint32) bool {
	if t == nil {
		return false
	}
	_, ok := slices.BinarySearch(t.clique, as)
	return ok
}

// Exchange tells whether the data call the AS an Internet exchange's, which has route
// servers and no customers.
func (t *Table) Exchange(as uint32) bool {
	if t == nil {
		return false
	}
	_, ok := slices.BinarySearch(t.ixps, as)
	return ok
}

// Degree is how many neighbours the AS has.
func (t *Table) Degree(as uint32) Degree { return t.degrees[as] }

// Links is how many links are known.
func (t *Table) Links() int { return t.used }

// Clique is the ASes without providers, sorted.
func (t *Table) Clique() []uint32 { return slices.Clone(t.clique) }

// Date is the day that the data are of; zero where they don't say.
func (t *Table) Date() time.Time { return t.date }

// Walk calls f with each link until it says no: what a is to b, a < b, in no order.
func (t *Table) Walk(f func(a, b uint32, r observe.ASRelation, score float64) bool) {
	for i, k := range t.keys {
		if k != 0 && !f(uint32(k>>32), uint32(k&math.MaxUint32), t.links[i].rel, float64(t.links[i].score)/255) {
			return
		}
	}
}

func turned(r observe.ASRelation) observe.ASRelation {
	switch r {
	case observe.ASProvider:
		return observe.ASCustomer
	case observe.ASCustomer:
		return observe.ASProvider
	}
	return r
}

func key(a, b uint32) uint64 { return uint64(min(a, b))<<32 | uint64(max(a, b)) }

// find is where the key stands, or would.
func (t *Table) find(k uint64) int {
	mask := uint64(len(t.keys) - 1) //nolint:gosec // never empty
	h := k * 0x9e3779b97f4a7c15
	for i := (h ^ h>>32) & mask; ; i = (i + 1) & mask {
		if t.keys[i] == k || t.keys[i] == 0 {
			return int(i) //nolint:gosec // below len(keys)
		}
	}
}

func newTable() *Table {
	return &Table{keys: make([]uint64, 1<<10), links: make([]link, 1<<10), degrees: map[uint32]Degree{}}
}

// put says what a is to b. What was said of them before is replaced.
func (t *Table) put(a, b uint32, r observe.ASRelation, score float64) {
	if 4*(t.used+1) > 3*len(t.keys) {
		old := *t
		t.keys, t.links = make([]uint64, 2*len(old.keys)), make([]link, 2*len(old.keys))
		for i, k := range old.keys {
			if k != 0 {
				j := t.find(k)
				t.keys[j], t.links[j] = k, old.links[i]
			}
		}
	}
	if a > b {
		a, b, r = b, a, turned(r)
	}
	i := t.find(key(a, b))
	if t.keys[i] == 0 {
		t.used++
	}
	t.keys[i] = key(a, b)
	t.links[i] = link{r, uint8(min(max(math.Round(score*255), 1), 255))}
}

// close counts the degrees once all links are there.
func (t *Table) close() *Table {
	t.Walk(func(a, b uint32, r observe.ASRelation, _ float64) bool {
		da, db := t.degrees[a], t.degrees[b]
		switch r {
		case observe.ASProvider:
			da.Customers++
			db.Providers++
		case observe.ASCustomer:
			da.Providers++
			db.Customers++
		case observe.ASPeer:
			da.Peers++
			db.Peers++
		}
		t.degrees[a], t.degrees[b] = da, db
		return true
	})
	slices.Sort(t.clique)
	slices.Sort(t.ixps)
	return t
}
