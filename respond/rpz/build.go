package rpz

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
)

// NewSet makes a set of rules, in whatever order they come. Of two with one trigger the
// later counts. A rule that can't be published is an ErrRule, and nothing is made.
func NewSet(zone Zone, rules iter.Seq[Rule]) (*Set, error) {
	changes, err := coming(zone, rules)
	if err != nil {
		return nil, err
	}
	return (&Set{}).with(changes), nil
}

// place is where a rule lies in the arena of those that come.
type place struct {
	at        uint32
	wire, ref uint16
}

// coming brings rules into order.
func coming(zone Zone, rules iter.Seq[Rule]) ([]change, error) {
	var arena []byte
	var places []place
	sorted := true
	for r := range rules {
		at := len(arena)
		var err error
		if arena, err = appendRule(arena, zone, &r); err != nil {
			return nil, err
		}
		n := len(arena) - at
		if arena = append(arena, r.Ref...); n > chunkAim/2 || len(r.Ref) > 255 || len(arena) > 1<<31 {
			return nil, fmt.Errorf("%w: %s: it, its ref or all together are too long", ErrRule, r.trigger())
		}
		if k := len(places); sorted && k > 0 {
			p := places[k-1]
			sorted = compare(arena[p.at:], arena[at:]) < 0
		}
		places = append(places, place{uint32(at), uint16(n), uint16(len(r.Ref))}) // #nosec G115 -- looked at above
	}
	if !sorted {
		slices.SortStableFunc(places, func(a, b place) int { return compare(arena[a.at:], arena[b.at:]) })
	}
	changes := make([]change, 0, len(places))
	for i, p := range places {
		if i+1 < len(places) && compare(arena[p.at:], arena[places[i+1].at:]) == 0 {
			continue
		}
		end := int(p.at) + int(p.wire)
		changes = append(changes, change{entry{arena[p.at:end:end], arena[end : end+int(p.ref)]}, false})
	}
	return changes, nil
}

// going brings the triggers of rules into order; what else they say isn't looked at.
func going(zone Zone, rules []Rule) ([]change, error) {
	var changes []change
	for i := range rules {
		w, err := appendRule(nil, zone, &Rule{Name: rules[i].Name, Client: rules[i].Client})
		if err != nil {
			return nil, err
		}
		changes = append(changes, change{entry{wire: w}, true})
	}
	slices.SortFunc(changes, func(a, b change) int { return compare(a.wire, b.wire) })
	return slices.CompactFunc(changes, func(a, b change) bool { return compare(a.wire, b.wire) == 0 }), nil
}

// joined are both in one order; what comes wins over what goes.
func joined(come, gone []change) []change {
	if len(gone) == 0 {
		return come
	}
	all := slices.Concat(come, gone)
	slices.SortStableFunc(all, func(a, b change) int { return compare(a.wire, b.wire) })
	return slices.CompactFunc(all, func(a, b change) bool { return bytes.Equal(a.wire[:ownerLen(a.wire)], b.wire[:ownerLen(b.wire)]) })
}
