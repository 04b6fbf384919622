package cnc

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
)

// Reading is one look at a source.
type Reading struct {
	Source string
	At     time.Time // zero: now
	Whole  bool      // it holds all that the source says: what it doesn't hold is gone
	Digest string    // of what was read, for the ledger
	Who    string
}

// Result is what a reading came to.
type Result struct {
	Reading   string      `json:"reading"`
	Read      int         `json:"read"`
	New       int         `json:"new"`   // that the source didn't have
	Known     int         `json:"known"` // that it had
	Changed   int         `json:"changed"`
	Gone      int         `json:"gone"`
	Malformed int         `json:"malformed"` // not in their normal form
	Outdated  int         `json:"outdated"`  // whose own end has passed
	Protected []Protected `json:"protected"` // the first of them
	Shielded  int         `json:"shielded"`  // how many of them there are
	Held      string      `json:"held"`      // id, where it waits for a person
	Why       detect.Text `json:"why"`
}

// Protected is a name that isn't taken in, and the list that it is on.
type Protected struct {
	Name string `json:"name"`
	List string `json:"list"`
	Line int    `json:"line,omitzero"`
}

// Intake takes one reading in. Nothing of it counts before Finish. It may be used by one
// goroutine. It holds 18 bytes for each indicator that the source had, and some 30 for
// each that is new, beside 16 MiB of blocks.
type Intake struct {
	l       *List
	id      int64
	base    int64 // the reading that it is a change of
	r       Reading
	keys    []int64 // that the source had, in order
	digests []int64
	seen    []bool
	ended   []bool             // of which it says that they are over
	fresh   map[int64]struct{} // keys that it has new or changed
	blocks  [parts][]byte
	bytes   int   // of blocks
	flushed int64 // how often
	res     Result
}

// shown is how many of the protected names of a reading are told.
const shown = 1000

// Begin begins a reading. One that was cut off is cleared away after an hour.
func (l *List) Begin(ctx context.Context, r Reading) (*Intake, error) {
	if r.Source == "" || r.Who == "" {
		return nil, fmt.Errorf("%w: it says which source was read, and by whom", ErrReading)
	}
	now := l.clock.Now().UTC()
	if r.At.IsZero() {
		r.At = now
	}
	in := &Intake{l: l, r: r, fresh: map[int64]struct{}{}}
	err := l.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "cnc_entry"); err != nil {
			return err
		}
		old := now.Add(-time.Hour).UnixNano()
		if _, err := tx.Exec(ctx, `DELETE FROM cnc_staged WHERE reading IN (SELECT id FROM cnc_reading WHERE state = 'open' AND at < $1)`, old); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM cnc_reading WHERE state = 'open' AND at < $1`, old); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(id), 0) + 1 FROM cnc_reading`).Scan(&in.id); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT reading FROM cnc_source WHERE name = $1`, r.Source).Scan(&in.base)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO cnc_reading (id, source, at, whole, digest, who, state, base, read_n, listed, added, removed, changed, protected, why)
			VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, 0, 0, 0, 0, 0, 0, '')`, in.id, r.Source, now.UnixNano(), one(r.Whole), r.Digest, r.Who, in.base)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("begin a reading: %w", err)
	}
	in.res.Reading = readingID(in.id)
	if err := in.load(ctx); err != nil {
		return nil, errors.Join(err, in.Drop(ctx))
	}
	return in, nil
}

