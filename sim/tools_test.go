package sim_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"sakimori/base/wire/packet"
	"sakimori/sim"
)

// syn is what a prober's packet shows.
type syn struct {
	id, window, sport, dport uint16
	seq, ack, dst            uint32
	ttl                      uint8
	options                  []byte
	df                       bool
}

// syns collects the SYNs of each source.
type syns map[string][]syn

func (s syns) WriteFrame(_ int64, data []byte) error {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	ip, ok4 := p.NetworkLayer().(*layers.IPv4)
	tcp, ok := p.TransportLayer().(*layers.TCP)
	if !ok || !ok4 || !tcp.SYN || tcp.ACK {
		return nil
	}
	src, _ := netip.AddrFromSlice(ip.SrcIP)
	s[src.String()] = append(s[src.String()], syn{
		ip.Id, tcp.Window, uint16(tcp.SrcPort), uint16(tcp.DstPort), tcp.Seq, tcp.Ack,
		binary.BigEndian.Uint32(ip.DstIP.To4()), ip.TTL, bytes.Clone(tcp.Contents[20:]), ip.Flags&layers.IPv4DontFragment != 0,
	})
	return nil
}

var (
	onlyMSS        = []byte{2, 4, 5, 0xb4}
	windowsOptions = []byte{2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2}
	// MSS, SACK permitted, timestamps, NOP, window scale; without their values.
	linuxOrder = []byte{2, 4, 8, 1, 3}
)

func order(options []byte) (kinds []byte) {
	for len(options) > 0 && options[0] != 0 {
		kinds = append(kinds, options[0])
		n := 1
		if options[0] != 1 {
			n = int(options[1])
		}
		options = options[n:]
	}
	return kinds
}

