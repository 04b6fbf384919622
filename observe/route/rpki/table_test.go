package rpki_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/observe"
	"sakimori/observe/route/rpki"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func roa(p string, most uint8, as uint32) rpki.ROA {
	return rpki.ROA{Prefix: pfx(p), MaxLength: most, AS: as}
}

// table is one of these, in whatever order they are given.
func table(list ...rpki.ROA) *rpki.Table {
	return rpki.NewTable(noon, &rpki.Data{ROAs: list}, &rpki.Data{})
}

// RFC 6811, 2, and the examples that operators go by.
func TestOrigin(t *testing.T) {
	tab := table(roa("10.0.0.0/8", 16, 64500), roa("10.1.0.0/16", 16, 64501), roa("10.1.0.0/16", 24, 64502), roa("192.0.2.0/24", 24, 0), roa("2001:db8::/32", 48, 64500), roa("0.0.0.0/0", 0, 64999))
	for _, c := range []struct {
		p    string
		as   uint32
		want observe.ROV
	}{
		{"10.0.0.0/8", 64500, observe.ROVValid},
		{"10.9.0.0/16", 64500, observe.ROVValid},
		{"10.9.9.0/24", 64500, observe.ROVInvalidLength},
		{"10.9.9.0/24", 64501, observe.ROVInvalid},
		{"10.1.0.0/16", 64500, observe.ROVValid}, // by the covering one
		{"10.1.0.0/16", 64501, observe.ROVValid},
		{"10.1.1.0/24", 64501, observe.ROVInvalidLength},
		{"10.1.1.0/24", 64502, observe.ROVValid},
		{"10.1.1.0/24", 64500, observe.ROVInvalidLength},
		{"10.0.0.0/7", 64500, observe.ROVInvalid}, // covered by the default alone
		{"192.0.2.0/24", 0, observe.ROVInvalid},   // AS 0, and the end in a set, are never valid
		{"192.0.2.0/24", 64500, observe.ROVInvalid},
		{"2001:db8:1::/48", 64500, observe.ROVValid},
		{"2001:db8:1::/49", 64500, observe.ROVInvalidLength},
		{"2001:db9::/32", 64500, observe.ROVNotFound},
	} {
		if got := tab.Origin(pfx(c.p), c.as); got != c.want {
			t.Errorf("%s AS%d: %s, want %s", c.p, c.as, got, c.want)
		}
	}
	var nothing *rpki.Table
	if nothing.Origin(pfx("10.0.0.0/8"), 1) != observe.ROVUnknown || nothing.Path([]uint32{1, 2}, false, observe.ASPeer) != observe.ASPANone {
		t.Error("without data something is known")
	}
	if got := tab.ROAs(pfx("10.1.1.0/24")); len(got) != 4 || got[0].Prefix.Bits() != 16 || got[3].Prefix.Bits() != 0 {
		t.Errorf("around: %v", got)
	}
	if got := tab.Inside(pfx("10.0.0.0/8")); len(got) != 3 || got[0].Prefix.Bits() != 8 {
		t.Errorf("inside: %v", got)
	}
}

// A ROA holds until it expires.
func TestExpiry(t *testing.T) {
	r := roa("192.0.2.0/24", 24, 64500)
	r.Expires = uint32(noon.Unix())
	soon := roa("198.51.100.0/24", 24, 64500)
	soon.Expires = r.Expires + 1
	tab := rpki.NewTable(noon, &rpki.Data{ROAs: []rpki.ROA{r, soon}, ASPAs: []rpki.ASPA{{Customer: 1, Providers: []uint32{2}, Expires: r.Expires}}})
	if roas, aspas := tab.Len(); roas != 1 || aspas != 0 || tab.Origin(soon.Prefix, 64500) != observe.ROVValid || tab.Origin(r.Prefix, 64500) != observe.ROVNotFound {
		t.Error("what has expired holds")
	}
	r.Expires = 0 // another source says so without an end
	if rpki.NewTable(noon, &rpki.Data{ROAs: []rpki.ROA{soon}}, &rpki.Data{ROAs: []rpki.ROA{r}}).Origin(r.Prefix, 64500) != observe.ROVValid {
		t.Error("what one source still says doesn't hold")
	}
}

