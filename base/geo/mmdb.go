package geo

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"sakimori/base/wire/packet"
)

// record holds the fields of the MMDB files in use: those of MaxMind's GeoLite2
// and DB-IP (nested) and those of ip-location-db (flat). A field that a file
// doesn't have stays empty.
type record struct {
	Country struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	CountryCode string `maxminddb:"country_code"`

	ASN uint32 `maxminddb:"autonomous_system_number"`
	Org string `maxminddb:"autonomous_system_organization"`

	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	Latitude  *float64 `maxminddb:"latitude"`
	Longitude *float64 `maxminddb:"longitude"`
}

func (r *record) country() string {
	if r.Country.ISOCode != "" {
		return r.Country.ISOCode
	}
	return r.CountryCode
}

func (r *record) position() (lat, lon float64, ok bool) {
	switch {
	case r.Location.Latitude != nil && r.Location.Longitude != nil:
		return *r.Location.Latitude, *r.Location.Longitude, true
	case r.Latitude != nil && r.Longitude != nil:
		return *r.Latitude, *r.Longitude, true
	}
	return 0, 0, false
}

// fields names what each part needs, for the error of a file that has none of it.
var fields = [parts]string{
	Country: "country.iso_code or country_code",
	ASN:     "autonomous_system_number",
	City:    "location.latitude or latitude",
}

// AddMMDB adds an MMDB file as a source of one part. It reads the file once from
// end to end and doesn't keep it open. src.Part says which part; an empty Name or
// Built is taken from the file.
func (b *Builder) AddMMDB(path string, src Source) error {
	l, built, kind, err := b.readMMDB(path, src.Part)
	if err != nil {
		b.open[src.Part] = layer{}
		return fmt.Errorf("geography file %s: %w", path, err)
	}
	if src.Name == "" {
		src.Name = filepath.Base(path)
		if kind != "" {
			src.Name += " (" + kind + ")"
		}
	}
	if src.Built.IsZero() {
		src.Built = built
	}
	b.open[src.Part] = l
	b.Done(src)
	return nil
}

func (b *Builder) readMMDB(path string, part Part) (l layer, built time.Time, kind string, err error) {
	r, err := maxminddb.Open(path)
	if err != nil {
		if _, unreadable := errors.AsType[*fs.PathError](err); !unreadable {
			err = fmt.Errorf("it is not a whole MMDB file, get it again: %w", err)
		}
		return l, built, "", err
	}
	defer r.Close()
	if e := r.Metadata.BuildEpoch; e > 0 && e < 1<<40 {
		built = time.Unix(int64(e), 0).UTC()
	}

	seen := map[uintptr]uint32{} // many networks share one record: the value by its place in the file
	found := false
	for res := range r.Networks() {
		if err := res.Err(); err != nil {
			return l, built, "", fmt.Errorf("it is damaged, get it again: %w", err)
		}
		v, ok := seen[res.Offset()]
		if !ok {
			if v, err = b.value(res, part); err != nil {
				return l, built, "", fmt.Errorf("at %v: %w", res.Prefix(), err)
			}
			seen[res.Offset()] = v
		}
		found = found || v != 0
		first, last := span(res.Prefix())
		l.add(first, last, v) // what is refused stands between ::1:0:0:0 and the IPv4 addresses, where nothing is routed
	}
	if !found {
		return l, built, "", fmt.Errorf("no record has the field %s; is it the right kind of file (its type is %q)?",
			fields[part], r.Metadata.DatabaseType)
	}
	return l, built, r.Metadata.DatabaseType, nil
}

func (b *Builder) value(res maxminddb.Result, part Part) (uint32, error) {
	var rec record
	if err := res.Decode(&rec); err != nil {
		return 0, fmt.Errorf("its record can't be read: %w", err)
	}
	switch part {
	case Country:
		cc, err := countryCode(rec.country())
		return uint32(cc), err
	case ASN:
		b.name(rec.ASN, rec.Org)
		return rec.ASN, nil
	default:
		lat, lon, ok := rec.position()
		return b.position(rec.country(), lat, lon, ok)
	}
}

// span is the first and last address of a prefix.
func span(p netip.Prefix) (first, last packet.Addr) {
	first = packet.FromNetip(p.Masked().Addr())
	host := p.Addr().BitLen() - p.Bits()
	last = first
	if host >= 64 {
		last.Lo = ^uint64(0)
		last.Hi |= 1<<(host-64) - 1
	} else {
		last.Lo |= 1<<host - 1
	}
	return first, last
}

// files splits a list of paths as PATH is split: ip-location-db, for one, ships
// IPv4 and IPv6 apart.
func files(list string) []string {
	var out []string
	for _, f := range filepath.SplitList(list) {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}
