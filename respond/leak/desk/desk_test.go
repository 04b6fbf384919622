package desk

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond"
	"sakimori/respond/leak"
)

// TestLife goes from the proposal to the end of the incident, in both stores: each step
// is in the ledger before it is done, and nothing stands at the end.
func TestLife(t *testing.T) {
	t.Parallel()
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w := newWorld(t)
		d := w.desk(t, db, forReal)
		a := w.announced(t, d)
		if a.Rehearsal || a.Grant == nil || a.Grant.Rule != Rule || a.AnnouncedAt == nil || len(a.Held) != 1 || a.Ends.Sub(w.Now()) != 10*time.Minute || len(a.Approvals) != 2 {
			t.Errorf("%+v", a)
		}
		if got := w.router.has[a.ID]; !slices.Equal(got, prefixes("203.0.4.0/24", "203.0.5.0/24")) {
			t.Errorf("announced %v", got)
		}
		if n, most, err := d.Budget(t.Context()); n != 2 || most != 32 || err != nil {
			t.Errorf("%d of %d, %v", n, most, err)
		}
		w.change(func() { w.sees = 4 })
		w.pass(respond.Between)
		if tally := w.tick(t, d); tally.Confirmed != 0 {
			t.Error("confirmed by fewer than half")
		}
		w.change(func() { w.sees = 5 })
		w.pass(respond.Between)
		if tally := w.tick(t, d); tally.Confirmed != 1 {
			t.Errorf("%+v", tally)
		}
		a = at(t, d, a.ID, respond.Confirmed)
		if a.ConfirmedAt == nil || !strings.Contains(a.Reason.EN, "5 or more of 10") || !strings.Contains(a.Reason.EN, "20 s") {
			t.Errorf("%v", a.Reason)
		}
		w.close()
		if err := d.Incident(t.Context(), &w.incident); err != nil {
			t.Fatal(err)
		}
		if tally := w.tick(t, d); tally.Withdrawn != 1 {
			t.Errorf("%+v", tally)
		}
		a = at(t, d, a.ID, respond.Withdrawn)
		if len(w.router.ids()) != 0 || a.Standing || a.WithdrawnBy != house || !strings.Contains(a.Reason.EN, "restored") {
			t.Errorf("%v stands, %+v", w.router.ids(), a)
		}
		want := []respond.State{respond.Proposed, respond.Approved, respond.Announced, respond.Confirmed, respond.Withdrawn}
		var steps []respond.State
		for _, c := range a.Changes {
			if steps = append(steps, c.To); c.Why.JA == "" || c.Why.EN == "" || c.Who == "" {
				t.Errorf("%+v", c)
			}
		}
		if !slices.Equal(slices.Compact(steps), want) || !slices.Equal(states(w), want) || w.deeds[3].Grant == "" || len(w.deeds[3].Prefixes) != 2 {
			t.Errorf("%v, ledger %v, %+v", steps, states(w), w.deeds[3])
		}
		if again := w.tick(t, d); again != (respond.Tally{}) {
			t.Errorf("%+v", again)
		}
		list, err := d.List(t.Context(), respond.Query{About: "I-1", State: respond.Withdrawn, Limit: 5})
		if err != nil || len(list) != 1 || list[0].ID != a.ID {
			t.Error(list, err)
		}
		if list, err = d.List(t.Context(), respond.Query{Before: respond.After{At: a.ProposedAt, ID: a.ID}}); err != nil || len(list) != 0 {
			t.Error(list, err)
		}
	})
}

// TestRehearsal: everything is proposed and approved, nothing leaves, no Grant is asked
// for; what was approved in rehearsal isn't announced when it is switched on.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	w, db := newWorld(t), sqlite(t)
	d := w.desk(t, db, Policy{})
	a := w.approved(t, d)
	if !a.Rehearsal || a.Grant != nil || !strings.Contains(a.Reason.JA, "演習") {
		t.Fatalf("%+v", a)
	}
	w.tick(t, d)
	d = w.desk(t, db, forReal)
	w.pass(31 * time.Second) // the first one's lease is over
	w.tick(t, d)
	if at(t, d, a.ID, respond.Approved); w.router.calls != 0 || len(w.gate.InForce()) != 0 {
		t.Errorf("%d calls of the router, grants %v", w.router.calls, w.gate.InForce())
	}
	w.close()
	w.tick(t, d)
	at(t, d, a.ID, respond.Withdrawn)
}

