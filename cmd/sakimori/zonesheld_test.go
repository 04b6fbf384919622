package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/publish"
)

// standing is a ground that holds, a ledger that keeps nothing, and a clock.
type standing struct{ now time.Time }

func (s *standing) Now() time.Time                              { return s.now }
func (*standing) AllowsAll(lawful.Measure, time.Time) bool      { return true }
func (*standing) ID() string                                    { return "G-1" }
func (*standing) Rule() string                                  { return "test" }
func (*standing) Until() time.Time                              { return time.Time{} }
func (*standing) Record(context.Context, rpz.Publication) error { return nil }

// TestHeldIsTold: a zone that stands rolled back for long becomes a finding, once, which
// closes when it is published again, also when that was before a restart.
func TestHeldIsTold(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := &standing{now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	zones, err := rpz.Open(ctx, t.TempDir(), rpz.Options{Clock: s, Recorder: s})
	if err != nil {
		t.Fatal(err)
	}
	defer zones.Close()
	kept := map[string]detect.Finding{}
	told := 0
	h := &office{
		house: &house{}, clock: s, zones: zones, publisher: publish.New(publish.Config{}, nil, keptZones{zones}, nil, s, slog.New(slog.DiscardHandler)),
		alarm: func(_ context.Context, f detect.Finding) error { told++; kept[f.ID] = f; return nil },
		alarmed: func(_ context.Context, id string) (detect.Finding, bool, error) {
			f, is := kept[id]
			return f, is, nil
		},
	}
	by := rpz.By{Who: "network:sato", Why: "a shop was blocked"}
	put := func(name string) {
		t.Helper()
		if _, err := zones.Publish(ctx, rpz.C2, s, rpz.Change{Add: []rpz.Rule{{Name: name, Ref: "K-1"}}}, by); err != nil {
			t.Fatal(err)
		}
	}
	open := "?"
	look := func(after time.Duration, tells int, want detect.State) {
		t.Helper()
		s.now = s.now.Add(after)
		var err error
		if open, err = h.tellHeld(ctx, rpz.C2, open); err != nil {
			t.Fatal(err)
		}
		if told != tells || tells > 0 && kept[heldID(rpz.C2, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))].State != want {
			t.Fatalf("told %d times: %+v", told, kept)
		}
	}
	put("a.example")
	put("b.example")
	look(0, 0, "")
	if _, err := zones.Rollback(ctx, rpz.C2, s, zones.Current(rpz.C2).Serial-1, by); err != nil {
		t.Fatal(err)
	}
	look(heldAlarm-time.Second, 0, "")
	look(time.Second, 1, detect.Opened)
	look(time.Hour, 1, detect.Opened)
	for _, f := range kept {
		if f.Why.JA == "" || !strings.Contains(f.Why.EN, "rpz publish c2.") || f.Severity != detect.Soon || len(f.Evidence) != 4 {
			t.Errorf("%+v", f)
		}
	}
	open = "?" // a restart
	look(time.Hour, 1, detect.Opened)
	if _, err := zones.Publish(ctx, rpz.C2, s, rpz.Change{Remove: []rpz.Rule{{Name: "a.example"}}}, rpz.By{Who: "house:publisher", Why: "withdrawn", Refs: []string{rpz.HeldRef}}); err != nil {
		t.Fatal(err)
	}
	look(time.Hour, 1, detect.Opened)
	put("c.example")
	open = "?" // it was published while nobody ran
	look(time.Hour, 2, detect.Closed)
	look(time.Hour, 2, detect.Closed)
	open = "?"
	look(time.Hour, 2, detect.Closed)
}
