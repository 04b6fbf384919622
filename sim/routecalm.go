package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RouteChurn is the ordinary unrest: small ASes whose prefixes go and come back.
type RouteChurn struct{ Count int }

func (x RouteChurn) cast(n *routeNet, r *rng) error {
	n.then(func() error {
		for _, i := range some(r, n.byKind[stub], x.Count) {
			if n.isOwn(i) || n.busy(i) || len(n.groups[i].prefixes) == 0 {
				continue
			}
			from := 30e9 + int64(r.below(uint64(n.end-n.start)*9/10))
			n.blink(i, i, n.start+from, int64(1+r.below(90))*1e9)
		}
		return nil
	})
	return nil
}

// blink takes a group away for a while.
func (n *routeNet) blink(g, node int32, at, away int64) {
	n.groups[g].changes = append(n.groups[g].changes, change{at: at, kind: withdraw, node: node}, change{at: at + away, kind: announce, node: node})
}

// RouteFlap is one AS whose prefixes go and come again and again.
type RouteFlap struct {
	At    time.Duration
	Times int
	Every time.Duration
	Own   bool
}

func (x RouteFlap) cast(n *routeNet, r *rng) error {
	n.then(func() error {
		i := n.quiet(r, n.byKind[stub])
		if x.Own {
			i = n.customersOf(n.home)[1]
		}
		for k := range x.Times {
			n.blink(i, i, n.at(x.At+time.Duration(k)*x.Every), int64(x.Every)/3)
		}
		n.innocent("flap", n.nodes[i].as, n.at(x.At), n.groups[i].prefixes...)
		return nil
	})
	return nil
}

// quiet is one of a list with which nothing happens, and that isn't the operator's.
func (n *routeNet) quiet(r *rng, list []int32) int32 {
	for {
		if i := list[r.below(uint64(len(list)))]; i != n.home && !n.isOwn(i) && !n.busy(i) && len(n.groups[i].prefixes) > 0 {
			return i
		}
	}
}

// RouteSession is something wrong with a peer's session, not with its routes: "reset" ends it
// For so long, after which its whole table comes again; "silent" has nothing come any more
// and nobody say so; "clock" has its clock ahead by For, or behind.
type RouteSession struct {
	What    string
	Peer    int
	At, For time.Duration
}

func (x RouteSession) cast(n *routeNet, _ *rng) error {
	if x.Peer >= len(n.peers) {
		return errors.New("there is no such peer")
	}
	p := &n.peers[x.Peer]
	switch at := n.at(x.At); x.What {
	case "reset":
		p.down = append(p.down, span{at, at + int64(x.For)})
	case "silent":
		p.silent = at
	case "clock":
		p.ahead = int64(x.For)
	default:
		return fmt.Errorf("nothing known of %q", x.What)
	}
	n.innocent("session-"+x.What, n.nodes[p.node].as, n.at(x.At))
	return nil
}

// RouteCut takes a link away for a while: "core" of two tier 1s, "uplink" of a transit AS,
// "own" of the operator's to a provider.
type RouteCut struct {
	What    string
	At, For time.Duration // For 0: it stays away
}

func (x RouteCut) cast(n *routeNet, r *rng) error {
	var k int32
	switch x.What {
	case "core":
		k = n.linked(n.byKind[tier1][0], n.byKind[tier1][1+r.below(2)])
	case "uplink":
		i := n.byKind[transit][r.below(uint64(len(n.byKind[transit])))]
		k = n.linked(i, n.providersOf(i)[0])
	case "own":
		k = n.linked(n.home, n.providersOf(n.home)[0])
	default:
		return fmt.Errorf("nothing known of %q", x.What)
	}
	n.allChanges = append(n.allChanges, change{at: n.at(x.At), kind: linkDown, link: k})
	if x.For > 0 {
		n.allChanges = append(n.allChanges, change{at: n.at(x.At + x.For), kind: linkUp, link: k})
	}
	n.innocent("link-"+x.What, 0, n.at(x.At))
	return nil
}

