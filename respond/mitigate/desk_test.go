package mitigate

import (
	"context"
	"encoding/json"
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
)

// TestLife goes from the proposal to the end of the attack, in both stores: each step is
// in the ledger before it is done, and nothing stands at the end.
func TestLife(t *testing.T) {
	t.Parallel()
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w := newWorld(t)
		d := w.desk(t, db, forReal)
		m := announced(t, w, d)
		if m.Rehearsal || m.Grant == nil || m.Grant.Rule != UnderAttack || m.AnnouncedAt == nil || len(m.Held) != 1 || m.Before == nil || m.Ends.Sub(w.Now()) != 10*time.Minute {
			t.Errorf("%+v", m)
		}
		start := w.Now()
		points := course(start.Add(-20*time.Second), 2000, append(flat(21, 200_000), append([]float64{150_000}, flat(8, 2100)...)...)...)
		w.pass(9 * time.Second)
		if err := d.Watch(t.Context(), w.attacks["A-1"], points); err != nil {
			t.Fatal(err)
		}
		m = at(t, d, m.ID, respond.Confirmed)
		if m.EffectMS == nil || *m.EffectMS != 3000 || m.After == nil || m.After.Packets.N != 2100 || !strings.Contains(m.Reason.EN, "200,000 → 2,100") {
			t.Errorf("%v, %+v, %v", *m.EffectMS, m.After, m.Reason)
		}
		if r, most, err := d.Budget(t.Context()); r != 2 || most != 100 || err != nil {
			t.Errorf("%d of %d rules, %v", r, most, err)
		}
		over := *w.attacks["A-1"]
		over.State, over.Closed = detect.Closed, w.Now()
		w.mu.Lock()
		w.attacks["A-1"] = &over
		w.mu.Unlock()
		if err := d.Attack(t.Context(), &over); err != nil {
			t.Fatal(err)
		}
		if tally := w.tick(t, d); tally.Withdrawn != 1 {
			t.Errorf("%+v", tally)
		}
		m = at(t, d, m.ID, respond.Withdrawn)
		if len(w.router.ids()) != 0 || m.Standing || m.WithdrawnBy != house {
			t.Errorf("%v stands, %+v", w.router.ids(), m)
		}
		var steps []respond.State
		for _, c := range m.Changes {
			if steps = append(steps, c.To); c.Why.JA == "" || c.Why.EN == "" || c.Who == "" {
				t.Errorf("%+v", c)
			}
		}
		want := []respond.State{respond.Proposed, respond.Approved, respond.Announced, respond.Confirmed, respond.Withdrawn}
		var entries []respond.State
		for _, x := range w.deeds {
			entries = append(entries, x.To)
		}
		if !slices.Equal(steps, want) || !slices.Equal(entries, want) || w.deeds[2].Grant == "" || len(w.deeds[2].Rules) != 2 {
			t.Errorf("%v, ledger %v", steps, entries)
		}
		if again := w.tick(t, d); again != (respond.Tally{}) {
			t.Errorf("%+v", again)
		}
	})
}

// TestRehearsal: everything is proposed and approved, nothing leaves; what was approved
// in rehearsal isn't announced when it is switched on.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	w, db := newWorld(t), sqlite(t)
	d := w.desk(t, db, Policy{})
	if err := d.Attack(t.Context(), w.attacks["A-1"]); err != nil {
		t.Fatal(err)
	}
	live, err := d.List(t.Context(), respond.Query{Live: true})
	if err != nil || len(live) != 1 || !live[0].Rehearsal || live[0].ProposedBy != house {
		t.Fatal(live, err)
	}
	m, err := d.Approve(t.Context(), live[0].ID, "network:hanako", "fine")
	if err != nil || m.State != respond.Approved || m.Grant != nil || !strings.Contains(m.Reason.JA, "演習") {
		t.Fatal(m, err)
	}
	w.tick(t, d)
	d = w.desk(t, db, forReal)
	w.pass(31 * time.Second) // the first one's lease is over
	w.tick(t, d)
	if at(t, d, m.ID, respond.Approved); w.router.calls != 0 || len(w.gate.InForce()) != 0 {
		t.Errorf("%d calls of the router, grants %v", w.router.calls, w.gate.InForce())
	}
	w.attacks["A-1"].State = detect.Closed
	w.tick(t, d)
	at(t, d, m.ID, respond.Withdrawn)
}

