package access_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	oracle "layeh.com/radius"

	"sakimori/base/clock"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// sink keeps records in memory.
type sink struct {
	mu      sync.Mutex
	records []subscriber.Record
	calls   int
	before  func(ctx context.Context) error // nil: nothing
}

func (s *sink) Take(ctx context.Context, list []subscriber.Record) error {
	if s.before != nil {
		if err := s.before(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.calls = append(s.records, list...), s.calls+1
	return nil
}

func (s *sink) all() []subscriber.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]subscriber.Record(nil), s.records...)
}

const secret = "testing123"

func loopback() []access.Client {
	return []access.Client{{Name: "bng", Prefix: netip.MustParsePrefix("127.0.0.0/8"), Secret: []byte(secret)}, {Name: "bng6", Prefix: netip.MustParsePrefix("::1/128"), Secret: []byte("six")}}
}

// serve runs a server on loopback until the test ends, or stop is called.
func serve(t testing.TB, cfg access.ServerConfig, to access.Sink) (s *access.Server, stop func()) {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []string{"127.0.0.1:0"}
	}
	if cfg.Clients == nil {
		cfg.Clients = loopback()
	}
	s, err := access.NewServer(cfg, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return s, stop
}

// radclient sends what FreeRADIUS' client reads from the text, and gives what it says.
func radclient(t *testing.T, s *access.Server, secret, text string, options ...string) (string, error) {
	t.Helper()
	program, err := exec.LookPath("radclient")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("radclient isn't installed (Debian: freeradius-utils)")
		}
		t.Skip("SKIPPED, NOT TESTED: radclient isn't installed (Debian: freeradius-utils)")
	}
	file := filepath.Join(t.TempDir(), "requests")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-x", "-f", file, "-t", "1", "-r", "2"}, options...)
	out, err := exec.CommandContext(t.Context(), program, append(args, s.Addresses()[0].String(), "acct", secret)...).CombinedOutput()
	return string(out), err
}

const session = `User-Name = "fred@example.net"
NAS-Identifier = "bng1"
Acct-Session-Id = "0001"
Acct-Status-Type = Start
Framed-IP-Address = 203.0.113.7
Delegated-IPv6-Prefix = 2001:db8:7::/56
Session-Timeout = 86400

User-Name = "fred@example.net"
NAS-Identifier = "bng1"
Acct-Session-Id = "0001"
Acct-Status-Type = Interim-Update
Acct-Session-Time = 600
Framed-IP-Address = 203.0.113.7
Delegated-IPv6-Prefix = 2001:db8:7::/56

User-Name = "fred@example.net"
NAS-Identifier = "bng1"
Acct-Session-Id = "0001"
Acct-Status-Type = Stop
Acct-Session-Time = 900
Acct-Delay-Time = 4
Framed-IP-Address = 203.0.113.7
Delegated-IPv6-Prefix = 2001:db8:7::/56

NAS-Identifier = "bng1"
Acct-Status-Type = Accounting-On

NAS-Identifier = "bng1"
Acct-Status-Type = Accounting-Off
`

