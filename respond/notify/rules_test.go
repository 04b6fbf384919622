package notify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestStates: the states that can follow are those of the table, from every state to
// every other.
func TestStates(t *testing.T) {
	all := []State{Proposed, Approved, Sending, InDoubt, Sent, Delivered, Bounced, Failed, Unprintable, Withdrawn}
	for _, from := range all {
		for _, to := range all {
			n := Notice{State: from}
			_, err := n.step(to, "x", "y", time.Unix(1, 0))
			if may := slices.Contains(follows[from], to); may != (err == nil) || may != (n.State == to && from != to) {
				t.Errorf("%s → %s: %v", from, to, err)
			}
			// What may be with somebody never becomes what may be sent, but by the next hop's refusal
			// while it is being sent.
			if to == Approved && err == nil && !slices.Contains([]State{Proposed, Sending, Unprintable}, from) {
				t.Errorf("%s can be sent again", from)
			}
		}
	}
	n := Notice{State: Proposed}
	if _, err := n.step(Approved, "", "", time.Unix(1, 0)); err == nil {
		t.Error("by nobody")
	}
}

// TestQuiet compares the quiet hours with a walk through the minutes.
func TestQuiet(t *testing.T) {
	zone := time.FixedZone("JST", 9*3600)
	rapid.Check(t, func(t *rapid.T) {
		p := DefaultPolicy(zone)
		p.QuietFrom = time.Duration(rapid.IntRange(0, 24*60-1).Draw(t, "from")) * time.Minute
		p.QuietTo = time.Duration(rapid.IntRange(0, 24*60-1).Draw(t, "to")) * time.Minute
		now := time.Date(2026, 12, 31, 0, 0, rapid.IntRange(0, 2*86400).Draw(t, "second"), 0, zone)
		in := func(at time.Time) bool { // the oracle: step back until an edge
			for m := at.Truncate(time.Minute); m.After(at.Add(-24 * time.Hour)); m = m.Add(-time.Minute) {
				switch of := time.Duration(m.Hour())*time.Hour + time.Duration(m.Minute())*time.Minute; of {
				case p.QuietTo:
					return false
				case p.QuietFrom:
					return true
				}
			}
			return false
		}
		until, quiet := p.quiet(Mail, now)
		if quiet != in(now) {
			t.Fatalf("%s in %s-%s: %v", now, p.QuietFrom, p.QuietTo, quiet)
		}
		if quiet && (in(until) || !in(until.Add(-time.Second)) || !until.After(now) || until.Sub(now) > 24*time.Hour) {
			t.Errorf("%s in %s-%s ends %s", now, p.QuietFrom, p.QuietTo, until)
		}
		if _, quiet := p.quiet(Letter, now); quiet {
			t.Error("a letter rings")
		}
	})
}

func references(t interface{ Fatal(...any) }) *References {
	r, err := NewReferences([]byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReference: every number reads back however it is typed, and every single wrong
// digit and every swap of neighbours is found.
func TestReference(t *testing.T) {
	r := references(t)
	rapid.Check(t, func(t *rapid.T) {
		ref := r.of(rapid.String().Draw(t, "id"), rapid.IntRange(0, 9).Draw(t, "try"))
		wide := strings.Map(func(c rune) rune {
			if c == '-' {
				return 'ー'
			}
			return c - '0' + '０'
		}, Grouped(ref))
		for _, typed := range []string{ref, Grouped(ref), strings.ReplaceAll(Grouped(ref), "-", " "), wide} {
			if got, err := ReadReference(typed); err != nil || got != ref {
				t.Errorf("%q: %q, %v", typed, got, err)
			}
		}
		for i := range ref {
			for d := byte('0'); d <= '9'; d++ {
				wrong := []byte(ref)
				if wrong[i] = d; d == ref[i] {
					continue
				}
				if _, err := ReadReference(string(wrong)); err == nil {
					t.Errorf("%s passes for %s", wrong, ref)
				}
			}
			if i > 0 && ref[i] != ref[i-1] {
				wrong := []byte(ref)
				wrong[i], wrong[i-1] = wrong[i-1], wrong[i]
				if _, err := ReadReference(string(wrong)); err == nil {
					t.Errorf("%s passes for %s", wrong, ref)
				}
			}
		}
	})
	// Damm's own example.
	if damm([]byte("572")) != 4 {
		t.Error("another table than Damm's")
	}
	other, err := NewReferences([]byte(strings.Repeat("t", 32)))
	if err != nil || other.of("a", 0) == r.of("a", 0) || r.of("a", 0) == r.of("a", 1) || r.of("a", 0) == r.of("b", 0) {
		t.Error("numbers don't depend on secret, try and notice")
	}
	if _, err := NewReferences(make([]byte, 31)); err == nil {
		t.Error("a short secret is fine")
	}
}

// TestReferenceSpread: first digits of many numbers are spread evenly: chi-square with
// 9 degrees of freedom stays below 27.9 (p = 0.001).
func TestReferenceSpread(t *testing.T) {
	r := references(t)
	var counts [10]float64
	const n = 10_000
	for i := range n {
		counts[r.of(string(rune(i+0x4e00)), 0)[0]-'0']++
	}
	var chi float64
	for _, c := range counts {
		chi += (c - n/10) * (c - n/10) / (n / 10)
	}
	if chi > 27.9 {
		t.Errorf("%v: %.1f", counts, chi)
	}
}

// FuzzReadReference: whatever is typed, what is read reads again.
func FuzzReadReference(f *testing.F) {
	for _, s := range []string{"4821-0937-5516", "", "４８２１ー０９３７ー５５１６", "1", strings.Repeat("9", 99), "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		ref, err := ReadReference(typed)
		if err != nil {
			return
		}
		if again, err := ReadReference(Grouped(ref)); err != nil || again != ref {
			t.Errorf("%q: %q, then %q, %v", typed, ref, again, err)
		}
	})
}
