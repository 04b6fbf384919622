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

	"sakimori/detect"
	"sakimori/respond"
)

// Mitigation is one set of rules against one attack, and its life.
type Mitigation struct {
	respond.Act

	Attack   string        `json:"attack"`
	Object   detect.Object `json:"object"`
	Proposal Proposal      `json:"proposal"`
	Outgoing bool          `json:"outgoing,omitempty"` // the object sends; its side of the rules is the source
	Asked    *Asked        `json:"asked"`              // by the customer, whose own it is; nil: not
	Forecast string        `json:"forecast,omitempty"` // a person's, with its method: then it stands on what is foreseeable
	EffectMS *int64        `json:"effect_ms"`          // from announcing to the end of the first second that shows it, of 1 s grain
	Before   *detect.Rate  `json:"before"`
	After    *detect.Rate  `json:"after"`
}

// Asked says that the customer whose traffic it is wants the mitigation.
type Asked struct {
	Subject string `json:"subject"` // pseudonym
	Why     string `json:"why"`     // who said it, when, how it was verified
}

// Announcer hands rules to routers, or to the operator's own system, by the id of the
// mitigation.
type Announcer = respond.Announcer[Rule]

// Deed is what is about to happen, for the ledger.
type Deed struct {
	Mitigation string `json:"mitigation"`
	Attack     string `json:"attack"`
	respond.Deed

	Stops      float64 `json:"stops"`
	Collateral float64 `json:"collateral"` // its upper bound; −1 not known
	// Rules and Object name addresses of subscribers: they belong to the part of an
	// entry that can be erased.
	Rules  []string      `json:"-"`
	Object detect.Object `json:"-"`
}

// Recorder writes a deed down before it is done. An error keeps it from being done.
type Recorder interface {
	Record(ctx context.Context, d Deed) error
}

// Errors that callers tell apart, besides those of all acts.
var (
	ErrProtected = errors.New("a rule reaches into what is protected")
	ErrOver      = errors.New("the attack is over")
)
