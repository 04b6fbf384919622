package lawful_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/lawful"
)

func block() lawful.Request {
	return lawful.Request{Measure: lawful.Block, Purpose: "C&C", Who: "network:hanako", Scope: lawful.Scope{Subjects: []string{"S-1", "S-2"}}}
}

// TestConsent: consent is asked of the register, when the grant is given and at each
// act, so that a withdrawal takes effect at once; no answer is a no.
func TestConsent(t *testing.T) {
	w := newWorld()
	gate := gate(t, w)
	named := granted(t, gate, block())
	all := block()
	all.Scope = lawful.Scope{Consenting: "block"}
	everybody := granted(t, gate, all)
	for i, c := range []struct {
		change func()
		want   map[string]bool // subject: named and everybody alike
	}{
		{func() {}, map[string]bool{"S-1": true, "S-2": true, "S-3": false}},
		{func() { w.consents["S-2 block"] = false }, map[string]bool{"S-1": true, "S-2": false}},
		{func() { w.consents["S-2 block"] = true }, map[string]bool{"S-1": true, "S-2": true}},
		{func() { w.consent = errors.New("closed") }, map[string]bool{"S-1": false, "S-2": false}},
	} {
		c.change()
		for s, want := range c.want {
			if named.Allows(lawful.Block, lawful.Of(s), noon) != want || everybody.Allows(lawful.Block, lawful.Of(s), noon) != want {
				t.Errorf("step %d: %s isn't %v", i, s, want)
			}
		}
	}
	w.consent = nil
	if named.Allows(lawful.Block, in7, noon) || everybody.Allows(lawful.Block, lawful.Target{}, noon) {
		t.Error("allowed on nobody who consents")
	}
	if named.AllowsAll(lawful.Block, noon) || !everybody.AllowsAll(lawful.Block, noon) || everybody.AllowsAll(lawful.Filter, noon) ||
		everybody.AllowsAll(lawful.Block, everybody.Until()) || (lawful.Grant{}).AllowsAll(lawful.Block, noon) {
		t.Error("who may act on all who consent is mistaken")
	}
	for name, change := range map[string]func(r *lawful.Request){
		"stated, not given": func(r *lawful.Request) { r.Scope.Subjects[1], r.Facts = "S-9", lawful.Facts{"consent": true} },
		"another purpose":   func(r *lawful.Request) { r.Scope = lawful.Scope{Consenting: "hits"} },
		"nobody":            func(r *lawful.Request) { r.Scope = lawful.Scope{} },
		"both":              func(r *lawful.Request) { r.Scope.Consenting = "block" },
	} {
		r := block()
		change(&r)
		if _, err := gate.Ask(t.Context(), r); !errors.Is(err, lawful.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.terms.OptOut = false
	if _, err := gate.Recheck(t.Context()); err != nil || everybody.AllowsAll(lawful.Block, noon) {
		t.Errorf("all may still be blocked without an opt-out in the terms: %v", err)
	}
	if _, err := gate.Ask(t.Context(), block()); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("without an opt-out in the terms: %v", err)
	}
}

// recent is a register that may be asked how things were a moment ago.
type recent struct {
	*world
	known bool
}

func (r recent) Lately(subject, purpose string, _ time.Time) (valid, known bool) {
	return subject == "S-1" && purpose == "block", r.known
}

// TestLately: a register that knows how things were is believed, one that doesn't is asked;
// and nothing else of a grant is looked at less.
func TestLately(t *testing.T) {
	w := newWorld()
	all := block()
	all.Scope = lawful.Scope{Consenting: "block"}
	for _, known := range []bool{true, false} {
		w.terms.OptOut = true
		gate, err := lawful.New(lawful.Deps{Guideline: laws(), Recorder: w, Findings: w, Consents: recent{w, known}, Withdraw: w, Clock: w})
		if err != nil {
			t.Fatal(err)
		}
		g := granted(t, gate, all)
		w.consents["S-1 block"] = false // the store says no of one, and yes of the other
		for s, want := range map[string]bool{"S-1": known, "S-2": !known, "": false} {
			if got := g.AllowsLately(lawful.Block, lawful.Of(s), noon); got != want {
				t.Errorf("%q, known %v: %v", s, known, got)
			}
		}
		if g.AllowsLately(lawful.Filter, lawful.Of("S-1"), noon) || g.AllowsLately(lawful.Block, lawful.Of("S-1"), g.Until()) || (lawful.Grant{}).AllowsLately(lawful.Block, lawful.Of("S-1"), noon) {
			t.Error("another measure, a grant that has ended or none")
		}
		if err := gate.Revoke(t.Context(), g.ID(), "desk", "enough"); err != nil || g.AllowsLately(lawful.Block, lawful.Of("S-1"), noon) {
			t.Error("after it was revoked", err)
		}
		w.consents["S-1 block"] = true
	}
}

func readLogs() lawful.Request {
	r := filter()
	r.Measure, r.Facts = lawful.ReadLogs, lawful.Facts{"finding": "F-1"}
	r.Scope.Window = lawful.Window{From: noon.Add(-time.Hour), Until: noon}
	return r
}

func waits(t *testing.T, g *lawful.Gate) string {
	t.Helper()
	grant, err := g.Ask(t.Context(), readLogs())
	p, is := errors.AsType[*lawful.Pending](err)
	if !is || !errors.Is(err, lawful.ErrWaiting) || errors.Is(err, lawful.ErrRefused) || grant.ID() != "" {
		t.Fatalf("%v", err)
	}
	return p.Decision.ID
}

// TestFourEyes: a second person, and a second look at every condition.
func TestFourEyes(t *testing.T) {
	w := newWorld()
	gate := gate(t, w)
	id := waits(t, gate)
	for _, who := range []string{"network:hanako", "legal:hanako", "Hanako", "legal: hanako ", "", "legal:"} {
		if _, err := gate.Approve(t.Context(), id, who); err == nil || errors.Is(err, lawful.ErrUnknown) {
			t.Errorf("%q: %v", who, err)
		}
	}
	w.findings["F-1"] = lawful.Finding{Detector: "ddos"}
	if _, err := gate.Approve(t.Context(), id, "legal:jiro"); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("the attack is over: %v", err)
	}
	w.findings["F-1"] = lawful.Finding{Detector: "ddos", Open: true}
	w.record = errors.New("disk full")
	if _, err := gate.Approve(t.Context(), id, "legal:jiro"); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("not written down: %v", err)
	}
	w.record = nil
	gate = gateOf(t, w, laws()) // a restart
	if list := gate.Waiting(); len(list) != 1 || list[0].ID != id {
		t.Fatalf("%+v", list)
	}
	w.now = noon.Add(time.Minute)
	g, err := gate.Approve(t.Context(), id, "legal:jiro")
	target := in7
	target.When = noon.Add(-time.Minute)
	if err != nil || !g.Allows(lawful.ReadLogs, target, w.now) || g.ID() != id || g.Until() != noon.Add(time.Hour+time.Minute) {
		t.Errorf("%v", err)
	}
	if last := w.decisions[len(w.decisions)-1]; last.Outcome != lawful.Granted || last.Who != "network:hanako" || last.Second != "legal:jiro" {
		t.Errorf("%+v", last)
	}
	if _, err := gate.Approve(t.Context(), id, "legal:saburo"); !errors.Is(err, lawful.ErrUnknown) {
		t.Errorf("approved twice: %v", err)
	}

	no := waits(t, gate)
	if err := gate.Decline(t.Context(), no, "legal:jiro", ""); err == nil {
		t.Error("declined without a reason")
	}
	if err := gate.Decline(t.Context(), no, "legal:jiro", "too wide"); err != nil {
		t.Error(err)
	}
	late := waits(t, gate)
	w.now = w.now.Add(24 * time.Hour)
	if _, err := gate.Approve(t.Context(), late, "legal:jiro"); !errors.Is(err, lawful.ErrUnknown) {
		t.Errorf("approved a day later: %v", err)
	}
	if _, err := gate.Recheck(t.Context()); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(w.outcomes()); got != "[waiting refused granted waiting declined waiting expired lapsed]" {
		t.Error(got)
	}
	if len(gate.Waiting()) != 0 || w.rows[no].State != lawful.Settled || w.rows[late].State != lawful.Settled {
		t.Errorf("%+v", w.rows)
	}
}

