package mitigate

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
)

var (
	noon   = time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	victim = netip.MustParseAddr("203.0.113.7")
)

// part of some traffic: how many of 1000 samples, and what each is.
type mix map[int]func(r *rand.Rand) detect.Sample

func draw(seed uint64, m mix) (list []detect.Sample) {
	r := rand.New(rand.NewPCG(seed, 1))
	for n, one := range m {
		for range n {
			s := one(r)
			if !s.Dst.IsValid() {
				s.Dst = victim
			}
			if !s.Src.IsValid() {
				s.Src = anywhere(r)
			}
			s.Packets = 1000
			s.Bytes = 1000 * float64(s.Length)
			list = append(list, s)
		}
	}
	return list
}

func anywhere(r *rand.Rand) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0b000000+r.Uint32()%0x60000000)
	return netip.AddrFrom4(b)
}

func udp(sport, dport, least, most int) func(*rand.Rand) detect.Sample {
	return func(r *rand.Rand) detect.Sample {
		return detect.Sample{Proto: packet.UDP, SrcPort: port(r, sport), DstPort: port(r, dport), Length: uint16(least + r.IntN(most-least+1)), Single: true}
	}
}

func tcp(sport, dport int, f packet.TCPFlags, least, most int) func(*rand.Rand) detect.Sample {
	return func(r *rand.Rand) detect.Sample {
		s := udp(sport, dport, least, most)(r)
		s.Proto, s.Flags = packet.TCP, f
		return s
	}
}

// port of -1 is any of the high ones.
func port(r *rand.Rand, p int) uint16 {
	if p < 0 {
		return uint16(1024 + r.IntN(64000))
	}
	return uint16(p)
}

func later(least, most int) func(*rand.Rand) detect.Sample {
	return func(r *rand.Rand) detect.Sample {
		return detect.Sample{Proto: packet.UDP, Later: true, Length: uint16(least + r.IntN(most-least+1)), Single: true}
	}
}

// web is what is ordinary for a server of pages: what comes in to it.
func web(least, most int) []detect.Sample { return webOf(7, least, most) }

func webOf(seed uint64, least, most int) []detect.Sample {
	return draw(seed, mix{
		120: tcp(-1, 443, packet.SYN, least, most), 1400: tcp(-1, 443, packet.ACK, 40, 60), 400: tcp(-1, 443, packet.ACK|packet.PSH, 100, 1400),
		70: tcp(-1, 443, packet.ACK|packet.FIN, 40, 52), 5: udp(53, -1, 80, 400), 4: icmp(84),
	})
}

func attackOn(sample, ordinary []detect.Sample) *detect.Attack {
	const pps = 200_000
	var p, b float64
	for i := range sample {
		p, b = p+sample[i].Packets, b+sample[i].Bytes
	}
	rate := detect.Rate{Packets: detect.Measure{N: pps, Error: 4000}, Bits: detect.Measure{N: pps * 8 * b / p, Error: 1e6}}
	limit := detect.Rate{Packets: detect.Measure{N: 20_000}, Bits: detect.Measure{N: 200e6}}
	usual := detect.Rate{Packets: detect.Measure{N: 2000}, Bits: detect.Measure{N: 5e6}}
	return &detect.Attack{
		ID: "A-1", State: detect.Opened, Direction: detect.Incoming, Object: detect.Object{Kind: detect.AddressObject, Prefix: netip.PrefixFrom(victim, 32), Name: "shop"},
		Opened: noon, Detected: noon.Add(2 * time.Second), Changed: noon.Add(5 * time.Second), Now: rate, Peak: rate, Usual: &usual, Limit: limit,
		Sources: detect.Sources{Count: detect.Counted{N: 37623}}, Sample: sample, Ordinary: ordinary,
		Vectors: []detect.Vector{{Name: "v", Words: detect.Text{JA: "ベクトル", EN: "a vector"}, Share: 1}},
	}
}

func show(list []Proposal) string {
	var b strings.Builder
	for i := range list {
		p := &list[i]
		fmt.Fprintf(&b, "refused %v, stops %.3f-%.3f, collateral %.4f+%.4f of %d: %s\n", p.Refused, p.Stops.N, p.Stops.Error, p.Collateral.Share.N, p.Collateral.Share.Error, p.Collateral.Ordinary, p.Why.EN)
		for j := range p.Rules {
			fmt.Fprintf(&b, "    %s\n", p.Rules[j].String())
		}
		for _, a := range p.Alternatives {
			fmt.Fprintf(&b, "      alt %.100s: %s (collateral %.3f)\n", a.Text, a.Why.EN, a.Collateral.N)
		}
	}
	return b.String()
}

