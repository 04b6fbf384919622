package translation

import (
	"errors"
	"fmt"
	"net/netip"
)

// MAP is one version of a mapping rule of MAP-E (RFC 7597 §5) or MAP-T (RFC 7599), which
// give addresses and ports alike.
type MAP struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Span    `yaml:",inline"`

	IPv6 netip.Prefix `yaml:"ipv6"` // Rule IPv6 prefix
	IPv4 netip.Prefix `yaml:"ipv4"` // Rule IPv4 prefix
	// EABits is the length of the embedded address bits: behind the IPv6 prefix stand the
	// rest of the IPv4 address and the PSID.
	EABits int `yaml:"ea_bits"`
	// Offset is the PSID offset, a of RFC 7597: 6 if not said (§5.1). 0 excludes no port.
	Offset *int `yaml:"psid_offset"`
	// PSID and PSIDLength are said for a rule without EA bits alone, which is of one
	// subscriber (RFC 7597 §5.2 at the end); else the length follows from the rest and may be
	// said to be checked.
	PSID       int `yaml:"psid"`
	PSIDLength int `yaml:"psid_length"`
}

// mapRule is the arithmetic of it; the names are those of RFC 7597.
type mapRule struct {
	rule6     netip.Prefix
	rule4     netip.Prefix
	base      wide
	n, r, o   int
	suffix    int     // bits of the IPv4 address among the EA bits
	set       portset // its length is zero when an address isn't shared
	explicit  bool    // the PSID is in the rule
	own       uint16
	endPrefix int // length of the end-user IPv6 prefix
}

func (d MAP) compile() (mapping, error) {
	switch {
	case !d.IPv6.IsValid() || !d.IPv6.Addr().Is6() || d.IPv6.Addr().Is4In6():
		return nil, errors.New("ipv6 must be the rule's IPv6 prefix, like 2001:db8::/40")
	case !d.IPv4.IsValid() || !d.IPv4.Addr().Is4():
		return nil, errors.New("ipv4 must be the rule's IPv4 prefix, like 192.0.2.0/24")
	case d.IPv6 != d.IPv6.Masked():
		return nil, fmt.Errorf("%s has bits behind its length: write %s", d.IPv6, d.IPv6.Masked())
	case d.IPv4 != d.IPv4.Masked():
		return nil, fmt.Errorf("%s has bits behind its length: write %s", d.IPv4, d.IPv4.Masked())
	case d.EABits < 0 || d.EABits > 48:
		return nil, fmt.Errorf("ea_bits is %d: it must be 0 to 48, 32 of an address and 16 of a port", d.EABits)
	}
	m := &mapRule{rule6: d.IPv6, rule4: d.IPv4, base: widen(d.IPv6.Addr()), n: d.IPv6.Bits(), r: d.IPv4.Bits(), o: d.EABits, endPrefix: d.IPv6.Bits() + d.EABits}
	if m.endPrefix > 64 {
		return nil, fmt.Errorf("the end-user prefix would have %d bits, %d of the rule and %d embedded: 64 is the most", m.endPrefix, m.n, m.o)
	}
	length := 0
	m.suffix = min(m.o, 32-m.r)
	switch {
	case m.o == 0 && d.PSIDLength > 0:
		if m.r != 32 {
			return nil, fmt.Errorf("with a PSID of its own the rule is of one address: ipv4 must end in /32, not /%d", m.r)
		}
		length, m.explicit = d.PSIDLength, true
	case m.o > 32-m.r:
		length = m.o - (32 - m.r)
		fallthrough
	default:
		if d.PSIDLength != 0 && d.PSIDLength != length {
			return nil, fmt.Errorf("psid_length is %d, but %d EA bits behind /%d leave %d: one of them is wrong", d.PSIDLength, m.o, m.r, length)
		}
	}
	offset := 6
	if d.Offset != nil {
		offset = *d.Offset
	}
	if length == 0 {
		offset = 0
	}
	var err error
	if m.set, err = newPortset(offset, length); err != nil {
		return nil, err
	}
	if d.PSID < 0 || d.PSID >= 1<<length || d.PSID != 0 && !m.explicit {
		return nil, fmt.Errorf("psid is %d: it is said in a rule without EA bits alone, and must be below 2^psid_length", d.PSID)
	}
	m.own = uint16(d.PSID) //nolint:gosec // below 2^16
	return m, nil
}

func (m *mapRule) toInside(address netip.Addr, port uint16) (netip.Prefix, Reason) {
	ea := widen(address).field(96+m.r, m.suffix)
	if m.set.length > 0 {
		if port == 0 {
			return netip.Prefix{}, NoPort
		}
		psid, ok := m.set.psid(port)
		switch {
		case !ok:
			return netip.Prefix{}, ReservedPort
		case m.explicit && psid != m.own:
			return netip.Prefix{}, Unassigned
		case !m.explicit:
			ea = ea<<m.set.length | uint64(psid)
		}
	}
	return netip.PrefixFrom(m.base.with(m.n, m.o, ea).addr(), m.endPrefix), Found
}

func (m *mapRule) toOutside(in netip.Addr) (Share, bool) {
	ea := widen(in).field(m.n, m.o)
	psid := uint64(m.own)
	if !m.explicit {
		psid = ea & (1<<m.set.length - 1)
		ea >>= m.set.length
	}
	bits := m.r + m.suffix // less than 32 where MAP gives a whole prefix
	a := widen(m.rule4.Addr()).with(96+m.r, m.suffix, ea).addr()
	return Share{Address: netip.PrefixFrom(a, bits), Ports: m.set.ports(uint16(psid))}, true //nolint:gosec // at most 16 bits
}

func (m *mapRule) outsides() []netip.Prefix { return []netip.Prefix{m.rule4} }
func (m *mapRule) insides() []netip.Prefix  { return []netip.Prefix{m.rule6} }

// apart: rules of one subscriber each share an address by their PSIDs.
func (m *mapRule) apart(o mapping) bool {
	other, ok := o.(*mapRule)
	if !ok || !m.explicit || !other.explicit {
		return false
	}
	var b bitmap
	b.mark(m.set.ports(m.own))
	return !b.mark(other.set.ports(other.own))
}
