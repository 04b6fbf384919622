package flow_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// xdr is numbers as sFlow writes them.
func xdr(v ...uint32) (b []byte) {
	for _, n := range v {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// agent is a datagram of an agent with so many samples.
func agent(a [4]byte, sequence uint32, samples ...[]byte) []byte {
	b := xdr(5, 1, binary.BigEndian.Uint32(a[:]), 0, sequence, 1000, uint32(len(samples)))
	for _, s := range samples {
		b = append(b, s...)
	}
	return b
}

// part is a sample or record with its type and length.
func part(kind uint32, bodies ...[]byte) []byte {
	var b []byte
	for _, x := range bodies {
		b = append(b, x...)
	}
	return append(xdr(kind, uint32(len(b))), b...)
}

// header is a record of a packet's beginning: SYN from 192.0.2.7:40000 to 203.0.113.7:443.
var header = func() []byte {
	h := []byte("\x00\x01\x02\x03\x04\x05\x00\x01\x02\x03\x04\x06\x08\x00\x45\x00\x05\xdc\x00\x00\x00\x00\x40\x06\x00\x00\xc0\x00\x02\x07\xcb\x00\x71\x07\x9c\x40\x01\xbb\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\x00\x00\x00\x00\x00\x00\x00\x00")
	return part(1, xdr(1, 1518, 4, uint32(len(h))), h)
}()

// sample is a flow sample.
func sample(sequence, source, rate, pool, drops, in, out uint32, records ...[]byte) []byte {
	b := [][]byte{xdr(sequence, source, rate, pool, drops, in, out, uint32(len(records)))}
	return part(1, append(b, records...)...)
}

var self = [4]byte{192, 0, 2, 1}

// TestSFlow: what samples come to.
func TestSFlow(t *testing.T) {
	t.Parallel()
	want := observe.Flow{
		Src: packet.V4(0xc0000207), Dst: packet.V4(0xcb007107), SrcPort: 40000, DstPort: 443, Proto: 6, TCPFlags: 2, Packets: 1000, Bytes: 1500_000, Seen: 1, Rate: 1000,
		Exporter: 1, In: 7, Out: 8, First: now, Last: now, Marks: observe.FlowSample,
	}
	with := func(change func(*observe.Flow)) observe.Flow {
		f := want
		change(&f)
		return f
	}
	gateway := part(1003, xdr(1, 0xc0000201, 64496, 64497, 64498, 1, 2, 2, 64499, 64500, 0, 100))
	own := part(1003, xdr(1, 0xc0000201, 64496, 0, 0, 0, 0, 100))
	for _, tt := range []struct {
		name     string
		settings flow.Settings
		sample   []byte
		want     observe.Flow
	}{
		{"header", flow.Settings{}, sample(1, 7, 1000, 0, 0, 7, 8, header), want},
		{"expanded", flow.Settings{}, part(3, xdr(1, 0, 7, 1000, 0, 0, 0, 7, 0, 8, 1), header), want},
		{"dropped", flow.Settings{}, sample(1, 7, 1000, 0, 0, 7, 1<<30|256, header), with(func(f *observe.Flow) { f.Out = 0; f.Marks |= observe.FlowDropped })},
		{"to several", flow.Settings{}, sample(1, 7, 1000, 0, 0, 7, 2<<30|3, header), with(func(f *observe.Flow) { f.Out = 0 })},
		{"for itself", flow.Settings{}, sample(1, 7, 1000, 0, 0, 7, 1<<30-1, header), with(func(f *observe.Flow) { f.Out = 0 })},
		{"where it leaves", flow.Settings{}, sample(1, 8, 1000, 0, 0, 7, 8, header), with(func(f *observe.Flow) { f.Marks |= observe.FlowEgress })},
		{"with AS", flow.Settings{}, sample(1, 7, 1000, 0, 0, 7, 8, header, gateway), with(func(f *observe.Flow) { f.SrcAS, f.DstAS = 64497, 64500 })},
		{"with its own AS", flow.Settings{}, sample(1, 7, 1000, 0, 0, 7, 8, own, header), with(func(f *observe.Flow) { f.SrcAS, f.DstAS = 64496, 64496 })},
		{"of addresses alone", flow.Settings{}, sample(1, 7, 1000, 0, 0, 7, 8, part(3, xdr(1500, 6, 0xc0000207, 0xcb007107, 40000, 443, 2, 0x10))), with(func(f *observe.Flow) { f.TOS = 0x10 })},
		{"rate by configuration", flow.Settings{Rate: 10, Override: true}, sample(1, 7, 1000, 0, 0, 7, 8, header), with(func(f *observe.Flow) { f.Rate, f.Packets, f.Bytes = 10, 10, 15000 })},
		{"no rate", flow.Settings{Rate: 20}, sample(1, 7, 0, 0, 0, 7, 8, header), with(func(f *observe.Flow) { f.Rate, f.Packets, f.Bytes = 20, 20, 30000 })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{Default: tt.settings})
			if d := cmp.Diff(tt.want, c.one(agent(self, 1, tt.sample), now)); d != "" {
				t.Errorf("- want, + got:\n%s", d)
			}
		})
	}
	c := newCollector(t, flow.Config{})
	if got := c.take(agent(self, 1, sample(1, 7, 1000, 0, 0, 7, 8, part(2, xdr(60, 1, 2, 3, 4, 0x806)))), now); len(got) != 0 || c.health().Other != 1 {
		t.Errorf("a frame that isn't IP: %+v", got)
	}
}

