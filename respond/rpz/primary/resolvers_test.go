package primary

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	oracle "github.com/miekg/dns"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// resolver is a real one that runs.
type resolver struct {
	addr netip.AddrPort
	log  string // file
}

// free is a port that is free for UDP and TCP.
func free(t testing.TB) int {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// start runs a program with its configuration until the test ends.
func start(t testing.TB, tool, config string, port int, args ...string) *resolver {
	t.Helper()
	path, dir := need(t, tool), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(strings.ReplaceAll(config, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append(args, "-c", filepath.Join(dir, "conf"))...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s said:\n%s", tool, b[max(0, len(b)-6000):])
		}
	})
	return &resolver{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)), log.Name()}
}

func base(k dns.Key) string { return base64.StdEncoding.EncodeToString(k.Secret) }

// bind is BIND with the four zones as policy; tlsPort 0: in the clear.
func bind(t testing.TB, port int, primary netip.AddrPort, k dns.Key, ca string) *resolver {
	t.Helper()
	from := fmt.Sprintf("%s port %d key %q", primary.Addr(), primary.Port(), k.Name)
	secure := ""
	if ca != "" {
		secure = fmt.Sprintf("tls xot { ca-file %q; remote-hostname \"primary.test\"; };\n", ca)
		from += " tls xot"
	}
	c := fmt.Sprintf(`%skey %q { algorithm %s; secret %q; };
options { directory "DIR"; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile "DIR/session.key"; managed-keys-directory "DIR";
 dnssec-validation no; recursion yes; allow-recursion { any; }; forward only; forwarders { 127.0.0.1 port 1; }; notify no; servfail-ttl 0;
 response-policy { zone "optout" log no; zone "allow"; zone "c2"; zone "emergency"; } qname-wait-recurse no break-dnssec yes min-update-interval 0; };
controls { };
logging { channel all { stderr; severity info; }; category default { all; }; category rpz { all; }; };
`, secure, k.Name, k.Algorithm, base(k), port)
	for _, z := range rpz.Zones() {
		n := strings.TrimSuffix(string(z), ".")
		c += fmt.Sprintf("zone %q { type secondary; file \"DIR/%s.db\"; primaries { %s; }; allow-query { any; }; };\n", n, n, from)
	}
	return start(t, "named", c, port, "-g")
}

// unbound is Unbound with the four zones as policy. It doesn't speak TSIG.
func unbound(t testing.TB, port int, primary netip.AddrPort, ca string) *resolver {
	t.Helper()
	at := fmt.Sprintf("%s@%d", primary.Addr(), primary.Port())
	secure := ""
	if ca != "" {
		at += "#primary.test"
		secure = "\n tls-cert-bundle: \"" + ca + "\""
	}
	c := fmt.Sprintf(`server:
 interface: 127.0.0.1
 port: %d
 directory: "DIR"
 chroot: ""
 username: ""
 pidfile: ""
 use-syslog: no
 verbosity: 2
 do-daemonize: no
 do-not-query-localhost: no
 access-control: 127.0.0.0/8 allow
 module-config: "respip iterator"%s
remote-control:
 control-enable: no
forward-zone:
 name: "."
 forward-addr: 127.0.0.1@1
`, port, secure)
	for _, z := range rpz.Zones() {
		c += fmt.Sprintf("rpz:\n name: %s\n zonefile: \"DIR/%szone\"\n primary: %s\n allow-notify: 127.0.0.1\n rpz-log: yes\n", z, z, at)
	}
	return start(t, "unbound", c, port, "-d")
}

// knot is Knot DNS as a secondary.
func knot(t testing.TB, port int, primary netip.AddrPort, k dns.Key) *resolver {
	t.Helper()
	c := fmt.Sprintf(`server:
  listen: 127.0.0.1@%d
  rundir: "DIR"
log:
  - target: stderr
    any: info
key:
  - id: %s
    algorithm: %s
    secret: %s
remote:
  - id: primary
    address: %s@%d
    key: %s
acl:
  - id: told
    address: 127.0.0.1
    action: notify
    key: %s
template:
  - id: default
    storage: "DIR"
    master: primary
    acl: told
database:
  storage: "DIR"
zone:
`, port, k.Name, k.Algorithm, base(k), primary.Addr(), primary.Port(), k.Name, k.Name)
	for _, z := range rpz.Zones() {
		c += fmt.Sprintf("  - domain: %s\n", z)
	}
	return start(t, "knotd", c, port)
}

// code is how a resolver answers a question.
func (r *resolver) code(name string, kind uint16) (code int, serial uint32) {
	q := new(oracle.Msg)
	q.SetQuestion(name, kind)
	c := oracle.Client{Timeout: 300 * time.Millisecond}
	a, _, err := c.Exchange(q, r.addr.String())
	if err != nil {
		return -1, 0
	}
	for _, rr := range a.Answer {
		if soa, is := rr.(*oracle.SOA); is {
			serial = soa.Serial
		}
	}
	return a.Rcode, serial
}

