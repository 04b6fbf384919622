package api

import (
	"context"
	"strconv"
	"strings"

	"sakimori/detect"
	"sakimori/observe"
)

type (
	findingsInput struct {
		CSVQuery
		Paging

		Detector string `query:"detector" maxLength:"32" doc:"infected, ddos or surge"`
		State    string `query:"state" enum:"opened,changed,closed"`
		Severity int    `query:"severity" minimum:"0" maximum:"3" doc:"1 most urgent; 0 any"`
	}
	findingsBody struct {
		Panel

		Rows []Found `json:"rows" nullable:"false"`
		Next *string `json:"next" doc:"cursor of the next page; null on the last"`
	}
	findingInput struct {
		ID string `path:"id" maxLength:"512"`
	}
	findingBody struct {
		Finding Found            `json:"finding"`
		History []detect.Finding `json:"history" nullable:"false" doc:"all versions, oldest first"`
	}
	ackInput struct {
		ID   string `path:"id" maxLength:"512"`
		Body struct {
			Note string `json:"note" maxLength:"1000" doc:"what is done about it"`
		}
	}
)

func (b *findingsBody) table() [][]string {
	rows := [][]string{{
		"id", "detector", "subject", "state", "severity", "confidence", "opened", "changed", "closed",
		"title_ja", "title_en", "why_ja", "why_en", "evidence", "ack_by", "ack_at", "ack_note",
	}}
	for _, f := range b.Rows {
		var facts []string
		for _, e := range f.Evidence {
			facts = append(facts, strings.TrimSpace(e.Key+"="+e.Value+" "+e.Unit+" "+e.Error))
		}
		ack := Ack{}
		if f.Ack != nil {
			ack = *f.Ack
		}
		rows = append(rows, []string{
			f.ID, f.Detector, cell(f.Subject), string(f.State), strconv.Itoa(int(f.Severity)), figure(f.Confidence),
			instant(f.Opened), instant(f.Changed), instant(f.Closed), cell(f.Title.JA), cell(f.Title.EN), cell(f.Why.JA), cell(f.Why.EN),
			cell(strings.Join(facts, "; ")), cell(ack.By), instant(ack.At), cell(ack.Note),
		})
	}
	return rows
}

// findings lists without a span unless one is given: a finding that is still
// open matters however old it is.
func (s *Server) findings(ctx context.Context, in *findingsInput) (*output[*findingsBody], error) {
	b := &findingsBody{Panel: Panel{State: "ok"}, Rows: []Found{}}
	if s.deps.Findings == nil {
		b.Panel = none(detect.Text{JA: "検知は動いていません。", EN: "No detector is running."})
		return &output[*findingsBody]{Body: b}, nil
	}
	q := FindingQuery{Detector: in.Detector, State: detect.State(in.State), Severity: detect.Severity(in.Severity), Limit: in.Limit}
	id := queryDigest("findings", in.Detector, in.State, in.Severity, in.From, in.To)
	var at cursor
	if in.Cursor != "" {
		var err error
		if at, err = s.seal.openCursor(in.Cursor, id); err != nil {
			return nil, err
		}
		q.Range = at.span()
	} else {
		if in.From != "" || in.To != "" {
			var err error
			if q.Range, _, err = s.span(in.SpanQuery); err != nil {
				return nil, err
			}
		}
		at = newCursor(id, q.Range)
	}
	q.After = at.After
	found, next, err := s.deps.Findings.List(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		b.Rows = append(b.Rows, s.shown(f))
	}
	if next != "" {
		at.After = next
		b.Next = s.seal.cursor(at)
	}
	if len(b.Rows) == 0 {
		if _, have := s.deps.Inputs.DataTime(); !have {
			b.Panel = nothingYet()
		} else if q.Range != (observe.Range{}) {
			if b.Panel, err = s.panel(ctx, q.Range); err != nil {
				return nil, err
			}
		}
	}
	b.zeroIf(len(b.Rows) == 0)
	return &output[*findingsBody]{Link: link(ctx, b.Next), Body: b}, nil
}

func (s *Server) finding(ctx context.Context, in *findingInput) (*output[*findingBody], error) {
	if s.deps.Findings == nil {
		return nil, fail("unavailable")
	}
	f, history, err := s.deps.Findings.Get(ctx, s.innerID(in.ID))
	if err != nil {
		return nil, err
	}
	b := &findingBody{Finding: s.shown(f), History: []detect.Finding{}}
	for _, h := range history {
		b.History = append(b.History, s.shown(Found{Finding: h}).Finding)
	}
	return &output[*findingBody]{Body: b}, nil
}

func (s *Server) acknowledge(ctx context.Context, in *ackInput) (*output[Ack], error) {
	if s.deps.Findings == nil {
		return nil, fail("unavailable")
	}
	ack := Ack{By: callOf(ctx).who.user, At: s.deps.Clock.Now(), Note: strings.TrimSpace(in.Body.Note)}
	id := s.innerID(in.ID)
	if err := s.deps.Findings.Ack(ctx, id, ack); err != nil {
		return nil, err
	}
	if f, _, err := s.deps.Findings.Get(ctx, id); err == nil {
		s.deps.Live.Publish(TopicFindings, f)
	}
	return &output[Ack]{Body: ack}, nil
}

const sealedID = "sealed-"

// shown is a finding as it leaves. An id that has an address in it would be
// spoiled by the masker, so it is sealed instead and opened on its way back. A
// server that has nothing to mask, as the command line's own, leaves it.
func (s *Server) shown(f Found) Found {
	f.Evidence, f.Confidence = filled(f.Evidence), finite(f.Confidence)
	if !s.plain && s.all.String(f.ID) != f.ID {
		f.ID = sealedID + s.seal.seal("finding", []byte(f.ID))
	}
	return f
}

func (s *Server) innerID(id string) string {
	if text, ok := strings.CutPrefix(id, sealedID); ok {
		if inner, err := s.seal.open("finding", text); err == nil {
			return string(inner)
		}
	}
	return id
}
