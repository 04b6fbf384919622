package lawful

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Validate says what is wrong with a guideline: a Gate takes only one that is whole.
func (g *Guideline) Validate() error {
	seen := map[string]bool{}
	for _, f := range g.Facts {
		if f.Name == "" || seen[f.Name] || f.Kind.example() == "" || !slices.Contains([]Kind{Bool, Number, Time, Duration, Word, List, Declared}, f.Kind) || !f.Text.whole() {
			return fmt.Errorf("fact %q: it needs a name of its own, a kind, and words in both languages", f.Name)
		}
		seen[f.Name] = true
	}
	rules := map[string]bool{}
	for i := range g.Rules {
		r := &g.Rules[i]
		if rules[r.ID] {
			return fmt.Errorf("rule %s is there twice", r.ID)
		}
		rules[r.ID] = true
		if err := g.validate(r); err != nil {
			return fmt.Errorf("rule %q: %w", r.ID, err)
		}
	}
	return nil
}

func (t Text) whole() bool { return strings.TrimSpace(t.JA) != "" && strings.TrimSpace(t.EN) != "" }

func (g *Guideline) validate(r *Rule) error {
	grounds := Grounds()
	switch {
	case r.ID == "" || r.Source == "" || r.Edition == "":
		return errors.New("it needs an id, an edition and a source")
	case !r.Title.whole() || !r.Widest.whole():
		return errors.New("title and widest act are needed in both languages")
	case r.From.IsZero() || !r.Until.IsZero() && !r.From.Before(r.Until):
		return errors.New("it needs the day from which it is in force, and an end after it or none")
	case len(r.Grounds) == 0 || len(r.Measures) == 0 || len(r.Conditions) == 0:
		return errors.New("it needs a ground, a measure and a condition")
	case (r.Verified.By == "") != r.Verified.On.IsZero():
		return errors.New("verified says who and on which day, or isn't there")
	case r.Limits.Longest <= 0:
		return errors.New("its limits need the longest time of a grant")
	case r.Limits.Prefixes+r.Limits.Subjects == 0 && !r.Limits.Consenting:
		return errors.New("its limits permit nobody in the scope")
	case r.Limits.Prefixes > 0 && (r.Limits.Bits4 <= 0 || r.Limits.Bits4 > 32 || r.Limits.Bits6 <= 0 || r.Limits.Bits6 > 128):
		return errors.New("its limits need the shortest prefix of IPv4 (1 to 32) and IPv6 (1 to 128)")
	}
	for _, n := range r.Grounds {
		if _, known := grounds[n]; !known {
			return fmt.Errorf("no ground %q", n)
		}
	}
	for _, m := range r.Measures {
		if !slices.Contains(Measures(), m) {
			return fmt.Errorf("no measure %q", m)
		}
		if len(r.For(m)) == 0 {
			return fmt.Errorf("%s has no condition", m)
		}
	}
	for _, m := range r.FourEyes {
		if !r.Speaks(m) {
			return fmt.Errorf("four_eyes names %s, of which it doesn't speak", m)
		}
	}
	names := map[string]bool{}
	for i := range r.Conditions {
		c := &r.Conditions[i]
		if c.Name == "" || names[c.Name] {
			return fmt.Errorf("condition %q: each needs a name of its own", c.Name)
		}
		names[c.Name] = true
		if err := g.condition(r, c); err != nil {
			return fmt.Errorf("condition %q: %w", c.Name, err)
		}
	}
	return nil
}

func (g *Guideline) condition(r *Rule, c *Condition) error {
	k, known := checks[c.Check]
	if !known {
		return fmt.Errorf("no check %q: use one of %s", c.Check, strings.Join(Checks(), ", "))
	}
	if !c.Missing.whole() || !c.Satisfy.whole() {
		return errors.New("what is missing and what would satisfy it are needed in both languages")
	}
	if err := k.param(c.Param); err != nil {
		return err
	}
	for _, m := range c.For {
		if !r.Speaks(m) {
			return fmt.Errorf("it is for %s, of which the rule doesn't speak", m)
		}
	}
	if len(k.kinds) == 0 {
		if c.Fact != "" {
			return fmt.Errorf("%s looks at no fact", c.Check)
		}
		return nil
	}
	f, known := g.fact(c.Fact)
	if !known || !slices.Contains(k.kinds, f.Kind) {
		return fmt.Errorf("%s looks at a fact of the vocabulary of kind %v, not at %q", c.Check, k.kinds, c.Fact)
	}
	return nil
}
