package respond_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"sakimori/lawful"
	"sakimori/respond"
)

type nowhere struct{}

func (nowhere) Record(context.Context, lawful.Decision) error { return nil }

// TestStep walks an act through its life, and tries every step that isn't one.
func TestStep(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	target := netip.MustParseAddr("203.0.113.7")
	gate := lawful.NewGate([]lawful.Rule{{ID: "r", Measures: []lawful.Measure{lawful.Block}, Longest: time.Hour}}, nowhere{}, func() time.Time { return now })
	grant, err := gate.Ask(t.Context(), lawful.Block, lawful.Scope{Prefixes: []netip.Prefix{netip.PrefixFrom(target, 32)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	states := []respond.State{respond.Proposed, respond.Approved, respond.Applied, respond.Confirmed, respond.Withdrawn}
	for i, from := range states {
		for j, to := range states {
			a := respond.Act{Measure: lawful.Block, Target: lawful.At(target), State: from}
			got, err := a.Step(to, "hanako", grant, now)
			may := j == i+1 || to == respond.Withdrawn && from != respond.Withdrawn
			if may != (err == nil) {
				t.Errorf("%s → %s: %v", from, to, err)
			}
			if err != nil && (got.State != from || !errors.Is(err, respond.ErrOrder)) {
				t.Errorf("%s → %s left %+v, %v", from, to, got, err)
			}
		}
	}
	a := respond.Act{Measure: lawful.Block, Target: lawful.At(target), State: respond.Approved}
	if got, err := a.Step(respond.Applied, "hanako", lawful.Grant{}, now); !errors.Is(err, lawful.ErrRefused) || got.State != respond.Approved {
		t.Errorf("applied without a grant: %+v, %v", got, err)
	}
	if got, err := a.Step(respond.Applied, "hanako", grant, now); err != nil || got.Rule != "r" || got.By != "hanako" {
		t.Errorf("%+v, %v", got, err)
	}
}
