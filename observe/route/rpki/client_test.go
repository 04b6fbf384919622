package rpki_test

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/corpus"
	"sakimori/base/daemon"
	"sakimori/base/wire/rtr"
	"sakimori/observe"
	"sakimori/observe/route/rpki"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "12") // they wait for timers rather than work
	os.Exit(m.Run())
}

// cache is a small one of our own, of which the test decides what it says.
type cache struct {
	t       *testing.T
	at      string
	newest  uint8 // version that it speaks
	refuses int   // how it answers a version that it doesn't: what the constants say

	mu      sync.Mutex
	session uint16
	serial  uint32
	whole   []byte            // PDUs of everything, in any version
	news    map[uint32][]byte // PDUs since a serial
	pace    [3]uint32
	empty   bool // it has no data yet
	instead []byte
	asked   []string
	conns   []net.Conn
}

const (
	byReport = iota // an Error Report in its own version
	byAnswer        // it answers in its own
	byHangUp        // without a word
)

func newCache(t *testing.T, newest uint8, secure *tls.Config) *cache {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	c := &cache{t: t, at: l.Addr().String(), newest: newest, session: 7, serial: 40, news: map[uint32][]byte{}, pace: [3]uint32{3600, 600, 7200}}
	t.Cleanup(func() { _ = l.Close(); c.cut() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
			go c.serve(conn)
		}
	}()
	return c
}

// cut ends all connections.
func (c *cache) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *cache) serve(conn net.Conn) {
	defer conn.Close()
	var b []byte
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		b = append(b, buf[:n]...)
		for {
			var p rtr.PDU
			n, err := rtr.Parse(b, &p)
			if err != nil {
				break
			}
			b = b[n:]
			out, hangUp := c.answer(&p)
			if _, err := conn.Write(out); err != nil || hangUp {
				return
			}
		}
	}
}

func (c *cache) answer(p *rtr.PDU) (out []byte, hangUp bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := p.Version
	if p.Type == rtr.ErrorReport {
		c.asked = append(c.asked, fmt.Sprintf("v%d error: %s", v, p.Code))
		return nil, true
	}
	c.asked = append(c.asked, fmt.Sprintf("v%d %s", v, map[rtr.Type]string{rtr.ResetQuery: "reset", rtr.SerialQuery: "serial"}[p.Type]))
	if v > c.newest {
		switch c.refuses {
		case byReport:
			return rtr.AppendErrorReport(nil, c.newest, rtr.UnsupportedVersion, nil, "no"), true
		case byHangUp:
			return nil, true
		}
		v = c.newest
	}
	if c.empty {
		return rtr.AppendErrorReport(nil, v, rtr.NoData, nil, "not yet"), false
	}
	if c.instead != nil {
		out, c.instead = c.instead, nil
		return out, false
	}
	body := c.whole
	if p.Type == rtr.SerialQuery {
		var ok bool
		if body, ok = c.news[p.Serial]; p.Serial == c.serial {
			body, ok = nil, true
		}
		if p.Session != c.session {
			ok = true // which the client must notice
		}
		if !ok {
			return rtr.AppendCacheReset(nil, v), false
		}
	}
	out = rtr.AppendCacheResponse(nil, v, c.session)
	for rest := body; len(rest) > 0; {
		var one rtr.PDU
		n, err := rtr.Parse(rest, &one)
		if err != nil {
			c.t.Error(err)
			return nil, true
		}
		if v >= 2 || one.Type != rtr.ASPA { // what there isn't in older ones is left out
			pdu := slices.Clone(rest[:n])
			pdu[0] = v
			out = append(out, pdu...)
		}
		rest = rest[n:]
	}
	return rtr.AppendEndOfData(out, v, c.session, c.serial, c.pace[0], c.pace[1], c.pace[2]), false
}

// notify calls the routers.
func (c *cache) notify(version uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_, _ = conn.Write(rtr.AppendSerialNotify(nil, version, c.session, c.serial))
	}
}

func (c *cache) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *cache) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

func announce(p string, most uint8, as uint32) []byte {
	return rtr.AppendPrefix(nil, 2, true, pfx(p), most, as)
}

func withdraw(p string, most uint8, as uint32) []byte {
	return rtr.AppendPrefix(nil, 2, false, pfx(p), most, as)
}

