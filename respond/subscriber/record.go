// Package subscriber tells who had an address, and a port of it, at a time; or that
// it can't be told, and why.
//
// Everything that it knows comes as a Record, whatever log said it. A Record of a
// moment lies: clocks are off, Stops are lost, addresses are used again at once. So
// an answer is an interval with its doubt, and only one that no doubt can change may
// lead to a notice.
package subscriber

import (
	"net/netip"
	"time"
)

// Kind is what a record says of a use of an address.
type Kind uint8

// The kinds of record.
const (
	Begin Kind = iota + 1 // the use begins: Accounting Start, a lease or a block of ports given
	Alive                 // it goes on: Interim-Update, a renewal
	End                   // it ends: Stop, release, a block taken back
	Reset                 // the source has begun anew: all its uses have ended (Accounting-On and -Off)
)

// Ports is a range of ports of a shared address, both ends included. The zero value
// is the whole address.
type Ports struct{ First, Last uint16 }

// Whole tells whether it is the whole address.
func (p Ports) Whole() bool { return p == Ports{} }

// Record is what a log says of the use of one address. It holds personal data.
type Record struct {
	Kind    Kind
	Source  string       // who says it: the NAS, DHCP server or translator, as it names itself
	Session string       // joins the records of one use (Acct-Session-Id); "" none
	Line    string       // what names the contract: User-Name, circuit-id, DUID; "" of a translator
	Address netip.Prefix // the public side: one address (/32, /128), or a delegated prefix
	Ports   Ports        // of an address that is shared
	Proto   uint8        // IANA number when the ports are of one protocol alone; 0 all
	Inside  netip.Addr   // of a translator: the address that the subscriber has before it
	At      time.Time    // when it happened, by the source's clock, its own delay taken off
	Since   time.Time    // when the use began, where a later record tells (At less Acct-Session-Time); zero not told
	Until   time.Time    // the end that is promised (lease expiry, Session-Timeout); zero none
}

// Stats is what reading a log came to.
type Stats struct {
	Records   uint64            // of all kinds
	Malformed uint64            // lines or packets that can't be used, each counted once
	Ignored   uint64            // that are fine and say nothing of an address
	Reasons   map[string]uint64 // of the malformed ones, in English
	Examples  []string          // the first ones, with line or packet number and reason; never the content
	First     time.Time         // earliest and latest At
	Last      time.Time
}

// mostExamples are kept.
const mostExamples = 20

// Took counts a record.
func (s *Stats) Took(r *Record) {
	s.Records++
	if s.First.IsZero() || r.At.Before(s.First) {
		s.First = r.At
	}
	if r.At.After(s.Last) {
		s.Last = r.At
	}
}

// Bad counts something malformed; where is "line 7" or "packet 7".
func (s *Stats) Bad(where, reason string) {
	s.Malformed++
	if s.Reasons == nil {
		s.Reasons = map[string]uint64{}
	}
	s.Reasons[reason]++
	if len(s.Examples) < mostExamples {
		s.Examples = append(s.Examples, where+": "+reason)
	}
}

// Add counts what another log came to as well.
func (s *Stats) Add(o *Stats) {
	s.Records += o.Records
	s.Malformed += o.Malformed
	s.Ignored += o.Ignored
	for r, n := range o.Reasons {
		if s.Reasons == nil {
			s.Reasons = map[string]uint64{}
		}
		s.Reasons[r] += n
	}
	s.Examples = append(s.Examples, o.Examples[:min(len(o.Examples), mostExamples-min(len(s.Examples), mostExamples))]...)
	if o.Records == 0 {
		return
	}
	if s.First.IsZero() || o.First.Before(s.First) {
		s.First = o.First
	}
	if o.Last.After(s.Last) {
		s.Last = o.Last
	}
}
