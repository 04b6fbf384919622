package flow

import (
	"sakimori/base/wire/ipfix"
)

// target is what a field of a record tells, and where its value goes.
type target uint8

const (
	nowhere target = iota
	src4
	dst4
	src6 // an IPv6 address is two numbers
	src6low
	dst6
	dst6low
	srcPort
	dstPort
	proto
	tos
	flags
	in
	out
	srcAS
	dstAS
	packets
	bytes
	leftPackets // counted where they left, of templates that have both
	leftBytes
	backPackets // of the other direction
	backBytes
	backFlags
	first
	last
	backFirst
	backLast
	took // milliseconds
	boot
	icmp
	icmp6
	icmpType
	icmpCode
	icmpType6
	icmpCode6
	fragment
	status
	event
	direction
	rate
	random
	interval
	space
	size
	population
	probability
	sampler
	frame
	section
	frameSize
	targets
)

// values are what a record tells, by target; what it doesn't is 0.
type values [64]uint64

// op takes a number out of a record: the eight bytes from at on, which end with the field,
// less those that mask hasn't. Every field of at most eight bytes is taken so, without a
// branch; those that end before the record's eighth byte by an early.
type op struct {
	mask uint64
	at   uint32
	to   target
}

// early takes a number out of the beginning of a record: the eight bytes from at on, less
// the last shift bits.
type early struct {
	at, shift uint8
	to        target
}

// place is where a field lies: n bytes of the record, field of the template.
type place struct {
	at, n int
	field int
	to    target
}

// plan is what is done with the records of a template.
type plan struct {
	early    []early  // of a fixed template
	ops      []op     // likewise
	places   []place  // of all
	header   *place   // of a packet's beginning
	options  *options // of an options template: its records are about the exporter
	time     kind     // of first and last
	backTime kind
	has      marks
}

// marks are what a record needs besides its values being taken over.
type marks uint32

const (
	hasBack     marks = 1 << iota // both directions in one record
	hasICMP                       // type and code of their own
	hasRate                       // it says how it was sampled
	hasSampler                    // it says by whom
	hasPacket                     // the beginning of a packet
	hasFlags                      // of TCP
	hasPackets                    // packets
	has4                          // addresses of IPv4
	has6                          // and of IPv6
	hasSpecials                   // fragment, status or direction
	hasTook                       // a duration
	hasBoot                       // when the exporter started
	hasLeft                       // counts of what came in and of what left
	hasSpace                      // of packets passed over between those taken
	hasSession                    // counts of a firewall, of a session in all
)

// needs are the marks of targets.
var needs = [targets]marks{
	backPackets: hasBack, backBytes: hasBack, icmp: hasICMP, icmp6: hasICMP, icmpType: hasICMP, icmpCode: hasICMP, icmpType6: hasICMP, icmpCode6: hasICMP,
	rate: hasRate, random: hasRate, interval: hasRate, space: hasRate | hasSpace, size: hasRate, population: hasRate, probability: hasRate, sampler: hasSampler,
	frame: hasPacket, section: hasPacket, flags: hasFlags, packets: hasPackets, src4: has4, dst4: has4, src6: has6, dst6: has6,
	fragment: hasSpecials, status: hasSpecials, event: hasSpecials, direction: hasSpecials, took: hasTook, boot: hasBoot, leftPackets: hasLeft, leftBytes: hasLeft,
}

// reverse is the enterprise number of what goes the other way (RFC 5103 §6.1).
const reverse = 29305

// Information elements (IANA, "IP Flow Information Export Entities") that are read. NetFlow
// version 9 has the same numbers. Of several that say the same, choose picks one.
var elements = map[uint16]target{
	8: src4, 12: dst4, 27: src6, 28: dst6, 7: srcPort, 11: dstPort, 4: proto, 5: tos, 6: flags,
	16: srcAS, 17: dstAS, 32: icmp, 139: icmp6, 176: icmpType, 178: icmpType6, 177: icmpCode, 179: icmpCode6,
	88: fragment, 89: status, 233: event, 61: direction,
	34: rate, 50: random, 305: interval, 306: space, 309: size, 310: population, 311: probability, 48: sampler, 302: sampler,
	315: frame, 104: frame, 313: section, 312: frameSize, 161: took, 160: boot,
}

// choices are elements that say the same in falling order of how good they are.
var choices = [...]struct {
	to   target
	from []uint16
}{
	// What passed since the last record; what left; in all, of exporters that tell nothing else.
	{packets, []uint16{2, 24, 298, 86}},
	{bytes, []uint16{1, 23, 231, 85, 352}},
	{in, []uint16{10, 252}},
	{out, []uint16{14, 253}},
}

