package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/console"
)

// tokenPrefix lets a secret scanner find a token that was committed somewhere.
const tokenPrefix = "skm_"

// secretBytes is the size of a secret: 256 bits, so guessing is hopeless.
const secretBytes = 32

// MemoryTokens keeps tokens for as long as the process runs, by the SHA-256 of
// their secrets: for an API that is made for the moment. It implements Tokens.
type MemoryTokens struct {
	clock clock.Clock

	mu   sync.Mutex
	kept map[[sha256.Size]byte]console.Token
}

// NewTokens begins with none.
func NewTokens(c clock.Clock) *MemoryTokens {
	return &MemoryTokens{clock: c, kept: map[[sha256.Size]byte]console.Token{}}
}

// Issue makes a token; see Tokens.
func (m *MemoryTokens) Issue(_ context.Context, t console.Token, ttl time.Duration) (string, console.Token, error) {
	if t.Roles == 0 && t.UserID == "" {
		return "", t, errors.New("a token that is nobody's takes a role")
	}
	var raw [secretBytes]byte
	var id [6]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", t, fmt.Errorf("make a token: %w", err)
	}
	if _, err := rand.Read(id[:]); err != nil {
		return "", t, fmt.Errorf("make a token: %w", err)
	}
	secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	t.ID, t.Created = hex.EncodeToString(id[:]), m.clock.Now()
	t.Expires = t.Created.Add(ttl)
	for sum, old := range m.kept {
		if !t.Created.Before(old.Expires) {
			delete(m.kept, sum)
		}
	}
	m.kept[sha256.Sum256([]byte(secret))] = t
	return secret, t, nil
}

// Redeem checks a secret; see Tokens.
func (m *MemoryTokens) Redeem(_ context.Context, secret string, kinds ...console.TokenKind) (console.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := sha256.Sum256([]byte(secret))
	t, found := m.kept[sum]
	if !found || !strings.HasPrefix(secret, tokenPrefix) || !slices.Contains(kinds, t.Kind) || !m.clock.Now().Before(t.Expires) {
		return console.Token{}, console.ErrToken
	}
	if t.Kind == console.LoginToken {
		delete(m.kept, sum)
	}
	return t, nil
}

// Revoke ends a token and the sessions opened with it; see Tokens.
func (m *MemoryTokens) Revoke(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.kept)
	for sum, t := range m.kept {
		if t.ID == id || t.Parent == id {
			delete(m.kept, sum)
		}
	}
	if len(m.kept) == n {
		return console.ErrNotFound
	}
	return nil
}

var _ Tokens = (*MemoryTokens)(nil)
