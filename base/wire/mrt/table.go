package mrt

import (
	"encoding/binary"
	"net/netip"

	"sakimori/base/wire/bgp"
)

// Peers is the table of peers that entries of a dump refer to by number.
type Peers struct {
	Collector netip.Addr
	View      string
	List      []Peer
}

// Peer is one peer of a dump.
type Peer struct {
	Address netip.Addr
	BGPID   netip.Addr
	AS      uint32
}

// Peers reads a record of KindPeers, reusing the memory of p.
func (r *Record) Peers(p *Peers) error {
	be := binary.BigEndian
	p.Collector, p.View, p.List = netip.Addr{}, "", p.List[:0]
	b := r.Body
	if len(b) < 6 || len(b) < 8+int(be.Uint16(b[4:])) {
		return ErrBody
	}
	n := int(be.Uint16(b[4:]))
	p.Collector, p.View = netip.AddrFrom4([4]byte(b)), string(b[6:6+n])
	count := int(be.Uint16(b[6+n:]))
	b = b[8+n:]
	for range count {
		if len(b) < 1 {
			return ErrBody
		}
		kind, address, as := b[0], 4, 2
		if kind&1 != 0 {
			address = 16
		}
		if kind&2 != 0 {
			as = 4
		}
		if len(b) < 5+address+as {
			return ErrBody
		}
		peer := Peer{BGPID: netip.AddrFrom4([4]byte(b[1:]))}
		if b = b[5:]; address == 4 {
			peer.Address = netip.AddrFrom4([4]byte(b))
		} else {
			peer.Address = netip.AddrFrom16([16]byte(b))
		}
		if b = b[address:]; as == 2 {
			peer.AS = uint32(be.Uint16(b))
		} else {
			peer.AS = be.Uint32(b)
		}
		b = b[as:]
		p.List = append(p.List, peer)
	}
	return nil
}

// RIB is what several peers say of one prefix, and how far that was walked.
type RIB struct {
	Prefix   bgp.Prefix
	Sequence uint32
	Entries  int         // how many there are, says the record
	Options  bgp.Options // how the attributes are written

	addPath bool
	rest    []byte
	left    int
	err     error
}

// Entry is what one peer says.
type Entry struct {
	Peer       int    // number in Peers.List, from 0
	Originated uint32 // Unix seconds: when the collector took it
	ID         uint32 // ADD-PATH identifier; 0 where there are none
	Attributes []byte
}

// RIB reads the beginning of a record of KindRIB.
func (r *Record) RIB(rib *RIB) error {
	*rib = RIB{Options: bgp.Options{AS4: true}}
	subtype := r.Subtype
	if subtype >= ribPath {
		rib.addPath = true
		subtype -= ribPath - ribIPv4
	}
	if len(r.Body) < 4 {
		return ErrBody
	}
	rib.Sequence = binary.BigEndian.Uint32(r.Body)
	n, ok := bgp.ParsePrefix(r.Body[4:], bgp.Family(subtype-ribIPv4), &rib.Prefix) //nolint:gosec // four of them
	if !ok {
		return ErrPrefix
	}
	b := r.Body[4+n:]
	if len(b) < 2 {
		return ErrBody
	}
	rib.Entries = int(binary.BigEndian.Uint16(b))
	rib.rest, rib.left = b[2:], rib.Entries
	return nil
}

// Next gives the next entry and tells whether there was one. After the last, Err says
// whether the record ended as it should.
func (rib *RIB) Next(e *Entry) bool {
	if rib.left == 0 || rib.err != nil {
		return false
	}
	b, head := rib.rest, 8
	if rib.addPath {
		head = 12
	}
	if len(b) < head || len(b)-head < int(binary.BigEndian.Uint16(b[head-2:])) {
		rib.err = ErrBody
		return false
	}
	e.Peer, e.Originated, e.ID = int(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:]), 0
	if rib.addPath {
		e.ID = binary.BigEndian.Uint32(b[6:])
	}
	end := head + int(binary.BigEndian.Uint16(b[head-2:]))
	e.Attributes, rib.rest = b[head:end:end], b[end:]
	rib.left--
	return true
}

// Err is why Next ended early; nil at the end of the record.
func (rib *RIB) Err() error { return rib.err }

// Table is what one peer says of one prefix, as the old format has it.
type Table struct {
	View, Sequence uint16
	Prefix         bgp.Prefix
	Originated     uint32 // Unix seconds: when the collector took it
	Peer           netip.Addr
	PeerAS         uint32
	Attributes     []byte
	Options        bgp.Options // how they are written
}

// Table reads a record of KindTable.
func (r *Record) Table(t *Table) error {
	*t = Table{}
	size, family := 4, bgp.IPv4Unicast
	if r.Subtype == 2 {
		size, family = 16, bgp.IPv6Unicast
	}
	b, be := r.Body, binary.BigEndian
	if len(b) < 14+2*size {
		return ErrBody
	}
	t.View, t.Sequence = be.Uint16(b), be.Uint16(b[2:])
	address := b[4 : 4+size]
	b = b[4+size:]
	bits := b[0]
	if int(bits) > 8*size {
		return ErrPrefix
	}
	t.Prefix = bgp.PrefixOf(address, bits, family)
	t.Originated = be.Uint32(b[2:])
	if b = b[6:]; size == 4 {
		t.Peer = netip.AddrFrom4([4]byte(b))
	} else {
		t.Peer = netip.AddrFrom16([16]byte(b))
	}
	b = b[size:]
	t.PeerAS = uint32(be.Uint16(b))
	n := int(be.Uint16(b[2:]))
	if len(b)-4 < n {
		return ErrBody
	}
	t.Attributes = b[4 : 4+n : 4+n]
	return nil
}
