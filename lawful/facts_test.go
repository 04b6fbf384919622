package lawful_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sakimori/base/yaml"
	"sakimori/lawful"
)

// TestFacts: each kind is read as people write it, and nothing else is.
func TestFacts(t *testing.T) {
	g := laws()
	for text, want := range map[string]any{
		`why: load`:                       "load",
		`why: 3`:                          nil,
		`why: null`:                       nil,
		`consent: true`:                   true,
		`consent: "true"`:                 nil,
		`consent: 1`:                      nil,
		`share: 1`:                        1.0,
		`share: -1.5`:                     -1.5,
		`share: .nan`:                     nil,
		`share: "1"`:                      nil,
		`at: "2026-11-01T21:00:00+09:00"`: noon,
		`at: "2026-11-01 12:00"`:          nil,
		`at: 2026`:                        nil,
		`kept: 90m`:                       90 * time.Minute,
		`kept: -1h`:                       nil,
		`kept: 90`:                        nil,
		`means: [a, b]`:                   []string{"a", "b"},
		`means: []`:                       []string{},
		`means: [a, 1]`:                   nil,
		`means: [""]`:                     nil,
		`means: a`:                        nil,
		`receiver: {who: AS1, at: "2026-11-01T12:00:00Z", until: "2026-11-02T12:00:00Z"}`:       lawful.Statement{Who: "AS1", At: noon, Until: noon.AddDate(0, 0, 1)},
		`receiver: {who: AS1, at: "2026-11-01T12:00:00Z"}`:                                      nil,
		`receiver: {who: "", at: "2026-11-01T12:00:00Z", until: "2026-11-02T12:00:00Z"}`:        nil,
		`receiver: {who: AS1, at: "2026-11-01T12:00:00Z", until: "2026-11-02T12:00:00Z", x: 1}`: nil,
		`receiver: yes`: nil,
		`fnding: F-1`:   nil,
	} {
		var f lawful.Facts
		if err := yaml.Decode([]byte(text), &f); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := g.Check(f)
		name, _, _ := strings.Cut(text, ":")
		if want == nil {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v, %v", text, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s: %#v, %v", text, got[name], err)
		}
		// What is written as JSON is read as the same.
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back lawful.Facts
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if again, err := g.Check(back); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: back from %s: %#v, %v", text, b, again, err)
		}
	}
	if _, err := g.Check(lawful.Facts{"fnding": "F-1"}); err == nil || !strings.Contains(err.Error(), "Is finding meant?") {
		t.Error(err)
	}
	for name, f := range map[string]lawful.Facts{
		"a long text":    {"why": strings.Repeat("x", 1001)},
		"a long list":    {"means": make([]string, 1001)},
		"not a number":   {"share": math.NaN()},
		"a long who":     {"receiver": map[string]any{"who": strings.Repeat("x", 1001), "at": noon, "until": noon}},
		"a zero time":    {"at": time.Time{}},
		"an other thing": {"why": struct{}{}},
	} {
		if _, err := g.Check(f); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	many := lawful.Facts{}
	for i := range 65 {
		many[strings.Repeat("x", i)] = true
	}
	if _, err := g.Check(many); err == nil || !strings.Contains(err.Error(), "at most 64") {
		t.Error(err)
	}
}

// FuzzFacts: whatever is stated is refused, or means the same after it was kept.
func FuzzFacts(f *testing.F) {
	for _, s := range []string{`why: load`, `{"share": 0.1, "means": ["a"]}`, `at: 2026-11-01T12:00:00Z`, `kept: 1h`, `receiver: {who: a, at: "2026-11-01T12:00:00Z", until: "2026-11-01T12:00:00Z"}`} {
		f.Add([]byte(s))
	}
	g := laws()
	f.Fuzz(func(t *testing.T, b []byte) {
		var stated lawful.Facts
		if yaml.Decode(b, &stated) != nil {
			return
		}
		facts, err := g.Check(stated)
		if err != nil {
			return
		}
		j, err := json.Marshal(facts)
		if err != nil {
			return // not UTF-8, or a time that JSON can't hold
		}
		var back lawful.Facts
		if err := json.Unmarshal(j, &back); err != nil {
			t.Fatal(err)
		}
		if again, err := g.Check(back); err != nil || len(again) != len(facts) {
			t.Fatalf("%s: %v", j, err)
		}
	})
}

// TestRequest: a request in a form that can't be decided is refused with words.
func TestRequest(t *testing.T) {
	w := newWorld()
	gate := gate(t, w)
	for want, change := range map[string]func(r *lawful.Request){
		"no measure":          func(r *lawful.Request) { r.Measure = "wiretap" },
		"who asks":            func(r *lawful.Request) { r.Who = " " },
		"what purpose":        func(r *lawful.Request) { r.Purpose = "" },
		"at most 1000 bytes":  func(r *lawful.Request) { r.Purpose = strings.Repeat("x", 1001) },
		"speaks of filter":    func(r *lawful.Request) { r.Rule = "consent" },
		"no rule knows":       func(r *lawful.Request) { r.Facts["x"] = 1 },
		"and IPv4 as IPv4":    func(r *lawful.Request) { r.Scope.Prefixes[0] = mapped },
		"address/length":      func(r *lawful.Request) { r.Scope.Prefixes[0] = unmasked },
		"none of them empty":  func(r *lawful.Request) { r.Scope.Features = []string{""} },
		"more than 1000":      func(r *lawful.Request) { r.Scope.Ports = make([]uint16, 1001) },
		"at most 1000 texts,": func(r *lawful.Request) { r.Scope.To = make([]string, 1001) },
	} {
		r := filter()
		change(&r)
		if g, err := gate.Ask(t.Context(), r); !errors.Is(err, lawful.ErrRefused) || !strings.Contains(err.Error(), want) || g.ID() != "" {
			t.Errorf("%s: %v", want, err)
		}
	}
	if len(w.decisions) != 0 {
		t.Errorf("decided: %+v", w.decisions)
	}
}

