package station_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/daemon"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
	"sakimori/observe/route/routertest"
	"sakimori/observe/route/station"
)

// views is what a router has told, message by message: which peer and view has which prefix
// now, and which peers went up and down.
func (s *sink) views(t *testing.T, who string) (routes, events []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forms := map[string]bgp.Options{}
	has := map[string]bool{}
	for _, b := range s.raw[who] {
		var m bmp.Message
		var p bmp.Peer
		if _, err := bmp.Cut(b, &m); err != nil {
			t.Fatal(err)
		}
		if m.Type == bmp.Initiation || m.Type == bmp.Termination {
			continue
		}
		rest, err := m.Peer(&p)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s AS%d", p.Address, p.AS)
		switch m.Type {
		case bmp.PeerUp:
			var up bmp.Up
			var sent, received bgp.Open
			if err := p.Up(rest, &up); err != nil {
				t.Fatalf("%x: %v", b, err)
			}
			if p.Type != bmp.LocRIB && (sent.Parse(up.Sent.Body) != nil || received.Parse(up.Received.Body) != nil) {
				t.Fatalf("%x", b)
			}
			forms[name] = bgp.Agreed(&received, &sent)
			events = append(events, "up "+name)
		case bmp.PeerDown:
			var d bmp.Down
			if err := bmp.ParseDown(rest, &d); err != nil {
				t.Fatal(err)
			}
			if d.Reason == bmp.Unmonitored || slices.Contains(events, "up "+name) { // FRR tells of attempts that failed, too
				events = append(events, fmt.Sprintf("down %s %d", name, d.Reason))
			}
		case bmp.RouteMonitoring:
			var u bgp.Message
			var up bgp.Update
			if err := bmp.Monitored(rest, &u); err != nil {
				t.Fatal(err)
			}
			o := forms[name]
			if o.AS4 = !p.AS2; p.Type == bmp.LocRIB {
				o = bgp.Options{AS4: true, Guess: true} // GoBGP 3 writes no path identifiers here, GoBGP 4 does
			}
			up.Parse(u.Body, o)
			var q bgp.Prefix
			view := map[[2]bool]string{{false, false}: "in", {true, false}: "in-post", {false, true}: "out", {true, true}: "out-post"}[[2]bool{p.Post, p.Out}]
			if p.Type == bmp.LocRIB {
				view, name = "loc", "router"
			}
			for _, blocks := range []struct {
				list []bgp.Block
				on   bool
			}{{up.Announced(), true}, {up.Withdrawn(), false}} {
				for _, b := range blocks.list {
					for b.Next(&q) {
						has[fmt.Sprintf("%s %s %s", name, view, q.Netip())] = blocks.on
					}
				}
			}
		}
	}
	for r, on := range has {
		if on {
			routes = append(routes, r)
		}
	}
	slices.Sort(routes)
	return routes, events
}

func (s *sink) tells(t *testing.T, who string, routes []string, events ...string) {
	t.Helper()
	daemon.Await(t, 20*time.Second, who+" tells it", func() error {
		r, e := s.views(t, who)
		for _, w := range routes {
			if !slices.Contains(r, w) {
				return fmt.Errorf("%q isn't in %q", w, r)
			}
		}
		if !slices.Equal(e, events) {
			return fmt.Errorf("%q, want %q", e, events)
		}
		return nil
	})
}

// FRR and GoBGP speak BGP with each other, and each tells its own station of it: before and
// after its policy, GoBGP its own table too; then one is killed, and the other.
func TestRealRouters(t *testing.T) {
	t.Parallel()
	routertest.Needs(t, routertest.FRR, routertest.GoBGP)
	atFRR, atGo := daemon.Loopback(52), daemon.Loopback(51)
	outFRR, outGo := &sink{}, &sink{}
	call := func(out *sink) *station.Station {
		s, _ := run(t, station.Config{Routers: []station.Router{{Feed: "real", Address: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}}}, out)
		return s
	}
	sFRR, sGo := call(outFRR), call(outGo) // of both, as both call from 127.0.0.1
	who := "real 127.0.0.1"

	gobgp := routertest.New(t, routertest.GoBGP, atGo, routertest.Link{Neighbor: netip.AddrPortFrom(atFRR, 0), NeighborAS: 64502, AS: 4200000001, BMP: sGo.Addr(), Announce: []string{"198.51.100.0/24", "2001:db8:1::/48"}})
	frr := routertest.New(t, routertest.FRR, atFRR, routertest.Link{Neighbor: gobgp.Addr, NeighborAS: 4200000001, AS: 64502, BMP: sFRR.Addr(), Announce: []string{"203.0.113.0/24"}})

	peer := fmt.Sprintf("%s AS4200000001", atGo)
	outFRR.tells(t, who, []string{
		peer + " in 198.51.100.0/24", peer + " in-post 198.51.100.0/24", peer + " in 2001:db8:1::/48", peer + " in-post 2001:db8:1::/48",
	}, "up "+peer)
	mirror := fmt.Sprintf("%s AS64502", atFRR)
	outGo.tells(t, who, []string{mirror + " in 203.0.113.0/24", mirror + " in-post 203.0.113.0/24", "router loc 203.0.113.0/24"}, "up "+mirror)

	gobgp.Withdraw(t, "198.51.100.0/24")
	daemon.Await(t, 10*time.Second, "FRR tells the withdrawal", func() error {
		if r, _ := outFRR.views(t, who); slices.Contains(r, peer+" in 198.51.100.0/24") || slices.Contains(r, peer+" in-post 198.51.100.0/24") {
			return fmt.Errorf("%q", r)
		}
		return nil
	})
	daemon.Await(t, 5*time.Second, "FRR's statistics come", func() error {
		st := status(sFRR, "real")
		if i := slices.IndexFunc(st.Peers, func(p station.Peer) bool { return p.Address == atGo }); i < 0 || len(st.Peers[i].Stats) == 0 || !st.Peers[i].Up {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	if st := status(sFRR, "real"); !strings.Contains(st.Description, "FRR") || st.Name == "" || st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
	if st := status(sGo, "real"); st.Name != "GoBGP" || st.Malformed != 0 {
		t.Errorf("%+v", st)
	}

	gobgp.Kill()
	daemon.Await(t, 15*time.Second, "FRR tells that its peer is down", func() error {
		if _, e := outFRR.views(t, who); len(e) != 2 || !strings.HasPrefix(e[1], "down "+peer+" ") {
			return fmt.Errorf("%q", e)
		}
		return nil
	})
	// It never said that its own table is up: that it isn't told any more is said all the same.
	outGo.tells(t, who, nil, "up "+mirror, "down "+mirror+" 5", "down invalid IP AS4200000001 5")
	frr.Kill()
	daemon.Await(t, 5*time.Second, "FRR is gone", func() error {
		if st := status(sFRR, "real"); st.Connected || st.Ended == nil {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	_, e := outFRR.views(t, who) // the peer is down already; FRR's own routes have a peer without a name
	if len(e) != 3 || e[2] != "down 0.0.0.0 AS0 5" {
		t.Errorf("%q", e)
	}
}
