package flow

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"sakimori/base/wire/ipfix"
	"sakimori/observe"
)

// Directory numbers exporters, the same after a restart, and knows how they fare as far as
// collectors have laid it open. It is safe for several goroutines.
type Directory struct {
	cfg Config

	mu      sync.Mutex // of all below
	numbers map[identity]numbered
	next    uint32
	open    map[*Collector]*laid
	saved   map[netip.AddrPort]*memory // of before a restart, whose address wasn't heard of since
}

// identity is an exporter over restarts.
type identity struct {
	key netip.AddrPort
	domain
}

// numbered is an exporter's number, and whether it was heard of since the start.
type numbered struct {
	number uint32
	heard  bool
}

// laid is what a collector laid open.
type laid struct {
	health  []Health
	refused []Refused
	all     uint64 // datagrams of who isn't allowed
	many    uint64
	memory  []memory
}

// NewDirectory checks the configuration.
func NewDirectory(cfg Config) (*Directory, error) {
	cfg.Exporters = slices.Clone(cfg.Exporters)
	if err := cfg.whole(); err != nil {
		return nil, err
	}
	return &Directory{cfg: cfg, numbers: map[identity]numbered{}, open: map[*Collector]*laid{}, saved: map[netip.AddrPort]*memory{}}, nil
}

// Collector makes one for a goroutine. sink is lent each batch, of one to Config.Batch
// flows; what it wants to keep it copies.
func (d *Directory) Collector(sink func([]observe.Flow)) *Collector {
	return d.collector(func(b []observe.Flow) []observe.Flow {
		sink(b)
		return b
	}, make([]observe.Flow, 0, d.cfg.Batch))
}

func (d *Directory) collector(hand func([]observe.Flow) []observe.Flow, first []observe.Flow) *Collector {
	return &Collector{
		dir: d, cfg: &d.cfg, hand: hand, batch: first, sources: map[netip.AddrPort]*source{}, refused: refused{list: map[netip.Addr]*Refused{}},
	}
}

// number is that of an exporter; false when there are too many.
func (d *Directory) number(key netip.AddrPort, of domain) (uint32, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := identity{key, of}
	if n := d.numbers[id]; n.number > 0 {
		d.numbers[id] = numbered{n.number, true}
		return n.number, true
	}
	if len(d.numbers) >= d.cfg.MaxExporters && !d.makeRoom() {
		return 0, false
	}
	d.next++
	d.numbers[id] = numbered{d.next, true}
	return d.next, true
}

// makeRoom forgets the oldest exporter that wasn't heard of since the start.
func (d *Directory) makeRoom() bool {
	var oldest identity
	least := uint32(0)
	for id, n := range d.numbers {
		if !n.heard && (least == 0 || n.number < least) {
			oldest, least = id, n.number
		}
	}
	if least == 0 {
		return false
	}
	delete(d.numbers, oldest)
	delete(d.saved, oldest.key)
	return true
}

// Exporters are all that sent something, by number, as of when they were last laid open.
func (d *Directory) Exporters() []Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []Health{}
	for _, l := range d.open {
		list = append(list, l.health...)
	}
	slices.SortFunc(list, func(a, b Health) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// Refused are senders that aren't allowed, the first 64 by address; all is how many
// datagrams there were of such, and many of exporters that were too many.
func (d *Directory) Refused() (list []Refused, all, many uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list = []Refused{}
	for _, l := range d.open {
		list = append(list, l.refused...)
		all += l.all
		many += l.many
	}
	slices.SortFunc(list, func(a, b Refused) int {
		return cmp.Or(cmp.Compare(b.Datagrams, a.Datagrams), a.Address.Compare(b.Address))
	})
	return list, all, many
}

// Exporter is who has a number; false if nobody has.
func (d *Directory) Exporter(number uint32) (observe.Exporter, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, n := range d.numbers {
		if n.number != number {
			continue
		}
		e := observe.Exporter{Number: number, Address: id.key, Domain: id.number, Name: d.cfg.of(id.key.Addr()).Name}
		if e.Name == "" {
			e.Name = id.key.Addr().String()
			if id.key.Port() != 0 {
				e.Name = id.key.String()
			}
			if id.agent.IsValid() {
				e.Name += " " + id.agent.String()
			}
		}
		return e, true
	}
	return observe.Exporter{}, false
}

// Interface is what an interface of an exporter is called: as configured, or as the
// exporter said when it was last laid open; "" not known.
func (d *Directory) Interface(exporter, index uint32) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.open {
		for i := range l.health {
			if h := &l.health[i]; h.Number == exporter {
				if at, is := slices.BinarySearchFunc(h.Interfaces, index, func(c Counts, n uint32) int { return cmp.Compare(c.Index, n) }); is {
					return h.Interfaces[at].Name
				}
			}
		}
	}
	for id, n := range d.numbers {
		if n.number == exporter {
			return d.cfg.of(id.key.Addr()).Interfaces[index].Name
		}
	}
	return ""
}

