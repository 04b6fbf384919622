package mirror_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe"
	"sakimori/observe/flow/mirror"
)

var (
	client = packet.V4(0xc0000207) // 192.0.2.7
	server = packet.V4(0xc6336409) // 198.51.100.9
)

const start = int64(1_600_000_000) * 1e9

// ip4 writes an IPv4 packet.
func ip4(src, dst packet.Addr, proto uint8, fragment uint16, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[1], b[8], b[9] = 0x45, 0x28, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	binary.BigEndian.PutUint32(b[12:], src.V4())
	binary.BigEndian.PutUint32(b[16:], dst.V4())
	return append(b, payload...)
}

// tcp writes one of TCP, with so many bytes of data.
func tcp(src, dst packet.Addr, from, to uint16, flags packet.TCPFlags, data int) []byte {
	b := make([]byte, 20+data)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	b[12], b[13] = 0x50, byte(flags)
	return ip4(src, dst, packet.TCP, 0, b)
}

// block puts packets into a block, one at each time.
func block(frames ...frame) *packet.Block {
	var b packet.Block
	for _, f := range frames {
		n := uint32(len(f.data))
		b.Frames = append(b.Frames, packet.Frame{Time: f.at, Off: uint32(len(b.Buf)), Len: n, Orig: n, Link: packet.LinkRaw})
		b.Buf = append(b.Buf, f.data...)
	}
	return &b
}

type frame struct {
	at   int64
	data []byte
}

// run gives the records and the counts of blocks.
func run(t testing.TB, cfg mirror.Config, blocks ...*packet.Block) (flows []observe.Flow, s mirror.Stats) {
	t.Helper()
	m, err := mirror.New(cfg, func(list []observe.Flow) { flows = append(flows, list...) })
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		m.Ingest(b)
	}
	m.Flush()
	return flows, m.Stats()
}

// TestSeconds: what a flow did in a second is one record, cut at the whole second; its
// flags are those of all its packets, and the other direction is another flow.
func TestSeconds(t *testing.T) {
	t.Parallel()
	const ms = int64(time.Millisecond)
	got, s := run(t, mirror.Config{Exporter: 3, In: 4}, block(
		frame{start + 10*ms, tcp(client, server, 4000, 23, packet.SYN, 0)},
		frame{start + 20*ms, tcp(server, client, 23, 4000, packet.SYN|packet.ACK, 0)},
		frame{start + 999*ms, tcp(client, server, 4000, 23, packet.ACK|packet.PSH, 60)},
		frame{start + 1000*ms, tcp(client, server, 4000, 23, packet.ACK, 0)},
		frame{start + 3500*ms, tcp(client, server, 4000, 23, packet.FIN|packet.ACK, 0)},
	))
	flow := func(first, last int64, packets, bytes uint64, flags packet.TCPFlags) observe.Flow {
		return observe.Flow{
			Src: client, Dst: server, SrcPort: 4000, DstPort: 23, Proto: packet.TCP, First: start + first*ms, Last: start + last*ms,
			Packets: packets, Seen: uint32(packets), Rate: 1, Bytes: bytes, TCPFlags: flags, TOS: 0x28, Exporter: 3, In: 4,
		}
	}
	answer := flow(20, 20, 1, 40, packet.SYN|packet.ACK)
	answer.Src, answer.Dst, answer.SrcPort, answer.DstPort = server, client, 23, 4000
	want := []observe.Flow{
		flow(10, 999, 2, 140, packet.SYN|packet.ACK|packet.PSH), answer,
		flow(1000, 1000, 1, 40, packet.ACK), flow(3500, 3500, 1, 40, packet.FIN|packet.ACK),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("- want, + got:\n%s", d)
	}
	if w := (mirror.Stats{Frames: 5, Packets: 5, Bytes: 260, Records: 4}); s != w {
		t.Errorf("%+v, want %+v", s, w)
	}
}

