package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/run"
	"sakimori/base/store"
	"sakimori/base/telemetry"
	"sakimori/base/wire/ring"
	"sakimori/console/api"
	"sakimori/observe/telescope"
)

func newServe() *cobra.Command {
	var path string
	var check bool
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Watch, keep and show / 観測し、保存し、コンソールを開く",
		Long: `Captures live from the configured interfaces (CAP_NET_RAW is enough), keeps what
was seen, and serves the console. --check builds everything and starts nothing.

設定したインターフェースから取り込み、保存し、コンソールを開きます。--check は点検のみです。`,
		Example: `  sakimori serve --config sakimori.yaml --check
  sakimori serve --config sakimori.yaml`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(path, os.Environ())
			if err == nil {
				err = cfg.check()
			}
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return serve(c.Context(), cfg, check, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&path, "config", "", "configuration file")
	c.Flags().BoolVar(&check, "check", false, "only say whether it would start")
	return c
}

func serve(ctx context.Context, cfg config, check bool, out, errs io.Writer) error {
	level, err := telemetry.ParseLevel(cfg.Log)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	log := telemetry.NewLogger(errs, level)
	s, err := newStation(ctx, cfg, log, false, 1)
	var busy *store.ErrBusy
	if check && errors.As(err, &busy) {
		fmt.Fprintln(out, say("設定は正しい。データは別のプロセスが使用中: ", "the configuration is right; the data is in use: "), busy)
		return nil
	}
	if err != nil {
		return err
	}
	if check {
		fmt.Fprintln(out, say("設定は正しく、開始できます。", "the configuration is right, and everything can be started."))
		return s.close()
	}
	if err := s.listen(ctx, false); err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.house.cliToken(ctx, filepath.Join(cfg.Data, cliTokenFile)); err != nil {
		return errors.Join(err, s.close())
	}
	first, err := s.house.people.FirstLink(ctx)
	if err != nil {
		return errors.Join(err, s.close())
	}
	var inputs []run.Component
	if len(cfg.Telescope.Interfaces) > 0 {
		l, err := newListening(ctx, s)
		if err != nil {
			return errors.Join(err, s.close())
		}
		inputs = append(inputs, run.Component{Name: "telescope", Run: l.run})
	}
	if cfg.Flow.on() {
		f, err := newFlowing(ctx, s)
		if err != nil {
			return errors.Join(err, s.close())
		}
		inputs = append(inputs, f.components()...)
	}
	if sp := s.office.acts; !cfg.Flow.on() && sp != nil && sp.speaker != nil {
		inputs = append(inputs, run.Component{Name: "bgp", Run: sp.speaker.Run})
	}
	if cfg.Route.on() {
		r, err := newRouting(ctx, s)
		if err != nil {
			return errors.Join(err, s.close())
		}
		more, err := r.components()
		if err != nil {
			return errors.Join(err, s.close())
		}
		inputs = append(inputs, more...)
	}
	if len(cfg.DNS.Sources) > 0 {
		r, err := newResolvers(ctx, s)
		if err != nil {
			return errors.Join(err, s.close())
		}
		inputs = append(inputs, r.components()...)
	}
	if first == "" {
		fmt.Fprintf(out, say("コンソール: %s/\n", "console: %s/\n"), s.base())
	} else {
		fmt.Fprintf(out, say("コンソール: %s\n利用者がまだいません。1 時間以内に上のリンクで最初の管理者を作ってください。\n",
			"console: %s\nThere is no user yet: make the first admin by this link within an hour.\n"), s.base()+welcomePath+first)
	}
	all, err := s.components(ctx, inputs...)
	if err != nil {
		return errors.Join(err, s.close())
	}
	return run.All(ctx, all...)
}

// listening is the live input: rings of all interfaces into one telescope.
type listening struct {
	s     *station
	w     *watch
	rings []*ring.Ring
	names []string
	since time.Time // of the last checkpoint
}

// livePart is the run of the live input: there is one, and it goes on for ever.
const livePart = 1

