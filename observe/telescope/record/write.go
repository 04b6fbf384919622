package record

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// Write puts a batch into the transaction. A bucket that the same part wrote
// before is replaced; what other parts wrote stays beside it. It takes the
// transaction's own time: a commit isn't stopped half way.
func (r *Record) Write(tx *store.Tx, b Batch) error {
	ctx := context.Background()
	if err := r.writeBuckets(ctx, tx, b.Part, b.Buckets); err != nil {
		return wrap(err, "write counts")
	}
	if err := r.writeEvents(ctx, tx, b); err != nil {
		return wrap(err, "write events")
	}
	if err := r.writeGaps(ctx, tx, b.Part, b.Gaps); err != nil {
		return wrap(err, "write gaps")
	}
	if b.Import != nil {
		if err := r.writeImport(ctx, tx, b.Import); err != nil {
			return wrap(err, "write the import")
		}
	}
	switch {
	case b.State == nil:
		return nil
	case len(b.State) == 0:
		return wrap(tx.DropBlob(ctx, stateName(b.Part)), "forget the state")
	}
	return wrap(tx.PutBlob(ctx, stateName(b.Part), b.State), "write the state")
}

func (r *Record) writeBuckets(ctx context.Context, tx *store.Tx, part uint64, buckets []Bucket) error {
	if len(buckets) == 0 {
		return nil
	}
	buckets = slices.Clone(buckets) // those of the caller aren't packed
	twice := map[slot]bool{}
	months := map[int64]bool{}
	for i := range buckets {
		b := &buckets[i]
		if b.Grain > observe.Day || b.Start%b.Grain.Seconds() != 0 {
			return fmt.Errorf("bucket at %d is not the start of a %s", b.Start, b.Grain)
		}
		p := slot{b.Grain, b.Start}
		if twice[p] {
			return fmt.Errorf("the %s at %d is twice in one batch", b.Grain, b.Start)
		}
		twice[p] = true
		r.heads.change(r.store, level(b.Grain), b.Start)
		if b.Grain == observe.Day {
			m, _ := monthOf(b.Start)
			months[m] = true
		}
	}
	there, err := placesOf(ctx, tx, part, buckets)
	if err != nil {
		return err
	}
	for i := range buckets {
		b := &buckets[i]
		if !there[slot{b.Grain, b.Start}] {
			continue
		}
		if err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM telescope_bucket WHERE grain = %d AND start = %d AND part = %d`, b.Grain, b.Start, part)); err != nil {
			return err
		}
		if err := tx.DropBlob(ctx, sheetName(level(b.Grain), b.Start, part)); err != nil {
			return err
		}
		if err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s WHERE start = %d AND part = %d`, level(b.Grain).heads(), b.Start, part)); err != nil {
			return err
		}
		if b.Grain == observe.Minute { // its leaf is replaced in any case
			continue
		}
		if err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s WHERE start = %d AND part = %d`, level(b.Grain).counts(), b.Start, part)); err != nil {
			return err
		}
	}
	for m := range months {
		if err := dropMonths(ctx, tx, m, m+1); err != nil {
			return err
		}
	}
	values := make([]driver.Value, len(countColumns))
	if err := tx.Append("telescope_bucket", func(row store.Row) error {
		for i := range buckets {
			if err := line(row, bucketColumns, values, &written{part, &buckets[i]}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for i := range buckets {
		if err := r.putFiles(ctx, tx, part, &buckets[i]); err != nil {
			return err
		}
	}
	for g := range observe.Day + 1 {
		mine := slices.DeleteFunc(slices.Clone(buckets), func(b Bucket) bool { return b.Grain != g })
		if len(mine) == 0 {
			continue
		}
		if g != observe.Minute {
			if err := appendRows(tx, level(g).counts(), values, part, mine, func(b *Bucket) []Row { return b.Rows }); err != nil {
				return err
			}
		}
		if err := appendRows(tx, level(g).heads(), values, part, mine, r.headRows); err != nil {
			return err
		}
	}
	return nil
}

// putFiles keeps what of a bucket stands in files.
// slot is where a bucket stands, of one part.
type slot struct {
	grain observe.Grain
	start int64
}

// placesOf are the places of a part that are taken, where buckets are to stand: the small
// table knows whether there is anything to look for in the big ones.
func placesOf(ctx context.Context, tx *store.Tx, part uint64, buckets []Bucket) (map[slot]bool, error) {
	first, last := buckets[0].Start, buckets[0].Start
	for i := range buckets {
		first, last = min(first, buckets[i].Start), max(last, buckets[i].Start)
	}
	// Numbers of 64 bits stand in the text, here and elsewhere: database/sql refuses a
	// uint64 parameter with its highest bit set.
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT grain, start FROM telescope_bucket WHERE part = %d AND start BETWEEN %d AND %d`, part, first, last))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	there := map[slot]bool{}
	for rows.Next() {
		var p slot
		if err := rows.Scan(&p.grain, &p.start); err != nil {
			return nil, fmt.Errorf("read which buckets there are: %w", err)
		}
		there[p] = true
	}
	return there, rows.Err()
}

