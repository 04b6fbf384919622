package api

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/console"
)

type hand struct{ at time.Time }

func (h *hand) Now() time.Time { return h.at }

func TestMemoryTokens(t *testing.T) {
	c := &hand{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	m := NewTokens(c)
	secret, issued, err := m.Issue(t.Context(), console.Token{Kind: console.APIToken, Roles: Viewer, User: "hanako"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(secret) != 4+43 || !strings.HasPrefix(secret, "skm_") {
		t.Errorf("%q", secret)
	}
	if got, err := m.Redeem(t.Context(), secret, console.APIToken); err != nil || got != issued {
		t.Errorf("%+v, %v", got, err)
	}
	for name, kind := range map[string]console.TokenKind{"a login": console.LoginToken, "a session": console.SessionToken} {
		if _, err := m.Redeem(t.Context(), secret, kind); !errors.Is(err, console.ErrToken) {
			t.Errorf("an API token as %s: %v", name, err)
		}
	}
	c.at = c.at.Add(time.Hour)
	if _, err := m.Redeem(t.Context(), secret, console.APIToken); !errors.Is(err, console.ErrToken) {
		t.Errorf("an expired token: %v", err)
	}
	if err := m.Revoke(t.Context(), "nothing"); !errors.Is(err, console.ErrNotFound) {
		t.Error(err)
	}
	if _, _, err := m.Issue(t.Context(), console.Token{Kind: console.APIToken}, time.Hour); err == nil || len(m.kept) != 1 {
		t.Error("a token without a role")
	}
}

func TestLoginTokenWorksOnceForOne(t *testing.T) {
	m := NewTokens(clock.System{})
	secret, _, err := m.Issue(t.Context(), console.Token{Kind: console.LoginToken, Roles: Admin}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var good atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := m.Redeem(t.Context(), secret, console.LoginToken); err == nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("it worked %d times", good.Load())
	}
}
