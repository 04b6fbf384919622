package main

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"sakimori/base/geo"
	"sakimori/base/wire/packet"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/observe/telescope"
	"sakimori/observe/telescope/record"
)

// What the console asks for, answered from the rooms that know.

// places answers where an address is.
type places struct{ table *geo.Table }

func (p places) Place(a netip.Addr) (country string, asn uint32, lat, lon float32, located bool) {
	x := p.table.Lookup(packet.FromNetip(a))
	if x.Country != [2]byte{} {
		country = string(x.Country[:])
	}
	return country, x.ASN, x.Lat, x.Lon, x.Lat != 0 || x.Lon != 0
}

func (p places) ASName(asn uint32) string { return p.table.ASName(asn) }

// archive is the record, as the console asks it: a span in which nobody looked
// is answered with the span in which somebody did.
type archive struct{ *record.Record }

// always is every time there is.
var always = observe.Range{From: time.Unix(0, 0), To: time.Unix(1<<33, 0)}

func (a archive) Covered(ctx context.Context, r observe.Range) (first, last time.Time, looked bool, err error) {
	first, last, looked, err = a.Record.Covered(ctx, r)
	if err == nil && !looked {
		first, last, _, err = a.Record.Covered(ctx, always)
	}
	return first, last, looked, err
}

// findings answers from the register.
type findings struct{ k *keeper }

func (f findings) List(ctx context.Context, q api.FindingQuery) ([]api.Found, string, error) {
	if q.Subject != "" {
		return f.about(ctx, q)
	}
	list, next, err := f.k.register.List(ctx, register.Query{
		Detector: q.Detector, State: q.State, Severity: q.Severity, Range: q.Range, Limit: q.Limit, After: q.After,
	})
	if err != nil {
		return nil, "", err
	}
	found, err := f.acked(ctx, list)
	return found, next, err
}

// about goes through the findings for those of one subject: there are few.
func (f findings) about(ctx context.Context, q api.FindingQuery) ([]api.Found, string, error) {
	var hits []detect.Finding
	for after := q.After; ; {
		list, next, err := f.k.register.List(ctx, register.Query{Detector: q.Detector, State: q.State, Severity: q.Severity, Range: q.Range, Limit: 500, After: after})
		if err != nil {
			return nil, "", err
		}
		for _, x := range list {
			if x.Subject == q.Subject && len(hits) < q.Limit {
				hits = append(hits, x)
			}
		}
		if next == "" || len(hits) >= q.Limit {
			break
		}
		after = next
	}
	found, err := f.acked(ctx, hits)
	return found, "", err
}

func (f findings) acked(ctx context.Context, list []detect.Finding) ([]api.Found, error) {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	acks, err := f.k.register.Acknowledged(ctx, ids...)
	if err != nil {
		return nil, err
	}
	found := make([]api.Found, len(list))
	for i := range list {
		found[i].Finding = list[i]
		if a := acks[list[i].ID]; len(a) > 0 {
			last := a[len(a)-1]
			found[i].Ack = &api.Ack{By: last.By, At: last.At, Note: last.Note}
		}
	}
	return found, nil
}

func (f findings) Get(ctx context.Context, id string) (api.Found, []detect.Finding, error) {
	x, history, err := f.k.register.Get(ctx, id)
	if err != nil {
		if errors.Is(err, register.ErrUnknown) {
			err = api.ErrNotFound
		}
		return api.Found{}, nil, err
	}
	found, err := f.acked(ctx, []detect.Finding{x})
	if err != nil {
		return api.Found{}, nil, err
	}
	return found[0], history, nil
}

func (f findings) Ack(ctx context.Context, id string, a api.Ack) error {
	err := f.k.ack(ctx, id, a.By, a.Note, a.At)
	if errors.Is(err, register.ErrUnknown) {
		return api.ErrNotFound
	}
	return err
}

// rises answers what rises, from the watch that runs.
type rises struct{ s *station }

func (r rises) Rising(_ context.Context, _ observe.Range, limit int) ([]api.Rise, error) {
	w := r.s.current()
	if w == nil {
		return nil, nil
	}
	out := []api.Rise{}
	for _, x := range w.surge.Rising(limit * 4) {
		if x.Dim != observe.ByPort || len(out) == limit {
			continue
		}
		out = append(out, api.Rise{Key: x.Key, Packets: x.Packets, Sources: observe.Unique{N: x.Sources}, Expected: x.Expected, Score: x.Score, New: x.New})
	}
	return out, nil
}

