package forward_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/forward"
	"sakimori/respond/rpz/policy"
	rt "sakimori/respond/rpz/resolvertest"
)

var (
	taking   = netip.MustParseAddr("127.0.0.1")
	declined = netip.MustParseAddr("127.0.0.10")
)

func start(t testing.TB, c forward.Config, rules map[rpz.Zone][]rpz.Rule) *forward.Server {
	t.Helper()
	s, err := forward.New(c, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var zones []*policy.Zone
	for z, r := range rules {
		compiled, err := policy.Compile(z, 1, r)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, compiled)
	}
	s.Load(policy.NewSet(zones...))
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestForwarder(t *testing.T) {
	authority := rt.Authority(t, "*.example. TXT \"truth\"\nalias.other. CNAME bot.example.\nlong.other. TXT "+long()+"\n")
	at := rt.Port(t)
	s := start(t, forward.Config{Listen: []netip.AddrPort{at}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}, Upstream: []forward.Upstream{{Addr: authority.Addr}}, Reason: "why"}, map[rpz.Zone][]rpz.Rule{
		rpz.OptOut: {{Client: netip.PrefixFrom(declined, 32), Action: rpz.Passthru}},
		rpz.Allow:  {{Name: "allowed.example", Action: rpz.Passthru}},
		rpz.C2: {
			{Name: "bot.example"},
			{Name: "allowed.example"},
			{Name: "drop.example", Action: rpz.Drop},
			{Name: "tcp.example", Action: rpz.TCPOnly},
			{Name: "local.example", Action: rpz.Local, Data: []string{`TXT "ours"`}},
			{Name: "nodata.example", Action: rpz.NoData},
		},
	})
	for _, c := range []struct {
		from  netip.Addr
		name  string
		rcode uint8
		text  string
		ede   int
		tcp   bool
	}{
		{taking, "free.example", dns.NoError, "truth", -1, false},
		{taking, "free.example", dns.NoError, "truth", -1, false}, // from the cache
		{taking, "bot.example", dns.NXDomain, "", 15, false},
		{declined, "bot.example", dns.NoError, "truth", -1, false},
		{taking, "bot.example", dns.NXDomain, "", 15, false}, // though the truth is in the cache
		{taking, "allowed.example", dns.NoError, "truth", -1, false},
		{taking, "alias.other", dns.NXDomain, "", 15, false},
		{declined, "alias.other", dns.NoError, "truth", -1, false},
		{taking, "local.example", dns.NoError, "ours", 15, false},
		{taking, "nodata.example", dns.NoError, "", 15, false},
		{taking, "tcp.example", dns.NoError, "truth", -1, true},
		{taking, "nothing", dns.NXDomain, "", -1, false},
		{netip.MustParseAddr("127.9.0.1"), "free.example", dns.Refused, "", -1, false},
	} {
		a, err := rt.Ask(t, at, c.from, c.name, dns.TXT, false)
		got := ""
		if len(a.Texts) == 1 {
			got = a.Texts[0]
		}
		if err != nil || a.Rcode != c.rcode || got != c.text || a.EDE != c.ede || a.TCP != c.tcp || c.ede == 15 && a.Why != "why" {
			t.Errorf("%s asks for %s: %+v %v", c.from, c.name, a, err)
		}
	}
	if a, err := rt.Ask(t, at, taking, "long.other", dns.TXT, false); err != nil || !a.TCP || len(a.Texts) != 1 {
		t.Errorf("a long answer: %+v %v", a.TCP, err)
	}
	if a, err := rt.Ask(t, at, taking, "drop.example", dns.TXT, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dropped: %+v %v", a, err)
	}
	n := s.Counts()
	if n.Refused != 1 || n.Dropped != 1 || n.Cached == 0 || n.Blocked != 6 || n.Failed != 0 {
		t.Errorf("%+v", n)
	}
	authority.Stop()
	if a, err := rt.Ask(t, at, taking, "free.example", dns.TXT, false); err != nil || len(a.Texts) != 1 {
		t.Errorf("the cache outlives upstream: %+v %v", a, err)
	}
}

func long() (s string) {
	for range 12 {
		s += ` "` + "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" + `"`
	}
	return s
}

func TestWhoAsksTooMuchWaits(t *testing.T) {
	at := rt.Port(t)
	s := start(t, forward.Config{Listen: []netip.AddrPort{at}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}, Upstream: []forward.Upstream{{Addr: rt.Port(t)}}, Rate: 1}, map[rpz.Zone][]rpz.Rule{rpz.C2: {{Name: "bot.example"}}})
	silent := 0
	for range 2 {
		if _, err := rt.Ask(t, at, taking, "bot.example", dns.TXT, false); err != nil {
			silent++
		}
	}
	if n := s.Counts(); silent > 1 || n.Limited != uint64(silent) {
		t.Errorf("%d silent, %+v", silent, n)
	}
}

func TestWhatIsntForwarded(t *testing.T) {
	all := netip.MustParsePrefix("0.0.0.0/0")
	up := []forward.Upstream{{Addr: netip.MustParseAddrPort("127.0.0.1:53")}}
	at := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	for _, c := range []forward.Config{{}, {Listen: at, Upstream: up}, {Listen: at, Upstream: up, Clients: []netip.Prefix{all}}, {Listen: at, Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}} {
		if _, err := forward.New(c, clock.System{}, slog.New(slog.DiscardHandler)); !errors.Is(err, forward.ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
