package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// Attacks are the floods that flows show. Methods return ErrNotFound for what isn't
// there, and a Refusal for what can't be done.
type Attacks interface {
	// Attacks lists the newest version of each, under way first, then by when it was
	// opened; running counts those under way, whatever else is asked.
	Attacks(ctx context.Context, q AttackQuery) (list []AttackRow, running int, next string, err error)
	// Attack writes down that by looks at it, and then gives it whole.
	Attack(ctx context.Context, id, by string) (AttackWhole, error)
	// Course is what the object got, by steps of so many seconds.
	Course(ctx context.Context, id string, r observe.Range, step int) (AttackCourse, error)
	// Places are where its sources are: by country or by network.
	Places(ctx context.Context, id, by string, limit int) (AttackPlaces, error)
	// Plan computes what would stop so large a share of it, at so small a cost; it
	// changes nothing.
	Plan(ctx context.Context, id string, o PlanOrder) ([]Proposal, error)
	// Rehearsal tells whether nothing is announced for now.
	Rehearsal() bool
}

// AttackQuery selects attacks; zero fields select everything.
type AttackQuery struct {
	Open      *bool
	Direction detect.Direction
	Vector    string
	Text      string       // the name of a customer or link, or its beginning
	Within    netip.Prefix // objects that touch it
	Range     observe.Range
	Limit     int // 1..500
	After     string
}

// AttackRow is an attack in a list: all but what filters are made of.
type AttackRow struct {
	ID         string           `json:"id"`
	State      detect.State     `json:"state" enum:"opened,changed,closed"`
	Direction  detect.Direction `json:"direction" enum:"incoming,outgoing"`
	Object     AttackObject     `json:"object"`
	Opened     time.Time        `json:"opened"`
	Detected   time.Time        `json:"detected" doc:"detected − opened is the delay"`
	Changed    time.Time        `json:"changed"`
	Closed     *time.Time       `json:"closed" doc:"null: under way"`
	Pulses     int              `json:"pulses" doc:"how often it rose"`
	Severity   detect.Severity  `json:"severity" minimum:"1" maximum:"3"`
	Confidence float64          `json:"confidence"`
	Witnesses  []string         `json:"witnesses" nullable:"false" doc:"one alone stays suspect"`
	Title      detect.Text      `json:"title"`
	Why        detect.Text      `json:"why"`
	Now        detect.Rate      `json:"now"`
	Peak       detect.Rate      `json:"peak"`
	Usual      *detect.Rate     `json:"usual" doc:"null: not known"`
	Limit      detect.Rate      `json:"limit" doc:"the line that it crossed; 0: there is none"`
	Packets    detect.Measure   `json:"packets"`
	Bytes      detect.Measure   `json:"bytes"`
	Vectors    []detect.Vector  `json:"vectors" nullable:"false"`
	Targets    detect.Counted   `json:"targets"`
	Sources    detect.Sources   `json:"sources"`
	Mitigation *MitigationBrief `json:"mitigation" doc:"the one that has come furthest; null: none"`
	Ack        *Ack             `json:"ack"`
}

// AttackObject is what is hit, or takes part.
type AttackObject struct {
	Kind   detect.ObjectKind `json:"kind" enum:"address,prefix,customer,link"`
	Prefix string            `json:"prefix" doc:"empty for a customer or link"`
	Name   string            `json:"name" doc:"of the customer or link; empty: none"`
}

// MitigationBrief is how an act against an attack stands.
type MitigationBrief struct {
	ID    string      `json:"id"`
	State string      `json:"state"`
	Words detect.Text `json:"words"`
}

// AttackVersion is how an attack stood once.
type AttackVersion struct {
	At         time.Time    `json:"at"`
	State      detect.State `json:"state" enum:"opened,changed,closed"`
	Why        detect.Text  `json:"why"`
	Peak       detect.Rate  `json:"peak"`
	Confidence float64      `json:"confidence"`
}

