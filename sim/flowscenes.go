package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sakimori/base/wire/packet"
)

// NamedFlowScene is a flow scene with what it is for.
type NamedFlowScene struct {
	Name   string
	JA, EN string
	Scene  FlowScene
}

// AllFlowScenes are the labelled scenes and those of benchmarks.
func AllFlowScenes() []NamedFlowScene { return named(append(FlowScenes(), massScenes()...)) }

func named(list []NamedFlowScene) []NamedFlowScene {
	for i := range list {
		list[i].Scene.Name = list[i].Name
		list[i].Scene.Seed = uint64(i) + 1
	}
	return list
}

// FlowNames are the flow scenes that FlowSceneByName knows.
func FlowNames() (names []string) {
	for _, s := range AllFlowScenes() {
		names = append(names, s.Name)
	}
	return names
}

// FlowSceneByName is the flow scene of that name, made from the seed. An unknown name is
// an error that lists the known ones.
func FlowSceneByName(name string, seed uint64) (FlowScene, error) {
	for _, s := range AllFlowScenes() {
		if s.Name == name {
			s.Scene.Seed = seed
			return s.Scene, nil
		}
	}
	return FlowScene{}, fmt.Errorf("there is no flow scene %q: use one of %s", name, strings.Join(FlowNames(), ", "))
}

// FlowScenes are all labelled flow scenes: the vectors, other shapes of attacks, the
// innocent, exporters in trouble, and the paper's attacks.
func FlowScenes() []NamedFlowScene {
	var list []NamedFlowScene
	for _, more := range [...][]NamedFlowScene{vectorScenes(), shapeScenes(), lineScenes(), innocentScenes(), exporterScenes(), paperScenes()} {
		list = append(list, more...)
	}
	return named(list)
}

// The usual times of a scene: an attack begins when the town is awake, and lasts.
const (
	sceneFor = 45 * time.Second
	onset    = 15 * time.Second
	lastsFor = 25 * time.Second
)

// Who plays in flow scenes. All of it is ours.
var (
	flowOwn = []netip.Prefix{netip.MustParsePrefix("198.18.0.0/16"), own4, own6}

	webServer  = ip("203.0.113.10")
	nameServer = ip("203.0.113.53")
	gameServer = ip("203.0.113.70")
	cacheNode  = ip("203.0.113.80")
	timeServer = ip("203.0.113.123")
	subscriber = ip("198.18.4.77")
	camera     = ip("198.18.7.21")
	web6       = ip("2001:db8:1::10")
	elsewhere  = ip("192.0.2.99") // a target of attacks that go out
)

func one(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// routers are n of them, with formats and ways of telling that go round from a number on.
func routers(n, from int, sampling uint32) []Router {
	var list []Router
	for i := range n {
		k := from + i
		r := Router{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), uint16(50000+i)),
			Format:  FlowFormat(k % 4), Domain: uint32(k%3) * 256, Sampling: sampling,
			Active: 5 * time.Second, Inactive: time.Second, Up: time.Duration(k+1) * 31 * time.Hour,
		}
		switch r.Format {
		case NetFlow9:
			r.Tells = [...]Telling{TellsSystem, TellsSampler, TellsInterface}[k/4%3]
		case IPFIX:
			r.Tells = [...]Telling{TellsSpace, TellsSystem, TellsRecord, TellsSampler}[k/4%4]
		}
		list = append(list, r)
	}
	return list
}

// flowBase is a scene with a street.
func flowBase(d time.Duration, r []Router, more ...Traffic) FlowScene {
	return FlowScene{
		Start: time.Date(2026, 11, 2, 11, 0, 0, 0, time.UTC), Duration: d, Own: flowOwn, Routers: r,
		Traffic: append([]Traffic{Street{PerSecond: 40, IPv6: true}}, more...),
	}
}

// against is one vector on one target at a steady rate, at the usual time.
func against(target netip.Prefix, vector string, pps uint64) Assault {
	return Assault{Target: target, Vectors: []Hit{{Vector: VectorByName(vector), Course: Steady(onset, lastsFor, pps)}}}
}

// vectorScenes have each vector alone.
func vectorScenes() (list []NamedFlowScene) {
	for i, v := range Vectors() {
		r, pps := routers(1+i%2, i, [...]uint32{100, 50, 200}[i%3]), uint64(80_000)
		target := webServer
		ja, en := fmt.Sprintf("%s 攻撃", v.Name), fmt.Sprintf("a flood: %s", v.Name)
		switch v.Name {
		case "connections": // each is one packet: those that are looked at tell how many there are
			r, pps = routers(1, 3, 5), 11_000
			ja, en = "毎秒 11,000 件の接続要求(低帯域)", "11,000 connection requests a second, few bits"
		case "dns-queries":
			target = nameServer
		}
		s := flowBase(sceneFor, r, against(one(target), v.Name, pps))
		list = append(list, NamedFlowScene{Name: "vector-" + v.Name, JA: ja, EN: en, Scene: s})
	}
	return list
}

