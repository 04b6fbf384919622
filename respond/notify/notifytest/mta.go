package notifytest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sakimori/base/clock"
)

// MTA is a real Exim on loopback, with a spool, a configuration and a certificate of
// its own. It takes mail for home.example and isp.example; the user "refused" is
// refused at RCPT, "later" is put off, "gone" is taken and bounces.
type MTA struct {
	Port    int // SMTP with STARTTLS
	TLSPort int // TLS from the first byte
	Roots   *x509.CertPool
	dir     string
}

const eximConf = `
primary_hostname = mta.example
exim_user = nobody
exim_group = nogroup
never_users =
spool_directory = DIR/spool
log_file_path = DIR/%slog
pid_file_path = DIR/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = PORT : TLSPORT
tls_on_connect_ports = TLSPORT
tls_certificate = DIR/cert.pem
tls_privatekey = DIR/key.pem
tls_advertise_hosts = *
dsn_advertise_hosts = *
domainlist local_domains = home.example : isp.example
keep_environment =
disable_ipv6
message_logs = false
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
queue_run_max = 0
acl_smtp_rcpt = acl_rcpt
begin acl
acl_rcpt:
  deny    local_parts = refused
          message     = 5.1.1 nobody of that name
  defer   local_parts = later
          message     = 4.2.2 the box is full
  accept  domains     = +local_domains
  deny    message     = no relay
begin routers
gone:
  driver      = redirect
  domains     = home.example
  local_parts = gone
  allow_fail
  data        = :fail: no such mailbox
boxes:
  driver      = accept
  domains     = +local_domains
  transport   = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = DIR/box/$domain_data
  create_directory
  user = nobody
  group = nogroup
  delivery_date_add
  envelope_to_add
  return_path_add
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and {{eq{$auth2}{sakimori}}{eq{$auth3}{geheim}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
begin retry
* * F,1h,1m
`

// StartMTA starts it; it ends with the test. Without Exim the test is skipped, and on
// CI fails.
func StartMTA(t testing.TB) *MTA {
	t.Helper()
	exim, err := exec.LookPath("exim4")
	if err != nil {
		exim = "/usr/sbin/exim4"
	}
	if _, err := os.Stat(exim); err != nil || os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs Exim (Debian: exim4-daemon-light) and root, which starts it")
		}
		t.Skip("SKIPPED, NOT TESTED: needs Exim (Debian: exim4-daemon-light) and root, which starts it")
	}
	dir, err := os.MkdirTemp("", "sakimori-mta-") //nolint:usetesting // nobody must reach it, and the test's own folder is its owner's only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &MTA{dir: dir, Port: freePort(t), TLSPort: freePort(t)}
	if err := os.Mkdir(filepath.Join(dir, "spool"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.Roots = certificate(t, dir)
	conf := strings.NewReplacer("DIR", dir, "TLSPORT", strconv.Itoa(m.TLSPort), "PORT", strconv.Itoa(m.Port)).Replace(eximConf)
	write(t, filepath.Join(dir, "conf"), []byte(conf), 0o644)
	const nobody, nogroup = 65534, 65534
	for _, p := range []string{dir, filepath.Join(dir, "spool"), filepath.Join(dir, "key.pem")} {
		if err := os.Chown(p, nobody, nogroup); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(context.Background(), exim, "-C", filepath.Join(dir, "conf"), "-bdf")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var said bytes.Buffer
	c.Stderr, c.Stdout = &said, &said
	c.WaitDelay = time.Second
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // its own group only
		_ = c.Wait()                                      // it was killed
	})
	for try := 0; ; try++ {
		line, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(m.Port))
		if err == nil {
			_ = line.Close() // it was only knocked
			return m
		}
		if try == 100 {
			log, _ := os.ReadFile(filepath.Join(dir, "paniclog")) // it may not be there
			t.Fatalf("Exim doesn't start: %s%s", said.String(), log)
		}
		Pause(t, 50*time.Millisecond)
	}
}

// Pause waits.
func Pause(t testing.TB, d time.Duration) {
	t.Helper()
	ctx, end := context.WithTimeout(context.Background(), d)
	<-ctx.Done()
	end()
}

// TLS trusts the MTA's certificate.
func (m *MTA) TLS() *tls.Config {
	return &tls.Config{RootCAs: m.Roots, ServerName: "mta.example", MinVersion: tls.VersionTLS12}
}

// Box reads the mails that arrived for a domain.
func (m *MTA) Box(t testing.TB, domain string) (mails [][]byte) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, "box", domain, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		mails = append(mails, b)
	}
	return mails
}

// Wait reads the mails of a domain once there are n, within 20 seconds.
func (m *MTA) Wait(t testing.TB, domain string, n int) [][]byte {
	t.Helper()
	for range 400 {
		if mails := m.Box(t, domain); len(mails) >= n {
			return mails
		}
		Pause(t, 50*time.Millisecond)
	}
	t.Fatalf("%d mails for %s, not %d: %s", len(m.Box(t, domain)), domain, n, m.Log(t))
	return nil
}

// Log is what the MTA wrote down.
func (m *MTA) Log(t testing.TB) string {
	t.Helper()
	var all []string
	for _, name := range []string{"mainlog", "rejectlog", "paniclog"} {
		b, _ := os.ReadFile(filepath.Join(m.dir, name)) // it may not be there
		all = append(all, string(b))
	}
	return strings.Join(all, "")
}

func write(t testing.TB, path string, b []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, is := l.Addr().(*net.TCPAddr)
	if !is {
		t.Fatal(l.Addr())
	}
	return a.Port
}

// certificate writes a server's certificate of a CA of its own.
func certificate(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	now := clock.System{}.Now() // the other side checks it against the machine's
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of a test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mta.example"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"mta.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	write(t, filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	write(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	root, err := x509.ParseCertificate(caDER)
	must(err)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return pool
}

// MessageIDs counts mails by Message-ID.
func MessageIDs(mails [][]byte) map[string]int {
	n := map[string]int{}
	for _, m := range mails {
		head, _, _ := bytes.Cut(m, []byte("\n\n"))
		for line := range strings.Lines(string(head)) {
			if name, value, is := strings.Cut(line, ":"); is && strings.EqualFold(name, "Message-ID") {
				n[strings.Trim(strings.TrimSpace(value), "<>")]++
			}
		}
	}
	return n
}
