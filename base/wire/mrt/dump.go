package mrt

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"sakimori/base/wire/bgp"
)

// Dumper says records in the words of `bgpdump -m`, version 1.6.2: a line for each
// prefix that is announced (A), withdrawn (W) or in a table (B), and for each change of
// state; fields are separated by "|". It holds the table of peers that a dump begins
// with, so one Dumper goes with one file. Its memory is used again.
//
// It says what the record says, not what it means: attributes that are damaged are left
// empty, and their prefixes stay announced; so do those before damage for which a router
// would end the session.
//
// It differs only where bgpdump errs: bits behind a mask, the prefix of a withdrawal in
// the oldest records, sent messages with ADD-PATH, MED and LOCAL_PREF above 2^31 of IPv4
// in MP_REACH_NLRI, an AS4_PATH that is put behind several segments.
type Dumper struct {
	peers Peers
	names [][]byte // "address|AS|" of the peers
	u     bgp.Update
	path  bgp.Path
	head  []byte // of all lines of a record
	tail  []byte // of all lines of a block
}

// Append appends the lines of r to dst. An error says what is wrong with the record, or
// with a message in it; what stood before is appended nevertheless.
func (d *Dumper) Append(dst []byte, r *Record) ([]byte, error) {
	switch r.Kind() {
	case KindMessage:
		return d.message(dst, r)
	case KindState:
		return d.state(dst, r)
	case KindPeers:
		return dst, d.index(r)
	case KindRIB:
		return d.rib(dst, r)
	case KindTable:
		return d.table(dst, r)
	case Unread:
	}
	return dst, nil
}

// stamp appends the name of the format and the time.
func stamp(dst []byte, r *Record, name, more string) []byte {
	dst = append(append(append(dst, name...), more...), '|')
	dst = strconv.AppendInt(dst, r.At/1e9, 10)
	if r.Type == TypeBGP4MPET {
		micros := r.At % 1e9 / 1e3
		dst = append(dst, '.')
		for unit := int64(100000); unit > 0; unit /= 10 {
			dst = append(dst, byte('0'+micros/unit%10))
		}
	}
	return append(dst, '|')
}

// format is the name of a record's format.
func format(r *Record) string {
	switch r.Type {
	case TypeBGP:
		return "BGP"
	case TypeBGP4MPET:
		return "BGP4MP_ET"
	case TypeBGP4MP, TypeTableDump, TypeTableDumpV2:
	}
	return "BGP4MP"
}

// message appends the lines of an UPDATE; other messages have none.
func (d *Dumper) message(dst []byte, r *Record) ([]byte, error) {
	var m Message
	if err := r.Message(&m); err != nil || m.Type != bgp.TypeUpdate {
		return dst, err
	}
	m.Options.Guess = false // bgpdump doesn't
	d.u.Parse(m.Body, m.Options)
	added, more := m.Options.AddPath != 0, ""
	switch {
	case m.Sent && added:
		more = "_LOCAL_AP"
	case m.Sent:
		more = "_LOCAL"
	case added:
		more = "_AP"
	}
	begin := stamp(d.head[:0], r, format(r), more)
	line := append(begin, "W|"...)
	mark := len(begin)
	line = append(strconv.AppendUint(append(appendAddr(line, m.Peer), '|'), uint64(m.PeerAS), 10), '|')
	d.head = line
	withdrawn, announced := d.u.Remains()
	var p bgp.Prefix
	for _, block := range withdrawn {
		for block.Next(&p) {
			dst = appendPrefix(append(dst, line...), &p)
			if added {
				dst = strconv.AppendUint(append(dst, '|'), uint64(p.ID), 10)
			}
			dst = append(dst, '\n')
		}
	}
	line[mark] = 'A'
	for _, block := range announced {
		d.attributes(block.NextHop, r.Type == TypeBGP)
		for block.Next(&p) {
			dst = appendPrefix(append(dst, line...), &p)
			if added {
				dst = strconv.AppendUint(append(dst, '|'), uint64(p.ID), 10)
			}
			dst = append(dst, d.tail...)
		}
	}
	if d.u.Fault == bgp.Sound {
		return dst, nil
	}
	return dst, d.u.Err
}

