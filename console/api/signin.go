package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"sakimori/console"
)

type (
	issuerBody struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	signinBody struct {
		Password bool         `json:"password" doc:"there are users, who sign in with name and password"`
		Issuers  []issuerBody `json:"issuers" nullable:"false" doc:"who else vouches for users: go to /signin/{id}/start"`
	}
	signinOutput struct{ Body signinBody }

	linkInput struct {
		Body struct {
			Secret string `json:"secret" minLength:"8" maxLength:"256" doc:"what stands in the link after #"`
		}
	}
	linkBody struct {
		Purpose string    `json:"purpose" enum:"first,invite,reset"`
		Name    string    `json:"name" doc:"of the user; empty where one is still to be chosen"`
		Expires time.Time `json:"expires"`
	}
	linkOutput  struct{ Body linkBody }
	acceptInput struct {
		Body struct {
			Secret   string `json:"secret" minLength:"8" maxLength:"256"`
			Name     string `json:"name,omitempty" maxLength:"256" doc:"of the first admin"`
			Password string `json:"password" maxLength:"1024" doc:"at least 12 characters"`
		}
	}
)

func (s *Server) signin(ctx context.Context, _ *empty) (*signinOutput, error) {
	b := signinBody{Issuers: []issuerBody{}}
	if s.deps.People == nil {
		return &signinOutput{b}, nil
	}
	var err error
	if b.Password, err = s.deps.People.Anybody(ctx); err != nil {
		return nil, err
	}
	for _, i := range s.deps.People.Issuers() {
		b.Issuers = append(b.Issuers, issuerBody(i))
	}
	return &signinOutput{b}, nil
}

// link tells what a one-time link is for. Its secret comes in the body: it stands
// behind the # of the address, where neither logs nor other sites see it.
func (s *Server) link(ctx context.Context, in *linkInput) (*linkOutput, error) {
	c := callOf(ctx)
	if err := s.mayTry(c); err != nil {
		return nil, err
	}
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	l, err := p.Open(ctx, in.Body.Secret)
	if err != nil {
		return nil, s.wrong(c, err)
	}
	return &linkOutput{linkBody{string(l.Purpose), l.Name, l.Expires}}, nil
}

func (s *Server) accept(ctx context.Context, in *acceptInput) (*loginOutput, error) {
	c := callOf(ctx)
	if err := s.mayTry(c); err != nil {
		return nil, err
	}
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	u, err := p.Accept(ctx, in.Body.Secret, in.Body.Name, in.Body.Password, c.remote)
	if err != nil {
		return nil, s.wrong(c, err)
	}
	return s.welcome(ctx, u)
}

// wrong counts a secret that wasn't good.
func (s *Server) wrong(c call, err error) error {
	if errors.Is(err, console.ErrToken) {
		s.logins.failed(c.remote)
	}
	return err
}

const (
	issuerCookie = "-signin"
	issuerWithin = 10 * time.Minute // to sign in over there
)

// beginIssuer sends the browser to an issuer, with a secret in a cookie to know it by
// when it comes back.
func (s *Server) beginIssuer(w http.ResponseWriter, r *http.Request) {
	if s.deps.People == nil {
		writeProblem(w, r, fail("unavailable"))
		return
	}
	address, secret, err := s.deps.People.Begin(r.Context(), r.PathValue("issuer"))
	if err != nil {
		s.backToSignIn(w, r, err)
		return
	}
	http.SetCookie(w, s.cookie(issuerCookie, secret, int(issuerWithin/time.Second)))
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, address, http.StatusSeeOther) //nolint:gosec // to the configured issuer
}

// finishIssuer takes the browser back from an issuer.
func (s *Server) finishIssuer(w http.ResponseWriter, r *http.Request) {
	if s.deps.People == nil {
		writeProblem(w, r, fail("unavailable"))
		return
	}
	ctx, c := r.Context(), callOf(r.Context())
	secret := ""
	if k, err := r.Cookie(s.cookieName(issuerCookie)); err == nil {
		secret = k.Value
	}
	http.SetCookie(w, s.cookie(issuerCookie, "", -1))
	err := s.mayTry(c)
	var u console.User
	if err == nil {
		u, err = s.deps.People.Finish(ctx, r.PathValue("issuer"), secret, r.URL.Query(), c.remote)
	}
	var out *loginOutput
	if err == nil {
		out, err = s.welcome(ctx, u)
	}
	if err != nil {
		s.backToSignIn(w, r, s.wrong(c, err))
		return
	}
	http.SetCookie(w, &out.SetCookie)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// backToSignIn shows what went wrong on the page where it began.
func (s *Server) backToSignIn(w http.ResponseWriter, r *http.Request, err error) {
	p := explain(err)
	s.report(r.Context(), p)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/?"+url.Values{"signin": {p.Code}}.Encode(), http.StatusSeeOther)
}
