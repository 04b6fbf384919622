package guideline_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
	"sakimori/lawful/guideline"
)

func builtin(t testing.TB) lawful.Guideline {
	t.Helper()
	g, err := guideline.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// accepted is the guideline with every source verified, so that each rule can be tried.
func accepted(t testing.TB) lawful.Guideline {
	t.Helper()
	g := builtin(t)
	for i := range g.Rules {
		g.Rules[i].Verified = lawful.Verified{By: "legal:test", On: g.Rules[i].From}
	}
	return g
}

// house answers everything as the rule wants it.
type house struct {
	detector string
	subject  string
	closed   bool
	declined bool
	terms    lawful.Terms
}

func (h *house) Open(context.Context, string) (lawful.Finding, error) {
	return lawful.Finding{Detector: h.detector, Subject: h.subject, Open: !h.closed}, nil
}

func (h *house) Valid(context.Context, string, string, time.Time) (bool, error) {
	return !h.declined, nil
}

func (h *house) Terms(context.Context, string, time.Time) (lawful.Terms, error) {
	return h.terms, nil
}

func (h *house) Record(context.Context, lawful.Decision) error { return nil }

// whole is a request that a rule grants, with nothing more than it asks for, made from
// the rule itself.
func whole(g *lawful.Guideline, r *lawful.Rule, m lawful.Measure, now time.Time) (lawful.Request, *house) {
	q := lawful.Request{Measure: m, Purpose: "a test", Who: "network:hanako", Rule: r.ID, Facts: lawful.Facts{}}
	if r.Limits.Prefixes > 0 {
		q.Scope.Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}
	}
	if r.Limits.Subjects > 0 {
		q.Scope.Subjects = []string{"S-1"}
	}
	h := &house{detector: "", subject: "203.0.113.7", terms: lawful.Terms{Version: "1", OptOut: true, OtherwiseUnchanged: true, Notices: 1, Limited: true}}
	for _, c := range r.For(m) {
		switch c.Check {
		case "features":
			q.Scope.Features = []string{"udp src port 123"}
		case "receiver":
			q.Scope.To = []string{"AS64500"}
		case "window":
			q.Scope.Window = lawful.Window{From: now.Add(-r.Limits.Window), Until: now}
		case "finding", "finding_in_scope":
			h.detector, _, _ = strings.Cut(c.Param, " ")
			q.Facts[c.Fact] = "F-1"
		case "among":
			first, _, _ := strings.Cut(c.Param, " ")
			q.Facts[c.Fact] = first
			if kind(g, c.Fact) == lawful.List {
				q.Facts[c.Fact] = strings.Fields(c.Param)
			}
		case "within":
			q.Facts[c.Fact] = []string{"2001:db8::/32", "203.0.113.0/24"}
		case "recent":
			age, _ := time.ParseDuration(c.Param) // validated
			q.Facts[c.Fact] = now.Add(-age)
		case "at_most":
			if n, err := strconv.ParseFloat(c.Param, 64); err == nil {
				q.Facts[c.Fact] = n
			} else {
				q.Facts[c.Fact] = c.Param
			}
		case "declared":
			q.Facts[c.Fact] = lawful.Statement{Who: "AS64501", At: now, Until: now.Add(time.Minute)}
		case "stated":
			switch kind(g, c.Fact) {
			case lawful.Bool:
				q.Facts[c.Fact] = true
			case lawful.List:
				q.Facts[c.Fact] = []string{"something"}
			default:
				q.Facts[c.Fact] = "something"
			}
		}
	}
	return q, h
}

func kind(g *lawful.Guideline, fact string) lawful.Kind {
	i := slices.IndexFunc(g.Facts, func(f lawful.Fact) bool { return f.Name == fact })
	return g.Facts[i].Kind
}

// without takes away what one condition needs, and nothing else.
func without(q *lawful.Request, h *house, c *lawful.Condition) {
	delete(q.Facts, c.Fact)
	switch c.Check {
	case "features":
		q.Scope.Features = nil
	case "receiver":
		q.Scope.To = nil
	case "window":
		q.Scope.Window = lawful.Window{}
	case "consent":
		h.declined = true
	case "terms":
		switch _, aspect, _ := strings.Cut(c.Param, " "); aspect {
		case "opt_out":
			h.terms.OptOut = false
		case "unchanged":
			h.terms.OtherwiseUnchanged = false
		case "notice":
			h.terms.Notices = 0
		case "limited":
			h.terms.Limited = false
		}
	}
}

