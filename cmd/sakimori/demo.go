package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/run"
	"sakimori/base/telemetry"
	"sakimori/base/wire/pcap"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect/surge"
	"sakimori/observe"
	"sakimori/observe/telescope"
	"sakimori/sim"
)

func newDemo() *cobra.Command {
	var d demo
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a made-up day in the console / 見本の一日をコンソールで見る",
		Long: `Makes up a day of autumn 2016 (nothing is sent, nothing is read from the network),
replays it sixty times as fast, and opens the console. An abuse desk has worked for two
weeks on subscribers who don't exist: cases, grants, refusals, a ledger. Everything shown
is sample data. Nothing is kept when it ends.

2016年秋の一日を模擬して60倍速で再生し、コンソールを開きます。架空の加入者の感染対応(案件、許可、
却下、台帳)も二週間分あります。表示はすべて見本データで、終了すると何も残りません。`,
		Example: `  sakimori demo
  sakimori demo --no-open --listen 127.0.0.1:0`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&d.listen, "listen", "127.0.0.1:8630", "address of the console; the next free port when it is taken")
	c.Flags().BoolVar(&d.noOpen, "no-open", false, "don't open a browser")
	c.Flags().Float64Var(&d.speed, "speed", 60, "times faster than real time")
	c.Flags().DurationVar(&d.ahead, "ahead", 18*time.Hour, "how much of the day is there at the start")
	c.Flags().Uint64Var(&d.seed, "seed", 1, "another seed, another day")
	return c
}

type demo struct {
	listen string
	noOpen bool
	speed  float64
	ahead  time.Duration
	seed   uint64
}

func (d *demo) run(ctx context.Context, out, errs io.Writer) error {
	if d.speed < 1 || d.speed > 3600 {
		return usage("--speed %g: give 1 to 3600", d.speed)
	}
	dir, err := os.MkdirTemp("", "sakimori-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(out, say("見本の一日を作っています…", "making up a day…"))
	scene := sim.Autumn2016(d.seed)
	life, err := sampleTown(d.seed, scene.Start, scene.Own[0])
	if err != nil {
		return err
	}
	scene.Own = append(scene.Own, life.Own()...)
	scene.Actors = append(scene.Actors, life.Actors(scene.Start)...)
	file := filepath.Join(dir, "autumn2016.pcap")
	written := make(chan error, 1) // while the office is made up
	go func() {
		defer close(written)
		_, err := writeScene(scene, file)
		written <- err
	}()
	defer func() { // before the folder goes
		for range written {
		}
	}()
	cfg := defaultConfig()
	cfg.Data, cfg.Listen = filepath.Join(dir, "data"), d.listen
	for _, p := range scene.Dark {
		cfg.Telescope.Dark = append(cfg.Telescope.Dark, darkEntry{Prefix: p.String()})
	}
	for _, p := range scene.Own {
		cfg.Telescope.Own = append(cfg.Telescope.Own, p.String())
		cfg.Subscriber.Own = append(cfg.Subscriber.Own, p.String())
	}
	truth := life.Truth()
	cfg.Subscriber.Skew = map[string]time.Duration{truth.Skewed: truth.Skew}
	now := &paced{}
	cfg.clock, cfg.speed = now, d.speed
	sampleFloodsConfig(&cfg, now)
	moment := scene.Start.Add(d.ahead)
	after := max(scene.Duration-d.ahead, 0) + 12*time.Hour
	happens := sampleRoutesScene(d.seed, moment, after)
	if err := sampleRoutesConfig(&cfg, happens); err != nil {
		return err
	}
	if err := errors.Join(sampleNotices(ctx, &cfg, dir), sampleRules(&cfg, dir)); err != nil {
		return err
	}
	lists, err := sampleList(&cfg, dir, life.Start)
	if err != nil {
		return err
	}
	servers, err := sampleZones(ctx, &cfg, dir, d.speed)
	if err != nil {
		return err
	}
	if servers == nil {
		fmt.Fprintln(errs, say("127.0.0.2 と 127.0.0.3 が使えないため、リゾルバーとその確認は見本にありません。", "127.0.0.2 and 127.0.0.3 can't be used here: the sample has no resolvers, and no proof on them."))
	}
	r := researchEntry{Name: say("見本の調査機関", "a sample research scanner")}
	for _, p := range scene.Research {
		r.Prefixes = append(r.Prefixes, p.String())
	}
	cfg.Telescope.Research = append(cfg.Telescope.Research, r)
	if err := cfg.check(); err != nil {
		return &exitError{exitUsage, err}
	}
	level, err := telemetry.ParseLevel("warn")
	if err != nil {
		return err
	}
	s, err := newStation(ctx, cfg, telemetry.NewLogger(errs, level), true, d.speed)
	if err != nil {
		return err
	}
	if err := s.listen(ctx, true); err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.house.cliToken(ctx, filepath.Join(cfg.Data, cliTokenFile)); err != nil {
		return errors.Join(err, s.close())
	}
	floods, err := openFloods(ctx, s, now, d.seed, moment, after)
	if err != nil {
		return errors.Join(err, s.close())
	}
	routes, err := openRoutes(ctx, s, now, happens)
	if err == nil {
		err = routes.past(ctx, moment)
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	subscribers, err := openSample(ctx, s, life, lists, floods, moment)
	if err != nil {
		return errors.Join(err, s.close())
	}
	if err := <-written; err != nil {
		return errors.Join(err, s.close())
	}
	p := &replay{s: s, file: file, start: scene.Start, ahead: d.ahead, speed: d.speed}
	if err := p.begin(ctx); err != nil {
		return errors.Join(err, s.close())
	}
	now.run(moment, d.speed)
	url, err := s.url(ctx, console.Operator, 24*time.Hour)
	if err != nil {
		return errors.Join(err, s.close())
	}
	fmt.Fprintf(out, say("コンソール: %s\n終了は Ctrl-C。自分のデータは: sakimori import telescope --help\n", "console: %s\nCtrl-C ends it. For your own data: sakimori import telescope --help\n"), url)
	if !d.noOpen {
		open(ctx, url)
	}
	all, err := s.components(ctx, run.Component{Name: "subscribers", Run: subscribers.run}, run.Component{Name: "lookups", Run: subscribers.callers.run}, run.Component{Name: "flows", Run: floods.run}, run.Component{Name: "routes", Run: routes.run}, run.Component{Name: "announcements", Run: s.office.remedies.follow}, run.Component{Name: "replay", Run: p.run})
	if err != nil {
		return errors.Join(err, s.close())
	}
	if servers != nil {
		parts, err := servers.components(s.log)
		if err == nil {
			all, err = within(all, "policy zones", parts)
		}
		if err != nil {
			return errors.Join(err, s.close())
		}
	}
	return run.All(ctx, all...)
}

// open shows a page in the desktop's browser, if there is one.
func open(ctx context.Context, url string) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return
	}
	path, err := exec.LookPath("xdg-open")
	if err != nil {
		return // the address is on the screen
	}
	_ = exec.CommandContext(context.WithoutCancel(ctx), path, url).Start() //nolint:gosec // our own address
}

