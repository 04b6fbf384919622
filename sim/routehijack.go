package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RouteHijack is somebody who announces what isn't his.
type RouteHijack struct {
	// Form is "exact", "more-specific", "squatting", "first-hop" (the owner's number stands
	// behind the hijacker's) or "deeper" (and one of its providers' between them).
	Form    string
	Whose   string // "own", "customer", "other"
	Victims int    // ASes, if others'; 0 one
	Bits    int    // more-specific: so many longer; 0 is 2
	IPv6    bool   // of IPv6 alone
	At, For time.Duration
	Times   int
	Pause   time.Duration
	Big     bool // by a large AS
	Signals []string
}

func (h RouteHijack) cast(n *routeNet, r *rng) error {
	if h.For <= 0 || !slices.Contains([]string{"exact", "more-specific", "squatting", "first-hop", "deeper"}, h.Form) {
		return errors.New("a hijack has a form and a length")
	}
	attackers := n.byKind[stub]
	if h.Big {
		attackers = n.byKind[regional][6:]
	}
	var idle netip.Prefix
	if h.Form == "squatting" {
		var err error
		if idle, err = n.free4(20); err != nil {
			return err
		}
		n.truth.Knows.Own = append(n.truth.Knows.Own, RouteOwn{Prefix: idle, Origins: []uint32{n.nodes[n.home].as}})
	}
	n.then(func() error {
		for range 400 {
			a := attackers[r.below(uint64(len(attackers)))]
			if a == n.home || n.isOwn(a) || n.busy(a) {
				continue
			}
			victims := h.victims(n, r, a)
			if h.happens(n, r, a, victims, idle) {
				return nil
			}
		}
		return fmt.Errorf("no AS of this world could hijack so (%s of %s)", h.Form, h.Whose)
	})
	return nil
}

// busy tells whether an AS has a part in something else.
func (n *routeNet) busy(i int32) bool { return len(n.groups[i].changes) > 0 }

func (h *RouteHijack) victims(n *routeNet, r *rng, a int32) (list []int32) {
	switch h.Whose {
	case "own":
		return []int32{n.home}
	case "customer":
		return []int32{n.customersOf(n.home)[0]}
	}
	all := slices.Concat(n.byKind[stub], n.byKind[regional])
	for _, i := range some(r, all, len(all)) {
		if i == a || n.isOwn(i) || n.busy(i) || len(list) == max(1, h.Victims) || n.linked(i, a) >= 0 || len(n.groups[i].prefixes) == 0 {
			continue
		}
		// A part of somebody's space that he has no ROA for may well be his customer's: nobody could tell.
		if h.Form != "more-specific" || n.certified(i) {
			list = append(list, i)
		}
	}
	return list
}

func (h *RouteHijack) happens(n *routeNet, r *rng, a int32, victims []int32, idle netip.Prefix) bool {
	as := n.nodes[a].as
	var groups []int32
	var expected []uint32
	shows := func(path []uint32) bool { return slices.Contains(path, as) && path[len(path)-1] == as }
	var tail []uint32
	switch h.Form {
	case "squatting":
		groups, expected = []int32{n.group(a, idle)}, []uint32{n.nodes[n.home].as}
	case "more-specific":
		for _, v := range victims {
			var inside []netip.Prefix
			for _, p := range n.groups[v].prefixes {
				if p.Addr().Is6() == h.IPv6 && (p.Bits() <= 22 || h.IPv6) {
					bits := p.Bits() + max(2, h.Bits)
					inside = append(inside, part(p, bits, 0), part(p, bits, 1))
					break
				}
			}
			if len(inside) == 0 {
				return false
			}
			groups, expected = append(groups, n.group(a, inside...)), addAS(expected, n.nodes[v].as)
		}
	default:
		for _, v := range victims {
			if h.IPv6 {
				six := slices.DeleteFunc(slices.Clone(n.groups[v].prefixes), func(p netip.Prefix) bool { return p.Addr().Is4() })
				groups = append(groups, n.split(v, six...))
			} else {
				groups = append(groups, v)
			}
			expected = addAS(expected, n.nodes[v].as)
		}
	}
	switch h.Form {
	case "first-hop":
		if n.linked(victims[0], a) >= 0 {
			return false // it would be no forgery
		}
		tail = []uint32{n.nodes[victims[0]].as}
	case "deeper":
		p := n.providersOf(victims[0])
		if p = slices.DeleteFunc(p, func(i int32) bool { return n.linked(i, a) >= 0 }); len(p) == 0 || n.linked(victims[0], a) >= 0 {
			return false
		}
		tail = []uint32{n.nodes[p[0]].as, n.nodes[victims[0]].as}
	}
	if tail != nil {
		shows = func(path []uint32) bool { return has(path, append([]uint32{as}, tail...)) }
	}
	if len(groups) == 0 {
		return false
	}
	first := []change{{at: n.start, kind: announce, node: a, tail: tail}}
	if len(n.trial(groups[0], first, shows)) < min(3, len(n.peers)) {
		return false // too few would see it: somebody else tries
	}
	for _, g := range groups {
		for i := range max(1, h.Times) {
			on := n.at(h.At+time.Duration(i)*(h.For+h.Pause)) + int64(r.below(4e9))
			n.groups[g].changes = append(n.groups[g].changes, change{at: on, kind: announce, node: a, tail: tail}, change{at: on + int64(h.For), kind: withdraw, node: a})
		}
	}
	i := RouteIncident{Kind: "hijack", Form: h.Form, Leaker: as, Expected: expected, Onset: time.Unix(0, n.at(h.At)).UTC(), Signals: h.Signals}
	if h.Form == "deeper" {
		i.Form, i.Or = "first-hop", "leak"
	}
	if i.Signals == nil {
		i.Signals = []string{map[string]string{"exact": "origin-change", "more-specific": "more-specific", "squatting": "squatting", "first-hop": "first-hop"}[i.Form]}
	}
	n.incident(i, shows, groups...)
	return true
}

