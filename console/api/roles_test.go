package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"sakimori/console"
)

// Every route, the pages included, is open to who is listed and closed to everybody
// else: each role alone, somebody without a role, and nobody.
func TestEveryRouteAsksForItsRole(t *testing.T) {
	w := newWorld(t)
	seen, asked := map[string]bool{}, 0
	for _, pattern := range w.server.mux.patterns {
		may, listed := permissions[pattern]
		if !listed {
			t.Errorf("%s has no roles in permissions", pattern)
		}
		seen[pattern] = true
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = http.MethodGet, pattern
		}
		path = strings.NewReplacer("{ip}", "198.51.100.9", "{id}", "nothing", "{issuer}", "nothing", "{zone}", "c2", "{vendor}", "bind", "{subject}", "nothing").Replace(path)
		if pattern == "/api/" {
			path = "/api/v1/nothing"
		}
		for _, role := range everyRole {
			if pattern == "DELETE /session" {
				continue // it would end what is asked with; it has a test of its own
			}
			// Once with a token, and once as a person.
			for _, h := range []header{nil, w.cookie(role)} {
				as, has := role, role|Known|Public
				switch {
				case role == Public && h != nil:
					continue
				case role == Public:
					has = Public
				case h != nil:
					as, has = Public, has|console.Person
				}
				if pattern == streaming && has.Any(may) {
					continue // doesn't end, and has tests of its own
				}
				got := w.ask(as, method, path, "", h).Code
				if open := got != http.StatusUnauthorized && got != http.StatusForbidden; open != has.Any(may) {
					t.Errorf("%s as %s: status %d, open to %s", pattern, has, got, may)
				}
				if role == Public && !may.Any(Public) && got != http.StatusUnauthorized {
					t.Errorf("%s without a token: %d", pattern, got)
				}
				if got >= 500 {
					t.Errorf("%s as %s: status %d", pattern, role, got)
				}
				asked++
			}
		}
	}
	for pattern := range permissions {
		if !seen[pattern] {
			t.Errorf("%s is in permissions and no route", pattern)
		}
	}
	if n := len(w.server.mux.patterns); n < 110 || asked < 100*15 {
		t.Errorf("only %d routes, asked %d times", n, asked)
	}
}

// What a wall may, a viewer may; what a viewer may, every desk may; and an admin may
// do all.
func TestRolesStandOnEachOther(t *testing.T) {
	for pattern, may := range permissions {
		if may.Any(Public | Known | console.Person) {
			continue
		}
		for _, step := range [][2]console.Roles{
			{Wall, Viewer},
			{Viewer, Operator},
			{Viewer, console.Abuse},
			{Viewer, console.Network},
			{Viewer, console.Legal},
			{Operator, Admin},
			{console.Abuse, Admin},
			{console.Network, Admin},
			{console.Legal, Admin},
		} {
			if may.Any(step[0]) && !may.Any(step[1]) {
				t.Errorf("%s: %s may, and %s may not", pattern, step[0], step[1])
			}
		}
		if !may.Any(Admin) {
			t.Errorf("%s: nobody may, or not an admin", pattern)
		}
	}
}

func TestReadOnlyTokensRead(t *testing.T) {
	w := newWorld(t)
	secret, _, err := w.tokens.Issue(t.Context(), console.Token{Kind: console.APIToken, Roles: Admin, User: "script", ReadOnly: true}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h := header{"Authorization": "Bearer " + secret}
	for _, pattern := range w.server.mux.patterns {
		method, path, _ := strings.Cut(pattern, " ")
		if permissions[pattern].Any(Public) || pattern == streaming || pattern == "DELETE /session" || permissions[pattern] == console.Person {
			continue
		}
		got := w.ask(Public, method, strings.NewReplacer("{ip}", "198.51.100.9", "{id}", "nothing", "{zone}", "c2", "{vendor}", "bind", "{subject}", "nothing").Replace(path), "", h)
		if refused := got.Code == http.StatusForbidden && problemOf(t, got.Body.Bytes()).Code == "read_only"; refused != (method != http.MethodGet) {
			t.Errorf("%s: %d %s", pattern, got.Code, got.Body)
		}
	}
}

// No request that changes something is taken from a page of another site, whoever's
// browser it is.
func TestOtherSitesChangeNothing(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, pattern := range w.server.mux.patterns {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok || method == http.MethodGet {
			continue
		}
		n++
		path = strings.ReplaceAll(path, "{id}", "id-viewer")
		for _, site := range []header{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}} {
			h := w.cookie(Admin)
			maps.Copy(h, site)
			if got := w.ask(Public, method, path, "{}", h); got.Code != http.StatusForbidden || problemOf(t, got.Body.Bytes()).Code != "cross_origin" {
				t.Errorf("%s %v: %d", pattern, site, got.Code)
			}
		}
	}
	if n < 20 || len(w.people.acts) > 0 {
		t.Errorf("%d routes, %v", n, w.people.acts)
	}
}

func TestUnlistedRouteIsClosed(t *testing.T) {
	w := newWorld(t)
	w.server.mux.HandleFunc("GET /api/v1/forgotten", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusOK) })
	if got := w.ask(Admin, "GET", "/api/v1/forgotten", "", nil); got.Code != http.StatusNotFound {
		t.Errorf("a route without a role answered %d", got.Code)
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
		role         console.Roles
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
		"path import by a proxy":   {Admin, "POST", "/api/v1/imports/path", `{"path":"/x"}`, header{"X-Forwarded-For": "127.0.0.1"}, 403, "loopback_only"},
		"unknown role":             {Admin, "POST", "/api/v1/users", `{"name":"x","roles":["king"]}`, nil, 422, "filter_invalid"},
		"last admin":               {Admin, "POST", "/api/v1/users/id-admin/lock", "{}", nil, 422, "refused"},
		"no such user":             {Admin, "DELETE", "/api/v1/users/x", "", nil, 404, "not_found"},
		"no such token":            {Admin, "DELETE", "/api/v1/tokens/x", "", nil, 404, "not_found"},
		"account by a token":       {Admin, "GET", "/api/v1/account", "", nil, 403, "no_account"},
		"bad link":                 {Public, "POST", "/signin/link", `{"secret":"skm_nothing"}`, nil, 401, "token_invalid"},
		"login with nothing":       {Public, "POST", "/session", `{}`, nil, 400, "bad_request"},
		"token for ever":           {Admin, "POST", "/api/v1/tokens", `{"name":"x","roles":["wall"],"hours":100000}`, nil, 422, "validation_failed"},
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
	once, _, err := w.tokens.Issue(t.Context(), console.Token{Kind: console.LoginToken, Roles: Operator, User: "hanako"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	in := w.ask(Public, "GET", "/?token="+once, "", nil)
	if in.Code != http.StatusSeeOther || in.Header().Get("Location") != "/" {
		t.Fatalf("%d %v", in.Code, in.Header())
	}
	c := in.Result().Cookies()[0]
	if c.Name != "sakimori" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.MaxAge != int(sessionLasts/time.Second) {
		t.Errorf("%+v", c)
	}
	cookie := header{"Cookie": c.Name + "=" + c.Value}
	if me := w.ask(Public, "GET", "/session", "", cookie); me.Body.String() != `{"user":"hanako","roles":["operator"],"person":false}`+"\n" {
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
	secret, token, err := w.tokens.Issue(t.Context(), console.Token{Kind: console.APIToken, Roles: Wall, User: "wall"}, 400*24*time.Hour)
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
	if err := w.tokens.Revoke(t.Context(), token.ID); err != nil {
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
