// Package policy is a model of one's own import policy: what the edge takes from each
// neighbour, and what it refuses for which reason.
//
// It is written down by hand, as YAML, beside the routers' configuration. It can be tried
// on a route, drilled with the updates of an incident, and written as BIRD's filters, by
// which the model itself is tested: a real BIRD and Evaluate must say the same of each
// route.
package policy

import (
	"net/netip"
	"slices"

	"sakimori/detect"
	"sakimori/respond/leak"
)

// Reason is why a route is refused; "" it is accepted. The first that applies counts, in
// the order of the constants.
type Reason string

// The reasons.
const (
	Accepted    Reason = ""
	NoPolicy    Reason = "no-policy" // nothing is written down for the neighbour (RFC 8212: nothing is taken)
	FirstAS     Reason = "first-as"  // the neighbour's AS isn't the first in the path
	Loop        Reason = "loop"      // our own AS stands in the path
	Bogon       Reason = "bogon"     // space that isn't routed
	BogonAS     Reason = "bogon-as"  // an AS number that isn't used
	ASSet       Reason = "as-set"    // RFC 9774
	TooLong     Reason = "too-long"
	OwnSpace    Reason = "own-space" // our own space, from outside
	PrefixList  Reason = "prefix-list"
	OriginList  Reason = "origin-list"
	Never       Reason = "never"        // an AS that must not stand in its paths
	Denied      Reason = "denied-path"  // ASes that must not follow one another
	TransitFree Reason = "transit-free" // a network without providers behind a customer or a peer
	Community   Reason = "community"
	OTC         Reason = "otc" // Only to Customer: RFC 9234
	ROV         Reason = "rov" // RFC 6811
	ASPA        Reason = "aspa"
	MaxPrefix   Reason = "max-prefix" // the session is down, because there were too many
)

// Reasons are all of them, in the order in which they are tried.
func Reasons() []Reason {
	return []Reason{
		NoPolicy, FirstAS, Loop, Bogon, BogonAS, ASSet, TooLong, OwnSpace, PrefixList, OriginList, Never, Denied, TransitFree, Community, OTC, ROV, ASPA, MaxPrefix,
	}
}

var words = map[Reason]detect.Text{
	Accepted:    {JA: "受け入れる", EN: "accepted"},
	NoPolicy:    {JA: "この隣接ASの方針が書かれていない", EN: "no policy is written down for the neighbour"},
	FirstAS:     {JA: "ASパスの先頭が隣接ASではない", EN: "the neighbour isn't the first AS of the path"},
	Loop:        {JA: "ASパスに自ASがある", EN: "our own AS stands in the path"},
	Bogon:       {JA: "経路になり得ないアドレス", EN: "space that isn't routed (bogon)"},
	BogonAS:     {JA: "使われないAS番号", EN: "an AS number that isn't used (bogon)"},
	ASSet:       {JA: "AS_SETがある(RFC 9774)", EN: "an AS_SET (RFC 9774)"},
	TooLong:     {JA: "プレフィックスが長すぎる", EN: "the prefix is too long"},
	OwnSpace:    {JA: "自網のアドレス空間が外から来た", EN: "our own space, from outside"},
	PrefixList:  {JA: "プレフィックスリストにない", EN: "not in the prefix list"},
	OriginList:  {JA: "起源ASが許可リストにない", EN: "the origin isn't in the list"},
	Never:       {JA: "通ってはならないASを通っている", EN: "an AS that must not be in its paths"},
	Denied:      {JA: "拒否するASの並びがある", EN: "ASes that must not follow one another"},
	TransitFree: {JA: "顧客・ピアの先に、上流を持たない大手網がある", EN: "a network without providers stands behind a customer or peer"},
	Community:   {JA: "拒否するコミュニティがある", EN: "a community that is refused"},
	OTC:         {JA: "OTC属性がリークを示す(RFC 9234)", EN: "OTC shows a leak (RFC 9234)"},
	ROV:         {JA: "ROVで無効", EN: "ROV invalid"},
	ASPA:        {JA: "ASPAで無効", EN: "ASPA invalid"},
	MaxPrefix:   {JA: "最大経路数を超えてセッションが切れている", EN: "the session is down: more prefixes than the maximum"},
}

// Words are the reason for a person.
func (r Reason) Words() detect.Text { return words[r] }

// Policy is the edge's whole import policy. It is read once and not changed; its methods
// may be called at once from anywhere.
type Policy struct {
	as          uint32
	own         *ranges
	bogons      *ranges
	plan        *ranges // space that isn't refused as a bogon
	bogonAS     bool
	transitFree []uint32 // sorted
	neighbors   []*neighbor
	byAS        map[uint32]*neighbor
}

// neighbor is what is taken from one.
type neighbor struct {
	as          uint32
	name        string
	relation    string
	max4, max6  int // 0 none
	long4       int
	long6       int
	prefixes    *ranges // nil: any
	origins     []uint32
	never       []uint32
	denied      [][]uint32
	communities []uint32
	large       [][3]uint32
	firstAS     bool
	own         bool // our own space is taken from it
	transitFree bool // such are refused
	otc         bool
	rov         bool
	aspa        bool
}

