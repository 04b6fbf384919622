package lawful_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/lawful"
)

// permission is a grant as the model sees it.
type permission struct {
	grant   lawful.Grant
	id      string
	ask     string // filter, block or readLogs
	until   time.Time
	ended   bool // revoked, or found without its ground
	settled bool
}

// TestModel: whatever happens in whatever order, a grant allows exactly as long as it
// isn't revoked, over, or without its ground at a look, restarts or not; whoever stood
// on one that ended is told exactly once; and every grant was written down before.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		g := gate(t, w)
		var all []*permission
		var waiting []string
		target := in7
		target.When = noon.Add(-time.Minute)
		given := func(grant lawful.Grant, ask string) {
			all = append(all, &permission{grant: grant, id: grant.ID(), ask: ask, until: grant.Until()})
			if last := w.decisions[len(w.decisions)-1]; last.ID != grant.ID() || last.Outcome != lawful.Granted {
				rt.Fatal("given before it was written down")
			}
		}
		holds := func(p *permission) bool {
			if p.ask == "block" {
				return w.consents["S-1 block"] && w.consents["S-2 block"]
			}
			return w.findings["F-1"].Open
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"filter", "filter", "block", "readLogs", "approve", "revoke", "finding", "consent", "time", "recheck", "recheck", "restart", "fail"}).Draw(rt, "step") {
			case "filter":
				if grant, err := g.Ask(t.Context(), filter()); (err == nil) != w.findings["F-1"].Open {
					rt.Fatal(err)
				} else if err == nil {
					given(grant, "filter")
				}
			case "block":
				if grant, err := g.Ask(t.Context(), block()); (err == nil) != (w.consents["S-1 block"] && w.consents["S-2 block"]) {
					rt.Fatal(err)
				} else if err == nil {
					given(grant, "block")
				}
			case "readLogs":
				_, err := g.Ask(t.Context(), readLogs())
				if p, is := errors.AsType[*lawful.Pending](err); is != w.findings["F-1"].Open {
					rt.Fatal(err)
				} else if is {
					waiting = append(waiting, p.Decision.ID)
				}
			case "approve":
				if len(waiting) == 0 {
					continue
				}
				if grant, err := g.Approve(t.Context(), waiting[0], "legal:jiro"); (err == nil) != w.findings["F-1"].Open {
					rt.Fatal(err)
				} else if err == nil {
					given(grant, "readLogs")
					waiting = waiting[1:]
				}
			case "revoke":
				if len(all) == 0 {
					continue
				}
				p := rapid.SampledFrom(all).Draw(rt, "which")
				if err := g.Revoke(t.Context(), p.id, "legal:jiro", "enough"); (err == nil) != !p.settled {
					rt.Fatal(err)
				}
				p.ended, p.settled = true, true
			case "finding":
				f := w.findings["F-1"]
				f.Open = !f.Open
				w.findings["F-1"] = f
			case "consent":
				w.consents["S-2 block"] = !w.consents["S-2 block"]
			case "time":
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(rt, "minutes")) * time.Minute)
			case "recheck":
				if _, err := g.Recheck(t.Context()); err != nil {
					rt.Fatal(err)
				}
				for _, p := range all {
					if !w.now.Before(p.until) || !holds(p) {
						p.ended, p.settled = true, true
					}
				}
			case "restart":
				g = gate(t, w)
				for _, p := range all {
					grant, err := g.Find(t.Context(), p.id)
					if (err == nil) != !p.settled {
						rt.Fatalf("after a restart: %v", err)
					}
					p.grant = grant
				}
			case "fail":
				w.record = errors.New("full")
				if grant, err := g.Ask(t.Context(), filter()); err == nil || grant.ID() != "" {
					rt.Fatal("granted without having been written down")
				}
				w.record = nil
			}
			for _, p := range all {
				got := false
				want := !p.ended && w.now.Before(p.until)
				switch p.ask {
				case "filter":
					got = p.grant.Allows(lawful.Filter, in7, w.now)
				case "readLogs":
					got = p.grant.Allows(lawful.ReadLogs, target, w.now)
				case "block":
					got = p.grant.Allows(lawful.Block, lawful.Of("S-2"), w.now)
					want = want && w.consents["S-2 block"]
				}
				if got != want {
					rt.Fatalf("%s allows %v, not %v: %+v", p.ask, got, want, p)
				}
			}
		}
		told := map[string]int{}
		for _, d := range w.withdrawn {
			told[d.ID]++
		}
		for _, p := range all {
			if (told[p.id] == 1) != p.settled || told[p.id] > 1 {
				rt.Fatalf("told %d times of the end of %+v", told[p.id], p)
			}
		}
	})
}
