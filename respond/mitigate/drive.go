package mitigate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sakimori/detect"
	"sakimori/lawful"
)

// The outward acts, all of them in Tick, all of them idempotent, and done by the one
// process that has the lease. What is to be is in the store before it is done, so that
// whoever dies in between is followed by somebody who does it again, once:
//
//   - approved, and nothing stands: it is marked as standing, then announced;
//   - announced or confirmed: it is renewed while the attack lasts and its Grant allows it;
//   - over, and marked as standing: it is withdrawn until everybody says that it is gone.
//
// What an announcer holds without a mitigation that stands is withdrawn.

// Tally is what a Tick did.
type Tally struct {
	Announced, Again, Renewed, Ended, Withdrawn, Strays int
	Standby                                             bool // another process announces
}

// Tick looks at everything and does what is due. What fails is tried again by the next.
func (d *Desk) Tick(ctx context.Context) (t Tally, err error) {
	d.acting.Lock()
	defer d.acting.Unlock()
	now := d.Clock.Now().UTC()
	mine, err := d.lease().Take(ctx, d.holder, now, now.Add(d.Policy.Lease))
	if err != nil {
		return t, err
	}
	if !mine {
		t.Standby, d.mine = true, false
		if now.Before(d.compare) {
			return t, nil
		}
		d.compare = now.Add(between)
		t.Strays, err = d.drop(ctx)
		return t, err
	}
	// What announcers hold is compared when this process begins to announce, and then
	// every few seconds: they may be elsewhere.
	compare := !d.mine || !now.Before(d.compare)
	d.mine = true
	ctx, end := context.WithTimeout(ctx, d.Policy.Lease/2) // what takes longer may be another's by then
	defer end()
	live, err := list(ctx, d.DB, Query{Live: true})
	if err != nil {
		return t, err
	}
	var has []holding
	if compare {
		has = d.holdings(ctx)
	}
	stands := map[string]bool{}
	for i := range live {
		k := &live[i]
		err = errors.Join(err, d.look(ctx, k, has, &t))
		stands[k.ID] = k.Standing && !k.State.Over()
	}
	if compare || t.Announced+t.Again+t.Withdrawn > 0 {
		d.compare = now.Add(between)
		strays, failed := d.strays(ctx, stands)
		t.Strays, err = strays, errors.Join(err, failed)
	}
	return t, err
}

// between is how long what announcers hold isn't compared again.
const between = 10 * time.Second

// Reconcile is the first Tick after a start: what stands without a mitigation is
// withdrawn, and what should stand is announced once.
func (d *Desk) Reconcile(ctx context.Context) (Tally, error) { return d.Tick(ctx) }

// Close takes back what this process holds by itself, and lets another one announce at once. What
// is in the store stays as it is: whoever is next announces it again.
func (d *Desk) Close(ctx context.Context) error {
	d.acting.Lock()
	defer d.acting.Unlock()
	_, err := d.drop(ctx)
	d.mine = false
	return errors.Join(err, d.lease().Release(ctx, d.holder))
}

// holding is what one announcer holds, by the id of the mitigation; nil where it can't
// tell.
type holding map[string]bool

func (d *Desk) holdings(ctx context.Context) []holding {
	list := make([]holding, len(d.Announcers))
	for i, a := range d.Announcers {
		held, err := a.Held(ctx)
		if err != nil {
			continue
		}
		list[i] = holding{}
		for _, h := range held {
			list[i][h.ID] = true
		}
	}
	return list
}

// drop withdraws what this process holds by itself, and nobody else does.
func (d *Desk) drop(ctx context.Context) (int, error) { return d.strays(ctx, nil) }

// strays withdraws what is held and doesn't stand, and keeps what does for people to see.
func (d *Desk) strays(ctx context.Context, stands map[string]bool) (n int, err error) {
	var kept []Held
	defer func() {
		d.mu.Lock()
		d.holds = kept
		d.mu.Unlock()
	}()
	for _, a := range d.Announcers {
		if _, is := a.(Shared); is && stands == nil {
			continue
		}
		list, failed := a.Held(ctx)
		if failed != nil {
			if !errors.Is(failed, ErrNotTold) {
				err = errors.Join(err, failed)
			}
			continue
		}
		gone := map[string]bool{}
		for _, h := range list {
			if stands[h.ID] {
				kept = append(kept, h)
			}
			if stands[h.ID] || gone[h.ID] {
				continue
			}
			gone[h.ID] = true
			if failed := a.Withdraw(ctx, h.ID); failed != nil {
				err = errors.Join(err, fmt.Errorf("withdraw %s, which nothing stands on: %w", h.ID, failed))
				continue
			}
			n++
		}
	}
	return n, err
}

