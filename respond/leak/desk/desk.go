package desk

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond/leak"
)

// Incidents knows the newest version of an incident.
type Incidents interface {
	Incident(ctx context.Context, id string) (detect.Incident, error)
}

// Gate gives grants: a *lawful.Gate.
type Gate interface {
	Ask(ctx context.Context, r lawful.Request) (lawful.Grant, error)
	Approve(ctx context.Context, id, who string) (lawful.Grant, error)
	Find(ctx context.Context, id string) (lawful.Grant, error)
}

// Policy is what an operator sets. The zero one is a rehearsal with every number at its
// default.
type Policy struct {
	Live      bool          // announce for real; otherwise everything is a rehearsal
	Approvals int           // people besides who proposed, 2
	TTL       time.Duration // of what is announced, renewed at half of it, 10 min
	Patience  time.Duration // that a proposal waits for people, 1 h
	Lease     time.Duration // of the right to announce, 30 s
	Budget    int           // most prefixes that all acts announce, 32
	Share     float64       // of the vantage points that must see a prefix before it counts as confirmed, 0.5
}

// longest is how long anything of an act lasts, as the guideline's rule has it.
const longest = 24 * time.Hour

func (p *Policy) fill() {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&p.TTL, 10*time.Minute)
	set(&p.Patience, time.Hour)
	set(&p.Lease, 30*time.Second)
	if p.Approvals == 0 {
		p.Approvals = 2
	}
	if p.Budget == 0 {
		p.Budget = 32
	}
	if p.Share == 0 {
		p.Share = 0.5
	}
}

// Check tells which setting can't be.
func (p *Policy) Check() error {
	switch {
	case p.Approvals < 0 || p.Approvals > 5 || p.Budget < 0:
		return fmt.Errorf("1 to 5 people approve (%d), and the budget of prefixes isn't negative (%d)", p.Approvals, p.Budget)
	case p.TTL < 0 || p.TTL > longest || p.Patience < 0 || p.Lease < 0:
		return fmt.Errorf("the times of route acts are positive, and their TTL at most %s", longest)
	case p.TTL != 0 && p.TTL < 10*time.Second || p.Lease != 0 && p.Lease < 5*time.Second:
		return errors.New("a TTL below 10 s or a lease below 5 s ends between two looks at it")
	case p.Share < 0 || p.Share > 1:
		return fmt.Errorf("the share of vantage points lies between 0 and 1, not at %g", p.Share)
	}
	return nil
}

// Deps are what a Desk works with.
type Deps struct {
	DB         *relation.DB
	Clock      clock.Clock
	House      *leak.House
	ROAs       leak.ROAs // nil: nobody knows
	Incidents  Incidents
	Finding    func(i *detect.Incident) string // its id, that the gate can look up; nil: "incident-" and the incident's
	DataTime   func() time.Time                // of the newest routes: an open incident was seen until then; nil: until its last update
	Gate       Gate
	Guideline  lawful.Guideline // for the titles of rules
	Recorder   Recorder
	Announcers []Announcer // none in rehearsal is fine
	Sight      Sight       // nil: nothing is ever confirmed
	Policy     Policy
}

// Desk keeps acts through their lives. It may be used by many goroutines, and by several
// processes on one store: one of them announces.
type Desk struct {
	Deps
	holder  string // of the lease
	acting  sync.Mutex
	mine    bool      // this process announces
	compare time.Time // when what announcers hold is looked at again
	look    time.Time // and when who sees it is
	mu      sync.Mutex
	holds   []Held // what they held then
}

// house is who does what no person does.
const house = "house:leak"

// Open prepares the tables. It announces nothing; call Tick every second, the first time
// before anything else is done.
func Open(ctx context.Context, d Deps) (*Desk, error) {
	if err := d.Policy.Check(); err != nil {
		return nil, err
	}
	d.Policy.fill()
	if d.Policy.Live && len(d.Announcers) == 0 {
		return nil, errors.New("own more-specifics are live, and nothing is configured that announces them: a BGP peer that takes own prefixes; or leave it a rehearsal")
	}
	if d.Finding == nil {
		d.Finding = func(i *detect.Incident) string { return "incident-" + i.ID }
	}
	if err := migrate(ctx, d.DB); err != nil {
		return nil, err
	}
	return &Desk{Deps: d, holder: newID()}, nil
}

// Rehearsal tells whether everything is proposed and nothing announced.
func (d *Desk) Rehearsal() bool { return !d.Policy.Live }

