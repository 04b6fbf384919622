package route

import "time"

// What is believed of a source's clock.
const (
	farOff    = int64(24 * time.Hour)   // a clock that is further off isn't a clock
	clockSet  = int64(10 * time.Second) // no message takes so long: the clock was set
	clockKept = int64(time.Minute)      // how long the fastest message counts, so that drift is followed
)

// offset is how far this machine's clock is ahead of a source's: the least of arrival less
// departure within the last minute or two, as a message may come late but never early.
type offset struct {
	now, before int64 // the least of this minute and of the one before
	until       int64
	known       bool
}

// take gives when a message was sent by this machine's clock, of when its source says and
// when it came. Who tells no time, or one that is off by more than a day, is dated by
// arrival.
func (o *offset) take(arrival, departure int64) int64 {
	d := arrival - departure
	if departure <= 0 || d > farOff || d < -farOff {
		return arrival
	}
	switch {
	case !o.known:
		o.now, o.before, o.until, o.known = d, d, arrival+clockKept, true
	case o.least()-d > clockSet: // earlier than any before it: the clock was set forward
		o.now, o.before, o.until = d, d, arrival+clockKept
	case arrival >= o.until:
		o.before, o.now, o.until = o.now, d, arrival+clockKept
	default:
		o.now = min(o.now, d)
	}
	return min(departure+o.least(), arrival)
}

// skew is by how much the source's clock is behind, 0 not known.
func (o *offset) skew() int64 {
	if !o.known {
		return 0
	}
	return o.least()
}

func (o *offset) least() int64 { return min(o.now, o.before) }
