package route_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/base/wire/bgp"
	"sakimori/observe"
	"sakimori/observe/route"
)

const epoch = int64(1_700_000_000) * 1e9

// model is what a table should be: maps and loops.
type model struct {
	routes map[lane]string
	ever   map[netip.Prefix]bool
}

// lane is what a route stands for.
type lane struct {
	prefix netip.Prefix
	peer   uint32
	id     uint32
}

// mirror follows the batches of a table and holds them against the model.
type mirror struct {
	t      *testing.T
	routes map[lane]string
	last   []observe.Route
	all    int
	marks  map[observe.RouteMarks]int
}

func (m *mirror) Routed(b *observe.RouteBatch) {
	m.last = append(m.last, b.Routes...)
	for _, r := range b.Routes {
		k := lane{b.Table.Prefix(r.Prefix), r.Peer, r.ID}
		was := ""
		if r.Was != 0 {
			was = words(b.Table.Path(r.Was))
		}
		if m.routes[k] != was {
			m.t.Fatalf("%v: was %q, the change says %q", k, m.routes[k], was)
		}
		if r.Path == 0 {
			delete(m.routes, k)
		} else {
			m.routes[k] = words(b.Table.Path(r.Path))
		}
		m.all++
		m.marks[r.Marks]++
		if r.Message != 0 && r.Marks&observe.RouteState == 0 && len(b.Messages[r.Message-1]) < 19 {
			m.t.Fatalf("%v: a message of %d bytes", k, len(b.Messages[r.Message-1]))
		}
	}
}

func words(p *observe.RoutePath) string {
	return fmt.Sprintln(p.ASes, p.Communities, p.NextHop, p.Origin, p.Set)
}

func newMirror(t *testing.T) *mirror {
	return &mirror{t: t, routes: map[lane]string{}, marks: map[observe.RouteMarks]int{}}
}

func table(tb testing.TB, c route.Config, out ...observe.Routes) *route.Table {
	tb.Helper()
	t, err := route.New(c, out...)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

func peers(t *route.Table, n int) (list []uint32) {
	for i := range n {
		list = append(list, t.PeerOf(route.Key{Feed: "test", Address: address(i), AS: uint32(64500 + i)}, epoch))
	}
	return list
}

// prefixesOf are some that lie in each other.
func someOf(r *rand.Rand, v6 bool) netip.Prefix {
	if v6 {
		a := netip.MustParseAddr("2001:db8::").As16()
		a[4], a[6] = byte(r.IntN(3)), byte(r.IntN(4))<<6
		return netip.PrefixFrom(netip.AddrFrom16(a), []int{29, 32, 40, 48, 50, 64, 128}[r.IntN(7)]).Masked()
	}
	a := [4]byte{byte(r.IntN(2)) * 203, byte(r.IntN(3)), byte(r.IntN(4)) << 6, 0}
	return netip.PrefixFrom(netip.AddrFrom4(a), []int{0, 4, 8, 12, 15, 16, 17, 18, 24, 32}[r.IntN(10)]).Masked()
}

// TestModel: random announcements, withdrawals, ends of sessions and damaged messages, of
// peers with and without ADD-PATH, leave what maps leave.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := newMirror(t)
		tab := table(t, route.Config{Batch: 1 + r.IntN(40), Grace: -1, MaxPrefixes: 4096, MaxPaths: 4096, MaxRoutes: 1 << 14, MaxPeers: 64}, m)
		list := peers(tab, 12)
		want := model{map[lane]string{}, map[netip.Prefix]bool{}}
		now := epoch
		for step := range 4000 {
			now += int64(r.IntN(3e8))
			peer := list[r.IntN(len(list))]
			s := said{ases: []uint32{64500 + peer - 1}, with: peer%3 == 0}
			o := bgp.Options{AS4: true}
			if s.with {
				s.id = uint32(r.IntN(4))
				o.AddPath = 0xff
			}
			for range r.IntN(3) {
				s.ases = append(s.ases, uint32(1+r.IntN(5)))
			}
			for range r.IntN(3) {
				s.communities = append(s.communities, uint32(r.IntN(2)))
			}
			v6 := r.IntN(3) == 0
			var listed []netip.Prefix
			for range 1 + r.IntN(4) {
				listed = append(listed, someOf(r, v6))
			}
			switch what := r.IntN(20); {
			case what < 10:
				s.announce = listed
			case what < 16:
				s.withdraw = listed
			case what < 17:
				s.announce, s.broken = listed, true
			case what < 18 && step%10 == 0:
				tab.Down(peer, now)
				maps.DeleteFunc(want.routes, func(l lane, _ string) bool { return l.peer == peer })
				tab.Up(peer, now, netip.Addr{})
				continue
			default:
				if r.IntN(40) > 0 { // it takes long
					continue
				}
				tab.Flush()
				agree(t, tab, m, &want, r)
				continue
			}
			if err := tab.Update(peer, o, s.bytes(), now); (err != nil) != s.broken {
				t.Fatal(err)
			}
			for _, p := range listed {
				l := lane{p, peer, s.id}
				if s.announce == nil || s.broken {
					delete(want.routes, l)
					continue
				}
				hop, origin := "192.0.2.1", s.ases[len(s.ases)-1]
				if v6 {
					hop = "2001:db8::1"
				}
				c := s.communities
				if c == nil {
					c = []uint32{}
				}
				want.routes[l] = fmt.Sprintln(s.ases, c, hop, origin, false)
				want.ever[p] = true
			}
		}
		tab.Flush()
		agree(t, tab, m, &want, r)
		if c := tab.Counts(); c.Routes != len(want.routes) || c.Numbered != len(want.ever) || c.Malformed == 0 || c.Unchanged == 0 {
			t.Errorf("counts %+v, of %d routes and %d prefixes", c, len(want.routes), len(want.ever))
		}
		for _, peer := range list {
			tab.Down(peer, now)
		}
		if c := tab.Counts(); c.Routes+c.Paths+c.Prefixes != 0 || len(m.routes) != 0 {
			t.Errorf("nobody is left, and yet there are %+v", c)
		}
	}
}

