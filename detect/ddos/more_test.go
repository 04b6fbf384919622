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

// An own address that floods several targets, none of them above the line, is told by
// itself; one that scans isn't.
func TestSpray(t *testing.T) {
	t.Parallel()
	for _, targets := range []int{6, 2000} {
		r := newRig(t, ddos.Config{})
		bot := packet.V4(0xcb007242)
		r.run(onset+5, func(s int) {
			r.town()
			for k := range 4000 {
				if s >= onset {
					f := observe.Flow{Src: bot, Dst: outside(5000 + k%targets), Proto: packet.UDP, SrcPort: uint16(k), DstPort: 80, Packets: 1, Bytes: 600}
					if targets > 100 {
						f.Proto, f.TCPFlags, f.Bytes = packet.TCP, packet.SYN, 60
					}
					r.flow(f)
				}
			}
		})
		if targets > 100 {
			r.said.none(t)
			continue
		}
		a := r.said.one(t)
		if a.Direction != detect.Outgoing || a.Object.Prefix.Addr() != bot.Netip() || len(r.d.Participants()) != 1 {
			t.Errorf("%+v %s", a.Object, describe(&a))
		}
	}
}

// What an exporter tells where packets leave, after it told where they came in, counts
// once; and what routers dropped is apart in the course.
func TestTwiceAndDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{})
	r.run(onset+6, func(s int) {
		r.town()
		if s < onset {
			return
		}
		before := len(r.batch)
		r.hits(1200, observe.Flow{Proto: packet.UDP, SrcPort: 123}, 468, 900)
		for _, f := range r.batch[before:] {
			f.Marks |= observe.FlowEgress
			r.batch = append(r.batch, f)
		}
	})
	r.said.none(t)
	if f := r.d.Figures(); f.Twice != 6*1200 {
		t.Errorf("%+v", f)
	}

	r = newRig(t, ddos.Config{})
	r.run(onset+6, func(s int) {
		r.town()
		if s >= onset {
			r.hits(3000, observe.Flow{Proto: packet.UDP, SrcPort: 123}, 468, 900)
			r.hits(1000, observe.Flow{Proto: packet.UDP, SrcPort: 123, Marks: observe.FlowDropped}, 468, 900)
		}
	})
	a := r.said.one(t)
	if p := r.said.course[a.ID][start+onset+3]; p.Dropped != 1000 || p.Packets < 3000 || p.Packets > 3100 || p.Limit != 2000 {
		t.Errorf("%+v", p)
	}
}

// A customer without a fixed line has its habit: the same hour on three days before. What
// has the form of an attack is one, what hasn't is a rise, and below it nothing is told.
func TestHabit(t *testing.T) {
	t.Parallel()
	th := ddos.DefaultThresholds()
	th.Customers = []ddos.Customer{{Name: "Shop", Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}}
	shop := func(r *rig, pps int) {
		for k := range 4 {
			n := uint64(pps/4 + r.below(pps/40+1))
			r.flow(observe.Flow{Src: outside(k), Dst: packet.V4(0xcb007100 + uint32(k)), Proto: packet.TCP, SrcPort: 40000, DstPort: 443, TCPFlags: 0x1b, Packets: n, Bytes: n * 100})
			r.flow(observe.Flow{Dst: outside(k), Src: packet.V4(0xcb007100 + uint32(k)), Proto: packet.TCP, DstPort: 40000, SrcPort: 443, TCPFlags: 0x1b, Packets: n, Bytes: n * 900})
		}
	}
	for _, days := range []int{2, 3} {
		r := newRig(t, ddos.Config{Thresholds: th})
		r.now -= r.now % 3600
		for range days {
			r.run(3700, func(int) { shop(r, 400) })
			r.now += 86400 - 3700
		}
		r.run(70, func(int) { shop(r, 440) })
		r.said.none(t)
		r.run(6, func(int) {
			shop(r, 400)
			r.hits(3000, observe.Flow{Dst: packet.V4(0xcb007150), Proto: packet.UDP, SrcPort: 123}, 468, 900)
		})
		if days < 3 { // not known yet, and nothing is guessed
			r.said.none(t)
			continue
		}
		a := r.said.one(t)
		if a.Object.Name != "Shop" || a.Object.Kind != detect.CustomerObject || a.Usual == nil || a.Usual.Packets.N < 350 || a.Usual.Packets.N > 500 {
			t.Errorf("%+v usual %+v: %s", a.Object, a.Usual, describe(&a))
		}
		r.run(300, func(int) { shop(r, 400) })
		if a := r.said.one(t); a.State != detect.Closed {
			t.Errorf("it is %s", a.State)
		}
		r.run(6, func(int) { shop(r, 9000) })
		if all := r.said.last(); len(all) != 2 || all[1].Vectors[0].Name != "rise" || all[1].Severity != detect.Note {
			t.Errorf("%d attacks; %s", len(all), describe(&all[len(all)-1]))
		}

		// The habit outlives a restart.
		state, err := r.d.State()
		if err != nil {
			t.Fatal(err)
		}
		again := newRig(t, ddos.Config{Thresholds: th})
		if err := again.d.Restore(state); err != nil {
			t.Fatal(err)
		}
		if n := again.d.Figures().Habits; n != r.d.Figures().Habits || n == 0 {
			t.Errorf("%d habits", n)
		}
	}
}

