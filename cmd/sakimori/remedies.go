package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/lawful"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/respond"
	remedy "sakimori/respond/leak"
	acts "sakimori/respond/leak/desk"
)

// remedies are what can be done about an incident of routing, and the desk of the one
// thing that the house does itself. A nil one does nothing.
type remedies struct {
	actDecisions[acts.Announcement, api.RouteAct]

	desk     *acts.Desk
	house    *remedy.House
	register *register.Register
	table    func() *routing // nil before routes are taken
}

var _ api.Remedies = (*remedies)(nil)

// openRemedies opens the desk of announcements in a house.
func (h *office) openRemedies(ctx context.Context, cfg *config, incidents *register.Register, names func(uint32) string, log *slog.Logger, table func() *routing) (*remedies, error) {
	r := &remedies{house: cfg.Route.operator(names), register: incidents, table: table}
	d := acts.Deps{
		DB: h.db, Clock: cfg.now(), House: r.house, ROAs: r, Incidents: incidents, Finding: findingOf, DataTime: r.newest, Gate: h.gate, Guideline: h.guideline,
		Recorder: routeDeeds{h.book}, Sight: r,
		Policy: acts.Policy{Policy: respond.Policy{Live: cfg.Route.Announce.Live, Approvals: cfg.Route.Announce.Approvals, TTL: cfg.Route.Announce.TTL}},
	}
	if h.acts != nil && h.acts.speaker != nil {
		d.Announcers = append(d.Announcers, h.acts.speaker.Origins())
	}
	var err error
	r.desk, err = acts.Open(ctx, d)
	r.actDecisions = actDecisions[acts.Announcement, api.RouteAct]{r.desk, apiRouteAct, remedyError, log}
	return r, err
}

// routeDeeds writes down what is about to be done. Own prefixes are public.
type routeDeeds struct{ book *ledger.Book }

func (d routeDeeds) Record(ctx context.Context, x acts.Deed) error {
	kind := account.Acted
	if x.To == respond.Approved || x.To == respond.Refused {
		kind = account.Approved
	}
	_, err := d.book.Append(ctx, ledger.Line{Kind: kind, Who: x.By, What: x})
	return err
}

// keptIncidents tells the gate how incidents of routing stand, as they are kept.
type keptIncidents struct{ *register.Register }

func (k keptIncidents) Open(ctx context.Context, id string) (lawful.Finding, error) {
	i, err := k.Register.Incident(ctx, id)
	if errors.Is(err, register.ErrNoIncident) {
		return lawful.Finding{}, nil
	}
	if err != nil {
		return lawful.Finding{}, err
	}
	subject := i.Adjacency
	if len(i.Own) > 0 {
		subject = i.Own[0].Prefix.Addr().String()
	}
	return lawful.Finding{Detector: leakDetector, Subject: subject, Open: i.State != detect.Closed}, nil
}

// remedyError says in both languages what the desk says no to.
func remedyError(err error) error {
	return actError(err, register.ErrNoIncident, map[error]string{
		acts.ErrScope: "提案された細分経路ではないか、広告できません", acts.ErrTwice: "別の広告で扱われています", acts.ErrOver: "障害は終わっています",
	})
}

// newest is the time of the newest route.
func (r *remedies) newest() time.Time {
	if l := r.table(); l != nil {
		if at := l.newest.Load(); at > 0 {
			return time.Unix(0, at).UTC()
		}
	}
	return time.Time{}
}

// ROV is the state of an origin.
func (r *remedies) ROV(p netip.Prefix, origin uint32) remedy.ROV {
	if l := r.table(); l != nil && l.run.set.rpki != nil {
		return remedy.ROV(l.run.set.rpki.Origin(p, origin).String())
	}
	return remedy.ROVUnknown
}

var errNoTable = errors.New(say("経路表がありません: serve で route を設定してください", "there is no table of routes: configure route for serve"))

// Seen tells who sees our own announcement of a prefix.
func (r *remedies) Seen(_ context.Context, p netip.Prefix) (peers, whole int, err error) {
	l := r.table()
	if l == nil {
		return 0, 0, errNoTable
	}
	l.live.Do(func(t *route.Table) {
		n := t.Number(p)
		if n == 0 {
			_, whole = t.Seen(0)
			return
		}
		_, whole = t.Seen(n)
		own := map[uint32]bool{r.house.AS: true}
		for i := range r.house.Own {
			for _, as := range r.house.Own[i].Origins {
				own[as] = true
			}
		}
		t.Of(n, func(_, path uint32) bool {
			if own[t.Path(path).Origin] {
				peers++
			}
			return true
		})
	})
	return peers, whole, nil
}

// Offered calls f with what a neighbour announces now.
func (r *remedies) Offered(_ context.Context, neighbor uint32, f func(*remedy.Offered) bool) (known bool, err error) {
	l := r.table()
	if l == nil {
		return false, nil
	}
	var o remedy.Offered
	l.live.Do(func(t *route.Table) {
		peers := map[uint32]bool{}
		t.Peers(func(p *observe.RoutePeer) {
			if p.AS == neighbor && p.Up && (p.View == observe.RouteAdjIn || p.View == observe.RouteCollector) {
				peers[p.Number] = true
			}
		})
		if len(peers) == 0 {
			return
		}
		known = true
		more := true
		t.All(func(n uint32) bool {
			t.Of(n, func(peer, path uint32) bool {
				if !peers[peer] {
					return true
				}
				o = remedy.Offered{Neighbor: neighbor, Prefix: t.Prefix(n)}
				seenBy(&o, t.Path(path), l.run.set)
				more = f(&o)
				return more
			})
			return more
		})
	})
	return known, nil
}

