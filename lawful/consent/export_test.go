package consent

import "sakimori/base/clock"

// Machine sets the clock by which the memory ages.
func (r *Register) Machine(c clock.Clock) { r.machine = c }