// gauge is the state of one input as the console shows it. The input's own
// goroutine writes it, the console reads it.
type gauge struct {
	mu    sync.Mutex
	in    api.Input
	read  time.Time // wall clock of the last packet
	began time.Time
}

func (g *gauge) set(f func(in *api.Input)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.in)
}

func (g *gauge) packets(n int, at, now time.Time) {
	g.set(func(in *api.Input) {
		in.Packets += uint64(n) //nolint:gosec // a number of frames
		if n > 0 {
			in.LastPacket = &at
			g.read = now
		}
	})
}

// shown is the input as of now.
func (g *gauge) shown(now time.Time) api.Input {
	g.mu.Lock()
	defer g.mu.Unlock()
	in := g.in
	switch {
	case !g.read.IsZero():
		in.Age = now.Sub(g.read)
	case in.State == "running" && in.Kind == "live": // nothing came yet, for so long
		in.Age = now.Sub(g.began)
	}
	if in.State == "running" && in.Kind == "live" && in.Age > 10*time.Minute {
		in.State = "stale"
	}
	return in
}

// reference is the published series for the console.
func reference() []api.RefYear {
	var out []api.RefYear
	for _, y := range telescope.Reference {
		out = append(out, api.RefYear{Year: y.Year, Packets: y.Packets, DarkAddresses: y.Dark, Published: y.Published, Source: y.Source})
	}
	return out
}

// mapFeed gathers the seconds that the workers hand in, and draws from them.
type mapFeed struct {
	mu     sync.Mutex
	arcs   []api.Arc
	recent []gathered // of the last two seconds, the newest last
	where  places
}

// gathered is what came between two frames.
type gathered struct {
	at    time.Time
	total [api.MapStrata]uint64
	hosts map[packet.Addr]struct{}
}

const (
	mostArcs = 20_000          // that wait between two frames
	window   = 2 * time.Second // over which the map's figures are means
)

func newMapFeed(table *geo.Table) *mapFeed {
	m := &mapFeed{where: places{table}}
	m.recent = []gathered{{at: time.Now(), hosts: map[packet.Addr]struct{}{}}}
	return m
}

// see takes one second of data from one worker.
func (m *mapFeed) see(s telescope.Second) {
	type spot struct {
		lat, lon float32
		proto    uint8
	}
	n := map[spot]uint32{}
	for _, g := range s.Sample {
		p := m.where.table.Lookup(g.Source)
		if p.Lat == 0 && p.Lon == 0 {
			continue // nobody knows where: it is in the totals, not on the map
		}
		n[spot{p.Lat, p.Lon, g.Stratum}]++
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := &m.recent[len(m.recent)-1]
	for i, t := range s.Total {
		now.total[i] += uint64(t)
	}
	for _, g := range s.Sample {
		now.hosts[g.Source] = struct{}{}
	}
	for k, c := range n {
		if len(m.arcs) < mostArcs {
			m.arcs = append(m.arcs, api.Arc{Lat: k.lat, Lon: k.lon, Proto: k.proto, N: c})
		}
	}
}

// frame gives the arcs that wait, and the figures of the last two seconds.
func (m *mapFeed) frame(now time.Time) (arcs []api.Arc, t api.MapTotals) {
	m.mu.Lock()
	defer m.mu.Unlock()
	arcs, m.arcs = m.arcs, nil
	hosts := map[packet.Addr]struct{}{}
	for _, g := range m.recent {
		for i, n := range g.total {
			t.Packets[i] += n
		}
		for a := range g.hosts {
			hosts[a] = struct{}{}
		}
	}
	t.Hosts, t.Elapsed = uint64(len(hosts)), now.Sub(m.recent[0].at)
	for len(m.recent) > 1 && now.Sub(m.recent[1].at) >= window {
		m.recent = m.recent[1:]
	}
	m.recent = append(m.recent, gathered{at: now, hosts: map[packet.Addr]struct{}{}})
	return arcs, t
}

// forget drops what was gathered.
func (m *mapFeed) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arcs = nil
	m.recent = []gathered{{at: time.Now(), hosts: map[packet.Addr]struct{}{}}}
}
