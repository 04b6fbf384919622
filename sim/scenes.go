package sim

import (
	"net/netip"
	"time"
)

// Labelled are the scenes that detectors are measured on. Each exercises one
// thing, with the cases beside it that must not be mistaken for it.
func Labelled() []NamedScene {
	scenes := []NamedScene{
		{"infected", "感染した自社加入者", "own subscribers infected by Mirai, by variants of it and by an unknown family", infectedScene()},
		{"infected-near", "感染していない自社加入者", "own subscribers that send to dark space and aren't infected", innocentScene()},
		{"infected-amplifiers", "増幅器を探す自社加入者", "own bots that look for amplifiers alone, where nobody can forge their address and where anybody can", amplifierScene()},
		{"floods", "偽装フラッドの跳ね返り", "backscatter of floods of every kind", floodScene()},
		{"floods-near", "しきい値の前後のフラッド", "backscatter just below and just above the RSDoS thresholds", thresholdScene()},
		{"reflection", "リフレクション攻撃の応答", "amplified answers to dark addresses: no victim answers here", reflectionScene()},
		{"tools", "走査ツールの見分け", "one scanner of each tool, and of programs that look alike", toolScene()},
		{"udp", "UDP と ICMP の走査", "scans of UDP services and an ICMP sweep", udpScene()},
		{"slow", "低速の走査", "scanners with one packet every 20 to 60 minutes, over a week", slowScene()},
		{"vertical", "垂直走査", "all ports of one address, and stealth scans", verticalScene()},
		{"misconfigured", "設定の誤り", "hosts that keep asking one or two dark addresses", misconfiguredScene()},
		{"dark-host", "暗くないダークアドレス", "a dark address that asks and is answered", darkHostScene()},
		{"broken", "断片と壊れたフレーム", "fragments, frames that can't be read, and bystanders", brokenScene()},
		{"forged", "送信元の偽装", "scans whose every packet bears another source", forgedScene()},
		{"ipv6", "IPv6 の走査と跳ね返り", "IPv6 scanning, backscatter and an infected subscriber", ipv6Scene()},
		{"surge", "ポートの急増", "six weeks by the hour, with a new port and two risen ones", surgeScene()},
		{"surge-near", "急増ではない変動", "six weeks of rhythm, slow growth and stray ports: no surge", calmScene()},
		{"surge-country", "国の急増", "six weeks, with one country risen", countryScene()},
		{"surge-research", "調査目的のスキャンの開始", "a month, with a fleet of research scanners that begins three ports, one of them beside bots", researchScene()},
		{"everything", "すべて", "all of it at once, three hours", everythingScene()},
	}
	for i := range scenes {
		scenes[i].Scene.Name = scenes[i].Name
		scenes[i].Scene.Seed = uint64(i) + 1
	}
	return scenes
}

func infectedScene() Scene {
	s := base("", 0, 2*time.Hour)
	s.Actors = append(ownBots(0), background(3000, 8))
	s.Actors = append(s.Actors, innocents()...)
	return s
}

// ownBots are six infected subscribers, each from another minute on.
func ownBots(from time.Duration) []Actor {
	bot := func(n int, form Form, ports []Want, perHour float64) Scan {
		return Scan{
			Source: host("203.0.113.", n), Form: form, Ports: ports, Role: RoleBot, Pace: PerHour(perHour),
			Span: Span{From: from + time.Duration(n)*time.Minute/2},
		}
	}
	return []Actor{
		bot(11, FormMirai, MiraiPorts(), 400),
		bot(12, FormMirai, MiraiPorts(), 120),
		bot(13, FormMirai, MiraiPorts(), 40),
		bot(14, FormMirai, TCP(37215), 150),
		bot(15, FormLinux, TCP(5555), 200),
		bot(16, FormLinux, TCP(80, 8080, 81), 90),
	}
}

