package telescope

import (
	"math"

	"sakimori/observe"
)

// slot is 0 for the newest minute, 1 for the one before.
func (s *shard) slot(minute uint32) int {
	if minute == s.top {
		return 0
	}
	return 1
}

// book makes the record of a packet of e in minute m.
func (s *shard) book(e *entry, m uint32, j *job) {
	what := e.what() | j.marks
	if e.seen != m+1 {
		what |= s.news(e, m)
	}
	l := &s.open[s.slot(m)]
	l.packets.add(record{j.number, what, s.sources.at(e.source).place | j.six}, s.shelf)
	if l.packets.len() >= s.cfg.piece {
		p := l.give()
		p.more = true
		s.give(p)
	}
}

// what is the beginning of a record's what.
func (e *entry) what() uint32 {
	return uint32(e.port) | uint32(e.proto)<<whatProto | uint32(observe.Kind(e.kind).Class())<<whatClass
}

// news are the cells in which e's source is new in minute m with this packet:
// the marks of its record. Cells in which it is new in the hour are told to the
// log of hosts; to tell them again does no harm.
func (s *shard) news(e *entry, m uint32) (marks uint32) {
	before := e.seen
	if !e.comes(m) {
		return 0
	}
	src, kind := s.sources.at(e.source), observe.Kind(e.kind)
	class := uint8(1) << kind.Class()
	hour := m/60 + 1
	host := uint32(0)
	if kind.Class() == observe.Scan && !s.twin(e, src, m) {
		marks = newPort
	}
	if kind.Class() == observe.Scan && (before == 0 || (before-1)/60 != m/60) {
		host = newPort
	}
	seen := src.in(m)
	if *seen == 0 {
		marks |= newPlace
	}
	if *seen&class == 0 {
		marks |= newClass
	}
	proto := protoBit(e.proto)
	if proto == 0 && !s.twin(e, src, m) || proto&^*seen != 0 {
		marks |= newProto
	}
	*seen |= class | proto
	if src.hour != hour {
		src.hour, src.hosts = hour, 0
		host |= newPlace
	}
	if class&^src.hosts != 0 {
		host |= newClass
	}
	if proto == 0 || proto&^src.hosts != 0 {
		host |= newProto
	}
	if src.hosts |= class | proto; host != 0 {
		s.open[s.slot(m)].hosts.add(record{identity(src.addr), e.what() | host | src.openly(), src.place}, s.shelf)
	}
	return marks
}

// openly is the mark of a host that scans openly.
func (src *source) openly() uint32 {
	return uint32(src.flags&uint8(observe.Research)) / uint32(observe.Research) * research
}

// comes notes that e has a packet in minute m, one of the two that are open, and
// tells whether it is the first.
func (e *entry) comes(m uint32) bool {
	switch e.seen {
	case m + 1:
		return false
	case m + 2: // a late one
		first := e.marks&markBefore == 0
		e.marks |= markBefore
		return first
	}
	e.marks &^= markBefore
	if e.seen == m && m > 0 {
		e.marks |= markBefore
	}
	e.seen = m + 1
	return true
}

// active tells whether e has had a packet in minute m, one of the open two.
func (e *entry) active(m uint32) bool {
	return e.seen == m+1 || e.seen == m+2 && e.marks&markBefore != 0
}

// in is what the source has done in minute m, one of the open two: a bit for
// each class, and above them one for each of the usual protocols.
func (src *source) in(m uint32) *uint8 {
	switch src.minute {
	case m + 1:
		return &src.seen[0]
	case m + 2:
		return &src.seen[1]
	}
	if src.seen[1] = 0; src.minute == m && m > 0 {
		src.seen[1] = src.seen[0]
	}
	src.minute, src.seen[0] = m+1, 0
	return &src.seen[0]
}

