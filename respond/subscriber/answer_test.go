package subscriber_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/respond/subscriber"
)

// The tests tell a story by the minute: "A" and "B" are holders.

func holder(name string) (h subscriber.Holder) {
	copy(h.ID[:], name)
	return h
}

const minute = int64(time.Minute)

func use(who string, session uint64) subscriber.Use {
	return subscriber.Use{Bits: 128, Source: 1, Session: session, Holder: holder(who)}
}

// start, alive and stop are the records of a session at a minute; since > 0 tells when
// it began.
func start(who string, session uint64, m int64) subscriber.Span {
	return subscriber.Span{Use: use(who, session), First: m * minute, Last: m * minute, Begin: m * minute}
}

func alive(who string, session uint64, m, since int64) subscriber.Span {
	s := subscriber.Span{Use: use(who, session), First: m * minute, Last: m * minute}
	if since > 0 {
		s.First, s.Begin = since*minute, since*minute
	}
	return s
}

func stop(who string, session uint64, m, since int64) subscriber.Span {
	s := alive(who, session, m, since)
	s.End = m * minute
	return s
}

// given and taken are points: a lease or a block of ports.
func given(who string, m, until int64) subscriber.Span {
	s := start(who, uint64(m), m)
	s.Point, s.Until = true, until*minute
	return s
}

func taken(who string, m int64) subscriber.Span {
	s := start(who, uint64(m), m)
	s.Point, s.Begin, s.End = true, 0, m*minute
	return s
}

func nothing(uint16) subscriber.Limits { return subscriber.Limits{} }

func limited(silence int64, resets ...int64) func(uint16) subscriber.Limits {
	l := subscriber.Limits{Silence: time.Duration(silence * minute)}
	for _, r := range resets {
		l.Resets = append(l.Resets, r*minute)
	}
	return func(uint16) subscriber.Limits { return l }
}

func TestDecide(t *testing.T) {
	type span = subscriber.Span
	whole := []span{start("A", 1, 10), alive("A", 1, 20, 0), stop("A", 1, 30, 0), start("B", 2, 40), stop("B", 2, 50, 0)}
	lost := []span{start("A", 1, 10), start("B", 2, 40), stop("B", 2, 50, 0)} // A's Stop
	leases := []span{given("A", 10, 30), given("A", 20, 40), given("B", 50, 70), taken("B", 60)}
	blocks := []span{given("A", 10, 0), taken("A", 20), given("B", 30, 0), given("A", 40, 0)}
	for _, c := range []struct {
		name     string
		spans    []span
		limits   func(uint16) subscriber.Limits
		at, skew int64
		want     subscriber.Verdict
		who      string
	}{
		{"inside", whole, nothing, 15, 2, subscriber.Unique, "A"},
		{"at the beginning", whole, nothing, 10, 0, subscriber.Unique, "A"},
		{"at the end", whole, nothing, 30, 0, subscriber.Unique, "A"},
		{"idle", whole, nothing, 35, 1, subscriber.Expired, ""},
		{"idle, but A touches", whole, nothing, 32, 3, subscriber.UniqueBut, "A"},
		{"between both", whole, nothing, 35, 6, subscriber.Ambiguous, ""},
		{"before all", whole, nothing, 5, 2, subscriber.Expired, ""},
		{"the Stop is lost", lost, nothing, 30, 2, subscriber.UniqueBut, "A"},
		{"the Stop is lost, at the next Start", lost, nothing, 40, 0, subscriber.Ambiguous, ""},
		{"the Stop is lost, after the next Start", lost, nothing, 41, 0, subscriber.Unique, "B"},
		{"the Stop is lost, silent too long", lost, limited(15), 30, 2, subscriber.Expired, ""},
		{"the Stop is lost, the NAS began anew", lost, limited(0, 20), 30, 2, subscriber.Expired, ""},
		{"still open", []span{start("A", 1, 10)}, nothing, 100, 5, subscriber.UniqueBut, "A"},
		{"only an Interim, before it", []span{alive("A", 1, 20, 0)}, nothing, 15, 1, subscriber.Expired, ""},
		{"an Interim that tells the beginning", []span{alive("A", 1, 20, 10)}, nothing, 15, 1, subscriber.Unique, "A"},
		{"only a Stop, which tells the beginning", []span{stop("A", 1, 20, 10)}, nothing, 15, 1, subscriber.Unique, "A"},
		{"an unknown beginning after an open session", []span{start("A", 1, 10), alive("B", 2, 30, 0)}, nothing, 20, 1, subscriber.Ambiguous, ""},
		{"two at once", []span{start("A", 1, 10), stop("A", 1, 30, 0), start("B", 2, 20), stop("B", 2, 40, 0)}, nothing, 25, 1, subscriber.Ambiguous, ""},
		{"the same twice", []span{start("A", 1, 10), stop("A", 1, 30, 0), start("A", 9, 20), stop("A", 9, 40, 0)}, nothing, 25, 10, subscriber.Unique, "A"},
		{"a lease", leases, nothing, 15, 1, subscriber.Unique, "A"},
		{"a lease that was renewed", leases, nothing, 35, 1, subscriber.Unique, "A"},
		{"a lease that ran out", leases, nothing, 45, 1, subscriber.Expired, ""},
		{"a lease that was given back", leases, nothing, 65, 1, subscriber.Expired, ""},
		{"a block", blocks, nothing, 15, 1, subscriber.Unique, "A"},
		{"a block that was taken back", blocks, nothing, 25, 1, subscriber.Expired, ""},
		{"a block of another, its end lost", blocks, nothing, 35, 1, subscriber.UniqueBut, "B"},
		{"a block that the next one ended", blocks, nothing, 40, 0, subscriber.Ambiguous, ""},
	} {
		d := subscriber.Decide(c.spans, 0, (c.at-c.skew)*minute, (c.at+c.skew)*minute, c.limits)
		if d.Verdict != c.want || d.Holder != holder(c.who) {
			t.Errorf("%s: %s %q, not %s %q: %+v", c.name, d.Verdict, d.Holder.ID, c.want, c.who, d.Holds)
		}
	}
	if d := subscriber.Decide(whole, 0, 15*minute, 15*minute, nothing); d.Margin != 25*time.Minute {
		t.Errorf("the margin is %s", d.Margin)
	}
}

