package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// Habit is a kind of conversation between a client and a server: how many packets go
// either way, how large they are, and how long it takes.
type Habit struct {
	Name             string
	Proto            uint8
	Port             uint16    // of the server
	ClientPort       uint16    // 0: any
	Up, Down         [2]uint64 // packets of the client, of the server: least and most
	UpSize, DownSize uint16    // of IP packets that carry something
	Span             [2]time.Duration
}

// lasting is a conversation at a constant rate.
func lasting(name string, proto uint8, port uint16, up, down uint64, upSize, downSize uint16, span time.Duration) Habit {
	s := uint64(span / time.Second)
	return Habit{Name: name, Proto: proto, Port: port, Up: [2]uint64{up * s, up * s}, Down: [2]uint64{down * s, down * s}, UpSize: upSize, DownSize: downSize, Span: [2]time.Duration{span, span}}
}

// Street are ordinary people: so many conversations begin a second, of the usual mix.
type Street struct {
	PerSecond int
	IPv6      bool         // some of them
	Homes     netip.Prefix // where they live, of IPv4, a /19 or wider; zero: 198.18.0.0/18
}

// Busy is one of ours with very much traffic that is nobody's attack.
type Busy struct {
	Kind      string // what the truth calls it
	Who       netip.Addr
	Serves    bool // it is the server of these conversations, else the client
	Habit     Habit
	Others    int // distinct others, 0: a new one for each conversation
	Begin     int // conversations that begin at At
	PerSecond int // and that begin each second from then on
	At, For   time.Duration
}

// Prober asks many addresses on one port, at a constant rate.
type Prober struct {
	From    netip.Addr   // one of ours, which is infected; or another's
	Over    netip.Prefix // whom it asks, of IPv4; zero: the world
	Port    uint16
	PPS     uint64
	At, For time.Duration
}

// The usual conversations and how often they are had, of a hundred.
func usualHabits() ([]Habit, []uint64) {
	const s = time.Second
	ms := time.Millisecond
	return []Habit{
			{Name: "web", Proto: packet.TCP, Port: 443, Up: [2]uint64{8, 40}, Down: [2]uint64{9, 120}, UpSize: 120, DownSize: 1300, Span: [2]time.Duration{200 * ms, 6 * s}},
			{Name: "quic", Proto: packet.UDP, Port: portQUIC, Up: [2]uint64{6, 60}, Down: [2]uint64{8, 200}, UpSize: 90, DownSize: 1250, Span: [2]time.Duration{100 * ms, 8 * s}},
			{Name: "dns", Proto: packet.UDP, Port: portDNS, Up: [2]uint64{1, 1}, Down: [2]uint64{1, 1}, UpSize: 68, DownSize: 180, Span: [2]time.Duration{20 * ms, 90 * ms}},
			{Name: "video", Proto: packet.TCP, Port: 443, Up: [2]uint64{400, 2000}, Down: [2]uint64{2000, 9000}, UpSize: 52, DownSize: 1400, Span: [2]time.Duration{20 * s, 50 * s}},
			{Name: "mail", Proto: packet.TCP, Port: 993, Up: [2]uint64{10, 30}, Down: [2]uint64{10, 60}, UpSize: 100, DownSize: 700, Span: [2]time.Duration{500 * ms, 20 * s}},
			{Name: "vpn", Proto: packet.UDP, Port: 1194, Up: [2]uint64{200, 900}, Down: [2]uint64{200, 1500}, UpSize: 400, DownSize: 900, Span: [2]time.Duration{15 * s, 50 * s}},
			{Name: "game", Proto: packet.UDP, Port: 27015, Up: [2]uint64{500, 2000}, Down: [2]uint64{600, 2400}, UpSize: 80, DownSize: 180, Span: [2]time.Duration{20 * s, 55 * s}},
			{Name: "ntp", Proto: packet.UDP, Port: portNTP, ClientPort: portNTP, Up: [2]uint64{1, 1}, Down: [2]uint64{1, 1}, UpSize: 76, DownSize: 76, Span: [2]time.Duration{10 * ms, 60 * ms}},
			{Name: "ping", Proto: packet.ICMP, Port: 8 << 8, Up: [2]uint64{1, 5}, Down: [2]uint64{1, 5}, UpSize: 84, DownSize: 84, Span: [2]time.Duration{20 * ms, 5 * s}},
		},
		[]uint64{38, 22, 25, 1, 4, 1, 1, 5, 3}
}