// TestApproval: two people, neither of them who proposed, and the guideline has the last
// word.
func TestApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	a := w.propose(t, d)
	approve := func(id, who string, want error, state respond.State, needs int) {
		t.Helper()
		if _, err := d.Approve(t.Context(), id, who, "fine"); !errors.Is(err, want) {
			t.Errorf("%s: %v", who, err)
		}
		if a := at(t, d, id, state); a.Needs != needs {
			t.Errorf("%s: %d more", who, a.Needs)
		}
	}
	approve(a.ID, "cli:taro", respond.ErrOwn, respond.Proposed, 2)
	approve(a.ID, "network:hanako", nil, respond.Proposed, 1)
	if w.tick(t, d).Announced != 0 {
		t.Error("announced with one approval")
	}
	approve(a.ID, "admin:Hanako", respond.ErrOwn, respond.Proposed, 1)
	approve(a.ID, "admin:jiro", nil, respond.Approved, 0)
	approve(a.ID, "admin:saburo", respond.ErrOrder, respond.Approved, 0)
	if _, err := d.Approve(t.Context(), "R-0", "admin:jiro", ""); !errors.Is(err, respond.ErrUnknown) {
		t.Error(err)
	}
	if _, err := d.Withdraw(t.Context(), a.ID, "network:taro", "enough"); err != nil {
		t.Error(err)
	}
	// The gate doesn't know the finding: no Grant.
	d.Finding = func(*detect.Incident) string { return "incident-other" }
	a = w.propose(t, d)
	approve(a.ID, "network:hanako", nil, respond.Proposed, 1)
	approve(a.ID, "admin:jiro", lawful.ErrRefused, respond.Refused, 0)
	if a := at(t, d, a.ID, respond.Refused); a.Grant != nil || !strings.Contains(a.Reason.EN, Rule) {
		t.Errorf("%+v", a.Reason)
	}
	a = w.propose(t, d)
	if _, err := d.Reject(t.Context(), a.ID, "network:hanako", "not now"); err != nil {
		t.Error(err)
	}
	a = w.propose(t, d)
	w.close()
	approve(a.ID, "network:hanako", ErrOver, respond.Proposed, 2)
	if _, err := d.Propose(t.Context(), &w.incident, prefixes("203.0.9.0/24"), "network:taro", "late"); !errors.Is(err, ErrOver) {
		t.Error(err)
	}
}

// TestScope: just what the incident's own plan has and what a ROA doesn't forbid, and
// nothing that another act has.
func TestScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	try := func(list ...string) error {
		_, err := d.Propose(t.Context(), &w.incident, prefixes(list...), "network:taro", "x")
		return err
	}
	for _, list := range [][]string{
		{}, {"198.18.0.0/21"}, {"203.0.0.0/16"}, {"203.0.4.0/23"}, {"203.0.4.0/25"}, {"203.0.4.0/24", "203.0.6.0/24"}, {"8.8.8.0/24"},
	} {
		if err := try(list...); !errors.Is(err, ErrScope) {
			t.Errorf("%v: %v", list, err)
		}
	}
	w.roa = leak.ROVInvalidLength
	if err := try("203.0.4.0/24"); !errors.Is(err, ErrScope) || !strings.Contains(err.Error(), "maximum length") {
		t.Error(err)
	}
	w.roa = leak.ROVNotFound
	if err := try("203.0.4.0/24"); err != nil {
		t.Error(err)
	}
	if err := try("203.0.4.0/24", "203.0.9.0/24"); !errors.Is(err, ErrTwice) {
		t.Error(err)
	}
	if err := try("203.0.9.0/24"); err != nil { // what can't be halved is announced as it is
		t.Error(err)
	}
	if _, err := d.Propose(t.Context(), &w.incident, prefixes("203.0.5.0/24"), "house:leak", "x"); err == nil {
		t.Error("the house proposed by itself")
	}
}

