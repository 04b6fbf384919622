package main

import (
	"context"
	"time"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/observe/dns"
)

// lookupsPort are the counts of what resolvers were asked, as the API asks for them.
type lookupsPort struct {
	h      *office
	record *dns.Record
}

var _ api.Lookups = lookupsPort{}

func (p lookupsPort) Blocks(ctx context.Context, from, to time.Time) (out api.BlockCounts, err error) {
	days, err := p.days(ctx, from, to)
	if err != nil {
		return out, err
	}
	out.Days, out.Families, out.Zones, out.Resolvers, out.Losses = days, []api.BlockFamily{}, []api.BlockZone{}, []api.BlockResolver{}, []api.BlockLoss{}
	families, err := p.record.Counts(ctx, from, to, dns.ByFamily)
	if err != nil {
		return out, err
	}
	for i := range families {
		if c := &families[i]; c.Blocked+c.Sinkholed > 0 {
			out.Families = append(out.Families, api.BlockFamily{Name: c.Key, Blocked: c.Blocked, Sinkholed: c.Sinkholed})
		}
	}
	zones, err := p.record.Counts(ctx, from, to, dns.ByZone)
	if err != nil {
		return out, err
	}
	for i := range zones {
		if c := &zones[i]; c.Blocked > 0 {
			out.Zones = append(out.Zones, api.BlockZone{Zone: c.Key, Blocked: c.Blocked})
			out.Total += c.Blocked
		}
	}
	resolvers, err := p.record.Counts(ctx, from, to, dns.ByResolver)
	if err != nil {
		return out, err
	}
	for i := range resolvers {
		c := &resolvers[i]
		out.Resolvers = append(out.Resolvers, api.BlockResolver{Name: c.Key, Queries: max(c.Queries, c.Responses), Blocked: c.Blocked, Lost: c.Dropped + c.Broken, Source: "dnstap"})
		out.Losses = append(out.Losses, api.BlockLoss{Source: c.Key, Frames: c.Queries + c.Responses, Lost: c.Dropped + c.Broken, Malformed: c.Malformed})
	}
	out.Hits, err = p.hits(ctx)
	return out, err
}

// days are all of a span, also those on which nothing came.
func (p lookupsPort) days(ctx context.Context, from, to time.Time) ([]api.BlockDay, error) {
	counts, err := p.record.Counts(ctx, from, to, dns.ByDay)
	if err != nil {
		return nil, err
	}
	at := map[int64]*dns.Count{}
	for i := range counts {
		at[counts[i].At.Unix()] = &counts[i]
	}
	list := []api.BlockDay{}
	const day = 24 * time.Hour
	for d := from.UTC().Truncate(day); d.Before(to); d = d.Add(day) {
		x := api.BlockDay{At: d, Zones: map[string]uint64{}}
		if c := at[d.Unix()]; c != nil {
			// Some resolvers tell of answers alone.
			x.Queries, x.Blocked, x.Would, x.Sinkholed = max(c.Queries, c.Responses), c.Blocked, c.Would, c.Sinkholed
			zones, err := p.record.Counts(ctx, d, d.Add(day), dns.ByZone)
			if err != nil {
				return nil, err
			}
			for i := range zones {
				if zones[i].Blocked > 0 {
					x.Zones[zones[i].Key] = zones[i].Blocked
				}
			}
		}
		list = append(list, x)
	}
	return list, nil
}

// hits says whether it is kept who asked.
func (p lookupsPort) hits(ctx context.Context) (h api.BlockHits, err error) {
	c, err := p.h.consents.Count(ctx, purposeHits, p.h.clock.Now())
	if err != nil {
		return h, err
	}
	h.Consenting = c.Consenting
	g, err := p.h.groundFor(ctx, lawful.StoreHits, purposeHits)
	if err != nil {
		return h, err
	}
	h.Words = detect.Text{JA: "記録しません:誰が尋ねたかはどこにも残りません", EN: "not kept: nowhere is it written who asked"}
	if g.ID() != "" {
		h.On, h.Grant, h.Until = true, g.ID(), momentOrNull(g.Until())
		h.Words = detect.Text{JA: "遮断とは別の同意をした契約者についてだけ記録します", EN: "kept of those alone who consented to it, apart from the blocking"}
	}
	return h, nil
}
