package respond

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
)

var noon = time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)

// beacon is the act of these tests: prefixes against a fire.
type beacon struct {
	Act

	Fire     string         `json:"fire"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

// world is what a desk of beacons stands in, and its mission: time, a ledger, a fire, a
// gate that wants two people, and a router.
type world struct {
	mu     sync.Mutex
	now    time.Time
	deeds  []Deed
	broken error         // what the ledger answers
	slow   time.Duration // that it takes for the entry before announcing
	out    bool          // the fire is
	unseen bool          // nobody tells of it any more
	wrong  error         // with it can't be announced; with words it never can
	words  detect.Text
	proof  detect.Text
	asks   lawful.Measure
	gate   *lawful.Gate
	ended  func(context.Context, lawful.Decision) error
	router *router
	rules  lawful.Guideline
}

func (w *world) Now() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) pass(d time.Duration) { w.change(func() { w.now = w.now.Add(d) }) }

func (w *world) change(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

func (*world) Life(b *beacon) *Act { return &b.Act }

func (*world) Rules(b *beacon) []netip.Prefix { return b.Prefixes }

func (w *world) Allowed(b *beacon, g lawful.Grant, now time.Time) bool {
	return !slices.ContainsFunc(b.Prefixes, func(p netip.Prefix) bool { return !g.Allows(lawful.Announce, lawful.At(p.Addr()), now) })
}

var errOut = errors.New("the fire is out")

func (w *world) Ground(_ context.Context, b *beacon) (g Ground, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out {
		return Ground{Over: errOut, Ends: detect.Text{JA: "鎮火", EN: "it is out"}}, nil
	}
	if !w.unseen {
		g.Seen = w.now
	}
	g.Request = func(string) (lawful.Request, error) {
		return lawful.Request{
			Measure: w.asks, Purpose: "a test", Who: b.ProposedBy, Scope: lawful.Scope{Prefixes: b.Prefixes}, Facts: lawful.Facts{"why": "a test"},
		}, nil
	}
	return g, nil
}

func (w *world) Possible(context.Context, *beacon) (detect.Text, error) { return w.words, w.wrong }

func (*world) Announced(context.Context, *beacon) detect.Text {
	return detect.Text{JA: "点火", EN: "it is lit"}
}

func (w *world) Proof(context.Context, *beacon) (detect.Text, error) { return w.proof, nil }

func (w *world) Record(_ context.Context, _ *beacon, d Deed) error {
	if d.To == Announced {
		w.pass(w.slow)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.deeds = append(w.deeds, d)
	}
	return w.broken
}

func (w *world) Withdraw(ctx context.Context, end lawful.Decision) error {
	if w.ended == nil {
		return nil
	}
	return w.ended(ctx, end)
}

// router holds what it is told, and counts.
type router struct {
	mu        sync.Mutex
	has       map[string][]netip.Prefix
	until     map[string]time.Time
	announces map[string]int // that changed something
	broken    error
}

func newRouter() *router {
	return &router{has: map[string][]netip.Prefix{}, until: map[string]time.Time{}, announces: map[string]int{}}
}

func (r *router) Announce(_ context.Context, id string, prefixes []netip.Prefix, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return r.broken
	}
	if r.has[id] == nil {
		r.announces[id]++
	}
	r.has[id], r.until[id] = prefixes, until
	return nil
}

func (r *router) Withdraw(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return r.broken
	}
	delete(r.has, id)
	return nil
}

func (r *router) Held(context.Context) (list []Held, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, prefixes := range r.has {
		list = append(list, Held{ID: id, Peer: "edge1", Rules: len(prefixes), At: noon})
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

type decisions struct{}

func (decisions) Record(context.Context, lawful.Decision) error { return nil }

func newWorld(t testing.TB) *world {
	t.Helper()
	w, err := makeWorld()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func makeWorld() (w *world, err error) {
	x := lawful.Text{JA: "試験", EN: "a test"}
	w = &world{now: noon, router: newRouter(), asks: lawful.Announce, rules: lawful.Guideline{
		Facts: []lawful.Fact{{Name: "why", Kind: lawful.Word, Text: x}},
		Rules: []lawful.Rule{{
			ID: "beacon", Title: x, Widest: x, Grounds: []lawful.Ground{lawful.LegitimateAct}, Edition: "1", Source: "a test", Verified: lawful.Verified{By: "legal:test", On: noon},
			From: noon.Add(-time.Hour), Measures: []lawful.Measure{lawful.Announce}, FourEyes: []lawful.Measure{lawful.Announce},
			Limits:     lawful.Limits{Longest: 24 * time.Hour, Prefixes: 16, Bits4: 9, Bits6: 20},
			Conditions: []lawful.Condition{{Name: "why", Check: "stated", Fact: "why", Missing: x, Satisfy: x}},
		}},
	}}
	w.gate, err = lawful.New(lawful.Deps{Guideline: w.rules, Recorder: decisions{}, Withdraw: w, Clock: w})
	return w, err
}

var kind = Kind{Name: "beacon", Prefix: "B-", House: "house:beacon", Rules: detect.Text{JA: "のろし", EN: "beacons"}}

type beacons = Desk[beacon, netip.Prefix]

// desk opens one; of the policy what isn't set is a default: two people, and ten rules.
func (w *world) desk(t testing.TB, db *relation.DB, p Policy) *beacons {
	t.Helper()
	p.Fill(2, 10)
	d, err := Open(t.Context(), Deps[netip.Prefix]{
		DB: db, Clock: w, Gate: w.gate, Guideline: w.rules, Announcers: []Announcer[netip.Prefix]{w.router}, Policy: &p,
	}, kind, w)
	if err != nil {
		t.Fatal(err)
	}
	w.ended = func(ctx context.Context, end lawful.Decision) error {
		return d.Ended(ctx, end.ID, detect.Text(end.Why))
	}
	return d
}

func sqlite(t testing.TB) *relation.DB {
	t.Helper()
	return relationtest.Open(t, relationtest.Place(t, "sqlite"))
}

func propose(t testing.TB, d *beacons, prefixes ...string) beacon {
	t.Helper()
	b := beacon{Fire: "F-1"}
	for _, p := range prefixes {
		b.Prefixes = append(b.Prefixes, netip.MustParsePrefix(p))
	}
	b, err := d.File(t.Context(), &b, b.Fire, "hill", "network:taro", detect.Text{JA: "火事", EN: "fire"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// approved is proposed, and approved by two others.
func approved(t testing.TB, d *beacons, prefixes ...string) beacon {
	t.Helper()
	b := propose(t, d, prefixes...)
	for _, who := range []string{"network:hanako", "admin:jiro"} {
		var err error
		if b, err = d.Approve(t.Context(), b.ID, who, "looked at"); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func announced(t testing.TB, d *beacons) beacon {
	t.Helper()
	b := approved(t, d, "203.0.4.0/24", "203.0.5.0/24")
	if tally := tick(t, d); tally.Announced != 1 {
		t.Fatal(tally)
	}
	return at(t, d, b.ID, Announced)
}

func tick(t testing.TB, d *beacons) Tally {
	t.Helper()
	tally, err := d.Tick(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tally
}

func at(t testing.TB, d *beacons, id string, want State) beacon {
	t.Helper()
	b, err := d.Get(t.Context(), id)
	if err != nil || b.State != want {
		t.Fatalf("it is %s, not %s: %v, %v", b.State, want, b.Reason, err)
	}
	return b
}
