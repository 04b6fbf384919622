package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"sakimori/observe"
)

// mergedAtMost bounds how many keys a ranking by sources merges where heads don't
// decide it: beyond, keys stand in the order of their upper bounds.
const mergedAtMost = 1000

// Top ranks the keys of a dimension in a range by "packets" or "sources".
func (r *Record) Top(ctx context.Context, dim observe.Dim, in observe.Range, order string, limit, offset int) (out []observe.Row, err error) {
	if limit <= 0 || offset < 0 {
		return nil, fmt.Errorf("telescope record: a ranking needs a limit of at least 1 and an offset of at least 0, not %d and %d", limit, offset)
	}
	err = r.view(ctx, func(v picture) error {
		spans := v.cover(in)
		if len(spans) == 0 {
			return nil
		}
		var err error
		switch order {
		case "packets":
			out, err = r.topPackets(ctx, v, dim, spans, limit, offset)
		case "sources":
			out, err = r.topSources(ctx, v, dim, spans, limit, offset)
		default:
			err = fmt.Errorf("%q is no order: use packets or sources", order)
		}
		if err != nil {
			return err
		}
		return r.before(ctx, v, dim, in, out)
	})
	return out, wrap(err, "ranking")
}

func (r *Record) topPackets(ctx context.Context, v picture, dim observe.Dim, spans []span, limit, offset int) ([]observe.Row, error) {
	sums, err := r.busiest(ctx, v, spans, dim, limit, offset)
	if err != nil {
		return nil, err
	}
	points, err := r.points(ctx, v, spans, dim, sums)
	return rows(sums, points), err
}

// rows are the final figures of sums, in their order.
func rows(sums []sum, points []observe.Point) []observe.Row {
	out := make([]observe.Row, len(points))
	for i, p := range points {
		out[i] = observe.Row{Key: sums[i].key, Packets: p.Packets, Sources: p.Sources, Targets: p.Targets}
	}
	return out
}

// topSources can't ask the database for the order, as a key's distinct sources
// are known only after merging. But the sum of its buckets is an upper bound:
// keys are merged in that order until the next bound is below all of the page.
func (r *Record) topSources(ctx context.Context, v picture, dim observe.Dim, spans []span, limit, offset int) ([]observe.Row, error) {
	need := offset + limit
	h, err := r.openSheets(ctx, v, spans)
	defer h.close()
	if err != nil {
		return nil, err
	}
	heads, err := r.headsOf(ctx, v, spans, dim, false)
	if err != nil {
		return nil, err
	}
	list, unseen := candidates(heads, bySources)
	list, least, err := r.widest(h, dim, list, need)
	if err == nil && !decided(unseen, least) {
		if list, err = r.ranked(ctx, v, spans, dim, bySources, max(need, mergedAtMost)); err == nil {
			list, _, err = r.widest(h, dim, list, need)
		}
	}
	if err != nil {
		return nil, err
	}
	sums, err := r.whole(ctx, v, heads, pick{dim, keysOf(list)})
	if err != nil {
		return nil, err
	}
	for i := range sums { // what was merged for the ranking is not merged again
		at := slices.IndexFunc(list, func(c candidate) bool { return c.key == sums[i].key })
		sums[i].sources.have, sums[i].sources.union = list[at].have, list[at].union
	}
	points, err := r.pointsFrom(h, dim, sums)
	out := rows(sums, points)
	slices.SortFunc(out, func(x, y observe.Row) int {
		return cmp.Or(cmp.Compare(y.Sources.N, x.Sources.N), cmp.Compare(y.Packets, x.Packets), cmp.Compare(x.Key, y.Key))
	})
	return out[min(offset, len(out)):min(need, len(out))], err
}

// widest merges sketches of sources in the order of high until no other can be
// among the first need, and gives the keys that still can, with the bounds that
// merging leaves, and the least that the first have.
func (r *Record) widest(h sheets, dim observe.Dim, list []candidate, need int) (merged []candidate, least uint64, err error) {
	for len(list) > 0 && (len(merged) < need || list[0].high >= least) {
		n := min(len(list), max(need, 16)) // few, as each may show that no more are needed
		if err := atDesks(n, func(i int, d *desk) error { return r.narrow(h, dim, &list[i], d) }); err != nil {
			return nil, 0, err
		}
		merged = append(merged, list[:n]...)
		list = list[n:]
		slices.SortFunc(merged, byHigh)
		merged, least = first(merged, need)
	}
	return merged, least, nil
}

// narrow brings the bounds of a key's sources together by merging the sketches
// that there are.
func (r *Record) narrow(h sheets, dim observe.Dim, c *candidate, d *desk) error {
	var t tally
	if err := r.merged(h, dim, c.key, sources, &t, d); err != nil {
		return err
	}
	c.have, c.union = t.have, t.union
	var united uint64
	if t.union != nil {
		united = t.union.N
	}
	c.low, c.high = t.within(united, max(c.low, t.have)), t.within(united, c.high)
	return nil
}

