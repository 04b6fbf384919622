package cnc

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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
//
// What stands in all rows is given once: in this process each value that is handed over
// costs as much as writing it. While a statement is carried out the next one's rows are
// made.
type rows struct {
	tx         *relation.Tx
	head, tail string
	row        string // what stands for a row: a ? where a value is to come
	columns    int    // values of a row
	most       int    // rows of a statement
	shared     []any  // in all rows: ?1, ?2, …
	numbered   bool   // its parameters; SQLite looks the name of each up, unless it has none
	full       *relation.Statement
	args       []any
	under      chan error // the end of the statement under way; nil none is
	spare      []any      // its arguments, and the next one's after it
}

// rows writes into columns; values says what stands there, a ? for each value that a row
// has of its own, ?1, ?2, … for one that all share, anything else as it is; the shared ones
// stand first. "" is a ? for each column.
func (l *List) rows(tx *relation.Tx, table, columns, values, tail string, shared ...any) *rows {
	r := &rows{tx: tx, head: `INSERT OR FAIL INTO ` + table + ` (` + columns + `) VALUES `, tail: tail, row: values, shared: shared, numbered: l.db.Postgres()}
	if values == "" {
		r.row = strings.Repeat("?, ", strings.Count(columns, ",")) + "?"
	}
	r.columns = strings.Count(r.row, "?")
	for i := range shared {
		r.columns -= strings.Count(r.row, "?"+strconv.Itoa(i+1))
	}
	r.most = 500 / r.columns
	if r.numbered {
		r.most = 20_000 / r.columns // of 65,535 parameters
		r.head = strings.Replace(r.head, " OR FAIL", "", 1)
	}
	r.args = append(r.args, shared...)
	return r
}

// text is a statement of n rows.
func (r *rows) text(n int) string {
	var b strings.Builder
	b.WriteString(r.head)
	next := len(r.shared)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		if !r.numbered {
			b.WriteString(r.row)
		} else {
			for j, part := range strings.Split(r.row, "?") {
				switch own := part == "" || part[0] < '0' || part[0] > '9'; {
				case j > 0 && own:
					next++
					b.WriteString("$" + strconv.Itoa(next))
				case j > 0:
					b.WriteByte('$')
				}
				b.WriteString(part)
			}
		}
		b.WriteByte(')')
	}
	return b.String() + r.tail
}

// add writes a row; at the latest with end.
func (r *rows) add(ctx context.Context, values ...any) error {
	r.args = append(r.args, values...)
	return r.added(ctx)
}

// added does it for a row that was appended to args.
func (r *rows) added(ctx context.Context) (err error) {
	if len(r.args)-len(r.shared) < r.most*r.columns {
		return nil
	}
	if err := r.wait(); err != nil {
		return err
	}
	if r.full == nil {
		if r.full, err = r.tx.Prepare(ctx, r.text(r.most)); err != nil {
			return err
		}
	}
	args, under := r.args, make(chan error, 1)
	r.args, r.spare, r.under = append(r.spare[:0], r.shared...), args, under
	go func() {
		_, err := r.full.Exec(context.WithoutCancel(ctx), args...) // the transaction ends with ctx anyhow: nobody need watch each statement
		under <- err
	}()
	return nil
}

// wait waits for the statement under way.
func (r *rows) wait() (err error) {
	if r.under != nil {
		err = <-r.under
		r.under = nil
	}
	return err
}

