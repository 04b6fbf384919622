package publish_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/publish"
)

// fails is a test, of properties too.
type fails interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is the list, the ground and the clock; the zones are real.
type world struct {
	dir     string
	now     time.Time
	force   map[string]bool // entries in force; true: emergency
	changes []publish.Change
	granted bool
	away    bool // the list can't be read
	zones   *rpz.Store
	written int
	read    int // how often the whole list was read
}

var errAway = errors.New("away")

func newWorld(t fails, dir string) *world {
	w := &world{dir: dir, now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), force: map[string]bool{}, granted: true}
	w.open(t, dir)
	return w
}

func (w *world) open(t fails, dir string) {
	var err error
	if w.zones, err = rpz.Open(context.Background(), dir, rpz.Options{Clock: w, Recorder: w}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) Now() time.Time { return w.now }

func (w *world) Record(context.Context, rpz.Publication) error { w.written++; return nil }

// The ground.
func (w *world) Ground(context.Context) (rpz.Ground, []lawful.Text, error) {
	if !w.granted {
		return nil, []lawful.Text{{JA: "同意がない", EN: "no consent"}}, nil
	}
	return w, nil, nil
}
func (w *world) AllowsAll(lawful.Measure, time.Time) bool { return w.granted }
func (w *world) ID() string                               { return "G-1" }
func (w *world) Rule() string                             { return "consent-terms" }
func (w *world) Until() time.Time                         { return w.now.Add(time.Hour) }

// The list. Some entries are hosts, and most stand below others.
var names = map[string]publish.Entry{
	"e1": {Name: "evil.example"}, "e2": {Name: "a.b.evil.example"}, "e3": {Name: "b.evil.example", Host: true}, "e4": {Name: "other.example"},
	"e5": {Name: "evil.example", Host: true}, "e6": {Name: "example"}, "e7": {Name: "x.a.b.evil.example"}, "e8": {Name: "b.evil.example"}, "e9": {Name: "y.x.a.b.evil.example", Host: true},
	"a": {Name: "a.example"}, "b": {Name: "b.example"}, "c": {Name: "c.example"}, "d": {Name: "d.example"}, "last": {Name: "last.test"},
}

func entry(id string, emergency bool) publish.Entry {
	e := names[id]
	e.ID, e.Emergency = id, emergency
	return e
}

func (w *world) set(id string, in, emergency, now bool) {
	if in {
		w.force[id] = emergency
	} else {
		delete(w.force, id)
	}
	w.changes = append(w.changes, publish.Change{Entry: entry(id, emergency), Seq: int64(len(w.changes) + 1), In: in, Now: now})
}

func (w *world) Newest(context.Context) (int64, error) {
	if w.away {
		return 0, errAway
	}
	return int64(len(w.changes)), nil
}

func (w *world) All(context.Context) iter.Seq2[publish.Entry, error] {
	w.read++
	return func(yield func(publish.Entry, error) bool) {
		for _, id := range slices.Sorted(maps.Keys(w.force)) {
			if !yield(entry(id, w.force[id]), nil) {
				return
			}
		}
		if w.away { // in the middle of it
			yield(publish.Entry{}, errAway)
		}
	}
}

func (w *world) Changes(_ context.Context, after int64, limit int) ([]publish.Change, error) {
	if w.away {
		return nil, errAway
	}
	list := w.changes[min(int(after), len(w.changes)):]
	return list[:min(limit, len(list))], nil
}

// asked are names that somebody may ask for, besides those of entries.
var asked = []string{"x.evil.example", "x.b.evil.example", "x.a.b.evil.example", "x.other.example", "example"}

// has are the entries that a zone blocks.
func (w *world) has(z rpz.Zone) map[string]bool {
	m := map[string]bool{}
	for r := range w.zones.Current(z).Set.All() {
		m[r.Ref] = true
	}
	return m
}

// whole is a zone as it is made of nothing but the list.
func (w *world) whole(t fails, z rpz.Zone) *rpz.Set {
	var rules []rpz.Rule
	for id, emergency := range w.force {
		e := names[id]
		hidden := false
		for other, also := range w.force {
			o := names[other]
			hidden = hidden || also == emergency && !o.Host && (strings.HasSuffix(e.Name, "."+o.Name) || e.Host && e.Name == o.Name)
		}
		if hidden || emergency != (z == rpz.Emergency) || !w.granted {
			continue
		}
		rules = append(rules, rpz.Rule{Name: e.Name, Ref: id})
		if !e.Host {
			rules = append(rules, rpz.Rule{Name: "*." + e.Name, Ref: id})
		}
	}
	s, err := rpz.NewSet(z, slices.Values(rules))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// blocks are the names that a zone blocks, by the rules of RFC 4592.
func (w *world) blocks(t fails, z rpz.Zone) map[string]bool {
	rules := map[string]bool{}
	for r := range w.zones.Current(z).Set.All() {
		rules[r.Name] = true
	}
	for n := range rules { // no name lies below a wildcard, where BIND differs from PowerDNS
		for above := strings.TrimPrefix(n, "*."); strings.Contains(above, "."); {
			_, above, _ = strings.Cut(above, ".")
			if rules["*."+above] {
				t.Fatalf("%s stands below *.%s", n, above)
			}
		}
	}
	m := map[string]bool{}
	for _, n := range questions() {
		m[n] = rules[n]
		for above := n; strings.Contains(above, "."); {
			_, above, _ = strings.Cut(above, ".")
			m[n] = m[n] || rules["*."+above]
		}
	}
	return m
}

func questions() []string {
	list := slices.Clone(asked)
	for _, e := range names {
		list = append(list, e.Name)
	}
	return list
}

// want are those that it should.
func (w *world) want(z rpz.Zone) map[string]bool {
	m := map[string]bool{}
	for _, n := range questions() {
		m[n] = false
		for id, emergency := range w.force {
			if e := names[id]; emergency == (z == rpz.Emergency) && w.granted {
				m[n] = m[n] || n == e.Name || !e.Host && strings.HasSuffix(n, "."+e.Name)
			}
		}
	}
	return m
}

type zones struct{ *rpz.Store }

func (z zones) Now(zone rpz.Zone) *rpz.Version { return z.Current(zone) }

func (w *world) publisher() *publish.Publisher {
	return publish.New(publish.Config{}, w, zones{w.zones}, w, w, slog.New(slog.DiscardHandler))
}

// TestFollows: whatever the list, the ground, people and crashes do, the zones are empty
// without a ground, hold nothing that was withdrawn, and come to be the list.
func TestFollows(t *testing.T) {
	ctx := t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		w := newWorld(rt, dir)
		defer func() { _ = w.zones.Close() }()
		p := w.publisher()
		by := rpz.By{Who: "network:hanako", Why: "a test"}
		withdrawn := map[string]bool{}
		look := func() {
			if err := p.Look(ctx); err != nil && !(w.away && errors.Is(err, errAway)) {
				rt.Fatal(err)
			}
			for _, z := range []rpz.Zone{rpz.C2, rpz.Emergency} {
				has := w.has(z)
				if !w.granted && len(has) > 0 {
					rt.Fatalf("%s blocks %v without a ground", z, has)
				}
				for id := range withdrawn {
					if has[id] && !w.away {
						rt.Fatalf("%s blocks %s, which was withdrawn", z, id)
					}
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			w.now = w.now.Add(time.Second)
			id := "e" + strconv.Itoa(rapid.IntRange(1, 9).Draw(rt, "entry"))
			z := rapid.SampledFrom([]rpz.Zone{rpz.C2, rpz.Emergency}).Draw(rt, "zone")
			switch rapid.SampledFrom([]int{0, 0, 0, 3, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10}).Draw(rt, "what") {
			case 0:
				delete(withdrawn, id)
				w.set(id, true, rapid.Bool().Draw(rt, "emergency"), false)
			case 3:
				if emergency, in := w.force[id]; in {
					now := rapid.Bool().Draw(rt, "withdrawn")
					w.set(id, false, emergency, now)
					if now {
						withdrawn[id] = true
					}
				}
			case 4:
				w.granted = !w.granted
			case 5:
				w.away = !w.away
			case 6:
				if _, err := w.zones.Pause(ctx, z, by); err != nil {
					rt.Fatal(err)
				}
			case 7:
				if _, err := w.zones.Resume(ctx, z, w, rpz.Change{}, by); err != nil && !errors.Is(err, rpz.ErrGround) {
					rt.Fatal(err)
				}
				look()
				clear(withdrawn) // what was there before the pause may be there until it is looked at again
			case 8: // to what was withdrawn since, too: a person wants it
				if s := w.zones.Current(z).Serial; w.granted && w.zones.Current(z).Kind != rpz.Paused && s > 1 {
					if _, err := w.zones.Rollback(ctx, z, w, s-1, by); err != nil && !errors.Is(err, rpz.ErrPaused) {
						rt.Fatal(err)
					}
					clear(withdrawn)
				}
			case 9:
				if err := w.zones.Close(); err != nil {
					rt.Fatal(err)
				}
				w.open(rt, dir)
				p = w.publisher()
			case 10:
				w.now = w.now.Add(time.Minute)
				look()
				for _, z := range []rpz.Zone{rpz.C2, rpz.Emergency} {
					v := w.zones.Current(z)
					if _, held := w.zones.Held(z); held || w.away || v.Kind == rpz.Paused {
						continue
					}
					if want := w.whole(rt, z); v.Set.Digest() != want.Digest() {
						rt.Fatalf("%s has %v, the whole list makes %v", z, slices.Collect(v.Set.All()), slices.Collect(want.All()))
					}
				}
			}
			look()
		}
		w.away, w.granted = false, true
		for _, z := range []rpz.Zone{rpz.C2, rpz.Emergency} {
			if w.zones.Current(z).Kind == rpz.Paused {
				if _, err := w.zones.Resume(ctx, z, w, rpz.Change{}, by); err != nil {
					rt.Fatal(err)
				}
			}
			if err := p.Publish(ctx, z, "network:hanako", "a test"); err != nil {
				rt.Fatal(err)
			}
			if blocks, want := w.blocks(rt, z), w.want(z); !maps.Equal(blocks, want) {
				rt.Fatalf("%s blocks %v, not %v", z, blocks, want)
			}
		}
		w.set("last", true, false, false)
		w.now = w.now.Add(time.Minute)
		look()
		if !w.has(rpz.C2)["last"] || w.written == 0 || len(p.Status().Pending) != 0 {
			rt.Fatalf("%v %+v", w.has(rpz.C2), p.Status())
		}
	})
}

// TestCadence: what comes waits for its time; what was withdrawn, and the quick lane,
// don't. A zone that was rolled back takes out, and takes nothing in.
func TestCadence(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.zones.Close()
	p := w.publisher()
	look := func(after time.Duration) {
		t.Helper()
		w.now = w.now.Add(after)
		if err := p.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.set("a", true, false, false)
	look(0)
	w.set("b", true, false, false)
	look(30 * time.Second)
	if s := p.Status(); w.has(rpz.C2)["b"] || s.Pending[rpz.C2].Added != 1 || !s.Pending[rpz.C2].Due.After(w.now) {
		t.Errorf("b didn't wait: %+v", s)
	}
	w.set("c", true, true, false)
	look(time.Second)
	if !w.has(rpz.Emergency)["c"] || w.has(rpz.C2)["b"] {
		t.Error("the quick lane isn't quick, or took b along")
	}
	look(30 * time.Second)
	if !w.has(rpz.C2)["b"] {
		t.Error("b never came")
	}
	w.set("a", false, false, true)
	look(time.Second)
	if w.has(rpz.C2)["a"] {
		t.Error("a was withdrawn, and is blocked")
	}
	before := w.zones.Current(rpz.C2).Serial
	look(time.Hour)
	if after := w.zones.Current(rpz.C2).Serial; after != before {
		t.Errorf("nothing changed, and the serial went from %d to %d", before, after)
	}
	if _, err := w.zones.Rollback(t.Context(), rpz.C2, w, before, rpz.By{Who: "x", Why: "y"}); err != nil {
		t.Fatal(err)
	}
	w.set("d", true, false, false)
	w.set("b", false, false, true)
	look(time.Hour)
	look(time.Hour)
	if has := w.has(rpz.C2); len(has) != 0 || !p.Status().Pending[rpz.C2].Due.IsZero() {
		t.Errorf("after the roll-back it has %v: %+v", has, p.Status())
	}
	heldSince := w.now
	if h := p.Status().Held[rpz.C2]; h.Serial != before || h.Who != "x" || h.Why != "y" || h.Added != 2 || h.Removed != 0 || h.Counted.IsZero() {
		t.Errorf("what waits behind the roll-back isn't told: %+v", h)
	}
	w.set("e1", true, true, false)
	look(time.Second)
	if !w.has(rpz.Emergency)["e1"] {
		t.Error("while c2. is held the quick lane is, too")
	}
	if err := w.zones.Close(); err != nil { // and after a restart it is known since when
		t.Fatal(err)
	}
	w.open(t, w.dir)
	p = w.publisher()
	look(time.Second)
	if h := p.Status().Held[rpz.C2]; !h.Since.Before(heldSince) || h.Added != 2 || h.Counted.IsZero() {
		t.Errorf("after a restart: %+v", h)
	}
	if err := p.Publish(t.Context(), rpz.C2, "network:hanako", "mended"); err != nil || !w.has(rpz.C2)["d"] {
		t.Errorf("d never came: %v", err)
	}
	w.granted = false
	look(time.Second)
	if s := p.Status(); len(w.has(rpz.C2))+len(w.has(rpz.Emergency)) != 0 || s.Granted || len(s.Missing) != 1 {
		t.Errorf("without a ground: %+v", s)
	}
	if err := p.Publish(t.Context(), rpz.C2, "network:hanako", "because"); !errors.Is(err, rpz.ErrGround) {
		t.Errorf("published without a ground: %v", err)
	}
}

// TestStep: a serial is made of the one before, without a look at the whole list, until a
// day has passed; what was changed behind the publisher's back is mended then.
func TestStep(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.zones.Close()
	p := w.publisher()
	look := func(after time.Duration) {
		t.Helper()
		w.now = w.now.Add(after)
		if err := p.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := w.zones.Current(rpz.C2).Set.Digest(), w.whole(t, rpz.C2).Digest(); got != want {
			t.Fatalf("%v isn't what the list makes", slices.Collect(w.zones.Current(rpz.C2).Set.All()))
		}
	}
	for _, id := range []string{"e2", "e3", "e4", "e5"} {
		w.set(id, true, false, false)
	}
	look(0)
	read := w.read
	for i, x := range []struct {
		id string
		in bool
	}{{"e1", true}, {"e8", true}, {"e6", true}, {"e1", false}, {"e9", true}, {"e6", false}, {"e8", false}, {"e2", false}, {"e7", true}} {
		w.set(x.id, x.in, false, false)
		look(time.Minute)
		if w.read != read {
			t.Fatalf("change %d: the whole list was read", i)
		}
	}
	w.force["a"] = false // and no change is told
	w.now = w.now.Add(time.Hour)
	if err := p.Look(t.Context()); err != nil || w.has(rpz.C2)["a"] {
		t.Fatal("the whole list was read", err)
	}
	look(24 * time.Hour)
	if !w.has(rpz.C2)["a"] || p.Status().Mended != 1 {
		t.Errorf("it isn't mended after a day: %+v", p.Status())
	}
}

// TestAllow: a name that is allowed by another one above isn't published: to BIND and Unbound
// it would hide the wildcard, and what is between them would be blocked.
func TestAllow(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.zones.Close()
	p := publish.New(publish.Config{Allow: []string{"y.x.Shop.example.", "shop.example", "bank.example"}}, w, zones{w.zones}, w, w, slog.New(slog.DiscardHandler))
	if err := p.Publish(t.Context(), rpz.Allow, "network:hanako", "the configuration"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := range w.zones.Current(rpz.Allow).Set.All() {
		got = append(got, r.Name)
	}
	slices.Sort(got)
	if want := []string{"*.bank.example", "*.shop.example", "bank.example", "shop.example"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
