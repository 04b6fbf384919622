package ddos

import (
	"math"
	"net/netip"
)

// measure is what is compared with a line.
type measure int

const (
	byPackets measure = iota
	byBits
	byFlows
	measures
)

func (l Line) of(m measure) float64 {
	switch m {
	case byPackets:
		return l.Packets
	case byBits:
		return l.Bits
	}
	return l.Flows
}

// z is the 95 % range of a normal distribution on both sides.
const z = 1.96

// of is a second's value and its variance by sampling: of n packets that chance took out
// of many at one in r, r²·n, so that the error is ±196 %·√(1/n).
func (c *cell) of(m measure) (value, variance float64) {
	switch m {
	case byPackets:
		return float64(c.p), float64(c.v)
	case byBits:
		return 8 * float64(c.b), 64 * float64(c.vb)
	}
	if c.p == 0 {
		return float64(c.f), 0
	}
	return float64(c.f), float64(c.v) * float64(c.f) / float64(c.p)
}

// lines are what an object's rates are compared with.
type lines struct {
	raise, clear Line
	usual        *usual // what is usual at this hour of the week, nil not known
	habit        [measures]bool
}

// clearShare is the part of a fixed line above which an attack still lasts, as long as it
// has its form.
const clearShare = 0.25

// linesOf are the lines of an object now: the fixed one, or that of its habit where it is
// lower.
func (d *Detector) linesOf(w *warm) (l lines) {
	switch w.role {
	case customer:
		l.raise = d.rules.Customers[w.ours].Total
	case link:
		k := &d.rules.Links[w.ours]
		l.raise = k.Total
		if l.raise.Bits == 0 && k.Capacity > 0 {
			l.raise.Bits = 0.95 * k.Capacity
		}
	default:
		l.raise = d.rules.list[w.rule].lines[w.role]
		if w.role >= narrow {
			if own, ok := d.rules.totals[prefixOf(w.addr, w.role)]; ok {
				l.raise = own.or(l.raise)
			}
		}
	}
	l.clear = l.raise.times(clearShare)
	if l.usual = d.habits.usual(w, d.now); l.usual == nil {
		return l
	}
	for m, p := range map[measure][2]*float64{byPackets: {&l.raise.Packets, &l.clear.Packets}, byBits: {&l.raise.Bits, &l.clear.Bits}} {
		floor := max(*p[0], 0) * d.rules.Floor
		if floor == 0 {
			floor = l.usual.mid[m] * 0.5 // without a fixed line: half as much again is nothing
			floor += l.usual.mid[m]
		}
		up := max(l.usual.mid[m]+d.rules.Raise*l.usual.dev[m], floor)
		if *p[0] <= 0 || up < *p[0] {
			*p[0], l.habit[m] = up, true
			*p[1] = max(l.usual.mid[m]+d.rules.Clear*l.usual.dev[m], min(floor, up))
		}
	}
	return l
}

// windows are how many seconds are looked at together where sampling leaves less too
// uncertain.
var windows = [...]uint32{3, 5, 10, 20, 40, 80}

// leastSeen is how many packets must have been looked at before a rate is anything.
const leastSeen = 8

// crossed tells whether a rate was above a line in seconds that were touched, and in
// which: in two of three seconds, or in one after another that was on the way there, as a
// flood rarely begins with a second; or in a longer window without its busiest second,
// each time with the lower end of the 95 % range.
func (d *Detector) crossed(cells *[ring]cell, w *warm, m measure, line float64) (uint32, bool) {
	if line <= 0 {
		return 0, false
	}
	lo, hi := max(w.lo, w.head-min(w.head, behind)), w.hi
	some, sampled := false, false
	for s := lo; s <= hi; s++ {
		v, variance := cells[s%ring].of(m)
		some = some || v > line
		sampled = sampled || variance > 0
	}
	if !some {
		return 0, false
	}
	exceeds := func(s uint32, line float64) bool {
		v, variance := cells[s%ring].of(m)
		return v-z*math.Sqrt(variance) > line && (variance == 0 || v*v >= variance*leastSeen/2)
	}
	for s := lo; s <= min(hi+2, w.head); s++ {
		n := 0
		for k := range uint32(3) {
			if exceeds(s-k, line) {
				n++
			}
		}
		if n >= 2 || exceeds(s, line) && exceeds(s-1, clearShare*line) {
			return s, true
		}
	}
	if !sampled {
		return 0, false
	}
	sums := &d.scratch.sums
	start := w.head - (ring - 1)
	var v, variance float64
	for k := range uint32(ring) {
		x, y := cells[(start+k)%ring].of(m)
		v += x
		variance += y
		sums[k+1] = [2]float64{v, variance}
	}
	for _, n := range windows {
		for s := max(lo, start+n); s <= hi; s++ {
			i := s - start + 1
			sum, vary := sums[i][0]-sums[i-n][0], sums[i][1]-sums[i-n][1]
			if sum <= line*float64(n) {
				continue
			}
			top, topVary := 0.0, 0.0
			for k := range n {
				if x, y := cells[(s-k)%ring].of(m); x > top {
					top, topVary = x, y
				}
			}
			sum, vary = sum-top, vary-topVary
			if vary > 0 && sum*sum >= vary*leastSeen && sum-z*math.Sqrt(vary) > line*float64(n-1) {
				return s, true
			}
		}
	}
	return 0, false
}

