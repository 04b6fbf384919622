package sim

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RouteLeak is somebody who passes on what he may not (RFC 7908), for a while. Who that is,
// from whom and to whom, is chosen so that it shows.
type RouteLeak struct {
	Type     int // 1 provider to provider, 2 peer to peer, 3 provider to peer, 4 peer to provider
	Prefixes int // so many
	At, For  time.Duration
	Times    int           // how often; 0 once
	Pause    time.Duration // between them
	Within   time.Duration // the routes come within so long; 0: at once
	Alone    bool          // exactly one peer sees it
	Both     bool          // of types 1 and 4: it goes to all its providers
	Own      bool          // the operator's and its customers' routes are among them
	Hidden   bool          // files of relations know nothing of the leaker's links
	Marked   bool          // the routes carry OTC, and the link that they came by is in no file
	Signals  []string
}

// leakWay is one possible leak.
type leakWay struct {
	leaker, from int32
	to           []int32
}

// direct tells whether two are neighbours with no route server between them.
func (n *routeNet) direct(a, b int32) bool {
	k := n.linked(a, b)
	return k >= 0 && n.links[k].server == 0 && !n.links[k].down
}

// ways are all possible leaks of a type, in an order of chance.
func (l *RouteLeak) ways(n *routeNet, r *rng) (list []leakWay) {
	rels := [...][2]asRel{1: {providerOf, providerOf}, 2: {peerOf, peerOf}, 3: {providerOf, peerOf}, 4: {peerOf, providerOf}}[l.Type]
	kinds := [...][]asKind{1: {stub, regional}, 2: {regional, transit}, 3: {regional, transit}, 4: {regional, content}}[l.Type]
	for _, k := range kinds {
		for _, i := range n.byKind[k] {
			if i == n.home || n.leaks[i] || n.nodes[i].roles {
				continue
			}
			to := n.neighbours(i, rels[1])
			for _, from := range n.neighbours(i, rels[0]) {
				if !n.direct(i, from) {
					continue
				}
				var all []int32
				for _, t := range to {
					if t != from && n.direct(i, t) && !n.nodes[t].roles {
						all = append(all, t)
					}
				}
				if l.Both && len(all) > 1 {
					list = append(list, leakWay{i, from, all})
				}
				for _, t := range all {
					if !l.Both {
						list = append(list, leakWay{i, from, []int32{t}})
					}
				}
			}
		}
	}
	for i := range list {
		j := i + int(r.below(uint64(len(list)-i)))
		list[i], list[j] = list[j], list[i]
	}
	return list
}

func (l RouteLeak) cast(n *routeNet, r *rng) error {
	if l.Type < 1 || l.Type > 4 || l.Prefixes < 1 || l.For <= 0 {
		return errors.New("a leak has a type from 1 to 4, prefixes and a length")
	}
	n.then(func() error {
		const tries = 4000
		for k, w := range l.ways(n, r) {
			if k == tries {
				break
			}
			if groups := l.fits(n, &w); groups != nil {
				l.happens(n, r, &w, groups)
				return nil
			}
		}
		return fmt.Errorf("no AS of this world could leak so (type %d, %d prefixes)", l.Type, l.Prefixes)
	})
	return nil
}

