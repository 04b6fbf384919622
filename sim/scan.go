package sim

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sakimori/base/wire/packet"
)

// Aim is how a prober chooses its next target.
type Aim uint8

// The aims.
const (
	AimRandom  Aim = iota // any dark IPv4 address
	AimOnce               // every dark IPv4 address once, in a scattered order (ZMap)
	AimSweep              // one IPv4 address after the other
	AimLikely6            // IPv6 addresses that people give by hand
	AimRandom6            // any dark IPv6 address
	AimGiven              // Scan.Targets in turn
)

// Want is a service that is asked for, and how often among others.
type Want struct {
	Port   uint16
	Weight int
	Form   Form // FormAny: as the prober's own form
}

// TCP wants ports with equal weights.
func TCP(ports ...uint16) []Want {
	var w []Want
	for _, p := range ports {
		w = append(w, Want{Port: p, Weight: 1})
	}
	return w
}

// MiraiPorts are those of the source published in 2016: 23 nine times out of
// ten, 2323 every tenth.
func MiraiPorts() []Want { return []Want{{Port: 23, Weight: 9}, {Port: 2323, Weight: 1}} }

// wants draws by weight.
type wants struct {
	list []Want
	sums []uint64
}

func newWants(list []Want) (wants, error) {
	w := wants{list: list}
	total := uint64(0)
	for _, x := range list {
		if x.Weight <= 0 || x.Form >= forms {
			return w, fmt.Errorf("port %d needs a weight above zero and a known form", x.Port)
		}
		total += uint64(x.Weight)
		w.sums = append(w.sums, total)
	}
	if total == 0 {
		return w, errors.New("it needs a port to ask for")
	}
	return w, nil
}

// draw takes 64 random bits.
func (w *wants) draw(u uint64) Want {
	if len(w.list) == 1 {
		return w.list[0]
	}
	u %= w.sums[len(w.sums)-1]
	i := 0
	for w.sums[i] <= u {
		i++
	}
	return w.list[i]
}

// Scan is one source that asks dark addresses for services.
type Scan struct {
	Source   netip.Addr
	Form     Form
	Ports    []Want
	Vertical uint16 // asks for ports 1 to Vertical in turn, instead of Ports
	Aim      Aim
	Targets  []netip.Addr // of AimGiven
	Role     Role
	Limit    int // packets, 0 for no limit
	// FromPort is the first of the ports that a translator lends to it; 0: none does.
	FromPort uint16
	Pace
	Span
}

type scan struct {
	beat
	Scan
	n      *network
	r      rng
	wants  wants
	p      probe
	given  []packet.Addr
	at     uint64 // AimOnce, AimSweep: number of the next target
	step   uint64
	visits uint64
}

func (s Scan) streams(n *network, r *rng) ([]stream, error) {
	src, err := source(s.Source)
	if err != nil {
		return nil, err
	}
	a := &scan{Scan: s, n: n, r: *r, p: probe{form: s.Form, src: src, who: r.u64() | 1, role: s.Role, low: s.FromPort}}
	if a.beat, err = newBeat(n, s.Span, s.Pace, r); err != nil {
		return nil, err
	}
	a.p.began = (a.start + int64(s.From)) / 1e9
	a.at, a.step = r.below(n.dark.n4), 1
	if s.Aim == AimOnce {
		a.step = stepAcross(n.dark.n4, r)
	}
	for _, t := range s.Targets {
		a.given = append(a.given, packet.FromNetip(t))
	}
	if s.Vertical == 0 {
		if a.wants, err = newWants(s.Ports); err != nil {
			return nil, err
		}
	}
	six := s.Aim == AimLikely6 || s.Aim == AimRandom6 || s.Aim == AimGiven && len(a.given) > 0 && !a.given[0].Is4()
	switch {
	case s.Aim == AimGiven && len(a.given) == 0:
		return nil, errors.New("it needs targets")
	case six == src.Is4() || six && len(n.dark.v6) == 0:
		return nil, errors.New("source, targets and dark space must be of one IP version")
	case six && s.Form != FormLinux && s.Form.tool(false) != ToolUnknown && s.Form != FormZMapOld:
		return nil, errors.New("this form is of IPv4 alone")
	}
	return []stream{a}, nil
}

