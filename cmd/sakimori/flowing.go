package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/base/clock"
	"sakimori/base/run"
	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/ring"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/infected"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/observe/flow"
	"sakimori/observe/flow/mirror"
	"sakimori/observe/flow/record"
)

// attackPrefix begins the id of an attack that flows show.
const attackPrefix = "attack-"

// flowing is the live input of flows: sockets and mirror ports into the detectors, the
// store, and the desk of mitigations.
type flowing struct {
	s    *station
	cfg  flowConfig
	dir  *flow.Directory
	recv *flow.Receiver // nil: mirror ports alone
	w    *record.Writer

	listed *endpoints

	mu     sync.Mutex // of what follows: who takes flows, and the second's tick
	run    *floods
	urgent bool // an attack began or ended: it is to be kept at once

	saving atomic.Bool
	saved  time.Time
	told   map[string]time.Time
	flows  atomic.Uint64
	newest atomic.Int64 // Unix nanoseconds
}

// liveFlows is the run of the live input of flows: there is one, and it goes on for ever.
const liveFlows = 1

// flowInput is the name of that input.
const flowInput = "flows"

// What is kept of exporters over a restart.
const flowTemplates = "flow/templates"

func newFlowing(ctx context.Context, s *station) (*flowing, error) {
	l := &flowing{s: s, cfg: s.cfg.Flow, told: map[string]time.Time{}}
	settings, err := l.cfg.collector()
	if err != nil {
		return nil, err
	}
	if l.dir, err = flow.NewDirectory(settings); err != nil {
		return nil, err
	}
	if b, err := s.keeper.store.Blob(ctx, flowTemplates); err != nil {
		return nil, err
	} else if len(b) > 0 {
		if err := l.dir.Restore(b); err != nil { // they come again; what came before them waits
			s.log.WarnContext(ctx, "templates of exporters can't be read again", slog.Any("error", err))
		}
	}
	set, err := s.cfg.floods()
	if err != nil {
		return nil, err
	}
	if len(l.cfg.Listen) == 0 && len(l.cfg.Mirror) > 0 {
		set.Witness = "mirror"
	}
	l.run, err = newFloods(set, floodPorts{place: s.table.Owner, infected: s.bots.has, flows: l.lookers()})
	if err != nil {
		return nil, err
	}
	l.run.tell, l.run.changed = s.tell, l.changed
	if err := s.keeper.addOwn(set.Own); err != nil {
		return nil, err
	}
	if err := l.restore(ctx); err != nil {
		return nil, err
	}
	l.w, err = s.keeper.flows.Writer(ctx, record.Options{Part: liveFlows, Raw: l.cfg.Keep.Rate, Clock: s.cfg.now(), Places: owners{s.table}, Customers: customersOf(&set)})
	if err != nil {
		return nil, err
	}
	l.run.keep = l.w.Take
	if len(l.cfg.Listen) > 0 {
		workers := l.cfg.Workers
		if workers == 0 {
			workers = runtime.GOMAXPROCS(0)
		}
		if l.recv, err = l.dir.Receiver(flow.Receiving{Listen: l.cfg.Listen, Workers: workers, Buffer: l.cfg.Buffer}, clock.System{}, s.log); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.flowing = l
	s.mu.Unlock()
	return l, nil
}

// lookers are whom flows may be compared with a list of C&C servers: nobody without a
// grant and their consent.
func (l *flowing) lookers() infected.FlowsPorts {
	h := l.s.office
	c := newConsenting(h)
	l.listed = &endpoints{list: h.list}
	return infected.FlowsPorts{
		Listed: l.listed.listed,
		May: func(own netip.Addr) bool {
			_, hits := c.May(own, l.s.cfg.now().Now())
			return hits
		},
	}
}

// restore brings the detectors to where they were. Attacks that the register knows as
// open, and the detector doesn't, have ended meanwhile.
func (l *flowing) restore(ctx context.Context) error {
	for _, d := range l.run.detectors() {
		b, err := l.s.keeper.register.State(ctx, d.name, liveFlows)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			continue
		}
		if err := d.Restore(b); err != nil {
			return fmt.Errorf("detector %s: %w", d.name, err)
		}
	}
	open := true
	list, _, err := l.s.keeper.register.Attacks(ctx, register.AttackQuery{Open: &open, Limit: 500})
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, id := range l.run.attacks.Open() {
		known[id] = true
	}
	var lost []detect.Attack
	var goOn []detect.Attack
	for i := range list {
		a := list[i]
		if known[a.ID] {
			goOn = append(goOn, a)
			continue
		}
		a.State, a.Closed, a.Changed = detect.Closed, a.Changed, l.s.cfg.now().Now().UTC()
		a.Why = detect.Text{JA: "収集の停止中に終わりました。終わりの時刻は最後に見た時刻です。", EN: "It ended while no collector ran; its end is when it was last seen."}
		lost = append(lost, a)
	}
	l.run.adopt(goOn)
	if len(lost) == 0 {
		return nil
	}
	for i := range lost {
		l.changed(lost[i])
	}
	l.run.ended(lost)
	return l.s.keeper.store.Tx(ctx, func(tx *store.Tx) error { return l.s.keeper.register.WriteAttacks(tx, lost, nil) })
}

