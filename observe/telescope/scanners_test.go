package telescope

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// TestScannersInOrder compares the list with rows that are joined one by one and
// sorted by what is written down of them.
func TestScannersInOrder(t *testing.T) {
	source := rapid.OneOf(
		rapid.Map(rapid.Uint32Range(0, 3), packet.V4),
		rapid.Map(rapid.Uint32Range(1<<32-3, 1<<32-1), packet.V4),
		rapid.Custom(func(t *rapid.T) packet.Addr { // about IPv4's place among the addresses, and above
			return packet.Addr{Hi: rapid.SampledFrom([]uint64{0, 1, 2, 0x2001 << 48, 0x2001<<48 + 1, 1<<64 - 1}).Draw(t, "high"), Lo: rapid.Uint64Range(0xfffe_ffff_fffe, 0xfffe_ffff_ffff).Draw(t, "low")}
		}),
	)
	row := rapid.Custom(func(t *rapid.T) scan {
		first := rapid.Int64Range(0, 1000).Draw(t, "first")
		return scan{
			src: source.Draw(t, "source"), port: rapid.Uint16Range(255, 257).Draw(t, "port"), proto: rapid.Uint8Range(6, 7).Draw(t, "protocol"),
			packets: rapid.OneOf(rapid.Uint64Range(1, 3), rapid.Uint64()).Draw(t, "packets"), targets: rapid.Uint64Range(1, 3).Draw(t, "targets"),
			first: first, last: first + rapid.Int64Range(0, 1000).Draw(t, "length"), tool: observe.Tool(rapid.Uint8Range(0, 2).Draw(t, "tool")),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		rankings := make([]ranking, rapid.IntRange(1, 3).Draw(t, "shards"))
		type key struct {
			src   packet.Addr
			port  uint16
			proto uint8
		}
		want := map[key]*scan{}
		rows := rapid.SliceOfN(row, 0, 60).Draw(t, "rows")
		slices.SortStableFunc(rows, func(a, b scan) int { return int(a.first - b.first) })
		for i := range rows {
			rows[i].first += int64(i) // no two begin together
			v := rows[i]
			r := &rankings[(v.src.Hi^v.src.Lo)%uint64(len(rankings))]
			*r.rows.at(r.rows.take()) = v
			if w := want[key{v.src, v.port, v.proto}]; w != nil {
				w.join(&v)
			} else {
				want[key{v.src, v.port, v.proto}] = &v
			}
		}
		for i := range rankings {
			rankings[i].join()
		}
		text := func(v *scan) string {
			return fmt.Sprintf("%020d %016x%016x %05d %03d: %d targets, tool %d, %d to %d", ^v.packets, v.src.Hi, v.src.Lo, v.port, v.proto, v.targets, v.tool, v.first, v.last)
		}
		var a, b []string
		for _, v := range want {
			a = append(a, text(v))
		}
		slices.Sort(a)
		for _, v := range merged(rankings) {
			b = append(b, text(v))
		}
		if d := cmp.Diff(a, b); d != "" {
			t.Fatalf("(-one by one +list):\n%s", d)
		}
	})
}
