package portal_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect"
	"sakimori/respond/notify"
	"sakimori/respond/notify/notifytest"
	"sakimori/respond/notify/portal"
)

// wall has one line behind it.
type wall struct {
	addr     netip.Addr
	desk     *notify.Desk
	id       string
	err      error
	mu       sync.Mutex
	released []time.Time
}

func (w *wall) Lookup(ctx context.Context, a netip.Addr) (notify.Notice, error) {
	if w.err != nil {
		return notify.Notice{}, w.err
	}
	if a != w.addr {
		return notify.Notice{}, portal.ErrFree
	}
	return w.desk.Get(ctx, w.id)
}

func (w *wall) Release(_ context.Context, a netip.Addr, _ notify.Notice, until time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a != w.addr {
		return errors.New("another line was let through")
	}
	w.released = append(w.released, until)
	return nil
}

type rig struct {
	house *notifytest.House
	wall  *wall
	http  http.Handler
	log   *strings.Builder
}

func build(t *testing.T, db *relation.DB) *rig {
	t.Helper()
	r := &rig{house: notifytest.NewHouse(2), wall: &wall{addr: netip.MustParseAddr("203.0.113.7")}, log: &strings.Builder{}}
	cfg := portal.DefaultConfig(notifytest.Zone)
	cfg.URL, cfg.VenueURL = "https://portal.isp.example/", "https://www.isp.example/safety"
	cfg.Operator = detect.Text{JA: notifytest.JA.Name, EN: notifytest.EN.Name}
	cfg.Open = detect.Text{JA: "110・118・119への緊急通報は、そのままお使いいただけます。", EN: "Emergency calls to 110, 118 and 119 work as usual."}
	cfg.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	carriers := map[notify.Channel]notify.Carrier{}
	r.wall.desk = r.house.Desk(t, db, carriers, nil)
	p, err := portal.Open(t.Context(), cfg, portal.Deps{DB: db, Clock: r.house, Walled: r.wall, Desk: r.wall.desk, Writer: notifytest.Book(t), Log: slog.New(slog.NewTextHandler(r.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	carriers[notify.Portal] = p
	n := notifytest.Approved(t, r.wall.desk, "S-0", notify.Portal)
	if n, err = r.wall.desk.Send(t.Context(), n.ID, r.house.Grant(t, "S-0"), "x"); err != nil || n.State != notify.Sent {
		t.Fatalf("%+v, %v", n, err)
	}
	r.wall.id, r.http = n.ID, p.Handler()
	return r
}

func (r *rig) do(method, target, from string, header ...string) *http.Response {
	req := httptest.NewRequest(method, target, nil)
	req.RemoteAddr = from
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.http.ServeHTTP(w, req)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const inside, outside = "203.0.113.7:5000", "203.0.113.8:5000"

func (r *rig) api(t *testing.T, from string, header ...string) string {
	t.Helper()
	resp := r.do("GET", "/captive-portal/api", from, header...)
	b := body(t, resp)
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/captive+json" || !json.Valid([]byte(b)) || !strings.Contains(resp.Header.Get("Cache-Control"), "private") {
		t.Errorf("%s: %s", resp.Header, b)
	}
	return strings.TrimSpace(b)
}

// TestAPI follows a line through the wall and back, as devices see it (RFC 8908).
func TestAPI(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db)
		const venue = `"venue-info-url":"https://www.isp.example/safety"`
		free := `{"captive":false,` + venue + `}`
		captive := `{"captive":true,"user-portal-url":"https://portal.isp.example/",` + venue + `,"can-extend-session":`
		let := `{"captive":false,"user-portal-url":"https://portal.isp.example/",` + venue + `,"can-extend-session":`
		step := func(what, want string) {
			t.Helper()
			if got := r.api(t, inside); got != want {
				t.Errorf("%s: %s\nnot %s", what, got, want)
			}
		}
		if got := r.api(t, outside); got != free {
			t.Errorf("another line: %s", got)
		}
		step("walled", captive+"true}")
		for i, extend := range []string{"true", "true", "false"} {
			for range 2 { // the second click does nothing
				if resp := r.do("POST", "/release", inside); resp.StatusCode != http.StatusSeeOther {
					t.Fatal(resp.Status)
				}
			}
			step("let through", let+extend+`,"seconds-remaining":86400}`)
			if len(r.wall.released) != i+1 {
				t.Fatalf("released %d times after %d", len(r.wall.released), i+1)
			}
			r.house.Pass(23 * time.Hour)
			step("an hour left", let+extend+`,"seconds-remaining":3600}`)
			r.house.Pass(time.Hour)
			step("walled again", captive+extend+"}")
		}
		r.do("POST", "/release", inside)
		if len(r.wall.released) != 3 {
			t.Error("the limit doesn't hold")
		}
		if _, err := r.wall.desk.Withdraw(t.Context(), r.wall.id, "abuse:hanako", "clean"); err != nil {
			t.Fatal(err)
		}
		step("withdrawn", free)
	})
}

// TestPage: the page in both languages, without script, without the person's name, and
// the notice is delivered once it was opened.
func TestPage(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	for accept, want := range map[string][]string{
		"ja,en;q=0.5": {`<html lang="ja">`, "何が起きているか", "さきもり通信株式会社", "110・118・119", "あと 3 回"}, "": {`<html lang="ja">`},
		"en-GB": {`<html lang="en">`, "What has happened", "Sakimori Telecom", "24 hours (3 more times)"}, "fr, en;q=0.1": {`<html lang="en">`}, "zz;;q=x": {`<html lang="ja">`},
	} {
		resp := r.do("GET", "/", inside, "Accept-Language", accept)
		b := body(t, resp)
		for _, w := range want {
			if !strings.Contains(b, w) {
				t.Errorf("%q: no %q in\n%s", accept, w, b)
			}
		}
		for _, never := range []string{"<script", "javascript:", "花子", "home.example", "203.0.113", "http://", "https://"} {
			if strings.Contains(b, never) {
				t.Errorf("%q: %q is in the page", accept, never)
			}
		}
		if p := resp.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
			t.Error(p)
		}
	}
	if n, err := r.wall.desk.Get(t.Context(), r.wall.id); err != nil || n.State != notify.Delivered {
		t.Errorf("%s, %v", n.State, err)
	}
	if b := body(t, r.do("GET", "/?lang=en", inside, "Accept-Language", "ja")); !strings.Contains(b, `<html lang="en">`) {
		t.Error("the choice of a language isn't heard")
	}
	if b := body(t, r.do("GET", "/", outside)); !strings.Contains(b, "お知らせはありません") || strings.Contains(b, "<form") {
		t.Error(b)
	}
}