// The table against RFC 6811 read word for word over the list.
func TestOriginProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
			bits := rapid.IntRange(0, 8).Draw(t, "bits")
			a := netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{0, 0x80, 0xc0, 0xa0, 0xff}).Draw(t, "byte")})
			if rapid.Bool().Draw(t, "v6") {
				a = netip.AddrFrom16([16]byte{a.As4()[0]})
			}
			return netip.PrefixFrom(a, bits).Masked()
		})
		as := rapid.Uint32Range(0, 3)
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rpki.ROA {
			p := prefix.Draw(t, "prefix")
			return rpki.ROA{Prefix: p, MaxLength: uint8(p.Bits() + rapid.IntRange(0, 3).Draw(t, "more")), AS: as.Draw(t, "as")}
		}), 0, 12).Draw(t, "roas")
		p, origin := prefix.Draw(t, "route"), as.Draw(t, "origin")
		want := observe.ROVNotFound
		for _, r := range list {
			if r.Prefix.Addr().Is4() != p.Addr().Is4() || r.Prefix.Bits() > p.Bits() || !r.Prefix.Contains(p.Addr()) {
				continue
			}
			switch {
			case r.AS == origin && origin != 0 && p.Bits() <= int(r.MaxLength):
				want = observe.ROVValid
			case r.AS == origin && origin != 0 && want != observe.ROVValid:
				want = observe.ROVInvalidLength
			case want == observe.ROVNotFound:
				want = observe.ROVInvalid
			}
		}
		tab := table(slices.Clone(list)...)
		if got := tab.Origin(p, origin); got != want {
			t.Fatalf("%s AS%d in %v: %s, want %s", p, origin, list, got, want)
		}
		if inside := tab.Inside(p); !slices.IsSortedFunc(inside, func(a, b rpki.ROA) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) }) || slices.ContainsFunc(inside, func(r rpki.ROA) bool { return !p.Contains(r.Prefix.Addr()) || r.Prefix.Bits() < p.Bits() }) {
			t.Fatalf("inside %s: %v", p, inside)
		}
	})
}

// draft is the draft's own text, with its numbering: AS(1) is the origin.
func draft(registered map[uint32][]uint32, path []uint32, set, down bool) observe.ASPA {
	if set {
		return observe.ASPAInvalid
	}
	as := []uint32{0}
	for _, a := range slices.Backward(path) {
		if as[len(as)-1] != a || len(as) == 1 {
			as = append(as, a)
		}
	}
	n := len(as) - 1
	hop := func(customer, provider uint32) rpki.Hop {
		list, ok := registered[customer]
		switch {
		case !ok:
			return rpki.NoAttestation
		case provider != 0 && slices.Contains(list, provider):
			return rpki.Provider
		}
		return rpki.NotProvider
	}
	maxUp, minUp, maxDown, minDown := n, n, n, n
	for i := n - 1; i >= 1; i-- { // the smallest
		if hop(as[i], as[i+1]) == rpki.NotProvider {
			maxUp = i
		}
		if hop(as[i], as[i+1]) != rpki.Provider {
			minUp = i
		}
	}
	for j := 2; j <= n; j++ { // the largest
		if hop(as[j], as[j-1]) == rpki.NotProvider {
			maxDown = n - j + 1
		}
		if hop(as[j], as[j-1]) != rpki.Provider {
			minDown = n - j + 1
		}
	}
	if !down {
		maxDown, minDown = 0, 0
	}
	switch {
	case maxUp+maxDown < n:
		return observe.ASPAInvalid
	case minUp+minDown < n:
		return observe.ASPAUnknown
	}
	return observe.ASPAValid
}

func TestPathProperty(t *testing.T) {
	t.Parallel()
	seen := map[observe.ASPA]int{}
	rapid.Check(t, func(t *rapid.T) {
		as := rapid.Uint32Range(1, 7)
		registered := rapid.MapOfN(as, rapid.SliceOfN(rapid.Uint32Range(0, 7), 1, 4), 1, 6).Draw(t, "registered")
		d := &rpki.Data{}
		for c, list := range registered {
			d.ASPAs = append(d.ASPAs, rpki.ASPA{Customer: c, Providers: list})
		}
		tab := rpki.NewTable(noon, d)
		path := rapid.SliceOfN(as, 1, 7).Draw(t, "path")
		for from, down := range map[observe.ASRelation]bool{observe.ASCustomer: false, observe.ASPeer: false, observe.ASProvider: true, observe.ASUnknown: true, observe.ASSibling: true} {
			want := draft(registered, path, false, down)
			if got := tab.Path(path, false, from); got != want {
				t.Fatalf("%v from %s in %v: %s, want %s", path, from, registered, got, want)
			}
			seen[want]++
		}
		if tab.Path(path, true, observe.ASProvider) != observe.ASPAInvalid {
			t.Fatal("a set is valid")
		}
	})
	if len(seen) != 3 {
		t.Errorf("the paths don't come to all verdicts: %v", seen)
	}
}

