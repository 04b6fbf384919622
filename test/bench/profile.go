//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// area is one kind of work; a sample of the profile belongs to the area of the
// innermost frame that any area knows, so that memory copied for the store is
// the store's.
type area struct {
	name   string
	frames *regexp.Regexp // of "function file:line"
}

// areas in the order of a packet's way. Sketches belong to who fills them. What
// was inlined from the standard library has its file, but our function.
var areas = []area{
	{"ファイルを読む / read the file", regexp.MustCompile(`sakimori/base/wire/pcap[./]`)},
	{"復号 / decode", regexp.MustCompile(`sakimori/base/wire/packet[./]`)},
	{"地理 / geography", regexp.MustCompile(`sakimori/base/geo[./]`)},
	{"分類・指紋 / class and fingerprint", regexp.MustCompile(`observe/telescope/(classify|fingerprint|services|dark|fragment|research|iot)\.go`)},
	{"件数 / counts by minute, hour and day", regexp.MustCompile(`observe/telescope/(counts|fold|record|tally|minute)\.go|telescope\.\(\*(counts|cells|folder|side|tally)\)|telescope\.\(\*shard\)\.(flush|flushAll|book|advance|end)\b`)},
	{"統合 / merge of the shards, buckets", regexp.MustCompile(`observe/telescope/merger\.go|telescope\.\(\*merger\)`)},
	{"途中の状態 / checkpoint state", regexp.MustCompile(`observe/telescope/(state|codec)\.go|telescope\.\(\*(writer|reader)\)`)},
	{"保存 / store", regexp.MustCompile(`sakimori/base/store|observe/telescope/record|duckdb|detect/register|telescope\.Bucket\b|sakimori\.\(\*(keeper|watch)\)`)},
	{"検知 / detectors", regexp.MustCompile(`sakimori/detect/`)},
	{"文書 / document", regexp.MustCompile(`observe/telescope/(document|line|scanners)\.go|telescope\.\(\*Lines\)|telescope\.\(\*Telescope\)\.(Document|scanners|ports|summed)|encoding/json\.|sakimori\.print`)},
	{"イベント表 / event table", regexp.MustCompile(`observe/telescope/(shard|scan|table|targets|events|worker)\.go|telescope\.\(\*(shard|entry|index|slab|column|blocks|worker)|sakimori/base/pages[./]|telescope\.sortEvents`)},
	{"観測のその他 / telescope, other", regexp.MustCompile(`sakimori/observe/`)},
	{"ごみ集め / garbage collection", regexp.MustCompile(`runtime\.(gcBgMarkWorker|bgsweep|bgscavenge|gcDrain|forcegchelper)`)},
	{"データベースのスレッド / the database's own threads", regexp.MustCompile(`runtime\._ExternalCode`)},
	{"スケジューラ / scheduler", regexp.MustCompile(`runtime\.(mcall|schedule|findRunnable|park_m|goexit0|mstart|sysmon|ready|goready|netpoll)`)},
}

// sample is a stack of the profile, innermost frame first.
type sample struct {
	took  time.Duration
	stack []string
}

// areaOf is the index of the area of a stack; len(areas) is none.
func areaOf(stack []string) int {
	for _, frame := range stack {
		for i, a := range areas {
			if a.frames.MatchString(frame) {
				return i
			}
		}
	}
	return len(areas)
}

// functionOf is the innermost function of the house in a stack, else its root.
func functionOf(stack []string) string {
	for _, frame := range stack {
		if name, ours := strings.CutPrefix(frame, "sakimori/"); ours {
			name, _, _ = strings.Cut(name, " ")
			return path.Base(name)
		}
	}
	name, _, _ := strings.Cut(stack[len(stack)-1], " ")
	return name
}

var traceHead = regexp.MustCompile(`^\s*([0-9.]+(?:ns|us|µs|ms|s|m|mins|hrs))\s+(\S.*)$`)

// parseTraces reads what `pprof -traces` prints.
func parseTraces(text string) (list []sample) {
	fresh := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch m := traceHead.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "-----------+"):
			fresh = true
		case fresh && m != nil:
			d, err := time.ParseDuration(strings.NewReplacer("mins", "m", "hrs", "h").Replace(m[1]))
			if err != nil {
				continue
			}
			list = append(list, sample{d, []string{m[2]}})
			fresh = false
		case !fresh && len(list) > 0 && strings.HasPrefix(line, "  "):
			s := &list[len(list)-1]
			s.stack = append(s.stack, strings.TrimSpace(line))
		}
	}
	return list
}

// profiled is a test that runs the command line: with it go's own test flags
// profile the program as it is, without a flag of its own for that.
const profiled = `package main

import (
	"context"
	"os"
	"strings"
	"testing"
)

func TestProfiled(t *testing.T) {
	out, err := os.Create(os.Getenv("BENCH_OUT"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	args := strings.Split(os.Getenv("BENCH_ARGS"), "\n")
	if code := Main(context.Background(), args, os.Stdin, out, os.Stderr); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
`

