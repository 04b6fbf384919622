package geo_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/base/geo"
	"sakimori/base/wire/packet"
)

func addr(s string) packet.Addr { return packet.FromNetip(netip.MustParseAddr(s)) }

func place(cc string, asn uint32, lat, lon float32, located bool) geo.Place {
	p := geo.Place{ASN: asn, Lat: lat, Lon: lon, Located: located}
	copy(p.Country[:], cc)
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// small is a world of a few ranges.
func small(t *testing.T) *geo.Builder {
	t.Helper()
	b := geo.NewBuilder()
	check(t, b.AddCountry(addr("192.0.2.0"), addr("192.0.2.255"), "JP"))
	check(t, b.AddCountry(addr("198.51.100.0"), addr("198.51.100.255"), "US"))
	check(t, b.AddCountry(addr("2001:db8::"), addr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), "JP"))
	b.Done(geo.Source{Part: geo.Country, Name: "countries"})
	check(t, b.AddASN(addr("192.0.2.128"), addr("192.0.2.255"), 64500, "Example Net"))
	check(t, b.AddASN(addr("203.0.113.7"), addr("203.0.113.7"), 64501, ""))
	b.Done(geo.Source{Part: geo.ASN, Name: "numbers"})
	check(t, b.AddPosition(addr("192.0.2.0"), addr("192.0.2.63"), "JP", 35.68, 139.77))   // Tokyo
	check(t, b.AddPosition(addr("192.0.2.64"), addr("192.0.2.95"), "JP", 34.69, 135.50))  // Osaka
	check(t, b.AddPosition(addr("192.0.2.96"), addr("192.0.2.111"), "US", 37.4, -122.08)) // contradicts the country part
	check(t, b.AddPosition(addr("203.0.113.0"), addr("203.0.113.127"), "FR", 48.86, 2.35))
	b.Done(geo.Source{Part: geo.City, Name: "positions"})
	return b
}

func TestLookup(t *testing.T) {
	table := small(t).Table()
	for a, want := range map[string]geo.Place{
		"192.0.1.255":           {},
		"192.0.2.0":             place("JP", 0, 35.7, 139.8, true),
		"192.0.2.63":            place("JP", 0, 35.7, 139.8, true),
		"192.0.2.64":            place("JP", 0, 34.7, 135.5, true),
		"192.0.2.96":            place("JP", 0, 35.7, 139.8, false), // the country part decides; the representative point is Tokyo's
		"192.0.2.112":           place("JP", 0, 35.7, 139.8, false),
		"192.0.2.128":           place("JP", 64500, 35.7, 139.8, false),
		"192.0.2.255":           place("JP", 64500, 35.7, 139.8, false),
		"192.0.3.0":             {},
		"198.51.100.1":          place("US", 0, 37.4, -122.1, false),
		"203.0.113.6":           place("FR", 0, 48.9, 2.4, true), // the country part is silent
		"203.0.113.7":           place("FR", 64501, 48.9, 2.4, true),
		"::ffff:203.0.113.7":    place("FR", 64501, 48.9, 2.4, true),
		"203.0.113.128":         {},
		"2001:db8::":            place("JP", 0, 35.7, 139.8, false),
		"2001:db8:ffff:ffff::1": place("JP", 0, 35.7, 139.8, false),
		"2001:db9::":            {},
		"2001:db7:ffff:ffff::":  {},
		"::":                    {},
		"0.0.0.0":               {},
		"255.255.255.255":       {},
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": {},
	} {
		if d := cmp.Diff(want, table.Lookup(addr(a))); d != "" {
			t.Errorf("%s (-want +got):\n%s", a, d)
		}
	}
	for asn, want := range map[uint32]string{64500: "Example Net", 64501: "", 64499: "", 0: "", 1 << 31: ""} {
		if got := table.ASName(asn); got != want {
			t.Errorf("ASName(%d) = %q, want %q", asn, got, want)
		}
	}
	if got := len(table.Sources()); got != 3 {
		t.Errorf("%d sources, want 3", got)
	}
}

func TestTableThatKnowsNothing(t *testing.T) {
	for name, table := range map[string]*geo.Table{"nil": nil, "zero": {}, "empty": geo.NewBuilder().Table()} {
		for _, a := range []string{"::", "0.0.0.0", "8.8.8.8", "255.255.255.255", "2001:db8::1", "ffff::1"} {
			if got := table.Lookup(addr(a)); got != (geo.Place{}) {
				t.Errorf("%s: %s is %+v", name, a, got)
			}
		}
		if table.ASName(15169) != "" || len(table.Sources()) != 0 {
			t.Errorf("%s knows a name or a source", name)
		}
	}
}

