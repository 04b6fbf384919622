package desk

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond/leak"
)

// TestLife goes from the proposal to the end of the incident, in both stores: each step
// is in the ledger before it is done, and nothing stands at the end.
func TestLife(t *testing.T) {
	t.Parallel()
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w := newWorld(t)
		d := w.desk(t, db, Policy{Live: true})
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
		w.pass(between)
		if tally := w.tick(t, d); tally.Confirmed != 0 {
			t.Error("confirmed by fewer than half")
		}
		w.change(func() { w.sees = 5 })
		w.pass(between)
		if tally := w.tick(t, d); tally.Confirmed != 1 {
			t.Errorf("%+v", tally)
		}
		a = at(t, d, a.ID, Confirmed)
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
		a = at(t, d, a.ID, Withdrawn)
		if len(w.router.ids()) != 0 || a.Standing || a.WithdrawnBy != house || !strings.Contains(a.Reason.EN, "restored") {
			t.Errorf("%v stands, %+v", w.router.ids(), a)
		}
		want := []State{Proposed, Approved, Announced, Confirmed, Withdrawn}
		var steps []State
		for _, c := range a.Changes {
			if steps = append(steps, c.To); c.Why.JA == "" || c.Why.EN == "" || c.Who == "" {
				t.Errorf("%+v", c)
			}
		}
		if !slices.Equal(slices.Compact(steps), want) || !slices.Equal(states(w), want) || w.deeds[3].Grant == "" || len(w.deeds[3].Prefixes) != 2 {
			t.Errorf("%v, ledger %v, %+v", steps, states(w), w.deeds[3])
		}
		if again := w.tick(t, d); again != (Tally{}) {
			t.Errorf("%+v", again)
		}
		list, err := d.List(t.Context(), Query{Incident: "I-1", State: Withdrawn, Limit: 5})
		if err != nil || len(list) != 1 || list[0].ID != a.ID {
			t.Error(list, err)
		}
		if list, err = d.List(t.Context(), Query{Before: After{At: a.ProposedAt, ID: a.ID}}); err != nil || len(list) != 0 {
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
	d = w.desk(t, db, Policy{Live: true})
	w.pass(31 * time.Second) // the first one's lease is over
	w.tick(t, d)
	if at(t, d, a.ID, Approved); len(w.router.announces) != 0 || len(w.gate.InForce()) != 0 {
		t.Errorf("announced %v, grants %v", w.router.announces, w.gate.InForce())
	}
	w.close()
	w.tick(t, d)
	at(t, d, a.ID, Withdrawn)
}

// TestApproval: two people, neither of them who proposed, and the guideline has the last
// word.
func TestApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	a := w.propose(t, d)
	approve := func(id, who string, want error, state State, needs int) {
		t.Helper()
		if _, err := d.Approve(t.Context(), id, who, "fine"); !errors.Is(err, want) {
			t.Errorf("%s: %v", who, err)
		}
		if a := at(t, d, id, state); a.Needs != needs {
			t.Errorf("%s: %d more", who, a.Needs)
		}
	}
	approve(a.ID, "cli:taro", ErrOwn, Proposed, 2)
	approve(a.ID, "network:hanako", nil, Proposed, 1)
	if w.tick(t, d).Announced != 0 {
		t.Error("announced with one approval")
	}
	approve(a.ID, "admin:Hanako", ErrOwn, Proposed, 1)
	approve(a.ID, "admin:jiro", nil, Approved, 0)
	approve(a.ID, "admin:saburo", ErrOrder, Approved, 0)
	if _, err := d.Approve(t.Context(), "R-0", "admin:jiro", ""); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if _, err := d.Withdraw(t.Context(), a.ID, "network:taro", "enough"); err != nil {
		t.Error(err)
	}
	// The gate doesn't know the finding: no Grant.
	d.Finding = func(*detect.Incident) string { return "incident-other" }
	a = w.propose(t, d)
	approve(a.ID, "network:hanako", nil, Proposed, 1)
	approve(a.ID, "admin:jiro", lawful.ErrRefused, Refused, 0)
	if a := at(t, d, a.ID, Refused); a.Grant != nil || !strings.Contains(a.Reason.EN, Rule) {
		t.Errorf("%+v", a.Reason)
	}
	a = w.propose(t, d)
	if _, err := d.Reject(t.Context(), a.ID, "network:hanako", "not now"); err != nil {
		t.Error(err)
	}
	a = w.propose(t, d)
	w.close()
	approve(a.ID, "network:hanako", ErrOver, Proposed, 2)
	if _, err := d.Propose(t.Context(), &w.incident, prefixes("203.0.9.0/24"), "network:taro", "late"); !errors.Is(err, ErrOver) {
		t.Error(err)
	}
}

// TestScope: just what the incident's own plan has and what a ROA doesn't forbid, and
// nothing that another act has.
func TestScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
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
	d := w.desk(t, sqlite(t), Policy{Live: true})
	a := w.propose(t, d)
	if _, err := d.Approve(t.Context(), a.ID, "network:hanako", "fine"); err != nil {
		t.Fatal(err)
	}
	w.roa = leak.ROVInvalid
	if _, err := d.Approve(t.Context(), a.ID, "admin:jiro", "fine"); !errors.Is(err, ErrScope) {
		t.Error(err)
	}
	at(t, d, a.ID, Proposed)
	w.pass(61 * time.Minute)
	w.tick(t, d)
	at(t, d, a.ID, Expired)
}

