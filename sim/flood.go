package sim

import (
	"errors"
	"net/netip"

	"sakimori/base/wire/packet"
)

// Reply is what a flooded server answers with.
type Reply uint8

// The replies.
const (
	ReplySynAck      Reply = iota // TCP, open port
	ReplyRst                      // TCP, closed port or SYN cookies given up
	ReplyUnreachable              // UDP, closed port: ICMP or ICMPv6 port unreachable with the packet quoted
	ReplyService                  // UDP, DNS, NTP, SNMP or QUIC server: its answer
	ReplyEcho                     // ping flood: echo replies
)

// Flood is a server flooded from forged addresses, some of which are dark: its
// answers arrive there (backscatter). Pace is that of the answers that the
// telescope sees, retransmissions not counted.
type Flood struct {
	Victim     netip.Addr
	Port       uint16
	Reply      Reply
	Retransmit int // times that a SYN+ACK is sent again, after 1, 3, 7, 15 and 31 s (Linux: 5)
	Pace
	Span
}

// again is when Linux sends a SYN+ACK again, from the first one.
var again = [...]int64{0, 1e9, 3e9, 7e9, 15e9, 31e9}

// shot is an answer that will be sent again.
type shot struct {
	at       int64
	dst      packet.Addr
	port     uint16
	seq, ack uint32
}

type flood struct {
	beat
	Flood
	n       *network
	r       rng
	victim  packet.Addr
	who     uint64
	shots   []shot // the last 31 s, oldest first
	cursor  [len(again)]int
	primary int64 // when the next new answer is due
}

func (a Flood) streams(n *network, r *rng) ([]stream, error) {
	v, err := source(a.Victim)
	if err != nil {
		return nil, err
	}
	f := &flood{Flood: a, n: n, r: *r, victim: v, who: r.u64() | 1}
	if f.beat, err = newBeat(n, a.Span, a.Pace, r); err != nil {
		return nil, err
	}
	switch {
	case !v.Is4() && len(n.dark.v6) == 0:
		return nil, errors.New("it needs dark space of the victim's IP version")
	case a.Retransmit < 0 || a.Retransmit >= len(again) || a.Retransmit > 0 && a.Reply != ReplySynAck:
		return nil, errors.New("only a SYN+ACK is sent again, at most five times")
	}
	f.primary = f.first
	return []stream{f}, nil
}

// due of the earliest: the next new answer, or one to be sent again.
func (a *flood) soonest() (at int64, stage int) {
	at = a.primary
	for s := 1; s <= a.Retransmit; s++ {
		if c := a.cursor[s]; c < len(a.shots) {
			if t := a.shots[c].at + again[s]; t < at {
				at, stage = t, s
			}
		}
	}
	return at, stage
}

func (a *flood) send(now int64, f *frame) int64 {
	_, stage := a.soonest()
	var s shot
	if stage == 0 {
		s = shot{at: now, dst: a.target(), port: 1024 + uint16(a.r.below(64512)), seq: a.r.u32(), ack: a.r.u32()}
		if a.Retransmit > 0 {
			a.remember(s)
		}
		a.primary = a.next(now, &a.r)
	} else {
		s = a.shots[a.cursor[stage]]
		a.cursor[stage]++
	}
	a.reply(s, f)
	at, _ := a.soonest()
	return at
}

// remember keeps the answer until it was sent for the last time.
func (a *flood) remember(s shot) {
	if done := a.cursor[a.Retransmit]; done > 1024 && done > len(a.shots)/2 {
		a.shots = append(a.shots[:0], a.shots[done:]...)
		for i := 1; i <= a.Retransmit; i++ {
			a.cursor[i] -= done
		}
	}
	a.shots = append(a.shots, s)
}

func (a *flood) target() packet.Addr {
	if a.victim.Is4() {
		return a.n.dark.random4(&a.r)
	}
	return a.n.dark.random6(&a.r)
}

