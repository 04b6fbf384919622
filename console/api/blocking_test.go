package api

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/console"
)

// The list in pages by a key, filtered, as a table; what isn't a filter is refused.
func TestTheListIsReadInPages(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for next := ""; ; {
		b := read[cncBody](w, console.Network, "/api/v1/cnc?limit=3&kind=name&cursor="+url.QueryEscape(next))
		if b.Total != (Count{7, true}) {
			t.Fatalf("%+v", b.Total)
		}
		for _, e := range b.Entries {
			ids = append(ids, e.ID)
			if e.Sources == nil || e.Reviews == nil {
				t.Errorf("null for a list: %+v", e)
			}
		}
		if next = b.Next; next == "" {
			break
		}
		if got := w.ask(Operator, "GET", "/api/v1/cnc?limit=3&cursor="+url.QueryEscape(next), "", nil); problemOf(t, got.Body.Bytes()).Code != "cursor_other_query" {
			t.Errorf("another query's cursor: %s", got.Body)
		}
	}
	if len(ids) != 7 || !slices.IsSorted(ids) {
		t.Errorf("%q", ids)
	}
	for q, want := range map[string]int{"state=enforced": 6, "state=scored,%20enforced": 7, "family=mirai": 6, "q=C2-2": 1, "kind=url": 0} {
		if b := read[cncBody](w, Operator, "/api/v1/cnc?"+q); b.Total.Count != want {
			t.Errorf("%s: %d", q, b.Total.Count)
		}
	}
	for _, q := range []string{"state=wild", "kind=thing", "order=luck", "limit=501", "cursor=x"} {
		if got := w.ask(Operator, "GET", "/api/v1/cnc?"+q, "", nil); got.Code != 422 {
			t.Errorf("%s: %d", q, got.Code)
		}
	}
	rows, err := csv.NewReader(w.ask(Operator, "GET", "/api/v1/cnc?format=csv", "", nil).Body).ReadAll()
	if err != nil || len(rows) != 8 || rows[1][2] != "c2-1.example" || rows[3][5] != "'=cmd()" {
		t.Errorf("%q %v", rows, err)
	}
	if s := read[CNCSummary](w, Operator, "/api/v1/cnc/summary"); s.Enforced != 6 || s.Families == nil || s.States == nil {
		t.Errorf("%+v", s)
	}
	if f := read[CNCFile](w, Operator, "/api/v1/cnc/E-1"); f.Blast.ClientsDay != 42 || f.Explain == nil || f.Blast.Beside == nil {
		t.Errorf("%+v", f)
	}
	if got := w.ask(Operator, "GET", "/api/v1/cnc/E-none", "", nil); got.Code != 404 {
		t.Error(got.Code)
	}
	// So few clients that they could be found out one by one are never told.
	if q := read[cncQueueBody](w, Operator, "/api/v1/cnc/review"); len(q.Entries) != 1 || q.Entries[0].NeedsTwo == nil || q.Entries[0].Blast.ClientsDay != 0 || q.Total.Exact {
		t.Errorf("%+v", q)
	}
}

func TestWhyWasItBlocked(t *testing.T) {
	w := newWorld(t)
	a := read[CNCAccount](w, console.Abuse, "/api/v1/cnc/why?name=x.c2-1.example&at=2026-11-20T05:02:00Z")
	if !a.InForce || a.Matched != "c2-1.example" || a.At.Hour() != 5 || a.Entry.Sources == nil || a.Resolvers == nil || a.Said.JA == "" {
		t.Errorf("%+v", a)
	}
	if a := read[CNCAccount](w, console.Abuse, "/api/v1/cnc/why?name=example.org"); a.Entry != nil || a.At.IsZero() {
		t.Errorf("%+v", a)
	}
	for _, q := range []string{"", "name=", "name=x&at=14:02", "name=a%20b", "name=x&at=1066-01-01T00:00:00Z"} {
		if got := w.ask(console.Abuse, "GET", "/api/v1/cnc/why?"+q, "", nil); got.Code != 422 {
			t.Errorf("%q: %d %s", q, got.Code, got.Body)
		}
	}
}

