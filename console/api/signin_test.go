package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/console"
)

func cookieNamed(t *testing.T, got *httptest.ResponseRecorder, name string) *http.Cookie {
	t.Helper()
	for _, c := range got.Result().Cookies() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no cookie %s in %v", name, got.Header())
	return nil
}

func TestSignInWithAPassword(t *testing.T) {
	w := newWorld(t)
	in := w.ask(Public, "POST", "/session", `{"name":"legal","password":"`+rightPassword+`"}`, nil)
	if in.Code != 200 || !strings.Contains(in.Body.String(), `"person":true`) {
		t.Fatalf("%d %s", in.Code, in.Body)
	}
	c := cookieNamed(t, in, "sakimori")
	if !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.MaxAge != int(sessionLasts/time.Second) {
		t.Errorf("%+v", c)
	}
	got := w.ask(Public, "POST", "/session", `{"name":"legal","password":"wrong"}`, nil)
	if p := problemOf(t, got.Body.Bytes()); got.Code != 401 || p.Code != "credentials_wrong" || len(got.Result().Cookies()) > 0 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	w.people.wait = 90 * time.Second
	got = w.ask(Public, "POST", "/session", `{"name":"legal","password":"`+rightPassword+`"}`, nil)
	if got.Code != 429 || got.Header().Get("Retry-After") != "91" {
		t.Errorf("%d %v", got.Code, got.Header())
	}
	options := w.ask(Public, "GET", "/signin", "", nil)
	if options.Body.String() != `{"password":true,"issuers":[{"id":"corp","name":"Corporate"}]}`+"\n" {
		t.Error(options.Body)
	}
}

// By https the cookie is bound to this very host.
func TestCookieByHTTPS(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.Secure = true })
	in := w.ask(Public, "POST", "/session", `{"name":"legal","password":"`+rightPassword+`"}`, nil)
	c := cookieNamed(t, in, "__Host-sakimori")
	if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
		t.Errorf("%+v", c)
	}
	if got := w.ask(Public, "GET", "/session", "", header{"Cookie": "sakimori=" + c.Value}); got.Code != 401 {
		t.Errorf("a cookie that any host of the domain may set: %d", got.Code)
	}
	if got := w.ask(Public, "GET", "/session", "", header{"Cookie": c.Name + "=" + c.Value}); got.Code != 200 {
		t.Errorf("%d", got.Code)
	}
}

func TestOneTimeLink(t *testing.T) {
	w := newWorld(t)
	w.people.link = "skm_invitation"
	look := w.ask(Public, "POST", "/signin/link", `{"secret":"skm_invitation"}`, nil)
	if look.Code != 200 || !strings.Contains(look.Body.String(), `"purpose":"invite","name":"viewer"`) {
		t.Errorf("%d %s", look.Code, look.Body)
	}
	in := w.ask(Public, "POST", "/signin/link/accept", `{"secret":"skm_invitation","password":"x"}`, nil)
	if in.Code != 200 || cookieNamed(t, in, "sakimori").Value == "" {
		t.Errorf("%d %s", in.Code, in.Body)
	}
	for i := range loginFailures + 1 {
		got := w.ask(Public, "POST", "/signin/link/accept", `{"secret":"skm_invitation","password":"x"}`, nil)
		if want := map[bool]int{true: 401, false: 429}[i < loginFailures]; got.Code != want {
			t.Errorf("try %d: %d", i, got.Code)
		}
	}
}

func TestThereAndBackToAnIssuer(t *testing.T) {
	w := newWorld(t)
	there := w.ask(Public, "GET", "/signin/corp/start", "", header{"Sec-Fetch-Site": "none"})
	if there.Code != 303 || there.Header().Get("Location") != "https://id.example/authorize?state=s" {
		t.Fatalf("%d %v", there.Code, there.Header())
	}
	c := cookieNamed(t, there, "sakimori-signin")
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 {
		t.Errorf("%+v", c)
	}
	back := w.ask(Public, "GET", "/signin/corp/return?state=s&code=c", "", header{"Cookie": c.Name + "=" + c.Value, "Sec-Fetch-Site": "cross-site"})
	if back.Code != 303 || back.Header().Get("Location") != "/" || cookieNamed(t, back, "sakimori").Value == "" || cookieNamed(t, back, "sakimori-signin").MaxAge >= 0 {
		t.Errorf("%d %v", back.Code, back.Header())
	}
	for name, h := range map[string]header{"no cookie": nil, "another's": {"Cookie": "sakimori-signin=x"}} {
		got := w.ask(Public, "GET", "/signin/corp/return?state=s&code=c", "", h)
		if got.Code != 303 || got.Header().Get("Location") != "/?signin=token_invalid" || strings.Contains(fmt.Sprint(got.Header()["Set-Cookie"]), "sakimori=") {
			t.Errorf("%s: %d %v", name, got.Code, got.Header())
		}
	}
	w.people.broken = fmt.Errorf("%w: timeout", console.ErrIssuer)
	if got := w.ask(Public, "GET", "/signin/corp/start", "", nil); got.Header().Get("Location") != "/?signin=issuer_failed" {
		t.Errorf("%v", got.Header())
	}
}

