package mitigate

import (
	"math"
	"net/netip"
	"slices"

	"sakimori/base/wire/packet"
	"sakimori/detect"
)

// How much of some traffic a set of rules would hit is estimated from samples of it. Of
// the attack it must be hit for sure to count. Of what is ordinary all counts that may be
// hit: a flow tells the flags of all of its packets together and their mean length, not
// those of each; and a connection whose first packet is dropped is lost as a whole.

// scale is what is known of the traffic besides its samples.
type scale struct {
	packets, bytes float64 // of the attack now, a second: what a rate limit is compared with
	byBytes        bool    // the attack is over its line in bits
	byPackets      bool    // the attack is over its line in packets
	usual          part    // share of the packets and of the bytes that pass now which is ordinary, as far as is known
}

// scaleOf takes the rates of an attack.
func scaleOf(a *detect.Attack) scale {
	now := a.Now
	if now.Packets.N <= 0 {
		now = a.Peak
	}
	s := scale{packets: now.Packets.N, bytes: now.Bits.N / 8}
	s.byPackets = a.Limit.Packets.N > 0 && a.Peak.Packets.N >= a.Limit.Packets.N
	s.byBytes = a.Limit.Bits.N > 0 && a.Peak.Bits.N >= a.Limit.Bits.N
	if !s.byPackets && !s.byBytes { // by another line, or none is told
		s.byPackets, s.byBytes = true, a.Limit.Flows.N == 0
	}
	if a.Usual != nil {
		s.usual = part{ordinary(a.Usual.Packets.N, now.Packets.N), ordinary(a.Usual.Bits.N, now.Bits.N)}
	}
	return s
}

// ordinary is the part of what passes that is there without an attack. It is never taken
// to be all.
func ordinary(usual, now float64) float64 {
	const most = 0.9
	if now <= 0 || usual <= 0 {
		return 0
	}
	return min(most, usual/now)
}

// form tells whether a sample fits all components but flags and length.
func (m *Match) form(s *detect.Sample) bool {
	in := func(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Contains(a.Unmap()) }
	if !in(m.Dst, s.Dst) || !in(m.Src, s.Src) || !m.Proto.Has(uint16(s.Proto)) {
		return false
	}
	l4 := len(m.DstPort)+len(m.SrcPort)+len(m.ICMPType)+len(m.ICMPCode) > 0 || m.Flags != Flags{}
	if s.Later {
		return !l4 && (m.Fragment == 0 || m.Fragment&Later != 0)
	}
	if m.Fragment != 0 && m.Fragment&(Whole|First) == 0 {
		return false
	}
	icmp := s.Proto == packet.ICMP || s.Proto == packet.ICMPv6
	switch {
	case len(m.DstPort)+len(m.SrcPort) > 0 && !ported.Has(uint16(s.Proto)),
		len(m.ICMPType)+len(m.ICMPCode) > 0 && !icmp,
		m.Flags != Flags{} && s.Proto != packet.TCP:
		return false
	case icmp:
		return m.ICMPType.Has(s.DstPort>>8) && m.ICMPCode.Has(s.DstPort&0xff)
	}
	return m.DstPort.Has(s.DstPort) && m.SrcPort.Has(s.SrcPort)
}

func (f Flags) fits(x packet.TCPFlags) bool { return x&f.Set == f.Set && x&f.Clear == 0 }

// Fits tells whether all that a sample stands for fits. The parts of a datagram that
// samples don't tell apart are no proof.
func (m *Match) Fits(s *detect.Sample) bool {
	if !m.form(s) || len(m.DSCP) > 0 || m.Fragment != 0 && !s.Later && m.Fragment&(Whole|First) != Whole|First {
		return false
	}
	if m.Flags != (Flags{}) && (s.NoFlags || !m.Flags.fits(s.Flags)) {
		return false
	}
	return m.Length.Has(s.Length)
}

// opening are the flags of a connection's first two packets.
var opening = []packet.TCPFlags{packet.SYN, packet.SYN | packet.ACK, packet.SYN | packet.ECE | packet.CWR, packet.SYN | packet.ACK | packet.ECE}

// openings tells whether a match takes out packets that open a connection, though not
// all of its packets.
func (m *Match) openings() bool {
	if m.Flags == (Flags{}) && len(m.Length) == 0 || !m.Proto.Has(packet.TCP) {
		return false
	}
	return slices.ContainsFunc(opening, m.Flags.fits)
}

// part is a share: as it looks, and at most; or of packets, and of bytes.
type part struct{ n, most float64 }

