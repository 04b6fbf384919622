package desk

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/detect"
	"sakimori/lawful"
)

// Rule is the rule of the guideline on which own more-specifics stand.
const Rule = "own-announcement"

// request is what a Grant for an act is asked with: the prefixes and nothing around them,
// and the facts that the incident shows.
func (d *Desk) request(a *Announcement, i *detect.Incident, now time.Time) lawful.Request {
	return lawful.Request{
		Measure: lawful.Announce, Who: a.ProposedBy, Rule: Rule,
		Purpose: fmt.Sprintf("bring traffic to own space back while incident %s lasts (act %s)", i.ID, a.ID),
		Scope:   lawful.Scope{Prefixes: a.Prefixes},
		Facts: lawful.Facts{
			"finding": d.Finding(i), "own_space": d.around(a), "harm": harm(i), "harm_at": d.seen(i, now),
			"alternatives": []string{
				"漏えい元・上流への連絡: 止まるまで待つほかなく、その間も通信が本来と異なる経路を通る / calling who leaks and its upstream: until they act, traffic goes on taking another way",
				"受信側のフィルター: 自網に入る経路にしか効かず、他網から自網への通信は戻らない / a filter at our own edge: it changes what we take, not how others reach us",
				fmt.Sprintf("より少ないプレフィックス: 影響を受けている空間のうち、この %[1]d 個に限っている / fewer prefixes: of the space that is hit it is just these %[1]d", len(a.Prefixes)),
			},
		},
	}
}

// around are the own prefixes, as configured, that an act lies in.
func (d *Desk) around(a *Announcement) (list []string) {
	for _, o := range d.House.Own {
		in := func(p netip.Prefix) bool {
			return o.Prefix.Addr().Is4() == p.Addr().Is4() && o.Prefix.Bits() <= p.Bits() && o.Prefix.Contains(p.Addr())
		}
		if slices.ContainsFunc(a.Prefixes, in) {
			list = append(list, o.Prefix.String())
		}
	}
	return list
}

// seen is until when an incident was seen to last: its routes stand until somebody takes
// them back, so that is as far as the tables are known.
func (d *Desk) seen(i *detect.Incident, now time.Time) time.Time {
	t := i.Last
	if d.DataTime != nil {
		if data := d.DataTime(); data.After(t) {
			t = data
		}
	}
	if t.After(now) {
		t = now // a router's clock may be ahead
	}
	return t
}

// harm says what is hit, with figures.
func harm(i *detect.Incident) string {
	own, addresses := 0, 0.0
	for _, o := range i.Own {
		own += o.Prefixes
		addresses += o.Addresses
	}
	return fmt.Sprintf("自網の %d 経路(IPv4 %.0f アドレス)が影響を受けている。障害全体: 現在 %d、最大 %d 経路、観測点 %d/%d / %d routes to own space are hit (%.0f IPv4 addresses); in all now %d, at most %d, seen by %d of %d vantage points",
		own, addresses, i.Now, i.Peak, i.Seen, i.Whole, own, addresses, i.Now, i.Peak, i.Seen, i.Whole)
}

// allowed tells whether a Grant allows each prefix now, from its first address to its last.
func (a *Announcement) allowed(g lawful.Grant, now time.Time) bool {
	return !slices.ContainsFunc(a.Prefixes, func(p netip.Prefix) bool {
		return !g.Allows(lawful.Announce, lawful.At(p.Addr()), now) || !g.Allows(lawful.Announce, lawful.At(last(p)), now)
	})
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // of the same length
	return a
}
