package cnc

import (
	"fmt"
	"math"
	"time"

	"sakimori/detect"
)

// Term is one thing that speaks for an entry.
type Term struct {
	Term  string      `json:"term"`  // a source, or "hits"
	Words detect.Text `json:"words"` // how its value came about
	Value float64     `json:"value"` // 0 to 1
}

// What is asked for weighs by itself, and is forgotten within weeks.
const (
	hitWeight = 0.3
	hitHalf   = 7 * 24 * time.Hour
)

// fades is what is left of a weight after a time.
func fades(age, half time.Duration) float64 {
	if age <= 0 {
		return 1
	}
	return math.Exp2(-age.Hours() / half.Hours())
}

// weigh gives the score of an entry,
//
//	1 − Π (1 − trust × confidence × 2^(−age / half-life))
//
// over the sources that say or said so, and the hits, with a trust of 0.3 and a half-life
// of a week. Each source and each hit raises it, and time lowers it. terms may be nil.
func (l *List) weigh(e *Entry, said []Said, reads map[string]time.Time, now time.Time, terms func(Term)) float64 {
	without := 1.0
	best := map[string]float64{} // of a source's versions, the one that weighs most
	for i := range said {
		s := &said[i]
		src := l.SourceOf(s.Source)
		confidence := s.Confidence
		if confidence == 0 {
			confidence = src.Confidence
		}
		age := now.Sub(s.base(src.Base, reads[s.Source]))
		left := fades(age, src.HalfLife)
		v := src.Trust * confidence * left
		if v <= best[s.Source] {
			continue
		}
		without *= (1 - v) / (1 - best[s.Source])
		best[s.Source] = v
		if terms != nil {
			terms(Term{s.Source, detect.Textf("信頼度 %.2f × 確度 %.2f × 経過による減衰 %.2f(%s 日、半減期 %s 日)", "trust %.2f × confidence %.2f × decay %.2f (after %s days, half-life %s days)",
				src.Trust, confidence, left, days(age), days(src.HalfLife)), v})
		}
	}
	if !e.Hit.IsZero() {
		v := hitWeight * fades(now.Sub(e.Hit), hitHalf)
		without *= 1 - v
		if terms != nil {
			terms(Term{"hits", detect.Textf("最後の問い合わせから %s 日: %.2f × 減衰", "last asked for %s days ago: %.2f × decay", days(now.Sub(e.Hit)), hitWeight), v})
		}
	}
	return 1 - max(without, 0)
}

func days(d time.Duration) string { return fmt.Sprintf("%.1f", max(d, 0).Hours()/24) }

// base is the date from which a claim loses weight.
func (s *Said) base(b Base, read time.Time) time.Time {
	confirmed := s.Gone
	if s.Gone.IsZero() {
		confirmed = later(s.Since, read)
	}
	switch {
	case b == FromCame:
		return s.Since
	case b == FromFirst && !s.First.IsZero():
		return s.First
	case b == FromFirst:
		return s.Since
	case !s.Last.IsZero():
		return s.Last
	}
	return confirmed
}

// Explain tells what an entry's score is made of now, the strongest first.
func (l *List) explain(e *Entry, said []Said, reads map[string]time.Time) (score float64, terms []Term) {
	byName := map[string]int{}
	score = l.weigh(e, said, reads, l.clock.Now(), func(t Term) {
		if i, have := byName[t.Term]; have {
			terms[i] = t
			return
		}
		byName[t.Term] = len(terms)
		terms = append(terms, t)
	})
	return score, terms
}
