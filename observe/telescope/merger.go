package telescope

import (
	"time"

	"sakimori/observe"
)

// part is what one shard saw in one minute, or as much of it as is counted at once.
type part struct {
	minute         uint32
	packets, hosts [][]record
	spare          bool // no frame came
	more           bool // there is more of this minute to come
	again          uint64
	sights         []observe.Sighting
	closed         []observe.Event
	fresh          []item          // instead: for the census
	sync           chan<- struct{} // instead: say that everything before is done
}

// merger adds the shards up and turns minutes into hours and days. Shards end a
// minute at the same place of the stream, but not at the same moment.
type merger struct {
	sink   Sink
	dark   darkness
	ases   *register
	of     int // shards
	piece  int // records that are counted in one go
	detail bool
	in     chan part
	shelf  *shelf
	folder *folder
	census *census
	ended  chan struct{}

	waiting   map[uint32]*minute // minutes of which some shard is missing
	hour, day *span
	last      int64 // start of the last minute that was watched; 0 before the first
}

// minute is one that not all shards have ended.
type minute struct {
	parts  int
	n      int     // packets
	part           // of all shards
	counts *counts // of the pieces that have been counted, nil without any
}

// span is an hour or a day in the making.
type span struct {
	*counts
	looked int64 // seconds of it that were watched
}

func newMerger(cfg *Config, dark darkness, union *space, ases *register, sink Sink) *merger {
	return &merger{
		sink: sink, dark: dark, ases: ases, of: cfg.Workers, piece: cfg.piece, detail: cfg.Detail, in: make(chan part, 4*cfg.Workers), shelf: &shelf{},
		folder: newFolder(union, ases), census: newCensus(union.v4), ended: make(chan struct{}), waiting: map[uint32]*minute{},
	}
}

func (g *merger) run() {
	defer close(g.ended)
	for p := range g.in {
		switch {
		case p.sync != nil:
			p.sync <- struct{}{}
		case p.fresh != nil:
			g.census.take(p.fresh)
		default:
			g.take(p)
		}
	}
}

// drain waits until everything that was sent has been worked off.
func (g *merger) drain() {
	done := make(chan struct{})
	g.in <- part{sync: done}
	<-done
}

func (g *merger) take(p part) {
	m := g.waiting[p.minute]
	if m == nil {
		m = &minute{part: part{minute: p.minute, spare: p.spare}}
		g.waiting[p.minute] = m
	}
	m.packets = append(m.packets, p.packets...)
	m.hosts = append(m.hosts, p.hosts...)
	for _, c := range p.packets {
		m.n += len(c)
	}
	m.again += p.again
	m.sights = append(m.sights, p.sights...)
	m.closed = append(m.closed, p.closed...)
	if !p.more {
		m.parts++
	}
	if p.more || m.n > g.piece { // nobody knows how much will come: count by sets
		g.fold(m)
	}
	if m.parts == g.of {
		delete(g.waiting, p.minute)
		g.minute(int64(p.minute)*60, m)
	}
}

// fold counts what has come of a large minute.
func (g *merger) fold(m *minute) {
	if m.counts == nil {
		m.counts = newCounts(int64(m.part.minute)*60, g.ases)
	}
	g.folder.fold(&piece{packets: m.packets, hosts: m.hosts, into: m.counts, more: true, census: g.census, detail: g.detail})
	g.clear(m)
}

// clear gives the records' memory back.
func (g *merger) clear(m *minute) {
	g.shelf.put(m.packets)
	g.shelf.put(m.hosts)
	m.packets, m.hosts = nil, nil
}

// longest is the silence, in seconds, after which the telescope is taken not to
// have looked: not a single frame, dark or not, for an hour.
const longest = 3600

// minute is called for the minutes in which frames came, and some spare ones
// before them, in order.
func (g *merger) minute(start int64, m *minute) {
	if len(m.closed) > 0 {
		sortEvents(m.closed)
		g.sink.Closed(m.closed)
	}
	if m.spare && m.n == 0 {
		return // no late packet came: watched or not, the next minute tells
	}
	switch missing := start - g.last - 60; {
	case g.last == 0:
	case missing > longest:
		g.sink.Gap(time.Unix(g.last+60, 0).UTC(), time.Unix(start, 0).UTC())
	default:
		for t := g.last + 60; t < start; t += 60 {
			g.watched(t, nil)
		}
	}
	sortSights(m.sights)
	if sights := join(m.sights); len(sights) > 0 {
		g.sink.Sight(sights)
	}
	g.watched(start, m)
}

