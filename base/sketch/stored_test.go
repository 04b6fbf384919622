package sketch_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/sketch"
)

// TestUnite: uniting stored sets is merging the sets.
func TestUnite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want sketch.Set
		var stored [][]byte
		for range rapid.IntRange(0, 6).Draw(t, "sets") {
			form := rapid.SampledFrom([]sketch.Form{sketch.Fine, sketch.Coarse}).Draw(t, "form")
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			var s sketch.Set
			for range rapid.SampledFrom([]int{0, 1, 7, 300, 5000}).Draw(t, "n") {
				s.Add(form, rng.Uint32())
			}
			want.Merge(sketch.Exact, &s)
			stored = append(stored, s.Append(nil))
		}
		got, err := sketch.Unite(sketch.Exact, stored)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want.Append(nil), got.Append(nil)) {
			t.Fatal("the stored sets unite to something else")
		}
	})
}

// TestUniteRefuses: what isn't a stored set, is cut off or damaged is an error
// wherever it stands, and what is united stays as it was.
func TestUniteRefuses(t *testing.T) {
	var s sketch.Set
	for i := range uint32(5000) {
		s.Add(sketch.Coarse, i*2654435761)
	}
	good := s.Append(nil)
	damaged := append(bytes.Clone(good[:len(good)-3]), 0xff, 0xff, 0xff)
	for name, bad := range map[string][]byte{"empty": {}, "unknown": {0x77, 1}, "short": good[:len(good)-1], "damaged": damaged} {
		for _, sets := range [][][]byte{{bad}, {good, bad}, {bad, good}, {good, bad, good}} {
			if _, err := sketch.Unite(sketch.Exact, sets); err == nil {
				t.Errorf("%s: taken", name)
			}
		}
	}
	if !bytes.Equal(good, s.Append(nil)) {
		t.Error("uniting changed what it was given")
	}
}

func BenchmarkUnite(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	stored := make([][]byte, 30)
	for i := range stored {
		var s sketch.Set
		for range 60_000 {
			s.Add(sketch.Fine, rng.Uint32())
		}
		stored[i] = s.Append(nil)
	}
	for b.Loop() {
		if _, err := sketch.Unite(sketch.Exact, stored); err != nil {
			b.Fatal(err)
		}
	}
}
