package api

import (
	"context"
	"math"
	"net/url"
	"strconv"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// panel says whether anybody looked in r, and whether what they saw is fresh.
func (s *Server) panel(ctx context.Context, r observe.Range) (Panel, error) {
	first, last, looked, err := s.deps.Archive.Covered(ctx, r)
	if err != nil {
		return Panel{}, err
	}
	switch {
	case looked:
		return s.freshness(r), nil
	case last.IsZero():
		return nothingYet(), nil
	}
	a, b := first.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339)
	return none(detect.Textf("この期間は観測していません。データは %s から %s までです。",
		"Nobody looked in this span: there is data from %s to %s.", a, b)), nil
}

func none(reason detect.Text) Panel { return Panel{State: "none", Reason: &reason} }

func nothingYet() Panel {
	return none(detect.Text{JA: "まだ何も取り込んでいません。", EN: "Nothing has been read yet."})
}

// freshness is stale when the span reaches the end of the data and every input
// that should go on has fallen silent.
func (s *Server) freshness(r observe.Range) Panel {
	end, ok := s.deps.Inputs.DataTime()
	if !ok || r.To.Before(end.Truncate(time.Minute)) {
		return Panel{State: "ok"}
	}
	silent := ""
	for _, in := range s.deps.Inputs.Inputs() {
		if in.Kind == "file" {
			continue
		}
		if in.State != "stale" && in.State != "failed" {
			return Panel{State: "ok"}
		}
		silent = in.Name
	}
	if silent == "" {
		return Panel{State: "ok"}
	}
	reason := detect.Textf("入力「%s」から新しいパケットが届いていません。", "No new packets come from the input %s.", silent)
	end = end.UTC()
	return Panel{State: "stale", Reason: &reason, AsOf: &end}
}

// zeroIf turns ok into zero when nothing came.
func (p *Panel) zeroIf(nothing bool) {
	if nothing && p.State == "ok" {
		p.State = "zero"
	}
}

type (
	seriesInput struct {
		CSVQuery

		Dim      string `query:"dim" enum:"total,class,protocol,port,country,as" default:"total"`
		Key      string `query:"key" maxLength:"64" doc:"see Row.key; nothing for dim=total"`
		Grain    string `query:"grain" enum:"auto,minute,hour,day" default:"auto"`
		Previous bool   `query:"previous" doc:"the span of equal length before, too"`
	}
	seriesBody struct {
		Panel

		Grain         string          `json:"grain" enum:"minute,hour,day"`
		Dim           string          `json:"dim"`
		Key           string          `json:"key"`
		Name          string          `json:"name"`
		NameJA        string          `json:"name_ja"`
		From          time.Time       `json:"from"`
		To            time.Time       `json:"to"`
		Points        []observe.Point `json:"points" nullable:"false" doc:"a missing point: nobody looked; a zero: nothing came"`
		Previous      []observe.Point `json:"previous" doc:"null unless asked for"`
		Gaps          []observe.Gap   `json:"gaps" nullable:"false"`
		DarkAddresses uint64          `json:"dark_addresses" doc:"IPv4, to normalise by"`
	}
)

func (b *seriesBody) table() [][]string {
	rows := [][]string{join("time", "packets", uniqueHeader("sources"), uniqueHeader("targets"))}
	for _, p := range b.Points {
		rows = append(rows, join(instant(p.Time), count(p.Packets), uniqueCells(p.Sources), uniqueCells(p.Targets)))
	}
	return rows
}

func (s *Server) series(ctx context.Context, in *seriesInput) (*output[*seriesBody], error) {
	dim, err := observe.ParseDim(in.Dim)
	if err != nil {
		return nil, fail("filter_invalid", in.Dim, "dim", "port")
	}
	key, err := parseKey(dim, in.Key)
	if err != nil {
		return nil, err
	}
	b := &seriesBody{Dim: in.Dim, Key: keyText(dim, key), Points: []observe.Point{}, Gaps: []observe.Gap{}, Grain: observe.Hour.String()}
	b.Name, b.NameJA = s.name(dim, key)
	b.DarkAddresses = s.facts().Dark.V4Addresses
	r, ok, err := s.span(in.SpanQuery)
	if err != nil {
		return nil, err
	}
	if !ok {
		b.Panel = nothingYet()
		return &output[*seriesBody]{Body: b}, nil
	}
	g, err := grainFor(in.Grain, r)
	if err != nil {
		return nil, err
	}
	b.Grain, b.From, b.To = g.String(), r.From, r.To
	if b.Panel, err = s.panel(ctx, r); err != nil {
		return nil, err
	}
	if b.Points, err = s.deps.Archive.Series(ctx, dim, key, r, g); err != nil {
		return nil, err
	}
	if in.Previous {
		if b.Previous, err = s.deps.Archive.Series(ctx, dim, key, before(r), g); err != nil {
			return nil, err
		}
		b.Previous = filled(b.Previous)
	}
	if b.Gaps, err = s.deps.Archive.Gaps(ctx, r); err != nil {
		return nil, err
	}
	b.Points, b.Gaps = filled(b.Points), filled(b.Gaps)
	b.zeroIf(sumPackets(b.Points) == 0)
	return &output[*seriesBody]{Body: b}, nil
}

