package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sakimori/detect"
)

// Notice is a message to one subscriber by one channel, without the person.
type Notice struct {
	ID        string         `json:"id"`
	Case      string         `json:"case"`
	Subject   string         `json:"subject" doc:"pseudonym"`
	Channel   string         `json:"channel"`
	Template  NoticeTemplate `json:"template"`
	Language  string         `json:"language"`
	Reference string         `json:"reference"`
	State     string         `json:"state"`
	Words     detect.Text    `json:"words"`
	Reason    string         `json:"reason"`
	Attempts  int            `json:"attempts"`
	Due       *time.Time     `json:"due"`
	Batch     string         `json:"batch"`
	Rule      string         `json:"rule"`
	Receipt   string         `json:"receipt"`
	Proposer  string         `json:"proposer"`
	Proposed  time.Time      `json:"proposed"`
	Changed   time.Time      `json:"changed"`
	Sent      *time.Time     `json:"sent"`
}

// NoticeTemplate is what a notice is about.
type NoticeTemplate struct {
	Family string `json:"family"`
	Device string `json:"device"`
}

// NoticeChange is one step of a notice's life.
type NoticeChange struct {
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Who    string    `json:"who"`
	Reason string    `json:"reason"`
	Said   string    `json:"said" enum:",seen,fixed" doc:"by the subscriber; empty: it is no answer of theirs"`
}

// NoticeQuery selects notices; zero fields select everything.
type NoticeQuery struct {
	Case, State, Channel string
	Limit, Offset        int
}

// NoticePreview is a notice as it would go out now.
type NoticePreview struct {
	Type    string `json:"type" doc:"media type of what goes out"`
	Subject string `json:"subject"`
	Text    string `json:"text" doc:"decoded; empty of a letter"`
	HTML    string `json:"html" doc:"of the portal's page"`
	PDF     []byte `json:"pdf" doc:"base64; empty unless it is a letter"`
	Masked  bool   `json:"masked" doc:"without the person"`
}

// NoticeBatch is what a printing of letters came to.
type NoticeBatch struct {
	Batch       string `json:"batch" doc:"empty: nothing was due"`
	Letters     int    `json:"letters"`
	Unprintable int    `json:"unprintable"`
	Later       int    `json:"later" doc:"throttled, or without a grant"`
}

// NoticeChannel is a way to subscribers.
type NoticeChannel struct {
	Channel    string      `json:"channel"`
	Words      detect.Text `json:"words"`
	Configured bool        `json:"configured"`
	Reason     detect.Text `json:"reason" doc:"why it isn't; empty when it is"`
}

// NoticePolicy is how often people are told.
type NoticePolicy struct {
	Most          int      `json:"most" doc:"notices to a subscriber within the window"`
	WindowSeconds int64    `json:"window_seconds"`
	Again         int      `json:"again" doc:"notices of a case by one channel within the window"`
	QuietFrom     string   `json:"quiet_from" doc:"21:00; the same as quiet_to: no quiet hours"`
	QuietTo       string   `json:"quiet_to"`
	Zone          string   `json:"zone"`
	Order         []string `json:"order" nullable:"false"`
	Tries         int      `json:"tries"`
	TwoPeople     bool     `json:"two_people" doc:"whoever proposed a notice can't approve it"`
}

// Notices are how an office tells subscribers: who says who acts. Methods return
// ErrNotFound for what isn't there, ErrNoGrant where the gate allows it nobody, and a
// Refusal for what can't be done.
type Notices interface {
	OfCase(ctx context.Context, id string) ([]Notice, error)
	Page(ctx context.Context, q NoticeQuery) (rows []Notice, total int, err error)
	Get(ctx context.Context, id string) (Notice, []NoticeChange, error)
	Propose(ctx context.Context, caseID, channel, language, who, why string) (Notice, error)
	// Preview is masked without the id of a grant.
	Preview(ctx context.Context, id, grant, who string) (NoticePreview, error)
	// Approve asks the gate first, with the facts that the person states.
	Approve(ctx context.Context, id, who, why string, facts map[string]any) (Notice, error)
	Withdraw(ctx context.Context, id, who, why string) (Notice, error)
	Resolve(ctx context.Context, id string, sent bool, who, why string) (Notice, error)
	Confirm(ctx context.Context, id, became, who, why string) (Notice, error)
	Letters(ctx context.Context, who string) (NoticeBatch, error)
	Channels(ctx context.Context) ([]NoticeChannel, NoticePolicy, error)
}

