// Package speaker announces the rules of mitigations to routers by BGP (RFC 4271), with GoBGP
// inside: flowspec (RFC 8955, 8956), and routes to be discarded (RTBH, RFC 7999).
//
// It says what an act names and nothing else, while the act stands and no longer. It takes no
// routes from anybody, knows no peer that isn't configured, and listens only where it is told
// to. Graceful restart is off: when this process dies, by whatever signal, its routers drop
// what it said as soon as they see the connection end, and within the hold time where they
// don't. So nothing is kept on disk here. A new process begins with nothing and announces
// again what its caller still stands to.
package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/respond/mitigate"
)

// What may keep an act from being announced. Nothing of it is then.
var (
	ErrRule     = errors.New("the rule can't be said by BGP")
	ErrUnable   = errors.New("no peer takes a rule of this kind")
	ErrNoPeer   = errors.New("no peer that takes the rule is connected")
	ErrLimit    = errors.New("more rules than may be announced")
	ErrConflict = errors.New("the same traffic has another action already")
	ErrTime     = errors.New("an act needs an end that is ahead, and not too far")
	ErrStopped  = errors.New("the BGP speaker isn't running")
)

// Speaker announces rules. Its methods may be called at once from anywhere.
type Speaker struct {
	cfg   Config
	clock clock.Clock
	log   *slog.Logger

	mu      sync.Mutex
	out     *router             // nil: not running
	acts    map[string]act      // by id
	said    map[string]standing // by route.key
	expired uint64              // acts that ended here, because nobody withdrew or renewed them

	seen sightings // of the peers; has a mutex of its own, GoBGP calls it
}

var _ mitigate.Announcer = (*Speaker)(nil)

// act is what one mitigation has announced.
type act struct {
	routes []string // keys, sorted
	since  time.Time
	until  time.Time
	own    bool // of own prefixes
}

// standing is a route that the routers have been told, for one act or several.
type standing struct {
	route
	acts int
}

// New sets a speaker up; it says nothing before Run.
func New(cfg Config, clk clock.Clock, log *slog.Logger) (*Speaker, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	for i := range cfg.Peers {
		if _, err := cfg.Peers[i].password(); err != nil {
			return nil, err
		}
	}
	s := &Speaker{cfg: cfg, clock: clk, log: log, acts: map[string]act{}, said: map[string]standing{}}
	s.seen.reset(cfg.Peers, clk.Now())
	return s, nil
}

// tick is how often it looks for acts that have ended and peers that may try again.
const tick = 250 * time.Millisecond

// Run speaks until ctx ends; then it withdraws everything and closes the sessions. It is
// ready as soon as acts are taken, whether peers are connected or not.
func (s *Speaker) Run(ctx context.Context, ready func()) error {
	out, err := start(ctx, &s.cfg, s.log, &s.seen, s.clock)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.out = out
	s.mu.Unlock()
	ready()
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.expire(ctx)
			s.seen.retry(ctx, out, s.clock.Now())
		case <-ctx.Done():
			return s.stop()
		}
	}
}

// stop withdraws everything: by name, so that a router that keeps routes of a lost peer for
// whatever reason hears it, then by ending the sessions.
func (s *Speaker) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.out.remove(slices.Collect(maps.Values(s.said))...)
	clear(s.acts)
	clear(s.said)
	s.out.stop()
	s.out = nil
	s.seen.reset(s.cfg.Peers, s.clock.Now())
	return err
}

// Announce makes an act stand until a time: those peers that take its rules' kinds are told,
// at once where they are connected and when they come where they aren't. It is announced as a
// whole or, with an error, not at all.
//
// The same act with the same rules is told to nobody again; its end moves. With other rules
// the new ones are announced before those that are gone are withdrawn. Two acts may have a
// rule in common: it goes with the last of them.
func (s *Speaker) Announce(ctx context.Context, id string, rules []mitigate.Rule, until time.Time) error {
	routes := map[string]route{}
	for _, r := range rules {
		e, err := encode(r)
		if err != nil {
			return fmt.Errorf("%w: %w: %s", ErrRule, err, r.String())
		}
		if had, ok := routes[e.key]; ok && had.does != e.does {
			return fmt.Errorf("%w: %s", ErrConflict, r.String())
		}
		routes[e.key] = e
	}
	return s.announce(ctx, id, routes, until, false)
}

