package desk

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
//   - announced or confirmed: it is renewed while the incident lasts and its Grant allows it;
//   - over, and marked as standing: it is withdrawn until everybody says that it is gone.
//
// What an announcer holds without an act that stands is withdrawn.

// Tally is what a Tick did.
type Tally struct {
	Announced, Again, Renewed, Confirmed, Ended, Withdrawn, Strays int
	Standby                                                        bool // another process announces
}

// between is how long what announcers hold, and who sees it, isn't looked at again.
const between = 10 * time.Second

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
		t.Strays, err = d.strays(ctx, nil)
		return t, err
	}
	compare := !d.mine || !now.Before(d.compare)
	sight := !now.Before(d.look)
	d.mine = true
	ctx, end := context.WithTimeout(ctx, d.Policy.Lease/2) // what takes longer may be another's by then
	defer end()
	live, err := list(ctx, d.DB, Query{Live: true})
	if err != nil {
		return t, err
	}
	var has []map[string]bool
	if compare {
		has = d.holdings(ctx)
	}
	stands := map[string]bool{}
	for i := range live {
		k := &live[i]
		err = errors.Join(err, d.tend(ctx, k, has, sight, &t))
		stands[k.ID] = k.Standing && !k.State.Over()
	}
	if sight {
		d.look = now.Add(between)
	}
	if compare || t.Announced+t.Again+t.Withdrawn > 0 {
		d.compare = now.Add(between)
		strays, failed := d.strays(ctx, stands)
		t.Strays, err = strays, errors.Join(err, failed)
	}
	return t, err
}

// Close takes back what this process holds, and lets another one announce at once. What
// is in the store stays as it is: whoever is next announces it again.
func (d *Desk) Close(ctx context.Context) error {
	d.acting.Lock()
	defer d.acting.Unlock()
	_, err := d.strays(ctx, nil)
	d.mine = false
	return errors.Join(err, d.lease().Release(ctx, d.holder))
}

// holdings is what each announcer holds, by the id of the act; nil where it can't tell.
func (d *Desk) holdings(ctx context.Context) []map[string]bool {
	list := make([]map[string]bool, len(d.Announcers))
	for i, a := range d.Announcers {
		held, err := a.Held(ctx)
		if err != nil {
			continue
		}
		list[i] = map[string]bool{}
		for _, h := range held {
			list[i][h.ID] = true
		}
	}
	return list
}

