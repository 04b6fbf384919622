//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// takeFlows is a process of its own that does what serve does with flows, but for their store:
// it decodes, counts and judges. What it tells is written into a folder: attacks as they open
// and close, and how many records it took, at its end.
func takeFlows(ctx context.Context, dir string, packets float64, quiet int) error {
	events, err := os.Create(filepath.Join(dir, eventsFile))
	if err != nil {
		return err
	}
	defer events.Close()
	f := flow.DefaultConfig()
	f.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	directory, err := flow.NewDirectory(f)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := directory.Receiver(flow.Receiving{Listen: []string{collectAt.String()}}, clock.System{}, log)
	if err != nil {
		return err
	}
	cfg := flood(packets, quiet)
	d, err := ddos.New(cfg, ddos.Ports{}, ddos.Sinks{Attacks: &reporter{to: events, open: map[string]bool{}}})
	if err != nil {
		return err
	}
	d.Tick(time.Now())
	var taken uint64
	err = r.Run(ctx, nil, func(b []observe.Flow) { taken += uint64(len(b)); d.Take(b) }, d.Tick)
	if err != nil && ctx.Err() == nil {
		return err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "flows were taken", slog.Uint64("flows", taken), slog.Uint64("dropped", r.Socket().QueueDropped), slog.Any("detector", d))
	return os.WriteFile(filepath.Join(dir, recordsFile), fmt.Appendf(nil, "%d %d", taken, r.Socket().QueueDropped), 0o600)
}

// flood is how our detector is set up; with packets by one line for each address, as FastNetMon
// is, else as it comes.
func flood(packets float64, quiet int) ddos.Config {
	cfg := ddos.DefaultConfig()
	cfg.Own = []netip.Prefix{ownFlows}
	if packets > 0 {
		none := ddos.Line{Packets: -1, Bits: -1, Flows: -1}
		line := ddos.Line{Packets: packets, Bits: -1, Flows: -1}
		cfg.Thresholds.Address, cfg.Thresholds.Outgoing, cfg.Thresholds.Prefix = line, line, none
		cfg.Thresholds.Quiet = quiet
	}
	return cfg
}

// accuses tells whether it is called an attack, and not only a rise.
func accuses(a *detect.Attack) bool {
	return slices.ContainsFunc(a.Vectors, func(v detect.Vector) bool { return v.Name != "rise" })
}

const (
	eventsFile  = "events"
	recordsFile = "records"
)

// reporter writes down when an attack opens and closes, as FastNetMon's script does.
type reporter struct {
	mu   sync.Mutex
	to   io.Writer
	open map[string]bool
}

// Attack takes a version of an attack.
func (r *reporter) Attack(a detect.Attack) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, closed := time.Now(), a.State == detect.Closed
	if r.open[a.ID] == !closed || !closed && !accuses(&a) {
		return
	}
	what := "ban"
	if closed {
		what = "unban"
	}
	r.open[a.ID] = !closed
	fmt.Fprintf(r.to, "%d.%09d %s %s\n", now.Unix(), now.Nanosecond(), a.Object.Prefix.Addr(), what)
}

// Course isn't looked at.
func (r *reporter) Course(string, []detect.CoursePoint) {}

// sakimoriFlows is this program, taking flows.
func sakimoriFlows(ctx context.Context, o *options) (*flowTaker, error) {
	return sakimoriAt(ctx, o, 0, 0)
}

func sakimoriAt(ctx context.Context, o *options, packets float64, quiet int) (*flowTaker, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t, err := newFlowTaker(ctx, o, "sakimori", func(dir string) ([]string, error) {
		return []string{own, "role", "flows", dir, fmt.Sprint(packets), fmt.Sprint(quiet)}, nil
	})
	if err == nil {
		t.told = func(_ context.Context, dir string) (n, dropped uint64, err error) {
			_, err = fmt.Sscan(text(filepath.Join(dir, recordsFile)), &n, &dropped)
			return n, dropped, err
		}
	}
	return t, err
}

// serveFlows is the program itself, with its store of flows and attacks, its ledger and console.
func serveFlows(ctx context.Context, o *options) (*flowTaker, error) {
	t, err := newFlowTaker(ctx, o, "sakimori serve", func(dir string) ([]string, error) {
		config := filepath.Join(dir, "sakimori.yaml")
		text := fmt.Sprintf("data: %s\nlisten: %s\nflow:\n  listen: [%q]\nddos:\n  own: [%q]\n", filepath.Join(dir, "data"), listenAt, collectAt, ownFlows)
		return []string{o.sakimori, "serve", "--config", config}, os.WriteFile(config, []byte(text), 0o600)
	})
	if err == nil {
		s := &serving{client: t.ns.client()}
		t.early = true
		t.told = func(ctx context.Context, dir string) (n, dropped uint64, err error) {
			time.Sleep(1500 * time.Millisecond) // its counts are laid open each second
			s.token = strings.TrimSpace(text(filepath.Join(dir, "data", "cli.token")))
			n, dropped, _, err = s.status(ctx)
			s.client.CloseIdleConnections()
			kernel, _ := t.drops()
			return n, dropped - min(kernel, dropped), err // it counts both together
		}
	}
	return t, err
}
