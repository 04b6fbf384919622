// Package lawful says whether an operator may do a thing to communications at
// all, and gives the permission as a value.
//
// The secrecy of communications protects everything about a communication, its
// address and time too. Looking into it, naming a subscriber, blocking and
// sharing are lawful only in the cases of the guideline. So functions that do
// such a thing take a Grant, and a Grant is made only here, by a Gate that has
// checked the conditions and written its decision down first.
package lawful

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Measure is what one wants to do. A Grant is for one, which binds its purpose.
type Measure string

// The measures that need a Grant.
const (
	NameSubscriber Measure = "name_subscriber" // learn or show who an own address is
	ReadLogs       Measure = "read_logs"       // look through connection logs
	Notify         Measure = "notify"          // tell a subscriber, and ask for a clean-up
	Block          Measure = "block"           // keep a communication from happening
	Filter         Measure = "filter"          // drop what fits an attack
	Share          Measure = "share"           // hand an address to somebody else
	AnalyseTraffic Measure = "analyse_traffic" // look at what a subscriber sends and receives
	MatchNames     Measure = "match_names"     // compare name resolution requests with a list of C&C servers
	StoreHits      Measure = "store_hits"      // keep which subscriber asked for a listed name
	WarnAccess     Measure = "warn_access"     // pause an access to a listed site and warn
	PassAttacker   Measure = "pass_attacker"   // give an attacker's address to the sender's provider
	ShareAnalysis  Measure = "share_analysis"  // share what an analysis of logs showed with providers on the path
	AnalyseFlows   Measure = "analyse_flows"   // statistics of flows in ordinary times, to find likely C&C servers
	ShareHistory   Measure = "share_history"   // give recorded histories to the certified association
	Announce       Measure = "announce"        // announce own prefixes otherwise than usual
)

// Measures are all of them, in this order.
func Measures() []Measure {
	return []Measure{
		NameSubscriber, ReadLogs, Notify, Block, Filter, Share, AnalyseTraffic, MatchNames, StoreHits, WarnAccess,
		PassAttacker, ShareAnalysis, AnalyseFlows, ShareHistory, Announce,
	}
}

// Text is what a person reads, in both languages of the house.
type Text struct {
	JA string `json:"ja"`
	EN string `json:"en"`
}

// Scope is to what a Grant applies. What it names bounds every target; Prefixes
// and Subjects say whom a target may be, the others narrow it further.
type Scope struct {
	Prefixes   []netip.Prefix `json:"prefixes,omitempty"`
	Subjects   []string       `json:"subjects,omitempty"`   // pseudonyms or cases
	Consenting string         `json:"consenting,omitempty"` // every subscriber whose consent to this purpose is valid at the moment of acting
	Window     Window         `json:"window,omitzero"`      // of the data that is looked at
	Ports      []uint16       `json:"ports,omitempty"`
	Features   []string       `json:"features,omitempty"` // what the traffic looks like, as the filter writes it
	To         []string       `json:"to,omitempty"`       // who receives what is handed over
}

// Window is a time from From to just before Until.
type Window struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Target is whom or what a measure touches: an address, a subscriber by pseudonym
// or case, or both. A Grant must cover all that is named, and where its scope is
// bounded by time, port, feature or receiver the target must name one inside.
type Target struct {
	Address netip.Addr
	Subject string
	When    time.Time // of the record that is looked at
	Port    uint16
	Feature string
	To      string
}

// At is the target of a measure on an address.
func At(a netip.Addr) Target { return Target{Address: a} }

// Of is the target of a measure on a subscriber, by pseudonym or case.
func Of(subject string) Target { return Target{Subject: subject} }

func (s *Scope) clone() Scope {
	c := *s
	c.Prefixes, c.Subjects, c.Ports = slices.Clone(s.Prefixes), slices.Clone(s.Subjects), slices.Clone(s.Ports)
	c.Features, c.To = slices.Clone(s.Features), slices.Clone(s.To)
	return c
}

