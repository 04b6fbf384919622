package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/leak"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/record"
	"sakimori/observe/route/rpki"
	remedy "sakimori/respond/leak"
)

// routePort is what is seen of routes, as the API asks for it.
type routePort struct {
	cfg      *config
	names    asNames
	kept     *record.Record
	register *register.Register
	live     func() *routing // nil when no routes are taken
	drills   *drills
}

var _ api.Routes = (*routePort)(nil)

// shownMost is how many routes of a kind an answer has.
const shownMost = 200

func (p *routePort) table() *routing {
	if p.live == nil {
		return nil
	}
	return p.live()
}

func (p *routePort) Newest() (*time.Time, int) {
	l := p.table()
	if l == nil {
		return nil, 0
	}
	n := len(l.live.Health(l.now()))
	if at := l.newest.Load(); at > 0 {
		t := time.Unix(0, at).UTC()
		return &t, n
	}
	return nil, n
}

// openOf are the ids of incidents that last, by own prefix.
func (p *routePort) openOf() (list []detect.Incident) {
	if l := p.table(); l != nil {
		list = slices.DeleteFunc(l.run.all(), func(i detect.Incident) bool { return i.State == detect.Closed })
	}
	return list
}

func (p *routePort) Watched(context.Context) ([]api.WatchedPrefix, error) {
	own := p.cfg.Route.Leak.Own
	l := p.table()
	if l != nil {
		own = l.run.set.leak.Own
	}
	out := make([]api.WatchedPrefix, 0, len(own))
	open := p.openOf()
	look := func(t *route.Table) {
		for i := range own {
			out = append(out, p.watch(l, t, &own[i], open))
		}
	}
	if l == nil {
		look(nil)
	} else {
		l.live.Do(look)
	}
	return out, nil
}

var watchWords = map[string]detect.Text{
	"ok":        {JA: "本来の起源で見えています", EN: "seen with its usual origin"},
	"changed":   {JA: "本来と異なる起源が見えています", EN: "seen with another origin"},
	"invisible": {JA: "見えていません", EN: "nobody sees it"},
	"unknown":   {JA: "経路表がないため不明です", EN: "not known: there is no table of routes"},
}

func (p *routePort) watch(l *routing, t *route.Table, o *leak.Own, open []detect.Incident) api.WatchedPrefix {
	w := api.WatchedPrefix{Prefix: o.Prefix.String(), Name: o.Name, Origins: o.Origins, State: "unknown", ROV: observe.ROVUnknown.String(), ASPA: observe.ASPANone.String()}
	for i := range open {
		if slices.ContainsFunc(open[i].Own, func(x detect.OwnSpace) bool { return x.Prefix == o.Prefix }) {
			w.Incident = &open[i].ID
			w.LastChange = &open[i].Changed
		}
	}
	if t != nil {
		if _, w.Whole = t.Seen(0); w.Whole > 0 || t.Counts().Routes > 0 {
			p.seen(l, t, o, &w)
		}
	}
	w.Words = watchWords[w.State]
	return w
}

// seen fills in how the table has an own prefix.
func (p *routePort) seen(l *routing, t *route.Table, o *leak.Own, w *api.WatchedPrefix) {
	w.State = "invisible"
	t.Inside(o.Prefix, func(n uint32) bool {
		x := t.Prefix(n)
		if x == o.Prefix {
			return true
		}
		if seen, _ := t.Seen(n); seen > 0 {
			w.MoreSpecifics++
			w.Longest = max(w.Longest, x.Bits())
		}
		return true
	})
	n := t.Number(o.Prefix)
	if n == 0 {
		return
	}
	w.Seen, w.Whole = t.Seen(n)
	ups := map[uint32]int{}
	peers := 0
	t.Of(n, func(_, path uint32) bool {
		x := t.Path(path)
		peers++
		if w.State != "changed" {
			w.State = "ok"
		}
		if len(o.Origins) > 0 && x.Origin != 0 && !slices.Contains(o.Origins, x.Origin) {
			w.State = "changed"
		}
		if up := upstream(x.ASes); up != 0 {
			ups[up]++
		}
		if r := l.run.set.rpki; r != nil {
			w.ROV = r.Origin(o.Prefix, x.Origin).String()
			if a := r.Path(x.ASes, x.Set, observe.ASUnknown); a == observe.ASPAInvalid || w.ASPA == observe.ASPANone.String() {
				w.ASPA = a.String()
			}
		}
		return true
	})
	for as, k := range ups {
		w.Upstreams = append(w.Upstreams, api.RouteUpstream{AS: as, Name: asNameOf(p.names, as), Share: float64(k) / float64(max(peers, 1))})
	}
	slices.SortFunc(w.Upstreams, func(a, b api.RouteUpstream) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.AS, b.AS))
	})
}

