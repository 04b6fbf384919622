package sim

import (
	"cmp"
	"net/netip"
	"slices"
)

// tellChange notes that a peer has something else for a group now. Where it goes on for a
// while, the group's prefixes change one after the other.
func (n *routeNet) tellChange(g, peer int32, at int64, r route) {
	x := &n.groups[g]
	at += n.peers[peer].delay
	t := telling{at: at, group: g, peer: peer, to: int32(len(x.prefixes)), route: r, gone: r.path < 0}
	if x.spread == 0 {
		n.told = append(n.told, t)
		return
	}
	const each = 200
	all := int64(len(x.prefixes))
	for from := int64(0); from < all; from += each {
		t.from, t.to, t.at = int32(from), int32(min(from+each, all)), at+x.spread*from/all
		n.told = append(n.told, t)
	}
}

// tell hands the scene over.
func (n *routeNet) tell(out RouteSink) (RouteTruth, error) {
	for i := range n.peers {
		n.truth.Peers = append(n.truth.Peers, n.peers[i].RoutePeer)
	}
	if err := out.Begin(n.start, n.truth.Peers); err != nil {
		return RouteTruth{}, err
	}
	if err := n.table(out); err != nil {
		return RouteTruth{}, err
	}
	if err := out.Ready(); err != nil {
		return RouteTruth{}, err
	}
	w := teller{n: n, out: out}
	for _, s := range n.timeline() {
		if s.at >= n.end || n.peers[s.peer].silent != 0 && s.at >= n.peers[s.peer].silent {
			continue
		}
		if err := w.step(&s); err != nil {
			return RouteTruth{}, err
		}
	}
	return n.finish(), nil
}

// step is one thing of a scene's course: exactly one of its parts is there.
type step struct {
	at    int64
	peer  int32
	told  *telling
	raw   *rawTelling
	state int8 // 1 up, -1 down
}