// shapeScenes are attacks of other shapes than one steady vector on one address.
func shapeScenes() []NamedFlowScene {
	cameras := make([]netip.Addr, 300)
	for i := range cameras {
		cameras[i] = packet.V4(packet.FromNetip(camera).V4() + uint32(3*i)).Netip()
	}
	hit := func(vector string, c Course) Hit { return Hit{Vector: VectorByName(vector), Course: c} }
	carpet := func(prefix, vector string, pps uint64) FlowScene {
		return flowBase(sceneFor, routers(2, 2, 200), against(netip.MustParsePrefix(prefix), vector, pps))
	}
	out := func(from []netip.Addr, vector string, pps uint64) FlowScene {
		a := against(one(elsewhere), vector, pps)
		a.From = from
		a.Vectors[0].Port = 80
		return flowBase(sceneFor, routers(2, 1, 50), a)
	}
	v6 := func(v Vector) Vector {
		if v.Proto == packet.ICMP {
			v.Proto, v.DstPort = packet.ICMPv6, 128<<8
		}
		return v
	}
	pulses := Pulses(10*time.Second, 40*time.Second, 60*time.Second, 3, 80_000)
	return []NamedFlowScene{
		{Name: "carpet-24", JA: "/24 全体への絨毯爆撃(UDP)", EN: "carpet bombing of a /24 (UDP)", Scene: carpet("203.0.113.0/24", "udp", 300_000)},
		{Name: "carpet-22", JA: "/22 全体への絨毯爆撃(DNS 増幅)", EN: "carpet bombing of a /22 (DNS amplification)", Scene: carpet("198.18.64.0/22", "dns-amplification", 500_000)},
		{Name: "carpet-20", JA: "/20 全体への絨毯爆撃(SYN)", EN: "carpet bombing of a /20 (SYN)", Scene: carpet("198.18.80.0/20", "syn", 800_000)},
		{Name: "pulse", JA: "40 秒攻撃・60 秒休止の繰り返し", EN: "40 seconds on, 60 off, and again", Scene: flowBase(260*time.Second, routers(1, 3, 1000), Assault{Target: one(webServer), Vectors: []Hit{hit("udp", pulses)}})},
		{Name: "rising", JA: "20 秒かけて増える攻撃", EN: "an attack that rises over 20 seconds", Scene: flowBase(sceneFor, routers(2, 0, 100), Assault{Target: one(webServer), Vectors: []Hit{hit("ack", Rising(10*time.Second, 20*time.Second, 35*time.Second, 90_000))}})},
		{Name: "outgoing-one", JA: "自網の 1 台が外部を攻撃", EN: "one of our cameras floods somebody", Scene: out(cameras[:1], "udp", 60_000)},
		{Name: "outgoing-many", JA: "自網の 300 台が外部を攻撃", EN: "300 of our cameras flood somebody together", Scene: out(cameras, "syn", 90_000)},
		{Name: "multi-vector", JA: "DNS 増幅・SYN・UDP の同時攻撃", EN: "DNS amplification, SYN and UDP together", Scene: flowBase(sceneFor, routers(3, 1, 100), Assault{Target: one(webServer), Vectors: []Hit{
			hit("dns-amplification", Steady(onset, lastsFor, 90_000)), hit("syn", Steady(onset+5*time.Second, lastsFor-5*time.Second, 50_000)), hit("udp", Steady(onset, 12*time.Second, 30_000)),
		}})},
		{Name: "two-targets", JA: "2 つの宛先への別々の攻撃", EN: "two targets, an attack on each", Scene: flowBase(sceneFor, routers(2, 2, 100), against(one(webServer), "ntp-amplification", 70_000), against(one(subscriber), "icmp", 60_000))},
		{Name: "ipv6-syn", JA: "IPv6 の SYN 攻撃", EN: "a SYN flood of IPv6", Scene: flowBase(sceneFor, routers(1, 3, 100), against(one(web6), "syn", 70_000))},
		{Name: "ipv6-icmp", JA: "ICMPv6 攻撃", EN: "a flood of ICMPv6", Scene: flowBase(sceneFor, routers(1, 2, 100), Assault{Target: one(web6), Vectors: []Hit{{Vector: v6(VectorByName("icmp")), Course: Steady(onset, lastsFor, 70_000)}}})},
		{Name: "ipv6-carpet", JA: "IPv6 /64 への絨毯爆撃", EN: "carpet bombing of a /64", Scene: flowBase(sceneFor, routers(1, 1, 200), against(netip.MustParsePrefix("2001:db8:1:100::/64"), "udp", 400_000))},
		{Name: "one-way", JA: "流入側だけのフローでの SYN 攻撃", EN: "a SYN flood, flows of what comes in alone", Scene: oneWay(flowBase(sceneFor, routers(2, 0, 100), against(one(webServer), "syn", 60_000)))},
		{Name: "busy-victim", JA: "利用の多いサーバーへの攻撃", EN: "an attack on a server that is busy anyway", Scene: flowBase(sceneFor, routers(2, 2, 100), against(one(webServer), "memcached-amplification", 130_000), visitors(webServer, 300))},
	}
}

