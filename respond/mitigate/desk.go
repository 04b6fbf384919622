package mitigate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/lawful"
)

// Attacks knows the newest version of an attack.
type Attacks interface {
	Attack(ctx context.Context, id string) (detect.Attack, error)
}

// Baseline knows what is ordinary, for attacks that don't bring enough of it.
type Baseline interface {
	// Ordinary gives up to so many flows that came to an object before a time, taken by
	// chance out of all that did within the last days, each weighted by what it stands for.
	Ordinary(ctx context.Context, o detect.Object, before time.Time, most int) ([]detect.Sample, error)
}

// Policy is what an operator sets. The zero one is DefaultPolicy in rehearsal with
// every number at its default.
type Policy struct {
	Live      bool          // announce for real; otherwise everything is a rehearsal
	Share     float64       // of an attack that is to be stopped, 0.95
	Limit     float64       // of ordinary traffic that may be hit at most, whatever a person chooses: 0.05
	Rules     int           // most of one mitigation, 20
	Budget    int           // most that all of them have with a router, 100
	Approvals int           // people besides who proposed, 1
	TTL       time.Duration // of what is announced, renewed at half of it, 10 min
	Patience  time.Duration // that a proposal waits for people, 1 h
	Within    time.Duration // that an effect must show, 60 s
	Unseen    bool          // exporters count before their routers filter, and don't tell what was dropped: that nothing falls proves nothing, and rolls nothing back
	Lease     time.Duration // of the right to announce, 30 s
	Protected []Protected
}

func (p *Policy) fill() {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&p.TTL, 10*time.Minute)
	set(&p.Patience, time.Hour)
	set(&p.Within, time.Minute)
	set(&p.Lease, 30*time.Second)
	o := Options{Share: p.Share, Limit: p.Limit, Rules: p.Rules}
	o.fill()
	p.Share, p.Limit, p.Rules = o.Share, o.Limit, o.Rules
	if p.Budget == 0 {
		p.Budget = 100
	}
	if p.Approvals == 0 {
		p.Approvals = 1
	}
}

// longest is how long anything of a mitigation lasts, as the guideline's rule has it.
const longest = 24 * time.Hour

// Check tells which setting can't be.
func (p *Policy) Check() error {
	o := Options{Share: p.Share, Limit: p.Limit, Rules: p.Rules, Protected: p.Protected}
	if err := o.Check(); err != nil {
		return err
	}
	switch {
	case p.Budget < 0 || p.Approvals < 0 || p.Approvals > 5:
		return fmt.Errorf("the budget of rules (%d) isn't negative, and 1 to 5 people approve (%d)", p.Budget, p.Approvals)
	case p.TTL < 0 || p.TTL > longest || p.Patience < 0 || p.Within < 0 || p.Lease < 0:
		return fmt.Errorf("the times of mitigations are positive, and their TTL at most %s", longest)
	case p.TTL != 0 && p.TTL < 10*time.Second || p.Lease != 0 && p.Lease < 5*time.Second:
		return errors.New("a TTL below 10 s or a lease below 5 s ends between two looks at it")
	}
	return nil
}

// Deps are what a Desk works with.
type Deps struct {
	DB         *relation.DB
	Clock      clock.Clock
	Attacks    Attacks
	Baseline   Baseline // nil: what attacks bring themselves
	Gate       Gate
	Guideline  lawful.Guideline // for what would be decided
	Recorder   Recorder
	Announcers []Announcer // none in rehearsal is fine
	Policy     Policy
}

// Desk keeps mitigations through their lives. It may be used by many goroutines, and by
// several processes on one store: one of them announces.
type Desk struct {
	Deps
	holder  string // of the lease
	acting  sync.Mutex
	mine    bool      // this process announces
	compare time.Time // when what announcers hold is looked at again
	mu      sync.Mutex
	holds   []Held               // what they held then
	seen    map[string]time.Time // attacks, by when somebody last told of them
	tried   map[string]time.Time // and by when it was last tried to propose something
}