// within waits until something is so.
func within(t testing.TB, d time.Duration, what string, is func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !is() {
		if time.Since(begin) > d {
			t.Errorf("after %s it isn't so: %s", d, what)
			return d
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

func (r *resolver) blocks(name string) bool {
	code, _ := r.code(name, oracle.TypeA)
	return code == oracle.RcodeNameError
}

func (r *resolver) serves(zone rpz.Zone, serial uint32) bool {
	_, s := r.code(string(zone), oracle.TypeSOA)
	return s == serial
}

// BIND, Unbound and Knot take the zones, follow changes by differences over the wrap of
// the serial, and go on with a primary that was away.
func TestRealSecondaries(t *testing.T) {
	t.Parallel()
	dir, o := t.TempDir(), rpz.Options{First: 0xfffffffb}
	s := store(t, dir, o)
	publish(t, s, rpz.C2, rpz.Change{Whole: many(2000)})
	publish(t, s, rpz.C2, rpz.Change{Add: blocks("old.example")})
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(free(t)))
	ports := []int{free(t), free(t), free(t)}
	to := func(i int) []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(at.Addr(), uint16(ports[i]))}
	}
	cfg := Config{Listen: []netip.AddrPort{at}, Keys: keys, Peers: []Peer{
		{Name: "bind", Address: []netip.Prefix{local}, Key: keys[0].Name, Pool: "a", Notify: to(0)},
		{Name: "unbound", Address: []netip.Prefix{local}, Pool: "a", Notify: to(1)},
		{Name: "knot", Address: []netip.Prefix{local}, Key: keys[1].Name, Notify: to(2)},
	}}
	server, _, stop := run(t, cfg, s)
	b, u, k := bind(t, ports[0], at, keys[0], ""), unbound(t, ports[1], at, ""), knot(t, ports[2], at, keys[1])
	followed := func(limit time.Duration, name string, blocked bool) {
		t.Helper()
		serial := s.Current(rpz.C2).Serial
		x := within(t, limit, "BIND "+name, func() bool { return b.blocks(name) == blocked && b.serves(rpz.C2, serial) })
		y := within(t, limit, "Unbound "+name, func() bool { return u.blocks(name) == blocked })
		z := within(t, limit, "Knot "+name, func() bool { return k.serves(rpz.C2, serial) })
		t.Logf("serial %d: BIND %s, Unbound %s later, Knot %s later", serial, x.Round(time.Millisecond), y.Round(time.Millisecond), z.Round(time.Millisecond))
	}
	followed(15*time.Second, "old.example.", true)
	for i := range 7 { // over the wrap
		name := fmt.Sprintf("new%d.example", i)
		p := publish(t, s, rpz.C2, rpz.Change{Add: blocks(name)})
		followed(2*time.Second, "x."+name+".", true)
		if i == 5 && p.Serial > 1000 {
			t.Errorf("serial %d hasn't wrapped", p.Serial)
		}
	}
	publish(t, s, rpz.C2, rpz.Change{Remove: blocks("old.example")})
	followed(2*time.Second, "old.example.", false)
	for _, p := range server.Peers() {
		t.Logf("%s: %d full, %d incremental, full after %d", p.Name, p.Full, p.Incremental, p.Zones[2].FullAfter)
		if p.Incremental < 7 && p.Name != "unbound" || p.Incremental < 5 || len(p.Refused) > 0 {
			t.Errorf("%+v", p)
		}
	}
	// The primary dies, another one takes over what it kept.
	stop()
	_ = s.Close()
	s = store(t, dir, o)
	server, _, _ = run(t, cfg, s)
	within(t, 10*time.Second, "all are seen again", func() bool {
		return !slices.ContainsFunc(server.Peers(), func(p PeerState) bool { return p.Zones[2].Serial != s.Current(rpz.C2).Serial })
	})
	publish(t, s, rpz.C2, rpz.Change{Add: blocks("after.example")})
	followed(2*time.Second, "after.example.", true)
	// An empty zone blocks nothing, an emergency is blocked at once, and a change of what
	// rests on what changes no answer.
	if _, err := s.Empty(t.Context(), rpz.C2, desk); err != nil {
		t.Fatal(err)
	}
	followed(2*time.Second, "after.example.", false)
	publish(t, s, rpz.Emergency, rpz.Change{Add: []rpz.Rule{{Name: "worm.example", Ref: "one"}}})
	within(t, 2*time.Second, "emergency", func() bool { return b.blocks("worm.example.") && u.blocks("worm.example.") })
	publish(t, s, rpz.Emergency, rpz.Change{Add: []rpz.Rule{{Name: "worm.example", Ref: "another"}}})
	p := publish(t, s, rpz.Emergency, rpz.Change{Add: []rpz.Rule{{Name: "worm2.example", Ref: "one"}}})
	within(t, 2*time.Second, "emergency again", func() bool {
		return b.blocks("worm2.example.") && u.blocks("worm2.example.") && b.blocks("worm.example.") && u.blocks("worm.example.") && k.serves(rpz.Emergency, p.Serial)
	})
}

