// Package rpz publishes DNS policy zones (draft-vixie-dnsop-dns-rpz-00): what a
// resolver answers instead of the truth, to whom, and on which ground.
package rpz

import "net/netip"

// Zone is one of the four policy zones. Their names are fixed, and so is their order:
// a resolver takes the first that has something to say.
type Zone string

// The zones, in the order in which a resolver must have them.
const (
	OptOut    Zone = "optout."    // clients that don't consent: left alone, before anything else
	Allow     Zone = "allow."     // names that are never blocked
	C2        Zone = "c2."        // the list of C&C servers
	Emergency Zone = "emergency." // the same, by the quick lane
)

// Zones are all of them, in order.
func Zones() []Zone { return []Zone{OptOut, Allow, C2, Emergency} }

// Rule is one rule of a zone.
type Rule struct {
	// What triggers it: a name that is asked for, or a client that asks.
	Name   string       // as dns.Name writes it; "*.x" all below x; "" none
	Client netip.Prefix // masked; zero none
	Action Action
	Data   []string // of Local: types with their data, as in a zone file: "A 192.0.2.1", "TXT \"…\""
	Ref    string   // what it rests on: the id of a list's entry, of a consent
}

// Action is what a resolver does.
type Action uint8

// The actions, as the draft writes them.
const (
	NXDomain Action = iota // CNAME .            the name doesn't exist
	NoData                 // CNAME *.           it exists, and has no such records
	Passthru               // CNAME rpz-passthru. the truth, and no later zone is asked
	Drop                   // CNAME rpz-drop.    no answer at all
	TCPOnly                // CNAME rpz-tcp-only. come back by TCP
	Local                  // records of one's own
)
