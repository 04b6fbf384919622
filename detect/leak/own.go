package leak

import (
	"maps"
	"slices"

	"sakimori/detect"
	"sakimori/observe"
)

// watch is who sees an own prefix.
type watch struct {
	peers map[uint32]*viewer
	sees  int // peers that see it now
	could int // and those that did, and whose session hasn't ended
	c     *hunt
	hit   int   // in it
	lost  int64 // nanoseconds: the withdrawal with which it fell below the line; 0 it isn't lost
	back  int64 // and the announcement with which it rose above
}

// viewer is a peer of a watch.
type viewer struct {
	routes        int
	gone          int64
	last          []uint32 // the way before it was withdrawn
	feed, address string
}

// watchAfter is for how many seconds an own prefix must be out of sight, so that a session
// that flaps or a change of way is no outage.
const (
	watchAfter = 45
	watchPeers = 3
)

// watch keeps who sees an own prefix.
func (d *Detector) watch(i int, r *observe.Route) {
	w := &d.watched[i]
	if w.peers == nil {
		w.peers = map[uint32]*viewer{}
	}
	v := w.peers[r.Peer]
	if v == nil {
		// Who only ever saw somebody else announce it has nothing to lose.
		o := d.cfg.Own[i].Origins
		if r.Path == 0 || len(o) > 0 && !slices.Contains(o, d.originOf(r.Path)) || len(w.peers) >= 4096 {
			return
		}
		v = &viewer{}
		if t := d.table.Peer(r.Peer); t != nil {
			v.feed, v.address = t.Feed, t.Address.String()
		}
		w.peers[r.Peer] = v
		w.could++
	}
	switch {
	case r.Path != 0 && (r.Was == 0 || v.routes == 0):
		if v.routes++; v.routes == 1 {
			w.sees++
			v.gone, v.last = 0, nil
		}
	case r.Path == 0 && v.routes > 0:
		if v.routes--; v.routes > 0 {
			break
		}
		w.sees--
		v.gone = r.At
		if t := d.table.Path(r.Was); t != nil {
			v.last = slices.Clone(t.ASes)
		}
		if r.Marks&observe.RouteDown != 0 {
			// The session ended: what the peer would see isn't known.
			w.could--
			delete(w.peers, r.Peer)
		}
	}
	switch {
	case w.could >= watchPeers && float64(w.sees) < d.cfg.Lost*float64(w.could):
		if w.lost == 0 {
			w.lost = r.At
		}
	case w.c == nil || float64(w.sees) > d.cfg.Back*float64(w.could):
		if w.lost != 0 {
			w.lost, w.back = 0, r.At
		}
	}
}

// lookAtOwn says that an own prefix is lost, or back. All of one owner that are lost within
// the same time are one outage.
func (d *Detector) lookAtOwn(i int) {
	w := &d.watched[i]
	o := &d.cfg.Own[i]
	if w.c != nil && w.c.closed {
		w.c = nil
	}
	if w.c == nil && w.lost != 0 && d.now-w.lost/1e9 >= watchAfter && !d.cfg.inMaintenance(w.lost/1e9, o.Prefix, o.Origins...) {
		w.c = d.outageOf(o, w.lost)
		w.hit = len(w.c.hits)
		h := hit{prefix: o.Prefix, first: w.lost, gone: w.lost, own: int16(i) + 1} //nolint:gosec // New holds it below
		h.expecs = uint8(copy(h.expect[:], o.Origins))                             //nolint:gosec // at most 4
		w.c.hits = append(w.c.hits, h)
		d.hits++
		d.blind(w.c, w, o)
	}
	c := w.c
	if c == nil {
		return
	}
	h := &c.hits[w.hit]
	switch {
	case w.lost == 0 && h.mask != 0:
		h.mask, h.gone = 0, w.back
		c.live--
		c.last = max(c.last, w.back)
		if c.live == 0 {
			c.goneAt = w.back
			for j := range c.peers {
				c.peers[j].lively = 0
			}
			for j := range c.lanes {
				c.lanes[j].Last = w.back
			}
		}
	case w.lost != 0 && h.mask == 0:
		if c.restored {
			c.restored = false
			c.waves++
			d.step(c, "grown", detect.Textf("再び見えなくなった", "it is out of sight again"))
		}
		h.mask, h.gone = 1, 0
		c.live++
		c.peak = max(c.peak, c.live)
		c.last = max(c.last, w.lost)
		c.count(signVisibility, table[signVisibility].score)
		c.tally[signVisibility].Count = max(c.tally[signVisibility].Count, w.could-w.sees)
	}
	d.awake(c)
}

// outageOf is the outage of an owner.
func (d *Detector) outageOf(o *Own, at int64) *hunt {
	k := key{kind: outages}
	if len(o.Origins) > 0 {
		k.to = o.Origins[0]
	}
	if c := d.cases[k]; c != nil {
		return c
	}
	c := newHunt(k)
	c.first, c.last, c.began = at, at, d.now
	d.cases[k] = c
	d.list = append(d.list, c)
	return c
}

// blind notes who has lost an own prefix, and the way that it had.
func (d *Detector) blind(c *hunt, w *watch, o *Own) {
	for _, n := range slices.Sorted(maps.Keys(w.peers)) {
		v := w.peers[n]
		if v.routes > 0 {
			continue
		}
		j, ok := c.bits[n]
		if !ok && len(c.peers) < mostPeers {
			j = len(c.peers)
			c.bits[n] = j
			c.peers = append(c.peers, sight{number: n, as: d.peers[n].as, feed: v.feed, address: v.address, first: v.gone, weight: 1})
		}
		if j < len(c.peers) {
			c.peers[j].prefixes++
			c.peers[j].lively++
		}
		if len(c.lanes) < mostLanes {
			c.lanes = append(c.lanes, lane{Prefix: o.Prefix, Peer: d.peers[n].as, Usual: v.last, Routes: 1, Live: 1, First: v.gone})
		}
	}
}