// Propose writes down that prefixes be announced against an incident, for people to
// approve. Each must be one of its leak.MoreSpecifics, and possible.
func (d *Desk) Propose(ctx context.Context, i *detect.Incident, prefixes []netip.Prefix, by, why string) (Act, error) {
	if person(by) == "" || by == house {
		return Act{}, errors.New("a person proposes to announce own prefixes, by name")
	}
	if i.State == detect.Closed {
		return Act{}, ErrOver
	}
	prefixes = slices.Clone(prefixes)
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	prefixes = slices.Compact(prefixes)
	if err := d.possible(i, prefixes); err != nil {
		return Act{}, err
	}
	d.acting.Lock()
	defer d.acting.Unlock()
	live, err := list(ctx, d.DB, Query{Live: true})
	if err != nil {
		return Act{}, err
	}
	for k := range live {
		if p := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return slices.Contains(live[k].Prefixes, p) }); p >= 0 && !live[k].State.Over() {
			return Act{}, fmt.Errorf("%w: %s is in %s", ErrTwice, prefixes[p], live[k].ID)
		}
	}
	a := Act{
		ID: newID(), Incident: i.ID, Prefixes: prefixes, State: Proposed, Words: Proposed.Words(), Rehearsal: !d.Policy.Live,
		ProposedBy: by, ProposedAt: d.Clock.Now().UTC(), Needs: d.Policy.Approvals, Approvals: []Approval{},
	}
	said := detect.Text{JA: why, EN: why}
	a.Reason = &said
	if err := d.Recorder.Record(ctx, d.deed(&a, Proposed, by, said)); err != nil {
		return Act{}, fmt.Errorf("the ledger didn't take the entry of a proposal: %w", err)
	}
	if err := d.DB.Tx(ctx, func(tx *relation.Tx) error { return insert(ctx, tx, &a, said) }); err != nil {
		return Act{}, err
	}
	return d.Get(ctx, a.ID)
}

// possible tells what keeps prefixes from being announced against an incident.
func (d *Desk) possible(i *detect.Incident, prefixes []netip.Prefix) error {
	const most = 16 // of the guideline's rule
	if len(prefixes) == 0 || len(prefixes) > most {
		return fmt.Errorf("%w: name 1 to %d prefixes", ErrScope, most)
	}
	can := leak.MoreSpecifics(d.House, i, d.ROAs)
	for _, p := range prefixes {
		k := slices.IndexFunc(can, func(m leak.MoreSpecific) bool { return m.Prefix == p })
		switch {
		case k < 0:
			return fmt.Errorf("%w: %s", ErrScope, p)
		case !can[k].Possible:
			return fmt.Errorf("%w: %s: %s", ErrScope, p, can[k].Why.EN)
		}
	}
	return nil
}

