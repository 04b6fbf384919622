package guideline_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/lawful"
	"sakimori/lawful/guideline"
)

func asRefusal(err error) (*lawful.Refusal, bool) { return errors.AsType[*lawful.Refusal](err) }
func asPending(err error) (*lawful.Pending, bool) { return errors.AsType[*lawful.Pending](err) }

func TestNarrow(t *testing.T) {
	g := builtin(t)
	n, err := guideline.Narrow(g, []byte(`
facts:
  - {name: ticket, kind: text, ja: 作業票, en: work order}
rules:
  - id: facilities-attack
    from: 2016-01-01
    until: 2030-01-01
    measures: [filter]
    four_eyes: [filter]
    limits: {longest: 2h, prefixes: 2, bits4: 32}
    conditions:
      - {name: ticket, check: stated, fact: ticket, missing: {ja: 作業票がありません, en: no work order}, satisfy: {ja: 作業票を起票してください, en: open one}}
  - {id: facilities-foreseen, off: true}
  - {id: flow-analysis, verified: {by: "legal:sato", on: 2026-11-20}}
  - {id: sender-by-log, measures: [notify]}
`))
	if err != nil {
		t.Fatal(err)
	}
	was, _ := g.Rule("facilities-attack")
	now, _ := n.Rule("facilities-attack")
	if now.Limits.Longest != 2*time.Hour || now.Limits.Prefixes != 2 || now.Limits.Bits4 != 32 || now.Limits.Bits6 != was.Limits.Bits6 || len(now.Measures) != 1 || len(now.FourEyes) != 1 || len(now.Conditions) != len(was.Conditions)+1 {
		t.Errorf("%+v", now)
	}
	if was.Limits.Longest != 24*time.Hour || len(was.Conditions) != 6 || now.Sum() == was.Sum() {
		t.Error("the rule itself was changed, or its sum wasn't")
	}
	if _, there := n.Rule("facilities-foreseen"); there {
		t.Error("a closed rule is still there")
	}
	if r, _ := n.Rule("flow-analysis"); r.Verified.By != "legal:sato" {
		t.Errorf("%+v", r.Verified)
	}
	if r, _ := n.Rule("sender-by-log"); len(r.Conditions) != 3 { // the window is for reading logs
		t.Errorf("%+v", r.Conditions)
	}
	at := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	q, h := whole(&n, now, lawful.Filter, at)
	if grant, err := ask(t, n, h, q, at); err != nil || grant.Until().Sub(at) > 2*time.Hour {
		t.Errorf("%v %v", grant.Until(), err)
	}
}

// TestOnlyNarrower: whatever would widen a rule is refused, and named.
func TestOnlyNarrower(t *testing.T) {
	for line, want := range map[string]string{
		"from: 2010-01-01":                        "before the rule's own day",
		"limits: {longest: 25h}":                  "limit longest",
		"limits: {longest: -1h}":                  "limit longest",
		"limits: {prefixes: 17}":                  "limit prefixes",
		"limits: {bits4: 23}":                     "limit bits4",
		"limits: {bits6: 32}":                     "limit bits6",
		"limits: {subjects: 1}":                   "limit subjects",
		"limits: {window: 1h}":                    "limit window",
		"limits: {ports: 1}":                      "limit ports",
		"limits: {features: 21}":                  "limit features",
		"limits: {to: 1}":                         "limit to",
		"limits: {consenting: true}":              "consenting",
		"measures: [notify]":                      "doesn't speak of notify",
		"four_eyes: [notify]":                     "doesn't speak",
		"title: {ja: a, en: b}":                   "title",
		"grounds: [statute]":                      "grounds",
		"until: yesterday":                        "write it as",
		"from: 2040-01-01\n    until: 2039-01-01": "an end after it",
		"verified: {by: x}":                       "on which day",
		"conditions: [{name: harm_shown, check: stated, fact: harm}]":                             "a name of its own",
		"conditions: [{name: x, check: stated, fact: harm}]":                                      "both languages",
		"conditions: [{name: x, check: magic, missing: {ja: a, en: a}, satisfy: {ja: a, en: a}}]": "no check",
	} {
		_, err := guideline.Narrow(builtin(t), []byte("rules:\n  - id: facilities-attack\n    "+line+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	for text, want := range map[string]string{
		"rules: [{id: nothing}]":                                                             "no rule",
		"rules: [{id: facilities-attack}, {id: facilities-attack}]":                          "twice",
		"rules: [{id: facilities-attack, off: true}, {id: facilities-attack}]":               "twice",
		"facts: [{name: finding, kind: bool, ja: a, en: b}]":                                 "a name of its own",
		"rules: [{id: flow-analysis, verified: {by: 'legal:sato', on: 2026-11-20, at: 10}}]": "at",
	} {
		if _, err := guideline.Narrow(builtin(t), []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzNarrow: whatever an operator writes, what is read isn't wider than before.
func FuzzNarrow(f *testing.F) {
	f.Add([]byte("rules:\n  - id: facilities-attack\n    limits: {longest: 2h, prefixes: 2, bits4: 32}\n    measures: [filter]\n"))
	f.Add([]byte("rules: [{id: flow-analysis, verified: {by: a, on: 2026-11-20}, four_eyes: []}]"))
	f.Add([]byte("rules: [{id: sender-by-log, until: 2030-01-01, limits: {window: 1h}, measures: [notify]}]"))
	f.Add([]byte("rules:\n  - id: facilities-attack\n    measures: !x "))
	g := builtin(f)
	before := builtin(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := guideline.Narrow(g, b)
		if !reflect.DeepEqual(g, before) {
			t.Fatal("the rules were changed in place")
		}
		if err != nil {
			return
		}
		for i := range n.Rules {
			r := &n.Rules[i]
			was, ok := g.Rule(r.ID)
			l, w := r.Limits, lawful.Limits{}
			if ok {
				w = was.Limits
			}
			if !ok || l.Longest > w.Longest || l.Window > w.Window || l.Prefixes > w.Prefixes || l.Bits4 < w.Bits4 || l.Bits6 < w.Bits6 ||
				l.Subjects > w.Subjects || l.Ports > w.Ports || l.Features > w.Features || l.To > w.To || l.Consenting != w.Consenting ||
				r.From.Before(was.From) || !was.Until.IsZero() && (r.Until.IsZero() || r.Until.After(was.Until)) {
				t.Fatalf("wider: %+v", r)
			}
			for _, m := range r.Measures {
				if !was.Speaks(m) || len(r.For(m)) < len(was.For(m)) {
					t.Fatalf("%s of %s has fewer conditions", m, r.ID)
				}
			}
			for _, m := range was.FourEyes {
				if r.Speaks(m) && !slices.Contains(r.FourEyes, m) {
					t.Fatalf("%s of %s needs no second person any more", m, r.ID)
				}
			}
		}
	})
}
