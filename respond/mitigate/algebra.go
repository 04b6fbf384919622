package mitigate

import (
	"bytes"
	"cmp"
	"net/netip"

	"sakimori/base/wire/packet"
)

// The arithmetic of matches. A match is a product: a packet fits when it fits each
// component. So is what two have in common, and a product is empty when one of its
// components is, and lies in another when each of its components does. Only what one
// component says of another has to be spelled out first: ports need a protocol that has
// them, and a part of a datagram that carries them.

// ported are the protocols with ports in the first four bytes: TCP, UDP, DCCP, SCTP,
// UDP-Lite (IANA).
var ported = Just(packet.TCP, packet.UDP, 33, 132, 136)

// family is 4 or 6 as the prefixes say, 0 where none does, and -1 where they disagree.
func (m *Match) family() int {
	f := 0
	for _, p := range []netip.Prefix{m.Dst, m.Src} {
		if !p.IsValid() {
			continue
		}
		is := 6
		if p.Addr().Is4() {
			is = 4
		}
		if f != 0 && f != is {
			return -1
		}
		f = is
	}
	return f
}

// whole spells out what the components say of each other. ok is false where no packet
// fits.
func (m *Match) whole() (w Match, ok bool) {
	w = *m
	if w.Fragment == 0 {
		w.Fragment = anyFragment
	}
	f := m.family()
	if f < 0 || w.Flags.Set&w.Flags.Clear != 0 {
		return w, false
	}
	need := func(protos Set) {
		if both, some := w.Proto.and(protos); some {
			w.Proto, w.Fragment = both, w.Fragment&^Later
		} else {
			ok = false
		}
	}
	ok = true
	if len(w.DstPort)+len(w.SrcPort) > 0 {
		need(ported)
	}
	if w.Flags != (Flags{}) {
		need(Just(packet.TCP))
	}
	if len(w.ICMPType)+len(w.ICMPCode) > 0 {
		if f == 6 {
			need(Just(packet.ICMPv6))
		} else { // check wants a prefix, which tells the family
			need(Just(packet.ICMP))
		}
	}
	return w, ok && w.Fragment != 0
}

// Empty tells whether no packet fits.
func (m *Match) Empty() bool {
	_, some := m.whole()
	return !some
}

// And is what fits both; ok is false where nothing does.
func (m *Match) And(n *Match) (both Match, ok bool) {
	a, ok1 := m.whole()
	b, ok2 := n.whole()
	if !ok1 || !ok2 {
		return Match{}, false
	}
	fine := true
	set := func(s, t Set) Set {
		x, some := s.and(t)
		fine = fine && some
		return x
	}
	prefix := func(p, q netip.Prefix) netip.Prefix {
		switch {
		case !p.IsValid():
			return q
		case !q.IsValid():
			return p
		case !p.Overlaps(q):
			fine = false
		}
		if p.Bits() >= q.Bits() {
			return p
		}
		return q
	}
	both = Match{
		Dst: prefix(a.Dst, b.Dst), Src: prefix(a.Src, b.Src), Proto: set(a.Proto, b.Proto),
		DstPort: set(a.DstPort, b.DstPort), SrcPort: set(a.SrcPort, b.SrcPort), ICMPType: set(a.ICMPType, b.ICMPType), ICMPCode: set(a.ICMPCode, b.ICMPCode),
		Flags:  Flags{a.Flags.Set | b.Flags.Set, a.Flags.Clear | b.Flags.Clear},
		Length: set(a.Length, b.Length), DSCP: set(a.DSCP, b.DSCP), Fragment: a.Fragment & b.Fragment,
	}
	if !fine || both.Fragment == 0 {
		return Match{}, false
	}
	both, ok = both.whole()
	return both, ok
}

// In tells whether all that fits m fits n.
func (m *Match) In(n *Match) bool {
	a, some := m.whole()
	if !some {
		return true
	}
	b, some := n.whole()
	if !some {
		return false
	}
	within := func(p, q netip.Prefix) bool {
		switch {
		case !q.IsValid():
			return true
		case !p.IsValid(): // any address is in q only where q is all of the family
			return q.Bits() == 0 && a.family() == b.family()
		}
		return p.Bits() >= q.Bits() && q.Overlaps(p)
	}
	return within(a.Dst, b.Dst) && within(a.Src, b.Src) && a.Proto.in(b.Proto, topByte) &&
		a.DstPort.in(b.DstPort, topPort) && a.SrcPort.in(b.SrcPort, topPort) &&
		a.ICMPType.in(b.ICMPType, topByte) && a.ICMPCode.in(b.ICMPCode, topByte) &&
		b.Flags.Set&^a.Flags.Set == 0 && b.Flags.Clear&^a.Flags.Clear == 0 &&
		a.Length.in(b.Length, topPort) && a.DSCP.in(b.DSCP, topDSCP) && a.Fragment&^b.Fragment == 0
}

// Before tells whether a router asks m before n: RFC 8955, section 5.1 (RFC 8956 of
// IPv6). The first component that differs decides; one that has it goes before one that
// hasn't; of prefixes that overlap the longer goes first, and of others the lower; all
// the rest as their bytes compare.
func (m *Match) Before(n *Match) bool {
	a, b := m.components(), n.components()
	for i := range a {
		switch {
		case a[i] == b[i]:
			continue
		case b[i] == "":
			return true
		case a[i] == "":
			return false
		}
		if i > 1 {
			return less(a[i], b[i])
		}
		p, q := m.Dst, n.Dst
		if i == 1 {
			p, q = m.Src, n.Src
		}
		if p.Overlaps(q) {
			return p.Bits() > q.Bits()
		}
		return p.Addr().Less(q.Addr())
	}
	return false
}

