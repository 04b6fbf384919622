package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/geo"
	"sakimori/base/run"
	"sakimori/base/telemetry"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/console/web"
	"sakimori/detect"
	"sakimori/observe/telescope"
)

// station is one process with everything in it: the store, the inputs, the
// imports, and the console before them.
type station struct {
	cfg      config
	log      *slog.Logger
	keeper   *keeper
	table    *geo.Table
	research *telescope.ResearchList
	engine   telescope.Config
	live     *api.Live
	feed     *mapFeed
	pulse    darkPulse
	jobs     *jobs
	bots     bots
	flowing  *flowing // nil: no flows are taken
	routing  *routing // nil: no routes are taken
	house    *house
	office   *office
	findings chan detect.Finding // for the office
	api      *api.Server
	demo     bool
	speed    float64
	listener net.Listener

	mu     sync.Mutex
	watch  *watch // the one that runs, or ran last
	gauges []*gauge
	size   int64
	kept   time.Time // end of what was kept at the start
}

// newStation builds everything and starts nothing. The data folder is opened,
// as much of what can be wrong is there.
func newStation(ctx context.Context, cfg config, log *slog.Logger, demo bool, speed float64) (*station, error) {
	const waiting = 4096
	s := &station{cfg: cfg, log: log, demo: demo, speed: speed, findings: make(chan detect.Finding, waiting)}
	var err error
	if s.table, err = cfg.places(); err != nil {
		return nil, err
	}
	if s.research, err = cfg.research(); err != nil {
		return nil, err
	}
	if s.engine, err = cfg.engine(s.table, s.research); err != nil {
		return nil, err
	}
	if s.keeper, err = openKeeper(ctx, cfg.Data); err != nil {
		return nil, err
	}
	if err := s.keeper.addOwn(s.engine.Own); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.office, err = openOffice(ctx, &cfg); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.house = s.office.house
	key, err := consoleKey(filepath.Join(cfg.Data, "console.key"))
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	proxies, err := cfg.proxies()
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if old := filepath.Join(cfg.Data, "tokens.json"); exists(old) {
		log.WarnContext(ctx, "tokens of an earlier version aren't good any more: make new ones with sakimori token add, and remove the file", slog.String("file", old))
	}
	if at, ok := (stored{c: s.keeper}).DataTime(); ok {
		s.kept = at.Add(-time.Nanosecond) // the end of a span isn't in it
	}
	s.live = api.NewLive(clock.System{})
	s.feed = newMapFeed(s.table)
	for _, d := range s.engine.Dark {
		s.pulse.dark = append(s.pulse.dark, d.Prefix)
	}
	s.engine.Glance = func(second telescope.Second) {
		s.feed.see(second)
		s.pulse.see(second)
	}
	s.jobs = newJobs(s)
	// The gate asks it whether attacks last, also of grants of before.
	s.office.attacks, s.office.incidents = keptAttacks{s.keeper.register}, keptIncidents{s.keeper.register}
	if cfg.Flow.on() || cfg.Route.Announce.Live || demo {
		if s.office.acts, err = s.office.openMitigations(ctx, &s.cfg, s.keeper.register, log); err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.office.acts.desk.Baseline = &usualFlows{kept: s.keeper.flows}
	}
	names := asNames{cfg.Route.House.Book, s.table}
	if s.office.remedies, err = s.office.openRemedies(ctx, &s.cfg, s.keeper.register, names.ASName, log, s.routes); err != nil {
		return nil, errors.Join(err, s.close())
	}
	office, err := s.office.ports(&s.cfg)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.api, err = api.New(api.Deps{
		Archive: archive{s.keeper.record}, Inputs: s, Tokens: s.house.people, People: s.house.people, Clock: clock.System{}, Findings: findings{s.keeper}, Jobs: s.jobs, Flows: s.keeper.flows,
		Office: office, Notices: noticePort{s.office.notices}, Local: s.house.local,
		Geo: places{s.table}, Research: s.research, Rising: rises{s}, Live: s.live, Log: log, Facts: s.facts, Own: s.keeper.isOwn,
		Static: web.FS(), IoT: api.IoT{Dated: telescope.IoTDated.Format(time.DateOnly), Ports: telescope.IoTKeys()}, Reference: reference(),
		Attacks: attackPort{s.keeper.register, s.house.book, s.table, s.office.acts}, Mitigations: s.office.filters(), Replays: &whatIf{cfg: &s.cfg, kept: s.keeper.flows, table: s.table}, Exporters: s.exporters(),
		Incidents: incidentPort{s.keeper.register, names, s.office.remedies, s.traffic()}, Remedies: s.office.remedies,
		Routes:  &routePort{cfg: &s.cfg, names: names, kept: s.keeper.routes, register: s.keeper.register, live: s.routes, drills: &drills{}},
		Version: versionOf(), Demo: demo, Speed: speed, Hosts: cfg.hosts(), Secret: key,
		Secure: strings.HasPrefix(cfg.PublicURL, "https://"), Proxies: proxies,
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close closes what is open: the office last, as what was done is in its ledger.
func (s *station) close() error {
	err := s.keeper.Close()
	if s.office != nil {
		err = errors.Join(err, s.office.Close())
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// facts are for the status page.
func (s *station) facts() api.Facts {
	var f api.Facts
	for _, d := range s.engine.Dark {
		if d.Prefix.Addr().Is4() {
			f.Dark.V4Prefixes++
			f.Dark.V4Addresses += 1 << (32 - d.Prefix.Bits())
		} else {
			f.Dark.V6Prefixes++
		}
	}
	s.mu.Lock()
	f.StoreBytes = s.size
	if s.watch != nil {
		f.Dark.Hit = s.watch.hit.Load()
	}
	s.mu.Unlock()
	for _, src := range s.table.Sources() {
		f.Attribution = append(f.Attribution, src.Attribution)
	}
	return f
}

// Inputs are all inputs as they are now.
func (s *station) Inputs() []api.Input {
	s.mu.Lock()
	list := s.gauges
	s.mu.Unlock()
	out := make([]api.Input, 0, len(list))
	for _, g := range list {
		out = append(out, g.shown(time.Now()))
	}
	return out
}

// DataTime is the time of the newest packet: of an input, or of what is kept.
func (s *station) DataTime() (time.Time, bool) {
	s.mu.Lock()
	last := s.kept
	s.mu.Unlock()
	running := false
	for _, in := range s.Inputs() {
		if in.LastPacket == nil {
			continue
		}
		// What comes in now is what the console follows; an old capture that is
		// imported meanwhile doesn't carry it away, nor does one of tomorrow.
		if now := in.Kind != "file" && in.State == "running"; now && !running {
			running, last = true, *in.LastPacket
		} else if now == running && in.LastPacket.After(last) {
			last = *in.LastPacket
		}
	}
	return last, !last.IsZero()
}

func (s *station) gauge(name, kind string) *gauge {
	g := &gauge{in: api.Input{Name: name, Kind: kind, State: "idle"}, began: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 20 // imports make room for newer ones
	if oldest := slices.IndexFunc(s.gauges, func(g *gauge) bool { return g.in.Kind == "file" }); len(s.gauges) >= most && oldest >= 0 {
		s.gauges = slices.Delete(slices.Clone(s.gauges), oldest, oldest+1)
	}
	s.gauges = append(s.gauges, g)
	return g
}

func (s *station) current() *watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watch
}

// watching notes which watch the console's facts are of. What comes in now stays
// in sight when a file is imported beside it.
func (s *station) watching(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch == nil || s.watch.part != livePart || w.part == livePart {
		s.watch = w
	}
}

// tell publishes a finding.
func (s *station) tell(f detect.Finding) {
	s.witness(&f)
	s.live.Find(f)
	s.notice(&f)
}

// exporters are those of the live input of flows; nil where there is none.
func (s *station) exporters() api.Exporters {
	if !s.cfg.Flow.on() && !s.demo {
		return nil
	}
	return lateExporters{s}
}

// routes is the live input of routes; nil where there is none.
func (s *station) routes() *routing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.routing
}

// traffic tells what became of the traffic of an incident.
func (s *station) traffic() trafficOf {
	t := trafficOf{flows: s.keeper.flows, now: func() time.Time { return s.cfg.now().Now() }}
	t.link = func(exporter, index uint32) (string, uint64) {
		s.mu.Lock()
		l := s.flowing
		s.mu.Unlock()
		if l == nil {
			return "", 0
		}
		for _, x := range l.dir.Exporters() {
			if x.Number != exporter {
				continue
			}
			for _, i := range x.Interfaces {
				if i.Index == index {
					return i.Name, i.Capacity
				}
			}
		}
		return "", 0
	}
	return t
}

// witness tells who looks at flows of a victim that the telescope saw answer.
func (s *station) witness(f *detect.Finding) {
	if f.Detector != "ddos" || strings.HasPrefix(f.ID, attackPrefix) {
		return
	}
	s.mu.Lock()
	l := s.flowing
	s.mu.Unlock()
	if a, err := netip.ParseAddr(f.Subject); err == nil && l != nil {
		l.run.attacks.Witness(a, "backscatter", f.Changed)
	}
}

// listen opens the console's address; the next free port when it is taken and
// another is as good.
func (s *station) listen(ctx context.Context, anyPort bool) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil && anyPort {
		host, _, _ := net.SplitHostPort(s.cfg.Listen) // was checked
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return fmt.Errorf("console: %w: choose another address with listen", err)
	}
	s.listener = l
	return s.keeper.store.SetAddress(l.Addr().String())
}

// base is where browsers find the console.
func (s *station) base() string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	return "http://" + s.listener.Addr().String()
}

// url is where the console is, with a token that logs in once.
func (s *station) url(ctx context.Context, roles console.Roles, ttl time.Duration) (string, error) {
	secret, _, err := s.house.people.Issue(ctx, console.Token{Kind: console.LoginToken, Roles: roles, User: "local"}, ttl)
	if err != nil {
		return "", err
	}
	return s.base() + "/?token=" + secret, nil
}

const cliTokenFile = "cli.token"

// components are what runs, in order of their start: the console last, so that
// it stops first, and the store before everything.
func (s *station) components(ctx context.Context, inputs ...run.Component) ([]run.Component, error) {
	list := []run.Component{{Name: "store", Run: s.runStore}, {Name: "geography", Run: s.runGeography}, {Name: "imports", Run: s.jobs.run}}
	s.office.alarm, s.office.alarmed = s.raise, s.raised
	work, err := s.office.components(ctx, &s.cfg, s.findings, s.log)
	if err != nil {
		return nil, err
	}
	list = append(list, run.Component{Name: "findings of before", Run: s.catchUp})
	list = append(append(list, work...), inputs...)
	list = append(list, run.Component{Name: "map", Run: s.runMap}, run.Component{Name: "console", Run: s.runConsole})
	if s.cfg.Metrics != "" {
		list = append(list, run.Component{Name: "metrics", Run: s.runMetrics})
	}
	return list, nil
}

// runStore keeps the store in order: what is too old goes, closed days are
// sorted. It closes last.
func (s *station) runStore(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	sizes := time.NewTicker(5 * time.Second)
	defer sizes.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.close()
		case <-sizes.C:
			if n, err := s.keeper.store.Size(); err == nil {
				s.mu.Lock()
				s.size = n.Database + n.Log + n.Blobs
				s.mu.Unlock()
			}
		case <-tick.C:
			if at, ok := s.DataTime(); ok {
				s.tidy(ctx, at)
			}
		}
	}
}