// agree holds a table against the model, with all that may be asked of it.
func agree(t *testing.T, tab *route.Table, m *mirror, want *model, r *rand.Rand) {
	t.Helper()
	if !maps.Equal(m.routes, want.routes) {
		t.Fatalf("the changes give %v, the model has %v", m.routes, want.routes)
	}
	live, uses := map[netip.Prefix]map[uint32]bool{}, map[string]int{}
	for l, words := range want.routes {
		if live[l.prefix] == nil {
			live[l.prefix] = map[uint32]bool{}
		}
		live[l.prefix][l.peer] = true
		uses[words]++
	}
	for p := range want.ever {
		n := tab.Number(p)
		if n == 0 || tab.Prefix(n) != p {
			t.Fatalf("%s has number %d, which is %s", p, n, tab.Prefix(n))
		}
		cover := netip.Prefix{}
		for q := range live {
			if q.Bits() < p.Bits() && q.Addr().Is4() == p.Addr().Is4() && q.Contains(p.Addr()) && (!cover.IsValid() || q.Bits() > cover.Bits()) {
				cover = q
			}
		}
		if got := tab.Prefix(tab.Cover(n)); got != cover {
			t.Fatalf("around %s is %s, not %s", p, got, cover)
		}
		if seen, _ := tab.Seen(n); seen != len(live[p]) {
			t.Fatalf("%s is seen by %d, not %d", p, seen, len(live[p]))
		}
		got := map[uint32]int{}
		tab.Of(n, func(peer, path uint32) bool {
			got[peer]++
			if w := words(tab.Path(path)); tab.Uses(path) != uses[w] {
				t.Fatalf("path %s has %d uses, not %d", w, tab.Uses(path), uses[w])
			}
			return true
		})
		for peer := range uint32(13) {
			k := 0
			for id := range uint32(4) {
				if w, ok := want.routes[lane{p, peer, id}]; ok {
					if k++; k == 1 && words(tab.Path(tab.At(n, peer))) != w {
						t.Fatalf("%s of %d is %v, not %s", p, peer, tab.Path(tab.At(n, peer)), w)
					}
				}
			}
			if got[peer] != k || k == 0 && tab.At(n, peer) != 0 {
				t.Fatalf("%s of %d: %d routes, not %d", p, peer, got[peer], k)
			}
		}
	}
	p := someOf(r, r.IntN(2) == 0)
	shown := map[observe.RouteMatch]int{}
	for _, x := range tab.Show(observe.RouteQuery{Prefix: p, Limit: 1000}).Routes {
		shown[x.Match]++
		if w := want.routes[lane{x.Prefix, x.Peer.Number, x.ID}]; w != words(&x.Path) {
			t.Fatalf("%s shows %s by %d, not %s", p, words(&x.Path), x.Peer.Number, w)
		}
	}
	around := netip.Prefix{}
	for q := range live {
		if q.Bits() < p.Bits() && q.Addr().Is4() == p.Addr().Is4() && q.Contains(p.Addr()) && (!around.IsValid() || q.Bits() > around.Bits()) {
			around = q
		}
	}
	for l := range want.routes {
		switch {
		case l.prefix == p:
			shown[observe.RouteExact]--
		case l.prefix == around:
			shown[observe.RouteCover]--
		case l.prefix.Bits() > p.Bits() && l.prefix.Addr().Is4() == p.Addr().Is4() && p.Contains(l.prefix.Addr()):
			shown[observe.RouteInside]--
		}
	}
	for match, n := range shown {
		if n != 0 {
			t.Fatalf("%s shows %d routes too many, %s", p, n, match)
		}
	}
	var inside, should []string
	tab.Inside(p, func(n uint32) bool {
		inside = append(inside, tab.Prefix(n).String())
		return true
	})
	for q := range live {
		if q.Bits() >= p.Bits() && q.Addr().Is4() == p.Addr().Is4() && p.Contains(q.Addr()) {
			should = append(should, q.String())
		}
	}
	slices.Sort(inside)
	slices.Sort(should)
	if !slices.Equal(inside, should) {
		t.Fatalf("inside %s: %v, not %v", p, inside, should)
	}
}

