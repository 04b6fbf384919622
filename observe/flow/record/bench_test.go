package record_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow/record"
)

// traffic are flows between hosts and services, as many different ones as keys; half of
// them go on for some seconds.
func traffic(n, keys int, at int64) []observe.Flow {
	r := rand.New(rand.NewPCG(1, 2))
	flows := make([]observe.Flow, n)
	for i := range flows {
		k := uint32(r.IntN(keys))
		f := observe.Flow{
			Src: packet.V4(0x0a000000 + k), Dst: packet.V4(0xc0000200 + k%251), SrcPort: uint16(1024 + k%50000), DstPort: 443, Proto: packet.TCP,
			Last: at*1e9 + int64(r.IntN(60e9)), Packets: uint64(1 + r.IntN(100)), Rate: 1, Exporter: 1 + k%4, In: 1, Out: 2,
		}
		f.First = f.Last - int64(r.IntN(2))*int64(r.IntN(10e9))
		f.Bytes, f.Seen = f.Packets*uint64(64+r.IntN(1400)), uint32(f.Packets)
		flows[i] = f
	}
	return flows
}

func BenchmarkTake(b *testing.B) {
	for _, keys := range []int{100, 10_000, 60_000, 10_000_000} {
		for _, rate := range []uint32{1, 1000} {
			b.Run(fmt.Sprintf("keys=%d/rate=%d", keys, rate), func(b *testing.B) {
				w := writer(b, opened(b), record.Options{})
				flows := traffic(1<<18, keys, epoch)
				for i := range flows {
					flows[i].Rate, flows[i].Packets, flows[i].Bytes = rate, flows[i].Packets*uint64(rate), flows[i].Bytes*uint64(rate)
				}
				b.ReportAllocs()
				n, begun := 0, cpu()
				for b.Loop() {
					w.Take(flows[n : n+1024])
					if n += 1024; n == len(flows) {
						n = 0
					}
				}
				b.ReportMetric(float64(cpu()-begun)/float64(b.N)/1024, "cpu-ns/flow") // holds on a busy machine, too
			})
		}
	}
}

// BenchmarkSave: a minute of as many keys as are kept, and its part of the coarser grains.
func BenchmarkSave(b *testing.B) {
	s := opened(b)
	w := writer(b, s, record.Options{})
	begun, m := cpu(), int64(0)
	for b.Loop() {
		w.Take(traffic(1<<17, 20_000, epoch+60*m))
		m++
		serial := w.Cut()
		if err := s.Tx(b.Context(), func(tx *store.Tx) error { return w.Save(b.Context(), tx, serial) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu()-begun)/1e6/float64(m), "cpu-ms/minute")
	if err := s.Checkpoint(b.Context()); err != nil {
		b.Fatal(err)
	}
	z, err := s.Size()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(z.Database)/float64(m), "B/minute")
	rec, err := record.New(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	begun = cpu()
	if _, err := rec.Top(b.Context(), observe.FlowByDst, observe.FlowQuery{Range: observe.Range{From: at(epoch), To: at(epoch + 60*m)}, Limit: 20}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu()-begun)/1e6, "cpu-ms/top")
}

// cpu is the processor time that this process has used, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

const epoch = int64(1_700_006_400) // begins an hour

func opened(tb testing.TB) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), tb.TempDir(), store.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func writer(tb testing.TB, s *store.Store, o record.Options) *record.Writer {
	tb.Helper()
	r, err := record.New(tb.Context(), s)
	if err != nil {
		tb.Fatal(err)
	}
	w, err := r.Writer(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func at(t int64) time.Time { return time.Unix(t, 0).UTC() }