// ask asks a gate with a house behind it, and a second person's yes where it is needed.
func ask(t *testing.T, g lawful.Guideline, h *house, q lawful.Request, now time.Time) (lawful.Grant, error) {
	t.Helper()
	gate, err := lawful.New(lawful.Deps{Guideline: g, Recorder: h, Findings: h, Consents: h, Clock: clock.Fixed(now)})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := gate.Ask(t.Context(), q)
	if p, waits := asPending(err); waits {
		return gate.Approve(t.Context(), p.Decision.ID, "legal:jiro")
	}
	return grant, err
}

func each(t *testing.T, do func(t *testing.T, g lawful.Guideline, r *lawful.Rule, m lawful.Measure)) {
	g := accepted(t)
	for i := range g.Rules {
		r := &g.Rules[i]
		for _, m := range r.Measures {
			t.Run(r.ID+"/"+string(m), func(t *testing.T) { do(t, g, r, m) })
		}
	}
}

// TestDates: each row grants on its first day and on its last, not before and not after.
func TestDates(t *testing.T) {
	each(t, func(t *testing.T, g lawful.Guideline, r *lawful.Rule, m lawful.Measure) {
		g.Rules = slices.Clone(g.Rules)
		i := slices.IndexFunc(g.Rules, func(x lawful.Rule) bool { return x.ID == r.ID })
		ended := r.From.AddDate(3, 0, 0) // no row has ended yet: this one does
		for _, c := range []struct {
			name  string
			at    time.Time
			until time.Time
			want  bool
		}{
			{"a moment before", r.From.Add(-time.Nanosecond), time.Time{}, false},
			{"the first moment", r.From, time.Time{}, true},
			{"today", time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), time.Time{}, true},
			{"the last moment", ended.Add(-time.Nanosecond), ended, true},
			{"the end", ended, ended, false},
		} {
			g.Rules[i].Until = c.until
			q, h := whole(&g, r, m, c.at)
			grant, err := ask(t, g, h, q, c.at)
			if (err == nil) != c.want || (grant.Rule() == r.ID) != c.want {
				t.Errorf("%s: %v", c.name, err)
			}
			if c.want && (grant.Until().After(c.at.Add(r.Limits.Longest)) || !c.until.IsZero() && grant.Until().After(c.until)) {
				t.Errorf("%s: lasts until %s", c.name, grant.Until())
			}
		}
	})
}

// TestMissing: each condition alone keeps each rule from granting, is named, and says
// in both languages what is missing and what would satisfy it.
func TestMissing(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	tried := 0
	each(t, func(t *testing.T, g lawful.Guideline, r *lawful.Rule, m lawful.Measure) {
		conditions := r.For(m)
		for i := range conditions {
			c := &conditions[i]
			q, h := whole(&g, r, m, now)
			without(&q, h, c)
			_, err := ask(t, g, h, q, now)
			refusal, is := asRefusal(err)
			if !is {
				t.Errorf("without %s: %v", c.Name, err)
				continue
			}
			tried++
			text := refusal.Text()
			at := slices.IndexFunc(refusal.Missing, func(l lawful.Lack) bool { return l.Condition == c.Name })
			if at < 0 || !strings.Contains(text.JA, c.Missing.JA) || !strings.Contains(text.EN, c.Missing.EN) || !strings.Contains(text.JA, c.Satisfy.JA) || !strings.Contains(err.Error(), c.Satisfy.EN) {
				t.Errorf("without %s: %v", c.Name, err)
			}
			// Conditions that look at the same fact fail together; no others do.
			for _, l := range refusal.Missing {
				j := slices.IndexFunc(conditions, func(d lawful.Condition) bool { return d.Name == l.Condition })
				if l.Condition != c.Name && (j < 0 || conditions[j].Fact != c.Fact) {
					t.Errorf("without %s, %s is missing, too", c.Name, l.Condition)
				}
			}
		}
	})
	if tried < 90 {
		t.Errorf("only %d conditions were tried", tried)
	}
}