func newListening(ctx context.Context, s *station) (*listening, error) {
	l := &listening{s: s}
	engine := s.engine
	engine.Readers = len(s.cfg.Telescope.Interfaces) * s.cfg.Telescope.Fanout
	w, err := newWatch(engine, livePart, "live", s.keeper.record, s.tell)
	if err != nil {
		return nil, err
	}
	l.w, w.bots = w, &s.bots
	if _, err := s.keeper.restore(ctx, w); err != nil {
		return nil, err
	}
	s.watching(w)
	for _, name := range s.cfg.Telescope.Interfaces {
		rings, err := ring.Open(ring.Options{Interface: name, Fanout: s.cfg.Telescope.Fanout, Promisc: true, InboundOnly: name == "lo"})
		if err != nil {
			for _, r := range l.rings {
				_ = r.Close() // the first error is told
			}
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
		for range rings {
			l.names = append(l.names, name)
		}
		l.rings = append(l.rings, rings...)
	}
	return l, nil
}

// checkpointEvery is how much of a live capture a kill may cost. What was lost
// is shown as a gap.
const checkpointEvery = time.Minute

func (l *listening) run(ctx context.Context, ready func()) error {
	defer l.w.tel.Close()
	now := time.Now()
	if last := l.w.time(); !last.IsZero() {
		l.w.Gap(last, now)
	}
	gauges := make([]*gauge, len(l.rings))
	for i, n := range l.names {
		gauges[i] = l.s.gauge(n, "live")
		gauges[i].set(func(in *api.Input) { in.State = "running" })
	}
	ready()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	filled := make(chan reading)
	var readers sync.WaitGroup
	for i, r := range l.rings {
		readers.Go(func() {
			if err := l.read(ctx, r, i, filled); err != nil {
				cancel(err)
			}
		})
	}
	go func() { readers.Wait(); close(filled) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	l.since = now
	for {
		select {
		case b, more := <-filled:
			if !more { // the readers have ended: so has ctx
				err := l.s.keeper.save(context.WithoutCancel(ctx), l.w, nil, l.since.Add(-time.Minute))
				if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
					return errors.Join(cause, err)
				}
				return err
			}
			l.take(b, gauges[b.ring])
		case now := <-tick.C:
			// The rings hand frames over within 50 ms: a second is enough.
			l.w.tel.Advance(now.Add(-time.Second))
			if now.Sub(l.since) > checkpointEvery || l.w.waiting() > waitAtMost {
				if err := l.s.keeper.save(ctx, l.w, nil, l.since.Add(-time.Minute)); err != nil && ctx.Err() == nil {
					return err
				}
				l.since = now
			}
		}
	}
}

// reading is a block that a ring has filled.
type reading struct {
	ring    int
	block   *telescope.Block
	dropped uint64 // by the kernel, so far
}

// read hands on what one ring has until ctx ends.
func (l *listening) read(ctx context.Context, r *ring.Ring, i int, filled chan<- reading) error {
	defer r.Close()
	for {
		b := l.w.tel.Block()
		err := r.ReadBlock(ctx, &b.Block)
		_, dropped, _ := r.Stats()
		filled <- reading{i, b, dropped}
		if err != nil || ctx.Err() != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("interface %s: %w", l.names[i], err)
		}
	}
}

// take feeds a block to the telescope.
func (l *listening) take(b reading, g *gauge) {
	n := len(b.block.Frames)
	late, stray := l.w.tel.Misdated()
	l.w.tel.Ingest(b.block)
	now := time.Now()
	_, at, ok := l.w.tel.Span() // of dates that are believed
	if !ok {
		at = now.UTC() // none so far, and it has come just now
	}
	g.packets(n, at, now)
	g.set(func(in *api.Input) {
		in.Dropped.Kernel = b.dropped
		laterOn, strayed := l.w.tel.Misdated()
		in.Dropped.Late += laterOn - late
		in.Dropped.Stray += strayed - stray
		in.Rate = float64(in.Packets) / max(now.Sub(g.began).Seconds(), 1)
	})
}

// metrics are what the process tells of itself.
func (s *station) metrics() []telemetry.Metric {
	sum := func(f func(api.Input) uint64) func() float64 {
		return func() float64 {
			var n uint64
			for _, in := range s.Inputs() {
				if in.Name != flowInput && in.Name != routeInput && !strings.HasPrefix(in.Name, dnsInput) { // their records aren't packets
					n += f(in)
				}
			}
			return float64(n)
		}
	}
	return append([]telemetry.Metric{
		{Name: "telescope_packets_total", Kind: telemetry.Counter, Help: "Packets read by all inputs.", Read: sum(func(i api.Input) uint64 { return i.Packets })},
		{Name: "telescope_malformed_total", Kind: telemetry.Counter, Help: "Packets whose headers contradict themselves.", Read: sum(func(i api.Input) uint64 { return i.Malformed })},
		{Name: "telescope_kernel_drops_total", Kind: telemetry.Counter, Help: "Packets that the kernel dropped before they could be read.", Read: sum(func(i api.Input) uint64 { return i.Dropped.Kernel })},
		{Name: "telescope_late_total", Kind: telemetry.Counter, Help: "Packets counted in a later minute than their own.", Read: sum(func(i api.Input) uint64 { return i.Dropped.Late })},
		{Name: "telescope_stray_total", Kind: telemetry.Counter, Help: "Packets whose date isn't believed: counted here, and nowhere else.", Read: sum(func(i api.Input) uint64 { return i.Dropped.Stray })},
		{Name: "store_bytes", Kind: telemetry.Gauge, Help: "Size of the data folder in bytes.", Read: func() float64 { return float64(s.facts().StoreBytes) }},
	}, s.flowMetrics()...)
}