// opened is how many of the connections that a match's form speaks of it would keep from
// opening: those whose opening packets have its length too.
func (m *Match) opened(ordinary []detect.Sample) part {
	if len(m.Length) == 0 {
		return part{1, 1}
	}
	var all, hit, squares float64
	for i := range ordinary {
		s := &ordinary[i]
		if !s.Single || s.NoFlags || s.Proto != packet.TCP || s.Flags&packet.SYN == 0 || !m.Flags.fits(s.Flags) || !m.form(s) {
			continue
		}
		all += s.Packets
		squares += s.Packets * s.Packets
		if m.Length.Has(s.Length) {
			hit += s.Packets
		}
	}
	if all == 0 {
		return part{1, 1} // nobody knows
	}
	return part{hit / all, upper(hit/all, all*all/squares)}
}

// maybe is how much of what an ordinary sample stands for would be hit. open is opened.
func (m *Match) maybe(s *detect.Sample, open part) part {
	if !m.form(s) {
		return part{}
	}
	hit := part{1, 1}
	if m.Flags != (Flags{}) && !s.NoFlags {
		exact := s.Single && !m.Flags.fits(s.Flags)
		if never := s.Flags&m.Flags.Set != m.Flags.Set; exact || never {
			hit = part{}
		}
	}
	if len(m.Length) > 0 && !m.Length.Has(s.Length) {
		if hit.n = 0; s.Single {
			hit.most = 0
		}
		hit.most = min(hit.most, within(m.Length, float64(s.Length)))
	}
	if s.Proto == packet.TCP && !s.Later && m.openings() {
		hit = part{max(hit.n, open.n), max(hit.most, open.most)}
	}
	return hit
}

// within bounds how many packets of a mean length outside of a set can lie in it, by
// Markov's inequality: packets have at least 20 bytes, and 1500 but for jumbo frames.
func within(lengths Set, mean float64) float64 {
	const least, most = 20, 1500
	var all float64
	for _, x := range lengths {
		switch from, to := float64(x.From), float64(x.To); {
		case mean < from:
			all += max(0, mean-least) / (from - least)
		case mean > to && to < most:
			all += max(0, most-mean) / (most - to)
		default:
			all++
		}
	}
	return min(1, all)
}

// upper is the upper end of the 95 % interval of a share by Wilson (1927), where n
// samples of equal weight show p.
func upper(p, n float64) float64 {
	const z2 = 1.96 * 1.96
	if n <= 0 {
		return 1
	}
	mid, width := p+z2/(2*n), 1.96*math.Sqrt(p*(1-p)/n+z2/(4*n*n))
	return min(1, (mid+width)/(1+z2/n))
}

// sum adds weighted shares up. Samples of unequal weight count as fewer: Kish's n.
type sum struct{ all, n, most, squares float64 }

func (s *sum) add(weight float64, p part) {
	s.all += weight
	s.n += weight * p.n
	s.most += weight * p.most
	s.squares += weight * weight
}

// share is the share with its 95 % error upwards.
func (s *sum) share() detect.Measure {
	if s.all == 0 {
		return detect.Measure{N: 1}
	}
	p := s.n / s.all
	return detect.Measure{N: p, Error: max(0, upper(s.most/s.all, s.all*s.all/s.squares)-p)}
}

// taken is the share of what fits a rule that it takes out: all of it, or what is above
// its rate. known is false where a rate can't be compared with anything.
func (r *Rule) taken(sample []detect.Sample, sc scale) (share float64, known bool) {
	now := sc.packets
	switch r.Action {
	case Drop, RTBH, Redirect:
		return 1, true
	case RateBytes:
		now = sc.bytes
	case RatePackets:
	default:
		return 0, true
	}
	packets, bytes := r.Match.matched(sample)
	if r.Action == RateBytes {
		packets = bytes
	}
	if now *= packets; now <= 0 {
		return 0, false
	}
	return max(0, 1-r.Rate/now), true
}

// matched are the shares of a sample that surely fit.
func (m *Match) matched(sample []detect.Sample) (packets, bytes float64) {
	var allP, allB float64
	for i := range sample {
		s := &sample[i]
		allP, allB = allP+s.Packets, allB+s.Bytes
		if m.Fits(s) {
			packets, bytes = packets+s.Packets, bytes+s.Bytes
		}
	}
	if allP <= 0 || allB <= 0 {
		return 0, 0
	}
	return packets / allP, bytes / allB
}