// innocents are own subscribers that send to dark space for other reasons.
func innocents() []Actor {
	return []Actor{
		Misconfigured{Source: host("203.0.113.", 101), Port: portSyslog, Targets: ips("198.18.5.5"), Pace: Beat(20 * time.Second)},
		Misconfigured{Source: host("203.0.113.", 102), Port: portNTP, Targets: ips("198.18.9.1", "198.18.9.2"), Pace: Beat(64 * time.Second)},
		Misconfigured{Source: host("203.0.113.", 103), Port: portDNS, Targets: ips("198.18.1.53"), Pace: PerHour(60)},
		Misconfigured{Source: host("203.0.113.", 104), Port: 8883, TCP: true, Targets: ips("198.18.70.7"), Pace: Beat(2 * time.Minute)},
		Misconfigured{Source: host("203.0.113.", 105), Port: portDHT, Targets: ips("198.18.3.9", "198.18.200.77", "198.18.41.1"), Role: RoleLeftover, Pace: PerHour(12)},
		Curl{Source: host("203.0.113.", 106), Target: ip("198.18.80.80"), Port: 443, At: 11 * time.Minute, Tries: 6},
		Curl{Source: host("203.0.113.", 107), Target: ip("198.18.80.81"), Port: 23, At: 17 * time.Minute, Tries: 3},
		Ping{Source: host("203.0.113.", 108), Target: ip("198.18.80.82"), At: 23 * time.Minute, Count: 30},
	}
}

func innocentScene() Scene {
	s := base("", 0, 3*time.Hour)
	s.Actors = append(innocents(), background(3000, 5),
		// An own web server under a flood: its answers mustn't make it a bot.
		Flood{Victim: host("203.0.113.", 80), Port: 443, Reply: ReplySynAck, Retransmit: 5, Pace: PerSecond(2), Span: Span{From: 20 * time.Minute, For: 30 * time.Minute}},
		Flood{Victim: host("203.0.113.", 81), Port: 25, Reply: ReplyRst, Pace: PerSecond(2), Span: Span{From: time.Hour, For: 15 * time.Minute}},
		// Somebody else forges own addresses, one packet each.
		Forged{Form: FormIrregular, Ports: TCP(23), OwnPer: 5, Pace: PerSecond(1), Span: Span{For: time.Hour}},
		// Somebody asks amplifiers in the name of an own subscriber: the victim to be.
		Forged{Form: FormUDP, Ports: []Want{{portNTP, 1, FormUDP}}, From: ips("203.0.113.90"), Pace: PerSecond(0.2), Span: Span{From: 90 * time.Minute, For: 30 * time.Minute}},
	)
	return s
}

// amplifierScene has own bots that ask nobody but amplifiers. In the upper half of
// own space the same packets may be somebody else's, and two times they are.
func amplifierScene() Scene {
	s := base("", 0, 2*time.Hour)
	s.Verified = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")}
	bot := func(n int, ports ...uint16) Scan {
		return Scan{Source: host("203.0.113.", n), Form: FormUDP, Ports: TCP(ports...), Role: RoleBot, Pace: PerHour(120), Span: Span{From: time.Duration(n%60) * time.Minute}}
	}
	asked := func(n int, port uint16, perHour float64) Forged {
		return Forged{Form: FormUDP, Ports: TCP(port), From: []netip.Addr{host("203.0.113.", n)}, Pace: PerHour(perHour), Span: Span{From: 30 * time.Minute, For: time.Hour}}
	}
	s.Actors = append(innocents(), background(1000, 3),
		bot(21, portNTP), bot(22, portCLDAP, portMemcached), bot(23, portSSDP),
		bot(31, portNTP, portSNMP), // SNMP isn't asked for its size
		bot(190, portNTP), asked(201, portNTP, 300), asked(202, portCLDAP, 60))
	return s
}

func floodScene() Scene {
	s := base("", 0, 2*time.Hour)
	at := func(m, d int) Span {
		return Span{From: time.Duration(m) * time.Minute, For: time.Duration(d) * time.Minute}
	}
	s.Actors = []Actor{
		Flood{Victim: ip("198.51.100.10"), Port: 80, Reply: ReplySynAck, Retransmit: 5, Pace: PerSecond(5), Span: at(5, 20)},
		Flood{Victim: ip("198.51.100.11"), Port: 443, Reply: ReplySynAck, Pace: PerSecond(1), Span: at(10, 30)},
		Flood{Victim: ip("198.51.100.12"), Port: 22, Reply: ReplyRst, Pace: PerSecond(2), Span: at(1, 5)},
		Flood{Victim: ip("198.51.100.13"), Port: 27015, Reply: ReplyUnreachable, Pace: PerSecond(2), Span: at(30, 20)},
		Flood{Victim: ip("198.51.100.53"), Port: portDNS, Reply: ReplyService, Pace: PerSecond(4), Span: at(40, 15)},
		Flood{Victim: ip("198.51.100.14"), Port: portQUIC, Reply: ReplyService, Pace: PerSecond(3), Span: at(50, 10)},
		Flood{Victim: ip("198.51.100.15"), Port: portNTP, Reply: ReplyService, Pace: PerSecond(2), Span: at(60, 10)},
		Flood{Victim: ip("198.51.100.16"), Port: portSNMP, Reply: ReplyService, Pace: PerSecond(2), Span: at(70, 10)},
		Flood{Victim: ip("198.51.100.17"), Reply: ReplyEcho, Pace: PerSecond(2), Span: at(80, 10)},
		// One victim, twice, with a silence that parts the two attacks.
		Flood{Victim: ip("198.51.100.18"), Port: 80, Reply: ReplySynAck, Pace: PerSecond(2), Span: at(10, 5)},
		Flood{Victim: ip("198.51.100.18"), Port: 80, Reply: ReplySynAck, Pace: PerSecond(2), Span: at(40, 5)},
		background(3000, 8),
		Murmur{Hosts: 800, Ports: TCP(80, 443, 22, 25565), Pace: PerSecond(0.5)},
	}
	return s
}

