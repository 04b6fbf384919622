package mitigate

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
)

// A small universe that stands for all: the last number of each component is "this and
// all above", and an address outside of the prefixes is all the others. So what holds of
// its packets holds of all packets, for matches whose bounds lie in it.

type unit struct {
	dst, src     netip.Addr
	proto        uint16
	sport, dport uint16
	typ, code    uint16
	flags        packet.TCPFlags
	length, dscp uint16
	frag         Fragments
}

var universe = func() (all []unit) {
	for _, family := range []string{"10.0.0.", "2001:db8::"} {
		addr := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprint(family, i)) }
		for d := range 5 {
			for _, s := range []int{0, 1, 4} {
				for _, frag := range []Fragments{Whole, First, Later} {
					for i := range uint16(4) {
						u := unit{dst: addr(d), src: addr(s), frag: frag, length: i & 1, dscp: i >> 1}
						all = append(all, inner(u)...)
					}
				}
			}
		}
	}
	return all
}()

func inner(u unit) (all []unit) {
	for _, proto := range []uint16{1, 6, 17, 47, 58, 132} {
		u.proto = proto
		for n := range uint16(9) {
			v := u
			switch proto {
			case 47:
				if n > 0 {
					continue
				}
			case 1, 58:
				if n > 3 {
					continue
				}
				v.typ, v.code = n&1, n>>1
			default:
				v.sport, v.dport = n%3, n/3
			}
			all = append(all, v)
			for f := packet.TCPFlags(1); proto == 6 && f < 4; f++ {
				v.flags = f<<1&packet.SYN | f<<3&packet.ACK
				all = append(all, v)
			}
		}
	}
	return all
}

// fits is the meaning of a match, of one packet, written without the arithmetic.
func (m *Match) fits(u *unit) bool {
	has := func(s Set, v uint16) bool {
		for _, x := range s {
			if x.From <= v && v <= x.To {
				return true
			}
		}
		return len(s) == 0
	}
	if m.Dst.IsValid() && !m.Dst.Contains(u.dst) || m.Src.IsValid() && !m.Src.Contains(u.src) || !has(m.Proto, u.proto) || !has(m.Length, u.length) || !has(m.DSCP, u.dscp) {
		return false
	}
	if m.Fragment != 0 && m.Fragment&u.frag == 0 {
		return false
	}
	if len(m.DstPort) > 0 || len(m.SrcPort) > 0 {
		if u.frag == Later || !slices.Contains([]uint16{6, 17, 132}, u.proto) || !has(m.DstPort, u.dport) || !has(m.SrcPort, u.sport) {
			return false
		}
	}
	if len(m.ICMPType) > 0 || len(m.ICMPCode) > 0 {
		mine := uint16(1)
		if u.dst.Is6() {
			mine = 58
		}
		if u.frag == Later || u.proto != mine || !has(m.ICMPType, u.typ) || !has(m.ICMPCode, u.code) {
			return false
		}
	}
	if m.Flags != (Flags{}) {
		if u.frag == Later || u.proto != 6 || u.flags&m.Flags.Set != m.Flags.Set || u.flags&m.Flags.Clear != 0 {
			return false
		}
	}
	return true
}

func drawSet(t *rapid.T, what string, n int, top uint16) Set {
	var spans []Span
	if rapid.Bool().Draw(t, what+"?") {
		return nil
	}
	for i := range n {
		if rapid.Bool().Draw(t, what) {
			x := Span{uint16(i), uint16(i)}
			if i == n-1 {
				x.To = top
			}
			spans = append(spans, x)
		}
	}
	return Union(spans...)
}

func drawMatch(t *rapid.T, name string) Match {
	prefix := func(what string) netip.Prefix {
		p := []string{"", "", "10.0.0.0/32", "10.0.0.1/32", "10.0.0.0/31", "10.0.0.0/30", "0.0.0.0/0", "2001:db8::1/128", "2001:db8::/126", "::/0"}
		if s := rapid.SampledFrom(p).Draw(t, name+what); s != "" {
			return netip.MustParsePrefix(s)
		}
		return netip.Prefix{}
	}
	m := Match{
		Dst: prefix("dst"), Src: prefix("src"), DstPort: drawSet(t, "dport", 3, topPort), SrcPort: drawSet(t, "sport", 3, topPort),
		Length: drawSet(t, "length", 2, topPort), DSCP: drawSet(t, "dscp", 2, topDSCP), Fragment: Fragments(rapid.IntRange(0, 7).Draw(t, "frag")),
	}
	if rapid.Bool().Draw(t, "icmp?") {
		if m.ICMPType, m.ICMPCode = drawSet(t, "type", 2, topByte), drawSet(t, "code", 2, topByte); m.family() == 0 {
			m.Dst = netip.MustParsePrefix(rapid.SampledFrom([]string{"0.0.0.0/0", "::/0"}).Draw(t, "family"))
		}
	}
	if rapid.Bool().Draw(t, "proto?") {
		groups := []Set{Just(1), Just(6), Just(17), Just(58), {{0, 0}, {2, 5}, {7, 16}, {18, 57}, {59, topByte}}}
		var spans []Span
		for _, g := range groups {
			if rapid.Bool().Draw(t, "proto") {
				spans = append(spans, g...)
			}
		}
		m.Proto = Union(spans...)
	}
	if rapid.Bool().Draw(t, "flags?") {
		pick := rapid.SampledFrom([]packet.TCPFlags{0, packet.SYN, packet.ACK, packet.SYN | packet.ACK})
		m.Flags = Flags{pick.Draw(t, "set"), pick.Draw(t, "clear")}
	}
	return m
}