// house is who does what no person does.
const house = "house:mitigate"

// Open prepares the tables. It announces nothing; call Tick every second, the first time
// before anything else is done.
func Open(ctx context.Context, d Deps) (*Desk, error) {
	if err := d.Policy.Check(); err != nil {
		return nil, err
	}
	d.Policy.fill()
	if d.Policy.Live && len(d.Announcers) == 0 {
		return nil, errors.New("mitigations are live, and nothing is configured that announces them: a BGP peer or a webhook; or leave it a rehearsal")
	}
	if err := migrate(ctx, d.DB); err != nil {
		return nil, err
	}
	return &Desk{Deps: d, holder: newID(), seen: map[string]time.Time{}, tried: map[string]time.Time{}}, nil
}

// Rehearsal tells whether everything is proposed and nothing announced.
func (d *Desk) Rehearsal() bool { return !d.Policy.Live }

// Order is what a person asks for.
type Order struct {
	Share    float64 // 0 the policy's
	Limit    float64 // 0 the policy's, and never above it
	Action   Action  // only proposals with such a rule, "rate" for either rate; "" the first that isn't refused
	Asked    *Asked  // the customer wants it
	Forecast string  // a person's, with its method
}

func (d *Desk) options(o *Order) Options {
	x := Options{Share: o.Share, Limit: d.Policy.Limit, Rules: d.Policy.Rules, Protected: d.Policy.Protected, Asked: o.Asked != nil}
	if x.Share == 0 {
		x.Share = d.Policy.Share
	}
	if o.Limit > 0 {
		x.Limit = min(x.Limit, o.Limit)
	}
	return x
}

// Plan makes proposals with what the guideline would say of them. It changes nothing.
func (d *Desk) Plan(ctx context.Context, a *detect.Attack, o Order) ([]Proposal, error) {
	x := d.options(&o)
	if err := x.Check(); err != nil {
		return nil, err
	}
	a, err := d.known(ctx, a)
	if err != nil {
		return nil, err
	}
	return d.plan(ctx, a, &o, x), nil
}

// known adds to an attack what is ordinary for its object, where it brings too little.
func (d *Desk) known(ctx context.Context, a *detect.Attack) (*detect.Attack, error) {
	const enough, most = 500, 2000 // samples: none of 500 hit is less than 0.8 % (95 %)
	if d.Baseline == nil || len(a.Ordinary) >= enough || a.State == detect.Closed {
		return a, nil
	}
	more, err := d.Baseline.Ordinary(ctx, a.Object, a.Opened, most)
	if err != nil {
		return nil, fmt.Errorf("what is ordinary for the object can't be looked up: %w", err)
	}
	if len(more) <= len(a.Ordinary) {
		return a, nil
	}
	with := *a
	with.Ordinary = more
	return &with, nil
}

func (d *Desk) plan(ctx context.Context, a *detect.Attack, o *Order, x Options) []Proposal {
	list := Plan(a, x)
	for i := range list {
		if len(list[i].Rules) == 0 {
			continue
		}
		m := d.about(a, o)
		m.Proposal = list[i]
		m.try(ctx, &d.Guideline, a, house, d.Clock.Now())
		list[i] = m.Proposal
	}
	return list
}

func (d *Desk) about(a *detect.Attack, o *Order) Mitigation {
	return Mitigation{
		ID: newID(), Attack: a.ID, Object: a.Object, Outgoing: sends(a), Rehearsal: !d.Policy.Live, State: Proposed, Words: Proposed.Words(),
		Asked: o.Asked, Forecast: o.Forecast, Needs: d.Policy.Approvals, Approvals: []Approval{},
	}
}

