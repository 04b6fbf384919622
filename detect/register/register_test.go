package register_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
)

func open(t *testing.T, dir string) (*store.Store, *register.Register) {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := register.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func write(t *testing.T, s *store.Store, r *register.Register, f ...detect.Finding) {
	t.Helper()
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return r.Write(tx, f) }); err != nil {
		t.Fatal(err)
	}
}

var noon = time.Date(2016, 10, 21, 12, 0, 0, 123456789, time.UTC)

func finding(id string, state detect.State, minute int) detect.Finding {
	f := detect.Finding{
		ID: id, Detector: "infected", Subject: "192.0.2.1", State: state, Severity: detect.Soon, Confidence: 0.9,
		Opened: noon, Changed: noon.Add(time.Duration(minute) * time.Minute),
		Title: detect.Textf("感染の疑い %s", "suspected infection %s", id), Why: detect.Textf("理由", "reason"),
		Evidence: []detect.Fact{{Key: "packets", Value: "12"}, {Key: "family", Value: "mirai"}},
	}
	if state == detect.Closed {
		f.Closed = f.Changed
	}
	return f
}

func TestVersions(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s, r := open(t, dir)
	one, two, three := finding("a", detect.Opened, 0), finding("a", detect.Changed, 5), finding("a", detect.Closed, 5)
	write(t, s, r, three)         // out of order, and
	write(t, s, r, one, two, one) // twice in a batch
	write(t, s, r, one, two, three)
	write(t, s, r, finding("b", detect.Opened, 1))
	check := func(r *register.Register) {
		t.Helper()
		now, history, err := r.Get(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(three, now); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]detect.Finding{one, two, three}, history); diff != "" {
			t.Error(diff)
		}
		list, next, err := r.List(ctx, register.Query{Limit: 10})
		if diff := cmp.Diff([]detect.Finding{three, finding("b", detect.Opened, 1)}, list); diff != "" || next != "" || err != nil {
			t.Error(diff, next, err)
		}
	}
	check(r)
	if _, _, err := r.Get(ctx, "nobody"); !errors.Is(err, register.ErrUnknown) {
		t.Errorf("an unknown id: %v", err)
	}
	for _, bad := range []detect.Finding{{State: detect.Opened}, {ID: "x", State: "maybe"}} {
		if err := s.Tx(ctx, func(tx *store.Tx) error { return r.Write(tx, []detect.Finding{finding("c", detect.Opened, 0), bad}) }); err == nil {
			t.Errorf("wrote %+v", bad)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, r = open(t, dir)
	check(r)
}

func TestListSelectsAndPages(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	var all []detect.Finding
	for i := range 45 {
		f := finding(fmt.Sprintf("f%02d", i), []detect.State{detect.Opened, detect.Changed, detect.Closed}[i%3], i/2) // pairs of the same time
		f.Detector = []string{"infected", "ddos"}[i%2]
		f.Severity = detect.Severity(1 + i%3)
		f.Opened = noon.Add(time.Duration(i) * time.Hour)
		if f.State == detect.Closed {
			f.Closed = f.Opened.Add(time.Minute)
		}
		all = append(all, f)
	}
	write(t, s, r, all...)
	for _, c := range []struct {
		name string
		q    register.Query
		take func(detect.Finding) bool
	}{
		{"all", register.Query{}, func(detect.Finding) bool { return true }},
		{"detector", register.Query{Detector: "ddos"}, func(f detect.Finding) bool { return f.Detector == "ddos" }},
		{"opened", register.Query{State: detect.Opened}, func(f detect.Finding) bool { return f.State == detect.Opened }},
		{"closed", register.Query{State: detect.Closed}, func(f detect.Finding) bool { return f.State == detect.Closed }},
		{"severity", register.Query{Severity: detect.Urgent}, func(f detect.Finding) bool { return f.Severity == detect.Urgent }},
		{"range", register.Query{Range: observe.Range{From: noon.Add(10 * time.Hour), To: noon.Add(20 * time.Hour)}}, func(f detect.Finding) bool {
			return f.Opened.Before(noon.Add(20*time.Hour)) && (f.Closed.IsZero() || !f.Closed.Before(noon.Add(10*time.Hour)))
		}},
	} {
		want, got := map[string]bool{}, map[string]bool{}
		for _, f := range all {
			if c.take(f) {
				want[f.ID] = true
			}
		}
		c.q.Limit = 7
		var last time.Time
		for {
			page, next, err := r.List(ctx, c.q)
			if err != nil {
				t.Fatal(c.name, err)
			}
			for _, f := range page {
				if got[f.ID] || (!last.IsZero() && f.Changed.After(last)) {
					t.Errorf("%s: %s is twice or out of order", c.name, f.ID)
				}
				got[f.ID], last = true, f.Changed
			}
			if c.q.After = next; next == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	for _, q := range []register.Query{{}, {Limit: 501}, {Limit: 1, After: "??"}, {Limit: 1, After: "bm9uc2Vuc2U"}, {Limit: 1, State: "gone"}} {
		if _, _, err := r.List(ctx, q); err == nil {
			t.Errorf("%+v was taken", q)
		}
	}
}

func TestAcknowledge(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	write(t, s, r, finding("a", detect.Opened, 0), finding("b", detect.Opened, 0))
	if err := r.Ack(ctx, "a", "hanako", "顧客へ連絡済み", noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := r.Ack(ctx, "a", "taro", "", noon); err != nil {
		t.Fatal(err)
	}
	if err := r.Ack(ctx, "c", "taro", "", noon); !errors.Is(err, register.ErrUnknown) {
		t.Errorf("acknowledged what isn't there: %v", err)
	}
	if err := r.Ack(ctx, "a", "", "", noon); err == nil {
		t.Error("acknowledged by nobody")
	}
	got, err := r.Acknowledged(ctx, "a", "b")
	want := map[string][]register.Acknowledgement{"a": {{"taro", "", noon}, {"hanako", "顧客へ連絡済み", noon.Add(time.Hour)}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestDetectorState(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s, r := open(t, dir)
	save := func(name string, part uint64, state string) {
		t.Helper()
		if err := s.Tx(ctx, func(tx *store.Tx) error { return r.SaveState(tx, name, part, []byte(state)) }); err != nil {
			t.Fatal(err)
		}
	}
	save("ddos", 1, "one")
	save("ddos", 2, "two")
	save("surge", 1, "three")
	save("ddos", 1, "four")
	save("surge", 1, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, r = open(t, dir)
	var got []string
	for _, c := range []struct {
		name string
		part uint64
	}{{"ddos", 1}, {"ddos", 2}, {"surge", 1}, {"infected", 1}} {
		b, err := r.State(ctx, c.name, c.part)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	if strings.Join(got, " ") != "four two  " {
		t.Errorf("states %q", got)
	}
}
