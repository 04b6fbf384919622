// Package detect says what the sightings mean.
//
// Its noun is the Finding: a statement about an address, a port or a network,
// with the evidence for it and how sure it is, opened once, changed while it
// lasts, and closed. A finding accuses nobody beyond its evidence, and starts
// no act: what is done about it is for package respond, with a Grant.
package detect

import (
	"fmt"
	"strconv"
	"time"

	"sakimori/base/wire/packet"
)

// Finding is one statement and its life so far.
type Finding struct {
	ID         string    `json:"id"`       // stable: the same input gives the same id
	Detector   string    `json:"detector"` // infected, ddos or surge
	Subject    string    `json:"subject"`  // what it is about: an address, "23/tcp", "JP", "AS4713"
	State      State     `json:"state"`
	Severity   Severity  `json:"severity"`
	Confidence float64   `json:"confidence"` // 0 to 1, see the detector for its meaning
	Opened     time.Time `json:"opened"`     // time of the first packet that counts
	Changed    time.Time `json:"changed"`    // when this version was made, in the time of the data
	Closed     time.Time `json:"closed,omitzero"`
	Title      Text      `json:"title"`
	Why        Text      `json:"why"`      // the reasoning, in a sentence or two
	Evidence   []Fact    `json:"evidence"` // in a fixed order
}

// State is where a finding is in its life.
type State string

// The states. A closed finding isn't opened again: a recurrence is a new one.
const (
	Opened  State = "opened"
	Changed State = "changed"
	Closed  State = "closed"
)

// Severity orders the work list.
type Severity int

// The severities, most urgent first.
const (
	Urgent Severity = iota + 1 // now, whatever the hour
	Soon                       // this shift
	Note                       // worth knowing
)

// Text is what a person reads, in both languages of the house.
type Text struct {
	JA string `json:"ja"`
	EN string `json:"en"`
}

// Fact is one piece of evidence: a figure and, where it can be off, by how much.
type Fact struct {
	Key   string `json:"key"`             // stable, for programs: "packets", "family"
	Value string `json:"value"`           // as printed
	Unit  string `json:"unit,omitempty"`  // "packets/s", "addresses"
	Error string `json:"error,omitempty"` // "±0.8 %", or the floor of what can be seen
}

// Textf formats both languages with the same arguments.
func Textf(ja, en string, args ...any) Text {
	return Text{JA: fmt.Sprintf(ja, args...), EN: fmt.Sprintf(en, args...)}
}

// Findings takes each new version of a finding. Detectors call it; the store
// and the console implement it.
type Findings interface {
	Find(f Finding)
}

// Detector is what cmd needs of every detector besides its sightings: State
// and Restore carry it over a restart, and Tick tells it that the data's time
// has come to at, so that findings close although nothing more is seen.
type Detector interface {
	Tick(at time.Time)
	State() ([]byte, error)
	Restore(state []byte) error
}

// PortName writes a port as findings do: 23/tcp; of ICMP type and code.
func PortName(port uint16, proto uint8) string {
	switch proto {
	case packet.TCP:
		return fmt.Sprintf("%d/tcp", port)
	case packet.UDP:
		return fmt.Sprintf("%d/udp", port)
	case packet.ICMP:
		return fmt.Sprintf("ICMP %d/%d", port>>8, port&0xff)
	case packet.ICMPv6:
		return fmt.Sprintf("ICMPv6 %d/%d", port>>8, port&0xff)
	}
	return fmt.Sprintf("%d/proto-%d", port, proto)
}

// Grouped writes 1,234,567.
func Grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
