package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sakimori/base/store"
	"sakimori/observe"
)

// candidate is a key that may be among the first of a ranking, with the least
// and the most that it can have, and what the heads say of it.
type candidate struct {
	sum
	low, high uint64
}

func byHigh(x, y candidate) int {
	return cmp.Or(cmp.Compare(y.high, x.high), cmp.Compare(x.key, y.key))
}

// candidates are the keys in the heads of the buckets of spans, those that can
// have most first, and the most that a key in none of the heads can have. What a
// key has in heads is the least that it can have in all; in a bucket whose head
// it isn't in it has at most what the last of that head has. column is packets
// or sources, for which the heads are made.
func (r *Record) candidates(ctx context.Context, a store.Asker, spans []span, dim observe.Dim, column string) (list []candidate, unseen uint64, err error) {
	parts := make([]string, len(spans))
	for i, s := range spans { // a day and its first hour begin alike: i tells them apart
		parts[i] = fmt.Sprintf("SELECT %d AS i, %d AS size, %s, %s::BIGINT AS n FROM %s WHERE dim = %d AND start >= %d AND start < %d",
			i, r.headOf(s.level), rowColumns, column, s.level.heads(), dim, s.from, s.to)
	}
	heads := strings.Join(parts, " UNION ALL ")
	q := `SELECT key, sum(n)::UBIGINT, 0::UBIGINT, 0::UBIGINT, ` + sumColumns + ` FROM (` + heads + `) GROUP BY key`
	if manyKeys(dim) {
		q = `WITH head AS (` + heads + `),
			last AS (SELECT i, start, part, CASE WHEN count(*) >= size THEN list_min(max(n, size)) ELSE 0 END AS cut FROM head GROUP BY i, size, start, part)
			SELECT key, sum(n)::UBIGINT, sum(cut)::UBIGINT, (SELECT sum(cut) FROM last)::UBIGINT, ` + sumColumns + `
			FROM head JOIN last USING (i, start, part) GROUP BY key`
	}
	rows, err := a.Query(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var c candidate
		var cuts uint64 // of the heads that it is in
		if err := c.scan(rows, &c.key, &c.low, &cuts, &unseen); err != nil {
			return nil, 0, err
		}
		c.high = c.low + unseen - cuts
		list = append(list, c)
	}
	slices.SortFunc(list, byHigh)
	return list, unseen, rows.Err()
}

// first are those of a list in the order of high that may be among the first
// need, and the least that these have.
func first(list []candidate, need int) ([]candidate, uint64) {
	if len(list) < need {
		return list, 0
	}
	lows := make([]uint64, len(list))
	for i, c := range list {
		lows[i] = c.low
	}
	slices.Sort(lows)
	least := lows[len(lows)-need]
	n := len(list)
	for n > need && list[n-1].high < least {
		n--
	}
	return list[:n], least
}

// decided tells whether no key outside of a list can be among its first.
func decided(unseen, least uint64) bool { return unseen == 0 || unseen < least }

// candidatesAtMost bounds how many keys busiest looks at more closely before it
// gives up and counts all.
const candidatesAtMost = 500

// busiest are the sums of the keys of a dimension with most packets, ties by key.
// Where the heads decide the ranking the rest isn't read; where they don't,
// everything is counted. Both give the same keys.
func (r *Record) busiest(ctx context.Context, v picture, spans []span, dim observe.Dim, limit, offset int) ([]sum, error) {
	if len(spans) == 0 {
		return nil, nil
	}
	need := offset + limit
	list, unseen, err := r.candidates(ctx, v, spans, dim, "packets")
	if err != nil {
		return nil, err
	}
	list, least := first(list, need)
	if manyKeys(dim) && (!decided(unseen, least) || len(list) > max(need, candidatesAtMost)) {
		if list, err = r.ranked(ctx, v, spans, dim, "packets", need); err != nil {
			return nil, err
		}
	}
	if exact := !slices.ContainsFunc(list, func(c candidate) bool { return c.low < c.high }); exact {
		list = list[min(offset, len(list)):min(need, len(list))]
		offset = 0
	}
	sums, err := r.finish(ctx, v, spans, dim, list)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(sums, func(x, y sum) int {
		return cmp.Or(cmp.Compare(y.packets, x.packets), cmp.Compare(x.key, y.key))
	})
	return sums[min(offset, len(sums)):min(offset+limit, len(sums))], nil
}

// finish are the sums of candidates, in their order.
func (r *Record) finish(ctx context.Context, v picture, spans []span, dim observe.Dim, list []candidate) ([]sum, error) {
	p := pick{dim: dim}
	by := map[uint32]*sum{}
	for i := range list {
		p.keys = append(p.keys, list[i].key)
		by[list[i].key] = &list[i].sum
	}
	return r.whole(ctx, v, spans, p, by)
}

// ranked are the first keys of a dimension in the order of the sum of a column:
// all that a ranking needs of every key. The rest is asked for the few keys that
// are shown. BIGINT, as DuckDB adds it up twice as fast as UBIGINT.
func (r *Record) ranked(ctx context.Context, a store.Asker, spans []span, dim observe.Dim, column string, limit int) (list []candidate, err error) {
	var minutes []span
	if manyKeys(dim) {
		minutes, spans = apart(spans)
	}
	q := `SELECT key, sum(n::BIGINT)::UBIGINT AS s FROM ` + union(spans, table(dim), "key, "+column+" AS n", pick{dim: dim}) + ` GROUP BY key`
	if len(minutes) == 0 {
		q += fmt.Sprintf(` ORDER BY s DESC, key LIMIT %d`, limit)
	}
	rows, err := a.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c candidate
		if err := rows.Scan(&c.key, &c.low); err != nil {
			return nil, err
		}
		c.high = c.low
		list = append(list, c)
	}
	if err := rows.Err(); err != nil || len(minutes) == 0 {
		return list, err
	}
	return r.rankedMinutes(ctx, a, minutes, dim, column, list, limit)
}
