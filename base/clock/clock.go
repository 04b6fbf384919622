// Package clock is where the house takes the time from, so that a test can
// hold it still and a replay can run it faster.
package clock

import "time"

// Clock tells the time.
type Clock interface {
	Now() time.Time
}

// System is the machine's own clock, in UTC.
type System struct{}

// Now is the present.
func (System) Now() time.Time { return time.Now().UTC() } //nolint:forbidigo // the one place

// Fixed is a clock that stands still.
type Fixed time.Time

// Now is always the same.
func (f Fixed) Now() time.Time { return time.Time(f) }
