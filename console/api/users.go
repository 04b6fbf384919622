package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"sakimori/console"
)

type (
	userBody struct {
		ID       string     `json:"id"`
		Name     string     `json:"name"`
		Roles    []string   `json:"roles" nullable:"false"`
		State    string     `json:"state" enum:"invited,active,locked,removed"`
		Issuer   string     `json:"issuer" doc:"who vouches for them at sign-in; empty: a password"`
		Created  time.Time  `json:"created"`
		SignedIn *time.Time `json:"signed_in" doc:"last; null: never"`
	}
	usersBody struct {
		Panel

		Rows []userBody `json:"rows" nullable:"false"`
	}
	newUserInput struct {
		Body struct {
			Name  string   `json:"name" maxLength:"256"`
			Roles []string `json:"roles" maxItems:"16"`
		}
	}
	rolesInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Roles []string `json:"roles" maxItems:"16"`
		}
	}
	invitedBody struct {
		User userBody `json:"user"`
		Path string   `json:"path" doc:"of the one-time link, shown once: the console's address comes before it"`
	}
)

// registerPeople lists the routes of users and of those who sign in.
func (s *Server) registerPeople(v1 string) {
	get, post, del := http.MethodGet, http.MethodPost, http.MethodDelete
	add(s, get, "/signin", "signin", "How one can sign in", s.signin)
	add(s, post, "/signin/link", "link", "What is a one-time link for?", s.link)
	add(s, post, "/signin/link/accept", "accept", "Choose a password by a one-time link, and sign in", s.accept)
	s.mux.HandleFunc("GET /signin/{issuer}/start", s.beginIssuer)
	s.mux.HandleFunc("GET /signin/{issuer}/return", s.finishIssuer)

	add(s, get, v1+"/account", "account", "The user who has signed in", s.account)
	add(s, post, v1+"/account/password", "password", "Change one's password; all other sessions end", s.password)
	add(s, get, v1+"/account/sessions", "sessions", "One's sessions", s.accountSessions)
	add(s, del, v1+"/account/sessions/{id}", "endSession", "End a session of one's own", s.endOwn)
	add(s, get, v1+"/account/tokens", "ownTokens", "One's API tokens", s.accountTokens)
	add(s, post, v1+"/account/tokens", "makeOwnToken", "Make an API token of one's own", s.makeOwnToken)
	add(s, del, v1+"/account/tokens/{id}", "revokeOwnToken", "Revoke an API token of one's own", s.endOwn)

	add(s, get, v1+"/users", "users", "All users", s.users)
	add(s, post, v1+"/users", "addUser", "Invite a user by a one-time link", s.addUser)
	add(s, del, v1+"/users/{id}", "removeUser", "Remove a user for good", s.removeUser)
	add(s, post, v1+"/users/{id}/roles", "setRoles", "Give a user other roles; their sessions end", s.setRoles)
	add(s, post, v1+"/users/{id}/lock", "lockUser", "Keep a user out; their sessions end", s.lockUser)
	add(s, post, v1+"/users/{id}/unlock", "unlockUser", "Let a locked user in again", s.unlockUser)
	add(s, post, v1+"/users/{id}/reset", "resetUser", "A one-time link by which a user chooses a new password", s.resetUser)
	add(s, get, v1+"/tokens", "tokens", "All API tokens", s.tokens)
	add(s, post, v1+"/tokens", "makeToken", "Make an API token for a user, a machine or a wall", s.makeToken)
	add(s, del, v1+"/tokens/{id}", "revokeToken", "Revoke an API token, with the sessions opened by it", s.revokeToken)
}

// welcomePage is where the pages take a one-time link.
const welcomePage = "/welcome#"

func userOf(u console.User) userBody {
	b := userBody{ID: u.ID, Name: u.Name, Roles: u.Roles.Words(), State: string(u.State), Issuer: u.Issuer, Created: u.Created}
	if !u.SignedIn.IsZero() {
		b.SignedIn = &u.SignedIn
	}
	return b
}

// rolesIn reads the names of roles.
func rolesIn(words []string) (console.Roles, error) {
	r, err := console.ParseRoles(words...)
	if err != nil {
		return 0, fail("filter_invalid", strings.Join(words, ","), "roles", "viewer,operator")
	}
	return r, nil
}

// people is the port, or why there is none.
func (s *Server) people() (People, error) {
	if s.deps.People == nil {
		return nil, fail("unavailable")
	}
	return s.deps.People, nil
}

func (s *Server) users(ctx context.Context, _ *empty) (*output[*usersBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	list, err := p.Users(ctx)
	if err != nil {
		return nil, err
	}
	b := &usersBody{Panel: Panel{State: "ok"}, Rows: []userBody{}}
	for _, u := range list {
		b.Rows = append(b.Rows, userOf(u))
	}
	b.zeroIf(len(b.Rows) == 0)
	return &output[*usersBody]{Body: b}, nil
}

func (s *Server) addUser(ctx context.Context, in *newUserInput) (*output[invitedBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	roles, err := rolesIn(in.Body.Roles)
	if err != nil {
		return nil, err
	}
	return invited(p.Add(ctx, callOf(ctx).who.user, in.Body.Name, roles))
}

func (s *Server) resetUser(ctx context.Context, in *idInput) (*output[invitedBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	return invited(p.Reset(ctx, callOf(ctx).who.user, in.ID))
}

func invited(u console.User, secret string, err error) (*output[invitedBody], error) {
	if err != nil {
		return nil, err
	}
	return &output[invitedBody]{Body: invitedBody{userOf(u), welcomePage + secret}}, nil
}

func (s *Server) setRoles(ctx context.Context, in *rolesInput) (*output[userBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	roles, err := rolesIn(in.Body.Roles)
	if err != nil {
		return nil, err
	}
	return altered(p.SetRoles(ctx, callOf(ctx).who.user, in.ID, roles))
}

func (s *Server) lockUser(ctx context.Context, in *idInput) (*output[userBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	return altered(p.Lock(ctx, callOf(ctx).who.user, in.ID))
}

func (s *Server) unlockUser(ctx context.Context, in *idInput) (*output[userBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	return altered(p.Unlock(ctx, callOf(ctx).who.user, in.ID))
}

func altered(u console.User, err error) (*output[userBody], error) {
	if err != nil {
		return nil, err
	}
	return &output[userBody]{Body: userOf(u)}, nil
}

func (s *Server) removeUser(ctx context.Context, in *idInput) (*empty, error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	return &empty{}, p.Remove(ctx, callOf(ctx).who.user, in.ID)
}

func (s *Server) tokens(ctx context.Context, _ *empty) (*output[*tokensBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	return tokenList(ctx, p, console.APIToken, "")
}

func (s *Server) makeToken(ctx context.Context, in *newTokenInput) (*output[newTokenBody], error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	return newToken(ctx, p, in)
}

func (s *Server) revokeToken(ctx context.Context, in *idInput) (*empty, error) {
	p, err := s.people()
	if err != nil {
		return nil, err
	}
	return &empty{}, p.Withdraw(ctx, callOf(ctx).who.user, "", in.ID)
}
