package speaker

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says who we are, and to whom we speak.
type Config struct {
	AS       uint32         // our own
	RouterID netip.Addr     // an IPv4 address that nobody else uses as his
	Listen   netip.AddrPort // where passive peers call us; zero: nobody can
	Peers    []Neighbor
	Rules    int           // most rules at once, in all; 0: 1,000
	Longest  time.Duration // how long an act stands at most until it is renewed; 0: a day
}

// Neighbor is a router that takes rules.
type Neighbor struct {
	Name         string
	Address      netip.AddrPort // port 0: 179
	Local        netip.Addr     // from which we speak; zero: as the kernel chooses
	AS           uint32
	LocalAS      uint32        // as which we come; 0: Config.AS
	PasswordFile string        // of TCP MD5 (RFC 2385); "" without
	Passive      bool          // it calls us, at Config.Listen
	Multihop     uint8         // how many hops away a peer of another AS may be; 0: next door
	Hold         time.Duration // silence after which the session is over, 3 s or more; 0: 30 s
	Families     []Family
	NextHop4     netip.Addr // of IPv4 routes to be discarded; zero: our own address in the session
	NextHop6     netip.Addr // of IPv6 routes, such as 100::1 (RFC 6666)
	Communities  []string   // on all rules that it gets, besides those of RTBH: "64500:666", "64500:1:666"
	Own          *Own       // it takes own prefixes, too, by its families of unicast; nil: it doesn't
	Rules        int        // most rules at once; 0: 100
	Routes       int        // most routes that it may send us, though we take none; 0: 1,000
}

// Own is how a router takes own prefixes: as routes to be passed on, which are no rules.
type Own struct {
	NextHop4    netip.Addr // that carries their traffic: never where routes to be discarded go
	NextHop6    netip.Addr
	Communities []string // by which its policy knows them
}

// Family is what a session carries.
type Family string

// The families. Those of unicast carry routes to be discarded (RTBH), where it is set own
// prefixes, and nothing else.
const (
	FlowSpec4 Family = "ipv4-flowspec"
	FlowSpec6 Family = "ipv6-flowspec"
	Unicast4  Family = "ipv4-unicast"
	Unicast6  Family = "ipv6-unicast"
)

// Families are all of them.
func Families() []Family { return []Family{FlowSpec4, FlowSpec6, Unicast4, Unicast6} }

// ErrConfig is in every error about a Config.
var ErrConfig = errors.New("the BGP speaker can't be set up so")

// complete fills in what was left out, and says what can't be.
func (c Config) complete() (Config, error) {
	bad := func(format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	c.Rules, c.Longest = or(c.Rules, 1000), or(c.Longest, 24*time.Hour)
	c.Peers = slices.Clone(c.Peers)
	switch {
	case c.AS == 0:
		return bad("say our own AS number")
	case !c.RouterID.Is4():
		return bad("say a router id: an IPv4 address that no other router uses as its own")
	case c.Listen.IsValid() && (c.Listen.Addr().IsUnspecified() || c.Listen.Port() == 0):
		return bad("listen at a certain address and port, not at %s", c.Listen)
	}
	for i := range c.Peers {
		n := &c.Peers[i]
		port := n.Address.Port()
		if port == 0 {
			port = 179
		}
		n.Address = netip.AddrPortFrom(n.Address.Addr().Unmap(), port)
		n.LocalAS, n.Hold = or(n.LocalAS, c.AS), or(n.Hold, 30*time.Second)
		n.Rules, n.Routes = or(n.Rules, 100), or(n.Routes, 1000)
		n.Families, n.Communities = slices.Clone(n.Families), slices.Clone(n.Communities)
		same := func(o Neighbor) bool { return o.Name == n.Name || o.Address.Addr() == n.Address.Addr() }
		switch {
		case n.Name == "" || !n.Address.Addr().IsValid() || n.AS == 0:
			return bad("each peer needs a name, an address and an AS number: %q hasn't", n.Name)
		case slices.ContainsFunc(c.Peers[:i], same):
			return bad("two peers have the name %q or the address %s", n.Name, n.Address.Addr())
		case n.Passive && !c.Listen.IsValid():
			return bad("peer %s is to call us: say where we listen", n.Name)
		case n.Hold < 3*time.Second || n.Hold > 18*time.Hour || n.Hold%time.Second != 0:
			return bad("peer %s: a hold time of %s isn't whole seconds from 3 s on (RFC 4271)", n.Name, n.Hold)
		case len(n.Families) == 0:
			return bad("peer %s: say what it takes: %v", n.Name, Families())
		case n.Rules < 0 || n.Routes < 0 || n.Routes > math.MaxInt32:
			return bad("peer %s: a limit is 0 or more, and of routes at most %d", n.Name, math.MaxInt32)
		case n.NextHop4.IsValid() && !n.NextHop4.Is4(), n.NextHop6.IsValid() && !n.NextHop6.Is6():
			return bad("peer %s: the next hops are an IPv4 and an IPv6 address", n.Name)
		case slices.Contains(n.Families, Unicast6) && n.Address.Addr().Is4() && !n.NextHop6.IsValid():
			return bad("peer %s: IPv6 routes over an IPv4 session need a next hop, such as 100::1", n.Name)
		}
		for _, f := range n.Families {
			if !slices.Contains(Families(), f) {
				return bad("peer %s: no family is called %q: %v", n.Name, f, Families())
			}
		}
		if n.Own != nil {
			if err := n.Own.check(n); err != nil {
				return bad("peer %s: %w", n.Name, err)
			}
		}
		for _, s := range n.Communities {
			if !isCommunity(s) {
				return bad("peer %s: %q is no community: write 64500:666, or 64500:1:666 for a large one", n.Name, s)
			}
		}
	}
	return c, nil
}

// check tells what is wrong with how a peer takes own prefixes.
func (o *Own) check(n *Neighbor) error {
	four, six := slices.Contains(n.Families, Unicast4), slices.Contains(n.Families, Unicast6)
	switch {
	case !four && !six:
		return errors.New("own prefixes need a family of unicast")
	case four && !o.NextHop4.Is4(), six && !o.NextHop6.Is6():
		return errors.New("own prefixes need a next hop of each family that carries their traffic: the router that has the rest of the space")
	case four && o.NextHop4 == n.NextHop4, six && o.NextHop6 == n.NextHop6:
		return errors.New("own prefixes would go where routes to be discarded go: another next hop")
	}
	for _, s := range o.Communities {
		if !isCommunity(s) || s == blackhole {
			return fmt.Errorf("%q is no community for own prefixes: write 64500:77, or 64500:1:77 for a large one", s)
		}
	}
	return nil
}

// blackhole is the community of RFC 7999.
const blackhole = "65535:666"

// isCommunity: two numbers of 16 bits (RFC 1997), or three of 32 (RFC 8092).
func isCommunity(s string) bool {
	parts := strings.Split(s, ":")
	bits := map[int]int{2: 16, 3: 32}[len(parts)]
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, bits); err != nil {
			return false
		}
	}
	return bits > 0
}

// password reads the shared secret of a session.
func (n *Neighbor) password() (string, error) {
	if n.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(n.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("%w: the password of peer %s: %w", ErrConfig, n.Name, err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" || len(p) > 80 {
		return "", fmt.Errorf("%w: the password of peer %s has %d bytes, and TCP MD5 takes 1 to 80: see %s", ErrConfig, n.Name, len(p), n.PasswordFile)
	}
	return p, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
