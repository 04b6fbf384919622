package notify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"sakimori/base/relation"
	"sakimori/lawful"
)

// Send hands one approved notice over, at most once:
//
//  1. The Grant is asked, the person read, the message written.
//  2. The carrier goes as far as it can without anything reaching anybody.
//  3. The state Sending is committed, if the policy allows it; the deed is recorded.
//  4. The message is handed over; the outcome is committed.
//
// Whoever dies between 3 and 4 leaves the notice in Sending, and Recover makes it
// InDoubt. An error says why nothing went out, or that it is in doubt; a notice that
// may be tried again is Approved with a later Due.
func (d *Desk) Send(ctx context.Context, id string, g lawful.Grant, by string) (Notice, error) {
	n, err := d.Get(ctx, id)
	if err != nil {
		return n, err
	}
	now := d.Clock.Now().UTC()
	switch {
	case n.State != Approved:
		return n, fmt.Errorf("%w: only what is approved is sent, this notice is %s", ErrOrder, n.State)
	case n.Channel == Letter:
		return n, errors.New("letters go out in batches: print one")
	case now.Before(n.Due):
		return n, fmt.Errorf("%w: the next try is due at %s", ErrThrottle, n.Due.Format(time.RFC3339))
	case !g.Allows(lawful.Notify, lawful.Of(n.Subject), now):
		return n, ErrRefused
	}
	carrier := d.Carriers[n.Channel]
	if carrier == nil {
		return n, fmt.Errorf("%w: %s", ErrChannel, n.Channel)
	}
	if err := d.may(ctx, d.DB, &n, now); err != nil { // asked again when it counts
		return n, err
	}
	m, s, err := d.compose(ctx, &n, g, by, now, carrier.Write)
	if err != nil {
		return d.unwritten(ctx, &n, by, err)
	}
	h, err := carrier.Reach(ctx, &m, s)
	if err != nil {
		return d.notTaken(ctx, n.ID, by, err)
	}
	defer h.Drop()
	if n, err = d.claim(ctx, n.ID, g, by, ""); err != nil {
		return n, err
	}
	// The Grant may have ended while the way was made.
	if now := d.Clock.Now(); !g.Allows(lawful.Notify, lawful.Of(n.Subject), now) {
		return d.release(ctx, n.ID, by, "the grant ended before it was handed over", ErrRefused)
	}
	if err := d.Recorder.Record(ctx, d.deed(&n, by, s)); err != nil {
		return d.release(ctx, n.ID, by, "the ledger didn't take the entry", err)
	}
	receipt, err := h.Hand(ctx)
	return d.outcome(context.WithoutCancel(ctx), n.ID, by, receipt, err)
}

// compose reads the person and writes the message.
func (d *Desk) compose(ctx context.Context, n *Notice, g lawful.Grant, by string, now time.Time, write func(*Message) (Sheet, error)) (m Message, s Sheet, err error) {
	p, err := d.People.Read(ctx, g, n.Subject, by, "to send notice "+n.ID+" of case "+n.Case)
	if err != nil {
		return m, s, err
	}
	if n.Channel == Portal && !p.Line.Walls() {
		return m, s, &Unwritable{Failed, "this line isn't known to be a home's: it is never walled; use another channel"}
	}
	if m, err = d.message(n, p, now); err != nil {
		return m, s, err
	}
	s, err = write(&m)
	return m, s, err
}

// unwritten settles a notice that can't be written for its person; other errors
// change nothing.
func (d *Desk) unwritten(ctx context.Context, n *Notice, by string, cause error) (Notice, error) {
	u, is := errors.AsType[*Unwritable](cause)
	if !is {
		return *n, cause
	}
	moved, err := d.move(ctx, n.ID, by, u.Reason, func(n *Notice) (State, error) {
		n.Sent, n.Batch = time.Time{}, ""
		return u.State, nil
	})
	return moved, errors.Join(cause, err)
}

