package cnc_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"sakimori/base/relation/relationtest"
	"sakimori/detect/cnc"
	"sakimori/observe"
)

// BenchmarkMillion imports a list of a million and scores it, imports it again with a
// hundredth of it changed, and turns pages of it. SAKIMORI_ROWS sets another size.
func BenchmarkMillion(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv("SAKIMORI_ROWS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r := open(b, relationtest.Open(b, relationtest.Place(b, "sqlite")), rules())
		seen := r.Now()
		feed := func(from int) time.Duration {
			began := time.Now()
			in, err := r.Begin(b.Context(), cnc.Reading{Source: "plain", Whole: true, Who: "feeds"})
			if err != nil {
				b.Fatal(err)
			}
			list := make([]observe.Indicator, 0, 1000)
			for i := from; i < from+n; i++ {
				list = append(list, observe.Indicator{
					Kind: observe.IndicatorName, Value: fmt.Sprintf("c2-%x.bad%d.example", uint64(i)*0x9e3779b97f4a7c15, i%977), Role: observe.RoleC2, Family: []string{"mirai", "gafgyt", "emotet"}[i%3],
					Evidence: fmt.Sprintf("https://feed.example/%d", i), First: seen.Add(-time.Duration(i%1000) * time.Hour), Last: seen.Add(-time.Duration(i%500) * time.Hour),
				})
				if len(list) == cap(list) || i == from+n-1 {
					if err := in.Put(b.Context(), list); err != nil {
						b.Fatal(err)
					}
					list = list[:0]
				}
			}
			if _, err := in.Finish(b.Context()); err != nil {
				b.Fatal(err)
			}
			return time.Since(began)
		}
		b.ReportMetric(feed(0).Seconds(), "s/first")
		r.pass(time.Hour)
		b.ReportMetric(feed(n/100).Seconds(), "s/again")
		began := time.Now()
		if _, err := r.Summary(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/summary")
		yes := true
		for name, q := range map[string]cnc.Query{
			"score": {}, "state": {States: []cnc.State{cnc.Scored}}, "family": {Family: "mirai"}, "age": {Order: cnc.ByAge}, "hits": {Order: cnc.ByHits}, "name": {Order: cnc.ByName},
			"text": {Text: "c2-1"}, "source": {Source: "plain"}, "two": {Two: &yes}, "kind": {Kind: observe.IndicatorAddress},
		} {
			var all []time.Duration
			for range 5 {
				began := time.Now()
				q.Full, q.Limit = true, 100
				_, next, err := r.Page(b.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, time.Since(began))
				q.After = next
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, "ms/"+name)
		}
	}
}
