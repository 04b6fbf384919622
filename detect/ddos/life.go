package ddos

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// open begins an attack on a warm object.
func (d *Detector) open(i int32, m measure, l *lines, v *verdict, from uint32) {
	n := slices.Index(d.attacks[1:], nil) + 1
	if n == 0 {
		if len(d.attacks) > d.cfg.Attacks {
			d.figures.NoAttack++
			return
		}
		d.attacks = append(d.attacks, nil)
		n = len(d.attacks) - 1
	}
	w := &d.warms[i]
	a := &attack{
		saved: saved{
			Addr: w.addr, Role: uint8(w.role), Ours: w.ours, Measure: uint8(m), Opened: from, Detected: d.now, Over: w.hi, //nolint:gosec // three of them
			Pulses: 1, Hold: uint32(d.rules.Hold), Up: true, Rise: !v.attack, Both: v.both, Known: v.known, //nolint:gosec // at most a day
			Share: v.share, Witnesses: []string{d.cfg.Witness},
		},
		warm: i, limit: *l,
	}
	a.maps()
	a.flood(v)
	d.attacks[n] = a
	w.attack = int32(n) //nolint:gosec // at most 65536
	d.hot = append(d.hot, i)
	if l.usual != nil {
		a.usual = usualRate(l.usual)
	}
	// What came before the attack, and wasn't of it.
	for k := range pasts {
		p := &w.pasts[(int(w.next)+k)%pasts]
		if p.used && p.second < from {
			a.ordinary = append(a.ordinary, p.row(float64(p.packets)))
		}
	}
	d.catchUp(a, w, v)
}

func (a *attack) maps() {
	a.targets, a.ingress, a.partners = map[packet.Addr]float64{}, map[uint64]*through{}, map[packet.Addr]*partner{}
}

func usualRate(u *usual) *detect.Rate {
	return &detect.Rate{
		Packets: detect.Measure{N: u.mid[byPackets], Error: z * u.dev[byPackets]},
		Bits:    detect.Measure{N: u.mid[byBits], Error: z * u.dev[byBits]},
	}
}

// flood marks the classes of which the attack is made: those with a twentieth of it at
// least, and later fragments with what they came with.
func (a *attack) flood(v *verdict) {
	if a.Rise {
		for c := range classes {
			a.Flooding[c] = true
		}
		return
	}
	var p, b, top float64
	for c := range classes {
		p += v.flood[c]
		b += v.bytes[c]
		top += v.top[c]
	}
	for c := range classes {
		// Once the attack stands, what rose together with it belongs to it, although it
		// would be weak evidence alone.
		if v.flood[c] > 0.05*p || v.bytes[c] > 0.05*b || !v.old && v.top[c] > 0.1*top {
			a.Flooding[c] = true
			a.Flooding[laterParts] = a.Flooding[laterParts] || kinds[c].proto == packet.UDP
		}
	}
}

// catchUp counts the records of the attack that came before it was opened.
func (d *Detector) catchUp(a *attack, w *warm, v *verdict) {
	n := min(d.logged, logSize)
	for k := d.logged - n; k < d.logged; k++ {
		f := &d.recent[k%logSize]
		if !d.concerns(w, f) {
			continue
		}
		if x, ok, _, _ := portionOf(f, d.now); ok && f.Packets > 0 {
			c := classOf(f)
			x.flows = newFlows(f, c)
			a.take(d, f, c, &x, mixed(f.Src))
		}
	}
	if d.logged <= logSize {
		return
	}
	// At very high rates the log doesn't reach back to the first second: the seconds
	// themselves tell how much is missing, as far as the forms of now held then.
	var flood, all, passed float64
	for c := range classes {
		flood += v.flood[c]
		all += float64(w.recent.p[c])
	}
	for s := a.Opened; s <= w.head; s++ {
		passed += float64(w.cells[s%ring].p)
	}
	if missed := passed*flood/max(all, 1) - a.Packets; missed > 0.1*a.Packets && a.Packets > 0 {
		a.Missed = missed
		k := 1 + missed/a.Packets
		a.Packets *= k
		a.Bytes *= k
		for _, t := range a.byClass {
			if t != nil {
				t.Packets, t.Bytes, t.Square = t.Packets*k, t.Bytes*k, t.Square*k
			}
		}
	}
}

