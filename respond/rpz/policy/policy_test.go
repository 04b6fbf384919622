package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/policy"
)

func name(t testing.TB, s string) dns.Name {
	t.Helper()
	n, err := dns.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func compile(t testing.TB, z rpz.Zone, serial uint32, rules ...rpz.Rule) *policy.Zone {
	t.Helper()
	c, err := policy.Compile(z, serial, rules)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// four is one of each kind, in the house's four zones.
func four(t testing.TB) *policy.Set {
	t.Helper()
	return policy.NewSet(
		compile(t, rpz.C2, 7,
			rpz.Rule{Name: "bot.example", Ref: "c1"}, rpz.Rule{Name: "*.bot.example", Ref: "c1"},
			rpz.Rule{Name: "*.deep.bot.example", Action: rpz.NoData},
			rpz.Rule{Name: "both.example"},
			rpz.Rule{Name: "local.example", Action: rpz.Local, Data: []string{"A 192.0.2.1", "A 192.0.2.2", `TXT "to; \"you\"" "two"`}},
			rpz.Rule{Name: "*.garden.example", Action: rpz.Local, Data: []string{"CNAME *.walled.example."}},
			rpz.Rule{Name: "drop.example", Action: rpz.Drop}, rpz.Rule{Name: "tcp.example", Action: rpz.TCPOnly},
			rpz.Rule{Client: netip.MustParsePrefix("198.51.100.0/24"), Action: rpz.NXDomain}),
		compile(t, rpz.Emergency, 9, rpz.Rule{Name: "now.example"}, rpz.Rule{Name: "*.bot.example", Action: rpz.Drop}),
		compile(t, rpz.OptOut, 3, rpz.Rule{Client: netip.MustParsePrefix("127.0.0.10/32"), Action: rpz.Passthru, Ref: "consent 1"},
			rpz.Rule{Client: netip.MustParsePrefix("2001:db8::/48"), Action: rpz.Passthru}),
		compile(t, rpz.Allow, 4, rpz.Rule{Name: "both.example", Action: rpz.Passthru}),
	)
}

func TestTheFirstZoneDecides(t *testing.T) {
	set := four(t)
	for _, c := range []struct {
		client, name string
		want         string
	}{
		{"127.0.0.1", "bot.example", "c2. 0 bot.example"},
		{"127.0.0.1", "x.y.bot.example", "c2. 0 *.bot.example"},
		{"127.0.0.1", "deep.bot.example", "c2. 0 *.bot.example"},
		{"127.0.0.1", "x.deep.bot.example", "c2. 1 *.deep.bot.example"},
		{"127.0.0.1", "xbot.example", ""},
		{"127.0.0.1", "example", ""},
		{"127.0.0.1", ".", ""},
		{"127.0.0.10", "bot.example", "optout. 2 127.0.0.10/32"},
		{"::ffff:127.0.0.10", "bot.example", "optout. 2 127.0.0.10/32"},
		{"2001:db8::7", "free.example", "optout. 2 2001:db8::/48"},
		{"2001:db8:1::7", "free.example", ""},
		{"127.0.0.1", "both.example", "allow. 2 both.example"},
		{"127.0.0.1", "a.both.example", ""},
		{"127.0.0.1", "now.example", "emergency. 0 now.example"},
		{"198.51.100.4", "free.example", "c2. 0 198.51.100.0/24"},
		{"198.51.100.4", "both.example", "allow. 2 both.example"}, // an earlier zone, whatever its trigger
	} {
		got := ""
		if m, ok := set.Match(netip.MustParseAddr(c.client), name(t, c.name)); ok {
			r := m.Rule()
			got = fmt.Sprintf("%s %d %s", m.Zone(), m.Action(), r.Name)
			if r.Client.IsValid() {
				got += r.Client.String()
			}
		}
		if got != c.want {
			t.Errorf("%s asks for %s: %q, not %q", c.client, c.name, got, c.want)
		}
	}
}

func TestLocalData(t *testing.T) {
	set := four(t)
	for _, c := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"local.example", dns.A, "[A 192.0.2.1 A 192.0.2.2]"},
		{"local.example", dns.TXT, `[TXT "to; \"you\"" "two"]`},
		{"local.example", dns.AAAA, "[]"},
		{"a.b.garden.example", dns.AAAA, "[CNAME a.b.garden.example.walled.example.]"},
	} {
		m, ok := set.Match(netip.MustParseAddr("127.0.0.1"), name(t, c.name))
		if !ok || m.Action() != rpz.Local {
			t.Fatalf("%s: %v %v", c.name, m, ok)
		}
		if got := fmt.Sprint(m.Local(name(t, c.name), c.typ)); got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
}

func TestWhatIsntARule(t *testing.T) {
	for _, r := range []rpz.Rule{
		{},
		{Name: "a.example", Client: netip.MustParsePrefix("192.0.2.0/24")},
		{Name: "a..example"},
		{Client: netip.MustParsePrefix("192.0.2.1/24")},
		{Name: "a.example", Action: 9},
		{Name: "a.example", Action: rpz.Local},
		{Name: "a.example", Data: []string{"A 192.0.2.1"}},
		{Name: "a.example", Action: rpz.Local, Data: []string{"A 2001:db8::1"}},
		{Name: "a.example", Action: rpz.Local, Data: []string{`TXT "open`}},
		{Name: "a.example", Action: rpz.Local, Data: []string{`MX 10 mail.example.`}},
		{Name: "a.example", Action: rpz.Local, Data: []string{`TYPE65 \# 3 00`}},
	} {
		if _, err := policy.Compile(rpz.C2, 1, []rpz.Rule{r}); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}

// As a transfer brings it.
func TestRecords(t *testing.T) {
	b, err := policy.NewBuilder(rpz.C2)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		owner string
		typ   uint16
		data  []byte
	}{
		{"c2", dns.SOA, []byte{0}},
		{"bot.example.c2", dns.CNAME, dns.Root()},
		{"*.bot.example.c2", dns.CNAME, name(t, "*")},
		{"local.example.c2", dns.A, []byte{192, 0, 2, 1}},
		{"local.example.c2", dns.AAAA, netip.MustParseAddr("2001:db8::1").AsSlice()},
		{"32.10.0.0.127.rpz-client-ip.c2", dns.CNAME, name(t, "rpz-passthru")},
		{"48.zz.1.db8.2001.rpz-client-ip.c2", dns.CNAME, name(t, "rpz-drop")},
		{"128.1.zz.rpz-client-ip.c2", dns.CNAME, name(t, "rpz-tcp-only")},
		{"24.0.2.0.192.rpz-ip.c2", dns.CNAME, dns.Root()},
	} {
		if err := b.Record(name(t, r.owner), r.typ, r.data); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"33.1.2.0.192.rpz-client-ip.c2", "24.1.2.0.192.rpz-client-ip.c2", "x.rpz-client-ip.c2", "rpz-client-ip.c2", "elsewhere.example"} {
		if err := b.Record(name(t, bad), dns.CNAME, dns.Root()); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	z := b.Zone(5)
	if z.Rules() != 6 || z.Passed() != 1 || z.Serial() != 5 || z.Name() != rpz.C2 {
		t.Errorf("%d rules, %d passed", z.Rules(), z.Passed())
	}
	set := policy.NewSet(z)
	for client, want := range map[string]rpz.Action{"127.0.0.10": rpz.Passthru, "2001:db8:1::9": rpz.Drop, "::1": rpz.TCPOnly, "127.0.0.1": rpz.NoData} {
		if m, ok := set.Match(netip.MustParseAddr(client), name(t, "x.bot.example")); !ok || m.Action() != want {
			t.Errorf("%s: %v %v", client, m.Rule(), ok)
		}
	}
}

// FuzzRecord takes any record: it is refused, or it is a rule that matches its own name.
func FuzzRecord(f *testing.F) {
	f.Add("bot.example.c2", uint16(5), []byte{0})
	f.Add("24.0.2.0.192.rpz-client-ip.c2", uint16(5), []byte{1, '*', 0})
	f.Add("local.example.c2", uint16(16), []byte{1, 'x'})
	f.Fuzz(func(_ *testing.T, owner string, typ uint16, data []byte) {
		n, err := dns.ParseName(owner)
		if err != nil {
			return
		}
		b, _ := policy.NewBuilder(rpz.C2)
		if b.Record(n, typ, data) != nil {
			return
		}
		z := b.Zone(1)
		m, ok := policy.NewSet(z).Match(netip.MustParseAddr("192.0.2.1"), n[:len(n)-3])
		_, _ = m, ok
		if ok {
			_ = m.Rule()
			_ = m.Local(n, typ)
		}
	})
}

func million(tb testing.TB) (*policy.Set, []dns.Name, uint64) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b, err := policy.NewBuilder(rpz.C2)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range 500_000 {
		n := fmt.Sprintf("c%07d.botnet%d.example", i*7919%10_000_000, i%97)
		for _, s := range []string{n, "*." + n} {
			if err := b.Add(rpz.Rule{Name: s, Ref: fmt.Sprintf("01JC%012d", i)}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	set := policy.NewSet(b.Zone(1))
	runtime.GC()
	runtime.ReadMemStats(&after)
	var names []dns.Name
	for i := range 1 << 16 {
		s := fmt.Sprintf("c%07d.botnet%d.example", i*7919%10_000_000, i%97)
		if i%2 == 0 {
			s = fmt.Sprintf("www.site%d.example", i)
		}
		names = append(names, name(tb, s))
	}
	return set, names, after.HeapAlloc - before.HeapAlloc
}

func TestAMillionRulesAreSmall(t *testing.T) {
	set, names, bytes := million(t)
	if set.Zones()[0].Rules() != 1_000_000 {
		t.Fatal(set.Zones()[0].Rules())
	}
	t.Logf("%d bytes a rule", bytes/1_000_000)
	if bytes > 100_000_000 {
		t.Errorf("%d bytes for a million rules", bytes)
	}
	client := netip.MustParseAddr("192.0.2.1")
	i := 0
	if n := testing.AllocsPerRun(1000, func() { set.Match(client, names[i%len(names)]); i++ }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	runtime.KeepAlive(set)
}

func BenchmarkMatch(b *testing.B) {
	c2, names, _ := million(b)
	set := policy.NewSet(append(c2.Zones(), four(b).Zones()[0], four(b).Zones()[1], four(b).Zones()[3])...)
	client := netip.MustParseAddr("192.0.2.1")
	for i := 0; b.Loop(); i++ {
		set.Match(client, names[i&(1<<16-1)])
	}
}

// TestEdit: a zone that was edited answers as one that was compiled, and the one before it as it did.
func TestEdit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	wire := func(s string) dns.Name {
		n, err := dns.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	compile := func(have map[string]string) *policy.Zone {
		b, err := policy.NewBuilder(rpz.C2)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range slices.Sorted(maps.Keys(have)) {
			if err := b.Record(wire(o), dns.CNAME, wire(have[o])); err != nil {
				t.Fatal(err)
			}
		}
		return b.Zone(1)
	}
	var owners []string
	for i := range 60 {
		owners = append(owners, fmt.Sprintf("n%d.example.c2", i), fmt.Sprintf("*.n%d.example.c2", i), fmt.Sprintf("32.%d.2.0.192.rpz-client-ip.c2", i))
	}
	targets := []string{".", "*", "rpz-passthru", "rpz-drop"}
	have := map[string]string{}
	edited := compile(have)
	same := func(what string, a, b *policy.Zone) {
		t.Helper()
		if a.Rules() != b.Rules() {
			t.Errorf("%s: %d rules, not %d", what, a.Rules(), b.Rules())
		}
		x, y := policy.NewSet(a), policy.NewSet(b)
		for i := range 60 {
			for _, n := range []string{"n%d.example", "x.n%d.example", "m%d.example"} {
				for _, client := range []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), netip.MustParseAddr("198.51.100.1")} {
					m, hit := x.Match(client, wire(fmt.Sprintf(n, i)))
					w, want := y.Match(client, wire(fmt.Sprintf(n, i)))
					if hit != want || hit && (m.Action() != w.Action() || m.Rule().Name != w.Rule().Name || m.Rule().Client != w.Rule().Client) {
						t.Fatalf("%s: "+n+" of %s: %v %v", what, i, client, hit, want)
					}
				}
			}
		}
	}
	for round := range 60 {
		before, was := edited, compile(have)
		b, ok := edited.Edit()
		if !ok {
			edited = compile(have)
			b, ok = edited.Edit()
		}
		if !ok {
			t.Fatal("what is new can't be edited")
		}
		for range 1 + r.IntN(40) {
			o := owners[r.IntN(len(owners))]
			if old, is := have[o]; is {
				if !b.Remove(wire(o), dns.CNAME, wire(old)) {
					t.Fatal("can't remove", o)
				}
				delete(have, o)
				if r.IntN(2) == 0 {
					continue
				}
			}
			have[o] = targets[r.IntN(len(targets))]
			if err := b.Record(wire(o), dns.CNAME, wire(have[o])); err != nil {
				t.Fatal(err)
			}
		}
		edited = b.Zone(2)
		same(fmt.Sprint("round ", round), edited, compile(have))
		same("before", before, was)
	}
	b, _ := edited.Edit()
	if b.Remove(wire("nothing.c2"), dns.CNAME, wire(".")) || b.Remove(wire("n1.example"), dns.CNAME, wire(".")) || b.Remove(wire("n1.example.c2"), dns.A, []byte{192, 0, 2, 1}) {
		t.Error("removed what isn't there")
	}
}
