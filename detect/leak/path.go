package leak

import (
	"slices"

	"sakimori/observe"
)

// path is what was found of a path, by its number. Numbers are given anew when nobody uses
// them any more: fold tells whether it is still the path that was judged.
type path struct {
	fold    uint64
	routes  int32  // now
	born    uint32 // when it was judged, Unix seconds
	origin  uint32 // 0 can't be told
	next    uint32 // to whom the origin told it; 0 to the observer alone
	vantage uint32 // who told it
	by      uint32 // who passed it on to the vantage point; 0 nobody
	signs   signs
	offer   signs // of its last step, when it is offered to a router of ours
	leaker  uint32
	from    uint32
	to      uint32
	stray   uint32 // who let a number out that nobody may use
	score   uint8  // of the relations that the valley rests on, in 1/255
	form    uint8  // RFC 7908 type, 0 can't be told
	warm    bool   // it was judged when what is usual was known
}

// pathOf is what is known of a path, judged if need be. From a table (state) its ways are
// learnt instead of being found new. nil: it is beyond the bound.
func (d *Detector) pathOf(id uint32, state bool, p *peer) *path {
	if int(id) >= len(d.paths) {
		if int(id) > d.cfg.Paths {
			d.figures.NoPath++
			return nil
		}
		d.paths = append(d.paths, make([]path, max(int(id)+1-len(d.paths), len(d.paths)/4))...)
	}
	e := &d.paths[id]
	if id == d.lastPath {
		return e
	}
	t := d.table.Path(id)
	if t == nil {
		return nil
	}
	d.lastPath = id
	fold := d.fold(t)
	if e.fold == fold {
		return e
	}
	*e = path{fold: fold, born: uint32(d.now)} //nolint:gosec // seconds until 2106
	d.judge(e, t, state, p)
	return e
}

