package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
)

// Cases are infected subscribers, each by pseudonym, from the first sign to clean.
// Methods return ErrNotFound for what isn't there, and a Refusal for what can't be done.
type Cases interface {
	// Page is a part of those that match, those due first, and how many there are.
	Page(ctx context.Context, q CaseQuery) (list []Case, total int, err error)
	Summary(ctx context.Context, from, to time.Time) (CaseSummary, error)
	Case(ctx context.Context, id string) (Case, error)
	File(ctx context.Context, id string) (CaseFile, error)
	// Nobody are the signs that couldn't be given to anybody, the latest first.
	Nobody(ctx context.Context, limit, offset int) (list []Sign, total int, err error)

	Move(ctx context.Context, id, to, who, why string) error
	Assign(ctx context.Context, id, to, who, why string) error
	Note(ctx context.Context, id, who, text string) error
	Hold(ctx context.Context, id string, held bool, who, why string) error
	Merge(ctx context.Context, id, into, who, why string) error

	// Bulk takes an order about many cases, which waits before it is done.
	Bulk(ctx context.Context, o BulkOrder) (Bulk, error)
	Bulks(ctx context.Context) ([]Bulk, error)
	StopBulk(ctx context.Context, id, who, why string) (Bulk, error)
}

// CaseQuery selects cases; zero fields select everything.
type CaseQuery struct {
	States   []string
	Family   string
	Device   string
	Assignee string
	Open     bool
	Held     *bool
	Overdue  bool
	Text     string // that the number or the pseudonym begins with
	Limit    int
	Offset   int
}

// Case is one subscriber's.
type Case struct {
	ID       string      `json:"id"`
	Subject  string      `json:"subject" doc:"pseudonym"`
	State    string      `json:"state" enum:"new,attributed,lawful,notified,acknowledged,claimed_fixed,verifying,clean,relapsed,unreachable,escalated,closed"`
	Words    detect.Text `json:"words" doc:"what the state means, and what is awaited"`
	Family   string      `json:"family" doc:"of the malware; empty: not known"`
	Device   string      `json:"device" doc:"empty: not known"`
	Opened   time.Time   `json:"opened"`
	Changed  time.Time   `json:"changed" doc:"last change of state"`
	Seen     time.Time   `json:"seen" doc:"latest sign"`
	Due      *time.Time  `json:"due" doc:"by when the next step is to be done; null: there is none"`
	Overdue  bool        `json:"overdue"`
	Notices  int         `json:"notices" doc:"how often they were told"`
	Assignee string      `json:"assignee"`
	Held     bool        `json:"held" doc:"nothing happens by itself"`
	Reason   string      `json:"reason" doc:"why it was closed"`
	Merged   string      `json:"merged" doc:"the case that it was merged into"`
	Open     bool        `json:"open"`
	Next     []string    `json:"next" nullable:"false" doc:"states that may follow"`
}

// CaseEvent is a change of a case.
type CaseEvent struct {
	N    int       `json:"n"`
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what" doc:"a state, or note, assigned, held, released, merged, sign, withdrawn, deadline, reported"`
	Why  string    `json:"why"`
}

// Sign is one thing that was seen of an address, with what the attribution made of it.
type Sign struct {
	ID        string       `json:"id"`
	Source    string       `json:"source"`
	Claim     string       `json:"claim"`
	Family    string       `json:"family"`
	At        time.Time    `json:"at"`
	Came      time.Time    `json:"came"`
	Verdict   string       `json:"verdict" enum:"unique,unique_with_skew,ambiguous,expired,foreign,no_port,mediated,other"`
	Words     detect.Text  `json:"verdict_words"`
	Doubt     *detect.Text `json:"doubt" doc:"why nobody is accused; null: somebody is"`
	Mediated  bool         `json:"mediated" doc:"seen through a resolver"`
	Withdrawn bool         `json:"withdrawn"`
}

// CaseDeadline is one that a case has, of the desk's own or of the law's.
type CaseDeadline struct {
	ID       string      `json:"id" doc:"of the statute; step: the desk's own"`
	Name     detect.Text `json:"name"`
	Source   detect.Text `json:"source"`
	Due      time.Time   `json:"due"`
	Done     *time.Time  `json:"done"`
	Over     bool        `json:"over"`
	Verified bool        `json:"verified" doc:"its words were read in the source"`
}

// CaseFile is a case with all that belongs to it.
type CaseFile struct {
	Case      Case
	History   []CaseEvent
	Signs     []Sign
	Why       detect.Text // why it is in its state
	Deadlines []CaseDeadline
}

// CaseFlow is how many cases came so far within a time.
type CaseFlow struct {
	Opened       int `json:"opened"`
	Notified     int `json:"notified"`
	Acknowledged int `json:"acknowledged"`
	Cleaned      int `json:"cleaned"`
	Relapsed     int `json:"relapsed"`
	Unreachable  int `json:"unreachable"`
}

