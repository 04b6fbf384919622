package casework_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/respond/casework"
)

const day = 24 * time.Hour

// wall is a clock that a test moves.
type wall struct {
	mu  sync.Mutex
	now time.Time
}

func (w *wall) Now() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *wall) pass(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

// book counts what was written down; full, it refuses.
type book struct {
	mu     sync.Mutex
	events []casework.Event
	full   bool
	left   int // writes until it is full; 0 it has room
}

func (*book) Lock(context.Context, *relation.Tx) error { return nil }

func (b *book) Record(_ context.Context, _ *relation.Tx, e casework.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full {
		return errors.New("the disk is full")
	}
	b.events = append(b.events, e)
	if b.left > 0 {
		if b.left--; b.left == 0 {
			b.full = true
		}
	}
	return nil
}

type rig struct {
	*casework.Desk
	*wall

	t    testing.TB
	book *book
}

func desk(t testing.TB, db *relation.DB) *rig {
	t.Helper()
	r := &rig{wall: &wall{now: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)}, t: t, book: &book{}}
	d, err := casework.Open(t.Context(), db, r.book, r.wall, casework.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	r.Desk = d
	return r
}

// sign is a sign of now.
func (r *rig) sign(id, subject, source string) casework.Sign {
	return casework.Sign{ID: id, Subject: subject, Source: source, Claim: "infected", Family: "mirai", At: r.Now(), Verdict: "unique"}
}

func (r *rig) take(s casework.Sign) string {
	r.t.Helper()
	id, err := r.Take(r.t.Context(), s)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) move(id string, to ...casework.State) {
	r.t.Helper()
	for _, s := range to {
		if err := r.Move(r.t.Context(), id, s, "abuse:hanako", "as agreed"); err != nil {
			r.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (r *rig) tick() []string {
	r.t.Helper()
	moved, err := r.Tick(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return moved
}

func (r *rig) is(id string, want casework.State) casework.Case {
	r.t.Helper()
	c, _, _, err := r.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	if c.State != want {
		r.t.Fatalf("%s is %s, not %s", id, c.State, want)
	}
	return c
}

// TestLife: from the first sign to clean, a relapse, and clean again, under one number.
func TestLife(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		id := r.take(r.sign("f1", "S-1", "telescope"))
		if id != "C-2026-000001" {
			t.Errorf("the first case is %s", id)
		}
		if c := r.is(id, casework.Attributed); !c.Due.Equal(r.Now().Add(2 * day)) {
			t.Errorf("due %s", c.Due)
		}
		r.move(id, casework.Lawful, casework.Notified)
		r.pass(2 * time.Hour)
		if other := r.take(r.sign("s1", "S-1", "shadowserver")); other != id { // merged over sources
			t.Errorf("a second case %s", other)
		}
		if c := r.is(id, casework.Notified); c.Notices != 1 || !c.Seen.Equal(r.Now()) {
			t.Errorf("%+v", c)
		}
		if m := r.tick(); m != nil {
			t.Errorf("moved too early: %v", m)
		}
		r.pass(25 * time.Hour)
		r.tick()
		c := r.is(id, casework.Verifying)
		if !c.Due.Equal(r.Now().Add(7 * day)) {
			t.Errorf("the quiet period ends %s", c.Due)
		}
		r.pass(7*day - time.Minute)
		r.tick()
		r.is(id, casework.Verifying)
		r.pass(time.Minute)
		r.tick()
		r.is(id, casework.Clean)

		late := r.sign("s2", "S-1", "shadowserver") // of long ago, and reported only now
		late.At = r.Now().Add(-7 * day)
		r.take(late)
		r.is(id, casework.Clean)
		r.pass(20 * day)
		r.take(r.sign("f2", "S-1", "telescope"))
		r.is(id, casework.Relapsed)
		r.move(id, casework.Lawful, casework.Notified, casework.ClaimedFixed)
		r.pass(day)
		r.tick()
		r.is(id, casework.Verifying)
		r.pass(3 * day)
		r.take(r.sign("f3", "S-1", "telescope")) // within the quiet period
		if c := r.is(id, casework.Relapsed); c.Notices != 2 {
			t.Errorf("%d notices", c.Notices)
		}
		r.move(id, casework.Lawful, casework.Notified)
		r.pass(30 * day)
		r.tick()
		r.pass(30 * day)
		r.tick()
		r.is(id, casework.Clean)
		r.pass(91 * day)
		if other := r.take(r.sign("f4", "S-1", "telescope")); other == id {
			t.Error("a case of half a year ago was opened again")
		}
		_, history, signs, err := r.Get(t.Context(), id)
		if err != nil || len(signs) != 5 || len(history) < 12 {
			t.Fatalf("%d events, %d signs, %v", len(history), len(signs), err)
		}
		for i, e := range history {
			if e.N != i+1 || e.Who == "" || e.Why == "" || e.At.IsZero() {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		if n := len(r.book.events); n < len(history) {
			t.Errorf("%d of %d events are in the ledger", n, len(history))
		}
	})
}

// TestNobody: a sign that accuses nobody makes no case; when it is known later whose it
// is, it does; the same sign counts once.
func TestNobody(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		s := r.sign("r1", "", "shadowserver")
		s.Verdict, s.Doubt = "no_port", "a shared address without a port"
		if id := r.take(s); id != "" {
			t.Errorf("a case %s", id)
		}
		mediated := r.sign("r2", "S-9", "shadowserver")
		mediated.Mediated = true
		if id := r.take(mediated); id != "" {
			t.Errorf("a resolver's client was accused: %s", id)
		}
		if list, err := r.Cases(t.Context(), casework.Query{}); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		if list, err := r.Signs(t.Context(), ""); err != nil || len(list) != 2 || list[0].Doubt == "" {
			t.Errorf("%+v, %v", list, err)
		}
		later := r.sign("r3", "", "shadowserver")
		later.At = later.At.Add(time.Minute)
		r.take(later)
		if list, total, err := r.Nobody(t.Context(), 2, 0); err != nil || total != 3 || len(list) != 2 || list[0].ID != "r3" {
			t.Errorf("%+v, %d, %v", list, total, err)
		}
		if list, _, err := r.Nobody(t.Context(), 2, 2); err != nil || len(list) != 1 || list[0].ID != "r1" {
			t.Errorf("%+v, %v", list, err)
		}
		s.Subject, s.Verdict = "S-1", "unique"
		id := r.take(s)
		if again := r.take(s); id == "" || again != id {
			t.Errorf("%q and %q", id, again)
		}
		if _, _, signs, err := r.Get(t.Context(), id); err != nil || len(signs) != 1 {
			t.Errorf("%+v, %v", signs, err)
		}
		for _, bad := range []casework.Sign{{}, {ID: "x"}, {ID: "x", Source: "y"}} {
			if _, err := r.Take(t.Context(), bad); err == nil {
				t.Errorf("%+v was taken", bad)
			}
		}
	})
}

// TestPeople: what people do to a case, and what they mustn't.
func TestPeople(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		ctx := t.Context()
		a, b := r.take(r.sign("f1", "S-1", "telescope")), r.take(r.sign("f2", "S-2", "telescope"))
		if err := r.Move(ctx, a, casework.Clean, "x", "y"); !errors.Is(err, casework.ErrOrder) {
			t.Errorf("attributed → clean: %v", err)
		}
		if err := r.Move(ctx, a, casework.Lawful, "", "y"); !errors.Is(err, casework.ErrWhy) {
			t.Errorf("nobody: %v", err)
		}
		if err := r.Move(ctx, "C-1", casework.Lawful, "x", "y"); !errors.Is(err, casework.ErrUnknown) {
			t.Errorf("no case: %v", err)
		}
		if err := errors.Join(r.Assign(ctx, a, "taro", "hanako", "holidays"), r.Note(ctx, a, "hanako", "called twice"), r.Hold(ctx, a, true, "hanako", "a lawyer asked")); err != nil {
			t.Fatal(err)
		}
		if err := r.Move(ctx, a, casework.Lawful, "x", "y"); !errors.Is(err, casework.ErrHeld) {
			t.Errorf("held: %v", err)
		}
		if err := r.Merge(ctx, b, a, "hanako", "one contract"); !errors.Is(err, casework.ErrHeld) {
			t.Errorf("into a held one: %v", err)
		}
		if err := r.Hold(ctx, a, false, "hanako", "settled"); err != nil {
			t.Fatal(err)
		}
		if err := r.Merge(ctx, b, a, "hanako", "one contract"); err != nil {
			t.Fatal(err)
		}
		if c := r.is(b, casework.Closed); c.Merged != a {
			t.Errorf("%+v", c)
		}
		if _, _, signs, err := r.Get(ctx, a); err != nil || len(signs) != 2 {
			t.Errorf("%+v, %v", signs, err)
		}
		if err := r.Merge(ctx, b, a, "hanako", "again"); !errors.Is(err, casework.ErrOrder) {
			t.Errorf("again: %v", err)
		}
		if err := r.Withdraw(ctx, "f1", "feed", "false positive"); err != nil {
			t.Fatal(err)
		}
		r.is(a, casework.Attributed)
		if err := errors.Join(r.Withdraw(ctx, "f2", "feed", "false positive"), r.Withdraw(ctx, "f2", "feed", "false positive")); err != nil {
			t.Fatal(err)
		}
		if c := r.is(a, casework.Closed); !strings.Contains(c.Reason, "withdrawn") {
			t.Errorf("%+v", c)
		}
		if err := r.Withdraw(ctx, "f9", "feed", "x"); !errors.Is(err, casework.ErrUnknown) {
			t.Errorf("no sign: %v", err)
		}
		if list, err := r.Cases(ctx, casework.Query{States: []casework.State{casework.Closed}, Subject: "S-1", Family: "mirai", Assignee: "taro", Limit: 5, After: "C"}); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
		// Nothing changes that can't be written down.
		r.book.full = true
		if _, err := r.Take(ctx, r.sign("f3", "S-3", "telescope")); err == nil {
			t.Error("a case without an entry")
		}
		r.book.full = false
		if list, err := r.Cases(ctx, casework.Query{Subject: "S-3"}); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestStates: each state has words and, unless it is an end, a way on; nothing leads
// past the law to a notice.
func TestStates(t *testing.T) {
	for _, s := range casework.States {
		if w := s.Words(); w.JA == "" || w.EN == "" {
			t.Errorf("%s has no words", s)
		}
		on := 0
		for _, to := range casework.States {
			if s.May(to) {
				on++
			}
			if to == casework.Notified && s.May(to) && (s == casework.New || s == casework.Attributed || s == casework.Relapsed || s == casework.Clean || s == casework.Closed) {
				t.Errorf("%s → %s without a ground", s, to)
			}
		}
		if on == 0 {
			t.Errorf("nothing follows %s", s)
		}
	}
}

// TestCleanOnlyWhenQuiet: whatever happens in whatever order, a case is clean only when
// no sign was seen through its quiet period, and one subscriber has one open case.
func TestCleanOnlyWhenQuiet(t *testing.T) {
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		r := desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
		last := map[string]time.Time{}
		for i := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				s := r.sign(fmt.Sprint("s", i), rapid.SampledFrom([]string{"S-1", "S-2"}).Draw(rt, "subject"), "telescope")
				s.At = s.At.Add(-time.Duration(rapid.IntRange(0, 72).Draw(rt, "late")) * time.Hour)
				id := r.take(s)
				if s.At.After(last[id]) {
					last[id] = s.At
				}
			case 1:
				r.pass(time.Duration(rapid.IntRange(1, 200).Draw(rt, "hours")) * time.Hour)
			case 2:
				r.tick()
			case 3:
				list, err := r.Cases(t.Context(), casework.Query{})
				if err != nil {
					rt.Fatal(err)
				}
				for _, c := range list {
					to := rapid.SampledFrom([]casework.State{casework.Lawful, casework.Notified, casework.ClaimedFixed, casework.Acknowledged}).Draw(rt, "to")
					if err := r.Move(t.Context(), c.ID, to, "x", "y"); err != nil && !errors.Is(err, casework.ErrOrder) {
						rt.Fatal(err)
					}
				}
			}
			list, err := r.Cases(t.Context(), casework.Query{})
			if err != nil {
				rt.Fatal(err)
			}
			open := map[string]int{}
			for _, c := range list {
				if c.State.Open() {
					open[c.Subject]++
				}
				if c.State == casework.Clean && c.Changed.Sub(last[c.ID]) < 7*day && !last[c.ID].After(c.Changed) {
					rt.Fatalf("%s is clean since %s, and was seen %s", c.ID, c.Changed, last[c.ID])
				}
			}
			for s, k := range open {
				if k > 1 {
					rt.Fatalf("%s has %d open cases", s, k)
				}
			}
		}
	})
}
