//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sakimori/base/clock"
	wiredns "sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/observe"
	"sakimori/observe/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/primary"
)

// Part G runs this program anew for what its memory or processor time is asked of.

// play is such a process: it says on its output that it is ready, obeys the lines of its
// input, and ends with them.
func play(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 3 && args[0] == "make":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return makeZone(ctx, args[1], n)
	case len(args) >= 2 && args[0] == "serve":
		return serveZone(ctx, args[1], args[2:], in, out)
	case len(args) == 2 && args[0] == "tap":
		return takeTap(ctx, args[1], in, out)
	case len(args) == 4 && args[0] == "routes":
		return routesRole(ctx, args[1], args[2], args[3], out)
	case len(args) == 4 && args[0] == "flows":
		packets, err1 := strconv.ParseFloat(args[2], 64)
		quiet, err2 := strconv.Atoi(args[3])
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return takeFlows(ctx, args[1], packets, quiet)
	}
	return fmt.Errorf("no such role: %q", args)
}

type nowhere struct{}

func (nowhere) Record(context.Context, rpz.Publication) error { return nil }

// ground holds, as nobody is blocked by a measurement.
type ground struct{}

func (ground) AllowsAll(lawful.Measure, time.Time) bool { return true }
func (ground) ID() string                               { return "bench" }
func (ground) Rule() string                             { return "bench" }
func (ground) Until() time.Time                         { return time.Time{} }

var bench = rpz.By{Who: "bench", Why: "a measurement"}

// ruleName is the name of a listed rule; *. below it is listed, too.
func ruleName(i int) string { return fmt.Sprintf("m%d.example", i) }

func makeZone(ctx context.Context, dir string, rules int) error {
	s, err := rpz.Open(ctx, dir, rpz.Options{Clock: clock.System{}, Recorder: nowhere{}})
	if err != nil {
		return err
	}
	_, err = s.Publish(ctx, rpz.C2, ground{}, rpz.Change{Whole: func(yield func(rpz.Rule) bool) {
		for i := range rules / 2 {
			if n := ruleName(i); !yield(rpz.Rule{Name: n, Ref: "bench"}) || !yield(rpz.Rule{Name: "*." + n, Ref: "bench"}) {
				return
			}
		}
	}}, bench)
	return errors.Join(err, s.Close())
}

// keyOf is the key of a peer.
func keyOf(name string) wiredns.Key {
	n, _ := wiredns.ParseName(name) // a constant
	return wiredns.Key{Name: n, Algorithm: wiredns.SHA256, Secret: []byte("sakimori bench key of 32 bytes!!")}
}

const benchSecret = "c2FraW1vcmkgYmVuY2gga2V5IG9mIDMyIGJ5dGVzISE="

// serveZone serves the zones of a folder. notify are addresses, by name of the peer, whose key
// has that name; without a key comes whoever has none. A line "zone name" lists a name.
func serveZone(ctx context.Context, dir string, notify []string, in io.Reader, out io.Writer) error {
	s, err := rpz.Open(ctx, dir, rpz.Options{Clock: clock.System{}, Recorder: nowhere{}})
	if err != nil {
		return err
	}
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	c := primary.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}
	plain := primary.Peer{Name: "plain", Address: local}
	for _, n := range notify {
		name, at, _ := strings.Cut(n, "=")
		to, err := netip.ParseAddrPort(at)
		if err != nil {
			return err
		}
		if name == "plain" {
			plain.Notify = append(plain.Notify, to)
			continue
		}
		k := keyOf(name)
		c.Keys = append(c.Keys, k)
		c.Peers = append(c.Peers, primary.Peer{Name: name, Address: local, Key: k.Name, Notify: []netip.AddrPort{to}})
	}
	c.Peers = append(c.Peers, plain)
	p, err := primary.New(c, s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- p.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		return err
	}
	at, _ := p.Addrs()
	fmt.Fprintln(out, at[0])
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		zone, name, _ := strings.Cut(lines.Text(), " ")
		pub, err := s.Publish(ctx, rpz.Zone(zone), ground{}, rpz.Change{Add: []rpz.Rule{{Name: name, Ref: "bench"}}}, bench)
		if err != nil {
			cancel()
			return errors.Join(err, <-done)
		}
		fmt.Fprintln(out, pub.Serial)
	}
	cancel()
	return errors.Join(<-done, s.Close())
}