// finite makes a number that JSON can hold: a score against a past of nothing
// may be infinite.
func finite(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return max(-math.MaxFloat64, min(f, math.MaxFloat64))
}

// filled is never nil, so that JSON has [] and not null.
func filled[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func sumPackets(points []observe.Point) (n uint64) {
	for _, p := range points {
		n += p.Packets
	}
	return n
}

type (
	topInput struct {
		CSVQuery
		Paging

		Dim   string `query:"dim" enum:"port,country,as,protocol,class" default:"port"`
		Order string `query:"order" enum:"packets,sources" default:"packets"`
	}
	topBody struct {
		Panel

		From  time.Time `json:"from"`
		To    time.Time `json:"to"`
		Total Sum       `json:"total"`
		Rows  []Row     `json:"rows" nullable:"false"`
		Next  *string   `json:"next" doc:"cursor of the next page; null on the last"`
	}
)

func (b *topBody) table() [][]string {
	rows := [][]string{join("key", "name", "name_ja", "packets", "share", uniqueHeader("sources"), uniqueHeader("targets"), "before", "change")}
	for _, r := range b.Rows {
		was := ""
		if r.Before != nil {
			was = count(*r.Before)
		}
		rows = append(rows, join(r.Key, cell(r.Name), cell(r.NameJA), count(r.Packets), figure(r.Share),
			uniqueCells(r.Sources), uniqueCells(r.Targets), was, figureOrEmpty(r.Change)))
	}
	return rows
}

func (s *Server) top(ctx context.Context, in *topInput) (*output[*topBody], error) {
	dim, err := observe.ParseDim(in.Dim)
	if err != nil {
		return nil, fail("filter_invalid", in.Dim, "dim", "port")
	}
	b := &topBody{Rows: []Row{}}
	r, at, ok, err := s.page(in.Cursor, in.SpanQuery, "top", in.Dim, in.Order, in.From, in.To)
	if err != nil {
		return nil, err
	}
	if !ok {
		b.Panel = nothingYet()
		return &output[*topBody]{Body: b}, nil
	}
	b.From, b.To = r.From, r.To
	if b.Panel, err = s.panel(ctx, r); err != nil {
		return nil, err
	}
	total, err := s.deps.Archive.Total(ctx, r)
	if err != nil {
		return nil, err
	}
	b.Total = Sum{total.Packets, total.Sources, total.Targets}
	// One more than asked for tells whether there is another page.
	rows, err := s.deps.Archive.Top(ctx, dim, r, in.Order, in.Limit+1, at.Offset)
	if err != nil {
		return nil, err
	}
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		at.Offset += in.Limit
		b.Next = s.seal.cursor(at)
	}
	for _, row := range rows {
		b.Rows = append(b.Rows, s.row(dim, row, total.Packets))
	}
	b.zeroIf(total.Packets == 0)
	return &output[*topBody]{Link: link(ctx, b.Next), Body: b}, nil
}

func (s *Server) row(dim observe.Dim, in observe.Row, total uint64) Row {
	out := Row{Key: keyText(dim, in.Key), Packets: in.Packets, Sources: in.Sources, Targets: in.Targets, Before: in.Before}
	out.Name, out.NameJA = s.name(dim, in.Key)
	if total > 0 {
		out.Share = float64(in.Packets) / float64(total)
	}
	if in.Before != nil && *in.Before > 0 {
		change := (float64(in.Packets) - float64(*in.Before)) / float64(*in.Before)
		out.Change = &change
	}
	return out
}