// covers tells whether all of the target lies in the scope.
func (s *Scope) covers(t Target) bool {
	a := t.Address.Unmap()
	switch {
	case !a.IsValid() && t.Subject == "",
		t.Subject != "" && s.Consenting == "" && !slices.Contains(s.Subjects, t.Subject),
		a.IsValid() && !slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }),
		s.Window != Window{} && (t.When.Before(s.Window.From) || !t.When.Before(s.Window.Until)),
		len(s.Ports) > 0 && !slices.Contains(s.Ports, t.Port),
		len(s.Features) > 0 && !slices.Contains(s.Features, t.Feature),
		len(s.To) > 0 && !slices.Contains(s.To, t.To):
		return false
	}
	return true
}

// Grant is a permission. The zero Grant allows nothing, and no other can be made
// outside this package. Copies are one permission: when it ends, it ends for all.
type Grant struct{ s *standing }

// standing is a permission as the gate keeps it. What Allows reads is never changed,
// but for ended.
type standing struct {
	given    Decision
	request  Request
	scope    Scope  // a copy that nobody else has
	consent  string // the purpose to which the target must consent at the moment of acting, "" none
	register Consents
	ended    atomic.Bool

	// Of the gate, under its mutex.
	shown    time.Time  // when its conditions were last seen to hold
	end      *Decision  // how it ended
	told     step       // how far that has come
	settling sync.Mutex // held by whoever brings the end further
}

// Allows is asked at the moment of acting. Where consent is the ground the register
// is asked again, so that a withdrawal takes effect at once; no answer is a no.
func (g Grant) Allows(m Measure, target Target, now time.Time) bool {
	s := g.s
	if s == nil || s.ended.Load() || s.given.Measure != m || !now.Before(s.given.Until) || !s.scope.covers(target) {
		return false
	}
	if s.consent == "" {
		return true
	}
	if target.Subject == "" || s.register == nil {
		return false
	}
	valid, err := s.register.Valid(context.Background(), target.Subject, s.consent, now) // who acts has no context; the register answers from an index
	return err == nil && valid
}

// AllowsLately is Allows for those who ask thousands of times a second: where the register
// can tell how things were a moment ago (see Lately), it isn't asked how they are now.
func (g Grant) AllowsLately(m Measure, target Target, now time.Time) bool {
	s := g.s
	if s == nil || s.consent == "" || target.Subject == "" {
		return g.Allows(m, target, now)
	}
	if l, is := s.register.(Lately); is {
		if valid, known := l.Lately(target.Subject, s.consent, now); known {
			return valid && !s.ended.Load() && s.given.Measure == m && now.Before(s.given.Until) && s.scope.covers(target)
		}
	}
	return g.Allows(m, target, now)
}

// AllowsAll is asked, at the moment of acting, where the means itself leaves out who
// doesn't consent: a list that is behind another of those who are to be left alone. It
// holds of a Grant for everyone who consents alone, and while the terms do.
func (g Grant) AllowsAll(m Measure, now time.Time) bool {
	s := g.s
	return s != nil && !s.ended.Load() && s.given.Measure == m && now.Before(s.given.Until) && s.scope.Consenting != ""
}

// ID is the number of the permission, "" of the zero Grant.
func (g Grant) ID() string {
	if g.s == nil {
		return ""
	}
	return g.s.given.ID
}

// Rule is the id of the rule that it rests on, "" of the zero Grant.
func (g Grant) Rule() string {
	if g.s == nil {
		return ""
	}
	return g.s.given.Rule
}

// Until is when it ends at the latest, zero of the zero Grant.
func (g Grant) Until() time.Time {
	if g.s == nil {
		return time.Time{}
	}
	return g.s.given.Until
}

// Why every refusal says no.
var (
	ErrRefused = errors.New("refused")                    // no Grant is given
	ErrWaiting = errors.New("a second person must agree") // not yet: see Pending
	ErrUnknown = errors.New("the gate knows no such grant")
	ErrForged  = errors.New("a kept grant was altered")

	// ErrSamePerson is an ErrRefused, too.
	ErrSamePerson = errors.New("it was asked for by the same person; somebody else approves it")
)
