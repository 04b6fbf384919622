package lawful

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
)

// Request is what one asks a Gate for.
type Request struct {
	Measure Measure   `json:"measure"`
	Purpose string    `json:"purpose"`        // what for, in a sentence
	Who     string    `json:"who"`            // asks: role:user, never a subscriber
	Rule    string    `json:"rule,omitempty"` // only by this one; "" by whichever fits
	Until   time.Time `json:"until,omitzero"` // zero: as long as the rule permits
	Scope   Scope     `json:"scope"`
	Facts   Facts     `json:"facts,omitempty"`
}

// Outcome is how a request stands.
type Outcome string

// The outcomes. Revoked and Expired follow Granted; Declined and Lapsed follow Waiting.
const (
	Granted  Outcome = "granted"
	Refused  Outcome = "refused"
	Waiting  Outcome = "waiting"  // for a second person
	Declined Outcome = "declined" // by a second person
	Lapsed   Outcome = "lapsed"   // nobody agreed in time
	Revoked  Outcome = "revoked"  // a condition no longer holds, or a person ended it
	Expired  Outcome = "expired"
)

// Decision is what a Gate writes down before it answers: enough to decide again. Scope
// and Facts can hold addresses and pseudonyms: a ledger keeps them apart.
type Decision struct {
	ID      string    `json:"id"`
	Outcome Outcome   `json:"outcome"`
	At      time.Time `json:"at"`
	Until   time.Time `json:"until,omitzero"` // of the Grant, or until when a second person may agree
	Measure Measure   `json:"measure"`
	Purpose string    `json:"purpose"`
	Who     string    `json:"who"`              // asked; of an end: ended it
	Second  string    `json:"second,omitempty"` // agreed, or tried to
	Scope   Scope     `json:"scope"`
	Facts   Facts     `json:"facts,omitempty"`
	Rule    string    `json:"rule,omitempty"`
	Edition string    `json:"edition,omitempty"`
	Source  string    `json:"source,omitempty"`
	Sum     string    `json:"sum,omitempty"` // of the rule as it was worded
	Proofs  []Proof   `json:"proofs,omitempty"`
	Missing []Lack    `json:"missing,omitempty"`
	Why     Text      `json:"why,omitzero"` // of an end
}

// Recorder writes decisions down. An error keeps the Gate from granting.
type Recorder interface {
	Record(ctx context.Context, d Decision) error
}

// Finding is what the house knows of a finding.
type Finding struct {
	Detector string
	Subject  string // an address, or a pseudonym
	Open     bool
}

// Findings tells how a finding stands. One that isn't there is not open.
type Findings interface {
	Open(ctx context.Context, id string) (Finding, error)
}

// Terms is what the house knows of the terms under which subscribers consent.
type Terms struct {
	Version            string
	OptOut             bool // may be declined at any time
	OtherwiseUnchanged bool // and nothing else of the terms changes by it
	Notices            int  // that were given before the terms were in force, besides their publication
	Limited            bool // to this purpose
}

// Consents tells whether a subject consents to a purpose at a time, and how the terms
// for it stand. It is asked at each act.
type Consents interface {
	Valid(ctx context.Context, subject, purpose string, at time.Time) (bool, error)
	Terms(ctx context.Context, purpose string, at time.Time) (Terms, error)
}

// Lately is what a register may have besides: an answer to Valid as of a second ago at most,
// and as of now where this process has heard of anything newer. known is false where Valid
// must be asked.
type Lately interface {
	Lately(subject, purpose string, at time.Time) (valid, known bool)
}

// Withdrawer is told that a Grant has ended, and takes back what stands on it. It is
// told again until it returns nil, and after a restart, too.
type Withdrawer interface {
	Withdraw(ctx context.Context, end Decision) error
}

// Deps is what a Gate needs. Without Findings or Consents no condition that asks them
// holds; without a Keeper its grants end with the process; a Keeper needs a Key.
type Deps struct {
	Guideline Guideline
	Recorder  Recorder
	Findings  Findings
	Consents  Consents
	Withdraw  Withdrawer
	Keeper    Keeper
	Key       []byte // of at least 32 bytes: seals what is kept
	Clock     clock.Clock
}

// Gate is the only place where a Grant is made. It may be used by many goroutines.
type Gate struct {
	deps     Deps
	checking sync.Mutex // one Recheck at a time; taken before mu
	mu       sync.Mutex
	standing map[string]*standing
	waiting  map[string]*waiting
}

// most is how many grants and requests a gate keeps at a time.
const most = 100_000

