package mitigate

import (
	"encoding/binary"
	"fmt"
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
func web(least, most int) []detect.Sample {
	return draw(7, mix{
		120: tcp(-1, 443, packet.SYN, least, most), 1400: tcp(-1, 443, packet.ACK, 40, 60), 400: tcp(-1, 443, packet.ACK|packet.PSH, 100, 1400),
		70: tcp(-1, 443, packet.ACK|packet.FIN, 40, 52), 5: udp(53, -1, 80, 400), 4: func(*rand.Rand) detect.Sample {
			return detect.Sample{Proto: packet.ICMP, DstPort: 8 << 8, Length: 84, Single: true}
		},
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

func TestShow(t *testing.T) {
	icmp := func(*rand.Rand) detect.Sample {
		return detect.Sample{Proto: packet.ICMP, DstPort: 8 << 8, Length: 1028, Single: true}
	}
	for name, a := range map[string]*detect.Attack{
		"dns amp":       attackOn(draw(1, mix{600: udp(53, -1, 1300, 1500), 300: later(500, 1500), 10: tcp(-1, 443, packet.ACK, 40, 1400)}), web(52, 60)),
		"syn 40":        attackOn(draw(1, mix{900: tcp(-1, 443, packet.SYN, 40, 40), 9: tcp(-1, 443, packet.ACK, 40, 1400)}), web(52, 60)),
		"syn like ours": attackOn(draw(1, mix{900: tcp(-1, 443, packet.SYN, 52, 60)}), web(52, 60)),
		"udp random":    attackOn(draw(1, mix{900: udp(-1, -1, 60, 1400)}), web(52, 60)),
		"multi":         attackOn(draw(1, mix{500: udp(123, -1, 468, 468), 300: tcp(-1, 443, packet.SYN, 40, 40), 100: icmp}), web(52, 60)),
		"ack":           attackOn(draw(1, mix{900: tcp(-1, 443, packet.ACK, 40, 40)}), web(52, 60)),
		"half":          attackOn(draw(1, mix{500: udp(123, -1, 468, 468), 499: tcp(-1, 443, packet.ACK, 40, 60)}), web(52, 60)),
		"no ordinary":   attackOn(draw(1, mix{500: udp(123, -1, 468, 468)}), nil),
	} {
		t.Logf("%s\n%s", name, show(Plan(a, Options{})))
	}
}