// end writes what is left.
func (r *rows) end(ctx context.Context) error {
	if err := r.wait(); err != nil {
		return err
	}
	if n := (len(r.args) - len(r.shared)) / r.columns; n > 0 {
		if _, err := r.tx.Exec(ctx, r.text(n), r.args...); err != nil {
			return err
		}
		r.args = r.args[:len(r.shared)]
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

	newEntries                     *rows           // of which it is known that they aren't there
	plain                          map[alike]*rows // of these, plain ones: see Entry.plain
	newSaid                        *rows           // the first that a source says of a new entry; nil outside a reading
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

	// of an entry that is new and plain, ?1 now, the others what it has alike with some
	plainColumns = `scored, opened, changed, kind, role, family, state, flags, key, value, port, score, first, last, expires, due, shadow, hits, would, hit, two, waits, reason`
	plainRow     = `?1, ?1, ?1, ?2, ?3, ?4, ?5, ?6, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, '', '', ''`
	// of the first that a source says of a new entry, ?1 the source, ?2 the time of the reading
	firstColumns = `source, since, key, evidence, confidence, family, first, last, until, digest, gone`
	firstRow     = `?1, ?2, ?, ?, ?, ?, ?, ?, ?, ?, 0`
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
		w := &work{List: l, tx: tx, now: l.clock.Now().UTC(), plain: map[alike]*rows{}, counts: map[sort]int64{}, blocks: map[blocked]int64{}}
		w.newEntries = l.rows(tx, "cnc_entry", entryColumns, ``, ``)
		w.entries = l.rows(tx, "cnc_entry", entryColumns, ``, ` ON CONFLICT (key) DO UPDATE SET port = excluded.port, role = excluded.role, family = excluded.family, state = excluded.state, score = excluded.score,
			scored = excluded.scored, first = excluded.first, last = excluded.last, opened = excluded.opened, changed = excluded.changed, expires = excluded.expires, shadow = excluded.shadow, due = excluded.due,
			hits = excluded.hits, would = excluded.would, hit = excluded.hit, flags = excluded.flags, two = excluded.two, waits = excluded.waits, reason = excluded.reason`)
		w.said = l.rows(tx, "cnc_said", saidColumns, ``, ` ON CONFLICT (source, key, since) DO UPDATE SET gone = excluded.gone, evidence = excluded.evidence, confidence = excluded.confidence, family = excluded.family,
			first = excluded.first, last = excluded.last, until = excluded.until, digest = excluded.digest`)
		w.events = l.rows(tx, "cnc_event", `key, lot, what`, ``, ` ON CONFLICT (key, lot, what) DO NOTHING`)
		w.changes = l.rows(tx, "cnc_change", `seq, key, lot, at, enters, emergency`, ``, ``)
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
		defer w.wait() // nothing of it goes on when the transaction ends
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

// tables are all rows that may wait to be written.
func (w *work) tables() []*rows {
	list := append(slices.Collect(maps.Values(w.plain)), w.newEntries, w.newSaid, w.entries, w.said, w.events, w.changes)
	return slices.DeleteFunc(list, func(r *rows) bool { return r == nil })
}

// wait waits for what is under way; where that matters its error was told before.
func (w *work) wait() {
	for _, r := range w.tables() {
		_ = r.wait()
	}
}

// flush writes what waits to be written.
func (w *work) flush(ctx context.Context) error {
	for _, r := range w.tables() {
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
	switch {
	case was.State == "" && e.plain(w.now):
		if to = w.plainRows(e); to != nil {
			to.args = e.appendPlain(to.args)
			break
		}
		fallthrough
	case was.State == "":
		to = w.newEntries
		fallthrough
	default:
		to.args = e.appendTo(to.args)
	}
	if err := to.added(ctx); err != nil {
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

func (e *Entry) flags() int64 {
	return one(e.Sinkholed)*bitSinkholed | one(e.Emergency)*bitEmergency | one(e.Barred)*bitBarred | one(e.Looked)*bitLooked | one(e.Agreed)*bitAgreed
}

// plain tells whether an entry is as most are that begin now: nothing is known but what a
// source says.
func (e *Entry) plain(now time.Time) bool {
	return e.Scored.Equal(now) && e.Opened.Equal(now) && e.Changed.Equal(now) && e.Shadow.IsZero() && e.Hits == 0 && e.Would == 0 && e.Hit.IsZero() && e.Two == nil && e.Waits == nil && e.Reason == nil
}

// alike is what many plain entries have in common.
type alike struct {
	kind   observe.IndicatorKind
	role   observe.Role
	family string
	state  State
	flags  int64
}

// plainRows writes those that are alike; nil when there are too many sorts of them.
func (w *work) plainRows(e *Entry) *rows {
	const most = 32
	a := alike{e.Kind, e.Role, e.Family, e.State, e.flags()}
	r := w.plain[a]
	if r == nil && len(w.plain) < most {
		r = w.rows(w.tx, "cnc_entry", plainColumns, plainRow, ``, w.now.UnixNano(), string(a.kind), string(a.role), a.family, string(a.state), a.flags)
		w.plain[a] = r
	}
	return r
}

// appendPlain appends the values for plainRow.
func (e *Entry) appendPlain(to []any) []any {
	return append(to, e.key, e.Value, int64(e.Port), e.Score, nano(e.First), nano(e.Last), nano(e.Expires), nano(e.due))
}

func (e *Entry) appendTo(to []any) []any {
	return append(to,
		e.key, string(e.Kind), e.Value, int64(e.Port), string(e.Role), e.Family, string(e.State), e.Score, nano(e.Scored), nano(e.First), nano(e.Last), nano(e.Opened), nano(e.Changed),
		nano(e.Expires), nano(e.Shadow), nano(e.due), e.Hits, e.Would, nano(e.Hit), e.flags(), texted(e.Two), texted(e.Waits), texted(e.Reason),
	)
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

// appendFirst appends the values for firstRow.
func (s *Said) appendFirst(to []any) []any {
	return append(to, s.key, s.Evidence, s.Confidence, s.Family, nano(s.First), nano(s.Last), nano(s.Until), s.digest)
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
