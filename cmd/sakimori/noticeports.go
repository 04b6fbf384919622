package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	stdmail "net/mail"
	"time"

	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond/casework"
	"sakimori/respond/notify"
	"sakimori/respond/notify/webhook"
)

// noticePort answers the console about notices.
type noticePort struct{ n *notices }

var _ api.Notices = noticePort{}

// noticeWords says what a state means.
var noticeWords = map[notify.State]detect.Text{
	notify.Proposed:    {JA: "提案されました。承認を待っています。", EN: "proposed; it waits to be approved"},
	notify.Approved:    {JA: "承認されました。送る時刻を待っています。", EN: "approved; it goes out when it is due"},
	notify.Sending:     {JA: "送っています。", EN: "it is being handed over"},
	notify.InDoubt:     {JA: "送られたか分かりません。ログを確認して確定してください。", EN: "it may have gone out: ask the log of the next hop, then resolve it"},
	notify.Sent:        {JA: "送りました。到達の報告を待っています。", EN: "it went out; a report is awaited"},
	notify.Delivered:   {JA: "届きました。", EN: "it arrived"},
	notify.Bounced:     {JA: "届かずに戻りました。別の手段で知らせてください。", EN: "it came back: use another channel"},
	notify.Failed:      {JA: "送れませんでした。別の手段で知らせてください。", EN: "it never went out: use another channel"},
	notify.Unprintable: {JA: "印刷できません。フォントを加えて承認し直してください。", EN: "it can't be printed: add a font, and approve it again"},
	notify.Withdrawn:   {JA: "取り消しました。", EN: "it was withdrawn"},
}

// channelWords names the channels.
var channelWords = map[notify.Channel]detect.Text{
	notify.Mail: {JA: "メール", EN: "mail"}, notify.Letter: {JA: "郵便", EN: "letter"}, notify.Portal: {JA: "ポータル", EN: "portal"}, notify.Webhook: {JA: "SMS・顧客システム", EN: "SMS or customer system"},
}

func apiNotice(n *notify.Notice) api.Notice {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return api.Notice{
		ID: n.ID, Case: n.Case, Subject: n.Subject, Channel: string(n.Channel), Template: api.NoticeTemplate{Family: n.Template.Family, Device: string(n.Template.Device)},
		Language: n.Language, Reference: notify.Grouped(n.Reference), State: string(n.State), Words: noticeWords[n.State], Reason: n.Reason, Attempts: n.Attempts,
		Due: moment(n.Due), Batch: n.Batch, Rule: n.Rule, Receipt: n.Receipt, Proposer: n.Proposer, Proposed: n.Proposed, Changed: n.Changed, Sent: moment(n.Sent),
	}
}

func apiNotices(list []notify.Notice) []api.Notice {
	out := make([]api.Notice, 0, len(list))
	for i := range list {
		out = append(out, apiNotice(&list[i]))
	}
	return out
}

// answered is a notice after an act, or why it wasn't done.
func answered(n notify.Notice, err error) (api.Notice, error) {
	return apiNotice(&n), noticeError(&n, err)
}

// noticeError says in both languages what keeps a notice from something.
func noticeError(n *notify.Notice, err error) error {
	refusal, refused := errors.AsType[*lawful.Refusal](err)
	pending, waits := errors.AsType[*lawful.Pending](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, notify.ErrUnknown), isUnknown(err):
		return api.ErrNotFound
	case refused:
		return &console.Refusal{Text: detect.Text(refusal.Text())}
	case waits:
		return console.Refuse("許可(%s)は二人目の承認待ちです。承認されてから、もう一度承認してください。", "The grant (%s) waits for a second person: approve the notice again when it is there.", pending.Decision.ID)
	case errors.Is(err, lawful.ErrRefused) || errors.Is(err, notify.ErrRefused):
		return console.Refuse("許可を求められません: %v", "The gate can't grant it: %v", err)
	case errors.Is(err, notify.ErrOrder):
		return console.Refuse("この通知の今の状態(%s)では、それはできません。", "This notice is %s now: that can't follow.", n.State)
	case errors.Is(err, notify.ErrSecond):
		return console.Refuse("提案した人は承認できません。別の人が承認してください。", "Whoever proposed a notice can't approve it: somebody else must.")
	case errors.Is(err, notify.ErrChannel):
		return console.Refuse("この手段は設定されていません(notify)。", "This channel isn't configured: see notify in the configuration.")
	case errors.Is(err, errWhy):
		return console.Refuse("理由を書いてください。記録されます。", "Say why: it is written down.")
	case errors.Is(err, errCase):
		return console.Refuse("案件が終了しているか保留中のため、知らせることはできません。", "The case is closed, clean or held: nobody is told of it.")
	case errors.Is(err, errChannel):
		return console.Refuse("設定された手段は、この案件ですべて使用済みです(または設定がありません)。", "Every configured channel was used for this case within the policy's window, or none is configured.")
	case errors.Is(err, errPending):
		return console.Refuse("この案件のこの手段の通知は、すでに手続き中です。", "A notice of this case by this channel is on its way already.")
	case errors.Is(err, casework.ErrHeld):
		return console.Refuse("案件は保留中です。", "The case is held: release it first.")
	}
	return err
}

func (p noticePort) OfCase(ctx context.Context, id string) ([]api.Notice, error) {
	list, err := p.n.List(ctx, notify.Query{Case: id})
	return apiNotices(list), err
}

