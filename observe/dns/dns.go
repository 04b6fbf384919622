// Package dns sees who asked resolvers for what, as far as they consent to that.
//
// Resolvers tell it of each question and answer (dnstap, PowerDNS's protocol, captures,
// logs). All are counted. A client that doesn't consent to matching is in those totals
// and nowhere else: neither its name nor its answer is looked at. Of one that does it
// is counted, without saying who, which policy blocked what, and how many distinct
// clients a name has. Only of one that also consents to hits being kept does a detector
// hear; nothing else here ever keeps an address.
package dns

import (
	"net/netip"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/observe"
)

// Clients says what a client consents to, at the time of its question. hits without
// match counts as neither.
type Clients interface {
	May(client netip.Addr, at time.Time) (match, hits bool)
}

// Policy is the list of names in memory.
type Policy interface {
	// Match finds the entry that a name falls under. One that is only under review is
	// neither enforced nor in Shadow: it is watched, so that somebody knows who would
	// lose it.
	Match(name dns.Name) (Listing, bool)
}

// Listing is an entry of the list.
type Listing struct {
	Zone    string          // the policy zone that it is in, "c2."; "" none
	Entry   string          // its id
	Owner   dns.Name        // its name: clients of all below it are counted together; nil: each by itself
	Family  string          // of malware, "" not known
	Contact observe.Contact // how it stands: Blocked where it is enforced, Sinkholed, or NoContact
	Shadow  bool            // it isn't enforced: what would be blocked is counted
}

// Config is what may be set. Zero fields take the value of DefaultConfig.
type Config struct {
	// Blocking are the policy zones that keep an answer back, Passing those that leave
	// a client or a name alone. Blocks by any other policy aren't ours: they rest on
	// another ground, and nothing is told of them.
	Blocking, Passing []string
	// Floor is the least number of clients that is told; below it they are "fewer".
	Floor uint64
	// The bounds of memory: names whose clients are counted, none below 0; rows of counts that wait
	// to be kept; resolvers that are told apart; lookups that are handed on at once.
	Names, Rows, Resolvers, Batch int
	Missing                       Missing // hears of zones whose names are made up; nil nobody
	// Live: what is told now. Times that are far from the machine's are mistaken. Of
	// what isn't live all distinct clients are counted, see Clients.
	Live bool
}

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config {
	return Config{
		Blocking: []string{"c2.", "emergency."}, Passing: []string{"optout.", "allow."},
		Floor: 10, Names: 1 << 16, Rows: 1 << 16, Resolvers: 256, Batch: 512,
	}
}

// Kind is what an Exchange is.
type Kind uint8

// The kinds.
const (
	Query    Kind = iota // a client asks
	Response             // it is answered
	Note                 // a log says that a policy was applied: neither of both
)

// Exchange is a question or an answer, as a source read it.
type Exchange struct {
	At       int64  // Unix nanoseconds, 0 not told
	Resolver string // as it names itself, or the source
	Client   netip.Addr
	Kind     Kind
	Name     dns.Name // good until the exchange was taken
	Type     uint16
	Rcode    uint8 // of an answer

	// What is looked at only when the client consents to it.
	raw      []byte // the answer's message
	policy   []byte // the policy's zone, as a name on the wire, or what ends with it
	word     []byte // the same, as people write it
	passed   bool   // the policy let it pass, whatever its zone
	dropped  bool   // a policy keeps any answer back: the question is all that there is
	infer    bool   // a block may be concluded from an answer without records
	answered int    // records of the answer, where raw is nil
	answers  [most]netip.Addr
}

// most is how many addresses of an answer are looked at.
const most = 4

// Tally is what was counted.
type Tally struct {
	Queries   uint64 `json:"queries"`
	Responses uint64 `json:"responses"`
	NXDomain  uint64 `json:"nxdomain"`
	Blocked   uint64 `json:"blocked"`   // kept from a client
	Would     uint64 `json:"would"`     // would be, were the entry enforced
	Sinkholed uint64 `json:"sinkholed"` // led to a sinkhole
	Reached   uint64 `json:"reached"`   // of an enforced name, and answered all the same
	Malformed uint64 `json:"malformed"`
	Unread    uint64 `json:"unread"`  // fragments and pieces that aren't put together
	Dropped   uint64 `json:"dropped"` // there was no room
	Broken    uint64 `json:"broken"`  // streams that ended without saying so: what was on its way is lost
}

// Add adds what another one has.
func (t *Tally) Add(o *Tally) {
	a, b := t.fields(), o.fields()
	for i := range a {
		*a[i] += *b[i]
	}
}

// fields are all figures, in the order of columns.
func (t *Tally) fields() [11]*uint64 {
	return [...]*uint64{&t.Queries, &t.Responses, &t.NXDomain, &t.Blocked, &t.Would, &t.Sinkholed, &t.Reached, &t.Malformed, &t.Unread, &t.Dropped, &t.Broken}
}

// columns are their names in the store.
var columns = [...]string{"queries", "responses", "nxdomain", "blocked", "would", "sinkholed", "reached", "malformed", "unread", "dropped", "broken"}
