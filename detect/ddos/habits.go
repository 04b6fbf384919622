package ddos

import (
	"math"
	"slices"

	"sakimori/base/wire/packet"
)

// Habits are what is usual at an hour of the week, for customers, links, prefixes and
// the addresses that are busy for long. Of each minute the busiest second counts; of an
// hour the median of its minutes and their median distance from it are kept, four weeks
// long, in steps of 10 and 12 %: 2.8 kB an object. It is learned while there is no
// attack, and known when two weeks tell of the hour; before that the same hour of three
// days will do, with twice the distance.
type habits struct {
	list []habit
	at   map[habitKey]int32
	hour uint32 // Unix hours
}

const (
	habitsMost  = 1 << 13
	habitWeeks  = 4
	leastWeeks  = 2
	leastDays   = 3
	weekHours   = 168
	habitAge    = 600  // seconds that an address or prefix must have been warm
	leastMinute = 30   // minutes of an hour that must be known
	stepPackets = 1.10 // reaches 3·10^10 a second
	stepBits    = 1.12 // reaches 3·10^12 a second
)

type habitKey struct {
	addr packet.Addr
	role role
}

// habit is one object's.
type habit struct {
	Addr    packet.Addr
	Role    uint8
	Count   uint8 // minutes of the hour in hand
	Heard   uint32
	Minutes [60][2]uint8
	Hours   [weekHours][habitWeeks]hour

	cached uint32 // the hour of which usual tells
	usual  usual
}

// hour is the median of the minutes of an hour of packets and of bits, and their
// distance; zero where it isn't known.
type hour struct{ Mid, Dev [2]uint8 }

// usual is what an object's busiest seconds are like at an hour of the week.
type usual struct {
	mid, dev [2]float64 // by packets and bits
	weeks    int
	known    bool
}

func newHabits() *habits { return &habits{at: map[habitKey]int32{}} }

func (h *habits) used() int { return len(h.at) }

// code puts a rate on a logarithmic scale; 1 is none at all, 0 not known.
func code(v, step float64) uint8 {
	if v < 1 {
		return 1
	}
	return uint8(min(2+math.Round(math.Log(v)/math.Log(step)), 255))
}

func decode(c uint8, step float64) float64 {
	if c < 2 {
		return 0
	}
	return math.Pow(step, float64(c-2))
}

var steps = [2]float64{stepPackets, stepBits}

// habit finds an object's habit, and begins one for an object that is warm for long.
func (d *Detector) habit(_ int32, w *warm) {
	if w.base != 0 || w.role == takes || w.role == foreign || w.role < customer && d.now-w.born < habitAge {
		return
	}
	h := d.habits
	k := habitKey{w.addr, w.role}
	i, ok := h.at[k]
	if !ok {
		if len(h.list) == 0 {
			h.list = make([]habit, 1)
		}
		if len(h.list) > habitsMost {
			if i = h.oldest(d.now); i == 0 {
				return
			}
			delete(h.at, habitKey{h.list[i].Addr, role(h.list[i].Role)})
		} else {
			i = int32(len(h.list)) //nolint:gosec // bounded
			h.list = append(h.list, habit{})
		}
		h.list[i] = habit{Addr: w.addr, Role: uint8(w.role), Heard: d.now}
		h.at[k] = i
	}
	w.base = i
}

// oldest is a habit that hasn't been heard of for a week, 0 if there is none.
func (h *habits) oldest(now uint32) int32 {
	best := int32(0)
	for i := 1; i < len(h.list); i++ {
		if x := &h.list[i]; x.Heard+weekHours*3600 < now && (best == 0 || x.Heard < h.list[best].Heard) {
			best = int32(i)
		}
	}
	return best
}

func (h *habits) leave(w *warm) { w.base = 0 }

// settled is how many seconds after its end a minute is taken: flows of long-lasting
// time-outs are told by then.
const settled = 65

