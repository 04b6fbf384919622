// Package speakertest starts real BGP routers on loopback, so that what the speaker announces
// is shown by their own command lines: GoBGP's daemon, BIRD 2, FRR's bgpd and ExaBGP, each run
// by hand, in the test's folder, and ended with the test.
package speakertest

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

// Kinds are all of them.
func Kinds() []Kind { return []Kind{GoBGP, BIRD, FRR, ExaBGP} }

// programs are those that a kind needs, its command line too.
var programs = map[Kind][]string{GoBGP: {"gobgpd", "gobgp"}, BIRD: {"bird", "birdc"}, FRR: {"bgpd", "vtysh"}, ExaBGP: {"exabgp"}}

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
	Kind Kind
	Addr netip.AddrPort // where it listens
	Link Link
	dir  string
	name string
	args []string
	env  []string
	show func(family string) ([]byte, error)

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

// New starts a router on an address of loopback. It takes all four families of us.
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
			t.Logf("%s said:\n%s", r.name, tail(r.Said(), 3000))
		}
	})
	return r
}

// Start starts it, again, and waits until it listens.
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
	Eventually(t, 20*time.Second, r.name+" listens", func() error {
		select {
		case <-r.done:
			t.Fatalf("%s ended: %s", r.name, tail(r.Said(), 3000))
		default:
		}
		if r.Link.Password != "" { // it answers nobody who has no password
			return listens(r.Addr)
		}
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.Addr.String())
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// listens looks the socket up where the kernel lists them.
func listens(a netip.AddrPort) error {
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return err
	}
	ip := a.Addr().As4()
	if want := fmt.Sprintf(" %02X%02X%02X%02X:%04X 00000000:0000 0A", ip[3], ip[2], ip[1], ip[0], a.Port()); !bytes.Contains(b, []byte(want)) {
		return errors.New("not yet")
	}
	return nil
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

// Show is what the router says it has of a family: "ipv4-flowspec", "ipv6-flowspec",
// "ipv4-unicast", of which FRR shows only what has the community BLACKHOLE, or "ipv6-unicast".
// Of ExaBGP, which has no tables, it is made of what it wrote.
func (r *Router) Show(family string) (string, error) {
	b, err := r.show(family)
	if err != nil {
		err = fmt.Errorf("%s, %s: %w: %s", r.name, family, err, b)
	}
	return string(b), err
}

// Pid is the number of the process.
func (r *Router) Pid() int { return r.cmd.Process.Pid }

// ask runs a command line of the router.
func (r *Router) ask(name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, path(name), args...).CombinedOutput() // #nosec G204 -- what the test wrote
}

type writer struct{ r *Router }

func (w writer) Write(b []byte) (int, error) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	return w.r.said.Write(b)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (r *Router) write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // #nosec G306 -- ExaBGP's helper is another user
		t.Fatal(err)
	}
	return file
}

// Eventually tries until it is so, and tells how long that took.
func Eventually(t testing.TB, most time.Duration, what string, is func() error) time.Duration {
	t.Helper()
	begin := clock.System{}.Now()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) { // a command line costs more than what it asks for
		err := is()
		took := clock.System{}.Now().Sub(begin)
		if err == nil {
			return took
		}
		if took > most {
			t.Errorf("%s: not within %s: %v", what, most, err)
			return took
		}
		<-time.NewTimer(wait).C
	}
}