// many checks a property of a thousand draws: a hundred, as is usual, miss a bound.
func many(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	for range 10 {
		rapid.Check(t, property)
	}
}

// TestArithmetic: what two matches have in common, whether that is nothing, and whether
// one lies in the other, is what trying every packet says.
func TestArithmetic(t *testing.T) {
	t.Parallel()
	var empty, inside, apart int
	many(t, func(t *rapid.T) {
		a, b := drawMatch(t, "a"), drawMatch(t, "b")
		if rapid.Bool().Draw(t, "near") { // pairs at random are mostly apart
			b = a
			switch rapid.IntRange(0, 6).Draw(t, "wider by") {
			case 0:
				if b.Src = (netip.Prefix{}); b.family() == 0 {
					b.ICMPType, b.ICMPCode = nil, nil
				}
			case 1:
				b.DstPort = nil
			case 2:
				if b.Flags = (Flags{}); rapid.Bool().Draw(t, "by one flag") {
					a.Proto, a.ICMPType, a.ICMPCode = Just(packet.TCP), nil, nil
					b = a
					a.Flags.Set, b.Flags.Set = packet.SYN, packet.SYN
					a.Flags.Clear, b.Flags.Clear = 0, 0
					a.Flags.Clear = rapid.SampledFrom([]packet.TCPFlags{0, packet.ACK}).Draw(t, "clear")
				}
			case 3:
				b.Proto = nil
			case 4:
				b.Length = From(1, topPort)
			case 5:
				b.Fragment = 0
			case 6:
				if b.Dst = (netip.Prefix{}); b.family() == 0 {
					b.ICMPType, b.ICMPCode = nil, nil
				}
			}
			if rapid.Bool().Draw(t, "narrower") {
				a, b = b, a
			}
		}
		both, some := a.And(&b)
		var anyA, anyBoth, outside bool
		for i := range universe {
			u := &universe[i]
			fa, fb := a.fits(u), b.fits(u)
			anyA, anyBoth, outside = anyA || fa, anyBoth || fa && fb, outside || fa && !fb
			if some && both.fits(u) != (fa && fb) {
				t.Fatalf("%s\n and %s\n is %s\n and %+v lies wrongly", a.Text(), b.Text(), both.Text(), *u)
			}
		}
		if a.Empty() == anyA {
			t.Fatalf("%q: empty %v, a packet fits %v", a.Text(), a.Empty(), anyA)
		}
		if some != anyBoth {
			t.Fatalf("%q and %q: something in common %v, a packet fits both %v", a.Text(), b.Text(), some, anyBoth)
		}
		if a.In(&b) == outside {
			t.Fatalf("%q in %q: %v, a packet lies outside %v", a.Text(), b.Text(), a.In(&b), outside)
		}
		switch {
		case !anyA:
			empty++
		case !outside:
			inside++
		case !anyBoth:
			apart++
		}
	})
	if empty == 0 || inside == 0 || apart == 0 {
		t.Errorf("nothing was tested: %d empty, %d inside, %d apart", empty, inside, apart)
	}
}

// TestProtected: where Touches finds nothing, no packet that is protected is dropped by
// rules in the order in which routers ask them; and the rules that let pass which a plan
// adds keep it from being dropped.
func TestProtected(t *testing.T) {
	t.Parallel()
	var proven, spared int
	many(t, func(t *rapid.T) {
		var rules []Rule
		for range rapid.IntRange(1, 3).Draw(t, "rules") {
			if m := drawMatch(t, "rule"); !m.Empty() {
				rules = append(rules, Rule{Match: m, Action: rapid.SampledFrom([]Action{Drop, Drop, Pass}).Draw(t, "action")})
			}
		}
		keep := []Protected{{"p", drawMatch(t, "kept")}}
		try := func(rules []Rule) bool {
			if len(Touches(rules, keep)) > 0 {
				return false
			}
			order := slices.Clone(rules)
			slices.SortStableFunc(order, func(a, b Rule) int {
				switch {
				case a.Match.Before(&b.Match):
					return -1
				case b.Match.Before(&a.Match):
					return 1
				}
				return 0
			})
			for i := range universe {
				u := &universe[i]
				if !keep[0].Match.fits(u) {
					continue
				}
				for j := range order {
					if order[j].Match.fits(u) {
						if order[j].Action == Drop {
							t.Fatalf("%+v is protected by %q and dropped by %s", *u, keep[0].Match.Text(), order[j].String())
						}
						break
					}
				}
			}
			return true
		}
		if try(rules) {
			proven++
		} else if try(spare(rules, keep)) {
			spared++
		}
	})
	if proven == 0 || spared == 0 {
		t.Errorf("nothing was tested: %d proven, %d spared", proven, spared)
	}
}

