package translation

import (
	"errors"
	"fmt"
	"net/netip"

	"sakimori/respond/subscriber"
)

// Deterministic is one version of a deterministic NAT's configuration (RFC 7422 §2):
// subscriber i, counted through Inside in order, has share i of Outside.
type Deterministic struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Span    `yaml:",inline"`

	Inside []netip.Prefix `yaml:"inside"`
	// Unit is the prefix length of one subscriber: 32 and 128 if not said. DS-Lite and
	// NAT64 give each a prefix, say 56 or 64.
	Unit    int            `yaml:"unit"`
	Outside []netip.Prefix `yaml:"outside"`
	// FirstPort and LastPort bound the ports that are given: 1024 and 65535 if not said,
	// as RFC 7422 reserves 0 to 1023.
	FirstPort int `yaml:"first_port"`
	LastPort  int `yaml:"last_port"`
	// Ports is how many a subscriber has.
	Ports int `yaml:"ports"`
	// PerAddress is how many subscribers share an address, C of RFC 7422: as many as
	// have room if not said. What it leaves is the dynamic pool, which is logged.
	PerAddress int `yaml:"per_address"`
	// Order is how a subscriber's ports lie: "sequential", one block (if not said), or
	// "staggered", every so many-th port.
	Order string `yaml:"order"`
	// Fill is which share comes next: "address", the next of the same address (if not
	// said), or "round_robin", the same of the next address.
	Fill string `yaml:"fill"`
}

// deterministic is the arithmetic of it.
type deterministic struct {
	inside, outside []run
	unit            int
	firstPort, last int
	ports           int
	per             uint64 // subscribers of an address
	stride          int    // staggered: shares of an address, given or dynamic
	staggered       bool
	addresses       uint64
	robin           bool
}

// run is a prefix and what number its first address has.
type run struct {
	prefix netip.Prefix
	base   wide
	from   uint64
	n      uint64
}

// maxSubscribers of one rule is a bound of reason: more than any operator has.
const maxSubscribers = 1 << 40

// runs numbers through the prefixes, in units of so many bits.
func runs(prefixes []netip.Prefix, unit func(netip.Prefix) int) (list []run, total uint64, err error) {
	for i, p := range prefixes {
		switch {
		case !p.IsValid():
			return nil, 0, fmt.Errorf("prefix %d is empty: write it like 198.51.100.0/24", i+1)
		case p != p.Masked():
			return nil, 0, fmt.Errorf("%s has bits behind its length: write %s", p, p.Masked())
		}
		bits := unit(p) - p.Bits()
		if bits < 0 || bits > 40 {
			return nil, 0, fmt.Errorf("%s can't be cut into units of /%d", p, unit(p))
		}
		for _, o := range prefixes[:i] {
			if o.Overlaps(p) {
				return nil, 0, fmt.Errorf("%s and %s overlap: take the common part from one", o, p)
			}
		}
		list = append(list, run{p, widen(p.Addr()), total, 1 << bits})
		total += 1 << bits
	}
	if total == 0 || total > maxSubscribers {
		return nil, 0, errors.New("it needs prefixes, of fewer than 2^40 addresses together")
	}
	return list, total, nil
}

func (d Deterministic) compile() (mapping, error) {
	m := &deterministic{unit: d.Unit, firstPort: d.FirstPort, last: d.LastPort, ports: d.Ports}
	if m.firstPort == 0 {
		m.firstPort = 1024
	}
	if m.last == 0 {
		m.last = 65535
	}
	switch {
	case m.firstPort < 1 || m.last > 65535 || m.firstPort > m.last:
		return nil, fmt.Errorf("ports %d to %d: they must rise, from 1 at least to 65535 at most", m.firstPort, m.last)
	case m.ports < 1 || m.ports > m.last-m.firstPort+1:
		return nil, fmt.Errorf("%d ports a subscriber: it must be 1 to %d", m.ports, m.last-m.firstPort+1)
	}
	m.stride = (m.last - m.firstPort + 1) / m.ports
	if d.PerAddress < 0 || d.PerAddress > m.stride {
		return nil, fmt.Errorf("per_address is %d, but %d ports each leave room for %d subscribers", d.PerAddress, m.ports, m.stride)
	}
	m.per = uint64(m.stride) //nolint:gosec // 1 to 65,535
	if d.PerAddress > 0 {
		m.per = uint64(d.PerAddress)
	}
	var err error
	if m.staggered, err = choice("order", d.Order, "sequential", "staggered"); err != nil {
		return nil, err
	}
	if m.robin, err = choice("fill", d.Fill, "address", "round_robin"); err != nil {
		return nil, err
	}
	for _, p := range d.Outside {
		if p.IsValid() && !p.Addr().Is4() {
			return nil, fmt.Errorf("outside: %s isn't IPv4", p)
		}
	}
	if m.outside, m.addresses, err = runs(d.Outside, func(netip.Prefix) int { return 32 }); err != nil {
		return nil, fmt.Errorf("outside: %w", err)
	}
	for _, p := range d.Inside {
		if p.IsValid() && p.Addr().Is4() != d.Inside[0].Addr().Is4() {
			return nil, errors.New("inside: IPv4 and IPv6 are mixed: make two rules")
		}
		if m.unit == 0 && p.IsValid() {
			m.unit = p.Addr().BitLen()
		}
		if p.IsValid() && (m.unit < 0 || m.unit > p.Addr().BitLen()) {
			return nil, fmt.Errorf("unit is %d: an address has %d bits", m.unit, p.Addr().BitLen())
		}
	}
	var subscribers uint64
	if m.inside, subscribers, err = runs(d.Inside, func(netip.Prefix) int { return m.unit }); err != nil {
		return nil, fmt.Errorf("inside: %w", err)
	}
	if room := m.addresses * m.per; subscribers > room {
		return nil, fmt.Errorf("%d subscribers, but %d addresses for %d each have room for %d: give more addresses or fewer ports", subscribers, m.addresses, m.per, room)
	}
	return m, nil
}