// TestTooLate: a Grant that ends while the entry is written allows nothing.
func TestTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	a := w.approved(t, d)
	w.slow = 25 * time.Hour
	if _, err := d.Tick(t.Context()); !errors.Is(err, ErrGrant) || len(w.router.announces) != 0 {
		t.Errorf("%v, announced %v", err, w.router.announces)
	}
	w.slow = 0
	w.tick(t, d)
	if a := at(t, d, a.ID, Withdrawn); a.Standing {
		t.Error("it stands")
	}
}

// TestEnds: an act ends with its Grant, with its time, with the word of a person, and
// when nobody sees the incident any more; and it is renewed while somebody does.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(t *testing.T, w *world, d *Desk, a Act)
		want []State
	}{
		"revoked": {func(t *testing.T, w *world, _ *Desk, a Act) {
			if err := w.gate.Revoke(t.Context(), a.Grant.ID, "legal:x", "not needed"); err != nil {
				t.Error(err)
			}
		}, []State{Withdrawn}},
		"the finding closed": {func(t *testing.T, w *world, _ *Desk, _ Act) {
			w.close()
			if _, err := w.gate.Recheck(t.Context()); err != nil {
				t.Error(err)
			}
		}, []State{Withdrawn}},
		"restored": {func(t *testing.T, w *world, d *Desk, _ Act) { w.close(); w.tick(t, d) }, []State{Withdrawn}},
		"a person": {func(t *testing.T, w *world, d *Desk, a Act) {
			if _, err := d.Withdraw(t.Context(), a.ID, "network:taro", "enough"); err != nil {
				t.Error(err)
			}
			w.tick(t, d)
		}, []State{Withdrawn}},
		"silence": {func(t *testing.T, w *world, d *Desk, _ Act) {
			d.DataTime = nil // no news of routes
			for range 20 {
				w.pass(time.Minute)
				w.tick(t, d)
			}
		}, []State{Expired}},
		"a day": {func(t *testing.T, w *world, d *Desk, _ Act) {
			for range 25 * 15 {
				w.pass(4 * time.Minute)
				w.tick(t, d)
			}
		}, []State{Expired, Withdrawn}},
		"rehearsal": {func(t *testing.T, w *world, d *Desk, _ Act) {
			d.Policy.Live = false
			w.tick(t, d)
		}, []State{Withdrawn}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.desk(t, sqlite(t), Policy{Live: true})
			a := w.announced(t, d)
			tt.do(t, w, d, a)
			if got, _ := d.Get(t.Context(), a.ID); !slices.Contains(tt.want, got.State) || got.Standing || len(w.router.ids()) != 0 {
				t.Errorf("%s, standing %v, %v with the router: %v", got.State, got.Standing, w.router.ids(), got.Reason)
			}
		})
	}
}

// TestRenewal: the end moves while the incident is seen, and the router hears of it.
func TestRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	a := w.announced(t, d)
	renewed := 0
	for range 90 {
		w.pass(20 * time.Second)
		renewed += w.tick(t, d).Renewed
		if left := w.router.until[a.ID].Sub(w.Now()); left < 4*time.Minute || left > 10*time.Minute {
			t.Fatalf("the router's end is in %s", left)
		}
	}
	if renewed < 5 || renewed > 7 || w.router.announces[a.ID] != 1 {
		t.Errorf("renewed %d times, announced %d times", renewed, w.router.announces[a.ID])
	}
}

// TestTrouble: a router that doesn't answer, a ledger that is full, and too many routes.
func TestTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true, Budget: 2})
	try := func(n int) (last error) {
		for range n {
			_, last = d.Tick(t.Context())
			w.pass(time.Minute)
		}
		return last
	}
	a := w.approved(t, d)
	w.router.broken = errors.New("the session is down")
	if err := try(5); err == nil {
		t.Error("nobody says that the router is gone")
	}
	if got, _ := d.Get(t.Context(), a.ID); got.State != Failed || !got.Standing {
		t.Errorf("%s, standing %v: what can't be taken back may stand", got.State, got.Standing)
	}
	w.router.broken = nil
	if err := try(1); err != nil {
		t.Error(err)
	}
	if got := at(t, d, a.ID, Failed); got.Standing {
		t.Error("it still stands")
	}
	a = w.approved(t, d)
	w.change(func() { w.broken = errors.New("disk full") })
	if err := try(2); err == nil || len(w.router.ids()) > 0 {
		t.Errorf("announced without an entry: %v, %v", w.router.ids(), err)
	}
	w.change(func() { w.broken = nil })
	if err := try(1); err != nil {
		t.Error(err)
	}
	at(t, d, a.ID, Announced)
	b, err := d.Propose(t.Context(), &w.incident, prefixes("203.0.9.0/24"), "network:taro", "one more")
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"network:hanako", "admin:jiro"} {
		if _, err := d.Approve(t.Context(), b.ID, who, "fine"); err != nil {
			t.Fatal(err)
		}
	}
	_ = try(5)
	if got := at(t, d, b.ID, Failed); !strings.Contains(got.Reason.EN, ErrBudget.Error()) || !slices.Equal(w.router.ids(), []string{a.ID}) {
		t.Errorf("%v, %v", got.Reason, w.router.ids())
	}
}

