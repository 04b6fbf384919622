package api_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/console/api"
)

type hand struct{ at time.Time }

func (h *hand) Now() time.Time { return h.at }

func TestTokensAreStoredWithoutTheirSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	c := &hand{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	first, err := api.OpenTokens(path, c)
	if err != nil {
		t.Fatal(err)
	}
	secret, issued, err := first.Issue(api.Token{Kind: api.APIToken, Role: api.Viewer, User: "hanako"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(secret) != 4+43 || !strings.HasPrefix(secret, "skm_") {
		t.Errorf("%q", secret)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), secret[4:]) {
		t.Error("the secret is in the file")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := api.OpenTokens(path, c)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first.Secret(), again.Secret()) {
		t.Error("another key after a restart")
	}
	if got, err := again.Redeem(secret, api.APIToken); err != nil || got != issued {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := again.Redeem(secret, api.LoginToken); !errors.Is(err, api.ErrToken) {
		t.Errorf("an API token as a login: %v", err)
	}
	c.at = c.at.Add(time.Hour)
	if _, err := again.Redeem(secret, api.APIToken); !errors.Is(err, api.ErrToken) {
		t.Errorf("an expired token: %v", err)
	}
	if len(again.List()) != 0 {
		t.Error("an expired token is listed")
	}
	if err := again.Revoke("nothing"); !errors.Is(err, api.ErrNotFound) {
		t.Error(err)
	}
}

func TestLoginTokenWorksOnceForOne(t *testing.T) {
	tokens, err := api.OpenTokens("", clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := tokens.Issue(api.Token{Kind: api.LoginToken, Role: api.Admin}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var good atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := tokens.Redeem(secret, api.LoginToken); err == nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("it worked %d times", good.Load())
	}
}

func TestBrokenTokenFileSaysWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for _, content := range []string{"{", `{"tokens":[{"id":"a","role":"king"}]}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := api.OpenTokens(path, clock.System{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", content, err)
		}
	}
	tokens, err := api.OpenTokens(filepath.Join(t.TempDir(), "no", "such", "folder"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tokens.Issue(api.Token{Kind: api.APIToken, Role: api.Viewer}, time.Hour); err == nil {
		t.Error("a token counts that couldn't be stored")
	}
	if _, _, err := tokens.Issue(api.Token{Kind: api.APIToken}, time.Hour); err == nil {
		t.Error("a token without a role")
	}
}