// follow runs a set of sources until the test ends.
func follow(t *testing.T, c rpki.Config, changed func([]rpki.Change)) *rpki.Set {
	t.Helper()
	s, err := rpki.New(c, clock.System{}, slog.New(slog.DiscardHandler), changed)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func of(caches ...string) (c rpki.Config) {
	for i, at := range caches {
		c.Sources = append(c.Sources, rpki.Source{Name: fmt.Sprint("cache ", i), RTR: at})
	}
	return c
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for range 500 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never: %s: %v", what, err)
}

// waits until an origin has a state.
func waits(t *testing.T, s *rpki.Set, p string, as uint32, want observe.ROV) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s AS%d is %s", p, as, want), func() error {
		if got := s.Origin(pfx(p), as); got != want {
			return fmt.Errorf("%s, %+v", got, s.Status())
		}
		return nil
	})
}

// Whatever a cache speaks and however it says so, the highest common version is spoken.
func TestVersions(t *testing.T) {
	t.Parallel()
	for newest := range uint8(3) {
		for _, refuses := range []int{byReport, byAnswer, byHangUp} {
			t.Run(fmt.Sprint(newest, refuses), func(t *testing.T) {
				t.Parallel()
				c := newCache(t, newest, nil)
				c.refuses, c.whole = refuses, slices.Concat(announce("192.0.2.0/24", 24, 64500), rtr.AppendASPA(nil, 2, true, 64500, []uint32{64501}))
				s := follow(t, of(c.at), nil)
				waits(t, s, "192.0.2.0/24", 64500, observe.ROVValid)
				if st := s.Status()[0]; st.Version == nil || *st.Version != newest || *st.Serial != 40 || st.ROAs != 1 || st.State != rpki.OK {
					t.Errorf("%+v", st)
				}
				if got, want := s.Path([]uint32{64502, 64500}, false, observe.ASCustomer), observe.ASPAInvalid; newest == 2 && got != want || newest < 2 && got != observe.ASPANone {
					t.Errorf("path: %s", got)
				}
			})
		}
	}
}

// What is new comes by notification, whole or in part, over the end of a connection too.
func TestFollow(t *testing.T) {
	t.Parallel()
	c := newCache(t, 2, nil)
	c.whole = slices.Concat(announce("192.0.2.0/24", 24, 64500), announce("198.51.100.0/24", 24, 64500), rtr.AppendASPA(nil, 2, true, 64500, []uint32{64501}), rtr.AppendASPA(nil, 2, true, 64510, []uint32{64501}))
	var mu sync.Mutex
	var told []rpki.Change
	cfg := of(c.at)
	cfg.Own = []netip.Prefix{pfx("192.0.2.0/24")}
	s := follow(t, cfg, func(list []rpki.Change) { mu.Lock(); told = append(told, list...); mu.Unlock() })
	waits(t, s, "198.51.100.0/24", 64500, observe.ROVValid)

	c.set(func() {
		c.serial, c.news[40] = 41, slices.Concat(withdraw("192.0.2.0/24", 24, 64500), announce("192.0.2.0/24", 25, 64500), announce("2001:db8::/32", 48, 64500),
			rtr.AppendASPA(nil, 2, true, 64500, []uint32{64502}), rtr.AppendASPA(nil, 2, false, 64510, nil))
	})
	c.notify(2)
	waits(t, s, "192.0.2.0/25", 64500, observe.ROVValid)
	if s.Origin(pfx("198.51.100.0/24"), 64500) != observe.ROVValid || s.Origin(pfx("2001:db8::/48"), 64500) != observe.ROVValid {
		t.Error("what was there, or is new, isn't")
	}
	if list, ok := s.Providers(64500); !ok || !slices.Equal(list, []uint32{64502}) {
		t.Errorf("an ASPA isn't replaced: %v", list)
	}
	if _, ok := s.Providers(64510); ok {
		t.Error("an ASPA isn't withdrawn")
	}
	mu.Lock()
	if len(told) != 1 || told[0].Kind != rpki.Altered || told[0].Was.MaxLength != 24 || told[0].ROA.MaxLength != 25 {
		t.Errorf("%+v", told)
	}
	mu.Unlock()

	c.cut() // it asks for what is new only
	c.set(func() { c.serial, c.news[41] = 42, announce("203.0.113.0/24", 24, 64500); c.asked = nil })
	waits(t, s, "203.0.113.0/24", 64500, observe.ROVValid)
	if got := c.heard(); len(got) == 0 || got[0] != "v2 serial" {
		t.Errorf("asked %q", got)
	}

	c.set(func() { c.serial, c.whole = 50, announce("10.0.0.0/8", 8, 1) }) // since 42 isn't known
	c.notify(2)
	waits(t, s, "10.0.0.0/8", 1, observe.ROVValid)
	waits(t, s, "203.0.113.0/24", 64500, observe.ROVNotFound)

	c.set(func() { c.session, c.serial, c.whole = 8, 1, announce("11.0.0.0/8", 8, 1) }) // another session
	c.cut()
	waits(t, s, "11.0.0.0/8", 1, observe.ROVValid)
	waits(t, s, "10.0.0.0/8", 1, observe.ROVNotFound)
}

