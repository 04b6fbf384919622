package api

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/console"
	"sakimori/lawful"
)

func answerOf[T any](t *testing.T, got *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if got.Code != 200 {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if err := json.Unmarshal(got.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, got.Body)
	}
	return v
}

const hour = `"2026-11-26T00:00:00Z"`

// An identity takes a grant that is in force for this very subscriber. Without one
// nothing is looked at, and with one the look is by who looks.
func TestNobodyIsNamedWithoutAGrant(t *testing.T) {
	w := newWorld(t)
	named := func(id, grant string) *httptest.ResponseRecorder {
		return w.ask(console.Abuse, "POST", "/api/v1/cases/"+id+"/identity", `{"grant":"`+grant+`"}`, nil)
	}
	refused := func(got *httptest.ResponseRecorder, code string) {
		t.Helper()
		if p := problemOf(t, got.Body.Bytes()); p.Code != code {
			t.Errorf("%d %s", got.Code, got.Body)
		}
		if strings.Contains(got.Body.String(), "hanako@") || slices.ContainsFunc(w.office.acts, func(a string) bool { return strings.Contains(a, "looks") }) {
			t.Errorf("somebody was looked at: %s %q", got.Body, w.office.acts)
		}
	}
	refused(named("C-2026-000001", "G-NOTHING"), "no_grant")
	refused(named("C-2026-000009", "G-NOTHING"), "not_found")

	ask := func(id, body string) answerBody {
		return answerOf[answerBody](t, w.ask(console.Abuse, "POST", "/api/v1/cases/"+id+"/ask", body, nil))
	}
	// A refusal is an answer, with what is missing.
	a := ask("C-2026-000001", `{"measure":"name_subscriber","purpose":"clean-up"}`)
	if a.Outcome != "refused" || a.ID != "" || a.Rule != "by-log" || len(a.Missing) != 1 || a.Missing[0].Condition != "harm_shown" || !strings.Contains(a.Text.EN, "no harm") {
		t.Errorf("%+v", a)
	}
	// The house knows the finding: nobody states another one for a case that is over.
	a = ask("C-2026-000003", `{"measure":"name_subscriber","purpose":"clean-up","facts":{"harm":"scans","finding":"C-2026-000001"}}`)
	if a.Outcome != "refused" || a.Missing[0].Condition != "attack_present" {
		t.Errorf("%+v", a)
	}
	tell := ask("C-2026-000001", `{"measure":"notify","purpose":"clean-up","facts":{"harm":"scans"}}`)
	other := ask("C-2026-000002", `{"measure":"name_subscriber","purpose":"clean-up","facts":{"harm":"scans"}}`)
	refused(named("C-2026-000001", tell.ID), "no_grant")  // of another measure
	refused(named("C-2026-000001", other.ID), "no_grant") // of another subscriber
	a = ask("C-2026-000001", `{"measure":"name_subscriber","purpose":"clean-up","facts":{"harm":"scans"}}`)
	if a.Outcome != "granted" || a.Until == nil {
		t.Fatalf("%+v", a)
	}
	got := answerOf[identityBody](t, named("C-2026-000001", a.ID))
	if got.Contract != "line 203.0.113.7" || got.Person == nil || got.Person.Phone != "0120-203-0-113-7" || got.Grant != a.ID || got.Rule != "by-log" || !got.Until.Equal(*a.Until) {
		t.Errorf("%+v", got)
	}
	if n := len(w.office.acts); w.office.acts[n-2] != "abuse:abuse looks at the contract, case C-2026-000001, grant "+a.ID || !strings.HasPrefix(w.office.acts[n-1], "abuse:abuse looks at the person") {
		t.Errorf("%q", w.office.acts)
	}
	if b := answerOf[identityBody](t, named("C-2026-000002", other.ID)); b.Person != nil {
		t.Errorf("%+v", b)
	}
	// Seen with its case; revoked, it names nobody any more.
	file := answerOf[caseFileBody](t, w.ask(Operator, "GET", "/api/v1/cases/C-2026-000001", "", nil))
	if len(file.Grants) != 2 || len(file.Notices) != 4 || file.Why.EN != "why" {
		t.Errorf("%+v", file)
	}
	d := answerOf[decidedBody](t, w.ask(console.Legal, "POST", "/api/v1/lawful/grants/"+a.ID+"/revoke", `{"why":"done"}`, nil))
	if d.Decision.Outcome != "revoked" || d.Decision.Who != "abuse:abuse" {
		t.Errorf("%+v", d)
	}
	if p := problemOf(t, named("C-2026-000001", a.ID).Body.Bytes()); p.Code != "no_grant" {
		t.Error(p)
	}
}

