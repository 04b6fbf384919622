package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/base/run"
	"sakimori/base/store"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/record"
	"sakimori/observe/route/relation"
	"sakimori/observe/route/rpki"
)

// incidentPrefix begins the id of an incident of routing.
const incidentPrefix = "incident-"

// routing is the live input of routes: sources into the table, the detector, the store,
// and the desk of announcements.
type routing struct {
	s    *station
	cfg  routeConfig
	run  *routeRun
	live *route.Live
	w    *record.Writer // nil: nothing is kept
	rpki *rpki.Set      // nil: no sources

	relations relation.Either
	learnt    atomic.Int64 // links that were learnt

	mu      sync.Mutex
	rights  []rpki.Change // that nobody was told of yet
	urgent  bool          // an incident began or ended: it is to be kept at once
	told    map[string]time.Time
	saving  atomic.Bool
	saved   time.Time
	habits  time.Time                 // when what is usual was kept last
	held    map[uint32]api.RouteCount // prefixes by peer, with the table's lock
	passes  map[uint32]bool           // who of them passes on routes of others
	counted time.Time                 // when
	looked  time.Time                 // when relations were learnt last
	newest  atomic.Int64
	moment  atomic.Int64 // Unix seconds up to which a demo was judged; 0: the clock's own
}

// now is the time at which feeds are judged.
func (l *routing) now() time.Time {
	if at := l.moment.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return l.s.cfg.now().Now()
}

// liveRoutes is the run of the live input of routes: there is one, and it goes on for ever.
const liveRoutes = 1

// routeInput is the name of that input.
const routeInput = "routes"

// leakDetector is the name under which the detector's state is kept.
const leakDetector = "leak"

// routeHabits is what is usual of routes, as it is kept.
const routeHabits = "route/habits"

func newRouting(ctx context.Context, s *station) (*routing, error) {
	l := &routing{s: s, cfg: s.cfg.Route, told: map[string]time.Time{}}
	set, err := s.cfg.routes()
	if err != nil {
		return nil, err
	}
	if cfg := s.cfg.rpki(); cfg != nil {
		if l.rpki, err = rpki.New(*cfg, s.cfg.now(), s.log, l.heard); err != nil {
			return nil, err
		}
		set.rpki = l.rpki
	}
	l.relations.Set(set.relations, nil)
	set.either, set.silent = &l.relations, s.pulse.silent
	var outs []observe.Routes
	if l.cfg.Keep > 0 {
		if l.w, err = s.keeper.routes.Writer(ctx, record.Options{Part: liveRoutes, Live: true}); err != nil {
			return nil, err
		}
		outs = append(outs, l.w)
	}
	outs = append(outs, observed(l.seen))
	if l.run, err = newRouteRun(set, outs...); err != nil {
		return nil, err
	}
	l.run.tell, l.run.changed = s.tell, l.changed
	if err := l.restore(ctx); err != nil {
		return nil, err
	}
	l.live = route.NewLive(l.run.table, s.cfg.now(), l.cfg.feeds()...)
	s.mu.Lock()
	s.routing = l
	s.mu.Unlock()
	return l, nil
}

// observed hears of batches.
type observed func(b *observe.RouteBatch)

func (f observed) Routed(b *observe.RouteBatch) { f(b) }

func (l *routing) seen(b *observe.RouteBatch) {
	if n := len(b.Routes); n > 0 {
		l.newest.Store(max(l.newest.Load(), b.Routes[n-1].At))
	}
}

// restore brings the detector to where it was. Incidents that the register knows as open,
// and the detector doesn't, have ended meanwhile.
func (l *routing) restore(ctx context.Context) error {
	k := l.s.keeper
	b, err := k.register.State(ctx, leakDetector, liveRoutes)
	if err != nil {
		return err
	}
	if len(b) > 0 {
		if err := l.run.leaks.Restore(b); err != nil {
			return fmt.Errorf("detector %s: %w", leakDetector, err)
		}
	}
	known := map[string]bool{}
	habits, err := k.store.Blob(ctx, routeHabits)
	if err != nil {
		return err
	}
	if len(habits) > 0 {
		if err := l.run.leaks.RestoreHabits(habits); err != nil { // they are learnt again
			l.s.log.WarnContext(ctx, "what was usual of routes can't be read again: it is learnt anew", slog.Any("error", err))
		}
	}
	for _, i := range l.run.leaks.Incidents() {
		known[i.ID] = true
		l.run.adopt(i)
	}
	open := true
	list, _, err := k.register.Incidents(ctx, register.IncidentQuery{Open: &open, Limit: 500})
	if err != nil {
		return err
	}
	var lost []detect.Incident
	for i := range list {
		if known[list[i].ID] {
			continue
		}
		x := list[i]
		x.State, x.Closed, x.Changed = detect.Closed, x.Changed, l.s.cfg.now().Now().UTC()
		x.Why = detect.Text{JA: "収集の停止中に終わりました。終わりの時刻は最後に見た時刻です。", EN: "It ended while no collector ran; its end is when it was last seen."}
		lost = append(lost, x)
	}
	if len(lost) == 0 {
		return nil
	}
	return k.store.Tx(ctx, func(tx *store.Tx) error { return k.register.WriteIncidents(tx, lost, nil) })
}

