package ddos

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"sakimori/base/sketch"
	"sakimori/observe"
)

func sorted[K comparable, V any](m map[K]V, order func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), order)
}

func cmpUint(a, b uint64) int { return cmp.Compare(a, b) }

// resume goes on with an attack of a state.
func (d *Detector) resume(o *savedAttack) error {
	s := o.Saved
	r := role(s.Role)
	switch {
	case r == nobody || r > link || s.Measure >= uint8(byFlows)+1 || s.Opened < 1000 || s.Opened > latest || s.Over > latest || s.Detected > latest ||
		s.Hold > 86400 || s.Pulses == 0 || len(o.Classes) > classes || len(o.Sample) > samples || len(o.Cells) > ring ||
		len(o.Targets) > targetsMost || len(o.Partners) > partsMost || len(o.Ingress) > ingressMost ||
		o.Head < ring || o.Head > latest || o.Head > d.now+1000 || len(s.Witnesses) == 0:
		return errDamaged
	case !finite(s.Packets, s.Bytes, s.Variance, s.BytesVariance, s.Seen, s.Missed, s.Peak, s.PeakBits):
		return errDamaged
	case r == customer && int(s.Ours) >= len(d.customers) || r == link && int(s.Ours) >= len(d.links) || s.Ours < 0 && r >= customer:
		return nil // it isn't there any more
	}
	i, err := d.rewarm(o)
	if i == 0 || err != nil {
		return err
	}
	w := &d.warms[i]
	w.known, w.rate, w.born = o.Known, o.Rate, min(o.Born, d.now)
	w.advance(o.Head)
	for _, c := range o.Cells {
		if !(c[0] >= 0 && c[0] < ring) {
			return errDamaged
		}
		w.cells[(o.Head-(ring-1)+uint32(c[0]))%ring] = cellOf([6]float32(c[1:]))
	}
	if !w.usual.from(o.Usual) || !w.recent.from(o.Recent) {
		return errDamaged
	}
	a := &attack{saved: s, warm: i, ordinary: o.Ordinary, usual: o.Habit, worst: cellOf(o.Worst)}
	a.limit = lines{raise: o.Raise, clear: o.Clear, habit: o.Habits}
	a.maps()
	if err := a.refill(o); err != nil {
		return err
	}
	d.attacks = append(d.attacks, a)
	w.attack = int32(len(d.attacks) - 1) //nolint:gosec // at most 65536
	return nil
}

func finite(v ...float64) bool {
	for _, x := range v {
		if math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
			return false
		}
	}
	return true
}

// rewarm makes the attacked object warm again.
func (d *Detector) rewarm(o *savedAttack) (int32, error) {
	s := &o.Saved
	var e *entry
	switch r := role(s.Role); {
	case r == customer:
		return d.once(d.customers[s.Ours])
	case r == link:
		return d.once(d.links[s.Ours])
	case r <= foreign:
		h := hash(s.Addr, r)
		if d.table.find(h, s.Addr, r) != nil {
			return 0, errDamaged // twice
		}
		e = d.enter(h, s.Addr, r, 0)
	default:
		if s.Addr != masked(s.Addr, r) {
			return 0, errDamaged
		}
		if n := d.net(s.Addr, r); n > 0 {
			e = &d.nets[n]
		}
	}
	if e == nil {
		return 0, nil // no room: smaller bounds than before
	}
	if e.warm != 0 {
		return 0, errDamaged
	}
	e.epoch = d.epoch
	if !d.promote(e) {
		return 0, nil
	}
	return e.warm, nil
}

func (d *Detector) once(i int32) (int32, error) {
	if d.warms[i].attack != 0 {
		return 0, errDamaged
	}
	return i, nil
}

// refill gives an attack what it knew.
func (a *attack) refill(o *savedAttack) error {
	for _, s := range []struct {
		b  []byte
		to *sketch.Set
	}{{o.Sources, &a.sources}, {o.Dests, &a.dests}} {
		if err := readSet(s.b, s.to); err != nil {
			return err
		}
	}
	for _, c := range o.Classes {
		if c.Class >= classes || a.byClass[c.Class] != nil || len(c.Dst) > portsMost || len(c.Src) > portsMost ||
			!finite(c.Tally.Packets, c.Tally.Bytes, c.Tally.Variance, c.Tally.Square) {
			return errDamaged
		}
		t := &tally{Packets: c.Tally.Packets, Bytes: c.Tally.Bytes, Variance: c.Tally.Variance, Square: c.Tally.Square}
		if err := readSet(c.Sources, &t.sources); err != nil {
			return err
		}
		copy(t.dst[:], c.Dst)
		copy(t.src[:], c.Src)
		a.byClass[c.Class] = t
	}
	for _, t := range o.Targets {
		a.targets[t.Addr] = t.Packets
	}
	for _, p := range o.Partners {
		a.partners[p.Addr] = &p.Partner
	}
	for _, t := range o.Ingress {
		a.ingress[t.Link] = &t.Through
	}
	a.sample.seen, a.sample.from, a.sample.at, a.sample.grown = o.Seen, o.From, o.From, 1
	for _, s := range o.Sample {
		if !finite(s.Priority, s.Weight) {
			return errDamaged
		}
		a.sample.items = append(a.sample.items, sampled{s.Priority, s.Weight, past{
			src: s.Src, dst: s.Dst, second: s.Second, length: s.Length, srcPort: s.SrcPort, dstPort: s.DstPort,
			proto: s.Proto, flags: s.Flags, marks: observe.FlowMarks(s.Marks), used: true,
		}})
	}
	return nil
}

func readSet(b []byte, to *sketch.Set) error {
	s, rest, err := sketch.Read(b)
	if err != nil || len(rest) != 0 {
		return errDamaged
	}
	*to = *s
	return nil
}

// adopt takes over everything of another detector.
func (d *Detector) adopt(n *Detector) {
	d.rules, d.ready, d.now, d.begun, d.epoch = n.rules, n.ready, n.now, n.begun, n.epoch
	d.table, d.beyond, d.nets, d.netAt, d.netHand = n.table, n.beyond, n.nets, n.netAt, n.netHand
	d.warmSpan, d.warms, d.free, d.highest, d.touched = n.warmSpan, n.warms, n.free, n.highest, n.touched
	d.customers, d.links, d.linkAt, d.exporters, d.teller = n.customers, n.links, n.linkAt, n.exporters, nil
	d.backIn, d.backOut, d.bloom = n.backIn, n.backOut, n.bloom
	d.logSpan, d.recent, d.logged = n.logSpan, n.recent, n.logged
	d.both, d.bothUntil, d.inward, d.bothFrom = n.both, n.bothUntil, n.inward, n.bothFrom
	d.attacks, d.results, d.partners, d.habits, d.hot = n.attacks, n.results, n.partners, n.habits, n.hot
	d.figures = n.figures
}
