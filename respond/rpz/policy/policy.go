// Package policy says what a resolver must answer by the policy zones: an evaluator of
// draft-vixie-dnsop-dns-rpz-00 of our own, by which every resolver is judged, and which the
// forwarder answers by.
//
// The first zone with a rule that fits decides. Within a zone a client's address comes before
// a name, the longest prefix first; a name itself before the wildcards above it, the longest
// first. Triggers that need the answer (rpz-ip, rpz-nsdname, rpz-nsip) aren't published by
// this house and aren't evaluated: Zone.Passed counts them.
package policy

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// Set is the policy zones in the order in which they are asked. It isn't changed any more:
// a new serial makes a new Set.
type Set struct{ zones []*Zone }

// NewSet puts zones in their order. Their own order is kept where a name isn't one of the
// four.
func NewSet(zones ...*Zone) *Set {
	order := rpz.Zones()
	z := slices.Clone(zones)
	slices.SortStableFunc(z, func(a, b *Zone) int { return place(order, a.name) - place(order, b.name) })
	return &Set{z}
}

func place(order []rpz.Zone, z rpz.Zone) int {
	if i := slices.Index(order, z); i >= 0 {
		return i
	}
	return len(order)
}

// Zones are the zones in order.
func (s *Set) Zones() []*Zone { return s.zones }

// Match is the rule that decides.
type Match struct {
	zone   *Zone
	out    uint32 // of zone.outcomes
	ref    uint32 // of zone.refs
	name   dns.Name
	wild   bool
	client netip.Prefix
}

// Match finds the rule that decides about a client's question, without allocating. Name is in
// lower case, as dns.Name is; an IPv4 client may come in its IPv6 form.
func (s *Set) Match(client netip.Addr, name dns.Name) (Match, bool) {
	var hashes [128]uint64 // of every ending of the name, as far as somebody needs them
	n := 0
	client = client.Unmap()
	for _, z := range s.zones {
		if z.clients.Size() > 0 {
			if r, ok := z.clients.Lookup(client); ok {
				return Match{zone: z, out: r.out, ref: r.ref, client: r.prefix}, true
			}
		}
		if len(z.entries) == 0 {
			continue
		}
		if n == 0 {
			n = endings(name, &hashes)
		}
		if m, ok := z.find(name, &hashes, n); ok {
			return m, true
		}
	}
	return Match{}, false
}

// endings hashes the name and everything above it; the first is the name's own. The root is
// the last of them.
func endings(name dns.Name, hashes *[128]uint64) (n int) {
	for i := 0; i < len(name) && n < len(hashes); n++ {
		hashes[n] = maphash.Bytes(seed, name[i:])
		if name[i] == 0 {
			return n + 1
		}
		i += 1 + int(name[i])
	}
	return n
}

// seed is the process's own, so that nobody outside can choose names that collide.
var seed = maphash.MakeSeed()

// Zone is one policy zone, compiled. See Builder.
type Zone struct {
	name     rpz.Zone
	serial   uint32
	rules    int
	passed   int
	entries  []entry
	slots    []uint64  // 32 bits of hash, 32 of the entry's number plus one; zero is free
	depths   [2]uint64 // at which numbers of labels there are exact names, wildcards (the last bit: there or deeper)
	names    []byte    // of the entries, on the wire
	refs     []byte    // each behind its length
	outcomes []outcome
	clients  *bart.Table[clientRule]
	gone     int // names that were taken away, and still have their room
}

// entry is what is known of a name: of itself and of all below it.
type entry struct {
	at  uint32    // of its name in names
	out [2]uint32 // number of the outcome plus one; zero none
	ref [2]uint32
}

const (
	exact = iota
	wild
)

type clientRule struct {
	prefix   netip.Prefix
	out, ref uint32
}

// outcome is what is done; many rules share one.
type outcome struct {
	action rpz.Action
	data   []Record
	words  []string
}

// Record is a record of local data.
type Record struct {
	Type uint16
	Data []byte
}

