package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// The plan of numbers. ASes have numbers that IANA has given to nobody, and that no list
// calls private, reserved or documentation. Prefixes are of class E and of RFC 9637's block:
// they stand for nobody, and who looks for bogons must be told of them (RouteKnows.Plan).
const (
	firstTier1    = 1_000_001
	firstTransit  = 1_000_101
	firstRegional = 1_000_301
	firstContent  = 1_000_801
	serverAS      = 1_000_901 // of a route server that puts itself into paths
	homeAS        = 1_000_999 // the operator's
	firstStub     = 1_001_001
	strangerAS    = 1_009_001 // who isn't in the world when it begins
)

var (
	routePlan4 = netip.MustParsePrefix("240.0.0.0/4")
	routePlan6 = netip.MustParsePrefix("3fff::/20")
	peers6     = netip.MustParsePrefix("2001:db8:b6::/64") // of the sessions
)

// asKind is the place of an AS.
type asKind uint8

const (
	tier1 asKind = iota
	transit
	regional
	content
	stub
)

// asRel is what a neighbour is to an AS.
type asRel uint8

const (
	customerOf asRel = iota + 1 // the neighbour is its customer
	peerOf
	providerOf
	siblingOf
)

func (r asRel) turned() asRel {
	switch r {
	case customerOf:
		return providerOf
	case providerOf:
		return customerOf
	}
	return r
}

// asNode is an AS.
type asNode struct {
	as    uint32
	kind  asKind
	mrai  int64 // between announcements of a session (RFC 4271, 9.2.1.1)
	roles bool  // it speaks RFC 9234: it marks routes, and refuses marked ones from customers and peers
}

// asLink is a session of two ASes.
type asLink struct {
	a, b    int32
	rel     asRel  // what b is to a
	server  uint32 // AS of the route server between them, 0 none, or none that is seen
	unknown bool   // it isn't in files of relations
	down    bool   // when the scene begins
}

// bgpSession is one direction of a link.
type bgpSession struct {
	node, peer int32
	link       int32
	back       int32 // the other direction
	delay      int64
	rel        asRel // what peer is to node
	server     uint32
}

// routeGroup is prefixes of one origin that go everywhere together.
type routeGroup struct {
	origin   int32
	prefixes []netip.Prefix
	only     []int32 // neighbours to which the origin tells it; nil all
	prepend  map[int32]int
	hidden   bool   // nobody announces it when the scene begins
	extra    uint16 // attributes that it has besides
	spread   int64  // what happens to it goes on for so long, prefix by prefix
	changes  []change
	start    []route // of each peer; path -1: none
}

// routeMap is the world: who is connected to whom, and who has which prefixes.
type routeMap struct {
	nodes      []asNode
	links      []asLink
	sess       []bgpSession
	first      []int32 // of each node's sessions, with one more at the end
	groups     []routeGroup
	home       int32
	byKind     [stub + 1][]int32
	next4      uint64 // free space of the plan, in /24
	next6      uint64 // in /48
	extras     []routeExtra
	allChanges []change // that concern every group
}

// routeExtra is attributes besides the usual.
type routeExtra struct {
	communities []uint32
	large       [][3]uint32
}

func (w *RouteWorld) defaults() {
	set := func(n *int, usual int) {
		if *n == 0 {
			*n = usual
		}
	}
	set(&w.Tier1, 5)
	set(&w.Transit, 14)
	set(&w.Regional, 28)
	set(&w.Content, 6)
	set(&w.Stubs, 130)
	set(&w.Peers, 20)
	set(&w.PerAS, 2)
	if w.ROAs == 0 {
		w.ROAs = 0.6
	}
	if w.ASPAs == 0 {
		w.ASPAs = 0.25
	}
}

func newRouteNet(s *RouteScene) (*routeNet, error) {
	s.World.defaults()
	w := &s.World
	if w.Tier1 < 3 || w.Transit < 8 || w.Regional < 8 || w.Content < 2 || w.Stubs < 40 || w.Peers < 1 || w.Tier1 > 90 || w.Transit > 190 || w.Regional > 490 || w.Content > 90 || w.Stubs > 7900 || w.Peers > 200 {
		return nil, errors.New("a world has 3 to 90 tier 1, 8 to 190 transit, 8 to 490 regional, 2 to 90 content and 40 to 7900 small ASes, and 1 to 200 peers")
	}
	n := &routeNet{scene: s, rng: rng(mix(s.Seed, 0xa5)), start: s.Start.UnixNano(), end: s.Start.Add(s.Duration).UnixNano(), leaks: map[int32]bool{}}
	n.extras = []routeExtra{{}}
	n.truth = newRouteTruth(s)
	n.people()
	n.connect()
	if err := n.give(); err != nil {
		return nil, err
	}
	n.watchers()
	return n, nil
}

