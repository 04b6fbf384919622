package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RouteDrill is the shape of 25 August 2017: a content network that peers give more-specifics
// for its own use passes them to a transit provider, which tells everybody. Within minutes
// it corrects that. Most of what leaks wasn't in anybody's table; some are routes as all have them.
//
// From the public record are the number of prefixes and those of one's own among them, the
// time from first to last, that most were more-specifics of known routes, and the adjacency.
// Who else is in it, and every prefix, is made up.
type RouteDrill struct {
	Prefixes int // more-specifics, those of one's own among them
	Own      int
	At       time.Duration
	Lasts    time.Duration // from the first announcement to the last withdrawal; 0 is 8 minutes
}

// The parties' numbers in the public record.
const (
	historicalLeaker = 15169
	historicalTo     = 701
	historicalOwn    = 4713
	historicalOther  = 2516 // bought transit whose routes moved
	historicalUp     = 2914 // of the own AS
)

func (d RouteDrill) cast(n *routeNet, r *rng) error {
	if d.Prefixes < 1000 || d.Own < 100 || d.Own > d.Prefixes/2 {
		return fmt.Errorf("a drill has 1000 prefixes or more, and 100 to half of them are one's own")
	}
	if d.Lasts == 0 {
		d.Lasts = 8 * time.Minute
	}
	up, to := n.byKind[tier1][0], n.byKind[tier1][1]
	leaker, other := n.byKind[content][0], n.byKind[regional][5]
	if other == n.home {
		other = n.byKind[regional][6]
	}
	if n.scene.World.Historical {
		for i, as := range map[int32]uint32{leaker: historicalLeaker, to: historicalTo, n.home: historicalOwn, other: historicalOther, up: historicalUp} {
			n.nodes[i].as = as
		}
		for i := range n.truth.Knows.Own {
			if o := &n.truth.Knows.Own[i]; o.Origins[0] == homeAS {
				o.Origins = []uint32{historicalOwn}
			}
		}
		for i := range n.roas {
			if n.roas[i].as == homeAS {
				n.roas[i].as = historicalOwn
			}
		}
	}
	as := func(i int32) uint32 { return n.nodes[i].as }
	n.truth.Knows.NoTransit = append(n.truth.Knows.NoTransit, as(leaker))
	n.nodes[leaker].roles, n.nodes[to].roles = false, false
	n.relate(leaker, to, providerOf)
	n.relate(n.home, up, providerOf)
	n.relate(other, to, providerOf)
	n.peers = slices.DeleteFunc(n.peers, func(p tellingPeer) bool { return p.node == leaker || p.node == n.home })

	// Who gives the leaker more-specifics: the own AS most, and sixty others.
	var givers []int32
	for _, i := range some(r, slices.Concat(n.byKind[regional][6:], n.byKind[transit]), 60) {
		if k := n.linked(i, leaker); i != n.home && i != other && (k < 0 || n.links[k].rel == peerOf) {
			givers = append(givers, i)
		}
	}
	var leaked []int32
	give := func(i int32, count, bits int) error {
		n.relate(i, leaker, peerOf)
		var inside []netip.Prefix
		for len(inside) < count {
			whole, err := n.free4(bits)
			if err != nil {
				return err
			}
			n.groups[i].prefixes = append(n.groups[i].prefixes, whole)
			if n.certified(i) || i == n.home {
				n.roa(whole, whole.Bits(), as(i))
			}
			if i == n.home {
				n.truth.Knows.Own = append(n.truth.Knows.Own, RouteOwn{Prefix: whole, Origins: []uint32{as(i)}})
			}
			for k := range min(1<<(24-bits), count-len(inside)) {
				inside = append(inside, part(whole, 24, uint64(k)))
			}
		}
		g := n.group(i, inside...)
		n.groups[g].hidden, n.groups[g].only = false, []int32{leaker}
		leaked = append(leaked, g)
		return nil
	}
	bits := 16
	if d.Own < 2560 {
		bits = 18
	}
	if err := give(n.home, d.Own, bits); err != nil {
		return err
	}
	rest := d.Prefixes - d.Own
	for k, i := range givers {
		share := rest*(k+1)/len(givers) - rest*k/len(givers)
		if err := give(i, share, 18); err != nil {
			return err
		}
	}
	// And routes as everybody has them: of three givers.
	plain := slices.Clone(givers[:3])
	turn := d.Lasts * 5 / 8
	for k, g := range append(leaked, plain...) {
		x := &n.groups[g]
		x.spread = int64(d.Lasts - turn)
		on := n.at(d.At) + int64(k)*3e8/int64(1+len(leaked)/64)
		x.changes = append(x.changes,
			change{at: on, kind: leakOn, node: leaker, to: to, from: -1},
			change{at: n.at(d.At + turn), kind: leakOff, node: leaker, to: to, from: -1})
	}
	i := RouteIncident{
		Kind: "leak", Form: "type 4", Also: []string{"type 6"}, Leaker: as(leaker), To: as(to), Adjacency: fmt.Sprintf("%d-%d", as(to), as(leaker)),
		Onset: time.Unix(0, n.at(d.At)).UTC(), Signals: []string{"unexpected-transit", "more-specific-burst"},
	}
	for _, x := range append([]int32{n.home}, givers...) {
		i.Expected = addAS(i.Expected, as(x))
	}
	n.incident(i, func(path []uint32) bool {
		k := slices.Index(path, as(leaker))
		return k > 0 && k+1 < len(path) && path[k-1] == as(to)
	}, append(leaked, plain...)...)
	return nil
}

// relate makes b something to a, whatever it was.
func (n *routeNet) relate(a, b int32, rel asRel) {
	k := n.link(a, b, rel)
	l := &n.links[k]
	l.rel, l.server = rel, 0
	if l.a != a {
		l.rel = rel.turned()
	}
}

// RouteStorm is messages without end that mean nothing, for benchmarks: of every peer in
// turn, some prefixes whose path gets longer by a repeated AS, or shorter again.
type RouteStorm struct {
	Messages, Each int // of so many prefixes
}

func (x RouteStorm) cast(n *routeNet, r *rng) error {
	n.then(func() error {
		n.lookAround()
		e := &n.engine
		longer := make([]map[int32]int32, len(n.peers))
		var path []uint32
		for k := range longer {
			longer[k] = map[int32]int32{}
		}
		for i := range x.Messages {
			k := int32(i % len(n.peers))
			g := int32(r.below(uint64(len(n.nodes))))
			if r.below(4) > 0 { // where the many prefixes are
				g = n.byKind[transit][r.below(uint64(len(n.byKind[transit])))]
			}
			four := slices.IndexFunc(n.groups[g].prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() })
			if four < x.Each {
				four = len(n.groups[g].prefixes)
			}
			b := n.around[g][n.peers[k].node]
			if b.path <= 0 || four == 0 {
				continue
			}
			if r.below(2) == 0 {
				p, known := longer[k][b.path]
				if !known {
					path = e.list(b.path, path[:0])
					p = e.cons(path[0], b.path)
					longer[k][b.path] = p
				}
				b.path = p
			}
			from := int32(r.below(uint64(max(1, four-x.Each+1))))
			if s := n.scene.World.Sharing; s >= x.Each {
				from -= from % int32(s) // so that all go into one message
			}
			n.told = append(n.told, telling{at: n.start + 1e9 + (n.end-n.start-2e9)/int64(x.Messages)*int64(i), group: g, peer: k, from: from, to: min(from+int32(x.Each), int32(len(n.groups[g].prefixes))), route: b})
		}
		return nil
	})
	return nil
}
