package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sakimori/base/yaml"
)

// file is a policy as it is written down.
type file struct {
	AS          uint32   `yaml:"as"`
	Own         []string `yaml:"own"`          // our own space
	Bogons      bool     `yaml:"bogons"`       // refuse space that isn't routed
	BogonAS     bool     `yaml:"bogon_as"`     // refuse AS numbers that aren't used
	Plan        []string `yaml:"plan"`         // space that is routed here although it is on the lists of bogons: a laboratory's
	TransitFree []uint32 `yaml:"transit_free"` // networks without providers: never behind a customer or a peer
	Longest     longest  `yaml:"longest"`      // of all neighbours, unless one has its own
	Neighbors   []entry  `yaml:"neighbors"`
}

type longest struct {
	V4 int `yaml:"v4"`
	V6 int `yaml:"v6"`
}

type entry struct {
	AS          uint32     `yaml:"as"`
	Name        string     `yaml:"name"`
	Relation    string     `yaml:"relation"` // customer, peer, provider, sibling, route-server, route-server-client: what it is to us
	MaxPrefix   longest    `yaml:"max_prefix"`
	Longest     longest    `yaml:"longest"`
	Prefixes    []list     `yaml:"prefixes"` // none: any
	Origins     []uint32   `yaml:"origins"`  // none: any
	Never       []uint32   `yaml:"never"`
	Denied      [][]uint32 `yaml:"denied"`
	Communities []string   `yaml:"communities"` // that are refused
	// What is on unless it is said otherwise.
	FirstAS     *bool `yaml:"first_as"`     // not of a route server
	TransitFree *bool `yaml:"transit_free"` // refuse such: of customers and peers
	// What is off unless it is said.
	AcceptOwn bool `yaml:"accept_own"`
	OTC       bool `yaml:"otc"`
	ROV       bool `yaml:"rov"`
	ASPA      bool `yaml:"aspa"`
}

type list struct {
	Prefix string `yaml:"prefix"`
	GE     int    `yaml:"ge"` // 0: its own length
	LE     int    `yaml:"le"` // 0: its own length, or as long as can be where ge is given
}

var relations = []string{"customer", "peer", "provider", "sibling", "route-server", "route-server-client"}

// Read reads a policy written as YAML. An error names the neighbour and what to write.
func Read(b []byte) (*Policy, error) {
	var f file
	if err := yaml.Decode(b, &f); err != nil {
		return nil, err
	}
	if f.AS == 0 {
		return nil, errors.New("the policy says whose it is: as: 64500")
	}
	p := &Policy{as: f.AS, own: newRanges(), plan: newRanges(), bogonAS: f.BogonAS, transitFree: sorted(f.TransitFree), byAS: map[uint32]*neighbor{}}
	for _, space := range []struct {
		key  string
		list []string
		into *ranges
	}{{"own", f.Own, p.own}, {"plan", f.Plan, p.plan}} {
		for _, s := range space.list {
			x, err := netip.ParsePrefix(s)
			if err != nil || x != x.Masked() {
				return nil, fmt.Errorf("%s: %.60q isn't a prefix such as 192.0.2.0/24", space.key, s)
			}
			space.into.add(x, x.Bits(), x.Addr().BitLen())
		}
	}
	if f.Bogons {
		p.bogons = bogons()
	}
	if len(f.Neighbors) == 0 {
		return nil, errors.New("the policy names no neighbour: without one nothing is taken")
	}
	for i := range f.Neighbors {
		n, err := f.Neighbors[i].neighbor(f.Longest)
		if err == nil && p.byAS[n.as] != nil {
			err = errors.New("it is there twice: one entry for all of its sessions")
		}
		if err != nil {
			return nil, fmt.Errorf("neighbour AS%d: %w", f.Neighbors[i].AS, err)
		}
		p.neighbors, p.byAS[n.as] = append(p.neighbors, n), n
	}
	return p, nil
}

