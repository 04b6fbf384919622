package main

import (
	"context"
	"errors"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/lawful/consent"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/choice"
	"sakimori/respond/subscriber"
)

// choosing is what subscribers say to blocking and to the keeping of hits: on the phone,
// through the member portal, or on the page for the line that calls.
type choosing struct{ h *office }

var (
	_ api.Choices    = choosing{}
	_ choice.Choices = chosen{}
	_ choice.Lines   = chosen{}
)

var purposeWords = map[string]detect.Text{
	purposeBlock: {JA: "C&C サーバーへの名前解決の遮断", EN: "names of C&C servers aren't resolved"},
	purposeHits:  {JA: "遮断の記録と、感染のおそれの通知", EN: "hits are kept, and one is warned"},
}

func (c choosing) Look(ctx context.Context, q api.ChoiceQuery, who string) (api.Choice, error) {
	out := api.Choice{Purposes: []api.ChoicePurpose{}}
	switch {
	case q.Address.IsValid():
		if err := c.h.asked(ctx, api.AddressQuery{Address: q.Address, Port: q.Port, Protocol: q.Protocol, At: q.At}, who); err != nil {
			return out, err
		}
		a := c.h.who(q.Address, q.Port, q.Protocol, q.At, defaultSkew)
		out.Verdict, out.Words, out.Subject = string(a.Verdict), verdicts[string(a.Verdict)], a.Pseudonym
	case q.Case != "":
		x, err := c.h.desk.Case(ctx, q.Case)
		if err != nil {
			return out, deskError(err)
		}
		out.Subject = x.Subject
	case q.Contract != "":
		if _, err := c.h.book.Append(ctx, ledger.Line{Kind: account.Looked, Who: who, What: map[string]any{"of": "choice", "by": "contract"}}); err != nil {
			return out, err
		}
		out.Subject = subscriber.Subject(c.h.keys.Pseudonym(q.Contract))
	default:
		out.Subject = q.Subject
	}
	if out.Subject == "" {
		return out, nil
	}
	if _, err := subscriber.ParseSubject(out.Subject); err != nil {
		return out, refusalOf(err, subscriber.ErrSubject, "契約者の仮名ではありません")
	}
	return c.stands(ctx, out)
}

// stands fills in how a subject stands.
func (c choosing) stands(ctx context.Context, out api.Choice) (api.Choice, error) {
	for _, purpose := range []string{purposeBlock, purposeHits} {
		p := api.ChoicePurpose{Purpose: purpose, Words: purposeWords[purpose]}
		s, err := c.h.consents.At(ctx, out.Subject, purpose, c.h.clock.Now())
		if err != nil {
			return out, err
		}
		p.State = string(standOf(&s))
		if s.Said != nil {
			p.Version, p.Since = s.Said.Version, momentOrNull(s.Said.At)
		}
		out.Purposes = append(out.Purposes, p)
	}
	out.OptOut = c.optOut(out.Subject)
	return out, nil
}

func standOf(s *consent.State) choice.Stand {
	switch {
	case s.Said == nil:
		return choice.Unknown
	case s.Valid:
		return choice.Consents
	case !s.Said.Given:
		return choice.Declined
	}
	return choice.Outdated
}

// optOut tells whether resolvers leave a subject alone: whether all that it has is in the
// zone. nil: no zones are kept, or nothing that it has is known.
func (c choosing) optOut(subject string) *api.ChoiceOptOut {
	if c.h.zones == nil || c.h.follower == nil {
		return nil
	}
	has := c.h.follower.Has(subject)
	if len(has) == 0 {
		return nil
	}
	v := c.h.zones.Current(rpz.OptOut)
	out := &api.ChoiceOptOut{InZone: true, Resolvers: []api.CNCHas{}}
	for _, p := range has {
		if r, is := v.Set.MatchClient(p.Addr()); !is || !r.Client.Contains(p.Addr()) {
			out.InZone = false
		}
	}
	if out.InZone {
		out.Serial, out.Since, out.Resolvers = v.Serial, momentOrNull(v.At), c.h.hasSerial(rpz.OptOut, v.Serial)
	}
	return out
}

// How long Say waits for the zone: as fast as an opt-out must work.
const (
	choiceWaits = 5 * time.Second
	choiceLooks = 100 * time.Millisecond
)

