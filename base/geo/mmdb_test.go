package geo_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/geo"
	"sakimori/base/geo/mmdbtest"
)

type record = map[string]any

func mmdb(t *testing.T, name string, o mmdbtest.Options, networks map[string]record) string {
	t.Helper()
	var es []mmdbtest.Entry
	for net, r := range networks {
		es = append(es, mmdbtest.Entry{Net: netip.MustParsePrefix(net), Record: r})
	}
	file, err := mmdbtest.Write(o, es...)
	check(t, err)
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, file, 0o600))
	return path
}

// TestOwnFiles reads the forms of MMDB in use, each of which replaces its part.
func TestOwnFiles(t *testing.T) {
	built := time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)
	geoLite := mmdbtest.Options{Type: "GeoLite2-Country", Epoch: uint64(built.Unix())}
	country := mmdb(t, "country.mmdb", geoLite, map[string]record{
		"192.0.2.0/24":   {"country": record{"iso_code": "JP", "names": record{"ja": "日本"}}},
		"2001:db8::/32":  {"country": record{"iso_code": "DE"}},
		"203.0.113.0/24": {"continent": record{"code": "EU"}}, // no country at all
	})
	numbers := mmdb(t, "asn.mmdb", mmdbtest.Options{Type: "DBIP-ASN-Lite"}, map[string]record{
		"192.0.2.128/25": {"autonomous_system_number": uint32(64500), "autonomous_system_organization": "例示網"},
		"2001:db8::/33":  {"autonomous_system_number": uint32(64501)},
	})
	city := mmdb(t, "city.mmdb", mmdbtest.Options{Type: "GeoLite2-City"}, map[string]record{
		"192.0.2.0/25":    {"country": record{"iso_code": "JP"}, "location": record{"latitude": 35.68, "longitude": 139.77}},
		"198.51.100.0/24": {"country": record{"iso_code": "BR"}, "location": record{"latitude": -22.9, "longitude": -43.2}},
		"203.0.113.0/24":  {"location": record{"latitude": 1.0, "longitude": 2.0}},
	})
	flat4 := mmdb(t, "flat-ipv4.mmdb", mmdbtest.Options{Version: 4}, map[string]record{
		"192.0.2.0/24": {"country_code": "KR", "latitude": float32(37.57), "longitude": float32(126.98), "city": "Seoul"},
	})
	flat6 := mmdb(t, "flat-ipv6.mmdb", mmdbtest.Options{}, map[string]record{
		"2001:db8::/32": {"country_code": "KR", "latitude": float32(35.18), "longitude": float32(129.08)},
	})

	for name, c := range map[string]struct {
		o    geo.Options
		want map[string]geo.Place
	}{
		"country": {geo.Options{Country: country}, map[string]geo.Place{
			"192.0.2.1": place("JP", 0, 0, 0, false), "2001:db8::1": place("DE", 0, 0, 0, false), "203.0.113.1": {}, "192.0.3.0": {},
		}},
		"numbers": {geo.Options{ASN: numbers}, map[string]geo.Place{
			"192.0.2.127": {}, "192.0.2.128": place("", 64500, 0, 0, false), "2001:db8:7fff::": place("", 64501, 0, 0, false), "2001:db8:8000::": {},
		}},
		"city alone gives the country too": {geo.Options{City: city}, map[string]geo.Place{
			"192.0.2.1": place("JP", 0, 35.7, 139.8, true), "192.0.2.128": {}, "203.0.113.1": place("", 0, 1, 2, true),
		}},
		"all": {geo.Options{Country: country, ASN: numbers, City: city}, map[string]geo.Place{
			"192.0.2.1": place("JP", 0, 35.7, 139.8, true), "192.0.2.200": place("JP", 64500, 35.7, 139.8, false),
			"198.51.100.1": place("BR", 0, -22.9, -43.2, true), "2001:db8::": place("DE", 64501, 0, 0, false),
		}},
		"two files": {geo.Options{City: flat6 + string(filepath.ListSeparator) + flat4}, map[string]geo.Place{
			"192.0.2.1": place("KR", 0, 37.6, 127, true), "2001:db8::1": place("KR", 0, 35.2, 129.1, true),
		}},
	} {
		table, err := geo.Load(c.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for a, want := range c.want {
			if d := cmp.Diff(want, table.Lookup(addr(a))); d != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, a, d)
			}
		}
	}

	table, err := geo.Load(geo.Options{Country: country, ASN: numbers})
	check(t, err)
	if got := table.ASName(64500); got != "例示網" {
		t.Errorf("AS64500 is called %q", got)
	}
	want := []geo.Source{
		{Part: geo.Country, Name: "country.mmdb (GeoLite2-Country)", Built: built, Ranges: 5},
		{Part: geo.ASN, Name: "asn.mmdb (DBIP-ASN-Lite)", Ranges: 5},
	}
	if d := cmp.Diff(want, table.Sources()); d != "" {
		t.Errorf("sources (-want +got):\n%s", d)
	}
}

func TestOwnFileThatCannotBeUsed(t *testing.T) {
	good := mmdb(t, "good.mmdb", mmdbtest.Options{}, map[string]record{"192.0.2.0/24": {"country_code": "JP"}})
	whole, err := os.ReadFile(good)
	check(t, err)
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, data, 0o600))
		return path
	}
	for name, c := range map[string]struct {
		o    geo.Options
		says string
	}{
		"missing":         {geo.Options{Country: filepath.Join(dir, "nothing.mmdb")}, "no such file"},
		"empty":           {geo.Options{Country: file("empty.mmdb", nil)}, "get it again"},
		"not MMDB":        {geo.Options{ASN: file("page.mmdb", []byte("<html>404</html>"))}, "get it again"},
		"cut":             {geo.Options{Country: file("cut.mmdb", whole[:len(whole)/2])}, "get it again"},
		"tree cut":        {geo.Options{Country: file("treeless.mmdb", whole[300:])}, ""},
		"of another kind": {geo.Options{ASN: good}, "autonomous_system_number"},
		"country is text": {geo.Options{Country: mmdb(t, "text.mmdb", mmdbtest.Options{}, map[string]record{"192.0.2.0/24": {"country": "JP"}})}, "192.0.2.0/24"},
		"no such country": {geo.Options{Country: mmdb(t, "odd.mmdb", mmdbtest.Options{}, map[string]record{"192.0.2.0/24": {"country_code": "j\x00"}})}, "two capital letters"},
		"not on Earth": {geo.Options{City: mmdb(t, "moon.mmdb", mmdbtest.Options{}, map[string]record{
			"192.0.2.0/24": {"location": record{"latitude": 91.0, "longitude": 0.0}},
		})}, "not on Earth"},
	} {
		table, err := geo.Load(c.o)
		if err == nil || table != nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if path := c.o.Country + c.o.ASN + c.o.City; !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %q names not the file, or not %q", name, err, c.says)
		}
	}
}
