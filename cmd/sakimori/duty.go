package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sakimori/base/clock"
	"sakimori/base/run"
	"sakimori/detect"
	"sakimori/observe/feed"
	"sakimori/respond/subscriber/access"
)

// radiusConfig is the accounting that is taken live.
type radiusConfig struct {
	Listen  []string       `yaml:"listen"` // host:port each; none: nothing is taken
	Clients []radiusClient `yaml:"clients"`
	Line    string         `yaml:"line"`       // what names the contract; "" User-Name
	Kept    bool           `yaml:"stamp_kept"` // the NAS keeps Event-Timestamp when it sends again
}

type radiusClient struct {
	Name       string `yaml:"name"`
	Prefix     string `yaml:"prefix"`
	SecretFile string `yaml:"secret_file"`
}

// reportsConfig is a folder into which reports are put.
type reportsConfig struct {
	Folder string `yaml:"folder"`
	Source string `yaml:"source"`
	Format string `yaml:"format"`
	Zone   string `yaml:"zone"`
	// Mapping is a file that says which column is what, of csv and ndjson.
	Mapping string `yaml:"mapping"`
}

// components are what an office does while serve runs.
func (h *office) components(ctx context.Context, cfg *config, findings <-chan detect.Finding, log *slog.Logger) ([]run.Component, error) {
	list := []run.Component{{Name: "cases", Run: func(ctx context.Context, ready func()) error {
		return h.duty(ctx, ready, cfg, findings, log)
	}}}
	if len(cfg.DNS.Sources) > 0 || cfg.Zones.on() { // each client of a resolver is asked about
		list = append(list, run.Component{Name: "consents in memory", Run: func(ctx context.Context, ready func()) error {
			if err := h.consents.Remember(ctx, purposeBlock, purposeHits); err != nil {
				return err
			}
			ready()
			<-ctx.Done()
			return nil
		}})
	}
	if len(cfg.Subscriber.Radius.Listen) > 0 {
		s, err := cfg.Subscriber.Radius.server(h, log)
		if err != nil {
			return nil, fmt.Errorf("subscriber.radius: %w", err)
		}
		list = append(list, run.Component{Name: "radius", Run: s.Run})
		h.watchRadius(s)
	}
	for name, t := range map[string]*translatorConfig{"syslog": &cfg.Subscriber.Syslog, "ipfix": &cfg.Subscriber.IPFIX} {
		if len(t.Listen) == 0 {
			continue
		}
		l, err := t.listener(name, h, log)
		if err != nil {
			return nil, fmt.Errorf("subscriber.%s: %w", name, err)
		}
		list = append(list, run.Component{Name: name, Run: l.Run})
		h.watchListener(name, l)
	}
	if h.inMemory != nil {
		list = append(list, h.inMemory.component(cfg.speed, log))
	}
	feeds, err := h.pulls(cfg, log)
	if err != nil {
		return nil, err
	}
	list = append(list, feeds...)
	zones, err := h.servesZones(cfg, log)
	if err != nil {
		return nil, fmt.Errorf("rpz: %w", err)
	}
	list = append(list, zones...)
	if zones, err = h.publishes(ctx, cfg, log); err != nil {
		return nil, fmt.Errorf("rpz: %w", err)
	}
	list = append(list, zones...)
	if h.notices != nil { // nil when only the configuration is looked at
		list = append(list, h.notices.components(log)...)
	}
	for i := range cfg.Subscriber.Reports {
		r := &cfg.Subscriber.Reports[i]
		w, err := r.watch(h, log)
		if err != nil {
			return nil, fmt.Errorf("subscriber.reports: %s: %w", r.Source, err)
		}
		list = append(list, run.Component{Name: "reports of " + r.Source, Run: w.Run})
	}
	return list, nil
}

