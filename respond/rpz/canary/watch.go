package canary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
)

// Resolver is one that is watched, and who asks it.
type Resolver struct {
	Name     string
	Addr     netip.AddrPort
	Taking   netip.Addr // address of the machine from which the client asks that takes part
	Declined netip.Addr // and of the one that declined
}

// Config is what is watched and how.
type Config struct {
	Domain    string // of the names, with *.Domain TXT Truth in the operator's own zone
	Truth     string
	Resolvers []Resolver
	Every     time.Duration // 0: a minute
	Wait      time.Duration // for an answer; 0: 2 s
	Tries     int           // 0: 2
	Late      time.Duration // a serial may be behind for so long; 0: a minute
	// PauseAfter is in how many rounds in a row somebody who declined may be blocked before
	// the zone that does it is paused; 0: it never is.
	PauseAfter int
}

// Recorder keeps rounds.
type Recorder interface {
	Keep(ctx context.Context, r Round) error
}

// Alarm is told when something begins to deviate, and when it is well again (ended).
type Alarm interface {
	Alarm(ctx context.Context, d Deviation, ended bool) error
}

// Pauser stops the blocking of a zone, everywhere.
type Pauser interface {
	Pause(ctx context.Context, zone rpz.Zone, why lawful.Text) error
}

// Published tells the newest serial of a zone and since when it is out.
type Published interface {
	Published(zone rpz.Zone) (serial uint32, since time.Time, ok bool)
	// InForce tells whether the zone holds its canaries, and since when that is so: a zone
	// that is empty or paused holds none, and then nobody may be blocked by it.
	InForce(zone rpz.Zone) (is bool, since time.Time)
}

// State is what is known of a resolver.
type State struct {
	Resolver   string                     `json:"resolver"`
	Addr       string                     `json:"addr"`
	Last       time.Time                  `json:"last"`    // round
	Proven     time.Time                  `json:"proven"`  // last round in which all was well; zero never
	Serials    map[rpz.Zone]uint32        `json:"serials"` // that it answers by
	Lag        map[rpz.Zone]time.Duration `json:"lag"`     // for how long a newer serial has been out
	Probes     []Probe                    `json:"probes"`  // of the last round
	Deviations []Deviation                `json:"deviations"`
	Error      string                     `json:"error,omitempty"` // why the last round couldn't be kept, or nobody be told
}

// Watch watches resolvers.
type Watch struct {
	cfg       Config
	keep      Recorder
	alarm     Alarm
	pause     Pauser
	published Published
	clock     clock.Clock
	log       *slog.Logger

	mu     sync.Mutex
	states []State
	open   map[place]*Deviation
	paused map[rpz.Zone]bool
}

// place is where something deviates.
type place struct {
	resolver string
	zone     rpz.Zone
	kind     Kind
}

// ErrConfig is a configuration that can't be watched by.
var ErrConfig = errors.New("canaries can't be sent")

