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

	union *observe.Unique // of the sketches, once they are merged; nil without any
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

// merged makes the union of a key's sketches on a side, where it isn't made yet.
func (r *Record) merged(h sheets, dim observe.Dim, key uint32, of side, t *tally, d *desk) error {
	if t.union != nil {
		return nil
	}
	if err := h.load(dim, key, of, t, d); err != nil || len(t.sets) == 0 {
		return err
	}
	u := observe.Unique{N: t.have, Err: t.Err}
	if len(t.sets) > 1 {
		var err error
		if _, u, err = r.merge(t.sets, false); err != nil {
			return fmt.Errorf("merge sketches: %w", err)
		}
	}
	t.union, t.sets = &u, nil // which are gone when the desk is cleared
	return nil
}

// unique is the union of what has a sketch, and the sum of what hasn't.
func (t *tally) unique() observe.Unique {
	u := t.Unique
	u.AtMost = t.most
	if t.n <= 1 || u.N == 0 {
		return u
	}
	if t.union == nil {
		u.AtMost = true
		return u
	}
	rest := u.N - min(t.have, u.N)
	return observe.Unique{
		N: t.within(t.union.N, u.N), Err: max(t.union.Err, ifElse(rest > 0, u.Err, 0)), AtMost: t.most || rest > 0 || t.union.AtMost,
	}
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
	heads, err := r.headsOf(ctx, v, spans, dim, true)
	if err != nil {
		return nil, err
	}
	if err := r.complete(ctx, v, heads, pick{dim, []uint32{key}}); err != nil {
		return nil, err
	}
	sums := map[int64]*sum{}
	several := false
	r.heads.mu.Lock()
	for _, h := range slices.Concat(heads...) {
		if s := h.sum(key); s.sources.n > 0 {
			several = several || s.sources.n > 1
			sums[h.start] = &s
		}
	}
	r.heads.mu.Unlock()
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

// point is what a sum comes to, with the sketches of the buckets that it was
// added up from.
func (r *Record) point(t time.Time, dim observe.Dim, s *sum, h sheets, d *desk) (observe.Point, error) {
	p := observe.Point{Time: t}
	if s == nil {
		return p, nil
	}
	if s.sources.n > 1 {
		if err := r.merged(h, dim, s.key, sources, &s.sources, d); err != nil {
			return p, err
		}
		if err := r.merged(h, dim, s.key, targets, &s.targets, d); err != nil {
			return p, err
		}
	}
	p.Packets, p.Sources, p.Targets = s.packets, s.sources.unique(), s.targets.unique()
	return p, nil
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
	return r.pointsFrom(h, dim, sums)
}

func (r *Record) pointsFrom(h sheets, dim observe.Dim, sums []sum) ([]observe.Point, error) {
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
	heads, err := r.headsOf(ctx, v, spans, p.dim, false)
	if err != nil {
		return nil, err
	}
	return r.whole(ctx, v, heads, p)
}

// whole are the sums of the picked keys, from heads and of the counts what these
// lack.
func (r *Record) whole(ctx context.Context, v picture, heads [][]*head, p pick) ([]sum, error) {
	if err := r.complete(ctx, v, heads, p); err != nil {
		return nil, err
	}
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	var out []sum
	list := slices.Concat(heads...)
	for _, k := range p.keys {
		all := sum{key: k}
		for _, h := range list {
			all.join(h.sum(k))
		}
		if all.sources.n > 0 {
			out = append(out, all)
		}
	}
	return out, nil
}

// join adds what another sum has of the same key.
func (s *sum) join(o sum) {
	s.packets += o.packets
	s.sources.join(o.sources)
	s.targets.join(o.targets)
}

func (t *tally) join(o tally) {
	t.N += o.N
	t.Err = max(t.Err, o.Err)
	t.most = t.most || o.most
	t.n += o.n
}
