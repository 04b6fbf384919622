package consent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sakimori/base/relation"
	"sakimori/lawful"
)

const columns = `seq, subject, purpose, given, version, made, channel, who`

func scan(row interface{ Scan(dest ...any) error }) (e Event, err error) {
	var seq, made int64
	err = row.Scan(&seq, &e.Subject, &e.Purpose, &e.Given, &e.Version, &made, &e.Channel, &e.Who)
	e.Seq, e.At = uint64(seq), time.Unix(0, made).UTC() //nolint:gosec // counts events
	return e, err
}

// latest is what a subject said last, by then or at all; nil nothing.
func latest(ctx context.Context, a relation.Asker, subject, purpose string, by *time.Time) (*Event, error) {
	text, args := `SELECT `+columns+` FROM consent_event WHERE subject = $1 AND purpose = $2`, []any{subject, purpose}
	if by != nil {
		text, args = text+` AND made <= $3`, append(args, by.UnixNano())
	}
	e, err := scan(a.QueryRow(ctx, text+` ORDER BY seq DESC LIMIT 1`, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // nothing was said
	}
	if err != nil {
		return nil, fmt.Errorf("read the consents: %w", err)
	}
	return &e, nil
}

// inForce is the version for a purpose at a time.
func inForce(ctx context.Context, a relation.Asker, purpose string, at time.Time) (version string, err error) {
	err = a.QueryRow(ctx, `SELECT version FROM consent_purpose WHERE purpose = $1 AND valid_from <= $2 ORDER BY valid_from DESC LIMIT 1`, purpose, at.UnixNano()).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w for %.40q at %s", ErrUnknown, purpose, at.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return "", fmt.Errorf("read the terms: %w", err)
	}
	return version, nil
}

// State is how a subject stood towards a purpose at a time.
type State struct {
	Valid   bool   `json:"valid"`   // consents, to the version in force then
	Said    *Event `json:"said"`    // last, until then; nil nothing
	Version string `json:"version"` // in force then, "" none
}

// At says what was in force at a time: for accounts of the past.
func (r *Register) At(ctx context.Context, subject, purpose string, at time.Time) (s State, err error) {
	if s.Said, err = latest(ctx, r.db, subject, purpose, &at); err != nil {
		return s, err
	}
	s.Version, err = inForce(ctx, r.db, purpose, at)
	if errors.Is(err, ErrUnknown) {
		return s, nil
	}
	if err != nil || s.Said == nil || !s.Said.Given {
		return s, err
	}
	s.Valid, err = stands(ctx, r.db, s.Said, at)
	return s, err
}

// stands tells whether a consent to one version is one to the version in force: each
// version in between says so.
func stands(ctx context.Context, a relation.Asker, e *Event, at time.Time) (bool, error) {
	var broken int
	err := a.QueryRow(ctx, `SELECT count(*) FROM consent_purpose WHERE purpose = $1 AND continues = $2 AND valid_from <= $3
		AND valid_from > (SELECT valid_from FROM consent_terms WHERE version = $4)`, e.Purpose, false, at.UnixNano(), e.Version).Scan(&broken)
	if err != nil {
		return false, fmt.Errorf("read the terms: %w", err)
	}
	return broken == 0, nil
}

// Valid tells whether one may act on a subject's consent at a time, which is now or
// was a moment ago. A withdrawal counts whatever its time: another machine's clock may
// be ahead.
func (r *Register) Valid(ctx context.Context, subject, purpose string, at time.Time) (bool, error) {
	if m := r.memory.Load(); m != nil {
		done, err := m.follow(ctx, r)
		if err != nil {
			return false, err
		}
		if yes, known := m.valid(subject, purpose, at); known && done {
			return yes, nil
		}
	}
	e, err := latest(ctx, r.db, subject, purpose, nil)
	if err != nil || e == nil || !e.Given {
		return false, err
	}
	if e.At.After(at) {
		if e, err = latest(ctx, r.db, subject, purpose, &at); err != nil || e == nil || !e.Given {
			return false, err
		}
	}
	return stands(ctx, r.db, e, at)
}

// Terms says how the terms in force for a purpose stand.
func (r *Register) Terms(ctx context.Context, purpose string, at time.Time) (lawful.Terms, error) {
	version, err := inForce(ctx, r.db, purpose, at)
	if err != nil {
		return lawful.Terms{}, err
	}
	t, err := r.version(ctx, version)
	if err != nil {
		return lawful.Terms{}, err
	}
	if m := r.memory.Load(); m != nil && !m.knows(version) {
		m.outdated()
	}
	out := lawful.Terms{Version: t.Version, OptOut: t.OptOut, OtherwiseUnchanged: t.OtherwiseUnchanged, Limited: t.Limited}
	for _, n := range t.Notices {
		if n.At.Before(t.From) {
			out.Notices++
		}
	}
	return out, nil
}

const termsColumns = `version, ground, valid_from, text_sum, opt_out, unchanged, limited, continues, entered, who`