// Propose writes the first proposal down that fits an order and isn't refused, for
// people to approve. Where all are refused it says why. What helped against the same
// object before is tried first: against an attack in pulses it is at hand.
func (d *Desk) Propose(ctx context.Context, a *detect.Attack, o Order, by, why string) (Mitigation, error) {
	if by == "" {
		return Mitigation{}, errors.New("a proposal says who made it")
	}
	plans, err := d.Plan(ctx, a, o)
	if err != nil {
		return Mitigation{}, err
	}
	if armed, some, err := d.Armed(ctx, a, o); err != nil {
		return Mitigation{}, err
	} else if some {
		plans = append([]Proposal{armed}, plans...)
	}
	fits := func(p Proposal) bool {
		return !p.Refused && (o.Action == "" || slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Action.is(o.Action) }))
	}
	i := slices.IndexFunc(plans, fits)
	if i < 0 {
		return Mitigation{}, &NoProposal{plans}
	}
	m := d.about(a, &o)
	m.Proposal = plans[i]
	said := detect.Text{JA: why, EN: why}
	if why == "" {
		said = m.Proposal.Why
	}
	return d.file(ctx, &m, by, said)
}

// file writes a proposal down.
func (d *Desk) file(ctx context.Context, m *Mitigation, by string, why detect.Text) (Mitigation, error) {
	m.ProposedBy, m.ProposedAt, m.Reason = by, d.Clock.Now().UTC(), &why
	if err := d.Recorder.Record(ctx, d.deed(m, Proposed, by, why)); err != nil {
		return Mitigation{}, fmt.Errorf("the ledger didn't take the entry of a proposal: %w", err)
	}
	if err := d.DB.Tx(ctx, func(tx *relation.Tx) error { return insert(ctx, tx, m, why) }); err != nil {
		return Mitigation{}, err
	}
	return d.Get(ctx, m.ID)
}

// NoProposal is the error of an order that nothing fits.
type NoProposal struct{ Plans []Proposal }

// Error says what was wrong with the first.
func (e *NoProposal) Error() string { return "nothing can be proposed: " + e.Why().EN }

// Why says what was wrong with the first.
func (e *NoProposal) Why() detect.Text {
	for i := range e.Plans {
		if e.Plans[i].Refused {
			return e.Plans[i].Why
		}
	}
	return detect.Text{JA: "求める種類の規則はありません", EN: "there is no rule of the kind that is asked for"}
}

// Armed are the rules that last helped the object of an attack, if they do against this
// one, too: as a plan that was made before.
func (d *Desk) Armed(ctx context.Context, a *detect.Attack, o Order) (Proposal, bool, error) {
	x := d.options(&o)
	former, err := list(ctx, d.DB, Query{object: keyOf(&a.Object), Limit: 20})
	if err != nil || len(former) == 0 || a.State == detect.Closed || rises(a) {
		return Proposal{}, false, err
	}
	if a, err = d.known(ctx, a); err != nil {
		return Proposal{}, false, err
	}
	b := newBench(a)
	for i := range former {
		m := &former[i]
		if m.ConfirmedAt == nil || m.State == RolledBack || m.Outgoing != sends(a) || b.packets <= 0 || b.bytes <= 0 {
			continue
		}
		rules := slices.DeleteFunc(slices.Clone(m.Proposal.Rules), func(r Rule) bool { return r.Action == Pass })
		p := b.judge(rules, &x, scaleOf(a))
		if p.Refused || p.Stops.N < x.Share {
			continue
		}
		p.Alternatives = m.Proposal.Alternatives
		p.Why = detect.Text{JA: "前回この対象で効果があった規則です。" + p.Why.JA, EN: "these rules helped this object before. " + p.Why.EN}
		armed := d.about(a, &o)
		armed.Proposal = p
		armed.try(ctx, &d.Guideline, a, house, d.Clock.Now())
		return armed.Proposal, true, nil
	}
	return Proposal{}, false, nil
}

