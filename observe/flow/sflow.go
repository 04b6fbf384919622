package flow

import (
	"cmp"
	"errors"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/sflow"
	"sakimori/observe"
)

// sflow takes a datagram of sFlow version 5.
func (c *Collector) sflow(s *source, b []byte, at int64) error {
	d := &c.sample
	failed := sflow.Parse(b, d)
	of := domain{protocol: SFlow5}
	if failed == nil {
		of.number = d.SubAgent
		if d.Agent.IsValid() && !d.Agent.IsUnspecified() && d.Agent != s.key.Addr() {
			of.agent = d.Agent
		}
	}
	x, err := c.exporter(s, of, at)
	if err != nil {
		return err
	}
	x.counts.datagrams++
	if failed != nil {
		why := badShort
		if errors.Is(failed, sflow.ErrVersion) {
			why = badVersion
		}
		x.counts.malformed[why]++
		return failed
	}
	x.sequence.Step(d.Sequence, 1)
	for m := (sflow.Sample{}); d.Next(&m); {
		switch m.Kind {
		case sflow.Flow:
			x.counts.records++
			if !s.bucket.take(1, at) {
				x.counts.limited++
				continue
			}
			c.flowSample(x, &m, at)
		case sflow.Counters:
			x.counts.options++
			c.counterSample(x, &m, at)
		case sflow.Discarded:
			x.counts.options++
			x.counts.discarded++
		}
		if m.Err() != nil {
			x.counts.malformed[badSample]++
			failed = m.Err()
		}
	}
	if d.Err() != nil {
		x.counts.malformed[badLength]++
		failed = d.Err()
	}
	return failed
}

// pool is what a source of samples counted by its last one.
type pool struct{ sequence, pool, drops uint32 }

// pooled checks a sample's rate against what its source counts: of so many packets so many
// samples were taken, with those that got lost on the way.
func (x *exporter) pooled(m *sflow.Sample) {
	key := uint64(m.SourceClass)<<32 | uint64(m.SourceIndex)
	was, known := x.pools[key]
	if !known && len(x.pools) >= mostInterfaces {
		return
	}
	if x.pools == nil {
		x.pools = map[uint64]pool{}
	}
	x.pools[key] = pool{m.Sequence, m.Pool, m.Drops}
	const far = 1 << 20 // samples; further, or back, the agent began anew
	if samples := m.Sequence - was.sequence; known && samples > 0 && samples < far && m.Pool != was.pool {
		x.pool += uint64(m.Pool - was.pool) // modulo 2³²
		x.pooledSamples += uint64(samples)
		if lost := m.Drops - was.drops; lost < far {
			x.counts.missed += uint64(lost)
		}
	}
}

// flowSample makes a Flow of a packet that was sampled.
func (c *Collector) flowSample(x *exporter, m *sflow.Sample, at int64) {
	x.pooled(m)
	rate := m.Rate
	if s := x.source.settings; s.Override || rate == 0 {
		rate = x.rate(0)
	}
	f := c.next()
	*f = observe.Flow{
		First: at, Last: at, Packets: 1, Rate: rate, Exporter: x.number, In: m.Input.Index(), Out: m.Output.Index(), Marks: observe.FlowSample,
	}
	if m.Output.Format == sflow.Dropped {
		f.Marks |= observe.FlowDropped
	}
	// A sample that was taken where packets leave has that interface as its source.
	if m.SourceClass == 0 && m.SourceIndex != 0 && m.SourceIndex == f.Out && m.SourceIndex != f.In {
		f.Marks |= observe.FlowEgress
	}
	seen := false
	for r := (sflow.Record{}); m.Next(&r); {
		switch r.Type {
		case sflow.Header:
			var h sflow.RawHeader
			if r.Header(&h) != nil || seen {
				continue
			}
			link, known := h.Link()
			if !known {
				continue
			}
			p := &c.packet
			s := c.cfg.Tunnels.Decode(link, h.Bytes, h.Length-min(h.Length, h.Stripped), p)
			if !c.seen(x, s, f) {
				x.counts.other++
				return
			}
			f.Bytes, seen = uint64(p.Length), true
		case sflow.IPv4, sflow.IPv6:
			var h sflow.IPHeader
			if r.IP(&h) != nil || seen {
				continue
			}
			f.Src, f.Dst = packet.FromNetip(h.Src), packet.FromNetip(h.Dst)
			f.Proto, f.TCPFlags, f.TOS = uint8(h.Proto), packet.TCPFlags(h.TCPFlags), uint8(h.TOS) //nolint:gosec // of one byte each
			f.SrcPort, f.DstPort = uint16(h.SrcPort), uint16(h.DstPort)                            //nolint:gosec // of two bytes each
			f.Bytes, seen = uint64(h.Length), true
		case sflow.Gateway:
			var g sflow.GatewayInfo
			if r.Gateway(&g) == nil { // 0 is the router's own
				f.SrcAS, f.DstAS = cmp.Or(g.SrcAS, g.AS), cmp.Or(g.DstAS, g.AS)
			}
		}
	}
	if !seen {
		x.counts.other++
		return
	}
	x.ports(f)
	x.flags(f, true)
	c.keep(x, f)
}

// counterSample takes the counters of an interface.
func (c *Collector) counterSample(x *exporter, m *sflow.Sample, at int64) {
	for r := (sflow.Record{}); m.Next(&r); {
		if r.Type != sflow.Interface {
			continue
		}
		var n sflow.InterfaceCounters
		if r.Interface(&n) == nil {
			x.interfaces.counter(n.Index, n.InOctets, n.OutOctets, n.Speed, at)
		}
	}
}
