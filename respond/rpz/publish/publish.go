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

	"sakimori/base/clock"
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
	Now(z rpz.Zone) rpz.Publication
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
	// Allow are the names that are never blocked, with all below them.
	Allow []string
}

// DefaultConfig publishes once a minute, and looks once a second.
func DefaultConfig() Config { return Config{Cadence: time.Minute, Every: time.Second} }

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

// Status is how publishing stands.
type Status struct {
	Granted bool
	Grant   string
	Until   time.Time
	Missing []lawful.Text        // why not
	Pending map[rpz.Zone]Pending // of zones with something that waits
	Seq     int64                // of the list, as far as it was read
	Error   string               // of the last look; "" none
}

// me is who publishes what nobody asked for.
const me = "house:publisher"

// held marks publications of a zone that was rolled back: it has them until a person
// publishes again.
const held = "held"

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
	p := &Publisher{cfg: cfg, list: l, zones: z, grounds: g, clock: c, log: log, lanes: map[rpz.Zone]*lane{}}
	for _, z := range blocking {
		p.lanes[z] = &lane{waiting: map[string]Change{}, whole: true}
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
	rules := func(yield func(rpz.Rule) bool) {
		for _, n := range p.cfg.Allow {
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
	s.Pending = maps.Clone(s.Pending)
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
				p.lanes[z].take(c, (z == rpz.Emergency) == c.Emergency)
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
	case isHeld(&was): // a person chose it
		return p.lift(ctx, z, g, l)
	case l.due(p.clock.Now(), p.cfg.Cadence):
		come, gone := l.counts()
		why := fmt.Sprintf("%d entries come into force, %d go / %d 件が発効、%d 件が失効", come, gone, come, gone)
		if l.whole {
			why = "the list as it is / リストの現状"
		}
		return p.all(ctx, z, g, l, rpz.By{Who: me, Why: why})
	}
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
	_, err := p.zones.Publish(ctx, z, g, rpz.Change{Remove: gone}, rpz.By{Who: me, Why: "withdrawn entries go / 取り下げ分の削除", Refs: []string{held}})
	if err == nil {
		for _, id := range l.lifted {
			delete(l.waiting, id)
		}
	}
	l.lifted = l.lifted[:0]
	return err
}

// all publishes a zone as the list has it. It is made anew each time, so that nothing
// which went wrong once stays wrong.
func (p *Publisher) all(ctx context.Context, z rpz.Zone, g rpz.Ground, l *lane, by rpz.By) error {
	began := p.clock.Now()
	c, err := gathered(ctx, p.list, z == rpz.Emergency)
	if err == nil {
		_, err = p.zones.Publish(ctx, z, g, c, by)
	}
	if err != nil {
		return err
	}
	clear(l.waiting) // what was read of the list before is in it
	l.last, l.took, l.whole = p.clock.Now(), p.clock.Now().Sub(began), false
	return nil
}

// stand says how it stands after a look.
func (p *Publisher) stand(err error) {
	s := &p.status
	s.Seq, s.Error, s.Pending = p.seq, "", map[rpz.Zone]Pending{}
	if err != nil {
		s.Error = err.Error()
	}
	for _, z := range blocking {
		if l := p.lanes[z]; len(l.waiting) > 0 {
			x := Pending{}
			if x.Added, x.Removed = l.counts(); x == (Pending{}) {
				continue
			}
			if was := p.zones.Now(z); !isHeld(&was) {
				x.Due = l.last.Add(l.pace(p.cfg.Cadence))
			}
			s.Pending[z] = x
		}
	}
}