// TestResync: a peer whose session ended and that comes back gives what differs, and
// nothing else; who doesn't come back is gone after the grace.
func TestResync(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	p := peers(tab, 2)
	var list []netip.Prefix
	for i := range 1000 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 0}), 24))
	}
	tell := func(peer uint32, at int64, last uint32, list []netip.Prefix) {
		t.Helper()
		for part := range slices.Chunk(list, 100) {
			if err := tab.Update(peer, four, said{announce: part, ases: []uint32{64500, last}}.bytes(), at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, peer := range p {
		tab.Up(peer, epoch, address(1))
		tell(peer, epoch+1e9, 1, list)
		if err := tab.Update(peer, four, endOfRIB(), epoch+2e9); err != nil {
			t.Fatal(err)
		}
	}
	if m.all != 2000 || m.marks[observe.RouteState|observe.RouteFirst] != 1000 || m.marks[observe.RouteState] != 1000 || !tab.Warm() {
		t.Fatalf("%d changes, %v", m.all, m.marks)
	}
	tell(p[0], epoch+3e9, 2, list[:7]) // after the first table: news
	tab.Flush()
	if m.marks[0] != 7 {
		t.Fatalf("%v", m.marks)
	}
	for i := range int64(3) { // the third is cut off by the fourth
		m.all, m.marks = 0, map[observe.RouteMarks]int{}
		at := epoch + 100e9 + i*40e9
		if i < 2 {
			tab.Down(p[0], at)
		}
		tab.Up(p[0], at+10e9, address(1))
		tell(p[0], at+11e9, 2, list[:7])
		tell(p[0], at+11e9, 1, list[7:500])
		tab.Flush()
		if m.all != 0 {
			t.Fatalf("a table that came again gave %v", m.marks)
		}
	}
	at := epoch + 200e9
	tell(p[0], at, 3, list[500:510])
	if err := tab.Update(p[0], four, endOfRIB(), at); err != nil {
		t.Fatal(err)
	}
	if m.marks[observe.RouteState] != 10 || m.marks[observe.RouteDown] != 490 || m.all != 500 {
		t.Fatalf("10 changed and 490 are gone: %v", m.marks)
	}
	if q := tab.Peer(p[0]); q.Resets != 3 || q.Routes != 510 || !q.Up || q.Changes != 7 || q.ServesAll {
		t.Errorf("%+v", q)
	}
	if seen, whole := tab.Seen(tab.Number(list[999])); seen != 1 || whole != 1 {
		t.Errorf("seen by %d of %d", seen, whole)
	}
	m.all, m.marks = 0, map[observe.RouteMarks]int{}
	tab.Down(p[1], at)
	tab.Tick(at + 119e9)
	if m.all != 0 || tab.Peer(p[1]).Routes != 1000 || tab.Peer(p[1]).Up {
		t.Fatalf("gone before the grace: %v", m.marks)
	}
	tab.Tick(at + 120e9)
	if m.marks[observe.RouteDown] != 1000 || tab.Counts().Routes != 510 {
		t.Fatalf("after the grace: %v, %d routes", m.marks, tab.Counts().Routes)
	}
}

// TestFirstTable: without End-of-RIB a first table is over when hardly anything new comes,
// and when ten minutes are.
func TestFirstTable(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	p := peers(tab, 2)
	tab.Up(p[0], epoch, netip.Addr{})
	n := 0
	tell := func(peer uint32, minute, some int) {
		for range some {
			x := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(n >> 8), byte(n), 0}), 24)
			n++
			if err := tab.Update(peer, four, said{announce: []netip.Prefix{x}, ases: []uint32{1}}.bytes(), epoch+int64(minute)*60e9+1e9); err != nil {
				t.Fatal(err)
			}
		}
		tab.Flush()
	}
	tell(p[0], 0, 1000)
	tell(p[0], 1, 9) // of the minute before it 1,000 came
	tell(p[0], 2, 1) // and of this one 9
	if news := m.marks[observe.RouteFirst]; news != 1 || m.marks[observe.RouteState|observe.RouteFirst] != 1009 {
		t.Errorf("%v", m.marks)
	}
	tell(p[1], 2, 5) // its session wasn't seen to begin
	if m.marks[observe.RouteFirst] != 6 || tab.Peer(p[1]).ServesAll {
		t.Errorf("%v", m.marks)
	}
	tab.Up(p[1], epoch+3*60e9, netip.Addr{})
	for minute := range 11 { // it goes on and on
		tell(p[1], 3+minute, 100)
	}
	if m.marks[observe.RouteFirst] != 6+100 {
		t.Errorf("after ten minutes: %v", m.marks)
	}
}