// CaseGroup is the cases of one family or kind of device.
type CaseGroup struct {
	Name string `json:"name" doc:"empty: not known"`
	Open int    `json:"open" doc:"now"`
	CaseFlow
}

// CaseDay is what happened on one.
type CaseDay struct {
	At time.Time `json:"at"`
	CaseFlow
}

// StateCount is how many cases are in a state.
type StateCount struct {
	State string      `json:"state"`
	Words detect.Text `json:"words"`
	Count int         `json:"count"`
}

// CaseSummary is how the desk does: as it stands now, and what happened in a span.
type CaseSummary struct {
	From       time.Time    `json:"from"`
	To         time.Time    `json:"to"`
	States     []StateCount `json:"states" nullable:"false" doc:"all of them, in the order of a case's life"`
	Open       int          `json:"open"`
	Overdue    int          `json:"overdue"`
	Held       int          `json:"held"`
	Unassigned int          `json:"unassigned" doc:"of the open ones"`
	Nobody     int          `json:"nobody" doc:"signs that are nobody's"`
	Flow       CaseFlow     `json:"flow"`
	Families   []CaseGroup  `json:"families" nullable:"false"`
	Devices    []CaseGroup  `json:"devices" nullable:"false"`
	Days       []CaseDay    `json:"days" nullable:"false" doc:"in UTC, also those on which nothing happened"`
}

// BulkOrder is something to be done to many cases.
type BulkOrder struct {
	Action, To, Who, Why string
	Cases                []string
}

// Bulk is an order about many cases on its way.
type Bulk struct {
	ID     string     `json:"id"`
	Action string     `json:"action" enum:"move,assign,hold,release"`
	To     string     `json:"to" doc:"the state, or whose they become"`
	Why    string     `json:"why"`
	Who    string     `json:"who"`
	Asked  time.Time  `json:"asked"`
	At     time.Time  `json:"at" doc:"when it is done: until then it can be stopped"`
	State  string     `json:"state" enum:"waiting,done,stopped"`
	Cases  []BulkCase `json:"cases" nullable:"false"`
}

// BulkCase is what became of one case of an order.
type BulkCase struct {
	ID     string `json:"id"`
	Result string `json:"result" enum:",done,refused"`
	Reason string `json:"reason" doc:"of the refusal"`
}

