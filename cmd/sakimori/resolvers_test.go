package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	framestream "github.com/farsightsec/golang-framestream"

	"sakimori/base/clock"
	"sakimori/base/wire/dnstap"
	"sakimori/console/api"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/observe/dns"
	"sakimori/respond/casework"
	"sakimori/respond/subscriber"
)

// consents3 makes an office in which three subscribers consent to different things, and
// the grants to act on it: the first to blocks and hits, the second to blocks, the third
// to nothing. Their addresses are 203.0.113.1 to .3.
func consents3(t testing.TB, dir, rules string, at time.Time) (subjects []string) {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Rules, cfg.clock = dir, rules, clock.Fixed(at)
	h, err := openOffice(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		line := fmt.Sprintf("line%d", i)
		must(h.Take(ctx, []subscriber.Record{{Kind: subscriber.Begin, Source: "bng1", Session: line, Line: line, Address: netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", i+1)), At: at.Add(-time.Hour)}}))
		subjects = append(subjects, h.who(netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", i+1)), 0, 0, at, time.Second).Pseudonym)
	}
	for _, p := range []string{"cc_block", "cc_hits"} {
		must(h.consents.AddTerms(ctx, consent.Terms{
			Version: p, Ground: lawful.ComprehensiveConsent, From: at.Add(-time.Hour), TextSum: consent.Sum([]byte(p)), Purposes: []string{p},
			OptOut: true, OtherwiseUnchanged: true, Limited: true, Who: "legal:hanako",
		}))
		must(h.consents.AddNotice(ctx, p, consent.Notice{At: at.Add(-2 * time.Hour), Channel: "web", Reference: "https://www.isp.example/terms", Who: "legal:hanako"}))
	}
	for i, list := range [][]string{{"cc_block", "cc_hits"}, {"cc_block"}} {
		for _, p := range list {
			_, err := h.consents.Give(ctx, subjects[i], p, p, "web", "subscriber")
			must(err)
		}
	}
	for m, p := range map[lawful.Measure]string{lawful.MatchNames: "cc_block", lawful.StoreHits: "cc_hits"} {
		_, err := h.gate.Ask(ctx, lawful.Request{
			Measure: m, Purpose: "C&C", Who: "legal:hanako", Scope: lawful.Scope{Consenting: p},
			Facts: lawful.Facts{"list": "test 1", "list_reviewed_at": at.Add(-time.Hour), "mechanical": true},
		})
		if waits := (*lawful.Pending)(nil); errors.As(err, &waits) {
			_, err = h.gate.Approve(ctx, waits.Decision.ID, "legal:taro")
		}
		must(err)
	}
	must(h.Close())
	return subjects
}

// unboundLog is what Unbound logs of three clients that all do the same: each calls a
// C&C, and asks for forty made-up names.
func unboundLog(at time.Time) string {
	var b strings.Builder
	for m := range 40 {
		for c := range 3 {
			client, s := fmt.Sprintf("203.0.113.%d", c+1), at.Add(time.Duration(m)*time.Minute).Unix()
			fmt.Fprintf(&b, "[%d] unbound[1:0] info: rpz: applied [c2] c2.example. rpz-nxdomain %s@5300 c2.example. A IN\n", s, client)
			fmt.Fprintf(&b, "[%d] unbound[1:0] info: %s c2.example. A IN NXDOMAIN 0.000000 0 60\n", s, client)
			name := make([]byte, 14)
			for i := range name {
				name[i] = byte('a' + (m*m*7+i*i*13+m*i*5+i)%26)
			}
			fmt.Fprintf(&b, "[%d] unbound[1:0] info: %s %s.com. A IN NXDOMAIN 0.000000 0 60\n", s, client, name)
		}
	}
	return b.String()
}

// TestServeListens: serve takes what resolvers tell by a socket and by TLS, and has it on
// disk when it ends; a configuration that can't work is refused before.
func TestServeListens(t *testing.T) {
	at := time.Now().Add(-3 * time.Hour).Truncate(time.Hour)
	dir, short := t.TempDir(), filepath.Join(os.TempDir(), fmt.Sprintf("dns%d.sock", os.Getpid()))
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - id: consent-hits\n    verified: {by: \"legal:hanako\", on: 2026-11-01}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	consents3(t, dir, rules, at)
	cert, key := certificate(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf("data: %s\nrules: %s\nlisten: 127.0.0.1:0\ndns:\n  sources:\n    - {name: near, socket: %s}\n    - {name: far, listen: %q, tls: {cert: %s, key: %s}}\n",
		dir, rules, short, "127.0.0.1:"+freePort(t), cert, key)
	if err := os.WriteFile(config, []byte(strings.Replace(text, "name: near", "name: near, protocol: smoke", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := Main(t.Context(), []string{"serve", "--check", "--config", config}, nil, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "smoke") {
		t.Errorf("%d %s", code, errs.String())
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- Main(ctx, []string{"serve", "--config", config}, nil, io.Discard, io.Discard) }()
	defer stop()
	far := strings.Trim(regexp.MustCompile(`127\.0\.0\.1:[1-9]\d+`).FindString(text), `"`)
	for _, dial := range []func() (net.Conn, error){
		func() (net.Conn, error) { return net.Dial("unix", short) },
		func() (net.Conn, error) {
			return tls.Dial("tcp", far, &tls.Config{InsecureSkipVerify: true}) // its own certificate
		},
	} {
		var c net.Conn
		var err error
		for range 300 {
			if c, err = dial(); err == nil {
				break
			}
			select {
			case code := <-ended:
				t.Fatalf("serve ended with %d", code)
			case <-time.After(50 * time.Millisecond):
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		w, err := framestream.NewWriter(c, &framestream.WriterOptions{ContentTypes: [][]byte{[]byte(dnstap.ContentType)}, Bidirectional: true})
		if err != nil {
			t.Fatal(err)
		}
		for client := range 3 {
			if _, err := w.WriteFrame(blocked(client + 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), c.Close()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	if code := <-ended; code != exitFine {
		t.Fatalf("serve ended with %d", code)
	}
	h := opened(t, dir)
	defer h.Close()
	r, err := dns.Open(t.Context(), h.db, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Counts(t.Context(), time.Now().Add(-48*time.Hour), time.Now().Add(time.Hour), dns.ByResolver)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v %v", list, err)
	}
	for _, c := range list { // two of three consent to being matched
		if c.Responses != 3 || c.Blocked != 2 || c.Malformed+c.Broken+c.Dropped != 0 {
			t.Errorf("%+v", c)
		}
	}
}

// blocked is a frame of dnstap: a client was told that c2.example doesn't exist, by c2.
func blocked(client int) []byte {
	msg := []byte("\x00\x01\x81\x83\x00\x01\x00\x00\x00\x00\x00\x01\x02c2\x07example\x00\x00\x01\x00\x01\x02c2\x00\x00\x06\x00\x01\x00\x00\x00\x05\x00\x16\x00\x00")
	msg = append(msg, make([]byte, 20)...)
	inner := append([]byte{8, 6, 0x22, 4, 203, 0, 113, byte(client), 0x72, byte(len(msg))}, msg...)
	return append([]byte{0x78, 1, 0x72, byte(len(inner))}, inner...)
}

// certificate makes a server's own.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, &x, &x, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// freePort is one that nobody has now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String()) // it has one
	return port
}

// importsDNS runs the command and reads its document.
func importsDNS(t *testing.T, args ...string) (doc dnsDocument, code int, said string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), append([]string{"import", "dns", "-o", "json"}, args...), nil, &out, &errs)
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
	}
	return doc, code, errs.String()
}

// TestImportDNS: who is looked at is decided by the grants, client by client; whoever
// didn't agree is in the totals and nowhere else.
func TestImportDNS(t *testing.T) {
	at := time.Now().Add(-3 * time.Hour).Truncate(time.Hour)
	dir := t.TempDir()
	settings := t.TempDir()
	rules, config := filepath.Join(settings, "rules.yaml"), filepath.Join(settings, "config.yaml")
	for path, text := range map[string]string{
		rules:  "rules:\n  - id: consent-hits\n    verified: {by: \"legal:hanako\", on: 2026-11-01}\n",
		config: "rules: " + rules + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	subjects := consents3(t, dir, rules, at)
	file := filepath.Join(t.TempDir(), "unbound.log")
	if err := os.WriteFile(file, []byte(unboundLog(at.Add(time.Hour))), 0o600); err != nil {
		t.Fatal(err)
	}

	// Without a ground: totals, and nobody.
	doc, code, said := importsDNS(t, file)
	if code != exitFine || doc.Responses != 240 || doc.NXDomain != 240 || doc.Clients != 3 || doc.Blocked.Total != 120 || doc.Blocked.ByZone["c2."] != 120 ||
		doc.Blocked.ByClient != nil || len(doc.Suspects) != 0 || doc.Ground != "" {
		t.Errorf("%d %+v %s", code, doc, said)
	}
	// One's own: all of it.
	doc, code, _ = importsDNS(t, "--own-traffic", "lab", file)
	if code != exitFine || len(doc.Blocked.ByClient) != 3 || len(doc.Suspects) != 3 || doc.Suspects[0].NX < 20 || doc.Ground != "own traffic: lab" {
		t.Errorf("%d %+v", code, doc)
	}
	if _, code, _ = importsDNS(t, "--own-traffic", "lab", "--data", dir, file); code != exitUsage {
		t.Errorf("two grounds: %d", code)
	}
	// By grants: blocks of two, and the hits of one.
	doc, code, said = importsDNS(t, "--config", config, "--data", dir, file)
	if code != exitFine || doc.Responses != 240 || doc.Blocked.Total != 80 || len(doc.Blocked.ByClient) != 1 || doc.Blocked.ByClient[0] != (clientBlocked{netip.MustParseAddr("203.0.113.1"), 40}) ||
		len(doc.Suspects) != 1 || doc.Suspects[0].Client != netip.MustParseAddr("203.0.113.1") {
		t.Errorf("%d %+v %s", code, doc, said)
	}
	// The same again counts nothing; what isn't one is an error.
	if doc, code, _ = importsDNS(t, "--config", config, "--data", dir, file); code != exitFine || len(doc.Known) != 1 || doc.Responses != 0 {
		t.Errorf("%d %+v", code, doc)
	}
	other := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(other, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if doc, code, said = importsDNS(t, other); code != exitFailed || len(doc.Errors) != 1 || !strings.Contains(said, "neither dnstap") {
		t.Errorf("%d %+v %s", code, doc, said)
	}

	// The first has a case, seen by the DNS; the others have none.
	cfg := defaultConfig()
	cfg.Data, cfg.Rules = dir, rules
	h, err := openOffice(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	cases, err := h.desk.Cases(t.Context(), casework.Query{})
	if err != nil || len(cases) != 1 || cases[0].Subject != subjects[0] {
		t.Fatalf("%+v %v", cases, err)
	}
	_, _, signs, err := h.desk.Get(t.Context(), cases[0].ID)
	if err != nil || len(signs) != 2 || signs[0].Source != "dns" || signs[1].Source != "dns" {
		t.Errorf("%+v %v", signs, err)
	}
	r, err := dns.Open(t.Context(), h.db, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Counts(t.Context(), at.Add(-24*time.Hour), at.Add(24*time.Hour), dns.Total)
	if err != nil || len(list) != 1 || list[0].Responses != 240 || list[0].Blocked != 80 {
		t.Errorf("%+v %v", list, err)
	}

	// A withdrawal counts at once.
	c := newConsenting(h)
	if match, hits := c.May(netip.MustParseAddr("203.0.113.1"), time.Now()); !match || !hits {
		t.Error("consent isn't seen")
	}
	if _, err := h.consents.Withdraw(t.Context(), subjects[0], "cc_hits", "web", "subscriber"); err != nil {
		t.Fatal(err)
	}
	if match, hits := newConsenting(h).May(netip.MustParseAddr("203.0.113.1"), time.Now()); !match || hits {
		t.Errorf("after a withdrawal: %v %v", match, hits)
	}
	time.Sleep(askRegister)
	if match, hits := c.May(netip.MustParseAddr("203.0.113.1"), time.Now()); !match || hits {
		t.Errorf("a second after a withdrawal: %v %v", match, hits)
	}
	if match, hits := c.May(netip.MustParseAddr("198.51.100.1"), time.Now()); match || hits {
		t.Error("a stranger consents")
	}
}

// TestResolversShown: the page of inputs tells of a source what came, what was lost and how
// it is, silent ones too; and many imports push nobody off it who is live.
func TestResolversShown(t *testing.T) {
	t.Parallel()
	s := &station{}
	g := s.gauge(dnsInput+"near", "live")
	g.set(func(in *api.Input) { in.State = "running" })
	at := g.began
	g.resolvers(dns.SourceStats{Frames: 90, Dropped: 10, Malformed: 3, Unread: 2, Last: at}, at.Add(time.Second))
	in := g.shown(at.Add(time.Minute))
	if in.State != "running" || in.Packets != 90 || in.Dropped.Kernel != 10 || in.Malformed != 5 || in.Rate != 100 || in.Age != 59*time.Second || !in.LastPacket.Equal(at) || in.Message != nil {
		t.Errorf("%+v", in)
	}
	g.resolvers(dns.SourceStats{Frames: 90, Dropped: 10, Broken: 1, Strangers: 4, Last: at}, at.Add(2*time.Second))
	in = g.shown(at.Add(time.Hour))
	if in.State != "stale" || in.Rate != 0 || in.Message == nil || !strings.Contains(in.Message.EN, "1 streams broke off, 4 connections") {
		t.Errorf("%+v", in)
	}
	for i := range 40 {
		s.gauge(fmt.Sprint("file", i), "file")
	}
	list := s.Inputs()
	if len(list) != 20 || list[0].Name != dnsInput+"near" || list[19].Name != "file39" {
		t.Errorf("%d inputs, the first %s", len(list), list[0].Name)
	}
}
