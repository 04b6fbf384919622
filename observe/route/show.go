package route

import (
	"net/netip"
	"slices"

	"sakimori/observe"
)

// Show tells what is seen of a prefix now, as the record does of former times: the routes
// to exactly it, of the longest route around it, and inside it. Since when isn't known
// here.
func (t *Table) Show(q observe.RouteQuery) observe.RouteShown {
	s := observe.RouteShown{Prefix: q.Prefix.Masked(), At: unix(t.now), Known: len(t.peers.list) > 0}
	n := t.Number(q.Prefix)
	t.show(&s, n, observe.RouteExact, q.Limit)
	if n != 0 {
		t.show(&s, t.Cover(n), observe.RouteCover, q.Limit)
	} else if q.Prefix.IsValid() && q.Prefix.Bits() > 0 {
		t.show(&s, t.Around(netip.PrefixFrom(q.Prefix.Addr(), q.Prefix.Bits()-1)), observe.RouteCover, q.Limit)
	}
	left := q.Limit
	t.Inside(q.Prefix, func(m uint32) bool {
		if m != n {
			left -= t.show(&s, m, observe.RouteInside, left)
		}
		return !s.More
	})
	return s
}

// show adds the routes to exactly a prefix, and tells how many.
func (t *Table) show(s *observe.RouteShown, n uint32, m observe.RouteMatch, limit int) int {
	if n == 0 {
		return 0
	}
	p, before := t.Prefix(n), len(s.Routes)
	for _, r := range t.prefixes.routes(&t.prefixes.entries.All[n]) {
		if len(s.Routes)-before >= limit {
			s.More = true
			break
		}
		path := *t.Path(r.path)
		path.ID = 0
		path.ASes, path.Communities, path.Large = slices.Clone(path.ASes), slices.Clone(path.Communities), slices.Clone(path.Large)
		s.Routes = append(s.Routes, observe.RouteSeen{Prefix: p, Match: m, Peer: *t.Peer(uint32(r.peer)), ID: r.id, Path: path})
	}
	return len(s.Routes) - before
}

// Prefixes is how many prefixes of each family a peer announces.
func (t *Table) Prefixes(peer uint32) (v4, v6 int) {
	if p := t.peer(peer); p != nil {
		return p.has[0], p.has[1]
	}
	return 0, 0
}