// settle is how often rates are computed, in nanoseconds.
const settle = 10e9

// Publish lays open in the Directory how exporters fare, as of at, Unix nanoseconds, and
// what a restart must not forget. Once a second is often enough.
func (c *Collector) Publish(at int64) {
	took := int64(0) // since the beginning
	if c.anchored != 0 {
		took = at - c.anchored
	}
	settled := c.anchored == 0 || took >= settle
	l := &laid{all: c.refused.all, many: c.refused.many}
	for _, x := range c.order {
		if settled {
			x.interfaces.rates(took)
			if took > 0 {
				x.perSecond = float64(x.counts.records-x.was) / float64(took) * 1e9
			}
			x.was = x.counts.records
		}
		if x.counts.datagrams > 0 { // and not only what is known of before
			l.health = append(l.health, x.health())
		}
	}
	if settled {
		c.anchored = at
	}
	for _, r := range c.refused.list {
		l.refused = append(l.refused, *r)
	}
	if c.changed {
		l.memory = c.memories()
		c.changed = false
	}
	c.dir.mu.Lock()
	defer c.dir.mu.Unlock()
	if old := c.dir.open[c]; old != nil && l.memory == nil {
		l.memory = old.memory
	}
	c.dir.open[c] = l
}

// memory is what isn't to be forgotten of an address.
type memory struct {
	key       netip.AddrPort
	templates []ipfix.Saved
	sampling  []saved
}

// saved is what options said of an exporter.
type saved struct {
	domain   domain
	all      uint32
	samplers map[uint64]uint32
	faces    map[uint32]uint32
	names    []Counts
}

// memories are those of all addresses that told something worth keeping.
func (c *Collector) memories() (list []memory) {
	for key, s := range c.sources {
		m := memory{key: key}
		s.templates.Save(func(t ipfix.Saved) { m.templates = append(m.templates, t) })
		for d, x := range s.exporters {
			o := saved{domain: d, all: x.domainRate, samplers: maps.Clone(x.samplers), faces: maps.Clone(x.byFace)}
			for i := range x.interfaces.table {
				if e := &x.interfaces.table[i]; e.used && e.name+e.about != "" {
					o.names = append(o.names, Counts{Index: e.index, Name: e.name, About: e.about})
				}
			}
			if o.all > 0 || len(o.samplers)+len(o.faces)+len(o.names) > 0 {
				m.sampling = append(m.sampling, o)
			}
		}
		if len(m.templates)+len(m.sampling) > 0 {
			list = append(list, m)
		}
	}
	return list
}

// restore gives an address what was kept of it.
func (c *Collector) restore(s *source) {
	c.dir.mu.Lock()
	m := c.dir.saved[s.key]
	delete(c.dir.saved, s.key)
	c.dir.mu.Unlock()
	if m == nil {
		return
	}
	c.changed = true
	for _, t := range m.templates {
		_ = s.templates.Restore(t) // checked when the blob was read
	}
	for _, o := range m.sampling {
		x, err := c.exporter(s, o.domain, 0)
		if err != nil {
			return
		}
		for id, r := range o.samplers {
			x.samplerIs(id, r)
		}
		for face, r := range o.faces {
			x.faceIs(face, r)
		}
		x.allIs(o.all)
		for _, n := range o.names {
			if e := x.interfaces.find(n.Index); e != nil {
				e.name, e.about = n.Name, n.About
			}
		}
	}
}
