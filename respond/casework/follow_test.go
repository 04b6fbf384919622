package casework_test

import (
	"errors"
	"sync"
	"testing"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/respond/casework"
)

// TestFollow: what happened to notices brings the case on, each thing once however often
// and by how many it is told, past the law, and not while the case is held.
func TestFollow(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		id := r.take(r.sign("1", "S-1", "telescope"))
		follow := func(key string, to casework.State) error {
			return r.Follow(t.Context(), casework.Happening{Key: key, Case: id, To: to, Who: "sakimori", Why: "a notice"})
		}
		must := func(key string, to, want casework.State) casework.Case {
			t.Helper()
			var all sync.WaitGroup
			for range 3 { // by whoever hears of it
				all.Go(func() {
					if err := follow(key, to); err != nil {
						t.Errorf("%s: %v", key, err)
					}
				})
			}
			all.Wait()
			return r.is(id, want)
		}
		if c := must("mail/sent", casework.Notified, casework.Notified); c.Notices != 1 { // over lawful
			t.Errorf("%d notices", c.Notices)
		}
		_, history, _, err := r.Get(t.Context(), id)
		if err != nil || len(history) != 4 || history[2].What != "lawful" || history[3].What != "notified" {
			t.Errorf("%+v, %v", history, err)
		}
		must("mail/approved", casework.Lawful, casework.Notified) // it has been: nothing is said of it
		must("mail/bounced", casework.Unreachable, casework.Unreachable)
		if c := must("letter/sent", casework.Notified, casework.Notified); c.Notices != 2 {
			t.Errorf("%d notices", c.Notices)
		}
		if err := r.Hold(t.Context(), id, true, "abuse:hanako", "a lawyer asked"); err != nil {
			t.Fatal(err)
		}
		if err := follow("letter/seen", casework.Acknowledged); !errors.Is(err, casework.ErrHeld) {
			t.Errorf("held: %v", err)
		}
		r.is(id, casework.Notified)
		if err := r.Hold(t.Context(), id, false, "abuse:hanako", "it is settled"); err != nil {
			t.Fatal(err)
		}
		must("letter/seen", casework.Acknowledged, casework.Acknowledged)
		must("letter/fixed", casework.ClaimedFixed, casework.ClaimedFixed)
		if c := must("late/sent", casework.Notified, casework.ClaimedFixed); c.Notices != 3 { // told, and it stays where it is
			t.Errorf("%d notices", c.Notices)
		}
		r.book.full = true
		if err := follow("late/seen", casework.Acknowledged); err == nil {
			t.Error("the ledger didn't take it, and it counts")
		}
		r.book.full = false
		must("late/seen", casework.Acknowledged, casework.ClaimedFixed)
		if _, history, _, err = r.Get(t.Context(), id); err != nil || history[len(history)-1].What != "note" {
			t.Errorf("%+v, %v", history[len(history)-1], err)
		}
	})
}

// TestFollowMerged: what happens to a merged case happens to the one it was merged into.
func TestFollowMerged(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := desk(t, db)
		a, b := r.take(r.sign("1", "S-1", "telescope")), r.take(r.sign("2", "S-2", "telescope"))
		if err := r.Merge(t.Context(), a, b, "abuse:hanako", "one contract"); err != nil {
			t.Fatal(err)
		}
		if err := r.Follow(t.Context(), casework.Happening{Key: "x", Case: a, To: casework.Notified, Who: "sakimori", Why: "a notice"}); err != nil {
			t.Fatal(err)
		}
		r.is(a, casework.Closed)
		r.is(b, casework.Notified)
		if c, err := r.Case(t.Context(), a); err != nil || c.ID != b {
			t.Errorf("%+v, %v", c, err)
		}
		if err := r.Follow(t.Context(), casework.Happening{Key: "y", Case: "C-1999-000001", To: casework.Notified, Who: "sakimori", Why: "a notice"}); !errors.Is(err, casework.ErrUnknown) {
			t.Errorf("of no case: %v", err)
		}
	})
}
