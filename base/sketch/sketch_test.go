package sketch_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/sketch"
)

// TestExact: a set that was given n distinct identities, each several times and
// in any order, counts n and says that it is exact.
func TestExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.Uint32(), 0, 1000).Draw(t, "ids")
		want := map[uint32]bool{}
		var s, back sketch.Set
		for i, id := range ids {
			if got := s.Add(sketch.Fine, id); got == want[id] {
				t.Fatalf("Add(%d) said %v", id, got)
			}
			want[id] = true
			back.Add(sketch.Fine, ids[len(ids)-1-i])
		}
		if !s.Exact() || s.Count() != uint64(len(want)) || s.Error() != 0 {
			t.Fatalf("count %d exact %v, want %d", s.Count(), s.Exact(), len(want))
		}
		if !bytes.Equal(s.Append(nil), back.Append(nil)) {
			t.Fatal("the order of insertion changed the stored bytes")
		}
	})
}

// TestError: over 40 random sets of each size the relative error has about the
// standard deviation that is stated, and no bias beyond chance.
func TestError(t *testing.T) {
	for _, f := range []sketch.Form{sketch.Fine, sketch.Coarse} {
		for _, n := range []int{2_000, 20_000, 300_000} {
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			const runs = 40
			var sum, sq float64
			for range runs {
				var s sketch.Set
				seen := make(map[uint32]bool, n)
				for len(seen) < n {
					id := rng.Uint32()
					seen[id] = true
					s.Add(f, id)
				}
				e := float64(s.Count())/float64(n) - 1
				sum += e
				sq += e * e
			}
			sd, mean := math.Sqrt(sq/runs), sum/runs
			if sd > 1.35*f.Error() || math.Abs(mean) > 3.5*f.Error()/math.Sqrt(runs) {
				t.Errorf("p=%d n=%d: error %.4f (stated %.4f), bias %.4f", f.Precision, n, sd, f.Error(), mean)
			}
		}
	}
}

// TestMerge: merging parts gives the very bytes of the whole, be they exact or
// dense, and whatever the order.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 6000).Draw(t, "n")
		parts := rapid.IntRange(1, 5).Draw(t, "parts")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var whole, merged sketch.Set
		sets := make([]sketch.Set, parts)
		for range n {
			id := rng.Uint32N(4 * uint32(n))
			whole.Add(sketch.Coarse, id)
			sets[rng.IntN(parts)].Add(sketch.Coarse, id)
		}
		for i := range sets {
			merged.Merge(sketch.Coarse, &sets[i])
		}
		// A dense set keeps no identities, so exact and dense agree only when
		// the number of elements decides the form alone.
		if whole.Exact() == merged.Exact() && !bytes.Equal(whole.Append(nil), merged.Append(nil)) {
			t.Fatalf("merging %d parts of %d changed the set", parts, n)
		}
		if whole.Exact() != merged.Exact() {
			t.Fatalf("whole exact %v, merged exact %v at %d", whole.Exact(), merged.Exact(), whole.Count())
		}
	})
}

// TestFold: a coarse set merged with a fine one is as if both had been coarse.
func TestFold(t *testing.T) {
	var fine, coarse, want sketch.Set
	for i := range uint32(50_000) {
		fine.Add(sketch.Fine, i)
		want.Add(sketch.Coarse, i)
	}
	for i := uint32(40_000); i < 90_000; i++ {
		coarse.Add(sketch.Coarse, i)
		want.Add(sketch.Coarse, i)
	}
	other := coarse
	coarse.Merge(sketch.Coarse, &fine)
	if !bytes.Equal(coarse.Append(nil), want.Append(nil)) {
		t.Error("coarse.Merge(fine) differs from a coarse set of both")
	}
	fine.Merge(sketch.Fine, &other)
	if !bytes.Equal(fine.Append(nil), want.Append(nil)) {
		t.Error("fine.Merge(coarse) differs from a coarse set of both")
	}
}

func FuzzRead(f *testing.F) {
	var small, big sketch.Set
	for i := range uint32(9) {
		small.Add(sketch.Fine, i*i*7919)
	}
	for i := range uint32(5000) {
		big.Add(sketch.Coarse, i)
	}
	f.Add(small.Append(nil))
	f.Add(big.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, rest, err := sketch.Read(b)
		if err != nil {
			return
		}
		again, _, err := sketch.Read(s.Append(nil))
		if err != nil {
			t.Fatalf("what it wrote it can't read: %v", err)
		}
		if again.Count() != s.Count() || len(rest) > len(b) {
			t.Fatalf("count %d became %d", s.Count(), again.Count())
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []uint32{100, 100_000} {
		var s sketch.Set
		b.Run(map[uint32]string{100: "exact", 100_000: "dense"}[n], func(b *testing.B) {
			var i uint32
			for b.Loop() {
				s.Add(sketch.Fine, i%n*2654435761)
				i++
			}
		})
	}
}
