package detect

import (
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// Attack is one flood of one object through its whole life, as flows show it: opened
// once, changed while it lasts, closed. Every version of it has the same ID. What comes
// again within the hold-down is the same attack.
type Attack struct {
	ID        string    `json:"id"` // stable: the same input gives the same id
	State     State     `json:"state"`
	Direction Direction `json:"direction"`
	Object    Object    `json:"object"`

	Opened   time.Time `json:"opened"`   // the first second that counts, in the time of the data
	Detected time.Time `json:"detected"` // when it was told: Detected − Opened is the delay
	Changed  time.Time `json:"changed"`  // when this version was made
	Closed   time.Time `json:"closed,omitzero"`
	Pulses   int       `json:"pulses"` // how often it rose: 1, or more for a pulse attack

	Severity   Severity `json:"severity"`
	Confidence float64  `json:"confidence"` // 0 to 1, see the detector for its meaning
	Witnesses  []string `json:"witnesses"`  // "flow", "mirror", "backscatter", "names": one alone stays suspect
	Title      Text     `json:"title"`
	Why        Text     `json:"why"` // the decision in a sentence or two, with its figures and their error

	Now     Rate    `json:"now"`     // in the last second that was judged
	Peak    Rate    `json:"peak"`    // in its worst second
	Usual   *Rate   `json:"usual"`   // of the object at this hour of the week; nil not known
	Limit   Rate    `json:"limit"`   // the line that it crossed; 0 where there is none
	Packets Measure `json:"packets"` // in all, so far
	Bytes   Measure `json:"bytes"`

	Vectors []Vector `json:"vectors"` // by share, the largest first
	Targets Counted  `json:"targets"` // addresses of the object that are hit
	Hit     []Share  `json:"hit"`     // the most hit of them
	Sources Sources  `json:"sources"`
	Ingress []Share  `json:"ingress"` // "exporter/interface" by packets

	// What passed, as a sample of flows, and what is usual for the object: what a filter
	// is made of and judged by. Ordinary is from before the attack.
	Sample   []Sample `json:"sample"`
	Ordinary []Sample `json:"ordinary"`
}

// Direction says who is hit.
type Direction string

// The directions.
const (
	Incoming Direction = "incoming" // one of our objects is hit
	Outgoing Direction = "outgoing" // one of our addresses takes part
)

// Object is what is protected, watched or attacked.
type Object struct {
	Kind   ObjectKind   `json:"kind"`
	Prefix netip.Prefix `json:"prefix,omitzero"` // of an address or prefix
	Name   string       `json:"name"`            // of a customer or link; of an address or prefix the customer's, "" none
}

// ObjectKind is how wide an object is.
type ObjectKind string

// The kinds.
const (
	AddressObject  ObjectKind = "address"
	PrefixObject   ObjectKind = "prefix" // carpet bombing: no single address is over its line
	CustomerObject ObjectKind = "customer"
	LinkObject     ObjectKind = "link"
)

// Measure is a figure with its 95 % error, both in its own unit: 20 ± 4.
type Measure struct {
	N     float64 `json:"n"`
	Error float64 `json:"error"` // 0: exact
}

// Rate is how much a second.
type Rate struct {
	Packets Measure `json:"packets"`
	Bits    Measure `json:"bits"`
	Flows   Measure `json:"flows"`   // new sources or flows a second, as the rule that decided counts
	Covered bool    `json:"covered"` // every exporter told of this second already
}

// Vector is one way in which the object is hit.
type Vector struct {
	Name    string  `json:"name"` // "syn", "udp", "dns-amplification", …: see the detector's table
	Words   Text    `json:"words"`
	Share   float64 `json:"share"`    // of the attack's packets
	Bits    float64 `json:"bits"`     // share of its bits
	Packets Measure `json:"packets"`  // so far
	Proto   uint8   `json:"proto"`    // 0 several
	SrcPort uint16  `json:"src_port"` // 0 several
	DstPort uint16  `json:"dst_port"` // 0 several; ICMP type<<8|code
	Flags   string  `json:"flags,omitempty"`
	Length  Measure `json:"length"` // of a packet in bytes: mean, and its spread as Error
	Sources Counted `json:"sources"`
	Ports   []Share `json:"ports"` // destination ports, the busiest first
}

// Counted is how many distinct things there are.
type Counted struct {
	N     uint64  `json:"n"`
	Error float64 `json:"error"` // 95 %, in things; 0 exact
}

// Share is a thing and its part of the whole.
type Share struct {
	Key     string  `json:"key"`
	Share   float64 `json:"share"`   // of the packets
	Packets float64 `json:"packets"` // scaled
	Bits    float64 `json:"bits"`
}

// Sources are who sends.
type Sources struct {
	Count     Counted `json:"count"`
	Countries []Share `json:"countries"` // ISO 3166-1 alpha-2, "" not known
	Networks  []Share `json:"networks"`  // "AS64500", "" not known
	Forged    *bool   `json:"forged"`    // are the sources spoofed? nil: can't be told
	ForgedWhy Text    `json:"forged_why,omitzero"`
	Infected  int     `json:"infected"` // of those looked up, how many the telescope knows as infected
	Own       int     `json:"own"`      // of those looked up, how many are own addresses
	Looked    int     `json:"looked"`   // how many were looked up
}

// Sample is a part of some traffic: flows that are alike, and for how much they stand.
type Sample struct {
	Src     netip.Addr      `json:"src"`
	Dst     netip.Addr      `json:"dst"`
	SrcPort uint16          `json:"src_port"`
	DstPort uint16          `json:"dst_port"` // ICMP type<<8|code
	Proto   uint8           `json:"proto"`
	Flags   packet.TCPFlags `json:"flags"`
	NoFlags bool            `json:"no_flags,omitempty"` // the exporter doesn't tell them
	Later   bool            `json:"later,omitempty"`    // later fragments: no ports
	Single  bool            `json:"single,omitempty"`   // one packet was looked at: flags and length are its own, not a flow's
	Length  uint16          `json:"length"`             // mean bytes of a packet
	Packets float64         `json:"packets"`            // weight: packets for which this stands
	Bytes   float64         `json:"bytes"`              // weight in bytes
}

// CoursePoint is one second of an attack's object, for the picture.
type CoursePoint struct {
	At      int64   `json:"at"`      // Unix seconds
	Packets float64 `json:"packets"` // a second, scaled, without what the exporter says it dropped
	Bits    float64 `json:"bits"`
	Error   float64 `json:"error"`   // of the packets, 95 %
	Dropped float64 `json:"dropped"` // packets a second that routers say they dropped
	Usual   float64 `json:"usual"`   // packets a second, NaN-free: 0 where not known
	Limit   float64 `json:"limit"`   // packets a second, 0 none
}

// Attacks takes each new version of an attack, and its course second by second: a
// second may come again, more complete. Detectors call it; the store, the console and
// what mitigates hear of it there.
type Attacks interface {
	Attack(a Attack)
	Course(id string, points []CoursePoint)
}
