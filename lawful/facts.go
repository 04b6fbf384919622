package lawful

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind is the type of a fact.
type Kind string

// The kinds, with how they are written in YAML and JSON and what they are in Go.
const (
	Bool     Kind = "bool"      // true; bool
	Number   Kind = "number"    // 0.02; float64
	Time     Kind = "time"      // "2026-11-01T12:00:00+09:00"; time.Time
	Duration Kind = "duration"  // "90m"; time.Duration
	Word     Kind = "text"      // "F-17"; string
	List     Kind = "list"      // [a, b]; []string
	Declared Kind = "statement" // {who: …, at: …, until: …}; Statement
)

// Fact is a word of the vocabulary in which an asker states what is the case.
type Fact struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	Text Text   `json:"text"`
}

// Statement is what somebody outside declared, for example a receiver's consent.
type Statement struct {
	Who   string    `json:"who"` // a company or an office, never a person's name
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
}

// Facts are what the asker states, by name; see Kind for the types. They hold ids
// and figures, never a person's name, address or contract.
type Facts map[string]any

// The bounds of what is read.
const (
	mostFacts = 64
	mostItems = 1000
	mostText  = 1000 // bytes
)

// Check gives the facts in the types of their kinds. What isn't in the vocabulary,
// or is of another kind, is an error that names it.
func (g *Guideline) Check(f Facts) (Facts, error) {
	if len(f) > mostFacts {
		return nil, fmt.Errorf("%d facts are stated: at most %d are read", len(f), mostFacts)
	}
	out := make(Facts, len(f))
	for _, name := range slices.Sorted(maps.Keys(f)) {
		known, ok := g.fact(name)
		if !ok {
			return nil, fmt.Errorf("no rule knows the fact %.40q: `sakimori lawful list --facts` names them%s", name, g.near(name))
		}
		v, ok := known.Kind.read(f[name])
		if !ok {
			return nil, fmt.Errorf("the fact %s must be a %s: write %s", name, known.Kind, known.Kind.example())
		}
		out[name] = v
	}
	return out, nil
}

// near guesses what was meant: a name that begins or ends alike.
func (g *Guideline) near(name string) string {
	for _, f := range g.Facts {
		if n := min(len(name), len(f.Name)); n >= 4 && (strings.EqualFold(name[:n-1], f.Name[:n-1]) || strings.EqualFold(name[len(name)-n+1:], f.Name[len(f.Name)-n+1:])) {
			return ". Is " + f.Name + " meant?"
		}
	}
	return ""
}

func (k Kind) example() string {
	switch k {
	case Bool:
		return "true or false"
	case Number:
		return "a number, for example 0.02"
	case Time:
		return `a time with its zone, for example "2026-11-01T12:00:00+09:00"`
	case Duration:
		return `a duration, for example "90m"`
	case List:
		return `a list of at most 1000 texts, for example [a, b]`
	case Declared:
		return `who declared it, when, and until when: {who: AS64500, at: "2026-11-01T12:00:00+09:00", until: "2026-12-01T00:00:00+09:00"}`
	}
	return "a text of at most 1000 bytes"
}

// read takes a value as Go code gives it, or as YAML and JSON are decoded.
func (k Kind) read(v any) (out any, ok bool) {
	switch k {
	case Bool:
		out, ok = v.(bool)
	case Number:
		return number(v)
	case Time:
		return moment(v)
	case Duration:
		if d, is := v.(time.Duration); is {
			return d, d >= 0
		}
		s, _ := v.(string) // no text is no duration
		d, err := time.ParseDuration(s)
		return d, err == nil && d >= 0
	case Word:
		s, is := v.(string)
		return strings.TrimSpace(s), is && len(s) <= mostText
	case List:
		return texts(v)
	case Declared:
		return declared(v)
	}
	return out, ok
}

func number(v any) (any, bool) {
	switch n := v.(type) {
	case float64:
		return n, n == n // not a NaN
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return nil, false
}

func moment(v any) (any, bool) {
	t, is := v.(time.Time)
	if s, text := v.(string); text {
		var err error
		t, err = time.Parse(time.RFC3339, s)
		is = err == nil
	}
	return t.UTC(), is && !t.IsZero()
}

func texts(v any) (any, bool) {
	given, is := v.([]string)
	list := append([]string{}, given...) // an empty list isn't none
	if anys, other := v.([]any); other {
		is = true
		for _, a := range anys {
			s, text := a.(string)
			if !text {
				return nil, false
			}
			list = append(list, s)
		}
	}
	return list, is && len(list) <= mostItems && !slices.ContainsFunc(list, func(s string) bool { return s == "" || len(s) > mostText })
}

func declared(v any) (any, bool) {
	if s, is := v.(Statement); is {
		return s, s.Who != "" && !s.At.IsZero() && !s.Until.IsZero()
	}
	m, is := v.(map[string]any)
	if !is || len(m) != 3 {
		return nil, false
	}
	who, _ := m["who"].(string) // checked below
	at, atOK := moment(m["at"])
	until, untilOK := moment(m["until"])
	if who == "" || len(who) > mostText || !atOK || !untilOK {
		return nil, false
	}
	return Statement{Who: who, At: at.(time.Time), Until: until.(time.Time)}, true //nolint:forcetypeassert // moment gives a time
}

// MarshalJSON writes durations as people do, so that what is kept can be read again.
func (f Facts) MarshalJSON() ([]byte, error) {
	plain := make(map[string]any, len(f))
	for k, v := range f {
		if d, is := v.(time.Duration); is {
			v = d.String()
		}
		plain[k] = v
	}
	return json.Marshal(plain)
}
