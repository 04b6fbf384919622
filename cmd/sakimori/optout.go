package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"sakimori/base/clock"
	"sakimori/base/run"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/respond/rpz/optout"
	"sakimori/respond/subscriber"
)

// The purposes of consents that the DNS goes by, as the guideline's rules name them.
const (
	purposeBlock = "cc_block" // requests for C&C servers are blocked
	purposeHits  = "cc_hits"  // that one was asked for is kept, and the subscriber warned
)

// holders tells who has an address, by pseudonym, for those who keep the zone of the
// clients that are left alone.
type holders struct{ h *office }

func (x holders) Holders(_ context.Context, p netip.Prefix, at time.Time) (list []optout.Holder, until time.Time, err error) {
	holds, until := x.h.history.Holds(p.Addr(), at)
	for i := range holds {
		inside, shared := holds[i].Address()
		if !shared {
			list = append(list, pseudonymOf(&holds[i]))
			continue
		}
		behind, change := x.h.history.Holds(inside, at)
		if until.IsZero() || !change.IsZero() && change.Before(until) {
			until = change
		}
		if len(behind) == 0 {
			list = append(list, "") // somebody, and nobody says who
		}
		for j := range behind {
			list = append(list, pseudonymOf(&behind[j]))
		}
	}
	return list, until, nil
}

// pseudonymOf is who claims an address, "" where it isn't told.
func pseudonymOf(x *subscriber.Hold) string {
	if x.Unnamed || x.Inside {
		return ""
	}
	return subscriber.Subject(x.ID)
}

func (x holders) Held(ctx context.Context, at time.Time, visit func(p netip.Prefix) error) error {
	return x.h.history.Held(ctx, at, func(p netip.Prefix, _ []subscriber.Hold) error { return visit(p) })
}

// blockConsents asks the register. Who said something is heard of by sayings: from then on
// no answer is from before it.
type blockConsents struct{ r *consent.Register }

func (x blockConsents) Consents(ctx context.Context, subject string, at time.Time) (bool, error) {
	if yes, known := x.r.Lately(subject, purposeBlock, at); known {
		return yes, nil
	}
	return x.r.Valid(ctx, subject, purposeBlock, at)
}

var (
	_ optout.Holders  = holders{}
	_ optout.Consents = blockConsents{}
)

// touched tells the follower whose addresses records speak of.
func touched(f *optout.Follower, records []subscriber.Record) {
	list := make([]netip.Prefix, 0, len(records))
	for i := range records {
		switch r := &records[i]; {
		case r.Kind == subscriber.Reset:
			f.Sweep()
		case r.Address.IsValid():
			list = append(list, r.Address)
		}
	}
	if len(list) > 0 {
		f.Touch(list...)
	}
}

// listenEvery is how often the register is asked for what was said: also by other
// processes, a command line or another serve on the same database.
const listenEvery = 500 * time.Millisecond

// sayings hands on to a follower what subjects say, until ctx ends.
func sayings(r *consent.Register, f *optout.Follower, c clock.Clock, log *slog.Logger) run.Component {
	return run.Component{Name: "consents", Run: func(ctx context.Context, ready func()) error {
		ready()
		tick := time.NewTicker(listenEvery)
		defer tick.Stop()
		var after uint64
		terms, begun := "", false
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			now, err := termsInForce(ctx, r, c.Now())
			if err == nil && now != terms {
				terms = now
				f.Sweep() // who consented to other terms may not to these
			}
			for more := err == nil; more; {
				const page = 1000
				var list []consent.Event
				if list, err = r.Changes(ctx, purposeBlock, after, page); err != nil {
					break
				}
				for i := range list {
					if after = list[i].Seq; begun {
						f.Said(list[i].Subject)
					}
				}
				more = len(list) == page
			}
			begun = begun || err == nil // what was said before the start is swept for
			if err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "the register of consents doesn't answer", slog.Any("error", err))
				f.Sweep()
			}
		}
	}}
}

// termsInForce names the version for blocking, "" none.
func termsInForce(ctx context.Context, r *consent.Register, at time.Time) (string, error) {
	t, err := r.Terms(ctx, purposeBlock, at)
	if errors.Is(err, consent.ErrUnknown) {
		return "", nil
	}
	return t.Version, err
}

// groundFor finds a grant in force of a measure for all who consent to a purpose; the
// zero Grant where there is none.
func (h *office) groundFor(ctx context.Context, m lawful.Measure, purpose string) (best lawful.Grant, err error) {
	now := h.clock.Now()
	for _, d := range h.gate.InForce() {
		if d.Measure != m || d.Scope.Consenting != purpose {
			continue
		}
		g, err := h.gate.Find(ctx, d.ID)
		if err != nil {
			return best, err
		}
		if g.AllowsAll(m, now) && g.Until().After(best.Until()) {
			best = g
		}
	}
	return best, nil
}
