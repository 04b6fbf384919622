//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"sakimori/sim"
)

// The files of a scene.
const (
	ribFile       = "rib.mrt"
	updatesFile   = "updates.mrt"
	truthFile     = "truth.json"
	relationsFile = "relations.txt"
	rpkiFile      = "rpki.json"
)

// The aims of routes: the reference of routing incidents, section 5.
const (
	aimDecode    = 3e6 // updates for a second of processor time
	aimJudged    = 1e6 // through table and detectors
	aimDump      = 10  // times as fast as bgpdump with a full table
	aimRoutesRSS = 1 << 30
	aimNamed     = time.Minute
)

// routesFigures is what part J leaves for the aims.
type routesFigures struct {
	decode, judged float64 // messages for a second of processor time
	dump           float64 // times bgpdump's processor time, printing the same table
	rss            int64
	named          time.Duration // of the drill's incident; below 0: it isn't
	routes         int
	known          bool
}

// routesScene writes a scene's files below the folder of what is made, unless they are there.
func routesScene(o *options, s sim.RouteScene) (dir string, err error) {
	sum, err := digest(filepath.Join(o.root, "sim", "route*.go"))
	if err != nil {
		return "", err
	}
	name := filepath.Join(o.dir, fmt.Sprintf("routes-%s-%d-", s.Name, s.World.Prefixes))
	dir = name + sum
	if _, err := os.Stat(filepath.Join(dir, truthFile)); err == nil {
		return dir, nil
	}
	if err := forget(name); err != nil {
		return "", err
	}
	o.say("routes: making %s", s.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var files []*bufio.Writer
	var close []io.Closer
	for _, n := range []string{ribFile, updatesFile, relationsFile, rpkiFile} {
		f, err := os.Create(filepath.Join(dir, n))
		if err != nil {
			return "", err
		}
		close, files = append(close, f), append(files, bufio.NewWriterSize(f, 1<<20))
	}
	t, err := s.WriteMRT(files[0], files[1])
	if err == nil {
		err = errors.Join(t.WriteRelations(files[2]), t.WriteRPKI(files[3]))
	}
	for i := range files {
		err = errors.Join(err, files[i].Flush(), close[i].Close())
	}
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(&t)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, truthFile), b, 0o600) // last: with it the folder is whole
}

// routeRun is one program's work on a file, the middle of its runs.
type routeRun struct {
	told routesTold
	cost cost
}

// routeRole runs this program in a role.
func routeRole(ctx context.Context, o *options, how, dir, file string) (r routeRun, err error) {
	own, err := os.Executable()
	if err != nil {
		return r, err
	}
	var runs []routeRun
	for range o.rounds {
		var out bytes.Buffer
		c, err := spend(ctx, o.timeout, &out, nil, own, "role", "routes", how, dir, file)
		if err != nil {
			return r, err
		}
		x := routeRun{cost: c}
		if err := json.Unmarshal(out.Bytes(), &x.told); err != nil {
			return r, err
		}
		runs = append(runs, x)
	}
	slices.SortFunc(runs, func(a, b routeRun) int { return int(a.cost.cpu - b.cost.cpu) })
	return runs[len(runs)/2], nil
}

// bgpdump prints a file as bgpdump -m does, into nothing.
func bgpdump(ctx context.Context, o *options, path string) (c cost, err error) {
	program, err := exec.LookPath("bgpdump")
	if err != nil {
		return c, errors.New("not installed: bgpdump")
	}
	var runs []cost
	for range o.rounds {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return c, err
		}
		c, err := spend(ctx, o.timeout, null, nil, program, "-m", path)
		_ = null.Close() // nothing was kept
		if err != nil {
			return c, err
		}
		runs = append(runs, c)
	}
	slices.SortFunc(runs, func(a, b cost) int { return int(a.cpu - b.cpu) })
	return runs[len(runs)/2], nil
}

