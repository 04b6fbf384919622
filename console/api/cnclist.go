package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type (
	cncInput struct {
		formQuery
		Paging

		State  string `query:"state" maxLength:"256" doc:"by commas"`
		Kind   string `query:"kind" enum:"name,host,address,endpoint,prefix,url"`
		Family string `query:"family" maxLength:"128" doc:"- those of which it isn't known"`
		Source string `query:"source" maxLength:"64"`
		Text   string `query:"q" maxLength:"253" doc:"that the value begins with"`
		Order  string `query:"order" enum:"score,age,hits,name" default:"score"`
	}
	cncBody struct {
		Entries []CNCEntry `json:"entries" nullable:"false"`
		Total   Count      `json:"total"`
		Next    string     `json:"next" doc:"cursor of the next page; empty on the last"`
	}
	cncQueueBody struct {
		Entries []CNCWaiting `json:"entries" nullable:"false"`
		Total   Count        `json:"total"`
		Next    string       `json:"next"`
	}
	cncWhyInput struct {
		Name string `query:"name" required:"true" minLength:"1" maxLength:"2048" doc:"a name, an address or a URL"`
		At   string `query:"at" format:"date-time" doc:"by default now"`
	}
	cncAddInput struct {
		Body struct {
			Kind      string    `json:"kind" enum:"name,host,address,endpoint,prefix,url"`
			Value     string    `json:"value" minLength:"1" maxLength:"2048"`
			Family    string    `json:"family,omitempty" maxLength:"128"`
			Evidence  string    `json:"evidence" minLength:"1" maxLength:"2048" doc:"on what it rests"`
			Expires   time.Time `json:"expires"`
			Why       string    `json:"why" minLength:"1" maxLength:"1000"`
			Emergency bool      `json:"emergency,omitempty" doc:"by the quick lane, without the time in the shadow"`
		}
	}
	cncReviewInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Verdict string `json:"verdict" enum:"yes,no"`
			Why     string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	cncRenewInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Until time.Time `json:"until"`
			Why   string    `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	cncSinkholeInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Sinkholed bool   `json:"sinkholed"`
			Why       string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	cncEntryBody struct {
		Entry CNCEntry `json:"entry"`
	}
	cncHeldBody struct {
		Held CNCHeld `json:"held"`
	}
)

// registerCNC lists the routes of the list of C&C servers.
func (s *Server) registerCNC(v1 string) {
	get, post := http.MethodGet, http.MethodPost
	add(s, get, v1+"/cnc", "cnc", "The list of C&C servers, in pages", s.cnc)
	add(s, get, v1+"/cnc/summary", "cncSummary", "How the list and its sources do", s.cncSummary)
	add(s, get, v1+"/cnc/review", "cncQueue", "Entries that wait for a verdict, with what blocking them would touch", s.cncQueue)
	add(s, get, v1+"/cnc/why", "cncWhy", "Why a name was blocked, or wasn't, at a time", s.cncWhy)
	add(s, get, v1+"/cnc/{id}", "cncEntry", "One entry with all that belongs to it", s.cncEntry)
	add(s, post, v1+"/cnc", "addCNC", "Add an entry", s.addCNC)
	add(s, post, v1+"/cnc/{id}/review", "reviewCNC", "Give a verdict on an entry; nobody gives two", s.reviewCNC)
	add(s, post, v1+"/cnc/{id}/withdraw", "withdrawCNC", "Take an entry off the list now", s.withdrawCNC)
	add(s, post, v1+"/cnc/{id}/renew", "renewCNC", "Let an entry last longer", s.renewCNC)
	add(s, post, v1+"/cnc/{id}/sinkhole", "sinkholeCNC", "Say that defenders have an entry, or have it no more", s.sinkholeCNC)
	add(s, post, v1+"/cnc/held/{id}/release", "releaseCNC", "Let a change of a feed through that is held", s.releaseCNC)
	add(s, post, v1+"/cnc/held/{id}/refuse", "refuseCNC", "Drop a change of a feed that is held", s.refuseCNC)
	s.registerCNCFiles(v1)
}

func (b *cncBody) table() [][]string {
	rows := [][]string{{
		"id", "kind", "value", "port", "role", "family", "state", "score", "first_seen", "last_seen", "opened", "changed", "expires", "sinkholed", "emergency", "sources",
		"hits_day", "hits_total", "would_day", "would_total", "blocks_day",
	}}
	for i := range b.Entries {
		e := &b.Entries[i]
		var sources []string
		for _, x := range e.Sources {
			sources = append(sources, x.Source)
		}
		rows = append(rows, []string{
			e.ID, e.Kind, cell(e.Value), strconv.Itoa(int(e.Port)), e.Role, cell(e.Family), e.State, figure(e.Score), orEmpty(e.FirstSeen), orEmpty(e.LastSeen), instant(e.Opened),
			instant(e.Changed), orEmpty(e.Expires), yes(e.Sinkholed), yes(e.Emergency), cell(strings.Join(sources, " ")),
			count(e.HitsDay), count(e.HitsTotal), count(e.WouldDay), count(e.WouldTotal), count(e.BlocksDay),
		})
	}
	return rows
}

// list is the port, or why there is none.
func (s *Server) list() (CNC, error) {
	if s.deps.Office.CNC == nil {
		return nil, fail("no_cnc")
	}
	return s.deps.Office.CNC, nil
}

// keyset is where a page begins in a list that is walked by a key: a million rows have
// no offset.
func (s *Server) keyset(p Paging, parts ...any) (cursor, error) {
	at := cursor{Query: queryDigest(parts...), Open: true}
	if p.Cursor == "" {
		return at, nil
	}
	return s.seal.openCursor(p.Cursor, at.Query)
}

// beyond is the cursor of the page after a key, "" when there is none.
func (s *Server) beyond(at cursor, key string) string {
	if key == "" {
		return ""
	}
	at.After = key
	return s.next(at)
}

// wordsIn reads words by commas, each of which must be known.
func wordsIn(text, name string, known []string) (list []string, err error) {
	for w := range strings.SplitSeq(text, ",") {
		w = strings.TrimSpace(w)
		if w == "" {
			continue
		}
		if !slices.Contains(known, w) {
			return nil, fail("filter_invalid", w, name, strings.Join(known, ","))
		}
		list = append(list, w)
	}
	return list, nil
}

func (e CNCEntry) filled() CNCEntry {
	e.Sources, e.Reviews = filled(e.Sources), filled(e.Reviews)
	return e
}

func (b *CNCBlast) filled() *CNCBlast {
	if b == nil {
		return nil
	}
	c := *b
	c.Beside = filled(c.Beside)
	if c.BelowFloor {
		c.ClientsDay = 0 // so few could be found out one by one
	}
	return &c
}

func (s *Server) cnc(ctx context.Context, in *cncInput) (*output[*cncBody], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	q := CNCQuery{Kind: in.Kind, Family: in.Family, Source: in.Source, Text: strings.ToLower(strings.TrimSpace(in.Text)), Order: in.Order, Limit: in.Limit}
	if q.States, err = wordsIn(in.State, "state", cncStates); err != nil {
		return nil, err
	}
	at, err := s.keyset(in.Paging, "cnc", in.State, in.Kind, in.Family, in.Source, in.Text, in.Order)
	if err != nil {
		return nil, err
	}
	q.After = at.After
	list, total, next, err := d.Page(ctx, q)
	if err != nil {
		return nil, err
	}
	b := &cncBody{Entries: filled(list), Total: total, Next: s.beyond(at, next)}
	for i := range b.Entries {
		b.Entries[i] = b.Entries[i].filled()
	}
	return &output[*cncBody]{Link: link(ctx, orNull(b.Next)), Body: b}, nil
}

func (s *Server) cncQueue(ctx context.Context, in *Paging) (*output[cncQueueBody], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	at, err := s.keyset(*in, "cnc review")
	if err != nil {
		return nil, err
	}
	list, total, next, err := d.Queue(ctx, in.Limit, at.After)
	if err != nil {
		return nil, err
	}
	b := cncQueueBody{Entries: filled(list), Total: total, Next: s.beyond(at, next)}
	for i := range b.Entries {
		b.Entries[i] = CNCWaiting{b.Entries[i].CNCEntry.filled(), b.Entries[i].Blast.filled()}
	}
	return &output[cncQueueBody]{Link: link(ctx, orNull(b.Next)), Body: b}, nil
}

func (s *Server) cncSummary(ctx context.Context, _ *empty) (*output[CNCSummary], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	b, err := d.Summary(ctx)
	if err != nil {
		return nil, err
	}
	b.States, b.Families, b.Sources, b.Held = filled(b.States), filled(b.Families), filled(b.Sources), filled(b.Held)
	return &output[CNCSummary]{Body: b}, nil
}

func (s *Server) cncEntry(ctx context.Context, in *idInput) (*output[CNCFile], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	f, err := d.File(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	f.Entry, f.Blast = f.Entry.filled(), f.Blast.filled()
	f.History, f.Explain, f.Published, f.Resolvers = filled(f.History), filled(f.Explain), filled(f.Published), filled(f.Resolvers)
	return &output[CNCFile]{Body: f}, nil
}

func (s *Server) cncWhy(ctx context.Context, in *cncWhyInput) (*output[CNCAccount], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	at, err := parseTime(in.At, "at")
	if err != nil {
		return nil, err
	}
	if at.IsZero() {
		at = s.deps.Office.Clock.Now().UTC()
	}
	a, err := d.Why(ctx, strings.TrimSpace(in.Name), at)
	if err != nil {
		return nil, err
	}
	if a.Entry != nil {
		e := a.Entry.filled()
		a.Entry = &e
	}
	a.Evidence, a.Resolvers, a.History = filled(a.Evidence), filled(a.Resolvers), filled(a.History)
	return &output[CNCAccount]{Body: a}, nil
}

// listed answers with an entry as it is after a change. A decision is a person's.
func (s *Server) listed(ctx context.Context, do func(d CNC, who string) (CNCEntry, error)) (*output[cncEntryBody], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	who, err := s.human(ctx)
	if err != nil {
		return nil, err
	}
	e, err := do(d, who)
	if err != nil {
		return nil, err
	}
	return &output[cncEntryBody]{Body: cncEntryBody{e.filled()}}, nil
}

func (s *Server) addCNC(ctx context.Context, in *cncAddInput) (*output[cncEntryBody], error) {
	return s.listed(ctx, func(d CNC, who string) (CNCEntry, error) {
		b := &in.Body
		return d.Add(ctx, CNCOrder{
			Kind: b.Kind, Value: strings.TrimSpace(b.Value), Family: b.Family, Evidence: b.Evidence, Why: b.Why, Who: who, Expires: b.Expires.UTC(), Emergency: b.Emergency,
		})
	})
}

func (s *Server) reviewCNC(ctx context.Context, in *cncReviewInput) (*output[cncEntryBody], error) {
	return s.listed(ctx, func(d CNC, who string) (CNCEntry, error) {
		return d.Review(ctx, in.ID, in.Body.Verdict, who, in.Body.Why)
	})
}

func (s *Server) withdrawCNC(ctx context.Context, in *grantWhyInput) (*output[cncEntryBody], error) {
	return s.listed(ctx, func(d CNC, who string) (CNCEntry, error) { return d.Withdraw(ctx, in.ID, who, in.Body.Why) })
}

func (s *Server) renewCNC(ctx context.Context, in *cncRenewInput) (*output[cncEntryBody], error) {
	return s.listed(ctx, func(d CNC, who string) (CNCEntry, error) {
		return d.Renew(ctx, in.ID, in.Body.Until.UTC(), who, in.Body.Why)
	})
}

func (s *Server) sinkholeCNC(ctx context.Context, in *cncSinkholeInput) (*output[cncEntryBody], error) {
	return s.listed(ctx, func(d CNC, who string) (CNCEntry, error) {
		return d.Sinkhole(ctx, in.ID, in.Body.Sinkholed, who, in.Body.Why)
	})
}

func (s *Server) releaseCNC(ctx context.Context, in *grantWhyInput) (*output[cncHeldBody], error) {
	return s.held(ctx, func(d CNC, who string) (CNCHeld, error) { return d.Release(ctx, in.ID, who, in.Body.Why) })
}

func (s *Server) refuseCNC(ctx context.Context, in *grantWhyInput) (*output[cncHeldBody], error) {
	return s.held(ctx, func(d CNC, who string) (CNCHeld, error) { return d.Refuse(ctx, in.ID, who, in.Body.Why) })
}

func (s *Server) held(ctx context.Context, do func(d CNC, who string) (CNCHeld, error)) (*output[cncHeldBody], error) {
	d, err := s.list()
	if err != nil {
		return nil, err
	}
	who, err := s.human(ctx)
	if err != nil {
		return nil, err
	}
	h, err := do(d, who)
	if err != nil {
		return nil, err
	}
	return &output[cncHeldBody]{Body: cncHeldBody{h}}, nil
}
