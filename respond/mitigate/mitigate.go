// Package mitigate stops a flood with the least filter that does it, lawfully.
//
// From an attack as flows show it, it makes the smallest set of rules that stops a
// chosen share, and says how much of what is ordinary for the victim they would hit,
// with its error. Nothing is announced without a person's approval and a Grant; each
// mitigation has an end, is watched, and is taken back when the attack is over, when
// its Grant ends, or when it doesn't do what it is for. In rehearsal, which is how it
// begins, everything is proposed and nothing announced.
package mitigate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sakimori/detect"
)

// State is where a mitigation is in its life.
type State string

// The states.
const (
	Proposed   State = "proposed"
	Approved   State = "approved"    // by as many people as are needed, with a Grant; in rehearsal the last one before its end
	Announced  State = "announced"   // sent, not confirmed
	Confirmed  State = "confirmed"   // the counters show that it does what it is for
	Withdrawn  State = "withdrawn"   // by a person, or because the attack or the Grant ended
	Refused    State = "refused"     // by a person, or no Grant was given
	Failed     State = "failed"      // it couldn't be announced
	Expired    State = "expired"     // its time was over
	RolledBack State = "rolled_back" // it did nothing, or hit what is ordinary
)

// States are all of them, in order.
func States() []State {
	return []State{Proposed, Approved, Announced, Confirmed, Withdrawn, Refused, Failed, Expired, RolledBack}
}

// follows says which states may follow which.
var follows = map[State][]State{
	Proposed:  {Approved, Refused, Withdrawn, Expired},
	Approved:  {Announced, Withdrawn, Failed, Expired, Refused},
	Announced: {Confirmed, Withdrawn, Expired, RolledBack, Failed},
	Confirmed: {Withdrawn, Expired, RolledBack},
}

// Over tells whether nothing follows.
func (s State) Over() bool { return len(follows[s]) == 0 }

// Stands tells whether rules of a mitigation in this state are with the routers.
func (s State) Stands() bool { return s == Announced || s == Confirmed }

// Words are the state for a person.
func (s State) Words() detect.Text {
	switch s {
	case Proposed:
		return detect.Text{JA: "提案中", EN: "proposed"}
	case Approved:
		return detect.Text{JA: "承認済み", EN: "approved"}
	case Announced:
		return detect.Text{JA: "広告済み・効果未確認", EN: "announced, not confirmed"}
	case Confirmed:
		return detect.Text{JA: "効果を確認", EN: "confirmed"}
	case Withdrawn:
		return detect.Text{JA: "解除", EN: "withdrawn"}
	case Refused:
		return detect.Text{JA: "不承認", EN: "refused"}
	case Failed:
		return detect.Text{JA: "広告できず", EN: "failed"}
	case Expired:
		return detect.Text{JA: "期限切れ", EN: "expired"}
	case RolledBack:
		return detect.Text{JA: "自動で取り消し", EN: "rolled back"}
	}
	return detect.Text{JA: "不明", EN: "not known"}
}

// Mitigation is one set of rules against one attack, and its life.
type Mitigation struct {
	ID          string        `json:"id"` // random
	Attack      string        `json:"attack"`
	Object      detect.Object `json:"object"`
	State       State         `json:"state"`
	Words       detect.Text   `json:"words"`
	Rehearsal   bool          `json:"rehearsal"` // it is never announced, only shown
	Proposal    Proposal      `json:"proposal"`
	Outgoing    bool          `json:"outgoing,omitempty"` // the object sends; its side of the rules is the source
	Asked       *Asked        `json:"asked"`              // by the customer, whose own it is; nil: not
	Forecast    string        `json:"forecast,omitempty"` // a person's, with its method: then it stands on what is foreseeable
	Grant       *Basis        `json:"grant"`
	ProposedBy  string        `json:"proposed_by"`
	ProposedAt  time.Time     `json:"proposed_at"`
	Approvals   []Approval    `json:"approvals"`
	Needs       int           `json:"needs"` // people who must still approve
	AnnouncedAt *time.Time    `json:"announced_at"`
	ConfirmedAt *time.Time    `json:"confirmed_at"`
	EffectMS    *int64        `json:"effect_ms"` // from announcing to the end of the first second that shows it, of 1 s grain
	Before      *detect.Rate  `json:"before"`
	After       *detect.Rate  `json:"after"`
	Ends        *time.Time    `json:"ends"` // TTL; renewed while the attack lasts
	WithdrawnAt *time.Time    `json:"withdrawn_at"`
	WithdrawnBy string        `json:"withdrawn_by"`
	Reason      *detect.Text  `json:"reason"` // why it is in this state
	Held        []Held        `json:"held"`   // what announcers say that they hold of it
	Changes     []Change      `json:"history"`
	Standing    bool          `json:"standing"` // something of it may be with a router: it must be withdrawn once it is over
	tries       int
	due         time.Time
}

