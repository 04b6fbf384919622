package main

import (
	"context"
	"iter"
	"net/netip"

	"sakimori/console/api"
	"sakimori/observe/route"
	"sakimori/observe/route/rpki"
	remedy "sakimori/respond/leak"
	"sakimori/respond/leak/readiness"
)

// Readiness tells which share of the ways to own and customers' space would be protected.
func (p *routePort) Readiness(context.Context) (out api.RouteReadiness, err error) {
	l := p.table()
	if l == nil {
		return out, nil
	}
	house := p.cfg.Route.operator(p.names.ASName)
	if len(house.Own) == 0 {
		for i := range l.run.set.leak.Own {
			o := &l.run.set.leak.Own[i]
			house.Own = append(house.Own, remedy.Own{Prefix: o.Prefix, Name: o.Name, Origins: o.Origins})
		}
	}
	var r readiness.Report
	l.live.Do(func(t *route.Table) { r = readiness.Of(house, l.ways(t, house), registered{l}) })
	now := l.now().UTC()
	out = api.RouteReadiness{
		Paths: r.Paths, OTC: api.RouteMarked{Marked: r.OTC.Marked, Unmarked: r.OTC.Unmarked}, Computed: &now,
		ROV:  map[string]int{"valid": r.ROV.Valid, "invalid": r.ROV.Invalid, "not_found": r.ROV.NotFound, "unknown": r.ROV.Unknown},
		ASPA: map[string]int{"valid": r.ASPA.Valid, "invalid": r.ASPA.Invalid, "unknown": r.ASPA.Unknown, "none": r.ASPA.None},
	}
	for i := range r.Own {
		o := &r.Own[i]
		out.Own = append(out.Own, api.ReadyPrefix{Prefix: o.Prefix.String(), ROV: string(o.ROV), ROAMissing: o.Missing, MaxLength: o.MaxLength, Words: o.Words})
	}
	for i := range r.Customers {
		c := &r.Customers[i]
		out.Customers = append(out.Customers, api.ReadyCustomer{AS: c.AS, Name: c.Name, Prefixes: c.Prefixes, ROA: c.ROA, ASPA: c.ASPA, Must: c.Must})
	}
	return out, nil
}

// ways are the routes to own and customers' space, of all peers.
func (l *routing) ways(t *route.Table, house *remedy.House) iter.Seq[*remedy.Offered] {
	return func(yield func(*remedy.Offered) bool) {
		more := true
		for i := range house.Own {
			t.Inside(house.Own[i].Prefix, func(n uint32) bool {
				t.Of(n, func(peer, path uint32) bool {
					o := remedy.Offered{Neighbor: t.Peer(peer).AS, Prefix: t.Prefix(n)}
					seenBy(&o, t.Path(path), l.run.set)
					more = yield(&o)
					return more
				})
				return more
			})
			if !more {
				return
			}
		}
	}
}

// registered is what is registered, as readiness asks for it.
type registered struct{ l *routing }

func (r registered) Known() (roas, aspas bool) {
	var t *rpki.Table
	switch x := r.l.run.set.rpki.(type) {
	case *rpki.Set:
		t = x.Table()
	case *rpki.Table:
		t = x
	}
	if t == nil {
		return false, false
	}
	n, m := t.Len()
	return n > 0, m > 0
}

func (r registered) ROV(p netip.Prefix, origin uint32) remedy.ROV {
	if t := r.l.run.set.rpki; t != nil {
		return remedy.ROV(t.Origin(p, origin).String())
	}
	return remedy.ROVUnknown
}

func (r registered) Longest(p netip.Prefix, origin uint32) (longest int) {
	if t := r.l.run.set.rpki; t != nil {
		for _, x := range t.ROAs(p) {
			if x.AS == origin {
				longest = max(longest, int(x.MaxLength))
			}
		}
	}
	return longest
}

func (r registered) ASPA(as uint32) (is bool) {
	if t := r.l.run.set.rpki; t != nil {
		_, is = t.Providers(as)
	}
	return is
}
