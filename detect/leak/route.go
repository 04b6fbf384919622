package leak

import (
	"sakimori/observe"
)

// route takes one change.
func (d *Detector) route(r *observe.Route, b *observe.RouteBatch) {
	d.figures.Routes++
	sec := r.At / 1e9
	switch {
	case d.now == 0:
		d.now, d.begun, d.swept, d.aged = sec, sec, sec, sec
	case sec > d.now:
		d.advance(sec)
	case sec < d.now:
		d.figures.Late++
	}
	from := d.peerOf(r.Peer)
	if !from.judged {
		d.figures.Beside++
		return
	}
	state := r.Marks&observe.RouteState != 0
	if state {
		d.figures.State++
		d.stated++
		from.warm, d.tables = true, true
	}
	from.up = r.Marks&observe.RouteDown == 0
	p := d.prefixOf(r.Prefix)
	if p == nil {
		return
	}
	// Growing the table of paths moves it: the new path first, then the old one.
	var is, was *path
	if r.Path != 0 {
		if is = d.pathOf(r.Path, state, from); is == nil {
			return
		}
	}
	if r.Was != 0 && int(r.Was) < len(d.paths) && d.paths[r.Was].fold != 0 {
		was = &d.paths[r.Was]
	}
	family := 0
	if p.marks&prefixFour == 0 {
		family = 1
	}
	switch {
	case is != nil && r.Was == 0:
		from.routes[family]++
		from.high[family] = max(from.high[family], from.routes[family])
	case is == nil && r.Was != 0:
		from.routes[family]--
	}
	fresh := false
	if is != nil {
		is.routes++
		if p.born == 0 {
			p.born = uint32(d.now) //nolint:gosec // seconds until 2106
			fresh = !state
		} else if !state && !p.live() && d.now-int64(p.last()) >= day {
			p.born = uint32(d.now) //nolint:gosec // seconds until 2106
			fresh = true
		}
	}
	if was != nil {
		was.routes--
	}
	if is == nil || was == nil || is.origin != was.origin {
		d.origins(p, is, was, state)
	}
	if p.marks&prefixExact != 0 {
		d.watch(int(p.own)-1, r)
	}
	if fresh {
		fresh = d.newPart(r, p)
	}
	d.suspect(r, b, p, is, was, from, state, fresh)
}

// last is when somebody last announced or withdrew the prefix.
func (p *prefix) last() uint32 { return max(p.origins[0].last, p.origins[1].last, p.origins[2].last) }

// origins keeps who announces the prefix.
func (d *Detector) origins(p *prefix, is, was *path, state bool) {
	if is != nil && is.origin != 0 {
		if o := p.take(is.origin, d.now); o == nil {
			d.figures.Origins++
		} else {
			if o.routes == 0 && o.marks&(originSettled|originAccused) == 0 && d.now-int64(o.last) >= day {
				o.first = uint32(d.now) //nolint:gosec // seconds until 2106
			}
			o.routes = min(o.routes, 1<<16-2) + 1
			o.last = uint32(d.now) //nolint:gosec // seconds until 2106
			if state && o.marks&originAccused == 0 {
				o.marks |= originSettled
			}
		}
	}
	if was != nil && was.origin != 0 {
		if o := p.slot(was.origin); o != nil {
			if d.settled(o) {
				o.marks |= originSettled
			}
			o.routes = max(o.routes, 1) - 1
			o.last = uint32(d.now) //nolint:gosec // seconds until 2106
		}
	}
}

// newPart tells whether a prefix that nobody announced before lies strictly inside a known
// route, and counts it at the adjacencies of its path.
func (d *Detector) newPart(r *observe.Route, p *prefix) bool {
	if p.cover = d.around(r.Prefix); p.cover == 0 {
		return false
	}
	d.freshSeen(r.Path)
	return true
}

// suspect puts the route into the cases that it belongs to, and takes it out of those that
// it belonged to. At most three keys are of a route: its path's, its origin's, and that of
// what may be nowhere.
func (d *Detector) suspect(r *observe.Route, b *observe.RouteBatch, p *prefix, is, was *path, from *peer, state, fresh bool) {
	var now, then [3]*hunt
	if is != nil {
		now = d.join(r, b, p, is, from, state, fresh)
	}
	if was != nil && len(d.list) > 0 {
		then = d.casesOf(p, was, from)
	}
	for _, c := range then {
		if c != nil && c != now[0] && c != now[1] && c != now[2] {
			c.leave(d, r)
		}
	}
}

// casesOf are the cases in which a route with a path may be.
func (d *Detector) casesOf(p *prefix, e *path, from *peer) (out [3]*hunt) {
	if s, k := d.wayKey(e, from); s != 0 {
		out[0] = d.cases[k]
	}
	if o := p.slot(e.origin); o != nil && o.marks&originAccused != 0 || p.own != 0 || p.bits > 8 {
		if out[1] = d.cases[key{kind: hijacks, by: e.origin}]; out[1] == nil {
			out[1] = d.cases[key{kind: inners, by: e.origin}]
		}
		if out[1] == nil && p.own != 0 && e.next != 0 {
			out[1] = d.cases[key{kind: hijacks, by: e.next}]
		}
	}
	if s, k := d.strayKey(p, e); s != 0 {
		out[2] = d.cases[k]
	}
	return out
}

