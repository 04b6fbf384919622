package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"sakimori/base/clock"
	"sakimori/console"
	"sakimori/detect"
	"sakimori/observe"
)

// Archive answers questions about what was observed. All times are the data's
// own. A method must honour ctx, which ends with the request.
type Archive interface {
	// Covered tells whether the telescope looked at any time in r, and the
	// first and last moment of it. With looked false, first and last are the
	// bounds of everything stored, zero when nothing is.
	Covered(ctx context.Context, r observe.Range) (first, last time.Time, looked bool, err error)
	Series(ctx context.Context, dim observe.Dim, key uint32, r observe.Range, g observe.Grain) ([]observe.Point, error)
	Total(ctx context.Context, r observe.Range) (observe.Point, error)
	Top(ctx context.Context, dim observe.Dim, r observe.Range, order string, limit, offset int) ([]observe.Row, error)
	// Heat gives one row of counts per port and one column per hour.
	Heat(ctx context.Context, r observe.Range, ports int) (hours []time.Time, keys []uint32, packets, sources [][]uint64, err error)
	Events(ctx context.Context, q observe.EventQuery) ([]observe.Event, string, error)
	// Address gives nil for an address never seen.
	Address(ctx context.Context, a netip.Addr) (*observe.Address, error)
	Years(ctx context.Context, iotPorts []uint32) ([]observe.Year, error)
	Gaps(ctx context.Context, r observe.Range) ([]observe.Gap, error)
}

// Rise is a key that sends more than its own past lets expect.
type Rise struct {
	Key      uint32 // as observe.ByPort
	Packets  uint64
	Sources  observe.Unique
	Expected float64 // packets
	Score    float64 // the larger, the more out of the ordinary
	New      bool    // never seen before
}

// Rising ranks the ports that rise against their own baseline.
type Rising interface {
	Rising(ctx context.Context, r observe.Range, limit int) ([]Rise, error)
}

// FindingQuery selects findings; zero fields select everything.
type FindingQuery struct {
	Detector string
	Subject  string // exactly
	State    detect.State
	Severity detect.Severity
	Range    observe.Range // findings whose life overlaps it
	Limit    int           // 1..500
	After    string        // what List gave as next
}

// Ack says who took note of a finding.
type Ack struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Note string    `json:"note"`
}

// Found is a finding as people work with it.
type Found struct {
	detect.Finding

	Ack *Ack `json:"ack"`
}

// Findings is the register of findings. Get and Ack return ErrNotFound for an
// id that isn't there.
type Findings interface {
	// List gives the newest version of each finding, last changed first.
	List(ctx context.Context, q FindingQuery) (rows []Found, next string, err error)
	// Get gives a finding with all of its versions, oldest first.
	Get(ctx context.Context, id string) (f Found, history []detect.Finding, err error)
	Ack(ctx context.Context, id string, a Ack) error
}

// Inputs tells how the sensors and files do.
type Inputs interface {
	Inputs() []Input
	// DataTime is the time of the newest packet, false when there was none.
	DataTime() (time.Time, bool)
}

// Jobs are the imports. Methods return ErrNotFound for an unknown id, and a
// Refusal for what can't be done.
type Jobs interface {
	List() []Job
	// Start reads body to its end before it returns. Without dark or own
	// prefixes those of the configuration hold.
	Start(ctx context.Context, name string, body io.Reader, dark, own []netip.Prefix) (Job, error)
	StartPath(ctx context.Context, path string, dark, own []netip.Prefix) (Job, error)
	Stop(id string) (Job, error)
	Resume(id string) (Job, error)
}

// Geo estimates where an address is.
type Geo interface {
	// Place gives "" and 0 for what isn't known; located tells whether lat and
	// lon (degrees) are.
	Place(a netip.Addr) (country string, asn uint32, lat, lon float32, located bool)
	ASName(asn uint32) string
}

// Research knows the scanners that say openly who they are.
type Research interface {
	Who(a netip.Addr) (name, url string, ok bool)
}

// Tokens keeps who may use the API. Redeem returns console.ErrToken for a secret
// that isn't good, for whatever reason.
type Tokens interface {
	// Issue makes a token of t's fields that expires after ttl; its ID, Created and
	// Expires are set. The secret is given once and never stored.
	Issue(ctx context.Context, t console.Token, ttl time.Duration) (secret string, issued console.Token, err error)
	// Redeem checks a secret. A Login token is spent by it.
	Redeem(ctx context.Context, secret string, kinds ...console.TokenKind) (console.Token, error)
	Revoke(ctx context.Context, id string) error
}

// Doors lets people in.
type Doors interface {
	// Anybody tells whether there is a user who could sign in.
	Anybody(ctx context.Context) (bool, error)
	// SignIn returns console.ErrPassword for what doesn't fit, and *console.Wait
	// after too many failures.
	SignIn(ctx context.Context, name, password string, from netip.Addr) (console.User, error)
	// Open tells what a one-time link is for; Accept spends it. Both return
	// console.ErrToken for one that isn't good.
	Open(ctx context.Context, secret string) (console.Link, error)
	Accept(ctx context.Context, secret, name, password string, from netip.Addr) (console.User, error)
	// ChangePassword also ends all sessions of the user.
	ChangePassword(ctx context.Context, userID, old, password string, from netip.Addr) error
}

