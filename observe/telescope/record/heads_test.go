package record_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

// TestRankingsFollowWrites: two hours are written again and again, both in one
// transaction, while rankings are asked for. What is kept in memory of them may
// show neither a state from before what was acknowledged, nor one that isn't
// committed, nor one of each.
func TestRankingsFollowWrites(t *testing.T) {
	s, r := open(t, t.TempDir())
	in := observe.Range{From: at(epoch), To: at(epoch + 2*3600)}
	batch := func(n uint64) record.Batch {
		row := record.Row{Dim: observe.ByPort, Key: 7, Packets: n, Sources: 1, Targets: 1}
		return record.Batch{Part: 1, Buckets: []record.Bucket{bucket(observe.Hour, epoch, 1, row), bucket(observe.Hour, epoch+3600, 1, row)}}
	}
	ask := func() uint64 {
		rows, err := r.Top(t.Context(), observe.ByPort, in, "packets", 5, 0)
		if err != nil || len(rows) != 1 {
			t.Errorf("%+v, %v", rows, err)
			return 0
		}
		return rows[0].Packets
	}
	write(t, s, r, batch(1))
	var acked, begun atomic.Uint64
	acked.Store(1)
	begun.Store(1)
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !done.Load() {
				least := acked.Load()
				got := ask()
				if most := begun.Load(); got%2 != 0 || got/2 < least || got/2 > most {
					t.Errorf("%d packets, want 2 × one of %d to %d", got, least, most)
					return
				}
			}
		})
	}
	no := errors.New("no")
	for n := uint64(2); n < 60; n++ {
		err := s.Tx(t.Context(), func(tx *store.Tx) error {
			if err := r.Write(tx, batch(1000+n)); err != nil {
				return err
			}
			if got := ask(); got != 2*(n-1) {
				t.Errorf("%d packets before the commit, want %d", got, 2*(n-1))
			}
			return no
		})
		if !errors.Is(err, no) {
			t.Fatal(err)
		}
		if got := ask(); got != 2*(n-1) {
			t.Errorf("%d packets after what was rolled back, want %d", got, 2*(n-1))
		}
		begun.Store(n)
		write(t, s, r, batch(n))
		acked.Store(n)
		if got := ask(); got != 2*n {
			t.Errorf("%d packets, want %d", got, 2*n)
		}
	}
	done.Store(true)
	readers.Wait()
}

// TestRankingsFollowMonths: a month that is rolled up anew is asked for anew.
func TestRankingsFollowMonths(t *testing.T) {
	s, r := open(t, t.TempDir())
	in := observe.Range{From: at(epoch).AddDate(0, 0, -28), To: at(epoch + 4*86400)} // January, and the first of February
	put := func(part uint64, d int64, packets uint64) {
		t.Helper()
		write(t, s, r, record.Batch{Part: part, Buckets: []record.Bucket{bucket(observe.Day, epoch+d*86400, 1, total(packets), port(7, packets))}})
	}
	want := func(what string, packets uint64) {
		t.Helper()
		rows, err := r.Top(t.Context(), observe.ByPort, in, "packets", 5, 0)
		if err != nil || len(rows) != 1 || rows[0].Packets != packets {
			t.Errorf("%s: %+v, %v, want %d", what, rows, err, packets)
		}
		if p, err := r.Total(t.Context(), in); err != nil || p.Packets != packets {
			t.Errorf("%s: total %+v, %v, want %d", what, p, err, packets)
		}
	}
	rollup := func() {
		t.Helper()
		if err := r.Rollup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for d := range int64(4) {
		put(1, d, 10)
	}
	rollup()
	want("rolled up", 40)
	put(2, 1, 100)
	want("a day more", 140)
	rollup()
	want("rolled up anew", 140)
	put(2, 1, 200)
	rollup()
	want("rolled up a third time", 240)
}