// upstream is the AS before the origin, prepending left out; 0 none.
func upstream(path []uint32) uint32 {
	for i := len(path) - 2; i >= 0; i-- {
		if path[i] != path[len(path)-1] {
			return path[i]
		}
	}
	return 0
}

func (p *routePort) Neighbors(context.Context) ([]api.RouteNeighbor, error) {
	l := p.table()
	if l == nil {
		return nil, nil
	}
	now := l.now()
	set := l.run.set
	var home uint32
	if len(set.leak.AS) > 0 {
		home = set.leak.AS[0]
	}
	open := p.openOf()
	var out []api.RouteNeighbor
	l.live.Do(func(t *route.Table) {
		most := map[uint32]*[2]leak.Maximum{}
		for _, m := range l.run.leaks.Maxima() {
			x := most[m.AS]
			if x == nil {
				x = &[2]leak.Maximum{}
				most[m.AS] = x
			}
			x[family(m.V6)] = m
		}
		held, passes := l.perPeer(t, now)
		t.Peers(func(x *observe.RoutePeer) {
			n := api.RouteNeighbor{
				AS: x.AS, Name: asNameOf(p.names, x.AS), Address: x.Address.String(), Feed: x.Feed, View: x.View.String(), Up: x.Up, Since: momentOrNull(x.Since), Last: momentOrNull(x.Last),
				Resets: x.Resets, Relation: observe.ASUnknown.String(), Prefixes: held[x.Number],
			}
			n.Relation, n.RelationSource, n.Score = l.relationOf(home, x.AS)
			if c := held[x.Number]; c.V4+c.V6 > 0 {
				others := passes[x.Number]
				n.Transit = &others
			}
			if m := most[x.AS]; m != nil && m[0].Most+m[1].Most > 0 {
				n.Maximum = &api.RouteCount{V4: m[0].Most, V6: m[1].Most}
				n.MaxPrefix = prefixLimits(x.AS, m)
			}
			if age := now.Sub(x.Since).Seconds(); !x.Since.IsZero() && age > 1 {
				n.UpdatesS = float64(x.Changes) / age
			}
			for i := range open {
				if open[i].To == x.AS || open[i].Leaker == x.AS {
					n.Incident = &open[i].ID
				}
			}
			n.OTC.Words = detect.Text{JA: "この入力では役割(RFC 9234)が交わされたか分かりません", EN: "this feed doesn't tell whether roles (RFC 9234) were agreed"}
			out = append(out, n)
		})
	})
	return out, nil
}

func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// countedFor is how long the numbers of prefixes by peer and family are good: counting them
// looks at the whole table.
const countedFor = 30 * time.Second

// perPeer is how many prefixes each peer announces, and which pass on those of others; the
// table is held.
func (l *routing) perPeer(t *route.Table, now time.Time) (map[uint32]api.RouteCount, map[uint32]bool) {
	if l.held != nil && now.Sub(l.counted) < countedFor && !now.Before(l.counted) {
		return l.held, l.passes
	}
	held, passes := map[uint32]api.RouteCount{}, map[uint32]bool{}
	t.All(func(n uint32) bool {
		four := t.Prefix(n).Addr().Is4()
		t.Of(n, func(peer, path uint32) bool {
			if !passes[peer] {
				origin := t.Path(path).Origin
				passes[peer] = origin != 0 && origin != t.Peer(peer).AS
			}
			c := held[peer]
			if four {
				c.V4++
			} else {
				c.V6++
			}
			held[peer] = c
			return true
		})
		return true
	})
	l.held, l.passes, l.counted = held, passes, now
	return held, passes
}

