//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sakimori/base/sketch"
	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// yearEnd is the data's time of part C: an hour of a day in a month that isn't over.
var yearEnd = time.Date(2026, 11, 20, 10, 17, 0, 0, time.UTC)

// merge unites stored sets as the program does.
func merge(sets [][]byte, keep bool) (union []byte, u observe.Unique, err error) {
	all, err := sketch.Unite(sketch.Exact, sets)
	if err != nil {
		return nil, u, err
	}
	if keep {
		union = all.Append(nil)
	}
	return union, observe.Unique{N: all.Count(), Err: all.Error()}, nil
}

// year makes the record of a year as large as NICTER's, in SQL: a day row for
// each of 65,536 TCP ports, 30,000 ASes and 250 countries, hour rows of the last
// weeks (8,000 ASes an hour), and a million events. Shares follow Zipf's law,
// and ranks are scattered over the keys, which is the worst case for order on
// disk. As the telescope does, the 256 busiest keys of each dimension have
// sketches, in days and in those hours that the questions touch.
type year struct {
	s        *store.Store
	r        *record.Record
	days     int // of days, besides today
	hourDays int // of hours, besides today
	today    int64
}

// openYear gives the record, made anew when there is none of these sources.
// made tells how long each step took; nil when it was there.
func openYear(ctx context.Context, o *options) (y *year, made []string, err error) {
	sum, err := digest(filepath.Join(o.root, "observe", "telescope", "record", "*.go"), filepath.Join(o.root, "base", "store", "*.go"),
		filepath.Join(o.root, "base", "sketch", "*.go"), filepath.Join(o.root, "test", "bench", "year.go"))
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(o.dir, fmt.Sprintf("year-%d-%d-", o.yearDays, o.hourDays))
	dir := name + sum
	if o.year != "" {
		dir = o.year
	}
	whole := filepath.Join(dir, "whole")
	_, missing := os.Stat(whole)
	if missing != nil && o.year == "" { // or half made
		if err := forget(name); err != nil {
			return nil, nil, err
		}
	}
	y = &year{days: o.yearDays, hourDays: min(o.hourDays, o.yearDays), today: yearEnd.Unix() / 86400 * 86400}
	defer func() {
		if err != nil && y.s != nil {
			_ = y.s.Close() // the first error says more
		}
	}()
	timed := func(name string, do func(context.Context) error) error {
		o.say("year of %d days, %d of them in hours: %s", y.days, y.hourDays, name)
		began := time.Now()
		if err := do(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		made = append(made, fmt.Sprintf("%s %s", name, time.Since(began).Round(100*time.Millisecond)))
		return nil
	}
	if missing != nil {
		if err := y.open(ctx, dir, 4<<30); err != nil { // sorting more at once than the program ever does
			return y, nil, err
		}
		if err := timed("generate", y.fill); err != nil {
			return y, nil, err
		}
		if err := y.s.Close(); err != nil {
			return y, nil, err
		}
	}
	if err := y.open(ctx, dir, 0); err != nil || missing == nil { // as the program does
		return y, nil, err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"roll up the months", y.r.Rollup},
		{"sort a day of hours", func(ctx context.Context) error { return y.r.Cluster(ctx, yearEnd.AddDate(0, 0, -1)) }},
		{"checkpoint", y.s.Checkpoint},
	} {
		if err := timed(step.name, step.do); err != nil {
			return y, nil, err
		}
	}
	return y, made, os.WriteFile(whole, nil, 0o644)
}

// open opens the store; memory 0 is its default.
func (y *year) open(ctx context.Context, dir string, memory int64) (err error) {
	if y.s, err = store.Open(ctx, dir, store.Options{MemoryLimit: memory}); err != nil {
		return err
	}
	y.r, err = record.New(ctx, y.s, merge)
	return err
}

const countNames = "start, dim, key, packets, sources, targets, sources_err, targets_err, at_most, part"

