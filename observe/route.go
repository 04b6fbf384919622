package observe

import (
	"net/netip"
	"time"
)

// Route is one change of what one peer says of one prefix. It holds no pointer: prefix,
// peer and paths are numbers of the table that it came through.
type Route struct {
	At      int64  // Unix nanoseconds, as the source says
	Prefix  uint32 // number in the table, from 1
	Peer    uint32 // number in the table, from 1
	Path    uint32 // what is said from now on; 0: nothing, it is withdrawn
	Was     uint32 // what the same peer said before; 0: nothing
	Message uint32 // in the batch's Messages, from 1; 0: not kept
	ID      uint32 // ADD-PATH identifier (RFC 7911), 0 none
	Marks   RouteMarks
}

// RouteMarks tell more of a Route.
type RouteMarks uint8

// What a Route may be besides.
const (
	RouteState     RouteMarks = 1 << iota // from a dump, or a peer's first table after its session began: how it is, not news
	RouteDown                             // withdrawn because the session ended, not by the peer
	RouteMalformed                        // withdrawn because its attributes are damaged (RFC 7606)
	RouteFirst                            // nobody in the table announced this prefix before
)

// RouteBatch is changes in the order in which they came. It and what it refers to are
// reused after the call returns; numbers stay.
type RouteBatch struct {
	Table    RouteTable
	Routes   []Route
	Messages [][]byte // BGP messages with their header, as they came; of a table dump its attributes
}

// Routes takes batches of routes. One goroutine at a time calls it.
type Routes interface {
	Routed(b *RouteBatch)
}

// RouteTable is who announces what, as the batch in hand leaves it. It may be asked only
// while a batch is handled, or between batches by the goroutine that hands them on. What
// it gives must not be changed.
type RouteTable interface {
	Path(id uint32) *RoutePath
	Peer(n uint32) *RoutePeer
	Prefix(n uint32) netip.Prefix
	// Number is the prefix's number, 0 when nobody ever announced it.
	Number(p netip.Prefix) uint32
	// Cover is the longest prefix strictly around it that somebody announces, 0 none.
	Cover(n uint32) uint32
	// Inside calls f with each announced prefix inside p, p itself included, until f says no.
	Inside(p netip.Prefix, f func(n uint32) bool)
	// Of calls f with each peer that announces exactly it, and with what.
	Of(n uint32, f func(peer, path uint32) bool)
	// At is the path of one peer to exactly it, 0 none.
	At(n, peer uint32) uint32
	// Seen is how many peers announce it, and how many peers there are that have a whole
	// table of its family.
	Seen(n uint32) (peers, whole int)
	// Uses is how many routes (of all peers) have the path now.
	Uses(path uint32) int
}

// RoutePath is the attributes that routes have in common. Equal ones have one number,
// until nobody uses them any more; then the number may be given anew.
type RoutePath struct {
	ID          uint32
	ASes        []uint32    // as the message has them, the observer's neighbour first and the origin last, prepending kept; sets left out
	Origin      uint32      // the last AS; 0 where a set or nothing stands there
	Set         bool        // an AS_SET stands in it: RFC 9774 forbids them
	Confed      bool        // confederation segments, which aren't in ASes
	OTC         uint32      // Only to Customer, RFC 9234
	HasOTC      bool        // it is there (0 is reserved, and damaged)
	Communities []uint32    // RFC 1997
	Large       [][3]uint32 // RFC 8092
	NextHop     netip.Addr
	LocalPref   uint32 // 0 not told
	MED         uint32
	OriginCode  uint8 // 0 IGP, 1 EGP, 2 incomplete
	Atomic      bool
	Aggregator  uint32 // AS, 0 none
}

// RouteView is from which side of a router a peer's routes are told.
type RouteView uint8

// The views.
const (
	RouteCollector  RouteView = iota // a session of our own, a collector's file or stream: what the peer announces
	RouteAdjIn                       // BMP: what came to the router, before its policy (RFC 7854)
	RouteAdjInPost                   // and after it
	RouteLocal                       // what the router uses (Loc-RIB, RFC 9069)
	RouteAdjOut                      // what it announces, before its policy (RFC 8671)
	RouteAdjOutPost                  // and after it
)

var routeViews = [...]string{"collector", "adj-rib-in", "adj-rib-in-post", "loc-rib", "adj-rib-out", "adj-rib-out-post"}

// String is the view in the words of the API.
func (v RouteView) String() string { return name(routeViews[:], int(v), "view") }

// RoutePeer is somebody who tells routes: a BGP neighbour of a router or of a collector.
type RoutePeer struct {
	Number  uint32     `json:"number"`
	Feed    string     `json:"feed"`            // the source as configured: "edge1", "rrc06", a file's name
	Router  netip.Addr `json:"router,omitzero"` // which tells it by BMP, or the collector; zero not told
	Address netip.Addr `json:"address"`
	AS      uint32     `json:"as"`
	BGPID   netip.Addr `json:"bgp_id,omitzero"`
	RD      uint64     `json:"rd,omitempty"` // peer distinguisher of BMP
	View    RouteView  `json:"-"`
	Up      bool       `json:"up"`
	Since   time.Time  `json:"since,omitzero"` // of Up
	Last    time.Time  `json:"last,omitzero"`  // of its last message, keepalives and statistics included where they're told
	Routes  int        `json:"routes"`         // now
	// What counts for how far it is believed.
	Elements    uint64 `json:"elements"`
	Malformed   uint64 `json:"malformed"`
	Resets      uint64 `json:"resets"`  // how often its session ended
	ServesAll   bool   `json:"whole"`   // it announces a whole table: at least 80 % of the prefixes of the best
	RouteServer bool   `json:"rs"`      // its own AS isn't the first in its paths
	Damped      bool   `json:"damped"`  // it flaps: what it alone says counts for nothing
	Changes     uint64 `json:"changes"` // routes that changed, without the first table
}

// ROV is the state of an origin by route origin validation (RFC 6811).
type ROV uint8

// The states.
const (
	ROVUnknown  ROV = iota // no data: it was never asked, or the data are too old
	ROVNotFound            // no ROA covers the prefix
	ROVValid
	ROVInvalid       // by its origin
	ROVInvalidLength // the origin may, but not so long a prefix
)

var rovStates = [...]string{"unknown", "not-found", "valid", "invalid", "invalid-length"}

// String is the state in the words of the API.
func (s ROV) String() string { return name(rovStates[:], int(s), "rov") }

// ASPA is the state of a path by the providers that ASes have registered.
type ASPA uint8

// The states.
const (
	ASPANone    ASPA = iota // no data
	ASPAUnknown             // some AS of it registered nothing
	ASPAValid
	ASPAInvalid
)

var aspaStates = [...]string{"none", "unknown", "valid", "invalid"}

// String is the state in the words of the API.
func (s ASPA) String() string { return name(aspaStates[:], int(s), "aspa") }

// ASRelation is what one AS is to another.
type ASRelation int8

// The relations, of a to b.
const (
	ASUnknown  ASRelation = iota
	ASProvider            // a is a provider of b
	ASCustomer            // a is a customer of b
	ASPeer
	ASSibling // of one organisation
)

var asRelations = [...]string{"unknown", "provider", "customer", "peer", "sibling"}

// String is the relation in the words of the API.
func (r ASRelation) String() string { return name(asRelations[:], int(r), "relation") }
