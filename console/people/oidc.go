package people

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sakimori/base/relation"
	"sakimori/console"
)

// Issuer is who vouches for users by OpenID Connect.
type Issuer struct {
	ID       string // in paths: lower-case letters, digits and dashes
	Name     string // on the button
	URL      string // the issuer identifier, below which it describes itself
	Client   string
	Secret   string
	Redirect string // where the browser comes back, as registered there
	Scopes   []string
	// Groups is the claim that lists a user's groups; Roles says what each is
	// worth here. With it the issuer decides on roles, at each sign-in; without it
	// an admin does, and who comes for the first time has none.
	Groups string
	Roles  map[string]console.Roles
}

// issuer is one with what it says of itself, once somebody has asked.
type issuer struct {
	Issuer

	mu       sync.Mutex
	provider *oidc.Provider
	client   *http.Client
}

const (
	issuerWithin = 10 * time.Second // for an answer
	issuerBytes  = 1 << 20          // of an answer
)

var issuerID = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func newIssuers(list []Issuer) (made []*issuer, err error) {
	seen := map[string]bool{}
	for _, i := range list {
		u, err := url.Parse(i.URL)
		back, err2 := url.Parse(i.Redirect)
		switch {
		case !issuerID.MatchString(i.ID) || seen[i.ID]:
			return nil, fmt.Errorf("issuer %q: give each an id of its own, of lower-case letters, digits and dashes", i.ID)
		case err != nil || u.Host == "" || u.Scheme != "https" && !loopback(u.Hostname()):
			return nil, fmt.Errorf("issuer %s: write its address as https://…", i.ID)
		case i.Client == "" || i.Name == "":
			return nil, fmt.Errorf("issuer %s: give its name and the client's id", i.ID)
		case err2 != nil || back.Host == "":
			return nil, fmt.Errorf("issuer %s: the console's own address isn't known: set url", i.ID)
		}
		seen[i.ID] = true
		made = append(made, &issuer{Issuer: i, client: &http.Client{Timeout: issuerWithin, Transport: bounded{http.DefaultTransport}}})
	}
	return made, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// bounded cuts answers off that are too long to be one of an issuer's.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(q *http.Request) (*http.Response, error) {
	a, err := b.RoundTripper.RoundTrip(q)
	if err == nil {
		a.Body = http.MaxBytesReader(nil, a.Body, issuerBytes)
	}
	return a, err
}

// Issuers gives ids and names, in the order of the configuration.
func (r *Register) Issuers() (list []console.IssuerName) {
	for _, i := range r.issuers {
		list = append(list, console.IssuerName{ID: i.ID, Name: i.Name})
	}
	return list
}

func (r *Register) issuerOf(id string) *issuer {
	for _, i := range r.issuers {
		if i.ID == id {
			return i
		}
	}
	return nil
}

// ready asks the issuer to describe itself, if nobody has yet, and gives what
// speaks to it.
func (i *issuer) ready(ctx context.Context) (context.Context, *oauth2.Config, *oidc.IDTokenVerifier, error) {
	ctx = oidc.ClientContext(ctx, i.client)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.provider == nil {
		// The provider keeps this context for fetching keys later.
		p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), i.client), i.URL)
		if err != nil {
			return ctx, nil, nil, fmt.Errorf("%w: %w", console.ErrIssuer, err)
		}
		i.provider = p
	}
	return ctx, &oauth2.Config{
		ClientID: i.Client, ClientSecret: i.Secret, Endpoint: i.provider.Endpoint(), RedirectURL: i.Redirect,
		Scopes: append([]string{oidc.ScopeOpenID, "profile"}, i.Scopes...),
	}, i.provider.Verifier(&oidc.Config{ClientID: i.Client}), nil
}

// A sign-in with an issuer is tied to the browser that began it by one secret in a
// cookie. State, nonce and the verifier of PKCE (RFC 7636) are made from it, so that
// nothing has to be kept here meanwhile.
func derived(secret, what string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(what))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// Begin gives where to send the browser, and the secret to put into its cookie.
func (r *Register) Begin(ctx context.Context, id string) (address, secret string, err error) {
	i := r.issuerOf(id)
	if i == nil {
		return "", "", console.ErrNotFound
	}
	_, c, _, err := i.ready(ctx)
	if err != nil {
		return "", "", err
	}
	b := make([]byte, secretBytes)
	if _, err := rand.Read(b); err != nil {
		return "", "", fmt.Errorf("begin a sign-in: %w", err)
	}
	secret = base64.RawURLEncoding.EncodeToString(b)
	return c.AuthCodeURL(derived(secret, "state"), oidc.Nonce(derived(secret, "nonce")), oauth2.S256ChallengeOption(derived(secret, "verifier"))), secret, nil
}

// claims are what is read of an ID token.
type claims struct {
	Nonce    string `json:"nonce"`
	Username string `json:"preferred_username"`
	Email    string `json:"email"`
}