// RouteMove is a change that its owner wants:
//
//	maintenance   own prefixes go and come back, in a window that was told beforehand
//	peering       two regional ASes become peers
//	customer      an AS that wasn't there begins, at a provider
//	deaggregation an AS announces parts of its space, as it may
//	prepending    an AS makes a way longer
//	sibling       prefixes go over to another AS of the organisation
//	anycast       a prefix is announced from one more AS
//	backup        the way to the provider breaks, and another one takes over
//	provider      an AS changes its provider
//	mitigation    an own customer's /24 is announced by who cleans its traffic
//	upstream      the operator gets one more provider, and has registered it
type RouteMove struct {
	What string
	At   time.Duration
	For  time.Duration // until it is taken back; 0: it stays
}

func (x RouteMove) cast(n *routeNet, r *rng) error {
	f := map[string]func(*routeNet, *rng) error{
		"maintenance": x.maintenance, "peering": x.peering, "customer": x.customer, "deaggregation": x.deaggregation, "prepending": x.prepending,
		"sibling": x.sibling, "anycast": x.anycast, "backup": x.backup, "provider": x.provider, "mitigation": x.mitigation, "upstream": x.upstream,
	}[x.What]
	if f == nil {
		return fmt.Errorf("nothing known of %q", x.What)
	}
	return f(n, r)
}

func (x *RouteMove) enter(n *routeNet, i int32, prefixes ...netip.Prefix) {
	n.innocent(x.What, n.nodes[i].as, n.at(x.At), prefixes...)
}

// until takes a change back, if it is to be.
func (x *RouteMove) until(n *routeNet, g int32, on, off change) {
	on.at, off.at = n.at(x.At), n.at(x.At+x.For)
	n.groups[g].changes = append(n.groups[g].changes, on)
	if x.For > 0 {
		n.groups[g].changes = append(n.groups[g].changes, off)
	}
}

func (x *RouteMove) maintenance(n *routeNet, _ *rng) error {
	n.then(func() error {
		g := n.split(n.home, n.groups[n.home].prefixes[0])
		x.until(n, g, change{kind: withdraw, node: n.home}, change{kind: announce, node: n.home})
		p := n.groups[g].prefixes[0]
		n.truth.Knows.Maintenance = append(n.truth.Knows.Maintenance, RouteMaintenance{
			From: time.Unix(0, n.at(x.At-time.Minute)).UTC(), To: time.Unix(0, n.at(x.At+x.For+5*time.Minute)).UTC(), Prefix: p, AS: n.nodes[n.home].as, Why: "a router is replaced",
		})
		x.enter(n, n.home, p)
		return nil
	})
	return nil
}

// opens has a link come up at the time.
func (x *RouteMove) opens(n *routeNet, a, b int32, rel asRel) int32 {
	k := n.link(a, b, rel)
	n.links[k].down, n.links[k].unknown = true, true
	n.allChanges = append(n.allChanges, change{at: n.at(x.At), kind: linkUp, link: k})
	if x.For > 0 {
		n.allChanges = append(n.allChanges, change{at: n.at(x.At + x.For), kind: linkDown, link: k})
	}
	return k
}

func (x *RouteMove) peering(n *routeNet, r *rng) error {
	list := some(r, n.byKind[regional], len(n.byKind[regional]))
	for i, a := range list {
		for _, b := range list[i+1:] {
			if a != n.home && b != n.home && n.linked(a, b) < 0 {
				x.opens(n, a, b, peerOf)
				x.enter(n, a)
				return nil
			}
		}
	}
	return errors.New("all regional ASes are peers already")
}

// newcomer is an AS that wasn't there.
func (n *routeNet) newcomer(prefixes ...netip.Prefix) int32 {
	i := n.add(strangerAS+uint32(len(n.nodes)), stub)
	n.byKind[stub] = n.byKind[stub][:len(n.byKind[stub])-1] // nothing else happens to it
	n.groups = slices.Insert(n.groups, int(i), routeGroup{origin: i, prefixes: prefixes, hidden: true})
	return i
}

func (x *RouteMove) customer(n *routeNet, r *rng) error {
	if len(n.groups) != len(n.nodes) {
		return errors.New("newcomers come before other events of the scene")
	}
	p, err := n.free4(22)
	if err != nil {
		return err
	}
	i := n.newcomer(p, n.free6(44))
	n.roa(p, 24, n.nodes[i].as)
	for _, b := range some(r, n.byKind[regional][4:], 2) {
		n.links[n.link(i, b, providerOf)].unknown = true
	}
	x.until(n, i, change{kind: announce, node: i}, change{kind: withdraw, node: i})
	x.enter(n, i, p)
	return nil
}

