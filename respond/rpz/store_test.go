package rpz

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
)

var day = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// hand is a clock that is moved by hand.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

type book struct {
	lines []Publication
	fails error
}

func (b *book) Record(_ context.Context, p Publication) error {
	if b.fails == nil {
		b.lines = append(b.lines, p)
	}
	return b.fails
}

// ground holds or doesn't.
type ground bool

func (g ground) AllowsAll(m lawful.Measure, _ time.Time) bool { return bool(g) && m == lawful.Block }
func (ground) ID() string                                     { return "G-1" }
func (ground) Rule() string                                   { return "cc_block" }
func (ground) Until() time.Time                               { return day.Add(time.Hour) }

var desk = By{Who: "desk:sato", Why: "a test"}

func stamp(z Zone, serial uint32) []Rule {
	return []Rule{{Name: "serial.canary." + strings.TrimSuffix(string(z), ".") + ".isp.example", Action: Local, Data: []string{fmt.Sprintf("TXT %q", strconv.Itoa(int(serial)))}, Ref: "canary"}}
}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock.Fixed(day)
	}
	if o.Recorder == nil {
		o.Recorder = &book{}
	}
	s, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func names(ns ...string) (l []Rule) {
	for _, n := range ns {
		l = append(l, Rule{Name: n, Ref: "ref of " + n})
	}
	return l
}

func has(s *Set) string {
	var l []string
	for r := range s.All() {
		if r.Ref != "canary" {
			l = append(l, triggerOf(Rule{Name: r.Name}))
		}
	}
	return strings.ReplaceAll(strings.Join(l, " "), "invalid Prefix", "")
}