// fits are the groups that would leak so, nil if it wouldn't show.
func (l *RouteLeak) fits(n *routeNet, w *leakWay) (groups []int32) {
	n.lookAround()
	count := 0
	var mine []int32
	for g := range n.groups {
		x := &n.groups[g]
		// What has events of its own is left to them.
		if len(x.changes) > 0 || x.only != nil || x.hidden || x.origin == w.leaker || len(x.prefixes) == 0 || !l.goes(n, int32(g), w) {
			continue
		}
		if n.isOwn(x.origin) {
			mine = append(mine, int32(g))
			continue
		}
		groups = append(groups, int32(g))
	}
	if l.Own {
		if len(mine) == 0 {
			return nil
		}
		groups = slices.Concat(mine, groups)
	}
	for _, g := range groups {
		count += len(n.groups[g].prefixes)
	}
	if count < l.Prefixes {
		return nil
	}
	count = 0
	slices.SortStableFunc(groups, func(a, b int32) int { // small ones first where only some are wanted
		if l.Prefixes > 2000 || l.Own {
			return 0
		}
		return cmp.Compare(len(n.groups[a].prefixes), len(n.groups[b].prefixes))
	})
	seen := map[int32]bool{}
	all := groups[:0]
	for i, g := range groups {
		if count >= l.Prefixes {
			break
		}
		peers := n.trial(g, w.rules(0, 0)[:len(w.to)], func(path []uint32) bool { return shows(n, path, w) })
		if len(peers) == 0 || l.Alone && len(peers) != 1 {
			if i > 60 && len(all) == 0 {
				return nil
			}
			continue
		}
		for _, p := range peers {
			seen[p] = true
		}
		all = append(all, g)
		count += len(n.groups[g].prefixes)
	}
	// What goes to a provider is seen far and wide; what goes to a peer, by his customers alone.
	least := 3
	if l.Type == 2 || l.Type == 3 {
		least = 2
	}
	if count < l.Prefixes || l.Alone && len(seen) != 1 || !l.Alone && len(seen) < least {
		return nil
	}
	if last := all[len(all)-1]; count > l.Prefixes {
		p := n.groups[last].prefixes
		all[len(all)-1] = n.split(last, p[:len(p)-(count-l.Prefixes)]...)
	}
	return slices.Clone(all)
}

// goes tells whether the leaker has a group's route from there, and somebody would take it.
func (l *RouteLeak) goes(n *routeNet, g int32, w *leakWay) bool {
	e := &n.engine
	b := n.around[g][w.leaker]
	if b.path <= 0 || e.paths[b.path].as != n.nodes[w.from].as || l.Marked && b.otc == 0 {
		return false
	}
	for _, t := range w.to {
		if e.has(b.path, n.nodes[t].as) || n.groups[g].origin == t {
			return false
		}
		if have := n.around[g][t]; have.path >= 0 && have.class <= classCustomer {
			return false
		}
	}
	return true
}

// shows tells whether a path has the leaker between two that it may not connect.
func shows(n *routeNet, path []uint32, w *leakWay) bool {
	for i := 1; i+1 < len(path); i++ {
		if path[i] == n.nodes[w.leaker].as && path[i+1] == n.nodes[w.from].as {
			for _, t := range w.to {
				if path[i-1] == n.nodes[t].as {
					return true
				}
			}
		}
	}
	return false
}

// rules are the changes that make it.
func (w *leakWay) rules(on, off int64) (list []change) {
	for _, t := range w.to {
		list = append(list, change{at: on, kind: leakOn, node: w.leaker, to: t, from: w.from})
	}
	for _, t := range w.to {
		list = append(list, change{at: off, kind: leakOff, node: w.leaker, to: t, from: w.from})
	}
	return list
}

func (l *RouteLeak) happens(n *routeNet, r *rng, w *leakWay, groups []int32) {
	for k, g := range groups {
		later := int64(l.Within) * int64(k) / int64(len(groups))
		for i := range max(1, l.Times) {
			on := n.at(l.At+time.Duration(i)*(l.For+l.Pause)) + later + int64(r.below(1e9))
			n.groups[g].changes = append(n.groups[g].changes, w.rules(on, on+int64(l.For))...)
		}
	}
	n.leaks[w.leaker] = true
	links := []int32{n.linked(w.leaker, w.from)}
	if l.Hidden {
		for _, t := range w.to {
			links = append(links, n.linked(w.leaker, t))
		}
	}
	for _, k := range links {
		n.links[k].unknown = n.links[k].unknown || l.Hidden || l.Marked
	}
	as := func(i int32) uint32 { return n.nodes[i].as }
	i := RouteIncident{Kind: "leak", Form: fmt.Sprintf("type %d", l.Type), Leaker: as(w.leaker), From: as(w.from), Onset: time.Unix(0, n.at(l.At)).UTC(), Signals: l.Signals}
	if len(w.to) == 1 {
		i.To = as(w.to[0])
		i.Adjacency = fmt.Sprintf("%d-%d", i.To, i.Leaker)
	}
	if l.Hidden || l.Marked {
		i.Form = "" // who could tell?
	}
	if i.Signals == nil {
		i.Signals = []string{"valley"}
	}
	for _, g := range groups {
		i.Expected = addAS(i.Expected, as(n.groups[g].origin))
	}
	n.incident(i, func(path []uint32) bool { return shows(n, path, w) }, groups...)
}

