package cnc

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/observe"
)

// FuzzStaged reads blocks that weren't written here without harm, and its own as written.
func FuzzStaged(f *testing.F) {
	f.Add(appendIndicator(nil, &observe.Indicator{Kind: "name", Value: "a.example", Until: time.Unix(1, 0)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readKeys(b)
		_, _ = readBrought(nil, b)
		for rest := string(b); len(rest) > 0; {
			var x, y observe.Indicator
			var err error
			rest, err = readIndicator(rest, &x)
			if err != nil {
				return
			}
			again := appendIndicator(nil, &x)
			if left, err := readIndicator(string(again), &y); err != nil || len(left) != 0 || x.Value != y.Value {
				t.Fatalf("%+v was read again as %+v: %v", x, y, err)
			}
		}
	})
}

// TestScoreFades: time lowers a score and never raises it; one more source raises it.
func TestScoreFades(t *testing.T) {
	cfg := DefaultConfig()
	l := &List{cfg: cfg, sources: map[string]Source{}}
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var said []Said
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			said = append(said, Said{
				Source: string(rune('a' + i)), Confidence: rapid.Float64Range(0, 1).Draw(t, "confidence"),
				Since: now.Add(-time.Duration(rapid.IntRange(0, 5000).Draw(t, "age")) * time.Hour),
			})
		}
		e := Entry{Hit: now.Add(-time.Duration(rapid.IntRange(0, 500).Draw(t, "hit")) * time.Hour)}
		d := time.Duration(rapid.IntRange(0, 5000).Draw(t, "later")) * time.Hour
		a, b := l.weigh(&e, said, nil, now, nil), l.weigh(&e, said, nil, now.Add(d), nil)
		if a < 0 || a > 1 || b > a+1e-12 {
			t.Fatalf("%g is %g after %s", a, b, d)
		}
		if less := l.weigh(&e, said[1:], nil, now, nil); less > a+1e-12 {
			t.Fatalf("without a source %g, with it %g", less, a)
		}
	})
}