func (n *routeNet) add(as uint32, k asKind) int32 {
	i := int32(len(n.nodes))
	a := asNode{as: as, kind: k}
	if n.rng.below(3) == 0 {
		a.mrai = int64(2+n.rng.below(4)) * 1e9
	}
	a.roles = k != tier1 && n.rng.below(7) == 0
	n.nodes = append(n.nodes, a)
	n.byKind[k] = append(n.byKind[k], i)
	return i
}

func (n *routeNet) people() {
	w := &n.scene.World
	for k, first := range [...]uint32{firstTier1, firstTransit, firstRegional, firstContent, firstStub} {
		for i := range uint32([...]int{w.Tier1, w.Transit, w.Regional, w.Content, w.Stubs}[k]) {
			n.add(first+i, asKind(k))
		}
	}
	n.home = n.add(homeAS, regional)
	n.nodes[n.home].roles = false
}

// linked finds the link of two ASes, -1 none.
func (n *routeNet) linked(a, b int32) int32 {
	return int32(slices.IndexFunc(n.links, func(l asLink) bool { return l.a == a && l.b == b || l.a == b && l.b == a }))
}

// link connects two, unless they are already; rel is what b is to a.
func (n *routeNet) link(a, b int32, rel asRel) int32 {
	if i := n.linked(a, b); i >= 0 || a == b {
		return i
	}
	n.links = append(n.links, asLink{a: a, b: b, rel: rel})
	return int32(len(n.links) - 1)
}

// some are k of a list, each once.
func some(r *rng, list []int32, k int) []int32 {
	l := slices.Clone(list)
	for i := range min(k, len(l)) {
		j := i + int(r.below(uint64(len(l)-i)))
		l[i], l[j] = l[j], l[i]
	}
	return l[:min(k, len(l))]
}

func (n *routeNet) connect() {
	r := &n.rng
	t1, tr, re, co := n.byKind[tier1], n.byKind[transit], n.byKind[regional], n.byKind[content]
	for i, a := range t1 {
		for _, b := range t1[i+1:] {
			n.link(a, b, peerOf)
		}
	}
	for i, a := range tr {
		for _, b := range some(r, t1, 2) {
			n.link(a, b, providerOf)
		}
		for _, b := range some(r, tr[i+1:], 2) {
			n.link(a, b, peerOf)
		}
	}
	for _, a := range re {
		if a == n.home {
			continue
		}
		for _, b := range some(r, tr, 1+int(r.below(3))) {
			n.link(a, b, providerOf)
		}
	}
	for _, a := range co {
		for _, b := range some(r, t1, 2) {
			n.link(a, b, providerOf)
		}
		for _, b := range some(r, tr, 5) {
			n.link(a, b, peerOf)
		}
	}
	for _, b := range some(r, t1, 2) {
		n.link(n.home, b, providerOf)
	}
	for _, b := range slices.Concat(some(r, tr, 3), some(r, co, 4)) {
		n.link(n.home, b, peerOf)
	}
	n.siblings(re[0], re[1])
	n.siblings(re[2], re[3])
	n.exchange(slices.Concat(some(r, re[4:], 12), some(r, co, 3), some(r, tr, 2)), 0)
	n.exchange(some(r, re[4:], 8), serverAS)
	customers := some(r, n.byKind[stub], 6)
	for _, a := range customers {
		n.link(a, n.home, providerOf)
	}
	for _, a := range n.byKind[stub] {
		from := re
		if r.below(10) < 3 {
			from = tr
		}
		for _, b := range some(r, from, 1+int(r.below(3))) {
			n.link(a, b, providerOf)
		}
	}
}

func (n *routeNet) siblings(a, b int32) {
	n.link(a, b, siblingOf)
	n.truth.Knows.Siblings = append(n.truth.Knows.Siblings, [2]uint32{n.nodes[a].as, n.nodes[b].as})
}

