package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/primary"
	"sakimori/respond/rpz/resolver"
)

// zonesPort are the policy zones, as the API asks for them.
type zonesPort struct {
	h   *office
	cfg *config
}

var _ api.Zones = zonesPort{}

// zoneError says in both languages what the zones say no to.
func zoneError(err error) error {
	switch {
	case errors.Is(err, rpz.ErrUnknown):
		return errors.Join(console.ErrNotFound, err)
	case errors.Is(err, rpz.ErrGround):
		return refusalOf(err, rpz.ErrGround, noGrant.JA)
	case errors.Is(err, rpz.ErrPaused):
		return refusalOf(err, rpz.ErrPaused, "ゾーンは一時停止中です。先に再開してください。")
	}
	return err
}

func (p zonesPort) Zones(ctx context.Context) (out api.ZonesNow, err error) {
	s := p.h.publisher.Status()
	for _, z := range rpz.Zones() {
		out.Zones = append(out.Zones, p.zone(z))
	}
	out.Ground = api.ZonesGround{Granted: s.Granted, Grant: s.Grant, Until: momentOrNull(s.Until), Missing: []detect.Text{}}
	for _, m := range s.Missing {
		out.Ground.Missing = append(out.Ground.Missing, detect.Text(m))
	}
	f := p.h.follower.Stats()
	out.OptOut = api.ZonesOptOut{Clients: uint64(f.Clients), Changed: momentOrNull(f.Changed), Unknown: uint64(f.Unknown)} //nolint:gosec // counts
	if !f.Changed.IsZero() {
		ms := int64(float64(f.Lag.Milliseconds()) / max(p.cfg.speed, 1)) // of the machine: a demo's clock goes faster
		out.OptOut.Lag = &ms
	}
	c, err := p.h.consents.Count(ctx, purposeBlock, p.h.clock.Now())
	out.Consent = api.ZonesConsent{Consenting: c.Consenting, Declined: c.Declined}
	return out, err
}

// zone is one of them.
func (p zonesPort) zone(z rpz.Zone) api.Zone {
	v := p.h.zones.Current(z)
	out := api.Zone{
		Zone: string(z), Serial: v.Serial, Rules: v.Rules, Published: momentOrNull(v.At), Who: v.Who, Why: v.Why, Digest: v.Digest, State: "published",
	}
	if v.Basis != nil {
		out.Basis = &api.ZoneBasis{Grant: v.Basis.Grant, Rule: v.Basis.Rule, Until: momentOrNull(v.Basis.Until)}
	}
	switch {
	case v.Kind == rpz.Paused:
		out.State = "paused"
	case v.Rules == 0:
		out.State = "empty"
	}
	out.Words = zoneWords(v, out.State)
	if w, waits := p.h.publisher.Status().Pending[z]; waits {
		out.Pending = &api.ZonePending{Added: w.Added, Removed: w.Removed, Due: momentOrNull(w.Due)}
	}
	if x, held := p.h.rolledBack(z); held {
		out.Held = &api.ZoneHeld{Since: x.Since, Serial: x.Serial, Who: x.Who, Why: x.Why, Added: x.Added, Removed: x.Removed, Counted: momentOrNull(x.Counted)}
		out.Words = heldWords(z, &x)
	}
	if p.h.canary != nil {
		out.CanaryOK = provenIn(p.h.canary.States(), z)
	}
	return out
}

func zoneWords(v *rpz.Version, state string) detect.Text {
	switch {
	case state == "paused":
		return detect.Text{JA: "一時停止中:何も遮断しません", EN: "paused: it blocks nothing"}
	case v.Kind == rpz.Emptied:
		return detect.Text{JA: "根拠となる許可がないため空です", EN: "empty, since no grant allows it"}
	case state == "empty":
		return detect.Text{JA: "空です", EN: "empty"}
	}
	return detect.Text{JA: "公開中", EN: "published"}
}

// provenIn tells whether every resolver that was asked answered by the zone as it must;
// nil: none was.
func provenIn(states []canary.State, z rpz.Zone) *bool {
	asked, ok := false, true
	for i := range states {
		for _, x := range states[i].Probes {
			if x.Zone == z {
				asked, ok = true, ok && x.OK()
			}
		}
	}
	if !asked {
		return nil
	}
	return &ok
}