// routes is part J: what it costs to read routes, to keep them and to judge them.
func routes(ctx context.Context, o *options, r *report) (section, error) {
	s := section{
		title: "J. 経路 / Routes",
		head:  []string{"what", "program", "messages", "elements", "CPU-s", "messages/CPU-s", "elements/CPU-s", "× bgpdump", "RSS MiB"},
	}
	storm, err := sim.RouteSceneByName("storm", 1)
	if err != nil {
		return s, err
	}
	drill := "leak-2017-full"
	if o.quick {
		storm.World, drill = sim.RouteWorld{Peers: 4, Prefixes: 5000, Sharing: 6}, "leak-2017"
		storm.Events = []sim.RouteEvent{sim.RouteStorm{Messages: 3000, Each: 4}}
	}
	dir, err := routesScene(o, storm)
	if err != nil {
		return s, err
	}
	f := &r.routes
	for _, file := range []string{ribFile, updatesFile} {
		what := map[string]string{ribFile: "table", updatesFile: "updates"}[file]
		base, err := bgpdump(ctx, o, filepath.Join(dir, file))
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		baseErr := err
		var all routeRun
		for _, how := range []string{"scan", "text", "gobgp"} {
			x, err := routeRole(ctx, o, how, dir, file)
			if err != nil {
				return s, fmt.Errorf("%s: %w", how, err)
			}
			if how == "scan" {
				all = x
				if baseErr == nil {
					s.row(what, "bgpdump -m", thousands(x.told.Messages), thousands(x.told.Elements), seconds(base.cpu), per(x.told.Messages, base.cpu), per(x.told.Elements, base.cpu), "1.0", mib(base.rss))
				} else {
					s.row(what, "bgpdump -m", baseErr.Error())
				}
			}
			if x.told.Elements != all.told.Elements {
				r.faults = append(r.faults, fmt.Sprintf("routes: %s finds %d elements, another %d", how, x.told.Elements, all.told.Elements))
			}
			times := "–"
			if baseErr == nil {
				times = fmt.Sprintf("%.1f", base.cpu.Seconds()/x.cost.cpu.Seconds())
			}
			name := map[string]string{"scan": "sakimori, decode", "text": "sakimori, text as bgpdump -m", "gobgp": "GoBGP's packages, decode"}[how]
			s.row(what, name, thousands(x.told.Messages), thousands(x.told.Elements), seconds(x.cost.cpu), per(x.told.Messages, x.cost.cpu), per(x.told.Elements, x.cost.cpu), times, mib(x.cost.rss))
			o.say("routes: %s by %s: %.2f CPU-s, %s", what, how, x.cost.cpu.Seconds(), times)
			switch {
			case how == "scan" && file == updatesFile:
				f.decode = float64(x.told.Messages) / x.cost.cpu.Seconds()
			case how == "text" && file == ribFile && baseErr == nil:
				f.dump = base.cpu.Seconds() / x.cost.cpu.Seconds()
			}
		}
	}
	for _, how := range []string{"table", "all"} {
		x, err := routeRole(ctx, o, how, dir, "")
		if err != nil {
			return s, fmt.Errorf("%s: %w", how, err)
		}
		t := &x.told
		name := map[string]string{"table": "sakimori, into the table", "all": "sakimori, table and detectors"}[how]
		s.row("table", name, "", thousands(t.Entries), seconds(t.TableCPU), "", per(t.Entries, t.TableCPU), "", mib(t.TableRSS))
		s.row("updates", name, thousands(t.NewMessages), thousands(t.Elements), seconds(t.NewsCPU), per(t.NewMessages, t.NewsCPU), per(t.Elements, t.NewsCPU), "", mib(x.cost.rss))
		if how == "all" {
			f.judged, f.rss, f.routes, f.known = float64(t.NewMessages)/t.NewsCPU.Seconds(), x.cost.rss, t.Routes, true
			if len(t.Incidents) > 0 {
				r.faults = append(r.faults, fmt.Sprintf("routes: %d incidents in messages that mean nothing: %+v", len(t.Incidents), t.Incidents))
			}
		}
		o.say("routes: %s: table %.2f CPU-s, updates %.2f CPU-s, %s MiB", how, t.TableCPU.Seconds(), t.NewsCPU.Seconds(), mib(x.cost.rss))
	}
	if err := routesDrill(ctx, o, r, &s, drill); err != nil {
		return s, err
	}
	s.note("模擬の表(%s 経路、ピア 4、属性は 6 プレフィックスごとに異なる)と更新(4 プレフィックスずつ)。ファイルはページキャッシュにある。CPU は user と system、%d 回の中央値。bgpdump の件数は sakimori と同じ要素数。/ A made-up table of %s routes of 4 peers, six prefixes with equal attributes each, and updates of 4 prefixes each; the files are in the page cache. CPU is user and system of all threads, the middle of %d runs; \"table\" and \"updates\" of one process are told by its own count.", thousands(f.routes), o.rounds, thousands(f.routes), o.rounds)
	s.note("**仕事は同じではない。/ They don't do the same work:** bgpdump と text は 1 要素 1 行の文字にして捨てる。decode は全属性と全プレフィックスを読むだけ。/ bgpdump and \"text\" print a line for each element, thrown away; \"decode\" reads each attribute and prefix; GoBGP's packages make objects of them, and are given records with microseconds without these, which they can't read.")
	return s, nil
}