func (p noticePort) Page(ctx context.Context, q api.NoticeQuery) ([]api.Notice, int, error) {
	mine := notify.Query{Case: q.Case, State: notify.State(q.State), Channel: notify.Channel(q.Channel), Newest: true, Limit: q.Limit, Offset: q.Offset}
	total, err := p.n.Count(ctx, mine)
	if err != nil {
		return nil, 0, err
	}
	list, err := p.n.List(ctx, mine)
	return apiNotices(list), total, err
}

func (p noticePort) Get(ctx context.Context, id string) (api.Notice, []api.NoticeChange, error) {
	n, err := p.n.Get(ctx, id)
	if err != nil {
		return api.Notice{}, nil, noticeError(&n, err)
	}
	if n.Reason == "" {
		n.Reason = p.n.Waits(ctx, &n)
	}
	past, err := p.n.History(ctx, id)
	if err != nil {
		return api.Notice{}, nil, err
	}
	history := make([]api.NoticeChange, 0, len(past))
	for _, c := range past {
		history = append(history, api.NoticeChange{At: c.At, From: string(c.From), To: string(c.To), Who: c.Who, Reason: c.Reason, Said: string(c.Said)})
	}
	return apiNotice(&n), history, nil
}

func (p noticePort) Propose(ctx context.Context, caseID, channel, language, who, why string) (api.Notice, error) {
	return answered(p.n.Propose(ctx, caseID, notify.Channel(channel), language, who, why))
}

func (p noticePort) Approve(ctx context.Context, id, who, why string, facts map[string]any) (api.Notice, error) {
	return answered(p.n.Approve(ctx, id, who, why, facts))
}

func (p noticePort) Withdraw(ctx context.Context, id, who, why string) (api.Notice, error) {
	return answered(p.n.Withdraw(ctx, id, who, why))
}

func (p noticePort) Resolve(ctx context.Context, id string, sent bool, who, why string) (api.Notice, error) {
	return answered(p.n.Resolve(ctx, id, sent, who, why))
}

func (p noticePort) Confirm(ctx context.Context, id, became, who, why string) (api.Notice, error) {
	return answered(p.n.Confirm(ctx, id, notify.State(became), who, why))
}

// mostLetters is how many letters one batch holds.
const mostLetters = 1000

func (p noticePort) Letters(ctx context.Context, who string) (api.NoticeBatch, error) {
	p.n.printing.Lock()
	defer p.n.printing.Unlock()
	b, err := p.n.PrintBatch(ctx, p.n, who, mostLetters)
	err = errors.Join(err, p.n.follow(ctx))
	return api.NoticeBatch{Batch: b.ID, Letters: b.Letters, Unprintable: b.Unprintable, Later: b.Later}, noticeError(&notify.Notice{}, err)
}

func (p noticePort) Channels(context.Context) ([]api.NoticeChannel, api.NoticePolicy, error) {
	var list []api.NoticeChannel
	for _, c := range notify.Channels {
		x := api.NoticeChannel{Channel: string(c), Words: channelWords[c], Configured: p.n.Configured(c)}
		if !x.Configured {
			x.Reason = detect.Textf("設定に notify.%s がありません。", "notify.%s isn't in the configuration", string(c))
		}
		list = append(list, x)
	}
	o := &p.n.Policy
	clockOf := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	policy := api.NoticePolicy{
		Most: o.Most, WindowSeconds: int64(o.Window / time.Second), Again: o.Again, QuietFrom: clockOf(o.QuietFrom), QuietTo: clockOf(o.QuietTo), Zone: o.Zone.String(),
		Tries: o.Tries, TwoPeople: o.TwoPeople,
	}
	for _, c := range o.Order {
		policy.Order = append(policy.Order, string(c))
	}
	return list, policy, nil
}

func (p noticePort) Preview(ctx context.Context, id, grant, who string) (api.NoticePreview, error) {
	var g lawful.Grant
	if grant != "" {
		n, err := p.n.Get(ctx, id)
		if err == nil {
			g, err = p.n.h.gate.Find(ctx, grant)
		}
		if errors.Is(err, lawful.ErrUnknown) || err == nil && !g.Allows(lawful.Notify, lawful.Of(n.Subject), p.n.Clock.Now()) {
			err = api.ErrNoGrant
		}
		if err != nil {
			return api.NoticePreview{}, noticeError(&n, err)
		}
	}
	s, err := p.n.Desk.Preview(ctx, id, g, who)
	if u, is := errors.AsType[*notify.Unwritable](err); is {
		return api.NoticePreview{}, console.Refuse("この加入者には書けません: %s", "It can't be written for this subscriber: %s", u.Reason)
	}
	if err != nil {
		return api.NoticePreview{}, noticeError(&notify.Notice{}, err)
	}
	v, err := readable(s)
	v.Masked = grant == ""
	return v, err
}

// readable takes what goes out apart, for people.
func readable(s notify.Sheet) (v api.NoticePreview, err error) {
	v.Type = s.Type
	switch s.Type {
	case "application/pdf":
		v.PDF = s.Content
	case "text/html":
		v.HTML = string(s.Content)
	case "application/json":
		var b webhook.Body
		if err := json.Unmarshal(s.Content, &b); err != nil {
			return v, err
		}
		v.Subject, v.Text = b.Title, b.Text
	case "message/rfc822":
		m, err := stdmail.ReadMessage(bytes.NewReader(s.Content))
		if err != nil {
			return v, err
		}
		if v.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
			return v, err
		}
		text, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, m.Body))
		if err != nil {
			return v, err
		}
		v.Text = string(text)
	default:
		v.Text = string(s.Content)
	}
	return v, nil
}