// once is a second that was clearly above a line all alone, 0 if there is none.
func (w *warm) once(cells *[ring]cell, m measure, line float64) uint32 {
	if line <= 0 {
		return 0
	}
	for s := max(w.lo, w.head-min(w.head, behind)); s <= w.hi; s++ {
		if v, variance := cells[s%ring].of(m); v-z*math.Sqrt(variance) > 1.2*line && v*v >= variance*leastSeen {
			return s
		}
	}
	return 0
}

// onset is the first second that counts of what crossed a line at s: those before it
// belong to it while they are above the clear line, and above the object's usual.
func onset(cells *[ring]cell, w *warm, m measure, line float64, s uint32) uint32 {
	gaps, allowed := 0, 1
	if w.rate > 1 {
		allowed = 3
	}
	var usual float64
	for c := range classes {
		if w.known < leastKnown {
			break // it would be the attack's own first second
		}
		switch m {
		case byPackets:
			usual += float64(w.usual.p[c] * w.grown())
		case byBits:
			usual += 8 * float64(w.usual.b[c]*w.grown())
		case byFlows:
			usual += float64(w.usual.f[c] * w.grown())
		}
	}
	line = max(line, 1.5*usual)
	first := s
	for t := s; t+behind > w.head && gaps <= allowed; t-- {
		if v, _ := cells[t%ring].of(m); v > line {
			first, gaps = t, 0
		} else {
			gaps++
		}
	}
	return first
}

// scratch is memory that is used again at each judgement.
type scratch struct {
	sums  [ring + 1][2]float64
	cells [ring]cell
	mixes [2]mix
}

// findHot lists the addresses and prefixes whose traffic doesn't count again for what is
// around them: those under attack, and those above a line in a second of late.
func (d *Detector) findHot() {
	d.hot = d.hot[:0]
	for _, a := range d.attacks {
		if a != nil && a.Up && a.warm != 0 {
			d.hot = append(d.hot, a.warm)
		}
	}
	for _, i := range d.touched {
		w := &d.warms[i]
		if w.role != hit && w.role != foreign || w.attack != 0 {
			continue
		}
		l := d.rules.list[w.rule].lines[w.role]
		for s := max(w.lo, w.hi-min(w.hi, 4)); s <= w.hi; s++ {
			c := &w.cells[s%ring]
			if l.Packets > 0 && float64(c.p) > l.Packets || l.Bits > 0 && 8*float64(c.b) > l.Bits {
				d.hot = append(d.hot, i)
				break
			}
		}
	}
}

// inside tells whether hot object h is a part of w.
func (d *Detector) inside(h, w *warm) bool {
	switch {
	case h == w || h.role != hit && (h.role < narrow || h.role > wide):
		return false
	case w.role >= narrow && w.role <= wide:
		return h.role < w.role && masked(h.addr, w.role) == w.addr && h.addr.Is4() == w.addr.Is4()
	case w.role == customer:
		for c := d.rules.list[h.rule].customer; c >= 0; c = d.rules.parents[c] {
			if c == w.ours {
				return true
			}
		}
	}
	return false
}

// rest is an object's seconds and traffic without those of hot ones inside it.
func (d *Detector) rest(w *warm) (cells *[ring]cell, recent, usual *mix) {
	cells, recent, usual = &w.cells, &w.recent, &w.usual
	if w.role < narrow {
		return cells, recent, usual
	}
	copied := false
	for n, i := range d.hot {
		h := &d.warms[i]
		if !d.inside(h, w) {
			continue
		}
		again := false // it is a part of another that is taken off
		for k, j := range d.hot {
			again = again || k != n && d.inside(h, &d.warms[j]) && d.inside(&d.warms[j], w)
		}
		if again {
			continue
		}
		if !copied {
			copied = true
			d.scratch.cells, d.scratch.mixes[0], d.scratch.mixes[1] = w.cells, w.recent, w.usual
			cells, recent, usual = &d.scratch.cells, &d.scratch.mixes[0], &d.scratch.mixes[1]
		}
		from := max(w.head, h.head) - (ring - 1)
		for s := max(from, h.born-min(h.born, epoch)); s <= min(w.head, h.head); s++ {
			cells[s%ring].less(&h.cells[s%ring])
		}
		recent.less(&h.recent)
		usual.less(&h.usual)
	}
	return cells, recent, usual
}

