package sim

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// mark is the truth of one packet, set by the actor that makes it.
type mark struct {
	src, dst packet.Addr
	port     uint16 // of the service: asked for, or answering
	proto    uint8  // of the service
	class    Class
	role     Role
	tool     Tool
	kind     kind
	broken   bool // can't be read
	later    bool // a fragment whose first part was sent before
}

// kind is the type of packet, in the house's words.
type kind uint8

const (
	kindOther kind = iota
	kindSyn
	kindStealth
	kindAck
	kindSynAck
	kindRst
	kindUDP
	kindUDPAnswer
	kindUDPReflected
	kindRequest
	kindAnswer
	kindError
	kindFragment
)

var kinds = [...]string{
	"other", "tcp-syn", "tcp-stealth", "tcp-ack", "tcp-syn-ack", "tcp-rst", "udp", "udp-answer",
	"udp-reflected", "icmp-request", "icmp-answer", "icmp-error", "fragment",
}

type recordKey struct {
	src   packet.Addr
	port  uint16
	proto uint8
	class Class
}

// record is what one source did on one service. The ledger holds one for each:
// that is what its memory grows with, not the packets.
type record struct {
	packets     uint64
	first, last int64
	attacks     []Victim
	hosts       targets // distinct IPv4 targets
	some6       map[packet.Addr]struct{}
	bins        [6]uint32 // the last minute by ten seconds, a ring
	bin         int64     // number of the newest one
	tool        Tool      // that all packets agree on
	bot         Tool      // of the packets that a bot sent, when others bear its address too
	role        Role
	kind        kind
}

type ledger struct {
	dark, own *space
	truth     Truth
	records   map[recordKey]*record
	sources   map[packet.Addr]struct{}
	hit       []uint64
	hit6      map[packet.Addr]struct{}
	slab      []record // records are made in runs
}

func newLedger(dark, own *space) *ledger {
	return &ledger{
		dark: dark, own: own,
		records: map[recordKey]*record{}, sources: map[packet.Addr]struct{}{},
		hit: make([]uint64, (dark.n4+63)/64), hit6: map[packet.Addr]struct{}{},
	}
}

// add takes one packet in and returns the class it counts in.
func (l *ledger) add(now int64, m *mark) Class {
	t := &l.truth
	t.Packets++
	if t.Packets == 1 {
		t.First = time.Unix(0, now).UTC()
	}
	switch {
	case m.broken:
		t.Malformed++
		return Apart
	case l.dark.contains(m.src):
		t.FromDark++
		return Apart
	case !l.dark.contains(m.dst):
		return Apart
	}
	t.DarkPackets++
	if m.role == RoleForged {
		t.Spoofed++
	}
	if m.later {
		t.LaterFragment++
		return Apart
	}
	switch m.class {
	case ByScan:
		t.Classes.Scan++
	case ByBackscatter:
		t.Classes.Backscatter++
	case ByReflection:
		t.Classes.Reflection++
	default:
		t.Classes.Other++
	}
	key := recordKey{m.src, m.port, m.proto, m.class}
	r := l.records[key]
	if r == nil {
		r = l.newRecord()
		r.first, r.role, r.tool, r.kind = now, m.role, m.tool, m.kind
		l.records[key] = r
		l.sources[m.src] = struct{}{}
	}
	if r.tool != m.tool {
		r.tool = ToolUnknown // two programs behind one address and port
	}
	switch m.role {
	case RoleVictim:
		r.answered(now)
	case RoleBot:
		r.bot = m.tool
	}
	if r.role == RoleForged {
		r.role = m.role // somebody forged the address of a host that also speaks for itself
	}
	r.packets++
	r.last = now
	l.target(r, m.dst)
	return m.class
}

func (l *ledger) newRecord() *record {
	if len(l.slab) == cap(l.slab) {
		l.slab = make([]record, 0, 1024)
	}
	l.slab = l.slab[:len(l.slab)+1]
	return &l.slab[len(l.slab)-1]
}

// target counts the packet's target if it is new to the record, and marks it as
// hit.
func (l *ledger) target(r *record, dst packet.Addr) {
	if !dst.Is4() {
		l.hit6[dst] = struct{}{}
		if r.some6 == nil {
			r.some6 = map[packet.Addr]struct{}{}
		}
		r.some6[dst] = struct{}{}
		return
	}
	i, _ := l.dark.index(dst)
	l.hit[i/64] |= 1 << (i % 64)
	r.hosts.add(i, l.dark.n4)
}

// targets is how many distinct addresses the source sent to.
func (r *record) targets() uint64 { return uint64(r.hosts.n) + uint64(len(r.some6)) }

// The RSDoS thresholds, and the silence that ends an attack (CAIDA's rule).
const (
	attackPackets = 25
	attackSpan    = 60 * int64(time.Second)
	attackPeak    = 30
	attackSilence = 300 * int64(time.Second)
	binWidth      = 10 * int64(time.Second)
)

