package flow_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"sakimori/base/wire/ipfix"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// TestGaps: what is lost on the way is told by each protocol's own numbers; what comes out of
// order isn't lost, and an exporter that starts anew has lost nothing.
func TestGaps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		message  func(sequence uint32) []byte
		of       string
		step     uint32 // of a message with ten records
		sequence []uint32
		want     [3]uint64 // gaps, late, restarts
	}{
		{"netflow5", func(n uint32) []byte { return message5(n, 10_000, 1, 0, 10) }, "flows", 10, []uint32{0, 10, 30, 20, 40}, [3]uint64{0, 1, 0}},
		{"netflow5 lost", func(n uint32) []byte { return message5(n, 10_000, 1, 0, 10) }, "flows", 10, []uint32{0, 10, 30, 40}, [3]uint64{10, 0, 0}},
		{"netflow5 restart", func(n uint32) []byte { return message5(n, 10_000, 1, 0, 10) }, "flows", 10, []uint32{1 << 30, 1<<30 + 10, 0, 10}, [3]uint64{0, 0, 1}},
		{"netflow5 wraps", func(n uint32) []byte { return message5(n, 10_000, 1, 0, 10) }, "flows", 10, []uint32{1<<32 - 15, 1<<32 - 5, 5}, [3]uint64{0, 0, 0}},
		{"netflow9", func(n uint32) []byte { return message9(n, 10_000, 1, 0, set(256, usualRecords(10))) }, "datagrams", 1, []uint32{5, 6, 9, 8, 10}, [3]uint64{1, 1, 0}},
		{"ipfix", func(n uint32) []byte { return message10(n, 1, 0, set(256, usualRecords(10))) }, "records", 10, []uint32{0, 10, 40}, [3]uint64{20, 0, 0}},
		{"sflow5", func(n uint32) []byte { return sample5(n, 3) }, "datagrams", 1, []uint32{7, 8, 12, 13}, [3]uint64{3, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{})
			// Templates of both, from sequences that go before.
			switch first := tt.sequence[0]; tt.of {
			case "records":
				c.take(message10(first, 1, 0, set(2, usual)), now)
			case "datagrams":
				if tt.name == "netflow9" {
					c.take(message9(first-1, 10_000, 1, 0, set(0, usual)), now)
				}
			}
			for _, n := range tt.sequence {
				c.take(tt.message(n), now)
			}
			h := c.health()
			if got := [3]uint64{h.Gaps, h.Late, h.Restarts}; got != tt.want || h.GapsOf != tt.of {
				t.Errorf("%d %s lost, %d late, %d restarts; want %d", h.Gaps, h.GapsOf, h.Late, h.Restarts, tt.want)
			}
		})
	}
}

// TestMalformed: what is wrong is said and counted by its reason, and what stands before counts.
func TestMalformed(t *testing.T) {
	t.Parallel()
	whole := message9(0, 10_000, uint32(now/second), 0, set(0, usual), set(256, usualRecords(3)))
	for _, tt := range []struct {
		name   string
		data   []byte
		reason string
		flows  int
	}{
		{"nothing", nil, "version", 0},
		{"something else", []byte("GET / HTTP/1.1\r\n"), "version", 0},
		{"version 7", append([]byte{0, 7}, whole[2:]...), "version", 0},
		{"sFlow 4", []byte{0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0}, "version", 0},
		{"NetFlow 5 of a header's half", message5(0, 1, 1, 0, 1)[:12], "short", 0},
		{"NetFlow 5 that counts more", message5(0, 1, 1, 0, 3)[:24+48*2+7], "length", 2},
		{"NetFlow 9 of a header's half", whole[:10], "short", 0},
		{"NetFlow 9 that was cut", whole[:len(whole)-10], "set", 0},
		{"IPFIX that was cut", message10(0, 1, 0, set(2, usual))[:40], "length", 0},
		{"a template without end", message9(0, 1, 1, 0, set(0, words(256, 9, 8, 4))), "template", 0},
		{"a template without fields", message9(0, 1, 1, 0, set(0, words(256, 0))), "template", 0},
		{"a field that reaches out", message10(0, 1, 0, set(2, fields(256, 8, 4, 12, 4, 2, 4, 1, 4, 82, 65535)), set(256, record([]int{0, 4, 0, 4, 0, 4, 0, 4, 0, 1}, 1, 2, 3, 4, 1), []byte("a"), record([]int{0, 4, 0, 4, 0, 4, 0, 4, 0, 1}, 1, 2, 3, 4, 200))), "field", 1},
		{"sFlow of a header's half", sample5(0, 1)[:20], "short", 0},
		{"sFlow that was cut", sample5(0, 3)[:400], "length", 1},
		{"a sample whose packet is none", func() []byte {
			b := sample5(0, 1)
			b[len(b)-128+14] = 0x4f
			b[len(b)-128+16], b[len(b)-128+17] = 0, 7
			return b
		}(), "packet", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{})
			err := c.Ingest(tt.data, from, now)
			c.Flush()
			h := c.health()
			said := err != nil || tt.reason == "field" || tt.reason == "packet" // these are one record's
			if !said || len(c.flows) != tt.flows || len(h.Malformed) != 1 || h.Malformed[0] != (flow.Malformed{Reason: tt.reason, Count: 1}) || h.Datagrams != 1 {
				t.Errorf("%v, %d flows, %+v", err, len(c.flows), h.Malformed)
			}
		})
	}
}

