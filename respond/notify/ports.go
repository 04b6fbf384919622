package notify

import (
	"context"
	"fmt"
	"time"

	"sakimori/lawful"
)

// Person is who is told. It lives in memory while a notice is written.
type Person struct {
	Name     string
	Mail     string
	Postal   Postal
	Phone    string
	Language string // "ja" or "en"
	Line     Line
}

// Postal is an address on paper.
type Postal struct {
	Code  string   // 〒 without the mark: "100-8926"
	Lines []string // one to three
}

// Line is what hangs on a subscriber's line.
type Line string

// The kinds of line. RFC 6561, section 5.4, warns of walls before lines that lives or
// trades hang on.
const (
	Home     Line = "home"
	Business Line = "business"
	Medical  Line = "medical"
	Alarm    Line = "alarm"
)

// Walls tells whether a line may be put behind a portal without a person's asking.
// What isn't known to be a home isn't walled.
func (l Line) Walls() bool { return l == Home }

// Masked is a person of no name, for previews.
var Masked = Person{
	Name: "●●●●", Mail: "masked@example.invalid", Phone: "●●●",
	Postal: Postal{Code: "●●●-●●●●", Lines: []string{"●●●●●●●●", "●●●●"}},
	Line:   Home,
}

// People gives the person behind a pseudonym. It checks the Grant itself and writes
// the look-up down: who reads, and why. Of somebody who isn't known it returns an
// *Unwritable.
type People interface {
	Read(ctx context.Context, g lawful.Grant, subject, who, why string) (Person, error)
}

// Deed is what is about to happen, for the ledger.
type Deed struct {
	Notice    string    `json:"notice"`
	Case      string    `json:"case"`
	Subject   string    `json:"subject"` // pseudonym
	Channel   Channel   `json:"channel"`
	Family    string    `json:"family"`
	Device    Device    `json:"device"`
	Reference string    `json:"reference"`
	Rule      string    `json:"rule"` // of the Grant
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Batch     string    `json:"batch,omitempty"`
	// Sum is the SHA-256 of what goes out. It is made from personal data, so it
	// belongs to the part of an entry that can be erased.
	Sum [32]byte `json:"-"`
}

// Recorder writes a deed down before it is done. An error keeps it from being done.
type Recorder interface {
	Record(ctx context.Context, d Deed) error
}

// Words are what a notice says, in one language.
type Words struct {
	Language string
	Title    string
	Greeting []string // paragraphs, as all that follow
	What     []string // what has happened
	Steps    []string // what to do, in order
	After    []string // what happens then
	Check    []string // how to find out that the notice is real
	Contact  []string
	Channel  []string // how to be told another way
}

// Writer finds the words of a notice.
type Writer interface {
	Write(n *Notice, language string) (Words, error)
}

// Message is a notice with everything that goes out.
type Message struct {
	Notice *Notice
	Person Person
	Words  Words
	At     time.Time
}

// Sheet is a message as it goes out, byte for byte.
type Sheet struct {
	Type    string // media type
	Content []byte
}

// Carrier is a channel that hands over one message at a time.
type Carrier interface {
	// Write makes the bytes. An *Unwritable says that this message can never be
	// written for this person.
	Write(m *Message) (Sheet, error)
	// Reach goes as far as it can without anything reaching anybody.
	Reach(ctx context.Context, m *Message, s Sheet) (Handing, error)
}

// Handing is a message at the point of no return.
type Handing interface {
	// Hand passes it over and gives the next hop's answer. An error that wraps a
	// *NotTaken says that the next hop doesn't have it; after any other error nobody
	// knows.
	Hand(ctx context.Context) (receipt string, err error)
	// Drop lets go of it without passing it over. It does nothing after Hand.
	Drop()
}

// NotTaken is a next hop's refusal. Reason is without personal data: a reply of a
// server may quote the address, so only its code is kept.
type NotTaken struct {
	Permanent bool
	Reason    string
	After     time.Duration // that the next hop asked to wait; 0 nothing said
}

func (e *NotTaken) Error() string {
	if e.Permanent {
		return "refused for good: " + e.Reason
	}
	return "not taken: " + e.Reason
}

// Unwritable says that a message can't be written for a person as things are, and
// what is needed.
type Unwritable struct {
	State  State // Failed, or Unprintable when a font can mend it
	Reason string
}

func (e *Unwritable) Error() string { return fmt.Sprintf("%s: %s", e.State, e.Reason) }
