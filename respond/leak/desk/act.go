// Package desk keeps the one act against a routing incident that the house does itself:
// announcing more-specifics of own space, so that traffic comes back.
//
// A person proposes it, two others approve, a Grant stands for it, and it has an end. It
// is announced by whoever is handed in, confirmed when the world is seen to use it, and
// withdrawn when the incident is over, its Grant or its time ends, or a person says so. In
// rehearsal, which is how it begins, everything is written down and nothing announced.
package desk

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sakimori/detect"
)

// State is where an act is in its life.
type State string

// The states.
const (
	Proposed  State = "proposed"
	Approved  State = "approved"  // by as many people as are needed, with a Grant; in rehearsal the last one before its end
	Announced State = "announced" // sent; nobody is known to use it yet
	Confirmed State = "confirmed" // vantage points see it
	Withdrawn State = "withdrawn" // by a person, or because the incident or the Grant ended
	Refused   State = "refused"   // by a person, or no Grant was given
	Failed    State = "failed"    // it couldn't be announced
	Expired   State = "expired"   // its time was over
)

// States are all of them, in order.
func States() []State {
	return []State{Proposed, Approved, Announced, Confirmed, Withdrawn, Refused, Failed, Expired}
}

// follows says which states may follow which.
var follows = map[State][]State{
	Proposed:  {Approved, Refused, Withdrawn, Expired},
	Approved:  {Announced, Withdrawn, Failed, Expired},
	Announced: {Confirmed, Withdrawn, Expired, Failed},
	Confirmed: {Withdrawn, Expired},
}

// Over tells whether nothing follows.
func (s State) Over() bool { return len(follows[s]) == 0 }

// Stands tells whether routers announce what an act in this state names.
func (s State) Stands() bool { return s == Announced || s == Confirmed }

var stateWords = map[State]detect.Text{
	Proposed:  {JA: "提案中", EN: "proposed"},
	Approved:  {JA: "承認済み", EN: "approved"},
	Announced: {JA: "広告済み・効果未確認", EN: "announced, not confirmed"},
	Confirmed: {JA: "効果を確認", EN: "confirmed"},
	Withdrawn: {JA: "取り下げ", EN: "withdrawn"},
	Refused:   {JA: "不承認", EN: "refused"},
	Failed:    {JA: "広告できず", EN: "failed"},
	Expired:   {JA: "期限切れ", EN: "expired"},
}

// Words are the state for a person.
func (s State) Words() detect.Text {
	if w, known := stateWords[s]; known {
		return w
	}
	return detect.Text{JA: "不明", EN: "not known"}
}

// Act is own more-specifics against one incident, and their life.
type Act struct {
	ID          string         `json:"id"` // random
	Incident    string         `json:"incident"`
	Prefixes    []netip.Prefix `json:"prefixes"`
	State       State          `json:"state"`
	Words       detect.Text    `json:"words"`
	Rehearsal   bool           `json:"rehearsal"` // it is never announced, only shown
	Grant       *Basis         `json:"grant"`
	ProposedBy  string         `json:"proposed_by"`
	ProposedAt  time.Time      `json:"proposed_at"`
	Approvals   []Approval     `json:"approvals"`
	Needs       int            `json:"needs"` // people who must still approve
	AnnouncedAt *time.Time     `json:"announced_at"`
	ConfirmedAt *time.Time     `json:"confirmed_at"`
	Ends        *time.Time     `json:"ends"` // renewed while the incident lasts
	WithdrawnAt *time.Time     `json:"withdrawn_at"`
	WithdrawnBy string         `json:"withdrawn_by"`
	Reason      *detect.Text   `json:"reason"` // why it is in this state
	Held        []Held         `json:"held"`   // what announcers say that they hold of it
	Changes     []Change       `json:"history"`
	Standing    bool           `json:"standing"` // something of it may be with a router: it must be withdrawn once it is over
	tries       int
	due         time.Time
}

// Basis is the Grant under which an act stands.
type Basis struct {
	ID    string      `json:"id"`
	Rule  string      `json:"rule"`
	Title detect.Text `json:"title"`
	Until time.Time   `json:"until"`
}

// Approval is one person's yes.
type Approval struct {
	Who string    `json:"who"`
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// Change is one step of a life.
type Change struct {
	At   time.Time   `json:"at"`
	From State       `json:"from"`
	To   State       `json:"state"`
	Who  string      `json:"who"`
	Why  detect.Text `json:"why"`
}

// Held is what a peer has been given of an act.
type Held struct {
	ID     string    `json:"id"` // of the act
	Peer   string    `json:"peer"`
	Routes int       `json:"routes"`
	At     time.Time `json:"at"`
}

// Announcer has own prefixes announced. All of it is idempotent by the id of the act.
type Announcer interface {
	// Announce has the prefixes announced until a time at the latest, whatever becomes of
	// us. To announce an id again moves its end and sends nothing twice. After an error
	// nothing of it stands, or Withdraw takes it back.
	Announce(ctx context.Context, id string, prefixes []netip.Prefix, until time.Time) error
	// Withdraw takes back what is held of an id; that there is nothing is fine.
	Withdraw(ctx context.Context, id string) error
	// Held is what is announced now.
	Held(ctx context.Context) ([]Held, error)
}

// Sight tells who sees our own announcement of a prefix: peers, of so many that have a
// whole table.
type Sight interface {
	Seen(ctx context.Context, p netip.Prefix) (peers, whole int, err error)
}

// Deed is what is about to happen, for the ledger. Prefixes of our own are public.
type Deed struct {
	Act       string      `json:"act"`
	Incident  string      `json:"incident"`
	Prefixes  []string    `json:"prefixes"`
	To        State       `json:"to"`
	By        string      `json:"by"`
	At        time.Time   `json:"at"`
	Why       detect.Text `json:"why"`
	Rehearsal bool        `json:"rehearsal"`
	Grant     string      `json:"grant,omitempty"`
	Rule      string      `json:"rule,omitempty"` // of the guideline
	Until     time.Time   `json:"until,omitzero"`
}

// Recorder writes a deed down before it is done. An error keeps it from being done.
type Recorder interface {
	Record(ctx context.Context, d Deed) error
}

// Errors that callers tell apart.
var (
	ErrOrder   = errors.New("an act can't go from one state to the other")
	ErrUnknown = errors.New("there is no such act")
	ErrOwn     = errors.New("nobody approves what they proposed, or approves it twice: somebody else must")
	ErrScope   = errors.New("it isn't one of the more-specifics that are proposed and possible")
	ErrTwice   = errors.New("another act is about it already")
	ErrBudget  = errors.New("more own more-specifics would be announced than are set")
	ErrOver    = errors.New("the incident is over")
	ErrGrant   = errors.New("no grant allows it now")
	ErrStandby = errors.New("another process announces")
)

// step brings an act into its next state.
func (a *Act) step(to State, who string, why detect.Text, at time.Time) (Change, error) {
	if who == "" {
		return Change{}, errors.New("a change of an act says who made it")
	}
	if !slices.Contains(follows[a.State], to) {
		return Change{}, fmt.Errorf("%w: %s → %s", ErrOrder, a.State, to)
	}
	c := Change{At: at, From: a.State, To: to, Who: who, Why: why}
	a.State, a.Words, a.Reason = to, to.Words(), &why
	return c, nil
}
