package geo

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"sakimori/base/wire/packet"
)

// Builder gathers the three parts and makes a Table, or the compact file, of
// them. Ranges of one source must come in ascending order without overlap. A
// second source of the same part fills only what the first left unknown.
type Builder struct {
	layers [parts]layer
	open   [parts]layer // of the source being added, until its Done
	spots  []position   // what a value of the City layer means; spots[0] is unknown
	spotAt map[position]uint32
	names  map[uint32]string
	source []Source
}

// position is an estimate in tenths of a degree, with the country the source
// puts it in, so that it isn't used where the country part says otherwise.
type position struct {
	country  uint16 // the two letters, the first in the upper byte; 0 unknown
	lat, lon int16
	located  bool
}

// NewBuilder is one that knows nothing.
func NewBuilder() *Builder {
	return &Builder{
		spots:  []position{{}},
		spotAt: map[position]uint32{{}: 0},
		names:  map[uint32]string{},
	}
}

var errOrder = errors.New("a range begins before the end of the one before it, or ends before it begins")

// AddCountry says that first to last lie in a country (two capital letters).
func (b *Builder) AddCountry(first, last packet.Addr, country string) error {
	cc, err := countryCode(country)
	if err != nil {
		return err
	}
	if !b.open[Country].add(first, last, uint32(cc)) {
		return errOrder
	}
	return nil
}

// AddASN says that first to last are announced by an AS. An empty name, or one
// for an AS that has one already, changes nothing.
func (b *Builder) AddASN(first, last packet.Addr, asn uint32, name string) error {
	b.name(asn, name)
	if !b.open[ASN].add(first, last, asn) {
		return errOrder
	}
	return nil
}

func (b *Builder) name(asn uint32, name string) {
	if asn != 0 && name != "" && b.names[asn] == "" {
		b.names[asn] = strings.ToValidUTF8(name, "\uFFFD")
	}
}

// AddPosition says about where first to last are, in degrees north and east.
// The country is what the source says of it, "" when it doesn't.
func (b *Builder) AddPosition(first, last packet.Addr, country string, lat, lon float64) error {
	v, err := b.position(country, lat, lon, true)
	if err != nil {
		return err
	}
	if !b.open[City].add(first, last, v) {
		return errOrder
	}
	return nil
}

func (b *Builder) position(country string, lat, lon float64, located bool) (uint32, error) {
	if !(math.Abs(lat) <= 90 && math.Abs(lon) <= 180) {
		return 0, fmt.Errorf("position %v, %v is not on Earth", lat, lon)
	}
	cc, err := countryCode(country)
	if err != nil {
		return 0, err
	}
	p := position{cc, int16(math.Round(lat * 10)), int16(math.Round(lon * 10)), located}
	v, ok := b.spotAt[p]
	if !ok {
		v = uint32(len(b.spots)) //nolint:gosec // at most 65,536 countries × 6.5 million positions, and each needs a range
		b.spots, b.spotAt[p] = append(b.spots, p), v
	}
	return v, nil
}

// countryCode packs two capital letters. "" and ZZ (ISO 3166's user-assigned
// code by which registries say "unknown") are 0.
func countryCode(s string) (uint16, error) {
	if s == "" || s == "ZZ" {
		return 0, nil
	}
	if len(s) != 2 || s[0] < 'A' || s[0] > 'Z' || s[1] < 'A' || s[1] > 'Z' {
		return 0, fmt.Errorf("country %.20q is not two capital letters", s)
	}
	return uint16(s[0])<<8 | uint16(s[1]), nil
}

// Done ends a source. Where a source of the same part came before, the new one
// fills its gaps. A Done with the part and name of the one before adds to it.
func (b *Builder) Done(s Source) {
	l := b.open[s.Part]
	b.open[s.Part] = layer{}
	s.Ranges = len(l.start)
	b.layers[s.Part] = *overlay(&b.layers[s.Part], &l)
	if n := len(b.source); n > 0 && b.source[n-1].Part == s.Part && b.source[n-1].Name == s.Name {
		b.source[n-1].Ranges += s.Ranges // one data set in several files
		return
	}
	b.source = append(b.source, s)
}

// Coarsen brings positions to one per IPv4 /24 and IPv6 /48, the one that most of
// its addresses have: what the compact file keeps.
func (b *Builder) Coarsen() {
	before := max(1, len(b.layers[City].start))
	b.layers[City] = *b.layers[City].coarse()
	for i := range b.source {
		if s := &b.source[i]; s.Part == City { // where there are several, in proportion
			s.Ranges = s.Ranges * len(b.layers[City].start) / before
		}
	}
}