// timeline is everything in order of time, with sessions that end and begin anew: while one
// is away nothing comes, and then the whole table, and what happens meanwhile after it.
func (n *routeNet) timeline() []step {
	const resync = int64(2e9)
	var all []step
	for k := range n.peers {
		p := &n.peers[k]
		if len(p.down) == 0 {
			continue
		}
		has := make([]route, len(n.groups))
		for g := range n.groups {
			has[g] = n.groups[g].start[k]
		}
		mine := 0
		for _, d := range p.down {
			for ; mine < len(n.told) && n.told[mine].at < d.to; mine++ {
				if t := &n.told[mine]; t.peer == int32(k) {
					has[t.group] = t.route
				}
			}
			all = append(all, step{at: d.from, peer: int32(k), state: -1}, step{at: d.to, peer: int32(k), state: 1})
			for g, r := range has {
				if r.path >= 0 && len(n.groups[g].prefixes) > 0 {
					t := &telling{at: d.to + 1 + resync*int64(g)/int64(len(has)), group: int32(g), peer: int32(k), to: int32(len(n.groups[g].prefixes)), route: r}
					all = append(all, step{at: t.at, peer: t.peer, told: t})
				}
			}
			for _, eor := range [...][]byte{endOfRIB4, endOfRIB6} {
				all = append(all, step{at: d.to + resync + 1, peer: int32(k), raw: &rawTelling{message: eor}})
			}
		}
	}
	for i := range n.told {
		t := &n.told[i]
		if n.away(t.peer, t.at) {
			continue
		}
		for _, d := range n.peers[t.peer].down {
			if t.at >= d.to && t.at < d.to+resync+2 {
				t.at = d.to + resync + 2
			}
		}
		all = append(all, step{at: t.at, peer: t.peer, told: t})
	}
	for i := range n.raw {
		if r := &n.raw[i]; !n.away(r.peer, r.at) {
			all = append(all, step{at: r.at, peer: r.peer, raw: r})
		}
	}
	slices.SortStableFunc(all, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return all
}

func (n *routeNet) away(peer int32, at int64) bool {
	return slices.ContainsFunc(n.peers[peer].down, func(s span) bool { return at >= s.from && at < s.to })
}

// table hands over what peers have at the start, prefix by prefix.
func (n *routeNet) table(out RouteSink) error {
	type ref struct {
		p     netip.Prefix
		g     int32
		block int32
	}
	var refs []ref
	for g := range n.groups {
		for i, p := range n.groups[g].prefixes {
			refs = append(refs, ref{p, int32(g), int32(n.block(i))})
		}
	}
	slices.SortFunc(refs, func(a, b ref) int {
		return cmp.Or(a.p.Addr().Compare(b.p.Addr()), cmp.Compare(a.p.Bits(), b.p.Bits()), cmp.Compare(a.g, b.g))
	})
	// Attributes of a group, of each peer and family, are made when first needed.
	made := make([][][2][]RouteEntry, len(n.groups))
	var path []uint32
	for i, r := range refs {
		family := 0
		if r.p.Addr().Is6() {
			family = 1
		}
		for int(r.block) >= len(made[r.g]) {
			made[r.g] = append(made[r.g], [2][]RouteEntry{})
		}
		m := &made[r.g][r.block][family]
		if *m == nil {
			*m = []RouteEntry{}
			for k, x := range n.groups[r.g].start {
				if x.path < 0 {
					continue
				}
				path = n.engine.list(x.path, append(path[:0], n.peers[k].AS))
				e := RouteEntry{Peer: k, Since: n.start/1e9 - int64(mix(uint64(k), uint64(r.g))%864_000)}
				e.Attrs = n.attributes(nil, int32(k), x, path, int(r.block), family == 1)
				*m = append(*m, e)
			}
		}
		if len(*m) == 0 {
			continue
		}
		if i > 0 && refs[i-1].p == r.p { // of several origins: the first group that is told
			if b := &refs[i-1]; len(made[b.g][b.block][family]) > 0 {
				continue
			}
		}
		n.truth.Prefixes++
		n.truth.Entries += len(*m)
		if err := out.Entry(r.p, *m); err != nil {
			return err
		}
	}
	return nil
}

// block is the part of a group to which its i-th prefix belongs.
func (n *routeNet) block(i int) int {
	if s := n.scene.World.Sharing; s > 0 {
		return i / s
	}
	return 0
}

// teller makes messages of what is told.
type teller struct {
	n    *routeNet
	out  RouteSink
	path []uint32
	buf  []byte
}

func (w *teller) step(s *step) error {
	n := w.n
	at := s.at + n.peers[s.peer].ahead
	switch {
	case s.state != 0:
		return w.out.State(at, int(s.peer), s.state > 0)
	case s.raw != nil:
		n.truth.Messages++
		n.truth.Announced += uint64(s.raw.count[0])
		n.truth.Withdrawn += uint64(s.raw.count[1])
		if s.raw.damaged {
			n.truth.Damaged++
		}
		return w.out.Message(at, int(s.peer), s.raw.message)
	}
	t := s.told
	w.path = w.path[:0]
	if !t.gone {
		w.path = n.engine.list(t.route.path, append(w.path, n.peers[t.peer].AS))
	}
	n.count(t, w.path)
	prefixes := n.groups[t.group].prefixes[t.from:t.to]
	for first := int(t.from); len(prefixes) > 0; {
		var took int
		block, some := n.block(first), prefixes
		if s := n.scene.World.Sharing; s > 0 {
			some = prefixes[:min(len(prefixes), s-first%s)]
		}
		w.buf, took = n.update(w.buf[:0], t.peer, t.route, w.path, block, some)
		first += took
		n.truth.Messages++
		if t.gone {
			n.truth.Withdrawn += uint64(took)
		} else {
			n.truth.Announced += uint64(took)
		}
		if err := w.out.Message(at, int(t.peer), w.buf); err != nil {
			return err
		}
		prefixes = prefixes[took:]
	}
	return nil
}