// TestSharedWithoutPort: a shared address tells nobody without a port.
func TestSharedWithoutPort(t *testing.T) {
	s := start("A", 1, 10)
	s.Ports = subscriber.Ports{First: 1024, Last: 2047}
	if d := subscriber.Decide([]subscriber.Span{s}, 0, 20*minute, 20*minute, nothing); d.Verdict != subscriber.NoPort || d.Holder != holder("") {
		t.Errorf("%+v", d)
	}
	if d := subscriber.Decide([]subscriber.Span{s}, 1500, 20*minute, 20*minute, nothing); !d.Verdict.Certain() {
		t.Errorf("%+v", d)
	}
}

// tenancy is what was really so.
type tenancy struct {
	who      string
	from, to int64
}

// life is a random history of one address and the records that came of it: some are
// lost, doubled, late.
func life(t *rapid.T) (truth []tenancy, spans []subscriber.Span, limits func(uint16) subscriber.Limits) {
	var resets []int64
	interim := rapid.SampledFrom([]int64{0, 5}).Draw(t, "interim")
	points := rapid.Bool().Draw(t, "points")
	at := int64(10)
	for n := uint64(1); n <= uint64(rapid.IntRange(1, 8).Draw(t, "tenancies")); n++ {
		who := rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "who")
		from := at + rapid.Int64Range(1, 30).Draw(t, "idle")
		to := from + rapid.Int64Range(1, 60).Draw(t, "long")
		truth = append(truth, tenancy{who, from, to})
		at = to
		if points {
			until := int64(0)
			if rapid.Bool().Draw(t, "lease") {
				until = to + rapid.Int64Range(0, 5).Draw(t, "promised")
				at = max(at, until) // the server gives it to nobody else before
			}
			spans = append(spans, given(who, from, until)) // a translator's log is written to disk: beginnings aren't lost
			if rapid.IntRange(0, 3).Draw(t, "release lost") > 0 {
				spans = append(spans, taken(who, to))
			} else if until > 0 { // it is the holder's as long as the server keeps it for them
				truth[len(truth)-1].to = until
			}
			continue
		}
		// At least one record of a session arrives: of one that left no trace nobody can
		// know. The last one always does when a source that goes on giving signs falls
		// silent for less than its limit.
		var all []subscriber.Span
		since := func(m int64) int64 {
			if rapid.Bool().Draw(t, "session time") {
				return from
			}
			_ = m
			return 0
		}
		all = append(all, start(who, n, from))
		for m := from + interim; interim > 0 && m < to; m += interim {
			all = append(all, alive(who, n, m, since(m)))
		}
		switch rapid.IntRange(0, 5).Draw(t, "end") {
		case 0: // the NAS goes down: no Stop, but it says so when it is up again
			resets = append(resets, to)
		default:
			all = append(all, stop(who, n, to, since(to)))
		}
		keep := rapid.IntRange(0, len(all)-1).Draw(t, "kept")
		for i := range all {
			if i == keep || rapid.IntRange(0, 3).Draw(t, "lost") > 0 {
				for range rapid.IntRange(1, 2).Draw(t, "times") {
					spans = append(spans, all[i])
				}
			}
		}
	}
	silence := int64(0)
	if interim > 0 && rapid.Bool().Draw(t, "silence known") {
		silence = 15
	}
	slices.Sort(resets)
	return truth, spans, limited(silence, resets...)
}

