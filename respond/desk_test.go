package respond

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
)

// TestLife goes from the proposal to the end, in both stores: each step is in the ledger
// before it is done, nothing stands at the end, and acts of another kind are none of it.
func TestLife(t *testing.T) {
	t.Parallel()
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w := newWorld(t)
		d := w.desk(t, db, Policy{Live: true})
		other, err := Open(t.Context(), d.Deps, Kind{Name: "another", Prefix: "A-", House: "house:another"}, w)
		if err != nil {
			t.Fatal(err)
		}
		other.Announcers = nil
		b := announced(t, d)
		if b.Grant.Rule != "beacon" || b.Grant.Title.EN != "a test" || len(b.Held) != 1 || b.Ends.Sub(w.Now()) != 10*time.Minute || len(b.Approvals) != 2 || b.Fire != "F-1" {
			t.Errorf("%+v", b)
		}
		if n, most, err := d.Budget(t.Context()); n != 2 || most != 10 || err != nil {
			t.Errorf("%d of %d, %v", n, most, err)
		}
		if tally := tick(t, other); tally != (Tally{}) { // it has a lease of its own
			t.Errorf("%+v", tally)
		}
		if _, err := other.Get(t.Context(), b.ID); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		if _, err := other.Withdraw(t.Context(), b.ID, "network:taro", "x"); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		if n, _, err := other.Budget(t.Context()); n != 0 || err != nil {
			t.Error(n, err)
		}
		w.proof = detect.Text{JA: "見えた", EN: "it is seen"}
		if tally := tick(t, d); tally.Confirmed != 0 {
			t.Errorf("%+v: proof was looked at already", tally)
		}
		w.pass(Between)
		if tally := tick(t, d); tally.Confirmed != 1 {
			t.Errorf("%+v", tally)
		}
		if b = at(t, d, b.ID, Confirmed); b.ConfirmedAt == nil || *b.Reason != w.proof {
			t.Errorf("%+v", b)
		}
		w.out = true
		if tally := tick(t, d); tally.Ended != 1 || tally.Withdrawn != 1 {
			t.Errorf("%+v", tally)
		}
		if b = at(t, d, b.ID, Withdrawn); len(w.router.ids()) != 0 || b.Standing || b.WithdrawnBy != kind.House {
			t.Errorf("%v stands, %+v", w.router.ids(), b)
		}
		var steps, entries []State
		for _, c := range b.Changes {
			if steps = append(steps, c.To); c.Why.JA == "" || c.Why.EN == "" || c.Who == "" {
				t.Errorf("%+v", c)
			}
		}
		for _, x := range w.deeds {
			entries = append(entries, x.To)
		}
		want := []State{Proposed, Proposed, Approved, Announced, Confirmed, Withdrawn}
		if !slices.Equal(steps, want) || !slices.Equal(entries, want) || w.deeds[3].Grant == "" || !strings.Contains(w.deeds[3].Why.EN, "announcing 2 beacons") {
			t.Errorf("%v, ledger %v, %+v", steps, entries, w.deeds[3])
		}
		if again := tick(t, d); again != (Tally{}) {
			t.Errorf("%+v", again)
		}
		for q, n := range map[Query]int{
			{}: 1, {About: "F-1", Object: "hill", Grant: b.Grant.ID, State: Withdrawn, Limit: 5}: 1, {About: "F-2"}: 0, {Object: "dale"}: 0, {Live: true}: 0, {Standing: true}: 0,
			{Before: After{At: b.ProposedAt, ID: b.ID}}: 0, {Before: After{At: b.ProposedAt.Add(1), ID: "B"}}: 1,
		} {
			if list, err := d.List(t.Context(), q); err != nil || len(list) != n {
				t.Errorf("%+v: %v, %v", q, list, err)
			}
		}
	})
}

// TestEyes: as many people as are set, none of whom proposed, and the guideline has the
// last word.
func TestEyes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	b := propose(t, d, "203.0.4.0/24")
	approve := func(who string, want error, state State, needs int) {
		t.Helper()
		_, err := d.Approve(t.Context(), b.ID, who, "fine")
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v", who, err)
		}
		if b := at(t, d, b.ID, state); b.Needs != needs {
			t.Errorf("%s: %d more", who, b.Needs)
		}
	}
	approve("cli:taro", ErrOwn, Proposed, 2)
	for _, who := range []string{kind.House, "", "network:"} {
		if _, err := d.Approve(t.Context(), b.ID, who, "fine"); err == nil {
			t.Errorf("%q approved", who)
		}
	}
	approve("network:hanako", nil, Proposed, 1)
	approve("admin:Hanako", ErrOwn, Proposed, 1)
	w.broken = errors.New("disk full")
	approve("admin:jiro", w.broken, Proposed, 1)
	w.broken = nil
	approve("admin:jiro", nil, Approved, 0)
	approve("admin:saburo", ErrOrder, Approved, 0)
	b = propose(t, d, "203.0.4.0/24")
	approve("network:hanako", nil, Proposed, 1)
	w.out = true
	approve("admin:jiro", errOut, Proposed, 1)
	w.out, w.asks = false, lawful.Block // of which the guideline knows nothing
	approve("admin:jiro", lawful.ErrRefused, Refused, 0)
	if b := at(t, d, b.ID, Refused); b.Grant != nil || b.Standing {
		t.Errorf("%+v", b)
	}
}

