package resolver_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
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

func optout(clients ...netip.Addr) (out []rpz.Rule) {
	for _, c := range clients {
		out = append(out, rpz.Rule{Client: netip.PrefixFrom(c, c.BitLen()), Action: rpz.Passthru})
	}
	return out
}

// listed is the C&C list of the test.
func listed(serial int) []rpz.Rule {
	return []rpz.Rule{
		{Name: "blocked.example"}, {Name: "*.blocked.example"}, {Name: "bot.signed.example"}, {Name: "allowed.example"}, {Name: "nodata.example", Action: rpz.NoData},
		{Name: "serial.c2.example", Action: rpz.Local, Data: []string{fmt.Sprintf(`TXT "%d"`, serial)}},
	}
}

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

func TestMatrix(t *testing.T) {
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

// all proves every promise on one resolver.
func (m *matrix) all(v resolver.Vendor, authority *rt.Process) {
	t := m.t
	s := site(t, v)
	s.Upstream = []netip.AddrPort{authority.Addr}
	primary := rt.NewPrimary(t, s.Key, s.Listen[0])
	s.Primaries = []netip.AddrPort{primary.Addr}
	if v == resolver.Knot {
		primary.Files = s.Folder
	}
	primary.Publish(t, rpz.OptOut, optout(declined)...)
	primary.Publish(t, rpz.Allow, rpz.Rule{Name: "allowed.example", Action: rpz.Passthru})
	primary.Publish(t, rpz.C2, listed(2)...)
	primary.Publish(t, rpz.Emergency)
	p := rt.Launch(t, v, s)
	m.at = p.Addr
	p.Up(t, taking, "example")

	m.prove("a listed name is blocked", 10*time.Second, m.blocked(taking, "blocked.example"))
	m.prove("and every name below it", 0, m.blocked(taking, "www.deep.blocked.example"))
	m.prove("a name that isn't listed is answered truly", 0, m.free(taking, "innocent.example"))
	m.prove("who opted out gets the truth", 0, all(m.free(declined, "other.blocked.example"), m.free(declined, "blocked.example")))
	m.prove("also when the blocked answer was asked for first", 0, all(m.blocked(taking, "first.blocked.example"), m.free(declined, "first.blocked.example")))
	m.prove("and the other way round", 0, all(m.free(declined, "second.blocked.example"), m.blocked(taking, "second.blocked.example"), m.free(declined, "second.blocked.example")))
	m.prove("allow. beats c2.", 0, m.free(taking, "allowed.example"))
	m.prove("NODATA is answered", 0, func() error {
		a, err := m.ask(taking, "nodata.example")
		if err == nil && (a.Rcode != dns.NoError || a.Records != 0) {
			err = fmt.Errorf("answer %d %v", a.Rcode, a.Texts)
		}
		return err
	})
	m.prove("the answer tells the serial", 0, m.serial(2))
	m.prove("a signed name is blocked for DO=1", 0, func() error {
		a, err := rt.Ask(t, m.at, taking, "bot.signed.example", dns.A, true)
		if err == nil && a.Rcode != dns.NXDomain {
			err = fmt.Errorf("answer %d", a.Rcode)
		}
		if b, e := rt.Ask(t, m.at, declined, "bot.signed.example", dns.A, true); err == nil && (e != nil || !b.Signed) {
			err = fmt.Errorf("who declined gets it without signatures: %v", e)
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
	m.changes(primary, p)
	m.failures(primary, p)
}

// changes proves how soon a new serial is obeyed.
func (m *matrix) changes(primary *rt.Primary, p *rt.Process) {
	t := m.t
	m.prove("before it opts out a client is blocked", 0, m.blocked(moving, "blocked.example"))
	primary.Publish(t, rpz.OptOut, optout(declined, moving)...)
	m.prove("an opt-out counts within 5 s", soon, m.free(moving, "blocked.example"))
	primary.Publish(t, rpz.OptOut, optout(declined)...)
	m.prove("and ends within 5 s", soon, m.blocked(moving, "blocked.example"))
	m.prove("emergency. isn't in force yet", 0, m.free(taking, "urgent.example"))
	primary.Publish(t, rpz.Emergency, rpz.Rule{Name: "urgent.example"})
	m.prove("the quick lane blocks within 5 s", soon, m.blocked(taking, "urgent.example"))
	m.prove("and not who opted out", 0, m.free(declined, "urgent.example"))
	for range 7 { // more often than Unbound takes increments
		n := primary.Publish(t, rpz.Emergency, rpz.Rule{Name: "urgent.example"}, rpz.Rule{Name: "again.example"})
		_ = n
	}
	m.prove("after many increments too", soon, m.blocked(taking, "again.example"))
	primary.Publish(t, rpz.Emergency)
	m.prove("an emptied zone blocks nobody", soon, all(m.free(taking, "urgent.example"), m.free(taking, "again.example")))
}

// failures proves that nothing is unblocked, and nobody who opted out blocked, by a failure.
func (m *matrix) failures(primary *rt.Primary, p *rt.Process) {
	primary.Stop()
	time.Sleep(500 * time.Millisecond)
	still := all(m.blocked(taking, "blocked.example"), m.free(declined, "blocked.example"), m.free(taking, "allowed.example"))
	m.prove("the primary is dead: the zones stay", 0, still)
	p.Stop()
	p.Start(m.t)
	p.Up(m.t, taking, "example")
	m.prove("and outlive a restart", 10*time.Second, still)
}

// serial reads which serial of c2. a resolver answers from.
func (m *matrix) serial(want int) func() error {
	return func() error {
		a, err := m.ask(taking, "serial.c2.example")
		if err == nil && (len(a.Texts) != 1 || a.Texts[0] != fmt.Sprint(want)) {
			err = fmt.Errorf("answer %d %v", a.Rcode, a.Texts)
		}
		return err
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
}
