// Package record keeps flows on base/store and answers questions about them: each
// record as it came for some hours, and what was alike by minute, by five minutes and by
// hour.
//
// A Writer counts flows into minutes in memory. A flow's packets are spread over the
// minutes of its life. A bucket keeps so many rows exactly, those with most traffic; the
// others are folded into rows that tell less (see observe.Folded), so that the totals of
// each bucket agree to the packet with what came in. Save writes what was counted since
// the Save before; of minutes that are over it makes buckets of five minutes, and of
// those hours.
package record

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// Record is the flows' part of a store.
type Record struct{ store *store.Store }

// New prepares the tables.
func New(ctx context.Context, s *store.Store) (*Record, error) {
	if err := s.Migrate(ctx, "flow", migrations()); err != nil {
		return nil, err
	}
	return &Record{s}, nil
}

// Writer is one that goes on where the last Save of its part ended. A part that was
// finished is over.
func (r *Record) Writer(ctx context.Context, o Options) (*Writer, error) {
	w := newWriter(r, o)
	p, err := positionOf(ctx, r.store, o.Part)
	if err != nil {
		return nil, wrap(err, "where the writer ended")
	}
	if p.until[observe.FlowMinute] >= ended {
		return nil, fmt.Errorf("flow record: part %d was finished, so nothing more is counted in it: take another one", o.Part)
	}
	w.serial, w.base, w.stats = p.serial, p.until[observe.FlowMinute]/minute, p.stats
	return w, nil
}

// position is how far a part has come.
type position struct {
	serial uint64                      // of the last cut that is on disk
	until  [observe.FlowHour + 1]int64 // buckets before it stand in their table, Unix seconds
	stats  Stats
}

// Numbers of 64 bits stand in the text, as database/sql refuses a uint64 parameter with
// its highest bit set.
func positionOf(ctx context.Context, a store.Asker, part uint64) (p position, err error) {
	var stats string
	err = a.QueryRow(ctx, fmt.Sprintf(`SELECT serial, minute_until, five_until, hour_until, stats FROM flow_part WHERE part = %d`, part)).
		Scan(&p.serial, &p.until[observe.FlowMinute], &p.until[observe.FlowFive], &p.until[observe.FlowHour], &stats)
	if errors.Is(err, sql.ErrNoRows) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal([]byte(stats), &p.stats)
}

func (p *position) write(ctx context.Context, tx *store.Tx, part uint64) error {
	stats, err := json.Marshal(p.stats)
	if err != nil {
		return err
	}
	if err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM flow_part WHERE part = %d`, part)); err != nil {
		return err
	}
	return tx.Append("flow_part", func(row store.Row) error {
		return row(part, p.serial, p.until[observe.FlowMinute], p.until[observe.FlowFive], p.until[observe.FlowHour], string(stats))
	})
}

// Policy is how long each grain is kept; zero keeps it for ever.
type Policy struct{ Raw, Minutes, Fives, Hours time.Duration }

// Retain deletes buckets that ended longer ago than the policy keeps; those of which
// the next grain isn't made yet stay. A writer that nobody goes on with is ended by Finish
// and Save of another one of its part. It gives how many rows went, by grain.
func (r *Record) Retain(ctx context.Context, now time.Time, p Policy) (rows [observe.FlowHour + 1]int64, err error) {
	err = r.store.Tx(ctx, func(tx *store.Tx) (err error) {
		for g, keep := range []time.Duration{p.Raw, p.Minutes, p.Fives, p.Hours} {
			if keep <= 0 {
				continue
			}
			old := fmt.Sprintf("f.start < %d", now.Add(-keep).Unix()/hour*hour) // all grains are cut where an hour begins
			if g := observe.FlowGrain(g); g == observe.FlowMinute || g == observe.FlowFive {
				old += " AND f.start < p." + made[g]
			}
			const of = ` f USING flow_part p WHERE p.part = f.part AND `
			if rows[g], err = tx.Count(ctx, `DELETE FROM `+tables[g]+of+old); err != nil {
				return err
			}
			forget := fmt.Sprintf(`DELETE FROM flow_bucket`+of+`grain = %d AND `, g)
			if observe.FlowGrain(g) == observe.FlowRaw { // the minutes say what there is of it
				forget = fmt.Sprintf(`UPDATE flow_bucket f SET raw_left = 1 WHERE raw_left = 0 AND grain = %d AND `, observe.FlowMinute)
			}
			if err := tx.Exec(ctx, forget+old); err != nil {
				return err
			}
		}
		return nil
	})
	return rows, wrap(err, "retention")
}

// Parts are the Stats of all who ever wrote, by part.
func (r *Record) Parts(ctx context.Context) (map[uint64]Stats, error) {
	rows, err := r.store.Query(ctx, `SELECT part, stats FROM flow_part`)
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
		out[part] = s
	}
	return out, wrap(rows.Err(), "parts")
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("flow record: %s: %w", what, err)
}

func at(t int64) time.Time { return time.Unix(t, 0).UTC() }
