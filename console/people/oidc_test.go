package people_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/console"
	"sakimori/console/people"
)

// issuerHouse is an issuer that speaks HTTP and signs its tokens, on loopback.
func issuerHouse(t *testing.T) *mockoidc.MockOIDC {
	t.Helper()
	m, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Shutdown() })
	return m
}

func at(m *mockoidc.MockOIDC) people.Issuer {
	return people.Issuer{
		ID: "corp", Name: "Corporate sign-in", URL: m.Issuer(), Client: m.ClientID, Secret: m.ClientSecret, Redirect: "http://127.0.0.1:1/signin/oidc/corp/return",
		Scopes: []string{"groups"}, Groups: "groups", Roles: map[string]console.Roles{"noc": console.Operator | console.Network, "law": console.Legal},
	}
}

// browse does what a browser does with where Begin sends it, and gives what it
// brings back.
func browse(t *testing.T, address string) url.Values {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // follows nothing
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	back, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusFound || back.Path != "/signin/oidc/corp/return" {
		t.Fatalf("%d %v %v", res.StatusCode, back, err)
	}
	return back.Query()
}

func (w *world) through(m *mockoidc.MockOIDC, u *mockoidc.MockUser) (console.User, error) {
	w.t.Helper()
	m.QueueUser(u)
	address, secret, err := w.Begin(w.t.Context(), "corp")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.Finish(w.t.Context(), "corp", secret, browse(w.t, address), home)
}

func TestSignInWithAnIssuer(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		m := issuerHouse(t)
		w, ctx := newWorld(t, db, at(m)), t.Context()
		w.admin()
		jane := &mockoidc.MockUser{Subject: "42", PreferredUsername: "Jane", Groups: []string{"noc", "unknown", "law"}}
		u, err := w.through(m, jane)
		if err != nil || u.Name != "jane" || u.Roles != console.Operator|console.Network|console.Legal || u.Issuer != "corp" {
			t.Fatalf("%+v %v", u, err)
		}
		if !strings.HasPrefix(w.lines.last(), "sign-in jane ") || !strings.Contains(w.lines.last(), `"by":"corp"`) {
			t.Error(w.lines.last())
		}

		// Groups that change take the roles along, and end the sessions.
		s := w.session(u)
		if _, err := w.through(m, jane); err != nil || !w.works(s) {
			t.Errorf("a second sign-in ends the first: %v", err)
		}
		jane.Groups = []string{"law"}
		if u, err = w.through(m, jane); err != nil || u.Roles != console.Legal || w.works(s) {
			t.Errorf("%+v %v", u, err)
		}
		if _, err := w.SetRoles(ctx, "hanako", u.ID, console.Admin); !refused(err) {
			t.Errorf("two decide on the same roles: %v", err)
		}
		if _, _, err := w.Reset(ctx, "hanako", u.ID); !refused(err) {
			t.Errorf("a password beside the issuer: %v", err)
		}
		if _, err := w.SignIn(ctx, "jane", "", home); !errors.Is(err, console.ErrPassword) {
			t.Error(err)
		}

		// A stranger with a name that somebody here has is somebody else.
		h, err := w.through(m, &mockoidc.MockUser{Subject: "43", PreferredUsername: "hanako"})
		if err != nil || h.Name != "hanako-2" || h.Roles != 0 {
			t.Errorf("%+v %v", h, err)
		}

		// Who is locked or removed doesn't come in, nor come back under another name.
		if _, err := w.Lock(ctx, "hanako", u.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.through(m, jane); !errors.Is(err, console.ErrToken) {
			t.Error(err)
		}
		if err := w.Remove(ctx, "hanako", u.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.through(m, jane); !errors.Is(err, console.ErrToken) {
			t.Error(err)
		}
		if list, _ := w.Users(ctx); len(list) != 2 {
			t.Errorf("%+v", list)
		}
	})
}

