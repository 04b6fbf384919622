package leak

import (
	"net/netip"
	"slices"

	"sakimori/detect"
	"sakimori/observe"
)

// kind is what a case is about.
type kind uint8

const (
	leaks kind = iota
	hijacks
	outages
	blackholes
	bogons
	drifts // leaks by a way that nobody was seen to take, and nothing else
	inners // leaks of an origin's own more-specifics
)

var kinds = [...]detect.IncidentKind{detect.Leak, detect.Hijack, detect.Outage, detect.Blackhole, detect.Bogon, detect.Leak, detect.Leak}

// leaky tells whether routes of a case went on to where they may not.
func (k kind) leaky() bool { return k == leaks || k == drifts }

// key is the place of a case: who is at fault, and of a leak to whom routes were passed.
type key struct {
	kind kind
	by   uint32
	to   uint32
}

// hunt is a case: what is shown at one place, and once it is enough, the incident.
type hunt struct {
	key
	id      string
	open    bool
	shut    bool  // it was told closed, and may come again
	closed  bool  // it is over, and comes off the list
	also    []key // of cases that it took in
	decides bool
	waking  bool // it is in Detector.changed

	first, last int64 // updates that belong to it, Unix nanoseconds
	began       int64 // seconds: when it was made
	detected    int64
	told        int64 // seconds: when a version was made last
	toldHits    int
	toldPeers   int
	toldLive    int
	goneAt      int64 // nanoseconds: when the last prefix left
	restored    bool  // it was told that all have left
	revived     int64 // seconds: it is from before a restart, its routes may still come
	byDown      int   // prefixes that left because sessions ended, since there were any
	waves       int
	peak        int
	live        int
	parts       int // more-specifics
	beyond      uint64

	hits  []hit
	at    map[uint32]int32 // number of the prefix → hit
	peers []sight
	bits  map[uint32]int // number of the peer → its bit, in the order in which they came
	tally [signCount]tally
	froms map[uint32]int
	forms map[string]int
	types [7]int
	tos   map[uint32]int // of a hijack: to whom its origin told it

	lanes    []lane
	laneAt   map[uint64]int // by fold and peer
	evidence []detect.RouteMessage
	history  []detect.IncidentStep
	course   []detect.RoutePoint
	fresh    [60]uint32 // new more-specifics by second
	news     [60]uint32 // and new prefixes
	freshTo  int64
	confid   float64
}

// hit is one prefix of a case. Peers are bits, the first 64 that see the case: a peer says
// of a prefix one thing at a time.
type hit struct {
	prefix netip.Prefix
	number uint32
	origin uint32
	cover  netip.Prefix
	mask   uint64
	first  int64
	gone   int64
	signs  signs
	form   string
	expect [4]uint32
	expecs uint8
	rov    observe.ROV
	own    int16
	part   bool
}

// sight is how a peer sees the case.
type sight struct {
	number   uint32
	as       uint32
	feed     string
	address  string
	first    int64
	prefixes int
	lively   int // now
	weight   float64
}

// heldHit is a prefix of an incident from before a restart, until it is seen again.
type heldHit struct {
	c *hunt
	i int32
}

const (
	mostLanes    = 32
	mostEvidence = 32
	mostHistory  = 256
	mostSample   = 256
	mostPeers    = 64
)

// caseFor is the case of a key, begun if need be; nil where there is no room.
func (d *Detector) caseFor(k key, r *observe.Route) *hunt {
	if c := d.cases[k]; c != nil {
		return c
	}
	if len(d.cases) >= d.cfg.Cases {
		d.figures.NoCase++
		return nil
	}
	c := newHunt(k)
	c.first, c.last, c.began = r.At, r.At, d.now
	d.cases[k] = c
	d.list = append(d.list, c)
	return c
}

func newHunt(k key) *hunt {
	return &hunt{key: k, at: map[uint32]int32{}, bits: map[uint32]int{}, froms: map[uint32]int{}, forms: map[string]int{}, tos: map[uint32]int{}, laneAt: map[uint64]int{}, waves: 1}
}

func (c *hunt) from(as uint32) {
	if as != 0 && (c.froms[as] > 0 || len(c.froms) < 1024) {
		c.froms[as]++
	}
}