// TestForms: fragments, ICMP, tunnels, cut and broken frames each come to what they are.
func TestForms(t *testing.T) {
	t.Parallel()
	udp := []byte{0, 53, 0x0f, 0xa0, 0, 108, 0, 0}
	inner := tcp(client, server, 1, 2, packet.SYN, 0)
	b := block(
		frame{start, ip4(client, server, packet.UDP, 0x2000, append(udp, make([]byte, 92)...))},
		frame{start + 1, ip4(client, server, packet.UDP, 0x0010, make([]byte, 100))},
		frame{start + 2, ip4(client, server, packet.ICMP, 0, []byte{3, 1, 0, 0, 0, 0, 0, 0})},
		frame{start + 3, ip4(client, server, 47, 0, append([]byte{0, 0, 8, 0}, inner...))},
		frame{start + 4, tcp(client, server, 1, 2, packet.SYN, 0)[:30]},
		frame{start + 5, tcp(client, server, 1, 2, packet.SYN, 0)[:10]},
		frame{start + 6, []byte{0x45, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		frame{start + 7, append(tcp(client, server, 1, 3, packet.SYN, 0), make([]byte, 6)...)}, // Ethernet's padding
	)
	lie := tcp(client, server, 1, 4, packet.SYN, 0)
	binary.BigEndian.PutUint16(lie[2:], 65535)
	b2 := block(frame{start + 8, lie})
	b3 := block(frame{start + 9, make([]byte, 60)})
	b3.Frames[0].Link = 9999
	got, s := run(t, mirror.Config{Tunnels: packet.GRE}, b, b2, b3)
	var lines []string
	for _, f := range got {
		lines = append(lines, strings.Join([]string{detectName(&f), marks(f.Marks)}, " "))
	}
	want := []string{
		"17 53-4000 1 packets 120 bytes ", "17 0-0 1 packets 120 bytes fragment", "1 0-769 1 packets 28 bytes ",
		"6 1-2 1 packets 40 bytes inner", "6 1-2 1 packets 30 bytes noflags", "6 1-3 1 packets 40 bytes ", "6 1-4 1 packets 40 bytes ",
	}
	// The cut frame states 40 bytes, and how long it was on the wire is not known to be more.
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("- want, + got:\n%s", d)
	}
	if w := (mirror.Stats{Frames: 10, Packets: 7, Bytes: 418, Records: 7, Cut: 1, Malformed: 1, UnknownLink: 1}); s != w {
		t.Errorf("%+v, want %+v", s, w)
	}
}

func detectName(f *observe.Flow) string {
	return strings.Join([]string{num(uint64(f.Proto)), num(uint64(f.SrcPort)) + "-" + num(uint64(f.DstPort)), num(f.Packets), "packets", num(f.Bytes), "bytes"}, " ")
}

func num(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return num(n/10) + num(n%10)
}

func marks(m observe.FlowMarks) string {
	var list []string
	for mark, name := range map[observe.FlowMarks]string{observe.FlowFragment: "fragment", observe.FlowInner: "inner", observe.FlowNoFlags: "noflags", observe.FlowSample: "sample"} {
		if m&mark != 0 {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// TestClock: what is late counts in the period in hand; a clock that goes back far
// begins anew; Tick ends a period in which nothing more comes.
func TestClock(t *testing.T) {
	t.Parallel()
	const s = int64(time.Second)
	syn := tcp(client, server, 1, 2, packet.SYN, 0)
	flows, stats := run(t, mirror.Config{}, block(
		frame{start + 5*s, syn}, frame{start + 3*s, syn}, // late
		frame{start + 7*s, syn}, frame{start - 100*s, syn}, // another capture
		frame{start - 98*s, syn},
	))
	var spans [][3]int64
	for _, f := range flows {
		spans = append(spans, [3]int64{(f.First - start) / s, (f.Last - start) / s, int64(f.Packets)})
	}
	if want := [][3]int64{{5, 5, 2}, {7, 7, 1}, {-100, -100, 1}, {-98, -98, 1}}; !slices.Equal(spans, want) {
		t.Errorf("%v, want %v", spans, want)
	}
	if stats.Late != 1 || stats.Jumps != 1 {
		t.Errorf("%+v", stats)
	}

	var got []observe.Flow
	m, err := mirror.New(mirror.Config{}, func(list []observe.Flow) { got = append(got, list...) })
	if err != nil {
		t.Fatal(err)
	}
	m.Tick(time.Unix(0, start))
	m.Ingest(block(frame{start, syn}))
	m.Tick(time.Unix(0, start+s-1))
	if len(got) != 0 {
		t.Errorf("a period was handed over before its end: %v", got)
	}
	m.Tick(time.Unix(0, start+s))
	if len(got) != 1 {
		t.Errorf("a period that is over wasn't handed over: %v", got)
	}
	m.Ingest(block(frame{start + s - 1, syn}))
	m.Tick(time.Unix(0, start+2*s))
	if len(got) != 2 || got[1].First != start+s || m.Stats().Late != 1 {
		t.Errorf("%v, %+v", got, m.Stats())
	}
}

// TestSettings: what can't be is refused.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, cfg := range []mirror.Config{{Every: time.Millisecond}, {Every: time.Hour}, {Every: 1500 * time.Millisecond}, {Most: -1}, {Most: 1 << 30}} {
		if _, err := mirror.New(cfg, nil); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// TestExact: however the packets are cut into blocks, and however few flows may be held,
// the records add up to the packets, key by key and second by second; held enough, they
// are the same records.
func TestExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var frames []frame
		at := start
		for range rapid.IntRange(1, 400).Draw(t, "packets") {
			at += int64(r.ExpFloat64() * 2e7)
			src, dst := packet.V4(uint32(r.IntN(20))), packet.V4(uint32(r.IntN(20)))
			if r.IntN(3) == 0 {
				src, dst = dst, src
			}
			frames = append(frames, frame{at - int64(r.IntN(3)*1000), tcp(src, dst, uint16(r.IntN(3)), uint16(r.IntN(3)), packet.TCPFlags(r.IntN(64)), r.IntN(100))})
		}
		var blocks []*packet.Block
		for rest := frames; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			blocks = append(blocks, block(rest[:n]...))
			rest = rest[n:]
		}
		whole := &collector{}
		feed(t, whole, mirror.Config{}, block(frames...))
		cut := &collector{}
		feed(t, cut, mirror.Config{}, blocks...)
		if d := cmp.Diff(whole.flows, cut.flows); d != "" {
			t.Fatalf("- one block, + %d blocks:\n%s", len(blocks), d)
		}
		few := &collector{}
		feed(t, few, mirror.Config{Most: rapid.IntRange(1, 50).Draw(t, "most")}, blocks...)
		if d := cmp.Diff(whole.sum(), few.sum()); d != "" {
			t.Fatalf("- all held, + few held:\n%s", d)
		}
		var packets uint64
		for _, f := range whole.flows {
			packets += f.Packets
			if f.First > f.Last || f.First/1e9 != f.Last/1e9 {
				t.Fatalf("a record from %d to %d", f.First, f.Last)
			}
		}
		if packets != uint64(len(frames)) {
			t.Fatalf("%d packets of %d", packets, len(frames))
		}
	})
}

