package record_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// The sketches of these tests are exact: sorted lists of numbers.
func exact(things map[uint16]bool) []byte {
	b := []byte{}
	list := make([]uint16, 0, len(things))
	for s := range things {
		list = append(list, s)
	}
	slices.Sort(list)
	for _, s := range list {
		b = binary.BigEndian.AppendUint16(b, s)
	}
	return b
}

// each unites more than two by a function for two.
func each(two func(a, b []byte) ([]byte, observe.Unique, error), sets [][]byte) (acc []byte, u observe.Unique, err error) {
	for i, set := range sets {
		if i == 0 {
			acc = set
			continue
		}
		if acc, u, err = two(acc, set); err != nil {
			return nil, u, err
		}
	}
	return acc, u, nil
}

func mergeExact(sets [][]byte, _ bool) ([]byte, observe.Unique, error) {
	return each(mergeExact2, sets)
}

func mergeExact2(a, b []byte) ([]byte, observe.Unique, error) {
	if len(a)%2+len(b)%2 != 0 {
		return nil, observe.Unique{}, fmt.Errorf("odd sketch")
	}
	all := map[uint16]bool{}
	for _, s := range [][]byte{a, b} {
		for ; len(s) > 0; s = s[2:] {
			all[binary.BigEndian.Uint16(s)] = true
		}
	}
	return exact(all), observe.Unique{N: uint64(len(all))}, nil
}

// ping is one packet of the oracle's world.
type ping struct {
	part   uint64
	minute int64
	key    uint32 // in ByPort; every packet is in ByTotal as well
	source uint16
	target uint16
}

// buckets rolls pings of one part up, as the engine does. Without sketches
// the numbers stand alone.
func buckets(pings []ping, looked map[int64]bool, g observe.Grain, sketches bool) []record.Bucket {
	type of struct {
		dim observe.Dim
		key uint32
	}
	type cell struct {
		packets          uint64
		sources, targets map[uint16]bool
	}
	all := map[int64]map[of]*cell{}
	share := map[int64]float64{}
	for m := range looked {
		s := m - m%g.Seconds()
		if all[s] == nil {
			all[s] = map[of]*cell{}
		}
		share[s] += 60 / float64(g.Seconds())
	}
	for _, p := range pings {
		b := all[p.minute-p.minute%g.Seconds()]
		for _, k := range []of{{observe.ByTotal, 0}, {observe.ByPort, p.key}} {
			c := b[k]
			if c == nil {
				c = &cell{sources: map[uint16]bool{}, targets: map[uint16]bool{}}
				b[k] = c
			}
			c.packets++
			c.sources[p.source], c.targets[p.target] = true, true
		}
	}
	var out []record.Bucket
	for s, cells := range all {
		b := record.Bucket{Grain: g, Start: s, DarkV4: 256, Looked: share[s]}
		for k, c := range cells {
			r := record.Row{Dim: k.dim, Key: k.key, Packets: c.packets, Sources: uint64(len(c.sources)), Targets: uint64(len(c.targets))}
			if sketches {
				r.SourceSet, r.TargetSet = exact(c.sources), exact(c.targets)
			}
			b.Rows = append(b.Rows, r)
		}
		slices.SortFunc(b.Rows, func(x, y record.Row) int {
			return cmp.Or(cmp.Compare(x.Dim, y.Dim), cmp.Compare(x.Key, y.Key))
		})
		out = append(out, b)
	}
	slices.SortFunc(out, func(x, y record.Bucket) int { return cmp.Compare(x.Start, y.Start) })
	return out
}