// answered takes one answer of a victim in: into the attack that runs, or a new
// one after a silence.
func (r *record) answered(now int64) {
	if r.packets == 0 || now-r.last > attackSilence {
		r.attacks = append(r.attacks, Victim{First: time.Unix(0, now).UTC()})
		r.bins, r.bin = [6]uint32{}, now/binWidth
	}
	for b := now / binWidth; r.bin < b; {
		r.bin++
		r.bins[r.bin%6] = 0
	}
	r.bins[r.bin%6]++
	var window uint64
	for _, n := range r.bins {
		window += uint64(n)
	}
	a := &r.attacks[len(r.attacks)-1]
	a.Packets++
	a.Peak = max(a.Peak, window)
	a.Last = time.Unix(0, now).UTC()
	a.Attack = a.Packets >= attackPackets && a.Peak >= attackPeak && int64(a.Last.Sub(a.First)) >= attackSpan
}

// finish turns the records into the truth, in a fixed order.
func (l *ledger) finish(last int64) Truth {
	t := &l.truth
	if t.Packets > 0 {
		t.Last = time.Unix(0, last).UTC()
	}
	t.Dark, t.Own = l.dark.listed, l.own.listed
	t.DarkAddresses.Monitored = l.dark.n4
	t.DarkAddresses.Hit = ones(l.hit)
	t.DarkAddresses.Hit6 = uint64(len(l.hit6))
	t.UniqueSources = uint64(len(l.sources))
	t.Keys = uint64(len(l.records))
	keys := make([]recordKey, 0, len(l.records))
	for k := range l.records {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b recordKey) int {
		return cmp.Or(a.src.Compare(b.src), cmp.Compare(a.proto, b.proto), cmp.Compare(a.port, b.port), cmp.Compare(a.class, b.class))
	})
	ports := map[[2]uint16]*Port{}
	for i := 0; i < len(keys); {
		j := i + 1
		for j < len(keys) && keys[j].src == keys[i].src {
			j++
		}
		l.source(keys[i:j], ports)
		i = j
	}
	for _, p := range ports {
		t.Ports = append(t.Ports, *p)
	}
	sortPorts(t.Ports)
	return *t
}

func sortPorts(p []Port) {
	slices.SortFunc(p, func(a, b Port) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
}

// source tells the records of one source.
func (l *ledger) source(keys []recordKey, ports map[[2]uint16]*Port) {
	addr, own := keys[0].src.Netip(), l.own.contains(keys[0].src)
	var vertical *Scanner
	var bot *Infected
	var most uint64
	for _, k := range keys {
		r, t := l.records[k], &l.truth
		if k.class == ByScan {
			pk := [2]uint16{k.port, uint16(k.proto)}
			if ports[pk] == nil {
				ports[pk] = &Port{Port: k.port, Protocol: k.proto}
			}
			ports[pk].Packets += r.packets
			ports[pk].Sources++
		}
		s := Scanner{
			Source: addr, Role: r.role, Port: k.port, Protocol: k.proto, Kind: kinds[r.kind], Tool: r.tool.String(),
			Versions: r.tool.Versions(), Nameable: r.tool.Nameable(), Packets: r.packets, Targets: r.targets(),
			First: time.Unix(0, r.first).UTC(), Last: time.Unix(0, r.last).UTC(), Own: own,
		}
		switch r.role {
		case RoleVertical:
			vertical = widen(vertical, s)
		case RoleBot, RoleScanner, RoleResearch, RoleSlow:
			t.Scanners = append(t.Scanners, s)
			if own && r.role == RoleBot {
				if bot == nil {
					bot = &Infected{Address: addr, Family: family(r.bot), First: s.First, Last: s.Last}
				}
				bot.Packets += r.packets
				bot.Ports = append(bot.Ports, k.port)
				bot.First, bot.Last = earlier(bot.First, s.First), later(bot.Last, s.Last)
				if r.packets > most {
					most, bot.Port, bot.Targets = r.packets, k.port, r.targets()
				}
			}
		case RoleVictim:
			for _, a := range r.attacks {
				a.Address, a.Port, a.Protocol, a.Kind, a.Own = addr, k.port, k.proto, kinds[r.kind], own
				t.Victims = append(t.Victims, a)
			}
		case RoleMisconfigured, RoleLeftover:
			t.Misconfigured = append(t.Misconfigured, quiet(s))
		case RoleBenign:
			t.Benign = append(t.Benign, quiet(s))
		default: // reflectors, forged sources and the like are nobody to be found
		}
	}
	if vertical != nil {
		l.truth.Scanners = append(l.truth.Scanners, *vertical)
	}
	if bot != nil {
		l.truth.Infected = append(l.truth.Infected, *bot)
	}
}

// widen adds one port to a vertical scan.
func widen(v *Scanner, s Scanner) *Scanner {
	if v == nil {
		s.Port, s.Ports = 0, 1
		return &s
	}
	v.Ports++
	v.Packets += s.Packets
	v.Targets = max(v.Targets, s.Targets)
	v.First, v.Last = earlier(v.First, s.First), later(v.Last, s.Last)
	return v
}

func quiet(s Scanner) Quiet {
	return Quiet{Address: s.Source, Role: s.Role, Port: s.Port, Protocol: s.Protocol, Packets: s.Packets, Targets: s.Targets, Own: s.Own}
}

func family(t Tool) string {
	if t == ToolMirai {
		return "mirai"
	}
	return "unknown"
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func label(now int64, m *mark, c Class) Label {
	return Label{now, netipOf(m.src), netipOf(m.dst), c, m.role, m.tool, m.port, m.proto}
}

func netipOf(a packet.Addr) netip.Addr {
	if a == (packet.Addr{}) {
		return netip.Addr{}
	}
	return a.Netip()
}