// changed hears of each version of an incident, under the lock of the table.
func (l *routing) changed(i *detect.Incident) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i.State != detect.Changed {
		l.urgent = true
	}
	now := time.Now()
	if i.State == detect.Changed && now.Sub(l.told[i.ID]) < time.Second {
		return
	}
	if l.told[i.ID] = now; i.State == detect.Closed {
		delete(l.told, i.ID)
	}
	row := incidentRow(i, nil, l.run.set.names)
	l.s.live.Publish(api.TopicRoutes, row)
}

// heard takes what changed of who may announce one's own space. It is called under the
// lock of who tells, so it is told later.
func (l *routing) heard(list []rpki.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rights = append(l.rights, list...)
}

// tellRights raises an alarm of each such change.
func (l *routing) tellRights(ctx context.Context) {
	l.mu.Lock()
	list := l.rights
	l.rights = nil
	l.mu.Unlock()
	for i := range list {
		c := &list[i]
		l.s.log.WarnContext(ctx, "RPKI changed", slog.String("what", c.Words.EN), slog.String("kind", string(c.Kind)), slog.String("source", c.Source))
		if err := l.s.raise(ctx, detect.Finding{
			ID: fmt.Sprintf("rpki-%s-%d", c.Kind, c.At.UnixNano()), Detector: leakDetector, Subject: rightsOf(c), State: detect.Opened, Severity: detect.Soon, Confidence: 1,
			Opened: c.At, Changed: c.At, Title: detect.Text(c.Words), Why: detect.Text(c.Words),
		}); err != nil {
			l.s.log.ErrorContext(ctx, "an alarm about RPKI couldn't be kept", slog.Any("error", err))
		}
	}
	if len(list) > 0 {
		l.live.Do(func(*route.Table) { l.run.leaks.Recheck() })
	}
}

// rightsOf is what a change is about.
func rightsOf(c *rpki.Change) string {
	if c.Own.IsValid() {
		return c.Own.String()
	}
	return c.Source
}

// components are what runs of it.
func (l *routing) components() ([]run.Component, error) {
	var list []run.Component
	if l.rpki != nil {
		list = append(list, run.Component{Name: "rpki", Run: l.rpki.Run})
	}
	list = append(list, run.Component{Name: "routes", Run: l.receive}, run.Component{Name: "announcements", Run: l.s.office.remedies.follow})
	more, err := l.sources()
	if err != nil {
		return nil, err
	}
	return append(list, more...), nil
}

// receive reads the tables of the start, then judges each second, and keeps what is new.
func (l *routing) receive(ctx context.Context, ready func()) error {
	g := l.s.gauge(routeInput, "live")
	g.set(func(in *api.Input) { in.State = "running" })
	if err := l.bootstrap(ctx); err != nil {
		return err
	}
	l.saved, l.looked = time.Now(), time.Now()
	done := make(chan error, 1)
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { done <- l.live.Run(inner, ready) }()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case err := <-done:
			return errors.Join(err, l.save(context.WithoutCancel(ctx), true))
		case <-second.C:
			l.tick(ctx, g)
		}
	}
}

// bootstrap reads the configured dumps: what is usual before anything comes.
func (l *routing) bootstrap(ctx context.Context) (err error) {
	for _, name := range l.cfg.Dumps {
		l.live.Do(func(t *route.Table) {
			var f route.File
			f, err = route.Read(ctx, t, name, route.ReadOptions{Feed: "dumps"})
			l.s.log.InfoContext(ctx, "table of the start read", slog.String("file", name), slog.Uint64("elements", f.Elements), slog.Uint64("malformed", f.Malformed))
		})
		if err != nil {
			return fmt.Errorf("route.dumps: %w", err)
		}
	}
	return nil
}

// How often what routes say is kept, and relations are learnt anew.
const (
	saveRoutes  = 30 * time.Second
	saveHabits  = time.Hour
	saveLeak    = 5 * time.Second
	learnRoutes = 6 * time.Hour
)

