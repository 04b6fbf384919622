package respond

import (
	"errors"
	"slices"
	"testing"
	"time"

	"sakimori/detect"
)

// TestStep tries every step from every state: what may follow does, and what may not
// leaves an act as it was.
func TestStep(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	why := detect.Text{JA: "試験", EN: "a test"}
	life := []State{Proposed, Approved, Announced, Confirmed}
	ends := []State{Withdrawn, Refused, Failed, Expired, RolledBack}
	not := map[[2]State]bool{ // ends that a state hasn't
		{Proposed, Failed}: true, {Proposed, RolledBack}: true, {Approved, RolledBack}: true,
		{Announced, Refused}: true, {Confirmed, Refused}: true, {Confirmed, Failed}: true,
	}
	for i, from := range append(slices.Clone(life), ends...) {
		if slices.Contains(ends, from) != from.Over() || from.Words() == State("").Words() {
			t.Errorf("%s is over: %v, %v", from, from.Over(), from.Words())
		}
		for j, to := range append(slices.Clone(life), ends...) {
			a := Act{State: from}
			_, err := a.step(to, "hanako", why, now)
			may := i < len(life) && (j == i+1 && j < len(life) || j >= len(life) && !not[[2]State{from, to}])
			if may != (err == nil) || err != nil && (a.State != from || !errors.Is(err, ErrOrder)) || err == nil && (a.State != to || a.Words != to.Words() || *a.Reason != why) {
				t.Errorf("%s → %s: %v, %+v", from, to, err, a)
			}
		}
	}
	a := Act{State: Proposed}
	if _, err := a.step(Approved, "", why, now); err == nil || a.State != Proposed {
		t.Error("nobody did it")
	}
}
