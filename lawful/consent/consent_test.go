package consent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/lawful"
	"sakimori/lawful/consent"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// hand is a clock that is set by hand, and a recorder that can fail.
type hand struct {
	mu      sync.Mutex
	now     time.Time
	changes []consent.Change
	err     error
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) Record(_ context.Context, c consent.Change) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.changes = append(h.changes, c)
	}
	return h.err
}

func open(t testing.TB, db *relation.DB) (*consent.Register, *hand) {
	t.Helper()
	h := &hand{now: noon}
	r, err := consent.Open(t.Context(), db, h, h)
	if err != nil {
		t.Fatal(err)
	}
	return r, h
}

const purpose = "cc_block"

func version(name string, from time.Time, purposes ...string) consent.Terms {
	if len(purposes) == 0 {
		purposes = []string{purpose}
	}
	return consent.Terms{
		Version: name, Ground: lawful.ComprehensiveConsent, From: from, TextSum: consent.Sum([]byte(name)), Purposes: purposes,
		OptOut: true, OtherwiseUnchanged: true, Limited: true, Who: "legal:sato",
	}
}

func add(t testing.TB, r *consent.Register, v consent.Terms) {
	t.Helper()
	if err := r.AddTerms(t.Context(), v); err != nil {
		t.Fatal(err)
	}
}

func give(t testing.TB, r *consent.Register, subject, version string) {
	t.Helper()
	if _, err := r.Give(t.Context(), subject, purpose, version, "web", "subscriber"); err != nil {
		t.Fatal(err)
	}
}

func valid(t testing.TB, r *consent.Register, subject string, at time.Time) bool {
	t.Helper()
	ok, err := r.Valid(t.Context(), subject, purpose, at)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// TestLife walks one subject through consent, opt-out and a new version.
func TestLife(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		ctx := t.Context()
		r, h := open(t, db)
		add(t, r, version("2016-1", noon.AddDate(-1, 0, 0)))
		if err := r.AddNotice(ctx, "2016-1", consent.Notice{At: noon.AddDate(-1, -1, 0), Channel: "web", Reference: "https://example.net/notice", Who: "legal:sato"}); err != nil {
			t.Fatal(err)
		}
		if err := r.AddNotice(ctx, "2016-1", consent.Notice{At: noon.AddDate(0, -1, 0), Channel: "mail", Reference: "M-1", Who: "legal:sato"}); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Terms(ctx, purpose, noon); err != nil || got != (lawful.Terms{Version: "2016-1", OptOut: true, OtherwiseUnchanged: true, Notices: 1, Limited: true}) {
			t.Errorf("%+v, %v", got, err) // a notice after the beginning doesn't count
		}
		if valid(t, r, "S-1", noon) {
			t.Error("silence is consent")
		}
		give(t, r, "S-1", "2016-1")
		if !valid(t, r, "S-1", noon) || valid(t, r, "S-2", noon) || valid(t, r, "S-1", noon.Add(-1)) {
			t.Error("consent wasn't entered")
		}
		h.now = noon.Add(time.Minute)
		h.err = errors.New("the ledger is full")
		if _, err := r.Withdraw(ctx, "S-1", purpose, "web", "subscriber"); err == nil || !strings.Contains(err.Error(), "the withdrawal stands") {
			t.Error(err)
		}
		h.err = nil
		// At once, even for somebody whose clock is behind.
		if valid(t, r, "S-1", h.now) || valid(t, r, "S-1", noon.Add(time.Second)) {
			t.Error("the withdrawal had no effect")
		}
		for at, want := range map[time.Duration]bool{-time.Second: false, 0: true, time.Minute - 1: true, time.Minute: false, time.Hour: false} {
			if s, err := r.At(ctx, "S-1", purpose, noon.Add(at)); err != nil || s.Valid != want || (s.Said == nil) != (at < 0) || s.Version != "2016-1" {
				t.Errorf("at %s: %+v, %v", at, s, err)
			}
		}
		// A no outlasts a new version; a yes does if the version says so.
		give(t, r, "S-2", "2016-1")
		h.now = noon.Add(time.Hour)
		next := version("2026-2", h.now)
		next.Continues = true
		add(t, r, next)
		if valid(t, r, "S-1", h.now) || !valid(t, r, "S-2", h.now) {
			t.Error("a version that continues")
		}
		h.now = noon.Add(2 * time.Hour)
		add(t, r, version("2026-3", h.now))
		if valid(t, r, "S-1", h.now) || valid(t, r, "S-2", h.now) || !valid(t, r, "S-2", h.now.Add(-1)) {
			t.Error("a version that asks again")
		}
		if c, err := r.Count(ctx, purpose, h.now); err != nil || c != (consent.Counts{Outdated: 1, Declined: 1}) {
			t.Errorf("%+v, %v", c, err)
		}
		if c, err := r.Count(ctx, purpose, noon); err != nil || c != (consent.Counts{Consenting: 1}) {
			t.Errorf("%+v, %v", c, err)
		}
		if list, err := r.History(ctx, "S-1"); err != nil || len(list) != 2 || !list[0].Given || list[1].Given || list[1].Version != "2016-1" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := r.Changes(ctx, purpose, 1, 10); err != nil || len(list) != 2 || list[0].Seq != 2 {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := r.Versions(ctx); err != nil || len(list) != 3 || len(list[0].Notices) != 2 || !slices.Equal(list[2].Purposes, []string{purpose}) {
			t.Errorf("%+v, %v", list, err)
		}
		var did []string
		for _, c := range h.changes {
			did = append(did, c.What)
		}
		if got := strings.Join(did, " "); got != "terms notice notice given given terms terms" { // the ledger was full for one
			t.Error(got)
		}
	})
}

