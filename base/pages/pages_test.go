package pages_test

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"

	"sakimori/base/pages"
)

type cell struct {
	key [3]uint32
	n   uint64
}

// TestReserve: a span is zero, holds what is written across its large pages, and
// begins at one.
func TestReserve(t *testing.T) {
	const n = 500_000 // 12 MB
	s := pages.Reserve[cell](n)
	if len(s.All) != n {
		t.Fatalf("%d values", len(s.All))
	}
	for i := range s.All {
		if s.All[i] != (cell{}) {
			t.Fatalf("value %d isn't zero", i)
		}
		s.All[i] = cell{[3]uint32{uint32(i), 1, 2}, uint64(i)}
	}
	for i := range s.All {
		if s.All[i].n != uint64(i) || s.All[i].key[0] != uint32(i) {
			t.Fatalf("value %d is %v", i, s.All[i])
		}
	}
	runtime.KeepAlive(s)
	if none := pages.Reserve[uint32](0); len(none.All) != 0 {
		t.Error("nothing isn't nothing")
	}
}

// TestMake: a slice is zero and all there, whatever its size.
func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 2 * pages.Huge, 5*pages.Huge + 12345} {
		for range 3 { // new memory, and used one
			s := pages.Make[byte](n)
			for i := 0; i < n; i += 997 {
				if s[i] != 0 {
					t.Fatalf("byte %d of %d isn't zero", i, n)
				}
				s[i] = 1
			}
			if len(s) != n {
				t.Fatalf("%d bytes, not %d", len(s), n)
			}
			runtime.GC()
		}
	}
	if s := pages.Make[[]byte](1 << 20); len(s) != 1<<20 || s[1<<19] != nil { // left as it is
		t.Error("a slice with pointers isn't empty")
	}
}

// TestGivenBack: spans that nobody holds leave no mapping behind.
func TestGivenBack(t *testing.T) {
	mappings := func() int {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("\n"))
	}
	before := mappings()
	for i := range 2000 {
		pages.Reserve[uint64](1 << 19).All[i] = 1 // with its two kinds of pages each is a mapping of its own
	}
	for range 100 {
		if mappings() < before+200 {
			return
		}
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d mappings became %d", before, mappings())
}

// TestPointers: values that the garbage collector must see are refused.
func TestPointers(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a slice was taken")
		}
	}()
	pages.Reserve[struct {
		a int
		b [2][]byte
	}](1)
}

// TestList: asking for memory changes nothing, and no place is a wrong one.
func TestList(t *testing.T) {
	var l pages.List
	s := pages.Reserve[uint64](1 << 16)
	l.Fetch()
	pages.Add[uint64](&l, nil)
	for i := range 2000 {
		pages.Add(&l, &s.All[i*31])
	}
	l.Fetch()
	for i, v := range s.All {
		if v != 0 {
			t.Fatalf("value %d is %d", i, v)
		}
	}
	runtime.KeepAlive(s)
}

func BenchmarkChase(b *testing.B) {
	const n = 1 << 24
	s := pages.Reserve[uint64](n)
	for i := range s.All {
		s.All[i] = uint64(i)
	}
	for _, how := range []string{"loads", "list"} {
		b.Run(how, func(b *testing.B) {
			var l pages.List
			var sum, x uint64 = 0, 1
			var at [64]uint64
			for b.Loop() {
				for i := range at {
					x = x*6364136223846793005 + 1442695040888963407
					at[i] = x >> 40
				}
				if how == "list" {
					for _, a := range at {
						pages.Add(&l, &s.All[a])
					}
					l.Fetch()
				}
				for _, a := range at {
					sum += s.All[a]
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/64, "ns/load")
			runtime.KeepAlive(sum)
		})
	}
}
