package console

import (
	"errors"
	"time"

	"sakimori/detect"
)

// State is where a user stands.
type State string

// The states of a user.
const (
	Invited State = "invited" // has a link, and no password yet
	Active  State = "active"
	Locked  State = "locked"  // can't sign in, and comes back when unlocked
	Removed State = "removed" // kept for the names in the ledger alone
)

// User is somebody who may sign in.
type User struct {
	ID       string
	Name     string // by which they sign in
	Roles    Roles
	State    State
	Issuer   string // who vouches for them at sign-in; "" a password here
	Created  time.Time
	SignedIn time.Time // last; zero never
}

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
	ID       string
	Kind     TokenKind
	Name     string // what an API token is for
	UserID   string // "" nobody's: a wall's, the command line's
	User     string // who acts with it, as the ledger says it
	Roles    Roles  // of a user's token never more than the user has now
	ReadOnly bool
	Parent   string // of a session: the API token it was opened with; it ends with it
	From     string // of a session: the address it was opened from
	Created  time.Time
	Expires  time.Time
	Used     time.Time // last, to the minute; zero never
}

// Purpose says what a one-time link is for.
type Purpose string

// The purposes of a link.
const (
	FirstAdmin Purpose = "first"  // makes the first user, an admin
	Invitation Purpose = "invite" // lets a new user choose a password
	Reset      Purpose = "reset"  // lets a user choose a new one
)

// Link is what a one-time link opens, without its secret.
type Link struct {
	Purpose Purpose
	Name    string // of the user; "" when there is none yet
	Expires time.Time
}

// ErrNotFound is what a port returns for something that isn't there.
var ErrNotFound = errors.New("not found")

// ErrToken is what a port returns for a secret that isn't good.
var ErrToken = errors.New("this token isn't valid: it may have expired, been used or been revoked")

// ErrPassword is what a port returns for a name and a password that don't go
// together, without saying which is wrong.
var ErrPassword = errors.New("name or password is wrong")

// Wait is the error of who has to wait before the next try.
type Wait struct{ For time.Duration }

// Error says how long.
func (w *Wait) Error() string { return "too many failures: try again in " + w.For.String() }

// Refusal is an error that a port explains to the person who asked: the API
// answers 422 with these words.
type Refusal struct{ Text detect.Text }

// Error is the English text.
func (r *Refusal) Error() string { return r.Text.EN }

// Refuse makes a Refusal; the arguments fill both sentences.
func Refuse(ja, en string, args ...any) error {
	return &Refusal{detect.Textf(ja, en, args...)}
}

// IssuerName is an issuer of OpenID Connect as the sign-in page offers it.
type IssuerName struct{ ID, Name string }

// ErrIssuer is what a port returns when an issuer doesn't answer as it should.
var ErrIssuer = errors.New("the issuer doesn't answer as it should")