func (c choosing) Say(ctx context.Context, o api.ChoiceOrder) (api.Choice, error) {
	if _, err := subscriber.ParseSubject(o.Subject); err != nil {
		return api.Choice{}, refusalOf(err, subscriber.ErrSubject, "契約者の仮名ではありません")
	}
	if o.Why != "" {
		if _, err := c.h.book.Append(ctx, ledger.Line{Kind: account.Consented, Who: o.Who, What: map[string]any{"purpose": o.Purpose, "consents": o.Consents, "channel": o.Channel, "why": o.Why}}); err != nil {
			return api.Choice{}, err
		}
	}
	e, err := c.say(ctx, o.Subject, o.Purpose, o.Consents, o.Channel, o.Who)
	if err != nil {
		return api.Choice{}, err
	}
	out, err := c.stands(ctx, api.Choice{Subject: o.Subject, Purposes: []api.ChoicePurpose{}})
	out.Effect = &e
	return out, err
}

// say enters it and waits until the zone has it.
func (c choosing) say(ctx context.Context, subject, purpose string, consents bool, channel, who string) (e api.ChoiceEffect, err error) {
	now := c.h.clock.Now()
	before, err := c.h.consents.Valid(ctx, subject, purpose, now)
	if err != nil {
		return e, err
	}
	if consents {
		var t string
		terms, err := c.h.consents.Terms(ctx, purpose, now)
		if err == nil {
			t = terms.Version
			_, err = c.h.consents.Give(ctx, subject, purpose, t, channel, who)
		}
		if errors.Is(err, consent.ErrUnknown) {
			return e, refusalOf(err, consent.ErrUnknown, "この目的の約款がありません")
		}
		if err != nil {
			return e, err
		}
	} else if _, err := c.h.consents.Withdraw(ctx, subject, purpose, channel, who); err != nil {
		return e, err
	}
	if before == consents || purpose != purposeBlock {
		e.State, e.Words = "done", detect.Text{JA: "登録しました。直ちに有効です", EN: "entered, and in force at once"}
		if before == consents {
			e.State, e.Words = "unchanged", detect.Text{JA: "登録しました。これまでと同じです", EN: "entered: as it was before"}
		}
		return e, nil
	}
	if c.h.follower == nil {
		e.State, e.Words = "pending", detect.Text{JA: "登録しました。リゾルバーへのゾーンは配信していません", EN: "entered; no zones are served to resolvers"}
		return e, nil
	}
	c.h.follower.Said(subject)
	return c.inZone(ctx, subject, !consents), nil
}

// inZone waits until resolvers can know of it.
func (c choosing) inZone(ctx context.Context, subject string, out bool) (e api.ChoiceEffect) {
	late, tick := time.NewTimer(choiceWaits), time.NewTicker(choiceLooks)
	defer late.Stop()
	defer tick.Stop()
	for {
		now := c.optOut(subject)
		if now == nil { // nothing that it has is known: it will hold when it has something
			e.State, e.Words = "done", detect.Text{JA: "登録しました。この契約者のアドレスは現在ありません", EN: "entered; the subscriber has no address now"}
			return e
		}
		if now.InZone == out {
			v := c.h.zones.Current(rpz.OptOut)
			e.State, e.Serial, e.At = "done", v.Serial, momentOrNull(v.At)
			e.Words = detect.Textf("版 %d から有効です", "in force from serial %d", v.Serial)
			return e
		}
		select {
		case <-ctx.Done():
		case <-late.C:
		case <-tick.C:
			continue
		}
		e.State, e.Words = "pending", detect.Text{JA: "登録しました。ゾーンへの反映を待っています", EN: "entered; the zone doesn't have it yet"}
		return e
	}
}

// chosen is the same for the page of the line that calls.
type chosen struct{ c choosing }

func (x chosen) Line(_ context.Context, c choice.Caller) (string, error) {
	a := x.c.h.who(c.Address, c.Port, 6, c.At, defaultSkew)
	switch a.Verdict {
	case subscriber.Foreign:
		return "", choice.ErrForeign
	case subscriber.NoPort, subscriber.Ambiguous:
		return "", choice.ErrShared
	}
	if !a.Verdict.Certain() {
		return "", choice.ErrNobody
	}
	return a.Pseudonym, nil
}

func (x chosen) State(ctx context.Context, subject string) (list []choice.State, err error) {
	now := x.c.h.clock.Now()
	for _, p := range []choice.Purpose{choice.Block, choice.Hits} {
		s, err := x.c.h.consents.At(ctx, subject, string(p), now)
		if err != nil {
			return nil, err
		}
		one := choice.State{Purpose: p, Stand: standOf(&s)}
		if s.Said != nil {
			one.Version, one.Since = s.Said.Version, momentOrNull(s.Said.At)
		}
		list = append(list, one)
	}
	return list, nil
}

func (x chosen) Say(ctx context.Context, subject string, p choice.Purpose, consents bool, channel string) (choice.Effect, error) {
	e, err := x.c.say(ctx, subject, string(p), consents, channel, "subscriber")
	return choice.Effect{Serial: e.Serial}, err
}
