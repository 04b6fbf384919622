package sim

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RouteScene is a stretch of the Internet's routing as some peers tell it: ASes with
// customers, providers, peers and siblings, exchanges with route servers, and events:
// leaks, hijacks, and what only looks like one.
//
// Every AS chooses and passes on by the rules of Gao and Rexford: customers' routes before
// peers' before providers', then the shortest path, then the lowest neighbour; only customers'
// routes go to everybody. Where an event changes something, the messages between the ASes are
// played one by one, with their delays and timers: what a peer tells on the way to a new state,
// longer and longer paths after a withdrawal among it, is what comes of that.
type RouteScene struct {
	Name     string
	Seed     uint64
	Start    time.Time
	Duration time.Duration
	World    RouteWorld
	Events   []RouteEvent
}

// RouteWorld is how large an Internet is. Every number that is 0 is the usual one.
type RouteWorld struct {
	Tier1, Transit, Regional, Content, Stubs int
	Peers                                    int     // that tell what they see; they are of all kinds
	PerAS                                    int     // IPv4 prefixes of a small AS
	Prefixes                                 int     // in all, at least; 0 as many as come of PerAS
	Sharing                                  int     // IPv4 and IPv6 prefixes of an AS that have all attributes in common; 0 all
	ROAs, ASPAs                              float64 // share of prefixes with a ROA, of ASes with an ASPA; below 0: none
	// Historical gives some ASes the numbers that the public record of 25 August 2017 has.
	// Their prefixes are as synthetic as all.
	Historical bool
}

// RouteEvent is something that happens in a scene.
type RouteEvent interface {
	// cast puts what it needs into the world before anything is computed. What it wants
	// to choose among routes, it does in n.then. r is its own randomness.
	cast(n *routeNet, r *rng) error
}

// RoutePeer is somebody who tells what he sees.
type RoutePeer struct {
	Address netip.Addr `json:"address"`
	AS      uint32     `json:"as"`
	BGPID   netip.Addr `json:"bgp_id"`
}

// RouteEntry is one peer's route to a prefix when the scene begins.
type RouteEntry struct {
	Peer  int
	Since int64  // Unix seconds
	Attrs []byte // path attributes; for IPv6 MP_REACH_NLRI has the next hop alone (RFC 6396)
}

// RouteSink takes a scene: first who tells, then the table at the start in order of the
// prefixes, then what happens in order of time. Nothing that is handed over may be kept.
type RouteSink interface {
	Begin(start int64, peers []RoutePeer) error
	Entry(p netip.Prefix, routes []RouteEntry) error
	// Ready says that the table is whole.
	Ready() error
	// Message is a BGP message with its header, as it came from a peer, at Unix nanoseconds
	// of the peer's clock.
	Message(at int64, peer int, message []byte) error
	// State says that a peer's session ended, or began anew.
	State(at int64, peer int, up bool) error
}

// Play makes the scene. Memory grows with ASes, origins and prefixes, not with the length
// of the scene. The same seed gives the same bytes. A scene that can't be made is an error
// before anything is handed over.
func (s RouteScene) Play(out RouteSink) (RouteTruth, error) {
	t, err := s.play(out)
	if err != nil {
		return RouteTruth{}, fmt.Errorf("route scene %q: %w", s.Name, err)
	}
	return t, nil
}

func (s *RouteScene) play(out RouteSink) (RouteTruth, error) {
	n, err := s.set()
	if err != nil {
		return RouteTruth{}, err
	}
	for _, f := range n.thens {
		if err := f(); err != nil {
			return RouteTruth{}, err
		}
	}
	if err := n.settle(); err != nil {
		return RouteTruth{}, err
	}
	return n.tell(out)
}

// set makes the world and casts the events into it.
func (s *RouteScene) set() (*routeNet, error) {
	if s.Duration <= 0 || s.Start.Year() < 1980 || s.Start.Year() > 2100 {
		return nil, errors.New("it needs a start between 1980 and 2100 and a duration above zero")
	}
	n, err := newRouteNet(s)
	if err != nil {
		return nil, err
	}
	for i, e := range s.Events {
		r := rng(mix(s.Seed, uint64(i)+0xb69))
		if err := e.cast(n, &r); err != nil {
			return nil, fmt.Errorf("event %d (%T): %w", i, e, err)
		}
	}
	n.freeze()
	return n, nil
}

// routeNet is a route scene at work.
type routeNet struct {
	routeMap
	scene      *RouteScene
	rng        rng // of the world
	start, end int64
	peers      []tellingPeer
	truth      RouteTruth
	thens      []func() error
	told       []telling // what peers tell, in no order until all is known
	raw        []rawTelling
	incidents  []*happening // as the truth's, with what isn't told there
	engine     engine
	leaks      map[int32]bool // who leaks already
	roas       []routeROA
	around     [][]route // by group and node: what it uses at the start, as far as computed
}

// tellingPeer is a peer with what is wrong with it.
type tellingPeer struct {
	RoutePeer
	node   int32
	delay  int64
	down   []span // its session is away: from its end to when it began again
	silent int64  // nothing comes any more from then on; 0 never
	ahead  int64  // of the true time, its clock
}

type span struct{ from, to int64 }

// route is what an AS has of a group of prefixes.
type route struct {
	path  int32  // in the arena
	otc   uint32 // Only to Customer, 0 none
	class uint8  // how the organisation came by it
	extra uint16 // number of the attributes that come besides, 0 none
}

// telling is a change of what a peer has: of the prefixes [from, to) of a group.
type telling struct {
	at       int64
	group    int32
	peer     int32
	from, to int32
	route    route
	gone     bool
}

// rawTelling is a message that no AS of this world would make.
type rawTelling struct {
	at      int64
	peer    int32
	message []byte
	count   [2]int // prefixes that are announced and withdrawn in it
	damaged bool   // it breaks RFC 4271
}

// then has something done when the world stands and before anything happens in it.
func (n *routeNet) then(f func() error) { n.thens = append(n.thens, f) }

// at is a time of the scene.
func (n *routeNet) at(d time.Duration) int64 { return n.start + int64(d) }

// settle plays whatever changes, group by group.
func (n *routeNet) settle() error {
	for g := range n.groups {
		if err := n.engine.run(n, int32(g)); err != nil {
			return err
		}
	}
	slices.SortStableFunc(n.told, func(a, b telling) int { return cmp.Compare(a.at, b.at) })
	return nil
}
