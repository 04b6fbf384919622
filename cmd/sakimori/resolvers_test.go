package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/observe/dns"
	"sakimori/respond/casework"
	"sakimori/respond/subscriber"
)

// consents3 makes an office in which three subscribers consent to different things, and
// the grants to act on it: the first to blocks and hits, the second to blocks, the third
// to nothing. Their addresses are 203.0.113.1 to .3.
func consents3(t *testing.T, dir, rules string, at time.Time) (subjects []string) {
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

// imports runs the command and reads its document.
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
	at := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
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
	if match, hits := c.May(netip.MustParseAddr("198.51.100.1"), time.Now()); match || hits {
		t.Error("a stranger consents")
	}
}