// A cache that contradicts itself is told so, and asked for everything again; until then
// what it said holds.
func TestContradictions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		news []byte
		want string
	}{
		"withdrawn, never announced": {withdraw("203.0.113.0/24", 24, 64500), "v2 error: " + rtr.UnknownWithdrawal.String()},
		"announced twice":            {announce("192.0.2.0/24", 24, 64500), "v2 error: " + rtr.DuplicateAnnounced.String()},
		"an ASPA of nobody":          {rtr.AppendASPA(nil, 2, false, 9, nil), "v2 error: " + rtr.UnknownWithdrawal.String()},
		"a provider list of none":    {rtr.AppendASPA(nil, 2, true, 9, nil), "v2 error: " + rtr.ProviderList.String()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newCache(t, 2, nil)
			k.whole = announce("192.0.2.0/24", 24, 64500)
			s := follow(t, of(k.at), nil)
			waits(t, s, "192.0.2.0/24", 64500, observe.ROVValid)
			k.set(func() {
				k.serial, k.news[40], k.whole, k.asked = 41, c.news, announce("198.51.100.0/24", 24, 64500), nil
			})
			k.notify(2)
			if name != "a provider list of none" { // which begins nothing anew, and so comes again
				waits(t, s, "198.51.100.0/24", 64500, observe.ROVValid)
			}
			eventually(t, "it is told", func() error {
				if got := k.heard(); !slices.Contains(got, c.want) {
					return fmt.Errorf("%q", got)
				}
				return nil
			})
		})
	}
}

// Nonsense from a cache ends the connection with a word, and nothing else.
func TestNonsense(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"HTTP":                   []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"a length bomb":          {2, 3, 0, 7, 0xff, 0xff, 0xff, 0xff},
		"data without an answer": announce("192.0.2.0/24", 24, 64500),
		"an end without":         rtr.AppendEndOfData(nil, 2, 7, 40, 1, 1, 600),
		"another version":        slices.Concat(rtr.AppendCacheResponse(nil, 2, 7), rtr.AppendEndOfData(nil, 1, 7, 40, 1, 1, 600)),
		"another session":        slices.Concat(rtr.AppendCacheResponse(nil, 2, 7), rtr.AppendEndOfData(nil, 2, 8, 40, 1, 1, 600)),
		"a query":                rtr.AppendResetQuery(nil, 2),
		"a type that isn't":      {2, 200, 0, 0, 0, 0, 0, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCache(t, 2, nil)
			c.instead, c.whole = b, announce("198.51.100.0/24", 24, 64500)
			s := follow(t, of(c.at), nil)
			eventually(t, "it is told", func() error {
				if got := c.heard(); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "error") }) {
					return fmt.Errorf("%q", got)
				}
				return nil
			})
			waits(t, s, "198.51.100.0/24", 64500, observe.ROVValid) // the next attempt
			if s.Origin(pfx("192.0.2.0/24"), 64500) == observe.ROVValid {
				t.Error("what didn't belong to an answer holds")
			}
		})
	}
}

