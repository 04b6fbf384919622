// Package radius reads RADIUS packets where they lie, without allocating, and
// proves who sent them: RFC 2865 (the packet), RFC 2866 and 2869 (accounting), RFC
// 3162, 4818 and 6911 (IPv6), RFC 5176 (codes of CoA) and RFC 5997 (Status-Server).
//
// It knows no dictionary: an attribute is a number and its bytes, and the numbers
// named here are those that the house reads.
package radius

import (
	"encoding/binary"
	"errors"
)

// Code says what a packet is for (RFC 2865 §3, RFC 5176 §2.3).
type Code uint8

// The codes.
const (
	AccessRequest      Code = 1
	AccessAccept       Code = 2
	AccessReject       Code = 3
	AccountingRequest  Code = 4
	AccountingResponse Code = 5
	AccessChallenge    Code = 11
	StatusServer       Code = 12
	StatusClient       Code = 13
	DisconnectRequest  Code = 40
	DisconnectACK      Code = 41
	DisconnectNAK      Code = 42
	CoARequest         Code = 43
	CoAACK             Code = 44
	CoANAK             Code = 45
)

const (
	header = 20 // code, identifier, length, authenticator

	// MaxLen is the longest packet, in bytes (RFC 2865 §3).
	MaxLen = 4096
)

// What Parse refuses. A datagram of these kinds is silently discarded (RFC 2865 §3
// and §5).
var (
	ErrShort     = errors.New("shorter than a RADIUS header")
	ErrLength    = errors.New("its length field lies outside of 20 to 4096 bytes")
	ErrCut       = errors.New("shorter than its length field")
	ErrAttribute = errors.New("an attribute doesn't fit into the packet")
)

// Packet is a packet as Parse gave it: its length is right, and its attributes fill
// it exactly.
type Packet []byte

// Parse finds the packet in a datagram. What lies behind the packet's own length is
// padding and left out (RFC 2865 §3). The packet aliases b.
func Parse(b []byte) (Packet, error) {
	if len(b) < header {
		return nil, ErrShort
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < header || n > MaxLen {
		return nil, ErrLength
	}
	if n > len(b) {
		return nil, ErrCut
	}
	if !whole(b[header:n]) {
		return nil, ErrAttribute
	}
	return Packet(b[:n:n]), nil
}

// whole tells whether attributes follow each other to the very end.
func whole(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		b = b[b[1]:]
	}
	return true
}

// Code is what the packet is for.
func (p Packet) Code() Code { return Code(p[0]) }

// ID is the identifier, which an answer repeats.
func (p Packet) ID() uint8 { return p[1] }

// Authenticator is the 16 bytes that prove the sender.
func (p Packet) Authenticator() []byte { return p[4:header:header] }

// Attributes are the attributes, in the order of the packet.
func (p Packet) Attributes() Attributes { return Attributes(p[header:]) }

// Attributes is what is left to be read of a row of attributes:
//
//	for rest := p.Attributes(); ; {
//		t, value, ok := rest.Next()
//		if !ok {
//			break
//		}
//	}
//
// Extended and long extended attributes (RFC 6929) come out one fragment at a time,
// as the numbers 241 to 246 that old servers see in them too.
type Attributes []byte

// Next takes the first one off. Its value aliases the packet, and may be empty.
func (a *Attributes) Next() (t Type, value []byte, ok bool) {
	b := *a
	if len(b) < 2 {
		return 0, nil, false
	}
	n := int(b[1])
	if n < 2 || n > len(b) {
		return 0, nil, false
	}
	*a = b[n:]
	return Type(b[0]), b[2:n:n], true
}

// Vendor opens a Vendor-Specific attribute (RFC 2865 §5.26): the vendor's SMI
// number, and its attributes if they have the recommended form of type, length and
// value. ok is false when they haven't: some vendors have their own.
func Vendor(value []byte) (vendor uint32, sub Attributes, ok bool) {
	if len(value) < 4 || !whole(value[4:]) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(value), Attributes(value[4:]), true
}