// times are pairs of elements for the first and last packet, the best first. What has only
// one of them is taken when nothing has both.
var times = [...]struct {
	kind        kind
	first, last uint16
}{
	{uptime, 22, 21},
	{milliseconds, 152, 153},
	{ntp, 156, 157},
	{ntp, 154, 155},
	{seconds, 150, 151},
	{delta, 158, 159},
	{milliseconds, 152, 323},
	{milliseconds, 323, 323},
	{ntp, 324, 324},
	{ntp, 325, 325},
	{seconds, 322, 322},
}

// compile makes the plan of a template, once for each that an exporter sends. version is
// that of its messages.
func compile(t *ipfix.Template) *plan {
	if t.Options {
		return &plan{options: compileOptions(t)}
	}
	p := &plan{}
	for i, f := range t.Fields {
		if f.Enterprise != 0 && f.Enterprise != reverse {
			continue
		}
		if to := elements[f.ID]; to != nowhere {
			if f.Enterprise == reverse {
				if to != flags {
					continue // as in the other direction, or not told by a Flow
				}
				to = backFlags
			}
			p.add(t, i, to)
		}
	}
	for _, c := range choices {
		for _, id := range c.from {
			if p.add(t, t.Find(0, id), c.to) {
				break
			}
		}
	}
	for _, id := range [...]uint16{2, 86} {
		if p.add(t, t.Find(reverse, id), backPackets) {
			break
		}
	}
	for _, id := range [...]uint16{1, 85} {
		if p.add(t, t.Find(reverse, id), backBytes) {
			break
		}
	}
	if t.Find(0, 2) >= 0 && t.Find(0, 1) >= 0 {
		p.add(t, t.Find(0, 24), leftPackets)
		p.add(t, t.Find(0, 23), leftBytes)
	}
	// Cisco's firewalls have elements of their own for both directions (NSEL).
	if p.has&hasBack == 0 && t.Find(0, 231) >= 0 && t.Find(0, 1) < 0 && t.Find(0, 23) < 0 {
		p.has |= hasSession
		p.add(t, t.Find(0, 299), backPackets)
		p.add(t, t.Find(0, 232), backBytes)
	}
	p.time = p.when(t, 0, first, last)
	if p.has&hasBack != 0 {
		p.backTime = p.when(t, reverse, backFirst, backLast)
	}
	return p
}

// when finds the times that a template tells.
func (p *plan) when(t *ipfix.Template, enterprise uint32, from, to target) kind {
	for _, both := range [...]bool{true, false} {
		for _, w := range times {
			begins, ends := t.Find(enterprise, w.first), t.Find(enterprise, w.last)
			if both && (begins < 0 || ends < 0) || begins < 0 && ends < 0 {
				continue
			}
			if w.kind == uptime && t.Version == ipfix.IPFIX && t.Find(enterprise, 152) >= 0 {
				continue // its messages don't tell the uptime
			}
			if ends < 0 {
				ends = begins
			}
			if begins < 0 {
				begins = ends
			}
			if p.add(t, begins, from) && p.add(t, ends, to) {
				return w.kind
			}
		}
	}
	return untold
}

// add has field i go to a target, if its length allows.
func (p *plan) add(t *ipfix.Template, i int, to target) bool {
	if i < 0 {
		return false
	}
	at, n := t.Span(i)
	if !fits(to, n, !t.Fixed && n == ipfix.Variable) {
		return false
	}
	p.has |= needs[to]
	switch to {
	case frame, section:
		p.header = &place{at, n, i, to}
	case src6, dst6:
		p.place(t, place{at, 8, i, to})
		p.place(t, place{at + 8, 8, i, to + 1})
	default:
		p.place(t, place{at, n, i, to})
	}
	return true
}

func (p *plan) place(t *ipfix.Template, l place) {
	p.places = append(p.places, l)
	if !t.Fixed || t.Size < 16 {
		return
	}
	if end := l.at + l.n; end >= 8 {
		p.ops = append(p.ops, op{^uint64(0) >> (64 - 8*l.n), uint32(end - 8), l.to}) //nolint:gosec // a record is shorter than 64 KiB
	} else {
		p.early = append(p.early, early{uint8(l.at), uint8(64 - 8*l.n), l.to}) //nolint:gosec // both are small
	}
}

// fits tells whether a field of n bytes, or of as many as each record says, can go there.
func fits(to target, n int, variable bool) bool {
	switch to {
	case src4, dst4:
		return n == 4
	case src6, dst6:
		return n == 16
	case probability:
		return n == 4 || n == 8
	case frame, section:
		return n > 0
	}
	return n > 0 && n <= 8 || variable
}
