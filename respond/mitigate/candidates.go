package mitigate

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	"sakimori/base/wire/packet"
	"sakimori/detect"
)

// The bounds of what is weighed.
const (
	least   = 0.01 // share of the attack that a form must have to be a candidate
	nearly  = 0.98 // of what a wider match stops, for a narrower one to do in its place
	anchors = 16   // prefixes of one proposal, as the guideline's rules permit
	few     = 16   // sources, targets or ports that are named one by one
)

// candidate is a match, with what it would stop.
type candidate struct {
	match   Match
	fits    []int   // indices of the sample
	packets float64 // share of the sample
	bytes   float64
	width   float64 // log2 of how much of all there could be fits, without the anchor
	wide    bool    // taken only where nothing narrower does
}

// bench weighs one attack.
type bench struct {
	a              *detect.Attack
	sample         []detect.Sample
	packets, bytes float64 // weights of all
}

func newBench(a *detect.Attack) *bench {
	a = plain(a)
	b := &bench{a: a, sample: a.Sample}
	for i := range b.sample {
		b.packets += b.sample[i].Packets
		b.bytes += b.sample[i].Bytes
	}
	return b
}

func (b *bench) weigh(m Match, wide bool) candidate {
	c := candidate{match: m, wide: wide, width: m.width()}
	for i := range b.sample {
		if s := &b.sample[i]; m.Fits(s) {
			c.fits = append(c.fits, i)
			c.packets += s.Packets / b.packets
			c.bytes += s.Bytes / b.bytes
		}
	}
	return c
}

// share of a candidate, as it counts: both sides of the attack in equal parts.
func (c *candidate) share() float64 { return (c.packets + c.bytes) / 2 }

// shown tells whether it isn't just some samples by chance that have it.
func (c *candidate) shown() bool {
	const samples, plain = 3, 0.1
	return len(c.fits) >= samples || c.share() >= plain
}

// width is how wide a match is, its anchor apart: the sum of the logarithms of what each
// component lets through.
func (m *Match) width() float64 {
	w := 0.0
	for _, c := range []struct {
		s   Set
		top uint16
	}{{m.Proto, topByte}, {m.DstPort, topPort}, {m.SrcPort, topPort}, {m.ICMPType, topByte}, {m.ICMPCode, topByte}, {m.Length, 1500}, {m.DSCP, topDSCP}} {
		w += math.Log2(float64(min(c.s.count(c.top), int(c.top)+1)) / (float64(c.top) + 1))
	}
	for f := m.Flags.Set | m.Flags.Clear; f != 0; f &= f - 1 {
		w--
	}
	if m.Fragment != 0 && m.Fragment != anyFragment {
		w--
	}
	if m.Src.IsValid() {
		w -= float64(m.Src.Bits())
	}
	return w
}

// forms are the matches that the sample itself shows, each with the narrower ones that
// still stop nearly as much.
func (b *bench) forms(base Match) (list []candidate) {
	seen := map[string]bool{}
	add := func(m Match, wide bool) {
		c := b.weigh(m, wide)
		if c.share() < least || !c.shown() || seen[m.Text()] || m.check() != nil {
			return
		}
		seen[m.Text()] = true
		list = append(list, c)
		for _, n := range b.narrower(&c) {
			if !seen[n.match.Text()] {
				seen[n.match.Text()] = true
				list = append(list, n)
			}
		}
	}
	for _, proto := range b.top(base, func(s *detect.Sample) (uint16, bool) { return uint16(s.Proto), true }) {
		m := base
		m.Proto = Just(proto)
		switch proto {
		case packet.UDP, packet.TCP:
			b.ports(m, add)
		case packet.ICMP, packet.ICMPv6:
			b.icmp(m, add)
		}
		f := m
		f.Fragment = Later
		add(f, false)
		add(m, proto == packet.UDP || proto == packet.TCP || proto == packet.ICMP || proto == packet.ICMPv6)
	}
	return list
}

// ports are the forms of a protocol with ports: by source port (reflectors), by target
// port, and of TCP by the flags.
func (b *bench) ports(m Match, add func(Match, bool)) {
	src := func(s *detect.Sample) (uint16, bool) { return s.SrcPort, !s.Later }
	dst := func(s *detect.Sample) (uint16, bool) { return s.DstPort, !s.Later }
	both := func(m Match, wide bool) {
		for _, p := range b.top(m, src) {
			n := m
			n.SrcPort = Just(p)
			add(n, false)
		}
		for _, p := range b.top(m, dst) {
			n := m
			n.DstPort = Just(p)
			add(n, false)
		}
		add(m, wide)
	}
	if !m.Proto.Has(packet.TCP) {
		both(m, true)
		return
	}
	const told = packet.FIN | packet.SYN | packet.RST | packet.PSH | packet.ACK | packet.URG
	for _, f := range b.top(m, func(s *detect.Sample) (uint16, bool) { return uint16(s.Flags & told), !s.Later && !s.NoFlags }) {
		n := m
		set := packet.TCPFlags(f & uint16(told))
		n.Flags = Flags{set, told &^ set}
		both(n, false)
	}
	both(m, true)
}

func (b *bench) icmp(m Match, add func(Match, bool)) {
	for _, p := range b.top(m, func(s *detect.Sample) (uint16, bool) { return s.DstPort, !s.Later }) {
		n := m
		n.ICMPType, n.ICMPCode = Just(p>>8), Just(p&0xff)
		add(n, false)
	}
}