// TestLimits: a scope that is one more than the widest act is refused.
func TestLimits(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	each(t, func(t *testing.T, g lawful.Guideline, r *lawful.Rule, m lawful.Measure) {
		for name, widen := range map[string]func(s *lawful.Scope){
			"subjects": func(s *lawful.Scope) { s.Subjects = names(r.Limits.Subjects + 1) },
			"prefixes": func(s *lawful.Scope) {
				for i := range r.Limits.Prefixes + 1 {
					s.Prefixes = append(s.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
				}
			},
			"width": func(s *lawful.Scope) {
				s.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("203.0.113.7"), r.Limits.Bits4-1).Masked()}
			},
			"width of IPv6": func(s *lawful.Scope) {
				s.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("2001:db8::"), r.Limits.Bits6-1).Masked()}
			},
			"ports":    func(s *lawful.Scope) { s.Ports = make([]uint16, r.Limits.Ports+1) },
			"features": func(s *lawful.Scope) { s.Features = names(r.Limits.Features + 1) },
			"to":       func(s *lawful.Scope) { s.To = names(r.Limits.To + 1) },
			"window":   func(s *lawful.Scope) { s.Window.From = now.Add(-r.Limits.Window - time.Second) },
			"consenting": func(s *lawful.Scope) {
				s.Subjects, s.Consenting = nil, "everything"
			},
			"nobody": func(s *lawful.Scope) { s.Subjects, s.Prefixes = nil, nil },
		} {
			if strings.HasPrefix(name, "width") && r.Limits.Prefixes == 0 || name == "window" && !slices.ContainsFunc(r.For(m), func(c lawful.Condition) bool { return c.Check == "window" }) {
				continue
			}
			q, h := whole(&g, r, m, now)
			widen(&q.Scope)
			if grant, err := ask(t, g, h, q, now); err == nil {
				t.Errorf("%s: granted until %s", name, grant.Until())
			}
		}
	})
}

func names(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("x%d", i)
	}
	return list
}

// TestUnverified: a rule whose source nobody has compared grants nothing, and says so;
// the paper's seven acts are the ones that were.
func TestUnverified(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	g := builtin(t)
	var verified []string
	for i := range g.Rules {
		r := &g.Rules[i]
		q, h := whole(&g, r, r.Measures[0], now)
		_, err := ask(t, g, h, q, now)
		if r.Verified != (lawful.Verified{}) {
			verified = append(verified, r.Case+r.ID)
			if err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
			continue
		}
		if refusal, is := asRefusal(err); !is || len(refusal.Missing) != 1 || refusal.Missing[0].Condition != "source_verified" {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
	want := "①consent-individual ①consent-terms ②facilities-attack ②facilities-foreseen ②sender-by-log ③joint-attacker ③joint-analysis"
	if got := strings.Join(verified, " "); got != want {
		t.Errorf("verified are %s", got)
	}
}

// TestVocabulary: every fact is used by a rule, and the same words mean the same.
func TestVocabulary(t *testing.T) {
	g := builtin(t)
	used := map[string]bool{}
	for _, r := range g.Rules {
		for _, c := range r.Conditions {
			used[c.Fact] = true
		}
	}
	for _, f := range g.Facts {
		if !used[f.Name] {
			t.Errorf("no rule looks at the fact %s", f.Name)
		}
	}
}

// TestOwnSpaceOnly: own prefixes are announced, nobody else's, and nothing around them.
func TestOwnSpaceOnly(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	g := accepted(t)
	r, known := g.Rule("own-announcement")
	if !known || !slices.Equal(r.FourEyes, []lawful.Measure{lawful.Announce}) {
		t.Fatalf("%+v", r)
	}
	for scope, want := range map[string]bool{
		"203.0.112.0/23": true, "203.0.112.0/22": true, "2001:db8:1::/48": true,
		"203.0.116.0/24": false, "203.0.0.0/16": false, "2001:db9::/32": false,
	} {
		q, h := whole(&g, r, lawful.Announce, now)
		q.Scope.Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix(scope)}
		q.Facts["own_space"] = []string{"203.0.112.0/22", "2001:db8::/32"}
		if _, err := ask(t, g, h, q, now); (err == nil) != want {
			t.Errorf("%s: %v", scope, err)
		}
	}
	q, h := whole(&g, r, lawful.Announce, now)
	q.Facts["own_space"] = []string{"203.0.113.0/24", "ours"}
	if _, err := ask(t, g, h, q, now); err == nil || !strings.Contains(err.Error(), `"ours"`) {
		t.Error(err)
	}
}