// protoBit is the protocol's bit in what a source has done, 0 for the others.
func protoBit(proto uint8) uint8 {
	switch proto {
	case 6:
		return 1 << 4
	case 17:
		return 1 << 5
	case 1:
		return 1 << 6
	case 58:
		return 1 << 7
	}
	return 0
}

// twin tells whether another event of e's source that counts in the same cell
// was there in minute m before it: a port that is asked with SYNs and with
// stealth packets, or a rare protocol in whole datagrams and in fragments.
func (s *shard) twin(e *entry, src *source, m uint32) bool {
	var other observe.Kind
	switch observe.Kind(e.kind) {
	case observe.KindTCPSyn:
		if src.marks&markStealth == 0 {
			return false
		}
		other = observe.KindTCPStealth
	case observe.KindTCPStealth:
		other = observe.KindTCPSyn
	case observe.KindOther:
		other = observe.KindFragment
	case observe.KindFragment:
		other = observe.KindOther
	default:
		return false
	}
	h := mix(src.addr)
	i, ok := s.find(src.addr, keyTag(h, e.port, uint8(other), e.proto), e.port, other, e.proto)
	return ok && s.entries.at(i).active(m)
}

// sight counts a packet of entry i for the sighting of its minute. Only what
// detectors want to know of is seen to: what own addresses send, and answers.
func (s *shard) sight(i uint32, t int64) {
	e, a := s.entries.at(i), s.asides.at(i)
	m := uint32(t / 60e9) //nolint:gosec // minutes since the epoch
	if a.minute != m || e.marks&markQueued == 0 {
		if e.marks&markQueued != 0 {
			s.flush(i)
		}
		a.minute, a.firstIn = m, t
		e.marks |= markQueued
		slot := s.slot(m)
		s.active[slot] = append(s.active[slot], i)
	}
	a.packets++
	if b := &a.bins[(t/1e9%60)/10]; *b < math.MaxUint16 {
		*b++
	}
}

// advance makes m the newest minute, and gives away the minutes that end.
func (s *shard) advance(m uint32) {
	for s.top < m {
		s.end()
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
// The sightings of that one are made at once: later only of what comes late.
func (s *shard) shift(to uint32) {
	s.flushAll(0)
	s.open[1] = s.open[0]
	s.active[0], s.active[1] = s.active[1], s.active[0]
	s.sights[0], s.sights[1] = s.sights[1], s.sights[0]
	s.top = to
	s.open[0] = sheet{minute: to}
}

// retally begins another tally.
func (s *shard) retally() {
	for i := range s.entries.n {
		s.entries.at(i).marks &^= markTallied
	}
	for i := range s.sources.n {
		s.sources.at(i).marks &^= markCounted
	}
	s.open[0].retally()
	s.open[1].retally()
	answering := s.tally.Answering
	s.tally = newTally(s.cfg.Detail)
	s.tally.Answering = answering
}

// end closes the older one of the open minutes.
func (s *shard) end() {
	s.flushAll(1)
	p := s.open[1].give()
	p.sights = s.sights[1]
	s.sights[1] = make([]observe.Sighting, 0, len(p.sights)+len(p.sights)/8) // the next minute has as many
	p.closed, s.closed = s.closed, nil
	s.give(p)
}

// flushAll makes the sightings of one of the open minutes.
func (s *shard) flushAll(slot int) {
	minute := s.open[slot].minute
	for _, i := range s.active[slot] {
		if s.entries.at(i).marks&markQueued != 0 && s.asides.at(i).minute == minute {
			s.flush(i)
		}
	}
	s.active[slot] = s.active[slot][:0]
}

// flush tells the detectors what the event of entry i did in its minute.
func (s *shard) flush(i uint32) {
	a := s.asides.at(i)
	s.entries.at(i).marks &^= markQueued
	if a.packets > 0 {
		slot := s.slot(a.minute)
		s.sights[slot] = append(s.sights[slot], s.sighting(i))
	}
	a.packets = 0
	a.bins = [6]uint16{}
}
