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

// patience is how long a request waits for a second person.
const patience = 24 * time.Hour

// waiting is a request that a second person must agree to.
type waiting struct {
	asked   Decision
	request Request
}

// wait writes down that a request waits. It gives a *Pending, or why it doesn't wait.
func (g *Gate) wait(ctx context.Context, d Decision, r *Request) error {
	if err := g.deps.Recorder.Record(ctx, d); err != nil {
		return fmt.Errorf("%w: the decision couldn't be written down: %w", ErrRefused, err)
	}
	if err := g.keep(ctx, body{Decision: d, Request: *r}, AwaitsSecond); err != nil {
		return fmt.Errorf("%w: the request couldn't be kept: %w", ErrRefused, err)
	}
	g.mu.Lock()
	g.waiting[d.ID] = &waiting{d, *r}
	g.mu.Unlock()
	return &Pending{d}
}

// Waiting lists the requests that wait for a second person, the oldest first.
func (g *Gate) Waiting() []Decision {
	now := g.deps.Clock.Now()
	var list []Decision
	g.mu.Lock()
	for _, w := range g.waiting {
		if now.Before(w.asked.Until) {
			list = append(list, w.asked)
		}
	}
	g.mu.Unlock()
	slices.SortFunc(list, oldest)
	return list
}

// Approve is the second person's yes. All conditions are verified again, and only then
// the Grant is given. Whoever asked can't approve, in whatever role. What is missing
// now is a *Refusal; the request goes on waiting.
func (g *Gate) Approve(ctx context.Context, id, who string) (Grant, error) {
	w, err := g.second(id, who)
	if err != nil {
		return Grant{}, err
	}
	grant, err := g.approve(ctx, w, who)
	if err != nil {
		g.mu.Lock()
		g.waiting[id] = w
		g.mu.Unlock()
	}
	return grant, err
}

// second takes a waiting request out, so that nobody else decides on it meanwhile.
func (g *Gate) second(id, who string) (*waiting, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.waiting[id]
	switch {
	case w == nil || !g.deps.Clock.Now().Before(w.asked.Until):
		return nil, fmt.Errorf("%w: no request %.40q waits", ErrUnknown, id)
	case Person(who) == "":
		return nil, errors.New("say who decides")
	case Person(who) == Person(w.asked.Who):
		return nil, fmt.Errorf("%w: %s: %w", ErrRefused, id, ErrSamePerson)
	}
	delete(g.waiting, id)
	return w, nil
}

// Person is a user without the role in which they act: abuse:hanako is hanako.
func Person(who string) string {
	return strings.ToLower(strings.TrimSpace(who[strings.LastIndexByte(who, ':')+1:]))
}

func (g *Gate) approve(ctx context.Context, w *waiting, who string) (Grant, error) {
	r := w.request
	r.Rule = w.asked.Rule
	q := inquiry{findings: g.deps.Findings, consents: g.deps.Consents, scope: &r.Scope, facts: r.Facts, now: g.deps.Clock.Now()}
	v := weigh(ctx, &g.deps.Guideline, q, &r)
	d := decide(&r, &v, q.now)
	d.ID, d.Second = w.asked.ID, who
	if d.Outcome == Refused {
		if err := g.deps.Recorder.Record(ctx, d); err != nil {
			return Grant{}, fmt.Errorf("%w: the decision couldn't be written down: %w", ErrRefused, err)
		}
		return Grant{}, refusal(&d, &v)
	}
	d.Outcome, d.Until = Granted, v.until
	if err := g.deps.Recorder.Record(ctx, d); err != nil {
		return Grant{}, fmt.Errorf("%w: the decision couldn't be written down: %w", ErrRefused, err)
	}
	if err := g.move(ctx, body{Decision: d, Request: r, Consent: v.consent}, AwaitsSecond, InForce); err != nil {
		end := d
		end.Outcome, end.Why = Revoked, Text{"保存できなかったため、与えられませんでした", "it couldn't be kept, and wasn't given"}
		return Grant{}, fmt.Errorf("%w: the grant couldn't be kept: %w", ErrRefused, errors.Join(err, g.deps.Recorder.Record(ctx, end)))
	}
	return g.stand(body{Decision: d, Request: r, Consent: v.consent}), nil
}

// Decline is the second person's no.
func (g *Gate) Decline(ctx context.Context, id, who, why string) error {
	if strings.TrimSpace(why) == "" {
		return errors.New("say why it is declined")
	}
	w, err := g.second(id, who)
	if err != nil {
		return err
	}
	return g.drop(ctx, w, Declined, who, Text{why, why})
}

// lapse ends what nobody agreed to in time.
func (g *Gate) lapse(ctx context.Context) error {
	now := g.deps.Clock.Now()
	g.mu.Lock()
	var over []*waiting
	for id, w := range maps.All(g.waiting) {
		if !now.Before(w.asked.Until) {
			over = append(over, w)
			delete(g.waiting, id)
		}
	}
	g.mu.Unlock()
	var err error
	for _, w := range over {
		err = errors.Join(err, g.drop(ctx, w, Lapsed, gateItself, Text{"期限までに二人目の承認がありませんでした", "no second person agreed in time"}))
	}
	return err
}

// drop ends a waiting request. What fails is put back, and tried again when it lapses.
func (g *Gate) drop(ctx context.Context, w *waiting, o Outcome, who string, why Text) error {
	d := w.asked
	d.Outcome, d.At, d.Second, d.Why = o, g.deps.Clock.Now(), who, why
	err := g.deps.Recorder.Record(ctx, d)
	if err == nil {
		err = g.move(ctx, body{Decision: w.asked, Request: w.request, End: &d}, AwaitsSecond, Settled)
	}
	if err != nil {
		g.mu.Lock()
		g.waiting[d.ID] = w
		g.mu.Unlock()
		return fmt.Errorf("the end of request %s: %w", d.ID, err)
	}
	return nil
}
