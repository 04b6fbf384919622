package casework_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/respond/casework"
)

// TestBulk: an order about many cases waits, can be stopped, is done once, and leaves
// alone what has changed meanwhile or can't be done.
func TestBulk(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		ctx := t.Context()
		var ids []string
		for i := range 5 {
			ids = append(ids, r.take(r.sign(fmt.Sprint("f", i), fmt.Sprint("S-", i), "telescope")))
		}
		for _, bad := range []casework.Order{
			{Action: casework.ToMove, To: "lawful", Cases: ids, Why: "x"},
			{Action: casework.ToMove, To: "anywhere", Cases: ids, Who: "abuse:hanako", Why: "x"},
			{Action: "burn", Cases: ids, Who: "abuse:hanako", Why: "x"},
			{Action: casework.ToHold, Who: "abuse:hanako", Why: "x"},
			{Action: casework.ToHold, Cases: []string{ids[0], ids[0]}, Who: "abuse:hanako", Why: "x"},
			{Action: casework.ToHold, Cases: []string{"C-1"}, Who: "abuse:hanako", Why: "x"},
		} {
			if _, err := r.Bulk(ctx, bad); err == nil {
				t.Errorf("%+v was taken", bad)
			}
		}
		if list, err := r.Bulks(ctx, 10); err != nil || len(list) != 0 {
			t.Fatalf("a refused order stays: %+v, %v", list, err)
		}
		order := casework.Order{Action: casework.ToMove, To: string(casework.Lawful), Cases: ids, Who: "abuse:hanako", Why: "the ground holds for all"}
		b, err := r.Bulk(ctx, order)
		if err != nil || b.State != casework.BulkWaiting || !b.At.Equal(r.Now().Add(5*time.Minute)) {
			t.Fatalf("%+v, %v", b, err)
		}
		run := func(want int) {
			t.Helper()
			if n, err := r.RunBulks(ctx); err != nil || n != want {
				t.Fatalf("done to %d cases, not %d: %v", n, want, err)
			}
		}
		run(0) // it waits
		r.is(ids[0], casework.Attributed)
		r.move(ids[1], casework.Lawful, casework.Notified)
		if err := r.Hold(ctx, ids[2], true, "legal:jiro", "a question"); err != nil {
			t.Fatal(err)
		}
		r.pass(5 * time.Minute)
		run(3)
		run(0)
		r.is(ids[1], casework.Notified)
		r.is(ids[2], casework.Attributed)
		r.is(ids[4], casework.Lawful)
		if b, err = r.GetBulk(ctx, b.ID); err != nil || b.State != casework.BulkDone {
			t.Fatalf("%+v, %v", b, err)
		}
		refused := 0
		for _, c := range b.Cases {
			if c.Result == casework.BulkRefused && c.Reason != "" {
				refused++
			}
		}
		if refused != 2 {
			t.Errorf("%+v", b.Cases)
		}

		order.Action, order.To = casework.ToAssign, "taro"
		if b, err = r.Bulk(ctx, order); err != nil {
			t.Fatal(err)
		}
		if b, err = r.StopBulk(ctx, b.ID, "abuse:hanako", "the wrong ones"); err != nil || b.State != casework.BulkStopped {
			t.Fatalf("%+v, %v", b, err)
		}
		if _, err := r.StopBulk(ctx, b.ID, "abuse:hanako", "again"); !errors.Is(err, casework.ErrUnknown) {
			t.Errorf("stopped twice: %v", err)
		}
		r.pass(time.Hour)
		run(0)
		if c := r.is(ids[0], casework.Lawful); c.Assignee != "" {
			t.Errorf("%+v", c)
		}
	})
}

