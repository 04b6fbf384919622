package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// Incidents are what happened to routes. Methods return ErrNotFound for what isn't there.
type Incidents interface {
	// Incidents lists the newest version of each, open first, then by when it was opened;
	// running counts those that last, whatever else is asked.
	Incidents(ctx context.Context, q IncidentQuery) (list []IncidentRow, running int, next string, err error)
	Incident(ctx context.Context, id string) (IncidentWhole, error)
	Course(ctx context.Context, id string, r observe.Range, step int) ([]detect.RoutePoint, error)
	// Lanes are the usual ways and those at a time; zero: as the incident stands.
	Lanes(ctx context.Context, id string, at time.Time) ([]detect.Lane, error)
	// Impact is what became of the traffic.
	Impact(ctx context.Context, id string) (IncidentImpact, error)
}

// IncidentQuery selects incidents; zero fields select everything.
type IncidentQuery struct {
	Open  *bool
	Kind  detect.IncidentKind
	Own   bool
	Text  string // "AS701", a prefix or address, or a part of a customer's name
	Range observe.Range
	Limit int // 1..500
	After string
}

// IncidentRow is an incident in a list.
type IncidentRow struct {
	ID           string              `json:"id"`
	State        detect.State        `json:"state" enum:"opened,changed,closed"`
	Kind         detect.IncidentKind `json:"kind" enum:"leak,hijack,outage,blackhole,bogon"`
	Form         string              `json:"form" doc:"exact, more-specific, squatting, first-hop; of a leak the type of RFC 7908; empty: can't be told"`
	Also         []string            `json:"also" nullable:"false"`
	Opened       time.Time           `json:"opened"`
	Detected     time.Time           `json:"detected" doc:"detected − opened is the delay"`
	Changed      time.Time           `json:"changed"`
	Last         time.Time           `json:"last" doc:"of the last update that belongs to it"`
	Closed       *time.Time          `json:"closed" doc:"null: it lasts"`
	Restored     bool                `json:"restored" doc:"closed because the routes are gone"`
	Waves        int                 `json:"waves"`
	Severity     detect.Severity     `json:"severity" minimum:"1" maximum:"3"`
	Confidence   float64             `json:"confidence"`
	Title        detect.Text         `json:"title"`
	Why          detect.Text         `json:"why"`
	Signals      []detect.Signal     `json:"signals" nullable:"false"`
	Leaker       uint32              `json:"leaker" doc:"0: can't be told"`
	LeakerName   string              `json:"leaker_name"`
	From         uint32              `json:"from" doc:"from whom it had the routes; 0: several, or they are its own"`
	FromName     string              `json:"from_name"`
	To           uint32              `json:"to" doc:"0: several"`
	ToName       string              `json:"to_name"`
	Adjacency    string              `json:"adjacency" doc:"to-leaker as paths show it; empty: there is no single one"`
	Origins      []uint32            `json:"origins" nullable:"false"`
	Expected     []uint32            `json:"expected" nullable:"false"`
	Prefixes     detect.Counted      `json:"prefixes"`
	Now          int                 `json:"now" doc:"still routed so"`
	Peak         int                 `json:"peak"`
	MoreSpecific int                 `json:"more_specific"`
	Addresses    float64             `json:"addresses" doc:"IPv4 addresses, each once"`
	Networks64   float64             `json:"networks64" doc:"IPv6 /64 networks"`
	Own          []detect.OwnSpace   `json:"own" nullable:"false"`
	Seen         int                 `json:"seen" doc:"peers that see it"`
	Whole        int                 `json:"whole" doc:"peers that could"`
	Ack          *Ack                `json:"ack"`
	Remedies     int                 `json:"remedies" doc:"acts that were proposed"`
	Remedy       *MitigationBrief    `json:"remedy" doc:"the act that came furthest; null: none"`
}

func (r IncidentRow) filled() IncidentRow {
	r.Also, r.Signals, r.Origins, r.Expected, r.Own = filled(r.Also), filled(r.Signals), filled(r.Origins), filled(r.Expected), filled(r.Own)
	return r
}

