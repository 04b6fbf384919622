package record_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// The test binary runs itself as the process to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RECORD_TEST_DIR"); dir != "" {
		fmt.Fprintln(os.Stderr, writeDays(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	again     = 60_000 // is among the sources of a day that was written twice
	hoursKept = 5      // days
)

// dayOf is what step n writes of day d: d itself, or the day before once more.
func dayOf(n, d int64) (packets uint64, sources map[uint16]bool) {
	if d == n {
		return uint64(d + 1), map[uint16]bool{uint16(d): true}
	}
	return uint64(d + 1_000_000), map[uint16]bool{uint16(d): true, again: true}
}

// writeDays writes a day after the other for ever, each twice, with its first
// hour; months are rolled up and old hours deleted. It says each step once
// it is acknowledged.
func writeDays(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		return err
	}
	r, err := record.New(ctx, s, mergeExact)
	if err != nil {
		return err
	}
	var n int64
	if err := s.QueryRow(ctx, `SELECT coalesce(max(start) - ?, 0) // 86400 FROM telescope_bucket WHERE grain = 2`, epoch-86400).Scan(&n); err != nil {
		return err
	}
	for ; ; n++ {
		b := record.Batch{Part: 1}
		for d := max(0, n-1); d <= n; d++ {
			packets, sources := dayOf(n, d)
			row := record.Row{Dim: observe.ByPort, Key: 7, Packets: packets, Sources: uint64(len(sources)), Targets: 1, SourceSet: exact(sources), TargetSet: exact(map[uint16]bool{1: true})}
			for _, g := range []observe.Grain{observe.Hour, observe.Day} {
				b.Buckets = append(b.Buckets, bucket(g, epoch+d*86400, 1, row))
			}
		}
		if err := s.Tx(ctx, func(tx *store.Tx) error { return r.Write(tx, b) }); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
		if n%7 == 0 {
			if _, err := r.Retain(ctx, at(epoch+n*86400), record.Policy{Hours: hoursKept * 24 * time.Hour}); err != nil {
				return err
			}
		}
		if n%11 == 0 {
			if err := r.Rollup(ctx); err != nil {
				return err
			}
		}
	}
}

// TestKillWithSheets kills a process that writes sketches, twelve times, in the
// middle of whatever it is doing.
func TestKillWithSheets(t *testing.T) {
	dir := t.TempDir()
	last := int64(-1)
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "RECORD_TEST_DIR="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begun, acked := make(chan bool, 1), make(chan int64, 1)
		go func() {
			n := int64(-1)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if i, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
					n = i
				}
				select {
				case begun <- true:
				default:
				}
			}
			close(begun)
			acked <- n
		}()
		if !<-begun {
			t.Fatal("the child gave up; its error is above")
		}
		time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		last = max(last, <-acked)
		_ = cmd.Wait() // killed: never a success
		last = checkDays(t, dir, last)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if last < 24 {
		t.Errorf("only %d days in 12 rounds: nothing was tested", last)
	}
	t.Logf("%d days survived 12 kills", last)
}

// checkDays compares a data folder with the last step that was acknowledged, and
// gives the one that it is at.
func checkDays(t *testing.T, dir string, acked int64) int64 {
	t.Helper()
	ctx := t.Context()
	s, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		t.Fatalf("open after the kill: %v", err)
	}
	defer s.Close()
	r, err := record.New(ctx, s, mergeExact)
	if err != nil {
		t.Fatal(err)
	}
	everything := observe.Range{From: at(epoch), To: at(epoch + (acked+2)*86400)}
	days, err := r.Series(ctx, observe.ByPort, 7, everything, observe.Day)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(len(days)) - 1
	if n < acked || n > acked+1 {
		t.Errorf("step %d was acknowledged, the record is at %d", acked, n)
	}
	for d, p := range days {
		packets, sources := dayOf(n, int64(d))
		if p.Packets != packets || p.Sources.N != uint64(len(sources)) {
			t.Errorf("day %d of %d: %+v", d, n, p)
		}
	}
	checkSheets(t, s, r, dir, n, everything)
	// Questions that merge sketches: of all, through months, and of a few days.
	for _, from := range []int64{0, max(0, n-1), max(0, n-rand.Int64N(40))} {
		rows, err := r.Top(ctx, observe.ByPort, observe.Range{From: at(epoch + from*86400), To: everything.To}, "sources", 1, 0)
		want := uint64(n - from + 1)
		if from < n {
			want++ // again
		}
		if err != nil || len(rows) != 1 || rows[0].Sources != (observe.Unique{N: want}) {
			t.Errorf("from day %d to %d: %+v, %v, want %d sources", from, n, rows, err, want)
		}
	}
	return n
}

// checkSheets: each bucket has its sheet, no other has, all are whole, and
// nothing else lies around.
func checkSheets(t *testing.T, s *store.Store, r *record.Record, dir string, n int64, everything observe.Range) {
	t.Helper()
	ctx := t.Context()
	files, err := s.OpenBlobs(ctx, s, store.Names{From: "telescope/sketches/", To: "telescope/sketches0"})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string][]int64{}
	named := map[string]bool{}
	for _, f := range files {
		_ = f.Close()
		named[filepath.Base(f.File.Name())] = true
		if b, err := s.Blob(ctx, f.Name); err != nil || len(b) == 0 {
			t.Errorf("%s: %d bytes, %v", f.Name, len(b), err)
		}
		parts := strings.Split(f.Name, "/")
		start, err := strconv.ParseUint(parts[3], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		have[parts[2]] = append(have[parts[2]], int64(start^1<<63))
	}
	hours, err := r.Series(ctx, observe.ByPort, 7, everything, observe.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int64{}
	for d := range n + 1 {
		want["day"] = append(want["day"], epoch+d*86400)
	}
	for _, p := range hours {
		want["hour"] = append(want["hour"], p.Time.Unix())
	}
	if len(hours) < int(min(n, hoursKept)) {
		t.Errorf("%d hours at day %d", len(hours), n)
	}
	rows, err := s.Query(ctx, `SELECT start FROM telescope_month ORDER BY start`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var m int64
		if err := rows.Scan(&m); err != nil {
			t.Fatal(err)
		}
		want["month"] = append(want["month"], m)
	}
	for _, level := range []string{"hour", "day", "month"} {
		if !slices.Equal(have[level], want[level]) {
			t.Errorf("sheets of %ss: %v, want %v", level, have[level], want[level])
		}
	}
	there, err := os.ReadDir(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range there {
		if !named[f.Name()] {
			t.Errorf("%s lies around", f.Name())
		}
	}
	if len(there) != len(named) {
		t.Errorf("%d files, %d are named", len(there), len(named))
	}
}
