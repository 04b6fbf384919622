//go:build linux

// Bench measures sakimori on the machine at hand, side by side with the tools
// of the field: whole imports (A), live capture (B), the console's questions (C),
// where the time of an import goes (D), who had which address (E), the ledger (F), the C&C list on its way (G),
// how soon floods are found (H), what it costs to take flow records (I), and routes (J).
// `make bench` runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	packets  uint64
	long     uint64 // packets of a second capture, for sakimori and tcpdump alone; 0 none
	rounds   int
	timeout  time.Duration // of each command
	parts    string
	dir      string // cache of what is generated
	year     string // where part C's year stays, whatever the sources; "" is below dir
	pgo      string // where part D keeps a profile for the compiler; "" nowhere
	sakimori string // the program that is measured
	root     string // of the repository
	hourDays int    // days of which hours are kept, in part C
	yearDays int    // days of the year, in part C
	trial    time.Duration
	kept     uint64 // records that part E keeps
	keep     string // folder in which this process keeps them, for part E's own
	rules    uint64 // of part G's zone, and rows of its feed
	changes  int    // that part G publishes in each zone
	quick    bool
	write    bool
	log      io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const page = "docs/bench.md"

func command(ctx context.Context, args []string, out, errs io.Writer) error {
	o := options{log: errs}
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.SetOutput(errs)
	fl.Uint64Var(&o.packets, "packets", 10_000_000, "size of the generated capture")
	fl.Uint64Var(&o.long, "long", 30_000_000, "size of a longer capture, which only sakimori and tcpdump read; 0 none")
	fl.IntVar(&o.rounds, "rounds", 3, "how often each command runs, in turn with the others")
	fl.DurationVar(&o.timeout, "timeout", 10*time.Minute, "longest time for one command")
	fl.StringVar(&o.parts, "parts", allParts, "A imports, B live, C console, D profile, E attribution, F ledger, G the C&C list, H floods, I flows, J routes")
	fl.Uint64Var(&o.rules, "rules", 1_000_000, "rules of part G's zone, and rows of its feed")
	fl.Uint64Var(&o.kept, "kept", 10_000_000, "records that part E keeps")
	fl.StringVar(&o.keep, "keep", "", "only keep so many records in this folder, and say what it took: part E runs itself so")
	fl.StringVar(&o.dir, "dir", "", "where generated data is kept (default build/bench in the repository)")
	fl.StringVar(&o.pgo, "pgo", "", "file in which part D keeps its profiles, for the compiler")
	fl.StringVar(&o.year, "year", "", "folder in which part C keeps its year, however the sources change (default one below -dir for each state of them)")
	fl.StringVar(&o.sakimori, "sakimori", "", "the program to measure (default bin/sakimori, built if it isn't there)")
	fl.IntVar(&o.hourDays, "hour-days", 60, "days of which part C keeps hours, besides a year of days")
	fl.BoolVar(&o.quick, "quick", false, "a smoke run of about a minute; its figures mean nothing")
	fl.BoolVar(&o.write, "write", false, "put the result in "+page+"; parts that -parts leaves out stay as they are there")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if fl.Arg(0) == "role" {
		return play(ctx, fl.Args()[1:], os.Stdin, out)
	}
	o.yearDays, o.trial, o.changes = 365, 2*time.Second, 12
	if o.quick {
		o.packets, o.long, o.rounds, o.hourDays, o.yearDays, o.trial = min(o.packets, 200_000), min(o.long, 300_000), 1, 3, 70, 300*time.Millisecond
		o.kept, o.rules, o.changes = min(o.kept, 200_000), min(o.rules, 20_000), 2
	}
	o.parts = strings.ToUpper(o.parts)
	if strings.Trim(o.parts, allParts) != "" || o.parts == "" || fl.NArg() > 0 || o.packets < 10_000 || o.rounds < 1 || o.hourDays < 2 || o.kept < 1000 || o.rules < 10_000 {
		return errors.New("usage: bench [-parts ABCDEFGHIJ] [-packets N ≥ 10000] [-rounds N] [-hour-days N ≥ 2] [-year DIR] [-kept N ≥ 1000] [-rules N ≥ 10000] [-quick] [-write]")
	}
	if o.write && o.quick {
		return errors.New("-write keeps figures, and those of -quick mean nothing: leave one of them away")
	}
	if o.keep != "" {
		k, err := keep(ctx, o.keep, o.kept, 1_000_000)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(k)
	}
	if err := o.prepare(ctx); err != nil {
		return err
	}
	r, err := measure(ctx, &o, out)
	if err != nil {
		return err
	}
	if o.write {
		to := filepath.Join(o.root, page)
		before, err := os.ReadFile(to)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(to, []byte(r.page(string(before))), 0o644); err != nil {
			return err
		}
		o.say("written: %s", page)
	}
	return r.wrong()
}

// allParts are the letters of the parts, in the order of the page.
const allParts = "ABCDEFGHIJ"

// measure runs the parts in an order in which the memory of one doesn't weigh
// on another, and prints each as soon as it is there.
func measure(ctx context.Context, o *options, out io.Writer) (*report, error) {
	r := &report{machine: look(ctx, o)}
	if _, err := io.WriteString(out, r.machine.text()); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		name string
		run  func(context.Context, *options, *report) (section, error)
	}{{"A", imports}, {"B", live}, {"D", profile}, {"C", console}, {"E", attribution}, {"F", books}, {"G", names}, {"H", floods}, {"I", flows}, {"J", routes}} {
		if !strings.Contains(o.parts, p.name) {
			continue
		}
		s, err := p.run(ctx, o, r)
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", p.name, err)
		}
		r.sections = append(r.sections, s)
		if _, err := io.WriteString(out, s.text()); err != nil {
			return nil, err
		}
	}
	r.machine.end()
	v := r.verdict()
	v.note("%s", r.machine.when())
	_, err := io.WriteString(out, v.text())
	return r, err
}

// prepare finds the repository, the program and the folder for what is made.
func (o *options) prepare(ctx context.Context) error {
	at, err := os.Getwd()
	if err != nil {
		return err
	}
	for o.root = at; ; o.root = filepath.Dir(o.root) {
		if _, err := os.Stat(filepath.Join(o.root, "go.mod")); err == nil {
			break
		}
		if o.root == filepath.Dir(o.root) {
			return errors.New("run it inside the repository: go run ./test/bench")
		}
	}
	if o.dir == "" {
		o.dir = filepath.Join(o.root, "build", "bench")
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	if o.sakimori != "" {
		o.sakimori, err = filepath.Abs(o.sakimori)
		return err
	}
	o.sakimori = filepath.Join(o.root, "bin", "sakimori")
	if _, err := os.Stat(o.sakimori); err == nil {
		return nil
	}
	o.sakimori = filepath.Join(o.dir, "sakimori")
	o.say("bin/sakimori isn't there (make build): building one")
	return o.build(ctx, "build", "-o", o.sakimori, "./cmd/sakimori")
}

func (o *options) build(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = o.root
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// say tells how far it is.
func (o *options) say(format string, args ...any) {
	fmt.Fprintf(o.log, "bench: "+format+"\n", args...)
}
