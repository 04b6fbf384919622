package telescope

import (
	"math"
	"slices"

	"sakimori/base/wire/packet"
)

// NoDate is the time of a frame whose own isn't believed. Such a frame is counted,
// and takes part in nothing.
const NoDate int64 = math.MinInt64

// Dates judge the dates that frames bear, in the order of capture. A broken clock
// or a flipped bit mustn't move the time of all that comes after, and a sensor that
// was off for days must.
//
// A date up to a day from the newest minute is ordinary. Any other, as the first of
// all, is believed when more than a handful of frames in a row agree on it: each
// within a day of another. As soon as one with an ordinary date comes instead, they
// are stray. Of dates that are believed those ahead take the time along, and those
// far back don't: their frames are late (a clock was set back, or captures were put
// together in the wrong order). Where packets are rarer than that, a
// pause is also ordinary that is no longer than the five before it together.
//
// So a frame may have to wait for those after it. At most a window of them wait,
// of at most pcap.MaxFrame (1 MiB) each. What is judged depends on the frames and
// their order alone, not on how they come in blocks.
type Dates struct {
	begun   bool
	top     int64              // newest date that is believed, to a minute
	low     int64              // from here on, and
	high    int64              // up to here, dates are ordinary
	back    int64              // a date far back that is believed; 0 for none
	next    int64              // end of the newest minute that a frame came in
	minutes [handful + 1]int64 // the newest of these, a ring
	reach   int64              // so long a pause is ordinary
	n       int                // how many there were, of which the ring has the last
	waiting packet.Block       // frames that can't be judged yet
}

const (
	handful = 5                     // so many may agree on a wrong date
	window  = 64                    // so many are judged together at most
	aDay    = int64(86400e9)        // nanoseconds
	maxNano = int64(maxTime - 60e9) // the latest time that fits the tables: the year 2262
)

// Take puts the frames that wait before those of b, and keeps those back that must
// wait now. All others are judged: the strays among them get NoDate.
func (d *Dates) Take(b *packet.Block) {
	d.release(b)
	n := d.judge(b.Frames, false)
	for _, f := range b.Frames[n:] {
		off := uint32(len(d.waiting.Buf)) //nolint:gosec // at most a window of frames
		d.waiting.Buf = append(d.waiting.Buf, b.Buf[f.Off:f.Off+f.Len]...)
		f.Off = off
		d.waiting.Frames = append(d.waiting.Frames, f)
	}
	b.Frames = b.Frames[:n]
}

// Settle is Take when no more will come: nothing is kept back. What waits at the
// end agrees with nothing that is known, and is stray; unless it is all there is.
func (d *Dates) Settle(b *packet.Block) {
	d.release(b)
	d.judge(b.Frames, true)
}

// Tell says that the time is at, by a clock that is right: dates near it are
// ordinary from now on.
func (d *Dates) Tell(at int64) {
	d.begun, d.top, d.reach = true, max(d.top, min(max(at, 0), maxNano)), max(d.reach, aDay)
	d.bounds()
}

// Waiting is how many frames wait.
func (d *Dates) Waiting() int { return len(d.waiting.Frames) }

// release puts the frames that wait before those of b.
func (d *Dates) release(b *packet.Block) {
	if len(d.waiting.Frames) == 0 {
		return
	}
	off := uint32(len(b.Buf)) //nolint:gosec // a block
	b.Buf = append(b.Buf, d.waiting.Buf...)
	b.Frames = slices.Insert(b.Frames, 0, d.waiting.Frames...)
	for i := range d.waiting.Frames {
		b.Frames[i].Off += off
	}
	d.waiting.Buf, d.waiting.Frames = d.waiting.Buf[:0], d.waiting.Frames[:0]
}

// judge judges frames as far as it can, or all when they are the last. It gives how
// many are judged.
func (d *Dates) judge(frames []packet.Frame, last bool) int {
	for i := 0; i < len(frames); {
		switch t := frames[i].Time; {
		case t >= d.low && t <= d.high && d.begun:
			if t >= d.next {
				d.pass(t)
			}
		case d.past(t): // as before
		case t < 0:
			frames[i].Time = NoDate
		default:
			n := d.weigh(frames[i:], last)
			if n == 0 {
				return i
			}
			i += n
			continue
		}
		i++
	}
	return len(frames)
}

// pass goes on to a date that is believed.
func (d *Dates) pass(t int64) {
	if t < d.next {
		return
	}
	d.begun, d.top, d.next = true, max(d.top, t), minuteAfter(t)
	d.minutes[d.n%len(d.minutes)] = t
	d.n++
	d.reckon()
}