func TestWhoAnswersByPseudonym(t *testing.T) {
	w := newWorld(t)
	ask := func(role console.Roles, body string) *httptest.ResponseRecorder {
		return w.ask(role, "POST", "/api/v1/who", body, nil)
	}
	a := answerOf[Attribution](t, ask(Operator, `{"address":"203.0.113.7","at":`+hour+`}`))
	if a.Verdict != "unique" || a.Pseudonym != subjectA || a.Contract != "" || len(a.Evidence) != 1 {
		t.Errorf("%+v", a)
	}
	if w.office.acts[0] != "operator:operator asks who had an address" {
		t.Errorf("%q", w.office.acts)
	}
	if a = answerOf[Attribution](t, ask(Operator, `{"address":"203.0.113.7","port":9,"at":`+hour+`}`)); a.Pseudonym != "" || a.Evidence == nil {
		t.Errorf("%+v", a)
	}
	for body, code := range map[string]string{
		`{"address":"example.jp","at":` + hour + `}`:                                  "address_invalid",
		`{"address":"203.0.113.7"}`:                                                   "validation_failed",
		`{"address":"203.0.113.7","at":` + hour + `,"skew_seconds":-1}`:               "validation_failed",
		`{"address":"203.0.113.7","at":` + hour + `,"grant":"G-1"}`:                   "forbidden", // an operator names nobody
		`{"address":"203.0.113.7","at":` + hour + `,"port":65536}`:                    "validation_failed",
		`{"address":"203.0.113.7","at":` + hour + `,"contract":"taro","protocol":17}`: "validation_failed",
	} {
		if p := problemOf(t, ask(Operator, body).Body.Bytes()); p.Code != code {
			t.Errorf("%s: %+v", body, p)
		}
	}
	if p := problemOf(t, ask(console.Legal, `{"address":"203.0.113.7","at":`+hour+`,"grant":"G-1"}`).Body.Bytes()); p.Code != "no_grant" {
		t.Error(p)
	}
}

// A second person is a person, and another one.
func TestFourEyes(t *testing.T) {
	w := newWorld(t)
	body := `{"measure":"block","purpose":"stop it","scope":{"subjects":["` + subjectA + `"]},"facts":{"finding":"C-2026-000001","harm":"scans"}}`
	tried := answerOf[answerBody](t, w.ask(console.Legal, "POST", "/api/v1/lawful/ask", strings.Replace(body, "{", `{"try":true,`, 1), nil))
	if tried.Outcome != "waiting" || tried.ID != "" || len(w.office.acts) > 0 || len(w.office.gate.Waiting()) > 0 {
		t.Errorf("%+v %q", tried, w.office.acts)
	}
	machine, _, err := w.tokens.Issue(t.Context(), console.Token{Kind: console.APIToken, Roles: Admin, User: "script"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if p := problemOf(t, w.ask(Public, "POST", "/api/v1/lawful/ask", body, header{"Authorization": "Bearer " + machine}).Body.Bytes()); p.Code != "no_account" {
		t.Errorf("a machine is the first of two people: %+v", p)
	}
	a := answerOf[answerBody](t, w.ask(console.Legal, "POST", "/api/v1/lawful/ask", body, nil))
	if a.Outcome != "waiting" || a.ID == "" {
		t.Fatalf("%+v", a)
	}
	for _, act := range []string{"approve", "decline"} {
		path := "/api/v1/lawful/grants/" + a.ID + "/" + act
		if p := problemOf(t, w.ask(console.Legal, "POST", path, `{"why":"x"}`, nil).Body.Bytes()); p.Code != "own_request" {
			t.Errorf("%s by who asked: %+v", act, p)
		}
		if p := problemOf(t, w.ask(Public, "POST", path, `{"why":"x"}`, header{"Authorization": "Bearer " + machine}).Body.Bytes()); p.Code != "no_account" {
			t.Errorf("%s by a machine: %+v", act, p)
		}
	}
	list := answerOf[grantsBody](t, w.ask(console.Abuse, "GET", "/api/v1/lawful/grants", "", nil))
	if len(list.Grants) != 0 || len(list.Waiting) != 1 || list.Waiting[0].Subjects[0] != subjectA || list.Waiting[0].Title.EN != "by the log" || len(list.Waiting[0].Proofs) != 2 {
		t.Errorf("%+v", list)
	}
	d := answerOf[decidedBody](t, w.ask(Public, "POST", "/api/v1/lawful/grants/"+a.ID+"/approve", "", w.cookie(Admin))).Decision
	if d.Outcome != "granted" || d.Who != "legal:legal" || d.Second != "admin:admin" {
		t.Errorf("%+v", d)
	}
	if list = answerOf[grantsBody](t, w.ask(console.Abuse, "GET", "/api/v1/lawful/grants", "", nil)); len(list.Grants) != 1 || len(list.Waiting) != 0 {
		t.Errorf("%+v", list)
	}
	if !slices.Contains(w.office.acts, "granted block by legal:legal admin:admin") {
		t.Errorf("%q", w.office.acts)
	}
}

// What the gate can't take is an error, and no refusal.
func TestAskSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]string{
		`{"measure":"look","purpose":"x"}`:                                                                   "no measure",
		`{"measure":"block","purpose":"x","facts":{"harn":"x"}}`:                                             "Is harm meant",
		`{"measure":"block","purpose":"x","rule":"none"}`:                                                    "no rule",
		`{"measure":"block","purpose":"x","scope":{"subjects":["a"],"consenting":"b"}}`:                      "not both",
		`{"measure":"block","purpose":"x","scope":{"prefixes":["300.0.0.0/8"]}}`:                             "prefix",
		`{"measure":"block","purpose":"x","scope":{"window":{"from":"` + "now" + `","until":` + hour + `}}}`: "isn't valid",
	} {
		got := w.ask(console.Legal, "POST", "/api/v1/lawful/ask", body, nil)
		if p := problemOf(t, got.Body.Bytes()); got.Code != 422 || !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %d %+v", body, got.Code, p)
		}
	}
	if len(w.office.acts) > 0 {
		t.Errorf("%q", w.office.acts)
	}
	w.office.broken = errors.New("the disk is full")
	got := w.ask(console.Legal, "POST", "/api/v1/lawful/ask", `{"measure":"block","purpose":"x"}`, nil)
	if p := problemOf(t, got.Body.Bytes()); p.Code != "internal" || strings.Contains(got.Body.String(), "disk") {
		t.Errorf("a decision that can't be written down: %d %+v", got.Code, p)
	}
}