// AttackWhole is an attack with all that belongs to it.
type AttackWhole struct {
	AttackRow

	Hit         []detect.Share  `json:"hit" nullable:"false" doc:"the most hit addresses"`
	Ingress     []detect.Share  `json:"ingress" nullable:"false" doc:"where it comes in: exporter/interface"`
	Mitigations []Mitigation    `json:"mitigations" nullable:"false" doc:"the newest first"`
	History     []AttackVersion `json:"history" nullable:"false" doc:"the oldest first"`
}

// AttackAct is a step of a mitigation, for the time axis.
type AttackAct struct {
	At    time.Time   `json:"at"`
	State string      `json:"state"`
	Words detect.Text `json:"words"`
	ID    string      `json:"id" doc:"of the mitigation"`
}

// AttackGap is a span of which nothing is known.
type AttackGap struct {
	From   time.Time   `json:"from"`
	To     time.Time   `json:"to"`
	Reason detect.Text `json:"reason"`
}

// AttackCourse is the traffic of an attack's object over time.
type AttackCourse struct {
	Step   int                  `json:"step" doc:"seconds"`
	Points []detect.CoursePoint `json:"points" nullable:"false"`
	Acts   []AttackAct          `json:"acts" nullable:"false"`
	Gaps   []AttackGap          `json:"gaps" nullable:"false"`
}

// AttackPlace is a country or network that an attack comes from.
type AttackPlace struct {
	detect.Share

	Name    string   `json:"name"`
	Lat     *float64 `json:"lat" doc:"degrees; null when not known"`
	Lon     *float64 `json:"lon"`
	Located bool     `json:"located"`
}

// AttackPlaces are where an attack comes from, as estimated from its addresses.
type AttackPlaces struct {
	Rows      []AttackPlace  `json:"rows" nullable:"false"`
	Looked    int            `json:"looked" doc:"sources that were looked up"`
	Count     detect.Counted `json:"count" doc:"sources in all"`
	Forged    *bool          `json:"forged" doc:"then the places are those of the forged addresses; null: can't be told"`
	Estimated bool           `json:"estimated" doc:"always"`
}

type (
	attacksInput struct {
		CSVQuery
		Paging

		State     string `query:"state" enum:"open,ended"`
		Direction string `query:"direction" enum:"incoming,outgoing"`
		Vector    string `query:"vector" maxLength:"64"`
		Q         string `query:"q" maxLength:"128" doc:"an address, a prefix, or a customer's or link's name"`
	}
	attacksBody struct {
		Attacks   []AttackRow `json:"attacks" nullable:"false" doc:"under way first, then by when they were opened"`
		Next      *string     `json:"next" doc:"cursor of the next page; null on the last"`
		Running   int         `json:"running" doc:"attacks under way"`
		Rehearsal bool        `json:"rehearsal" doc:"nothing is announced to a router"`
		DataTime  *time.Time  `json:"data_time" doc:"of the newest flow; null: none came"`
	}
	attackInput struct {
		ID string `path:"id" maxLength:"512"`
	}
	attackBody struct {
		Attack AttackWhole `json:"attack"`
	}
	courseInput struct {
		CSVQuery

		ID   string `path:"id" maxLength:"512"`
		Step int    `query:"step" minimum:"1" maximum:"3600" default:"1" doc:"seconds"`
	}
	courseBody  struct{ AttackCourse }
	placesInput struct {
		CSVQuery

		ID    string `path:"id" maxLength:"512"`
		By    string `query:"by" enum:"country,network" default:"country"`
		Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	}
	placesBody struct{ AttackPlaces }
)

