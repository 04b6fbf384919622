package main

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"time"

	"sakimori/console/api"
	"sakimori/observe/route"
	"sakimori/sim"
)

// sampleRoutes are the routes of a demo: what made-up neighbours announce goes through the
// table, the detector and the store, as that of real ones does. An hour and a half before
// the demo begins there was a leak in the shape of 25 August 2017; when it begins, somebody
// announces a part of the operator's own space.
type sampleRoutes struct {
	l     *routing
	clock *paced
	g     *gauge

	pull   func() (routeEvent, error, bool)
	stop   func()
	next   routeEvent
	more   bool
	second int64     // of the data, that was judged
	saved  time.Time // of the machine
}

// routeEvent is one thing that the scene tells.
type routeEvent struct {
	at   int64
	take func(l *routing)
}

// The times of the demo's scene, before its moment.
const (
	routesBefore = 3 * time.Hour
	leakBefore   = 90 * time.Minute
	hijackBefore = 9 * time.Minute
)

// sampleFeed is the name of the demo's feed of routes.
const sampleFeed = "sample-collector"

// sampleRoutesScene is what happens to routes in a demo.
func sampleRoutesScene(seed uint64, moment time.Time, after time.Duration) sim.RouteScene {
	return sim.RouteScene{
		Name: "demo", Seed: seed, Start: moment.Add(-routesBefore), Duration: routesBefore + after,
		World: sim.RouteWorld{Peers: 8},
		Events: []sim.RouteEvent{
			sim.RouteDrill{Prefixes: 3200, Own: 500, At: routesBefore - leakBefore},
			sim.RouteHijack{Form: "more-specific", Whose: "own", At: routesBefore - hijackBefore, For: hijackBefore + after - time.Minute},
			sim.RouteChurn{Count: 40},
		},
	}
}

// sampleRoutesConfig is the configuration of routes in a demo: what the operator of the
// scene knows, and names for those who have a part in it, as the paper calls them.
func sampleRoutesConfig(cfg *config, scene sim.RouteScene) error {
	k, err := scene.Knows()
	if err != nil {
		return err
	}
	set, err := sceneSettings(&k)
	if err != nil {
		return err
	}
	cfg.Route.Leak, cfg.Route.sample = set.leak, set
	book := map[uint32]string{k.Knows.Home: say("国内事業者A(見本)", "domestic operator A (sample)")}
	for i, as := range k.Knows.NoTransit {
		book[as] = say("海外事業者", "foreign operator ") + string(rune('X'+i%3))
	}
	for i, n := range k.Knows.Neighbors {
		if book[n.AS] != "" {
			continue
		}
		kind := map[string]string{"provider": say("上流事業者", "upstream "), "peer": say("相互接続先", "peer "), "customer": say("顧客", "customer "), "sibling": say("系列", "sibling ")}[n.Relation]
		book[n.AS] = kind + string(rune('a'+i%26))
	}
	for as, name := range book {
		cfg.Route.House.Book = append(cfg.Route.House.Book, contactConfig{AS: as, Name: name, Mail: "noc@as" + asCell(as) + ".example", Phone: "+81-3-0000-0000"})
	}
	slices.SortFunc(cfg.Route.House.Book, func(a, b contactConfig) int { return int(a.AS) - int(b.AS) })
	cfg.Route.House.Name, cfg.Route.House.ReplyTo = say("国内事業者A(見本)", "domestic operator A (sample)"), "noc@isp.example"
	return nil
}

// openRoutes opens the routes of a demo.
func openRoutes(ctx context.Context, s *station, c *paced, scene sim.RouteScene) (*sampleRoutes, error) {
	l, err := newRouting(ctx, s)
	if err != nil {
		return nil, err
	}
	x := &sampleRoutes{l: l, clock: c, g: s.gauge(routeInput, "replay"), second: scene.Start.Unix()}
	x.pull, x.stop = iter.Pull2(x.events(scene))
	x.g.set(func(in *api.Input) { in.State = "running" })
	return x, x.step()
}

func (x *sampleRoutes) step() (err error) {
	x.next, err, x.more = x.pull()
	return err
}

