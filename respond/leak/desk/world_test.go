package desk

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond"
	"sakimori/respond/leak"
)

var noon = time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)

// world is what a desk stands in: time, a ledger, an incident, a gate with the rule of
// the guideline, a router, and vantage points.
type world struct {
	mu       sync.Mutex
	now      time.Time
	deeds    []Deed
	incident detect.Incident
	gate     *lawful.Gate
	ended    func(context.Context, lawful.Decision) error
	router   *router
	rules    lawful.Guideline
	sees     int // of 10 vantage points
	roa      leak.ROV
}

func (w *world) Now() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

// pass lets time pass, and the data with it.
func (w *world) pass(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

func (w *world) change(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

type ledger struct{ w *world }

func (l ledger) Record(_ context.Context, d Deed) error {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.deeds = append(l.w.deeds, d)
	return nil
}

type decisions struct{}

func (decisions) Record(context.Context, lawful.Decision) error { return nil }

func (w *world) Incident(_ context.Context, id string) (detect.Incident, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.incident.ID == id {
		return w.incident, nil
	}
	return detect.Incident{}, errors.New("no such incident")
}

func (w *world) Open(_ context.Context, id string) (lawful.Finding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return lawful.Finding{Detector: "leak", Subject: "701-15169", Open: id == "incident-I-1" && w.incident.State != detect.Closed}, nil
}

func (w *world) Withdraw(ctx context.Context, end lawful.Decision) error {
	if w.ended == nil {
		return nil
	}
	return w.ended(ctx, end)
}

func (w *world) ROV(netip.Prefix, uint32) leak.ROV { return w.roa }

func (w *world) Seen(context.Context, netip.Prefix) (peers, whole int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sees, 10, nil
}

// router holds what it is told, and counts.
type router struct {
	mu    sync.Mutex
	has   map[string][]netip.Prefix
	calls int
}

func newRouter() *router { return &router{has: map[string][]netip.Prefix{}} }

func (r *router) Announce(_ context.Context, id string, prefixes []netip.Prefix, _ time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.has[id] = prefixes
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
	for id, prefixes := range r.has {
		list = append(list, respond.Held{ID: id, Peer: "edge1", Rules: len(prefixes), At: noon})
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

// rule is the guideline's, as if its source had been verified.
func rule() lawful.Guideline {
	x := lawful.Text{JA: "試験", EN: "a test"}
	c := func(name, check, fact, param string) lawful.Condition {
		return lawful.Condition{Name: name, Check: check, Fact: fact, Param: param, Missing: x, Satisfy: x}
	}
	return lawful.Guideline{
		Facts: []lawful.Fact{
			{Name: "finding", Kind: lawful.Word, Text: x},
			{Name: "own_space", Kind: lawful.List, Text: x},
			{Name: "harm", Kind: lawful.Word, Text: x},
			{Name: "harm_at", Kind: lawful.Time, Text: x},
			{Name: "alternatives", Kind: lawful.List, Text: x},
		},
		Rules: []lawful.Rule{{
			ID: Rule, Title: x, Widest: x, Grounds: []lawful.Ground{lawful.LegitimateAct}, Edition: "1", Source: "a test", Verified: lawful.Verified{By: "legal:test", On: noon},
			From: noon.Add(-time.Hour), Measures: []lawful.Measure{lawful.Announce}, FourEyes: []lawful.Measure{lawful.Announce},
			Limits: lawful.Limits{Longest: 24 * time.Hour, Prefixes: 16, Bits4: 9, Bits6: 20},
			Conditions: []lawful.Condition{
				c("incident_open", "finding", "finding", "leak"), c("own_space_only", "within", "own_space", ""), c("harm_shown", "stated", "harm", ""),
				c("harm_now", "recent", "harm_at", "1h"), c("least_extent", "stated", "alternatives", ""),
			},
		}},
	}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// leaking is an incident on own space.
func leaking() detect.Incident {
	return detect.Incident{
		ID: "I-1", State: detect.Opened, Kind: detect.Leak, Opened: noon.Add(-5 * time.Minute), Last: noon.Add(-time.Minute), Leaker: 15169, To: 701, Now: 100, Peak: 120, Seen: 8, Whole: 10,
		Own:    []detect.OwnSpace{{Prefix: netip.MustParsePrefix("203.0.0.0/16"), Prefixes: 2, Addresses: 1024}},
		Sample: []detect.HitPrefix{{Prefix: netip.MustParsePrefix("203.0.4.0/23")}, {Prefix: netip.MustParsePrefix("203.0.9.0/24")}, {Prefix: netip.MustParsePrefix("198.18.0.0/20")}},
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: noon, router: newRouter(), rules: rule(), roa: leak.ROVValid, incident: leaking()}
	gate, err := lawful.New(lawful.Deps{Guideline: w.rules, Recorder: decisions{}, Findings: w, Withdraw: w, Clock: w})
	if err != nil {
		t.Fatal(err)
	}
	w.gate = gate
	return w
}

func (w *world) desk(t testing.TB, db *relation.DB, p Policy) *Desk {
	t.Helper()
	d, err := Open(t.Context(), Deps{
		DB: db, Clock: w, House: &leak.House{AS: 64500, Own: []leak.Own{{Prefix: netip.MustParsePrefix("203.0.0.0/16"), Origins: []uint32{64500}}}},
		ROAs: w, Incidents: w, DataTime: w.Now, Gate: w.gate, Guideline: w.rules, Recorder: ledger{w}, Announcers: []Announcer{w.router}, Sight: w, Policy: p,
	})
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

func (w *world) propose(t testing.TB, d *Desk) Announcement {
	t.Helper()
	a, err := d.Propose(t.Context(), &w.incident, prefixes("203.0.5.0/24", "203.0.4.0/24"), "network:taro", "traffic must come back")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// approved is proposed, and approved by two others.
func (w *world) approved(t testing.TB, d *Desk) Announcement {
	t.Helper()
	a := w.propose(t, d)
	for _, who := range []string{"network:hanako", "admin:jiro"} {
		var err error
		if a, err = d.Approve(t.Context(), a.ID, who, "looked at"); err != nil {
			t.Fatal(err)
		}
	}
	if a.State != respond.Approved {
		t.Fatal(a.State, a.Reason)
	}
	return a
}

func (w *world) announced(t testing.TB, d *Desk) Announcement {
	t.Helper()
	a := w.approved(t, d)
	if tally := w.tick(t, d); tally.Announced != 1 {
		t.Fatal(tally)
	}
	return at(t, d, a.ID, respond.Announced)
}

func (w *world) tick(t testing.TB, d *Desk) respond.Tally {
	t.Helper()
	tally, err := d.Tick(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tally
}

func at(t testing.TB, d *Desk, id string, want respond.State) Announcement {
	t.Helper()
	a, err := d.Get(t.Context(), id)
	if err != nil || a.State != want {
		t.Fatalf("it is %s, not %s: %v, %v", a.State, want, a.Reason, err)
	}
	return a
}

func (w *world) close() {
	w.change(func() { w.incident.State, w.incident.Restored, w.incident.Closed = detect.Closed, true, w.now })
}

func states(w *world) (list []respond.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.deeds {
		list = append(list, x.To)
	}
	return slices.Compact(list)
}