func TestAnswersThatDontFit(t *testing.T) {
	m := issuerHouse(t)
	w, ctx := newWorld(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), at(m)), t.Context()
	begin := func() (string, string) {
		address, secret, err := w.Begin(ctx, "corp")
		if err != nil {
			t.Fatal(err)
		}
		return address, secret
	}
	check := func(what, secret string, answer url.Values) {
		t.Helper()
		if u, err := w.Finish(ctx, "corp", secret, answer, home); !errors.Is(err, console.ErrToken) {
			t.Errorf("%s: %+v %v", what, u, err)
		}
	}
	address, secret := begin()
	if u, _ := url.Parse(address); u.Query().Get("code_challenge_method") != "S256" || u.Query().Get("nonce") == "" || strings.Contains(address, secret) {
		t.Errorf("%s", address)
	}
	answer := browse(t, address)
	_, other := begin()
	check("another browser's", other, answer)
	check("no cookie", "", answer)
	check("no state", secret, url.Values{"code": answer["code"]})
	check("an error", secret, url.Values{"state": answer["state"], "error": {"access_denied"}})
	check("another code", secret, url.Values{"state": answer["state"], "code": {"guessed"}})
	if _, err := w.Finish(ctx, "corp", secret, answer, home); err != nil {
		t.Fatal(err)
	}
	check("a second time", secret, answer)

	// A code that was stolen from another sign-in: the verifier isn't its.
	victim, _ := begin()
	stolen := browse(t, victim)
	_, mine := begin()
	mineAnswer := url.Values{"code": stolen["code"], "state": {people.StateOf(mine)}}
	check("a stolen code", mine, mineAnswer)

	// An answer that was signed long ago.
	m.FastForward(-24 * time.Hour)
	address, secret = begin()
	check("an expired ID token", secret, browse(t, address))
	if !strings.Contains(w.lines.last(), `"failed":true`) {
		t.Error(w.lines.last())
	}
	if _, _, err := w.Begin(ctx, "other"); !errors.Is(err, console.ErrNotFound) {
		t.Error(err)
	}
}

// An issuer that isn't there is asked again at the next sign-in.
func TestIssuerThatComesLate(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m, err := mockoidc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	i := at(m)
	i.URL = "http://" + l.Addr().String() + "/oidc"
	_ = l.Close()
	w := newWorld(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), i)
	if _, _, err := w.Begin(t.Context(), "corp"); !errors.Is(err, console.ErrIssuer) {
		t.Fatal(err)
	}
	again, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(t.Context()), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal("the port was taken meanwhile: run it again")
	}
	if err := m.Start(again, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Shutdown() })
	if _, err := w.through(m, mockoidc.DefaultUser()); err != nil {
		t.Error(err)
	}
}

// Without a claim of groups an admin decides, and a stranger may nothing.
func TestStrangersHaveNoRole(t *testing.T) {
	m := issuerHouse(t)
	i := at(m)
	i.Groups, i.Roles = "", nil
	w := newWorld(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), i)
	w.admin()
	jane := &mockoidc.MockUser{Subject: "42", PreferredUsername: "jane", Groups: []string{"noc"}}
	u, err := w.through(m, jane)
	if err != nil || u.Roles != 0 {
		t.Fatalf("%+v %v", u, err)
	}
	if _, err := w.SetRoles(t.Context(), "hanako", u.ID, console.Abuse); err != nil {
		t.Fatal(err)
	}
	if u, err = w.through(m, jane); err != nil || u.Roles != console.Abuse {
		t.Errorf("%+v %v", u, err)
	}
}

func TestIssuersOfAConfiguration(t *testing.T) {
	db := relationtest.Open(t, relationtest.Place(t, "sqlite"))
	ok := people.Issuer{ID: "corp", Name: "x", URL: "https://id.example", Client: "c", Redirect: "https://console.example/x"}
	for name, spoil := range map[string]func(i *people.Issuer){
		"": func(*people.Issuer) {}, "id": func(i *people.Issuer) { i.ID = "Corp/1" }, "plain http": func(i *people.Issuer) { i.URL = "http://id.example" },
		"no client": func(i *people.Issuer) { i.Client = "" }, "no way back": func(i *people.Issuer) { i.Redirect = "/signin" },
	} {
		i := ok
		spoil(&i)
		_, err := people.Open(t.Context(), db, &hand{}, &lines{}, people.Config{Hash: cheap, Issuers: []people.Issuer{i}})
		if (err == nil) != (name == "") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