func (p zonesPort) Resolvers(context.Context) (api.Matrix, error) {
	var states []canary.State
	if p.h.canary != nil {
		states = p.h.canary.States()
	}
	var peers []primary.PeerState
	if p.h.primary != nil {
		peers = p.h.primary.Peers()
	}
	m := api.Matrix{Resolvers: []api.Resolver{}}
	proven := map[string]*canary.State{}
	for i := range states {
		s := &states[i]
		proven[s.Resolver] = s
		if !s.Last.IsZero() && (m.Checked == nil || s.Last.After(*m.Checked)) {
			m.Checked = momentOrNull(s.Last)
		}
	}
	if m.Checked != nil {
		every := cmp.Or(p.cfg.Resolvers.Canary.Every, time.Minute)
		m.Next = momentOrNull(m.Checked.Add(time.Duration(float64(every) * max(p.cfg.speed, 1))))
	}
	for i := range peers {
		m.Resolvers = append(m.Resolvers, p.resolver(&peers[i], proven[peers[i].Name]))
		delete(proven, peers[i].Name)
	}
	for _, name := range slices.Sorted(maps.Keys(proven)) { // that fetch nothing from us: by file, or from another secondary
		m.Resolvers = append(m.Resolvers, p.resolver(&primary.PeerState{Name: name}, proven[name]))
	}
	return m, nil
}

var vendors = []string{"bind", "unbound", "pdns", "knot", "sakimori"}

// resolver is one row of the matrix.
func (p zonesPort) resolver(peer *primary.PeerState, s *canary.State) api.Resolver {
	r := api.Resolver{
		Name: peer.Name, Vendor: peer.Vendor, Pool: peer.Pool, Zones: []api.ResolverZone{}, Probes: []api.Probe{}, Errors: []api.Trouble{}, Full: peer.Full, Incremental: peer.Incremental,
	}
	if !slices.Contains(vendors, r.Vendor) {
		r.Vendor = "other"
	}
	if peer.Address.IsValid() {
		r.Address = peer.Address.String()
	}
	for _, e := range slices.Backward(peer.Errors) {
		r.Errors = append(r.Errors, api.Trouble{At: e.At, JA: e.JA, EN: e.EN})
	}
	behind := p.fetched(&r, peer, s)
	r.State, r.Words = "unknown", detect.Text{JA: "まだ分かりません", EN: "not known yet"}
	if s == nil || s.Last.IsZero() {
		if len(peer.Zones) > 0 && slices.ContainsFunc(r.Zones, func(z api.ResolverZone) bool { return z.Serial != nil }) {
			r.Words = detect.Text{JA: "ゾーンは取得済み。カナリアでの確認はまだです", EN: "it has fetched zones, and wasn't asked for canaries yet"}
		}
		return r
	}
	r.Address = s.Addr
	for i := range s.Probes {
		x := &s.Probes[i]
		client := "in"
		if x.Client == canary.Declined {
			client = "out"
		}
		r.Probes = append(r.Probes, api.Probe{
			Client: client, Zone: string(x.Zone), Expected: string(x.Want), Got: string(x.Got), OK: x.OK(), Serial: x.Serial, At: s.Last, MS: float64(x.Micros) / 1000,
		})
	}
	switch {
	case len(s.Probes) > 0 && !slices.ContainsFunc(s.Probes, func(x canary.Probe) bool { return x.Got != canary.Silence }):
		r.State, r.Words = "silent", detect.Text{JA: "応答がありません", EN: "it doesn't answer"}
	case slices.ContainsFunc(s.Deviations, func(d canary.Deviation) bool { return d.Kind != canary.Behind }):
		r.State, r.Words = "deviates", detect.Text(s.Deviations[0].Kind.Text())
	case behind || len(s.Deviations) > 0:
		r.State, r.Words = "behind", detect.Text{JA: "古い版で応答しています", EN: "it answers by an old serial"}
	default:
		r.State, r.Words = "ok", detect.Text{JA: "すべて期待どおり", EN: "all is as it must be"}
	}
	return r
}

