// Package bmp reads the BGP Monitoring Protocol in place (RFC 7854): what a router tells
// of its peers' routes before and after its policy, of those it uses (Loc-RIB, RFC 9069)
// and of those it announces (RFC 8671), with the further information of RFC 9736.
//
// Cut takes a message off a stream. Messages of a peer begin with its header, which
// Message.Peer reads; each type has a method for what follows. Nothing is copied and
// nothing allocates.
package bmp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"sakimori/base/wire/bgp"
)

// Version is the only one that is read.
const Version = 3

// Type is what a message is.
type Type uint8

// The types.
const (
	RouteMonitoring Type = iota
	Statistics
	PeerDown
	PeerUp
	Initiation
	Termination
	RouteMirroring
)

var typeNames = [...]string{"route-monitoring", "statistics", "peer-down", "peer-up", "initiation", "termination", "route-mirroring"}

// String is the type's name.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// HeaderSize is what stands before each message, in bytes.
const (
	HeaderSize = 6
	peerSize   = 42
)

// MaxMessage is the longest message that is read, in bytes: a peer that comes up has two
// OPENs, a mirrored one may hold several messages of 65,535.
const MaxMessage = 1 << 20

// What is wrong with a message.
var (
	ErrShort   = errors.New("bmp: the message isn't whole: more bytes are to come, or it was cut on the way")
	ErrVersion = errors.New("bmp: not version 3: the stream is out of step, or isn't BMP")
	ErrLength  = errors.New("bmp: a length that a message can't have: the stream is out of step, or isn't BMP")
	ErrBody    = errors.New("bmp: the message is shorter than what it says it holds")
	ErrBGP     = errors.New("bmp: no BGP message where one should be")
)

// Message is one message, in place.
type Message struct {
	Type Type
	Body []byte // behind the header
	Raw  []byte // the whole of it
}

// Cut takes the first message off b and tells how many bytes it has. With ErrShort more
// bytes may help; after any other error the stream is lost.
func Cut(b []byte, m *Message) (int, error) {
	if len(b) > 0 && b[0] != Version {
		return 0, ErrVersion
	}
	if len(b) < HeaderSize {
		return 0, ErrShort
	}
	n := binary.BigEndian.Uint32(b[1:])
	if n < HeaderSize || n > MaxMessage {
		return 0, ErrLength
	}
	if uint64(n) > uint64(len(b)) {
		return 0, ErrShort
	}
	*m = Message{Type: Type(b[5]), Body: b[HeaderSize:n:n], Raw: b[:n:n]}
	return int(n), nil
}

// PeerType is which table of the router a message is of.
type PeerType uint8

// The types of peer.
const (
	Global     PeerType = 0 // of the table for all
	Restricted PeerType = 1 // of a VRF: Distinguisher says which
	Local      PeerType = 2 // the router's own, between its instances
	LocRIB     PeerType = 3 // what the router uses (RFC 9069)
)

// Flags of the header of a peer.
const (
	flagIPv6     = 0x80 // V
	flagPost     = 0x40 // L
	flagAS2      = 0x20 // A
	flagOut      = 0x10 // O
	flagFiltered = 0x80 // F, of Loc-RIB
)

// Peer is of whom a message tells.
type Peer struct {
	Type          PeerType
	Post          bool       // after the router's policy
	Out           bool       // of what the router announces to the peer, not of what the peer does
	AS2           bool       // AS paths in two bytes
	Filtered      bool       // of LocRIB: not all of it is told
	Distinguisher uint64     // of the VRF
	Address       netip.Addr // zero of LocRIB
	AS            uint32
	BGPID         netip.Addr
	At            int64 // Unix nanoseconds, by the router's clock; 0 not told
}

// Peer reads the header of the peer and gives what stands behind it. The message must be
// of a type that has one: all but Initiation and Termination.
func (m *Message) Peer(p *Peer) (rest []byte, err error) {
	*p = Peer{}
	b, be := m.Body, binary.BigEndian
	if len(b) < peerSize {
		return nil, ErrBody
	}
	flags := b[1]
	*p = Peer{
		Type: PeerType(b[0]), Distinguisher: be.Uint64(b[2:]), AS: be.Uint32(b[26:]), BGPID: netip.AddrFrom4([4]byte(b[30:])),
		At: int64(be.Uint32(b[34:]))*1e9 + int64(be.Uint32(b[38:]))*1e3,
	}
	if p.Type == LocRIB { // it has one flag of its own, and no address
		p.Filtered = flags&flagFiltered != 0
		return b[peerSize:], nil
	}
	p.Post, p.AS2, p.Out = flags&flagPost != 0, flags&flagAS2 != 0, flags&flagOut != 0
	if flags&flagIPv6 != 0 {
		p.Address = netip.AddrFrom16([16]byte(b[10:]))
	} else {
		p.Address = netip.AddrFrom4([4]byte(b[22:]))
	}
	return b[peerSize:], nil
}

// Options is how UPDATEs of the peer are written, whose session began with these OPENs
// (Up.Sent, Up.Received; empty ones where it isn't known, and of LocRIB).
func (p *Peer) Options(sent, received *bgp.Open) bgp.Options {
	from, to := received, sent
	if p.Out {
		from, to = sent, received
	}
	o := bgp.Agreed(from, to)
	// The router may have written the message anew: only its flag tells how long AS numbers
	// are, and FRR and GoBGP leave identifiers out.
	o.AS4, o.Guess = !p.AS2, true
	return o
}

// Monitored is the UPDATE of a RouteMonitoring message, from what stands behind the
// peer's header.
func Monitored(rest []byte, u *bgp.Message) error {
	n, err := bgp.Cut(rest, bgp.MaxExtended, u)
	if err != nil || n != len(rest) || u.Type != bgp.TypeUpdate {
		return ErrBGP
	}
	return nil
}

// TLV is one piece of information: type, length, value.
type TLV struct {
	Type  uint16
	Value []byte
}

// NextTLV takes the first piece off b and gives what is behind it. ok is false at the
// end, and err says whether it was the end.
func NextTLV(b []byte, t *TLV) (rest []byte, ok bool, err error) {
	if len(b) == 0 {
		return nil, false, nil
	}
	if len(b) < 4 || len(b)-4 < int(binary.BigEndian.Uint16(b[2:])) {
		return nil, false, ErrBody
	}
	end := 4 + int(binary.BigEndian.Uint16(b[2:]))
	*t = TLV{binary.BigEndian.Uint16(b), b[4:end:end]}
	return b[end:], true, nil
}

// Types of the information of Initiation and PeerUp (RFC 7854, 9069, 9736).
const (
	InfoString     = 0 // free text
	InfoSystem     = 1 // sysDescr of the router
	InfoName       = 2 // sysName of the router
	InfoTable      = 3 // name of the VRF or table
	InfoAdminLabel = 4 // what its people call the peer
)

// Types of the information of Termination.
const (
	EndString = 0
	EndReason = 1 // a number of two bytes: 0 by its people, 1 unspecified, 2 out of resources, 3 a second session, 4 for good
)