// TestSetBack: a clock that is set back changes nothing of the past.
func TestSetBack(t *testing.T) {
	r, h := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	add(t, r, version("1", noon.Add(-time.Hour)))
	give(t, r, "S-1", "1")
	h.now = noon.Add(-time.Minute)
	if e, err := r.Withdraw(t.Context(), "S-1", purpose, "web", "subscriber"); err != nil || e.At != noon {
		t.Errorf("%s, %v", e.At, err)
	}
	if s, err := r.At(t.Context(), "S-1", purpose, noon.Add(-time.Second)); err != nil || s.Said != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if valid(t, r, "S-1", h.now) {
		t.Error("the withdrawal had no effect")
	}
}

// TestRefused: what can't be entered, with words.
func TestRefused(t *testing.T) {
	ctx := t.Context()
	r, h := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	add(t, r, version("1", noon.Add(-time.Hour)))
	give(t, r, "S-1", "1")
	for want, change := range map[string]func(v *consent.Terms){
		"is there already":    func(v *consent.Terms) { v.Version = "1" },
		"begins at":           func(v *consent.Terms) { v.From = noon.Add(-time.Hour) },
		"now or later":        func(v *consent.Terms) { v.From = noon.Add(-1) },
		"64 hexadecimal":      func(v *consent.Terms) { v.TextSum = "abc" },
		"the ground is":       func(v *consent.Terms) { v.Ground = lawful.Necessity },
		"from when":           func(v *consent.Terms) { v.From = time.Time{} },
		"1 to 20 purposes":    func(v *consent.Terms) { v.Purposes = nil },
		"one word":            func(v *consent.Terms) { v.Purposes = []string{"cc block"} },
		"when they were":      func(v *consent.Terms) { v.Notices = []consent.Notice{{}} },
		"version: write":      func(v *consent.Terms) { v.Version = strings.Repeat("x", 201) },
		"who: write":          func(v *consent.Terms) { v.Who = "" },
		"couldn't be written": func(*consent.Terms) { h.err = errors.New("full") },
	} {
		v := version("2", noon)
		change(&v)
		if err := r.AddTerms(ctx, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		h.err = nil
	}
	if list, err := r.Versions(ctx); err != nil || len(list) != 1 {
		t.Errorf("%d versions, %v", len(list), err)
	}
	if _, err := r.Give(ctx, "S-1", purpose, "2", "web", "subscriber"); !errors.Is(err, consent.ErrUnknown) {
		t.Error(err)
	}
	if _, err := r.Give(ctx, "S-1", "hits", "1", "web", "subscriber"); !errors.Is(err, consent.ErrUnknown) {
		t.Error(err)
	}
	h.err = errors.New("full")
	if _, err := r.Give(ctx, "S-2", purpose, "1", "web", "subscriber"); err == nil || valid(t, r, "S-2", noon) {
		t.Errorf("entered without having been written down: %v", err)
	}
	h.err = nil
	for _, f := range [][5]string{{"", purpose, "1", "web", "x"}, {"S-1", "", "1", "web", "x"}, {"S-1", purpose, "1", "", "x"}, {"S-1", purpose, "1", "web", ""}} {
		if _, err := r.Give(ctx, f[0], f[1], f[2], f[3], f[4]); err == nil {
			t.Errorf("%q was entered", f)
		}
		if _, err := r.Withdraw(ctx, f[0], f[1], f[3], f[4]); err == nil {
			t.Errorf("%q was withdrawn", f)
		}
	}
	if err := r.AddNotice(ctx, "1", consent.Notice{At: noon.Add(time.Second), Channel: "web", Reference: "x", Who: "y"}); err == nil {
		t.Error("a notice in the future")
	}
	if err := r.AddNotice(ctx, "9", consent.Notice{At: noon, Channel: "web", Reference: "x", Who: "y"}); !errors.Is(err, consent.ErrUnknown) {
		t.Error(err)
	}
	// Who says no before ever having said yes is heard.
	if _, err := r.Withdraw(ctx, "S-9", purpose, "phone", "desk:ichiro"); err != nil {
		t.Error(err)
	}
	if n, err := r.Enrol(ctx, slices.Values([]string{"S-1", "S-8", "S-9", "S-8"}), purpose, "1", "legal:sato"); err != nil || n != 1 || valid(t, r, "S-9", noon) || !valid(t, r, "S-8", noon) {
		t.Errorf("%d enrolled, %v", n, err)
	}
}

// TestEnrol: many at once, on both stores.
func TestEnrol(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r, _ := open(t, db)
		add(t, r, version("1", noon.Add(-time.Hour)))
		subjects := func(yield func(string) bool) {
			for i := range 2500 {
				if !yield(fmt.Sprint("S-", i)) {
					return
				}
			}
		}
		for i, want := range []int{2500, 0} {
			if n, err := r.Enrol(t.Context(), subjects, purpose, "1", "legal:sato"); err != nil || n != want {
				t.Errorf("round %d: %d, %v", i, n, err)
			}
		}
		if c, err := r.Count(t.Context(), purpose, noon); err != nil || c.Consenting != 2500 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// TestTogether: writers side by side; the last word of each subject stands.
func TestTogether(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r, _ := open(t, db)
		add(t, r, version("1", noon.Add(-time.Hour)))
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				s := fmt.Sprint("S-", i)
				for range 5 {
					if _, err := r.Give(t.Context(), s, purpose, "1", "web", "subscriber"); err != nil {
						t.Error(err)
					}
					if ok, err := r.Valid(t.Context(), s, purpose, noon); err != nil || !ok {
						t.Error("not given", err)
					}
					if _, err := r.Withdraw(t.Context(), s, purpose, "web", "subscriber"); err != nil {
						t.Error(err)
					}
					if ok, err := r.Valid(t.Context(), s, purpose, noon); err != nil || ok {
						t.Error("not withdrawn", err)
					}
				}
			})
		}
		all.Wait()
		list, err := r.Changes(t.Context(), purpose, 0, 1000)
		if err != nil || len(list) != 60 || list[59].Seq != 60 {
			t.Errorf("%d events, %v", len(list), err)
		}
	})
}