type (
	noticesInput struct {
		Paging

		Case    string `query:"case" maxLength:"64"`
		State   string `query:"state" enum:"proposed,approved,sending,in_doubt,sent,delivered,bounced,failed,unprintable,withdrawn"`
		Channel string `query:"channel" enum:"mail,letter,portal,webhook"`
		Format  string `query:"format" enum:"json,csv" doc:"as the Accept header application/json or text/csv"`
	}
	noticesBody struct {
		Notices []Notice `json:"notices" nullable:"false"`
		Total   int      `json:"total"`
		Next    string   `json:"next" doc:"cursor of the next page; empty on the last"`
	}
	noticeBody struct {
		Notice Notice `json:"notice"`
	}
	noticeHistoryBody struct {
		Notice  Notice         `json:"notice"`
		History []NoticeChange `json:"history" nullable:"false"`
	}
	proposeInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Channel  string `json:"channel,omitempty" enum:",mail,letter,portal,webhook" doc:"empty: the one that is due"`
			Language string `json:"language,omitempty" enum:",ja,en" doc:"empty: the person's own"`
			Why      string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	approveNoticeInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Why   string         `json:"why" minLength:"1" maxLength:"1000"`
			Facts map[string]any `json:"facts,omitempty" doc:"stated to the gate besides what the house knows: harm, necessity"`
		}
	}
	noticeWhyInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Why string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	resolveInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Sent bool   `json:"sent" doc:"it went out; false: it never did"`
			Why  string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	confirmInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Became string `json:"became" enum:"delivered,bounced"`
			Why    string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	previewInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Grant string `json:"grant" minLength:"1" maxLength:"64" doc:"one that allows to notify this subscriber"`
		}
	}
	channelsBody struct {
		Channels []NoticeChannel `json:"channels" nullable:"false"`
		Policy   NoticePolicy    `json:"policy"`
	}
)

// registerNotices lists the routes of notices.
func (s *Server) registerNotices(v1 string) {
	get, post := http.MethodGet, http.MethodPost
	add(s, get, v1+"/notices", "notices", "Notices to subscribers, the newest first", s.notices)
	add(s, get, v1+"/notices/channels", "noticeChannels", "How subscribers can be told, and how often", s.noticeChannels)
	add(s, post, v1+"/notices/letters", "printLetters", "Write the letters that are due into a batch", s.printLetters)
	add(s, get, v1+"/notices/{id}", "notice", "One notice with its history", s.notice)
	add(s, get, v1+"/notices/{id}/preview", "previewNotice", "A notice as it would go out, without the person", s.previewMasked)
	add(s, post, v1+"/notices/{id}/preview", "previewNamed", "A notice as it would go out, with the person: it takes a grant", s.previewNamed)
	add(s, post, v1+"/notices/{id}/approve", "approveNotice", "Let a notice go out, if the gate allows it", s.approveNotice)
	add(s, post, v1+"/notices/{id}/withdraw", "withdrawNotice", "Take a notice back", s.withdrawNotice)
	add(s, post, v1+"/notices/{id}/resolve", "resolveNotice", "Settle a notice that is in doubt", s.resolveNotice)
	add(s, post, v1+"/notices/{id}/confirm", "confirmNotice", "Say what became of a notice that went out", s.confirmNotice)
	add(s, post, v1+"/cases/{id}/notices", "proposeNotice", "Propose a notice to the subscriber of a case", s.proposeNotice)
}

// letterbox is the port, or why there is none.
func (s *Server) letterbox() (Notices, error) {
	if s.deps.Notices == nil {
		return nil, fail("no_office")
	}
	return s.deps.Notices, nil
}

func (b *noticesBody) table() [][]string {
	rows := [][]string{{"id", "case", "subject", "channel", "family", "device", "language", "reference", "state", "reason", "attempts", "due", "batch", "rule", "receipt", "proposer", "proposed", "changed", "sent"}}
	maybe := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return instant(*t)
	}
	for i := range b.Notices {
		n := &b.Notices[i]
		rows = append(rows, []string{
			n.ID, n.Case, n.Subject, n.Channel, cell(n.Template.Family), cell(n.Template.Device), n.Language, n.Reference, n.State, cell(n.Reason), strconv.Itoa(n.Attempts), maybe(n.Due),
			n.Batch, n.Rule, cell(n.Receipt), cell(n.Proposer), instant(n.Proposed), instant(n.Changed), maybe(n.Sent),
		})
	}
	return rows
}