// TestCutAnywhere: a datagram that is cut at any byte gives no flow that the whole one doesn't.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	for _, dd := range datagrams {
		c := newCollector(t, flow.Config{})
		if dd.template != nil {
			c.take(dd.template, now)
		}
		whole := slices.Clone(c.take(dd.data, now))
		for n := range dd.data {
			c.flows = nil
			_ = c.Ingest(slices.Clip(dd.data[:n]), from, now)
			c.Flush()
			if len(c.flows) > len(whole) || !slices.EqualFunc(c.flows, whole[:len(c.flows)], func(a, b observe.Flow) bool { return a.Src == b.Src && a.Packets == b.Packets }) {
				t.Fatalf("%s, of %d bytes: %d flows", dd.name, n, len(c.flows))
			}
		}
	}
}

// naive reads a record of a fixed template field by field, as the registry says.
func naive(f []int, b []byte) (packets, bytes uint64, src, dst packet.Addr, ports [2]uint16) {
	for i := 0; i < len(f); i += 2 {
		v := uint64(0)
		for _, c := range b[:f[i+1]] {
			v = v<<8 | uint64(c)
		}
		switch f[i] {
		case 1:
			bytes = v
		case 2:
			packets = v
		case 7:
			ports[0] = uint16(v)
		case 11:
			ports[1] = uint16(v)
		case 8:
			src = packet.V4(uint32(v))
		case 12:
			dst = packet.V4(uint32(v))
		case 27:
			src = packet.Addr{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
		case 28:
			dst = packet.Addr{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
		}
		b = b[f[i+1]:]
	}
	return packets, bytes, src, dst, ports
}

// TestAnyTemplate: whatever order and sizes a template has, and whether its length is told
// before one of its fields, the values are those that a reader without a plan finds.
func TestAnyTemplate(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var all [][2]int
		for _, e := range [...]int{1, 2, 7, 11} {
			size := 1 + r.IntN(8)
			if e == 7 || e == 11 {
				size = 1 + r.IntN(2)
			}
			all = append(all, [2]int{e, size})
		}
		all = append(all, [2]int{4, 1})
		if r.IntN(2) == 0 {
			all = append(all, [2]int{8, 4}, [2]int{12, 4})
		} else {
			all = append(all, [2]int{27, 16}, [2]int{28, 16})
		}
		for range r.IntN(4) {
			all = append(all, [2]int{1000 + r.IntN(100), 1 + r.IntN(40)}) // nothing that is read
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var f, sizes []int
		stretched := r.IntN(len(all) * 2) // half of the templates have a field that tells its length
		var rec, data []byte
		for i, e := range all {
			b := make([]byte, e[1])
			for j := range b {
				b[j] = byte(r.Uint32())
			}
			if e[0] == 4 {
				b[0] = 17
			}
			rec = append(rec, b...)
			sizes = append(sizes, e[0], e[1])
			size := e[1]
			if i == stretched && e[0] != 8 && e[0] != 12 && e[0] != 27 && e[0] != 28 {
				size = ipfix.Variable
				data = append(data, byte(len(b)))
			}
			data = append(data, b...)
			f = append(f, e[0], size)
		}
		c := newCollector(t, flow.Config{})
		got := c.take(v10(set(2, fields(256, f...)), set(256, data)), now)
		packets, bytes, src, dst, ports := naive(sizes, rec)
		if packets|bytes == 0 {
			continue
		}
		if packets == 0 {
			packets = (bytes-1)/1500 + 1 // at least
		}
		if len(got) != 1 || got[0].Packets != packets || got[0].Bytes != bytes || got[0].Src != src || got[0].Dst != dst || got[0].SrcPort != ports[0] || got[0].DstPort != ports[1] {
			t.Fatalf("template %v, record %x: %+v", f, data, got)
		}
	}
}

// TestMemoryIsBounded: somebody who bombs with templates, domains and data without templates
// gets no further than the bounds, and an honest exporter isn't touched.
func TestMemoryIsBounded(t *testing.T) {
	c := newCollector(t, flow.Config{MaxExporters: 64, MaxFields: 2000, MaxWaiting: 64 << 10, MaxWaitingAll: 1 << 20})
	honest := netip.MustParseAddrPort("198.51.100.1:2055")
	ingest := func(b []byte, from netip.AddrPort) { _ = c.Ingest(b, from, now) }
	ingest(message9(0, 10_000, uint32(now/second), 0, set(0, usual)), honest)
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	var template []byte
	for i := range 40 {
		template = append(template, fields(256+i, 8, 4, 12, 4, 2, 4, 1, 4, 22, 4, 21, 4, 7, 2, 11, 2, 10, 4, 14, 4)...)
	}
	junk := make([]byte, 1000)
	for i := range 1500 {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 1)
		if i%2 == 0 {
			at = from
		}
		binary.BigEndian.PutUint16(template, uint16(256+i%60000))
		ingest(message9(0, 10_000, uint32(now/second), uint32(i), set(0, template), set(5000+i, junk)), at)
		ingest(message9(0, 10_000, uint32(now/second), uint32(i%7), set(5000+i, junk)), at)
		ingest(message10(0, uint32(now/second), uint32(i%5), set(2, template), set(5000+i, junk)), at)
	}
	if after := memory(); after > before+24<<20 {
		t.Errorf("%d bytes more", after-before)
	}
	c.flows = nil
	ingest(message9(1, 10_000, uint32(now/second), 0, set(256, usualRecords(5))), honest)
	c.Flush()
	if len(c.flows) != 5 {
		t.Errorf("%d flows of the honest one", len(c.flows))
	}
	c.Publish(now)
	if n := len(c.dir.Snapshot()); n > 4<<20 {
		t.Errorf("%d bytes are kept", n)
	}
}
