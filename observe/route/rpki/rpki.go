// Package rpki knows what holders of addresses and AS numbers have registered in the RPKI:
// who may originate a prefix (ROA, RFC 9582), and who an AS's providers are (ASPA,
// draft-ietf-sidrops-aspa-profile). It takes validated data of a cache by RTR, and from the
// JSON and CSV that rpki-client and Routinator write; it validates no signatures itself.
//
// A Set merges sources and follows them. A Table is what they say at one time and never
// changes: readers take the newest by one atomic load. Data that nobody renewed in time are
// void, and then the answer is that nothing is known, never that nothing is registered.
//
// Memory: 48 bytes a ROA and source, and some 60 more in the table: 700,000 ROAs from one
// cache take about 80 MB, twice that for a moment while a new table is built.
package rpki

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// ROA is one prefix that one AS may originate: a validated ROA payload.
type ROA struct {
	Prefix    netip.Prefix `json:"prefix"`
	AS        uint32       `json:"as"`                // 0: nobody may (RFC 6483, 4)
	Expires   uint32       `json:"expires,omitempty"` // Unix seconds, 0 not told
	MaxLength uint8        `json:"max_length"`        // of an announcement
}

// compare orders ROAs by prefix, covering ones first. Equal ones say the same, whenever
// they expire.
func (a ROA) compare(b ROA) int {
	return cmp.Or(comparePrefixes(a.Prefix, b.Prefix), cmp.Compare(a.MaxLength, b.MaxLength), cmp.Compare(a.AS, b.AS))
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// valid tells whether a ROA can be one.
func (a ROA) valid() bool {
	return a.Prefix.IsValid() && !a.Prefix.Addr().Is4In6() && a.Prefix == a.Prefix.Masked() && int(a.MaxLength) >= a.Prefix.Bits() && int(a.MaxLength) <= a.Prefix.Addr().BitLen()
}

// ASPA is all the providers of one customer. One that names AS 0 alone has none.
type ASPA struct {
	Customer  uint32   `json:"customer"`
	Providers []uint32 `json:"providers"`
	Expires   uint32   `json:"expires,omitempty"` // Unix seconds, 0 not told
}

// Data is what one source says at one time.
type Data struct {
	ROAs      []ROA          // in order, none twice
	ASPAs     []ASPA         // by customer, none twice, providers in order
	Anchors   map[string]int // ROAs by trust anchor, where they're told
	Built     time.Time      // when its validator made it, zero not told
	Form      string         // of a file: "json" or "csv"
	Malformed int            // entries that couldn't be read
	Error     error          // the first of them
	Skipped   int            // entries that say of themselves that they don't hold
}

// arrange puts data in order and joins what is there twice; the later expiry counts, and
// several ASPAs of a customer are one with all their providers (as the draft has it).
func (d *Data) arrange() {
	d.ROAs, d.ASPAs = arrangeROAs(d.ROAs), arrangeASPAs(d.ASPAs)
}

func arrangeROAs(list []ROA) []ROA {
	if !slices.IsSortedFunc(list, ROA.compare) {
		slices.SortFunc(list, ROA.compare)
	}
	kept := list[:0]
	for _, r := range list {
		if n := len(kept); n > 0 && kept[n-1].compare(r) == 0 {
			kept[n-1].Expires = later(kept[n-1].Expires, r.Expires)
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

func arrangeASPAs(list []ASPA) []ASPA {
	slices.SortStableFunc(list, func(a, b ASPA) int { return cmp.Compare(a.Customer, b.Customer) })
	kept := list[:0]
	for _, a := range list {
		if n := len(kept); n > 0 && kept[n-1].Customer == a.Customer {
			kept[n-1].Providers = slices.Concat(kept[n-1].Providers, a.Providers)
			kept[n-1].Expires = later(kept[n-1].Expires, a.Expires)
			continue
		}
		kept = append(kept, a)
	}
	for i := range kept {
		p := slices.Clone(kept[i].Providers)
		slices.Sort(p)
		kept[i].Providers = slices.Compact(p)
	}
	return kept
}

// later of two expiries; 0, which is none, is the latest.
func later(a, b uint32) uint32 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}
