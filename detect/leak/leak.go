// Package leak finds who announces what isn't theirs, and who passes on what they
// shouldn't: route leaks (RFC 7908), hijacks, lost own space, blackhole routes out of place
// and bogons, each as one incident whatever the number of its prefixes.
//
// What is told of a path is found once a path: where it bends the wrong way by the relations
// of its ASes, their ASPAs, its OTC (RFC 9234) or the list of those who sell no transit, and
// whether anybody saw such a way before. What is told of a route is its origin against
// those it should have. Evidence of all kinds at one place, the leaker and to whom it
// passed routes on, or the origin that isn't the owner, makes one case; it becomes an
// incident when what it shows, times how far its witnesses are believed, is above a line.
//
// Confidence is evidence × witness. Evidence is 1 − Π(1 − sᵢ) over the case's signs, the
// sᵢ being the scores of weigh.go: what each would be believed alone. Witness is
// 1 − Π(1 − 0.8·w) over the ASes of the peers that see it, w their weight: one good peer
// gives 0.8, two 0.96. So one peer alone never reaches the line of certainty (0.8), unless
// a sign decides (own space with an invalid origin, OTC).
//
// What is usual is learnt from tables (observe.RouteState) and from what lasts a day. Until
// there is a table nothing is unusual: then only signs that need no habit count.
package leak

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// Ports are what others know. Each may be nil: then it isn't known.
type Ports struct {
	Origin      func(p netip.Prefix, as uint32) observe.ROV
	Hop         func(customer, provider uint32) observe.ASPA // by the customer's ASPA: valid, it is its provider; invalid, it isn't; else nothing is registered
	Relation    func(a, b uint32) (observe.ASRelation, float64)
	RelationsAt time.Time // the day of Relation's data; zero not known, or as of now
	Tier1       func(as uint32) bool
	RouteServer func(as uint32) bool
	Sibling     func(a, b uint32) bool
	Silent      func(p netip.Prefix) bool // dark space of it has fallen silent
	Holder      func(a netip.Addr) uint32 // the AS of an address by open data; 0 not known
	Name        func(as uint32) string
}

// Sinks hear of incidents; each may be nil. They are called under the detector's lock and
// must not call back.
type Sinks struct {
	Incidents detect.Incidents
	Findings  detect.Findings
}

// Figures are what the detector counted, and how full it is.
type Figures struct {
	Routes    uint64 `json:"routes"`
	State     uint64 `json:"state"`     // of them, from tables: how it was
	Late      uint64 `json:"late"`      // older than the second in hand: judged as of now
	Beside    uint64 `json:"beside"`    // told of what a router uses or sends (Loc-RIB, Adj-RIB-Out): not judged
	Paths     uint64 `json:"paths"`     // judged
	Suspect   uint64 `json:"suspect"`   // of them, with a sign
	Looped    uint64 `json:"looped"`    // with an AS twice: not judged
	Cases     int    `json:"cases"`     // in hand, open incidents among them
	Open      int    `json:"open"`      // incidents
	Dropped   uint64 `json:"dropped"`   // cases that came to nothing
	NoCase    uint64 `json:"no_case"`   // cases for which there was no room
	NoHit     uint64 `json:"no_hit"`    // prefixes of cases for which there was no room
	NoPath    uint64 `json:"no_path"`   // routes whose path is beyond the bound: not judged
	NoPrefix  uint64 `json:"no_prefix"` // routes whose prefix is beyond the bound: not judged
	NoWay     uint64 `json:"no_way"`    // ways that weren't learnt: no room
	Ways      int    `json:"ways"`      // of three ASes, learnt
	Origins   uint64 `json:"origins"`   // announcements by an origin that found no room at its prefix
	Adjacency int    `json:"adjacencies"`
	Excused   uint64 `json:"excused"` // routes with a sign that maintenance, anycast or a mitigator explains
}

// Detector holds what is usual, and the cases. One goroutine calls Routed and Tick; the
// others may be called by any.
type Detector struct {
	cfg   Config
	ports Ports
	out   Sinks
	rules *rules

	mu    sync.Mutex
	now   int64              // the second of the data in hand, 0 not known
	begun int64              // the first one
	table observe.RouteTable // while a batch is handled
	rest  []observe.Route    // of it, behind the route in hand

	paths    []path                   // by number
	prefixes []prefix                 // by number
	peers    []peer                   // by number
	ways     set                      // of three ASes that routes are known to take
	pairs    pairs                    // adjacencies and their maxima
	carries  map[uint32]uint32        // how many of the ways go through an AS
	most     map[uint32]*[2][4]uint32 // prefixes that peers of an AS had, as pair.transit
	fresh    map[uint64]uint32        // new more-specifics of this minute by adjacency
	bursts   map[uint64]*burst
	epoch    uint64   // of what paths are judged by
	way      []uint32 // the path in hand, the origin first
	lastPath uint32   // the path that was looked at last
	tables   bool     // some peer's table is known
	stated   uint64   // routes of tables since the habits were last swept
	swept    int64    // when
	aged     int64    // when what lasts was last learnt

	cases   map[key]*hunt
	list    []*hunt // in the order in which they began
	changed []*hunt
	hits    int // of all cases
	held    map[netip.Prefix][]heldHit
	habits  []habit        // restored, sorted by prefix
	names   []netip.Prefix // of prefixes by number, for Habits
	results []Result
	over    bool    // the input is: nobody else will tell of anything
	watched []watch // own prefixes
	figures Figures
}