func oneWay(s FlowScene) FlowScene {
	s.OneWay = true
	return s
}

// lineScenes are around the line of 20,000 packets a second, and at all samplings.
func lineScenes() (list []NamedFlowScene) {
	const line = 20_000
	for i, tenths := range [...]uint64{9, 11, 15, 20, 50} {
		s := flowBase(sceneFor, routers(1, 3, 10), against(one(webServer), "udp", line*tenths/10))
		list = append(list, NamedFlowScene{
			Name: fmt.Sprintf("line-%02d", tenths), JA: fmt.Sprintf("しきい値の %d.%d 倍", tenths/10, tenths%10), EN: fmt.Sprintf("%d.%d times the line", tenths/10, tenths%10), Scene: s,
		})
		every := [...]uint32{1, 10, 100, 1000, 10_000}[i]
		pps := uint64(5 * line)
		if every == 1 {
			pps = 2 * line
		}
		r := routers(1, 1+i, every)
		s = flowBase(sceneFor, r, against(one(webServer), "udp", pps))
		if every == 1 { // few and long flows: all of them have one port
			s.Traffic[1].(Assault).Vectors[0].Vector.SrcPort, s.Traffic[1].(Assault).Vectors[0].Port = 40_000, 80
		}
		list = append(list, NamedFlowScene{Name: fmt.Sprintf("sampling-%d", every), JA: fmt.Sprintf("1:%d のサンプリング", every), EN: fmt.Sprintf("sampling 1:%d", every), Scene: s})
	}
	return list
}

// visitors are so many visitors a second, each with a handshake and a page.
func visitors(a netip.Addr, perSecond int) Busy {
	page := Habit{Name: "page", Proto: packet.TCP, Port: 443, Up: [2]uint64{7, 16}, Down: [2]uint64{8, 30}, UpSize: 110, DownSize: 1300, Span: [2]time.Duration{200 * time.Millisecond, 3 * time.Second}}
	return Busy{Kind: "flash-crowd", Who: a, Serves: true, Habit: page, PerSecond: perSecond, At: 12 * time.Second}
}

