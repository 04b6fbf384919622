package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/lawful"
	"sakimori/respond/casework"
	"sakimori/respond/notify"
	"sakimori/respond/notify/portal"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/vault"
)

// desks is an office with a portal, on a folder of its own, that can be opened again as
// after a crash.
type desks struct {
	*office

	t   *testing.T
	cfg config
}

func openDesks(t *testing.T, change func(*config)) *desks {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	for _, o := range []*operatorConfig{&cfg.Notify.Operator.JA, &cfg.Notify.Operator.EN} {
		*o = operatorConfig{Name: "Sakimori", Site: "www.sakimori.example", Desk: "desk", Phone: "0120-000-000"}
	}
	cfg.Notify.Policy.QuietFrom, cfg.Notify.Policy.QuietTo = "00:00", "00:00"
	cfg.Notify.Portal = &portalConfig{Listen: "127.0.0.1:0", URL: "https://portal.sakimori.example/"}
	cfg.Notify.Ground = groundConfig{Harm: "scans of 23/tcp", Necessity: "one session"}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	d := &desks{t: t, cfg: cfg}
	d.again()
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// again opens the office anew, as after a crash.
func (d *desks) again() {
	d.t.Helper()
	if d.office != nil {
		if err := d.Close(); err != nil {
			d.t.Fatal(err)
		}
	}
	var err error
	if d.office, err = openOffice(d.t.Context(), &d.cfg); err != nil {
		d.t.Fatal(err)
	}
}

// infected makes a case of a subscriber whose line has the address.
func (d *desks) infected(contract, addr string) casework.Case {
	d.t.Helper()
	ctx, now := d.t.Context(), time.Now()
	if err := d.vault.KeepPerson(ctx, contract, vault.Person{Name: "防人 花子", Mail: "hanako@home.example", Sensitive: "home"}); err != nil {
		d.t.Fatal(err)
	}
	id, err := d.desk.Take(ctx, casework.Sign{ID: "sign of " + contract, Subject: subscriber.Subject(d.keys.Pseudonym(contract)), Source: "telescope", Claim: "infected", Family: "mirai", At: now, Verdict: "unique"})
	if err != nil {
		d.t.Fatal(err)
	}
	if addr != "" {
		a := netip.MustParseAddr(addr)
		start := subscriber.Record{Source: "bng1", Session: contract, Line: contract, Kind: subscriber.Begin, At: now.Add(-time.Hour), Address: netip.PrefixFrom(a, a.BitLen())}
		if err := d.Take(ctx, []subscriber.Record{start}); err != nil {
			d.t.Fatal(err)
		}
	}
	c, err := d.desk.Case(ctx, id)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

func (d *desks) is(id string, want casework.State, notices int) {
	d.t.Helper()
	c, err := d.desk.Case(d.t.Context(), id)
	if err != nil || c.State != want || c.Notices != notices {
		d.t.Fatalf("%s is %s with %d notices, not %s with %d; %v", id, c.State, c.Notices, want, notices, err)
	}
}

func (d *desks) approved(c casework.Case, ch notify.Channel) notify.Notice {
	d.t.Helper()
	n, err := d.notices.Propose(d.t.Context(), c.ID, ch, "", "abuse:taro", "reported")
	if err == nil {
		n, err = d.notices.Approve(d.t.Context(), n.ID, "abuse:hanako", "looked at", nil)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

func (d *desks) entries(k account.Kind) int {
	d.t.Helper()
	list, err := d.book.Entries(d.t.Context(), ledger.Query{Kinds: []account.Kind{k}, Before: 1 << 62, Limit: 1000})
	if err != nil {
		d.t.Fatal(err)
	}
	return len(list)
}

// TestPortalBringsTheCaseOn: who opens the page has acknowledged, who says that it is
// clean has claimed so, and nothing is counted twice over restarts.
func TestPortalBringsTheCaseOn(t *testing.T) {
	d := openDesks(t, nil)
	c := d.infected("a@isp.example", "203.0.113.7")
	n := d.approved(c, notify.Portal)
	d.is(c.ID, casework.Lawful, 0)
	if list, err := d.notices.round(t.Context(), "sakimori"); err != nil || len(list) != 1 || list[0].Sent != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	d.is(c.ID, casework.Notified, 1)
	visit := func(method, path, from string, form url.Values) string {
		t.Helper()
		req := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.RemoteAddr = from + ":1"
		w := httptest.NewRecorder()
		d.notices.portal.Handler().ServeHTTP(w, req)
		if w.Code >= http.StatusBadRequest {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	if b := visit("GET", "/", "203.0.113.8", nil); strings.Contains(b, "<form") {
		t.Error("a stranger is walled")
	}
	if b := visit("GET", "/captive-portal/api", "203.0.113.7", nil); !strings.Contains(b, `"captive":true`) {
		t.Error(b)
	}
	for range 2 { // as after a crash, when nobody had followed yet
		visit("GET", "/", "203.0.113.7", nil)
		d.again()
		if _, err := d.notices.recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.is(c.ID, casework.Acknowledged, 1)
	}
	visit("POST", "/check", "198.51.100.9", url.Values{"number": {n.Reference}})
	visit("POST", "/fixed", "203.0.113.7", nil)
	if err := d.notices.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.is(c.ID, casework.ClaimedFixed, 1)
	if err := d.desk.Move(t.Context(), c.ID, casework.Closed, "abuse:hanako", "clean"); err != nil {
		t.Fatal(err)
	}
	if _, err := (walled{d.notices}).Lookup(t.Context(), netip.MustParseAddr("203.0.113.7")); !errors.Is(err, portal.ErrFree) {
		t.Errorf("a closed case walls: %v", err)
	}
}

// TestFollowAfterAnyCrash: wherever between a notice's change and its case the program
// dies, the next one brings the case to where it would be, and counts nothing twice.
func TestFollowAfterAnyCrash(t *testing.T) {
	for stop := range 12 {
		d := openDesks(t, nil)
		c := d.infected("a@isp.example", "203.0.113.7")
		n := d.approved(c, notify.Portal)
		g, err := d.notices.For(t.Context(), c.Subject)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.notices.Send(t.Context(), n.ID, g, "sakimori"); err != nil { // and nobody has followed
			t.Fatal(err)
		}
		if err := d.notices.Answer(t.Context(), n.ID, notify.Seen, "opened"); err != nil {
			t.Fatal(err)
		}
		// It dies when it asks for the n-th time whether it may go on.
		_ = d.notices.follow(&dying{Context: t.Context(), left: stop})
		d.again()
		if _, err := d.notices.recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.is(c.ID, casework.Acknowledged, 1)
		_, history, _, err := d.desk.Get(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		var what []string
		for _, e := range history {
			what = append(what, e.What)
		}
		if !slices.Equal(what, []string{"new", "attributed", "lawful", "notified", "acknowledged"}) {
			t.Errorf("stopped at %d: %q", stop, what)
		}
		if news, err := d.notices.News(t.Context()); err != nil || len(news) != 0 {
			t.Errorf("stopped at %d: %d are news, %v", stop, len(news), err)
		}
	}
}

// dying is a context that ends after it was asked a number of times.
type dying struct {
	context.Context //nolint:containedctx // it is one

	left int
}

func (d *dying) Err() error {
	if d.left--; d.left < 0 {
		return context.Canceled
	}
	return nil
}

func (d *dying) Done() <-chan struct{} {
	if d.Err() == nil {
		return nil
	}
	over := make(chan struct{})
	close(over)
	return over
}

// TestGroundOfANotice: the gate is asked for each notice; a refusal stands for an hour, so
// that the ledger isn't filled; a grant that was revoked is asked for anew; a case that is
// held or closed has none, and takes back what didn't go out.
func TestGroundOfANotice(t *testing.T) {
	d := openDesks(t, func(c *config) { c.Notify.Ground, c.Notify.Policy.TwoPeople = groundConfig{}, true })
	ctx := t.Context()
	c := d.infected("a@isp.example", "203.0.113.7")
	n, err := d.notices.Propose(ctx, c.ID, "", "", "abuse:hanako", "reported")
	if err != nil || n.Channel != notify.Portal {
		t.Fatalf("%+v, %v", n, err)
	}
	facts := lawful.Facts{"harm": "scans", "necessity": "one session", "finding": "C-1999-000001"} // the house knows better
	if _, err := d.notices.Approve(ctx, n.ID, "cli:Hanako", "looked at", facts); !errors.Is(err, notify.ErrSecond) {
		t.Errorf("the same person approves: %v", err)
	}
	if _, err := d.notices.Approve(ctx, n.ID, "abuse:taro", "looked at", nil); !errors.Is(err, lawful.ErrRefused) {
		t.Errorf("without a ground: %v", err)
	}
	if _, err := d.notices.Approve(ctx, n.ID, "abuse:taro", " ", facts); !errors.Is(err, errWhy) {
		t.Errorf("without a reason: %v", err)
	}
	if _, err := d.notices.Approve(ctx, n.ID, "abuse:taro", "looked at", facts); err != nil {
		t.Fatal(err)
	}
	g, err := d.notices.For(ctx, c.Subject)
	if err != nil || g.Rule() != "sender-by-log" {
		t.Fatalf("%+v, %v", g, err)
	}
	if err := d.desk.Hold(ctx, c.ID, true, "legal:jiro", "a lawyer asked"); err != nil {
		t.Fatal(err)
	}
	if g, err := d.notices.For(ctx, c.Subject); err != nil || g.ID() != "" {
		t.Errorf("held, and granted: %v", err)
	}
	if err := d.desk.Hold(ctx, c.ID, false, "legal:jiro", "it is settled"); err != nil {
		t.Fatal(err)
	}
	if err := d.gate.Revoke(ctx, g.ID(), "legal:jiro", "a test"); err != nil {
		t.Fatal(err)
	}
	before := d.entries(account.Refused)
	for range 3 { // nothing is stated of every notice, so the gate says no: once
		if list, err := d.notices.round(ctx, "sakimori"); err != nil || list[0].Sent != 0 || list[0].Later != 1 {
			t.Errorf("%+v, %v", list, err)
		}
	}
	if got := d.entries(account.Refused) - before; got != 1 {
		t.Errorf("%d refusals are written down", got)
	}
	if err := d.desk.Withdraw(ctx, "sign of a@isp.example", "feed", "it was wrong"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.notices.follow(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.notices.Get(ctx, n.ID); err != nil || n.State != notify.Withdrawn || !strings.Contains(n.Reason, "every sign was withdrawn") {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := d.notices.Propose(ctx, c.ID, "", "", "abuse:hanako", "again"); !errors.Is(err, errCase) {
		t.Errorf("of a closed case: %v", err)
	}
}

// TestBounceBox: what comes to the bounce address is read from a Maildir, each report
// once, and what isn't one is left for a person.
func TestBounceBox(t *testing.T) {
	d := openDesks(t, nil)
	c := d.infected("a@isp.example", "203.0.113.7")
	n := d.approved(c, notify.Portal)
	if _, err := d.notices.round(t.Context(), "sakimori"); err != nil {
		t.Fatal(err)
	}
	box := t.TempDir()
	if got, err := d.notices.takeBounces(t.Context(), filepath.Join(box, "none")); err != nil || got.Read != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	report := func(id, action string) string {
		return fmt.Sprintf("To: bounce+%s@isp.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mta.example\r\n\r\nAction: %s\r\nStatus: 5.1.1\r\n\r\n--b--\r\n", id, action)
	}
	if err := os.Mkdir(filepath.Join(box, "new"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"1": report(n.ID, "delayed"), "2": report(n.ID, "failed"), "3": report(n.ID, "failed"), "4": report(strings.Repeat("a", 26), "failed"), "5": "Subject: I am away\r\n\r\nhello\r\n",
	} {
		if err := os.WriteFile(filepath.Join(box, "new", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.notices.takeBounces(t.Context(), box)
	if err != nil || got != (reported{Read: 5, Notices: 3, Strange: 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	d.is(c.ID, casework.Unreachable, 1)
	left, _ := filepath.Glob(filepath.Join(box, "*", "*"))
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if slices.Sort(left); !slices.Equal(left, []string{"1:2,S", "2:2,S", "3:2,S", "4:2,", "5:2,"}) {
		t.Errorf("%q", left)
	}
}
