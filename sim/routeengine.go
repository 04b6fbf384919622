package sim

import (
	"errors"
	"maps"
	"slices"
)

// How an organisation came by a route: lower is better.
const (
	classOwn uint8 = iota
	classCustomer
	classPeer
	classProvider
)

// changeKind is what happens to a group.
type changeKind uint8

const (
	linkDown changeKind = iota
	linkUp
	announce // node has it as its own from now on, with path behind its own number
	withdraw // and no more
	leakOn   // node tells to what it has from `from`, whatever the rules
	leakOff
	prepends // node puts its number in so many times more towards to
	tells    // the origin tells it to these neighbours alone; nil all
)

type change struct {
	at       int64
	kind     changeKind
	link     int32
	node     int32
	to, from int32 // neighbours; from -1 any
	count    int
	tail     []uint32 // announce: the path that it pretends to
	only     []int32
}

// pathNode is an AS path: its first AS, and the rest.
type pathNode struct {
	as   uint32
	rest int32
	n    int32
}

// none is no route.
var none = route{path: -1}

// engine plays BGP between the ASes for one group at a time.
type engine struct {
	paths []pathNode // 0 is the empty path
	index map[uint64]int32

	// By session: what came over it, what went over it, when the next may go.
	in, out []route
	next    []int64
	waits   []bool
	// By node: what it uses, and what it has of its own.
	best, self []route
	telling    []int32 // its number among the peers, -1 none
	downs      []bool  // by link
	leaks      []change
	prep       map[int32]map[int32]int
	only       []int32
	origin     int32
	queue      []delivery
	order      uint64
	buckets    [][]int32
	final      []bool
	offer      []offer
}

type offer struct {
	route
	as uint32
}

type delivery struct {
	at    int64
	order uint64
	sess  int32 // where it arrives; with timer: over which may be told again; -1: a change
	route route
	timer bool
	what  *change
}

func (e *engine) ready(n *routeNet) {
	e.paths, e.index = []pathNode{{}}, map[uint64]int32{}
	e.in, e.out = make([]route, len(n.sess)), make([]route, len(n.sess))
	e.next, e.waits = make([]int64, len(n.sess)), make([]bool, len(n.sess))
	e.best, e.self = make([]route, len(n.nodes)), make([]route, len(n.nodes))
	e.telling, e.downs = make([]int32, len(n.nodes)), make([]bool, len(n.links))
	e.final, e.offer = make([]bool, len(n.nodes)), make([]offer, len(n.nodes))
	for i := range e.telling {
		e.telling[i] = -1
	}
	for k, p := range n.peers {
		e.telling[p.node] = int32(k)
	}
}

// cons is a path with one more AS in front.
func (e *engine) cons(as uint32, rest int32) int32 {
	key := uint64(as)<<32 | uint64(uint32(rest))
	if p, ok := e.index[key]; ok {
		return p
	}
	e.paths = append(e.paths, pathNode{as, rest, e.paths[rest].n + 1})
	p := int32(len(e.paths) - 1)
	e.index[key] = p
	return p
}

func (e *engine) has(path int32, as uint32) bool {
	for ; path > 0; path = e.paths[path].rest {
		if e.paths[path].as == as {
			return true
		}
	}
	return false
}

// list is a path with its first AS first, into a buffer.
func (e *engine) list(path int32, to []uint32) []uint32 {
	for ; path > 0; path = e.paths[path].rest {
		to = append(to, e.paths[path].as)
	}
	return to
}

// exported is what a node tells over a session, none if nothing.
func (e *engine) exported(n *routeNet, s int32) route {
	x := &n.sess[s]
	b := e.best[x.node]
	if b.path < 0 || e.downs[x.link] {
		return none
	}
	if x.rel == peerOf || x.rel == providerOf {
		if (b.class > classCustomer || b.otc != 0 && n.nodes[x.node].roles) && !e.leaking(n, s) {
			return none
		}
	}
	if b.class == classOwn && x.node == e.origin && e.only != nil && !slices.Contains(e.only, x.peer) {
		return none
	}
	as := n.nodes[x.node].as
	path := e.cons(as, b.path)
	for range e.prep[x.node][x.peer] {
		path = e.cons(as, path)
	}
	if x.server != 0 {
		path = e.cons(x.server, path)
	}
	r := route{path: path, otc: b.otc, extra: b.extra}
	if r.otc == 0 && (x.rel == customerOf || x.rel == peerOf) && (n.nodes[x.node].roles || n.nodes[x.peer].roles) {
		r.otc = as
	}
	switch x.rel { // what it is there
	case customerOf:
		r.class = classProvider
	case peerOf:
		r.class = classPeer
	case providerOf:
		r.class = classCustomer
	case siblingOf:
		r.class = max(classCustomer, b.class)
	}
	return r
}

