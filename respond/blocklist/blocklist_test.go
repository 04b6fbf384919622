package blocklist_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/lawful"
	"sakimori/respond/blocklist"
)

var noon = time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)

type hand struct{ now time.Time }

func (h *hand) Now() time.Time { return h.now }

// world is a gate of three rules and what it asks: by terms, individually, and against
// an attack.
type world struct {
	clock    *hand
	gate     *lawful.Gate
	declined map[string]bool
	rules    lawful.Guideline
	records  []string
	full     bool // the ledger's disk
}

func (w *world) Valid(_ context.Context, subject, _ string, _ time.Time) (bool, error) {
	return !w.declined[subject], nil
}

func (*world) Terms(context.Context, string, time.Time) (lawful.Terms, error) {
	return lawful.Terms{OptOut: true}, nil
}

type book struct{ *world }

func (book) Record(context.Context, lawful.Decision) error { return nil }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{clock: &hand{noon}, declined: map[string]bool{}}
	words := lawful.Text{JA: "試験\nの根拠", EN: "a test\nadd table evil"}
	rule := func(id string, g lawful.Ground, l lawful.Limits, c lawful.Condition) lawful.Rule {
		c.Name, c.Missing, c.Satisfy = "c", words, words
		l.Longest = 48 * time.Hour
		return lawful.Rule{
			ID: id, Title: words, Widest: words, Grounds: []lawful.Ground{g}, Edition: "1", Source: "a test", Verified: lawful.Verified{By: "legal:test", On: noon}, From: noon,
			Measures: []lawful.Measure{lawful.Block}, Limits: l, Conditions: []lawful.Condition{c},
		}
	}
	asked := func(p string) lawful.Condition { return lawful.Condition{Check: "consent", Fact: "consent", Param: p} }
	w.rules = lawful.Guideline{
		Facts: []lawful.Fact{{Name: "why", Kind: lawful.Word, Text: words}, {Name: "consent", Kind: lawful.Bool, Text: words}},
		Rules: []lawful.Rule{
			rule("terms", lawful.ComprehensiveConsent, lawful.Limits{Consenting: true, Subjects: 10}, asked("cc_block")),
			rule("individual", lawful.IndividualConsent, lawful.Limits{Subjects: 10, Features: 3}, asked("traffic_analysis")),
			rule("attack", lawful.Necessity, lawful.Limits{Prefixes: 4, Bits4: 24, Bits6: 48, Features: 3}, lawful.Condition{Check: "stated", Fact: "why"}),
		},
	}
	var err error
	if w.gate, err = lawful.New(lawful.Deps{Guideline: w.rules, Recorder: book{w}, Consents: w, Clock: w.clock}); err != nil {
		t.Fatal(err)
	}
	return w
}

