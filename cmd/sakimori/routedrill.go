package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/wire/bgp"
	"sakimori/console/api"
	"sakimori/detect/leak"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/relation"
	"sakimori/observe/route/rpki"
	remedy "sakimori/respond/leak"
	"sakimori/respond/leak/policy"
	"sakimori/sim"
)

// The scenes that a drill may play: the leak of 25 August 2017, synthetic, at full size
// and at a hundredth of it.
const (
	drillFull  = "leak-2017-full"
	drillSmall = "leak-2017"
)

func newRouteDrill() *cobra.Command {
	var s routeSources
	var format, progressForm, policyFile, scene string
	c := &cobra.Command{
		Use: "drill [FILE…]", Short: "Replay an incident against one's own import policy / 障害を自社の受信ポリシーに対して再現",
		Long: `Replays an incident against an import policy and says what would have been let in, by which
neighbour, when a limit would have closed a session, and when the incident would have been
named, in its own time. FILE are routes as import route reads them: a table, then updates;
each peer in them stands for a neighbour. Without FILE it is the leak of 25 August 2017,
synthetic at full size: 160,000 more-specifics in 8 minutes, 25,000 of them of one own AS.
Without --policy every neighbour is believed, which shows what a policy is for. Nothing is
announced to anybody.

障害を受信ポリシーに対して再現し、どの隣接から何が受け入れられたか、最大プレフィックス数で
いつセッションが閉じたか、障害がいつ特定されたかを示します。FILE がなければ 2017 年 8 月 25 日の
漏えい(合成・実規模: 8 分間に細分経路 16 万、うち自社 2 万 5 千)です。広告は一切行いません。`,
		Example: "  sakimori route drill --policy policy.yaml\n  sakimori route drill --scene leak-2017 -o json\n  sakimori route drill --policy policy.yaml --own 203.0.113.0/24=64500 rib.mrt.gz updates.mrt.gz",
		RunE: func(c *cobra.Command, files []string) error {
			if format == "csv" {
				return usage("-o csv: a drill isn't a table; use table or json")
			}
			cfg, err := readConfig(s.config, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if policyFile == "" {
				policyFile = cfg.Route.Policy
			}
			var text []byte
			if policyFile != "" {
				if text, err = os.ReadFile(policyFile); err != nil {
					return &exitError{exitUsage, fmt.Errorf("policy: %w", err)}
				}
			}
			bar := newProgress(c.ErrOrStderr(), progressForm)
			defer bar.end()
			var d *drill
			if len(files) > 0 {
				set, err := s.settings(&cfg)
				if err != nil {
					return &exitError{exitUsage, err}
				}
				d, err = drillFiles(c, set, text, files)
				if err != nil {
					return err
				}
			} else if d, err = drillScene(c.Context(), scene, string(text), func(done float64) {
				bar.show(progress{File: scene, Step: "drill", Done: int64(1000 * done), Total: 1000})
			}); err != nil {
				return err
			}
			bar.end()
			return d.print(c.OutOrStdout(), format)
		},
	}
	outputFlag(c, &format)
	s.flags(c)
	f := c.Flags()
	f.StringVar(&policyFile, "policy", "", "file of the import policy (YAML, see docs/route.md); none: route.policy of the configuration")
	f.StringVar(&scene, "scene", drillFull, drillFull+" or "+drillSmall+" (a hundredth of it)")
	f.StringVar(&progressForm, "progress", "auto", "auto, plain, json or none")
	fixed(c, "scene", drillFull, drillSmall)
	return c
}

// drill is one replay.
type drill struct {
	run    *routeRun
	policy *policy.Drill
	first  int64 // of the first update that is news
	named  *leak.Result
	open   bool // there was no policy
}

// newDrill makes the table, the detector and the policy; "" believes everybody in peers.
func newDrill(set *routeSettings, text string, peers []uint32) (d *drill, err error) {
	d = &drill{open: strings.TrimSpace(text) == ""}
	if d.open {
		text = believing(peers, set.leak.Own)
	}
	p, err := policy.Read([]byte(text))
	if err != nil {
		return nil, err
	}
	d.policy = policy.NewDrill(p)
	d.run, err = newRouteRun(set, d)
	return d, err
}

// believing is a policy without a single filter.
func believing(peers []uint32, own []leak.Own) string {
	var b strings.Builder
	b.WriteString("as: 1\nown:\n")
	for i := range own {
		fmt.Fprintf(&b, "  - %q\n", own[i].Prefix)
	}
	b.WriteString("neighbors:\n")
	for _, as := range peers {
		fmt.Fprintf(&b, "  - {as: %d, relation: provider, first_as: false, accept_own: true}\n", as)
	}
	return b.String()
}

// Routed offers what changes to the policy.
func (d *drill) Routed(b *observe.RouteBatch) {
	for i := range b.Routes {
		r := &b.Routes[i]
		o := offered(b.Table, d.run.set, r)
		if !o.State && d.first == 0 {
			d.first = r.At
		}
		d.policy.Offer(&o)
	}
}

// offered is a route as a policy sees it.
func offered(t observe.RouteTable, set *routeSettings, r *observe.Route) remedy.Offered {
	o := remedy.Offered{
		At: time.Unix(0, r.At).UTC(), Neighbor: t.Peer(r.Peer).AS, Prefix: t.Prefix(r.Prefix),
		Withdrawn: r.Path == 0, State: r.Marks&observe.RouteState != 0,
	}
	if r.Path != 0 {
		seenBy(&o, t.Path(r.Path), set)
	}
	return o
}

// seenBy fills in what the path says of a route.
func seenBy(o *remedy.Offered, p *observe.RoutePath, set *routeSettings) {
	o.Path, o.Set, o.OTC, o.HasOTC, o.Communities, o.Large = p.ASes, p.Set, p.OTC, p.HasOTC, p.Communities, p.Large
	o.ROV, o.ASPA = remedy.ROV(observe.ROVUnknown.String()), remedy.ASPA(observe.ASPANone.String())
	if set.rpki != nil {
		o.ROV = remedy.ROV(set.rpki.Origin(o.Prefix, p.Origin).String())
		o.ASPA = remedy.ASPA(set.rpki.Path(p.ASes, p.Set, observe.ASUnknown).String())
	}
}

// done sums up: what was named first.
func (d *drill) done() {
	d.run.leaks.Finish()
	list := d.run.leaks.Results()
	for i := range list {
		if d.named == nil || list[i].Prefixes > d.named.Prefixes {
			d.named = &list[i]
		}
	}
}

// drillFiles replays files; each peer in them stands for a neighbour.
func drillFiles(c *cobra.Command, set *routeSettings, text []byte, files []string) (*drill, error) {
	peers, err := peersOf(c.Context(), files)
	if err != nil {
		return nil, err
	}
	d, err := newDrill(set, string(text), peers)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	var wrong []string
	err = eachFile(c, "none", files, &wrong, func(_ string, r io.Reader) error {
		_, err := route.ReadFrom(c.Context(), d.run.table, r, 0, route.ReadOptions{Feed: "files", Each: d.run.tick})
		return err
	})
	if err == nil && len(wrong) > 0 {
		err = &exitError{exitFailed, fmt.Errorf("%s", strings.Join(wrong, "; "))}
	}
	d.done()
	return d, err
}

// peersOf are the ASes of those who tell in files.
func peersOf(ctx context.Context, files []string) (out []uint32, err error) {
	seen := map[uint32]bool{}
	t, err := route.New(route.Config{NoMessages: true})
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		got, err := route.Read(ctx, t, name, route.ReadOptions{Feed: "files"})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, p := range got.Peers {
			if !seen[p.AS] {
				seen[p.AS] = true
				out = append(out, p.AS)
			}
		}
	}
	return out, nil
}