// TestBounds: beyond its bounds a table refuses, counts, and stays right.
func TestBounds(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	tab := table(t, route.Config{MaxPrefixes: 10, MaxPaths: 5, MaxRoutes: 12, MaxPeers: 2}, m)
	p := peers(tab, 3)
	if p[2] != 0 || tab.Counts().Refused.Peers != 1 {
		t.Fatalf("%v", p)
	}
	tell := func(peer uint32, i, path int) {
		x := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 0, byte(i), 0}), 24)
		if err := tab.Update(peer, four, said{announce: []netip.Prefix{x}, ases: []uint32{uint32(path)}}.bytes(), epoch); err != nil {
			t.Fatal(err)
		}
		tab.Flush()
	}
	for i := range 15 {
		tell(p[0], i, 1)
		tell(p[1], i, 1)
	}
	if c := tab.Counts(); c.Refused.Prefixes != 10 || c.Refused.Routes != 8 || c.Routes != 12 || len(m.routes) != 12 {
		t.Errorf("%+v", c)
	}
	for i := range 6 {
		tell(p[0], i, 10+i)
	}
	if c := tab.Counts(); c.Refused.Paths != 2 || c.Paths != 5 || c.Routes != 10 || len(m.routes) != 10 {
		t.Errorf("%+v", c) // who has no room for its path says nothing any more
	}
	tell(p[0], 0, 1) // and room that is free is used again
	tell(p[0], 5, 10)
	if c := tab.Counts(); c.Refused.Paths != 2 || c.Routes != 11 {
		t.Errorf("%+v", c)
	}
	if _, err := route.New(route.Config{MaxPeers: 1 << 20}); err == nil {
		t.Error("a million peers were taken")
	}
}

// TestDamped: who tells the same prefixes again and again isn't believed; whoever converges is.
func TestDamped(t *testing.T) {
	t.Parallel()
	tab := table(t, route.Config{})
	p := peers(tab, 3)
	list := func(from, n int) (l []netip.Prefix) {
		for i := from; i < from+n; i++ {
			l = append(l, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 0}), 24))
		}
		return l
	}
	say := func(peer uint32, at int64, s said) {
		if err := tab.Update(peer, four, s.bytes(), at); err != nil {
			t.Fatal(err)
		}
	}
	for s := range int64(400) {
		at := epoch + s*1e9
		say(p[0], at, said{announce: list(0, 50), ases: []uint32{64500, uint32(1 + s%2)}})
		if s%2 == 0 {
			say(p[2], at, said{announce: list(0, 50), ases: []uint32{64502, 1}})
		} else {
			say(p[2], at, said{withdraw: list(0, 50)})
		}
		if s < 8 { // eight steps to the way that stays
			say(p[1], at, said{announce: list(0, 500), ases: []uint32{64501, uint32(s)}})
		}
	}
	if !tab.Peer(p[0]).Damped || tab.Peer(p[1]).Damped || !tab.Peer(p[2]).Damped {
		t.Errorf("damped: %v %v %v", tab.Peer(p[0]).Damped, tab.Peer(p[1]).Damped, tab.Peer(p[2]).Damped)
	}
	for m := range int64(60) {
		tab.Tick(epoch + 400e9 + m*60e9)
	}
	if tab.Peer(p[0]).Damped {
		t.Error("who has calmed down isn't believed again")
	}
}

