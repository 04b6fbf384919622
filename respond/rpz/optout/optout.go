// Package optout keeps the zone optout. what it must be: the addresses that somebody
// has, at this moment, who doesn't consent to the blocking of C&C servers.
//
// An address belongs to a subscriber for a while only. So the zone follows both the
// records of who has which address and the register of consents, within seconds: an
// address never inherits a stranger's choice. Where anything is unknown (who has it,
// whether they consent, a store that doesn't answer) the address is left alone: to
// block somebody who declined is the worst that can happen here.
package optout

import (
	"container/heap"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
)

// Holder is who has an address: a pseudonym, or "" for somebody who isn't known.
type Holder = string

// Holders tells who may have an address at a moment, whole or a port of it.
type Holders interface {
	// Holders of the prefix; none: nobody. until is when the answer changes although
	// nothing more is heard, zero never: a lease ends, a clock is ahead.
	Holders(ctx context.Context, p netip.Prefix, at time.Time) (list []Holder, until time.Time, err error)
	// Held visits every prefix that somebody may have.
	Held(ctx context.Context, at time.Time, visit func(p netip.Prefix) error) error
}

// Consents tells whether a subscriber consents to the blocking.
type Consents interface {
	Consents(ctx context.Context, subject string, at time.Time) (bool, error)
}

// Zone takes what changes, and gives the serial at which it is in force.
type Zone interface {
	Change(ctx context.Context, add, remove []netip.Prefix) (serial uint32, err error)
	// Clients are those that are in the zone now: after a start.
	Clients(ctx context.Context) ([]netip.Prefix, error)
}

// Config is what may be set. Zero fields take the values of DefaultConfig.
type Config struct {
	// Gather is for how long changes are collected before they are published together.
	Gather time.Duration
	// Ending is the least time between changes that take something out; 0: none. A resolver that
	// doesn't take clients out by differences fetches all of the zone then, and answers nobody
	// while it reads it. Who is left alone for that time is so for no longer than a choice may
	// take; who comes in never waits.
	Ending time.Duration
	// Every is how often everything is gone through again, to find what was missed.
	Every time.Duration
	// Waiting is how many changed prefixes may wait; when there are more everything is
	// gone through again.
	Waiting int
}

// DefaultConfig publishes within half a second of a change.
func DefaultConfig() Config {
	return Config{Gather: 500 * time.Millisecond, Every: time.Hour, Waiting: 1 << 18}
}

// Stats is how it stands.
type Stats struct {
	Clients int           `json:"clients"` // prefixes in the zone
	Held    int           `json:"held"`    // prefixes that somebody has
	Unknown int           `json:"unknown"` // of the clients: in the zone because a holder isn't known
	Waiting int           `json:"waiting"` // changed prefixes that wait
	Serial  uint32        `json:"serial"`  // of the last change
	Changed time.Time     `json:"changed"` // the last change
	Swept   time.Time     `json:"swept"`   // everything was gone through; zero not yet
	Lag     time.Duration `json:"lag"`     // of the last change, from the record to the zone
	Worst   time.Duration `json:"worst"`   // lag since the start
	Failed  uint64        `json:"failed"`  // questions that weren't answered, and changes that weren't taken
	Error   string        `json:"error"`   // of the last round; "" none
}

// Follower follows. Its methods may be called from many goroutines.
type Follower struct {
	cfg      Config
	holders  Holders
	consents Consents
	zone     Zone
	clock    clock.Clock

	mu      sync.Mutex
	dirty   map[netip.Prefix]time.Time // since when it waits
	said    map[string]time.Time       // subjects that said something
	full    bool                       // more changed than may wait: sweep
	stats   Stats
	changed chan struct{}

	// Of Run alone.
	in    map[netip.Prefix]bool      // in the zone; true: a holder isn't known
	by    map[string][]netip.Prefix  // what each subject has
	held  map[netip.Prefix][]Holder  // who has it
	ask   map[netip.Prefix]time.Time // that couldn't be published or answered: again
	until map[netip.Prefix]time.Time // when the answer changes by itself
	queue dues                       // of until, and of what was in it once
	ended time.Time                  // when something was taken out last

	reading sync.RWMutex // of by, for others than Run
}

// New makes a follower.
func New(cfg Config, h Holders, c Consents, z Zone, t clock.Clock) *Follower {
	d := DefaultConfig()
	if cfg.Gather <= 0 {
		cfg.Gather = d.Gather
	}
	if cfg.Every <= 0 {
		cfg.Every = d.Every
	}
	if cfg.Waiting <= 0 {
		cfg.Waiting = d.Waiting
	}
	return &Follower{
		cfg: cfg, holders: h, consents: c, zone: z, clock: t,
		dirty: map[netip.Prefix]time.Time{}, said: map[string]time.Time{}, changed: make(chan struct{}, 1),
		in: map[netip.Prefix]bool{}, by: map[string][]netip.Prefix{}, held: map[netip.Prefix][]Holder{}, ask: map[netip.Prefix]time.Time{}, until: map[netip.Prefix]time.Time{},
	}
}

