package cnc_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect/cnc"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
)

const day = 24 * time.Hour

// book takes what would go into the ledger.
type book struct {
	mu    sync.Mutex
	deeds []cnc.Deed
}

func (b *book) Lock(context.Context, *relation.Tx) error { return nil }

func (b *book) Record(_ context.Context, _ *relation.Tx, d cnc.Deed) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deeds = append(b.deeds, d)
	return nil
}

// watch is a clock that is moved by hand.
type watch struct {
	mu sync.Mutex
	at time.Time
}

func (w *watch) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *watch) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

type fatal interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// rig is a list, its clock and its book.
type rig struct {
	*cnc.List
	*watch
	t    fatal
	book *book
}

func rules() cnc.Config {
	cfg := cnc.DefaultConfig()
	cfg.Sources = []cnc.Source{
		{Name: "trusted", Trust: 0.9, Confidence: 0.9, HalfLife: 30 * day, Base: cnc.FromLast, TTL: 10 * day, Auto: true},
		{Name: "plain", Trust: 0.5, Confidence: 0.5, HalfLife: 10 * day, Base: cnc.FromLast, TTL: 10 * day},
	}
	cfg.Would = 1000
	return cfg
}

func open(t fatal, db *relation.DB, cfg cnc.Config) *rig {
	r := &rig{watch: &watch{at: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)}, t: t, book: &book{}}
	var err error
	if r.List, err = cnc.Open(t.Context(), db, r.watch, r.book, cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

func c2(names ...string) (list []observe.Indicator) {
	for _, n := range names {
		list = append(list, observe.Indicator{Kind: observe.IndicatorName, Value: n, Role: observe.RoleC2, Family: "mirai", Evidence: "https://feed.example/" + n})
	}
	return list
}

func (r *rig) read(source string, whole bool, list ...observe.Indicator) cnc.Result {
	r.t.Helper()
	in, err := r.Begin(r.t.Context(), cnc.Reading{Source: source, Whole: whole, Who: "feeds", Digest: "sha256:x"})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := in.Put(r.t.Context(), list); err != nil {
		r.t.Fatal(err)
	}
	res, err := in.Finish(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

func (r *rig) tick() cnc.Ticked {
	r.t.Helper()
	x, err := r.Tick(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

func (r *rig) is(name string, want cnc.State) cnc.Entry {
	r.t.Helper()
	e, _, err := r.Get(r.t.Context(), cnc.ID(observe.IndicatorName, name))
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	if e.State != want {
		r.t.Fatalf("%s is %s, not %s", name, e.State, want)
	}
	return e
}

func (r *rig) review(name, who string, yes bool) error {
	_, err := r.Review(r.t.Context(), cnc.ID(observe.IndicatorName, name), who, yes, "looked at")
	return err
}

// force is what is in force, by the changes alone; they have no gap.
func (r *rig) force() map[string]bool {
	r.t.Helper()
	in := map[string]bool{}
	for after := int64(0); ; {
		list, err := r.Changes(r.t.Context(), after, 7)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(list) == 0 {
			return in
		}
		for _, c := range list {
			if after++; c.Seq != after {
				r.t.Fatalf("change %d comes after %d", c.Seq, after-1)
			}
			if in[c.Entry.Value] == c.In && !c.Entry.Emergency {
				r.t.Fatalf("%s goes in or out twice", c.Entry.Value)
			}
			if in[c.Entry.Value] = c.In; !c.In {
				delete(in, c.Entry.Value)
			}
		}
	}
}

// TestLife follows an entry from a source's word to its end.
func TestLife(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := open(t, db, rules())
		if res := r.read("plain", true, c2("c2.bad.example", "c3.bad.example")...); res.New != 2 || res.Read != 2 || res.Held != "" {
			t.Fatalf("%+v", res)
		}
		e := r.is("c2.bad.example", cnc.Scored)
		if e.Score < 0.24 || e.Score > 0.26 || e.Expires.IsZero() || e.Family != "mirai" {
			t.Errorf("%+v", e)
		}
		if err := r.review("c2.bad.example", "", true); !errors.Is(err, cnc.ErrWhy) {
			t.Error(err)
		}
		if err := r.review("c2.bad.example", "abuse:hanako", true); err != nil {
			t.Fatal(err)
		}
		if err := r.review("c3.bad.example", "abuse:hanako", false); err != nil {
			t.Fatal(err)
		}
		r.is("c2.bad.example", cnc.Shadow)
		r.is("c3.bad.example", cnc.Withdrawn)
		if r.tick(); len(r.force()) != 0 {
			t.Error("in force from shadow")
		}
		if n, err := r.Hits(t.Context(), []cnc.Hit{{Entry: e.ID, Day: r.Now(), Count: 7}, {Entry: "i-1", Day: r.Now(), Count: 1}}); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		r.pass(day)
		if x := r.tick(); x.Enforced != 1 {
			t.Errorf("%+v", x)
		}
		e = r.is("c2.bad.example", cnc.Enforced)
		if f := r.force(); !f["c2.bad.example"] || len(f) != 1 || e.Would != 7 {
			t.Errorf("%v %+v", f, e)
		}

		// What a person took out stays out, whatever sources say.
		r.read("trusted", true, c2("c3.bad.example")...)
		r.is("c3.bad.example", cnc.Withdrawn)

		// It was asked for within two weeks, so it goes on once; then nobody says so.
		r.read("plain", true, c2("c9.bad.example")...)
		r.pass(9*day + time.Hour)
		if x := r.tick(); x.Revalidated != 1 {
			t.Errorf("%+v", x)
		}
		r.pass(10 * day)
		if r.tick(); len(r.force()) != 0 {
			t.Errorf("%v", r.force())
		}
		r.is("c2.bad.example", cnc.Expired)
		r.pass(100 * day)
		r.tick()
		r.is("c2.bad.example", cnc.Archived)
		r.is("c3.bad.example", cnc.Archived)

		// A source may bring back what expired, and not what was withdrawn.
		r.read("trusted", true, c2("c2.bad.example", "c3.bad.example")...)
		r.is("c2.bad.example", cnc.Shadow)
		r.is("c3.bad.example", cnc.Archived)
		if _, err := r.Add(t.Context(), cnc.Addition{Kind: observe.IndicatorName, Value: "c3.bad.example", Expires: r.Now().Add(30 * day), Who: "abuse:taro", Why: "seen in a sandbox"}); err != nil {
			t.Fatal(err)
		}
		r.is("c3.bad.example", cnc.Shadow)
		_, history, err := r.Get(t.Context(), e.ID)
		if err != nil || len(history) < 6 {
			t.Errorf("%+v, %v", history, err)
		}
		for _, d := range r.book.deeds {
			if d.Who == "" || d.What == "" || d.Why.JA == "" || d.Why.EN == "" {
				t.Errorf("%+v", d)
			}
		}
	})
}

// TestTwoPeople: a name that many use takes two, an emergency too, and never the same one.
func TestTwoPeople(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		cfg := rules()
		if err := cfg.Never.Protect("ours", []string{"isp.example"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := cfg.Never.Rank(lines("1,popular.example", "2,cdn.example"), "top", 0); err != nil {
			t.Fatal(err)
		}
		cfg.Resolver = chains{"alias.bad.example": {"x.cdn.example"}, "ours.bad.example": {"www.isp.example", "192.0.2.1"}, "plain.bad.example": nil}
		r := open(t, db, cfg)
		res := r.read("trusted", true, c2("www.isp.example", "popular.example", "alias.bad.example", "ours.bad.example", "plain.bad.example", "com")...)
		if res.Shielded != 2 || res.New != 4 || res.Protected[0].List != "ours" {
			t.Errorf("%+v", res)
		}
		r.is("plain.bad.example", cnc.Candidate)
		r.tick()
		r.is("plain.bad.example", cnc.Shadow)
		r.is("ours.bad.example", cnc.Withdrawn)
		for _, name := range []string{"popular.example", "alias.bad.example"} {
			if e := r.is(name, cnc.Scored); e.Two == nil {
				t.Errorf("%+v", e)
			}
			if err := r.review(name, "abuse:hanako", true); err != nil {
				t.Fatal(err)
			}
			r.is(name, cnc.Scored)
			if err := r.review(name, "abuse:hanako", true); !errors.Is(err, cnc.ErrTwice) {
				t.Errorf("the same person again: %v", err)
			}
			if err := r.review(name, "legal:jiro", true); err != nil {
				t.Fatal(err)
			}
			r.is(name, cnc.Shadow)
		}
		add := func(name, who string) error {
			_, err := r.Add(t.Context(), cnc.Addition{Kind: observe.IndicatorName, Value: name, Expires: r.Now().Add(day), Emergency: true, Who: who, Why: "now"})
			return err
		}
		if err := add("mail.isp.example", "abuse:hanako"); !errors.Is(err, cnc.ErrProtected) {
			t.Error(err)
		}
		if err := add("quick.bad.example", "abuse:hanako"); err != nil {
			t.Fatal(err)
		}
		if err := add("quick.bad.example", "abuse:hanako"); !errors.Is(err, cnc.ErrTwice) {
			t.Error(err)
		}
		r.is("quick.bad.example", cnc.Scored)
		if err := r.review("quick.bad.example", "legal:jiro", true); err != nil {
			t.Fatal(err)
		}
		if e := r.is("quick.bad.example", cnc.Enforced); !e.Emergency || !r.force()["quick.bad.example"] {
			t.Errorf("%+v", e)
		}

		// Defenders took it over: not blocked any more, and still known.
		id := cnc.ID(observe.IndicatorName, "quick.bad.example")
		if _, err := r.Sinkhole(t.Context(), id, true, "abuse:hanako", "taken over"); err != nil {
			t.Fatal(err)
		}
		if r.force()["quick.bad.example"] {
			t.Error("a sinkhole is blocked")
		}
		var known []string
		if _, err := r.List.Enforced(t.Context(), func(list []cnc.Entry) error {
			for _, e := range list {
				known = append(known, e.Value)
			}
			return nil
		}); err != nil || !slices.Contains(known, "quick.bad.example") {
			t.Errorf("%v, %v", known, err)
		}
		if _, err := r.Withdraw(t.Context(), id, "abuse:hanako", "done"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Withdraw(t.Context(), id, "abuse:hanako", "done"); !errors.Is(err, cnc.ErrOrder) {
			t.Error(err)
		}
	})
}

type chains map[string][]string

func (c chains) Chain(_ context.Context, name string) ([]string, error) { return c[name], nil }

// TestShadowBound: what is asked for too often waits for a person.
func TestShadowBound(t *testing.T) {
	r := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), rules())
	r.read("trusted", true, c2("busy.bad.example")...)
	e := r.is("busy.bad.example", cnc.Shadow)
	if _, err := r.Hits(t.Context(), []cnc.Hit{{Entry: e.ID, Day: r.Now(), Count: 1001}}); err != nil {
		t.Fatal(err)
	}
	r.pass(day)
	if x := r.tick(); x.Waiting != 1 || x.Enforced != 0 {
		t.Errorf("%+v", x)
	}
	if x := r.tick(); x.Waiting != 0 {
		t.Errorf("it waits again: %+v", x)
	}
	list, _, err := r.Queue(t.Context(), "", 10)
	if err != nil || len(list) != 1 || list[0].Waits == nil {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := r.review("busy.bad.example", "abuse:hanako", true); err != nil {
		t.Fatal(err)
	}
	r.is("busy.bad.example", cnc.Enforced)
}

// TestHeld: a reading that is off what its source has shown waits, through a restart,
// and the list stays as it was.
func TestHeld(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := open(t, db, rules())
		names := make([]string, 400)
		for i := range names {
			names[i] = fmt.Sprintf("c%d.bad.example", i)
		}
		for i := range 5 {
			r.read("plain", true, c2(names[:100+i]...)...)
			r.pass(time.Hour)
		}
		res := r.read("plain", true, c2(names...)...)
		if res.Held == "" || res.Why.EN == "" || res.New != 296 {
			t.Fatalf("%+v", res)
		}
		if n, _, err := r.Total(t.Context(), cnc.Query{}, 10); err != nil || n != 104 {
			t.Errorf("%d entries, %v", n, err)
		}
		r.List = open(t, db, rules()).List
		held, err := r.List.Held(t.Context())
		if err != nil || len(held) != 1 || held[0].ID != res.Held || held[0].Before != 104 || held[0].Size != 400 {
			t.Fatalf("%+v, %v", held, err)
		}
		if _, err := r.Refuse(t.Context(), res.Held, "abuse:hanako", "nonsense"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Release(t.Context(), res.Held, "abuse:hanako", "after all"); !errors.Is(err, cnc.ErrOrder) {
			t.Error(err)
		}
		res = r.read("plain", true, c2(names...)...)
		if x, err := r.Release(t.Context(), res.Held, "abuse:hanako", "their new list"); err != nil || x.Added != 296 {
			t.Fatalf("%+v, %v", x, err)
		}
		if n, _, err := r.Total(t.Context(), cnc.Query{}, 10); err != nil || n != 400 {
			t.Errorf("%d entries, %v", n, err)
		}
		if res := r.read("plain", true, c2(names[:399]...)...); res.Held != "" || res.Gone != 1 {
			t.Errorf("a size that was released is no surprise: %+v", res)
		}
		if res := r.read("plain", true); res.Held == "" {
			t.Errorf("an empty one: %+v", res)
		}
		// A later one that is as usual takes the place of one that waits.
		r.read("plain", true, c2(names[:398]...)...)
		if held, err := r.List.Held(t.Context()); err != nil || len(held) != 0 {
			t.Errorf("%+v, %v", held, err)
		}
	})
}

// TestCutOff: nothing of a reading counts before it is finished, and of two that go on at
// once the later one is read again.
func TestCutOff(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := open(t, db, rules())
		r.read("plain", true, c2("a.bad.example", "b.bad.example")...)
		begin := func() *cnc.Intake {
			in, err := r.Begin(t.Context(), cnc.Reading{Source: "plain", Whole: true, Who: "feeds"})
			if err != nil {
				t.Fatal(err)
			}
			if err := in.Put(t.Context(), c2("c.bad.example")); err != nil {
				t.Fatal(err)
			}
			return in
		}
		one, two, three := begin(), begin(), begin()
		if res := one.Result(); res.New != 1 || res.Gone != 2 {
			t.Errorf("%+v", res)
		}
		if err := three.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, _, _ := r.Total(t.Context(), cnc.Query{}, 10); n != 2 {
			t.Errorf("%d entries of a reading that isn't finished", n)
		}
		if _, err := one.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, in := range []*cnc.Intake{two, three} {
			if _, err := in.Finish(t.Context()); err == nil {
				t.Error("taken in over a later reading")
			}
		}
		if res := r.read("plain", true, c2("c.bad.example")...); res.Known != 1 || res.New != 0 || res.Changed != 0 || res.Gone != 0 {
			t.Errorf("%+v", res)
		}
	})
}

