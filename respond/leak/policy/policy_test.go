package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/respond/leak"
	"sakimori/respond/leak/policy"
)

func read(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestReasons: what BIRD can't be asked.
func TestReasons(t *testing.T) {
	t.Parallel()
	p := read(t, `
as: 65010
neighbors:
  - {as: 1000, relation: provider, aspa: true}
  - {as: 2000, relation: route-server-client, otc: true}
`)
	at := func(neighbor uint32, path ...uint32) leak.Offered {
		return leak.Offered{Neighbor: neighbor, Prefix: netip.MustParsePrefix("60.0.0.0/24"), Path: path}
	}
	invalid := at(1000, 1000, 9000)
	invalid.ASPA = leak.ASPAInvalid
	marked := at(2000, 2000)
	marked.HasOTC = true
	for want, r := range map[policy.Reason]leak.Offered{
		policy.NoPolicy: at(5, 5), policy.Loop: at(1000, 1000, 65010, 7), policy.ASPA: invalid, policy.OTC: marked, policy.Accepted: at(1000, 1000, 7),
	} {
		if got := p.Evaluate(&r); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	for _, why := range append(policy.Reasons(), policy.Accepted) {
		if w := why.Words(); w.JA == "" || w.EN == "" {
			t.Errorf("%q has no words", why)
		}
	}
	if text := p.BIRD(); !strings.Contains(text, "ASPA: BIRD before 2.16") {
		t.Error("what BIRD can't say is left out silently")
	}
}

// TestRead: what can't be is an error that says where, and what to write.
func TestRead(t *testing.T) {
	t.Parallel()
	one := func(s string) string { return "as: 65010\nneighbors: [{as: 1000, relation: provider, " + s + "}]" }
	for _, tt := range [][2]string{
		{"", "says whose it is"},
		{"as: 65010", "names no neighbour"},
		{"as: 65010\nown: [192.0.2.1/24]", "own: \"192.0.2.1/24\""},
		{"as: 65010\nneighbors: [{as: 1000}]", "what it is to us"},
		{"as: 65010\nneighbours: []", "neighbours"},
		{one("longest: {v4: 33}"), "1 to 32"},
		{one("denied: [[]]"), "must not follow"},
		{one("communities: [\"70000:1\"]"), "64500:666"},
		{one("communities: [blackhole]"), "64500:666"},
		{one("prefixes: [{prefix: 60.0.0.1/8}]"), "isn't a prefix"},
		{one("prefixes: [{prefix: 60.0.0.0/8, ge: 7}]"), "lengths go from its own"},
		{one("prefixes: [{prefix: 60.0.0.0/8, ge: 20, le: 10}]"), "ge before le"},
		{"as: 65010\nneighbors: [{as: 1000, relation: provider}, {as: 1000, relation: peer}]", "twice"},
		{"as: 65010\nneighbors: [{as: 0, relation: peer}]", "needs an AS number"},
		{"as: 65010\nneighbors: [{as: 1000, relation: peer, max_prefix: {v4: -1}}]", "isn't negative"},
		{"as: 65010\nneighbors: [{as: 1000, relation: peer, prefixes: [{prefix: 60.0.0.0/8, le: 33}]}]", "lengths go"},
		{"as: 65010\nneighbors: [{as: 1000, relation: peer, denied: [[0, 1]]}]", "must not follow"},
		{"as: 65010\nplan: [ours]\nneighbors: [{as: 1000, relation: peer}]", "plan:"},
		{"as: 65010\nneighbors: [{as: 1000, relation: uncle}]", "customer, peer, provider"},
		{"as: 65010\nneighbors: [{as: 1000, relation: peer, communities: [\"1:2:3:4\"]}]", "64500:1:666"},
		{"as: 65010\nneighbors: [{as: 1000, relation: peer, prefixes: [{prefix: \"2001:db8::/32\", ge: 24, le: 48}]}]", "up to 128"},
	} {
		if _, err := policy.Read([]byte(tt[0])); err == nil || !strings.Contains(err.Error(), tt[1]) {
			t.Errorf("%q: %v", tt[0], err)
		}
	}
}

// TestAllocations: a route is judged without one.
func TestAllocations(t *testing.T) {
	p := read(t, written)
	routes := draw(rand.New(rand.NewPCG(2, 2)), 2000, 200)
	i := 0
	if n := testing.AllocsPerRun(1000, func() { p.Evaluate(&routes[i%len(routes)]); i++ }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	p := read(b, written)
	routes := draw(rand.New(rand.NewPCG(2, 2)), 2000, 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Evaluate(&routes[i%len(routes)])
	}
}

// TestDrill: the shape of August 2017, small. A provider passes on more-specifics, of them
// some of our own; its maximum of prefixes would have ended the session, and what came
// before that stood until then.
func TestDrill(t *testing.T) {
	t.Parallel()
	p := read(t, `
as: 65010
own: [60.0.0.0/12]
neighbors:
  - {as: 701, name: transit, relation: provider, max_prefix: {v4: 130}, longest: {v4: 22}}
  - {as: 702, relation: provider, accept_own: true}
`)
	d := policy.NewDrill(p)
	start := time.Date(2017, 8, 25, 3, 22, 54, 0, time.UTC)
	route := func(neighbor uint32, at time.Duration, prefix string) *leak.Offered {
		return &leak.Offered{At: start.Add(at), Neighbor: neighbor, Prefix: netip.MustParsePrefix(prefix), Path: []uint32{neighbor, 15169, 4713}}
	}
	for i := range 100 { // what it announces anyway
		r := route(701, -time.Hour, fmt.Sprintf("80.%d.0.0/16", i))
		r.State = true
		d.Offer(r)
	}
	d.Offer(route(701, 0, "80.7.0.0/16")) // again: no prefix more
	for i := range 40 {                   // a second each: 20 of others, then 20 more
		d.Offer(route(701, time.Duration(i)*time.Second, fmt.Sprintf("90.0.%d.0/22", 4*i)))
		d.Offer(route(702, time.Duration(i)*time.Second, fmt.Sprintf("60.0.%d.0/24", i)))
	}
	d.Offer(route(701, time.Second, "90.0.200.0/24")) // late, and too long: but the session is down
	d.Offer(route(5, time.Second, "90.0.200.0/24"))
	gone := route(702, time.Minute, "60.0.7.0/24")
	gone.Withdrawn = true
	d.Offer(gone)
	d.Offer(gone) // again: there is nothing to take back
	r := d.Report()
	as := policy.NewDrill(p)
	as.As = 701
	for _, x := range []string{"95.0.0.0/22", "95.0.4.0/23"} {
		as.Offer(route(3333, 0, x))
	}
	as.Offer(route(701, 0, "95.0.8.0/22")) // it says so itself
	if n := as.Report().Neighbors; len(n) != 2 || n[0].AS != 701 || n[0].Offered != 3 || n[0].Accepted != 2 {
		t.Errorf("%+v", n)
	}
	if r.Updates != 85 || r.Withdrawals != 2 || r.Accepted != 71 || r.Rejected != 12 || r.AcceptedOwn != 40 || r.Seconds != 60 {
		t.Errorf("%+v", r)
	}
	if len(r.By) != 2 || r.By[0].Reason != policy.MaxPrefix || r.By[0].Routes != 11 || r.By[1].Reason != policy.NoPolicy || r.By[1].Routes != 1 {
		t.Errorf("%+v", r.By)
	}
	if len(r.Neighbors) != 3 {
		t.Fatalf("%+v", r.Neighbors)
	}
	first, second, third := r.Neighbors[0], r.Neighbors[1], r.Neighbors[2]
	if first.Name != "transit" || first.Offered != 42 || first.Accepted != 31 || first.Stands != 0 || first.MaxPrefixAt == nil || *first.MaxPrefixAt != 30 {
		t.Errorf("%+v", first)
	}
	if second.Offered != 40 || second.Stands != 39 || second.MaxPrefixAt != nil || third.AS != 5 || third.Accepted != 0 {
		t.Errorf("%+v %+v", second, third)
	}
}

// BenchmarkDrill plays announcements of as many prefixes as the incident of 2017 had.
func BenchmarkDrill(b *testing.B) {
	p := read(b, written)
	start := time.Date(2017, 8, 25, 3, 22, 54, 0, time.UTC)
	path := []uint32{1000, 15169, 4713}
	b.ReportAllocs()
	for b.Loop() {
		d := policy.NewDrill(p)
		for i := range 160_000 {
			a := netip.AddrFrom4([4]byte{byte(60 + i>>16), byte(i >> 8), byte(i), 0})
			d.Offer(&leak.Offered{At: start, Neighbor: 1000, Prefix: netip.PrefixFrom(a, 24), Path: path, ROV: leak.ROVNotFound})
		}
		if r := d.Report(); r.Accepted != 160_000 {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/160_000, "ns/update")
}