// TestChanged: what stopped being possible between proposal and approval isn't announced.
func TestChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	a := w.propose(t, d)
	if _, err := d.Approve(t.Context(), a.ID, "network:hanako", "fine"); err != nil {
		t.Fatal(err)
	}
	w.roa = leak.ROVInvalid
	if _, err := d.Approve(t.Context(), a.ID, "admin:jiro", "fine"); !errors.Is(err, ErrScope) {
		t.Error(err)
	}
	at(t, d, a.ID, respond.Proposed)
	w.pass(61 * time.Minute)
	w.tick(t, d)
	at(t, d, a.ID, respond.Expired)
	w.roa = leak.ROVValid
	w.incident.Last = w.Now()
	a = w.approved(t, d)
	w.roa = leak.ROVInvalid
	if _, err := d.Tick(t.Context()); !errors.Is(err, ErrScope) {
		t.Error(err)
	}
	if a = at(t, d, a.ID, respond.Failed); len(w.router.ids()) != 0 || a.Standing || !strings.Contains(a.Reason.JA, "承認後") {
		t.Errorf("%+v", a)
	}
}

// TestEnds: an act ends with its Grant, with its time, with the word of a person, and
// when nobody sees the incident any more; and it is renewed while somebody does.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(t *testing.T, w *world, d *Desk, a Announcement)
		want []respond.State
	}{
		"revoked": {func(t *testing.T, w *world, _ *Desk, a Announcement) {
			if err := w.gate.Revoke(t.Context(), a.Grant.ID, "legal:x", "not needed"); err != nil {
				t.Error(err)
			}
		}, []respond.State{respond.Withdrawn}},
		"the finding closed": {func(t *testing.T, w *world, _ *Desk, _ Announcement) {
			w.close()
			if _, err := w.gate.Recheck(t.Context()); err != nil {
				t.Error(err)
			}
		}, []respond.State{respond.Withdrawn}},
		"restored": {func(t *testing.T, w *world, d *Desk, _ Announcement) { w.close(); w.tick(t, d) }, []respond.State{respond.Withdrawn}},
		"a person": {func(t *testing.T, w *world, d *Desk, a Announcement) {
			if _, err := d.Withdraw(t.Context(), a.ID, "network:taro", "enough"); err != nil {
				t.Error(err)
			}
			w.tick(t, d)
		}, []respond.State{respond.Withdrawn}},
		"silence": {func(t *testing.T, w *world, d *Desk, _ Announcement) {
			d.DataTime = nil // no news of routes
			for range 20 {
				w.pass(time.Minute)
				w.tick(t, d)
			}
		}, []respond.State{respond.Expired}},
		"a day": {func(t *testing.T, w *world, d *Desk, _ Announcement) {
			for range 25 * 15 {
				w.pass(4 * time.Minute)
				w.tick(t, d)
			}
		}, []respond.State{respond.Expired, respond.Withdrawn}},
		"rehearsal": {func(t *testing.T, w *world, d *Desk, _ Announcement) {
			d.Policy.Live = false
			w.tick(t, d)
		}, []respond.State{respond.Withdrawn}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.desk(t, sqlite(t), forReal)
			a := w.announced(t, d)
			tt.do(t, w, d, a)
			if got, _ := d.Get(t.Context(), a.ID); !slices.Contains(tt.want, got.State) || got.Standing || len(w.router.ids()) != 0 {
				t.Errorf("%s, standing %v, %v with the router: %v", got.State, got.Standing, w.router.ids(), got.Reason)
			}
		})
	}
}

// TestSettings: what can't be is an error, and to be live takes somebody who announces.
func TestSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []respond.Policy{{Approvals: 6}, {Approvals: -1}, {Budget: -1}, {TTL: 25 * time.Hour}, {TTL: time.Second}, {Lease: time.Second}, {Live: true}} {
		if _, err := Open(t.Context(), Deps{DB: sqlite(t), Clock: w, Policy: Policy{Policy: p}}); err == nil {
			t.Errorf("%+v", p)
		}
	}
	if _, err := Open(t.Context(), Deps{DB: sqlite(t), Clock: w, Policy: Policy{Share: 2}}); err == nil {
		t.Error("a share above all")
	}
}
