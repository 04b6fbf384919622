package leak

import "slices"

// absorbed joins a case that would be opened to the incident of the same leaker that is
// under way: who leaks to two upstreams, or in two ways, leaks once.
func (d *Detector) absorbed(c *hunt) bool {
	if !c.kind.leaky() && c.kind != inners {
		return false
	}
	for _, o := range d.list {
		if o != c && o.open && !o.closed && o.by == c.by && (o.kind.leaky() || o.kind == inners) && !o.shut {
			d.absorb(o, c)
			return true
		}
	}
	return false
}

// absorb takes all of a case into another.
func (d *Detector) absorb(o, c *hunt) {
	o.first, o.last = min(o.first, c.first), max(o.last, c.last)
	var at [mostPeers]int // of c's peers among o's
	for i := range c.peers {
		p := &c.peers[i]
		j, ok := o.bits[p.number]
		if !ok {
			j = max(len(o.peers), len(o.bits))
			o.bits[p.number] = j
			if j < mostPeers {
				q := *p
				q.prefixes, q.lively = 0, 0
				o.peers = append(o.peers, q)
			}
		}
		at[i] = j
	}
	for i := range c.hits {
		h := c.hits[i]
		mask := uint64(0)
		for b := range c.peers {
			if h.mask&(1<<b) != 0 && at[b] < mostPeers {
				mask |= 1 << at[b]
			}
		}
		j, ok := o.at[h.number]
		if !ok {
			j = int32(len(o.hits)) //nolint:gosec // bounded by Config.Hits
			o.hits = append(o.hits, h)
			o.hits[j].mask = 0
			o.at[h.number] = j
			d.hits++
			if h.part {
				o.parts++
			}
		}
		x := &o.hits[j]
		if x.mask == 0 && mask != 0 {
			o.live++
		}
		for b := range o.peers {
			if mask&^x.mask&(1<<b) != 0 {
				o.peers[b].prefixes++
				o.peers[b].lively++
			}
		}
		if x.mask |= mask; x.mask != 0 {
			x.gone = 0
		}
	}
	if o.live > 0 {
		o.restored = false
	}
	o.peak = max(o.peak, o.live)
	for s := range c.tally {
		o.tally[s].Count += c.tally[s].Count
		o.tally[s].Score = max(o.tally[s].Score, c.tally[s].Score)
	}
	add := func(to, from map[uint32]int) {
		for as, n := range from {
			to[as] += n
		}
	}
	add(o.froms, c.froms)
	add(o.tos, c.tos)
	for f, n := range c.forms {
		o.forms[f] += n
	}
	for t, n := range c.types {
		o.types[t] += n
	}
	for i := range c.lanes {
		if len(o.lanes) < mostLanes && !slices.ContainsFunc(o.lanes, func(l lane) bool { return l.fold == c.lanes[i].fold && slices.Equal(l.Usual, c.lanes[i].Usual) }) {
			o.lanes = append(o.lanes, c.lanes[i])
		}
	}
	for _, m := range c.evidence {
		if len(o.evidence) < mostEvidence {
			o.evidence = append(o.evidence, m)
		}
	}
	o.beyond += c.beyond
	for _, k := range append(c.also, c.key) {
		o.also = append(o.also, k)
		d.cases[k] = o
	}
	c.closed = true // its hits were counted once more above; everything takes it off the list
	d.awake(o)
}