// conversation is one, about to be had.
type conversation struct {
	habit          *Habit
	client, server packet.Addr
	sport          uint16
	innocent       int // number of the busy one whose it is, -1 none
	ours           packet.Addr
}

// converse puts both directions of a conversation on.
func (n *flowNet) converse(at int64, c conversation, r *rng) {
	h := c.habit
	between := func(b [2]uint64) uint64 { return b[0] + r.below(b[1]-b[0]+1) }
	span := int64(h.Span[0]) + int64(r.below(uint64(h.Span[1]-h.Span[0])+1))
	out := c.server
	if n.own.contains(out) {
		out = c.client
	}
	router := n.routerOf(out)
	up, down := between(h.Up), between(h.Down)
	a := run{first: at, all: up, size: h.UpSize}
	a.p = pass{src: c.client, dst: c.server, sport: c.sport, dport: h.Port, proto: h.Proto, router: router, attack: -1}
	b := run{first: at + min(int64(15*time.Millisecond), span/2), all: down, size: h.DownSize}
	b.p = pass{src: c.server, dst: c.client, sport: h.Port, dport: c.sport, proto: h.Proto, router: router, attack: -1}
	if h.Proto == packet.ICMP || h.Proto == packet.ICMPv6 {
		a.p.sport, a.p.dport, b.p.sport, b.p.dport = 0, 8<<8, 0, 0
	}
	if h.Proto == packet.TCP {
		a.opening, b.opening = packet.SYN, packet.SYN|packet.ACK
	}
	for _, x := range [...]*run{&a, &b} {
		if x.all == 0 || x.first >= n.end {
			continue
		}
		x.gap = max(span/int64(x.all), 1)
		x.closing = x.p.proto == packet.TCP && x.first+int64(x.all-1)*x.gap < n.end // else it is still had when the scene ends
		x.all = min(x.all, uint64((n.end-1-x.first)/x.gap)+1)
		x.r = rng(r.u64())
		x.every = n.routers[router].Sampling
		x.p.outward = n.own.contains(x.p.src)
		bytes := x.bytes()
		n.passed(x.all, bytes, x.p.outward)
		if c.innocent >= 0 {
			t := &n.truth.Innocents[c.innocent]
			t.Packets += x.all
			t.Bytes += bytes
			way := &n.course.innocents[c.innocent][btoi(x.p.dst != c.ours)]
			way.add(x.first-n.start, x.first+int64(x.all)*x.gap-n.start, x.all, bytes)
		}
		skip := x.r.skip(x.every)
		if x.at, x.skipped = skip-1, skip; x.at < x.all {
			o := new(run)
			*o = *x
			n.call(o, o.due())
		}
	}
}

// run is one direction of a conversation.
type run struct {
	p          pass
	r          rng
	first, gap int64
	all, at    uint64
	skipped    uint64
	every      uint32
	size       uint16
	opening    packet.TCPFlags // of the first packet
	closing    bool            // the last one says that it ends
}

// bare is the size of a packet that carries nothing.
func (x *run) bare() uint16 {
	if x.p.src.Is4() {
		return 52
	}
	return 72
}

func (x *run) bytes() uint64 {
	b := x.all * uint64(x.size)
	if x.p.proto == packet.TCP { // the handshake and the end are bare
		b -= uint64(x.size)
		b += uint64(x.bare())
		if x.closing && x.all > 1 {
			b -= uint64(x.size)
			b += uint64(x.bare())
		}
	}
	return b
}

func (x *run) due() int64 { return x.first + int64(x.at)*x.gap }

