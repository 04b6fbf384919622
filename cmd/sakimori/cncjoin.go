package main

import (
	"context"
	"net/netip"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/detect/cnc"
	resolved "sakimori/observe/dns"
	"sakimori/respond/rpz/canary"
)

// chains follows names before they are listed, by one resolver.
type chains struct{ by netip.AddrPort }

var _ cnc.Resolver = chains{}

// chainWait is how long a name may take.
const chainWait = 3 * time.Second

func (c chains) Chain(ctx context.Context, name string) (list []string, err error) {
	n, err := dns.ParseName(name)
	if err != nil {
		return nil, err
	}
	for _, kind := range []uint16{dns.A, dns.AAAA} {
		once, cancel := context.WithTimeout(ctx, chainWait)
		a, err := canary.Ask(once, canary.Question{To: c.by, Name: n, Type: kind})
		cancel()
		if err != nil {
			return nil, err
		}
		if kind == dns.A {
			list = append(list, a.Aliases...)
		}
		for _, x := range a.Addresses {
			list = append(list, x.String())
		}
	}
	return list, nil
}

// losses says who would lose a name, from what resolvers told in the last week.
type losses struct {
	record *resolved.Record
	clock  func() time.Time
}

var _ cnc.Blast = losses{}

const (
	lossDays  = 7
	lossFloor = 10
)

func (x losses) reached(ctx context.Context, name string) []resolved.Reach {
	list, err := x.record.Reached(ctx, name, x.clock().Add(-lossDays*24*time.Hour), lossFloor)
	if err != nil {
		return nil // not known
	}
	return list
}

func (x losses) Clients(ctx context.Context, name string) (perDay, off float64, known bool) {
	list := x.reached(ctx, name)
	for i := range list { // the worst day counts
		perDay, off = max(perDay, float64(list[i].Clients)), max(off, list[i].Error)
	}
	return perDay, off, len(list) > 0
}

func (x losses) Beside(ctx context.Context, name string) (all []string) {
	has := map[string]bool{}
	for _, r := range x.reached(ctx, name) {
		for _, n := range r.Neighbours {
			if !has[n] {
				has[n] = true
				all = append(all, n)
			}
		}
	}
	return all
}
