package rpz

import (
	"bytes"
	"fmt"
	"slices"
)

// Delta is what changed from one serial to another: both sets are in order.
type Delta struct {
	From, To       uint32
	Removed, Added *Set
}

// Bytes is how many the records of both have.
func (d *Delta) Bytes() int { return d.Removed.bytes + d.Added.bytes }

// ClientsGo tells whether a client has a rule before it, and none after it.
func (d *Delta) ClientsGo() bool {
	added := walk(d.Added)
	for e := range d.Removed.entries() {
		if !bytes.HasSuffix(e.wire[:ownerLen(e.wire)], clientIP) {
			continue
		}
		for added.more && compare(added.e.wire, e.wire) < 0 {
			added.next()
		}
		if !added.more || compare(added.e.wire, e.wire) != 0 {
			return true
		}
	}
	return false
}

// walker goes through a set, and over what it shares with another.
type walker struct {
	s    *Set
	i    int
	at   cursor
	e    entry
	more bool
}

func walk(s *Set) *walker {
	w := &walker{s: s, i: -1}
	w.next()
	return w
}

func (w *walker) next() {
	for {
		if w.i >= 0 && w.i < len(w.s.chunks) {
			if w.e, w.more = w.at.next(); w.more {
				return
			}
		}
		if w.i++; w.i >= len(w.s.chunks) {
			w.more = false
			return
		}
		w.at = cursor{c: w.s.chunks[w.i]}
	}
}

// fresh tells whether it stands at the first rule of a chunk.
func (w *walker) fresh() bool { return w.more && w.at.at == len(w.e.wire) }

// skip goes behind the chunk.
func (w *walker) skip() {
	w.at.not = len(w.at.c.notes)
	w.next()
}

// difference is what must go from a and come to it so that it is b: so many rules of each,
// and the delta itself, unless it has more bytes than most.
func difference(a, b *Set, most int) (d *Delta, removed, added int) {
	var gone, come writer
	size := 0
	put := func(w *writer, e entry) {
		if size += len(e.wire); size <= most {
			w.add(e)
		}
	}
	x, y := walk(a), walk(b)
	for x.more || y.more {
		if x.fresh() && y.fresh() && x.at.c == y.at.c {
			x.skip()
			y.skip()
			continue
		}
		var c int
		switch {
		case !y.more:
			c = -1
		case !x.more:
			c = 1
		default:
			c = compare(x.e.wire, y.e.wire)
		}
		if c == 0 && bytes.Equal(x.e.wire, y.e.wire) && bytes.Equal(x.e.ref, y.e.ref) {
			x.next()
			y.next()
			continue
		}
		if c <= 0 {
			put(&gone, x.e)
			removed++
			x.next()
		}
		if c >= 0 {
			put(&come, y.e)
			added++
			y.next()
		}
	}
	if size > most {
		return nil, removed, added
	}
	gone.flush()
	come.flush()
	return &Delta{Removed: &gone.set, Added: &come.set}, removed, added
}

// apply is the set after a delta. A delta that doesn't fit is an error: it belongs to
// another set.
func (s *Set) apply(d *Delta) (*Set, error) {
	var changes []change
	x, y := walk(d.Removed), walk(d.Added)
	stays := 0
	for x.more || y.more {
		var c int
		switch {
		case !y.more:
			c = -1
		case !x.more:
			c = 1
		default:
			c = compare(x.e.wire, y.e.wire)
		}
		if c < 0 {
			changes = append(changes, change{x.e, true})
		} else {
			changes = append(changes, change{y.e, false})
		}
		if c <= 0 {
			x.next()
			stays--
		}
		if c >= 0 {
			y.next()
			stays++
		}
	}
	n := s.with(changes)
	if n.rules != s.rules+stays {
		return nil, fmt.Errorf("the change from serial %d to %d doesn't fit the zone: it has %d rules after it, not %d", d.From, d.To, n.rules, s.rules+stays)
	}
	return n, nil
}

// condense makes one delta of several that follow each other. Where sent is set it is to
// be sent: a rule whose records are the same, and rests on something else, isn't in it.
func condense(steps []*Delta, sent bool) *Delta {
	if len(steps) == 1 && !(sent && steps[0].idle()) {
		return steps[0]
	}
	all := map[string]*fate{}
	key := func(e entry) string { return string(e.wire[:ownerLen(e.wire)]) }
	for _, d := range steps {
		for e := range d.Removed.entries() {
			if f := all[key(e)]; f == nil {
				all[key(e)] = &fate{before: e}
			} else {
				f.after = entry{}
			}
		}
		for e := range d.Added.entries() {
			f := all[key(e)]
			if f == nil {
				f = &fate{}
				all[key(e)] = f
			}
			f.after = e
		}
	}
	fates := make([]*fate, 0, len(all))
	for _, f := range all {
		if f.before.any() && f.after.any() && bytes.Equal(f.before.wire, f.after.wire) && (sent || bytes.Equal(f.before.ref, f.after.ref)) {
			continue
		}
		if f.before.any() || f.after.any() {
			fates = append(fates, f)
		}
	}
	slices.SortFunc(fates, func(a, b *fate) int { return compare(a.wire(), b.wire()) })
	var gone, come writer
	for _, f := range fates {
		if f.before.any() {
			gone.add(f.before)
		}
		if f.after.any() {
			come.add(f.after)
		}
	}
	gone.flush()
	come.flush()
	return &Delta{steps[0].From, steps[len(steps)-1].To, &gone.set, &come.set}
}

// fate is what became of an owner.
type fate struct{ before, after entry }

func (e *entry) any() bool { return e.wire != nil }

func (f *fate) wire() []byte {
	if f.before.any() {
		return f.before.wire
	}
	return f.after.wire
}

// idle tells whether a delta may hold rules whose records are the same before and after.
func (d *Delta) idle() bool {
	x, y := walk(d.Removed), walk(d.Added)
	for x.more && y.more {
		switch c := compare(x.e.wire, y.e.wire); {
		case c == 0 && bytes.Equal(x.e.wire, y.e.wire):
			return true
		case c <= 0:
			x.next()
		default:
			y.next()
		}
	}
	return false
}