// TestRadclient: a whole session as FreeRADIUS' own client sends it.
func TestRadclient(t *testing.T) {
	to := &sink{}
	s, _ := serve(t, access.ServerConfig{}, to)
	began := time.Now()
	out, err := radclient(t, s, secret, session)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(out, "Received Accounting-Response"); n != 5 {
		t.Errorf("%d answers, want 5:\n%s", n, out)
	}
	var kinds []string
	for _, r := range to.all() {
		kinds = append(kinds, fmt.Sprintf("%d %s %s %s %s", r.Kind, r.Address, r.Line, r.Session, r.Source))
	}
	want := []string{
		"1 203.0.113.7/32 fred@example.net 0001 bng1", "1 2001:db8:7::/56 fred@example.net 0001 bng1",
		"2 203.0.113.7/32 fred@example.net 0001 bng1", "2 2001:db8:7::/56 fred@example.net 0001 bng1",
		"3 203.0.113.7/32 fred@example.net 0001 bng1", "3 2001:db8:7::/56 fred@example.net 0001 bng1",
		"4 invalid Prefix   bng1", "4 invalid Prefix   bng1",
	}
	if fmt.Sprint(kinds) != fmt.Sprint(want) {
		t.Fatalf("records\n%q, want\n%q", kinds, want)
	}
	near := func(what string, got time.Time, ago time.Duration) {
		t.Helper()
		if d := got.Sub(began.Add(-ago)); d < -time.Second || d > 10*time.Second {
			t.Errorf("%s: %v, want about %v", what, got, began.Add(-ago))
		}
	}
	r := to.all()
	near("Start", r[0].At, 0)
	near("promised end", r[0].Until, -24*time.Hour)
	near("begun, by the Interim-Update", r[2].Since, 10*time.Minute)
	near("Stop", r[4].At, 4*time.Second)
	near("begun, by the Stop", r[4].Since, 15*time.Minute+4*time.Second)
	counted(t, s, 5)
	if c := s.Stats().Clients[0]; c.Requests != 5 || c.Records != 8 || len(c.Refused) != 0 {
		t.Errorf("%+v", c)
	}
}

// TestRefused: nobody else is answered, and it is counted who asked, and why not.
func TestRefused(t *testing.T) {
	to := &sink{}
	s, _ := serve(t, access.ServerConfig{}, to)
	out, err := radclient(t, s, "wrong", session[:strings.Index(session, "\n\n")], "-r", "1")
	if err == nil || strings.Contains(out, "Received") {
		t.Errorf("a wrong secret was answered:\n%s", out)
	}
	c := conn(t, s)
	send := func(b []byte) {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	send([]byte("hello"))
	send(packet(t, oracle.CodeAccessRequest, nil))
	send(packet(t, oracle.CodeAccountingRequest, attributes{{44, "1"}}))
	send(packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x63"}}))
	send(packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}, {55, "\x00\x00\x00\x01"}}))
	send(packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}, {8, "abc"}}))
	want := map[string]uint64{
		"the shared secret is another one": 1, "shorter than it says": 1, "not an Accounting-Request": 1, "no Acct-Status-Type": 1,
		"an unknown Acct-Status-Type": 1, "its time lies before 2000": 1, "an attribute's value has the wrong form": 1,
	}
	got := map[string]uint64{}
	eventually(t, func() bool { got = s.Stats().Clients[0].Refused; return fmt.Sprint(got) == fmt.Sprint(want) }, func() string { return fmt.Sprintf("refused %v, want %v", got, want) })
	if n := s.Stats().Clients[0].Answered; n != 0 || len(to.all()) != 0 {
		t.Errorf("%d answers, %d records", n, len(to.all()))
	}
}

func TestUnknownClient(t *testing.T) {
	s, _ := serve(t, access.ServerConfig{Clients: []access.Client{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Secret: []byte(secret)}}}, &sink{})
	if _, err := conn(t, s).Write(packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}})); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return s.Stats().Unknown[netip.MustParseAddr("127.0.0.1")] == 1 }, func() string { return fmt.Sprintf("%+v", s.Stats()) })
}

// TestStatusServer: who only asks whether anybody is there is told so (RFC 5997), and
// so is who tells nothing of an address.
func TestStatusServer(t *testing.T) {
	to := &sink{}
	s, _ := serve(t, access.ServerConfig{}, to)
	if out, err := radclient(t, s, secret, "Packet-Type = Status-Server\nMessage-Authenticator = 0x00\n\nPacket-Type = Accounting-Request\nAcct-Status-Type = Tunnel-Start\nMessage-Authenticator = 0x00\nProxy-State = 0x0102\n"); err != nil || strings.Count(out, "Received Accounting-Response") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	counted(t, s, 2)
	if c := s.Stats().Clients[0]; c.Ignored != 2 || len(to.all()) != 0 {
		t.Errorf("%+v", c)
	}
}

