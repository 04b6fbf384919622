package telescope_test

import (
	"fmt"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// TestLate: packets that come up to a minute late are counted in their own
// minute; older ones in the oldest minute that is open, a stray date ahead in
// the newest. Nothing is lost, and what stands elsewhere is told.
func TestLate(t *testing.T) {
	at := func(ns ...int64) (recs []rec) {
		for _, n := range ns {
			recs = append(recs, syn(host, target, 23).at(start+n))
		}
		return recs
	}
	for _, c := range []struct {
		name    string
		recs    []rec
		late    uint64
		minutes map[int64]uint64 // packets by minutes after start
	}{
		{"in order", at(0, 30*second, 70*second), 0, map[int64]uint64{0: 2, 1: 1}},
		{"50 s late", at(0, 70*second, 20*second, 71*second), 0, map[int64]uint64{0: 2, 1: 2}},
		{"late over two minutes", at(0, 150*second, 20*second, 61*second), 1, map[int64]uint64{0: 1, 1: 2, 2: 1}},
		{"a week late", at(0, 150*second, -7*day, 151*second), 1, map[int64]uint64{0: 1, 1: 1, 2: 2}},
		{"1970", at(0, 150*second, -start, 151*second), 1, map[int64]uint64{0: 1, 1: 1, 2: 2}},
		{"before 1970", at(0, 150*second, -start-day, 151*second), 1, map[int64]uint64{0: 1, 1: 1, 2: 2}},
		{"ten years ahead", at(0, second, 3650*day, 2*second, 3*second), 1, map[int64]uint64{0: 5}},
		{"beyond what can be told", at(0, second, 1<<63-1-start, 2*second), 1, map[int64]uint64{0: 4}},
		{"23 hours ahead is believed", at(0, 23*hour, 23*hour+second), 0, map[int64]uint64{0: 1, 23 * 60: 2}},
		{"a pause of ten days is believed", at(0, 10*day, 10*day+second), 0, map[int64]uint64{0: 1, 14400: 2}},
	} {
		r := watch(t, dark("198.51.100.0/24"), c.recs...)
		d := r.document()
		if d.Late != c.late || d.DarkPackets != uint64(len(c.recs)) {
			t.Errorf("%s: %d late, want %d; %d dark packets of %d", c.name, d.Late, c.late, d.DarkPackets, len(c.recs))
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
		{"two days", []rec{syn(host, target, 23).at(start), syn(host, target, 23).at(start + 2*day)}, 1, 2.0 / 1440},
		{"other people's frames", quietHours(), 0, 301.0 / 1440},
	} {
		r := build(t, dark("198.51.100.0/24")).feed(c.recs...)
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

// quietHours has a dark packet, five hours of frames to others in pairs that
// are three minutes apart, and another dark packet.
func quietHours() []rec {
	recs := []rec{syn(host, target, 23).at(start)}
	for m := int64(3); m < 300; m += 3 {
		recs = append(recs, syn(host, "192.0.2.1", 80).at(start+m*minute))
	}
	return append(recs, syn(host, target, 23).at(start+300*minute))
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