func thresholdScene() Scene {
	s := base("", 0, 2*time.Hour)
	near := func(n int, every, from, d time.Duration) Flood {
		return Flood{Victim: host("198.51.100.", n), Port: 80, Reply: ReplySynAck, Pace: Beat(every), Span: Span{From: from, For: d}}
	}
	s.Actors = []Actor{
		near(10, 200*time.Millisecond, 10*time.Minute, 40*time.Second),  // 200 answers, but in 40 s
		near(11, 2100*time.Millisecond, 5*time.Minute, 10*time.Minute),  // at most 29 in a minute
		near(12, 2700*time.Millisecond, 5*time.Minute, 64*time.Second),  // 24 answers
		near(13, 6*time.Second, 5*time.Minute, time.Hour),               // 600 answers, ten a minute
		near(14, time.Second, 20*time.Minute, 50*time.Second),           // two bursts of 50 s ...
		near(14, time.Second, 27*time.Minute, 50*time.Second),           // ... 371 s apart
		near(15, 2100*time.Millisecond, 30*time.Minute, 64*time.Second), // 31 answers in 63 s, 29 of them in a minute
		near(20, 1900*time.Millisecond, 10*time.Minute, 90*time.Second), // above: 31 a minute for 90 s
		near(21, time.Second, 15*time.Minute, 64*time.Second),           // above: just long enough
		near(23, time.Second, 50*time.Minute, 50*time.Second),           // above: two bursts ...
		near(23, time.Second, 55*time.Minute, 50*time.Second),           // ... 251 s apart are one attack
		Flood{Victim: host("198.51.100.", 22), Port: 4500, Reply: ReplyUnreachable, Pace: Beat(1666 * time.Millisecond), Span: Span{From: time.Hour, For: 5 * time.Minute}},
		Murmur{Hosts: 400, Ports: TCP(80, 443), Pace: PerSecond(0.3)},
		background(1500, 3),
	}
	return s
}

func reflectionScene() Scene {
	s := base("", 0, 2*time.Hour)
	at := Span{From: 10 * time.Minute, For: time.Hour}
	s.Actors = []Actor{
		Reflection{Service: portNTP, Reflectors: 60, Target: ip("198.18.7.7"), Pace: PerSecond(3), Span: at},
		Reflection{Service: portSSDP, Reflectors: 200, Pace: PerSecond(1), Span: at},
		Reflection{Service: portCLDAP, Reflectors: 40, Target: ip("198.18.44.4"), Pace: PerSecond(2), Span: at},
		Reflection{Service: portMemcached, Reflectors: 8, Target: ip("198.18.90.9"), Pace: PerSecond(1), Span: at},
		Reflection{Service: portChargen, Reflectors: 20, Pace: PerSecond(0.5), Span: at},
		background(2000, 4),
	}
	return s
}

