package record

import (
	"context"
	"database/sql/driver"
	"fmt"
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

// rewrite sorts a level's counts of [from, to). The sketches stay: they are few.
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
	starts, err := looked(ctx, r.store, observe.Day, 0, until)
	if err != nil {
		return wrap(err, "roll up")
	}
	done := map[int64]bool{}
	for _, t := range starts {
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
	// First as upper bounds; those with merged sketches are put right after.
	err = tx.Exec(ctx, fmt.Sprintf(`INSERT INTO %s SELECT %d, dim, key, sum(packets)::UBIGINT, sum(sources)::UBIGINT, sum(targets)::UBIGINT,
		max(sources_err), max(targets_err), count(*) > 1, 0 FROM %s WHERE start >= %d AND start < %d
		GROUP BY dim, key ORDER BY dim, key`, month.counts(), from, days.counts(), from, to))
	if err == nil && len(merged) > 0 {
		err = replaceMerged(ctx, tx, from, merged)
	}
	if err != nil {
		return err
	}
	return tx.Exec(ctx, fmt.Sprintf(`INSERT INTO %s SELECT * FROM %s WHERE start = %d
		QUALIFY dim NOT IN (%d, %d) OR row_number() OVER (PARTITION BY dim ORDER BY packets DESC, key) <= %d ORDER BY dim, key`,
		month.heads(), month.counts(), from, observe.ByPort, observe.ByAS, r.head))
}

// replaceMerged puts what merged sketches say in place of the upper bounds.
func replaceMerged(ctx context.Context, tx *store.Tx, from int64, merged []Row) error {
	values := make([]driver.Value, len(countColumns))
	if err := tx.Append(month.sets(), func(row store.Row) error {
		for i := range merged {
			if err := line(row, setColumns, values, &counted{from, 0, &merged[i]}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return tx.Exec(ctx, fmt.Sprintf(`UPDATE %[1]s c SET sources = s.sources, targets = s.targets, at_most = false FROM %[2]s s
		WHERE c.start = %[3]d AND s.start = %[3]d AND c.dim = s.dim AND c.key = s.key`, month.counts(), month.sets(), from))
}

// mergeMonth unites the sketches of the busiest keys of a month of which every
// day and part has both.
func (r *Record) mergeMonth(ctx context.Context, tx *store.Tx, from, to int64) ([]Row, error) {
	days := level(observe.Day)
	rows, err := tx.Query(ctx, fmt.Sprintf(`WITH whole AS (
			SELECT dim, key, sum(packets) AS packets, count(*) AS n, max(sources_err) AS se, max(targets_err) AS te
			FROM %[1]s WHERE start >= %[3]d AND start < %[4]d GROUP BY dim, key),
		sketched AS (
			SELECT dim, key, count(source_set) AS s, count(target_set) AS t FROM %[2]s WHERE start >= %[3]d AND start < %[4]d GROUP BY dim, key),
		busy AS (
			SELECT whole.dim, whole.key, packets, se, te FROM whole JOIN sketched USING (dim, key) WHERE s = n AND t = n
			QUALIFY row_number() OVER (PARTITION BY whole.dim ORDER BY packets DESC, whole.key) <= %[5]d)
		SELECT d.dim, d.key, d.sources, d.targets, se, te, source_set, target_set
		FROM %[2]s d JOIN busy USING (dim, key) WHERE d.start >= %[3]d AND d.start < %[4]d ORDER BY d.dim, d.key, d.start, d.part`,
		days.counts(), days.sets(), from, to, sketchedKeys))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Row
	for rows.Next() {
		var w Row
		var dim uint8
		if err := rows.Scan(&dim, &w.Key, &w.Sources, &w.Targets, &w.SourcesErr, &w.TargetsErr, &w.SourceSet, &w.TargetSet); err != nil {
			return nil, err
		}
		w.Dim = observe.Dim(dim)
		n := len(out)
		if n == 0 || out[n-1].Dim != w.Dim || out[n-1].Key != w.Key {
			out = append(out, w)
			continue
		}
		if err := r.join(&out[n-1], &w); err != nil {
			return nil, err
		}
	}
	return out, rows.Err()
}

// join adds the distinct things of b to those of a.
func (r *Record) join(a, b *Row) error {
	set, u, err := r.merge([][]byte{a.SourceSet, b.SourceSet}, true)
	if err != nil {
		return fmt.Errorf("merge sketches: %w", err)
	}
	a.SourceSet, a.Sources = set, min(u.N, a.Sources+b.Sources)
	set, u, err = r.merge([][]byte{a.TargetSet, b.TargetSet}, true)
	if err != nil {
		return fmt.Errorf("merge sketches: %w", err)
	}
	a.TargetSet, a.Targets = set, min(u.N, a.Targets+b.Targets)
	return nil
}
