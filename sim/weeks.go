package sim

import (
	"net/netip"
	"time"
)

const day = 24 * time.Hour

// weeks is six weeks of the usual ports at a low rate, each with its own crowd,
// from a Monday on.
func weeks(shape Shape) Scene {
	s := base("", 0, 42*day)
	crowd := func(w Want, perHour float64) Crowd {
		p := PerHour(perHour)
		p.Shape = shape
		return Crowd{Size: 600, Ports: []Want{w}, Pace: p}
	}
	s.Actors = []Actor{
		crowd(Want{23, 1, FormAny}, 60), crowd(Want{22, 1, FormAny}, 40), crowd(Want{445, 1, FormWindows}, 40),
		crowd(Want{80, 1, FormAny}, 30), crowd(Want{3389, 1, FormAny}, 25), crowd(Want{8080, 1, FormAny}, 15),
		crowd(Want{5555, 1, FormAny}, 10), crowd(Want{2323, 1, FormAny}, 6), crowd(Want{portDNS, 1, FormUDP}, 10),
		crowd(Want{0, 1, FormEcho}, 8),
	}
	return s
}

func (s *Scene) surge(dim, key string, isNew bool, from, to time.Duration) {
	s.Surges = append(s.Surges, Surge{dim, key, isNew, s.Start.Add(from), s.Start.Add(min(to, s.Duration))})
}

func surgeScene() Scene {
	s := weeks(Daily(9))
	fresh, risen, grown := 37*day+10*time.Hour, 39*day+2*time.Hour, 40*day
	growth := Growth(10, 6*time.Hour) // 3 an hour to 300 in 40 hours
	grow := PerHour(300)
	grow.Shape = func(at time.Duration) int64 { return growth(at - grown) }
	s.Actors = append(s.Actors,
		Crowd{Size: 400, Ports: TCP(7547), Mixed: true, Form: FormMirai, Role: RoleBot, Pace: PerHour(200), Span: Span{From: fresh, For: 8 * time.Hour}},
		Crowd{Size: 500, Ports: TCP(5555), Pace: PerHour(150), Span: Span{From: risen, For: 10 * time.Hour}},
		Crowd{Size: 900, Ports: TCP(2323), Form: FormMirai, Role: RoleBot, Pace: grow, Span: Span{From: grown}},
	)
	s.surge("port", "7547/tcp", true, fresh, fresh+8*time.Hour)
	s.surge("port", "5555/tcp", false, risen, risen+10*time.Hour)
	s.surge("port", "2323/tcp", false, grown+6*time.Hour, s.Duration)
	return s
}

// researchScene is a fleet of research scanners that begins a port nobody asked
// for before, then one that others ask for, and at last one together with bots:
// only the last is a surge.
func researchScene() Scene {
	s := weeks(Daily(9))
	all := netip.MustParsePrefix("192.0.2.0/24")
	s.Research = []netip.Prefix{all}
	s.Duration = 31 * day                        // four weeks make a baseline
	s.Actors = []Actor{s.Actors[0], s.Actors[5]} // 23 and 8080
	fresh, known, both := 28*day+10*time.Hour, 29*day+6*time.Hour, 30*day+2*time.Hour
	fleet := func(port uint16, from time.Duration) Crowd {
		return Crowd{
			Size: 400, Places: []Place{{Prefix: all, Weight: 1}}, Ports: TCP(port), Form: FormZMapNew, Role: RoleResearch, // 200 of its 254 addresses
			Pace: PerHour(600), Span: Span{From: from, For: 20 * time.Hour},
		}
	}
	s.Actors = append(s.Actors, fleet(9200, fresh), fleet(8080, known), fleet(7547, both),
		Crowd{Size: 400, Ports: TCP(7547), Form: FormMirai, Role: RoleBot, Pace: PerHour(200), Span: Span{From: both, For: 8 * time.Hour}})
	s.surge("port", "7547/tcp", true, both, both+8*time.Hour)
	return s
}

func calmScene() Scene {
	s := weeks(Daily(14))
	// Each hour a handful of ports that were never asked for before.
	var stray []Want
	for i := range 1500 {
		stray = append(stray, Want{Port: uint16(10007 + i*37), Weight: 1})
	}
	slow := PerHour(40)
	slow.Shape = func(at time.Duration) int64 { return 1000 + 400*int64(at)/int64(42*day) } // 40 % in six weeks
	s.Actors = append(s.Actors,
		Crowd{Size: 100000, Ports: stray, Mixed: true, Pace: PerHour(4)},
		Crowd{Size: 600, Ports: TCP(1433), Pace: slow},
	)
	return s
}

