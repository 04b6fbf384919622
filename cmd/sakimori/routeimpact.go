package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/observe"
)

// trafficOf tells what became of the traffic of an incident, by flows.
type trafficOf struct {
	flows api.Flows                                                   // nil: none are kept
	link  func(exporter, index uint32) (name string, capacity uint64) // nil: not known
	now   func() time.Time                                            // of the data
}

// beforeFor is for how long before an incident what is usual is looked at, and during it
// at least; flows are kept by minutes.
const (
	beforeFor   = 15 * time.Minute
	impactMost  = 16 // own prefixes that are asked about one by one
	impactLinks = 32
)

// impact compares the quarter of an hour before with the incident itself, both in whole
// minutes.
func (t trafficOf) impact(ctx context.Context, i *detect.Incident) (out api.IncidentImpact, err error) {
	out = api.IncidentImpact{Addresses: i.Addresses, Networks64: i.Networks64}
	out.Why = detect.Text{JA: "フローの記録がないため、アドレス数だけを示します。", EN: "There are no flows: only addresses are counted."}
	if t.flows == nil {
		return out, nil
	}
	end := i.Last
	if i.Closed.IsZero() && t.now != nil {
		if now := t.now(); now.After(end) {
			end = now
		}
	}
	during := observe.Range{From: i.Opened.Truncate(time.Minute), To: end.Truncate(time.Minute).Add(time.Minute)}
	if during.To.Sub(during.From) > beforeFor { // the height of it says most
		during.To = during.From.Add(beforeFor)
	}
	before := observe.Range{From: during.From.Add(-beforeFor), To: during.From}
	own := i.Own[:min(len(i.Own), impactMost)]
	if len(own) == 0 {
		out.Why = detect.Text{JA: "自社・顧客の空間には影響がありません。アドレス数だけを示します。", EN: "No own or customer's space is hit: only addresses are counted."}
		return out, nil
	}
	var all []netip.Prefix
	for j := range own {
		all = append(all, own[j].Prefix)
		b, known, err := t.total(ctx, before, own[j].Prefix)
		if err != nil {
			return out, err
		}
		d, alsoKnown, err := t.total(ctx, during, own[j].Prefix)
		if err != nil {
			return out, err
		}
		out.Known = out.Known || known && alsoKnown
		c := api.ImpactCustomer{Name: own[j].Name, Prefix: own[j].Prefix.String(), Before: b, During: d}
		if b.N > 0 {
			change := d.N/b.N - 1
			c.Change = &change
		}
		out.Customers = append(out.Customers, c)
	}
	if !out.Known {
		out.Why = detect.Text{JA: "この時間のフローの記録がありません。", EN: "No flows are kept of this time."}
		return out, nil
	}
	out.From, out.To = &during.From, &during.To
	out.Why = detect.Text{
		JA: fmt.Sprintf("発生前 %d 分と障害中 %d 分の、対象宛ての通信量(毎秒ビット、95 %% 誤差つき)。", int(beforeFor.Minutes()), int(during.To.Sub(during.From).Minutes())),
		EN: fmt.Sprintf("Traffic towards it in the %d minutes before and %d minutes of the incident (bits a second, with its 95 %% error).", int(beforeFor.Minutes()), int(during.To.Sub(during.From).Minutes())),
	}
	out.Links, err = t.links(ctx, before, during, all)
	return out, err
}

// total is what came for a prefix, and whether flows of the time are kept at all.
func (t trafficOf) total(ctx context.Context, r observe.Range, p netip.Prefix) (m detect.Measure, known bool, err error) {
	top, err := t.flows.Top(ctx, observe.FlowByProto, observe.FlowQuery{FlowFilter: observe.FlowFilter{Dst: []netip.Prefix{p}}, Range: r, Limit: 1})
	if err != nil {
		return m, false, err
	}
	return bitsSecond(top.Total, top.Range), top.Data.From.Before(r.To) && top.Data.To.After(r.From), nil
}

// bitsSecond is a count as a rate over its span.
func bitsSecond(c observe.FlowCount, r observe.Range) detect.Measure {
	seconds := math.Max(1, r.To.Sub(r.From).Seconds())
	return detect.Measure{N: 8 * float64(c.Bytes) / seconds, Error: 8 * c.BytesError / seconds}
}

// links are the interfaces through which the traffic came in, before and during.
func (t trafficOf) links(ctx context.Context, before, during observe.Range, own []netip.Prefix) (out []api.ImpactLink, err error) {
	type key struct{ exporter, index uint32 }
	at := map[key]int{}
	for pass, r := range []observe.Range{before, during} {
		top, err := t.flows.Top(ctx, observe.FlowByIn, observe.FlowQuery{FlowFilter: observe.FlowFilter{Dst: own}, Range: r, Limit: impactLinks})
		if err != nil {
			return nil, err
		}
		for i := range top.Rows {
			n := top.Rows[i].Key.Number
			k := key{uint32(n >> 32), uint32(n)} //nolint:gosec // as FlowKey says
			j, is := at[k]
			if !is {
				j = len(out)
				at[k] = j
				l := api.ImpactLink{Exporter: k.exporter, Interface: k.index}
				if t.link != nil {
					l.Name, l.Capacity = t.link(k.exporter, k.index)
				}
				out = append(out, l)
			}
			m := bitsSecond(top.Rows[i].FlowCount, top.Range)
			if pass == 0 {
				out[j].Before = m
			} else {
				out[j].During = m
			}
		}
	}
	all, err := t.flows.Top(ctx, observe.FlowByIn, observe.FlowQuery{Range: during, Limit: impactLinks})
	if err != nil {
		return nil, err
	}
	full := map[uint64]float64{}
	for i := range all.Rows {
		full[all.Rows[i].Key.Number] = bitsSecond(all.Rows[i].FlowCount, all.Range).N
	}
	for i := range out {
		l := &out[i]
		l.Moved = math.Abs(l.During.N-l.Before.N) > l.During.Error+l.Before.Error
		if n, is := full[uint64(l.Exporter)<<32|uint64(l.Interface)]; is && l.Capacity > 0 {
			share := n / float64(l.Capacity)
			l.Full = &share
		}
	}
	return out, nil
}
