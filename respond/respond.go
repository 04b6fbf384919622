// Package respond does something about a finding, lawfully.
//
// Its nouns are the Case, which follows one finding or several until they are
// settled, and the Act, one step that touches somebody: a notice, a filter, a
// block. An Act is proposed, approved by a person, applied with a Grant in hand,
// confirmed by what is seen afterwards, and withdrawn when its ground is gone.
package respond

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sakimori/lawful"
)

// Case follows findings about one subject.
type Case struct {
	ID       string
	Findings []string // ids
	Opened   time.Time
	Closed   time.Time // zero while open
	Acts     []Act
}

// Act is one step and where it stands.
type Act struct {
	ID      string
	Measure lawful.Measure
	Target  lawful.Target
	State   State
	By      string // who brought it into this state
	At      time.Time
	Rule    string // of the Grant under which it was applied
}

// State is where an Act is in its life.
type State string

// The states, in order; Withdrawn may follow any but itself.
const (
	Proposed  State = "proposed"
	Approved  State = "approved"
	Applied   State = "applied"
	Confirmed State = "confirmed"
	Withdrawn State = "withdrawn"
)

// Recorder writes an act down before it is done.
type Recorder interface {
	Record(ctx context.Context, a Act) error
}

// ErrOrder is what Step returns for a state that can't follow.
var ErrOrder = errors.New("an act can't go from one state to the other")

// Step brings an act into its next state. Applied takes a Grant that allows the
// measure on the target now; the others don't touch anybody.
func (a Act) Step(to State, by string, g lawful.Grant, now time.Time) (Act, error) {
	next := map[State]State{Proposed: Approved, Approved: Applied, Applied: Confirmed}
	if to != next[a.State] && (to != Withdrawn || a.State == Withdrawn) {
		return a, fmt.Errorf("%w: %s → %s", ErrOrder, a.State, to)
	}
	if to == Applied {
		if !g.Allows(a.Measure, a.Target, now) {
			return a, fmt.Errorf("%w: no grant allows %s on this target now", lawful.ErrRefused, a.Measure)
		}
		a.Rule = g.Rule()
	}
	a.State, a.By, a.At = to, by, now
	return a, nil
}