// wayKey is the case of a path's way, and the signs for it.
func (d *Detector) wayKey(e *path, from *peer) (signs, key) {
	if e.signs.has(signFirstHop) {
		return bit(signFirstHop), key{kind: hijacks, by: e.leaker}
	}
	if s := e.signs & leakSigns; s != 0 && e.leaker != 0 {
		k := key{kind: leaks, by: e.leaker, to: e.to}
		if s&strong == 0 {
			k.kind = drifts
		}
		return s, k
	}
	if s := e.offer; s != 0 && from.offered && len(d.cfg.AS) > 0 {
		return s, key{kind: leaks, by: e.vantage, to: d.cfg.AS[0]}
	}
	return 0, key{}
}

// strayKey is the case of what may be nowhere: blackhole routes, bogons.
func (d *Detector) strayKey(p *prefix, e *path) (signs, key) {
	longest := uint8(48)
	if p.marks&prefixFour != 0 {
		longest = 24
	}
	// Asked of a provider directly it is in place; who passes it on lets it out.
	if e.signs.has(signBlackhole) && p.bits > longest && e.next != 0 {
		return bit(signBlackhole), key{kind: blackholes, by: e.next}
	}
	if p.marks&prefixBogon != 0 && e.origin != 0 {
		return bit(signBogonPrefix), key{kind: bogons, by: e.origin}
	}
	if e.signs.has(signBogonAS) {
		return bit(signBogonAS), key{kind: bogons, by: e.stray}
	}
	return 0, key{}
}

// join puts a route into its cases.
func (d *Detector) join(r *observe.Route, b *observe.RouteBatch, p *prefix, e *path, from *peer, state, fresh bool) (out [3]*hunt) {
	if s, k := d.wayKey(e, from); s != 0 {
		c := d.cases[k]
		if c != nil || !state || s&strong != 0 && s == e.offer {
			if c = d.caseFor(k, r); c != nil {
				if s == e.offer && e.signs&leakSigns == 0 {
					c.from(e.by)
				} else {
					c.from(e.from)
				}
				if p.own != 0 {
					s |= bit(signOwn)
				}
				form := ""
				if k.kind == hijacks {
					form = "first-hop"
				}
				d.enter(c, r, b, p, e, s, &claim{form: form, signs: s}, fresh)
				out[0] = c
			}
		}
	}
	if o := p.slot(e.origin); p.own != 0 || !state && (r.Was == 0 || d.originOf(r.Was) != e.origin) || o != nil && o.marks&originAccused != 0 {
		out[1] = d.joinOrigin(r, b, p, e, o, state, fresh, out[0])
	}
	if s, k := d.strayKey(p, e); s != 0 && (!state || d.cases[k] != nil) && (d.usual(from) || d.cases[k] != nil || s.has(signBlackhole)) {
		if c := d.caseFor(k, r); c != nil {
			d.enter(c, r, b, p, e, s, &claim{signs: s}, fresh)
			out[2] = c
		}
	}
	return out
}

func (d *Detector) originOf(id uint32) uint32 {
	if int(id) < len(d.paths) {
		return d.paths[id].origin
	}
	return 0
}

// joinOrigin judges a route by its origin.
func (d *Detector) joinOrigin(r *observe.Route, b *observe.RouteBatch, p *prefix, e *path, o *origin, state, fresh bool, leak *hunt) *hunt {
	if o != nil && o.marks&originAccused != 0 {
		if c := d.cases[key{kind: hijacks, by: e.origin}]; c != nil {
			if i, ok := c.at[r.Prefix]; ok {
				h := &c.hits[i]
				d.enter(c, r, b, p, e, h.signs, &claim{form: h.form, signs: h.signs}, fresh)
				return c
			}
		}
	}
	if p.own == 0 {
		d.plain(d.table.Path(r.Path)) // the way in hand, for passes
	}
	cl := d.claims(r.Prefix, p, e, state)
	k := key{kind: hijacks, by: e.origin}
	if cl.form == "" && !state {
		d.accuse(r, b, p, e)
	}
	if cl.form == "" {
		// Too long by its ROA, with the right origin: the origin's own parts got out, unless
		// somebody else leaks them.
		if !cl.signs.has(signLength) || p.cover == 0 || d.now-int64(p.born) >= int64(d.cfg.Join) || leak != nil && leak.kind != drifts || e.signs.has(signBlackhole) {
			return nil
		}
		k.kind = inners
		cl.form = "type 6"
	}
	by := e.origin
	if cl.form == "first-hop" {
		by = e.next
	}
	if d.cfg.inMaintenance(d.now, d.table.Prefix(r.Prefix), by, e.origin) {
		d.figures.Excused++
		return nil
	}
	k.by = by
	c := d.caseFor(k, r)
	if c == nil {
		return nil
	}
	if o != nil && k.kind == hijacks && cl.form != "first-hop" {
		o.marks = o.marks&^originSettled | originAccused
	}
	c.decides = c.decides || cl.decides
	d.enter(c, r, b, p, e, cl.signs, &cl, fresh)
	return c
}