// limits are what max-prefix should be.
func prefixLimits(as uint32, m *[2]leak.Maximum) (out api.RouteCount) {
	for i := range m {
		if m[i].Most == 0 {
			continue
		}
		most := m[i].Most
		for _, x := range remedy.MaxPrefixes(&remedy.House{}, []remedy.Count{{Neighbor: as, Family: [...]string{"ipv4", "ipv6"}[i], Now: m[i].Now, Maximum: &most}}) {
			if i == 0 {
				out.V4 = x.Limit
			} else {
				out.V6 = x.Limit
			}
		}
	}
	return out
}

// relationOf is what an AS is to us, from where it is known, and how sure that is.
func (l *routing) relationOf(home, as uint32) (relation, source string, score float64) {
	for _, n := range l.run.set.leak.Neighbors {
		if n.AS == as {
			switch n.Relation {
			case "provider", "customer", "peer", "sibling":
				return n.Relation, "config", 1
			}
			return "peer", "config", 1
		}
	}
	if home == 0 {
		return "unknown", "", 0
	}
	if f := l.run.set.relations; f != nil {
		if r, score := f.Relation(as, home); r != observe.ASUnknown {
			return r.String(), "file", score
		}
	}
	if r, score := l.relations.Relation(as, home); r != observe.ASUnknown {
		return r.String(), "learnt", score
	}
	return "unknown", "", 0
}

func (p *routePort) Feeds(context.Context) (out api.RouteFeeds, err error) {
	l := p.table()
	if l == nil {
		return out, nil
	}
	now := l.now()
	for _, h := range l.live.Health(now) {
		f := api.RouteFeed{
			Name: h.Name, Kind: string(h.Kind), Address: h.Address, State: string(h.State), Words: detect.Text(h.Words), Since: h.Since, Last: h.Last, Peers: h.Peers, Whole: h.Whole, Routes: h.Routes,
			Messages: h.Messages, Elements: h.Elements, Dropped: h.Dropped, Resets: h.Resets,
		}
		f.DelayMS, f.SkewMS = milliseconds(h.Delay), milliseconds(h.Skew)
		for _, a := range h.Advice {
			f.Advice = append(f.Advice, detect.Text(a))
		}
		for _, m := range h.Malformed {
			f.Malformed = append(f.Malformed, api.MalformedCount{Reason: m.Reason, Count: m.Count})
		}
		for _, x := range h.List {
			f.PeersList = append(f.PeersList, api.RouteFeedPeer{AS: x.AS, Address: x.Address, View: x.View, Up: x.Up, Routes: x.Routes, Elements: x.Elements, Weight: x.Weight, Damped: x.Damped})
		}
		out.Feeds = append(out.Feeds, f)
	}
	if l.rpki != nil {
		for _, x := range l.rpki.Status() {
			s := api.RouteRPKISource{Name: x.Name, Kind: x.Kind, State: string(x.State), Words: detect.Text(x.Words), Serial: x.Serial, VRPs: x.ROAs, ASPAs: x.ASPAs, Refreshed: x.Refreshed, Expires: x.Expires}
			if x.Version != nil {
				v := int(*x.Version)
				s.Version = &v
			}
			if x.Error != nil {
				e := detect.Text(*x.Error)
				s.Error = &e
			}
			out.RPKI.Sources = append(out.RPKI.Sources, s)
		}
		out.RPKI.VRPs, out.RPKI.ASPAs = l.rpki.Table().Len()
	}
	if t, fixed := l.run.set.rpki.(*rpki.Table); fixed { // of a demo: made with its scene
		out.RPKI.VRPs, out.RPKI.ASPAs = t.Len()
		out.RPKI.Sources = []api.RouteRPKISource{{
			Name: sampleFeed, Kind: "json", State: "ok", VRPs: out.RPKI.VRPs, ASPAs: out.RPKI.ASPAs, Words: detect.Text{JA: "見本のデータ(更新されません)", EN: "sample data, never renewed"},
		}}
	}
	if f := l.run.set.relations; f != nil {
		out.Relations.Links = f.Links()
		if p.cfg.Route.Relations != "" {
			out.Relations.File = &p.cfg.Route.Relations
		}
		if l.cfg.sample != nil {
			name := sampleFeed
			out.Relations.File = &name
		}
		out.Relations.Dated = momentOrNull(f.Date())
	}
	out.Relations.Learnt = int(l.learnt.Load())
	c := l.counts()
	out.Table = api.RouteMemory{Prefixes: c.Prefixes, Routes: c.Routes, Paths: c.Paths, Bytes: uint64(c.Bytes), BytesRoute: float64(c.Bytes) / float64(max(c.Routes, 1))} //nolint:gosec // never negative
	return out, nil
}

