package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
)

// TokenKind says how a token is used.
type TokenKind string

// The kinds of token.
const (
	APIToken     TokenKind = "api"     // sent as a bearer with each request
	LoginToken   TokenKind = "login"   // exchanged once for a session
	SessionToken TokenKind = "session" // in a browser's cookie
)

// Token is the right to use the API, without its secret.
type Token struct {
	ID      string    `json:"id"`
	Kind    TokenKind `json:"kind"`
	Role    Role      `json:"-"`
	User    string    `json:"user"`
	Parent  string    `json:"parent,omitempty"` // of a session: the API token it was opened with; it ends with it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// tokenPrefix lets a secret scanner find a token that was committed somewhere.
const tokenPrefix = "skm_"

// secretBytes is the size of a secret: 256 bits, so guessing is hopeless and a
// plain SHA-256 of it is safe to store.
const secretBytes = 32

// FileTokens keeps tokens in one small file (mode 0600), by the SHA-256 of
// their secrets. The file belongs to one process. It implements Tokens.
type FileTokens struct {
	mu    sync.Mutex
	path  string // "" keeps them in memory only
	clock clock.Clock
	file  tokenFile
}

type tokenFile struct {
	Secret []byte        `json:"secret"`
	Tokens []storedToken `json:"tokens"`
}

type storedToken struct {
	Token

	Role   string `json:"role"`
	SHA256 string `json:"sha256"`
}

// OpenTokens reads the tokens at path, or begins with none when there is no
// such file. With an empty path nothing is written to disk.
func OpenTokens(path string, c clock.Clock) (*FileTokens, error) {
	t := &FileTokens{path: path, clock: c}
	raw, err := readIfThere(path)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	if raw != nil {
		if err := json.Unmarshal(raw, &t.file); err != nil {
			return nil, fmt.Errorf("read the tokens in %s: %w: restore the file, or remove it and make new tokens", path, err)
		}
	}
	for i := range t.file.Tokens {
		s := &t.file.Tokens[i]
		if s.Token.Role, err = ParseRole(s.Role); err != nil {
			return nil, fmt.Errorf("token %s in %s: %w", s.ID, path, err)
		}
	}
	if len(t.file.Secret) != secretBytes {
		t.file.Secret = make([]byte, secretBytes)
		if _, err := rand.Read(t.file.Secret); err != nil {
			return nil, fmt.Errorf("make a secret: %w", err)
		}
	}
	return t, nil
}

func readIfThere(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// Secret is 32 bytes that stay the same over restarts once a token was issued,
// for Deps.Secret.
func (t *FileTokens) Secret() []byte { return slices.Clone(t.file.Secret) }

// Issue makes a token; see Tokens.
func (t *FileTokens) Issue(want Token, ttl time.Duration) (string, Token, error) {
	if want.Role == Public || int(want.Role) >= len(roleNames) {
		return "", Token{}, fmt.Errorf("a token can't have the role %s: use one of %v", want.Role, roleNames[1:])
	}
	var raw [secretBytes]byte
	var id [5]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", Token{}, fmt.Errorf("make a token: %w", err)
	}
	if _, err := rand.Read(id[:]); err != nil {
		return "", Token{}, fmt.Errorf("make a token: %w", err)
	}
	secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	want.ID = hex.EncodeToString(id[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	want.Created = t.clock.Now()
	want.Expires = want.Created.Add(ttl)
	kept := t.alive()
	kept = append(kept, storedToken{Token: want, Role: want.Role.String(), SHA256: digest(secret)})
	if err := t.replace(kept); err != nil {
		return "", Token{}, err
	}
	return secret, want, nil
}

// Redeem checks a secret; see Tokens.
func (t *FileTokens) Redeem(secret string, kinds ...TokenKind) (Token, error) {
	if !strings.HasPrefix(secret, tokenPrefix) {
		return Token{}, ErrToken
	}
	sum := digest(secret)
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.file.Tokens, func(s storedToken) bool { return s.SHA256 == sum })
	if i < 0 {
		return Token{}, ErrToken
	}
	found := t.file.Tokens[i].Token
	if !slices.Contains(kinds, found.Kind) || !t.clock.Now().Before(found.Expires) || !t.parentAlive(found) {
		return Token{}, ErrToken
	}
	if found.Kind == LoginToken { // spent before it is good for anything
		if err := t.replace(slices.Delete(slices.Clone(t.file.Tokens), i, i+1)); err != nil {
			return Token{}, err
		}
	}
	return found, nil
}

func (t *FileTokens) parentAlive(child Token) bool {
	return child.Parent == "" || slices.ContainsFunc(t.file.Tokens, func(s storedToken) bool {
		return s.ID == child.Parent && t.clock.Now().Before(s.Expires)
	})
}

// Revoke ends a token and the sessions opened with it. It returns ErrNotFound
// for an id that isn't there.
func (t *FileTokens) Revoke(id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(t.file.Tokens), func(s storedToken) bool { return s.ID == id || s.Parent == id })
	if len(kept) == len(t.file.Tokens) {
		return ErrNotFound
	}
	return t.replace(kept)
}

// List gives the tokens that haven't expired, oldest first.
func (t *FileTokens) List() []Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []Token{}
	for _, s := range t.alive() {
		list = append(list, s.Token)
	}
	return list
}

func (t *FileTokens) alive() []storedToken {
	now := t.clock.Now()
	return slices.DeleteFunc(slices.Clone(t.file.Tokens), func(s storedToken) bool { return !now.Before(s.Expires) })
}

// replace writes the tokens to disk before they count.
func (t *FileTokens) replace(tokens []storedToken) error {
	next := tokenFile{Secret: t.file.Secret, Tokens: tokens}
	if t.path != "" {
		if err := writeWhole(t.path, next); err != nil {
			return fmt.Errorf("write the tokens: %w", err)
		}
	}
	t.file = next
	return nil
}

// writeWhole leaves either the old file or the new one, never half of one.
func writeWhole(path string, content tokenFile) (err error) {
	raw, err := json.MarshalIndent(content, "", "  ") //nolint:gosec // the key that seals cursors; the file is 0600
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(raw); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

var _ Tokens = (*FileTokens)(nil)