// concerns tells whether a flow is one of a warm object's.
func (d *Detector) concerns(w *warm, f *observe.Flow) bool {
	switch w.role {
	case hit, foreign:
		return f.Dst == w.addr && (d.rules.all || w.role == hit || d.rules.isOwn(f.Src))
	case takes:
		return f.Src == w.addr
	case narrow, middle, wide:
		return f.Dst.Is4() == w.addr.Is4() && masked(f.Dst, w.role) == w.addr && (d.rules.all || d.rules.isOwn(f.Dst))
	case customer:
		return d.within(d.rules.list[d.rules.of(f.Dst)].customer, w.ours)
	case link:
		i := d.linkAt[uint64(f.Exporter)<<32|uint64(f.In)]
		return i != 0 && &d.warms[i] == w && f.Marks&observe.FlowEgress == 0
	}
	return false
}

// down is after how many seconds below the line a pulse is over.
const down = 10

// sustain looks at an open attack at a tick.
func (d *Detector) sustain(a *attack) {
	w := &d.warms[a.warm]
	if w.touched {
		d.follow(a, w)
	} else { // a second of silence is a point of its course, too
		a.latest = cell{}
		a.course = append(a.course, d.now-1)
	}
	d.hear(a)
	// Exporters with long time-outs tell late: silence is only what they have told of.
	horizon := d.now - min(d.now, a.delay(d))
	switch {
	case a.Up && horizon > a.Over+down:
		a.Up = false
	case !a.Quiet && horizon >= a.Over+uint32(d.rules.Quiet): //nolint:gosec // at most an hour
		a.Quiet = true
		a.Told = 0
	case horizon >= a.Over+uint32(d.rules.Quiet)+a.Hold: //nolint:gosec // as above
		d.close(a)
	}
}

// delay is by how many seconds the exporters of an attack tell late.
func (a *attack) delay(d *Detector) (n uint32) {
	for k := range a.ingress {
		if e := d.exporters[uint32(k>>32)]; e != nil {
			n = max(n, e.delay())
		}
	}
	return min(n, 75)
}

// follow looks at the seconds of an attacked object that were touched.
func (d *Detector) follow(a *attack, w *warm) {
	cells, recent, usual := d.rest(w)
	lo := max(w.lo, w.head-min(w.head, behind))
	for s := lo; s <= w.hi; s++ {
		if s+30 > a.Opened {
			a.course = append(a.course, s)
		}
		if s >= a.Opened {
			a.peak(cells, w, s)
		}
	}
	shown := min(w.hi, d.now-1)
	a.latest = cells[shown%ring]
	m := measure(a.Measure)
	v := d.form(w, recent, usual, m, a.limit.raise.of(m))
	if !a.Rise && (v.share < enough/2 || v.sum < a.limit.raise.of(m)/16) {
		return // what is above the line now isn't an attack any more
	}
	if a.Rise && v.attack {
		a.Rise, a.Share, a.Told = false, v.share, 0
	}
	for m := range measures {
		line := a.limit.clear.of(m)
		if line <= 0 || m == byFlows && measure(a.Measure) != byFlows {
			continue
		}
		if !a.Up {
			if _, over := d.crossed(cells, w, m, a.limit.raise.of(m)); over && (v.attack || a.Rise) {
				a.Up, a.Quiet = true, false
				a.Over = max(a.Over, w.hi)
				a.Pulses++
				a.Hold = min(2*a.Hold, uint32(d.rules.HoldMost)) //nolint:gosec // at most a day
				a.Told = 0
			}
			continue
		}
		for s := w.hi; s >= lo && s > a.Over; s-- {
			if upper(cells, w, m, s) >= line {
				a.Over, a.Quiet = s, false
				break
			}
		}
	}
	if v.attack && a.Up {
		a.flood(&v)
	}
}