// TestNeverWrong: whatever is lost, doubled or late, a certain verdict names the one
// who had the address, and nobody else had it in the interval. A list scan is the
// oracle.
func TestNeverWrong(t *testing.T) {
	certain, exact := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		truth, spans, limits := life(t)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
		r.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
		for range 20 {
			at, skew := rapid.Int64Range(0, 400).Draw(t, "at")*minute+rapid.SampledFrom([]int64{0, -1, 1, 30e9}).Draw(t, "off"), rapid.Int64Range(0, 10).Draw(t, "skew")*minute
			from, to := at-skew, at+skew
			d := subscriber.Decide(spans, 0, from, to, limits)
			had := map[string]bool{}
			whole := false
			for _, x := range truth {
				if x.from*minute <= to && from <= x.to*minute {
					had[x.who] = true
					whole = whole || x.from*minute <= from && to <= x.to*minute
				}
			}
			if d.Verdict.Certain() {
				certain++
				for who := range had {
					if holder(who) != d.Holder {
						t.Fatalf("%s names %q, and %s had it between %d and %d: %+v\n%+v", d.Verdict, d.Holder.ID, who, from, to, truth, d.Holds)
					}
				}
			}
			if d.Verdict == subscriber.Unique {
				exact++
				if !whole && len(had) != 1 {
					t.Fatalf("exact, and %v had it between %d and %d: %+v", had, from, to, truth)
				}
			}
			if d.Holder != (subscriber.Holder{}) != d.Verdict.Certain() {
				t.Fatalf("%s with holder %q", d.Verdict, d.Holder.ID)
			}
		}
	})
	t.Logf("%d certain answers, %d of them exact", certain, exact)
	if certain == 0 || exact == 0 {
		t.Error("nothing was ever answered")
	}
}

// TestNothingLost: of a history of which every record came, each moment well inside a
// tenancy is answered exactly.
func TestNothingLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := int64(10)
		var spans []subscriber.Span
		var truth []tenancy
		points := rapid.Bool().Draw(t, "points")
		for n := uint64(1); n <= 6; n++ {
			x := tenancy{who: rapid.SampledFrom([]string{"A", "B"}).Draw(t, "who")}
			x.from = at + rapid.Int64Range(1, 9).Draw(t, "idle")
			x.to = x.from + rapid.Int64Range(3, 60).Draw(t, "long")
			truth, at = append(truth, x), x.to
			if points {
				spans = append(spans, given(x.who, x.from, 0), taken(x.who, x.to))
			} else {
				spans = append(spans, start(x.who, n, x.from), stop(x.who, n, x.to, 0))
			}
		}
		for _, x := range truth {
			m := rapid.Int64Range(x.from+1, x.to-1).Draw(t, "at")
			if d := subscriber.Decide(spans, 0, (m-1)*minute, (m+1)*minute, nothing); d.Verdict != subscriber.Unique || d.Holder != holder(x.who) {
				t.Fatalf("%+v at %d: %+v", x, m, d)
			}
		}
	})
}

