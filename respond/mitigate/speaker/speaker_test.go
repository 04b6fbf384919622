package speaker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"sakimori/base/clock"
	"sakimori/base/daemon"
	"sakimori/respond/mitigate"
	"sakimori/respond/mitigate/speaker"
)

// far is a router in this process, which counts what it is told and may tell us of routes.
type far struct {
	bgp  *server.BgpServer
	addr netip.AddrPort
}

// from is from where we speak to an address.
func from(at netip.Addr) netip.Addr {
	if at.Is6() {
		return at // loopback has but one
	}
	return us
}

func newFar(t *testing.T, at netip.Addr, as uint32, families ...bgp.Family) *far {
	t.Helper()
	f := &far{bgp: server.NewBgpServer(), addr: daemon.Port(t, at)}
	served := make(chan struct{})
	go func() { f.bgp.Serve(); close(served) }()
	t.Cleanup(func() { f.bgp.Stop(); <-served })
	err := f.bgp.StartBgp(t.Context(), &api.StartBgpRequest{Global: &api.Global{Asn: as, RouterId: "192.0.2.7", ListenPort: int32(f.addr.Port()), ListenAddresses: []string{at.String()}}})
	p := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: from(at).String(), PeerAsn: ours},
		Transport: &api.Transport{PassiveMode: true, LocalAddress: at.String()},
	}
	for _, x := range families {
		p.AfiSafis = append(p.AfiSafis, &api.AfiSafi{Config: &api.AfiSafiConfig{Enabled: true, Family: &api.Family{Afi: api.Family_Afi(x.Afi()), Safi: api.Family_Safi(x.Safi())}}})
	}
	if err = errors.Join(err, f.bgp.AddPeer(t.Context(), &api.AddPeerRequest{Peer: p})); err != nil {
		t.Fatal(err)
	}
	return f
}

// updates is how many UPDATE messages we have sent it.
func (f *far) updates(t *testing.T) (n uint64) {
	t.Helper()
	if err := f.bgp.ListPeer(t.Context(), &api.ListPeerRequest{}, func(p *api.Peer) { n = p.State.Messages.Received.Update }); err != nil {
		t.Fatal(err)
	}
	return n
}

