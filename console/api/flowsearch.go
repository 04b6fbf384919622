package api

import (
	"context"
	"strings"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

type (
	flowSearchInput struct {
		CSVQuery
		FlowQuery
		Paging
	}
	flowRow struct {
		At         time.Time `json:"at" doc:"of the first packet, or the beginning of the bucket"`
		Until      time.Time `json:"until" doc:"of the last packet, or the end of the bucket"`
		Exporter   uint32    `json:"exporter"`
		Name       string    `json:"exporter_name"`
		In         uint32    `json:"in" doc:"ifIndex, 0 not told"`
		InName     string    `json:"in_name"`
		Out        uint32    `json:"out"`
		OutName    string    `json:"out_name"`
		Src        string    `json:"src" doc:"masked when own; empty where the row stands for several"`
		Dst        string    `json:"dst"`
		Proto      string    `json:"proto" doc:"empty where the row stands for several"`
		SrcPort    *uint16   `json:"src_port" doc:"null where the row stands for several"`
		DstPort    *uint16   `json:"dst_port" doc:"of ICMP type*256+code"`
		Flags      string    `json:"flags" doc:"syn+ack; empty: no TCP, or not told"`
		Packets    uint64    `json:"packets" doc:"scaled by sampling"`
		Bytes      uint64    `json:"bytes"`
		Flows      uint64    `json:"flows"`
		Seen       uint32    `json:"seen" doc:"packets that were looked at"`
		Rate       uint32    `json:"rate" doc:"one packet of so many was looked at, on average"`
		Marks      []string  `json:"marks" nullable:"false" enum:"sample,fragment,inner,dropped,egress"`
		SrcAS      uint32    `json:"src_as" doc:"0 unknown"`
		DstAS      uint32    `json:"dst_as"`
		SrcCountry string    `json:"src_country" doc:"empty when unknown"`
		DstCountry string    `json:"dst_country"`
		Customer   string    `json:"customer"`
	}
	flowLack struct {
		Packets uint64 `json:"packets"`
		Bytes   uint64 `json:"bytes"`
	}
	flowSearchBody struct {
		FlowSpan

		Rows  []flowRow `json:"rows" nullable:"false"`
		Lacks flowLack  `json:"lacks" doc:"what any of the rows may lack at most: it was among the smallest for a part of its bucket"`
		Next  *string   `json:"next" doc:"cursor of the next page; null on the last"`
	}
)

func (b *flowSearchBody) table() [][]string {
	rows := [][]string{{
		"at", "until", "exporter", "exporter_name", "in", "in_name", "out", "out_name", "src", "dst", "proto", "src_port", "dst_port", "flags", "packets", "bytes", "flows",
		"seen", "rate", "marks", "src_as", "dst_as", "src_country", "dst_country", "customer",
	}}
	port := func(p *uint16) string {
		if p == nil {
			return ""
		}
		return count(uint64(*p))
	}
	for i := range b.Rows {
		r := &b.Rows[i]
		rows = append(rows, []string{
			instant(r.At), instant(r.Until), count(uint64(r.Exporter)), cell(r.Name), count(uint64(r.In)), cell(r.InName), count(uint64(r.Out)), cell(r.OutName),
			r.Src, r.Dst, r.Proto, port(r.SrcPort), port(r.DstPort), r.Flags, count(r.Packets), count(r.Bytes), count(r.Flows), count(uint64(r.Seen)), count(uint64(r.Rate)),
			strings.Join(r.Marks, " "), count(uint64(r.SrcAS)), count(uint64(r.DstAS)), r.SrcCountry, r.DstCountry, cell(r.Customer),
		})
	}
	return rows
}

func (s *Server) flowSearch(ctx context.Context, in *flowSearchInput) (*output[*flowSearchBody], error) {
	b := &flowSearchBody{Rows: []flowRow{}}
	q, p, ready, err := s.flowAsk(ctx, in.SpanQuery, &in.FlowQuery)
	if err != nil || !ready {
		b.Panel, b.Grain = p, observe.FlowMinute.String()
		return &output[*flowSearchBody]{Body: b}, err
	}
	id := queryDigest(append(in.FlowQuery.parts(), "flows", in.From, in.To)...)
	at := newCursor(id, q.Range)
	if in.Cursor != "" {
		if at, err = s.seal.openCursor(in.Cursor, id); err != nil {
			return nil, err
		}
		q.Range = at.span()
	}
	q.Limit = in.Limit
	page, err := s.deps.Flows.Search(ctx, q, at.After)
	if err != nil {
		return nil, err
	}
	b.take(page.FlowSpan, len(page.Rows) == 0 && in.Cursor == "")
	b.Lacks = flowLack(page.Lacks)
	d := s.devices()
	for i := range page.Rows {
		b.Rows = append(b.Rows, flowRowOf(&page.Rows[i], d))
	}
	if page.Next != "" {
		at.After = page.Next
		b.Next = s.seal.cursor(at)
	}
	return &output[*flowSearchBody]{Link: link(ctx, b.Next), Body: b}, nil
}

func flowRowOf(w *observe.FlowRow, d devices) flowRow {
	f := &w.Flow
	r := flowRow{
		At: w.At, Until: time.Unix(0, f.Last).UTC(), Exporter: f.Exporter, Name: d.name(f.Exporter), In: f.In, Out: f.Out, Packets: f.Packets, Bytes: f.Bytes, Flows: w.Flows,
		Seen: f.Seen, Rate: f.Rate, Marks: []string{}, SrcAS: w.SrcPlace.AS, DstAS: w.DstPlace.AS, SrcCountry: w.SrcPlace.Country, DstCountry: w.DstPlace.Country, Customer: w.Customer,
	}
	has := func(what observe.Folded) bool { return w.Folded&what == 0 }
	if has(observe.FoldedRest) {
		r.Proto = protocolName(f.Proto)
		r.InName, r.OutName = d.interfaceName(observe.FlowInterface{Exporter: f.Exporter, Index: f.In}), d.interfaceName(observe.FlowInterface{Exporter: f.Exporter, Index: f.Out})
	}
	if has(observe.FoldedSrc) {
		r.Src = f.Src.String()
	}
	if has(observe.FoldedDst) {
		r.Dst = f.Dst.String()
	}
	if has(observe.FoldedSrcPort) {
		r.SrcPort = &f.SrcPort
	}
	if has(observe.FoldedDstPort) {
		r.DstPort = &f.DstPort
	}
	if w.Folded == 0 && f.Proto == packet.TCP && f.Marks&observe.FlowNoFlags == 0 {
		r.Flags = flagText(f.TCPFlags)
	}
	for _, m := range []struct {
		mark observe.FlowMarks
		word string
	}{{observe.FlowSample, "sample"}, {observe.FlowFragment, "fragment"}, {observe.FlowInner, "inner"}, {observe.FlowDropped, "dropped"}, {observe.FlowEgress, "egress"}} {
		if f.Marks&m.mark != 0 {
			r.Marks = append(r.Marks, m.word)
		}
	}
	return r
}
