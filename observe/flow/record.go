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
	when := x.moment(at, int64(m.ExportTime)*1e9, m.Uptime, c.file)
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
	if !e.Template.Fixed || p.options != nil || p.time == untold || e.Template.Size < 16 {
		return true
	}
	var v values
	p.take(&v, body)
	_, _, believed, cut := when.span(p.time, v[first], v[last])
	return believed && !cut
}

// read takes the records of a set, and gives how many there were.
func (c *Collector) read(x *exporter, t *ipfix.Template, p *plan, when *moment, body []byte) (n int) {
	r, v := &c.records, &c.values
	if p.options != nil {
		for r.Start(t, body); r.Next(); n++ {
			x.counts.options++
			c.option(x, p.options, r)
		}
		return n
	}
	// What a template doesn't tell is 0 for all its records.
	*v = values{}
	one := x.rate(0)
	if t.Fixed && t.Size >= 16 {
		for size := t.Size; len(body) >= size; n++ {
			p.take(v, body[:size:size])
			if p.header != nil {
				c.header = body[p.header.at : p.header.at+p.header.n]
			}
			c.record(x, p, when, one)
			body = body[size:]
		}
		return n
	}
	for r.Start(t, body); r.Next(); n++ {
		for i := range p.places {
			l := &p.places[i]
			b := r.Bytes(l.field)
			switch l.to {
			case src6, dst6:
				v[l.to] = number(b[:8])
			case src6low, dst6low:
				v[l.to] = number(b[8:])
			default:
				v[l.to] = number(b)
			}
		}
		if p.header != nil {
			c.header = r.Bytes(p.header.field)
		}
		c.record(x, p, when, one)
	}
	if r.Damaged() {
		x.counts.malformed[badField]++
	}
	return n
}

// take takes the values out of a record of a fixed template.
func (p *plan) take(v *values, b []byte) {
	for _, o := range p.early {
		v[o.to&63] = binary.BigEndian.Uint64(b[o.at:]) >> (o.shift & 63)
	}
	for _, o := range p.ops {
		v[o.to&63] = binary.BigEndian.Uint64(b[o.at:]) & o.mask
	}
}