// events are those of a scene, in order of time, and the error that ends them.
func (x *sampleRoutes) events(scene sim.RouteScene) iter.Seq2[routeEvent, error] {
	return func(yield func(routeEvent, error) bool) {
		if _, err := scene.Play(&sampleSink{l: x.l, yield: func(e routeEvent) bool { return yield(e, nil) }}); err != nil && !errors.Is(err, errEnough) {
			yield(routeEvent{}, err)
		}
	}
}

var errEnough = errors.New("nobody wants more")

// sampleSink hands a scene over: its table at once, and then event by event.
type sampleSink struct {
	l     *routing
	yield func(routeEvent) bool
	start int64
	peers []route.Key
}

func (s *sampleSink) Begin(start int64, peers []sim.RoutePeer) error {
	s.start = start
	for _, p := range peers {
		s.peers = append(s.peers, route.Key{Feed: sampleFeed, Address: p.Address, AS: p.AS})
	}
	return nil
}

func (s *sampleSink) Entry(p netip.Prefix, routes []sim.RouteEntry) (err error) {
	s.l.live.Do(func(t *route.Table) {
		prefix := wirePrefix(p)
		for i := range routes {
			if err == nil {
				err = t.Entry(t.PeerOf(s.peers[routes[i].Peer], s.start), &prefix, 0, routes[i].Attrs, scenePath, s.start)
			}
		}
	})
	return err
}

func (s *sampleSink) Ready() error { return nil }

func (s *sampleSink) hand(at int64, take func(l *routing)) error {
	if !s.yield(routeEvent{at, take}) {
		return errEnough
	}
	return nil
}

func (s *sampleSink) Message(at int64, peer int, message []byte) error {
	m, key := slices.Clone(message), s.peers[peer]
	return s.hand(at, func(l *routing) {
		t := time.Unix(0, at)
		l.live.Message(key, m, true, t, t)
	})
}

func (s *sampleSink) State(at int64, peer int, up bool) error {
	key := s.peers[peer]
	return s.hand(at, func(l *routing) {
		t := time.Unix(0, at)
		l.live.State(key, up, t, t)
	})
}

// advance takes all that is told before a time, and judges each second.
func (x *sampleRoutes) advance(to time.Time) error {
	for second := x.second + 1; second <= to.Unix(); second++ {
		for end := second * int64(time.Second); x.more && x.next.at < end; {
			x.next.take(x.l)
			if err := x.step(); err != nil {
				return err
			}
		}
		at := time.Unix(second, 0).UTC()
		x.l.live.Heard(sampleFeed, at)
		x.l.live.Do(func(*route.Table) { x.l.run.tick(second) })
		x.second = second
		x.l.moment.Store(second)
		x.l.newest.Store(max(x.l.newest.Load(), second*int64(time.Second)))
	}
	return nil
}

// past brings what was before the demo began.
func (x *sampleRoutes) past(ctx context.Context, until time.Time) error {
	if err := x.advance(until); err != nil {
		return err
	}
	x.saved = time.Now()
	return x.l.save(ctx, false)
}

// run brings what is told from then on, when it is.
func (x *sampleRoutes) run(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			x.stop()
			return x.l.save(context.WithoutCancel(ctx), true)
		case now := <-tick.C:
			before := x.l.counts().Elements
			if err := x.advance(x.clock.Now()); err != nil {
				return err
			}
			x.l.mu.Lock()
			urgent := x.l.urgent
			x.l.urgent = false
			x.l.mu.Unlock()
			if urgent || now.Sub(x.saved) > saveLeak {
				x.saved = now
				if err := x.l.save(ctx, false); err != nil {
					return err
				}
			}
			x.show(before)
		}
	}
}

// show tells how the input fares.
func (x *sampleRoutes) show(before uint64) {
	all, last := x.l.counts().Elements, time.Unix(x.second, 0).UTC()
	x.g.set(func(in *api.Input) {
		in.Packets, in.LastPacket, in.Rate = all, &last, float64(all-before)*4
		x.g.read = time.Now()
	})
}