// replay plays a capture at a multiple of real time, after a first part at once.
type replay struct {
	s     *station
	file  string
	start time.Time
	ahead time.Duration
	speed float64
	in    *pcap.Reader
	w     *watch
	g     *gauge
	next  *telescope.Block // read, but its time hasn't come
	at    int              // frames of next that are done
	saved time.Time
}

// begin reads the first part of the day.
func (p *replay) begin(ctx context.Context) error {
	r, err := pcap.Open(p.file)
	if err != nil {
		return err
	}
	p.in = r
	engine := p.s.engine
	if p.w, err = newWatch(engine, livePart, "replay", p.s.keeper.record, p.s.tell); err != nil {
		return err
	}
	if err := p.past(); err != nil {
		return err
	}
	p.s.watching(p.w)
	p.g = p.s.gauge("autumn2016", "replay")
	p.g.set(func(in *api.Input) { in.State = "running" })
	if _, err := p.until(p.start.Add(p.ahead)); err != nil {
		return err
	}
	p.s.feed.forget() // the map begins with what comes now
	p.saved = time.Now()
	return p.s.keeper.save(ctx, p.w, nil, time.Time{})
}

// past gives the surge detector five weeks to compare the day with: the level of
// the day's first hours, before anything rises, scattered as counts do. Without
// a past there is nothing that today could differ from.
func (p *replay) past() error {
	const hours = 3
	calm := &calmHours{}
	engine := p.s.engine
	engine.Glance = nil // nobody looks on
	tel, err := telescope.New(engine, calm)
	if err != nil {
		return err
	}
	defer tel.Close()
	r, err := pcap.Open(p.file)
	if err != nil {
		return err
	}
	defer r.Close()
	for end := p.start.Add(hours * time.Hour).UnixNano(); ; {
		b := tel.Block()
		err := r.ReadBlock(&b.Block)
		over := len(b.Frames) == 0 || b.Frames[len(b.Frames)-1].Time > end
		tel.Ingest(b)
		if err != nil || over {
			break
		}
	}
	tel.Totals()                       // waits until everything is counted
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // made-up figures
	scatter := func(n uint64) uint64 {
		mean := float64(n) / float64(calm.hours)
		return uint64(max(mean+math.Sqrt(mean)*rnd.NormFloat64(), 0))
	}
	if calm.hours == 0 {
		return nil
	}
	const weeks = 5
	for at := p.start.Add(-weeks * 7 * 24 * time.Hour); at.Before(p.start); at = at.Add(time.Hour) {
		points := make([]surge.Point, 0, len(calm.sum))
		for _, k := range calm.order {
			c := calm.sum[k]
			points = append(points, surge.Point{Dim: k.dim, Key: k.key, Packets: scatter(c.packets), Sources: scatter(c.sources)})
		}
		p.w.surge.Hour(at, points)
	}
	return nil
}

