package ddos

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Tick tells that the time of arrival has come to at: everything that was told since the
// last tick is judged, by the seconds of the data. Call it each second, and once before
// the first Take.
func (d *Detector) Tick(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := at.Unix()
	if !d.ready {
		d.begin(s)
	}
	before := d.now
	d.now = max(d.now, uint32(min(max(s, 0), math.MaxUint32-1000)))
	d.epoch = d.now / epoch
	d.watchBoth()
	d.watchLags()

	for _, i := range d.touched {
		w := &d.warms[i]
		w.settle()
		w.freshen(d.now)
	}
	d.findHot()
	// What is narrow is judged before what is wide, as its traffic doesn't count again
	// there; of prefixes the widest that is hit all over is the object.
	for _, r := range []role{hit, foreign, takes, wide, middle, narrow, customer, link} {
		for _, i := range d.touched {
			if d.warms[i].role == r {
				d.judge(i)
			}
		}
	}
	for _, i := range d.touched {
		w := &d.warms[i]
		if w.attack == 0 && w.over != d.now && !d.doubtful(w) {
			w.learn(d.now)
		}
	}
	for _, a := range d.attacks {
		if a != nil {
			d.sustain(a)
		}
	}
	for _, i := range d.touched {
		w := &d.warms[i]
		d.habit(i, w)
		w.touched, w.lo, w.hi, w.fresh = false, math.MaxUint32, 0, mix{}
		w.heard, w.told = d.now, d.now
	}
	d.touched = d.touched[:0]
	d.learnHabits(before)
	d.tellAll()
	d.tidy()
}

// doubts is for how many seconds a rate above the line isn't learned as usual: sampling
// may take so long to show that it is an attack.
const doubts = 150

// doubtful tells whether an object has been above its line of late, and not for long.
func (d *Detector) doubtful(w *warm) bool {
	if w.role >= customer {
		return false
	}
	var p, b float64
	for k := range uint32(epoch) {
		c := &w.cells[(w.head-k)%ring]
		p, b = p+float64(c.p), b+8*float64(c.b)
	}
	if l := &d.rules.list[w.rule].lines[w.role]; (l.Packets <= 0 || p < epoch*l.Packets) && (l.Bits <= 0 || b < epoch*l.Bits) {
		w.high = 0
		return false
	}
	if w.high == 0 {
		w.high = d.now
	}
	return d.now-w.high < doubts
}

// freshen brings the recent traffic up to date: it halves each second.
func (w *warm) freshen(now uint32) {
	keep := float32(math.Exp2(-float64(now - min(w.told, now))))
	if w.told >= now {
		keep = 0.5 // two ticks in a second
	}
	for c := range classes {
		r, f := &w.recent, &w.fresh
		r.p[c] = r.p[c]*keep + f.p[c]*0.5
		r.b[c] = r.b[c]*keep + f.b[c]*0.5
		r.f[c] = r.f[c]*keep + f.f[c]*0.5
		r.k[c] = r.k[c]*keep + f.k[c]*0.5
	}
	for i := range w.top {
		w.top[i].n *= keep
	}
	w.lumps *= keep
	var in, out float32
	for c := range classes {
		in += w.fresh.p[c]
		out += w.fresh.k[c]
	}
	slow := float32(math.Exp2(-float64(now-min(w.told, now)) / 60))
	w.long[0], w.long[1] = w.long[0]*slow+in, w.long[1]*slow+out
	if now-min(w.spent, now) >= generation {
		w.spent = now
		w.sources[1], w.sources[0] = w.sources[0], seen{}
	}
}

// learn adds the seconds since the last tick to what is usual, and sets how densely it
// is sampled.
func (w *warm) learn(now uint32) {
	gone := now - min(w.told, now)
	if gone == 0 {
		gone = 1
	}
	keep := float32(math.Exp(-float64(gone) / usualSpan))
	const part = 1.0 / usualSpan
	var packets float32
	for c := range classes {
		u, f := &w.usual, &w.fresh
		u.p[c] = u.p[c]*keep + f.p[c]*part
		u.b[c] = u.b[c]*keep + f.b[c]*part
		u.f[c] = u.f[c]*keep + f.f[c]*part
		u.k[c] = u.k[c]*keep + f.k[c]*part
		packets += u.p[c]
	}
	w.known = uint16(min(uint32(w.known)+gone, math.MaxUint16))
	if w.known >= leastKnown {
		span := float32(min(w.known, pastSpan)) // denser at first
		w.every = max(packets*w.grown()*span/pasts, float32(w.rate)/2, 1)
	}
}

// leastKnown is after how many seconds something is known of what is usual, and pastSpan
// how many seconds its sample reaches back.
const (
	leastKnown = 10
	pastSpan   = 300
)

