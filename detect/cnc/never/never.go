// Package never knows what a list of C&C servers must not block: the operator's and
// its customers' own names and networks, what MISP's warninglists warn of, public
// suffixes, and names that everybody uses.
//
// It knows overlap, too. Whoever blocks a name blocks all that stands below it, so a
// name is protected when one below it is; and a network is when it holds a protected
// one, or lies in it.
package never

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/gaissmai/bart"
	"github.com/zeebo/xxh3"
	"golang.org/x/net/publicsuffix"

	"sakimori/observe"
)

// Class is what being on a list means; the higher, the stronger.
type Class uint8

// The classes.
const (
	Free      Class = iota // on no list
	Popular                // many go there: two people decide
	Shared                 // many live there, behind one name or address: two people decide
	Protected              // never listed
)

// Verdict is what the lists say of an indicator.
type Verdict struct {
	Class Class
	List  string // that says so, by its name
	Name  string // what stands on it: a name, a network
}

// List is one that was read.
type List struct {
	Name    string
	Class   Class
	Sinks   bool // of known sinkholes: what they hold is marked, not protected
	Ignored bool // by configuration, or it holds neither names nor addresses
	Entries int
	Skipped int // entries that can't be understood
}

// Lists are all of them. They are read first and asked then, by many goroutines.
type Lists struct {
	lists    []List // from 1: 0 is none
	names    map[uint64]mark
	networks bart.Table[uint16]
	sinks    bart.Table[uint16]
	patterns []pattern
	digest   xxh3.Hasher
}

// mark is which list says what about a name: 16 bytes for a name of any length.
type mark struct {
	exact uint16 // the name itself
	under uint16 // the name and all below it
	above uint16 // something below it is listed
}

// pattern is an entry that has to be tried on each value.
type pattern struct {
	list uint16
	part string         // that a value holds
	expr *regexp.Regexp // or that it matches; nil not
}

// suffixes is the list of public suffixes, which comes with the program.
const suffixes = "Public Suffix List"

// reserved are names and networks that nobody's server has.
const reserved = "special use (RFC 6761, RFC 6890)"

// New knows only what nobody may list: public suffixes and what isn't in the Internet.
func New() *Lists {
	l := &Lists{lists: make([]List, 1), names: map[uint64]mark{}}
	n := l.begin(List{Name: reserved, Class: Protected})
	for _, s := range []string{"localhost", "local", "arpa", "invalid", "onion"} {
		l.name(n, s, true)
	}
	for _, s := range []string{"0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"} {
		l.network(n, netip.MustParsePrefix(s), &l.networks)
	}
	return l
}

// begin adds a list.
func (l *Lists) begin(x List) uint16 {
	l.lists = append(l.lists, x)
	l.note(x.Name, string(rune('0'+x.Class)))
	return uint16(len(l.lists) - 1) //nolint:gosec // some hundred
}

// note adds to the digest of everything read.
func (l *Lists) note(parts ...string) {
	for _, p := range parts {
		_, _ = l.digest.WriteString(p) // a hash takes everything
		_, _ = l.digest.Write([]byte{0})
	}
}

// Digest changes when what the lists hold does.
func (l *Lists) Digest() uint64 { return l.digest.Sum64() }

// Lists are those that were read.
func (l *Lists) Lists() []List { return append([]List(nil), l.lists[1:]...) }

// Names is how many names are known, with those that only stand above one.
func (l *Lists) Names() int { return len(l.names) }

// stronger is the list of the stronger class; the first of equals.
func (l *Lists) stronger(a, b uint16) uint16 {
	if l.lists[b].Class > l.lists[a].Class {
		return b
	}
	return a
}

// name adds a name, with all below it or alone.
func (l *Lists) name(list uint16, s string, under bool) {
	l.note(s)
	l.lists[list].Entries++
	h := xxh3.HashString(s)
	m := l.names[h]
	if under {
		m.under = l.stronger(m.under, list)
	} else {
		m.exact = l.stronger(m.exact, list)
	}
	l.names[h] = m
	for {
		_, parent, more := strings.Cut(s, ".")
		if !more || !strings.Contains(parent, ".") { // a TLD is a public suffix anyhow
			return
		}
		h := xxh3.HashString(parent)
		m := l.names[h]
		m.above = l.stronger(m.above, list)
		l.names[h] = m
		s = parent
	}
}