// IncidentMessage is a message as it came, and in words.
type IncidentMessage struct {
	detect.RouteMessage

	Text []string `json:"text" nullable:"false" doc:"a line for each element, as bgpdump -m writes them"`
}

// IncidentWhole is an incident with all that belongs to it.
type IncidentWhole struct {
	IncidentRow

	Sample   []detect.HitPrefix    `json:"sample" nullable:"false"`
	Whose    []detect.Share        `json:"whose" nullable:"false" doc:"origins by prefixes; packets is their number"`
	Peers    []detect.PeerSight    `json:"peers" nullable:"false"`
	Lanes    []detect.Lane         `json:"lanes" nullable:"false"`
	Evidence []IncidentMessage     `json:"evidence" nullable:"false"`
	History  []detect.IncidentStep `json:"history" nullable:"false"`
	Names    map[string]string     `json:"names" doc:"of AS numbers, where known"`
}

// IncidentImpact is what became of the traffic: by flows, else by addresses.
type IncidentImpact struct {
	Known      bool             `json:"known" doc:"flows tell; false: addresses alone are counted"`
	Why        detect.Text      `json:"why"`
	From       *time.Time       `json:"from"`
	To         *time.Time       `json:"to"`
	Customers  []ImpactCustomer `json:"customers" nullable:"false"`
	Links      []ImpactLink     `json:"links" nullable:"false"`
	Addresses  float64          `json:"addresses"`
	Networks64 float64          `json:"networks64"`
}

// ImpactCustomer is how much came for somebody before and during an incident.
type ImpactCustomer struct {
	Name   string         `json:"name"`
	Prefix string         `json:"prefix"`
	Before detect.Measure `json:"before" doc:"bits a second"`
	During detect.Measure `json:"during"`
	Change *float64       `json:"change" doc:"share: -0.8 is 80 % less; null: there was nothing before"`
}

// ImpactLink is how a link fared.
type ImpactLink struct {
	Exporter  uint32         `json:"exporter"`
	Interface uint32         `json:"interface"`
	Name      string         `json:"name"`
	Capacity  uint64         `json:"capacity" doc:"bits a second, 0 not known"`
	Before    detect.Measure `json:"before" doc:"bits a second"`
	During    detect.Measure `json:"during"`
	Full      *float64       `json:"full" doc:"share of the capacity; null: not known"`
	Moved     bool           `json:"moved" doc:"the difference is more than chance"`
}

type (
	incidentsInput struct {
		CSVQuery
		Paging

		State string `query:"state" enum:"open,ended"`
		Kind  string `query:"kind" enum:"leak,hijack,outage,blackhole,bogon"`
		Own   bool   `query:"own" doc:"only those that hit own or customers' space"`
		Q     string `query:"q" maxLength:"128" doc:"an AS (AS701), an address, a prefix, or a part of a customer's name"`
	}
	incidentsBody struct {
		Incidents []IncidentRow `json:"incidents" nullable:"false" doc:"open first, then by when they were opened"`
		Next      *string       `json:"next" doc:"cursor of the next page; null on the last"`
		Running   int           `json:"running" doc:"incidents that last"`
		DataTime  *time.Time    `json:"data_time" doc:"of the newest route; null: none came"`
		Sources   int           `json:"sources" doc:"feeds of routes that are configured or were heard"`
	}
	incidentInput struct {
		ID string `path:"id" maxLength:"512"`
	}
	incidentBody struct {
		Incident IncidentWhole `json:"incident"`
	}
	hitsInput struct {
		CSVQuery

		ID     string `path:"id" maxLength:"512"`
		Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
		Cursor string `query:"cursor" maxLength:"2048"`
	}
	hitsBody struct {
		Rows  []detect.HitPrefix `json:"rows" nullable:"false" doc:"own ones first"`
		Next  *string            `json:"next"`
		Total uint64             `json:"total" doc:"prefixes of the incident"`
		Kept  int                `json:"kept" doc:"of them, those that are kept by name"`
	}
	routeCourseInput struct {
		CSVQuery

		ID   string `path:"id" maxLength:"512"`
		Step int    `query:"step" minimum:"10" maximum:"3600" default:"10" doc:"seconds"`
	}
	routeCourseBody struct {
		Step   int                 `json:"step"`
		Points []detect.RoutePoint `json:"points" nullable:"false"`
	}
	lanesInput struct {
		ID     string `path:"id" maxLength:"512"`
		Format string `query:"format" enum:"json,csv" doc:"as the Accept header application/json or text/csv"`
		At     string `query:"at" maxLength:"40" doc:"RFC 3339; empty: as the incident stands"`
	}
	lanesBody struct {
		At    *time.Time    `json:"at"`
		Lanes []detect.Lane `json:"lanes" nullable:"false"`
	}
	impactBody struct{ IncidentImpact }
)

