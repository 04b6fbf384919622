package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/observe/telescope"
	"sakimori/sim"
)

// shot is a frame of a made-up capture.
type shot struct {
	at   int64
	data []byte
}

// camera keeps the frames of a scene.
type camera struct{ shots []shot }

func (c *camera) WriteFrame(at int64, data []byte) error {
	c.shots = append(c.shots, shot{at, bytes.Clone(data)})
	return nil
}

// staged is a scene's capture, and who looks at it.
type staged struct {
	name  string
	shots []shot
	cfg   telescope.Config
}

// stage makes up scenes, most with a pause of days in the middle.
func stage(t *testing.T, most int, names ...string) (list []staged) {
	t.Helper()
	for i, s := range sim.Labelled() {
		if !slices.Contains(names, s.Name) {
			continue
		}
		var c camera
		if _, err := s.Scene.Write(&c); err != nil {
			t.Fatal(err)
		}
		c.shots = c.shots[:min(len(c.shots), most)]
		if i%3 > 0 {
			for k := len(c.shots) / 2; k < len(c.shots); k++ {
				c.shots[k].at += int64(i) * int64(24*time.Hour)
			}
		}
		cfg := telescope.DefaultConfig()
		cfg.Own, cfg.Detail = s.Scene.Own, true
		for _, p := range s.Scene.Dark {
			cfg.Dark = append(cfg.Dark, telescope.DarkPrefix{Prefix: p})
		}
		list = append(list, staged{s.Name, c.shots, cfg})
	}
	if len(list) != len(names) {
		t.Fatalf("%d scenes of %d", len(list), len(names))
	}
	return list
}