// fetched fills in what a resolver has of each zone: what it answers by, or else what it
// fetched. True: of one it is behind for longer than it may be.
func (p zonesPort) fetched(r *api.Resolver, peer *primary.PeerState, s *canary.State) (behind bool) {
	for _, z := range rpz.Zones() {
		now := p.h.zones.Current(z)
		x := api.ResolverZone{Zone: string(z)}
		for i := range peer.Zones {
			f := &peer.Zones[i]
			if f.Zone != z {
				continue
			}
			if f.Serial != 0 {
				x.Serial, x.At, x.Stale = &f.Serial, momentOrNull(f.At), f.How == primary.Kept
			}
			if f.Last != nil {
				x.Transfer, x.Bytes, x.MS = f.Last.Kind, uint64(f.Last.Bytes), float64(f.Last.Took.Microseconds())/1000 //nolint:gosec // counted
			}
		}
		if s != nil {
			if serial, told := s.Serials[z]; told {
				x.Serial, x.At, x.Stale = &serial, momentOrNull(s.Last), false
			}
		}
		if x.Serial != nil {
			n, lag := uint32(0), 0.0
			if rpz.After(now.Serial, *x.Serial) {
				n, lag = now.Serial-*x.Serial, p.h.clock.Now().Sub(now.At).Seconds()
			}
			x.LagSerials, x.Lag = &n, &lag
			behind = behind || !x.Stale && lag > cmp.Or(p.cfg.Resolvers.Canary.Late, time.Minute).Seconds()
		}
		r.Zones = append(r.Zones, x)
	}
	return behind
}

func (p zonesPort) Proofs(ctx context.Context, q api.ProofQuery) (list []api.Proof, next string, err error) {
	if p.h.proofs == nil {
		return nil, "", nil
	}
	to := q.To
	if q.After != "" { // rounds before a time
		if to, err = time.Parse(time.RFC3339Nano, q.After); err != nil {
			return nil, "", err
		}
	}
	const rounds = 200
	for len(list) < q.Limit {
		part, err := p.h.proofs.Rounds(ctx, q.Resolver, q.From, to, rounds)
		if err != nil {
			return nil, "", err
		}
		for i := range part {
			r := &part[i]
			if len(list) >= q.Limit && r.At.Before(to) { // a moment isn't cut
				return list, to.Format(time.RFC3339Nano), nil
			}
			to = r.At
			for j := range r.Probes {
				x := &r.Probes[j]
				if q.OK != nil && *q.OK != x.OK() {
					continue
				}
				client := "in"
				if x.Client == canary.Declined {
					client = "out"
				}
				list = append(list, api.Proof{
					At: r.At, Resolver: r.Resolver, Zone: string(x.Zone), Client: client, Name: x.Name, Expected: string(x.Want), Got: string(x.Got), Serial: x.Serial, OK: x.OK(),
				})
			}
		}
		if len(part) < rounds {
			return list, "", nil
		}
	}
	return list, to.Format(time.RFC3339Nano), nil
}

func (p zonesPort) Serials(_ context.Context, zone string, limit int, before uint32) (list []api.ZoneSerial, more bool, err error) {
	z, err := parseZone(zone)
	if err != nil {
		return nil, false, errors.Join(console.ErrNotFound, err)
	}
	all, err := p.h.zones.Serials(z)
	if err != nil {
		return nil, false, zoneError(err)
	}
	slices.Reverse(all)
	for i := range all {
		x := &all[i]
		if before != 0 && !rpz.After(before, x.Serial) {
			continue
		}
		if len(list) == limit {
			return list, true, nil
		}
		s := api.ZoneSerial{Serial: x.Serial, At: x.At, Who: x.Who, Why: x.Why, Added: x.Added, Removed: x.Removed, Rules: x.Rules, Digest: x.Digest}
		if x.Basis != nil {
			s.Grant, s.Rule = x.Basis.Grant, x.Basis.Rule
		}
		list = append(list, s)
	}
	return list, false, nil
}

