package main

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"time"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/observe"
	"sakimori/observe/flow"
	"sakimori/respond"
	"sakimori/respond/mitigate"
	"sakimori/sim"
)

// sampleFloods are the flows of a demo: datagrams of made-up routers go through the
// collector, the detectors and the desk of mitigations, as those of real ones do; and the
// rules that are announced to the sample router drop what comes from then on.
type sampleFloods struct {
	l      *flowing
	c      *flow.Collector
	clock  *paced
	router *sampleRouter
	acts   *mitigations
	g      *gauge

	from   []*sampleFlows
	second int64     // of the data, that was judged
	saved  time.Time // of the machine
}

// sampleFlows are the datagrams of a scene.
type sampleFlows struct {
	datagram

	pull func() (datagram, error, bool)
	stop func()
	more bool
}

type datagram struct {
	at   int64
	from netip.AddrPort
	data []byte
}

// The people of the network's desk. None of them exists.
const (
	deskC = "network:tamekawa"
	deskD = "network:moki"
)

// sampleLeft is an attack that the people of the demo leave to whoever looks.
var sampleLeft = netip.MustParsePrefix("203.0.113.70/32")

// sampleFloodsConfig is the configuration of flows and mitigations in a demo.
func sampleFloodsConfig(cfg *config, c *paced) {
	add := func(name, prefix string) {
		cfg.Flow.Exporters = append(cfg.Flow.Exporters, exporterConfig{Name: name, Prefix: prefix, Interfaces: map[uint32]interfaceConfig{
			11: {Name: say("外部側", "outside"), Capacity: 400e9}, 21: {Name: say("内部側", "inside"), Capacity: 400e9},
		}})
	}
	add("edge1", "192.0.2.11")
	add("edge2", "192.0.2.12")
	add("edge3", "192.0.2.13")
	add("ix1", "192.0.2.21")
	add("ix2", "192.0.2.22")
	m := &cfg.Mitigation
	m.Announce, m.sample = true, newSampleRouter(c)
	m.TTL = 2 * time.Hour // of the demo's time, which goes sixty times as fast
}

// openFloods opens the flows of a demo, whose moment is when it begins to run.
func openFloods(ctx context.Context, s *station, c *paced, seed uint64, moment time.Time, after time.Duration) (*sampleFloods, error) {
	l, err := newFlowing(ctx, s)
	if err != nil {
		return nil, err
	}
	x := &sampleFloods{l: l, clock: c, router: s.cfg.Mitigation.sample, acts: s.office.acts, g: s.gauge("flows", "replay")}
	x.acts.desk.Policy.Patience = 24 * time.Hour
	x.c = l.dir.Collector(func(batch []observe.Flow) {
		x.router.pass(batch)
		l.take(batch)
	})
	set, err := s.cfg.floods()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(set.Own, netip.Prefix.Compare)
	own := slices.Compact(set.Own) // the telescope and the office have the same ones
	scenes := append(sim.FlowDay(seed, moment, after, own), sim.StrangerRouter(seed, moment, after, own))
	for i := range scenes {
		pull, stop := iter.Pull2(datagrams(&scenes[i]))
		f := &sampleFlows{pull: pull, stop: stop}
		if err := f.next(); err != nil {
			return nil, err
		}
		x.from = append(x.from, f)
	}
	x.second = moment.Add(-sim.FlowDayBefore).Unix()
	x.g.set(func(in *api.Input) { in.State = "running" })
	return x, nil
}

// datagrams are those of a scene, in order of time, and the error that ends them.
func datagrams(s *sim.FlowScene) iter.Seq2[datagram, error] {
	enough := errors.New("nobody wants more")
	return func(yield func(datagram, error) bool) {
		_, err := s.Tell(func(at int64, router int, data []byte) error {
			if !yield(datagram{at, s.Routers[router].Address, data}, nil) {
				return enough
			}
			return nil
		})
		if err != nil && !errors.Is(err, enough) {
			yield(datagram{}, err)
		}
	}
}

// advance takes all that is told before a time, and judges each second.
func (x *sampleFloods) advance(to time.Time) error {
	for second := x.second + 1; second <= to.Unix(); second++ {
		end := second * int64(time.Second)
		for f := x.first(end); f != nil; f = x.first(end) {
			_ = x.c.Ingest(f.data, f.from, f.at) // what is wrong is counted, and shown with the exporter
			if err := f.next(); err != nil {
				return err
			}
		}
		x.c.Flush()
		x.l.mu.Lock()
		x.l.run.tick(second)
		x.l.mu.Unlock()
		x.second = second
	}
	x.c.Publish(x.second * int64(time.Second))
	for _, h := range x.l.dir.Exporters() {
		x.l.run.attacks.Link(h.Number, h.Name)
	}
	return nil
}