// stepAcross is a step that visits each of n addresses once: coprime to n and
// far from regular.
func stepAcross(n uint64, r *rng) uint64 {
	for {
		s := 1 + n/3 + r.below(n/3+1)
		a, b := s, n
		for b != 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return s
		}
	}
}

func (s *scan) target() packet.Addr {
	switch s.Aim {
	case AimOnce, AimSweep:
		t := s.n.dark.at(s.at)
		s.at = (s.at + s.step) % s.n.dark.n4
		return t
	case AimLikely6:
		return s.n.dark.likely6(&s.r)
	case AimRandom6:
		return s.n.dark.random6(&s.r)
	case AimGiven:
		return s.given[s.visits%uint64(len(s.given))]
	default:
		return s.n.dark.random4(&s.r)
	}
}

func (s *scan) send(now int64, f *frame) int64 {
	s.p.k, s.p.dst, s.p.form = s.visits, s.target(), s.Form
	if s.Vertical > 0 {
		s.p.port = 1 + uint16(s.visits%uint64(s.Vertical))
	} else {
		w := s.wants.draw(s.r.u64())
		s.p.port = w.Port
		if w.Form != FormAny {
			s.p.form = w.Form
		}
	}
	f.probe(s.p, &s.r)
	s.visits++
	if s.Limit > 0 && s.visits >= uint64(s.Limit) || s.Aim == AimOnce && s.visits >= s.n.dark.n4 {
		return never
	}
	return s.next(now, &s.r)
}

// Crowd is many sources that behave alike, each with its own address, distance
// and source port: background scanning, a botnet. It costs no memory per source.
type Crowd struct {
	Size   int     // sources
	Alive  Shape   // how many of them are about, nil for all
	Places []Place // where they are, nil for World
	// Ports are drawn once for each source, or for each packet when Mixed.
	Ports []Want
	Mixed bool
	Form  Form
	Role  Role
	Skew  bool // few sources send much, many send little
	IPv6  bool // probes likely IPv6 addresses from 2001:db8:ffff::/48
	Pace       // of the whole crowd
	Span
}

type crowd struct {
	beat
	Crowd
	n      *network
	r      rng
	wants  wants
	places places
	seed   uint64
}

func (c Crowd) streams(n *network, r *rng) ([]stream, error) {
	if c.Size <= 0 {
		return nil, errors.New("it needs a size above zero")
	}
	a := &crowd{Crowd: c, n: n, r: *r, seed: r.u64()}
	var err error
	if a.beat, err = newBeat(n, c.Span, c.Pace, r); err != nil {
		return nil, err
	}
	if a.wants, err = newWants(c.Ports); err != nil {
		return nil, err
	}
	if c.IPv6 && len(n.dark.v6) == 0 {
		return nil, errors.New("it needs dark space of IPv6")
	}
	if a.places, err = newPlaces(c.Places); err != nil {
		return nil, err
	}
	return []stream{a}, nil
}

func (c *crowd) send(now int64, f *frame) int64 {
	alive := uint64(c.Size)
	if c.Alive != nil {
		alive = max(1, alive*uint64(max(c.Alive(durationSince(now, c.start)), 0))/1000)
	}
	i := c.r.below(alive)
	if c.Skew {
		i = i * c.r.below(alive) / alive
	}
	who := mix(c.seed, i) | 1
	p := probe{form: c.Form, src: c.places.host(who), who: who, k: c.r.u64() & 0xffff, role: c.Role, began: (c.start + int64(c.From)) / 1e9}
	if c.IPv6 {
		p.src = packet.Addr{Hi: 0x2001_0db8_ffff_0000 | who>>48, Lo: scramble(who)}
		p.dst = c.n.dark.likely6(&c.r)
	} else {
		p.dst = c.n.dark.random4(&c.r)
	}
	u := mix(who, 3)
	if c.Mixed {
		u = c.r.u64()
	}
	w := c.wants.draw(u)
	if w.Form != FormAny {
		p.form = w.Form
	}
	p.port = w.Port
	f.probe(p, &c.r)
	return c.next(now, &c.r)
}

