package api

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

type (
	eventsInput struct {
		CSVQuery
		Paging

		Source  string `query:"source" maxLength:"64" doc:"an address"`
		Port    string `query:"port" maxLength:"16" doc:"23, or 23/tcp, or 8.0/icmp (type.code)"`
		Kind    string `query:"kind" maxLength:"256" doc:"kinds, by commas: tcp-syn, udp, icmp-request, ..."`
		Tool    string `query:"tool" maxLength:"256" doc:"tools, by commas: mirai, zmap, masscan, ..."`
		Open    bool   `query:"open" doc:"only those that haven't timed out"`
		Scanner bool   `query:"scanner" doc:"only those that meet the definition of a scan"`
	}
	eventsBody struct {
		Panel

		Rows []Event `json:"rows" nullable:"false"`
		Next *string `json:"next" doc:"cursor of the next page; null on the last"`
	}
)

func (b *eventsBody) table() [][]string {
	rows := [][]string{join("id", "source", "own", "port", "protocol", "key", "name", "kind", "class", "first", "last", "packets",
		uniqueHeader("targets"), "coverage", "rate", "tool", "tool_versions", "country", "asn", "open", "flags")}
	for _, e := range b.Rows {
		rows = append(rows, join(e.ID, e.Source, yes(e.Own), strconv.Itoa(int(e.Port)), strconv.Itoa(int(e.Protocol)), e.Key, cell(e.Name),
			e.Kind, e.Class, instant(e.First), instant(e.Last), count(e.Packets), uniqueCells(e.Targets), figure(e.Coverage), figure(e.Rate),
			e.Tool, cell(e.ToolVersions), e.Country, count(uint64(e.ASN)), yes(e.Open), strings.Join(e.Flags, " ")))
	}
	return rows
}

// ofSubscriber is the answer to who asks for an own subscriber by address.
// Were it answered, trying the addresses of a prefix in turn would undo the mask.
func ofSubscriber() Panel {
	return none(detect.Text{
		JA: "自網の契約者のアドレスです。個別に調べるには法的な根拠（Grant）が要り、この版では与えられません。",
		EN: "This is one of your own subscribers' addresses: looking into it takes a lawful basis (a Grant), which this version can't give.",
	})
}

func (s *Server) events(ctx context.Context, in *eventsInput) (*output[*eventsBody], error) {
	b := &eventsBody{Panel: Panel{State: "ok"}, Rows: []Event{}}
	q := observe.EventQuery{Open: in.Open, Scanners: in.Scanner, Limit: in.Limit}
	var err error
	if q.Port, q.Kinds, err = parsePort(in.Port); err != nil {
		return nil, err
	}
	if in.Kind != "" {
		if q.Kinds, err = parseKinds(in.Kind); err != nil {
			return nil, err
		}
	}
	if q.Tools, err = parseTools(in.Tool); err != nil {
		return nil, err
	}
	if in.Source != "" {
		if q.Source, err = parseAddr(in.Source); err != nil {
			return nil, err
		}
		if s.own.hidden(q.Source) {
			b.Panel = ofSubscriber()
			return &output[*eventsBody]{Body: b}, nil
		}
	}
	r, at, ok, err := s.page(in.Cursor, in.SpanQuery, "events", q.Source, in.Port, in.Kind, in.Tool, in.Open, in.Scanner, in.From, in.To)
	if err != nil {
		return nil, err
	}
	if !ok {
		b.Panel = nothingYet()
		return &output[*eventsBody]{Body: b}, nil
	}
	q.Range, q.After = r, at.After
	if b.Panel, err = s.panel(ctx, r); err != nil {
		return nil, err
	}
	events, next, err := s.deps.Archive.Events(ctx, q)
	if err != nil {
		return nil, err
	}
	for i := range events {
		b.Rows = append(b.Rows, s.event(&events[i]))
	}
	if next != "" {
		at.After = next
		b.Next = s.seal.cursor(at)
	}
	b.zeroIf(len(b.Rows) == 0)
	return &output[*eventsBody]{Link: link(ctx, b.Next), Body: b}, nil
}

func (s *Server) event(e *observe.Event) Event {
	key := uint32(e.Proto)<<16 | uint32(e.Port)
	out := Event{
		ID: strconv.FormatUint(e.ID, 10), Source: s.own.Addr(e.Source), Own: s.own.hidden(e.Source),
		Port: e.Port, Protocol: e.Proto, Key: portKey(key), First: e.First, Last: e.Last, Packets: e.Packets,
		Targets: e.Targets, Coverage: finite(e.Coverage), Rate: finite(e.Rate), Country: e.Country, ASN: e.ASN, Open: e.Open,
		Sample: filled(e.Sample), Kind: e.Kind.String(), Class: e.Kind.Class().String(),
		Tool: e.Tool.String(), ToolVersions: e.Tool.Versions(), Flags: flagWords(e.Flags),
	}
	out.Name, _ = portName(key)
	return out
}