func TestRefused(t *testing.T) {
	a := addr("192.0.2.10")
	for name, add := range map[string]func(*geo.Builder) error{
		"lower-case country": func(b *geo.Builder) error { return b.AddCountry(a, a, "jp") },
		"long country":       func(b *geo.Builder) error { return b.AddCountry(a, a, "JPN") },
		"latitude":           func(b *geo.Builder) error { return b.AddPosition(a, a, "JP", 90.1, 0) },
		"not a number": func(b *geo.Builder) error {
			nan := 0.0
			return b.AddPosition(a, a, "JP", nan/nan, 0)
		},
		"upside down": func(b *geo.Builder) error { return b.AddASN(a, addr("192.0.2.9"), 1, "") },
		"before the last one": func(b *geo.Builder) error {
			_ = b.AddASN(a, a, 1, "")
			return b.AddASN(addr("192.0.2.9"), addr("192.0.2.9"), 2, "")
		},
		"inside the last one": func(b *geo.Builder) error {
			_ = b.AddASN(a, addr("192.0.2.20"), 1, "")
			return b.AddASN(addr("192.0.2.20"), addr("192.0.2.30"), 2, "")
		},
		"the same again": func(b *geo.Builder) error {
			_ = b.AddASN(a, a, 1, "")
			return b.AddASN(a, a, 2, "")
		},
	} {
		if add(geo.NewBuilder()) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// fact is one range of an oracle that is searched from end to end.
type fact struct {
	first, last packet.Addr
	country     string
	asn         uint32
	lat, lon    int
}

var families = rapid.SampledFrom([]packet.Addr{
	addr("::"), addr("0.0.0.0"), addr("192.0.2.0"), addr("255.255.240.0"), addr("1fff:ffff:ffff::"), addr("2001:db8::"),
	addr("2001:db8:0:0:ffff:ffff:ffff:0"), addr("3fff:ffff:ffff:ffff::"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:0"),
})

// near is an address a little above one of the corners above, in either half.
func near(t *rapid.T) packet.Addr {
	a := families.Draw(t, "corner")
	step := rapid.Uint64Range(0, 5000).Draw(t, "step")
	if a.Hi == 0 || a.Hi == 1<<64-1 || rapid.Bool().Draw(t, "low") {
		if a.Lo+step < a.Lo {
			return packet.Addr{Hi: a.Hi, Lo: 1<<64 - 1}
		}
		return packet.Addr{Hi: a.Hi, Lo: a.Lo + step}
	}
	return packet.Addr{Hi: a.Hi + step, Lo: a.Lo}
}

func facts(t *rapid.T, name string) []fact {
	edges := rapid.SliceOfN(rapid.Custom(near), 0, 40).Draw(t, name)
	if !rapid.Bool().Draw(t, "disordered") {
		slices.SortFunc(edges, packet.Addr.Compare)
	}
	var out []fact
	for i := 0; i+1 < len(edges); i += 2 {
		f := fact{
			first: edges[i], last: edges[i+1],
			country: rapid.SampledFrom([]string{"", "JP", "US", "ZA"}).Draw(t, "country"),
			asn:     rapid.Uint32Range(0, 5).Draw(t, "asn"),
			lat:     rapid.IntRange(-900, 900).Draw(t, "lat"),
			lon:     rapid.IntRange(-1800, 1800).Draw(t, "lon"),
		}
		if f.last.Compare(f.first) < 0 {
			f.first, f.last = f.last, f.first
		}
		out = append(out, f)
	}
	return out
}

// add gives the facts that the builder takes: those in order that say something.
func add(fs []fact, says func(fact) bool, to func(fact) error) (taken []fact) {
	for _, f := range fs {
		if to(f) == nil && says(f) {
			taken = append(taken, f)
		}
	}
	return taken
}

func search(fs []fact, a packet.Addr) (fact, bool) {
	for _, f := range fs {
		if f.first.Compare(a) <= 0 && a.Compare(f.last) <= 0 {
			return f, true
		}
	}
	return fact{}, false
}

// TestLinearSearch compares the table, before and after a trip through the
// compact and the packed file, with a search through the list of ranges.
func TestLinearSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := geo.NewBuilder()
		countries := add(facts(t, "countries"), func(f fact) bool { return f.country != "" }, func(f fact) error { return b.AddCountry(f.first, f.last, f.country) })
		b.Done(geo.Source{Part: geo.Country, Name: "国", Attribution: "by nobody", URL: "https://example.net/"})
		numbers := add(facts(t, "numbers"), func(f fact) bool { return f.asn != 0 }, func(f fact) error {
			return b.AddASN(f.first, f.last, f.asn, fmt.Sprint("AS ", f.asn))
		})
		b.Done(geo.Source{Part: geo.ASN, Name: "n"})
		positions := add(facts(t, "positions"), func(fact) bool { return true }, func(f fact) error {
			return b.AddPosition(f.first, f.last, f.country, float64(f.lat)/10, float64(f.lon)/10)
		})
		b.Done(geo.Source{Part: geo.City, Name: "p"})

		file, err := b.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := geo.Decode(file)
		if err != nil {
			t.Fatal(err)
		}
		pack, err := b.Pack()
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := geo.Unpack(bytes.NewReader(pack), int64(len(pack)))
		if err != nil {
			t.Fatal(err)
		}
		before, after := b.Table(), again.Table()
		for _, t2 := range []*geo.Table{after, unpacked} {
			if d := cmp.Diff(before.Sources(), t2.Sources()); d != "" {
				t.Fatalf("sources (-before +after):\n%s", d)
			}
		}

		var asked []packet.Addr
		for _, fs := range [][]fact{countries, numbers, positions} {
			for _, f := range fs {
				asked = append(asked, f.first, f.last, packet.Addr{Hi: f.first.Hi, Lo: f.first.Lo - 1}, packet.Addr{Hi: f.last.Hi, Lo: f.last.Lo + 1})
			}
		}
		asked = append(asked, rapid.SliceOfN(rapid.Custom(near), 20, 20).Draw(t, "asked")...)
		for _, a := range asked {
			c, _ := search(countries, a)
			n, _ := search(numbers, a)
			p, located := search(positions, a)
			if c.country == "" {
				c.country = p.country
			}
			located = located && (p.country == "" || p.country == c.country)
			want := place(c.country, n.asn, float32(p.lat)/10, float32(p.lon)/10, located)
			got := before.Lookup(a)
			if !got.Located && !located { // representative points have a test of their own
				want.Lat, want.Lon = got.Lat, got.Lon
			}
			if got != want {
				t.Fatalf("%v: %+v, by the list %+v", a, got, want)
			}
			if got := after.Lookup(a); got != before.Lookup(a) {
				t.Fatalf("%v: %+v after the round trip, %+v before", a, got, before.Lookup(a))
			}
			country, asn := unpacked.Owner(a)
			if place := unpacked.Lookup(a); place != got || country != got.Country || asn != got.ASN {
				t.Fatalf("%v: %+v of %s AS%d after packing, %+v before", a, place, country[:], asn, got)
			}
			if x, y := before.ASName(n.asn), unpacked.ASName(n.asn); x != y {
				t.Fatalf("AS %d is called %q, after packing %q", n.asn, x, y)
			}
			if x, y := before.ASName(n.asn), after.ASName(n.asn); x != y || n.asn != 0 && x == "" {
				t.Fatalf("AS %d is called %q, after the round trip %q", n.asn, x, y)
			}
		}
	})
}

