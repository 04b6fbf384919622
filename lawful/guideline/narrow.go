package guideline

import (
	"fmt"
	"slices"
	"time"

	"sakimori/base/yaml"
	"sakimori/lawful"
)

// operators is an operator's file: what it changes of each rule, and facts for its own
// conditions.
type operators struct {
	Facts []fact     `yaml:"facts"`
	Rules []narrower `yaml:"rules"`
}

// narrower is what an operator may say of a rule. What isn't said stays.
type narrower struct {
	ID         string           `yaml:"id"`
	Off        bool             `yaml:"off"`      // it isn't used here
	Verified   verified         `yaml:"verified"` // who compared it with its source
	From       string           `yaml:"from"`     // later
	Until      string           `yaml:"until"`    // earlier
	Measures   []lawful.Measure `yaml:"measures"` // fewer
	Limits     limits           `yaml:"limits"`   // tighter
	FourEyes   []lawful.Measure `yaml:"four_eyes"`
	Conditions []condition      `yaml:"conditions"` // more
}

// Narrow applies an operator's file, in YAML. It can close a rule, shorten it, tighten
// its limits, add conditions and ask for a second person; a line that would widen
// anything is an error that names it. It can also say who verified a rule against its
// source: without that a rule whose source is still to be verified grants nothing.
func Narrow(g lawful.Guideline, b []byte) (lawful.Guideline, error) {
	var f operators
	if err := yaml.Decode(b, &f); err != nil {
		return g, err
	}
	g.Facts, g.Rules = slices.Clone(g.Facts), slices.Clone(g.Rules)
	for _, x := range f.Facts {
		g.Facts = append(g.Facts, x.fact())
	}
	seen := map[string]bool{}
	for i := range f.Rules {
		n := &f.Rules[i]
		at := slices.IndexFunc(g.Rules, func(r lawful.Rule) bool { return r.ID == n.ID })
		if at < 0 && !seen[n.ID] {
			return g, fmt.Errorf("no rule %.40q to narrow: `sakimori lawful list` names them", n.ID)
		}
		if seen[n.ID] {
			return g, fmt.Errorf("rule %s is narrowed twice: write it once", n.ID)
		}
		seen[n.ID] = true
		if n.Off {
			g.Rules = slices.Delete(g.Rules, at, at+1)
			continue
		}
		if err := n.narrow(&g.Rules[at]); err != nil {
			return g, fmt.Errorf("rule %s: %w", n.ID, err)
		}
	}
	return g, g.Validate()
}

func (n *narrower) narrow(r *lawful.Rule) error {
	from, err := day(n.From)
	if err != nil {
		return err
	}
	until, err := day(n.Until)
	if err != nil {
		return err
	}
	v, err := n.Verified.verified()
	if err != nil {
		return err
	}
	switch {
	case !from.IsZero() && from.Before(r.From):
		return fmt.Errorf("from %s is before the rule's own day, %s", n.From, r.From.Format(time.DateOnly))
	case !until.IsZero() && !r.Until.IsZero() && until.After(r.Until):
		return fmt.Errorf("until %s is after the rule's own day, %s", n.Until, r.Until.Format(time.DateOnly))
	}
	if !from.IsZero() {
		r.From = from
	}
	if !until.IsZero() {
		r.Until = until
	}
	if v != (lawful.Verified{}) {
		r.Verified = v
	}
	if len(n.Measures) > 0 {
		for _, m := range n.Measures {
			if !r.Speaks(m) {
				return fmt.Errorf("it doesn't speak of %s", m)
			}
		}
		r.Measures = n.Measures
		r.FourEyes = within(r.FourEyes, n.Measures)
		r.Conditions = slices.Clone(r.Conditions)
		for i := range r.Conditions {
			c := &r.Conditions[i]
			if len(c.For) > 0 {
				c.For = within(c.For, n.Measures)
			}
			if c.For != nil && len(c.For) == 0 {
				c.Name = "" // it was for measures that are gone
			}
		}
		r.Conditions = slices.DeleteFunc(r.Conditions, func(c lawful.Condition) bool { return c.Name == "" })
	}
	for _, m := range n.FourEyes {
		if !slices.Contains(r.FourEyes, m) {
			r.FourEyes = append(slices.Clone(r.FourEyes), m)
		}
	}
	r.Conditions = slices.Clone(r.Conditions)
	for _, c := range n.Conditions {
		r.Conditions = append(r.Conditions, c.condition())
	}
	return n.Limits.tighten(&r.Limits)
}

func within(list, of []lawful.Measure) []lawful.Measure {
	out := []lawful.Measure{}
	for _, m := range list {
		if slices.Contains(of, m) {
			out = append(out, m)
		}
	}
	return out
}

// tighten takes over the limits that are given. A prefix length is tighter when it is
// longer, everything else when it is less.
func (n *limits) tighten(l *lawful.Limits) error {
	if n.Consenting {
		return fmt.Errorf("consenting can't be set here: leave it out")
	}
	for _, d := range []struct {
		name string
		to   time.Duration
		of   *time.Duration
	}{{"longest", n.Longest, &l.Longest}, {"window", n.Window, &l.Window}} {
		if d.to < 0 || d.to > *d.of {
			return fmt.Errorf("limit %s: %s is wider than the rule's own, %s", d.name, d.to, *d.of)
		}
		if d.to > 0 {
			*d.of = d.to
		}
	}
	for _, d := range []struct {
		name   string
		to     int
		of     *int
		longer bool
	}{
		{"prefixes", n.Prefixes, &l.Prefixes, false},
		{"bits4", n.Bits4, &l.Bits4, true},
		{"bits6", n.Bits6, &l.Bits6, true},
		{"subjects", n.Subjects, &l.Subjects, false},
		{"ports", n.Ports, &l.Ports, false},
		{"features", n.Features, &l.Features, false},
		{"to", n.To, &l.To, false},
	} {
		if d.to == 0 {
			continue
		}
		if d.to < 0 || d.longer && d.to < *d.of || !d.longer && d.to > *d.of {
			return fmt.Errorf("limit %s: %d is wider than the rule's own, %d", d.name, d.to, *d.of)
		}
		*d.of = d.to
	}
	return nil
}