// ground is a granted one of a rule.
func (w *world) ground(t testing.TB, rule string) blocklist.Ground {
	t.Helper()
	r := lawful.Request{Measure: lawful.Block, Purpose: "C&C", Who: "legal:taro", Rule: rule, Until: w.clock.Now().Add(40 * time.Hour), Facts: lawful.Facts{"why": "an attack"}}
	var g blocklist.Ground
	switch rule {
	case "terms":
		r.Scope.Consenting = "cc_block"
	case "individual":
		r.Scope = lawful.Scope{Subjects: []string{"S-1", "S-2"}, Features: []string{blocklist.Feature}}
		g.Subjects = r.Scope.Subjects
	case "attack":
		r.Scope = lawful.Scope{Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, Features: []string{blocklist.Feature}}
	}
	var err error
	if g.Grant, err = w.gate.Ask(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	found, _ := w.rules.Rule(rule)
	g.Rule = *found
	return g
}

func (w *world) Record(_ context.Context, x blocklist.Export, who string) error {
	if w.full {
		return errors.New("the disk is full")
	}
	w.records = append(w.records, fmt.Sprintf("%s %s %s", who, x.File, x.SHA256[:8]))
	return nil
}

func (*world) Address(p netip.Prefix) (string, bool) {
	return "own", p.Overlaps(netip.MustParsePrefix("203.0.113.0/24"))
}

func (*world) Name(name string) (string, bool) {
	return "own", name == "example.jp" || strings.HasSuffix(name, ".example.jp")
}

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func (w *world) open(t testing.TB) (*blocklist.Book, string) {
	t.Helper()
	dir := t.TempDir()
	b, err := blocklist.Open(dir, key, w.clock, w, w)
	if err != nil {
		t.Fatal(err)
	}
	return b, dir
}

func listed(entries ...blocklist.Entry) iter.Seq2[blocklist.Entry, error] {
	return func(yield func(blocklist.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// sample is of every kind, in no order, with what must not come out of it.
func sample() []blocklist.Entry {
	until := noon.Add(30 * 24 * time.Hour)
	e := func(id string, k blocklist.Kind, v string) blocklist.Entry {
		return blocklist.Entry{ID: id, Kind: k, Value: v, Family: "Mirai; drop table", Since: noon.Add(-time.Hour), Until: until}
	}
	soon := e("E-15", blocklist.Address, "198.51.100.77")
	soon.Until = noon.Add(90 * time.Second)
	over := e("E-16", blocklist.Address, "198.51.100.78")
	over.Until = noon
	never := e("E-17", blocklist.Address, "198.51.100.79")
	never.Until = time.Time{}
	return []blocklist.Entry{
		soon, over, never,
		e("E-1", blocklist.Name, "c2.example.net"), e("E-2", blocklist.Host, "files.example.org"), e("E-3", blocklist.Name, "deep.c2.example.net"), e("E-3b", blocklist.Name, "c2.example.net"),
		e("E-4", blocklist.Address, "198.51.100.9"), e("E-5", blocklist.Address, "2001:db8::9"), e("E-6", blocklist.Endpoint, "198.51.100.10:443"), e("E-7", blocklist.Endpoint, "[2001:db8::a]:8443"),
		e("E-8", blocklist.Prefix, "192.0.2.0/28"), e("E-9", blocklist.Address, "192.0.2.3"), e("E-10", blocklist.Prefix, "192.0.2.8/30"), e("E-11", blocklist.Prefix, "2001:db8:c2::/48"),
		e("E-12", blocklist.URL, "http://www.example.com/a.b/gate.php?id=1&x=(2)"), e("E-13", blocklist.URL, "https://www.example.com/secret"), e("E-14", blocklist.URL, "http://198.51.100.9:8080/"),
		// Never: own, private, too wide, and what isn't what it seems to be.
		e("P-1", blocklist.Address, "203.0.113.7"), e("P-2", blocklist.Prefix, "203.0.0.0/16"), e("P-3", blocklist.Address, "10.0.0.1"), e("P-4", blocklist.Prefix, "192.168.0.0/17"),
		e("P-5", blocklist.Prefix, "0.0.0.0/0"), e("P-6", blocklist.Name, "www.example.jp"), e("P-7", blocklist.URL, "http://203.0.113.7/x"), e("P-8", blocklist.Address, "::1"), e("P-9", blocklist.URL, "http://www.example.jp/"),
		e("M-1", blocklist.Name, "evil.example\nacl x"), e("M-2", blocklist.Name, "*"), e("M-3", blocklist.Address, "198.51.100.009"), e("M-4", blocklist.URL, "http://a.example/ x"), e("M-5", blocklist.Name, "EVIL.example"),
		e("M-6 x", blocklist.Name, "e.example"), e("M-7", blocklist.Prefix, "192.0.2.1/28"), e("M-8", blocklist.URL, "ftp://a.example/"), e("M-9", "thing", "x"), e("M-10", blocklist.Name, "net"), e("M-11", blocklist.URL, "http://u:p@a.example/"),
	}
}

func (w *world) text(t testing.TB, b *blocklist.Book, dir string, f blocklist.Form, rule string) (blocklist.Export, string) {
	t.Helper()
	x, err := b.Make(t.Context(), f, w.ground(t, rule), "abuse:hanako", listed(sample()...))
	if err != nil {
		t.Fatalf("%s by %s: %v", f, rule, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, x.File))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"203.0.113", "10.0.0.1", "example.jp", "EVIL", "acl x", "198.51.100.78", "198.51.100.79", "; drop table\"", "P-", "M-"} {
		if strings.Contains(string(raw), bad) {
			t.Errorf("%s by %s holds %q:\n%s", f, rule, bad, raw)
		}
	}
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "add table evil") {
			t.Errorf("%s: a title became configuration", f)
		}
	}
	return x, string(raw)
}

// A grant reaches what its rule is about: terms the names that a resolver is asked for,
// individual consents all, one against an attack its addresses.
func TestReach(t *testing.T) {
	for rule, want := range map[string]struct{ has, hasnt string }{
		"terms":      {"c2.example.net files.example.org", "198.51.100. 2001:db8 192.0.2. http"},
		"individual": {"c2.example.net 198.51.100.9 198.51.100.10:443 192.0.2.0/28 http://www.example.com/a.b/gate.php?id=1&x=(2) https://www.example.com/secret", ""},
		"attack":     {"198.51.100.9 198.51.100.10:443", "example 192.0.2. 2001:db8"},
	} {
		w := newWorld(t)
		b, dir := w.open(t)
		x, text := w.text(t, b, dir, blocklist.Plain, rule)
		rows := map[string]bool{}
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				rows[strings.TrimSpace(line)] = true
			}
		}
		for v := range strings.FieldsSeq(want.has) {
			if !rows[v] {
				t.Errorf("%s: no %s in\n%s", rule, v, text)
			}
		}
		for v := range rows {
			for not := range strings.FieldsSeq(want.hasnt) {
				if strings.Contains(v, not) {
					t.Errorf("%s reaches %s", rule, v)
				}
			}
		}
		if x.Entries != len(rows) || x.Omitted.Malformed != 11 || x.Omitted.Protected != 9 || x.Omitted.Ended != 2 || x.Entries+x.Omitted.Total() != len(sample()) {
			t.Errorf("%s: %+v of %d", rule, x, len(sample()))
		}
		if !strings.Contains(text, "grant "+x.Basis.Grant) || !strings.Contains(text, "rule "+rule) || !strings.Contains(text, x.Basis.Words.JA) {
			t.Errorf("%s: no basis in\n%s", rule, text)
		}
	}
}

