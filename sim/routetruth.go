package sim

import (
	"net/netip"
	"slices"
	"time"
)

// RouteNote is written into every RouteTruth.
const RouteNote = "synthetic: no route, prefix or AS of it stands for anybody"

// RouteTruth says what happened in a route scene, and what was told of it: counts are
// exact.
type RouteTruth struct {
	Scene string    `json:"scene"`
	Note  string    `json:"note"`
	Seed  uint64    `json:"seed"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`

	Peers     []RoutePeer `json:"peers"`
	Prefixes  int         `json:"prefixes"`  // in the table at the start
	Entries   int         `json:"entries"`   // routes of it, of all peers
	Messages  uint64      `json:"messages"`  // after it
	Announced uint64      `json:"announced"` // prefixes in them
	Withdrawn uint64      `json:"withdrawn"`
	Damaged   uint64      `json:"damaged"` // messages that break RFC 4271

	Knows     RouteKnows      `json:"knows"`
	Incidents []RouteIncident `json:"incidents"`
	Innocents []RouteInnocent `json:"innocents"` // what only looks like one
}

// RouteKnows is what the operator knows of the world.
type RouteKnows struct {
	Home         uint32             `json:"home"` // the operator's AS
	Own          []RouteOwn         `json:"own"`
	Neighbors    []RouteNeighbor    `json:"neighbors"`
	NoTransit    []uint32           `json:"no_transit"` // who gives transit to nobody
	Siblings     [][2]uint32        `json:"siblings"`
	RouteServers []uint32           `json:"route_servers"` // that put themselves into paths
	Anycast      []netip.Prefix     `json:"anycast"`
	Mitigators   []uint32           `json:"mitigators"` // who may announce own space in an attack
	Maintenance  []RouteMaintenance `json:"maintenance"`
	Plan         []netip.Prefix     `json:"plan"` // the space of this world, whatever lists of bogons say
	clique       []uint32           // the tier 1s
	relations    []routeRelation
	roas         []routeROA
	aspas        []routeASPA
}

// RouteOwn is a prefix of the operator or of a customer.
type RouteOwn struct {
	Prefix  netip.Prefix `json:"prefix"`
	Origins []uint32     `json:"origins"`
	Name    string       `json:"name"` // of the customer, "" own
}

// RouteNeighbor is a neighbour of the operator's AS.
type RouteNeighbor struct {
	AS       uint32 `json:"as"`
	Relation string `json:"relation"` // "provider", "customer", "peer", "sibling": what it is to the operator
}

