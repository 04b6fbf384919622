package record_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// TestFormerVersion: a folder that the first version wrote answers as one that
// this one wrote.
func TestFormerVersion(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s, now := open(t, t.TempDir())
	old, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Migrate(ctx, "telescope", record.Version1()); err != nil {
		t.Fatal(err)
	}
	var days []record.Bucket
	for d := range int64(4) {
		b := bucket(observe.Day, epoch+d*86400, 1)
		for k := range uint32(500) { // more than a head has
			w := record.Row{Dim: observe.ByPort, Key: k, Packets: uint64((k*7919+uint32(d))%997) + 1, Sources: uint64((k*104729)%991) + 1, Targets: 1}
			if k%3 == 0 {
				seen := map[uint16]bool{uint16(k): true, uint16(k + uint32(d)): true}
				w.SourceSet, w.Sources = exact(seen), uint64(len(seen))
			}
			if k%4 == 0 {
				w.TargetSet = exact(map[uint16]bool{1: true})
			}
			b.Rows = append(b.Rows, w)
		}
		days = append(days, b)
	}
	for part := range uint64(2) {
		write(t, s, now, record.Batch{Part: part, Buckets: days})
		asFormer(t, old, part, days)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	_, migrated := open(t, dir)
	for range 2 { // from days, and from the month in which one of them ends
		for _, n := range []int{1, 2, 4} {
			in := observe.Range{From: at(epoch), To: at(epoch).AddDate(0, 0, n)}
			for _, order := range []string{"packets", "sources"} {
				want, err := now.Top(ctx, observe.ByPort, in, order, 20, 5)
				if err != nil || len(want) != 20 {
					t.Fatal(len(want), err)
				}
				got, err := migrated.Top(ctx, observe.ByPort, in, order, 20, 5)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%d days by %s: %v\n%s", n, order, err, diff)
				}
			}
		}
		for _, r := range []*record.Record{now, migrated} {
			if err := r.Rollup(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := migrated.Retain(ctx, at(epoch).Add(40*24*time.Hour), record.Policy{Days: 24 * time.Hour}); err != nil {
		t.Error(err)
	}
}

// asFormer writes days of ports as the first version did, without heads.
func asFormer(t *testing.T, s *store.Store, part uint64, days []record.Bucket) {
	t.Helper()
	ctx := t.Context()
	if err := s.Tx(ctx, func(tx *store.Tx) error {
		for _, b := range days {
			if err := tx.Exec(ctx, fmt.Sprintf(`INSERT INTO telescope_bucket VALUES (2, %d, %d, false, 1000, 1)`, b.Start, part)); err != nil {
				return err
			}
			for _, w := range b.Rows {
				if err := tx.Exec(ctx, fmt.Sprintf(`INSERT INTO telescope_count_day VALUES (%d, 3, %d, %d, %d, %d, 0, 0, false, %d)`,
					b.Start, w.Key, w.Packets, w.Sources, w.Targets, part)); err != nil {
					return err
				}
				if w.SourceSet == nil && w.TargetSet == nil {
					continue
				}
				number := func(set []byte, n uint64) uint64 {
					if set == nil {
						return 0
					}
					return n
				}
				if err := tx.Exec(ctx, `INSERT INTO telescope_set_day VALUES (?, 3, ?, ?, ?, ?, ?, ?)`, b.Start, w.Key,
					number(w.SourceSet, w.Sources), number(w.TargetSet, w.Targets), w.SourceSet, w.TargetSet, part); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestFormerMinutes: the minutes that a former version wrote stay what they were.
func TestFormerMinutes(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	old, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Migrate(ctx, "telescope", record.Version1()); err != nil {
		t.Fatal(err)
	}
	if err := old.Tx(ctx, func(tx *store.Tx) error {
		// Two parts; three minutes, of which the last is on another day.
		minutes := fmt.Sprintf(`(SELECT unnest([%d, %d, %d]) AS start, unnest([1, 2, 3]) AS i), (SELECT unnest([7, 4611686018427387904]) AS part)`, epoch, epoch+60, epoch+86400)
		for _, q := range []string{
			`INSERT INTO telescope_bucket SELECT 0, start, part, false, 1000, 1 FROM ` + minutes,
			fmt.Sprintf(`INSERT INTO telescope_bucket VALUES (1, %d, 7, false, 1000, 1)`, epoch), // rankings look for its minutes
			`INSERT INTO telescope_count_minute SELECT start, 3, key, 1000 * i + key, 5, 1, 0.0081, 0, false, part FROM ` + minutes + `, range(700) k(key)`,
		} {
			if err := tx.Exec(ctx, q); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	s, r := open(t, dir)
	got, err := r.Series(ctx, observe.ByPort, 650, observe.Range{From: at(epoch), To: at(epoch + 2*86400)}, observe.Minute)
	var want []observe.Point
	for i, start := range []int64{epoch, epoch + 60, epoch + 86400} {
		want = append(want, observe.Point{
			Time: at(start), Packets: uint64(2*(1000*(i+1)) + 2*650),
			Sources: observe.Unique{N: 10, Err: float64(float32(0.0081)), AtMost: true}, Targets: observe.Unique{N: 2, AtMost: true},
		})
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	top, err := r.Top(ctx, observe.ByPort, observe.Range{From: at(epoch), To: at(epoch + 120)}, "packets", 2, 0)
	if err != nil || len(top) != 2 || top[0].Key != 699 || top[0].Packets != 2*(1699+2699) {
		t.Error(top, err)
	}
	var left int
	if err := s.QueryRow(ctx, `SELECT count(*) FROM duckdb_tables() WHERE table_name = 'telescope_count_minute'`).Scan(&left); err != nil || left != 0 {
		t.Error(left, err)
	}
}