// state appends the line of a change of state.
func (d *Dumper) state(dst []byte, r *Record) ([]byte, error) {
	var s State
	if err := r.State(&s); err != nil {
		return dst, err
	}
	dst = append(stamp(dst, r, format(r), ""), "STATE|"...)
	dst = append(appendAddr(dst, s.Peer), '|')
	dst = strconv.AppendUint(dst, uint64(s.PeerAS), 10)
	dst = strconv.AppendUint(append(dst, '|'), uint64(s.From), 10)
	dst = strconv.AppendUint(append(dst, '|'), uint64(s.To), 10)
	return append(dst, '\n'), nil
}

// index takes the peers of the dump that follows.
func (d *Dumper) index(r *Record) error {
	err := r.Peers(&d.peers)
	d.names = d.names[:0]
	for _, p := range d.peers.List {
		d.names = append(d.names, append(strconv.AppendUint(append(appendAddr(nil, p.Address), '|'), uint64(p.AS), 10), '|'))
	}
	return err
}

// rib appends a line for each peer that has the prefix.
func (d *Dumper) rib(dst []byte, r *Record) ([]byte, error) {
	var rib RIB
	if err := r.RIB(&rib); err != nil {
		return dst, err
	}
	more := ""
	if rib.addPath {
		more = "_AP"
	}
	head := append(stamp(d.head[:0], r, "TABLE_DUMP2", more), "B|"...)
	mark := len(head)
	head = appendPrefix(head, &rib.Prefix)
	d.head = head
	var e Entry
	var worst error
	for rib.Next(&e) {
		if e.Peer >= len(d.names) {
			worst = ErrPeer
			continue
		}
		d.u.ParseEntry(e.Attributes, rib.Options)
		if d.u.Fault > bgp.Discard {
			worst = d.u.Err
		}
		d.attributes(d.u.NextHop, false)
		dst = append(append(dst, head[:mark]...), d.names[e.Peer]...)
		dst = append(dst, head[mark:]...)
		if rib.addPath {
			dst = strconv.AppendUint(append(dst, '|'), uint64(e.ID), 10)
		}
		dst = append(dst, d.tail...)
	}
	if err := rib.Err(); err != nil {
		return dst, err
	}
	return dst, worst
}

// table appends the line of a record of the old format.
func (d *Dumper) table(dst []byte, r *Record) ([]byte, error) {
	var t Table
	if err := r.Table(&t); err != nil {
		return dst, err
	}
	d.u.ParseEntry(t.Attributes, t.Options)
	d.attributes(d.u.NextHop, false)
	dst = append(stamp(dst, r, "TABLE_DUMP", ""), "B|"...)
	dst = append(strconv.AppendUint(append(appendAddr(dst, t.Peer), '|'), uint64(t.PeerAS), 10), '|')
	dst = append(appendPrefix(dst, &t.Prefix), d.tail...)
	if d.u.Fault > bgp.Discard {
		return dst, d.u.Err
	}
	return dst, nil
}

var origins = [...]string{"|IGP|", "|EGP|", "|INCOMPLETE|"}

// attributes makes the tail of a line: from the path to the end. Of the oldest records
// bgpdump leaves out the mark before the communities.
func (d *Dumper) attributes(nextHop netip.Addr, oldest bool) {
	u := &d.u
	u.Path(&d.path)
	b := appendPath(append(d.tail[:0], '|'), &d.path)
	origin := uint8(2)
	if u.Has.Has(bgp.AttrOrigin) {
		origin = u.Origin
	}
	b = append(b, origins[origin]...)
	if nextHop.IsValid() {
		b = appendAddr(b, nextHop)
	} else {
		b = append(b, "255.255.255.255"...)
	}
	b = strconv.AppendUint(append(b, '|'), uint64(u.LocalPref), 10)
	b = strconv.AppendUint(append(b, '|'), uint64(u.MED), 10)
	if !oldest {
		b = append(b, '|')
	}
	b = appendCommunities(b, u.Communities)
	if u.Atomic {
		b = append(b, "|AG|"...)
	} else {
		b = append(b, "|NAG|"...)
	}
	if u.AggregatorID.IsValid() {
		b = append(strconv.AppendUint(b, uint64(u.Aggregator), 10), ' ')
		b = appendAddr(b, u.AggregatorID)
	}
	d.tail = append(b, '|', '\n')
}

