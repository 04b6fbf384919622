// Package bgp reads messages of BGP-4 (RFC 4271) in place, as somebody does who watches
// and doesn't speak: UPDATE with 4-byte AS numbers (RFC 6793), several families (RFC
// 4760), ADD-PATH (RFC 7911), large communities (RFC 8092) and Only to Customer (RFC
// 9234), and what is wrong with it as RFC 7606 sorts it; OPEN, NOTIFICATION and
// ROUTE-REFRESH.
//
// Cut takes a message off a stream. Update.Parse reads the body of an UPDATE into a
// struct that is used again and again; blocks of prefixes and the AS path are walked
// after that. Nothing is copied and nothing allocates.
//
//	var m bgp.Message
//	n, err := bgp.Cut(b, bgp.MaxExtended, &m)
//	var u bgp.Update
//	u.Parse(m.Body, bgp.Options{AS4: true})
//	if u.Fault == bgp.Reset { … u.Err } // nothing of it can be used
//	u.Path(&path)
//	for _, block := range u.Announced() { // u.Fault == bgp.Withdraw: take them as withdrawn
//		for p := (bgp.Prefix{}); block.Next(&p); {
//		}
//	}
package bgp

import (
	"encoding/binary"
	"errors"
)

// Type is what a message is.
type Type uint8

// The types.
const (
	TypeOpen         Type = 1
	TypeUpdate       Type = 2
	TypeNotification Type = 3
	TypeKeepalive    Type = 4
	TypeRefresh      Type = 5
)

// Sizes of messages in bytes.
const (
	HeaderSize  = 19
	MaxMessage  = 4096  // RFC 4271
	MaxExtended = 65535 // where both sides said so: RFC 8654
)

// Message is one message, in place.
type Message struct {
	Type Type
	Body []byte // what stands behind the header
	Raw  []byte // the whole of it
}

// What is wrong with a header.
var (
	ErrShort  = errors.New("bgp: the message isn't whole: more bytes are to come, or it was cut on the way")
	ErrMarker = errors.New("bgp: no marker of sixteen times 0xff where a message should begin: the stream is out of step, or isn't BGP")
	ErrLength = errors.New("bgp: a length that a message can't have: the stream is out of step, or the sender uses extended messages without having said so")
)

// Cut takes the first message off b and tells how many bytes it has. A message may have
// limit bytes: MaxMessage or MaxExtended. With ErrShort more bytes may help.
func Cut(b []byte, limit int, m *Message) (int, error) {
	if len(b) < HeaderSize {
		return 0, ErrShort
	}
	if binary.BigEndian.Uint64(b) != 1<<64-1 || binary.BigEndian.Uint64(b[8:]) != 1<<64-1 {
		return 0, ErrMarker
	}
	n := int(binary.BigEndian.Uint16(b[16:]))
	if n < HeaderSize || n > limit {
		return 0, ErrLength
	}
	if n > len(b) {
		return 0, ErrShort
	}
	*m = Message{Type: Type(b[18]), Body: b[HeaderSize:n:n], Raw: b[:n:n]}
	return n, nil
}

// Options are what the two sides agreed on in their OPEN, as far as it changes how an
// UPDATE is written.
type Options struct {
	AS4     bool     // AS numbers have four bytes
	AddPath Families // prefixes of these families have an identifier
	// Guess is for whoever hands on what others said, and may have kept to AddPath or not:
	// collectors' files hold identifiers without saying so, and FRR and GoBGP leave them
	// out of what they tell by BMP. A block that can't be right as AddPath has it, and is
	// the other way, is read the other way; Update.Guessed says so. Otherwise an identifier
	// reads as 0.0.0.0/0 and worse.
	Guess bool
}

// Family is an address family with its use.
type Family uint8

// The families that are read.
const (
	IPv4Unicast Family = iota
	IPv4Multicast
	IPv6Unicast
	IPv6Multicast
	Other // VPN, EVPN, labels, flow rules: passed over and counted
)

// IPv6 tells whether the prefixes are of IPv6.
func (f Family) IPv6() bool { return f == IPv6Unicast || f == IPv6Multicast }

var familyNames = [...]string{"ipv4-unicast", "ipv4-multicast", "ipv6-unicast", "ipv6-multicast", "other"}

// String is the family's name.
func (f Family) String() string { return familyNames[min(f, Other)] }

// FamilyOf is the family of an AFI and a SAFI (RFC 4760).
func FamilyOf(afi uint16, safi uint8) Family {
	if afi < 1 || afi > 2 || safi < 1 || safi > 2 {
		return Other
	}
	return Family(afi-1)<<1 | Family(safi-1)
}

// Families is a set of them.
type Families uint8

// With is the set and f.
func (s Families) With(f Family) Families { return s | 1<<f }

// Has tells whether f is in the set.
func (s Families) Has(f Family) bool { return s>>f&1 != 0 }