// TestCoarsen counts the addresses of each /24.
func TestCoarsen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := geo.NewBuilder()
		base := addr("192.0.0.0").V4()
		var lat [4 * 256]int
		for at := rapid.IntRange(0, 300).Draw(t, "first"); at < len(lat); {
			n := min(rapid.IntRange(1, 400).Draw(t, "length"), len(lat)-at)
			v := rapid.IntRange(0, 3).Draw(t, "latitude")
			if v > 0 {
				if err := b.AddPosition(packet.V4(base+uint32(at)), packet.V4(base+uint32(at+n-1)), "JP", float64(v), 1); err != nil {
					t.Fatal(err)
				}
			}
			for i := range n {
				lat[at+i] = v
			}
			at += n
		}
		b.Done(geo.Source{Part: geo.City})
		b.Coarsen()
		table := b.Table()
		for net := range 4 {
			share := map[int]int{}
			for _, v := range lat[net*256 : net*256+256] {
				share[v]++
			}
			p := table.Lookup(packet.V4(base + uint32(net*256)))
			got := 0
			if p.Located {
				got = int(p.Lat)
			}
			for v, n := range share {
				if n > share[got] {
					t.Fatalf("/24 number %d is at latitude %d with %d addresses, %d has %d", net, got, share[got], v, n)
				}
			}
			for i := range uint32(256) {
				if q := table.Lookup(packet.V4(base + uint32(net*256) + i)); q != p {
					t.Fatalf("/24 number %d has two positions", net)
				}
			}
		}
		if table.Lookup(packet.V4(base-1)).Located || table.Lookup(packet.V4(base+4*256)).Located {
			t.Fatal("a neighbour got a position")
		}
	})
}