// appendPath appends an AS path: sets in braces, confederations in brackets.
func appendPath(b []byte, p *bgp.Path) []byte {
	for i, s := range p.Segments {
		if i > 0 {
			b = append(b, ' ')
		}
		between := byte(' ')
		switch s.Kind {
		case bgp.Set:
			b, between = append(b, '{'), ','
		case bgp.ConfedSequence:
			b = append(b, '(')
		case bgp.ConfedSet:
			b, between = append(b, '['), ','
		case bgp.Sequence:
		}
		for k, as := range p.Of(s) {
			if k > 0 {
				b = append(b, between)
			}
			b = strconv.AppendUint(b, uint64(as), 10)
		}
		switch s.Kind {
		case bgp.Set:
			b = append(b, '}')
		case bgp.ConfedSequence:
			b = append(b, ')')
		case bgp.ConfedSet:
			b = append(b, ']')
		case bgp.Sequence:
		}
	}
	return b
}

// appendCommunities appends communities; three of those that are well known have names.
func appendCommunities(b, list []byte) []byte {
	for first := true; len(list) >= 4; list, first = list[4:], false {
		if !first {
			b = append(b, ' ')
		}
		high, low := uint64(list[0])<<8|uint64(list[1]), uint64(list[2])<<8|uint64(list[3])
		switch high<<16 | low {
		case 0xffffff01:
			b = append(b, "no-export"...)
		case 0xffffff02:
			b = append(b, "no-advertise"...)
		case 0xffffff03:
			b = append(b, "local-AS"...)
		default:
			b = strconv.AppendUint(append(strconv.AppendUint(b, high, 10), ':'), low, 10)
		}
	}
	return b
}

// appendPrefix appends a prefix.
func appendPrefix(b []byte, p *bgp.Prefix) []byte {
	if p.Family.IPv6() {
		b = append6(b, p.Hi, p.Lo)
	} else {
		b = append4(b, uint32(p.Hi>>32))
	}
	return strconv.AppendUint(append(b, '/'), uint64(p.Bits), 10)
}

// append4 appends an IPv4 address.
func append4(b []byte, a uint32) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		v := byte(a >> shift) //nolint:gosec // one byte of it
		if v >= 100 {
			b = append(b, '0'+v/100)
		}
		if v >= 10 {
			b = append(b, '0'+v/10%10)
		}
		b = append(b, '0'+v%10)
		if shift > 0 {
			b = append(b, '.')
		}
	}
	return b
}

// appendAddr appends an address as the C library writes it; where none is told, 0.0.0.0.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is6():
		v := a.As16()
		return append6(b, binary.BigEndian.Uint64(v[:]), binary.BigEndian.Uint64(v[8:]))
	case a.Is4():
		v := a.As4()
		return append4(b, binary.BigEndian.Uint32(v[:]))
	}
	return append4(b, 0)
}

// append6 appends an IPv6 address as the C library writes it. RFC 5952 and our own
// library differ: there a single group of zeros isn't left out, and ::/96 doesn't end
// like an IPv4 address.
func append6(b []byte, hi, lo uint64) []byte {
	var groups [8]uint16
	from, n, at, run := -1, 0, 0, 0 // the longest run of zeros, the first of several
	for i := range groups {
		half := hi
		if i >= 4 {
			half = lo
		}
		groups[i] = uint16(half >> (48 - 16*(i&3))) //nolint:gosec // one group of it
		if groups[i] != 0 {
			run = 0
			continue
		}
		if run == 0 {
			at = i
		}
		if run++; run > n {
			from, n = at, run
		}
	}
	// What the library takes for an IPv4 address: ::a.b.c.d but for ::1, and ::ffff:a.b.c.d.
	four := from == 0 && (n == 6 || n == 7 && groups[7] != 1 || n == 5 && groups[5] == 0xffff)
	if four && n == 7 {
		n = 6
	}
	for i := 0; i < 8; {
		switch {
		case i == from:
			b = append(b, ':', ':')
			i += n
			continue
		case i > 0 && i != from+n:
			b = append(b, ':')
		}
		if i == 6 && four {
			return append4(b, uint32(lo)) //nolint:gosec // the last four bytes
		}
		b = appendHex(b, groups[i])
		i++
	}
	return b
}

// appendHex appends a number in hexadecimal without leading zeros.
func appendHex(b []byte, v uint16) []byte {
	const digits = "0123456789abcdef"
	for shift := 12; shift > 0; shift -= 4 {
		if v>>shift != 0 {
			b = append(b, digits[v>>shift&15])
		}
	}
	return append(b, digits[v&15])
}
