package record

import (
	"context"
	"fmt"

	"sakimori/base/store"
	"sakimori/observe"
)

// What former versions wrote is brought to the present form here, in steps of
// migrations that SQL alone can't do.

// oldSets is the table that held the sketches of a level before version 2.
func oldSets(l level) string { return "telescope_set_" + l.String() }

// toSheets moves the sketches from their tables to sheets.
func toSheets(ctx context.Context, tx *store.Tx) error {
	for i := range levels {
		l := level(i)
		buckets, err := oldBuckets(ctx, tx, l)
		if err != nil {
			return err
		}
		for _, b := range buckets {
			rows, err := oldSketches(ctx, tx, l, b)
			if err == nil {
				err = putSheet(ctx, tx, l, b.start, b.part, rows)
			}
			if err != nil {
				return err
			}
		}
		if err := tx.Exec(ctx, `DROP TABLE `+oldSets(l)); err != nil {
			return err
		}
	}
	return nil
}

func oldBuckets(ctx context.Context, tx *store.Tx, l level) ([]counted, error) {
	rows, err := tx.Query(ctx, `SELECT DISTINCT start, part FROM `+oldSets(l)+` ORDER BY ALL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []counted
	for rows.Next() {
		var c counted
		if err := rows.Scan(&c.start, &c.part); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

func oldSketches(ctx context.Context, tx *store.Tx, l level, b counted) ([]Row, error) {
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT dim, key, sources, targets, source_set, target_set FROM %s
		WHERE start = %d AND part = %d ORDER BY dim, key`, oldSets(l), b.start, b.part))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Row
	for rows.Next() {
		var w Row
		var dim uint8
		if err := rows.Scan(&dim, &w.Key, &w.Sources, &w.Targets, &w.SourceSet, &w.TargetSet); err != nil {
			return nil, err
		}
		w.Dim = observe.Dim(dim)
		out = append(out, w)
	}
	return out, rows.Err()
}

// longerHeads makes all heads anew, a day at a time: of a level it may be tens of
// millions of rows.
func longerHeads(ctx context.Context, tx *store.Tx) error {
	r := Record{head: headRows}
	for i := range levels {
		l := level(i)
		if err := tx.Exec(ctx, `DELETE FROM `+l.heads()); err != nil {
			return err
		}
		days, err := daysOf(ctx, tx, l.counts())
		if err != nil {
			return err
		}
		for _, d := range days {
			if err := fillHeads(ctx, tx, l, d, d+day, r.headOf(l)); err != nil {
				return err
			}
		}
	}
	return nil
}

// daysOf are the days in which buckets in a table of counts begin.
func daysOf(ctx context.Context, tx *store.Tx, counts string) ([]int64, error) {
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT DISTINCT start - ((start %% %[1]d) + %[1]d) %% %[1]d AS d FROM %[2]s ORDER BY d`, day, counts))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var d int64
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

// oldMinutes is the table that held the counts of minutes before version 4.
const oldMinutes = "telescope_count_minute"

// toLeaves moves the counts of minutes from their table to leaves.
func toLeaves(ctx context.Context, tx *store.Tx) error {
	days, err := daysOf(ctx, tx, oldMinutes)
	if err != nil {
		return err
	}
	for _, d := range days {
		if err := leavesOf(ctx, tx, d, d+day); err != nil {
			return err
		}
	}
	return tx.Exec(ctx, `DROP TABLE `+oldMinutes)
}

// leavesOf makes the leaves of [from, to) from the rows of the table.
func leavesOf(ctx context.Context, tx *store.Tx, from, to int64) error {
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT start, part, dim, key, packets, sources, targets, sources_err, targets_err FROM %s
		WHERE start >= %d AND start < %d ORDER BY start, part, dim, key`, oldMinutes, from, to))
	if err != nil {
		return err
	}
	defer rows.Close()
	var minute counted
	var of []Row
	put := func() error {
		if len(of) == 0 {
			return nil
		}
		b, err := leafOf(of)
		of = of[:0]
		if err != nil {
			return err
		}
		return tx.PutBlob(ctx, leafName(minute.start, minute.part), b)
	}
	for rows.Next() {
		var c counted
		var w Row
		var dim uint8
		if err := rows.Scan(&c.start, &c.part, &dim, &w.Key, &w.Packets, &w.Sources, &w.Targets, &w.SourcesErr, &w.TargetsErr); err != nil {
			return err
		}
		w.Dim = observe.Dim(dim)
		if c != minute {
			if err := put(); err != nil {
				return err
			}
			minute = c
		}
		of = append(of, w)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return put()
}
