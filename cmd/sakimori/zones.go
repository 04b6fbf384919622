package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/run"
	"sakimori/base/telemetry"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/primary"
)

// publications writes down what is published, before anybody can see it. What a zone holds
// isn't in it: optout. names clients.
type publications struct{ book *ledger.Book }

func (b publications) Record(ctx context.Context, p rpz.Publication) error {
	_, err := b.book.Append(ctx, ledger.Line{Kind: account.Acted, Who: p.Who, What: p})
	return err
}

// openZones opens the policy zones of an office.
func (h *office) openZones(ctx context.Context) (err error) {
	h.zones, err = rpz.Open(ctx, filepath.Join(h.dir, zonesDir), rpz.Options{Clock: h.clock, Recorder: publications{h.book}, Stamp: h.stamp})
	return err
}

// servesZones are the parts of serve that hand the zones to resolvers.
func (h *office) servesZones(cfg *config, log *slog.Logger) ([]run.Component, error) {
	if !cfg.Zones.on() {
		return nil, nil
	}
	c, err := cfg.Zones.primary()
	if err != nil {
		return nil, err
	}
	c.Clock, c.Log = cfg.now(), log
	if c.Former, err = readPeers(filepath.Join(h.dir, zonesDir, zonesPeers)); err != nil { // cut off by a power failure, for example
		log.Warn("what was known of the resolvers can't be read: it is learnt anew", slog.Any("error", err))
		c.Former = nil
	}
	s, err := primary.New(c, h.zones)
	if err != nil {
		return nil, err
	}
	h.primary = s
	n := &s.Counters
	h.counts = append(h.counts,
		counter("rpz_requests_total", "Requests of resolvers, and of others.", n.Requests.Load),
		counter("rpz_malformed_total", "Requests that can't be read.", n.Malformed.Load),
		counter("rpz_refused_total", "Requests of nobody who may have the zones.", n.Refused.Load),
		counter("rpz_dropped_total", "Requests of strangers that weren't even refused.", n.Dropped.Load),
		counter("rpz_turned_away_total", "Connections beyond what is bounded.", n.TurnedAway.Load),
		counter("rpz_full_transfers_total", "Zones fetched whole.", n.Full.Load),
		counter("rpz_incremental_transfers_total", "Differences fetched.", n.Incremental.Load),
		counter("rpz_cut_transfers_total", "Transfers that weren't read to the end.", n.Cut.Load),
		counter("rpz_notify_unanswered_total", "Notifications that no resolver answered.", n.Unanswered.Load),
		counter("rpz_notify_unseen_total", "Changes that a resolver was told of and didn't fetch.", n.Unseen.Load),
	)
	h.counts = append(h.counts, h.heldMetrics()...)
	for _, z := range rpz.Zones() {
		h.counts = append(h.counts, telemetry.Metric{
			Name: "rpz_rules_" + string(z[:len(z)-1]), Kind: telemetry.Gauge, Help: "Rules of the policy zone now.",
			Read: func() float64 {
				if v := h.zones.Current(z); v != nil {
					return float64(v.Rules)
				}
				return 0
			},
		})
	}
	return []run.Component{
		{Name: "policy zones", Run: s.Run},
		{Name: "state of resolvers", Run: func(ctx context.Context, ready func()) error { return h.keepPeers(ctx, ready, log) }},
	}, nil
}

// keepPeers writes down every few seconds what is known of the resolvers, so that a
// command can show it, and they aren't strangers after a restart; and takes former serials
// away.
func (h *office) keepPeers(ctx context.Context, ready func(), log *slog.Logger) error {
	ready()
	path := filepath.Join(h.dir, zonesDir, zonesPeers)
	var last []byte
	write := func() {
		b, err := json.Marshal(h.primary.Peers())
		if err == nil && string(b) != string(last) {
			if err = os.WriteFile(path+".new", b, 0o600); err == nil {
				err = os.Rename(path+".new", path)
			}
			last = b
		}
		if err != nil {
			log.ErrorContext(ctx, "the state of the resolvers can't be written", slog.Any("error", err))
		}
	}
	tick, hourly := time.NewTicker(2*time.Second), time.NewTicker(time.Hour)
	defer tick.Stop()
	defer hourly.Stop()
	for {
		write()
		select {
		case <-ctx.Done():
			write()
			return nil
		case <-tick.C:
		case <-hourly.C:
			if err := h.zones.Tidy(); err != nil {
				log.ErrorContext(ctx, "former serials of the policy zones can't be taken away", slog.Any("error", err))
			}
		}
	}
}