// Issuers lets people in for whom an issuer of OpenID Connect vouches.
type Issuers interface {
	Issuers() []console.IssuerName
	// Begin gives where to send the browser, and a secret for its cookie, that
	// Finish takes with what the browser brings back. Both return console.ErrIssuer
	// when the issuer fails, and Finish console.ErrToken for what doesn't fit.
	Begin(ctx context.Context, id string) (address, secret string, err error)
	Finish(ctx context.Context, id, secret string, answer url.Values, from netip.Addr) (console.User, error)
}

// Users is what an admin does with users: by says who. Methods return
// console.ErrNotFound for an id that isn't there, and a Refusal for what can't be
// done.
type Users interface {
	User(ctx context.Context, id string) (console.User, error)
	Users(ctx context.Context) ([]console.User, error)
	// Add and Reset give the secret of a one-time link.
	Add(ctx context.Context, by, name string, roles console.Roles) (u console.User, secret string, err error)
	Reset(ctx context.Context, by, id string) (u console.User, secret string, err error)
	SetRoles(ctx context.Context, by, id string, roles console.Roles) (console.User, error)
	Lock(ctx context.Context, by, id string) (console.User, error)
	Unlock(ctx context.Context, by, id string) (console.User, error)
	Remove(ctx context.Context, by, id string) error
}

// Keys are the sessions and API tokens that people see.
type Keys interface {
	// Tokens lists those of a kind: of a user, or with an empty id of all.
	Tokens(ctx context.Context, kind console.TokenKind, userID string) ([]console.Token, error)
	MakeToken(ctx context.Context, by string, t console.Token, ttl time.Duration) (secret string, made console.Token, err error)
	// Withdraw ends one: of the user's own, or with an empty id of the user any.
	Withdraw(ctx context.Context, by, userID, id string) error
}

// People is all that the API needs to know of users.
type People interface {
	Doors
	Issuers
	Users
	Keys
}

// Facts are what the status page says besides the inputs.
type Facts struct {
	Dark        Dark
	StoreBytes  int64
	Attribution []string // of the data sets in use, as their licences demand
}

// IoT is the dated table of ports at which IoT devices are attacked.
type IoT struct {
	Dated string   // "2026-11-01"
	Ports []uint32 // keys as observe.ByPort
}

// RefYear is one published yearly total to compare with.
type RefYear struct {
	Year          int    `json:"year"`
	Packets       uint64 `json:"packets"`
	DarkAddresses uint64 `json:"dark_addresses" doc:"0 when it wasn't published"`
	Published     string `json:"published" doc:"date of the publication"`
	Source        string `json:"source"`
}

// Version names the program.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Deps is all that the API stands on. Archive, Inputs, Tokens and Clock are
// needed; what else is nil answers "none" or isn't found.
type Deps struct {
	Archive Archive
	Inputs  Inputs
	Tokens  Tokens
	People  People  // nil: there are tokens alone
	Notices Notices // nil: nobody is told anything
	Office  *Office // nil: nothing is known of subscribers

	Attacks     Attacks     // nil: no flows are looked at
	Mitigations Mitigations // nil: nothing is done against floods
	Replays     Replays     // nil: no flows are kept
	Incidents   Incidents   // nil: nothing is known of routes
	Routes      Routes      // nil: no table of routes is kept
	Remedies    Remedies    // nil: nothing is done about route incidents
	Clock       clock.Clock // the wall clock
	Findings    Findings
	Jobs        Jobs
	Geo         Geo
	Research    Research
	Rising      Rising
	Live        *Live
	Log         *slog.Logger
	Facts       func() Facts
	Own         func(netip.Addr) bool // the operator's own subscribers; their addresses are masked
	Static      fs.FS                 // the built pages, nil for an API alone

	// Local tells whether a token is that of who works at this machine, and who it is.
	// Nil: nobody does.
	Local func(console.Token) (who string, is bool)

	Flows     Flows     // nil: no flows are kept
	Exporters Exporters // nil: nobody exports any

	IoT       IoT
	Reference []RefYear
	Version   Version
	Demo      bool
	Speed     float64 // of the replay: 0 and 1 are real time

	Hosts       []string       // host names besides the loopback ones, without port
	Secret      []byte         // 32 bytes; keeps cursors good over a restart. Nil: made anew
	Secure      bool           // browsers come by https, through a proxy that speaks TLS
	Proxies     []netip.Prefix // whose X-Forwarded-For is believed
	SessionTTL  time.Duration  // 0: 12 hours
	ImportBytes int64          // largest body of an import; 0: 64 GiB
}

// ErrNoGrant is what a port returns where no grant in force allows what it takes one for.
var ErrNoGrant = errors.New("no grant in force allows this")

// ErrNotFound is what a port returns for something that isn't there.
var ErrNotFound = console.ErrNotFound

// Refusal is an error that a port explains to the person who asked: the API
// answers 422 with these words.
type Refusal = console.Refusal
