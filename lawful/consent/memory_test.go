package consent_test

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation/relationtest"
	"sakimori/lawful/consent"
)

// TestRemember: whoever remembers is right at once, whichever process changed something,
// in the store or in the terms; and says nothing while the store doesn't answer.
func TestRemember(t *testing.T) {
	t.Parallel()
	place := relationtest.Place(t, "sqlite")
	db := relationtest.Open(t, place)
	r, h := open(t, db)
	far, there := open(t, relationtest.Open(t, place))
	later := func(d time.Duration) { h.now, there.now = noon.Add(d), noon.Add(d) }
	add(t, r, version("1", noon.AddDate(-1, 0, 0), purpose, "cc_hits"))
	give(t, r, "S-1", "1")
	give(t, r, "S-2", "1")
	if err := r.Remember(t.Context(), purpose); err != nil {
		t.Fatal(err)
	}
	is := func(want1, want2 bool) {
		t.Helper()
		if got1, got2 := valid(t, r, "S-1", h.now), valid(t, r, "S-2", h.now); got1 != want1 || got2 != want2 || valid(t, r, "S-3", h.now) {
			t.Errorf("%v %v, not %v %v", got1, got2, want1, want2)
		}
	}
	is(true, true)
	later(time.Minute)
	for _, who := range []*consent.Register{far, r} {
		if _, err := who.Withdraw(t.Context(), "S-1", purpose, "phone", "desk"); err != nil {
			t.Fatal(err)
		}
		is(false, true)
		if !valid(t, r, "S-2", noon) || valid(t, r, "S-2", noon.Add(-time.Second)) {
			t.Error("of a moment ago it is asked in the store")
		}
		give(t, far, "S-1", "1")
		is(true, true)
	}
	if _, err := far.Give(t.Context(), "S-1", "cc_hits", "1", "web", "subscriber"); err != nil {
		t.Fatal(err)
	}
	if ok, err := r.Valid(t.Context(), "S-1", "cc_hits", h.now); err != nil || !ok {
		t.Error("a purpose that isn't remembered", ok, err)
	}
	later(time.Hour)
	add(t, far, version("2", h.now))
	is(false, false)
	if !valid(t, r, "S-1", h.now.Add(-1)) {
		t.Error("a version that isn't in force yet")
	}
	if _, err := far.Enrol(t.Context(), func(yield func(string) bool) { _ = yield("S-4") }, purpose, "2", "desk"); err != nil {
		t.Fatal(err)
	}
	if !valid(t, r, "S-4", h.now) {
		t.Error("who was enrolled elsewhere")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if ok, err := r.Valid(t.Context(), "S-4", purpose, h.now); err == nil || ok {
		t.Error("it was believed while the store didn't answer")
	}
}

// TestLately: for a second no store is asked; what this process did or heard of is known
// at once all the same, and what others did after that second.
func TestLately(t *testing.T) {
	t.Parallel()
	place := relationtest.Place(t, "sqlite")
	r, h := open(t, relationtest.Open(t, place))
	far, there := open(t, relationtest.Open(t, place))
	machine := &hand{now: noon}
	r.Machine(machine)
	add(t, r, version("1", noon.AddDate(-1, 0, 0)))
	for _, s := range []string{"S-1", "S-2", "S-3"} {
		give(t, r, s, "1")
	}
	h.now, there.now = noon.Add(time.Minute), noon.Add(time.Minute)
	lately := func(subject string, wantValid, wantKnown bool) {
		t.Helper()
		if got, known := r.Lately(subject, purpose, h.now); got != wantValid || known != wantKnown {
			t.Errorf("%s: %v %v, not %v %v", subject, got, known, wantValid, wantKnown)
		}
	}
	withdraw := func(by *consent.Register, subject string) {
		t.Helper()
		if _, err := by.Withdraw(t.Context(), subject, purpose, "web", "subscriber"); err != nil {
			t.Fatal(err)
		}
	}
	lately("S-1", false, false)
	if err := r.Remember(t.Context(), purpose); err != nil {
		t.Fatal(err)
	}
	lately("S-1", true, true)
	withdraw(r, "S-1")
	lately("S-1", false, false)
	if valid(t, r, "S-1", h.now) {
		t.Error("a withdrawal had no effect")
	}
	lately("S-1", false, true)
	withdraw(far, "S-2") // nobody has told it
	lately("S-2", true, true)
	if list, err := r.Changes(t.Context(), purpose, 4, 10); err != nil || len(list) != 1 || list[0].Subject != "S-2" {
		t.Fatal(list, err)
	}
	lately("S-2", false, false)
	if valid(t, r, "S-2", h.now) {
		t.Error("what was heard of had no effect")
	}
	withdraw(far, "S-3")
	lately("S-3", true, true)
	machine.now = noon.Add(time.Second)
	lately("S-3", false, false)
	if valid(t, r, "S-3", h.now) {
		t.Error("a second later it had no effect")
	}
	give(t, far, "S-3", "1")
	there.now = h.now.Add(time.Minute)
	add(t, far, version("2", there.now))
	h.now = there.now
	machine.now = noon.Add(1500 * time.Millisecond)
	if now, err := r.Terms(t.Context(), purpose, h.now); err != nil || now.Version != "2" {
		t.Fatal(now, err)
	}
	lately("S-3", false, false)
	if valid(t, r, "S-3", h.now) {
		t.Error("new terms had no effect")
	}
}

// TestRememberTogether: while many ask and one enrols thousands, whoever has withdrawn isn't
// believed to consent, and whoever consents is.
func TestRememberTogether(t *testing.T) {
	t.Parallel()
	place := relationtest.Place(t, "sqlite")
	r, h := open(t, relationtest.Open(t, place))
	far, there := open(t, relationtest.Open(t, place))
	add(t, r, version("1", noon.AddDate(-1, 0, 0)))
	give(t, r, "S-yes", "1")
	give(t, r, "S-no", "1")
	if err := r.Remember(t.Context(), purpose); err != nil {
		t.Fatal(err)
	}
	h.now, there.now = noon.Add(time.Minute), noon.Add(time.Minute)
	if _, err := far.Withdraw(t.Context(), "S-no", purpose, "web", "subscriber"); err != nil {
		t.Fatal(err)
	}
	const many = 12_000
	enrolled := make(chan error, 1)
	go func() {
		_, err := far.Enrol(t.Context(), func(yield func(string) bool) {
			for i := range many {
				if !yield(fmt.Sprint("S-", i)) {
					return
				}
			}
		}, purpose, "1", "desk")
		enrolled <- err
	}()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				yes, err1 := r.Valid(t.Context(), "S-yes", purpose, noon.Add(time.Minute))
				no, err2 := r.Valid(t.Context(), "S-no", purpose, noon.Add(time.Minute))
				if !yes || no || err1 != nil || err2 != nil {
					t.Error(yes, no, err1, err2)
				}
				_, _ = r.Lately("S-yes", purpose, noon.Add(time.Minute))
			}
		})
	}
	all.Wait()
	if err := <-enrolled; err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 4999, 5000, 9999, many - 1} {
		if !valid(t, r, fmt.Sprint("S-", i), h.now) {
			t.Error(i)
		}
	}
}