// Asked says that the customer whose traffic it is wants the mitigation.
type Asked struct {
	Subject string `json:"subject"` // pseudonym
	Why     string `json:"why"`     // who said it, when, how it was verified
}

// Basis is the Grant under which a mitigation stands.
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

// Held is what a peer holds of a mitigation.
type Held struct {
	ID    string    `json:"id"` // of the mitigation
	Peer  string    `json:"peer"`
	Rules int       `json:"rules"`
	At    time.Time `json:"at"`
}

// Announcer hands rules to routers, or to the operator's own system. All of it is
// idempotent by the id of the mitigation.
type Announcer interface {
	// Announce has the rules in force until a time at the latest, whatever becomes of
	// us. To announce an id again moves its end and sends nothing twice. After an error
	// nothing of it stands, or Withdraw takes it back.
	Announce(ctx context.Context, id string, rules []Rule, until time.Time) error
	// Withdraw takes back what is held of an id; that there is nothing is fine.
	Withdraw(ctx context.Context, id string) error
	// Held is what is in force now, or an ErrNotTold.
	Held(ctx context.Context) ([]Held, error)
}

// Shared marks an Announcer that tells a system outside of this process, which goes on
// without it: what it holds belongs to whichever process announces.
type Shared interface{ Shared() }

// Deed is what is about to happen, for the ledger.
type Deed struct {
	Mitigation string      `json:"mitigation"`
	Attack     string      `json:"attack"`
	To         State       `json:"to"`
	By         string      `json:"by"`
	At         time.Time   `json:"at"`
	Why        detect.Text `json:"why"`
	Rehearsal  bool        `json:"rehearsal"`
	Grant      string      `json:"grant,omitempty"`
	Rule       string      `json:"rule,omitempty"` // of the guideline
	Until      time.Time   `json:"until,omitzero"`
	Stops      float64     `json:"stops"`
	Collateral float64     `json:"collateral"` // its upper bound; −1 not known
	// Rules and Object name addresses of subscribers: they belong to the part of an
	// entry that can be erased.
	Rules  []string      `json:"-"`
	Object detect.Object `json:"-"`
}

// Recorder writes a deed down before it is done. An error keeps it from being done.
type Recorder interface {
	Record(ctx context.Context, d Deed) error
}

// Errors that callers tell apart.
var (
	ErrOrder     = errors.New("a mitigation can't go from one state to the other")
	ErrUnknown   = errors.New("there is no such mitigation")
	ErrOwn       = errors.New("nobody approves what they proposed, or approves it twice: somebody else must")
	ErrBudget    = errors.New("the routers would have to hold more rules than are set")
	ErrProtected = errors.New("a rule reaches into what is protected")
	ErrOver      = errors.New("the attack is over")
	ErrGrant     = errors.New("no grant allows it now")
	ErrNotTold   = errors.New("this announcer can't tell what it holds")
	ErrStandby   = errors.New("another process announces")
)

// step brings m into its next state.
func (m *Mitigation) step(to State, who string, why detect.Text, at time.Time) (Change, error) {
	if who == "" {
		return Change{}, errors.New("a change of a mitigation says who made it")
	}
	if !slices.Contains(follows[m.State], to) {
		return Change{}, fmt.Errorf("%w: %s → %s", ErrOrder, m.State, to)
	}
	c := Change{At: at, From: m.State, To: to, Who: who, Why: why}
	m.State, m.Words, m.Reason = to, to.Words(), &why
	return c, nil
}