// registerRoutes lists the routes of the API that speak of routes.
func (s *Server) registerRoutes(v1 string) {
	get, post := http.MethodGet, http.MethodPost
	v1 += "/routes"
	add(s, get, v1+"/incidents", "incidents", "Route incidents, open ones first", s.incidents)
	add(s, get, v1+"/incidents/{id}", "incident", "One incident with all that belongs to it", s.incident)
	add(s, get, v1+"/incidents/{id}/prefixes", "incidentPrefixes", "Its prefixes, own ones first", s.incidentPrefixes)
	add(s, get, v1+"/incidents/{id}/course", "incidentCourse", "How many prefixes were routed so, over time", s.incidentCourse)
	add(s, get, v1+"/incidents/{id}/lanes", "incidentLanes", "The ways as they should be and as they were at a time", s.incidentLanes)
	add(s, get, v1+"/incidents/{id}/impact", "incidentImpact", "What became of the traffic", s.incidentImpact)
	add(s, get, v1+"/incidents/{id}/remedies", "incidentRemedies", "What can be done: whom to write to, filters, limits, own more-specifics", s.incidentRemedies)
	add(s, post, v1+"/incidents/{id}/announce", "proposeAnnouncement", "Propose to announce own more-specifics", s.proposeAnnouncement)
	addDecisions(s, v1+"/acts/{id}", "Announcement", s.remediesPort, routeActed)
	add(s, get, v1+"/watched", "watchedPrefixes", "Own prefixes and how the world sees them", s.watched)
	add(s, get, v1+"/neighbors", "routeNeighbors", "Neighbours and what they announce", s.routeNeighbors)
	add(s, get, v1+"/feeds", "routeFeeds", "Where routes come from, and how that does", s.routeFeeds)
	add(s, get, v1+"/show", "routeShow", "Who sees which way to a prefix, now or at a time", s.routeShow)
	add(s, get, v1+"/readiness", "routeReadiness", "Which share of the ways ROV, ASPA and OTC would protect", s.routeReadiness)
	add(s, post, v1+"/drill", "routeDrill", "Replay an incident against an import policy", s.routeDrill)
	add(s, get, v1+"/drill/{id}", "routeDrilled", "What it would have let in", s.routeDrilled)
}

func (b *incidentsBody) table() [][]string {
	rows := [][]string{{
		"id", "state", "kind", "form", "opened", "detected", "closed", "restored", "severity", "confidence", "title_ja", "title_en", "leaker", "leaker_name", "from", "to", "adjacency",
		"origins", "expected", "prefixes", "prefixes_error", "now", "peak", "more_specific", "addresses", "networks64", "own", "seen", "whole", "signals",
	}}
	for i := range b.Incidents {
		x := &b.Incidents[i]
		closed := ""
		if x.Closed != nil {
			closed = instant(*x.Closed)
		}
		var own, signals []string
		for _, o := range x.Own {
			own = append(own, o.Prefix.String())
		}
		for _, g := range x.Signals {
			signals = append(signals, g.Name+"="+figure(g.Score))
		}
		rows = append(rows, []string{
			x.ID, string(x.State), string(x.Kind), x.Form, instant(x.Opened), instant(x.Detected), closed, strconv.FormatBool(x.Restored), strconv.Itoa(int(x.Severity)), figure(x.Confidence),
			cell(x.Title.JA), cell(x.Title.EN), number(x.Leaker), cell(x.LeakerName), number(x.From), number(x.To), x.Adjacency, numbers(x.Origins), numbers(x.Expected),
			count(x.Prefixes.N), figure(x.Prefixes.Error), strconv.Itoa(x.Now), strconv.Itoa(x.Peak), strconv.Itoa(x.MoreSpecific), figure(x.Addresses), figure(x.Networks64),
			strings.Join(own, " "), strconv.Itoa(x.Seen), strconv.Itoa(x.Whole), strings.Join(signals, " "),
		})
	}
	return rows
}