// less compares bytes; where one begins with the other, the longer goes first.
func less(a, b string) bool {
	n := min(len(a), len(b))
	return cmp.Or(bytes.Compare([]byte(a[:n]), []byte(b[:n])), cmp.Compare(len(b), len(a))) < 0
}

// components are the encoded values by type, 1 to 12 without 4, "" where there is none.
func (m *Match) components() [11]string {
	prefix := func(p netip.Prefix) string {
		if !p.IsValid() {
			return ""
		}
		return p.String()
	}
	return [11]string{
		prefix(m.Dst), prefix(m.Src), m.Proto.encode(), m.DstPort.encode(), m.SrcPort.encode(), m.ICMPType.encode(), m.ICMPCode.encode(),
		m.Flags.encode(), m.Length.encode(), m.DSCP.encode(), m.Fragment.encode(),
	}
}

// encode writes numeric operators: RFC 8955, section 4.2.1.1.
func (s Set) encode() string {
	const and, lt, gt, eq, end = 0x40, 0x04, 0x02, 0x01, 0x80
	var b []byte
	put := func(op byte, v uint16) {
		if v <= topByte {
			b = append(b, op, byte(v))
			return
		}
		b = append(b, op|0x10, byte(v>>8), byte(v&topByte))
	}
	for i, x := range s {
		var last byte
		if i == len(s)-1 {
			last = end
		}
		if x.From == x.To {
			put(eq|last, x.From)
			continue
		}
		put(gt|eq, x.From)
		put(and|lt|eq|last, x.To)
	}
	return string(b)
}

// encode writes bitmask operators: RFC 8955, section 4.2.1.2.
func (f Flags) encode() string {
	const and, not, match, end = 0x40, 0x02, 0x01, 0x80
	switch {
	case f.Set != 0 && f.Clear != 0:
		return string([]byte{match, byte(f.Set), and | not | end, byte(f.Clear)})
	case f.Set != 0:
		return string([]byte{match | end, byte(f.Set)})
	case f.Clear != 0:
		return string([]byte{not | end, byte(f.Clear)})
	}
	return ""
}

// encode writes the parts as the bits of RFC 8955, section 4.2.2.12: 2 is a fragment but
// the first, 4 the first.
func (f Fragments) encode() string {
	const and, not, end, isF, ff = 0x40, 0x02, 0x80, 0x02, 0x04
	switch f {
	case Later:
		return string([]byte{end, isF})
	case First:
		return string([]byte{end, ff})
	case First | Later:
		return string([]byte{end, isF | ff})
	case Whole:
		return string([]byte{not | end, isF | ff})
	case Whole | First:
		return string([]byte{not | end, isF})
	case Whole | Later:
		return string([]byte{not | end, ff})
	}
	return ""
}

// Protected is traffic that no rule may touch.
type Protected struct {
	Name  string `json:"name"`
	Match Match  `json:"match"`
}

// Touched is a rule that reaches into what is protected.
type Touched struct {
	Rule      Rule
	Protected Protected
}

// Touches proves of each rule that it leaves alone what is protected, or gives the rules
// of which that can't be proven. Nothing is sampled: what a rule and the protected
// traffic have in common must be empty, or lie in a rule that lets it pass and that
// every router asks before.
func Touches(rules []Rule, protected []Protected) (list []Touched) {
	for i := range rules {
		r := &rules[i]
		if r.Action == Pass {
			continue
		}
		for _, p := range protected {
			both, some := r.Match.And(&p.Match)
			if some && !passed(rules, r, &both) {
				list = append(list, Touched{*r, p})
			}
		}
	}
	return list
}

// passed tells whether a rule that is asked before r lets all of m through. A route to
// discard by is asked before any rule.
func passed(rules []Rule, r *Rule, m *Match) bool {
	if r.Action == RTBH {
		return false
	}
	for i := range rules {
		if q := &rules[i]; q.Action == Pass && m.In(&q.Match) && q.Match.Before(&r.Match) {
			return true
		}
	}
	return false
}

// spare adds rules that let through what is protected and what the rules would reach:
// one for all that is protected, where routers ask it first, else for just what a rule
// has in common with that.
func spare(rules []Rule, protected []Protected) []Rule {
	var passes []Rule
	seen := map[string]bool{}
	for _, t := range Touches(rules, protected) {
		both, some := t.Rule.Match.And(&t.Protected.Match)
		if !some || t.Rule.Action == RTBH {
			continue
		}
		p := Rule{Match: t.Protected.Match, Action: Pass}
		p.Match.Dst, p.Match.Src = both.Dst, both.Src
		if !p.Match.Before(&t.Rule.Match) {
			p.Match = both.short()
		}
		if text := p.String(); !seen[text] {
			seen[text] = true
			passes = append(passes, p)
		}
	}
	return append(passes, rules...)
}

// short leaves out what whole spelled out.
func (m *Match) short() Match {
	s := *m
	s.Fragment = 0
	if w, _ := s.whole(); w.Fragment != m.Fragment {
		s.Fragment = m.Fragment
	}
	return s
}
