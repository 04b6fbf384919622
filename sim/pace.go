package sim

import (
	"errors"
	"time"
)

// Span is when an actor is about, from the start of the scene.
type Span struct {
	From time.Duration
	For  time.Duration // 0: until the scene ends
}

// Pace is how often an actor sends, as the telescope sees it.
type Pace struct {
	Every time.Duration // mean gap between packets; the least gap when Most is set
	// Most makes gaps uniform between Every and Most; equal to Every it makes
	// them all the same. 0: packets that know nothing of each other (Poisson).
	Most  time.Duration
	Shape Shape // scales the rate over time, nil for a constant one; not with Most
}

// PerSecond is a Poisson pace of n packets a second.
func PerSecond(n float64) Pace { return Pace{Every: time.Duration(float64(time.Second) / n)} }

// PerHour is a Poisson pace of n packets an hour.
func PerHour(n float64) Pace { return PerSecond(n / 3600) }

// Beat is a pace without any chance in it.
func Beat(every time.Duration) Pace { return Pace{Every: every, Most: every} }

// Shape is a factor on a rate, in thousandths, at a time from the scene's start.
type Shape func(at time.Duration) int64

// Daily is a rhythm of day and night (UTC, scenes start at midnight): the rate
// swings by a third around its mean with the peak at peak o'clock, less on
// Saturdays and Sundays when the scene starts on a Monday.
func Daily(peak int) Shape {
	day := [24]int64{1330, 1319, 1286, 1233, 1165, 1085, 1000, 915, 835, 767, 714, 681, 670, 681, 714, 767, 835, 915, 1000, 1085, 1165, 1233, 1286, 1319}
	return func(at time.Duration) int64 {
		h := int64(at / time.Hour)
		a, b := day[((h-int64(peak))%24+24)%24], day[((h+1-int64(peak))%24+24)%24]
		f := a + (b-a)*int64(at%time.Hour)/int64(time.Hour)
		if d := h / 24 % 7; d >= 5 {
			f = f * 85 / 100
		}
		return f
	}
}

// Growth doubles from floor (in thousandths) every so often until it reaches
// 1000 and stays there.
func Growth(floor int64, doubling time.Duration) Shape {
	return func(at time.Duration) int64 {
		n := at / doubling
		if n > 40 {
			return 1000
		}
		f := floor << uint(n)
		f += f * int64(at%doubling) / int64(doubling) // straight between the doublings
		return min(f, 1000)
	}
}

// Only gives a shape of its own to part of the time and another factor to the
// rest: before from and after to.
func Only(from, to time.Duration, inside, outside int64) Shape {
	return func(at time.Duration) int64 {
		if at >= from && at < to {
			return inside
		}
		return outside
	}
}

// beat turns a Span and a Pace into times.
type beat struct {
	start, first, end int64
	every, most       int64
	shape             Shape
}

// look is how far ahead a changing rate is taken as constant.
const look = int64(5 * time.Minute)

func newBeat(n *network, s Span, p Pace, r *rng) (beat, error) {
	b := beat{start: n.start, end: n.end, every: int64(p.Every), most: int64(p.Most), shape: p.Shape}
	if p.Every <= 0 {
		return b, errors.New("it needs a pace above zero")
	}
	if p.Most != 0 && (p.Most < p.Every || p.Shape != nil) {
		return b, errors.New("its pace has a longest gap below the shortest, or a shape besides")
	}
	from := n.start + int64(s.From)
	if s.For > 0 {
		b.end = min(b.end, from+int64(s.For))
	}
	switch {
	case b.most == b.every:
		b.first = from
	case b.most > 0:
		b.first = from + int64(r.below(uint64(b.most)))
	default:
		b.first = b.next(from, r)
	}
	if b.first >= b.end {
		b.first = never
	}
	return b, nil
}

func (b *beat) due() int64 { return b.first }

// next is when the packet after the one at now leaves.
func (b *beat) next(now int64, r *rng) int64 {
	switch {
	case b.most == b.every:
		now += b.every
	case b.most > 0:
		now += b.every + int64(r.below(uint64(b.most-b.every)))
	case b.shape == nil:
		now += r.gap(b.every)
	default:
		for now < b.end {
			f := max(b.shape(durationSince(now, b.start)), 0)
			if f > 0 {
				if g := r.gap(b.every * 1000 / f); g < look {
					now += g
					break
				}
			}
			now += look // nothing so far; an exponential gap has no memory
		}
	}
	if now >= b.end {
		return never
	}
	return now
}

// durationSince is the time from the scene's start.
func durationSince(now, start int64) time.Duration { return time.Duration(now - start) }
