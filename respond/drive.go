package respond

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
//   - announced or confirmed: it is renewed while its ground lasts and its Grant allows it;
//   - over, and marked as standing: it is withdrawn until everybody says that it is gone.
//
// What an announcer holds without an act that stands is withdrawn.

// Tally is what a Tick did.
type Tally struct {
	Announced, Again, Renewed, Confirmed, Ended, Withdrawn, Strays int
	Standby                                                        bool // another process announces
}

// Between is how long what announcers hold, and proof, isn't looked at again.
const Between = 10 * time.Second

// Tick looks at everything and does what is due. What fails is tried again by the next.
func (d *Desk[A, R]) Tick(ctx context.Context) (t Tally, err error) {
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
		d.compare = now.Add(Between)
		t.Strays, err = d.drop(ctx)
		return t, err
	}
	// What announcers hold is compared when this process begins to announce, and then
	// every few seconds: they may be elsewhere.
	compare, proof := !d.mine || !now.Before(d.compare), !now.Before(d.proof)
	d.mine = true
	ctx, end := context.WithTimeout(ctx, d.Policy.Lease/2) // what takes longer may be another's by then
	defer end()
	live, err := d.list(ctx, Query{Live: true})
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
		err = errors.Join(err, d.look(ctx, k, has, proof, &t))
		stands[k.ID] = k.Standing && !k.State.Over()
	}
	if proof {
		d.proof = now.Add(Between)
	}
	if compare || t.Announced+t.Again+t.Withdrawn > 0 {
		d.compare = now.Add(Between)
		strays, failed := d.strays(ctx, stands)
		t.Strays, err = strays, errors.Join(err, failed)
	}
	return t, err
}

// Close takes back what this process holds by itself, and lets another one announce at
// once. What is in the store stays as it is: whoever is next announces it again.
func (d *Desk[A, R]) Close(ctx context.Context) error {
	d.acting.Lock()
	defer d.acting.Unlock()
	_, err := d.drop(ctx)
	d.mine = false
	return errors.Join(err, d.lease().Release(ctx, d.holder))
}

// holding is what one announcer holds, by the id of the act; nil where it can't tell.
type holding map[string]bool

