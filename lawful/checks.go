package lawful

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// inquiry is one request while it is weighed.
type inquiry struct {
	findings Findings
	consents Consents
	believe  bool // a trial: what can't be asked counts as it was stated
	scope    *Scope
	facts    Facts
	rule     *Rule
	now      time.Time
}

// answer is what a check says of a condition.
type answer struct {
	holds    bool
	verified bool      // by the house; otherwise as it was stated
	until    time.Time // the proof ends then, zero: it doesn't by itself
	why      Text      // it doesn't hold; empty when the condition's own words say enough
	silent   bool      // it couldn't be asked: nothing is known
}

// check is one way to verify a condition.
type check struct {
	kinds []Kind // of the fact that it looks at; empty: it needs none
	live  bool   // it is asked again while a Grant lasts
	param func(string) error
	ask   func(ctx context.Context, q *inquiry, c *Condition) answer
}

// textf formats both languages with the same arguments.
func textf(ja, en string, args ...any) Text {
	return Text{JA: fmt.Sprintf(ja, args...), EN: fmt.Sprintf(en, args...)}
}

// checks are all ways to verify a condition, by the name that a rule uses.
var checks = map[string]check{
	"stated":           {kinds: []Kind{Bool, Word, List, Time}, param: none, ask: stated},
	"at_most":          {kinds: []Kind{Number, Duration}, param: bound, ask: atMost},
	"recent":           {kinds: []Kind{Time}, param: span, ask: recent},
	"among":            {kinds: []Kind{Word, List}, param: some, ask: among},
	"declared":         {kinds: []Kind{Declared}, live: true, param: none, ask: declaredNow},
	"finding":          {kinds: []Kind{Word}, live: true, param: some, ask: findingOpen},
	"finding_in_scope": {kinds: []Kind{Word}, live: true, param: some, ask: findingOpen},
	"consent":          {kinds: []Kind{Bool}, live: true, param: some, ask: consented},
	"terms":            {kinds: []Kind{Bool}, live: true, param: aspect, ask: terms},
	"window":           {param: none, ask: window},
	"within":           {kinds: []Kind{List}, param: none, ask: within},
	"features":         {param: none, ask: func(_ context.Context, q *inquiry, _ *Condition) answer { return shown(len(q.scope.Features) > 0) }},
	"receiver":         {param: none, ask: func(_ context.Context, q *inquiry, _ *Condition) answer { return shown(len(q.scope.To) > 0) }},
}

// Checks are the names of the ways in which a condition can be verified.
func Checks() []string { return slices.Sorted(maps.Keys(checks)) }

// shown is the answer of a check that looks at the scope, which the Grant enforces.
func shown(holds bool) answer { return answer{holds: holds, verified: true} }

func stated(_ context.Context, q *inquiry, c *Condition) answer {
	switch v := q.facts[c.Fact].(type) {
	case bool:
		return answer{holds: v}
	case string:
		return answer{holds: v != ""}
	case []string:
		return answer{holds: len(v) > 0}
	case time.Time:
		return answer{holds: !v.After(q.now)}
	}
	return answer{}
}

func atMost(_ context.Context, q *inquiry, c *Condition) answer {
	switch v := q.facts[c.Fact].(type) {
	case float64:
		most, err := strconv.ParseFloat(c.Param, 64)
		return answer{holds: err == nil && v >= 0 && v <= most, why: textf("%s は %g、上限は %s", "%s is %g: at most %s is permitted", c.Fact, v, c.Param)}
	case time.Duration:
		most, err := time.ParseDuration(c.Param)
		return answer{holds: err == nil && v <= most, why: textf("%s は %s、上限は %s", "%s is %s: at most %s is permitted", c.Fact, v, c.Param)}
	}
	return answer{}
}

func recent(_ context.Context, q *inquiry, c *Condition) answer {
	t, is := q.facts[c.Fact].(time.Time)
	age, err := time.ParseDuration(c.Param)
	if !is || err != nil {
		return answer{}
	}
	return answer{holds: !t.After(q.now) && q.now.Sub(t) <= age, why: textf("%s は %s。%s 以内であること", "%s is of %s: it must be at most %s old", c.Fact, t.Format(time.RFC3339), c.Param)}
}

func among(_ context.Context, q *inquiry, c *Condition) answer {
	allowed := strings.Fields(c.Param)
	var given []string
	switch v := q.facts[c.Fact].(type) {
	case string:
		given = []string{v}
	case []string:
		given = v
	}
	for _, g := range given {
		if !slices.Contains(allowed, g) {
			return answer{why: textf("%s の %.40q は対象外。許されるのは %s", "%s names %.40q: only %s are permitted", c.Fact, g, strings.Join(allowed, ", "))}
		}
	}
	return answer{holds: len(given) > 0}
}

// within holds where every prefix of the scope lies in one of the list, which is as it
// was stated.
func within(_ context.Context, q *inquiry, c *Condition) answer {
	list, is := q.facts[c.Fact].([]string)
	if !is || len(q.scope.Prefixes) == 0 {
		return answer{}
	}
	var around []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return answer{why: textf("%s の %.40q はプレフィックスではありません", "%s names %.40q, which is no prefix", c.Fact, s)}
		}
		around = append(around, p)
	}
	for _, p := range q.scope.Prefixes {
		if !slices.ContainsFunc(around, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
			return answer{why: textf("範囲の %[2]s は %[1]s の外です", "%[2]s of the scope lies outside of %[1]s", c.Fact, p)}
		}
	}
	return answer{holds: true}
}