// exchange has a route server between its members, half of whose pairs take from each other.
func (n *routeNet) exchange(members []int32, server uint32) {
	for i, a := range members {
		for _, b := range members[i+1:] {
			if n.rng.below(2) == 0 || n.linked(a, b) >= 0 {
				continue
			}
			n.links[n.link(a, b, peerOf)].server = server
		}
	}
	if server != 0 {
		n.truth.Knows.RouteServers = append(n.truth.Knows.RouteServers, server)
	}
}

// free4 takes a prefix of so many bits out of the plan.
func (n *routeNet) free4(bits int) (netip.Prefix, error) {
	size := uint64(1) << max(0, 24-bits)
	at := (n.next4 + size - 1) / size * size
	if at+size > 1<<20 {
		return netip.Prefix{}, errors.New("the plan of IPv4 prefixes is used up: ask for fewer")
	}
	n.next4 = at + size
	v := uint32(0xf0)<<24 + uint32(at)<<8
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), 0}), bits), nil
}

func (n *routeNet) free6(bits int) netip.Prefix {
	size := uint64(1) << (48 - bits)
	at := (n.next6 + size - 1) / size * size
	n.next6 = at + size
	hi := uint64(0x3fff)<<48 + at<<16
	var a [16]byte
	for i := range 8 {
		a[i] = byte(hi >> (56 - 8*i))
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), bits)
}

// part is the i-th prefix of so many bits inside p.
func part(p netip.Prefix, bits int, i uint64) netip.Prefix {
	b := p.Addr().As16()
	off := 0
	if p.Addr().Is4() {
		off = 96
	}
	for k := bits + off - 1; i > 0 && k >= p.Bits()+off; k-- {
		b[k/8] |= byte(i&1) << (7 - k%8)
		i >>= 1
	}
	a := netip.AddrFrom16(b)
	if off > 0 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits)
}

// give hands prefixes out: to each AS some, to large ones more and shorter.
func (n *routeNet) give() error {
	w := &n.scene.World
	n.groups = make([]routeGroup, len(n.nodes))
	all := 0
	take := func(i int, bits int) error {
		p, err := n.free4(bits)
		n.groups[i].prefixes = append(n.groups[i].prefixes, p)
		all++
		return err
	}
	for i := range n.groups {
		g := &n.groups[i]
		g.origin = int32(i)
		count, bits := w.PerAS, 22
		switch n.nodes[i].kind {
		case tier1, transit:
			count, bits = 3*w.PerAS, 18
		case regional, content:
			count, bits = 2*w.PerAS, 20
		}
		if int32(i) == n.home {
			bits = 17
		}
		for k := range count {
			if err := take(i, bits+k%3); err != nil {
				return err
			}
		}
		g.prefixes = append(g.prefixes, n.free6(36))
		all++
	}
	// The rest goes to a tenth of the ASes, as it does: they have many.
	for k := 0; all < w.Prefixes; k++ {
		i := int(mix(n.scene.Seed, uint64(k/100)) % uint64(len(n.groups)))
		if mix(n.scene.Seed, uint64(i))%10 > 0 && k%100 < 90 || int32(i) == n.home {
			i = int(n.byKind[transit][k%len(n.byKind[transit])])
		}
		if k%17 == 0 {
			n.groups[i].prefixes = append(n.groups[i].prefixes, n.free6(48))
			all++
		} else if err := take(i, 24); err != nil {
			return err
		}
	}
	for i := range n.groups {
		n.certify(int32(i))
	}
	n.own(n.home, "")
	for k, i := range n.customersOf(n.home) {
		if k < 3 {
			n.own(i, fmt.Sprintf("customer-%d", k+1))
		}
	}
	return nil
}

// own enters what is the operator's, or a customer's.
func (n *routeNet) own(i int32, name string) {
	for _, p := range n.groups[i].prefixes {
		n.truth.Knows.Own = append(n.truth.Knows.Own, RouteOwn{Prefix: p, Origins: []uint32{n.nodes[i].as}, Name: name})
	}
}

// certify gives a group ROAs, to so many ASes as have any.
func (n *routeNet) certify(g int32) {
	i := n.groups[g].origin
	if w := n.scene.World.ROAs; i != n.home && (w <= 0 || float64(mix(n.scene.Seed, uint64(i)+0x60a)%1000) >= 1000*w) {
		return
	}
	for _, p := range n.groups[g].prefixes {
		n.roa(p, p.Bits(), n.nodes[i].as)
	}
}

