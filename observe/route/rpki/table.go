package rpki

import (
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"sakimori/observe"
)

// Table is what is registered, as of one time. It never changes; any number of goroutines
// may ask it. A nil Table knows nothing. No answer allocates, but for lists.
type Table struct {
	roas  []ROA
	nodes []node             // the different prefixes of roas, in their order
	tree  bart.Table[uint32] // prefix → its node
	more  []right            // of prefixes that have several

	customers map[uint32]span
	providers []uint32

	expires uint32 // Unix seconds at which the first entry does that hasn't yet, 0 none
}

// node is the ROAs of one prefix. Nearly all have one: it stands here, so that a question
// costs one miss of the cache for each prefix around the one that is asked for.
type node struct {
	right
	first uint32 // in roas
	above int32  // the node of the longest prefix around it, -1 none
	count uint32 // of its ROAs
	more  uint32 // in Table.more, where there are several
}

// right is what a ROA says of its prefix.
type right struct {
	as   uint32
	most uint8
}

type span struct{ first, end uint32 } // in providers

// NewTable joins what several sources say; what has expired at now is left out. Data aren't
// changed and must not change any more.
func NewTable(now time.Time, data ...*Data) *Table {
	t := &Table{customers: map[uint32]span{}}
	for _, d := range data {
		if len(data) == 1 {
			t.roas = d.ROAs // shared, unless something of it has expired
			continue
		}
		t.roas = append(t.roas, d.ROAs...)
	}
	if len(data) > 1 {
		t.roas = arrangeROAs(t.roas)
	}
	over := func(expires uint32) bool {
		if expires == 0 || int64(expires) > now.Unix() {
			if expires != 0 && (t.expires == 0 || expires < t.expires) {
				t.expires = expires
			}
			return false
		}
		return true
	}
	if slices.ContainsFunc(t.roas, func(r ROA) bool { return over(r.Expires) }) {
		t.roas = slices.DeleteFunc(slices.Clone(t.roas), func(r ROA) bool { return over(r.Expires) })
	}
	t.index()
	var list []ASPA
	for _, d := range data {
		for _, a := range d.ASPAs {
			if !over(a.Expires) {
				list = append(list, a)
			}
		}
	}
	for _, a := range arrangeASPAs(list) {
		first := len(t.providers)
		t.providers = append(t.providers, a.Providers...)
		t.customers[a.Customer] = span{number(first), number(len(t.providers))}
	}
	return t
}

// number: neither list comes near 2³² entries in any memory there is.
func number(n int) uint32 { return uint32(n) } // #nosec G115

// index finds the different prefixes, and of each the one around it: in their order, one
// that covers stands before what it covers.
func (t *Table) index() {
	var around []uint32
	for i := 0; i < len(t.roas); {
		p, first := t.roas[i].Prefix, i
		for i < len(t.roas) && t.roas[i].Prefix == p {
			i++
		}
		for len(around) > 0 && !covers(t.roas[t.nodes[around[len(around)-1]].first].Prefix, p) {
			around = around[:len(around)-1]
		}
		n := node{first: number(first), above: -1, count: number(i - first), right: right{t.roas[first].AS, t.roas[first].MaxLength}}
		if n.count > 1 {
			n.more = number(len(t.more))
			for _, r := range t.roas[first:i] {
				t.more = append(t.more, right{r.AS, r.MaxLength})
			}
		}
		if len(around) > 0 {
			n.above = int32(around[len(around)-1]) // #nosec G115 -- see number
		}
		id := number(len(t.nodes))
		t.nodes, around = append(t.nodes, n), append(around, id)
		t.tree.Insert(p, id)
	}
}

func covers(a, b netip.Prefix) bool { return a.Bits() <= b.Bits() && a.Contains(b.Addr()) }

// Len is how many ROAs and ASPAs there are.
func (t *Table) Len() (roas, aspas int) {
	if t == nil {
		return 0, 0
	}
	return len(t.roas), len(t.customers)
}

// Origin says whether an AS may originate a prefix (RFC 6811, 2). as is 0 where the path
// ends in a set or is empty: then nothing that is covered is valid.
func (t *Table) Origin(p netip.Prefix, as uint32) observe.ROV {
	if t == nil || !p.IsValid() {
		return observe.ROVUnknown
	}
	id, ok := t.tree.LookupPrefix(p)
	if !ok {
		return observe.ROVNotFound
	}
	state := observe.ROVInvalid
	for at := int32(id); at >= 0; at = t.nodes[at].above { // #nosec G115 -- see number
		n := &t.nodes[at]
		for i := range n.count {
			r := &n.right
			if n.count > 1 {
				r = &t.more[n.more+i]
			}
			if r.as == as && as != 0 {
				if p.Bits() <= int(r.most) {
					return observe.ROVValid
				}
				state = observe.ROVInvalidLength
			}
		}
	}
	return state
}