func (a *flood) reply(s shot, f *frame) {
	f.mark = mark{src: a.victim, dst: s.dst, port: a.Port, proto: packet.TCP, class: ByBackscatter, role: RoleVictim}
	h := ipHead{src: a.victim, dst: s.dst, ttl: 64 - hops(a.who), frag: dontFragment}
	switch a.Reply {
	case ReplySynAck:
		f.mark.kind = kindSynAck
		f.tcp(h, tcpHead{sport: a.Port, dport: s.port, seq: s.seq, ack: s.ack, window: 29200, flags: packet.SYN | packet.ACK, options: optMSS})
	case ReplyRst:
		f.mark.kind = kindRst
		f.tcp(h, tcpHead{sport: a.Port, dport: s.port, ack: s.ack, flags: packet.RST | packet.ACK})
	case ReplyUnreachable:
		f.mark.kind, f.mark.proto = kindError, packet.UDP
		f.part = append(f.part[:0], "flood of forged datagrams"...)
		q := f.quote(ipHead{src: s.dst, dst: a.victim, ttl: 40, id: uint16(s.seq)}, s.port, a.Port, f.part)
		h.frag, h.id = 0, uint16(s.ack)
		if a.victim.Is4() {
			f.icmp(h, 3, 3, 0, q)
		} else {
			f.icmp(h, 1, 4, 0, q)
		}
	case ReplyService:
		f.mark.kind, f.mark.proto = kindUDPAnswer, packet.UDP
		f.part = answer(f.part[:0], a.Port, &a.r)
		f.udp(h, a.Port, s.port, f.part)
	default: // ReplyEcho
		f.mark.kind, f.mark.proto, f.mark.port = kindAnswer, packet.ICMP, 0
		typ := uint8(0)
		if !a.victim.Is4() {
			typ, f.mark.proto, f.mark.port = 129, packet.ICMPv6, 129<<8
		}
		f.part = append(f.part[:0], make([]byte, 56)...)
		h.frag, h.id = 0, uint16(s.ack)
		f.icmp(h, typ, 0, s.seq, f.part)
	}
}

// Reflection is a set of open services that are made to send their long answers
// to forged addresses: to one target that the attacker means, or to dark
// addresses at random (carpet bombing).
type Reflection struct {
	Service    uint16 // 19, 123, 389, 1900 or 11211
	Reflectors int
	Places     []Place    // nil for World
	Target     netip.Addr // invalid for any dark IPv4 address
	Pace
	Span
}

type reflection struct {
	beat
	Reflection
	n      *network
	r      rng
	places places
	seed   uint64
}

func (a Reflection) streams(n *network, r *rng) ([]stream, error) {
	switch a.Service {
	case portChargen, portNTP, portCLDAP, portSSDP, portMemcached:
	default:
		return nil, errors.New("no amplifier is known on this port: use 19, 123, 389, 1900 or 11211")
	}
	if a.Reflectors <= 0 || a.Target.IsValid() && !a.Target.Is4() {
		return nil, errors.New("it needs reflectors, and a target of IPv4 if any")
	}
	f := &reflection{Reflection: a, n: n, r: *r, seed: r.u64()}
	var err error
	if f.beat, err = newBeat(n, a.Span, a.Pace, r); err != nil {
		return nil, err
	}
	f.places, err = newPlaces(a.Places)
	return []stream{f}, err
}

func (a *reflection) send(now int64, f *frame) int64 {
	who := mix(a.seed, a.r.below(uint64(a.Reflectors))) | 1
	h := ipHead{src: a.places.host(who), ttl: 64 - hops(who), id: a.r.u16()}
	if a.Target.IsValid() {
		h.dst = packet.FromNetip(a.Target)
	} else {
		h.dst = a.n.dark.random4(&a.r)
	}
	f.mark = mark{src: h.src, dst: h.dst, port: a.Service, proto: packet.UDP, class: ByReflection, role: RoleReflector, kind: kindUDPReflected}
	f.part = amplified(f.part[:0], a.Service, &a.r)
	f.udp(h, a.Service, 1024+uint16(a.r.below(64512)), f.part)
	return a.next(now, &a.r)
}

// Murmur is the backscatter of the world's many small floods: hosts that answer
// so rarely that none of them may be told as a victim.
type Murmur struct {
	Hosts  int
	Places []Place // nil for World
	Ports  []Want  // attacked, TCP
	Pace           // of all hosts together
	Span
}

type murmur struct {
	beat
	Murmur
	n      *network
	r      rng
	places places
	wants  wants
	seed   uint64
}

func (a Murmur) streams(n *network, r *rng) ([]stream, error) {
	if a.Hosts <= 0 {
		return nil, errors.New("it needs hosts")
	}
	m := &murmur{Murmur: a, n: n, r: *r, seed: r.u64()}
	var err error
	if m.beat, err = newBeat(n, a.Span, a.Pace, r); err != nil {
		return nil, err
	}
	if m.places, err = newPlaces(a.Places); err != nil {
		return nil, err
	}
	m.wants, err = newWants(a.Ports)
	return []stream{m}, err
}

func (a *murmur) send(now int64, f *frame) int64 {
	who := mix(a.seed, a.r.below(uint64(a.Hosts))) | 1
	one := flood{Flood: Flood{Port: a.wants.draw(mix(who, 3)).Port}, n: a.n, r: a.r, victim: a.places.host(who), who: who}
	if mix(who, 4)%3 == 0 {
		one.Reply = ReplyRst
	}
	one.reply(shot{dst: a.n.dark.random4(&a.r), port: 1024 + uint16(a.r.below(64512)), seq: a.r.u32(), ack: a.r.u32()}, f)
	return a.next(now, &a.r)
}
