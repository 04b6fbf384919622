// Package routertest starts real BGP routers on loopback that tell routes to what is tested:
// GoBGP's daemon, BIRD 2, FRR's bgpd and ExaBGP, each run by hand, in the test's folder, and
// ended with the test.
package routertest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/base/daemon"
)

// Kind is a program.
type Kind string

// The kinds.
const (
	GoBGP  Kind = "gobgpd"
	BIRD   Kind = "bird"
	FRR    Kind = "frr"
	ExaBGP Kind = "exabgp"
)

// programs are those that a kind needs.
var programs = map[Kind][]string{GoBGP: {"gobgpd", "gobgp"}, BIRD: {"bird"}, FRR: {"bgpd"}, ExaBGP: {"exabgp"}}

// Needs skips, loudly, where a program isn't installed; on a build machine that is a failure.
func Needs(t testing.TB, kinds ...Kind) {
	t.Helper()
	for _, k := range kinds {
		daemon.Needs(t, programs[k]...)
	}
}

// Link is a router's one neighbour, and what is told to it.
type Link struct {
	Neighbor   netip.AddrPort // whom it calls; port 0: it waits to be called
	NeighborAS uint32
	AS         uint32 // the router's
	Password   string
	Hold       int      // seconds; 0: 9
	Announce   []string // prefixes of IPv4 and IPv6; of ExaBGP whole routes in its own words
	AddPath    bool     // of ExaBGP: several paths of one prefix may be told
	Near       bool     // of FRR: packets that came over a router aren't taken (RFC 5082)
	BMP        netip.AddrPort
}

// Router is one that runs.
type Router struct {
	*daemon.Program

	Kind Kind
	Addr netip.AddrPort // where it listens
	Link Link
	api  netip.AddrPort // of GoBGP
}

// New starts a router on an address of loopback.
func New(t testing.TB, k Kind, at netip.Addr, l Link) *Router {
	t.Helper()
	Needs(t, k)
	if l.Hold == 0 {
		l.Hold = 9
	}
	r := &Router{Program: daemon.New(t, ""), Kind: k, Addr: daemon.Port(t, at), Link: l}
	map[Kind]func(testing.TB, *Router){GoBGP: goBGP, BIRD: bird, FRR: frr, ExaBGP: exaBGP}[k](t, r)
	r.Start(t)
	return r
}

// Start starts it, again.
func (r *Router) Start(t testing.TB) {
	t.Helper()
	r.Program.Start(t)
	if r.Kind == GoBGP {
		r.Announce(t, r.Link.Announce...)
	}
}

// Announce has GoBGP tell more prefixes.
func (r *Router) Announce(t testing.TB, prefixes ...string) {
	t.Helper()
	r.change(t, "add", prefixes)
}

// Withdraw has GoBGP take prefixes back.
func (r *Router) Withdraw(t testing.TB, prefixes ...string) {
	t.Helper()
	r.change(t, "del", prefixes)
}

func (r *Router) change(t testing.TB, verb string, prefixes []string) {
	t.Helper()
	for _, p := range prefixes {
		family, hop := "ipv4", "192.0.2.99"
		if strings.Contains(p, ":") {
			family, hop = "ipv6", "2001:db8::99"
		}
		daemon.Await(t, 10*time.Second, "gobgp "+verb+" "+p, func() error {
			b, err := daemon.Ask("gobgp", "-u", r.api.Addr().String(), "-p", fmt.Sprint(r.api.Port()), "global", "rib", verb, "-a", family, p, "nexthop", hop, "community", "64500:7")
			if err != nil {
				return fmt.Errorf("%w: %s", err, b)
			}
			return nil
		})
	}
}
