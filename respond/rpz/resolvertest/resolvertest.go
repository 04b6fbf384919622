// Package resolvertest starts real resolvers on loopback from the files that the house
// generates, beside an authority that knows every name they ask for, so that nothing
// leaves the machine, and a primary of the policy zones.
package resolvertest

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
	"sakimori/base/daemon"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/resolver"
)

// programs are the resolvers' own.
var programs = map[resolver.Vendor]string{resolver.BIND: "named", resolver.Unbound: "unbound", resolver.PowerDNS: "pdns_recursor", resolver.Knot: "kresd"}

// Needs skips, loudly, where a program isn't installed; on a build machine that is a failure.
func Needs(t testing.TB, vendors ...resolver.Vendor) {
	t.Helper()
	names := []string{"named"} // authority and primary
	for _, v := range vendors {
		names = append(names, programs[v])
	}
	daemon.Needs(t, names...)
}

// Port is an address on loopback that nobody listens on.
func Port(t testing.TB) netip.AddrPort {
	t.Helper()
	for range 50 {
		c, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := netip.MustParseAddrPort(c.LocalAddr().String())
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", at.String())
		_ = c.Close()
		if err == nil {
			_ = l.Close()
			return at
		}
	}
	t.Fatal("no port is free by UDP and TCP")
	return netip.AddrPort{}
}

// Process is a server that the test started.
type Process struct {
	Addr netip.AddrPort
	Dir  string
	name string
	args []string
	mu   sync.Mutex
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan struct{}
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// run starts it; Stop ends it, and so does the end of the test.
func run(t testing.TB, at netip.AddrPort, dir, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Addr: at, Dir: dir, name: name, args: args}
	p.Start(t)
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, tail(p.Said(), 4000))
		}
	})
	return p
}

// Start starts it, again.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), daemon.Path(p.name), p.args...) // #nosec G204 -- what the test wrote
	cmd.Dir = p.Dir
	cmd.Stdout, cmd.Stderr = writer{p}, writer{p}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func() { _ = cmd.Wait(); close(p.done) }()
}

// Stop kills it and waits for its end.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// Hangup asks it to read its files again.
func (p *Process) Hangup() { _ = p.cmd.Process.Signal(syscall.SIGHUP) }

// Said is what it wrote so far.
func (p *Process) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

type writer struct{ p *Process }

func (w writer) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.p.said.Write(b)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Up waits until a question is answered, whatever the answer.
func (p *Process) Up(t testing.TB, from netip.Addr, name string) {
	t.Helper()
	Eventually(t, 20*time.Second, p.name+" answers", func() error {
		select {
		case <-p.done:
			t.Fatalf("%s ended: %s", p.name, tail(p.Said(), 4000))
		default:
		}
		_, err := Ask(t, p.Addr, from, name, dns.SOA, false)
		return err
	})
}

// Ask asks once.
func Ask(t testing.TB, to netip.AddrPort, from netip.Addr, name string, typ uint16, do bool) (canary.Answer, error) {
	t.Helper()
	n, err := dns.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	return canary.Ask(ctx, canary.Question{From: from, To: to, Name: n, Type: typ, DNSSEC: do})
}

// Eventually tries until it is so, and tells how long that took.
func Eventually(t testing.TB, most time.Duration, what string, is func() error) time.Duration {
	t.Helper()
	begin := clock.System{}.Now()
	for {
		err := is()
		took := clock.System{}.Now().Sub(begin)
		if err == nil {
			return took
		}
		if took > most {
			t.Errorf("%s: not within %s: %v", what, most, err)
			return took
		}
		<-time.NewTimer(50 * time.Millisecond).C
	}
}

// Launch starts a resolver where its Site says, from the files as they are generated. A test
// that shows what a line is for may edit them.
func Launch(t testing.TB, v resolver.Vendor, s resolver.Site, edits ...func(text string) string) *Process {
	t.Helper()
	Needs(t, v)
	texts, _, err := resolver.Config(v, s)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		for _, edit := range edits {
			text = edit(text)
		}
		write(t, filepath.Join(s.Folder, name), text)
	}
	in := func(name string) string { return filepath.Join(s.Folder, name) }
	var args []string
	switch v {
	case resolver.BIND:
		args = []string{"-g", "-n", "1", "-c", in("named.conf")}
	case resolver.Unbound:
		args = []string{"-d", "-p", "-c", in("unbound.conf")}
		// As root it would become a user who may not write into the test's folder.
		write(t, in("test.conf"), "server:\n\tusername: \"\"\n\tuse-syslog: no\ninclude: \""+in("unbound.conf")+"\"\n")
		args[3] = in("test.conf")
	case resolver.PowerDNS:
		args = []string{"--config-dir=" + s.Folder, "--threads=1"}
	case resolver.Knot:
		args = []string{"-n", "-c", in("kresd.conf"), s.Folder}
	}
	return run(t, s.Listen[0], s.Folder, programs[v], args...)
}

func write(t testing.TB, file, text string) {
	t.Helper()
	// By renaming, as whoever reads it must have it whole.
	if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
}

// Secret writes a TSIG key as tsig-keygen does.
func Secret(t testing.TB) resolver.Key {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.conf")
	write(t, file, "key \"sakimori-rpz\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2FraW1vcmkgdGVzdCBrZXkgb2YgMzIgYnl0ZXMhIQ==\";\n};\n")
	return resolver.Key{Name: "sakimori-rpz", Algorithm: "hmac-sha256", File: file}
}

// Authority starts a name server of a root zone that holds the records given, in the form
// of a zone file, and of signed.example, whose names www and bot are signed.
func Authority(t testing.TB, records string) *Process {
	t.Helper()
	Needs(t)
	dir, at := t.TempDir(), Port(t)
	soa := "@ 60 IN SOA localhost. root.localhost. 1 60 60 600 60\n@ 60 IN NS ns.root-servers.example.\n"
	write(t, filepath.Join(dir, "root.zone"), "$TTL 60\n"+soa+"ns.root-servers.example. 60 IN A 127.0.0.1\nsigned.example. 60 IN NS ns.root-servers.example.\n"+records)
	write(t, filepath.Join(dir, "signed.zone"), "$TTL 60\n"+soa+"www A 192.0.2.80\nwww TXT \"truth\"\nbot A 192.0.2.81\nbot TXT \"truth\"\n")
	write(t, filepath.Join(dir, "named.conf"), fmt.Sprintf(`options {
	directory %q; pid-file none; session-keyfile none; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion yes; allow-query { any; }; allow-recursion { any; }; dnssec-validation no; notify no; empty-zones-enable no;
};
controls { };
zone "." { type primary; file "root.zone"; check-integrity no; };
zone "signed.example." { type primary; file "signed.zone"; check-integrity no; dnssec-policy default; inline-signing yes; };
`, dir, at.Port()))
	p := run(t, at, dir, "named", "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
	Eventually(t, 20*time.Second, "the authority signs", func() error {
		a, err := Ask(t, at, netip.Addr{}, "bot.signed.example", dns.TXT, true)
		if err == nil && !a.Signed {
			err = errors.New("not signed yet")
		}
		return err
	})
	return p
}
