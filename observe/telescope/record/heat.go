package record

import (
	"context"
	"slices"
	"time"

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
		packets, sources, err = r.grid(ctx, v, keys, starts, from, to)
		return err
	})
	return hours, keys, packets, sources, wrap(err, "heat strip")
}

// grid fills the lines of Heat.
func (r *Record) grid(ctx context.Context, v picture, keys []uint32, starts []int64, from, to int64) (packets, sources [][]uint64, err error) {
	heads, err := r.headsOf(ctx, v, []span{{level(observe.Hour), from, to}}, observe.ByPort, true)
	if err != nil {
		return nil, nil, err
	}
	p := pick{observe.ByPort, keys}
	// The busiest ports are nearly always in the heads.
	if err := r.lookUp(ctx, v, heads, p, true); err != nil {
		return nil, nil, err
	}
	if err := r.complete(ctx, v, heads, p); err != nil {
		return nil, nil, err
	}
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	for _, k := range keys {
		var p, s []uint64
		for _, h := range heads[0] {
			if _, looked := slices.BinarySearch(starts, h.start); looked {
				of := h.sum(k)
				p, s = append(p, of.packets), append(s, of.sources.N)
			}
		}
		packets, sources = append(packets, p), append(sources, s)
	}
	return packets, sources, nil
}
