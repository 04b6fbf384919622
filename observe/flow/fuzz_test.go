package flow_test

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// FuzzIngest: no datagram after another crashes a collector, reaches beyond the datagram, makes
// it give what doesn't add up, or makes it forget its bounds; and a restart in between gives
// nothing that no restart wouldn't.
func FuzzIngest(f *testing.F) {
	for _, dd := range datagrams {
		f.Add(dd.template, dd.data)
	}
	f.Add(v9(set(1, options9(300, []int{2, 4}, 48, 1, 34, 4, 82, 8))), v9(set(300, make([]byte, 40))))
	f.Add(v10(set(2, fields(256, 8, 4, 12, 4, 315, 65535, 2, 3, 1, 5, 176, 1, 311, 8))), v10(set(256, make([]byte, 60))))
	f.Add(v9(smallSet(1), smallSet(2)), v9(set(0, fields(256, small...)), smallSet(3)))
	f.Add(v9(set(0, fields(256, 5, 65535, 8, 4))), v9(set(256, make([]byte, 1000)))) // of version 9 that is a length
	f.Fuzz(func(t *testing.T, first, other []byte) {
		cfg := flow.Config{MaxExporters: 4, MaxFields: 200, MaxWaiting: 4096, MaxWaitingAll: 8192, Batch: 16, Tunnels: packet.Decoder{Tunnels: packet.GRE | packet.VXLAN | packet.IPIP}}
		d, err := flow.NewDirectory(cfg)
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		c := d.Collector(func(b []observe.Flow) {
			made += len(b)
			if len(b) == 0 || len(b) > 16 {
				t.Fatalf("a batch of %d", len(b))
			}
			for i := range b {
				check(t, &b[i])
			}
		})
		for i, b := range [][]byte{first, other, first, other} {
			_ = c.Ingest(slices.Clip(b), netip.AddrPortFrom(from.Addr(), uint16(i)), now+int64(i)*second)
		}
		c.Flush()
		c.Publish(now)
		flows, records := uint64(0), uint64(0)
		for _, h := range d.Exporters() {
			flows += h.Flows
			records += h.Records
			if h.Waiting > 4096/96 || h.Flows > 2*h.Records || h.Templates > 200/8 {
				t.Fatalf("%+v", h)
			}
		}
		if flows != uint64(made) {
			t.Fatalf("%d flows given, %d counted", made, flows)
		}
		kept := d.Snapshot()
		again, err := flow.NewDirectory(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Restore(kept); err != nil {
			t.Fatalf("%v: %s", err, kept)
		}
		if !bytes.Equal(kept, again.Snapshot()) {
			t.Fatalf("kept\n%s\nand then\n%s", kept, again.Snapshot())
		}
		c = again.Collector(func(b []observe.Flow) {
			for i := range b {
				check(t, &b[i])
			}
		})
		_ = c.Ingest(other, from, now)
		c.Flush()
	})
}

// check is what must hold of each flow.
func check(t *testing.T, f *observe.Flow) {
	t.Helper()
	const hour = 3600e9
	switch {
	case f.Rate == 0, f.Exporter == 0 || f.Exporter > 4, f.Packets|f.Bytes == 0:
	case f.Last < f.First, f.Last-f.First > hour, f.Last > now+4*second, f.Last < now-hour-second:
	case f.Seen < math.MaxUint32 && f.Packets != math.MaxUint64 && f.Packets != uint64(f.Seen)*uint64(f.Rate):
	case f.Proto != 6 && f.TCPFlags != 0:
	case f.Proto != 6 && f.Proto != 17 && f.Proto != 132 && (f.SrcPort != 0 || f.DstPort != 0 && f.Proto != 1 && f.Proto != 58):
	default:
		return
	}
	t.Fatalf("%+v", *f)
}

// FuzzRestore: no bytes crash it, and what it takes it gives again.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"form":1,"next":2,"exporters":[{"number":1,"key":"192.0.2.1:0","protocol":2,"agent":"","domain":0}],"addresses":[{"key":"192.0.2.1:0","templates":[{"domain":0,"version":9,"raw":"AQAAAQAIAAQ="}],"sampling":[{"protocol":2,"agent":"","domain":0,"all":100}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := flow.NewDirectory(flow.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if d.Restore(b) != nil {
			return
		}
		c := d.Collector(func([]observe.Flow) {})
		_ = c.Ingest(v9(set(256, make([]byte, 50))), from, now)
		c.Publish(now)
		again, err := flow.NewDirectory(flow.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if kept := d.Snapshot(); again.Restore(kept) != nil {
			t.Fatalf("given but not taken: %s", kept)
		}
	})
}