// load remembers what the source says until now.
func (in *Intake) load(ctx context.Context) error {
	rows, err := in.l.db.Query(ctx, `SELECT key, digest FROM cnc_said WHERE source = $1 AND gone = 0 ORDER BY key`, in.r.Source)
	if err != nil {
		return fmt.Errorf("begin a reading: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k, d int64
		if err := rows.Scan(&k, &d); err != nil {
			return fmt.Errorf("begin a reading: %w", err)
		}
		in.keys, in.digests = append(in.keys, k), append(in.digests, d)
	}
	in.seen, in.ended = make([]bool, len(in.keys)), make([]bool, len(in.keys))
	return rows.Err()
}

// Put takes indicators. The slice isn't kept.
func (in *Intake) Put(ctx context.Context, list []observe.Indicator) error {
	for i := range list {
		in.res.Read++
		x := &list[i]
		v := in.l.cfg.Never.Check(x.Kind, x.Value)
		switch {
		case !wellFormed(x):
			in.res.Malformed++
			continue
		case !x.Until.IsZero() && !x.Until.After(in.r.At):
			in.res.Outdated++
			key, _ := keyOf(x.Kind, x.Value)
			if at, had := slices.BinarySearch(in.keys, key); had {
				in.ended[at] = true // unless it says elsewhere that it goes on
			}
			continue
		case v.Class == never.Protected:
			in.res.Shielded++
			if len(in.res.Protected) < shown {
				in.res.Protected = append(in.res.Protected, Protected{x.Value, v.List, x.Line})
			}
			continue
		}
		key, more := keyOf(x.Kind, x.Value)
		if _, again := in.fresh[key]; again { // the first one counts
			continue
		}
		at, had := slices.BinarySearch(in.keys, key)
		if had {
			if in.seen[at] {
				continue
			}
			in.seen[at] = true
			in.res.Known++
		} else {
			in.res.New++
		}
		if had && in.digests[at] == digestOf(x, more) {
			continue
		}
		if had {
			in.res.Changed++
		}
		in.fresh[key] = struct{}{}
		b := &in.blocks[partOf(key)]
		before := len(*b)
		*b = appendIndicator(*b, x)
		if v.Class == never.Free {
			(*b)[len(*b)-1] |= bitFree
		}
		if in.bytes += len(*b) - before; in.bytes > 16<<20 {
			if err := in.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// wellFormed tells whether an indicator has what the list needs. Its normal form is the
// decoder's business; what isn't in it is found by nobody.
func wellFormed(x *observe.Indicator) bool {
	const longest = 4096
	if x.Value == "" || len(x.Value) > longest || math.IsNaN(x.Confidence) || x.Confidence < 0 || x.Confidence > 1 {
		return false
	}
	switch x.Kind {
	case observe.IndicatorName, observe.IndicatorHost:
		return len(x.Value) <= 253
	case observe.IndicatorAddress:
		_, err := netip.ParseAddr(x.Value)
		return err == nil
	case observe.IndicatorEndpoint:
		_, err := netip.ParseAddrPort(x.Value)
		return err == nil
	case observe.IndicatorPrefix:
		_, err := netip.ParsePrefix(x.Value)
		return err == nil
	case observe.IndicatorURL:
		u, err := url.Parse(x.Value)
		return err == nil && u.Host != ""
	}
	return false
}

// digestOf is a sum over all that an indicator says.
func digestOf(x *observe.Indicator, more uint64) int64 {
	var room [512]byte
	b := binary.BigEndian.AppendUint64(room[:0], more)
	return int64(xxh3.Hash(appendIndicator(b, x)) >> 1)
}

// flush brings what was taken to the store.
func (in *Intake) flush(ctx context.Context) error {
	if in.bytes == 0 {
		return nil
	}
	err := in.l.db.Tx(ctx, func(tx *relation.Tx) error {
		for part, b := range in.blocks {
			if len(b) == 0 {
				continue
			}
			if err := in.stage(ctx, tx, blockOf(part, in.flushed), packer.EncodeAll(b, nil), asSaid); err != nil {
				return err
			}
		}
		return nil
	})
	for part := range in.blocks {
		in.blocks[part] = in.blocks[part][:0]
	}
	in.bytes = 0
	in.flushed++
	return err
}

func (in *Intake) stage(ctx context.Context, tx *relation.Tx, n int64, body []byte, how int64) error {
	if _, err := tx.Exec(ctx, `INSERT INTO cnc_staged (reading, n, gone, body) VALUES ($1, $2, $3, $4)`, in.id, n, how, body); err != nil {
		return fmt.Errorf("keep what was read: %w", err)
	}
	return nil
}

// Drop forgets a reading. After Finish it does nothing.
func (in *Intake) Drop(ctx context.Context) error {
	return in.l.db.Tx(ctx, func(tx *relation.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM cnc_reading WHERE id = $1 AND state = 'open'`, in.id)
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM cnc_staged WHERE reading = $1`, in.id)
		return err
	})
}

// left are the keys that a whole reading doesn't have, and those of which any says that
// they are over.
func (in *Intake) left() (gone, ended []int64) {
	for i, seen := range in.seen {
		switch {
		case seen:
		case in.ended[i]:
			ended = append(ended, in.keys[i])
		case in.r.Whole:
			gone = append(gone, in.keys[i])
		}
	}
	return gone, ended
}

// Result is what a reading would come to, if it ended now.
func (in *Intake) Result() Result {
	r := in.res
	gone, ended := in.left()
	r.Gone = len(gone) + len(ended)
	return r
}

// Finish makes a reading count, all of it at once, or holds it when it is off what its
// source has shown before.
func (in *Intake) Finish(ctx context.Context) (Result, error) {
	if err := in.flush(ctx); err != nil {
		return in.res, errors.Join(err, in.Drop(ctx))
	}
	gone, ended := in.left()
	in.res.Gone = len(gone) + len(ended)
	err := in.l.write(ctx, func(w *work) error {
		x, err := w.reading(ctx, in.id)
		if err != nil {
			return err
		}
		var base int64
		if err := w.tx.QueryRow(ctx, `SELECT coalesce(max(reading), 0) FROM cnc_source WHERE name = $1`, in.r.Source).Scan(&base); err != nil {
			return err
		}
		if x.State != "open" || base != in.base {
			return fmt.Errorf("%w: another reading of %s came in the meantime: read it again", ErrReading, in.r.Source)
		}
		before := len(in.keys)
		x.Read, x.Added, x.Removed, x.Changed, x.Protected, x.Before = in.res.Read, in.res.New, in.res.Gone, in.res.Changed, in.res.Shielded, before
		x.Size = before + x.Added - x.Removed
		x.At, x.checked = in.r.At, true
		if x.Why, err = w.judge(ctx, &x); err != nil {
			return err
		}
		in.res.Why = x.Why
		n := int64(0)
		for _, keys := range []struct {
			how  int64
			list []int64
		}{{asGone, gone}, {asEnded, ended}} {
			for part := range slices.Chunk(keys.list, 100_000) {
				if err := in.stage(ctx, w.tx, blockOf(parts, n), appendKeys(nil, part), keys.how); err != nil {
					return err
				}
				n++
			}
		}
		if _, err := w.tx.Exec(ctx, `UPDATE cnc_reading SET state = 'superseded' WHERE source = $1 AND state = 'held'`, in.r.Source); err != nil {
			return err
		}
		if _, err := w.tx.Exec(ctx, `DELETE FROM cnc_staged WHERE reading IN (SELECT id FROM cnc_reading WHERE source = $1 AND state = 'superseded')`, in.r.Source); err != nil {
			return err
		}
		if x.Why.EN != "" {
			in.res.Held = x.ID
			if _, err := w.decide(ctx, x.deed(in.r.Who, "held", x.Why)); err != nil {
				return err
			}
			return w.close(ctx, &x, "held")
		}
		return w.apply(ctx, &x, in.r.Who, detect.Textf("%s の読み込み", "read from %s", in.r.Source))
	})
	if err != nil {
		return in.res, errors.Join(err, in.Drop(context.WithoutCancel(ctx)))
	}
	return in.res, nil
}
