package sketch_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/sketch"
)

// TestAddAll: sets that are given many at once, in memory that other sets
// used before, are those that are given one after the other in memory of their own; and
// so are what is read again of their raw form, and what that grows into.
func TestAddAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		memory := &sketch.Memory{}
		for range rapid.IntRange(1, 6).Draw(t, "sets") {
			plain := rapid.SampledFrom([]sketch.Form{sketch.Fine, sketch.Coarse, {Precision: 8, Exact: 32}}).Draw(t, "form")
			form := plain
			form.Memory = memory
			var one, many sketch.Set
			for range rapid.IntRange(0, 8).Draw(t, "lots") {
				n, below := rapid.IntRange(0, 900).Draw(t, "size"), rapid.SampledFrom([]uint32{1, 7, 5000, 1<<32 - 1}).Draw(t, "below")
				ids := rapid.SliceOfN(rapid.Uint32Max(below), n, n).Draw(t, "ids")
				for _, id := range ids {
					one.Add(plain, id)
				}
				many.AddAll(form, ids)
				if rapid.Bool().Draw(t, "read again") {
					raw := many.AppendRaw(nil)
					if len(raw) > many.RawSize() {
						t.Fatalf("%d bytes, %d at most were expected", len(raw), many.RawSize())
					}
					var again sketch.Set
					if rest, err := again.ReadRaw(form, append(raw, 7)); err != nil || len(rest) != 1 {
						t.Fatalf("%d bytes are left, %v", len(rest), err)
					}
					many = again
				}
			}
			if many.Exact() != one.Exact() || many.Count() != one.Count() || !bytes.Equal(many.Append(nil), one.Append(nil)) {
				t.Fatalf("%d at once (exact: %v), %d one by one (exact: %v)", many.Count(), many.Exact(), one.Count(), one.Exact())
			}
		}
	})
}

// TestReadAgainIsTheSame: zero takes no place, so a set with it that is read again becomes
// an estimate when the set that was written does.
func TestReadAgainIsTheSame(t *testing.T) {
	f := sketch.Form{Precision: 8, Exact: 32}
	var one, again sketch.Set
	for id := range uint32(49) {
		one.Add(f, id)
	}
	if _, err := again.ReadRaw(f, one.AppendRaw(nil)); err != nil {
		t.Fatal(err)
	}
	one.Add(f, 49)
	again.Add(f, 49)
	if one.Exact() != again.Exact() {
		t.Errorf("exact: %v, and read again: %v", one.Exact(), again.Exact())
	}
}

// FuzzReadRaw: no state can make the reader fail otherwise than by an error.
func FuzzReadRaw(f *testing.F) {
	var s sketch.Set
	f.Add(s.AppendRaw(nil))
	s.AddAll(sketch.Coarse, []uint32{0, 1, 2, 1 << 31})
	f.Add(s.AppendRaw(nil))
	for id := range uint32(2000) {
		s.Add(sketch.Coarse, id)
	}
	f.Add(s.AppendRaw(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sketch.Set
		rest, err := s.ReadRaw(sketch.Fine, b)
		if err != nil {
			return
		}
		if s.Exact() && s.Count() > uint64(len(b)/4+1) || len(rest) > len(b) {
			t.Fatalf("%d identities in %d bytes", s.Count(), len(b))
		}
		s.Add(sketch.Fine, 1)
	})
}