// has tells whether a path has some ASes one after the other.
func has(path, part []uint32) bool {
	for i := range len(path) - len(part) + 1 {
		if slices.Equal(path[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// RouteEscape is a route that should have gone nowhere: "blackhole", an address to be
// discarded that its provider passes on, or "bogon", space for private use, or "private-as",
// a private number in a path.
type RouteEscape struct {
	What    string
	At, For time.Duration
	Own     bool // blackhole: an own customer's
}

func (x RouteEscape) cast(n *routeNet, r *rng) error {
	i := n.byKind[stub][r.below(uint64(len(n.byKind[stub])))]
	for n.isOwn(i) {
		i = n.byKind[stub][r.below(uint64(len(n.byKind[stub])))]
	}
	if x.Own {
		i = n.customersOf(n.home)[0]
	}
	as := n.nodes[i].as
	provider := n.nodes[n.providersOf(i)[0]].as
	inc := RouteIncident{Kind: "bogon", Leaker: as, Onset: time.Unix(0, n.at(x.At)).UTC()}
	c := change{at: n.at(x.At), kind: announce, node: i}
	shows := func(path []uint32) bool { return path[len(path)-1] == as }
	var p netip.Prefix
	switch x.What {
	case "blackhole":
		p = part(n.groups[i].prefixes[0], 32, 77)
		n.extras = append(n.extras, routeExtra{communities: []uint32{blackhole}})
		c.count = len(n.extras) - 1
		inc.Kind, inc.From, inc.Leaker, inc.Origins, inc.Expected = "blackhole", as, provider, []uint32{as}, []uint32{as}
		inc.Signals = []string{"blackhole-out-of-place"}
	case "bogon":
		p = part(netip.MustParsePrefix("10.0.0.0/8"), 20, r.below(4096))
		inc.Signals = []string{"bogon-prefix"}
	case "private-as":
		var err error
		if p, err = n.free4(23); err != nil {
			return err
		}
		private := uint32(64512 + r.below(1000))
		c.tail = []uint32{private}
		shows = func(path []uint32) bool { return path[len(path)-1] == private }
		inc.Signals = []string{"bogon-as"}
	default:
		return fmt.Errorf("nothing known of %q", x.What)
	}
	g := n.group(i, p)
	if x.What == "blackhole" {
		n.groups[g].only = n.providersOf(i)[:1]
	}
	n.groups[g].changes = []change{c, {at: n.at(x.At + x.For), kind: withdraw, node: i}}
	n.incident(inc, shows, g)
	return nil
}

// RouteOutage takes own space away from everybody.
type RouteOutage struct {
	At, For time.Duration
	Share   int // of the own prefixes, in percent; 0 all
}

func (x RouteOutage) cast(n *routeNet, _ *rng) error {
	n.then(func() error {
		p := n.groups[n.home].prefixes
		if x.Share > 0 {
			p = p[:max(1, len(p)*x.Share/100)]
		}
		g := n.split(n.home, p...)
		n.groups[g].changes = []change{{at: n.at(x.At), kind: withdraw, node: n.home}, {at: n.at(x.At + x.For), kind: announce, node: n.home}}
		n.incident(RouteIncident{
			Kind: "outage", Expected: []uint32{n.nodes[n.home].as}, Onset: time.Unix(0, n.at(x.At)).UTC(), Signals: []string{"visibility"},
		}, nil, g)
		return nil
	})
	return nil
}