// TestViews: the same neighbour before and after policy is one that sees; what a router
// announces itself is none.
func TestViews(t *testing.T) {
	t.Parallel()
	tab := table(t, route.Config{})
	x := netip.MustParsePrefix("198.51.100.0/24")
	for _, v := range []observe.RouteView{observe.RouteAdjInPost, observe.RouteLocal, observe.RouteAdjOut, observe.RouteAdjIn} {
		k := route.Key{Feed: "edge", Router: address(1), Address: address(2), AS: 64501, View: v}
		if err := tab.Update(tab.PeerOf(k, epoch), four, said{announce: []netip.Prefix{x}, ases: []uint32{64501}}.bytes(), epoch); err != nil {
			t.Fatal(err)
		}
	}
	tab.Flush()
	if seen, _ := tab.Seen(tab.Number(x)); seen != 1 {
		t.Errorf("seen by %d", seen)
	}
	k := route.Key{Feed: "edge", Router: address(1), Address: address(2), AS: 64501, View: observe.RouteAdjIn}
	if err := tab.Update(tab.PeerOf(k, epoch), four, said{withdraw: []netip.Prefix{x}}.bytes(), epoch); err != nil {
		t.Fatal(err)
	}
	tab.Flush()
	if seen, _ := tab.Seen(tab.Number(x)); seen != 1 {
		t.Errorf("after policy it is seen by %d", seen)
	}
	var views []string
	tab.Peers(func(p *observe.RoutePeer) { views = append(views, p.View.String()) })
	slices.SortFunc(views, cmp.Compare)
	if len(views) != 4 || tab.Peer(1).Last != time.Unix(0, epoch).UTC() || tab.Peer(1).RouteServer {
		t.Errorf("%v %+v", views, tab.Peer(1))
	}
}

// TestAllocations: what is known costs none.
func TestAllocations(t *testing.T) {
	n := 0
	tab := table(t, route.Config{MaxPrefixes: 1 << 16, MaxPaths: 1 << 12, MaxRoutes: 1 << 18}, counter{&n})
	p := peers(tab, 4)
	x := netip.MustParsePrefix("198.51.100.0/24")
	one, two := said{announce: []netip.Prefix{x}, ases: []uint32{1, 2, 3}}.bytes(), said{announce: []netip.Prefix{x}, ases: []uint32{1, 3}}.bytes()
	gone := said{withdraw: []netip.Prefix{x}}.bytes()
	at := epoch
	round := func() {
		for _, m := range [][]byte{one, one, two, gone} {
			for _, peer := range p {
				at += 1e8
				_ = tab.Update(peer, four, m, at)
			}
		}
	}
	for range 100 {
		round()
	}
	if a := testing.AllocsPerRun(200, round); a != 0 || n == 0 {
		t.Errorf("%v allocations for 16 updates, %d changes", a, n)
	}
}

// counter is who counts changes.
type counter struct{ n *int }

func (c counter) Routed(b *observe.RouteBatch) { *c.n += len(b.Routes) }

// TestMemory: a route takes no more than 150 bytes, paths and indexes included, of a table
// in which five prefixes of a peer share a path.
func TestMemory(t *testing.T) {
	t.Parallel()
	const prefixes, sharing = 20_000, 5
	tab := table(t, route.Config{})
	for _, peer := range peers(tab, 4) {
		tab.Up(peer, epoch, netip.Addr{})
		for i := 0; i < prefixes; i += sharing {
			s := said{ases: []uint32{64499 + peer, uint32(i % 50), uint32(i % 997), 3, uint32(i)}, communities: []uint32{1, uint32(i % 1000), 3}}
			for k := range sharing {
				s.announce = append(s.announce, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + (i+k)>>16), byte((i + k) >> 8), byte(i + k), 0}), 24))
			}
			if err := tab.Update(peer, four, s.bytes(), epoch); err != nil {
				t.Fatal(err)
			}
		}
	}
	tab.Flush()
	c := tab.Counts()
	if each := float64(c.Bytes) / float64(c.Routes); c.Routes != 4*prefixes || c.Paths != 4*prefixes/sharing || each > 150 || each < 50 {
		t.Errorf("%.0f bytes a route: %+v", each, c)
	}
}