func (n *routeNet) isOwn(i int32) bool {
	return slices.ContainsFunc(n.truth.Knows.Own, func(o RouteOwn) bool { return slices.Contains(o.Origins, n.nodes[i].as) })
}

// lookAround computes what everybody uses before anything happens, once.
func (n *routeNet) lookAround() {
	for g := len(n.around); g < len(n.groups); g++ {
		if err := n.engine.begin(n, int32(g)); err != nil {
			panic(err) // the same is an error in run
		}
		n.around = append(n.around, slices.Clone(n.engine.best))
	}
}

// trial plays changes of a group and says which peers would have a path that shows it.
func (n *routeNet) trial(g int32, changes []change, shows func(path []uint32) bool) (peers []int32) {
	x := &n.groups[g]
	kept, told := x.changes, len(n.told)
	x.changes = append(slices.Clone(kept), changes...)
	defer func() { x.changes, n.told = kept, n.told[:told] }()
	if n.engine.run(n, g) != nil {
		return nil
	}
	var path []uint32
	for _, t := range n.told[told:] {
		if t.gone || slices.Contains(peers, t.peer) {
			continue
		}
		if path = n.engine.list(t.route.path, append(path[:0], n.peers[t.peer].AS)); shows(path) {
			peers = append(peers, t.peer)
		}
	}
	return peers
}

// RouteInternals is somebody whose more-specifics leave the own network (RFC 7908, type 6):
// by one of its providers, and longer than its ROA allows.
type RouteInternals struct {
	Prefixes int
	At, For  time.Duration
}

func (l RouteInternals) cast(n *routeNet, r *rng) error {
	i := n.byKind[regional][5+r.below(10)]
	if i == n.home {
		i = n.byKind[regional][4]
	}
	providers := n.providersOf(i)
	whole, err := n.free4(24 - bitsFor(l.Prefixes))
	if err != nil {
		return err
	}
	n.groups[i].prefixes = append(n.groups[i].prefixes, whole)
	n.roa(whole, whole.Bits(), n.nodes[i].as)
	var inside []netip.Prefix
	for k := range l.Prefixes {
		inside = append(inside, part(whole, 24, uint64(k)))
	}
	g := n.group(i, inside...)
	n.groups[g].only = providers[:1]
	n.groups[g].changes = []change{{at: n.at(l.At), kind: announce, node: i}, {at: n.at(l.At + l.For), kind: withdraw, node: i}}
	as, to := n.nodes[i].as, n.nodes[providers[0]].as
	n.incident(RouteIncident{
		Kind: "leak", Form: "type 6", Leaker: as, To: to, Adjacency: fmt.Sprintf("%d-%d", to, as), Expected: []uint32{as},
		Onset: time.Unix(0, n.at(l.At)).UTC(), Signals: []string{"more-specific-burst"},
	}, func(path []uint32) bool { return path[len(path)-1] == as }, g)
	return nil
}

// bitsFor is how many bits number so many.
func bitsFor(n int) (bits int) {
	for 1<<bits < n {
		bits++
	}
	return bits
}
