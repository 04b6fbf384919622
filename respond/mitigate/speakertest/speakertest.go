// Package speakertest starts real BGP routers on loopback, so that what the speaker announces
// is shown by their own command lines: GoBGP's daemon, BIRD 2, FRR's bgpd and ExaBGP, each run
// by hand, in the test's folder, and ended with the test.
package speakertest

import (
	"fmt"
	"net/netip"
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

// Kinds are all of them.
func Kinds() []Kind { return []Kind{GoBGP, BIRD, FRR, ExaBGP} }

// programs are those that a kind needs, its command line too.
var programs = map[Kind][]string{GoBGP: {"gobgpd", "gobgp"}, BIRD: {"bird", "birdc"}, FRR: {"bgpd", "vtysh"}, ExaBGP: {"exabgp"}}

// Needs skips, loudly, where a program isn't installed; on a build machine that is a failure.
func Needs(t testing.TB, kinds ...Kind) {
	t.Helper()
	for _, k := range kinds {
		daemon.Needs(t, programs[k]...)
	}
}

// Link is what both ends of a session agree on.
type Link struct {
	Us       netip.AddrPort // where we are; the port is 0 unless the router is to call us
	OurAS    uint32
	AS       uint32 // the router's
	Password string
	Hold     int      // seconds
	Announce []string // IPv4 prefixes that the router announces to us: GoBGP and BIRD can
}

// Router is one that runs.
type Router struct {
	*daemon.Program

	Kind Kind
	Addr netip.AddrPort // where it listens
	Link Link
	show func(family string) ([]byte, error)
}

// New starts a router on an address of loopback. It takes all four families of us.
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

// Start starts it, again, and waits until it listens.
func (r *Router) Start(t testing.TB) {
	t.Helper()
	r.Program.Start(t)
	daemon.Eventually(t, 20*time.Second, r.Name+" listens", func() error {
		if r.Link.Password != "" { // it answers nobody who has no password
			return daemon.Listens(r.Addr)
		}
		return r.Up(t, r.Addr)
	})
}

// Show is what the router says it has of a family: "ipv4-flowspec", "ipv6-flowspec",
// "ipv4-unicast", of which FRR shows only what has the community BLACKHOLE, or "ipv6-unicast".
// Of ExaBGP, which has no tables, it is made of what it wrote.
func (r *Router) Show(family string) (string, error) {
	b, err := r.show(family)
	if err != nil {
		err = fmt.Errorf("%s, %s: %w: %s", r.Name, family, err, b)
	}
	return string(b), err
}