// TestValidate: a guideline that isn't whole makes no gate.
func TestValidate(t *testing.T) {
	for want, change := range map[string]func(g *lawful.Guideline){
		"a name of its own, a kind": func(g *lawful.Guideline) { g.Facts[1].Name = "finding" },
		"and words in both":         func(g *lawful.Guideline) { g.Facts[1].Text.JA = "" },
		"a kind,":                   func(g *lawful.Guideline) { g.Facts[1].Kind = "colour" },
		"is there twice":            func(g *lawful.Guideline) { g.Rules[1].ID = "attack" },
		"an edition and a source":   func(g *lawful.Guideline) { g.Rules[1].Source = "" },
		"title and widest act":      func(g *lawful.Guideline) { g.Rules[1].Widest.EN = "" },
		"from which it is in force": func(g *lawful.Guideline) { g.Rules[1].From = time.Time{} },
		"an end after it":           func(g *lawful.Guideline) { g.Rules[1].Until = g.Rules[1].From },
		"a ground, a measure":       func(g *lawful.Guideline) { g.Rules[1].Conditions = nil },
		"verified says":             func(g *lawful.Guideline) { g.Rules[1].Verified.By = "" },
		"the longest time":          func(g *lawful.Guideline) { g.Rules[1].Limits.Longest = 0 },
		"permit nobody":             func(g *lawful.Guideline) { g.Rules[1].Limits.Consenting, g.Rules[1].Limits.Subjects = false, 0 },
		"shortest prefix":           func(g *lawful.Guideline) { g.Rules[0].Limits.Bits4 = 0 },
		"no ground":                 func(g *lawful.Guideline) { g.Rules[0].Grounds[0] = "because" },
		"no measure":                func(g *lawful.Guideline) { g.Rules[0].Measures[0] = "wiretap" },
		"has no condition": func(g *lawful.Guideline) {
			g.Rules[0].Measures = append(g.Rules[0].Measures, lawful.Block)
			forFilter(g)
		},
		"four_eyes names":         func(g *lawful.Guideline) { g.Rules[0].FourEyes = []lawful.Measure{lawful.Share} },
		"each needs a name":       func(g *lawful.Guideline) { g.Rules[0].Conditions[1].Name = "attack" },
		"no check":                func(g *lawful.Guideline) { g.Rules[0].Conditions[1].Check = "belief" },
		"what would satisfy it":   func(g *lawful.Guideline) { g.Rules[0].Conditions[1].Satisfy.JA = " " },
		"takes no param":          func(g *lawful.Guideline) { g.Rules[0].Conditions[1].Param = "5" },
		"its param is empty":      func(g *lawful.Guideline) { g.Rules[0].Conditions[0].Param = "" },
		"isn't a purpose and one": func(g *lawful.Guideline) { g.Rules[1].Conditions[1].Param = "block everything" },
		"it is for share":         func(g *lawful.Guideline) { g.Rules[0].Conditions[1].For = []lawful.Measure{lawful.Share} },
		"looks at no fact":        func(g *lawful.Guideline) { g.Rules[2].Conditions[1].Fact = "why" },
		"looks at a fact of":      func(g *lawful.Guideline) { g.Rules[0].Conditions[0].Fact = "share" },
	} {
		g := laws()
		change(&g)
		if _, err := lawful.New(lawful.Deps{Guideline: g, Recorder: newWorld(), Clock: newWorld()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	w := newWorld()
	for name, d := range map[string]lawful.Deps{"no recorder": {Clock: w}, "no clock": {Recorder: w}, "a short key": {Recorder: w, Clock: w, Keeper: w, Key: []byte("short")}} {
		if _, err := lawful.New(d); err == nil {
			t.Errorf("%s: a gate was made", name)
		}
	}
	if g, err := lawful.New(lawful.Deps{Recorder: w, Clock: w}); err != nil {
		t.Error(err)
	} else if _, err := g.Ask(t.Context(), notify()); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("a gate without rules grants: %v", err)
	}
}

var (
	mapped   = netip.MustParsePrefix("::ffff:203.0.113.0/120")
	unmasked = netip.MustParsePrefix("203.0.113.7/24")
)

func forFilter(g *lawful.Guideline) {
	for i := range g.Rules[0].Conditions {
		g.Rules[0].Conditions[i].For = []lawful.Measure{lawful.Filter}
	}
}

// TestTry: a trial believes what is stated, says so, and makes no Grant.
func TestTry(t *testing.T) {
	g := laws()
	d, err := g.Try(t.Context(), filter(), noon)
	if err != nil || d.Outcome != lawful.Granted || d.Proofs[0].Verified || d.Proofs[0].By != "network:hanako" {
		t.Errorf("%+v, %v", d, err)
	}
	r := block()
	if d, err := g.Try(t.Context(), r, noon); err != nil || d.Outcome != lawful.Refused || len(d.Missing) != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	r.Facts = lawful.Facts{"consent": true}
	if d, err := g.Try(t.Context(), r, noon); err != nil || d.Outcome != lawful.Granted || d.Proofs[0].Verified {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := g.Try(t.Context(), readLogs(), noon); err != nil || d.Outcome != lawful.Waiting {
		t.Errorf("%+v, %v", d, err)
	}
}