// count adds a route that shows a sign.
func (c *hunt) count(s sign, score float64) {
	c.tally[s].Count++
	c.tally[s].Score = max(c.tally[s].Score, score)
}

// bitOf is the peer's bit; 0: it is one of too many, and counted alone.
func (c *hunt) bitOf(d *Detector, n uint32, at int64) uint64 {
	i, ok := c.bits[n]
	if !ok {
		i = c.place(d, n)
		c.bits[n] = i
		if i == len(c.peers) && i < mostPeers {
			s := sight{number: n, first: at}
			if t := d.table.Peer(n); t != nil {
				s.as, s.feed, s.address = t.AS, t.Feed, t.Address.String()
			}
			c.peers = append(c.peers, s)
		}
	}
	if i >= mostPeers {
		return 0
	}
	return 1 << i
}

// place is where a peer stands among the case's: where it stood before a restart, or
// behind the others.
func (c *hunt) place(d *Detector, n uint32) int {
	if t := d.table.Peer(n); t != nil {
		for i := range c.peers {
			if p := &c.peers[i]; p.number == 0 && p.as == t.AS && p.feed == t.Feed && p.address == t.Address.String() {
				p.number = n
				return i
			}
		}
	}
	return max(len(c.peers), len(c.bits))
}

// enter takes a route into a case.
func (d *Detector) enter(c *hunt, r *observe.Route, b *observe.RouteBatch, p *prefix, e *path, s signs, cl *claim, fresh bool) {
	if c.closed {
		return
	}
	d.regard(r.Peer)
	newPeer := len(c.peers)
	mask := c.bitOf(d, r.Peer, r.At)
	i, known := c.at[r.Prefix]
	if !known {
		if d.hits >= d.cfg.Hits {
			d.figures.NoHit++
			c.beyond++
			return
		}
		i = d.newHit(c, r, p, e, s, cl, fresh)
	}
	h := &c.hits[i]
	if h.mask == 0 {
		c.live++
		h.gone = 0
		if c.restored {
			c.restored, c.byDown = false, 0
			c.waves++
			if !c.shut {
				d.step(c, "grown", detect.Textf("経路が再び現れた", "its routes are there again"))
			}
		}
	}
	h.origin = e.origin
	if mask != 0 && h.mask&mask == 0 {
		k := &c.peers[c.bits[r.Peer]]
		k.prefixes++
		k.lively++
		to := e.next
		switch {
		case c.kind.leaky() && e.leaker != c.by: // it was offered to us
			to = c.to
		case c.kind.leaky(), h.form == "first-hop" && e.leaker == c.by:
			to = e.to
		case h.form == "first-hop":
			to = 0
		}
		if to != 0 && c.kind != blackholes && (c.tos[to] > 0 || len(c.tos) < 64) {
			c.tos[to]++
		}
	}
	h.mask |= mask
	c.last = max(c.last, r.At)
	c.peak = max(c.peak, c.live)
	for x := range signCount {
		if s.has(x) {
			c.count(x, d.scoreOf(x, e, cl))
		}
	}
	d.point(c).Announced++
	d.laneOf(c, r, p, h)
	if len(c.peers) > newPeer && r.Message != 0 && int(r.Message) <= len(b.Messages) && len(c.evidence) < mostEvidence {
		t := &c.peers[c.bits[r.Peer]]
		c.evidence = append(c.evidence, detect.RouteMessage{At: nano(r.At), Peer: t.as, Address: t.address, Feed: t.feed, Raw: slices.Clone(b.Messages[r.Message-1])})
	}
	if len(c.peers) > newPeer && c.open {
		d.step(c, "peer", detect.Textf("ピア AS%d でも見えた", "the peer AS%d sees it, too", d.peers[r.Peer].as))
	}
	d.awake(c)
}

