package people

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sakimori/base/relation"
	"sakimori/console"
)

// secretPrefix lets a secret scanner find a token that was committed somewhere.
const secretPrefix = "skm_"

const (
	secretBytes  = 32          // 256 bits: a plain SHA-256 of it is safe to store
	usedEvery    = time.Minute // how exactly the last use is known
	sessionsMost = 50          // of a user, or of an API token; the oldest make room
	tokensMost   = 100         // API tokens of a user, or of nobody
	labelBytes   = 100         // of what a token is for
)

// newSecret draws a secret. Its sum is what is stored.
func newSecret() (secret, sum string, err error) {
	var b [secretBytes]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", "", fmt.Errorf("make a token: %w", err)
	}
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return secret, sumOf(secret), nil
}

func sumOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func readRoles(words string) (console.Roles, error) {
	if words == "" {
		return 0, nil
	}
	return console.ParseRoles(strings.Split(words, ",")...)
}

// insert writes a new secret, after what has expired and what is too much went.
func insert(ctx context.Context, tx *relation.Tx, t *console.Token, kind, sum string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM people_secret WHERE expires <= $1`, t.Created.UnixNano()); err != nil {
		return fmt.Errorf("keep a token: %w", err)
	}
	if t.Kind == console.SessionToken && (t.UserID != "" || t.Parent != "") {
		if _, err := tx.Exec(ctx, `DELETE FROM people_secret WHERE id IN (SELECT id FROM people_secret
			WHERE kind = 'session' AND user_id = $1 AND parent = $2 ORDER BY created DESC, id LIMIT 1000 OFFSET $3)`,
			t.UserID, t.Parent, sessionsMost-1); err != nil {
			return fmt.Errorf("keep a session: %w", err)
		}
	}
	readOnly := 0
	if t.ReadOnly {
		readOnly = 1
	}
	_, err := tx.Exec(ctx, `INSERT INTO people_secret (id, kind, sum, name, user_id, who, roles, read_only, parent, origin, created, expires, used)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0)`,
		t.ID, kind, sum, t.Name, t.UserID, t.User, t.Roles.String(), readOnly, t.Parent, t.From, t.Created.UnixNano(), t.Expires.UnixNano())
	if err != nil {
		return fmt.Errorf("keep a token: %w", err)
	}
	return nil
}

// Issue makes a token of t's fields that expires after ttl. The secret is given
// once and never stored.
func (r *Register) Issue(ctx context.Context, t console.Token, ttl time.Duration) (string, console.Token, error) {
	if t.UserID == "" && t.Roles == 0 {
		return "", t, errors.New("a token that is nobody's takes a role")
	}
	secret, sum, err := newSecret()
	if err != nil {
		return "", t, err
	}
	if t.ID, err = newID(); err != nil {
		return "", t, err
	}
	t.Created = r.clock.Now().UTC()
	t.Expires = t.Created.Add(ttl)
	if err := r.db.Tx(ctx, func(tx *relation.Tx) error { return insert(ctx, tx, &t, string(t.Kind), sum) }); err != nil {
		return "", t, err
	}
	if t.UserID != "" {
		u, err := r.User(ctx, t.UserID)
		if err != nil {
			return "", t, err
		}
		t.User = u.Name
		if t.Roles &= u.Roles; t.Kind == console.SessionToken && t.Parent == "" {
			t.Roles = u.Roles
		}
	}
	return secret, t, nil
}

// tokenQuery reads secrets with their users and parents.
//
//nolint:gosec // SQL, no secret
const tokenQuery = `SELECT s.id, s.kind, s.name, s.user_id, s.who, s.roles, s.read_only, s.parent, s.origin, s.created, s.expires, s.used,
	u.name, u.roles, u.state, p.expires
	FROM people_secret s LEFT JOIN people_user u ON u.id = s.user_id LEFT JOIN people_secret p ON p.id = s.parent `

// stored is a token with what decides whether it is good.
type stored struct {
	console.Token

	userState     console.State
	parentExpires time.Time // zero: there is no such parent
}

func scanToken(row scanner) (t stored, err error) {
	var kind, roles string
	var readOnly, created, expires, used int64
	var user, userRoles, userState sql.NullString
	var parentExpires sql.NullInt64
	if err := row.Scan(&t.ID, &kind, &t.Name, &t.UserID, &t.User, &roles, &readOnly, &t.Parent, &t.From, &created, &expires, &used,
		&user, &userRoles, &userState, &parentExpires); err != nil {
		return t, err
	}
	t.Kind, t.ReadOnly = console.TokenKind(kind), readOnly != 0
	t.Created, t.Expires, t.Used = moment(created), moment(expires), moment(used)
	t.userState, t.parentExpires = console.State(userState.String), moment(parentExpires.Int64)
	if t.Roles, err = readRoles(roles); err != nil || t.UserID == "" {
		return t, err
	}
	t.User = user.String
	has, err := readRoles(userRoles.String)
	if t.Kind == console.SessionToken && t.Parent == "" {
		t.Roles = has
	}
	t.Roles &= has
	return t, err
}

// Redeem checks a secret. A Login token is spent by it. Whatever is wrong with the
// secret, the error is console.ErrToken.
func (r *Register) Redeem(ctx context.Context, secret string, kinds ...console.TokenKind) (console.Token, error) {
	if !strings.HasPrefix(secret, secretPrefix) {
		return console.Token{}, console.ErrToken
	}
	t, err := scanToken(r.db.QueryRow(ctx, tokenQuery+`WHERE s.sum = $1`, sumOf(secret)))
	if errors.Is(err, sql.ErrNoRows) {
		return console.Token{}, console.ErrToken
	}
	if err != nil {
		return console.Token{}, fmt.Errorf("read a token: %w", err)
	}
	now := r.clock.Now().UTC()
	if !slices.Contains(kinds, t.Kind) || !t.lasts(now, r.config.SessionIdle) || t.UserID != "" && t.userState != console.Active {
		return console.Token{}, console.ErrToken
	}
	if t.Kind == console.LoginToken { // spent before it is good for anything
		return t.Token, r.db.Tx(ctx, func(tx *relation.Tx) error { return spend(ctx, tx, t.ID) })
	}
	if now.Sub(t.Used) >= usedEvery {
		err = r.db.Tx(ctx, func(tx *relation.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE people_secret SET used = $1 WHERE id = $2`, now.UnixNano(), t.ID)
			return err
		})
		if err != nil {
			return console.Token{}, fmt.Errorf("note the use of a token: %w", err)
		}
	}
	return t.Token, nil
}

