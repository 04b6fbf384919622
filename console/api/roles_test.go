package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Every route, the pages included, has a least role, and is closed to everybody below it.
func TestEveryRouteAsksForItsRole(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for _, pattern := range w.server.mux.patterns {
		least, listed := permissions[pattern]
		if !listed {
			t.Errorf("%s has no role in permissions", pattern)
		}
		seen[pattern] = true
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = http.MethodGet, pattern
		}
		path = strings.NewReplacer("{ip}", "198.51.100.9", "{id}", "nothing").Replace(path)
		if pattern == "/api/" {
			path = "/api/v1/nothing"
		}
		for role := Public; role <= Admin; role++ {
			if pattern == streaming && role >= least {
				continue // has tests of its own, and doesn't end
			}
			got := w.ask(role, method, path, "", nil).Code
			open := got != http.StatusUnauthorized && got != http.StatusForbidden
			if open != (role >= least) {
				t.Errorf("%s as %s: status %d, least role %s", pattern, role, got, least)
			}
			if want := 401; role == Public && least > Public && got != want {
				t.Errorf("%s without a token: %d", pattern, got)
			}
			if got >= 500 {
				t.Errorf("%s as %s: status %d", pattern, role, got)
			}
		}
	}
	for pattern := range permissions {
		if !seen[pattern] {
			t.Errorf("%s is in permissions and no route", pattern)
		}
	}
	if n := len(w.server.mux.patterns); n < 27 {
		t.Errorf("only %d routes", n)
	}
}

func TestUnlistedRouteIsClosed(t *testing.T) {
	w := newWorld(t)
	w.server.mux.HandleFunc("GET /api/v1/forgotten", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusOK) })
	if got := w.ask(Admin, "GET", "/api/v1/forgotten", "", nil); got.Code != http.StatusNotFound {
		t.Errorf("a route without a role answered %d", got.Code)
	}
}

func TestRolesReadAndWrite(t *testing.T) {
	for r := Wall; r <= Admin; r++ {
		if got, err := ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "public", "root"} {
		if _, err := ParseRole(s); err == nil {
			t.Errorf("%q is taken as a role", s)
		}
	}
}

func problemOf(t *testing.T, body []byte) (p Problem) {
	t.Helper()
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return p
}