// Each tool's packets, against what the tools' sources say of them.
func TestFormsOfTools(t *testing.T) {
	c, err := sim.ByName("tools", 3)
	if err != nil {
		t.Fatal(err)
	}
	got := syns{}
	if _, err := c.Write(got); err != nil {
		t.Fatal(err)
	}
	bare := func(s syn) bool { return len(s.options) == 0 && !s.df }
	distant := func(s syn, initial uint8) bool { return s.ttl <= initial-5 && s.ttl >= initial-24 }
	masscan := func(s syn) bool {
		return s.id == uint16(s.dst^uint32(s.dport)^s.seq) && s.window == 1024 && distant(s, 255)
	}
	zmapNew := func(s syn) bool { return s.window == 65535 && s.sport >= 32768 && !s.df }
	mirai := func(s syn) bool { return s.seq == s.dst && bare(s) && distant(s, 64) && s.sport >= 1024 }
	for name, c := range map[string]struct {
		source string
		each   func(s, first syn, i int) bool
	}{
		"zmap to 4.0": {"198.51.100.31", func(s, _ syn, _ int) bool { return s.id == 54321 && s.window == 65535 && bare(s) && distant(s, 255) }},
		"zmap 3 to 4.0": {"198.51.100.43", func(s, _ syn, _ int) bool {
			return s.id == 54321 && s.window == 65535 && bytes.Equal(s.options, onlyMSS) && !s.df && distant(s, 255)
		}},
		// Each packet of a run bears the time at which the run began.
		"zmap 4.1.1": {"198.51.100.32", func(s, _ syn, _ int) bool {
			return zmapNew(s) && bytes.Equal(s.options, windowsOptions) && distant(s, 64)
		}},
		"zmap 4.1.0": {"198.51.100.44", func(s, f syn, _ int) bool {
			return zmapNew(s) && bytes.Equal(order(s.options), linuxOrder) && bytes.Equal(s.options, f.options) && distant(s, 255)
		}},
		"zmap as macOS": {"198.51.100.45", func(s, f syn, _ int) bool {
			return zmapNew(s) && len(s.options) == 24 && bytes.Equal(s.options, f.options) && distant(s, 64)
		}},
		"without DF": {"198.51.100.46", func(s, _ syn, _ int) bool {
			return zmapNew(s) && (bytes.Equal(s.options, windowsOptions) && distant(s, 128) ||
				bytes.Equal(order(s.options), linuxOrder) && distant(s, 64))
		}},
		"masscan old": {"198.51.100.33", func(s, f syn, _ int) bool { return masscan(s) && bare(s) && s.sport == f.sport }},
		"masscan new": {"198.51.100.34", func(s, f syn, _ int) bool { return masscan(s) && bytes.Equal(s.options, onlyMSS) && s.sport == f.sport }},
		"nmap": {"198.51.100.35", func(s, f syn, _ int) bool {
			return s.window%1024 == 0 && s.window >= 1024 && s.window <= 4096 && bytes.Equal(s.options, onlyMSS) &&
				s.seq == f.seq && s.sport == f.sport && s.ttl <= 59-5 && s.ttl >= 37-24
		}},
		"hping3": {"198.51.100.36", func(s, f syn, i int) bool {
			return s.window == 512 && bare(s) && distant(s, 64) && s.ack != 0 && s.sport == f.sport+uint16(i)
		}},
		"irregular": {"198.51.100.37", func(s, _ syn, _ int) bool { return bare(s) && s.ttl > 200 && !masscan(s) && s.id != 54321 }},
		"linux": {"198.51.100.38", func(s, _ syn, _ int) bool {
			return bytes.Equal(order(s.options), linuxOrder) && s.df && distant(s, 64) && s.seq != s.dst
		}},
		"windows": {"198.51.100.39", func(s, _ syn, _ int) bool { return len(s.options) == 12 && s.df && distant(s, 128) }},
		"mirai": {"198.51.100.40", func(s, f syn, _ int) bool {
			return mirai(s) && s.sport == f.sport && (s.dport == 23 || s.dport == 2323)
		}},
		"mirai variant": {"198.51.100.41", func(s, _ syn, _ int) bool { return mirai(s) && s.dport != 23 }},
	} {
		s := got[c.source]
		if len(s) < 1000 {
			t.Errorf("%s: only %d packets", name, len(s))
			continue
		}
		for i := range s {
			if !c.each(s[i], s[0], i) {
				t.Errorf("%s: packet %d doesn't fit: %+v", name, i, s[i])
				break
			}
		}
	}
	seen, on2323 := map[uint32]bool{}, 0
	for _, s := range got["198.51.100.31"] {
		if seen[s.dst] {
			t.Fatal("zmap asks an address twice")
		}
		seen[s.dst] = true
	}
	for _, s := range got["198.51.100.40"] {
		if s.dport == 2323 {
			on2323++
		}
	}
	if share := float64(on2323) / float64(len(got["198.51.100.40"])); share < 0.08 || share > 0.12 {
		t.Errorf("%.3f of Mirai's packets go to 2323", share)
	}
}

// A retransmitted SYN bears the same port and seq, at the times of Linux.
func TestCurlBacksOff(t *testing.T) {
	s := sim.Labelled()[0].Scene
	var times []int64
	s.Label = func(l sim.Label) {
		if l.Role == sim.RoleBenign && l.Port == 443 {
			times = append(times, l.Time)
		}
	}
	got := syns{}
	if _, err := s.Write(got); err != nil {
		t.Fatal(err)
	}
	curl := got["203.0.113.106"]
	if len(curl) != 6 || len(times) != 6 {
		t.Fatalf("%d tries", len(curl))
	}
	for i, want := range []int64{0, 1, 3, 7, 15, 31} {
		if times[i]-times[0] != want*1e9 || curl[i].seq != curl[0].seq || curl[i].sport != curl[0].sport || curl[i].dst != curl[0].dst {
			t.Errorf("try %d after %d ns: %+v", i, times[i]-times[0], curl[i])
		}
	}
}

