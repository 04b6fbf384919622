package optout_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sakimori/base/clock"
	"sakimori/respond/rpz/optout"
)

// world is who has what, who consents, and the zone.
type world struct {
	now      time.Time
	has      map[netip.Prefix][]string
	until    map[netip.Prefix]time.Time
	after    map[netip.Prefix][]string // who has it from until on
	yes      map[string]bool
	zone     map[netip.Prefix]bool
	serial   uint32
	deaf     bool // the register doesn't answer
	full     bool // the zone can't be changed
	untold   bool // the history doesn't answer
	mistaken func(string, ...any)
}

func newWorld(t interface{ Fatalf(string, ...any) }) *world {
	return &world{
		now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), has: map[netip.Prefix][]string{}, until: map[netip.Prefix]time.Time{}, after: map[netip.Prefix][]string{},
		yes: map[string]bool{}, zone: map[netip.Prefix]bool{}, mistaken: t.Fatalf,
	}
}

var errAway = errors.New("away")

func (w *world) Now() time.Time { return w.now }

func (w *world) Holders(_ context.Context, p netip.Prefix, at time.Time) ([]string, time.Time, error) {
	if w.untold {
		return nil, time.Time{}, errAway
	}
	if u, told := w.until[p]; told {
		if !at.Before(u) {
			return w.after[p], time.Time{}, nil
		}
		return w.has[p], u, nil
	}
	return w.has[p], time.Time{}, nil
}

func (w *world) Held(_ context.Context, _ time.Time, visit func(netip.Prefix) error) error {
	for p := range w.has {
		if w.untold {
			return errAway
		}
		if err := visit(p); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Consents(_ context.Context, subject string, _ time.Time) (bool, error) {
	if w.deaf {
		return true, errAway
	}
	return w.yes[subject], nil
}

func (w *world) Change(_ context.Context, add, remove []netip.Prefix) (uint32, error) {
	if w.full {
		return 0, errAway
	}
	for _, p := range add {
		if w.zone[p] {
			w.mistaken("%s is added twice", p)
		}
		w.zone[p] = true
	}
	for _, p := range remove {
		if !w.zone[p] {
			w.mistaken("%s is removed, and wasn't there", p)
		}
		delete(w.zone, p)
	}
	w.serial++
	return w.serial, nil
}

func (w *world) Clients(context.Context) ([]netip.Prefix, error) {
	return slices.Collect(maps.Keys(w.zone)), nil
}

// right is what the zone must hold.
func (w *world) right() map[netip.Prefix]bool {
	m := map[netip.Prefix]bool{}
	for p := range w.has {
		list, _, _ := w.Holders(context.Background(), p, w.now)
		for _, h := range list {
			if h == "" || !w.yes[h] {
				m[p] = true
			}
		}
	}
	return m
}

// TestFollows: whoever gets or loses an address, whatever they say, whatever doesn't
// answer meanwhile: when all answers again the zone is what it must be, and at no moment
// is an address missing of which it was known that its holder declines.
func TestFollows(t *testing.T) {
	places := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("2001:db8:0:100::/56")}
	people := []string{"S-1", "S-2", "S-3", ""}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		f := optout.New(optout.Config{Waiting: rapid.IntRange(1, 4).Draw(t, "waiting")}, w, w, w, w)
		all := func() {
			w.deaf, w.full, w.untold = false, false, false
			f.Follow(context.Background())
			f.Follow(context.Background()) // what was swept for
			if want := w.right(); !maps.Equal(w.zone, want) {
				t.Fatalf("the zone is %v, not %v", w.zone, want)
			}
			if s := f.Stats(); s.Clients != len(w.zone) || s.Waiting != 0 || s.Serial != w.serial {
				t.Fatalf("%+v of %v at %d", s, w.zone, w.serial)
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.now = w.now.Add(time.Second)
			p := rapid.SampledFrom(places).Draw(t, "place")
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0, 1:
				w.has[p] = rapid.SliceOfN(rapid.SampledFrom(people), 0, 2).Draw(t, "who")
				delete(w.until, p)
				f.Touch(p)
			case 2:
				w.has[p], w.after[p], w.until[p] = []string{"S-1"}, []string{"S-2"}, w.now.Add(5*time.Second)
				f.Touch(p)
			case 3:
				s := rapid.SampledFrom(people[:3]).Draw(t, "subject")
				w.yes[s] = rapid.Bool().Draw(t, "yes")
				f.Said(s)
			case 4:
				w.deaf = true
			case 5:
				w.full = true
			case 6:
				w.untold = true
			case 7:
				f.Follow(context.Background())
				if !w.full && !w.deaf && !w.untold {
					for p := range w.right() {
						if !w.zone[p] && f.Stats().Waiting == 0 {
							t.Fatalf("%s isn't left alone: %v", p, w.zone)
						}
					}
				}
			case 8:
				all()
			}
		}
		all()
	})
}

