package telescope_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// small is the little world of the property tests: few addresses and ports, so
// that events meet, and a place for each source.
func small() telescope.Config {
	cfg := own(dark("198.51.100.0/28", "203.0.113.64/27", "2001:db8:d::/120"), "192.0.2.128/26")
	cfg.Place = func(a packet.Addr) ([2]byte, uint32) {
		return [][2]byte{{'J', 'P'}, {'U', 'S'}, {0, 0}, {'Z', 'Z'}, {'?', '?'}}[a.Lo%5], uint32(a.Lo % 3 * 64500)
	}
	cfg.Research = func(a packet.Addr) bool { return a.Lo%7 == 3 }
	return cfg
}

// draw is one packet of the little world.
func draw(r *rand.Rand) rec {
	src := fmt.Sprintf("192.0.2.%d", r.IntN(256))
	dst := []string{fmt.Sprintf("198.51.100.%d", r.IntN(16)), fmt.Sprintf("203.0.113.%d", 64+r.IntN(32))}[r.IntN(2)]
	if r.IntN(6) == 0 {
		src, dst = fmt.Sprintf("2001:db8::%x", r.IntN(20)), fmt.Sprintf("2001:db8:d::%x", r.IntN(256))
	}
	h := ip{src: src, dst: dst, id: uint16(r.UintN(1 << 16)), ttl: []uint8{50, 60, 120, 250}[r.IntN(4)]}
	port := []uint16{23, 80, 2323, 53, 123, uint16(1 + r.IntN(3000))}[r.IntN(6)]
	switch k := r.IntN(24); k {
	case 0, 1, 2, 3, 4, 5:
		return h.tcp(tcp{from: 40000, to: port, seq: r.Uint32(), flags: packet.SYN, window: 1024, options: linux[:4*r.IntN(6)]})
	case 6:
		return toolProbes[0].probe("198.51.100.3", 23, 0, r)
	case 7:
		return masscan(nil, 1024, 240, 0)("198.51.100.4", port, 0, r)
	case 8, 9:
		return h.tcp(tcp{from: port, to: 40000, flags: packet.SYN | packet.ACK})
	case 10:
		return h.tcp(tcp{from: port, to: 40000, flags: packet.TCPFlags(r.UintN(256))})
	case 11:
		return h.udp(53, 41000, dns(0x81, "example"))
	case 12:
		return h.udp(41000, 53, dns(1, "example"))
	case 13:
		return h.udp(11211, 41000, services[11211].answers[0])
	case 14:
		return h.udp(41000, 123, []byte{0x17, 0, 3, 0x2a})
	case 15:
		return h.icmp(8, 0, make([]byte, 8))
	case 16, 17:
		if netip := h.src[0] == '2'; netip {
			return h.icmp(1, 4, ipPacket(ip{src: dst, dst: fmt.Sprintf("2001:db8:f::%x", r.IntN(3))}, packet.UDP, udpBody(9, 53, nil)))
		}
		q := ipPacket(ip{src: dst, dst: fmt.Sprintf("192.0.2.%d", r.IntN(4)*60)}, packet.UDP, udpBody(4444, port, nil))
		return h.icmp(3, uint8(r.IntN(4)), q)
	case 18:
		if h.src[0] == '2' {
			return h.icmp(128, 0, nil)
		}
		h.id, h.frag = uint16(r.IntN(3)), []uint16{0x2000, 0x2004, 8}[r.IntN(3)]
		return frame(h, packet.UDP, udpBody(41000, port, make([]byte, 24)))
	case 19:
		return ip{src: dst, dst: src}.tcp(tcp{from: 5, to: port, flags: packet.SYN}) // from dark
	case 20:
		return syn(host, "192.0.2.200", 80) // to nobody dark
	case 21:
		return rec{link: packet.LinkEthernet, data: append(make([]byte, 12), 8, 6, 0, 1)} // ARP
	case 22:
		return rec{link: 250, data: []byte{1}} // a link type that isn't read
	default:
		b := make([]byte, r.IntN(60))
		for i := range b {
			b[i] = byte(r.UintN(256))
		}
		return rec{link: packet.LinkRaw, data: b}
	}
}

