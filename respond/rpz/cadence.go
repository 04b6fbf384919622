package rpz

import (
	"fmt"
	"time"
)

// Cadence is how often a zone is published. Some resolvers fetch all of a zone after a few
// differences, so many small steps cost more than one.
type Cadence struct {
	Every time.Duration // from one serial of allow. and c2. to the next
}

// Check says what is wrong with it.
func (c Cadence) Check() error {
	if c.Every < time.Minute || c.Every > time.Hour {
		return fmt.Errorf("cadence %s: from 1m, better 1m to 5m, to 1h", c.Every)
	}
	return nil
}

// Due is when a change is to be published that waits since a time. What concerns a
// subscriber's choice, an emergency, and the end of a block don't wait.
func (c Cadence) Due(z Zone, urgent bool, since, last time.Time) time.Time {
	if at := last.Add(c.Every); !urgent && z != OptOut && z != Emergency && at.After(since) {
		return at
	}
	return since
}