// leaking tells whether a node breaks the rules over a session with what it uses.
func (e *engine) leaking(n *routeNet, s int32) bool {
	x := &n.sess[s]
	for i := range e.leaks {
		l := &e.leaks[i]
		if l.node == x.node && l.to == x.peer && (l.from < 0 || e.paths[e.best[x.node].path].as == n.nodes[l.from].as) {
			return true
		}
	}
	return false
}

// taken is what a node makes of what comes over a session.
func (e *engine) taken(n *routeNet, s int32, r route) route {
	x := &n.sess[s]
	if r.path < 0 || e.has(r.path, n.nodes[x.node].as) {
		return none
	}
	if n.nodes[x.node].roles && r.otc != 0 && (x.rel == customerOf || x.rel == peerOf && r.otc != n.nodes[x.peer].as) {
		return none // RFC 9234, section 5
	}
	return r
}

// better tells whether a route over one session is preferred to that over another.
func (e *engine) better(a route, as uint32, b route, bs uint32) bool {
	switch {
	case a.class != b.class:
		return a.class < b.class
	case e.paths[a.path].n != e.paths[b.path].n:
		return e.paths[a.path].n < e.paths[b.path].n
	}
	return as < bs
}

// begin sets the state in which nothing moves any more.
func (e *engine) begin(n *routeNet, g int32) error {
	x := &n.groups[g]
	e.origin, e.only, e.leaks, e.prep, e.queue = x.origin, x.only, e.leaks[:0], map[int32]map[int32]int{}, e.queue[:0]
	for i, l := range n.links {
		e.downs[i] = l.down
	}
	if x.prepend != nil {
		e.prep[x.origin] = x.prepend
	}
	for i := range e.best {
		e.best[i], e.self[i], e.final[i], e.offer[i] = none, none, false, offer{none, 0}
	}
	for s := range e.in {
		e.in[s], e.out[s], e.next[s], e.waits[s] = none, none, 0, false
	}
	if x.hidden {
		return nil
	}
	e.self[x.origin] = route{class: classOwn, extra: x.extra}
	e.offer[x.origin] = offer{e.self[x.origin], 0}
	// A route never gets better on its way, so that the best offer of all is final (Dijkstra).
	const long = 64
	if e.buckets == nil {
		e.buckets = make([][]int32, 4*long)
	}
	e.buckets[0] = append(e.buckets[0], x.origin)
	for b := range e.buckets {
		for k := 0; k < len(e.buckets[b]); k++ {
			i := e.buckets[b][k]
			if e.final[i] {
				continue
			}
			e.final[i], e.best[i] = true, e.offer[i].route
			for s := n.first[i]; s < n.first[i+1]; s++ {
				y := &n.sess[s]
				r := e.taken(n, y.back, e.exported(n, s))
				if r.path < 0 || e.final[y.peer] {
					continue
				}
				if e.paths[r.path].n >= long {
					return errors.New("a path of 64 ASes: the world is too deep")
				}
				if o := &e.offer[y.peer]; o.path < 0 || e.better(r, n.nodes[i].as, o.route, o.as) {
					*o = offer{r, n.nodes[i].as}
					at := int(r.class)*long + int(e.paths[r.path].n)
					e.buckets[at] = append(e.buckets[at], y.peer)
				}
			}
		}
		e.buckets[b] = e.buckets[b][:0]
	}
	return nil
}

// wire fills what has gone over the sessions.
func (e *engine) wire(n *routeNet) {
	for s := range n.sess {
		e.out[s] = e.exported(n, int32(s))
		e.in[n.sess[s].back] = e.taken(n, n.sess[s].back, e.out[s])
	}
}