// Lines are a message in words.
func (r *remedies) Lines(m detect.RouteMessage) []string { return messageLines(m) }

func (r *remedies) Remedies(ctx context.Context, id string) (out api.RemedyList, err error) {
	i, err := r.register.Incident(ctx, id)
	if err != nil {
		return out, remedyError(err)
	}
	kept := r.prefixes(&i)
	for _, c := range remedy.Contacts(r.house, &i, r, r.desk.Clock.Now()) {
		out.Contacts = append(out.Contacts, api.RemedyContact{AS: c.AS, Name: c.Name, Role: string(c.Role), Where: c.Where, Look: c.Look, Text: c.Text, Mail: c.Mail})
	}
	filters, err := remedy.Filters(ctx, r.house, &i, kept, r)
	if err != nil {
		return out, err
	}
	for k := range filters {
		f := &filters[k]
		out.Filters = append(out.Filters, api.RemedyFilter{
			Vendor: f.Vendor, Neighbor: f.Neighbor, Title: f.Title, Text: f.Text, Checked: f.Checked, Rejects: f.Rejects, Misses: f.Misses, AlsoRejects: f.AlsoRejects, Known: f.Known,
		})
	}
	for _, m := range remedy.MaxPrefixes(r.house, r.maxima()) {
		out.MaxPrefix = append(out.MaxPrefix, api.RemedyMaxPrefix{
			Neighbor: m.Neighbor, Family: m.Family, Now: m.Now, Maximum: m.Maximum, Limit: m.Limit, Warn: m.Warn, Known: m.Known, Why: m.Why, Lines: m.Lines,
		})
	}
	for _, m := range remedy.MoreSpecifics(r.house, &i, r) {
		out.MoreSpecifics = append(out.MoreSpecifics, api.RemedyMoreSpecific{Prefix: m.Prefix.String(), Of: m.Of.String(), Effect: m.Effect, SideEffects: m.SideEffects, Possible: m.Possible, Why: m.Why})
	}
	list, err := r.desk.List(ctx, respond.Query{About: id})
	for k := range list {
		whole, err := r.desk.Get(ctx, list[k].ID)
		if err != nil {
			return out, err
		}
		out.Acts = append(out.Acts, apiRouteAct(&whole))
	}
	return out, err
}

// prefixes are all those of an incident, as far as they are at hand.
func (r *remedies) prefixes(i *detect.Incident) (list []netip.Prefix) {
	if l := r.table(); l != nil {
		l.live.Do(func(*route.Table) { list = l.run.leaks.Prefixes(i.ID) })
	}
	if len(list) == 0 {
		for k := range i.Sample {
			list = append(list, i.Sample[k].Prefix)
		}
	}
	return list
}

// maxima are how many prefixes our neighbours announce, and at most did.
func (r *remedies) maxima() (out []remedy.Count) {
	l := r.table()
	if l == nil {
		return nil
	}
	l.live.Do(func(*route.Table) {
		for _, m := range l.run.leaks.Maxima() {
			c := remedy.Count{Neighbor: m.AS, Family: "ipv4", Now: m.Now}
			if m.V6 {
				c.Family = "ipv6"
			}
			if m.Most > 0 {
				most := m.Most
				c.Maximum = &most
			}
			out = append(out, c)
		}
	})
	return out
}

func apiRouteAct(a *acts.Announcement) api.RouteAct {
	out := api.RouteAct{ActLife: apiAct(&a.Act), State: string(a.State), Incident: a.Incident}
	for _, p := range a.Prefixes {
		out.Prefixes = append(out.Prefixes, p.String())
	}
	for _, h := range a.Held {
		out.Held = append(out.Held, api.RouteHeld{Peer: h.Peer, Routes: h.Rules, At: h.At})
	}
	return out
}

// brief is how many acts an incident has, and the one that has come furthest.
func (r *remedies) brief(ctx context.Context, incident string) (int, *api.MitigationBrief, error) {
	if r == nil {
		return 0, nil, nil
	}
	list, err := r.desk.List(ctx, respond.Query{About: incident})
	return len(list), actBrief(list, func(x *acts.Announcement) *respond.Act { return &x.Act }), err
}

func (r *remedies) Propose(ctx context.Context, incident string, prefixes []string, by, why string) (api.RouteAct, error) {
	i, err := r.register.Incident(ctx, incident)
	if err != nil {
		return api.RouteAct{}, remedyError(err)
	}
	var list []netip.Prefix
	for _, w := range prefixes {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			return api.RouteAct{}, &console.Refusal{Text: detect.Text{JA: w + " はプレフィックスではありません", EN: fmt.Sprintf("%q is no prefix", w)}}
		}
		list = append(list, p.Masked())
	}
	return r.told(r.desk.Propose(ctx, &i, list, by, why))
}

// follow has the desk look at incidents.
func (r *remedies) follow(ctx context.Context, ready func()) error {
	told := map[string]time.Time{} // which version of an incident the desk knows
	return keepActs(ctx, ready, "announcements", r.desk, r.log, func(ctx context.Context) (err error) {
		l := r.table()
		if l == nil {
			return nil
		}
		for _, i := range l.run.all() {
			if told[i.ID].Equal(i.Changed) {
				continue
			}
			if failed := r.desk.Incident(ctx, &i); failed != nil {
				err = errors.Join(err, fmt.Errorf("incident %s: %w", i.ID, failed))
				continue
			}
			told[i.ID] = i.Changed
		}
		_, due := r.desk.Tick(ctx)
		return errors.Join(err, due)
	})
}
