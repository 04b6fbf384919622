package sim

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// Course is a rate over time: legs that follow each other.
type Course []Leg

// Leg is a stretch of time with a constant rate.
type Leg struct {
	At, For time.Duration // from the scene's start
	PPS     uint64        // packets a second
}

// Steady is a constant rate.
func Steady(at, span time.Duration, pps uint64) Course { return Course{{at, span, pps}} }

// Pulses are n bursts with silence between them.
func Pulses(at, on, off time.Duration, n int, pps uint64) (c Course) {
	for i := range n {
		c = append(c, Leg{at + time.Duration(i)*(on+off), on, pps})
	}
	return c
}

// Rising goes from nothing to pps within a time, second by second, and stays there.
func Rising(at, within, span time.Duration, pps uint64) (c Course) {
	steps := uint64(within / time.Second)
	for i := range steps {
		c = append(c, Leg{at + time.Duration(i)*time.Second, time.Second, pps * (i + 1) / (steps + 1)})
	}
	return append(c, Leg{at + time.Duration(steps)*time.Second, span - time.Duration(steps)*time.Second, pps})
}

// Assault is one attack: its vectors on one target.
type Assault struct {
	Target  netip.Prefix // one address, or a prefix whose addresses are all hit
	Vectors []Hit
	From    []netip.Addr // own addresses that take part: the attack goes out. nil: it comes in
}

// Hit is a vector at work.
type Hit struct {
	Vector  Vector
	Course  Course
	Sources int    // distinct addresses; 0: the vector's usual number, none where they are forged
	Port    uint16 // destination; 0 the vector's
}

// Vector is a way to flood, as packets show it.
type Vector struct {
	Name    string
	Proto   uint8
	SrcPort uint16 // of reflectors; 0: any
	DstPort uint16 // ICMP type<<8|code; 0: any
	Flags   packet.TCPFlags
	Sizes   []uint16 // of IP packets, in turn
	Later   int      // of the packets in a round of Sizes, the last so many are later fragments
	Sources int      // usual number; 0: forged, a new one for each packet
}

// etherMost is the largest packet of an Ethernet.
const etherMost = 1500

// anywhere6 is the IPv6 space of attackers and of servers elsewhere.
var anywhere6 = packet.FromNetip(netip.MustParseAddr("2001:db8:8000::"))

