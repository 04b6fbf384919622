// Package record keeps each change of routes on base/store, and answers what was seen of
// a prefix at a time, and how it came to that.
//
// A Writer takes the batches of a route.Table and puts them down as lines that are never
// changed: who, which prefix, which path from then on. What stood at a time is the last
// line before it of each peer; so an answer is exact and needs no snapshots. Each Writer is
// a run: it begins without knowing anything, as a table does, hears the first tables anew,
// and answers for the time between its first and its last line.
//
// Save writes what was cut with the transaction of the checkpoint: killed at any moment,
// nothing is there twice, and nothing that was acknowledged is missing. Retain deletes
// what was superseded before a time, and leaves what stood then.
package record

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/store"
)

// Record is the routes' part of a store.
type Record struct {
	store *store.Store
	seed  uint64 // of the keys of paths
}

const schema = `
CREATE TABLE route_change (told BIGINT NOT NULL, run UBIGINT NOT NULL, number UBIGINT NOT NULL, peer UINTEGER NOT NULL, v6 BOOLEAN NOT NULL,
	hi UBIGINT NOT NULL, lo UBIGINT NOT NULL, bits UTINYINT NOT NULL, id UINTEGER NOT NULL, path UBIGINT NOT NULL, was UBIGINT NOT NULL, marks UTINYINT NOT NULL);
CREATE TABLE route_path (key UBIGINT NOT NULL, words BLOB NOT NULL);
CREATE TABLE route_peer (peer UINTEGER NOT NULL, feed VARCHAR NOT NULL, router VARCHAR NOT NULL, address VARCHAR NOT NULL, asn UINTEGER NOT NULL, rd UBIGINT NOT NULL, view UTINYINT NOT NULL);
CREATE TABLE route_run (run UBIGINT NOT NULL, part UBIGINT NOT NULL, number UINTEGER NOT NULL, serial UBIGINT NOT NULL, begun BIGINT NOT NULL, until BIGINT NOT NULL, live BOOLEAN NOT NULL, stats VARCHAR NOT NULL);
CREATE TABLE route_lost (run UBIGINT NOT NULL, minute BIGINT NOT NULL, changes UBIGINT NOT NULL);
CREATE TABLE route_seed (seed UBIGINT NOT NULL);
`

// Docs describes the tables in Markdown.
func Docs() string {
	return `### route_change

| column | meaning |
|---|---|
| told | when, Unix nanoseconds by the source's clock as it is corrected; of one peer it never goes back |
| run, number | which run wrote it, and its place in that |
| peer | who told it: route_peer |
| v6, hi, lo, bits | prefix: its address from the left, an IPv4 one in the upper half of hi |
| id | ADD-PATH identifier, 0 none |
| path, was | what was told from then on, and before: route_path.key; 0 nothing |
| marks | 1 how it was and no news, 2 the session ended, 4 damaged, 8 the first of its prefix |

route_path has each path once or more often under its key, route_run what each run did and of which part it was (the live
input, an import), route_lost how many changes of a minute weren't kept.
`
}

// New prepares the tables.
func New(ctx context.Context, s *store.Store) (*Record, error) {
	if err := s.Migrate(ctx, "route", []store.Migration{{Version: 1, Name: "changes of routes", SQL: schema}}); err != nil {
		return nil, err
	}
	r := &Record{store: s}
	err := s.Tx(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(ctx, `SELECT seed FROM route_seed`).Scan(&r.seed)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		r.seed = rand.Uint64() //nolint:gosec // so that two paths of one key can't be made: nobody outside sees keys
		return tx.Append("route_seed", func(row store.Row) error { return row(r.seed) })
	})
	return r, wrap(err, "the seed of paths")
}

// Options are how routes are kept. The zero value is fine.
type Options struct {
	Part uint64 // names who writes: an import or the live input. Two at once differ in it
	Live bool   // it goes on: its last line counts as now for a while, and is superseded by the next run
	// Pending is how many changes wait for Save at most, 56 bytes each; 0 is 2,000,000.
	Pending int
	// PerMinute is how many changes of a minute are kept, besides first tables; 0 is
	// 1,000,000. What is more is counted: route_lost.
	PerMinute int
	// Full is called, by whoever hands a batch on, when Pending is reached: it may Cut and
	// Save there and then. Without it, or where it doesn't, changes are dropped and counted.
	Full func()
}

