// Package publish keeps the policy zones as the list of C&C servers says, for as long as
// the ground for blocking stands.
//
// What comes into force is gathered, and published at a cadence: each serial costs each
// resolver a transfer. What can't wait doesn't: a block that was withdrawn, since a wrong
// one is worse than a late one, and the emergency lane. When the ground ceases, both
// zones of blocks are emptied at once.
package publish

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
)

// Entry is one name that the list has in force.
type Entry struct {
	ID        string
	Name      string // as dns.Name writes it
	Host      bool   // the name alone, and nothing below it
	Emergency bool   // by the quick lane
}

// Change is that an entry came into force, or went.
type Change struct {
	Entry

	Seq int64
	In  bool
	Now bool // it went, and must be gone at once: it was withdrawn

	moved bool // it came into the other zone
}

// List is the list of C&C servers.
type List interface {
	// Newest is the number of the newest change.
	Newest(ctx context.Context) (int64, error)
	// All gives every entry in force. An error is given instead of an entry, and ends it.
	All(ctx context.Context) iter.Seq2[Entry, error]
	// Changes are those after a number, in order.
	Changes(ctx context.Context, after int64, limit int) ([]Change, error)
}

// Zones are the zones that are kept.
type Zones interface {
	Now(z rpz.Zone) *rpz.Version
	// Held is the roll-back that a zone stands on; false: on none.
	Held(z rpz.Zone) (rpz.Publication, bool)
	// Would tells how many rules a change would add and remove.
	Would(z rpz.Zone, c rpz.Change) (added, removed int, err error)
	Publish(ctx context.Context, z rpz.Zone, g rpz.Ground, c rpz.Change, by rpz.By) (rpz.Publication, error)
	Empty(ctx context.Context, z rpz.Zone, by rpz.By) (rpz.Publication, error)
}

// Grounds finds the ground on which may be blocked for everyone who consents.
type Grounds interface {
	// Ground gives nil, and what is missing, where there is none.
	Ground(ctx context.Context) (g rpz.Ground, missing []lawful.Text, err error)
}

// Config is what may be set.
type Config struct {
	// Cadence is the least time between two serials of c2., but for what can't wait.
	Cadence time.Duration
	// Every is how often the list and the ground are looked at.
	Every time.Duration
	// Anew is how often a zone is made of the whole list, and not of what changed: whatever
	// went wrong doesn't stay wrong.
	Anew time.Duration
	// Allow are the names that are never blocked, with all below them.
	Allow []string
}

// DefaultConfig publishes once a minute, looks once a second, and makes all anew once a day.
func DefaultConfig() Config {
	return Config{Cadence: time.Minute, Every: time.Second, Anew: 24 * time.Hour}
}

// Check says what is wrong with it: some resolvers fetch all of a zone after a few
// differences, so many small steps cost more than one.
func (c Config) Check() error {
	if c.Cadence != 0 && (c.Cadence < time.Minute || c.Cadence > time.Hour) {
		return fmt.Errorf("cadence %s: from 1m, better 1m to 5m, to 1h", c.Cadence)
	}
	return nil
}

// Pending is what waits for the next serial of a zone.
type Pending struct {
	Added, Removed int
	Due            time.Time // zero: somebody must publish
}

// Held is a zone that was rolled back: nothing comes in until a person publishes. What was
// withdrawn goes all the same, and the other zone's lane is free.
type Held struct {
	Since    time.Time
	Serial   uint32 // that it was rolled back to
	Who, Why string
	// How many rules publishing again would bring and take away, as it was Counted; zero: it
	// wasn't yet.
	Added, Removed int
	Counted        time.Time
}

// Status is how publishing stands.
type Status struct {
	Granted bool
	Grant   string
	Until   time.Time
	Missing []lawful.Text        // why not
	Pending map[rpz.Zone]Pending // of zones with something that waits
	Held    map[rpz.Zone]Held    // of zones that were rolled back
	Seq     int64                // of the list, as far as it was read
	Mended  uint64               // zones that were found to differ from the list, and made anew
	Error   string               // of the last look; "" none
}