// claim commits that a notice is being sent, if nobody else has and the policy
// allows it.
func (d *Desk) claim(ctx context.Context, id string, g lawful.Grant, by, batch string) (n Notice, err error) {
	now := d.Clock.Now().UTC()
	err = d.DB.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "notice"); err != nil {
			return err
		}
		if n, err = get(ctx, tx, id); err != nil {
			return err
		}
		if err := d.may(ctx, tx, &n, now); err != nil {
			return err
		}
		c, err := n.step(Sending, by, "", now)
		if err != nil {
			return err
		}
		n.Attempts++
		n.Sent, n.Rule, n.Batch = now, g.Rule(), batch
		return update(ctx, tx, &n, c)
	})
	return n, err
}

// may asks the policy whether a notice can go out now.
func (d *Desk) may(ctx context.Context, a relation.Asker, n *Notice, now time.Time) error {
	if until, quiet := d.Policy.quiet(n.Channel, now); quiet {
		return fmt.Errorf("%w: it is a quiet hour until %s", ErrThrottle, until.Format(time.RFC3339))
	}
	var all, same int
	since := nano(now.Add(-d.Policy.Window))
	if err := a.QueryRow(ctx, `SELECT count(*) FROM notice WHERE subject = $1 AND sent > $2`, n.Subject, since).Scan(&all); err != nil {
		return fmt.Errorf("count notices: %w", err)
	}
	if err := a.QueryRow(ctx, `SELECT count(*) FROM notice WHERE subject = $1 AND sent > $2 AND casefile = $3 AND channel = $4`, n.Subject, since, n.Case, string(n.Channel)).Scan(&same); err != nil {
		return fmt.Errorf("count notices: %w", err)
	}
	switch {
	case all >= d.Policy.Most:
		return fmt.Errorf("%w: this subscriber had %d notices within %s", ErrThrottle, all, d.Policy.Window)
	case same >= d.Policy.Again:
		return fmt.Errorf("%w: this case was told by %s already: use another channel", ErrThrottle, n.Channel)
	}
	return nil
}

// Next is the channel that is due for a case: the first of the policy's that is
// configured and wasn't used within its window. "" when all were.
func (d *Desk) Next(ctx context.Context, casefile, subject string) (Channel, error) {
	now := d.Clock.Now()
	found, err := list(ctx, d.DB, Query{Case: casefile, Subject: subject})
	if err != nil {
		return "", err
	}
	used := map[Channel]int{}
	for i := range found {
		if n := &found[i]; n.Sent.After(now.Add(-d.Policy.Window)) || n.State == Failed {
			used[n.Channel]++
		}
	}
	for _, c := range d.Policy.Order {
		if _, err := d.writes(c); err == nil && used[c] < d.Policy.Again {
			return c, nil
		}
	}
	return "", nil
}

func (d *Desk) deed(n *Notice, by string, s Sheet) Deed {
	return Deed{
		Notice: n.ID, Case: n.Case, Subject: n.Subject, Channel: n.Channel, Family: n.Template.Family, Device: n.Template.Device, Reference: n.Reference,
		Rule: n.Rule, By: by, At: n.Sent, Batch: n.Batch, Sum: sha256.Sum256(s.Content),
	}
}

// release takes a claim back: nothing went out.
func (d *Desk) release(ctx context.Context, id, by, why string, cause error) (Notice, error) {
	n, err := d.move(context.WithoutCancel(ctx), id, by, why, func(n *Notice) (State, error) {
		n.Sent = time.Time{}
		return Approved, nil
	})
	return n, errors.Join(cause, err)
}

// notTaken counts a try that came to nothing before the notice was claimed.
func (d *Desk) notTaken(ctx context.Context, id, by string, cause error) (Notice, error) {
	if err := context.Cause(ctx); err != nil { // we stopped, not they
		n, _ := d.Get(context.WithoutCancel(ctx), id)
		return n, errors.Join(cause, err)
	}
	now := d.Clock.Now().UTC()
	var n Notice
	err := d.DB.Tx(ctx, func(tx *relation.Tx) error {
		var err error
		if n, err = get(ctx, tx, id); err != nil {
			return err
		}
		n.Attempts++
		return d.after(ctx, tx, &n, by, cause, now)
	})
	return n, errors.Join(cause, err)
}