// registerAttacks lists the routes of attacks, and of what is done against them.
func (s *Server) registerAttacks(v1 string) {
	get, post := http.MethodGet, http.MethodPost
	add(s, get, v1+"/attacks", "attacks", "Floods, under way first", s.attacks)
	add(s, get, v1+"/attacks/{id}", "attack", "One flood with all that belongs to it; the look is written down", s.attack)
	add(s, get, v1+"/attacks/{id}/course", "attackCourse", "What the object got, second by second", s.attackCourse)
	add(s, get, v1+"/attacks/{id}/sources", "attackSources", "Where a flood comes from, by country or network", s.attackSources)
	add(s, post, v1+"/attacks/{id}/plan", "planMitigation", "What would stop it, and at which cost: computes, changes nothing", s.planMitigation)
	add(s, post, v1+"/attacks/{id}/propose", "proposeMitigation", "Propose a mitigation", s.proposeMitigation)
	add(s, get, v1+"/mitigations", "mitigations", "What is done against floods, the newest first", s.mitigations)
	add(s, get, v1+"/mitigations/{id}", "mitigation", "One of them", s.mitigation)
	addDecisions(s, v1+"/mitigations/{id}", "Mitigation", s.acts, mitigated)
	add(s, post, v1+"/replay", "replay", "What would other thresholds have said of an hour that is past?", s.replay)
	add(s, get, v1+"/replay/{id}", "replayed", "What they would have said", s.replayed)
}

func (b *attacksBody) table() [][]string {
	rows := [][]string{{
		"id", "state", "direction", "kind", "object", "customer", "opened", "detected", "closed", "pulses", "severity", "confidence", "witnesses",
		"title_ja", "title_en", "peak_packets_per_s", "peak_packets_error", "peak_bits_per_s", "peak_bits_error", "packets", "packets_error", "bytes", "bytes_error",
		"vectors", "targets", "sources", "sources_error", "mitigation",
	}}
	for i := range b.Attacks {
		a := &b.Attacks[i]
		var vectors []string
		for j := range a.Vectors {
			vectors = append(vectors, a.Vectors[j].Name+"="+figure(a.Vectors[j].Share))
		}
		act, closed := "", ""
		if a.Mitigation != nil {
			act = a.Mitigation.State
		}
		if a.Closed != nil {
			closed = instant(*a.Closed)
		}
		rows = append(rows, []string{
			a.ID, string(a.State), string(a.Direction), string(a.Object.Kind), cell(a.Object.Prefix), cell(a.Object.Name), instant(a.Opened), instant(a.Detected), closed,
			strconv.Itoa(a.Pulses), strconv.Itoa(int(a.Severity)), figure(a.Confidence), strings.Join(a.Witnesses, " "), cell(a.Title.JA), cell(a.Title.EN),
			figure(a.Peak.Packets.N), figure(a.Peak.Packets.Error), figure(a.Peak.Bits.N), figure(a.Peak.Bits.Error),
			figure(a.Packets.N), figure(a.Packets.Error), figure(a.Bytes.N), figure(a.Bytes.Error),
			strings.Join(vectors, " "), count(a.Targets.N), count(a.Sources.Count.N), figure(a.Sources.Count.Error), act,
		})
	}
	return rows
}

func (b *courseBody) table() [][]string {
	rows := [][]string{{"at", "packets_per_s", "error", "bits_per_s", "dropped_packets_per_s", "usual_packets_per_s", "limit_packets_per_s"}}
	for i := range b.Points {
		p := &b.Points[i]
		rows = append(rows, []string{instant(time.Unix(p.At, 0).UTC()), figure(p.Packets), figure(p.Error), figure(p.Bits), figure(p.Dropped), figure(p.Usual), figure(p.Limit)})
	}
	return rows
}

func (b *placesBody) table() [][]string {
	rows := [][]string{{"key", "name", "share", "packets", "bits", "lat", "lon"}}
	for i := range b.Rows {
		p := &b.Rows[i]
		rows = append(rows, []string{cell(p.Key), cell(p.Name), figure(p.Share.Share), figure(p.Packets), figure(p.Bits), figureOrEmpty(p.Lat), figureOrEmpty(p.Lon)})
	}
	return rows
}

// floods is the port, or why there is none.
func (s *Server) floods() (Attacks, error) {
	if s.deps.Attacks == nil {
		return nil, fail("no_attacks")
	}
	return s.deps.Attacks, nil
}

