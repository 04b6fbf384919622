package forward_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/daemon"
	"sakimori/base/wire/dns"
	"sakimori/base/wire/dnstap"
	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/forward"
	"sakimori/respond/rpz/policy"
	"sakimori/respond/rpz/resolver"
	rt "sakimori/respond/rpz/resolvertest"
)

// peer starts a program that isn't ours; it ends with the test.
func peer(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	daemon.Needs(t, name)
	c := exec.Command(daemon.Path(name), args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said.String())
		}
	})
	return c
}

func believes(t *testing.T, certFile string) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(certFile)
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if err != nil || !c.RootCAs.AppendCertsFromPEM(b) {
		t.Fatal("no certificate", err)
	}
	return c
}

// Upstream is Unbound, asked by TLS; who doesn't show the right certificate isn't believed.
func TestUpstreamByTLS(t *testing.T) {
	t.Parallel()
	_, cert, key := rt.Certificate(t, "up.test")
	_, strange, _ := rt.Certificate(t, "up.test")
	up, dir := rt.Port(t), t.TempDir()
	conf := filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf("server:\n username: \"\"\n chroot: \"\"\n directory: %q\n pidfile: \"\"\n use-syslog: no\n interface: %s@%d\n tls-port: %d\n tls-service-pem: %q\n tls-service-key: %q\n module-config: \"iterator\"\n local-zone: \"example.\" redirect\n local-data: 'example. 60 TXT \"truth\"'\nremote-control:\n control-enable: no\n", dir, up.Addr(), up.Port(), up.Port(), cert, key)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	unbound := peer(t, "unbound", "-d", "-p", "-c", conf)
	ask := func(u forward.Upstream) (*forward.Server, func(name string, rcode uint8) error) {
		at := rt.Port(t)
		s := start(t, forward.Config{Listen: []netip.AddrPort{at}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}, Upstream: []forward.Upstream{u}}, nil)
		return s, func(name string, rcode uint8) error {
			a, err := rt.Ask(t, at, taking, name, dns.TXT, false)
			if err == nil && (a.Rcode != rcode || rcode == dns.NoError && (len(a.Texts) != 1 || a.Texts[0] != "truth")) {
				err = fmt.Errorf("%+v", a)
			}
			return err
		}
	}
	_, good := ask(forward.Upstream{Addr: up, Name: "up.test", CA: believes(t, cert)})
	rt.Eventually(t, 10*time.Second, "Unbound is asked by TLS", func() error { return good("a.example", dns.NoError) })
	for i := range 5 { // on the same connection
		if err := good(fmt.Sprintf("b%d.example", i), dns.NoError); err != nil {
			t.Error(err)
		}
	}
	for what, u := range map[string]forward.Upstream{
		"another certificate": {Addr: up, Name: "up.test", CA: believes(t, strange)},
		"another name":        {Addr: up, Name: "other.test", CA: believes(t, cert)},
	} {
		s, bad := ask(u)
		if err := bad("a.example", dns.ServFail); err != nil || s.Counts().Failed != 1 {
			t.Errorf("%s: %v %+v", what, err, s.Counts())
		}
	}
	_ = unbound.Process.Signal(syscall.SIGKILL)
	_, _ = unbound.Process.Wait()
	if err := good("late.example", dns.ServFail); err != nil {
		t.Errorf("a connection that is gone: %v", err)
	}
}

