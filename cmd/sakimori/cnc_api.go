package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"sakimori/base/clock"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/cnc"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
)

// cncFiles are the ways by which the list comes in and leaves as files.
type cncFiles interface {
	Import(ctx context.Context, r io.Reader, o api.CNCSheet, who string) (api.CNCImport, error)
	Export(ctx context.Context, format string, version uint64, who string) (api.CNCExported, error)
	Exports(ctx context.Context) ([]api.CNCExport, error)
}

// cncPort is the list of C&C servers, as the API asks it. What other rooms know of an
// entry they add: how sources do, what was counted, and where it was published.
type cncPort struct {
	cncFiles

	list    *cnc.List
	never   *never.Lists
	clock   clock.Clock
	feed    func(f *api.CNCFeed)                               // how a source does; nil not known
	zones   func(ctx context.Context, f *api.CNCFile) error    // where an entry was published; nil nowhere
	zonesAt func(ctx context.Context, a *api.CNCAccount) error // and at a time
}

// cncFloor is how many clients there must be before their number is told.
const cncFloor = 10

// cncTotals is up to how many entries are counted exactly for a page.
const cncTotals = 10_000

// cncError says in both languages what a list says no to.
func cncError(err error) error {
	var protected *cnc.ProtectedError
	switch {
	case errors.As(err, &protected):
		return errors.Join(&api.Protected{Name: protected.Name, List: protected.List}, err)
	case errors.Is(err, cnc.ErrUnknown):
		return errors.Join(console.ErrNotFound, err)
	case errors.Is(err, cnc.ErrTwice):
		return errors.Join(api.ErrOwnReview, err)
	case errors.Is(err, cnc.ErrOrder):
		return refusalOf(err, cnc.ErrOrder, "その状態にはできません")
	case errors.Is(err, cnc.ErrWhy):
		return refusalOf(err, cnc.ErrWhy, "理由を書いてください")
	case errors.Is(err, cnc.ErrValue):
		return refusalOf(err, cnc.ErrValue, "名前、アドレス、範囲、URL のいずれでもありません")
	case errors.Is(err, cnc.ErrExpires):
		return refusalOf(err, cnc.ErrExpires, "これから来る期限を指定してください")
	case errors.Is(err, cnc.ErrRole):
		return refusalOf(err, cnc.ErrRole, "遮断できるのは C&C サーバーだけです")
	case errors.Is(err, cnc.ErrReading):
		return refusalOf(err, cnc.ErrReading, "この読み込みは取り込めません")
	}
	return err
}

func shownSaid(list []cnc.Said) []api.CNCSource {
	out := []api.CNCSource{}
	for _, s := range list {
		out = append(out, api.CNCSource{
			Source: s.Source, Evidence: s.Evidence, Confidence: s.Confidence, First: momentOrNull(s.First), Last: momentOrNull(s.Last), Until: momentOrNull(s.Until), Gone: !s.Gone.IsZero(),
		})
	}
	return out
}

func shownEvents(list []cnc.Event) []api.CNCEvent {
	out := []api.CNCEvent{}
	for i := range list {
		e := &list[i]
		out = append(out, api.CNCEvent{At: e.At, Who: e.Who, What: e.What, Words: e.Words(), Why: bothWords(e.Why)})
	}
	return out
}

// bothWords is a text in one field: what a person wrote is the same in both languages.
func bothWords(t detect.Text) string {
	if t.JA == t.EN || t.EN == "" {
		return t.JA
	}
	return t.JA + " / " + t.EN
}

func shownCNC(e *cnc.Entry) api.CNCEntry {
	out := api.CNCEntry{
		ID: e.ID, Kind: string(e.Kind), Value: e.Value, Port: e.Port, Role: string(e.Role), Family: e.Family, State: string(e.State), Words: e.State.Words(), Score: e.Score,
		FirstSeen: momentOrNull(e.First), LastSeen: momentOrNull(e.Last), Opened: e.Opened, Changed: e.Changed, Expires: momentOrNull(e.Expires), Sinkholed: e.Sinkholed, Emergency: e.Emergency,
		Sources: shownSaid(e.Sources), NeedsTwo: e.Two, HitsTotal: uint64(max(e.Hits, 0)), WouldTotal: uint64(max(e.Would, 0)), Reason: e.Reason,
	}
	if e.Waits != nil {
		out.Reason = e.Waits
	}
	for _, r := range e.Reviews {
		out.Reviews = append(out.Reviews, api.CNCVerdict{Who: r.Who, At: r.At, Verdict: r.Verdict, Why: r.Why})
	}
	return out
}

