package detect

import (
	"net/netip"
	"time"
)

// Incident is one event of routing through its whole life, whatever the number of
// prefixes, peers and messages that show it: opened once, changed while it lasts, closed
// when the routes are gone. Every version of it has the same ID. What comes again at the
// same place within the hold-down is the same incident.
type Incident struct {
	ID    string       `json:"id"` // stable: the same input gives the same id
	State State        `json:"state"`
	Kind  IncidentKind `json:"kind"`
	Form  string       `json:"form"` // of the kind: "exact", "more-specific", "squatting", "first-hop"; of a leak RFC 7908's "type 1" … "type 6", "" can't be told
	// Also names the other forms in which it shows.
	Also []string `json:"also,omitempty"`

	Opened   time.Time `json:"opened"`   // the first update that counts, in the time of the data
	Detected time.Time `json:"detected"` // when it was told: Detected − Opened is the delay
	Changed  time.Time `json:"changed"`  // when this version was made
	Last     time.Time `json:"last"`     // the last update that belongs to it
	Closed   time.Time `json:"closed,omitzero"`
	Restored bool      `json:"restored"` // closed because the routes are gone, and not because nobody tells of them any more
	Waves    int       `json:"waves"`    // how often it rose

	Severity   Severity `json:"severity"`
	Confidence float64  `json:"confidence"` // 0 to 1, see the detector for its meaning
	Title      Text     `json:"title"`
	Why        Text     `json:"why"` // the decision in a sentence or two, with its figures
	Signals    []Signal `json:"signals"`

	Leaker uint32 `json:"leaker"` // the AS at fault, or that announces what isn't its own; 0 can't be told
	From   uint32 `json:"from"`   // from whom it had the routes; 0 they are its own, or several
	To     uint32 `json:"to"`     // to whom it passed them; 0 several
	// Adjacency is To-Leaker as paths show it, "701-15169"; "" where there is no single one.
	Adjacency string   `json:"adjacency"`
	Origins   []uint32 `json:"origins"` // announced origins of the prefixes, the most frequent first, at most 32
	Expected  []uint32 `json:"expected"`

	Prefixes     Counted        `json:"prefixes"`      // distinct, in all
	Now          int            `json:"now"`           // still routed so
	Peak         int            `json:"peak"`          // at its height
	MoreSpecific int            `json:"more_specific"` // of them, strictly inside a known route that they aren't the owner's usual splitting of
	Addresses    float64        `json:"addresses"`     // IPv4 addresses that the prefixes cover, each once
	Networks64   float64        `json:"networks64"`    // IPv6 /64 networks
	Own          []OwnSpace     `json:"own"`           // own and customers' space that is hit
	Sample       []HitPrefix    `json:"sample"`        // of the prefixes, own ones first, at most 256
	Whose        []Share        `json:"whose"`         // origins "AS4713" by prefixes; Packets is their number
	Peers        []PeerSight    `json:"peers"`         // who sees it, the first first, at most 64
	Seen         int            `json:"seen"`          // peers that see it
	Whole        int            `json:"whole"`         // peers that could: with a whole table
	Lanes        []Lane         `json:"lanes"`         // the paths as they should be beside the paths as they are, the most used first, at most 32
	Evidence     []RouteMessage `json:"evidence"`      // raw messages, the first of each peer first, at most 32
	History      []IncidentStep `json:"history"`       // what happened, the oldest first, at most 256
}

// IncidentKind is what happened.
type IncidentKind string

// The kinds.
const (
	Leak      IncidentKind = "leak"      // routes passed on beyond where they may go (RFC 7908)
	Hijack    IncidentKind = "hijack"    // somebody announces what isn't theirs
	Outage    IncidentKind = "outage"    // own space isn't seen any more
	Blackhole IncidentKind = "blackhole" // a route to be discarded left its scope
	Bogon     IncidentKind = "bogon"     // space or numbers that nobody may announce
)

// Signal is one sign and what it weighs.
type Signal struct {
	Name  string  `json:"name"`  // "unexpected-transit", "valley", …: see the detector's table
	Score float64 `json:"score"` // 0 to 1: how sure it makes by itself
	Count int     `json:"count"` // routes that show it
	Words Text    `json:"words"` // with its figures
}

// OwnSpace is a part of own or customers' space that is hit.
type OwnSpace struct {
	Prefix    netip.Prefix `json:"prefix"` // as configured
	Name      string       `json:"name"`   // of the customer, "" own
	Prefixes  int          `json:"prefixes"`
	Addresses float64      `json:"addresses"`
}

// HitPrefix is one prefix of an incident.
type HitPrefix struct {
	Prefix   netip.Prefix `json:"prefix"`
	Origin   uint32       `json:"origin"` // as announced, 0 can't be told
	Expected []uint32     `json:"expected,omitempty"`
	Cover    netip.Prefix `json:"cover,omitzero"` // the known route around it
	ROV      string       `json:"rov"`
	First    time.Time    `json:"first"`
	Gone     time.Time    `json:"gone,omitzero"`
	Own      bool         `json:"own"`
}

// PeerSight is how one peer sees an incident.
type PeerSight struct {
	Peer     uint32    `json:"peer"` // number in the table
	Feed     string    `json:"feed"`
	Address  string    `json:"address"`
	AS       uint32    `json:"as"`
	First    time.Time `json:"first"`
	Prefixes int       `json:"prefixes"`
	Weight   float64   `json:"weight"` // 0 to 1: how far it is believed
}

// Lane is one way of traffic, as it should be and as it is.
type Lane struct {
	Prefix netip.Prefix `json:"prefix"`         // an example
	Cover  netip.Prefix `json:"cover,omitzero"` // where the usual way is that of a route around it
	Peer   uint32       `json:"peer"`           // the vantage point's AS
	Usual  []uint32     `json:"usual"`          // AS path, the vantage point first; empty: not known
	Is     []uint32     `json:"is"`             // empty: no way any more
	Routes int          `json:"routes"`         // that take it
	First  time.Time    `json:"first"`
	Last   time.Time    `json:"last,omitzero"` // until then; zero: it lasts
}

// RouteMessage is a message as it came.
type RouteMessage struct {
	At      time.Time `json:"at"`
	Peer    uint32    `json:"peer"` // AS
	Address string    `json:"address"`
	Feed    string    `json:"feed"`
	Raw     []byte    `json:"raw"` // BGP message with its header
}

// IncidentStep is one point of an incident's life.
type IncidentStep struct {
	At       time.Time `json:"at"`
	Step     string    `json:"step"`     // opened, grown, shrunk, peer, restored, closed, reopened
	Prefixes int       `json:"prefixes"` // then
	Peers    int       `json:"peers"`
	Words    Text      `json:"words"`
}

// RoutePoint is ten seconds of an incident's course, for the picture.
type RoutePoint struct {
	At        int64 `json:"at"`       // Unix seconds of their beginning
	Prefixes  int   `json:"prefixes"` // routed so at their end
	Announced int   `json:"announced"`
	Withdrawn int   `json:"withdrawn"`
	Peers     int   `json:"peers"` // that see it
}

// RouteStep is the length of a RoutePoint in seconds.
const RouteStep = 10

// Incidents takes each new version of an incident, and its course: a point may come
// again, more complete. Detectors call it; the store, the console and who proposes what to
// do hear of it there.
type Incidents interface {
	Incident(i Incident)
	IncidentCourse(id string, points []RoutePoint)
}
