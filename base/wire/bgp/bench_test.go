package bgp_test

import (
	"hash/maphash"
	"syscall"
	"testing"
	"time"

	oracle "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"sakimori/base/wire/bgp"
)

// four is the UPDATE of the figures: four prefixes, a path of five, three communities.
func four() []byte {
	return body(nil, [][]byte{
		origin, attr(0x40, bgp.AttrPath, path(64500, 64501, 64502, 64503, 64504)...), nextHop,
		attr(0xc0, bgp.AttrCommunities, 0xfb, 0xf4, 0, 1, 0xfb, 0xf4, 0, 2, 0xfb, 0xf4, 0, 3),
	}, 24, 203, 0, 113, 24, 198, 51, 100, 24, 192, 0, 2, 22, 198, 18, 4)
}

// walk reads an update and looks at each of its prefixes.
func walk(u *bgp.Update, p *bgp.Path, b []byte) (sum uint64) {
	u.Parse(b, bgp.Options{AS4: true})
	u.Path(p)
	var n bgp.Prefix
	for _, block := range u.Announced() {
		for block.Next(&n) {
			sum += n.Hi
		}
	}
	return sum
}

// TestAllocations: nothing allocates once the memory of a path is there.
func TestAllocations(t *testing.T) {
	b := four()
	old := body(nil, with(attr(0x40, bgp.AttrPath, path2(64500, 23456)...), attr(0xc0, bgp.AttrPath4, path(4200000001)...)), net24...)
	var u bgp.Update
	var p bgp.Path
	var key []byte
	if n := testing.AllocsPerRun(100, func() {
		walk(&u, &p, b)
		key = u.Key(key[:0], u.NextHop, &p)
		u.Parse(old, bgp.Options{})
		u.Path(&p)
		key = u.Key(key[:0], u.NextHop, &p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// perCPU reports how many of n were done in a second of this process's CPU: the machine
// may be busy with other things.
func perCPU(b *testing.B, before time.Duration, n int, unit string) {
	b.Helper()
	b.ReportMetric(float64(n)/(used()-before).Seconds(), unit+"/CPU-s")
}

// used is the CPU time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkUpdate reads an UPDATE with its path and its prefixes; with key it is also
// interned, as a table does.
func BenchmarkUpdate(b *testing.B) {
	data := four()
	b.Run("sakimori", func(b *testing.B) {
		b.ReportAllocs()
		before := used()
		var u bgp.Update
		var p bgp.Path
		for b.Loop() {
			walk(&u, &p, data)
		}
		perCPU(b, before, b.N, "updates")
	})
	b.Run("key", func(b *testing.B) {
		b.ReportAllocs()
		before := used()
		var u bgp.Update
		var p bgp.Path
		var key []byte
		seed := maphash.MakeSeed()
		for b.Loop() {
			walk(&u, &p, data)
			key = u.Key(key[:0], u.NextHop, &p)
			maphash.Bytes(seed, key)
		}
		perCPU(b, before, b.N, "updates")
	})
	b.Run("gobgp", func(b *testing.B) {
		b.ReportAllocs()
		before := used()
		for b.Loop() {
			var m oracle.BGPUpdate
			if err := m.DecodeFromBytes(data); err != nil {
				b.Fatal(err)
			}
		}
		perCPU(b, before, b.N, "updates")
	})
}