// Touch says that somebody began or ceased to have prefixes. It never waits.
func (f *Follower) Touch(prefixes ...netip.Prefix) {
	now := f.clock.Now()
	f.mu.Lock()
	for _, p := range prefixes {
		p = p.Masked()
		if _, waits := f.dirty[p]; waits {
			continue
		}
		if len(f.dirty) >= f.cfg.Waiting {
			f.full = true
			break
		}
		f.dirty[p] = now
	}
	f.mu.Unlock()
	f.wake()
}

// Said says that a subject said something about its consent. It never waits.
func (f *Follower) Said(subject string) {
	now := f.clock.Now()
	f.mu.Lock()
	if _, waits := f.said[subject]; !waits {
		f.said[subject] = now
	}
	f.mu.Unlock()
	f.wake()
}

// Sweep says that everything is to be gone through: terms have changed, or a source of
// records has begun anew.
func (f *Follower) Sweep() {
	f.mu.Lock()
	f.full = true
	f.mu.Unlock()
	f.wake()
}

func (f *Follower) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// Stats is how it stands.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Waiting = len(f.dirty) + len(f.said)
	return s
}

// Has is what a subject has, as far as it was looked at.
func (f *Follower) Has(subject string) []netip.Prefix {
	f.reading.RLock()
	defer f.reading.RUnlock()
	return slices.Clone(f.by[subject])
}

// Run follows until ctx ends. It is ready when the zone is known; what is in the zone
// then stays until everything was gone through once.
func (f *Follower) Run(ctx context.Context, ready func()) error {
	list, err := f.zone.Clients(ctx)
	if err != nil {
		return fmt.Errorf("read the zone of those who opted out: %w", err)
	}
	for _, p := range list {
		f.in[p] = false
	}
	f.Sweep()
	ready()
	gather, sweep := time.NewTicker(f.cfg.Gather), time.NewTicker(f.cfg.Every)
	defer gather.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			f.Sweep()
		case <-gather.C:
			select {
			case <-f.changed:
			default:
				if len(f.ask) == 0 && !f.queue.due(f.clock.Now()) {
					continue
				}
			}
			f.Follow(ctx)
		}
	}
}

// Follow does now what waits. Run calls it; only one may at a time.
func (f *Follower) Follow(ctx context.Context) {
	f.mu.Lock()
	dirty, said, full := f.dirty, f.said, f.full
	f.dirty, f.said, f.full = map[netip.Prefix]time.Time{}, map[string]time.Time{}, false
	f.stats.Error = ""
	f.mu.Unlock()
	for p, since := range f.ask {
		if was, waits := dirty[p]; !waits || since.Before(was) {
			dirty[p] = since
		}
	}
	clear(f.ask)
	for now := f.clock.Now(); f.queue.due(now); {
		d := heap.Pop(&f.queue).(due) //nolint:forcetypeassert // nothing else is pushed
		if at, waits := f.until[d.p]; !waits || !at.Equal(d.at) {
			continue // told otherwise since
		}
		delete(f.until, d.p)
		if was, waits := dirty[d.p]; !waits || d.at.Before(was) {
			dirty[d.p] = d.at
		}
	}
	for subject, since := range said {
		for _, p := range f.by[subject] {
			if was, waits := dirty[p]; !waits || since.Before(was) {
				dirty[p] = since
			}
		}
	}
	if full { // what is held now, and what was
		f.all(ctx, dirty)
	}
	f.settle(ctx, dirty)
}

// all adds every prefix that somebody has, had, or that is in the zone.
func (f *Follower) all(ctx context.Context, dirty map[netip.Prefix]time.Time) {
	now := f.clock.Now()
	add := func(p netip.Prefix) {
		if _, waits := dirty[p]; !waits {
			dirty[p] = now
		}
	}
	err := f.holders.Held(ctx, now, func(p netip.Prefix) error {
		add(p.Masked())
		return nil
	})
	if err != nil { // nothing is taken out on half of an answer; it is tried again
		f.failed(err)
		f.Sweep()
	} else {
		f.mu.Lock()
		f.stats.Swept = now
		f.mu.Unlock()
	}
	for p := range f.held {
		add(p)
	}
	for p := range f.in {
		add(p)
	}
}