// Stats are what a part did.
type Stats struct {
	Changes uint64 `json:"changes"` // kept
	Dropped uint64 `json:"dropped"` // not kept, as too many waited or came in a minute
	Paths   uint64 `json:"paths"`   // lines of route_path
}

// Parts are the Stats of all who ever wrote, by part, of all its runs.
func (r *Record) Parts(ctx context.Context) (map[uint64]Stats, error) {
	rows, err := r.store.Query(ctx, `SELECT part, stats FROM route_run`)
	if err != nil {
		return nil, wrap(err, "parts")
	}
	defer rows.Close()
	out := map[uint64]Stats{}
	for rows.Next() {
		var part uint64
		var text string
		if err := rows.Scan(&part, &text); err != nil {
			return nil, wrap(err, "parts")
		}
		var s Stats
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, wrap(err, "parts")
		}
		s.Changes, s.Dropped, s.Paths = s.Changes+out[part].Changes, s.Dropped+out[part].Dropped, s.Paths+out[part].Paths
		out[part] = s
	}
	return out, wrap(rows.Err(), "parts")
}

// position is how far a run has come.
type position struct {
	part         uint64
	number       uint32 // of the runs of the part, from 0
	serial       uint64
	begun, until int64 // of the data
	live         bool
	stats        Stats
}

// serialOf is the last cut of a run that is on disk.
func serialOf(ctx context.Context, a store.Asker, run uint64) (serial uint64, err error) {
	err = a.QueryRow(ctx, fmt.Sprintf(`SELECT coalesce(max(serial), 0)::UBIGINT FROM route_run WHERE run = %d`, run)).Scan(&serial)
	return serial, err
}

func (p *position) write(ctx context.Context, tx *store.Tx, run uint64) error {
	stats, err := json.Marshal(p.stats)
	if err != nil {
		return err
	}
	if err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM route_run WHERE run = %d`, run)); err != nil {
		return err
	}
	return tx.Append("route_run", func(row store.Row) error {
		return row(run, p.part, p.number, p.serial, p.begun, p.until, p.live, string(stats))
	})
}

// runOf is the number of a run in the tables: the same for the same part and number.
func runOf(part uint64, number uint32) uint64 {
	b := binary.BigEndian.AppendUint64(nil, part)
	return xxh3.Hash(binary.BigEndian.AppendUint32(b, number))
}

// Forget deletes all runs of a part: an import that was broken off, or that is wanted no more.
func (r *Record) Forget(ctx context.Context, part uint64) error {
	return wrap(r.store.Tx(ctx, func(tx *store.Tx) error {
		for _, table := range []string{"route_change", "route_lost", "route_run"} {
			if err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s WHERE run IN (SELECT run FROM route_run WHERE part = %d)`, table, part)); err != nil {
				return err
			}
		}
		return nil
	}), "forget a part")
}

// Retain deletes what was superseded before a time: what stood then stays. It gives how
// many changes went.
func (r *Record) Retain(ctx context.Context, before time.Time) (gone int64, err error) {
	t := before.UnixNano()
	err = r.store.Tx(ctx, func(tx *store.Tx) error {
		gone, err = tx.Count(ctx, fmt.Sprintf(`DELETE FROM route_change USING route_run r WHERE r.run = route_change.run AND r.until < %d`, t))
		if err != nil {
			return err
		}
		// A withdrawal before the time leaves nothing to tell either.
		more, err := tx.Count(ctx, fmt.Sprintf(`DELETE FROM route_change USING (
			SELECT run AS r, number AS n FROM route_change WHERE told < %d
			QUALIFY path = 0 OR row_number() OVER (PARTITION BY run, peer, v6, hi, lo, bits, id ORDER BY number DESC) > 1) old
			WHERE run = old.r AND number = old.n`, t))
		if err != nil {
			return err
		}
		gone += more
		for _, q := range []string{
			`DELETE FROM route_lost WHERE minute < %d`,
			`DELETE FROM route_run WHERE until < %d`,
			`UPDATE route_run SET begun = %[1]d WHERE begun < %[1]d`,
		} {
			if err := tx.Exec(ctx, fmt.Sprintf(q, t)); err != nil {
				return err
			}
		}
		if gone == 0 {
			return nil
		}
		return tx.Exec(ctx, `DELETE FROM route_path WHERE key NOT IN (SELECT path FROM route_change UNION SELECT was FROM route_change)`)
	})
	return gone, wrap(err, "retention")
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("route record: %s: %w", what, err)
}

func at(t int64) time.Time { return time.Unix(0, t).UTC() }
