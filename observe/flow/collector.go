package flow

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"

	"sakimori/base/wire/ipfix"
	"sakimori/base/wire/netflow"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/sflow"
	"sakimori/observe"
)

// Why a datagram isn't read.
var (
	ErrRefused = errors.New("flow: the exporter isn't in the list of those that are allowed")
	ErrMany    = errors.New("flow: more exporters than are kept account of: raise the limit, or is somebody making them up?")
	ErrVersion = errors.New("flow: neither NetFlow 5 or 9 nor IPFIX nor sFlow 5: does something else send to this port?")
)

// Collector makes flows of datagrams. It belongs to one goroutine, and all datagrams of an
// address must come to the same one: they have an order.
type Collector struct {
	dir  *Directory
	cfg  *Config
	hand func([]observe.Flow) []observe.Flow // takes a batch, and gives an empty one

	each   func(second int64) // while files are read, see Each
	second int64

	batch    []observe.Flow
	sources  map[netip.AddrPort]*source
	last     *source
	order    []*exporter // by when they were first seen
	refused  refused
	waiting  int  // bytes, of all
	changed  bool // templates or options, since they were last laid open
	anchored int64
	file     bool // reads one, see anchor

	// Room for what is in hand, so that none is made for each.
	message ipfix.Message
	records ipfix.Records
	legacy  netflow.Message
	sample  sflow.Datagram
	packet  packet.Packet
	values  values
	header  []byte // of a packet, in the record in hand
	since   moment
}

// source is an address.
type source struct {
	key       netip.AddrPort // port 0 unless exporters are told apart by it
	settings  *Settings
	templates *ipfix.Cache[*plan]
	exporters map[domain]*exporter
	last      *exporter
	waiting   waiting
	bucket    bucket
	wholeRate uint32 // what options of domain 0 say, which stands for all (RFC 7011 §3.1)
}

// domain is what an address exports from: an observation domain, or an agent of sFlow.
type domain struct {
	protocol Protocol
	agent    netip.Addr // of sFlow, where it isn't the sender
	number   uint32
}

// Ingest takes a datagram, what it came from, and when, in Unix nanoseconds. What is wrong
// with it is counted besides; what stands before the damage counts.
func (c *Collector) Ingest(datagram []byte, from netip.AddrPort, at int64) error {
	s := c.source(from)
	if s == nil {
		return c.refused.take(from.Addr(), at)
	}
	if len(datagram) >= 4 {
		switch binary.BigEndian.Uint16(datagram) {
		case netflow.Version:
			return c.netflow5(s, datagram, at)
		case ipfix.V9, ipfix.IPFIX:
			return c.templated(s, datagram, at)
		case 0:
			if binary.BigEndian.Uint32(datagram) == sflow.Version {
				return c.sflow(s, datagram, at)
			}
		}
	}
	x, err := c.exporter(s, domain{protocol: Unknown}, at)
	if err != nil {
		return err
	}
	x.counts.datagrams++
	x.counts.malformed[badVersion]++
	return ErrVersion
}

// Flush hands on the flows of a batch that isn't whole yet.
func (c *Collector) Flush() {
	if len(c.batch) > 0 {
		c.batch = c.hand(c.batch)[:0]
	}
}

// source finds the sender, or nil if it isn't allowed.
func (c *Collector) source(from netip.AddrPort) *source {
	if s := c.last; s != nil && s.key.Addr() == from.Addr() && (s.key.Port() == from.Port() || !s.settings.PerPort) {
		return s
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	settings := (*Settings)(nil)
	key := netip.AddrPortFrom(from.Addr(), 0)
	s := c.sources[key]
	if s == nil {
		if !c.cfg.allowed(from.Addr()) {
			return nil
		}
		settings = c.cfg.of(from.Addr())
		if settings.PerPort {
			key = from
			s = c.sources[key]
		}
	}
	if s == nil {
		if len(c.sources) >= c.cfg.MaxExporters {
			return nil
		}
		s = &source{key: key, settings: settings, exporters: map[domain]*exporter{}, templates: ipfix.NewCache(c.cfg.MaxFields, compile)}
		s.bucket.rate = settings.Limit
		c.sources[key] = s
		c.restore(s)
	}
	c.last = s
	return s
}

// exporter finds a domain of a sender.
func (c *Collector) exporter(s *source, d domain, at int64) (*exporter, error) {
	x := s.last
	if x == nil || x.domain != d {
		if x = s.exporters[d]; x == nil {
			number, ok := c.dir.number(s.key, d)
			if !ok {
				c.refused.many++
				return nil, ErrMany
			}
			x = newExporter(number, s, d, at)
			s.exporters[d] = x
			c.order = append(c.order, x)
		}
		s.last = x
	}
	x.seen = at
	if x.first == 0 {
		x.first = at
	}
	return x, nil
}

// next is the place of the next flow; it counts once keep was called.
func (c *Collector) next() *observe.Flow {
	n := len(c.batch)
	if n == cap(c.batch) {
		c.batch = c.hand(c.batch)[:0]
		n = 0
	}
	return &c.batch[:n+1][n]
}

// keep counts the flow that next gave. Its counts are of what the exporter looked at; they
// become estimates of what passed.
func (c *Collector) keep(x *exporter, f *observe.Flow) {
	if f.Packets == 0 { // not told: at least as many as bytes fill of the largest size that is usual
		const usual = 1500
		f.Packets = (f.Bytes-1)/usual + 1
	}
	f.Seen = uint32(min(f.Packets, math.MaxUint32))
	if f.Rate == 0 {
		f.Rate = 1
		x.counts.unknownRate++
	}
	if f.Rate > 1 {
		f.Packets, f.Bytes = times32(f.Packets, f.Rate), times32(f.Bytes, f.Rate)
	}
	x.told(f.Rate)
	n := &x.counts
	n.flows++
	n.packets += f.Packets
	n.bytes += f.Bytes
	if f.Marks&observe.FlowSample != 0 {
		n.samples++
	}
	x.interfaces.add(f)
	c.batch = c.batch[:len(c.batch)+1]
}

// times32 multiplies, and stays at the greatest number where it is too much.
func times32(n uint64, by uint32) uint64 {
	if n > math.MaxUint64/uint64(by) {
		return math.MaxUint64
	}
	return n * uint64(by)
}

// bucket holds how many records may still be read; it fills by rate a second, for a second.
type bucket struct {
	rate int
	left float64
	at   int64
}

// take takes n out, and tells whether they were there.
func (b *bucket) take(n int, at int64) bool {
	if b.rate == 0 {
		return true
	}
	if d := at - b.at; d > 0 {
		b.left = min(b.left+float64(d)/1e9*float64(b.rate), float64(b.rate))
		b.at = at
	}
	if b.left < float64(n) && b.left < float64(b.rate) { // a full one gives what is asked once
		return false
	}
	b.left -= float64(n)
	return true
}

// refused are senders that aren't allowed: a few by address, all by number.
type refused struct {
	list map[netip.Addr]*Refused
	all  uint64
	many uint64 // datagrams of exporters that were too many
}

const mostRefused = 64 // that are kept by address

func (r *refused) take(a netip.Addr, at int64) error {
	r.all++
	a = a.Unmap()
	e := r.list[a]
	if e == nil {
		if len(r.list) >= mostRefused {
			return ErrRefused
		}
		e = &Refused{Address: a}
		r.list[a] = e
	}
	e.Datagrams++
	e.Last = unix(at)
	return ErrRefused
}