// network adds a network to a table.
func (l *Lists) network(list uint16, p netip.Prefix, to *bart.Table[uint16]) {
	l.note(p.String())
	l.lists[list].Entries++
	have, _ := to.Get(p)
	to.Insert(p, l.stronger(have, list))
}

// Check says what the lists say of an indicator, the strongest first. What isn't in its
// normal form is free: whoever takes it in has refused it before.
func (l *Lists) Check(kind observe.IndicatorKind, value string) Verdict {
	v := l.check(kind, value)
	if v.Class < Protected && len(l.patterns) > 0 {
		v = l.matching(v, value)
	}
	return v
}

func (l *Lists) check(kind observe.IndicatorKind, value string) Verdict {
	switch kind {
	case observe.IndicatorName:
		return l.ofName(value, true)
	case observe.IndicatorHost:
		return l.ofName(value, false)
	case observe.IndicatorAddress:
		if a, err := netip.ParseAddr(value); err == nil {
			return l.ofPrefix(netip.PrefixFrom(a, a.BitLen()))
		}
	case observe.IndicatorEndpoint:
		if a, err := netip.ParseAddrPort(value); err == nil {
			return l.ofPrefix(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	case observe.IndicatorPrefix:
		if p, err := netip.ParsePrefix(value); err == nil {
			return l.ofPrefix(p.Masked())
		}
	case observe.IndicatorURL:
		if u, err := url.Parse(value); err == nil {
			return l.Host(u.Hostname())
		}
	}
	return Verdict{}
}

// Host says what the lists say of a host: a name alone, or an address.
func (l *Lists) Host(s string) Verdict {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return l.ofPrefix(netip.PrefixFrom(a, a.BitLen()))
	}
	return l.ofName(strings.ToLower(strings.TrimSuffix(s, ".")), false)
}

// ofName goes from the name to its parents.
func (l *Lists) ofName(s string, below bool) (v Verdict) {
	if s == "" || !strings.Contains(s, ".") {
		return Verdict{Protected, suffixes, s}
	}
	best := uint16(0)
	better := func(list uint16, name string) {
		if l.lists[list].Class > l.lists[best].Class {
			best, v.Name = list, name
		}
	}
	m := l.names[xxh3.HashString(s)]
	better(m.exact, s)
	better(m.under, s)
	if below {
		better(m.above, s)
	}
	for parent := s; l.lists[best].Class < Protected; {
		_, up, more := strings.Cut(parent, ".")
		if !more {
			break
		}
		parent = up
		better(l.names[xxh3.HashString(parent)].under, parent)
	}
	if l.lists[best].Class < Protected {
		if suffix, _ := publicsuffix.PublicSuffix(s); len(suffix) == len(s) {
			return Verdict{Protected, suffixes, s}
		}
	}
	v.Class, v.List = l.lists[best].Class, l.lists[best].Name
	return v
}

// ofPrefix looks at what holds a network, and at what it holds.
func (l *Lists) ofPrefix(p netip.Prefix) (v Verdict) {
	if !p.IsValid() {
		return Verdict{}
	}
	if p.Bits() == 0 {
		return Verdict{Protected, reserved, p.String()}
	}
	better := func(q netip.Prefix, list uint16) {
		if c := l.lists[list].Class; c > v.Class {
			v = Verdict{c, l.lists[list].Name, q.String()}
		}
	}
	for q, list := range l.networks.Supernets(p) {
		better(q, list)
	}
	if p.IsSingleIP() {
		return v
	}
	for q, list := range l.networks.Subnets(p) {
		if better(q, list); v.Class == Protected {
			break
		}
	}
	return v
}

func (l *Lists) matching(v Verdict, value string) Verdict {
	for i := range l.patterns {
		p := &l.patterns[i]
		c := l.lists[p.list].Class
		if c <= v.Class {
			continue
		}
		if p.expr != nil && p.expr.MatchString(value) || p.expr == nil && strings.Contains(value, p.part) {
			v = Verdict{c, l.lists[p.list].Name, value}
		}
	}
	return v
}

// Sinkhole tells which list says that defenders have an address.
func (l *Lists) Sinkhole(a netip.Addr) (list string, known bool) {
	n, known := l.sinks.Lookup(a.Unmap())
	return l.lists[n].Name, known
}