// Get reads a mitigation with its history, its forms and what was held of it when that
// was last looked at.
func (d *Desk) Get(ctx context.Context, id string) (Mitigation, error) {
	k, err := get(ctx, d.DB, id)
	if err != nil {
		return Mitigation{}, err
	}
	if k.Changes, err = history(ctx, d.DB, id); err != nil {
		return Mitigation{}, err
	}
	k.Held = []Held{}
	if k.Standing {
		d.mu.Lock()
		for _, h := range d.holds {
			if h.ID == id {
				k.Held = append(k.Held, h)
			}
		}
		d.mu.Unlock()
	}
	a, err := d.Attacks.Attack(ctx, k.Attack)
	if err != nil { // its record is gone: the rules still say all but the request
		a = detect.Attack{ID: k.Attack, Object: k.Object}
	}
	k.Proposal.Forms = formsOf(&a, &k.Proposal)
	return k.Mitigation, nil
}

// List reads mitigations, those first that were proposed last, without history, forms
// and what is held.
func (d *Desk) List(ctx context.Context, q Query) ([]Mitigation, error) {
	found, err := list(ctx, d.DB, q)
	out := make([]Mitigation, len(found))
	for i := range found {
		out[i] = found[i].Mitigation
	}
	return out, err
}

// Budget is how many rules stand with routers, and how many may.
func (d *Desk) Budget(ctx context.Context) (rules, most int, err error) {
	err = d.DB.QueryRow(ctx, `SELECT COALESCE(sum(rules), 0) FROM mitigation WHERE standing = 1`).Scan(&rules)
	return rules, d.Policy.Budget, err
}

// person is a user without where they act from: cli:hanako is hanako.
func person(who string) string {
	return strings.ToLower(strings.TrimSpace(who[strings.LastIndexByte(who, ':')+1:]))
}

// MayApprove tells what keeps somebody from approving a mitigation as it is.
func (d *Desk) MayApprove(m *Mitigation, by string) error {
	switch {
	case m.State != Proposed:
		return fmt.Errorf("%w: %s → %s", ErrOrder, m.State, Approved)
	case person(by) == "" || by == house:
		return errors.New("a person approves a mitigation, by name")
	case person(by) == person(m.ProposedBy), slices.ContainsFunc(m.Approvals, func(a Approval) bool { return person(a.Who) == person(by) }):
		return ErrOwn
	}
	return nil
}

// Approve is one person's yes. The last one that is needed asks for the Grant: the facts
// are those of the attack as it is now. A refusal of the guideline is the end of the
// mitigation, and the error. Then it is announced by the next Tick, unless it is a
// rehearsal.
func (d *Desk) Approve(ctx context.Context, id, by, why string) (Mitigation, error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	k, err := get(ctx, d.DB, id)
	if err != nil {
		return Mitigation{}, err
	}
	if err := d.MayApprove(&k.Mitigation, by); err != nil {
		return k.Mitigation, err
	}
	a, err := d.Attacks.Attack(ctx, k.Attack)
	if err != nil {
		return k.Mitigation, fmt.Errorf("the attack can't be looked at: %w", err)
	}
	if a.State == detect.Closed {
		return k.Mitigation, ErrOver
	}
	now := d.Clock.Now().UTC()
	k.Approvals = append(k.Approvals, Approval{by, now, why})
	if k.Needs--; k.Needs > 0 {
		return d.agree(ctx, &k, by, why)
	}
	if k.Rehearsal {
		said := detect.Textf("%s(演習: 承認を記録しました。広告はしません)", "%s (rehearsal: the approval is kept, nothing is announced)", why)
		ends := now.Add(longest)
		k.Ends = &ends
		return d.settle(ctx, &k, Approved, by, said)
	}
	g, err := d.grant(ctx, &k.Mitigation, &a, by)
	if err != nil {
		r, refused := errors.AsType[*lawful.Refusal](err)
		if !refused {
			return k.Mitigation, err // the gate itself is in trouble: it is still proposed
		}
		m, then := d.settle(ctx, &k, Refused, by, detect.Text(r.Text()))
		return m, errors.Join(err, then)
	}
	k.Grant = &Basis{ID: g.ID(), Rule: g.Rule(), Until: g.Until()}
	if rule, known := d.Guideline.Rule(g.Rule()); known {
		k.Grant.Title = detect.Text(rule.Title)
	}
	return d.settle(ctx, &k, Approved, by, detect.Text{JA: why, EN: why})
}

