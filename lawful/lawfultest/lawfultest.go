// Package lawfultest gives tests real grants, of a gate with one rule that asks nothing
// but a reason.
package lawfultest

import (
	"context"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
)

type nowhere struct{}

func (nowhere) Record(context.Context, lawful.Decision) error { return nil }

// Rule is the id of the rule.
const Rule = "test"

// Grant is a grant of an hour for subscribers, by pseudonym or case.
func Grant(t testing.TB, now time.Time, m lawful.Measure, subjects ...string) lawful.Grant {
	t.Helper()
	g, err := Give(t.Context(), clock.Fixed(now), m, subjects...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Give is Grant where there is no test at hand.
func Give(ctx context.Context, c clock.Clock, m lawful.Measure, subjects ...string) (lawful.Grant, error) {
	words := lawful.Text{JA: "試験", EN: "a test"}
	gate, err := lawful.New(lawful.Deps{Recorder: nowhere{}, Clock: c, Guideline: lawful.Guideline{
		Facts: []lawful.Fact{{Name: "why", Kind: lawful.Word, Text: words}},
		Rules: []lawful.Rule{{
			ID: Rule, Title: words, Widest: words, Grounds: []lawful.Ground{lawful.LegitimateAct}, Edition: "1", Source: "a test",
			Verified: lawful.Verified{By: "legal:test", On: c.Now()}, From: c.Now(), Measures: []lawful.Measure{m},
			Limits:     lawful.Limits{Longest: time.Hour, Subjects: 1000},
			Conditions: []lawful.Condition{{Name: "why", Check: "stated", Fact: "why", Missing: words, Satisfy: words}},
		}},
	}})
	if err != nil {
		return lawful.Grant{}, err
	}
	return gate.Ask(ctx, lawful.Request{
		Measure: m, Purpose: "a test", Who: "legal:test", Facts: lawful.Facts{"why": "a test"}, Scope: lawful.Scope{Subjects: subjects},
	})
}