// TestKilled: a process that dies at any of its outward steps is followed by one that
// does what is left, once: nothing is announced twice, nothing stays behind.
func TestKilled(t *testing.T) {
	t.Parallel()
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w := newWorld(t)
		d := w.desk(t, db, Policy{Live: true})
		a := w.approved(t, d)
		// It dies when the router has it, before the store says so: as if the write failed.
		dies := &dying{router: w.router}
		d.Announcers = []Announcer{dies}
		dies.ctx, dies.end = context.WithCancel(t.Context())
		if _, err := d.Tick(dies.ctx); err == nil || len(w.router.ids()) != 1 {
			t.Fatalf("%v, %v", err, w.router.ids())
		}
		if got := at(t, d, a.ID, Approved); !got.Standing {
			t.Error("nobody knows that it may stand")
		}
		// The next one finds it with the router, and announces nothing again.
		w.pass(31 * time.Second)
		d = w.desk(t, db, Policy{Live: true})
		if tally := w.tick(t, d); tally.Announced != 1 || w.router.announces[a.ID] != 1 {
			t.Errorf("%+v, %v", tally, w.router.announces)
		}
		at(t, d, a.ID, Announced)
		// A router that lost it gets it again; one whose process lost the act loses it.
		_ = w.router.Withdraw(t.Context(), a.ID)
		w.router.has["R-OLD"] = prefixes("203.0.9.0/24")
		w.pass(31 * time.Second)
		d = w.desk(t, db, Policy{Live: true})
		if tally := w.tick(t, d); tally.Again != 1 || tally.Strays != 1 || !slices.Equal(w.router.ids(), []string{a.ID}) {
			t.Errorf("%+v, %v", tally, w.router.ids())
		}
		// It dies after a person withdrew it, before the router heard.
		if _, err := d.Withdraw(t.Context(), a.ID, "network:taro", "enough"); err != nil {
			t.Fatal(err)
		}
		w.pass(31 * time.Second)
		d = w.desk(t, db, Policy{Live: true})
		if tally := w.tick(t, d); tally.Withdrawn != 1 || len(w.router.ids()) != 0 {
			t.Errorf("%+v, %v", tally, w.router.ids())
		}
	})
}

// dying is a router whose process ends as soon as it has been told.
type dying struct {
	*router
	ctx context.Context //nolint:containedctx // of the process that dies
	end context.CancelFunc
}

func (d *dying) Announce(ctx context.Context, id string, list []netip.Prefix, until time.Time) error {
	err := d.router.Announce(ctx, id, list, until)
	d.end()
	return err
}

// TestTwo: of two processes on one store one announces; when it is gone the other does,
// and what the first one held is its own to take back.
func TestTwo(t *testing.T) {
	t.Parallel()
	w, db := newWorld(t), sqlite(t)
	first, second := w.desk(t, db, Policy{Live: true}), w.desk(t, db, Policy{Live: true})
	routers := []*router{newRouter(), newRouter()}
	first.Announcers, second.Announcers = []Announcer{routers[0]}, []Announcer{routers[1]}
	if w.tick(t, first).Standby {
		t.Fatal("nobody announces")
	}
	a := w.approved(t, second)
	for range 3 {
		if !w.tick(t, second).Standby {
			t.Error("two announce")
		}
		w.tick(t, first)
	}
	if routers[0].announces[a.ID] != 1 || len(routers[1].announces) != 0 {
		t.Fatalf("%v %v", routers[0].announces, routers[1].announces)
	}
	w.pass(31 * time.Second) // the first one hangs
	if tally := w.tick(t, second); tally.Again != 1 || routers[1].announces[a.ID] != 1 {
		t.Errorf("%+v", tally)
	}
	if tally := w.tick(t, first); !tally.Standby || tally.Strays != 1 || len(routers[0].ids()) != 0 {
		t.Errorf("%+v: it holds %v", tally, routers[0].ids())
	}
	if err := second.Close(t.Context()); err != nil || len(routers[1].ids()) != 0 {
		t.Error(err, routers[1].ids())
	}
	if tally := w.tick(t, first); tally.Standby || tally.Again != 1 {
		t.Errorf("%+v", tally)
	}
}

// TestSettings: what can't be is an error, and to be live takes somebody who announces.
func TestSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []Policy{{Approvals: 6}, {Approvals: -1}, {Budget: -1}, {TTL: 25 * time.Hour}, {TTL: time.Second}, {Lease: time.Second}, {Share: 2}, {Live: true}} {
		if _, err := Open(t.Context(), Deps{DB: sqlite(t), Clock: w, Policy: p}); err == nil {
			t.Errorf("%+v", p)
		}
	}
}
