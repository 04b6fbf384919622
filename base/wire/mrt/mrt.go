// Package mrt reads MRT files in place (RFC 6396, 8050): table dumps of both formats,
// messages and changes of state of BGP4MP with and without microseconds, and what
// collectors wrote before there was an RFC. AppendDump says a record in the words of
// `bgpdump -m`.
//
// Parse takes a record off the bytes of a file, Reader off a stream that isn't
// compressed. What a record holds is read by Message, Peers, RIB or Table, by its Kind.
// What isn't read is passed over by its length and is Unread.
//
//	r := mrt.NewReader(file)
//	var rec mrt.Record
//	for err = r.Next(&rec); err == nil; err = r.Next(&rec) {
//		switch rec.Kind() {
//		case mrt.KindMessage:
//			err := rec.Message(&m) // u.Parse(m.Body, m.Options)
//		case mrt.KindPeers:
//			err := rec.Peers(&peers)
//		case mrt.KindRIB:
//			err := rec.RIB(&rib)
//			for rib.Next(&e) { u.ParseEntry(e.Attributes, rib.Options) }
//		…
//	}
package mrt

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"sakimori/base/wire/bgp"
)

// Type is the type of a record.
type Type uint16

// The types that are read.
const (
	TypeBGP         Type = 5 // before 2000; RFC 6396 lists it as deprecated
	TypeTableDump   Type = 12
	TypeTableDumpV2 Type = 13
	TypeBGP4MP      Type = 16
	TypeBGP4MPET    Type = 17 // with microseconds
)

// Record is one record. It refers to the bytes that were read.
type Record struct {
	At      int64 // when it was written, Unix nanoseconds; whole seconds but for TypeBGP4MPET
	Type    Type
	Subtype uint16
	Body    []byte // behind the header, and behind the microseconds
	Offset  int64  // of its header in the file, when a Reader read it
}

const headerSize = 12

// MaxRecord is the longest record that is read, in bytes: a prefix of a full table with
// a thousand peers has about a hundred thousand. A record that claims more is damaged.
const MaxRecord = 16 << 20

// What is wrong with a record.
var (
	ErrShort   = errors.New("mrt: the record isn't whole: the file was cut, or more is to come")
	ErrLength  = errors.New("mrt: a record of more than 16 MiB: the file is damaged here, or isn't MRT")
	ErrBody    = errors.New("mrt: the record is shorter than what it says it holds")
	ErrFamily  = errors.New("mrt: the record's address family is neither IPv4 nor IPv6")
	ErrPrefix  = errors.New("mrt: a prefix that is longer than its family allows")
	ErrMessage = errors.New("mrt: no BGP message where one should be")
	ErrPeer    = errors.New("mrt: a route of a peer that the dump's table of peers doesn't have")
)

// Parse takes the first record off b and tells how many bytes it has. With ErrShort more
// bytes may help.
func Parse(b []byte, r *Record) (int, error) {
	if len(b) < headerSize {
		return 0, ErrShort
	}
	n := int64(binary.BigEndian.Uint32(b[8:]))
	if n > MaxRecord {
		return 0, ErrLength
	}
	if int64(len(b)-headerSize) < n {
		return 0, ErrShort
	}
	end := headerSize + int(n)
	*r = Record{
		At:   int64(binary.BigEndian.Uint32(b)) * 1e9,
		Type: Type(binary.BigEndian.Uint16(b[4:])), Subtype: binary.BigEndian.Uint16(b[6:]),
		Body: b[headerSize:end:end],
	}
	if r.Type == TypeBGP4MPET && n >= 4 {
		r.At += int64(binary.BigEndian.Uint32(r.Body)) * 1e3
		r.Body = r.Body[4:]
	}
	return end, nil
}

// Kind is what a record holds.
type Kind uint8

// The kinds.
const (
	Unread      Kind = iota // of no interest, or not known; counted by who reads
	KindMessage             // a BGP message: Record.Message
	KindState               // a change of state of a session: Record.State
	KindPeers               // the peers of the dump that follows: Record.Peers
	KindRIB                 // what several peers say of one prefix: Record.RIB
	KindTable               // what one peer says of one prefix, the old format: Record.Table
)

// Subtypes of BGP4MP.
const (
	stateChange      = 0
	message          = 1
	message4         = 4
	stateChange4     = 5
	messageLocal     = 6
	message4Local    = 7
	messagePath      = 8
	message4Path     = 9
	messageLocalPath = 10
	message4LocPath  = 11
)

// Subtypes of TABLE_DUMP_V2.
const (
	peerIndex   = 1
	ribIPv4     = 2 // unicast, then multicast, then IPv6 likewise
	ribIPv6Last = 5
	ribPath     = 8 // the same four with ADD-PATH
	ribPathLast = 11
)

