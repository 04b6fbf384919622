package record

import (
	"context"
	"slices"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// Heat is packets and sources of the busiest ports by hour: packets[i][j] is of
// keys[i] in hours[j]. Hours that weren't looked at are not among hours. Sources
// that several parts saw are added up.
func (r *Record) Heat(ctx context.Context, in observe.Range, ports int) (hours []time.Time, keys []uint32, packets, sources [][]uint64, err error) {
	err = r.view(ctx, func(v picture) error {
		spans := v.cover(in)
		from, to := down(in.From.Unix(), hour), up(in.To.Unix(), hour)
		starts := v.looked(observe.Hour, from, to)
		if len(spans) == 0 || len(starts) == 0 {
			return nil
		}
		for _, t := range starts {
			hours = append(hours, at(t))
		}
		top, err := r.busiest(ctx, v, spans, observe.ByPort, max(ports, 1), 0)
		if err != nil || len(top) == 0 {
			return err
		}
		for _, s := range top {
			keys = append(keys, s.key)
		}
		packets, sources, err = grid(ctx, v, keys, starts, from, to)
		return err
	})
	return hours, keys, packets, sources, wrap(err, "heat strip")
}

// grid fills the lines of Heat from the heads of the hours, which nearly always
// hold the busiest ports, and where a port isn't in every head from the counts.
func grid(ctx context.Context, v picture, keys []uint32, starts []int64, from, to int64) (packets, sources [][]uint64, err error) {
	line, column := map[uint32]int{}, map[int64]int{}
	for i, k := range keys {
		line[k] = i
		packets, sources = append(packets, make([]uint64, len(starts))), append(sources, make([]uint64, len(starts)))
	}
	for j, t := range starts {
		column[t] = j
	}
	var buckets uint64 // all parts'
	for _, m := range v.in(observe.Hour, from, to) {
		buckets += m.parts
	}
	for _, table := range []func(level) string{level.heads, level.counts} {
		found, err := fill(ctx, v, table, keys, from, to, func(start int64, key uint32, p, s uint64) {
			if j, ok := column[start]; ok {
				packets[line[key]][j], sources[line[key]][j] = p, s
			}
		})
		if err != nil {
			return nil, nil, err
		}
		keys = slices.DeleteFunc(slices.Clone(keys), func(k uint32) bool { return found[k] == buckets })
		if len(keys) == 0 {
			break
		}
	}
	return packets, sources, nil
}

// fill hands on the hours of some ports, and tells how many rows each had.
func fill(ctx context.Context, a store.Asker, table func(level) string, keys []uint32, from, to int64, set func(start int64, key uint32, p, s uint64)) (map[uint32]uint64, error) {
	rows, err := a.Query(ctx, `SELECT start, key, sum(packets)::UBIGINT, sum(sources)::UBIGINT, count(*)::UBIGINT FROM `+
		union([]span{{level(observe.Hour), from, to}}, table, "start, key, packets, sources", pick{observe.ByPort, keys})+` GROUP BY start, key`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[uint32]uint64{}
	for rows.Next() {
		var start int64
		var key uint32
		var p, s, n uint64
		if err := rows.Scan(&start, &key, &p, &s, &n); err != nil {
			return nil, err
		}
		set(start, key, p, s)
		found[key] += n
	}
	return found, rows.Err()
}
