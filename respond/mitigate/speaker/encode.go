package speaker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"sakimori/respond/mitigate"
)

// route is a rule as BGP says it.
type route struct {
	family Family
	key    string // family and NLRI, byte by byte: what it is about
	does   string // what is done with it: the action, and nothing of the match
	text   string // for people
	nlri   bgp.NLRI
	attrs  []bgp.PathAttributeInterface // without what is a session's own
	own    bool                         // an own prefix, and no rule
}

// goes tells whether a peer takes it.
func (e *route) goes(n *Neighbor) bool {
	return slices.Contains(n.Families, e.family) && (!e.own || n.Own != nil)
}

// families in GoBGP's words.
var families = map[Family]bgp.Family{FlowSpec4: bgp.RF_FS_IPv4_UC, FlowSpec6: bgp.RF_FS_IPv6_UC, Unicast4: bgp.RF_IPv4_UC, Unicast6: bgp.RF_IPv6_UC}

// encode writes a rule as RFC 8955, 8956 or 7999 have it.
func encode(r mitigate.Rule) (route, error) {
	if err := r.Check(); err != nil {
		return route{}, err
	}
	e := route{text: r.String()}
	at := r.Match.Dst
	if !at.IsValid() {
		at = r.Match.Src
	}
	var err error
	if r.Action == mitigate.RTBH {
		err = e.discard(at)
	} else {
		err = e.filter(&r, at.Addr().Is4())
	}
	if err != nil {
		return route{}, err
	}
	err = e.name()
	return e, err
}

// name says by family and bytes what a route is about.
func (e *route) name() error {
	b, err := e.nlri.Serialize()
	e.key = string(e.family) + " " + string(b)
	return err
}

// discard is a route to a prefix that whoever takes it throws away. Both communities are on it
// from the start, whatever a session adds: BLACKHOLE, without which nobody takes a route longer
// than /24 or /48, and NO_EXPORT, as RFC 7999, section 3.2, asks for.
func (e *route) discard(to netip.Prefix) error {
	e.does = string(mitigate.RTBH)
	return e.unicast(to, bgp.NewPathAttributeCommunities([]uint32{uint32(bgp.COMMUNITY_BLACKHOLE), uint32(bgp.COMMUNITY_NO_EXPORT)}))
}

// unicast is a route to a prefix, with attributes besides those that it must have.
func (e *route) unicast(to netip.Prefix, with ...bgp.PathAttributeInterface) error {
	n, err := bgp.NewIPAddrPrefix(to)
	if err != nil {
		return err
	}
	e.nlri = n
	e.family, e.attrs = Unicast6, append([]bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(0)}, with...)
	hop := netip.IPv6Unspecified() // our own address in the session, where it says no other
	if to.Addr().Is4() {
		e.family, hop = Unicast4, netip.IPv4Unspecified()
	}
	reach, err := bgp.NewPathAttributeMpReachNLRI(families[e.family], []bgp.PathNLRI{{NLRI: n}}, hop)
	e.attrs = append(e.attrs, reach)
	return err
}

// filter is a flowspec rule: what it matches is its NLRI, what is done a community.
func (e *route) filter(r *mitigate.Rule, four bool) error {
	e.family = FlowSpec6
	if four {
		e.family = FlowSpec4
	}
	parts, err := components(&r.Match, four)
	if err != nil {
		return err
	}
	n, err := bgp.NewFlowSpecUnicast(families[e.family], parts)
	if err != nil {
		return err
	}
	action, err := action(r)
	if err != nil {
		return err
	}
	e.nlri = n
	// It stays in the AS that it was announced to: NO_EXPORT.
	e.attrs = []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(0), bgp.NewPathAttributeCommunities([]uint32{uint32(bgp.COMMUNITY_NO_EXPORT)})}
	if action != nil {
		b, err := action.Serialize()
		if err != nil {
			return err
		}
		e.does = string(b)
		e.attrs = append(e.attrs, bgp.NewPathAttributeExtendedCommunities([]bgp.ExtendedCommunityInterface{action}))
	}
	reach, err := bgp.NewPathAttributeMpReachNLRI(families[e.family], []bgp.PathNLRI{{NLRI: n}}, netip.Addr{}) // without next hop: RFC 8955, section 4
	e.attrs = append(e.attrs, reach)
	return err
}

// components are those of RFC 8955, section 4.2.2, by type, which is their order.
func components(m *mitigate.Match, four bool) ([]bgp.FlowSpecComponentInterface, error) {
	var list []bgp.FlowSpecComponentInterface
	for i, p := range []netip.Prefix{m.Dst, m.Src} {
		if !p.IsValid() {
			continue
		}
		n, err := bgp.NewIPAddrPrefix(p)
		switch {
		case err != nil:
			return nil, err
		case four && i == 0:
			list = append(list, bgp.NewFlowSpecDestinationPrefix(n))
		case four:
			list = append(list, bgp.NewFlowSpecSourcePrefix(n))
		case i == 0:
			list = append(list, bgp.NewFlowSpecDestinationPrefix6(n, 0))
		default:
			list = append(list, bgp.NewFlowSpecSourcePrefix6(n, 0))
		}
	}
	add := func(t bgp.BGPFlowSpecType, items []*bgp.FlowSpecComponentItem) {
		if len(items) > 0 {
			list = append(list, bgp.NewFlowSpecComponent(t, items))
		}
	}
	add(bgp.FLOW_SPEC_TYPE_IP_PROTO, numbers(m.Proto))
	add(bgp.FLOW_SPEC_TYPE_DST_PORT, numbers(m.DstPort))
	add(bgp.FLOW_SPEC_TYPE_SRC_PORT, numbers(m.SrcPort))
	add(bgp.FLOW_SPEC_TYPE_ICMP_TYPE, numbers(m.ICMPType))
	add(bgp.FLOW_SPEC_TYPE_ICMP_CODE, numbers(m.ICMPCode))
	add(bgp.FLOW_SPEC_TYPE_TCP_FLAG, flags(m.Flags))
	add(bgp.FLOW_SPEC_TYPE_PKT_LEN, numbers(m.Length))
	add(bgp.FLOW_SPEC_TYPE_DSCP, numbers(m.DSCP))
	add(bgp.FLOW_SPEC_TYPE_FRAGMENT, fragments(m.Fragment))
	return list, nil
}