// watch looks after the folder.
func (r *reportsConfig) watch(h *office, log *slog.Logger) (*feed.Watch, error) {
	f := feed.DefaultFolder()
	f.Path = r.Folder
	f.Options = feed.Options{Source: r.Source, Format: feed.Format(r.Format), Public: h.own}
	var err error
	if r.Zone != "" {
		if f.Options.Zone, err = time.LoadLocation(r.Zone); err != nil {
			return nil, fmt.Errorf("zone %q: name one like Asia/Tokyo", r.Zone)
		}
	}
	var mapping []byte
	if r.Mapping != "" {
		if mapping, err = os.ReadFile(r.Mapping); err != nil {
			return nil, fmt.Errorf("mapping: %w", err)
		}
	}
	if f.Options.Mapping, err = mappingOf(r.Format, mapping); err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	return feed.NewWatch(f, feed.NewIntake(reports{h: h}, feed.NewSeen(seenWindow, seenMost), clock.System{}), clock.System{}, log)
}

func (r *radiusConfig) server(sink access.Sink, log *slog.Logger) (*access.Server, error) {
	cfg := access.DefaultServer()
	cfg.Listen, cfg.Accounting.StampKept = r.Listen, r.Kept
	var err error
	if cfg.Accounting.Line, err = access.ParseKey(r.Line); err != nil {
		return nil, err
	}
	for _, c := range r.Clients {
		p, err := parsePrefix(c.Prefix, "client")
		if err != nil {
			return nil, err
		}
		secret, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("client %s: secret_file: %w", c.Name, err)
		}
		cfg.Clients = append(cfg.Clients, access.Client{Name: c.Name, Prefix: p, Secret: bytes.TrimSpace(secret)})
	}
	return access.NewServer(cfg, sink, clock.System{}, log)
}

// How often an office looks after its things.
const (
	recheckEvery = 5 * time.Second
	tickEvery    = 10 * time.Minute
)

// duty gives findings to their cases, ends grants whose ground is gone, moves cases that
// time moves, and once a day signs the ledger and forgets addresses of longer ago than
// they are kept.
func (h *office) duty(ctx context.Context, ready func(), cfg *config, findings <-chan detect.Finding, log *slog.Logger) error {
	ready()
	recheck, tick := time.NewTicker(recheckEvery), time.NewTicker(time.Duration(float64(tickEvery)/max(cfg.speed, 1)))
	defer recheck.Stop()
	defer tick.Stop()
	signed := time.Time{}
	// What fails here is tried again: it is said, and stops nothing else.
	said := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "something of the office failed", slog.String("what", what), slog.Any("error", err))
		}
	}
	for {
		select {
		case <-ctx.Done():
			_, _, err := signHead(context.WithoutCancel(ctx), h.book, h.dir)
			return err
		case f := <-findings:
			err := h.finding(ctx, &f)
			said("a finding could not be given to its case", err)
		case <-recheck.C:
			_, err := h.gate.Recheck(ctx)
			said("the grants could not be checked", err)
			said("the cases could not follow their notices", h.notices.follow(ctx))
			_, err = h.desk.RunBulks(ctx)
			said("an order about many cases could not be done", err)
		case now := <-tick.C:
			_, err := h.desk.Tick(ctx)
			said("the cases could not be moved", err)
			if day := now.UTC().Truncate(24 * time.Hour); day.After(signed) {
				_, _, err := signHead(ctx, h.book, h.dir)
				if said("the ledger could not be signed", err); err == nil {
					signed = day
				}
				said("old addresses could not be removed", h.forget(ctx, cfg.Retention.Addresses, cfg.now()))
			}
		}
	}
}

// errFull is said when findings come faster than cases can be made.
var errFull = errors.New("findings come faster than cases are made: the next version of each tells again")

// notice hands a finding on to the cases, and never waits.
func (s *station) notice(f *detect.Finding) {
	select {
	case s.findings <- *f:
	default:
		s.log.Error("a finding was left out", slog.String("id", f.ID), slog.Any("error", errFull))
	}
}
