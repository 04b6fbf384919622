package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"sakimori/base/clock"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/respond/casework"
)

// ports are what the API asks of an office.
func (h *office) ports(cfg *config) (*api.Office, error) {
	list, err := h.listPort()
	if err != nil {
		return nil, err
	}
	o := &api.Office{
		CNC: list, Lookups: lookupsPort{h, h.lookups}, Choices: choosing{h},
		Cases: deskPort{h.desk, h.clock}, Subscribers: identities{h}, Gate: h.gate, Guideline: h.guideline, Consents: consentsPort{h.consents, h.clock},
		Ledger: &ledgerPort{book: h.book, dir: h.dir}, Intake: newIntake(h), Clock: h.clock,
	}
	if h.zones != nil {
		o.Zones = zonesPort{h, cfg}
	}
	return o, nil
}

// deskPort is the desk, as the API asks it.
type deskPort struct {
	*casework.Desk

	clock clock.Clock
}

// deskError says in both languages what a desk says no to.
func deskError(err error) error {
	switch {
	case errors.Is(err, casework.ErrUnknown):
		return errors.Join(console.ErrNotFound, err)
	case errors.Is(err, casework.ErrOrder):
		return refusalOf(err, casework.ErrOrder, "案件をその状態にはできません")
	case errors.Is(err, casework.ErrHeld):
		return refusalOf(err, casework.ErrHeld, "案件は保留中です。先に保留を解除してください。")
	case errors.Is(err, casework.ErrWhy):
		return refusalOf(err, casework.ErrWhy, "理由を書いてください。")
	case errors.Is(err, casework.ErrBulk):
		return refusalOf(err, casework.ErrBulk, "一括処理(move、assign、hold、release)と、1 件から 1000 件の案件を指定してください")
	}
	return err
}

// refusalOf says an error in both languages: what it is of in Japanese, with what it names.
func refusalOf(err, of error, ja string) error {
	if rest, is := strings.CutPrefix(err.Error(), of.Error()+": "); is {
		ja += ": " + rest
	}
	return &console.Refusal{Text: detect.Text{JA: ja, EN: err.Error()}}
}

func momentOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func shownCase(c *casework.Case, now time.Time) api.Case {
	out := api.Case{
		ID: c.ID, Subject: c.Subject, State: string(c.State), Words: c.State.Words(), Family: c.Family, Device: c.Device, Opened: c.Opened, Changed: c.Changed,
		Seen: c.Seen, Due: momentOrNull(c.Due), Overdue: !c.Due.IsZero() && now.After(c.Due), Notices: c.Notices, Assignee: c.Assignee, Held: c.Held,
		Reason: c.Reason, Merged: c.Merged, Open: c.State.Open(), Next: []string{},
	}
	for _, s := range casework.States {
		if c.Merged == "" && c.State.May(s) {
			out.Next = append(out.Next, string(s))
		}
	}
	return out
}

// verdicts says what the attribution made of a sign.
var verdicts = map[string]detect.Text{
	"unique":           {JA: "加入者を一人に特定できました", EN: "one subscriber alone had the address"},
	"unique_with_skew": {JA: "時刻のずれを考えても該当するのは一人です", EN: "one subscriber alone had it, with a doubt about the time"},
	"ambiguous":        {JA: "複数の加入者がありえます", EN: "several may have had it"},
	"expired":          {JA: "記録がありません", EN: "the log doesn't say"},
	"foreign":          {JA: "自社のアドレスではありません", EN: "not an address of ours"},
	"no_port":          {JA: "ポートが分かりません", EN: "the port isn't told"},
	"mediated":         {JA: "リゾルバー越しに観測されました", EN: "seen through a resolver"},
	"other":            {JA: "注意喚起の対象ではありません", EN: "nothing that a subscriber would be told"},
}

// doubtOf says in both languages what a sign keeps in one.
func doubtOf(en string) *detect.Text {
	for _, t := range append(slices.Collect(maps.Values(doubts)), mediated, untold) {
		if t.EN == en {
			return &t
		}
	}
	return &detect.Text{JA: en, EN: en}
}

func shownSigns(list []casework.Sign) []api.Sign {
	out := make([]api.Sign, 0, len(list))
	for i := range list {
		s := &list[i]
		x := api.Sign{
			ID: s.ID, Source: s.Source, Claim: s.Claim, Family: s.Family, At: s.At, Came: s.Came, Verdict: s.Verdict, Words: verdicts[s.Verdict],
			Mediated: s.Mediated, Withdrawn: s.Withdrawn,
		}
		if s.Doubt != "" {
			x.Doubt = doubtOf(s.Doubt)
		}
		out = append(out, x)
	}
	return out
}

