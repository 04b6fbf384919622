package dns_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/observe"
	"sakimori/observe/dns"
)

const (
	c2Zone = `$TTL 60
@ SOA localhost. root.localhost. 1 60 60 600 60
  NS localhost.
c2.example CNAME .
*.c2.example CNAME .
`
	exampleZone = `$TTL 60
@ SOA localhost. root.localhost. 1 60 60 600 60
  NS localhost.
www A 198.51.100.1
`
)

// resolver is a real one: how it is started, and what its configuration says.
type resolver struct {
	program  string // of the Debian package
	pkg      string
	args     []string
	protocol dns.Protocol
	files    map[string]string // DIR, PORT and SINK stand for what they are
}

var resolvers = map[string]resolver{
	"bind": {"named", "bind9", []string{"-f", "-c", "DIR/named.conf"}, dns.Dnstap, map[string]string{"named.conf": `
options { directory "DIR"; listen-on port PORT { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none; recursion yes;
  allow-query { any; }; dnssec-validation no; empty-zones-enable no; response-policy { zone "c2."; } qname-wait-recurse no;
  dnstap { client; }; dnstap-output unix "SINK"; dnstap-identity "bind"; };
controls { };
zone "c2." { type primary; file "c2.zone"; };
zone "example." { type primary; file "example.zone"; };
`}},
	"unbound": {"unbound", "unbound", []string{"-d", "-p", "-c", "DIR/unbound.conf"}, dns.Dnstap, map[string]string{"unbound.conf": `
server:
  interface: 127.0.0.1@PORT
  chroot: ""
  username: ""
  directory: "DIR"
  use-syslog: no
  logfile: "DIR/unbound.log"
  log-queries: yes
  log-replies: yes
  verbosity: 1
  module-config: "respip iterator"
  local-zone: "www.example." redirect
  local-data: "www.example. 60 A 198.51.100.1"
  local-zone: "nx.example." always_nxdomain
remote-control:
  control-enable: no
rpz:
  name: c2.
  zonefile: "DIR/c2.zone"
  rpz-log: yes
  rpz-log-name: c2
dnstap:
  dnstap-enable: yes
  dnstap-socket-path: "SINK"
  dnstap-send-identity: yes
  dnstap-identity: "unbound"
  dnstap-log-client-query-messages: yes
  dnstap-log-client-response-messages: yes
`}},
	"knot": {"kresd", "knot-resolver", []string{"-n", "-q", "-c", "DIR/kresd.conf", "DIR"}, dns.Dnstap, map[string]string{"kresd.conf": `
net.listen('127.0.0.1', PORT, { kind = 'dns' })
cache.size = 10 * MB
trust_anchors.remove('.')
modules.load('hints > iterate')
hints['www.example'] = '198.51.100.1'
modules.load('dnstap')
dnstap.config({ socket_path = 'SINK', identity = 'knot', client = { log_queries = true, log_responses = true } })
policy.add(policy.rpz(policy.DENY, 'DIR/c2.zone'))
policy.add(policy.suffix(policy.DENY, { todname('nx.example') }))
`}},
	"powerdns": {"pdns_recursor", "pdns-recursor", []string{"--config-dir=DIR"}, dns.PowerDNS, map[string]string{"recursor.conf": `
local-address=127.0.0.1
local-port=PORT
socket-dir=DIR
daemon=no
quiet=yes
threads=1
dnssec=off
server-id=powerdns
auth-zones=example=DIR/example.zone
lua-config-file=DIR/recursor.lua
`, "recursor.lua": `
rpzFile("DIR/c2.zone", { policyName = "c2." })
protobufServer("SINK", { logQueries = true, logResponses = true })
`}},
}