// page reads where a list goes on: at the cursor, with the span of the first
// page, or at the beginning of the span asked for.
func (s *Server) page(text string, q SpanQuery, query ...any) (r observe.Range, at cursor, ok bool, err error) {
	id := queryDigest(query...)
	if text != "" {
		if at, err = s.seal.openCursor(text, id); err != nil {
			return r, at, false, err
		}
		return at.span(), at, true, nil
	}
	if r, ok, err = s.span(q); err != nil || !ok {
		return r, at, ok, err
	}
	return r, newCursor(id, r), true, nil
}

// link is the Link header of a page that has a next one (RFC 8288).
func link(ctx context.Context, next *string) string {
	if next == nil {
		return ""
	}
	u, err := url.Parse(callOf(ctx).url)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("cursor", *next)
	u.RawQuery = q.Encode()
	return "<" + u.String() + `>; rel="next"`
}

type (
	risingInput struct {
		CSVQuery

		Limit int `query:"limit" minimum:"1" maximum:"500" default:"20"`
	}
	risingRow struct {
		Key      string         `json:"key"`
		Name     string         `json:"name"`
		NameJA   string         `json:"name_ja"`
		Packets  uint64         `json:"packets"`
		Sources  observe.Unique `json:"sources"`
		Expected float64        `json:"expected" doc:"packets, by the port's own past"`
		Score    float64        `json:"score"`
		New      bool           `json:"new" doc:"never seen before"`
	}
	risingBody struct {
		Panel

		From time.Time   `json:"from"`
		To   time.Time   `json:"to"`
		Rows []risingRow `json:"rows" nullable:"false"`
	}
)

func (b *risingBody) table() [][]string {
	rows := [][]string{join("key", "name", "name_ja", "packets", uniqueHeader("sources"), "expected", "score", "new")}
	for _, r := range b.Rows {
		rows = append(rows, join(r.Key, cell(r.Name), cell(r.NameJA), count(r.Packets), uniqueCells(r.Sources), figure(r.Expected), figure(r.Score), yes(r.New)))
	}
	return rows
}

func (s *Server) rising(ctx context.Context, in *risingInput) (*output[*risingBody], error) {
	b := &risingBody{Rows: []risingRow{}}
	if s.deps.Rising == nil {
		b.Panel = none(detect.Text{JA: "増加の検知は動いていません。", EN: "The detection of rises isn't running."})
		return &output[*risingBody]{Body: b}, nil
	}
	r, ok, err := s.span(in.SpanQuery)
	if err != nil {
		return nil, err
	}
	if !ok {
		b.Panel = nothingYet()
		return &output[*risingBody]{Body: b}, nil
	}
	b.From, b.To = r.From, r.To
	if b.Panel, err = s.panel(ctx, r); err != nil {
		return nil, err
	}
	rises, err := s.deps.Rising.Rising(ctx, r, in.Limit)
	if err != nil {
		return nil, err
	}
	for _, rise := range rises {
		row := risingRow{Key: portKey(rise.Key), Packets: rise.Packets, Sources: rise.Sources, Expected: finite(rise.Expected), Score: finite(rise.Score), New: rise.New}
		row.Name, row.NameJA = portName(rise.Key)
		b.Rows = append(b.Rows, row)
	}
	b.zeroIf(len(b.Rows) == 0)
	return &output[*risingBody]{Body: b}, nil
}

type (
	heatInput struct {
		CSVQuery

		Ports int `query:"ports" minimum:"1" maximum:"64" default:"12"`
	}
	namedKey struct {
		Key    string `json:"key"`
		Name   string `json:"name"`
		NameJA string `json:"name_ja"`
	}
	heatBody struct {
		Panel

		Hours   []time.Time `json:"hours" nullable:"false"`
		Ports   []namedKey  `json:"ports" nullable:"false"`
		Packets [][]uint64  `json:"packets" nullable:"false" doc:"a row per port, a column per hour"`
		Sources [][]uint64  `json:"sources" nullable:"false"`
	}
)

func (b *heatBody) table() [][]string {
	rows := [][]string{{"hour", "key", "name", "name_ja", "packets", "sources"}}
	for i, p := range b.Ports {
		for j, h := range b.Hours {
			rows = append(rows, []string{instant(h), p.Key, cell(p.Name), cell(p.NameJA), count(b.Packets[i][j]), count(b.Sources[i][j])})
		}
	}
	return rows
}

const heatHours = 24 * 366

