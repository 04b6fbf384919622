package lawful

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// step is how far the end of a grant has come.
type step int

// The steps of an end: after each the next is tried until it is done.
const (
	unended   step = iota
	closed         // nothing is allowed any more
	stored         // not after a restart either
	written        // the recorder has it
	withdrawn      // and what stood on it is gone
)

// silence is how long a condition may go unanswered before it counts as gone: a store
// that is restarted must not take every filter down in the middle of an attack.
const silence = 5 * time.Minute

// grant gives what was decided: it is written down, then kept, then given.
func (g *Gate) grant(ctx context.Context, d Decision, r *Request, consent string) (Grant, error) {
	if err := g.deps.Recorder.Record(ctx, d); err != nil {
		return Grant{}, fmt.Errorf("%w: the decision couldn't be written down: %w", ErrRefused, err)
	}
	if err := g.keep(ctx, body{Decision: d, Request: *r, Consent: consent}, InForce); err != nil {
		end := d
		end.Outcome, end.Why = Revoked, Text{"保存できなかったため、与えられませんでした", "it couldn't be kept, and wasn't given"}
		return Grant{}, fmt.Errorf("%w: the grant couldn't be kept: %w", ErrRefused, errors.Join(err, g.deps.Recorder.Record(ctx, end)))
	}
	return g.stand(body{Decision: d, Request: *r, Consent: consent}), nil
}

// stand takes what was decided, written down and kept into memory.
func (g *Gate) stand(b body) Grant {
	s := g.standingOf(&b)
	g.mu.Lock()
	g.standing[b.Decision.ID] = s
	g.mu.Unlock()
	return Grant{s}
}

func (g *Gate) standingOf(b *body) *standing {
	return &standing{given: b.Decision, request: b.Request, scope: b.Decision.Scope.clone(), consent: b.Consent, register: g.deps.Consents, shown: g.deps.Clock.Now()}
}

// InForce lists what was decided of every grant that may still be used, the oldest
// first.
func (g *Gate) InForce() []Decision {
	now := g.deps.Clock.Now()
	var list []Decision
	g.mu.Lock()
	for _, s := range g.standing {
		if !s.ended.Load() && now.Before(s.given.Until) {
			list = append(list, s.given)
		}
	}
	g.mu.Unlock()
	slices.SortFunc(list, oldest)
	return list
}

func oldest(a, b Decision) int {
	return cmpOr(a.At.Compare(b.At), strings.Compare(a.ID, b.ID))
}

func cmpOr(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

// Revoke ends a grant. From the moment it is called no copy of it allows anything,
// even when it returns an error: then the end is written down at a later Recheck.
func (g *Gate) Revoke(ctx context.Context, id, who, why string) error {
	if strings.TrimSpace(who) == "" || strings.TrimSpace(why) == "" {
		return errors.New("a revocation says who wants it and why")
	}
	if _, err := g.Find(ctx, id); err != nil {
		return err
	}
	g.mu.Lock()
	s := g.standing[id]
	g.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: %.40q has ended", ErrUnknown, id)
	}
	if !g.close(s, Revoked, who, Text{why, why}) {
		return nil // it had ended already
	}
	return g.settle(ctx, s)
}

// Recheck verifies the live conditions of every grant again, ends those that no
// longer hold or are over, and goes on with ends that weren't finished. It gives the
// ends that it made. It is called every few seconds, and when something was withdrawn.
func (g *Gate) Recheck(ctx context.Context) (ended []Decision, err error) {
	g.checking.Lock()
	defer g.checking.Unlock()
	g.mu.Lock()
	all := slices.SortedFunc(maps.Values(g.standing), func(a, b *standing) int { return oldest(a.given, b.given) })
	g.mu.Unlock()
	for _, s := range all {
		if ctx.Err() != nil {
			return ended, errors.Join(err, ctx.Err())
		}
		now := g.deps.Clock.Now()
		switch {
		case s.ended.Load():
		case !now.Before(s.given.Until):
			if g.close(s, Expired, gateItself, Text{"期限が来ました", "its time has come"}) {
				ended = append(ended, *s.end)
			}
		default:
			why, gone := g.gone(ctx, s, now)
			if !gone {
				continue
			}
			if g.close(s, Revoked, gateItself, why) {
				ended = append(ended, *s.end)
			}
		}
		err = errors.Join(err, g.settle(ctx, s))
	}
	return ended, errors.Join(err, g.lapse(ctx))
}

