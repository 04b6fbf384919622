package main

import (
	"net/netip"
	"testing"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/respond/subscriber"
)

// opened is an office on a folder, with the default settings.
func opened(t *testing.T, dir string) *office {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data = dir
	h, err := openOffice(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestForget: who had an address is forgotten after the time that it is kept, and it is
// written down that it was.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	session := func(line, address string, began time.Time) []subscriber.Record {
		r := subscriber.Record{Kind: subscriber.Begin, Source: "bng1", Session: line, Line: line, Address: netip.MustParsePrefix(address), At: began}
		end := r
		end.Kind, end.At = subscriber.End, began.Add(time.Hour)
		return []subscriber.Record{r, end}
	}
	old, fresh := now.Add(-200*day), now.Add(-100*day)
	h := opened(t, dir)
	if err := h.Take(t.Context(), append(session("a", "203.0.113.1/32", old), session("b", "203.0.113.2/32", fresh)...)); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil { // what is in memory goes into a file
		t.Fatal(err)
	}
	h = opened(t, dir)
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	verdict := func(address string, began time.Time) subscriber.Verdict {
		return h.who(netip.MustParseAddr(address), 0, 0, began.Add(30*time.Minute), time.Second).Verdict
	}
	if err := h.forget(t.Context(), 0, clock.Fixed(now)); err != nil || verdict("203.0.113.1", old) != subscriber.Unique {
		t.Fatalf("for ever isn't: %v", err)
	}
	if err := h.forget(t.Context(), 183*day, clock.Fixed(now)); err != nil {
		t.Fatal(err)
	}
	if v := verdict("203.0.113.1", old); v != subscriber.Expired {
		t.Errorf("after its time: %s", v)
	}
	if v := verdict("203.0.113.2", fresh); v != subscriber.Unique {
		t.Errorf("within its time: %s", v)
	}
	list, err := h.book.Entries(t.Context(), ledger.Query{Kinds: []account.Kind{account.Pruned}})
	if err != nil || len(list) != 1 {
		t.Errorf("%d entries, %v", len(list), err)
	}
}