// TestTakenBack: what its source takes back leaves at once, unless another one says so.
func TestTakenBack(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := open(t, db, rules())
		r.read("trusted", false, c2("one.bad.example", "both.bad.example", "again.bad.example")...)
		r.read("plain", false, c2("both.bad.example")...)
		r.pass(day)
		r.tick()
		if f := r.force(); len(f) != 3 {
			t.Fatal(f)
		}
		over := c2("one.bad.example", "both.bad.example", "again.bad.example", "never.bad.example")
		for i := range over {
			over[i].Until = r.Now().Add(-time.Hour)
		}
		res := r.read("trusted", false, append(over, c2("again.bad.example")...)...) // another indicator of theirs still says so
		if res.Outdated != 4 || res.Gone != 2 || res.New != 0 || res.Known != 1 {
			t.Errorf("%+v", res)
		}
		if f := r.force(); len(f) != 2 || f["one.bad.example"] {
			t.Errorf("%v", f)
		}
		if e := r.is("one.bad.example", cnc.Expired); e.Sources[0].Gone.IsZero() || !e.Sources[0].Until.Equal(r.Now()) || e.Reason == nil {
			t.Errorf("%+v", e)
		}
		if e := r.is("both.bad.example", cnc.Enforced); e.Sources[0].Gone.IsZero() == e.Sources[1].Gone.IsZero() {
			t.Errorf("%+v", e)
		}
		_, history, err := r.Get(t.Context(), cnc.ID(observe.IndicatorName, "one.bad.example"))
		if last := history[len(history)-1]; err != nil || last.What != string(cnc.Expired) {
			t.Errorf("%+v, %v", history, err)
		}
		// Hits don't keep what nobody says, and a source may say it anew.
		r.read("plain", false, func() []observe.Indicator { x := c2("both.bad.example"); x[0].Until = r.Now(); return x }()...)
		r.is("both.bad.example", cnc.Expired)
		r.read("trusted", false, c2("one.bad.example")...)
		r.is("one.bad.example", cnc.Shadow)
	})
}

