package telescope

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// idle is how long, in nanoseconds, an event may be silent before it is over:
// the time-out derived from the dark space once it is a scan or an answer, and
// Config.Slow before. So a scanner that sends a packet an hour is still found,
// and its event ends with its last packet all the same.
func (s *shard) idle(e *entry) int64 {
	if observe.Kind(e.kind).Class() == observe.Scan && e.marks&markScanner == 0 {
		return int64(s.cfg.Slow)
	}
	return int64(s.cfg.idle(s.addr(e).Is4()))
}

// close ends the event of entry i and leaves it empty for the next one of this key.
func (s *shard) close(i uint32) {
	e := s.entries.at(i)
	if e.marks&markQueued != 0 {
		s.flush(i)
	}
	if s.notable(e) {
		s.closed = append(s.closed, s.report(i, false))
		if src := s.sources.at(e.source); s.cfg.Detail && s.flags(e, src)&observe.Scanner != 0 {
			s.tally.scans = append(s.tally.scans, s.scan(i))
		}
	}
	s.blocks.give(&e.targets)
	*e = entry{port: e.port, kind: e.kind, proto: e.proto, source: e.source, marks: e.marks & markOwn}
	*s.asides.at(i) = aside{}
}

// drop closes the event of entry i and frees its place.
func (s *shard) drop(i uint32) {
	e := s.entries.at(i)
	if e.total > 0 {
		s.close(i)
	}
	s.byKey.remove(s.tag(e), i)
	src := s.sources.at(e.source)
	if src.events--; src.events == 0 {
		s.bySource.remove(sourceTag(mix(src.addr)), e.source)
		s.sources.give(e.source)
	}
	e.marks = markFree
	s.entries.give(i)
	s.asides.give(i)
}

// sweep ends the events that have been silent for too long at time t.
func (s *shard) sweep(t int64) {
	for i := range s.entries.n {
		e := s.entries.at(i)
		if e.marks&markFree == 0 && t-e.last > s.idle(e) {
			s.drop(i)
		}
	}
}

// makeRoom is called when the table is full: it ends events before their time,
// those that aren't scans first and the longest silent first, until an eighth of
// the table is free. Each is counted; a report says so.
func (s *shard) makeRoom() {
	want := max(s.cfg.MaxEvents/int(s.of)/8, 1)
	now := int64(s.top+1) * 60e9
	for _, scans := range []bool{false, true} {
		for limit := int64(s.cfg.Slow); ; limit /= 4 {
			all := limit <= int64(time.Second)
			for i := range s.entries.n {
				e := s.entries.at(i)
				if e.marks&markFree != 0 || (e.marks&markScanner != 0) != scans || now-e.last <= limit && !all {
					continue
				}
				for k := range s.open {
					if e.active(s.open[k].minute) {
						s.open[k].again++
					}
				}
				s.drop(i)
				s.tally.Evicted++
				if want--; want <= 0 {
					return
				}
			}
			if all {
				break
			}
		}
	}
}

// notable tells whether an event is worth being kept by itself: it is a scan, or
// has ten packets. The others are in the counts.
func (s *shard) notable(e *entry) bool {
	return e.total > 0 && e.marks&(markFree|markShadow) == 0 && (e.total >= 10 || s.flags(e, s.sources.at(e.source))&observe.Scanner != 0)
}

// each goes through all events. Their sources, which stand all over the place, are
// asked for ahead.
func (s *shard) each(do func(i uint32, e *entry)) {
	const ahead = 64
	for from := uint32(0); from < s.entries.n; from += ahead {
		to := min(from+ahead, s.entries.n)
		for i := from; i < to; i++ {
			pages.Add(&s.list, s.sources.at(s.entries.at(i).source))
		}
		s.list.Fetch()
		for i := from; i < to; i++ {
			if e := s.entries.at(i); e.marks&markFree == 0 {
				do(i, e)
			}
		}
	}
}

// report is the event as others see it.
func (s *shard) report(i uint32, open bool) observe.Event {
	v := s.summary(i, open)
	v.Sample = []string{s.asides.at(i).words(s.entries.at(i), s.addr(s.entries.at(i)))}
	return v
}

