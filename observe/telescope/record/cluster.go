package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// Cluster puts the hours of a closed UTC day into the order of dim, key and
// start. They were written hour by hour; afterwards the 24 hours of a port stand
// together, and a month of one port is some 60 row groups of 1,200. When the
// day is the last of its month, Rollup follows.
func (r *Record) Cluster(ctx context.Context, when time.Time) error {
	start := down(when.Unix(), day)
	err := r.store.Tx(ctx, func(tx *store.Tx) error {
		return rewrite(ctx, tx, level(observe.Hour), start, start+day)
	})
	if err != nil {
		return wrap(err, "cluster the day")
	}
	if _, next := monthOf(start); start+day == next {
		return r.rollup(ctx, next)
	}
	return nil
}

// rewrite sorts a level's counts of [from, to).
func rewrite(ctx context.Context, tx *store.Tx, l level, from, to int64) error {
	// The sort is spelt out on the INSERT, where DuckDB keeps it; the order of a
	// temporary table in between isn't promised.
	mine := fmt.Sprintf("%s WHERE start >= %d AND start < %d", l.counts(), from, to)
	for _, q := range []string{
		`CREATE TEMP TABLE telescope_sorted AS SELECT * FROM ` + mine,
		`DELETE FROM ` + mine,
		`INSERT INTO ` + l.counts() + ` SELECT * FROM telescope_sorted ORDER BY dim, key, start, part`,
		`DROP TABLE telescope_sorted`,
	} {
		if err := tx.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// Rollup sums up every month that is over, in the data's own time, and has no
// standing roll-up. Call it after an import of old captures.
func (r *Record) Rollup(ctx context.Context) error {
	var last int64
	err := r.store.QueryRow(ctx, `SELECT coalesce(max(start), 0) FROM telescope_bucket WHERE grain = 2`).Scan(&last)
	if err != nil {
		return wrap(err, "roll up")
	}
	this, _ := monthOf(last)
	return r.rollup(ctx, this)
}

// rollup sums up the months before until (the first second of a month).
func (r *Record) rollup(ctx context.Context, until int64) error {
	c, err := r.calendar(ctx, r.store)
	if err != nil {
		return wrap(err, "roll up")
	}
	done := map[int64]bool{}
	for _, t := range c.looked(observe.Day, 0, until) {
		m, next := monthOf(t)
		if done[m] {
			continue
		}
		done[m] = true
		err := r.store.Tx(ctx, func(tx *store.Tx) error {
			var stands bool
			if err := tx.QueryRow(ctx, `SELECT count(*) > 0 FROM telescope_month WHERE start = ?`, m).Scan(&stands); err != nil || stands {
				return err
			}
			return r.rollMonth(ctx, tx, m, next)
		})
		if err != nil {
			return wrap(err, "roll up "+at(m).Format("2006-01"))
		}
	}
	return nil
}

// sketchedKeys is how many keys of each dimension get a merged sketch in a
// month, busiest first. Of the others only upper bounds are known there.
const sketchedKeys = 1000

// rollMonth sorts the days of a month as Cluster does the hours of a day, and
// adds them up.
func (r *Record) rollMonth(ctx context.Context, tx *store.Tx, from, to int64) error {
	days := level(observe.Day)
	r.heads.change(r.store, month, from)
	if err := rewrite(ctx, tx, days, from, to); err != nil {
		return err
	}
	if err := tx.Exec(ctx, `INSERT INTO telescope_month VALUES (?)`, from); err != nil {
		return err
	}
	merged, err := r.mergeMonth(ctx, tx, from, to)
	if err != nil {
		return err
	}
	if err := putSheet(ctx, tx, month, from, 0, merged); err != nil {
		return err
	}
	// First as upper bounds; what merged sketches say is put right after.
	err = tx.Exec(ctx, fmt.Sprintf(`INSERT INTO %s SELECT %d, dim, key, sum(packets)::UBIGINT, sum(sources)::UBIGINT, sum(targets)::UBIGINT,
		max(sources_err), max(targets_err), count(*) > 1, 0 FROM %s WHERE start >= %d AND start < %d
		GROUP BY dim, key ORDER BY dim, key`, month.counts(), from, days.counts(), from, to))
	if err == nil && len(merged) > 0 {
		err = correct(ctx, tx, from, merged)
	}
	if err != nil {
		return err
	}
	return fillHeads(ctx, tx, month, from, to, r.headOf(month))
}

// fillHeads makes the heads of a level's buckets in [from, to) from the counts:
// what inHead says, in the words of the database.
func fillHeads(ctx context.Context, tx *store.Tx, l level, from, to int64, head int) error {
	return tx.Exec(ctx, fmt.Sprintf(`INSERT INTO %s SELECT * FROM %s WHERE start >= %d AND start < %d
		QUALIFY dim NOT IN (%d, %d) OR row_number() OVER (PARTITION BY start, part, dim ORDER BY packets DESC, key) <= %[7]d
			OR row_number() OVER (PARTITION BY start, part, dim ORDER BY sources DESC, key) <= %[7]d ORDER BY start, part, dim, key`,
		l.heads(), l.counts(), from, to, observe.ByPort, observe.ByAS, head))
}

// correct puts what merged sketches say in place of a month's upper bounds.
func correct(ctx context.Context, tx *store.Tx, from int64, merged []Row) error {
	if err := tx.Exec(ctx, `CREATE TEMP TABLE telescope_merged (dim UTINYINT, key UINTEGER, sources UBIGINT, targets UBIGINT)`); err != nil {
		return err
	}
	if err := tx.Append("telescope_merged", func(row store.Row) error {
		for i := range merged {
			w := &merged[i]
			if err := row(uint8(w.Dim), w.Key, w.Sources, w.Targets); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := tx.Exec(ctx, fmt.Sprintf(`UPDATE %s c SET sources = m.sources, targets = m.targets, at_most = false FROM telescope_merged m
		WHERE c.start = %d AND c.dim = m.dim AND c.key = m.key`, month.counts(), from)); err != nil {
		return err
	}
	return tx.Exec(ctx, `DROP TABLE telescope_merged`)
}

// mergeMonth unites the sketches of the busiest keys of a month of which every
// day and part has both, in order of dim and key.
func (r *Record) mergeMonth(ctx context.Context, tx *store.Tx, from, to int64) (merged []Row, err error) {
	days := level(observe.Day)
	h, err := r.openSheets(ctx, tx, []span{{days, from, to}})
	defer h.close()
	if err != nil {
		return nil, err
	}
	have := map[uint64]uint64{} // buckets with both sketches, by place
	for i := range h {
		for j := range h[i].len() {
			if line := h[i].line(j); sources.in(line) && targets.in(line) {
				have[placeOf(line)]++
			}
		}
	}
	if len(have) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT dim, key, %s FROM %s WHERE start >= %d AND start < %d GROUP BY dim, key ORDER BY dim, sum(packets) DESC, key`,
		sumColumns, days.counts(), from, to))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var taken [observe.Dims]int
	var d desk
	for rows.Next() {
		var dim uint8
		var s sum
		if err := s.scan(rows, &dim, &s.key); err != nil {
			return nil, err
		}
		if taken[dim] == sketchedKeys || have[place(observe.Dim(dim), s.key)] != s.sources.n {
			continue
		}
		taken[dim]++
		w := Row{Dim: observe.Dim(dim), Key: s.key}
		d.clear()
		if w.SourceSet, w.Sources, err = r.unite(h, &w, sources, &s.sources, &d); err != nil {
			return nil, err
		}
		if w.TargetSet, w.Targets, err = r.unite(h, &w, targets, &s.targets, &d); err != nil {
			return nil, err
		}
		merged = append(merged, w)
	}
	slices.SortFunc(merged, func(x, y Row) int { return cmp.Or(cmp.Compare(x.Dim, y.Dim), cmp.Compare(x.Key, y.Key)) })
	return merged, rows.Err()
}

// unite is the union of a key's sketches on a side, all of which are there.
func (r *Record) unite(h sheets, w *Row, of side, t *tally, d *desk) (set []byte, n uint64, err error) {
	if err := h.load(w.Dim, w.Key, of, t, d); err != nil {
		return nil, 0, err
	}
	if len(t.sets) == 1 {
		return slices.Clone(t.sets[0]), t.N, nil
	}
	set, u, err := r.merge(t.sets, true)
	if err != nil {
		return nil, 0, fmt.Errorf("merge sketches: %w", err)
	}
	return set, min(u.N, t.N), nil
}