// after writes down a try that the next hop surely doesn't have: failed for good, or
// due again later.
func (d *Desk) after(ctx context.Context, tx *relation.Tx, n *Notice, by string, cause error, now time.Time) error {
	why, permanent, wait := "the next hop can't be reached", false, d.Policy.pause(n.Attempts)
	if no, is := errors.AsType[*NotTaken](cause); is {
		why, permanent, wait = no.Reason, no.Permanent, max(wait, min(no.After, d.Policy.Longest))
	}
	if !permanent && n.Attempts >= d.Policy.Tries {
		permanent, why = true, fmt.Sprintf("given up after %d tries: %s", n.Attempts, why)
	}
	n.Sent = time.Time{}
	switch {
	case permanent:
		c, err := n.step(Failed, by, why, now)
		if err != nil {
			return err
		}
		return update(ctx, tx, n, c)
	case n.State == Approved: // it was never claimed, so its state stays
		n.Due, n.Reason = now.Add(wait), why
		return update(ctx, tx, n, Change{At: now, From: Approved, To: Approved, Who: by, Reason: why})
	}
	n.Due = now.Add(wait)
	c, err := n.step(Approved, by, why, now)
	if err != nil {
		return err
	}
	return update(ctx, tx, n, c)
}

// outcome commits what became of a notice that was handed over.
func (d *Desk) outcome(ctx context.Context, id, by, receipt string, handed error) (n Notice, err error) {
	now := d.Clock.Now().UTC()
	no, refused := errors.AsType[*NotTaken](handed)
	err = d.DB.Tx(ctx, func(tx *relation.Tx) error {
		if n, err = get(ctx, tx, id); err != nil {
			return err
		}
		if n.State == Delivered || n.State == Bounced { // its answer was faster than ours
			return nil
		}
		if refused {
			return d.after(ctx, tx, &n, by, no, now)
		}
		to, why := Sent, ""
		if handed != nil {
			to, why = InDoubt, "the line was lost while it was handed over: ask the next hop's log, then resolve it"
		}
		c, err := n.step(to, by, why, now)
		if err != nil {
			return err
		}
		n.Receipt = receipt
		return update(ctx, tx, &n, c)
	})
	return n, errors.Join(handed, err)
}

// Recover puts in doubt what a program that died left in Sending. It must run before
// the first Send, and while no other process sends. Letters aren't its business:
// their batch is finished as it was begun.
func (d *Desk) Recover(ctx context.Context) (doubted []Notice, err error) {
	left, err := list(ctx, d.DB, Query{State: Sending})
	if err != nil {
		return nil, err
	}
	for i := range left {
		if left[i].Channel == Letter {
			continue
		}
		n, err := d.move(ctx, left[i].ID, "sakimori", "the program ended while it was handed over: ask the next hop's log, then resolve it", func(*Notice) (State, error) { return InDoubt, nil })
		if err != nil {
			return doubted, err
		}
		doubted = append(doubted, n)
	}
	return doubted, nil
}

// Grants gives the Grant under which a subscriber may be notified now; the zero Grant
// when there is none.
type Grants interface {
	For(ctx context.Context, subject string) (lawful.Grant, error)
}

// Tally is what a round of sending came to.
type Tally struct {
	Sent, InDoubt, Failed int
	Later                 int // throttled, refused or to be tried again
	Errors                map[string]int
}

// SendDue sends all notices of a channel that are due, one after the other, until
// ctx ends. One that can't be sent doesn't keep the next from it.
func (d *Desk) SendDue(ctx context.Context, c Channel, grants Grants, by string) (t Tally, err error) {
	due, err := list(ctx, d.DB, Query{State: Approved, Channel: c, Due: d.Clock.Now()})
	if err != nil {
		return t, err
	}
	t.Errors = map[string]int{}
	for i := range due {
		if err := ctx.Err(); err != nil {
			return t, err
		}
		g, err := grants.For(ctx, due[i].Subject)
		if err != nil {
			return t, err
		}
		n, err := d.Send(ctx, due[i].ID, g, by)
		switch n.State {
		case Sent, Delivered:
			t.Sent++
		case InDoubt, Sending:
			t.InDoubt++
		case Failed, Unprintable, Bounced:
			t.Failed++
		default:
			t.Later++
		}
		if err != nil {
			t.Errors[err.Error()]++
		}
	}
	return t, nil
}