func declaredNow(_ context.Context, q *inquiry, c *Condition) answer {
	s, is := q.facts[c.Fact].(Statement)
	if !is {
		return answer{}
	}
	return answer{
		holds: !s.At.After(q.now) && q.now.Before(s.Until), until: s.Until,
		why: textf("%s の有効期間は %s から %s まで", "%s is valid from %s to %s", c.Fact, s.At.Format(time.RFC3339), s.Until.Format(time.RFC3339)),
	}
}

// findingOpen asks the house itself whether a finding of one of the detectors in
// Param is open, and for finding_in_scope also whether it is about the scope. Its id may
// hold an address, so no answer repeats it.
func findingOpen(ctx context.Context, q *inquiry, c *Condition) answer {
	id, _ := q.facts[c.Fact].(string) // no text is no id
	if id == "" {
		return answer{}
	}
	if q.findings == nil {
		return answer{holds: q.believe, why: Text{"検知を照会できません", "nobody can be asked for findings"}}
	}
	f, err := q.findings.Open(ctx, id)
	switch {
	case err != nil:
		return answer{silent: true, why: textf("検知を確認できませんでした: %v", "the finding couldn't be looked at: %v", err)}
	case !f.Open:
		return answer{verified: true, why: Text{"示された検知は継続中ではありません", "the finding isn't open"}}
	case !slices.Contains(strings.Fields(c.Param), f.Detector):
		return answer{verified: true, why: textf("示された検知の種類は %s。必要なのは %s のいずれか", "the finding is one of %s: one of %s is needed", f.Detector, strings.Join(strings.Fields(c.Param), ", "))}
	case c.Check == "finding_in_scope" && !q.scope.about(f.Subject):
		return answer{verified: true, why: Text{"示された検知の対象は、求める範囲の外です", "the finding is about something outside the scope"}}
	}
	return answer{holds: true, verified: true}
}

// consented asks for each subject that is named; where a Grant is to apply to all who
// consent, it asks for each of them itself when it is used.
func consented(ctx context.Context, q *inquiry, c *Condition) answer {
	if len(q.scope.Subjects) == 0 && q.scope.Consenting != c.Param {
		return answer{why: Text{"範囲に契約者が指定されていません", "the scope names no subject"}}
	}
	if q.consents == nil {
		stated, _ := q.facts[c.Fact].(bool) // none is no
		return answer{holds: q.believe && stated, why: Text{"同意台帳に照会できません", "nobody can be asked for consents"}}
	}
	for i, s := range q.scope.Subjects {
		valid, err := q.consents.Valid(ctx, s, c.Param, q.now)
		if err != nil {
			return answer{silent: true, why: textf("同意台帳に照会できませんでした: %v", "the register of consents couldn't be asked: %v", err)}
		}
		if !valid {
			return answer{verified: true, why: textf("契約者 %d/%d は、現在 %s に同意していません", "subject %d of %d doesn't consent to %s now", i+1, len(q.scope.Subjects), c.Param)}
		}
	}
	return answer{holds: true, verified: true}
}

// terms asks the register whether the terms in force for a purpose are as they must be.
func terms(ctx context.Context, q *inquiry, c *Condition) answer {
	purpose, aspect, _ := strings.Cut(c.Param, " ")
	if q.consents == nil {
		stated, _ := q.facts[c.Fact].(bool) // none is no
		return answer{holds: q.believe && stated, why: Text{"約款を照会できません", "nobody can be asked for terms"}}
	}
	t, err := q.consents.Terms(ctx, purpose, q.now)
	if err != nil {
		return answer{silent: true, why: textf("%s の約款を確認できませんでした: %v", "the terms for %s couldn't be looked at: %v", purpose, err)}
	}
	return answer{holds: aspects[aspect](t), verified: true, why: textf("版 %q、目的 %s", "version %q of the terms for %s", t.Version, purpose)}
}

// aspects are what can be demanded of terms.
var aspects = map[string]func(Terms) bool{
	"opt_out":   func(t Terms) bool { return t.OptOut },
	"unchanged": func(t Terms) bool { return t.OtherwiseUnchanged },
	"notice":    func(t Terms) bool { return t.Notices > 0 },
	"limited":   func(t Terms) bool { return t.Limited },
}

func window(_ context.Context, q *inquiry, _ *Condition) answer {
	w, most := q.scope.Window, q.rule.Limits.Window
	length := w.Until.Sub(w.From)
	return answer{
		holds: !w.From.IsZero() && length > 0 && length <= most, verified: true,
		why: textf("時間範囲は %s。0s より長く %s 以下であること", "the window is %s long: more than 0s and at most %s is permitted", length, most),
	}
}

func none(p string) error {
	if p != "" {
		return fmt.Errorf("it takes no param, but has %q", p)
	}
	return nil
}

func some(p string) error {
	if len(strings.Fields(p)) == 0 {
		return errors.New("its param is empty")
	}
	return nil
}

func bound(p string) error {
	if _, err := strconv.ParseFloat(p, 64); err == nil {
		return nil
	}
	return span(p)
}

func span(p string) error {
	_, err := time.ParseDuration(p)
	return err
}

func aspect(p string) error {
	purpose, a, _ := strings.Cut(p, " ")
	if purpose == "" || aspects[a] == nil {
		return fmt.Errorf("its param %q isn't a purpose and one of %s", p, strings.Join(slices.Sorted(maps.Keys(aspects)), ", "))
	}
	return nil
}
