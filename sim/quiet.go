package sim

import (
	"errors"
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// Those who send to dark space and mean no harm.

// Misconfigured is a host that keeps asking one or two dark addresses for a
// service, as somebody mistyped its server: syslog (514), NTP (123), DNS (53),
// or a TCP port.
type Misconfigured struct {
	Source  netip.Addr
	Port    uint16
	TCP     bool
	Targets []netip.Addr
	Role    Role // RoleMisconfigured, or RoleLeftover for peer-to-peer
	Pace
	Span
}

type misconfigured struct {
	beat
	Misconfigured
	r      rng
	p      probe
	given  []packet.Addr
	visits int
}

func (m Misconfigured) streams(n *network, r *rng) ([]stream, error) {
	src, err := source(m.Source)
	if err != nil {
		return nil, err
	}
	if m.Role != RoleLeftover {
		m.Role = RoleMisconfigured
	}
	a := &misconfigured{Misconfigured: m, r: *r, p: probe{form: FormUDP, src: src, port: m.Port, who: r.u64() | 1, role: m.Role}}
	if m.TCP {
		a.p.form = FormLinux
	}
	for _, t := range m.Targets {
		if t.Is4() != src.Is4() {
			return nil, errors.New("source and targets must be of one IP version")
		}
		a.given = append(a.given, packet.FromNetip(t))
	}
	if len(a.given) == 0 {
		return nil, errors.New("it needs targets")
	}
	a.beat, err = newBeat(n, m.Span, m.Pace, r)
	return []stream{a}, err
}

func (m *misconfigured) send(now int64, f *frame) int64 {
	m.p.dst, m.p.k = m.given[m.visits%len(m.given)], uint64(m.visits)
	m.visits++
	f.probe(m.p, &m.r)
	if m.Port == portNTP && !m.TCP { // a client asks for the time, not for the monitor list
		f.part = append(f.part[:0], 0x23, 0, 10, 0xec)
		f.part = append(f.part, make([]byte, 44)...)
		h := ipHead{src: m.p.src, dst: m.p.dst, ttl: 64 - hops(m.p.who), frag: dontFragment, id: m.r.u16()}
		f.udp(h, portNTP, portNTP, f.part)
	}
	return m.next(now, &m.r)
}

// Curl is a person's curl to one address: a SYN of Linux, sent again after 1,
// 3, 7, 15 and 31 s as nobody answers. All of them bear one port and one seq.
type Curl struct {
	Source, Target netip.Addr
	Port           uint16
	At             time.Duration
	Tries          int // 1 to 6
}

type curl struct {
	Curl
	first    int64
	r        rng
	src, dst packet.Addr
	who      uint64
	sport    uint16
	seq      uint32
	sent     int
}

func (c Curl) streams(n *network, r *rng) ([]stream, error) {
	src, err := source(c.Source)
	if err != nil {
		return nil, err
	}
	if c.Tries < 1 || c.Tries > len(again) || c.Source.Is4() != c.Target.Is4() {
		return nil, errors.New("curl needs 1 to 6 tries and a target of its IP version")
	}
	return []stream{&curl{
		Curl: c, first: n.start + int64(c.At), src: src, dst: packet.FromNetip(c.Target), who: r.u64() | 1,
		sport: 32768 + uint16(r.below(28232)), seq: r.u32(), r: *r,
	}}, nil
}

func (c *curl) due() int64 { return c.first }

func (c *curl) send(_ int64, f *frame) int64 {
	f.mark = mark{src: c.src, dst: c.dst, port: c.Port, proto: packet.TCP, class: ByScan, role: RoleBenign, kind: kindSyn}
	f.tcp(ipHead{src: c.src, dst: c.dst, ttl: 64 - hops(c.who), frag: dontFragment, id: uint16(mix(c.who, 1)) + uint16(c.sent)},
		tcpHead{sport: c.sport, dport: c.Port, seq: c.seq, window: 64240, flags: packet.SYN, options: f.linuxOptions(c.who, !c.src.Is4(), &c.r)})
	c.sent++
	if c.sent == c.Tries {
		return never
	}
	return c.first + again[c.sent]
}

// Ping is a person's ping to one address, one a second.
type Ping struct {
	Source, Target netip.Addr
	At             time.Duration
	Count          int
}

type ping struct {
	Ping
	first int64
	p     probe
	r     rng
}

func (c Ping) streams(n *network, r *rng) ([]stream, error) {
	src, err := source(c.Source)
	if err != nil {
		return nil, err
	}
	if c.Count < 1 || c.Source.Is4() != c.Target.Is4() {
		return nil, errors.New("ping needs a count and a target of its IP version")
	}
	p := probe{form: FormEcho, src: src, dst: packet.FromNetip(c.Target), who: r.u64() | 1, role: RoleBenign}
	return []stream{&ping{c, n.start + int64(c.At), p, *r}}, nil
}

func (c *ping) due() int64 { return c.first }

func (c *ping) send(now int64, f *frame) int64 {
	c.p.k++
	f.probe(c.p, &c.r)
	if c.p.k >= uint64(c.Count) {
		return never
	}
	return now + int64(time.Second)
}

// DarkHost is a dark address that isn't dark: it asks a server outside, and the
// server answers. Neither side proves anything.
type DarkHost struct {
	Address netip.Addr // in dark space
	Peer    netip.Addr // outside
	Port    uint16
	Pace    // of the questions
	Span
}

type darkHost struct {
	beat
	DarkHost
	n         *network
	r         rng
	host, web packet.Addr
	who       uint64
	sport     uint16
	seq       uint32
	asked     bool // and the answer is still to come
	next      int64
}

func (d DarkHost) streams(n *network, r *rng) ([]stream, error) {
	host, err := source(d.Address)
	if err != nil {
		return nil, err
	}
	peer, err := source(d.Peer)
	if err != nil {
		return nil, err
	}
	if !n.dark.contains(host) || n.dark.contains(peer) || host.Is4() != peer.Is4() {
		return nil, errors.New("it needs an address inside dark space and a peer outside, of one IP version")
	}
	a := &darkHost{DarkHost: d, n: n, r: *r, host: host, web: peer, who: r.u64() | 1}
	a.beat, err = newBeat(n, d.Span, d.Pace, r)
	return []stream{a}, err
}

func (d *darkHost) send(now int64, f *frame) int64 {
	if !d.asked {
		d.sport, d.seq = 32768+uint16(d.r.below(28232)), d.r.u32()
		f.mark = mark{src: d.host, dst: d.web, port: d.Port, proto: packet.TCP, class: Apart, role: RoleDarkHost}
		f.tcp(ipHead{src: d.host, dst: d.web, ttl: 63, frag: dontFragment, id: d.r.u16()},
			tcpHead{sport: d.sport, dport: d.Port, seq: d.seq, window: 64240, flags: packet.SYN, options: f.linuxOptions(d.who, !d.host.Is4(), &d.r)})
		d.asked, d.next = true, d.beat.next(now, &d.r)
		return now + int64(20*time.Millisecond) + int64(hops(d.who))*int64(time.Millisecond)
	}
	d.asked = false
	f.mark = mark{src: d.web, dst: d.host, port: d.Port, proto: packet.TCP, class: ByBackscatter, role: RoleSolicited, kind: kindSynAck}
	f.tcp(ipHead{src: d.web, dst: d.host, ttl: 64 - hops(d.who), frag: dontFragment},
		tcpHead{sport: d.Port, dport: d.sport, seq: d.r.u32(), ack: d.seq + 1, window: 65535, flags: packet.SYN | packet.ACK, options: optMSS})
	return d.next
}

// Bystander is traffic of the same link that has nothing to do with dark space:
// ARP, and packets between addresses in use.
type Bystander struct {
	Source, Target netip.Addr // IPv4, neither of them dark
	Pace
	Span
}

type bystander struct {
	beat
	n        *network
	r        rng
	src, dst packet.Addr
}

func (b Bystander) streams(n *network, r *rng) ([]stream, error) {
	src, err := source(b.Source)
	if err != nil {
		return nil, err
	}
	dst, err := source(b.Target)
	if err != nil {
		return nil, err
	}
	if n.dark.contains(src) || n.dark.contains(dst) || !src.Is4() || !dst.Is4() {
		return nil, errors.New("it needs two addresses of IPv4 outside dark space")
	}
	a := &bystander{n: n, r: *r, src: src, dst: dst}
	a.beat, err = newBeat(n, b.Span, b.Pace, r)
	return []stream{a}, err
}

func (b *bystander) send(now int64, f *frame) int64 {
	if b.r.below(4) == 0 {
		f.arp(b.dst.V4())
		f.mark = mark{class: Apart, role: RoleBystander}
		return b.next(now, &b.r)
	}
	f.part = append(f.part[:0], make([]byte, 160)...)
	f.udp(ipHead{src: b.src, dst: b.dst, ttl: 57, id: b.r.u16()}, 40000, 40002, f.part)
	f.mark = mark{src: b.src, dst: b.dst, port: 40002, proto: packet.UDP, class: Apart, role: RoleBystander}
	return b.next(now, &b.r)
}