// run plays all that happens to a group.
func (e *engine) run(n *routeNet, g int32) error {
	if err := e.begin(n, g); err != nil {
		return err
	}
	x := &n.groups[g]
	x.start = make([]route, len(n.peers))
	for k, p := range n.peers {
		x.start[k] = e.best[p.node]
	}
	if len(x.changes)+len(n.allChanges) == 0 || len(x.prefixes) == 0 {
		return nil
	}
	e.wire(n)
	for _, list := range [...][]change{x.changes, n.allChanges} {
		for i := range list {
			e.push(delivery{at: list[i].at, sess: -1, what: &list[i]})
		}
	}
	for steps := 0; len(e.queue) > 0; steps++ {
		if steps > 5_000_000 {
			return errors.New("the routes don't come to rest")
		}
		d := e.pop()
		switch {
		case d.what != nil:
			e.happen(n, g, d.at, d.what)
		case d.timer:
			e.waits[d.sess] = false
			e.export(n, d.sess, d.at)
		case !e.downs[n.sess[d.sess].link]:
			e.in[d.sess] = e.taken(n, d.sess, d.route)
			e.decide(n, g, n.sess[d.sess].node, d.at)
		}
	}
	return nil
}

func (e *engine) decide(n *routeNet, g, i int32, at int64) {
	best, as := e.self[i], uint32(0)
	if best.path < 0 {
		for s := n.first[i]; s < n.first[i+1]; s++ {
			if r := e.in[s]; r.path >= 0 && (best.path < 0 || e.better(r, n.nodes[n.sess[s].peer].as, best, as)) {
				best, as = r, n.nodes[n.sess[s].peer].as
			}
		}
	}
	if best == e.best[i] {
		return
	}
	e.best[i] = best
	if k := e.telling[i]; k >= 0 {
		n.tellChange(g, k, at, best)
	}
	e.exports(n, i, at)
}

func (e *engine) exports(n *routeNet, i int32, at int64) {
	for s := n.first[i]; s < n.first[i+1]; s++ {
		e.export(n, s, at)
	}
}

// export sends what is new over a session: a withdrawal at once, an announcement when the
// timer allows it.
func (e *engine) export(n *routeNet, s int32, at int64) {
	x := &n.sess[s]
	r := e.exported(n, s)
	if r == e.out[s] || e.downs[x.link] {
		return
	}
	if r.path >= 0 {
		if at < e.next[s] {
			if !e.waits[s] {
				e.waits[s] = true
				e.push(delivery{at: e.next[s], sess: s, timer: true})
			}
			return
		}
		e.next[s] = at + n.nodes[x.node].mrai
	}
	e.out[s] = r
	e.push(delivery{at: at + x.delay, sess: x.back, route: r})
}

func (e *engine) happen(n *routeNet, g int32, at int64, c *change) {
	switch c.kind {
	case linkDown, linkUp:
		l := n.links[c.link]
		e.downs[c.link] = c.kind == linkDown
		for _, i := range [...]int32{l.a, l.b} {
			for s := n.first[i]; s < n.first[i+1]; s++ {
				if n.sess[s].link == c.link {
					e.in[s], e.out[s], e.next[s] = none, none, 0
				}
			}
		}
		for _, i := range [...]int32{l.a, l.b} {
			e.decide(n, g, i, at)
			e.exports(n, i, at)
		}
	case announce:
		path := int32(0)
		for _, as := range slices.Backward(c.tail) {
			path = e.cons(as, path)
		}
		e.self[c.node] = route{path: path, class: classOwn, extra: uint16(c.count)}
		e.decide(n, g, c.node, at)
	case withdraw:
		e.self[c.node] = none
		e.decide(n, g, c.node, at)
	case leakOn:
		e.leaks = append(e.leaks, *c)
		e.exports(n, c.node, at)
	case leakOff:
		e.leaks = slices.DeleteFunc(e.leaks, func(l change) bool { return l.node == c.node && l.to == c.to && l.from == c.from })
		e.exports(n, c.node, at)
	case prepends:
		m := map[int32]int{} // the group's own isn't touched
		maps.Copy(m, e.prep[c.node])
		m[c.to] = c.count
		e.prep[c.node] = m
		e.exports(n, c.node, at)
	case tells:
		e.only = c.only
		e.exports(n, c.node, at)
	}
}

// A heap of what is on its way, the earliest first.

func (a *delivery) before(b *delivery) bool {
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (e *engine) push(d delivery) {
	e.order++
	d.order = e.order
	e.queue = append(e.queue, d)
	q := e.queue
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if !q[i].before(&q[up]) {
			break
		}
		q[i], q[up] = q[up], q[i]
		i = up
	}
}

func (e *engine) pop() delivery {
	q := e.queue
	top := q[0]
	last := len(q) - 1
	q[0] = q[last]
	q = q[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q); c++ {
			if q[c].before(&q[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
	e.queue = q
	return top
}