// number reads a number of up to eight bytes (RFC 7011 §6.2: as few as it needs); what is
// longer isn't one, and 0.
func number(b []byte) (v uint64) {
	if len(b) > 8 {
		return 0
	}
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// record makes a Flow of the values in hand, or two. one is the sampling rate of what says
// nothing of it.
func (c *Collector) record(x *exporter, p *plan, when *moment, one uint32) {
	x.counts.records++
	v, f := &c.values, c.next()
	// Each field by itself: a whole Flow would be put together elsewhere first and copied. The
	// numbers are of no more bytes than their fields; of flags the lower eight are those of a Flow.
	f.Exporter, f.Rate, f.Marks = x.number, one, 0
	f.Packets, f.Bytes = v[packets], v[bytes]
	f.In, f.Out, f.SrcAS, f.DstAS = uint32(v[in]), uint32(v[out]), uint32(v[srcAS]), uint32(v[dstAS]) //nolint:gosec // see above
	f.SrcPort, f.DstPort = uint16(v[srcPort]), uint16(v[dstPort])                                     //nolint:gosec // see above
	f.Proto, f.TCPFlags, f.TOS = uint8(v[proto]), packet.TCPFlags(v[flags]), uint8(v[tos])            //nolint:gosec // see above
	v.addresses(p, f)
	if p.has&^(has4|has6|hasFlags|hasPackets) != 0 && !c.special(x, p, &when, f) {
		x.counts.other++
		return
	}
	if f.Packets|f.Bytes == 0 && p.has&hasBack == 0 || f.Src == (packet.Addr{}) && f.Dst == (packet.Addr{}) {
		x.counts.other++
		return
	}
	f.First, f.Last = x.times(when, p.time, v[first], v[last])
	x.ports(f)
	x.flags(f, p.has&(hasFlags|hasPacket) != 0)
	if p.has&(hasRate|hasSampler) != 0 || len(x.byFace) > 0 {
		f.Rate = x.sampled(p, v, f)
	}
	if p.has&hasBack != 0 {
		c.both(x, p, when, *f)
		return
	}
	c.keep(x, f)
}

// addresses takes them over. Some templates hold those of both versions, of which one is zero.
func (v *values) addresses(p *plan, f *observe.Flow) {
	if p.has&has4 != 0 && (p.has&has6 == 0 || v[src4]|v[dst4] != 0) {
		f.Src, f.Dst = packet.V4(uint32(v[src4])), packet.V4(uint32(v[dst4])) //nolint:gosec // of four bytes
		return
	}
	f.Src, f.Dst = packet.Addr{Hi: v[src6], Lo: v[src6low]}, packet.Addr{Hi: v[dst6], Lo: v[dst6low]}
}

// special takes what few records have, and tells whether the record is of traffic.
func (c *Collector) special(x *exporter, p *plan, when **moment, f *observe.Flow) bool {
	v := &c.values
	if p.has&hasPacket != 0 && len(c.header) > 0 && !c.inside(x, p, f) {
		return false
	}
	if p.has&hasLeft != 0 && f.Packets|f.Bytes == 0 {
		f.Packets, f.Bytes = v[leftPackets], v[leftBytes]
	}
	// A firewall tells what a session came to when it begins, goes on and ends: the end has all.
	if p.has&hasSession != 0 && (v[event] == 1 || v[event] == 5) {
		return false
	}
	if p.has&hasBack != 0 && f.Packets|f.Bytes|v[backPackets]|v[backBytes] == 0 {
		return false
	}
	if p.has&hasTook != 0 && v[took] > 0 && v[first] == v[last] {
		switch p.time {
		case milliseconds:
			v[first] = v[last] - min(v[took], v[last])
		case uptime:
			v[first] = uint64(uint32(v[last]) - uint32(v[took])) //nolint:gosec // modulo 2³²
		}
	}
	if p.has&hasBoot != 0 && (*when).booted == 0 {
		c.since = **when
		c.since.start(milliseconds.unix(v[boot]))
		*when = &c.since
	}
	if p.has&hasICMP != 0 && (f.Proto == packet.ICMP || f.Proto == packet.ICMPv6) {
		if i := uint16(v[icmp] | v[icmp6] | (v[icmpType]|v[icmpType6])<<8 | v[icmpCode] | v[icmpCode6]); i != 0 { //nolint:gosec // of two bytes; of both versions one is zero
			f.DstPort = i
		}
	}
	if v[direction] == 1 {
		f.Marks |= observe.FlowEgress
	}
	// RFC 7270 §4.12: the upper two bits of the last byte, 2 dropped. Firewalls: 3 denied.
	if v[status]>>6&3 == 2 || v[event] == 3 {
		f.Marks |= observe.FlowDropped
	}
	if v[fragment] != 0 {
		f.Marks |= observe.FlowFragment
		f.SrcPort, f.DstPort = 0, 0
	}
	return true
}

// both makes two flows of a record of both directions (RFC 5103).
func (c *Collector) both(x *exporter, p *plan, when *moment, there observe.Flow) {
	v, back := &c.values, there
	back.Src, back.Dst, back.In, back.Out, back.SrcAS, back.DstAS = there.Dst, there.Src, there.Out, there.In, there.DstAS, there.SrcAS
	back.Packets, back.Bytes, back.TCPFlags = v[backPackets], v[backBytes], packet.TCPFlags(v[backFlags]) //nolint:gosec // the lower eight
	back.Marks &^= observe.FlowNoFlags
	if there.Proto != packet.ICMP && there.Proto != packet.ICMPv6 {
		back.SrcPort, back.DstPort = there.DstPort, there.SrcPort
	}
	if p.backTime != untold {
		back.First, back.Last = x.times(when, p.backTime, v[backFirst], v[backLast])
	}
	x.flags(&back, p.has&hasFlags != 0)
	for _, d := range [...]*observe.Flow{&there, &back} {
		if d.Packets|d.Bytes == 0 {
			continue
		}
		f := c.next()
		*f = *d
		c.keep(x, f)
	}
}

// inside reads the beginning of a packet that a record holds.
func (c *Collector) inside(x *exporter, p *plan, f *observe.Flow) bool {
	d, pk := &c.cfg.Tunnels, &c.packet
	var s packet.Status
	if p.header.to == frame {
		s = d.Decode(packet.LinkEthernet, c.header, uint32(min(c.values[frameSize], math.MaxUint32)), pk)
	} else {
		s = d.DecodeIP(c.header, pk)
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
		if s != packet.NotIP {
			x.counts.malformed[badPacket]++
		}
		return false
	}
	f.Src, f.Dst, f.Proto, f.SrcPort, f.DstPort, f.TCPFlags, f.TOS = p.Src, p.Dst, p.Proto, p.SrcPort, p.DstPort, p.TCPFlags, p.TOS
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