// TestRevoke: a revocation is seen by every copy at once, is written down, and what
// stood on the grant is withdrawn, however often that must be tried.
func TestRevoke(t *testing.T) {
	w := newWorld()
	gate := gate(t, w)
	g := granted(t, gate, filter())
	copied := g
	w.withdraw = errors.New("the router doesn't answer")
	if err := gate.Revoke(t.Context(), g.ID(), "legal:jiro", " "); err == nil {
		t.Error("revoked without a reason")
	}
	if err := gate.Revoke(t.Context(), g.ID(), "legal:jiro", "the court says so"); err == nil {
		t.Error("nobody said that the filter is still there")
	}
	found, err := gate.Find(t.Context(), g.ID())
	if err != nil || found.Allows(lawful.Filter, in7, noon) || g.Allows(lawful.Filter, in7, noon) || copied.Allows(lawful.Filter, in7, noon) {
		t.Errorf("still allowed: %v", err)
	}
	gate = gateOf(t, w, laws()) // a restart, with the filter still in place
	if g, err := gate.Find(t.Context(), g.ID()); err != nil || g.Allows(lawful.Filter, in7, noon) {
		t.Errorf("a restart revived it: %v", err)
	}
	if _, err := gate.Recheck(t.Context()); err == nil {
		t.Error("nobody said that the filter is still there")
	}
	w.withdraw = nil
	if _, err := gate.Recheck(t.Context()); err != nil || len(w.withdrawn) != 1 || w.withdrawn[0].Why.EN != "the court says so" || w.withdrawn[0].Who != "legal:jiro" {
		t.Errorf("%v, %+v", err, w.withdrawn)
	}
	if ended, err := gate.Recheck(t.Context()); err != nil || len(ended) != 0 || len(w.withdrawn) != 1 {
		t.Errorf("%v, %v", ended, err)
	}
	if _, err := gate.Find(t.Context(), g.ID()); !errors.Is(err, lawful.ErrUnknown) {
		t.Errorf("%v", err)
	}
	if err := gate.Revoke(t.Context(), g.ID(), "legal:jiro", "again"); !errors.Is(err, lawful.ErrUnknown) {
		t.Errorf("%v", err)
	}
	// Even when nothing can be written, nothing is allowed.
	g = granted(t, gate, filter())
	w.keep, w.record = errors.New("disk full"), errors.New("disk full")
	if err := gate.Revoke(t.Context(), g.ID(), "legal:jiro", "now"); err == nil || g.Allows(lawful.Filter, in7, noon) {
		t.Errorf("%v", err)
	}
	w.keep, w.record = nil, nil
	if _, err := gate.Recheck(t.Context()); err != nil || w.rows[g.ID()].State != lawful.Settled {
		t.Errorf("%v", err)
	}
}