// scene is an attack whose truth is known: how it and what is ordinary are drawn.
type scene struct {
	attack   mix
	ordinary func(seed uint64) []detect.Sample
	change   func(a *detect.Attack)
	refused  bool
	rules    []string // parts of the rules of the first proposal, in order
}

// drawn makes it, each seed another sample of the same truth.
func (s *scene) drawn(seed uint64) *detect.Attack {
	var ordinary []detect.Sample
	if s.ordinary != nil {
		ordinary = s.ordinary(seed + 1000)
	} else {
		ordinary = webOf(seed+1000, 52, 60)
	}
	a := attackOn(draw(seed, s.attack), ordinary)
	if s.change != nil {
		s.change(a)
	}
	return a
}

func to(prefix string, one func(*rand.Rand) detect.Sample) func(*rand.Rand) detect.Sample {
	p := netip.MustParsePrefix(prefix)
	return func(r *rand.Rand) detect.Sample {
		s := one(r)
		b := p.Addr().AsSlice()
		b[len(b)-1] += byte(r.IntN(1 << min(8, p.Addr().BitLen()-p.Bits())))
		s.Dst, _ = netip.AddrFromSlice(b)
		return s
	}
}

func by(addrs []string, one func(*rand.Rand) detect.Sample) func(*rand.Rand) detect.Sample {
	return func(r *rand.Rand) detect.Sample {
		s := one(r)
		s.Src = netip.MustParseAddr(addrs[r.IntN(len(addrs))])
		return s
	}
}

func icmp(length int) func(*rand.Rand) detect.Sample {
	return func(*rand.Rand) detect.Sample {
		return detect.Sample{Proto: packet.ICMP, DstPort: 8 << 8, Length: uint16(length), Single: true}
	}
}

// flows are as NetFlow tells of them: the flags of all packets, the mean length.
func flows(list []detect.Sample) []detect.Sample {
	for i := range list {
		s := &list[i]
		if s.Single = false; s.Proto == packet.TCP {
			s.Flags, s.Length = packet.SYN|packet.ACK|packet.PSH|packet.FIN, 400
			s.Bytes = 400 * s.Packets
		}
	}
	return list
}

