package record

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"sakimori/base/store"
	"sakimori/observe"
)

// A calendar tells which buckets there are: what every question asks first, and
// several times. It is small (24 bytes a bucket), and kept until something is
// written.
type calendar struct {
	buckets [observe.Day + 1][]mark // by grain, in order of start
	months  []int64                 // rolled up, in order
}

// mark is what all parts together have of a time.
type mark struct {
	start  int64
	parts  uint64
	looked bool
}

// calendars keeps the last one.
type calendars struct {
	mu      sync.Mutex
	version uint64
	last    *calendar
}

// picture is one unchanging state of the record, with its calendar.
type picture struct {
	store.Asker
	*calendar

	version uint64 // of the store, where dated
	dated   bool
}

// view asks for several things that agree with each other.
func (r *Record) view(ctx context.Context, f func(v picture) error) error {
	return r.store.View(ctx, func(a store.Asker) error {
		c, err := r.calendar(ctx, a)
		if err != nil {
			return err
		}
		version, ok := r.store.Version(a)
		return f(picture{a, c, version, ok})
	})
}

// now is the calendar of what is committed, without a question where the last
// one still holds.
func (r *Record) now(ctx context.Context) (c *calendar, err error) {
	if version, ok := r.store.Current(); ok {
		r.calendars.mu.Lock()
		if r.calendars.version == version {
			c = r.calendars.last
		}
		r.calendars.mu.Unlock()
	}
	if c == nil {
		err = r.view(ctx, func(v picture) error {
			c = v.calendar
			return nil
		})
	}
	return c, err
}

func (r *Record) calendar(ctx context.Context, a store.Asker) (*calendar, error) {
	months, err := monthsOf(ctx, a) // the first question: from here on a has a version
	if err != nil {
		return nil, err
	}
	version, ok := r.store.Version(a)
	if !ok {
		return readCalendar(ctx, a, months)
	}
	r.calendars.mu.Lock() // the others need the same one
	defer r.calendars.mu.Unlock()
	if r.calendars.last == nil || r.calendars.version != version {
		c, err := readCalendar(ctx, a, months)
		if err != nil {
			return nil, err
		}
		r.calendars.version, r.calendars.last = version, c
	}
	return r.calendars.last, nil
}

func monthsOf(ctx context.Context, a store.Asker) (months []int64, err error) {
	rows, err := a.Query(ctx, `SELECT start FROM telescope_month ORDER BY start`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m int64
		if err := rows.Scan(&m); err != nil {
			return nil, err
		}
		months = append(months, m)
	}
	return months, rows.Err()
}

func readCalendar(ctx context.Context, a store.Asker, months []int64) (*calendar, error) {
	rows, err := a.Query(ctx, `SELECT grain, start, count(*)::UBIGINT, bool_or(looked > 0) FROM telescope_bucket GROUP BY grain, start ORDER BY grain, start`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	c := &calendar{months: months}
	for rows.Next() {
		var g uint8
		var m mark
		if err := rows.Scan(&g, &m.start, &m.parts, &m.looked); err != nil {
			return nil, err
		}
		c.buckets[g] = append(c.buckets[g], m)
	}
	return c, rows.Err()
}

// in are the buckets of a grain that begin in [from, to).
func (c *calendar) in(g observe.Grain, from, to int64) []mark {
	all := c.buckets[g]
	find := func(t int64) int {
		i, _ := slices.BinarySearchFunc(all, t, func(m mark, t int64) int { return cmp.Compare(m.start, t) })
		return i
	}
	return all[find(from):max(find(from), find(to))]
}

// looked are the starts of the buckets of a grain in [from, to) that were looked
// at, in order.
func (c *calendar) looked(g observe.Grain, from, to int64) (starts []int64) {
	for _, m := range c.in(g, from, to) {
		if m.looked {
			starts = append(starts, m.start)
		}
	}
	return starts
}

// marks are the buckets that a span is made of, in order.
func (c *calendar) marks(s span) (marks []mark) {
	if s.level != month {
		return c.in(observe.Grain(s.level), s.from, s.to)
	}
	for _, m := range c.months {
		if m >= s.from && m < s.to {
			marks = append(marks, mark{start: m, parts: 1, looked: true})
		}
	}
	return marks
}
