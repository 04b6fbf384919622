package casework

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"sakimori/base/relation"
)

// Action is what can be done to many cases at once.
type Action string

// The actions.
const (
	ToMove    Action = "move"
	ToAssign  Action = "assign"
	ToHold    Action = "hold"
	ToRelease Action = "release"
)

// Order is something to be done to many cases.
type Order struct {
	Action Action   `json:"action"`
	To     string   `json:"to"` // the state, or whose they become
	Cases  []string `json:"cases"`
	Who    string   `json:"who"`
	Why    string   `json:"why"`
}

// Bulk is an order on its way. It waits a while, in which it can be stopped: what is
// done to two hundred people can't be taken back as what is done to one.
type Bulk struct {
	ID     string     `json:"id"`
	Action Action     `json:"action"`
	To     string     `json:"to"`
	Why    string     `json:"why"`
	Who    string     `json:"who"`
	Asked  time.Time  `json:"asked"`
	At     time.Time  `json:"at"` // when it is done
	State  string     `json:"state"`
	Cases  []BulkCase `json:"cases"`
}

// BulkCase is what became of one case of an order.
type BulkCase struct {
	ID     string `json:"id"`
	Result string `json:"result"` // "" not yet, done, refused
	Reason string `json:"reason"` // of the refusal
}

// The states of an order, and of a case in it.
const (
	BulkWaiting = "waiting"
	BulkDone    = "done"
	BulkStopped = "stopped"
	BulkRefused = "refused"
)

// mostInBulk bounds an order, so that a slip of the hand is.
const mostInBulk = 1000

// ErrBulk is what Bulk returns for what can't be done to many.
var ErrBulk = fmt.Errorf("name an action (move, assign, hold, release) and 1 to %d cases", mostInBulk)

// Bulk takes an order. It is done after Rules.Wait, by RunBulks.
func (d *Desk) Bulk(ctx context.Context, o Order) (Bulk, error) {
	if o.Who == "" || o.Why == "" {
		return Bulk{}, ErrWhy
	}
	known := false
	for _, s := range States {
		known = known || string(s) == o.To
	}
	switch {
	case len(o.Cases) == 0 || len(o.Cases) > mostInBulk:
		return Bulk{}, ErrBulk
	case o.Action == ToMove && !known:
		return Bulk{}, fmt.Errorf("%w: there is no state %q", ErrBulk, o.To)
	case o.Action == ToMove, o.Action == ToAssign, o.Action == ToHold, o.Action == ToRelease:
	default:
		return Bulk{}, ErrBulk
	}
	now := d.clock.Now()
	b := Bulk{ID: "B-" + strings.ToLower(rand.Text()[:10]), Action: o.Action, To: o.To, Why: o.Why, Who: o.Who, Asked: now, At: now.Add(d.rules.Wait), State: BulkWaiting}
	err := d.db.Tx(ctx, func(tx *relation.Tx) error {
		b.Cases = nil
		if err := d.lock(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO casework_bulk (id, action, target, why, who, asked, at, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			b.ID, string(b.Action), b.To, b.Why, b.Who, b.Asked.UnixNano(), b.At.UnixNano(), b.State); err != nil {
			return fmt.Errorf("take an order: %w", err)
		}
		for _, id := range o.Cases {
			changed, err := tx.Exec(ctx, `INSERT INTO casework_bulk_case (bulk_id, case_id, was, result, reason)
				SELECT $1, id, state, '', '' FROM casework_case WHERE id = $2 ON CONFLICT DO NOTHING`, b.ID, id)
			if err != nil {
				return fmt.Errorf("take an order: %w", err)
			}
			if changed == 0 {
				return fmt.Errorf("%w, or it is named twice: %s", ErrUnknown, id)
			}
			b.Cases = append(b.Cases, BulkCase{ID: id})
		}
		return d.recorder.Record(ctx, tx, Event{Case: b.ID, At: now, Who: b.Who, What: "bulk " + string(b.Action) + " " + b.To, Why: fmt.Sprintf("%d cases: %s", len(b.Cases), b.Why)})
	})
	return b, err
}

// StopBulk stops an order that isn't done yet. Those of its cases that it has reached
// already stay as they are.
func (d *Desk) StopBulk(ctx context.Context, id, who, why string) (b Bulk, err error) {
	if who == "" || why == "" {
		return b, ErrWhy
	}
	err = d.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := d.lock(ctx, tx); err != nil {
			return err
		}
		changed, err := tx.Exec(ctx, `UPDATE casework_bulk SET state = $1 WHERE id = $2 AND state = $3`, BulkStopped, id, BulkWaiting)
		if err != nil {
			return fmt.Errorf("stop an order: %w", err)
		}
		if changed == 0 {
			return fmt.Errorf("%w: no order %s waits", ErrUnknown, id)
		}
		return d.recorder.Record(ctx, tx, Event{Case: id, At: d.clock.Now(), Who: who, What: "bulk stopped", Why: why})
	})
	if err != nil {
		return b, err
	}
	return d.GetBulk(ctx, id)
}

// GetBulk is one order.
func (d *Desk) GetBulk(ctx context.Context, id string) (Bulk, error) {
	list, err := d.bulks(ctx, `WHERE id = $1`, id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: no order %s", ErrUnknown, id)
	}
	if err != nil {
		return Bulk{}, err
	}
	return list[0], nil
}

