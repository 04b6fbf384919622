package detect

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Minute is what a detector has been told of the minute in hand. Nothing is judged
// before the minute is over, so neither the order within it nor the cut into batches
// matters. A minute that comes again adds to what is known.
type Minute struct {
	At      int64              // the minute in hand, Unix seconds
	Now     int64              // how far the data's time has come, Unix nanoseconds
	Dropped uint64             // sightings that could not be taken into account
	Pending []observe.Sighting // what counts of the minute, and isn't added yet
	Touched []packet.Addr      // whom to judge when it is over
}

// Judge is what a detector does with a minute.
type Judge interface {
	Wants(s *observe.Sighting) bool                  // whether it is its business
	Order(a, b observe.Sighting) int                 // of one source's sightings
	Add(group []observe.Sighting, first, last int64) // one source's, and their span in Unix nanoseconds
	Judge(a packet.Addr)                             // a source that was touched, once
	Expire(t int64)                                  // the data's time has come to t, Unix nanoseconds
	Flush()                                          // versions may be due
}

// LastMinute is the end of what nanoseconds since 1970 can say, less a margin.
const LastMinute = 9_000_000_000

// Sight takes sightings in order of minute. most is how many may wait to be added.
func (m *Minute) Sight(batch []observe.Sighting, most int, j Judge) {
	for i := range batch {
		s := &batch[i]
		if s.Minute < 0 || s.Minute > LastMinute {
			m.Dropped++
			continue
		}
		if s.Minute != m.At {
			m.settle(j)
			m.At = s.Minute
		}
		if !j.Wants(s) {
			continue
		}
		m.Pending = append(m.Pending, *s)
		if len(m.Pending) >= most {
			m.add(j)
		}
	}
}

// Tick tells that the data's time has come to at.
func (m *Minute) Tick(at time.Time, j Judge) {
	t := at.UnixNano()
	if t >= (m.At+60)*int64(time.Second) {
		m.settle(j)
	}
	j.Expire(t)
	m.Now = max(m.Now, t)
	j.Flush()
}

// settle has the minute in hand judged.
func (m *Minute) settle(j Judge) {
	m.add(j)
	m.Now = max(m.Now, (m.At+60)*int64(time.Second))
	slices.SortFunc(m.Touched, packet.Addr.Compare)
	for _, a := range slices.Compact(m.Touched) {
		j.Judge(a)
	}
	m.Touched = m.Touched[:0]
	j.Flush()
}

// add hands over what is pending, source by source, in an order of its own.
func (m *Minute) add(j Judge) {
	j.Expire(m.At * int64(time.Second))
	slices.SortFunc(m.Pending, func(a, b observe.Sighting) int { return cmp.Or(a.Source.Compare(b.Source), j.Order(a, b)) })
	for rest := m.Pending; len(rest) > 0; {
		n := 1
		first, last := rest[0].First, rest[0].Last
		for n < len(rest) && rest[n].Source == rest[0].Source {
			first, last = min(first, rest[n].First), max(last, rest[n].Last)
			n++
		}
		j.Add(rest[:n], first, last)
		rest = rest[n:]
	}
	m.Pending = m.Pending[:0]
}

// Check tells what can't be true of a minute that was read back.
func (m *Minute) Check() error {
	if m.At < 0 || m.At > LastMinute {
		return errors.New("a minute that can't be")
	}
	for i := range m.Pending {
		if int(m.Pending[i].Kind) >= observe.Kinds || m.Pending[i].Minute != m.At {
			return errors.New("a sighting that can't be")
		}
	}
	return nil
}
