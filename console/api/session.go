package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sakimori/console"
)

type (
	loginInput struct {
		Body struct {
			Token    string `json:"token,omitempty" minLength:"8" maxLength:"256" doc:"an API token or a one-time login token; or else:"`
			Name     string `json:"name,omitempty" maxLength:"256" doc:"of a user"`
			Password string `json:"password,omitempty" maxLength:"1024"`
		}
	}
	sessionBody struct {
		User   string   `json:"user"`
		Roles  []string `json:"roles" nullable:"false"`
		Person bool     `json:"person" doc:"a user who has signed in, and no token"`
	}
	loginOutput struct {
		SetCookie http.Cookie `header:"Set-Cookie"`
		Body      sessionBody
	}
	sessionOutput struct{ Body sessionBody }
	logoutOutput  struct {
		SetCookie http.Cookie `header:"Set-Cookie"`
	}
	empty struct{}
)

// isPerson tells whether a token is the session of a user who has signed in.
func isPerson(t console.Token) bool {
	return t.Kind == console.SessionToken && t.UserID != "" && t.Parent == ""
}

func bodyOf(t console.Token) sessionBody { return sessionBody{t.User, t.Roles.Words(), isPerson(t)} }

func (s *Server) login(ctx context.Context, in *loginInput) (*loginOutput, error) {
	c := callOf(ctx)
	if in.Body.Token == "" && in.Body.Name == "" {
		return nil, fail("bad_request")
	}
	if in.Body.Token == "" {
		p, err := s.people()
		if err != nil {
			return nil, err
		}
		u, err := p.SignIn(ctx, in.Body.Name, in.Body.Password, c.remote)
		if err != nil {
			return nil, waiting(err)
		}
		return s.welcome(ctx, u)
	}
	cookie, t, err := s.open(ctx, in.Body.Token)
	if err != nil {
		return nil, err
	}
	return &loginOutput{SetCookie: *cookie, Body: bodyOf(t)}, nil
}

// waiting says when to come again, where an error is about that.
func waiting(err error) error {
	w, is := errors.AsType[*console.Wait](err)
	if !is {
		return err
	}
	seconds := int(w.For/time.Second) + 1
	return huma.ErrorWithHeaders(fail("too_many_logins", seconds), http.Header{"Retry-After": {strconv.Itoa(seconds)}})
}

// mayTry tells whether somebody from there has failed too often.
func (s *Server) mayTry(c call) error {
	if wait := s.logins.wait(c.remote); wait > 0 {
		return waiting(&console.Wait{For: wait})
	}
	return nil
}

// welcome opens a session for a user who has signed in.
func (s *Server) welcome(ctx context.Context, u console.User) (*loginOutput, error) {
	cookie, t, err := s.newSession(ctx, console.Token{UserID: u.ID}, s.deps.SessionTTL)
	if err != nil {
		return nil, err
	}
	return &loginOutput{SetCookie: *cookie, Body: bodyOf(t)}, nil
}

func (s *Server) newSession(ctx context.Context, t console.Token, ttl time.Duration) (*http.Cookie, console.Token, error) {
	t.Kind, t.From = console.SessionToken, callOf(ctx).remote.String()
	secret, issued, err := s.deps.Tokens.Issue(ctx, t, ttl)
	if err != nil {
		return nil, t, err
	}
	return s.cookie("", secret, int(ttl/time.Second)), issued, nil
}

// open exchanges a token for a session. Too many failures from one place have
// to wait.
func (s *Server) open(ctx context.Context, secret string) (*http.Cookie, console.Token, error) {
	c := callOf(ctx)
	if err := s.mayTry(c); err != nil {
		return nil, console.Token{}, err
	}
	t, err := s.deps.Tokens.Redeem(ctx, secret, console.LoginToken, console.APIToken)
	if err != nil {
		if errors.Is(err, console.ErrToken) {
			s.logins.failed(c.remote)
		}
		return nil, t, err
	}
	want := console.Token{Roles: t.Roles, UserID: t.UserID, User: t.User, ReadOnly: t.ReadOnly}
	ttl := s.deps.SessionTTL
	if t.Kind == console.APIToken {
		want.Parent = t.ID
		left := t.Expires.Sub(s.deps.Clock.Now())
		if t.Roles == console.Wall { // a wall must not fall back to a login page
			ttl = left
		}
		ttl = min(ttl, left)
	}
	return s.newSession(ctx, want, ttl)
}

// cookieName is bound to this host where browsers come by https (RFC 6265bis
// §4.1.3): no other host can set it.
func (s *Server) cookieName(suffix string) string {
	if s.deps.Secure {
		return "__Host-" + cookieBase + suffix
	}
	return cookieBase + suffix
}

// cookie goes along when somebody follows a link to the console from elsewhere, as
// they do when they come back from an issuer; what changes something isn't done by a
// link.
func (s *Server) cookie(suffix, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure is the configuration's: on loopback there is no TLS
		Name: s.cookieName(suffix), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.deps.Secure,
	}
}

func (s *Server) session(ctx context.Context, _ *empty) (*sessionOutput, error) {
	return &sessionOutput{bodyOf(callOf(ctx).who.token)}, nil
}

func (s *Server) logout(ctx context.Context, _ *empty) (*logoutOutput, error) {
	if t := callOf(ctx).who.token; t.Kind == console.SessionToken { // a bearer token isn't ended by it
		if err := s.deps.Tokens.Revoke(ctx, t.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return &logoutOutput{*s.cookie("", "", -1)}, nil
}

// exchange is a login by the address printed at the start: a one-time token in
// the query, answered by the cookie and a redirect that takes the token out of
// the address bar.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request, secret string) {
	cookie, _, err := s.open(r.Context(), secret)
	if err == nil {
		http.SetCookie(w, cookie)
	} else {
		p := explain(err)
		s.report(r.Context(), p)
		if extra, ok := errors.AsType[huma.HeadersError](err); ok {
			w.Header().Set("Retry-After", extra.GetHeaders().Get("Retry-After"))
		}
		if p.Status != http.StatusUnauthorized { // else the page asks for a token
			writeProblem(w, r, p)
			return
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