// Kind is what the record holds.
func (r *Record) Kind() Kind {
	switch r.Type {
	case TypeBGP:
		switch {
		case r.Subtype == 3:
			return KindState
		case r.Subtype == 1 || r.Subtype >= 5 && r.Subtype <= 7:
			return KindMessage
		}
	case TypeTableDump:
		if r.Subtype == 1 || r.Subtype == 2 {
			return KindTable
		}
	case TypeTableDumpV2:
		switch {
		case r.Subtype == peerIndex:
			return KindPeers
		case r.Subtype >= ribIPv4 && r.Subtype <= ribIPv6Last, r.Subtype >= ribPath && r.Subtype <= ribPathLast:
			return KindRIB
		}
	case TypeBGP4MP, TypeBGP4MPET:
		switch r.Subtype {
		case stateChange, stateChange4:
			return KindState
		case message, message4, messageLocal, message4Local, messagePath, message4Path, messageLocalPath, message4LocPath:
			return KindMessage
		}
	}
	return Unread
}

// Session is between whom a record's message went, or whose state changed.
type Session struct {
	Peer, Local     netip.Addr // zero where the record has none that is known
	PeerAS, LocalAS uint32
	Interface       uint16
}

// Message is one BGP message of a session.
type Message struct {
	Session
	Sent    bool // by the collector, not by the peer (RFC 8050's _LOCAL)
	Type    bgp.Type
	Body    []byte      // behind the message's header
	Raw     []byte      // with its header; nil of TypeBGP, which has none
	Options bgp.Options // how the body is written
}

// Message reads a record of KindMessage.
func (r *Record) Message(m *Message) error {
	*m = Message{}
	b, err := r.session(&m.Session)
	if err != nil {
		return err
	}
	if r.Type == TypeBGP {
		switch r.Subtype {
		case 1:
			m.Type = bgp.TypeUpdate
		case 5:
			m.Type = bgp.TypeOpen
		case 6:
			m.Type = bgp.TypeNotification
		case 7:
			m.Type = bgp.TypeKeepalive
		}
		m.Body = b
		return nil
	}
	var whole bgp.Message
	n, err := bgp.Cut(b, bgp.MaxExtended, &whole)
	if err != nil || n != len(b) {
		return ErrMessage
	}
	m.Type, m.Body, m.Raw = whole.Type, whole.Body, whole.Raw
	m.Options.AS4, m.Options.Guess = r.as4(), true
	if r.Subtype >= messagePath {
		m.Options.AddPath = 1<<bgp.Other - 1
	}
	m.Sent = r.Subtype == messageLocal || r.Subtype == message4Local || r.Subtype == messageLocalPath || r.Subtype == message4LocPath
	return nil
}

// as4 tells whether AS numbers of a BGP4MP record have four bytes.
func (r *Record) as4() bool {
	switch r.Subtype {
	case message4, stateChange4, message4Local, message4Path, message4LocPath:
		return true
	}
	return false
}

// State is a change of state of a session's state machine.
type State struct {
	Session
	From, To uint16 // 1 idle … 6 established (RFC 4271); Quagga has 7 clearing, 8 deleted; 0 not told
}

// Established is the state in which routes are exchanged.
const Established = 6

// State reads a record of KindState.
func (r *Record) State(s *State) error {
	*s = State{}
	b, err := r.session(&s.Session)
	if err != nil {
		return err
	}
	if len(b) < 4 {
		return ErrBody
	}
	s.From, s.To = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	return nil
}

// session reads what stands before the message or the states, and gives what is behind.
func (r *Record) session(s *Session) ([]byte, error) {
	b, be := r.Body, binary.BigEndian
	if r.Type == TypeBGP {
		if len(b) < 6 {
			return nil, ErrBody
		}
		s.PeerAS, s.Peer, b = uint32(be.Uint16(b)), netip.AddrFrom4([4]byte(b[2:])), b[6:]
		if r.Subtype == 3 { // a change of state has no local side
			return b, nil
		}
		if len(b) < 6 {
			return nil, ErrBody
		}
		s.LocalAS, s.Local = uint32(be.Uint16(b)), netip.AddrFrom4([4]byte(b[2:]))
		return b[6:], nil
	}
	if r.as4() {
		if len(b) < 12 {
			return nil, ErrBody
		}
		s.PeerAS, s.LocalAS, b = be.Uint32(b), be.Uint32(b[4:]), b[8:]
	} else {
		if len(b) < 8 {
			return nil, ErrBody
		}
		s.PeerAS, s.LocalAS, b = uint32(be.Uint16(b)), uint32(be.Uint16(b[2:])), b[4:]
		// Zebra before 2001 left interface and addresses out where it had none.
		if r.Subtype == stateChange && len(b) == 4 || r.Subtype == message && be.Uint32(b) == 1<<32-1 {
			return b, nil
		}
	}
	s.Interface = be.Uint16(b)
	afi := be.Uint16(b[2:])
	b = b[4:]
	switch {
	case afi == 1 && len(b) >= 8:
		s.Peer, s.Local = netip.AddrFrom4([4]byte(b)), netip.AddrFrom4([4]byte(b[4:]))
		return b[8:], nil
	case afi == 2 && len(b) >= 32:
		s.Peer, s.Local = netip.AddrFrom16([16]byte(b)), netip.AddrFrom16([16]byte(b[16:]))
		return b[32:], nil
	case afi == 1 || afi == 2:
		return nil, ErrBody
	}
	return nil, ErrFamily
}