// RouteMaintenance is a time in which changes were announced beforehand.
type RouteMaintenance struct {
	From   time.Time    `json:"from"`
	To     time.Time    `json:"to"`
	AS     uint32       `json:"as,omitempty"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
	Why    string       `json:"why"`
}

// RouteIncident is one event that should be found, in the words of detect.Incident.
type RouteIncident struct {
	Kind      string         `json:"kind"`
	Form      string         `json:"form"`
	Or        string         `json:"or,omitempty"` // another kind as which it may be taken
	Also      []string       `json:"also"`
	Leaker    uint32         `json:"leaker"` // 0: nobody is at fault
	From      uint32         `json:"from"`   // 0: several, or its own
	To        uint32         `json:"to"`     // 0: several
	Adjacency string         `json:"adjacency"`
	Prefixes  int            `json:"prefixes"`  // that some peer told so
	Addresses float64        `json:"addresses"` // of IPv4 in them; no two of them overlap unless More
	List      []netip.Prefix `json:"list"`      // of them, at most 256
	Origins   []uint32       `json:"origins"`   // as announced, at most 32
	Expected  []uint32       `json:"expected"`  // who should announce them, at most 32
	Onset     time.Time      `json:"onset"`     // when somebody did something
	First     time.Time      `json:"first"`     // when a peer first told of it; zero: none did
	End       time.Time      `json:"end"`       // when the last peer took it back; zero: not within the scene
	Peers     int            `json:"peers"`     // that told of it
	Own       int            `json:"own"`       // prefixes of the operator and its customers in it
	Signals   []string       `json:"signals"`   // that it shows, in the words of detect/leak
}

// RouteInnocent is something that happened and is nobody's fault.
type RouteInnocent struct {
	Kind     string         `json:"kind"`
	AS       uint32         `json:"as"` // whose it is, 0 nobody's
	Prefixes []netip.Prefix `json:"prefixes"`
	At       time.Time      `json:"at"`
}

func newRouteTruth(s *RouteScene) RouteTruth {
	return RouteTruth{
		Scene: s.Name, Note: RouteNote, Seed: s.Seed, Start: s.Start.UTC(), End: s.Start.Add(s.Duration).UTC(),
		Peers: []RoutePeer{}, Incidents: []RouteIncident{}, Innocents: []RouteInnocent{},
		Knows: RouteKnows{
			Home: homeAS, Own: []RouteOwn{}, Neighbors: []RouteNeighbor{}, NoTransit: []uint32{}, Siblings: [][2]uint32{}, RouteServers: []uint32{},
			Anycast: []netip.Prefix{}, Mitigators: []uint32{}, Maintenance: []RouteMaintenance{}, Plan: []netip.Prefix{routePlan4, routePlan6},
		},
	}
}

// happening is an incident while it is being counted.
type happening struct {
	RouteIncident
	// shows says whether a path to a group's prefixes is of the incident; nil: it shows by
	// routes that are gone.
	shows  func(path []uint32) bool
	groups map[int32]bool
	told   map[hitPart]bool
	now    map[heldPart]bool
	peers  map[int32]bool
}

type hitPart struct{ group, from int32 }

type heldPart struct {
	hitPart
	peer int32
}

// incident enters one that concerns some groups.
func (n *routeNet) incident(i RouteIncident, shows func(path []uint32) bool, groups ...int32) {
	i.Also, i.List, i.Origins, i.Expected = append([]string{}, i.Also...), []netip.Prefix{}, append([]uint32{}, i.Origins...), append([]uint32{}, i.Expected...)
	h := &happening{RouteIncident: i, shows: shows, groups: map[int32]bool{}, told: map[hitPart]bool{}, now: map[heldPart]bool{}, peers: map[int32]bool{}}
	for _, g := range groups {
		h.groups[g] = true
	}
	n.incidents = append(n.incidents, h)
}

// innocent enters something that is nobody's fault.
func (n *routeNet) innocent(kind string, as uint32, at int64, prefixes ...netip.Prefix) {
	n.truth.Innocents = append(n.truth.Innocents, RouteInnocent{Kind: kind, AS: as, Prefixes: append([]netip.Prefix{}, prefixes...), At: time.Unix(0, at).UTC()})
}

// count looks at what a peer tells, as it is told.
func (n *routeNet) count(t *telling, path []uint32) {
	for _, h := range n.incidents {
		if !h.groups[t.group] {
			continue
		}
		shows := t.gone
		if h.shows != nil {
			shows = !t.gone && h.shows(path)
		}
		part := hitPart{t.group, t.from}
		held := heldPart{part, t.peer}
		at := time.Unix(0, t.at).UTC()
		switch {
		case shows && !h.now[held]:
			h.now[held] = true
			h.peers[t.peer] = true
			h.End = time.Time{}
			if h.First.IsZero() {
				h.First = at
			}
			if !h.told[part] {
				h.told[part] = true
				h.take(n, t, path)
			}
		case !shows && h.now[held]:
			delete(h.now, held)
			if len(h.now) == 0 {
				h.End = at
			}
		}
	}
}

// take enters prefixes that a peer told so for the first time.
func (h *happening) take(n *routeNet, t *telling, path []uint32) {
	for _, p := range n.groups[t.group].prefixes[t.from:t.to] {
		h.Prefixes++
		if p.Addr().Is4() {
			h.Addresses += float64(uint64(1) << (32 - p.Bits()))
		}
		if len(h.List) < 256 {
			h.List = append(h.List, p)
		}
		if slices.ContainsFunc(n.truth.Knows.Own, func(o RouteOwn) bool { return o.Prefix.Overlaps(p) && o.Prefix.Bits() <= p.Bits() }) {
			h.Own++
		}
	}
	if len(path) > 0 {
		h.Origins = addAS(h.Origins, path[len(path)-1])
	}
}

func addAS(list []uint32, as uint32) []uint32 {
	if len(list) < 32 && !slices.Contains(list, as) {
		list = append(list, as)
	}
	return list
}

// finish closes the truth.
func (n *routeNet) finish() RouteTruth {
	t := n.truth
	for _, h := range n.incidents {
		h.Peers = len(h.peers)
		t.Incidents = append(t.Incidents, h.RouteIncident)
	}
	for i := range n.links {
		l := &n.links[i]
		if l.a != n.home && l.b != n.home {
			continue
		}
		other, rel := l.b, l.rel
		if l.b == n.home {
			other, rel = l.a, l.rel.turned()
		}
		name := [...]string{customerOf: "customer", peerOf: "peer", providerOf: "provider", siblingOf: "sibling"}[rel]
		t.Knows.Neighbors = append(t.Knows.Neighbors, RouteNeighbor{n.nodes[other].as, name})
	}
	t.Knows.Home = n.nodes[n.home].as
	for _, i := range n.byKind[tier1] {
		t.Knows.clique = append(t.Knows.clique, n.nodes[i].as)
	}
	t.Knows.relations, t.Knows.roas, t.Knows.aspas = n.relations(), n.roas, n.aspas()
	return t
}
