package ddos

import (
	"math"
	"net/netip"

	"github.com/gaissmai/bart"

	"sakimori/base/wire/packet"
)

// rule is the lines of everything inside a prefix.
type rule struct {
	customer int32 // the narrowest around it, -1 none
	name     string
	lines    [wide + 1]Line // by role
	warm     [wide + 1]Line // from here on an object is warm
}

// rules are the thresholds, ready to be asked.
type rules struct {
	Thresholds
	all     bool // every destination is protected
	own     bart.Lite
	own16   [1 << 16]uint8              // of IPv4 by its upper half: 0 none is own, 1 all, 2 ask own
	table   bart.Table[uint16]          // address → rule
	list    []rule                      // 0: none of its own
	totals  map[netip.Prefix]Line       // of prefixes as a whole, as written
	parents []int32                     // of customers, -1 none
	links   map[string]map[uint32]int32 // exporter's name, interface → link
}

// widths4 and widths6 are those of the prefixes that are watched, by role.
var (
	widths4 = [wide + 1]uint8{narrow: 24, middle: 22, wide: 20}
	widths6 = [wide + 1]uint8{narrow: 64, middle: 56, wide: 48}
)

// compile makes rules of thresholds that were filled.
func compile(own []netip.Prefix, t Thresholds) *rules {
	r := &rules{Thresholds: t, all: len(own) == 0, totals: map[netip.Prefix]Line{}, links: map[string]map[uint32]int32{}}
	for _, p := range own {
		r.own.Insert(unmap(p))
		r.mark(unmap(p))
	}
	r.list = append(r.list, r.rule(-1, "", Line{}, Line{}))
	byName := map[string]int32{}
	for i, c := range t.Customers {
		byName[c.Name] = int32(i)
	}
	// From the outermost customer to the innermost, each taking over what its
	// surrounding one says; then prefixes with lines of their own.
	lines := make([][2]Line, len(t.Customers))
	for i, c := range t.Customers {
		parent := int32(-1)
		if c.Within != "" {
			parent = byName[c.Within]
		}
		r.parents = append(r.parents, parent)
		a, p := c.Address, c.Prefix
		for at := c; at.Within != ""; {
			at = t.Customers[byName[at.Within]]
			a, p = a.or(at.Address), p.or(at.Prefix)
		}
		lines[i] = [2]Line{a, p}
	}
	for depth := 0; depth <= deepest+1; depth++ {
		for i, c := range t.Customers {
			if r.depth(int32(i)) != depth || len(r.list) >= math.MaxUint16 {
				continue
			}
			r.list = append(r.list, r.rule(int32(i), c.Name, lines[i][0], lines[i][1]))
			for _, p := range c.Prefixes {
				r.table.Insert(unmap(p), uint16(len(r.list)-1)) //nolint:gosec // checked
			}
		}
	}
	// Of several that hold each other the widest comes first.
	for bits := 0; bits <= 128; bits++ {
		for _, p := range t.Prefixes {
			at := unmap(p.Prefix)
			if at.Bits() != bits {
				continue
			}
			around := rule{customer: -1}
			if i, ok := r.table.Lookup(at.Addr()); ok {
				around = r.list[i]
			}
			n := r.rule(around.customer, p.Name, p.Address.or(around.lines[hit]), around.lines[narrow])
			if p.Name == "" {
				n.name = around.name
			}
			r.list = append(r.list, n)
			r.table.Insert(at, uint16(len(r.list)-1)) //nolint:gosec // at most 2·4096
			if p.Total != (Line{}) {
				r.totals[at] = p.Total
			}
		}
	}
	for i, l := range t.Links {
		if r.links[l.Exporter] == nil {
			r.links[l.Exporter] = map[uint32]int32{}
		}
		r.links[l.Exporter][l.Interface] = int32(i)
	}
	return r
}

func (r *rules) depth(c int32) (n int) {
	for c = r.parents[c]; c >= 0; c = r.parents[c] {
		n++
	}
	return n
}

func (r *rules) rule(c int32, name string, address, prefix Line) rule {
	n := rule{customer: c, name: name}
	a, p := address.or(r.Address), prefix.or(r.Prefix)
	n.lines = [wide + 1]Line{hit: a, takes: r.Outgoing, foreign: r.Outgoing, narrow: p, middle: p.times(2), wide: p.times(4)}
	for i, l := range n.lines {
		n.warm[i] = Line{eighth(l.Packets), eighth(l.Bits), eighth(l.Flows)}
	}
	return n
}

// eighth is when an object is worth watching: at 1/8 of its line within an epoch.
func eighth(line float64) float64 {
	if line <= 0 {
		return math.Inf(1)
	}
	return line / 8
}

func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// mark enters a prefix of IPv4 into own16.
func (r *rules) mark(p netip.Prefix) {
	if !p.Addr().Is4() {
		return
	}
	from := packet.FromNetip(p.Addr()).V4() >> 16
	if p.Bits() > 16 {
		if r.own16[from] == 0 {
			r.own16[from] = 2
		}
		return
	}
	for i := range uint32(1) << (16 - p.Bits()) {
		r.own16[from+i] = 1
	}
}

// isOwn tells whether an address is one of ours.
func (r *rules) isOwn(a packet.Addr) bool {
	if a.Is4() {
		if x := r.own16[a.V4()>>16]; x < 2 {
			return x == 1
		}
	}
	return r.own.Contains(a.Netip())
}

// of is the rule of an address.
func (r *rules) of(a packet.Addr) uint16 {
	if len(r.list) == 1 {
		return 0
	}
	i, _ := r.table.Lookup(a.Netip())
	return i
}

// masked is the prefix of a role's width around an address.
func masked(a packet.Addr, to role) packet.Addr {
	if a.Is4() {
		return packet.V4(a.V4() &^ (1<<(32-widths4[to]) - 1))
	}
	return packet.Addr{Hi: a.Hi &^ (1<<(64-widths6[to]) - 1)}
}

// prefixOf is what a narrow, middle or wide object covers, or an address alone.
func prefixOf(a packet.Addr, r role) netip.Prefix {
	ip := a.Netip()
	switch {
	case r < narrow || r > wide:
		return netip.PrefixFrom(ip, ip.BitLen())
	case a.Is4():
		return netip.PrefixFrom(ip, int(widths4[r]))
	}
	return netip.PrefixFrom(ip, int(widths6[r]))
}