func (n *routeNet) roa(p netip.Prefix, longest int, as uint32) {
	n.roas = append(n.roas, routeROA{p, longest, as})
}

// certified tells whether an AS has ROAs.
func (n *routeNet) certified(i int32) bool {
	return slices.ContainsFunc(n.roas, func(r routeROA) bool { return r.as == n.nodes[i].as })
}

// neighbours are those that are something to an AS, links that are down left out.
func (n *routeNet) neighbours(i int32, rel asRel) (list []int32) {
	for _, l := range n.links {
		switch {
		case l.down:
		case l.a == i && l.rel == rel:
			list = append(list, l.b)
		case l.b == i && l.rel.turned() == rel:
			list = append(list, l.a)
		}
	}
	return list
}

func (n *routeNet) customersOf(i int32) []int32 { return n.neighbours(i, customerOf) }
func (n *routeNet) providersOf(i int32) []int32 { return n.neighbours(i, providerOf) }

// watchers are the peers that tell.
func (n *routeNet) watchers() {
	w := n.scene.World.Peers
	var who []int32
	kinds := [...]asKind{transit, tier1, regional, transit, regional, tier1, stub, transit, regional, content}
	used := map[int32]bool{n.home: true}
	for k := 0; len(who) < w && k < 50*w; k++ {
		list := n.byKind[kinds[k%len(kinds)]]
		if i := list[n.rng.below(uint64(len(list)))]; !used[i] {
			used[i] = true
			who = append(who, i)
		}
	}
	for k, i := range who {
		a := netip.AddrFrom4([4]byte{198, 18, byte(k / 200), byte(k%200 + 1)})
		p := tellingPeer{RoutePeer: RoutePeer{Address: a, BGPID: a}, node: i, delay: int64(20+n.rng.below(300)) * 1e6}
		if k%5 == 4 {
			p.Address = part(peers6, 128, uint64(k+1)).Addr()
		}
		n.peers = append(n.peers, p)
	}
}

// freeze makes the sessions: from here on the world stands.
func (n *routeNet) freeze() {
	degree := make([]int32, len(n.nodes)+1)
	for _, l := range n.links {
		degree[l.a]++
		degree[l.b]++
	}
	n.first = make([]int32, len(n.nodes)+1)
	for i := range n.nodes {
		n.first[i+1] = n.first[i] + degree[i]
	}
	n.sess = make([]bgpSession, 2*len(n.links))
	fill := slices.Clone(n.first)
	for k, l := range n.links {
		a, b := fill[l.a], fill[l.b]
		fill[l.a]++
		fill[l.b]++
		delay := int64(10+mix(n.scene.Seed, uint64(k)+0xde1a)%240) * 1e6
		n.sess[a] = bgpSession{node: l.a, peer: l.b, link: int32(k), back: b, delay: delay, rel: l.rel, server: l.server}
		n.sess[b] = bgpSession{node: l.b, peer: l.a, link: int32(k), back: a, delay: delay + 3e6, rel: l.rel.turned(), server: l.server}
	}
	for i := range n.peers {
		n.peers[i].AS = n.nodes[n.peers[i].node].as
	}
	n.engine.ready(n)
}

// split takes prefixes of a group into one of their own, which goes the same ways until
// something happens to it.
func (n *routeNet) split(g int32, prefixes ...netip.Prefix) int32 {
	old := &n.groups[g]
	fresh := routeGroup{origin: old.origin, prefixes: slices.Clone(prefixes), only: old.only, prepend: old.prepend, hidden: old.hidden, extra: old.extra}
	old.prefixes = slices.DeleteFunc(slices.Clone(old.prefixes), func(p netip.Prefix) bool { return slices.Contains(prefixes, p) })
	n.groups = append(n.groups, fresh)
	return int32(len(n.groups) - 1)
}

// group makes prefixes known that nobody announces yet.
func (n *routeNet) group(origin int32, prefixes ...netip.Prefix) int32 {
	n.groups = append(n.groups, routeGroup{origin: origin, prefixes: prefixes, hidden: true})
	return int32(len(n.groups) - 1)
}
