package gates_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
	"sakimori/observe/flow"
	"sakimori/sim"
)

// What the gate of floods asks for. The innocent may not be accused even once.
const (
	leastFloodPrecision = 0.98
	leastFloodRecall    = 0.95
)

// watch is what the collector and the detector make of flows.
type watch struct {
	directory *flow.Directory
	collector *flow.Collector
	detector  *ddos.Detector
	now       int64 // second of arrival in hand

	flows, packets uint64 // as the collector tells them, scaled
	attacks        map[string]detect.Attack
	told           map[string]time.Time // when each was first told
	order          []string
}

func newWatch(t *testing.T, own []netip.Prefix, lines ddos.Thresholds) *watch {
	t.Helper()
	w := &watch{attacks: map[string]detect.Attack{}, told: map[string]time.Time{}}
	var err error
	if w.directory, err = flow.NewDirectory(flow.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	cfg := ddos.DefaultConfig()
	cfg.Own, cfg.Thresholds, cfg.Addresses, cfg.Warm = own, lines, 1<<16, 1<<9
	if w.detector, err = ddos.New(cfg, ddos.Ports{}, ddos.Sinks{Attacks: w}); err != nil {
		t.Fatal(err)
	}
	w.collector = w.directory.Collector(w.take)
	return w
}

func (w *watch) take(batch []observe.Flow) {
	for i := range batch {
		w.flows++
		w.packets += batch[i].Packets
	}
	w.detector.Take(batch)
}

// Attack hears of a version.
func (w *watch) Attack(a detect.Attack) {
	if _, again := w.told[a.ID]; !again {
		w.told[a.ID] = time.Unix(w.now, 0).UTC()
		w.order = append(w.order, a.ID)
	}
	w.attacks[a.ID] = a
}

// Course isn't judged.
func (w *watch) Course(string, []detect.CoursePoint) {}

// until lets the seconds of arrival pass, one after the other.
func (w *watch) until(at int64) {
	second := at / int64(time.Second)
	if w.now == 0 {
		w.now = second
		w.detector.Tick(time.Unix(w.now, 0))
	}
	const quiet = 300 // of a longer gap nobody needs each second
	for w.now < second {
		if w.now%quiet == 0 && second-w.now > 2*quiet {
			w.now = second - quiet
		}
		w.collector.Flush()
		w.now++
		w.detector.Tick(time.Unix(w.now, 0))
	}
}

// flood is a flow scene with what was made of it.
type flood struct {
	scene sim.NamedFlowScene
	truth sim.FlowTruth
	*watch
	score, calm score
	notes       int
	rows        []floodRow
}

// floodRow is one attack of the truth in the table of delays.
type floodRow struct {
	target, vector, said string
	delay, evidence      time.Duration // from when it was above its line; from when an exporter told of it after that
	found, beyond        bool
}

func playFlood(t *testing.T, s sim.NamedFlowScene) *flood {
	t.Helper()
	f := &flood{scene: s, watch: newWatch(t, s.Scene.Own, ddos.DefaultThresholds())}
	var err error
	f.truth, err = s.Scene.Tell(func(at int64, router int, data []byte) error {
		f.until(at)
		return f.collector.Ingest(data, s.Scene.Routers[router].Address, at)
	})
	if err != nil {
		t.Fatal(err)
	}
	f.collector.Flush()
	f.until(f.now*int64(time.Second) + 5*int64(time.Second))
	f.counts(t)
	f.judge()
	f.collector, f.detector, f.directory = nil, nil, nil // a hundred of them are much
	return f
}

// counts holds what the collector read against the truth: each record, and all packets
// within what chance allows. Where exporters lose or forget something, less may come.
func (f *flood) counts(t *testing.T) {
	t.Helper()
	lossy, most := false, uint32(1)
	for _, e := range f.truth.Exporters {
		lossy = lossy || e.Lost+e.LostFlows+e.Untold+e.Unseen > 0
		most = max(most, e.Sampling)
	}
	if f.flows != f.truth.Records && !lossy {
		t.Errorf("the collector made %d flows of %d records", f.flows, f.truth.Records)
	}
	want := float64(f.truth.Packets)
	if r := float64(f.packets) / want; !lossy && (r-1)*(r-1)*want > 25*float64(most) {
		t.Errorf("%d packets came of %d that passed", f.packets, f.truth.Packets)
	}
}

// named is what a detector should say of an attack: the vector with most of its packets.
func named(a *sim.FlowAttack) string { return a.Vectors[0].Name }

// above tells whether an attack is above the lines that are set.
func above(a *sim.FlowAttack) bool {
	t := ddos.DefaultThresholds()
	line, wide := t.Address, 1.0
	switch n := a.Target.Addr().BitLen() - a.Target.Bits(); {
	case a.Direction == string(detect.Outgoing):
		line = t.Outgoing
	case n == 0:
	default:
		line = t.Prefix
		switch a.Target.Bits() {
		case 22, 56:
			wide = 2
		case 20, 48:
			wide = 4
		}
	}
	return float64(a.PeakPPS) > wide*line.Packets || float64(a.PeakBPS) > wide*line.Bits ||
		slices.Contains([]string{"syn", "connections"}, named(a)) && float64(a.PeakPPS) > wide*line.Flows // each is a new flow
}

// about tells whether what was said is about an attack of the truth.
func about(a *detect.Attack, x *sim.FlowAttack) bool {
	if string(a.Direction) != x.Direction || a.Opened.After(x.End.Add(2*time.Second)) || a.Opened.Before(x.Onset.Add(-2*time.Second)) {
		return false
	}
	p := a.Object.Prefix
	switch {
	case !p.IsValid():
		return false
	case a.Direction == detect.Outgoing && p.IsSingleIP() && slices.Contains(x.Own, p.Addr()):
		return true
	}
	return p == x.Target || !x.Target.IsSingleIP() && !p.IsSingleIP() && p.Overlaps(x.Target)
}

// judge compares. A claim is right if target, direction and main vector are, and if it is
// the only one about that attack. What has no form of an attack is a note, not a claim.
func (f *flood) judge() {
	heard := make([]*detect.Attack, len(f.truth.Attacks))
	accused := map[netip.Addr]bool{}
	for _, id := range f.order {
		a := f.attacks[id]
		if a.Severity == detect.Note {
			f.notes++
			continue
		}
		i := slices.IndexFunc(f.truth.Attacks, func(x sim.FlowAttack) bool { return about(&a, &x) && above(&x) })
		right := i >= 0 && len(a.Vectors) > 0 && a.Vectors[0].Name == named(&f.truth.Attacks[i]) && heard[i] == nil
		f.score.claim(right, "%s: said %s; %s", f.scene.Name, saidOf(&a), a.Why.EN)
		if i >= 0 && heard[i] == nil {
			heard[i] = &a
		}
		if i < 0 && a.Object.Prefix.IsSingleIP() {
			accused[a.Object.Prefix.Addr()] = true
		}
	}
	for i := range f.truth.Attacks {
		x := &f.truth.Attacks[i]
		row := floodRow{target: x.Target.String(), vector: named(x), beyond: !above(x)}
		if a := heard[i]; a != nil {
			row.found, row.said = true, saidOf(a)
			begin := f.crossed(x)
			row.delay, row.evidence = f.told[a.ID].Sub(begin), f.told[a.ID].Sub(begin.Add(max(0, x.Told.Sub(begin))))
		}
		f.rows = append(f.rows, row)
		if row.beyond {
			f.score.beyond++
			continue
		}
		ok := row.found && len(heard[i].Vectors) > 0 && heard[i].Vectors[0].Name == row.vector
		f.score.want(ok, "%s: %s of %s, peak %d packets/s, %d Mbit/s; said %s", f.scene.Name, row.vector, row.target, x.PeakPPS, x.PeakBPS/1e6, cmp.Or(row.said, "nothing"))
		if row.found {
			f.score.delays = append(f.score.delays, row.delay)
		}
	}
	for _, x := range f.truth.Innocents {
		f.calm.claim(!accused[x.Address], "%s: %s %s is accused", f.scene.Name, x.Kind, x.Address)
	}
}

// crossed is when an attack was first above a third of its peak: one that rises can't be
// told from its first packet on. For one at a constant rate it is its onset.
func (f *flood) crossed(x *sim.FlowAttack) time.Time {
	i := slices.IndexFunc(x.Course, func(n uint64) bool { return n > x.PeakPPS/3 })
	at := f.truth.Start.Add(time.Duration(i) * time.Second)
	if at.Before(x.Onset) {
		return x.Onset
	}
	return at
}

func saidOf(a *detect.Attack) string {
	var vectors []string
	for _, v := range a.Vectors {
		vectors = append(vectors, fmt.Sprintf("%s %.2f", v.Name, v.Share))
	}
	return fmt.Sprintf("severity %d, %s %s %s, %s, %.0f ± %.0f packets/s, %.0f Mbit/s", a.Severity, a.Direction, a.Object.Prefix, a.Object.Name, strings.Join(vectors, ", "), a.Peak.Packets.N, a.Peak.Packets.Error, a.Peak.Bits.N/1e6)
}

// TestFloods is the gate of floods: every flow scene through the collector and the
// detector. It keeps docs/gates-ddos.md (go test ./test/gates -run TestFloods -update).
func TestFloods(t *testing.T) {
	t.Parallel()
	scenes := sim.FlowScenes()
	results := make([]*flood, len(scenes))
	var mu sync.Mutex
	t.Run("scene", func(t *testing.T) {
		for i, s := range scenes {
			s.Scene.Seed += *seed
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				f := playFlood(t, s)
				mu.Lock()
				defer mu.Unlock()
				results[i] = f
			})
		}
	})
	whole := !slices.Contains(results, nil)
	results = slices.DeleteFunc(results, func(f *flood) bool { return f == nil })
	var all, calm score
	notes := 0
	for _, f := range results {
		all.add(&f.score)
		calm.add(&f.calm)
		notes += f.notes
	}
	for _, m := range slices.Concat(all.misses, calm.misses) {
		t.Log(m)
	}
	page := floodPage(results, &all, &calm, notes)
	t.Log("\n" + page)
	if all.precision() < leastFloodPrecision || all.recall() < leastFloodRecall || calm.right < calm.claims {
		t.Errorf("precision %.4f (of %d), recall %.4f (of %d), %d innocent accused", all.precision(), all.claims, all.recall(), all.wanted, calm.claims-calm.right)
	}
	if *update && *seed == 0 && whole && !t.Failed() {
		if err := os.WriteFile(filepath.Join(root, "docs", "gates-ddos.md"), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