func TestRulesAreReadable(t *testing.T) {
	w := newWorld(t)
	b := answerOf[rulesBody](t, w.ask(console.Legal, "GET", "/api/v1/lawful/rules", "", nil))
	if len(b.Rules) != 2 || len(b.Facts) != 2 || len(b.Measures) != len(lawful.Measures()) {
		t.Fatalf("%+v", b)
	}
	r := b.Rules[0]
	if !r.Verified || !r.InForce || r.Until != nil || r.Limits.Longest != 3600 || r.Grounds[0].Words.JA != "緊急避難" || r.FourEyes[0] != "block" || r.Conditions[0].For == nil || b.Rules[1].Verified {
		t.Errorf("%+v", b.Rules)
	}
	for _, m := range b.Measures {
		if m.Words.JA == "" || m.Words.EN == "" {
			t.Errorf("%s has no words", m.Measure)
		}
	}
	c := answerOf[consentsBody](t, w.ask(console.Legal, "GET", "/api/v1/lawful/consents", "", nil))
	if len(c.Terms) != 1 || c.Counts[0].Consenting != 9 {
		t.Errorf("%+v", c)
	}
}

func TestCasesComeInPages(t *testing.T) {
	w := newWorld(t)
	var seen []string
	next := ""
	for range 10 {
		b := answerOf[casesBody](t, w.ask(Operator, "GET", "/api/v1/cases?limit=3&family=mirai"+next, "", nil))
		for _, c := range b.Cases {
			seen = append(seen, c.ID)
		}
		if b.Total != 7 {
			t.Fatal(b.Total)
		}
		if b.Next == "" {
			break
		}
		if p := problemOf(t, w.ask(Operator, "GET", "/api/v1/cases?limit=3&family=other&cursor="+b.Next, "", nil).Body.Bytes()); p.Code != "cursor_other_query" {
			t.Error(p)
		}
		next = "&cursor=" + b.Next
	}
	if len(seen) != 7 || !slices.IsSorted(seen) {
		t.Error(seen)
	}
	for query, n := range map[string]int{"open=true": 6, "state=clean,new": 1, "held=true": 0, "held=false": 7, "q=C-2026-000002": 1, "q=" + subjectA[:8]: 1, "assignee=-": 7} {
		if b := answerOf[casesBody](t, w.ask(Operator, "GET", "/api/v1/cases?"+query, "", nil)); b.Total != n {
			t.Errorf("%s: %d", query, b.Total)
		}
	}
	csv := w.ask(Operator, "GET", "/api/v1/cases?format=csv&limit=1", "", nil).Body.String()
	if lines := strings.Split(strings.TrimSpace(csv), "\r\n"); len(lines) != 2 || !strings.HasPrefix(lines[1], "C-2026-000001,"+subjectA+",attributed,mirai,'=camera,") {
		t.Error(csv)
	}
	one := answerOf[signsBody](t, w.ask(Operator, "GET", "/api/v1/signs/nobody?limit=1", "", nil))
	two := answerOf[signsBody](t, w.ask(Operator, "GET", "/api/v1/signs/nobody?limit=1&cursor="+one.Next, "", nil))
	if one.Total != 2 || one.Signs[0].ID != "infected-203-0-113-x" || two.Next != "" || len(two.Signs) != 1 {
		t.Errorf("%+v %+v", one, two)
	}
	s := answerOf[CaseSummary](t, w.ask(Operator, "GET", "/api/v1/cases/summary?to=2026-11-26T00:00:00Z", "", nil))
	if s.To.Sub(s.From) != 30*day {
		t.Errorf("%+v", s)
	}
	if p := problemOf(t, w.ask(Operator, "GET", "/api/v1/cases/summary?from=1970-01-01T00:00:00Z", "", nil).Body.Bytes()); p.Code != "range_too_long" {
		t.Error(p)
	}
}

