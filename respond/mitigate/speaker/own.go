package speaker

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/respond"
)

// Origins announces own prefixes to those peers that are set to take them: routes that are
// passed on, with a next hop that carries their traffic. They stand by the same sessions
// and under the same limits as rules, and are told apart from them everywhere: what ends
// or counts the one never touches the other.
type Origins struct{ s *Speaker }

// Origins is the speaker for own prefixes.
func (s *Speaker) Origins() Origins { return Origins{s} }

// Announce makes an act stand until a time, with the same manners as the rules of a
// mitigation: as a whole or not at all, told once, its end moved when it is told again.
func (o Origins) Announce(ctx context.Context, id string, prefixes []netip.Prefix, until time.Time) error {
	routes := map[string]route{}
	for _, p := range prefixes {
		if !p.IsValid() || p != p.Masked() || p.Bits() == 0 || p.Addr().Is4In6() {
			return fmt.Errorf("%w: %s isn't an own prefix", ErrRule, p)
		}
		e := route{text: p.String(), does: "own", own: true}
		if err := e.unicast(p); err != nil {
			return fmt.Errorf("%w: %w: %s", ErrRule, err, p)
		}
		if err := e.name(); err != nil {
			return fmt.Errorf("%w: %w: %s", ErrRule, err, p)
		}
		routes[e.key] = e
	}
	return o.s.announce(ctx, id, routes, until, true)
}

// Withdraw ends an act. An act that isn't known has ended already.
func (o Origins) Withdraw(ctx context.Context, id string) error { return o.s.withdraw(ctx, id, true) }

// Held is what stands now, for each act and each peer that takes some of it.
func (o Origins) Held(ctx context.Context) ([]respond.Held, error) {
	var list []respond.Held
	err := o.s.held(ctx, true, func(id, peer string, given int, at time.Time) {
		list = append(list, respond.Held{ID: id, Peer: peer, Rules: given, At: at})
	})
	slices.SortFunc(list, func(a, b respond.Held) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Peer, b.Peer)) })
	return list, err
}