// New prepares a watch. Ports may be nil: nothing is kept, nobody told, nothing paused, and
// no serial compared.
func New(c Config, keep Recorder, alarm Alarm, pause Pauser, published Published, cl clock.Clock, log *slog.Logger) (*Watch, error) {
	c.Every, c.Wait, c.Late = or(c.Every, time.Minute), or(c.Wait, 2*time.Second), or(c.Late, time.Minute)
	if c.Tries == 0 {
		c.Tries = 2
	}
	w := &Watch{cfg: c, keep: keep, alarm: alarm, pause: pause, published: published, clock: cl, log: log, open: map[place]*Deviation{}, paused: map[rpz.Zone]bool{}}
	if _, err := dns.ParseName("serial-emergency." + c.Domain); err != nil || strings.TrimSuffix(c.Domain, ".") == "" {
		return nil, fmt.Errorf("%w: %q isn't a domain: give one of your own, with *.domain TXT \"…\" in it", ErrConfig, c.Domain)
	}
	if c.Truth == "" {
		return nil, fmt.Errorf("%w: say what *.%s TXT holds", ErrConfig, c.Domain)
	}
	if worst := time.Duration(c.Tries) * c.Wait; worst >= c.Every {
		return nil, fmt.Errorf("%w: %d tries of %s take longer than the %s between rounds", ErrConfig, c.Tries, c.Wait, c.Every)
	}
	names := map[string]bool{}
	for _, r := range c.Resolvers {
		switch {
		case r.Name == "" || names[r.Name]:
			return nil, fmt.Errorf("%w: resolver %q: names must be there, and differ", ErrConfig, r.Name)
		case !r.Addr.IsValid():
			return nil, fmt.Errorf("%w: resolver %s has no address", ErrConfig, r.Name)
		case !r.Taking.IsValid() || !r.Declined.IsValid() || r.Taking == r.Declined:
			return nil, fmt.Errorf("%w: resolver %s needs two addresses of this machine, one of them opted out", ErrConfig, r.Name)
		}
		names[r.Name] = true
		w.states = append(w.states, State{Resolver: r.Name, Addr: r.Addr.String()})
	}
	return w, nil
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Declined are the addresses that must stand in optout.
func (c Config) Declined() (out []netip.Addr) {
	for _, r := range c.Resolvers {
		if !slices.Contains(out, r.Declined) {
			out = append(out, r.Declined)
		}
	}
	return out
}

// Run watches until ctx ends: a round at once, then one each while, not quite regular so that
// no resolver can expect it.
func (w *Watch) Run(ctx context.Context, ready func()) error {
	ready()
	for {
		w.Round(ctx)
		tenth := w.cfg.Every / 10
		// Never later: a deviation must be known within the time.
		pause := time.NewTimer(w.cfg.Every - rand.N(tenth)) // #nosec G404 -- no secret
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// Round asks every resolver once, all at the same time, and gives what each said.
func (w *Watch) Round(ctx context.Context) []Round {
	at := w.clock.Now()
	rounds := make([]Round, len(w.cfg.Resolvers))
	var wg sync.WaitGroup
	for i, r := range w.cfg.Resolvers {
		wg.Go(func() { rounds[i] = w.probe(ctx, at, r) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return rounds // half asked: proves nothing
	}
	for i := range rounds {
		w.settle(ctx, i, &rounds[i])
	}
	return rounds
}

// asked are the questions of a round. Of a zone that has just come into force, or ceased
// to be, nothing is asked until resolvers must know; of one that isn't in force everybody
// must get the truth.
func (w *Watch) asked(at time.Time) []question {
	all := questions(w.cfg.Domain)
	if w.published == nil {
		return all
	}
	out := all[:0]
	for _, q := range all {
		is, since := w.published.InForce(q.zone)
		if at.Sub(since) < w.cfg.Late {
			continue
		}
		if !is {
			q.want = Truth
		}
		out = append(out, q)
	}
	return out
}

// probe asks one resolver everything.
func (w *Watch) probe(ctx context.Context, at time.Time, r Resolver) Round {
	all := w.asked(at)
	round := Round{At: at, Resolver: r.Name, Serials: map[rpz.Zone]uint32{}, Probes: make([]Probe, len(all))}
	var wg sync.WaitGroup
	for i, q := range all {
		wg.Go(func() { round.Probes[i] = w.ask(ctx, r, q) })
	}
	wg.Wait()
	for _, p := range round.Probes {
		if p.Got == Serial && p.Client == Taking {
			round.Serials[p.Zone] = p.Serial
		}
	}
	return round
}

func (w *Watch) ask(ctx context.Context, r Resolver, q question) Probe {
	from := r.Taking
	if q.client == Declined {
		from = r.Declined
	}
	name, err := dns.ParseName(q.name)
	p := Probe{Zone: q.zone, Client: q.client, Name: q.name, Want: q.want, Got: Silence}
	if err != nil {
		p.Detail = err.Error()
		return p
	}
	for range w.cfg.Tries {
		begin := clock.System{}.Now()
		once, cancel := context.WithTimeout(ctx, w.cfg.Wait)
		a, err := Ask(once, Question{From: from, To: r.Addr, Name: name, Type: dns.TXT})
		cancel()
		p.Micros = clock.System{}.Now().Sub(begin).Microseconds()
		p.Got, p.Serial, p.Detail = judge(a, err, w.cfg.Truth)
		if p.Got != Silence || ctx.Err() != nil {
			break
		}
	}
	return p
}

// settle keeps a round and says what changed by it.
func (w *Watch) settle(ctx context.Context, i int, r *Round) {
	var errs []error
	if w.keep != nil {
		if err := w.keep.Keep(ctx, *r); err != nil {
			errs = append(errs, fmt.Errorf("keep the round: %w", err))
		}
	}
	now, lag := w.deviations(r)
	begun, ended := w.compare(r, now)
	for _, d := range begun {
		w.log.ErrorContext(ctx, "a resolver deviates", slog.String("resolver", d.Resolver), slog.String("zone", string(d.Zone)), slog.String("kind", string(d.Kind)), slog.String("detail", d.Detail))
	}
	if w.alarm != nil {
		for _, d := range begun {
			errs = append(errs, w.alarm.Alarm(ctx, d, false))
		}
		for _, d := range ended {
			errs = append(errs, w.alarm.Alarm(ctx, d, true))
		}
	}
	errs = append(errs, w.pauseIf(ctx, r.Resolver))
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.states[i]
	s.Last, s.Serials, s.Lag, s.Probes, s.Error = r.At, r.Serials, lag, r.Probes, ""
	if len(now) == 0 {
		s.Proven = r.At
	}
	s.Deviations = nil
	for _, d := range w.open {
		if d.Resolver == r.Resolver {
			s.Deviations = append(s.Deviations, *d)
		}
	}
	slices.SortFunc(s.Deviations, func(a, b Deviation) int { return rank(a.Kind) - rank(b.Kind) })
	if err := errors.Join(errs...); err != nil {
		s.Error = err.Error()
		w.log.ErrorContext(ctx, "canaries", slog.String("resolver", r.Resolver), slog.Any("error", err))
	}
}

func rank(k Kind) int {
	return slices.Index([]Kind{DeclinedBlocked, AllowedBlocked, Missing, Open, Behind, Unproven}, k)
}

// deviations are those of a round by place, and for how long each zone is behind.
func (w *Watch) deviations(r *Round) (map[place]string, map[rpz.Zone]time.Duration) {
	out := map[place]string{}
	for _, p := range r.Probes {
		if !p.OK() {
			at := place{r.Resolver, p.Zone, p.deviation()}
			out[at] = strings.TrimPrefix(out[at]+"; "+fmt.Sprintf("%s asks for %s: %s, not %s %s", p.Client, p.Name, p.Got, p.Want, p.Detail), "; ")
		}
	}
	lag := map[rpz.Zone]time.Duration{}
	if w.published == nil {
		return out, lag
	}
	for z, have := range r.Serials {
		newest, since, ok := w.published.Published(z)
		if !ok || have == newest || int32(have-newest) > 0 { // #nosec G115 -- RFC 1982
			continue
		}
		lag[z] = r.At.Sub(since)
		if lag[z] > w.cfg.Late {
			out[place{r.Resolver, z, Behind}] = fmt.Sprintf("serial %d, published %d since %s", have, newest, since.UTC().Format(time.RFC3339))
		}
	}
	return out, lag
}

// compare says what began and what ended since the round before.
func (w *Watch) compare(r *Round, now map[place]string) (begun, ended []Deviation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, detail := range now {
		d := w.open[at]
		if d == nil {
			d = &Deviation{Kind: at.kind, Resolver: at.resolver, Zone: at.zone, Since: r.At}
			w.open[at] = d
		}
		d.Rounds++
		d.Detail = detail
		if d.Rounds == 1 {
			begun = append(begun, *d)
		}
	}
	for at, d := range w.open {
		if _, still := now[at]; !still && at.resolver == r.Resolver {
			ended = append(ended, *d)
			delete(w.open, at)
		}
	}
	order := func(a, b Deviation) int {
		if n := rank(a.Kind) - rank(b.Kind); n != 0 {
			return n
		}
		return strings.Compare(string(a.Zone), string(b.Zone))
	}
	slices.SortFunc(begun, order)
	slices.SortFunc(ended, order)
	return begun, ended
}

// pauseIf pauses a zone by which somebody who declined has been blocked for too long. It
// does so once; a person takes it up again.
func (w *Watch) pauseIf(ctx context.Context, name string) error {
	if w.pause == nil || w.cfg.PauseAfter == 0 {
		return nil
	}
	w.mu.Lock()
	var due []Deviation
	for _, d := range w.open {
		blocks := d.Zone == rpz.C2 || d.Zone == rpz.Emergency
		if d.Resolver == name && d.Kind == DeclinedBlocked && blocks && d.Rounds >= w.cfg.PauseAfter && !w.paused[d.Zone] {
			due = append(due, *d)
		}
	}
	w.mu.Unlock()
	var errs []error
	for _, d := range due {
		err := w.pause.Pause(ctx, d.Zone, lawful.Text{
			JA: fmt.Sprintf("リゾルバー %s で、同意していないカナリアが %d 回続けて %s で遮断されました", d.Resolver, d.Rounds, d.Zone),
			EN: fmt.Sprintf("on resolver %s the canary that opted out was blocked by %s in %d rounds", d.Resolver, d.Zone, d.Rounds),
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("pause %s: %w", d.Zone, err)) // tried again in the next round
			continue
		}
		w.mu.Lock()
		w.paused[d.Zone] = true
		w.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Resumed is told that a zone blocks again, so that it may be paused once more.
func (w *Watch) Resumed(zone rpz.Zone) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.paused, zone)
}

// States are those of all resolvers, in their order.
func (w *Watch) States() []State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.states)
}