// me is who publishes what nobody asked for.
const me = "house:publisher"

// Publisher publishes. Its methods may be called from many goroutines.
type Publisher struct {
	cfg     Config
	list    List
	zones   Zones
	grounds Grounds
	clock   clock.Clock
	log     *slog.Logger

	mu     sync.Mutex // one looks at a time
	seq    int64
	begun  bool // seq is known
	lanes  map[rpz.Zone]*lane
	status Status
}

// New makes a publisher.
func New(cfg Config, l List, z Zones, g Grounds, c clock.Clock, log *slog.Logger) *Publisher {
	d := DefaultConfig()
	if cfg.Cadence <= 0 {
		cfg.Cadence = d.Cadence
	}
	if cfg.Every <= 0 {
		cfg.Every = d.Every
	}
	if cfg.Anew <= 0 {
		cfg.Anew = d.Anew
	}
	p := &Publisher{cfg: cfg, list: l, zones: z, grounds: g, clock: c, log: log, lanes: map[rpz.Zone]*lane{}}
	for _, z := range blocking {
		p.lanes[z] = &lane{emergency: z == rpz.Emergency, waiting: map[string]Change{}, whole: true}
	}
	return p
}

// blocking are the zones that block.
var blocking = []rpz.Zone{rpz.C2, rpz.Emergency}

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context, ready func()) error {
	if err := p.allow(ctx); err != nil {
		return err
	}
	ready()
	tick := time.NewTicker(p.cfg.Every)
	defer tick.Stop()
	said := ""
	for {
		err := p.Look(ctx)
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said: // once: it goes on until it is mended
			said = err.Error()
			p.log.ErrorContext(ctx, "the policy zones couldn't be published", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// allow publishes the names that are never blocked.
func (p *Publisher) allow(ctx context.Context) error {
	above := map[uint64]struct{}{}
	var names []string
	for _, text := range p.cfg.Allow {
		n, err := dns.ParseName(text)
		if err != nil {
			return fmt.Errorf("publish the names that are never blocked: %q: %w", text, err)
		}
		names = append(names, n.String())
		above[xxh3.HashString(n.String())] = struct{}{}
	}
	rules := func(yield func(rpz.Rule) bool) {
		for _, n := range names {
			if covered(above, &Entry{Name: n}) { // see gathered: what is between them would be blocked
				continue
			}
			for _, name := range []string{n, "*." + n} {
				if !yield(rpz.Rule{Name: name, Action: rpz.Passthru, Ref: "configuration"}) {
					return
				}
			}
		}
	}
	_, err := p.zones.Publish(ctx, rpz.Allow, nil, rpz.Change{Whole: rules}, rpz.By{Who: me, Why: "the configuration / 設定"})
	if err != nil && !errors.Is(err, rpz.ErrPaused) {
		return fmt.Errorf("publish the names that are never blocked: %w", err)
	}
	return nil
}

// Status is how it stood at the last look.
func (p *Publisher) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Pending, s.Held = maps.Clone(s.Pending), maps.Clone(s.Held)
	return s
}

// Look publishes what is due. Run calls it.
func (p *Publisher) Look(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.look(ctx)
	p.stand(err)
	return err
}

func (p *Publisher) look(ctx context.Context) error {
	g, err := p.ground(ctx)
	if err != nil {
		return err
	}
	if g == nil {
		p.begun = false // nothing is read of the list, which may be away, to empty a zone
	} else if err := p.read(ctx); err != nil {
		return err
	}
	var all error
	for _, z := range blocking {
		if err := p.zone(ctx, z, g); err != nil {
			all = errors.Join(all, err)
		}
	}
	return all
}

// Publish publishes a zone as the list has it, now: a person wants it so. It ends what a
// roll-back held.
func (p *Publisher) Publish(ctx context.Context, z rpz.Zone, who, why string) error {
	if z == rpz.Allow {
		return p.allow(ctx)
	}
	l, blocks := p.lanes[z]
	if !blocks {
		return fmt.Errorf("%w: %s follows the subscribers by itself", rpz.ErrUnknown, z)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g, err := p.ground(ctx)
	if err == nil && g == nil {
		err = fmt.Errorf("zone %s: %w", z, rpz.ErrGround)
	}
	if err == nil {
		err = p.read(ctx)
	}
	if err == nil {
		err = p.all(ctx, z, g, l, rpz.By{Who: who, Why: why})
	}
	p.stand(err)
	return err
}

// ground asks for it. An error is no answer, and no answer isn't a no: a zone isn't
// emptied because a store was restarted; the Grant itself ends when it must.
func (p *Publisher) ground(ctx context.Context) (rpz.Ground, error) {
	g, missing, err := p.grounds.Ground(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for the ground of blocking: %w", err)
	}
	p.status.Granted, p.status.Grant, p.status.Until, p.status.Missing = g != nil, "", time.Time{}, missing
	if g != nil {
		p.status.Grant, p.status.Until = g.ID(), g.Until()
	}
	return g, nil
}

// read takes what has changed of the list. At first there is nothing to take: the zones
// are published as a whole.
func (p *Publisher) read(ctx context.Context) error {
	if !p.begun {
		seq, err := p.list.Newest(ctx)
		if err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		p.seq, p.begun = seq, true
		return nil
	}
	const page = 10_000
	for {
		changes, err := p.list.Changes(ctx, p.seq, page)
		if err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		for _, c := range changes {
			for _, z := range blocking {
				if c.Name != "" { // of an address no resolver hears
					p.lanes[z].take(c, (z == rpz.Emergency) == c.Emergency)
				}
			}
			p.seq = c.Seq
		}
		if len(changes) < page {
			return nil
		}
	}
}

// zone publishes what is due of one.
func (p *Publisher) zone(ctx context.Context, z rpz.Zone, g rpz.Ground) error {
	l, was := p.lanes[z], p.zones.Now(z)
	switch {
	case was.Kind == rpz.Paused: // a person has it in hand, and it is empty
		l.unknown()
		return nil
	case g == nil:
		l.unknown()
		if was.Kind == rpz.Emptied || was.Kind == rpz.Begun {
			return nil
		}
		p.log.WarnContext(ctx, "the ground of blocking has ceased: a policy zone is emptied", slog.String("zone", string(z)))
		_, err := p.zones.Empty(ctx, z, rpz.By{Who: me, Why: "no grant to block is in force / 遮断を認める許可がありません"})
		return err
	}
	if since, held := p.zones.Held(z); held { // a person chose it
		return errors.Join(p.lift(ctx, z, g, l), p.waits(ctx, z, l, &since))
	}
	switch {
	case l.whole:
		return p.all(ctx, z, g, l, rpz.By{Who: me, Why: asItIs})
	case l.due(p.clock.Now(), p.cfg.Cadence):
		return p.next(ctx, z, g, l, was)
	case p.clock.Now().Sub(l.made) >= p.cfg.Anew && len(l.waiting) == 0:
		if err := p.all(ctx, z, g, l, rpz.By{Who: me, Why: asItIs}); err != nil {
			return err
		}
		if now := p.zones.Now(z); now.Serial != was.Serial {
			p.status.Mended++
			p.log.ErrorContext(ctx, "a policy zone wasn't what the list says: it was made anew", slog.String("zone", string(z)), slog.Int("added", now.Added), slog.Int("removed", now.Removed))
		}
	}
	return nil
}

const asItIs = "the list as it is / リストの現状"

// next publishes a zone's next serial: made of the one before and of what waits, where
// that is known.
func (p *Publisher) next(ctx context.Context, z rpz.Zone, g rpz.Ground, l *lane, was *rpz.Version) error {
	began := p.clock.Now()
	come, gone := l.counts()
	by := rpz.By{Who: me, Why: fmt.Sprintf("%d entries come into force, %d go / %d 件が発効、%d 件が失効", come, gone, come, gone)}
	s, can := l.step(was)
	if !can {
		return p.all(ctx, z, g, l, by)
	}
	n, err := p.zones.Publish(ctx, z, g, s.change, by)
	if errors.Is(err, rpz.ErrMoved) {
		return nil // a person was quicker: it is looked at anew
	}
	if err != nil {
		return err
	}
	l.stepped(&s, n.Serial)
	l.done(p.clock.Now(), began)
	return nil
}

// waits counts what would come into a zone that was rolled back, and go, if somebody
// published it again: at first, and when the list has changed.
func (p *Publisher) waits(ctx context.Context, z rpz.Zone, l *lane, back *rpz.Publication) error {
	h := l.held
	if h == nil || !h.Since.Equal(back.At) {
		h = &Held{Since: back.At, Serial: back.Of, Who: back.Who, Why: back.Why}
		l.held, l.heldSeq, l.took = h, -1, 0
	}
	began := p.clock.Now()
	if l.heldSeq == p.seq || began.Before(h.Counted.Add(l.pace(p.cfg.Cadence))) {
		return nil
	}
	c, _, err := gathered(ctx, p.list, l.emergency)
	if err != nil {
		return err
	}
	if h.Added, h.Removed, err = p.zones.Would(z, c); err != nil {
		return fmt.Errorf("count what waits for %s: %w", z, err)
	}
	h.Counted, l.heldSeq = p.clock.Now(), p.seq
	l.took = h.Counted.Sub(began)
	return nil
}

// lift takes out of a zone that was rolled back what mustn't be blocked any more; what
// comes waits for a person.
func (p *Publisher) lift(ctx context.Context, z rpz.Zone, g rpz.Ground, l *lane) error {
	var gone []rpz.Rule
	for id, c := range l.waiting {
		if !c.In && c.Now {
			gone = append(gone, c.rules()...)
			l.lifted = append(l.lifted, id)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	_, err := p.zones.Publish(ctx, z, g, rpz.Change{Remove: gone}, rpz.By{Who: me, Why: "withdrawn entries go / 取り下げ分の削除", Refs: []string{rpz.HeldRef}})
	if err == nil {
		for _, id := range l.lifted {
			delete(l.waiting, id)
		}
	}
	l.lifted = l.lifted[:0]
	return err
}

// all publishes a zone as the list has it, made of the whole of it.
func (p *Publisher) all(ctx context.Context, z rpz.Zone, g rpz.Ground, l *lane, by rpz.By) error {
	began := p.clock.Now()
	c, hidden, err := gathered(ctx, p.list, l.emergency)
	if err != nil {
		return err
	}
	n, err := p.zones.Publish(ctx, z, g, c, by)
	if err != nil {
		return err
	}
	l.hidden, l.at, l.made = hidden(), n.Serial, p.clock.Now()
	l.done(l.made, began)
	return nil
}

// stand says how it stands after a look.
func (p *Publisher) stand(err error) {
	s := &p.status
	s.Seq, s.Error, s.Pending, s.Held = p.seq, "", map[rpz.Zone]Pending{}, map[rpz.Zone]Held{}
	if err != nil {
		s.Error = err.Error()
	}
	for _, z := range blocking {
		l := p.lanes[z]
		if back, held := p.zones.Held(z); held && s.Granted {
			s.Held[z] = Held{Since: back.At, Serial: back.Of, Who: back.Who, Why: back.Why}
			if l.held != nil && l.held.Since.Equal(back.At) {
				s.Held[z] = *l.held
			}
			if h := s.Held[z]; h.Added+h.Removed > 0 {
				s.Pending[z] = Pending{Added: h.Added, Removed: h.Removed}
			}
			continue
		}
		if l.held = nil; len(l.waiting) == 0 {
			continue
		}
		x := Pending{Due: l.last.Add(l.pace(p.cfg.Cadence))}
		if x.Added, x.Removed = l.counts(); x.Added+x.Removed > 0 {
			s.Pending[z] = x
		}
	}
}