// TestGrant: a gate with the register behind it; an opt-out ends what stands on it at
// the next look, and stops it at once.
func TestGrant(t *testing.T) {
	ctx := t.Context()
	r, h := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	add(t, r, version("1", noon.Add(-time.Hour)))
	give(t, r, "S-1", "1")
	words := lawful.Text{JA: "試験", EN: "a test"}
	gate, err := lawful.New(lawful.Deps{Recorder: decisions{}, Consents: r, Clock: clock.Fixed(noon), Guideline: lawful.Guideline{
		Facts: []lawful.Fact{{Name: "consent", Kind: lawful.Bool, Text: words}},
		Rules: []lawful.Rule{{
			ID: "r", Title: words, Widest: words, Grounds: []lawful.Ground{lawful.ComprehensiveConsent}, Edition: "1", Source: "a test",
			Verified: lawful.Verified{By: "legal:test", On: noon}, From: noon, Measures: []lawful.Measure{lawful.Block}, Limits: lawful.Limits{Longest: time.Hour, Subjects: 5},
			Conditions: []lawful.Condition{{Name: "consent", Check: "consent", Fact: "consent", Param: purpose, Missing: words, Satisfy: words}},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := gate.Ask(ctx, lawful.Request{Measure: lawful.Block, Purpose: "a test", Who: "network:hanako", Scope: lawful.Scope{Subjects: []string{"S-1"}}})
	if err != nil || !grant.Allows(lawful.Block, lawful.Of("S-1"), noon) {
		t.Fatal(err)
	}
	h.now = noon.Add(time.Second)
	if _, err := r.Withdraw(ctx, "S-1", purpose, "web", "subscriber"); err != nil {
		t.Fatal(err)
	}
	if grant.Allows(lawful.Block, lawful.Of("S-1"), noon) {
		t.Error("the opt-out had no effect")
	}
	if ended, err := gate.Recheck(ctx); err != nil || len(ended) != 1 || ended[0].Outcome != lawful.Revoked {
		t.Errorf("%+v, %v", ended, err)
	}
}

type decisions struct{}

func (decisions) Record(context.Context, lawful.Decision) error { return nil }

// BenchmarkValid: asking at the moment of acting, with 100,000 subjects.
func BenchmarkValid(b *testing.B) {
	for _, kind := range relationtest.Kinds {
		b.Run(kind, func(b *testing.B) {
			r, _ := open(b, relationtest.Open(b, relationtest.Place(b, kind)))
			add(b, r, version("1", noon.Add(-time.Hour)))
			const n = 100_000
			subjects := func(yield func(string) bool) {
				for i := range n {
					if !yield(fmt.Sprint("S-", i)) {
						return
					}
				}
			}
			if _, err := r.Enrol(b.Context(), subjects, purpose, "1", "legal:sato"); err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				i += 7919
				if ok, err := r.Valid(b.Context(), fmt.Sprint("S-", i%n), purpose, noon); err != nil || !ok {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