func scenes() map[string]scene {
	object := func(kind detect.ObjectKind, prefix string) func(*detect.Attack) {
		return func(a *detect.Attack) {
			a.Object = detect.Object{Kind: kind, Name: "shop"}
			if prefix != "" {
				a.Object.Prefix = netip.MustParsePrefix(prefix)
			}
		}
	}
	spread := func(m mix, prefix string) mix {
		out := mix{}
		for n, one := range m {
			out[n] = to(prefix, one)
		}
		return out
	}
	v6 := func(one func(*rand.Rand) detect.Sample) func(*rand.Rand) detect.Sample {
		return func(r *rand.Rand) detect.Sample {
			s := one(r)
			s.Src = netip.AddrFrom16([16]byte{0x24, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), 15: byte(r.Uint32())})
			s.Dst = netip.MustParseAddr("2001:db8::7")
			return s
		}
	}
	return map[string]scene{
		"DNS amplification": {attack: mix{600: udp(53, -1, 1300, 1500), 300: later(500, 1500)}, rules: []string{"protocol =17 source-port =53 packet-length >=1", "protocol =17 fragment =is-fragment"}},
		"NTP, memcached, SSDP": {attack: mix{400: udp(123, -1, 468, 468), 300: udp(11211, -1, 1400, 1428), 200: udp(1900, -1, 300, 360)}, rules: []string{
			"=123 packet-length =468", "=11211 packet-length", "=1900 packet-length",
		}},
		"SYN flood by a tool":     {attack: mix{900: tcp(-1, 443, packet.SYN, 40, 40)}, ordinary: func(seed uint64) []detect.Sample { return append(webOf(seed, 52, 60), webOf(seed+1, 52, 60)...) }, rules: []string{"destination-port =443 tcp-flags =syn&!fin+rst+psh+ack+urg packet-length =40"}},
		"SYN flood like ours":     {attack: mix{900: tcp(-1, 443, packet.SYN, 52, 60)}, refused: true},
		"SYN flood, flows":        {attack: mix{900: tcp(-1, 443, packet.SYN, 40, 40)}, ordinary: func(seed uint64) []detect.Sample { return flows(webOf(seed, 52, 60)) }, refused: true},
		"ACK flood":               {attack: mix{900: tcp(-1, 443, packet.ACK, 40, 60)}, refused: true},
		"SYN/ACK reflection":      {attack: mix{900: tcp(443, -1, packet.SYN|packet.ACK, 44, 44)}, rules: []string{"source-port =443 tcp-flags =syn+ack&!fin+rst+psh+urg packet-length =44"}},
		"UDP on any port":         {attack: mix{900: udp(-1, -1, 60, 1400)}, rules: []string{"match destination 203.0.113.7/32 protocol =17 then"}},
		"UDP on one port":         {attack: mix{900: udp(-1, 30120, 512, 512)}, rules: []string{"protocol =17 destination-port =30120 packet-length =512"}},
		"pings":                   {attack: mix{900: icmp(1028)}, rules: []string{"protocol =1 icmp-type =8 icmp-code =0 packet-length =1028"}},
		"GRE":                     {attack: mix{900: func(*rand.Rand) detect.Sample { return detect.Sample{Proto: 47, Length: 544, Single: true} }}, rules: []string{"protocol =47 packet-length =544"}},
		"several at once":         {attack: mix{500: udp(123, -1, 468, 468), 300: udp(-1, 80, 900, 1100), 100: icmp(1028)}, rules: []string{"=123", "=80", "icmp-type =8"}},
		"a few senders":           {attack: mix{900: by([]string{"198.51.100.7", "198.51.100.8", "192.0.2.9"}, udp(-1, 80, 60, 1400))}, change: func(a *detect.Attack) { a.Sources.Count.N = 3 }, rules: []string{"source ", "source ", "source "}},
		"carpet":                  {attack: spread(mix{900: udp(-1, -1, 60, 1400)}, "203.0.113.0/24"), ordinary: func(seed uint64) []detect.Sample { return move(webOf(seed, 52, 60), "203.0.113.0/24") }, change: object(detect.PrefixObject, "203.0.113.0/24"), rules: []string{"match destination 203.0.113.0/24 protocol =17 then"}},
		"carpet of a wide prefix": {attack: spread(mix{900: udp(19, -1, 60, 1400)}, "203.0.113.0/24"), ordinary: func(seed uint64) []detect.Sample { return move(webOf(seed, 52, 60), "203.0.113.0/24") }, change: object(detect.PrefixObject, "203.0.112.0/20"), rules: []string{"match destination 203.0.113.0/24 protocol =17 source-port =19"}},
		"customer":                {attack: mix{900: udp(123, -1, 468, 468)}, change: object(detect.CustomerObject, ""), rules: []string{"match destination 203.0.113.7/32 protocol =17 source-port =123"}},
		"IPv6":                    {attack: mix{900: v6(udp(53, -1, 1200, 1400))}, ordinary: func(uint64) []detect.Sample { return draw(5, mix{900: v6(tcp(-1, 443, packet.ACK, 60, 1400))}) }, change: object(detect.AddressObject, "2001:db8::7/128"), rules: []string{"match destination 2001:db8::7/128 protocol =17 source-port =53"}},
		"what goes out": {attack: mix{900: by([]string{"203.0.113.7"}, to("198.51.100.1/32", udp(-1, 80, 60, 1400)))}, change: func(a *detect.Attack) {
			a.Direction = detect.Outgoing
			for i := range a.Ordinary {
				a.Ordinary[i].Src, a.Ordinary[i].Dst = a.Ordinary[i].Dst, a.Ordinary[i].Src
			}
		}, rules: []string{"match destination 198.51.100.1/32 source 203.0.113.7/32 protocol =17 destination-port =80"}},
		"nothing ordinary known": {attack: mix{900: udp(123, -1, 468, 468)}, ordinary: func(uint64) []detect.Sample { return nil }, refused: true, rules: []string{"=123"}},
		"few samples":            {attack: mix{900: udp(123, -1, 468, 468)}, ordinary: func(seed uint64) []detect.Sample { return webOf(seed, 52, 60)[:40] }, refused: true},
	}
}