// What it tells is read by the field's own program; nothing is told of who declined.
func TestTap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "tap"), filepath.Join(dir, "file")
	tap, err := forward.NewTap(socket, "", "edge", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	at := rt.Port(t)
	start(t, forward.Config{Listen: []netip.AddrPort{at}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}, Upstream: []forward.Upstream{{Addr: rt.Port(t)}}, Tap: tap}, map[rpz.Zone][]rpz.Rule{
		rpz.OptOut: {{Client: netip.PrefixFrom(declined, 32), Action: rpz.Passthru}},
		rpz.C2:     {{Name: "bot.example"}, {Name: "drop.example", Action: rpz.Drop}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tap.Run(ctx, func() {}) }() // before anybody listens
	rt.Eventually(t, 5*time.Second, "nobody takes it, and it is said", func() error {
		if tap.State().Error == "" {
			return fmt.Errorf("%+v", tap.State())
		}
		return nil
	})
	capture := peer(t, "fstrm_capture", "-t", dnstap.ContentType, "-u", socket, "-w", file)
	rt.Eventually(t, 10*time.Second, "it connects again", func() error {
		if !tap.State().Connected {
			return fmt.Errorf("%+v", tap.State())
		}
		return nil
	})
	const n = 500
	for range n {
		if a, err := rt.Ask(t, at, taking, "bot.example", dns.TXT, false); err != nil || a.Rcode != dns.NXDomain {
			t.Fatal(a, err)
		}
	}
	_, _ = rt.Ask(t, at, declined, "bot.example", dns.TXT, false)
	if _, err := rt.Ask(t, at, taking, "drop.example", dns.TXT, false); err == nil {
		t.Error("it was answered")
	}
	cancel()
	<-done
	if s := tap.State(); s.Told != n+1 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	_ = capture.Process.Signal(syscall.SIGTERM)
	_, _ = capture.Process.Wait()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frames, got := dnstap.NewFrames(f, nil), map[dnstap.Type]int{}
	for {
		b, err := frames.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		var m dnstap.Message
		if err == nil {
			err = m.Read(b)
		}
		if err != nil || m.Client != taking || string(m.Policy.Rule) != string(rpz.C2.Name()) || string(m.Identity) != "edge" {
			t.Fatalf("%+v %v", m, err)
		}
		got[m.Type]++
		if m.Type == dnstap.ClientQuery { // that nobody answers
			var q dns.Message
			if err := q.Read(m.Query); err != nil || q.Response || m.Policy.Action != dnstap.ActionDrop || m.Response != nil || m.ResponseTime != 0 {
				t.Errorf("%+v %v", m, err)
			}
		} else if m.Policy.Action != dnstap.ActionNXDomain {
			t.Errorf("%+v", m)
		}
	}
	if got[dnstap.ClientResponse] != n || got[dnstap.ClientQuery] != 1 || len(got) != 2 {
		t.Errorf("%v frames of %d and 1", got, n)
	}
}

// From our own primary, by TLS, signed; it notifies, and a change counts at once.
func TestOurPrimary(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			t.Parallel()
			pair, cert, _ := rt.Certificate(t, "primary.test")
			key, ours := rt.Secret(t), rt.Port(t)
			p := rt.NewOurs(t, "sakimori", key, pair, ours)
			src := forward.Source{Primaries: []netip.AddrPort{p.Addr}, KeyName: key.Name, Algorithm: key.Algorithm, Secret: "c2FraW1vcmkgdGVzdCBrZXkgb2YgMzIgYnl0ZXMhIQ==", Folder: t.TempDir(), Quick: time.Hour, Slow: time.Hour}
			if secure {
				src.Primaries, src.TLS = []netip.AddrPort{p.Secure}, believes(t, cert)
				src.TLS.ServerName = "primary.test"
			}
			var set atomic.Pointer[policy.Set]
			s, err := forward.NewSecondary(src, func(x *policy.Set) { set.Store(x) }, clock.System{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			start(t, forward.Config{Listen: []netip.AddrPort{ours}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Upstream: []forward.Upstream{{Addr: rt.Port(t)}}, Notified: s.Notified}, nil)
			background(t, s.Run)
			var rules []rpz.Rule
			for i := range 4 {
				bot := fmt.Sprintf("bot%d.example", i)
				rules = append(rules, rpz.Rule{Name: bot})
				if i == 3 {
					rules = slices.Delete(rules, 1, 2)
				}
				p.Publish(t, rpz.C2, rules...)
				took := rt.Eventually(t, 2*time.Second, "a change counts", func() error {
					n, _ := dns.ParseName(bot)
					if _, hit := set.Load().Match(taking, n); !hit {
						return errors.New(bot + " isn't blocked")
					}
					return nil
				})
				t.Logf("after %s", took.Round(time.Millisecond))
			}
			if n, _ := dns.ParseName("bot1.example"); true {
				if _, hit := set.Load().Match(taking, n); hit {
					t.Error("what went is still blocked")
				}
			}
			if full, some := p.Server.Counters.Full.Load(), p.Server.Counters.Incremental.Load(); full != 4 || some == 0 {
				t.Errorf("%d full transfers, %d incremental", full, some)
			}
			if secure { // and whoever has another certificate isn't believed
				_, strange, _ := rt.Certificate(t, "primary.test")
				src.TLS, src.Folder = believes(t, strange), t.TempDir()
				src.TLS.ServerName = "primary.test"
				x, err := forward.NewSecondary(src, func(*policy.Set) {}, clock.System{}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				background(t, x.Run)
				rt.Eventually(t, 5*time.Second, "a strange certificate is said", func() error {
					if c := x.Copies()[2]; c.Error == "" || c.Serial != 0 {
						return fmt.Errorf("%+v", c)
					}
					return nil
				})
			}
		})
	}
}

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context, func()) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// ground always holds.
type ground struct{}