// fold tells paths apart by what is judged of them.
func (d *Detector) fold(t *observe.RoutePath) uint64 {
	h := uint64(len(t.ASes))<<32 ^ uint64(t.OTC) ^ d.epoch<<48
	for _, as := range t.ASes {
		h = (h ^ uint64(as)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	for _, c := range t.Communities {
		if c&0xffff == 666 || d.rules.blackholes[c] {
			h ^= uint64(c) * 0xff51afd7ed558ccd
		}
	}
	return h | 1
}

// plain is a path as the route travelled, the origin first, without prepending and route
// servers. Not ok: an AS stands in it twice, or nothing does.
func (d *Detector) plain(t *observe.RoutePath) ([]uint32, bool) {
	way := d.way[:0]
	if t == nil {
		return way, false
	}
	for _, as := range slices.Backward(t.ASes) {
		if len(way) > 0 && way[len(way)-1] == as {
			continue
		}
		if len(way) > 0 && (d.rules.servers[as] || d.ports.RouteServer != nil && d.ports.RouteServer(as)) {
			continue
		}
		if slices.Contains(way, as) {
			d.way = way
			return way, false
		}
		way = append(way, as)
	}
	d.way = way
	return way, len(way) > 0
}

// judge finds the signs of a path.
func (d *Detector) judge(e *path, t *observe.RoutePath, state bool, p *peer) {
	d.figures.Paths++
	e.origin = t.Origin
	for _, c := range t.Communities {
		if d.rules.blackholes[c] {
			e.signs |= bit(signBlackhole)
		}
	}
	way, ok := d.plain(t)
	if len(t.ASes) > 0 {
		e.vantage = t.ASes[0]
	}
	if !ok {
		if len(way) > 0 {
			d.figures.Looped++
		}
		return
	}
	if len(way) > 1 {
		e.next, e.by = way[1], way[len(way)-2]
	}
	e.warm = !state && d.usual(p)
	bent := d.bend(e, way, t)
	at := bent
	// Whoever sells no transit stands between two others.
	for i := 1; i+1 < len(way); i++ {
		if !d.noTransit(way[i]) || d.sibling(way[i-1], way[i]) || d.sibling(way[i], way[i+1]) || d.rules.ownAS[way[i]] {
			continue
		}
		if at >= 0 && at < i {
			break
		}
		if at != i {
			e.signs &^= bit(signValley) | bit(signTier1) | bit(signASPA)
		}
		at = i
		e.signs |= bit(signUnexpected)
		break
	}
	d.unusual(e, way, at, state)
	d.forged(e, way, bent)
	d.offered(e, t, way)
	for i, as := range way {
		if reservedAS(as) != "" && !d.rules.ownAS[as] && (i == 0 || i < len(way)-1) {
			e.signs |= bit(signBogonAS)
			if e.stray = as; i+1 < len(way) { // who took it from there
				e.stray = way[i+1]
			}
			break
		}
	}
	if e.signs != 0 {
		d.figures.Suspect++
	}
}

// unusual finds ways that nobody was seen to take, learns those of tables, and drops what
// was there before anybody looked: a bend that has always been is the relation file's
// mistake, or no news.
func (d *Detector) unusual(e *path, way []uint32, at int, state bool) {
	if state {
		if at > 0 && at+1 < len(way) {
			if d.leaksTo(way[at], way[at+1]) {
				d.place(e, way, at)
				return
			}
		}
		d.learn(way)
		e.signs &= lasting
		return
	}
	if e.warm {
		first := d.newWay(way)
		switch {
		case at < 0:
			if at = first; at >= 0 {
				e.signs |= bit(signNewTransit)
			}
		case at+1 < len(way) && !d.ways.has(wayOf(way[at-1], way[at], way[at+1])):
			e.signs |= bit(signNewTransit)
		default: // it was always so
			e.signs &= lasting
			at = -1
		}
	}
	d.place(e, way, at)
}

// newWay is the place of the first way that nobody was seen to take, -1 none. A new
// session makes all ways through both of its ends new: of those in a row the fault is with
// the AS that carries the fewest others, the bottom of the valley.
func (d *Detector) newWay(way []uint32) int {
	at := -1
	for i := 1; i+1 < len(way); i++ {
		known := d.ways.has(wayOf(way[i-1], way[i], way[i+1]))
		switch {
		case known && at >= 0:
			return at
		case !known && (at < 0 || d.carries[way[i]] <= d.carries[way[at]]):
			at = i
		}
	}
	return at
}

// place says who is at fault, from whom it had the route, and to whom it passed it.
func (d *Detector) place(e *path, way []uint32, at int) {
	if at <= 0 || at+1 >= len(way) {
		return
	}
	e.from, e.leaker, e.to = way[at-1], way[at], way[at+1]
	e.form = d.typeOf(e.from, e.leaker, e.to)
}

// typeOf is the leak's type by RFC 7908, 0 where the relations aren't known. Whoever sells
// no transit has neighbours that are its peers unless they are known to be its providers.
func (d *Detector) typeOf(from, by, to uint32) uint8 {
	had, gave := d.relation(from, by), d.relation(to, by)
	if d.noTransit(by) && had == observe.ASUnknown {
		had = observe.ASPeer
	}
	switch {
	case had == observe.ASProvider && gave == observe.ASProvider:
		return 1
	case had == observe.ASPeer && gave == observe.ASPeer:
		return 2
	case had == observe.ASProvider && gave == observe.ASPeer:
		return 3
	case had == observe.ASPeer && gave == observe.ASProvider:
		return 4
	}
	return 0
}

// relationsHold is for how long before and after its day a file of relations is believed:
// four years. Links between the same ASes seldom change what they are.
const relationsHold = 4 * 365 * day

// ofItsTime tells whether the relations are of about the time of the routes.
func (d *Detector) ofItsTime() bool {
	age := d.now - d.ports.RelationsAt.Unix()
	return d.ports.RelationsAt.IsZero() || max(age, -age) <= relationsHold
}

// relation is what a is to b, as far as it is rather sure.
func (d *Detector) relation(a, b uint32) observe.ASRelation {
	r, _ := d.related(a, b)
	return r
}

func (d *Detector) related(a, b uint32) (observe.ASRelation, float64) {
	if d.sibling(a, b) {
		return observe.ASSibling, 1
	}
	if d.rules.ownAS[b] {
		if r, ok := d.rules.neighbors[a]; ok {
			return r, 1
		}
	}
	if d.rules.ownAS[a] {
		if r, ok := d.rules.neighbors[b]; ok {
			switch r {
			case observe.ASProvider:
				return observe.ASCustomer, 1
			case observe.ASCustomer:
				return observe.ASProvider, 1
			}
			return r, 1
		}
	}
	if d.ports.Relation != nil {
		if r, s := d.ports.Relation(a, b); s >= 0.4 {
			if !d.ofItsTime() {
				s /= 2
			}
			return r, s
		}
	}
	switch ta, tb := d.tier1(a), d.tier1(b); {
	case ta && tb:
		return observe.ASPeer, 0.9
	}
	return observe.ASUnknown, 0
}

// noTransit tells whether the AS passes nobody's routes on: as configured, or by the list
// for the time in which it holds.
func (d *Detector) noTransit(as uint32) bool {
	who, ok := d.rules.noTransit[as]
	return ok && (who == configured || d.now >= listsSince)
}

func (d *Detector) tier1(as uint32) bool {
	if d.ports.Tier1 != nil && d.ofItsTime() {
		return d.ports.Tier1(as)
	}
	return d.now >= listsSince && slices.Contains(tier1, as)
}

func (d *Detector) sibling(a, b uint32) bool {
	return a == b || d.rules.head(a) == d.rules.head(b) || d.ports.Sibling != nil && d.ports.Sibling(a, b)
}
