package bgp

import (
	"encoding/binary"
	"net/netip"
)

// Flags of an attribute.
const (
	flagOptional   = 0x80
	flagTransitive = 0x40
	flagExtended   = 0x10
)

// rule is what an attribute must look like.
type rule struct {
	flags uint8 // optional and transitive, as the RFC of the attribute has them
	fault Fault // what damage to it does; 0: it isn't known
	size  uint8 // its bytes, or with several of what; 0: looked at elsewhere
	many  bool
}

var rules = [64]rule{
	AttrOrigin:          {flagTransitive, Withdraw, 1, false},
	AttrPath:            {flagTransitive, Withdraw, 0, false},
	AttrNextHop:         {flagTransitive, Withdraw, 4, false},
	AttrMED:             {flagOptional, Withdraw, 4, false},
	AttrLocalPref:       {flagTransitive, Withdraw, 4, false},
	AttrAtomic:          {flagTransitive, Discard, 0, false},
	AttrAggregator:      {flagOptional | flagTransitive, Discard, 0, false},
	AttrCommunities:     {flagOptional | flagTransitive, Withdraw, 4, true},
	AttrOriginator:      {flagOptional, Withdraw, 4, false},
	AttrClusters:        {flagOptional, Withdraw, 4, true},
	AttrReach:           {flagOptional, Reset, 0, false},
	AttrUnreach:         {flagOptional, Reset, 0, false},
	AttrExtended:        {flagOptional | flagTransitive, Withdraw, 8, true},
	AttrPath4:           {flagOptional | flagTransitive, Discard, 0, false},
	AttrAggregator4:     {flagOptional | flagTransitive, Discard, 8, false},
	AttrLarge:           {flagOptional | flagTransitive, Withdraw, 12, true},
	AttrOnlyToCustomers: {flagOptional | flagTransitive, Withdraw, 4, false},
}

// attributes walks the attributes of a message, or of a route in a dump.
func (u *Update) attributes(b []byte, o Options, dump bool) {
	var seen Attributes
	for len(b) > 0 {
		if len(b) < 3 {
			u.fail(Withdraw, ErrAttribute)
			break
		}
		flags, code, n, head := b[0], Attribute(b[1]), int(b[2]), 3
		if flags&flagExtended != 0 {
			if len(b) < 4 {
				u.fail(Withdraw, ErrAttribute)
				break
			}
			n, head = n<<8|int(b[3]), 4
		}
		if len(b)-head < n {
			u.fail(Withdraw, ErrAttribute)
			break
		}
		v := b[head : head+n : head+n]
		b = b[head+n:]
		if code >= 64 || rules[code].fault == Sound {
			u.Unknown++
			if flags&flagOptional == 0 {
				u.fail(Reset, ErrForeign)
			}
			continue
		}
		if seen.Has(code) { // the first counts: RFC 7606, section 3 g
			u.Discarded++
			if code == AttrReach || code == AttrUnreach {
				u.fail(Reset, ErrTwice)
			}
			continue
		}
		seen |= 1 << code
		r := &rules[code]
		var err error
		switch {
		case flags&(flagOptional|flagTransitive) != r.flags:
			err = ErrFlags
		case r.size > 0 && (!r.many && n != int(r.size) || r.many && (n == 0 || n%int(r.size) != 0)):
			err = ErrSize
		default:
			err = u.value(code, v, o, dump)
		}
		if err != nil {
			u.fail(r.fault, err)
			if r.fault == Discard {
				u.Discarded++
			}
			continue
		}
		u.Has |= 1 << code
	}
	if u.aggregator != nil {
		u.aggregate()
	}
}

