package route_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/observe"
	"sakimori/observe/route"
)

var edge = netip.MustParseAddr("192.0.2.61")

// TestRouter: the life of a router's peers as BMP tells it, in all views.
func TestRouter(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	x, y := netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24")
	peer := netip.MustParseAddr("192.0.2.62")
	at := epoch
	say := func(m told) {
		t.Helper()
		m.peer, m.as = peer, 64501
		if m.local {
			m.peer, m.as = netip.Addr{}, 64500
		}
		if m.seconds == 0 {
			m.seconds = uint32(at/1e9) - 3 // its clock is behind by two seconds, and a message takes one
		}
		if err := tab.BMP("edge", edge, m.bytes(), at); err != nil {
			t.Fatal(err)
		}
		at += 1e9
	}
	if err := tab.BMP("edge", edge, []byte{3, 0, 0, 0, 10, 4, 0, 2, 0, 0}, at); err != nil { // initiation
		t.Fatal(err)
	}
	say(told{kind: 3, body: upBody(64501, true)})
	route1 := func(path, id uint32, list ...netip.Prefix) []byte {
		return said{announce: list, ases: []uint32{64501, path}, with: true, id: id}.bytes()
	}
	say(told{body: route1(1, 7, x), seconds: uint32(epoch/1e9) - 86000}) // of yesterday: how it is
	say(told{body: route1(2, 8, x)})
	say(told{flags: 0x40, body: route1(2, 8, x)}) // after policy
	say(told{body: endOfRIB()})
	say(told{flags: 0x40, body: endOfRIB()})
	say(told{local: true, kind: 3, body: upBody(64500, false)})
	say(told{local: true, body: said{announce: []netip.Prefix{x}, ases: []uint32{64501, 2}}.bytes()})
	say(told{kind: 1, body: []byte{0, 0, 0, 0}}) // statistics
	if c := tab.Counts(); c.Routes != 4 || c.Peers != 3 || c.Malformed != 0 || m.marks[observe.RouteState] != 3 || m.marks[observe.RouteState|observe.RouteFirst] != 1 {
		t.Fatalf("%+v %v", c, m.marks)
	}
	m.last = nil
	say(told{body: route1(3, 7, y)}) // news
	tab.Flush()
	if r := m.last; len(r) != 1 || r[0].Marks != observe.RouteFirst || r[0].At != at-1e9 { // its clock's skew is taken off
		t.Errorf("%+v at %d", r, at)
	}
	say(told{body: said{announce: []netip.Prefix{y}, ases: []uint32{64500, 64501, 3}, with: true, id: 7}.bytes()}) // FRR names itself
	say(told{body: said{announce: []netip.Prefix{y}, ases: []uint32{64501, 3}}.bytes()})                           // and forgets identifiers
	tab.Flush()
	if len(m.last) != 2 || tab.Counts().Unchanged != 1 || tab.Peer(1).RouteServer || m.last[1].ID != 0 {
		t.Errorf("%+v %+v", m.last, tab.Counts())
	}
	say(told{body: said{withdraw: []netip.Prefix{y}}.bytes()})
	if seen, whole := tab.Seen(tab.Number(x)); seen != 1 || whole != 1 {
		t.Errorf("seen by %d of %d", seen, whole)
	}
	say(told{kind: 2, body: []byte{4}}) // the peer is gone without a word
	if tab.Peer(1).Up || tab.Peer(2).Up || !tab.Peer(3).Up || tab.Counts().Routes != 5 {
		t.Errorf("%+v", tab.Counts())
	}
	say(told{kind: 3, body: upBody(64501, true)})
	say(told{body: route1(1, 7, x)})
	say(told{body: endOfRIB()})
	if c := tab.Counts(); c.Routes != 3 || tab.Peer(1).Routes != 1 { // and after policy nothing was said yet
		t.Errorf("%+v %v", c, m.marks)
	}
	if err := tab.BMP("edge", edge, []byte{3, 0, 0, 0, 6, 5}, at); err != nil { // it says good-bye
		t.Fatal(err)
	}
	tab.Tick(at + 120e9)
	if c := tab.Counts(); c.Routes != 0 || tab.Peer(3).Up || len(m.routes) != 0 {
		t.Errorf("%+v", c)
	}
	for _, bad := range [][]byte{{2, 0, 0, 0, 6, 4}, {3, 0, 0, 0, 6, 0}, told{kind: 3, peer: peer}.bytes(), told{peer: peer, body: endOfRIB()[:20]}.bytes()} {
		if err := tab.BMP("edge", edge, bad, at); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
	if c := tab.Counts(); c.Malformed != 4 || len(c.Faults) < 2 {
		t.Errorf("%+v", c)
	}
}

// TestSkew: a clock that is off by more than a day isn't believed; one that is set is
// followed.
func TestSkew(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	n := byte(0)
	tell := func(at, seconds int64) int64 {
		n++
		x := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 0, n, 0}), 24)
		b := told{peer: address(1), as: 64501, seconds: uint32(seconds), body: said{announce: []netip.Prefix{x}, ases: []uint32{64501}}.bytes()}.bytes()
		if err := tab.BMP("edge", edge, b, at*1e9); err != nil {
			t.Fatal(err)
		}
		tab.Flush()
		return m.last[len(m.last)-1].At / 1e9
	}
	const now = 1_700_000_000
	var got []int64
	for _, c := range [][2]int64{{now, now - 100}, {now + 10, now - 91}, {now + 20, now - 80}, {now + 30, now + 90000 + 30}, {now + 40, 0}, {now + 50, now + 3600 + 49}, {now + 60, now + 3600 + 60}} {
		got = append(got, tell(c[0], c[1])-now)
	}
	// The second took a second longer; the fourth and fifth can't be; the sixth has a clock that was set.
	if want := []int64{0, 9, 20, 30, 40, 50, 60}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// TestHealth: what a feed and its peers say of themselves by what they tell, and by what