// newHit makes a prefix one of the case's.
func (d *Detector) newHit(c *hunt, r *observe.Route, p *prefix, e *path, s signs, cl *claim, fresh bool) int32 {
	pfx := d.table.Prefix(r.Prefix)
	h := hit{prefix: pfx, number: r.Prefix, origin: e.origin, first: r.At, signs: s, form: cl.form, expect: cl.expected, expecs: uint8(cl.count), rov: d.rovName(pfx, e.origin), own: p.own} //nolint:gosec // at most 4
	if c.kind.leaky() && h.rov == observe.ROVInvalidLength {
		c.count(signLength, table[signLength].score)
	}
	if fresh || cl.form == "more-specific" {
		h.part = true
		c.parts++
	}
	if p.cover != 0 && (h.part || cl.form != "") {
		h.cover = d.table.Prefix(p.cover)
	}
	if (c.kind.leaky() || c.kind == inners) && h.expecs == 0 && e.origin != 0 {
		h.expect[0], h.expecs = e.origin, 1 // a leak doesn't change whose it is
	}
	d.hits++
	c.hits = append(c.hits, h)
	i := int32(len(c.hits) - 1) //nolint:gosec // bounded by Config.Hits
	c.at[r.Prefix] = i
	if cl.form != "" {
		c.forms[cl.form]++
	}
	if c.kind.leaky() {
		c.types[e.form]++
	}
	c.tick(d.now)
	c.news[d.now%60]++
	if fresh {
		c.fresh[d.now%60]++
	}
	return i
}

// tick moves the last minute's counts on to now.
func (c *hunt) tick(now int64) {
	for back := range min(now-c.freshTo, 60) {
		c.fresh[(now-back)%60], c.news[(now-back)%60] = 0, 0
	}
	c.freshTo = max(c.freshTo, now)
}

// leave takes a peer's route out of a case; if it isn't in it, nothing happens.
func (c *hunt) leave(d *Detector, r *observe.Route) {
	i, ok := c.at[r.Prefix]
	b, seen := c.bits[r.Peer]
	if !ok || !seen || b >= mostPeers {
		return
	}
	h := &c.hits[i]
	if h.mask&(1<<b) == 0 {
		return
	}
	h.mask &^= 1 << b
	c.peers[b].lively--
	c.last = max(c.last, r.At)
	d.point(c).Withdrawn++
	if h.mask == 0 {
		h.gone = r.At
		c.live--
		if r.Marks&observe.RouteDown != 0 {
			c.byDown++
		}
		if c.live == 0 {
			c.goneAt = r.At
		}
	}
	d.endLane(c, r)
	d.awake(c)
}

// awake has the case looked at when the second is over.
func (d *Detector) awake(c *hunt) {
	if !c.waking {
		c.waking = true
		d.changed = append(d.changed, c)
	}
}

// scoreOf is a sign's score on a path.
func (d *Detector) scoreOf(s sign, e *path, cl *claim) float64 {
	x := table[s].score
	switch s {
	case signValley, signTier1, signASPA:
		if e.score > 0 {
			x *= float64(e.score) / 255
		}
	case signOrigin, signMoreSpecific, signSquat, signFirstHop, signUpstream:
		if cl.decides {
			x = ownOrigin
		}
	}
	return x
}

// point is the ten seconds in hand of a case's course.
func (d *Detector) point(c *hunt) *detect.RoutePoint {
	at := d.now / detect.RouteStep * detect.RouteStep
	if n := len(c.course); n == 0 || c.course[n-1].At != at {
		if n >= mostCourse {
			c.course = c.course[:copy(c.course, c.course[n-mostCourse/2:])]
		}
		c.course = append(c.course, detect.RoutePoint{At: at})
	}
	return &c.course[len(c.course)-1]
}

// mostCourse is how many points are kept until the next time that the course is told.
const mostCourse = 1000

// step notes a point of an open incident's life.
func (d *Detector) step(c *hunt, what string, words detect.Text) {
	if !c.open {
		return
	}
	if len(c.history) >= mostHistory { // how it ends counts more than how it went
		c.history = c.history[:mostHistory-1]
	}
	c.history = append(c.history, detect.IncidentStep{At: second(d.now), Step: what, Prefixes: c.live, Peers: c.seeing(), Words: words})
}

// seeing is how many peers see it now.
func (c *hunt) seeing() (n int) {
	for i := range c.peers {
		if c.peers[i].lively > 0 {
			n++
		}
	}
	return n + max(len(c.bits)-len(c.peers), 0)
}
