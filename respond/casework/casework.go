package casework

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
)

//go:embed migrations
var migrations embed.FS

// Case is one subscriber's.
type Case struct {
	ID       string    `json:"id"`      // C-2026-000123
	Subject  string    `json:"subject"` // pseudonym
	State    State     `json:"state"`
	Family   string    `json:"family"` // of the malware, "" not known
	Device   string    `json:"device"` // "" not known
	Opened   time.Time `json:"opened"`
	Changed  time.Time `json:"changed"`
	Seen     time.Time `json:"seen"` // the latest sign
	Due      time.Time `json:"due,omitzero"`
	Notices  int       `json:"notices"`
	Assignee string    `json:"assignee"`
	Held     bool      `json:"held"`
	Reason   string    `json:"reason"`
	Merged   string    `json:"merged"`
}

// Event is a change of a case.
type Event struct {
	Case string    `json:"case"`
	N    int       `json:"n"`
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what"`
	Why  string    `json:"why"`
}

// Sign is one thing that was seen of an address, with what the attribution made of it.
type Sign struct {
	ID        string    `json:"id"` // of the finding or report
	Case      string    `json:"case"`
	Subject   string    `json:"-"` // "" when nobody can be told
	Source    string    `json:"source"`
	Claim     string    `json:"claim"`
	Family    string    `json:"family"`
	Device    string    `json:"-"`
	At        time.Time `json:"at"`
	Came      time.Time `json:"came"`
	Verdict   string    `json:"verdict"`
	Doubt     string    `json:"doubt"`
	Mediated  bool      `json:"mediated"`
	Withdrawn bool      `json:"withdrawn"`
}

// Recorder writes a change into the ledger, in the transaction that makes it. Lock is
// called at the beginning of it.
type Recorder interface {
	Lock(ctx context.Context, tx *relation.Tx) error
	Record(ctx context.Context, tx *relation.Tx, e Event) error
}

// Desk is where the cases are. It may be used by many goroutines.
type Desk struct {
	db       *relation.DB
	recorder Recorder
	clock    clock.Clock
	rules    Rules
}

// Open prepares the tables.
func Open(ctx context.Context, db *relation.DB, r Recorder, c clock.Clock, rules Rules) (*Desk, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "casework", files); err != nil {
		return nil, err
	}
	return &Desk{db: db, recorder: r, clock: c, rules: rules}, nil
}

// lock keeps others from the cases and from the ledger until the transaction ends.
func (d *Desk) lock(ctx context.Context, tx *relation.Tx) error {
	if err := tx.Lock(ctx, "casework_case"); err != nil {
		return err
	}
	return d.recorder.Lock(ctx, tx)
}

// The errors of a desk.
var (
	ErrUnknown = errors.New("there is no such case")
	ErrOrder   = errors.New("a case can't go from one state to the other")
	ErrHeld    = errors.New("the case is held: release it first")
	ErrWhy     = errors.New("a change says who makes it and why")
)

