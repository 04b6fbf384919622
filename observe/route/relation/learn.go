package relation

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sync"

	"sakimori/observe"
)

// The lines of what is learnt.
const (
	cliqueFrom  = 24  // ASes of the highest transit degree from which the clique is chosen
	peerRatio   = 8.0 // degrees of peers differ less than this
	ownMistakes = 0.8 // the most that one's own inference is believed: few vantage points see few peerings
	twoWays     = 0.2 // the smaller share of votes from which a link is called a sibling's
)

// learner counts what paths say of links.
type learner struct {
	transit map[uint32]map[uint32]bool // of an AS in the middle: its neighbours
	clique  []uint32
	votes   map[uint64]*votes
}

// votes of a link, lower AS first: how often the route climbed from the lower AS to the
// higher, how often it came down, and how often that was at the top of the path.
type votes struct{ up, down, top, all float64 }

// Learn infers links from paths as tables have them, the observer's neighbour first, each
// with the number of its routes. paths is walked twice.
//
// It is Gao's way (2001): the AS of the highest transit degree is a path's top; before
// it routes climb from customers to providers, after it they come down. Links that are
// only ever seen at the top, between ASes of like degree, are peers'. The clique is those
// of the highest degree that are all linked. The score is the share of the votes that
// agree, by how many there are, and at most 0.8.
func Learn(paths iter.Seq2[[]uint32, int]) *Table {
	l := learner{transit: map[uint32]map[uint32]bool{}, votes: map[uint64]*votes{}}
	var way []uint32
	for ases := range paths {
		way = plain(way, ases)
		for i := 1; i+1 < len(way); i++ {
			m := l.transit[way[i]]
			if m == nil {
				m = map[uint32]bool{}
				l.transit[way[i]] = m
			}
			m[way[i-1]], m[way[i+1]] = true, true
		}
	}
	l.findClique()
	for ases, n := range paths {
		way = plain(way, ases)
		l.vote(way, float64(max(n, 1)))
	}
	return l.table()
}

// plain is the path without prepending; nothing where an AS stands in it twice apart.
func plain(way, ases []uint32) []uint32 {
	way = way[:0]
	for _, as := range ases {
		if len(way) > 0 && way[len(way)-1] == as {
			continue
		}
		if slices.Contains(way, as) {
			return way[:0]
		}
		way = append(way, as)
	}
	return way
}

func (l *learner) degree(as uint32) int { return len(l.transit[as]) }

func (l *learner) findClique() {
	var list []uint32
	for as := range l.transit {
		list = append(list, as)
	}
	slices.SortFunc(list, func(a, b uint32) int { return cmp.Or(l.degree(b)-l.degree(a), cmp.Compare(a, b)) })
	for _, as := range list[:min(len(list), cliqueFrom)] {
		all := true
		for _, c := range l.clique {
			all = all && l.transit[c][as]
		}
		if all {
			l.clique = append(l.clique, as)
		}
	}
	if len(l.clique) < 3 {
		l.clique = nil // too little is seen to call anybody a tier 1
	}
}

func (l *learner) vote(way []uint32, n float64) {
	if len(way) < 2 {
		return
	}
	top := 0
	for i, as := range way {
		in, best := slices.Contains(l.clique, as), slices.Contains(l.clique, way[top])
		if in && !best || in == best && l.degree(as) > l.degree(way[top]) {
			top = i
		}
	}
	for i := 0; i+1 < len(way); i++ {
		// As travelled the route goes from way[i+1] to way[i].
		a, b := way[i+1], way[i]
		v := l.votes[key(a, b)]
		if v == nil {
			v = &votes{}
			l.votes[key(a, b)] = v
		}
		climbs := i >= top
		if (a < b) == climbs {
			v.up += n
		} else {
			v.down += n
		}
		// Either link at the top may be the one between peers.
		if i == top || i+1 == top {
			v.top += n
		}
		v.all += n
	}
}

func (l *learner) table() *Table {
	t := newTable()
	for k, v := range l.votes {
		a, b := uint32(k>>32), uint32(k&math.MaxUint32)
		da, db := float64(max(l.degree(a), 1)), float64(max(l.degree(b), 1))
		ratio := max(da, db) / min(da, db)
		many := 1 - 1/(1+v.all/4)
		minor := min(v.up, v.down) / v.all
		switch {
		case slices.Contains(l.clique, a) && slices.Contains(l.clique, b):
			t.put(a, b, observe.ASPeer, ownMistakes)
		case v.top == v.all && ratio < peerRatio && l.degree(a) > 1 && l.degree(b) > 1:
			t.put(a, b, observe.ASPeer, ownMistakes*many*(1-ratio/peerRatio))
		case minor > twoWays:
			t.put(a, b, observe.ASSibling, ownMistakes*many*minor)
		case v.up > v.down: // the lower AS climbs to the higher: it is its customer
			t.put(a, b, observe.ASCustomer, ownMistakes*many*(1-minor/twoWays))
		default:
			t.put(a, b, observe.ASProvider, ownMistakes*many*(1-minor/twoWays))
		}
	}
	t.clique = slices.Clone(l.clique)
	return t.close()
}

// Either is two tables of which the first one's answers count before the second's: a
// file's before what was learnt. Either may be changed while others ask.
type Either struct {
	mu          sync.RWMutex
	file, learn *Table
}

// Set replaces a table; nil leaves it out.
func (e *Either) Set(file, learnt *Table) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.file, e.learn = file, learnt
}

// Relation is what a is to b, by the file or else as learnt.
func (e *Either) Relation(a, b uint32) (observe.ASRelation, float64) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if r, s := e.file.Relation(a, b); r != observe.ASUnknown {
		return r, s
	}
	return e.learn.Relation(a, b)
}

// Tier1 tells whether the file's clique has the AS, or without a clique the learnt one.
func (e *Either) Tier1(as uint32) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.file != nil && len(e.file.clique) > 0 {
		return e.file.Tier1(as)
	}
	return e.learn.Tier1(as)
}

// Exchange tells whether the file calls the AS an exchange's.
func (e *Either) Exchange(as uint32) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.file.Exchange(as)
}