// TestResolvers: what real resolvers tell is read as it was: who asked, what came of
// it, and what a policy kept back.
func TestResolvers(t *testing.T) {
	for name, r := range resolvers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(r.program)
			if err != nil {
				if program = "/usr/sbin/" + r.program; !exists(program) {
					if os.Getenv("CI") == "true" {
						t.Fatalf("%s isn't there: install Debian's package %s", r.program, r.pkg)
					}
					t.Skipf("SKIPPED: needs Debian's package %s", r.pkg)
				}
			}
			h := &heard{}
			o, err := dns.New(dns.Config{Live: true}, all("hits"), known, h, clock.System{})
			if err != nil {
				t.Fatal(err)
			}
			dir, err := os.MkdirTemp("", "dns") //nolint:usetesting // the path of a socket must be short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			cfg := dns.Listen{Name: name, Protocol: r.protocol, Socket: dir + "/tap"}
			if r.protocol == dns.PowerDNS {
				cfg.Socket, cfg.Address = "", "127.0.0.1:0"
			}
			l, stop := listen(t, o, cfg)
			port := free(t)
			fill := strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port), "SINK", l.Address().String())
			r.files["c2.zone"], r.files["example.zone"] = c2Zone, exampleZone
			if name == "knot" {
				r.files["c2.zone"] = strings.ReplaceAll(c2Zone, "@ SOA", "$ORIGIN c2.\n@ SOA")
			}
			for f, text := range r.files {
				if err := os.WriteFile(filepath.Join(dir, f), []byte(fill.Replace(text)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args := make([]string, len(r.args))
			for i, a := range r.args {
				args[i] = fill.Replace(a)
			}
			said := start(t, dir, program, args...)
			at := fmt.Sprintf("127.0.0.1:%d", port)
			until(t, "an answer of "+name, func() bool { return ask(at, "www.example") == 0 })
			until(t, "the first frames", func() bool {
				// BIND may have its port before its zones, and its tap after both.
				return ask(at, "www.example") == 0 && l.Stats().Frames > 0
			})
			if ask(at, "nx.example") != 3 || ask(at, "sub.c2.example") != 3 {
				t.Errorf("%s doesn't answer as it should:\n%s", name, said)
			}
			find := func(n string) *observe.Lookup {
				for _, x := range h.all() {
					if x.Name == n && x.Rcode != 2 { // BIND answers so while it loads its zones
						return &x
					}
				}
				return nil
			}
			until(t, "all lookups", func() bool {
				return find("www.example") != nil && find("nx.example") != nil && find("sub.c2.example") != nil
			})
			stop()
			for n, want := range map[string]observe.Lookup{"www.example": {}, "nx.example": {Rcode: 3}, "sub.c2.example": {Rcode: 3, Contact: observe.Blocked, Zone: "c2.", Family: "mirai", Entry: "e1"}} {
				x := find(n)
				if x.Rcode != want.Rcode || x.Contact != want.Contact || x.Zone != want.Zone || x.Family != want.Family || x.Client.String() != "127.0.0.1" || x.Resolver != name || x.Type != 1 || time.Since(x.At) > time.Minute {
					t.Errorf("%s: %+v", n, x)
				}
			}
			total, by := sums(t, o)
			st := l.Stats()
			if total.Queries < 3 || total.Responses < 3 || total.NXDomain != 2 || by["c2.mirai"].Blocked != 1 || len(by) != 1 || st.Malformed != 0 || st.Dropped != 0 {
				t.Errorf("%+v %+v %+v", total, by, st)
			}
			if name == "unbound" {
				unboundLog(t, dir+"/unbound.log")
			}
		})
	}
}

// unboundLog reads the log that Unbound wrote of the same.
func unboundLog(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := observer(t, all("match"), nil)
	read(t, o, b)
	if total, by := sums(t, o); total.Queries < 3 || total.NXDomain != 2 || by["c2.mirai"].Blocked != 1 || total.Malformed != 0 {
		t.Errorf("%+v %+v of\n%s", total, by, b)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// free is a port that nobody has now.
func free(t *testing.T) int {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// start runs a program until the test ends, and gives what it says.
func start(t *testing.T, dir, program string, args ...string) *bytes.Buffer {
	t.Helper()
	said := &bytes.Buffer{}
	c := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...)
	c.Dir, c.Stdout, c.Stderr = dir, said, said
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", program, said)
		}
	})
	return said
}

// ask asks for the address of a name; the answer's code, or -1 when none comes.
func ask(at, name string) int {
	c, err := net.Dial("udp", at)
	if err != nil {
		return -1
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(message(name, 0, false, "")); err != nil {
		return -1
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil || n < 12 {
		return -1
	}
	return int(b[3] & 15)
}
