package mitigate

import (
	"strings"
	"testing"
	"time"

	"sakimori/respond"
)

// TestJudged: what does nothing is taken back, and what takes the ordinary traffic with
// it; what can't be told yet stays.
func TestJudged(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		after  []float64
		usual  float64
		want   respond.State
		unseen bool
	}{
		"nothing happens":         {flat(75, 200_000), 2000, respond.RolledBack, false},
		"nothing can be seen":     {flat(75, 200_000), 2000, respond.Announced, true},
		"nothing yet":             {flat(30, 200_000), 2000, respond.Announced, false},
		"half":                    {flat(75, 100_000), 2000, respond.Announced, false},
		"a dip of two seconds":    {append(append(flat(10, 200_000), 2000, 2000), flat(10, 200_000)...), 2000, respond.Announced, false},
		"only the last, unready":  {append(flat(10, 200_000), 2000, 2000), 2000, respond.Announced, false},
		"it falls":                {flat(15, 2050), 2000, respond.Confirmed, false},
		"all is gone":             {flat(20, 300), 2000, respond.RolledBack, false},
		"all is gone, who knows":  {flat(20, 0), 0, respond.Confirmed, false},
		"confirmed, then it goes": {append(flat(6, 2000), flat(14, 100)...), 2000, respond.RolledBack, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.desk(t, sqlite(t), Policy{Policy: respond.Policy{Live: true}, Unseen: tt.unseen})
			m := announced(t, w, d)
			points := course(w.Now().Add(-20*time.Second), tt.usual, append(flat(21, 200_000), tt.after...)...)
			w.pass(time.Duration(len(tt.after)) * time.Second)
			for range 2 { // once for the first step, once for the next
				if err := d.Watch(t.Context(), w.attacks["A-1"], points); err != nil {
					t.Fatal(err)
				}
			}
			w.tick(t, d)
			m = at(t, d, m.ID, tt.want)
			if stands := len(w.router.ids()) == 1; stands == (tt.want == respond.RolledBack) {
				t.Errorf("with the router: %v; %s", w.router.ids(), m.Reason.EN)
			}
		})
	}
}

// TestLateVector: an attack that goes on by another way gets a proposal that adds to what
// stands.
func TestLateVector(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	m := announced(t, w, d)
	a := *w.attacks["A-1"]
	a.Sample = draw(3, mix{450: udp(53, -1, 1300, 1500), 200: later(500, 1500), 460: udp(123, -1, 468, 468)})
	w.pass(40 * time.Second)
	for range 3 {
		if err := d.Watch(t.Context(), &a, course(w.Now().Add(-60*time.Second), 2000, flat(60, 150_000)...)); err != nil {
			t.Fatal(err)
		}
	}
	live, err := d.List(t.Context(), respond.Query{State: respond.Proposed})
	if err != nil || len(live) != 1 || live[0].ID == m.ID {
		t.Fatal(live, err)
	}
	if r := live[0].Proposal.Rules; len(r) != 1 || !strings.Contains(r[0].String(), "source-port =123") {
		t.Errorf("%v", r)
	}
}

// TestArmed: what helped an object once is at hand the next time.
func TestArmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.desk(t, sqlite(t), forReal)
	m := announced(t, w, d)
	points := course(w.Now().Add(-20*time.Second), 2000, append(flat(21, 200_000), flat(10, 2100)...)...)
	w.pass(10 * time.Second)
	if err := d.Watch(t.Context(), w.attacks["A-1"], points); err != nil {
		t.Fatal(err)
	}
	at(t, d, m.ID, respond.Confirmed)
	again := *w.attacks["A-1"]
	again.ID, again.Sample = "A-2", draw(9, mix{600: udp(53, -1, 1300, 1500), 300: later(600, 1500)})
	p, some, err := d.Armed(t.Context(), &again, Order{})
	if err != nil || !some || p.Rules[0].String() != m.Proposal.Rules[0].String() || !strings.Contains(p.Why.EN, "helped this object before") {
		t.Errorf("%v %v %+v", some, err, p)
	}
	again.Sample = draw(9, mix{600: udp(123, -1, 468, 468)})
	if _, some, _ := d.Armed(t.Context(), &again, Order{}); some {
		t.Error("rules against another attack")
	}
}
