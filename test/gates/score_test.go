package gates_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

// score is the reckoning of one detector.
type score struct {
	claims, right int // what the binary said, and how much of it is true
	wanted, found int // what is true and can be seen by the detector's definition
	beyond        int // what is true, but below its definition
	delays        []time.Duration
	misses        []string
}

// claim notes something that the binary said.
func (s *score) claim(ok bool, what string, args ...any) {
	s.claims++
	if ok {
		s.right++
		return
	}
	s.misses = append(s.misses, "wrong: "+fmt.Sprintf(what, args...))
}

// want notes something that it should have said.
func (s *score) want(ok bool, what string, args ...any) {
	s.wanted++
	if ok {
		s.found++
		return
	}
	s.misses = append(s.misses, "missed: "+fmt.Sprintf(what, args...))
}

func (s *score) add(o *score) {
	s.claims += o.claims
	s.right += o.right
	s.wanted += o.wanted
	s.found += o.found
	s.beyond += o.beyond
	s.delays = append(s.delays, o.delays...)
	s.misses = append(s.misses, o.misses...)
}

func (s *score) precision() float64 { return share(s.right, s.claims) }
func (s *score) recall() float64    { return share(s.found, s.wanted) }

// share is 1 for none of none: nothing was said wrongly, nothing missed.
func share(n, of int) float64 {
	if of == 0 {
		return 1
	}
	return float64(n) / float64(of)
}

// delay is the median and the longest delay, as printed.
func (s *score) delay() string {
	if len(s.delays) == 0 {
		return "–"
	}
	slices.Sort(s.delays)
	return fmt.Sprintf("%s / %s", span(s.delays[len(s.delays)/2]), span(s.delays[len(s.delays)-1]))
}

func span(d time.Duration) string {
	if d >= time.Hour {
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f min", d.Minutes())
}

// detector is one line of the table.
type detector struct {
	name      string
	ja, en    string // what counts
	innocents bool   // precision alone, and it must be 1
	strict    bool   // precision must be 1, and recall counts
	judge     func(o *outcome, s *score)
	judge2    func(t *testing.T, o *townOutcome, s *score) // of a town
	total     score                                        // over all scenes
}

// least is what the gate asks for.
const (
	leastPrecision = 0.99
	leastRecall    = 0.95
)

// fails says why the detector doesn't pass, "" when it does.
func (d *detector) fails() string {
	s := &d.total
	precision := cmp.Or(map[bool]float64{true: 1}[d.innocents || d.strict], leastPrecision)
	switch {
	case s.claims == 0 && s.wanted == 0:
		return "no scene exercises it"
	case s.precision() < precision:
		return fmt.Sprintf("precision %.4f is below %.2f", s.precision(), precision)
	case s.recall() < leastRecall:
		return fmt.Sprintf("recall %.4f is below %.2f", s.recall(), leastRecall)
	}
	return ""
}
