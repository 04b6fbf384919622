package primary

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	oracle "github.com/miekg/dns"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
)

type nowhere struct{}

func (nowhere) Record(context.Context, rpz.Publication) error { return nil }

// ground always holds.
type ground struct{}

func (ground) AllowsAll(lawful.Measure, time.Time) bool { return true }
func (ground) ID() string                               { return "G-1" }
func (ground) Rule() string                             { return "test" }
func (ground) Until() time.Time                         { return time.Time{} }

var (
	desk   = rpz.By{Who: "desk:sato", Why: "a test"}
	secret = []byte("0123456789abcdef0123456789abcdef")
	keys   = []dns.Key{{Name: name("one.key"), Algorithm: dns.SHA256, Secret: secret}, {Name: name("two.key"), Algorithm: dns.SHA512, Secret: secret}}
	local  = netip.MustParsePrefix("127.0.0.1/32")
)

func name(s string) dns.Name {
	n, err := dns.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func store(t testing.TB, dir string, o rpz.Options) *rpz.Store {
	t.Helper()
	o.Clock, o.Recorder = clock.System{}, nowhere{}
	s, err := rpz.Open(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func publish(t testing.TB, s *rpz.Store, z rpz.Zone, c rpz.Change) rpz.Publication {
	t.Helper()
	p, err := s.Publish(context.Background(), z, ground{}, c, desk)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func blocks(ns ...string) (l []rpz.Rule) {
	for _, n := range ns {
		l = append(l, rpz.Rule{Name: n, Ref: "ref"}, rpz.Rule{Name: "*." + n, Ref: "ref"})
	}
	return l
}

// run starts a server and gives it with its address; stop ends it.
func run(t testing.TB, c Config, s *rpz.Store) (server *Server, addr netip.AddrPort, stop func()) {
	t.Helper()
	if len(c.Listen) == 0 {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	server, err := New(c, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- server.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	plain, _ := server.Addrs()
	return server, plain[0], stop
}

// need skips where a peer isn't installed, and fails where it must be.
func need(t testing.TB, tool string) string {
	t.Helper()
	for _, dir := range append(strings.Split(os.Getenv("PATH"), ":"), "/usr/sbin", "/sbin") {
		if path := dir + "/" + tool; executable(path) {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s isn't installed: scripts/debian-packages test", tool)
	}
	t.Skipf("SKIPPED: %s isn't installed: scripts/debian-packages test", tool)
	return ""
}

func executable(path string) bool {
	i, err := os.Stat(path)
	return err == nil && !i.IsDir() && i.Mode()&0o111 != 0
}

// dig asks and gives what it printed.
func dig(t testing.TB, at netip.AddrPort, args ...string) string {
	t.Helper()
	all := append([]string{"@" + at.Addr().String(), "-p", fmt.Sprint(at.Port()), "+time=3", "+tries=1"}, args...)
	out, err := exec.Command(need(t, "dig"), all...).CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return string(out)
}

func signedBy(k dns.Key) string {
	return "-y" + string(k.Algorithm) + ":" + k.Name.String() + ":" + base64.StdEncoding.EncodeToString(k.Secret)
}

// owners are those of the records of a type that dig printed.
func owners(out, kind string) (l []string) {
	for line := range strings.SplitSeq(out, "\n") {
		if f := strings.Fields(line); len(f) > 4 && f[3] == kind && !strings.HasPrefix(line, ";") {
			l = append(l, f[0])
		}
	}
	return l
}

func TestDig(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	first := publish(t, s, rpz.C2, rpz.Change{Add: blocks("a.example", "b.example")})
	p := publish(t, s, rpz.C2, rpz.Change{Add: blocks("c.example"), Remove: blocks("a.example")})
	server, addr, _ := run(t, Config{Keys: keys, Peers: []Peer{
		{Name: "one", Address: []netip.Prefix{local}, Key: keys[0].Name}, {Name: "two", Address: []netip.Prefix{local}, Key: keys[1].Name, Zones: []rpz.Zone{rpz.OptOut}},
	}}, s)
	soa := dig(t, addr, signedBy(keys[0]), "c2.", "SOA", "+noall", "+answer")
	if !strings.Contains(soa, fmt.Sprintf("localhost. hostmaster.localhost. %d 300 60 21600 60", p.Serial)) {
		t.Errorf("SOA: %s", soa)
	}
	if ns := dig(t, addr, signedBy(keys[0]), "c2.", "NS", "+short"); ns != "localhost.\n" {
		t.Errorf("NS: %s", ns)
	}
	out := dig(t, addr, signedBy(keys[0]), "c2.", "AXFR")
	want := []string{"b.example.c2.", "*.b.example.c2.", "c.example.c2.", "*.c.example.c2."}
	if got := owners(out, "CNAME"); !slices.Equal(got, want) || len(owners(out, "SOA")) != 2 || strings.Contains(out, "WARNING") || strings.Contains(out, "failed") {
		t.Errorf("AXFR: %v\n%s", got, out)
	}
	out = dig(t, addr, signedBy(keys[0]), "c2.", fmt.Sprintf("IXFR=%d", first.Serial))
	want = []string{"a.example.c2.", "*.a.example.c2.", "c.example.c2.", "*.c.example.c2."}
	if got := owners(out, "CNAME"); !slices.Equal(got, want) || len(owners(out, "SOA")) != 4 {
		t.Errorf("IXFR: %v\n%s", got, out)
	}
	out = dig(t, addr, signedBy(keys[0]), "c2.", fmt.Sprintf("IXFR=%d", p.Serial))
	if len(owners(out, "SOA")) != 1 || len(owners(out, "CNAME")) != 0 {
		t.Errorf("IXFR of what there is: %s", out)
	}
	out = dig(t, addr, signedBy(keys[0]), "c2.", "IXFR=77777", "+notcp") // ahead of us, by UDP
	if len(owners(out, "SOA")) != 1 {
		t.Errorf("IXFR by UDP: %s", out)
	}
	if out = dig(t, addr, signedBy(keys[1]), "optout.", "AXFR"); len(owners(out, "SOA")) != 2 {
		t.Errorf("SHA-512: %s", out)
	}
	wrong := keys[0]
	wrong.Secret = []byte("another secret of a good length!")
	strange := keys[0]
	strange.Name = name("three.key")
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"another zone":   {[]string{signedBy(keys[1]), "c2.", "AXFR"}, "; Transfer failed."},
		"no such zone":   {[]string{signedBy(keys[0]), "example.", "SOA"}, "status: REFUSED"},
		"another type":   {[]string{signedBy(keys[0]), "c2.", "A"}, "status: REFUSED"},
		"a name below":   {[]string{signedBy(keys[0]), "a.c2.", "CNAME"}, "status: REFUSED"},
		"unsigned":       {[]string{"c2.", "SOA"}, "status: REFUSED"},
		"a wrong secret": {[]string{signedBy(wrong), "c2.", "SOA"}, "BADSIG"},
		"no such key":    {[]string{signedBy(strange), "c2.", "SOA"}, "BADKEY"},
		"cut off":        {[]string{strings.Replace(signedBy(keys[0]), "hmac-sha256", "hmac-sha256-128", 1), "c2.", "SOA"}, "BADTRUNC"},
		"AXFR by UDP":    {[]string{signedBy(keys[0]), "c2.", "AXFR", "+notcp"}, ""},
		"other opcode":   {[]string{signedBy(keys[0]), "c2.", "SOA", "+opcode=NOTIFY"}, "status: NOTIMP"},
	} {
		if out := dig(t, addr, c.args...); !strings.Contains(out, c.want) {
			t.Errorf("%s: %s", what, out)
		}
	}
	one := server.Peers()[0]
	for reason, n := range map[string]uint64{"signature": 1, "key": 1, "unsigned": 1, "truncated": 1, "zone": 3} {
		if one.Refused[reason] < n {
			t.Errorf("%s was counted %d times: %v", reason, one.Refused[reason], one.Refused)
		}
	}
	if one.Full != 2 || one.Incremental != 1 || len(one.Errors) == 0 || one.Errors[0].JA == "" {
		t.Errorf("%+v", one)
	}
}

// Strangers get nothing but a short no, and not often.
func TestStrangers(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	limits := DefaultLimits()
	limits.Strangers = 5
	server, addr, _ := run(t, Config{Peers: []Peer{{Name: "one", Address: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}}, Limits: limits}, s)
	q := new(oracle.Msg)
	q.SetQuestion("c2.", oracle.TypeSOA)
	raw, _ := q.Pack()
	conn, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 200 {
		_, _ = conn.Write(raw)
	}
	buf, got := make([]byte, 512), 0
	for {
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := conn.Read(buf)
		if err != nil {
			break
		}
		if a := new(oracle.Msg); a.Unpack(buf[:n]) != nil || a.Rcode != oracle.RcodeRefused || len(a.Answer) != 0 || n > len(raw) {
			t.Errorf("%v", a)
		}
		got++
	}
	if got < 5 || got > 15 || server.Counters.Dropped.Load() < 180 {
		t.Errorf("%d answers, %d dropped", got, server.Counters.Dropped.Load())
	}
	var held []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	closed := 0
	for _, c := range held {
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Read(buf); err != nil && !os.IsTimeout(err) {
			closed++
		}
		_ = c.Close()
	}
	if closed < 3 {
		t.Errorf("%d of 8 connections were turned away", closed)
	}
	if out := dig(t, addr, "c2.", "AXFR", "-b", "127.0.0.3"); len(owners(out, "SOA")) != 0 {
		t.Errorf("a stranger got the zone: %s", out)
	}
	if out := dig(t, addr, "c2.", "AXFR", "-b", "127.0.0.2"); len(owners(out, "SOA")) != 2 {
		t.Errorf("the peer didn't: %s", out)
	}
}

// Bytes that are no request harm nobody.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	server, addr, _ := run(t, Config{Peers: []Peer{{Name: "one", Address: []netip.Prefix{local}}}}, s)
	for _, raw := range []string{
		"", "\x00", strings.Repeat("\xff", 600), "\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x06\x00\x01", "\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x02c2\x00\x00\x06\x00\x01",
		"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x02c2\x00\x00\xfb\x00\x01\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x03abc", "\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02c2\x00\x00\xfb\x00\x01",
	} {
		u, _ := net.Dial("udp", addr.String())
		_, _ = u.Write([]byte(raw))
		_ = u.Close()
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(dns.AppendFrame(nil, []byte(raw)))
		_, _ = c.Write([]byte{0xff}) // half a length
		_ = c.Close()
	}
	if out := dig(t, addr, "c2.", "AXFR"); len(owners(out, "SOA")) != 2 {
		t.Errorf("it doesn't answer any more: %s", out)
	}
	if server.Counters.Malformed.Load() == 0 {
		t.Error("nothing was counted")
	}
}

// A reader that takes nothing is cut off, and others aren't held up.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	publish(t, s, rpz.C2, rpz.Change{Whole: many(300_000)})
	limits := DefaultLimits()
	limits.Stall = 500 * time.Millisecond
	server, addr, _ := run(t, Config{Peers: []Peer{{Name: "one", Address: []netip.Prefix{local}}}, Limits: limits}, s)
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	q := new(oracle.Msg)
	q.SetAxfr("c2.")
	raw, _ := q.Pack()
	_, _ = c.Write(dns.AppendFrame(nil, raw))
	begin := time.Now()
	if n, err := fetch(addr, nil, "c2."); err != nil || n != 300_000+4-1 {
		t.Errorf("%d records, %v", n, err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("another reader waited %s", d)
	}
	for range 100 {
		if server.Counters.Cut.Load() == 1 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if p := server.Peers()[0]; server.Counters.Cut.Load() != 1 || p.Cut != 1 {
		t.Errorf("it wasn't cut off: %+v", p)
	}
}

// many are so many rules.
func many(n int) func(yield func(rpz.Rule) bool) {
	return func(yield func(rpz.Rule) bool) {
		for i := range n / 2 {
			name := fmt.Sprintf("%s%d.example.%s", []string{"cc", "update-", "www.gate", "x"}[i%4], i*7919%1000003, []string{"com", "net", "jp", "info"}[i/4%4])
			ref := fmt.Sprintf("C-%07d", i)
			if !yield(rpz.Rule{Name: name, Ref: ref}) || !yield(rpz.Rule{Name: "*." + name, Ref: ref}) {
				return
			}
		}
	}
}

// fetch makes an AXFR with the oracle, and counts the records.
func fetch(at netip.AddrPort, k *dns.Key, zone string) (n int, err error) {
	q := new(oracle.Msg)
	q.SetAxfr(zone)
	x := new(oracle.Transfer)
	if k != nil {
		q.SetTsig(k.Name.String()+".", string(k.Algorithm)+".", 300, time.Now().Unix())
		x.TsigSecret = map[string]string{k.Name.String() + ".": base64.StdEncoding.EncodeToString(k.Secret)}
	}
	c, err := x.In(q, at.String())
	if err != nil {
		return 0, err
	}
	for e := range c {
		if e.Error != nil {
			return n, e.Error
		}
		n += len(e.RR)
	}
	return n, nil
}

// The oracle reads what we send, signed, over many messages, and finds each rule in it.
func TestAgainstTheOracle(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	rules := slices.Collect(many(20_000))
	rules = append(rules, rpz.Rule{Client: netip.MustParsePrefix("2001:db8::/56"), Action: rpz.Passthru}, rpz.Rule{Name: "walled.example", Action: rpz.Local, Data: []string{"A 192.0.2.1", "TXT \"why\""}})
	publish(t, s, rpz.C2, rpz.Change{Whole: slices.Values(rules)})
	_, addr, _ := run(t, Config{Keys: keys, Peers: []Peer{{Name: "one", Address: []netip.Prefix{local}, Key: keys[0].Name}}}, s)
	if n, err := fetch(addr, &keys[0], "c2."); err != nil || n != len(rules)+1+3 {
		t.Fatalf("%d records, %v", n, err)
	}
	q := new(oracle.Msg)
	q.SetAxfr("c2.")
	q.SetTsig("one.key.", "hmac-sha256.", 300, time.Now().Unix())
	x := &oracle.Transfer{TsigSecret: map[string]string{"one.key.": base64.StdEncoding.EncodeToString(secret)}}
	c, err := x.In(q, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for e := range c {
		if e.Error != nil {
			t.Fatal(e.Error)
		}
		for _, rr := range e.RR {
			seen[rr.Header().Name]++
		}
	}
	for _, r := range rules {
		if r.Name != "" && seen[r.Name+".c2."] == 0 {
			t.Fatalf("%s isn't there", r.Name)
		}
	}
	if seen["c2."] != 3 || seen["walled.example.c2."] != 2 || seen["56.zz.db8.2001.rpz-client-ip.c2."] != 1 {
		t.Errorf("%v", maps.Collect(func(yield func(string, int) bool) {
			for k, v := range seen {
				if !strings.Contains(k, "example") && !yield(k, v) {
					return
				}
			}
		}))
	}
}
