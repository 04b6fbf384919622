// Package cnc keeps the operator's own list of C&C servers.
//
// A source's claim is a candidate and no more. It is looked at, scored, reviewed by a
// person (by two where many people would notice), watched in shadow for a day, and only
// then enforced, until a date that each entry has. Every change says who made it and why;
// what was in force at a time, and on which evidence, can be told for ever.
package cnc

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
)

//go:embed migrations
var migrations embed.FS

// Entry is one thing on the list.
type Entry struct {
	ID        string                `json:"id"` // of kind and value: the same for ever
	Kind      observe.IndicatorKind `json:"kind"`
	Value     string                `json:"value"`
	Port      uint16                `json:"port,omitzero"`
	Role      observe.Role          `json:"role"`
	Family    string                `json:"family"`
	State     State                 `json:"state"`
	Score     float64               `json:"score"` // as of Scored, see Explain
	Scored    time.Time             `json:"scored"`
	First     time.Time             `json:"first_seen,omitzero"`
	Last      time.Time             `json:"last_seen,omitzero"`
	Opened    time.Time             `json:"opened"`
	Changed   time.Time             `json:"changed"`
	Expires   time.Time             `json:"expires"`
	Shadow    time.Time             `json:"shadow,omitzero"` // since when would-be hits are counted
	Hits      int64                 `json:"hits_total"`
	Would     int64                 `json:"would_total"`
	Hit       time.Time             `json:"last_hit,omitzero"`
	Sinkholed bool                  `json:"sinkholed"` // detected, and not blocked
	Emergency bool                  `json:"emergency"` // by the quick lane
	Barred    bool                  `json:"barred"`    // a person took it out: no source brings it back
	Looked    bool                  `json:"looked"`    // the chain of its name was followed
	Agreed    bool                  `json:"agreed"`    // a person agreed to it, not a rule
	Two       *detect.Text          `json:"needs_two"` // why two people decide; nil one does
	Waits     *detect.Text          `json:"waits"`     // why it waits for a person; nil it doesn't
	Reason    *detect.Text          `json:"reason"`    // of its state
	Sources   []Said                `json:"sources"`   // filled by Get, and by Queries that ask for it
	Reviews   []Review              `json:"reviews"`   // of this round; as well

	key int64
	due time.Time
}

// InForce tells whether it is blocked.
func (e *Entry) InForce() bool { return e.State == Enforced && !e.Sinkholed }

// Said is what a source says of an entry, from one reading to another.
type Said struct {
	Source     string    `json:"source"`
	Evidence   string    `json:"evidence"`
	Confidence float64   `json:"confidence"`
	Family     string    `json:"family"`
	First      time.Time `json:"first,omitzero"`
	Last       time.Time `json:"last,omitzero"`
	Until      time.Time `json:"until,omitzero"`
	Since      time.Time `json:"since"`         // of the reading that brought it
	Gone       time.Time `json:"gone,omitzero"` // of the one that didn't have it any more

	key    int64
	digest int64
}

// Review is what a person decided.
type Review struct {
	Who     string    `json:"who"`
	At      time.Time `json:"at"`
	Verdict string    `json:"verdict"` // yes or no
	Why     string    `json:"why"`
}

// Event is one step of an entry's life.
type Event struct {
	At   time.Time   `json:"at"`
	Who  string      `json:"who"`
	What string      `json:"what"` // a state, or what else happened: see Words
	Why  detect.Text `json:"why"`
}

// Source is how far a source is believed.
type Source struct {
	Name       string
	Trust      float64       // 0 to 1
	Confidence float64       // of an indicator that tells none
	HalfLife   time.Duration // in which a claim loses half of its weight
	Base       Base          // from when it does
	TTL        time.Duration // for how long an entry is listed after the last reading that has it
	Auto       bool          // it needs no person, where two aren't needed
}

// Base is the date from which a claim loses weight.
type Base string

// The bases.
const (
	FromLast  Base = "last"  // the source last saw it; or last said it, where that isn't told
	FromFirst Base = "first" // the source first saw it; or first said it
	FromCame  Base = "came"  // it first came to us
)