// TestImpossible: what stopped being possible after people approved it isn't announced;
// what only can't be looked at is, later.
func TestImpossible(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	b := approved(t, d, "203.0.4.0/24")
	w.wrong = errors.New("the book is closed")
	if _, err := d.Tick(t.Context()); !errors.Is(err, w.wrong) {
		t.Error(err)
	}
	at(t, d, b.ID, Approved)
	w.words = detect.Text{JA: "不可", EN: "it is raining"}
	if _, err := d.Tick(t.Context()); !errors.Is(err, w.wrong) {
		t.Error(err)
	}
	if b := at(t, d, b.ID, Failed); *b.Reason != w.words || b.Standing || len(w.router.announces) != 0 {
		t.Errorf("%+v, announced %v", b, w.router.announces)
	}
}

// TestTooLate: a Grant that ends while the entry is written allows nothing.
func TestTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	b := approved(t, d, "203.0.4.0/24")
	w.slow = 25 * time.Hour
	if _, err := d.Tick(t.Context()); !errors.Is(err, ErrGrant) || len(w.router.announces) != 0 {
		t.Errorf("%v, announced %v", err, w.router.announces)
	}
	w.slow = 0
	tick(t, d)
	if b := at(t, d, b.ID, Withdrawn); b.Standing {
		t.Error("it stands")
	}
}

// TestRenewal: the end moves while somebody tells of the fire, and the router hears of it;
// in silence it comes.
func TestRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	b := announced(t, d)
	renewed := 0
	for range 90 {
		w.pass(20 * time.Second)
		renewed += tick(t, d).Renewed
		if left := w.router.until[b.ID].Sub(w.Now()); left < 4*time.Minute || left > 10*time.Minute {
			t.Fatalf("the router's end is in %s", left)
		}
	}
	if renewed < 5 || renewed > 7 || w.router.announces[b.ID] != 1 {
		t.Errorf("renewed %d times, announced %d times", renewed, w.router.announces[b.ID])
	}
	w.unseen = true
	w.pass(10 * time.Minute)
	tick(t, d)
	at(t, d, b.ID, Expired)
}

