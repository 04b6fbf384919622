package telescope

import "sakimori/observe"

// minute makes e's counts of a minute those of t, and gives that minute's cells.
func (s *shard) minute(e *entry, t int64) *counts {
	m := uint32(t / 60e9) //nolint:gosec // minutes since the epoch
	slot := s.slot(m)
	if e.minute != m || e.marks&markQueued == 0 {
		if e.marks&markQueued != 0 {
			c := s.counts(e.minute)
			s.flush(e, c, s.cells(e, c))
		}
		e.minute, e.firstIn = m, t
		e.marks |= markQueued
		s.active[slot] = append(s.active[slot], s.indexOf(e))
	}
	return s.open[slot]
}

// slot is 0 for the newest minute, 1 for the one before.
func (s *shard) slot(minute uint32) int {
	if minute == s.top {
		return 0
	}
	return 1
}

// counts are those of an open minute.
func (s *shard) counts(minute uint32) *counts { return s.open[s.slot(minute)] }

// indexOf finds the slab index of an entry through its key: only on the first
// packet of a minute.
func (s *shard) indexOf(e *entry) uint32 {
	tag := e.tag()
	mask := uint32(len(s.byKey.slots) - 1) //nolint:gosec // fewer than 2^32 slots
	for i := tag & mask; ; i = (i + 1) & mask {
		if sl := s.byKey.slots[i]; sl.tag == tag && s.entries.at(sl.ref-1) == e {
			return sl.ref - 1
		}
	}
}

// advance makes m the newest minute, and gives away the minutes that end.
func (s *shard) advance(m uint32, out func(minute uint32, c *counts, sights []observe.Sighting)) {
	for s.top < m {
		s.end(out)
		if m-s.top > 2 { // nothing came for a while
			s.shift(m - 1)
			s.open[0].spare = true
			continue
		}
		s.shift(s.top + 1)
	}
	if m-s.swept >= s.cfg.sweepMinutes() {
		s.swept = m
		s.sweep(int64(m) * 60e9)
	}
}

// shift makes to the newest minute, and the newest one so far the one before.
// What that one has is booked at once, in one go: later only what comes late.
func (s *shard) shift(to uint32) {
	s.flushAll(0)
	s.open[1] = s.open[0]
	s.active[0], s.active[1] = s.active[1], s.active[0]
	s.sights[0], s.sights[1] = s.sights[1], s.sights[0]
	s.top = to
	s.open[0] = s.fresh(to)
}

// retally books what the open minutes hold on the present tally, and begins
// another.
func (s *shard) retally() {
	s.flushAll(0)
	s.flushAll(1)
	for i := range s.entries.n {
		s.entries.at(i).marks &^= markTallied
	}
	answering := s.tally.Answering
	s.tally = newTally(s.union.v4, s.cfg.Detail)
	s.tally.Answering = answering
}

// end closes the older one of the open minutes.
func (s *shard) end(out func(uint32, *counts, []observe.Sighting)) {
	c := s.open[1]
	minute := uint32(c.start / 60) //nolint:gosec // minutes since the epoch
	s.flushAll(1)
	sights := s.sights[1]
	s.sights[1] = nil
	out(minute, c, sights)
}

// flushAll books everything of one of the open minutes.
func (s *shard) flushAll(slot int) {
	c := s.open[slot]
	if c == nil {
		return // nothing has come yet
	}
	minute := uint32(c.start / 60) //nolint:gosec // minutes since the epoch
	for rest := s.active[slot]; len(rest) > 0; {
		group := rest[:min(batch, len(rest))]
		rest = rest[len(group):]
		s.touch(group, c)
		for j, i := range group {
			if e := s.entries.at(i); e.marks&markQueued != 0 && e.minute == minute {
				s.flush(e, c, s.where[j])
			}
		}
	}
	s.active[slot] = s.active[slot][:0]
}

// flush books what an event did in its minute on the counts, and tells the
// detectors of it when it is their business.
func (s *shard) flush(e *entry, c *counts, at [5]uint32) {
	e.marks &^= markQueued
	if e.packets == 0 {
		return
	}
	k := observe.Kind(e.kind)
	src := s.sources.at(e.source)
	if e.marks&markShadow == 0 {
		id, n := identity(e.src), uint64(e.packets)
		for _, i := range at {
			if i != 0 {
				cell := c.cells.at(i)
				cell.packets += n
				cell.sources.Add(cell.form(), id)
			}
		}
		if k.Class() == observe.Scan {
			s.tally.port(portKey(e.proto, e.port), n)
		}
		s.drain(e, c, at)
	}
	if src.flags&uint8(observe.Own) != 0 || k.Class() == observe.Backscatter || k.Class() == observe.Reflection {
		slot := s.slot(e.minute)
		s.sights[slot] = append(s.sights[slot], s.sighting(e, src))
	}
	e.packets = 0
	e.bins = [6]uint16{}
}

// cells are the five cells that an event's packets count in; the last is 0 for
// what isn't a scan, as its port is no service that was asked for.
func (s *shard) cells(e *entry, c *counts) [5]uint32 {
	src := s.sources.at(e.source)
	class := observe.Kind(e.kind).Class()
	at := [5]uint32{
		c.at(&c.class[class], observe.ByClass, uint32(class)),
		c.at(&c.proto[e.proto], observe.ByProtocol, uint32(e.proto)),
		c.at(&c.country[src.country], observe.ByCountry, countryOfIndex(src.country)),
		c.asCell(src.as, src.asn),
	}
	if class == observe.Scan {
		at[4] = c.portCell(e.proto, e.port)
	}
	return at
}

// drain adds the waiting targets to the counts.
func (s *shard) drain(e *entry, c *counts, at [5]uint32) {
	for _, i := range at {
		if i == 0 || e.waiting == 0 {
			continue
		}
		cell := c.cells.at(i)
		form := cell.form()
		for _, target := range e.recent[:e.waiting] {
			cell.targets.Add(form, target)
		}
	}
	e.waiting = 0
}

// touch finds the cells of a group, and asks for the memory that its flushes
// will need: first everything at one remove, then everything at two.
func (s *shard) touch(group []uint32, c *counts) {
	var sum uint32
	for _, i := range group {
		e := s.entries.at(i)
		sum += e.minute + uint32(e.waiting) + e.evidence.seq
	}
	for _, i := range group {
		sum += s.sources.at(s.entries.at(i).source).asn
	}
	for j, i := range group {
		s.where[j] = s.cells(s.entries.at(i), c)
	}
	for j := range group {
		for _, at := range s.where[j][2:] { // the others are always at hand
			cell := c.cells.at(at)
			sum += cell.sources.Head() + cell.targets.Head()
		}
	}
	for j, i := range group {
		e := s.entries.at(i)
		for _, at := range s.where[j][2:] {
			cell := c.cells.at(at)
			sum += cell.sources.Touch(identity(e.src)) + cell.targets.Touch(e.recent[0])
		}
	}
	s.touched += sum
}
