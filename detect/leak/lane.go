package leak

import (
	"net/netip"
	"slices"

	"sakimori/observe"
)

// lane is a way as it should be beside the way as it is, from one vantage point.
type lane struct {
	Prefix netip.Prefix
	Cover  netip.Prefix
	Peer   uint32
	Usual  []uint32
	Is     []uint32
	Routes int // that took it, in all
	Live   int
	First  int64
	Last   int64
	fold   uint64 // of Is and its peer
}

// laneOf adds a route to the lane that it takes: one for each way of each vantage point. The
// way as it should be is what the same peer said of the lane's first prefix before, or says
// of the route around it.
func (d *Detector) laneOf(c *hunt, r *observe.Route, p *prefix, h *hit) {
	fold := uint64(r.Peer)<<32 ^ d.paths[r.Path].fold
	i, ok := c.laneAt[fold]
	if !ok {
		is := d.table.Path(r.Path)
		if len(c.lanes) >= mostLanes || is == nil {
			return
		}
		l := lane{Prefix: h.prefix, Peer: d.peers[r.Peer].as, Is: slices.Clone(is.ASes), First: r.At, fold: fold}
		if usual, cover := d.usualPath(c, r, p); usual != nil {
			l.Usual = slices.Clone(usual.ASes)
			if cover != 0 {
				l.Cover = d.names[cover]
			}
		}
		i = len(c.lanes)
		c.lanes = append(c.lanes, l)
		c.laneAt[fold] = i
	}
	c.lanes[i].Routes++
	c.lanes[i].Live++
	c.lanes[i].Last = 0
}

// pathAt is a peer's path to a prefix as the route in hand finds it: the table is already
// where the batch ends.
func (d *Detector) pathAt(n, peer uint32) uint32 {
	for i := range d.rest {
		if r := &d.rest[i]; r.Prefix == n && r.Peer == peer {
			return r.Was
		}
	}
	return d.table.At(n, peer)
}

// usualPath is the path as it should be, nil where it isn't known, and the prefix around
// the route's if it is that one's.
func (d *Detector) usualPath(c *hunt, r *observe.Route, p *prefix) (*observe.RoutePath, uint32) {
	mine := func(id uint32) bool {
		e := &d.paths[id]
		return c.kind.leaky() && e.signs&leakSigns != 0 && e.leaker == c.by || c.kind == hijacks && e.origin == c.by
	}
	if r.Was != 0 && int(r.Was) < len(d.paths) && !mine(r.Was) {
		return d.table.Path(r.Was), 0
	}
	cover := p.cover
	if r.Was == 0 && cover == 0 && c.kind != bogons {
		cover = d.around(r.Prefix)
	}
	if cover == 0 {
		return nil, 0
	}
	id := d.pathAt(cover, r.Peer)
	if id == 0 || int(id) >= len(d.paths) || mine(id) {
		return nil, 0
	}
	return d.table.Path(id), cover
}

// endLane counts a route that no longer takes a lane: the peer's lanes of its path.
func (d *Detector) endLane(c *hunt, r *observe.Route) {
	if int(r.Was) >= len(d.paths) || r.Was == 0 {
		return
	}
	is := uint64(r.Peer)<<32 ^ d.paths[r.Was].fold
	for i := range c.lanes {
		if l := &c.lanes[i]; l.fold == is && l.Live > 0 {
			if l.Live--; l.Live == 0 {
				l.Last = r.At
			}
			return
		}
	}
}
