package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sakimori/base/relation"
	"sakimori/lawful"
)

// Press makes batches of letters: a file for each, and a manifest that is written
// last. A batch without a manifest isn't to be printed.
type Press interface {
	// Write makes one letter. An *Unwritable says that it can't be made.
	Write(m *Message) (Sheet, error)
	// Put keeps a letter of a batch. To put it again leaves one.
	Put(ctx context.Context, batch string, n *Notice, s Sheet) error
	// Close ends a batch that holds these notices, and no others.
	Close(ctx context.Context, batch string, at time.Time, notices []Notice) error
	// Closed gives the ids of the notices of a batch that was closed.
	Closed(batch string) (ids []string, closed bool, err error)
}

// Batch is what PrintBatch made.
type Batch struct {
	ID          string
	Letters     int
	Unprintable int // and otherwise unwritable
	Later       int // throttled or refused
}

// PrintBatch writes up to most letters that are due into one batch. A batch that a
// crash cut off is finished first, under its own name and with its own letters, and
// no new one is begun: so no letter is ever in two. One process prints at a time.
func (d *Desk) PrintBatch(ctx context.Context, grants Grants, by string, most int) (Batch, error) {
	if d.Press == nil {
		return Batch{}, fmt.Errorf("%w: %s", ErrChannel, Letter)
	}
	open, err := list(ctx, d.DB, Query{State: Sending, Channel: Letter})
	if err != nil {
		return Batch{}, err
	}
	if len(open) > 0 {
		return d.print(ctx, open[0].Batch, grants, by, 0)
	}
	due, err := list(ctx, d.DB, Query{State: Approved, Channel: Letter, Due: d.Clock.Now(), Limit: most})
	if err != nil || len(due) == 0 {
		return Batch{}, err
	}
	id := d.Clock.Now().UTC().Format("20060102-150405-") + newID()[:6]
	later := 0
	for i := range due {
		g, err := grants.For(ctx, due[i].Subject)
		if err != nil {
			return Batch{}, err
		}
		if !g.Allows(lawful.Notify, lawful.Of(due[i].Subject), d.Clock.Now()) {
			later++
			continue
		}
		if _, err := d.claim(ctx, due[i].ID, g, by, id); errors.Is(err, ErrThrottle) || errors.Is(err, ErrOrder) {
			later++
		} else if err != nil {
			return Batch{}, err
		}
	}
	return d.print(ctx, id, grants, by, later)
}

// print writes what a batch holds, closes it, and says that it was sent.
func (d *Desk) print(ctx context.Context, id string, grants Grants, by string, later int) (Batch, error) {
	b := Batch{ID: id, Later: later}
	in, err := list(ctx, d.DB, Query{State: Sending, Channel: Letter, Batch: id})
	if err != nil {
		return b, err
	}
	ids, closed, err := d.Press.Closed(id)
	if err != nil {
		return b, err
	}
	if closed { // only the last commit was lost
		b.Letters = len(ids)
		return b, d.sentBatch(ctx, id, ids, by)
	}
	kept := in[:0]
	for i := range in {
		n := in[i]
		err := d.letter(ctx, &n, grants, by)
		if _, is := errors.AsType[*Unwritable](err); is {
			b.Unprintable++
			continue
		}
		if errors.Is(err, ErrRefused) { // the grant ended meanwhile
			b.Later++
			continue
		}
		if err != nil {
			return b, err // the next call goes on here
		}
		kept = append(kept, n)
		ids = append(ids, n.ID)
	}
	if b.Letters = len(kept); b.Letters == 0 {
		return b, nil
	}
	if err := d.Press.Close(ctx, id, d.Clock.Now().UTC(), kept); err != nil {
		return b, err
	}
	return b, d.sentBatch(ctx, id, ids, by)
}

// letter writes one letter of a batch.
func (d *Desk) letter(ctx context.Context, n *Notice, grants Grants, by string) error {
	now := d.Clock.Now().UTC()
	g, err := grants.For(ctx, n.Subject)
	if err != nil {
		return err
	}
	if !g.Allows(lawful.Notify, lawful.Of(n.Subject), now) {
		_, err := d.move(ctx, n.ID, by, "the grant ended before the batch was closed", func(n *Notice) (State, error) {
			n.Sent, n.Batch = time.Time{}, ""
			return Approved, nil
		})
		return errors.Join(ErrRefused, err)
	}
	// The day of the claim is the letter's date, also when a crash came between.
	_, s, err := d.compose(ctx, n, g, by, n.Sent, d.Press.Write)
	if err != nil {
		_, err = d.unwritten(ctx, n, by, err)
		return err
	}
	if err := d.Recorder.Record(ctx, d.deed(n, by, s)); err != nil {
		return fmt.Errorf("the ledger didn't take the entry of a letter: %w", err)
	}
	return d.Press.Put(ctx, n.Batch, n, s)
}

func (d *Desk) sentBatch(ctx context.Context, batch string, ids []string, by string) error {
	now := d.Clock.Now().UTC()
	return d.DB.Tx(ctx, func(tx *relation.Tx) error {
		for _, id := range ids {
			n, err := get(ctx, tx, id)
			if err != nil {
				return err
			}
			if n.State != Sending || n.Batch != batch {
				continue // by an earlier try of this
			}
			c, err := n.step(Sent, by, "in batch "+batch, now)
			if err != nil {
				return err
			}
			if err := update(ctx, tx, &n, c); err != nil {
				return err
			}
		}
		return nil
	})
}