// develop writes frames to a file, compressed if its name says so.
func develop(t *testing.T, path string, shots []shot) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out io.Writer = f
	if filepath.Ext(path) == ".gz" {
		z := gzip.NewWriter(f)
		defer z.Close()
		out = z
	}
	w, err := pcap.NewWriter(out, packet.LinkEthernet)
	for i := 0; err == nil && i < len(shots); i++ {
		err = w.WriteFrame(shots[i].at, shots[i].data)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// split deals frames out to n files, by chance or by who sent them.
func split(t *testing.T, r *rand.Rand, dir string, shots []shot, n int) (paths []string) {
	t.Helper()
	parts := make([][]shot, n)
	bySender := r.IntN(3) == 0
	for _, s := range shots {
		i := r.IntN(n)
		if bySender {
			i = int(s.data[min(29, len(s.data)-1)]) % n
		}
		parts[i] = append(parts[i], s)
	}
	for i, p := range parts {
		paths = append(paths, develop(t, filepath.Join(dir, fmt.Sprintf("%d-of-%d%s", i, n, []string{".pcap", ".pcap.gz"}[r.IntN(2)])), p))
	}
	r.Shuffle(n, func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	return paths
}

// astray puts n frames with absurd dates anywhere, also first and last; they are
// copies of others, that would count.
func astray(r *rand.Rand, shots []shot, n int) []shot {
	shots = slices.Clone(shots)
	first, last := shots[0].at, shots[len(shots)-1].at
	for range n {
		at := r.IntN(len(shots) + 1)
		switch r.IntN(4) {
		case 0:
			at = 0
		case 1:
			at = len(shots)
		}
		const day = int64(24 * time.Hour)
		date := []int64{0, 1, first - 2*day - r.Int64N(9000*day), last + 40*day, last + 40*day + r.Int64N(9000*day), 1<<32*1e9 - 1}[r.IntN(6)]
		shots = slices.Insert(shots, at, shot{date, shots[r.IntN(len(shots))].data})
	}
	return shots
}

// document imports files, and gives the document as JSON, how many frames were
// stray, and the document without these.
func document(t *testing.T, im *importer, paths ...string) (doc []byte, stray uint64, rest []byte) {
	t.Helper()
	files, err := look(paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := im.run(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	text := func() []byte {
		var b bytes.Buffer
		if err := printDocumentJSON(&b, d.Document, d.all.Len(), d.all.At); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	doc, stray = text(), d.Stray
	d.Packets, d.Stray = d.Packets-stray, 0
	return doc, stray, text()
}

func importing(cfg telescope.Config, k *keeper) *importer {
	return &importer{cfg: cfg, rules: rulesDigest(cfg), keeper: k, now: time.Now, every: 30 * time.Second}
}

// TestStrayDates: a handful of frames with absurd dates, wherever they stand,
// change nothing but the count of them; with any number of workers.
func TestStrayDates(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(20170904, 1))
	for _, s := range stage(t, 6000, "infected", "floods", "tools", "broken", "ipv6", "dark-host", "misconfigured") {
		dir := t.TempDir()
		whole := develop(t, filepath.Join(dir, "whole.pcap"), s.shots)
		_, none, want := document(t, importing(s.cfg, nil), whole)
		if none != 0 {
			t.Errorf("%s: %d stray of none", s.name, none)
		}
		for n := 1; n <= 5; n += 2 {
			shots := astray(r, s.shots, n)
			s.cfg.Workers = 1 + r.IntN(3)
			_, stray, got := document(t, importing(s.cfg, nil), develop(t, whole, shots))
			if stray != uint64(n) {
				t.Errorf("%s: %d stray, want %d", s.name, stray, n)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Fatalf("%s: %d stray dates change the document (-without +with):\n%.3000s", s.name, n, d)
			}
		}
	}
}

// TestMerging: captures that overlap are read as one. A scene in pieces says what
// the whole says, byte for byte, also with stray dates in them.
func TestMerging(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(20170904, 2))
	for i, s := range stage(t, 6000, "infected", "floods", "slow", "ipv6", "forged", "vertical") {
		dir := t.TempDir()
		shots := astray(r, s.shots, i%2*5)
		want, _, _ := document(t, importing(s.cfg, nil), develop(t, filepath.Join(dir, "whole.pcap"), shots))
		s.cfg.Workers = 1 + r.IntN(3)
		for _, n := range []int{2, 2 + r.IntN(9)} {
			got, _, _ := document(t, importing(s.cfg, nil), split(t, r, dir, shots, n)...)
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Fatalf("%s in %d pieces (-whole +pieces):\n%.3000s", s.name, n, d)
			}
		}
	}
}

// TestMergingMost: more files than may be open at once are refused with what to do,
// when they overlap; else they may be any number.
func TestMergingMost(t *testing.T) {
	t.Parallel()
	s := stage(t, 6000, "infected")[0]
	dir := t.TempDir()
	const n = mostOpen + 6
	var apart, overlapping []string
	for i := range n {
		some := s.shots[i*20 : i*20+20]
		apart = append(apart, develop(t, filepath.Join(dir, fmt.Sprintf("%d.pcap", i)), some))
		overlapping = append(overlapping, develop(t, filepath.Join(dir, fmt.Sprintf("%d-long.pcap", i)), append(slices.Clone(some), s.shots[len(s.shots)-1])))
	}
	want, _, _ := document(t, importing(s.cfg, nil), develop(t, filepath.Join(dir, "whole.pcap"), s.shots[:n*20]))
	if got, _, _ := document(t, importing(s.cfg, nil), apart...); !bytes.Equal(want, got) {
		t.Errorf("in files that follow one another (-whole +files):\n%.3000s", cmp.Diff(string(want), string(got)))
	}
	files, err := look(overlapping, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = importing(s.cfg, nil).run(t.Context(), files); err == nil || !strings.Contains(err.Error(), "mergecap") {
		t.Errorf("%d files that overlap: %v", n, err)
	}
}

// errKilled is how a test ends an import in the middle.
var errKilled = errors.New("killed")

// TestMergingKilled: an import of files that overlap is killed at any moment, again
// and again, and ends with the document and the store of one that never was. Then
// all of its files are known.
func TestMergingKilled(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(20170904, 3))
	s := stage(t, 40_000, "everything")[0]
	dir := t.TempDir()
	third := len(s.shots) / 3
	paths := split(t, r, dir, astray(r, s.shots[:2*third], 3), 3)
	later := develop(t, filepath.Join(dir, "later.pcap"), s.shots[2*third:]) // overlaps with none
	broken := filepath.Join(dir, "broken.pcap")
	if err := os.WriteFile(broken, []byte("no capture"), 0o600); err != nil {
		t.Fatal(err)
	}
	paths = append(paths, later, broken, develop(t, filepath.Join(dir, "copy.pcap"), s.shots[2*third:]))

	open := func(name string) *keeper {
		k, err := openKeeper(t.Context(), filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close() })
		return k
	}
	calm, killed := open("calm"), open("killed")
	want, _, _ := document(t, importing(s.cfg, calm), paths...)
	var got []byte
	runs := 0
	for ; got == nil && runs < 100; runs++ {
		im := importing(s.cfg, killed)
		left := 11 + r.IntN(9)
		im.every = -1 // a checkpoint after every block
		im.now = func() time.Time {
			if left--; left == 0 {
				panic(errKilled)
			}
			return time.Now()
		}
		func() {
			defer func() {
				if e := recover(); e != nil && e != errKilled { //nolint:errorlint // the same value
					panic(e)
				}
			}()
			got, _, _ = document(t, im, paths...)
		}()
	}
	t.Logf("%d runs", runs)
	// The copy was counted when its like had been; its entry says when.
	if d := cmp.Diff(timeless(t, want), timeless(t, got)); d != "" || runs < 3 {
		t.Errorf("%d runs; the document of an import that was killed (-calm +killed):\n%.3000s", runs, d)
	}
	if d := cmp.Diff(held(t, calm), held(t, killed)); d != "" {
		t.Errorf("the store of an import that was killed (-calm +killed):\n%.3000s", d)
	}
	again, _, _ := document(t, importing(s.cfg, killed), paths[:4]...)
	var d telescope.Document
	if err := json.Unmarshal(again, &d); err != nil || len(d.DuplicateOf) != 4 || d.Packets != 0 {
		t.Errorf("%v; imported again: %d packets, duplicates %+v", err, d.Packets, d.DuplicateOf)
	}
}

// timeless is a document without the moments at which it was made.
func timeless(t *testing.T, doc []byte) string {
	t.Helper()
	var d telescope.Document
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	for i := range d.DuplicateOf {
		d.DuplicateOf[i].Import, d.DuplicateOf[i].Imported = "", time.Time{}
	}
	b, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// held is what a store says of everything.
func held(t *testing.T, k *keeper) string {
	t.Helper()
	ctx := context.Background()
	var b bytes.Buffer
	for _, g := range []observe.Grain{observe.Minute, observe.Hour, observe.Day} {
		points, err := k.record.Series(ctx, observe.ByTotal, 0, always, g)
		fmt.Fprintln(&b, g, points, err)
	}
	events, _, err := k.record.Events(ctx, observe.EventQuery{Port: -1, Range: always, Limit: 500})
	gaps, wrong := k.record.Gaps(ctx, always)
	findings, _, fault := k.register.List(ctx, register.Query{Limit: 500})
	fmt.Fprintln(&b, err, wrong, fault, len(events), len(gaps), len(findings))
	for i := range gaps {
		gaps[i].Input = ""
	}
	for _, list := range []any{events, gaps, findings} {
		text, err := json.MarshalIndent(list, "", " ")
		fmt.Fprintf(&b, "%s %v\n", text, err)
	}
	return b.String()
}