// grown corrects the usual for the time in which it wasn't learned yet.
func (w *warm) grown() float32 {
	return float32(1 / (1 - math.Exp(-float64(max(w.known, 1))/usualSpan)))
}

// watchBoth finds out whether exporters tell of both directions: in ten seconds at least
// a twentieth of what came in went out. It holds for an hour, as a flood hides it.
func (d *Detector) watchBoth() {
	if d.inward[1] > 0.05*d.inward[0] && d.inward[0] >= 1000 {
		d.both, d.bothUntil = true, d.now+3600
	}
	if d.now-d.bothFrom >= 10 {
		d.inward, d.bothFrom = [2]float64{}, d.now
	}
	d.both = d.both && d.now < d.bothUntil
}

// lagSpan is how many seconds an exporter's delay is remembered, twice over.
const lagSpan = 150

func (d *Detector) watchLags() {
	for _, e := range d.exporters {
		if d.now-e.lagged >= lagSpan {
			e.lag[1], e.lag[0], e.lagged = e.lag[0], 0, d.now
		}
	}
}

// delay is how many seconds after a packet an exporter has told of it, as seen of late.
func (e *exporter) delay() uint32 { return max(e.lag[0], e.lag[1]) }

// covered tells whether every exporter that is heard told of a second already.
func (d *Detector) covered(s uint32) bool {
	for _, e := range d.exporters {
		if e.heard+2*lagSpan > d.now && s+e.delay() >= d.now {
			return false
		}
	}
	return true
}

// tidy frees what has been idle, a part of it at each tick.
func (d *Detector) tidy() {
	t := d.table
	since := d.epoch - min(d.epoch, 30)
	switch {
	case t.used > t.full*15/16:
		since = d.epoch - min(d.epoch, 2)
	case t.used > t.full*3/4:
		since = d.epoch - min(d.epoch, 6)
	}
	part := 1024 // the whole table within a quarter of an hour, or within a minute where it fills
	if t.used > t.full/2 {
		part = 64
	}
	d.figures.Forgotten += t.sweep(len(t.slots)/part+1, since)
	if len(d.free) <= d.cfg.Warm/8 || d.now%30 == 0 {
		d.cool()
	}
	for k, s := range d.witness {
		if s+witnessHolds < d.now {
			delete(d.witness, k)
		}
	}
	for k, z := range d.zones {
		if z.until < d.now {
			delete(d.zones, k)
		}
	}
}

// cool takes their places from warm objects that have been silent for two minutes and,
// where few are left, from those that are least busy and below half their line.
func (d *Detector) cool() {
	type candidate struct {
		i    int32
		rate float32
	}
	var all []candidate
	want := d.cfg.Warm/4 - len(d.free)
	for i := int32(1); i <= d.highest; i++ {
		w := &d.warms[i]
		if w.role == nobody || w.role >= customer || w.attack != 0 {
			continue
		}
		if d.now-w.heard >= ring {
			d.chill(i)
			want--
			continue
		}
		c := candidate{i: i}
		line := d.rules.list[w.rule].lines[w.role]
		for k := range classes {
			c.rate += max(w.recent.p[k]/float32(max(line.Packets, 1)), 8*w.recent.b[k]/float32(max(line.Bits, 1)))
		}
		if d.now-w.born >= epoch && c.rate < 1.0/2 {
			all = append(all, c)
		}
	}
	if want <= 0 || len(d.free) > d.cfg.Warm/8 {
		return
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.rate, b.rate) })
	for _, c := range all[:min(want, len(all))] {
		d.chill(c.i)
	}
}

// chill makes a warm object cold.
func (d *Detector) chill(i int32) {
	w := &d.warms[i]
	switch w.role {
	case hit, foreign:
		delete(d.backIn, w.addr)
	case takes:
		delete(d.backOut, w.addr)
	}
	var e *entry
	if w.role <= foreign {
		e = d.table.find(hash(w.addr, w.role), w.addr, w.role)
	} else if n, ok := d.netAt[netKey{w.addr, w.role}]; ok {
		e = &d.nets[n]
	}
	if e != nil {
		e.warm, e.second, e.packets, e.bytes, e.flows = 0, 0, 0, 0, 0
	}
	d.habits.leave(w)
	w.role = nobody
	d.free = append(d.free, i)
	if len(d.free)%256 == 0 || len(d.free) == d.cfg.Warm { // now and then, as it may only be too full
		d.rebloom()
	}
}

func (d *Detector) rebloom() {
	clear(d.bloom[:])
	for i := range d.highest {
		if w := &d.warms[i+1]; w.role != nobody && w.role <= foreign {
			h := mixed(w.addr)
			d.bloom[h>>6&(uint32(len(d.bloom))-1)] |= 1 << (h & 63)
		}
	}
}