func (s *Server) notices(ctx context.Context, in *noticesInput) (*output[*noticesBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	id := queryDigest("notices", in.Case, in.State, in.Channel)
	at := cursor{Query: id, Open: true}
	if in.Cursor != "" {
		if at, err = s.seal.openCursor(in.Cursor, id); err != nil {
			return nil, err
		}
	}
	list, total, err := d.Page(ctx, NoticeQuery{Case: in.Case, State: in.State, Channel: in.Channel, Limit: in.Limit, Offset: at.Offset})
	if err != nil {
		return nil, err
	}
	b := &noticesBody{Notices: filled(list), Total: total}
	var next *string
	if at.Offset += len(list); at.Offset < total && len(list) > 0 {
		next = s.seal.cursor(at)
		b.Next = *next
	}
	return &output[*noticesBody]{Link: link(ctx, next), Body: b}, nil
}

func (s *Server) notice(ctx context.Context, in *idInput) (*output[noticeHistoryBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	n, history, err := d.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &output[noticeHistoryBody]{Body: noticeHistoryBody{n, filled(history)}}, nil
}

func (s *Server) proposeNotice(ctx context.Context, in *proposeInput) (*output[noticeBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	return acted(d.Propose(ctx, in.ID, in.Body.Channel, in.Body.Language, s.actor(ctx), strings.TrimSpace(in.Body.Why)))
}

func (s *Server) previewMasked(ctx context.Context, in *idInput) (*output[NoticePreview], error) {
	return s.preview(ctx, in.ID, "")
}

func (s *Server) previewNamed(ctx context.Context, in *previewInput) (*output[NoticePreview], error) {
	return s.preview(ctx, in.ID, in.Body.Grant)
}

func (s *Server) preview(ctx context.Context, id, grant string) (*output[NoticePreview], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	p, err := d.Preview(ctx, id, grant, s.actor(ctx))
	if err != nil {
		return nil, err
	}
	p.PDF = filled(p.PDF)
	return &output[NoticePreview]{Body: p}, nil
}

func (s *Server) approveNotice(ctx context.Context, in *approveNoticeInput) (*output[noticeBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	who, err := s.human(ctx)
	if err != nil {
		return nil, err
	}
	return acted(d.Approve(ctx, in.ID, who, strings.TrimSpace(in.Body.Why), in.Body.Facts))
}

func (s *Server) withdrawNotice(ctx context.Context, in *noticeWhyInput) (*output[noticeBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	return acted(d.Withdraw(ctx, in.ID, s.actor(ctx), strings.TrimSpace(in.Body.Why)))
}

func (s *Server) resolveNotice(ctx context.Context, in *resolveInput) (*output[noticeBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	return acted(d.Resolve(ctx, in.ID, in.Body.Sent, s.actor(ctx), strings.TrimSpace(in.Body.Why)))
}

func (s *Server) confirmNotice(ctx context.Context, in *confirmInput) (*output[noticeBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	return acted(d.Confirm(ctx, in.ID, in.Body.Became, s.actor(ctx), strings.TrimSpace(in.Body.Why)))
}

func acted(n Notice, err error) (*output[noticeBody], error) {
	if err != nil {
		return nil, err
	}
	return &output[noticeBody]{Body: noticeBody{n}}, nil
}

func (s *Server) printLetters(ctx context.Context, _ *empty) (*output[NoticeBatch], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	b, err := d.Letters(ctx, s.actor(ctx))
	if err != nil {
		return nil, err
	}
	return &output[NoticeBatch]{Body: b}, nil
}

func (s *Server) noticeChannels(ctx context.Context, _ *empty) (*output[channelsBody], error) {
	d, err := s.letterbox()
	if err != nil {
		return nil, err
	}
	list, p, err := d.Channels(ctx)
	if err != nil {
		return nil, err
	}
	p.Order = filled(p.Order)
	return &output[channelsBody]{Body: channelsBody{filled(list), p}}, nil
}