// routesDrill reads the drill, and says when its incident was named.
func routesDrill(ctx context.Context, o *options, r *report, s *section, name string) error {
	scene, err := sim.RouteSceneByName(name, 1)
	if err != nil {
		return err
	}
	dir, err := routesScene(o, scene)
	if err != nil {
		return err
	}
	var truth sim.RouteTruth
	b, err := os.ReadFile(filepath.Join(dir, truthFile))
	if err == nil {
		err = json.Unmarshal(b, &truth)
	}
	if err != nil {
		return err
	}
	x, err := routeRole(ctx, o, "all", dir, "")
	if err != nil {
		return err
	}
	t, want := &x.told, &truth.Incidents[0]
	r.routes.named = -1
	for _, i := range t.Incidents {
		if i.Kind == want.Kind && i.Leaker == want.Leaker && i.Adjacency == want.Adjacency {
			r.routes.named = i.Detected.Sub(want.First)
			s.note("8月25日の訓練(%s): %s は最初の更新から %.1f 秒で告げられ、%s プレフィックス(正解 %s)、事象は全部で %d 件。/ The drill of 25 August 2017 (%s): %s was named %.1f s after its first update, in its own time, with %s prefixes (%s in truth); %d incident(s) in all.",
				name, i.Adjacency, r.routes.named.Seconds(), thousands(i.Prefixes), thousands(want.Prefixes), len(t.Incidents), name, i.Adjacency, r.routes.named.Seconds(), thousands(i.Prefixes), thousands(want.Prefixes), len(t.Incidents))
		}
	}
	if r.routes.named < 0 || len(t.Incidents) != 1 {
		r.faults = append(r.faults, fmt.Sprintf("routes: the drill has one incident, %s; said %+v", want.Adjacency, t.Incidents))
	}
	s.row("drill", "sakimori, table and detectors", thousands(t.NewMessages), thousands(t.Elements), seconds(t.NewsCPU), per(t.NewMessages, t.NewsCPU), per(t.Elements, t.NewsCPU), "", mib(x.cost.rss))
	return nil
}

// per is a rate for a second of processor time.
func per(n uint64, cpu time.Duration) string {
	if cpu <= 0 {
		return "–"
	}
	return million(float64(n) / cpu.Seconds())
}

// routed are the aims of routes.
func (r *report) routed(v *section, met func(bool) string) {
	f := &r.routes
	if !f.known {
		return
	}
	v.row("更新の復号 3 M/CPU-s / updates decoded", million(f.decode)+" messages/CPU-s", met(f.decode >= aimDecode))
	v.row("全検知器まで 1 M/CPU-s / through all detectors", million(f.judged)+" messages/CPU-s", met(f.judged >= aimJudged))
	if f.dump > 0 {
		v.row("全経路表を bgpdump の 10 倍 / a full table, of bgpdump", fmt.Sprintf("%.1f ×", f.dump), met(f.dump >= aimDump))
	}
	v.row(fmt.Sprintf("%s 経路と検知器で 1 GiB 未満 / memory of table and detectors", thousands(f.routes)), mib(f.rss)+" MiB", met(f.rss < aimRoutesRSS))
	v.row("訓練の事象を 60 秒以内に / the drill's incident named", fmt.Sprintf("%.1f s", f.named.Seconds()), met(f.named >= 0 && f.named < aimNamed))
}