func (r *Record) putFiles(ctx context.Context, tx *store.Tx, part uint64, b *Bucket) error {
	if b.Grain != observe.Minute {
		return putSheet(ctx, tx, level(b.Grain), b.Start, part, b.Rows)
	}
	if err := r.Pack(b); err != nil {
		return err
	}
	if b.packed.sheet != nil {
		if err := tx.PutBlob(ctx, sheetName(level(b.Grain), b.Start, part), b.packed.sheet); err != nil {
			return err
		}
	}
	return tx.PutBlob(ctx, leafName(b.Start, part), b.packed.leaf)
}

// packed is a minute in the form in which it is kept.
type packed struct {
	leaf, sheet []byte
	head        []Row
}

// Pack brings a minute into the form in which it is kept, in place of its rows:
// so it takes a tenth of the memory while it waits to be written. Other buckets
// stay as they are.
func (r *Record) Pack(b *Bucket) (err error) {
	if b.Grain != observe.Minute || b.packed != nil {
		return nil
	}
	p := &packed{head: r.headRows(b)}
	if p.leaf, err = leafOf(b.Rows); err != nil {
		return err
	}
	if p.sheet, err = sheetOf(b.Rows); err != nil {
		return err
	}
	for i := range p.head { // the sheet has them
		p.head[i].SourceSet, p.head[i].TargetSet = nil, nil
	}
	b.Rows, b.packed = nil, p
	return nil
}

// rowBytes is the memory that a row takes without its sketches.
const rowBytes = 104

// Size is about how much memory a bucket takes, in bytes.
func (b *Bucket) Size() int {
	n := rowBytes * len(b.Rows)
	for i := range b.Rows {
		n += len(b.Rows[i].SourceSet) + len(b.Rows[i].TargetSet)
	}
	if p := b.packed; p != nil {
		n += len(p.leaf) + len(p.sheet) + rowBytes*len(p.head)
	}
	return n
}