// TestIPv6 listens for both families at one socket.
func TestIPv6(t *testing.T) {
	l, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: this machine has no IPv6: %v", err)
	}
	_ = l.Close()
	to := &sink{}
	s, _ := serve(t, access.ServerConfig{Listen: []string{"[::]:0"}}, to)
	port := s.Addresses()[0].Port()
	for where, secret := range map[string]string{"::1": "six", "127.0.0.1": secret} {
		c, err := net.Dial("udp", net.JoinHostPort(where, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b := sign(t, secret, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}, {8, "\xcb\x00\x71\x01"}})
		answered(t, c, b, secret)
	}
	if n := len(to.all()); n != 2 {
		t.Errorf("%d records", n)
	}
}

// TestRetransmission: what is sent again is answered again, and kept once; also when
// the first answer hasn't gone out yet.
func TestRetransmission(t *testing.T) {
	release := make(chan struct{})
	to := &sink{before: func(context.Context) error { <-release; return nil }}
	s, _ := serve(t, access.ServerConfig{}, to)
	c := conn(t, s)
	b := packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}, {8, "\xcb\x00\x71\x01"}})
	for range 3 {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.Read(make([]byte, 100)); err == nil {
		t.Fatal("answered before the records were kept")
	}
	close(release)
	answered(t, c, b, secret)
	answered(t, c, b, secret)
	eventually(t, func() bool { k := s.Stats().Clients[0]; return k.Requests == 5 && k.Duplicates == 4 }, func() string { return fmt.Sprintf("%+v", s.Stats().Clients[0]) })
	if n := len(to.all()); n != 1 {
		t.Errorf("%d records, want one", n)
	}
}

// TestSlowSink: radclient sends again, as nothing comes, until the records are kept.
func TestSlowSink(t *testing.T) {
	to := &sink{before: func(context.Context) error { time.Sleep(1500 * time.Millisecond); return nil }}
	s, _ := serve(t, access.ServerConfig{}, to)
	out, err := radclient(t, s, secret, session[:strings.Index(session, "\n\n")], "-r", "5")
	if err != nil || strings.Count(out, "Sent Accounting-Request") < 2 || !strings.Contains(out, "Received Accounting-Response") {
		t.Errorf("%v\n%s", err, out)
	}
	if n := len(to.all()); n != 2 {
		t.Errorf("%d records, want the two of one request", n)
	}
}

// TestFailingSink: what can't be kept isn't answered, and is taken when it comes again.
func TestFailingSink(t *testing.T) {
	tries := 0
	to := &sink{before: func(context.Context) error {
		if tries++; tries <= 2 {
			return errors.New("the disk is full")
		}
		return nil
	}}
	s, _ := serve(t, access.ServerConfig{}, to)
	c := conn(t, s)
	b := packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}, {8, "\xcb\x00\x71\x01"}})
	for i := range 2 {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return s.Stats().Clients[0].Unkept == uint64(i+1) }, func() string { return fmt.Sprintf("%+v", s.Stats().Clients[0]) })
	}
	answered(t, c, b, secret)
	counted(t, s, 1)
	if k := s.Stats().Clients[0]; k.Records != 1 || k.Duplicates != 0 || len(to.all()) != 1 {
		t.Errorf("%+v, %d records", k, len(to.all()))
	}
}

