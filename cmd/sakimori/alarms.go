package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
)

// alarms tell people at once that a resolver doesn't do what it must: as a finding, which
// closes when all is well again.
type alarms struct {
	h   *office
	log *slog.Logger
}

var _ canary.Alarm = alarms{}

func (a alarms) Alarm(ctx context.Context, d canary.Deviation, ended bool) error {
	if a.h.alarm == nil {
		return nil
	}
	words := d.Kind.Text()
	f := detect.Finding{
		ID: fmt.Sprintf("rpz:%s:%s:%s:%d", d.Resolver, d.Zone, d.Kind, d.Since.Unix()), Detector: "rpz", Subject: d.Resolver, State: detect.Opened, Severity: detect.Soon, Confidence: 1,
		Opened: d.Since.UTC(), Changed: a.h.clock.Now().UTC(),
		Title: detect.Textf("%s: %s(%s)", "%s: %s (%s)", d.Resolver, words.JA, d.Zone),
		Why:   detect.Text{JA: "カナリアの問い合わせへの応答が期待と違いました: " + d.Detail, EN: "the answer to a canary wasn't what it must be: " + d.Detail},
		Evidence: []detect.Fact{
			{Key: "resolver", Value: d.Resolver}, {Key: "zone", Value: string(d.Zone)}, {Key: "deviation", Value: string(d.Kind)}, {Key: "rounds", Value: fmt.Sprint(d.Rounds)},
		},
	}
	f.Title = detect.Text{JA: fmt.Sprintf("%s: %s(%s)", d.Resolver, words.JA, d.Zone), EN: fmt.Sprintf("%s: %s (%s)", d.Resolver, words.EN, d.Zone)}
	if d.Kind == canary.DeclinedBlocked || d.Kind == canary.AllowedBlocked {
		f.Severity = detect.Urgent // a wrong block is the worst that can happen
	}
	if ended {
		f.State, f.Closed = detect.Closed, f.Changed
	}
	return a.h.alarm(ctx, f)
}

// pauses stop the blocking of a zone everywhere, when somebody who declined is blocked.
type pauses struct{ h *office }

var _ canary.Pauser = pauses{}

func (p pauses) Pause(ctx context.Context, z rpz.Zone, why lawful.Text) error {
	_, err := p.h.zones.Pause(ctx, z, rpz.By{Who: "house:canary", Why: why.EN + " / " + why.JA})
	return err
}

// raise keeps a finding and shows it.
func (s *station) raise(ctx context.Context, f detect.Finding) error {
	err := s.keeper.store.Tx(ctx, func(tx *store.Tx) error { return s.keeper.register.Write(tx, []detect.Finding{f}) })
	s.tell(f)
	return err
}

// raised finds a finding that was raised.
func (s *station) raised(ctx context.Context, id string) (detect.Finding, bool, error) {
	f, _, err := s.keeper.register.Get(ctx, id)
	if errors.Is(err, register.ErrUnknown) {
		return f, false, nil
	}
	return f, err == nil, err
}

// published tells canaries what a resolver must answer by.
type published struct{ zones *rpz.Store }

var _ canary.Published = published{}

func (p published) Published(z rpz.Zone) (serial uint32, since time.Time, ok bool) {
	v := p.zones.Current(z)
	return v.Serial, v.At, true
}

// InForce tells whether a zone holds its canaries, and since when that is so: one that
// is empty, or paused, doesn't.
func (p published) InForce(z rpz.Zone) (is bool, since time.Time) {
	v := p.zones.Current(z)
	is, since = v.Rules > 0, v.At
	list, err := p.zones.Serials(z)
	if err != nil {
		return is, since
	}
	for i := len(list) - 1; i >= 0 && (list[i].Rules > 0) == is; i-- {
		since = list[i].At
	}
	return is, since
}