// Take takes a sign. One that names a subscriber goes to their case: the open one, one
// that ended not long ago, which opens again, or a new one. One that accuses nobody is
// kept, and no more. The same sign twice is one. It gives the case, "" when there is
// none.
func (d *Desk) Take(ctx context.Context, s Sign) (id string, err error) {
	if s.ID == "" || s.Source == "" || s.At.IsZero() {
		return "", errors.New("a sign has an id, a source and a time")
	}
	if s.Mediated { // whoever asked the resolver isn't known
		s.Subject = ""
	}
	now := d.clock.Now()
	err = d.db.Tx(ctx, func(tx *relation.Tx) error {
		id = ""
		if err := d.lock(ctx, tx); err != nil {
			return err
		}
		var have string
		err := tx.QueryRow(ctx, `SELECT case_id FROM casework_sign WHERE id = $1`, s.ID).Scan(&have)
		switch {
		case err == nil && (have != "" || s.Subject == ""):
			id = have
			return nil
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("take a sign: %w", err)
		case err == nil: // it was nobody's, and now it is known whose
			if _, err := tx.Exec(ctx, `DELETE FROM casework_sign WHERE id = $1`, s.ID); err != nil {
				return err
			}
		}
		if s.Subject != "" {
			if id, err = d.assign(ctx, tx, &s, now); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `INSERT INTO casework_sign (id, case_id, source, claim, family, at, came, verdict, doubt, mediated, withdrawn) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			s.ID, id, s.Source, s.Claim, s.Family, s.At.UnixNano(), now.UnixNano(), s.Verdict, s.Doubt, s.Mediated, false)
		return err
	})
	return id, err
}

// assign finds the case of a sign's subscriber, or begins one.
func (d *Desk) assign(ctx context.Context, tx *relation.Tx, s *Sign, now time.Time) (string, error) {
	c, err := one(tx.QueryRow(ctx, `SELECT `+columns+` FROM casework_case WHERE subject = $1 AND merged = '' ORDER BY opened DESC, id DESC LIMIT 1`, s.Subject))
	if err != nil && !errors.Is(err, ErrUnknown) {
		return "", err
	}
	if err != nil || !c.State.Open() && now.Sub(c.Changed) > d.rules.Again {
		return d.begin(ctx, tx, s, now)
	}
	fresh := s.At.After(c.Seen)
	if fresh {
		c.Seen = s.At
	}
	if c.Family == "" {
		c.Family = s.Family
	}
	if c.Device == "" {
		c.Device = s.Device
	}
	why := "seen by " + s.Source
	// Only what was seen after somebody was to be clean is a relapse: a report that
	// comes late tells of before. But one of the quiet period says that it wasn't quiet.
	since := c.Changed
	if c.State == Clean {
		since = since.Add(-d.rules.quiet(c.Family))
	}
	if fresh && s.At.After(since) && c.State.May(Relapsed) {
		return c.ID, d.move(ctx, tx, &c, Relapsed, "sakimori", why, now)
	}
	if err := d.save(ctx, tx, &c); err != nil {
		return "", err
	}
	return c.ID, d.event(ctx, tx, c.ID, "sakimori", "sign", why, now)
}

func (d *Desk) begin(ctx context.Context, tx *relation.Tx, s *Sign, now time.Time) (string, error) {
	year := int64(now.Year())
	if _, err := tx.Exec(ctx, `INSERT INTO casework_number (year, last) VALUES ($1, 0) ON CONFLICT (year) DO NOTHING`, year); err != nil {
		return "", err
	}
	var n int64
	if err := tx.QueryRow(ctx, `UPDATE casework_number SET last = last + 1 WHERE year = $1 RETURNING last`, year).Scan(&n); err != nil {
		return "", err
	}
	c := Case{ID: fmt.Sprintf("C-%d-%06d", year, n), Subject: s.Subject, State: New, Family: s.Family, Device: s.Device, Opened: now, Changed: now, Seen: s.At}
	if _, err := tx.Exec(ctx, `INSERT INTO casework_case (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`, c.values()...); err != nil {
		return "", err
	}
	if err := d.event(ctx, tx, c.ID, "sakimori", string(New), "seen by "+s.Source, now); err != nil {
		return "", err
	}
	return c.ID, d.move(ctx, tx, &c, Attributed, "sakimori", s.Verdict, now)
}

const columns = `id, subject, state, family, device, opened, changed, seen, due, notices, assignee, held, reason, merged`

func (c *Case) values() []any {
	due := int64(0)
	if !c.Due.IsZero() {
		due = c.Due.UnixNano()
	}
	return []any{c.ID, c.Subject, string(c.State), c.Family, c.Device, c.Opened.UnixNano(), c.Changed.UnixNano(), c.Seen.UnixNano(), due, int64(c.Notices), c.Assignee, c.Held, c.Reason, c.Merged}
}

func one(row interface{ Scan(dest ...any) error }) (c Case, err error) {
	var state string
	var opened, changed, seen, due, notices int64
	err = row.Scan(&c.ID, &c.Subject, &state, &c.Family, &c.Device, &opened, &changed, &seen, &due, &notices, &c.Assignee, &c.Held, &c.Reason, &c.Merged)
	if errors.Is(err, sql.ErrNoRows) {
		return c, ErrUnknown
	}
	if err != nil {
		return c, fmt.Errorf("read a case: %w", err)
	}
	at := func(n int64) time.Time { return time.Unix(0, n).UTC() }
	c.State, c.Opened, c.Changed, c.Seen, c.Notices = State(state), at(opened), at(changed), at(seen), int(notices)
	if due != 0 {
		c.Due = at(due)
	}
	return c, nil
}

func (d *Desk) save(ctx context.Context, tx *relation.Tx, c *Case) error {
	v := c.values()
	_, err := tx.Exec(ctx, `UPDATE casework_case SET state = $2, family = $3, device = $4, changed = $5, seen = $6, due = $7, notices = $8, assignee = $9, held = $10, reason = $11, merged = $12 WHERE id = $1`,
		slices.Concat(v[:1], v[2:5], v[6:])...)
	if err != nil {
		return fmt.Errorf("change a case: %w", err)
	}
	return nil
}

// event adds to the history of a case, and to the ledger.
func (d *Desk) event(ctx context.Context, tx *relation.Tx, id, who, what, why string, now time.Time) error {
	e := Event{Case: id, At: now, Who: who, What: what, Why: why}
	if err := d.recorder.Record(ctx, tx, e); err != nil {
		return fmt.Errorf("the change could not be written down: %w", err)
	}
	_, err := tx.Exec(ctx, `INSERT INTO casework_event (case_id, n, at, who, what, why)
		SELECT $1, coalesce(max(n), 0) + 1, $2, $3, $4, $5 FROM casework_event WHERE case_id = $6`, id, now.UnixNano(), who, what, why, id)
	if err != nil {
		return fmt.Errorf("change a case: %w", err)
	}
	return nil
}

// move brings a case into another state.
func (d *Desk) move(ctx context.Context, tx *relation.Tx, c *Case, to State, who, why string, now time.Time) error {
	if !c.State.May(to) {
		return fmt.Errorf("%w: %s → %s", ErrOrder, c.State, to)
	}
	c.State, c.Changed, c.Reason = to, now, ""
	c.Due = time.Time{}
	if n := d.rules.due(to, now); n != 0 {
		c.Due = time.Unix(0, n).UTC()
	}
	switch to {
	case Notified:
		c.Notices++
	case Verifying:
		c.Due = later(now, c.Seen).Add(d.rules.quiet(c.Family))
	case Closed:
		c.Reason = why
	}
	if err := d.event(ctx, tx, c.ID, who, string(to), why, now); err != nil {
		return err
	}
	return d.save(ctx, tx, c)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// change does something to a case that isn't held, in a transaction.
func (d *Desk) change(ctx context.Context, id, who, why string, do func(tx *relation.Tx, c *Case, now time.Time) error) error {
	if who == "" || why == "" {
		return ErrWhy
	}
	now := d.clock.Now()
	return d.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := d.lock(ctx, tx); err != nil {
			return err
		}
		c, err := one(tx.QueryRow(ctx, `SELECT `+columns+` FROM casework_case WHERE id = $1`, id))
		if err != nil {
			return err
		}
		return do(tx, &c, now)
	})
}

// Move brings a case into another state: who does it, and why.
func (d *Desk) Move(ctx context.Context, id string, to State, who, why string) error {
	return d.act(ctx, id, ToMove, string(to), who, why)
}

// Assign gives a case to somebody; "" takes it back.
func (d *Desk) Assign(ctx context.Context, id, to, who, why string) error {
	return d.act(ctx, id, ToAssign, to, who, why)
}

// Hold keeps a case as it is until it is released.
func (d *Desk) Hold(ctx context.Context, id string, held bool, who, why string) error {
	a := ToRelease
	if held {
		a = ToHold
	}
	return d.act(ctx, id, a, "", who, why)
}

// act does to one case what an order does to many.
func (d *Desk) act(ctx context.Context, id string, a Action, to, who, why string) error {
	return d.change(ctx, id, who, why, func(tx *relation.Tx, c *Case, now time.Time) error {
		if err := c.allows(a, State(to)); err != nil {
			return err
		}
		return d.do(ctx, tx, c, a, to, who, why, now)
	})
}

// Note adds a remark.
func (d *Desk) Note(ctx context.Context, id, who, text string) error {
	return d.change(ctx, id, who, text, func(tx *relation.Tx, _ *Case, now time.Time) error {
		return d.event(ctx, tx, id, who, "note", text, now)
	})
}

// Merge puts a case into another one, with all its signs: two contracts turned out to be
// one, for example.
func (d *Desk) Merge(ctx context.Context, id, into, who, why string) error {
	return d.change(ctx, id, who, why, func(tx *relation.Tx, c *Case, now time.Time) error {
		t, err := one(tx.QueryRow(ctx, `SELECT `+columns+` FROM casework_case WHERE id = $1`, into))
		if err != nil {
			return err
		}
		if id == into || c.Merged != "" || t.Merged != "" {
			return fmt.Errorf("%w: a case is merged once, and into another that isn't", ErrOrder)
		}
		if c.Held || t.Held {
			return ErrHeld
		}
		if _, err := tx.Exec(ctx, `UPDATE casework_sign SET case_id = $1 WHERE case_id = $2`, into, id); err != nil {
			return fmt.Errorf("merge cases: %w", err)
		}
		c.Merged, t.Seen = into, later(t.Seen, c.Seen)
		if c.State != Closed {
			if err := d.move(ctx, tx, c, Closed, who, "merged into "+into+": "+why, now); err != nil {
				return err
			}
		} else if err := d.save(ctx, tx, c); err != nil {
			return err
		}
		if err := d.event(ctx, tx, into, who, "merged", id+": "+why, now); err != nil {
			return err
		}
		return d.save(ctx, tx, &t)
	})
}

// Withdraw takes a sign back: its source says that it was wrong. A case that nothing else
// speaks for is closed.
func (d *Desk) Withdraw(ctx context.Context, sign, who, why string) error {
	if who == "" || why == "" {
		return ErrWhy
	}
	now := d.clock.Now()
	return d.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := d.lock(ctx, tx); err != nil {
			return err
		}
		var id string
		var gone bool
		err := tx.QueryRow(ctx, `SELECT case_id, withdrawn FROM casework_sign WHERE id = $1`, sign).Scan(&id, &gone)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: no sign %s", ErrUnknown, sign)
		}
		if err != nil || gone {
			return err
		}
		if id != "" { // the ledger comes first
			if err := d.event(ctx, tx, id, who, "withdrawn", sign+": "+why, now); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE casework_sign SET withdrawn = $1 WHERE id = $2`, true, sign); err != nil || id == "" {
			return err
		}
		var left int
		var seen sql.NullInt64
		if err := tx.QueryRow(ctx, `SELECT count(*), max(at) FROM casework_sign WHERE case_id = $1 AND withdrawn = $2`, id, false).Scan(&left, &seen); err != nil {
			return err
		}
		c, err := one(tx.QueryRow(ctx, `SELECT `+columns+` FROM casework_case WHERE id = $1`, id))
		if err != nil {
			return err
		}
		if left > 0 {
			c.Seen = time.Unix(0, seen.Int64).UTC()
			return d.save(ctx, tx, &c)
		}
		if c.State == Closed {
			return nil
		}
		return d.move(ctx, tx, &c, Closed, who, "every sign was withdrawn: "+why, now)
	})
}

// Tick does what time brings: a case that was told, and of which nothing was seen for a
// day, is verified; one whose quiet period has run out without a sign is clean. It gives
// those that it has moved.
func (d *Desk) Tick(ctx context.Context) (moved []string, err error) {
	now := d.clock.Now()
	list, err := d.Cases(ctx, Query{States: []State{Notified, Acknowledged, Escalated, ClaimedFixed, Verifying}})
	if err != nil {
		return nil, err
	}
	const silent = 24 * time.Hour
	for i := range list {
		c := &list[i]
		to, why := State(""), ""
		switch {
		case c.Held:
		case c.State == Verifying && !now.Before(c.Due) && now.Sub(c.Seen) >= d.rules.quiet(c.Family):
			to, why = Clean, fmt.Sprintf("no sign from any source for %s", now.Sub(c.Seen).Round(time.Hour))
		case c.State != Verifying && c.State.told() && now.Sub(later(c.Seen, c.Changed)) >= silent:
			to, why = Verifying, fmt.Sprintf("no sign for %s after %s", now.Sub(c.Seen).Round(time.Hour), c.State)
		}
		if to == "" {
			continue
		}
		// Between the question and this somebody may have moved it: then it stays so.
		from := c.State
		err := d.change(ctx, c.ID, "sakimori", why, func(tx *relation.Tx, c *Case, now time.Time) error {
			if c.State != from || c.Held {
				return ErrHeld
			}
			return d.move(ctx, tx, c, to, "sakimori", why, now)
		})
		switch {
		case errors.Is(err, ErrHeld):
		case err != nil:
			return moved, err
		default:
			moved = append(moved, c.ID)
		}
	}
	return moved, nil
}
