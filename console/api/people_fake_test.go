package api

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"sakimori/console"
)

// Short names for the tables.
const (
	Public   = console.Public
	Known    = console.Known
	Wall     = console.Wall
	Viewer   = console.Viewer
	Operator = console.Operator
	Admin    = console.Admin
)

// everyRole is nobody, somebody without a role, and each role alone.
var everyRole = []console.Roles{Public, Known, Wall, Viewer, Operator, console.Abuse, console.Network, console.Legal, Admin}

// memoryPeople knows one user for each role, who are called as it is, and one link.
type memoryPeople struct {
	tokens *MemoryTokens
	acts   []string // who did what
	link   string
	wait   time.Duration
	broken error // of the issuer
}

const rightPassword = "the right password"

func (m *memoryPeople) note(by, what string) { m.acts = append(m.acts, by+": "+what) }

func (*memoryPeople) Anybody(context.Context) (bool, error) { return true, nil }

func (m *memoryPeople) SignIn(ctx context.Context, name, password string, _ netip.Addr) (console.User, error) {
	if m.wait > 0 {
		return console.User{}, &console.Wait{For: m.wait}
	}
	if password != rightPassword {
		return console.User{}, console.ErrPassword
	}
	return m.User(ctx, "id-"+name)
}

func (m *memoryPeople) Open(_ context.Context, secret string) (console.Link, error) {
	if secret != m.link || m.link == "" {
		return console.Link{}, console.ErrToken
	}
	return console.Link{Purpose: console.Invitation, Name: "viewer", Expires: dataEnd}, nil
}

func (m *memoryPeople) Accept(ctx context.Context, secret, _, _ string, _ netip.Addr) (console.User, error) {
	if _, err := m.Open(ctx, secret); err != nil {
		return console.User{}, err
	}
	m.link = ""
	return m.User(ctx, "id-viewer")
}

func (m *memoryPeople) ChangePassword(_ context.Context, userID, old, _ string, _ netip.Addr) error {
	if old != rightPassword {
		return console.ErrPassword
	}
	m.note(userID, "password")
	return nil
}

func (*memoryPeople) Issuers() []console.IssuerName {
	return []console.IssuerName{{ID: "corp", Name: "Corporate"}}
}

func (m *memoryPeople) Begin(_ context.Context, id string) (address, secret string, err error) {
	if id != "corp" {
		return "", "", console.ErrNotFound
	}
	return "https://id.example/authorize?state=s", "secret-of-" + id, m.broken
}

func (m *memoryPeople) Finish(ctx context.Context, id, secret string, q url.Values, _ netip.Addr) (console.User, error) {
	if secret != "secret-of-"+id || q.Get("state") != "s" {
		return console.User{}, console.ErrToken
	}
	return m.User(ctx, "id-operator")
}

func (*memoryPeople) User(_ context.Context, id string) (console.User, error) {
	for _, r := range everyRole {
		if "id-"+r.String() == id {
			return console.User{ID: id, Name: r.String(), Roles: r & console.Everyone, State: console.Active, Created: dataEnd}, nil
		}
	}
	return console.User{}, console.ErrNotFound
}

func (m *memoryPeople) Users(ctx context.Context) (list []console.User, err error) {
	for _, r := range everyRole[2:] {
		u, _ := m.User(ctx, "id-"+r.String())
		list = append(list, u)
	}
	return list, nil
}

func (m *memoryPeople) act(by, what, id string) (console.User, error) {
	u, err := m.User(context.Background(), id)
	if err == nil {
		m.note(by, what+" "+id)
	}
	return u, err
}

func (m *memoryPeople) Add(_ context.Context, by, name string, roles console.Roles) (u console.User, secret string, err error) {
	m.note(by, "add "+name+" "+roles.String())
	return console.User{ID: "new", Name: name, Roles: roles, State: console.Invited}, "skm_link", nil
}

func (m *memoryPeople) Reset(_ context.Context, by, id string) (u console.User, secret string, err error) {
	u, err = m.act(by, "reset", id)
	return u, "skm_link", err
}

func (m *memoryPeople) SetRoles(_ context.Context, by, id string, r console.Roles) (console.User, error) {
	return m.act(by, "roles "+r.String(), id)
}

func (m *memoryPeople) Lock(_ context.Context, by, id string) (console.User, error) {
	if id == "id-admin" {
		return console.User{}, console.Refuse("最後の管理者です。", "the last admin")
	}
	return m.act(by, "lock", id)
}

func (m *memoryPeople) Unlock(_ context.Context, by, id string) (console.User, error) {
	return m.act(by, "unlock", id)
}

func (m *memoryPeople) Remove(_ context.Context, by, id string) error {
	_, err := m.act(by, "remove", id)
	return err
}

func (m *memoryPeople) Tokens(_ context.Context, kind console.TokenKind, userID string) (list []console.Token, err error) {
	m.tokens.mu.Lock()
	defer m.tokens.mu.Unlock()
	for _, t := range m.tokens.kept {
		if t.Kind == kind && (userID == "" || t.UserID == userID) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b console.Token) int { return a.Created.Compare(b.Created) })
	return list, nil
}

func (m *memoryPeople) MakeToken(ctx context.Context, by string, t console.Token, ttl time.Duration) (string, console.Token, error) {
	m.note(by, "token "+t.Name+" "+t.Roles.String()+" "+t.UserID)
	t.Kind, t.User = console.APIToken, t.Name
	return m.tokens.Issue(ctx, t, ttl)
}

func (m *memoryPeople) Withdraw(ctx context.Context, by, userID, id string) error {
	for _, k := range []console.TokenKind{console.APIToken, console.SessionToken} {
		list, _ := m.Tokens(ctx, k, userID)
		if slices.ContainsFunc(list, func(t console.Token) bool { return t.ID == id }) {
			m.note(by, "withdraw "+userID)
			return m.tokens.Revoke(ctx, id)
		}
	}
	return console.ErrNotFound
}
