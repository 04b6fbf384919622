package mitigate

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond"
)

// world is what a desk stands in: time, a ledger, attacks, a gate with the conditions of
// the guideline's case ②, and a router.
type world struct {
	mu      sync.Mutex
	now     time.Time
	deeds   []Deed
	attacks map[string]*detect.Attack
	gate    *lawful.Gate
	ended   func(context.Context, lawful.Decision) error
	router  *router
	rules   lawful.Guideline
}

func (w *world) Now() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) pass(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

type ledger struct{ w *world }

func (l ledger) Record(_ context.Context, d Deed) error {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.deeds = append(l.w.deeds, d)
	return nil
}

type decisions struct{}

func (decisions) Record(context.Context, lawful.Decision) error { return nil }

func (w *world) Attack(_ context.Context, id string) (detect.Attack, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.attacks[id]; a != nil {
		return *a, nil
	}
	return detect.Attack{}, errors.New("no such attack")
}

func (w *world) Open(_ context.Context, id string) (lawful.Finding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.attacks[id]
	if a == nil {
		return lawful.Finding{}, nil
	}
	return lawful.Finding{Detector: "ddos", Subject: a.Object.Prefix.Addr().String(), Open: a.State != detect.Closed}, nil
}

func (w *world) Withdraw(ctx context.Context, end lawful.Decision) error {
	if w.ended == nil {
		return nil
	}
	return w.ended(ctx, end)
}

// router holds what it is told, and counts.
type router struct {
	mu    sync.Mutex
	has   map[string][]Rule
	calls int
}

func newRouter() *router { return &router{has: map[string][]Rule{}} }

func (r *router) Announce(_ context.Context, id string, rules []Rule, _ time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.has[id] = rules
	return nil
}

func (r *router) Withdraw(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.has, id)
	return nil
}

func (r *router) Held(context.Context) (list []respond.Held, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, rules := range r.has {
		list = append(list, respond.Held{ID: id, Peer: "edge1", Rules: len(rules), At: noon})
	}
	return list, nil
}

func (r *router) ids() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.has {
		list = append(list, id)
	}
	return list
}

// caseTwo are the conditions of the guideline's rule for an attack under way, and of one
// by consent.
func caseTwo() lawful.Guideline {
	x := lawful.Text{JA: "試験", EN: "a test"}
	c := func(name, check, fact, param string) lawful.Condition {
		return lawful.Condition{Name: name, Check: check, Fact: fact, Param: param, Missing: x, Satisfy: x}
	}
	rule := func(id string, eyes []lawful.Measure, l lawful.Limits, conditions ...lawful.Condition) lawful.Rule {
		return lawful.Rule{
			ID: id, Title: x, Widest: x, Grounds: []lawful.Ground{lawful.SelfDefence}, Edition: "1", Source: "a test", Verified: lawful.Verified{By: "legal:test", On: noon},
			From: noon.Add(-time.Hour), Measures: []lawful.Measure{lawful.Filter, lawful.Block}, FourEyes: eyes, Limits: l, Conditions: conditions,
		}
	}
	return lawful.Guideline{
		Facts: []lawful.Fact{
			{Name: "finding", Kind: lawful.Word, Text: x},
			{Name: "harm", Kind: lawful.Word, Text: x},
			{Name: "harm_at", Kind: lawful.Time, Text: x},
			{Name: "forecast", Kind: lawful.Word, Text: x},
			{Name: "forecast_at", Kind: lawful.Time, Text: x},
			{Name: "alternatives", Kind: lawful.List, Text: x},
			{Name: "collateral", Kind: lawful.Number, Text: x},
			{Name: "consent", Kind: lawful.Bool, Text: x},
			{Name: "terms_limited", Kind: lawful.Bool, Text: x},
			{Name: "terms_opt_out", Kind: lawful.Bool, Text: x},
		},
		Rules: []lawful.Rule{
			rule(UnderAttack, []lawful.Measure{lawful.Block}, lawful.Limits{Longest: 24 * time.Hour, Prefixes: 16, Bits4: 24, Bits6: 48, Features: 20},
				c("attack_present", "finding_in_scope", "finding", "ddos"), c("harm_shown", "stated", "harm", ""), c("harm_now", "recent", "harm_at", "1h"),
				c("features_known", "features", "", ""), c("least_means", "stated", "alternatives", ""), c("collateral_small", "at_most", "collateral", "0.05")),
			rule(Foreseen, nil, lawful.Limits{Longest: 4 * time.Hour, Prefixes: 4, Bits4: 29, Bits6: 56, Features: 5},
				c("disturbance_foreseen", "stated", "forecast", ""), c("forecast_fresh", "recent", "forecast_at", "1h"), c("features_known", "features", "", ""),
				c("least_scope", "stated", "alternatives", ""), c("fitting_degree", "at_most", "collateral", "0.01")),
			rule(ByConsent, nil, lawful.Limits{Longest: 720 * time.Hour, Prefixes: 100, Bits4: 32, Bits6: 48, Subjects: 100, Features: 20},
				c("consent", "consent", "consent", "analysis"), c("features_known", "features", "", "")),
		},
	}
}