// innocentScenes are busy, and nobody attacks anybody.
func innocentScenes() []NamedFlowScene {
	const long = 2 * time.Minute
	busy := func(d time.Duration, r []Router, more ...Traffic) FlowScene { return flowBase(d, r, more...) }
	usual := func(from int) []Router { return routers(2, from, 100) }
	slow := routers(1, 1, 10)
	slow[0].Active, slow[0].Inactive = time.Minute, 15*time.Second
	steady := func(kind string, who netip.Addr, serves bool, talks int, h Habit) Busy {
		return Busy{Kind: kind, Who: who, Serves: serves, Habit: h, Begin: talks, At: 10 * time.Second}
	}
	answers := Habit{Name: "dns", Proto: packet.UDP, Port: portDNS, Up: [2]uint64{1, 1}, Down: [2]uint64{1, 1}, UpSize: 70, DownSize: 260, Span: [2]time.Duration{10 * time.Millisecond, 80 * time.Millisecond}}
	clocks := Habit{Name: "ntp", Proto: packet.UDP, Port: portNTP, ClientPort: portNTP, Up: [2]uint64{1, 1}, Down: [2]uint64{1, 1}, UpSize: 76, DownSize: 76, Span: [2]time.Duration{5 * time.Millisecond, 20 * time.Millisecond}}
	return []NamedFlowScene{
		{Name: "town", JA: "普段の町", EN: "the town's ordinary day", Scene: busy(sceneFor, routers(4, 0, 10))},
		{Name: "flash-crowd", JA: "アクセスの殺到(正規の接続)", EN: "a flash crowd: real connections, very many", Scene: busy(sceneFor, usual(2), visitors(webServer, 6000))},
		{Name: "flash-crowd-one-way", JA: "アクセスの殺到(流入側のフローだけ)", EN: "a flash crowd, flows of what comes in alone", Scene: oneWay(busy(sceneFor, usual(0), visitors(webServer, 6000)))},
		{Name: "speed-test", JA: "回線速度の測定(2 Gbit/s)", EN: "a speed test at 2 Gbit/s", Scene: busy(sceneFor, usual(1), steady("speed-test", subscriber, false, 6, lasting("speed", packet.TCP, 8080, 9000, 29_000, 52, 1500, 20*time.Second)))},
		{Name: "speed-test-quic", JA: "UDP での速度測定(1.5 Gbit/s)", EN: "a speed test over QUIC at 1.5 Gbit/s", Scene: busy(sceneFor, usual(3), steady("speed-test", subscriber, false, 4, lasting("speed", packet.UDP, portQUIC, 3000, 36_000, 80, 1300, 20*time.Second)))},
		{Name: "download", JA: "大きなダウンロード(1.2 Gbit/s)", EN: "a big download at 1.2 Gbit/s", Scene: busy(sceneFor, usual(2), steady("download", subscriber, false, 1, lasting("download", packet.TCP, 443, 50_000, 100_000, 52, 1500, 30*time.Second)))},
		{Name: "backup", JA: "バックアップの送信(1.5 Gbit/s)", EN: "a backup that goes out at 1.5 Gbit/s", Scene: busy(sceneFor, usual(0), steady("backup", cacheNode, false, 8, lasting("backup", packet.TCP, 873, 16_000, 6_000, 1500, 52, 35*time.Second)))},
		{Name: "cdn-fill", JA: "CDN キャッシュの充填(3 Gbit/s)", EN: "a cache that fills at 3 Gbit/s", Scene: busy(sceneFor, usual(1), steady("cdn-fill", cacheNode, false, 40, lasting("fill", packet.TCP, 443, 3_000, 6_300, 60, 1500, 30*time.Second)))},
		{Name: "vpn", JA: "VPN(IPsec の UDP 4500 と ESP)", EN: "a VPN gateway: IPsec over UDP 4500, and ESP", Scene: busy(sceneFor, usual(3),
			steady("vpn", cacheNode, true, 60, Habit{Name: "ike", Proto: packet.UDP, Port: 4500, ClientPort: 4500, Up: [2]uint64{15_000, 18_000}, Down: [2]uint64{15_000, 18_000}, UpSize: 900, DownSize: 1100, Span: [2]time.Duration{30 * time.Second, 30 * time.Second}}),
			steady("vpn", subscriber, false, 1, lasting("esp", protoESP, 0, 24_000, 30_000, 700, 1300, 30*time.Second)))},
		{Name: "resolver", JA: "混み合うリゾルバー(毎秒 3 万応答)", EN: "a busy resolver: 30,000 answers a second", Scene: busy(sceneFor, usual(2), Busy{Kind: "resolver", Who: nameServer, Habit: answers, Others: 3000, PerSecond: 30_000, At: 10 * time.Second})},
		{Name: "name-server", JA: "混み合う権威サーバー(毎秒 2.5 万問い合わせ)", EN: "a busy name server: 25,000 questions a second", Scene: busy(sceneFor, usual(1), Busy{Kind: "name-server", Who: nameServer, Serves: true, Habit: answers, Others: 9000, PerSecond: 25_000, At: 10 * time.Second})},
		{Name: "game-server", JA: "ゲームサーバー(Steam のポート)", EN: "a game server on a port of amplifiers", Scene: busy(sceneFor, usual(0), steady("game-server", gameServer, true, 700, lasting("game", packet.UDP, 27015, 40, 60, 90, 220, 34*time.Second)))},
		{Name: "gamers", JA: "外のゲームサーバーとの通信", EN: "one of ours plays on many servers of the amplifiers' port", Scene: busy(sceneFor, usual(3), steady("gamer", subscriber, false, 500, lasting("game", packet.UDP, 27015, 40, 60, 90, 220, 30*time.Second)))},
		{Name: "ntp-server", JA: "時刻サーバー(毎秒 3 万)", EN: "a time server: 30,000 questions a second", Scene: busy(sceneFor, usual(2), Busy{Kind: "ntp-server", Who: timeServer, Serves: true, Habit: clocks, PerSecond: 30_000, At: 10 * time.Second})},
		{Name: "scan-in", JA: "外からの探索", EN: "somebody scans us", Scene: busy(sceneFor, usual(1), Prober{From: ip("192.0.2.77"), Over: netip.MustParsePrefix("198.18.0.0/16"), Port: 23, PPS: 8000, At: 10 * time.Second})},
		{Name: "scan-own", JA: "自網の感染機器による探索", EN: "infected ones of ours scan others", Scene: busy(sceneFor, routers(2, 1, 1), Prober{From: camera, Port: 23, PPS: 400, At: 10 * time.Second}, Prober{From: ip("198.18.9.9"), Port: 2323, PPS: 150, At: 12 * time.Second})},
		{Name: "long-flows", JA: "60 秒ごとに報告される長いフロー", EN: "long flows that are told each minute must not look like a spike", Scene: busy(long+20*time.Second, slow, steady("long-flows", subscriber, false, 3, lasting("stream", packet.TCP, 443, 1500, 5000, 52, 1400, long)))},
	}
}
