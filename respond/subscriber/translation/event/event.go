// Package event reads what translators log by IPFIX or NetFlow version 9 as
// subscriber.Records: the events of RFC 8158, which say in natEvent (information element
// 230) what began or ended, and those of Cisco's firewalls, which say it in firewallEvent
// (233).
//
// Ordinary flow records that also tell the address after translation are passed over: they
// say what somebody did, not what was given to whom. So are destinations: whom a subscriber
// spoke with isn't in a Record and isn't kept.
package event

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/ipfix"
	"sakimori/respond/subscriber"
)

// Config is what may be set.
type Config struct {
	// Names are the translators' names by the address that they export from; records of
	// one without are under its address.
	Names map[netip.Addr]string `yaml:"names"`
	// Exclusive says that an address binding (natEvent 14 and 15, or a session without
	// ports) gives the address to one subscriber alone. By default they are passed over:
	// several may be bound to an address that they share.
	Exclusive bool `yaml:"exclusive_bindings"`

	// The bounds of memory: fields of templates (some 40 bytes each), and exporters and
	// domains that are counted apart.
	Fields    int `yaml:"template_fields"`
	Exporters int `yaml:"exporters"`
}

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config { return Config{Fields: 1 << 18, Exporters: 4096} }

// Exporter is what came from one exporter and observation domain.
type Exporter struct {
	Address    netip.Addr
	Domain     uint32
	Messages   uint64
	Records    uint64 // data records, of any template
	NoTemplate uint64 // data sets that came before their template
	Lost       uint64 // messages of version 9, records of IPFIX (RFC 7011 §3.1)
	Late       uint64 // messages that another overtook
	Restarts   uint64

	name     string
	sequence ipfix.Sequence
	sources  map[uint32]string // by VRF
}

// Reader holds the templates and counts. It is for one goroutine; one exporter's messages
// must come to one Reader.
type Reader struct {
	cfg       Config
	cache     *ipfix.Cache[plan]
	records   ipfix.Records
	record    subscriber.Record // handed out
	exporters map[exporterKey]*Exporter
	overflow  Exporter // all that came when exporters was full
	stats     subscriber.Stats
	packets   uint64
}

type exporterKey struct {
	address netip.Addr
	domain  uint32
	version uint16
}

// New makes a reader. Zero bounds take the value of DefaultConfig.
func New(cfg Config) *Reader {
	def := DefaultConfig()
	cfg.Fields = cmp.Or(cfg.Fields, def.Fields)
	cfg.Exporters = cmp.Or(cfg.Exporters, def.Exporters)
	return &Reader{cfg: cfg, cache: ipfix.NewCache(cfg.Fields, newPlan), exporters: map[exporterKey]*Exporter{}}
}

// Read takes a datagram and hands each record of a translation to each, which must copy
// what it keeps. The error says what is wrong with the datagram, and what stood before it
// counts; it is in Stats already.
func (r *Reader) Read(exporter netip.AddrPort, datagram []byte, each func(*subscriber.Record)) error {
	r.packets++
	var m ipfix.Message
	if err := ipfix.Parse(datagram, &m); err != nil {
		return r.bad(err)
	}
	e := r.exporter(exporter.Addr().Unmap(), &m.Header)
	e.Messages++
	session := exporter
	if m.Version == ipfix.V9 {
		// RFC 3954 §5.1 tells exporters apart by address and source ID, RFC 7011 by session.
		session = netip.AddrPortFrom(exporter.Addr(), 0)
	}
	var err error
	count := 0 // of data records; negative: it can't be told
	for s := (ipfix.Set{}); m.Next(&s); {
		switch s.Kind {
		case ipfix.Templates, ipfix.OptionsTemplates:
			if _, lerr := r.cache.Learn(session, &m, &s); lerr != nil {
				err = lerr
			}
		case ipfix.Data:
			t := r.cache.Find(session, &m, s.ID)
			if t == nil {
				e.NoTemplate++
				err, count = errNoTemplate, -1<<31
				continue
			}
			n, rerr := r.set(t, &s, &m.Header, e, each)
			count += n
			if rerr != nil {
				err = rerr
			}
		}
	}
	g := e.sequence.Take(&m.Header, count)
	e.Restarts += g.Restarts
	total := e.sequence.Total()
	e.Lost, e.Late = total.Lost, total.Late
	if m.Err() != nil {
		err = m.Err()
	}
	if err != nil {
		return r.bad(err)
	}
	return nil
}