func move(list []detect.Sample, prefix string) []detect.Sample {
	r := rand.New(rand.NewPCG(3, 3))
	for i := range list {
		list[i].Dst = to(prefix, func(*rand.Rand) detect.Sample { return list[i] })(r).Dst
	}
	return list
}

// TestScenes: the first proposal is what an expert would write. Where it isn't refused it
// stops the chosen share of another sample of the same attack, too, and hits no more of
// another sample of what is ordinary than it says.
func TestScenes(t *testing.T) {
	t.Parallel()
	for name, s := range scenes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, other := s.drawn(1), s.drawn(2)
			list := Plan(a, Options{})
			p := &list[0]
			if p.Refused != s.refused || len(s.rules) > 0 && len(p.Rules) != len(s.rules) {
				t.Fatalf("%s", show(list))
			}
			for _, want := range s.rules {
				if !strings.Contains(join(p.Rules), want) {
					t.Errorf("no %q: %s", want, show(list))
				}
			}
			sc := scaleOf(a)
			for i := range list {
				p := &list[i]
				for j := range p.Rules {
					if err := p.Rules[j].Check(); err != nil {
						t.Errorf("%s: %v", p.Rules[j].String(), err)
					}
				}
				if p.Refused {
					continue
				}
				if p.Collateral.Upper() > 0.05 || !p.Collateral.Known || len(p.Alternatives) == 0 {
					t.Errorf("it isn't refused: %s", show(list))
				}
				got, again := stops(p.Rules, other.Sample, sc, 0).N, stops(p.Rules, a.Sample, sc, 0).N
				if got < again-0.03 {
					t.Errorf("stops %.3f of another sample, %.3f of its own: %s", got, again, show(list))
				}
				if hit, _ := collateral(p.Rules, other, sc); hit.N > p.Collateral.Upper() {
					t.Errorf("hits %.4f of another sample: %s", hit.N, show(list))
				}
			}
			if !s.refused && p.Stops.N < 0.95 {
				t.Errorf("stops too little: %s", show(list))
			}
		})
	}
}

func join(rules []Rule) string {
	var b strings.Builder
	for i := range rules {
		b.WriteString(rules[i].String() + "\n")
	}
	return b.String()
}

// TestBound: of many samples of what is ordinary, at least 95 in 100 give an upper bound
// that holds for the whole.
func TestBound(t *testing.T) {
	t.Parallel()
	const draws, n = 400, 300
	for _, truth := range []float64{0.01, 0.05, 0.3} {
		r := rand.New(rand.NewPCG(1, uint64(1000*truth)))
		low := 0
		for range draws {
			var s sum
			for range n {
				hit := part{}
				if r.Float64() < truth {
					hit = part{1, 1}
				}
				s.add(0.5+r.Float64(), hit) // unequal weights
			}
			if m := s.share(); m.N+m.Error < truth {
				low++
			}
		}
		if low > draws/20 {
			t.Errorf("of %g: %d of %d bounds are too low", truth, low, draws)
		}
	}
	for _, tt := range []struct{ mean, want float64 }{{100, 80.0 / 380}, {400, 1}, {1500, 0}, {1400, 100.0 / 900}} {
		if got := within(From(400, 600), tt.mean); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("of mean %g: %g, not %g", tt.mean, got, tt.want)
		}
	}
}

// TestLesser: where the whole is refused, the next narrower proposal stops less, hits no
// more than the limit, and says what was tried before it.
// TestRise: what rises without the form of an attack is filtered by nobody, though the same
// samples of an attack are.
func TestRise(t *testing.T) {
	t.Parallel()
	a := attackOn(draw(1, mix{900: udp(53, -1, 1300, 1500)}), web(52, 60))
	if list := Plan(a, Options{}); list[0].Refused {
		t.Fatalf("%s", show(list))
	}
	a.Severity = detect.Note
	if list := Plan(a, Options{Asked: true}); len(list) != 1 || !list[0].Refused || len(list[0].Rules) != 0 {
		t.Errorf("%s", show(list))
	}
}

