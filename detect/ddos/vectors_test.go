package ddos_test

import (
	"net/netip"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
)

// Every vector of the table is found within two seconds, and called by its name.
func TestVectors(t *testing.T) {
	t.Parallel()
	tcp := func(fl packet.TCPFlags) observe.Flow {
		return observe.Flow{Proto: packet.TCP, DstPort: 443, TCPFlags: fl}
	}
	udp := func(src uint16) observe.Flow { return observe.Flow{Proto: packet.UDP, SrcPort: src} }
	type test struct {
		name    string
		flow    observe.Flow
		size    int
		sources int
		pps     int
	}
	tests := []test{
		{"syn", tcp(packet.SYN), 40, 0, 2200},
		{"syn-ack-reflection", observe.Flow{Proto: packet.TCP, SrcPort: 443, DstPort: 40000, TCPFlags: packet.SYN | packet.ACK}, 44, 8000, 2200},
		{"ack", tcp(packet.ACK), 40, 0, 2200},
		{"rst", tcp(packet.RST), 40, 0, 2200},
		{"tcp", tcp(packet.PSH | packet.ACK), 500, 3000, 2200},
		{"tcp-flags", tcp(packet.FIN | packet.PSH | packet.URG), 40, 0, 2200},
		{"udp", observe.Flow{Proto: packet.UDP, DstPort: 9}, 540, 4000, 2200},
		{"icmp", observe.Flow{Proto: packet.ICMP, DstPort: 8 << 8}, 84, 3000, 2200},
		{"fragments", observe.Flow{Proto: packet.UDP, Marks: observe.FlowFragment}, 1500, 2000, 2200},
		{"gre", observe.Flow{Proto: 47}, 540, 5000, 2200},
		{"ip", observe.Flow{Proto: 99}, 540, 5000, 2200},
		{"connections", tcp(packet.SYN), 60, 9000, 1100},
		{"dns-queries", observe.Flow{Proto: packet.UDP, DstPort: 53}, 70, 900, 2200},
		{"ike-amplification", udp(4500), 246, 2767, 2200},
		{"ike-amplification", udp(500), 246, 2767, 2200},
	}
	for _, p := range ddos.Reflectors() {
		tests = append(tests, test{p.Name, udp(p.Port), int(p.Size) + 20, 900, 2200})
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ddos.Config{})
			r.run(onset+4, func(s int) {
				r.town()
				if s >= onset {
					r.hits(x.pps, x.flow, x.size, x.sources)
				}
			})
			a := r.said.one(t)
			if a.Object.Prefix.Addr() != victim.Netip() || a.Direction != detect.Incoming {
				t.Errorf("the attack is on %v", a.Object)
			}
			if len(a.Vectors) == 0 || a.Vectors[0].Name != x.name || a.Vectors[0].Share < 0.95 {
				t.Errorf("it is called %+v", a.Vectors)
			}
			if delay(&a) > 2*time.Second {
				t.Errorf("it took %v", delay(&a))
			}
			if got, want := a.Packets.N, float64(x.pps)*float64(a.Changed.Unix()-start-onset); got < want*0.99 || got > want*1.01 {
				t.Errorf("%v packets were counted, %v were sent", got, want)
			}
			if len(a.Sample) == 0 || len(a.Sources.Networks) == 0 || len(a.Ingress) == 0 {
				t.Errorf("%d samples, %d networks, %d interfaces", len(a.Sample), len(a.Sources.Networks), len(a.Ingress))
			}
			if a.Confidence < 0.8 || a.Title.JA == "" || a.Why.JA == "" {
				t.Errorf("confidence %v: %s", a.Confidence, describe(&a))
			}
		})
	}
}

// Several vectors at once are one attack, each with its share, and fragments belong to
// what they came with.
func TestMixed(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	r.run(onset+5, func(s int) {
		r.town()
		if s >= onset {
			r.hits(1200, observe.Flow{Proto: packet.UDP, SrcPort: 53}, 1500, 2000)
			r.hits(600, observe.Flow{Proto: packet.UDP, Marks: observe.FlowFragment}, 1200, 2000)
			r.hits(1200, observe.Flow{Proto: packet.TCP, DstPort: 80, TCPFlags: packet.SYN}, 40, 0)
		}
	})
	a := r.said.one(t)
	if len(a.Vectors) != 2 || a.Vectors[0].Name != "dns-amplification" || a.Vectors[1].Name != "syn" {
		t.Fatalf("vectors %+v", a.Vectors)
	}
	if s := a.Vectors[0].Share; s < 0.58 || s > 0.62 {
		t.Errorf("share of DNS and its fragments %v, want 0.6", s)
	}
}

