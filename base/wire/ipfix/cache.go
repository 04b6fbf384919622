package ipfix

import (
	"cmp"
	"net/netip"
	"slices"
)

// Cache holds the templates that exporters sent, each with the plan that its reader
// made of it once. It isn't for several goroutines at a time: messages of one exporter
// have an order, so each worker has its own.
//
// A template belongs to a transport session and an observation domain (RFC 7011 §8).
// What a session is, the caller says: the exporter's address and port, or the address
// alone where an exporter sends templates and data from different ports.
//
// Memory is bounded by a number of fields. When it is reached, the quarter of templates
// goes that was used longest ago, so that somebody who invents exporters drives out what he
// invented. RFC 7011 §8.4 would have templates of UDP expire; a template whose exporter is
// silent hurts nobody here.
type Cache[P any] struct {
	plan    func(*Template) P
	entries map[key]*Entry[P]
	limit   int    // fields
	fields  int    // held
	turn    uint64 // counts up with each use
	evicted uint64
}

// Entry is a template and what its reader made of it.
type Entry[P any] struct {
	Template *Template
	Plan     P
	Restored bool // from an earlier life, and not sent again since: it may have changed meanwhile
	used     uint64
}

type key struct {
	exporter netip.AddrPort
	domain   uint32
	version  uint16
	id       uint16
}

// templateCost is what a template costs besides its fields, in fields.
const templateCost = 8

// NewCache makes a cache of at most limit fields, some 40 bytes each. plan, which may
// be nil, is called once for each new template.
func NewCache[P any](limit int, plan func(*Template) P) *Cache[P] {
	if plan == nil {
		plan = func(*Template) (none P) { return none }
	}
	return &Cache[P]{plan: plan, entries: map[key]*Entry[P]{}, limit: limit}
}

// Learned counts what a set of templates came to.
type Learned struct {
	New       int // not known before
	Changed   int // known with other fields; records in between may have been misread by the exporter's fault
	Same      int
	Withdrawn int
	Refused   int // no record could be made of it
}

// Learn takes the templates of a set. With an error, those before the damage count.
func (c *Cache[P]) Learn(exporter netip.AddrPort, m *Message, s *Set) (l Learned, err error) {
	for body := s.Body; ; {
		raw, rest, withdrawn, err := cut(m.Version, s.Kind, body)
		if raw == nil || err != nil {
			return l, err
		}
		k := key{exporter, m.Domain, m.Version, uint16(raw[0])<<8 | uint16(raw[1])}
		switch e := c.entries[k]; {
		case withdrawn:
			l.Withdrawn += c.withdraw(k, s)
		case e != nil && e.Template.same(raw) && e.Template.Options == (s.Kind == OptionsTemplates):
			l.Same++
			e.Restored = false
			c.touch(e)
		default:
			t, err := compile(m.Version, s.Kind, raw)
			if err != nil || len(t.Fields)+templateCost > c.limit {
				l.Refused++
				break
			}
			if e != nil {
				c.drop(k)
				l.Changed++
			} else {
				l.New++
			}
			c.keep(k, &Entry[P]{Template: t, Plan: c.plan(t)})
		}
		body = rest
	}
}

// withdraw takes back a template, or, when the number is that of the set itself, all of
// the set's kind (RFC 7011 §8.1).
func (c *Cache[P]) withdraw(k key, s *Set) (n int) {
	if k.id != s.ID {
		if c.entries[k] == nil {
			return 0
		}
		c.drop(k)
		return 1
	}
	for other, e := range c.entries {
		if other.exporter == k.exporter && other.domain == k.domain && other.version == k.version && e.Template.Options == (s.Kind == OptionsTemplates) {
			c.drop(other)
			n++
		}
	}
	return n
}

// Find is the template of a data set; nil when the exporter didn't send it yet.
func (c *Cache[P]) Find(exporter netip.AddrPort, m *Message, id uint16) *Entry[P] {
	e := c.entries[key{exporter, m.Domain, m.Version, id}]
	if e != nil {
		c.touch(e)
	}
	return e
}

// Forget drops a template that turned out not to be the exporter's any more.
func (c *Cache[P]) Forget(exporter netip.AddrPort, m *Message, id uint16) {
	if k := (key{exporter, m.Domain, m.Version, id}); c.entries[k] != nil {
		c.drop(k)
	}
}

// Saved is a template as it was sent, and of whom: what Restore takes after a restart.
type Saved struct {
	Exporter netip.AddrPort
	Domain   uint32
	Version  uint16
	Options  bool
	Raw      []byte // as it stood in its set, from its number on; not to be changed
}

// Save hands over each template, those first that were used longest ago.
func (c *Cache[P]) Save(each func(Saved)) {
	for _, k := range c.byUse() {
		t := c.entries[k].Template
		each(Saved{k.exporter, k.domain, k.version, t.Options, t.raw})
	}
}

// Restore takes back a template; its Entry is marked until the exporter sends it again. One
// that the exporter has sent in the meantime stays. What was never saved gives an error.
func (c *Cache[P]) Restore(s Saved) error {
	kind := Templates
	if s.Options {
		kind = OptionsTemplates
	}
	if s.Version != V9 && s.Version != IPFIX {
		return ErrVersion
	}
	raw, rest, withdrawn, err := cut(s.Version, kind, s.Raw)
	if err != nil || raw == nil || withdrawn || len(rest) > 0 {
		return ErrTemplate
	}
	t, err := compile(s.Version, kind, raw)
	if err != nil || len(t.Fields)+templateCost > c.limit {
		return ErrTemplate
	}
	k := key{s.Exporter, s.Domain, s.Version, t.ID}
	if c.entries[k] == nil {
		c.keep(k, &Entry[P]{Template: t, Plan: c.plan(t), Restored: true})
	}
	return nil
}

// Len is how many templates there are.
func (c *Cache[P]) Len() int { return len(c.entries) }

// Evicted is how many templates had to make room for others.
func (c *Cache[P]) Evicted() uint64 { return c.evicted }

func (c *Cache[P]) touch(e *Entry[P]) {
	c.turn++
	e.used = c.turn
}

func (c *Cache[P]) drop(k key) {
	c.fields -= len(c.entries[k].Template.Fields) + templateCost
	delete(c.entries, k)
}

func (c *Cache[P]) keep(k key, e *Entry[P]) {
	cost := len(e.Template.Fields) + templateCost
	for c.fields+cost > c.limit {
		c.evict()
	}
	c.fields += cost
	c.entries[k] = e
	c.touch(e)
}

// evict drops the quarter of templates that was used longest ago, at least one.
func (c *Cache[P]) evict() {
	keys := c.byUse()
	for _, k := range keys[:(len(keys)+3)/4] {
		c.drop(k)
		c.evicted++
	}
}

// byUse are the templates' keys, those first that were used longest ago.
func (c *Cache[P]) byUse() []key {
	keys := make([]key, 0, len(c.entries))
	for k := range c.entries {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(c.entries[a].used, c.entries[b].used) })
	return keys
}