// Forget makes ranges unknown in all parts: what no data set can know. The ranges
// must ascend and not overlap.
func (b *Builder) Forget(ranges []netip.Prefix) {
	var mask layer
	for _, p := range ranges {
		first, last := span(p)
		mask.add(first, last, 1)
	}
	for p := range b.layers {
		var out layer
		sweep([]*layer{&b.layers[p], &mask}, func(start packet.Addr, v *[most]uint32) {
			out.push(start, v[0]*(1-v[1]))
		})
		b.layers[p] = out
	}
}

// cityNamesCountries tells whether any range of the City layer has a country.
func (b *Builder) cityNamesCountries() bool {
	return slices.ContainsFunc(b.layers[City].val, func(v uint32) bool { return b.spots[v].country != 0 })
}

// drop forgets a part, because another takes its place.
func (b *Builder) drop(p Part) {
	b.layers[p] = layer{}
	b.source = slices.DeleteFunc(b.source, func(s Source) bool { return s.Part == p })
	if p == ASN {
		b.names = map[uint32]string{} // the names are part of what the licence covers
	}
}

// Table flattens what was gathered.
//
// The country part decides the country; where it is silent, the City source's
// country stands in. A position counts only when its source puts it in that same
// country; everything else gets the country's representative point.
func (b *Builder) Table() *Table {
	t := b.ownerTable()
	p := b.places()
	t.places = func() (*places, error) { return p, nil }
	return t
}

// ownerTable is a Table without positions.
func (b *Builder) ownerTable() *Table {
	t := &Table{names: flatNames(b.names), source: slices.Clone(b.source)}
	slices.SortStableFunc(t.source, func(x, y Source) int { return int(x.Part) - int(y.Part) })
	o := &t.owners
	sweep([]*layer{&b.layers[Country], &b.layers[ASN], &b.layers[City], &borders}, func(start packet.Addr, v *[most]uint32) {
		cc := b.country(v[Country], v[City])
		own := owner{v[ASN], [2]byte{byte(cc >> 8), byte(cc & 0xff)}}
		if start.Is4() {
			o.v4.push(start.V4(), own)
		} else {
			o.v6.push(start, own)
		}
	})
	o.v4.done()
	o.v6.done()
	return t
}

// places are the positions alone.
func (b *Builder) places() *places {
	p := &places{spots: []spot{{}}}
	centre := b.representatives()
	index := map[spot]uint32{{}: 0}
	type seen struct {
		country uint16
		known   bool
		spot    uint32
	}
	memo := make([]seen, len(b.spots)) // by place: the country last seen with it
	spotOf := func(cc uint16, place uint32) uint32 {
		if m := memo[place]; m.known && m.country == cc {
			return m.spot
		}
		s := merged(cc, b.spots[place], centre)
		i, ok := index[s]
		if !ok {
			i = uint32(len(p.spots)) //nolint:gosec // no more than ranges
			p.spots, index[s] = append(p.spots, s), i
		}
		memo[place] = seen{cc, true, i}
		return i
	}
	sweep([]*layer{&b.layers[Country], &b.layers[City], &borders}, func(start packet.Addr, v *[most]uint32) {
		s := spotOf(b.country(v[0], v[1]), v[1])
		if start.Is4() {
			p.v4.push(start.V4(), s)
		} else {
			p.v6.push(start, s)
		}
	})
	p.v4.done()
	p.v6.done()
	return p
}

// country is that of a stretch, by the values of its Country and City layers.
func (b *Builder) country(country, city uint32) uint16 {
	if country != 0 {
		return uint16(country) //nolint:gosec // packed from 16 bits
	}
	return b.spots[city].country
}

func merged(cc uint16, p position, centre map[uint16]position) spot {
	if p.located && (p.country == cc || p.country == 0) {
		return spot{p.lat, p.lon, true}
	}
	c := centre[cc]
	return spot{lat: c.lat, lon: c.lon}
}

// borders cuts every stretch where IPv4 begins and ends in the address space.
var borders = layer{
	start: []packet.Addr{{}, packet.V4(0), {Lo: (mapped4 | math.MaxUint32) + 1}},
	val:   []uint32{0, 1, 2},
}

func flatNames(m map[uint32]string) names {
	n := names{asn: make([]uint32, 0, len(m)), end: make([]uint32, 0, len(m))}
	for asn := range m {
		n.asn = append(n.asn, asn)
	}
	slices.Sort(n.asn)
	var text strings.Builder
	for _, asn := range n.asn {
		text.WriteString(m[asn])
		n.end = append(n.end, uint32(text.Len())) //nolint:gosec // the reader bounds the text
	}
	n.text = text.String()
	return n
}