// ROAs are those that cover a prefix, the longest prefix first.
func (t *Table) ROAs(p netip.Prefix) (list []ROA) {
	if t == nil {
		return nil
	}
	id, ok := t.tree.LookupPrefix(p)
	if !ok {
		return nil
	}
	for at := int32(id); at >= 0; at = t.nodes[at].above { // #nosec G115 -- see number
		n := &t.nodes[at]
		list = append(list, t.roas[n.first:n.first+n.count]...)
	}
	return list
}

// Inside are the ROAs of a prefix itself and of those inside it, in their order.
func (t *Table) Inside(p netip.Prefix) []ROA {
	if t == nil {
		return nil
	}
	first, _ := slices.BinarySearchFunc(t.roas, p, func(r ROA, p netip.Prefix) int { return comparePrefixes(r.Prefix, p) })
	end := first
	for end < len(t.roas) && covers(p, t.roas[end].Prefix) {
		end++
	}
	return slices.Clip(t.roas[first:end])
}

// Hop is what a customer has registered of somebody.
type Hop uint8

// The answers (draft-ietf-sidrops-aspa-verification, 5.1).
const (
	NoAttestation Hop = iota // it has registered nothing
	Provider                 // it is one
	NotProvider              // it isn't: the customer has named others
)

// Hop says whether somebody is a provider of a customer, as far as the customer says.
func (t *Table) Hop(customer, provider uint32) Hop {
	if t == nil {
		return NoAttestation
	}
	s, ok := t.customers[customer]
	if !ok {
		return NoAttestation
	}
	if _, ok := slices.BinarySearch(t.providers[s.first:s.end], provider); ok && provider != 0 {
		return Provider
	}
	return NotProvider
}

// Providers are those that an AS has registered, and whether it has registered any list:
// AS 0 alone means that it has none. The list must not be changed.
func (t *Table) Providers(as uint32) ([]uint32, bool) {
	if t == nil {
		return nil, false
	}
	s, ok := t.customers[as]
	return slices.Clip(t.providers[s.first:s.end]), ok
}

// Path verifies a path by draft-ietf-sidrops-aspa-verification (revision 24, sections 6.1
// and 6.2). ases and set are as a RoutePath has them: the observer's neighbour first, the
// origin last, prepending kept; set tells that an AS_SET stands in it, which is invalid.
//
// from is what the neighbour is to whoever heard it: from a customer, a peer or a route
// server the path must go up alone; from a provider it may go up and then down. Where it
// isn't known the latter is asked: what is invalid then is invalid whoever the neighbour
// is. That the first AS is the neighbour's own the caller must see to, as route servers
// are exempt. An empty path is nobody's but one's own: there is nothing to verify.
func (t *Table) Path(ases []uint32, set bool, from observe.ASRelation) observe.ASPA {
	if t == nil || len(t.customers) == 0 || len(ases) == 0 && !set {
		return observe.ASPANone
	}
	if set {
		return observe.ASPAInvalid
	}
	up := from == observe.ASCustomer || from == observe.ASPeer
	n, maxUp, minUp := t.ramp(ases, len(ases)-1, -1)
	if up {
		return judge(n, maxUp, minUp)
	}
	_, maxDown, minDown := t.ramp(ases, 0, 1)
	return judge(n, maxUp+maxDown, minUp+minDown)
}

func judge(n, most, least int) observe.ASPA {
	switch {
	case most < n:
		return observe.ASPAInvalid
	case least < n:
		return observe.ASPAUnknown
	}
	return observe.ASPAValid
}

// ramp climbs from one end of a path, each AS to a provider of its own: how many different
// ASes there are, how many the climb may have at most (until somebody has said that the
// next isn't a provider), and how many it has for certain (until somebody hasn't said that
// it is).
func (t *Table) ramp(ases []uint32, from, step int) (n, most, least int) {
	n = 1
	at := ases[from]
	for i := from + step; i >= 0 && i < len(ases); i += step {
		next := ases[i]
		if next == at {
			continue
		}
		if most == 0 { // once it is told, nothing beyond counts
			hop := t.Hop(at, next)
			if hop != Provider && least == 0 {
				least = n
			}
			if hop == NotProvider {
				most = n
			}
		}
		n++
		at = next
	}
	if most == 0 {
		most = n
	}
	if least == 0 {
		least = n
	}
	return n, most, least
}
