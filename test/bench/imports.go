//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"sakimori/sim"
)

// contestant is one command of part A.
type contestant struct {
	name    string                    // as it is shown
	program string                    // to look for
	args    func(dir string) []string // dir is empty and its own
	version []string                  // arguments that make it tell its version, nil none
	debian  string                    // package that it is in
	check   func(out []byte) error    // of what it printed; nil doesn't look
}

// figure is what a contestant took in all rounds.
type figure struct {
	contestant
	packets uint64
	said    string // version
	runs    []cost
	stored  int64 // bytes it left in its folder
	err     error
}

func (f *figure) rate(d time.Duration) float64 { return float64(f.packets) / d.Seconds() }

// median is the run with the median wall time.
func (f *figure) median() cost { return f.sorted()[len(f.runs)/2] }

func (f *figure) fastest() cost { return f.sorted()[0] }

func (f *figure) sorted() []cost {
	return slices.SortedFunc(slices.Values(f.runs), func(a, b cost) int { return int(a.wall - b.wall) })
}

// cpu is the median of the processor time.
func (f *figure) cpu() time.Duration {
	s := slices.SortedFunc(slices.Values(f.runs), func(a, b cost) int { return int(a.cpu - b.cpu) })
	return s[len(s)/2].cpu
}

func (f *figure) rss() (most int64) {
	for _, c := range f.runs {
		most = max(most, c.rss)
	}
	return most
}

// darkFlags tell the program which addresses the generated packets are for.
func darkFlags() (args []string) {
	for _, p := range sim.BulkDark {
		args = append(args, "--dark", p.String())
	}
	return args
}

func contestants(o *options, c *capture) []contestant {
	telescope := func(more ...string) []string {
		return append(append(append([]string{"import", "telescope"}, darkFlags()...), more...), "--progress", "none", c.path)
	}
	data := func(dir string) string { return filepath.Join(dir, "data") }
	right := func(out []byte) error { return compare(out, &c.truth) }
	said := func(out []byte) error { return compareSummary(out, &c.truth) }
	return []contestant{
		{"sakimori import (no store)", o.sakimori, func(string) []string { return telescope() }, []string{"version"}, "", said},
		{"sakimori import --data", o.sakimori, func(dir string) []string { return telescope("--data", data(dir)) }, []string{"version"}, "", said},
		{"sakimori import --data -o json", o.sakimori, func(dir string) []string { return telescope("-o", "json", "--data", data(dir)) }, []string{"version"}, "", right},
		{"tcpdump -r -w /dev/null", "tcpdump", func(string) []string { return []string{"-r", c.path, "-w", os.DevNull} }, []string{"--version"}, "tcpdump", nil},
		{"tracestats", "tracestats", func(string) []string { return []string{"pcapfile:" + c.path} }, nil, "libtrace-tools", nil},
		{"nfpcapd -r", "nfpcapd", func(dir string) []string { return []string{"-r", c.path, "-w", dir} }, []string{"-V"}, "nfdump", nil},
		{"argus -r -w", "argus", func(dir string) []string { return []string{"-r", c.path, "-w", filepath.Join(dir, "out")} }, []string{"-h"}, "argus-server", nil},
	}
}

// imports is part A: whole commands on one capture, in turn.
func imports(ctx context.Context, o *options, r *report) (section, error) {
	c, err := o.made(o.packets)
	if err != nil {
		return section{}, err
	}
	var list []*figure
	enter := func(x contestant, c *capture) {
		f := &figure{contestant: x, packets: c.truth.Packets}
		f.said, f.err = versionOf(ctx, x)
		list = append(list, f)
	}
	for _, x := range contestants(o, c) {
		enter(x, c)
	}
	if o.long > 0 { // what an import costs at its beginning and end weighs less in it
		long, err := o.made(o.long)
		if err != nil {
			return section{}, err
		}
		for _, x := range contestants(o, long) {
			if x.program == "tcpdump" || x.name == list[1].name {
				x.name += ", " + million(float64(long.truth.Packets))
				enter(x, long)
			}
		}
	}
	for round := range o.rounds {
		for _, f := range list {
			if f.err != nil {
				continue
			}
			if err := f.run(ctx, o); err != nil {
				return section{}, err // interrupted
			}
			if f.err == nil {
				o.say("round %d: %-28s %6.2f s, %s packets/s", round+1, f.name, f.runs[round].wall.Seconds(), million(f.rate(f.runs[round].wall)))
			} else {
				o.say("round %d: %-28s %v", round+1, f.name, f.err)
			}
		}
	}
	for _, f := range list {
		if _, ok := errors.AsType[*wrongError](f.err); ok {
			r.faults = append(r.faults, f.name+": "+f.err.Error())
		}
	}
	for _, f := range list {
		if strings.HasPrefix(f.name, list[1].name) && !strings.Contains(f.name, "json") {
			r.whole = append(r.whole, f)
		}
	}
	s := standings(c, list)
	if list[0].err == nil {
		start, err := o.startUp(ctx, c)
		if err != nil {
			return s, err
		}
		s.note("起動(地理データの読み込みなど)に %s s かかり、上の数字に含まれる。/ Start-up (above all reading the geography) takes %s s of each run of sakimori (a capture of one packet), and is part of the figures.", seconds(start), seconds(start))
	}
	return s, nil
}

