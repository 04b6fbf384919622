package casework

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sakimori/base/relation"
)

// Happening is something that happened outside and brings a case further: a notice went
// out, came back, or was answered.
type Happening struct {
	Key  string // the same for ever, so that it counts once
	Case string
	To   State // where it brings the case; "" nowhere, it is only told
	Who  string
	Why  string
}

// Follow brings a case to where a happening leads, once, whoever tells of it how often.
// On the way it may pass Lawful: what was done was done with a Grant. A case that can't
// go there any more gets a remark instead, so that nothing is lost; one that is held
// gives ErrHeld, and follows when it is released. A merged case stands for the one that
// it was merged into.
func (d *Desk) Follow(ctx context.Context, h Happening) error {
	if h.Key == "" || h.Who == "" || h.Why == "" {
		return ErrWhy
	}
	now := d.clock.Now()
	return d.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := d.lock(ctx, tx); err != nil {
			return err
		}
		c, err := d.stands(ctx, tx, h.Case)
		if err != nil {
			return err
		}
		fresh, err := tx.Exec(ctx, `INSERT INTO casework_happened (happening, case_id, at) VALUES ($1, $2, $3) ON CONFLICT (happening) DO NOTHING`, h.Key, c.ID, now.UnixNano())
		if err != nil {
			return fmt.Errorf("follow what happened: %w", err)
		}
		if fresh == 0 {
			return nil
		}
		if c.Held {
			return ErrHeld // and nothing is written
		}
		return d.proceed(ctx, tx, &c, &h, now)
	})
}

// proceed takes the steps to where a happening leads.
func (d *Desk) proceed(ctx context.Context, tx *relation.Tx, c *Case, h *Happening, now time.Time) error {
	way := c.State.way(h.To)
	for _, to := range way {
		if err := d.move(ctx, tx, c, to, h.Who, h.Why, now); err != nil {
			return err
		}
	}
	if len(way) > 0 || h.To == Lawful && c.State.Open() { // it has been lawful before
		return nil
	}
	if h.To == Notified { // told, wherever the case stood
		c.Notices++
		if err := d.save(ctx, tx, c); err != nil {
			return err
		}
	}
	why := h.Why
	if h.To != "" {
		why = string(h.To) + ": " + why
	}
	return d.event(ctx, tx, c.ID, h.Who, "note", why, now)
}

// way is how a state is reached, over Lawful if need be; empty when it isn't.
func (s State) way(to State) []State {
	switch {
	case to != Closed && slices.Contains(next[s], to):
		return []State{to}
	case slices.Contains(next[s], Lawful) && slices.Contains(next[Lawful], to):
		return []State{Lawful, to}
	}
	return nil
}

// stands is the case that a number stands for now.
func (d *Desk) stands(ctx context.Context, a relation.Asker, id string) (c Case, err error) {
	const most = 100 // a case is merged into one that isn't merged, so there are few
	for range most {
		c, err = one(a.QueryRow(ctx, `SELECT `+columns+` FROM casework_case WHERE id = $1`, id))
		if err != nil || c.Merged == "" {
			return c, err
		}
		id = c.Merged
	}
	return c, fmt.Errorf("%w: %s is merged in a circle", ErrOrder, id)
}

// Case is a case as it stands, without its history; a merged one is the one that it was
// merged into.
func (d *Desk) Case(ctx context.Context, id string) (Case, error) { return d.stands(ctx, d.db, id) }
