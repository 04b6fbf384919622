package backscatter_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/ddos/backscatter"
	"sakimori/observe"
)

// attack is what the oracle says of one run of answers.
type attack struct {
	from        string
	first, last time.Duration
	packets     int
}

// oracle applies the rule to the packets themselves, window by window.
func oracle(in []answer) []attack {
	by := map[string][]time.Duration{}
	for _, p := range in {
		by[p.from] = append(by[p.from], p.at)
	}
	var out []attack
	for from, ts := range by {
		slices.Sort(ts)
		for len(ts) > 0 {
			n := 1
			for n < len(ts) && ts[n]-ts[n-1] <= 300*time.Second {
				n++
			}
			run := ts[:n]
			ts = ts[n:]
			most := 0
			for w := -60 * time.Second; w <= run[n-1]; w += 10 * time.Second {
				c := 0
				for _, t := range run {
					if t >= w && t < w+60*time.Second {
						c++
					}
				}
				most = max(most, c)
			}
			if n >= 25 && run[n-1]-run[0] >= 60*time.Second && most >= 30 {
				out = append(out, attack{from, run[0], run[n-1], n})
			}
		}
	}
	slices.SortFunc(out, func(a, b attack) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.first, b.first)) })
	return out
}

func draw(t *rapid.T) []answer {
	var out []answer
	for v := range rapid.IntRange(1, 2).Draw(t, "victims") {
		now := time.Duration(rapid.IntRange(0, 100_000).Draw(t, "begin")) * time.Millisecond
		for range rapid.IntRange(1, 8).Draw(t, "bursts") {
			n := rapid.IntRange(1, 40).Draw(t, "packets")
			gap := rapid.IntRange(1, 4000).Draw(t, "gap")
			port := rapid.SampledFrom([]uint16{80, 443}).Draw(t, "port")
			kind := rapid.SampledFrom([]observe.Kind{observe.KindTCPSynAck, observe.KindTCPRst}).Draw(t, "kind")
			for range n {
				now += time.Duration(gap) * time.Millisecond
				out = append(out, answer{now, fmt.Sprintf("198.51.100.%d", v), port, packet.TCP, kind, 0})
			}
			now += rapid.SampledFrom([]time.Duration{
				0, 20 * time.Second, 60 * time.Second, 299 * time.Second,
				300 * time.Second, 301 * time.Second, 20 * time.Minute,
			}).Draw(t, "pause")
		}
	}
	return out
}

func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		var l log
		d := detector(&l)
		d.Sight(sight(in))
		d.Tick(start.Add(24 * time.Hour))
		var got []attack
		for _, f := range l {
			if f.State == detect.Closed {
				var n int
				fmt.Sscan(f.Evidence[0].Value, &n)
				got = append(got, attack{f.Subject, f.Opened.Sub(start), f.Closed.Sub(start) - 300*time.Second, n})
			}
		}
		slices.SortFunc(got, func(a, b attack) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.first, b.first)) })
		if diff := gocmp.Diff(oracle(in), got, gocmp.AllowUnexported(attack{})); diff != "" {
			t.Fatal(diff)
		}
		total := 0
		for _, v := range d.Victims() {
			total += int(v.Packets)
		}
		for _, a := range got {
			total -= a.packets
		}
		if total != 0 {
			t.Fatalf("the vectors hold %d packets more than the attacks", total)
		}
	})
}

func run(in [][]observe.Sighting) (log, []backscatter.Victim) {
	var l log
	d := detector(&l)
	for _, b := range in {
		d.Sight(b)
	}
	d.Tick(start.Add(24 * time.Hour))
	return l, d.Victims()
}

func TestCutsOrderAndRestartChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := sight(draw(t))
		want, wantVictims := run([][]observe.Sighting{in})

		var cuts [][]observe.Sighting
		for rest := in; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			cuts, rest = append(cuts, rest[:n]), rest[n:]
		}
		got, victims := run(cuts)
		if diff := gocmp.Diff(want, got) + gocmp.Diff(wantVictims, victims); diff != "" {
			t.Fatalf("cut into batches: %s", diff)
		}

		var shuffled []observe.Sighting
		for i := 0; i < len(in); {
			j := i
			for j < len(in) && in[j].Minute == in[i].Minute {
				j++
			}
			shuffled = append(shuffled, rapid.Permutation(in[i:j]).Draw(t, "order")...)
			i = j
		}
		got, victims = run([][]observe.Sighting{shuffled})
		if diff := gocmp.Diff(want, got) + gocmp.Diff(wantVictims, victims); diff != "" {
			t.Fatalf("another order within the minute: %s", diff)
		}

		var l log
		d := detector(&l)
		for _, b := range cuts {
			d.Sight(b)
			state, err := d.State()
			if err != nil {
				t.Fatal(err)
			}
			d = detector(&l)
			if err := d.Restore(state); err != nil {
				t.Fatal(err)
			}
			if again, err := d.State(); err != nil || string(again) != string(state) {
				t.Fatalf("the state changed by being restored (%v)", err)
			}
		}
		d.Tick(start.Add(24 * time.Hour))
		if diff := gocmp.Diff(want, l) + gocmp.Diff(wantVictims, d.Victims()); diff != "" {
			t.Fatalf("restarted after each batch: %s", diff)
		}
	})
}
