package cnc_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect/cnc"
)

// TestMain is the child of TestKill, too: it changes a list until it is killed, and says
// what was acknowledged.
func TestMain(m *testing.M) {
	if where := os.Getenv("CNC_TEST_CHILD"); where != "" {
		child{}.work(where)
	}
	os.Exit(m.Run())
}

// whole is how many names a reading has that is there with all of them, or none.
const whole = 100

type child struct{}

func (child) Helper()                     {}
func (child) Fatal(args ...any)           { fmt.Println("error", fmt.Sprint(args...)); os.Exit(1) }
func (c child) Fatalf(f string, a ...any) { c.Fatal(fmt.Sprintf(f, a...)) }
func (child) Context() context.Context    { return context.Background() }

// work imports, reviews, enforces and withdraws, each round other names.
func (c child) work(where string) {
	db, err := relation.Open(c.Context(), where)
	if err != nil {
		c.Fatal(err)
	}
	r := open(c, db, rules())
	first, err := strconv.Atoi(os.Getenv("CNC_TEST_ROUND"))
	if err != nil {
		c.Fatal(err)
	}
	r.pass(time.Duration(first) * 60 * day)
	for n := 0; ; n++ {
		name := func(s string) string { return fmt.Sprintf("%s-%d-%d.bad.example", s, first, n) }
		r.read("plain", false, c2(name("reviewed"), name("refused"))...)
		r.read("trusted", false, c2(name("auto"), name("out"))...)
		fmt.Println("read", name("reviewed"))
		var many []string
		for i := range whole {
			many = append(many, fmt.Sprintf("%d.", i)+name("many"))
		}
		r.read("many", false, c2(many...)...)
		for who, yes := range map[string]bool{"reviewed": true, "refused": false} {
			if err := r.review(name(who), "abuse:hanako", yes); err != nil {
				c.Fatal(err)
			}
			fmt.Println(who, name(who))
		}
		r.pass(25 * time.Hour)
		r.tick()
		fmt.Println("enforced", name("auto"))
		fmt.Println("enforced", name("reviewed"))
		if _, err := r.Withdraw(c.Context(), cnc.ID("name", name("out")), "legal:jiro", "a mistake"); err != nil {
			c.Fatal(err)
		}
		fmt.Println("withdrawn", name("out"))
	}
}

// TestKill kills a process in the middle of its work, again and again: what it said it had
// done stands, the numbers of the changes have no gap, and nothing is there by halves.
func TestKill(t *testing.T) {
	for _, kind := range relationtest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			where := relationtest.Place(t, kind)
			last := map[string]string{} // what was acknowledged last of a name
			for round := range 3 {
				maps.Copy(last, spawnAndKill(t, where, round))
			}
			if len(last) < 8 {
				t.Fatalf("only %d changes were acknowledged: the test shows nothing", len(last))
			}
			db := relationtest.Open(t, where)
			r := open(t, db, rules())
			in := r.force() // no gap, nothing twice
			have := map[string]bool{}
			if _, err := r.List.Enforced(t.Context(), func(list []cnc.Entry) error {
				for _, e := range list {
					have[e.Value] = true
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(have) != len(in) {
				t.Errorf("%d are in force by the changes, %d by the list", len(in), len(have))
			}
			for name := range have {
				if !in[name] {
					t.Errorf("%s is enforced, and no change says so", name)
				}
			}
			for name, what := range last {
				e, _, err := r.Get(t.Context(), cnc.ID("name", name))
				if err != nil {
					t.Errorf("%s was %s, and isn't there: %v", name, what, err)
					continue
				}
				switch what {
				case "refused", "withdrawn":
					if !e.Barred || !e.State.Over() {
						t.Errorf("%s was %s, and is %s", name, what, e.State)
					}
				case "enforced":
					if e.State != cnc.Enforced && e.State != cnc.Expired && e.State != cnc.Archived {
						t.Errorf("%s was enforced, and is %s", name, e.State)
					}
				case "reviewed":
					if len(e.Reviews) != 1 {
						t.Errorf("%s was reviewed: %+v", name, e.Reviews)
					}
				}
			}
			many := map[string]int{}
			for _, e := range counted(t, r) {
				if _, of, is := strings.Cut(e.Value, ".many-"); is {
					many[of]++
				}
			}
			for of, n := range many {
				if n != whole {
					t.Errorf("%d names of a reading are there, of %d: %s", n, whole, of)
				}
			}
			if len(many) == 0 {
				t.Error("no reading came to its end: the test shows nothing")
			}
		})
	}
}

// counted gives the whole list, and checks that the counts are of it.
func counted(t fatal, r *rig) (all []cnc.Entry) {
	t.Helper()
	s, err := r.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := map[cnc.State]int{}
	for q := (cnc.Query{Order: cnc.ByName, Full: true}); ; {
		list, next, err := r.Page(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			states[list[i].State]++
		}
		all = append(all, list...)
		if q.After = next; next == "" {
			break
		}
	}
	for _, x := range cnc.States() {
		if s.States[x] != states[x] {
			t.Fatalf("%d are counted as %s, and there are %d", s.States[x], x, states[x])
		}
	}
	return all
}

// spawnAndKill gives what a process acknowledged, the last of each name.
func spawnAndKill(t *testing.T, where string, round int) map[string]string {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), "CNC_TEST_CHILD="+where, fmt.Sprint("CNC_TEST_ROUND=", round))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	after := rand.IntN(20) + 8 // acknowledgements; then somewhere in the next change
	last := map[string]string{}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		what, name, _ := strings.Cut(lines.Text(), " ")
		if what == "error" {
			t.Errorf("the child: %s", name)
		}
		last[name] = what
		if n == after {
			pause := time.NewTimer(time.Duration(rand.IntN(20_000)) * time.Microsecond)
			<-pause.C
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for lines.Scan() {
		if what, name, whole := strings.Cut(lines.Text(), " "); whole && name != "" {
			last[name] = what
		}
	}
	_, _ = io.Copy(io.Discard, out) // it was killed
	_ = c.Wait()                    // so it fails
	return last
}