// watched books one minute; m is nil when nothing came to dark space in it.
func (g *merger) watched(start int64, m *minute) {
	g.roll(start)
	if g.hour == nil {
		g.hour = &span{newCounts(start-start%3600, g.ases), 0}
	}
	b := Bucket{Grain: observe.Minute, Start: start, DarkV4: g.dark.at(start * 1e9).v4, Looked: 1}
	if m != nil {
		b.Rows = g.rows(m)
	}
	g.sink.Bucket(b)
	g.hour.looked += 60
	g.last = start
	g.sink.Clock(time.Unix(start+60, 0).UTC())
}

// rows counts a minute, and adds it to the hour.
func (g *merger) rows(m *minute) []Row {
	p := piece{packets: m.packets, hosts: m.hosts, into: g.hour.counts, again: m.again, asns: g.ases.list(), census: g.census, detail: g.detail}
	if m.counts == nil {
		defer g.clear(m)
		return g.folder.fold(&p)
	}
	g.fold(m)
	g.hour.merge(m.counts)
	return m.counts.minute(&p)
}

// roll ends the hour and the day when start is no longer in them.
func (g *merger) roll(start int64) {
	if g.hour != nil && start >= g.hour.start+3600 {
		t := g.hour.table()
		g.sink.Bucket(g.bucket(observe.Hour, g.hour, &t, false))
		g.day = g.day.with(g.hour)
		g.hour = nil
	}
	if g.day != nil && start >= g.day.start+86400 {
		t := g.day.table()
		g.sink.Bucket(g.bucket(observe.Day, g.day, &t, false))
		g.day = nil
	}
}

// with is the day with an hour added; s may be nil.
func (s *span) with(hour *span) *span {
	if s == nil {
		s = &span{newCounts(hour.start-hour.start%86400, hour.ases), 0}
	}
	s.merge(hour.counts)
	s.looked += hour.looked
	return s
}

// open are the hour and the day that aren't over, as they stand.
func (g *merger) open() []Bucket {
	switch {
	case g.hour == nil && g.day == nil:
		return nil
	case g.hour == nil:
		t := g.day.table()
		return []Bucket{g.bucket(observe.Day, g.day, &t, true)}
	}
	hour, day := g.hour.table(), g.hour
	b := []Bucket{g.bucket(observe.Hour, g.hour, &hour, true)}
	if g.day == nil { // its first hour is all there is of it
		return append(b, g.bucket(observe.Day, day, &hour, true))
	}
	day = &span{newCounts(g.day.start, g.ases), g.day.looked} // keep the day itself as it is
	day.merge(g.day.counts)
	t := day.with(g.hour).table()
	return append(b, g.bucket(observe.Day, day, &t, true))
}

// bucket is an hour or a day, as t says.
func (g *merger) bucket(grain observe.Grain, s *span, t *table, open bool) Bucket {
	start := s.start - s.start%grain.Seconds()
	return Bucket{
		Grain: grain, Start: start, Open: open, DarkV4: g.dark.at(start * 1e9).v4,
		Looked: float64(s.looked) / float64(grain.Seconds()), Rows: t.with(grain),
	}
}

// join adds up sightings of one source, port and kind: a minute may have come
// in pieces.
func join(v []observe.Sighting) []observe.Sighting {
	out := v[:0]
	for _, s := range v {
		n := len(out)
		if n == 0 || out[n-1].Source != s.Source || out[n-1].Port != s.Port || out[n-1].Kind != s.Kind || out[n-1].Proto != s.Proto {
			out = append(out, s)
			continue
		}
		o := &out[n-1]
		o.Packets += s.Packets
		switch {
		case o.Tool == s.Tool:
		case o.Since != s.Since:
			o.Tool = observe.Unknown
		case s.Total > o.Total: // the later piece of one event knows more
			o.Tool = s.Tool
		}
		o.Total = max(o.Total, s.Total)
		o.Targets = max(o.Targets, s.Targets)
		o.First, o.Last, o.Since = min(o.First, s.First), max(o.Last, s.Last), min(o.Since, s.Since)
		o.Flags |= s.Flags
		for i, b := range s.Bins {
			o.Bins[i] += b
		}
	}
	return out
}