// choice reads a word that may be one of two, the first if not said.
func choice(key, got, first, second string) (bool, error) {
	switch got {
	case "", first:
		return false, nil
	case second:
		return true, nil
	}
	return false, fmt.Errorf("%s is %q: it must be %q or %q", key, got, first, second)
}

// number is the place of an address in the runs.
func number(list []run, a netip.Addr, unit int) (uint64, bool) {
	for i := range list {
		if r := &list[i]; r.prefix.Contains(a) {
			off := first(r.prefix)
			return r.from + widen(a).field(off+r.prefix.Bits(), unit-r.prefix.Bits()), true
		}
	}
	return 0, false
}

// nth is the address at a place, as a prefix of unit bits.
func nth(list []run, n uint64, unit int) (netip.Prefix, bool) {
	for i := range list {
		if r := &list[i]; n-r.from < r.n {
			off := first(r.prefix)
			a := r.base.with(off+r.prefix.Bits(), unit-r.prefix.Bits(), n-r.from).addr()
			return netip.PrefixFrom(a, unit), true
		}
	}
	return netip.Prefix{}, false
}

func (m *deterministic) toInside(address netip.Addr, port uint16) (netip.Prefix, Reason) {
	p := int(port)
	switch {
	case p == 0:
		return netip.Prefix{}, NoPort
	case p < m.firstPort || p > m.last:
		return netip.Prefix{}, ReservedPort
	}
	at, ok := number(m.outside, address, 32)
	if !ok {
		return netip.Prefix{}, NoRule
	}
	off := p - m.firstPort
	slot := off / m.ports
	if m.staggered {
		if slot = off % m.stride; off/m.stride >= m.ports {
			return netip.Prefix{}, Unassigned
		}
	}
	if uint64(slot) >= m.per { //nolint:gosec // not negative
		return netip.Prefix{}, Unassigned
	}
	n := at*m.per + uint64(slot) //nolint:gosec // the same
	if m.robin {
		n = uint64(slot)*m.addresses + at //nolint:gosec // the same
	}
	inside, ok := nth(m.inside, n, m.unit)
	if !ok {
		return netip.Prefix{}, Unassigned
	}
	return inside, Found
}

func (m *deterministic) toOutside(in netip.Addr) (Share, bool) {
	n, ok := number(m.inside, in, m.unit)
	if !ok {
		return Share{}, false
	}
	at, slot := n/m.per, n%m.per
	if m.robin {
		at, slot = n%m.addresses, n/m.addresses
	}
	address, ok := nth(m.outside, at, 32)
	if !ok {
		return Share{}, false
	}
	s := Share{Address: address}
	if !m.staggered {
		begin := m.firstPort + int(slot)*m.ports                    //nolint:gosec // below 65,536
		s.Ports = []subscriber.Ports{ports(begin, begin+m.ports-1)} // one block
		return s, true
	}
	for i := range m.ports {
		p := m.firstPort + i*m.stride + int(slot) //nolint:gosec // below 65,536
		s.Ports = append(s.Ports, ports(p, p))
	}
	return s, true
}

// ports makes a range of what is known to be ports.
func ports(first, last int) subscriber.Ports {
	return subscriber.Ports{First: uint16(first), Last: uint16(last)} //nolint:gosec // see above
}

func prefixes(list []run) (all []netip.Prefix) {
	for _, r := range list {
		all = append(all, r.prefix)
	}
	return all
}

func (m *deterministic) outsides() []netip.Prefix { return prefixes(m.outside) }
func (m *deterministic) insides() []netip.Prefix  { return prefixes(m.inside) }
func (m *deterministic) apart(mapping) bool       { return false }
