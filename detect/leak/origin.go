package leak

import (
	"net/netip"
	"slices"

	"sakimori/observe"
)

// prefix is what is kept of a prefix, by its number: 64 bytes, one line of the
// processor's cache.
type prefix struct {
	origins [3]origin
	born    uint32 // when it was first announced, Unix seconds; 0 never
	cover   uint32 // the known prefix around it, when it was last looked up
	own     int16  // own space it lies in, its index + 1; 0 none
	marks   prefixMarks
	bits    uint8
}

// origin is an AS that announces, or announced, a prefix.
type origin struct {
	as, first, last uint32
	routes          uint16 // now; 65535 stands for more
	marks           originMarks
}

type prefixMarks uint8

const (
	prefixKnown prefixMarks = 1 << iota // own, bogon and so on were looked up
	prefixBogon
	prefixAnycast
	prefixExact // it is an own prefix as configured
	prefixFour  // it is IPv4
)

type originMarks uint8

const (
	originSettled originMarks = 1 << iota // it stood in a table, or lasted a day
	originAccused                         // it is in a case
)

// prefixOf is what is kept of a prefix, looked up when it is first seen; nil beyond the bound.
func (d *Detector) prefixOf(n uint32) *prefix {
	if int(n) >= len(d.prefixes) {
		if int(n) > d.cfg.Prefixes {
			d.figures.NoPrefix++
			return nil
		}
		d.prefixes = append(d.prefixes, make([]prefix, max(int(n)+1-len(d.prefixes), len(d.prefixes)/4))...)
	}
	p := &d.prefixes[n]
	if p.marks&prefixKnown == 0 {
		d.meet(p, n)
	}
	return p
}

// meet looks up what is known of a prefix before it was seen.
func (d *Detector) meet(p *prefix, n uint32) {
	pfx := d.table.Prefix(n)
	p.marks = prefixKnown
	p.bits = uint8(pfx.Bits()) //nolint:gosec // 0 to 128
	if pfx.Addr().Is4() {
		p.marks |= prefixFour
	}
	if lpm, i, ok := d.rules.own.LookupPrefixLPM(pfx); ok {
		p.own = int16(i) + 1 //nolint:gosec // New holds it below
		if lpm == pfx {
			p.marks |= prefixExact
		}
	}
	if _, ok := d.rules.anycast.LookupPrefix(pfx); ok {
		p.marks |= prefixAnycast
	}
	if d.rules.bogon(pfx) != "" {
		p.marks |= prefixBogon
	}
	for int(n) >= len(d.names) {
		d.names = append(d.names, make([]netip.Prefix, max(int(n)+1-len(d.names), len(d.names)/4))...)
	}
	d.names[n] = pfx
	d.remember(p, pfx, n)
}

// settled tells whether an origin is known for the prefix's.
func (d *Detector) settled(o *origin) bool {
	return o.as != 0 && o.marks&originAccused == 0 && (o.marks&originSettled != 0 || d.now-int64(o.first) >= day && o.last > o.first)
}

// slot is the origin's place, nil where it has none.
func (p *prefix) slot(as uint32) *origin {
	for i := range p.origins {
		if p.origins[i].as == as && as != 0 {
			return &p.origins[i]
		}
	}
	return nil
}

// take makes a place for an origin: that of whoever hasn't announced it for longest. One
// that is announced, or accused, isn't forgotten.
func (p *prefix) take(as uint32, now int64) *origin {
	if o := p.slot(as); o != nil || as == 0 {
		return o
	}
	var best *origin
	for i := range p.origins {
		o := &p.origins[i]
		if o.as == 0 {
			best = o
			break
		}
		if o.routes == 0 && o.marks&originAccused == 0 && (best == nil || o.last < best.last) {
			best = o
		}
	}
	if best != nil {
		*best = origin{as: as, first: uint32(now), last: uint32(now)} //nolint:gosec // seconds until 2106
	}
	return best
}

// live tells whether somebody announces the prefix.
func (p *prefix) live() bool { return p.origins[0].routes|p.origins[1].routes|p.origins[2].routes != 0 }

// around finds the longest known prefix strictly around one: announced now by somebody who
// is known to, for longer than the join time. 0 none. It asks by numbers and by what this
// detector saw so far: the table is already where the batch ends.
func (d *Detector) around(n uint32) uint32 {
	pfx := d.names[n]
	for bits := pfx.Bits() - 1; bits >= 4; bits-- {
		up, err := pfx.Addr().Prefix(bits)
		if err != nil {
			return 0
		}
		c := d.table.Number(up)
		if c == 0 || int(c) >= len(d.prefixes) {
			continue
		}
		p := &d.prefixes[c]
		if !p.live() || d.now-int64(p.born) < int64(d.cfg.Join) && p.origins[0].marks&originSettled == 0 {
			continue
		}
		for i := range p.origins {
			if d.settled(&p.origins[i]) || p.origins[i].routes > 0 && p.origins[i].marks&originAccused == 0 {
				return c
			}
		}
	}
	return 0
}

