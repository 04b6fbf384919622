package bgp

import (
	"encoding/binary"
	"net/netip"
)

// keyed are the attributes that Key holds beside path, aggregator and next hop: what a
// route has in common with others.
const keyed = 1<<AttrOrigin | 1<<AttrPath | 1<<AttrMED | 1<<AttrLocalPref | 1<<AttrAtomic | 1<<AttrAggregator |
	1<<AttrCommunities | 1<<AttrLarge | 1<<AttrOnlyToCustomers

// Key appends to dst what the update says of its routes besides the prefixes: equal
// bytes are equal ORIGIN, AS path (whether it was sent in two bytes or in four), next hop,
// MED, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR, communities, large communities and OTC;
// other attributes don't count. It is meant for interning: hash it with hash/maphash.
// p is memory for a path of 2-byte numbers.
func (u *Update) Key(dst []byte, nextHop netip.Addr, p *Path) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(u.Has&keyed)<<8|uint64(u.Origin))
	if u.Has.Has(AttrMED) {
		dst = be.AppendUint32(dst, u.MED)
	}
	if u.Has.Has(AttrLocalPref) {
		dst = be.AppendUint32(dst, u.LocalPref)
	}
	if u.Has.Has(AttrAggregator) {
		id := u.AggregatorID.As4()
		dst = append(be.AppendUint32(dst, u.Aggregator), id[:]...)
	}
	if u.Has.Has(AttrOnlyToCustomers) {
		dst = be.AppendUint32(dst, u.OTC)
	}
	switch {
	case nextHop.Is4():
		a := nextHop.As4()
		dst = append(append(dst, 4), a[:]...)
	case nextHop.Is6():
		a := nextHop.As16()
		dst = append(append(dst, 16), a[:]...)
	default:
		dst = append(dst, 0)
	}
	dst = be.AppendUint16(dst, uint16(len(u.Communities))) //nolint:gosec // an attribute has at most 65,535 bytes
	dst = append(dst, u.Communities...)
	dst = be.AppendUint16(dst, uint16(len(u.Large))) //nolint:gosec // likewise
	dst = append(dst, u.Large...)
	if u.as4 {
		return append(dst, u.path...)
	}
	u.Path(p)
	for _, s := range p.Segments {
		dst = append(dst, byte(s.Kind), byte(s.To-s.From)) //nolint:gosec // a segment has at most 255
		for _, as := range p.Of(s) {
			dst = be.AppendUint32(dst, as)
		}
	}
	return dst
}
