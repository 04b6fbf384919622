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
	hits      []uint64               // bitmap of the dark IPv4 addresses hit, up to a /8 of them
	hits4     sketch.Set             // the same of a larger space
	hits6     sketch.Set             // the IPv6 ones
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

func (t *tally) hit(dst packet.Addr, number uint32) {
	switch {
	case !dst.Is4():
	case t.hits == nil:
		t.hits4.Add(sketch.Exact, number)
		return
	default:
		t.hits[number>>6] |= 1 << (number & 63)
		return
	}
	t.hits6.Add(sketch.Exact, number)
}

// tallied notes who an event is of: once for each tally.
func (s *shard) tallied(e *entry) {
	it := item{itemFar, identity(e.src)}
	if src := s.sources.at(e.source); src.marks&markCounted == 0 {
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
	side    side
}

func newCensus() *census { return &census{ports: newCells(observe.ByPort)} }

// take counts a lot. An item's key is a port's, with itemNew when the source is
// new altogether, and itemFar when its port isn't counted.
func (c *census) take(lot []item) {
	for i := range lot {
		if lot[i].key&itemNew != 0 {
			c.sources.Add(sketch.Exact, lot[i].who)
		}
	}
	c.side.items = slices.DeleteFunc(lot, func(it item) bool { return it.key&itemFar != 0 })
	c.side.hosts(&c.ports, func(uint32) sketch.Form {
		return sketch.Form{Precision: sketch.Exact.Precision, Exact: sketch.Exact.Exact, Memory: c.ports.memory}
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

func (t *tally) mergeHits(o *tally) {
	t.hits4.Merge(sketch.Exact, &o.hits4)
	for i, w := range o.hits {
		t.hits[i] |= w
	}
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
	for i := range t.Classes {
		t.Classes[i] += o.Classes[i]
	}
	t.hits6.Merge(sketch.Exact, &o.hits6)
	t.mergeHits(o)
	for a, n := range o.Answering { // every shard has the same list
		t.Answering[a] = max(t.Answering[a], n)
	}
}

// bitmapMost is the largest space whose hits are kept as a bitmap: a /8 in 2 MiB.
const bitmapMost = 1 << 24

func newTally(v4 uint64, detail bool) tally {
	t := tally{detail: detail, Answering: map[packet.Addr]uint64{}}
	if v4 <= bitmapMost {
		t.hits = make([]uint64, (v4+63)/64)
	}
	return t
}

// hitV4 is how many dark IPv4 addresses were hit.
func (t *tally) hitV4() uint64 {
	if t.hits == nil {
		return t.hits4.Count()
	}
	return ones(t.hits)
}