type (
	addressInput struct {
		IP string `path:"ip" maxLength:"64" doc:"an address"`
	}
	place struct {
		Country   string   `json:"country" doc:"empty when unknown"`
		ASN       uint32   `json:"asn" doc:"0 when unknown"`
		ASName    string   `json:"as_name"`
		Lat       *float64 `json:"lat" doc:"degrees; null when unknown"`
		Lon       *float64 `json:"lon"`
		Estimated bool     `json:"estimated" doc:"always: a place is estimated from the address"`
	}
	researcher struct {
		Name string `json:"name"`
		URL  string `json:"url"`
	}
	usedTool struct {
		Tool     string `json:"tool"`
		Versions string `json:"versions"`
	}
	addressBody struct {
		Panel

		Address  string          `json:"address" doc:"masked when own"`
		Own      bool            `json:"own"`
		Place    *place          `json:"place"`
		Research *researcher     `json:"research" doc:"a scanner that says openly who it is"`
		First    *time.Time      `json:"first"`
		Last     *time.Time      `json:"last"`
		Packets  uint64          `json:"packets"`
		Ports    []Row           `json:"ports" nullable:"false"`
		Tools    []usedTool      `json:"tools" nullable:"false"`
		Events   []Event         `json:"events" nullable:"false"`
		Findings []Found         `json:"findings" nullable:"false"`
		Series   []observe.Point `json:"series" nullable:"false" doc:"by hour"`
	}
)

func (s *Server) address(ctx context.Context, in *addressInput) (*output[*addressBody], error) {
	a, err := parseAddr(in.IP)
	if err != nil {
		return nil, err
	}
	b := &addressBody{
		Panel: Panel{State: "ok"}, Address: s.own.Addr(a), Own: s.own.hidden(a),
		Ports: []Row{}, Tools: []usedTool{}, Events: []Event{}, Findings: []Found{}, Series: []observe.Point{},
	}
	if b.Own {
		b.Panel = ofSubscriber()
		return &output[*addressBody]{Body: b}, nil
	}
	b.Place = s.place(a)
	if s.deps.Research != nil {
		if name, url, ok := s.deps.Research.Who(a); ok {
			b.Research = &researcher{name, url}
		}
	}
	seen, err := s.deps.Archive.Address(ctx, a)
	if err != nil {
		return nil, err
	}
	if seen != nil {
		s.fillAddress(b, seen)
	}
	if s.deps.Findings != nil {
		found, _, err := s.deps.Findings.List(ctx, FindingQuery{Subject: a.String(), Limit: addressEvents})
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			b.Findings = append(b.Findings, s.shown(f))
		}
	}
	if _, have := s.deps.Inputs.DataTime(); !have {
		b.Panel = nothingYet()
	}
	b.zeroIf(b.Packets == 0)
	return &output[*addressBody]{Body: b}, nil
}

func (s *Server) fillAddress(b *addressBody, seen *observe.Address) {
	first, last := seen.First.UTC(), seen.Last.UTC()
	b.First, b.Last, b.Packets = &first, &last, seen.Packets
	for _, p := range seen.Ports {
		b.Ports = append(b.Ports, s.row(observe.ByPort, p, seen.Packets))
	}
	for i := range seen.Events {
		e := &seen.Events[i]
		if t := (usedTool{e.Tool.String(), e.Tool.Versions()}); e.Tool != observe.Unknown && !slices.Contains(b.Tools, t) {
			b.Tools = append(b.Tools, t)
		}
		if len(b.Events) < addressEvents {
			b.Events = append(b.Events, s.event(e))
		}
	}
	b.Series = filled(seen.Series)
}

func (s *Server) place(a netip.Addr) *place {
	if s.deps.Geo == nil {
		return nil
	}
	country, asn, lat, lon, located := s.deps.Geo.Place(a)
	if country == "" && asn == 0 && !located {
		return nil
	}
	p := &place{Country: country, ASN: asn, Estimated: true}
	if asn != 0 {
		p.ASName = s.deps.Geo.ASName(asn)
	}
	if located {
		y, x := round2(lat), round2(lon)
		p.Lat, p.Lon = &y, &x
	}
	return p
}