// counted adds what was counted of entries today.
func (p *cncPort) counted(ctx context.Context, list ...*api.CNCEntry) error {
	ids := make([]string, len(list))
	for i, e := range list {
		ids[i] = e.ID
	}
	asked, err := p.list.Counted(ctx, ids, p.clock.Now().UTC().Truncate(24*time.Hour))
	for _, e := range list {
		a := asked[e.ID]
		e.BlocksDay, e.WouldDay, e.HitsDay = uint64(max(a.Blocks, 0)), uint64(max(a.Would, 0)), uint64(max(a.Hits+a.Would, 0))
	}
	return err
}

func (p *cncPort) blast(ctx context.Context, e *cnc.Entry) *api.CNCBlast {
	b := p.list.Losing(ctx, e)
	if b == nil || !b.Known {
		return nil
	}
	out := &api.CNCBlast{Floor: cncFloor, Error: b.Error, Beside: b.Beside, BelowFloor: b.Clients < cncFloor}
	if !out.BelowFloor {
		out.ClientsDay = uint64(b.Clients + 0.5)
	}
	return out
}

// Page is a part of the list.
func (p *cncPort) Page(ctx context.Context, q api.CNCQuery) (list []api.CNCEntry, total api.Count, next string, err error) {
	in := cnc.Query{Kind: observe.IndicatorKind(q.Kind), Family: q.Family, Source: q.Source, Text: q.Text, Order: cnc.Order(q.Order), After: q.After, Limit: q.Limit, Full: true}
	held := slices.Contains(q.States, "held") // of an entry: in force no more until a person looked
	for _, s := range q.States {
		if s != "held" {
			in.States = append(in.States, cnc.State(s))
		}
	}
	in.Waits = held && len(in.States) == 0
	found, next, err := p.list.Page(ctx, in)
	if err != nil {
		return nil, total, "", cncError(err)
	}
	if total.Count, total.Exact, err = p.list.Total(ctx, in, cncTotals); err != nil {
		return nil, total, "", cncError(err)
	}
	list = make([]api.CNCEntry, len(found))
	all := make([]*api.CNCEntry, len(found))
	for i := range found {
		list[i] = shownCNC(&found[i])
		all[i] = &list[i]
	}
	return list, total, next, p.counted(ctx, all...)
}

// Queue is what waits for a person.
func (p *cncPort) Queue(ctx context.Context, limit int, after string) (list []api.CNCWaiting, total api.Count, next string, err error) {
	found, next, err := p.list.Queue(ctx, after, limit)
	if err != nil {
		return nil, total, "", cncError(err)
	}
	list = make([]api.CNCWaiting, len(found))
	all := make([]*api.CNCEntry, len(found))
	for i := range found {
		list[i] = api.CNCWaiting{CNCEntry: shownCNC(&found[i]), Blast: p.blast(ctx, &found[i])}
		all[i] = &list[i].CNCEntry
	}
	if err := p.counted(ctx, all...); err != nil {
		return nil, total, "", err
	}
	total.Count, total.Exact, err = p.list.Total(ctx, cnc.Query{Waits: true}, cncTotals)
	total.Count, total.Exact = max(total.Count, len(list)), total.Exact && next == "" && after == "" && total.Count == len(list)
	return list, total, next, err
}

// Summary is how the list does.
func (p *cncPort) Summary(ctx context.Context) (out api.CNCSummary, err error) {
	s, err := p.list.Summary(ctx)
	if err != nil {
		return out, err
	}
	for _, st := range cnc.States() {
		out.States = append(out.States, api.StateCount{State: string(st), Words: st.Words(), Count: s.States[st]})
	}
	for _, f := range s.Families {
		out.Families = append(out.Families, api.CNCFamily{Name: f.Name, Count: f.Count, Enforced: f.Enforced})
	}
	backed, err := p.list.Backed(ctx)
	if err != nil {
		return out, cncError(err)
	}
	for _, x := range s.Sources {
		f := api.CNCFeed{Source: x.Name, LastSuccess: momentOrNull(x.Read), Listed: x.Listed, Trust: x.Trust, HalfLifeDays: x.HalfLife.Hours() / 24, Enforced: backed[x.Name]}
		if p.feed != nil {
			p.feed(&f)
		}
		out.Sources = append(out.Sources, f)
	}
	held, err := p.list.Held(ctx)
	for i := range held {
		out.Held = append(out.Held, shownHeld(&held[i]))
	}
	out.Review, out.Shadow, out.Enforced, out.ExpiringWeek = s.States[cnc.Scored]+s.Waiting, s.States[cnc.Shadow], s.States[cnc.Enforced], s.Expiring
	out.Protected = api.CNCGuarded{Lists: len(p.never.Lists()), Names: p.never.Names()}
	return out, err
}

