// Package people knows who may use the console: users with passwords or with an
// issuer of OpenID Connect who vouches for them, their sessions, API tokens, and
// the one-time links by which they come in. It keeps no secret, only the sums of
// secrets, and hands every sign-in and every change to a Recorder before it counts.
package people

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/secure/precis"

	"sakimori/account"
	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/console"
)

//go:embed migrations
var migrations embed.FS

// Recorder writes down what happens: into the ledger. What is put down as JSON and
// holds no secret. When it fails, what was to be done isn't done.
type Recorder interface {
	Record(ctx context.Context, kind account.Kind, who string, what any) error
}

// Config are the settings.
type Config struct {
	Hash argon2id.Params
	// SessionIdle ends a session of a user that sent no request for so long. An
	// open page asks by itself: what ends an evening at the desk is the time that
	// the session was made for.
	SessionIdle time.Duration
	Issuers     []Issuer
}

// DefaultConfig hashes by the second recommendation of RFC 9106 §4: 64 MiB, three
// passes, four lanes.
func DefaultConfig() Config {
	return Config{
		Hash:        argon2id.Params{Memory: 64 << 10, Iterations: 3, Parallelism: 4, SaltLength: 16, KeyLength: 32},
		SessionIdle: 2 * time.Hour,
	}
}

// Register is the register of users and of their secrets. It may be used by many
// goroutines, and on a server by many processes.
type Register struct {
	config   Config
	db       *relation.DB
	clock    clock.Clock
	recorder Recorder
	throttle *throttle
	hasher   *hasher
	failures *budget
	issuers  []*issuer
}

// Open prepares the tables. It asks no issuer anything before somebody signs in
// with it.
func Open(ctx context.Context, db *relation.DB, c clock.Clock, rec Recorder, config Config) (*Register, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	r := &Register{
		config: config, db: db, clock: c, recorder: rec, throttle: newThrottle(c), failures: &budget{clock: c},
	}
	if r.hasher, err = newHasher(config.Hash); err != nil {
		return nil, err
	}
	if r.issuers, err = newIssuers(config.Issuers); err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "people", files); err != nil {
		return nil, err
	}
	return r, nil
}

// change is what the ledger says of a change.
type change struct {
	Action   string        `json:"action"`
	User     string        `json:"user,omitempty"` // its id
	Name     string        `json:"name,omitempty"`
	Roles    console.Roles `json:"roles,omitempty"`
	Token    string        `json:"token,omitempty"` // its id
	ReadOnly bool          `json:"read_only,omitempty"`
	Until    *time.Time    `json:"until,omitempty"`
}

func (r *Register) changed(ctx context.Context, by string, c change) error {
	return r.recorder.Record(ctx, account.Configured, by, c)
}

// foldName is a name as it is stored and compared: RFC 8265 §3.3, so that Tanaka
// and ｔａｎａｋａ are one.
func foldName(name string) (string, error) {
	if len(name) <= 4*nameBytes {
		if folded, err := precis.UsernameCaseMapped.String(name); err == nil && len(folded) <= nameBytes {
			return folded, nil
		}
	}
	return "", console.Refuse(
		"名前は 1 文字以上 %d バイト以下で、空白や記号の一部は使えません。",
		"A name has at least a character and at most %d bytes, without spaces and some of the signs.", nameBytes)
}

const nameBytes = 64

// newID makes a short identifier; it is no secret.
func newID() (string, error) {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

const userColumns = `id, name, roles, state, issuer, created, signed_in`

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

func scanUser(row scanner, also ...any) (u console.User, err error) {
	var roles, state string
	var created, signedIn int64
	err = row.Scan(append([]any{&u.ID, &u.Name, &roles, &state, &u.Issuer, &created, &signedIn}, also...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return u, console.ErrNotFound
	}
	if err != nil {
		return u, fmt.Errorf("read a user: %w", err)
	}
	u.State, u.Created, u.SignedIn = console.State(state), moment(created), moment(signedIn)
	u.Roles, err = readRoles(roles)
	return u, err
}

// moment reads a stored time; 0 is none.
func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