func (x *RouteMove) deaggregation(n *routeNet, r *rng) error {
	n.then(func() error {
		i := n.quiet(r, n.byKind[regional][4:])
		whole := n.groups[i].prefixes[0]
		var inside []netip.Prefix
		for k := range 12 {
			inside = append(inside, part(whole, 24, uint64(k)))
		}
		if n.certified(i) {
			n.roa(whole, 24, n.nodes[i].as)
		}
		g := n.group(i, inside...)
		x.until(n, g, change{kind: announce, node: i}, change{kind: withdraw, node: i})
		x.enter(n, i, inside...)
		return nil
	})
	return nil
}

func (x *RouteMove) prepending(n *routeNet, r *rng) error {
	n.then(func() error {
		i := n.quiet(r, n.byKind[regional])
		p := n.providersOf(i)[0]
		x.until(n, i, change{kind: prepends, node: i, to: p, count: 4}, change{kind: prepends, node: i, to: p})
		x.enter(n, i, n.groups[i].prefixes...)
		return nil
	})
	return nil
}

func (x *RouteMove) sibling(n *routeNet, _ *rng) error {
	n.then(func() error {
		a, b := n.byKind[regional][0], n.byKind[regional][1]
		g := n.split(a, n.groups[a].prefixes[:2]...)
		for _, p := range n.groups[g].prefixes {
			n.roa(p, p.Bits(), n.nodes[b].as)
		}
		x.until(n, g, change{kind: announce, node: b}, change{kind: withdraw, node: b})
		n.groups[g].changes = append(n.groups[g].changes, change{at: n.at(x.At) + 5e9, kind: withdraw, node: a})
		x.enter(n, b, n.groups[g].prefixes...)
		return nil
	})
	return nil
}

func (x *RouteMove) anycast(n *routeNet, r *rng) error {
	p, err := n.free4(24)
	if err != nil {
		return err
	}
	n.truth.Knows.Anycast = append(n.truth.Knows.Anycast, p)
	n.then(func() error {
		a, b := n.byKind[content][0], n.quiet(r, n.byKind[stub])
		g := n.group(a, p)
		n.groups[g].hidden = false
		n.roa(p, 24, n.nodes[a].as)
		x.until(n, g, change{kind: announce, node: b}, change{kind: withdraw, node: b})
		x.enter(n, b, p)
		return nil
	})
	return nil
}

// single is a small AS with one provider alone, and a provider that it could have besides.
func (n *routeNet) single(r *rng) (i, have, other int32) {
	for {
		i = n.quiet(r, n.byKind[stub])
		other = n.byKind[regional][4+r.below(uint64(len(n.byKind[regional])-5))]
		if p := n.providersOf(i); len(p) == 1 && n.linked(i, other) < 0 && other != n.home {
			return i, p[0], other
		}
	}
}

func (x *RouteMove) backup(n *routeNet, r *rng) error {
	i, have, other := n.single(r)
	n.links[n.link(i, other, providerOf)].down = true // known, and idle
	n.allChanges = append(n.allChanges,
		change{at: n.at(x.At), kind: linkDown, link: n.linked(i, have)},
		change{at: n.at(x.At) + 20e9, kind: linkUp, link: n.linked(i, other)})
	if x.For > 0 {
		n.allChanges = append(n.allChanges,
			change{at: n.at(x.At + x.For), kind: linkUp, link: n.linked(i, have)},
			change{at: n.at(x.At+x.For) + 20e9, kind: linkDown, link: n.linked(i, other)})
	}
	x.enter(n, i, n.groups[i].prefixes...)
	return nil
}

func (x *RouteMove) provider(n *routeNet, r *rng) error {
	i, have, other := n.single(r)
	x.opens(n, i, other, providerOf)
	n.allChanges = append(n.allChanges, change{at: n.at(x.At) + 60e9, kind: linkDown, link: n.linked(i, have)})
	x.enter(n, i, n.groups[i].prefixes...)
	return nil
}

func (x *RouteMove) mitigation(n *routeNet, _ *rng) error {
	n.then(func() error {
		i, by := n.customersOf(n.home)[0], n.byKind[content][1]
		p := part(n.groups[i].prefixes[0], 24, 1)
		n.roa(p, 24, n.nodes[by].as)
		n.truth.Knows.Mitigators = append(n.truth.Knows.Mitigators, n.nodes[by].as)
		g := n.group(by, p)
		x.until(n, g, change{kind: announce, node: by}, change{kind: withdraw, node: by})
		x.enter(n, by, p)
		return nil
	})
	return nil
}