// next goes to the next one.
func (f *sampleFlows) next() (err error) {
	f.datagram, err, f.more = f.pull()
	return err
}

// first is whose datagram comes next, nil if none does before an end.
func (x *sampleFloods) first(end int64) (first *sampleFlows) {
	for _, f := range x.from {
		if f.more && f.at < end && (first == nil || f.at < first.at) {
			first = f
		}
	}
	return first
}

// step keeps what is new, and has the desk and its people look at it.
func (x *sampleFloods) step(ctx context.Context, keep bool) error {
	l := x.l
	l.mu.Lock()
	urgent := l.urgent
	l.urgent = false
	l.mu.Unlock()
	if urgent || keep {
		x.saved = time.Now()
		if err := l.save(ctx, false); err != nil {
			return err
		}
	}
	running := l.run.running()
	for i := range running {
		if err := x.people(ctx, &running[i]); err != nil {
			return err
		}
	}
	return x.acts.follow(ctx, running, l.run.course)
}

// people do what the network's desk does about an attack: one proposes, another one
// approves. What the guideline refuses is the end of a mitigation, and no error.
func (x *sampleFloods) people(ctx context.Context, a *detect.Attack) error {
	if a.State == detect.Closed || a.Object.Prefix == sampleLeft {
		return nil
	}
	list, err := x.acts.desk.List(ctx, respond.Query{About: a.ID})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		_, err := x.acts.desk.Propose(ctx, a, mitigate.Order{}, deskC, say("見本: 設備への攻撃の緩和", "sample: relieve the facilities that are attacked"))
		if _, none := errors.AsType[*mitigate.NoProposal](err); none {
			return nil // it doesn't show enough yet
		}
		return err
	}
	for i := range list {
		const looks = 20 * time.Second // that the other one looks at it
		if m := &list[i]; m.State != respond.Proposed || x.clock.Now().Sub(m.ProposedAt) < looks {
			continue
		}
		_, err := x.acts.desk.Approve(ctx, list[i].ID, deskD, say("見本: 巻き添えは上限内", "sample: what else is hit is within the limit"))
		_, refused := errors.AsType[*lawful.Refusal](err)
		if err != nil && !refused && !errors.Is(err, mitigate.ErrOver) && !errors.Is(err, respond.ErrOwn) && !errors.Is(err, respond.ErrOrder) {
			return err
		}
	}
	return nil
}

// past brings in what was told until a moment.
func (x *sampleFloods) past(ctx context.Context, until time.Time) error {
	const near, far = 10 * time.Second, time.Minute // looks while something happens, and otherwise
	for at := time.Unix(x.second, 0); at.Before(until); {
		step := far
		for _, a := range x.l.run.under() {
			if at.Sub(a.Opened) < 2*time.Minute {
				step = near
			}
		}
		if at = at.Add(step); at.After(until) {
			at = until
		}
		x.clock.set(at)
		if err := x.advance(at); err != nil {
			return err
		}
		if err := x.step(ctx, at.Unix()%600 == 0 || at.Equal(until)); err != nil {
			return err
		}
	}
	return nil
}

// run brings what is told from then on, when it is.
func (x *sampleFloods) run(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, f := range x.from {
				f.stop()
			}
			end := context.WithoutCancel(ctx)
			return errors.Join(x.acts.desk.Close(end), x.l.save(end, true))
		case now := <-tick.C:
			before := x.l.flows.Load()
			if err := x.advance(x.clock.Now()); err != nil {
				return err
			}
			if err := x.step(ctx, now.Sub(x.saved) > saveAttack); err != nil && ctx.Err() == nil {
				return err
			}
			x.show(before)
		}
	}
}

// show tells how the input fares.
func (x *sampleFloods) show(before uint64) {
	all, last := x.l.flows.Load(), time.Unix(x.second, 0).UTC()
	x.g.set(func(in *api.Input) {
		in.Packets, in.LastPacket = all, &last
		in.Rate = float64(all-before) * 4
		x.g.read = time.Now()
	})
}
