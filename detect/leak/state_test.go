package leak_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sakimori/base/yaml"
	"sakimori/detect"
	"sakimori/detect/leak"
	"sakimori/observe"
)

// Killed in the middle of a leak, a hijack and an outage, and started again: the routes come
// again as a table, and each incident is the same one, until it ends.
func TestKilled(t *testing.T) {
	t.Parallel()
	cfg := leak.Config{Own: []leak.Own{{Prefix: netip.MustParsePrefix("20.113.0.0/16"), Origins: []uint32{213}}}}
	hijack := func(w *world) {
		for i, way := range [][]uint32{{12, 10}, {22, 20, 10}, {32, 30, 10}} {
			w.say(uint32(i)+1, "20.113.200.0/24", append(way, 11, 115)...)
		}
	}
	first, l := newDetector(t, cfg, leak.Ports{Relation: relations})
	w := newWorld(t, first)
	w.usualTable()
	w.leakBy119(60)
	hijack(w)
	w.until(70 * time.Second)
	before := first.Results()
	if len(before) != 2 || len(l.last) != 2 {
		t.Fatalf("%+v", before)
	}
	state, err := first.State()
	habits, err2 := first.Habits()
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for _, gone := range []bool{false, true} {
		second, l2 := newDetector(t, cfg, leak.Ports{Relation: relations})
		if err := second.Restore(state); err != nil {
			t.Fatal(err)
		}
		if err := second.RestoreHabits(habits); err != nil {
			t.Fatal(err)
		}
		again := newWorld(t, second)
		again.now = w.now.Add(20 * time.Second)
		again.usualTable()
		if !gone {
			again.state = true
			again.leakBy119(60)
			hijack(again)
			again.flush()
			again.state = false
		}
		again.until(30 * time.Second)
		for _, r := range second.Results() {
			if r.ID != before[0].ID && r.ID != before[1].ID || r.Closed {
				t.Errorf("gone %v: %+v", gone, r)
			}
		}
		for _, i := range second.Incidents() {
			if gone != (i.Now == 0) || i.Waves != 1 || !gone && i.Seen != 3 {
				t.Errorf("gone %v: %+v", gone, i)
			}
		}
		again.until(10 * time.Minute)
		for _, r := range second.Results() {
			if r.Closed != gone {
				t.Errorf("gone %v: %+v", gone, r)
			}
		}
		if gone {
			continue
		}
		again.unleak(60)
		again.until(6 * time.Minute)
		if i := l2.last[before[0].ID]; i.State != detect.Closed || i.Prefixes.N != 60 {
			t.Errorf("%+v", i)
		}
		// What was usual before is known without the table: the origins' history.
		if r := second.Results(); len(r) != 2 {
			t.Errorf("%+v", r)
		}
	}
}

// What was learnt before a restart counts after it: without any table, a change of origin
// and a new way are told.
func TestHabitsLast(t *testing.T) {
	t.Parallel()
	first, _ := newDetector(t, leak.Config{}, leak.Ports{})
	w := newWorld(t, first)
	w.usualTable()
	habits, err := first.Habits()
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []bool{true, false} {
		d, _ := newDetector(t, leak.Config{}, leak.Ports{})
		if known {
			if err := d.RestoreHabits(habits); err != nil {
				t.Fatal(err)
			}
		}
		w := newWorld(t, d)
		for range 3 {
			w.peer(uint32(len(w.peers)) * 10)
		}
		for i := range 25 {
			p := fmt.Sprintf("20.%d.0.0/16", 10+i%20+i/20*100)
			w.say(1, p, 10, 11, uint32(110+i%10))
			w.say(2, p, 20, 5, 999)
			w.say(3, p, 30, 5, 999)
		}
		w.until(30 * time.Second)
		if r := d.Results(); (len(r) == 1) != known {
			t.Errorf("known %v: %+v", known, r)
		}
	}
}

func TestBadStates(t *testing.T) {
	t.Parallel()
	d, _ := newDetector(t, leak.Config{}, leak.Ports{})
	for _, s := range []string{"", "sakimori leak 0\n{}", "sakimori leak 1\n{", `sakimori leak 1` + "\n" + `{"Now":-1}`, `sakimori leak 1` + "\n" + `{"Cases":[{}]}`} {
		if d.Restore([]byte(s)) == nil {
			t.Errorf("%q is taken", s)
		}
	}
	habits, err := d.Habits()
	if err != nil {
		t.Fatal(err)
	}
	for n := range habits {
		if d.RestoreHabits(habits[:n]) == nil {
			t.Errorf("%d of %d bytes are taken", n, len(habits))
		}
	}
	if err := d.RestoreHabits(habits); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []leak.Config{
		{Own: []leak.Own{{}}},
		{Neighbors: []leak.Neighbor{{AS: 1, Relation: "friend"}}},
		{Blackholes: []string{"666"}},
		{Maintenance: []leak.Window{{AS: 1}}},
		{Lines: leak.Lines{Open: 0.9, Sure: 0.5}},
		{Hits: 2},
		{Lines: leak.Lines{Quiet: -1}},
	} {
		if _, err := leak.New(c, leak.Ports{}, leak.Sinks{}); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// What an operator writes down is read as it stands in the documentation.
func TestWrittenDown(t *testing.T) {
	t.Parallel()
	var c leak.Config
	if err := yaml.Decode([]byte(`
as: [64500]
own:
  - {prefix: 192.0.2.0/24, origins: [64500], name: "Example Shop", customer: true}
neighbors:
  - {as: 64501, relation: provider, name: "Upstream"}
no_transit: [64502]
siblings: [[64500, 64503]]
blackholes: ["64500:666"]
anycast: [198.51.100.0/24]
maintenance:
  - {from: 2026-11-02T00:00:00Z, to: 2026-11-02T06:00:00Z, prefix: 192.0.2.0/24, why: "moves house"}
open: 0.7
quiet: 600
`), &c); err != nil {
		t.Fatal(err)
	}
	if _, err := leak.New(c, leak.Ports{}, leak.Sinks{}); err != nil || c.Open != 0.7 || c.Quiet != 600 || c.Own[0].Prefix.String() != "192.0.2.0/24" || c.Maintenance[0].To.Hour() != 6 {
		t.Errorf("%v %+v", err, c)
	}
}

func FuzzRestore(f *testing.F) {
	d, _ := newDetector(f, leak.Config{}, leak.Ports{Relation: relations})
	w := newWorld(f, d)
	w.usualTable()
	w.leakBy119(30)
	w.until(time.Minute)
	state, err := d.State()
	habits, err2 := d.Habits()
	if err != nil || err2 != nil {
		f.Fatal(err, err2)
	}
	f.Add(state)
	f.Add(state[:len(state)-9])
	f.Add(habits)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _ := newDetector(t, leak.Config{}, leak.Ports{Relation: relations})
		ok := d.Restore(b) == nil
		if d.RestoreHabits(b) == nil || ok {
			w := newWorld(t, d)
			w.now = w.now.Add(time.Hour)
			w.usualTable()
			w.leakBy119(30)
			w.until(time.Minute)
			d.Incidents()
			if s, err := d.State(); err != nil || !bytes.HasPrefix(s, []byte("sakimori leak")) {
				t.Error(err)
			}
		}
	})
}

