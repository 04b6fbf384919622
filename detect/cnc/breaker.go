package cnc

import (
	"math"
	"slices"

	"sakimori/detect"
)

// Breaker is how far a reading may be off what its source has shown before.
type Breaker struct {
	Readings int     // of the past that are looked at
	Least    int     // of them, before there is a habit
	Spread   float64 // how many times the usual spread (median absolute deviation) is unusual
	Floor    float64 // what of the size is never unusual: 0.2 is a fifth
	Rows     int     // nor so many rows
	Bulk     int     // so many protected names in one reading are unusual
}

// DefaultBreaker is the house's.
func DefaultBreaker() Breaker {
	return Breaker{Readings: 30, Least: 3, Spread: 6, Floor: 0.2, Rows: 50, Bulk: 20}
}

// past is a reading that counts.
type past struct {
	listed int // size of the source after it
	moved  int // added, removed and changed
}

// judge says why a reading waits for a person; the zero Text that it doesn't. before is
// the size of the source before it, history the readings before, newest first.
//
// What is compared is the distance to the usual size, or to the last one where that is
// less: a size that a person has released is no surprise any more.
func (b *Breaker) judge(history []past, before, after, moved, protected int, whole bool) (why detect.Text) {
	say := func(ja, en string, args ...any) {
		t := detect.Textf(ja, en, args...)
		if why.EN != "" {
			t.JA, t.EN = why.JA+" "+t.JA, why.EN+"; "+t.EN
		}
		why = t
	}
	if whole && after == 0 && before > 0 {
		say("空になりました(これまで %d 件)。", "it came empty (%d until now)", before)
		return why
	}
	if b.Bulk > 0 && protected >= b.Bulk {
		say("保護対象の名前が %d 件含まれています。", "%d protected names in it", protected)
	}
	if len(history) < b.Least {
		return why
	}
	sizes, moves := make([]float64, len(history)), make([]float64, len(history))
	for i, p := range history {
		sizes[i], moves[i] = float64(p.listed), float64(p.moved)
	}
	size, spread := usual(sizes)
	bound := max(b.Spread*spread, b.Floor*size, float64(b.Rows))
	off := min(math.Abs(float64(after)-size), math.Abs(float64(after)-float64(before)))
	if whole && off > bound {
		if after > before {
			say("%d 件から %d 件に増えました(通常は %.0f 件、許容幅 ±%.0f 件)。", "it grew from %d to %d (usual %.0f ± %.0f)", before, after, size, bound)
		} else {
			say("%d 件から %d 件に減りました(通常は %.0f 件、許容幅 ±%.0f 件)。", "it shrank from %d to %d (usual %.0f ± %.0f)", before, after, size, bound)
		}
	}
	move, spread := usual(moves)
	bound = move + max(b.Spread*spread, b.Floor*size, float64(b.Rows))
	if float64(moved) > bound {
		say("%d 件が入れ替わりました(通常は %.0f 件、許容は %.0f 件まで)。", "%d rows changed (usual %.0f, up to %.0f)", moved, move, bound)
	}
	return why
}

// usual is the median, and the median distance to it, scaled to what a standard deviation
// would be.
func usual(v []float64) (median, spread float64) {
	median = middle(v)
	off := make([]float64, len(v))
	for i, x := range v {
		off[i] = math.Abs(x - median)
	}
	const normal = 1.4826
	return median, normal * middle(off)
}

func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}