// A cache that has nothing yet is asked again; what nobody renews is void in the end.
func TestNoDataAndExpiry(t *testing.T) {
	t.Parallel()
	c := newCache(t, 2, nil)
	c.empty, c.whole = true, announce("192.0.2.0/24", 24, 64500)
	now := &hands{at: clock.System{}.Now()}
	var mu sync.Mutex
	var told []rpki.Change
	s, err := rpki.New(of(c.at), now, slog.New(slog.DiscardHandler), func(list []rpki.Change) { mu.Lock(); told = append(told, list...); mu.Unlock() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func() {}) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "it says that it has none", func() error {
		if st := s.Status()[0]; st.State != rpki.Down || st.Error == nil || !strings.Contains(st.Error.EN, "no data") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	if s.Origin(pfx("192.0.2.0/24"), 64500) != observe.ROVUnknown {
		t.Error("it is known")
	}
	c.set(func() { c.empty = false })
	waits(t, s, "192.0.2.0/24", 64500, observe.ROVValid)
	waits(t, s, "198.51.100.0/24", 64500, observe.ROVNotFound)
	c.set(func() { c.empty = true })
	c.cut()
	eventually(t, "it is away", func() error {
		if st := s.Status()[0]; st.State != rpki.Down {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	if s.Origin(pfx("192.0.2.0/24"), 64500) != observe.ROVValid {
		t.Error("it doesn't hold until it expires")
	}
	now.add(2*time.Hour + time.Second)
	waits(t, s, "192.0.2.0/24", 64500, observe.ROVUnknown)
	if st := s.Status()[0]; st.State != rpki.Stale {
		t.Errorf("%+v", st)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 || told[0].Kind != rpki.Void || told[0].Source != "cache 0" {
		t.Errorf("%+v", told)
	}
}

// hands is a clock that the test moves.
type hands struct {
	mu sync.Mutex
	at time.Time
}

func (h *hands) Now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.at }

func (h *hands) add(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.at = h.at.Add(d) }

// It asks as often as the cache wants it to, and what is told again is renewed.
func TestRefresh(t *testing.T) {
	t.Parallel()
	c := newCache(t, 2, nil)
	c.pace, c.whole = [3]uint32{1, 1, 600}, announce("192.0.2.0/24", 24, 64500)
	s := follow(t, of(c.at), nil)
	waits(t, s, "192.0.2.0/24", 64500, observe.ROVValid)
	expires := *s.Status()[0].Expires
	eventually(t, "it asks again", func() error {
		if got := c.heard(); !slices.Equal(got, []string{"v2 reset", "v2 serial", "v2 serial"}) {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	eventually(t, "the data are renewed", func() error {
		if st := s.Status()[0]; !st.Expires.After(expires) || st.Expires.Sub(*st.Refreshed) != 10*time.Minute {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// Two caches: what either says holds, and when one is void the other's still does.
func TestTwo(t *testing.T) {
	t.Parallel()
	a, b := newCache(t, 2, nil), newCache(t, 1, nil)
	a.whole = slices.Concat(announce("192.0.2.0/24", 24, 64500), announce("198.51.100.0/24", 24, 64500))
	b.whole = slices.Concat(announce("192.0.2.0/24", 24, 64500), announce("203.0.113.0/24", 24, 64500))
	s := follow(t, of(a.at, b.at), nil)
	for _, p := range []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"} {
		waits(t, s, p, 64500, observe.ROVValid)
	}
	if roas, _ := s.Table().Len(); roas != 3 {
		t.Errorf("%d ROAs", roas)
	}
}

// Debian's stayrtr, in each version, with its notifications.
func TestStayrtr(t *testing.T) {
	t.Parallel()
	daemon.Needs(t, "stayrtr")
	program := daemon.Path("stayrtr")
	text, err := os.ReadFile(filepath.Join(corpus.Folder(t, "bgp", "rpki"), "test.rpki.json"))
	if err != nil {
		t.Fatal(err)
	}
	for version := range uint8(3) {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "rpki.json")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			at, metrics := port(t), port(t)
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "-bind", at, "-cache", file, "-checktime=false", "-metrics.addr", metrics, "-refresh", "1", "-protocol", fmt.Sprint(version))
			var log strings.Builder
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			s := follow(t, of(at), nil)
			waits(t, s, "2001:610:240::/42", 3333, observe.ROVValid)
			roas, aspas := s.Table().Len()
			if want := map[bool]int{true: 2}[version == 2]; roas != 19 || aspas != want {
				t.Errorf("%d ROAs, %d ASPAs", roas, aspas)
			}
			if list, ok := s.Providers(64496); version == 2 && (!ok || !slices.Equal(list, []uint32{1299, 6939, 7480, 32097, 50058, 61138})) {
				t.Errorf("providers of 64496: %v", list)
			}
			if v := s.Status()[0].Version; v == nil || *v != version {
				t.Errorf("%+v", s.Status()[0])
			}
			// It reads its file again each second, and notifies.
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), `"asn": 3333, "prefix": "2001:610:240::/42"`, `"asn": 3334, "prefix": "2001:610:240::/42"`, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			waits(t, s, "2001:610:240::/42", 3334, observe.ROVValid)
			waits(t, s, "2001:610:240::/42", 3333, observe.ROVInvalid)
		})
	}
}

// The whole world's ROAs by RTR over loopback, till they hold.
func BenchmarkSync(b *testing.B) {
	var whole []byte
	for _, r := range table(world(700_000).ROAs...).Inside(pfx("0.0.0.0/0")) { // none twice
		whole = rtr.AppendPrefix(whole, 2, true, r.Prefix, r.MaxLength, r.AS)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 64))
			_, _ = conn.Write(rtr.AppendCacheResponse(nil, 2, 7))
			_, _ = conn.Write(whole)
			_, _ = conn.Write(rtr.AppendEndOfData(nil, 2, 7, 1, 3600, 600, 7200))
		}
	}()
	b.ReportMetric(float64(len(whole)/20), "ROAs")
	for b.Loop() {
		s, err := rpki.New(of(l.Addr().String()), clock.System{}, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, func() {}) }()
		for s.Table() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-done
	}
}

// port is a free one of loopback.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