// upper is the upper end of the 95 % range of a rate at a second, over as many seconds
// before as its error needs, ten at most.
func upper(cells *[ring]cell, w *warm, m measure, s uint32) float64 {
	var v, variance float64
	for n := uint32(1); ; n++ {
		x, y := cells[(s-n+1)%ring].of(m)
		v += x
		variance += y
		if w.rate <= 1 {
			return v
		}
		// None seen doesn't mean that none passed: one more might have been.
		one := float64(w.rate)
		if m == byBits {
			one *= 8 * 500
		}
		err := z * math.Sqrt(variance+one*one)
		if err < 0.3*v || n == 10 {
			return (v + err) / float64(n)
		}
	}
}

// peak takes a second into the worst one.
func (a *attack) peak(cells *[ring]cell, w *warm, s uint32) {
	c := cells[s%ring]
	if c.v > 0 && float64(c.v) > 0.02*float64(c.p)*float64(c.p) { // one second says too little
		for k := uint32(1); k < 5; k++ {
			o := &cells[(s-k)%ring]
			c.p, c.b, c.f, c.v, c.vb = c.p+o.p, c.b+o.b, c.f+o.f, c.v+o.v, c.vb+o.vb
		}
		c.p, c.b, c.f, c.v, c.vb = c.p/5, c.b/5, c.f/5, c.v/25, c.vb/25
	}
	if c.p > a.worst.p {
		a.worst.p, a.worst.v = c.p, c.v
	}
	if c.b > a.worst.b {
		a.worst.b, a.worst.vb = c.b, c.vb
	}
	a.worst.f = max(a.worst.f, c.f)
	a.Peak, a.PeakBits = float64(a.worst.p), 8*float64(a.worst.b)
	if float64(a.worst.p) > 1.5*a.ToldPeak && a.ToldPeak > 0 {
		a.Told = 0 // worth telling at once
	}
	_ = w
}

// close ends an attack.
func (d *Detector) close(a *attack) {
	w := &d.warms[a.warm]
	d.tell(a, detect.Closed)
	d.keep(a)
	w.attack = 0
	w.over = 0
	d.attacks[slices.Index(d.attacks, a)] = nil
}

type witnessKey struct {
	addr netip.Addr
	name string
}

// witnessHolds is for how many seconds a witness speaks for an attack that is told later.
const witnessHolds = 300

// Witness tells that something else shows an attack on an address, too: "backscatter" of
// the telescope. It raises the confidence of what is open or opened within five minutes.
func (d *Detector) Witness(addr netip.Addr, name string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.witness) >= 1<<16 && d.witness[witnessKey{addr.Unmap(), name}] == 0 {
		return // more than anybody can be attacked
	}
	d.witness[witnessKey{addr.Unmap(), name}] = uint32(min(max(at.Unix(), 0), math.MaxUint32-witnessHolds-1))
}

// hear asks the witnesses for an attack.
func (d *Detector) hear(a *attack) {
	if a.Flooding[dnsQuery] && d.tortured() {
		a.witnessed("names")
	}
	p := prefixOf(a.Addr, role(a.Role))
	for k := range d.witness {
		if role(a.Role) <= wide && p.Contains(k.addr) {
			a.witnessed(k.name)
		}
	}
}

func (a *attack) witnessed(name string) {
	if !slices.Contains(a.Witnesses, name) {
		a.Witnesses = append(a.Witnesses, name)
		slices.Sort(a.Witnesses[1:])
		a.Told = 0
	}
}

// zone is a zone of the DNS whose names are made up.
type zone struct{ until uint32 }

// The signature of water torture (random subdomains): so many names a second that don't
// exist, nearly all of them different.
const (
	tortureNames = 500
	tortureShare = 0.9
)

// Names tells what resolvers saw of a zone in a second: distinct names that were asked
// for and answers that the name doesn't exist. Random names of one zone at a high rate
// are water torture: queries to port 53 are a flood then although they are answered.
func (d *Detector) Names(name string, distinct, nx uint64, at time.Time) {
	if nx < tortureNames || float64(distinct) < tortureShare*float64(nx) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.zones) < 1<<12 {
		d.zones[name] = zone{uint32(min(max(at.Unix()+60, 0), math.MaxUint32-1))}
	}
}

func (d *Detector) tortured() bool { return len(d.zones) > 0 }
