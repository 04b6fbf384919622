package telescope

import (
	"slices"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// tally is what a shard has seen since it was made: the totals of one import,
// exact where the minutes' counts would be sketched.
type tally struct {
	Totals
	Answering map[packet.Addr]uint64 // dark addresses that sent something, and how often
	detail    bool                   // see Config
	fresh     []item                 // who is new in this tally, by port, for the census
	scans     []scan                 // that have ended, of this shard's sources; as the ports only when asked for
}

// Totals are the plain sums of a tally.
type Totals struct {
	Frames      uint64 // everything read
	NotIP       uint64 // ARP and the like: fine, but nothing for a telescope
	Malformed   uint64 // headers that contradict themselves, or cut off below IP
	Unknown     uint64 // of a link type that isn't read
	DarkPackets uint64 // datagrams to dark space, fragments once
	Fragments   uint64 // further fragments of these
	FromDark    uint64 // sent from dark space: takes part in no verdict
	Classes     [observe.Classes]uint64
	Evicted     uint64 // events ended early for want of memory
	Late        uint64 // packets counted in a later minute than their own
	Stray       uint64 // packets whose date isn't believed: counted here, and nowhere else
}

// maxAnswering bounds the list of dark addresses that answer. A telescope that
// reaches it isn't dark.
const maxAnswering = 65536

func (t *tally) undecoded(st packet.Status) {
	switch st {
	case packet.NotIP:
		t.NotIP++
	case packet.UnknownLink:
		t.Unknown++
	default:
		t.Malformed++
	}
}

// tallied notes who an event is of: once for each tally.
func (s *shard) tallied(e *entry) {
	src := s.sources.at(e.source)
	it := item{itemFar, identity(src.addr)}
	if src.marks&markCounted == 0 {
		src.marks |= markCounted
		it.key |= itemNew
	}
	if s.tally.detail && observe.Kind(e.kind).Class() == observe.Scan {
		it.key = it.key&itemNew | portKey(e.proto, e.port)
	}
	if it.key == itemFar {
		return
	}
	if s.tally.fresh = append(s.tally.fresh, it); len(s.tally.fresh) == maxFresh {
		s.give(part{fresh: s.handOver()})
	}
}

// maxFresh is how many new ones a shard keeps until the census counts them.
const maxFresh = 1 << 20

func (s *shard) handOver() []item {
	fresh := s.tally.fresh
	s.tally.fresh = nil
	return fresh
}

// census counts the sources of a tally: all of them, and those of each port. It
// is one for all shards. It takes them in large lots, sorted by port: one by one
// each would touch another far place.
type census struct {
	sources sketch.Set
	ports   cells
	hits    hits
	side    side
}

func newCensus(v4 uint64) *census { return &census{ports: newCells(observe.ByPort), hits: newHits(v4)} }

// hits are the dark addresses that were asked.
type hits struct {
	v4   []uint64   // bitmap of the IPv4 ones, up to a /8 of them
	many sketch.Set // the same of a larger space
	v6   sketch.Set
}

// bitmapMost is the largest space whose hits are kept as a bitmap: a /8 in 2 MiB.
const bitmapMost = 1 << 24

func newHits(v4 uint64) (h hits) {
	if v4 <= bitmapMost {
		h.v4 = make([]uint64, (v4+63)/64)
	}
	return h
}

func (h *hits) merge(o *hits) {
	merge(h.v4, o.v4)
	h.many.Merge(sketch.Exact, &o.many)
	h.v6.Merge(sketch.Exact, &o.v6)
}

// add notes who was asked by records of this tally.
func (h *hits) add(chunks [][]record) {
	for _, chunk := range chunks {
		for i := range chunk {
			switch r := &chunk[i]; {
			case r.what&before != 0:
			case r.what&far == 0:
				h.v4[r.who>>6] |= 1 << (r.who & 63)
			case h.v4 == nil && r.place&six == 0:
				h.many.Add(sketch.Exact, r.who)
			default:
				h.v6.Add(sketch.Exact, r.who)
			}
		}
	}
}

// take counts a lot. An item's key is a port's, with itemNew when the source is
// new altogether, and itemFar when its port isn't counted.
func (c *census) take(lot []item) {
	for i := range lot {
		if lot[i].key&itemNew != 0 {
			c.sources.Add(sketch.Exact, lot[i].who)
		}
	}
	c.side.items = slices.DeleteFunc(lot, func(it item) bool { return it.key&itemFar != 0 })
	c.side.hosts(&c.ports, func(key uint32) sketch.Form {
		return sketch.Form{Precision: sketch.Exact.Precision, Exact: sketch.Exact.Exact, Memory: &c.ports.memory[key%2]}
	})
	c.side.items = nil
}

// portPackets are the packets of each port; those of TCP and UDP are found by
// index.
type portPackets struct {
	common [2][1 << 16]uint64 // of TCP and UDP
	rest   map[uint32]uint64
}

// add counts the packets of an open minute.
func (p *portPackets) add(l *log) {
	for _, chunk := range l.all() {
		for i := range chunk {
			what := chunk[i].what
			if what&before != 0 || observe.Class(what>>whatClass&3) != observe.Scan {
				continue
			}
			switch key := what & portMask; key >> 16 {
			case packet.TCP:
				p.common[0][key&0xffff]++
			case packet.UDP:
				p.common[1][key&0xffff]++
			default:
				p.rest[key]++
			}
		}
	}
}

// of are the packets of a port.
func (p *portPackets) of(key uint32) uint64 {
	switch key >> 16 {
	case packet.TCP:
		return p.common[0][key&0xffff]
	case packet.UDP:
		return p.common[1][key&0xffff]
	}
	return p.rest[key]
}

// merge adds the tally of another shard of the same telescope.
func (t *tally) merge(o *tally) {
	t.Frames += o.Frames
	t.NotIP += o.NotIP
	t.Malformed += o.Malformed
	t.Unknown += o.Unknown
	t.DarkPackets += o.DarkPackets
	t.Fragments += o.Fragments
	t.FromDark += o.FromDark
	t.Evicted += o.Evicted
	t.Late += o.Late
	t.Stray += o.Stray
	for i := range t.Classes {
		t.Classes[i] += o.Classes[i]
	}
	for a, n := range o.Answering { // every shard has the same list
		t.Answering[a] = max(t.Answering[a], n)
	}
}

func newTally(detail bool) tally {
	return tally{detail: detail, Answering: map[packet.Addr]uint64{}}
}
