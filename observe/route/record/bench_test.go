package record_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/route/record"
)

// full is a table of so many prefixes and paths.
type full struct {
	observe.RouteTable
	paths []observe.RoutePath
	peer  observe.RoutePeer
}

func (f *full) Path(id uint32) *observe.RoutePath { return &f.paths[id-1] }
func (f *full) Uses(uint32) int                   { return 1 }
func (f *full) Peer(uint32) *observe.RoutePeer    { return &f.peer }

func (f *full) Prefix(n uint32) netip.Prefix {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n<<8)
	return netip.PrefixFrom(netip.AddrFrom4(a), 24)
}

// BenchmarkTable: a table of a million prefixes of one peer is taken, saved, and asked for
// after as many changes.
func BenchmarkTable(b *testing.B) {
	const prefixes, paths = 1_000_000, 200_000
	f := &full{peer: observe.RoutePeer{Feed: "f", AS: 64500}}
	for i := range uint32(paths) {
		f.paths = append(f.paths, observe.RoutePath{ASes: []uint32{64500, i % 50, i % 997, i % 9973, i}, Origin: i, Communities: []uint32{1, i % 1000, 3}})
	}
	s, rec := opened(b)
	w := writer(b, rec, record.Options{Part: 1, Pending: prefixes + 1, PerMinute: prefixes})
	batch := &observe.RouteBatch{Table: f, Routes: make([]observe.Route, 256)}
	round := 0
	for b.Loop() {
		began := cpu()
		for i := uint32(0); i < prefixes; {
			n := min(len(batch.Routes), int(prefixes-i))
			for k := range n {
				i++
				batch.Routes[k] = observe.Route{At: epoch + int64(round)*3600e9, Prefix: i, Peer: 1, Path: 1 + (i*7919+uint32(round))%paths}
			}
			w.Routed(&observe.RouteBatch{Table: f, Routes: batch.Routes[:n]})
		}
		took := cpu() - began
		began = cpu()
		serial := w.Cut()
		if err := s.Tx(b.Context(), func(tx *store.Tx) error { return w.Save(b.Context(), tx, serial) }); err != nil {
			b.Fatal(err)
		}
		w.Saved(serial)
		b.ReportMetric(float64(took)/prefixes, "cpu-ns/take")
		b.ReportMetric(float64(cpu()-began)/prefixes, "cpu-ns/save")
		round++
	}
	if err := s.Checkpoint(b.Context()); err != nil {
		b.Fatal(err)
	}
	z, err := s.Size()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(z.Database)/prefixes/float64(round), "B/change")
	begun := time.Now()
	got, err := rec.Show(b.Context(), observe.RouteQuery{Prefix: f.Prefix(4711), At: at(epoch), Limit: 10})
	if err != nil || len(got.Routes) != 1 {
		b.Fatal(got, err)
	}
	b.ReportMetric(float64(time.Since(begun).Milliseconds()), "ms/show")
	if st := w.Stats(); st.Dropped > 0 {
		b.Fatal(fmt.Sprint(st))
	}
}

// cpu is the processor time that this process has used, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