// AS is our own.
func (p *Policy) AS() uint32 { return p.as }

// Neighbors are those that something is written down for, in order, for forms.
func (p *Policy) Neighbors() []leak.Neighbor {
	list := make([]leak.Neighbor, len(p.neighbors))
	for i, n := range p.neighbors {
		list[i] = leak.Neighbor{AS: n.as, Name: n.name, Relation: n.relation}
	}
	return list
}

// Evaluate says whether a route is taken, and if not why. It allocates nothing. The
// maximum of prefixes is a matter of the session, not of a route: see Drill.
func (p *Policy) Evaluate(r *leak.Offered) Reason {
	n := p.byAS[r.Neighbor]
	if n == nil {
		return NoPolicy
	}
	if why := p.path(n, r); why != Accepted {
		return why
	}
	long := n.long6
	if r.Prefix.Addr().Is4() {
		long = n.long4
	}
	switch {
	case r.Prefix.Bits() > long:
		return TooLong
	case !n.own && p.own.has(r.Prefix):
		return OwnSpace
	case n.prefixes != nil && !n.prefixes.has(r.Prefix):
		return PrefixList
	case len(n.origins) > 0 && !in(n.origins, r.Origin()):
		return OriginList
	case meets(n.never, r.Path):
		return Never
	case n.denies(r.Path):
		return Denied
	case n.transitFree && meets(p.transitFree, r.Path[min(1, len(r.Path)):]):
		return TransitFree
	case n.refuses(r):
		return Community
	case n.otc && leaks(n, r):
		return OTC
	case n.rov && r.ROV.Bad():
		return ROV
	case n.aspa && r.ASPA == leak.ASPAInvalid:
		return ASPA
	}
	return Accepted
}

// path is what is wrong with a path by itself, and with the space.
func (p *Policy) path(n *neighbor, r *leak.Offered) Reason {
	switch {
	case n.firstAS && (len(r.Path) == 0 || r.Path[0] != n.as):
		return FirstAS
	case slices.Contains(r.Path, p.as):
		return Loop
	case p.bogons != nil && p.bogons.has(r.Prefix) && !p.plan.has(r.Prefix):
		return Bogon
	case p.bogonAS && slices.ContainsFunc(r.Path, isBogonAS):
		return BogonAS
	case r.Set:
		return ASSet
	}
	return Accepted
}

// leaks is RFC 9234, section 5, at the ingress.
func leaks(n *neighbor, r *leak.Offered) bool {
	switch n.relation {
	case "customer", "route-server-client":
		return r.HasOTC
	case "peer":
		return r.HasOTC && r.OTC != n.as
	}
	return false
}

func (n *neighbor) denies(path []uint32) bool {
	for _, d := range n.denied {
		if follows(path, d) {
			return true
		}
	}
	return false
}

// follows tells whether ASes follow one another in a path, repeats counted once.
func follows(path, want []uint32) bool {
	for i := range path {
		at, k := i, 0
		for at < len(path) && k < len(want) && path[at] == want[k] {
			for at < len(path) && path[at] == want[k] {
				at++
			}
			k++
		}
		if k == len(want) {
			return true
		}
	}
	return false
}

func (n *neighbor) refuses(r *leak.Offered) bool {
	return slices.ContainsFunc(r.Communities, func(c uint32) bool { return slices.Contains(n.communities, c) }) ||
		slices.ContainsFunc(r.Large, func(c [3]uint32) bool { return slices.Contains(n.large, c) })
}

// in looks into a sorted list.
func in(list []uint32, as uint32) bool {
	_, is := slices.BinarySearch(list, as)
	return is
}

// meets tells whether some AS of a path is in a sorted list.
func meets(list, path []uint32) bool {
	if len(list) == 0 {
		return false
	}
	for _, as := range path {
		if in(list, as) {
			return true
		}
	}
	return false
}

// ranges are prefixes with the lengths that they stand for.
type ranges struct {
	at    map[netip.Prefix][]span
	four  []int // lengths that a key of IPv4 has, so that few are looked up
	six   []int
	order []netip.Prefix
}

// span is lengths from to to.
type span struct{ from, to int }

func newRanges() *ranges { return &ranges{at: map[netip.Prefix][]span{}} }

func (x *ranges) add(p netip.Prefix, from, to int) {
	p = p.Masked()
	if _, has := x.at[p]; !has {
		x.order = append(x.order, p)
	}
	x.at[p] = append(x.at[p], span{from, to})
	lengths := &x.six
	if p.Addr().Is4() {
		lengths = &x.four
	}
	if !slices.Contains(*lengths, p.Bits()) {
		*lengths = append(*lengths, p.Bits())
	}
}

// has tells whether one of them stands for a prefix.
func (x *ranges) has(p netip.Prefix) bool {
	lengths := x.six
	if p.Addr().Is4() {
		lengths = x.four
	}
	for _, n := range lengths {
		if n > p.Bits() {
			continue
		}
		around, err := p.Addr().Prefix(n)
		if err != nil {
			continue // no address has such a length
		}
		for _, s := range x.at[around] {
			if s.from <= p.Bits() && p.Bits() <= s.to {
				return true
			}
		}
	}
	return false
}