// What is done to the list is done by a person, under their name and with a reason.
func TestActsOnTheList(t *testing.T) {
	w := newWorld(t)
	do := func(path, body string, want int, says string) *httptest.ResponseRecorder {
		t.Helper()
		got := w.ask(Public, "POST", "/api/v1/cnc"+path, body, w.cookie(console.Abuse))
		if got.Code != want || !strings.Contains(got.Body.String(), says) {
			t.Errorf("%s %s: %d %s", path, body, got.Code, got.Body)
		}
		return got
	}
	entry := `{"kind":"name","value":" evil.example ","evidence":"https://x.example/1","expires":"2026-12-01T09:00:00+09:00","why":"seen"`
	do("", entry+`}`, 200, `"id":"E-new"`)
	do("", entry+`,"emergency":true}`, 200, `"emergency":true`)
	do("", `{"kind":"name","value":"evil.example","evidence":"e","why":"no end"}`, 422, "expires")
	do("", strings.Replace(entry, "evil.example", "www.example.jp", 1)+`}`, 409, `"protected":{"name":"example.jp","list":"own"}`)
	do("/E-2/review", `{"verdict":"yes","why":"x"}`, 403, "own_review")
	do("/E-1/review", `{"verdict":"perhaps","why":"x"}`, 422, "verdict")
	do("/E-1/review", `{"verdict":"no","why":"a shop"}`, 200, `"state":"reviewed"`)
	do("/E-1/renew", `{"until":"2027-01-01T00:00:00Z","why":"still"}`, 200, `"expires":"2027-01-01T00:00:00Z"`)
	do("/E-1/sinkhole", `{"sinkholed":true,"why":"taken over"}`, 200, `"sinkholed":true`)
	do("/E-1/withdraw", `{"why":"wrong"}`, 200, `"state":"withdrawn"`)
	do("/E-1/withdraw", `{"why":""}`, 422, "why")
	do("/E-9/withdraw", `{"why":"wrong"}`, 404, "not_found")
	do("/held/H-1/release", `{"why":"looked at"}`, 200, `"state":"released"`)
	do("/held/H-1/refuse", `{"why":"a mistake"}`, 200, `"state":"refused"`)
	do("/held/H-2/refuse", `{"why":"a mistake"}`, 404, "not_found")
	want := []string{
		"abuse:abuse adds evil.example until 2026-12-01T00:00:00Z: seen", "abuse:abuse adds evil.example until 2026-12-01T00:00:00Z: seen", "abuse:abuse says no: a shop", "abuse:abuse renews: still",
		"abuse:abuse sinkholes: taken over", "abuse:abuse withdraws: wrong", "abuse:abuse releases: looked at", "abuse:abuse refuses: a mistake",
	}
	if !slices.Equal(w.blocking.acts, want) {
		t.Errorf("%q\nnot %q", w.blocking.acts, want)
	}
	machine, _, err := w.tokens.Issue(t.Context(), console.Token{Kind: console.APIToken, Roles: Admin, User: "script"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{
		"cnc": entry + `}`, "cnc/E-3/review": `{"verdict":"yes","why":"x"}`, "cnc/E-3/withdraw": `{"why":"x"}`, "cnc/held/H-1/release": `{"why":"x"}`, "rpz/zones/c2/resume": `{"why":"x"}`,
	} {
		if p := problemOf(t, w.ask(Public, "POST", "/api/v1/"+path, body, header{"Authorization": "Bearer " + machine}).Body.Bytes()); p.Code != "no_account" {
			t.Errorf("%s by a machine: %+v", path, p)
		}
	}
}

// A file comes in as it is, and leaves as its signature says: unmasked.
func TestTheListAsFiles(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("evil.example\n", jsonBytes)
	got := w.ask(Operator, "POST", "/api/v1/cnc/import?source=own&name=../../x.txt&dry_run=true", big, header{"Content-Type": "text/plain"})
	if st := answerOf[CNCImport](t, got); st.Read != jsonBytes || !st.DryRun || len(st.Protected) != 1 || st.Rejected == nil || w.blocking.acts[0] != "operator:operator takes in x.txt of own" {
		t.Errorf("%+v %q", st, w.blocking.acts)
	}
	if got := w.ask(Operator, "POST", "/api/v1/cnc/import", "x", header{"Content-Type": "text/plain"}); got.Code != 422 {
		t.Errorf("without a source: %d", got.Code)
	}
	got = w.ask(Operator, "GET", "/api/v1/cnc/export?format=nftables", "", nil)
	sum := sha256.Sum256(got.Body.Bytes())
	if got.Code != 200 || got.Header().Get("Sakimori-Digest") != hex.EncodeToString(sum[:]) || !strings.Contains(got.Header().Get("Content-Disposition"), `"sakimori-nftables-1"`) || !strings.HasPrefix(got.Header().Get("Content-Digest"), "sha-256=:") {
		t.Errorf("%d %v %s", got.Code, got.Header(), got.Body)
	}
	if got := w.ask(Operator, "GET", "/api/v1/cnc/export?format=nftables&version=1&part=signature", "", nil); got.Body.String() != `{"version":1}` || !strings.Contains(got.Header().Get("Content-Disposition"), ".sig") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	for q, want := range map[string]int{"format=squid": 403, "format=nftables&version=9": 404, "format=word": 422, "": 422, "format=plain&part=signature": 422, "format=plain&version=-1": 422} {
		if got := w.ask(Operator, "GET", "/api/v1/cnc/export?"+q, "", nil); got.Code != want {
			t.Errorf("%s: %d %s", q, got.Code, got.Body)
		}
	}
	if b := read[cncExportsBody](w, console.Legal, "/api/v1/cnc/exports"); b.Exports[0].Version != 1 || !slices.Contains(cncFormats, b.Exports[0].Format) {
		t.Errorf("%+v", b)
	}
}

// The zones and their proof. A zone's own form of an address is no way round the mask.
func TestZonesAndProof(t *testing.T) {
	w := newWorld(t)
	if z := read[ZonesNow](w, console.Network, "/api/v1/rpz"); z.Zones[0].Serial != 2026112601 || z.Ground.Missing == nil {
		t.Errorf("%+v", z)
	}
	if m := read[Matrix](w, console.Network, "/api/v1/rpz/resolvers"); m.Resolvers[0].Address != "203.0.113.53" || m.Resolvers[0].Zones == nil || len(m.Resolvers[0].Probes) != 1 {
		t.Errorf("%+v", m)
	}
	got := w.ask(console.Network, "GET", "/api/v1/rpz/zones/optout./diff?from=1&to=2", "", nil)
	d := answerOf[diffBody](t, got)
	if len(d.Added) != 3 || d.Added[0].Trigger != "203.0.113.x/32" || d.Added[1].Trigger != "2001:db8:1::x/64" || d.Added[2].Trigger != "*.c2-1.example" || d.Removed == nil {
		t.Errorf("%+v", d)
	}
	for _, path := range []string{"optout/diff?from=0&to=2", "victims/diff?from=1&to=2", "victims/serials"} {
		if got := w.ask(console.Network, "GET", "/api/v1/rpz/zones/"+path, "", nil); got.Code != 404 {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	var serials []uint32
	for next := ""; ; {
		b := read[serialsBody](w, Operator, "/api/v1/rpz/zones/c2/serials?limit=2&cursor="+url.QueryEscape(next))
		for _, x := range b.Serials {
			serials = append(serials, x.Serial)
		}
		if next = b.Next; next == "" {
			break
		}
	}
	if !slices.Equal(serials, []uint32{5, 4, 3, 2, 1}) {
		t.Error(serials)
	}
	if b := read[proofsBody](w, Operator, "/api/v1/rpz/proofs?ok=false"); len(b.Proofs) != 1 || b.Next != "" {
		t.Errorf("%+v", b)
	}
	one := read[proofsBody](w, Operator, "/api/v1/rpz/proofs?limit=3")
	if two := read[proofsBody](w, Operator, "/api/v1/rpz/proofs?limit=3&cursor="+one.Next); len(one.Proofs) != 3 || len(two.Proofs) != 2 || two.Next != "" {
		t.Errorf("%+v %+v", one, two)
	}
	if rows, err := csv.NewReader(w.ask(Operator, "GET", "/api/v1/rpz/proofs?format=csv", "", nil).Body).ReadAll(); err != nil || len(rows) != 6 || rows[1][6] != "'=A" {
		t.Errorf("%q %v", rows, err)
	}
	if c := read[configBody](w, console.Network, "/api/v1/rpz/config/bind"); c.Files[0].Text != "primaries { 203.0.113.53; };" || c.Notes == nil {
		t.Errorf("a configuration that doesn't work: %+v", c)
	}
	if got := w.ask(console.Network, "GET", "/api/v1/rpz/config/dnsmasq", "", nil); got.Code != 404 {
		t.Error(got.Code)
	}
	w.ask(console.Network, "POST", "/api/v1/rpz/canary", "{}", nil)
	for _, act := range []string{"publish", "pause", "resume"} {
		if got := w.ask(Public, "POST", "/api/v1/rpz/zones/C2./"+act, `{"why":"w"}`, w.cookie(Admin)); got.Code != 200 {
			t.Errorf("%s: %d %s", act, got.Code, got.Body)
		}
	}
	w.ask(console.Network, "POST", "/api/v1/rpz/zones/emergency/rollback", `{"serial":4294967295,"why":"w"}`, nil)
	w.ask(console.Legal, "POST", "/api/v1/rpz/zones/c2/pause", `{"why":"no notice was given"}`, nil)
	if got := w.ask(console.Network, "POST", "/api/v1/rpz/zones/c2/publish", `{"why":"w"}`, nil); got.Code != 422 {
		t.Error(got.Code)
	}
	want := []string{
		"network:network asks the resolvers", "admin:admin publishes c2.: w", "admin:admin pauses c2.: w", "admin:admin resumes c2.: w", "network:network rolls emergency. back to 4294967295: w",
		"legal:legal pauses c2.: no notice was given",
	}
	if !slices.Equal(w.blocking.acts, want) {
		t.Errorf("%q\nnot %q", w.blocking.acts, want)
	}
}

func TestBlocksBesideTheFigureOfThen(t *testing.T) {
	w := newWorld(t)
	b := read[blocksBody](w, console.Network, "/api/v1/dns/blocks?from=2026-11-01T00:00:00Z&to=2026-11-04T00:00:00Z")
	if len(b.Days) != 3 || b.Total != 9 || b.Then.Blocks != 208_060_000 || b.Then.PerDay < 341_000 || b.Then.PerDay > 342_500 || b.Losses == nil {
		t.Errorf("%+v", b)
	}
	rows, err := csv.NewReader(w.ask(Operator, "GET", "/api/v1/dns/blocks?format=csv&from=2026-11-01T00:00:00Z&to=2026-11-04T00:00:00Z", "", nil).Body).ReadAll()
	if err != nil || len(rows) != 4 || !slices.Equal(rows[1], []string{"2026-11-01T00:00:00Z", "100", "3", "0", "0", "0", "0", "2", "1"}) {
		t.Errorf("%q %v", rows, err)
	}
	if b := read[blocksBody](w, Operator, "/api/v1/dns/blocks"); b.To.Sub(b.From) != 30*day {
		t.Errorf("%+v", b)
	}
}

// A choice is entered under the name of who enters it, with the way it came.
func TestChoicesAreEntered(t *testing.T) {
	w := newWorld(t)
	if c := read[Choice](w, console.Abuse, "/api/v1/choice?address=203.0.113.7"); c.Subject != subjectA || c.Effect != nil || c.OptOut.InZone || c.OptOut.Resolvers == nil {
		t.Errorf("%+v", c)
	}
	if c := read[Choice](w, console.Abuse, "/api/v1/choice?address=198.51.100.9&port=7&at=2026-11-01T00:00:00Z"); c.Subject != "" || c.Verdict != "foreign" || c.Purposes == nil {
		t.Errorf("%+v", c)
	}
	if p := problemOf(t, w.ask(console.Abuse, "GET", "/api/v1/choice?address=taro", "", nil).Body.Bytes()); p.Code != "address_invalid" {
		t.Error(p)
	}
	look := func(body string, want int, code string) {
		t.Helper()
		got := w.ask(console.Abuse, "POST", "/api/v1/choice/look", body, nil)
		if got.Code != want || !strings.Contains(got.Body.String(), code) {
			t.Errorf("%s: %d %s", body, got.Code, got.Body)
		}
	}
	look(`{"case":"C-1"}`, 200, subjectA)
	look(`{"contract":"line-7"}`, 200, subjectA)
	look(`{}`, 422, "choice_whose")
	look(`{"case":"C-1","subject":"S-1"}`, 422, "choice_whose")
	look(`{"case":"none"}`, 404, "not_found")
	say := func(subject, body string, want int) *httptest.ResponseRecorder {
		t.Helper()
		got := w.ask(console.Abuse, "POST", "/api/v1/choice/"+subject, body, nil)
		if got.Code != want {
			t.Errorf("%s: %d %s", body, got.Code, got.Body)
		}
		return got
	}
	c := answerOf[Choice](t, say(subjectA, `{"purpose":"cc_block","consents":false,"channel":"phone","why":"they called"}`, 200))
	if c.Purposes[0].State != "declined" || c.Effect.State != "pending" || !c.OptOut.InZone {
		t.Errorf("%+v", c)
	}
	say(subjectB, `{"purpose":"cc_block","consents":false,"channel":"phone","why":"they called"}`, 404)
	say(subjectA, `{"purpose":"everything","consents":false,"channel":"phone","why":"they called"}`, 422)
	say(subjectA, `{"purpose":"cc_hits","channel":"phone","why":"they called"}`, 422)
	say(subjectA, `{"purpose":"cc_hits","consents":true,"channel":"pigeon","why":"they called"}`, 422)
	if last := w.blocking.acts[len(w.blocking.acts)-1]; last != "abuse:abuse enters cc_block false by phone: they called" {
		t.Error(last)
	}
}

// needed are the queries without which a route can't be asked.
var needed = map[string]string{"GET /api/v1/cnc/why": "?name=x", "GET /api/v1/cnc/export": "?format=plain", "GET /api/v1/rpz/zones/{zone}/diff": "?from=1&to=2", "GET /api/v1/choice": "?address=203.0.113.7", "POST /api/v1/cnc/import": "?source=x"}

// Where a part isn't there, each of its routes says which.
func TestWithoutAListAndZones(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.Office = nil })
	bodies := map[string]string{
		"POST /api/v1/cnc": `{"kind":"name","value":"x","evidence":"e","why":"w","expires":"2026-12-01T00:00:00Z"}`, "POST /api/v1/cnc/{id}/review": `{"verdict":"yes","why":"w"}`,
		"POST /api/v1/cnc/{id}/renew": `{"until":"2026-12-01T00:00:00Z","why":"w"}`, "POST /api/v1/cnc/{id}/sinkhole": `{"sinkholed":true,"why":"w"}`,
		"POST /api/v1/rpz/zones/{zone}/rollback": `{"serial":1,"why":"w"}`, "POST /api/v1/rpz/canary": `{}`, "POST /api/v1/choice/look": `{"case":"C-1"}`,
		"POST /api/v1/choice/{subject}": `{"purpose":"cc_block","consents":true,"channel":"web","why":"w"}`,
	}
	n := 0
	for _, pattern := range w.server.mux.patterns {
		method, path, _ := strings.Cut(pattern, " ")
		room, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/v1/"), "/")
		if !slices.Contains([]string{"cnc", "rpz", "dns", "choice"}, room) {
			continue
		}
		n++
		body := bodies[pattern]
		if body == "" && method == http.MethodPost {
			body = `{"why":"w"}`
		}
		got := w.ask(Public, method, strings.NewReplacer("{id}", "E-1", "{zone}", "c2", "{vendor}", "bind", "{subject}", "S-1").Replace(path)+needed[pattern], body, w.cookie(Admin))
		if got.Code != http.StatusNotFound || problemOf(t, got.Body.Bytes()).Code != "no_"+room {
			t.Errorf("%s: %d %s", pattern, got.Code, got.Body)
		}
	}
	if n != 30 {
		t.Errorf("%d routes", n)
	}
}
