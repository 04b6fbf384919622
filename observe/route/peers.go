package route

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sakimori/observe"
)

// What is believed of sessions and of who flaps.
const (
	firstMinute = int64(time.Minute)      // a first table without End-of-RIB is looked at so often
	firstMost   = 10 * int64(time.Minute) // and is over at the latest
	firstShare  = 100                     // one new prefix of so many is too few for a table that still comes

	wholeShare = 0.8 // of the prefixes of the best: a whole table

	flapSpan = 5 * int64(time.Minute) // a change within it after the one before is a flap
	flapHalf = 0.87                   // a minute later, so much of what was counted is left: half after five
	flapMost = 15                     // flaps for each first change: convergence has no more than a handful
	flapFew  = 5                      // fewer: it is believed again
	flapMin  = 1000                   // flaps that are worth a verdict
)

// peers numbers peers from 1.
type peers struct {
	list    []*peer
	numbers map[Key]uint32
	most    int
	whole   [2]int // peers with a whole table, IPv4 and IPv6
	since   int    // changes since that was looked at
}

// peer is one of them.
type peer struct {
	observe.RoutePeer
	key Key

	known  bool // its table is known: it was in a dump, or its session was seen to begin
	counts bool // in Seen: see Table.Seen
	first  [2]first
	has    [2]int // prefixes that it announces
	own    uint32 // the AS of the router that tells of it by BMP; 0 not known
	told   uint64 // announcements with a path
	others uint64 // of them, those whose path doesn't begin with its AS

	// Routes of the session before the one that is up are told by their turn; left is how
	// many there are.
	turn uint16
	left int
	ends int64 // the session ended; routes go then. 0: not so

	faults faults
	keeps  bool // it tells keepalives
	hush   hush

	minute        int64 // next look at flaps
	flaps, steady float64
}

// first is a first table of a family that is coming in.
type first struct {
	on    bool
	begun int64
	look  int64 // at the next minute
	fresh int   // new prefixes in this one
}

// PeerOf is the number of a peer, a new one where it isn't known; 0 when there are too
// many.
func (t *Table) PeerOf(k Key, at int64) uint32 {
	if n, ok := t.peers.numbers[k]; ok {
		return n
	}
	if len(t.peers.list) >= t.peers.most {
		t.counts.Refused.Peers++
		return 0
	}
	p := &peer{key: k, RoutePeer: observe.RoutePeer{
		Number: uint32(len(t.peers.list) + 1), Feed: k.Feed, Router: k.Router, Address: k.Address, AS: k.AS, RD: k.RD, View: k.View, //nolint:gosec // at most 65,535
		Up: true, Last: unix(at),
	}}
	t.peers.list = append(t.peers.list, p)
	t.peers.numbers[k] = p.Number
	p.counts = k.View == observe.RouteCollector
	return p.Number
}

// choose says which views of a neighbour count in Seen: the first with routes, in the order
// of observe.RouteView (FRR withdraws before its policy what it tells after it); Loc-RIB
// where the router tells nothing else, and what a router announces itself not at all.
func (p *peers) choose(k Key) {
	best := observe.RouteView(255)
	adjacent := false
	for _, q := range p.list {
		if q.key.Feed == k.Feed && q.key.Router == k.Router && q.Routes > 0 {
			adjacent = adjacent || q.View < observe.RouteLocal
			if q.key.Address == k.Address && q.key.RD == k.RD && q.View < observe.RouteLocal {
				best = min(best, q.View)
			}
		}
	}
	for _, q := range p.list {
		if q.key.Feed != k.Feed || q.key.Router != k.Router {
			continue
		}
		switch {
		case q.View == observe.RouteLocal:
			q.counts = !adjacent
		case q.View > observe.RouteLocal:
			q.counts = false
		case q.key.Address == k.Address && q.key.RD == k.RD:
			q.counts = q.View == best
		}
	}
}

func unix(at int64) time.Time { return time.Unix(0, at).UTC() }

func (t *Table) peer(n uint32) *peer {
	if n == 0 || int(n) > len(t.peers.list) {
		return nil
	}
	return t.peers.list[n-1]
}

// Up says that the session of a peer began; id is its BGP identifier, if told. What the
// peer announces from now on is its first table. A session that was up begins anew.
func (t *Table) Up(n uint32, at int64, id netip.Addr) {
	p := t.peer(n)
	if p == nil {
		return
	}
	t.heard(p, at)
	t.counts.States++
	if p.Up && (p.known || p.Elements > 0) {
		p.Resets++
	}
	t.begin(p, at)
	if id.IsValid() {
		p.BGPID = id
	}
}

// begin begins the first tables of a peer.
func (t *Table) begin(p *peer, at int64) {
	t.Flush()
	if p.left > 0 { // the session before broke off within its first table
		t.each(func(_ *entry, r *route) {
			if uint32(r.peer) == p.Number {
				r.when = r.when&^sessionBit | p.turn
			}
		})
	}
	if p.left = p.Routes; p.left > 0 {
		p.turn ^= sessionBit
	}
	p.Up, p.known, p.ends, p.Since = true, true, 0, unix(at)
	for f := range p.first {
		p.first[f] = first{on: true, begun: at, look: at + firstMinute}
	}
}

