package api

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/account"
	"sakimori/base/clock"
	"sakimori/console"
	"sakimori/detect"
	"sakimori/lawful"
)

// memoryOffice is an office of a few cases, with a gate of two rules.
type memoryOffice struct {
	cases   []Case
	acts    []string // who did what, in the order in which it was written down
	bulks   []Bulk
	entries []LedgerLine
	body    string // that was taken in
	gate    *lawful.Gate
	broken  error
}

const (
	subjectA = "S-0123456789abcdefghjkmnpqrs"
	subjectB = "S-zzzzzzzzzzzzzzzzzzzzzzzzzz"
)

func (m *memoryOffice) note(format string, args ...any) {
	m.acts = append(m.acts, fmt.Sprintf(format, args...))
}

// Record is the gate's.
func (m *memoryOffice) Record(_ context.Context, d lawful.Decision) error {
	m.note("%s %s by %s %s", d.Outcome, d.Measure, d.Who, d.Second)
	return m.broken
}

// Open is what the gate asks of a finding: a case that is open lasts.
func (m *memoryOffice) Open(ctx context.Context, id string) (lawful.Finding, error) {
	c, err := m.Case(ctx, id)
	if err != nil {
		return lawful.Finding{}, nil //nolint:nilerr // it isn't there, and isn't open
	}
	return lawful.Finding{Detector: "infected", Subject: c.Subject, Open: c.Open}, nil
}

func officeRules() lawful.Guideline {
	words := func(ja, en string) lawful.Text { return lawful.Text{JA: ja, EN: en} }
	stated := func(name string, m ...lawful.Measure) lawful.Condition {
		return lawful.Condition{Name: name + "_shown", Check: "stated", Fact: name, For: m, Missing: words(name+"がありません", "no "+name), Satisfy: words(name+"を示す", "state the "+name)}
	}
	from := time.Date(2015, 11, 30, 0, 0, 0, 0, time.UTC)
	return lawful.Guideline{
		Facts: []lawful.Fact{
			{Name: "finding", Kind: lawful.Word, Text: words("検知", "finding")},
			{Name: "harm", Kind: lawful.Word, Text: words("支障", "harm")},
		},
		Rules: []lawful.Rule{{
			ID: "by-log", Case: "②", Title: words("題", "by the log"), Widest: words("最大", "as far as needed"), Grounds: []lawful.Ground{lawful.Necessity},
			Edition: "4", Source: "a test", Verified: lawful.Verified{By: "legal:test", On: from}, From: from,
			Measures: []lawful.Measure{lawful.NameSubscriber, lawful.Notify, lawful.Block}, FourEyes: []lawful.Measure{lawful.Block},
			Limits: lawful.Limits{Longest: time.Hour, Subjects: 10},
			Conditions: []lawful.Condition{
				{Name: "attack_present", Check: "finding", Fact: "finding", Param: "infected", Missing: words("攻撃がない", "no attack"), Satisfy: words("番号", "name a finding")},
				stated("harm"),
			},
		}, {
			ID: "to-come", Title: words("未確認", "not verified yet"), Widest: words("最大", "nothing"), Grounds: []lawful.Ground{lawful.Statute},
			Edition: "5", Source: "a test", From: from, Measures: []lawful.Measure{lawful.ShareHistory}, Limits: lawful.Limits{Longest: time.Hour, Subjects: 1},
			Conditions: []lawful.Condition{stated("harm", lawful.ShareHistory)},
		}},
	}
}

// newOffice puts an office into what a server stands on.
func newOffice(t testing.TB, c clock.Clock) (*memoryOffice, *Office) {
	t.Helper()
	m := &memoryOffice{}
	for i := range 7 {
		due := dataEnd.Add(time.Duration(i) * time.Hour)
		m.cases = append(m.cases, Case{
			ID: fmt.Sprintf("C-2026-%06d", i+1), Subject: fmt.Sprintf("S-%026d", i), State: "attributed", Family: "mirai", Device: "=camera",
			Opened: dataEnd, Changed: dataEnd, Seen: dataEnd, Due: &due, Open: true, Next: []string{"lawful", "closed"},
		})
	}
	m.cases[0].Subject, m.cases[1].Subject, m.cases[2].Open, m.cases[2].State = subjectA, subjectB, false, "clean"
	var prev account.Entry
	for i, k := range []account.Kind{account.Granted, account.Looked, account.Changed, account.Refused, account.Changed} {
		e := account.Entry{At: dataEnd.Add(time.Duration(i) * time.Minute), Kind: k, Who: "abuse:hanako", What: []byte(`{"why":"of 203.0.113.7","case":"C-2026-000001"}`)}.Chain(prev)
		m.entries = append(m.entries, LedgerLine{e, []string{"none", "kept", "erased"}[i%3]})
		prev = e
	}
	g := officeRules()
	var err error
	if m.gate, err = lawful.New(lawful.Deps{Guideline: g, Recorder: m, Findings: m, Clock: c}); err != nil {
		t.Fatal(err)
	}
	return m, &Office{Cases: m, Subscribers: m, Gate: m.gate, Guideline: g, Consents: m, Ledger: ledgerOf{m}, Intake: m}
}

