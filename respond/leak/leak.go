// Package leak says what can be done about a routing incident, and does none of it by
// itself: whom to call with which words, the exact filter for the session on which the
// routes come in, how many prefixes a neighbour may announce at most, and which
// more-specifics of one's own would bring traffic back, with what they cost.
//
// Everything here is a pure function of the incident, of what neighbours announce and of
// what is configured. Below it desk/ keeps the one thing that acts: own more-specifics,
// announced with a Grant that two people stood for. policy/ is a model of one's own
// import policy, and readiness/ tells what would protect one's paths.
//
// Routes and AS numbers are public: nothing here is masked, and nothing names a person.
package leak

import (
	"net/netip"
	"slices"
	"time"

	"sakimori/detect"
)

// ROV is the state of an origin by route origin validation (RFC 6811), in the words of
// the API.
type ROV string

// The states.
const (
	ROVUnknown       ROV = "unknown" // no data
	ROVNotFound      ROV = "not-found"
	ROVValid         ROV = "valid"
	ROVInvalid       ROV = "invalid"        // by its origin
	ROVInvalidLength ROV = "invalid-length" // the origin may, but not so long a prefix
)

// Bad tells whether a router that drops invalid routes drops it.
func (s ROV) Bad() bool { return s == ROVInvalid || s == ROVInvalidLength }

// ASPA is the state of a path by the providers that ASes have registered.
type ASPA string

// The states.
const (
	ASPANone    ASPA = "none" // no data
	ASPAUnknown ASPA = "unknown"
	ASPAValid   ASPA = "valid"
	ASPAInvalid ASPA = "invalid"
)

// Offered is one route as a neighbour of our edge announces it, before our policy.
type Offered struct {
	At          time.Time // since when, or of the update; zero: not told
	Neighbor    uint32    // AS
	Prefix      netip.Prefix
	Path        []uint32 // the neighbour first and the origin last, prepending kept
	Set         bool     // an AS_SET stands in the path: the origin can't be told
	OTC         uint32   // Only to Customer (RFC 9234)
	HasOTC      bool
	Communities []uint32
	Large       [][3]uint32
	ROV         ROV
	ASPA        ASPA
	Withdrawn   bool // the neighbour takes it back
	State       bool // from a dump or a first table: how it is, no news
}

// Origin is the last AS of the path, 0 where it can't be told.
func (r *Offered) Origin() uint32 {
	if r.Set || len(r.Path) == 0 {
		return 0
	}
	return r.Path[len(r.Path)-1]
}

// House is who we are and whom we know, as it is configured.
type House struct {
	AS        uint32
	Name      string // of the operator, as letters are signed
	ReplyTo   string // e-mail address of the network's operations
	Phone     string
	Own       []Own
	Book      []Entry
	Neighbors []Neighbor
	Names     func(as uint32) string // nil, or "" where it isn't known
}

// Own is space of our own or of a customer.
type Own struct {
	Prefix  netip.Prefix
	Name    string // of the customer, "" our own
	Origins []uint32
}

// Entry is where an AS is called: an office, never a person.
type Entry struct {
	AS    uint32
	Name  string
	Mail  string
	Phone string
}

// Neighbor is a session of our edge.
type Neighbor struct {
	AS       uint32
	Name     string
	Relation string     // what it is to us: provider, customer, peer, sibling, route-server, route-server-client, unknown
	Address  netip.Addr // zero: not told; forms for routers then say where to put it
}

// name is what an AS is called: "AS701", with its name where that is known.
func (h *House) name(as uint32) string {
	if as == 0 {
		return "AS?"
	}
	s := asText(as)
	if n := h.called(as); n != "" {
		return s + " (" + n + ")"
	}
	return s
}

func (h *House) called(as uint32) string {
	if i := slices.IndexFunc(h.Book, func(e Entry) bool { return e.AS == as }); i >= 0 && h.Book[i].Name != "" {
		return h.Book[i].Name
	}
	if as == h.AS && h.Name != "" {
		return h.Name
	}
	if h.Names != nil {
		return h.Names(as)
	}
	return ""
}

// within is the own space that a prefix lies in, the narrowest; false where it lies in none.
func (h *House) within(p netip.Prefix) (best Own, is bool) {
	for _, o := range h.Own {
		if covers(o.Prefix, p) && (!is || o.Prefix.Bits() > best.Prefix.Bits()) {
			best, is = o, true
		}
	}
	return best, is
}