// New makes a gate. Without rules it refuses everything.
func New(d Deps) (*Gate, error) {
	if err := d.Guideline.Validate(); err != nil {
		return nil, err
	}
	d.Guideline, d.Key = d.Guideline.clone(), slices.Clone(d.Key) // nobody changes the rules of a gate
	if d.Recorder == nil || d.Clock == nil {
		return nil, errors.New("a gate needs a recorder and a clock")
	}
	if d.Keeper != nil && len(d.Key) < 32 {
		return nil, fmt.Errorf("the key that seals kept grants has %d bytes: at least 32 are needed", len(d.Key))
	}
	return &Gate{deps: d, standing: map[string]*standing{}, waiting: map[string]*waiting{}}, nil
}

// Ask checks whether a rule in force allows the measure under the facts, writes the
// decision down, and gives the Grant. It returns a *Refusal that says which conditions
// are missing, a *Pending when a second person must agree, or another ErrRefused.
func (g *Gate) Ask(ctx context.Context, r Request) (Grant, error) {
	r, err := g.deps.Guideline.take(r)
	if err != nil {
		return Grant{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := g.room(); err != nil {
		return Grant{}, err
	}
	q := inquiry{findings: g.deps.Findings, consents: g.deps.Consents, scope: &r.Scope, facts: r.Facts, now: g.deps.Clock.Now()}
	v := weigh(ctx, &g.deps.Guideline, q, &r)
	d := decide(&r, &v, q.now)
	switch d.Outcome {
	case Granted:
		return g.grant(ctx, d, &r, v.consent)
	case Waiting:
		return Grant{}, g.wait(ctx, d, &r)
	}
	if err := g.deps.Recorder.Record(ctx, d); err != nil {
		return Grant{}, fmt.Errorf("%w: the decision couldn't be written down: %w", ErrRefused, err)
	}
	return Grant{}, refusal(&d, &v)
}

// Try says what a Gate would decide, of facts that nobody verifies: it believes what
// is stated, and its proofs say so. It makes no Grant. An error means that the request
// itself is wrong.
func (g *Guideline) Try(ctx context.Context, r Request, now time.Time) (Decision, error) {
	r, err := g.take(r)
	if err != nil {
		return Decision{}, err
	}
	v := weigh(ctx, g, inquiry{believe: true, scope: &r.Scope, facts: r.Facts, now: now}, &r)
	return decide(&r, &v, now), nil
}

// take checks a request, and copies it: what the asker changes later changes nothing.
func (g *Guideline) take(r Request) (Request, error) {
	var err error
	switch {
	case !slices.Contains(Measures(), r.Measure):
		return r, fmt.Errorf("no measure %.40q: `sakimori lawful list` names them", r.Measure)
	case strings.TrimSpace(r.Who) == "" || strings.TrimSpace(r.Purpose) == "":
		return r, errors.New("a request says who asks, and for what purpose")
	case len(r.Who) > mostText || len(r.Purpose) > mostText:
		return r, fmt.Errorf("who asks and the purpose have at most %d bytes", mostText)
	}
	if r.Rule != "" {
		rule, known := g.Rule(r.Rule)
		if !known || !rule.Speaks(r.Measure) {
			return r, fmt.Errorf("no rule %.40q speaks of %s: `sakimori lawful explain %s` prints those that do", r.Rule, r.Measure, r.Measure)
		}
	}
	if err := r.Scope.check(); err != nil {
		return r, err
	}
	r.Scope = r.Scope.clone()
	r.Facts, err = g.Check(r.Facts)
	return r, err
}

// decide puts down what was weighed.
func decide(r *Request, v *verdict, now time.Time) Decision {
	d := Decision{
		ID: "G-" + rand.Text(), Outcome: Granted, At: now, Until: v.until,
		Measure: r.Measure, Purpose: r.Purpose, Who: r.Who, Scope: r.Scope, Facts: maps.Clone(r.Facts), Proofs: v.proofs, Missing: v.lacks,
	}
	if v.rule == nil {
		d.Outcome, d.Until, d.Missing = Refused, time.Time{}, []Lack{noRule}
		return d
	}
	d.Rule, d.Edition, d.Source, d.Sum = v.rule.ID, v.rule.Edition, v.rule.Source, v.rule.Sum()
	switch {
	case len(v.lacks) > 0 || !now.Before(v.until):
		d.Outcome, d.Until = Refused, time.Time{}
	case slices.Contains(v.rule.FourEyes, r.Measure):
		d.Outcome, d.Until = Waiting, now.Add(patience)
	}
	return d
}

// room refuses when the gate is full.
func (g *Gate) room() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.standing)+len(g.waiting) >= most {
		return fmt.Errorf("%w: %d grants are in force or waiting, which is as many as are kept: revoke what isn't needed", ErrRefused, most)
	}
	return nil
}
