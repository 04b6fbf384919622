package peers_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe/telescope"
	"sakimori/sim"
)

// written is a capture on disk, whole or in pieces.
type written struct {
	files     []string
	dark, own string
	truth     sim.Truth
}

// pieces cuts the frames into files of equal length in time.
type pieces struct {
	writers []*pcap.Writer
	from    int64
	each    int64
}

func (p *pieces) WriteFrame(ts int64, data []byte) error {
	i := min(int((ts-p.from)/p.each), len(p.writers)-1)
	return p.writers[i].WriteFrame(ts, data)
}

// write makes a scene's capture of n files.
func write(t *testing.T, s sim.Scene, dir, name string, n int) written {
	t.Helper()
	w := written{dark: joined(s.Dark), own: joined(s.Own)}
	p := &pieces{from: s.Start.UnixNano(), each: int64(s.Duration) / int64(n)}
	var ends []func() error
	for i := range n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pcap", name, i)))
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewWriterSize(f, 1<<20)
		out, err := pcap.NewWriter(b, packet.LinkEthernet)
		if err != nil {
			t.Fatal(err)
		}
		p.writers = append(p.writers, out)
		w.files = append(w.files, f.Name())
		ends = append(ends, out.Flush, b.Flush, f.Close)
	}
	truth, err := s.Write(p)
	for _, end := range ends {
		if err == nil {
			err = end()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	w.truth = truth
	return w
}

func joined[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i := range list {
		words[i] = list[i].String()
	}
	return strings.Join(words, ",")
}

// importing is the command that imports files of the capture.
func (w *written) importing(data string, files ...string) []string {
	return append([]string{"import", "telescope", "--data", data, "--dark", w.dark, "--own", w.own, "--progress", "json", "-o", "json"}, files...)
}

// kept is everything that the data folder says of the whole capture: the
// rankings of every dimension with their totals, and the findings.
func kept(ctx context.Context, t *testing.T, w *written, data string) map[string]string {
	t.Helper()
	out := map[string]string{}
	from, to := w.truth.First.Truncate(0).UTC().Format("2006-01-02T15:04:05Z"), w.truth.Last.Add(3600e9).UTC().Format("2006-01-02T15:04:05Z")
	for _, by := range []string{"port", "country", "as", "protocol", "class"} {
		out[by] = plain(say(ctx, t, "stats", "--data", data, "--by", by, "--from", from, "--to", to, "--limit", "500", "-o", "json").Out)
	}
	out["findings"] = string(say(ctx, t, "finding", "list", "--data", data, "--limit", "500", "-o", "json").Out)
	return out
}

// plain leaves the cursor out: each process seals it with a key of its own.
func plain(answer []byte) string {
	return regexp.MustCompile(`"next":"[^"]*"`).ReplaceAllString(string(answer), `"next":"…"`)
}

// everything is the scene that these tests share: half a million packets with
// one of everything in them.
func everything(t *testing.T) sim.Scene {
	t.Helper()
	i := slices.IndexFunc(sim.Labelled(), func(s sim.NamedScene) bool { return s.Name == "everything" })
	if i < 0 {
		t.Fatal("there is no scene with everything")
	}
	return sim.Labelled()[i].Scene
}

// TestContentCountsOnce: whatever the file is called and however it is packed,
// its content counts once.
func TestContentCountsOnce(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	w := write(t, everything(t), dir, "day", 1)
	data := filepath.Join(dir, "data")
	var doc telescope.Document
	ask(ctx, t, &doc, w.importing(data, w.files...)...)
	if doc.Packets != w.truth.Packets || doc.DuplicateOf != nil {
		t.Fatalf("%d packets, want %d; duplicates %v", doc.Packets, w.truth.Packets, doc.DuplicateOf)
	}
	before := kept(ctx, t, &w, data)
	packed, renamed := filepath.Join(dir, "packed.pcap.gz"), filepath.Join(dir, "renamed.pcap")
	gz(t, w.files[0], packed)
	if err := os.Link(w.files[0], renamed); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{w.files[0], packed, renamed} {
		var d telescope.Document
		ask(ctx, t, &d, w.importing(data, again)...)
		if len(d.DuplicateOf) != 1 || d.DuplicateOf[0].File != again || d.DuplicateOf[0].Name != w.files[0] || d.Packets != 0 {
			t.Errorf("%s: %d packets, duplicate of %+v", filepath.Base(again), d.Packets, d.DuplicateOf)
		}
	}
	if diff := cmp.Diff(before, kept(ctx, t, &w, data)); diff != "" {
		t.Errorf("the duplicates changed something (-before +after):\n%s", short(diff))
	}
	t.Run("serve holds the data", func(t *testing.T) { held(t, &w, data, before) })
}

// held: while a process has the data the other commands work through it, say so,
// and say the same.
func held(t *testing.T, w *written, data string, before map[string]string) {
	ctx := t.Context()
	s, err := program.Serve(ctx, data, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	notice := fmt.Sprintf("running process (pid %d)", s.PID())
	through := func(args ...string) []byte {
		t.Helper()
		a := say(ctx, t, args...)
		if !strings.Contains(string(a.Err), notice) || !strings.Contains(string(a.Err), s.Address) {
			t.Errorf("sakimori %s doesn't say that it works through pid %d: %q", args[0], s.PID(), a.Err)
		}
		return a.Out
	}
	from, to := w.truth.First.UTC().Format("2006-01-02T15:04:05Z"), w.truth.Last.Add(3600e9).UTC().Format("2006-01-02T15:04:05Z")
	if got := plain(through("stats", "--data", data, "--by", "port", "--from", from, "--to", to, "--limit", "500", "-o", "json")); got != before["port"] {
		t.Errorf("stats says something else:\n%s", short(cmp.Diff(before["port"], got)))
	}
	if n := count(t, through("finding", "list", "--data", data, "--limit", "500", "-o", "json")); n != count(t, []byte(before["findings"])) {
		t.Errorf("%d findings instead of %d", n, count(t, []byte(before["findings"])))
	}
	next := everything(t)
	next.Start, next.Duration, next.Seed = next.Start.Add(24*3600e9), 20*60e9, 99
	later := write(t, next, filepath.Dir(data), "later", 1)
	// The API masks own addresses, which then are no addresses: only sums are read.
	var d struct {
		Packets     uint64                `json:"packets"`
		DarkPackets uint64                `json:"dark_packets"`
		Fragments   uint64                `json:"fragments"`
		DuplicateOf []telescope.Duplicate `json:"duplicate_of"`
	}
	if err := json.Unmarshal(through(w.importing(data, later.files...)...), &d); err != nil {
		t.Fatal(err)
	}
	if d.Packets != later.truth.Packets || d.DarkPackets+d.Fragments != later.truth.DarkPackets {
		t.Errorf("imported through the process: %d packets, %d of them dark; in truth %d and %d", d.Packets, d.DarkPackets, later.truth.Packets, later.truth.DarkPackets)
	}
	if err := json.Unmarshal(through(w.importing(data, later.files...)...), &d); err != nil || len(d.DuplicateOf) != 1 || d.Packets != 0 {
		t.Errorf("imported twice through the process: %d packets, duplicate of %+v", d.Packets, d.DuplicateOf)
	}
}

func count(t *testing.T, list []byte) int {
	t.Helper()
	var x struct{ Rows []json.RawMessage }
	if err := json.Unmarshal(list, &x); err != nil {
		t.Fatal(err)
	}
	return len(x.Rows)
}

// TestPieces: a capture in three files gives the same as the whole, imported by
// one command (in any order) or by three.
func TestPieces(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	whole, parts := write(t, everything(t), dir, "whole", 1), write(t, everything(t), dir, "part", 3)
	one, mixed, three := filepath.Join(dir, "one"), filepath.Join(dir, "mixed"), filepath.Join(dir, "three")
	want := say(ctx, t, whole.importing(one, whole.files...)...).Out
	got := say(ctx, t, whole.importing(mixed, parts.files[2], parts.files[0], parts.files[1])...).Out
	if !bytes.Equal(want, got) {
		t.Errorf("the document of three files differs from that of the whole:\n%s", short(cmp.Diff(string(want), string(got))))
	}
	for _, f := range parts.files {
		say(ctx, t, whole.importing(three, f)...)
	}
	all := kept(ctx, t, &whole, one)
	if diff := cmp.Diff(all, kept(ctx, t, &whole, mixed)); diff != "" {
		t.Errorf("three files in one command (-whole +pieces):\n%s", short(diff))
	}
	if diff := cmp.Diff(all, kept(ctx, t, &whole, three)); diff != "" {
		t.Errorf("three files in three commands (-whole +pieces):\n%s", short(diff))
	}
}

func gz(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err == nil {
		_, err = io.Copy(z, in)
	}
	for _, end := range []func() error{z.Close, out.Close} {
		if err == nil {
			err = end()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// short cuts a difference down to what fits a screen.
func short(diff string) string {
	if len(diff) > 3000 {
		return diff[:3000] + "…"
	}
	return diff
}