// TestApproval: nobody approves their own, nobody twice, and the guideline has the last
// word.
func TestApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{Policy: respond.Policy{Live: true, Approvals: 2}})
	m, err := d.Propose(t.Context(), w.attacks["A-1"], Order{}, "network:taro", "stop it")
	if err != nil {
		t.Fatal(err)
	}
	approve := func(who string, want error, state respond.State, needs int) {
		t.Helper()
		if _, err := d.Approve(t.Context(), m.ID, who, "fine"); !errors.Is(err, want) {
			t.Errorf("%s: %v", who, err)
		}
		if m := at(t, d, m.ID, state); m.Needs != needs {
			t.Errorf("%s: %d more", who, m.Needs)
		}
	}
	approve("cli:taro", respond.ErrOwn, respond.Proposed, 2)
	approve("network:hanako", nil, respond.Proposed, 1)
	approve("admin:Hanako", respond.ErrOwn, respond.Proposed, 1)
	approve("admin:jiro", nil, respond.Approved, 0)
	approve("admin:saburo", respond.ErrOrder, respond.Approved, 0)
	// The harm was seen two hours ago: no Grant.
	m, err = d.Propose(t.Context(), w.attacks["A-1"], Order{}, "network:taro", "again")
	if err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Hour)
	approve("network:hanako", nil, respond.Proposed, 1)
	approve("admin:jiro", lawful.ErrRefused, respond.Refused, 0)
	if m := at(t, d, m.ID, respond.Refused); m.Grant != nil || !strings.Contains(m.Reason.EN, UnderAttack) {
		t.Errorf("%+v", m.Reason)
	}
	w.attacks["A-1"].State = detect.Closed
	if _, err := d.Propose(t.Context(), w.attacks["A-1"], Order{}, "network:taro", "late"); err == nil {
		t.Error("proposed against what is over")
	}
}

// TestAsked: a route to discard by takes the customer's wish, and the register knows
// whether that is a consent.
func TestAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	a := w.attacks["A-1"]
	if _, err := d.Propose(t.Context(), a, Order{Action: RTBH}, "network:taro", "x"); err == nil || !strings.Contains(err.Error(), "100 %") {
		t.Errorf("everything to a customer is thrown away without asking: %v", err)
	}
	a.Ordinary = nil
	if _, err := d.Propose(t.Context(), a, Order{}, "network:taro", "x"); err == nil || !strings.Contains(err.Error(), "isn't known") {
		t.Errorf("%v", err)
	}
	for subject, want := range map[string]respond.State{"S-1": respond.Approved, "S-2": respond.Refused} {
		m, err := d.Propose(t.Context(), a, Order{Action: RTBH, Asked: &Asked{Subject: subject, Why: "by telephone, called back"}}, "network:taro", "the customer asks")
		if err != nil || m.Proposal.Rule != ByConsent || m.Proposal.Collateral.Known || len(m.Proposal.Rules) != 1 {
			t.Fatal(m.Proposal, err)
		}
		m, _ = d.Approve(t.Context(), m.ID, "network:hanako", "fine")
		at(t, d, m.ID, want)
	}
	if w.tick(t, d).Announced != 1 {
		t.Error("it isn't announced")
	}
}