func countryScene() Scene {
	s := weeks(Daily(9))
	from := 38*day + 6*time.Hour
	s.Actors = append(s.Actors, Crowd{
		Size: 800, Places: Within("BR"), Ports: TCP(23, 22, 80, 8080, 445), Pace: PerHour(400), Span: Span{From: from, For: 9 * time.Hour},
	})
	s.surge("country", "BR", false, from, from+9*time.Hour)
	for _, p := range []string{"23/tcp", "22/tcp", "80/tcp", "8080/tcp", "445/tcp"} {
		s.surge("port", p, false, from, from+9*time.Hour) // 80 an hour more on each
	}
	return s
}

// everythingScene is three hours with one of everything.
func everythingScene() Scene {
	s := base("", 0, 3*time.Hour)
	for _, part := range []Scene{infectedScene(), floodScene(), reflectionScene(), toolScene(), udpScene(), verticalScene(), ipv6Scene(), brokenScene(), darkHostScene(), forgedScene()} {
		for _, a := range part.Actors {
			switch f := a.(type) {
			case Crowd:
				if !f.IPv6 {
					continue // one background is enough
				}
			case Fragments:
				f.Source = ip("198.51.100.253") // not that of a victim
				a = f
			case Flood:
				if f.Victim == ip("198.51.100.10") && f.Retransmit == 0 {
					continue // a flood of the dark-host scene, on a victim that has one
				}
			}
			s.Actors = append(s.Actors, a)
		}
	}
	s.Actors = append(s.Actors,
		background(6000, 15),
		Flood{Victim: host("203.0.113.", 80), Port: 443, Reply: ReplySynAck, Retransmit: 5, Pace: PerSecond(2), Span: Span{From: 150 * time.Minute, For: 20 * time.Minute}},
	)
	return s
}

// Autumn2016 is the demo's scene: a day that stands for September and October
// of 2016, when Mirai made 23 and 2323/TCP rise. About 2.1 million packets to
// 65,536 dark addresses and an IPv6 /48.
func Autumn2016(seed uint64) Scene {
	s := base(autumn, seed, day)
	s.Start = time.Date(2016, 10, 6, 0, 0, 0, 0, time.UTC)
	growth := Growth(20, 4*time.Hour) // 2 % of the bots at midnight, all of them at half past ten at night
	rise := PerSecond(45)
	rise.Shape = growth
	s.Actors = []Actor{
		Crowd{Size: 26000, Alive: growth, Ports: MiraiPorts(), Mixed: true, Form: FormMirai, Role: RoleBot, Pace: rise},
		background(20000, 6),
		Murmur{Hosts: 3000, Ports: TCP(80, 443, 22, 25565, 6667), Pace: PerSecond(0.7)},
	}
	s.Actors = append(s.Actors, autumnProbers()...)
	s.Actors = append(s.Actors, autumnOwn()...)
	s.Actors = append(s.Actors, autumnFloods()...)
	s.surge("port", "2323/tcp", false, 8*time.Hour, day)
	s.surge("port", "23/tcp", false, 8*time.Hour, day)
	return s
}

