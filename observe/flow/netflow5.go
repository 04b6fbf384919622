package flow

import (
	"errors"

	"sakimori/base/wire/netflow"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// netflow5 takes a datagram of NetFlow version 5.
func (c *Collector) netflow5(s *source, b []byte, at int64) error {
	m := &c.legacy
	err := netflow.Parse(b, m)
	if errors.Is(err, netflow.ErrShort) {
		m.Header = netflow.Header{}
	}
	x, failed := c.exporter(s, domain{protocol: NetFlow5, number: uint32(m.Engine)}, at)
	if failed != nil {
		return failed
	}
	x.counts.datagrams++
	if err != nil {
		x.counts.malformed[badLength]++
		if errors.Is(err, netflow.ErrShort) {
			x.counts.malformed[badLength]--
			x.counts.malformed[badShort]++
			return err
		}
	}
	x.sequence.Step(m.Sequence, m.Count)
	when := x.moment(at, int64(m.Seconds)*1e9+int64(m.Nanos), m.Uptime, c.file)
	if !s.bucket.take(m.Count, at) {
		x.counts.limited += uint64(m.Count) //nolint:gosec // of two bytes
		return err
	}
	// The header's rate is one of the exporter's; a mode of 0 with an interval is what many
	// send that do sample.
	rate := x.rate(uint32(m.Interval))
	for r := (netflow.Record{}); m.Next(&r); {
		x.counts.records++
		f := c.next()
		*f = observe.Flow{
			Src: packet.V4(r.Src), Dst: packet.V4(r.Dst), Packets: uint64(r.Packets), Bytes: uint64(r.Bytes), Rate: rate, Exporter: x.number,
			In: uint32(r.In), Out: uint32(r.Out), SrcAS: uint32(r.SrcAS), DstAS: uint32(r.DstAS), SrcPort: r.SrcPort, DstPort: r.DstPort,
			Proto: r.Proto, TCPFlags: packet.TCPFlags(r.Flags), TOS: r.TOS,
		}
		if r.Packets == 0 && r.Bytes == 0 {
			x.counts.other++
			continue
		}
		f.First, f.Last = x.times(&when, uptime, uint64(r.First), uint64(r.Last))
		x.ports(f)
		x.flags(f, true)
		c.keep(x, f)
	}
	return err
}