func (m *memoryOffice) Page(_ context.Context, q CaseQuery) (list []Case, total int, err error) {
	all := slices.DeleteFunc(slices.Clone(m.cases), func(c Case) bool {
		return len(q.States) > 0 && !slices.Contains(q.States, c.State) || q.Family != "" && q.Family != c.Family || q.Assignee == "-" && c.Assignee != "" ||
			q.Open && !c.Open || q.Held != nil && *q.Held != c.Held || q.Text != "" && !strings.HasPrefix(c.ID, q.Text) && !strings.HasPrefix(c.Subject, q.Text)
	})
	return all[min(q.Offset, len(all)):min(q.Offset+q.Limit, len(all))], len(all), nil
}

func (m *memoryOffice) Summary(_ context.Context, from, to time.Time) (CaseSummary, error) {
	return CaseSummary{From: from, To: to, States: []StateCount{}, Open: len(m.cases), Families: []CaseGroup{}, Devices: []CaseGroup{}, Days: []CaseDay{}}, nil
}

func (m *memoryOffice) Case(_ context.Context, id string) (Case, error) {
	for _, c := range m.cases {
		if c.ID == id {
			return c, nil
		}
	}
	return Case{}, ErrNotFound
}

func (m *memoryOffice) File(ctx context.Context, id string) (CaseFile, error) {
	c, err := m.Case(ctx, id)
	return CaseFile{Case: c, History: []CaseEvent{{N: 1, At: dataEnd, Who: "sakimori", What: "new", Why: "seen by telescope"}}, Signs: m.signs(), Why: detect.Text{JA: "理由", EN: "why"}}, err
}

func (*memoryOffice) signs() []Sign {
	return []Sign{{ID: "infected-203-0-113-7", Source: "telescope", Claim: "infected", At: dataEnd, Came: dataEnd, Verdict: "unique"}}
}

func (m *memoryOffice) Nobody(_ context.Context, limit, offset int) (list []Sign, total int, err error) {
	list = append(m.signs(), m.signs()...)
	return list[min(offset, 2):min(offset+limit, 2)], 2, nil
}

func (m *memoryOffice) change(id, what string, do func(c *Case)) error {
	for i := range m.cases {
		if m.cases[i].ID == id {
			m.note("%s", what)
			do(&m.cases[i])
			return nil
		}
	}
	return ErrNotFound
}

func (m *memoryOffice) Move(_ context.Context, id, to, who, why string) error {
	if to == "clean" {
		return console.Refuse("その順では進めません。", "a case can't go there")
	}
	return m.change(id, who+" moves to "+to+": "+why, func(c *Case) { c.State = to })
}

func (m *memoryOffice) Assign(_ context.Context, id, to, who, why string) error {
	return m.change(id, who+" assigns "+to+": "+why, func(c *Case) { c.Assignee = to })
}

func (m *memoryOffice) Note(_ context.Context, id, who, text string) error {
	return m.change(id, who+" notes "+text, func(*Case) {})
}

func (m *memoryOffice) Hold(_ context.Context, id string, held bool, who, why string) error {
	return m.change(id, fmt.Sprintf("%s holds %v: %s", who, held, why), func(c *Case) { c.Held = held })
}

func (m *memoryOffice) Merge(_ context.Context, id, into, who, why string) error {
	return m.change(id, who+" merges into "+into+": "+why, func(c *Case) { c.Merged = into })
}

func (m *memoryOffice) Bulk(_ context.Context, o BulkOrder) (Bulk, error) {
	b := Bulk{ID: "B-1", Action: o.Action, To: o.To, Why: o.Why, Who: o.Who, Asked: dataEnd, At: dataEnd, State: "waiting"}
	for _, id := range o.Cases {
		b.Cases = append(b.Cases, BulkCase{ID: id})
	}
	m.bulks = append(m.bulks, b)
	m.note("%s orders %s", o.Who, o.Action)
	return b, nil
}

func (m *memoryOffice) Bulks(context.Context) ([]Bulk, error) { return m.bulks, nil }

