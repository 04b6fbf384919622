package gates_test

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/respond/casework"
	"sakimori/sim"
)

// hand is a clock that is moved by hand.
type hand struct{ at time.Time }

func (h *hand) Now() time.Time { return h.at }

// unwritten keeps no ledger: what is judged here is the course alone.
type unwritten struct{}

func (unwritten) Lock(context.Context, *relation.Tx) error                   { return nil }
func (unwritten) Record(context.Context, *relation.Tx, casework.Event) error { return nil }

// course plays what the binary attributed through the months, sign by sign: reports come a
// day after what they tell of, the telescope's at once; a desk tells each subscriber the
// next morning. It gives each case's history, by line.
func course(t *testing.T, o *townOutcome) map[string][]casework.Event {
	t.Helper()
	ctx := t.Context()
	db, err := relation.Open(ctx, filepath.Join(t.TempDir(), "course.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := &hand{o.truth.Start}
	desk, err := casework.Open(ctx, db, unwritten{}, now, casework.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	signs := arriving(o)
	for end := o.truth.End.Add(20 * 24 * time.Hour); now.at.Before(end); now.at = now.at.Add(2 * time.Hour) {
		for len(signs) > 0 && !signs[0].Came.After(now.at) {
			if _, err := desk.Take(ctx, signs[0]); err != nil {
				t.Fatal(err)
			}
			signs = signs[1:]
		}
		if now.at.Hour() == 10 {
			tellAll(t, desk)
		}
		if _, err := desk.Tick(ctx); err != nil {
			t.Fatal(err)
		}
	}
	list, err := desk.Cases(ctx, casework.Query{})
	if err != nil {
		t.Fatal(err)
	}
	histories := map[string][]casework.Event{}
	for i := range list {
		_, history, _, err := desk.Get(ctx, list[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		histories[o.lines[list[i].Subject]] = history
	}
	return histories
}

// arriving are the signs of all cases in the order in which they come.
func arriving(o *townOutcome) (signs []casework.Sign) {
	for i := range o.cases {
		for _, s := range o.cases[i].Signs {
			s.Subject, s.Came = o.cases[i].Subject, s.At.Add(24*time.Hour)
			if s.Source == "telescope" {
				s.Came = s.At.Add(10 * time.Minute)
			}
			signs = append(signs, s)
		}
	}
	slices.SortFunc(signs, func(a, b casework.Sign) int { return cmp.Or(a.Came.Compare(b.Came), cmp.Compare(a.ID, b.ID)) })
	return signs
}

// tellAll does the desk's work of a morning.
func tellAll(t *testing.T, desk *casework.Desk) {
	t.Helper()
	ctx := t.Context()
	list, err := desk.Cases(ctx, casework.Query{States: []casework.State{casework.Attributed, casework.Relapsed}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		for _, to := range []casework.State{casework.Lawful, casework.Notified} {
			if err := desk.Move(ctx, list[i].ID, to, "desk", "the morning's work"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// quietOf is how long nothing may be seen of a family.
func quietOf(family string) time.Duration {
	q := casework.DefaultRules().Quiet
	if family == "mirai" {
		return q["mirai"]
	}
	return q[""]
}

// judgeCourse: nobody is clean while they are infected, those who were cleaned end clean in
// time, those who relapse are found again.
func judgeCourse(t *testing.T, o *townOutcome, s *score) {
	const day = 24 * time.Hour
	spells := map[string][]sim.Spell{}
	for _, x := range o.truth.Infected {
		if x.To.IsZero() {
			x.To = o.truth.End // as far as anybody can know
		}
		spells[x.Line] = append(spells[x.Line], x)
	}
	histories := course(t, o)
	at := func(line string, what casework.State, from, to time.Time) bool {
		return slices.ContainsFunc(histories[line], func(e casework.Event) bool {
			return e.What == string(what) && !e.At.Before(from) && !e.At.After(to)
		})
	}
	for line, history := range histories {
		for _, e := range history {
			switch casework.State(e.What) {
			case casework.Clean:
				s.claim(!slices.ContainsFunc(spells[line], func(x sim.Spell) bool {
					return !e.At.Before(x.From) && e.At.Before(x.To)
				}), "%s is clean at %s, and isn't: %+v", line, e.At, spells[line])
			case casework.Relapsed:
				// Also who was only away for two days, and is infected still.
				s.claim(slices.ContainsFunc(spells[line], func(x sim.Spell) bool {
					return !e.At.Before(x.From) && e.At.Before(x.To.Add(2*day))
				}), "%s relapsed at %s, and didn't: %+v", line, e.At, spells[line])
			}
		}
	}
	end := o.truth.End.Add(20 * day)
	for line, list := range spells {
		for i := range list {
			x := &list[i]
			next := end
			if i+1 < len(list) {
				next = list[i+1].From
			}
			// A day for the report, one for the silence, one for the desk.
			if by := x.To.Add(quietOf(x.Family) + 3*day); by.Before(next) {
				s.want(at(line, casework.Clean, x.To, by), "%s isn't clean by %s: %+v", line, by, histories[line])
			}
			if i > 0 {
				s.want(at(line, casework.Relapsed, x.From, x.To.Add(2*day)), "%s has no relapse after %s: %+v", line, x.From, histories[line])
			}
		}
	}
}
