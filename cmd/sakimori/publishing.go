package main

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/run"
	"sakimori/detect/cnc"
	"sakimori/lawful"
	"sakimori/observe"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/optout"
	"sakimori/respond/rpz/primary"
	"sakimori/respond/rpz/publish"
)

// inForce is the list as those who publish it read it: what resolvers can block of it.
type inForce struct{ list *cnc.List }

func (x inForce) Newest(ctx context.Context) (int64, error) { return x.list.Seq(ctx) }

// All reads the list in parts; who ends early ends it.
func (x inForce) All(ctx context.Context) iter.Seq2[publish.Entry, error] {
	return func(yield func(publish.Entry, error) bool) {
		done := context.Canceled // said by who has enough
		_, err := x.list.Enforced(ctx, func(part []cnc.Entry) error {
			for i := range part {
				if e, is := nameOf(&part[i]); is && part[i].InForce() && !yield(e, nil) {
					return done
				}
			}
			return nil
		})
		if err != nil && err != done { //nolint:errorlint // it is that very one
			yield(publish.Entry{}, err)
		}
	}
}

func (x inForce) Changes(ctx context.Context, after int64, limit int) ([]publish.Change, error) {
	list, err := x.list.Changes(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]publish.Change, 0, len(list))
	for i := range list {
		c := &list[i]
		e, is := nameOf(&c.Entry)
		if !is { // an address: for others to block; but how far it was read counts
			e = publish.Entry{ID: c.Entry.ID}
		}
		out = append(out, publish.Change{Entry: e, Seq: c.Seq, In: c.In && is, Now: !c.In && is && c.Entry.State == cnc.Withdrawn})
	}
	return out, nil
}

// nameOf is an entry that a resolver can block.
func nameOf(e *cnc.Entry) (publish.Entry, bool) {
	switch e.Kind {
	case observe.IndicatorName, observe.IndicatorHost:
		return publish.Entry{ID: e.ID, Name: e.Value, Host: e.Kind == observe.IndicatorHost, Emergency: e.Emergency}, true
	}
	return publish.Entry{}, false
}

// blockGrounds finds the grant on which names may be blocked for everyone who consents.
type blockGrounds struct{ h *office }

var noGrant = lawful.Text{
	JA: "同意している契約者全員についての遮断(block)の許可がありません。`sakimori lawful grant` で求め、別の担当者が承認してください",
	EN: "no grant to block for everyone who consents is in force: ask for it by `sakimori lawful grant`, and have somebody else approve it",
}

func (x blockGrounds) Ground(ctx context.Context) (rpz.Ground, []lawful.Text, error) {
	g, err := x.h.groundFor(ctx, lawful.Block, purposeBlock)
	if err != nil || g.ID() != "" {
		return ground(g), nil, err
	}
	missing := []lawful.Text{noGrant}
	for _, d := range x.h.gate.Waiting() {
		if d.Measure == lawful.Block && d.Scope.Consenting == purposeBlock {
			missing = append(missing, lawful.Text{JA: d.ID + " は二人目の承認を待っています", EN: d.ID + " waits for a second person"})
		}
	}
	return nil, missing, nil
}

// ground is a grant, or nil where it is none.
func ground(g lawful.Grant) rpz.Ground {
	if g.ID() == "" {
		return nil
	}
	return g
}

// keptZones are the zones for who publishes.
type keptZones struct{ *rpz.Store }

func (z keptZones) Now(zone rpz.Zone) *rpz.Version { return z.Current(zone) }

// leftAlone is the zone optout. for who follows the subscribers.
type leftAlone struct{ zones *rpz.Store }

// refConsent is what rules of optout. rest on: who it is isn't in the zone.
const refConsent = "consent"

func (z leftAlone) Change(ctx context.Context, add, remove []netip.Prefix) (uint32, error) {
	rules := func(list []netip.Prefix) (out []rpz.Rule) {
		for _, p := range list {
			out = append(out, rpz.Rule{Client: p, Action: rpz.Passthru, Ref: refConsent})
		}
		return out
	}
	p, err := z.zones.Publish(ctx, rpz.OptOut, nil, rpz.Change{Add: rules(add), Remove: rules(remove)}, rpz.By{Who: "house:optout", Why: "subscribers and their choices / 契約者とその選択"})
	return p.Serial, err
}