// gateItself is who ends a grant whose ground is gone.
const gateItself = "house:gate"

// gone tells whether a grant has lost its ground, and how.
func (g *Gate) gone(ctx context.Context, s *standing, now time.Time) (why Text, gone bool) {
	rule, known := g.deps.Guideline.Rule(s.given.Rule)
	if !known || !rule.InForce(now) || !rule.Speaks(s.given.Measure) || rule.Verified == (Verified{}) {
		return Text{"根拠とした規則が効力を失いました", "the rule that it rests on is no longer in force"}, true
	}
	q := inquiry{findings: g.deps.Findings, consents: g.deps.Consents, scope: &s.request.Scope, facts: s.request.Facts, rule: rule, now: now}
	if rule.Sum() != s.given.Sum { // it is worded differently now: then all of it must hold
		if v := q.judge(ctx, &s.request); len(v.lacks) > 0 {
			return v.lacks[0].why(), true
		}
		return Text{}, false
	}
	conditions, quiet := rule.For(s.given.Measure), false
	for i := range conditions {
		c := &conditions[i]
		if !checks[c.Check].live {
			continue
		}
		a := checks[c.Check].ask(ctx, &q, c)
		g.mu.Lock()
		patient := now.Sub(s.shown) < silence
		g.mu.Unlock()
		switch {
		case a.holds:
		case a.silent && patient:
			quiet = true
		default:
			return (&Lack{Missing: c.Missing, Detail: a.why}).why(), true
		}
	}
	if !quiet {
		g.mu.Lock()
		s.shown = now
		g.mu.Unlock()
	}
	return Text{}, false
}

// close ends a grant for all who hold it. The first one to do so says why.
func (g *Gate) close(s *standing, o Outcome, who string, why Text) (first bool) {
	s.ended.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.end != nil {
		return false
	}
	end := s.given
	end.Outcome, end.At, end.Who, end.Why = o, g.deps.Clock.Now(), who, why
	s.end, s.told = &end, closed
	return true
}

// settle writes an end down, and has withdrawn what stood on the grant. What fails is
// tried again by the next Recheck.
func (g *Gate) settle(ctx context.Context, s *standing) error {
	if !s.settling.TryLock() {
		return nil // somebody is at it
	}
	defer s.settling.Unlock()
	g.mu.Lock()
	end, told := *s.end, s.told
	g.mu.Unlock()
	b := body{Decision: s.given, Request: s.request, Consent: s.consent, End: &end}
	for _, next := range []struct {
		after step
		do    func() error
	}{
		{stored, func() error { return g.move(ctx, b, InForce, Ending) }},
		{written, func() error { return g.deps.Recorder.Record(ctx, end) }},
		{withdrawn, func() error {
			if g.deps.Withdraw != nil {
				if err := g.deps.Withdraw.Withdraw(ctx, end); err != nil {
					return err
				}
			}
			return g.move(ctx, b, Ending, Settled)
		}},
	} {
		if told >= next.after {
			continue
		}
		if err := next.do(); err != nil {
			return fmt.Errorf("the end of grant %s: %w", s.given.ID, err)
		}
		g.mu.Lock()
		s.told = next.after
		g.mu.Unlock()
	}
	g.mu.Lock()
	delete(g.standing, s.given.ID)
	g.mu.Unlock()
	return nil
}