type collector struct{ flows []observe.Flow }

func feed(t *rapid.T, c *collector, cfg mirror.Config, blocks ...*packet.Block) {
	m, err := mirror.New(cfg, func(list []observe.Flow) { c.flows = append(c.flows, list...) })
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		m.Ingest(b)
	}
	m.Flush()
}

// sum adds the records up by flow and second.
func (c *collector) sum() map[observe.Flow][3]uint64 {
	all := map[observe.Flow][3]uint64{}
	for _, f := range c.flows {
		key := observe.Flow{Src: f.Src, Dst: f.Dst, SrcPort: f.SrcPort, DstPort: f.DstPort, First: f.First / 1e9}
		s := all[key]
		all[key] = [3]uint64{s[0] + f.Packets, s[1] + f.Bytes, s[2] | uint64(f.TCPFlags)}
	}
	return all
}

// TestKnownFlood: a real SYN flood comes to what is known of it: 37,841 packets of 40
// bytes. (softflowd counts 46 in each, the padding of Ethernet among them.)
func TestKnownFlood(t *testing.T) {
	t.Parallel()
	r, err := pcap.Open(corpus.Folder(t, "pcap", "ddos", "pkt.TCP.synflood.spoofed.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sources := map[packet.Addr]bool{}
	var packets, octets uint64
	m, err := mirror.New(mirror.Config{}, func(list []observe.Flow) {
		for i := range list {
			f := &list[i]
			sources[f.Src] = true
			packets += f.Packets
			octets += f.Bytes
			if f.TCPFlags != packet.SYN || f.Marks != 0 || f.Rate != 1 {
				t.Errorf("%+v", *f)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Read(r.ReadBlock); err != nil {
		t.Fatal(err)
	}
	if packets != 37841 || octets != 37841*40 || len(sources) != 37623 {
		t.Errorf("%d packets, %d bytes, %d sources", packets, octets, len(sources))
	}
}

// TestCorpus: of every capture, broken ones too, each frame is accounted for, and the
// records hold what was counted.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := corpus.Folder(t, "pcap")
	files, faults := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".pcap") {
			return err
		}
		r, err := pcap.Open(path)
		if err != nil {
			faults++
			return nil
		}
		defer r.Close()
		files++
		var packets, octets, records uint64
		m, err := mirror.New(mirror.Config{Tunnels: packet.GRE | packet.ERSPAN | packet.VXLAN | packet.IPIP, Most: 1 << 10}, func(list []observe.Flow) {
			for i := range list {
				packets, octets, records = packets+list[i].Packets, octets+list[i].Bytes, records+1
			}
		})
		if err != nil {
			return err
		}
		if err := m.Read(r.ReadBlock); err != nil {
			faults++
		}
		s := m.Stats()
		if s.Packets != packets || s.Bytes != octets || s.Records != records || s.Frames != r.Frames() || s.Frames != s.Packets+s.NotIP+s.Malformed+s.Cut+s.UnknownLink {
			t.Errorf("%s: %+v; records say %d packets, %d bytes, %d records; the file %d frames", path, s, packets, octets, records, r.Frames())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d captures, %d with a fault", files, faults)
}

// TestReadFault: what stands before a fault is counted, and the fault is told.
func TestReadFault(t *testing.T) {
	t.Parallel()
	fault := errors.New("the interface is gone")
	var got int
	m, err := mirror.New(mirror.Config{}, func(list []observe.Flow) { got += len(list) })
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = m.Read(func(b *packet.Block) error {
		if n++; n > 2 {
			return fault
		}
		b.Buf = tcp(client, server, uint16(n), 2, packet.SYN, 0)
		b.Frames = append(b.Frames[:0], packet.Frame{Time: start, Len: uint32(len(b.Buf)), Link: packet.LinkRaw})
		return nil
	})
	if !errors.Is(err, fault) || got != 2 || m.Stats().Frames != 2 {
		t.Errorf("%v, %d flows, %+v", err, got, m.Stats())
	}
	if err := m.Read(func(*packet.Block) error { return io.EOF }); err != nil {
		t.Error(err)
	}
}

// traffic is a block of packets of so many flows.
func traffic(flows int) *packet.Block {
	r := rand.New(rand.NewPCG(1, 2))
	var frames []frame
	for i := range 4096 {
		n := uint32(r.IntN(flows))
		frames = append(frames, frame{start + int64(i), tcp(packet.V4(10<<24|n), server, uint16(n), 443, packet.ACK, 0)})
	}
	return block(frames...)
}

// TestNoAllocation: counting packets, and handing over, allocates nothing.
func TestNoAllocation(t *testing.T) {
	m, err := mirror.New(mirror.Config{}, func([]observe.Flow) {})
	if err != nil {
		t.Fatal(err)
	}
	b := traffic(1000)
	m.Ingest(b)
	if n := testing.AllocsPerRun(20, func() {
		m.Ingest(b)
		m.Flush()
	}); n != 0 {
		t.Errorf("%v allocations a block", n)
	}
}

// BenchmarkIngest counts packets of few flows, and of so many that none is in a cache.
func BenchmarkIngest(b *testing.B) {
	for name, flows := range map[string]int{"1k flows": 1000, "200k flows": 200_000} {
		b.Run(name, func(b *testing.B) {
			var blocks []*packet.Block
			r := rand.New(rand.NewPCG(1, 2))
			for range max(1, flows/4096) {
				var frames []frame
				for range 4096 {
					n := uint32(r.IntN(flows))
					frames = append(frames, frame{start, tcp(packet.V4(10<<24|n), server, uint16(n), 443, packet.ACK, 0)})
				}
				blocks = append(blocks, block(frames...))
			}
			m, err := mirror.New(mirror.Config{}, func([]observe.Flow) {})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				m.Ingest(blocks[n%len(blocks)])
				n++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/4096, "ns/packet")
		})
	}
}

// FuzzIngest: no frame makes the mirror fail, and each is accounted for.
func FuzzIngest(f *testing.F) {
	f.Add(tcp(client, server, 1, 2, packet.SYN, 3), uint16(packet.LinkRaw), int64(5))
	f.Add(bytes.Repeat([]byte{8}, 80), uint16(packet.LinkEthernet), int64(-1<<63))
	f.Fuzz(func(t *testing.T, data []byte, link uint16, at int64) {
		b := block(frame{start, data}, frame{at, data}, frame{start, data})
		for i := range b.Frames {
			b.Frames[i].Link = packet.LinkType(link)
		}
		flows, s := run(t, mirror.Config{Tunnels: 255, Most: 1}, b)
		if s.Frames != 3 || s.Packets+s.NotIP+s.Malformed+s.Cut+s.UnknownLink != 3 || s.Records != uint64(len(flows)) {
			t.Errorf("%+v, %d records", s, len(flows))
		}
	})
}