// summary is report without the sample in words, which takes the longest.
func (s *shard) summary(i uint32, open bool) observe.Event {
	e, a := s.entries.at(i), s.asides.at(i)
	src := s.sources.at(e.source)
	first, last := time.Unix(0, a.first).UTC(), time.Unix(0, e.last).UTC()
	v := observe.Event{
		ID:     eventID(e, src.addr, a.first),
		Source: src.addr.Netip(), Port: e.port, Proto: e.proto, Kind: observe.Kind(e.kind),
		First: first, Last: last, Packets: uint64(e.total), Targets: s.targets(e),
		Tool: tool(&e.evidence, &src.evidence), ASN: src.asn, Open: open, Flags: s.flags(e, src),
	}
	if d := last.Sub(first).Seconds(); d > 0 {
		v.Rate = float64(e.total-1) / d
	}
	if n := s.dark.at(e.last).v4; src.addr.Is4() && n > 0 {
		v.Coverage = min(float64(v.Targets.N)/float64(n), 1)
	}
	if k := countryOfIndex(src.place & (1<<placeBits - 1)); k != 0 {
		v.Country = string([]byte{byte(k >> 8), byte(k)}) //nolint:gosec // two letters
	}
	return v
}

// eventID names an event by its key and first packet.
func eventID(e *entry, src packet.Addr, first int64) uint64 {
	x := mix(src) ^ uint64(e.port)<<40 ^ uint64(e.kind)<<32 ^ uint64(e.proto)<<24
	x = (x ^ uint64(first)) * 0x9e3779b97f4a7c15 //nolint:gosec // any 64 bits
	return (x ^ x>>29) * 0xbf58476d1ce4e5b9 >> 1 // fits a signed column
}

// words describes the sampled packet in the way tcpdump's readers know.
func (m *sample) words(e *entry, src packet.Addr) string {
	b := make([]byte, 0, 128)
	b = src.Netip().AppendTo(b)
	b = m.dst.Netip().AppendTo(append(b, " > "...))
	number := func(name string, n uint64) { b = strconv.AppendUint(append(b, name...), n, 10) }
	number(" ttl ", uint64(m.ttl))
	number(" id ", uint64(m.id))
	number(" length ", uint64(m.length))
	switch e.proto {
	case packet.TCP:
		number(" tcp ", uint64(m.srcPort))
		number(" > ", uint64(m.dstPort(e)))
		b = append(append(b, " flags "...), tcpFlags(packet.TCPFlags(m.flags))...)
		number(" seq ", uint64(m.seq))
		number(" win ", uint64(m.window))
		number(" options ", uint64(m.options))
		b = append(b, " bytes"...)
	case packet.UDP:
		number(" udp ", uint64(m.srcPort))
		number(" > ", uint64(m.dstPort(e)))
	case packet.ICMP, packet.ICMPv6:
		number(" icmp type ", uint64(e.port>>8))
		number(" code ", uint64(e.port&0xff))
	default:
		number(" protocol ", uint64(e.proto))
	}
	return string(b)
}

// dstPort is the sampled packet's: an answer is keyed by the other port.
func (m *sample) dstPort(e *entry) uint16 {
	if observe.Kind(e.kind).SourcePort() {
		return m.toPort
	}
	return e.port
}

func tcpFlags(f packet.TCPFlags) string {
	const names = "FSRPAUEC"
	b := []byte{}
	for i := range len(names) {
		if f&(1<<i) != 0 {
			b = append(b, names[i])
		}
	}
	if len(b) == 0 {
		return "none"
	}
	return string(b)
}

// sortEvents puts events in the order in which they are handed on, the same
// whatever the number of workers.
func sortEvents(v []observe.Event) {
	// An event is large: only where it stands is moved until all is known.
	order := make([]*observe.Event, len(v))
	for i := range v {
		order[i] = &v[i]
	}
	slices.SortFunc(order, func(a, b *observe.Event) int {
		if c := a.Last.Compare(b.Last); c != 0 {
			return c // nearly always
		}
		return cmp.Or(a.Source.Compare(b.Source), cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Proto, b.Proto), a.First.Compare(b.First))
	})
	sorted := make([]observe.Event, len(v))
	for i, e := range order {
		sorted[i] = *e
	}
	copy(v, sorted)
}
