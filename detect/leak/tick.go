package leak

import (
	"slices"
	"time"

	"sakimori/detect"
)

// beat is how often all cases are looked at, in seconds of the data: at multiples of it.
const beat = detect.RouteStep

// advance brings the data's time to sec. What changed is looked at when its second is
// over, everything at each beat: when the machine gets round to it, and how routes are cut
// into batches, makes no difference.
func (d *Detector) advance(sec int64) {
	if d.now == 0 || sec <= d.now {
		if d.now == 0 {
			d.now, d.begun, d.swept, d.aged = sec, sec, sec, sec
		}
		return
	}
	before := d.now
	d.now++ // the second after the one in hand
	if len(d.changed) > 0 {
		d.lookAtChanged()
	}
	// What a day without a word doesn't end, a longer time doesn't either.
	for next := d.now + beat - 1 - (d.now+beat-1)%beat; next <= min(sec, before+day); next += beat {
		if len(d.list) == 0 && len(d.watched) == 0 {
			break // nothing waits for time
		}
		d.now = next
		d.everything()
	}
	d.now = sec
	if before/60 != sec/60 && len(d.fresh) > 0 {
		d.minute()
	}
	if sec-d.swept >= sweepEvery || d.stated > d.figures.Routes/20+64 {
		d.sweep()
	}
	if sec-d.aged >= day {
		d.age()
	}
}

// lookAtChanged looks at the cases that changed, in the order in which they did.
func (d *Detector) lookAtChanged() {
	list := d.changed
	d.changed = nil
	for _, c := range list {
		c.waking = false
		d.look(c)
	}
	if d.changed == nil {
		d.changed = list[:0]
	}
}

// everything looks at each case, and at own space.
func (d *Detector) everything() {
	for i := range d.watched {
		d.lookAtOwn(i)
	}
	drop := false
	for _, c := range d.list {
		c.waking = false
		d.look(c)
		drop = drop || c.closed
	}
	d.changed = d.changed[:0]
	if !drop {
		return
	}
	d.list = slices.DeleteFunc(d.list, func(c *hunt) bool {
		if c.closed {
			for _, k := range append(c.also, c.key) {
				if d.cases[k] == c {
					delete(d.cases, k)
				}
			}
			d.hits -= len(c.hits)
		}
		return c.closed
	})
}

// look decides what becomes of a case now.
func (d *Detector) look(c *hunt) {
	if c.closed {
		return
	}
	c.tick(d.now)
	if !c.open {
		d.consider(c)
		return
	}
	if c.shut {
		if c.live == 0 {
			c.closed = d.now-c.goneAt/1e9 >= int64(d.cfg.Quiet+d.cfg.Hold)
			if c.closed {
				d.shutSlots(c)
			}
			return
		}
		c.shut = false
		d.step(c, "reopened", detect.Textf("再び現れた", "it has come again"))
		d.weigh(c)
		d.tell(c, detect.Changed)
	}
	d.point(c).Prefixes = c.live
	d.point(c).Peers = c.seeing()
	if c.live == 0 && !c.restored && (c.revived == 0 || d.now-c.revived >= int64(d.cfg.Quiet)) {
		c.restored = true
		d.step(c, "restored", detect.Textf("経路はすべて戻った", "all its routes are gone"))
		d.tell(c, detect.Changed)
	}
	if c.live == 0 && c.restored && d.now-c.goneAt/1e9 >= int64(d.cfg.Quiet) {
		d.end(c)
		return
	}
	grown := len(c.hits) >= c.toldHits*3/2+1 || c.seeing() > c.toldPeers*3/2 || c.live*3 < c.toldLive*2
	if grown && d.now-c.told >= beat || d.now-c.told >= 60 && c.last/1e9 > c.told {
		d.weigh(c)
		what, words := "grown", detect.Textf("%d 経路に広がった", "it has grown to %d prefixes", c.live)
		if c.live < c.toldLive {
			what, words = "shrunk", detect.Textf("%d 経路に減った", "it has shrunk to %d prefixes", c.live)
		}
		if c.live != c.toldLive {
			d.step(c, what, words)
		}
		d.tell(c, detect.Changed)
	}
	if n := len(c.course); n > 0 && d.now%beat == 0 && d.out.Incidents != nil {
		d.out.Incidents.IncidentCourse(c.id, c.course)
		// The last point may still grow.
		c.course = append(c.course[:0], c.course[n-1])
	}
}

// end closes an incident: its routes have been gone for the quiet time.
func (d *Detector) end(c *hunt) {
	d.step(c, "closed", detect.Textf("%d 秒間現れない", "nothing of it for %d seconds", d.cfg.Quiet))
	c.shut = true
	d.tell(c, detect.Closed)
	// New ways come and go with every line that fails: only a burst made this one a leak.
	if c.kind == drifts {
		c.closed = true
	}
}

// consider decides whether a case is opened, waits, or came to nothing.
func (d *Detector) consider(c *hunt) {
	if c.live == 0 && d.now-c.last/1e9 >= int64(d.cfg.Quiet) || c.live > 0 && d.now-c.last/1e9 >= day {
		d.figures.Dropped++
		c.closed = true
		d.shutSlots(c)
		return
	}
	alone := len(c.peers) == 1
	if alone && c.kind != drifts && d.now-c.began >= soloAfter {
		d.lone(c)
	}
	if c.live == 0 {
		return // what was there for less than a second shows nothing
	}
	d.weigh(c)
	if c.confid < d.cfg.Open {
		return
	}
	if c.tally[signHolder].Count > 0 && (d.ases(c) < holderASes || 2*len(c.bits) <= d.whole()) {
		return
	}
	if alone || !c.decides && d.ases(c) < 2 {
		if d.now-c.began < int64(d.cfg.Wait) && !d.over {
			return
		}
		if d.weigh(c); c.confid < d.cfg.Open {
			return
		}
	}
	if c.kind != outages && d.cfg.inMaintenance(d.now, c.hits[0].prefix, c.by, c.to) {
		d.figures.Excused++
		return
	}
	if d.absorbed(c) {
		return
	}
	c.open, c.detected = true, d.now
	c.id = d.idOf(c)
	d.step(c, "opened", detect.Textf("最初の更新から %d 秒で検知", "told %d seconds after its first update", d.now-c.first/1e9))
	d.point(c).Prefixes, d.point(c).Peers = c.live, c.seeing()
	d.tell(c, detect.Opened)
}