// number is an AS number as a cell, empty where there is none.
func number(as uint32) string {
	if as == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(as), 10)
}

func numbers(list []uint32) string {
	words := make([]string, len(list))
	for i, as := range list {
		words[i] = number(as)
	}
	return strings.Join(words, " ")
}

func (b *hitsBody) table() [][]string {
	rows := [][]string{{"prefix", "origin", "expected", "cover", "rov", "first", "gone", "own"}}
	for i := range b.Rows {
		h := &b.Rows[i]
		cover, gone := "", ""
		if h.Cover.IsValid() {
			cover = h.Cover.String()
		}
		if !h.Gone.IsZero() {
			gone = instant(h.Gone)
		}
		rows = append(rows, []string{h.Prefix.String(), number(h.Origin), numbers(h.Expected), cover, h.ROV, instant(h.First), gone, strconv.FormatBool(h.Own)})
	}
	return rows
}

func (b *routeCourseBody) table() [][]string {
	rows := [][]string{{"at", "prefixes", "announced", "withdrawn", "peers"}}
	for _, p := range b.Points {
		rows = append(rows, []string{instant(time.Unix(p.At, 0).UTC()), strconv.Itoa(p.Prefixes), strconv.Itoa(p.Announced), strconv.Itoa(p.Withdrawn), strconv.Itoa(p.Peers)})
	}
	return rows
}

func (b *lanesBody) table() [][]string {
	rows := [][]string{{"prefix", "cover", "peer", "usual", "is", "routes", "first", "last"}}
	for i := range b.Lanes {
		l := &b.Lanes[i]
		cover, last := "", ""
		if l.Cover.IsValid() {
			cover = l.Cover.String()
		}
		if !l.Last.IsZero() {
			last = instant(l.Last)
		}
		rows = append(rows, []string{l.Prefix.String(), cover, number(l.Peer), numbers(l.Usual), numbers(l.Is), strconv.Itoa(l.Routes), instant(l.First), last})
	}
	return rows
}

// routing is the port, or why there is none.
func (s *Server) routing() (Incidents, error) {
	if s.deps.Incidents == nil {
		return nil, fail("no_routes")
	}
	return s.deps.Incidents, nil
}

func (s *Server) incidents(ctx context.Context, in *incidentsInput) (*output[*incidentsBody], error) {
	d, err := s.routing()
	if err != nil {
		return nil, err
	}
	b := &incidentsBody{Incidents: []IncidentRow{}}
	q := IncidentQuery{Kind: detect.IncidentKind(in.Kind), Own: in.Own, Text: strings.TrimSpace(in.Q), Limit: in.Limit}
	if in.State != "" {
		open := in.State == "open"
		q.Open = &open
	}
	id := queryDigest("incidents", in.State, in.Kind, strconv.FormatBool(in.Own), in.Q, in.From, in.To)
	at, err := s.placed(in.Cursor, in.SpanQuery, id)
	if err != nil {
		return nil, err
	}
	q.Range, q.After = at.span(), at.After
	list, running, next, err := d.Incidents(ctx, q)
	if err != nil {
		return nil, err
	}
	b.Running = running
	for i := range list {
		b.Incidents = append(b.Incidents, list[i].filled())
	}
	if next != "" {
		at.After = next
		b.Next = s.seal.cursor(at)
	}
	if s.deps.Routes != nil {
		b.DataTime, b.Sources = s.deps.Routes.Newest()
	}
	return &output[*incidentsBody]{Link: link(ctx, b.Next), Body: b}, nil
}

