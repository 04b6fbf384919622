package publish

import (
	"fmt"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// A serial is made of the one before and of what changed in the list since: so a change of
// ten names costs some tens of milliseconds, however many rules there are. The result is
// the zone that gathered would make; TestFollows holds it to that.

// mostSteps is how many changes are made so; of more the zone is made anew.
const mostSteps = 100_000

// step is what leads from a serial to the next.
type step struct {
	change rpz.Change
	hide   []Entry  // that others hide from now on
	show   []string // of what was hidden, by id
}

// stepping is a step in the making.
type stepping struct {
	step

	lane  *lane
	set   *rpz.Set
	above map[string]bool // names of which all below will be blocked: that come, or are hidden
	goes  map[string]bool // and was, by what goes
	gone  map[string]bool // names of rules that go
}

// step makes one of what waits. False: the zone is to be made anew.
func (l *lane) step(v *rpz.Version) (step, bool) {
	if l.hidden == nil || l.at != v.Serial || len(l.waiting) > mostSteps {
		return step{}, false
	}
	s := &stepping{lane: l, set: v.Set, above: map[string]bool{}, goes: map[string]bool{}, gone: map[string]bool{}}
	s.change.On = v.Serial
	names := make(map[string]dns.Name, len(l.waiting))
	var parents []dns.Name
	for id, c := range l.waiting {
		n, err := dns.ParseName(c.Name)
		if err != nil || len(n) < 2 {
			return step{}, false // it is said when the zone is made anew
		}
		names[id] = n
		s.take(id, n)
		if c.In && !c.Host {
			s.above[string(n)], parents = true, append(parents, n)
		}
	}
	freed, err := s.freed()
	if err != nil {
		return step{}, false
	}
	for id, c := range l.waiting {
		switch {
		case c.In && s.covered(&c.Entry, names[id]):
			s.hide = append(s.hide, c.Entry)
		case c.In:
			s.come(&c.Entry)
		default:
			s.show = append(s.show, id) // it isn't hidden either
		}
	}
	for id, n := range freed {
		if e := l.hidden[id]; !s.covered(&e, n) {
			s.come(&e)
		}
	}
	if len(parents) > 0 {
		s.cover(parents)
	}
	return s.step, true
}

// take takes out what the zone has of an entry. If it stays, it comes again.
func (s *stepping) take(id string, n dns.Name) {
	if r, is := s.set.Get(n); is && r.Ref == id {
		s.remove(r)
	}
	if r, is := s.set.Get(wildcard(n)); is && r.Ref == id {
		s.goes[string(n)] = true
		s.remove(r)
	}
}

func wildcard(n dns.Name) dns.Name { return append(dns.Name("\x01*"), n...) }

func (s *stepping) come(e *Entry) {
	s.show = append(s.show, e.ID)
	s.change.Add = append(s.change.Add, e.rules()...)
}

func (s *stepping) remove(r rpz.Rule) {
	if !s.gone[r.Name] {
		s.gone[r.Name] = true
		s.change.Remove = append(s.change.Remove, r)
	}
}

// wild tells whether all below a name will be blocked by an entry of that name.
func (s *stepping) wild(n dns.Name) bool {
	if s.above[string(n)] {
		return true
	}
	if s.goes[string(n)] {
		return false
	}
	_, is := s.set.Get(wildcard(n))
	return is
}

// covered tells whether a name will be blocked by another entry.
func (s *stepping) covered(e *Entry, n dns.Name) bool {
	if e.Host && s.wild(n) {
		return true
	}
	for n = n.Parent(); len(n) > 1; n = n.Parent() {
		if s.wild(n) {
			return true
		}
	}
	return false
}

// freed are those of the hidden, with their names, whom nobody may hide any longer. What
// hides others is known of each before one of them is judged.
func (s *stepping) freed() (map[string]dns.Name, error) {
	if len(s.goes) == 0 {
		return nil, nil //nolint:nilnil // nobody
	}
	list := make(map[string]dns.Name, len(s.lane.hidden))
	for id, e := range s.lane.hidden {
		if _, changes := s.lane.waiting[id]; changes {
			continue
		}
		n, err := dns.ParseName(e.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		list[id] = n
		s.above[string(n)] = s.above[string(n)] || !e.Host
	}
	return list, nil
}

// cover takes out what stands below the names that come, and the hosts of the same name.
func (s *stepping) cover(parents []dns.Name) {
	found := map[string]*Entry{}
	note := func(r rpz.Rule) {
		if _, changes := s.lane.waiting[r.Ref]; changes || r.Action != rpz.NXDomain {
			return // it was looked at; or it is a stamp, which comes again
		}
		s.remove(r)
		e := found[r.Ref]
		if e == nil {
			e = &Entry{ID: r.Ref, Name: r.Name, Host: true, Emergency: s.lane.emergency}
			found[r.Ref] = e
		}
		if len(r.Name) > 2 && r.Name[:2] == "*." {
			e.Name, e.Host = r.Name[2:], false
		}
	}
	for r := range s.set.Below(parents) {
		note(r)
	}
	for _, n := range parents {
		if r, is := s.set.Get(n); is {
			note(r)
		}
	}
	for _, e := range found {
		s.hide = append(s.hide, *e)
	}
}

// stepped notes that a step was published, as a serial.
func (l *lane) stepped(s *step, serial uint32) {
	for _, id := range s.show {
		delete(l.hidden, id)
	}
	for _, e := range s.hide {
		l.hidden[e.ID] = e
	}
	if len(l.hidden) > mostHidden {
		l.hidden = nil
	}
	l.at = serial
}