// announce makes an act of rules or of own prefixes stand.
func (s *Speaker) announce(ctx context.Context, id string, routes map[string]route, until time.Time, own bool) error {
	if len(routes) == 0 {
		return fmt.Errorf("%w: an act without rules: withdraw it instead", ErrRule)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return ErrStopped
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	now := s.clock.Now()
	left := until.Sub(now)
	if left <= 0 || left > s.cfg.Longest {
		return fmt.Errorf("%w: %s is not within %s from now", ErrTime, until.UTC().Format(time.RFC3339), s.cfg.Longest)
	}
	keys := slices.Sorted(maps.Keys(routes))
	before, known := s.acts[id]
	if known && before.own != own {
		return fmt.Errorf("%w: %s is another act's id", ErrConflict, id)
	}
	// From now on in the machine's own measure of time, as somebody may set its clock.
	next := act{routes: keys, since: now, until: now.Add(left), own: own}
	if known {
		next.since = before.since
	}
	if known && slices.Equal(before.routes, keys) && s.agree(routes) {
		s.acts[id] = next
		return nil
	}
	if err := s.allowed(id, routes); err != nil {
		return err
	}
	var fresh []route
	for _, k := range keys {
		if st, ok := s.said[k]; !ok || st.does != routes[k].does {
			fresh = append(fresh, routes[k])
		}
	}
	if err := s.out.add(fresh...); err != nil {
		return fmt.Errorf("nothing was announced: %w", err)
	}
	for _, k := range keys {
		s.said[k] = standing{routes[k], s.said[k].acts + 1}
	}
	s.acts[id] = next
	s.log.LogAttrs(ctx, slog.LevelInfo, "rules announced", slog.String("act", id), slog.Int("rules", len(keys)), slog.Int("new", len(fresh)), slog.Time("until", next.until))
	return s.release(before.routes)
}

// agree tells whether all routes stand with just these actions.
func (s *Speaker) agree(routes map[string]route) bool {
	for k, r := range routes {
		if s.said[k].does != r.does {
			return false
		}
	}
	return true
}

// allowed tells why the routes can't take the place of those that the act has now.
func (s *Speaker) allowed(id string, routes map[string]route) error {
	all := map[string]route{}
	for k, st := range s.said {
		own := 0
		if slices.Contains(s.acts[id].routes, k) {
			own = 1
		}
		if st.acts > own {
			all[k] = st.route
		}
	}
	for k, r := range routes {
		if had, ok := all[k]; ok && had.does != r.does {
			return fmt.Errorf("%w, in another act: %s", ErrConflict, r.text)
		}
		all[k] = r
		takes := func(n Neighbor) bool { return r.goes(&n) }
		if !slices.ContainsFunc(s.cfg.Peers, takes) {
			return fmt.Errorf("%w: none has the family %s, which %s needs", ErrUnable, r.family, r.text)
		}
		if !slices.ContainsFunc(s.cfg.Peers, func(n Neighbor) bool { return takes(n) && s.seen.carries(n.Name, r.family) }) {
			return fmt.Errorf("%w by %s: %s", ErrNoPeer, r.family, r.text)
		}
	}
	if len(all) > s.cfg.Rules {
		return fmt.Errorf("%w: %d in all, and %d are allowed", ErrLimit, len(all), s.cfg.Rules)
	}
	names := map[string]string{} // what GoBGP knows a route by
	for _, n := range s.cfg.Peers {
		count := 0
		for _, r := range all {
			if r.goes(&n) {
				count++
			}
		}
		if count > n.Rules {
			return fmt.Errorf("%w: %d to peer %s, which takes %d", ErrLimit, count, n.Name, n.Rules)
		}
	}
	for k, r := range all {
		name := string(r.family) + r.nlri.String()
		if other, ok := names[name]; ok && other != k {
			return fmt.Errorf("%w: two rules are the same to GoBGP: %s", ErrRule, r.text)
		}
		names[name] = k
	}
	return nil
}

// Withdraw ends an act. An act that isn't known has ended already.
func (s *Speaker) Withdraw(ctx context.Context, id string) error { return s.withdraw(ctx, id, false) }

func (s *Speaker) withdraw(ctx context.Context, id string, own bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.acts[id]
	if !ok || a.own != own {
		return nil
	}
	if err := s.release(a.routes); err != nil {
		return err
	}
	delete(s.acts, id)
	s.log.LogAttrs(ctx, slog.LevelInfo, "rules withdrawn", slog.String("act", id), slog.Int("rules", len(a.routes)))
	return nil
}

// release takes back what no act needs any more: all of it, or with an error nothing.
func (s *Speaker) release(keys []string) error {
	var gone []standing
	for _, k := range keys {
		if st := s.said[k]; st.acts == 1 {
			gone = append(gone, st)
		}
	}
	if err := s.out.remove(gone...); err != nil {
		return fmt.Errorf("what was announced still stands: %w", err)
	}
	for _, k := range keys {
		st := s.said[k]
		if st.acts--; st.acts == 0 {
			delete(s.said, k)
		} else {
			s.said[k] = st
		}
	}
	return nil
}

// expire withdraws what nobody has renewed in time, whatever hangs elsewhere.
func (s *Speaker) expire(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	for id, a := range s.acts {
		if now.Before(a.until) {
			continue
		}
		if err := s.release(a.routes); err != nil { // the next tick tries again
			s.log.LogAttrs(ctx, slog.LevelError, "rules that have ended can't be withdrawn", slog.String("act", id), slog.Any("err", err))
			continue
		}
		delete(s.acts, id)
		s.expired++
		s.log.LogAttrs(ctx, slog.LevelWarn, "rules withdrawn: their time is over", slog.String("act", id), slog.Int("rules", len(a.routes)))
	}
}

// Expired is how many acts have ended here because nobody withdrew or renewed them in time.
func (s *Speaker) Expired() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}