// holderASes is how many ASes must see what open data of today speak against, most of all
// peers besides: such data are the weakest that there are.
const holderASes = 10

// shutSlots takes the accusation off the origins of a case that is over.
func (d *Detector) shutSlots(c *hunt) {
	if c.kind != hijacks {
		return
	}
	for i := range c.hits {
		if h := &c.hits[i]; int(h.number) < len(d.prefixes) && h.number != 0 {
			if o := d.prefixes[h.number].slot(h.origin); o != nil {
				o.marks &^= originAccused
			}
		}
	}
}

// habitSigns compares a case with what is usual at its place: a burst of new
// more-specifics within a minute, and prefixes against the adjacency's maximum.
func (d *Detector) habitSigns(c *hunt) {
	if c.kind == hijacks {
		if n := len(c.hits); n >= massHits && c.tally[signMass].Count == 0 && len(c.owners(massOwners)) >= massOwners {
			c.tally[signMass] = tally{n, table[signMass].score}
		}
		return
	}
	if !c.kind.leaky() && c.kind != inners {
		return
	}
	k := pairKey(c.to, c.by)
	if c.kind == inners {
		k = pairKey(mostly(c.tos), c.by)
	}
	if c.kind == drifts && d.itsOwn(c) {
		return
	}
	fresh, news := 0, 0
	for i := range c.fresh {
		fresh, news = fresh+int(c.fresh[i]), news+int(c.news[i])
	}
	if limit := max(d.cfg.Burst, 10*d.bursts[k].p99()); fresh >= limit && 2*fresh >= news {
		if t := &c.tally[signBurst]; fresh > t.Count {
			*t = tally{fresh, table[signBurst].score}
		}
	}
	if v := d.pairs.find(k); v != nil && c.kind.leaky() && float64(c.live) >= d.cfg.Jump*float64(max(v.max(), 1)) {
		if t := &c.tally[signJump]; c.live > t.Count {
			*t = tally{c.live, table[signJump].score}
		}
	}
	if d.ports.Silent != nil && c.tally[signSilent].Count == 0 && c.tally[signOwn].Count > 0 {
		for i := range c.hits {
			if c.hits[i].own != 0 && d.ports.Silent(c.hits[i].prefix) {
				c.count(signSilent, table[signSilent].score)
			}
		}
	}
}

// itsOwn tells whether what is new on a way is an origin's own more-specifics that got out:
// then the fault is there, and not where they came through.
func (d *Detector) itsOwn(c *hunt) bool {
	n := map[uint32]int{}
	for i := range c.hits {
		n[c.hits[i].origin]++
	}
	x := d.cases[key{kind: inners, by: mostly(n)}]
	return x != nil && len(x.hits)*10 >= len(c.hits)*9
}

// An origin that announces so many prefixes of so many owners at once has lost its filters
// and not taken a customer over.
const (
	massHits   = 20
	massOwners = 5
)

// owners are the first ASes that should announce the case's prefixes, at most so many.
func (c *hunt) owners(most int) map[uint32]bool {
	out := map[uint32]bool{}
	for i := range c.hits {
		if out[c.hits[i].expect[0]] = true; len(out) >= most {
			break
		}
	}
	return out
}

// weigh makes the case's confidence. A way that is new, and nothing more, is never enough:
// each line that fails makes new ways, own space or not. It takes a burst of new
// more-specifics.
func (d *Detector) weigh(c *hunt) {
	d.habitSigns(c)
	sum, decides := evidence(&c.tally)
	if c.kind == drifts && c.tally[signBurst].Count == 0 {
		sum = min(sum, d.cfg.Open/2)
	}
	weights := map[uint32]float64{}
	for i := range c.peers {
		p := &c.peers[i]
		if p.number != 0 { // else it is from before a restart, and not heard of since
			p.weight = d.weight(p.number)
		}
		weights[p.as] = max(weights[p.as], p.weight)
	}
	w := witness(weights)
	if (decides || c.decides) && w >= 0.5 {
		w = max(w, 0.95)
	}
	if c.kind == outages {
		w = 1
	}
	c.confid = sum * w
}

// ases is how many ASes the peers are of.
func (d *Detector) ases(c *hunt) int {
	seen := map[uint32]bool{}
	for i := range c.peers {
		seen[c.peers[i].as] = true
	}
	return len(seen)
}

// lone notes that a peer alone tells of a case: one that tells of many is hardly believed.
func (d *Detector) lone(c *hunt) {
	n := c.peers[0].number
	if n == 0 {
		return
	}
	p := &d.peers[n]
	if d.now > p.soloTill {
		p.solo = 0
	}
	if c.told == 0 { // once a case
		c.told = -1
		p.solo++
		p.soloTill = d.now + soloTime
	}
}

func second(s int64) time.Time { return time.Unix(s, 0).UTC() }

func nano(n int64) time.Time { return time.Unix(0, n).UTC() }