func TestForms(t *testing.T) {
	w := newWorld(t)
	b, dir := w.open(t)
	for f, want := range map[blocklist.Form][]string{
		blocklist.CSV:      {"E-6,endpoint,198.51.100.10,443,mirai_ drop table,traffic,2026-11-27T03:00:00Z\n", "E-12,url,http://www.example.com/a.b/gate.php?id=1&x=(2),,mirai_ drop table,content,", "E-15,address,198.51.100.77,,mirai_ drop table,traffic,2026-11-26T03:01:30Z"},
		blocklist.NDJSON:   {`{"head":{"form":"ndjson","version":1,`, `{"id":"E-1","kind":"name","value":"c2.example.net","family":"mirai_ drop table","for":"resolution+traffic","until":"2026-11-27T03:00:00Z"}`},
		blocklist.STIX:     {`"pattern":"[domain-name:value = 'c2.example.net']"`, `dst_ref.value = '2001:db8::a' AND network-traffic:dst_port = 8443]`, `[ipv4-addr:value ISSUBSET '192.0.2.0/28']`, `"valid_until":"2026-11-27T03:00:00.000Z"`},
		blocklist.NFTables: {"\t198.51.100.77 timeout 90s", "\t198.51.100.10 . 443 timeout 86400s", "\t192.0.2.0/28 timeout 86400s }", "flush set inet sakimori_cnc prefix6"},
		blocklist.FlowSpec: {`"text":"match destination 198.51.100.10/32 protocol =6 or =17 destination-port =443 then traffic-rate-bytes 0"`, `"text":"route 2001:db8:c2::/48 community 65535:666"`},
		blocklist.Squid:    {"acl sakimori_cnc_names dstdomain .c2.example.net\n", "acl sakimori_cnc_names dstdomain files.example.org\n", `url_regex ^http://www\.example\.com/a\.b/gate\.php\?id=1&x=\(2\)$`},
		blocklist.Suricata: {`dns.query; dotprefix; content:".c2.example.net"; nocase; endswith;`, `tls.sni; content:"files.example.org"; nocase; bsize:17;`, `drop udp $HOME_NET any -> 2001:db8::a 8443 (`, `content:"/a.b/gate.php?id=1&x=|28|2|29|"; bsize:24;`},
	} {
		x, text := w.text(t, b, dir, f, "individual")
		for _, v := range want {
			if !strings.Contains(text, v) {
				t.Errorf("%s: no %q in\n%s", f, v, text)
			}
		}
		if f.Words().JA == "" || f.Words().EN == "" || x.Version != 1 {
			t.Errorf("%+v", x)
		}
	}
	for f, hasnt := range map[blocklist.Form]string{blocklist.NFTables: "192.0.2.3 192.0.2.8/30 example", blocklist.Squid: "deep.c2 192.0.2.3 https: :443", blocklist.Suricata: "secret", blocklist.FlowSpec: `"192.0.2.3 c2.`} {
		_, text := w.text(t, b, dir, f, "individual")
		_, body, _ := strings.Cut(text, "sakimori") // after the head's first word
		for v := range strings.FieldsSeq(hasnt) {
			if strings.Contains(body, v) {
				t.Errorf("%s holds %s:\n%s", f, v, text)
			}
		}
	}
	// By the terms alone: names in questions to resolvers, not in traffic.
	_, text := w.text(t, b, dir, blocklist.Suricata, "terms")
	if !strings.Contains(text, "dns.query") || strings.Contains(text, "tls.sni") || strings.Contains(text, "http.host") {
		t.Error(text)
	}
	for _, f := range []blocklist.Form{blocklist.NFTables, blocklist.Squid, blocklist.FlowSpec} {
		if _, err := b.Make(t.Context(), f, w.ground(t, "terms"), "x", listed(sample()...)); !errors.Is(err, blocklist.ErrGround) && f != blocklist.Squid {
			t.Errorf("%s by terms: %v", f, err)
		}
	}
}