func (c *cell) less(o *cell) {
	c.p, c.b, c.f = max(c.p-o.p, 0), max(c.b-o.b, 0), max(c.f-o.f, 0)
	c.v, c.vb, c.d = max(c.v-o.v, 0), max(c.vb-o.vb, 0), max(c.d-o.d, 0)
}

func (m *mix) less(o *mix) {
	for c := range classes {
		m.p[c], m.b[c] = max(m.p[c]-o.p[c], 0), max(m.b[c]-o.b[c], 0)
		m.f[c], m.k[c] = max(m.f[c]-o.f[c], 0), max(m.k[c]-o.k[c], 0)
	}
}

// judge looks at a touched object that isn't under attack.
func (d *Detector) judge(i int32) {
	w := &d.warms[i]
	if w.attack != 0 || d.part(w) {
		return
	}
	l := d.linesOf(w)
	if l.raise == (Line{}) {
		return
	}
	cells, recent, usual := d.rest(w)
	for m := range measures {
		line := l.raise.of(m)
		s, over := d.crossed(cells, w, m, line)
		if !over {
			if s = w.once(cells, m, line); s == 0 {
				continue
			}
		}
		v := d.form(w, recent, usual, m, line)
		if !over && !v.quick || !v.attack && !d.rises(w, &l, cells, m, s) {
			continue
		}
		if w.role >= narrow && w.role <= wide && !d.spread(w) {
			continue
		}
		w.over = d.now
		d.open(i, m, &l, &v, onset(cells, w, m, l.clear.of(m), s))
		return
	}
}

// part tells whether what an object suffers is told already by a wider or narrower one.
func (d *Detector) part(w *warm) bool {
	for _, i := range d.hot {
		h := &d.warms[i]
		if h.attack == 0 {
			continue
		}
		switch w.role {
		case narrow, middle:
			// A carpet is told by the widest prefix; an address of it that is hit by itself
			// above its line isn't a part of it.
			if h.role > w.role && d.inside(w, h) {
				return true
			}
		case takes:
			// The target's attack tells who takes part.
			if a := d.attacks[h.attack]; h.role == foreign && a.partners[w.addr] != nil {
				return true
			}
		case link:
			if a := d.attacks[h.attack]; h.role != link && a.through(w, d) > 0.5 {
				return true
			}
		case customer:
			if h.role == customer && d.within(h.ours, w.ours) {
				return true
			}
		}
	}
	return false
}

// within tells whether customer c belongs to customer to.
func (d *Detector) within(c, to int32) bool {
	for ; c >= 0; c = d.rules.parents[c] {
		if c == to {
			return true
		}
	}
	return false
}

// carpet is how many addresses of a prefix must be hit at least.
const carpet = 32

// spread tells whether a prefix is hit all over: more than 32 of its addresses, and
// nearly as many in the narrower prefixes beside the busiest.
func (d *Detector) spread(w *warm) bool {
	if w.targets() <= carpet {
		return false
	}
	if w.role == narrow {
		return true
	}
	// A prefix inside that has nearly all of it is the object instead.
	prefix := prefixOf(w.addr, w.role)
	var all float32
	for c := range classes {
		all += w.recent.p[c]
	}
	for _, i := range d.touched {
		h := &d.warms[i]
		if h.role == w.role-1 && inPrefix(h, prefix) {
			var p float32
			for c := range classes {
				p += h.recent.p[c]
			}
			if p > 0.8*all {
				return false
			}
		}
	}
	return true
}

func inPrefix(h *warm, p netip.Prefix) bool { return p.Contains(h.addr.Netip()) }

// rises tells whether something without the form of an attack is worth a note: it is far
// beyond a known habit, or fills a link.
func (d *Detector) rises(w *warm, l *lines, cells *[ring]cell, m measure, s uint32) bool {
	v, variance := cells[s%ring].of(m)
	low := v - z*math.Sqrt(variance)
	if w.role == link && m == byBits && d.rules.Links[w.ours].Capacity > 0 {
		return low > 0.95*d.rules.Links[w.ours].Capacity
	}
	return l.usual != nil && m < byFlows && low > 5*(l.usual.mid[m]+d.rules.Raise*l.usual.dev[m])
}
