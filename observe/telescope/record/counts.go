package record

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// sum is what several buckets say of one key.
type sum struct {
	key              uint32
	packets          uint64
	sources, targets tally
}

// tally adds up distinct counts until their sketches are merged.
type tally struct {
	observe.Unique
	n    uint64   // buckets that were added
	most bool     // one of them is an upper bound itself
	sets [][]byte // their sketches
	have uint64   // how much of Unique.N has a sketch
}

// sumColumns go with sum.scan. HUGEINT is what DuckDB's sum of UBIGINT gives, and
// more than anybody counts to.
const sumColumns = `sum(packets)::UBIGINT, sum(sources)::UBIGINT, sum(targets)::UBIGINT, max(sources_err), max(targets_err),
	count(*)::UBIGINT, bool_or(at_most)`

const rowColumns = `start, key, packets, sources, targets, sources_err, targets_err, at_most, part`

// scan reads sumColumns, after other columns.
func (s *sum) scan(rows *sql.Rows, others ...any) error {
	var se, te float32
	err := rows.Scan(append(others, &s.packets, &s.sources.N, &s.targets.N, &se, &te, &s.sources.n, &s.sources.most)...)
	s.sources.Err, s.targets.Err = float64(se), float64(te)
	s.targets.n, s.targets.most = s.sources.n, s.sources.most
	return err
}

// unique merges what has a sketch and adds what hasn't.
func (r *Record) unique(t tally) (observe.Unique, error) {
	u := t.Unique
	u.AtMost = t.most
	if t.n <= 1 || u.N == 0 {
		return u, nil
	}
	if len(t.sets) == 0 {
		u.AtMost = true
		return u, nil
	}
	rest := u.N - min(t.have, u.N)
	merged := observe.Unique{N: t.have, Err: u.Err}
	if len(t.sets) > 1 {
		var err error
		if _, merged, err = r.merge(t.sets, false); err != nil {
			return u, fmt.Errorf("merge sketches: %w", err)
		}
	}
	return observe.Unique{N: t.within(merged.N, u.N), Err: max(merged.Err, ifElse(rest > 0, u.Err, 0)), AtMost: t.most || rest > 0 || merged.AtMost}, nil
}

func ifElse(c bool, a, b float64) float64 {
	if c {
		return a
	}
	return b
}

// Series is one key's buckets that overlap a range, in order of time.
func (r *Record) Series(ctx context.Context, dim observe.Dim, key uint32, in observe.Range, g observe.Grain) (out []observe.Point, err error) {
	w := g.Seconds()
	from, to := down(in.From.Unix(), w), up(in.To.Unix(), w)
	if !in.From.Before(in.To) {
		return nil, nil
	}
	err = r.view(ctx, func(v picture) error {
		out, err = r.series(ctx, v, dim, key, g, []span{{level(g), from, to}})
		return err
	})
	return out, wrap(err, "series")
}

// series is one key's points in spans of one grain.
func (r *Record) series(ctx context.Context, v picture, dim observe.Dim, key uint32, g observe.Grain, spans []span) ([]observe.Point, error) {
	sums, err := r.byStart(ctx, v, spans, dim, key)
	if err != nil {
		return nil, err
	}
	several := false
	for _, s := range sums {
		several = several || s.sources.n > 1
	}
	var h sheets
	if several {
		h, err = r.openSheets(ctx, v, spans)
		defer h.close()
		if err != nil {
			return nil, err
		}
	}
	var starts []int64
	for _, s := range spans {
		starts = append(starts, v.looked(g, s.from, s.to)...)
	}
	out := make([]observe.Point, len(starts))
	return out, atDesks(len(starts), func(i int, d *desk) (err error) {
		t := starts[i]
		out[i], err = r.point(at(t), dim, sums[t], h.at(t), d)
		return err
	})
}

// byStart is one key's sums in spans, of those with the same start together.
func (r *Record) byStart(ctx context.Context, a store.Asker, spans []span, dim observe.Dim, key uint32) (map[int64]*sum, error) {
	p, sums := pick{dim, []uint32{key}}, map[int64]*sum{}
	if minutes, _ := apart(spans); len(minutes) > 0 && manyKeys(dim) { // then all are: a series has one grain
		return sums, r.leafRows(ctx, a, minutes, p, func(start int64, rows []count) {
			for i := range rows {
				if sums[start] == nil {
					sums[start] = &sum{key: key}
				}
				sums[start].add(&rows[i])
			}
		})
	}
	rows, err := a.Query(ctx, `SELECT start, `+sumColumns+` FROM `+union(spans, table(dim), rowColumns, p)+` GROUP BY start`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var start int64
		s := &sum{key: key}
		if err := s.scan(rows, &start); err != nil {
			return nil, err
		}
		sums[start] = s
	}
	return sums, rows.Err()
}