// drillScene replays a synthetic incident.
func drillScene(ctx context.Context, name, text string, told func(done float64)) (*drill, error) {
	if name != drillFull && name != drillSmall {
		return nil, usage("--scene %q: %s or %s", name, drillFull, drillSmall)
	}
	scene, err := sim.RouteSceneByName(name, 1)
	if err != nil {
		return nil, err
	}
	knows, err := scene.Knows()
	if err != nil {
		return nil, err
	}
	set, err := sceneSettings(&knows)
	if err != nil {
		return nil, err
	}
	var peers []uint32
	for _, p := range knows.Peers {
		peers = append(peers, p.AS)
	}
	d, err := newDrill(set, text, peers)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	end := float64(scene.Duration)
	in := &sceneTable{t: d.run.table, feed: "drill", tick: func(second int64) {
		d.run.tick(second)
		told(math.Min(1, float64(time.Unix(second, 0).Sub(scene.Start))/end))
	}, stop: ctx.Err}
	if _, err := scene.Play(in); err != nil {
		return nil, err
	}
	d.done()
	return d, nil
}

// sceneSettings are what the operator of a scene knows.
func sceneSettings(k *sim.RouteTruth) (*routeSettings, error) {
	set := &routeSettings{}
	set.leak.AS = []uint32{k.Knows.Home}
	for _, o := range k.Knows.Own {
		set.leak.Own = append(set.leak.Own, leak.Own{Prefix: o.Prefix, Origins: o.Origins, Name: o.Name, Customer: o.Name != ""})
	}
	for _, n := range k.Knows.Neighbors {
		set.leak.Neighbors = append(set.leak.Neighbors, leak.Neighbor{AS: n.AS, Relation: n.Relation})
	}
	for _, s := range k.Knows.Siblings {
		set.leak.Siblings = append(set.leak.Siblings, s[:])
	}
	for _, m := range k.Knows.Maintenance {
		set.leak.Maintenance = append(set.leak.Maintenance, leak.Window{From: m.From, To: m.To, Prefix: m.Prefix, AS: m.AS, Why: m.Why})
	}
	set.leak.NoTransit, set.leak.RouteServers, set.leak.Mitigators = k.Knows.NoTransit, k.Knows.RouteServers, k.Knows.Mitigators
	set.leak.Anycast, set.leak.Plan = k.Knows.Anycast, k.Knows.Plan
	var b strings.Builder
	if err := k.WriteRelations(&b); err != nil {
		return nil, err
	}
	var err error
	if set.relations, err = relation.Read(strings.NewReader(b.String())); err != nil {
		return nil, err
	}
	b.Reset()
	if err := k.WriteRPKI(&b); err != nil {
		return nil, err
	}
	data, err := rpki.Read(strings.NewReader(b.String()))
	if err != nil {
		return nil, err
	}
	set.rpki = rpki.NewTable(k.Start, data)
	return set, nil
}