// TestEnds: a mitigation ends with its Grant, with its time, with the word of a person,
// and when nobody tells of the attack any more; and it is renewed while somebody does.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(t *testing.T, w *world, d *Desk, m Mitigation)
		want respond.State
	}{
		"revoked": {func(t *testing.T, w *world, _ *Desk, m Mitigation) {
			if err := w.gate.Revoke(t.Context(), m.Grant.ID, "legal:x", "not needed"); err != nil {
				t.Error(err)
			}
		}, respond.Withdrawn},
		"finding closed": {func(t *testing.T, w *world, _ *Desk, _ Mitigation) {
			w.attacks["A-1"].State = detect.Closed
			if _, err := w.gate.Recheck(t.Context()); err != nil {
				t.Error(err)
			}
		}, respond.Withdrawn},
		"a person": {func(t *testing.T, w *world, d *Desk, m Mitigation) {
			if _, err := d.Withdraw(t.Context(), m.ID, "network:taro", "enough"); err != nil {
				t.Error(err)
			}
			w.tick(t, d)
		}, respond.Withdrawn},
		"silence": {func(t *testing.T, w *world, d *Desk, _ Mitigation) {
			for range 20 {
				w.pass(time.Minute)
				w.tick(t, d)
			}
		}, respond.Expired},
		"the longest time": {func(t *testing.T, w *world, d *Desk, _ Mitigation) {
			for range 25 * 15 {
				w.pass(4 * time.Minute)
				d.saw("A-1")
				w.tick(t, d)
			}
		}, respond.Expired},
		"rehearsal": {func(t *testing.T, w *world, d *Desk, _ Mitigation) {
			d.Policy.Live = false
			w.tick(t, d)
		}, respond.Withdrawn},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.desk(t, sqlite(t), forReal)
			m := announced(t, w, d)
			tt.do(t, w, d, m)
			if got, _ := d.Get(t.Context(), m.ID); got.State != tt.want && !(name == "the longest time" && got.State == respond.Withdrawn) || got.Standing || len(w.router.ids()) != 0 {
				t.Errorf("%s, standing %v, %v with the router: %v", got.State, got.Standing, w.router.ids(), got.Reason)
			}
		})
	}
}

// TestPrivate: the part of a deed that a ledger keeps names nobody.
func TestPrivate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	announced(t, w, d)
	for _, x := range w.deeds {
		b, err := json.Marshal(x)
		if err != nil || strings.Contains(string(b), "203.0.113") || strings.Contains(string(b), "shop") {
			t.Errorf("%s, %v", b, err)
		}
	}
}

// usual answers for a store of flows.
type usual struct {
	list []detect.Sample
	err  error
}

func (u usual) Ordinary(_ context.Context, o detect.Object, before time.Time, _ int) ([]detect.Sample, error) {
	if o.Name != "shop" || !before.Equal(noon) {
		return nil, errors.New("another object, or another time")
	}
	return u.list, u.err
}

// TestBaseline: what an attack doesn't bring of the ordinary is looked up; what can't be
// looked up is said.
func TestBaseline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), Policy{})
	a := *w.attacks["A-1"]
	a.Ordinary = a.Ordinary[:0]
	for name, tt := range map[string]struct {
		from    Baseline
		refused bool
		err     bool
	}{
		"none":    {nil, true, false},
		"empty":   {usual{}, true, false},
		"broken":  {usual{err: errors.New("disk")}, true, true},
		"a store": {usual{list: web(52, 60)}, false, false},
	} {
		d.Baseline = tt.from
		list, err := d.Plan(t.Context(), &a, Order{})
		if (err != nil) != tt.err || err == nil && list[0].Refused != tt.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForeseen: on a person's forecast it stands by the other rule of case ②, which wants
// less collateral, and no longer.
func TestForeseen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	m, err := d.Propose(t.Context(), w.attacks["A-1"], Order{Forecast: "three pulses in an hour, by the course of the last two"}, "network:taro", "before the next")
	if err != nil || m.Proposal.Rule != Foreseen {
		t.Fatal(m.Proposal.Rule, err)
	}
	if m, err = d.Approve(t.Context(), m.ID, "network:hanako", "fine"); err != nil || m.Grant.Rule != Foreseen || m.Grant.Until.Sub(w.Now()) != 4*time.Hour {
		t.Errorf("%+v, %v", m.Grant, err)
	}
}