// point is what a sum comes to, with the sketches of the buckets that it was
// added up from.
func (r *Record) point(t time.Time, dim observe.Dim, s *sum, h sheets, d *desk) (observe.Point, error) {
	p := observe.Point{Time: t}
	if s == nil {
		return p, nil
	}
	err := h.load(dim, s.key, sources, &s.sources, d)
	if err == nil {
		err = h.load(dim, s.key, targets, &s.targets, d)
	}
	if err != nil {
		return p, err
	}
	p.Packets = s.packets
	if p.Sources, err = r.unique(s.sources); err != nil {
		return p, err
	}
	p.Targets, err = r.unique(s.targets)
	return p, err
}

// Total is everything in a range as one point, at the start of the range. Those
// who ask for the same range at the same time, as the parts of a page do, share
// the answer.
func (r *Record) Total(ctx context.Context, in observe.Range) (observe.Point, error) {
	shared, err, _ := r.totals.Do(fmt.Sprint(in.From.UnixNano(), in.To.UnixNano()), func() (any, error) {
		return r.total(context.WithoutCancel(ctx), in) // others may wait longer
	})
	out, _ := shared.(observe.Point)
	return out, wrap(err, "total")
}

func (r *Record) total(ctx context.Context, in observe.Range) (out observe.Point, err error) {
	err = r.view(ctx, func(v picture) error {
		spans := v.cover(in)
		sums, err := r.sums(ctx, v, spans, pick{observe.ByTotal, []uint32{0}})
		if err != nil {
			return err
		}
		points, err := r.points(ctx, v, spans, observe.ByTotal, sums)
		if len(points) > 0 {
			out = points[0]
		}
		out.Time = in.From.UTC()
		return err
	})
	return out, err
}

// points are what sums over spans come to, in their order.
func (r *Record) points(ctx context.Context, a store.Asker, spans []span, dim observe.Dim, sums []sum) ([]observe.Point, error) {
	var h sheets
	if slices.ContainsFunc(sums, func(s sum) bool { return s.sources.n > 1 }) {
		var err error
		h, err = r.openSheets(ctx, a, spans)
		defer h.close()
		if err != nil {
			return nil, err
		}
	}
	out := make([]observe.Point, len(sums))
	return out, atDesks(len(sums), func(i int, d *desk) (err error) {
		out[i], err = r.point(time.Time{}, dim, &sums[i], h, d)
		return err
	})
}

// sums are the picked keys added up over spans, in the order of the keys picked.
func (r *Record) sums(ctx context.Context, v picture, spans []span, p pick) ([]sum, error) {
	if len(p.keys) == 0 || len(spans) == 0 {
		return nil, nil
	}
	by := map[uint32]*sum{}
	if err := addUp(ctx, v, spans, level.heads, p, by); err != nil {
		return nil, err
	}
	return r.whole(ctx, v, spans, p, by)
}

// whole are the sums of the picked keys, of which by has what heads say. A key
// that stands in the head of every bucket is done with that; only for the others
// the large tables are read.
func (r *Record) whole(ctx context.Context, v picture, spans []span, p pick, by map[uint32]*sum) ([]sum, error) {
	if manyKeys(p.dim) {
		n := v.count(spans)
		rest := slices.DeleteFunc(slices.Clone(p.keys), func(k uint32) bool { return by[k] != nil && by[k].sources.n == n })
		if len(rest) > 0 {
			if err := r.addAll(ctx, v, spans, pick{p.dim, rest}, by); err != nil {
				return nil, err
			}
		}
	}
	out := make([]sum, 0, len(p.keys))
	for _, k := range p.keys {
		if s := by[k]; s != nil {
			out = append(out, *s)
		}
	}
	return out, nil
}

// addAll puts into by what all buckets of spans have of the picked keys, in place of
// what it had of them.
func (r *Record) addAll(ctx context.Context, a store.Asker, spans []span, p pick, by map[uint32]*sum) error {
	for _, k := range p.keys {
		delete(by, k)
	}
	minutes, rest := apart(spans)
	if len(rest) > 0 {
		if err := addUp(ctx, a, rest, level.counts, p, by); err != nil {
			return err
		}
	}
	return r.leafRows(ctx, a, minutes, p, func(_ int64, rows []count) {
		for i := range rows {
			s := by[rows[i].key]
			if s == nil {
				s = &sum{key: rows[i].key}
				by[s.key] = s
			}
			s.add(&rows[i])
		}
	})
}

func addUp(ctx context.Context, a store.Asker, spans []span, table func(level) string, p pick, by map[uint32]*sum) error {
	rows, err := a.Query(ctx, `SELECT key, `+sumColumns+` FROM `+union(spans, table, rowColumns, p)+` GROUP BY key`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		s := &sum{}
		if err := s.scan(rows, &s.key); err != nil {
			return err
		}
		by[s.key] = s
	}
	return rows.Err()
}
