// Package lawful says whether an operator may do a thing to communications at
// all, and gives the permission as a value.
//
// The secrecy of communications protects everything about a communication, its
// address and time too. Looking into it, naming a subscriber, blocking and
// sharing are lawful only in the cases of the guideline. So functions that do
// such a thing take a Grant, and a Grant is made only here, by a Gate that has
// checked the conditions and written its decision down first.
package lawful

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Measure is what one wants to do.
type Measure string

// The measures that need a Grant.
const (
	NameSubscriber Measure = "name_subscriber" // learn or show who an own address is
	ReadLogs       Measure = "read_logs"       // look through connection logs
	Notify         Measure = "notify"          // tell a subscriber, and ask for a clean-up
	Block          Measure = "block"           // keep a communication from happening
	Filter         Measure = "filter"          // drop what fits an attack
	Share          Measure = "share"           // hand an address to somebody else
)

// Rule is one case of the guideline, dated, with its source and conditions.
type Rule struct {
	ID         string
	Source     string // document and page
	From       time.Time
	Until      time.Time // zero to this day
	Measures   []Measure // that it can allow
	Conditions []Condition
	Longest    time.Duration // that a Grant under it lasts
}

// Condition is one fact that must hold, and the words for when it doesn't.
type Condition struct {
	Fact  string // key in Facts
	JA    string // what is missing, and what would satisfy it
	EN    string
	Holds func(value any) bool
}

// Facts are what the asker states; each is kept with the decision.
type Facts map[string]any

// Scope is to what a Grant applies: addresses inside Prefixes, and subscribers by
// the pseudonyms or the cases in Subjects.
type Scope struct {
	Prefixes []netip.Prefix
	Subjects []string
}

// Target is whom or what a measure touches: an address, a subscriber by pseudonym
// or case, or both. A Grant must cover all that is named.
type Target struct {
	Address netip.Addr
	Subject string
}

// At is the target of a measure on an address.
func At(a netip.Addr) Target { return Target{Address: a} }

// Of is the target of a measure on a subscriber, by pseudonym or case.
func Of(subject string) Target { return Target{Subject: subject} }

// covers tells whether all of the target lies in the scope.
func (s *Scope) covers(t Target) bool {
	if t == (Target{}) || t.Subject != "" && !slices.Contains(s.Subjects, t.Subject) {
		return false
	}
	return !t.Address.IsValid() || slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool { return p.Contains(t.Address.Unmap()) })
}

// Decision is what a Gate writes down before it answers.
type Decision struct {
	Measure Measure
	Scope   Scope
	Facts   Facts
	Rule    string // "" when no rule speaks of the measure
	Granted bool
	Missing []Condition
	At      time.Time
	Until   time.Time
}

// Recorder writes decisions down. An error keeps the Gate from granting.
type Recorder interface {
	Record(ctx context.Context, d Decision) error
}

// Grant is a permission. The zero Grant allows nothing, and no other can be
// made outside this package.
type Grant struct {
	rule    string
	measure Measure
	scope   Scope
	until   time.Time
}

// Allows is asked at the moment of acting.
func (g Grant) Allows(m Measure, target Target, now time.Time) bool {
	return g.rule != "" && g.measure == m && now.Before(g.until) && g.scope.covers(target)
}

// Rule is the id of the rule that it rests on, "" of the zero Grant.
func (g Grant) Rule() string { return g.rule }

// ErrRefused is what Ask returns when no Grant is given.
var ErrRefused = errors.New("refused")

// Gate is the only place where a Grant is made.
type Gate struct {
	rules    []Rule
	recorder Recorder
	now      func() time.Time
}

// NewGate makes a gate for the given rules. Without rules it refuses everything.
func NewGate(rules []Rule, r Recorder, now func() time.Time) *Gate {
	return &Gate{rules: rules, recorder: r, now: now}
}

// Ask checks whether a rule in force allows m under the facts, writes the
// decision down, and gives the Grant. A refusal wraps ErrRefused and says which
// condition is missing.
func (g *Gate) Ask(ctx context.Context, m Measure, s Scope, f Facts) (Grant, error) {
	now := g.now()
	d := Decision{Measure: m, Scope: s, Facts: f, At: now}
	for _, r := range g.rules {
		if now.Before(r.From) || !r.Until.IsZero() && !now.Before(r.Until) || !allows(r, m) {
			continue
		}
		missing := r.missing(f)
		if len(missing) == 0 {
			d.Rule, d.Granted, d.Missing, d.Until = r.ID, true, nil, now.Add(r.Longest)
			break
		}
		if d.Rule == "" || len(missing) < len(d.Missing) {
			d.Rule, d.Missing = r.ID, missing
		}
	}
	if err := g.recorder.Record(ctx, d); err != nil {
		return Grant{}, fmt.Errorf("%w: the decision could not be written down: %w", ErrRefused, err)
	}
	if d.Granted {
		return Grant{rule: d.Rule, measure: m, scope: s, until: d.Until}, nil
	}
	if d.Rule == "" {
		return Grant{}, fmt.Errorf("%w: no rule in force speaks of %s", ErrRefused, m)
	}
	return Grant{}, fmt.Errorf("%w by rule %s: %s", ErrRefused, d.Rule, d.Missing[0].EN)
}

func allows(r Rule, m Measure) bool {
	return slices.Contains(r.Measures, m)
}

func (r *Rule) missing(f Facts) (list []Condition) {
	for _, c := range r.Conditions {
		if v, known := f[c.Fact]; !known || !c.Holds(v) {
			list = append(list, c)
		}
	}
	return list
}
