package api

import (
	"context"
	"slices"
	"strconv"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// Flows answers questions about the flows that were kept.
type Flows interface {
	Data(ctx context.Context) (observe.Range, error) // from which there is anything; zero: nothing
	Top(ctx context.Context, by observe.FlowBy, q observe.FlowQuery) (observe.FlowTop, error)
	Series(ctx context.Context, by observe.FlowBy, q observe.FlowQuery, step time.Duration) (observe.FlowSeries, error)
	Talkers(ctx context.Context, q observe.FlowQuery) (observe.FlowTalkers, error)
	Search(ctx context.Context, q observe.FlowQuery, after string) (observe.FlowPage, error)
}

type (
	// FlowSum is how much some flows are.
	FlowSum struct {
		Packets detect.Measure `json:"packets" doc:"scaled by sampling, ± 95 %"`
		Bytes   detect.Measure `json:"bytes"`
		Flows   uint64         `json:"flows" doc:"that ended; of samples it isn't known of how many they are"`
		Samples bool           `json:"samples" doc:"some came as samples of packets, so flows is too small"`
	}
	// flowShare is a part of the total.
	flowShare struct {
		Packets uint64  `json:"packets"`
		Bytes   uint64  `json:"bytes"`
		Share   float64 `json:"share" doc:"of the total, by what the ranking is ordered by"`
	}
	flowRange struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
	}
	// FlowSpan is from what an answer is.
	FlowSpan struct {
		Panel

		Grain string     `json:"grain" enum:"raw,1m,5m,1h" doc:"how finely what this is from was kept"`
		From  time.Time  `json:"from" doc:"widened to the grain"`
		To    time.Time  `json:"to"`
		Data  *flowRange `json:"data" doc:"from which there is anything; null: nothing"`
	}
	// FlowRank is the query of a ranking.
	FlowRank struct {
		Order string `query:"order" enum:"bytes,packets,flows" default:"bytes"`
		Limit int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	}
)

func sumOf(c observe.FlowCount) FlowSum {
	return FlowSum{
		Packets: detect.Measure{N: float64(c.Packets), Error: c.PacketsError}, Bytes: detect.Measure{N: float64(c.Bytes), Error: c.BytesError},
		Flows: c.Flows, Samples: c.Samples,
	}
}

// ranked is the figure that a ranking is by.
func ranked(c observe.FlowCount, order string) float64 {
	switch order {
	case "packets":
		return float64(c.Packets)
	case "flows":
		return float64(c.Flows)
	}
	return float64(c.Bytes)
}

func shareOf(part, total observe.FlowCount, order string) float64 {
	if t := ranked(total, order); t > 0 {
		return ranked(part, order) / t
	}
	return 0
}

func partOf(part, total observe.FlowCount, order string) flowShare {
	return flowShare{part.Packets, part.Bytes, shareOf(part, total, order)}
}

// less is what c has beside a part of it.
func less(c, part observe.FlowCount) observe.FlowCount {
	return observe.FlowCount{Packets: c.Packets - part.Packets, Bytes: c.Bytes - part.Bytes, Flows: c.Flows - part.Flows}
}

func plus(c, d observe.FlowCount) observe.FlowCount {
	return observe.FlowCount{Packets: c.Packets + d.Packets, Bytes: c.Bytes + d.Bytes, Flows: c.Flows + d.Flows}
}

// take fills in from what an answer is.
func (f *FlowSpan) take(s observe.FlowSpan, nothing bool) {
	f.Grain, f.From, f.To = s.Grain.String(), s.Range.From, s.Range.To
	if !s.Data.To.IsZero() {
		f.Data = &flowRange{s.Data.From, s.Data.To}
	}
	switch {
	case f.Data == nil:
		f.Panel = nothingYet()
	case !s.Range.From.Before(s.Data.To) || !s.Data.From.Before(s.Range.To):
		f.Panel = none(detect.Textf("この期間のフローはありません。データは %s から %s までです。", "There are no flows of this span: there is data from %s to %s.",
			s.Data.From.Format(time.RFC3339), s.Data.To.Format(time.RFC3339)))
	default:
		f.Panel = Panel{State: "ok"}
		f.zeroIf(nothing)
	}
}