// sceneTable lets a scene play into a table.
type sceneTable struct {
	t    *route.Table
	feed string
	tick func(second int64) // of the data
	stop func() error       // why it should end, or nil

	peers  []uint32
	start  int64
	second int64
}

var scenePath = bgp.Options{AS4: true}

func (s *sceneTable) Begin(start int64, peers []sim.RoutePeer) error {
	s.start = start
	for _, p := range peers {
		s.peers = append(s.peers, s.t.PeerOf(route.Key{Feed: s.feed, Address: p.Address, AS: p.AS}, start))
	}
	return nil
}

func (s *sceneTable) Entry(p netip.Prefix, routes []sim.RouteEntry) error {
	prefix := wirePrefix(p)
	for i := range routes {
		if err := s.t.Entry(s.peers[routes[i].Peer], &prefix, 0, routes[i].Attrs, scenePath, s.start); err != nil {
			return err
		}
	}
	return nil
}

func (s *sceneTable) Ready() error {
	s.t.Flush()
	return s.stop()
}

func (s *sceneTable) Message(at int64, peer int, message []byte) error {
	if err := s.until(at); err != nil {
		return err
	}
	_ = s.t.Update(s.peers[peer], scenePath, message, at) // what is damaged is counted
	return nil
}

func (s *sceneTable) State(at int64, peer int, up bool) error {
	if err := s.until(at); err != nil {
		return err
	}
	if up {
		s.t.Up(s.peers[peer], at, netip.Addr{})
	} else {
		s.t.Down(s.peers[peer], at)
	}
	return nil
}

