package cnc_test

import (
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect/cnc"
	"sakimori/observe"
)

// TestToday: the day's hits are told apart by what came of them, and yesterday's aren't
// among them.
func TestToday(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := open(t, db, rules())
		r.read("plain", true, c2("c2.bad.example", "c3.bad.example")...)
		one, two := cnc.ID(observe.IndicatorName, "c2.bad.example"), cnc.ID(observe.IndicatorName, "c3.bad.example")
		count := func(zone string, n int64) {
			t.Helper()
			if unknown, err := r.Hits(t.Context(), []cnc.Hit{{Entry: one, Day: r.Now(), Zone: zone, Count: n}}); err != nil || unknown != 0 {
				t.Fatal(unknown, err)
			}
		}
		count("c2.", 100)
		r.pass(24 * time.Hour)
		count("", 3)
		count("c2.", 5)
		count("emergency.", 2)
		count(cnc.SinkholeZone, 4)
		got, err := r.Today(t.Context(), []string{one, two})
		if err != nil || len(got) != 1 || got[one] != (cnc.Asked{Blocked: 7, Would: 3, Sinkholed: 4}) {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := r.Today(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := r.Today(t.Context(), []string{"x"}); err == nil {
			t.Error("what isn't an id was looked for")
		}
	})
}