// places draws hosts by the weights of their blocks.
type places struct {
	blocks []block4
	sums   []uint64
}

func newPlaces(list []Place) (places, error) {
	if list == nil {
		list = World()
	}
	var p places
	total := uint64(0)
	for _, x := range list {
		if !x.Prefix.Addr().Is4() || x.Prefix.Bits() < 8 || x.Prefix.Bits() > 30 || x.Weight <= 0 {
			return p, fmt.Errorf("place %v needs an IPv4 prefix of /8 to /30 and a weight above zero", x.Prefix)
		}
		base := packet.FromNetip(x.Prefix.Masked().Addr()).V4()
		total += uint64(x.Weight)
		p.blocks = append(p.blocks, block4{base: base, size: 1 << (32 - x.Prefix.Bits())})
		p.sums = append(p.sums, total)
	}
	if total == 0 {
		return p, errors.New("it needs a place for its sources")
	}
	return p, nil
}

// host is the address of a source, the same whenever it is asked for. Its last
// byte is neither 0 nor 255, which would look forged.
func (p *places) host(who uint64) packet.Addr {
	u := mix(who, 1) % p.sums[len(p.sums)-1]
	i, _ := slices.BinarySearchFunc(p.sums, u, func(s, u uint64) int {
		if s > u {
			return 1
		}
		return cmp.Compare(s, u+1)
	})
	b := p.blocks[i]
	v := b.base + uint32(mix(who, 2))&(b.size-1)
	if last := v & 0xff; last == 0 || last == 255 {
		v ^= 0x55
	}
	return packet.V4(v)
}

// Forged sends with a new source address in every packet.
type Forged struct {
	Form   Form
	Ports  []Want
	OwnPer int          // of a thousand packets, so many bear an address of own space
	From   []netip.Addr // the only source addresses, instead of random ones
	Pace
	Span
}

type forged struct {
	beat
	Forged
	n     *network
	r     rng
	wants wants
}

func (g Forged) streams(n *network, r *rng) ([]stream, error) {
	if g.OwnPer > 0 && n.own.n4 == 0 {
		return nil, errors.New("it needs own space of IPv4")
	}
	a := &forged{Forged: g, n: n, r: *r}
	var err error
	if a.beat, err = newBeat(n, g.Span, g.Pace, r); err != nil {
		return nil, err
	}
	a.wants, err = newWants(g.Ports)
	return []stream{a}, err
}

func (g *forged) send(now int64, f *frame) int64 {
	w := g.wants.draw(g.r.u64())
	p := probe{form: g.Form, port: w.Port, who: g.r.u64() | 1, k: g.r.u64(), role: RoleForged, dst: g.n.dark.random4(&g.r)}
	if w.Form != FormAny {
		p.form = w.Form
	}
	switch {
	case len(g.From) > 0:
		p.src = packet.FromNetip(g.From[g.r.below(uint64(len(g.From)))])
	case g.OwnPer > 0 && g.r.below(1000) < uint64(g.OwnPer):
		p.src = g.n.own.random4(&g.r)
	default: // anything in 1.0.0.0 to 197.255.255.255 but 10/8 and 127/8: no dark space there
		for p.src = (packet.Addr{}); p.src == (packet.Addr{}); {
			if v := uint32(1<<24 + g.r.below(197<<24)); v>>24 != 10 && v>>24 != 127 && !g.n.dark.contains(packet.V4(v)) {
				p.src = packet.V4(v)
			}
		}
	}
	f.probe(p, &g.r)
	return g.next(now, &g.r)
}
