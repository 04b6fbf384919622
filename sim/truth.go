package sim

import (
	"net/netip"
	"time"
)

// Truth says what a capture holds and what everybody in it is. It is added up
// from the packets as they are written, except Surges, which the scene states.
//
// Records are of the whole capture: a telescope that ends an event after a
// silence may tell one of them in several parts.
type Truth struct {
	Scene string         `json:"scene"`
	Note  string         `json:"note"`
	Seed  uint64         `json:"seed"`
	Dark  []netip.Prefix `json:"dark"`
	Own   []netip.Prefix `json:"own"`
	// Research are the prefixes that research scanners send from, for a
	// telescope to be told of.
	Research []netip.Prefix `json:"research"`
	// Verified are those of Own in whose name nobody else can send.
	Verified []netip.Prefix `json:"verified,omitempty"`

	Packets       uint64    `json:"packets"`         // frames written
	DarkPackets   uint64    `json:"dark_packets"`    // to dark space, not from it, readable
	FromDark      uint64    `json:"from_dark"`       // from dark space, whatever the target
	Malformed     uint64    `json:"malformed"`       // unreadable IP headers: contradicting themselves, or cut off
	LaterFragment uint64    `json:"later_fragments"` // dark packets that belong to one counted before: in no class
	First         time.Time `json:"first"`
	Last          time.Time `json:"last"`

	DarkAddresses struct {
		Monitored uint64 `json:"monitored"` // IPv4
		Hit       uint64 `json:"hit"`       // IPv4
		Hit6      uint64 `json:"hit6"`
	} `json:"dark_addresses"`
	UniqueSources uint64  `json:"unique_sources"` // of dark packets
	Classes       Classes `json:"classes"`

	Scanners      []Scanner  `json:"scanners"`      // whoever asked on purpose, one for each source, port and protocol
	Victims       []Victim   `json:"victims"`       // one for each attack; see Attack for the thresholds
	Infected      []Infected `json:"infected"`      // own subscribers
	Misconfigured []Quiet    `json:"misconfigured"` // not to be accused
	Benign        []Quiet    `json:"benign"`        // not to be accused
	Surges        []Surge    `json:"surges"`
	Ports         []Port     `json:"ports"` // packets of class scan, by port

	Spoofed uint64 `json:"spoofed"` // dark packets whose source address is forged, backscatter not among them
	Keys    uint64 `json:"keys"`    // distinct (source, port, protocol, class) of dark packets
}

// Classes counts dark packets by their form. A datagram in fragments counts once.
type Classes struct {
	Scan        uint64 `json:"scan"`
	Backscatter uint64 `json:"backscatter"`
	Reflection  uint64 `json:"reflection"`
	Other       uint64 `json:"other"`
}

// Class is the class of a packet by its form alone, numbered as everywhere in
// the house.
type Class uint8

// The classes, and Apart for what is in none: not to dark space, from it, a
// later fragment, or not readable.
const (
	Other Class = iota
	ByScan
	ByBackscatter
	ByReflection
	Apart
)

// String is the class in the words of the API; "" for Apart.
func (c Class) String() string {
	return [...]string{"other", "scan", "backscatter", "reflection", ""}[c]
}

// Role is what the sender of a packet is in truth, whatever its form.
type Role uint8

// The roles.
const (
	RoleScanner       Role = iota // looks for hosts
	RoleBot                       // infected, looks for more
	RoleResearch                  // looks for hosts and says so openly
	RoleSlow                      // scanner that stays below the usual rates
	RoleVertical                  // scanner of many ports of few hosts
	RoleVictim                    // answers a flood with forged sources
	RoleReflector                 // is made to send amplified answers
	RoleMisconfigured             // keeps asking one or two addresses for a service
	RoleLeftover                  // peer-to-peer traffic to an address that was a peer once
	RoleBenign                    // a person's curl or ping
	RoleForged                    // the source address isn't the sender's
	RoleDarkHost                  // a dark address that isn't dark
	RoleSolicited                 // answers a dark address that had asked
	RoleBroken                    // fragments and corrupted packets
	RoleBystander                 // neither to nor from dark space
)

var roles = [...]string{
	"scanner", "bot", "research", "slow", "vertical", "victim", "reflector", "misconfigured",
	"leftover", "benign", "forged", "dark-host", "solicited", "broken", "bystander",
}

// String is the role in one word.
func (r Role) String() string { return roles[r] }

// MarshalText writes the role as its word.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Scanner is a source that asked dark addresses for one port.
type Scanner struct {
	Source   netip.Addr `json:"source"`
	Role     Role       `json:"role"`
	Port     uint16     `json:"port"` // 0 for a vertical scan; type<<8|code for ICMP
	Protocol uint8      `json:"protocol"`
	Kind     string     `json:"kind"`
	Tool     string     `json:"tool"`
	Versions string     `json:"versions"`
	// Nameable says that the form of its packets is enough to name the tool,
	// given enough of them.
	Nameable bool      `json:"nameable"`
	Packets  uint64    `json:"packets"`
	Targets  uint64    `json:"targets"`         // distinct dark addresses
	Ports    uint64    `json:"ports,omitempty"` // of a vertical scan
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Own      bool      `json:"own"`
}

// Victim is one attack on one service, as its backscatter shows it: a run of
// answers without a silence longer than 300 s.
type Victim struct {
	Address  netip.Addr `json:"address"`
	Port     uint16     `json:"port"`     // attacked
	Protocol uint8      `json:"protocol"` // attacked; the answers may be ICMP
	Kind     string     `json:"kind"`     // of its first answer
	Packets  uint64     `json:"packets"`
	First    time.Time  `json:"first"`
	Last     time.Time  `json:"last"`
	Peak     uint64     `json:"peak"`   // most packets in 60 s, windows sliding by 10 s
	Attack   bool       `json:"attack"` // meets the RSDoS thresholds: >= 25 packets, >= 60 s, peak >= 30
	Own      bool       `json:"own"`
}

// Infected is an own subscriber that looks for hosts to infect.
type Infected struct {
	Address netip.Addr `json:"address"`
	Family  string     `json:"family"` // "mirai", or "unknown"
	Port    uint16     `json:"port"`   // most asked for
	Ports   []uint16   `json:"ports"`
	Packets uint64     `json:"packets"`
	Targets uint64     `json:"targets"` // of Port
	First   time.Time  `json:"first"`
	Last    time.Time  `json:"last"`
}

// Quiet is a source that sends to dark space without meaning harm.
type Quiet struct {
	Address  netip.Addr `json:"address"`
	Role     Role       `json:"role"`
	Port     uint16     `json:"port"`
	Protocol uint8      `json:"protocol"`
	Packets  uint64     `json:"packets"`
	Targets  uint64     `json:"targets"`
	Own      bool       `json:"own"`
}

// Surge is a rise that ought to be found.
type Surge struct {
	Dim  string    `json:"dim"` // "port" or "country"
	Key  string    `json:"key"` // "2323/tcp", "JP"
	New  bool      `json:"new"` // never seen before
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Port is what was asked for on one port. Port and protocol are the key; ICMP
// has type<<8|code.
type Port struct {
	Port     uint16 `json:"port"`
	Protocol uint8  `json:"protocol"`
	Packets  uint64 `json:"packets"`
	Sources  uint64 `json:"sources"`
}

// Label is the truth of one packet.
type Label struct {
	Time           int64 // Unix nanoseconds
	Source, Target netip.Addr
	Class          Class
	Role           Role
	Tool           Tool
	Port           uint16
	Protocol       uint8
}