// TestMerge: rules that became one match what they matched before.
func TestMerge(t *testing.T) {
	t.Parallel()
	less := 0
	rapid.Check(t, func(t *rapid.T) {
		var rules []Rule
		for range rapid.IntRange(2, 6).Draw(t, "rules") {
			m := Match{Dst: netip.MustParsePrefix("10.0.0.1/32"), Proto: Just(rapid.SampledFrom([]uint16{6, 17}).Draw(t, "proto"))}
			m.SrcPort, m.DstPort = drawSet(t, "sport", 3, topPort), drawSet(t, "dport", 3, topPort)
			rules = append(rules, Rule{Match: m, Action: Drop})
		}
		one := merge(rules)
		for i := range universe {
			fits := func(r Rule) bool { return r.Match.fits(&universe[i]) }
			if slices.ContainsFunc(rules, fits) != slices.ContainsFunc(one, fits) {
				t.Fatalf("%+v: %s is not %s", universe[i], join(rules), join(one))
			}
		}
		if len(one) < len(rules) {
			less++
		}
	})
	if less == 0 {
		t.Error("nothing was merged")
	}
}

// TestOrder is the order of RFC 8955, section 5.1.
func TestOrder(t *testing.T) {
	t.Parallel()
	p := netip.MustParsePrefix
	list := []Match{ // as a router asks them
		{Dst: p("192.0.2.0/25"), Proto: Just(17)},
		{Dst: p("192.0.2.0/24"), Src: p("198.51.100.7/32")},
		{Dst: p("192.0.2.0/24"), Src: p("198.51.100.0/24"), Proto: Just(6)},
		{Dst: p("192.0.2.0/24"), Proto: Just(6)},
		{Dst: p("192.0.2.0/24"), Proto: Just(17), DstPort: Just(53)},
		{Dst: p("192.0.2.0/24"), Proto: Just(17)},
		{Dst: p("192.0.2.0/24")},
		{Dst: p("203.0.113.0/24"), Proto: Just(17)},
		{Src: p("203.0.113.0/24")},
		{Proto: Just(17)},
	}
	for i := range list {
		for j := range list {
			if got := list[i].Before(&list[j]); got != (i < j) {
				t.Errorf("%s before %s: %v", list[i].Text(), list[j].Text(), got)
			}
		}
	}
}

// TestText: the canonical text is what the RFC's components say, and a rule comes back
// from JSON as it was.
func TestText(t *testing.T) {
	t.Parallel()
	r := Rule{Action: Drop, Match: Match{
		Dst: netip.MustParsePrefix("192.0.2.7/32"), Src: netip.MustParsePrefix("198.51.100.0/24"), Proto: Just(6), DstPort: Union(Span{443, 443}, Span{80, 80}, Span{8000, 8080}),
		Flags: Flags{packet.SYN, packet.ACK | packet.RST}, Length: From(40, 60), DSCP: Just(0), Fragment: Whole | First,
	}}
	const want = "match destination 192.0.2.7/32 source 198.51.100.0/24 protocol =6 destination-port =80 or =443 or >=8000&<=8080 tcp-flags =syn&!rst+ack packet-length >=40&<=60 dscp =0 fragment =not-a-fragment or =first-fragment then traffic-rate-bytes 0"
	if got := r.String(); got != want {
		t.Errorf("%s", got)
	}
	b, err := r.MarshalJSON()
	var back Rule
	if err != nil || back.UnmarshalJSON(b) != nil || back.String() != want {
		t.Errorf("%s, %v, %s", b, err, back.String())
	}
	for name, m := range map[string]Match{
		"ports of later fragments": {Dst: r.Match.Dst, Proto: Just(17), SrcPort: Just(53), Fragment: Later},
		"flags of UDP":             {Dst: r.Match.Dst, Proto: Just(17), Flags: Flags{Set: packet.SYN}},
		"two families":             {Dst: r.Match.Dst, Src: netip.MustParsePrefix("2001:db8::/32")},
		"ICMP of IPv6":             {Dst: r.Match.Dst, Proto: Just(58), ICMPType: Just(128)},
		"bits after the length":    {Dst: netip.MustParsePrefix("192.0.2.7/24")},
		"nothing":                  {},
		"spans out of order":       {Dst: r.Match.Dst, Proto: Set{{17, 17}, {6, 6}}},
	} {
		if (&Rule{Match: m, Action: Drop}).Check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, x := range map[string]Rule{
		"a rate of nothing":  {Match: r.Match, Action: RateBytes},
		"a drop with a rate": {Match: r.Match, Action: Drop, Rate: 1},
		"RTBH with a port":   {Match: r.Match, Action: RTBH},
		"a target":           {Match: r.Match, Action: Redirect, To: "a; b"},
		"no action":          {Match: r.Match},
	} {
		if x.Check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