// until tells each second that begins.
func (s *sceneTable) until(at int64) error {
	second := at / int64(time.Second)
	if s.second == 0 {
		s.second = second
	}
	for ; s.second < second; s.second++ {
		s.tick(s.second + 1)
	}
	return s.stop()
}

// answer is the drill as the API tells it.
func (d *drill) answer() api.RouteDrill {
	r := d.policy.Report()
	out := api.RouteDrill{State: "done", Done: 1, Updates: r.Updates, Accepted: r.Accepted, Rejected: r.Rejected, AcceptedOwn: r.AcceptedOwn}
	for _, b := range r.By {
		out.By = append(out.By, api.DrillReason{Reason: string(b.Reason), Words: b.Words, Routes: b.Routes})
	}
	for _, n := range r.Neighbors {
		out.Neighbors = append(out.Neighbors, api.DrillNeighbor{AS: n.AS, Offered: n.Offered, Accepted: n.Accepted, MaxPrefixS: n.MaxPrefixAt})
	}
	if d.named != nil {
		for _, i := range d.run.all() {
			if i.ID == d.named.ID {
				row := incidentRow(&i, nil, d.run.set.names)
				out.Incident = &row
				seconds := i.Detected.Sub(time.Unix(0, d.first)).Seconds()
				out.FirstAlarmS = &seconds
				break
			}
		}
	}
	return out
}

func (d *drill) print(w io.Writer, format string) error {
	r := d.answer()
	if format == "json" {
		return printJSON(w, r)
	}
	share := func(n int) string {
		return fmt.Sprintf("%d (%.1f %%)", n, 100*float64(n)/math.Max(1, float64(r.Accepted+r.Rejected)))
	}
	rows := [][]string{
		{say("更新", "updates"), fmt.Sprint(r.Updates)},
		{say("受け入れ", "let in"), share(r.Accepted)},
		{say("うち自社の経路", "of them, own space"), fmt.Sprint(r.AcceptedOwn)},
		{say("拒否", "refused"), share(r.Rejected)},
	}
	for _, b := range r.By {
		rows = append(rows, []string{"  " + b.Reason, fmt.Sprintf("%d · %s", b.Routes, say(b.Words.JA, b.Words.EN))})
	}
	for _, n := range r.Neighbors {
		words := fmt.Sprintf(say("提示 %d・受け入れ %d", "offered %d, let in %d"), n.Offered, n.Accepted)
		if n.MaxPrefixS != nil {
			words += fmt.Sprintf(say("・%.0f 秒後に最大数で切断", ", its limit closes it after %.0f s"), *n.MaxPrefixS)
		}
		rows = append(rows, []string{asName(n.AS, ""), words})
	}
	if err := printRows(w, "table", []string{"", ""}, rows); err != nil {
		return err
	}
	if d.open {
		fmt.Fprintln(w, say("\nポリシーがないため、すべての隣接を信用した場合の結果です(--policy で指定)。", "\nthere is no policy: this is what believing every neighbour lets in (name one with --policy)."))
	}
	if r.Incident == nil {
		_, err := fmt.Fprintln(w, say("障害は特定されませんでした。", "no incident was named."))
		return err
	}
	_, err := fmt.Fprintf(w, say("%s\n最初の更新から %.1f 秒で特定(事案の時刻)\n", "%s\nnamed %.1f s after the first update, in its own time\n"), say(r.Incident.Title.JA, r.Incident.Title.EN), *r.FirstAlarmS)
	return err
}

// wirePrefix is a prefix as messages have it.
func wirePrefix(p netip.Prefix) bgp.Prefix {
	f := bgp.IPv4Unicast
	if p.Addr().Is6() {
		f = bgp.IPv6Unicast
	}
	return bgp.PrefixOf(p.Addr().AsSlice(), uint8(p.Bits()), f) //nolint:gosec // at most 128
}
