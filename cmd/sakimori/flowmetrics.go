package main

import (
	"context"
	"math"
	"time"

	"sakimori/base/telemetry"
	"sakimori/observe/flow"
	"sakimori/respond"
	"sakimori/respond/mitigate/speaker"
)

// flowMetrics are what the process tells of flows, attacks and what is done against them;
// none where no flows are taken.
func (s *station) flowMetrics() []telemetry.Metric {
	if !s.cfg.Flow.on() && !s.demo {
		return nil
	}
	live := func(f func(*flowing) uint64) func() float64 {
		return func() float64 {
			s.mu.Lock()
			l := s.flowing
			s.mu.Unlock()
			if l == nil { // not yet
				return 0
			}
			return float64(f(l))
		}
	}
	socket := func(f func(flow.Socket) uint64) func() float64 {
		return live(func(l *flowing) uint64 {
			if l.recv == nil {
				return 0
			}
			return f(l.recv.Socket())
		})
	}
	list := []telemetry.Metric{
		{Name: "flows_total", Kind: telemetry.Counter, Help: "Flows that came in, of exporters and mirror ports.", Read: live(func(l *flowing) uint64 { return l.flows.Load() })},
		{Name: "flows_dropped_total", Kind: telemetry.Counter, Help: "Flows that nobody took in time.", Read: socket(func(x flow.Socket) uint64 { return x.QueueDropped })},
		{Name: "flow_datagrams_dropped_total", Kind: telemetry.Counter, Help: "Datagrams of exporters that the kernel had no room for.", Read: socket(func(x flow.Socket) uint64 { return x.Drops })},
		{Name: "attacks_open", Kind: telemetry.Gauge, Help: "Attacks under way.", Read: live(func(l *flowing) uint64 { return uint64(l.run.attacks.Figures().Open) })}, //nolint:gosec // a count
	}
	acts := s.office.acts
	if acts == nil {
		return list
	}
	return append(list,
		telemetry.Metric{Name: "mitigations_standing", Kind: telemetry.Gauge, Help: "Mitigations of which something may be with a router.", Read: acts.standing},
		telemetry.Metric{Name: "bgp_peers_up", Kind: telemetry.Gauge, Help: "Routers with an established BGP session.", Read: acts.peersUp})
}

// standing is how many mitigations may be with a router; not a number where that can't
// be looked up.
func (m *mitigations) standing() float64 {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := m.desk.List(ctx, respond.Query{Standing: true})
	if err != nil {
		return math.NaN()
	}
	return float64(len(list))
}

// peersUp is how many routers are connected.
func (m *mitigations) peersUp() (n float64) {
	if m.speaker == nil {
		return 0
	}
	for _, p := range m.speaker.Peers() {
		if p.State == speaker.Established {
			n++
		}
	}
	return n
}
