package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"sakimori/base/store"
	"sakimori/observe"
)

// leafName names the leaf of a minute, in the order of starts.
func leafName(start int64, part uint64) string {
	return fmt.Sprintf("%s/%016x", leavesFrom(start), part)
}

// leavesFrom is where the leaves from start on begin.
func leavesFrom(start int64) string {
	return fmt.Sprintf("telescope/counts/minute/%016x", uint64(start)^1<<63) //nolint:gosec // the bits
}

// apart are the minutes of spans, whose counts are in leaves, and the rest, whose
// counts are in tables.
func apart(spans []span) (minutes, rest []span) {
	for _, s := range spans {
		if s.level == level(observe.Minute) {
			minutes = append(minutes, s)
		} else {
			rest = append(rest, s)
		}
	}
	return minutes, rest
}

// eachLeaf opens the leaves of minutes one after the other, side by side where
// there are processors.
func (r *Record) eachLeaf(ctx context.Context, a store.Asker, minutes []span, do func(start int64, l *leaf, d *desk) error) error {
	if len(minutes) == 0 {
		return nil
	}
	names := make([]store.Names, len(minutes))
	for i, s := range minutes {
		names[i] = store.Names{From: leavesFrom(s.from), To: leavesFrom(s.to)}
	}
	blobs, err := r.store.FindBlobs(ctx, a, names...)
	if err != nil {
		return err
	}
	return atDesks(len(blobs), func(i int, d *desk) error {
		start, err := startOf(blobs[i].Name)
		if err != nil {
			return err
		}
		f, err := blobs[i].Open()
		if err != nil {
			return err
		}
		l := leaf{name: f.Name, file: f.File}
		if err = l.open(d); err == nil {
			err = do(start, &l, d)
		}
		return errors.Join(err, f.Close())
	})
}

// leafRows hands on the picked rows of minutes, some of one leaf at a time, in no
// order of leaves. They are good until take returns.
func (r *Record) leafRows(ctx context.Context, a store.Asker, minutes []span, p pick, take func(start int64, rows []count)) error {
	p.keys = slices.Sorted(slices.Values(p.keys))
	of := p.stretches()
	var mu sync.Mutex
	return r.eachLeaf(ctx, a, minutes, func(start int64, l *leaf, d *desk) error {
		return l.read(of, d, func(rows []count) {
			mu.Lock()
			defer mu.Unlock()
			take(start, rows)
		})
	})
}

// totals are numbers by key, in pages of neighbours.
type totals map[uint32]*[1 << 16]uint64

func (t totals) add(key uint32, n uint64) {
	page := t[key>>16]
	if page == nil {
		page = new([1 << 16]uint64)
		t[key>>16] = page
	}
	page[key&0xffff] += n
}

// rankedMinutes adds minutes to what ranked found in tables, all of it.
func (r *Record) rankedMinutes(ctx context.Context, a store.Asker, minutes []span, dim observe.Dim, o order, list []candidate, limit int) ([]candidate, error) {
	all := totals{}
	for i := range list {
		all.add(list[i].key, list[i].low)
	}
	if err := r.leafRows(ctx, a, minutes, pick{dim: dim}, func(_ int64, rows []count) {
		for i := range rows {
			all.add(rows[i].key, [...]uint64{rows[i].packets, rows[i].sources}[o])
		}
	}); err != nil {
		return nil, err
	}
	best := best[candidate]{n: limit, order: func(x, y candidate) int {
		return cmp.Or(cmp.Compare(y.low, x.low), cmp.Compare(x.key, y.key))
	}}
	for high, page := range all {
		for low, n := range page {
			if n > 0 {
				best.offer(candidate{key: high<<16 | uint32(low), low: n, high: n})
			}
		}
	}
	return best.first(), nil
}

// best keeps the first n of many in some order.
type best[T any] struct {
	n     int
	order func(x, y T) int
	list  []T
	full  bool // the first n of list are in order: what comes after the last of them is too late
}

func (b *best[T]) offer(x T) {
	if b.full && b.order(x, b.list[b.n-1]) >= 0 {
		return
	}
	if b.list = append(b.list, x); len(b.list) == 2*b.n {
		b.first()
		b.full = true
	}
}

func (b *best[T]) first() []T {
	slices.SortFunc(b.list, b.order)
	b.list = b.list[:min(b.n, len(b.list))]
	return b.list
}
