package telescope_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"sakimori/observe"
)

// TestTableIsBounded: 200,000 sources in a table of 2,048 events. It is never
// overfull, what had to go early is counted and told, scans stay longer than
// what is none, and every count stays right.
func TestTableIsBounded(t *testing.T) {
	for _, workers := range []int{1, 3} {
		cfg := dark("10.0.0.0/16")
		cfg.MaxEvents, cfg.Workers = 2048, workers
		r := build(t, cfg)
		const scanners, sources, block = 300, 200_000, 4000
		var recs []rec
		n := uint64(0)
		for i := range sources {
			recs = append(recs, syn(fmt.Sprintf("100.%d.%d.%d", 64+i>>16, i>>8&255, i&255), fmt.Sprintf("10.0.%d.%d", i>>8&255, i&255), 23).at(start+int64(i)*second/1000))
			if who := i / 70 % scanners; i%70 == 0 { // each scanner comes every 21 s
				for k := range 3 {
					recs = append(recs, syn(fmt.Sprintf("203.%d.%d.7", who>>8, who&255), fmt.Sprintf("10.0.%d.%d", i>>12, k), 445).at(start+int64(i)*second/1000))
				}
			}
			if len(recs) >= block || i == sources-1 {
				r.feed(recs...)
				n += uint64(len(recs))
				recs = recs[:0]
				live, most := r.Live()
				for _, l := range live {
					if l > most {
						t.Fatalf("%d events in a table of %d", l, most)
					}
				}
			}
		}
		r.finish()
		d := r.document()
		if d.Evicted < sources-2048 || d.DarkPackets != n || d.Classes.Scan != n {
			t.Errorf("%d workers: %d evicted, %d of %d packets", workers, d.Evicted, d.DarkPackets, n)
		}
		if err := math.Abs(float64(d.UniqueSources)/(sources+scanners) - 1); err > 0 && d.UniqueSourcesErr == 0 || err > 3*d.UniqueSourcesErr {
			t.Errorf("%d workers: %d sources (error %g) of %d", workers, d.UniqueSources, d.UniqueSourcesErr, sources+scanners)
		}
		got := map[string]int{}
		for _, s := range d.Scanners {
			got[s.Source.String()]++
		}
		if len(got) != scanners {
			t.Errorf("%d workers: %d scanners, not %d", workers, len(got), scanners)
		}
		whole := 0 // scans that were never ended
		for _, e := range r.AllOpen() {
			if e.Flags&observe.Scanner != 0 {
				whole++
			}
		}
		if whole != scanners {
			t.Errorf("%d workers: %d scans survived, not %d", workers, whole, scanners)
		}
		packets := uint64(0)
		for _, s := range d.Scanners {
			packets += s.Packets
		}
		if packets != n-sources {
			t.Errorf("%d workers: the scanners have %d packets, not %d", workers, packets, n-sources)
		}
	}
}

// TestScansGiveWayLast: when scans alone fill the table, the longest silent go.
func TestScansGiveWayLast(t *testing.T) {
	cfg := dark("10.0.0.0/16")
	cfg.MaxEvents, cfg.Workers = 1024, 1
	var recs []rec
	for src := range 1500 {
		for k := range 3 {
			recs = append(recs, syn(fmt.Sprintf("100.64.%d.%d", src>>8, src&255), fmt.Sprintf("10.0.0.%d", k), 445).at(start+int64(src)*2*second+int64(k)))
		}
	}
	r := watch(t, cfg, recs...)
	d := r.document()
	if len(d.Scanners) != 1500 || d.Evicted < 476 {
		t.Errorf("%d scanners, %d evicted", len(d.Scanners), d.Evicted)
	}
	open := r.AllOpen()
	for _, e := range r.Ended {
		if e.Last.After(open[len(open)-1].Last) {
			t.Errorf("%s ended although it was heard after one that stayed", e.Source)
		}
	}
}