// TestRecheck: what a grant stands on is looked at again, and ends it.
func TestRecheck(t *testing.T) {
	for name, c := range map[string]struct {
		ask    func() lawful.Request
		change func(w *world)
		after  time.Duration
		why    string // "" it stays
	}{
		"nothing happens":       {filter, func(*world) {}, time.Minute, ""},
		"time":                  {filter, func(*world) {}, time.Hour, "its time has come"},
		"the attack ends":       {filter, func(w *world) { w.findings["F-1"] = lawful.Finding{Detector: "ddos", Subject: "203.0.113.7"} }, time.Minute, "attack is missing"},
		"a consent ends":        {block, func(w *world) { w.consents["S-2 block"] = false }, time.Minute, "consent is missing"},
		"the terms change":      {block, func(w *world) { w.terms.OptOut = false }, time.Minute, "opt_out is missing"},
		"no answer for a while": {filter, func(w *world) { w.finding = errors.New("busy") }, 4 * time.Minute, ""},
		"no answer for long":    {filter, func(w *world) { w.finding = errors.New("busy") }, 5 * time.Minute, "couldn't be looked at"},
	} {
		w := newWorld()
		gate := gate(t, w)
		g := granted(t, gate, c.ask())
		c.change(w)
		w.now = noon.Add(c.after)
		ended, err := gate.Recheck(t.Context())
		if err != nil || len(ended) != min(1, len(c.why)) || len(w.withdrawn) != len(ended) {
			t.Errorf("%s: %d ended, %v", name, len(ended), err)
			continue
		}
		if len(ended) == 1 && (!strings.Contains(ended[0].Why.EN, c.why) || ended[0].Why.JA == "" || w.decisions[1].ID != g.ID()) {
			t.Errorf("%s: %+v", name, ended[0].Why)
		}
	}
}