func TestLifeOfAZone(t *testing.T) {
	now, ledger, dir := &hand{now: day}, &book{}, t.TempDir()
	o := Options{Clock: now, Recorder: ledger, Stamp: stamp}
	s := open(t, dir, o)
	ctx := t.Context()
	do := func(p Publication, err error) Publication {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if v := s.Current(p.Zone); v.Serial != p.Serial || v.Rules != v.Set.Rules() {
			t.Fatalf("%+v isn't current", p)
		}
		now.move(time.Minute)
		return p
	}
	if v := s.Current(C2); v == nil || v.Serial != 1 || v.Kind != Begun || v.Set.Rules() != 0 {
		t.Fatalf("%+v", v)
	}
	now.move(time.Minute)
	if _, err := s.Publish(ctx, C2, ground(false), Change{Add: names("a.example")}, desk); !errors.Is(err, ErrGround) || s.Current(C2).Serial != 1 {
		t.Errorf("without ground: %v", err)
	}
	if _, err := s.Publish(ctx, C2, nil, Change{Add: names("a.example")}, desk); !errors.Is(err, ErrGround) {
		t.Errorf("without any: %v", err)
	}
	if _, err := s.Publish(ctx, C2, ground(true), Change{Add: names("a.example")}, By{}); err == nil {
		t.Error("nobody published for no reason")
	}
	p := do(s.Publish(ctx, C2, ground(true), Change{Add: names("a.example", "*.a.example", "b.example")}, desk))
	if p.Serial != 2 || p.Rules != 4 || p.Added != 4 || p.Basis == nil || p.Basis.Grant != "G-1" || p.Who != desk.Who {
		t.Errorf("%+v", p)
	}
	if same := do(s.Publish(ctx, C2, ground(true), Change{Add: names("a.example")}, desk)); same.Serial != 2 {
		t.Errorf("nothing changed, but a serial: %+v", same)
	}
	p = do(s.Publish(ctx, C2, nil, Change{Remove: names("b.example", "never.example")}, desk))
	if p.Serial != 3 || has(s.Current(C2).Set) != "a.example *.a.example" || p.Basis == nil {
		t.Errorf("%+v %s", p, has(s.Current(C2).Set))
	}
	if r, ok, err := s.Current(C2).Answer("x.a.example"); err != nil || !ok || r.Ref != "ref of *.a.example" {
		t.Errorf("%+v", r)
	}
	d, err := s.Diff(C2, 3, 2)
	if err != nil || has(d.Added) != "b.example" || has(d.Removed) != "" {
		t.Errorf("%v", err)
	}
	// Exceptions need no ground.
	do(s.Publish(ctx, OptOut, nil, Change{Add: []Rule{{Client: netip.MustParsePrefix("192.0.2.9/32"), Action: Passthru, Ref: "consent"}}}, desk))
	if r, ok, _ := s.Current(OptOut).Answer("192.0.2.9"); !ok || r.Action != Passthru {
		t.Errorf("%+v", r)
	}
	p = do(s.Pause(ctx, C2, desk))
	if p.Serial != 4 || p.Rules != 0 || p.Of != 3 || p.State() != "paused" {
		t.Errorf("%+v", p)
	}
	if _, err := s.Publish(ctx, C2, ground(true), Change{Add: names("c.example")}, desk); !errors.Is(err, ErrPaused) {
		t.Errorf("paused: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, o)
	if _, err := s.Resume(ctx, C2, ground(false), Change{}, desk); !errors.Is(err, ErrGround) {
		t.Errorf("resumed without ground: %v", err)
	}
	p = do(s.Resume(ctx, C2, ground(true), Change{Add: names("c.example"), Remove: names("a.example")}, desk))
	if p.Serial != 5 || has(s.Current(C2).Set) != "*.a.example c.example" {
		t.Errorf("%+v %s", p, has(s.Current(C2).Set))
	}
	if r, _, _ := s.Current(C2).Answer("serial.canary.c2.isp.example"); len(r.Data) != 1 || r.Data[0] != `TXT "5"` {
		t.Errorf("the serial isn't told: %+v", r)
	}
	p = do(s.Empty(ctx, C2, desk))
	if p.Rules != 0 || p.State() != "empty" || p.Basis != nil {
		t.Errorf("%+v", p)
	}
	if again := do(s.Publish(ctx, C2, nil, Change{Remove: names("c.example")}, desk)); again.Serial != p.Serial {
		t.Errorf("%+v", again)
	}
	if _, err := s.Rollback(ctx, C2, ground(false), 2, desk); !errors.Is(err, ErrGround) {
		t.Errorf("rolled back without ground: %v", err)
	}
	p = do(s.Rollback(ctx, C2, ground(true), 2, desk))
	if p.Serial != 7 || p.Of != 2 || has(s.Current(C2).Set) != "a.example *.a.example b.example" {
		t.Errorf("%+v %s", p, has(s.Current(C2).Set))
	}
	if at, err := s.SerialAt(C2, day.Add(90*time.Second)); err != nil || at.Serial != 2 {
		t.Errorf("%+v %v", at, err)
	}
	if _, err := s.SerialAt(C2, day.Add(-time.Second)); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if _, err := s.At(C2, 99); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	// What nobody could write down isn't published.
	ledger.fails = errors.New("the ledger is full")
	if _, err := s.Publish(ctx, C2, ground(true), Change{Add: names("z.example")}, desk); err == nil || s.Current(C2).Serial != 7 {
		t.Errorf("published without an entry: %v", err)
	}
	ledger.fails = nil
	// What was, is as it was: also after a restart, and for whoever only looks.
	if _, err := Open(ctx, dir, o); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	for _, s := range []*Store{s, open(t, dir, Options{ReadOnly: true})} {
		for serial, want := range map[uint32]string{1: "", 2: "a.example *.a.example b.example", 3: "a.example *.a.example", 4: "", 5: "*.a.example c.example", 6: "", 7: "a.example *.a.example b.example"} {
			v, err := s.At(C2, serial)
			if err != nil || has(v.Set) != want || v.Serial != serial {
				t.Errorf("serial %d: %v %v", serial, v, err)
			}
		}
	}
	for i, l := range ledger.lines[4:] {
		if l.Zone == C2 && i > 0 && l.Serial == 0 {
			t.Errorf("%+v", l)
		}
	}
}

// Deltas from any serial to any other, over segments, restarts and the wrap of serials.
func TestManySerials(t *testing.T) {
	dir, rng := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	o := Options{First: 0xfffffff0, Stamp: stamp}
	s := open(t, dir, o)
	want, order := map[uint32]model{0xfffffff0: {}}, []uint32{0xfffffff0}
	now := model{}
	for i := range 60 {
		var add, remove []Rule
		for range rng.IntN(8) {
			add = append(add, Rule{Name: fmt.Sprintf("n%d.example", rng.IntN(40)), Action: Action(rng.IntN(5)), Ref: strconv.Itoa(rng.IntN(3))})
		}
		for range rng.IntN(5) {
			remove = append(remove, Rule{Name: fmt.Sprintf("n%d.example", rng.IntN(40))})
		}
		c := Change{Add: add, Remove: remove}
		now = now.with(add, remove)
		if i%17 == 16 {
			now = model{}
			for j := range 5000 {
				r := Rule{Name: fmt.Sprintf("n%d.example", j), Ref: strconv.Itoa(i)}
				now[triggerOf(r)] = r
			}
			c = Change{Whole: maps.Values(now)}
		}
		p, err := s.Publish(t.Context(), C2, ground(true), c, desk)
		if err != nil {
			t.Fatal(err)
		}
		if p.Serial != order[len(order)-1] {
			if !After(p.Serial, order[len(order)-1]) || p.Serial == 0 {
				t.Fatalf("after %d comes %d", order[len(order)-1], p.Serial)
			}
			order = append(order, p.Serial)
		}
		want[p.Serial] = now
		if i%13 == 12 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, o)
		}
	}
	plain := func(s *Set) model {
		m := modelOf(s)
		maps.DeleteFunc(m, func(_ string, r Rule) bool { return r.Ref == "canary" })
		return m
	}
	if last := order[len(order)-1]; After(0xfffffff0, last) {
		t.Fatalf("serials didn't wrap: %d", last)
	}
	sent := 0
	for i, from := range order {
		a, err := s.At(C2, from)
		if err != nil || !same(plain(a.Set), want[from]) {
			t.Fatalf("serial %d: %v", from, err)
		}
		to := order[rng.IntN(len(order))]
		d, err := s.Diff(C2, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := a.Set.apply(d); err != nil || !same(plain(b), want[to]) {
			t.Fatalf("from %d to %d: %v", from, to, err)
		}
		if d, ok := s.Since(s.Current(C2), from); ok && i < len(order)-1 {
			sent++
			if b, err := a.Set.apply(d); err != nil || b.Digest() != s.Current(C2).Set.Digest() || d.From != from {
				t.Fatalf("sent from %d: %v", from, err)
			}
		}
	}
	if sent < 8 {
		t.Errorf("only %d differences can be sent", sent)
	}
	if list, err := segments(filepath.Join(dir, "c2")); err != nil || len(list) < 3 {
		t.Errorf("%d segments, %v", len(list), err)
	}
}

func TestWhatIsOldGoes(t *testing.T) {
	now, dir := &hand{now: day}, t.TempDir()
	s := open(t, dir, Options{Clock: now, Keep: map[Zone]Keep{OptOut: {Serials: 3, For: time.Hour}}})
	for i := range 50 {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		if _, err := s.Publish(t.Context(), OptOut, nil, Change{Add: []Rule{{Client: netip.PrefixFrom(a, 32), Action: Passthru}}}, desk); err != nil {
			t.Fatal(err)
		}
		now.move(10 * time.Minute)
	}
	list, err := s.Serials(OptOut)
	if err != nil || len(list) > 20 || len(list) < 6 || list[len(list)-1].Serial != 51 {
		t.Errorf("%d kept, %v", len(list), err)
	}
	for _, p := range list {
		if v, err := s.At(OptOut, p.Serial); err != nil || v.Set.Rules() != int(p.Serial)-1 {
			t.Errorf("%d: %v", p.Serial, err)
		}
	}
	now.move(3 * time.Hour)
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	now.move(3 * time.Hour)
	if err := s.Tidy(); err != nil {
		t.Fatal(err)
	}
	if list, _ = s.Serials(OptOut); len(list) > 8 {
		t.Errorf("%d kept of a zone that doesn't change", len(list))
	}
	_ = s.Close()
	again := open(t, dir, Options{Clock: now})
	if l, _ := again.Serials(OptOut); len(l) != len(list) {
		t.Errorf("%d after a restart, not %d", len(l), len(list))
	}
}

// A journal whose end is torn, at every byte, opens at the serial before; a damaged set
// doesn't open.
func TestTornJournal(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	for i := range 3 {
		if _, err := s.Publish(t.Context(), Allow, nil, Change{Add: []Rule{{Name: fmt.Sprintf("n%d.example", i), Action: Passthru}}}, desk); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Close()
	path := filepath.Join(dir, "allow", "00000001.log")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 5, 40, len(whole) / 6} {
		_ = os.WriteFile(path, whole[:len(whole)-cut], 0o600)
		s, err := Open(t.Context(), dir, Options{Clock: clock.Fixed(day), Recorder: &book{}})
		if err != nil || s.Current(Allow).Serial != 3 {
			t.Fatalf("cut by %d: %v", cut, err)
		}
		p, err := s.Publish(t.Context(), Allow, nil, Change{Add: names("again.example")}, desk)
		if err != nil || p.Serial != 4 {
			t.Fatal(err)
		}
		_ = s.Close()
		s = open(t, dir, Options{})
		if s.Current(Allow).Serial != 4 || s.Current(Allow).Set.Rules() != 3 {
			t.Errorf("%+v", s.Current(Allow))
		}
		_ = s.Close()
	}
	flipped := slices.Clone(whole)
	flipped[len(whole)-3] ^= 1
	_ = os.WriteFile(path, flipped, 0o600)
	s = open(t, dir, Options{})
	if s.Current(Allow).Serial != 3 {
		t.Error("an altered frame was believed")
	}
	_ = s.Close()
	set := filepath.Join(dir, "allow", "00000001.set")
	b, _ := os.ReadFile(set)
	b[len(b)/2] ^= 0xff
	_ = os.WriteFile(set, b, 0o600)
	if _, err := Open(t.Context(), dir, Options{Clock: clock.Fixed(day), Recorder: &book{}}); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a damaged set: %v", err)
	}
}

