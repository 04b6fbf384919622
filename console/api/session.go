package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

type (
	loginInput struct {
		Body struct {
			Token string `json:"token" minLength:"8" maxLength:"256" doc:"an API token or a one-time login token"`
		}
	}
	sessionBody struct {
		Role string `json:"role" enum:"wall,viewer,operator,admin"`
		User string `json:"user"`
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

func (s *Server) login(ctx context.Context, in *loginInput) (*loginOutput, error) {
	c := callOf(ctx)
	cookie, who, err := s.open(in.Body.Token, c)
	if err != nil {
		return nil, err
	}
	return &loginOutput{SetCookie: *cookie, Body: sessionBody{who.Role.String(), who.User}}, nil
}

// open exchanges a token for a session. Too many failures from one place have
// to wait.
func (s *Server) open(secret string, c call) (*http.Cookie, Token, error) {
	if wait := s.logins.wait(c.remote); wait > 0 {
		seconds := int(wait/time.Second) + 1
		return nil, Token{}, huma.ErrorWithHeaders(fail("too_many_logins", seconds),
			http.Header{"Retry-After": {strconv.Itoa(seconds)}})
	}
	t, err := s.deps.Tokens.Redeem(secret, LoginToken, APIToken)
	if errors.Is(err, ErrToken) {
		s.logins.failed(c.remote)
		return nil, Token{}, fail("token_invalid")
	}
	if err != nil {
		return nil, Token{}, err
	}
	want := Token{Kind: SessionToken, Role: t.Role, User: t.User}
	ttl := s.deps.SessionTTL
	if t.Kind == APIToken {
		want.Parent = t.ID
		left := t.Expires.Sub(s.deps.Clock.Now())
		if t.Role == Wall { // a wall must not fall back to a login page
			ttl = left
		}
		ttl = min(ttl, left)
	}
	secret, issued, err := s.deps.Tokens.Issue(want, ttl)
	if err != nil {
		return nil, Token{}, err
	}
	return s.cookie(secret, int(ttl/time.Second)), issued, nil
}

func (s *Server) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure is the configuration's: on loopback there is no TLS
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.deps.SecureCookie,
	}
}

func (s *Server) session(ctx context.Context, _ *empty) (*sessionOutput, error) {
	who := callOf(ctx).who
	return &sessionOutput{sessionBody{who.role.String(), who.user}}, nil
}

func (s *Server) logout(ctx context.Context, _ *empty) (*logoutOutput, error) {
	if t := callOf(ctx).who.token; t.Kind == SessionToken { // a bearer token isn't ended by it
		if err := s.deps.Tokens.Revoke(t.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return &logoutOutput{*s.cookie("", -1)}, nil
}

// exchange is a login by the address printed at the start: a one-time token in
// the query, answered by the cookie and a redirect that takes the token out of
// the address bar.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request, secret string) {
	cookie, _, err := s.open(secret, callOf(r.Context()))
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
