package portal_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"sakimori/base/relation/relationtest"
	"sakimori/respond/notify"
)

func (r *rig) number(number, from, lang string) *http.Response {
	req := httptest.NewRequest("POST", "/check?lang="+lang, strings.NewReader(url.Values{"number": {number}}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.RemoteAddr = from
	w := httptest.NewRecorder()
	r.http.ServeHTTP(w, req)
	return w.Result()
}

// TestCheck: anybody may ask whether a number is of a notice, not too often, and learns
// nothing of whose it is; that it was asked for is an answer.
func TestCheck(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	n, err := r.wall.desk.Get(t.Context(), r.wall.id)
	if err != nil {
		t.Fatal(err)
	}
	if b := body(t, r.do("GET", "/check?lang=en", outside)); !strings.Contains(b, "twelve digits") || strings.Contains(b, "<script") {
		t.Error(b)
	}
	if n, _ := r.wall.desk.Get(t.Context(), r.wall.id); n.State != notify.Sent {
		t.Errorf("to open the page was taken for an answer: %s", n.State)
	}
	for _, tt := range []struct{ number, lang, want string }{
		{n.Reference, "en", "We sent this notice on 2026-11-26"},
		{notify.Grouped(n.Reference), "ja", "2026-11-26 に"},
		{"123", "ja", "番号が正しくありません"},
		{"<b>", "en", "no reference number"},
		{"000000000000", "en", "We sent no notice with this number"},
	} {
		b := body(t, r.number(tt.number, outside, tt.lang))
		if !strings.Contains(b, tt.want) || strings.Contains(b, "花子") || strings.Contains(b, "<b>123") || strings.Contains(b, "S-0") || strings.Contains(b, "mirai") {
			t.Errorf("%q: no %q in\n%s", tt.number, tt.want, b)
		}
	}
	if n, _ := r.wall.desk.Get(t.Context(), r.wall.id); n.State != notify.Delivered {
		t.Errorf("looked up, and %s", n.State)
	}
	refused := 0
	for range 40 {
		if r.number(n.Reference, "198.51.100.1:1", "en").StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 20 {
		t.Errorf("%d of 40 tries were refused", refused)
	}
	if resp := r.number(n.Reference, "198.51.100.2:1", "en"); resp.StatusCode != http.StatusOK {
		t.Errorf("another visitor: %s", resp.Status)
	}
	for i, from := range []string{"[2001:db8::1]:1", "[2001:db8::ffff]:1"} { // one home
		for range 20 {
			if resp := r.number(n.Reference, from, "en"); (resp.StatusCode == http.StatusOK) != (i == 0) {
				t.Fatalf("%s: %s", from, resp.Status)
			}
		}
	}
	r.house.Pass(10 * time.Minute)
	if resp := r.number(n.Reference, "198.51.100.1:1", "en"); resp.StatusCode != http.StatusOK {
		t.Errorf("ten minutes later: %s", resp.Status)
	}
}

// TestFixed: who is walled can say that it is clean; the wall stays.
func TestFixed(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	if resp := r.do("POST", "/fixed", outside); resp.StatusCode != http.StatusSeeOther {
		t.Error(resp.Status)
	}
	fixed := func() (n int) {
		history, err := r.wall.desk.History(t.Context(), r.wall.id)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range history {
			if c.Said == notify.Fixed {
				n++
			}
		}
		return n
	}
	if fixed() != 0 {
		t.Error("a stranger answered for the line")
	}
	for range 2 {
		if resp := r.do("POST", "/fixed", inside); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/?said=fixed" {
			t.Error(resp.Status)
		}
	}
	if fixed() != 1 {
		t.Errorf("said %d times", fixed())
	}
	if b := body(t, r.do("GET", "/?said=fixed&lang=en", inside)); !strings.Contains(b, "Thank you.") {
		t.Error(b)
	}
	if got := r.api(t, inside); !strings.Contains(got, `"captive":true`) {
		t.Error(got)
	}
	if resp := r.do("POST", "/fixed", inside, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page: %s", resp.Status)
	}
}
