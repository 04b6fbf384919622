package sim

import (
	"errors"
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// Mass is traffic for benchmarks: very many flows of one to some packets between very
// many, half of them in and half out, with nobody in particular among them.
type Mass struct {
	Homes     netip.Prefix // ours, of IPv4
	PerSecond uint64       // packets, each of which a router takes for a flow of its own
}

type mass struct {
	Mass
	n     *flowNet
	r     rng
	base  uint32
	hosts uint64
	all   uint64
	at    uint64
}

// The sizes of packets in turn, after what networks report: a third small, a half full.
var massSizes = [...]uint16{52, 1500, 1500, 88, 1500, 576, 52, 1500, 1340, 120, 1500, 52}

func (m Mass) cast(n *flowNet, r *rng) error {
	if !m.Homes.Addr().Is4() || m.PerSecond == 0 || !n.own.contains(packet.FromNetip(m.Homes.Addr())) {
		return errors.New("it needs an own prefix of IPv4 and a rate")
	}
	if n.oneWay {
		return errors.New("it goes both ways")
	}
	x := &mass{Mass: m, n: n, r: *r, base: packet.FromNetip(m.Homes.Addr()).V4(), hosts: 1 << (32 - m.Homes.Bits())}
	x.all = scale(uint64(n.end-n.start), m.PerSecond, uint64(time.Second))
	sum := uint64(0)
	for i, s := range massSizes {
		sum += (x.all + uint64(len(massSizes)-1-i)) / uint64(len(massSizes)) * uint64(s)
	}
	n.passed(x.all, sum, false)
	n.call(x, n.start)
	return nil
}

func (x *mass) send(_ int64, p *pass) int64 {
	r := &x.r
	who := r.u64()
	home, far := packet.V4(x.base+uint32(r.below(x.hosts))), packet.V4(uint32(1<<24+who>>32%(100<<24)))
	own, port := 1024+uint16(who%60_000), [...]uint16{443, 443, 443, 80, portDNS, 443, 8080, 993}[who>>20&7]
	p.length, p.count, p.attack = massSizes[x.at%uint64(len(massSizes))], 1, -1
	p.router = int32(who >> 24 % uint64(len(x.n.routers)))
	p.proto, p.flags = packet.TCP, packet.ACK|packet.PSH
	if port == portDNS || who>>28&3 == 0 {
		p.proto, p.flags = packet.UDP, 0
	}
	if p.src, p.sport, p.dst, p.dport = far, port, home, own; who>>30&1 == 0 {
		p.src, p.sport, p.dst, p.dport, p.outward = home, own, far, port, true
	}
	if x.at++; x.at >= x.all {
		return never
	}
	return x.n.start + int64(scale(x.at, uint64(time.Second), x.PerSecond))
}

// massScenes have two million records each, for benchmarks: a format alone, a million
// addresses, nobody attacked.
func massScenes() (list []NamedFlowScene) {
	for f := NetFlow5; f <= SFlow5; f++ {
		r := routers(1, int(f), 1)
		r[0].Active, r[0].Inactive = 0, 0
		list = append(list, NamedFlowScene{
			Name: "mass-" + f.String(), JA: "性能測定用: 200 万レコード、100 万アドレス", EN: "for benchmarks: two million records, a million addresses",
			Scene: FlowScene{
				Start: time.Date(2026, 11, 2, 11, 0, 0, 0, time.UTC), Duration: 10 * time.Second, Own: []netip.Prefix{massHomes},
				Routers: r, Traffic: []Traffic{Mass{Homes: massHomes, PerSecond: 200_000}},
			},
		})
	}
	return list
}

// massHomes is a part of the space that operators share among their subscribers (RFC 6598).
var massHomes = netip.MustParsePrefix("100.64.0.0/12")
