package mitigate

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond"
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
	respond.Policy // of 1 person, and 100 rules

	Share     float64       // of an attack that is to be stopped, 0.95
	Limit     float64       // of ordinary traffic that may be hit at most, whatever a person chooses: 0.05
	Rules     int           // most of one mitigation, 20
	Within    time.Duration // that an effect must show, 60 s
	Unseen    bool          // exporters count before their routers filter, and don't tell what was dropped: that nothing falls proves nothing, and rolls nothing back
	Protected []Protected
}

func (p *Policy) fill() {
	p.Fill(1, 100)
	if p.Within == 0 {
		p.Within = time.Minute
	}
	o := Options{Share: p.Share, Limit: p.Limit, Rules: p.Rules}
	o.fill()
	p.Share, p.Limit, p.Rules = o.Share, o.Limit, o.Rules
}

// Check tells which setting can't be.
func (p *Policy) Check() error {
	o := Options{Share: p.Share, Limit: p.Limit, Rules: p.Rules, Protected: p.Protected}
	if err := o.Check(); err != nil {
		return err
	}
	if p.Within < 0 {
		return errors.New("the time within which an effect must show is positive")
	}
	return p.Policy.Check()
}

// Deps are what a Desk works with.
type Deps struct {
	DB         *relation.DB
	Clock      clock.Clock
	Attacks    Attacks
	Baseline   Baseline // nil: what attacks bring themselves
	Gate       respond.Gate
	Guideline  lawful.Guideline // for what would be decided
	Recorder   Recorder
	Announcers []Announcer // none in rehearsal is fine
	Policy     Policy
}

// Desk keeps mitigations through their lives. It may be used by many goroutines, and by
// several processes on one store: one of them announces.
type Desk struct {
	*respond.Desk[Mitigation, Rule]

	Attacks  Attacks
	Baseline Baseline
	Recorder Recorder
	Policy   Policy
	mu       sync.Mutex
	seen     map[string]time.Time // attacks, by when somebody last told of them
	tried    map[string]time.Time // and by when it was last tried to propose something
}

// house is who does what no person does.
const house = "house:mitigate"

// Open prepares the tables. It announces nothing; call Tick every second, the first time
// before anything else is done.
func Open(ctx context.Context, x Deps) (*Desk, error) {
	if err := x.Policy.Check(); err != nil {
		return nil, err
	}
	x.Policy.fill()
	if x.Policy.Live && len(x.Announcers) == 0 {
		return nil, errors.New("mitigations are live, and nothing is configured that announces them: a BGP peer or a webhook; or leave it a rehearsal")
	}
	d := &Desk{Attacks: x.Attacks, Baseline: x.Baseline, Recorder: x.Recorder, Policy: x.Policy, seen: map[string]time.Time{}, tried: map[string]time.Time{}}
	var err error
	d.Desk, err = respond.Open(ctx,
		respond.Deps[Rule]{DB: x.DB, Clock: x.Clock, Gate: x.Gate, Guideline: x.Guideline, Announcers: x.Announcers, Policy: &d.Policy.Policy},
		respond.Kind{Name: "mitigation", Prefix: "M-", House: house, Rules: detect.Text{JA: "規則", EN: "rules"}}, mission{d})
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return d, x.DB.Migrate(ctx, "mitigate", files) // they were kept apart once
}

//go:embed migrations
var migrations embed.FS

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
	return Mitigation{Attack: a.ID, Object: a.Object, Outgoing: sends(a), Asked: o.Asked, Forecast: o.Forecast}
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

// file writes a proposal down. Its forms are made when it is read.
func (d *Desk) file(ctx context.Context, m *Mitigation, by string, why detect.Text) (Mitigation, error) {
	m.Proposal.Forms = Forms{}
	if _, err := d.File(ctx, m, m.Attack, keyOf(&m.Object), by, why); err != nil {
		return Mitigation{}, err
	}
	return d.Get(ctx, m.ID)
}

