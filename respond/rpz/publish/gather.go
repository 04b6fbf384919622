package publish

import (
	"context"
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"

	"sakimori/respond/rpz"
)

// rules are what blocks an entry.
func (e *Entry) rules() []rpz.Rule {
	own := rpz.Rule{Name: e.Name, Ref: e.ID}
	if e.Host {
		return []rpz.Rule{own}
	}
	return []rpz.Rule{own, {Name: "*." + e.Name, Ref: e.ID}}
}

// mostHidden bounds the entries that are remembered because others hide them; with more of
// them a zone is made anew for each serial.
const mostHidden = 1 << 17

// gathered is a zone as the list has it. What stands below a name that is blocked with
// all below it is left out: it changes nothing, and would bring a difference to light.
// To BIND and Unbound a name that exists hides the wildcards above it (RFC 4592), so
// with *.evil.example and c2.cdn.evil.example they'd answer x.cdn.evil.example truly.
// What is left out is noted in hidden, once Whole has ended; nil: it is too much.
func gathered(ctx context.Context, l List, emergency bool) (c rpz.Change, hidden func() map[string]Entry, err error) {
	above := map[uint64]struct{}{} // names that are blocked with all below
	for e, err := range l.All(ctx) {
		if err != nil {
			return c, nil, fmt.Errorf("read the list: %w", err)
		}
		if e.Emergency == emergency && !e.Host {
			above[xxh3.HashString(e.Name)] = struct{}{}
		}
	}
	var broken error
	out := map[string]Entry{}
	rules := func(yield func(rpz.Rule) bool) {
		for e, err := range l.All(ctx) {
			if err != nil {
				broken = fmt.Errorf("read the list: %w", err)
				return
			}
			if e.Emergency != emergency {
				continue
			}
			if covered(above, &e) {
				if out != nil {
					out[e.ID] = e
				}
				if len(out) > mostHidden {
					out = nil
				}
				continue
			}
			for _, r := range e.rules() {
				if !yield(r) {
					return
				}
			}
		}
	}
	return rpz.Change{Whole: rules, Err: func() error { return broken }}, func() map[string]Entry { return out }, nil
}

// covered tells whether a name is blocked by another entry: one above it, or of a host
// the same name with all below.
func covered(above map[uint64]struct{}, e *Entry) bool {
	name := e.Name
	if e.Host {
		if _, is := above[xxh3.HashString(name)]; is {
			return true
		}
	}
	for {
		i := strings.IndexByte(name, '.')
		if i < 0 {
			return false
		}
		if i > 0 && name[i-1] == '\\' { // a dot of a label
			name = name[i+1:]
			continue
		}
		name = name[i+1:]
		if _, is := above[xxh3.HashString(name)]; is {
			return true
		}
	}
}
