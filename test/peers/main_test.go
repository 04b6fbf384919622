package peers_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sakimori/test/peers"
)

var program peers.Program

func TestMain(m *testing.M) {
	flag.Parse()
	// Some tests wait most of their time: let the others run meanwhile.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set(f.Name, "6") // it is there, and takes numbers
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sakimori-peers-")
	if err == nil {
		defer os.RemoveAll(dir)
		program, err = peers.Build(context.Background(), filepath.Join("..", ".."), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// say runs the program to its end and gives what it wrote; any exit code but 0
// and 3 (findings) fails the test.
func say(ctx context.Context, t *testing.T, args ...string) peers.Answer {
	t.Helper()
	a, err := program.Run(ctx, args...)
	if err != nil {
		t.Fatalf("sakimori %s: %v", strings.Join(args, " "), err)
	}
	if a.Code != 0 && a.Code != 3 {
		t.Fatalf("sakimori %s: exit code %d: %s", strings.Join(args, " "), a.Code, bytes.TrimSpace(a.Err))
	}
	return a
}

// ask decodes what the program says.
func ask(ctx context.Context, t *testing.T, v any, args ...string) {
	t.Helper()
	if err := say(ctx, t, args...).Into(v); err != nil {
		t.Fatalf("sakimori %s: %v", strings.Join(args, " "), err)
	}
}

// needs skips, loudly, what can't be tested here; on a build machine that is a
// failure.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	var missing []string
	if os.Getuid() != 0 {
		missing = append(missing, "root (for network namespaces)")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return
	}
	why := "needs " + strings.Join(missing, ", ") + ": see scripts/debian-packages test"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip("SKIPPED: " + why)
}