// crowd are clients who all consent to matching, one in ten to hits.
type crowd struct{}

func (crowd) May(a netip.Addr, _ time.Time) (match, hits bool) {
	b := a.As4()
	return true, b[3]%10 == 0
}

// listed is a list of names.
type listed map[string]dns.Listing

func (l listed) Match(n wiredns.Name) (dns.Listing, bool) {
	for ; len(n) > 1; n = n.Parent() {
		if x, is := l[string(n)]; is {
			return x, true
		}
	}
	return dns.Listing{}, false
}

type ignored struct{}

func (ignored) Look([]observe.Lookup) {}

// tapped is what a taker of dnstap says of itself.
type tapped struct {
	Frames  uint64        `json:"frames"`
	Dropped uint64        `json:"dropped"`
	Blocked uint64        `json:"blocked"`
	CPU     time.Duration `json:"cpu"`
}

// takeTap counts what comes on a socket; each line of the input asks for what came.
func takeTap(ctx context.Context, socket string, in io.Reader, out io.Writer) error {
	list := listed{}
	for i := range tapNames {
		n, err := wiredns.ParseName(ruleName(i))
		if err != nil {
			return err
		}
		list[string(n)] = dns.Listing{Zone: string(rpz.C2), Family: "mirai", Contact: observe.Blocked}
	}
	o, err := dns.New(dns.Config{Live: true}, crowd{}, list, ignored{}, clock.System{})
	if err != nil {
		return err
	}
	l, err := o.Listen(dns.Listen{Name: "bench", Socket: socket}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- l.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		return err
	}
	fmt.Fprintln(out, "ready")
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		s := l.Stats()
		t := tapped{Frames: s.Frames, Dropped: s.Dropped, CPU: ownCPU()}
		for _, r := range o.Pending() {
			t.Blocked += r.Blocked
		}
		if err := json.NewEncoder(out).Encode(t); err != nil {
			cancel()
			return err
		}
	}
	cancel()
	return <-done
}

// actor is a process of part G: of this program, or of another.
type actor struct {
	c    *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said speech
}

// act starts one; it ends with this process at the latest.
func act(ctx context.Context, env []string, name string, args ...string) (*actor, error) {
	a := &actor{c: exec.CommandContext(ctx, name, args...)}
	a.c.Env, a.c.Stderr = append(os.Environ(), env...), &a.said
	a.c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var err error
	if a.in, err = a.c.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out = bufio.NewReader(out)
	return a, a.c.Start()
}

// role starts this program in a role, and gives the line with which it is ready.
func role(ctx context.Context, env []string, args ...string) (*actor, string, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	a, err := act(ctx, env, own, slices.Concat([]string{"role"}, args)...)
	if err != nil {
		return nil, "", err
	}
	line, err := a.out.ReadString('\n')
	if err != nil {
		a.end()
		return nil, "", fmt.Errorf("role %s: %w: %s", args[0], err, lastLine(a.said.String()))
	}
	return a, strings.TrimSpace(line), nil
}

// ask writes a line and reads one.
func (a *actor) ask(line string) (string, error) {
	if _, err := io.WriteString(a.in, line+"\n"); err != nil {
		return "", err
	}
	got, err := a.out.ReadString('\n')
	return strings.TrimSpace(got), err
}

// end ends it, and gives the most memory that it had.
func (a *actor) end() (rss int64) {
	rss = peak(a.c.Process.Pid)
	_ = a.in.Close() // its end is what is wanted
	_ = a.c.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(20*time.Second, func() { _ = syscall.Kill(-a.c.Process.Pid, syscall.SIGKILL) })
	defer kill.Stop()
	_, _ = io.Copy(io.Discard, a.out)
	_ = a.c.Wait()
	return rss
}

// program finds one also where only root has it in the PATH.
func program(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	p := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("%s isn't there: scripts/debian-packages bench", name)
	}
	return p, nil
}