// Config are the operator's rules.
type Config struct {
	Sources []Source
	Other   Source        // any other source
	Most    time.Duration // no entry is listed longer without being said again
	Shadow  time.Duration // would-be hits are counted for so long
	Would   int64         // more of them, and a person looks before it is enforced; 0 no bound
	Clients float64       // more clients a day who'd lose a name, and two people decide; 0 no bound
	Review  float64       // score from which a person is asked
	Auto    float64       // score from which a source that needs no person isn't waited for
	Archive time.Duration // after its end an entry is put away
	Breaker Breaker

	Never    *never.Lists
	Resolver Resolver // nil: chains of names aren't followed
	Blast    Blast    // nil: it isn't known who'd lose a name
}

// DefaultConfig are the house's rules.
func DefaultConfig() Config {
	const day = 24 * time.Hour
	return Config{
		Other: Source{Trust: 0.5, Confidence: 0.5, HalfLife: 30 * day, Base: FromLast, TTL: 30 * day},
		Most:  90 * day, Shadow: day, Would: 100_000, Clients: 100, Review: 0.1, Auto: 0.5, Archive: 90 * day,
		Breaker: DefaultBreaker(), Never: never.New(),
	}
}

// Check says what is wrong with rules.
func (c *Config) Check() error {
	for _, s := range append([]Source{c.Other}, c.Sources...) {
		name := s.Name
		if name == "" {
			name = "other"
		}
		switch {
		case s.Trust < 0 || s.Trust > 1 || s.Confidence < 0 || s.Confidence > 1:
			return fmt.Errorf("source %s: trust and confidence are from 0 to 1", name)
		case s.HalfLife <= 0 || s.TTL <= 0 || s.TTL > c.Most:
			return fmt.Errorf("source %s: half_life is above 0, and ttl above 0 and at most %s: nothing is listed without an end", name, c.Most)
		case s.Base != FromLast && s.Base != FromFirst && s.Base != FromCame:
			return fmt.Errorf("source %s: base %q: use last, first or came", name, s.Base)
		}
	}
	if c.Most <= 0 || c.Shadow < 0 || c.Archive <= 0 || c.Never == nil {
		return errors.New("the longest time on the list and in its archive are above 0, and there are lists of what is never listed")
	}
	return nil
}

// Resolver follows the chain of a name: what it is an alias of, step by step, and last
// its addresses.
type Resolver interface {
	Chain(ctx context.Context, name string) ([]string, error)
}

// Blast says who'd lose a name: clients a day, with its error (0.02: ±2 %). known is
// false where that isn't counted. Beside is what else lives there.
type Blast interface {
	Clients(ctx context.Context, name string) (perDay, err float64, known bool)
	Beside(ctx context.Context, name string) []string
}

// Deed is what is written into the ledger of a decision.
type Deed struct {
	Who     string      `json:"-"`
	What    string      `json:"what"`
	Entry   string      `json:"entry,omitempty"` // "" many
	Value   string      `json:"value,omitempty"`
	Source  string      `json:"source,omitempty"`
	Reading string      `json:"reading,omitempty"`
	Digest  string      `json:"digest,omitempty"`
	Counts  *Counts     `json:"counts,omitempty"`
	Why     detect.Text `json:"why"`
}

// Counts are the figures of a deed about many.
type Counts struct {
	Read      int `json:"read,omitempty"`
	Added     int `json:"added,omitempty"`
	Removed   int `json:"removed,omitempty"`
	Changed   int `json:"changed,omitempty"`
	Protected int `json:"protected,omitempty"`
	Entries   int `json:"entries,omitempty"`
}

// Recorder writes a deed into the ledger, in the transaction that does it. Lock is called
// at the beginning of it.
type Recorder interface {
	Lock(ctx context.Context, tx *relation.Tx) error
	Record(ctx context.Context, tx *relation.Tx, d Deed) error
}

