package telescope_test

import (
	"fmt"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// TestLate: packets that come up to a minute late are counted in their own
// minute, and those up to a day late in the oldest minute that is open. What bears
// a date that isn't believed is counted as stray alone, wherever it stands.
func TestLate(t *testing.T) {
	at := func(ns ...int64) (recs []rec) {
		for _, n := range ns {
			recs = append(recs, syn(host, target, 23).at(start+n))
		}
		return recs
	}
	// With the sixth frame the time is known.
	begun := func(ns ...int64) (recs []rec) { return append(at(0, 1, 2, 3, 4), at(ns...)...) }
	later := func(by int64, n int) (ns []int64) {
		for i := range int64(n) {
			ns = append(ns, by+i*second)
		}
		return ns
	}
	for _, c := range []struct {
		name        string
		recs        []rec
		late, stray uint64
		minutes     map[int64]uint64 // packets by minutes after start
	}{
		{"in order", at(0, 30*second, 70*second), 0, 0, map[int64]uint64{0: 2, 1: 1}},
		{"50 s late", at(0, 70*second, 20*second, 71*second), 0, 0, map[int64]uint64{0: 2, 1: 2}},
		{"late over two minutes", at(0, 150*second, 20*second, 61*second), 1, 0, map[int64]uint64{0: 1, 1: 2, 2: 1}},
		{"23 hours late", begun(0, 150*second, -23*hour, 151*second), 1, 0, map[int64]uint64{0: 6, 1: 1, 2: 2}},
		{"a week late", begun(0, 150*second, -7*day, 151*second), 0, 1, map[int64]uint64{0: 6, 2: 2}},
		{"1970", begun(0, 150*second, -start, 151*second), 0, 1, map[int64]uint64{0: 6, 2: 2}},
		{"before 1970", begun(0, 150*second, -start-day, 151*second), 0, 1, map[int64]uint64{0: 6, 2: 2}},
		{"ten years ahead", begun(second, 3650*day, 2*second, 3*second), 0, 1, map[int64]uint64{0: 8}},
		{"five of ten years ahead", begun(second, 3650*day, 3650*day, 3650*day+1, 3650*day+2, 3650*day+3, 3*second), 0, 5, map[int64]uint64{0: 7}},
		{"beyond what can be told", begun(second, 1<<63-1-start, 2*second), 0, 1, map[int64]uint64{0: 7}},
		{"the last", begun(second, 3650*day), 0, 1, map[int64]uint64{0: 6}},
		{"the last five", begun(append([]int64{second}, later(3650*day, 5)...)...), 0, 5, map[int64]uint64{0: 6}},
		{"the first", append(at(3650*day), begun(second, 2*second)...), 0, 1, map[int64]uint64{0: 7}},
		{"the first of 1970", append(at(-start), begun(second, 2*second)...), 0, 1, map[int64]uint64{0: 7}},
		{"five first", append(at(3650*day, -start, -start+1, 9*day, 9*day+1), begun(second)...), 0, 5, map[int64]uint64{0: 6}},
		{"23 hours ahead is believed", at(0, 23*hour, 23*hour+second), 0, 0, map[int64]uint64{0: 1, 23 * 60: 2}},
		{"a pause of ten days is believed from the sixth", begun(append([]int64{5}, later(10*day, 6)...)...), 0, 0, map[int64]uint64{0: 6, 14400: 6}},
		{"with strays in it", begun(append(append([]int64{5, 10 * day, 4000 * day, -900 * day}, later(10*day, 5)...), 5000*day, 10*day)...), 0, 3, map[int64]uint64{0: 6, 14400: 7}},
		{"a packet every other day", at(0, 2*day, 4*day, 6*day, 8*day, 10*day, 12*day, 14*day), 0, 0, map[int64]uint64{0: 1, 2880: 1, 5760: 1, 8640: 1, 11520: 1, 14400: 1, 17280: 1, 20160: 1}},
		{"one day is most of it", at(0, 1, 2, 40*day), 0, 1, map[int64]uint64{0: 3}},
		{"a clock set back", begun(append([]int64{150 * second}, later(-9*day, 7)...)...), 7, 0, map[int64]uint64{0: 5, 1: 7, 2: 1}},
		{"a clock set back, and five", begun(append([]int64{150 * second}, later(-9*day, 5)...)...), 0, 5, map[int64]uint64{0: 5, 2: 1}},
		{"time before all", []rec{syn(host, target, 23).at(-1)}, 0, 1, nil},
	} {
		r := watch(t, dark("198.51.100.0/24"), c.recs...)
		d := r.document()
		if d.Late != c.late || d.Stray != c.stray || d.DarkPackets+d.Stray != uint64(len(c.recs)) || d.Packets != uint64(len(c.recs)) {
			t.Errorf("%s: %d late, want %d; %d stray, want %d; %d dark packets of %d", c.name, d.Late, c.late, d.Stray, c.stray, d.DarkPackets, len(c.recs))
		}
		got := map[int64]uint64{}
		for _, b := range r.Buckets {
			if b.Grain == observe.Minute && len(b.Rows) > 0 {
				got[(b.Start-start/second)/60] = b.Rows[0].Packets
			}
		}
		for m, n := range c.minutes {
			if got[m] != n {
				t.Errorf("%s: minute %d has %d packets, want %d", c.name, m, got[m], n)
			}
			delete(got, m)
		}
		if len(got) > 0 {
			t.Errorf("%s: and %v", c.name, got)
		}
	}
}

// TestLateSightings: an answer that comes late belongs to its own minute, also
// when the event has had answers in the next one already.
func TestLateSightings(t *testing.T) {
	answer := func(n int64) rec {
		return ip{src: host, dst: target}.tcp(tcp{from: 80, to: 5, flags: packet.RST}).at(start + n*second)
	}
	r := watch(t, dark("198.51.100.0/24"), answer(10), answer(62), answer(55), answer(63), answer(59), answer(130))
	var got []string
	for _, batch := range r.Sights {
		for _, s := range batch {
			got = append(got, fmt.Sprintf("%d: %d %v total %d", s.Minute-start/second, s.Packets, s.Bins, s.Total))
		}
	}
	want := []string{"0: 3 [0 1 0 0 0 2] total 5", "60: 2 [2 0 0 0 0 0] total 4", "120: 1 [0 1 0 0 0 0] total 6"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestGap: an hour without a frame is silence, and counted as watched; more is
// a gap, and its time isn't. Frames to nobody dark keep a telescope awake.
func TestGap(t *testing.T) {
	for _, c := range []struct {
		name   string
		recs   []rec
		gaps   int
		looked float64 // days watched
	}{
		{"an hour's silence", []rec{syn(host, target, 23).at(start), syn(host, target, 23).at(start + 61*minute)}, 0, 62.0 / 1440},
		{"a minute more", []rec{syn(host, target, 23).at(start), syn(host, target, 23).at(start + 62*minute)}, 1, 2.0 / 1440},
		{"two days", append(six(start), six(start+2*day)...), 1, 2.0 / 1440},
		{"other people's frames", quietHours(), 0, 301.0 / 1440},
	} {
		r := build(t, dark("198.51.100.0/24")).feed(c.recs...)
		r.Settle()
		r.Advance(time.Unix(0, start+4*day)) // ends the day too, and is a gap itself only when a frame comes
		r.Totals()
		if len(r.Gaps) != c.gaps {
			t.Errorf("%s: gaps %v", c.name, r.Gaps)
		}
		minutes := 0
		for _, b := range r.Buckets {
			if b.Grain == observe.Minute {
				minutes++
				if b.Looked != 1 {
					t.Errorf("%s: a minute looked at for %g", c.name, b.Looked)
				}
			}
		}
		if want := int(c.looked*1440 + 0.5); minutes != want {
			t.Errorf("%s: %d minutes, want %d", c.name, minutes, want)
		}
		for i := 1; i < len(r.Clocks); i++ {
			if !r.Clocks[i].After(r.Clocks[i-1]) {
				t.Errorf("%s: the clock goes from %s to %s", c.name, r.Clocks[i-1], r.Clocks[i])
			}
		}
	}
}

// six are as many packets as it takes to be believed.
func six(at int64) (recs []rec) {
	for i := range int64(6) {
		recs = append(recs, syn(host, target, 23).at(at+i))
	}
	return recs
}

// quietHours has a dark packet, five hours of frames to others in pairs that
// are three minutes apart, and another dark packet.
func quietHours() []rec {
	recs := []rec{syn(host, target, 23).at(start)}
	for m := int64(3); m < 300; m += 3 {
		recs = append(recs, syn(host, "192.0.2.1", 80).at(start+m*minute))
	}
	return append(recs, syn(host, target, 23).at(start+300*minute))
}

// TestAdvanceTells: live, the clock of the machine says that days have gone by
// without a packet: one is enough then, and one that came before is taken at once.
func TestAdvanceTells(t *testing.T) {
	r := build(t, dark("198.51.100.0/24")).feed(six(start)...)
	one := func(at int64) *rig { return r.feed(syn(host, target, 23).at(at)) }
	for i, c := range []struct {
		ahead, told int64 // days
		dark, stray uint64
	}{{10, 0, 6, 1}, {10, 10, 8, 0}, {30, 20, 8, 1}, {20, 20, 9, 1}, {21, 0, 10, 1}} {
		one(start + c.ahead*day)
		if c.told > 0 {
			r.Advance(time.Unix(0, start+c.told*day+second))
		}
		if d := r.document(); d.DarkPackets != c.dark || d.Stray != c.stray || d.Packets != uint64(7+i) {
			t.Errorf("%d: %d dark packets, %d stray of %d", i, d.DarkPackets, d.Stray, d.Packets)
		}
	}
	if late, stray := r.Misdated(); late != 0 || stray != 1 {
		t.Errorf("%d late, %d stray", late, stray)
	}
}

// TestAdvance: the data's time may come on without a frame; minutes close, the
// clock is told, and hours and days end.
func TestAdvance(t *testing.T) {
	r := build(t, dark("198.51.100.0/24"))
	r.Advance(time.Unix(0, start)) // nothing has begun
	r.feed(ip{src: host, dst: target}.tcp(tcp{from: 80, to: 5, flags: packet.RST}).at(start + 23*hour + 58*minute))
	if r.Totals(); len(r.Buckets) != 0 || len(r.sights()) != 0 {
		t.Fatal("a minute was closed that isn't over")
	}
	for m := range int64(5) {
		r.Advance(time.Unix(0, start+23*hour+(58+m)*minute))
		r.Totals()
		// A minute stays open for another one, for late packets.
		if got := len(r.Clocks); got != int(max(0, m-1)) {
			t.Errorf("%d minutes on: %d closed", m, got)
		}
	}
	var grains [3]int
	for _, b := range r.Buckets {
		grains[b.Grain]++
	}
	if grains != [3]int{3, 1, 1} || len(r.sights()) != 1 {
		t.Errorf("buckets by grain %v, %d sightings", grains, len(r.sights()))
	}
	r.Advance(time.Unix(0, start)) // back: nothing
	if r.Totals(); len(r.Clocks) != 3 {
		t.Error("time went back")
	}
	// What is open is shown, and shown again when it has ended.
	r.OpenBuckets()
	if len(r.Partial) != 2 || !r.Partial[0].Open || r.Partial[0].Grain != observe.Hour || r.Partial[1].Grain != observe.Day || r.Partial[0].Looked != 1.0/60 {
		t.Errorf("open: %+v", r.Partial)
	}
}