// strays withdraws what is held and doesn't stand, and keeps what does for people to see.
func (d *Desk) strays(ctx context.Context, stands map[string]bool) (n int, err error) {
	var kept []Held
	defer func() {
		d.mu.Lock()
		d.holds = kept
		d.mu.Unlock()
	}()
	for _, a := range d.Announcers {
		list, failed := a.Held(ctx)
		if failed != nil {
			err = errors.Join(err, failed)
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

// tend does what is due of one act.
func (d *Desk) tend(ctx context.Context, k *kept, has []map[string]bool, sight bool, t *Tally) error {
	now := d.Clock.Now().UTC()
	fresh := false // the incident is known to last
	if !k.State.Over() {
		to, why, last, ask := d.ground(ctx, k, now)
		if ask != nil {
			return ask
		}
		fresh = now.Sub(last) < d.Policy.TTL/2
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
		return d.announce(ctx, k, t)
	case k.State.Stands():
		if err := d.keep(ctx, k, has, fresh, t); err != nil {
			return err
		}
		if sight && k.State == Announced {
			return d.confirm(ctx, k, t)
		}
	}
	return nil
}

// ground tells whether an act has lost its ground, and how; last is until when the
// incident was seen. An error means that it can't be told now: then nothing is renewed,
// and it runs out by itself.
func (d *Desk) ground(ctx context.Context, k *kept, now time.Time) (to State, why detect.Text, last time.Time, err error) {
	if k.Ends != nil && !now.Before(*k.Ends) && (k.State.Stands() || k.Rehearsal) {
		return Expired, detect.Text{JA: "期限が来ました", EN: "its time has come"}, last, nil
	}
	if !d.Policy.Live && !k.Rehearsal && k.State != Proposed {
		return Withdrawn, detect.Text{JA: "演習に切り替えられました", EN: "it was switched to rehearsal"}, last, nil
	}
	if k.State == Proposed && now.Sub(k.ProposedAt) > d.Policy.Patience {
		return Expired, detect.Text{JA: "期限までに承認されませんでした", EN: "not enough people approved it in time"}, last, nil
	}
	if k.Grant != nil {
		g, err := d.Gate.Find(ctx, k.Grant.ID)
		if errors.Is(err, lawful.ErrUnknown) || err == nil && !k.allowed(g, now) {
			return Withdrawn, detect.Textf("根拠とした許可 %s が終わりました", "grant %s, on which it stood, has ended", k.Grant.ID), last, nil
		}
		if err != nil {
			return "", why, last, fmt.Errorf("grant %s can't be looked at: %w", k.Grant.ID, err)
		}
	}
	i, err := d.Incidents.Incident(ctx, k.Incident)
	if err != nil {
		return "", why, last, fmt.Errorf("incident %s can't be looked at: %w", k.Incident, err)
	}
	if i.State == detect.Closed {
		return Withdrawn, over(&i), last, nil
	}
	return "", why, d.seen(&i, now), nil
}

// announce has an approved act announced. Its Grant is asked at this moment, and whether
// the prefixes are still possible.
func (d *Desk) announce(ctx context.Context, k *kept, t *Tally) error {
	now := d.Clock.Now().UTC()
	g, err := d.Gate.Find(ctx, k.Grant.ID)
	if err != nil {
		return err
	}
	if !k.Standing {
		prefixes, most, err := d.Budget(ctx)
		if err != nil {
			return err
		}
		if prefixes+len(k.Prefixes) > most {
			return d.later(ctx, k, fmt.Errorf("%w: %d stand, %d more than %d would", ErrBudget, prefixes, prefixes+len(k.Prefixes)-most, most))
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
	said := detect.Textf("%d 個の自網プレフィックスを広告します(%s まで)", "announcing %d own prefixes, until %s", len(k.Prefixes), ends.Format(time.RFC3339))
	if err := d.Recorder.Record(ctx, d.deed(&k.Act, Announced, house, said)); err != nil {
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
	why := detect.Text{JA: "広告しました。効果はまだ確認していません", EN: "announced; its effect isn't confirmed yet"}
	if d.Sight == nil {
		why = detect.Text{JA: "広告しました。観測点がないため、効果は確認できません", EN: "announced; there is no vantage point, so its effect can't be confirmed"}
	}
	c, err := k.step(Announced, house, why, at)
	if err != nil {
		return err
	}
	if err := d.write(ctx, k, c); err != nil {
		return err
	}
	t.Announced++
	return nil
}

// hand gives the prefixes to every announcer: to all, or it is an error.
func (d *Desk) hand(ctx context.Context, k *kept) error {
	for _, a := range d.Announcers {
		if err := a.Announce(ctx, k.ID, k.Prefixes, *k.Ends); err != nil {
			return err
		}
	}
	return nil
}

// later tries again after a while, and gives up after some. What may stand of it is taken
// back meanwhile.
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
		return fmt.Errorf("act %s is over and couldn't be taken back; it is tried again, and ends by itself at %s: %w", k.ID, k.Ends.Format(time.RFC3339), err)
	}
	k.Standing = false
	return d.save(ctx, k)
}

// keep renews what stands while the incident is known to last, half a TTL before its end
// and never beyond the Grant; and announces again what an announcer doesn't hold.
func (d *Desk) keep(ctx context.Context, k *kept, has []map[string]bool, fresh bool, t *Tally) error {
	now := d.Clock.Now().UTC()
	lost := slices.ContainsFunc(has, func(h map[string]bool) bool { return h != nil && !h[k.ID] })
	ends := now.Add(d.Policy.TTL)
	if k.Grant.Until.Before(ends) {
		ends = k.Grant.Until
	}
	const grain = time.Second
	renew := fresh && k.Ends.Sub(now) < d.Policy.TTL/2 && ends.Sub(*k.Ends) >= grain
	if renew {
		k.Ends = &ends
		if err := d.save(ctx, k); err != nil {
			return err
		}
		t.Renewed++
	}
	if lost {
		said := detect.Text{JA: "ルーターが保持していないため、もう一度広告します", EN: "no router holds it: announcing it again"}
		if err := d.Recorder.Record(ctx, d.deed(&k.Act, k.State, house, said)); err != nil {
			return fmt.Errorf("the ledger didn't take the entry, so nothing was announced: %w", err)
		}
		t.Again++
	}
	if !lost && !renew {
		return nil
	}
	return d.hand(ctx, k)
}

// confirm looks whether the vantage points see what was announced: each prefix by as many
// as are set.
func (d *Desk) confirm(ctx context.Context, k *kept, t *Tally) error {
	if d.Sight == nil {
		return nil
	}
	least, of := -1, 0
	for _, p := range k.Prefixes {
		peers, whole, err := d.Sight.Seen(ctx, p)
		if err != nil {
			return fmt.Errorf("who sees %s can't be looked at: %w", p, err)
		}
		if least < 0 || peers < least {
			least = peers
		}
		of = max(of, whole)
	}
	if least < 1 || float64(least) < d.Policy.Share*float64(of) {
		return nil
	}
	at := d.Clock.Now().UTC()
	k.ConfirmedAt = &at
	_, err := d.settle(ctx, k, Confirmed, house, detect.Textf(
		"観測点 %[2]d のうち少なくとも %[1]d が、どの経路も自網からの広告として見ています(広告から %.0[3]f 秒以内)",
		"each route is seen as ours by %[1]d or more of %[2]d vantage points, within %.0[3]f s of announcing", least, of, at.Sub(*k.AnnouncedAt).Seconds()))
	if err == nil {
		t.Confirmed++
	}
	return err
}