func TestCoarsenIPv6(t *testing.T) {
	b := geo.NewBuilder()
	check(t, b.AddPosition(addr("2001:db8::"), addr("2001:db8:0:5555:ffff:ffff:ffff:ffff"), "JP", 1, 1))
	check(t, b.AddPosition(addr("2001:db8:0:5556::"), addr("2001:db8:1:0:ffff:ffff:ffff:ffff"), "JP", 2, 1)) // two thirds of the first /48, a little of the second
	check(t, b.AddPosition(addr("2001:db8:2::"), addr("2001:db8:4:ffff:ffff:ffff:ffff:ffff"), "JP", 3, 1))
	b.Done(geo.Source{Part: geo.City})
	b.Coarsen()
	table := b.Table()
	for a, lat := range map[string]float32{
		"2001:db8::1": 2, "2001:db8:0:ffff::": 2, "2001:db8:1::": 0, "2001:db8:2::": 3, "2001:db8:4:ffff::": 3, "2001:db8:5::": 0,
	} {
		if p := table.Lookup(addr(a)); p.Lat != lat || p.Located != (lat > 0) {
			t.Errorf("%s: %+v, want latitude %v", a, p, lat)
		}
	}
}

func TestRepresentativePoint(t *testing.T) {
	b := geo.NewBuilder()
	// Half of France's addresses in Paris, two fifths in Lyon, the rest overseas.
	check(t, b.AddPosition(addr("192.0.2.0"), addr("192.0.2.127"), "FR", 48.9, 2.4))
	check(t, b.AddPosition(addr("192.0.2.128"), addr("192.0.2.227"), "FR", 45.8, 4.8))
	check(t, b.AddPosition(addr("192.0.2.228"), addr("192.0.2.255"), "FR", -21.1, 55.5))
	check(t, b.AddPosition(addr("2001:db8::"), addr("2001:db8:0:ffff:ffff:ffff:ffff:ffff"), "FJ", -18.1, 178.4)) // IPv6 alone
	b.Done(geo.Source{Part: geo.City})
	check(t, b.AddCountry(addr("198.51.100.0"), addr("198.51.100.0"), "FR"))
	check(t, b.AddCountry(addr("198.51.100.1"), addr("198.51.100.1"), "FJ"))
	check(t, b.AddCountry(addr("198.51.100.2"), addr("198.51.100.2"), "TV"))
	b.Done(geo.Source{Part: geo.Country})
	table := b.Table()
	for a, want := range map[string]geo.Place{
		"198.51.100.0": place("FR", 0, 45.8, 4.8, false), // the known position nearest to the medians 45.8 N, 4.8 E
		"198.51.100.1": place("FJ", 0, -18.1, 178.4, false),
		"198.51.100.2": place("TV", 0, 0, 0, false),
	} {
		if d := cmp.Diff(want, table.Lookup(addr(a))); d != "" {
			t.Errorf("%s (-want +got):\n%s", a, d)
		}
	}
}

func TestForget(t *testing.T) {
	b := small(t)
	b.Forget([]netip.Prefix{netip.MustParsePrefix("192.0.2.128/26"), netip.MustParsePrefix("2001:db8::/33")})
	table := b.Table()
	for a, known := range map[string]bool{
		"192.0.2.127": true, "192.0.2.128": false, "192.0.2.191": false, "192.0.2.192": true, "2001:db8::1": false, "2001:db8:8000::": true,
	} {
		if got := table.Lookup(addr(a)) != (geo.Place{}); got != known {
			t.Errorf("%s known: %v, want %v", a, got, known)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	table := small(t).Table()
	r := rand.New(rand.NewPCG(1, 2))
	if n := testing.AllocsPerRun(1000, func() {
		table.Lookup(packet.V4(r.Uint32()))
		table.Owner(packet.V4(r.Uint32()))
		table.Lookup(packet.Addr{Hi: 0x2001_0db8<<32 | r.Uint64N(1<<32), Lo: r.Uint64()})
		table.ASName(64500)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
