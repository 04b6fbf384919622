package record

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// span is a run of whole buckets of one level, in Unix seconds.
type span struct {
	level    level
	from, to int64
}

// From these lengths on, the ends of a range are rounded to hours and to days:
// the minutes of one edge hour hold as many rows as a fortnight of days does.
// The most that is off is an hour in a week and a day in two months.
const (
	inHours = 7 * day
	inDays  = 62 * day
)

// cover finds the fewest whole buckets that make up a range. A piece whose finer
// buckets are gone (retention) is rounded to the coarser one that is left.
func cover(ctx context.Context, a store.Asker, r observe.Range) ([]span, error) {
	from, to := r.From.Unix(), r.To.Unix()
	unit := minute
	switch {
	case to-from >= inDays:
		unit = day
	case to-from >= inHours:
		unit = hour
	}
	from, to = nearest(from, unit), nearest(to, unit)
	if from >= to {
		return nil, nil
	}
	var out []span
	first, last := up(from, day), down(to, day)
	if first > last { // inside one day
		return edge(ctx, a, out, observe.Day, from, to)
	}
	out, err := edge(ctx, a, out, observe.Day, from, first)
	if err == nil {
		out, err = days(ctx, a, out, first, last)
	}
	if err == nil {
		out, err = edge(ctx, a, out, observe.Day, last, to)
	}
	return out, err
}

// edge covers a piece of one coarse bucket (a day, an hour) with finer ones.
func edge(ctx context.Context, a store.Asker, out []span, coarse observe.Grain, from, to int64) ([]span, error) {
	if from >= to {
		return out, nil
	}
	width, fine := coarse.Seconds(), coarse-1
	start := down(from, width)
	var finer, whole bool
	err := a.QueryRow(ctx, `SELECT count(*) FILTER (grain = ?) > 0, count(*) FILTER (grain = ?) > 0 FROM telescope_bucket
		WHERE start >= ? AND start < ?`, uint8(fine), uint8(coarse), start, start+width).Scan(&finer, &whole)
	if err != nil {
		return nil, err
	}
	if !finer {
		if whole && 2*(to-from) >= width {
			out = append(out, span{level(coarse), start, start + width})
		}
		return out, nil
	}
	w := fine.Seconds()
	if fine == observe.Minute {
		return append(out, span{level(fine), down(from, w), up(to, w)}), nil
	}
	first, last := up(from, w), down(to, w)
	if first > last {
		return edge(ctx, a, out, fine, from, to)
	}
	if out, err = edge(ctx, a, out, fine, from, first); err != nil {
		return nil, err
	}
	if first < last {
		out = append(out, span{level(fine), first, last})
	}
	return edge(ctx, a, out, fine, last, to)
}

// days covers whole days, by months where their roll-up stands.
func days(ctx context.Context, a store.Asker, out []span, from, to int64) ([]span, error) {
	if from >= to {
		return out, nil
	}
	rows, err := a.Query(ctx, `SELECT start FROM telescope_month WHERE start >= ? AND start < ? ORDER BY start`, from, to)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m int64
		if err := rows.Scan(&m); err != nil {
			return nil, err
		}
		_, next := monthOf(m)
		if next > to {
			break
		}
		if from < m {
			out = append(out, span{level(observe.Day), from, m})
		}
		if n := len(out); n > 0 && out[n-1].level == month && out[n-1].to == m {
			out[n-1].to = next
		} else {
			out = append(out, span{month, m, next})
		}
		from = next
	}
	if from < to {
		out = append(out, span{level(observe.Day), from, to})
	}
	return out, rows.Err()
}

// pick selects rows of a table of counts: a dimension, and some of its keys or all.
type pick struct {
	dim  observe.Dim
	keys []uint32 // nil is all
}

// from is the FROM and WHERE of a pick. A join with the keys makes DuckDB push
// a filter into the scan that costs a third of what key IN (…) does.
func (p pick) from(table string) string {
	switch len(p.keys) {
	case 0:
		return fmt.Sprintf("%s WHERE dim = %d", table, p.dim)
	case 1:
		return fmt.Sprintf("%s WHERE dim = %d AND key = %d", table, p.dim, p.keys[0])
	}
	list := make([]string, len(p.keys))
	for i, k := range p.keys {
		list[i] = "(" + strconv.FormatUint(uint64(k), 10) + "::UINTEGER)"
	}
	return fmt.Sprintf("%s JOIN (VALUES %s) AS wanted(key) USING (key) WHERE dim = %d", table, strings.Join(list, ", "), p.dim)
}

// union is the SQL that reads the columns of all spans as one table.
func union(spans []span, table func(level) string, columns string, p pick) string {
	if len(spans) == 0 { // DuckDB wants at least one SELECT: one without rows
		spans = []span{{level(observe.Day), 0, 0}}
	}
	parts := make([]string, len(spans))
	for i, s := range spans {
		parts[i] = fmt.Sprintf("SELECT %s FROM %s AND start >= %d AND start < %d", columns, p.from(table(s.level)), s.from, s.to)
	}
	return "(" + strings.Join(parts, " UNION ALL ") + ")"
}

// Covered tells when, inside a range, the telescope looked first and last, as
// finely as its buckets tell, and whether it looked at all.
func (r *Record) Covered(ctx context.Context, in observe.Range) (first, last time.Time, looked bool, err error) {
	err = r.store.View(ctx, func(a store.Asker) error {
		from, to, err := covered(ctx, a, in)
		if err == nil && from < to {
			first, last, looked = later(at(from), in.From), earlier(at(to), in.To), true
		}
		return err
	})
	return first, last, looked, wrap(err, "what was covered")
}

// covered is the span from the first to the last bucket looked at that overlaps
// a range. A bucket counts only where no finer ones of its time are kept.
// from == to says that nothing was looked at.
func covered(ctx context.Context, a store.Asker, in observe.Range) (from, to int64, err error) {
	lo, hi := in.From.Unix(), in.To.Unix()
	if in.To.Nanosecond() > 0 {
		hi++
	}
	var parts []string
	for _, g := range []observe.Grain{observe.Minute, observe.Hour, observe.Day} {
		w := g.Seconds()
		part := fmt.Sprintf("SELECT start, start + %d AS stop FROM telescope_bucket WHERE grain = %d AND looked > 0 AND start > %d AND start < %d", w, g, lo-w, hi)
		if g > observe.Minute {
			part += fmt.Sprintf(" AND start NOT IN (SELECT start - start %% %d FROM telescope_bucket WHERE grain = %d AND start > %d AND start < %d)", w, g-1, lo-2*w, hi+w)
		}
		parts = append(parts, part)
	}
	err = a.QueryRow(ctx, `SELECT coalesce(min(start), 0), coalesce(max(stop), 0) FROM (`+strings.Join(parts, " UNION ALL ")+`)`).Scan(&from, &to)
	return from, to, err
}

func down(t, w int64) int64 { return t - ((t%w)+w)%w }

func up(t, w int64) int64 { return down(t+w-1, w) }

func nearest(t, w int64) int64 { return down(t+w/2, w) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b.UTC()
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b.UTC()
}