// has are the routes that it has of a family.
func (f *far) has(t *testing.T, x bgp.Family) (list []string) {
	t.Helper()
	err := f.bgp.ListPath(apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: x}, func(n bgp.NLRI, paths []*apiutil.Path) {
		for _, p := range paths {
			s := n.String()
			for _, a := range p.Attrs {
				switch a := a.(type) {
				case *bgp.PathAttributeExtendedCommunities:
					s += fmt.Sprint(" ", a.Value)
				case *bgp.PathAttributeNextHop:
					s += " by " + a.Value.String()
				case *bgp.PathAttributeMpReachNLRI:
					if a.Nexthop.IsValid() {
						s += " by " + a.Nexthop.String()
					}
				case *bgp.PathAttributeCommunities:
					s += fmt.Sprintf(" %x", a.Value)
				}
			}
			list = append(list, s)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func (f *far) waits(t *testing.T, x bgp.Family, n int) {
	t.Helper()
	daemon.Eventually(t, 15*time.Second, fmt.Sprintf("the router has %d of %s", n, x), func() error {
		if got := f.has(t, x); len(got) != n {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
}

func (f *far) tells(t *testing.T, routes int) {
	t.Helper()
	for i := range routes {
		n, err := bgp.NewIPAddrPrefix(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24))
		if err != nil {
			t.Fatal(err)
		}
		hop, err := bgp.NewPathAttributeNextHop(f.addr.Addr())
		if err == nil {
			_, err = f.bgp.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{{Family: bgp.RF_IPv4_UC, Nlri: n, Attrs: []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(0), hop}}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (f *far) as(name string, as uint32, families ...speaker.Family) speaker.Neighbor {
	return speaker.Neighbor{Name: name, Address: f.addr, Local: from(f.addr.Addr()), AS: as, Multihop: 8, Hold: 9 * time.Second, Families: families}
}

func drop(to string, port ...uint16) mitigate.Rule {
	return mitigate.Rule{Match: mitigate.Match{Dst: netip.MustParsePrefix(to), Proto: mitigate.Just(17), SrcPort: mitigate.Just(port...)}, Action: mitigate.Drop}
}

// An act is told once, and stands while it should and no longer.
func TestActs(t *testing.T) {
	t.Parallel()
	edge := newFar(t, daemon.Loopback(12), 64511, bgp.RF_FS_IPv4_UC, bgp.RF_IPv4_UC)
	up := newFar(t, daemon.Loopback(13), 64512, bgp.RF_IPv4_UC) // it agrees on no flowspec, though we would
	c := speaker.Config{Rules: 4, Peers: []speaker.Neighbor{
		edge.as("edge", 64511, speaker.FlowSpec4, speaker.Unicast4),
		up.as("up", 64512, speaker.FlowSpec4, speaker.Unicast4),
	}}
	c.Peers[0].Rules = 3
	s, _ := run(t, c)
	if err := s.Announce(t.Context(), "a", []mitigate.Rule{drop("192.0.2.1/32", 53)}, later(time.Hour)); !errors.Is(err, speaker.ErrNoPeer) {
		t.Errorf("announced before anybody was there: %v", err)
	}
	connected(t, s)
	p := s.Peers()
	if !slices.Equal(p[0].Families, []speaker.Family{speaker.FlowSpec4, speaker.Unicast4}) || p[0].Error != nil {
		t.Errorf("the edge agreed on %v: %v", p[0].Families, p[0].Error)
	}
	if !slices.Equal(p[1].Families, []speaker.Family{speaker.Unicast4}) || p[1].Error == nil || !strings.Contains(p[1].Error.EN, "ipv4-flowspec") {
		t.Errorf("up agreed on %v: %v", p[1].Families, p[1].Error)
	}

	ok := func(id string, rules ...mitigate.Rule) {
		t.Helper()
		if err := s.Announce(t.Context(), id, rules, later(time.Hour)); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	dns, ntp := drop("192.0.2.1/32", 53), drop("192.0.2.1/32", 123)
	hole := mitigate.Rule{Match: mitigate.Match{Dst: netip.MustParsePrefix("192.0.2.66/32")}, Action: mitigate.RTBH}
	ok("a", dns)
	edge.waits(t, bgp.RF_FS_IPv4_UC, 1)

	// Told again, by name or by rule, nobody hears of it.
	before := edge.updates(t)
	ok("a", dns)
	ok("a", dns, dns)
	ok("b", dns)
	ok("c", hole)
	edge.waits(t, bgp.RF_IPv4_UC, 1)
	up.waits(t, bgp.RF_IPv4_UC, 1)
	if n := edge.updates(t) - before; n != 1 {
		t.Errorf("%d messages for one new route", n)
	}
	if held, err := s.Held(t.Context()); err != nil || len(held) != 6 {
		t.Errorf("held: %+v, %v", held, err)
	} else if h := held[1]; h.ID != "a" || h.Peer != "up" || h.Rules != 0 {
		t.Errorf("up doesn't speak flowspec, and holds %+v", h)
	}

	// What can't be said whole isn't said at all.
	limited := dns
	limited.Action, limited.Rate = mitigate.RateBytes, 1000
	six := drop("2001:db8::1/128", 53)
	for name, c := range map[string]struct {
		id    string
		rules []mitigate.Rule
		until time.Time
		err   error
	}{
		"another action":   {"d", []mitigate.Rule{ntp, limited}, later(time.Hour), speaker.ErrConflict},
		"two actions":      {"d", []mitigate.Rule{ntp, dns, limited}, later(time.Hour), speaker.ErrConflict},
		"a family":         {"d", []mitigate.Rule{ntp, six}, later(time.Hour), speaker.ErrUnable},
		"too many for one": {"d", []mitigate.Rule{ntp, drop("192.0.2.2/32", 53)}, later(time.Hour), speaker.ErrLimit},
		"no rule":          {"d", nil, later(time.Hour), speaker.ErrRule},
		"a bad rule":       {"d", []mitigate.Rule{ntp, {Action: mitigate.Drop}}, later(time.Hour), speaker.ErrRule},
		"over":             {"d", []mitigate.Rule{ntp}, later(-time.Second), speaker.ErrTime},
		"for ever":         {"d", []mitigate.Rule{ntp}, later(100 * time.Hour), speaker.ErrTime},
	} {
		if err := s.Announce(t.Context(), c.id, c.rules, c.until); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := edge.updates(t) - before; n != 1 {
		t.Errorf("%d messages, though nothing of it was to be told", n)
	}

	// Two acts hold a rule: it goes with the last. Other rules take the place of those before.
	if err := s.Withdraw(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := s.Withdraw(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	ok("e", ntp)
	edge.waits(t, bgp.RF_FS_IPv4_UC, 2)
	ok("b", limited)
	daemon.Eventually(t, 15*time.Second, "the action is another", func() error {
		if got := edge.has(t, bgp.RF_FS_IPv4_UC); len(got) != 2 || !strings.Contains(strings.Join(got, ""), "rate: 1000") {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	ok("b", ntp)
	edge.waits(t, bgp.RF_FS_IPv4_UC, 1)

	// The end of an act moves with its renewal, and comes by itself.
	if err := s.Announce(t.Context(), "c", []mitigate.Rule{hole}, later(400*time.Millisecond)); err != nil {
		t.Error(err)
	}
	if err := s.Announce(t.Context(), "e", []mitigate.Rule{ntp}, later(400*time.Millisecond)); err != nil {
		t.Error(err)
	}
	edge.waits(t, bgp.RF_IPv4_UC, 0)
	up.waits(t, bgp.RF_IPv4_UC, 0)
	daemon.Eventually(t, 15*time.Second, "two acts are over", func() error {
		if s.Expired() != 2 {
			return fmt.Errorf("%d", s.Expired())
		}
		return nil
	})
	edge.waits(t, bgp.RF_FS_IPv4_UC, 1) // of b still
	if err := s.Withdraw(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	edge.waits(t, bgp.RF_FS_IPv4_UC, 0)
}

// Routes to be discarded have our own address as their next hop where no other is said; and a
// session may go by IPv6. The limit of a whole table of rules is announced at once.
func TestManyBySix(t *testing.T) {
	t.Parallel()
	f := newFar(t, netip.IPv6Loopback(), 64515, bgp.RF_FS_IPv4_UC, bgp.RF_FS_IPv6_UC, bgp.RF_IPv6_UC)
	c := speaker.Config{Peers: []speaker.Neighbor{f.as("six", 64515, speaker.FlowSpec4, speaker.FlowSpec6, speaker.Unicast6)}}
	c.Peers[0].Rules = 1000
	s, _ := run(t, c)
	connected(t, s)
	rules := []mitigate.Rule{{Match: mitigate.Match{Dst: netip.MustParsePrefix("2001:db8::66/128")}, Action: mitigate.RTBH}}
	for i := range 999 {
		rules = append(rules, drop(fmt.Sprintf("192.0.%d.%d/32", i/250, 1+i%250), 53))
	}
	begin := clock.System{}.Now()
	if err := s.Announce(t.Context(), "all", rules, later(time.Hour)); err != nil {
		t.Fatal(err)
	}
	told := clock.System{}.Now().Sub(begin)
	f.waits(t, bgp.RF_FS_IPv4_UC, 999)
	t.Logf("1,000 rules: said within %s, all there after %s", told.Round(time.Millisecond), clock.System{}.Now().Sub(begin).Round(time.Millisecond))
	if got := f.has(t, bgp.RF_IPv6_UC); len(got) != 1 || !strings.Contains(got[0], "2001:db8::66/128") || !strings.Contains(got[0], "by ::1") || !strings.Contains(got[0], "ffff029a ffffff01") {
		t.Errorf("%q", got)
	}
	if err := s.Announce(t.Context(), "more", []mitigate.Rule{drop("192.0.2.1/32", 123)}, later(time.Hour)); !errors.Is(err, speaker.ErrLimit) {
		t.Errorf("one more: %v", err)
	}
	if err := s.Withdraw(t.Context(), "all"); err != nil {
		t.Error(err)
	}
	f.waits(t, bgp.RF_FS_IPv4_UC, 0)
}

// leap is a clock that can be set forward.
type leap struct{ by atomic.Int64 }

func (l *leap) Now() time.Time { return clock.System{}.Now().Add(time.Duration(l.by.Load())) }

// Nobody's routes are taken or passed on, and who sends too many is shut out, for a while.
func TestTakesNothing(t *testing.T) {
	t.Parallel()
	loud := newFar(t, daemon.Loopback(14), 64513, bgp.RF_IPv4_UC)
	other := newFar(t, daemon.Loopback(15), 64514, bgp.RF_IPv4_UC)
	loud.tells(t, 5)
	clk := &leap{}
	c := speaker.Config{AS: ours, RouterID: id, Peers: []speaker.Neighbor{loud.as("loud", 64513, speaker.Unicast4), other.as("other", 64514, speaker.Unicast4)}}
	c.Peers[0].Routes = 10
	s, err := speaker.New(c, clk, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func() {}) }()
	t.Cleanup(func() { cancel(); <-done })
	connected(t, s)
	hole := mitigate.Rule{Match: mitigate.Match{Dst: netip.MustParsePrefix("192.0.2.66/32")}, Action: mitigate.RTBH}
	if err := s.Announce(t.Context(), "a", []mitigate.Rule{hole}, later(time.Hour)); err != nil {
		t.Fatal(err)
	}
	loud.waits(t, bgp.RF_IPv4_UC, 6) // its own, and ours
	if other.waits(t, bgp.RF_IPv4_UC, 1); s.Peers()[1].Held != 1 {
		t.Errorf("the other holds %+v", s.Peers()[1])
	}
	loud.tells(t, 11)
	daemon.Eventually(t, 15*time.Second, "it is shut out", func() error {
		if p := s.Peers()[0]; p.State != speaker.Down || p.Error == nil || !strings.Contains(p.Error.EN, "more than 10 routes") {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	if err := loud.bgp.DeletePath(apiutil.DeletePathRequest{DeleteAll: true}); err != nil {
		t.Fatal(err)
	}
	clk.by.Store(int64(2 * time.Minute))
	connected(t, s)
	loud.waits(t, bgp.RF_IPv4_UC, 1)
	if p := s.Peers()[0]; p.Error != nil {
		t.Errorf("it is back: %+v", p)
	}
}

// Who isn't configured gets no session; without a place to listen there is none.
func TestStrangers(t *testing.T) {
	t.Parallel()
	c := speaker.Config{Listen: daemon.Port(t, us), Peers: []speaker.Neighbor{{
		Name: "known", Address: netip.AddrPortFrom(daemon.Loopback(20), 0), AS: 64511, Passive: true, Families: []speaker.Family{speaker.FlowSpec4},
	}}}
	_, stop := run(t, c)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 21)}}
	conn, err := d.DialContext(t.Context(), "tcp", c.Listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(later(5 * time.Second))
	if b, err := io.ReadAll(conn); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger was told %x, %v", b, err)
	}
	stop()

	p := start(t, speaker.Config{})
	socket := regexp.MustCompile(`^socket:\[(\d+)\]$`)
	time.Sleep(300 * time.Millisecond)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 3 {
		t.Errorf("it has %d files: did it run?", len(files))
	}
	for _, f := range files {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.Process.Pid, f.Name()))
		m := socket.FindStringSubmatch(to)
		if m == nil {
			continue
		}
		for _, proto := range []string{"tcp", "tcp6", "udp", "udp6"} {
			table, err := os.ReadFile("/proc/net/" + proto)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(table), " "+m[1]+" ") {
				t.Errorf("it has a %s socket, though nothing is configured", proto)
			}
		}
	}
}

// What a configuration gets wrong is said.
func TestConfig(t *testing.T) {
	t.Parallel()
	good := func() speaker.Config {
		return speaker.Config{AS: ours, RouterID: id, Peers: []speaker.Neighbor{
			{Name: "a", Address: netip.MustParseAddrPort("192.0.2.1:179"), AS: 1, Families: speaker.Families(), NextHop6: netip.MustParseAddr("100::1")},
			{Name: "b", Address: netip.MustParseAddrPort("[2001:db8::1]:179"), AS: 1, Families: speaker.Families()},
		}}
	}
	empty := secret(t, "")
	for name, spoil := range map[string]func(*speaker.Config){
		"no AS":             func(c *speaker.Config) { c.AS = 0 },
		"router id":         func(c *speaker.Config) { c.RouterID = netip.MustParseAddr("2001:db8::1") },
		"listens anywhere":  func(c *speaker.Config) { c.Listen = netip.MustParseAddrPort("0.0.0.0:179") },
		"no name":           func(c *speaker.Config) { c.Peers[0].Name = "" },
		"one name":          func(c *speaker.Config) { c.Peers[1].Name = "a" },
		"one address":       func(c *speaker.Config) { c.Peers[1].Address = netip.MustParseAddrPort("[::ffff:192.0.2.1]:1179") },
		"nowhere to call":   func(c *speaker.Config) { c.Peers[0].Passive = true },
		"hold time":         func(c *speaker.Config) { c.Peers[0].Hold = 2 * time.Second },
		"no family":         func(c *speaker.Config) { c.Peers[0].Families = nil },
		"no such family":    func(c *speaker.Config) { c.Peers[0].Families = []speaker.Family{"ipx"} },
		"next hop":          func(c *speaker.Config) { c.Peers[0].NextHop4 = netip.MustParseAddr("100::1") },
		"no IPv6 next hop":  func(c *speaker.Config) { c.Peers[0].NextHop6 = netip.Addr{} },
		"community":         func(c *speaker.Config) { c.Peers[0].Communities = []string{"65536:1"} },
		"no such password":  func(c *speaker.Config) { c.Peers[0].PasswordFile = empty + ".not" },
		"an empty password": func(c *speaker.Config) { c.Peers[0].PasswordFile = empty },
	} {
		c := good()
		spoil(&c)
		if _, err := speaker.New(c, clock.System{}, slog.New(slog.DiscardHandler)); !errors.Is(err, speaker.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := speaker.New(good(), clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Announce(t.Context(), "a", []mitigate.Rule{drop("192.0.2.1/32", 53)}, later(time.Hour)); !errors.Is(err, speaker.ErrStopped) {
		t.Errorf("announced without running: %v", err)
	}
	if _, err := s.Held(t.Context()); !errors.Is(err, speaker.ErrStopped) {
		t.Errorf("held without running: %v", err)
	}
	if p := s.Peers(); p[0].State != speaker.Down || p[0].Words.JA == "" {
		t.Errorf("not running: %+v", p[0])
	}
}
