package main

import (
	"context"
	"errors"
	"time"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/cnc"
	"sakimori/respond/rpz"
)

// listPort is the list as the API asks it, with what other rooms know of an entry.
func (h *office) listPort() (*cncPort, error) {
	files, err := h.openListFiles()
	if err != nil {
		return nil, err
	}
	p := &cncPort{cncFiles: files, list: h.list, never: h.never, clock: h.clock, feed: h.feedOf}
	if h.zones != nil {
		p.zones, p.zonesAt = h.publishedOf, h.publishedAt
	}
	return p, nil
}

// feedOf says how a source does.
func (h *office) feedOf(f *api.CNCFeed) {
	f.Kind, f.Words = "manual", detect.Text{JA: "手動", EN: "by hand"}
	if f.Source == cnc.Operator {
		f.Words = detect.Text{JA: "自社の担当者", EN: "people of the house"}
	}
	if h.feeds == nil {
		return
	}
	for _, s := range h.feeds.States() {
		if s.Source != f.Source {
			continue
		}
		f.Kind, f.Words = string(s.Kind), detect.Text{JA: "自動取得", EN: "fetched"}
		f.LastTry, f.LastSuccess, f.LastChange, f.Stale = momentOrNull(s.LastTry), momentOrNull(s.LastSuccess), momentOrNull(s.LastChange), s.Stale
		f.Read, f.Accepted, f.Rejected = s.Read, s.Accepted, s.Rejected
		if s.Error.EN != "" {
			f.Error = &detect.Text{JA: s.Error.JA, EN: s.Error.EN}
		}
	}
}

// publishedOf tells by which serials an entry came into the zones and left them: the first
// ones after the list said so.
func (h *office) publishedOf(_ context.Context, f *api.CNCFile) error {
	if f.Entry.Kind != "name" && f.Entry.Kind != "host" {
		return nil
	}
	z := rpz.C2
	if f.Entry.Emergency {
		z = rpz.Emergency
	}
	serials, err := h.zones.Serials(z)
	if err != nil {
		return zoneError(err)
	}
	in := false
	for _, e := range f.History {
		comes := e.What == string(cnc.Enforced)
		goes := in && (e.What == string(cnc.Withdrawn) || e.What == string(cnc.Expired) || e.What == "sinkholed")
		if !comes && !goes || comes && in {
			continue
		}
		for i := range serials {
			if s := &serials[i]; !s.At.Before(e.At) {
				f.Published = append(f.Published, api.CNCPublished{Zone: string(z), Serial: s.Serial, At: s.At, In: comes})
				in = comes
				break
			}
		}
	}
	if n := len(f.Published); n > 0 && f.Published[n-1].In {
		f.Resolvers = h.hasSerial(z, f.Published[n-1].Serial)
	}
	return nil
}

// publishedAt tells what resolvers were given of a name at a time, and what they proved.
func (h *office) publishedAt(ctx context.Context, a *api.CNCAccount) error {
	a.Resolvers = []api.CNCThen{}
	for _, z := range blockingZones {
		p, err := h.zones.SerialAt(z, a.At)
		if errors.Is(err, rpz.ErrUnknown) {
			continue
		}
		if err != nil {
			return zoneError(err)
		}
		v, err := h.zones.At(z, p.Serial)
		if err != nil {
			return zoneError(err)
		}
		rule, found, err := v.Answer(a.Name)
		if err != nil || !found {
			continue // not a name, or not in it
		}
		a.Zone, a.Serial, a.Rule, a.Action = string(z), p.Serial, rule.Name, rule.Action.String()
		if p.Basis != nil {
			a.Basis = &api.CNCBasis{Grant: p.Basis.Grant, Rule: p.Basis.Rule, Until: momentOrNull(p.Basis.Until)}
			if r, is := h.guideline.Rule(p.Basis.Rule); is {
				a.Basis.Title, a.Basis.Source = detect.Text(r.Title), r.Source
			}
		}
		return h.proofsAt(ctx, a, z, p.Serial)
	}
	return nil
}

var blockingZones = []rpz.Zone{rpz.C2, rpz.Emergency}

// proofsAt adds what each resolver proved last before a time.
func (h *office) proofsAt(ctx context.Context, a *api.CNCAccount, z rpz.Zone, serial uint32) error {
	if h.canary == nil {
		return nil
	}
	for _, s := range h.canary.States() {
		x := api.CNCThen{Name: s.Resolver}
		r, found, err := h.proofs.At(ctx, s.Resolver, a.At)
		if err != nil {
			return err
		}
		const fresh = 5 * time.Minute // an older one proves nothing of that moment
		if found && a.At.Sub(r.At) < fresh {
			x.Canary = &api.CNCProbe{At: r.At, OK: r.Proven()}
			if has, told := r.Serials[z]; told {
				had := !rpz.After(serial, has)
				x.Serial, x.Had = has, &had
			}
		}
		a.Resolvers = append(a.Resolvers, x)
	}
	return nil
}