// agree keeps an approval that isn't the last.
func (d *Desk) agree(ctx context.Context, k *kept, by, why string) (Mitigation, error) {
	now := d.Clock.Now().UTC()
	said := detect.Textf("承認(あと %[2]d 人): %[1]s", "approved (%[2]d more needed): %[1]s", why, k.Needs)
	if err := d.Recorder.Record(ctx, d.deed(&k.Mitigation, Proposed, by, said)); err != nil {
		return k.Mitigation, fmt.Errorf("the ledger didn't take the entry of an approval: %w", err)
	}
	err := d.write(ctx, k, Change{At: now, From: Proposed, To: Proposed, Who: by, Why: said})
	return k.Mitigation, err
}

// Reject is a person's no.
func (d *Desk) Reject(ctx context.Context, id, by, why string) (Mitigation, error) {
	return d.end(ctx, id, Refused, by, detect.Text{JA: why, EN: why})
}

// Withdraw ends a mitigation by a person's wish; the next Tick takes it back from the
// routers.
func (d *Desk) Withdraw(ctx context.Context, id, by, why string) (Mitigation, error) {
	return d.end(ctx, id, Withdrawn, by, detect.Text{JA: why, EN: why})
}

func (d *Desk) end(ctx context.Context, id string, to State, by string, why detect.Text) (Mitigation, error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	const tries = 3 // another process may be at it
	for try := 1; ; try++ {
		k, err := get(ctx, d.DB, id)
		if err != nil {
			return Mitigation{}, err
		}
		m, err := d.settle(ctx, &k, to, by, why)
		if !errors.Is(err, errRace) || try == tries {
			return m, err
		}
	}
}

// settle brings a mitigation into its next state: written into the ledger first, then
// into the store. What it is in on the routers is left to Tick.
func (d *Desk) settle(ctx context.Context, k *kept, to State, who string, why detect.Text) (Mitigation, error) {
	now := d.Clock.Now().UTC()
	before := k.Mitigation
	c, err := k.step(to, who, why, now)
	if err != nil {
		return before, err
	}
	if to.Over() {
		k.WithdrawnAt, k.WithdrawnBy = &now, who
	}
	if err := d.Recorder.Record(ctx, d.deed(&k.Mitigation, to, who, why)); err != nil {
		return before, fmt.Errorf("the ledger didn't take the entry, so nothing was done: %w", err)
	}
	if err := d.write(ctx, k, c); err != nil {
		return before, err
	}
	return k.Mitigation, nil
}

// write keeps a step.
func (d *Desk) write(ctx context.Context, k *kept, c Change) error {
	err := d.DB.Tx(ctx, func(tx *relation.Tx) error {
		if err := update(ctx, tx, k, c.At); err != nil {
			return err
		}
		return note(ctx, tx, k.ID, c)
	})
	if err == nil {
		k.version++
	}
	return err
}

// save keeps what isn't a step.
func (d *Desk) save(ctx context.Context, k *kept) error {
	now := d.Clock.Now().UTC()
	err := d.DB.Tx(ctx, func(tx *relation.Tx) error { return update(ctx, tx, k, now) })
	if err == nil {
		k.version++
	}
	return err
}

func (d *Desk) deed(m *Mitigation, to State, by string, why detect.Text) Deed {
	x := Deed{
		Mitigation: m.ID, Attack: m.Attack, To: to, By: by, At: d.Clock.Now().UTC(), Why: why, Rehearsal: m.Rehearsal,
		Stops: m.Proposal.Stops.N, Collateral: -1, Object: m.Object,
	}
	if m.Proposal.Collateral.Known {
		x.Collateral = m.Proposal.Collateral.Upper()
	}
	if m.Grant != nil {
		x.Grant, x.Rule, x.Until = m.Grant.ID, m.Grant.Rule, m.Grant.Until
	}
	for i := range m.Proposal.Rules {
		x.Rules = append(x.Rules, m.Proposal.Rules[i].String())
	}
	return x
}
