package main

import (
	"context"
	"math"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// keptFlows answers each window with the same rows, moved into it.
type keptFlows struct {
	rows []observe.FlowRow
	asks []observe.FlowQuery
}

func (k *keptFlows) Search(_ context.Context, q observe.FlowQuery, _ string) (p observe.FlowPage, err error) {
	k.asks = append(k.asks, q)
	for _, w := range k.rows {
		w.Flow.Last += q.Range.From.UnixNano()
		p.Rows = append(p.Rows, w)
	}
	return p, nil
}

// TestUsualFlows: what is ordinary is drawn by packets, from before the attack alone, and
// no finer than exporters looked.
func TestUsualFlows(t *testing.T) {
	t.Parallel()
	row := func(port uint16, packets, bytes uint64, seen uint32, folded observe.Folded) observe.FlowRow {
		return observe.FlowRow{Flows: 1, Folded: folded, Flow: observe.Flow{Dst: packet.V4(0xcb007107), Proto: packet.TCP, DstPort: port, Packets: packets, Bytes: bytes, Seen: seen}}
	}
	at := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	o := detect.Object{Kind: detect.AddressObject, Prefix: netip.MustParsePrefix("203.0.113.7/32")}
	k := &keptFlows{rows: []observe.FlowRow{row(443, 3000, 3000*700, 30, 0), row(80, 1000, 1000*100, 10, 0)}}
	list, err := (&usualFlows{kept: k}).Ordinary(t.Context(), o, at, 2000)
	if err != nil || len(list) != 8*40 || len(k.asks) != 8 || k.asks[0].Range.To != at || k.asks[0].Before != at {
		t.Fatalf("%d samples of %d questions, %v", len(list), len(k.asks), err)
	}
	var web, all float64
	for _, s := range list {
		if all += s.Packets; s.DstPort == 443 {
			web += s.Packets
		}
		if s.Single || math.Abs(s.Bytes/s.Packets-float64(s.Length)) > 1e-6 {
			t.Fatalf("%+v", s)
		}
	}
	if web/all != 0.75 || math.Abs(all-8*4000) > 1e-6 {
		t.Errorf("%g of %g packets", web, all)
	}
	if list, err := (&usualFlows{kept: k}).Ordinary(t.Context(), o, at, 100); err != nil || len(list) != 100 {
		t.Errorf("%d samples, %v", len(list), err)
	}
	k.rows = append(k.rows, row(0, 2000, 2000, 20, 1))
	if list, err := (&usualFlows{kept: k}).Ordinary(t.Context(), o, at, 100); err != nil || list != nil {
		t.Errorf("a third isn't known, and there are %d samples, %v", len(list), err)
	}
	k.rows = k.rows[:1]
	k.rows[0].Flow.Last = int64(usualWindow)
	if list, err := (&usualFlows{kept: k}).Ordinary(t.Context(), o, at, 100); err != nil || len(list) != 100 || list[0].Packets != 7*3000/100.0 {
		t.Errorf("what ends with the attack counts: %d samples, %v", len(list), err)
	}
	if list, err := (&usualFlows{kept: k}).Ordinary(t.Context(), detect.Object{Kind: detect.LinkObject, Name: "x"}, at, 100); err != nil || list != nil {
		t.Errorf("of a link %d samples, %v", len(list), err)
	}
}
