package rpz

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/lawful"
)

// Ground is what a block of everybody rests on: a lawful.Grant is one.
type Ground interface {
	// AllowsAll tells whether the measure may be taken for everyone who consents to its
	// purpose, by a means that itself leaves out who doesn't.
	AllowsAll(m lawful.Measure, now time.Time) bool
	ID() string
	Rule() string
	Until() time.Time
}

// Basis is the ground of a publication, as it is kept.
type Basis struct {
	Grant string    `json:"grant"`
	Rule  string    `json:"rule"`
	Until time.Time `json:"until"`
}

// Kind is how a serial came about.
type Kind string

// The kinds.
const (
	Begun      Kind = "begun"       // the zone was made, empty
	Published  Kind = "published"   // rules came or went
	RolledBack Kind = "rolled_back" // to those of a former serial
	Emptied    Kind = "emptied"     // there is no ground any more
	Paused     Kind = "paused"      // emptied for a while
	Resumed    Kind = "resumed"
)

// Publication is what is known of one serial. It is never changed.
type Publication struct {
	Zone    Zone      `json:"zone"`
	Serial  uint32    `json:"serial"`
	Kind    Kind      `json:"kind"`
	At      time.Time `json:"at"`
	Who     string    `json:"who"`
	Why     string    `json:"why"`
	Basis   *Basis    `json:"basis,omitempty"`
	Of      uint32    `json:"of,omitempty"` // the serial that was rolled back to, paused or resumed
	Rules   int       `json:"rules"`
	Added   int       `json:"added"`   // a rule that changed is both
	Removed int       `json:"removed"` //
	Digest  string    `json:"digest"`  // see Set.Digest; hexadecimal
	Refs    []string  `json:"refs,omitempty"`
}

// Version is what a zone is at a serial. Nobody changes it.
type Version struct {
	Publication
	Set *Set
}

// State is the zone's, in one word: published, empty or paused.
func (p *Publication) State() string {
	switch p.Kind {
	case Emptied:
		return "empty"
	case Paused:
		return "paused"
	}
	return "published"
}

// Answer is the rule that answers a name, or a client by its address.
func (v *Version) Answer(nameOrAddress string) (r Rule, found bool, err error) {
	if a, err := netip.ParseAddr(nameOrAddress); err == nil {
		r, found = v.Set.MatchClient(a)
		return r, found, nil
	}
	n, err := dns.ParseName(nameOrAddress)
	if err != nil {
		return r, false, err
	}
	r, found = v.Set.Match(n)
	return r, found, nil
}

// Recorder writes down what will be published, before anybody can see it.
type Recorder interface {
	Record(ctx context.Context, p Publication) error
}

// Why something isn't published.
var (
	ErrGround  = errors.New("blocks need a ground that is in force: ask the gate for it, or empty the zone")
	ErrPaused  = errors.New("the zone is paused: resume it first")
	ErrUnknown = errors.New("no such zone or serial is kept")
	ErrMoved   = errors.New("it was published meanwhile: look at what it is now")
	ErrBusy    = errors.New("another process has the policy zones open")
)

// How long a resolver that has lost its primary goes on with what it has, in seconds. Then
// it can't learn any more who has withdrawn, so blocks end first, and exceptions a week
// later: nobody is blocked because the one who'd have let them through went away.
const (
	blocksExpire     = 6 * 3600
	exceptionsExpire = 7 * 24 * 3600
)

// blocks tells whether the zone keeps communications from happening.
func (z Zone) blocks() bool { return z == C2 || z == Emergency }

// StartRecord is the zone's SOA record at a serial, for messages whose question is the
// zone's name. NOTIFY makes resolvers ask; they ask by themselves each 5 minutes.
func StartRecord(z Zone, serial uint32) []byte {
	s := dns.Start{
		Primary: localhost, Mail: dns.Name("\x0ahostmaster\x09localhost\x00"), Serial: serial,
		Refresh: 300, Retry: 60, Expire: exceptionsExpire, Minimum: TTL,
	}
	if z.blocks() {
		s.Expire = blocksExpire
	}
	return dns.AppendRR(nil, dns.ToQuestion, dns.SOA, dns.IN, TTL, s.Append(nil))
}

var localhost = dns.Name("\x09localhost\x00")

// ServerRecord is the zone's NS record. It names no host below the zone, which would need
// an address there: a resolver that finds none doesn't load the zone, and blocks nothing.
func ServerRecord() []byte {
	return dns.AppendRR(nil, dns.ToQuestion, dns.NS, dns.IN, TTL, localhost)
}

// After tells whether serial a is later than b (RFC 1982).
func After(a, b uint32) bool { return a != b && int32(a-b) > 0 } // #nosec G115 -- the arithmetic of serials

// next is the serial behind one. 0 is left out: some take it for none.
func next(serial uint32) uint32 {
	if serial++; serial == 0 {
		serial = 1
	}
	return serial
}
