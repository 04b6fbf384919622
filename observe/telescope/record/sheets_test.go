package record_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// sheetNames are the last parts of what sketches are kept under.
func sheetNames(t *testing.T, s *store.Store) (names []string) {
	t.Helper()
	files, err := s.OpenBlobs(t.Context(), s, store.Names{From: "telescope/sketches/", To: "telescope/sketches0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, strings.Split(f.Name, "/")[2])
		_ = f.Close()
	}
	return names
}

// TestSketchesComeAndGo: they go with the bucket that they belong to, whether it
// is replaced, too old, or a month one of whose days changed.
func TestSketchesComeAndGo(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	sketched := func(k uint32, things ...uint16) record.Row {
		seen := map[uint16]bool{}
		for _, x := range things {
			seen[x] = true
		}
		return record.Row{Dim: observe.ByPort, Key: k, Packets: 9, Sources: uint64(len(seen)), Targets: 1, SourceSet: exact(seen), TargetSet: exact(map[uint16]bool{7: true})}
	}
	put := func(part uint64, buckets ...record.Bucket) {
		t.Helper()
		write(t, s, r, record.Batch{Part: part, Buckets: buckets})
	}
	want := func(what string, levels ...string) {
		t.Helper()
		if got := sheetNames(t, s); !slices.Equal(got, levels) {
			t.Errorf("%s: %q, want %q", what, got, levels)
		}
	}
	sources := func(what string, days int, n uint64) {
		t.Helper()
		rows, err := r.Top(ctx, observe.ByPort, observe.Range{From: at(epoch), To: at(epoch).AddDate(0, 0, days)}, "sources", 1, 0)
		if err != nil || len(rows) != 1 || rows[0].Sources != (observe.Unique{N: n}) {
			t.Errorf("%s: %+v, %v, want %d sources", what, rows, err, n)
		}
	}
	for d := range int64(4) { // two in January, two in February
		put(1, bucket(observe.Day, epoch+d*86400, 1, sketched(1, uint16(d), 100)))
	}
	put(1, bucket(observe.Hour, epoch, 1, sketched(1, 1)))
	put(2, bucket(observe.Day, epoch, 1, sketched(1, 50), port(2, 1)))
	want("written", "day", "day", "day", "day", "day", "hour")
	sources("written", 4, 6)
	put(2, bucket(observe.Day, epoch, 1, sketched(1, 50, 51)))
	want("replaced", "day", "day", "day", "day", "day", "hour")
	if err := r.Rollup(ctx); err != nil {
		t.Fatal(err)
	}
	want("rolled up", "day", "day", "day", "day", "day", "hour", "month")
	sources("rolled up", 4, 7)
	put(2, bucket(observe.Day, epoch, 1, port(1, 1)))
	want("a day of the month has none any more", "day", "day", "day", "day", "hour")
	if _, err := r.Retain(ctx, at(epoch+4*86400), record.Policy{Hours: time.Hour, Days: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	want("too old", "day")
}

// TestDamagedSketches: they are an error, not an answer.
func TestDamagedSketches(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s, r := open(t, dir)
	for d := range int64(2) {
		write(t, s, r, record.Batch{Part: 1, Buckets: []record.Bucket{bucket(observe.Day, epoch+d*86400, 1, record.Row{
			Dim: observe.ByPort, Key: 1, Packets: 9, Sources: 1, Targets: 1, SourceSet: exact(map[uint16]bool{uint16(d): true}), TargetSet: []byte{},
		})}})
	}
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "*"))
	if err != nil || len(files) != 2 {
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
			if _, err := r.Top(ctx, observe.ByPort, observe.Range{From: at(epoch), To: at(epoch + 2*86400)}, "sources", 1, 0); err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Fatalf("byte %d of %d, %d long: %v", i, len(whole), len(b), err)
			}
		}
	}
}