// Resolvers take the names of clients as they are written here: BIND says of each whether
// it is one.
func TestClientsAsBINDReadsThem(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	var rules []rpz.Rule
	for i := range 600 {
		var a [16]byte
		for j := range 8 { // all sorts of runs of zeros
			if i*2654435761>>(j+3)&3 != 0 {
				a[2*j+1] = byte(i + j)
			}
		}
		a[0] = 0x20
		p, _ := netip.AddrFrom16(a).Prefix(128 - i%60)
		q, _ := netip.AddrFrom4([4]byte{100, byte(i >> 4), byte(i * 7), byte(i)}).Prefix(32 - i%9)
		rules = append(rules, rpz.Rule{Client: p, Action: rpz.Passthru}, rpz.Rule{Client: q, Action: rpz.Passthru})
	}
	p := publish(t, s, rpz.OptOut, rpz.Change{Whole: slices.Values(rules)})
	_, at, _ := run(t, Config{Keys: keys, Peers: []Peer{{Name: "bind", Address: []netip.Prefix{local}, Key: keys[0].Name}}}, s)
	port := free(t)
	b := bind(t, port, at, keys[0], "")
	within(t, 10*time.Second, "BIND has it", func() bool { return b.serves(rpz.OptOut, p.Serial) })
	var log string
	within(t, 5*time.Second, "BIND has read it", func() bool {
		x, _ := os.ReadFile(b.log)
		log = string(x)
		return strings.Contains(log, "rpz: optout: reload done: success")
	})
	if strings.Contains(log, "invalid") {
		t.Errorf("BIND doesn't understand:\n%s", log[:min(len(log), 4000)])
	}
}

// certificate makes one for primary.test, signed by itself, and gives the file of it.
func certificate(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "primary.test"}, DNSNames: []string{"primary.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &x, &x, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// BIND and Unbound fetch over TLS.
func TestTransferOverTLS(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir(), rpz.Options{})
	publish(t, s, rpz.C2, rpz.Change{Whole: many(20_000)})
	publish(t, s, rpz.C2, rpz.Change{Add: blocks("secret.example")})
	cert, ca := certificate(t)
	ports := []int{free(t), free(t)}
	server, plain, _ := run(t, Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, TLS: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Secure: &tls.Config{Certificates: []tls.Certificate{cert}}, Keys: keys,
		Peers: []Peer{
			{Name: "bind", Address: []netip.Prefix{local}, Key: keys[0].Name, OnlyTLS: true, Notify: []netip.AddrPort{netip.AddrPortFrom(local.Addr(), uint16(ports[0]))}},
			{Name: "unbound", Address: []netip.Prefix{local}, OnlyTLS: true, Notify: []netip.AddrPort{netip.AddrPortFrom(local.Addr(), uint16(ports[1]))}},
		},
	}, s)
	_, secure := server.Addrs()
	b, u := bind(t, ports[0], secure[0], keys[0], ca), unbound(t, ports[1], secure[0], ca)
	within(t, 15*time.Second, "BIND blocks", func() bool { return b.blocks("secret.example.") })
	within(t, 15*time.Second, "Unbound blocks", func() bool { return u.blocks("secret.example.") })
	publish(t, s, rpz.C2, rpz.Change{Add: blocks("later.example")})
	within(t, 3*time.Second, "BIND follows", func() bool { return b.blocks("later.example.") })
	within(t, 3*time.Second, "Unbound follows", func() bool { return u.blocks("later.example.") })
	// The same request in the clear is refused.
	if out := dig(t, plain, signedBy(keys[0]), "c2.", "AXFR"); len(owners(out, "SOA")) != 0 {
		t.Error("who must come by TLS was served in the clear")
	}
	if server.Peers()[0].Refused["tls"] == 0 {
		t.Error("it wasn't counted")
	}
	// Old TLS, and another protocol over TLS, get no further than the handshake.
	for what, c := range map[string]*tls.Config{"TLS 1.2": {MaxVersion: tls.VersionTLS12}, "another protocol": {NextProtos: []string{"h2"}}} {
		c.InsecureSkipVerify = true
		if x, err := tls.Dial("tcp", secure[0].String(), c); err == nil {
			_ = x.Close()
			t.Errorf("%s is spoken", what)
		}
	}
}
