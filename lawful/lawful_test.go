package lawful_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/lawful"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// world is everything that a gate asks, in memory, and can be told to fail.
type world struct {
	mu        sync.Mutex
	now       time.Time
	decisions []lawful.Decision
	record    error
	findings  map[string]lawful.Finding
	finding   error
	consents  map[string]bool // "subject purpose"
	consent   error
	terms     lawful.Terms
	rows      map[string]lawful.Kept
	keep      error
	withdrawn []lawful.Decision
	withdraw  error
}

func newWorld() *world {
	return &world{
		now: noon, findings: map[string]lawful.Finding{"F-1": {Detector: "ddos", Subject: "203.0.113.7", Open: true}},
		consents: map[string]bool{"S-1 block": true, "S-2 block": true}, rows: map[string]lawful.Kept{},
	}
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) Record(_ context.Context, d lawful.Decision) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.record == nil {
		w.decisions = append(w.decisions, d)
	}
	return w.record
}

func (w *world) Open(_ context.Context, id string) (lawful.Finding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.findings[id], w.finding
}

func (w *world) Valid(_ context.Context, subject, purpose string, _ time.Time) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.consents[subject+" "+purpose], w.consent
}

func (w *world) Terms(context.Context, string, time.Time) (lawful.Terms, error) {
	return w.terms, w.consent
}

func (w *world) Withdraw(_ context.Context, end lawful.Decision) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.withdraw == nil {
		w.withdrawn = append(w.withdrawn, end)
	}
	return w.withdraw
}

func (w *world) Keep(_ context.Context, k lawful.Kept) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keep == nil {
		w.rows[k.ID] = k
	}
	return w.keep
}

func (w *world) End(_ context.Context, from lawful.State, k lawful.Kept) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keep != nil {
		return w.keep
	}
	if w.rows[k.ID].State != from {
		return lawful.ErrUnknown
	}
	w.rows[k.ID] = k
	return nil
}

func (w *world) Find(_ context.Context, id string) (lawful.Kept, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.rows[id]
	if !ok {
		return k, lawful.ErrUnknown
	}
	return k, w.keep
}

func (w *world) InForce(context.Context) (list []lawful.Kept, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.rows {
		if k.State != lawful.Settled {
			list = append(list, k)
		}
	}
	return list, w.keep
}

func (w *world) outcomes() (list []lawful.Outcome) {
	for _, d := range w.decisions {
		list = append(list, d.Outcome)
	}
	return list
}

// laws are a few rules that are easy to follow.
func laws() lawful.Guideline {
	words := func(s string) lawful.Text { return lawful.Text{JA: s + "が必要", EN: s + " is missing"} }
	cond := func(name, check, fact, param string) lawful.Condition {
		return lawful.Condition{Name: name, Check: check, Fact: fact, Param: param, Missing: words(name), Satisfy: lawful.Text{JA: "示す", EN: "show it"}}
	}
	rule := func(id string, m lawful.Measure, l lawful.Limits, c ...lawful.Condition) lawful.Rule {
		return lawful.Rule{
			ID: id, Title: words(id), Grounds: []lawful.Ground{lawful.LegitimateAct}, Edition: "1", Source: "a test", Widest: words(id),
			Verified: lawful.Verified{By: "legal:test", On: noon}, From: noon.AddDate(-1, 0, 0), Measures: []lawful.Measure{m}, Limits: l, Conditions: c,
		}
	}
	addresses := lawful.Limits{Longest: time.Hour, Prefixes: 2, Bits4: 24, Bits6: 48, Features: 5, To: 2, Ports: 3, Window: 2 * time.Hour}
	g := lawful.Guideline{
		Facts: []lawful.Fact{
			{Name: "finding", Kind: lawful.Word, Text: words("finding")},
			{Name: "why", Kind: lawful.Word, Text: words("why")},
			{Name: "consent", Kind: lawful.Bool, Text: words("consent")},
			{Name: "share", Kind: lawful.Number, Text: words("share")},
			{Name: "at", Kind: lawful.Time, Text: words("at")},
			{Name: "kept", Kind: lawful.Duration, Text: words("kept")},
			{Name: "means", Kind: lawful.List, Text: words("means")},
			{Name: "receiver", Kind: lawful.Declared, Text: words("receiver")},
		},
		Rules: []lawful.Rule{
			rule("attack", lawful.Filter, addresses, cond("attack", "finding_in_scope", "finding", "ddos infected"), cond("why", "stated", "why", "")),
			rule("consent", lawful.Block, lawful.Limits{Longest: time.Hour, Subjects: 3, Consenting: true}, cond("consent", "consent", "consent", "block"), cond("opt_out", "terms", "consent", "block opt_out")),
			rule("eyes", lawful.ReadLogs, addresses, cond("attack", "finding", "finding", "ddos"), cond("window", "window", "", "")),
			rule("joint", lawful.PassAttacker, addresses, cond("declared", "declared", "receiver", ""), cond("to", "receiver", "", "")),
			rule("plain", lawful.Notify, lawful.Limits{Longest: time.Hour, Subjects: 3, Prefixes: 1, Bits4: 24, Bits6: 48}, cond("why", "stated", "why", "")),
		},
	}
	g.Rules[2].FourEyes = []lawful.Measure{lawful.ReadLogs}
	return g
}

