package respond

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/lawful"
)

// TestMain runs the program that kills itself.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DESK_DIR"); dir != "" {
		if err := drive(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// town is what a desk stands in whose process dies: a ledger and a router are files, and
// whoever touches one dies at a certain step, before it or after.
type town struct {
	*world
	dir   string
	step  int // to die at, counted down; 0 never
	grant lawful.Grant
}

// Find gives a grant that outlives a process.
func (w *town) Find(context.Context, string) (lawful.Grant, error) { return w.grant, nil }

func (w *town) Ask(ctx context.Context, r lawful.Request) (lawful.Grant, error) {
	return w.gate.Ask(ctx, r)
}

func (w *town) Approve(ctx context.Context, id, who string) (lawful.Grant, error) {
	return w.gate.Approve(ctx, id, who)
}

// here is a step.
func (w *town) here() {
	if w.step--; w.step == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
}

// write adds a line to a file.
func (w *town) write(file, line string) error {
	f, err := os.OpenFile(filepath.Join(w.dir, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		err = errors.Join(err, f.Close())
	}
	return err
}

func (w *town) Record(_ context.Context, _ *beacon, d Deed) error {
	w.here()
	defer w.here()
	return w.write("ledger", string(d.To))
}

func (w *town) Announce(_ context.Context, id string, _ []netip.Prefix, _ time.Time) error {
	w.here()
	defer w.here()
	f, err := os.OpenFile(filepath.Join(w.dir, "held-"+id), os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil // it has it
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), w.write("router", "announced"))
}

func (w *town) Withdraw(_ context.Context, id string) error {
	w.here()
	defer w.here()
	err := os.Remove(filepath.Join(w.dir, "held-"+id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(err, w.write("router", "withdrawn"))
}

func (w *town) Held(context.Context) (list []Held, err error) {
	files, err := filepath.Glob(filepath.Join(w.dir, "held-*"))
	for _, f := range files {
		list = append(list, Held{ID: strings.TrimPrefix(filepath.Base(f), "held-"), Peer: "edge1", Rules: 2, At: noon})
	}
	return list, err
}

func (w *town) desk(ctx context.Context) (*beacons, *relation.DB, error) {
	db, err := relation.Open(ctx, filepath.Join(w.dir, "house.sqlite"))
	if err != nil {
		return nil, nil, err
	}
	p := Policy{Live: true, TTL: 12 * time.Hour}
	p.Fill(2, 10)
	d, err := Open(ctx, Deps[netip.Prefix]{DB: db, Clock: w, Gate: w, Guideline: w.rules, Announcers: []Announcer[netip.Prefix]{w}, Policy: &p}, kind, w)
	return d, db, err
}

// build makes a town of a folder.
func build(ctx context.Context, dir string) (*town, error) {
	made, err := makeWorld()
	if err != nil {
		return nil, err
	}
	w := &town{world: made, dir: dir}
	b := &beacon{Act: Act{ProposedBy: "network:taro"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.4.0/24")}}
	ground, err := w.Ground(ctx, b)
	if err != nil {
		return nil, err
	}
	r, err := ground.Request("")
	if err != nil {
		return nil, err
	}
	_, err = w.gate.Ask(ctx, r)
	p, waits := errors.AsType[*lawful.Pending](err)
	if !waits {
		return nil, fmt.Errorf("the gate asks nobody else: %w", err)
	}
	w.grant, err = w.gate.Approve(ctx, p.Decision.ID, "admin:jiro")
	return w, err
}

// drive looks a few times at what is due, in a process of its own.
func drive(dir string) error {
	ctx := context.Background()
	w, err := build(ctx, dir)
	if err != nil {
		return err
	}
	w.step, _ = strconv.Atoi(os.Getenv("DESK_STEP")) // none is never
	later, err := time.ParseDuration(os.Getenv("DESK_LATER"))
	if err != nil {
		return err
	}
	w.now = noon.Add(later) // the lease of one that was killed is over
	if os.Getenv("DESK_OVER") != "" {
		w.out = true
	}
	d, db, err := w.desk(ctx)
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := d.Tick(ctx); err != nil {
			return err
		}
		w.pass(Between)
	}
	return db.Close()
}

// run runs such a process, and tells whether it killed itself.
func run(t *testing.T, dir string, step int, later time.Duration, over bool) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0]) // #nosec G204 -- this very program
	cmd.Env = append(os.Environ(), "DESK_DIR="+dir, fmt.Sprint("DESK_STEP=", step), "DESK_LATER="+later.String())
	if over {
		cmd.Env = append(cmd.Env, "DESK_OVER=1")
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if x, is := errors.AsType[*exec.ExitError](err); !is || x.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL { //nolint:forcetypeassert // of this system
		t.Fatalf("%v: %s", err, out)
	}
	return true
}

// told are the lines of a file.
func told(dir, file string) string {
	b, _ := os.ReadFile(filepath.Join(dir, file)) // none is none
	return strings.Join(strings.Fields(string(b)), " ")
}

// TestSIGKILL: a process is killed before and after each of its outward steps; the next
// one does what is left. The router is told once, nothing stands without an entry, and at
// the end nothing stands.
func TestSIGKILL(t *testing.T) {
	t.Parallel()
	for _, over := range []bool{false, true} {
		killed := 0
		for step := 1; ; step++ {
			dir := t.TempDir()
			w, err := build(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			d, db, err := w.desk(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			id := approved(t, d, "203.0.4.0/24").ID
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if over { // it stands, and is to be withdrawn
				run(t, dir, 0, time.Minute, false)
			}
			died := run(t, dir, step, 3*time.Minute, over)
			if !died {
				break
			}
			killed++
			run(t, dir, 0, 6*time.Minute, over)
			d, db, err = w.desk(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want, router := Announced, "announced"
			if over {
				want, router = Withdrawn, "announced withdrawn"
			}
			b := at(t, d, id, want)
			if got := told(dir, "router"); got != router || b.Standing == over {
				t.Errorf("killed at step %d: the router was told %q; standing %v", step, got, b.Standing)
			}
			if got := told(dir, "ledger"); !strings.Contains(got, string(want)) || strings.Index(got, "approved") > strings.Index(got, "announced") {
				t.Errorf("killed at step %d: the ledger has %q", step, got)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
		if killed != 4 {
			t.Errorf("killed at %d steps", killed)
		}
	}
}
