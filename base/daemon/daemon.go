// Package daemon runs real peers in tests: programs of the machine, by hand, in the test's
// folder, and ended with the test.
//
//	daemon.Needs(t, "bird", "birdc")
//	p := daemon.New(t, "bird")
//	p.Args = []string{"-f", "-c", p.Write(t, "bird.conf", text)}
//	p.Start(t)
//	daemon.Eventually(t, 10*time.Second, "it listens", func() error { return p.Up(t, at) })
package daemon

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

// Needs skips, loudly, where a program isn't installed; on a build machine that is a failure.
func Needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if Path(name) != "" {
			continue
		}
		why := "needs " + name + ": see scripts/debian-packages test"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip("SKIPPED, NOT TESTED: " + why)
	}
}

// Path finds a program also where only root, or only FRR, has it in the PATH; "" nowhere.
func Path(name string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/lib/frr") {
		p := filepath.Join(dir, name)
		if s, err := os.Stat(p); err == nil && !s.IsDir() {
			return p
		}
	}
	return ""
}

// Ask runs a program to its end, ten seconds at most, and gives all that it wrote.
func Ask(name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, Path(name), args...).CombinedOutput() // #nosec G204 -- what the test wrote
}

// Loopback is address number n of loopback, from 2 on: one for each peer of a test.
func Loopback(n uint8) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, n}) }

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

// Program is one that runs.
type Program struct {
	Name string
	Args []string
	Env  []string // besides the test's own
	Dir  string   // of the test, where it runs

	mu   sync.Mutex
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan struct{}
}

// New is a program in a folder of its own, not started yet.
func New(t testing.TB, name string) *Program {
	t.Helper()
	return &Program{Name: name, Dir: t.TempDir()}
}

// Write writes a file into its folder, and gives its path.
func (p *Program) Write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(p.Dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // #nosec G306 -- some programs give up root before they read
		t.Fatal(err)
	}
	return file
}

// Start starts it, again. It ends with the test at the latest; of a test that failed, what
// it wrote is logged.
func (p *Program) Start(t testing.TB) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), Path(p.Name), p.Args...) // #nosec G204 -- what the test wrote
	cmd.Dir, cmd.Env = p.Dir, append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = writer{p}, writer{p}
	// In a group of its own, with the helpers that it starts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := p.cmd == nil
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
	if !first {
		return
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.Name, p.Last())
		}
	})
}

// Kill ends it without a word, and waits for its end.
func (p *Program) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Pid is the number of its process.
func (p *Program) Pid() int { return p.cmd.Process.Pid }

// Said is what it wrote so far.
func (p *Program) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// Last is the end of what it wrote.
func (p *Program) Last() string {
	s := p.Said()
	return s[max(0, len(s)-3000):]
}

// Up fails the test when it has ended, and else tells whether somebody answers at an address.
func (p *Program) Up(t testing.TB, at netip.AddrPort) error {
	t.Helper()
	select {
	case <-p.done:
		t.Fatalf("%s ended: %s", p.Name, p.Last())
	default:
	}
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", at.String())
	if err == nil {
		_ = c.Close()
	}
	return err
}

// Listens tells whether the kernel has a listening socket at an address of IPv4: of who
// answers nobody without a password, for example.
func Listens(at netip.AddrPort) error {
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return err
	}
	ip := at.Addr().As4()
	if want := fmt.Sprintf(" %02X%02X%02X%02X:%04X 00000000:0000 0A", ip[3], ip[2], ip[1], ip[0], at.Port()); !bytes.Contains(b, []byte(want)) {
		return errors.New("not yet")
	}
	return nil
}

type writer struct{ p *Program }

func (w writer) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.p.said.Write(b)
}

// Eventually tries until it is so, and tells how long that took. Not in time is an error of
// the test, which goes on.
func Eventually(t testing.TB, most time.Duration, what string, is func() error) time.Duration {
	t.Helper()
	took, err := try(most, is)
	if err != nil {
		t.Errorf("%s: not within %s: %v", what, most, err)
	}
	return took
}

// Await tries until it is so. Not in time ends the test.
func Await(t testing.TB, most time.Duration, what string, is func() error) {
	t.Helper()
	if _, err := try(most, is); err != nil {
		t.Fatalf("%s: not within %s: %v", what, most, err)
	}
}

func try(most time.Duration, is func() error) (took time.Duration, err error) {
	begin := clock.System{}.Now()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) { // a command line costs more than what it asks for
		err = is()
		if took = (clock.System{}).Now().Sub(begin); err == nil || took > most {
			return took, err
		}
		<-time.NewTimer(wait).C
	}
}
