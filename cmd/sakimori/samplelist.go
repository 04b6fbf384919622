package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sakimori/detect/cnc"
	"sakimori/observe"
	"sakimori/observe/feed/remote"
	"sakimori/sim"
)

// lists are the made-up sources of a demo's C&C list: files in its folder that somebody
// would write anew each night, read by what reads them in service. Nothing of them is on
// a real list, and no name of them exists.
type lists struct {
	dir   string
	start time.Time
	*sample

	feeds *remote.Puller
}

// The sources. One is trusted enough not to be waited for, one is others' hearsay, and one
// has been silent for days.
const (
	fromCert    = "mihon-cert"
	fromSharing = "mihon-sharing"
	fromPublic  = "mihon-public"
	fromOld     = "mihon-kyu"
)

const (
	oldEnds    = 5                       // day on which mihon-kyu falls silent
	listDomain = "-mihon.jp"             // below which all made-up servers are
	listNets   = "198.51.100.0/24"       // and in which they'd have addresses
	bank       = "ginko-mihon.jp"        // a customer's, which is never listed
	shop       = "www.mise003.jp"        // of which a list says so, although many use it
	other      = "www.mise012.jp"        // another, of which nobody has decided
	fault      = "update7.hana-mihon.jp" // taken out again
)

// sampleList has the list's rules and sources in a demo's configuration.
func sampleList(cfg *config, dir string, start time.Time) (*lists, error) {
	const day = 24 * time.Hour
	l := &lists{dir: filepath.Join(dir, "lists"), start: start}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	c := &cfg.CNC
	c.Clients = 15 // the town is small
	c.Protect.Names = []string{bank}
	c.Sources = []cncSourceConfig{
		{Name: fromCert, Trust: 0.9, HalfLife: 14 * day, TTL: 30 * day, Auto: true},
		{Name: fromSharing, Trust: 0.6, HalfLife: 21 * day, TTL: 30 * day},
		{Name: fromPublic, Trust: 0.15, HalfLife: 30 * day, TTL: 30 * day},
		{Name: fromOld, Trust: 0.8, HalfLife: 30 * day, TTL: 7 * day, Auto: true},
	}
	c.Popular = filepath.Join(l.dir, "popular.csv")
	mapping := filepath.Join(l.dir, "columns.yaml")
	var popular strings.Builder
	for i := range 40 { // what the town asks for most
		fmt.Fprintf(&popular, "%d,www.mise%03d.jp\n", i+1, i)
	}
	for path, text := range map[string]string{
		c.Popular: popular.String(), mapping: "value: value\nfamily: family\nlast: last\nconfidence: confidence\nevidence: evidence\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{fromCert, fromSharing, fromPublic, fromOld} {
		f := feedConfig{Name: name, Kind: string(remote.File), Path: l.file(name), Role: string(observe.RoleC2), Every: 20 * time.Hour, Public: []string{listNets}}
		if name != fromPublic { // that is a plain list
			f.Mapping = mapping
		}
		cfg.Feeds = append(cfg.Feeds, f)
	}
	return l, nil
}

func (l *lists) file(source string) string { return filepath.Join(l.dir, source+".txt") }

// row is a line of a source.
func row(w io.Writer, value, family string, last time.Time, confidence int) {
	fmt.Fprintf(w, "%s,%s,%s,%d,https://www.example.jp/%s\n", value, family, last.UTC().Format(time.RFC3339), confidence, value)
}

// made is a made-up name of a C&C server.
func made(i int) (name, family string) {
	hosts := [...]string{"gate", "update", "node", "time", "api", "img"}
	stems := [...]string{"kaze", "yama", "kawa", "hoshi", "hana", "mori", "sora"}
	families := [...]string{"mirai", "unknown", "mihonbot"}
	return fmt.Sprintf("%s%d.%s%s", hosts[i%len(hosts)], i, stems[i*3%len(stems)], listDomain), families[i%len(families)]
}

