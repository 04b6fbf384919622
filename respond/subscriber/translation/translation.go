// Package translation leads a shared public address and port back to the address that
// the subscriber has, where no log is needed because both are computed from one another:
// deterministic NAT (RFC 7422), MAP-E and MAP-T (RFC 7597, RFC 7599) and lightweight 4over6
// (RFC 7596). Of these the configuration is the log: rules are kept in versions with the
// time that each was in force.
//
// What translators do log becomes a subscriber.Record in the packages below: event
// (RFC 8158 over IPFIX and NetFlow), syslog, and table (any other log as CSV). DS-Lite
// (RFC 6333) needs nothing of its own: its AFTR logs the B4's IPv6 address where others
// log the inside address.
package translation

import (
	"net/netip"
	"time"

	"sakimori/detect"
	"sakimori/respond/subscriber"
)

// Answer is what the rules know of a public address and port at a time.
type Answer struct {
	Reason  Reason
	Inside  netip.Prefix // whose it is: an address of NAT, the end-user prefix of MAP or lw4o6; only when Found
	Rule    string       // the rule that said so, also where it gave nobody
	Version string       // and which version of it
	Others  []string     // when Ambiguous: the rules, as "name version"
}

// Reason is why an answer names somebody or nobody.
type Reason uint8

// The reasons.
const (
	Found          Reason = iota // Inside had it
	NoRule                       // no rule is about this address
	OutsideTime                  // rules are about it, but none at that time, or not for the whole of it
	NoPort                       // the address is shared and no port was told
	ReservedPort                 // a port that the rule gives nobody
	Unassigned                   // a port beyond what the rule's subscribers fill, or that is given by log
	Ambiguous                    // within the time, two rules or versions give it to different ones
	NoPortProtocol               // the protocol has no ports, so it can't pass a shared address
)

// String is the reason's name.
func (r Reason) String() string {
	return [...]string{"found", "no rule", "outside time", "no port", "reserved port", "unassigned", "ambiguous", "no port protocol"}[r]
}

// Text is what a person reads.
func (r Reason) Text() detect.Text {
	return [...]detect.Text{
		{JA: "規則から求まりました", EN: "computed from the rule"},
		{JA: "このアドレスについての規則がありません", EN: "no rule is about this address"},
		{JA: "その時刻に有効な規則がありません", EN: "no rule was in force at that time"},
		{JA: "共用アドレスなのに、送信元ポートが記されていません", EN: "the address is shared, and the report tells no source port"},
		{JA: "どの加入者にも割り当てられない、予約されたポートです", EN: "the port is reserved and belongs to no subscriber"},
		{JA: "規則では、どの加入者にも割り当てられていないポートです。動的な割当てのログを調べてください", EN: "the rule gives the port to no subscriber: look into the log of dynamic ports"},
		{JA: "時刻の誤差の範囲で、複数の規則が別々の加入者を示します", EN: "within the error of the time, rules give it to different subscribers"},
		{JA: "このプロトコルにはポートがなく、共用アドレスからは一人に絞れません", EN: "the protocol has no ports, so one subscriber of a shared address can't be told"},
	}[r]
}

// Query is the question.
type Query struct {
	Address netip.Addr
	Port    uint16 // source port, or ICMP identifier; 0 not told
	Proto   uint8  // IANA number; 0 not told
	At      time.Time
	Skew    time.Duration // how wrong At may be, to either side
}

// Share is what one subscriber has of a public address.
type Share struct {
	Address netip.Prefix // one address, or a prefix where MAP gives a whole one
	Ports   []subscriber.Ports
	Rule    string
	Version string
}

// Span is the time that a version of a rule was in force: from From to just before
// Until. The zero time is no limit.
type Span struct {
	From  time.Time `yaml:"from"`
	Until time.Time `yaml:"until"`
}

// Holds tells whether t lies in the span.
func (s Span) Holds(t time.Time) bool {
	return (s.From.IsZero() || !t.Before(s.From)) && (s.Until.IsZero() || t.Before(s.Until))
}

// meets tells whether two spans have a moment in common.
func (s Span) meets(o Span) bool {
	return (s.From.IsZero() || o.Until.IsZero() || s.From.Before(o.Until)) &&
		(o.From.IsZero() || s.Until.IsZero() || o.From.Before(s.Until))
}

// ported are the protocols that pass a shared address because they have ports, or
// identifiers that are treated as ports (RFC 7597 §8.2, RFC 5508): ICMP, TCP, UDP, DCCP, ICMPv6,
// SCTP, UDP-Lite.
func ported(proto uint8) bool {
	switch proto {
	case 0, 1, 6, 17, 33, 58, 132, 136:
		return true
	}
	return false
}