// TestSetsAreBounded: with little memory for the sets of targets these are
// counted less sharply; the error that is stated holds.
func TestSetsAreBounded(t *testing.T) {
	cfg := dark("10.0.0.0/12")
	cfg.SetBytes, cfg.Workers = 64<<10, 1
	rng := rand.New(rand.NewPCG(13, 14))
	const sources, targets = 60, 2000
	r := build(t, cfg)
	var recs []rec
	for i := range targets {
		for s := range sources {
			recs = append(recs, syn(fmt.Sprintf("100.64.0.%d", s), fmt.Sprintf("10.%d.%d.%d", s&15, i>>8, i&255), 445).at(start+int64(len(recs))*1000))
		}
	}
	rng.Shuffle(len(recs), func(i, j int) { recs[i].data, recs[j].data = recs[j].data, recs[i].data })
	d := r.feed(recs...).finish().document()
	if len(d.Scanners) != sources {
		t.Fatalf("%d scanners", len(d.Scanners))
	}
	sharp, sum := 0, 0.0
	for _, s := range d.Scanners {
		off := float64(s.Targets)/targets - 1
		if math.Abs(off) > 3.5*s.TargetsErr {
			t.Errorf("%s: %d targets of %d, stated error %.3f", s.Source, s.Targets, targets, s.TargetsErr)
		}
		if s.TargetsErr < 0.06 {
			sharp++
		}
		sum += off
	}
	if sharp > sources/2 || math.Abs(sum/sources) > 0.04 {
		t.Errorf("%d sets are sharper than there is memory for; bias %.3f", sharp, sum/sources)
	}
	// The bound is one for growing: a set may still become exact up to 32, and
	// each of them then takes 256 bytes.
	if got := r.SetBytes(); got > cfg.SetBytes+sources*1024 {
		t.Errorf("the sets take %d bytes", got)
	}
}

// TestSketchErrors: 100,000 sources on one port, another 30,000 on a port that
// nobody looks at, and as many targets: what buckets and document say is within
// three deviations of what they state, and the sums are exact.
func TestSketchErrors(t *testing.T) {
	cfg := dark("10.0.0.0/12")
	r := build(t, cfg)
	const many, some = 100_000, 30_000
	var recs []rec
	for i := range many {
		recs = append(recs, syn(fmt.Sprintf("100.%d.%d.%d", 64+i>>16, i>>8&255, i&255), fmt.Sprintf("10.%d.%d.%d", i>>16&15, i>>8&255, i*7&255), 23).at(start+int64(i)*1000))
		if i < some {
			recs = append(recs, syn(fmt.Sprintf("100.%d.%d.%d", 80+i>>16, i>>8&255, i&255), "10.3.3.3", 40123).at(start+int64(i)*1000))
		}
	}
	r.feed(recs...).finish()
	r.Advance(r.Clocks[len(r.Clocks)-1].AddDate(0, 0, 2))
	d := r.feed(syn(host, "10.3.3.3", 23).at(start + 3*day)).finish().document()
	within := func(what string, n uint64, err float64, want float64, most float64) {
		t.Helper()
		if off := math.Abs(float64(n)/want - 1); off > 3*err || err > most {
			t.Errorf("%s: %d of %.0f, off by %.4f, stated %.4f", what, n, want, off, err)
		}
	}
	within("sources of the document", d.UniqueSources, d.UniqueSourcesErr, many+some+1, 0.0082)
	for _, p := range d.Ports {
		want := map[uint16]float64{23: many + 1, 40123: some}[p.Port]
		within(fmt.Sprint("sources of port ", p.Port), p.Sources, p.SourcesErr, want, 0.0082)
		if p.Packets != uint64(want) {
			t.Errorf("port %d: %d packets", p.Port, p.Packets)
		}
	}
	var grains [3]int
	for _, b := range r.Buckets {
		if b.Start >= start/second+86400 {
			continue
		}
		for _, row := range b.Rows {
			if row.Packets != many && row.Packets != some && row.Packets != many+some {
				t.Errorf("%d packets", row.Packets)
			}
			most := 0.0082
			if row.Dim == observe.ByAS || row.Dim == observe.ByPort && row.Key == 6<<16|40123 {
				most = 0.0163
			}
			within(fmt.Sprint(b.Grain, row.Dim, row.Key), row.Sources, float64(row.SourcesErr), float64(row.Packets), most)
			if row.Dim == observe.ByPort && row.Key == 6<<16|40123 && (row.Targets != 1 || row.TargetsErr != 0) {
				t.Errorf("targets of the quiet port: %d", row.Targets)
			}
			grains[b.Grain]++
		}
	}
	if grains != [3]int{7, 7, 7} {
		t.Errorf("rows by grain: %v", grains)
	}
}