func open(t testing.TB, dir string) (*store.Store, *record.Record) {
	t.Helper()
	s, err := store.Open(context.Background(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := record.New(context.Background(), s, mergeExact)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func write(t rapid.TB, s *store.Store, r *record.Record, b record.Batch) {
	t.Helper()
	if err := s.Tx(context.Background(), func(tx *store.Tx) error { return r.Write(tx, b) }); err != nil {
		t.Fatal(err)
	}
}

var epoch = time.Date(2026, 1, 29, 0, 0, 0, 0, time.UTC).Unix() // so that a month ends inside

const (
	world = 6 * 86400 // seconds of it
	keys  = 5
)

func at(t int64) time.Time { return time.Unix(t, 0).UTC() }

// TestAgainstOracle writes random batches of several parts, with buckets that
// are replaced, days that are sorted and months that are rolled up in between,
// and compares every answer with a plain count of the packets.
func TestAgainstOracle(t *testing.T) {
	for name, value := range map[string]string{"rapid.checks": "30", "rapid.shrinktime": "10s"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		s, err := store.Open(context.Background(), outer.TempDir(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := record.New(context.Background(), s, mergeExact)
		if err != nil {
			t.Fatal(err)
		}
		r.SetHead(rapid.SampledFrom([]int{1, 3, 300}).Draw(t, "head"))
		if rapid.Bool().Draw(t, "little memory") {
			r.SetKept(50, 500)
		}
		sketches := rapid.Bool().Draw(t, "sketches")
		// Minutes bunch around a few hours, so that buckets hold several.
		minutes := rapid.Custom(func(t *rapid.T) int64 {
			return epoch + rapid.Int64Range(0, world/86400-1).Draw(t, "day")*86400 + rapid.SampledFrom([]int64{0, 3, 23}).Draw(t, "hour")*3600 +
				rapid.SampledFrom([]int64{0, 1, 30, 59}).Draw(t, "minute")*60
		})
		looked := map[int64]bool{}
		var pings []ping
		for part := range rapid.Uint64Range(1, 3).Draw(t, "parts") {
			mine := map[int64]bool{}
			for _, m := range rapid.SliceOfN(minutes, 1, 12).Draw(t, "looked") {
				mine[m], looked[m] = true, true
			}
			all := make([]int64, 0, len(mine))
			for m := range mine {
				all = append(all, m)
			}
			slices.Sort(all)
			some := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ping {
				return ping{
					part, rapid.SampledFrom(all).Draw(t, "at"), rapid.Uint32Range(0, keys-1).Draw(t, "key"),
					rapid.Uint16Range(0, 9).Draw(t, "source"), rapid.Uint16Range(0, 9).Draw(t, "target"),
				}
			}), 0, 60).Draw(t, "pings")
			pings = append(pings, some...)
			// First a part of it, in buckets that are then replaced.
			for _, n := range []int{rapid.IntRange(0, len(some)).Draw(t, "at first"), len(some)} {
				for _, g := range []observe.Grain{observe.Minute, observe.Hour, observe.Day} {
					write(t, s, r, record.Batch{Part: part, Buckets: buckets(some[:n], mine, g, sketches)})
				}
				if rapid.Bool().Draw(t, "cluster") {
					if err := r.Cluster(context.Background(), at(epoch+2*86400)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if rapid.Bool().Draw(t, "roll up") { // the next part takes it back
				if err := r.Rollup(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // what is kept of it in memory may not show afterwards
				compare(t, r, pings, looked, sketches)
			}
		}
		for range 6 {
			compare(t, r, pings, looked, sketches)
		}
	})
}

func compare(t *rapid.T, r *record.Record, pings []ping, looked map[int64]bool, sketches bool) {
	ctx := context.Background()
	from := epoch + rapid.Int64Range(-10, world).Draw(t, "from")/60*60
	to := from + rapid.Int64Range(1, world).Draw(t, "length")/60*60 + 60
	if to-from >= 7*86400 || rapid.Bool().Draw(t, "wide") { // then the ends are rounded
		from, to = from-from%3600-40*86400, to-to%3600
		if to-from >= 62*86400 {
			from = to - 61*86400
		}
	}
	in := observe.Range{From: at(from), To: at(to)}
	key := rapid.Uint32Range(0, keys).Draw(t, "key")

	// Series, by each grain.
	for _, g := range []observe.Grain{observe.Minute, observe.Hour, observe.Day} {
		w := g.Seconds()
		want := map[int64]*tally{}
		for m := range looked {
			if b := m - m%w; b+w > from && b < to && want[b] == nil {
				want[b] = newTally()
			}
		}
		for _, p := range pings {
			if b := want[p.minute-p.minute%w]; b != nil && p.key == key {
				b.add(p)
			}
		}
		got, err := r.Series(ctx, observe.ByPort, key, in, g)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("series by %s of %v: %d points, want %d", g, in, len(got), len(want))
		}
		for i, p := range got {
			if i > 0 && !got[i-1].Time.Before(p.Time) {
				t.Fatalf("series isn't in order: %v", got)
			}
			b := want[p.Time.Unix()]
			if b == nil {
				t.Fatalf("series by %s has %v, where nobody looked", g, p)
			}
			b.same(t, "series by "+g.String(), p.Packets, p.Sources, p.Targets, sketches)
		}
	}

	// Total and Top.
	total := newTally()
	by := map[uint32]*tally{}
	before := map[uint32]uint64{}
	for _, p := range pings {
		if p.minute >= from && p.minute < to {
			total.add(p)
			if by[p.key] == nil {
				by[p.key] = newTally()
			}
			by[p.key].add(p)
		}
		if p.minute >= 2*from-to && p.minute < from {
			before[p.key]++
		}
	}
	sawBefore := false
	for m := range looked {
		sawBefore = sawBefore || (m+60 > 2*from-to && m < from)
	}
	p, err := r.Total(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	total.same(t, "total", p.Packets, p.Sources, p.Targets, sketches)
	for _, order := range []string{"packets", "sources"} {
		offset := rapid.IntRange(0, 3).Draw(t, "offset")
		got, err := r.Top(ctx, observe.ByPort, in, order, 3, offset)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(3, max(0, len(by)-offset)); len(got) != want {
			t.Fatalf("top by %s of %v: %d rows, want %d", order, in, len(got), want)
		}
		var wantKeys, gotKeys []uint32
		for _, row := range got {
			gotKeys = append(gotKeys, row.Key)
			by[row.Key].same(t, "top by "+order, row.Packets, row.Sources, row.Targets, sketches)
			if (row.Before != nil) != sawBefore || row.Before != nil && *row.Before != before[row.Key] {
				t.Fatalf("top: before of %d is %v, want %d (looked %v)", row.Key, row.Before, before[row.Key], sawBefore)
			}
		}
		for k := range by {
			wantKeys = append(wantKeys, k)
		}
		slices.SortFunc(wantKeys, func(x, y uint32) int {
			a, b := by[x], by[y]
			if order == "packets" {
				return cmp.Or(cmp.Compare(b.packets, a.packets), cmp.Compare(x, y))
			}
			return cmp.Or(cmp.Compare(len(b.sources), len(a.sources)), cmp.Compare(b.packets, a.packets), cmp.Compare(x, y))
		})
		wantKeys = wantKeys[min(offset, len(wantKeys)):min(offset+3, len(wantKeys))]
		if order == "packets" || sketches { // else the order is one of upper bounds
			if !slices.Equal(wantKeys, gotKeys) {
				t.Fatalf("top by %s of %v: %v, want %v", order, in, gotKeys, wantKeys)
			}
		}
	}

	// Heat: as Series says, for the keys that Top says.
	hours, ports, packets, _, err := r.Heat(ctx, in, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range ports {
		for j, h := range hours {
			var want uint64
			for _, p := range pings {
				if p.key == k && p.minute-p.minute%3600 == h.Unix() {
					want++
				}
			}
			if packets[i][j] != want {
				t.Fatalf("heat of %d at %v: %d, want %d", k, h, packets[i][j], want)
			}
		}
	}
}

type tally struct {
	packets          uint64
	sources, targets map[uint16]bool
}

func newTally() *tally { return &tally{0, map[uint16]bool{}, map[uint16]bool{}} }

func (c *tally) add(p ping) {
	c.packets++
	c.sources[p.source], c.targets[p.target] = true, true
}

// same compares with the truth: exact with sketches, an upper bound that is
// marked as one without.
func (c *tally) same(t *rapid.T, what string, packets uint64, sources, targets observe.Unique, sketches bool) {
	t.Helper()
	if packets != c.packets {
		t.Fatalf("%s: %d packets, want %d", what, packets, c.packets)
	}
	for i, u := range []observe.Unique{sources, targets} {
		truth := uint64(len([]map[uint16]bool{c.sources, c.targets}[i]))
		switch {
		case u.N == truth && (sketches && !u.AtMost || !sketches):
		case !sketches && u.AtMost && u.N > truth && u.N <= packets:
		default:
			t.Fatalf("%s: distinct %d is %+v, want %d (sketches %v)", what, i, u, truth, sketches)
		}
	}
}
