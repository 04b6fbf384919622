package record

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
func (c *calendar) cover(r observe.Range) []span {
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
		return nil
	}
	first, last := up(from, day), down(to, day)
	if first > last { // inside one day
		return c.edge(nil, observe.Day, from, to)
	}
	out := c.edge(nil, observe.Day, from, first)
	out = c.days(out, first, last)
	return c.edge(out, observe.Day, last, to)
}

// edge covers a piece of one coarse bucket (a day, an hour) with finer ones.
func (c *calendar) edge(out []span, coarse observe.Grain, from, to int64) []span {
	if from >= to {
		return out
	}
	width, fine := coarse.Seconds(), coarse-1
	start := down(from, width)
	if len(c.in(fine, start, start+width)) == 0 {
		if len(c.in(coarse, start, start+width)) > 0 && 2*(to-from) >= width {
			out = append(out, span{level(coarse), start, start + width})
		}
		return out
	}
	w := fine.Seconds()
	if fine == observe.Minute {
		return append(out, span{level(fine), down(from, w), up(to, w)})
	}
	first, last := up(from, w), down(to, w)
	if first > last {
		return c.edge(out, fine, from, to)
	}
	out = c.edge(out, fine, from, first)
	if first < last {
		out = append(out, span{level(fine), first, last})
	}
	return c.edge(out, fine, last, to)
}

// days covers whole days, by months where their roll-up stands.
func (c *calendar) days(out []span, from, to int64) []span {
	if from >= to {
		return out
	}
	i, _ := slices.BinarySearch(c.months, from)
	for _, m := range c.months[i:] {
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
	return out
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
	c, err := r.now(ctx)
	if err != nil {
		return first, last, false, wrap(err, "what was covered")
	}
	if from, to := c.covered(in); from < to {
		first, last, looked = later(at(from), in.From), earlier(at(to), in.To), true
	}
	return first, last, looked, nil
}

// covered is the span from the first to the last bucket looked at that overlaps
// a range. A bucket counts only where no finer ones of its time are kept.
// from == to says that nothing was looked at.
func (c *calendar) covered(in observe.Range) (from, to int64) {
	lo, hi := in.From.Unix(), in.To.Unix()
	if in.To.Nanosecond() > 0 {
		hi++
	}
	for g := range observe.Day + 1 {
		w := g.Seconds()
		counts := func(m mark) bool {
			return m.looked && (g == observe.Minute || len(c.in(g-1, m.start, m.start+w)) == 0)
		}
		marks := c.in(g, lo-w+1, hi)
		i := slices.IndexFunc(marks, counts)
		if i < 0 {
			continue
		}
		last := len(marks) - 1
		for !counts(marks[last]) {
			last--
		}
		first, stop := marks[i].start, marks[last].start+w
		if from == to {
			from, to = first, stop
		}
		from, to = min(from, first), max(to, stop)
	}
	return from, to
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