// runGeography loads the positions before an input asks for the first, and would
// lose packets while it waits.
// catchUp runs once, beside everything else; what it can't give now waits for the next
// start.
func (s *station) catchUp(ctx context.Context, ready func()) error {
	ready()
	if err := s.office.catchUp(ctx, s.keeper.register); err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "findings of before could not be given to their cases", slog.Any("error", err))
	}
	return nil
}

func (s *station) runGeography(context.Context, func()) error { return s.table.Prepare() }

func (s *station) tidy(ctx context.Context, at time.Time) {
	if _, err := s.keeper.record.Retain(ctx, at, s.cfg.Retention.policy()); err != nil {
		s.log.ErrorContext(ctx, "retention failed", slog.Any("error", err))
	}
	if _, err := s.keeper.flows.Retain(ctx, at, s.cfg.Flow.Keep.policy()); err != nil {
		s.log.ErrorContext(ctx, "retention of flows failed", slog.Any("error", err))
	}
	if keep := s.cfg.Route.Keep; keep > 0 {
		if _, err := s.keeper.routes.Retain(ctx, at.Add(-keep)); err != nil {
			s.log.ErrorContext(ctx, "retention of routes failed", slog.Any("error", err))
		}
	}
	day := at.UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour)
	if err := s.keeper.record.Cluster(ctx, day); err != nil {
		s.log.ErrorContext(ctx, "sorting a closed day failed", slog.Any("error", err))
	}
}

// runMap draws ten frames a second.
func (s *station) runMap(ctx context.Context, ready func()) error {
	ready()
	sampler := api.NewMapSampler(1)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			arcs, total := s.feed.frame(now)
			f := sampler.Frame(now, arcs, total)
			if at, ok := s.DataTime(); ok {
				f.Time = at
			}
			s.live.Publish(api.TopicMap, f)
		}
	}
}

func (s *station) runConsole(ctx context.Context, ready func()) error {
	srv := &http.Server{Handler: s.api.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(s.listener) }()
	ready()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		return srv.Close()
	}
	return nil
}

func (s *station) runMetrics(ctx context.Context, ready func()) error {
	reg := telemetry.NewRegistry()
	if err := reg.Add(append(s.metrics(), s.office.counts...)...); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("metrics: %w: choose another address with metrics", err)
	}
	return reg.Serve(ctx, l, ready)
}
