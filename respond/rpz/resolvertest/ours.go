package resolvertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/primary"
	"sakimori/respond/rpz/resolver"
)

// Ours is the house's own primary, in this process, by TCP and by TLS.
type Ours struct {
	Store  *rpz.Store
	Server *primary.Server
	Addr   netip.AddrPort
	Secure netip.AddrPort // by TLS
	stop   func()
}

// NewOurs starts our primary with four empty zones, which notifies a resolver. Without a key
// whoever is at 127.0.0.1 may transfer.
func NewOurs(t testing.TB, v resolver.Vendor, key resolver.Key, pair tls.Certificate, notify netip.AddrPort) *Ours {
	t.Helper()
	store, err := rpz.Open(context.WithoutCancel(t.Context()), t.TempDir(), rpz.Options{Clock: clock.System{}, Recorder: nowhere{}})
	if err != nil {
		t.Fatal(err)
	}
	peer := primary.Peer{Name: "resolver", Vendor: string(v), Address: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Notify: []netip.AddrPort{notify}}
	at := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	c := primary.Config{Listen: at, TLS: at, Secure: &tls.Config{Certificates: []tls.Certificate{pair}}}
	if key.Name != "" {
		k := secretOf(t, key)
		c.Keys, peer.Key = []dns.Key{k}, k.Name
	}
	c.Peers = []primary.Peer{peer}
	o := &Ours{Store: store}
	if o.Server, err = primary.New(c, store); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- o.Server.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	plain, secure := o.Server.Addrs()
	o.Addr, o.Secure = plain[0], secure[0]
	ended := false
	o.stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(o.stop)
	return o
}

// Stop ends it.
func (o *Ours) Stop() { o.stop() }

// Try replaces the rules of a zone, or says why they can't be published.
func (o *Ours) Try(t testing.TB, z rpz.Zone, rules ...rpz.Rule) error {
	t.Helper()
	_, err := o.Store.Publish(t.Context(), z, ground{}, rpz.Change{Whole: slices.Values(rules)}, rpz.By{Who: "test", Why: "test"})
	return err
}

// Publish replaces the rules of a zone and gives its new serial.
func (o *Ours) Publish(t testing.TB, z rpz.Zone, rules ...rpz.Rule) uint32 {
	t.Helper()
	if err := o.Try(t, z, rules...); err != nil {
		t.Fatal(err)
	}
	return o.Serial(z)
}

// Serial is a zone's newest.
func (o *Ours) Serial(z rpz.Zone) uint32 { return o.Store.Current(z).Serial }

// ground always holds.
type ground struct{}

func (ground) AllowsAll(lawful.Measure, time.Time) bool { return true }
func (ground) ID() string                               { return "G-1" }
func (ground) Rule() string                             { return "test" }
func (ground) Until() time.Time                         { return time.Time{} }

type nowhere struct{}

func (nowhere) Record(context.Context, rpz.Publication) error { return nil }

var secretLine = regexp.MustCompile(`secret "([^"]+)"`)

// secretOf reads a key's file.
func secretOf(t testing.TB, key resolver.Key) dns.Key {
	t.Helper()
	text, err := os.ReadFile(key.File)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base64.StdEncoding.DecodeString(string(secretLine.FindSubmatch(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	name, err := dns.ParseName(key.Name)
	if err != nil {
		t.Fatal(err)
	}
	return dns.Key{Name: name, Algorithm: dns.Algorithm(key.Algorithm), Secret: secret}
}

// Certificate makes one that signs itself, for a name, and the files of it and of its key.
func Certificate(t testing.TB, name string) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := clock.System{}.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, certFile, keyFile
}
