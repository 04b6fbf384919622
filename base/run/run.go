// Package run starts the parts of a process in order and stops them in
// reverse, so that the part that remembers is the first to stand and the last
// to fall.
package run

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// StopLimit is how long a process may take from the wish to stop to its end.
// It stays below the 90 s after which systemd kills a unit.
const StopLimit = 30 * time.Second

// Component is one part of a process.
type Component struct {
	Name string
	// Run works until ctx ends, and returns only when every goroutine that it
	// started has ended. It calls ready once it can be used by the components
	// after it; until then they aren't started. A nil error means that its
	// work is done (a file is read to its end) and the others go on; any other
	// error stops them all.
	Run func(ctx context.Context, ready func()) error
}

// PanicError is a panic of a component, turned into an error so that the
// others can still be stopped in order.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // where it happened, as debug.Stack prints it
}

// Error leaves out the stack: it is for the log, not for a person's last line.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// ErrStuck is in the error of a component that did not stop in its time.
var ErrStuck = errors.New("did not stop in time")

// All starts the components in order, each after the one before has said that
// it is ready, and blocks until all of them have returned. When ctx ends or
// one of them fails, they are stopped in reverse order, one at a time, so that
// each can still hand what it holds to those before it.
//
// It returns nil when all were done or stopped cleanly, whatever ended ctx: a
// signal is no failure. Else it returns the errors of the components, joined,
// the first to fail first, each with the name of its component.
func All(ctx context.Context, components ...Component) error {
	failed := make(chan failure, len(components))
	var started []*running
	var first error

start:
	for _, c := range components {
		if ctx.Err() != nil {
			break
		}
		r := start(ctx, c, failed)
		started = append(started, r)
		select {
		case <-r.ready:
		case <-r.done: // before it was ready: its failure, if any, was sent
			select {
			case f := <-failed:
				first = f.named()
				break start
			default:
			}
		case f := <-failed: // of one that was started before
			first = f.named()
			break start
		case <-ctx.Done():
			break start
		}
	}
	if first == nil {
		first = wait(ctx, started, failed)
	}
	return errors.Join(first, stop(started, failed))
}

// running is a component that was started.
type running struct {
	name   string
	cancel context.CancelFunc
	ready  chan struct{} // closed by the component's call of ready
	done   chan struct{} // closed after its failure, if any, was sent
}

type failure struct {
	name string
	err  error
}

func (f failure) named() error { return fmt.Errorf("%s: %w", f.name, f.err) }

// start runs c under a context of its own, which keeps the values of ctx but
// not its end: the order of stopping is ours.
func start(ctx context.Context, c Component, failed chan<- failure) *running {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{name: c.Name, cancel: cancel, ready: make(chan struct{}), done: make(chan struct{})}
	go func() {
		err := errors.New("its goroutine ended without returning") // unless it says otherwise
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Stack: debug.Stack()}
			}
			asked := own.Err() != nil && errors.Is(err, context.Canceled)
			if err != nil && !asked {
				failed <- failure{c.Name, err} // never blocks: one place for each component
			}
			cancel()
			close(r.done)
		}()
		err = c.Run(own, sync.OnceFunc(func() { close(r.ready) }))
	}()
	return r
}

// wait blocks until ctx ends, one has failed or all are done.
func wait(ctx context.Context, started []*running, failed <-chan failure) error {
	for _, r := range started {
		select {
		case <-r.done:
		case f := <-failed:
			return f.named()
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// stop ends the components, the last started first. One that hangs may use up
// no more than half of the time that is left, so that those below it, the
// store at the very end, still get theirs.
func stop(started []*running, failed <-chan failure) error {
	var errs []error
	deadline := time.Now().Add(StopLimit) //nolint:forbidigo // a span of the machine, not a time of the data
	for i, r := range slices.Backward(started) {
		share := time.Until(deadline)
		if i > 0 {
			share /= 2
		}
		r.cancel()
		if !r.within(share) {
			errs = append(errs, fmt.Errorf("%s: %w (%v)", r.name, ErrStuck, share.Round(time.Millisecond)))
		}
	}
	for {
		select {
		case f := <-failed:
			errs = append(errs, f.named())
		default:
			return errors.Join(errs...)
		}
	}
}

// within tells whether the component returned before d was over.
func (r *running) within(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.done:
		return true
	case <-t.C:
		return false
	}
}
