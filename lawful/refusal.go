package lawful

import (
	"fmt"
	"strings"
)

// Refusal is the error of a request that wasn't granted: what the nearest rule
// lacks, and what would satisfy it. It is an ErrRefused.
type Refusal struct {
	Measure Measure
	Rule    string // "" when no rule in force speaks of the measure
	Title   Text
	Missing []Lack
}

// Error says it in English, in one line.
func (r *Refusal) Error() string {
	list := make([]string, 0, len(r.Missing))
	for _, l := range r.Missing {
		list = append(list, l.why().EN+": "+l.Satisfy.EN)
	}
	by := ""
	if r.Rule != "" {
		by = " by rule " + r.Rule
	}
	return fmt.Sprintf("%v%s: %s: %s", ErrRefused, by, r.Measure, strings.Join(list, "; "))
}

// Unwrap makes it an ErrRefused.
func (r *Refusal) Unwrap() error { return ErrRefused }

// Text says it to a person: what is missing, and below each what would satisfy it.
func (r *Refusal) Text() Text {
	var ja, en strings.Builder
	if r.Rule == "" {
		fmt.Fprintf(&ja, "認められません(%s)", r.Measure)
		fmt.Fprintf(&en, "Refused (%s)", r.Measure)
	} else {
		fmt.Fprintf(&ja, "認められません(%s)。最も近い規則は %s「%s」です", r.Measure, r.Rule, r.Title.JA)
		fmt.Fprintf(&en, "Refused (%s). The nearest rule is %s, %q", r.Measure, r.Rule, r.Title.EN)
	}
	for _, l := range r.Missing {
		why := l.why()
		fmt.Fprintf(&ja, "\n- %s\n  → %s", why.JA, l.Satisfy.JA)
		fmt.Fprintf(&en, "\n- %s\n  → %s", why.EN, l.Satisfy.EN)
	}
	return Text{ja.String(), en.String()}
}

// why is what is missing, with the figures.
func (l *Lack) why() Text {
	if l.Detail == (Text{}) {
		return l.Missing
	}
	return Text{l.Missing.JA + "(" + l.Detail.JA + ")", l.Missing.EN + " (" + l.Detail.EN + ")"}
}

// noRule is what is missing when no rule speaks of a measure.
var noRule = Lack{
	Condition: "rule",
	Missing:   Text{"この措置を認める規則が、この時点では存在しません", "no rule in force speaks of this measure"},
	Satisfy:   Text{"`sakimori lawful list` で規則とその期間を確認してください", "see the rules and their dates with `sakimori lawful list`"},
}

// refusal is the error of a decision.
func refusal(d *Decision, v *verdict) *Refusal {
	r := &Refusal{Measure: d.Measure, Missing: d.Missing}
	if v.rule != nil {
		r.Rule, r.Title = v.rule.ID, v.rule.Title
	}
	return r
}

// Pending is the error of a request that a second person must agree to: see
// Gate.Approve. It is an ErrWaiting, and no Grant.
type Pending struct{ Decision Decision }

// Error says what to do next.
func (p *Pending) Error() string {
	return fmt.Sprintf("%v: rule %s asks for it; somebody other than who asked approves %s before %s",
		ErrWaiting, p.Decision.Rule, p.Decision.ID, p.Decision.Until.Format("2006-01-02T15:04:05Z07:00"))
}

// Unwrap makes it an ErrWaiting.
func (p *Pending) Unwrap() error { return ErrWaiting }