// List is the operator's. It may be used by many goroutines, and processes.
type List struct {
	db       *relation.DB
	clock    clock.Clock
	recorder Recorder
	cfg      Config
	sources  map[string]Source
	small    int // see there

	mu   sync.Mutex // of what follows
	sums *Summary   // as of version
	asOf int64
}

// Open prepares the tables.
func Open(ctx context.Context, db *relation.DB, c clock.Clock, r Recorder, cfg Config) (*List, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "cnc", files); err != nil {
		return nil, err
	}
	l := &List{db: db, clock: c, recorder: r, cfg: cfg, sources: map[string]Source{}, small: small}
	for _, s := range cfg.Sources {
		l.sources[s.Name] = s
	}
	if _, told := l.sources[Operator]; !told {
		l.sources[Operator] = Source{Trust: 1, Confidence: 0.9, HalfLife: cfg.Most, Base: FromLast, TTL: cfg.Most}
	}
	return l, nil
}

// Operator is the source of what people of the house add.
const Operator = "operator"

// SourceOf is how far a source is believed.
func (l *List) SourceOf(name string) Source {
	s, told := l.sources[name]
	if !told {
		s = l.cfg.Other
	}
	s.Name = name
	return s
}

// The errors of a list.
var (
	ErrUnknown   = errors.New("there is no such entry on the list")
	ErrOrder     = errors.New("an entry can't go from one state to the other")
	ErrWhy       = errors.New("a change says who makes it and why")
	ErrTwice     = errors.New("the same person can't decide twice: somebody else has to")
	ErrProtected = errors.New("it is never listed")
	ErrValue     = errors.New("not what the list holds")
	ErrExpires   = errors.New("an entry has an end, which is to come")
	ErrRole      = errors.New("only C&C servers are blocked")
	ErrReading   = errors.New("the reading can't be taken in")
)

// ProtectedError says which list protects what.
type ProtectedError struct{ never.Verdict }

func (e *ProtectedError) Error() string {
	return fmt.Sprintf("%v: %s is on %s", ErrProtected, e.Name, e.List)
}

// Is makes it an ErrProtected.
func (e *ProtectedError) Is(target error) bool { return target == ErrProtected }

// keyOf is the key of an entry, and more of the same sum.
func keyOf(kind observe.IndicatorKind, value string) (key int64, more uint64) {
	var room [256]byte
	b := append(append(append(room[:0], kind...), 0), value...)
	sum := sha256.Sum256(b)
	return int64(binary.BigEndian.Uint64(sum[:]) >> 1), binary.BigEndian.Uint64(sum[8:])
}

// idOf writes a key.
func idOf(key int64) string {
	id := [18]byte{'i', '-'}
	for i := range 16 {
		id[2+i] = "0123456789abcdef"[key>>(60-4*i)&15]
	}
	return string(id[:])
}

// ID is the id that a thing has, whether it is listed or not.
func ID(kind observe.IndicatorKind, value string) string {
	k, _ := keyOf(kind, value)
	return idOf(k)
}

func parseID(id string) (int64, error) {
	hex, is := strings.CutPrefix(id, "i-")
	k, err := strconv.ParseInt(hex, 16, 64)
	if !is || err != nil || k < 0 {
		return 0, fmt.Errorf("%w: %.40q: an id looks like i-0123456789abcdef", ErrUnknown, id)
	}
	return k, nil
}

// Kinds are all kinds of entries.
func Kinds() []observe.IndicatorKind {
	return []observe.IndicatorKind{
		observe.IndicatorName, observe.IndicatorHost, observe.IndicatorAddress, observe.IndicatorEndpoint, observe.IndicatorPrefix, observe.IndicatorURL,
	}
}

// named tells whether an entry is found by a name's resolution.
func (e *Entry) named() bool {
	return e.Kind == observe.IndicatorName || e.Kind == observe.IndicatorHost
}

// live are those that are still said.
func live(said []Said) []Said {
	return slices.DeleteFunc(slices.Clone(said), func(s Said) bool { return !s.Gone.IsZero() })
}
