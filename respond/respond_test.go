package respond_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
	"sakimori/respond"
)

type nowhere struct{}

func (nowhere) Record(context.Context, lawful.Decision) error { return nil }

// blocking is a grant to block an address, by a rule of its own.
func blocking(t *testing.T, target netip.Addr, now time.Time) lawful.Grant {
	t.Helper()
	words := lawful.Text{JA: "試験", EN: "a test"}
	gate, err := lawful.New(lawful.Deps{Recorder: nowhere{}, Clock: clock.Fixed(now), Guideline: lawful.Guideline{
		Facts: []lawful.Fact{{Name: "why", Kind: lawful.Word, Text: words}},
		Rules: []lawful.Rule{{
			ID: "r", Title: words, Widest: words, Grounds: []lawful.Ground{lawful.LegitimateAct}, Edition: "1", Source: "a test",
			Verified: lawful.Verified{By: "legal:test", On: now}, From: now, Measures: []lawful.Measure{lawful.Block},
			Limits:     lawful.Limits{Longest: time.Hour, Prefixes: 1, Bits4: 32, Bits6: 128},
			Conditions: []lawful.Condition{{Name: "why", Check: "stated", Fact: "why", Missing: words, Satisfy: words}},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := gate.Ask(t.Context(), lawful.Request{
		Measure: lawful.Block, Purpose: "a test", Who: "network:hanako", Facts: lawful.Facts{"why": "a test"},
		Scope: lawful.Scope{Prefixes: []netip.Prefix{netip.PrefixFrom(target, target.BitLen())}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// TestStep walks an act through its life, and tries every step that isn't one.
func TestStep(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	target := netip.MustParseAddr("203.0.113.7")
	grant := blocking(t, target, now)
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