func (s *Server) attacks(ctx context.Context, in *attacksInput) (*output[*attacksBody], error) {
	d, err := s.floods()
	if err != nil {
		return nil, err
	}
	b := &attacksBody{Attacks: []AttackRow{}, Rehearsal: d.Rehearsal()}
	q := AttackQuery{Direction: detect.Direction(in.Direction), Vector: in.Vector, Limit: in.Limit}
	if in.State != "" {
		open := in.State == "open"
		q.Open = &open
	}
	if in.Q != "" {
		if list, err := prefixes([]string{in.Q}); err == nil {
			q.Within = list[0]
		} else {
			q.Text = in.Q
		}
	}
	// Were a search by address answered to whom addresses are masked, trying them in
	// turn would undo the mask.
	if q.Within.IsValid() && !defends(ctx) {
		return nil, fail("filter_masked")
	}
	id := queryDigest("attacks", in.State, in.Direction, in.Vector, in.Q, in.From, in.To)
	at, err := s.placed(in.Cursor, in.SpanQuery, id)
	if err != nil {
		return nil, err
	}
	q.Range, q.After = at.span(), at.After
	list, running, next, err := d.Attacks(ctx, q)
	if err != nil {
		return nil, err
	}
	b.Running = running
	for i := range list {
		b.Attacks = append(b.Attacks, s.attackRow(&list[i]))
	}
	if next != "" {
		at.After = next
		b.Next = s.seal.cursor(at)
	}
	if t, ok := s.deps.Inputs.DataTime(); ok {
		b.DataTime = &t
	}
	return &output[*attacksBody]{Link: link(ctx, b.Next), Body: b}, nil
}

// attackRow is an attack as it leaves: who takes part in one is somebody's line, and
// stays masked for everybody.
func (s *Server) attackRow(a *AttackRow) AttackRow {
	r := *a
	r.Witnesses, r.Vectors = filled(r.Witnesses), filled(r.Vectors)
	for i := range r.Vectors {
		r.Vectors[i].Ports = filled(r.Vectors[i].Ports)
	}
	r.Sources.Countries, r.Sources.Networks = filled(r.Sources.Countries), filled(r.Sources.Networks)
	if r.Direction == detect.Outgoing {
		r = hidden(s.own, r)
	}
	return r
}

// hidden is v with the own addresses in it masked.
func hidden[T any](m masker, v T) T {
	raw, err := json.Marshal(v)
	var out T
	if err == nil {
		err = json.Unmarshal(m.Append(nil, raw), &out)
	}
	if err != nil { // the mask changes only what stands inside strings
		return *new(T)
	}
	return out
}

func (s *Server) attack(ctx context.Context, in *attackInput) (*output[attackBody], error) {
	d, err := s.floods()
	if err != nil {
		return nil, err
	}
	w, err := d.Attack(ctx, in.ID, s.actor(ctx))
	if err != nil {
		return nil, err
	}
	w.Hit, w.Ingress, w.History, w.Mitigations = filled(w.Hit), filled(w.Ingress), filled(w.History), filled(w.Mitigations)
	for i := range w.Mitigations {
		w.Mitigations[i] = w.Mitigations[i].filled()
	}
	if w.Direction == detect.Outgoing {
		w = hidden(s.own, w)
	}
	w.AttackRow = s.attackRow(&w.AttackRow)
	return &output[attackBody]{Body: attackBody{w}}, nil
}

func (s *Server) attackCourse(ctx context.Context, in *courseInput) (*output[*courseBody], error) {
	d, err := s.floods()
	if err != nil {
		return nil, err
	}
	var r observe.Range
	if in.From != "" || in.To != "" {
		if r, _, err = s.span(in.SpanQuery); err != nil {
			return nil, err
		}
	}
	c, err := d.Course(ctx, in.ID, r, max(in.Step, 1))
	if err != nil {
		return nil, err
	}
	c.Points, c.Acts, c.Gaps = filled(c.Points), filled(c.Acts), filled(c.Gaps)
	return &output[*courseBody]{Body: &courseBody{c}}, nil
}

func (s *Server) attackSources(ctx context.Context, in *placesInput) (*output[*placesBody], error) {
	d, err := s.floods()
	if err != nil {
		return nil, err
	}
	p, err := d.Places(ctx, in.ID, in.By, in.Limit)
	if err != nil {
		return nil, err
	}
	p.Rows, p.Estimated = filled(p.Rows), true
	return &output[*placesBody]{Body: &placesBody{p}}, nil
}
