package casework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Query selects cases; zero fields select everything.
type Query struct {
	States   []State
	Subject  string
	Assignee string // "-" those of nobody
	Family   string // "-" those of which it isn't known
	Device   string // as well
	Open     bool   // those with something left to do
	Held     *bool
	Overdue  bool   // whose next step should have been done
	Text     string // that the number or the pseudonym begins with
	Limit    int    // 0: all
	Offset   int    // of Page
	After    string // of Cases: id of the last one of the page before
}

// where gives the condition of a query, and its arguments.
func (q *Query) where(now time.Time) (string, []any) {
	list, args := []string{"1 = 1"}, []any{}
	cond := func(text string, values ...any) {
		places := make([]any, len(values))
		for i := range values {
			args = append(args, values[i])
			places[i] = len(args)
		}
		list = append(list, fmt.Sprintf(text, places...))
	}
	among := func(column string, states []State) {
		var in []string
		for _, s := range states {
			args = append(args, string(s))
			in = append(in, fmt.Sprintf("$%d", len(args)))
		}
		list = append(list, column+" IN ("+strings.Join(in, ", ")+")")
	}
	word := func(column, v string) {
		switch v {
		case "":
		case "-":
			list = append(list, column+" = ''")
		default:
			cond(column+" = $%d", v)
		}
	}
	if len(q.States) > 0 {
		among("state", q.States)
	}
	if q.Open {
		among("state", open())
	}
	if q.Subject != "" {
		cond("subject = $%d", q.Subject)
	}
	word("assignee", q.Assignee)
	word("family", q.Family)
	word("device", q.Device)
	if q.Held != nil {
		cond("held = $%d", *q.Held)
	}
	if q.Overdue {
		cond("due > 0 AND due < $%d", now.UnixNano())
	}
	if q.Text != "" { // no pattern of LIKE: what people type has _ and % in it
		n := len([]rune(q.Text))
		cond("(substr(id, 1, $%d) = $%d OR substr(subject, 1, $%d) = $%d)", n, q.Text, n, q.Text)
	}
	if q.After != "" {
		cond("id > $%d", q.After)
	}
	return strings.Join(list, " AND "), args
}

// open are the states that leave something to do.
func open() (list []State) {
	for _, s := range States {
		if s.Open() {
			list = append(list, s)
		}
	}
	return list
}

// Cases are those that match, by number.
func (d *Desk) Cases(ctx context.Context, q Query) ([]Case, error) {
	where, args := q.where(d.clock.Now())
	text := `SELECT ` + columns + ` FROM casework_case WHERE ` + where + ` ORDER BY id`
	if q.Limit > 0 {
		text += fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	return d.list(ctx, text, args)
}

// Page is a part of those that match, those due first, and how many there are.
func (d *Desk) Page(ctx context.Context, q Query) (list []Case, total int, err error) {
	where, args := q.where(d.clock.Now())
	if err := d.db.QueryRow(ctx, `SELECT count(*) FROM casework_case WHERE `+where, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count cases: %w", err)
	}
	text := `SELECT ` + columns + ` FROM casework_case WHERE ` + where + ` ORDER BY (due = 0), due, id`
	if q.Limit > 0 {
		text += fmt.Sprintf(" LIMIT %d OFFSET %d", q.Limit, max(q.Offset, 0))
	}
	list, err = d.list(ctx, text, args)
	return list, total, err
}

func (d *Desk) list(ctx context.Context, text string, args []any) (list []Case, err error) {
	rows, err := d.db.Query(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		c, err := one(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// Get is a case with its history and its signs.
func (d *Desk) Get(ctx context.Context, id string) (c Case, history []Event, signs []Sign, err error) {
	if c, err = one(d.db.QueryRow(ctx, `SELECT `+columns+` FROM casework_case WHERE id = $1`, id)); err != nil {
		return c, nil, nil, err
	}
	rows, err := d.db.Query(ctx, `SELECT n, at, who, what, why FROM casework_event WHERE case_id = $1 ORDER BY n`, id)
	if err != nil {
		return c, nil, nil, fmt.Errorf("read a case: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		e := Event{Case: id}
		var at int64
		if err := rows.Scan(&e.N, &at, &e.Who, &e.What, &e.Why); err != nil {
			return c, nil, nil, fmt.Errorf("read a case: %w", err)
		}
		e.At = time.Unix(0, at).UTC()
		history = append(history, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return c, nil, nil, err
	}
	signs, err = d.Signs(ctx, id)
	return c, history, signs, err
}

// Signs are those of a case, or with "" those that are nobody's.
func (d *Desk) Signs(ctx context.Context, id string) ([]Sign, error) {
	return d.signs(ctx, `WHERE case_id = $1 ORDER BY at, id`, id)
}

// Nobody is a part of the signs that are nobody's, the latest first, and how many there
// are.
func (d *Desk) Nobody(ctx context.Context, limit, offset int) (list []Sign, total int, err error) {
	if err := d.db.QueryRow(ctx, `SELECT count(*) FROM casework_sign WHERE case_id = ''`).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count signs: %w", err)
	}
	list, err = d.signs(ctx, fmt.Sprintf(`WHERE case_id = '' ORDER BY at DESC, id DESC LIMIT %d OFFSET %d`, limit, max(offset, 0)))
	return list, total, err
}

func (d *Desk) signs(ctx context.Context, which string, args ...any) (list []Sign, err error) {
	rows, err := d.db.Query(ctx, `SELECT id, case_id, source, claim, family, at, came, verdict, doubt, mediated, withdrawn FROM casework_sign `+which, args...)
	if err != nil {
		return nil, fmt.Errorf("read signs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s Sign
		var at, came int64
		if err := rows.Scan(&s.ID, &s.Case, &s.Source, &s.Claim, &s.Family, &at, &came, &s.Verdict, &s.Doubt, &s.Mediated, &s.Withdrawn); err != nil {
			return nil, fmt.Errorf("read signs: %w", err)
		}
		s.At, s.Came = time.Unix(0, at).UTC(), time.Unix(0, came).UTC()
		list = append(list, s)
	}
	return list, rows.Err()
}

// Theirs are those of some signs that are somebody's. Of a sign that is nobody's it isn't
// told whether it is there.
func (d *Desk) Theirs(ctx context.Context, ids []string) (map[string]bool, error) {
	theirs := map[string]bool{}
	const most = 500 // arguments of a statement
	for part := range slices.Chunk(ids, most) {
		in, args := make([]string, len(part)), make([]any, len(part))
		for i, id := range part {
			in[i], args[i] = fmt.Sprintf("$%d", i+1), id
		}
		list, err := d.strings(ctx, `SELECT id FROM casework_sign WHERE case_id <> '' AND id IN (`+strings.Join(in, ", ")+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, id := range list {
			theirs[id] = true
		}
	}
	return theirs, nil
}

// SignsOf are the ids of the signs that begin so.
func (d *Desk) SignsOf(ctx context.Context, prefix string) ([]string, error) {
	return d.strings(ctx, `SELECT id FROM casework_sign WHERE substr(id, 1, $1) = $2 ORDER BY id`, len([]rune(prefix)), prefix)
}

func (d *Desk) strings(ctx context.Context, text string, args ...any) (list []string, err error) {
	rows, err := d.db.Query(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read signs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read signs: %w", err)
		}
		list = append(list, id)
	}
	return list, rows.Err()
}