func toolScene() Scene {
	s := base("", 0, 2*time.Hour)
	scanner := func(n int, form Form, aim Aim, ports ...uint16) Scan {
		return Scan{Source: host("198.51.100.", n), Form: form, Aim: aim, Ports: TCP(ports...), Pace: PerSecond(0.5)}
	}
	s.Actors = []Actor{
		scanner(31, FormZMapOld, AimOnce, 443),
		scanner(32, FormZMapNew, AimOnce, 443),
		scanner(33, FormMasscanOld, AimRandom, 80, 8080),
		scanner(34, FormMasscanNew, AimRandom, 3389),
		scanner(35, FormNmap, AimSweep, 22),
		scanner(36, FormHping3, AimSweep, 80),
		scanner(37, FormIrregular, AimRandom, 6379),
		scanner(38, FormLinux, AimRandom, 23, 2323), // Mirai's ports, not Mirai
		scanner(39, FormWindows, AimSweep, 445),
		Scan{Source: ip("198.51.100.40"), Form: FormMirai, Ports: MiraiPorts(), Role: RoleBot, Pace: PerSecond(0.5)},
		Scan{Source: ip("198.51.100.41"), Form: FormMirai, Ports: TCP(7547, 5555, 37215), Role: RoleBot, Pace: PerSecond(0.5)},
		Scan{Source: ip("192.0.2.5"), Form: FormZMapOld, Aim: AimOnce, Ports: TCP(443), Role: RoleResearch, Pace: PerSecond(2)},
		Scan{Source: ip("192.0.2.6"), Form: FormZMapOld, Aim: AimOnce, Ports: TCP(22), Role: RoleResearch, Pace: PerSecond(2)},
		// One source, two programs: nothing may be named.
		Scan{Source: ip("198.51.100.42"), Form: FormZMapOld, Aim: AimOnce, Ports: TCP(8443), Pace: PerSecond(0.2)},
		Scan{Source: ip("198.51.100.42"), Form: FormLinux, Ports: TCP(8443), Pace: PerSecond(0.2)},
		background(2000, 4),
		scanner(43, FormZMapMSS, AimOnce, 443),
		scanner(44, FormZMap410, AimOnce, 443),
		scanner(45, FormZMapMac, AimOnce, 22, 8443),
		// ZMap from 4.1 on looks for all the world like an operating system; these are some.
		scanner(46, FormNoDF, AimRandom, 443),
		scanner(47, FormNoDF, AimSweep, 22),
		Crowd{Size: 200, Form: FormNoDF, Ports: TCP(443, 3389), Pace: PerSecond(0.5)},
		Crowd{Size: 40, Form: FormZMapNew, Ports: TCP(9200), Pace: PerSecond(0.5), Span: Span{From: 30 * time.Minute}},
	}
	return s
}

func udpScene() Scene {
	s := base("", 0, 2*time.Hour)
	for i, port := range []uint16{portDNS, portNTP, portSSDP, portSIP, portSNMP, portMemcached, portCLDAP, portQUIC} {
		s.Actors = append(s.Actors, Scan{Source: host("198.51.100.", 60+i), Form: FormUDP, Ports: TCP(port), Pace: PerSecond(0.4)})
	}
	s.Actors = append(s.Actors,
		Scan{Source: ip("198.51.100.70"), Form: FormEcho, Aim: AimSweep, Ports: TCP(0), Pace: PerSecond(1)},
		background(2000, 4))
	return s
}

func slowScene() Scene {
	s := base("", 0, 7*24*time.Hour)
	for i := range 6 {
		form := [...]Form{FormLinux, FormIrregular, FormNmap}[i%3]
		s.Actors = append(s.Actors, Scan{
			Source: host("198.51.100.", 80+i), Form: form, Ports: TCP(22, 3389)[i%2 : i%2+1], Role: RoleSlow,
			Pace: Pace{Every: 20 * time.Minute, Most: 60 * time.Minute},
		})
	}
	s.Actors = append(s.Actors, background(1500, 0.15))
	return s
}

func verticalScene() Scene {
	s := base("", 0, time.Hour)
	s.Actors = []Actor{
		Scan{Source: ip("198.51.100.90"), Form: FormNmap, Aim: AimGiven, Targets: ips("198.18.3.3"), Vertical: 1000, Limit: 1000, Role: RoleVertical, Pace: PerSecond(10)},
		Scan{Source: ip("198.51.100.91"), Form: FormFIN, Ports: TCP(80), Pace: PerSecond(0.3)},
		Scan{Source: ip("198.51.100.92"), Form: FormXmas, Ports: TCP(22), Pace: PerSecond(0.3)},
		Scan{Source: ip("198.51.100.93"), Form: FormNULL, Ports: TCP(443), Pace: PerSecond(0.3)},
		background(1000, 4),
	}
	return s
}

