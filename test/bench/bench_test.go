//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/radius"
	"sakimori/sim"
)

// TestQuick runs part A on a small capture: every command has its row, and
// sakimori's results are true. Nothing is said about speed.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it may have to build the program")
	}
	var out, errs bytes.Buffer
	if err := command(t.Context(), []string{"-quick", "-parts", "A", "-dir", t.TempDir()}, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	text := out.String()
	for _, want := range []string{
		"\n| sakimori import (no store)", "\n| sakimori import --data", "\n| tcpdump -r", "\n| tracestats", "\n| nfpcapd -r", "\n| argus -r",
		"200,000 packets", "compared with the truth", "Start-up (above all", "8.1 M packets/s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "wrong") {
		t.Errorf("wrong results:\n%s", text)
	}
}

// TestQuickLedger runs part F: both stores have their row, and their chains hold.
func TestQuickLedger(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it may have to build the program")
	}
	var out, errs bytes.Buffer
	if err := command(t.Context(), []string{"-quick", "-parts", "F", "-dir", t.TempDir()}, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	for _, want := range []string{"\n| SQLite", "\n| PostgreSQL"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestMain lets the test's own program play the roles of part G.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "role" {
		if err := play(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestQuickNames runs part G: every program has its rows.
func TestQuickNames(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it may have to build the program")
	}
	var out, errs bytes.Buffer
	if err := command(t.Context(), []string{"-quick", "-parts", "G", "-dir", t.TempDir()}, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	for _, want := range []string{"| knotd |", "| BIND |", "| Unbound |", "| sakimori-edge |", "fstrm_capture", "import feed", "a change in c2. is obeyed, 2 times"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// What part E keeps it finds again.
func TestKeep(t *testing.T) {
	k, err := keep(t.Context(), t.TempDir(), 100_000, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if k.Records != 100_000 || k.Disk < 100_000 || k.Million <= 0 || k.P99 < k.P50 || k.Certain == 0 {
		t.Errorf("%+v", k)
	}
}

// A made-up request is what an accounting server takes.
func TestAccounting(t *testing.T) {
	secret := radius.NewSecret([]byte(nasSecret))
	var before radius.Packet
	for i := range uint64(5000) {
		p, err := radius.Parse(accounting(nil, byte(i), i, 1000))
		if err != nil {
			t.Fatal(err)
		}
		if err := secret.Check(p); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(before, p) {
			t.Fatal("the same twice")
		}
		before = p
	}
	where, err := echo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := nases{to: where, sockets: 2, lines: 1000}
	s, err := n.send(t.Context(), 100*time.Millisecond)
	if err != nil || s.answered == 0 || s.lost > 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"-parts", "X"}, {"-parts", ""}, {"-packets", "5"}, {"-rounds", "0"}, {"-write", "-quick"}, {"more"}} {
		if err := command(t.Context(), args, new(bytes.Buffer), new(bytes.Buffer)); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// A wrong answer is no result.
func TestCompare(t *testing.T) {
	truth := sim.Truth{Packets: 10, DarkPackets: 9, UniqueSources: 1000}
	truth.Classes.Scan = 9
	const right = `{"packets": 10, "dark_packets": 9, "unique_sources": 1000, "classes": {"scan": 9}}`
	if err := compare([]byte(right), &truth); err != nil {
		t.Error(err)
	}
	estimated := strings.Replace(right, "1000", `1020, "unique_sources_err": 0.0081`, 1)
	if err := compare([]byte(estimated), &truth); err != nil {
		t.Errorf("an estimate within its error: %v", err)
	}
	for name, doc := range map[string]string{
		"a packet is missing":        strings.Replace(right, "10,", "9,", 1),
		"another class":              strings.Replace(right, "scan", "other", 1),
		"an exact count that isn't":  strings.Replace(right, "1000", "1001", 1),
		"an estimate that is far":    strings.Replace(right, "1000", `1100, "unique_sources_err": 0.0081`, 1),
		"no document":                "killed",
		"a count of another address": strings.Replace(right, "10,", `10, "dark_addresses": {"hit": 3},`, 1),
	} {
		var bad *wrongError
		if err := compare([]byte(doc), &truth); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A command is measured as a whole, and never runs longer than it may.
func TestSpend(t *testing.T) {
	const eat = `s=x; i=0; while [ $i -lt 24 ]; do s=$s$s; i=$((i+1)); done; sleep 0.2; echo done`
	var out bytes.Buffer
	x, err := spend(t.Context(), time.Minute, &out, nil, "sh", "-c", eat)
	if err != nil || out.String() != "done\n" {
		t.Fatalf("%v, %q", err, out.String())
	}
	if x.rss < 16<<20 || x.cpu <= 0 || x.wall < 200*time.Millisecond || x.cpu > 2*x.wall {
		t.Errorf("16 MiB of text and a sleep cost %+v", x)
	}
	began := time.Now()
	if _, err := spend(t.Context(), 100*time.Millisecond, nil, nil, "sh", "-c", "sleep 60 & sleep 60"); !errors.Is(err, errTime) || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if _, err := spend(t.Context(), time.Minute, nil, nil, "sh", "-c", "echo first >&2; echo it broke >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "it broke") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := spend(ctx, time.Minute, nil, nil, "sleep", "60"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestMissingProgram(t *testing.T) {
	if _, err := versionOf(t.Context(), contestant{program: "no-such-tool", debian: "no-such-package"}); err == nil || !strings.Contains(err.Error(), "apt-get install no-such-package") {
		t.Error(err)
	}
}

func TestAreas(t *testing.T) {
	const printed = `File: p.test
Duration: 2.61s, Total samples = 60ms (51.81%)
-----------+-------------------------------------------------------
      bytes:  1kB
      10ms   sakimori/base/sketch.(*Set).Add sakimori/base/sketch/sketch.go:70 (inline)
             sakimori/observe/telescope.(*shard).addTarget sakimori/observe/telescope/shard.go:640
             sakimori/observe/telescope.(*shard).count sakimori/observe/telescope/shard.go:230
-----------+-------------------------------------------------------
      20ms   runtime.memmove runtime/memmove_amd64.s:447
             sakimori/observe/telescope.(*shard).flush sakimori/observe/telescope/shard.go:480
-----------+-------------------------------------------------------
     1.50s   runtime.cgocall runtime/cgocall.go:167
             github.com/duckdb/duckdb-go/v2.(*Appender).Flush github.com/duckdb/duckdb-go/v2@v2.10506.0/appender.go:1
             sakimori/observe/telescope/record.appendRows sakimori/observe/telescope/record/write.go:120
-----------+-------------------------------------------------------
      30ms   runtime.scanobject runtime/mgcmark.go:1
             runtime.gcBgMarkWorker runtime/mgc.go:1847
-----------+-------------------------------------------------------
      10ms   main.mystery main.go:1
`
	var got []string
	for _, s := range parseTraces(printed) {
		name := "other"
		if i := areaOf(s.stack); i < len(areas) {
			_, name, _ = strings.Cut(areas[i].name, " / ")
		}
		got = append(got, s.took.String()+" "+name)
	}
	want := []string{"10ms event table", "20ms counts by minute, hour and day", "1.5s store", "30ms garbage collection", "10ms other"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The chain visits every cell: else it would stay in a cache.
func TestCycle(t *testing.T) {
	cells := make([]cell, 1000)
	cycle(cells)
	at, steps := cells[0].next, 1
	for at != 0 && steps <= len(cells) {
		at = cells[at].next
		steps++
	}
	if steps != len(cells) {
		t.Errorf("a ring of %d of %d cells", steps, len(cells))
	}
}

// The page keeps to the form that the documentation's tests ask for.
func TestPage(t *testing.T) {
	f := &figure{packets: 10e6, runs: []cost{{3 * time.Second, 4 * time.Second, 1 << 30}, {time.Second, time.Second, 3 << 30}, {2 * time.Second, 2 * time.Second, 0}}}
	r := report{machine: &machine{load0: "0.01 0.02 0.03"}, whole: []*figure{f}, asked: 4, slow: []string{"top (120.0 ms)"}}
	r.sections = []section{{title: "B. x / y", head: []string{"名前", "n"}, rows: [][]string{{"a", "1"}, {"only"}}}}
	text := r.page("")
	for _, want := range []string{
		"5.00 M packets/s | 未達 / not met", "5.00 M packets/s |     達成 / met", "3072 MiB | 未達 / not met", "3 / 4 | 未達 / not met",
		"| 名前   | n |\n|------|--:|\n| a    | 1 |\n| only |   |\n", "top (120.0 ms)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// What a run leaves out stays on the page, and an aim that it measures is told once.
func TestPageRenewed(t *testing.T) {
	now := func(wall time.Duration, parts ...section) *report {
		return &report{machine: &machine{load0: "0"}, whole: []*figure{{packets: 10e6, runs: []cost{{wall, wall, 1 << 30}}}}, sections: parts}
	}
	first := now(4*time.Second, section{title: "A. x / y", head: []string{"n"}, rows: [][]string{{"old"}}}, section{title: "B. x / y", head: []string{"n"}, rows: [][]string{{"stays"}}})
	first.asked = 4
	text := now(2*time.Second, section{title: "A. x / y", head: []string{"n"}, rows: [][]string{{"new"}}}).page(first.page(""))
	for want, times := range map[string]int{"| new |": 1, "| old |": 0, "| stays |": 1, "5.00 M packets/s": 2, "2.50 M packets/s": 0, "4 / 4": 1, "\n## A. ": 1, "\n## B. ": 1} {
		if n := strings.Count(text, want); n != times {
			t.Errorf("%q is there %d times, not %d, in\n%s", want, n, times, text)
		}
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"zipf-10-aa.pcap", "zipf-10-aa.pcap.json", "zipf-100-bb.pcap"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := forget(filepath.Join(dir, "zipf-10-")); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 1 || filepath.Base(left[0]) != "zipf-100-bb.pcap" {
		t.Errorf("left: %v", left)
	}
}

func TestThousands(t *testing.T) {
	got := []string{thousands(0), thousands(999), thousands(1000), thousands(-1234567), thousands(uint64(10_000_000))}
	if diff := cmp.Diff([]string{"0", "999", "1,000", "-1,234,567", "10,000,000"}, got); diff != "" {
		t.Error(diff)
	}
}
