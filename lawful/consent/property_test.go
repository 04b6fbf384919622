package consent_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/base/relation/relationtest"
	"sakimori/lawful/consent"
)

// said and wording are the oracle: two lists, scanned from the beginning each time.
type said struct {
	subject, purpose, version string
	yes                       bool
	at                        time.Time
}

type wording struct {
	name, purpose string
	from          time.Time
	continues     bool
}

type oracle struct {
	said     []said
	wordings []wording
}

// standing is how a subject stands at a time, by the definition.
func (o *oracle) standing(subject, purpose string, at time.Time) (consents, declined, outdated bool) {
	var last *said
	for i := range o.said {
		if s := &o.said[i]; s.subject == subject && s.purpose == purpose && !s.at.After(at) {
			last = s
		}
	}
	if last == nil {
		return false, false, false
	}
	if !last.yes {
		return false, true, false
	}
	given := false
	for _, w := range o.wordings {
		switch {
		case w.purpose != purpose:
		case w.name == last.version:
			given = true
		case given && !w.from.After(at) && !w.continues:
			return false, false, true
		}
	}
	return true, false, false
}

// TestOracle: after any history the register says what a scan of the list says, of now
// and of every moment before. So does another process that remembers, after each step.
func TestOracle(t *testing.T) {
	t.Parallel()
	place := relationtest.Place(t, "sqlite")
	r, h := open(t, relationtest.Open(t, place))
	other, _ := open(t, relationtest.Open(t, place))
	ctx, round := t.Context(), 0
	rapid.Check(t, func(rt *rapid.T) {
		var o oracle
		round++ // a history of its own each time, by purposes of its own
		h.now = noon
		subjects, purposes := []string{"S-1", "S-2", "S-3"}, []string{fmt.Sprint("a", round), fmt.Sprint("b", round)}
		newest := map[string]string{}
		if err := other.Remember(ctx, purposes...); err != nil {
			rt.Fatal(err)
		}
		for i := range rapid.IntRange(1, 30).Draw(rt, "steps") {
			// Now and then the clock stands still, or is set back a little.
			h.now = h.now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(rt, "seconds")) * time.Second)
			s, p := rapid.SampledFrom(subjects).Draw(rt, "subject"), rapid.SampledFrom(purposes).Draw(rt, "purpose")
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				v := version(fmt.Sprint("v", round, "-", i), h.now, p)
				v.Continues = rapid.Bool().Draw(rt, "continues")
				if err := r.AddTerms(ctx, v); err == nil { // it is refused when the clock was set back
					o.wordings = append(o.wordings, wording{v.Version, p, h.now, v.Continues})
					newest[p] = v.Version
				}
			case 1, 2, 3:
				if e, err := r.Give(ctx, s, p, newest[p], "web", "subscriber"); err == nil {
					o.said = append(o.said, said{s, p, newest[p], true, e.At})
				} else if newest[p] != "" && !h.now.Before(o.from(newest[p])) {
					rt.Fatalf("not given: %v", err)
				}
			default:
				e, err := r.Withdraw(ctx, s, p, "web", "subscriber")
				if err != nil {
					rt.Fatal(err)
				}
				o.said = append(o.said, said{s, p, "", false, e.At})
			}
			for _, at := range []time.Time{h.now, h.now.Add(-time.Second), h.now.Add(time.Minute)} {
				want, err := r.Valid(ctx, s, p, at)
				if got, wrong := other.Valid(ctx, s, p, at); got != want || err != nil || wrong != nil {
					rt.Fatalf("%s %s at %s: another process says %v, not %v (%v, %v)", s, p, at.Sub(noon), got, want, err, wrong)
				}
			}
		}
		end := h.now.Add(10 * time.Second)
		for _, p := range purposes {
			var want consent.Counts
			for _, s := range subjects {
				for _, at := range o.moments(end) {
					consents, _, _ := o.standing(s, p, at)
					if got, err := r.At(ctx, s, p, at); err != nil || got.Valid != consents {
						rt.Fatalf("%s %s at %s: %+v, not %v, %v", s, p, at.Sub(noon), got, consents, err)
					}
				}
				consents, declined, outdated := o.standing(s, p, end)
				if got, err := r.Valid(ctx, s, p, end); err != nil || got != consents {
					rt.Fatalf("%s %s now: %v, %v", s, p, got, err)
				}
				want.Consenting += one(consents)
				want.Declined += one(declined)
				want.Outdated += one(outdated)
			}
			if got, err := r.Count(ctx, p, end); err != nil || got != want {
				rt.Fatalf("%s: %+v, not %+v, %v", p, got, want, err)
			}
		}
	})
}

func (o *oracle) from(version string) time.Time {
	for _, w := range o.wordings {
		if w.name == version {
			return w.from
		}
	}
	return time.Time{}
}

// moments are the times of every change, and just before each.
func (o *oracle) moments(end time.Time) []time.Time {
	list := []time.Time{end}
	for _, s := range o.said {
		list = append(list, s.at, s.at.Add(-1))
	}
	for _, w := range o.wordings {
		list = append(list, w.from, w.from.Add(-1))
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
