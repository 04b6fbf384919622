package telescope_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// A tool is a program that sends probes. Each vector is written from what the
// tool's source sends; see Rules for where that was read.
type toolProbe struct {
	name string
	tool observe.Tool // what it must be called; IrregularSYN when no rule may name it
	// probe is the k-th packet of a run to dst:port.
	probe func(dst string, port uint16, k uint32, r *rand.Rand) rec
}

var mss1460 = []byte{2, 4, 5, 0xb4}

func word(dst string) uint32 {
	var d packet.Decoder
	var p packet.Packet
	r := frame(ip{src: host, dst: dst}, 255, nil)
	d.Decode(r.link, r.data, 0, &p)
	return p.Dst.V4()
}

func masscan(options []byte, window uint16, ttl uint8, wrong uint16) func(string, uint16, uint32, *rand.Rand) rec {
	return func(dst string, port uint16, _ uint32, r *rand.Rand) rec {
		seq := r.Uint32()
		return ip{src: host, dst: dst, ttl: ttl, id: low(word(dst)^uint32(port)^seq) ^ wrong}.tcp(
			tcp{from: 45000, to: port, seq: seq, flags: packet.SYN, window: window, options: options})
	}
}

func zmap(id, window uint16, ttl uint8, options []byte) func(string, uint16, uint32, *rand.Rand) rec {
	return func(dst string, port uint16, k uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: ttl, id: id}.tcp(
			tcp{from: 33000 + uint16(k%20000), to: port, seq: r.Uint32(), flags: packet.SYN, window: window, options: options})
	}
}

// zmap41 is a probe of ZMap from 4.1.0 on, by its sources' formulas: sequence
// number, source port and IP ID are words of a block of AES under the run's key,
// of which nobody knows anything but that it looks random.
func zmap41(frag, window uint16, ttl uint8, options []byte) func(string, uint16, uint32, *rand.Rand) rec {
	return func(dst string, port uint16, _ uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: ttl, id: low(r.Uint32()), frag: frag}.tcp(
			tcp{from: uint16(32768 + r.Uint32()%28233), to: port, seq: r.Uint32(), flags: packet.SYN, window: window, options: options})
	}
}

const packetDF = 0x4000

var (
	windows = []byte{2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2}
	macOS   = []byte{2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 4, 2, 0, 0}
)

// withClock are options with a timestamp at the i-th byte.
func withClock(options []byte, i int, ts int64) []byte {
	o := bytes.Clone(options)
	binary.BigEndian.PutUint32(o[i:], uint32(ts))
	return o
}

// TestZMapsOwnPackets: two packets that ZMap's authors show in pull request #850
// (tcpdump, 2024-04-16 20:17 UTC), the second with --probe-ttl=39. Each fits.
func TestZMapsOwnPackets(t *testing.T) {
	for _, v := range []struct {
		at   time.Time
		ttl  uint8
		id   uint16
		from uint16
		seq  uint32
		ts   int64
	}{
		{time.Date(2024, 4, 16, 20, 17, 7, 232286000, time.UTC), 64, 10173, 46980, 3499764253, 1713298627},
		{time.Date(2024, 4, 16, 20, 17, 22, 988555000, time.UTC), 39, 57781, 58600, 3716812964, 1713298642},
	} {
		r := ip{src: "171.67.71.218", dst: "198.51.100.210", ttl: v.ttl, id: v.id}.tcp(
			tcp{from: v.from, to: 80, seq: v.seq, flags: packet.SYN, window: 65535, options: withClock(linux, 8, v.ts)})
		var d packet.Decoder
		var p packet.Packet
		d.Decode(r.link, r.data, 0, &p)
		for i, rule := range telescope.Rules {
			if want := rule.Tool == observe.ZMapNew; telescope.Fits(i, &p, v.at.UnixNano()) != want {
				t.Errorf("packet with ID %d: %s %s fits: %v", v.id, rule.Tool, rule.Tool.Versions(), !want)
			}
		}
		if n := testing.AllocsPerRun(100, func() { telescope.Fits(0, &p, v.at.UnixNano()) }); n != 0 {
			t.Errorf("asking the rules allocates %v times", n)
		}
	}
}