func shownHeld(x *cnc.Held) api.CNCHeld {
	state := map[string]string{"held": "waiting", "applied": "released"}[x.State]
	if state == "" {
		state = x.State
	}
	return api.CNCHeld{ID: x.ID, Source: x.Source, At: x.At, Why: x.Why, State: state, Size: x.Size, Before: x.Before, Added: x.Added, Removed: x.Removed}
}

// File is an entry with all that belongs to it.
func (p *cncPort) File(ctx context.Context, id string) (out api.CNCFile, err error) {
	e, history, err := p.list.Get(ctx, id)
	if err != nil {
		return out, cncError(err)
	}
	out.Entry, out.History, out.Blast = shownCNC(&e), shownEvents(history), p.blast(ctx, &e)
	if err := p.counted(ctx, &out.Entry); err != nil {
		return out, err
	}
	score, terms, err := p.list.Explain(ctx, &e)
	if err != nil {
		return out, err
	}
	out.Entry.Score = score
	for _, t := range terms {
		out.Explain = append(out.Explain, api.CNCTerm{Term: t.Term, Words: t.Words, Value: t.Value})
	}
	if p.zones != nil {
		err = p.zones(ctx, &out)
	}
	return out, err
}

// Why tells how a name stood at a time.
func (p *cncPort) Why(ctx context.Context, name string, at time.Time) (out api.CNCAccount, err error) {
	name = normalValue(name)
	a, err := p.list.Why(ctx, name, at)
	if err != nil {
		return out, cncError(err)
	}
	out = api.CNCAccount{
		Name: a.Value, At: a.At, InForce: a.InForce, Matched: a.Matched, Who: a.Who, Why: bothWords(a.Because), Evidence: shownSaid(a.Sources), Said: a.Said, History: shownEvents(a.History),
	}
	if a.Entry != nil {
		e := shownCNC(a.Entry)
		out.Entry = &e
	}
	if p.zonesAt != nil {
		err = p.zonesAt(ctx, &out)
	}
	return out, err
}

// normalValue is what a person typed, as the list writes it: what can't be read stays as it is,
// and is refused where it is looked up.
func normalValue(s string) string {
	var value string
	_, err := indicator.Read(strings.NewReader(strings.TrimSpace(s)+"\n"), indicator.Options{Source: "typed", Format: indicator.Plain}, func(i *observe.Indicator) error {
		value = i.Value
		return nil
	})
	if err != nil || value == "" {
		return strings.TrimSpace(s)
	}
	return value
}

func shownOr(e cnc.Entry, err error) (api.CNCEntry, error) {
	if err != nil {
		return api.CNCEntry{}, cncError(err)
	}
	return shownCNC(&e), nil
}

// Add puts an entry on the list.
func (p *cncPort) Add(ctx context.Context, o api.CNCOrder) (api.CNCEntry, error) {
	return shownOr(p.list.Add(ctx, cnc.Addition{
		Kind: observe.IndicatorKind(o.Kind), Value: normalValue(o.Value), Family: strings.ToLower(o.Family), Evidence: o.Evidence, Expires: o.Expires, Emergency: o.Emergency, Who: o.Who, Why: o.Why,
	}))
}

// Review enters a verdict.
func (p *cncPort) Review(ctx context.Context, id, verdict, who, why string) (api.CNCEntry, error) {
	return shownOr(p.list.Review(ctx, id, who, verdict == "yes", why))
}

// Withdraw takes an entry off.
func (p *cncPort) Withdraw(ctx context.Context, id, who, why string) (api.CNCEntry, error) {
	return shownOr(p.list.Withdraw(ctx, id, who, why))
}

// Renew lets an entry last longer.
func (p *cncPort) Renew(ctx context.Context, id string, until time.Time, who, why string) (api.CNCEntry, error) {
	return shownOr(p.list.Renew(ctx, id, until, who, why))
}

// Sinkhole says whether defenders have an entry.
func (p *cncPort) Sinkhole(ctx context.Context, id string, sinkholed bool, who, why string) (api.CNCEntry, error) {
	return shownOr(p.list.Sinkhole(ctx, id, sinkholed, who, why))
}

func heldOr(x cnc.Held, err error) (api.CNCHeld, error) {
	if err != nil {
		return api.CNCHeld{}, cncError(err)
	}
	return shownHeld(&x), nil
}

// Release lets a reading through.
func (p *cncPort) Release(ctx context.Context, id, who, why string) (api.CNCHeld, error) {
	return heldOr(p.list.Release(ctx, id, who, why))
}

// Refuse drops a reading.
func (p *cncPort) Refuse(ctx context.Context, id, who, why string) (api.CNCHeld, error) {
	return heldOr(p.list.Refuse(ctx, id, who, why))
}

var _ api.CNC = (*cncPort)(nil)