// they don't.
func TestHealth(t *testing.T) {
	t.Parallel()
	tab := table(t, route.Config{})
	now := time.Unix(0, epoch).UTC()
	live := route.NewLive(tab, clock.Fixed(now), route.Source{Name: "edge", Kind: route.KindBMP}, route.Source{Name: "own", Kind: route.KindBGP, Peers: 2}, route.Source{Name: "rrc00", Kind: route.KindRIS})
	state := func(name string, at time.Time, want route.State, advice int) route.Health {
		t.Helper()
		for _, h := range live.Health(at) {
			if h.Name == name {
				if h.State != want || len(h.Advice) != advice || h.Words.JA == "" || h.Words.EN == "" {
					t.Errorf("%s: %s with %v, not %s with %d", name, h.State, h.Advice, want, advice)
				}
				return h
			}
		}
		t.Fatalf("no %s", name)
		return route.Health{}
	}
	state("edge", now, route.Down, 1)
	up := told{kind: 3, peer: address(1), as: 64501, seconds: uint32(now.Unix()), body: upBody(64501, false)}
	live.BMP("edge", edge, up.bytes(), now)
	state("edge", now, route.OK, 0)
	state("edge", now.Add(90*time.Second), route.OK, 0)
	state("edge", now.Add(91*time.Second), route.Stale, 1)
	live.Heard("edge", now.Add(100*time.Second)) // now it is known to be silent for so long
	state("edge", now.Add(399*time.Second), route.OK, 0)
	state("edge", now.Add(401*time.Second), route.Stale, 1)

	live.BMP("own", edge, up.bytes(), now)
	x := netip.MustParsePrefix("198.51.100.0/24")
	live.BMP("own", edge, told{peer: address(1), as: 64501, body: said{announce: []netip.Prefix{x}, ases: []uint32{64501}}.bytes()}.bytes(), now)
	h := state("own", now, route.Faulty, 1) // one of two
	if len(h.List) != 1 || h.List[0].View != "collector" || h.Expected != 2 || h.Up != 1 {
		t.Errorf("%+v", h)
	}
	live.BMP("own", edge, told{kind: 2, peer: address(1), as: 64501, body: []byte{4}}.bytes(), now)
	state("own", now, route.Down, 1)

	k := route.Key{Feed: "rrc00", Address: address(9), AS: 64509}
	live.State(k, true, now.Add(-time.Second), now)
	live.Message(k, said{announce: []netip.Prefix{x}, ases: []uint32{64509, 1}}.bytes(), true, now.Add(-2*time.Second), now.Add(time.Second))
	live.Message(k, message(4, nil), true, now.Add(-time.Second), now.Add(time.Second))
	h = state("rrc00", now.Add(time.Second), route.OK, 0)
	if h.Delay == nil || h.Skew == nil || *h.Skew != 1000 || h.Messages != 3 || h.Elements != 1 || h.Routes != 1 {
		t.Errorf("%+v", h)
	}
	live.Heard("rrc00", now.Add(100*time.Second))
	h = state("rrc00", now.Add(100*time.Second), route.Faulty, 1) // the peer tells keepalives, and doesn't any more
	if h.Silent != 1 || !h.List[0].Silent {
		t.Errorf("%+v", h)
	}
	live.Dropped("rrc00", 5, now.Add(100*time.Second))
	live.Message(k, []byte{1, 2}, true, now.AddDate(0, 0, 2), now.Add(100*time.Second))
	h = state("rrc00", now.Add(100*time.Second), route.Faulty, 4)
	if len(h.Malformed) != 1 || h.List[0].Weight != 0.5 || h.ClockIgnored != 1 {
		t.Errorf("%+v", h)
	}
	live.Gone("rrc00", netip.Addr{}, now.Add(101*time.Second))
	state("rrc00", now.Add(101*time.Second), route.Down, 1)
}

// TestTogether: sources on several goroutines, questions, and time going on.
func TestTogether(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	now := time.Unix(0, epoch).UTC()
	live := route.NewLive(tab, clock.Fixed(now))
	done := make(chan bool)
	for g := range 4 {
		go func() {
			k := route.Key{Feed: "f", Address: address(g), AS: uint32(64500 + g)}
			for i := range 500 {
				x := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 0, byte(i), 0}), 24)
				live.Message(k, said{announce: []netip.Prefix{x}, ases: []uint32{uint32(64500 + g), uint32(i)}}.bytes(), true, now, now)
				if i%100 == 0 {
					live.Health(now)
					live.Do(func(t *route.Table) { t.Counts() })
				}
			}
			done <- true
		}()
	}
	for range 4 {
		<-done
	}
	live.Do(func(t *route.Table) {
		if c := t.Counts(); c.Routes != 4*256 || c.Announcements != 2000 {
			m.t.Errorf("%+v", c)
		}
	})
}
