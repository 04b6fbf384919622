package observe

import (
	"net/netip"
	"time"
)

// Indicator is one thing that a list says belongs to malware: a C&C server, by its
// name, address or URL. It is a claim of its source. What comes of it is decided where
// the house keeps its own list.
type Indicator struct {
	Source     string        // the feed, as configured
	Kind       IndicatorKind // what Value is
	Value      string        // in its normal form: see IndicatorKind
	Role       Role          // what it is said to serve
	Family     string        // of the malware, in lower case; "" not told
	Confidence float64       // 0 to 1, as the source says; 0 not told
	First      time.Time     // seen by the source; zero not told
	Last       time.Time     // seen by the source; zero not told
	Until      time.Time     // the source's own end of its validity; zero not told
	Sinkholed  bool          // the source says that defenders have it
	Online     *bool         // the source says that it answers, or doesn't; nil not told
	Evidence   string        // where the source explains it: a reference, an id, a URL; "" none
	Where      string        // file and line
	Line       int           // from 1; 0 not a file of lines
}

// IndicatorKind is what an indicator names.
type IndicatorKind string

// The kinds, each with its normal form. A name is in lower case, ASCII (RFC 5891),
// without the dot at its end; addresses are as netip prints them, IPv4 unmapped.
const (
	IndicatorName     IndicatorKind = "name"     // c2.example.net, and all below it
	IndicatorHost     IndicatorKind = "host"     // c2.example.net, and nothing below it: a host of somebody's service
	IndicatorAddress  IndicatorKind = "address"  // 192.0.2.1
	IndicatorEndpoint IndicatorKind = "endpoint" // 192.0.2.1:443, [2001:db8::1]:443
	IndicatorPrefix   IndicatorKind = "prefix"   // 192.0.2.0/24, masked
	IndicatorURL      IndicatorKind = "url"      // http://host/path: scheme and host in lower case, no fragment, no default port
)

// Role is what an indicator serves in the course of an infection.
type Role string

// The roles. Only a C&C is blocked on the ground of a consent to that.
const (
	RoleC2           Role = "c2"
	RoleDistribution Role = "distribution" // malware is fetched there
	RolePhishing     Role = "phishing"
	RoleScanner      Role = "scanner" // attacks, or looks for victims
	RoleOther        Role = "other"
)

// Lookup is one name that a client of a resolver asked for, as far as a detector is
// told: nothing of clients whose consent to that isn't there.
type Lookup struct {
	At       time.Time
	Resolver string     // that was asked, as it names itself
	Client   netip.Addr // who asked
	Name     string     // in lower case, without the dot at its end
	Type     uint16     // of the records asked for
	Rcode    uint8      // of the answer
	Zone     string     // the policy zone that the answer came from, "c2."; "" none
	Entry    string     // id of the list's entry that the name falls under; "" none
	Family   string     // of that entry
	Contact  Contact    // how the entry stands
	Form     Form       // how it was asked
}

// Contact says what a lookup means.
type Contact uint8

// The contacts.
const (
	NoContact Contact = iota
	Blocked           // the name is enforced: the answer was kept from the client
	Sinkholed         // the name leads to a sinkhole: not blocked
	Reached           // the name is enforced, and yet the answer came through
)

// Form is how a client asks: programs differ in it, so somebody who asks in many forms
// asks for many.
type Form uint8

// What a form is made of.
const (
	Recursive Form = 1 << iota // RD
	Unchecked                  // CD
	EDNS                       // with an OPT record
	Signed                     // with DO
)

// Lookups takes a batch in order of time. The slice is reused after the call returns.
type Lookups interface {
	Look(batch []Lookup)
}