// write writes what the sources say on a day, the first being 0.
func (l *lists) write(day int, at time.Time) error {
	const head = "value,family,last,confidence,evidence\n"
	var cert, sharing, public, old strings.Builder
	for _, w := range []io.Writer{&cert, &sharing, &old} {
		fmt.Fprint(w, head)
	}
	families := [...]string{"mirai", "unknown"}
	for _, f := range families {
		c := sim.ControlNames(f)
		row(&cert, c[0], f, at, 95)
		row(&sharing, c[1], f, at, 85)
		if day > 9 && f == families[0] {
			row(&sharing, c[2], f, at, 85)
		}
	}
	for i := range 60 + 3*day {
		name, family := made(i)
		row(&cert, name, family, at.Add(-time.Duration(i%9)*24*time.Hour), 70+i%30)
	}
	row(&cert, fault, "mihonbot", at, 90)
	for i := range 12 {
		row(&cert, fmt.Sprintf("198.51.100.%d:%d", 20+i, 8000+i), "mirai", at, 90)
	}
	for i := range 90 {
		name, family := made(500 + i)
		row(&sharing, name, family, at.Add(-time.Duration(i%17)*24*time.Hour), 40+i%60)
	}
	for i := range 8 {
		row(&sharing, fmt.Sprintf("http://img%d.mori%s/gate.php", i, listDomain), "mihonbot", at, 80)
	}
	if day > 4 {
		row(&sharing, shop, "mihonbot", at, 90)
		row(&sharing, other, "mihonbot", at, 90)
	}
	row(&sharing, "netbank."+bank, "mihonbot", at, 90)
	names := 150 + day%3
	if day == sampleDays-1 { // it is ten times as long all at once
		names *= 10
	}
	for i := range names {
		name, _ := made(2000 + i)
		fmt.Fprintln(&public, name)
	}
	for i := range 25 {
		name, family := made(1000 + i)
		row(&old, name, family, at, 90)
	}
	for source, text := range map[string]*strings.Builder{fromCert: &cert, fromSharing: &sharing, fromPublic: &public, fromOld: &old} {
		if source == fromOld && day >= oldEnds {
			if err := os.Remove(l.file(source)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.WriteFile(l.file(source), []byte(text.String()), 0o600); err != nil {
			return err
		}
		if written := at.Add(-time.Minute); os.Chtimes(l.file(source), written, written) != nil {
			return fmt.Errorf("%s can't be given its time", source)
		}
	}
	return nil
}

// morning is what a day brings to the list: what sources say, what time does, and what
// people decide.
func (l *lists) morning(ctx context.Context, cfg *config) error {
	if l.feeds == nil {
		var err error
		if _, l.feeds, err = feedComponent(cfg, pulled{l.office.list, "sakimori"}, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
	}
	now := l.clock.Now()
	day := int(now.Sub(l.start)/(24*time.Hour)) - 1
	if err := l.write(day, now); err != nil {
		return err
	}
	if err := l.feeds.Step(ctx); err != nil {
		return err
	}
	if _, err := l.office.list.Tick(ctx); err != nil {
		return err
	}
	if err := l.decide(ctx, day); err != nil {
		return err
	}
	_, err := l.office.list.Tick(ctx)
	return err
}

// decide is what the desk decides on a day.
func (l *lists) decide(ctx context.Context, day int) error {
	list := l.office.list
	id := func(name string) string { return cnc.ID(observe.IndicatorName, name) }
	why := say("見本: 通報元の検体と通信先を確認", "sample: the reporter's specimen and where it calls were looked at")
	yes := func(who, name string) error {
		_, err := list.Review(ctx, id(name), who, true, why)
		return err
	}
	mirai, unknown := sim.ControlNames("mirai"), sim.ControlNames("unknown")
	switch day {
	case 0:
		return errors.Join(yes(deskA, mirai[1]), yes(deskB, unknown[1]))
	case 6:
		_, err := list.Withdraw(ctx, id(fault), deskB, say("見本: 名前は別の事業者に譲渡され、今は正規のサイト", "sample: the name was sold, and is somebody's honest site now"))
		return err
	case 7: // it can't wait, so that a second person agrees at once
		e, err := list.Add(ctx, cnc.Addition{
			Kind: observe.IndicatorName, Value: unknown[2], Evidence: say("見本: 自社の解析", "sample: an analysis of our own"),
			Expires: l.clock.Now().Add(30 * 24 * time.Hour), Emergency: true, Who: deskA, Why: say("見本: 感染端末が一斉に接続", "sample: infected devices call it all at once"),
		})
		if err == nil {
			_, err = list.Review(ctx, e.ID, deskB, true, why)
		}
		return err
	case 8: // one of two
		return yes(deskB, shop)
	case 11:
		_, err := list.Sinkhole(ctx, id(unknown[1]), true, deskA, say("見本: 捜査機関がシンクホール化", "sample: the police have taken it over"))
		return err
	case sampleDays - 1:
		if err := yes(deskB, mirai[2]); err != nil { // in shadow from this morning on
			return err
		}
	}
	const each = 4 // a morning
	queue, _, err := list.Queue(ctx, "", 3*each)
	if err != nil {
		return err
	}
	done := 0
	for i := range queue {
		e := &queue[i]
		if e.Two != nil || e.Value == mirai[2] || done == each {
			continue
		}
		done++
		fine, words := (day+done)%5 != 0, why
		if !fine {
			words = say("見本: 検体の通信先ではなく、接続確認に使う名前", "sample: specimens ask for it to see whether they are online; it is no C&C server")
		}
		if _, err := list.Review(ctx, e.ID, [...]string{deskA, deskB}[done%2], fine, words); err != nil {
			return err
		}
	}
	return nil
}