func nmap(ttl uint8, options []byte, seq func(k uint32) uint32) func(string, uint16, uint32, *rand.Rand) rec {
	return func(dst string, port uint16, k uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: ttl, id: uint16(r.Uint32())}.tcp(
			tcp{from: 51234, to: port, seq: seq(k), flags: packet.SYN, window: 1024 * (1 + uint16(k%4)), options: options})
	}
}

func hping(window uint16, ttl uint8, ack uint32) func(string, uint16, uint32, *rand.Rand) rec {
	return func(dst string, port uint16, k uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: ttl, id: uint16(r.Uint32())}.tcp(
			tcp{from: 2000 + uint16(k), to: port, seq: r.Uint32(), ack: ack, flags: packet.SYN, window: window})
	}
}

func same32(v uint32) func(uint32) uint32 { return func(uint32) uint32 { return v } }

var toolProbes = []toolProbe{
	{"mirai", observe.Mirai, func(dst string, port uint16, _ uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: 51, id: uint16(r.Uint32())}.tcp(tcp{from: 31337, to: port, seq: word(dst), flags: packet.SYN, window: uint16(r.Uint32())})
	}},
	{"mirai, its options stripped on the way but not its data offset", observe.Mirai, func(dst string, port uint16, _ uint32, r *rand.Rand) rec {
		f := ip{src: host, dst: dst, ttl: 51, id: uint16(r.Uint32())}.tcp(tcp{from: 31337, to: port, seq: word(dst), flags: packet.SYN, window: 9})
		f.data[32] = 6 << 4
		return f
	}},
	{"sequence number one beside the address", observe.IrregularSYN, func(dst string, port uint16, _ uint32, _ *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: 51}.tcp(tcp{from: 31337, to: port, seq: word(dst) + 1, flags: packet.SYN, window: 9})
	}},
	{"sequence number is the address in little-endian order", observe.IrregularSYN, func(dst string, port uint16, _ uint32, _ *rand.Rand) rec {
		a := word(dst)
		return ip{src: host, dst: dst, ttl: 51}.tcp(tcp{from: 31337, to: port, seq: a<<24 | a>>24 | a<<8&0xff0000 | a>>8&0xff00, flags: packet.SYN, window: 9})
	}},
	{"zmap 2 to 4.0", observe.ZMapOld, zmap(54321, 65535, 242, nil)},
	{"zmap 3 to 4.0, with an MSS", observe.ZMapOld, zmap(54321, 65535, 242, mss1460)},
	{"zmap 4.1.0", observe.ZMapNew, zmap41(0, 65535, 242, withClock(linux, 8, start/1e9-3600))},
	{"zmap 4.1.1 or later, told to be Ubuntu", observe.ZMapNew, zmap41(0, 65535, 52, withClock(linux, 8, start/1e9-30*86400))},
	{"zmap 4.1.1 or later", observe.ZMapNew, zmap41(0, 65535, 52, windows)},
	{"zmap 4.1.1 or later, told to be macOS", observe.ZMapNew, zmap41(0, 65535, 52, withClock(macOS, 12, start/1e9))},
	{"zmap 4.1 with smallest-probes: other raw-socket programs send the same", observe.Unknown, zmap41(0, 65535, 52, mss1460)},
	// What isn't ZMap, but differs from it in one thing.
	{"the same with DF, as every system sets it", observe.Unknown, zmap41(packetDF, 65535, 52, windows)},
	{"another window", observe.Unknown, zmap41(0, 64240, 52, windows)},
	{"Windows behind a firewall that clears DF", observe.Unknown, zmap41(0, 65535, 115, windows)},
	{"Linux behind such a firewall, its clock another for each target", observe.Unknown, func(dst string, port uint16, k uint32, r *rand.Rand) rec {
		return zmap41(0, 65535, 52, withClock(linux, 8, int64(r.Uint32())))(dst, port, k, r)
	}},
	{"Linux before 4.10 behind one, its clock since it was started", observe.Unknown, func(dst string, port uint16, k uint32, r *rand.Rand) rec {
		return zmap41(0, 65535, 52, withClock(linux, 8, 1_900_000_000+int64(k)*250))(dst, port, k, r)
	}},
	{"a clock of two months ago", observe.Unknown, zmap41(0, 65535, 52, withClock(linux, 8, start/1e9-60*86400))},
	{"an iPhone behind a translator from IPv6 (RFC 7915)", observe.Unknown, zmap41(0, 65535, 52, append([]byte{2, 4, 5, 0xa0}, withClock(macOS, 12, start/1e9)[4:]...))},
	{"a source port that ZMap doesn't take", observe.Unknown, func(dst string, port uint16, k uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: 52, id: low(r.Uint32())}.tcp(
			tcp{from: uint16(61001 + k), to: port, seq: r.Uint32(), flags: packet.SYN, window: 65535, options: windows})
	}},
	{"a window scale that Windows hasn't", observe.Unknown, zmap41(0, 65535, 52, []byte{2, 4, 5, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2})},
	{"another raw-socket program with ID 54321", observe.IrregularSYN, zmap(54321, 8192, 242, nil)},
	{"zmap's ID and window from a TTL that isn't 255", observe.IrregularSYN, zmap(54321, 65535, 60, nil)},
	{"masscan before 2023-11-07", observe.MasscanOld, masscan(nil, 1024, 240, 0)},
	{"masscan since 2023-11-07", observe.MasscanNew, masscan(mss1460, 1024, 240, 0)},
	{"masscan's form with a wrong cookie", observe.IrregularSYN, masscan(nil, 1024, 240, 0x10)},
	{"masscan's cookie with another window", observe.IrregularSYN, masscan(nil, 1200, 240, 0)},
	{"nmap -sS", observe.Nmap, nmap(45, mss1460, same32(0xdeadbeef))},
	{"nmap -sS with retries, numbered in both halves of the sequence number", observe.Nmap, nmap(45, mss1460, func(k uint32) uint32 { return 0xdeadbeef ^ (k%3<<16 | k%3) })},
	{"nmap's form, another sequence number each", observe.Unknown, nmap(45, mss1460, func(k uint32) uint32 { return 77 + k })},
	{"nmap's form from a TTL of 64", observe.Unknown, nmap(60, mss1460, same32(0xdeadbeef))},
	{"nmap's form without MSS", observe.IrregularSYN, nmap(45, nil, same32(0xdeadbeef))},
	{"hping3 -S", observe.Hping3, hping(512, 57, 0x01020304)},
	{"hping3's form without an acknowledgement number", observe.IrregularSYN, hping(512, 57, 0)},
	{"hping3's form with another window", observe.IrregularSYN, hping(513, 57, 0x01020304)},
	{"hping3's form from a TTL above 64", observe.IrregularSYN, hping(512, 65, 0x01020304)},
	{"a Linux host", observe.Unknown, func(dst string, port uint16, _ uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: 52, id: uint16(r.Uint32())}.tcp(tcp{from: 40000, to: port, seq: r.Uint32(), flags: packet.SYN, window: 64240, options: linux})
	}},
	{"a raw socket", observe.IrregularSYN, func(dst string, port uint16, _ uint32, r *rand.Rand) rec {
		return ip{src: host, dst: dst, ttl: 249, id: uint16(r.Uint32())}.tcp(tcp{from: 40000, to: port, seq: r.Uint32(), flags: packet.SYN, window: 14600})
	}},
}

