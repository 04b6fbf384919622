package blocklist

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/lawful"
)

// Ground is what a file stands on: a Grant to block, and the rule that it was given by.
// A comprehensive consent by terms reaches the names that a resolver is asked for, and
// nothing else of a communication. Addresses, and names inside traffic, take a grant that
// names the subscribers on whose lines they are blocked or, as of an attack, the addresses
// themselves. The path of a URL is content: it takes the individual consent of each.
type Ground struct {
	Grant    lawful.Grant
	Rule     lawful.Rule // of the grant
	Subjects []string    // on whose lines the file is enforced; none: everyone who consents, or the grant's addresses
}

// Feature is what the scope of a grant calls the traffic that a list of C&C servers
// matches, where it names features.
const Feature = "cnc-list"

// reach is what may be looked at to find an entry in a communication.
type reach uint8

const (
	resolution reach = 1 << iota // the name that a resolver is asked for
	traffic                      // addresses, ports, names that go over the line in the clear
	content                      // the path of a URL
)

// words are the names of what is in r.
func (r reach) words() string {
	var list []string
	for i, w := range []string{"resolution", "traffic", "content"} {
		if r&(1<<i) != 0 {
			list = append(list, w)
		}
	}
	return strings.Join(list, "+")
}

// ground is a Ground as it stands at a moment.
type ground struct {
	*Ground
	now      time.Time
	everyone bool // all who consent, by names
	each     bool // each of the subjects
	alone    bool // with nothing but individual consents
	terms    bool
}

// at asks the grant. Nothing of it is remembered beyond the making of one file.
func (g *Ground) at(now time.Time) (s ground, err error) {
	s = ground{Ground: g, now: now, terms: slices.Contains(g.Rule.Grounds, lawful.ComprehensiveConsent)}
	if g.Grant.ID() == "" || g.Rule.ID != g.Grant.Rule() || !now.Before(g.Grant.Until()) {
		return s, lawful.ErrRefused
	}
	s.everyone = len(g.Subjects) == 0 && g.Grant.AllowsAll(lawful.Block, now)
	s.each = len(g.Subjects) > 0
	for _, who := range g.Subjects {
		if !g.Grant.Allows(lawful.Block, lawful.Target{Subject: who, Feature: Feature}, now) {
			return s, lawful.ErrRefused // for one of them: nobody is left in by mistake
		}
	}
	s.alone = s.each && len(g.Rule.Grounds) == 1 && g.Rule.Grounds[0] == lawful.IndividualConsent
	return s, nil
}

// of is how far the ground reaches for an entry.
func (g *ground) of(x *item) reach {
	switch x.Kind {
	case Name, Host:
		switch {
		case g.each && !g.terms:
			return resolution | traffic
		case g.each || g.everyone:
			return resolution
		}
	case Address, Endpoint, Prefix:
		if !g.terms && (g.each || g.named(x)) {
			return traffic
		}
	case URL:
		if g.alone {
			return content
		}
	}
	return 0
}

// named tells whether the grant is for this very address, as one against an attack is. It
// can't be asked for a whole prefix.
func (g *ground) named(x *item) bool {
	return x.prefix.IsSingleIP() && g.Grant.Allows(lawful.Block, lawful.Target{Address: x.prefix.Addr(), Port: x.port, Feature: Feature}, g.now)
}

// Prefixes wider than this are nobody's C&C server.
const (
	widest4 = 16
	widest6 = 32
)

// special are addresses that aren't on the Internet: to block them elsewhere takes
// somebody's own network down. (IANA's registries of special-purpose addresses.)
var special = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
		"::/8", "64:ff9b::/96", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

// barred tells whether an entry is one that nobody blocks.
func barred(x *item, p Protected) bool {
	a, named := x.prefix, ""
	switch x.Kind {
	case Name, Host:
		named = x.Value
	case URL:
		named = x.url.Hostname()
		if at, err := netip.ParseAddr(named); err == nil {
			a, named = netip.PrefixFrom(at.Unmap(), at.Unmap().BitLen()), ""
		}
	}
	if named != "" {
		if p == nil {
			return false
		}
		_, is := p.Name(named)
		return is
	}
	if a.Addr().Is4() && a.Bits() < widest4 || a.Addr().Is6() && a.Bits() < widest6 || slices.ContainsFunc(special, a.Overlaps) {
		return true
	}
	if p == nil {
		return false
	}
	_, is := p.Address(a)
	return is
}