func (m *memoryOffice) StopBulk(_ context.Context, id, who, why string) (Bulk, error) {
	for i := range m.bulks {
		if m.bulks[i].ID == id {
			m.bulks[i].State = "stopped"
			m.note("%s stops: %s", who, why)
			return m.bulks[i], nil
		}
	}
	return Bulk{}, ErrNotFound
}

func (m *memoryOffice) Who(_ context.Context, q AddressQuery, by string) (Attribution, error) {
	m.note("%s asks who had an address", by)
	a := Attribution{Verdict: "expired", Words: detect.Text{JA: "記録なし", EN: "nothing"}}
	if q.Address == ownSource && q.Port == 0 && q.Skew <= time.Minute {
		a = Attribution{Verdict: "unique", Pseudonym: subjectA, Evidence: []Claim{{Pseudonym: subjectA, Source: "bng1"}}}
	}
	return a, nil
}

func (m *memoryOffice) Contract(_ context.Context, g lawful.Grant, subject, by, why string) (string, error) {
	m.note("%s looks at the contract, %s", by, why)
	if !g.Allows(lawful.NameSubscriber, lawful.Of(subject), clock.System{}.Now()) {
		return "", lawful.ErrRefused
	}
	return "line 203.0.113.7", nil // as some operators name them
}

func (m *memoryOffice) Person(_ context.Context, _ lawful.Grant, subject, by, why string) (*Person, error) {
	m.note("%s looks at the person, %s", by, why)
	if subject != subjectA {
		return nil, nil //nolint:nilnil // nothing is kept
	}
	return &Person{Name: "見本 花子", Mail: "hanako@example.jp", Phone: "0120-203-0-113-7", Postal: Postal{Code: "100-0001", Lines: []string{"千代田"}}}, nil
}

func (*memoryOffice) Consents(context.Context) ([]Terms, []ConsentCount, error) {
	return []Terms{{Version: "2026-04", Ground: "comprehensive_consent", From: dataEnd, Purposes: []string{"cc_block"}, Notices: []TermsNotice{}}}, []ConsentCount{{"cc_block", 9, 1, 2}}, nil
}

func (m *memoryOffice) Entries(_ context.Context, q LedgerQuery) (list []LedgerLine, err error) {
	for _, e := range slices.Backward(m.entries) {
		if (len(q.Kinds) == 0 || slices.Contains(q.Kinds, e.Kind)) && (q.Before == 0 || e.Seq < q.Before) && (q.Who == "" || q.Who == e.Who) && len(list) < q.Limit {
			list = append(list, e)
		}
	}
	return list, nil
}

func (m *memoryOffice) LedgerSum() LedgerSum {
	s := LedgerSum{Kinds: map[account.Kind]uint64{}, Last: m.entries[len(m.entries)-1].Entry, Refusals: []RefusalCount{{"by-log", "block", 1}}}
	for _, e := range m.entries {
		s.Kinds[e.Kind]++
	}
	return s
}

func (m *memoryOffice) Verify(context.Context) (Verified, error) {
	return Verified{Entries: uint64(len(m.entries)), Last: 5, Until: dataEnd}, m.broken
}

func (m *memoryOffice) Export(_ context.Context, w io.Writer, format, who string, q LedgerQuery) error {
	if m.broken != nil {
		return m.broken
	}
	m.note("%s exports %s %v", who, format, q.Kinds)
	for _, e := range m.entries {
		fmt.Fprintf(w, "%d %s\n", e.Seq, e.What)
	}
	return nil
}

func (m *memoryOffice) Reports(_ context.Context, r io.Reader, o ReportFile, by string) (ReportStats, error) {
	b, err := io.ReadAll(r)
	m.body = string(b)
	m.note("%s takes in reports", by)
	return ReportStats{Format: o.Format, Rows: uint64(strings.Count(m.body, "\n")), Errors: []LineError{{2, detect.Text{JA: "x", EN: o.Name}}}}, err
}

func (m *memoryOffice) Records(_ context.Context, r io.Reader, o RecordFile, by string) (RecordStats, error) {
	b, err := io.ReadAll(r)
	m.body = string(b)
	if o.Secret != "s3cret" {
		return RecordStats{}, console.Refuse("秘密が違います。", "the secret is wrong")
	}
	return RecordStats{Records: uint64(strings.Count(m.body, "\n")), Reasons: map[string]uint64{by + " " + o.Kind + " " + o.Line: 1}}, err
}

// ledgerOf is the office as a Ledger, whose Summary isn't that of its cases.
type ledgerOf struct{ *memoryOffice }

func (l ledgerOf) Summary(context.Context, time.Time, time.Time) (LedgerSum, error) {
	return l.LedgerSum(), nil
}
