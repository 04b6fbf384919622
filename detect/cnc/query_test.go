package cnc_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect/cnc"
	"sakimori/observe"
)

// TestPages turns the pages of every kind of query, and compares them with what a look at
// each entry gives: where few match and are sorted, and where an index is gone through.
func TestPages(t *testing.T) {
	t.Parallel()
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		all, r := varied(t, db)
		yes, no := true, false
		var queries []cnc.Query
		for _, q := range []cnc.Query{
			{},
			{Kind: "name"},
			{Kind: "url"},
			{Kind: "prefix"},
			{Family: "mirai"},
			{Family: "-"},
			{Family: "none"},
			{Kind: "address", Family: "gafgyt"},
			{States: []cnc.State{cnc.Shadow}},
			{States: []cnc.State{cnc.Scored, cnc.Withdrawn}, Kind: "name"},
			{States: []cnc.State{cnc.Archived}},
			{Two: &yes},
			{Two: &no, Kind: "name"},
			{Waits: true},
			{Source: "plain"},
			{Source: "trusted", Kind: "address", States: []cnc.State{cnc.Shadow}},
			{Text: "c2-1"},
			{Text: "c2-1", States: []cnc.State{cnc.Shadow}},
			{Two: &yes, States: []cnc.State{cnc.Withdrawn}},
		} {
			for _, q.Order = range []cnc.Order{cnc.ByScore, cnc.ByAge, cnc.ByHits, cnc.ByName} {
				queries = append(queries, q)
			}
		}
		for _, small := range []int{0, 5, 10_000} {
			r.Sorted(small)
			for _, q := range queries {
				want := matching(all, q)
				var got []string
				for q.Limit = 17; ; {
					list, next, err := r.Page(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					for i := range list {
						got = append(got, list[i].ID)
					}
					if q.After = next; next == "" {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("sorted up to %d: %+v gives %d, not %d", small, q, len(got), len(want))
				}
				if n, exact, err := r.Total(t.Context(), q, 1000); err != nil || n != len(want) || !exact {
					t.Errorf("sorted up to %d: %+v: %d in all, %t, %v, not %d", small, q, n, exact, err, len(want))
				}
			}
		}
	})
}

// TestBacked: for each source it is what a look at each entry gives, whichever way is gone.
func TestBacked(t *testing.T) {
	t.Parallel()
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		_, r := varied(t, db)
		r.read("other", false, c2("c2-41.bad.example", "c2-42.bad.example", "c2-45.bad.example", "c2-48.bad.example")...)
		for i, small := range []int{0, 10_000} {
			r.Sorted(small)
			all := counted(t, r)
			if _, err := r.Withdraw(t.Context(), all[slices.IndexFunc(all, func(e cnc.Entry) bool { return e.InForce() })].ID, "abuse:hanako", "a mistake"); err != nil {
				t.Fatal(i, err)
			}
			want, several := map[string]int{}, 0
			for _, e := range counted(t, r) {
				for _, s := range e.Sources {
					if e.State == cnc.Enforced && s.Gone.IsZero() {
						want[s.Source]++
					}
				}
				if e.State == cnc.Enforced && len(e.Sources) > 1 {
					several++
				}
			}
			got, err := r.Backed(t.Context())
			if err != nil || !maps.Equal(got, want) || len(want) == 0 || several == 0 {
				t.Errorf("%v, not %v, %d with several, %v", got, want, several, err)
			}
		}
	})
}

// varied makes a list with something of everything.
func varied(t *testing.T, db *relation.DB) ([]cnc.Entry, *rig) {
	t.Helper()
	cfg := rules()
	if err := cfg.Never.Rank(lines("1,c2-1.bad.example", "2,c2-13.bad.example", "3,c2-104.bad.example"), "top", 0); err != nil {
		t.Fatal(err)
	}
	r := open(t, db, cfg)
	for part := range 4 {
		var list []observe.Indicator
		for i := part * 40; i < part*40+40; i++ {
			x := c2(fmt.Sprintf("c2-%d.bad.example", i))[0]
			x.Family = []string{"mirai", "gafgyt", "", "mirai"}[i%4]
			x.Confidence = float64(i%9+1) / 10
			switch i % 10 {
			case 3, 6:
				x.Kind, x.Value = observe.IndicatorAddress, fmt.Sprintf("198.51.100.%d", i)
			case 9:
				x.Kind, x.Value = observe.IndicatorURL, "http://"+x.Value+"/x"
			}
			list = append(list, x)
		}
		r.read([]string{"plain", "trusted"}[part%2], false, list...)
		r.pass(day / 3)
	}
	var hits []cnc.Hit
	for i := range 160 {
		id := cnc.ID(observe.IndicatorName, fmt.Sprintf("c2-%d.bad.example", i))
		hits = append(hits, cnc.Hit{Entry: id, Day: r.Now(), Zone: []string{"", "c2."}[i%2], Count: int64(i % 5 * 300)})
		if i%11 == 0 {
			_, _ = r.Withdraw(t.Context(), id, "abuse:hanako", "a mistake") // where there is one
		}
	}
	if _, err := r.Hits(t.Context(), hits); err != nil {
		t.Fatal(err)
	}
	r.pass(day)
	r.tick()
	all := counted(t, r)
	if len(all) != 160 {
		t.Fatalf("%d entries", len(all))
	}
	return all, r
}

// matching are the ids of those that match, in order.
func matching(all []cnc.Entry, q cnc.Query) (ids []string) {
	if q.Text != "" {
		q.Order = cnc.ByName
	}
	var list []cnc.Entry
	for _, e := range all {
		says := slices.ContainsFunc(e.Sources, func(s cnc.Said) bool { return s.Source == q.Source && s.Gone.IsZero() })
		switch {
		case q.Kind != "" && e.Kind != q.Kind, q.Family != "" && e.Family != strings.TrimPrefix(q.Family, "-"), len(q.States) > 0 && !slices.Contains(q.States, e.State),
			q.Source != "" && !says, q.Two != nil && *q.Two != (e.Two != nil), q.Waits && e.Waits == nil, !strings.HasPrefix(e.Value, q.Text), q.Order == cnc.ByHits && e.Hits == 0:
		default:
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b cnc.Entry) int {
		key := strings.Compare(b.ID, a.ID)
		switch q.Order {
		case cnc.ByAge:
			return cmp.Or(b.Opened.Compare(a.Opened), key)
		case cnc.ByHits:
			return cmp.Or(cmp.Compare(b.Hits, a.Hits), key)
		case cnc.ByName:
			return cmp.Or(strings.Compare(a.Value, b.Value), -key)
		}
		return cmp.Or(cmp.Compare(b.Score, a.Score), key)
	})
	for i := range list {
		ids = append(ids, list[i].ID)
	}
	return ids
}