// contents is what the zone has at a serial in the test that kills.
func contents(serial uint32) (l []Rule) {
	n := int(serial) % 50
	if serial%7 == 0 {
		n = 3000
	}
	for i := range n {
		l = append(l, Rule{Name: fmt.Sprintf("n%d-%d.example", i, serial/5), Ref: strconv.Itoa(int(serial))})
	}
	return l
}

const childEnv = "RPZ_TEST_PUBLISH_INTO"

func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Open(context.Background(), dir, Options{Clock: clock.System{}, Recorder: &book{}, Keep: map[Zone]Keep{C2: {Serials: 5}}})
	for err == nil {
		var p Publication
		p, err = s.Publish(context.Background(), C2, ground(true), Change{Whole: slices.Values(contents(next(s.Current(C2).Serial)))}, By{Who: "child", Why: "loop"})
		fmt.Println(p.Serial)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A publisher that is killed at any moment leaves an acknowledged serial or the next one,
// whole.
func TestKilledWhilePublishing(t *testing.T) {
	t.Parallel()
	dir, rng := t.TempDir(), rand.New(rand.NewPCG(3, 4))
	for round := range 12 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, acked := bufio.NewScanner(out), uint32(0)
		left := 1 + rng.IntN(40)
		for lines.Scan() {
			n, _ := strconv.Atoi(lines.Text())
			acked = uint32(n)
			if left--; left == 0 {
				time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		if acked == 0 {
			t.Fatalf("round %d: nothing was published: %s", round, errs.String())
		}
		s, err := Open(t.Context(), dir, Options{Clock: clock.System{}, Recorder: &book{}, Keep: map[Zone]Keep{C2: {Serials: 5}}})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		v := s.Current(C2)
		if v.Serial != acked && v.Serial != next(acked) {
			t.Errorf("round %d: %d was acknowledged, %d is there", round, acked, v.Serial)
		}
		list, _ := s.Serials(C2)
		for _, p := range list[max(len(list)-8, 0):] {
			x, err := s.At(C2, p.Serial)
			whole, _ := NewSet(C2, slices.Values(contents(p.Serial)))
			if err != nil || p.Serial > 1 && x.Set.Digest() != whole.Digest() {
				t.Errorf("round %d: serial %d isn't what was published: %v", round, p.Serial, err)
			}
		}
		_ = s.Close()
	}
}

// FuzzFrame reads anything as a journal.
func FuzzFrame(f *testing.F) {
	come, _ := NewSet(C2, slices.Values(names("a.example")))
	raw, _ := appendFrame(&Publication{Zone: C2, Serial: 2}, &Delta{Removed: &Set{}, Added: come})
	f.Add(raw)
	f.Add(append(raw, raw[:20]...))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		r := strings.NewReader(string(raw))
		for {
			x, err := readFrame(r)
			if err != nil {
				return
			}
			_, _ = x.delta(1)
		}
	})
}