func TestLesser(t *testing.T) {
	t.Parallel()
	a := attackOn(draw(1, mix{500: udp(123, -1, 468, 468), 499: tcp(-1, 443, packet.ACK, 40, 60)}), web(52, 60))
	list := Plan(a, Options{})
	if len(list) != 4 || !list[0].Refused || list[1].Refused || list[2].Refused || !list[3].Refused {
		t.Fatalf("%s", show(list))
	}
	narrow, limited := &list[1], &list[2]
	if len(narrow.Rules) != 1 || narrow.Stops.N < 0.45 || narrow.Stops.N > 0.6 {
		t.Errorf("%s", show(list))
	}
	if limited.Rules[1].Action != RateBytes || limited.Stops.N <= narrow.Stops.N || limited.Collateral.Upper() > 0.05 {
		t.Errorf("%s", show(list))
	}
	said := limited.Alternatives[len(limited.Alternatives)-1]
	if !strings.Contains(said.Why.EN, "more than 5.0 %") || said.Collateral.N < 0.5 {
		t.Errorf("%+v", said)
	}
	strict := Plan(a, Options{Limit: 0.001})
	for i := range strict {
		if !strict[i].Refused {
			t.Errorf("within 0.1 %%: %s", show(strict))
		}
	}
}

// TestBudget: where the forms are more than the rules that are allowed, rules become one
// that differ in their ports alone.
func TestBudget(t *testing.T) {
	t.Parallel()
	m := mix{}
	for i, p := range []int{17, 19, 53, 69, 111, 123, 161, 389, 1900, 11211} {
		m[60+i] = udp(p, -1, 100+90*i, 120+90*i)
	}
	a := attackOn(draw(1, m), web(52, 60))
	if p := Plan(a, Options{})[0]; len(p.Rules) < 9 || p.Refused {
		t.Errorf("%s", show([]Proposal{p}))
	}
	p := Plan(a, Options{Rules: 2})[0]
	if len(p.Rules) != 1 || p.Refused || p.Stops.N < 0.95 || len(p.Rules[0].Match.SrcPort) < 9 {
		t.Errorf("%s", show([]Proposal{p}))
	}
}

func BenchmarkPlan(b *testing.B) {
	s := scenes()["several at once"]
	a := s.drawn(1)
	for b.Loop() {
		Plan(a, Options{})
	}
}

// TestProtectedNeverProposed: what is protected is refused as a target, and spared as a
// source.
func TestProtectedNeverProposed(t *testing.T) {
	t.Parallel()
	a := attackOn(draw(1, mix{900: udp(53, -1, 1300, 1500)}), web(52, 60))
	list := Plan(a, Options{Protected: []Protected{{"119", Match{Dst: netip.MustParsePrefix("203.0.113.0/28")}}}})
	for i := range list {
		if !list[i].Refused || !strings.Contains(list[i].Why.EN, "119") {
			t.Errorf("%s", show(list))
		}
	}
	resolver := Match{Src: netip.MustParsePrefix("192.0.2.53/32"), Proto: Just(packet.UDP), SrcPort: Just(53)}
	list = Plan(a, Options{Protected: []Protected{{"our resolver", resolver}}})
	p := &list[0]
	if p.Refused || len(p.Rules) != 2 || p.Rules[0].Action != Pass || len(Touches(p.Rules, []Protected{{"our resolver", resolver}})) != 0 {
		t.Errorf("%s", show(list))
	}
	// A service of the victim itself.
	game := []Protected{{"the game", Match{Dst: netip.MustParsePrefix("203.0.113.0/24"), DstPort: Just(27015)}}}
	udpFlood := attackOn(draw(1, mix{900: udp(-1, -1, 60, 1400)}), web(52, 60))
	if p := Plan(udpFlood, Options{Protected: game})[0]; p.Refused || len(p.Rules) != 2 || p.Rules[0].String() != "match destination 203.0.113.7/32 protocol =17 destination-port =27015 then accept" {
		t.Errorf("%s", show([]Proposal{p}))
	}
	if last := list[len(list)-1]; !last.Refused || last.Rules[len(last.Rules)-1].Action != RTBH {
		t.Errorf("a route to discard by spares nobody: %s", show(list))
	}
	if once, again := show(Plan(a, Options{})), show(Plan(a, Options{})); once != again {
		t.Error("two plans of the same attack differ")
	}
}