// TestBurst: a thousand sessions from radclient, a hundred at a time.
func TestBurst(t *testing.T) {
	to := &sink{}
	s, _ := serve(t, access.ServerConfig{}, to)
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "User-Name = \"u%d\"\nNAS-Identifier = \"bng\"\nAcct-Session-Id = \"%d\"\nAcct-Status-Type = Start\nFramed-IP-Address = 10.0.%d.%d\n\n", i, i, i/250, 1+i%250)
	}
	out, err := radclient(t, s, secret, text.String(), "-p", "100", "-q", "-s")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "Accepted : 1000") {
		t.Errorf("%v\n%s", err, out)
	}
	seen := map[string]int{}
	for _, r := range to.all() {
		seen[r.Session]++
	}
	if len(seen) != 1000 || len(to.all()) != 1000 {
		t.Errorf("%d records of %d sessions, want 1000", len(to.all()), len(seen))
	}
}

// TestStop: what was read when the server is to stop is still kept and answered.
func TestStop(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	to := &sink{before: func(ctx context.Context) error { close(entered); <-release; return ctx.Err() }}
	s, stop := serve(t, access.ServerConfig{}, to)
	c := conn(t, s)
	b := packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}, {8, "\xcb\x00\x71\x01"}})
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	<-entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	time.Sleep(50 * time.Millisecond)
	close(release)
	<-stopped
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 100)
	n, err := c.Read(answer)
	if err != nil || !oracle.IsAuthenticResponse(answer[:n], b, []byte(secret)) || len(to.all()) != 1 {
		t.Errorf("%v, %d bytes, %d records", err, n, len(to.all()))
	}
}

// TestGrace: a sink that hangs holds the server up no longer than the grace.
func TestGrace(t *testing.T) {
	entered := make(chan struct{})
	to := &sink{before: func(ctx context.Context) error { close(entered); <-ctx.Done(); return ctx.Err() }}
	s, stop := serve(t, access.ServerConfig{Grace: 50 * time.Millisecond}, to)
	if _, err := conn(t, s).Write(packet(t, oracle.CodeAccountingRequest, attributes{{40, "\x00\x00\x00\x01"}, {8, "\xcb\x00\x71\x01"}})); err != nil {
		t.Fatal(err)
	}
	<-entered
	began := time.Now()
	stop()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("stopped after %v", d)
	}
	if s.Stats().Clients[0].Answered != 0 {
		t.Error("answered without being kept")
	}
}

func TestServerConfig(t *testing.T) {
	p := netip.MustParsePrefix("10.0.0.0/8")
	for name, clients := range map[string][]access.Client{
		"no client":  nil,
		"no secret":  {{Prefix: p}},
		"no prefix":  {{Secret: []byte("s")}},
		"given once": {{Prefix: p, Secret: []byte("s")}, {Prefix: netip.MustParsePrefix("10.1.2.3/8"), Secret: []byte("t")}},
	} {
		if _, err := access.NewServer(access.ServerConfig{Clients: clients}, &sink{}, clock.System{}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// attributes of a request, for the oracle to write.
type attributes []struct {
	kind  int
	value string
}

func sign(t testing.TB, secret string, code oracle.Code, list attributes) []byte {
	t.Helper()
	p := oracle.New(code, []byte(secret))
	for _, a := range list {
		p.Add(oracle.Type(a.kind), oracle.Attribute(a.value))
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func packet(t testing.TB, code oracle.Code, list attributes) []byte {
	t.Helper()
	return sign(t, secret, code, list)
}

func conn(t testing.TB, s *access.Server) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", s.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answered sends a request and waits for its answer.
func answered(t *testing.T, c net.Conn, b []byte, secret string) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 4096)
	n, err := c.Read(answer)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if !oracle.IsAuthenticResponse(answer[:n], b, []byte(secret)) {
		t.Fatalf("not an answer to it: %x", answer[:n])
	}
}

// counted waits for so many answers: each is counted after it has left.
func counted(t *testing.T, s *access.Server, answers uint64) {
	t.Helper()
	eventually(t, func() bool { return s.Stats().Clients[0].Answered == answers }, func() string { return fmt.Sprintf("not %d answers: %+v", answers, s.Stats().Clients[0]) })
}

func eventually(t *testing.T, ok func() bool, say func() string) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(say())
}