func (a Assault) cast(n *flowNet, r *rng) error {
	if !a.Target.IsValid() || a.Target != a.Target.Masked() || len(a.Vectors) == 0 {
		return errors.New("an attack needs a target, written with zero host bits, and a vector")
	}
	if in := n.own.contains(packet.FromNetip(a.Target.Addr())); in == (a.From != nil) {
		return fmt.Errorf("target %v: an attack that comes in has one of ours, one that goes out has another's", a.Target)
	}
	t := FlowAttack{Target: a.Target, Direction: "incoming", Own: a.From}
	if a.From != nil {
		t.Direction = "outgoing"
	}
	number := n.attack(t)
	a.Vectors = slices.Clone(a.Vectors)
	key := r.u64()
	first, last := never, int64(0)
	for i := range a.Vectors {
		h := &a.Vectors[i]
		if len(h.Vector.Sizes) == 0 || h.Vector.Later > len(h.Vector.Sizes) || len(h.Course) == 0 {
			return fmt.Errorf("vector %q needs sizes and a course", h.Vector.Name)
		}
		if a.Target.Addr().Is6() { // the header is longer
			h.Vector.Sizes = slices.Clone(h.Vector.Sizes)
			for k := range h.Vector.Sizes {
				h.Vector.Sizes[k] = min(h.Vector.Sizes[k]+20, etherMost)
			}
		}
		truth := FlowVectorShare{Name: h.Vector.Name}
		for router := range n.routers {
			f := &flooder{n: n, hit: h, attack: number, router: int32(router), r: rng(mix(key, uint64(i)<<8|uint64(router))), key: mix(key, uint64(i))}
			f.target, f.bits = packet.FromNetip(a.Target.Addr()), a.Target.Addr().BitLen()-a.Target.Bits()
			for _, x := range a.From {
				f.own = append(f.own, packet.FromNetip(x))
			}
			if f.sources = uint64(h.Sources); h.Sources == 0 {
				f.sources = uint64(h.Vector.Sources)
			}
			f.divide(h.Course)
			for _, l := range f.legs {
				first, last = min(first, l.from), max(last, l.to)
				bytes := l.bytes(h.Vector.Sizes)
				truth.Packets += l.n
				truth.Bytes += bytes
				n.passed(l.n, bytes, a.From != nil)
				n.course.attacks[number].add(l.from-n.start, l.to-n.start, l.n, bytes)
			}
			f.start()
		}
		x := &n.truth.Attacks[number]
		x.Vectors = append(x.Vectors, truth)
		x.Packets += truth.Packets
		x.Bytes += truth.Bytes
		sources := max(h.Sources, h.Vector.Sources*btoi(h.Sources == 0))
		if a.From != nil {
			sources = len(a.From)
		}
		x.Sources = max(x.Sources, uint64(sources))
	}
	x := &n.truth.Attacks[number]
	x.Onset, x.End = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
	for _, own := range a.From {
		n.truth.Infected = append(n.truth.Infected, FlowInfected{Address: own, Reason: "attack", Targets: 1, First: x.Onset})
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// flooder is one vector on its way through one router.
type flooder struct {
	n       *flowNet
	hit     *Hit
	r       rng
	key     uint64 // of its sources
	sources uint64 // 0 forged
	own     []packet.Addr
	target  packet.Addr
	bits    int // of its host part
	attack  int32
	router  int32
	legs    []floodLeg
	leg     int
	at      uint64 // packet of the leg
	skipped uint64 // since the last one looked at
}

type floodLeg struct {
	from, to int64
	n, pps   uint64
	before   uint64 // packets of the legs before it
}

// bytes of all packets of the leg.
func (l *floodLeg) bytes(sizes []uint16) (sum uint64) {
	round := uint64(0)
	for _, s := range sizes {
		round += uint64(s)
	}
	k := uint64(len(sizes))
	upTo := func(n uint64) uint64 {
		b := n / k * round
		for _, s := range sizes[:n%k] {
			b += uint64(s)
		}
		return b
	}
	return upTo(l.before+l.n) - upTo(l.before)
}

// divide takes this router's part of the course, cut at the scene's end.
func (f *flooder) divide(c Course) {
	routers, k := uint64(len(f.n.routers)), uint64(f.router)
	before := uint64(0)
	for _, l := range c {
		from := f.n.start + int64(l.At)
		to := min(from+int64(l.For), f.n.end)
		pps := l.PPS / routers
		if k < l.PPS%routers {
			pps++
		}
		if to <= from || pps == 0 {
			continue
		}
		x := floodLeg{from: from, to: to, n: scale(uint64(to-from), pps, uint64(time.Second)), pps: pps, before: before}
		before += x.n
		f.legs = append(f.legs, x)
	}
}

// start goes to the first packet that the router looks at.
func (f *flooder) start() {
	n := f.r.skip(f.n.routers[f.router].Sampling)
	f.at, f.skipped = n-1, n
	f.n.call(f, f.due())
}

// due is when the packet at hand passes.
func (f *flooder) due() int64 {
	for ; f.leg < len(f.legs); f.leg++ {
		l := &f.legs[f.leg]
		if f.at < l.n {
			return l.from + int64(scale(f.at, uint64(time.Second), l.pps))
		}
		f.at -= l.n
	}
	return never
}

func (f *flooder) send(_ int64, p *pass) int64 {
	v, r := &f.hit.Vector, &f.r
	k := int((f.legs[f.leg].before + f.at) % uint64(len(v.Sizes)))
	p.count, p.router, p.attack, p.outward = f.skipped, f.router, f.attack, f.own != nil
	p.proto, p.flags, p.length = v.Proto, v.Flags, v.Sizes[k]
	p.dst = f.target
	if f.bits > 0 {
		p.dst.Lo |= r.u64() & (1<<f.bits - 1)
	}
	who := r.u64()
	p.src = f.source(&who)
	p.later = k >= len(v.Sizes)-v.Later
	if !p.later {
		p.sport, p.dport = f.ports(who)
	}
	skip := r.skip(f.n.routers[f.router].Sampling)
	f.at, f.skipped = f.at+skip, skip
	return f.due()
}

// source draws who sends; who becomes the same for the same sender.
func (f *flooder) source(who *uint64) packet.Addr {
	v4 := f.target.Is4()
	if f.own != nil {
		i := (*who >> 8) % uint64(len(f.own))
		*who = mix(f.key, i)
		return f.own[i]
	}
	if f.sources > 0 {
		*who = mix(f.key, (*who>>8)%f.sources*uint64(len(f.n.routers))+uint64(f.router))
		if v4 {
			return f.n.world.host(*who)
		}
		return packet.Addr{Hi: anywhere6.Hi | *who>>40, Lo: scramble(*who)}
	}
	if !v4 {
		return packet.Addr{Hi: anywhere6.Hi | *who>>34, Lo: f.r.u64()}
	}
	for { // anything in 1.0.0.0 to 223.255.255.255, as forgers draw it
		if a := packet.V4(uint32(1<<24 + f.r.below(223<<24))); !f.n.own.contains(a) {
			return a
		}
	}
}

// ports of a packet: those that the vector fixes, a sender's own where it has one, and
// else new ones.
func (f *flooder) ports(who uint64) (sport, dport uint16) {
	v := &f.hit.Vector
	if dport = f.hit.Port; dport == 0 {
		dport = v.DstPort
	}
	switch v.Proto {
	case packet.ICMP, packet.ICMPv6:
		return 0, dport
	case packet.TCP, packet.UDP:
	default:
		return 0, 0
	}
	if sport = v.SrcPort; sport == 0 {
		sport = 1024 + uint16(f.r.below(64000))
	} else if dport == 0 { // a reflector answers the port that the forged question came from
		return sport, 1024 + uint16(mix(who, 9)%64000)
	}
	if dport == 0 {
		dport = 1 + f.r.u16()>>1
	}
	return sport, dport
}

// scale is a·b/c without overflow.
func scale(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	q, _ := bits.Div64(hi, lo, c)
	return q
}
