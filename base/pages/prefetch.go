package pages

import "unsafe"

// List is a list of places whose memory is asked for at once. The processor
// fetches some ten lines of its cache side by side when nothing waits for them,
// and Go has no word for that: a plain load makes it wait when its window of
// instructions is full.
type List struct {
	at [listMost]uintptr
	n  int
}

const listMost = 512

// Add puts a place on the list; one that doesn't fit is left out.
func Add[T any](l *List, p *T) {
	if l.n < listMost {
		l.at[l.n] = uintptr(unsafe.Pointer(p)) //nolint:gosec // an address, no pointer
		l.n++
	}
}

// Fetch asks for all places, and empties the list. They needn't be valid.
func (l *List) Fetch() {
	fetch(&l.at[0], l.n)
	l.n = 0
}