// bad counts a datagram that can't be used, or not wholly.
func (r *Reader) bad(err error) error {
	r.stats.Bad(fmt.Sprintf("packet %d", r.packets), err.Error())
	return err
}

// Stats is what all datagrams came to. Records are those handed out.
func (r *Reader) Stats() subscriber.Stats { return r.stats }

// Exporters is what came from each, by address and domain.
func (r *Reader) Exporters() []Exporter {
	list := make([]Exporter, 0, len(r.exporters)+1)
	for _, e := range r.exporters {
		list = append(list, *e)
	}
	if r.overflow.Messages > 0 {
		list = append(list, r.overflow)
	}
	slices.SortFunc(list, func(a, b Exporter) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Domain, b.Domain))
	})
	return list
}

// exporter finds or makes the counts of who sent a message. Beyond the bound all are
// counted as one without an address, whose sequence means nothing.
func (r *Reader) exporter(address netip.Addr, h *ipfix.Header) *Exporter {
	k := exporterKey{address, h.Domain, h.Version}
	if e := r.exporters[k]; e != nil {
		return e
	}
	name := r.cfg.Names[address]
	if name == "" {
		name = address.String()
	}
	if len(r.exporters) >= r.cfg.Exporters {
		r.overflow.name, r.overflow.sources, r.overflow.sequence = name, nil, ipfix.Sequence{}
		return &r.overflow
	}
	e := &Exporter{Address: address, Domain: h.Domain, name: name}
	r.exporters[k] = e
	return e
}

// mostVRFs names are remembered of an exporter; more are made anew each time.
const mostVRFs = 4096

// source is who says it. Two VRFs of a translator may use the same inside addresses for
// different subscribers, so they are different sources.
func (e *Exporter) source(vrf uint32) string {
	if vrf == 0 {
		return e.name
	}
	if s, ok := e.sources[vrf]; ok {
		return s
	}
	s := fmt.Sprintf("%s vrf %d", e.name, vrf)
	if e.sources == nil {
		e.sources = map[uint32]string{}
	}
	if len(e.sources) < mostVRFs {
		e.sources[vrf] = s
	}
	return s
}

// set reads the records of a data set and tells how many there were.
func (r *Reader) set(t *ipfix.Entry[plan], s *ipfix.Set, h *ipfix.Header, e *Exporter, each func(*subscriber.Record)) (n int, err error) {
	rec := &r.record
	for r.records.Start(t.Template, s.Body); r.records.Next(); n++ {
		e.Records++
		f := reading{&r.records, &t.Plan}
		b, ferr := f.block(h, r.cfg.Exclusive, rec)
		switch {
		case ferr != nil:
			err = ferr
			continue
		case b.n == 0:
			r.stats.Ignored++
			continue
		}
		rec.Source = e.source(f.vrf())
		for i := range b.n {
			low := b.first + i*b.step
			rec.Ports = subscriber.Ports{First: uint16(low), Last: uint16(low + b.length - 1)} //nolint:gosec // checked by block
			r.stats.Took(rec)
			each(rec)
		}
	}
	if r.records.Damaged() {
		err = ipfix.ErrSet
	}
	return n, err
}

// clock makes a time of the data, if it is one of this era.
func clock(seconds, nanoseconds uint64) (time.Time, bool) {
	const year9999 = 253402300799
	if seconds == 0 || seconds > year9999 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), int64(nanoseconds)).UTC(), true //nolint:gosec // bounded above; nanoseconds are a fraction
}
