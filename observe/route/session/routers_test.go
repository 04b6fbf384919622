package session_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/daemon"
	"sakimori/observe/route/routertest"
	"sakimori/observe/route/session"
)

// Real routers, each with a password of its own, tell their routes; killed, they are gone.
func TestRouters(t *testing.T) {
	t.Parallel()
	kinds := []routertest.Kind{routertest.GoBGP, routertest.BIRD, routertest.FRR, routertest.ExaBGP}
	routertest.Needs(t, kinds...)
	c := session.Config{Listen: daemon.Port(t, us)}
	for i, k := range kinds {
		c.Neighbors = append(c.Neighbors, session.Neighbor{
			Feed: string(k), Address: daemon.Loopback(uint8(11 + i)), AS: 4200000001 + uint32(i), Hold: 9 * time.Second, PasswordFile: secret(t, "of-"+string(k)),
		})
	}
	out := &sink{t: t}
	l, _ := run(t, c, out)
	var many []string // which BIRD packs into a few messages
	for i := range 5000 {
		many = append(many, fmt.Sprintf("10.%d.%d.0/24", i>>8, i&0xff))
	}
	var list []*routertest.Router
	for _, n := range c.Neighbors {
		link := routertest.Link{Neighbor: l.Addr(), NeighborAS: ours, AS: n.AS, Password: "of-" + n.Feed, Announce: []string{"198.51.100.0/24", "2001:db8:1::/48"}}
		link.Near = n.Feed == string(routertest.FRR)
		if n.Feed == string(routertest.BIRD) {
			link.Announce = append(link.Announce, many...)
		}
		if n.Feed == string(routertest.ExaBGP) {
			link.Announce = []string{"198.51.100.0/24 next-hop 192.0.2.5", "2001:db8:1::/48 next-hop 2001:db8::5"}
		}
		list = append(list, routertest.New(t, routertest.Kind(n.Feed), n.Address, link))
	}
	for _, n := range c.Neighbors {
		words := fmt.Sprintf(" [%d]", n.AS)
		if n.Feed == string(routertest.GoBGP) {
			words += " 64500:7"
		}
		want := []string{"198.51.100.0/24" + words, "2001:db8:1::/48" + words}
		if n.Feed == string(routertest.BIRD) {
			for _, p := range many {
				want = append(want, p+words)
			}
			slices.Sort(want)
		}
		out.waits(t, n.Feed, want...)
	}
	for _, st := range l.Neighbors() {
		if st.State != session.Established || st.Updates < 2 || st.Last == nil || st.Error != nil || !st.BGPID.IsValid() {
			t.Errorf("%+v", st)
		}
	}
	list[0].Withdraw(t, "198.51.100.0/24")
	list[0].Announce(t, "203.0.113.0/24")
	out.waits(t, string(routertest.GoBGP), "2001:db8:1::/48 [4200000001] 64500:7", "203.0.113.0/24 [4200000001] 64500:7")
	for _, r := range list {
		r.Kill()
	}
	for i, n := range c.Neighbors {
		daemon.Await(t, 12*time.Second, n.Feed+" is gone", func() error {
			if got := out.events(n.Feed); len(got) != 2 || !strings.HasPrefix(got[0], fmt.Sprintf("up AS%d %s ", n.AS, n.Address)) || got[1] != "down 4" {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
		if st := l.Neighbors()[i]; st.State != session.Waiting || st.Resets != 1 || st.Error == nil {
			t.Errorf("%+v", st)
		}
	}
}

// What ExaBGP can be made to send: attributes that no library knows, paths with identifiers,
// and of any shape.
func TestAttributes(t *testing.T) {
	t.Parallel()
	routertest.Needs(t, routertest.ExaBGP)
	out := &sink{t: t}
	l, _ := run(t, session.Config{Neighbors: []session.Neighbor{{Feed: "exa", Address: daemon.Loopback(21), AS: 64501, AddPath: true}}}, out)
	routertest.New(t, routertest.ExaBGP, daemon.Loopback(21), routertest.Link{Neighbor: l.Addr(), NeighborAS: ours, AS: 64501, AddPath: true, Announce: []string{
		"198.51.100.0/24 next-hop 192.0.2.5 path-information 0.0.0.1 as-path [ 64501 701 15169 ] community [ 65535:666 ] attribute [0x23 0xc0 0x0000fbf5]",
		"203.0.113.0/24 next-hop 192.0.2.6 path-information 0.0.0.2 as-path [ 64501 4200000000 ] attribute [0xfe 0xc0 0x010203]",
	}})
	out.waits(t, "exa", "198.51.100.0/24#1 [64501 701 15169] 65535:666 otc 64501", "203.0.113.0/24#2 [64501 4200000000]")
	out.mu.Lock()
	defer out.mu.Unlock()
	if !slices.ContainsFunc(out.at["exa"].raw, func(b []byte) bool { return strings.Contains(string(b), "\xfe\x03\x01\x02\x03") }) {
		t.Errorf("an unknown attribute isn't in the evidence: %x", out.at["exa"].raw)
	}
}

// nobody takes messages as fast as they come.
type nobody struct{ n chan int }

func (n nobody) BMP(_ string, _ netip.Addr, msg []byte, _ time.Time) { n.n <- len(msg) }
func (nobody) Heard(string, time.Time)                               {}

// A neighbour's UPDATEs of four prefixes each, by loopback: read, cut, framed and handed on.
func BenchmarkUpdates(b *testing.B) {
	to := nobody{make(chan int, 1024)}
	l, err := session.New(session.Config{AS: ours, RouterID: netip.MustParseAddr("192.0.2.100"), Listen: netip.AddrPortFrom(us, 0), Neighbors: []session.Neighbor{{Feed: "a", Address: us, AS: 64501}}}, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.Run(ctx, func() { close(ready) }) }()
	<-ready
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	one := msg(2, 0, 0, 0, 51, 0x40, 1, 1, 0, 0x40, 2, 22, 2, 5, 0, 0, 0xfb, 0xf5, 0, 0, 0x0d, 0x1c, 0, 0, 0x12, 0x69, 0, 0, 0x9b, 0x9b, 0, 0, 0x33, 0x01, 0x40, 3, 4, 192, 0, 2, 7,
		0xc0, 8, 12, 0, 1, 0, 1, 0, 1, 0, 2, 0, 1, 0, 3, 24, 10, 0, 0, 24, 10, 0, 1, 24, 10, 0, 2, 24, 10, 0, 3)
	many := slices.Repeat(one, 256)
	if _, err := conn.Write(slices.Concat(hello, alive)); err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			if _, err := conn.Write(many); err != nil {
				return
			}
		}
	}()
	<-to.n // it is up
	b.ReportAllocs()
	for b.Loop() {
		<-to.n
	}
	b.StopTimer()
	_ = conn.Close()
	go func() {
		for range to.n {
		}
	}()
	cancel()
	<-done
}
