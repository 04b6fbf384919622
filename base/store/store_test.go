package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/store"
)

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var numbers = []store.Migration{{Version: 1, Name: "numbers", SQL: `CREATE TABLE number (n BIGINT NOT NULL, half DOUBLE)`}}

func count(t *testing.T, a store.Asker, q string, args ...any) (n int64) {
	t.Helper()
	if err := a.QueryRow(context.Background(), q, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTransactionIsAllOrNothing(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	if err := s.Migrate(ctx, "test", numbers); err != nil {
		t.Fatal(err)
	}
	fill := func(tx *store.Tx) error {
		if err := tx.Append("number", func(row store.Row) error {
			for i := range 5000 {
				if err := row(int64(i), float64(i)/2); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if n := count(t, tx, `SELECT count(*) FROM number`); n != 5000 {
			t.Errorf("the transaction sees %d of its 5000 rows", n)
		}
		if n := count(t, s, `SELECT count(*) FROM number`); n != 0 {
			t.Errorf("others see %d uncommitted rows", n)
		}
		return tx.PutBlob(ctx, "state", []byte("half done"))
	}
	no := errors.New("no")
	if err := s.Tx(ctx, func(tx *store.Tx) error { return errors.Join(fill(tx), no) }); !errors.Is(err, no) {
		t.Fatalf("got %v", err)
	}
	if n := count(t, s, `SELECT count(*) FROM number`); n != 0 {
		t.Errorf("%d rows of a transaction rolled back", n)
	}
	if b, err := s.Blob(ctx, "state"); b != nil || err != nil {
		t.Errorf("a blob of a transaction rolled back: %q, %v", b, err)
	}
	if files, _ := os.ReadDir(filepath.Join(dir, "blobs")); len(files) != 0 {
		t.Errorf("%d files left of a transaction rolled back", len(files))
	}
	// An error that the function swallows must not commit the rest.
	if err := s.Tx(ctx, func(tx *store.Tx) error {
		_ = tx.Exec(ctx, `INSERT INTO number VALUES (1, 1)`)
		_ = tx.Append("nowhere", func(store.Row) error { return nil })
		return nil
	}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a swallowed error: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	if err := s.Tx(cancelled, func(tx *store.Tx) error {
		cancel()
		return tx.Exec(ctx, `INSERT INTO number VALUES (1, 1)`)
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.Tx(ctx, func(tx *store.Tx) error { _ = tx.Exec(ctx, `INSERT INTO number VALUES (1, 1)`); panic("oh") })
	}()
	if n := count(t, s, `SELECT count(*) FROM number`); n != 0 {
		t.Errorf("%d rows after four failed transactions", n)
	}
	if err := s.Tx(ctx, fill); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT count(*) FROM number`); n != 5000 {
		t.Errorf("%d rows committed", n)
	}
}

func TestOneWriterAtATimeAndReadersBeside(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	if err := s.Migrate(ctx, "test", numbers); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				err := s.Tx(ctx, func(tx *store.Tx) error {
					n := count(t, tx, `SELECT count(*) FROM number`)
					return tx.Exec(ctx, `INSERT INTO number VALUES (?, 0), (?, 0)`, n, n+1)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				err := s.View(ctx, func(v store.Asker) error {
					a := count(t, v, `SELECT count(*) FROM number`)
					b := count(t, v, `SELECT coalesce(max(n) + 1, 0) FROM number`)
					if a != b || a%2 != 0 {
						t.Errorf("a view changed while it was looked at: %d, %d", a, b)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, s, `SELECT count(DISTINCT n) FROM number`); n != 80 {
		t.Errorf("%d of 80", n)
	}
}

func TestMigrations(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	two := append(numbers[:1:1], store.Migration{
		Version: 2, Name: "more", SQL: `ALTER TABLE number ADD COLUMN more BIGINT DEFAULT 7`,
		Do: func(ctx context.Context, tx *store.Tx) error {
			return tx.Exec(ctx, `INSERT INTO number VALUES (1, 2, 3)`)
		},
	})
	for _, steps := range [][]store.Migration{numbers, two, two} { // the last is a no-op
		if err := s.Migrate(ctx, "test", steps); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s, `SELECT count(*) FROM number`); n != 1 {
		t.Errorf("step 2 ran %d times", n)
	}
	if err := s.Migrate(ctx, "test", numbers); err == nil || !strings.Contains(err.Error(), "newer sakimori") {
		t.Errorf("newer tables: %v", err)
	}
	broken := append(two[:2:2], store.Migration{Version: 3, Name: "broken", SQL: `CREATE TABLE half (n BIGINT); SELECT nonsense`})
	if err := s.Migrate(ctx, "test", broken); err == nil || !strings.Contains(err.Error(), "3 (broken)") {
		t.Errorf("broken step: %v", err)
	}
	if n := count(t, s, `SELECT count(*) FROM information_schema.tables WHERE table_name = 'half'`); n != 0 {
		t.Error("half of a broken step stays")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(ctx, dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Migrate(ctx, "test", two); err != nil {
		t.Errorf("reading only: %v", err)
	}
	if err := r.Migrate(ctx, "test", broken); err == nil || !strings.Contains(err.Error(), "open the data folder once for writing") {
		t.Errorf("reading only, older tables: %v", err)
	}
	if err := r.Tx(ctx, func(*store.Tx) error { return nil }); err == nil {
		t.Error("wrote although opened for reading only")
	}
	got, err := r.Tables(ctx)
	if diff := cmp.Diff(map[string]int{"store": 1, "test": 2}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestBlobs(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	put := func(name string, data []byte) {
		t.Helper()
		if err := s.Tx(ctx, func(tx *store.Tx) error { return tx.PutBlob(ctx, name, data) }); err != nil {
			t.Fatal(err)
		}
	}
	files := func() int {
		f, _ := os.ReadDir(filepath.Join(dir, "blobs"))
		return len(f)
	}
	one, big := []byte("one"), bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	put("a", one)
	put("b", one) // the same content is one file
	put("c", big)
	put("a", []byte{})
	if n := files(); n != 3 {
		t.Errorf("%d files for three contents", n)
	}
	for name, want := range map[string][]byte{"a": {}, "b": one, "c": big, "d": nil} {
		if got, err := s.Blob(ctx, name); err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("blob %s: %d bytes, %v", name, len(got), err)
		}
	}
	if err := s.Tx(ctx, func(tx *store.Tx) error { return tx.DropBlob(ctx, "b") }); err != nil {
		t.Fatal(err)
	}
	if n := files(); n != 2 {
		t.Errorf("%d files, 2 are named", n)
	}
	z, err := s.Size()
	if err != nil || z.Blobs != int64(len(big)) || z.Database == 0 {
		t.Errorf("size %+v, %v", z, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves goes at the next open; what isn't ours stays.
	stray := []string{"new-123", "0123456789abcdef0123456789abcdef", "readme.txt"}
	for _, f := range stray {
		if err := os.WriteFile(filepath.Join(dir, "blobs", f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)
	if n := files(); n != 3 {
		t.Errorf("%d files after the sweep, want two blobs and the readme", n)
	}
	all, _ := filepath.Glob(filepath.Join(dir, "blobs", "????????????????????????????????"))
	for _, f := range all {
		b, _ := os.ReadFile(f)
		if len(b) > 0 {
			b[len(b)/2] ^= 1
			_ = os.WriteFile(f, b, 0o600)
		}
	}
	if _, err := s.Blob(ctx, "c"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a flipped bit: %v", err)
	}
}

// TestBlobsInTheirTransaction: what was put, dropped and put again in one
// transaction counts in that order, and is seen inside it.
func TestBlobsInTheirTransaction(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	big := bytes.Repeat([]byte("fedcba9876543210"), 1<<20)
	if err := s.Tx(ctx, func(tx *store.Tx) error {
		err := errors.Join(tx.PutBlob(ctx, "a", big), tx.DropBlob(ctx, "a"), tx.PutBlob(ctx, "a", []byte("last")), tx.PutBlob(ctx, "b", big), tx.DropBlob(ctx, "b"))
		if got, e := tx.Blob(ctx, "a"); string(got) != "last" || e != nil {
			t.Errorf("inside: %.20q, %v", got, e)
		}
		return errors.Join(err, tx.PutBlob(ctx, "c", big))
	}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"a": []byte("last"), "b": nil, "c": big} {
		if got, err := s.Blob(ctx, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob %s: %d bytes, %v", name, len(got), err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "blobs")); err != nil {
		t.Fatal(err)
	}
	if err := s.Tx(ctx, func(tx *store.Tx) error { return tx.PutBlob(ctx, "c", []byte("lost")) }); err == nil || !strings.Contains(err.Error(), "store c") {
		t.Errorf("a blob that can't be written: %v", err)
	}
}

func TestCheckpointGivesRoomBack(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	if err := s.Migrate(ctx, "test", numbers); err != nil {
		t.Fatal(err)
	}
	var first int64
	for round := range 8 { // a bucket that is written again and again
		err := s.Tx(ctx, func(tx *store.Tx) error {
			if err := tx.Exec(ctx, `DELETE FROM number`); err != nil {
				return err
			}
			return tx.Exec(ctx, `INSERT INTO number SELECT hash(i) >> 1, random() FROM range(300000) t(i)`)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		z, err := s.Size()
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			first = z.Database
		} else if z.Database > 3*first {
			t.Fatalf("round %d: %d bytes, the first took %d", round, z.Database, first)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	ctx := t.Context()
	if _, err := store.Open(ctx, filepath.Join(t.TempDir(), "a?b"), store.Options{}); err == nil {
		t.Error("a path that the driver would misread was taken")
	}
	if _, err := store.Open(ctx, t.TempDir(), store.Options{ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "no data yet") {
		t.Errorf("reading an empty folder: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sakimori.db"), []byte(strings.Repeat("garbage ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(ctx, dir, store.Options{}); err == nil {
		t.Error("garbage was taken for a database")
	}
	s := open(t, t.TempDir())
	if _, err := s.Query(ctx, `SELECT * FROM read_csv('/etc/passwd')`); err == nil {
		t.Error("a query may read other files")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if err := s.Tx(ctx, func(*store.Tx) error { return nil }); err == nil {
		t.Error("wrote after Close")
	}
}

func BenchmarkAppend(b *testing.B) {
	ctx := b.Context()
	s, err := store.Open(ctx, b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(ctx, "test", numbers); err != nil {
		b.Fatal(err)
	}
	const rows = 200_000
	start := time.Now()
	for b.Loop() {
		err := s.Tx(ctx, func(tx *store.Tx) error {
			return tx.Append("number", func(row store.Row) error {
				for i := range rows {
					if err := row(int64(i), float64(i)); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/time.Since(start).Seconds(), "rows/s")
}

// TestBlobsInAPicture: a View goes on reading the blobs that it began with,
// while others take their places, and the files go when it has ended.
func TestBlobsInAPicture(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	put := func(data string, names ...string) {
		t.Helper()
		if err := s.Tx(ctx, func(tx *store.Tx) error {
			for _, n := range names {
				if err := tx.PutBlob(ctx, n, []byte(n+data)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(a store.Asker, from, to string) (all []string) {
		t.Helper()
		files, err := s.OpenBlobs(ctx, a, store.Names{From: from, To: to})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := io.ReadAll(f)
			if err != nil || !strings.HasPrefix(string(b), f.Name) {
				t.Errorf("%s: %q, %v", f.Name, b, err)
			}
			all = append(all, string(b))
			_ = f.Close()
		}
		return all
	}
	onDisk := func() int {
		files, _ := os.ReadDir(filepath.Join(dir, "blobs"))
		return len(files)
	}
	put("1", "a/1", "a/2", "a/3", "b")
	if err := s.View(ctx, func(v store.Asker) error {
		if got := read(v, "a/1", "a/3"); !slices.Equal(got, []string{"a/11", "a/21"}) {
			t.Errorf("a range: %q", got)
		}
		put("2", "a/1", "a/2")
		if err := s.Tx(ctx, func(tx *store.Tx) error { return tx.DropBlobs(ctx, "a/3", "a/4") }); err != nil {
			return err
		}
		if got := read(v, "a/", "a0"); !slices.Equal(got, []string{"a/11", "a/21", "a/31"}) {
			t.Errorf("in the old picture: %q", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := onDisk(); n != 6 {
		t.Errorf("%d files before the next transaction, want 6", n)
	}
	put("3", "a/2")
	if got := read(s, "a/", "c"); !slices.Equal(got, []string{"a/12", "a/23", "b1"}) || onDisk() != 3 {
		t.Errorf("afterwards: %q, %d files", got, onDisk())
	}
}

// TestVersion: pictures of one version are equal, whoever writes meanwhile.
func TestVersion(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	if err := s.Migrate(ctx, "test", numbers); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Version(s); ok {
		t.Error("a store is no picture")
	}
	var mu sync.Mutex
	seen := map[uint64]int64{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			if err := s.Tx(ctx, func(tx *store.Tx) error { return tx.Exec(ctx, `INSERT INTO number VALUES (1, 2)`) }); err != nil {
				t.Error(err)
			}
		}
	})
	look := func() {
		if err := s.View(ctx, func(a store.Asker) error {
			n := count(t, a, `SELECT count(*) FROM number`)
			if v, ok := s.Version(a); ok {
				mu.Lock()
				defer mu.Unlock()
				if had, twice := seen[v]; twice && had != n {
					t.Errorf("version %d has %d rows, and %d", v, had, n)
				}
				seen[v] = n
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		wg.Go(func() {
			for range 100 {
				look()
			}
		})
	}
	wg.Wait()
	for range 2 {
		look()
	}
	if len(seen) == 0 {
		t.Error("no picture had a version")
	}
}

// TestLargeBlob: what is written past the page cache, with an end that isn't a
// whole page, is the same afterwards.
func TestLargeBlob(t *testing.T) {
	s := open(t, t.TempDir())
	for _, n := range []int{16 << 20, 16<<20 + 4095, 33<<20 + 1} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i % 251)
		}
		for _, d := range [][]byte{data, data[1:]} { // the second stands across pages
			if err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutBlob(t.Context(), "large", d) }); err != nil {
				t.Fatal(err)
			}
			got, err := s.Blob(t.Context(), "large")
			if err != nil || !bytes.Equal(got, d) {
				t.Fatalf("%d bytes: %d, %v", len(d), len(got), err)
			}
		}
	}
}