func (e *entry) neighbor(all longest) (*neighbor, error) {
	n := &neighbor{
		as: e.AS, name: e.Name, relation: e.Relation, max4: e.MaxPrefix.V4, max6: e.MaxPrefix.V6,
		long4: first(e.Longest.V4, all.V4, 24), long6: first(e.Longest.V6, all.V6, 48),
		origins: sorted(e.Origins), never: sorted(e.Never), denied: e.Denied, own: e.AcceptOwn, otc: e.OTC, rov: e.ROV, aspa: e.ASPA,
		firstAS: e.Relation != "route-server", transitFree: e.Relation == "customer" || e.Relation == "peer" || e.Relation == "route-server-client",
	}
	switch {
	case n.as == 0:
		return nil, errors.New("it needs an AS number")
	case !slices.Contains(relations, n.relation):
		return nil, fmt.Errorf("relation %.40q: write what it is to us, one of %s", n.relation, strings.Join(relations, ", "))
	case n.max4 < 0 || n.max6 < 0 || n.long4 < 1 || n.long4 > 32 || n.long6 < 1 || n.long6 > 128:
		return nil, errors.New("max_prefix isn't negative, and longest is 1 to 32 of IPv4 and 1 to 128 of IPv6")
	}
	for _, d := range n.denied {
		if len(d) == 0 || slices.Contains(d, 0) {
			return nil, errors.New("denied: write ASes that must not follow one another: [[64501, 64502]]")
		}
	}
	if e.FirstAS != nil {
		n.firstAS = *e.FirstAS
	}
	if e.TransitFree != nil {
		n.transitFree = *e.TransitFree
	}
	if len(e.Prefixes) > 0 {
		n.prefixes = newRanges()
	}
	for _, x := range e.Prefixes {
		if err := x.add(n.prefixes); err != nil {
			return nil, err
		}
	}
	for _, s := range e.Communities {
		c, err := community(s)
		switch {
		case err != nil:
			return nil, err
		case len(c) == 2:
			n.communities = append(n.communities, c[0]<<16|c[1])
		default:
			n.large = append(n.large, [3]uint32{c[0], c[1], c[2]})
		}
	}
	return n, nil
}

func (x *list) add(to *ranges) error {
	p, err := netip.ParsePrefix(x.Prefix)
	if err != nil || p != p.Masked() {
		return fmt.Errorf("prefixes: %.60q isn't a prefix such as 192.0.2.0/24", x.Prefix)
	}
	ge, le := first(x.GE, p.Bits()), x.LE
	if le == 0 {
		if le = p.Bits(); x.GE != 0 {
			le = p.Addr().BitLen()
		}
	}
	if ge < p.Bits() || le < ge || le > p.Addr().BitLen() {
		return fmt.Errorf("prefixes: %s ge %d le %d: lengths go from its own up to %d, ge before le", p, ge, le, p.Addr().BitLen())
	}
	to.add(p, ge, le)
	return nil
}

// community: two numbers of 16 bits (RFC 1997), or three of 32 (RFC 8092).
func community(s string) ([]uint32, error) {
	parts := strings.Split(s, ":")
	bits := map[int]int{2: 16, 3: 32}[len(parts)]
	list := make([]uint32, 0, 3)
	for _, p := range parts {
		v, err := strconv.ParseUint(p, 10, max(bits, 1))
		if err != nil || bits == 0 {
			return nil, fmt.Errorf("communities: %.40q: write 64500:666, or 64500:1:666 for a large one", s)
		}
		list = append(list, uint32(v)) // #nosec G115 -- of 32 bits at most
	}
	return list, nil
}

// first is the first that isn't zero.
func first(of ...int) int {
	for _, n := range of {
		if n != 0 {
			return n
		}
	}
	return 0
}

func sorted(list []uint32) []uint32 {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// bogons are the special-purpose registries (RFC 6890 and its rows until RFC 9637), of
// IPv6 whatever lies outside of 2000::/3, too.
func bogons() *ranges {
	x := newRanges()
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/3", "4000::/2", "8000::/1", "2001:2::/48", "2001:10::/28", "2001:db8::/32", "3fff::/20",
	} {
		p := netip.MustParsePrefix(s)
		x.add(p, p.Bits(), p.Addr().BitLen())
	}
	x.add(netip.MustParsePrefix("0.0.0.0/0"), 0, 0) // the default route
	x.add(netip.MustParsePrefix("::/0"), 0, 0)
	return x
}

// badAS are AS numbers that nobody announces with: IANA's registry (RFC 7607, 4893, 5398, 6996, 7300).
var badAS = [][2]uint32{{0, 0}, {23456, 23456}, {64496, 131071}, {4200000000, 4294967295}}

func isBogonAS(as uint32) bool {
	return slices.ContainsFunc(badAS, func(r [2]uint32) bool { return r[0] <= as && as <= r[1] })
}
