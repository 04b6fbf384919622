package main

import (
	"net/netip"
	"testing"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/observe"
	"sakimori/respond/casework"
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

// TestCatchUp: findings that came while there was no office are given to their cases when
// there is one; those that were nobody's are asked about again; none counts twice, and one
// that is taken back takes its signs with it.
func TestCatchUp(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 11, 26, 9, 30, 0, 0, time.UTC)
	k, err := openKeeper(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	found := detect.Finding{
		ID: "F-1", Detector: "infected", Subject: "203.0.113.1", State: detect.Opened, Severity: detect.Soon, Confidence: 0.9,
		Opened: at, Changed: at, Evidence: []detect.Fact{{Key: "family", Value: "mirai"}},
	}
	other := found
	other.ID, other.Subject = "F-2", "203.0.113.2"
	if err := k.store.Tx(t.Context(), func(tx *store.Tx) error { return k.register.Write(tx, []detect.Finding{found, other}) }); err != nil {
		t.Fatal(err)
	}
	h := opened(t, dir)
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	begin := func(line, address string) {
		t.Helper()
		r := subscriber.Record{Kind: subscriber.Begin, Source: "bng1", Session: line, Line: line, Address: netip.MustParsePrefix(address), At: at.Add(-time.Hour)}
		alive := r
		alive.Kind, alive.At = subscriber.Alive, at.Add(time.Hour)
		if err := h.Take(t.Context(), []subscriber.Record{r, alive}); err != nil {
			t.Fatal(err)
		}
	}
	catchUp := func(cases, nobody int) {
		t.Helper()
		for range 2 { // the second time nothing is new
			if err := h.catchUp(t.Context(), k.register); err != nil {
				t.Fatal(err)
			}
		}
		list, err := h.desk.Cases(t.Context(), casework.Query{Open: true})
		if err != nil || len(list) != cases {
			t.Fatalf("%+v, %v", list, err)
		}
		signs, err := h.desk.Signs(t.Context(), "")
		if err != nil || len(signs) != nobody {
			t.Fatalf("%+v, %v", signs, err)
		}
	}
	begin("a", "203.0.113.1/32")
	catchUp(1, 1)
	begin("b", "203.0.113.2/32")
	catchUp(2, 0)
	found.Confidence, found.Changed = 0, at.Add(3*time.Hour)
	if err := h.finding(t.Context(), &found); err != nil {
		t.Fatal(err)
	}
	if list, err := h.desk.Cases(t.Context(), casework.Query{Open: true}); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestKnown: what the gate is told of a case: only what attacks, and was seen lately, is
// an infection that lasts.
func TestKnown(t *testing.T) {
	h := opened(t, t.TempDir())
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	now := time.Now()
	take := func(id, subject, claim string, at time.Time) string {
		t.Helper()
		c, err := h.desk.Take(t.Context(), casework.Sign{ID: id, Subject: subject, Source: "shadowserver", Claim: claim, At: at, Verdict: "unique"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	is := func(id string, want lawful.Finding) {
		t.Helper()
		if f, err := (known{h}).Open(t.Context(), id); err != nil || f != want {
			t.Errorf("%+v, %v, want %+v", f, err, want)
		}
	}
	open := take("1", "S-1", "exposed", now)
	is(open, lawful.Finding{Detector: "exposed", Subject: "S-1", Open: true})
	take("2", "S-1", "infected", now)
	is(open, lawful.Finding{Detector: "infected", Subject: "S-1", Open: true})
	if err := h.desk.Withdraw(t.Context(), "2", "feed", "a mistake"); err != nil {
		t.Fatal(err)
	}
	is(open, lawful.Finding{Detector: "exposed", Subject: "S-1", Open: true})
	is(take("3", "S-2", "infected", now.Add(-30*24*time.Hour)), lawful.Finding{Detector: "infected", Subject: "S-2"})
	is("C-1999-000001", lawful.Finding{})
}

// TestPassedOn: an address that passes from one subscriber to another takes no finding
// with it: what was seen while the first one had it is theirs, also when the finding ends a
// day later; what may be either's is nobody's.
func TestPassedOn(t *testing.T) {
	h := opened(t, t.TempDir())
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 26, hour, minute, 0, 0, time.UTC) }
	session := func(line string, from, to time.Time) {
		t.Helper()
		r := subscriber.Record{Kind: subscriber.Begin, Source: "bng1", Session: line, Line: line, Address: netip.MustParsePrefix("203.0.113.1/32"), At: from}
		end := r
		end.Kind, end.At = subscriber.End, to
		if err := h.Take(t.Context(), []subscriber.Record{r, end}); err != nil {
			t.Fatal(err)
		}
	}
	session("a", at(8, 0), at(10, 0))
	session("b", at(10, 5), at(23, 0))
	first := subscriber.Subject(h.keys.Pseudonym("a"))
	found := func(id string, last, changed time.Time, state detect.State) {
		t.Helper()
		f := detect.Finding{
			ID: id, Detector: "infected", Subject: "203.0.113.1", State: state, Severity: detect.Soon, Confidence: 0.9, Opened: at(8, 30), Changed: changed,
			Evidence: []detect.Fact{{Key: "first", Value: at(8, 30).Format(time.RFC3339)}, {Key: "last", Value: last.Format(time.RFC3339)}},
		}
		if err := h.finding(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what string, theirs, nobodys int) {
		t.Helper()
		list, err := h.desk.Cases(t.Context(), casework.Query{})
		if err != nil || len(list) != 1 || list[0].Subject != first {
			t.Fatalf("%s: %+v, %v", what, list, err)
		}
		signs, err := h.desk.Signs(t.Context(), list[0].ID)
		if err != nil || len(signs) != theirs {
			t.Errorf("%s: of the case %+v, %v", what, signs, err)
		}
		if signs, err = h.desk.Signs(t.Context(), ""); err != nil || len(signs) != nobodys {
			t.Errorf("%s: of nobody %+v, %v", what, signs, err)
		}
	}
	found("F-1", at(9, 40), at(9, 41), detect.Changed)
	is("while they had it", 1, 0)
	found("F-1", at(9, 40), at(9, 40).Add(24*time.Hour), detect.Closed)
	is("a day later", 1, 0)
	found("F-2", at(11, 0), at(11, 1), detect.Changed)
	is("somebody's packet from the address since", 1, 1)
}

// TestDeviceOf: the kind of device is read off what a report tells, and what isn't known
// stays as it was told.
func TestDeviceOf(t *testing.T) {
	for _, tt := range []struct{ told, kind, want string }{
		{"", "", ""}, {"", "ip-camera", "camera"}, {"QNAP TS-251", "", "nas"}, {"Example X1", "router", "router"}, {"Example X1", "toaster", "toaster Example X1"},
	} {
		b := observe.Report{Device: tt.told}
		if tt.kind != "" {
			b.Fields = []observe.Field{{Name: "country", Value: "JP"}, {Name: "device_type", Value: tt.kind}}
		}
		if got := deviceOf(&b); got != tt.want {
			t.Errorf("%+v is %q", tt, got)
		}
	}
}
