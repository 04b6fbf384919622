// Package routertest starts real BGP routers on loopback that tell routes to what is tested:
// GoBGP's daemon, BIRD 2, FRR's bgpd and ExaBGP, each run by hand, in the test's folder, and
// ended with the test.
package routertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sakimori/base/clock"
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
		for _, name := range programs[k] {
			if path(name) != "" {
				continue
			}
			why := "needs " + name + ": see scripts/debian-packages test"
			if os.Getenv("CI") == "true" {
				t.Fatal(why)
			}
			t.Skip("SKIPPED, NOT TESTED: " + why)
		}
	}
}

// path finds a program also where only root, or only FRR, has it in the PATH.
func path(name string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/lib/frr") {
		p := filepath.Join(dir, name)
		if s, err := os.Stat(p); err == nil && !s.IsDir() {
			return p
		}
	}
	return ""
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
	Kind Kind
	Addr netip.AddrPort // where it listens
	Link Link
	dir  string
	api  netip.AddrPort // of GoBGP
	name string
	args []string
	env  []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan struct{}
}

// Port is a port of an address of loopback that nobody listens on.
func Port(t testing.TB, a netip.Addr) netip.AddrPort {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// New starts a router on an address of loopback.
func New(t testing.TB, k Kind, at netip.Addr, l Link) *Router {
	t.Helper()
	Needs(t, k)
	if l.Hold == 0 {
		l.Hold = 9
	}
	r := &Router{Kind: k, Addr: Port(t, at), Link: l, dir: t.TempDir()}
	map[Kind]func(testing.TB, *Router){GoBGP: goBGP, BIRD: bird, FRR: frr, ExaBGP: exaBGP}[k](t, r)
	r.Start(t)
	t.Cleanup(func() {
		r.Kill()
		if t.Failed() {
			s := r.Said()
			t.Logf("%s said:\n%s", r.name, s[max(0, len(s)-3000):])
		}
	})
	return r
}

// Start starts it, again.
func (r *Router) Start(t testing.TB) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path(r.name), r.args...) // #nosec G204 -- what the test wrote
	cmd.Dir, cmd.Env = r.dir, append(os.Environ(), r.env...)
	cmd.Stdout, cmd.Stderr = writer{r}, writer{r}
	// In a group of its own, with the helpers that it starts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.cmd, r.done = cmd, make(chan struct{})
	go func() { _ = cmd.Wait(); close(r.done) }()
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
		Eventually(t, 10*time.Second, "gobgp "+verb+" "+p, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			b, err := exec.CommandContext(ctx, path("gobgp"), "-u", r.api.Addr().String(), "-p", fmt.Sprint(r.api.Port()), "global", "rib", verb, "-a", family, p, "nexthop", hop, "community", "64500:7").CombinedOutput() // #nosec G204 -- what the test wrote
			if err != nil {
				return fmt.Errorf("%w: %s", err, b)
			}
			return nil
		})
	}
}

// Kill ends it without a word, and waits for its end.
func (r *Router) Kill() {
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.done
}

// Said is what it wrote so far.
func (r *Router) Said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

type writer struct{ r *Router }

func (w writer) Write(b []byte) (int, error) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	return w.r.said.Write(b)
}

func (r *Router) write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // #nosec G306 -- ExaBGP gives up root before it reads
		t.Fatal(err)
	}
	return file
}

// Loopback is address number n of loopback, from 2 on: one for each router of a test.
func Loopback(n uint8) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, n}) }

// errNever is that something didn't come to be.
var errNever = errors.New("not in time")

// Eventually tries until it is so.
func Eventually(t testing.TB, most time.Duration, what string, is func() error) {
	t.Helper()
	begin := clock.System{}.Now()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := is()
		if err == nil {
			return
		}
		if (clock.System{}).Now().Sub(begin) > most {
			t.Fatalf("%s: %v: within %s: %v", what, errNever, most, err)
		}
		<-time.NewTimer(wait).C
	}
}
