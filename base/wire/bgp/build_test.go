package bgp_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"sakimori/base/wire/bgp"
)

// attr is an attribute as a message has it.
func attr(flags byte, code bgp.Attribute, value ...byte) []byte {
	if len(value) > 255 {
		flags |= 0x10
	}
	if flags&0x10 != 0 {
		return append(binary.BigEndian.AppendUint16([]byte{flags, byte(code)}, uint16(len(value))), value...)
	}
	return append([]byte{flags, byte(code), byte(len(value))}, value...)
}

// path is an AS path of one sequence, in four bytes each.
func path(ases ...uint32) []byte {
	b := []byte{2, byte(len(ases))}
	for _, as := range ases {
		b = binary.BigEndian.AppendUint32(b, as)
	}
	return b
}

// path2 is the same in two bytes each.
func path2(ases ...uint16) []byte {
	b := []byte{2, byte(len(ases))}
	for _, as := range ases {
		b = binary.BigEndian.AppendUint16(b, as)
	}
	return b
}

// body is the body of an UPDATE.
func body(withdrawn []byte, attributes [][]byte, announced ...byte) []byte {
	all := slices.Concat(attributes...)
	b := append(binary.BigEndian.AppendUint16(nil, uint16(len(withdrawn))), withdrawn...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(all))), all...)
	return append(b, announced...)
}

// The attributes that an announcement must have, and others.
var (
	origin      = attr(0x40, bgp.AttrOrigin, 0)
	asPath      = attr(0x40, bgp.AttrPath, path(64500, 64501, 4200000001)...)
	nextHop     = attr(0x40, bgp.AttrNextHop, 192, 0, 2, 1)
	communities = attr(0xc0, bgp.AttrCommunities, 0xfb, 0xf4, 0, 1, 0xff, 0xff, 2, 0x9a)
	net24       = []byte{24, 203, 0, 113}
	net16       = []byte{16, 198, 18}
)

// lines says an update in words that the oracle's are compared with.
func lines(u *bgp.Update) (list []string) {
	var p bgp.Prefix
	for _, block := range u.Withdrawn() {
		for block.Next(&p) {
			list = append(list, fmt.Sprintf("withdraw %s %s %d", p.Family, p.Netip(), p.ID))
		}
	}
	for _, block := range u.Announced() {
		for block.Next(&p) {
			list = append(list, fmt.Sprintf("announce %s %s %d via %s %s", p.Family, p.Netip(), p.ID, block.NextHop, block.LinkLocal))
		}
	}
	return append(list, attributeLines(u)...)
}

// attributeLines says the attributes.
func attributeLines(u *bgp.Update) (list []string) {
	say := func(code bgp.Attribute, format string, args ...any) {
		if u.Has.Has(code) {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	say(bgp.AttrOrigin, "origin %d", u.Origin)
	var p bgp.Path
	u.Path(&p)
	var segments []string
	for _, s := range p.Segments {
		segments = append(segments, segment(s.Kind, p.Of(s)))
	}
	say(bgp.AttrPath, "path %s", strings.Join(segments, " "))
	say(bgp.AttrMED, "med %d", u.MED)
	say(bgp.AttrLocalPref, "pref %d", u.LocalPref)
	say(bgp.AttrAtomic, "atomic")
	say(bgp.AttrAggregator, "aggregator %d %s", u.Aggregator, u.AggregatorID)
	var numbers []uint32
	for b := u.Communities; len(b) > 0; b = b[4:] {
		numbers = append(numbers, binary.BigEndian.Uint32(b))
	}
	say(bgp.AttrCommunities, "communities %d", numbers)
	numbers = nil
	for b := u.Large; len(b) > 0; b = b[4:] {
		numbers = append(numbers, binary.BigEndian.Uint32(b))
	}
	say(bgp.AttrLarge, "large %d", numbers)
	say(bgp.AttrExtended, "extended %d", len(u.Extended)/8)
	return list
}

// segment says a segment of a path.
func segment(k bgp.Kind, ases []uint32) string { return fmt.Sprintf("%d%d", k, ases) }