type (
	formQuery struct {
		Format string `query:"format" enum:"json,csv" doc:"as the Accept header application/json or text/csv"`
	}
	casesInput struct {
		formQuery
		Paging

		State    string `query:"state" maxLength:"256" doc:"by commas"`
		Open     bool   `query:"open" doc:"those alone with something left to do"`
		Family   string `query:"family" maxLength:"128" doc:"- those of which it isn't known"`
		Device   string `query:"device" maxLength:"128" doc:"- those of which it isn't known"`
		Assignee string `query:"assignee" maxLength:"256" doc:"- those of nobody"`
		Held     string `query:"held" enum:"true,false"`
		Overdue  bool   `query:"overdue" doc:"those alone whose next step should have been done"`
		Text     string `query:"q" maxLength:"64" doc:"that the number or the pseudonym begins with"`
	}
	casesBody struct {
		Cases []Case `json:"cases" nullable:"false"`
		Total int    `json:"total"`
		Next  string `json:"next" doc:"cursor of the next page; empty on the last"`
	}
	signsInput struct {
		formQuery
		Paging
	}
	signsBody struct {
		Signs []Sign `json:"signs" nullable:"false"`
		Total int    `json:"total"`
		Next  string `json:"next"`
	}
	caseInput struct {
		ID string `path:"id" maxLength:"64"`
	}
	caseFileBody struct {
		Case      Case           `json:"case"`
		History   []CaseEvent    `json:"history" nullable:"false"`
		Signs     []Sign         `json:"signs" nullable:"false"`
		Notices   []Notice       `json:"notices" nullable:"false"`
		Grants    []decisionBody `json:"grants" nullable:"false" doc:"in force for this subscriber or case"`
		Why       detect.Text    `json:"why" doc:"why it is in its state"`
		Deadlines []CaseDeadline `json:"deadlines" nullable:"false"`
	}
	caseToInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			To  string `json:"to" maxLength:"256" doc:"the state, or whose it becomes: empty nobody's"`
			Why string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	caseNoteInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Text string `json:"text" minLength:"1" maxLength:"4000"`
		}
	}
	caseHoldInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Held bool   `json:"held"`
			Why  string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	caseMergeInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Into string `json:"into" minLength:"1" maxLength:"64"`
			Why  string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	caseBody struct {
		Case Case `json:"case"`
	}
	bulkInput struct {
		Body struct {
			Cases  []string `json:"cases" nullable:"false" minItems:"1" maxItems:"1000"`
			Action string   `json:"action" enum:"move,assign,hold,release"`
			To     string   `json:"to,omitempty" maxLength:"256"`
			Why    string   `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	bulkBody struct {
		Bulk Bulk `json:"bulk"`
	}
	bulksBody struct {
		Bulks []Bulk `json:"bulks" nullable:"false" doc:"the newest first"`
	}
)

// registerCases lists the routes of the abuse desk.
func (s *Server) registerCases(v1 string) {
	get, post := http.MethodGet, http.MethodPost
	add(s, get, v1+"/cases", "cases", "Infected subscribers, those due first", s.cases)
	add(s, get, v1+"/cases/summary", "casesSummary", "How the abuse desk does", s.casesSummary)
	add(s, get, v1+"/cases/bulk", "bulks", "Orders about many cases, and what became of them", s.bulks)
	add(s, post, v1+"/cases/bulk", "bulk", "Do something to many cases, after a while in which it can be stopped", s.bulk)
	add(s, post, v1+"/cases/bulk/{id}/stop", "stopBulk", "Take back an order about many cases", s.stopBulk)
	add(s, get, v1+"/cases/{id}", "case", "One case with all that belongs to it", s.caseFile)
	add(s, post, v1+"/cases/{id}/move", "moveCase", "Bring a case into another state", s.moveCase)
	add(s, post, v1+"/cases/{id}/assign", "assignCase", "Give a case to somebody", s.assignCase)
	add(s, post, v1+"/cases/{id}/note", "noteCase", "Add a remark", s.noteCase)
	add(s, post, v1+"/cases/{id}/hold", "holdCase", "Keep a case as it is, or release it", s.holdCase)
	add(s, post, v1+"/cases/{id}/merge", "mergeCase", "Put a case into another one", s.mergeCase)
	add(s, get, v1+"/signs/nobody", "nobodysSigns", "Signs that couldn't be given to anybody, and why", s.nobody)
}

func orEmpty(t *time.Time) string {
	if t == nil {
		return ""
	}
	return instant(*t)
}

func (b *casesBody) table() [][]string {
	rows := [][]string{{"id", "subject", "state", "family", "device", "opened", "changed", "seen", "due", "overdue", "notices", "assignee", "held", "reason", "merged"}}
	for _, c := range b.Cases {
		rows = append(rows, []string{
			c.ID, c.Subject, c.State, cell(c.Family), cell(c.Device), instant(c.Opened), instant(c.Changed), instant(c.Seen), orEmpty(c.Due),
			yes(c.Overdue), strconv.Itoa(c.Notices), cell(c.Assignee), yes(c.Held), cell(c.Reason), c.Merged,
		})
	}
	return rows
}

func (b *signsBody) table() [][]string {
	rows := [][]string{{"id", "source", "claim", "family", "at", "came", "verdict", "doubt_ja", "doubt_en", "mediated", "withdrawn"}}
	for _, x := range b.Signs {
		var doubt detect.Text
		if x.Doubt != nil {
			doubt = *x.Doubt
		}
		rows = append(rows, []string{
			cell(x.ID), cell(x.Source), cell(x.Claim), cell(x.Family), instant(x.At), instant(x.Came), x.Verdict, doubt.JA, doubt.EN, yes(x.Mediated), yes(x.Withdrawn),
		})
	}
	return rows
}

// desk is the port, or why there is none.
func (s *Server) desk() (Cases, error) {
	if s.deps.Office.Cases == nil {
		return nil, noOffice()
	}
	return s.deps.Office.Cases, nil
}

// subjectOf is a case, for what is asked about its subscriber.
func (s *Server) subjectOf(ctx context.Context, id string) (Case, error) {
	d, err := s.desk()
	if err != nil {
		return Case{}, err
	}
	return d.Case(ctx, id)
}

// offset is where a page begins, and how the one after it is asked for.
func (s *Server) offset(p Paging, parts ...any) (at cursor, err error) {
	id := queryDigest(parts...)
	if p.Cursor == "" {
		return cursor{Query: id, Open: true}, nil
	}
	return s.seal.openCursor(p.Cursor, id)
}

// after is the cursor of the page after n rows from at, "" when that was the last.
func (s *Server) after(at cursor, n, total int) string {
	if at.Offset += n; n == 0 || at.Offset >= total {
		return ""
	}
	return s.next(at)
}

func (s *Server) cases(ctx context.Context, in *casesInput) (*output[*casesBody], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	at, err := s.offset(in.Paging, "cases", in.State, in.Open, in.Family, in.Device, in.Assignee, in.Held, in.Overdue, in.Text)
	if err != nil {
		return nil, err
	}
	q := CaseQuery{
		Family: in.Family, Device: in.Device, Assignee: in.Assignee, Open: in.Open, Overdue: in.Overdue, Text: in.Text, Limit: in.Limit, Offset: at.Offset,
	}
	if in.State != "" {
		q.States = strings.Split(in.State, ",")
	}
	if in.Held != "" {
		held := in.Held == "true"
		q.Held = &held
	}
	list, total, err := d.Page(ctx, q)
	if err != nil {
		return nil, err
	}
	b := &casesBody{Cases: filled(list), Total: total, Next: s.after(at, len(list), total)}
	return &output[*casesBody]{Link: link(ctx, orNull(b.Next)), Body: b}, nil
}

func (s *Server) nobody(ctx context.Context, in *signsInput) (*output[*signsBody], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	at, err := s.offset(in.Paging, "nobody")
	if err != nil {
		return nil, err
	}
	list, total, err := d.Nobody(ctx, in.Limit, at.Offset)
	if err != nil {
		return nil, err
	}
	b := &signsBody{Signs: filled(list), Total: total, Next: s.after(at, len(list), total)}
	return &output[*signsBody]{Link: link(ctx, orNull(b.Next)), Body: b}, nil
}

func (s *Server) casesSummary(ctx context.Context, in *SpanQuery) (*output[CaseSummary], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	from, to, err := s.between(*in, 30*day)
	if err != nil {
		return nil, err
	}
	sum, err := d.Summary(ctx, from, to)
	return &output[CaseSummary]{Body: sum}, err
}

func (s *Server) caseFile(ctx context.Context, in *caseInput) (*output[caseFileBody], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	f, err := d.File(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	b := caseFileBody{
		Case: f.Case, History: filled(f.History), Signs: filled(f.Signs), Notices: []Notice{}, Grants: s.grantsFor(f.Case.ID, f.Case.Subject),
		Why: f.Why, Deadlines: filled(f.Deadlines),
	}
	if n := s.deps.Notices; n != nil {
		list, err := n.OfCase(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		b.Notices = filled(list)
	}
	return &output[caseFileBody]{Body: b}, nil
}

// changed answers with a case as it is after a change.
func (s *Server) changed(ctx context.Context, id string, do func(d Cases, who string) error) (*output[caseBody], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	if err := do(d, s.actor(ctx)); err != nil {
		return nil, err
	}
	c, err := d.Case(ctx, id)
	return &output[caseBody]{Body: caseBody{c}}, err
}

func (s *Server) moveCase(ctx context.Context, in *caseToInput) (*output[caseBody], error) {
	return s.changed(ctx, in.ID, func(d Cases, who string) error { return d.Move(ctx, in.ID, in.Body.To, who, in.Body.Why) })
}

func (s *Server) assignCase(ctx context.Context, in *caseToInput) (*output[caseBody], error) {
	return s.changed(ctx, in.ID, func(d Cases, who string) error { return d.Assign(ctx, in.ID, in.Body.To, who, in.Body.Why) })
}

func (s *Server) noteCase(ctx context.Context, in *caseNoteInput) (*output[caseBody], error) {
	return s.changed(ctx, in.ID, func(d Cases, who string) error { return d.Note(ctx, in.ID, who, in.Body.Text) })
}

func (s *Server) holdCase(ctx context.Context, in *caseHoldInput) (*output[caseBody], error) {
	return s.changed(ctx, in.ID, func(d Cases, who string) error { return d.Hold(ctx, in.ID, in.Body.Held, who, in.Body.Why) })
}

func (s *Server) mergeCase(ctx context.Context, in *caseMergeInput) (*output[caseBody], error) {
	return s.changed(ctx, in.ID, func(d Cases, who string) error { return d.Merge(ctx, in.ID, in.Body.Into, who, in.Body.Why) })
}

func (s *Server) bulk(ctx context.Context, in *bulkInput) (*output[bulkBody], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	b, err := d.Bulk(ctx, BulkOrder{Action: in.Body.Action, To: in.Body.To, Cases: in.Body.Cases, Who: s.actor(ctx), Why: in.Body.Why})
	return &output[bulkBody]{Body: bulkBody{b}}, err
}

func (s *Server) bulks(ctx context.Context, _ *empty) (*output[bulksBody], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	list, err := d.Bulks(ctx)
	return &output[bulksBody]{Body: bulksBody{filled(list)}}, err
}

func (s *Server) stopBulk(ctx context.Context, in *grantWhyInput) (*output[bulkBody], error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	b, err := d.StopBulk(ctx, in.ID, s.actor(ctx), in.Body.Why)
	return &output[bulkBody]{Body: bulkBody{b}}, err
}