// TestDeclared: what somebody declared ends the grant when it ends.
func TestDeclared(t *testing.T) {
	w := newWorld()
	gate := gate(t, w)
	r := filter()
	r.Measure, r.Scope.To = lawful.PassAttacker, []string{"AS64500"}
	for _, c := range []struct {
		at, until time.Duration
		want      bool
	}{{0, time.Minute, true}, {-time.Hour, 2 * time.Hour, true}, {time.Second, time.Hour, false}, {-time.Hour, 0, false}} {
		r.Facts = lawful.Facts{"receiver": lawful.Statement{Who: "AS64501", At: noon.Add(c.at), Until: noon.Add(c.until)}}
		g, err := gate.Ask(t.Context(), r)
		if (err == nil) != c.want || c.want && g.Until() != noon.Add(min(c.until, time.Hour)) {
			t.Errorf("%v: until %s, %v", c, g.Until(), err)
		}
	}
}

// TestRestart: grants outlive the process; whatever is altered in a kept row keeps it
// from becoming one.
func TestRestart(t *testing.T) {
	w := newWorld()
	g := granted(t, gate(t, w), filter())
	asked := gate(t, w)
	if again, err := asked.Find(t.Context(), g.ID()); err != nil || !again.Allows(lawful.Filter, in7, noon) || again.Rule() != "attack" || again.Until() != g.Until() {
		t.Fatalf("%v", err)
	}
	if err := asked.Restore(t.Context()); err != nil || len(asked.InForce()) != 1 {
		t.Errorf("%v", err)
	}
	row := w.rows[g.ID()]
	harms := map[string]func(k *lawful.Kept){
		"state": func(k *lawful.Kept) { k.State = lawful.AwaitsSecond },
		"until": func(k *lawful.Kept) { k.Until = k.Until.Add(1) },
		"id":    func(k *lawful.Kept) { k.ID = "G-X" },
		"seal":  func(k *lawful.Kept) { k.Seal = nil },
		"wider": func(k *lawful.Kept) {
			k.Body = []byte(strings.Replace(string(k.Body), "203.0.113.0/24", "0.0.0.0/0", 2))
		},
	}
	for i := range row.Body {
		harms[fmt.Sprint("byte ", i)] = func(k *lawful.Kept) { k.Body[i] ^= 1 }
	}
	for name, harm := range harms {
		k := row
		k.Body = append([]byte{}, row.Body...)
		harm(&k)
		w.rows = map[string]lawful.Kept{k.ID: k}
		forged, err := lawful.New(lawful.Deps{Guideline: laws(), Recorder: w, Keeper: w, Key: key, Clock: w})
		if err != nil {
			t.Fatal(err)
		}
		if err := forged.Restore(t.Context()); !errors.Is(err, lawful.ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
		if g, err := forged.Find(t.Context(), k.ID); !errors.Is(err, lawful.ErrForged) || g.ID() != "" || len(forged.InForce()) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.rows = map[string]lawful.Kept{row.ID: row}
	other, err := lawful.New(lawful.Deps{Guideline: laws(), Recorder: w, Keeper: w, Key: []byte("another key of thirty-two bytes!!"), Clock: w})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Restore(t.Context()); !errors.Is(err, lawful.ErrForged) {
		t.Errorf("another house's grant: %v", err)
	}
	// A rule that was narrowed meanwhile is asked in full.
	narrower := laws()
	narrower.Rules[0].Limits.Bits4 = 32
	after := gateOf(t, w, narrower)
	if ended, err := after.Recheck(t.Context()); err != nil || len(ended) != 1 || !strings.Contains(ended[0].Why.EN, "wider") {
		t.Errorf("%+v %v", ended, err)
	}
}

// TestMany: many at a time, and none gets what it shouldn't. For the race detector.
func TestMany(t *testing.T) {
	w := newWorld()
	gate := gate(t, w)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				g, err := gate.Ask(t.Context(), filter())
				if err != nil || !g.Allows(lawful.Filter, in7, noon) {
					t.Error(err)
					return
				}
				if j%2 == 0 {
					if err := gate.Revoke(t.Context(), g.ID(), "legal:jiro", "test"); err != nil || g.Allows(lawful.Filter, in7, noon) {
						t.Error(err)
					}
				}
				if i == 0 {
					if _, err := gate.Recheck(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if _, err := gate.Recheck(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(gate.InForce()); n != 80 || len(w.withdrawn) != 80 {
		t.Errorf("%d in force, %d withdrawn", n, len(w.withdrawn))
	}
}
