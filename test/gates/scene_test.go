package gates_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe/telescope"
	"sakimori/sim"
	"sakimori/test/peers"
)

var (
	program peers.Program
	update  = flag.Bool("update", false, "write docs/gates.md")
	seed    = flag.Uint64("seed", 0, "added to the scenes' seeds, to measure on others than those that are tuned on")
	root    = filepath.Join("..", "..")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sakimori-gates-")
	if err == nil {
		defer os.RemoveAll(dir)
		program, err = peers.Build(context.Background(), root, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// outcome is one scene with what the binary made of it.
type outcome struct {
	scene    sim.Scene
	truth    sim.Truth
	doc      telescope.Document
	findings []detect.Finding     // as they ended
	first    map[string]time.Time // when the first version of each was made, by id
	rises    map[string]bool      // by id, surges that the packets show
	stated   map[string]bool      // by key, surges of the truth that they show
}

// play writes a scene, has it imported, and asks for the findings.
func play(t *testing.T, s sim.Scene) outcome {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	file, data, config := filepath.Join(dir, "scene.pcap"), filepath.Join(dir, "data"), filepath.Join(dir, "config.yaml")
	o := outcome{scene: s, truth: write(t, s, file), first: map[string]time.Time{}}
	// The config names those who scan openly, as an operator would.
	text := fmt.Sprintf("telescope:\n  research:\n    - {name: research of the scene, prefixes: [%s]}\n  verified: [%s]\n",
		joined(o.truth.Research), joined(o.truth.Verified))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ask(ctx, t, &o.doc, "import", "telescope", "--config", config, "--data", data, "--dark", joined(o.truth.Dark), "--own", joined(o.truth.Own), "--progress", "none", "-o", "json", file)
	if len(o.doc.Errors) > 0 || len(o.doc.DuplicateOf) > 0 {
		t.Errorf("the import says %+v, duplicates %+v", o.doc.Errors, o.doc.DuplicateOf)
	}
	var list struct {
		Rows []detect.Finding `json:"rows"`
		Next string           `json:"next"`
	}
	ask(ctx, t, &list, "finding", "list", "--data", data, "--limit", "500", "-o", "json")
	if list.Next != "" {
		t.Errorf("there are more than 500 findings")
	}
	o.findings = list.Rows
	o.begins(ctx, t, data)
	return o
}

// begins looks when each finding's first version was made: no command tells it of all.
func (o *outcome) begins(ctx context.Context, t *testing.T, data string) {
	t.Helper()
	if len(o.findings) == 0 {
		return
	}
	s, err := store.Open(ctx, data, store.Options{MemoryLimit: 384 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	kept, err := register.New(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range o.findings {
		_, history, err := kept.Get(ctx, f.ID)
		if err != nil || len(history) == 0 {
			t.Fatal(f.ID, history, err)
		}
		for _, h := range history {
			if at, ok := o.first[f.ID]; !ok || h.Changed.Before(at) {
				o.first[f.ID] = h.Changed
			}
		}
	}
}

func ask(ctx context.Context, t *testing.T, v any, args ...string) {
	t.Helper()
	a, err := program.Run(ctx, args...)
	if err == nil {
		err = a.Into(v)
	}
	if err != nil {
		t.Fatalf("sakimori %s: %v", strings.Join(args, " "), err)
	}
}

func write(t *testing.T, c sim.Capture, path string) sim.Truth {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	b := bufio.NewWriterSize(f, 1<<20)
	w, err := pcap.NewWriter(b, packet.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := c.Write(w)
	for _, end := range []func() error{w.Flush, b.Flush, f.Close} {
		if err == nil {
			err = end()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return truth
}

func joined[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i := range list {
		words[i] = list[i].String()
	}
	return strings.Join(words, ",")
}

// show is a value on one line, for the list of misses.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
