package cnc_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sakimori/base/relation/relationtest"
	"sakimori/detect/cnc"
	"sakimori/observe"
)

// thing is the i-th of a list: names for the most part, and few of other kinds.
func thing(i int) observe.Indicator {
	x := observe.Indicator{
		Kind: observe.IndicatorName, Value: fmt.Sprintf("c2-%x.bad%d.example", uint64(i)*0x9e3779b97f4a7c15, i%977), Role: observe.RoleC2, Family: []string{"mirai", "gafgyt", "emotet"}[i%3],
		Evidence: fmt.Sprintf("https://feed.example/%d", i),
	}
	switch i % 1000 {
	case 0:
		x.Kind, x.Value = observe.IndicatorAddress, netip.AddrFrom4([4]byte{100 + byte(i>>24), byte(i >> 16), byte(i >> 8), byte(i)}).String()
	case 17:
		x.Kind, x.Value = observe.IndicatorURL, "http://"+x.Value+"/gate.php"
	}
	return x
}

// cpu is what this process has used of the processors: it says more than the time does
// where others use them, too.
func cpu(b *testing.B) (used time.Duration, peakMiB float64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), float64(u.Maxrss) / 1024
}

// BenchmarkMillion imports a list of a million and scores it, imports it again with a
// hundredth of it changed, and turns pages of it. SAKIMORI_ROWS sets another size, SAKIMORI_STORE=postgres
// another store.
func BenchmarkMillion(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv("SAKIMORI_ROWS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		cfg := rules()
		var popular strings.Builder
		for i := range n / 500 { // that two people decide about
			fmt.Fprintf(&popular, "%d,%s\n", i+1, thing(i*500+1).Value)
		}
		if err := cfg.Never.Rank(strings.NewReader(popular.String()), "popular", 0); err != nil {
			b.Fatal(err)
		}
		kind := os.Getenv("SAKIMORI_STORE")
		if kind == "" {
			kind = "sqlite"
		}
		r := open(b, relationtest.Open(b, relationtest.Place(b, kind)), cfg)
		seen := r.Now()
		feed := func(from int) time.Duration {
			began := time.Now()
			in, err := r.Begin(b.Context(), cnc.Reading{Source: "plain", Whole: true, Who: "feeds"})
			if err != nil {
				b.Fatal(err)
			}
			list := make([]observe.Indicator, 0, 1000)
			for i := from; i < from+n; i++ {
				x := thing(i)
				x.First, x.Last = seen.Add(-time.Duration(i%1000)*time.Hour), seen.Add(-time.Duration(i%500)*time.Hour)
				list = append(list, x)
				if len(list) == cap(list) || i == from+n-1 {
					if err := in.Put(b.Context(), list); err != nil {
						b.Fatal(err)
					}
					list = list[:0]
				}
			}
			if res, err := in.Finish(b.Context()); err != nil || res.Held != "" {
				b.Fatal(res, err)
			}
			return time.Since(began)
		}
		before, _ := cpu(b)
		b.ReportMetric(feed(0).Seconds(), "s/first")
		used, peak := cpu(b)
		b.ReportMetric((used - before).Seconds(), "cpu-s/first")
		b.ReportMetric(peak, "MiB/peak")
		r.pass(time.Hour)
		b.ReportMetric(feed(n/100).Seconds(), "s/again")
		var hits []cnc.Hit
		for i := range n / 200 {
			x := thing(n/2 + i*100)
			hits = append(hits, cnc.Hit{Entry: cnc.ID(x.Kind, x.Value), Day: r.Now(), Zone: "c2.", Count: int64(i%97 + 1)})
		}
		began := time.Now()
		if _, err := r.Hits(b.Context(), hits); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/hits")
		began = time.Now()
		if _, err := r.Summary(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/summary")
		yes := true
		for name, q := range map[string]cnc.Query{
			"score": {}, "state": {States: []cnc.State{cnc.Scored}}, "none": {States: []cnc.State{cnc.Enforced}}, "family": {Family: "mirai"}, "age": {Order: cnc.ByAge}, "hits": {Order: cnc.ByHits}, "name": {Order: cnc.ByName},
			"text": {Text: "c2-1"}, "source": {Source: "plain"}, "two": {Two: &yes}, "kind": {Kind: observe.IndicatorAddress}, "kind-age": {Kind: observe.IndicatorAddress, Family: "mirai", Order: cnc.ByAge},
			"kind-name": {Kind: observe.IndicatorURL, Order: cnc.ByName}, "kind-hits": {Kind: observe.IndicatorAddress, Order: cnc.ByHits}, "two-state": {Two: &yes, States: []cnc.State{cnc.Scored}, Order: cnc.ByName},
		} {
			var all []time.Duration
			for range 5 {
				began := time.Now()
				q.Full, q.Limit = true, 100
				_, next, err := r.Page(b.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := r.Total(b.Context(), q, 10_000); err != nil {
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