// covers tells whether p lies in q.
func covers(q, p netip.Prefix) bool {
	return q.Addr().Is4() == p.Addr().Is4() && q.Bits() <= p.Bits() && q.Contains(p.Addr())
}

// Hits tells which routes belong to an incident.
type Hits struct {
	kind  detect.IncidentKind
	form  string
	via   []uint32 // that follow one another in the path
	first bool     // at its beginning
	last  uint32   // the AS at fault
	since time.Time
	kept  map[netip.Prefix]bool
	whole bool // kept is all of them
}

// NewHits takes the prefixes that are kept with the incident; nil: its sample. Where
// those are all of its prefixes a route must have one of them, else the path decides,
// and the time since when it stands.
func NewHits(h *House, i *detect.Incident, kept []netip.Prefix) *Hits {
	x := &Hits{kind: i.Kind, form: i.Form, last: i.Leaker, since: i.Opened, kept: map[netip.Prefix]bool{}}
	for _, p := range kept {
		x.kept[p] = true
	}
	for _, p := range i.Sample {
		x.kept[p.Prefix] = true
	}
	x.whole = uint64(len(x.kept)) >= i.Prefixes.N
	x.via, x.first = way(h, i)
	return x
}

// way is the ASes that each path of the incident shows one after the other.
func way(h *House, i *detect.Incident) (via []uint32, first bool) {
	first = i.To != 0 && i.To == h.AS // passed to us: the path begins with who did
	for _, as := range []uint32{i.To, i.Leaker, i.From} {
		if as != 0 && (as != i.To || !first) {
			via = append(via, as)
		}
	}
	switch {
	case i.Kind == detect.Hijack && i.Form != "first-hop":
		return nil, false
	case i.Kind == detect.Hijack && i.From == 0 && len(i.Expected) == 1: // the right origin stands behind who forges
		via = append(via, i.Expected[0])
	}
	return via, first && len(via) > 0
}

// Has tells whether a route is one of the incident's.
func (x *Hits) Has(r *Offered) bool {
	if r.Withdrawn || x.whole && !x.kept[r.Prefix] {
		return false
	}
	fresh := r.At.IsZero() || !r.At.Before(x.since)
	switch x.kind {
	case detect.Leak:
		at, ok := follow(r.Path, x.via, x.first)
		if !ok || !fresh || len(x.via) == 0 {
			return false
		}
		if x.via[len(x.via)-1] != x.last || behind(r.Path, at) != 0 {
			return true
		}
		// What the leaker originates itself is no leak, unless its own inside is what leaks.
		return x.form == inner && (x.kept[r.Prefix] || r.ROV.Bad())
	case detect.Hijack:
		if x.form == "first-hop" {
			_, ok := follow(r.Path, x.via, x.first)
			return ok && fresh && (x.kept[r.Prefix] || r.ROV.Bad())
		}
		return x.last != 0 && r.Origin() == x.last && fresh && (x.kept[r.Prefix] || r.ROV.Bad())
	case detect.Outage:
		return false // there is nothing to be refused
	}
	return x.kept[r.Prefix] && fresh && (x.last == 0 || slices.Contains(r.Path, x.last))
}

// inner is the type of RFC 7908 by which an AS leaks routes of its own.
const inner = "type 6"

// follow finds ASes that follow one another in a path, repeats counted once, and gives
// the index of the last element of the last one. first: the path begins with them.
func follow(path, via []uint32, first bool) (end int, ok bool) {
	if len(via) == 0 {
		return -1, true
	}
	for i := range path {
		if i > 0 && (first || path[i] == path[i-1]) {
			continue
		}
		at, k := i, 0
		for at < len(path) && k < len(via) && path[at] == via[k] {
			for at+1 < len(path) && path[at+1] == via[k] {
				at++
			}
			at++
			k++
		}
		if k == len(via) {
			return at - 1, true
		}
	}
	return 0, false
}

// behind is the AS after an index of the path, 0 where the path ends there.
func behind(path []uint32, at int) uint32 {
	if at+1 >= len(path) {
		return 0
	}
	return path[at+1]
}
