package record_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// TestLeaf: of whatever rows, a leaf gives back those that are asked for.
func TestLeaf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leaf")
	number := rapid.OneOf(rapid.Uint64Max(3), rapid.Uint64Max(1<<62))
	err := rapid.SampledFrom([]float32{0, 0.0081, 0.0163})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 511, 512, 513, 1100}).Draw(t, "rows")
		step := rapid.Uint32Range(1, 1<<20).Draw(t, "step")
		one := record.Row{
			Packets: number.Draw(t, "packets"), Sources: number.Draw(t, "sources"), Targets: number.Draw(t, "targets"),
			SourcesErr: err.Draw(t, "sources err"), TargetsErr: err.Draw(t, "targets err"),
		}
		rows := make([]record.Row, n)
		for i := range rows {
			rows[i] = one
			rows[i].Dim, rows[i].Key = observe.Dim(1+i/300), uint32(i%300)*step
			rows[i].Packets += uint64(i)
		}
		b, e := record.LeafOf(rows)
		if e == nil {
			e = os.WriteFile(path, b, 0o600)
		}
		if e != nil {
			t.Fatal(e)
		}
		f, e := os.Open(path)
		if e != nil {
			t.Fatal(e)
		}
		defer f.Close()
		dim := observe.Dim(rapid.IntRange(0, 5).Draw(t, "dim"))
		keys := slices.Sorted(slices.Values(rapid.SliceOfDistinct(rapid.Map(rapid.Uint32Max(310), func(k uint32) uint32 { return k * step }), rapid.ID).Draw(t, "keys")))
		var want []record.Row
		for _, w := range rows {
			if w.Dim == dim && (len(keys) == 0 || slices.Contains(keys, w.Key)) {
				want = append(want, w)
			}
		}
		got, e := record.LeafRows(f, dim, keys)
		if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(record.Row{})); diff != "" || e != nil {
			t.Fatal(e, diff)
		}
	})
}

// TestLeafWants: rows that a leaf can't hold are an error.
func TestLeafWants(t *testing.T) {
	for name, rows := range map[string][]record.Row{
		"out of order": {port(2, 1), port(1, 1)},
		"twice":        {port(1, 1), port(1, 1)},
		"too many":     {{Dim: observe.ByPort, Sources: 1 << 63}},
	} {
		if _, err := record.LeafOf(rows); err == nil {
			t.Error(name)
		}
	}
}

// TestMinutesComeAndGo: a minute is replaced by its part, stands beside those of
// other parts, and goes when it is too old.
func TestMinutesComeAndGo(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	r.SetHead(1)
	put := func(part uint64, minute int64, rows ...record.Row) {
		t.Helper()
		b := bucket(observe.Minute, epoch+minute*60, 1, rows...)
		if part == 2 { // a watch packs what waits
			if err := r.Pack(&b); err != nil || b.Rows != nil {
				t.Fatal(b.Rows, err)
			}
		}
		write(t, s, r, record.Batch{Part: part, Buckets: []record.Bucket{b}})
	}
	want := func(what string, leaves int, packets ...uint64) {
		t.Helper()
		blobs, err := s.FindBlobs(ctx, s, store.Names{From: "telescope/counts/", To: "telescope/counts0"})
		if err != nil || len(blobs) != leaves {
			t.Errorf("%s: %d leaves, %v, want %d", what, len(blobs), err, leaves)
		}
		got, err := r.Series(ctx, observe.ByPort, 1, observe.Range{From: at(epoch), To: at(epoch + 180)}, observe.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var have []uint64
		for _, p := range got {
			have = append(have, p.Packets)
		}
		if !slices.Equal(have, packets) {
			t.Errorf("%s: %v, want %v", what, have, packets)
		}
	}
	put(1, 0, port(1, 3), port(2, 9))
	put(1, 1, port(1, 4), port(2, 9))
	want("written", 2, 3, 4)
	put(2, 0, port(1, 5), port(2, 9))
	want("another part", 3, 8, 4)
	put(1, 0, port(1, 7), port(2, 9))
	want("replaced", 3, 12, 4)
	put(1, 1, port(2, 9))
	want("replaced without the port", 3, 12, 0)
	put(1, 2)
	want("nothing seen", 4, 12, 0, 0)
	got, err := r.Retain(ctx, at(epoch+120), record.Policy{Minutes: time.Minute})
	if diff := gocmp.Diff(record.Deleted{Buckets: [3]int64{2}, Rows: [3]int64{4}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	want("too old", 2, 0, 0)
}

// TestDamagedMinutes: they are an error, not an answer.
func TestDamagedMinutes(t *testing.T) {
	dir := t.TempDir()
	s, r := open(t, dir)
	write(t, s, r, record.Batch{Part: 1, Buckets: []record.Bucket{bucket(observe.Minute, epoch, 1, port(1, 1), port(2, 900))}})
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		broken := slices.Clone(whole)
		broken[i] ^= 0x40
		for _, b := range [][]byte{broken, whole[:i]} {
			if err := os.WriteFile(files[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := r.Series(t.Context(), observe.ByPort, 2, observe.Range{From: at(epoch), To: at(epoch + 60)}, observe.Minute)
			if err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Fatalf("byte %d of %d, %d long: %v", i, len(whole), len(b), err)
			}
		}
	}
}

// FuzzLeaf: whatever a disk makes of a block is no reason to panic, and never
// more rows than its bytes can be.
func FuzzLeaf(f *testing.F) {
	b, err := record.LeafOf([]record.Row{port(1, 3), port(2, 1<<40), {Dim: observe.ByAS, Key: 4713, Packets: 1, SourcesErr: 0.0081}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[36:]) // after head and index
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, _ := record.LeafBlock(b)
		if rows > len(b)/4 {
			t.Errorf("%d rows in %d bytes", rows, len(b))
		}
	})
}