// New makes a detector.
func New(cfg Config, ports Ports, out Sinks) (*Detector, error) {
	if err := cfg.filled(); err != nil {
		return nil, err
	}
	r, err := cfg.compile()
	if err != nil {
		return nil, err
	}
	d := &Detector{
		cfg: cfg, ports: ports, out: out, rules: r, cases: map[key]*hunt{}, held: map[netip.Prefix][]heldHit{},
		fresh: map[uint64]uint32{}, bursts: map[uint64]*burst{},
		most: map[uint32]*[2][4]uint32{}, carries: map[uint32]uint32{}, ways: newSet(cfg.Ways), pairs: newPairs(cfg.Adjacencies), watched: make([]watch, len(cfg.Own)),
	}
	return d, nil
}

// Routed takes a batch of changes.
func (d *Detector) Routed(b *observe.RouteBatch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.table, d.lastPath = b.Table, 0
	const ahead = 16
	for i := range b.Routes {
		if i%ahead == 0 {
			d.touch(b.Routes[i:min(i+ahead, len(b.Routes))])
		}
		d.rest = b.Routes[i+1:]
		d.route(&b.Routes[i], b)
	}
	d.table, d.rest = nil, nil
}

// touch loads what the next routes need all at once: memory is waited for once and not
// for each of them.
func (d *Detector) touch(routes []observe.Route) {
	var sum int64
	last := uint32(0)
	for i := range routes {
		r := &routes[i]
		if int(r.Prefix) < len(d.prefixes) {
			sum += int64(d.prefixes[r.Prefix].born)
		}
		if int(r.Was) < len(d.paths) {
			sum += int64(d.paths[r.Was].routes)
		}
		if r.Path == 0 || r.Path == last {
			continue
		}
		last = r.Path
		if int(r.Path) < len(d.paths) {
			sum += int64(d.paths[r.Path].routes)
		}
		if t := d.table.Path(r.Path); t != nil {
			sum += int64(len(t.Communities))
			if len(t.ASes) > 0 {
				sum += int64(t.ASes[0])
			}
		}
	}
	if sum == 1<<62 { // never: so that the loads aren't left out
		d.figures.Routes++
	}
}

// Tick says that the data's time has come to at.
func (d *Detector) Tick(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.advance(at.Unix())
}

// Recheck says that relations, siblings or RPKI data are new: each path is judged anew
// when it is announced the next time.
func (d *Detector) Recheck() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch++
}

// Figures tells the counts so far.
func (d *Detector) Figures() Figures {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.figures
	f.Cases, f.Ways, f.Adjacency = len(d.list), d.ways.used, d.pairs.used
	for _, c := range d.list {
		if c.open {
			f.Open++
		}
	}
	return f
}

// LogValue shows the detector's size.
func (d *Detector) LogValue() slog.Value {
	f := d.Figures()
	return slog.GroupValue(slog.Int("incidents", f.Open), slog.Int("cases", f.Cases), slog.Uint64("routes", f.Routes), slog.Int("ways", f.Ways))
}

var (
	_ detect.Detector = (*Detector)(nil)
	_ observe.Routes  = (*Detector)(nil)
)

// peer is what is kept of a peer by number.
type peer struct {
	as       uint32
	known    bool
	judged   bool // its view is of what neighbours announce
	offered  bool // to a router of ours: the last hop is to our own AS
	warm     bool // its table is known
	first    int64
	up       bool
	damped   bool // it flaps
	broken   bool // of its elements more than a hundredth are malformed
	whole    bool // it serves a whole table
	solo     int  // cases in the last minutes that it alone tells of
	soloTill int64
	routes   [2]int32 // now, of IPv4 and IPv6
	high     [2]int32 // the most since the last sweep
}

// peerOf takes note of a peer when it is first heard of.
func (d *Detector) peerOf(n uint32) *peer {
	for int(n) >= len(d.peers) {
		d.peers = append(d.peers, peer{})
	}
	p := &d.peers[n]
	if !p.known {
		*p = peer{known: true, first: d.now, up: true}
		if t := d.table.Peer(n); t != nil {
			p.as = t.AS
			p.judged = t.View == observe.RouteCollector || t.View == observe.RouteAdjIn || t.View == observe.RouteAdjInPost
			p.offered = t.View == observe.RouteAdjIn || t.View == observe.RouteAdjInPost
		}
	}
	return p
}

// usual tells whether enough is known of a peer to call anything new: its table, or a day.
func (d *Detector) usual(p *peer) bool { return p.warm || d.now-p.first >= day }

const day = 86400