// flowAsk is what questions about flows begin with: ready is false where the answer is
// the panel.
func (s *Server) flowAsk(ctx context.Context, span SpanQuery, words *FlowQuery) (q observe.FlowQuery, p Panel, ready bool, err error) {
	if s.deps.Flows == nil {
		return q, p, false, fail("no_flows")
	}
	if q.FlowFilter, err = s.flowFilter(words); err != nil {
		return q, p, false, err
	}
	if s.singlesOut(&q.FlowFilter) {
		return q, ofSubscriber(), false, nil
	}
	data, err := s.deps.Flows.Data(ctx)
	if err != nil {
		return q, p, false, err
	}
	q.Range, ready, err = parseSpan(span.From, span.To, data.To.Add(-time.Nanosecond), !data.To.IsZero())
	return q, nothingYet(), ready, err
}

// flowKey writes a key, and what people call it.
func (s *Server) flowKey(by observe.FlowBy, k observe.FlowKey, d devices) (key, name string) {
	number := uint32(k.Number) //nolint:gosec // of what has 32 bits; interfaces are read below
	switch by {
	case observe.FlowBySrc, observe.FlowByDst:
		return k.Addr.String(), ""
	case observe.FlowBySrcPort, observe.FlowByDstPort:
		key = portKey(number)
		name, _ = portName(number)
		return key, name
	case observe.FlowByProto:
		return keyText(observe.ByProtocol, number), ""
	case observe.FlowBySrcAS, observe.FlowByDstAS:
		name, _ = s.name(observe.ByAS, number)
		return keyText(observe.ByAS, number), name
	case observe.FlowBySrcCountry, observe.FlowByDstCountry:
		if k.Text == "" {
			return unknownCountry, ""
		}
		return k.Text, ""
	case observe.FlowByExporter:
		return strconv.FormatUint(k.Number, 10), d.name(number)
	case observe.FlowByIn, observe.FlowByOut:
		in := observe.FlowInterface{Exporter: uint32(k.Number >> 32), Index: number}
		return interfaceKey(in), d.interfaceName(in)
	case observe.FlowByFlags:
		return flagText(packet.TCPFlags(number)), "" //nolint:gosec // eight flags
	}
	return k.Text, ""
}

type (
	flowTopInput struct {
		CSVQuery
		FlowQuery
		FlowRank

		By string `query:"by" enum:"src,dst,src_port,dst_port,proto,src_as,dst_as,src_country,dst_country,exporter,in,out,customer,flags" default:"dst"`
	}
	flowTopRow struct {
		Key  string `json:"key" doc:"an address (masked when own), 53/udp, AS64500, JP (ZZ unknown), an exporter's number, exporter/ifIndex, a customer, syn+ack"`
		Name string `json:"name"`
		FlowSum

		Share float64 `json:"share"`
	}
	flowTopBody struct {
		FlowSpan

		Rows    []flowTopRow `json:"rows" nullable:"false"`
		Other   flowShare    `json:"other" doc:"the total without the rows"`
		LeftOut flowShare    `json:"left_out" doc:"of other: small flows of which the key wasn't kept; no row lacks more than this"`
		Maybe   flowShare    `json:"maybe" doc:"beside the total: small flows of which it wasn't kept whether the filter fits"`
		Total   FlowSum      `json:"total"`
	}
)

var sumHeader = []string{"packets", "packets_error", "bytes", "bytes_error", "flows", "samples", "share"}

func (f *FlowSum) cells(share float64) []string {
	return []string{figure(f.Packets.N), figure(f.Packets.Error), figure(f.Bytes.N), figure(f.Bytes.Error), count(f.Flows), yes(f.Samples), figure(share)}
}

func (b *flowTopBody) table() [][]string {
	rows := [][]string{join("key", "name", sumHeader)}
	for i := range b.Rows {
		r := &b.Rows[i]
		rows = append(rows, join(cell(r.Key), cell(r.Name), r.cells(r.Share)))
	}
	return rows
}

