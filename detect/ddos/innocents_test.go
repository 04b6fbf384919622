package ddos_test

import (
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/detect/ddos"
	"sakimori/observe"
)

// Whoever is busy and attacks nobody isn't accused, told as flows, as samples, and where
// exporters tell of one direction only.
func TestInnocents(t *testing.T) {
	t.Parallel()
	const established = packet.SYN | packet.ACK | packet.PSH | packet.FIN
	// talk is a conversation of a second: so many packets in and out.
	talk := func(r *rig, peer packet.Addr, proto uint8, peerPort, port uint16, fl packet.TCPFlags, in, inSize, out, outSize int) {
		f := observe.Flow{Src: peer, Dst: victim, Proto: proto, SrcPort: peerPort, DstPort: port, TCPFlags: fl, Packets: uint64(in), Bytes: uint64(in * inSize)}
		r.flow(f)
		f.Src, f.Dst, f.SrcPort, f.DstPort, f.Packets, f.Bytes = victim, peer, port, peerPort, uint64(out), uint64(out*outSize)
		if out > 0 {
			r.flow(f)
		}
	}
	scenes := []struct {
		name string
		play func(r *rig, s int)
	}{
		{"flash crowd", func(r *rig, _ int) {
			for k := range 600 {
				talk(r, outside(1000+r.below(60000)), packet.TCP, uint16(1024+k), 443, established, 6, 150, 8, 1100)
			}
		}},
		{"flash crowd that meets a slow server", func(r *rig, _ int) {
			for k := range 800 {
				peer := outside(1000 + r.below(60000))
				if k%4 == 0 { // a quarter gets nothing yet
					talk(r, peer, packet.TCP, uint16(1024+k), 443, packet.SYN, 1, 60, 0, 0)
					continue
				}
				talk(r, peer, packet.TCP, uint16(1024+k), 443, established, 5, 150, 5, 900)
			}
		}},
		{"speed test down", func(r *rig, _ int) {
			for k := range 4 {
				talk(r, outside(k), packet.TCP, 8080, 50000+uint16(k), packet.ACK|packet.PSH, 2200, 1500, 280, 52)
			}
		}},
		{"speed test up", func(r *rig, _ int) {
			for k := range 4 {
				talk(r, outside(k), packet.TCP, 8080, 50000+uint16(k), packet.ACK, 900, 52, 2000, 1500)
			}
		}},
		{"download over QUIC", func(r *rig, _ int) {
			talk(r, outside(3), packet.UDP, 443, 51000, 0, 9000, 1300, 500, 60)
		}},
		{"download with rare acknowledgements", func(r *rig, _ int) {
			talk(r, outside(3), packet.UDP, 443, 51000, 0, 9000, 1300, 180, 60)
		}},
		{"backup in", func(r *rig, _ int) {
			talk(r, outside(3), packet.TCP, 52000, 873, packet.ACK|packet.PSH, 8800, 1500, 200, 52)
		}},
		{"CDN fill", func(r *rig, _ int) {
			for k := range 40 {
				talk(r, outside(k), packet.TCP, 443, 40000+uint16(k), packet.ACK|packet.PSH, 300, 1500, 60, 52)
			}
		}},
		{"busy content server", func(r *rig, _ int) {
			for k := range 100 {
				talk(r, outside(1000+k), packet.TCP, 40000, 443, packet.ACK|packet.PSH, 120, 60, 260, 1500)
			}
		}},
		{"VPN gateway", func(r *rig, _ int) {
			for k := range 60 {
				talk(r, outside(1000+k), packet.UDP, 4500, 4500, 0, 120, 900, 90, 700)
				talk(r, outside(1000+k), packet.UDP, 1194, 1194, 0, 40, 900, 40, 500)
			}
		}},
		{"resolver of its own subscribers", func(r *rig, _ int) {
			for range 2400 {
				talk(r, outside(1000+r.below(800)), packet.UDP, 53, 30000, 0, 1, 420, 1, 70)
			}
		}},
		{"authoritative server", func(r *rig, _ int) {
			for range 2400 {
				talk(r, outside(1000+r.below(2000)), packet.UDP, 30000, 53, 0, 1, 70, 1, 300)
			}
		}},
		{"NTP server", func(r *rig, _ int) {
			for range 3000 {
				talk(r, outside(1000+r.below(30000)), packet.UDP, 123, 123, 0, 1, 76, 1, 76)
			}
		}},
		{"game server", func(r *rig, _ int) {
			for k := range 100 {
				talk(r, outside(1000+k), packet.UDP, 27005, 27015, 0, 30, 110, 30, 220)
			}
		}},
		{"video calls by relay", func(r *rig, _ int) {
			for k := range 50 {
				talk(r, outside(1000+k), packet.UDP, 3478, 50000+uint16(k), 0, 50, 1000, 40, 1000)
			}
		}},
		{"scan of one host", func(r *rig, s int) {
			for k := range 600 {
				talk(r, outside(9), packet.TCP, 61000, uint16(s*600+k), packet.SYN, 1, 44, 0, 0)
			}
		}},
		{"one second of a burst", func(r *rig, s int) {
			if s == onset+2 {
				r.hits(6000, observe.Flow{Proto: packet.UDP, DstPort: 9}, 500, 3000)
			}
		}},
		{"just below the line", func(r *rig, _ int) {
			r.hits(1900, observe.Flow{Proto: packet.ICMP, DstPort: 8 << 8}, 84, 3000)
		}},
	}
	for _, x := range scenes {
		for _, way := range []string{"flows", "samples", "one way"} {
			if way == "one way" && (x.name == "scan of one host" || x.name == "resolver of its own subscribers") {
				// Answers of 400 bytes and more from port 53 alone are amplification by all
				// that one direction tells; docs say so.
				continue
			}
			t.Run(x.name+" by "+way, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, ddos.Config{})
				seconds := onset + 10
				if way == "samples" {
					r.rate = 10
				}
				r.run(seconds, func(s int) {
					r.town()
					// With one direction alone, services that are asked by many look like
					// floods until they are known: they are there from the beginning.
					if s >= onset || way == "one way" {
						x.play(r, s)
					}
					if way == "one way" {
						kept := r.batch[:0]
						for _, f := range r.batch {
							if !own.Contains(f.Src.Netip()) {
								kept = append(kept, f)
							}
						}
						r.batch = kept
					}
				})
				r.said.none(t)
			})
		}
	}
}
