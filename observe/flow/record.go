package flow

import (
	"encoding/binary"
	"errors"
	"math"

	"sakimori/base/wire/ipfix"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// templated takes a message of NetFlow version 9 or IPFIX.
func (c *Collector) templated(s *source, b []byte, at int64) error {
	m := &c.message
	failed := ipfix.Parse(b, m)
	if failed != nil {
		m.Header = ipfix.Header{} // it isn't known from which part it came
	}
	protocol := NetFlow9
	if b[1] == ipfix.IPFIX {
		protocol = IPFIX
	}
	x, err := c.exporter(s, domain{protocol: protocol, number: m.Domain}, at)
	if err != nil {
		return err
	}
	x.counts.datagrams++
	if failed != nil {
		why := badShort
		if errors.Is(failed, ipfix.ErrLength) {
			why = badLength
		}
		x.counts.malformed[why]++
		return failed
	}
	when := x.moment(at, int64(m.ExportTime)*1e9, m.Uptime)
	records, known := 0, true
	for set := (ipfix.Set{}); m.Next(&set); {
		switch set.Kind {
		case ipfix.Templates, ipfix.OptionsTemplates:
			l, err := s.templates.Learn(s.key, m, &set)
			if err != nil || l.Refused > 0 {
				x.counts.malformed[badTemplate]++
				failed = ipfix.ErrTemplate
			}
			if l.New+l.Changed+l.Withdrawn > 0 {
				c.changed = true
				c.come(x)
			}
		case ipfix.Data:
			n := c.set(x, &set, &when)
			if n < 0 {
				known = false
			}
			records += n
		}
	}
	if m.Err() != nil {
		x.counts.malformed[badSet]++
		failed = m.Err()
	}
	if !known {
		records = -1
	}
	x.sequence.Take(&m.Header, records)
	return failed
}

// set takes a set of data, and gives how many records it has; negative where that isn't
// known as its template didn't come yet.
func (c *Collector) set(x *exporter, set *ipfix.Set, when *moment) int {
	e := x.source.templates.Find(x.source.key, &c.message, set.ID)
	if e != nil && e.Restored && !(c.records.Fits(e.Template, set.Body) && likely(e, when, set.Body)) {
		// It was another before the restart.
		x.source.templates.Forget(x.source.key, &c.message, set.ID)
		x.counts.distrusted++
		e = nil
	}
	if e == nil {
		c.wait(x, set.ID, *when, set.Body)
		return -1 << 20
	}
	if e.Plan.options == nil && x.source.bucket.rate > 0 {
		n := len(set.Body) / e.Template.Size // with fields of variable length, at most
		if !x.source.bucket.take(n, when.arrival) {
			x.counts.limited += uint64(n) //nolint:gosec // no more than bytes
			if !e.Template.Fixed {
				return -1 << 20
			}
			return n
		}
	}
	return c.read(x, e.Template, e.Plan, when, set.Body)
}

// likely tells whether the first record of a set may be one of a template that was kept
// over a restart: if it tells times, they are near the message's.
func likely(e *ipfix.Entry[*plan], when *moment, body []byte) bool {
	p := e.Plan
	if !e.Template.Fixed || p.options != nil || p.time == untold {
		return true
	}
	var from, to uint64
	for _, o := range p.ops {
		switch v := body[o.at : o.at+uint32(o.n)]; o.to {
		case first:
			from = number(v)
		case last:
			to = number(v)
		}
	}
	_, _, believed, cut := when.span(p.time, Record, from, to)
	return believed && !cut
}

// read takes the records of a set, and gives how many there were.
func (c *Collector) read(x *exporter, t *ipfix.Template, p *plan, when *moment, body []byte) (n int) {
	if p.options != nil {
		r := &c.records
		for r.Start(t, body); r.Next(); n++ {
			x.counts.options++
			c.option(x, p.options, r)
		}
		return n
	}
	if t.Fixed {
		for size := t.Size; len(body) >= size; n++ {
			c.record(x, p, p.ops, when, body[:size:size])
			body = body[size:]
		}
		return n
	}
	r := &c.records
	for r.Start(t, body); r.Next(); n++ {
		c.ops = append(c.ops[:0], p.ops...)
		for i := range c.ops {
			o := &c.ops[i]
			at, size := r.Span(int(o.field))
			if size > math.MaxUint16 || !fits(o.to, size) {
				o.to, at, size = nowhere, 0, 0
			}
			o.at, o.n = uint32(at), uint16(size) //nolint:gosec // within a message of at most 65,535 bytes
		}
		c.record(x, p, c.ops, when, r.Record())
	}
	if r.Damaged() {
		x.counts.malformed[badField]++
	}
	return n
}

// more is what a record says that isn't a field of a Flow.
type more struct {
	first, last         uint64
	backFirst, backLast uint64
	leftPackets         uint64
	leftBytes           uint64
	backPackets         uint64
	backBytes           uint64
	took                uint64
	boot                uint64
	rate                sampling
	sampler             uint64
	icmp                uint16
	icmpType, icmpCode  uint8
	backFlags           uint8
	direction, event    uint8
	status              uint8
	fragment            bool
	link                bool // of header
	header              []byte
	frame               uint64 // bytes of the frame that it begins
}

// number reads a number of 1 to 8 bytes.
func number(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// record takes one record.
func (c *Collector) record(x *exporter, p *plan, ops []op, when *moment, b []byte) {
	x.counts.records++
	f, m := c.next(), &c.more
	*f = observe.Flow{Exporter: x.number}
	*m = more{}
	for i := range ops {
		o := &ops[i]
		v := b[o.at : o.at+uint32(o.n)]
		switch o.to {
		case src4:
			// Some templates hold addresses of both versions, of which one is zero.
			if a := binary.BigEndian.Uint32(v); a != 0 || f.Src == (packet.Addr{}) {
				f.Src = packet.V4(a)
			}
		case dst4:
			if a := binary.BigEndian.Uint32(v); a != 0 || f.Dst == (packet.Addr{}) {
				f.Dst = packet.V4(a)
			}
		case src6:
			if a := address(v); a != (packet.Addr{}) || f.Src == (packet.Addr{}) {
				f.Src = a
			}
		case dst6:
			if a := address(v); a != (packet.Addr{}) || f.Dst == (packet.Addr{}) {
				f.Dst = a
			}
		case srcPort:
			f.SrcPort = uint16(number(v)) //nolint:gosec // of two bytes
		case dstPort:
			f.DstPort = uint16(number(v)) //nolint:gosec // of two bytes
		case proto:
			f.Proto = uint8(number(v)) //nolint:gosec // of one byte
		case tos:
			f.TOS = uint8(number(v)) //nolint:gosec // of one byte
		case flags:
			f.TCPFlags = packet.TCPFlags(number(v)) //nolint:gosec // the lower eight are those of a Flow
		case in:
			f.In = uint32(number(v)) //nolint:gosec // of four bytes
		case out:
			f.Out = uint32(number(v)) //nolint:gosec // of four bytes
		case srcAS:
			f.SrcAS = uint32(number(v)) //nolint:gosec // of four bytes
		case dstAS:
			f.DstAS = uint32(number(v)) //nolint:gosec // of four bytes
		case packets:
			f.Packets = number(v)
		case bytes:
			f.Bytes = number(v)
		case first:
			m.first = number(v)
		case last:
			m.last = number(v)
		case nowhere:
		default:
			m.put(o.to, v)
		}
	}
	c.finish(x, p, when, f, m)
}

// put takes the fields that few records have.
func (m *more) put(to target, v []byte) {
	switch to {
	case frame, section:
		m.header, m.link = v, to == frame
		return
	case probability:
		m.rate.chance(v)
		return
	}
	n := number(v)
	switch to {
	case leftPackets:
		m.leftPackets = n
	case leftBytes:
		m.leftBytes = n
	case backPackets:
		m.backPackets = n
	case backBytes:
		m.backBytes = n
	case backFlags:
		m.backFlags = uint8(n) //nolint:gosec // the lower eight
	case backFirst:
		m.backFirst = n
	case backLast:
		m.backLast = n
	case took:
		m.took = n
	case boot:
		m.boot = n
	case icmp:
		m.icmp |= uint16(n) //nolint:gosec // of two bytes; of both versions' fields one is zero
	case icmpType:
		m.icmpType |= uint8(n) //nolint:gosec // of one byte
	case icmpCode:
		m.icmpCode |= uint8(n) //nolint:gosec // of one byte
	case fragment:
		m.fragment = n != 0
	case status:
		m.status = uint8(n) //nolint:gosec // RFC 7270 §4.12: the last byte has it
	case event:
		m.event = uint8(n) //nolint:gosec // of one byte
	case direction:
		m.direction = uint8(n) //nolint:gosec // of one byte
	case sampler:
		m.sampler = n
	case frameSize:
		m.frame = n
	default:
		m.rate.put(to, n)
	}
}

// address reads an IPv6 address.
func address(b []byte) packet.Addr {
	return packet.Addr{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}

// finish makes a Flow of what a record says, or two.
func (c *Collector) finish(x *exporter, p *plan, when *moment, f *observe.Flow, m *more) {
	if p.has&hasPacket != 0 && len(m.header) > 0 && !c.inside(x, p, f, m) {
		return
	}
	if p.has&hasLeft != 0 && f.Packets|f.Bytes == 0 {
		f.Packets, f.Bytes = m.leftPackets, m.leftBytes
	}
	// A firewall tells what a session came to when it begins, goes on and ends: the end has all.
	if p.has&hasSession != 0 && (m.event == 1 || m.event == 5) {
		x.counts.other++
		return
	}
	if p.has&hasAddress == 0 && p.has&hasPacket == 0 || f.Packets|f.Bytes|m.backPackets|m.backBytes == 0 {
		x.counts.other++
		return
	}
	if p.has&hasTook != 0 && m.took > 0 && (p.time == untold || m.first == m.last) {
		c.duration(p, m)
	}
	if p.has&hasBoot != 0 && when.booted == 0 {
		since := *when
		since.start(milliseconds.unix(m.boot))
		when = &since
	}
	var believed, cut bool
	f.First, f.Last, believed, cut = when.span(p.time, x.source.settings.Clock, m.first, m.last)
	x.believe(believed, cut)
	if p.has&hasICMP != 0 && (f.Proto == packet.ICMP || f.Proto == packet.ICMPv6) {
		if i := m.icmp | uint16(m.icmpType)<<8 | uint16(m.icmpCode); i != 0 {
			f.DstPort = i
		}
	}
	if p.has&hasSpecials != 0 {
		f.Marks |= m.marks()
		if m.fragment {
			f.SrcPort, f.DstPort = 0, 0
		}
	}
	x.ports(f)
	x.flags(f, p.has&hasFlags != 0 || p.has&hasPacket != 0)
	f.Rate = x.sampled(p, m, f)
	if p.has&hasBack == 0 {
		c.whole(p, f.Bytes, &f.Packets)
		c.keep(x, f)
		return
	}
	c.both(x, p, when, *f, m)
}

// both makes two flows of a record of both directions (RFC 5103).
func (c *Collector) both(x *exporter, p *plan, when *moment, there observe.Flow, m *more) {
	back := there
	back.Src, back.Dst, back.In, back.Out, back.SrcAS, back.DstAS = there.Dst, there.Src, there.Out, there.In, there.DstAS, there.SrcAS
	back.Packets, back.Bytes, back.TCPFlags = m.backPackets, m.backBytes, packet.TCPFlags(m.backFlags)
	if there.Proto != packet.ICMP && there.Proto != packet.ICMPv6 {
		back.SrcPort, back.DstPort = there.DstPort, there.SrcPort
	}
	if p.backTime != untold {
		back.First, back.Last, _, _ = when.span(p.backTime, x.source.settings.Clock, m.backFirst, m.backLast)
	}
	x.flags(&back, p.has&hasFlags != 0)
	for _, d := range [...]*observe.Flow{&there, &back} {
		if d.Packets|d.Bytes == 0 {
			continue
		}
		f := c.next()
		*f = *d
		c.whole(p, f.Bytes, &f.Packets)
		c.keep(x, f)
	}
}

// whole makes up for packets that aren't told: there are at least as many as bytes fill of
// the largest size that is usual.
func (c *Collector) whole(p *plan, bytes uint64, packets *uint64) {
	const usual = 1500
	if *packets == 0 && bytes > 0 && p.has&hasPackets == 0 {
		*packets = (bytes-1)/usual + 1
	}
}

// duration makes a span of a record that tells how long it took.
func (c *Collector) duration(p *plan, m *more) {
	switch p.time {
	case milliseconds:
		m.first = m.last - min(m.took, m.last)
	case uptime:
		m.first = uint64(uint32(m.last) - uint32(m.took)) //nolint:gosec // modulo 2³²
	}
}

// marks are those of the fields that few records have.
func (m *more) marks() (k observe.FlowMarks) {
	if m.direction == 1 {
		k |= observe.FlowEgress
	}
	// RFC 7270 §4.12: the upper two bits, 2 dropped. Firewalls: 3 denied.
	if m.status>>6 == 2 || m.event == 3 {
		k |= observe.FlowDropped
	}
	if m.fragment {
		k |= observe.FlowFragment
	}
	return k
}

// inside reads the beginning of a packet that a record holds.
func (c *Collector) inside(x *exporter, p *plan, f *observe.Flow, m *more) bool {
	d, pk := &c.cfg.Tunnels, &c.packet
	var s packet.Status
	if m.link {
		s = d.Decode(packet.LinkEthernet, m.header, uint32(min(m.frame, math.MaxUint32)), pk) //nolint:gosec // bounded
	} else {
		s = d.DecodeIP(m.header, pk)
	}
	if !c.seen(x, s, f) {
		return false
	}
	if f.Packets == 0 && p.has&hasPackets == 0 {
		f.Packets = 1
		f.Marks |= observe.FlowSample
	}
	if f.Bytes == 0 || f.Marks&observe.FlowSample != 0 {
		f.Bytes = f.Packets * uint64(pk.Length)
	}
	return true
}

// seen takes over what the packet in hand says, if it is one of IP.
func (c *Collector) seen(x *exporter, s packet.Status, f *observe.Flow) bool {
	p := &c.packet
	if s != packet.OK && p.Version == 0 {
		if s == packet.NotIP {
			x.counts.other++
		} else {
			x.counts.malformed[badPacket]++
		}
		return false
	}
	f.Src, f.Dst, f.Proto, f.SrcPort, f.DstPort, f.TCPFlags = p.Src, p.Dst, p.Proto, p.SrcPort, p.DstPort, p.TCPFlags
	if p.Proto == packet.ICMP || p.Proto == packet.ICMPv6 {
		f.DstPort = uint16(p.ICMPType)<<8 | uint16(p.ICMPCode)
	}
	if p.Proto == sctp && len(p.Payload) >= 4 {
		f.SrcPort, f.DstPort = binary.BigEndian.Uint16(p.Payload), binary.BigEndian.Uint16(p.Payload[2:])
	}
	if p.Flags&packet.LaterFragment != 0 {
		f.Marks |= observe.FlowFragment
	}
	if p.Flags&packet.Tunnelled != 0 {
		f.Marks |= observe.FlowInner
	}
	return true
}