func (s *Server) heat(ctx context.Context, in *heatInput) (*output[*heatBody], error) {
	b := &heatBody{Hours: []time.Time{}, Ports: []namedKey{}, Packets: [][]uint64{}, Sources: [][]uint64{}}
	r, ok, err := s.span(in.SpanQuery)
	if err != nil {
		return nil, err
	}
	if !ok {
		b.Panel = nothingYet()
		return &output[*heatBody]{Body: b}, nil
	}
	if r.To.Sub(r.From) > heatHours*time.Hour {
		return nil, fail("range_too_long", heatHours/24)
	}
	if b.Panel, err = s.panel(ctx, r); err != nil {
		return nil, err
	}
	hours, keys, packets, sources, err := s.deps.Archive.Heat(ctx, r, in.Ports)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		en, ja := portName(k)
		b.Ports = append(b.Ports, namedKey{portKey(k), en, ja})
	}
	b.Hours, b.Packets, b.Sources = filled(hours), filled(packets), filled(sources)
	b.zeroIf(len(keys) == 0)
	return &output[*heatBody]{Body: b}, nil
}

type (
	yearsInput struct {
		Format string `query:"format" enum:"json,csv"`
	}
	yearRow struct {
		Year           int      `json:"year"`
		Packets        uint64   `json:"packets"`
		IoTShare       *float64 `json:"iot_share" doc:"share of the packets sent to ports of the IoT table; null without a table or packets"`
		PerDarkAddress float64  `json:"per_dark_address" doc:"packets per dark address and year of 365 days"`
		Factor         *float64 `json:"factor" doc:"per_dark_address against the year before"`
		IoTFactor      *float64 `json:"iot_factor" doc:"the same of the packets aimed at IoT"`
		DaysCovered    float64  `json:"days_covered"`
		Partial        bool     `json:"partial" doc:"less than the whole year was observed"`
	}
	iotTable struct {
		Dated string   `json:"dated"`
		Ports []string `json:"ports" nullable:"false"`
	}
	yearsBody struct {
		Panel

		Years     []yearRow `json:"years" nullable:"false"`
		IoTTable  iotTable  `json:"iot_table"`
		Reference []RefYear `json:"reference" nullable:"false"`
	}
)

func (b *yearsBody) table() [][]string {
	rows := [][]string{{"year", "packets", "iot_share", "per_dark_address", "factor", "iot_factor", "days_covered", "partial"}}
	for _, y := range b.Years {
		rows = append(rows, []string{
			strconv.Itoa(y.Year), count(y.Packets), figureOrEmpty(y.IoTShare), figure(y.PerDarkAddress),
			figureOrEmpty(y.Factor), figureOrEmpty(y.IoTFactor), figure(y.DaysCovered), yes(y.Partial),
		})
	}
	return rows
}

func (s *Server) years(ctx context.Context, _ *yearsInput) (*output[*yearsBody], error) {
	b := &yearsBody{Panel: Panel{State: "ok"}, Years: []yearRow{}, Reference: filled(s.deps.Reference)}
	b.IoTTable = iotTable{Dated: s.deps.IoT.Dated, Ports: []string{}}
	for _, k := range s.deps.IoT.Ports {
		b.IoTTable.Ports = append(b.IoTTable.Ports, portKey(k))
	}
	years, err := s.deps.Archive.Years(ctx, s.deps.IoT.Ports)
	if err != nil {
		return nil, err
	}
	if len(years) == 0 {
		b.Panel = nothingYet()
	}
	var all uint64
	for _, y := range years {
		row := yearRow{
			Year: y.Year, Packets: y.Packets, PerDarkAddress: y.PerAddress,
			Factor: y.Factor, IoTFactor: y.IoTFactor, DaysCovered: y.DaysCovered,
		}
		if y.Packets > 0 && len(s.deps.IoT.Ports) > 0 {
			share := float64(y.IoT) / float64(y.Packets)
			row.IoTShare = &share
		}
		// A minute here and there is lost to restarts; a hundredth of a day isn't a part of a year.
		row.Partial = y.DaysCovered < float64(daysOf(y.Year))-0.01
		all += y.Packets
		b.Years = append(b.Years, row)
	}
	b.zeroIf(all == 0)
	return &output[*yearsBody]{Body: b}, nil
}

func daysOf(year int) int {
	return time.Date(year, time.December, 31, 0, 0, 0, 0, time.UTC).YearDay()
}
