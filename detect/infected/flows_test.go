package infected_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/infected"
	"sakimori/observe"
)

// street is what exporters tell of some own addresses, in order of time.
type street struct {
	r    *rand.Rand
	list []observe.Flow
}

func newStreet(seed uint64) *street { return &street{r: rand.New(rand.NewPCG(seed, 11))} }

var homes = netip.MustParsePrefix("203.0.113.0/24")

// stranger is the n-th of many addresses all over the Internet.
func stranger(n int) string {
	x := uint32(n) * 2654435761
	return fmt.Sprintf("%d.%d.%d.%d", 20+x>>24%100, x>>16&255, x>>8&255, 1+x%250)
}

// flow puts one in, so many seconds after start.
func (s *street) flow(src, dst string, from, to uint16, proto uint8, flags packet.TCPFlags, second float64, change ...func(*observe.Flow)) {
	at := start.UnixNano() + int64(second*1e9)
	f := observe.Flow{
		Src: packet.FromNetip(netip.MustParseAddr(src)), Dst: packet.FromNetip(netip.MustParseAddr(dst)), SrcPort: from, DstPort: to, Proto: proto, TCPFlags: flags,
		First: at, Last: at + int64(time.Millisecond), Packets: 1, Seen: 1, Rate: 1, Bytes: 60, Exporter: 1,
	}
	if flags&packet.PSH != 0 {
		f.Packets, f.Seen, f.Bytes = 12, 12, 4000
	}
	for _, c := range change {
		c(&f)
	}
	s.list = append(s.list, f)
}

const data = packet.SYN | packet.ACK | packet.PSH | packet.FIN

// fails is a connection of which nothing came; meets is one that came about.
func (s *street) fails(src, dst string, port uint16, second float64, change ...func(*observe.Flow)) {
	s.flow(src, dst, s.high(), port, packet.TCP, packet.SYN, second, change...)
}

func (s *street) meets(src, dst string, port uint16, second float64) {
	from := s.high()
	s.flow(src, dst, from, port, packet.TCP, data, second)
	s.flow(dst, src, port, from, packet.TCP, data, second+0.05)
}

func (s *street) high() uint16 { return uint16(32768 + s.r.IntN(28000)) }

// page is a household that reads pages: names, QUIC, TCP, and a server now and then that
// isn't there.
func (s *street) page(src string, from, to float64) {
	for at := from; at < to; at += 1 + 4*s.r.ExpFloat64() {
		n := s.r.IntN(3000)
		port := s.high()
		s.flow(src, "192.0.2.53", port, 53, packet.UDP, 0, at)
		s.flow("192.0.2.53", src, 53, port, packet.UDP, 0, at+0.01)
		switch s.r.IntN(20) {
		case 0:
			s.fails(src, stranger(n), 443, at+0.02)
		case 1:
			s.flow(src, stranger(n), s.high(), 443, packet.TCP, packet.SYN|packet.RST, at+0.02) // the slower of two
		default:
			s.meets(src, stranger(n), 443, at+0.02)
		}
	}
}

// judged gives what is said of a scene: every version of every finding, and what stands
// at the end.
func judged(t testing.TB, cfg infected.FlowsConfig, ports infected.FlowsPorts, list []observe.Flow) ([]detect.Finding, []infected.Found) {
	t.Helper()
	cfg.Own = append(cfg.Own, homes, netip.MustParsePrefix("2001:db8:1::/48"))
	log := &versions{}
	d := infected.NewFlows(cfg, ports, log)
	slices.SortStableFunc(list, func(a, b observe.Flow) int { return cmp.Compare(a.Last, b.Last) })
	d.Take(list)
	d.Finish()
	return log.list, d.Found()
}

// versions keeps what it is told.
type versions struct{ list []detect.Finding }

func (v *versions) Find(f detect.Finding) { v.list = append(v.list, f) }

const bot = "203.0.113.66"