// stops estimates which share of an attack rules stop: of its packets or of its bytes,
// whichever is over its line, and of both whichever is less. hit is the share of what is ordinary that they hit.
func stops(rules []Rule, sample []detect.Sample, sc scale, hit float64) detect.Measure {
	taken := make([]float64, len(rules))
	for j := range rules {
		taken[j], _ = rules[j].taken(sample, sc) // not known: nothing
	}
	var byPackets, byBytes sum
	for i := range sample {
		s, best := &sample[i], 0.0
		for j := range rules {
			if rules[j].Match.Fits(s) {
				if rules[j].Action == Pass {
					best = 0
					break
				}
				best = max(best, taken[j])
			}
		}
		byPackets.add(s.Packets, part{best, best})
		byBytes.add(s.Bytes, part{best, best})
	}
	p, b := attacked(&byPackets, sc.usual.n*min(hit, 1), sc.usual.n), attacked(&byBytes, sc.usual.most*min(hit, 1), sc.usual.most)
	if !sc.byPackets || sc.byBytes && b.N < p.N {
		return b
	}
	return p
}

// attacked is the share of the attack in what a sum says of all that passes, which holds
// what is ordinary, too: usual of it, of which the rules hit so much.
func attacked(s *sum, hit, usual float64) detect.Measure {
	if s.all == 0 {
		return detect.Measure{}
	}
	p := min(1, max(0, (s.n/s.all-hit)/(1-usual)))
	return detect.Measure{N: p, Error: max(0, upper(1-p, s.all*s.all/s.squares)-(1-p))}
}

// collateral estimates how much of the ordinary traffic of the addresses that the rules
// speak of they would hit.
func collateral(rules []Rule, a *detect.Attack, sc scale) (detect.Measure, int) {
	var about []detect.Sample
	for i := range a.Ordinary {
		for j := range rules {
			if side := anchorOf(a, &rules[j].Match); rules[j].Action != Pass && (!side.IsValid() || side.Contains(addressOf(a, &a.Ordinary[i]))) {
				about = append(about, a.Ordinary[i])
				break
			}
		}
	}
	if len(about) == 0 {
		return detect.Measure{N: 1}, 0
	}
	open := make([]part, len(rules))
	taken := make([]float64, len(rules))
	for j := range rules {
		open[j] = rules[j].Match.opened(about)
		share, known := rules[j].taken(a.Sample, sc)
		if taken[j] = share; !known {
			taken[j] = 1
		}
	}
	var byPackets, byBytes sum
	for i := range about {
		s := &about[i]
		var hit part
		for j := range rules {
			r := &rules[j]
			if r.Action == Pass {
				if r.Match.Fits(s) {
					hit = part{}
					break
				}
				continue
			}
			p := r.Match.maybe(s, open[j])
			hit.n, hit.most = max(hit.n, p.n*taken[j]), max(hit.most, p.most*taken[j])
		}
		byPackets.add(s.Packets, hit)
		byBytes.add(s.Bytes, hit)
	}
	p, b := byPackets.share(), byBytes.share()
	if b.N+b.Error > p.N+p.Error {
		p = b
	}
	return p, len(about)
}

// sends tells whether the object of an attack is who sends. Otherwise it is who is hit,
// which of an attack that goes out is somebody outside.
func sends(a *detect.Attack) bool {
	p := a.Object.Prefix
	return a.Direction == detect.Outgoing && p.IsValid() && len(a.Sample) > 0 && !p.Contains(a.Sample[0].Dst.Unmap()) && p.Contains(a.Sample[0].Src.Unmap())
}

// anchorOf is the side of a rule that is the object's.
func anchorOf(a *detect.Attack, m *Match) netip.Prefix {
	if sends(a) {
		return m.Src
	}
	return m.Dst
}

func addressOf(a *detect.Attack, s *detect.Sample) netip.Addr {
	if sends(a) {
		return s.Src.Unmap()
	}
	return s.Dst.Unmap()
}

// peerOf is the other side of a sample.
func peerOf(a *detect.Attack, s *detect.Sample) netip.Addr {
	if sends(a) {
		return s.Dst.Unmap()
	}
	return s.Src.Unmap()
}

// plain is an attack with its samples as they are read here: exporters that have no
// field for the parts of a datagram tell later fragments with both ports 0.
func plain(a *detect.Attack) *detect.Attack {
	p := *a
	for _, list := range []*[]detect.Sample{&p.Sample, &p.Ordinary} {
		*list = slices.Clone(*list)
		for i := range *list {
			s := &(*list)[i]
			if ported.Has(uint16(s.Proto)) && s.SrcPort == 0 && s.DstPort == 0 {
				s.Later = true
			}
		}
	}
	return &p
}
