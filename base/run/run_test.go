package run_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/run"
)

// diary keeps what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(lines, d.lines); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

// steady is ready after warm, works until stopped, and needs linger to stop.
func (d *diary) steady(name string, warm, linger time.Duration) run.Component {
	return run.Component{Name: name, Run: func(ctx context.Context, ready func()) error {
		d.add(name + " starts")
		time.Sleep(warm)
		ready()
		<-ctx.Done()
		time.Sleep(linger)
		d.add(name + " stopped")
		return ctx.Err()
	}}
}

func TestAllStartsInOrderAndStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		err := run.All(ctx, d.steady("store", 2*time.Second, time.Second), d.steady("telescope", time.Second, time.Second), d.steady("console", 0, 0))
		if err != nil {
			t.Errorf("an end that was asked for is no failure: %v", err)
		}
		d.want(t, "store starts", "telescope starts", "console starts", "console stopped", "telescope stopped", "store stopped")
		if took := time.Since(begin); took != time.Minute+2*time.Second {
			t.Errorf("took %v, want a minute of work and 2 s to stop", took)
		}
	})
}

func TestAllWaitsForReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- run.All(ctx, d.steady("store", time.Hour, 0), d.steady("console", 0, 0)) }()
		time.Sleep(59 * time.Minute)
		d.want(t, "store starts")
		time.Sleep(2 * time.Minute)
		d.want(t, "store starts", "console starts")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAllEndsBeforeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hangs := run.Component{Name: "capture", Run: func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			d.add("capture stopped")
			return nil
		}}
		if err := run.All(ctx, d.steady("store", 0, 0), hangs, d.steady("console", 0, 0)); err != nil {
			t.Error(err)
		}
		d.want(t, "store starts", "capture stopped", "store stopped")
	})
}

func TestAllDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		quick := run.Component{Name: "import", Run: func(context.Context, func()) error {
			d.add("import done")
			return nil
		}}
		if err := run.All(t.Context(), quick, quick); err != nil {
			t.Error(err)
		}
		d.want(t, "import done", "import done")

		// One that is done doesn't stop the others.
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		if err := run.All(ctx, quick, d.steady("console", 0, 0)); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != time.Hour {
			t.Errorf("the console stood for %v, want an hour", took)
		}
	})
}

func TestAllNothing(t *testing.T) {
	if err := run.All(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAllFailures(t *testing.T) {
	broken := errors.New("disk is full")
	tests := []struct {
		name string
		fail func(ctx context.Context, ready func()) error
		want []string // in the error
		none bool     // no component after it may have started
	}{
		{"before ready", func(context.Context, func()) error { return broken }, []string{"middle: disk is full"}, true},
		{"at work", func(_ context.Context, ready func()) error {
			ready()
			time.Sleep(time.Second)
			return broken
		}, []string{"middle: disk is full"}, false},
		{"while stopping", func(ctx context.Context, ready func()) error {
			ready()
			<-ctx.Done()
			return fmt.Errorf("flush: %w", broken)
		}, []string{"middle: flush: disk is full"}, false},
		{"cancelled though nobody asked", func(_ context.Context, ready func()) error {
			ready()
			time.Sleep(time.Second)
			return context.Canceled
		}, []string{"middle: context canceled"}, false},
		{"panic", func(context.Context, func()) error { panic("slice out of bounds") }, []string{"middle: panic: slice out of bounds"}, true},
		{"panic of nil map", func(_ context.Context, ready func()) error {
			ready()
			var m map[string]int
			m["x"] = 1 //nolint:staticcheck // it is to panic
			return nil
		}, []string{"middle: panic: assignment to entry in nil map"}, false},
		{"goexit", func(context.Context, func()) error {
			runtime.Goexit()
			return nil
		}, []string{"middle: its goroutine ended without returning"}, true},
		{"ready twice, then fails", func(_ context.Context, ready func()) error {
			ready()
			ready()
			return broken
		}, []string{"middle: disk is full"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := run.All(ctx, d.steady("store", 0, 0), run.Component{Name: "middle", Run: tt.fail}, d.steady("console", 0, 0))
				if err == nil {
					t.Fatal("no error")
				}
				for _, w := range tt.want {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("error %q lacks %q", err, w)
					}
				}
				if d.lines[len(d.lines)-1] != "store stopped" {
					t.Errorf("the store was left standing: %v", d.lines)
				}
				if tt.none {
					d.want(t, "store starts", "store stopped")
				}
			})
		})
	}
}

func TestPanicKeepsItsStack(t *testing.T) {
	err := run.All(t.Context(), run.Component{Name: "x", Run: func(context.Context, func()) error { panic(42) }})
	var p *run.PanicError
	if !errors.As(err, &p) {
		t.Fatalf("%T is no PanicError", err)
	}
	if p.Value != 42 || !strings.Contains(string(p.Stack), "run_test.go") {
		t.Errorf("value %v, stack %s", p.Value, p.Stack)
	}
}

func TestFirstFailureComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := func(name string, after time.Duration) run.Component {
			return run.Component{Name: name, Run: func(ctx context.Context, ready func()) error {
				ready()
				select {
				case <-time.After(after):
				case <-ctx.Done():
				}
				return errors.New("failed")
			}}
		}
		err := run.All(t.Context(), fails("store", time.Minute), fails("ring", time.Second), fails("console", time.Hour))
		want := "ring: failed\nconsole: failed\nstore: failed"
		if err == nil || err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	})
}

// One that hangs doesn't take the store's time away.
func TestStopLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		release := make(chan struct{})
		hang := func(name string) run.Component {
			return run.Component{Name: name, Run: func(_ context.Context, ready func()) error {
				ready()
				<-release
				return nil
			}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		if err := run.All(ctx, hang("never started")); err != nil {
			t.Errorf("nothing was started: %v", err)
		}

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := run.All(ctx, d.steady("store", 0, 7*time.Second), hang("ring"), hang("console"))
		if !errors.Is(err, run.ErrStuck) || !strings.Contains(err.Error(), "ring: did not stop") || !strings.Contains(err.Error(), "console: did not stop") {
			t.Errorf("got %v", err)
		}
		d.want(t, "store starts", "store stopped")
		if took := time.Since(begin); took > time.Second+run.StopLimit {
			t.Errorf("took %v", took)
		}

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		if err := run.All(ctx, hang("store")); !errors.Is(err, run.ErrStuck) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != time.Second+run.StopLimit {
			t.Errorf("the last one has the whole limit, not %v", took)
		}
		close(release)
	})
}

// Since Go 1.26 the cause of a context from signal.NotifyContext is an error
// that names the signal. It must not make a failure of Ctrl-C.
func TestSignalIsNoFailure(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	var d diary
	c := d.steady("store", 0, 0)
	work := c.Run
	c.Run = func(ctx context.Context, ready func()) error {
		p, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		if err := p.Signal(os.Interrupt); err != nil {
			return err
		}
		return work(ctx, ready)
	}
	if err := run.All(ctx, c); err != nil {
		t.Error(err)
	}
}

// The values of the context reach the components.
func TestValuesAreKept(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "kept")
	err := run.All(ctx, run.Component{Name: "x", Run: func(ctx context.Context, _ func()) error {
		if ctx.Value(key{}) != "kept" {
			return errors.New("lost the value")
		}
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
}