// settle asks about the prefixes and changes the zone.
func (f *Follower) settle(ctx context.Context, dirty map[netip.Prefix]time.Time) {
	now := f.clock.Now()
	consents, silent := map[string]bool{}, map[string]bool{} // asked once each
	type state struct{ out, unknown bool }
	change := map[netip.Prefix]state{}
	var add, remove []netip.Prefix
	for p, since := range dirty {
		list, until, err := f.holders.Holders(ctx, p, now)
		out, unknown := err != nil, err != nil
		if err != nil {
			f.failed(err)
			f.ask[p] = since
		}
		for _, h := range list {
			if h == "" {
				out, unknown = true, true
				continue
			}
			yes, asked := consents[h]
			if !asked {
				var err error
				if yes, err = f.consents.Consents(ctx, h, now); err != nil {
					f.failed(err)
					yes, silent[h] = false, true
				}
				consents[h] = yes
			}
			if silent[h] { // of every prefix that they have
				f.ask[p] = since
			}
			out = out || !yes
		}
		if err == nil {
			f.have(p, list)
			f.later(p, until)
		}
		was, in := f.in[p]
		switch {
		case out && !in:
			add = append(add, p)
		case !out && in && now.Before(f.ended.Add(f.cfg.Ending)):
			f.ask[p] = since
			continue
		case !out && in:
			remove = append(remove, p)
		case !out || was == unknown:
			continue
		}
		change[p] = state{out, unknown}
	}
	slices.SortFunc(add, netip.Prefix.Compare)
	slices.SortFunc(remove, netip.Prefix.Compare)
	var serial uint32
	if len(add)+len(remove) > 0 {
		var err error
		if serial, err = f.zone.Change(ctx, add, remove); err != nil {
			for p, s := range change {
				if _, in := f.in[p]; s.out != in {
					f.ask[p] = dirty[p]
					delete(change, p)
				}
			}
			f.failed(err)
			add, remove = nil, nil
		}
		if len(remove) > 0 {
			f.ended = now
		}
	}
	for p, s := range change {
		if s.out {
			f.in[p] = s.unknown
		} else {
			delete(f.in, p)
		}
	}
	f.count(add, remove, dirty, serial)
}

// have notes who has a prefix.
func (f *Follower) have(p netip.Prefix, list []Holder) {
	f.reading.Lock()
	defer f.reading.Unlock()
	for _, h := range f.held[p] {
		if i := slices.Index(f.by[h], p); i >= 0 {
			if f.by[h] = slices.Delete(f.by[h], i, i+1); len(f.by[h]) == 0 {
				delete(f.by, h)
			}
		}
	}
	delete(f.held, p)
	if len(list) == 0 {
		return
	}
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	f.held[p] = list
	for _, h := range list {
		f.by[h] = append(f.by[h], p)
	}
}

// later notes when to ask again.
func (f *Follower) later(p netip.Prefix, until time.Time) {
	if until.IsZero() {
		delete(f.until, p)
		return
	}
	if at, waits := f.until[p]; waits && at.Equal(until) {
		return
	}
	f.until[p] = until
	heap.Push(&f.queue, due{until, p})
}

// due is when to ask about a prefix again.
type due struct {
	at time.Time
	p  netip.Prefix
}

// dues is a heap, the earliest first.
type dues []due

func (d dues) due(now time.Time) bool { return len(d) > 0 && !d[0].at.After(now) }
func (d dues) Len() int               { return len(d) }
func (d dues) Less(i, j int) bool     { return d[i].at.Before(d[j].at) }
func (d dues) Swap(i, j int)          { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)            { *d = append(*d, x.(due)) } //nolint:forcetypeassert // nothing else is pushed
func (d *dues) Pop() any {
	old := *d
	x := old[len(old)-1]
	*d = old[:len(old)-1]
	return x
}

// count says how it stands after a change.
func (f *Follower) count(add, remove []netip.Prefix, dirty map[netip.Prefix]time.Time, serial uint32) {
	now := f.clock.Now()
	unknown := 0
	for _, u := range f.in {
		if u {
			unknown++
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.stats
	s.Clients, s.Held, s.Unknown = len(f.in), len(f.held), unknown
	if len(add)+len(remove) == 0 {
		return
	}
	s.Serial, s.Changed, s.Lag = serial, now, 0
	for _, list := range [][]netip.Prefix{add, remove} {
		for _, p := range list {
			s.Lag = max(s.Lag, now.Sub(dirty[p]))
		}
	}
	s.Worst = max(s.Worst, s.Lag)
}

func (f *Follower) failed(err error) {
	f.mu.Lock()
	f.stats.Failed++
	f.stats.Error = err.Error()
	f.mu.Unlock()
}