// TestOrderAndPieces: the answer doesn't depend on the order of the records, on doubles,
// on what was joined before, nor on a stranger elsewhere; shifting all clocks shifts it;
// and a narrower doubt never turns a unique answer into an ambiguous one.
func TestOrderAndPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, spans, limits := life(t)
		at, skew := rapid.Int64Range(0, 300).Draw(t, "at")*minute, rapid.Int64Range(0, 10).Draw(t, "skew")*minute
		want := subscriber.Decide(spans, 0, at-skew, at+skew, limits)
		text := func(d subscriber.Decision) string { return fmt.Sprintf("%s %x %s", d.Verdict, d.Holder.ID, d.Margin) }
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
		other := append(slices.Clone(spans), spans[r.IntN(len(spans))])
		r.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		for i := 0; i+1 < len(other); i++ { // some pieces are joined already
			if r.IntN(2) == 0 && other[i].Join(&other[i+1]) {
				other = slices.Delete(other, i+1, i+2)
			}
		}
		if got := subscriber.Decide(other, 0, at-skew, at+skew, limits); text(got) != text(want) {
			t.Fatalf("in another order %s, not %s", text(got), text(want))
		}
		const shift = 7 * minute
		moved := slices.Clone(spans)
		for i := range moved {
			s := &moved[i]
			for _, p := range []*int64{&s.First, &s.Last, &s.Begin, &s.End, &s.Until} {
				if *p != 0 {
					*p += shift
				}
			}
		}
		later := func(n uint16) subscriber.Limits {
			l := limits(n)
			l.Resets = slices.Clone(l.Resets)
			for i := range l.Resets {
				l.Resets[i] += shift
			}
			return l
		}
		if got := subscriber.Decide(moved, 0, at-skew+shift, at+skew+shift, later); text(got) != text(want) {
			t.Fatalf("shifted %s, not %s", text(got), text(want))
		}
		if narrow := subscriber.Decide(spans, 0, at-skew/2, at+skew/2, limits); want.Verdict == subscriber.Unique && narrow.Verdict != subscriber.Unique {
			t.Fatalf("%s with half the doubt, not %s", text(narrow), text(want))
		} else if want.Verdict.Certain() && narrow.Verdict == subscriber.Ambiguous {
			t.Fatalf("%s became %s with half the doubt", text(want), text(narrow))
		}
	})
}

// TestClockOff: a source whose clock is off, by no more than is known, makes nothing
// wrong that is certain.
func TestClockOff(t *testing.T) {
	certain, widened := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		truth, spans, limits := life(t)
		most := rapid.Int64Range(1, 8).Draw(t, "most") * minute
		off := rapid.Int64Range(-most, most).Draw(t, "off")
		for i := range spans {
			s := &spans[i]
			for _, p := range []*int64{&s.First, &s.Last, &s.Begin, &s.End, &s.Until} {
				if *p != 0 {
					*p += off
				}
			}
		}
		known := func(n uint16) subscriber.Limits {
			l := limits(n)
			l.Skew = time.Duration(most)
			l.Resets = slices.Clone(l.Resets)
			for i := range l.Resets {
				l.Resets[i] += off
			}
			return l
		}
		for range 20 {
			at := rapid.Int64Range(10, 300).Draw(t, "at") * minute
			d := subscriber.Decide(spans, 0, at, at, known)
			if without := subscriber.Decide(spans, 0, at, at, limits); without.Verdict.Certain() && !d.Verdict.Certain() {
				widened++
			}
			if !d.Verdict.Certain() {
				continue
			}
			certain++
			for _, x := range truth {
				if x.from*minute <= at && at <= x.to*minute && holder(x.who) != d.Holder {
					t.Fatalf("%s names %q, and %s had it at %d, with clocks off by %d: %+v\n%+v", d.Verdict, d.Holder.ID, x.who, at, off, truth, d.Holds)
				}
			}
		}
	})
	if certain == 0 || widened == 0 {
		t.Errorf("%d certain answers, %d withheld for the clock", certain, widened)
	}
}
