package api

import (
	"context"
	"time"

	"sakimori/console"
)

type (
	// tokenBody is a session or an API token, without its secret.
	tokenBody struct {
		ID       string     `json:"id"`
		Name     string     `json:"name" doc:"what an API token is for"`
		User     string     `json:"user" doc:"who acts with it"`
		UserID   string     `json:"user_id" doc:"empty: nobody's"`
		Roles    []string   `json:"roles" nullable:"false"`
		ReadOnly bool       `json:"read_only"`
		From     string     `json:"from" doc:"address from which a session was opened"`
		Created  time.Time  `json:"created"`
		Expires  time.Time  `json:"expires"`
		Used     *time.Time `json:"used" doc:"last, to the minute; null: never"`
		Current  bool       `json:"current" doc:"the session of who asks"`
	}
	tokensBody struct {
		Panel

		Rows []tokenBody `json:"rows" nullable:"false"`
	}
	accountBody struct {
		User userBody `json:"user"`
	}
	passwordInput struct {
		Body struct {
			Old string `json:"old" maxLength:"1024"`
			New string `json:"new" maxLength:"1024" doc:"at least 12 characters"`
		}
	}
	newTokenInput struct {
		Body struct {
			Name     string   `json:"name" maxLength:"256" doc:"what it is for"`
			Roles    []string `json:"roles" maxItems:"16" doc:"no more than the owner's"`
			ReadOnly bool     `json:"read_only,omitempty"`
			Hours    int      `json:"hours" minimum:"1" maximum:"8784" doc:"how long it is good: at most 366 days"`
			UserID   string   `json:"user_id,omitempty" maxLength:"64" doc:"whose it is; only an admin may say, and nobody's is for machines and walls"`
		}
	}
	newTokenBody struct {
		Secret string    `json:"secret" doc:"shown once"`
		Token  tokenBody `json:"token"`
	}
	idInput struct {
		ID string `path:"id" maxLength:"64"`
	}
)

func tokenOf(t console.Token, current string) tokenBody {
	b := tokenBody{
		ID: t.ID, Name: t.Name, User: t.User, UserID: t.UserID, Roles: t.Roles.Words(), ReadOnly: t.ReadOnly,
		From: t.From, Created: t.Created, Expires: t.Expires, Current: t.ID == current,
	}
	if !t.Used.IsZero() {
		b.Used = &t.Used
	}
	return b
}

// me is the user who asks: the guard lets nobody else here.
func (s *Server) me(ctx context.Context) (People, console.Token, error) {
	p, err := s.people()
	return p, callOf(ctx).who.token, err
}

func (s *Server) account(ctx context.Context, _ *empty) (*output[accountBody], error) {
	p, t, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	u, err := p.User(ctx, t.UserID)
	if err != nil {
		return nil, err
	}
	return &output[accountBody]{Body: accountBody{userOf(u)}}, nil
}

// password ends all sessions; the one at hand goes on as a new one.
func (s *Server) password(ctx context.Context, in *passwordInput) (*loginOutput, error) {
	p, t, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.ChangePassword(ctx, t.UserID, in.Body.Old, in.Body.New, callOf(ctx).remote); err != nil {
		return nil, waiting(err)
	}
	return s.welcome(ctx, console.User{ID: t.UserID})
}

func (s *Server) ownTokens(ctx context.Context, kind console.TokenKind) (*output[*tokensBody], error) {
	p, t, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	return tokenList(ctx, p, kind, t.UserID)
}

func tokenList(ctx context.Context, p People, kind console.TokenKind, userID string) (*output[*tokensBody], error) {
	list, err := p.Tokens(ctx, kind, userID)
	if err != nil {
		return nil, err
	}
	b := &tokensBody{Panel: Panel{State: "ok"}, Rows: []tokenBody{}}
	for _, t := range list {
		b.Rows = append(b.Rows, tokenOf(t, callOf(ctx).who.token.ID))
	}
	b.zeroIf(len(b.Rows) == 0)
	return &output[*tokensBody]{Body: b}, nil
}

func (s *Server) accountSessions(ctx context.Context, _ *empty) (*output[*tokensBody], error) {
	return s.ownTokens(ctx, console.SessionToken)
}

func (s *Server) accountTokens(ctx context.Context, _ *empty) (*output[*tokensBody], error) {
	return s.ownTokens(ctx, console.APIToken)
}

// endOwn ends a session or a token of one's own.
func (s *Server) endOwn(ctx context.Context, in *idInput) (*empty, error) {
	p, t, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	return &empty{}, p.Withdraw(ctx, t.User, t.UserID, in.ID)
}

func (s *Server) makeOwnToken(ctx context.Context, in *newTokenInput) (*output[newTokenBody], error) {
	p, t, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	in.Body.UserID = t.UserID
	return newToken(ctx, p, in)
}

func newToken(ctx context.Context, p People, in *newTokenInput) (*output[newTokenBody], error) {
	roles, err := rolesIn(in.Body.Roles)
	if err != nil {
		return nil, err
	}
	want := console.Token{Name: in.Body.Name, UserID: in.Body.UserID, Roles: roles, ReadOnly: in.Body.ReadOnly}
	secret, made, err := p.MakeToken(ctx, callOf(ctx).who.user, want, time.Duration(in.Body.Hours)*time.Hour)
	if err != nil {
		return nil, err
	}
	return &output[newTokenBody]{Body: newTokenBody{secret, tokenOf(made, "")}}, nil
}