// claim is what is found of an origin's announcement.
type claim struct {
	signs    signs
	form     string
	expected [4]uint32
	count    int
	decides  bool // by what was written down
}

func (c *claim) expect(as uint32) {
	if slices.Contains(c.expected[:c.count], as) {
		return
	}
	if c.count < len(c.expected) && as != 0 {
		c.expected[c.count] = as
		c.count++
	}
}

// akin tells whether two ASes are so close that one may announce the other's space.
func (d *Detector) akin(a, b uint32) bool {
	if d.relation(a, b) != observe.ASUnknown {
		return true
	}
	return d.pairs.find(pairKey(a, b)) != nil || d.pairs.find(pairKey(b, a)) != nil
}

// claims judges an announcement by its origin. state: it is how it was, so that what
// isn't own space is learnt.
func (d *Detector) claims(n uint32, p *prefix, e *path, state bool) (c claim) {
	as := e.origin
	if as == 0 || p.marks&prefixAnycast != 0 {
		return c
	}
	if p.own != 0 {
		return d.ownClaim(n, p, e, state)
	}
	if state {
		return c
	}
	rov := observe.ROVUnknown
	ask := func() observe.ROV {
		if d.ports.Origin != nil && rov == observe.ROVUnknown {
			rov = d.ports.Origin(d.table.Prefix(n), as)
		}
		return rov
	}
	known, others, liveOther := false, false, false
	for i := range p.origins {
		o := &p.origins[i]
		if !d.settled(o) {
			continue
		}
		if o.as == as {
			known = true
			continue
		}
		others = true
		c.expect(o.as)
		liveOther = liveOther || o.routes > 0
		if d.sibling(o.as, as) {
			known = true
		}
	}
	switch {
	case known || d.rules.mitigators[as] && ask() != observe.ROVInvalid || ask() == observe.ROVValid:
		return claim{}
	case others:
		kin := false
		for _, o := range c.expected[:c.count] {
			kin = kin || d.akin(o, as)
		}
		if ask() == observe.ROVInvalid {
			c.signs |= bit(signROV)
		} else if kin || !liveOther {
			return claim{} // handed over, or a customer's and its provider's
		}
		c.signs |= bit(signOrigin)
		c.form = "exact"
		if liveOther {
			c.signs |= bit(signMOAS)
		}
		return c
	}
	if x := d.contested(n, p, as); x != 0 {
		c.signs, c.form = bit(signHolder)|bit(signMOAS), "exact"
		c.expect(x)
		return c
	}
	p.cover = d.around(n)
	if p.cover == 0 {
		return claim{}
	}
	u := &d.prefixes[p.cover]
	kin, firm := false, false
	for i := range u.origins {
		o := &u.origins[i]
		if o.as == 0 || o.marks&originAccused != 0 || !d.settled(o) && o.routes == 0 {
			continue
		}
		c.expect(o.as)
		firm = firm || d.settled(o)
		if o.as == as || d.sibling(o.as, as) {
			if ask() == observe.ROVInvalidLength {
				return claim{signs: bit(signLength)} // not by its origin: counted where its way is new
			}
			return claim{}
		}
		kin = kin || d.akin(o.as, as) || d.passes(e, o.as)
	}
	if ask() == observe.ROVInvalid {
		c.signs |= bit(signROV)
	} else if kin || !firm {
		return claim{}
	}
	c.signs |= bit(signMoreSpecific)
	c.form = "more-specific"
	return c
}

// contested gives the origin to which a prefix belongs by open data, where another AS
// announces it as well; 0 where that isn't so. It counts only as long as no table is known:
// then nothing else tells which of two ASes is the owner.
func (d *Detector) contested(n uint32, p *prefix, as uint32) uint32 {
	if d.ports.Holder == nil || d.tables {
		return 0
	}
	h := d.ports.Holder(d.names[n].Addr())
	if h == 0 || d.sibling(h, as) || d.akin(h, as) {
		return 0
	}
	for i := range p.origins {
		if o := &p.origins[i]; o.as != 0 && o.as != as && d.sibling(o.as, h) {
			if d.akin(o.as, as) {
				return 0
			}
			return o.as
		}
	}
	return 0
}