// A prefix that is hit all over is one attack, none of whose addresses is over its line.
func TestCarpet(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		prefix string
		hosts  int
	}{{"203.0.113.0/24", 256}, {"203.0.112.0/22", 1024}, {"2001:db8:0:7::/64", 5000}} {
		t.Run(x.prefix, func(t *testing.T) {
			t.Parallel()
			p := netip.MustParsePrefix(x.prefix)
			r := newRig(t, ddos.Config{})
			base := packet.FromNetip(p.Addr())
			r.run(onset+4, func(s int) {
				r.town()
				for k := range 15000 {
					if s < onset {
						break
					}
					dst := base
					dst.Lo += uint64(k % x.hosts)
					r.flow(observe.Flow{Src: outside(1000 + k%3000), Dst: dst, Proto: packet.UDP, SrcPort: 123, DstPort: 80, Packets: 1, Bytes: 468})
				}
			})
			a := r.said.one(t)
			if a.Object.Kind != detect.PrefixObject || a.Object.Prefix != p || a.Vectors[0].Name != "ntp-amplification" {
				t.Errorf("%v: %s", a.Object, describe(&a))
			}
			if n := a.Targets; float64(n.N) < 0.95*float64(x.hosts)-n.Error || len(a.Hit) == 0 {
				t.Errorf("targets %v", n)
			}
			if delay(&a) > 2*time.Second {
				t.Errorf("it took %v", delay(&a))
			}
		})
	}
}

// Own addresses that take part in an attack elsewhere: told by its target, with all who
// take part, however little each sends.
func TestOutgoing(t *testing.T) {
	t.Parallel()
	for _, bots := range []int{1, 60} {
		r := newRig(t, ddos.Config{})
		target := packet.FromNetip(netip.MustParseAddr("198.51.100.9"))
		r.run(onset+4, func(s int) {
			r.town()
			for k := range 2400 {
				if s < onset {
					break
				}
				r.flow(observe.Flow{Src: packet.V4(0xcb007200 + uint32(k%bots)), Dst: target, Proto: packet.TCP, SrcPort: uint16(k), DstPort: 80, TCPFlags: packet.SYN, Packets: 1, Bytes: 60})
			}
		})
		a := r.said.one(t)
		if a.Direction != detect.Outgoing || a.Object.Prefix.Addr() != target.Netip() || a.Vectors[0].Name != "syn" || a.Sources.Own != bots {
			t.Errorf("%d bots: %v %s", bots, a.Object, describe(&a))
		}
		if p := r.d.Participants(); len(p) != bots || p[0].Target != "198.51.100.9" {
			t.Errorf("%d bots: %d take part", bots, len(p))
		}
	}
}

// Random names of one zone: the queries are answered, and are a flood all the same.
func TestWaterTorture(t *testing.T) {
	t.Parallel()
	for _, names := range []bool{true, false} {
		r := newRig(t, ddos.Config{})
		r.run(onset+5, func(s int) {
			r.town()
			if s < onset {
				return
			}
			if names {
				r.d.Names("example.jp", 2400, 2450, time.Unix(r.now, 0))
			}
			for k := range 2500 {
				peer := outside(1000 + k%900)
				r.flow(observe.Flow{Src: peer, Dst: victim, Proto: packet.UDP, SrcPort: 4000, DstPort: 53, Packets: 1, Bytes: 70})
				r.flow(observe.Flow{Src: victim, Dst: peer, Proto: packet.UDP, SrcPort: 53, DstPort: 4000, Packets: 1, Bytes: 130})
			}
		})
		if !names {
			r.said.none(t)
			continue
		}
		a := r.said.one(t)
		if a.Vectors[0].Name != "dns-water-torture" || len(a.Witnesses) != 2 {
			t.Errorf("%v %s", a.Witnesses, describe(&a))
		}
	}
}