// look does what is due of one mitigation.
func (d *Desk) look(ctx context.Context, k *kept, has []holding, t *Tally) error {
	now := d.Clock.Now().UTC()
	if !k.State.Over() {
		to, why, ask := d.ground(ctx, k, now)
		if ask != nil {
			return ask
		}
		if to != "" {
			if _, err := d.settle(ctx, k, to, house, why); err != nil {
				return err
			}
			t.Ended++
		}
	}
	switch {
	case k.State.Over() && k.Standing:
		if err := d.takeBack(ctx, k); err != nil {
			return err
		}
		t.Withdrawn++
	case k.State == Approved && !k.Rehearsal && !now.Before(k.due):
		if err := d.announce(ctx, k, t); err != nil {
			return err
		}
	case k.State.Stands():
		return d.keep(ctx, k, has, now, t)
	}
	return nil
}

// ground tells whether a mitigation has lost its ground, and how. An error means that
// it can't be told now: then nothing is renewed, and it runs out by itself.
func (d *Desk) ground(ctx context.Context, k *kept, now time.Time) (to State, why detect.Text, err error) {
	if k.Ends != nil && !now.Before(*k.Ends) && (k.State.Stands() || k.Rehearsal) {
		return Expired, detect.Text{JA: "期限が来ました", EN: "its time has come"}, nil
	}
	if !d.Policy.Live && !k.Rehearsal && k.State != Proposed {
		return Withdrawn, detect.Text{JA: "演習に切り替えられました", EN: "it was switched to rehearsal"}, nil
	}
	if k.State == Proposed && now.Sub(k.ProposedAt) > d.Policy.Patience {
		return Expired, detect.Text{JA: "期限までに承認されませんでした", EN: "nobody approved it in time"}, nil
	}
	if k.Grant != nil {
		g, err := d.Gate.Find(ctx, k.Grant.ID)
		if errors.Is(err, lawful.ErrUnknown) || err == nil && !k.allowed(g, now) {
			return Withdrawn, detect.Textf("根拠とした許可 %s が終わりました", "grant %s, on which it stood, has ended", k.Grant.ID), nil
		}
		if err != nil {
			return "", why, fmt.Errorf("grant %s can't be looked at: %w", k.Grant.ID, err)
		}
	}
	a, err := d.Attacks.Attack(ctx, k.Attack)
	if err != nil {
		return "", why, fmt.Errorf("attack %s can't be looked at: %w", k.Attack, err)
	}
	if a.State == detect.Closed && k.Forecast == "" {
		return Withdrawn, over, nil
	}
	return "", why, nil
}

var over = detect.Text{JA: "攻撃が終わりました", EN: "the attack is over"}

// announce has an approved mitigation announced. Its Grant is asked at this moment.
func (d *Desk) announce(ctx context.Context, k *kept, t *Tally) error {
	now := d.Clock.Now().UTC()
	g, err := d.Gate.Find(ctx, k.Grant.ID)
	if err != nil {
		return err
	}
	if touched := Touches(k.Proposal.Rules, d.Policy.Protected); len(touched) > 0 {
		_, err := d.settle(ctx, k, Failed, house, detect.Textf("保護対象「%s」に及ぶため、広告しません", "it reaches into %q, which is protected, and isn't announced", touched[0].Protected.Name))
		return errors.Join(err, ErrProtected)
	}
	if !k.Standing {
		if rules, most, err := d.Budget(ctx); err != nil {
			return err
		} else if rules+len(k.Proposal.Rules) > most {
			return d.later(ctx, k, fmt.Errorf("%w: %d stand, %d more than %d would", ErrBudget, rules, rules+len(k.Proposal.Rules)-most, most))
		}
	}
	ends := now.Add(d.Policy.TTL)
	if g.Until().Before(ends) {
		ends = g.Until()
	}
	k.Ends, k.Standing = &ends, true
	if err := d.save(ctx, k); err != nil {
		return err
	}
	said := detect.Textf("%d 個の規則を広告します(%s まで)", "announcing %d rules, until %s", len(k.Proposal.Rules), ends.Format(time.RFC3339))
	if err := d.Recorder.Record(ctx, d.deed(&k.Mitigation, Announced, house, said)); err != nil {
		return fmt.Errorf("the ledger didn't take the entry, so nothing was announced: %w", err)
	}
	if !k.allowed(g, d.Clock.Now()) {
		return fmt.Errorf("%w: grant %s", ErrGrant, k.Grant.ID) // the next look withdraws it
	}
	if err := d.hand(ctx, k); err != nil {
		return d.later(ctx, k, err)
	}
	at := d.Clock.Now().UTC()
	k.AnnouncedAt = &at
	if a, err := d.Attacks.Attack(ctx, k.Attack); err == nil {
		k.Before = &a.Now
	}
	c, err := k.step(Announced, house, detect.Text{JA: "広告しました。効果はまだ確認していません", EN: "announced; its effect isn't confirmed yet"}, at)
	if err != nil {
		return err
	}
	if err := d.write(ctx, k, c); err != nil {
		return err
	}
	t.Announced++
	return nil
}

