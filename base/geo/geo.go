// Package geo says which country and which AS an address belongs to, and about
// where it is, at the speed of a memory look-up.
//
// The telescope asks for every new source, millions a minute. So everything is
// flattened at load into sorted range tables without pointers: a look-up is one
// indexed binary search and two array reads, allocates nothing, and costs the
// garbage collector nothing. The data are open sets compiled at build time
// (base/geo/compile) or MMDB files of the operator's own.
package geo

import (
	"sort"
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

// Table answers look-ups. It never changes after it is made, so any number of
// goroutines may use it. A nil or zero Table knows nothing.
type Table struct {
	v4     v4Table
	v6     v6Table
	spots  []spot // spots[0] is "nothing"
	names  names
	source []Source
}

// known is what one range of addresses says: the AS itself, and an index into
// spots. There are few distinct spots (tens of thousands), so they stay in cache.
type known struct{ asn, spot uint32 }

// spot is a country with a position.
type spot struct {
	lat, lon int16 // tenths of a degree
	country  [2]byte
	located  bool
}

// Lookup says what is known of an address.
func (t *Table) Lookup(a packet.Addr) Place {
	if t == nil {
		return Place{}
	}
	var k known
	if a.Is4() {
		k = t.v4.find(a.V4())
	} else {
		k = t.v6.find(a)
	}
	if k == (known{}) {
		return Place{}
	}
	s := &t.spots[k.spot]
	return Place{
		Country: s.country,
		ASN:     k.asn,
		Lat:     float32(s.lat) / 10,
		Lon:     float32(s.lon) / 10,
		Located: s.located,
	}
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
	return append([]Source(nil), t.source...)
}

// Bytes is the memory the table holds, in bytes.
func (t *Table) Bytes() int {
	if t == nil {
		return 0
	}
	return 4*(cap(t.v4.start)+cap(t.v4.index)+cap(t.v6.index)) +
		16*cap(t.v6.start) +
		int(unsafe.Sizeof(known{}))*(cap(t.v4.known)+cap(t.v6.known)) +
		int(unsafe.Sizeof(spot{}))*cap(t.spots) +
		4*(cap(t.names.asn)+cap(t.names.end)) + len(t.names.text)
}

// v4Table holds ranges of IPv4 addresses: known[i] is true from start[i] up to
// the address before start[i+1]; start[0] is 0.0.0.0. index[h] is the first range
// that starts at h<<16 or later, so that a search sees the ranges of one /16.
type v4Table struct {
	start []uint32
	known []known
	index []uint32 // 65,537 entries
}

func (t *v4Table) find(a uint32) known {
	if len(t.start) == 0 {
		return known{}
	}
	lo, hi := t.index[a>>16], t.index[a>>16+1]
	for lo < hi { // the first range that starts after a
		mid := (lo + hi) / 2
		if t.start[mid] <= a {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return t.known[lo-1]
}

func (t *v4Table) buildIndex() {
	t.index = make([]uint32, 1<<16+1)
	i := 0
	for h := range t.index {
		for i < len(t.start) && uint64(t.start[i]) < uint64(h)<<16 {
			i++
		}
		t.index[h] = uint32(i)
	}
}

// v6Table is the same for IPv6. Its index runs over 2000::/3, the global
// unicast space (RFC 4291 §2.4), by /21; what lies below or above falls into the
// first or the last slot.
type v6Table struct {
	start []packet.Addr
	known []known
	index []uint32 // v6Slots+1 entries
}

const v6Slots = 1 << 18

func v6Slot(a packet.Addr) uint32 {
	const first, last = uint64(0x2000) << 48, uint64(0x3fff)<<48 | 0xffff_ffff_ffff
	return uint32((min(max(a.Hi, first), last) - first) >> 43)
}

func (t *v6Table) find(a packet.Addr) known {
	if len(t.start) == 0 {
		return known{}
	}
	s := v6Slot(a)
	lo, hi := t.index[s], t.index[s+1]
	for lo < hi {
		mid := (lo + hi) / 2
		if s := &t.start[mid]; s.Hi < a.Hi || s.Hi == a.Hi && s.Lo <= a.Lo {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return t.known[lo-1]
}

func (t *v6Table) buildIndex() {
	t.index = make([]uint32, v6Slots+1)
	i := 0
	for s := range t.index {
		for i < len(t.start) && v6Slot(t.start[i]) < uint32(s) {
			i++
		}
		t.index[s] = uint32(i)
	}
}

// names are the AS names in one string: the i-th ends at end[i].
type names struct {
	asn  []uint32 // ascending
	end  []uint32
	text string
}

func (n *names) of(asn uint32) string {
	i := sort.Search(len(n.asn), func(i int) bool { return n.asn[i] >= asn })
	if i == len(n.asn) || n.asn[i] != asn {
		return ""
	}
	from := uint32(0)
	if i > 0 {
		from = n.end[i-1]
	}
	return n.text[from:n.end[i]]
}