func (ground) AllowsAll(lawful.Measure, time.Time) bool { return true }
func (ground) ID() string                               { return "G-1" }
func (ground) Rule() string                             { return "test" }
func (ground) Until() time.Time                         { return time.Time{} }

// TestMillion says what a zone of a million rules takes here: time to have it, to change it, to
// keep it and to read it again, and memory.
func TestMillion(t *testing.T) {
	if os.Getenv("SAKIMORI_MILLION") == "" {
		t.Skip("SKIPPED: it takes some seconds and a part of the memory: set SAKIMORI_MILLION")
	}
	pair, _, _ := rt.Certificate(t, "primary.test")
	p := rt.NewOurs(t, "sakimori", resolver.Key{}, pair, rt.Port(t))
	publish := func(c rpz.Change) {
		if _, err := p.Store.Publish(t.Context(), rpz.C2, ground{}, c, rpz.By{Who: "test", Why: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	publish(rpz.Change{Whole: func(yield func(rpz.Rule) bool) {
		for i := range 500_000 {
			if n := fmt.Sprintf("m%d.example", i); !yield(rpz.Rule{Name: n}) || !yield(rpz.Rule{Name: "*." + n}) {
				return
			}
		}
	}})
	src := forward.Source{Primaries: []netip.AddrPort{p.Addr}, Folder: t.TempDir(), Quick: 100 * time.Millisecond, Slow: 100 * time.Millisecond}
	var set atomic.Pointer[policy.Set]
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc >> 20
	}
	before := heap()
	s, err := forward.NewSecondary(src, func(x *policy.Set) { set.Store(x) }, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func() {}) }()
	hit := func(name string) func() error {
		n, _ := dns.ParseName(name)
		return func() error {
			if _, hit := set.Load().Match(taking, n); !hit {
				return errors.New(name + " isn't blocked")
			}
			return nil
		}
	}
	t.Logf("in force after %s", rt.Eventually(t, time.Minute, "AXFR", hit("m499999.example")))
	t.Logf("holds %d MB", heap()-before)
	publish(rpz.Change{Add: []rpz.Rule{{Name: "one-more.example"}}})
	t.Logf("one more after %s", rt.Eventually(t, time.Minute, "IXFR", hit("one-more.example")))
	publish(rpz.Change{Add: []rpz.Rule{{Name: "another.example"}}})
	t.Logf("another after %s", rt.Eventually(t, time.Minute, "IXFR", hit("another.example")))
	time.Sleep(3 * time.Second) // it is kept
	cancel()
	<-done
	begin := time.Now()
	if s, err = forward.NewSecondary(src, func(x *policy.Set) { set.Store(x) }, clock.System{}, slog.New(slog.DiscardHandler)); err != nil || s.Copies()[2].Records < 1_000_000 {
		t.Fatal(err, s.Copies())
	}
	t.Logf("read again in %s", time.Since(begin))
}