// storm is steady news: paths change, prefixes go and come back.
func storm(b testing.TB, d *leak.Detector, prefixes, peers, paths, changes int) (*world, []*observe.RouteBatch) {
	b.Helper()
	w := newWorld(b, d)
	w.state = true
	var nums [][]uint32
	for v := range peers {
		w.peer(uint32(v) + 100)
		var mine []uint32
		for i := range paths {
			origin := uint32(100_000 + i%(paths/2))
			mine = append(mine, w.path(observe.RoutePath{ASes: []uint32{uint32(v) + 100, 10 + uint32(i%7), 1000 + uint32(i%97), 5000 + uint32(i%(paths/2)%997), origin}}))
		}
		nums = append(nums, mine)
	}
	for i := range prefixes {
		n := w.number(netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}), 24))
		for v := range peers { // the other path first, so that it is known
			main, other := nums[v][i%(paths/2)], nums[v][i%(paths/2)+paths/2]
			w.batch = append(w.batch, observe.Route{At: w.now.UnixNano(), Prefix: n, Peer: uint32(v) + 1, Path: other, Marks: observe.RouteState},
				observe.Route{At: w.now.UnixNano(), Prefix: n, Peer: uint32(v) + 1, Path: main, Was: other, Marks: observe.RouteState})
			w.at[[2]uint32{n, uint32(v) + 1}] = nums[v][i%(paths/2)]
			if len(w.batch) >= 4096 {
				w.flush()
			}
		}
	}
	w.flush()
	// Each prefix goes to the other path of the same origin and back, so that the same
	// changes may be played again and again.
	var list []*observe.RouteBatch
	at := w.now.Add(time.Minute).UnixNano()
	for len(list)*4096 < changes {
		batch := &observe.RouteBatch{Table: w}
		for k := range 2048 {
			i := (len(list)*2048 + k) * 7919 % prefixes
			v := k % peers
			a, o := nums[v][i%(paths/2)], nums[v][i%(paths/2)+paths/2]
			if k%10 == 0 {
				o = 0
			}
			r := observe.Route{At: at, Prefix: uint32(i) + 1, Peer: uint32(v) + 1, Path: o, Was: a}
			batch.Routes = append(batch.Routes, r)
			r.Path, r.Was = r.Was, r.Path
			batch.Routes = append(batch.Routes, r)
		}
		list = append(list, batch)
	}
	return w, list
}

// News costs no memory.
func TestNoAllocation(t *testing.T) {
	d, _ := newDetector(t, leak.Config{}, leak.Ports{Relation: relations})
	_, list := storm(t, d, 5000, 2, 400, 4096)
	if n := testing.AllocsPerRun(20, func() { d.Routed(list[0]) }); n != 0 {
		t.Errorf("%.0f allocations for %d changes", n, len(list[0].Routes))
	}
	if f := d.Figures(); f.Routes < 4096*20 || f.Cases != 0 {
		t.Errorf("%+v", f)
	}
}

func BenchmarkRouted(b *testing.B) {
	d, _ := newDetector(b, leak.Config{}, leak.Ports{Relation: relations})
	_, list := storm(b, d, 300_000, 4, 40_000, 500_000)
	n := 0
	b.ReportAllocs()
	before := spent(b)
	for b.Loop() {
		for _, batch := range list {
			d.Routed(batch)
			n += len(batch.Routes)
		}
	}
	b.ReportMetric(float64(spent(b)-before)/float64(n), "cpu-ns/route")
}

// spent is the processor's time of this process so far, in nanoseconds: the clock on the
// wall counts the neighbours', too.
func spent(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkLeak(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		d, l := newDetector(b, leak.Config{}, leak.Ports{Relation: relations})
		w := newWorld(b, d)
		w.usualTable()
		for range 8 {
			w.leakBy119(2200)
			w.flush()
			w.unleak(2200)
		}
		w.until(time.Minute)
		if len(l.last) != 1 {
			b.Fatal(len(l.last))
		}
	}
}