// Down says that the session of a peer ended. Its routes stay for Config.Grace.
func (t *Table) Down(n uint32, at int64) {
	p := t.peer(n)
	if p == nil {
		return
	}
	t.heard(p, at)
	t.Flush()
	t.counts.States++
	if !p.Up {
		return
	}
	p.Resets++
	p.Up, p.Since = false, unix(at)
	p.first = [2]first{}
	p.ends = at + int64(t.cfg.Grace)
	if t.cfg.Grace == 0 {
		t.expire(at)
	}
}

// each calls f with every route.
func (t *Table) each(f func(e *entry, r *route)) {
	for n := 1; n <= t.prefixes.n; n++ {
		e := &t.prefixes.entries.All[n]
		list := t.prefixes.routes(e)
		for i := range list {
			f(e, &list[i])
		}
	}
}

// withdraw takes the routes away that gone tells, as RouteDown; families is which to look
// at.
func (t *Table) withdraw(at int64, gone func(e *entry, r *route) bool) {
	const most = 4096 // of a batch
	for n := 1; n <= t.prefixes.n; n++ {
		e := &t.prefixes.entries.All[n]
		for i := 0; i < int(e.n); {
			r := &t.prefixes.routes(e)[i]
			if !gone(e, r) {
				i++
				continue
			}
			was := *r
			t.lose(e, i, t.peers.list[was.peer-1])
			t.emit(observe.Route{At: at, Prefix: uint32(n), Peer: uint32(was.peer), Was: was.path, ID: was.id, Marks: observe.RouteDown})
		}
		if len(t.batch.Routes) >= most {
			t.hand()
		}
	}
	t.hand()
}

// expire takes the routes of sessions away that ended long enough ago.
func (t *Table) expire(at int64) {
	gone, some := make([]bool, len(t.peers.list)+1), false
	for _, p := range t.peers.list {
		if !p.Up && p.ends != 0 && p.ends <= at {
			gone[p.Number], p.ends, some = p.Routes > 0, 0, some || p.Routes > 0
			p.left = 0
		}
	}
	if some {
		t.withdraw(at, func(_ *entry, r *route) bool { return gone[r.peer] })
		t.judge()
	}
}

// ended says that first tables of a family are all there: what they hold no more goes.
func (t *Table) ended(family int, at int64, list ...*peer) {
	ended, some := make([]bool, len(t.peers.list)+1), false
	for _, p := range list {
		p.first[family].on = false
		ended[p.Number], some = p.left > 0, some || p.left > 0
	}
	if some {
		t.withdraw(at, func(e *entry, r *route) bool {
			return ended[r.peer] && e.family() == family && r.when&sessionBit != t.peers.list[r.peer-1].turn
		})
	}
	t.judge()
}

// look ends first tables that have no End-of-RIB, and judges flaps.
func (t *Table) look(p *peer, at int64) {
	for f := range p.first {
		s := &p.first[f]
		if !s.on || at < s.look {
			continue
		}
		t.Flush()
		if !s.on {
			continue
		}
		if s.fresh*firstShare < max(p.has[f], 1) || at-s.begun >= firstMost {
			t.ended(f, at, p)
		}
		s.fresh, s.look = 0, at+firstMinute
	}
	if at < p.minute {
		return
	}
	if p.flaps > flapMin && p.flaps > flapMost*p.steady {
		p.Damped = true
	} else if p.flaps < flapMin/2 || p.flaps < flapFew*p.steady {
		p.Damped = false
	}
	for ; p.minute <= at; p.minute += firstMinute {
		if at-p.minute > int64(time.Hour) { // silent, or the first time
			p.flaps, p.steady, p.minute = 0, 0, at
		}
		p.flaps, p.steady = p.flaps*flapHalf, p.steady*flapHalf
	}
}

// judge says who has a whole table.
func (t *Table) judge() {
	t.peers.since = 0
	t.peers.whole = [2]int{}
	for _, p := range t.peers.list {
		p.ServesAll = false
	}
	for f := range t.peers.whole {
		best := 1
		for _, p := range t.peers.list {
			if p.known && p.counts {
				best = max(best, p.has[f])
			}
		}
		for _, p := range t.peers.list {
			if p.known && float64(p.has[f]) >= wholeShare*float64(best) {
				p.ServesAll = true
				if p.counts {
					t.peers.whole[f]++
				}
			}
		}
	}
}

// faults counts what is wrong, by its reason.
type faults map[string]uint64

func (f *faults) add(err error) {
	const most = 64 // the wire's own errors are fewer
	if *f == nil {
		*f = faults{}
	}
	if r := err.Error(); len(*f) < most || (*f)[r] > 0 {
		(*f)[r]++
	}
}

func (f faults) join(other faults) {
	for r, n := range other {
		f[r] += n
	}
}

// list has the most frequent first.
func (f faults) list() []Fault {
	list := make([]Fault, 0, len(f))
	for r, n := range f {
		list = append(list, Fault{r, n})
	}
	slices.SortFunc(list, func(a, b Fault) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason)) })
	return list
}
