package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"

	"sakimori/account"
)

// browser is a person's: it keeps cookies and follows what it is sent to.
type browser struct {
	t    *testing.T
	base string
	c    *http.Client
}

func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, base, &http.Client{Jar: jar}}
}

// ask does a request as a page of the console does; out, if not nil, takes the answer.
func (b *browser) ask(method, path string, body, out any) int {
	b.t.Helper()
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, in)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			b.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, raw)
		}
	}
	return res.StatusCode
}

type whoami struct {
	User   string   `json:"user"`
	Roles  []string `json:"roles"`
	Person bool     `json:"person"`
}

// openDoor builds a station on an empty folder and serves its API.
func openDoor(t *testing.T, issuer *mockoidc.MockOIDC) (*station, string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := defaultConfig()
	cfg.Data, cfg.Listen, cfg.PublicURL = filepath.Join(t.TempDir(), "data"), l.Addr().String(), "http://"+l.Addr().String()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(issuer.ClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Issuers = []issuerConfig{{
		ID: "corp", Name: "Corp", URL: issuer.Issuer(), Client: issuer.ClientID, SecretFile: secret, Scopes: []string{"groups"},
		Groups: "groups", Roles: map[string][]string{"noc": {"operator", "network"}},
	}}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	s, err := newStation(t.Context(), cfg, slog.New(slog.DiscardHandler), false, 1)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.api.Handler()}}
	srv.Start()
	t.Cleanup(func() {
		srv.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s, srv.URL
}

// The way of people through the console, over HTTP, with what serve builds: the first
// admin, an invitation, a password, an issuer, and what each of them leaves in the
// ledger.
func TestPeopleComeIn(t *testing.T) {
	issuer, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = issuer.Shutdown() })
	s, base := openDoor(t, issuer)
	const password = "kite umbrella lantern"

	first, err := s.house.people.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	admin := newBrowser(t, base)
	var me whoami
	if got := admin.ask("POST", "/signin/link/accept", map[string]any{"secret": first, "name": "Hanako", "password": password}, &me); got != 200 || me.User != "hanako" || !me.Person {
		t.Fatalf("%d %+v", got, me)
	}
	var made struct{ Path string }
	if got := admin.ask("POST", "/api/v1/users", map[string]any{"name": "taro", "roles": []string{"legal"}}, &made); got != 200 {
		t.Fatal(got)
	}
	_, invitation, ok := strings.Cut(made.Path, "/welcome#")
	if !ok {
		t.Fatal(made.Path)
	}
	taro := newBrowser(t, base)
	if got := taro.ask("POST", "/signin/link/accept", map[string]any{"secret": invitation, "password": password}, &me); got != 200 || me.User != "taro" || strings.Join(me.Roles, " ") != "legal" {
		t.Fatalf("%d %+v", got, me)
	}
	if got := taro.ask("GET", "/api/v1/users", nil, nil); got != 403 {
		t.Errorf("taro sees the users: %d", got)
	}
	if got := taro.ask("POST", "/api/v1/account/password", map[string]any{"old": password, "new": password + " two"}, nil); got != 200 {
		t.Error(got)
	}
	if got := taro.ask("GET", "/session", nil, nil); got != 200 {
		t.Errorf("who changed the password is out: %d", got)
	}
	other := newBrowser(t, base)
	if got := other.ask("POST", "/session", map[string]any{"name": "taro", "password": password}, nil); got != 401 {
		t.Errorf("the old password: %d", got)
	}
	if got := other.ask("POST", "/session", map[string]any{"name": "TARO", "password": password + " two"}, nil); got != 200 {
		t.Errorf("the new password: %d", got)
	}

	// To the issuer and back, as a browser goes.
	issuer.QueueUser(&mockoidc.MockUser{Subject: "42", PreferredUsername: "jane", Groups: []string{"noc"}})
	jane := newBrowser(t, base)
	jane.ask("GET", "/signin/corp/start", nil, nil)
	if got := jane.ask("GET", "/session", nil, &me); got != 200 || me.User != "jane" || strings.Join(me.Roles, " ") != "operator network" {
		t.Errorf("%d %+v", got, me)
	}
	// Another browser that is given jane's way back stays outside.
	issuer.QueueUser(mockoidc.DefaultUser())
	victim, lured := newBrowser(t, base), newBrowser(t, base)
	var back string
	victim.c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/return") {
			back = r.URL.RequestURI()
			return http.ErrUseLastResponse
		}
		return nil
	}
	victim.ask("GET", "/signin/corp/start", nil, nil)
	lured.ask("GET", back, nil, nil)
	if got := lured.ask("GET", "/session", nil, nil); back == "" || got != 401 {
		t.Errorf("signed in as somebody else: %d", got)
	}

	var users struct {
		Rows []struct{ ID, Name string }
	}
	admin.ask("GET", "/api/v1/users", nil, &users)
	for _, u := range users.Rows {
		if u.Name == "taro" {
			admin.ask("POST", "/api/v1/users/"+url.PathEscape(u.ID)+"/lock", map[string]any{}, nil)
		}
	}
	if got := taro.ask("GET", "/session", nil, nil); got != 401 {
		t.Errorf("a locked user goes on: %d", got)
	}

	report, err := s.house.book.Verify(t.Context(), nil, nil, nil)
	if err != nil || len(report.Faults) > 0 {
		t.Errorf("%+v %v", report, err)
	}
	rows, err := s.house.db.Query(t.Context(), `SELECT kind, who, what FROM ledger_entry ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var ledger []string
	for rows.Next() {
		var kind, who, what string
		if err := rows.Scan(&kind, &who, &what); err != nil {
			t.Fatal(err)
		}
		ledger = append(ledger, kind+" "+who+" "+what)
	}
	text := strings.Join(ledger, "\n")
	for _, want := range []string{
		string(account.Configured) + ` hanako {"action":"make first admin"`, `hanako {"action":"add user"`, `taro {"action":"choose password"`, `taro {"action":"change password"`,
		string(account.SignedIn) + ` taro {`, `"by":"password","failed":true`, `corp {"action":"add user"`, string(account.SignedIn) + ` jane {`, `hanako {"action":"lock user"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the ledger doesn't say %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, "umbrella") || strings.Contains(text, "skm_") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("a secret or an address is in the ledger:\n%s", text)
	}
}

func TestHouseIsForItsOwnerOnly(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data = t.TempDir()
	h, err := openHouse(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	path := filepath.Join(cfg.Data, cliTokenFile)
	for range 3 { // starts
		if err := h.cliToken(context.WithoutCancel(t.Context()), path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := consoleKey(filepath.Join(cfg.Data, "console.key")); err != nil {
		t.Fatal(err)
	}
	list, err := h.people.Tokens(t.Context(), "api", "")
	if err != nil || len(list) != 1 {
		t.Errorf("the tokens of earlier starts go on: %+v %v", list, err)
	}
	files, err := os.ReadDir(cfg.Data)
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, "console.key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := consoleKey(filepath.Join(cfg.Data, "console.key")); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Error(err)
	}
}
