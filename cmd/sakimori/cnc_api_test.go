package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect/cnc"
)

// cncDeeds is a book that takes everything.
type cncDeeds struct{ n int }

func (*cncDeeds) Lock(context.Context, *relation.Tx) error { return nil }

func (d *cncDeeds) Record(context.Context, *relation.Tx, cnc.Deed) error {
	d.n++
	return nil
}

// TestCNCPort: what a person does on the console comes to the list, each act written down,
// and what the list says no to is said in the API's words.
func TestCNCPort(t *testing.T) {
	now := time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)
	cfg := cnc.DefaultConfig()
	if err := cfg.Never.Protect("own", []string{"example.jp"}, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}); err != nil {
		t.Fatal(err)
	}
	deeds := &cncDeeds{}
	list, err := cnc.Open(t.Context(), relationtest.Open(t, relationtest.Place(t, "sqlite")), clock.Fixed(now), deeds, cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &cncPort{list: list, never: cfg.Never, clock: clock.Fixed(now)}
	order := api.CNCOrder{Kind: "name", Value: "C2.Example.NET.", Family: "Mirai", Evidence: "https://example.org/1", Expires: now.Add(24 * time.Hour), Who: "abuse:hanako", Why: "seen"}
	e, err := p.Add(t.Context(), order)
	if err != nil || e.Value != "c2.example.net" || e.State == "" || e.Words.JA == "" {
		t.Fatalf("%+v %v", e, err)
	}
	if deeds.n == 0 {
		t.Error("not written down")
	}
	order.Value = "www.example.jp"
	_, err = p.Add(t.Context(), order)
	if protected, is := errors.AsType[*api.Protected](err); !is || protected.List == "" {
		t.Errorf("%v", err)
	}
	var refusal *console.Refusal
	order.Value, order.Expires = "x.example.net", now
	if _, err = p.Add(t.Context(), order); !errors.As(err, &refusal) || refusal.Text.JA == "" {
		t.Errorf("%v", err)
	}
	if _, err := p.Withdraw(t.Context(), "none", "abuse:hanako", "x"); !errors.Is(err, console.ErrNotFound) {
		t.Errorf("%v", err)
	}
	rows, total, next, err := p.Page(t.Context(), api.CNCQuery{Text: "c2", Limit: 10})
	if err != nil || len(rows) != 1 || total != (api.Count{Count: 1, Exact: true}) || next != "" || len(rows[0].Sources) != 1 {
		t.Errorf("%+v %+v %q %v", rows, total, next, err)
	}
	f, err := p.File(t.Context(), e.ID)
	if err != nil || len(f.History) == 0 || len(f.Explain) == 0 || f.Blast != nil {
		t.Errorf("%+v %v", f, err)
	}
	if s, err := p.Summary(t.Context()); err != nil || len(s.States) != len(cnc.States()) || s.Protected.Names == 0 {
		t.Errorf("%+v %v", s, err)
	}
	a, err := p.Why(t.Context(), "deep.C2.example.net", now)
	if err != nil || a.InForce || a.Said.JA == "" {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := p.Why(t.Context(), "no name <", now); !errors.As(err, &refusal) {
		t.Errorf("%v", err)
	}
	if w, err := p.Withdraw(t.Context(), e.ID, "abuse:hanako", "a shop"); err != nil || w.State != "withdrawn" || w.Reason == nil {
		t.Errorf("%+v %v", w, err)
	}
	if _, _, _, err := p.Queue(t.Context(), 10, ""); err != nil {
		t.Error(err)
	}
}