func appendRows(tx *store.Tx, table string, values []driver.Value, part uint64, buckets []Bucket, of func(*Bucket) []Row) error {
	return tx.Append(table, func(row store.Row) error {
		for i := range buckets {
			rows := of(&buckets[i])
			for j := range rows {
				if err := line(row, countColumns, values, &counted{buckets[i].Start, part, &rows[j]}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// headRows are the rows that belong in a bucket's head.
func (r *Record) headRows(b *Bucket) (head []Row) {
	if b.packed != nil {
		return b.packed.head
	}
	takes := r.inHead(b.Rows)
	for i := range b.Rows {
		if takes(&b.Rows[i]) {
			head = append(head, b.Rows[i])
		}
	}
	return head
}

// inHead tells which rows of a bucket belong in its head, asked in their order:
// those of the dimensions with few keys, and of the others those with most
// packets and those with most sources. No row left out has more packets, or
// sources, than the least of the first by them.
func (r *Record) inHead(rows []Row) func(*Row) bool {
	var packets, sources [observe.Dims]cut
	for _, d := range []observe.Dim{observe.ByPort, observe.ByAS} {
		of := ofDim(rows, d)
		packets[d] = cutOf(of, r.head, func(w *Row) uint64 { return w.Packets })
		sources[d] = cutOf(of, r.head, func(w *Row) uint64 { return w.Sources })
	}
	return func(w *Row) bool {
		if !manyKeys(w.Dim) {
			return true
		}
		first, wide := packets[w.Dim].takes(w.Packets), sources[w.Dim].takes(w.Sources)
		return first || wide
	}
}

// ofDim are the rows of a dimension, of rows in order.
func ofDim(rows []Row, d observe.Dim) []Row {
	find := func(d observe.Dim) int {
		i, _ := slices.BinarySearchFunc(rows, d, func(w Row, d observe.Dim) int { return cmp.Compare(w.Dim, d) })
		return i
	}
	return rows[find(d):find(d+1)]
}

// cut is where the first n of some numbers end: all above least, and so many
// that are equal to it.
type cut struct {
	least uint64
	ties  int
}

func cutOf(rows []Row, n int, number func(*Row) uint64) cut {
	if len(rows) <= n {
		return cut{0, len(rows)}
	}
	best := best[uint64]{n: n, order: func(x, y uint64) int { return cmp.Compare(y, x) }}
	for i := range rows {
		best.offer(number(&rows[i]))
	}
	c := cut{least: best.first()[n-1]}
	for _, x := range best.list {
		if x == c.least {
			c.ties++
		}
	}
	return c
}

// takes is asked for each number once.
func (c *cut) takes(n uint64) bool {
	if n == c.least && c.ties > 0 {
		c.ties--
		return true
	}
	return n > c.least
}

// dropMonths takes back the roll-ups of [from, to), whose days changed or went.
func dropMonths(ctx context.Context, tx *store.Tx, from, to int64) error {
	n, err := tx.Count(ctx, `DELETE FROM telescope_month WHERE start >= ? AND start < ?`, from, to)
	if err != nil || n == 0 {
		return err
	}
	for _, table := range []string{month.counts(), month.heads()} {
		if err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE start >= ? AND start < ?`, from, to); err != nil {
			return err
		}
	}
	return tx.DropBlobs(ctx, sheetsFrom(month, from), sheetsFrom(month, to))
}

// writeEvents keeps open events apart: they are few, and change all the time,
// while the closed ones only grow, nearly in order of time.
func (r *Record) writeEvents(ctx context.Context, tx *store.Tx, b Batch) error {
	if len(b.Closed)+len(b.Open) == 0 {
		return nil
	}
	if err := dropEvents(ctx, tx, b.Closed, b.Open); err != nil {
		return err
	}
	values := make([]driver.Value, len(eventColumns))
	for table, events := range map[string][]observe.Event{"telescope_event": b.Closed, "telescope_event_open": b.Open} {
		if len(events) == 0 {
			continue
		}
		if err := tx.Append(table, func(row store.Row) error {
			for i := range events {
				if err := line(row, eventColumns, values, &seen{b.Part, &events[i]}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// dropEvents takes out what was kept of events that come again.
func dropEvents(ctx context.Context, tx *store.Tx, lists ...[]observe.Event) error {
	// A table of ids, as a list of 50,000 takes longer as a parameter than all the rest.
	if err := tx.Exec(ctx, `CREATE TEMP TABLE telescope_again (id UBIGINT)`); err != nil {
		return err
	}
	since := int64(math.MaxInt64)
	if err := tx.Append("telescope_again", func(row store.Row) error {
		for _, list := range lists {
			for i := range list {
				if err := row(list[i].ID); err != nil {
					return err
				}
				since = min(since, list[i].First.UnixNano())
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := tx.Exec(ctx, `DELETE FROM telescope_event_open WHERE id IN (SELECT id FROM telescope_again)`); err != nil {
		return err
	}
	// An event that came before as closed (the same capture under other rules)
	// can't have ended before this one began: most row groups are not looked at.
	if err := tx.Exec(ctx, `DELETE FROM telescope_event WHERE ended >= ? AND id IN (SELECT id FROM telescope_again)`, since); err != nil {
		return err
	}
	return tx.Exec(ctx, `DROP TABLE telescope_again`)
}

func (r *Record) writeGaps(ctx context.Context, tx *store.Tx, part uint64, gaps []observe.Gap) error {
	for i := range gaps { // a gap that goes on comes again, longer
		if err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM telescope_gap WHERE part = %d AND begun = ? AND input = ?`, part), gaps[i].From.UnixNano(), gaps[i].Input); err != nil {
			return err
		}
	}
	if len(gaps) == 0 {
		return nil
	}
	return tx.Append("telescope_gap", func(row store.Row) error {
		values := make([]driver.Value, len(gapColumns))
		for i := range gaps {
			if err := line(row, gapColumns, values, &missed{part, &gaps[i]}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Policy is how long each thing is kept; zero keeps it for ever.
type Policy struct{ Minutes, Hours, Days, Events time.Duration }

// Deleted counts what Retain took away.
type Deleted struct {
	Buckets [3]int64 // by grain
	Rows    [3]int64 // of counts, by grain
	Events  int64
	Gaps    int64
}

// Retain deletes what ended longer ago than the policy keeps: buckets and
// events in whole. Gaps go with the days they explain.
func (r *Record) Retain(ctx context.Context, now time.Time, p Policy) (Deleted, error) {
	var d Deleted
	err := r.store.Tx(ctx, func(tx *store.Tx) (err error) {
		for g, keep := range []time.Duration{p.Minutes, p.Hours, p.Days} {
			if keep <= 0 {
				continue
			}
			width := observe.Grain(g).Seconds()
			before := now.Add(-keep).Unix()
			before -= (before%width + width) % width // the bucket that the cut goes through stays
			if d.Buckets[g], err = tx.Count(ctx, `DELETE FROM telescope_bucket WHERE grain = ? AND start < ?`, uint8(g), before); err != nil {
				return err
			}
			if d.Buckets[g] == 0 {
				continue
			}
			if d.Rows[g], err = r.dropCounts(ctx, tx, level(g), before); err != nil {
				return err
			}
			if err = tx.Exec(ctx, `DELETE FROM `+level(g).heads()+` WHERE start < ?`, before); err != nil {
				return err
			}
			if err = tx.DropBlobs(ctx, sheetsFrom(level(g), math.MinInt64), sheetsFrom(level(g), before)); err != nil {
				return err
			}
			if observe.Grain(g) == observe.Day {
				if err = dropMonths(ctx, tx, math.MinInt64, before); err != nil {
					return err
				}
			}
		}
		if p.Events > 0 {
			if d.Events, err = tx.Count(ctx, `DELETE FROM telescope_event WHERE ended < ?`, now.Add(-p.Events).UnixNano()); err != nil {
				return err
			}
		}
		if p.Days > 0 {
			d.Gaps, err = tx.Count(ctx, `DELETE FROM telescope_gap WHERE ended < ?`, now.Add(-p.Days).UnixNano())
		}
		return err
	})
	return d, wrap(err, "retention")
}

// dropCounts deletes the counts of a level's buckets before a time, and tells how
// many rows they were.
func (r *Record) dropCounts(ctx context.Context, tx *store.Tx, l level, before int64) (rows int64, err error) {
	if l != level(observe.Minute) {
		return tx.Count(ctx, `DELETE FROM `+l.counts()+` WHERE start < ?`, before)
	}
	var mu sync.Mutex
	if err := r.eachLeaf(ctx, tx, []span{{l, math.MinInt64, before}}, func(_ int64, l *leaf, _ *desk) error {
		mu.Lock()
		defer mu.Unlock()
		rows += int64(l.rows)
		return nil
	}); err != nil {
		return 0, err
	}
	return rows, tx.DropBlobs(ctx, leavesFrom(math.MinInt64), leavesFrom(before))
}