func (s *Server) incident(ctx context.Context, in *incidentInput) (*output[incidentBody], error) {
	d, err := s.routing()
	if err != nil {
		return nil, err
	}
	w, err := d.Incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	w.IncidentRow = w.IncidentRow.filled()
	w.Sample, w.Whose, w.Peers, w.Lanes, w.Evidence, w.History = filled(w.Sample), filled(w.Whose), filled(w.Peers), filledLanes(w.Lanes), filled(w.Evidence), filled(w.History)
	for i := range w.Evidence {
		w.Evidence[i].Text = filled(w.Evidence[i].Text)
	}
	if w.Names == nil {
		w.Names = map[string]string{}
	}
	return &output[incidentBody]{Body: incidentBody{w}}, nil
}

func filledLanes(list []detect.Lane) []detect.Lane {
	list = filled(list)
	for i := range list {
		list[i].Usual, list[i].Is = filled(list[i].Usual), filled(list[i].Is)
	}
	return list
}

func (s *Server) incidentPrefixes(ctx context.Context, in *hitsInput) (*output[*hitsBody], error) {
	d, err := s.routing()
	if err != nil {
		return nil, err
	}
	at := newCursor(queryDigest("incident-prefixes", in.ID), observe.Range{})
	begin := 0
	if in.Cursor != "" {
		if at, err = s.seal.openCursor(in.Cursor, at.Query); err != nil {
			return nil, err
		}
		if begin, err = strconv.Atoi(at.After); err != nil {
			return nil, fmt.Errorf("cursor: %w", err)
		}
	}
	w, err := d.Incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	begin = min(begin, len(w.Sample))
	end := min(begin+in.Limit, len(w.Sample))
	b := &hitsBody{Rows: filled(w.Sample[begin:end]), Total: w.Prefixes.N, Kept: len(w.Sample)}
	if end < len(w.Sample) {
		at.After = strconv.Itoa(end)
		b.Next = s.seal.cursor(at)
	}
	return &output[*hitsBody]{Link: link(ctx, b.Next), Body: b}, nil
}

func (s *Server) incidentCourse(ctx context.Context, in *routeCourseInput) (*output[*routeCourseBody], error) {
	d, err := s.routing()
	if err != nil {
		return nil, err
	}
	var r observe.Range
	if in.From != "" || in.To != "" {
		if r, _, err = s.span(in.SpanQuery); err != nil {
			return nil, err
		}
	}
	step := max(in.Step, detect.RouteStep)
	points, err := d.Course(ctx, in.ID, r, step)
	if err != nil {
		return nil, err
	}
	return &output[*routeCourseBody]{Body: &routeCourseBody{step, filled(points)}}, nil
}

// instantOf reads a time of a query; empty is zero.
func instantOf(w string) (time.Time, error) {
	if w == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, w)
	if err != nil {
		return t, fail("range_invalid")
	}
	return t.UTC(), nil
}

func (s *Server) incidentLanes(ctx context.Context, in *lanesInput) (*output[*lanesBody], error) {
	d, err := s.routing()
	if err != nil {
		return nil, err
	}
	at, err := instantOf(in.At)
	if err != nil {
		return nil, err
	}
	lanes, err := d.Lanes(ctx, in.ID, at)
	if err != nil {
		return nil, err
	}
	b := &lanesBody{Lanes: filledLanes(lanes)}
	if !at.IsZero() {
		b.At = &at
	}
	return &output[*lanesBody]{Body: b}, nil
}

func (s *Server) incidentImpact(ctx context.Context, in *incidentInput) (*output[impactBody], error) {
	d, err := s.routing()
	if err != nil {
		return nil, err
	}
	i, err := d.Impact(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	i.Customers, i.Links = filled(i.Customers), filled(i.Links)
	return &output[impactBody]{Body: impactBody{i}}, nil
}
