package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sakimori/base/store"
	"sakimori/observe"
)

// candidate is a key that may be among the first of a ranking, with the least
// and the most that it can have.
type candidate struct {
	key       uint32
	low, high uint64

	have  uint64 // of its sources' sketches, once they are merged
	union *observe.Unique
}

func byHigh(x, y candidate) int {
	return cmp.Or(cmp.Compare(y.high, x.high), cmp.Compare(x.key, y.key))
}

// candidates are the keys in heads, those that can have most first, and the most
// that a key in none of the heads can have. What a key has in heads is the least
// that it can have in all; in a bucket whose head it isn't in it has at most what
// the last of that head has.
func candidates(heads [][]*head, o order) (list []candidate, unseen uint64) {
	at := map[uint32]int{}
	for _, of := range heads {
		for _, h := range of {
			for _, c := range h.cuts {
				unseen += c[o]
			}
			for i := range h.rows {
				w := &h.rows[i]
				j, ok := at[w.key]
				if !ok {
					j = len(list)
					at[w.key] = j
					list = append(list, candidate{key: w.key})
				}
				list[j].low += o.of(w)
				list[j].high += o.of(w) - h.cuts[w.part][o] // may pass below zero until unseen comes
			}
		}
	}
	for i := range list {
		list[i].high += unseen
	}
	slices.SortFunc(list, byHigh)
	return list, unseen
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
	heads, err := r.headsOf(ctx, v, spans, dim, false)
	if err != nil {
		return nil, err
	}
	list, unseen := candidates(heads, byPackets)
	list, least := first(list, need)
	if manyKeys(dim) && (!decided(unseen, least) || len(list) > max(need, candidatesAtMost)) {
		if list, err = r.ranked(ctx, v, spans, dim, byPackets, need); err != nil {
			return nil, err
		}
	}
	if exact := !slices.ContainsFunc(list, func(c candidate) bool { return c.low < c.high }); exact {
		list = list[min(offset, len(list)):min(need, len(list))]
		offset = 0
	}
	sums, err := r.whole(ctx, v, heads, pick{dim, keysOf(list)})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(sums, func(x, y sum) int {
		return cmp.Or(cmp.Compare(y.packets, x.packets), cmp.Compare(x.key, y.key))
	})
	return sums[min(offset, len(sums)):min(offset+limit, len(sums))], nil
}

func keysOf(list []candidate) (keys []uint32) {
	for _, c := range list {
		keys = append(keys, c.key)
	}
	return keys
}

// ranked are the first keys of a dimension in the order of the sum of packets or sources:
// all that a ranking needs of every key. The rest is asked for the few keys that
// are shown. BIGINT, as DuckDB adds it up twice as fast as UBIGINT.
func (r *Record) ranked(ctx context.Context, a store.Asker, spans []span, dim observe.Dim, o order, limit int) (list []candidate, err error) {
	var minutes []span
	if manyKeys(dim) {
		minutes, spans = apart(spans)
	}
	q := `SELECT key, sum(n::BIGINT)::UBIGINT AS s FROM ` + union(spans, table(dim), "key, "+o.String()+" AS n", pick{dim: dim}) + ` GROUP BY key`
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
	return r.rankedMinutes(ctx, a, minutes, dim, o, list, limit)
}