// within is what a key has whose buckets add up to total, of which have
// have sketches that come to united. It grows with total.
func (t *tally) within(united, total uint64) uint64 {
	return min(united+total-min(t.have, total), total) // an estimate may not pass the sum
}

// before fills in the packets of the period of equal length just before.
func (r *Record) before(ctx context.Context, v picture, dim observe.Dim, in observe.Range, rows []observe.Row) error {
	if len(rows) == 0 {
		return nil
	}
	was := observe.Range{From: in.From.Add(-in.To.Sub(in.From)), To: in.From}
	if from, to := v.covered(was); from == to {
		return nil
	}
	at := map[uint32]int{}
	var keys []uint32
	for i := range rows {
		rows[i].Before = new(uint64)
		at[rows[i].Key] = i
		keys = append(keys, rows[i].Key)
	}
	sums, err := r.sums(ctx, v, v.cover(was), pick{dim, keys})
	for _, s := range sums {
		*rows[at[s.key]].Before = s.packets
	}
	return err
}

// Baseline is the same hour of the week as the one that before is in, in each of
// the weeks before it, in order of time.
func (r *Record) Baseline(ctx context.Context, dim observe.Dim, key uint32, before time.Time, weeks int) (out []observe.Point, err error) {
	this := down(before.Unix(), hour)
	var spans []span
	for k := int64(weeks); k >= 1; k-- {
		spans = append(spans, span{level(observe.Hour), this - k*7*day, this - k*7*day + hour})
	}
	err = r.view(ctx, func(v picture) error {
		out, err = r.series(ctx, v, dim, key, observe.Hour, spans)
		return err
	})
	return out, wrap(err, "baseline")
}

// Years are the calendar years (UTC) that the record holds days of.
func (r *Record) Years(ctx context.Context, iotPorts []uint32) (out []observe.Year, err error) {
	err = r.view(ctx, func(v picture) error {
		out, err = r.years(ctx, v, iotPorts)
		return err
	})
	return out, wrap(err, "years")
}

func (r *Record) years(ctx context.Context, v picture, iotPorts []uint32) ([]observe.Year, error) {
	rows, err := v.Query(ctx, `SELECT start, sum(looked * dark_v4::DOUBLE), least(1, sum(looked)) FROM telescope_bucket
		WHERE grain = 2 AND looked > 0 GROUP BY start ORDER BY start`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []observe.Year
	var first, last int64
	for rows.Next() {
		var start int64
		var dark, share float64
		if err := rows.Scan(&start, &dark, &share); err != nil {
			return nil, err
		}
		y := at(start).Year()
		if len(out) == 0 {
			first = start
		}
		if len(out) == 0 || out[len(out)-1].Year != y {
			out = append(out, observe.Year{Year: y})
		}
		last = start + day
		out[len(out)-1].DarkDays += dark
		out[len(out)-1].DaysCovered += share
	}
	if err := rows.Err(); err != nil || len(out) == 0 {
		return nil, err
	}
	iotPorts = slices.Compact(slices.Sorted(slices.Values(iotPorts))) // a port that is named twice counts once
	for i := range out {
		y := &out[i]
		begin, end := time.Date(y.Year, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(y.Year+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		spans := v.days(nil, max(begin, first), min(end, last))
		if y.Packets, err = r.packets(ctx, v, spans, pick{observe.ByTotal, []uint32{0}}); err != nil {
			return nil, err
		}
		if y.IoT, err = r.packets(ctx, v, spans, pick{observe.ByPort, iotPorts}); err != nil {
			return nil, err
		}
	}
	for i := range out {
		if out[i].DarkDays == 0 {
			continue
		}
		out[i].PerAddress = float64(out[i].Packets) / out[i].DarkDays * 365
		if i == 0 || out[i-1].Year != out[i].Year-1 || out[i-1].PerAddress == 0 {
			continue
		}
		factor := out[i].PerAddress / out[i-1].PerAddress
		out[i].Factor = &factor
		if out[i-1].IoT > 0 {
			iot := (float64(out[i].IoT) / out[i].DarkDays) / (float64(out[i-1].IoT) / out[i-1].DarkDays)
			out[i].IoTFactor = &iot
		}
	}
	return out, nil
}

// packets are those of all keys picked together. They are few, and the heads of
// years many: these aren't read for them.
func (r *Record) packets(ctx context.Context, v picture, spans []span, p pick) (n uint64, err error) {
	heads, err := r.headsOf(ctx, v, spans, p.dim, true)
	if err != nil {
		return 0, err
	}
	sums, err := r.whole(ctx, v, heads, p)
	for _, s := range sums {
		n += s.packets
	}
	return n, err
}
