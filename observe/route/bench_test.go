package route_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sakimori/base/corpus"
	"sakimori/base/wire/bgp"
	"sakimori/observe/route"
)

// BenchmarkUpdate: updates of one prefix each, at random places of a table of 1,000,000
// prefixes and 4 peers, with 5 ASes and 3 communities, of 200,000 paths for each peer. What it
// costs a CPU-second is told beside the memory: of the process with the table in it.
func BenchmarkUpdate(b *testing.B) {
	const prefixes, sharing, many = 1_000_000, 5, 4
	n := 0
	tab := table(b, route.Config{}, counter{&n})
	p := peers(tab, many)
	r := rand.New(rand.NewPCG(1, 2))
	x := func(i int) netip.Prefix {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i)<<8+1<<24)
		return netip.PrefixFrom(netip.AddrFrom4(a), 24)
	}
	path := func(peer, i int) said {
		return said{ases: []uint32{uint32(64500 + peer), uint32(1 + i%50), uint32(1000 + i%997), uint32(3000 + i%9973), uint32(100000 + i)}, communities: []uint32{1, uint32(i % 1000), 3}}
	}
	began, resident := cpu(), rss(b)
	for peer := range many {
		tab.Up(p[peer], epoch, netip.Addr{})
		for i := 0; i < prefixes; i += sharing {
			s := path(peer, i/sharing)
			for k := range sharing {
				s.announce = append(s.announce, x(i+k))
			}
			if err := tab.Update(p[peer], four, s.bytes(), epoch); err != nil {
				b.Fatal(err)
			}
		}
	}
	tab.Flush()
	c := tab.Counts()
	if c.Routes != many*prefixes || c.Prefixes != prefixes {
		b.Fatalf("%+v", c)
	}
	load := float64(cpu()-began) / many / prefixes
	for _, peer := range p {
		_ = tab.Update(peer, four, endOfRIB(), epoch)
	}
	messages := make([][]byte, 1<<17)
	from := make([]uint32, len(messages))
	for i := range messages {
		peer, k := r.IntN(many), r.IntN(prefixes)
		s := path(peer, r.IntN(prefixes/sharing))
		s.announce = []netip.Prefix{x(k)}
		messages[i], from[i] = s.bytes(), p[peer]
	}
	var e bgpScan
	for name, f := range map[string]func(i int){
		"scan":   func(i int) { e.scan(messages[i]) },
		"update": func(i int) { _ = tab.Update(from[i], four, messages[i], epoch+int64(i)*1000) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began, i := cpu(), 0
			for b.Loop() {
				f(i & (len(messages) - 1))
				i++
			}
			b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op")
		})
	}
	b.Logf("load %.0f cpu-ns a route; %d paths; %.1f bytes a route counted, %.1f of the process; %d changes", load, c.Paths,
		float64(c.Bytes)/float64(c.Routes), float64(rss(b)-resident)/float64(c.Routes), n)
}

// cpu is the processor time that this process has used, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// rss is the memory that this process has now, in bytes.
func rss(tb testing.TB) int64 {
	tb.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip("SKIPPED, NOT TESTED: memory is told on Linux alone")
	}
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(s)[0], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kb << 10
		}
	}
	tb.Fatal("no VmRSS")
	return 0
}

// bgpScan is what reading a message alone costs.
type bgpScan struct {
	u    bgp.Update
	path bgp.Path
	key  []byte
}

func (s *bgpScan) scan(m []byte) {
	s.u.Parse(m[19:], four)
	for _, b := range s.u.Announced() {
		s.key = s.u.Key(s.key[:0], b.NextHop, &s.path)
		for p := (bgp.Prefix{}); b.Next(&p); {
		}
	}
}

// BenchmarkDump: a dump of RIPE's of 2002 (112,988 prefixes, old format) is read into an
// empty table, decompression included.
func BenchmarkDump(b *testing.B) {
	path := corpus.Folder(b, "bgp", "bgpdump", "data", "bview.20020722.2337.gz")
	began, n := cpu(), uint64(0)
	for b.Loop() {
		f, err := route.Read(b.Context(), table(b, route.Config{}), path, route.ReadOptions{})
		if err != nil {
			b.Fatal(err)
		}
		n += f.Elements
	}
	b.ReportMetric(float64(cpu()-began)/float64(n), "cpu-ns/route")
}