// Bulks are the newest orders.
func (d *Desk) Bulks(ctx context.Context, most int) ([]Bulk, error) {
	return d.bulks(ctx, fmt.Sprintf(`ORDER BY asked DESC, id LIMIT %d`, most))
}

func (d *Desk) bulks(ctx context.Context, which string, args ...any) (list []Bulk, err error) {
	rows, err := d.db.Query(ctx, `SELECT id, action, target, why, who, asked, at, state FROM casework_bulk `+which, args...)
	if err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var b Bulk
		var asked, at int64
		if err := rows.Scan(&b.ID, &b.Action, &b.To, &b.Why, &b.Who, &asked, &at, &b.State); err != nil {
			return nil, fmt.Errorf("read orders: %w", err)
		}
		b.Asked, b.At = time.Unix(0, asked).UTC(), time.Unix(0, at).UTC()
		list = append(list, b)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Cases, err = d.bulkCases(ctx, list[i].ID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (d *Desk) bulkCases(ctx context.Context, id string) (list []BulkCase, err error) {
	rows, err := d.db.Query(ctx, `SELECT case_id, result, reason FROM casework_bulk_case WHERE bulk_id = $1 ORDER BY case_id`, id)
	if err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c BulkCase
		if err := rows.Scan(&c.ID, &c.Result, &c.Reason); err != nil {
			return nil, fmt.Errorf("read orders: %w", err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// RunBulks does the orders whose time has come, and says to how many cases. Each case
// is a transaction of its own with its result, so an order that was cut off goes on
// where it was.
func (d *Desk) RunBulks(ctx context.Context) (done int, err error) {
	list, err := d.bulks(ctx, `WHERE state = $1 AND at <= $2 ORDER BY at, id`, BulkWaiting, d.clock.Now().UnixNano())
	if err != nil {
		return 0, err
	}
	for i := range list {
		for _, c := range list[i].Cases {
			if c.Result != "" {
				continue
			}
			is, err := d.runBulk(ctx, &list[i], c.ID)
			if err != nil {
				return done, err
			}
			if is {
				done++
			}
		}
		err := d.db.Tx(ctx, func(tx *relation.Tx) error {
			if err := d.lock(ctx, tx); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `UPDATE casework_bulk SET state = $1 WHERE id = $2 AND state = $3`, BulkDone, list[i].ID, BulkWaiting)
			return err
		})
		if err != nil {
			return done, fmt.Errorf("end an order: %w", err)
		}
	}
	return done, nil
}

// runBulk does an order to one case, unless somebody has stopped it. A case that isn't
// as it was when the order was given is left alone, and so is one that can't be changed so.
func (d *Desk) runBulk(ctx context.Context, b *Bulk, id string) (done bool, err error) {
	now := d.clock.Now()
	err = d.db.Tx(ctx, func(tx *relation.Tx) error {
		done = false
		if err := d.lock(ctx, tx); err != nil {
			return err
		}
		var was State
		err := tx.QueryRow(ctx, `SELECT was FROM casework_bulk_case c JOIN casework_bulk b ON b.id = c.bulk_id WHERE b.id = $1 AND b.state = $2 AND c.case_id = $3 AND c.result = ''`,
			b.ID, BulkWaiting, id).Scan(&was)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("do an order: %w", err)
		}
		c, err := one(tx.QueryRow(ctx, `SELECT `+columns+` FROM casework_case WHERE id = $1`, id))
		if err != nil {
			return err
		}
		result, reason := BulkDone, ""
		var refused error
		if c.State != was {
			refused = fmt.Errorf("it went from %s to %s meanwhile", was, c.State)
		} else {
			refused = c.allows(b.Action, State(b.To))
		}
		if refused != nil {
			result, reason = BulkRefused, refused.Error()
		} else if err := d.do(ctx, tx, &c, b.Action, b.To, b.Who, b.Why+" ("+b.ID+")", now); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE casework_bulk_case SET result = $1, reason = $2 WHERE bulk_id = $3 AND case_id = $4`, result, reason, b.ID, id); err != nil {
			return fmt.Errorf("do an order: %w", err)
		}
		done = result == BulkDone
		return nil
	})
	return done, err
}

// allows says why something can't be done to a case.
func (c *Case) allows(a Action, to State) error {
	switch {
	case a == ToMove && c.Held:
		return ErrHeld
	case a == ToMove && !c.State.May(to):
		return fmt.Errorf("%w: %s → %s", ErrOrder, c.State, to)
	}
	return nil
}

// do does something to a case that allows it.
func (d *Desk) do(ctx context.Context, tx *relation.Tx, c *Case, a Action, to, who, why string, now time.Time) error {
	switch a {
	case ToMove:
		return d.move(ctx, tx, c, State(to), who, why, now)
	case ToAssign:
		c.Assignee = to
		if err := d.event(ctx, tx, c.ID, who, "assigned", to+": "+why, now); err != nil {
			return err
		}
	case ToHold, ToRelease:
		c.Held = a == ToHold
		what := map[bool]string{true: "held", false: "released"}[c.Held]
		if err := d.event(ctx, tx, c.ID, who, what, why, now); err != nil {
			return err
		}
	}
	return d.save(ctx, tx, c)
}
