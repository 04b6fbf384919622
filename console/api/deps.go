package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"time"

	"sakimori/base/clock"
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

// Tokens keeps who may use the API. Redeem returns ErrToken for a secret that
// isn't good, for whatever reason.
type Tokens interface {
	// Issue makes a token of t's Kind, Role, User and Parent that expires after
	// ttl. The secret is given once and never stored.
	Issue(t Token, ttl time.Duration) (secret string, issued Token, err error)
	// Redeem checks a secret. A Login token is spent by it.
	Redeem(secret string, kinds ...TokenKind) (Token, error)
	Revoke(id string) error
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
	Archive  Archive
	Inputs   Inputs
	Tokens   Tokens
	Clock    clock.Clock // the wall clock
	Findings Findings
	Jobs     Jobs
	Geo      Geo
	Research Research
	Rising   Rising
	Live     *Live
	Log      *slog.Logger
	Facts    func() Facts
	Own      func(netip.Addr) bool // the operator's own subscribers; their addresses are masked
	Static   fs.FS                 // the built pages, nil for an API alone

	IoT       IoT
	Reference []RefYear
	Version   Version
	Demo      bool
	Speed     float64 // of the replay: 0 and 1 are real time

	Hosts        []string      // host names besides the loopback ones, without port
	Secret       []byte        // 32 bytes; keeps cursors good over a restart. Nil: made anew
	SecureCookie bool          // behind a proxy that speaks TLS
	SessionTTL   time.Duration // 0: 12 hours
	ImportBytes  int64         // largest body of an import; 0: 64 GiB
}

// ErrNotFound is what a port returns for something that isn't there.
var ErrNotFound = errors.New("not found")

// ErrToken is what Tokens.Redeem returns for a secret that isn't good.
var ErrToken = errors.New("this token isn't valid: it may have expired, been used or been revoked")

// Refusal is an error that a port explains to the person who asked: the API
// answers 422 with these words.
type Refusal struct{ Text detect.Text }

// Error is the English text.
func (r *Refusal) Error() string { return r.Text.EN }
