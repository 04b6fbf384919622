package telescope_test

import (
	"fmt"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/observe/telescope"
	"sakimori/sim"
)

// blockWriter gathers a simulated capture in blocks, as a reader fills them.
type blockWriter struct{ blocks []packet.Block }

func (w *blockWriter) WriteFrame(ts int64, data []byte) error {
	if n := len(w.blocks); n == 0 || len(w.blocks[n-1].Frames) == 4096 {
		w.blocks = append(w.blocks, packet.Block{})
	}
	b := &w.blocks[len(w.blocks)-1]
	b.Frames = append(b.Frames, packet.Frame{Time: ts, Off: uint32(len(b.Buf)), Len: uint32(len(data)), Orig: uint32(len(data)), Link: packet.LinkEthernet})
	b.Buf = append(b.Buf, data...)
	return nil
}

// zipf is a small file of the benchmark's kind.
func zipf(t tb, packets uint64, sources, keys int) ([]packet.Block, sim.Truth) {
	t.Helper()
	w := &blockWriter{}
	truth, err := sim.Zipf(packets, sources, keys, 1).Write(w)
	if err != nil {
		t.Fatal(err)
	}
	return w.blocks, truth
}

func bulk(workers int) telescope.Config {
	cfg := telescope.DefaultConfig()
	cfg.Workers = workers
	for _, p := range sim.BulkDark {
		cfg.Dark = append(cfg.Dark, telescope.DarkPrefix{Prefix: p})
	}
	return cfg
}

// ingest hands over a copy of a block, its times moved by so many nanoseconds.
func (r *rig) ingest(b *packet.Block, by int64) {
	to := r.Block()
	to.Buf = append(to.Buf[:0], b.Buf...)
	to.Frames = append(to.Frames[:0], b.Frames...)
	for i := range to.Frames {
		to.Frames[i].Time += by
	}
	r.Ingest(to)
}

// TestNoAllocations: packets of events that are known cost no allocation, with
// sources placed, targets counted and tools looked for.
func TestNoAllocations(t *testing.T) {
	blocks, _ := zipf(t, 8192, 500, 1000)
	cfg := bulk(2)
	cfg.Place = func(a packet.Addr) ([2]byte, uint32) { return [2]byte{'J', 'P'}, uint32(a.Lo & 63) }
	r := build(t, cfg)
	run := func() {
		for i := range blocks {
			r.ingest(&blocks[i], 0)
		}
	}
	for range 20 { // every event, every set and every block of the pool
		run()
	}
	r.Totals()
	allocs := testing.AllocsPerRun(20, run)
	if per := allocs / 8192; per > 0.001 {
		t.Errorf("%.0f allocations for 8,192 packets of known events", allocs)
	}
}

// TestZipfTruth: the file of the benchmark gives the sums that its maker knows.
func TestZipfTruth(t *testing.T) {
	blocks, truth := zipf(t, 100_000, 3000, 10_000)
	cfg := bulk(2)
	cfg.Detail = true
	r := build(t, cfg)
	for i := range blocks {
		r.ingest(&blocks[i], 0)
	}
	d := r.finish().document()
	if d.Packets != truth.Packets || d.DarkPackets != truth.DarkPackets || d.UniqueSources != truth.UniqueSources || d.DarkAddresses.Hit != truth.DarkAddresses.Hit ||
		d.Classes.Scan != truth.Classes.Scan || d.Classes.Backscatter != truth.Classes.Backscatter {
		t.Errorf("%+v, want %+v", sums(d).Classes, truth.Classes)
	}
	for i, p := range truth.Ports {
		if i < len(d.Ports) && (d.Ports[i].Packets != p.Packets || d.Ports[i].Sources != p.Sources) && d.Ports[i].Port == p.Port {
			t.Errorf("port %d: %+v, want %+v", p.Port, d.Ports[i], p)
		}
	}
	if len(d.Ports) != len(truth.Ports) {
		t.Errorf("%d ports, want %d", len(d.Ports), len(truth.Ports))
	}
}

// BenchmarkIngest is the engine alone, from blocks in memory: packets/s, and what
// adding workers brings.
func BenchmarkIngest(b *testing.B) {
	const packets = 400_000
	blocks, _ := zipf(b, packets, 12_000, 40_000)
	span := packets * second / sim.Rate
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			r := build(b, bulk(workers))
			by := int64(0)
			for b.Loop() {
				for i := range blocks {
					r.ingest(&blocks[i], by)
				}
				by += span
			}
			r.Totals()
			b.ReportMetric(packets*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
			b.ReportMetric(packets*float64(b.N)/b.Elapsed().Seconds()/float64(workers), "packets/s/worker")
		})
	}
}
