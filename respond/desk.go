package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/lawful"
)

// Policy is what an operator sets of acts of one kind. The zero one is a rehearsal.
type Policy struct {
	Live      bool          // announce for real; otherwise everything is a rehearsal
	Approvals int           // people besides who proposed
	Budget    int           // most rules that all acts of the kind have with a router
	TTL       time.Duration // of what is announced, renewed at half of it, 10 min
	Patience  time.Duration // that a proposal waits for people, 1 h
	Lease     time.Duration // of the right to announce, 30 s
}

// Fill gives what isn't set its default; those of the first two are the mission's.
func (p *Policy) Fill(approvals, budget int) {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&p.TTL, 10*time.Minute)
	set(&p.Patience, time.Hour)
	set(&p.Lease, 30*time.Second)
	if p.Approvals == 0 {
		p.Approvals = approvals
	}
	if p.Budget == 0 {
		p.Budget = budget
	}
}

// longest is how long anything of an act lasts, as the guideline's rules have it.
const longest = 24 * time.Hour

// Check tells which setting can't be.
func (p *Policy) Check() error {
	switch {
	case p.Budget < 0 || p.Approvals < 0 || p.Approvals > 5:
		return fmt.Errorf("the budget of what routers hold (%d) isn't negative, and 1 to 5 people approve (%d)", p.Budget, p.Approvals)
	case p.TTL < 0 || p.TTL > longest || p.Patience < 0 || p.Lease < 0:
		return fmt.Errorf("the times of acts are positive, and their TTL at most %s", longest)
	case p.TTL != 0 && p.TTL < 10*time.Second || p.Lease != 0 && p.Lease < 5*time.Second:
		return errors.New("a TTL below 10 s or a lease below 5 s ends between two looks at it")
	}
	return nil
}

// Kind tells the acts of a mission from those of others.
type Kind struct {
	Name   string      // in the store
	Prefix string      // of ids
	House  string      // who does what no person does
	Rules  detect.Text // what routers are told, by the number of it
}

// Mission is what somebody who acts knows of their acts: A is one of them, an Act with
// what it does beside it, and R a rule of it as a router is told.
type Mission[A, R any] interface {
	// Life is the Act in one of them.
	Life(a *A) *Act
	// Rules are what routers are told of it.
	Rules(a *A) []R
	// Ground looks at what it is about, as that is now. An error: it can't be told now.
	Ground(ctx context.Context, a *A) (Ground, error)
	// Allowed tells whether a Grant allows all of it at a time.
	Allowed(a *A, g lawful.Grant, now time.Time) bool
	// Possible tells whether it still can be announced once it is approved. With an error
	// that says why in words it fails for good; with one that doesn't it is looked at again.
	Possible(ctx context.Context, a *A) (why detect.Text, err error)
	// Announced hears that routers have it, and says so for people.
	Announced(ctx context.Context, a *A) detect.Text
	// Proof looks, every few seconds, whether one that is announced does what it is for,
	// and says how that is known; nothing: it isn't yet.
	Proof(ctx context.Context, a *A) (detect.Text, error)
	// Record writes down what is about to be done. An error keeps it from being done.
	Record(ctx context.Context, a *A, d Deed) error
}

// Ground is what an act stands on, besides its Grant.
type Ground struct {
	Over    error                                    // nothing new is done about it: why
	Ends    detect.Text                              // and what stands ends: why
	Seen    time.Time                                // until when it was seen to last
	Request func(who string) (lawful.Request, error) // what a Grant is asked with; who is the last that approved
}

// Deps are what a Desk works with.
type Deps[R any] struct {
	DB         *relation.DB
	Clock      clock.Clock
	Gate       Gate
	Guideline  lawful.Guideline // for the titles of rules
	Announcers []Announcer[R]   // none in rehearsal is fine
	Policy     *Policy          // with nothing left to fill
}

// Desk keeps acts of one kind through their lives. It may be used by many goroutines, and
// by several processes on one store: one of them announces.
type Desk[A, R any] struct {
	Deps[R]
	kind    Kind
	mission Mission[A, R]
	holder  string // of the lease
	acting  sync.Mutex
	mine    bool      // this process announces
	compare time.Time // when what announcers hold is looked at again
	proof   time.Time // and when proof is
	mu      sync.Mutex
	holds   []Held // what they held then
}

// Open prepares the tables; a mission that kept its acts elsewhere before moves them there
// next. It announces nothing; call Tick every second, the first time before anything else
// is done.
func Open[A, R any](ctx context.Context, d Deps[R], k Kind, m Mission[A, R]) (*Desk[A, R], error) {
	if err := migrate(ctx, d.DB); err != nil {
		return nil, err
	}
	return &Desk[A, R]{Deps: d, kind: k, mission: m, holder: newID(k.Prefix)}, nil
}