func (s *Server) flowTop(ctx context.Context, in *flowTopInput) (*output[*flowTopBody], error) {
	b := &flowTopBody{Rows: []flowTopRow{}}
	q, p, ready, err := s.flowAsk(ctx, in.SpanQuery, &in.FlowQuery)
	if err != nil || !ready {
		b.Panel, b.Grain = p, observe.FlowMinute.String()
		return &output[*flowTopBody]{Body: b}, err
	}
	q.Order, q.Limit = in.Order, in.Limit
	top, err := s.deps.Flows.Top(ctx, observe.FlowBy(in.By), q)
	if err != nil {
		return nil, err
	}
	b.take(top.FlowSpan, top.Total.Packets == 0)
	d := s.devices()
	var listed observe.FlowCount
	for _, row := range top.Rows {
		r := flowTopRow{FlowSum: sumOf(row.FlowCount), Share: shareOf(row.FlowCount, top.Total, in.Order)}
		r.Key, r.Name = s.flowKey(observe.FlowBy(in.By), row.Key, d)
		listed = plus(listed, row.FlowCount)
		b.Rows = append(b.Rows, r)
	}
	b.Total = sumOf(top.Total)
	b.Other, b.LeftOut, b.Maybe = partOf(less(top.Total, listed), top.Total, in.Order), partOf(top.LeftOut, top.Total, in.Order), partOf(top.Maybe, top.Total, in.Order)
	return &output[*flowTopBody]{Body: b}, nil
}

type (
	flowSeriesInput struct {
		CSVQuery
		FlowQuery

		By    string `query:"by" enum:"none,src,dst,src_port,dst_port,proto,src_as,dst_as,src_country,dst_country,exporter,in,out,customer,flags" default:"none"`
		Top   int    `query:"top" minimum:"1" maximum:"50" default:"8" doc:"so many keys have a line of their own"`
		Order string `query:"order" enum:"bytes,packets,flows" default:"bytes"`
		Step  string `query:"step" maxLength:"12" default:"auto" doc:"auto, or seconds: 60 and more"`
	}
	flowLine struct {
		Key     string   `json:"key"`
		Name    string   `json:"name"`
		Packets []uint64 `json:"packets" nullable:"false" doc:"in each step"`
		Bytes   []uint64 `json:"bytes" nullable:"false"`
	}
	flowSeriesBody struct {
		FlowSpan

		Step   int64      `json:"step" doc:"seconds"`
		Times  []int64    `json:"times" nullable:"false" doc:"Unix seconds at which steps begin"`
		Series []flowLine `json:"series" nullable:"false"`
		Other  flowLine   `json:"other" doc:"all that is in no line; with by=none everything"`
		Error  float64    `json:"error" doc:"of the packets of all, relative, 95 %"`
	}
)

func (b *flowSeriesBody) table() [][]string {
	rows := [][]string{{"time", "key", "name", "packets", "bytes"}}
	for _, l := range append(slices.Clip(b.Series), b.Other) {
		for i, t := range b.Times {
			rows = append(rows, []string{instant(time.Unix(t, 0)), cell(l.Key), cell(l.Name), count(l.Packets[i]), count(l.Bytes[i])})
		}
	}
	return rows
}

