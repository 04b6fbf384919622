package ddos_test

import (
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect/ddos"
	"sakimori/observe"
)

// million is a detector that knows a million own addresses, and records to them in
// random order, half of them out and half of them in.
func million(tb testing.TB, six bool) (*ddos.Detector, []observe.Flow) {
	tb.Helper()
	cfg := ddos.DefaultConfig()
	cfg.Own = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), own6}
	d, err := ddos.New(cfg, ddos.Ports{}, ddos.Sinks{})
	if err != nil {
		tb.Fatal(err)
	}
	r := rig{rng: 5}
	host := func(n uint64) packet.Addr {
		if six {
			// Subscribers with a /56 each, some addresses in it.
			return packet.Addr{Hi: 0x20010db8<<32 | n>>2<<8&0xffffffff, Lo: n*0x9e3779b97f4a7c15 | 1}
		}
		return packet.V4(0x0a000000 + uint32(n))
	}
	flows := make([]observe.Flow, 1<<20)
	for i := range flows {
		in, peer := host(uint64(i)%1_000_000), outside(i&0xffff)
		f := observe.Flow{
			Src: peer, Dst: in, Proto: packet.TCP, SrcPort: 443, DstPort: uint16(i), TCPFlags: 0x1b, Rate: 1, Seen: 10,
			Packets: 10, Bytes: 9000, First: start*1e9 - 3e8, Last: start*1e9 + 2e8, Exporter: 1, In: 2,
		}
		if i&1 == 1 {
			f.Src, f.Dst = in, peer
		}
		flows[i] = f
	}
	for i := range flows {
		j := r.below(i + 1)
		flows[i], flows[j] = flows[j], flows[i]
	}
	d.Tick(time.Unix(start, 0))
	for i := 0; i < len(flows); i += 1024 {
		d.Take(flows[i : i+1024])
	}
	return d, flows
}

// spent is the processor time of this process: that of the wall says little on a machine
// that is shared.
func spent(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resident(tb testing.TB) int {
	tb.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip("SKIPPED: no /proc/self/status")
	}
	for line := range strings.Lines(string(b)) {
		if s, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.Fields(s)[0])
			return n << 10
		}
	}
	return 0
}

// BenchmarkTake is a record of random access among a million addresses, IPv4 and IPv6,
// with the memory that they take ("MB": of the process, less what it had before).
func BenchmarkTake(b *testing.B) {
	for _, six := range []bool{false, true} {
		name := map[bool]string{false: "IPv4", true: "IPv6"}[six]
		b.Run(name, func(b *testing.B) {
			runtime.GC()
			before := resident(b)
			d, flows := million(b, six)
			mb := float64(resident(b)-before-len(flows)*104) / 1e6
			b.ReportAllocs()
			i, from := 0, spent(b)
			for b.Loop() {
				d.Take(flows[i : i+1024])
				i = (i + 1024) % len(flows)
			}
			b.ReportMetric(float64(spent(b)-from)/float64(b.N)/1024, "cpu-ns/record")
			b.ReportMetric(mb, "MB")
		})
	}
}

// BenchmarkFlood is a record of a flood that is under way: it is counted for the attack,
// too.
func BenchmarkFlood(b *testing.B) {
	r := newRig(b, ddos.Config{Thresholds: ddos.DefaultThresholds()})
	r.run(3, func(int) { r.hits(25000, observe.Flow{Proto: packet.UDP, SrcPort: 53}, 1200, 3000) })
	r.hits(1024, observe.Flow{Proto: packet.UDP, SrcPort: 53}, 1200, 3000)
	batch := r.batch
	b.ReportAllocs()
	from := spent(b)
	for b.Loop() {
		r.d.Take(batch)
	}
	b.ReportMetric(float64(spent(b)-from)/float64(b.N)/1024, "cpu-ns/record")
}

// BenchmarkTick is a second with a thousand warm objects touched.
func BenchmarkTick(b *testing.B) {
	cfg := ddos.DefaultConfig()
	cfg.Own = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	d, err := ddos.New(cfg, ddos.Ports{}, ddos.Sinks{})
	if err != nil {
		b.Fatal(err)
	}
	d.Tick(time.Unix(start, 0))
	flows := make([]observe.Flow, 1000)
	now := start
	for b.Loop() {
		b.StopTimer()
		for i := range flows {
			flows[i] = observe.Flow{
				Src: outside(i), Dst: packet.V4(0x0a000000 + uint32(i)*5), Proto: packet.TCP, SrcPort: 443, DstPort: 50000, TCPFlags: 0x1b, Rate: 1, Seen: 3000,
				Packets: 3000, Bytes: 3e6, First: now*1e9 - 3e9, Last: now * 1e9, Exporter: 1, In: 2,
			}
		}
		d.Take(flows)
		now++
		b.StartTimer()
		d.Tick(time.Unix(now, 0))
	}
}

// Nothing is allocated for a record, be it of an address that is cold, warm or attacked.
func TestAllocations(t *testing.T) {
	r := newRig(t, ddos.Config{})
	r.run(onset+3, func(int) {
		r.town()
		r.syn(2500)
	})
	r.said.one(t)
	r.town()
	r.syn(1000)
	for range 100 { // until everybody is warm who will be
		r.d.Take(r.batch)
	}
	if n := testing.AllocsPerRun(20, func() { r.d.Take(r.batch) }); n > 0 {
		t.Errorf("%v allocations a batch of %d", n, len(r.batch))
	}
}