// TestPool: what an agent counts tells how it really samples, here half as often as it says, and what it couldn't send.
func TestPool(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	for i := range uint32(100) {
		c.take(agent(self, i, sample(10+i, 7, 1000, 4294000000+2000*i, 5+i/10, 7, 8, header), sample(1<<31+i, 8, 1000, 0, 0, 8, 7, header)), now)
	}
	if h := c.health(); h.PoolRate != 2000 || h.Missed != 9 || h.Samples != 200 { // the second source doesn't count its pool
		t.Errorf("rate %f, %d missed, %d samples", h.PoolRate, h.Missed, h.Samples)
	}
}

// TestAgents: several behind one sender have their own sequences and numbers.
func TestAgents(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	for i := range uint32(5) {
		for j := range byte(3) {
			f := c.one(agent([4]byte{192, 0, 2, 1 + j}, i*uint32(j+1), sample(i, 7, 1000, 0, 0, 7, 8, header)), now)
			if f.Exporter != uint32(j+1) {
				t.Fatalf("%+v", f)
			}
		}
	}
	c.Publish(now)
	list := c.dir.Exporters()
	if len(list) != 3 || list[0].Agent.IsValid() || list[1].Agent != netip.MustParseAddr("192.0.2.2") || list[0].Gaps != 0 || list[1].Gaps != 4 || list[2].Gaps != 8 {
		t.Errorf("%+v", list)
	}
	if e, _ := c.dir.Exporter(3); e.Name != "192.0.2.1 192.0.2.3" {
		t.Errorf("%+v", e)
	}
}

// TestCounters: an interface's own counters are its rate, whatever flows say.
func TestCounters(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	counters := func(in uint64, out uint32) []byte {
		return part(2, xdr(1, 7, 1), part(1, xdr(7, 6, 2, 1410065408, 1, 3, uint32(in>>32), uint32(in), 0, 0, 0, 0, 0, 0, 0, out, 0, 0, 0, 0, 0, 0)))
	}
	c.take(agent(self, 1, counters(1<<33, 1000)), now)
	c.take(agent(self, 2, sample(1, 7, 1000, 0, 0, 7, 8, header), counters(1<<33+125_000_000, 1000+1250)), now+10*second)
	c.Publish(now + 10*second)
	got := c.dir.Exporters()[0].Interfaces
	if len(got) != 2 || got[0].Index != 7 || !got[0].Exact || got[0].InBPS != 100e6 || got[0].OutBPS != 1000 || got[0].Capacity != 10e9 || got[1].Exact {
		t.Errorf("%+v", got)
	}
	// Without counters it is what flows say: 1.5 MB, counted where the packet left, in ten seconds.
	c.take(agent(self, 3, sample(2, 7, 1000, 0, 0, 7, 8, header)), now+11*second)
	c.Publish(now + 20*second)
	if got := c.dir.Exporters()[0].Interfaces; got[1].OutBPS != 1.2e6 || got[0].InBPS != 100e6 {
		t.Errorf("%+v", got)
	}
	// An agent that began anew has no rate until it counted twice.
	c.take(agent(self, 4, counters(5, 5)), now+21*second)
	c.Publish(now + 22*second)
	if got := c.dir.Exporters()[0].Interfaces; got[0].InBPS != 100e6 {
		t.Errorf("%+v", got)
	}
}