// compileProfiled builds the program as a test binary that holds nothing but
// the test above; an overlay puts it among the sources without writing there.
func (o *options) compileProfiled(ctx context.Context, dir string) (string, error) {
	home := filepath.Join(o.root, "cmd", "sakimori")
	theirs, err := filepath.Glob(filepath.Join(home, "*_test.go"))
	if err != nil {
		return "", err
	}
	replace := map[string]string{filepath.Join(home, "profiled_test.go"): filepath.Join(dir, "profiled_test.go")}
	for _, t := range theirs {
		replace[t] = "" // not there
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{"profiled_test.go": []byte(profiled), "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	to := filepath.Join(dir, "profiled.test")
	return to, o.build(ctx, "test", "-c", "-vet=off", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-o", to, "./cmd/sakimori")
}

// profile is part D: where the processor time of an import goes, and what bounds it.
func profile(ctx context.Context, o *options, r *report) (section, error) {
	s := section{
		title: "D. 時間の行方と限界 / Where the time goes, and the limit",
		head:  []string{"area", "share of CPU", "ns per packet"},
	}
	c, err := o.made(o.packets)
	if err != nil {
		return s, err
	}
	dir, err := os.MkdirTemp(o.dir, "profile-")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	o.say("profile: compiling")
	program, err := o.compileProfiled(ctx, dir)
	if err != nil {
		return s, err
	}
	args := []string{"tool", "pprof", "-traces", "-lines", program}
	for round := range o.rounds {
		o.say("profile: run %d", round+1)
		cpu := filepath.Join(dir, fmt.Sprintf("cpu%d.out", round))
		command := append(append([]string{"import", "telescope"}, darkFlags()...), "-o", "json", "--progress", "none",
			"--data", filepath.Join(dir, fmt.Sprintf("data%d", round)), c.path)
		_, err := spend(ctx, o.timeout, nil, []string{"BENCH_OUT=" + os.DevNull, "BENCH_ARGS=" + strings.Join(command, "\n")},
			program, "-test.run", "^TestProfiled$", "-test.cpuprofile", cpu)
		if err != nil {
			return s, err
		}
		args = append(args, cpu)
	}
	if o.pgo != "" {
		// Symbols as they are in the profiles: the compiler wants each function's first line.
		all := append([]string{"tool", "pprof", "-proto", "-symbolize=none", "-output", o.pgo}, args[len(args)-o.rounds:]...)
		if said, err := exec.CommandContext(ctx, "go", all...).CombinedOutput(); err != nil {
			return s, fmt.Errorf("keep the profiles: %w: %s", err, lastLine(string(said)))
		}
	}
	var said bytes.Buffer
	pprof := exec.CommandContext(ctx, "go", args...)
	pprof.Stderr = &said
	traces, err := pprof.Output()
	if err != nil {
		return s, fmt.Errorf("go tool pprof: %w: %s", err, lastLine(said.String()))
	}
	var sums [64]time.Duration
	var all time.Duration
	functions := map[string]time.Duration{}
	for _, x := range parseTraces(string(traces)) {
		sums[areaOf(x.stack)] += x.took
		functions[functionOf(x.stack)] += x.took
		all += x.took
	}
	if all == 0 {
		return s, fmt.Errorf("the profile holds no samples: give more -packets")
	}
	packets := float64(c.truth.Packets) * float64(o.rounds)
	for i := range len(areas) + 1 {
		name := "その他 / other"
		if i < len(areas) {
			name = areas[i].name
		}
		if sums[i] > 0 {
			s.row(name, fmt.Sprintf("%.1f %%", 100*sums[i].Seconds()/all.Seconds()), fmt.Sprintf("%.0f", float64(sums[i].Nanoseconds())/packets))
		}
	}
	perPacket := float64(all.Nanoseconds()) / packets
	s.row("合計 / all", "100 %", fmt.Sprintf("%.0f", perPacket))
	s.note("`import --data` を %d 回、CPU プロファイル(100 Hz、標本 %s s)。/ A CPU profile (100 Hz, %s s of samples) of %d runs of the whole import; a sample belongs to the innermost function of an area.",
		o.rounds, seconds(all), seconds(all), o.rounds)
	names := slices.SortedFunc(maps.Keys(functions), func(a, b string) int {
		return cmp.Or(cmp.Compare(functions[b], functions[a]), cmp.Compare(a, b))
	})
	for i, n := range names[:min(12, len(names))] {
		names[i] = fmt.Sprintf("`%s` %.1f %%", n, 100*functions[n].Seconds()/all.Seconds())
	}
	s.note("重い関数 / The heaviest functions of the house, with what they call outside of it: %s.", strings.Join(names[:min(12, len(names))], ", "))
	limit(&s, r, perPacket, o.quick)
	return s, nil
}

// limit says what the memory allows.
func limit(s *section, r *report, perPacket float64, quick bool) {
	r.latency = climb(quick)
	var said []string
	for _, l := range r.latency {
		said = append(said, fmt.Sprintf("%d MiB: %.1f ns (8 chains at once: %.1f ns)", l.bytes>>20, l.one, l.eight))
	}
	far := r.latency[len(r.latency)-1]
	budget := float64(r.machine.processors) * 1e9 / aimRate
	s.note("メモリの遅延(ポインタ追跡)。/ Latency of memory, by following pointers through a random cycle: %s.", strings.Join(said, "; "))
	s.note("限界: 8.1 M packets/s は %d コアで 1 パケット %.0f ns、遠いメモリへの直列アクセス %.1f 回分、重ねれば %.0f 回分。/ The limit: 8.1 M packets/s on %d cores leaves %.0f ns of processor time for a packet, which is %.1f accesses to far memory one after the other, or %.0f when eight are under way at once.",
		r.machine.processors, budget, budget/far.one, budget/far.eight, r.machine.processors, budget, budget/far.one, budget/far.eight)
	s.note("今は 1 パケット %.0f ns(%.1f 回分)。送信元・イベント・宛先集合・件数の表はキャッシュに入らず、1 パケットはその多くで別々の行に触れる。/ Now a packet takes %.0f ns, as long as %.1f such accesses in a row. The tables of sources, events, target sets and counts don't fit a cache, and a packet touches a line of its own in most of them: what can't be avoided must be under way at the same time.",
		perPacket, perPacket/far.one, perPacket, perPacket/far.one)
}