// TestTools runs each program horizontally (one port, many targets) and
// vertically (one target, many ports) over dark space. Only the form that a
// rule describes is named; a mere variation of it isn't.
func TestTools(t *testing.T) {
	for _, c := range toolProbes {
		r := rand.New(rand.NewPCG(1, 2))
		var across, down []rec
		for k := range 30 {
			across = append(across, c.probe(fmt.Sprintf("198.51.100.%d", 10+k), 23, uint32(k), r).at(start+int64(k)*second))
			down = append(down, c.probe(target, uint16(8000+k), uint32(k), r).at(start+int64(k)*second))
		}
		d := watch(t, dark("198.51.100.0/24"), across...).document()
		if len(d.Scanners) != 1 || d.Scanners[0].Tool != c.tool.String() || d.Scanners[0].ToolVersions != c.tool.Versions() {
			t.Errorf("%s: %+v, want %s", c.name, d.Scanners, c.tool)
		}
		// A vertical scan sends one packet to each port: the source's packets
		// together are the evidence.
		d = watch(t, dark("198.51.100.0/24"), down...).document()
		if len(d.Scanners) != 30 {
			t.Errorf("%s, vertically: %d scanned ports, not 30", c.name, len(d.Scanners))
		}
		for _, s := range d.Scanners {
			if s.Tool != c.tool.String() {
				t.Errorf("%s, vertically: port %d is called %s", c.name, s.Port, s.Tool)
				break
			}
		}
	}
}

