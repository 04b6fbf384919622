// Package ipfix reads messages of IPFIX (RFC 7011) and of NetFlow version 9 (RFC
// 3954), which differ in little: header, numbers of sets, and enterprise fields,
// variable lengths and withdrawals that version 9 doesn't have.
//
// A message is a header and sets, a set holds templates or records, a template says
// what a record's fields are. Parse reads the header in place, Message.Next walks the
// sets, a Cache learns templates and finds them again, and Records walks the records of a
// data set by offsets that were computed when the template came. Nothing is copied, and
// neither a record nor a template that is sent again allocates.
//
//	var m ipfix.Message
//	err := ipfix.Parse(datagram, &m)
//	for set := (ipfix.Set{}); m.Next(&set); {
//		switch set.Kind {
//		case ipfix.Templates, ipfix.OptionsTemplates:
//			_, err = cache.Learn(exporter, &m, &set)
//		case ipfix.Data:
//			e := cache.Find(exporter, &m, set.ID) // nil: data before its template
//			records.Start(e.Template, set.Body)
//			for records.Next() { … records.Uint(i) … }
//		}
//	}
//
// The transport is the caller's matter: a datagram of UDP is one message; in a stream
// (TCP, SCTP, a file of RFC 5655) Length says where the next begins.
package ipfix

import (
	"encoding/binary"
	"errors"
)

// Versions of the protocol, as the header says them.
const (
	V9    = 9  // NetFlow version 9
	IPFIX = 10 // IPFIX
)

const (
	header9     = 20 // bytes of the header, RFC 3954 §5.1
	headerIPFIX = 16 // RFC 7011 §3.1
	setHeader   = 4  // RFC 7011 §3.3.2, RFC 3954 §5.2
)

// Header is what stands before the sets of a message.
type Header struct {
	Version    uint16
	Length     int    // bytes of the message; of version 9, whose header doesn't say it, the datagram
	Count      uint16 // version 9: how many records the exporter says there are; many say something else
	Uptime     uint32 // version 9: milliseconds since the exporter started
	ExportTime uint32 // Unix seconds
	Sequence   uint32 // see Sequence
	Domain     uint32 // observation domain; the source ID of version 9
}

// Message is one message and how far its sets were walked. It refers to the bytes that
// were parsed.
type Message struct {
	Header
	rest []byte
	err  error
}

// What is wrong with a message.
var (
	ErrShort    = errors.New("ipfix: message is shorter than its header: was it cut on the way?")
	ErrVersion  = errors.New("ipfix: neither NetFlow version 9 nor IPFIX: does something else send to this port?")
	ErrLength   = errors.New("ipfix: message is shorter than its length says: was it cut on the way?")
	ErrSet      = errors.New("ipfix: set is shorter than its header or longer than its message: the exporter's encoder is at fault")
	ErrTemplate = errors.New("ipfix: template is damaged: the exporter's encoder is at fault")
)

// Parse reads the header of the message at the beginning of b.
func Parse(b []byte, m *Message) error {
	if len(b) < 2 {
		return ErrShort
	}
	switch binary.BigEndian.Uint16(b) {
	case V9:
		if len(b) < header9 {
			return ErrShort
		}
		*m = Message{rest: b[header9:], Header: Header{
			Version: V9, Length: len(b), Count: binary.BigEndian.Uint16(b[2:]), Uptime: binary.BigEndian.Uint32(b[4:]),
			ExportTime: binary.BigEndian.Uint32(b[8:]), Sequence: binary.BigEndian.Uint32(b[12:]), Domain: binary.BigEndian.Uint32(b[16:]),
		}}
	case IPFIX:
		if len(b) < headerIPFIX {
			return ErrShort
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < headerIPFIX {
			return ErrShort
		}
		if n > len(b) {
			return ErrLength
		}
		*m = Message{rest: b[headerIPFIX:n:n], Header: Header{
			Version: IPFIX, Length: n,
			ExportTime: binary.BigEndian.Uint32(b[4:]), Sequence: binary.BigEndian.Uint32(b[8:]), Domain: binary.BigEndian.Uint32(b[12:]),
		}}
	default:
		return ErrVersion
	}
	return nil
}

// Kind is what a set holds.
type Kind uint8

// The kinds of set.
const (
	Reserved         Kind = iota // a number that has no meaning in this version: pass over it
	Templates                    // templates of data records
	OptionsTemplates             // templates of records about the exporter itself
	Data                         // records; the set's number is their template's
)

// Set is one set of a message.
type Set struct {
	ID   uint16
	Kind Kind
	Body []byte // without the set's header
}

// Next gives the next set and tells whether there was one. After the last, Err says
// whether the message ended as it should.
func (m *Message) Next(s *Set) bool {
	// Fewer bytes than a set's header are padding: exporters of version 9 round up the
	// datagram instead of the last set.
	if len(m.rest) < setHeader || m.err != nil {
		return false
	}
	n := int(binary.BigEndian.Uint16(m.rest[2:]))
	if n < setHeader || n > len(m.rest) {
		if m.Version != V9 || !zeros(m.rest) { // or they pad it by more
			m.err = ErrSet
		}
		m.rest = nil
		return false
	}
	s.ID, s.Body = binary.BigEndian.Uint16(m.rest), m.rest[setHeader:n:n]
	s.Kind = kind(m.Version, s.ID)
	m.rest = m.rest[n:]
	return true
}

// Err is why Next ended early; nil at the end of the message.
func (m *Message) Err() error { return m.err }

// zeros tells padding.
func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// kind: RFC 7011 §3.3.2 and RFC 3954 §5.2. Numbers from 256 are templates'.
func kind(version, id uint16) Kind {
	switch {
	case id >= 256:
		return Data
	case version == V9 && id == 0, version == IPFIX && id == 2:
		return Templates
	case version == V9 && id == 1, version == IPFIX && id == 3:
		return OptionsTemplates
	}
	return Reserved
}