// stream draws packets with times. disorder lets some come late, or bear a
// stray date.
func stream(t *rapid.T, most int, disorder bool) []rec {
	n := rapid.IntRange(0, most).Draw(t, "packets")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	steps := []int64{0, 0, 0, 1, second, 5 * second, 9 * second, 29 * second, 59 * second}
	pace := rapid.IntRange(0, 3).Draw(t, "pace")
	now, wrong, by := start+r.Int64N(day), 0, int64(0)
	recs := make([]rec, n)
	for i := range recs {
		step := steps[r.IntN(len(steps))]
		switch x := r.IntN(400); {
		case pace > 0 && x < 8:
			step = []int64{61 * second, 119 * second, 2 * minute, 3 * minute, 10 * minute}[x%5]
		case pace > 1 && x < 14:
			step = []int64{59 * minute, 61 * minute, 62 * minute, 5 * hour}[x%4]
		case pace > 2 && x < 17:
			step = []int64{20 * hour, 26 * hour, 9 * day}[x%3]
		}
		now += step
		recs[i] = draw(r).at(now)
		if !disorder {
			continue
		}
		if wrong--; wrong >= 0 {
			recs[i].t += by
		}
		switch x := r.IntN(60); {
		case x < 6:
			recs[i].t -= r.Int64N(minute + 1)
		case x == 6:
			recs[i].t -= r.Int64N(40 * day)
		case x == 7:
			recs[i].t += []int64{23 * hour, 25 * hour, 3650 * day, 1 << 62}[r.IntN(4)]
		case x == 9 && wrong <= 0: // a clock is off for some frames
			wrong, by = r.IntN(15), []int64{-9, 9, -400}[r.IntN(3)]*day
		case x == 8 && r.IntN(5) == 0:
			recs[i].t = []int64{0, -1, -1 << 63, 1<<63 - 1}[r.IntN(4)]
		}
	}
	return recs
}

// blocks cuts a stream into blocks at random places.
func blocks(r *rand.Rand, recs []rec) (out [][]rec) {
	for len(recs) > 0 {
		n := 1 + r.IntN(len(recs))
		if r.IntN(3) == 0 {
			n = min(n, 1+r.IntN(9))
		}
		out = append(out, recs[:n])
		recs = recs[n:]
	}
	return out
}

// everything is all that a telescope has said, and what it holds at the end.
type everything struct {
	Sink     sink
	Document telescope.Document
	Open     []observe.Event
	Totals   telescope.Totals
	// The flags, kinds and tools, which have no JSON.
	Marks []string
}

func (r *rig) everything() everything {
	e := everything{Document: r.document(), Open: r.AllOpen(), Totals: r.Totals()}
	r.OpenBuckets()
	e.Sink = *r.sink
	for _, list := range [][]observe.Event{e.Open, e.Sink.Ended} {
		for _, v := range list {
			e.Marks = append(e.Marks, fmt.Sprintf("%d %s %s %b", v.ID, v.Kind, v.Tool, v.Flags))
		}
	}
	return e
}

// TestAgainstOracle: whatever comes, in whatever order and blocks, to however
// many workers, through however many restarts, in however small pieces: each figure is that of the
// oracle, and everything the telescope says is the same byte for byte.
func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		recs := stream(rt, 300, rapid.Bool().Draw(rt, "disorder"))
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "cuts"), 2))
		cfg := small()
		cfg.Workers = 1
		want := build(rt, cfg)
		o := newOracle(cfg)
		cut := blocks(r, recs)
		for _, b := range cut {
			want.feed(b...)
			o.take(b...)
		}
		want.finish()
		o.settle()
		if top := o.last/minute + 2; o.newest >= 0 {
			buckets, gaps := o.buckets(top)
			same(rt, "buckets", buckets, plain(want.Buckets, rt.Fatalf))
			same(rt, "gaps", gaps, want.Gaps)
			if d := cmp.Diff(o.sightings(top), toldBy(want.sights()), cmpopts.EquateComparable(told{})); d != "" {
				rt.Fatalf("sightings (-want +got):\n%s", d)
			}
		}
		d := want.document()
		same(rt, "document", o.document(), sums(d))
		c := classes(d)
		if c[0]+c[1]+c[2]+c[3] != d.DarkPackets {
			rt.Fatalf("classes %v don't add up to %d", c, d.DarkPackets)
		}
		events := uint64(0)
		for _, e := range append(want.AllOpen(), want.Ended...) {
			events += e.Packets
		}
		if events < o.packetsOfNotable() {
			rt.Fatalf("%d packets in events", events)
		}
		all := want.everything()

		cfg.Workers = rapid.SampledFrom([]int{1, 2, 3, 5}).Draw(rt, "workers")
		cfg.Pieces(rapid.SampledFrom([]int{0, 0, 1, 7, 40}).Draw(rt, "pieces"))
		got := build(rt, cfg)
		for _, b := range blocks(r, recs) {
			got.feed(b...)
			if r.IntN(4) == 0 {
				got.move(rt, 1+r.IntN(5))
			}
		}
		got.finish()
		same(rt, "what another telescope says", all, got.everything())
	})
}

// packetsOfNotable is a lower bound of what events hold: none is lost but those
// that ended with few packets, and within an hour none ends.
func (o *oracle) packetsOfNotable() uint64 {
	if o.last-o.first > hour {
		return 0
	}
	return uint64(len(o.packets))
}

// TestShift: all clocks shifted by whole days shift everything that is said.
func TestShift(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		recs := stream(rt, 150, false)
		by := int64(rapid.IntRange(-9000, 30000).Draw(rt, "days")) * day
		shifted := slices.Clone(recs)
		for i := range shifted {
			shifted[i].t += by
		}
		a, b := watch(rt, small(), recs...), watch(rt, small(), shifted...)
		same(rt, "what was said of shifted packets", unshift(a.everything(), 0), unshift(b.everything(), by))
	})
}