// keyOf names an object.
func keyOf(o *detect.Object) string {
	if o.Prefix.IsValid() {
		return o.Prefix.String()
	}
	return string(o.Kind) + " " + o.Name
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
	former, err := d.List(ctx, respond.Query{Object: keyOf(&a.Object), Limit: 20})
	if err != nil || len(former) == 0 || a.State == detect.Closed || rises(a) {
		return Proposal{}, false, err
	}
	if a, err = d.known(ctx, a); err != nil {
		return Proposal{}, false, err
	}
	b := newBench(a)
	for i := range former {
		m := &former[i]
		if m.ConfirmedAt == nil || m.State == respond.RolledBack || m.Outgoing != sends(a) || b.packets <= 0 || b.bytes <= 0 {
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
	m, err := d.Desk.Get(ctx, id)
	if err != nil {
		return m, err
	}
	a, err := d.Attacks.Attack(ctx, m.Attack)
	if err != nil { // its record is gone: the rules still say all but the request
		a = detect.Attack{ID: m.Attack, Object: m.Object}
	}
	m.Proposal.Forms = formsOf(&a, &m.Proposal)
	return m, nil
}

// mission is what the desk of all acts asks of mitigations.
type mission struct{ *Desk }

func (mission) Life(m *Mitigation) *respond.Act { return &m.Act }

func (mission) Rules(m *Mitigation) []Rule { return m.Proposal.Rules }

func (mission) Allowed(m *Mitigation, g lawful.Grant, now time.Time) bool { return m.allowed(g, now) }

var over = detect.Text{JA: "攻撃が終わりました", EN: "the attack is over"}

// Ground is the attack. One that a person foresees again doesn't end what stands.
func (d mission) Ground(ctx context.Context, m *Mitigation) (g respond.Ground, err error) {
	a, err := d.Attacks.Attack(ctx, m.Attack)
	if err != nil {
		return g, fmt.Errorf("attack %s can't be looked at: %w", m.Attack, err)
	}
	if a.State == detect.Closed {
		g.Over = ErrOver
		if m.Forecast == "" {
			g.Ends = over
		}
	}
	d.mu.Lock()
	g.Seen = d.seen[m.Attack]
	d.mu.Unlock()
	g.Request = func(who string) (lawful.Request, error) {
		r, err := m.request(&a, who, d.Clock.Now())
		if r.Measure == lawful.Block { // it takes two: whoever proposed asks
			r.Who = m.ProposedBy
		}
		return r, err
	}
	return g, nil
}

// Possible is a mitigation while it touches nothing that is protected now.
func (d mission) Possible(_ context.Context, m *Mitigation) (why detect.Text, err error) {
	touched := Touches(m.Proposal.Rules, d.Policy.Protected)
	if len(touched) == 0 {
		return why, nil
	}
	return detect.Textf("保護対象「%s」に及ぶため、広告しません", "it reaches into %q, which is protected, and isn't announced", touched[0].Protected.Name), ErrProtected
}

// Announced notes how the attack was when the rules came.
func (d mission) Announced(ctx context.Context, m *Mitigation) detect.Text {
	if a, err := d.Attacks.Attack(ctx, m.Attack); err == nil {
		m.Before = &a.Now
	}
	return detect.Text{JA: "広告しました。効果はまだ確認していません", EN: "announced; its effect isn't confirmed yet"}
}

// Proof is Watch's to find, second by second.
func (mission) Proof(context.Context, *Mitigation) (none detect.Text, err error) { return none, nil }

func (d mission) Record(ctx context.Context, m *Mitigation, x respond.Deed) error {
	deed := Deed{Mitigation: m.ID, Attack: m.Attack, Deed: x, Stops: m.Proposal.Stops.N, Collateral: -1, Object: m.Object}
	if m.Proposal.Collateral.Known {
		deed.Collateral = m.Proposal.Collateral.Upper()
	}
	for i := range m.Proposal.Rules {
		deed.Rules = append(deed.Rules, m.Proposal.Rules[i].String())
	}
	return d.Recorder.Record(ctx, deed)
}