func misconfiguredScene() Scene {
	s := base("", 0, 6*time.Hour)
	s.Actors = append(innocents(),
		Misconfigured{Source: ip("192.0.2.101"), Port: portSyslog, Targets: ips("198.18.6.6"), Pace: PerSecond(0.5)},
		Misconfigured{Source: ip("192.0.2.102"), Port: portNTP, Targets: ips("198.18.6.7"), Pace: Beat(64 * time.Second)},
		Misconfigured{Source: ip("192.0.2.103"), Port: portDNS, Targets: ips("198.18.6.8", "198.18.6.9"), Pace: PerSecond(0.2)},
		Misconfigured{Source: ip("192.0.2.104"), Port: 9100, TCP: true, Targets: ips("198.18.6.10"), Pace: Beat(30 * time.Second)},
		Misconfigured{Source: ip("192.0.2.105"), Port: portDHT, Targets: ips("198.18.61.1", "198.18.62.2", "198.18.63.3", "198.18.64.4"), Role: RoleLeftover, Pace: PerHour(30)},
		Curl{Source: ip("192.0.2.106"), Target: ip("198.18.6.11"), Port: 80, At: time.Hour, Tries: 6},
		Ping{Source: ip("192.0.2.107"), Target: ip("198.18.6.12"), At: 2 * time.Hour, Count: 100},
		background(2000, 2))
	return s
}

func darkHostScene() Scene {
	s := base("", 0, time.Hour)
	s.Actors = []Actor{
		DarkHost{Address: ip("198.18.77.5"), Peer: ip("198.51.100.200"), Port: 443, Pace: PerSecond(1)},
		DarkHost{Address: ip("2001:db8:da::5"), Peer: ip("2001:db8:bad::200"), Port: 443, Pace: PerSecond(0.2)},
		Flood{Victim: ip("198.51.100.10"), Port: 80, Reply: ReplySynAck, Pace: PerSecond(2), Span: Span{From: 10 * time.Minute, For: 10 * time.Minute}},
		background(1000, 4),
	}
	return s
}

func brokenScene() Scene {
	s := base("", 0, time.Hour)
	s.Actors = []Actor{
		Fragments{Source: ip("198.51.100.53"), Pace: PerHour(400)},
		Corrupt{Pace: PerHour(200)},
		Bystander{Source: ip("192.0.2.33"), Target: ip("203.0.113.33"), Pace: PerSecond(0.5)},
		background(1000, 4),
	}
	return s
}

func forgedScene() Scene {
	s := base("", 0, time.Hour)
	s.Actors = []Actor{
		Forged{Form: FormIrregular, Ports: TCP(80, 443), OwnPer: 2, Pace: PerSecond(5), Span: Span{From: 10 * time.Minute, For: 30 * time.Minute}},
		Forged{Form: FormUDP, Ports: []Want{{portDNS, 1, FormUDP}}, Pace: PerSecond(1)},
		background(1000, 4),
	}
	return s
}

func ipv6Scene() Scene {
	s := base("", 0, 2*time.Hour)
	s.Actors = []Actor{
		Scan{Source: ip("2001:db8:5ca::1"), Form: FormLinux, Aim: AimLikely6, Ports: TCP(22, 80, 443), Pace: PerSecond(0.5)},
		Scan{Source: ip("2001:db8:5ca::2"), Form: FormEcho, Aim: AimLikely6, Ports: TCP(0), Pace: PerSecond(0.5)},
		Scan{Source: ip("2001:db8:5ca::3"), Form: FormUDP, Aim: AimLikely6, Ports: TCP(portDNS), Pace: PerSecond(0.2)},
		Scan{Source: ip("2001:db8:1:77::9"), Form: FormLinux, Aim: AimLikely6, Ports: TCP(23), Role: RoleBot, Pace: PerHour(200)},
		Misconfigured{Source: ip("2001:db8:1:88::8"), Port: portNTP, Targets: []netip.Addr{ip("2001:db8:da::123")}, Pace: Beat(64 * time.Second)},
		Curl{Source: ip("2001:db8:1:99::9"), Target: ip("2001:db8:da::80"), Port: 443, At: time.Minute, Tries: 6},
		Flood{Victim: ip("2001:db8:bad::80"), Port: 443, Reply: ReplySynAck, Retransmit: 5, Pace: PerSecond(1), Span: Span{From: 20 * time.Minute, For: 20 * time.Minute}},
		Flood{Victim: ip("2001:db8:bad::53"), Port: 4500, Reply: ReplyUnreachable, Pace: PerSecond(1), Span: Span{From: 50 * time.Minute, For: 10 * time.Minute}},
		Flood{Victim: ip("2001:db8:bad::1"), Reply: ReplyEcho, Pace: Beat(3 * time.Second), Span: Span{From: 70 * time.Minute, For: 10 * time.Minute}},
		Crowd{Size: 60, Ports: TCP(22, 80, 443, 8080), IPv6: true, Pace: PerSecond(0.3)},
		background(1000, 3),
	}
	return s
}