// Rehearsal tells whether everything is proposed and nothing announced.
func (d *Desk[A, R]) Rehearsal() bool { return !d.Policy.Live }

// File writes a proposal down, for people to approve: an act whose life begins, what it
// is about, and the object that it protects.
func (d *Desk[A, R]) File(ctx context.Context, whole *A, about, object, by string, why detect.Text) (A, error) {
	a := d.mission.Life(whole)
	*a = Act{
		ID: newID(d.kind.Prefix), State: Proposed, Words: Proposed.Words(), Reason: &why, Rehearsal: !d.Policy.Live,
		ProposedBy: by, ProposedAt: d.Clock.Now().UTC(), Needs: d.Policy.Approvals, Approvals: []Approval{},
	}
	var none A
	if err := d.mission.Record(ctx, whole, d.deed(a, Proposed, by, why)); err != nil {
		return none, fmt.Errorf("the ledger didn't take the entry of a proposal: %w", err)
	}
	if err := d.DB.Tx(ctx, func(tx *relation.Tx) error { return d.insert(ctx, tx, whole, about, object, why) }); err != nil {
		return none, err
	}
	return d.Get(ctx, a.ID)
}

// Get reads an act with its history and what was held of it when that was last looked at.
func (d *Desk[A, R]) Get(ctx context.Context, id string) (whole A, err error) {
	k, err := d.get(ctx, id)
	if err != nil {
		return whole, err
	}
	if k.Changes, err = d.history(ctx, id); err != nil {
		return whole, err
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
	return *k.whole, nil
}

// List reads acts, those first that were proposed last, without history and what is held.
func (d *Desk[A, R]) List(ctx context.Context, q Query) ([]A, error) {
	found, err := d.list(ctx, q)
	out := make([]A, len(found))
	for i := range found {
		out[i] = *found[i].whole
	}
	return out, err
}

// Budget is how many rules stand with routers, and how many may.
func (d *Desk[A, R]) Budget(ctx context.Context) (rules, most int, err error) {
	err = d.DB.QueryRow(ctx, `SELECT COALESCE(sum(rules), 0) FROM act WHERE kind = $1 AND standing = 1`, d.kind.Name).Scan(&rules)
	return rules, d.Policy.Budget, err
}

// mayApprove tells what keeps somebody from approving an act as it is.
func (d *Desk[A, R]) mayApprove(a *Act, by string) error {
	switch {
	case a.State != Proposed:
		return fmt.Errorf("%w: %s → %s", ErrOrder, a.State, Approved)
	case lawful.Person(by) == "" || by == d.kind.House:
		return errors.New("a person approves an act, by name")
	case lawful.Person(by) == lawful.Person(a.ProposedBy), slices.ContainsFunc(a.Approvals, func(x Approval) bool { return lawful.Person(x.Who) == lawful.Person(by) }):
		return ErrOwn
	}
	return nil
}

// Approve is one person's yes. The last one that is needed asks for the Grant: the facts
// are those of now. A refusal of the guideline is the end of the act, and the error. Then
// it is announced by the next Tick, unless it is a rehearsal.
func (d *Desk[A, R]) Approve(ctx context.Context, id, by, why string) (whole A, err error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	k, err := d.get(ctx, id)
	if err != nil {
		return whole, err
	}
	if err := d.mayApprove(k.Act, by); err != nil {
		return *k.whole, err
	}
	about, err := d.mission.Ground(ctx, k.whole)
	if err == nil {
		err = about.Over
	}
	if err != nil {
		return *k.whole, err
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
	g, err := d.grant(ctx, &k, about.Request, by)
	if err != nil {
		r, refused := errors.AsType[*lawful.Refusal](err)
		if !refused {
			return *k.whole, err // the gate itself is in trouble: it is still proposed
		}
		whole, then := d.settle(ctx, &k, Refused, by, detect.Text(r.Text()))
		return whole, errors.Join(err, then)
	}
	k.Grant = &Basis{ID: g.ID(), Rule: g.Rule(), Until: g.Until()}
	if rule, known := d.Guideline.Rule(g.Rule()); known {
		k.Grant.Title = detect.Text(rule.Title)
	}
	return d.settle(ctx, &k, Approved, by, detect.Text{JA: why, EN: why})
}

// grant asks for the Grant of an act that enough people approved. Where the guideline
// wants a second person, the last approver is that.
func (d *Desk[A, R]) grant(ctx context.Context, k *kept[A], request func(who string) (lawful.Request, error), by string) (lawful.Grant, error) {
	r, err := request(by)
	if err != nil {
		return lawful.Grant{}, err
	}
	now := d.Clock.Now()
	g, err := d.Gate.Ask(ctx, r)
	if p, is := errors.AsType[*lawful.Pending](err); is {
		g, err = d.Gate.Approve(ctx, p.Decision.ID, by)
	}
	if err != nil {
		return g, err
	}
	if !d.mission.Allowed(k.whole, g, now) {
		return g, fmt.Errorf("%w: grant %s doesn't reach all of it", ErrGrant, g.ID())
	}
	return g, nil
}

// agree keeps an approval that isn't the last.
func (d *Desk[A, R]) agree(ctx context.Context, k *kept[A], by, why string) (A, error) {
	said := detect.Textf("承認(あと %[2]d 人): %[1]s", "approved (%[2]d more needed): %[1]s", why, k.Needs)
	if err := d.mission.Record(ctx, k.whole, d.deed(k.Act, Proposed, by, said)); err != nil {
		return *k.whole, fmt.Errorf("the ledger didn't take the entry of an approval: %w", err)
	}
	err := d.write(ctx, k, &Change{At: d.Clock.Now().UTC(), From: Proposed, To: Proposed, Who: by, Why: said})
	return *k.whole, err
}

// Reject is a person's no.
func (d *Desk[A, R]) Reject(ctx context.Context, id, by, why string) (A, error) {
	return d.end(ctx, id, Refused, by, detect.Text{JA: why, EN: why})
}

// Withdraw ends an act by a person's wish; the next Tick takes it back from the routers.
func (d *Desk[A, R]) Withdraw(ctx context.Context, id, by, why string) (A, error) {
	return d.end(ctx, id, Withdrawn, by, detect.Text{JA: why, EN: why})
}

func (d *Desk[A, R]) end(ctx context.Context, id string, to State, by string, why detect.Text) (A, error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	const tries = 3 // another process may be at it
	for try := 1; ; try++ {
		k, err := d.get(ctx, id)
		if err != nil {
			return *k.whole, err
		}
		whole, err := d.settle(ctx, &k, to, by, why)
		if !errors.Is(err, errRace) || try == tries {
			return whole, err
		}
	}
}

// EndAll withdraws what a query finds. The next Tick takes it back from the routers.
func (d *Desk[A, R]) EndAll(ctx context.Context, q Query, why detect.Text) error {
	live, err := d.list(ctx, q)
	for i := range live {
		if live[i].State.Over() {
			continue
		}
		_, failed := d.end(ctx, live[i].ID, Withdrawn, d.kind.House, why)
		if !errors.Is(failed, ErrOrder) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// Ended takes back what stands on a Grant that has ended. Give it to the gate as what
// withdraws: it is asked again until everything is gone.
func (d *Desk[A, R]) Ended(ctx context.Context, grant string, why detect.Text) error {
	if err := d.EndAll(ctx, Query{Grant: grant, Live: true}, why); err != nil {
		return err
	}
	if _, err := d.Tick(ctx); err != nil {
		return err
	}
	left, err := d.list(ctx, Query{Grant: grant, Standing: true})
	if err == nil && len(left) > 0 {
		err = ErrStandby // who announces takes it back, within a second
	}
	return err
}

// Judge shows a mission those acts that stand of what a query finds. It says which state
// one comes into, and why; "" leaves it. The answer is all that was found, as it then is.
func (d *Desk[A, R]) Judge(ctx context.Context, q Query, judge func(a *A) (State, detect.Text)) (out []A, err error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	found, err := d.list(ctx, q)
	for i := range found {
		k := &found[i]
		if k.State.Stands() {
			if to, why := judge(k.whole); to != "" {
				_, failed := d.settle(ctx, k, to, d.kind.House, why)
				if !errors.Is(failed, errRace) {
					err = errors.Join(err, failed)
				}
			}
		}
		out = append(out, *k.whole)
	}
	return out, err
}

// settle brings an act into its next state: written into the ledger first, then into the
// store. What it is in on the routers is left to Tick.
func (d *Desk[A, R]) settle(ctx context.Context, k *kept[A], to State, who string, why detect.Text) (A, error) {
	now := d.Clock.Now().UTC()
	before := *k.whole
	c, err := k.step(to, who, why, now)
	if err != nil {
		return before, err
	}
	switch {
	case to == Confirmed:
		k.ConfirmedAt = &now
	case to.Over():
		k.WithdrawnAt, k.WithdrawnBy = &now, who
	}
	if err := d.mission.Record(ctx, k.whole, d.deed(k.Act, to, who, why)); err != nil {
		*k.whole = before
		return before, fmt.Errorf("the ledger didn't take the entry, so nothing was done: %w", err)
	}
	if err := d.write(ctx, k, &c); err != nil {
		*k.whole = before
		return before, err
	}
	return *k.whole, nil
}

func (d *Desk[A, R]) deed(a *Act, to State, by string, why detect.Text) Deed {
	x := Deed{To: to, By: by, At: d.Clock.Now().UTC(), Why: why, Rehearsal: a.Rehearsal}
	if a.Grant != nil {
		x.Grant, x.Rule, x.Until = a.Grant.ID, a.Grant.Rule, a.Grant.Until
	}
	return x
}