func TestGuards(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		role         Role
		method, path string
		body         string
		h            header
		status       int
		code         string
	}{
		"rebound name":             {Admin, "GET", "/api/v1/status", "", header{"Host": "evil.example:8630"}, 421, "host_unknown"},
		"rebound name, page":       {Public, "GET", "/", "", header{"Host": "evil.example"}, 421, "host_unknown"},
		"foreign address as host":  {Admin, "GET", "/api/v1/status", "", header{"Host": "198.51.100.1:8630"}, 421, "host_unknown"},
		"configured host":          {Admin, "GET", "/api/v1/status", "", header{"Host": "Console.example:443"}, 200, ""},
		"localhost":                {Admin, "GET", "/api/v1/status", "", header{"Host": "localhost:1"}, 200, ""},
		"loopback IPv6":            {Admin, "GET", "/api/v1/status", "", header{"Host": "[::1]:8630"}, 200, ""},
		"cross-site post":          {Operator, "POST", "/api/v1/findings/ddos-1/ack", `{"note":"x"}`, header{"Sec-Fetch-Site": "cross-site"}, 403, "cross_origin"},
		"cross-site post, origin":  {Operator, "POST", "/api/v1/imports?name=x", "pcap", header{"Origin": "https://evil.example"}, 403, "cross_origin"},
		"cross-site login":         {Public, "POST", "/session", `{"token":"skm_12345"}`, header{"Sec-Fetch-Site": "same-site"}, 403, "cross_origin"},
		"same-origin post":         {Operator, "POST", "/api/v1/findings/ddos-1/ack", `{"note":"x"}`, header{"Sec-Fetch-Site": "same-origin"}, 200, ""},
		"unknown path":             {Admin, "GET", "/api/v1/nothing", "", nil, 404, "not_found"},
		"wrong method":             {Admin, "DELETE", "/api/v1/status", "", nil, 405, "method_not_allowed"},
		"post to a page":           {Public, "POST", "/situation", "", nil, 405, "method_not_allowed"},
		"path import from outside": {Admin, "POST", "/api/v1/imports/path", `{"path":"/x"}`, header{"RemoteAddr": "192.0.2.5:99"}, 403, "loopback_only"},
		"large body":               {Operator, "POST", "/api/v1/findings/ddos-1/ack", `{"note":"` + strings.Repeat("x", jsonBytes) + `"}`, nil, 413, "too_large"},
		"broken body":              {Operator, "POST", "/api/v1/findings/ddos-1/ack", `{"note":`, nil, 400, "bad_request"},
		"foreign media type":       {Operator, "POST", "/api/v1/findings/ddos-1/ack", `note=x`, header{"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media"},
		"csv body":                 {Operator, "POST", "/api/v1/findings/ddos-1/ack", `note`, header{"Content-Type": "text/csv"}, 400, "bad_request"},
		"bad token":                {Public, "GET", "/api/v1/status", "", header{"Authorization": "Bearer skm_nothing"}, 401, "token_invalid"},
		"basic scheme":             {Public, "GET", "/api/v1/status", "", header{"Authorization": "Basic eDp5"}, 401, "unauthenticated"},
		"limit":                    {Viewer, "GET", "/api/v1/findings?limit=501", "", nil, 422, "validation_failed"},
		"time":                     {Viewer, "GET", "/api/v1/telescope/top?from=yesterday", "", nil, 422, "validation_failed"},
		"span":                     {Viewer, "GET", "/api/v1/telescope/top?from=2016-09-02T00:00:00Z&to=2016-09-01T00:00:00Z", "", nil, 422, "range_invalid"},
		"minutes of a year":        {Viewer, "GET", "/api/v1/telescope/series?grain=minute&from=2016-01-01T00:00:00Z&to=2017-01-01T00:00:00Z", "", nil, 422, "too_many_points"},
		"key":                      {Viewer, "GET", "/api/v1/telescope/series?dim=port&key=telnet", "", nil, 422, "key_invalid"},
		"kind":                     {Viewer, "GET", "/api/v1/telescope/events?kind=syn", "", nil, 422, "filter_invalid"},
		"address":                  {Viewer, "GET", "/api/v1/address/example.jp", "", nil, 422, "address_invalid"},
		"refused by a port":        {Admin, "POST", "/api/v1/imports/path", `{"path":"/none"}`, nil, 422, "refused"},
		"no such finding":          {Viewer, "GET", "/api/v1/findings/x", "", nil, 404, "not_found"},
		"no such job":              {Operator, "POST", "/api/v1/jobs/x/stop", "{}", nil, 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			got := w.ask(c.role, c.method, c.path, c.body, c.h)
			if got.Code != c.status {
				t.Fatalf("status %d, want %d: %s", got.Code, c.status, got.Body)
			}
			for k, v := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
				if got.Header().Get(k) != v {
					t.Errorf("%s: %q", k, got.Header().Get(k))
				}
			}
			if !strings.HasPrefix(got.Header().Get("Content-Security-Policy"), "default-src 'self'") {
				t.Error("no content security policy")
			}
			if c.code == "" {
				return
			}
			if ct := got.Header().Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("content type %q", ct)
			}
			p := problemOf(t, got.Body.Bytes())
			if p.Code != c.code || p.Status != c.status || p.Detail == "" || p.RequestID != got.Header().Get("X-Request-Id") {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestProblemsSpeakTheReadersLanguage(t *testing.T) {
	w := newWorld(t)
	for accept, want := range map[string]string{
		"":                      "ja",
		"ja,en;q=0.8":           "ja",
		"en-US,en;q=0.9":        "en",
		"fr, en;q=0.5, ja;q=.4": "en",
		"de":                    "ja",
		"en;q=0, ja;q=0.1":      "ja",
	} {
		got := w.ask(Viewer, "GET", "/api/v1/findings?limit=0", "", header{"Accept-Language": accept})
		p := problemOf(t, got.Body.Bytes())
		words := problems["validation_failed"].ja
		remark := "下限：1"
		if want == "en" {
			words, remark = problems["validation_failed"].en, "expected number >= 1"
		}
		if got.Header().Get("Content-Language") != want || p.Detail != words || len(p.Errors) != 1 || p.Errors[0].Message != remark {
			t.Errorf("%q: %s %s", accept, got.Header().Get("Content-Language"), got.Body)
		}
	}
}

// A problem has the same number of arguments in both languages, in one order.
func TestProblemTextsMatch(t *testing.T) {
	verbs := func(s string) string {
		var v []string
		for i := range len(s) - 1 {
			if s[i] == '%' {
				v = append(v, s[i:i+2])
			}
		}
		return strings.Join(v, " ")
	}
	for code, p := range problems {
		if verbs(p.ja) != verbs(p.en) || p.ja == "" || p.en == "" || (p.status < 400 || p.status > 599) {
			t.Errorf("%s: %+v", code, p)
		}
	}
}

func TestSessionLife(t *testing.T) {
	w := newWorld(t)
	once, _, err := w.tokens.Issue(Token{Kind: LoginToken, Role: Operator, User: "hanako"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	in := w.ask(Public, "GET", "/?token="+once, "", nil)
	if in.Code != http.StatusSeeOther || in.Header().Get("Location") != "/" {
		t.Fatalf("%d %v", in.Code, in.Header())
	}
	c := in.Result().Cookies()[0]
	if c.Name != "sakimori" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.MaxAge != int(sessionLasts/time.Second) {
		t.Errorf("%+v", c)
	}
	cookie := header{"Cookie": c.Name + "=" + c.Value}
	if me := w.ask(Public, "GET", "/session", "", cookie); me.Body.String() != `{"role":"operator","user":"hanako"}`+"\n" {
		t.Errorf("%d %s", me.Code, me.Body)
	}
	if again := w.ask(Public, "GET", "/?token="+once, "", nil); again.Code != http.StatusSeeOther || len(again.Result().Cookies()) > 0 {
		t.Errorf("a login token worked twice: %v", again.Header())
	}
	for name, h := range map[string]header{
		"session secret as a bearer": {"Authorization": "Bearer " + c.Value},
		"API token as a cookie":      {"Cookie": "sakimori=" + w.secrets[Admin]},
		"login token as a bearer":    {"Authorization": "Bearer " + once},
	} {
		if got := w.ask(Public, "GET", "/session", "", h); got.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	if out := w.ask(Public, "DELETE", "/session", "", cookie); out.Code != http.StatusNoContent || out.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("%d %v", out.Code, out.Header())
	}
	if me := w.ask(Public, "GET", "/session", "", cookie); me.Code != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", me.Code)
	}
}

func TestSessionEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	secret, token, err := w.tokens.Issue(Token{Kind: APIToken, Role: Wall, User: "wall"}, 400*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	in := w.ask(Public, "POST", "/session", `{"token":"`+secret+`"}`, nil)
	if in.Code != 200 || strings.Contains(in.Body.String(), "skm_") {
		t.Fatalf("%d %s", in.Code, in.Body)
	}
	c := in.Result().Cookies()[0]
	if c.MaxAge < 399*24*3600 {
		t.Errorf("a wall's session lasts %d s", c.MaxAge)
	}
	cookie := header{"Cookie": c.Name + "=" + c.Value}
	if got := w.ask(Public, "GET", "/session", "", cookie); got.Code != 200 {
		t.Fatal(got.Code)
	}
	if err := w.tokens.Revoke(token.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.ask(Public, "GET", "/session", "", cookie); got.Code != http.StatusUnauthorized {
		t.Errorf("the session outlived its token: %d", got.Code)
	}
}

func TestFailedLoginsHaveToWait(t *testing.T) {
	w := newWorld(t)
	try := func(from, token string) int {
		return w.ask(Public, "POST", "/session", `{"token":"`+token+`"}`, header{"RemoteAddr": from}).Code
	}
	for i := range loginFailures {
		if got := try("127.0.0.1:1", "skm_wrongwrong"); got != 401 {
			t.Fatalf("try %d: %d", i, got)
		}
	}
	for range loginFailures {
		if got := w.ask(Public, "GET", "/session", "", header{"Cookie": "sakimori=skm_old", "RemoteAddr": "127.0.0.9:1"}); got.Code != 401 {
			t.Fatal(got.Code)
		}
	}
	if got := try("127.0.0.1:2", w.secrets[Viewer]); got != 429 {
		t.Errorf("after %d failures: %d", loginFailures, got)
	}
	if got := w.ask(Public, "POST", "/session", `{"token":"skm_wrongwrong"}`, nil); got.Header().Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", got.Header())
	}
	if got := try("127.0.0.9:1", w.secrets[Viewer]); got != 200 {
		t.Errorf("another place: %d", got)
	}
	if got := w.ask(Viewer, "GET", "/session", "", nil); got.Code != 200 {
		t.Errorf("who is logged in already: %d", got.Code)
	}
}