type agreed struct{}

func (agreed) Valid(_ context.Context, subject, _ string, _ time.Time) (bool, error) {
	return subject == "S-1", nil
}

func (agreed) Terms(context.Context, string, time.Time) (lawful.Terms, error) {
	return lawful.Terms{}, nil
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: noon.Add(10 * time.Second), attacks: map[string]*detect.Attack{}, router: newRouter(), rules: caseTwo()}
	gate, err := lawful.New(lawful.Deps{Guideline: w.rules, Recorder: decisions{}, Findings: w, Consents: agreed{}, Withdraw: w, Clock: w})
	if err != nil {
		t.Fatal(err)
	}
	w.gate = gate
	w.attacks["A-1"] = attackOn(draw(1, mix{600: udp(53, -1, 1300, 1500), 300: later(500, 1500)}), web(52, 60))
	return w
}

func (w *world) desk(t testing.TB, db *relation.DB, p Policy) *Desk {
	t.Helper()
	d, err := Open(t.Context(), Deps{DB: db, Clock: w, Attacks: w, Gate: w.gate, Guideline: w.rules, Recorder: ledger{w}, Announcers: []Announcer{w.router}, Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	w.ended = func(ctx context.Context, end lawful.Decision) error {
		return d.Ended(ctx, end.ID, detect.Text(end.Why))
	}
	return d
}

// forReal is a policy that announces, with every number at its default.
var forReal = Policy{Policy: respond.Policy{Live: true}}

func sqlite(t testing.TB) *relation.DB {
	t.Helper()
	return relationtest.Open(t, relationtest.Place(t, "sqlite"))
}

// announced proposes, approves and announces.
func announced(t *testing.T, w *world, d *Desk) Mitigation {
	t.Helper()
	m, err := d.Propose(t.Context(), w.attacks["A-1"], Order{}, "network:taro", "stop it")
	if err != nil {
		t.Fatal(err)
	}
	if m, err = d.Approve(t.Context(), m.ID, "network:hanako", "looked at"); err != nil || m.State != respond.Approved {
		t.Fatal(m.State, err)
	}
	if tally, err := d.Tick(t.Context()); err != nil || tally.Announced != 1 {
		t.Fatal(tally, err)
	}
	return at(t, d, m.ID, respond.Announced)
}

func at(t *testing.T, d *Desk, id string, want respond.State) Mitigation {
	t.Helper()
	m, err := d.Get(t.Context(), id)
	if err != nil || m.State != want {
		t.Fatalf("it is %s, not %s: %v, %v", m.State, want, m.Reason, err)
	}
	return m
}

func (w *world) tick(t *testing.T, d *Desk) respond.Tally {
	t.Helper()
	tally, err := d.Tick(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tally
}

// course is what flows show of the attack, second by second.
func course(from time.Time, usual float64, packets ...float64) (list []detect.CoursePoint) {
	for i, p := range packets {
		list = append(list, detect.CoursePoint{At: from.Unix() + int64(i), Packets: p, Bits: 8 * 500 * p, Error: p / 50, Usual: usual, Limit: 20000})
	}
	return list
}

func flat(n int, p float64) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = p
	}
	return list
}