// What leaves was written down first, is signed, ends with its grant, and isn't given
// once more without it.
func TestLeaving(t *testing.T) {
	w := newWorld(t)
	b, dir := w.open(t)
	g := w.ground(t, "individual")
	make := func() (blocklist.Export, error) {
		return b.Make(t.Context(), blocklist.Plain, g, "abuse:hanako", listed(sample()...))
	}
	w.full = true
	if _, err := make(); err == nil {
		t.Error("a file left that couldn't be written down")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v", left)
	}
	w.full = false
	x, err := make()
	if err != nil || !x.Expires.Equal(noon.Add(24*time.Hour)) || x.Version != 1 {
		t.Fatalf("%+v %v", x, err)
	}
	sig, _, err := b.Signature(blocklist.Plain, 1)
	if err != nil {
		t.Fatal(err)
	}
	file, _, err := b.Get(t.Context(), blocklist.Plain, 1, g, "operator:jiro")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(file)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"abuse:hanako " + x.File + " " + x.SHA256[:8], "operator:jiro " + x.File + " " + x.SHA256[:8]}; !equal(w.records, want) {
		t.Errorf("%q", w.records)
	}
	public := key.Public().(ed25519.PublicKey)
	other := ed25519.NewKeyFromSeed(make32(9)).Public().(ed25519.PublicKey)
	check := func(sig, raw []byte, key ed25519.PublicKey, now time.Time, want error) {
		t.Helper()
		if _, err := blocklist.Verify(sig, bytes.NewReader(raw), key, now); !errors.Is(err, want) {
			t.Errorf("%v, not %v", err, want)
		}
	}
	check(sig, raw, public, noon, nil)
	check(sig, raw, nil, noon, nil)
	check(sig, raw, other, noon, blocklist.ErrForged)
	check(sig, append(raw, 'x'), public, noon, blocklist.ErrForged)
	check(sig, raw, public, x.Expires, blocklist.ErrExpired)
	check([]byte("{}"), raw, public, noon, blocklist.ErrForged)
	check([]byte("x"), raw, public, noon, blocklist.ErrForged)
	for _, change := range [][2]string{{`"version": 1`, `"version": 2`}, {"2026-11-27", "2026-12-27"}, {x.Basis.Grant, "G-OTHER"}, {`"rule": "individual"`, `"rule": "terms"`}} {
		check(bytes.ReplaceAll(sig, []byte(change[0]), []byte(change[1])), raw, public, noon, blocklist.ErrForged)
	}
	if _, _, err := b.Get(t.Context(), blocklist.Plain, 2, g, "x"); !errors.Is(err, blocklist.ErrVersion) {
		t.Error(err)
	}
	if _, _, err := b.Get(t.Context(), blocklist.Plain, 1, w.ground(t, "individual"), "x"); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("by another grant: %v", err)
	}
	w.declined["S-2"] = true // one of two
	if _, err := make(); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("for somebody who withdrew: %v", err)
	}
	if _, _, err := b.Get(t.Context(), blocklist.Plain, 1, g, "x"); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("once more, for somebody who withdrew: %v", err)
	}
	w.declined["S-2"] = false
	w.clock.now = w.clock.now.Add(23 * time.Hour)
	if x, err = make(); err != nil || x.Version != 2 || !x.Expires.Equal(noon.Add(40*time.Hour)) {
		t.Errorf("longer than its grant: %+v %v", x, err)
	}
	w.clock.now = w.clock.now.Add(2 * time.Hour)
	if _, _, err := b.Get(t.Context(), blocklist.Plain, 1, g, "x"); !errors.Is(err, blocklist.ErrExpired) {
		t.Error(err)
	}
	if list, err := b.List(); err != nil || len(list) != 1 || list[0].Version != 2 {
		t.Errorf("%+v %v", list, err)
	}
	for range 35 {
		if x, err = make(); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 60 || x.Version != 37 {
		t.Errorf("%d files, version %d", len(left), x.Version)
	}
	if err := w.gate.Revoke(t.Context(), g.Grant.ID(), "legal:taro", "enough"); err != nil {
		t.Fatal(err)
	}
	if _, err := make(); !errors.Is(err, lawful.ErrRefused) {
		t.Error(err)
	}
	wrong := w.ground(t, "terms")
	wrong.Rule.ID = "individual"
	for name, bad := range map[string]blocklist.Ground{"none": {}, "another rule's": wrong} {
		if _, err := b.Make(t.Context(), blocklist.Plain, bad, "x", listed(sample()...)); !errors.Is(err, lawful.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.Make(t.Context(), "word", g, "x", listed()); !errors.Is(err, blocklist.ErrForm) {
		t.Error(err)
	}
}

func make32(b byte) []byte { return bytes.Repeat([]byte{b}, ed25519.SeedSize) }

func equal(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }
