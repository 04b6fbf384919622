package flow_test

import (
	"encoding/binary"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// collector is one whose flows are kept.
type collector struct {
	*flow.Collector
	t     *testing.T
	dir   *flow.Directory
	flows []observe.Flow
}

func newCollector(t *testing.T, cfg flow.Config) *collector {
	t.Helper()
	d, err := flow.NewDirectory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return collectorOf(t, d)
}

func collectorOf(t *testing.T, d *flow.Directory) *collector {
	t.Helper()
	c := &collector{t: t, dir: d}
	c.Collector = d.Collector(func(b []observe.Flow) { c.flows = append(c.flows, b...) })
	return c
}

// take takes a datagram that nothing is wrong with, and gives the flows it made.
func (c *collector) take(b []byte, at int64) []observe.Flow {
	c.t.Helper()
	c.flows = nil
	if err := c.Ingest(b, from, at); err != nil {
		c.t.Fatal(err)
	}
	c.Flush()
	return c.flows
}

// one is the only flow of a datagram.
func (c *collector) one(b []byte, at int64) observe.Flow {
	c.t.Helper()
	f := c.take(b, at)
	if len(f) != 1 {
		c.t.Fatalf("%d flows", len(f))
	}
	return f[0]
}

// health is that of the only exporter.
func (c *collector) health() flow.Health {
	c.t.Helper()
	c.Publish(1)
	h := c.dir.Exporters()
	if len(h) != 1 {
		c.t.Fatalf("%d exporters", len(h))
	}
	return h[0]
}

const now = int64(1_800_000_000e9)

// v9 is a message of version 9, sent at now after 10 s of uptime.
func v9(sets ...[]byte) []byte { return message9(0, 10_000, uint32(now/1e9), 0, sets...) }

// v10 is one of IPFIX.
func v10(sets ...[]byte) []byte { return message10(0, uint32(now/1e9), 0, sets...) }

// record writes numbers of the sizes of a template's elements.
func record(f []int, values ...uint64) (b []byte) {
	for i, v := range values {
		n := f[2*i+1]
		if n > 8 {
			b = append(b, make([]byte, n-8)...)
			n = 8
		}
		w := binary.BigEndian.AppendUint64(nil, v)
		b = append(b, w[8-n:]...)
	}
	return b
}

var a4, b4 = packet.V4(0xc0000201), packet.V4(0xcb007101)

// TestFields: what the elements of a record come to.
func TestFields(t *testing.T) {
	t.Parallel()
	base := []int{8, 4, 12, 4, 7, 2, 11, 2, 4, 1, 2, 4, 1, 4}
	const s, d = 0xc0000201, 0xcb007101
	plain := observe.Flow{Src: a4, Dst: b4, SrcPort: 1000, DstPort: 53, Proto: 17, Packets: 3, Bytes: 300, Seen: 3, Rate: 1, Exporter: 1}
	with := func(change func(*observe.Flow)) []observe.Flow {
		f := plain
		change(&f)
		return []observe.Flow{f}
	}
	for _, tt := range []struct {
		name   string
		fields []int // besides those of base
		values []uint64
		base   []uint64 // other values for those
		want   []observe.Flow
	}{
		{"plain", nil, nil, nil, []observe.Flow{plain}},
		{"interfaces, AS, TOS", []int{10, 2, 14, 4, 16, 2, 17, 4, 5, 1}, []uint64{7, 70000, 100, 64500, 0xb8}, nil, with(func(f *observe.Flow) { f.In, f.Out, f.SrcAS, f.DstAS, f.TOS = 7, 70000, 100, 64500, 0xb8 })},
		{"physical interfaces", []int{252, 4, 253, 4}, []uint64{7, 8}, nil, with(func(f *observe.Flow) { f.In, f.Out = 7, 8 })},
		{"flags of TCP", []int{6, 1}, []uint64{0x12}, []uint64{s, d, 1000, 53, 6, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.TCPFlags = 6, 0x12 })},
		{"flags in two bytes", []int{6, 2}, []uint64{0x0112}, []uint64{s, d, 1000, 53, 6, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.TCPFlags = 6, 0x12 })},
		{"no flags told", nil, nil, []uint64{s, d, 1000, 53, 6, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.Marks = 6, observe.FlowNoFlags })},
		{"flags that are never filled in", []int{6, 1}, []uint64{0}, []uint64{s, d, 1000, 53, 6, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.Marks = 6, observe.FlowNoFlags })},
		{"ports of what has none", nil, nil, []uint64{s, d, 1000, 53, 47, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.SrcPort, f.DstPort = 47, 0, 0 })},
		{"SCTP", nil, nil, []uint64{s, d, 1000, 53, 132, 3, 300}, with(func(f *observe.Flow) { f.Proto = 132 })},
		{"ICMP in the port", nil, nil, []uint64{s, d, 0, 0x0301, 1, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.SrcPort, f.DstPort = 1, 0, 0x0301 })},
		{"ICMP", []int{32, 2}, []uint64{0x0301}, []uint64{s, d, 0, 0, 1, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.SrcPort, f.DstPort = 1, 0, 0x0301 })},
		{"ICMP type and code", []int{176, 1, 177, 1, 139, 2}, []uint64{11, 1, 0}, []uint64{s, d, 0, 0, 1, 3, 300}, with(func(f *observe.Flow) { f.Proto, f.SrcPort, f.DstPort = 1, 0, 0x0b01 })},
		{"ICMP of what isn't", []int{32, 2}, []uint64{0x0301}, nil, []observe.Flow{plain}},
		{"later fragment", []int{88, 2}, []uint64{185}, nil, with(func(f *observe.Flow) { f.SrcPort, f.DstPort, f.Marks = 0, 0, observe.FlowFragment })},
		{"first fragment", []int{88, 2}, []uint64{0}, nil, []observe.Flow{plain}},
		{"dropped", []int{89, 1}, []uint64{0x80}, nil, with(func(f *observe.Flow) { f.Marks = observe.FlowDropped })},
		{"dropped, in four bytes", []int{89, 4}, []uint64{0x8c}, nil, with(func(f *observe.Flow) { f.Marks = observe.FlowDropped })},
		{"forwarded", []int{89, 1}, []uint64{0x40}, nil, []observe.Flow{plain}},
		{"consumed", []int{89, 1}, []uint64{0xc0}, nil, []observe.Flow{plain}},
		{"denied", []int{233, 1}, []uint64{3}, nil, with(func(f *observe.Flow) { f.Marks = observe.FlowDropped })},
		{"egress", []int{61, 1}, []uint64{1}, nil, with(func(f *observe.Flow) { f.Marks = observe.FlowEgress })},
		{"both versions, IPv4", []int{27, 16, 28, 16}, []uint64{0, 0}, nil, []observe.Flow{plain}},
		{"both versions, IPv6", []int{27, 16, 28, 16}, []uint64{1, 2}, []uint64{0, 0, 1000, 53, 17, 3, 300}, with(func(f *observe.Flow) { f.Src, f.Dst = packet.Addr{Lo: 1}, packet.Addr{Lo: 2} })},
		{"counts of what left, too", []int{24, 4, 23, 4}, []uint64{0, 0}, nil, []observe.Flow{plain}},
		{"counts of what left alone", []int{24, 4, 23, 4}, []uint64{3, 300}, []uint64{s, d, 1000, 53, 17, 0, 0}, []observe.Flow{plain}},
		{"nothing passed", nil, nil, []uint64{s, d, 1000, 53, 17, 0, 0}, nil},
		{"of nobody", nil, nil, []uint64{0, 0, 1000, 53, 17, 3, 300}, with(func(f *observe.Flow) { f.Src, f.Dst = packet.V4(0), packet.V4(0) })},
		{"an element that isn't known", []int{1234, 7}, []uint64{9}, nil, []observe.Flow{plain}},
	} {
		for _, protocol := range []string{"netflow9", "ipfix"} {
			t.Run(tt.name+" "+protocol, func(t *testing.T) {
				all := append(append([]int{}, base...), tt.fields...)
				values := tt.base
				if values == nil {
					values = []uint64{s, d, 1000, 53, 17, 3, 300}
				}
				values = append(append([]uint64{}, values...), tt.values...)
				c := newCollector(t, flow.Config{})
				b := v9(set(0, fields(256, all...)), set(256, record(all, values...)))
				if protocol == "ipfix" {
					b = v10(set(2, fields(256, all...)), set(256, record(all, values...)))
				}
				got := c.take(b, now)
				want := append([]observe.Flow(nil), tt.want...)
				for i := range want {
					want[i].First, want[i].Last = now, now
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("- want, + got:\n%s", d)
				}
			})
		}
	}
}

// TestReverse: a record of both directions is two flows (RFC 5103).
func TestReverse(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	var template []byte
	template = append(template, words(256, 14, 8, 4, 12, 4, 7, 2, 11, 2, 4, 1, 6, 1, 2, 4, 1, 4, 10, 2, 14, 2)...)
	for _, f := range [][2]int{{6, 1}, {2, 4}, {1, 4}, {999, 4}} {
		template = append(template, words(0x8000|f[0], f[1], 0, 29305)...)
	}
	sizes := []int{0, 4, 0, 4, 0, 2, 0, 2, 0, 1, 0, 1, 0, 4, 0, 4, 0, 2, 0, 2, 0, 1, 0, 4, 0, 4, 0, 4}
	f := c.take(v10(set(2, template), set(256,
		record(sizes, 0xc0000201, 0xcb007101, 1000, 80, 6, 0x02, 5, 500, 7, 8, 0x12, 4, 4000, 1),
		record(sizes, 0xc0000201, 0xcb007101, 1000, 80, 6, 0x02, 5, 500, 7, 8, 0, 0, 0, 1))), now)
	there := observe.Flow{Src: a4, Dst: b4, SrcPort: 1000, DstPort: 80, Proto: 6, TCPFlags: 2, Packets: 5, Bytes: 500, Seen: 5, Rate: 1, In: 7, Out: 8, Exporter: 1, First: now, Last: now}
	back := observe.Flow{Src: b4, Dst: a4, SrcPort: 80, DstPort: 1000, Proto: 6, TCPFlags: 0x12, Packets: 4, Bytes: 4000, Seen: 4, Rate: 1, In: 8, Out: 7, Exporter: 1, First: now, Last: now}
	if d := cmp.Diff([]observe.Flow{there, back, there}, f); d != "" {
		t.Errorf("- want, + got:\n%s", d)
	}
	if h := c.health(); h.Records != 2 || h.Flows != 3 || h.Packets != 14 {
		t.Errorf("%+v", h)
	}
}

// TestSampledHeaders: records that hold the beginning of a packet, in a tunnel that is looked
// into.
func TestSampledHeaders(t *testing.T) {
	t.Parallel()
	inner := []byte("\x45\x00\x01\x00\x00\x00\x00\x00\x40\x11\x00\x00\xc0\x00\x02\x01\xcb\x00\x71\x01\x03\xe8\x00\x35\x00\xec\x00\x00")
	outer := []byte("\x45\x00\x01\x18\x00\x00\x00\x00\x40\x2f\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x00\x08\x00")
	frame := append(append(make([]byte, 12), 8, 0), append(outer, inner...)...)
	want := observe.Flow{Src: a4, Dst: b4, SrcPort: 1000, DstPort: 53, Proto: 17, Packets: 256, Bytes: 65536, Seen: 1, Rate: 256, Exporter: 1, First: now, Last: now, Marks: observe.FlowSample | observe.FlowInner, In: 7}
	for _, tt := range []struct {
		name   string
		fields []int
		data   []byte
		want   observe.Flow
	}{
		{"frame", []int{10, 4, 34, 4, 312, 2, 315, 65535}, append([]byte{0, 0, 0, 7, 0, 0, 1, 0, 2, 0, byte(len(frame))}, frame...), want},
		{"fixed frame", []int{10, 4, 34, 4, 312, 2, 315, len(frame)}, append([]byte{0, 0, 0, 7, 0, 0, 1, 0, 2, 0}, frame...), want},
		{"packet", []int{10, 4, 34, 4, 313, 65535}, append([]byte{0, 0, 0, 7, 0, 0, 1, 0, byte(len(frame) - 14)}, frame[14:]...), want},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{Tunnels: packet.Decoder{Tunnels: packet.GRE}})
			got := c.one(v10(set(2, fields(256, tt.fields...)), set(256, tt.data)), now)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("- want, + got:\n%s", d)
			}
		})
	}
	c := newCollector(t, flow.Config{})
	got := c.one(v10(set(2, fields(256, 10, 4, 315, len(frame))), set(256, append([]byte{0, 0, 0, 7}, frame...))), now)
	if got.Proto != 47 || got.Marks != observe.FlowSample || got.Bytes != 280 {
		t.Errorf("in a tunnel that isn't: %+v", got)
	}
}

// TestSaturation: nobody's numbers run over.
func TestSaturation(t *testing.T) {
	t.Parallel()
	f := []int{8, 4, 12, 4, 2, 8, 1, 8, 34, 4}
	c := newCollector(t, flow.Config{})
	got := c.one(v9(set(0, fields(256, f...)), set(256, record(f, 1, 2, 1<<62, 1<<63, 1000))), now)
	if got.Packets != math.MaxUint64 || got.Bytes != math.MaxUint64 || got.Seen != math.MaxUint32 || got.Rate != 1000 {
		t.Errorf("%+v", got)
	}
}

// TestExporters: each domain of an address has a number, sequence and health of its own; one
// more than may be is refused, and so is who isn't allowed.
func TestExporters(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{
		MaxExporters: 3, Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Exporters: []flow.Settings{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Name: "tokyo-1", Interfaces: map[uint32]flow.Interface{7: {Name: "et-0/0/7", Capacity: 100e9}}}},
	})
	for i, want := range []struct {
		from   string
		domain uint32
		number uint32 // 0 refused
	}{
		{"192.0.2.1:1000", 5, 1}, {"192.0.2.1:2000", 5, 1}, {"192.0.2.1:1000", 6, 2}, {"[2001:db8::1]:1", 5, 3}, {"[::ffff:192.0.2.1]:7", 6, 2}, {"192.0.2.1:1000", 7, 0}, {"192.0.2.9:1000", 5, 0}, {"203.0.113.1:1000", 5, 0},
	} {
		c.flows = nil
		err := c.Ingest(message9(uint32(i), 10_000, uint32(now/1e9), want.domain, set(0, usual), set(256, usualRecord(0, 9000, 9900))), netip.MustParseAddrPort(want.from), now)
		c.Flush()
		if want.number == 0 {
			if err == nil || len(c.flows) != 0 {
				t.Errorf("%v: %v", want, c.flows)
			}
			continue
		}
		if err != nil || len(c.flows) != 1 || c.flows[0].Exporter != want.number {
			t.Errorf("%v: %v %+v", want, err, c.flows)
		}
	}
	c.Publish(now)
	list := c.dir.Exporters()
	if len(list) != 3 || list[0].Name != "tokyo-1" || list[0].Domain != 5 || list[0].Datagrams != 2 || list[1].Domain != 6 || list[1].Datagrams != 2 || list[2].Name != "2001:db8::1" {
		t.Errorf("%+v", list)
	}
	if _, all, many := c.dir.Refused(); all != 1 || many != 2 {
		t.Errorf("%d refused, %d too many", all, many)
	}
	if e, is := c.dir.Exporter(2); !is || e.Name != "tokyo-1" || e.Domain != 6 || e.Address != netip.MustParseAddrPort("192.0.2.1:0") {
		t.Errorf("%+v", e)
	}
	if _, is := c.dir.Exporter(9); is {
		t.Error("nobody has number 9")
	}
	if n := c.dir.Interface(1, 7); n != "et-0/0/7" || c.dir.Interface(3, 7) != "" || c.dir.Interface(1, 8) != "" {
		t.Errorf("interface %q", n)
	}
}

// TestPerPort: exporters behind one address are told apart by port where that is set.
func TestPerPort(t *testing.T) {
	t.Parallel()
	for _, apart := range []bool{false, true} {
		c := newCollector(t, flow.Config{Default: flow.Settings{PerPort: apart}})
		for i, port := range []uint16{1000, 2000, 1000, 2000} {
			at := netip.AddrPortFrom(from.Addr(), port)
			if err := c.Ingest(message5(uint32(i/2), 10_000, 1, 0, 1), at, now); err != nil {
				t.Fatal(err)
			}
		}
		c.Publish(now)
		list := c.dir.Exporters()
		late := uint64(0)
		for _, h := range list {
			late += h.Late + h.Gaps + h.Restarts
		}
		if apart && (len(list) != 2 || late != 0 || list[0].Address != "192.0.2.1:1000") || !apart && (len(list) != 1 || late == 0) {
			t.Errorf("apart %v: %+v", apart, list)
		}
	}
}

// TestLimit: of an exporter that sends too much no more is read than is set, its templates
// are; another isn't touched.
func TestLimit(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{Exporters: []flow.Settings{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Limit: 100}}})
	other := netip.MustParseAddrPort("192.0.2.2:2055")
	for i := range 100 {
		at := now + int64(i)*int64(10*time.Millisecond)
		if err := c.Ingest(message9(uint32(i), 10_000, uint32(now/1e9), 0, set(0, usual), set(256, usualRecords(20))), from, at); err != nil {
			t.Fatal(err)
		}
		if err := c.Ingest(message5(uint32(20*i), 10_000, uint32(now/1e9), 0, 20), other, at); err != nil {
			t.Fatal(err)
		}
	}
	c.Publish(now)
	list := c.dir.Exporters()
	// A second's worth at the beginning, and another within the second that this takes.
	if h := list[0]; h.Records < 180 || h.Records > 200 || h.Records+h.Limited != 2000 || h.Templates != 1 || h.Gaps != 0 {
		t.Errorf("%+v", h)
	}
	if h := list[1]; h.Records != 2000 || h.Limited != 0 {
		t.Errorf("%+v", h)
	}
}