func (y *year) fill(ctx context.Context) error {
	run := func(q string, args ...any) error {
		return y.s.Tx(ctx, func(tx *store.Tx) error { return tx.Exec(ctx, fmt.Sprintf(q, args...)) })
	}
	steps := []func() error{
		func() error { return run(keysSQL) },
		func() error {
			return run(`INSERT INTO telescope_count_day (`+countNames+`) SELECT %d + 86400 * t, `+rowSQL+` FROM range(%d) u(t), bench_key ORDER BY t, dim, key`,
				y.today-int64(y.days)*86400, 1, 1, y.days+1)
		},
		func() error {
			return run(bucketSQL, observe.Day, y.today-int64(y.days)*86400, 86400, y.days+1)
		},
	}
	for d := -y.hourDays; d <= 0; d++ {
		order := "dim, key, t"
		if d >= -1 {
			order = "t, dim, key" // as written; Cluster comes a day later
		}
		hours := 24
		if d == 0 {
			hours = yearEnd.Hour() + 1
		}
		steps = append(steps, func() error {
			return run(`INSERT INTO telescope_count_hour (`+countNames+`) SELECT %d + 3600 * t, `+rowSQL+` FROM range(%d) u(t), bench_key WHERE dim != 5 OR key < 8000 ORDER BY `+order,
				y.today+int64(d)*86400, 24, 12, hours)
		})
	}
	steps = append(steps,
		func() error {
			return run(bucketSQL, observe.Hour, y.today-int64(y.hourDays)*86400, 3600, y.hourDays*24+yearEnd.Hour()+1)
		},
		func() error { return run(eventSQL, yearEnd.AddDate(0, 0, -23).UnixNano()) },
		func() error { return run(headSQL, "day") },
		func() error { return run(headSQL, "hour") },
		func() error { return y.sketches(ctx, observe.Day, "true") },
		func() error { return y.sketches(ctx, observe.Hour, y.touched()) },
		func() error { return run(`DROP TABLE bench_key`) },
	)
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// touched are the hours of which the questions read sketches: those at the ends
// of their spans.
func (y *year) touched() string {
	var q []string
	for _, d := range []int{0, 1, 2, 7, 8, 30, 31} {
		q = append(q, fmt.Sprintf("(start >= %d AND start < %d)", y.today-int64(d)*86400, y.today-int64(d-1)*86400))
	}
	return "(" + strings.Join(q, " OR ") + ")"
}

// pool makes sketches to choose from: of how many things they are changes
// nothing in the work of uniting them, once they are dense.
func pool() (fine, coarse [16][]byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 32 {
		form, list := sketch.Fine, &fine
		if i%2 == 1 {
			form, list = sketch.Coarse, &coarse
		}
		var s sketch.Set
		for range 60_000 {
			s.Add(form, r.Uint32())
		}
		list[i/2] = s.Append(nil)
	}
	return fine, coarse
}

// sketches gives the 256 busiest keys of each dimension in some buckets two of
// the pool: ports from 1024 on and ASes small ones, the others large ones.
func (y *year) sketches(ctx context.Context, g observe.Grain, where string) error {
	fine, coarse := pool()
	rows, err := y.s.Query(ctx, fmt.Sprintf(sketchedSQL, g, where))
	if err != nil {
		return err
	}
	defer rows.Close()
	b := record.Bucket{Grain: g}
	write := func() error {
		return y.s.Tx(ctx, func(tx *store.Tx) error { return y.r.WriteSketches(tx, 1, b) })
	}
	for rows.Next() {
		var start int64
		var dim uint8
		var w record.Row
		var i, j uint8
		if err := rows.Scan(&start, &dim, &w.Key, &w.Sources, &w.Targets, &i, &j); err != nil {
			return err
		}
		if start != b.Start {
			if err := write(); err != nil {
				return err
			}
			b.Start, b.Rows = start, b.Rows[:0]
		}
		w.Dim = observe.Dim(dim)
		from := &fine
		if w.Dim == observe.ByAS || w.Dim == observe.ByPort && w.Key%65536 >= 1024 {
			from = &coarse
		}
		w.SourceSet, w.TargetSet = from[i], from[j]
		b.Rows = append(b.Rows, w)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return write()
}

const (
	// A key of each dimension with its rank among them.
	keysSQL = `CREATE TABLE bench_key AS
		SELECT 3::UTINYINT AS dim, (6 * 65536 + p)::UINTEGER AS key, 1 + hash(p) %% 65536 AS rank FROM range(65536) t(p)
		UNION ALL SELECT 5, a, 1 + hash(a) %% 30000 FROM range(30000) t(a)
		UNION ALL SELECT 4, 256 * (65 + c // 16) + 65 + c %% 16, 1 + c FROM range(250) t(c)
		UNION ALL SELECT 2, p, 1 + p FROM range(8) t(p)
		UNION ALL SELECT 1, p, 1 + p FROM range(4) t(p)
		UNION ALL SELECT 0, 0, 1`
	// What a key has in a bucket: its share, with a wobble. Two numbers: by how
	// much a bucket is smaller than a day, for packets and for distinct things.
	rowSQL = `dim, key, 100 + (2e9 / rank)::UBIGINT // %d + (t + key * 7919) %% 211, 50 + (1e6 / rank)::UBIGINT // %d + (t + key) %% 97,
		1 + (3e5 / rank)::UBIGINT, 0.0081, 0.0081, false, 1`
	bucketSQL = `INSERT INTO telescope_bucket (grain, start, part, open, dark_v4, looked) SELECT %d, %d + %d * t, 1, false, 300000, 1 FROM range(%d) u(t)`
	eventSQL  = `INSERT INTO telescope_event (id, source_hi, source_lo, port, proto, kind, tool, flags, begun, ended, packets, targets, targets_err, targets_at_most, coverage, rate, country, asn, sample, part)
		SELECT hash(i), 0, 281470681743360 + 1677721600 + hash(i) %% 200000, [23, 2323, 80, 443, 22][1 + i %% 5], 6, 1, i %% 4, 32 * (i %% 2),
		%[1]d + i * 2000000000, %[1]d + i * 2000000000 + 400000000000, 1000, 800, 0, false, 0.01, 2.5, 'JP', 4713, 'SYN to 192.0.2.1:23', 1 FROM range(1000000) t(i)`
	// The 300 with most packets, and with most sources, as record.New has it; those
	// that may be among them first, for speed.
	headSQL = `INSERT INTO telescope_head_%[1]s (` + countNames + `) SELECT c.start, c.dim, c.key, c.packets, c.sources, c.targets, c.sources_err, c.targets_err, c.at_most, c.part
		FROM telescope_count_%[1]s c JOIN bench_key USING (dim, key) WHERE dim NOT IN (3, 5) OR rank <= 450 OR (dim = 5 AND key < 600)
		QUALIFY dim NOT IN (3, 5) OR row_number() OVER (PARTITION BY start, dim ORDER BY packets DESC) <= 300
			OR row_number() OVER (PARTITION BY start, dim ORDER BY sources DESC) <= 300 ORDER BY start, dim, key`
	sketchedSQL = `SELECT start, dim, key, sources, targets, (hash(start, key) %% 16)::UTINYINT, (hash(key, start) %% 16)::UTINYINT
		FROM telescope_head_%[1]s WHERE %[2]s
		QUALIFY row_number() OVER (PARTITION BY start, dim ORDER BY packets DESC) <= 256 ORDER BY start, dim, key`
)
