package cnc_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect/cnc"
	"sakimori/observe"
)

// TestWalk does whatever sources, two people and time may do to a list, in any order, and
// looks after each few steps whether what must hold does.
func TestWalk(t *testing.T) {
	for _, seed := range []uint64{1, 2, rand.Uint64()} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &walker{Rand: rand.New(rand.NewPCG(seed, 0)), T: t, db: relationtest.Open(t, relationtest.Place(t, "sqlite")), out: map[string]bool{}}
			w.open("www.isp.example")
			for step := range 150 {
				w.step()
				if step%6 == 0 {
					w.check()
				}
			}
			if seed <= 2 && (w.seen < 3 || len(w.out) == 0) { // of any other nobody can tell before
				t.Errorf("%d were in force, %d taken out: the walk shows nothing", w.seen, len(w.out))
			}
		})
	}
}

type walker struct {
	*rand.Rand
	*testing.T

	db      *relation.DB
	r       *rig
	cfg     cnc.Config
	guarded []string        // protected names
	out     map[string]bool // by a person
	seen    int             // the most that was in force
}

var (
	crowd  = "popular.example"
	stage  = []string{"a.bad.example", "b.bad.example", "c.bad.example", "d.bad.example", "e.bad.example", "f.bad.example", "g.bad.example", "late.bad.example", "www.isp.example", crowd}
	people = []string{"abuse:hanako", "legal:jiro"}
)

