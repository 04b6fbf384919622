package relation_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
)

func steps(sql ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for i, s := range sql {
		files["000"+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + s + ";\n")}
	}
	return files
}

const counter = `CREATE TABLE counter (name TEXT PRIMARY KEY, n BIGINT NOT NULL, raw BYTEA, yes BOOLEAN)`

// TestOneSQL: the same text does the same on both, values come back as they were,
// and concurrent transactions lose no update.
func TestOneSQL(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		ctx := t.Context()
		if err := db.Migrate(ctx, "counting", steps(counter)); err != nil {
			t.Fatal(err)
		}
		raw := []byte{0, 255, 7}
		put := func(tx *relation.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO counter (name, n, raw, yes) VALUES ($1, $2, $3, $4)`, "a", int64(1)<<62, raw, true)
			return err
		}
		if err := db.Tx(ctx, put); err != nil {
			t.Fatal(err)
		}
		if err := db.Tx(ctx, put); !relation.Unique(err) {
			t.Errorf("the same key again: %v", err)
		}
		var n int64
		var back []byte
		var yes bool
		if err := db.QueryRow(ctx, `SELECT n, raw, yes FROM counter WHERE name = $1`, "a").Scan(&n, &back, &yes); err != nil || n != 1<<62 || !bytes.Equal(back, raw) || !yes {
			t.Errorf("%d %x %v %v", n, back, yes, err)
		}
		boom := errors.New("boom")
		if err := db.Tx(ctx, func(tx *relation.Tx) error {
			if _, err := tx.Exec(ctx, `DELETE FROM counter`); err != nil {
				return err
			}
			return boom
		}); !errors.Is(err, boom) {
			t.Error(err)
		}
		const workers, times = 8, 25
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for range times {
					if err := db.Tx(ctx, func(tx *relation.Tx) error {
						if err := tx.Lock(ctx, "counter"); err != nil {
							return err
						}
						var n int64
						if err := tx.QueryRow(ctx, `SELECT n FROM counter WHERE name = $1`, "a").Scan(&n); err != nil {
							return err
						}
						_, err := tx.Exec(ctx, `UPDATE counter SET n = $1 WHERE name = $2`, n+1, "a")
						return err
					}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		if err := db.QueryRow(ctx, `SELECT n FROM counter`).Scan(&n); err != nil || n != 1<<62+workers*times {
			t.Errorf("%d updates of %d, %v", n-1<<62, workers*times, err)
		}
	})
}

// TestMigrations: rooms have versions of their own, a step is done once, and what a
// newer program wrote is refused.
func TestMigrations(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		ctx := t.Context()
		newer := steps(counter, `INSERT INTO counter (name, n) VALUES ('b', 2)`)
		for _, files := range []fstest.MapFS{steps(counter), newer, newer} {
			if err := db.Migrate(ctx, "counting", files); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Migrate(ctx, "other", steps(`CREATE TABLE other (id TEXT)`)); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow(ctx, `SELECT count(*) FROM counter`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
		if err := db.Migrate(ctx, "counting", steps(counter)); err == nil || !strings.Contains(err.Error(), "newer sakimori") {
			t.Errorf("an older program: %v", err)
		}
		if err := db.Migrate(ctx, "bad", steps(`CREATE TABLE halfway (id TEXT)`, `CREATE NONSENSE`)); err == nil {
			t.Error("nonsense was taken")
		}
	})
}