// TestTrouble: a router that doesn't answer, a ledger that is full, and too many rules.
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
	b := approved(t, d, "203.0.4.0/24", "203.0.5.0/24")
	w.router.broken = errors.New("the session is down")
	if err := try(5); err == nil {
		t.Error("nobody says that the router is gone")
	}
	if got, _ := d.Get(t.Context(), b.ID); got.State != Failed || !got.Standing {
		t.Errorf("%s, standing %v: what can't be taken back may stand", got.State, got.Standing)
	}
	w.router.broken = nil
	if err := try(1); err != nil {
		t.Error(err)
	}
	if got := at(t, d, b.ID, Failed); got.Standing {
		t.Error("it still stands")
	}
	b = approved(t, d, "203.0.4.0/24", "203.0.5.0/24")
	w.change(func() { w.broken = errors.New("disk full") })
	if err := try(2); err == nil || len(w.router.ids()) > 0 {
		t.Errorf("announced without an entry: %v, %v", w.router.ids(), err)
	}
	w.change(func() { w.broken = nil })
	if err := try(1); err != nil {
		t.Error(err)
	}
	at(t, d, b.ID, Announced)
	c := approved(t, d, "203.0.9.0/24")
	_ = try(5)
	if got := at(t, d, c.ID, Failed); !strings.Contains(got.Reason.EN, ErrBudget.Error()) || !slices.Equal(w.router.ids(), []string{b.ID}) {
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
		b := approved(t, d, "203.0.4.0/24")
		// It dies when the router has it, before the store says so: as if the write failed.
		dies := &dying{router: w.router}
		d.Announcers = []Announcer[netip.Prefix]{dies}
		dies.ctx, dies.end = context.WithCancel(t.Context())
		if _, err := d.Tick(dies.ctx); err == nil || len(w.router.ids()) != 1 {
			t.Fatalf("%v, %v", err, w.router.ids())
		}
		if got := at(t, d, b.ID, Approved); !got.Standing {
			t.Error("nobody knows that it may stand")
		}
		// The next one finds it with the router, and announces nothing again.
		w.pass(31 * time.Second)
		d = w.desk(t, db, Policy{Live: true})
		if tally := tick(t, d); tally.Announced != 1 || w.router.announces[b.ID] != 1 {
			t.Errorf("%+v, %v", tally, w.router.announces)
		}
		at(t, d, b.ID, Announced)
		// A router that lost it gets it again; one whose process lost the act loses it.
		_ = w.router.Withdraw(t.Context(), b.ID)
		w.router.has["B-OLD"] = b.Prefixes
		w.pass(31 * time.Second)
		d = w.desk(t, db, Policy{Live: true})
		if tally := tick(t, d); tally.Again != 1 || tally.Strays != 1 || !slices.Equal(w.router.ids(), []string{b.ID}) {
			t.Errorf("%+v, %v", tally, w.router.ids())
		}
		// It dies after a person withdrew it, before the router heard.
		if _, err := d.Withdraw(t.Context(), b.ID, "network:taro", "enough"); err != nil {
			t.Fatal(err)
		}
		w.pass(31 * time.Second)
		d = w.desk(t, db, Policy{Live: true})
		if tally := tick(t, d); tally.Withdrawn != 1 || len(w.router.ids()) != 0 {
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
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w := newWorld(t)
		first, second := w.desk(t, db, Policy{Live: true}), w.desk(t, db, Policy{Live: true})
		routers := []*router{newRouter(), newRouter()}
		first.Announcers, second.Announcers = []Announcer[netip.Prefix]{routers[0]}, []Announcer[netip.Prefix]{routers[1]}
		if tick(t, first).Standby {
			t.Fatal("nobody announces")
		}
		b := approved(t, second, "203.0.4.0/24")
		for range 3 {
			if !tick(t, second).Standby {
				t.Error("two announce")
			}
			tick(t, first)
		}
		if routers[0].announces[b.ID] != 1 || len(routers[1].announces) != 0 {
			t.Fatalf("%v %v", routers[0].announces, routers[1].announces)
		}
		w.pass(31 * time.Second) // the first one hangs
		if tally := tick(t, second); tally.Again != 1 || routers[1].announces[b.ID] != 1 {
			t.Errorf("%+v", tally)
		}
		if tally := tick(t, first); !tally.Standby || tally.Strays != 1 || len(routers[0].ids()) != 0 {
			t.Errorf("%+v: it holds %v", tally, routers[0].ids())
		}
		if err := second.Close(t.Context()); err != nil || len(routers[1].ids()) != 0 {
			t.Error(err, routers[1].ids())
		}
		if tally := tick(t, first); tally.Standby || tally.Again != 1 {
			t.Errorf("%+v", tally)
		}
	})
}

// TestStray: what a router holds that no act stands for is withdrawn.
func TestStray(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Live: true})
	b := announced(t, d)
	w.router.has["B-OLD"] = b.Prefixes
	w.pass(Between)
	if tally := tick(t, d); tally.Strays != 1 || !slices.Equal(w.router.ids(), []string{b.ID}) {
		t.Error(tally, w.router.ids())
	}
}

// noc is a system that two processes tell.
type noc struct{ *router }

func (noc) Shared() {}

// TestShared: what a system outside holds isn't withdrawn by a process that doesn't
// announce, nor by one that stops.
func TestShared(t *testing.T) {
	t.Parallel()
	w, db := newWorld(t), sqlite(t)
	first, second := w.desk(t, db, Policy{Live: true}), w.desk(t, db, Policy{Live: true})
	first.Announcers, second.Announcers = []Announcer[netip.Prefix]{noc{w.router}}, []Announcer[netip.Prefix]{noc{w.router}}
	b := announced(t, first)
	for range 3 {
		w.pass(Between)
		tick(t, first)
		if tally := tick(t, second); !tally.Standby || tally.Strays != 0 {
			t.Errorf("%+v", tally)
		}
	}
	if err := first.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if tally := tick(t, second); tally.Standby || tally.Again != 0 || w.router.announces[b.ID] != 1 || len(w.router.ids()) != 1 {
		t.Errorf("%+v, announced %v", tally, w.router.announces)
	}
}

// TestSettings: what can't be is an error.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, p := range []Policy{{Approvals: 6}, {Approvals: -1}, {Budget: -1}, {TTL: 25 * time.Hour}, {TTL: time.Second}, {Lease: time.Second}, {Patience: -1}} {
		if p.Check() == nil {
			t.Errorf("%+v", p)
		}
	}
	if err := new(Policy).Check(); err != nil {
		t.Error(err)
	}
}