// Get reads an act with its history and what was held of it when that was last looked at.
func (d *Desk) Get(ctx context.Context, id string) (Act, error) {
	k, err := get(ctx, d.DB, id)
	if err != nil {
		return Act{}, err
	}
	if k.Changes, err = history(ctx, d.DB, id); err != nil {
		return Act{}, err
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
	return k.Act, nil
}

// List reads acts, those first that were proposed last, without history and what is held.
func (d *Desk) List(ctx context.Context, q Query) ([]Act, error) {
	found, err := list(ctx, d.DB, q)
	out := make([]Act, len(found))
	for i := range found {
		out[i] = found[i].Act
	}
	return out, err
}

// Budget is how many prefixes stand with routers, and how many may.
func (d *Desk) Budget(ctx context.Context) (prefixes, most int, err error) {
	err = d.DB.QueryRow(ctx, `SELECT COALESCE(sum(prefixes), 0) FROM route_act WHERE standing = 1`).Scan(&prefixes)
	return prefixes, d.Policy.Budget, err
}

// person is a user without where they act from: cli:hanako is hanako.
func person(who string) string {
	return strings.ToLower(strings.TrimSpace(who[strings.LastIndexByte(who, ':')+1:]))
}

// MayApprove tells what keeps somebody from approving an act as it is.
func (d *Desk) MayApprove(a *Act, by string) error {
	switch {
	case a.State != Proposed:
		return fmt.Errorf("%w: %s → %s", ErrOrder, a.State, Approved)
	case person(by) == "" || by == house:
		return errors.New("a person approves an act, by name")
	case person(by) == person(a.ProposedBy), slices.ContainsFunc(a.Approvals, func(x Approval) bool { return person(x.Who) == person(by) }):
		return ErrOwn
	}
	return nil
}

// Approve is one person's yes. The last one that is needed asks for the Grant: the facts
// are those of the incident as it is now. A refusal of the guideline is the end of the
// act, and the error. Then it is announced by the next Tick, unless it is a rehearsal.
func (d *Desk) Approve(ctx context.Context, id, by, why string) (Act, error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	k, err := get(ctx, d.DB, id)
	if err != nil {
		return Act{}, err
	}
	if err := d.MayApprove(&k.Act, by); err != nil {
		return k.Act, err
	}
	i, err := d.Incidents.Incident(ctx, k.Incident)
	if err != nil {
		return k.Act, fmt.Errorf("the incident can't be looked at: %w", err)
	}
	if i.State == detect.Closed {
		return k.Act, ErrOver
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
	g, err := d.grant(ctx, &k.Act, &i, by)
	if err != nil {
		r, refused := errors.AsType[*lawful.Refusal](err)
		if !refused {
			return k.Act, err // the gate itself is in trouble: it is still proposed
		}
		a, then := d.settle(ctx, &k, Refused, by, detect.Text(r.Text()))
		return a, errors.Join(err, then)
	}
	k.Grant = &Basis{ID: g.ID(), Rule: g.Rule(), Until: g.Until()}
	if rule, known := d.Guideline.Rule(g.Rule()); known {
		k.Grant.Title = detect.Text(rule.Title)
	}
	return d.settle(ctx, &k, Approved, by, detect.Text{JA: why, EN: why})
}

// agree keeps an approval that isn't the last.
func (d *Desk) agree(ctx context.Context, k *kept, by, why string) (Act, error) {
	said := detect.Textf("承認(あと %[2]d 人): %[1]s", "approved (%[2]d more needed): %[1]s", why, k.Needs)
	if err := d.Recorder.Record(ctx, d.deed(&k.Act, Proposed, by, said)); err != nil {
		return k.Act, fmt.Errorf("the ledger didn't take the entry of an approval: %w", err)
	}
	err := d.write(ctx, k, Change{At: d.Clock.Now().UTC(), From: Proposed, To: Proposed, Who: by, Why: said})
	return k.Act, err
}

// Reject is a person's no.
func (d *Desk) Reject(ctx context.Context, id, by, why string) (Act, error) {
	return d.end(ctx, id, Refused, by, detect.Text{JA: why, EN: why})
}

// Withdraw ends an act by a person's wish; the next Tick takes it back from the routers.
func (d *Desk) Withdraw(ctx context.Context, id, by, why string) (Act, error) {
	return d.end(ctx, id, Withdrawn, by, detect.Text{JA: why, EN: why})
}

func (d *Desk) end(ctx context.Context, id string, to State, by string, why detect.Text) (Act, error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	const tries = 3 // another process may be at it
	for try := 1; ; try++ {
		k, err := get(ctx, d.DB, id)
		if err != nil {
			return Act{}, err
		}
		a, err := d.settle(ctx, &k, to, by, why)
		if !errors.Is(err, errRace) || try == tries {
			return a, err
		}
	}
}

// Incident hears of a new version of an incident: of one that is over everything ends.
// Call Tick afterwards.
func (d *Desk) Incident(ctx context.Context, i *detect.Incident) error {
	if i.State != detect.Closed {
		return nil
	}
	return d.endAll(ctx, Query{Incident: i.ID, Live: true}, over(i))
}

func over(i *detect.Incident) detect.Text {
	if i.Restored {
		return detect.Text{JA: "経路が復旧しました", EN: "the routes are restored"}
	}
	return detect.Text{JA: "障害が終わりました", EN: "the incident is over"}
}

// Ended takes back what stands on a Grant that has ended. Give it to the gate as what
// withdraws: it is asked again until everything is gone.
func (d *Desk) Ended(ctx context.Context, grant string, why detect.Text) error {
	if err := d.endAll(ctx, Query{Grant: grant, Live: true}, why); err != nil {
		return err
	}
	if _, err := d.Tick(ctx); err != nil {
		return err
	}
	left, err := list(ctx, d.DB, Query{Grant: grant, Standing: true})
	if err == nil && len(left) > 0 {
		err = ErrStandby // who announces takes it back, within a second
	}
	return err
}

func (d *Desk) endAll(ctx context.Context, q Query, why detect.Text) error {
	live, err := list(ctx, d.DB, q)
	for i := range live {
		if live[i].State.Over() {
			continue
		}
		_, failed := d.end(ctx, live[i].ID, Withdrawn, house, why)
		if !errors.Is(failed, ErrOrder) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// settle brings an act into its next state: written into the ledger first, then into the
// store. What it is in on the routers is left to Tick.
func (d *Desk) settle(ctx context.Context, k *kept, to State, who string, why detect.Text) (Act, error) {
	now := d.Clock.Now().UTC()
	before := k.Act
	c, err := k.step(to, who, why, now)
	if err != nil {
		return before, err
	}
	if to.Over() {
		k.WithdrawnAt, k.WithdrawnBy = &now, who
	}
	if err := d.Recorder.Record(ctx, d.deed(&k.Act, to, who, why)); err != nil {
		k.Act = before
		return before, fmt.Errorf("the ledger didn't take the entry, so nothing was done: %w", err)
	}
	if err := d.write(ctx, k, c); err != nil {
		k.Act = before
		return before, err
	}
	return k.Act, nil
}

// write keeps a step.
func (d *Desk) write(ctx context.Context, k *kept, c Change) error {
	err := d.DB.Tx(ctx, func(tx *relation.Tx) error {
		if err := update(ctx, tx, k); err != nil {
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
	err := d.DB.Tx(ctx, func(tx *relation.Tx) error { return update(ctx, tx, k) })
	if err == nil {
		k.version++
	}
	return err
}

func (d *Desk) deed(a *Act, to State, by string, why detect.Text) Deed {
	x := Deed{Act: a.ID, Incident: a.Incident, To: to, By: by, At: d.Clock.Now().UTC(), Why: why, Rehearsal: a.Rehearsal}
	for _, p := range a.Prefixes {
		x.Prefixes = append(x.Prefixes, p.String())
	}
	if a.Grant != nil {
		x.Grant, x.Rule, x.Until = a.Grant.ID, a.Grant.Rule, a.Grant.Until
	}
	return x
}