// startUp is the least time that an import took of a capture of one packet.
func (o *options) startUp(ctx context.Context, c *capture) (least time.Duration, err error) {
	f, err := os.Open(c.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var head [24 + 16]byte // of the file and of the first packet, which says how long it is
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return 0, err
	}
	first := make([]byte, binary.LittleEndian.Uint32(head[24+8:]))
	if _, err := io.ReadFull(f, first); err != nil {
		return 0, err
	}
	one, err := os.CreateTemp(o.dir, "one-*.pcap")
	if err != nil {
		return 0, err
	}
	defer os.Remove(one.Name())
	_, err = one.Write(append(head[:], first...))
	if err = errors.Join(err, one.Close()); err != nil {
		return 0, err
	}
	for range o.rounds {
		x, err := spend(ctx, o.timeout, nil, nil, o.sakimori, append(append([]string{"import", "telescope"}, darkFlags()...), one.Name())...)
		if err != nil {
			return 0, err
		}
		if least == 0 || x.wall < least {
			least = x.wall
		}
	}
	return least, nil
}

// run runs it once. The error is of ctx; its own stays in f.
func (f *figure) run(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp(o.dir, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	syscall.Sync() // what the one before wrote is no longer under way
	var out bytes.Buffer
	var to io.Writer
	if f.check != nil {
		to = &out
	}
	x, err := spend(ctx, o.timeout, to, nil, f.program, f.args(dir)...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && f.check != nil {
		err = f.check(out.Bytes())
	}
	f.err, f.stored = err, bytesUnder(dir)
	f.runs = append(f.runs, x)
	return nil
}

func standings(c *capture, list []*figure) section {
	s := section{
		title: "A. キャプチャの取り込み / Importing a capture",
		head:  []string{"command", "version", "wall s: median", "min", "packets/s: median", "max", "CPU s", "packets/CPU-s", "RSS MiB", "wall ÷ tcpdump", "CPU ÷ tcpdump"},
	}
	bases := map[uint64]*figure{} // by the capture's size
	for _, f := range list {
		if f.program == "tcpdump" && f.err == nil {
			bases[f.packets] = f
		}
	}
	for _, f := range list {
		if f.err != nil {
			s.row(f.name, f.said, f.err.Error())
			continue
		}
		m, best := f.median(), f.fastest()
		wall, cpu := "–", "–"
		if base := bases[f.packets]; base != nil {
			wall = fmt.Sprintf("%.2f", m.wall.Seconds()/base.median().wall.Seconds())
			cpu = fmt.Sprintf("%.2f", f.cpu().Seconds()/base.cpu().Seconds())
		}
		s.row(f.name, f.said, seconds(m.wall), seconds(best.wall), million(f.rate(m.wall)), million(f.rate(best.wall)),
			seconds(f.cpu()), million(float64(f.packets)/f.cpu().Seconds()), mib(f.rss()), wall, cpu)
	}
	t := &c.truth
	s.note("%s packets, %s sources (Zipf), %s event keys alive at once, %s; seed 1, %d MiB. 各コマンドは %d 回、交互に。/ Each command ran %d times, in turn with the others, from a warm page cache; outputs on disk in a folder of their own.",
		thousands(t.Packets), thousands(t.UniqueSources), thousands(t.Keys), t.Last.Sub(t.First).Round(time.Second), c.size>>20, len(list[0].runs), len(list[0].runs))
	s.note("ファイルを読むだけなら %s s。/ Reading the file alone, without looking into it: %s s, %s packets/s.",
		seconds(c.read), seconds(c.read), million(float64(t.Packets)/c.read.Seconds()))
	if w := list[1]; w.err == nil {
		s.note("`--data` は保存まで含む全工程で、%d MiB を残す。/ With `--data` it is the whole pipeline: decode, class, fingerprint, events, counts, geography, store; it leaves %d MiB on disk.", w.stored>>20, w.stored>>20)
		s.note("`-o json` は全スキャナーの文書(約 270 MB)も印字する。/ With `-o json` the document with every single scanner is printed too, some 270 MB.")
		s.note("結果は真値と比べて正しい。/ Each of sakimori's results was compared with the truth of the generator: packets, classes, sources, dark addresses.")
	}
	s.note("道具の仕事は同じではない。/ The others do other work: tcpdump copies, tracestats counts, nfpcapd and argus make flow records without scan events, distinct counts or geography.")
	return s
}

// wrongError is a result that isn't true.
type wrongError struct{ text string }

func (e *wrongError) Error() string { return e.text }

// compare holds a document against the truth.
func compare(out []byte, t *sim.Truth) error {
	var d struct {
		Packets     uint64 `json:"packets"`
		DarkPackets uint64 `json:"dark_packets"`
		FromDark    uint64 `json:"from_dark"`
		Malformed   uint64 `json:"malformed"`
		Dark        struct {
			Monitored, Hit uint64
		} `json:"dark_addresses"`
		Sources    uint64      `json:"unique_sources"`
		SourcesErr float64     `json:"unique_sources_err"`
		Classes    sim.Classes `json:"classes"`
	}
	if err := json.Unmarshal(out, &d); err != nil {
		return &wrongError{"its answer isn't JSON: " + err.Error()}
	}
	if d.SourcesErr > 0 && within(d.Sources, t.UniqueSources, 4*d.SourcesErr) {
		d.Sources = t.UniqueSources // an estimate, and it says so
	}
	got := fmt.Sprint(d.Packets, d.DarkPackets, d.FromDark, d.Malformed, d.Dark.Monitored, d.Dark.Hit, d.Sources, d.Classes)
	want := fmt.Sprint(t.Packets, t.DarkPackets, t.FromDark, t.Malformed, t.DarkAddresses.Monitored, t.DarkAddresses.Hit, t.UniqueSources, t.Classes)
	if got != want {
		return &wrongError{fmt.Sprintf("packets, dark, from dark, malformed, monitored, hit, sources, classes are %s instead of %s", got, want)}
	}
	return nil
}

// compareSummary holds the summary for people against the truth.
func compareSummary(out []byte, t *sim.Truth) error {
	for _, want := range []string{
		fmt.Sprintf("%s packets, %s of them to dark space (scan %s, backscatter %s, reflection %s, other %s)\n",
			thousands(t.Packets), thousands(t.DarkPackets), thousands(t.Classes.Scan), thousands(t.Classes.Backscatter), thousands(t.Classes.Reflection), thousands(t.Classes.Other)),
		fmt.Sprintf("%s sources, %s of %s dark addresses hit\n", thousands(t.UniqueSources), thousands(t.DarkAddresses.Hit), thousands(t.DarkAddresses.Monitored)),
	} {
		if !bytes.Contains(out, []byte(want)) {
			return &wrongError{"its summary doesn't say: " + want}
		}
	}
	return nil
}

func within(a, b uint64, share float64) bool {
	d := float64(a) - float64(b)
	return max(d, -d) <= share*float64(b)
}

var number = regexp.MustCompile(`\d+(\.\d+)+[^\s,]*`)

// versionOf is what a program says of itself, or what its package says; the
// error tells that it isn't there.
func versionOf(ctx context.Context, c contestant) (string, error) {
	if _, err := exec.LookPath(c.program); err != nil {
		return "", fmt.Errorf("not installed (apt-get install %s)", c.debian)
	}
	if c.debian != "" {
		if b, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", c.debian).Output(); err == nil && len(b) > 0 {
			return c.debian + " " + string(b), nil
		}
	}
	if c.version == nil {
		return "?", nil
	}
	b, _ := exec.CommandContext(ctx, c.program, c.version...).CombinedOutput() // some end with an error
	line, _, _ := strings.Cut(string(b), "\n")
	if v := number.FindString(line); v != "" && c.debian != "" {
		return v, nil
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "sakimori ")), nil
}
