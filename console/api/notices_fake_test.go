package api

import (
	"context"
	"slices"
	"time"

	"sakimori/console"
	"sakimori/detect"
)

// memoryNotices holds notices of one case, and does what it is told.
type memoryNotices struct {
	list []Notice
	acts []string // who did what to which
}

func newMemoryNotices() *memoryNotices {
	m := &memoryNotices{}
	for i, state := range []string{"sent", "approved", "in_doubt", "proposed"} {
		m.list = append(m.list, Notice{
			ID: "n" + string(rune('1'+i)), Case: "C-2026-000001", Subject: "S-1", Channel: "mail", Template: NoticeTemplate{"mirai", "camera"}, Reference: "4821-0937-5516",
			State: state, Words: detect.Text{JA: "状態", EN: "state"}, Reason: "=of " + ownSource.String(), Proposer: "abuse", Proposed: dataEnd.Add(time.Duration(i) * time.Minute), Changed: dataEnd,
		})
	}
	m.list[0].Sent = &dataEnd
	return m
}

func (m *memoryNotices) find(id string) (*Notice, error) {
	i := slices.IndexFunc(m.list, func(n Notice) bool { return n.ID == id })
	if i < 0 {
		return nil, ErrNotFound
	}
	return &m.list[i], nil
}

func (m *memoryNotices) OfCase(_ context.Context, id string) (out []Notice, err error) {
	for _, n := range m.list {
		if n.Case == id {
			out = append(out, n)
		}
	}
	return out, nil
}

func (m *memoryNotices) Page(_ context.Context, q NoticeQuery) (rows []Notice, total int, err error) {
	var all []Notice
	for _, n := range m.list {
		if (q.Case == "" || n.Case == q.Case) && (q.State == "" || n.State == q.State) && (q.Channel == "" || n.Channel == q.Channel) {
			all = append(all, n)
		}
	}
	from := min(q.Offset, len(all))
	return all[from:min(from+q.Limit, len(all))], len(all), nil
}

func (m *memoryNotices) Get(_ context.Context, id string) (Notice, []NoticeChange, error) {
	n, err := m.find(id)
	if err != nil {
		return Notice{}, nil, err
	}
	return *n, []NoticeChange{{At: dataEnd, To: "proposed", Who: "abuse", Reason: "reported"}, {At: dataEnd, From: "sent", To: "delivered", Who: "subscriber", Said: "seen"}}, nil
}

func (m *memoryNotices) Propose(_ context.Context, caseID, channel, language, who, why string) (Notice, error) {
	if caseID != "C-2026-000001" {
		return Notice{}, ErrNotFound
	}
	m.acts = append(m.acts, who+" proposes "+channel+language+": "+why)
	return m.list[3], nil
}

func (m *memoryNotices) Preview(_ context.Context, id, grant, who string) (NoticePreview, error) {
	n, err := m.find(id)
	switch {
	case err != nil:
		return NoticePreview{}, err
	case grant == "":
		return NoticePreview{Type: "message/rfc822", Subject: "お知らせ", Text: "●●●● " + n.Reference, Masked: true}, nil
	case grant != "G-good":
		return NoticePreview{}, ErrNoGrant
	}
	m.acts = append(m.acts, who+" looks")
	return NoticePreview{Type: "application/pdf", PDF: []byte("%PDF")}, nil
}

func (m *memoryNotices) act(id, from, to, what string) (Notice, error) {
	n, err := m.find(id)
	if err != nil {
		return Notice{}, err
	}
	if from != "" && n.State != from {
		return Notice{}, console.Refuse("今の状態(%s)ではできません。", "It is %s now.", n.State)
	}
	n.State = to
	m.acts = append(m.acts, what)
	return *n, nil
}

func (m *memoryNotices) Approve(_ context.Context, id, who, why string, facts map[string]any) (Notice, error) {
	if n, err := m.find(id); err == nil && n.State == "proposed" && facts["harm"] == nil {
		return Notice{}, console.Refuse("侵害が示されていません", "the harm isn't shown")
	}
	return m.act(id, "proposed", "approved", who+" approves: "+why)
}

func (m *memoryNotices) Withdraw(_ context.Context, id, who, why string) (Notice, error) {
	return m.act(id, "", "withdrawn", who+" withdraws: "+why)
}

func (m *memoryNotices) Resolve(_ context.Context, id string, sent bool, who, why string) (Notice, error) {
	return m.act(id, "in_doubt", map[bool]string{true: "sent", false: "failed"}[sent], who+" resolves: "+why)
}

func (m *memoryNotices) Confirm(_ context.Context, id, became, who, why string) (Notice, error) {
	return m.act(id, "sent", became, who+" confirms: "+why)
}

func (m *memoryNotices) Letters(_ context.Context, who string) (NoticeBatch, error) {
	m.acts = append(m.acts, who+" prints")
	return NoticeBatch{Batch: "b", Letters: 2, Unprintable: 1}, nil
}

func (m *memoryNotices) Channels(context.Context) ([]NoticeChannel, NoticePolicy, error) {
	return []NoticeChannel{{Channel: "mail", Configured: true}}, NoticePolicy{Most: 3, WindowSeconds: 2592000, Order: []string{"mail"}}, nil
}
