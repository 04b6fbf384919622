package observe

import (
	"net/netip"
	"time"
)

// Report is what somebody outside says of one address: a line of an abuse feed, a
// complaint by mail. It is a claim. Whose address it is, is found out elsewhere.
type Report struct {
	Source   string        // the feed or the reporter, as configured: "shadowserver"
	Type     string        // the feed's own name of the report: "event4_sinkhole"
	Claim    Claim         // what it says, in the house's words
	Mediated bool          // seen through a resolver or a proxy: Address isn't the one who did it
	Address  netip.Addr    // who is said to have done it, or to be open
	Port     uint16        // its source port; 0 not told
	Proto    uint8         // IANA number; 0 not told
	At       time.Time     // when
	Slack    time.Duration // how far At may be off, by the precision in which it was written
	Family   string        // of the malware, in lower case; "" not told
	Service  uint16        // the port that is open or was asked; 0 not told
	Device   string        // vendor and model as told; "" not told
	Fields   []Field       // everything else of the line, unknown columns too
	Raw      []byte        // as it came
	Came     time.Time
	Where    string // file and line, or message-id
}

// Field is a column that has no place of its own.
type Field struct{ Name, Value string }

// Claim is what a report says of an address.
type Claim string

// The claims.
const (
	ClaimInfected  Claim = "infected"  // its machine is part of a botnet, or calls a C&C
	ClaimAttacking Claim = "attacking" // it scans, guesses passwords or takes part in a flood
	ClaimSpamming  Claim = "spamming"
	ClaimExposed   Claim = "exposed" // a service stands open that shouldn't
	ClaimHosting   Claim = "hosting" // malware, a C&C or phishing is served from it
	ClaimOther     Claim = "other"
)