// calmHours adds up the hours that it is given.
type calmHours struct {
	hours uint64
	order []calmKey
	sum   map[calmKey]calmSum
}

type (
	calmKey struct {
		dim observe.Dim
		key uint32
	}
	calmSum struct{ packets, sources uint64 }
)

func (c *calmHours) Bucket(b telescope.Bucket) {
	if b.Grain != observe.Hour || b.Open {
		return
	}
	c.hours++
	if c.sum == nil {
		c.sum = map[calmKey]calmSum{}
	}
	for _, x := range points(b.Rows) {
		k := calmKey{x.Dim, x.Key}
		old, known := c.sum[k]
		if !known {
			c.order = append(c.order, k)
		}
		c.sum[k] = calmSum{old.packets + x.Packets, old.sources + x.Sources}
	}
}

func (*calmHours) Sight([]observe.Sighting) {}
func (*calmHours) Clock(time.Time)          {}
func (*calmHours) Closed([]observe.Event)   {}
func (*calmHours) Gap(time.Time, time.Time) {}

// until feeds the frames up to a time of the data. It says whether there are more.
func (p *replay) until(end time.Time) (more bool, err error) {
	limit := end.UnixNano()
	for {
		if p.next == nil {
			p.next, p.at = p.w.tel.Block(), 0
			if err := p.in.ReadBlock(&p.next.Block); err != nil && len(p.next.Frames) == 0 {
				p.w.tel.Ingest(p.next)
				p.next = nil
				if errors.Is(err, io.EOF) {
					return false, nil
				}
				return false, err
			}
		}
		frames := p.next.Frames
		n := p.at
		for n < len(frames) && frames[n].Time < limit {
			n++
		}
		if n == len(frames) && p.at == 0 { // the whole block at once
			p.g.packets(n, time.Unix(0, frames[n-1].Time).UTC(), time.Now())
			p.w.tel.Ingest(p.next)
			p.next = nil
			continue
		}
		if n > p.at {
			b := p.w.tel.Block()
			b.Buf, b.Frames = append(b.Buf[:0], p.next.Buf...), append(b.Frames[:0], frames[p.at:n]...)
			p.g.packets(n-p.at, time.Unix(0, frames[n-1].Time).UTC(), time.Now())
			p.w.tel.Ingest(b)
			p.at = n
		}
		if n < len(frames) {
			return true, nil
		}
		empty := p.next // all of it has been fed in pieces
		empty.Frames = empty.Frames[:0]
		p.w.tel.Ingest(empty)
		p.next = nil
	}
}

// run plays the rest of the day.
func (p *replay) run(ctx context.Context, ready func()) error {
	defer p.w.tel.Close()
	defer p.in.Close()
	ready()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			at := p.start.Add(p.ahead).Add(time.Duration(float64(now.Sub(began)) * p.speed))
			more, err := p.until(at)
			if err != nil {
				return err
			}
			p.g.set(func(in *api.Input) { in.Rate = float64(in.Packets) / max(at.Sub(p.start).Seconds(), 1) })
			if now.Sub(p.saved) > 5*time.Second || !more {
				if err := p.s.keeper.save(ctx, p.w, nil, time.Time{}); err != nil && ctx.Err() == nil {
					return err
				}
				p.saved = time.Now()
			}
			if !more {
				p.g.set(func(in *api.Input) { in.State = "done" })
				return nil
			}
		}
	}
}