// TestBulkCutOff: an order that fails in its middle goes on where it was, and does
// nothing twice.
func TestBulkCutOff(t *testing.T) {
	r := desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	var ids []string
	for i := range 4 {
		ids = append(ids, r.take(r.sign(fmt.Sprint("f", i), fmt.Sprint("S-", i), "telescope")))
	}
	if _, err := r.Bulk(t.Context(), casework.Order{Action: casework.ToHold, Cases: ids, Who: "abuse:hanako", Why: "wait"}); err != nil {
		t.Fatal(err)
	}
	r.pass(time.Hour)
	r.book.left = 2
	if n, err := r.RunBulks(t.Context()); err == nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	r.book.full = false
	if n, err := r.RunBulks(t.Context()); err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	for _, id := range ids {
		_, history, _, err := r.Get(t.Context(), id)
		held := 0
		for _, e := range history {
			if e.What == "held" {
				held++
			}
		}
		if err != nil || held != 1 {
			t.Errorf("%s was held %d times, %v", id, held, err)
		}
	}
}

// TestDeadlines: the desk's own and the law's, when they run out and when they are met.
func TestDeadlines(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		ctx := t.Context()
		id := r.take(r.sign("f1", "S-1", "telescope"))
		if err := r.Know(ctx, id, "tomorrow", r.Now(), "legal:jiro", "x"); !errors.Is(err, casework.ErrStatute) {
			t.Errorf("no such law: %v", err)
		}
		if err := r.Know(ctx, id, "secrecy-leak", r.Now().Add(time.Hour), "legal:jiro", "x"); !errors.Is(err, casework.ErrStatute) {
			t.Errorf("known in the future: %v", err)
		}
		since := r.Now().Add(-day)
		if err := errors.Join(r.Know(ctx, id, "secrecy-leak", since, "legal:jiro", "the notice went to another line"), r.Know(ctx, id, "secrecy-leak", r.Now(), "legal:jiro", "again")); err != nil {
			t.Fatal(err)
		}
		read := func() []casework.Deadline {
			t.Helper()
			c, _, _, err := r.Get(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			list, err := r.Deadlines(ctx, &c)
			if err != nil || len(list) != 2 {
				t.Fatalf("%+v, %v", list, err)
			}
			return list
		}
		list := read()
		if list[0].ID != "step" || list[0].Over || list[1].Over || !list[1].Due.Equal(since.Add(30*day)) || list[1].Source.JA == "" {
			t.Errorf("%+v", list)
		}
		r.pass(40 * day)
		if list = read(); !list[0].Over || !list[1].Over {
			t.Errorf("%+v", list)
		}
		if err := r.Report(ctx, id, "secrecy-leak", "legal:jiro", "form 50-2 sent"); err != nil {
			t.Fatal(err)
		}
		if err := r.Report(ctx, id, "secrecy-leak", "legal:jiro", "again"); !errors.Is(err, casework.ErrStatute) {
			t.Errorf("reported twice: %v", err)
		}
		if list = read(); list[1].Done.IsZero() || !list[1].Over { // it was met, late
			t.Errorf("%+v", list)
		}
	})
}

// TestPage: the queue is in the order of what is due, and what is asked for.
func TestPage(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		ctx := t.Context()
		var ids []string
		for i := range 6 {
			s := r.sign(fmt.Sprint("f", i), fmt.Sprint("S-", i), "telescope")
			if s.Device = "camera"; i%2 == 0 {
				s.Device, s.Family = "", ""
			}
			ids = append(ids, r.take(s))
			r.pass(time.Minute)
		}
		r.move(ids[0], casework.Lawful) // due later than the others
		r.move(ids[1], casework.Closed) // due never
		page := func(q casework.Query, total int, want ...int) {
			t.Helper()
			list, n, err := r.Page(ctx, q)
			if err != nil || n != total || len(list) != len(want) {
				t.Fatalf("%+v: %d of %d: %+v, %v", q, len(list), n, list, err)
			}
			for i, w := range want {
				if list[i].ID != ids[w] {
					t.Errorf("%+v: %d is %s, not %s", q, i, list[i].ID, ids[w])
				}
			}
		}
		page(casework.Query{}, 6, 2, 3, 4, 5, 0, 1)
		page(casework.Query{Limit: 2, Offset: 3}, 6, 5, 0)
		page(casework.Query{Open: true}, 5, 2, 3, 4, 5, 0)
		page(casework.Query{Device: "camera"}, 3, 3, 5, 1)
		page(casework.Query{Device: "-", Family: "-"}, 3, 2, 4, 0)
		page(casework.Query{Assignee: "-", Text: ids[3]}, 1, 3)
		page(casework.Query{Text: "S-4"}, 1, 4)
		page(casework.Query{Text: "S_"}, 0)
		held, free := true, false
		page(casework.Query{Held: &held}, 0)
		page(casework.Query{Held: &free, Overdue: true}, 0)
		r.pass(2*day - 3*time.Minute)
		page(casework.Query{Overdue: true}, 1, 2)
	})
}

