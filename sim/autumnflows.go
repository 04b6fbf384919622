package sim

import (
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// FlowDay is what the routers of Autumn2016's operator tell from some hours before a
// moment on, for so long: two scenes that run side by side. Routers at the edge see the
// town, its servers and what hits them; those at the exchange, which sample 1:100,000,
// the great floods. One of them stands at the first two hours and a half before the
// moment, and another one lasts from a hundred minutes before it to the end.
func FlowDay(seed uint64, moment time.Time, after time.Duration, own []netip.Prefix) []FlowScene {
	day := FlowScene{Seed: seed, Start: moment.Add(-FlowDayBefore), Duration: FlowDayBefore + after, Own: own}
	edge, exchange := day, day
	edge.Name, edge.Routers = "autumn-edge", edgeRouters()
	edge.Traffic = append(edgeTraffic(day.Duration), edgeFloods(after)...)
	exchange.Name, exchange.Routers, exchange.Traffic = "autumn-exchange", exchangeRouters(), exchangeFloods(after)
	exchange.Seed++
	return []FlowScene{edge, exchange}
}

// FlowDayBefore is how long before its moment a FlowDay begins.
const FlowDayBefore = 150 * time.Minute

// StrangerRouter is who sends to the collector of a FlowDay, and isn't one of its routers:
// somebody else's lab.
func StrangerRouter(seed uint64, moment time.Time, after time.Duration, own []netip.Prefix) FlowScene {
	r := routers(1, 3, 100)
	r[0].Address = netip.MustParseAddrPort("192.0.2.200:40001")
	return FlowScene{
		Name: "autumn-stranger", Seed: seed, Start: moment.Add(-10 * time.Minute), Duration: 10*time.Minute + after, Own: own, Routers: r,
		Traffic: []Traffic{Street{PerSecond: 3, Homes: town4}},
	}
}

const edgeSampling, exchangeSampling = 2048, 100_000

// edgeRouters are three: one is well, one loses datagrams on the way, one has a clock
// that is 40 minutes behind.
func edgeRouters() []Router {
	list := make([]Router, 3)
	for i := range list {
		list[i] = Router{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(11 + i)}), uint16(50011+i)), Format: [...]FlowFormat{NetFlow9, SFlow5, IPFIX}[i],
			Sampling: edgeSampling, Tells: TellsSystem, Active: 5 * time.Second, Inactive: time.Second, Up: time.Duration(40*i+90) * day / 10,
		}
	}
	list[1].Lose = 40
	list[2].Ahead = -40 * time.Minute
	return list
}

// exchangeRouters tell each packet that they look at by itself.
func exchangeRouters() []Router {
	list := make([]Router, 2)
	for i := range list {
		list[i] = Router{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(21 + i)}), uint16(50021+i)), Format: IPFIX,
			Sampling: exchangeSampling, Tells: TellsSpace, Up: time.Duration(13*i+200) * day,
		}
	}
	return list
}

// edgeTraffic is the town and two servers that are in use all day long.
func edgeTraffic(all time.Duration) []Traffic {
	return []Traffic{
		Street{PerSecond: 40, IPv6: true, Homes: town4},
		Busy{Kind: "name-server", Who: nameServer, Serves: true, Begin: 40, Habit: lasting("dns", packet.UDP, portDNS, 300, 300, 71, 260, all)},
		Busy{Kind: "web", Who: webServer, Serves: true, Begin: 40, Habit: lasting("web", packet.TCP, 443, 100, 180, 120, 1300, all)},
		Busy{Kind: "game-server", Who: gameServer, Serves: true, Begin: 60, Habit: lasting("game", packet.UDP, 27015, 40, 60, 90, 220, all)},
	}
}

// edgeFloods are a carpet, cameras that take part in an attack on somebody, one in pulses,
// one that the telescope sees the answers of, and a small one every forty minutes.
func edgeFloods(after time.Duration) []Traffic {
	at := func(d time.Duration) time.Duration { return FlowDayBefore + d } // of the moment
	flood := func(target netip.Prefix, vector string, c Course) Assault {
		return Assault{Target: target, Vectors: []Hit{{Vector: VectorByName(vector), Course: c}}}
	}
	cameras := make([]netip.Addr, 12) // those that Autumn2016 has infected
	for i := range cameras {
		cameras[i] = host("203.0.113.", 11+3*i)
	}
	var out Course
	for t := at(-50 * time.Minute); t < FlowDayBefore+after; t += 3 * time.Hour {
		out = append(out, Leg{t, 12 * time.Minute, 70_000})
	}
	taking := flood(one(elsewhere), "udp", out)
	taking.From, taking.Vectors[0].Port = cameras, 80
	list := []Traffic{
		flood(netip.MustParsePrefix("198.19.64.0/24"), "udp", Steady(at(-75*time.Minute), 6*time.Minute, 300_000)),
		taking,
		flood(one(gameServer), "ntp-amplification", Pulses(at(-12*time.Minute), time.Minute, 80*time.Second, 200, 130_000)),
		flood(one(host("203.0.113.", 80)), "syn", Steady(at(2*time.Hour), 25*time.Minute, 120_000)),
	}
	for i, t := 0, 9*time.Minute; t < after; i, t = i+1, t+40*time.Minute {
		target := [...]netip.Addr{nameServer, ip("198.19.9.20"), host("203.0.113.", 90)}[i%3]
		vector := [...]string{"ssdp-amplification", "cldap-amplification", "syn"}[i%3]
		list = append(list, flood(one(target), vector, Steady(at(t), 5*time.Minute, 150_000)))
	}
	return list
}

// exchangeFloods are 1.2 Tbit/s of UDP and SYN on the name server for four minutes, as Dyn
// had them two weeks later, and some 80 Gbit/s of amplified DNS on the web server that
// don't end.
func exchangeFloods(after time.Duration) []Traffic {
	dns := VectorByName("udp")
	dns.Sizes, dns.DstPort = []uint16{1052, 1440}, portDNS
	syn := VectorByName("syn")
	syn.Sizes, syn.DstPort = []uint16{60}, portDNS
	const begin, long = 10 * time.Minute, 50 * time.Minute
	return []Traffic{
		Assault{Target: one(nameServer), Vectors: []Hit{
			{Vector: dns, Course: Rising(begin, 8*time.Second, 4*time.Minute, 117_000_000), Sources: 100_000},
			{Vector: syn, Course: Rising(begin, 8*time.Second, 4*time.Minute, 60_000_000), Sources: 100_000},
		}},
		Assault{Target: one(webServer), Vectors: []Hit{{Vector: VectorByName("dns-amplification"), Course: Steady(long, FlowDayBefore-long+after, 7_300_000)}}},
	}
}