// accuse looks at the origins that were there when the one to which the prefix belongs by
// open data appeared.
func (d *Detector) accuse(r *observe.Route, b *observe.RouteBatch, p *prefix, e *path) {
	if d.ports.Holder == nil || d.tables || p.own != 0 || p.marks&prefixAnycast != 0 {
		return
	}
	for i := range p.origins {
		o := &p.origins[i]
		if o.as == 0 || o.as == e.origin || o.routes == 0 || o.marks&originAccused != 0 || d.contested(r.Prefix, p, o.as) != e.origin {
			continue
		}
		c := d.caseFor(key{kind: hijacks, by: o.as}, r)
		if c == nil {
			return
		}
		c.first = min(c.first, int64(o.first)*1e9)
		o.marks |= originAccused
		cl := claim{signs: bit(signHolder) | bit(signMOAS), form: "exact"}
		cl.expect(e.origin)
		for n := range d.peers {
			id := d.pathAt(r.Prefix, uint32(n))
			if id == 0 || int(id) >= len(d.paths) || d.paths[id].origin != o.as || uint32(n) == r.Peer {
				continue
			}
			x := observe.Route{At: r.At, Prefix: r.Prefix, Peer: uint32(n), Path: id}
			d.enter(c, &x, b, p, &d.paths[id], cl.signs, &cl, false)
		}
	}
}

// passes tells whether a path goes through an AS.
func (d *Detector) passes(e *path, as uint32) bool {
	return e.next == as || slices.Contains(d.way, as) // of the path in hand
}

// ownClaim judges an announcement of own or customers' space.
func (d *Detector) ownClaim(n uint32, p *prefix, e *path, state bool) (c claim) {
	o := &d.cfg.Own[p.own-1]
	for _, as := range o.Origins {
		c.expect(as)
	}
	firm := len(o.Origins) > 0
	if !firm {
		for i := range p.origins {
			if d.settled(&p.origins[i]) {
				c.expect(p.origins[i].as)
			}
		}
	}
	if c.count == 0 {
		return claim{}
	}
	for _, as := range c.expected[:c.count] {
		if as == e.origin || d.sibling(as, e.origin) {
			return d.ownWay(n, e, state)
		}
	}
	rov := observe.ROVUnknown
	if d.ports.Origin != nil {
		rov = d.ports.Origin(d.table.Prefix(n), e.origin)
	}
	if rov == observe.ROVValid || d.rules.mitigators[e.origin] && rov != observe.ROVInvalid {
		if d.rules.mitigators[e.origin] {
			d.figures.Excused++
		}
		return claim{}
	}
	if state && !firm {
		return claim{}
	}
	c.decides = firm
	c.signs = bit(signOwn)
	if rov == observe.ROVInvalid {
		c.signs |= bit(signROV)
	}
	switch p.cover = d.around(n); {
	case d.announced(p, &c) || p.marks&prefixExact != 0 && !d.tables:
		c.form, c.signs = "exact", c.signs|bit(signOrigin)
	case p.cover != 0 || p.marks&prefixExact == 0 && !d.tables:
		c.form, c.signs = "more-specific", c.signs|bit(signMoreSpecific)
	case d.tables:
		c.form, c.signs = "squatting", c.signs|bit(signSquat)
	}
	return c
}

// announced tells whether somebody who may announces the prefix, or did.
func (d *Detector) announced(p *prefix, c *claim) bool {
	for i := range p.origins {
		for _, as := range c.expected[:c.count] {
			if o := &p.origins[i]; o.as == as && o.as != 0 {
				return true
			}
		}
	}
	return false
}

// ownWay judges own space with the right origin: by its neighbour, and by its length.
func (d *Detector) ownWay(n uint32, e *path, state bool) (c claim) {
	if d.ports.Origin != nil && d.ports.Origin(d.table.Prefix(n), e.origin) == observe.ROVInvalidLength {
		c.signs |= bit(signLength)
	}
	if e.next == 0 || !d.rules.ownAS[e.origin] || len(d.rules.neighbors) == 0 || state {
		return c
	}
	if _, ok := d.rules.neighbors[e.next]; ok || d.rules.ownAS[e.next] || d.sibling(e.next, e.origin) || d.pairs.find(pairKey(e.next, e.origin)) != nil {
		return c
	}
	c.signs |= bit(signUpstream) | bit(signOwn)
	c.form = "first-hop"
	c.expect(e.origin)
	c.decides = true
	return c
}

// rovName is the state of a hit's origin as it is shown.
func (d *Detector) rovName(p netip.Prefix, as uint32) observe.ROV {
	if d.ports.Origin == nil || as == 0 {
		return observe.ROVUnknown
	}
	return d.ports.Origin(p, as)
}