// Name is the zone's name.
func (z *Zone) Name() rpz.Zone { return z.name }

// Serial is the serial that it was compiled from.
func (z *Zone) Serial() uint32 { return z.serial }

// Rules is how many rules it holds.
func (z *Zone) Rules() int { return z.rules }

// Passed is how many records held a trigger that isn't evaluated here.
func (z *Zone) Passed() int { return z.passed }

// find looks for the name itself, then for the wildcards above it.
func (z *Zone) find(name dns.Name, hashes *[128]uint64, n int) (Match, bool) {
	at := 0
	for i := range n {
		// A name of l labels stands l places before the root.
		l := min(n-1-i, 63)
		kind := wild
		if i == 0 {
			kind = exact
		}
		if z.depths[kind]&(1<<l) != 0 {
			if e := z.entry(hashes[i], name[at:]); e != nil && e.out[kind] != 0 {
				return Match{zone: z, out: e.out[kind] - 1, ref: e.ref[kind], name: z.nameAt(e.at), wild: kind == wild}, true
			}
		}
		if i < n-1 {
			at += 1 + int(name[at])
		}
	}
	return Match{}, false
}

func (z *Zone) entry(hash uint64, name dns.Name) *entry {
	mask := uint64(len(z.slots) - 1) // #nosec G115 -- never empty
	for i := hash & mask; ; i = (i + 1) & mask {
		s := z.slots[i]
		if s == 0 {
			return nil
		}
		if s>>32 == hash>>32 {
			e := &z.entries[uint32(s)-1] // #nosec G115 -- the low half
			if string(z.nameAt(e.at)) == string(name) {
				return e
			}
		}
	}
}

// nameAt is the name that begins at an offset; its length stands before it.
func (z *Zone) nameAt(at uint32) dns.Name {
	n := uint32(z.names[at])
	return dns.Name(z.names[at+1 : at+1+n])
}

// Zone is whose rule it is.
func (m Match) Zone() rpz.Zone {
	if m.zone == nil {
		return ""
	}
	return m.zone.name
}

// Serial is the serial of that zone.
func (m Match) Serial() uint32 { return m.zone.serial }

// Action is what is done.
func (m Match) Action() rpz.Action { return m.zone.outcomes[m.out].action }

// Rule is the rule, in words.
func (m Match) Rule() rpz.Rule {
	o := m.zone.outcomes[m.out]
	r := rpz.Rule{Client: m.client, Action: o.action, Data: slices.Clone(o.words), Ref: m.zone.ref(m.ref)}
	switch {
	case m.client.IsValid():
	case m.wild && len(m.name) <= 1:
		r.Name = "*"
	case m.wild:
		r.Name = "*." + m.name.String()
	default:
		r.Name = m.name.String()
	}
	return r
}

func (z *Zone) ref(at uint32) string {
	if at == 0 {
		return ""
	}
	n := uint32(binary.BigEndian.Uint16(z.refs[at:]))
	return string(z.refs[at+2 : at+2+n])
}

// Local gives the records of one's own for a question: those of its type, or an alias,
// whatever was asked. None is an answer too: the name exists, without that type. An alias to
// *.x leads to the name below x (draft §3.6).
func (m Match) Local(name dns.Name, typ uint16) []Record {
	var out []Record
	for _, r := range m.zone.outcomes[m.out].data {
		switch {
		case r.Type == dns.CNAME:
			return []Record{{dns.CNAME, rewritten(name, r.Data)}}
		case r.Type == typ || typ == dns.Any:
			out = append(out, r)
		}
	}
	return out
}

// rewritten is the target of an alias: *.x stands for the name below x. A name that becomes
// too long is left as x.
func rewritten(name dns.Name, target []byte) []byte {
	if len(target) < 3 || target[0] != 1 || target[1] != '*' {
		return target
	}
	below := target[2:]
	if len(name)-1+len(below) > dns.MaxName {
		return below
	}
	return append(slices.Clone([]byte(name[:len(name)-1])), below...)
}