func (s *Server) flowSeries(ctx context.Context, in *flowSeriesInput) (*output[*flowSeriesBody], error) {
	b := &flowSeriesBody{Times: []int64{}, Series: []flowLine{}, Other: flowLine{Packets: []uint64{}, Bytes: []uint64{}}}
	var step uint64
	if in.Step != "auto" {
		var err error
		if step, err = strconv.ParseUint(in.Step, 10, 31); err != nil || step < 60 {
			return nil, fail("filter_invalid", in.Step, "step", "auto, 300")
		}
	}
	q, p, ready, err := s.flowAsk(ctx, in.SpanQuery, &in.FlowQuery)
	if err != nil || !ready {
		b.Panel, b.Grain = p, observe.FlowMinute.String()
		return &output[*flowSeriesBody]{Body: b}, err
	}
	if n := int64(q.Range.To.Sub(q.Range.From)/time.Second) / max(1, int64(step)); step > 0 && n > flowPoints {
		return nil, fail("too_many_points", n, flowPoints)
	}
	by := observe.FlowBy(in.By)
	if in.By == "none" {
		by = ""
	}
	q.Order, q.Limit = in.Order, in.Top
	r, err := s.deps.Flows.Series(ctx, by, q, time.Duration(step)*time.Second)
	if err != nil {
		return nil, err
	}
	d := s.devices()
	b.Step, b.Error = int64(r.Step/time.Second), finite(r.Error)
	for _, t := range r.Times {
		b.Times = append(b.Times, t.Unix())
	}
	for _, l := range r.Rows {
		line := flowLine{Packets: filled(l.Packets), Bytes: filled(l.Bytes)}
		line.Key, line.Name = s.flowKey(by, l.Key, d)
		b.Series = append(b.Series, line)
	}
	b.Other.Packets, b.Other.Bytes = filled(r.Other.Packets), filled(r.Other.Bytes)
	some := len(b.Series) > 0
	for _, n := range b.Other.Packets {
		some = some || n > 0
	}
	b.take(r.FlowSpan, !some)
	return &output[*flowSeriesBody]{Body: b}, nil
}

// flowPoints is how many points a course has at most.
const flowPoints = 2000

type (
	flowTalkersInput struct {
		CSVQuery
		FlowQuery
		FlowRank
	}
	flowTalk struct {
		Src     string `json:"src" doc:"masked when own"`
		Dst     string `json:"dst" doc:"masked when own"`
		Proto   string `json:"proto"`
		DstPort uint16 `json:"dst_port" doc:"of ICMP type*256+code"`
		Name    string `json:"name" doc:"of the port"`
		FlowSum

		Share float64 `json:"share"`
	}
	flowTalkersBody struct {
		FlowSpan

		Rows    []flowTalk `json:"rows" nullable:"false"`
		Other   flowShare  `json:"other"`
		LeftOut flowShare  `json:"left_out" doc:"of other: small flows of which the pair wasn't kept"`
		Maybe   flowShare  `json:"maybe"`
		Total   FlowSum    `json:"total"`
	}
)

func (b *flowTalkersBody) table() [][]string {
	rows := [][]string{join("src", "dst", "proto", "dst_port", "name", sumHeader)}
	for i := range b.Rows {
		r := &b.Rows[i]
		rows = append(rows, join(r.Src, r.Dst, r.Proto, count(uint64(r.DstPort)), cell(r.Name), r.cells(r.Share)))
	}
	return rows
}

func (s *Server) flowTalkers(ctx context.Context, in *flowTalkersInput) (*output[*flowTalkersBody], error) {
	b := &flowTalkersBody{Rows: []flowTalk{}}
	q, p, ready, err := s.flowAsk(ctx, in.SpanQuery, &in.FlowQuery)
	if err != nil || !ready {
		b.Panel, b.Grain = p, observe.FlowMinute.String()
		return &output[*flowTalkersBody]{Body: b}, err
	}
	q.Order, q.Limit = in.Order, in.Limit
	t, err := s.deps.Flows.Talkers(ctx, q)
	if err != nil {
		return nil, err
	}
	b.take(t.FlowSpan, t.Total.Packets == 0)
	var listed observe.FlowCount
	for _, row := range t.Rows {
		r := flowTalk{Src: row.Src.String(), Dst: row.Dst.String(), Proto: protocolName(row.Proto), DstPort: row.DstPort, FlowSum: sumOf(row.FlowCount), Share: shareOf(row.FlowCount, t.Total, in.Order)}
		r.Name, _ = portName(uint32(row.Proto)<<16 | uint32(row.DstPort))
		listed = plus(listed, row.FlowCount)
		b.Rows = append(b.Rows, r)
	}
	b.Total = sumOf(t.Total)
	b.Other, b.LeftOut, b.Maybe = partOf(less(t.Total, listed), t.Total, in.Order), partOf(t.LeftOut, t.Total, in.Order), partOf(t.Maybe, t.Total, in.Order)
	return &output[*flowTalkersBody]{Body: b}, nil
}