// lasts tells whether it hasn't ended, whatever its user's state.
func (t *stored) lasts(now time.Time, idle time.Duration) bool {
	last := t.Created
	if t.Used.After(last) {
		last = t.Used
	}
	switch {
	case !now.Before(t.Expires):
		return false
	case t.Parent != "":
		return now.Before(t.parentExpires)
	case t.Kind == console.SessionToken:
		return now.Sub(last) < idle
	}
	return true
}

// spend takes a secret away for good. It is ErrToken when somebody was first.
func spend(ctx context.Context, tx *relation.Tx, id string) error {
	n, err := tx.Exec(ctx, `DELETE FROM people_secret WHERE id = $1`, id)
	if err == nil && n == 0 {
		err = console.ErrToken
	}
	return err
}

// Revoke ends a token and the sessions opened with it. It returns
// console.ErrNotFound for an id that isn't there.
func (r *Register) Revoke(ctx context.Context, id string) error {
	return r.db.Tx(ctx, func(tx *relation.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM people_secret WHERE id = $1 AND kind IN ('api', 'login', 'session')`, id)
		if err != nil {
			return fmt.Errorf("revoke a token: %w", err)
		}
		if n == 0 {
			return console.ErrNotFound
		}
		_, err = tx.Exec(ctx, `DELETE FROM people_secret WHERE parent = $1`, id)
		return err
	})
}

// Tokens lists the tokens of a kind that haven't ended, newest first: of one user,
// or, with an empty id, of all and of nobody. Those of a locked user are among them.
func (r *Register) Tokens(ctx context.Context, kind console.TokenKind, userID string) ([]console.Token, error) {
	rows, err := r.db.Query(ctx, tokenQuery+`WHERE s.kind = $1 AND ($2 = '' OR s.user_id = $2) ORDER BY s.created DESC, s.id`, string(kind), userID)
	if err != nil {
		return nil, fmt.Errorf("list the tokens: %w", err)
	}
	defer rows.Close()
	now, list := r.clock.Now().UTC(), []console.Token{}
	for rows.Next() {
		t, err := scanToken(rows)
		if err != nil {
			return nil, fmt.Errorf("list the tokens: %w", err)
		}
		if t.lasts(now, r.config.SessionIdle) {
			list = append(list, t.Token)
		}
	}
	return list, rows.Err()
}

// MakeToken makes an API token for somebody to keep, and has it written down.
func (r *Register) MakeToken(ctx context.Context, by string, t console.Token, ttl time.Duration) (string, console.Token, error) {
	t.Kind, t.Parent = console.APIToken, ""
	t.Name = strings.TrimSpace(t.Name)
	if t.Name == "" || len(t.Name) > labelBytes {
		return "", t, console.Refuse("トークンの用途を %d バイト以下で書いてください。", "Say in at most %d bytes what the token is for.", labelBytes)
	}
	if t.Roles == 0 {
		return "", t, console.Refuse("トークンの権限を一つ以上選んでください。", "Choose at least one role for the token.")
	}
	if t.UserID != "" {
		u, err := r.User(ctx, t.UserID)
		if err != nil {
			return "", t, err
		}
		if u.State == console.Removed || t.Roles&^u.Roles != 0 {
			return "", t, console.Refuse("トークンは、持ち主の権限(%s)を超えられません。", "A token can't have more roles than its owner: %s.", u.Roles)
		}
	} else if t.User == "" {
		t.User = t.Name
	}
	have, err := r.Tokens(ctx, console.APIToken, t.UserID)
	if err != nil {
		return "", t, err
	}
	n := 0
	for i := range have {
		if have[i].UserID == t.UserID {
			n++
		}
	}
	if n >= tokensMost {
		return "", t, console.Refuse("トークンが多すぎます(上限 %d)。使わないものを失効させてください。", "There are too many tokens (at most %d): revoke those out of use.", tokensMost)
	}
	until := r.clock.Now().UTC().Add(ttl)
	if err := r.changed(ctx, by, change{Action: "make token", User: t.UserID, Name: t.Name, Roles: t.Roles, ReadOnly: t.ReadOnly, Until: &until}); err != nil {
		return "", t, err
	}
	return r.Issue(ctx, t, ttl)
}

// Withdraw ends a session or an API token for somebody who asks, and has it written
// down: one of a user's own, or, with an empty id of the user, any.
func (r *Register) Withdraw(ctx context.Context, by, userID, id string) error {
	t, err := scanToken(r.db.QueryRow(ctx, tokenQuery+`WHERE s.id = $1 AND s.kind IN ('api', 'session')`, id))
	if errors.Is(err, sql.ErrNoRows) || err == nil && userID != "" && t.UserID != userID {
		return console.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read a token: %w", err)
	}
	action := "revoke token"
	if t.Kind == console.SessionToken {
		action = "end session"
	}
	if err := r.changed(ctx, by, change{Action: action, User: t.UserID, Name: t.Name, Token: t.ID}); err != nil {
		return err
	}
	return r.Revoke(ctx, id)
}