// TestCounted: what was asked for since a day, and what was blocked by family.
func TestCounted(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := open(t, db, rules())
		list := c2("a.bad.example", "b.bad.example")
		list[1].Family = "gafgyt"
		r.read("trusted", true, list...)
		a, b := cnc.ID(observe.IndicatorName, "a.bad.example"), cnc.ID(observe.IndicatorName, "b.bad.example")
		now := r.Now()
		for _, some := range [][]cnc.Hit{
			{{Entry: a, Day: now.Add(-3 * day), Zone: "c2.", Count: 100}, {Entry: a, Day: now.Add(-day), Zone: "c2.", Count: 5}, {Entry: a, Day: now, Count: 3}},
			{{Entry: a, Day: now, Zone: "emergency.", Count: 2}, {Entry: a, Day: now, Zone: cnc.Sinkholes, Count: 7}, {Entry: b, Day: now, Zone: "c2.", Count: 11}},
		} {
			if n, err := r.Hits(t.Context(), some); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}
		got, err := r.Counted(t.Context(), []string{a, b, cnc.ID(observe.IndicatorName, "c.bad.example")}, now.Add(-day))
		if err != nil || len(got) != 2 || got[a] != (cnc.Counted{Hits: 14, Would: 3, Blocks: 7}) || got[b] != (cnc.Counted{Hits: 11, Blocks: 11}) {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := r.Counted(t.Context(), []string{"x"}, now); !errors.Is(err, cnc.ErrUnknown) {
			t.Error(err)
		}
		today := now.Truncate(day)
		want := []cnc.Blocks{{Day: today.Add(-day), Family: "mirai", Count: 5}, {Day: today, Family: "gafgyt", Count: 11}, {Day: today, Family: "mirai", Count: 2}}
		if got, err := r.Blocks(t.Context(), now.Add(-day)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestWhy: what was in force at a time can be told later, with what was known then.
func TestWhy(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := open(t, db, rules())
		net := observe.Indicator{Kind: observe.IndicatorPrefix, Value: "198.51.100.0/24", Role: observe.RoleC2}
		r.read("trusted", true, append(c2("bad.example.net"), net)...)
		r.pass(day)
		r.tick()
		then := r.Now()
		r.pass(time.Hour)
		changed := c2("bad.example.net")
		changed[0].Evidence = "https://feed.example/later"
		r.read("trusted", true, append(changed, net)...)
		r.pass(time.Hour)
		if _, err := r.Withdraw(t.Context(), cnc.ID(observe.IndicatorName, "bad.example.net"), "abuse:hanako", "a mistake"); err != nil {
			t.Fatal(err)
		}
		why := func(value string, at time.Time) cnc.Account {
			t.Helper()
			a, err := r.Why(t.Context(), value, at)
			if err != nil {
				t.Fatal(err)
			}
			if a.Said.JA == "" || a.Said.EN == "" {
				t.Errorf("%+v says nothing", a)
			}
			return a
		}
		if a := why("deep.x.bad.example.net", then); !a.InForce || a.Matched != "bad.example.net" || a.Who != "sakimori" || len(a.Sources) != 1 || a.Sources[0].Evidence != "https://feed.example/bad.example.net" {
			t.Errorf("%+v", a)
		}
		if a := why("bad.example.net", r.Now()); a.InForce || a.Entry == nil || a.Sources[0].Evidence != "https://feed.example/later" {
			t.Errorf("%+v", a)
		}
		if a := why("bad.example.net", then.Add(-time.Hour)); a.InForce {
			t.Errorf("%+v", a)
		}
		if a := why("198.51.100.7", then); !a.InForce || a.Matched != "198.51.100.0/24" {
			t.Errorf("%+v", a)
		}
		if a := why("http://198.51.100.7:8080/x", then); !a.InForce {
			t.Errorf("%+v", a)
		}
		if a := why("other.example.net", then); a.InForce || a.Entry != nil {
			t.Errorf("%+v", a)
		}
		if _, err := r.Why(t.Context(), "", then); !errors.Is(err, cnc.ErrValue) {
			t.Error(err)
		}
	})
}

// TestNeverChanges: a name that gets protected is taken out, and one that rules alone let
// through waits when it turns out that many use it.
func TestNeverChanges(t *testing.T) {
	db := relationtest.Open(t, relationtest.Place(t, "sqlite"))
	r := open(t, db, rules())
	r.read("trusted", true, c2("new.bad.example", "crowd.bad.example", "fine.bad.example")...)
	r.pass(day)
	r.tick()
	if f := r.force(); len(f) != 3 {
		t.Fatal(f)
	}
	cfg := rules()
	cfg.Never = never.New()
	if err := cfg.Never.Protect("a customer's", []string{"new.bad.example"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Never.Rank(lines("1,crowd.bad.example"), "top", 0); err != nil {
		t.Fatal(err)
	}
	r.List = open(t, db, cfg).List
	if n, err := r.Recheck(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	if f := r.force(); len(f) != 1 || !f["fine.bad.example"] {
		t.Error(f)
	}
	if n, err := r.Recheck(t.Context()); err != nil || n != 0 {
		t.Fatalf("%d, %v", n, err)
	}
}