func TestAccount(t *testing.T) {
	w := newWorld(t)
	me := w.cookie(console.Legal)
	if got := w.ask(Public, "GET", "/api/v1/account", "", me); !strings.Contains(got.Body.String(), `"name":"legal","roles":["legal"],"state":"active"`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	var list struct{ Rows []tokenBody }
	got := w.ask(Public, "GET", "/api/v1/account/sessions", "", me)
	if err := json.Unmarshal(got.Body.Bytes(), &list); err != nil || len(list.Rows) != 1 || !list.Rows[0].Current || list.Rows[0].UserID != "id-legal" {
		t.Errorf("%s", got.Body)
	}
	if got := w.ask(Public, "POST", "/api/v1/account/password", `{"old":"wrong","new":"x"}`, me); got.Code != 401 {
		t.Errorf("%d", got.Code)
	}
	if got := w.ask(Public, "POST", "/api/v1/account/password", `{"old":"`+rightPassword+`","new":"x"}`, me); got.Code != 200 || cookieNamed(t, got, "sakimori").Value == w.sessions[console.Legal] {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	// Whatever the body says, the token is one's own.
	got = w.ask(Public, "POST", "/api/v1/account/tokens", `{"name":"script","roles":["legal"],"hours":1,"user_id":"id-admin"}`, me)
	if got.Code != 200 || w.people.acts[len(w.people.acts)-1] != "legal: token script legal id-legal" {
		t.Errorf("%d %s %v", got.Code, got.Body, w.people.acts)
	}
	admin, err := w.people.Tokens(t.Context(), console.APIToken, "id-admin")
	if err != nil || len(admin) != 1 {
		t.Fatal(admin, err)
	}
	if got := w.ask(Public, "DELETE", "/api/v1/account/tokens/"+admin[0].ID, "", me); got.Code != 404 {
		t.Errorf("somebody revoked another's token: %d", got.Code)
	}
	if got := w.ask(Public, "DELETE", "/api/v1/account/sessions/"+list.Rows[0].ID, "", me); got.Code != 204 {
		t.Errorf("%d", got.Code)
	}
	if got := w.ask(Public, "GET", "/session", "", me); got.Code != 401 {
		t.Errorf("the session goes on: %d", got.Code)
	}
	// A session that was opened with a token isn't the person.
	in := w.ask(Public, "POST", "/session", `{"token":"`+w.secrets[Admin]+`"}`, nil)
	c := cookieNamed(t, in, "sakimori")
	if got := w.ask(Public, "GET", "/api/v1/account/tokens", "", header{"Cookie": c.Name + "=" + c.Value}); got.Code != 403 {
		t.Errorf("%d", got.Code)
	}
}

func TestAdminActsInTheirName(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/api/v1/users", `{"name":"jiro","roles":["abuse","legal"]}`, "admin: add jiro abuse,legal"},
		{"POST", "/api/v1/users/id-viewer/roles", `{"roles":[]}`, "admin: roles  id-viewer"},
		{"POST", "/api/v1/users/id-viewer/lock", `{}`, "admin: lock id-viewer"},
		{"POST", "/api/v1/users/id-viewer/unlock", `{}`, "admin: unlock id-viewer"},
		{"POST", "/api/v1/users/id-viewer/reset", `{}`, "admin: reset id-viewer"},
		{"DELETE", "/api/v1/users/id-viewer", ``, "admin: remove id-viewer"},
		{"POST", "/api/v1/tokens", `{"name":"hall","roles":["wall"],"hours":8784}`, "admin: token hall wall "},
	} {
		got := w.ask(Public, c.method, c.path, c.body, w.cookie(Admin))
		if got.Code >= 300 || len(w.people.acts) == 0 || w.people.acts[len(w.people.acts)-1] != c.want {
			t.Errorf("%s %s: %d %s %v", c.method, c.path, got.Code, got.Body, w.people.acts)
		}
		if strings.HasSuffix(c.path, "/reset") && !strings.Contains(got.Body.String(), `"path":"/welcome#skm_link"`) {
			t.Errorf("%s", got.Body)
		}
	}
}

// Through a proxy of ours the client is the last address that isn't ours; anybody
// else's word isn't believed.
func TestWhereARequestComesFrom(t *testing.T) {
	w := newWorld(t, func(d *Deps) {
		d.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	for _, c := range []struct{ peer, chain, want string }{
		{"127.0.0.1:1", "", "127.0.0.1"},
		{"127.0.0.1:1", "203.0.113.9", "203.0.113.9"},
		{"127.0.0.1:1", "127.0.0.1, 203.0.113.9, 10.1.1.1", "203.0.113.9"},
		{"127.0.0.1:1", "nonsense", "127.0.0.1"},
		{"127.0.0.1:1", "2001:db8::1", "2001:db8::1"},
		{"198.51.100.7:1", "203.0.113.9", "198.51.100.7"},
		{"[::ffff:10.2.2.2]:1", "203.0.113.9", "203.0.113.9"},
		{"nonsense", "203.0.113.9", "invalid IP"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = c.peer
		if c.chain != "" {
			r.Header.Set("X-Forwarded-For", c.chain)
		}
		if got := w.server.remoteAddr(r).String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

type brokenTokens struct{ *MemoryTokens }

func (brokenTokens) Redeem(context.Context, string, ...console.TokenKind) (console.Token, error) {
	return console.Token{}, errors.New("disk full")
}

// A store that fails is no bad token: a browser must not throw its cookie away.
func TestBrokenStoreIsNoBadToken(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.Tokens = brokenTokens{} })
	if got := w.ask(Admin, "GET", "/api/v1/status", "", nil); got.Code != 500 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}