// BenchmarkLately is how little it costs.
func BenchmarkLately(b *testing.B) {
	r, _ := open(b, relationtest.Open(b, relationtest.Place(b, "sqlite")))
	add(b, r, version("1", noon.AddDate(-1, 0, 0)))
	give(b, r, "S-1", "1")
	r.Machine(&hand{now: noon})
	if err := r.Remember(b.Context(), purpose); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, known := r.Lately("S-1", purpose, noon); !ok || !known {
			b.Fatal(ok, known)
		}
	}
}

// BenchmarkRemember asks about one subject after the other of SAKIMORI_ROWS (100,000).
func BenchmarkRemember(b *testing.B) {
	n := 100_000
	if s := os.Getenv("SAKIMORI_ROWS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			b.Fatal(err)
		}
	}
	r, _ := open(b, relationtest.Open(b, relationtest.Place(b, "sqlite")))
	add(b, r, version("1", noon.AddDate(-1, 0, 0)))
	subject := func(i int) string { return fmt.Sprintf("S-%020x", i) }
	all := func(yield func(string) bool) {
		for i := range n {
			if !yield(subject(i)) {
				return
			}
		}
	}
	if _, err := r.Enrol(b.Context(), all, purpose, "1", "bench"); err != nil {
		b.Fatal(err)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, began := heap(), time.Now()
	if err := r.Remember(b.Context(), purpose); err != nil {
		b.Fatal(err)
	}
	took, size := time.Since(began), heap()-before
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % n
		if !valid(b, r, subject(i), noon) {
			b.Fatal("not valid")
		}
	}
	b.ReportMetric(float64(size)/float64(n), "B/subject")
	b.ReportMetric(took.Seconds(), "s/read")
}