func (x *run) send(_ int64, p *pass) int64 {
	*p = x.p
	p.count, p.length = x.skipped, x.size
	if p.proto == packet.TCP {
		p.flags = packet.ACK | packet.PSH
		switch {
		case x.at == 0:
			p.flags, p.length = x.opening, x.bare()
		case x.closing && x.at == x.all-1:
			p.flags, p.length = packet.FIN|packet.ACK, x.bare()
		case x.size <= x.bare():
			p.flags = packet.ACK
		}
	}
	skip := x.r.skip(x.every)
	if x.at, x.skipped = x.at+skip, skip; x.at >= x.all {
		return never
	}
	return x.due()
}

// Where ordinary people live.
var (
	homes4 = netip.MustParsePrefix("198.18.0.0/18")
	homes6 = packet.FromNetip(netip.MustParseAddr("2001:db8:1:100::"))
)

func (s Street) cast(n *flowNet, r *rng) error {
	if s.PerSecond <= 0 {
		return errors.New("a street needs conversations")
	}
	if !s.Homes.IsValid() {
		s.Homes = homes4
	}
	if !s.Homes.Addr().Is4() || s.Homes.Bits() > 19 {
		return fmt.Errorf("the people of a street don't all find room in %v", s.Homes)
	}
	habits, weights := usualHabits()
	n.call(&street{Street: s, n: n, r: *r, habits: habits, weights: weights}, n.start)
	return nil
}

type street struct {
	Street
	n       *flowNet
	r       rng
	habits  []Habit
	weights []uint64
}

func (s *street) send(now int64, _ *pass) int64 {
	r := &s.r
	pick, i := r.below(100), 0
	for pick >= s.weights[i] {
		pick -= s.weights[i]
		i++
	}
	h := &s.habits[i]
	c := conversation{habit: h, innocent: -1, sport: h.ClientPort}
	if c.sport == 0 {
		c.sport = 32768 + uint16(r.below(28000))
	}
	if home := r.below(6000); s.IPv6 && h.Proto != packet.ICMP && home%3 == 0 {
		c.client = packet.Addr{Hi: homes6.Hi | home&0xff, Lo: scramble(home)}
		c.server = packet.Addr{Hi: anywhere6.Hi | 0x443, Lo: 1 + r.below(400)}
	} else {
		c.client = packet.V4(packet.FromNetip(s.Homes.Addr()).V4() + 256 + uint32(home))
		c.server = s.n.world.host(mix(uint64(i)|0x5e7e00, r.below(400)))
	}
	s.n.converse(now, c, r)
	return now + r.gap(int64(time.Second)/int64(s.PerSecond))
}

func (b Busy) cast(n *flowNet, r *rng) error {
	who := packet.FromNetip(b.Who)
	if !n.own.contains(who) || b.Begin+b.PerSecond <= 0 {
		return fmt.Errorf("%s: it needs one of our addresses and conversations", b.Kind)
	}
	x := &busy{Busy: b, n: n, r: *r, who: who, key: r.u64(), innocent: n.innocent(b.Kind, who)}
	x.left, x.end = b.Begin, n.end
	if b.For > 0 {
		x.end = n.start + int64(b.At+b.For)
	}
	n.call(x, n.start+int64(b.At))
	return nil
}

type busy struct {
	Busy
	n        *flowNet
	r        rng
	who      packet.Addr
	key      uint64
	innocent int
	begun    uint64
	left     int
	end      int64
}

func (b *busy) send(now int64, _ *pass) int64 {
	if now >= b.end {
		return never
	}
	other := b.begun
	if b.Others > 0 {
		other %= uint64(b.Others)
	}
	b.begun++
	who := mix(b.key, other)
	a := b.n.world.host(who)
	if !b.who.Is4() {
		a = packet.Addr{Hi: anywhere6.Hi | who>>40, Lo: scramble(who)}
	}
	c := conversation{habit: &b.Habit, client: b.who, server: a, sport: b.Habit.ClientPort, innocent: b.innocent, ours: b.who}
	if b.Serves {
		c.client, c.server = a, b.who
	}
	if c.sport == 0 {
		c.sport = 32768 + uint16(b.r.below(28000))
	}
	b.n.converse(now, c, &b.r)
	switch {
	case b.left > 1:
		b.left--
		return now + int64(time.Millisecond) // not all in one
	case b.PerSecond > 0:
		return now + b.r.gap(int64(time.Second)/int64(b.PerSecond))
	}
	return never
}