func milliseconds(n *int64) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

func (p *routePort) Show(ctx context.Context, prefix string, at time.Time) (out api.RouteShown, err error) {
	x, err := netip.ParsePrefix(prefix)
	if err != nil {
		return out, err
	}
	out = api.RouteShown{Prefix: prefix, At: at, Names: map[string]string{}}
	l := p.table()
	now := time.Now().UTC()
	if l != nil {
		now = l.now().UTC()
	}
	if at.IsZero() {
		out.At = now
	}
	if at.IsZero() && l != nil {
		out.Now = true
		l.live.Do(func(t *route.Table) { p.standing(l, t, x, &out) })
	}
	if p.kept != nil {
		if err := p.past(ctx, x, now, &out); err != nil {
			return out, err
		}
	}
	for i := range out.Routes {
		r := &out.Routes[i]
		nameAll(p.names, out.Names, r.Path)
	}
	list, _, err := p.register.Incidents(ctx, register.IncidentQuery{Within: x, Limit: 20})
	for i := range list {
		out.Incidents = append(out.Incidents, list[i].ID)
	}
	return out, err
}

// standing are the routes of the table in hand.
func (p *routePort) standing(l *routing, t *route.Table, x netip.Prefix, out *api.RouteShown) {
	add := func(n uint32, match string) {
		prefix := t.Prefix(n)
		t.Of(n, func(peer, path uint32) bool {
			if len(out.Routes) >= shownMost {
				return false
			}
			out.Routes = append(out.Routes, p.seenRoute(l, t.Peer(peer), t.Path(path), prefix, match, time.Time{}))
			return true
		})
	}
	if n := t.Number(x); n != 0 {
		add(n, "exact")
	}
	if n := t.Around(x); n != 0 && t.Prefix(n) != x {
		add(n, "cover")
	}
	t.Inside(x, func(n uint32) bool {
		if t.Prefix(n) != x {
			add(n, "inside")
		}
		return len(out.Routes) < shownMost
	})
}

