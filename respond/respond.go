// Package respond does something about a finding, lawfully.
//
// Its nouns are the Case, which follows one finding or several until they are
// settled, and the Act, one step that touches somebody's traffic: rules against a flood,
// own prefixes against a leak. An Act is proposed, approved by people, announced with a
// Grant in hand, confirmed by what is seen afterwards, and withdrawn when its ground is
// gone. The Desk keeps acts through their lives, whatever they do; a mission says what
// its own are.
package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sakimori/detect"
	"sakimori/lawful"
)

// Case follows findings about one subject.
type Case struct {
	ID       string
	Findings []string // ids
	Opened   time.Time
	Closed   time.Time // zero while open
	Acts     []Act
}

// State is where an Act is in its life.
type State string

// The states.
const (
	Proposed   State = "proposed"
	Approved   State = "approved"    // by as many people as are needed, with a Grant; in rehearsal the last one before its end
	Announced  State = "announced"   // sent; nobody is known to feel it yet
	Confirmed  State = "confirmed"   // it is seen to do what it is for
	Withdrawn  State = "withdrawn"   // by a person, or because what it is about or its Grant ended
	Refused    State = "refused"     // by a person, or no Grant was given
	Failed     State = "failed"      // it couldn't be announced
	Expired    State = "expired"     // its time was over
	RolledBack State = "rolled_back" // it did nothing, or did harm
)

// follows says which states may follow which.
var follows = map[State][]State{
	Proposed:  {Approved, Refused, Withdrawn, Expired},
	Approved:  {Announced, Withdrawn, Failed, Expired, Refused},
	Announced: {Confirmed, Withdrawn, Expired, RolledBack, Failed},
	Confirmed: {Withdrawn, Expired, RolledBack},
}

// Over tells whether nothing follows.
func (s State) Over() bool { return len(follows[s]) == 0 }

// Stands tells whether routers have what an act in this state says.
func (s State) Stands() bool { return s == Announced || s == Confirmed }

var stateWords = map[State]detect.Text{
	Proposed:   {JA: "提案中", EN: "proposed"},
	Approved:   {JA: "承認済み", EN: "approved"},
	Announced:  {JA: "広告済み・効果未確認", EN: "announced, not confirmed"},
	Confirmed:  {JA: "効果を確認", EN: "confirmed"},
	Withdrawn:  {JA: "取り下げ", EN: "withdrawn"},
	Refused:    {JA: "不承認", EN: "refused"},
	Failed:     {JA: "広告できず", EN: "failed"},
	Expired:    {JA: "期限切れ", EN: "expired"},
	RolledBack: {JA: "自動で取り消し", EN: "rolled back"},
}

// Words are the state for a person.
func (s State) Words() detect.Text {
	if w, known := stateWords[s]; known {
		return w
	}
	return detect.Text{JA: "不明", EN: "not known"}
}

// Act is the life of one step, the same whatever the step is. The acts of a mission hold
// it, with what they do and why beside it.
type Act struct {
	ID          string       `json:"id"` // random
	State       State        `json:"state"`
	Words       detect.Text  `json:"words"`
	Rehearsal   bool         `json:"rehearsal"` // it is never announced, only shown
	Grant       *Basis       `json:"grant"`
	ProposedBy  string       `json:"proposed_by"`
	ProposedAt  time.Time    `json:"proposed_at"`
	Approvals   []Approval   `json:"approvals"`
	Needs       int          `json:"needs"` // people who must still approve
	AnnouncedAt *time.Time   `json:"announced_at"`
	ConfirmedAt *time.Time   `json:"confirmed_at"`
	Ends        *time.Time   `json:"ends"` // renewed while what it is about lasts
	WithdrawnAt *time.Time   `json:"withdrawn_at"`
	WithdrawnBy string       `json:"withdrawn_by"`
	Reason      *detect.Text `json:"reason"` // why it is in this state
	Held        []Held       `json:"held"`   // what announcers say that they hold of it
	Changes     []Change     `json:"history"`
	Standing    bool         `json:"standing"`     // something of it may be with a router: it must be withdrawn once it is over
	Tries       int          `json:"tries"`        // to announce it, in vain
	Due         time.Time    `json:"due,omitzero"` // of the next one
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

// Held is what a peer holds of an act.
type Held struct {
	ID    string    `json:"id"` // of the act
	Peer  string    `json:"peer"`
	Rules int       `json:"rules"` // of a filter, or routes
	At    time.Time `json:"at"`
}

// Announcer hands what an act says to routers, or to the operator's own system: R is one
// rule of it. All of it is idempotent by the id of the act.
type Announcer[R any] interface {
	// Announce has the rules in force until a time at the latest, whatever becomes of
	// us. To announce an id again moves its end and sends nothing twice. After an error
	// nothing of it stands, or Withdraw takes it back.
	Announce(ctx context.Context, id string, rules []R, until time.Time) error
	// Withdraw takes back what is held of an id; that there is nothing is fine.
	Withdraw(ctx context.Context, id string) error
	// Held is what is in force now, or an ErrNotTold.
	Held(ctx context.Context) ([]Held, error)
}

// Shared marks an Announcer that tells a system outside of this process, which goes on
// without it: what it holds belongs to whichever process announces.
type Shared interface{ Shared() }

// Gate gives grants: a *lawful.Gate.
type Gate interface {
	Ask(ctx context.Context, r lawful.Request) (lawful.Grant, error)
	Approve(ctx context.Context, id, who string) (lawful.Grant, error)
	Find(ctx context.Context, id string) (lawful.Grant, error)
}

// Deed is what is about to happen to an act, for the ledger.
type Deed struct {
	To        State       `json:"to"`
	By        string      `json:"by"`
	At        time.Time   `json:"at"`
	Why       detect.Text `json:"why"`
	Rehearsal bool        `json:"rehearsal"`
	Grant     string      `json:"grant,omitempty"`
	Rule      string      `json:"rule,omitempty"` // of the guideline
	Until     time.Time   `json:"until,omitzero"`
}

// Errors that callers tell apart.
var (
	ErrOrder   = errors.New("an act can't go from one state to the other")
	ErrUnknown = errors.New("there is no such act")
	ErrOwn     = errors.New("nobody approves what they proposed, or approves it twice: somebody else must")
	ErrBudget  = errors.New("the routers would have to hold more of it than is set")
	ErrGrant   = errors.New("no grant allows it now")
	ErrNotTold = errors.New("this announcer can't tell what it holds")
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
