package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/respond/casework"
	"sakimori/respond/subscriber/vault"
)

// deskOf is a station with an office, its API, and people who have signed in.
type deskOf struct {
	*station

	t    *testing.T
	base string
}

func openDeskOf(t *testing.T) *deskOf {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Rules = filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "rules.yaml")
	cfg.Subscriber.Own = []string{"203.0.113.0/24"}
	if err := os.WriteFile(cfg.Rules, []byte("rules: [{id: sender-by-log, four_eyes: [notify]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newStation(t.Context(), cfg, slog.New(slog.DiscardHandler), false, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.keeper.own = append(s.keeper.own, s.office.own...)
	srv := httptest.NewServer(s.api.Handler())
	t.Cleanup(func() {
		srv.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return &deskOf{s, t, srv.URL}
}

// person is somebody with a role, who has signed in.
func (d *deskOf) person(name, role string) *browser {
	d.t.Helper()
	roles, err := console.ParseRoles(role)
	if err != nil {
		d.t.Fatal(err)
	}
	_, secret, err := d.house.people.Add(d.t.Context(), "a test", name, roles)
	if err != nil {
		d.t.Fatal(err)
	}
	b := newBrowser(d.t, d.base)
	if got := b.ask("POST", "/signin/link/accept", map[string]any{"secret": secret, "password": "kite umbrella lantern"}, nil); got != 200 {
		d.t.Fatal(got)
	}
	return b
}

// send posts a file, as a page does.
func (b *browser) send(path, body string, head map[string]string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	for k, v := range head {
		req.Header.Set(k, v)
	}
	return b.answer(req)
}

func (b *browser) answer(req *http.Request) (int, string) {
	b.t.Helper()
	res, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

func (b *browser) get(path string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.answer(req)
}

const radiusDetail = `Thu Nov 26 00:00:00 2026
	Acct-Status-Type = Start
	User-Name = "taro@example.jp"
	Acct-Session-Id = "0001"
	NAS-Identifier = "bng1"
	Framed-IP-Address = 203.0.113.7
	Event-Timestamp = "Nov 26 2026 00:00:00 UTC"

Thu Nov 26 06:00:00 2026
	Acct-Status-Type = Stop
	User-Name = "taro@example.jp"
	Acct-Session-Id = "0001"
	NAS-Identifier = "bng1"
	Framed-IP-Address = 203.0.113.7
	Acct-Session-Time = 21600
	Event-Timestamp = "Nov 26 2026 06:00:00 UTC"

`

const sinkhole = `"timestamp","protocol","src_ip","src_port","src_asn","dst_ip","dst_port","tag","infection","family"
"2026-11-26 00:10:00","tcp","203.0.113.7","40000","64500","192.0.2.1","80","mirai","mirai","mirai"
"2026-11-26 00:20:00","tcp","203.0.113.99","40001","64500","192.0.2.1","80","mirai","mirai","mirai"
"yesterday","tcp","203.0.113.7","40001","64500","192.0.2.1","80","mirai","mirai","mirai"
`

// The way of an infected subscriber through the API of what serve builds: from the log
// and the report to a case, to a grant, to a person, with two people where the rules ask
// for them, and what each step leaves in the ledger.
func TestOfficeBehindItsAPI(t *testing.T) {
	d := openDeskOf(t)
	hanako, jiro, watch := d.person("hanako", "abuse"), d.person("jiro", "legal"), d.person("goro", "operator")

	if code, body := hanako.send("/api/v1/subscriber/records?name=detail", ofYesterday(radiusDetail), nil); code != 200 || !strings.Contains(body, `"records":2,"sessions":1`) {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := hanako.send("/api/v1/subscriber/records?name=x.pcap&kind=radius", "no capture", nil); code != 422 {
		t.Errorf("%d %s", code, body)
	}
	code, body := watch.send("/api/v1/reports?source=shadowserver&format=shadowserver&name=2026-11-26-event4_sinkhole.csv", ofYesterday(sinkhole), nil)
	if code != 200 || !strings.Contains(body, ofYesterday(`"rows":3,"reports":2,"malformed":1,"duplicates":0,"mediated":0,"other":0,"accusing":1,"first":"2026-11-26T00:10:00Z","last":"2026-11-26T00:20:00Z","errors":[{"line":4,`)) {
		t.Fatalf("%d %s", code, body)
	}
	if code, body = watch.send("/api/v1/reports?source=shadowserver&format=shadowserver&name=2026-11-26-event4_sinkhole.csv", ofYesterday(sinkhole), nil); code != 200 || !strings.Contains(body, `"duplicates":2`) {
		t.Errorf("%d %s", code, body)
	}
	if left, err := filepath.Glob(filepath.Join(d.cfg.Data, "upload-*")); err != nil || len(left) > 0 {
		t.Errorf("uploads stay: %v %v", left, err)
	}

	var list struct {
		Cases []api.Case
		Total int
	}
	watch.ask("GET", "/api/v1/cases?open=true&family=mirai", nil, &list)
	if list.Total != 1 || list.Cases[0].State != "attributed" || list.Cases[0].Due == nil || !slices.Contains(list.Cases[0].Next, "lawful") {
		t.Fatalf("%+v", list)
	}
	c := list.Cases[0]
	var nobody struct {
		Signs []api.Sign
		Total int
	}
	watch.ask("GET", "/api/v1/signs/nobody", nil, &nobody)
	if nobody.Total != 1 || nobody.Signs[0].Verdict != "expired" || nobody.Signs[0].Doubt == nil || nobody.Signs[0].Doubt.JA != "その時刻の記録がありません" || nobody.Signs[0].Words.JA == "" {
		t.Errorf("%+v", nobody)
	}
	var sum api.CaseSummary
	watch.ask("GET", "/api/v1/cases/summary", nil, &sum)
	if sum.Open != 1 || sum.Nobody != 1 || sum.Flow.Opened != 1 || sum.Families[0].Name != "mirai" || len(sum.States) != len(casework.States) || len(sum.Days) != 31 {
		t.Errorf("%+v", sum)
	}
	var who api.Attribution
	watch.ask("POST", "/api/v1/who", map[string]any{"address": "203.0.113.7", "at": ofYesterday("2026-11-26T00:30:00Z"), "skew_seconds": 1}, &who)
	if who.Verdict != "unique" || who.Pseudonym != c.Subject || len(who.Evidence) != 1 || who.Evidence[0].Source != "bng1" || !strings.Contains(who.Evidence[0].Text.EN, ofYesterday("2026-11-26 06:00:00 UTC")) {
		t.Errorf("%+v", who)
	}

	// The desk, under its name, and only in the order of a case's life.
	at := "/api/v1/cases/" + c.ID
	var problem struct{ Code, Detail string }
	if hanako.ask("POST", at+"/move", map[string]any{"to": "clean", "why": "x"}, &problem); problem.Code != "refused" || !strings.Contains(problem.Detail, "attributed → clean") {
		t.Errorf("%+v", problem)
	}
	if got := watch.ask("POST", at+"/note", map[string]any{"text": "x"}, nil); got != 403 {
		t.Error(got)
	}
	for path, body := range map[string]any{"/assign": map[string]any{"to": "hanako", "why": "on duty"}, "/note": map[string]any{"text": "called"}, "/hold": map[string]any{"held": false, "why": "none"}} {
		if got := hanako.ask("POST", at+path, body, nil); got != 200 {
			t.Errorf("%s: %d", path, got)
		}
	}
	var order struct{ Bulk api.Bulk }
	hanako.ask("POST", "/api/v1/cases/bulk", map[string]any{"cases": []string{c.ID}, "action": "hold", "why": "a question"}, &order)
	if order.Bulk.State != "waiting" || order.Bulk.Who != "abuse:hanako" {
		t.Errorf("%+v", order)
	}
	if got := hanako.ask("POST", "/api/v1/cases/bulk/"+order.Bulk.ID+"/stop", map[string]any{"why": "the wrong one"}, &order); got != 200 || order.Bulk.State != "stopped" {
		t.Errorf("%d %+v", got, order)
	}

	// Who they are takes a grant, which takes the facts.
	if err := d.office.vault.KeepPerson(t.Context(), "taro@example.jp", vault.Person{Name: "見本 太郎", Mail: "taro@example.jp", Phone: "0120-00-0000"}); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Outcome, ID, Rule string
		Missing           []struct{ Condition string }
	}
	facts := map[string]any{"harm": "scans of other operators' customers", "necessity": "one session"}
	hanako.ask("POST", at+"/ask", map[string]any{"measure": "name_subscriber", "purpose": "clean-up"}, &answer)
	if answer.Outcome != "refused" || answer.Rule != "sender-by-log" || len(answer.Missing) != 2 {
		t.Errorf("%+v", answer)
	}
	hanako.ask("POST", at+"/ask", map[string]any{"measure": "name_subscriber", "purpose": "clean-up", "facts": facts}, &answer)
	if answer.Outcome != "granted" {
		t.Fatalf("%+v", answer)
	}
	named := answer.ID
	code, body = hanako.send(at+"/identity", `{"grant":"`+named+`"}`, map[string]string{"Content-Type": "application/json"})
	if code != 200 || !strings.Contains(body, `"contract":"taro@example.jp","person":{"name":"見本 太郎"`) {
		t.Errorf("%d %s", code, body)
	}
	hanako.ask("POST", at+"/ask", map[string]any{"measure": "notify", "purpose": "clean-up", "facts": facts}, &answer)
	if answer.Outcome != "waiting" {
		t.Fatalf("%+v", answer)
	}
	approve := "/api/v1/lawful/grants/" + answer.ID + "/approve"
	if got := hanako.ask("POST", approve, map[string]any{}, nil); got != 403 {
		t.Errorf("the abuse desk decides: %d", got)
	}
	if got := jiro.ask("POST", approve, map[string]any{}, nil); got != 200 {
		t.Error(got)
	}
	var file struct {
		Grants    []struct{ ID, Who, Second string }
		Deadlines []api.CaseDeadline
		Why       struct{ JA string }
		History   []api.CaseEvent
		Signs     []api.Sign
	}
	hanako.ask("GET", at, nil, &file)
	if len(file.Grants) != 2 || file.Grants[1].Who != "abuse:hanako" || file.Grants[1].Second != "legal:jiro" || len(file.Deadlines) != 1 || len(file.Signs) != 1 || len(file.History) < 4 || file.Why.JA == "" {
		t.Errorf("%+v", file)
	}
	if got := jiro.ask("POST", "/api/v1/lawful/grants/"+named+"/revoke", map[string]any{"why": "done"}, nil); got != 200 {
		t.Error(got)
	}
	if code, body = hanako.send(at+"/identity", `{"grant":"`+named+`"}`, map[string]string{"Content-Type": "application/json"}); code != 403 || !strings.Contains(body, "no_grant") {
		t.Errorf("%d %s", code, body)
	}
	d.ledger(jiro, watch)
}

// ledger reads what all of it has left.
func (d *deskOf) ledger(jiro, watch *browser) {
	t := d.t
	t.Helper()
	code, body := watch.get("/api/v1/ledger?limit=500")
	for _, want := range []string{
		`"who":"abuse:hanako","what":{"action":"take in records"`, `"who":"operator:goro","what":{"action":"take in reports"`,
		`"who":"operator:goro","what":{"of":"address"},"personal":"kept"`, `"kind":"refusal"`, `"kind":"revocation"`, `"of":"contract"`, `"of":"person"`,
	} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, the ledger doesn't say %s:\n%s", code, want, body)
		}
	}
	if code, _ := watch.get("/api/v1/ledger/export"); code != 403 {
		t.Errorf("the watch takes the ledger home: %d", code)
	}
	code, all := jiro.get("/api/v1/ledger/export?format=ndjson")
	if code != 200 || !strings.Contains(all, `"kind":"export","who":"legal:jiro"`) || strings.Count(all, "\n") < 20 {
		t.Errorf("%d %s", code, all)
	}
	for _, text := range []string{body, all} {
		if strings.Contains(text, "taro") || strings.Contains(text, "203.0.113") || strings.Contains(text, "太郎") {
			t.Errorf("a subscriber is in the ledger:\n%s", text)
		}
	}
	var sum struct {
		Kinds []struct {
			Kind  string
			Count int
		}
		Last     struct{ Seq uint64 }
		Heads    []any
		Refusals []api.RefusalCount
	}
	if _, _, err := signHead(t.Context(), d.house.book, d.cfg.Data); err != nil {
		t.Fatal(err)
	}
	jiro.ask("GET", "/api/v1/ledger/summary", nil, &sum)
	n := 0
	for _, k := range sum.Kinds {
		n += k.Count
	}
	if n == 0 || uint64(n) != sum.Last.Seq || len(sum.Heads) != 1 || !slices.Equal(sum.Refusals, []api.RefusalCount{{Rule: "sender-by-log", Measure: "name_subscriber", Count: 1}}) {
		t.Errorf("%+v", sum)
	}
	var v api.Verified
	jiro.ask("POST", "/api/v1/ledger/verify", map[string]any{}, &v)
	if len(v.Faults) > 0 || v.Last != sum.Last.Seq || v.Heads != 1 {
		t.Errorf("%+v", v)
	}
	if err := d.house.db.Tx(t.Context(), func(tx *relation.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE ledger_entry SET who = 'nobody' WHERE seq = 3`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if jiro.ask("POST", "/api/v1/ledger/verify", map[string]any{}, &v); len(v.Faults) != 1 || v.Faults[0].Seq != 3 {
		t.Errorf("%+v", v)
	}
}

// A token that no user answers for can't be the second person, whatever it is called;
// nor is who works at the machine another person than the command line.
func TestNobodyActsAsAnother(t *testing.T) {
	d := openDeskOf(t)
	if err := d.house.cliToken(t.Context(), filepath.Join(d.cfg.Data, cliTokenFile)); err != nil {
		t.Fatal(err)
	}
	cli, err := os.ReadFile(filepath.Join(d.cfg.Data, cliTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.office.desk.Take(t.Context(), casework.Sign{ID: "s", Source: "telescope", Claim: "infected", At: time.Now(), Subject: "S-0123456789abcdefghjkmnpqrs", Verdict: "unique"})
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(secret, path, body string) (int, string) {
		return newBrowser(t, d.base).send(path, body, map[string]string{"Authorization": "Bearer " + secret, "Content-Type": "application/json"})
	}
	ask := `{"measure":"notify","purpose":"x","facts":{"harm":"x","necessity":"x"}}`
	forge, _, err := d.house.people.MakeToken(t.Context(), "hanako", console.Token{Name: "command line", Roles: console.Admin}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if code, body := bearer(string(cli), "/api/v1/cases/"+id+"/ask", ask); code != 200 || !strings.Contains(body, "waiting") {
		t.Fatalf("%d %s", code, body)
	}
	w := d.office.gate.Waiting()[0]
	if w.Who != whoAmI() {
		t.Errorf("%+v", w)
	}
	for secret, want := range map[string]string{string(cli): "own_request", forge: "no_account"} {
		if code, body := bearer(secret, "/api/v1/lawful/grants/"+w.ID+"/approve", "{}"); code != 403 || !strings.Contains(body, want) {
			t.Errorf("%d %s", code, body)
		}
	}
	if code, body := bearer(forge, "/api/v1/cases/"+id+"/note", `{"text":"x"}`); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	_, history, _, err := d.office.desk.Get(t.Context(), id)
	if err != nil || history[len(history)-1].Who != "token:command line" {
		t.Errorf("%+v %v", history, err)
	}
	if len(d.office.gate.InForce()) > 0 {
		t.Error("somebody agreed to what they had asked for")
	}
}

// BenchmarkOffice asks for the desk's list and figures, with 100,000 cases.
func BenchmarkOffice(b *testing.B) {
	cfg := defaultConfig()
	cfg.Data = b.TempDir()
	h, err := openOffice(b.Context(), &cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	fillCases(b, h, 100_000)
	office, err := h.ports(&cfg)
	if err != nil {
		b.Fatal(err)
	}
	server, err := api.New(api.Deps{Archive: archive{}, Inputs: stored{}, Tokens: h.people, Clock: clock.System{}, Office: office})
	if err != nil {
		b.Fatal(err)
	}
	secret, _, err := h.people.MakeToken(b.Context(), "x", console.Token{Name: "x", Roles: console.Admin}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{
		"/cases?limit=50&open=true", "/cases?limit=50&overdue=true", "/cases?limit=50&family=mirai&state=notified", "/cases?limit=50&q=C-2026-05", "/cases?limit=50&assignee=-", "/cases/summary", "/cases/C-2026-050000", "/signs/nobody",
		"/ledger?limit=100", "/ledger?kind=look-up", "/ledger/summary",
	} {
		b.Run(path, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://127.0.0.1/api/v1"+path, http.NoBody)
				r.Header.Set("Authorization", "Bearer "+secret)
				w := &answer{head: http.Header{}, code: 200, body: bytes.Buffer{}}
				began := time.Now()
				server.Handler().ServeHTTP(w, r)
				took = append(took, time.Since(began))
				if w.code != 200 {
					b.Fatal(w.code, w.body.String())
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}

// fillCases puts cases into the store as a desk has them after some months: three events
// and a sign each, and entries in the ledger.
func fillCases(b *testing.B, h *office, n int) {
	b.Helper()
	states := []string{"attributed", "lawful", "notified", "acknowledged", "verifying", "clean", "clean", "clean", "closed", "relapsed"}
	families := []string{"mirai", "mozi", "gafgyt", "", "qakbot"}
	ctx := b.Context()
	err := h.db.Tx(ctx, func(tx *relation.Tx) error {
		now := time.Now()
		exec := func(text string, args ...any) {
			if _, err := tx.Exec(ctx, text, args...); err != nil {
				b.Fatal(err)
			}
		}
		for i := range n {
			at := now.Add(-time.Duration(i%180*24) * time.Hour).UnixNano()
			due := now.Add(time.Duration(i%20-5) * 24 * time.Hour).UnixNano()
			id, state := fmt.Sprintf("C-2026-%06d", i), states[i%len(states)]
			if state == "clean" || state == "closed" {
				due = 0
			}
			exec(`INSERT INTO casework_case (id, subject, state, family, device, opened, changed, seen, due, notices, assignee, held, reason, merged) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)`,
				id, fmt.Sprintf("S-%026d", i), state, families[i%5], []string{"camera", "router", ""}[i%3], at, at, at, due, 1, []string{"", "hanako", "taro"}[i%3], i%50 == 0, "", "")
			third := "change"
			if i%33 == 0 {
				third = "refusal"
			}
			for k, what := range []string{"new", "attributed", state} {
				exec(`INSERT INTO casework_event (case_id, n, at, who, what, why) VALUES ($1,$2,$3,$4,$5,$6)`, id, k+1, at+int64(k), "sakimori", what, "seen by telescope")
				exec(`INSERT INTO ledger_entry (seq, made, kind, who, what, private, prev, hash) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)`,
					3*i+k+1, now.UnixNano()-int64(n-i)*int64(time.Minute), []string{"change", "look-up", third}[k], "abuse:hanako", `{"rule":"sender-by-log","measure":"notify","why":"seen by telescope"}`, "", make([]byte, 32), make([]byte, 32))
			}
			to := id
			if i%10 == 0 {
				to = ""
			}
			exec(`INSERT INTO casework_sign (id, case_id, source, claim, family, at, came, verdict, doubt, mediated, withdrawn) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)`,
				fmt.Sprint("s", i), to, "telescope", "infected", "mirai", at, at, "unique", "", false, false)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
