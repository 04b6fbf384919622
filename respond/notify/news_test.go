package notify_test

import (
	"slices"
	"sync"
	"testing"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/respond/notify"
	"sakimori/respond/notify/notifytest"
)

// TestNews: each change is news until somebody has heard it, and a subscriber's word
// counts once.
func TestNews(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db, 2)
		n := notifytest.Approved(t, r.desk, "S-0", notify.Mail)
		if err := r.desk.Answer(t.Context(), n.ID, notify.Seen, "a guess"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.send(t, n); err != nil {
			t.Fatal(err)
		}
		hear := func(want ...string) {
			t.Helper()
			for range 2 { // what wasn't heard is told again
				news, err := r.desk.News(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for i := range news {
					got = append(got, string(news[i].To)+string(news[i].Said))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("news are %q, not %q", got, want)
				}
			}
			news, err := r.desk.News(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range news {
				if err := r.desk.Heard(t.Context(), &news[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		hear("proposed", "approved", "sending", "sent") // and no answer to what wasn't out
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				for _, number := range []string{n.Reference, notify.Grouped(n.Reference)} {
					if a, err := r.desk.LookUp(t.Context(), number); err != nil || !a.Known {
						t.Errorf("%+v, %v", a, err)
					}
				}
			})
		}
		all.Wait()
		hear("deliveredseen")
		for range 2 {
			if err := r.desk.Answer(t.Context(), n.ID, notify.Fixed, "said so"); err != nil {
				t.Fatal(err)
			}
		}
		hear("deliveredfixed")
		if a, err := r.desk.Check(t.Context(), n.Reference); err != nil || !a.Known { // the desk looks, and nobody has answered
			t.Errorf("%+v, %v", a, err)
		}
		hear()
		other := notifytest.Approved(t, r.desk, "S-1", notify.Mail)
		if a, err := r.desk.LookUp(t.Context(), other.Reference); err != nil || a.Known {
			t.Errorf("a notice that wasn't sent is known: %+v, %v", a, err)
		}
		if c, err := r.desk.Count(t.Context(), notify.Query{State: notify.Approved}); err != nil || c != 1 {
			t.Errorf("%d, %v", c, err)
		}
		page, err := r.desk.List(t.Context(), notify.Query{Newest: true, Limit: 1, Offset: 1})
		if err != nil || len(page) != 1 || page[0].ID != n.ID && page[0].ID != other.ID {
			t.Errorf("%+v, %v", page, err)
		}
	})
}