var key = []byte("a key of thirty-two bytes, or so.")

func gate(t testing.TB, w *world) *lawful.Gate {
	t.Helper()
	return gateOf(t, w, laws())
}

func gateOf(t testing.TB, w *world, g lawful.Guideline) *lawful.Gate {
	t.Helper()
	w.terms.OptOut = true
	gate, err := lawful.New(lawful.Deps{Guideline: g, Recorder: w, Findings: w, Consents: w, Withdraw: w, Keeper: w, Key: key, Clock: w})
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	return gate
}

var net7 = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}

// filter is a request that the rule "attack" grants.
func filter() lawful.Request {
	return lawful.Request{
		Measure: lawful.Filter, Purpose: "keep the resolver alive", Who: "network:hanako", Scope: lawful.Scope{Prefixes: slices.Clone(net7)},
		Facts: lawful.Facts{"finding": "F-1", "why": "load 97 %"},
	}
}

func notify() lawful.Request {
	return lawful.Request{Measure: lawful.Notify, Purpose: "clean-up", Who: "abuse:taro", Scope: lawful.Scope{Subjects: []string{"S-1"}, Prefixes: net7}, Facts: lawful.Facts{"why": "infected"}}
}

func granted(t testing.TB, g *lawful.Gate, r lawful.Request) lawful.Grant {
	t.Helper()
	grant, err := g.Ask(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

var in7 = lawful.At(netip.MustParseAddr("203.0.113.7"))

// TestScope: a grant covers what it names, all of it and nothing else.
func TestScope(t *testing.T) {
	in, out := netip.MustParseAddr("::ffff:203.0.113.9"), netip.MustParseAddr("198.51.100.9")
	w := newWorld()
	g := granted(t, gate(t, w), notify())
	for target, want := range map[lawful.Target]bool{
		{}: false, lawful.At(in): true, lawful.At(out): false, lawful.Of("S-1"): true, lawful.Of("S-2"): false,
		{Address: in, Subject: "S-1"}: true, {Address: in, Subject: "S-2"}: false, {Address: out, Subject: "S-1"}: false,
		{Address: in, Feature: "x", Port: 9, To: "y", When: noon}: true, // a scope without such bounds
	} {
		if g.Allows(lawful.Notify, target, noon) != want {
			t.Errorf("%+v: not %v", target, want)
		}
	}
	r := filter()
	r.Scope.Features, r.Scope.To, r.Scope.Ports = []string{"udp src port 123"}, []string{"AS64500"}, []uint16{53, 123}
	r.Scope.Window = lawful.Window{From: noon, Until: noon.Add(time.Hour)}
	bounded := granted(t, gate(t, w), r)
	right := lawful.Target{Address: in, Feature: "udp src port 123", To: "AS64500", Port: 123, When: noon}
	for name, change := range map[string]func(t *lawful.Target){
		"":                func(*lawful.Target) {},
		"another feature": func(t *lawful.Target) { t.Feature = "udp" },
		"no feature":      func(t *lawful.Target) { t.Feature = "" },
		"another port":    func(t *lawful.Target) { t.Port = 80 },
		"no port":         func(t *lawful.Target) { t.Port = 0 },
		"too early":       func(t *lawful.Target) { t.When = noon.Add(-1) },
		"too late":        func(t *lawful.Target) { t.When = noon.Add(time.Hour) },
		"no time":         func(t *lawful.Target) { t.When = time.Time{} },
		"another one":     func(t *lawful.Target) { t.To = "AS64501" },
		"nobody":          func(t *lawful.Target) { t.To = "" },
	} {
		target := right
		change(&target)
		if bounded.Allows(lawful.Filter, target, noon) != (name == "") {
			t.Errorf("%s: %+v", name, target)
		}
	}
}

func TestZeroGrantAllowsNothing(t *testing.T) {
	var zero lawful.Grant
	for _, m := range append(lawful.Measures(), "") {
		for _, target := range []lawful.Target{{}, in7, lawful.Of("S-1")} {
			if zero.Allows(m, target, time.Time{}) {
				t.Errorf("the zero Grant allows %q", m)
			}
		}
	}
	if zero.ID() != "" || zero.Rule() != "" || !zero.Until().IsZero() {
		t.Error("the zero Grant says something")
	}
}

func TestAsk(t *testing.T) {
	w := newWorld()
	gate := gate(t, w)
	g := granted(t, gate, filter())
	for _, c := range []struct {
		m    lawful.Measure
		at   time.Time
		want bool
	}{
		{lawful.Filter, noon, true},
		{lawful.Filter, noon.Add(time.Hour - 1), true},
		{lawful.Filter, noon.Add(time.Hour), false},
		{lawful.Block, noon, false},
	} {
		if got := g.Allows(c.m, in7, c.at); got != c.want {
			t.Errorf("Allows(%s, %s) = %v", c.m, c.at, got)
		}
	}
	d := w.decisions[0]
	if d.Outcome != lawful.Granted || d.Rule != "attack" || d.Sum == "" || d.Who != "network:hanako" || d.ID != g.ID() || !d.Until.Equal(g.Until()) {
		t.Errorf("%+v", d)
	}
	// What the house verified, and what stands on somebody's word.
	if len(d.Proofs) != 2 || !d.Proofs[0].Verified || d.Proofs[1].Verified || d.Proofs[1].By != "network:hanako" {
		t.Errorf("%+v", d.Proofs)
	}
	share := filter()
	share.Measure = lawful.Share
	if _, err := gate.Ask(t.Context(), share); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("a measure that no rule speaks of: %v", err)
	}
	if last := w.decisions[1]; last.Outcome != lawful.Refused || last.Missing[0].Condition != "rule" {
		t.Errorf("%+v", last)
	}
	w.record = errors.New("disk full")
	if g, err := gate.Ask(t.Context(), filter()); !errors.Is(err, lawful.ErrRefused) || g.Allows(lawful.Filter, in7, noon) || len(w.rows) != 1 {
		t.Errorf("granted without having been written down: %v", err)
	}
	w.record, w.keep = nil, errors.New("disk full")
	if g, err := gate.Ask(t.Context(), filter()); !errors.Is(err, lawful.ErrRefused) || g.Allows(lawful.Filter, in7, noon) {
		t.Errorf("granted without having been kept: %v", err)
	}
	if n := len(w.decisions); w.decisions[n-2].Outcome != lawful.Granted || w.decisions[n-1].Outcome != lawful.Revoked {
		t.Errorf("%v", w.outcomes())
	}
}

// TestVerified: what the house can look at it looks at, whatever is stated.
func TestVerified(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, r *lawful.Request)
		lack   string
	}{
		"it holds":        {func(*world, *lawful.Request) {}, ""},
		"no such finding": {func(_ *world, r *lawful.Request) { r.Facts["finding"] = "F-2" }, "attack"},
		"no finding":      {func(_ *world, r *lawful.Request) { delete(r.Facts, "finding") }, "attack"},
		"a closed one": {func(w *world, _ *lawful.Request) {
			w.findings["F-1"] = lawful.Finding{Detector: "ddos", Subject: "203.0.113.7"}
		}, "attack"},
		"of another kind": {func(w *world, _ *lawful.Request) {
			w.findings["F-1"] = lawful.Finding{Detector: "surge", Subject: "203.0.113.7", Open: true}
		}, "attack"},
		"about another": {func(w *world, _ *lawful.Request) {
			w.findings["F-1"] = lawful.Finding{Detector: "ddos", Subject: "198.51.100.7", Open: true}
		}, "attack"},
		"about a port": {func(w *world, _ *lawful.Request) {
			w.findings["F-1"] = lawful.Finding{Detector: "ddos", Subject: "23/tcp", Open: true}
		}, "attack"},
		"nobody answers":     {func(w *world, _ *lawful.Request) { w.finding = errors.New("store is closed") }, "attack"},
		"nothing is stated":  {func(_ *world, r *lawful.Request) { r.Facts["why"] = "  " }, "why"},
		"an end in the past": {func(_ *world, r *lawful.Request) { r.Until = noon }, "time_left"},
	} {
		w := newWorld()
		r := filter()
		c.change(w, &r)
		_, err := gate(t, w).Ask(t.Context(), r)
		refusal, _ := errors.AsType[*lawful.Refusal](err)
		switch {
		case c.lack == "" && err != nil, c.lack != "" && refusal == nil:
			t.Errorf("%s: %v", name, err)
		case c.lack != "" && (len(refusal.Missing) != 1 || refusal.Missing[0].Condition != c.lack):
			t.Errorf("%s: %+v", name, refusal.Missing)
		}
	}
}

// TestCopied: what the asker, or whoever made the gate, changes afterwards changes
// nothing.
func TestCopied(t *testing.T) {
	w := newWorld()
	g := laws()
	gate := gateOf(t, w, g)
	g.Rules[0].Conditions[1].Check, g.Rules[0].Limits.Longest, g.Facts[0].Kind = "features", 1000*time.Hour, lawful.Bool
	r := filter()
	grant := granted(t, gate, r)
	everything := netip.MustParsePrefix("0.0.0.0/0")
	r.Scope.Prefixes[0] = everything
	gate.InForce()[0].Scope.Prefixes[0] = everything
	w.decisions[0].Scope.Prefixes[0] = everything
	if far := lawful.At(netip.MustParseAddr("198.51.100.1")); grant.Allows(lawful.Filter, far, noon) || grant.Until() != noon.Add(time.Hour) {
		t.Error("a grant was widened from outside")
	}
}