// The operators of numbers and of bits: RFC 8955, sections 4.2.1.1 and 4.2.1.2.
const (
	and = 0x40 // both this and what stands before it; else either will do

	equal   = 0x01
	atLeast = 0x03
	atMost  = 0x05

	allOf = 0x01 // all bits are set; without it, any of them
	not   = 0x02
)

func numbers(s mitigate.Set) (items []*bgp.FlowSpecComponentItem) {
	for _, x := range s {
		if x.From == x.To {
			items = append(items, bgp.NewFlowSpecComponentItem(equal, uint64(x.From)))
			continue
		}
		items = append(items, bgp.NewFlowSpecComponentItem(atLeast, uint64(x.From)), bgp.NewFlowSpecComponentItem(and|atMost, uint64(x.To)))
	}
	return items
}

func flags(f mitigate.Flags) (items []*bgp.FlowSpecComponentItem) {
	if f.Set != 0 {
		items = append(items, bgp.NewFlowSpecComponentItem(allOf, uint64(f.Set)))
	}
	if f.Clear != 0 {
		op := uint8(not)
		if f.Set != 0 {
			op |= and
		}
		items = append(items, bgp.NewFlowSpecComponentItem(op, uint64(f.Clear)))
	}
	return items
}

// The bits of a fragment: RFC 8955, section 4.2.2.12, and RFC 8956, section 3.6. There is none
// for a datagram that is whole: it is neither a first nor a later fragment.
const (
	later = 0x02
	first = 0x04
)

func fragments(f mitigate.Fragments) []*bgp.FlowSpecComponentItem {
	item := func(op uint8, bits uint64) []*bgp.FlowSpecComponentItem {
		return []*bgp.FlowSpecComponentItem{bgp.NewFlowSpecComponentItem(op, bits)}
	}
	switch f {
	case mitigate.Later:
		return item(allOf, later)
	case mitigate.First:
		return item(allOf, first)
	case mitigate.First | mitigate.Later:
		return item(0, first|later)
	case mitigate.Whole:
		return item(not, first|later)
	case mitigate.Whole | mitigate.First:
		return item(not, later)
	case mitigate.Whole | mitigate.Later:
		return item(not, first)
	}
	return nil // all of them
}

// action is the community of RFC 8955, section 7; nil where the packets pass.
func action(r *mitigate.Rule) (bgp.ExtendedCommunityInterface, error) {
	switch r.Action {
	case mitigate.Pass:
		return nil, nil
	case mitigate.Drop:
		return bgp.NewTrafficRateExtended(0, 0), nil
	case mitigate.RateBytes:
		return bgp.NewTrafficRateExtended(0, float32(r.Rate)), nil
	case mitigate.RatePackets: // GoBGP has no word for it
		b := []byte{0x0c, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint32(b[3:], math.Float32bits(float32(r.Rate)))
		return bgp.NewUnknownExtended(bgp.EC_TYPE_GENERIC_TRANSITIVE_EXPERIMENTAL, b), nil
	case mitigate.Mark:
		return bgp.NewTrafficRemarkExtended(r.DSCP), nil
	case mitigate.Redirect:
		return redirect(r.To)
	}
	return nil, fmt.Errorf("no action %q by flowspec", r.Action)
}

// redirect is to a route target: of an AS with 16 or 32 bits, or of an IPv4 address.
func redirect(to string) (bgp.ExtendedCommunityInterface, error) {
	unknown := errors.New("BGP redirects to a route target: write 64500:100, or 192.0.2.1:100")
	admin, number, _ := strings.Cut(to, ":")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%w, not %q", unknown, to)
	}
	a, err := strconv.ParseUint(admin, 10, 32)
	switch {
	case err == nil && a <= math.MaxUint16:
		return bgp.NewRedirectTwoOctetAsSpecificExtended(uint16(a), uint32(n)), nil
	case n > math.MaxUint16:
		return nil, fmt.Errorf("%w: the number of %q doesn't fit 16 bits", unknown, to)
	case err == nil:
		return bgp.NewRedirectFourOctetAsSpecificExtended(uint32(a), uint16(n)), nil
	}
	ip, err := netip.ParseAddr(admin)
	if err != nil || !ip.Is4() {
		return nil, fmt.Errorf("%w, not %q", unknown, to)
	}
	return bgp.NewRedirectIPv4AddressSpecificExtended(ip, uint16(n))
}