// unshift takes a shift out of everything, and the IDs of events, which are
// made of their times.
func unshift(e everything, by int64) everything {
	back := func(t time.Time) time.Time { return t.Add(-time.Duration(by)).UTC() }
	for i := range e.Sink.Buckets {
		e.Sink.Buckets[i].Start -= by / second
	}
	for i := range e.Sink.Partial {
		e.Sink.Partial[i].Start -= by / second
	}
	for i := range e.Sink.Gaps {
		e.Sink.Gaps[i] = [2]time.Time{back(e.Sink.Gaps[i][0]), back(e.Sink.Gaps[i][1])}
	}
	for i := range e.Sink.Clocks {
		e.Sink.Clocks[i] = back(e.Sink.Clocks[i])
	}
	for _, v := range e.Sink.Sights {
		for i := range v {
			v[i].Minute -= by / second
			v[i].First, v[i].Last, v[i].Since = v[i].First-by, v[i].Last-by, v[i].Since-by
		}
	}
	for _, v := range [][]observe.Event{e.Sink.Ended, e.Open} {
		for i := range v {
			v[i].ID, v[i].First, v[i].Last = 0, back(v[i].First), back(v[i].Last)
		}
	}
	d := &e.Document
	if d.First != nil {
		first, last := back(*d.First), back(*d.Last)
		d.First, d.Last = &first, &last
	}
	for i := range d.Scanners {
		d.Scanners[i].First, d.Scanners[i].Last = back(d.Scanners[i].First), back(d.Scanners[i].Last)
	}
	e.Marks = nil
	return e
}

// TestShuffle: the order of packets that bear the same time changes nothing in
// counts and sums. Fragments are left out: of a datagram the first one counts,
// and what it is depends on which that is.
func TestShuffle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		recs := slices.DeleteFunc(stream(rt, 200, false), func(r rec) bool { return decoded(r).Flags&packet.Fragment != 0 })
		for i := range recs {
			recs[i].t -= recs[i].t % (10 * second)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "order"), 3))
		shuffled := slices.Clone(recs)
		for from := 0; from < len(recs); {
			to := from + 1
			for to < len(recs) && recs[to].t == recs[from].t {
				to++
			}
			part := shuffled[from:to]
			r.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
			from = to
		}
		a, b := watch(rt, small(), recs...), watch(rt, small(), shuffled...)
		same(rt, "buckets", a.Buckets, b.Buckets)
		same(rt, "sums", sums(a.document()), sums(b.document()))
		if d := cmp.Diff(toldBy(a.sights()), toldBy(b.sights()), cmpopts.EquateComparable(told{})); d != "" {
			rt.Fatal(d)
		}
	})
}

// TestBegin: the documents of two imports add up to that of both together, and
// the second one counts its sources although their events began in the first.
func TestBegin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		recs := stream(rt, 200, false)
		at := rapid.IntRange(0, len(recs)).Draw(rt, "cut")
		cfg := small()
		r := build(rt, cfg)
		first, second := newOracle(cfg), newOracle(cfg)
		r.feed(recs[:at]...).Settle()
		first.take(recs[:at]...)
		first.settle()
		second.frags, second.top = first.frags, first.top
		second.newest, second.minutes, second.pauses = first.newest, first.minutes, first.pauses
		same(rt, "the first document", first.document(), sums(r.document()))
		if rapid.Bool().Draw(rt, "restart") {
			r.move(rt, 1+at%4)
		}
		r.Begin()
		r.feed(recs[at:]...)
		second.take(recs[at:]...)
		r.Settle()
		second.settle()
		same(rt, "the second document", second.document(), sums(r.document()))
		end := time.Unix(0, max(first.last, second.last)).Add(2 * time.Minute)
		r.Advance(end)
		// What detectors and counts get doesn't know of documents.
		whole := build(rt, cfg).feed(recs[:at]...)
		whole.Settle()
		whole.feed(recs[at:]...).Settle()
		whole.Advance(end)
		whole.Totals()
		same(rt, "buckets", whole.Buckets, r.Buckets)
		same(rt, "sightings", whole.Sights, r.Sights)
	})
}

// TestStateIsStable: a state restored into as many workers writes itself again.
func TestStateIsStable(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := small()
		cfg.Workers = rapid.IntRange(1, 4).Draw(rt, "workers")
		r := build(rt, cfg).feed(stream(rt, 200, true)...)
		sum := func() string { b, _ := json.Marshal(r.everything()); return string(b) }
		before := r.State()
		said := sum()
		r.move(rt, cfg.Workers)
		if after := r.State(); r.Totals().Frames > 0 && len(before) != len(after) {
			rt.Fatalf("a state of %d bytes became one of %d", len(before), len(after))
		}
		r.sink.Partial = nil
		if d := cmp.Diff(said, sum()); d != "" {
			rt.Fatal(d)
		}
	})
}
