package publish

import (
	"slices"
	"time"

	"sakimori/respond/rpz"
)

// lane is what waits for one zone.
type lane struct {
	last    time.Time // of its last serial
	waiting map[string]Change
	now     bool // something of it can't wait
	whole   bool // it isn't known what the zone has: it is published as a whole
}

// take notes a change of an entry that belongs here, or to the other zone: what comes
// into one goes from the other.
func (l *lane) take(c Change, mine bool) {
	if !mine {
		c.In = false // it may have been here before
	}
	l.now = l.now || c.In && c.Emergency || !c.In && c.Now
	if before, waits := l.waiting[c.ID]; waits && !c.In {
		c.Rules = append(slices.Clone(before.Rules), c.Rules...) // whichever of them is there goes
		c.Now = c.Now || !before.In && before.Now
	}
	l.waiting[c.ID] = c
}

// forget gives up what waits: the zone will be published as a whole.
func (l *lane) forget() {
	clear(l.waiting)
	l.whole, l.now = true, false
}

// isHeld tells whether a zone that was rolled back has changed only by what went.
func isHeld(p *rpz.Publication) bool { return slices.Contains(p.Refs, held) }
