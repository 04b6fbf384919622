// Package netflow reads datagrams of NetFlow version 5: a header of 24 bytes and
// records of 48, as Cisco describes them ("NetFlow Export Datagram Format", tables B-3
// and B-4). Versions with templates are package ipfix's.
//
// Parse reads the header in place and Next one record after another into the caller's
// Record. Nothing is copied or allocated.
package netflow

import (
	"encoding/binary"
	"errors"
)

// Version is the number that a datagram begins with.
const Version = 5

const (
	headerSize = 24
	recordSize = 48
)

// Header is what stands before the records.
type Header struct {
	Count    int    // records that the exporter says there are, 30 at most by the format
	Uptime   uint32 // milliseconds since the exporter started
	Seconds  uint32 // Unix time of the export
	Nanos    uint32 // and what is left of it in nanoseconds
	Sequence uint32 // flows that were sent before this datagram
	Engine   uint16 // type<<8|number of the flow switching engine: each has its own sequence
	Mode     uint8  // of sampling, 0 none
	Interval uint16 // one packet of so many is looked at; 0 not told
}

// Record is one flow: packets one way.
type Record struct {
	Src, Dst, NextHop uint32
	In, Out           uint16 // SNMP indices of interfaces
	Packets, Bytes    uint32 // bytes of IP packets
	First, Last       uint32 // uptime at the first and last packet, milliseconds
	SrcPort, DstPort  uint16 // of ICMP, DstPort is type<<8|code
	Flags, Proto, TOS uint8
	SrcAS, DstAS      uint16
	SrcMask, DstMask  uint8
}

// Message is one datagram and how far its records were walked. It refers to the bytes
// that were parsed.
type Message struct {
	Header
	rest []byte
	left int
}

// What is wrong with a datagram.
var (
	ErrShort   = errors.New("netflow: datagram is shorter than its header: was it cut on the way?")
	ErrVersion = errors.New("netflow: not NetFlow version 5: does something else send to this port?")
	ErrLength  = errors.New("netflow: fewer records than the header says: was the datagram cut on the way?")
)

// Parse reads the header of a datagram. With ErrLength, the records that are whole can
// be walked nevertheless.
func Parse(b []byte, m *Message) error {
	if len(b) < 2 {
		return ErrShort
	}
	if binary.BigEndian.Uint16(b) != Version {
		return ErrVersion
	}
	if len(b) < headerSize {
		return ErrShort
	}
	sampling := binary.BigEndian.Uint16(b[22:])
	*m = Message{rest: b[headerSize:], Header: Header{
		Count: int(binary.BigEndian.Uint16(b[2:])), Uptime: binary.BigEndian.Uint32(b[4:]), Seconds: binary.BigEndian.Uint32(b[8:]), Nanos: binary.BigEndian.Uint32(b[12:]),
		Sequence: binary.BigEndian.Uint32(b[16:]), Engine: binary.BigEndian.Uint16(b[20:]), Mode: uint8(sampling >> 14), Interval: sampling & 0x3fff,
	}}
	m.left = m.Count
	if whole := len(m.rest) / recordSize; whole < m.left {
		m.left = whole
		return ErrLength
	}
	return nil
}

// Next gives the next record and tells whether there was one.
func (m *Message) Next(r *Record) bool {
	if m.left == 0 {
		return false
	}
	b := (*[recordSize]byte)(m.rest)
	m.rest, m.left = m.rest[recordSize:], m.left-1
	be16, be32 := binary.BigEndian.Uint16, binary.BigEndian.Uint32
	r.Src, r.Dst, r.NextHop = be32(b[0:]), be32(b[4:]), be32(b[8:])
	r.In, r.Out = be16(b[12:]), be16(b[14:])
	r.Packets, r.Bytes = be32(b[16:]), be32(b[20:])
	r.First, r.Last = be32(b[24:]), be32(b[28:])
	r.SrcPort, r.DstPort = be16(b[32:]), be16(b[34:])
	r.Flags, r.Proto, r.TOS = b[37], b[38], b[39] // byte 36 is padding
	r.SrcAS, r.DstAS = be16(b[40:]), be16(b[42:])
	r.SrcMask, r.DstMask = b[44], b[45]
	return true
}