func (z leftAlone) Clients(context.Context) (list []netip.Prefix, err error) {
	for r := range z.zones.Current(rpz.OptOut).Set.All() {
		if r.Client.IsValid() && r.Ref == refConsent {
			list = append(list, r.Client)
		}
	}
	return list, nil
}

var (
	_ publish.List    = inForce{}
	_ publish.Zones   = keptZones{}
	_ publish.Grounds = blockGrounds{}
	_ optout.Zone     = leftAlone{}
)

// stamps are the canaries that belong to every serial; nil where none are sent.
func (r *resolversConfig) stamps() (func(z rpz.Zone, serial uint32) []rpz.Rule, error) {
	if r.Canary.Domain == "" {
		return nil, nil //nolint:nilnil // nobody asks
	}
	c, err := r.watched()
	if err != nil {
		return nil, err
	}
	return func(z rpz.Zone, serial uint32) []rpz.Rule { return canary.Rules(c.Domain, z, serial, c.Declined()) }, nil
}

// endingsGathered is for how long opt-outs that end are gathered where a resolver fetches all
// of the zone for them: with the rest of the way less than the five seconds that it may take.
const endingsGathered = 3 * time.Second

// publishes are the parts of serve that keep the zones as they must be: the list, those
// who opted out, and the proof of both.
func (h *office) publishes(ctx context.Context, cfg *config, log *slog.Logger) ([]run.Component, error) {
	if h.zones == nil {
		return nil, nil
	}
	follow := optout.Config{}
	if c, err := cfg.Zones.primary(); err == nil && slices.ContainsFunc(c.Peers, func(p primary.Peer) bool { return p.KeepsClients() }) {
		follow.Ending = endingsGathered
	}
	h.follower = optout.New(follow, holders{h}, blockConsents{h.consents}, leftAlone{h.zones}, cfg.now())
	h.publisher = publish.New(publish.Config{Cadence: cfg.Zones.Cadence, Allow: cfg.Zones.Allow}, inForce{h.list}, keptZones{h.zones}, blockGrounds{h}, cfg.now(), log)
	// Who is left alone is known before anything is blocked.
	list := []run.Component{
		{Name: "those who opted out", Run: func(ctx context.Context, ready func()) error {
			// The canary that declined is left alone even where nobody else is.
			if _, err := (leftAlone{h.zones}).Change(ctx, nil, nil); err != nil {
				return err
			}
			return h.follower.Run(ctx, ready)
		}},
		sayings(h.consents, h.follower, cfg.now(), log),
		{Name: "publisher", Run: h.publisher.Run},
		{Name: "zones that were rolled back", Run: func(ctx context.Context, ready func()) error { return h.tellsHeld(ctx, ready, log) }},
	}
	if len(cfg.Resolvers.List) == 0 {
		return list, nil
	}
	watched, err := cfg.Resolvers.watched()
	if err != nil {
		return nil, err
	}
	if h.proofs, err = canary.OpenStore(ctx, h.db); err != nil {
		return nil, err
	}
	if h.canary, err = canary.New(watched, h.proofs, alarms{h, log}, pauses{h}, published{h.zones}, cfg.now(), log); err != nil {
		return nil, err
	}
	return append(list, run.Component{Name: "canaries", Run: h.canary.Run}, run.Component{Name: "old proofs", Run: func(ctx context.Context, ready func()) error {
		return h.forgetProofs(ctx, ready, cfg.Resolvers.Canary.Keep, log)
	}}), nil
}

// forgetProofs removes evidence that is older than it is kept.
func (h *office) forgetProofs(ctx context.Context, ready func(), keep time.Duration, log *slog.Logger) error {
	ready()
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if _, err := h.proofs.Forget(ctx, h.clock.Now().Add(-keep)); err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "old proofs of the resolvers couldn't be removed", slog.Any("error", err))
			}
		}
	}
}
