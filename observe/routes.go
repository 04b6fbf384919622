package observe

import (
	"net/netip"
	"time"
)

// RouteMatch is how a route fits the prefix that was asked for.
type RouteMatch string

// The matches.
const (
	RouteExact  RouteMatch = "exact"
	RouteCover  RouteMatch = "cover"  // the longest route around it
	RouteInside RouteMatch = "inside" // more specific ones
)

// RouteQuery asks what was seen of a prefix.
type RouteQuery struct {
	Prefix netip.Prefix
	At     time.Time // of Show
	Range  Range     // of History
	Limit  int       // routes, or changes, of each match
}

// RouteShown is what was seen of a prefix at a time.
type RouteShown struct {
	Prefix netip.Prefix
	At     time.Time
	Known  bool  // somebody looked at that time; elsewise nothing can be said
	Kept   Range // from when until when there is anything; with gaps where Known says no
	Routes []RouteSeen
	More   bool   // there were more than the limit
	Lost   uint64 // changes before At that weren't kept, of all prefixes: what is shown may lack them
}

// RouteSeen is the route of one peer.
type RouteSeen struct {
	Prefix netip.Prefix
	Match  RouteMatch
	Peer   RoutePeer  // who told it: feed, router, address, AS, RD and view
	ID     uint32     // ADD-PATH identifier
	Path   RoutePath  // its ID is 0
	Since  time.Time  // when it was told
	Marks  RouteMarks // with RouteState it may have been so before Since
}

// RouteChange is one change of what a peer tells.
type RouteChange struct {
	At     time.Time
	Prefix netip.Prefix
	Peer   RoutePeer
	ID     uint32
	Marks  RouteMarks
	Path   *RoutePath // nil: it was withdrawn
	Was    *RoutePath // nil: there was none
}
