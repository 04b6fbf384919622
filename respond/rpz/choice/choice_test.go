package choice_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/respond/rpz/choice"
)

type hand struct{ now time.Time }

func (h *hand) Now() time.Time { return h.now }

// house knows who has which address, and what they said.
type house struct {
	lines  map[netip.Addr]string
	said   map[string]choice.Stand // subject and purpose
	acts   []string
	serial uint32
	broken error
	clock  *hand
	log    bytes.Buffer
	http   http.Handler
}

func (h *house) Line(_ context.Context, c choice.Caller) (string, error) {
	switch a := c.Address; {
	case h.broken != nil:
		return "", h.broken
	case a == netip.MustParseAddr("203.0.113.200"):
		if c.Port == 4001 {
			return "S-shared", nil // a translation is known for this port
		}
		return "", choice.ErrShared
	case !netip.MustParsePrefix("203.0.113.0/24").Contains(a) && !netip.MustParsePrefix("2001:db8:1::/48").Contains(a):
		return "", fmt.Errorf("look: %w", choice.ErrForeign)
	}
	return h.lines[c.Address], nil
}

func (h *house) State(_ context.Context, subject string) (list []choice.State, err error) {
	since := h.clock.now
	for _, p := range []choice.Purpose{choice.Hits, choice.Block} {
		if s, spoke := h.said[subject+" "+string(p)]; spoke {
			list = append(list, choice.State{Purpose: p, Stand: s, Version: "2026-04", Since: &since})
		}
	}
	return list, nil
}

func (h *house) Say(_ context.Context, subject string, p choice.Purpose, consents bool, channel string) (choice.Effect, error) {
	if h.broken != nil {
		return choice.Effect{}, h.broken
	}
	h.acts = append(h.acts, fmt.Sprintf("%s %s %v by %s", subject, p, consents, channel))
	h.said[subject+" "+string(p)] = map[bool]choice.Stand{true: choice.Consents, false: choice.Declined}[consents]
	return choice.Effect{Serial: h.serial}, nil
}

