package leak

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"sakimori/observe"
)

// Config is what an operator writes down. Zero fields take the value of DefaultConfig.
type Config struct {
	AS           []uint32       `yaml:"as" json:"as"`                       // own AS numbers
	Own          []Own          `yaml:"own" json:"own"`                     // own and customers' space
	Neighbors    []Neighbor     `yaml:"neighbors" json:"neighbors"`         // of the own AS
	NoTransit    []uint32       `yaml:"no_transit" json:"no_transit"`       // who gives transit to nobody, besides NoTransit
	Transit      []uint32       `yaml:"transit" json:"transit"`             // who does, although NoTransit has them
	Siblings     [][]uint32     `yaml:"siblings" json:"siblings"`           // ASes of one organisation
	RouteServers []uint32       `yaml:"route_servers" json:"route_servers"` // of exchanges, that put themselves into paths
	Anycast      []netip.Prefix `yaml:"anycast" json:"anycast"`             // announced by several ASes on purpose
	Mitigators   []uint32       `yaml:"mitigators" json:"mitigators"`       // who may announce own space during an attack
	Blackholes   []string       `yaml:"blackholes" json:"blackholes"`       // communities "AS:number" besides 65535:666 (RFC 7999)
	Plan         []netip.Prefix `yaml:"plan" json:"plan"`                   // space that is used here, whatever IANA says of it
	Maintenance  []Window       `yaml:"maintenance" json:"maintenance"`

	Lines `yaml:",inline"`

	// The bounds of memory. A path costs 64 bytes, a prefix 96, a way of three ASes 11 to
	// 22, an adjacency 43 to 85, a prefix of a case some 250. Beyond them nothing new is
	// taken in, and Figures say how often.
	Paths, Prefixes, Ways, Adjacencies, Cases, Hits int `yaml:"-"`
}

// Lines are the thresholds.
type Lines struct {
	Open  float64 `yaml:"open" json:"open"`   // confidence from which an incident is opened
	Sure  float64 `yaml:"sure" json:"sure"`   // and from which it accuses
	Join  int     `yaml:"join" json:"join"`   // seconds within which evidence is of one incident
	Quiet int     `yaml:"quiet" json:"quiet"` // seconds without a prefix after which it is closed
	Hold  int     `yaml:"hold" json:"hold"`   // and for how many more it stays the same one when it comes again
	Wait  int     `yaml:"wait" json:"wait"`   // seconds that a lone peer's word is held back
	Burst int     `yaml:"burst" json:"burst"` // new more-specifics of an adjacency in 60 s
	Jump  float64 `yaml:"jump" json:"jump"`   // times its 30 days' maximum
	Lost  float64 `yaml:"lost" json:"lost"`   // share of peers below which an own prefix is lost
	Back  float64 `yaml:"back" json:"back"`   // and above which it is back
}

// Own is a prefix of the operator or of a customer.
type Own struct {
	Prefix   netip.Prefix `yaml:"prefix" json:"prefix"`
	Origins  []uint32     `yaml:"origins" json:"origins"`
	Name     string       `yaml:"name" json:"name"` // of the customer
	Customer bool         `yaml:"customer" json:"customer"`
}

// Neighbor is an AS that the own one has sessions with, and what it is to it.
type Neighbor struct {
	AS       uint32 `yaml:"as" json:"as"`
	Relation string `yaml:"relation" json:"relation"` // provider, customer, peer, sibling, route-server, route-server-client
	Name     string `yaml:"name" json:"name"`
}

// Window is a time of work: what happens to its prefix, or by its AS, is no incident.
type Window struct {
	From   time.Time    `yaml:"from" json:"from"`
	To     time.Time    `yaml:"to" json:"to"`
	Prefix netip.Prefix `yaml:"prefix" json:"prefix,omitzero"`
	AS     uint32       `yaml:"as" json:"as,omitempty"`
	Why    string       `yaml:"why" json:"why"`
}

// DefaultConfig is what runs when nothing is set: some 500 MB when everything is full.
func DefaultConfig() Config {
	return Config{
		Lines: Lines{Open: 0.6, Sure: 0.8, Join: 120, Quiet: 300, Hold: 3600, Wait: 20, Burst: 100, Jump: 100, Lost: 0.2, Back: 0.8},
		Paths: 1 << 22, Prefixes: 1 << 22, Ways: 1 << 22, Adjacencies: 1 << 20, Cases: 1 << 14, Hits: 1 << 20,
	}
}

// configured stands for who is on the list of NoTransit because somebody wrote it down.
const configured = "configured"

// rules are the configuration in the form in which it is asked.
type rules struct {
	own        bart.Table[int32]
	anycast    bart.Table[bool]
	plan       bart.Table[bool]
	special    bart.Table[string]
	ownAS      map[uint32]bool
	origins    map[uint32]bool // of own and customers' space
	neighbors  map[uint32]observe.ASRelation
	noTransit  map[uint32]string
	servers    map[uint32]bool
	mitigators map[uint32]bool
	siblings   map[uint32]uint32 // AS → the first of its organisation
	blackholes map[uint32]bool
}

func (c *Config) filled() error {
	def := DefaultConfig()
	for _, v := range []struct{ at, def *float64 }{{&c.Open, &def.Open}, {&c.Sure, &def.Sure}, {&c.Jump, &def.Jump}, {&c.Lost, &def.Lost}, {&c.Back, &def.Back}} {
		if *v.at == 0 {
			*v.at = *v.def
		}
	}
	for _, v := range []struct{ at, def *int }{
		{&c.Join, &def.Join},
		{&c.Quiet, &def.Quiet},
		{&c.Hold, &def.Hold},
		{&c.Wait, &def.Wait},
		{&c.Burst, &def.Burst},
		{&c.Paths, &def.Paths},
		{&c.Prefixes, &def.Prefixes},
		{&c.Ways, &def.Ways},
		{&c.Adjacencies, &def.Adjacencies},
		{&c.Cases, &def.Cases},
		{&c.Hits, &def.Hits},
	} {
		if *v.at == 0 {
			*v.at = *v.def
		}
		if *v.at < 0 {
			return errors.New("leak: join, quiet, wait, burst and the bounds are above zero")
		}
	}
	if c.Open < 0.3 || c.Open > 1 || c.Sure < c.Open || c.Sure > 1 || c.Lost <= 0 || c.Back <= c.Lost || c.Back > 1 || c.Jump < 2 {
		return errors.New("leak: the lines don't fit: 0.3 ≤ open ≤ sure ≤ 1, 0 < lost < back ≤ 1, jump ≥ 2")
	}
	if c.Paths < 16 || c.Prefixes < 16 || c.Ways < 64 || c.Adjacencies < 64 || c.Cases < 4 || c.Hits < 16 {
		return errors.New("leak: the bounds are too small to find anything")
	}
	return nil
}

// compile checks what was written down.
func (c *Config) compile() (*rules, error) {
	r := &rules{
		ownAS: map[uint32]bool{}, origins: map[uint32]bool{}, neighbors: map[uint32]observe.ASRelation{}, noTransit: map[uint32]string{},
		servers: map[uint32]bool{}, mitigators: map[uint32]bool{}, siblings: map[uint32]uint32{}, blackholes: map[uint32]bool{blackhole: true},
	}
	for _, s := range specialPrefixes {
		r.special.Insert(netip.MustParsePrefix(s.prefix), s.source)
	}
	for i, o := range c.Own {
		if !o.Prefix.IsValid() || o.Prefix != o.Prefix.Masked() {
			return nil, fmt.Errorf("leak: own: %v is no prefix: write it as 203.0.113.0/24, without bits behind its length", o.Prefix)
		}
		r.own.Insert(o.Prefix, int32(i))
		for _, as := range o.Origins {
			r.origins[as] = true
		}
	}
	for _, p := range c.Anycast {
		r.anycast.Insert(p.Masked(), true)
	}
	for _, p := range c.Plan {
		r.plan.Insert(p.Masked(), true)
	}
	for _, as := range c.AS {
		r.ownAS[as] = true
	}
	for _, n := range c.Neighbors {
		rel, ok := map[string]observe.ASRelation{
			"provider": observe.ASProvider, "customer": observe.ASCustomer, "peer": observe.ASPeer, "sibling": observe.ASSibling,
			"route-server": observe.ASPeer, "route-server-client": observe.ASPeer,
		}[n.Relation]
		if !ok || n.AS == 0 {
			return nil, fmt.Errorf("leak: neighbor AS%d: relation %q isn't provider, customer, peer, sibling, route-server or route-server-client", n.AS, n.Relation)
		}
		r.neighbors[n.AS] = rel
		if n.Relation == "route-server" {
			r.servers[n.AS] = true
		}
	}
	for _, n := range NoTransit {
		r.noTransit[n.AS] = n.Who
	}
	for _, as := range c.NoTransit {
		r.noTransit[as] = configured
	}
	for _, as := range c.Transit {
		delete(r.noTransit, as)
	}
	for _, as := range c.RouteServers {
		r.servers[as] = true
	}
	for _, as := range c.Mitigators {
		r.mitigators[as] = true
	}
	for _, group := range slices.Concat(organisations, c.Siblings) {
		for _, as := range group {
			r.siblings[r.head(as)] = r.head(group[0])
		}
	}
	for _, s := range c.Blackholes {
		a, b, ok := strings.Cut(s, ":")
		hi, err := strconv.ParseUint(a, 10, 16)
		lo, err2 := strconv.ParseUint(b, 10, 16)
		if !ok || err != nil || err2 != nil {
			return nil, fmt.Errorf("leak: blackholes: %q is no community: write it as 64500:666", s)
		}
		r.blackholes[uint32(hi<<16|lo)] = true //nolint:gosec // two times 16 bits
	}
	for _, w := range c.Maintenance {
		if !w.To.After(w.From) || !w.Prefix.IsValid() && w.AS == 0 {
			return nil, fmt.Errorf("leak: maintenance %q: it needs from, to after it, and a prefix or an as", w.Why)
		}
	}
	return r, nil
}

// head is the AS that stands for an organisation.
func (r *rules) head(as uint32) uint32 {
	for {
		up, ok := r.siblings[as]
		if !ok || up == as {
			return as
		}
		as = up
	}
}

// bogon says why nobody may announce a prefix, "" where that isn't so.
func (r *rules) bogon(p netip.Prefix) string {
	if p.Bits() == 0 { // a default route is nobody's claim
		return ""
	}
	if _, ok := r.plan.LookupPrefix(p); ok {
		return ""
	}
	if why, ok := r.special.LookupPrefix(p); ok {
		return why
	}
	if a := p.Addr(); a.Is6() && a.As16()[0]>>5 != 1 {
		return "outside 2000::/3, RFC 4291"
	}
	return ""
}

// inMaintenance tells whether work explains what happens to the prefix by these ASes.
func (c *Config) inMaintenance(at int64, p netip.Prefix, ases ...uint32) bool {
	for _, w := range c.Maintenance {
		if at < w.From.Unix() || at > w.To.Unix() {
			continue
		}
		if w.Prefix.IsValid() && p.IsValid() && w.Prefix.Overlaps(p) {
			return true
		}
		for _, as := range ases {
			if w.AS != 0 && w.AS == as {
				return true
			}
		}
	}
	return false
}
