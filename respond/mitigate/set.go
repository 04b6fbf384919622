package mitigate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Span is the numbers from From to To, both of them too.
type Span struct {
	From uint16 `json:"from"`
	To   uint16 `json:"to"`
}

// Set is numbers that a component of a rule may have: spans in order that neither
// overlap nor touch. The empty Set is any number, as a rule without the component is.
type Set []Span

// Just is the Set of these numbers; of none it is any.
func Just(numbers ...uint16) Set {
	spans := make([]Span, len(numbers))
	for i, n := range numbers {
		spans[i] = Span{n, n}
	}
	return Union(spans...)
}

// From is the Set of the numbers from a to b.
func From(a, b uint16) Set { return Set{{a, b}} }

// Union is the Set of what lies in any of the spans.
func Union(spans ...Span) Set {
	all := slices.Clone(spans)
	slices.SortFunc(all, func(a, b Span) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	var s Set
	for _, x := range all {
		if n := len(s); n > 0 && int(x.From) <= int(s[n-1].To)+1 {
			s[n-1].To = max(s[n-1].To, x.To)
			continue
		}
		s = append(s, x)
	}
	return s
}

// Has tells whether n is in the Set.
func (s Set) Has(n uint16) bool {
	if len(s) == 0 {
		return true
	}
	return slices.ContainsFunc(s, func(x Span) bool { return x.From <= n && n <= x.To })
}

// and is what lies in both; ok is false where that is nothing, which no Set can say.
func (s Set) and(t Set) (both Set, ok bool) {
	switch {
	case len(s) == 0:
		return t, true
	case len(t) == 0:
		return s, true
	}
	for i, j := 0, 0; i < len(s) && j < len(t); {
		if from, to := max(s[i].From, t[j].From), min(s[i].To, t[j].To); from <= to {
			both = append(both, Span{from, to})
		}
		if s[i].To < t[j].To {
			i++
		} else {
			j++
		}
	}
	return both, len(both) > 0
}

// in tells whether all of s lies in t, where top is the largest number that there is.
func (s Set) in(t Set, top uint16) bool {
	if len(t) == 0 {
		return true
	}
	if len(s) == 0 {
		s = Set{{0, top}}
	}
	for _, x := range s {
		x.To = min(x.To, top)
		if x.From <= x.To && !slices.ContainsFunc(t, func(y Span) bool { return y.From <= x.From && x.To <= y.To }) {
			return false
		}
	}
	return true
}

// count is how many numbers up to top are in the Set.
func (s Set) count(top uint16) (n int) {
	if len(s) == 0 {
		return int(top) + 1
	}
	for _, x := range s {
		n += int(x.To) - int(x.From) + 1
	}
	return n
}

// check tells what is wrong with a Set that came from outside.
func (s Set) check(what string, top uint16) error {
	for i, x := range s {
		switch {
		case x.From > x.To || x.To > top:
			return fmt.Errorf("%s: %d–%d isn't a span of numbers up to %d", what, x.From, x.To, top)
		case i > 0 && int(s[i-1].To)+1 >= int(x.From):
			return fmt.Errorf("%s: spans stand in order and apart: %d–%d and %d–%d do not", what, s[i-1].From, s[i-1].To, x.From, x.To)
		}
	}
	return nil
}

// String writes the Set with the operators of RFC 8955, section 4.2.1.1:
// "=53 or >=1024&<=65535".
func (s Set) String() string { return s.write("=", ">=", "&<=", " or ") }

func (s Set) write(one, from, to, or string) string {
	var b strings.Builder
	for i, x := range s {
		if i > 0 {
			b.WriteString(or)
		}
		if x.From == x.To {
			b.WriteString(one + strconv.Itoa(int(x.From)))
			continue
		}
		b.WriteString(from + strconv.Itoa(int(x.From)) + to + strconv.Itoa(int(x.To)))
	}
	return b.String()
}