// narrower are matches inside a candidate that stop nearly as much: by length, by the
// ports of the other side, by both.
func (b *bench) narrower(c *candidate) (list []candidate) {
	m := c.match
	variants := []Match{m}
	if ports, some := b.others(c); some {
		n := m
		if len(m.DstPort) == 0 {
			n.DstPort = ports
		} else {
			n.SrcPort = ports
		}
		variants = append(variants, n)
	}
	if lengths, some := b.lengths(c); some {
		for _, v := range slices.Clone(variants) {
			v.Length = lengths
			variants = append(variants, v)
		}
	}
	for _, v := range variants[1:] {
		if n := b.weigh(v, c.wide); n.packets >= nearly*c.packets && n.bytes >= nearly*c.bytes && v.check() == nil {
			list = append(list, n)
		}
	}
	return list
}

// others are the few ports of the other side that hold nearly all, if a form names one
// side.
func (b *bench) others(c *candidate) (Set, bool) {
	m := &c.match
	if (len(m.DstPort) > 0) == (len(m.SrcPort) > 0) {
		return nil, false
	}
	got := map[uint16]float64{}
	all := 0.0
	for _, i := range c.fits {
		s := &b.sample[i]
		p := s.SrcPort
		if len(m.DstPort) == 0 {
			p = s.DstPort
		}
		got[p] += s.Packets
		all += s.Packets
	}
	const some = 4
	keep, sum := []uint16{}, 0.0
	for _, p := range byWeight(got) {
		if sum >= nearly*all {
			break
		}
		keep, sum = append(keep, p), sum+got[p]
	}
	return Just(keep...), len(keep) > 0 && len(keep) <= some
}

// lengths is the band that holds nearly all, if it says something.
func (b *bench) lengths(c *candidate) (Set, bool) {
	const wide = 700
	type point struct {
		length uint16
		weight float64
	}
	var list []point
	all := 0.0
	for _, i := range c.fits {
		s := &b.sample[i]
		list = append(list, point{s.Length, s.Packets})
		all += s.Packets
	}
	if all == 0 {
		return nil, false
	}
	slices.SortFunc(list, func(x, y point) int { return cmp.Compare(x.length, y.length) })
	const tail = (1 - nearly) / 4
	var from, to uint16
	sum := 0.0
	for i, p := range list {
		if i == 0 || sum <= tail*all {
			from = p.length
		}
		if sum < (1-tail)*all {
			to = p.length
		}
		sum += p.weight
	}
	if from == 0 || int(to)-int(from) > wide {
		return nil, false
	}
	// The ends of a band were met by chance; a length that never changes is the tool's own.
	margin := (to - from) / 8
	return From(max(from, margin)-margin, min(to, topPort-margin)+margin), true
}

// top are the most frequent values of a key in what fits, each with enough of the attack.
func (b *bench) top(m Match, key func(*detect.Sample) (uint16, bool)) []uint16 {
	got := map[uint16]float64{}
	for i := range b.sample {
		s := &b.sample[i]
		if k, has := key(s); has && m.Fits(s) {
			got[k] += (s.Packets/b.packets + s.Bytes/b.bytes) / 2
		}
	}
	list := byWeight(got)
	list = list[:min(few, len(list))]
	return slices.DeleteFunc(list, func(k uint16) bool { return got[k] < least })
}

// byWeight gives keys, the heaviest first.
func byWeight[K cmp.Ordered](got map[K]float64) []K {
	list := make([]K, 0, len(got))
	for k := range got {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b K) int { return cmp.Or(cmp.Compare(got[b], got[a]), cmp.Compare(a, b)) })
	return list
}

// heavy gives addresses, the heaviest first.
func heavy(got map[netip.Addr]float64) []netip.Addr {
	list := make([]netip.Addr, 0, len(got))
	for k := range got {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b netip.Addr) int { return cmp.Or(cmp.Compare(got[b], got[a]), a.Compare(b)) })
	return list
}

// anchorsOf are the prefixes that a proposal speaks of: the object, as narrow as the
// guideline's widest; of a wider one, a customer or a link those parts that are hit.
func (b *bench) anchorsOf() []netip.Prefix {
	p := b.a.Object.Prefix
	if p.IsValid() && p.Bits() >= widest(p.Addr()) {
		return []netip.Prefix{p.Masked()}
	}
	host := b.a.Object.Kind == detect.CustomerObject || b.a.Object.Kind == detect.LinkObject
	got := map[netip.Addr]float64{}
	bits := map[netip.Addr]int{}
	for i := range b.sample {
		s := &b.sample[i]
		x := addressOf(b.a, s)
		if !x.IsValid() || p.IsValid() && !p.Contains(x) {
			continue
		}
		n := widest(x)
		if host && !p.IsValid() {
			n = x.BitLen()
		}
		q, err := x.Prefix(n)
		if err != nil {
			continue
		}
		got[q.Addr()] += s.Packets / b.packets
		bits[q.Addr()] = n
	}
	list, sum := []netip.Prefix{}, 0.0
	for _, x := range heavy(got) {
		if len(list) == anchors || sum >= nearly {
			break
		}
		list = append(list, netip.PrefixFrom(x, bits[x]))
		sum += got[x]
	}
	return list
}

// widest is the shortest prefix that the guideline's rule facilities-attack lets a scope
// name.
func widest(a netip.Addr) int {
	if a.Is4() {
		return 24
	}
	return 48
}