// TestStrangers: pages of others, addresses that are claimed, and a store that fails.
func TestStrangers(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	if resp := r.do("POST", "/release", inside, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); resp.StatusCode != http.StatusForbidden || len(r.wall.released) > 0 {
		t.Errorf("another site's page: %s", resp.Status)
	}
	for _, tt := range []struct {
		from, forwarded string
		captive         bool
	}{
		{outside, "203.0.113.7", false},                             // claimed by no proxy of ours
		{"192.0.2.1:1", "203.0.113.7", true},                        // said by one
		{"192.0.2.1:1", "203.0.113.8, 203.0.113.7", true},           // the last one counts
		{"192.0.2.1:1", "203.0.113.7, 203.0.113.8", false},          // what the client wrote doesn't
		{"192.0.2.1:1", "::ffff:203.0.113.7", true},                 // the same address
		{"[::ffff:192.0.2.1]:1", "198.51.100.1,203.0.113.7 ", true}, // and the same proxy
	} {
		if got := r.api(t, tt.from, "X-Forwarded-For", tt.forwarded); strings.Contains(got, `"captive":true`) != tt.captive {
			t.Errorf("%+v: %s", tt, got)
		}
	}
	for _, forwarded := range []string{"", "unknown", "203.0.113.7:99999x"} {
		if resp := r.do("GET", "/captive-portal/api", "192.0.2.1:1", "X-Forwarded-For", forwarded); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%q: %s", forwarded, resp.Status)
		}
	}
	r.wall.err = errors.New("the store is away")
	for _, path := range []string{"/", "/captive-portal/api"} {
		if resp := r.do("GET", path, inside); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if strings.Contains(r.log.String(), "203.0.113.7") || !strings.Contains(r.log.String(), "the store is away") {
		t.Errorf("the log: %s", r.log.String())
	}
}

// TestManyClicks: clicks at the same time use up one release.
func TestManyClicks(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { r.do("POST", "/release", inside) })
		}
		all.Wait()
		if len(r.wall.released) != 1 || !strings.Contains(r.api(t, inside), `"can-extend-session":true`) {
			t.Errorf("released %d times", len(r.wall.released))
		}
	})
}

// TestNeverWalled: a line that isn't known to be a home's gets no portal.
func TestNeverWalled(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	for _, line := range []notify.Line{notify.Business, notify.Medical, notify.Alarm, ""} {
		p := notifytest.Person(1)
		p.Line = line
		r.house.People["S-1"] = p
		n := notifytest.Approved(t, r.wall.desk, "S-1", notify.Portal)
		if n, err := r.wall.desk.Send(t.Context(), n.ID, r.house.Grant(t, "S-1"), "x"); err == nil || n.State != notify.Failed {
			t.Errorf("%q: %s, %v", line, n.State, err)
		}
	}
}