// changed hears of each version of an attack, under the lock of who gives flows.
func (l *flowing) changed(a detect.Attack) {
	if a.State != detect.Changed {
		l.urgent = true
	}
	now := time.Now()
	if a.State == detect.Changed && now.Sub(l.told[a.ID]) < time.Second {
		return
	}
	if l.told[a.ID] = now; a.State == detect.Closed {
		delete(l.told, a.ID)
	}
	l.s.live.Publish(api.TopicAttacks, attackRow(&a, nil))
}

// components are what runs of it.
func (l *flowing) components() []run.Component {
	list := []run.Component{{Name: "listed addresses", Run: l.listed.run}, {Name: "flows", Run: l.receive}}
	if l.s.office.acts != nil {
		if sp := l.s.office.acts.speaker; sp != nil {
			list = append(list, run.Component{Name: "bgp", Run: sp.Run})
		}
		list = append(list, run.Component{Name: "mitigations", Run: l.mitigate})
	}
	return list
}

// take hands flows on.
func (l *flowing) take(batch []observe.Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows.Add(uint64(len(batch)))
	if n := len(batch); n > 0 {
		l.newest.Store(max(l.newest.Load(), batch[n-1].Last))
	}
	l.run.take(batch)
}

// receive takes what comes, and judges each second.
func (l *flowing) receive(ctx context.Context, ready func()) error {
	g := l.s.gauge(flowInput, "live")
	g.set(func(in *api.Input) { in.State = "running" })
	l.saved = time.Now()
	var others sync.WaitGroup
	failed := make(chan error, len(l.cfg.Mirror))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, name := range l.cfg.Mirror {
		others.Go(func() {
			if err := l.mirror(ctx, name); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	tick := func(at time.Time) {
		l.tick(ctx, at, g)
	}
	err := l.until(ctx, ready, tick)
	cancel()
	others.Wait()
	select {
	case e := <-failed:
		err = errors.Join(err, e)
	default:
	}
	return errors.Join(err, l.save(context.WithoutCancel(ctx), true))
}

// until receives until ctx ends.
func (l *flowing) until(ctx context.Context, ready func(), tick func(time.Time)) error {
	if l.recv != nil {
		return l.recv.Run(ctx, ready, l.take, tick)
	}
	ready()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-second.C:
			tick(now)
		}
	}
}

// How often what flows say is kept: a kill costs so much of the counts.
const (
	saveCalm   = 30 * time.Second
	saveAttack = 5 * time.Second
)

func (l *flowing) tick(ctx context.Context, at time.Time, g *gauge) {
	l.mu.Lock()
	before := l.flows.Load()
	l.run.tick(at.Unix())
	for _, h := range l.dir.Exporters() {
		l.run.attacks.Link(h.Number, h.Name)
	}
	due := saveCalm
	if l.run.busy() {
		due = saveAttack
	}
	urgent := l.urgent
	l.urgent = false
	l.mu.Unlock()
	last := time.Unix(0, l.newest.Load()).UTC()
	g.set(func(in *api.Input) {
		n := before - in.Packets
		in.Packets = before
		in.Rate = float64(n)
		if l.newest.Load() > 0 {
			in.LastPacket = &last
		}
		if l.recv != nil {
			s := l.recv.Socket()
			in.Dropped.Kernel = s.Drops + s.QueueDropped
		}
		if n > 0 {
			g.read = time.Now()
		}
	})
	if (urgent || time.Since(l.saved) >= due) && l.saving.CompareAndSwap(false, true) {
		l.saved = time.Now()
		go func() {
			defer l.saving.Store(false)
			state := "running"
			if err := l.save(context.WithoutCancel(ctx), false); err != nil {
				l.s.log.ErrorContext(ctx, "flows and attacks couldn't be kept; they are tried again", slog.Any("error", err))
				state = "failed" // until one can be kept again: the console and /readyz say so
			}
			g.set(func(in *api.Input) { in.State = state })
		}()
	} else if urgent {
		l.mu.Lock()
		l.urgent = true // when the save under way has ended
		l.mu.Unlock()
	}
}

// save keeps all that is new, and the states from which everything goes on, in one
// transaction.
func (l *flowing) save(ctx context.Context, last bool) error {
	for last && !l.saving.CompareAndSwap(false, true) { // one that is under way ends first
		time.Sleep(10 * time.Millisecond)
	}
	l.mu.Lock()
	news := l.run.news()
	serial := l.w.Cut() // also the last time: the next start goes on with the same minutes
	states := map[string][]byte{}
	var err error
	for _, d := range l.run.detectors() {
		if states[d.name], err = d.State(); err != nil {
			break
		}
	}
	l.mu.Unlock()
	if err == nil {
		templates := l.dir.Snapshot()
		k := l.s.keeper
		err = k.store.Tx(ctx, func(tx *store.Tx) error {
			err := l.w.Save(ctx, tx, serial)
			for _, d := range l.run.detectors() {
				if err == nil {
					err = k.register.SaveState(tx, d.name, liveFlows, states[d.name])
				}
			}
			if err == nil {
				err = tx.PutBlob(ctx, flowTemplates, templates)
			}
			if err == nil {
				err = k.register.WriteAttacks(tx, news.attacks, news.courses)
			}
			if err == nil {
				err = k.register.Write(tx, news.findings)
			}
			return err
		})
	}
	if err != nil {
		l.run.giveBack(news)
	}
	return err
}

// ringDelay is how long a ring may hold frames back.
const ringDelay = 100 * time.Millisecond

// mirror takes the packets of an interface as flows.
func (l *flowing) mirror(ctx context.Context, name string) error {
	tunnels, err := parseTunnels(l.cfg.Tunnels)
	if err != nil {
		return err
	}
	set := mirror.DefaultConfig()
	set.Tunnels = tunnels
	m, err := mirror.New(set, l.take)
	if err != nil {
		return err
	}
	rings, err := ring.Open(ring.Options{Interface: name, Fanout: 1, Promisc: true, InboundOnly: name == "lo"})
	if err != nil {
		return fmt.Errorf("flow.mirror: interface %s: %w", name, err)
	}
	r := rings[0]
	defer r.Close()
	g := l.s.gauge(name, "live")
	g.set(func(in *api.Input) { in.State = "running" })
	go func() { // a silent interface gives no block: its last second waits for nobody
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-second.C:
				m.Tick(now.Add(-ringDelay))
			}
		}
	}()
	var b packet.Block
	for {
		err := r.ReadBlock(ctx, &b)
		if n := len(b.Frames); n > 0 {
			m.Ingest(&b)
			g.packets(n, time.Unix(0, b.Frames[n-1].Time).UTC(), time.Now())
			_, dropped, _ := r.Stats()
			g.set(func(in *api.Input) { in.Dropped.Kernel = dropped })
		}
		m.Tick(time.Now().Add(-ringDelay))
		if ctx.Err() != nil {
			m.Flush()
			return nil
		}
		if err != nil {
			return fmt.Errorf("flow.mirror: interface %s: %w", name, err)
		}
	}
}

// mitigate has the desk look at attacks.
func (l *flowing) mitigate(ctx context.Context, ready func()) error {
	acts := l.s.office.acts
	return keepActs(ctx, ready, "mitigations", acts.desk, l.s.log, func(ctx context.Context) error { return acts.follow(ctx, l.run.running(), l.run.course) })
}