func (l *routing) tick(ctx context.Context, g *gauge) {
	now := l.now()
	l.live.Do(func(*route.Table) { l.run.leaks.Tick(now) })
	l.silence(now)
	l.tellRights(ctx)
	if time.Since(l.looked) >= learnRoutes {
		l.looked = time.Now()
		l.learn()
	}
	due := saveRoutes
	if l.run.busy() {
		due = saveLeak
	}
	l.mu.Lock()
	urgent := l.urgent
	l.urgent = false
	l.mu.Unlock()
	g.set(func(in *api.Input) {
		n := l.counts().Elements
		in.Rate, in.Packets = float64(n-in.Packets), n
		if at := l.newest.Load(); at > 0 {
			last := time.Unix(0, at).UTC()
			in.LastPacket = &last
		}
		if in.Rate > 0 {
			g.read = time.Now()
		}
	})
	if !urgent && time.Since(l.saved) < due {
		return
	}
	if !l.saving.CompareAndSwap(false, true) {
		l.mu.Lock()
		l.urgent = l.urgent || urgent
		l.mu.Unlock()
		return
	}
	l.saved = time.Now()
	go func() {
		defer l.saving.Store(false)
		state := "running"
		if err := l.keep(context.WithoutCancel(ctx), false); err != nil {
			l.s.log.ErrorContext(ctx, "routes and incidents couldn't be kept; they are tried again", slog.Any("error", err))
			state = "failed" // until they can be kept again: the console and /readyz say so
		}
		g.set(func(in *api.Input) { in.State = state })
	}()
}

// save keeps what is new; the last time it waits for one that is under way.
func (l *routing) save(ctx context.Context, last bool) error {
	for last && !l.saving.CompareAndSwap(false, true) {
		time.Sleep(10 * time.Millisecond)
	}
	return l.keep(ctx, last)
}

// keep writes down all that is new, and the state from which the detector goes on, in one
// transaction.
func (l *routing) keep(ctx context.Context, last bool) error {
	var news routeNews
	var state []byte
	var serial uint64
	var err error
	var habits []byte
	usual := last || time.Since(l.habits) >= saveHabits
	l.live.Do(func(*route.Table) {
		news = l.run.news()
		state, err = l.run.leaks.State()
		if err == nil && usual {
			habits, err = l.run.leaks.Habits()
		}
		if l.w != nil {
			l.w.Until(l.now())
			serial = l.w.Cut()
		}
	})
	k := l.s.keeper
	if err == nil {
		err = k.store.Tx(ctx, func(tx *store.Tx) error {
			err := k.register.SaveState(tx, leakDetector, liveRoutes, state)
			if err == nil {
				err = k.register.WriteIncidents(tx, news.incidents, news.courses)
			}
			if err == nil {
				err = k.register.Write(tx, news.findings)
			}
			if err == nil && l.w != nil {
				err = l.w.Save(ctx, tx, serial)
			}
			if err == nil && usual {
				err = tx.PutBlob(ctx, routeHabits, habits)
			}
			return err
		})
	}
	if err == nil && l.w != nil {
		l.live.Do(func(*route.Table) { l.w.Saved(serial) })
	}
	if err == nil && usual {
		l.habits = time.Now()
	}
	if err != nil {
		l.run.giveBack(news)
	}
	return err
}

// counts are the table's.
func (l *routing) counts() (c route.Counts) {
	l.live.Do(func(t *route.Table) { c = t.Counts() })
	return c
}

// learn infers what ASes are to each other from the ways in the table.
func (l *routing) learn() {
	type way struct {
		path []uint32
		n    int
	}
	ways := map[uint32]*way{}
	l.live.Do(func(t *route.Table) {
		t.All(func(n uint32) bool {
			t.Of(n, func(_, path uint32) bool {
				w := ways[path]
				if w == nil {
					w = &way{path: slices.Clone(t.Path(path).ASes)}
					ways[path] = w
				}
				w.n++
				return true
			})
			return true
		})
	})
	learnt := relation.Learn(func(yield func([]uint32, int) bool) {
		for _, id := range slices.Sorted(maps.Keys(ways)) {
			if !yield(ways[id].path, ways[id].n) {
				return
			}
		}
	})
	l.learnt.Store(int64(learnt.Links()))
	l.relations.Set(l.run.set.relations, learnt)
	l.live.Do(func(*route.Table) { l.run.leaks.Recheck() })
}

// silence raises an alarm of each feed that fell silent, once.
func (l *routing) silence(now time.Time) {
	for _, h := range l.live.Health(now) {
		bad := h.State != "ok"
		l.mu.Lock()
		key := "feed " + h.Name
		_, was := l.told[key]
		if bad && !was {
			l.told[key] = now
		} else if !bad {
			delete(l.told, key)
		}
		l.mu.Unlock()
		if bad == was {
			continue
		}
		f := detect.Finding{
			ID: "route-feed-" + h.Name, Detector: "leak", Subject: h.Name, State: detect.Opened, Severity: detect.Soon, Confidence: 1, Opened: now, Changed: now,
			Title: detect.Textf("経路の入力 %s: "+h.Words.JA, "the feed of routes %s: "+h.Words.EN, h.Name), Why: feedAdvice(&h),
		}
		if !bad {
			f.State, f.Closed = detect.Closed, now
			f.Title = detect.Textf("経路の入力 %s が復旧しました", "the feed of routes %s is back", h.Name)
		}
		l.run.Find(f)
	}
}

// feedAdvice is what can be done about a feed, in a sentence or two.
func feedAdvice(h *route.Health) detect.Text {
	t := detect.Text(h.Words)
	for _, a := range h.Advice {
		t.JA, t.EN = t.JA+" "+a.JA, t.EN+" "+a.EN
	}
	return t
}
