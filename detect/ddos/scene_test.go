package ddos_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
)

// start is when scenes begin, and onset after how many seconds their attack does.
const (
	start = int64(1_790_000_000)
	onset = 20
)

var (
	own    = netip.MustParsePrefix("203.0.112.0/22")
	own6   = netip.MustParsePrefix("2001:db8::/32")
	victim = packet.FromNetip(netip.MustParseAddr("203.0.113.80"))
)

// heard is everything that a detector said.
type heard struct {
	versions []detect.Attack
	findings []detect.Finding
	course   map[string]map[int64]detect.CoursePoint
}

func (h *heard) Attack(a detect.Attack) { h.versions = append(h.versions, a) }
func (h *heard) Find(f detect.Finding)  { h.findings = append(h.findings, f) }
func (h *heard) Course(id string, points []detect.CoursePoint) {
	if h.course == nil {
		h.course = map[string]map[int64]detect.CoursePoint{}
	}
	if h.course[id] == nil {
		h.course[id] = map[int64]detect.CoursePoint{}
	}
	for _, p := range points {
		h.course[id][p.At] = p
	}
}

// last are the newest versions of all attacks, in order of opening.
func (h *heard) last() (out []detect.Attack) {
	at := map[string]int{}
	for _, a := range h.versions {
		if i, ok := at[a.ID]; ok {
			out[i] = a
			continue
		}
		at[a.ID] = len(out)
		out = append(out, a)
	}
	return out
}

// one expects exactly one attack.
func (h *heard) one(t *testing.T) detect.Attack {
	t.Helper()
	all := h.last()
	if len(all) != 1 {
		for _, a := range all {
			t.Logf("%s %s %s", a.ID, a.Title.EN, a.Why.EN)
		}
		t.Fatalf("%d attacks were found, one was wanted", len(all))
	}
	return all[0]
}

// none expects that nobody is accused.
func (h *heard) none(t *testing.T) {
	t.Helper()
	for _, a := range h.last() {
		t.Errorf("an innocent was accused: %s: %s", a.Title.EN, a.Why.EN)
	}
}

// rig is a detector and what feeds it.
type rig struct {
	tb    testing.TB
	d     *ddos.Detector
	said  heard
	rng   uint64
	now   int64
	batch []observe.Flow
	rate  uint32 // packet sampling: 0 flows as they are
	debt  float64
}

func newRig(tb testing.TB, cfg ddos.Config) *rig {
	tb.Helper()
	r := &rig{tb: tb, rng: 7, now: start}
	if cfg.Addresses == 0 {
		cfg.Addresses, cfg.Warm = 1<<14, 256
	}
	if cfg.Thresholds.Address == (ddos.Line{}) { // a tenth of the default: a scene costs a tenth
		cfg.Thresholds.Address = ddos.Line{Packets: 2000, Bits: 100e6, Flows: 350}
		cfg.Thresholds.Outgoing = cfg.Thresholds.Address
		cfg.Thresholds.Prefix = ddos.Line{Packets: 6000, Bits: 300e6, Flows: 1050}
	}
	if cfg.Own == nil {
		cfg.Own = []netip.Prefix{own, own6}
	}
	d, err := ddos.New(cfg, ddos.Ports{
		Place: func(a packet.Addr) ([2]byte, uint32) { return [2]byte{'J', 'P'}, 64500 + uint32(a.Lo&3) },
	}, ddos.Sinks{Attacks: &r.said, Findings: &r.said})
	if err != nil {
		tb.Fatal(err)
	}
	r.d = d
	d.Tick(time.Unix(start, 0))
	return r
}

// u64 is chance that is the same each time.
func (r *rig) u64() uint64 {
	r.rng += 0x9e3779b97f4a7c15
	x := r.rng
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (r *rig) below(n int) int { return int(r.u64() % uint64(n)) }

// flow is one that lasts some milliseconds of the second in hand, unless it says when.
func (r *rig) flow(f observe.Flow) {
	if f.First == 0 {
		f.First = r.now*1e9 + int64(r.below(990))*1e6
	}
	f.Last = max(f.Last, f.First)
	f.Exporter, f.In = 1, 10
	if r.rate > 1 {
		r.sampled(f)
		return
	}
	f.Rate, f.Seen = 1, uint32(f.Packets)
	r.batch = append(r.batch, f)
}

// sampled takes one of rate packets, as sFlow does.
func (r *rig) sampled(f observe.Flow) {
	n, size := f.Packets, f.Bytes/f.Packets
	for range n {
		if r.below(int(r.rate)) != 0 {
			continue
		}
		s := f
		s.Seen, s.Rate, s.Marks = 1, r.rate, s.Marks|observe.FlowSample
		s.Packets, s.Bytes = uint64(r.rate), size*uint64(r.rate)
		if s.Last > s.First {
			s.First += int64(r.u64() % uint64(s.Last-s.First+1))
			s.Last = s.First
		}
		r.batch = append(r.batch, s)
	}
}

// second ends the second in hand.
func (r *rig) second() {
	r.d.Take(r.batch)
	r.batch = r.batch[:0]
	r.now++
	r.d.Tick(time.Unix(r.now, 0))
}

// run plays so many seconds.
func (r *rig) run(seconds int, scene func(s int)) {
	for range seconds {
		scene(int(r.now - start))
		r.second()
	}
}

// outside is one of n addresses elsewhere.
func outside(n int) packet.Addr { return packet.V4(0x64400000 + uint32(n)*2654435761>>12) }

// town is ordinary traffic of some servers and subscribers, both ways.
func (r *rig) town() {
	for k := range 40 {
		host, peer := packet.V4(0xcb007100+uint32(k*6)), outside(k)
		r.flow(observe.Flow{Src: peer, Dst: host, Proto: packet.TCP, SrcPort: 40000 + uint16(k), DstPort: 443, TCPFlags: 0x1b, Packets: 12, Bytes: 1800})
		r.flow(observe.Flow{Src: host, Dst: peer, Proto: packet.TCP, SrcPort: 443, DstPort: 40000 + uint16(k), TCPFlags: 0x1b, Packets: 20, Bytes: 24000})
	}
}

// hits is a flood of pps packets to the victim in the second in hand.
func (r *rig) hits(pps int, f observe.Flow, size, sources int) {
	if f.Dst == (packet.Addr{}) {
		f.Dst = victim
	}
	for k := range pps {
		g := f
		switch {
		case f.Src != (packet.Addr{}):
		case sources == 0:
			g.Src = packet.V4(uint32(r.u64()))
		default:
			g.Src = outside(1000 + k%sources)
		}
		if g.SrcPort == 0 && (g.Proto == packet.TCP || g.Proto == packet.UDP) {
			g.SrcPort = uint16(1024 + r.below(64000))
		}
		g.Packets, g.Bytes = 1, uint64(size)
		r.flow(g)
	}
}

func delay(a *detect.Attack) time.Duration {
	return a.Detected.Sub(time.Unix(start+onset, 0))
}

func describe(a *detect.Attack) string {
	return fmt.Sprintf("%s | %s | %s", a.Title.EN, a.Why.EN, a.Title.JA)
}
