package route

import (
	"math/rand/v2"
	"net/netip"
	"unsafe"

	"sakimori/base/pages"
	"sakimori/base/wire/bgp"
	"sakimori/observe"
)

// Table is who announces what. It implements observe.RouteTable. It belongs to one
// goroutine at a time: see Live for several.
type Table struct {
	cfg      Config
	out      []observe.Routes
	prefixes *prefixes
	paths    *paths
	peers    peers
	routers  routers
	counts   Counts
	faults   faults
	routes   int
	now      int64 // of the data: the latest that was told

	wait  waiting
	batch observe.RouteBatch
	list  pages.List

	update bgp.Update // memory of one message
	path   bgp.Path
}

// New makes an empty table; each of out gets every batch in turn.
func New(cfg Config, out ...observe.Routes) (*Table, error) {
	if err := cfg.whole(); err != nil {
		return nil, err
	}
	// Numbers don't depend on the seeds: the same input gives the same output.
	seed := func() [2]uint64 { return [2]uint64{rand.Uint64(), rand.Uint64()} } //nolint:gosec // not a secret of worth: a hash that can't be aimed at
	t := &Table{
		cfg: cfg, out: out, prefixes: newPrefixes(&cfg, seed()), paths: newPaths(cfg.MaxPaths, seed()),
		peers: peers{numbers: map[Key]uint32{}, most: cfg.MaxPeers}, routers: routers{list: map[routerKey]*router{}},
	}
	t.batch.Table = t
	return t, nil
}

// Path implements observe.RouteTable.
func (t *Table) Path(id uint32) *observe.RoutePath {
	if id == 0 || id >= t.paths.next {
		return &nothing
	}
	return &t.paths.shown[id/pathChunk][id%pathChunk]
}

var nothing observe.RoutePath // what 0 is: no path

// Peer implements observe.RouteTable.
func (t *Table) Peer(n uint32) *observe.RoutePeer {
	if n == 0 || int(n) > len(t.peers.list) {
		return &nobody
	}
	return &t.peers.list[n-1].RoutePeer
}

var nobody observe.RoutePeer // what 0 is: no peer

// Prefix implements observe.RouteTable.
func (t *Table) Prefix(n uint32) netip.Prefix {
	if n == 0 || int(n) > t.prefixes.n {
		return netip.Prefix{}
	}
	k := t.prefixes.entries.All[n].key()
	return k.netip()
}

// Number implements observe.RouteTable.
func (t *Table) Number(p netip.Prefix) uint32 {
	if !p.IsValid() {
		return 0
	}
	k := keyOf(p.Masked())
	return t.prefixes.find(&k, t.prefixes.hash(&k))
}

// Cover implements observe.RouteTable.
func (t *Table) Cover(n uint32) uint32 {
	p := t.Prefix(n)
	for p.Bits() > 0 {
		around, m, ok := t.prefixes.tree.LookupPrefixLPM(netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked())
		if !ok {
			return 0
		}
		if t.prefixes.entries.All[m].n > 0 {
			return m
		}
		p = around
	}
	return 0
}

// Around is the longest announced prefix that holds p, p itself included; 0 none. Unlike
// Cover it may be asked of prefixes that nobody ever announced.
func (t *Table) Around(p netip.Prefix) uint32 {
	if !p.IsValid() {
		return 0
	}
	_, m, ok := t.prefixes.tree.LookupPrefixLPM(p.Masked())
	if !ok || t.prefixes.entries.All[m].n > 0 {
		return m
	}
	return t.Cover(m)
}

// Inside implements observe.RouteTable.
func (t *Table) Inside(p netip.Prefix, f func(n uint32) bool) {
	if !p.IsValid() {
		return
	}
	for _, n := range t.prefixes.tree.Subnets(p.Masked()) {
		if t.prefixes.entries.All[n].n > 0 && !f(n) {
			return
		}
	}
}

// All calls f with each prefix that somebody announces, in the order of their numbers,
// until it says no.
func (t *Table) All(f func(n uint32) bool) {
	for n := 1; n <= t.prefixes.n; n++ {
		if t.prefixes.entries.All[n].n > 0 && !f(uint32(n)) {
			return
		}
	}
}

// Of implements observe.RouteTable. A peer with ADD-PATH comes once for each of its routes.
func (t *Table) Of(n uint32, f func(peer, path uint32) bool) {
	if n == 0 || int(n) > t.prefixes.n {
		return
	}
	for _, r := range t.prefixes.routes(&t.prefixes.entries.All[n]) {
		if !f(uint32(r.peer), r.path) {
			return
		}
	}
}

// At implements observe.RouteTable. Of several it is that with the lowest ADD-PATH
// identifier.
func (t *Table) At(n, peer uint32) uint32 {
	if n == 0 || int(n) > t.prefixes.n || peer == 0 || peer > 1<<16-1 {
		return 0
	}
	list := t.prefixes.routes(&t.prefixes.entries.All[n])
	if i, _ := place(list, uint16(peer), 0); i < len(list) && uint32(list[i].peer) == peer {
		return list[i].path
	}
	return 0
}

// Seen implements observe.RouteTable. Of several views of one neighbour the first that
// has routes counts, in the order of observe.RouteView.
func (t *Table) Seen(n uint32) (seen, whole int) {
	if n == 0 || int(n) > t.prefixes.n {
		return 0, 0
	}
	e := &t.prefixes.entries.All[n]
	last := uint16(0)
	for _, r := range t.prefixes.routes(e) {
		if r.peer != last && t.peers.list[r.peer-1].counts {
			seen++
		}
		last = r.peer
	}
	return seen, t.peers.whole[e.family()]
}

// Uses implements observe.RouteTable.
func (t *Table) Uses(path uint32) int {
	if path == 0 || path >= t.paths.next {
		return 0
	}
	return int(t.paths.notes.All[path].uses)
}

// Warm tells whether a whole table is known: that of some peer, from a dump or from the
// beginning of its session on.
func (t *Table) Warm() bool { return t.peers.whole[0]+t.peers.whole[1] > 0 }

// Peers calls f with each peer, in the order of their numbers.
func (t *Table) Peers(f func(*observe.RoutePeer)) {
	for _, p := range t.peers.list {
		f(&p.RoutePeer)
	}
}

// Bytes is the memory of the table: what is used of it, without what Go's own allocator
// adds to the parts that it manages (some 40 bytes a prefix and 140 a path).
func (t *Table) Bytes() int64 {
	const node, shown = 40, int64(unsafe.Sizeof(observe.RoutePath{}))
	p, q := t.prefixes, t.paths
	return int64(len(p.slots.All))*8 + int64(p.n)*(64+node) + int64(p.pool.end)*12 +
		int64(len(q.slots.All))*8 + int64(q.next)*(16+shown) + int64(q.memory.end)*4
}

// Counts gives what there is and what came, as of the last Flush.
func (t *Table) Counts() Counts {
	c := t.counts
	c.Faults = t.faults.list()
	c.Prefixes, c.Numbered, c.Routes, c.Paths, c.Peers, c.Bytes = t.prefixes.live, t.prefixes.n, t.routes, t.paths.used, len(t.peers.list), t.Bytes()
	return c
}