// Finish takes what the browser brought back from the issuer. Who comes for the
// first time becomes a user, with a name that nobody here has. The error is
// console.ErrToken for an answer that doesn't fit what was begun or a user who is
// locked or removed, and console.ErrIssuer when the issuer fails.
func (r *Register) Finish(ctx context.Context, id, secret string, answer url.Values, from netip.Addr) (console.User, error) {
	i := r.issuerOf(id)
	if i == nil {
		return console.User{}, console.ErrNotFound
	}
	u, err := r.finish(ctx, i, secret, answer, from)
	if errors.Is(err, console.ErrToken) {
		if rec := r.failed(ctx, u, i.ID); rec != nil {
			return console.User{}, rec
		}
	}
	return u, err
}

func (r *Register) finish(ctx context.Context, i *issuer, secret string, answer url.Values, from netip.Addr) (u console.User, err error) {
	if secret == "" || !hmac.Equal([]byte(answer.Get("state")), []byte(derived(secret, "state"))) {
		return u, console.ErrToken // begun elsewhere
	}
	if answer.Get("error") != "" || answer.Get("code") == "" {
		return u, console.ErrToken // refused there
	}
	ctx, c, verifier, err := i.ready(ctx)
	if err != nil {
		return u, err
	}
	token, err := c.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(derived(secret, "verifier")))
	if refused, is := errors.AsType[*oauth2.RetrieveError](err); is && refused.Response.StatusCode < http.StatusInternalServerError {
		return u, console.ErrToken
	}
	if err != nil {
		return u, fmt.Errorf("%w: %w", console.ErrIssuer, err)
	}
	raw, _ := token.Extra("id_token").(string) // without one it is empty, and fits nothing
	t, err := verifier.Verify(ctx, raw)
	if err != nil {
		return u, console.ErrToken
	}
	var said claims
	all := map[string]any{}
	if t.Claims(&said) != nil || t.Claims(&all) != nil || t.Subject == "" || !hmac.Equal([]byte(said.Nonce), []byte(derived(secret, "nonce"))) {
		return u, console.ErrToken
	}
	if u, err = r.vouched(ctx, i, t.Subject, &said, i.rolesOf(all)); err != nil {
		return u, err
	}
	if u.State != console.Active {
		return u, console.ErrToken
	}
	return u, r.enter(ctx, u, i.ID, from, func(*relation.Tx) error { return nil })
}

// rolesOf adds up what the groups in the claims are worth.
func (i *issuer) rolesOf(all map[string]any) (roles console.Roles) {
	switch groups := all[i.Groups].(type) {
	case string:
		roles = i.Roles[groups]
	case []any:
		for _, g := range groups {
			if name, is := g.(string); is {
				roles |= i.Roles[name]
			}
		}
	}
	return roles
}

// vouched finds the user whom the issuer means, or makes one. Where the issuer
// decides on roles they are brought up to date.
func (r *Register) vouched(ctx context.Context, i *issuer, subject string, said *claims, roles console.Roles) (console.User, error) {
	u, err := scanUser(r.db.QueryRow(ctx, `SELECT `+userColumns+` FROM people_user WHERE id = (SELECT user_id FROM people_identity WHERE issuer = $1 AND subject = $2)`, i.URL, subject))
	switch {
	case errors.Is(err, console.ErrNotFound):
		return r.welcome(ctx, i, subject, said, roles)
	case err != nil || i.Groups == "" || u.Roles == roles || u.State == console.Removed:
		return u, err
	}
	return r.alter(ctx, i.ID, change{Action: "set roles", User: u.ID, Name: u.Name, Roles: roles}, u, func(u *console.User) { u.Roles = roles })
}

// welcome makes a user of a stranger whom the issuer vouches for. A name that
// somebody here has isn't theirs: they get it with a number.
func (r *Register) welcome(ctx context.Context, i *issuer, subject string, said *claims, roles console.Roles) (u console.User, err error) {
	wish := said.Username
	if wish == "" {
		wish = said.Email
	}
	name, err := foldName(strings.ReplaceAll(wish, " ", "."))
	if err != nil {
		name = i.ID
	}
	u = console.User{Roles: roles, State: console.Active, Issuer: i.ID, Created: r.clock.Now().UTC()}
	if i.Groups == "" {
		u.Roles = 0
	}
	if u.ID, err = newID(); err != nil {
		return u, err
	}
	const most = 100
	for n := 1; n <= most; n++ {
		if u.Name = name; n > 1 {
			u.Name = fmt.Sprintf("%s-%d", name, n)
		}
		var taken int64
		if err := r.db.QueryRow(ctx, `SELECT COUNT(*) FROM people_user WHERE name = $1`, u.Name).Scan(&taken); err != nil {
			return u, fmt.Errorf("look for a name: %w", err)
		}
		if taken == 0 {
			break
		}
	}
	if err := r.changed(ctx, i.ID, change{Action: "add user", User: u.ID, Name: u.Name, Roles: u.Roles}); err != nil {
		return u, err
	}
	return u, r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := create(ctx, tx, &u, ""); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO people_identity (issuer, subject, user_id) VALUES ($1, $2, $3)`, i.URL, subject, u.ID)
		return err
	})
}