// open opens the list with one more protected name.
func (w *walker) open(protected string) {
	w.guarded = append(w.guarded, protected)
	cfg := rules()
	if err := errors.Join(cfg.Never.Protect("ours", w.guarded, nil), cfg.Never.Rank(lines("1,"+crowd), "top", 0)); err != nil {
		w.Fatal(err)
	}
	r := open(w.T, w.db, cfg)
	if w.r != nil {
		r.watch = w.r.watch
		var err error
		if r.List, err = cnc.Open(w.Context(), w.db, r.watch, r.book, cfg); err != nil {
			w.Fatal(err)
		}
	}
	w.r, w.cfg = r, cfg
	if _, err := w.r.Recheck(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func pick[T any](w *walker, of []T) T { return of[w.IntN(len(of))] }

// did tells whether something was done; that it may not be done is no failure.
func (w *walker) did(err error) bool {
	w.Helper()
	for _, may := range []error{cnc.ErrOrder, cnc.ErrTwice, cnc.ErrProtected, cnc.ErrUnknown, cnc.ErrExpires} {
		if errors.Is(err, may) {
			return false
		}
	}
	if err != nil {
		w.Fatal(err)
	}
	return true
}

func (w *walker) step() {
	ctx, name, who := w.Context(), pick(w, stage), pick(w, people)
	id := cnc.ID(observe.IndicatorName, name)
	switch w.IntN(12) {
	case 0, 1, 2:
		w.read()
	case 3, 4:
		yes := w.IntN(4) > 0
		if _, err := w.r.Review(ctx, id, who, yes, "looked at"); w.did(err) && !yes {
			w.out[name] = true
		}
	case 5:
		if _, err := w.r.Withdraw(ctx, id, who, "a mistake"); w.did(err) {
			w.out[name] = true
		}
	case 6:
		if w.IntN(2) > 0 {
			break
		}
		_, err := w.r.Add(ctx, cnc.Addition{Kind: observe.IndicatorName, Value: name, Expires: w.r.Now().Add(time.Duration(w.IntN(100)) * day), Emergency: w.IntN(2) > 0, Who: who, Why: "seen"})
		if w.did(err) {
			delete(w.out, name)
		}
	case 7:
		_, err := w.r.Hits(ctx, []cnc.Hit{{Entry: id, Day: w.r.Now(), Zone: pick(w, []string{"", "c2.", cnc.Sinkholes}), Count: pick(w, []int64{1, 10, 600})}})
		w.did(err)
	case 8, 9:
		w.wait()
	case 10:
		_, err := w.r.Sinkhole(ctx, id, w.IntN(3) == 0, who, "taken over")
		w.did(err)
	case 11:
		switch w.IntN(10) {
		case 0:
			w.open("late.bad.example")
		default:
			_, err := w.r.Renew(ctx, id, w.r.Now().Add(time.Duration(w.IntN(60))*day), who, "still there")
			w.did(err)
		}
	}
}

// read reads a source, whole or a part, with ends to come and past.
func (w *walker) read() {
	var list []observe.Indicator
	for _, x := range c2(stage...) {
		if w.IntN(2) == 0 {
			continue
		}
		switch w.IntN(8) {
		case 0:
			x.Until = w.r.Now().Add(-time.Hour)
		case 1:
			x.Until = w.r.Now().Add(time.Duration(w.IntN(20)+1) * day)
		case 2:
			x.Evidence = fmt.Sprint("https://feed.example/", w.IntN(5))
		}
		list = append(list, x)
	}
	res := w.r.read(pick(w, []string{"trusted", "plain", "another"}), w.IntN(2) == 0, list...)
	if res.Held == "" {
		return
	}
	settle := w.r.Release
	if w.IntN(2) == 0 {
		settle = w.r.Refuse
	}
	_, err := settle(w.Context(), res.Held, pick(w, people), "looked at")
	w.did(err)
}

// wait lets time pass, which raises no score.
func (w *walker) wait() {
	e, _, err := w.r.Get(w.Context(), cnc.ID(observe.IndicatorName, pick(w, stage)))
	known := w.did(err)
	score := func() (s float64) {
		if known {
			if s, _, err = w.r.Explain(w.Context(), &e); err != nil {
				w.Fatal(err)
			}
		}
		return s
	}
	before := score()
	w.r.pass(time.Duration(w.IntN(60)+1) * time.Hour)
	if after := score(); after > before+1e-12 {
		w.Errorf("%s weighs %g after %g, and nothing came but time", e.Value, after, before)
	}
	w.r.tick()
	for _, e := range counted(w.T, w.r) {
		if !e.State.Over() && !e.Expires.After(w.r.Now()) {
			w.Errorf("%s is %s after its end", e.Value, e.State)
		}
	}
}

// check looks whether what must hold does.
func (w *walker) check() {
	w.Helper()
	in := w.r.force()
	n := 0
	for _, e := range counted(w.T, w.r) {
		if e.InForce() {
			n++
		}
		if in[e.Value] != e.InForce() {
			w.Fatalf("%s is in force: %t, by the changes: %t", e.Value, e.InForce(), in[e.Value])
		}
		if e.Expires.IsZero() || !e.State.Over() && e.Expires.After(w.r.Now().Add(w.cfg.Most)) {
			w.Fatalf("%s ends at %s", e.Value, e.Expires)
		}
		if w.out[e.Value] && e.State != cnc.Withdrawn && e.State != cnc.Archived {
			w.Fatalf("%s was taken out by a person, and is %s", e.Value, e.State)
		}
		if !e.State.Over() && slices.Contains(w.guarded, e.Value) {
			w.Fatalf("%s is protected, and %s", e.Value, e.State)
		}
		if e.State != cnc.Enforced {
			continue
		}
		yes := map[string]bool{}
		for _, v := range e.Reviews {
			if v.Verdict == "yes" {
				yes[v.Who] = true
			}
		}
		auto := slices.ContainsFunc(e.Sources, func(s cnc.Said) bool { return s.Source == "trusted" })
		two := e.Value == crowd || e.Emergency
		if two != (e.Two != nil || e.Emergency) || two && len(yes) < 2 || !two && len(yes) == 0 && !auto {
			w.Fatalf("%s is enforced with %d reviews, by a rule: %t, in an emergency: %t, two decide: %v", e.Value, len(yes), auto, e.Emergency, e.Two)
		}
	}
	if len(in) != n {
		w.Fatalf("%d are in force by the changes, %d by the list", len(in), n)
	}
	w.seen = max(w.seen, n)
}