func (x *RouteMove) upstream(n *routeNet, _ *rng) error {
	for _, b := range n.byKind[tier1] {
		if n.linked(n.home, b) < 0 {
			n.links[x.opens(n, n.home, b, providerOf)].unknown = false
			x.enter(n, n.home)
			return nil
		}
	}
	return errors.New("the operator has all of them already")
}

// RouteGarbage is a peer that tells nonsense: prefixes that others have with paths that
// nobody else has, through ASes drawn by lot, and takes them back.
type RouteGarbage struct {
	Peer     int
	At, For  time.Duration
	Prefixes int
}

func (x RouteGarbage) cast(n *routeNet, r *rng) error {
	if x.Peer >= len(n.peers) {
		return errors.New("there is no such peer")
	}
	n.then(func() error {
		k := int32(x.Peer)
		var list []netip.Prefix
		for i := range x.Prefixes {
			g := &n.groups[r.below(uint64(len(n.nodes)))]
			if len(g.prefixes) == 0 {
				continue
			}
			p := g.prefixes[r.below(uint64(len(g.prefixes)))]
			path := []uint32{n.nodes[n.peers[k].node].as}
			for range 2 + r.below(5) {
				path = append(path, n.nodes[r.below(uint64(len(n.nodes)))].as)
			}
			at := n.at(x.At) + int64(x.For)*int64(i)/int64(x.Prefixes)
			m, _ := n.update(nil, k, route{class: classPeer}, path, 0, []netip.Prefix{p})
			gone, _ := n.update(nil, k, none, nil, 0, []netip.Prefix{p})
			n.raw = append(n.raw, rawTelling{at: at, peer: k, message: m, count: [2]int{1, 0}}, rawTelling{at: at + int64(1+r.below(40))*1e9, peer: k, message: gone, count: [2]int{0, 1}})
			list = append(list, p)
		}
		n.innocent("garbage", n.nodes[n.peers[k].node].as, n.at(x.At), list...)
		return nil
	})
	return nil
}

// RouteDamage is a peer whose messages have attributes that break RFC 4271, as RFC 7606
// expects them; each prefix is told as it should be half a minute later.
type RouteDamage struct {
	Peer  int
	At    time.Duration
	Count int
}

func (x RouteDamage) cast(n *routeNet, r *rng) error {
	if x.Peer >= len(n.peers) {
		return errors.New("there is no such peer")
	}
	n.then(func() error {
		k := int32(x.Peer)
		n.lookAround()
		var list []netip.Prefix
		for i := range x.Count {
			g := n.quiet(r, n.byKind[stub])
			b := n.around[g][n.peers[k].node]
			p := n.groups[g].prefixes[0]
			if b.path < 0 || !p.Addr().Is4() {
				continue
			}
			path := n.engine.list(b.path, []uint32{n.nodes[n.peers[k].node].as})
			at := n.at(x.At) + int64(i)*2e9
			right, _ := n.update(nil, k, b, path, 0, []netip.Prefix{p})
			n.raw = append(n.raw,
				rawTelling{at: at, peer: k, message: damaged(right, i), count: [2]int{1, 0}, damaged: true},
				rawTelling{at: at + 30e9, peer: k, message: right, count: [2]int{1, 0}})
			list = append(list, p)
		}
		n.innocent("damaged", n.nodes[n.peers[k].node].as, n.at(x.At), list...)
		return nil
	})
	return nil
}

// damaged is a message with one attribute that is wrong.
func damaged(m []byte, i int) []byte {
	m = slices.Clone(m)
	b := m[bgpHead+4 : bgpHead+4+int(binary.BigEndian.Uint16(m[bgpHead+2:]))]
	for len(b) > 3 {
		n := 3 + int(b[2])
		if b[0]&extended != 0 {
			n = 4 + int(binary.BigEndian.Uint16(b[2:]))
		}
		switch {
		case i%3 == 0 && b[1] == attrOrigin:
			b[3] = 9 // no such origin
		case i%3 == 1 && b[1] == attrPath:
			b[3] = 7 // no such kind of segment
		case i%3 == 2 && b[1] == attrNextHop:
			b[0] = optional // wrong flags
		}
		b = b[n:]
	}
	return m
}
