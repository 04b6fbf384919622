package publish

import "time"

// lane is what waits for one zone.
type lane struct {
	emergency bool
	last      time.Time     // of its last serial
	took      time.Duration // to make that
	waiting   map[string]Change
	whole     bool // it isn't known what the zone has
	lifted    []string

	at     uint32           // the serial that was made here last
	made   time.Time        // when one was made of the whole list
	hidden map[string]Entry // by id: in force, and hidden by others (see gathered); nil: too many

	held    *Held // while it stands on a roll-back
	heldSeq int64 // of the list, when that was counted; -1 it wasn't
}

// take notes a change of an entry that belongs here, or to the other zone: what comes
// into one goes from the other.
func (l *lane) take(c Change, mine bool) {
	before, waits := l.waiting[c.ID]
	switch {
	case !mine && c.In:
		c.In, c.moved, c.Now = false, !waits || before.moved, waits && before.Now && !before.In
	case !mine && !waits && !c.Now:
		return // it was never here, or has gone already
	case !mine && !waits: // a zone that was rolled back may have it from before
		c.moved = true
	}
	c.Now = c.Now || !c.In && waits && !before.In && before.Now
	l.waiting[c.ID] = c
}

// busy is how much of the time may be spent with making a zone: one part in so many.
const busy = 10

// pace is the least time between two serials.
func (l *lane) pace(cadence time.Duration) time.Duration { return max(cadence, busy*l.took) }

// due tells whether the zone is to be published.
func (l *lane) due(now time.Time, cadence time.Duration) bool {
	if l.whole {
		return true
	}
	for _, c := range l.waiting {
		if c.In && c.Emergency || !c.In && c.Now {
			return true
		}
	}
	return len(l.waiting) > 0 && !now.Before(l.last.Add(l.pace(cadence)))
}

// counts are how many entries come and go.
func (l *lane) counts() (come, gone int) {
	for _, c := range l.waiting {
		switch {
		case c.In:
			come++
		case !c.moved: // of most that are in the other zone it never was here
			gone++
		}
	}
	return come, gone
}

// done notes that what waited, and was read of the list before, was published.
func (l *lane) done(now, began time.Time) {
	clear(l.waiting)
	l.last, l.took, l.whole = now, now.Sub(began), false
}

// unknown gives up what waits: the zone will be published as it is to be.
func (l *lane) unknown() {
	clear(l.waiting)
	l.whole = true
}
