package cnc

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/observe"
)

// rows writes rows of one table, many with a statement: on a server that is fewer ways
// over a network, in this process it saves calls. SQLite is told to leave what it did of a
// statement that fails, since the transaction is given up anyhow: it need not remember how
// to take it back.
type rows struct {
	tx         *relation.Tx
	head, tail string
	columns    int
	most       int                 // rows of a statement
	numbered   bool                // its parameters; SQLite looks the name of each up, unless it has none
	full       *relation.Statement // one that has as many rows as it may
	args       []any
}

func (l *List) rows(tx *relation.Tx, table, columns, tail string) *rows {
	r := &rows{tx: tx, head: `INSERT OR FAIL INTO ` + table + ` (` + columns + `) VALUES `, tail: tail, columns: strings.Count(columns, ",") + 1, numbered: l.db.Postgres()}
	r.most = 500 / r.columns
	if r.numbered {
		r.most = 20_000 / r.columns // of 65,535 parameters
		r.head = strings.Replace(r.head, " OR FAIL", "", 1)
	}
	return r
}

// text is a statement of n rows.
func (r *rows) text(n int) string {
	var b strings.Builder
	b.WriteString(r.head)
	for i := range n * r.columns {
		switch {
		case i == 0:
			b.WriteByte('(')
		case i%r.columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		if r.numbered {
			b.WriteString("$" + strconv.Itoa(i+1))
		} else {
			b.WriteByte('?')
		}
	}
	return b.String() + ")" + r.tail
}

// add writes a row; at the latest with end.
func (r *rows) add(ctx context.Context, values ...any) (err error) {
	if r.args = append(r.args, values...); len(r.args) < r.most*r.columns {
		return nil
	}
	if r.full == nil {
		if r.full, err = r.tx.Prepare(ctx, r.text(r.most)); err != nil {
			return err
		}
	}
	_, err = r.full.Exec(context.WithoutCancel(ctx), r.args...) // the transaction ends with ctx anyhow: nobody need watch each statement
	r.args = r.args[:0]
	return err
}

// end writes what is left.
func (r *rows) end(ctx context.Context) error {
	if len(r.args) > 0 {
		if _, err := r.tx.Exec(ctx, r.text(len(r.args)/r.columns), r.args...); err != nil {
			return err
		}
		r.args = r.args[:0]
	}
	if r.full == nil {
		return nil
	}
	err := r.full.Close()
	r.full = nil
	return err
}

// work is one transaction on the list.
type work struct {
	*List
	tx    *relation.Tx
	now   time.Time
	seq   int64 // of the last change
	last  int64 // lot
	reads map[string]time.Time

	counts map[sort]int64    // how much more there is, or less
	blocks map[blocked]int64 // how much more was blocked

	newEntries, newSaid            *rows // of which it is known that they aren't there
	entries, said, events, changes *rows
}

// sort is what entries are counted by.
type sort struct {
	kind   observe.IndicatorKind
	family string
	state  State
}

const (
	entryColumns = `key, kind, value, port, role, family, state, score, scored, first, last, opened, changed, expires, shadow, due, hits, would, hit, flags, two, waits, reason`
	saidColumns  = `source, key, since, gone, evidence, confidence, family, first, last, until, digest`
)

// write does something to the list, alone.
func (l *List) write(ctx context.Context, do func(w *work) error) error {
	return l.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "cnc_entry"); err != nil {
			return err
		}
		if err := l.recorder.Lock(ctx, tx); err != nil {
			return err
		}
		if !l.db.Postgres() { // a list of a million is gone through with more than 2 MiB
			if _, err := tx.Exec(ctx, `PRAGMA cache_size = -65536`); err != nil {
				return err
			}
			defer func() { _, _ = tx.Exec(context.WithoutCancel(ctx), `PRAGMA cache_size = -2000`) }() // the connection is used by others, too
		}
		w := &work{List: l, tx: tx, now: l.clock.Now().UTC(), counts: map[sort]int64{}, blocks: map[blocked]int64{}}
		w.newEntries, w.newSaid = l.rows(tx, "cnc_entry", entryColumns, ``), l.rows(tx, "cnc_said", saidColumns, ``)
		w.entries = l.rows(tx, "cnc_entry", entryColumns, ` ON CONFLICT (key) DO UPDATE SET port = excluded.port, role = excluded.role, family = excluded.family, state = excluded.state, score = excluded.score,
			scored = excluded.scored, first = excluded.first, last = excluded.last, opened = excluded.opened, changed = excluded.changed, expires = excluded.expires, shadow = excluded.shadow, due = excluded.due,
			hits = excluded.hits, would = excluded.would, hit = excluded.hit, flags = excluded.flags, two = excluded.two, waits = excluded.waits, reason = excluded.reason`)
		w.said = l.rows(tx, "cnc_said", saidColumns, ` ON CONFLICT (source, key, since) DO UPDATE SET gone = excluded.gone, evidence = excluded.evidence, confidence = excluded.confidence, family = excluded.family,
			first = excluded.first, last = excluded.last, until = excluded.until, digest = excluded.digest`)
		w.events = l.rows(tx, "cnc_event", `key, lot, what`, ` ON CONFLICT (key, lot, what) DO NOTHING`)
		w.changes = l.rows(tx, "cnc_change", `seq, key, lot, at, enters, emergency`, ``)
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM cnc_change`).Scan(&w.seq); err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM cnc_lot`).Scan(&w.last); err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		var err error
		if w.reads, err = readsOf(ctx, tx); err != nil {
			return err
		}
		if err := do(w); err != nil {
			return err
		}
		if err := w.flush(ctx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO cnc_meta (name, value) VALUES ('version', 1) ON CONFLICT (name) DO UPDATE SET value = cnc_meta.value + 1`)
		return err
	})
}

// flush writes what waits to be written.
func (w *work) flush(ctx context.Context) error {
	for _, r := range []*rows{w.newEntries, w.newSaid, w.entries, w.said, w.events, w.changes} {
		if err := r.end(ctx); err != nil {
			return fmt.Errorf("change the list: %w", err)
		}
	}
	for s, n := range w.counts {
		if n == 0 {
			continue
		}
		if _, err := w.tx.Exec(ctx, `INSERT INTO cnc_count (kind, family, state, n) VALUES ($1, $2, $3, $4) ON CONFLICT (family, kind, state) DO UPDATE SET n = cnc_count.n + excluded.n`,
			string(s.kind), s.family, string(s.state), n); err != nil {
			return fmt.Errorf("count the list: %w", err)
		}
	}
	clear(w.counts)
	for b, n := range w.blocks {
		if _, err := w.tx.Exec(ctx, `INSERT INTO cnc_blocks (day, family, n) VALUES ($1, $2, $3) ON CONFLICT (day, family) DO UPDATE SET n = cnc_blocks.n + excluded.n`, b.day, b.family, n); err != nil {
			return fmt.Errorf("count blocks: %w", err)
		}
	}
	clear(w.blocks)
	return nil
}

// readsOf is when each source was read last.
func readsOf(ctx context.Context, a relation.Asker) (map[string]time.Time, error) {
	rows, err := a.Query(ctx, `SELECT name, at FROM cnc_source`)
	if err != nil {
		return nil, fmt.Errorf("read sources: %w", err)
	}
	defer rows.Close()
	reads := map[string]time.Time{}
	for rows.Next() {
		var name string
		var at int64
		if err := rows.Scan(&name, &at); err != nil {
			return nil, fmt.Errorf("read sources: %w", err)
		}
		reads[name] = when(at)
	}
	return reads, rows.Err()
}

// decide writes a decision into the ledger, and gives the lot that stands for it.
func (w *work) decide(ctx context.Context, d Deed) (lot int64, err error) {
	if err := w.recorder.Record(ctx, w.tx, d); err != nil {
		return 0, fmt.Errorf("the decision could not be written down: %w", err)
	}
	why, err := json.Marshal(d.Why)
	if err != nil {
		return 0, err
	}
	w.last++
	_, err = w.tx.Exec(ctx, `INSERT INTO cnc_lot (id, at, who, what, why) VALUES ($1, $2, $3, $4, $5)`, w.last, w.now.UnixNano(), d.Who, d.What, string(why))
	return w.last, err
}

// save keeps an entry, what happened to it, and whether that took it into force or out.
func (w *work) save(ctx context.Context, e *Entry, was Entry, lot int64, what ...string) error {
	w.plan(e)
	to := w.entries
	if was.State == "" {
		to = w.newEntries
	}
	if err := to.add(ctx, e.values()...); err != nil {
		return fmt.Errorf("change the list: %w", err)
	}
	for _, s := range what {
		if err := w.events.add(ctx, e.key, lot, s); err != nil {
			return fmt.Errorf("change the list: %w", err)
		}
	}
	if was.State != "" {
		w.counts[sort{was.Kind, was.Family, was.State}]--
	}
	w.counts[sort{e.Kind, e.Family, e.State}]++
	in := e.InForce()
	if in == was.InForce() && (!in || e.Emergency == was.Emergency) {
		return nil
	}
	w.seq++
	return w.changes.add(ctx, w.seq, e.key, lot, w.now.UnixNano(), one(in), one(e.Emergency))
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// The bits of flags.
const (
	bitSinkholed = 1 << iota
	bitEmergency
	bitBarred
	bitLooked
	bitAgreed
)

func (e *Entry) values() []any {
	flags := one(e.Sinkholed)*bitSinkholed | one(e.Emergency)*bitEmergency | one(e.Barred)*bitBarred | one(e.Looked)*bitLooked | one(e.Agreed)*bitAgreed
	return []any{
		e.key, string(e.Kind), e.Value, int64(e.Port), string(e.Role), e.Family, string(e.State), e.Score, nano(e.Scored), nano(e.First), nano(e.Last), nano(e.Opened), nano(e.Changed),
		nano(e.Expires), nano(e.Shadow), nano(e.due), e.Hits, e.Would, nano(e.Hit), flags, texted(e.Two), texted(e.Waits), texted(e.Reason),
	}
}

func scanEntry(row interface{ Scan(dest ...any) error }) (e Entry, err error) {
	var kind, role, state, two, waits, reason string
	var port, scored, first, last, opened, changed, expires, shadow, due, hit, flags int64
	err = row.Scan(&e.key, &kind, &e.Value, &port, &role, &e.Family, &state, &e.Score, &scored, &first, &last, &opened, &changed, &expires, &shadow, &due, &e.Hits, &e.Would, &hit, &flags, &two, &waits, &reason)
	if errors.Is(err, sql.ErrNoRows) {
		return e, ErrUnknown
	}
	if err != nil {
		return e, fmt.Errorf("read the list: %w", err)
	}
	e.ID, e.Kind, e.Role, e.State, e.Port = idOf(e.key), observe.IndicatorKind(kind), observe.Role(role), State(state), uint16(port) //nolint:gosec // as it was written
	e.Scored, e.First, e.Last, e.Opened, e.Changed, e.Expires, e.Shadow, e.due, e.Hit = when(scored), when(first), when(last), when(opened), when(changed), when(expires), when(shadow), when(due), when(hit)
	e.Sinkholed, e.Emergency, e.Barred, e.Looked, e.Agreed = flags&bitSinkholed != 0, flags&bitEmergency != 0, flags&bitBarred != 0, flags&bitLooked != 0, flags&bitAgreed != 0
	for _, t := range []struct {
		to   **detect.Text
		text string
	}{{&e.Two, two}, {&e.Waits, waits}, {&e.Reason, reason}} {
		if t.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(t.text), t.to); err != nil {
			return e, fmt.Errorf("read the list: %w", err)
		}
	}
	return e, nil
}

// texted writes a text that there may be.
func texted(t *detect.Text) string {
	if t == nil {
		return ""
	}
	b, _ := json.Marshal(t) // of two strings, it doesn't fail
	return string(b)
}

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func when(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func (s *Said) values() []any {
	return []any{s.Source, s.key, nano(s.Since), nano(s.Gone), s.Evidence, s.Confidence, s.Family, nano(s.First), nano(s.Last), nano(s.Until), s.digest}
}

// in writes keys into a statement: they are numbers.
func in(keys []int64) string {
	b := make([]byte, 0, 20*len(keys))
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, k, 10)
	}
	return string(b)
}

// entriesOf reads entries by their keys.
func entriesOf(ctx context.Context, a relation.Asker, keys []int64) (map[int64]*Entry, error) {
	out := make(map[int64]*Entry, len(keys))
	if len(keys) == 0 {
		return out, nil
	}
	list, err := entriesBy(ctx, a, `WHERE key IN (`+in(keys)+`)`)
	for i := range list {
		out[list[i].key] = &list[i]
	}
	return out, err
}

func entriesBy(ctx context.Context, a relation.Asker, which string, args ...any) (list []Entry, err error) {
	rows, err := a.Query(ctx, `SELECT `+entryColumns+` FROM cnc_entry `+which, args...)
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// saidOf is what all sources say and said of entries, in order of time.
func saidOf(ctx context.Context, a relation.Asker, keys []int64) (map[int64][]Said, error) {
	out := make(map[int64][]Said, len(keys))
	if len(keys) == 0 {
		return out, nil
	}
	reads, err := readsOf(ctx, a) // by their names the key of the table is used
	if err != nil {
		return nil, err
	}
	c := &conditions{}
	names := make([]string, 0, len(reads))
	for name := range reads {
		names = append(names, c.arg(name))
	}
	if len(names) == 0 {
		return out, nil
	}
	rows, err := a.Query(ctx, `SELECT `+saidColumns+` FROM cnc_said WHERE source IN (`+strings.Join(names, ", ")+`) AND key IN (`+in(keys)+`) ORDER BY key, since, source`, c.args...)
	if err != nil {
		return nil, fmt.Errorf("read what sources say: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s Said
		var since, gone, first, last, until int64
		if err := rows.Scan(&s.Source, &s.key, &since, &gone, &s.Evidence, &s.Confidence, &s.Family, &first, &last, &until, &s.digest); err != nil {
			return nil, fmt.Errorf("read what sources say: %w", err)
		}
		s.Since, s.Gone, s.First, s.Last, s.Until = when(since), when(gone), when(first), when(last), when(until)
		out[s.key] = append(out[s.key], s)
	}
	return out, rows.Err()
}