func TestTheDeskActsUnderItsName(t *testing.T) {
	w := newWorld(t)
	for path, body := range map[string]string{
		"C-2026-000001/move": `{"to":"lawful","why":"w"}`, "C-2026-000001/assign": `{"to":"taro","why":"w"}`, "C-2026-000001/note": `{"text":"w"}`,
		"C-2026-000001/hold": `{"held":true,"why":"w"}`, "C-2026-000002/merge": `{"into":"C-2026-000001","why":"w"}`,
		"bulk": `{"cases":["C-2026-000001"],"action":"hold","why":"w"}`,
	} {
		w.office.acts = nil
		if got := w.ask(Public, "POST", "/api/v1/cases/"+path, body, w.cookie(console.Abuse)); got.Code != 200 {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
		if len(w.office.acts) != 1 || !strings.HasPrefix(w.office.acts[0], "abuse:abuse ") || path != "bulk" && !strings.Contains(w.office.acts[0], "w") {
			t.Errorf("%s: %q", path, w.office.acts)
		}
	}
	c := w.office.cases[0]
	if c.State != "lawful" || c.Assignee != "taro" || !c.Held || w.office.cases[1].Merged != c.ID {
		t.Errorf("%+v", c)
	}
	if b := answerOf[bulksBody](t, w.ask(Operator, "GET", "/api/v1/cases/bulk", "", nil)); len(b.Bulks) != 1 || b.Bulks[0].Who != "abuse:abuse" {
		t.Errorf("%+v", b)
	}
	if b := answerOf[bulkBody](t, w.ask(console.Abuse, "POST", "/api/v1/cases/bulk/B-1/stop", `{"why":"no"}`, nil)); b.Bulk.State != "stopped" {
		t.Errorf("%+v", b)
	}
	for path, body := range map[string]string{
		"C-2026-000001/move": `{"to":"clean","why":"w"}`, "C-2026-000001/note": `{"text":""}`, "C-2026-000001/hold": `{"held":true}`, "bulk": `{"cases":[],"action":"hold","why":"w"}`,
		"C-2026-000001/assign": `{"to":"taro","why":"w","who":"abuse:jiro"}`, // nobody says who they are
	} {
		if got := w.ask(console.Abuse, "POST", "/api/v1/cases/"+path, body, nil); got.Code != 422 {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
}

// The command line's owner acts as themselves; what else has no user says so.
func TestWhoActs(t *testing.T) {
	w := newWorld(t, func(d *Deps) {
		d.Local = func(t console.Token) (string, bool) { return "cli:owner", t.User == "local" }
	})
	for user, want := range map[string]string{"local": "cli:owner notes x", "hanako": "token:hanako notes x", "cli:owner": "token:cli:owner notes x"} {
		secret, _, err := w.tokens.Issue(t.Context(), console.Token{Kind: console.APIToken, Roles: Admin, User: user}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		w.office.acts = nil
		w.ask(Public, "POST", "/api/v1/cases/C-2026-000001/note", `{"text":"x"}`, header{"Authorization": "Bearer " + secret})
		if !slices.Equal(w.office.acts, []string{want}) {
			t.Errorf("%s: %q", user, w.office.acts)
		}
	}
}

func TestLedgerIsReadAndLeaves(t *testing.T) {
	w := newWorld(t)
	one := answerOf[ledgerBody](t, w.ask(Operator, "GET", "/api/v1/ledger?limit=3", "", nil))
	if len(one.Entries) != 3 || one.Entries[0].Seq != 5 || one.Entries[0].Words.JA != "案件の変更" || one.Entries[0].Personal != "kept" || len(one.Entries[0].Hash) != 64 {
		t.Errorf("%+v", one)
	}
	if what := string(one.Entries[0].What); !strings.Contains(what, "203.0.113.x") || !strings.Contains(what, `"case":"C-2026-000001"`) {
		t.Error(what)
	}
	two := answerOf[ledgerBody](t, w.ask(Operator, "GET", "/api/v1/ledger?limit=3&cursor="+one.Next, "", nil))
	if len(two.Entries) != 2 || two.Next != "" || two.Entries[1].Seq != 1 {
		t.Errorf("%+v", two)
	}
	if b := answerOf[ledgerBody](t, w.ask(Operator, "GET", "/api/v1/ledger?kind=look-up,refusal", "", nil)); len(b.Entries) != 2 {
		t.Errorf("%+v", b)
	}
	for _, path := range []string{"/api/v1/ledger?kind=gossip", "/api/v1/ledger?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "/api/v1/ledger/export?format=pdf"} {
		if got := w.ask(console.Legal, "GET", path, "", nil); got.Code != 422 {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	s := answerOf[ledgerSumBody](t, w.ask(console.Legal, "GET", "/api/v1/ledger/summary", "", nil))
	if s.Last == nil || s.Last.Seq != 5 || s.Refusals[0].Count != 1 || s.Kinds[0].Kind != "grant" || s.Kinds[0].Count != 1 || s.Heads == nil {
		t.Errorf("%+v", s)
	}
	if v := answerOf[Verified](t, w.ask(console.Legal, "POST", "/api/v1/ledger/verify", "{}", nil)); v.Entries != 5 || v.Faults == nil {
		t.Errorf("%+v", v)
	}
	// The file is as the hashes are made of it, and that it left comes first.
	got := w.ask(console.Legal, "GET", "/api/v1/ledger/export?kind=change&format=csv", "", nil)
	if got.Code != 200 || !strings.Contains(got.Body.String(), "203.0.113.7") || !strings.HasPrefix(got.Header().Get("Content-Type"), "text/csv") || !strings.Contains(got.Header().Get("Content-Disposition"), "sakimori-ledger.csv") {
		t.Errorf("%d %v %s", got.Code, got.Header(), got.Body)
	}
	if last := w.office.acts[len(w.office.acts)-1]; last != "legal:legal exports csv [change]" {
		t.Error(last)
	}
	w.office.broken = errors.New("the disk is full")
	if got := w.ask(console.Legal, "GET", "/api/v1/ledger/export", "", nil); got.Code != 500 || problemOf(t, got.Body.Bytes()).Code != "internal" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestFilesAreTakenIn(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("a line of a report\n", 2*jsonBytes/10)
	st := answerOf[ReportStats](t, w.ask(console.Abuse, "POST", "/api/v1/reports?source=shadowserver&format=xarf&name=..%2F..%2Fetc%2Fx.csv", big, header{"Content-Type": "text/plain"}))
	if w.office.body != big || st.Rows != uint64(strings.Count(big, "\n")) || st.Errors[0].Reason.EN != "x.csv" || w.office.acts[0] != "abuse:abuse takes in reports" {
		t.Errorf("%d bytes, %+v", len(w.office.body), st)
	}
	records := func(secret string) *httptest.ResponseRecorder {
		return w.ask(console.Abuse, "POST", "/api/v1/subscriber/records?name=detail", "a\nb\n", header{"Content-Type": "application/octet-stream", "X-Radius-Secret": secret})
	}
	if st := answerOf[RecordStats](t, records("s3cret")); st.Records != 2 || st.Reasons["abuse:abuse auto user-name"] != 1 || st.Examples == nil {
		t.Errorf("%+v", st)
	}
	if got := records("wrong"); got.Code != 422 || problemOf(t, got.Body.Bytes()).Detail != "the secret is wrong" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	for _, q := range []string{"source=x&format=pdf", "format=xarf", "source=x"} {
		if got := w.ask(console.Abuse, "POST", "/api/v1/reports?"+q, "x", header{"Content-Type": "text/plain"}); got.Code != 422 {
			t.Errorf("%s: %d", q, got.Code)
		}
	}
	small := newWorld(t, func(d *Deps) { d.ImportBytes = 10 })
	if got := small.ask(console.Abuse, "POST", "/api/v1/reports?source=x&format=xarf", big, header{"Content-Type": "text/plain"}); got.Code != 413 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}