// seenRoute is a route for the API.
func (p *routePort) seenRoute(l *routing, peer *observe.RoutePeer, path *observe.RoutePath, prefix netip.Prefix, match string, since time.Time) api.RouteSeen {
	r := api.RouteSeen{
		Prefix: prefix.String(), Match: match, PeerAS: peer.AS, Peer: peer.Address.String(), Feed: peer.Feed, View: peer.View.String(), Path: slices.Clone(path.ASes), Origin: path.Origin,
		ROV: observe.ROVUnknown.String(), ASPA: observe.ASPANone.String(), Since: momentOrNull(since),
	}
	if path.HasOTC {
		otc := path.OTC
		r.OTC = &otc
	}
	for _, c := range path.Communities {
		r.Communities = append(r.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	for _, c := range path.Large {
		r.Communities = append(r.Communities, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
	}
	own := p.cfg.Route.Leak.Own
	if l != nil {
		own = l.run.set.leak.Own
		if k := l.run.set.rpki; k != nil {
			r.ROV, r.ASPA = k.Origin(prefix, path.Origin).String(), k.Path(path.ASes, path.Set, observe.ASUnknown).String()
		}
	}
	for i := range own {
		if o := &own[i]; o.Prefix.Bits() <= prefix.Bits() && o.Prefix.Contains(prefix.Addr()) && len(o.Origins) > 0 && path.Origin != 0 {
			usual := slices.Contains(o.Origins, path.Origin)
			r.Usual = &usual
		}
	}
	return r
}

// past adds what is kept: the routes of the time, and what changed in the day before.
func (p *routePort) past(ctx context.Context, x netip.Prefix, now time.Time, out *api.RouteShown) error {
	q := observe.RouteQuery{Prefix: x, At: out.At, Range: observe.Range{From: out.At.Add(-24 * time.Hour), To: out.At.Add(time.Nanosecond)}, Limit: shownMost}
	s, err := p.kept.Show(ctx, q)
	if err != nil {
		return err
	}
	if !s.Kept.From.IsZero() {
		out.Kept = &api.RouteSpan{From: s.Kept.From, To: s.Kept.To}
	}
	if !out.Now {
		if out.At.Equal(now) && out.Kept != nil && out.Kept.To.Before(now) { // nobody looks now: as it was last kept
			out.At = out.Kept.To
			q.At, q.Range = out.At, observe.Range{From: out.At.Add(-24 * time.Hour), To: out.At.Add(time.Nanosecond)}
			if s, err = p.kept.Show(ctx, q); err != nil {
				return err
			}
		}
		for i := range s.Routes {
			r := &s.Routes[i]
			out.Routes = append(out.Routes, p.seenRoute(nil, &r.Peer, &r.Path, r.Prefix, string(r.Match), r.Since))
		}
	}
	list, _, err := p.kept.History(ctx, q, false)
	if err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		e := api.RouteEvent{At: c.At, Prefix: c.Prefix.String(), PeerAS: c.Peer.AS, Peer: c.Peer.Address.String(), Feed: c.Peer.Feed, Kind: "changed"}
		if c.Path != nil {
			e.Path = c.Path.ASes
		} else {
			e.Kind = "withdrawn"
		}
		if c.Was != nil {
			e.Was = c.Was.ASes
		} else {
			e.Kind = "announced"
		}
		out.History = append(out.History, e)
	}
	return nil
}

// drills are replays under way and those that ended last.
type drills struct {
	mu   sync.Mutex
	list map[string]*api.RouteDrill
	ids  []string
}

// drillsMost is how many are kept, and at once one runs.
const drillsMost = 20

func (p *routePort) Drill(ctx context.Context, scene, text, _ string) (api.RouteDrill, error) {
	if text == "" && p.cfg.Route.Policy != "" {
		b, err := readPolicyText(p.cfg.Route.Policy)
		if err != nil {
			return api.RouteDrill{}, &console.Refusal{Text: detect.Text{JA: "設定されたポリシーが読めません: " + err.Error(), EN: "the configured policy can't be read: " + err.Error()}}
		}
		text = string(b)
	}
	d := p.drills
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.list {
		if x.State == "running" {
			return api.RouteDrill{}, &console.Refusal{Text: detect.Text{JA: "訓練が実行中です。終わるのを待ってください。", EN: "a drill is running: wait until it ends."}}
		}
	}
	x := &api.RouteDrill{ID: rand.Text(), State: "running"}
	if d.list == nil {
		d.list = map[string]*api.RouteDrill{}
	}
	d.list[x.ID] = x
	if d.ids = append(d.ids, x.ID); len(d.ids) > drillsMost {
		delete(d.list, d.ids[0])
		d.ids = d.ids[1:]
	}
	go d.run(context.WithoutCancel(ctx), x.ID, scene, text)
	return *x, nil
}

// run plays one, and notes what came of it.
func (d *drills) run(ctx context.Context, id, scene, text string) {
	const longest = 10 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	note := func(f func(x *api.RouteDrill)) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if x := d.list[id]; x != nil {
			f(x)
		}
	}
	played, err := drillScene(ctx, scene, text, func(done float64) { note(func(x *api.RouteDrill) { x.Done = done }) })
	note(func(x *api.RouteDrill) {
		if err != nil {
			x.State = "failed"
			x.Error = &detect.Text{JA: "訓練ができませんでした: " + err.Error(), EN: "the drill failed: " + err.Error()}
			return
		}
		*x = played.answer()
		x.ID = id
	})
}

func (p *routePort) Drilled(_ context.Context, id string) (api.RouteDrill, error) {
	d := p.drills
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.list[id]; x != nil {
		return *x, nil
	}
	return api.RouteDrill{}, errors.Join(console.ErrNotFound, errors.New("no drill "+strconv.Quote(id)))
}