func TestPath(t *testing.T) {
	tab := rpki.NewTable(noon, &rpki.Data{ASPAs: []rpki.ASPA{
		{Customer: 1, Providers: []uint32{11, 12}}, {Customer: 2, Providers: []uint32{12}}, {Customer: 11, Providers: []uint32{0}}, {Customer: 12, Providers: []uint32{0}},
	}})
	for _, c := range []struct {
		name string
		path []uint32
		from observe.ASRelation
		want observe.ASPA
	}{
		{"one AS", []uint32{9}, observe.ASCustomer, observe.ASPAValid},
		{"up, prepended", []uint32{11, 11, 1, 1, 1}, observe.ASPeer, observe.ASPAValid},
		{"up by one that isn't its provider", []uint32{13, 1}, observe.ASPeer, observe.ASPAInvalid},
		{"the same from a provider", []uint32{13, 1}, observe.ASProvider, observe.ASPAValid},
		{"over the top", []uint32{2, 12, 11, 1}, observe.ASProvider, observe.ASPAValid},
		{"the same from a peer", []uint32{2, 12, 11, 1}, observe.ASPeer, observe.ASPAInvalid},
		{"a valley: 1 leaks from 12 to 11", []uint32{11, 1, 12, 2}, observe.ASProvider, observe.ASPAInvalid},
		{"the same, from whomever", []uint32{11, 1, 12, 2}, observe.ASUnknown, observe.ASPAInvalid},
		{"nobody knows", []uint32{31, 32, 33, 34}, observe.ASProvider, observe.ASPAUnknown},
		{"one's own", nil, observe.ASUnknown, observe.ASPANone},
	} {
		if got := tab.Path(c.path, false, c.from); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if list, ok := tab.Providers(1); !ok || !slices.Equal(list, []uint32{11, 12}) {
		t.Errorf("providers: %v", list)
	}
	if _, ok := tab.Providers(3); ok || tab.Hop(11, 0) != rpki.NotProvider {
		t.Error("AS 0 is a provider")
	}
}

// world is as many ROAs as there are, spread as real ones are.
func world(n int) *rpki.Data {
	r := rand.New(rand.NewPCG(1, 2))
	d := &rpki.Data{}
	blocks := make([]uint32, max(1, n/10)) // of which each has ten, inside one another or not
	for i := range blocks {
		blocks[i] = r.Uint32()
	}
	for range n {
		bits := 14 + r.IntN(11)
		a := blocks[r.IntN(len(blocks))]&0xffff0000 | r.Uint32()>>16
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), bits).Masked()
		d.ROAs = append(d.ROAs, rpki.ROA{Prefix: p, MaxLength: uint8(min(24, bits+r.IntN(3))), AS: 1 + r.Uint32N(80000)})
	}
	for as := range uint32(20000) {
		d.ASPAs = append(d.ASPAs, rpki.ASPA{Customer: as + 1, Providers: []uint32{1 + r.Uint32N(80000), 1 + r.Uint32N(80000), 1 + r.Uint32N(80000)}})
	}
	return d
}

func TestAllocations(t *testing.T) {
	tab := table(world(1000).ROAs...)
	with := rpki.NewTable(noon, &rpki.Data{ASPAs: world(0).ASPAs})
	path := []uint32{1, 2, 3, 3, 4}
	if n := testing.AllocsPerRun(100, func() {
		tab.Origin(pfx("100.0.0.0/20"), 7)
		with.Path(path, false, observe.ASProvider)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOrigin(b *testing.B) {
	tab := table(world(700_000).ROAs...)
	r := rand.New(rand.NewPCG(3, 4))
	var list [1 << 12]netip.Prefix
	for i := range list {
		a := r.Uint32()
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8)}), 24)
	}
	for i := 0; b.Loop(); i++ {
		tab.Origin(list[i%len(list)], uint32(i))
	}
}

func BenchmarkPath(b *testing.B) {
	tab := rpki.NewTable(noon, &rpki.Data{ASPAs: world(0).ASPAs})
	path := []uint32{30001, 700, 9000, 9000, 12000}
	for b.Loop() {
		tab.Path(path, false, observe.ASProvider)
	}
}

// As a new table is made of 700,000 ROAs that are in order.
func BenchmarkTable(b *testing.B) {
	d := world(700_000)
	d.ROAs = slices.Clone(table(d.ROAs...).Inside(pfx("0.0.0.0/0")))
	b.ReportMetric(float64(len(d.ROAs)), "ROAs")
	for b.Loop() {
		rpki.NewTable(noon, d)
	}
}