// When no place is left for warm objects, those that are less busy make it.
func TestPlaces(t *testing.T) {
	t.Parallel()
	th := ddos.DefaultThresholds()
	th.Address, th.Prefix = ddos.Line{Packets: 2000}, ddos.Line{Packets: 1e9}
	r := newRig(t, ddos.Config{Addresses: 1 << 14, Warm: 64, Thresholds: th})
	r.run(onset+4, func(s int) {
		for k := range 200 { // each a quarter of its line, and answered
			host := packet.V4(0xcb007000 + uint32(k))
			r.flow(observe.Flow{Src: outside(k), Dst: host, Proto: packet.UDP, SrcPort: 443, DstPort: 5000, Packets: 500, Bytes: 50000})
			r.flow(observe.Flow{Dst: outside(k), Src: host, Proto: packet.UDP, DstPort: 443, SrcPort: 5000, Packets: 250, Bytes: 50000})
		}
		if s >= onset {
			r.hits(5000, observe.Flow{Dst: packet.V4(0xcb0073f0), Proto: packet.ICMP}, 84, 3000)
		}
	})
	a := r.said.one(t)
	if f := r.d.Figures(); delay(&a) > 3*time.Second || f.WarmFull == 0 {
		t.Errorf("%v %+v", delay(&a), f)
	}
}

// Where the form is beyond doubt one second is enough, and the attack lasts from the first
// to the last second that has it, not only while it is above the line.
func TestOneSecond(t *testing.T) {
	t.Parallel()
	r := newRig(t, ddos.Config{Own: []netip.Prefix{}})
	for k := range 4000 {
		r.flow(observe.Flow{Src: packet.V4(uint32(r.u64())), Dst: victim, Proto: packet.TCP, SrcPort: uint16(k), DstPort: 80, TCPFlags: packet.SYN, Packets: 1, Bytes: 46, First: r.now*1e9 + int64(k)*1e4})
	}
	r.second()
	a := r.said.one(t)
	if a.Vectors[0].Name != "syn" || a.Packets.N != 4000 || a.Sources.Count.N < 3990 || a.Detected.Sub(a.Opened) != time.Second {
		t.Errorf("%v packets, %v sources: %s", a.Packets, a.Sources.Count, describe(&a))
	}

	r = newRig(t, ddos.Config{Own: []netip.Prefix{}})
	r.run(200, func(s int) {
		switch {
		case s == onset+8:
			r.hits(800, observe.Flow{Proto: packet.TCP, DstPort: 80, TCPFlags: packet.SYN}, 46, 0)
		case s >= onset && s < onset+23:
			r.hits(200, observe.Flow{Proto: packet.TCP, DstPort: 80, TCPFlags: packet.SYN}, 46, 0)
		}
	})
	r.said.one(t)
	x := r.d.Results()[0]
	if x.First.Unix() != start+onset || x.Last.Unix() != start+onset+22 || x.Packets != 22*200+800 {
		t.Errorf("from %d to %d: %v packets", x.First.Unix()-start, x.Last.Unix()-start, x.Packets)
	}
}