func scanTerms(row interface{ Scan(dest ...any) error }) (t Terms, err error) {
	var ground string
	var from, entered int64
	err = row.Scan(&t.Version, &ground, &from, &t.TextSum, &t.OptOut, &t.OtherwiseUnchanged, &t.Limited, &t.Continues, &entered, &t.Who)
	t.Ground, t.From, t.Entered = lawful.Ground(ground), time.Unix(0, from).UTC(), time.Unix(0, entered).UTC()
	return t, err
}

// version reads a version with its purposes and notices.
func (r *Register) version(ctx context.Context, version string) (Terms, error) {
	t, err := scanTerms(r.db.QueryRow(ctx, `SELECT `+termsColumns+` FROM consent_terms WHERE version = $1`, version))
	if errors.Is(err, sql.ErrNoRows) {
		return t, fmt.Errorf("%w: no version %.40q", ErrUnknown, version)
	}
	if err != nil {
		return t, fmt.Errorf("read the terms: %w", err)
	}
	return t, r.complete(ctx, &t)
}

func (r *Register) complete(ctx context.Context, t *Terms) error {
	err := each(ctx, r.db, `SELECT purpose FROM consent_purpose WHERE version = $1 ORDER BY purpose`, func(rows *sql.Rows) error {
		var p string
		err := rows.Scan(&p)
		t.Purposes = append(t.Purposes, p)
		return err
	}, t.Version)
	if err != nil {
		return err
	}
	return each(ctx, r.db, `SELECT given, channel, reference, who FROM consent_notice WHERE version = $1 ORDER BY given, seq`, func(rows *sql.Rows) error {
		var n Notice
		var given int64
		err := rows.Scan(&given, &n.Channel, &n.Reference, &n.Who)
		n.At = time.Unix(0, given).UTC()
		t.Notices = append(t.Notices, n)
		return err
	}, t.Version)
}

// Versions lists all versions, the oldest first.
func (r *Register) Versions(ctx context.Context) (list []Terms, err error) {
	err = each(ctx, r.db, `SELECT `+termsColumns+` FROM consent_terms ORDER BY valid_from, version`, func(rows *sql.Rows) error {
		t, err := scanTerms(rows)
		list = append(list, t)
		return err
	})
	for i := range list {
		err = errors.Join(err, r.complete(ctx, &list[i]))
	}
	return list, err
}

// History is all that a subject said, in order.
func (r *Register) History(ctx context.Context, subject string) (list []Event, err error) {
	err = each(ctx, r.db, `SELECT `+columns+` FROM consent_event WHERE subject = $1 ORDER BY seq`, collect(&list), subject)
	return list, err
}

// Changes is what was said about a purpose after an event, in order, at most limit: a
// resolver's list of those who declined follows it.
func (r *Register) Changes(ctx context.Context, purpose string, after uint64, limit int) (list []Event, err error) {
	err = each(ctx, r.db, `SELECT `+columns+` FROM consent_event WHERE purpose = $1 AND seq > $2 ORDER BY seq LIMIT $3`, collect(&list), purpose, int64(after), limit) //nolint:gosec // counts events
	if m := r.memory.Load(); m != nil && len(list) > 0 && !m.has(list[len(list)-1].Seq) {
		m.outdated() // who has heard of it gets no answer from before it
	}
	return list, err
}

// Counts is how many subjects stand how towards a purpose. Nobody is named.
type Counts struct {
	Consenting uint64 `json:"consenting"` // to the version in force
	Outdated   uint64 `json:"outdated"`   // consented to an earlier version, and must be asked again
	Declined   uint64 `json:"declined"`
}

// Count counts how subjects stood at a time.
func (r *Register) Count(ctx context.Context, purpose string, at time.Time) (c Counts, err error) {
	given := map[string]uint64{} // by version
	err = each(ctx, r.db, `SELECT e.given, e.version, count(*) FROM consent_event e
		JOIN (SELECT max(seq) AS seq FROM consent_event WHERE purpose = $1 AND made <= $2 GROUP BY subject) l ON l.seq = e.seq
		GROUP BY e.given, e.version`, func(rows *sql.Rows) error {
		var yes bool
		var version string
		var n uint64
		err := rows.Scan(&yes, &version, &n)
		if yes {
			given[version] += n
		} else {
			c.Declined += n
		}
		return err
	}, purpose, at.UnixNano())
	if err != nil {
		return c, err
	}
	for version, n := range given {
		ok, err := stands(ctx, r.db, &Event{Purpose: purpose, Version: version}, at)
		if err != nil {
			return c, err
		}
		if ok {
			c.Consenting += n
		} else {
			c.Outdated += n
		}
	}
	return c, nil
}

func collect(list *[]Event) func(rows *sql.Rows) error {
	return func(rows *sql.Rows) error {
		e, err := scan(rows)
		*list = append(*list, e)
		return err
	}
}

func each(ctx context.Context, a relation.Asker, query string, do func(rows *sql.Rows) error, args ...any) error {
	rows, err := a.Query(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read the register of consents: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return fmt.Errorf("read the register of consents: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the register of consents: %w", err)
	}
	return nil
}

var _ lawful.Consents = (*Register)(nil)