func (p zonesPort) Diff(_ context.Context, zone string, from, to uint32, most int) (added, removed []api.ZoneRule, truncated bool, err error) {
	z, err := parseZone(zone)
	if err != nil {
		return nil, nil, false, errors.Join(console.ErrNotFound, err)
	}
	d, err := p.h.zones.Diff(z, from, to)
	if err != nil {
		return nil, nil, false, zoneError(err)
	}
	part := func(all iter.Seq[rpz.Rule]) (list []api.ZoneRule) {
		for r := range all {
			if len(list) == most {
				truncated = true
				return list
			}
			list = append(list, api.ZoneRule{Name: r.Name, Client: r.Client, Action: r.Action.String(), Ref: r.Ref})
		}
		return list
	}
	return part(d.Added.All()), part(d.Removed.All()), truncated, nil
}

// act does something with a zone, and shows it then.
func (p zonesPort) act(zone string, do func(z rpz.Zone) error) (api.Zone, error) {
	z, err := parseZone(zone)
	if err != nil {
		return api.Zone{}, errors.Join(console.ErrNotFound, err)
	}
	if err := do(z); err != nil {
		return api.Zone{}, zoneError(err)
	}
	return p.zone(z), nil
}

func (p zonesPort) Publish(ctx context.Context, zone, who, why string) (api.Zone, error) {
	return p.act(zone, func(z rpz.Zone) error { return p.h.publisher.Publish(ctx, z, who, why) })
}

func (p zonesPort) Rollback(ctx context.Context, zone string, serial uint32, who, why string) (api.Zone, error) {
	return p.act(zone, func(z rpz.Zone) error {
		g, err := p.h.groundFor(ctx, lawful.Block, purposeBlock)
		if err == nil {
			_, err = p.h.zones.Rollback(ctx, z, ground(g), serial, rpz.By{Who: who, Why: why})
		}
		return err
	})
}

func (p zonesPort) Pause(ctx context.Context, zone, who, why string) (api.Zone, error) {
	return p.act(zone, func(z rpz.Zone) error {
		if z == rpz.OptOut { // who declined would be blocked
			return fmt.Errorf("%w: %s only lets through, and isn't paused", rpz.ErrUnknown, z)
		}
		_, err := p.h.zones.Pause(ctx, z, rpz.By{Who: who, Why: why})
		return err
	})
}

func (p zonesPort) Resume(ctx context.Context, zone, who, why string) (api.Zone, error) {
	return p.act(zone, func(z rpz.Zone) error {
		g, err := p.h.groundFor(ctx, lawful.Block, purposeBlock)
		if err == nil {
			_, err = p.h.zones.Resume(ctx, z, ground(g), rpz.Change{}, rpz.By{Who: who, Why: why})
		}
		if err == nil && p.h.canary != nil {
			p.h.canary.Resumed(z)
		}
		return err
	})
}

func (p zonesPort) Config(_ context.Context, vendor string) (files []api.ConfigFile, notes []detect.Text, err error) {
	if !slices.Contains(resolver.Vendors(), resolver.Vendor(vendor)) {
		return nil, nil, console.ErrNotFound
	}
	site, err := p.cfg.Resolvers.site()
	if err != nil {
		return nil, nil, err
	}
	texts, said, err := resolver.Config(resolver.Vendor(vendor), site)
	if err != nil {
		return nil, nil, refusalOf(err, resolver.ErrSite, "resolvers.site の設定が足りません")
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		files = append(files, api.ConfigFile{Name: name, Text: texts[name]})
	}
	for _, n := range said {
		notes = append(notes, detect.Text(n))
	}
	return files, notes, nil
}

func (p zonesPort) Canary(ctx context.Context, _ string) (api.Matrix, error) {
	if p.h.canary == nil {
		return api.Matrix{}, console.ErrNotFound
	}
	p.h.canary.Round(ctx)
	return p.Resolvers(ctx)
}

// hasSerial tells which resolvers have a serial of a zone, or a later one.
func (h *office) hasSerial(z rpz.Zone, serial uint32) []api.CNCHas {
	list := []api.CNCHas{}
	if h.canary == nil {
		return list
	}
	for _, s := range h.canary.States() {
		x := api.CNCHas{Name: s.Resolver}
		if has, told := s.Serials[z]; told {
			is := serial != 0 && !rpz.After(serial, has)
			x.Serial, x.Has = has, &is
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b api.CNCHas) int { return strings.Compare(a.Name, b.Name) })
	return list
}