// learn takes the minute that ended a while ago into the habits. It is called when the
// second of arrival has moved on to now.
func (d *Detector) learnHabits(from uint32) {
	for s := max(from+1, d.now-min(d.now, 120)); s <= d.now; s++ {
		if (s-settled)%60 == 0 {
			d.minute(s - settled - 60)
		}
	}
}

// minute takes the minute that begins at second s.
func (d *Detector) minute(s uint32) {
	h := d.habits
	if next := s / 3600; next != h.hour {
		for i := 1; i < len(h.list); i++ {
			h.list[i].close(h.hour)
		}
		h.hour = next
	}
	for i := range d.highest {
		w := &d.warms[i+1]
		if w.role == nobody || w.base == 0 || w.attack != 0 || w.born > s || s+ring <= w.head || w.over+120 > d.now && w.over != 0 {
			continue // not known, or not usual
		}
		var p, b float32
		for t := s; t < s+60 && t <= w.head; t++ {
			p, b = max(p, w.cells[t%ring].p), max(b, w.cells[t%ring].b)
		}
		x := &h.list[w.base]
		x.Heard = d.now
		if x.Count < 60 {
			x.Minutes[x.Count] = [2]uint8{code(float64(p), stepPackets), code(8*float64(b), stepBits)}
			x.Count++
		}
	}
}

// close keeps the hour that ended.
func (x *habit) close(at uint32) {
	n := int(x.Count)
	x.Count, x.cached = 0, 0
	var o hour
	if n >= leastMinute {
		for m := range o.Mid {
			v := make([]float64, 0, 60)
			for _, c := range x.Minutes[:n] {
				v = append(v, decode(c[m], steps[m]))
			}
			mid, dev := median(v)
			o.Mid[m], o.Dev[m] = code(mid, steps[m]), code(dev, steps[m])
		}
	}
	// 1 January 1970 was a Thursday: any week will do, as long as it is the same.
	x.Hours[at%weekHours][at/weekHours%habitWeeks] = o
}

// usual is what is usual for an object at a second; nil: not known.
func (h *habits) usual(w *warm, now uint32) *usual {
	if w.base == 0 {
		return nil
	}
	x := &h.list[w.base]
	at := now / 3600
	if x.cached != at {
		x.cached, x.usual = at, x.look(at)
	}
	if !x.usual.known {
		return nil
	}
	return &x.usual
}

func (x *habit) look(at uint32) (u usual) {
	if x.collect(&u, at, leastWeeks, func(k uint32) bool { return k == 0 }); u.known {
		return u
	}
	x.collect(&u, at, leastDays, func(k uint32) bool { return k%24 == 0 })
	for m := range u.dev {
		u.dev[m] *= 2
	}
	return u
}

// collect takes the hours of the week whose distance from this one is wanted.
func (x *habit) collect(u *usual, at uint32, least int, wanted func(uint32) bool) {
	for m := range u.mid {
		var mids, devs []float64
		for k := range uint32(weekHours) {
			if !wanted(k) {
				continue
			}
			for _, o := range x.Hours[(at+k)%weekHours] {
				if o.Mid[m] != 0 {
					mids = append(mids, decode(o.Mid[m], steps[m]))
					devs = append(devs, decode(o.Dev[m], steps[m]))
				}
			}
		}
		if len(mids) < least {
			return
		}
		mid, across := median(mids)
		_, within := mid, half(devs)
		// The scale itself scatters by its step, and nothing is steadier than a tenth.
		u.mid[m], u.dev[m], u.weeks = mid, max(across, within, mid/10, 1), len(mids)
	}
	u.known = true
}

// median is the middle of the values, and 1.4826 times the median of their distances
// from it: the standard deviation, were they normally distributed.
func median(v []float64) (mid, deviation float64) {
	mid = half(v)
	off := make([]float64, len(v))
	for i, x := range v {
		off[i] = math.Abs(x - mid)
	}
	return mid, 1.4826 * half(off)
}

func half(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