// TestZMapEcho: ZMap up to 4.0 marks its echo requests and datagrams too.
func TestZMapEcho(t *testing.T) {
	for _, c := range []struct {
		name string
		id   uint16
		ttl  uint8
		want string
	}{{"zmap", 54321, 250, "zmap"}, {"another ID", 54322, 250, "unknown"}, {"ping with that ID", 54321, 60, "unknown"}} {
		var echo, udp []rec
		for k := range 4 {
			h := ip{src: host, dst: fmt.Sprintf("198.51.100.%d", k), id: c.id, ttl: c.ttl}
			echo = append(echo, h.icmp(8, 0, nil).at(start+int64(k)))
			udp = append(udp, h.udp(40000, 5351, []byte{0, 0}).at(start+int64(k)))
		}
		for _, recs := range [][]rec{echo, udp} {
			if d := watch(t, dark("198.51.100.0/24"), recs...).document(); len(d.Scanners) != 1 || d.Scanners[0].Tool != c.want {
				t.Errorf("%s: %+v", c.name, d.Scanners)
			}
		}
	}
}

// TestEvidence: how many packets a name takes, and what takes it away.
func TestEvidence(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	dst := func(k int) string { return fmt.Sprintf("198.51.100.%d", 10+k) }
	run := func(probe func(string, uint16, uint32, *rand.Rand) rec, n int) (recs []rec) {
		for k := range n {
			recs = append(recs, probe(dst(k), 23, uint32(k), r))
		}
		return recs
	}
	mirai, zm, mass := toolProbes[0].probe, zmap(54321, 65535, 242, nil), masscan(nil, 1024, 240, 0)
	odd := syn(host, dst(40), 23)
	miraiTo := func(k int, port uint16) rec { return mirai(dst(k), port, 0, r) }
	// A retransmission has the same sequence number, another IP ID at most.
	again := func(f rec) []rec { return []rec{f, f, f, f} }
	for _, c := range []struct {
		name string
		recs []rec
		want observe.Tool
		scan bool
	}{
		{"one Mirai packet", run(mirai, 1), observe.Unknown, false},
		{"two", run(mirai, 2), observe.Mirai, true},
		{"one, sent four times", again(miraiTo(1, 23)), observe.Unknown, false},
		{"two, one of them sent again", []rec{miraiTo(1, 23), miraiTo(2, 23), miraiTo(2, 23)}, observe.Mirai, true},
		{"two ZMap packets", run(zm, 2), observe.Unknown, false},
		{"three", run(zm, 3), observe.ZMapOld, true},
		{"two masscan packets", run(mass, 2), observe.Unknown, false},
		{"three to one address", []rec{mass(dst(1), 23, 0, r), mass(dst(1), 23, 0, r), mass(dst(1), 23, 0, r)}, observe.MasscanOld, true},
		{"ten Mirai packets and one of something else at the end", append(run(mirai, 10), odd), observe.Unknown, true},
		{"and at the beginning", append([]rec{odd}, run(mirai, 10)...), observe.Unknown, true},
		{"Mirai and masscan packets mixed", append(run(mirai, 3), run(mass, 3)...), observe.IrregularSYN, true},
		{"two irregular packets", run(zmap(1, 2, 250, nil), 2), observe.Unknown, false},
		{"three to one address aren't a scan", []rec{zm2(dst(1), 1), zm2(dst(1), 2), zm2(dst(1), 3)}, observe.IrregularSYN, false},
	} {
		for i := range c.recs {
			c.recs[i].t = start + int64(i)*second
		}
		e := watch(t, dark("198.51.100.0/24"), c.recs...).one(t)
		if e.Tool != c.want || (e.Flags&observe.Scanner != 0) != c.scan {
			t.Errorf("%s: %s (scan %v), want %s (%v)", c.name, e.Tool, e.Flags&observe.Scanner != 0, c.want, c.scan)
		}
	}
}