func (d deskPort) Page(ctx context.Context, q api.CaseQuery) ([]api.Case, int, error) {
	x := casework.Query{
		Family: q.Family, Device: q.Device, Assignee: q.Assignee, Open: q.Open, Held: q.Held, Overdue: q.Overdue, Text: q.Text, Limit: q.Limit, Offset: q.Offset,
	}
	for _, s := range q.States {
		x.States = append(x.States, casework.State(s))
	}
	list, total, err := d.Desk.Page(ctx, x)
	now, out := d.clock.Now(), make([]api.Case, 0, len(list))
	for i := range list {
		out = append(out, shownCase(&list[i], now))
	}
	return out, total, err
}

func (d deskPort) Summary(ctx context.Context, from, to time.Time) (api.CaseSummary, error) {
	s, err := d.Desk.Summary(ctx, from, to)
	out := api.CaseSummary{
		From: from, To: to, Open: s.Open, Overdue: s.Overdue, Held: s.Held, Unassigned: s.Unassigned, Nobody: s.Nobody, Flow: api.CaseFlow(s.Flow),
		Families: groups(s.Families), Devices: groups(s.Devices), Days: make([]api.CaseDay, 0, len(s.Days)),
	}
	for _, state := range casework.States {
		out.States = append(out.States, api.StateCount{State: string(state), Words: state.Words(), Count: s.States[state]})
	}
	for _, x := range s.Days {
		out.Days = append(out.Days, api.CaseDay{At: x.At, CaseFlow: api.CaseFlow(x.Flow)})
	}
	return out, err
}

func groups(list []casework.Group) []api.CaseGroup {
	out := make([]api.CaseGroup, 0, len(list))
	for _, g := range list {
		out = append(out, api.CaseGroup{Name: g.Name, Open: g.Open, CaseFlow: api.CaseFlow(g.Flow)})
	}
	return out
}

func (d deskPort) Case(ctx context.Context, id string) (api.Case, error) {
	c, _, _, err := d.Get(ctx, id) // a merged one, too, and not the one that it was merged into
	return shownCase(&c, d.clock.Now()), deskError(err)
}

func (d deskPort) File(ctx context.Context, id string) (api.CaseFile, error) {
	c, history, signs, err := d.Get(ctx, id)
	if err != nil {
		return api.CaseFile{}, deskError(err)
	}
	out := api.CaseFile{Case: shownCase(&c, d.clock.Now()), Signs: shownSigns(signs), Why: c.Why(history)}
	for _, e := range history {
		out.History = append(out.History, api.CaseEvent{N: e.N, At: e.At, Who: e.Who, What: e.What, Why: e.Why})
	}
	deadlines, err := d.Deadlines(ctx, &c)
	for _, x := range deadlines {
		out.Deadlines = append(out.Deadlines, api.CaseDeadline{
			ID: x.ID, Name: x.Name, Source: x.Source, Due: x.Due, Done: momentOrNull(x.Done), Over: x.Over, Verified: x.Verified,
		})
	}
	return out, err
}

func (d deskPort) Nobody(ctx context.Context, limit, offset int) ([]api.Sign, int, error) {
	list, total, err := d.Desk.Nobody(ctx, limit, offset)
	return shownSigns(list), total, err
}

func (d deskPort) Move(ctx context.Context, id, to, who, why string) error {
	return deskError(d.Desk.Move(ctx, id, casework.State(to), who, why))
}

func (d deskPort) Assign(ctx context.Context, id, to, who, why string) error {
	return deskError(d.Desk.Assign(ctx, id, to, who, why))
}

func (d deskPort) Note(ctx context.Context, id, who, text string) error {
	return deskError(d.Desk.Note(ctx, id, who, text))
}

func (d deskPort) Hold(ctx context.Context, id string, held bool, who, why string) error {
	return deskError(d.Desk.Hold(ctx, id, held, who, why))
}

func (d deskPort) Merge(ctx context.Context, id, into, who, why string) error {
	return deskError(d.Desk.Merge(ctx, id, into, who, why))
}

func shownBulk(b *casework.Bulk) api.Bulk {
	out := api.Bulk{ID: b.ID, Action: string(b.Action), To: b.To, Why: b.Why, Who: b.Who, Asked: b.Asked, At: b.At, State: b.State, Cases: []api.BulkCase{}}
	for _, c := range b.Cases {
		out.Cases = append(out.Cases, api.BulkCase(c))
	}
	return out
}

func (d deskPort) Bulk(ctx context.Context, o api.BulkOrder) (api.Bulk, error) {
	b, err := d.Desk.Bulk(ctx, casework.Order{Action: casework.Action(o.Action), To: o.To, Cases: o.Cases, Who: o.Who, Why: o.Why})
	return shownBulk(&b), deskError(err)
}

func (d deskPort) Bulks(ctx context.Context) (out []api.Bulk, err error) {
	const newest = 100
	list, err := d.Desk.Bulks(ctx, newest)
	for i := range list {
		out = append(out, shownBulk(&list[i]))
	}
	return out, err
}

func (d deskPort) StopBulk(ctx context.Context, id, who, why string) (api.Bulk, error) {
	b, err := d.Desk.StopBulk(ctx, id, who, why)
	return shownBulk(&b), deskError(err)
}
