// Package notify tells a subscriber that a device of theirs is infected, and keeps
// account of every notice from the proposal to the proof that it arrived.
//
// A notice goes out once or not at all. Whatever might have reached somebody before
// the program died is in doubt: it is shown, asked about, and never sent again by
// itself. A person's name and contact are read with a Grant at the moment of sending
// and kept nowhere here.
package notify

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Channel is a way to a person.
type Channel string

// The channels. RFC 6561, section 5, calls mail the weakest one and asks for more
// than one way.
const (
	Mail    Channel = "mail"
	Letter  Channel = "letter"
	Portal  Channel = "portal"  // the page that a walled line sees (RFC 8908)
	Webhook Channel = "webhook" // the operator's SMS or CRM
)

// Channels are all of them.
var Channels = []Channel{Mail, Letter, Portal, Webhook}

// Device is what kind of thing is infected, as far as is known.
type Device string

// The kinds of device that have words of their own.
const (
	Router  Device = "router"
	Camera  Device = "camera"
	DVR     Device = "recorder"
	NAS     Device = "nas"
	PC      Device = "pc"
	Unknown Device = "unknown"
)

// Devices are all of them.
var Devices = []Device{Router, Camera, DVR, NAS, PC, Unknown}

// Template chooses the words.
type Template struct {
	Family  string // malware as detectors name it ("mirai"), or "exposed" of an open service
	Device  Device
	Service string // of an open service: "23/tcp"; "" none
}

// State is where a notice is in its life.
type State string

// The states.
const (
	Proposed    State = "proposed"
	Approved    State = "approved"    // by a person; may be sent
	Sending     State = "sending"     // committed before the first byte that could reach anybody
	InDoubt     State = "in_doubt"    // the program died or lost the line in between: it may have gone out
	Sent        State = "sent"        // the next hop took it: MTA, batch of letters, CRM, portal
	Delivered   State = "delivered"   // something says that it arrived
	Bounced     State = "bounced"     // something says that it didn't
	Failed      State = "failed"      // it never went out, and won't
	Unprintable State = "unprintable" // the font lacks letters of the name or address
	Withdrawn   State = "withdrawn"   // its ground is gone
)

// follows says which states may follow which. A person's word resolves doubt, and so
// does a bounce: only what was sent comes back.
var follows = map[State][]State{
	Proposed:    {Approved, Withdrawn},
	Approved:    {Sending, Failed, Unprintable, Withdrawn},
	Sending:     {Sent, Approved, Failed, Unprintable, InDoubt, Delivered, Bounced},
	InDoubt:     {Sent, Failed, Delivered, Bounced, Withdrawn},
	Sent:        {Delivered, Bounced, Withdrawn},
	Delivered:   {Withdrawn},
	Unprintable: {Approved, Withdrawn},
}

// Notice is one message to one subscriber by one channel.
type Notice struct {
	ID        string // random; the Message-ID and the bounce address are made of it
	Case      string
	Subject   string // pseudonym
	Channel   Channel
	Template  Template
	Language  string    // "ja" or "en"; "" the person's own
	Seen      time.Time // when the thing that it tells of was last seen
	Reference string    // 12 digits, see References
	State     State
	Reason    string    // why it is in this state, without personal data
	Attempts  int       // times that it was tried to hand over
	Due       time.Time // not to be sent before; zero at once
	Batch     string    // of letters
	Rule      string    // of the Grant under which it went out
	Receipt   string    // what the next hop answered, for questions to its log
	Proposer  string
	Proposed  time.Time
	Changed   time.Time
	Sent      time.Time // when it was handed over, or may have been; zero never
}

// Change is one step of a notice's life.
type Change struct {
	At     time.Time
	From   State
	To     State
	Who    string // a role or a user
	Reason string
	Said   Said // by the subscriber; "" it is no answer of theirs
}

// Said is what a subscriber lets us know.
type Said string

// What subscribers say.
const (
	Seen  Said = "seen"  // they opened the page, or looked the number up
	Fixed Said = "fixed" // they say that the device is clean
)

// Errors that callers tell apart.
var (
	ErrOrder    = errors.New("a notice can't go from one state to the other")
	ErrThrottle = errors.New("not now")
	ErrRefused  = errors.New("no grant allows to notify this subscriber now")
	ErrUnknown  = errors.New("there is no such notice")
	ErrChannel  = errors.New("the channel isn't configured")
	ErrSecond   = errors.New("whoever proposed a notice can't approve it: somebody else must")
)

// step brings n into its next state.
func (n *Notice) step(to State, who, why string, at time.Time) (Change, error) {
	if who == "" {
		return Change{}, errors.New("a change of a notice says who made it")
	}
	if !slices.Contains(follows[n.State], to) {
		return Change{}, fmt.Errorf("%w: %s → %s", ErrOrder, n.State, to)
	}
	c := Change{At: at, From: n.State, To: to, Who: who, Reason: why}
	n.State, n.Reason, n.Changed = to, why, at
	return c, nil
}

// check tells what a new notice lacks.
func (n *Notice) check() error {
	switch {
	case n.Subject == "" || n.Case == "":
		return errors.New("a notice needs the subject's pseudonym and the case")
	case !slices.Contains(Channels, n.Channel):
		return fmt.Errorf("%q is no channel: use one of %v", n.Channel, Channels)
	case !slices.Contains(Devices, n.Template.Device):
		return fmt.Errorf("%q is no kind of device: use one of %v", n.Template.Device, Devices)
	case n.Language != "" && n.Language != "ja" && n.Language != "en":
		return fmt.Errorf("%q is no language of notices: use ja or en", n.Language)
	}
	return nil
}