// value takes the value of a known attribute, whose size is right as far as rules say it.
func (u *Update) value(code Attribute, v []byte, o Options, dump bool) error {
	switch code {
	case AttrOrigin:
		if u.Origin = v[0]; u.Origin > 2 {
			return ErrOrigin
		}
	case AttrPath:
		if !segments(v, u.as4) {
			return ErrPath
		}
		u.path = v
	case AttrNextHop:
		if !u.NextHop.IsValid() { // of a dump, MP_REACH_NLRI goes first
			u.NextHop = netip.AddrFrom4([4]byte(v))
		}
	case AttrMED:
		u.MED = binary.BigEndian.Uint32(v)
	case AttrLocalPref:
		u.LocalPref = binary.BigEndian.Uint32(v)
	case AttrAtomic:
		if len(v) != 0 {
			return ErrSize
		}
		u.Atomic = true
	case AttrAggregator:
		if n := len(v); u.as4 && n != 8 || !u.as4 && n != 6 {
			return ErrSize
		}
		u.aggregator = v
	case AttrCommunities:
		u.Communities = v
	case AttrReach:
		return u.reach(v, o, dump)
	case AttrUnreach:
		return u.unreached(v, o)
	case AttrExtended:
		u.Extended = v
	case AttrPath4:
		if !segments(v, true) {
			return ErrPath
		}
		u.path4 = v
	case AttrAggregator4:
		u.aggregator4 = v
	case AttrLarge:
		u.Large = v
	case AttrOnlyToCustomers:
		u.OTC = binary.BigEndian.Uint32(v)
	}
	return nil
}

// reach takes MP_REACH_NLRI: AFI, SAFI, next hops, a reserved byte, prefixes.
func (u *Update) reach(v []byte, o Options, dump bool) error {
	if dump && len(v) > 0 && int(v[0]) == len(v)-1 { // a dump may hold the next hop alone
		var block Block
		if !block.hops(v[1:]) {
			return ErrReach
		}
		u.NextHop = block.NextHop
		return nil
	}
	if len(v) < 5 || len(v) < 5+int(v[3]) {
		return ErrReach
	}
	f := FamilyOf(binary.BigEndian.Uint16(v), v[2])
	if f == Other {
		u.Skipped++
		return nil
	}
	n := int(v[3])
	block := Block{Family: f, rest: v[5+n:]}
	if !block.hops(v[4:4+n]) || f.IPv6() && n < 16 {
		return ErrReach
	}
	if dump {
		u.NextHop = block.NextHop
		return nil
	}
	u.announce(block, o)
	return nil
}

// hops takes the next hops: one of IPv4, one of IPv6, or one of IPv6 and its link-local
// one.
func (b *Block) hops(v []byte) bool {
	switch len(v) {
	case 4:
		b.NextHop = netip.AddrFrom4([4]byte(v))
	case 32:
		b.LinkLocal = netip.AddrFrom16([16]byte(v[16:]))
		fallthrough
	case 16:
		b.NextHop = netip.AddrFrom16([16]byte(v))
	default:
		return false
	}
	return true
}

// unreached takes MP_UNREACH_NLRI: AFI, SAFI, prefixes.
func (u *Update) unreached(v []byte, o Options) error {
	u.unreach = true
	if len(v) < 3 {
		return ErrReach
	}
	f := FamilyOf(binary.BigEndian.Uint16(v), v[2])
	if f == Other {
		u.Skipped++
		return nil
	}
	u.withdraw(Block{Family: f, rest: v[3:]}, o)
	return nil
}

// transit is the AS number that stands for one of four bytes where there is room for two
// (RFC 6793).
const transit = 23456

// aggregate takes AGGREGATOR, and AS4_AGGREGATOR where it counts.
func (u *Update) aggregate() {
	v := u.aggregator
	switch {
	case u.as4:
		u.Aggregator = binary.BigEndian.Uint32(v)
	case binary.BigEndian.Uint16(v) == transit && u.aggregator4 != nil:
		v = u.aggregator4
		u.Aggregator = binary.BigEndian.Uint32(v)
	default:
		u.Aggregator = uint32(binary.BigEndian.Uint16(v))
		if u.aggregator4 != nil { // an old speaker aggregated since: RFC 6793, section 4.2.3
			u.path4 = nil
		}
	}
	u.AggregatorID = netip.AddrFrom4([4]byte(v[len(v)-4:]))
}