func (p Prober) cast(n *flowNet, r *rng) error {
	from := packet.FromNetip(p.From)
	x := &prober{Prober: p, n: n, from: from, outward: n.own.contains(from), r: *r}
	if p.PPS == 0 || !from.Is4() || x.outward == p.Over.IsValid() || p.Over.IsValid() && !p.Over.Addr().Is4() {
		return errors.New("who asks needs an address of IPv4 and a rate; one of ours asks the world, and another asks a prefix of ours")
	}
	start, end := n.start+int64(p.At), n.end
	if p.For > 0 {
		end = min(end, start+int64(p.For))
	}
	if end <= start {
		return errors.New("who asks needs a time within the scene")
	}
	x.first, x.all = start, scale(uint64(end-start), p.PPS, uint64(time.Second))
	n.passed(x.all, x.all*probeSize, x.outward)
	if x.outward {
		n.truth.Infected = append(n.truth.Infected, FlowInfected{Address: p.From, Reason: "scan", Port: p.Port, Targets: x.all, First: time.Unix(0, start).UTC()})
	}
	x.router = n.routerOf(from) // of one of ours it is that of whom it asks
	x.step()
	if x.at < x.all {
		n.call(x, x.due())
	}
	return nil
}

const probeSize = 40

type prober struct {
	Prober
	n       *flowNet
	r       rng
	from    packet.Addr
	outward bool
	router  int32
	first   int64
	all     uint64
	at      uint64 // of the next packet that is looked at, plus one before the first
	begun   bool
	skipped uint64
}

func (x *prober) due() int64 {
	return x.first + int64(scale(x.at, uint64(time.Second), x.PPS))
}

// step goes to the next packet that a router looks at. One of ours is behind all routers:
// the first one's sampling is taken for each.
func (x *prober) step() {
	x.skipped = x.r.skip(x.n.routers[x.router].Sampling)
	x.at += x.skipped
	if !x.begun {
		x.begun = true
		x.at--
	}
}

func (x *prober) send(now int64, p *pass) int64 {
	r := &x.r
	p.src, p.proto, p.flags, p.length = x.from, packet.TCP, packet.SYN, probeSize
	p.sport, p.dport = 1024+uint16(r.below(64000)), x.Port
	p.count, p.router, p.attack, p.outward = x.skipped, x.router, -1, x.outward
	if x.outward {
		p.dst = x.n.world.host(r.u64())
		if r.below(20) == 0 { // somebody is there, and refuses; of sampled ones hardly any is looked at
			back := Habit{Proto: packet.TCP, Port: p.sport, Up: [2]uint64{1, 1}, Span: [2]time.Duration{1, 1}}
			c := conversation{habit: &back, client: p.dst, server: x.from, sport: x.Port, innocent: -1}
			x.n.refuse(now+int64(40*time.Millisecond), c, x.router, r)
		}
	} else {
		base := packet.FromNetip(x.Over.Addr()).V4()
		p.dst = packet.V4(base + uint32(r.below(1<<(32-x.Over.Bits()))))
	}
	x.step()
	if x.at >= x.all {
		return never
	}
	return x.due()
}

// refuse is the one packet by which a host says that nobody listens.
func (n *flowNet) refuse(at int64, c conversation, router int32, r *rng) {
	x := &run{first: at, gap: 1, all: 1, size: probeSize, opening: packet.RST | packet.ACK, r: rng(r.u64()), every: n.routers[router].Sampling}
	x.p = pass{src: c.client, dst: c.server, sport: c.sport, dport: c.habit.Port, proto: packet.TCP, router: router, attack: -1}
	if at >= n.end {
		return
	}
	n.passed(1, uint64(x.bare()), false)
	skip := x.r.skip(x.every)
	if x.at, x.skipped = skip-1, skip; x.at < x.all {
		n.call(x, at)
	}
}