// keysSeen counts a bulk's frames by what makes an event.
type keysSeen struct {
	keys    map[[7]byte]bool
	sources map[[4]byte]int
	wrong   int
	last    int64
}

func (k *keysSeen) WriteFrame(ts int64, data []byte) error {
	ip := data[14:]
	n := int(binary.BigEndian.Uint16(ip[2:]))
	src, dst := netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	body := ip[20:n]
	dark := sim.BulkDark[0].Contains(dst) || sim.BulkDark[1].Contains(dst)
	if naive(0, ip[:20]) != 0xffff || naive(pseudo(src, dst, ip[9], len(body)), body) != 0xffff || !dark || ts < k.last || len(data) < 60 {
		k.wrong++
	}
	k.last = ts
	var key [7]byte
	copy(key[:], ip[12:16])
	copy(key[4:], body[2:4]) // destination port
	switch {
	case ip[9] == 1:
		key[4], key[5], key[6] = 8, 0, 1
	case ip[9] == 17:
		key[6] = 17
	case body[13] == 2:
		key[6] = 6
	default: // SYN+ACK and RST: the source's port
		copy(key[4:], body[:2])
		key[6] = body[13]
	}
	k.keys[key] = true
	k.sources[[4]byte(ip[12:16])]++
	return nil
}

func TestZipf(t *testing.T) {
	const packets, sources, keys = 400_000, 10_000, 40_000
	seen := &keysSeen{keys: map[[7]byte]bool{}, sources: map[[4]byte]int{}}
	truth, err := sim.Zipf(packets, sources, keys, 9).Write(seen)
	if err != nil {
		t.Fatal(err)
	}
	if seen.wrong != 0 {
		t.Errorf("%d frames are wrong", seen.wrong)
	}
	if truth.Packets != packets || truth.Keys != keys || len(seen.keys) != keys || truth.UniqueSources != sources || len(seen.sources) != sources {
		t.Errorf("packets %d, keys %d (seen %d), sources %d (seen %d)", truth.Packets, truth.Keys, len(seen.keys), truth.UniqueSources, len(seen.sources))
	}
	if truth.Classes.Scan+truth.Classes.Backscatter != packets || truth.Classes.Backscatter < packets/100 {
		t.Errorf("classes %+v", truth.Classes)
	}
	if s := truth.Last.Sub(truth.First).Seconds(); s < packets/float64(sim.Rate)-0.1 || s > packets/float64(sim.Rate)+0.1 {
		t.Errorf("it takes %.2f s", s)
	}
	top := 0
	for _, n := range seen.sources {
		top = max(top, n)
	}
	// By Zipf's law over 10,000 ranks the first has 1/9.79 of the drawn packets.
	if share := float64(top) / (packets - keys); share < 0.09 || share > 0.13 {
		t.Errorf("the busiest source has %.3f of the packets", share)
	}
}

// unreadable counts what the house's own decoder can't read, and what it reads.
type unreadable struct {
	d             packet.Decoder
	broken, notIP uint64
	later         uint64
}

func (u *unreadable) WriteFrame(_ int64, data []byte) error {
	var p packet.Packet
	switch u.d.Decode(packet.LinkEthernet, data, 0, &p) {
	case packet.OK:
		if p.Flags&packet.LaterFragment != 0 {
			u.later++
		}
	case packet.NotIP:
		u.notIP++
	default:
		u.broken++
	}
	return nil
}

func TestDecoderAgreesOnBroken(t *testing.T) {
	c, err := sim.ByName("broken", 4)
	if err != nil {
		t.Fatal(err)
	}
	u := &unreadable{}
	truth, err := c.Write(u)
	if err != nil {
		t.Fatal(err)
	}
	if u.broken != truth.Malformed || u.notIP == 0 || u.later <= truth.LaterFragment {
		t.Errorf("decoder: %+v; truth: %d malformed, %d later fragments", u, truth.Malformed, truth.LaterFragment)
	}
}