// hand gives the rules to every announcer: to all, or it is an error.
func (d *Desk) hand(ctx context.Context, k *kept) error {
	for _, a := range d.Announcers {
		if err := a.Announce(ctx, k.ID, k.Proposal.Rules, *k.Ends); err != nil {
			return err
		}
	}
	return nil
}

// later tries again after a while, and gives up after some. What may stand of it is
// taken back meanwhile.
func (d *Desk) later(ctx context.Context, k *kept, cause error) error {
	const tries, first = 5, 2 * time.Second
	k.tries++
	k.due = d.Clock.Now().Add(first << min(k.tries-1, tries))
	if k.tries >= tries {
		_, err := d.settle(ctx, k, Failed, house, detect.Textf("%[1]d 回試みて広告できませんでした: %[2]v", "it couldn't be announced in %[1]d tries: %[2]v", k.tries, cause))
		if err != nil {
			return errors.Join(cause, err)
		}
	}
	err := d.save(ctx, k)
	if err == nil && k.Standing {
		err = d.takeBack(ctx, k)
	}
	return errors.Join(cause, err)
}

// takeBack withdraws from every announcer. Only when all have done so nothing stands.
func (d *Desk) takeBack(ctx context.Context, k *kept) error {
	var err error
	for _, a := range d.Announcers {
		err = errors.Join(err, a.Withdraw(ctx, k.ID))
	}
	if err != nil {
		return fmt.Errorf("mitigation %s is over and couldn't be taken back; it is tried again, and ends by itself at %s: %w", k.ID, k.Ends.Format(time.RFC3339), err)
	}
	k.Standing = false
	return d.save(ctx, k)
}

// keep renews what stands, and announces again what an announcer doesn't hold.
func (d *Desk) keep(ctx context.Context, k *kept, has []holding, now time.Time, t *Tally) error {
	lost := slices.ContainsFunc(has, func(h holding) bool { return h != nil && !h[k.ID] })
	ends, renew := d.renewed(k, now)
	if renew {
		k.Ends = &ends
		if err := d.save(ctx, k); err != nil {
			return err
		}
	}
	if lost {
		said := detect.Text{JA: "ルーターが保持していないため、もう一度広告します", EN: "no router holds it: announcing it again"}
		if err := d.Recorder.Record(ctx, d.deed(&k.Mitigation, k.State, house, said)); err != nil {
			return fmt.Errorf("the ledger didn't take the entry, so nothing was announced: %w", err)
		}
		t.Again++
	}
	if !lost && !renew {
		return nil
	}
	if renew {
		t.Renewed++
	}
	return d.hand(ctx, k)
}

// renewed is the new end of what stands: while somebody tells of the attack, half a TTL
// before its end, and never beyond the Grant.
func (d *Desk) renewed(k *kept, now time.Time) (time.Time, bool) {
	d.mu.Lock()
	seen := d.seen[k.Attack]
	d.mu.Unlock()
	ends := now.Add(d.Policy.TTL)
	if k.Grant.Until.Before(ends) {
		ends = k.Grant.Until
	}
	const grain = time.Second
	due := k.Ends.Sub(now) < d.Policy.TTL/2 && ends.Sub(*k.Ends) >= grain
	return ends, due && now.Sub(seen) < d.Policy.TTL/2
}