// past tells whether t is one of the dates far back that are believed, though time
// doesn't go back to them.
func (d *Dates) past(t int64) bool {
	return d.back > 0 && t < d.low && t >= d.back-aDay && t <= d.back+aDay
}

func minuteAfter(t int64) int64 { return t - t%60e9 + 60e9 }

// reckon says how long a pause is ordinary.
func (d *Dates) reckon() {
	d.reach = aDay
	if d.n >= len(d.minutes) {
		newest, oldest := d.minutes[(d.n-1)%len(d.minutes)], d.minutes[d.n%len(d.minutes)]
		d.reach = max(d.reach, newest-oldest)
	}
	d.bounds()
}

// bounds says which dates are ordinary from now on.
func (d *Dates) bounds() {
	d.low, d.high = max(d.top-aDay, 0), maxNano
	if d.reach < maxNano-d.top {
		d.high = d.top + d.reach
	}
}

// suspects are dates out of the ordinary that are judged together.
type suspects struct {
	frames []packet.Frame
	at     [window]int   // where they are in frames
	sorted [window]int64 // the dates
	n      int
}

// weigh judges frames of which the first is out of the ordinary, together with
// those after it. It gives how many are judged; none if more must come.
func (d *Dates) weigh(frames []packet.Frame, last bool) int {
	s := suspects{frames: frames}
	for i := range frames[:min(len(frames), window)] {
		f := &frames[i]
		f.Time = min(f.Time, maxNano)
		switch {
		case d.past(f.Time):
		case f.Time < 0:
			f.Time = NoDate
		case d.begun && f.Time >= d.low && f.Time <= d.high: // nothing has changed
			s.keep(1, 0)
			return i
		default:
			if from, to := s.add(i); to-from > handful {
				d.believe(&s, from, to)
				return i + 1
			}
		}
	}
	switch from, to := s.largest(); {
	case len(frames) < window && !last:
		return 0
	case !d.begun && 2*(to-from) >= s.n: // all there is, and most of it agrees
		d.believe(&s, from, to)
	case !d.begun || s.n > window/2: // packets are rare
		for _, i := range s.at[:s.n] {
			if t := frames[i].Time; t >= d.low {
				d.pass(t)
			} else {
				frames[i].Time = NoDate
			}
		}
	default:
		s.keep(1, 0)
	}
	return min(len(frames), window)
}

// believe goes on to the dates that agree, sorted[from:to], and to those that are
// no farther from them than is ordinary among them.
func (d *Dates) believe(s *suspects, from, to int) {
	if t := s.sorted[to-1]; t < d.low {
		s.keep(s.sorted[from], t)
		d.back = t
		return
	}
	reach := max(aDay, s.sorted[to-1]-s.sorted[from])
	for from > 0 && s.sorted[from-1] >= d.low && s.sorted[from]-s.sorted[from-1] <= reach {
		from--
	}
	for to < s.n && s.sorted[to]-s.sorted[to-1] <= reach {
		to++
	}
	s.keep(s.sorted[from], s.sorted[to-1])
	d.n, d.next = 0, 0 // the pause before is no measure of those to come
	for _, i := range s.at[:s.n] {
		if t := s.frames[i].Time; t != NoDate {
			d.pass(t)
		}
	}
}

// keep takes the dates from those that aren't from first to last.
func (s *suspects) keep(first, last int64) {
	for _, i := range s.at[:s.n] {
		if t := s.frames[i].Time; t < first || t > last {
			s.frames[i].Time = NoDate
		}
	}
}

// add adds frame i. It gives the dates that agree with its: sorted[from:to].
func (s *suspects) add(i int) (from, to int) {
	t := s.frames[i].Time
	place, _ := slices.BinarySearch(s.sorted[:s.n], t)
	copy(s.sorted[place+1:s.n+1], s.sorted[place:s.n])
	s.sorted[place], s.at[s.n] = t, i
	s.n++
	return s.around(place)
}

// around are the dates that agree with sorted[place]: each within a day of another.
func (s *suspects) around(place int) (from, to int) {
	for from = place; from > 0 && s.sorted[from]-s.sorted[from-1] <= aDay; {
		from--
	}
	for to = place + 1; to < s.n && s.sorted[to]-s.sorted[to-1] <= aDay; {
		to++
	}
	return from, to
}

// largest are the dates of which most agree; of several the earliest.
func (s *suspects) largest() (from, to int) {
	for at := 0; at < s.n; {
		f, t := s.around(at)
		if t-f > to-from {
			from, to = f, t
		}
		at = t
	}
	return from, to
}