// TestFlowScans: whoever fails on 25 addresses of a port within five minutes is found,
// with port, targets and reason; also where the answers are refusals, by IPv6, by
// records of a second, and by samples.
func TestFlowScans(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		play    func(s *street)
		ports   []uint16
		targets uint64
		address string
	}{
		"telnet, nobody answers": {func(s *street) {
			for i := range 25 {
				s.fails(bot, stranger(i), 23, float64(i)*11)
			}
		}, []uint16{23}, 25, bot},
		"two ports, thousands": {func(s *street) {
			for i := range 4000 {
				port := uint16(23)
				if i%10 == 0 {
					port = 2323
				}
				s.fails(bot, stranger(i), port, float64(i)/10)
			}
		}, []uint16{23, 2323}, 4000, bot},
		"more at once than are followed": {func(s *street) {
			for i := range 4000 {
				s.fails(bot, stranger(i), 23, float64(i)/100)
			}
		}, []uint16{23}, 4000, bot},
		"some are refused, a few answer": {func(s *street) {
			for i := range 60 {
				port := s.high()
				at := float64(i)
				switch {
				case i%3 == 0:
					s.flow(bot, stranger(i), port, 445, packet.TCP, packet.SYN, at)
					s.flow(stranger(i), bot, 445, port, packet.TCP, packet.RST|packet.ACK, at+0.1)
				case i%20 == 7:
					s.meets(bot, stranger(i), 445, at)
				default:
					s.flow(bot, stranger(i), port, 445, packet.TCP, packet.SYN, at, func(f *observe.Flow) { f.Packets, f.Bytes, f.Last = 3, 180, f.Last+3e9 })
				}
			}
		}, []uint16{445}, 58, bot},
		"a household with a bot that reads pages too": {func(s *street) {
			s.page(bot, 0, 300)
			for i := range 200 {
				s.fails(bot, stranger(10_000+i), 5555, float64(i))
			}
		}, []uint16{5555}, 200, bot},
		"the web's port, by a device that works": {func(s *street) {
			s.fails(bot, stranger(5), 6667, 0)
			s.meets(bot, "198.51.100.6", 6667, 1)
			for i := range 200 {
				s.fails(bot, stranger(i), 80, 2+float64(i))
				if i%30 == 0 {
					s.meets(bot, "198.51.100.6", 6667, 2+float64(i))
				}
			}
		}, []uint16{80}, 200, bot},
		"IPv6": {func(s *street) {
			for i := range 40 {
				s.fails("2001:db8:1::66", fmt.Sprintf("2600:%x::1", i+1), 23, float64(i))
			}
		}, []uint16{23}, 40, "2001:db8:1::66"},
		"sampled": {func(s *street) {
			for i := range 100 {
				s.fails(bot, stranger(i), 23, float64(3*i), func(f *observe.Flow) { f.Rate, f.Packets, f.Bytes = 1000, 1000, 60_000; f.Marks |= observe.FlowSample })
			}
		}, []uint16{23}, 100, bot},
		"a network is swept": {func(s *street) {
			for i := range 60 {
				s.fails(bot, fmt.Sprintf("198.51.100.%d", i+1), 22, float64(i)*2)
			}
		}, []uint16{22}, 60, bot},
		"UDP of which nothing comes": {func(s *street) {
			s.page(bot, 0, 100)
			s.flow(bot, stranger(9000), 4000, 1434, packet.UDP, 0, 0)
			for i := range 100 {
				s.flow(bot, stranger(i), 4000, 1434, packet.UDP, 0, float64(i)+1)
			}
		}, []uint16{1434}, 101, bot},
	} {
		s := newStreet(1)
		c.play(s)
		log, found := judged(t, infected.FlowsConfig{}, infected.FlowsPorts{}, s.list)
		if len(found) != 1 || found[0].Address.String() != c.address || found[0].Reason != "scan" || !slices.Equal(found[0].Ports, c.ports) {
			t.Errorf("%s: found %v", name, found)
			continue
		}
		if off := float64(found[0].Targets) - float64(c.targets); off > 0.08*float64(c.targets) || off < -0.08*float64(c.targets) || c.targets <= 128 && off != 0 {
			t.Errorf("%s: %d targets of %d", name, found[0].Targets, c.targets)
		}
		f := log[len(log)-1]
		if f.Detector != "infected" || f.Subject != c.address || f.Title.JA == "" || f.Title.EN == "" || f.Why.JA == "" || f.Confidence < 0.6 || f.Confidence > 0.95 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// innocents are scenes of which nothing may be said.
var innocents = map[string]func(s *street){
	"24 addresses are no scan": func(s *street) {
		for i := range 24 {
			s.fails(bot, stranger(i), 23, float64(i))
		}
	},
	"25 in ten minutes are none": func(s *street) {
		for i := range 50 {
			s.fails(bot, stranger(i), 23, float64(i)*13)
		}
	},
	"one that is tried again and again": func(s *street) {
		for i := range 500 {
			s.fails(bot, stranger(i%3), 23, float64(i))
		}
	},
	"readers of pages": func(s *street) {
		for i := range 5 {
			s.page(fmt.Sprintf("203.0.113.%d", 10+i), 0, 900)
		}
	},
	"happy eyeballs on a line without IPv6": func(s *street) {
		for i := range 200 {
			s.fails("2001:db8:1::7", fmt.Sprintf("2600:%x::1", i+1), 443, float64(i))
			s.meets("203.0.113.7", stranger(i), 443, float64(i)+0.3)
		}
	},
	"QUIC that a firewall holds": func(s *street) {
		s.page(bot, 0, 60)
		for i := range 200 {
			s.flow(bot, stranger(i), s.high(), 443, packet.UDP, 0, float64(i))
			s.meets(bot, stranger(i), 443, float64(i)+0.3)
		}
	},
	"BitTorrent": func(s *street) {
		for i := range 3000 {
			port := uint16(1024 + s.r.IntN(60_000))
			switch s.r.IntN(6) {
			case 0:
				port = 51413
			case 1:
				port = 6881
			case 2:
				port = 12345 // of one program's fashion
			}
			at := float64(i) / 5
			switch s.r.IntN(4) {
			case 0:
				s.meets(bot, stranger(i), port, at)
			case 1:
				s.flow(bot, stranger(i), 51413, port, packet.UDP, 0, at)
			default:
				s.fails(bot, stranger(i), port, at)
			}
		}
	},
	"a Bitcoin node that starts": func(s *street) {
		for i := range 120 {
			if i%20 == 0 {
				s.meets(bot, stranger(i), 8333, float64(i))
			} else {
				s.fails(bot, stranger(i), 8333, float64(i))
			}
		}
	},
	"a lobby of which most have gone": func(s *street) {
		for i := range 200 {
			if i%5 == 0 {
				s.meets(bot, stranger(i), 7777, float64(i))
			} else {
				s.fails(bot, stranger(i), 7777, float64(i))
			}
		}
	},
	"a list of mail servers, most of them dead": func(s *street) {
		for i := range 240 {
			if i%14 == 0 {
				s.meets(bot, stranger(i), 25, float64(i))
			} else {
				s.fails(bot, stranger(i), 25, float64(i))
			}
		}
	},
	"peers on many ports, and on one that a program likes": func(s *street) {
		for i := range 90 {
			s.fails(bot, stranger(i), uint16(2000+i*31), float64(i)*2)
			s.fails(bot, stranger(1000+i), 12345, float64(i)*2)
		}
	},
	"the same by UDP": func(s *street) {
		s.page(bot, 0, 200)
		for i := range 180 {
			s.flow(bot, stranger(i), 12345, uint16(2000+i*31), packet.UDP, 0, float64(i))
			s.flow(bot, stranger(1000+i), 12345, 12345, packet.UDP, 0, float64(i))
		}
	},
	"answers that come in a moment": func(s *street) {
		s.fails(bot, stranger(500), 7777, 0)
		for i := range 40 {
			port := s.high()
			s.flow(bot, stranger(i), port, 7777, packet.TCP, packet.SYN, 69+float64(i)/50)
			s.flow(stranger(i), bot, 7777, port, packet.TCP, packet.SYN|packet.ACK, 70.5+float64(i)/50)
		}
	},
	"a server of games, asked once by each": func(s *street) {
		s.page(bot, 0, 200)
		for i := range 400 {
			s.flow(stranger(i), bot, 27005, 27015, packet.UDP, 0, float64(i)/2)
			s.flow(bot, stranger(i), 27015, 27005, packet.UDP, 0, float64(i)/2+0.01)
		}
	},
	"a server whose port is low": func(s *street) {
		s.page(bot, 0, 200)
		for i := range 400 {
			s.flow(bot, stranger(i), 69, 2048, packet.UDP, 0, float64(i)/2+0.01)
		}
	},
	"UDP, sampled": func(s *street) {
		s.page(bot, 0, 200)
		for i := range 400 {
			s.flow(bot, stranger(i), 4000, 1434, packet.UDP, 0, float64(i)/2, func(f *observe.Flow) { f.Rate = 100 })
		}
	},
	"an exporter that tells the first packet's flags": func(s *street) {
		for i := range 400 {
			s.fails(bot, stranger(i), 8090, float64(i)/2, func(f *observe.Flow) { f.Packets, f.Seen, f.Bytes = 200, 200, 10_400 })
			s.fails(bot, stranger(i), 8091, float64(i)/2, func(f *observe.Flow) { f.Packets, f.Seen, f.Bytes = 6, 6, 560 })
		}
	},
	"a resolver": func(s *street) {
		for i := range 3000 {
			from := s.high()
			s.flow(bot, stranger(i), from, 53, packet.UDP, 0, float64(i)/10)
			if i%4 != 0 {
				s.flow(stranger(i), bot, 53, from, packet.UDP, 0, float64(i)/10+0.02)
			}
			if i%50 == 0 {
				s.fails(bot, stranger(i), 53, float64(i)/10)
			}
		}
	},
	"a server of names and time": func(s *street) {
		for i := range 3000 {
			from, to := uint16(53), s.high()
			if i%2 == 0 {
				from, to = 123, 123
			}
			s.flow(stranger(i), bot, to, from, packet.UDP, 0, float64(i)/10)
			s.flow(bot, stranger(i), from, to, packet.UDP, 0, float64(i)/10+0.02)
		}
	},
	"a mail server": func(s *street) {
		for i := range 400 {
			if i%3 == 0 {
				s.fails(bot, stranger(i), 25, float64(i))
			} else {
				s.meets(bot, stranger(i), 25, float64(i))
			}
		}
	},
	"a monitor with a few that are down": func(s *street) {
		for round := range 20 {
			for i := range 300 {
				at := float64(round*30) + float64(i)/20
				if i < 28 {
					s.fails(bot, stranger(i), 5666, at)
				} else {
					s.meets(bot, stranger(i), 5666, at)
				}
			}
		}
	},
	"a victim whose answers go to everybody": func(s *street) {
		for i := range 5000 {
			flags := packet.SYN | packet.ACK
			if i%3 == 0 {
				flags = packet.RST | packet.ACK
			}
			s.flow(stranger(i), bot, s.high(), 80, packet.TCP, packet.SYN, float64(i)/20)
			s.flow(bot, stranger(i), 80, uint16(1024+i%3), packet.TCP, flags, float64(i)/20)
		}
	},
	"a victim that is scanned": func(s *street) {
		for i := range 500 {
			s.fails(stranger(i), bot, 23, float64(i)/2)
			s.flow(bot, stranger(i), 23, 40000, packet.TCP, packet.RST|packet.ACK, float64(i)/2)
		}
	},
	"an unlucky cloud": func(s *street) { // one service, many addresses of a few networks, down
		s.fails(bot, stranger(1), 6667, 0)
		s.meets(bot, "198.51.100.6", 6667, 0)
		for i := range 200 {
			s.fails(bot, fmt.Sprintf("52.%d.%d.%d", i%8, i, i), 8883, float64(i))
		}
	},
	"an uplink that fails": func(s *street) {
		s.page(bot, 0, 300)
		for i := range 400 {
			s.fails(bot, stranger(i), 443, 300+float64(i))
			s.flow(bot, stranger(1), 40000, 443, packet.TCP, packet.ACK|packet.PSH, 300+float64(i)) // again, and not heard
		}
	},
	"a vendor whose service is down": func(s *street) {
		s.page(bot, 0, 300)
		for i := range 300 {
			s.fails(bot, fmt.Sprintf("52.%d.%d.%d", i%8, i%251, i%7), 8801, float64(i))
		}
	},
	"a balancer's checks, some of which fail": func(s *street) {
		for i := range 2000 {
			n, port, at := i%200, s.high(), float64(i)/5
			if n < 40 {
				s.fails(bot, stranger(n), 9200, at)
				continue
			}
			s.flow(bot, stranger(n), port, 9200, packet.TCP, packet.SYN|packet.ACK|packet.RST, at)
			s.flow(stranger(n), bot, 9200, port, packet.TCP, packet.SYN|packet.ACK, at)
		}
	},
	"an asker that hangs up": func(s *street) {
		for i := range 400 {
			port := s.high()
			s.flow(bot, stranger(i), port, 8090, packet.TCP, packet.SYN, float64(i))
			s.flow(stranger(i), bot, 8090, port, packet.TCP, packet.SYN|packet.ACK, float64(i)+0.1)
			s.flow(bot, stranger(i), port, 8090, packet.TCP, packet.RST, float64(i)+0.2)
		}
	},
	"a speed test": func(s *street) {
		for i := range 200 {
			s.meets(bot, stranger(i%4), 8080, float64(i))
			s.fails(bot, stranger(i%4), 8080, float64(i))
		}
	},
	"Windows that asks visitors for their names": func(s *street) {
		s.page(bot, 0, 100)
		for i := range 500 {
			s.flow(bot, stranger(i), 137, 137, packet.UDP, 0, float64(i))
		}
	},
	"UDP where answers can't be seen": func(s *street) {
		for i := range 500 {
			s.flow(bot, stranger(i), 4000, 1434, packet.UDP, 0, float64(i))
		}
	},
	"an exporter without flags": func(s *street) {
		for i := range 500 {
			s.flow(bot, stranger(i), s.high(), 23, packet.TCP, 0, float64(i))
			s.flow(bot, stranger(i), s.high(), 2323, packet.TCP, packet.SYN, float64(i), func(f *observe.Flow) { f.Marks |= observe.FlowNoFlags })
		}
	},
	"somebody else's bot": func(s *street) {
		for i := range 500 {
			s.fails("198.51.100.66", stranger(i), 23, float64(i))
		}
	},
	"the operator's own scanner": func(s *street) {
		for i := range 500 {
			s.fails("203.0.113.250", stranger(i), 23, float64(i))
		}
	},
	"a short-lived crawler, sampled": func(s *street) {
		for i := range 4000 {
			flags := packet.ACK
			if i%5 == 0 {
				flags = packet.SYN
			}
			s.flow(bot, stranger(i), s.high(), 8080, packet.TCP, flags, float64(i)/20, func(f *observe.Flow) { f.Rate, f.Packets, f.Bytes, f.Marks = 100, 100, 6000, observe.FlowSample })
		}
	},
	"multicast": func(s *street) {
		s.page(bot, 0, 100)
		for i := range 300 {
			s.flow(bot, fmt.Sprintf("239.1.1.%d", i%250), 4000, 9000, packet.UDP, 0, float64(i))
		}
	},
}

// TestFlowInnocents: nobody is accused.
func TestFlowInnocents(t *testing.T) {
	t.Parallel()
	for name, play := range innocents {
		for _, cut := range []float64{0, 1} { // whole, and told second by second
			s := newStreet(2)
			play(s)
			if cut > 0 {
				s.list = seconds(s.list)
			}
			log, found := judged(t, infected.FlowsConfig{Exempt: []netip.Prefix{netip.MustParsePrefix("203.0.113.250/32")}}, infected.FlowsPorts{}, s.list)
			for _, f := range log {
				t.Errorf("%s: %s: %s", name, f.Title.EN, f.Why.EN)
			}
			if len(found) > 0 {
				t.Errorf("%s: %v", name, found)
			}
		}
	}
}

// seconds cuts a whole connection into its opening and what follows a second later, as a
// mirror that tells of each second does.
func seconds(list []observe.Flow) (cut []observe.Flow) {
	for _, f := range list {
		if f.Proto != packet.TCP || f.TCPFlags != data {
			cut = append(cut, f)
			continue
		}
		a, b := f, f
		a.Packets, a.Seen, a.Bytes = 1, 1, 60
		a.TCPFlags = packet.SYN
		if f.SrcPort < f.DstPort {
			a.TCPFlags = packet.SYN | packet.ACK
		}
		b.TCPFlags = data &^ packet.SYN
		b.First, b.Last = f.First+1e9, f.Last+1e9
		cut = append(cut, a, b)
	}
	return cut
}
