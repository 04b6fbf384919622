package notify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sakimori/base/relation"
)

// News is a change of a notice that nobody has heard of yet. Whoever follows notices
// hears each change at least once, also over a crash: it is written with the change
// itself, and goes when Heard is called.
type News struct {
	Change

	Notice Notice // as it is now
	N      int    // of the change in the notice's history
}

// News are the changes that weren't heard, the oldest first.
func (d *Desk) News(ctx context.Context) (list []News, err error) {
	rows, err := d.DB.Query(ctx, `SELECT notice, n, made, before, after, who, why, said FROM notice_change WHERE heard = 0 ORDER BY made, notice, n`)
	if err != nil {
		return nil, fmt.Errorf("read what happened to notices: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var w News
		var made int64
		if err := rows.Scan(&w.Notice.ID, &w.N, &made, &w.From, &w.To, &w.Who, &w.Reason, &w.Said); err != nil {
			return nil, fmt.Errorf("read what happened to notices: %w", err)
		}
		w.At = moment(made)
		list = append(list, w)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read what happened to notices: %w", err)
	}
	_ = rows.Close() // before the connection is used again
	for i := range list {
		if list[i].Notice, err = d.Get(ctx, list[i].Notice.ID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Heard says that a change has been followed.
func (d *Desk) Heard(ctx context.Context, w *News) error {
	return d.DB.Tx(ctx, func(tx *relation.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE notice_change SET heard = 1 WHERE notice = $1 AND n = $2`, w.Notice.ID, w.N); err != nil {
			return fmt.Errorf("write down that a change was followed: %w", err)
		}
		return nil
	})
}

// out are the states of a notice that somebody can answer.
var out = []State{Sending, InDoubt, Sent, Delivered}

// Answer writes down what the subscriber lets us know, each word once: to say it again
// changes nothing. What they have seen has arrived. A notice that isn't out is left.
func (d *Desk) Answer(ctx context.Context, id string, s Said, why string) error {
	now := d.Clock.Now().UTC()
	return d.DB.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "notice"); err != nil {
			return err
		}
		n, err := get(ctx, tx, id)
		if err != nil {
			return err
		}
		past, err := history(ctx, tx, id)
		if err != nil {
			return err
		}
		if !slices.Contains(out, n.State) || slices.ContainsFunc(past, func(c Change) bool { return c.Said == s }) {
			return nil
		}
		c := Change{At: now, From: n.State, To: n.State, Who: subscriber, Reason: why, Said: s}
		if n.State != Delivered && n.State != Sending { // its own answer is on the way
			c.To = Delivered
			n.State, n.Reason, n.Changed = Delivered, why, now
		}
		return update(ctx, tx, &n, c)
	})
}

// subscriber is who answers a notice, without a name.
const subscriber = "subscriber"

// Count is how many notices match.
func (d *Desk) Count(ctx context.Context, q Query) (n int, err error) {
	where, args := q.where()
	if err := d.DB.QueryRow(ctx, `SELECT count(*) FROM notice`+where, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count notices: %w", err)
	}
	return n, nil
}

// Waits tells why an approved notice doesn't go out now, "" when only the next round is
// awaited: the policy's word, not the gate's.
func (d *Desk) Waits(ctx context.Context, n *Notice) (why string) {
	now := d.Clock.Now().UTC()
	switch {
	case n.State != Approved:
		return ""
	case now.Before(n.Due):
		return fmt.Sprintf("the next try is due at %s", n.Due.Format(time.RFC3339))
	}
	if err := d.may(ctx, d.DB, n, now); err != nil {
		return err.Error()
	}
	return ""
}