// autumnProbers are the scanners with an address of their own: research by ZMap
// and others by the tools of the time.
func autumnProbers() []Actor {
	var a []Actor
	for i, port := range []uint16{443, 80, 22, 21, 25, 102} {
		a = append(a, Scan{
			Source: host("192.0.2.", 5+i), Form: FormZMapOld, Aim: AimOnce, Ports: TCP(port), Role: RoleResearch, Limit: 15000,
			Pace: PerSecond(1.2), Span: Span{From: time.Duration(i*3) * time.Hour},
		})
	}
	a = append(a,
		Scan{Source: ip("192.0.2.20"), Form: FormUDP, Ports: TCP(portNTP, portDNS), Role: RoleResearch, Pace: PerSecond(0.3)},
		Scan{Source: ip("198.51.100.31"), Form: FormMasscanOld, Ports: TCP(3389), Pace: PerSecond(0.5), Span: Span{From: 2 * time.Hour, For: 9 * time.Hour}},
		Scan{Source: ip("198.51.100.32"), Form: FormMasscanOld, Ports: TCP(6379, 27017, 9200), Pace: PerSecond(0.3), Span: Span{From: 12 * time.Hour}},
		Scan{Source: ip("198.51.100.33"), Form: FormZMapOld, Aim: AimOnce, Ports: TCP(7547), Pace: PerSecond(0.6), Span: Span{From: 5 * time.Hour, For: 12 * time.Hour}},
		Scan{Source: ip("198.51.100.34"), Form: FormNmap, Aim: AimSweep, Ports: TCP(22), Pace: PerSecond(0.2)},
		Scan{Source: ip("198.51.100.35"), Form: FormHping3, Aim: AimSweep, Ports: TCP(80), Pace: PerSecond(0.2), Span: Span{From: 7 * time.Hour, For: 3 * time.Hour}},
		Scan{Source: ip("198.51.100.36"), Form: FormUDP, Ports: TCP(portSIP), Pace: PerSecond(0.2)},
		Scan{Source: ip("198.51.100.37"), Form: FormEcho, Aim: AimSweep, Ports: TCP(0), Pace: PerSecond(0.3)},
		Scan{Source: ip("198.51.100.38"), Form: FormNmap, Aim: AimGiven, Targets: ips("198.18.3.3"), Vertical: 1000, Limit: 1000, Role: RoleVertical, Pace: PerSecond(5), Span: Span{From: 13 * time.Hour}},
		Scan{Source: ip("2001:db8:5ca::1"), Form: FormLinux, Aim: AimLikely6, Ports: TCP(22, 80, 443), Pace: PerSecond(0.1)},
		Scan{Source: ip("2001:db8:5ca::2"), Form: FormEcho, Aim: AimLikely6, Ports: TCP(0), Pace: PerSecond(0.05)},
		Crowd{Size: 40, Ports: TCP(22, 80, 443), IPv6: true, Pace: PerHour(200)},
		Forged{Form: FormIrregular, Ports: TCP(80), OwnPer: 1, Pace: PerSecond(2), Span: Span{From: 16 * time.Hour, For: time.Hour}},
	)
	for i := range 4 {
		a = append(a, Scan{
			Source: host("198.51.100.", 80+i), Form: FormLinux, Ports: TCP(22, 3389)[i%2 : i%2+1], Role: RoleSlow,
			Pace: Pace{Every: 20 * time.Minute, Most: 60 * time.Minute},
		})
	}
	return a
}

// autumnOwn are the operator's own subscribers: twelve infected, the later ones
// when the rise is steep, and the innocent.
func autumnOwn() []Actor {
	a := innocents()
	hours := [12]int{1, 4, 7, 9, 11, 13, 14, 15, 16, 17, 18, 19}
	for i, hour := range hours {
		bot := Scan{
			Source: host("203.0.113.", 11+3*i), Form: FormMirai, Ports: MiraiPorts(), Role: RoleBot, Pace: PerHour(20 + 9*float64(i%5)),
			Span: Span{From: time.Duration(hour) * time.Hour},
		}
		switch i {
		case 3:
			bot.Form, bot.Ports = FormLinux, TCP(23)
		case 7:
			bot.Form, bot.Ports = FormLinux, TCP(5358, 6789)
		case 9:
			bot.Ports = TCP(7547)
		}
		a = append(a, bot)
	}
	return a
}

// autumnFloods are three floods of different size (the smallest on an own
// subscriber), reflections, and what else makes dark space less than dark.
func autumnFloods() []Actor {
	return []Actor{
		Flood{Victim: ip("198.51.100.10"), Port: 80, Reply: ReplySynAck, Retransmit: 2, Pace: PerSecond(12), Span: Span{From: 9*time.Hour + 20*time.Minute, For: 40 * time.Minute}},
		Flood{Victim: ip("198.51.100.53"), Port: portDNS, Reply: ReplyService, Pace: PerSecond(4), Span: Span{From: 11*time.Hour + 5*time.Minute, For: 90 * time.Minute}},
		Flood{Victim: host("203.0.113.", 80), Port: 443, Reply: ReplyRst, Pace: PerSecond(0.9), Span: Span{From: 20 * time.Hour, For: 25 * time.Minute}},
		Flood{Victim: ip("2001:db8:bad::80"), Port: 443, Reply: ReplySynAck, Pace: PerHour(300), Span: Span{From: 6 * time.Hour, For: 2 * time.Hour}},
		Reflection{Service: portNTP, Reflectors: 80, Target: ip("198.18.7.7"), Pace: PerSecond(3), Span: Span{From: 14 * time.Hour, For: 40 * time.Minute}},
		Reflection{Service: portSSDP, Reflectors: 300, Pace: PerSecond(0.3)},
		DarkHost{Address: ip("198.18.77.5"), Peer: ip("198.51.100.200"), Port: 443, Pace: PerHour(20)},
		Fragments{Source: ip("198.51.100.253"), Pace: PerHour(20)},
		Corrupt{Pace: PerHour(10)},
		Bystander{Source: ip("192.0.2.133"), Target: ip("203.0.113.200"), Pace: PerHour(60)},
	}
}
