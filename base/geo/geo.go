// Package geo says which country and which AS an address belongs to, and about
// where it is, at the speed of a memory look-up.
//
// The telescope asks for the owner of every new source, millions a minute; only
// a map asks for positions. So these are two sorted range tables without
// pointers: a look-up is one indexed binary search and one array read, allocates
// nothing, and costs the garbage collector nothing. The data are open sets
// compiled at build time (base/geo/compile), of which the owners are there at
// once and the positions when somebody asks, or MMDB files of the operator's own.
package geo

import (
	"slices"
	"time"
	"unsafe"

	"sakimori/base/wire/packet"
)

// Place is what is known of an address. The zero Place is "nothing".
type Place struct {
	Country  [2]byte // ISO 3166-1 alpha-2; zero: unknown
	ASN      uint32  // 0: unknown
	Lat, Lon float32 // degrees north and east, rounded to 0.1 (11 km): these are estimates
	Located  bool    // false: Lat and Lon are only the country's representative point, or 0,0 for nothing
}

// Part is what a source tells.
type Part uint8

// The three parts, each of which a file of the operator's own can replace.
const (
	Country Part = iota
	ASN
	City // positions
	parts
)

// String is the part's name in configuration and JSON.
func (p Part) String() string {
	if p >= parts {
		return "unknown"
	}
	return [parts]string{"country", "asn", "city"}[p]
}

// Source is a data set in use, for the line of attribution that its licence asks for.
type Source struct {
	Part        Part
	Name        string
	Licence     string    // SPDX identifier; empty: the operator's own file, under the terms they got it
	Attribution string    // to be shown wherever results are shown
	URL         string    // the link the attribution must carry
	Built       time.Time // when its maker built it; zero: not stated
	Ranges      int       // address ranges after equal neighbours were merged
}

// Table answers look-ups. What it says never changes after it is made, so any
// number of goroutines may use it. A nil or zero Table knows nothing.
type Table struct {
	owners owners
	names  names
	source []Source

	places func() (*places, error) // made when first asked for; nil: there are none
}

// Lookup says what is known of an address. The first of a table with built-in
// data takes as long as Prepare.
func (t *Table) Lookup(a packet.Addr) Place {
	if t == nil {
		return Place{}
	}
	var p Place
	p.Country, p.ASN = t.Owner(a)
	if where, _ := t.positions(); where != nil { // Prepare tells the error
		s := where.find(a)
		p.Lat, p.Lon, p.Located = float32(s.lat)/10, float32(s.lon)/10, s.located
	}
	return p
}

// Owner is the country and the AS of an address, zero when unknown.
func (t *Table) Owner(a packet.Addr) (country [2]byte, asn uint32) {
	if t == nil {
		return country, 0
	}
	o := t.owners.find(a)
	return o.country, o.asn
}

// Prepare loads the positions, which takes half a second with the built-in data,
// and says whether they are whole. It need not be called: Lookup does, and knows
// no positions where there was an error.
func (t *Table) Prepare() error {
	_, err := t.positions()
	return err
}

// positions may be nil.
func (t *Table) positions() (*places, error) {
	if t == nil || t.places == nil {
		return nil, nil //nolint:nilnil // a table without positions is whole
	}
	return t.places()
}

// ASName is the name of an AS's organisation, "" when unknown.
func (t *Table) ASName(asn uint32) string {
	if t == nil {
		return ""
	}
	return t.names.of(asn)
}

// Sources lists the data sets in use, by part; empty when nothing was loaded.
func (t *Table) Sources() []Source {
	if t == nil {
		return nil
	}
	return slices.Clone(t.source)
}

// Bytes is the memory the table holds with its positions, in bytes.
func (t *Table) Bytes() int {
	if t == nil {
		return 0
	}
	n := t.owners.v4.bytes() + t.owners.v6.bytes() + 4*(cap(t.names.asn)+cap(t.names.end)) + len(t.names.text)
	if p, _ := t.positions(); p != nil {
		n += p.v4.bytes() + p.v6.bytes() + int(unsafe.Sizeof(spot{}))*cap(p.spots)
	}
	return n
}

// owners say whose an address is.
type owners struct {
	v4 v4Table[owner]
	v6 v6Table[owner]
}

type owner struct {
	asn     uint32
	country [2]byte
}

func (o *owners) find(a packet.Addr) owner {
	if a.Is4() {
		return o.v4.find(a.V4())
	}
	return o.v6.find(a)
}

// places say where an address is: the ranges give indices into spots, of which
// there are few (tens of thousands), so they stay in cache.
type places struct {
	v4    v4Table[uint32]
	v6    v6Table[uint32]
	spots []spot // spots[0] is "nothing"
}

type spot struct {
	lat, lon int16 // tenths of a degree
	located  bool
}

func (p *places) find(a packet.Addr) *spot {
	if a.Is4() {
		return &p.spots[p.v4.find(a.V4())]
	}
	return &p.spots[p.v6.find(a)]
}

// names are the AS names in one string: the i-th ends at end[i].
type names struct {
	asn  []uint32 // ascending
	end  []uint32
	text string
}

func (n *names) of(asn uint32) string {
	i, ok := slices.BinarySearch(n.asn, asn)
	if !ok {
		return ""
	}
	from := uint32(0)
	if i > 0 {
		from = n.end[i-1]
	}
	return n.text[from:n.end[i]]
}