func zm2(dst string, seq uint32) rec {
	return ip{src: host, dst: dst, ttl: 249}.tcp(tcp{from: 1, to: 23, seq: seq, flags: packet.SYN, window: 7})
}

// TestToolPerEvent: a source that uses one tool on one port and another on
// another has each named where it is used, and what fits neither has no name.
func TestToolPerEvent(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var recs []rec
	for k := range 12 {
		dst := fmt.Sprintf("198.51.100.%d", k)
		recs = append(recs,
			toolProbes[0].probe(dst, 23, 0, r), masscan(mss1460, 1024, 240, 0)(dst, 80, 0, r),
			zmap(54321, 65535, 242, nil)(dst, 443, uint32(k), r), syn(host, dst, 22), ip{src: host, dst: dst}.udp(9, 161, snmp(0xa0)))
	}
	for i := range recs {
		recs[i].t = start + int64(i)*second
	}
	want := map[uint16]string{23: "mirai", 80: "masscan", 443: "zmap", 22: "unknown", 161: "unknown"}
	for _, s := range watch(t, dark("198.51.100.0/24"), recs...).document().Scanners {
		if s.Tool != want[s.Port] {
			t.Errorf("port %d: %s, want %s", s.Port, s.Tool, want[s.Port])
		}
		delete(want, s.Port)
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
}

// TestChance sends a million SYNs with random header fields: a rule fits about
// as many as it says. Expected counts below one are tested as an upper bound;
// the probabilities are of the random fields alone, so the rule's own statement
// must not be smaller than what is measured beyond five deviations.
func TestChance(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const n = 1_000_000
	fits := make([]int, len(telescope.Rules))
	optionChoices := [][]byte{nil, mss1460, linux[:12], linux, windows, withClock(linux, 8, start/1e9)}
	p := packet.Packet{Version: 4, Proto: packet.TCP, TCPFlags: packet.SYN, Src: packet.V4(0xc0000209)}
	for range n {
		p.Dst, p.ID, p.TTL = packet.V4(r.Uint32()), r.Uint32()&0xffff, uint8(r.Uint32())
		p.SrcPort, p.DstPort, p.Seq, p.Ack, p.Window = uint16(r.Uint32()), uint16(r.Uint32()), r.Uint32(), r.Uint32(), uint16(r.Uint32())
		p.TCPOptions = optionChoices[r.IntN(len(optionChoices))]
		for i := range fits {
			if telescope.Fits(i, &p, start) {
				fits[i]++
			}
		}
	}
	for i, rule := range telescope.Rules {
		if rule.Kinds[0] != observe.KindTCPSyn || rule.Tool == observe.IrregularSYN {
			continue
		}
		most := n*rule.Chance + 5*math.Sqrt(n*rule.Chance) + 1
		if float64(fits[i]) > most {
			t.Errorf("%s %s: %d of %d fit, the rule states %.3g", rule.Tool, rule.Tool.Versions(), fits[i], n, rule.Chance)
		}
	}
}

// TestRulesAreDocumented: each rule says where it comes from, and whoever reads
// a report can tell from when on it holds.
func TestRulesAreDocumented(t *testing.T) {
	for _, r := range telescope.Rules {
		if r.Source == "" || r.Form == "" || r.Version < 1 || r.Chance <= 0 || r.Chance >= 1 || r.Least < 2 || len(r.Kinds) == 0 {
			t.Errorf("rule of %s is incomplete: %+v", r.Tool, r)
		}
		if !r.Until.IsZero() && !r.From.Before(r.Until) {
			t.Errorf("rule of %s ends before it begins", r.Tool)
		}
		if r.Tool != observe.IrregularSYN && math.Pow(r.Chance, float64(r.Least)) > 1e-9 {
			t.Errorf("%s: %d packets of chance %.3g are too little to name a tool", r.Tool, r.Least, r.Chance)
		}
	}
	if len(telescope.Rules) > 16 {
		t.Error("a mask has 16 bits")
	}
}