// TestSummary: what happened is counted once for a case, by day, family and device.
func TestSummary(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		from := r.Now()
		a := r.take(r.sign("f1", "S-1", "telescope"))
		other := r.sign("f2", "S-2", "telescope")
		other.Family, other.Device = "gafgyt", "router"
		b := r.take(other)
		r.take(r.sign("n1", "", "shadowserver"))
		r.move(a, casework.Lawful, casework.Notified, casework.Notified)
		r.pass(day)
		r.move(a, casework.Notified, casework.ClaimedFixed, casework.Relapsed)
		r.pass(day)
		s, err := r.Summary(t.Context(), from, r.Now())
		if err != nil {
			t.Fatal(err)
		}
		if s.Open != 2 || s.Nobody != 1 || s.Unassigned != 2 || s.States[casework.Relapsed] != 1 || s.Overdue != 0 {
			t.Errorf("%+v", s)
		}
		if want := (casework.Flow{Opened: 2, Notified: 1, Relapsed: 1}); s.Flow != want {
			t.Errorf("%+v", s.Flow)
		}
		if len(s.Families) != 2 || s.Families[0].Name != "gafgyt" || s.Families[1].Notified != 1 || s.Devices[1].Name != "router" || s.Devices[1].Opened != 1 {
			t.Errorf("%+v, %+v", s.Families, s.Devices)
		}
		if len(s.Days) != 3 || s.Days[0].Opened != 2 || s.Days[0].Notified != 1 || s.Days[1].Notified != 1 || s.Days[1].Relapsed != 1 || s.Days[2].Flow != (casework.Flow{}) {
			t.Errorf("%+v", s.Days)
		}
		if err := r.Merge(t.Context(), b, a, "abuse:hanako", "one household"); err != nil {
			t.Fatal(err)
		}
		if s, err = r.Summary(t.Context(), from, r.Now()); err != nil || s.Flow.Opened != 1 || s.Open != 1 {
			t.Errorf("merged: %+v, %v", s, err)
		}
		c, history, _, err := r.Get(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if w := c.Why(history); w.JA == "" || w.EN == c.State.Words().EN {
			t.Errorf("%+v", w)
		}
	})
}

// TestLateReport: a report that comes after the end, of a time within the quiet period,
// says that it wasn't quiet.
func TestLateReport(t *testing.T) {
	r := desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	id := r.take(r.sign("f1", "S-1", "telescope"))
	r.move(id, casework.Lawful, casework.Notified, casework.ClaimedFixed)
	r.pass(day)
	r.tick()
	r.pass(7 * day)
	r.tick()
	r.is(id, casework.Clean)
	before, within := r.sign("s1", "S-1", "shadowserver"), r.sign("s2", "S-1", "shadowserver")
	before.At, within.At = r.Now().Add(-7*day), r.Now().Add(-7*day+time.Second)
	r.take(before)
	r.is(id, casework.Clean)
	r.take(within)
	r.is(id, casework.Relapsed)
}