func config() choice.Config {
	return choice.Config{
		Operator: detect.Text{JA: "見本テレコム", EN: "Mihon Telecom"}, Desk: detect.Text{JA: "電話 0120-000-000", EN: "Telephone 0120-000-000"}, Terms: "https://www.example.jp/terms",
		Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, Zone: time.FixedZone("JST", 9*3600),
	}
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{
		clock: &hand{time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)}, said: map[string]choice.Stand{"S-7 cc_block": choice.Consents, "S-9 cc_block": choice.Outdated},
		lines: map[netip.Addr]string{netip.MustParseAddr("203.0.113.7"): "S-7", netip.MustParseAddr("203.0.113.9"): "S-9", netip.MustParseAddr("2001:db8:1::7"): "S-7"}, serial: 5,
	}
	p, err := choice.New(config(), choice.Deps{Lines: h, Choices: h, Clock: h.clock, Log: slog.New(slog.NewTextHandler(&h.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h.http = p.Handler()
	return h
}

func (h *house) do(t testing.TB, method, path, from, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = from
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.http.ServeHTTP(w, r)
	return w
}

var hidden = regexp.MustCompile(`name="(\w+)" value="([^"]*)"`)

// form is what the last form of a page sends.
func form(page string) url.Values {
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		v.Set(m[1], m[2])
	}
	return v
}

const line7 = "203.0.113.7:4000"

// confirm is the form that a confirmation of the choice shows.
func (h *house) confirm(t *testing.T, from, purpose, yes string) url.Values {
	t.Helper()
	got := h.do(t, "POST", "/choice/confirm?lang=en", from, url.Values{"purpose": {purpose}, "choice": {yes}}.Encode())
	if got.Code != 200 || !strings.Contains(got.Body.String(), "Yes, change it") {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	return form(got.Body.String())
}

// One looks, declines, is asked again, and it holds; the other switch stays as it is.
func TestDecline(t *testing.T) {
	h := newHouse(t)
	got := h.do(t, "GET", "/choice", line7, "", "Accept-Language", "en-GB")
	page := got.Body.String()
	for _, want := range []string{`<html lang="en">`, "Mihon Telecom", "<strong>On</strong> (since 2026-11-26 12:00)", "<strong>Off (you said nothing)</strong>", "neither the price", "https://www.example.jp/terms", "Telephone 0120"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	for _, not := range []string{"S-7", "203.0.113", "<script", "onclick"} {
		if strings.Contains(page, not) {
			t.Errorf("%q in %s", not, page)
		}
	}
	if csp := got.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || got.Header().Get("Cache-Control") != "private, no-store" {
		t.Errorf("%v", got.Header())
	}
	if ja := h.do(t, "GET", "/choice?lang=ja", line7, "").Body.String(); !strings.Contains(ja, "<strong>有効</strong>") || !strings.Contains(ja, "見本テレコム") {
		t.Error(ja)
	}
	sure := h.confirm(t, line7, "cc_block", "no")
	if len(h.acts) != 0 {
		t.Fatal("chosen without a confirmation")
	}
	after := h.do(t, "POST", "/choice/say?lang=en", line7, sure.Encode())
	if after.Code != 200 || !strings.Contains(after.Body.String(), "It holds from now on") || !strings.Contains(after.Body.String(), "Off (you declined)") {
		t.Errorf("%d %s", after.Code, after.Body)
	}
	h.serial = 0
	if b := h.do(t, "POST", "/choice/say?lang=en", line7, h.confirm(t, line7, "cc_block", "yes").Encode()).Body.String(); !strings.Contains(b, "within seconds") {
		t.Error(b)
	}
	h.do(t, "POST", "/choice/say", line7, h.confirm(t, line7, "cc_hits", "yes").Encode())
	if want := "[S-7 cc_block false by web S-7 cc_block true by web S-7 cc_hits true by web]"; fmt.Sprint(h.acts) != want {
		t.Errorf("%v", h.acts)
	}
}

// Nobody chooses for somebody else: not another site, not an old form, not a line that
// went to another, not a form for something else.
func TestForOneself(t *testing.T) {
	h := newHouse(t)
	sure := h.confirm(t, line7, "cc_block", "no")
	changed := func(k, v string) string {
		c := url.Values{}
		maps.Copy(c, sure)
		c.Set(k, v)
		return c.Encode()
	}
	h.lines[netip.MustParseAddr("203.0.113.8")] = "S-8"
	for name, c := range map[string]struct{ from, body string }{
		"another line's": {"203.0.113.8:1", sure.Encode()}, "another purpose": {line7, changed("purpose", "cc_hits")}, "the contrary": {line7, changed("choice", "yes")},
		"no token": {line7, changed("token", "")}, "a made up one": {line7, changed("token", "zz.zz")}, "another answer": {line7, changed("choice", "perhaps")},
	} {
		if got := h.do(t, "POST", "/choice/say", c.from, c.body); got.Code != http.StatusConflict || len(h.acts) != 0 {
			t.Errorf("%s: %d %v", name, got.Code, h.acts)
		}
	}
	if got := h.do(t, "POST", "/choice/say", line7, sure.Encode(), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); got.Code != http.StatusForbidden {
		t.Errorf("by another site: %d", got.Code)
	}
	if got := h.do(t, "GET", "/choice/say?"+sure.Encode(), line7, ""); got.Code != http.StatusMethodNotAllowed {
		t.Errorf("by a link: %d", got.Code)
	}
	h.lines[netip.MustParseAddr("203.0.113.7")] = "S-new" // the line got the address a moment ago
	if got := h.do(t, "POST", "/choice/say", line7, sure.Encode()); got.Code != http.StatusConflict {
		t.Errorf("%d", got.Code)
	}
	h.lines[netip.MustParseAddr("203.0.113.7")] = "S-7"
	h.clock.now = h.clock.now.Add(16 * time.Minute)
	if got := h.do(t, "POST", "/choice/say?lang=en", line7, sure.Encode()); got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "too old") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if len(h.acts) != 0 {
		t.Error(h.acts)
	}
	if got := h.do(t, "POST", "/choice/confirm", line7, "purpose=everything&choice=no"); got.Code != http.StatusBadRequest {
		t.Error(got.Code)
	}
}

// Where the line can't be told it says so and offers another way; it never guesses.
func TestWhichLine(t *testing.T) {
	h := newHouse(t)
	for from, want := range map[string]string{
		"203.0.113.200:9":    "Several lines share",
		"198.51.100.1:9":     "one of our lines",
		"203.0.113.50:9":     "tell which line",
		"203.0.113.200:4001": "Now: <strong>",
		"[2001:db8:1::7]:9":  "<strong>On</strong>",
		"203.0.113.9:9":      "new terms",
	} {
		got := h.do(t, "GET", "/choice?lang=en", from, "")
		if got.Code != 200 || !strings.Contains(got.Body.String(), want) || !strings.Contains(got.Body.String(), "Telephone") {
			t.Errorf("%s: %d %s", from, got.Code, got.Body)
		}
		if known := strings.Contains(want, "strong") || want == "new terms"; strings.Contains(got.Body.String(), "<form") != known {
			t.Errorf("%s: a button for nobody, or none: %s", from, got.Body)
		}
	}
	if got := h.do(t, "POST", "/choice/confirm", "203.0.113.200:9", "purpose=cc_block&choice=no"); got.Code != http.StatusConflict {
		t.Error(got.Code)
	}
	// By a proxy of ours the client that it adds, and nobody else's word.
	if got := h.do(t, "GET", "/choice?lang=en", "192.0.2.1:9", "", "X-Forwarded-For", "198.51.100.1, 203.0.113.7"); !strings.Contains(got.Body.String(), "<strong>On</strong>") {
		t.Error(got.Body)
	}
	if got := h.do(t, "GET", "/choice?lang=en", "192.0.2.1:9", "", "X-Forwarded-For", "203.0.113.200:4001"); !strings.Contains(got.Body.String(), "<form") {
		t.Errorf("the client's port: %s", got.Body)
	}
	if got := h.do(t, "GET", "/choice?lang=en", "198.51.100.1:9", "", "X-Forwarded-For", "203.0.113.7"); !strings.Contains(got.Body.String(), "one of our lines") {
		t.Error(got.Body)
	}
	if got := h.do(t, "GET", "/choice", "192.0.2.1:9", ""); got.Code != http.StatusServiceUnavailable {
		t.Error(got.Code)
	}
	h.broken = errors.New("the store is closed")
	if got := h.do(t, "GET", "/choice?lang=en", line7, ""); got.Code != http.StatusServiceUnavailable || strings.Contains(got.Body.String(), "store") || strings.Contains(got.Body.String(), "<form") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if l := h.log.String(); !strings.Contains(l, "the store is closed") || strings.Contains(l, "203.0.113") || strings.Contains(l, "S-7") {
		t.Error(l)
	}
}

func TestNotTooOften(t *testing.T) {
	h := newHouse(t)
	often := func(from string) (refused int) {
		for range 70 {
			if h.do(t, "GET", "/choice", from, "").Code == http.StatusTooManyRequests {
				refused++
			}
		}
		return refused
	}
	if n := often(line7); n != 10 {
		t.Errorf("%d of 70 refused", n)
	}
	if n := often("203.0.113.9:1"); n != 10 {
		t.Errorf("another line: %d", n)
	}
	if n := often("203.0.113.200:4001") + often("203.0.113.200:60000"); n != 20 { // two behind one address
		t.Errorf("of two: %d", n)
	}
	if often("[2001:db8:1::7]:1"); often("[2001:db8:1::8]:1") != 70 { // one home
		t.Error("another address of the same home")
	}
	h.clock.now = h.clock.now.Add(10 * time.Minute)
	if n := often(line7); n != 10 {
		t.Errorf("later: %d", n)
	}
}

// The same in JSON.
func TestAPI(t *testing.T) {
	h := newHouse(t)
	type answer struct {
		Known    bool
		Reason   string
		Purposes []choice.State
		Effect   *choice.Effect
		Token    string
	}
	ask := func(method, path, from, body string, code int) (a answer) {
		t.Helper()
		got := h.do(t, method, path, from, body, "Content-Type", "application/json")
		if err := json.Unmarshal(got.Body.Bytes(), &a); err != nil || got.Code != code || strings.Contains(got.Body.String(), "S-7") {
			t.Errorf("%s %s: %d %s", method, path, got.Code, got.Body)
		}
		return a
	}
	a := ask("GET", "/choice/api?purpose=cc_block&choice=no", line7, "", 200)
	if !a.Known || len(a.Purposes) != 2 || a.Purposes[0].Stand != choice.Consents || a.Purposes[1].Stand != choice.Unknown || a.Token == "" {
		t.Errorf("%+v", a)
	}
	if b := ask("GET", "/choice/api", "203.0.113.200:9", "", 200); b.Known || b.Reason != "shared" || b.Token != "" {
		t.Errorf("%+v", b)
	}
	if b := ask("POST", "/choice/api", line7, `{"purpose":"cc_block","choice":"no","token":"`+a.Token+`x"}`, 409); b.Reason != "token" {
		t.Errorf("%+v", b)
	}
	b := ask("POST", "/choice/api", line7, `{"purpose":"cc_block","choice":"no","token":"`+a.Token+`"}`, 200)
	if b.Effect == nil || b.Effect.Serial != 5 || b.Purposes[0].Stand != choice.Declined {
		t.Errorf("%+v", b)
	}
	ask("POST", "/choice/api", line7, `{"purpose":"cc_block","choice":"no","subject":"S-1"}`, 400)
	ask("POST", "/choice/api", line7, `{`, 400)
	ask("POST", "/choice/api", "198.51.100.1:1", `{"purpose":"cc_block","choice":"no"}`, 409)
	h.broken = errors.New("closed")
	ask("GET", "/choice/api", line7, "", 503)
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*choice.Config){
		"terms": func(c *choice.Config) { c.Terms = "http://x.example" }, "operator": func(c *choice.Config) { c.Operator.EN = "" }, "desk": func(c *choice.Config) { c.Desk.JA = "" }, "zone": func(c *choice.Config) { c.Zone = nil },
	} {
		c := config()
		change(&c)
		if _, err := choice.New(c, choice.Deps{}); err == nil || !strings.HasPrefix(err.Error(), "choice: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
