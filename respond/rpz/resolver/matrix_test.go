package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/forward"
	"sakimori/respond/rpz/policy"
	"sakimori/respond/rpz/resolver"
	rt "sakimori/respond/rpz/resolvertest"
)

// Who asks: loopback has room for many distinct clients.
var (
	taking   = netip.MustParseAddr("127.0.0.1")  // didn't opt out
	declined = netip.MustParseAddr("127.0.0.10") // did
	moving   = netip.MustParseAddr("127.0.0.11") // does during the test
	stranger = netip.MustParseAddr("127.9.0.1")  // isn't ours
)

// truth is what the authority says of every name.
const truth = "*.example. TXT \"truth\"\nexample. TXT \"truth\"\n" +
	"blocked.example. A 192.0.2.1\n*.blocked.example. A 192.0.2.1\n" +
	"blocked.example. TXT \"truth\"\n*.blocked.example. TXT \"truth\"\n" +
	"alias.example. CNAME www.blocked.example.\n"

// row is one promise, kept or not, by one resolver.
type row struct {
	what, got string
	ok        bool
}

type matrix struct {
	t    *testing.T
	at   netip.AddrPort
	rows []row

	publish func(z rpz.Zone, rules ...rpz.Rule)
	primary *rt.Ours
}

// prove notes a promise.
func (m *matrix) prove(what string, most time.Duration, is func() error) {
	m.t.Helper()
	begin := time.Now()
	var err error
	for {
		if err = is(); err == nil || time.Since(begin) > most {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	r := row{what, "yes", err == nil}
	switch took := time.Since(begin); {
	case err != nil:
		r.got = "**no**: " + err.Error()
		m.t.Errorf("%s: %v", what, err)
	case most > 0:
		r.got = fmt.Sprintf("yes, after %.1f s", took.Seconds())
	}
	m.rows = append(m.rows, r)
}

func (m *matrix) ask(from netip.Addr, name string) (canary.Answer, error) {
	return rt.Ask(m.t, m.at, from, name, dns.TXT, false)
}

// blocked and free say how a client must be answered.
func (m *matrix) blocked(from netip.Addr, name string) func() error {
	return func() error {
		a, err := m.ask(from, name)
		if err == nil && a.Rcode != dns.NXDomain {
			err = fmt.Errorf("%s asks for %s: answer %d %v", from, name, a.Rcode, a.Texts)
		}
		return err
	}
}

func (m *matrix) free(from netip.Addr, name string) func() error {
	return func() error {
		a, err := m.ask(from, name)
		if err == nil && (a.Rcode != dns.NoError || len(a.Texts) != 1 || a.Texts[0] != "truth") {
			err = fmt.Errorf("%s asks for %s: answer %d %v", from, name, a.Rcode, a.Texts)
		}
		return err
	}
}

func all(checks ...func() error) func() error {
	return func() error {
		for _, c := range checks {
			if err := c(); err != nil {
				return err
			}
		}
		return nil
	}
}

// optout is a zone of those who opted out: the clients, and so many others that a difference
// is shorter than the zone.
func optout(clients ...netip.Addr) (out []rpz.Rule) {
	for i := range byte(60) {
		clients = append(clients, netip.AddrFrom4([4]byte{198, 51, 100, i}))
	}
	for _, c := range clients {
		out = append(out, rpz.Rule{Client: netip.PrefixFrom(c, c.BitLen()), Action: rpz.Passthru})
	}
	return out
}

// listed is the C&C list of the test.
var listed = []rpz.Rule{
	{Name: "blocked.example"}, {Name: "*.blocked.example"}, {Name: "host.blocked.example"}, {Name: "bot.signed.example"}, {Name: "allowed.example"}, {Name: "nodata.example", Action: rpz.NoData},
}

// canaries stand below it.
const canaries = "canary.example"

func site(t *testing.T, v resolver.Vendor) resolver.Site {
	at := rt.Port(t)
	s := resolver.Site{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}, Listen: []netip.AddrPort{at}, Folder: t.TempDir(), Unsigned: true}
	if v == resolver.BIND || v == resolver.PowerDNS {
		s.Key = rt.Secret(t)
	}
	return s
}

// No change may be seen later than this, after it was published.
const soon = 5 * time.Second

// What the traps are for: with one line of a generated file changed a promise is broken, as
// the matrix would show.
func TestTraps(t *testing.T) {
	t.Parallel()
	rt.Needs(t, resolver.Vendors()...)
	authority := rt.Authority(t, truth)
	t.Run("traps", func(t *testing.T) {
		tried := 0
		for _, c := range []struct {
			what     string
			vendor   resolver.Vendor
			old, new string
			breaks   func(m *matrix) error // is nil where the promise is broken
		}{
			{"the packet cache gives the blocked answer to who declined", resolver.PowerDNS, "disable-packetcache=yes", "disable-packetcache=no", func(m *matrix) error {
				tried++ // a name each: what was cached before the zones came isn't the trap
				name := fmt.Sprintf("x%d.blocked.example", tried)
				return all(m.blocked(taking, name), m.blocked(declined, name))()
			}},
			{"signed names pass for DO=1", resolver.BIND, "break-dnssec yes", "break-dnssec no", func(m *matrix) error {
				a, err := rt.Ask(m.t, m.at, taking, "bot.signed.example", dns.A, true)
				if err == nil && a.Rcode != dns.NoError {
					err = fmt.Errorf("answer %d", a.Rcode)
				}
				return err
			}},
			{"an override blocks what is allowed", resolver.Unbound, "rpz-log: no", "rpz-log: no\n\trpz-action-override: nxdomain", func(m *matrix) error {
				return m.blocked(taking, "allowed.example")()
			}},
			{"policy.PASS sends who declined to the root", resolver.Knot, "if has(declined, addr) then return nil end", "if has(declined, addr) then return policy.PASS end", func(m *matrix) error {
				if m.free(declined, "blocked.example")() == nil {
					return errors.New("it was forwarded")
				}
				return nil
			}},
		} {
			t.Run(string(c.vendor), func(t *testing.T) { // a longer name would be too long for a socket's path
				t.Parallel()
				t.Log(c.what)
				m := &matrix{t: t}
				s := site(t, c.vendor)
				s.Upstream = []netip.AddrPort{authority.Addr}
				primary := rt.NewPrimary(t, s.Key, s.Listen[0])
				s.Primaries = []netip.AddrPort{primary.Addr}
				if c.vendor == resolver.Knot {
					primary.Files = s.Folder
				}
				primary.Publish(t, rpz.OptOut, optout(declined)...)
				primary.Publish(t, rpz.Allow, rpz.Rule{Name: "allowed.example", Action: rpz.Passthru})
				primary.Publish(t, rpz.C2, listed...)
				changed := false
				p := rt.Launch(t, c.vendor, s, func(text string) string {
					changed = changed || strings.Contains(text, c.old)
					return strings.ReplaceAll(text, c.old, c.new)
				})
				if !changed {
					t.Fatalf("no file holds %q", c.old)
				}
				m.at = p.Addr
				p.Up(t, taking, "example")
				rt.Eventually(t, 5*time.Second, "the trap snaps", func() error { return c.breaks(m) })
			})
		}
	})
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	rt.Needs(t, resolver.Vendors()...)
	authority := rt.Authority(t, truth)
	results := map[resolver.Vendor][]row{}
	t.Run("resolvers", func(t *testing.T) {
		for _, v := range resolver.Vendors() {
			m := &matrix{}
			t.Run(string(v), func(t *testing.T) {
				t.Parallel()
				m.t = t
				m.all(v, authority)
			})
			t.Cleanup(func() { results[v] = m.rows })
		}
	})
	table(t, results)
}

// fed gives a resolver's site our own primary: BIND and Unbound come by TLS, PowerDNS in the clear,
// Knot Resolver reads the files that `sakimori-edge zones` keeps.
func (m *matrix) fed(v resolver.Vendor, s *resolver.Site) {
	pair, cert, _ := rt.Certificate(m.t, "primary.test")
	notify := s.Listen[0]
	m.primary = rt.NewOurs(m.t, v, s.Key, pair, notify)
	s.Primaries = []netip.AddrPort{m.primary.Addr}
	switch v {
	case resolver.BIND, resolver.Unbound:
		s.Primaries, s.TLS = []netip.AddrPort{m.primary.Secure}, resolver.TLS{Name: "primary.test", CAFile: cert}
	case resolver.Knot:
		x, err := forward.NewSecondary(forward.Source{Primaries: s.Primaries, Folder: s.Folder, Quick: 200 * time.Millisecond, Slow: 200 * time.Millisecond}, func(*policy.Set) {}, clock.System{}, slog.New(slog.DiscardHandler))
		if err != nil {
			m.t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- x.Run(ctx, func() {}) }()
		m.t.Cleanup(func() { cancel(); <-done })
	}
}

// all proves every promise on one resolver.
func (m *matrix) all(v resolver.Vendor, authority *rt.Process) {
	t := m.t
	s := site(t, v)
	s.Upstream = []netip.AddrPort{authority.Addr}
	m.fed(v, &s)
	primary := m.primary
	m.publish = func(z rpz.Zone, rules ...rpz.Rule) {
		t.Helper()
		rules = append(rules, canary.Rules(canaries, z, primary.Serial(z)+1, []netip.Addr{declined})...)
		primary.Publish(t, z, policy.Plain(rules)...)
	}
	m.publish(rpz.OptOut, optout()...)
	m.publish(rpz.Allow, rpz.Rule{Name: "allowed.example", Action: rpz.Passthru})
	m.publish(rpz.C2, listed...)
	m.publish(rpz.Emergency)
	p := rt.Launch(t, v, s)
	m.at = p.Addr
	p.Up(t, taking, "example")

	m.prove("a listed name is blocked", 10*time.Second, m.blocked(taking, "blocked.example"))
	m.prove("and every name below it", 0, m.blocked(taking, "www.deep.blocked.example"))
	// Each zone is in force as soon as the resolver has it: this one may be the first.
	m.prove("a name that isn't listed is answered truly", 0, m.free(taking, "innocent.example"))
	m.prove("who opted out gets the truth", 5*time.Second, all(m.free(declined, "other.blocked.example"), m.free(declined, "blocked.example")))
	m.prove("also when the blocked answer was asked for first", 0, all(m.blocked(taking, "first.blocked.example"), m.free(declined, "first.blocked.example")))
	m.prove("and the other way round", 0, all(m.free(declined, "second.blocked.example"), m.blocked(taking, "second.blocked.example"), m.free(declined, "second.blocked.example")))
	m.prove("allow. beats c2.", 5*time.Second, m.free(taking, "allowed.example"))
	m.prove("NODATA is answered", 0, func() error {
		a, err := m.ask(taking, "nodata.example")
		if err == nil && (a.Rcode != dns.NoError || a.Records != 0) {
			err = fmt.Errorf("answer %d %v", a.Rcode, a.Texts)
		}
		return err
	})
	m.prove("a name below a listed host is blocked", 0, m.blocked(taking, "x.host.blocked.example"))
	m.prove("the canaries prove it all, and the serials", soon, m.canaries(primary))
	m.prove("a signed name is blocked for DO=1", 0, func() error {
		a, err := rt.Ask(t, m.at, taking, "bot.signed.example", dns.A, true)
		if err == nil && a.Rcode != dns.NXDomain {
			err = fmt.Errorf("answer %d", a.Rcode)
		}
		if b, e := rt.Ask(t, m.at, declined, "bot.signed.example", dns.A, true); err == nil && (e != nil || !b.Signed) {
			err = fmt.Errorf("who declined gets it without signatures: %w", e)
		}
		return err
	})
	m.prove("a stranger isn't answered", 0, func() error {
		a, err := m.ask(stranger, "innocent.example")
		if err == nil && a.Rcode != dns.Refused {
			return fmt.Errorf("answer %d %v", a.Rcode, a.Texts)
		}
		return nil
	})
	m.prove("policy zones are shown to nobody", 0, func() error {
		a, err := rt.Ask(t, m.at, taking, "optout", dns.SOA, false)
		if err == nil && a.Serial != 0 {
			return errors.New("optout. is answered for")
		}
		return nil
	})
	m.changes(primary)
	m.failures(primary, p)
}

// changes proves how soon a new serial is obeyed.
func (m *matrix) changes(primary *rt.Ours) {
	m.prove("before it opts out a client is blocked", 0, m.blocked(moving, "blocked.example"))
	m.publish(rpz.OptOut, optout(moving)...)
	m.prove("an opt-out counts within 5 s", soon, m.free(moving, "blocked.example"))
	m.publish(rpz.OptOut, optout()...)
	m.prove("and ends within 5 s", soon, m.blocked(moving, "blocked.example"))
	if p := primary.Server.Peers()[0]; p.Incremental == 0 {
		m.t.Errorf("no difference was fetched, so none was tried: %+v", p)
	}
	m.prove("emergency. isn't in force yet", 0, m.free(taking, "urgent.example"))
	m.publish(rpz.Emergency, rpz.Rule{Name: "urgent.example"})
	m.prove("the quick lane blocks within 5 s", soon, m.blocked(taking, "urgent.example"))
	m.prove("and not who opted out", 0, m.free(declined, "urgent.example"))
	for range 7 { // more often than Unbound takes increments
		m.publish(rpz.Emergency, rpz.Rule{Name: "urgent.example"}, rpz.Rule{Name: "again.example"})
	}
	m.prove("after many increments too", soon, m.blocked(taking, "again.example"))
	m.publish(rpz.Emergency)
	m.prove("an emptied zone blocks nobody", soon, all(m.free(taking, "urgent.example"), m.free(taking, "again.example")))
	m.prove("the canaries tell the new serials", soon, m.canaries(primary))
	m.prove("a broken zone is refused before any resolver sees it", 0, func() error {
		was := primary.Serial(rpz.C2)
		for _, bad := range []rpz.Rule{{Name: strings.Repeat("long.", 60) + "example"}, {Name: "local.example", Action: rpz.Local, Data: []string{"A not-an-address"}}, {Name: "a..example"}, {}} {
			if primary.Try(m.t, rpz.C2, append(slices.Clone(listed), bad)...) == nil {
				return fmt.Errorf("%+v was published", bad)
			}
		}
		if now := primary.Serial(rpz.C2); now != was {
			return fmt.Errorf("serial %d after %d", now, was)
		}
		return all(m.blocked(taking, "blocked.example"), m.free(declined, "blocked.example"), m.canaries(primary))()
	})
}

// failures proves that nothing is unblocked, and nobody who opted out blocked, by a failure.
func (m *matrix) failures(primary *rt.Ours, p *rt.Process) {
	primary.Stop()
	time.Sleep(500 * time.Millisecond)
	still := all(m.blocked(taking, "blocked.example"), m.free(declined, "blocked.example"), m.free(taking, "allowed.example"))
	m.prove("the primary is dead: the zones stay", 0, still)
	p.Stop()
	p.Start(m.t)
	p.Up(m.t, taking, "example")
	m.prove("and outlive a restart", 10*time.Second, still)
}

// canaries sends them, and compares the serials that the answers tell with the published.
func (m *matrix) canaries(primary *rt.Ours) func() error {
	w, err := canary.New(canary.Config{Domain: canaries, Truth: "truth", Resolvers: []canary.Resolver{{Name: "r", Addr: m.at, Taking: taking, Declined: declined}}}, nil, nil, nil, nil, clock.System{}, slog.New(slog.DiscardHandler))
	return func() error {
		if err != nil {
			return err
		}
		r := w.Round(m.t.Context())[0]
		for _, p := range r.Probes {
			if !p.OK() {
				return fmt.Errorf("%s %s %s: %s, not %s %s", p.Zone, p.Client, p.Name, p.Got, p.Want, p.Detail)
			}
		}
		for z, n := range r.Serials {
			if n != primary.Serial(z) {
				return fmt.Errorf("%s: serial %d, published %d", z, n, primary.Serial(z))
			}
		}
		return nil
	}
}

// table writes what was proven as the page shows it.
func table(t *testing.T, results map[resolver.Vendor][]row) {
	text := "| |"
	for _, v := range resolver.Vendors() {
		text += " " + string(v) + " |"
	}
	text += "\n|---|---|---|---|---|\n"
	for i, r := range results[resolver.BIND] {
		text += "| " + r.what + " |"
		for _, v := range resolver.Vendors() {
			got := "–"
			if i < len(results[v]) {
				got = results[v][i].got
			}
			text += " " + got + " |"
		}
		text += "\n"
	}
	t.Log("\n" + text)
	page, err := os.ReadFile("../../../docs/resolvers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results[resolver.BIND] {
		if !strings.Contains(string(page), "| "+r.what+" |") {
			t.Errorf("docs/resolvers.md doesn't say %q: put the table above into it", r.what)
		}
	}
}