// TestUnknown: where nothing answers, an address is left alone.
func TestUnknown(t *testing.T) {
	for name, change := range map[string]func(w *world){"the register": func(w *world) { w.deaf = true }, "the history": func(w *world) { w.untold = true }} {
		w := newWorld(t)
		p := netip.MustParsePrefix("192.0.2.1/32")
		w.has[p], w.yes["S-1"] = []string{"S-1"}, true
		change(w)
		f := optout.New(optout.Config{}, w, w, w, w)
		f.Touch(p)
		f.Follow(t.Context())
		if s := f.Stats(); !w.zone[p] || s.Failed == 0 || s.Error == "" {
			t.Errorf("%s is away, and %s isn't left alone: %+v", name, p, s)
		}
	}
}

// TestEnding: what goes is gathered for longer than what comes, where that is wished for, and
// goes in its time.
func TestEnding(t *testing.T) {
	w := newWorld(t)
	f := optout.New(optout.Config{Ending: 3 * time.Second}, w, w, w, w)
	p := func(i int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32) }
	for i := range 4 {
		w.has[p(i)] = []string{"S-1"} // never consented
		f.Touch(p(i))
	}
	f.Follow(t.Context())
	follow := func(after time.Duration, want ...bool) {
		t.Helper()
		w.now = w.now.Add(after)
		f.Follow(t.Context())
		for i, is := range want {
			if w.zone[p(i)] != is {
				t.Fatalf("%s: %v, not %v", p(i), w.zone, want)
			}
		}
	}
	goes := func(i int) { delete(w.has, p(i)); f.Touch(p(i)) }
	goes(0)
	follow(time.Second, false, true, true, true) // the first waits for nobody
	goes(1)
	follow(time.Second, false, true, true, true)
	goes(2)
	w.has[p(0)] = []string{"S-1"}
	f.Touch(p(0))
	follow(time.Second, true, true, true, true) // and who comes for nobody at all
	w.has[p(2)] = []string{"S-1"}               // comes back meanwhile
	follow(time.Second, true, false, true, true)
	goes(3)
	follow(4*time.Second, true, false, true, false)
	if s := f.Stats(); s.Worst < 2*time.Second || s.Worst > 5*time.Second {
		t.Errorf("%+v", s)
	}
}

// TestRun: a record moves the zone within its time; after a start the zone stays as it
// was until everything was gone through, and then is right.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stale, p := netip.MustParsePrefix("192.0.2.9/32"), netip.MustParsePrefix("192.0.2.1/32")
		w.zone[stale], w.has[p] = true, []string{"S-1"} // of before the start; S-1 never consented
		f := optout.New(optout.Config{}, w, w, w, clock.System{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		ready := make(chan struct{})
		go func() { ended <- f.Run(ctx, func() { close(ready) }) }()
		<-ready
		time.Sleep(time.Second)
		synctest.Wait()
		if w.zone[stale] || !w.zone[p] || f.Stats().Swept.IsZero() {
			t.Errorf("after a start: %v %+v", w.zone, f.Stats())
		}
		w.has[p], w.yes["S-2"] = []string{"S-2"}, true // a stranger gets the address
		f.Touch(p)
		time.Sleep(time.Second)
		synctest.Wait()
		if w.zone[p] {
			t.Errorf("%s inherited a stranger's choice", p)
		}
		w.yes["S-2"] = false
		f.Said("S-2")
		time.Sleep(time.Second)
		synctest.Wait()
		if s := f.Stats(); !w.zone[p] || s.Worst > time.Second || s.Lag == 0 {
			t.Errorf("a second after S-2 declined: %v %+v", w.zone, s)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