func (d *Desk[A, R]) holdings(ctx context.Context) []holding {
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
func (d *Desk[A, R]) drop(ctx context.Context) (int, error) { return d.strays(ctx, nil) }

// strays withdraws what is held and doesn't stand, and keeps what does for people to see.
func (d *Desk[A, R]) strays(ctx context.Context, stands map[string]bool) (n int, err error) {
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

// look does what is due of one act.
func (d *Desk[A, R]) look(ctx context.Context, k *kept[A], has []holding, proof bool, t *Tally) error {
	now := d.Clock.Now().UTC()
	lasts := false
	if !k.State.Over() {
		to, why, seen, ask := d.ground(ctx, k, now)
		if ask != nil {
			return ask
		}
		lasts = now.Sub(seen) < d.Policy.TTL/2
		if to != "" {
			if _, err := d.settle(ctx, k, to, d.kind.House, why); err != nil {
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
	case k.State == Approved && !k.Rehearsal && !now.Before(k.Due):
		return d.announce(ctx, k, t)
	case k.State.Stands():
		if err := d.keep(ctx, k, has, lasts, t); err != nil {
			return err
		}
		if proof && k.State == Announced {
			return d.confirm(ctx, k, t)
		}
	}
	return nil
}

// ground tells whether an act has lost its ground, and how; seen is until when what it is
// about was seen to last. An error means that it can't be told now: then nothing is
// renewed, and it runs out by itself.
func (d *Desk[A, R]) ground(ctx context.Context, k *kept[A], now time.Time) (to State, why detect.Text, seen time.Time, err error) {
	if k.Ends != nil && !now.Before(*k.Ends) && (k.State.Stands() || k.Rehearsal) {
		return Expired, detect.Text{JA: "期限が来ました", EN: "its time has come"}, seen, nil
	}
	if !d.Policy.Live && !k.Rehearsal && k.State != Proposed {
		return Withdrawn, detect.Text{JA: "演習に切り替えられました", EN: "it was switched to rehearsal"}, seen, nil
	}
	if k.State == Proposed && now.Sub(k.ProposedAt) > d.Policy.Patience {
		return Expired, detect.Text{JA: "期限までに承認されませんでした", EN: "not enough people approved it in time"}, seen, nil
	}
	if k.Grant != nil {
		g, err := d.Gate.Find(ctx, k.Grant.ID)
		if errors.Is(err, lawful.ErrUnknown) || err == nil && !d.mission.Allowed(k.whole, g, now) {
			return Withdrawn, detect.Textf("根拠とした許可 %s が終わりました", "grant %s, on which it stood, has ended", k.Grant.ID), seen, nil
		}
		if err != nil {
			return "", why, seen, fmt.Errorf("grant %s can't be looked at: %w", k.Grant.ID, err)
		}
	}
	about, err := d.mission.Ground(ctx, k.whole)
	if err == nil && about.Ends != (detect.Text{}) {
		to = Withdrawn
	}
	return to, about.Ends, about.Seen, err
}

// announce has an approved act announced. Its Grant is asked at this moment, and whether
// it is still possible.
func (d *Desk[A, R]) announce(ctx context.Context, k *kept[A], t *Tally) error {
	now := d.Clock.Now().UTC()
	g, err := d.Gate.Find(ctx, k.Grant.ID)
	if err != nil {
		return err
	}
	if why, err := d.mission.Possible(ctx, k.whole); err != nil {
		if why != (detect.Text{}) {
			_, failed := d.settle(ctx, k, Failed, d.kind.House, why)
			err = errors.Join(failed, err)
		}
		return err
	}
	rules := d.mission.Rules(k.whole)
	if !k.Standing {
		stand, most, err := d.Budget(ctx)
		if err != nil {
			return err
		}
		if n := stand + len(rules); n > most {
			return d.later(ctx, k, fmt.Errorf("%w: %d stand, %d more than %d would", ErrBudget, stand, n-most, most))
		}
	}
	ends := d.until(g.Until(), now)
	k.Ends, k.Standing = &ends, true
	if err := d.save(ctx, k); err != nil {
		return err
	}
	said := detect.Text{
		JA: fmt.Sprintf("%d 個の%sを広告します(%s まで)", len(rules), d.kind.Rules.JA, ends.Format(time.RFC3339)),
		EN: fmt.Sprintf("announcing %d %s, until %s", len(rules), d.kind.Rules.EN, ends.Format(time.RFC3339)),
	}
	if err := d.mission.Record(ctx, k.whole, d.deed(k.Act, Announced, d.kind.House, said)); err != nil {
		return fmt.Errorf("the ledger didn't take the entry, so nothing was announced: %w", err)
	}
	if !d.mission.Allowed(k.whole, g, d.Clock.Now()) {
		return fmt.Errorf("%w: grant %s", ErrGrant, k.Grant.ID) // the next look withdraws it
	}
	if err := d.hand(ctx, k); err != nil {
		return d.later(ctx, k, err)
	}
	at := d.Clock.Now().UTC()
	k.AnnouncedAt = &at
	c, err := k.step(Announced, d.kind.House, d.mission.Announced(ctx, k.whole), at)
	if err != nil {
		return err
	}
	if err := d.write(ctx, k, &c); err != nil {
		return err
	}
	t.Announced++
	return nil
}

// until is the end of what is announced now: a TTL, and never beyond the Grant.
func (d *Desk[A, R]) until(grant, now time.Time) time.Time {
	if ends := now.Add(d.Policy.TTL); ends.Before(grant) {
		return ends
	}
	return grant
}

// hand gives the rules to every announcer: to all, or it is an error.
func (d *Desk[A, R]) hand(ctx context.Context, k *kept[A]) error {
	for _, a := range d.Announcers {
		if err := a.Announce(ctx, k.ID, d.mission.Rules(k.whole), *k.Ends); err != nil {
			return err
		}
	}
	return nil
}

// later tries again after a while, and gives up after some. What may stand of it is taken
// back meanwhile.
func (d *Desk[A, R]) later(ctx context.Context, k *kept[A], cause error) error {
	const tries, first = 5, 2 * time.Second
	k.Tries++
	k.Due = d.Clock.Now().Add(first << min(k.Tries-1, tries))
	if k.Tries >= tries {
		_, err := d.settle(ctx, k, Failed, d.kind.House, detect.Textf("%[1]d 回試みて広告できませんでした: %[2]v", "it couldn't be announced in %[1]d tries: %[2]v", k.Tries, cause))
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
func (d *Desk[A, R]) takeBack(ctx context.Context, k *kept[A]) error {
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

// keep renews what stands while its ground lasts, half a TTL before its end, and announces
// again what an announcer doesn't hold.
func (d *Desk[A, R]) keep(ctx context.Context, k *kept[A], has []holding, lasts bool, t *Tally) error {
	now := d.Clock.Now().UTC()
	lost := slices.ContainsFunc(has, func(h holding) bool { return h != nil && !h[k.ID] })
	const grain = time.Second
	ends := d.until(k.Grant.Until, now)
	renew := lasts && k.Ends.Sub(now) < d.Policy.TTL/2 && ends.Sub(*k.Ends) >= grain
	if renew {
		k.Ends = &ends
		if err := d.save(ctx, k); err != nil {
			return err
		}
		t.Renewed++
	}
	if lost {
		said := detect.Text{JA: "ルーターが保持していないため、もう一度広告します", EN: "no router holds it: announcing it again"}
		if err := d.mission.Record(ctx, k.whole, d.deed(k.Act, k.State, d.kind.House, said)); err != nil {
			return fmt.Errorf("the ledger didn't take the entry, so nothing was announced: %w", err)
		}
		t.Again++
	}
	if !lost && !renew {
		return nil
	}
	return d.hand(ctx, k)
}

// confirm writes down that an act does what it is for, once that is shown.
func (d *Desk[A, R]) confirm(ctx context.Context, k *kept[A], t *Tally) error {
	why, err := d.mission.Proof(ctx, k.whole)
	if err != nil || why == (detect.Text{}) {
		return err
	}
	if _, err := d.settle(ctx, k, Confirmed, d.kind.House, why); err != nil {
		return err
	}
	t.Confirmed++
	return nil
}
