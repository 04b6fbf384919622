package surge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/detect"
	"sakimori/detect/surge"
	"sakimori/observe"
)

var start = time.Date(2016, 8, 1, 0, 0, 0, 0, time.UTC) // a Monday

const week = 168

type log []detect.Finding

func (l *log) Find(f detect.Finding) { *l = append(*l, f) }

func (l log) lines() string {
	var b strings.Builder
	for _, f := range l {
		fmt.Fprintf(&b, "%s %s\n", f.State, f.ID)
	}
	return b.String()
}

func at(h int) time.Time { return start.Add(time.Duration(h) * time.Hour) }

func tcp(port uint16) uint32 { return 6<<16 | uint32(port) }

// world draws the hours of a small Internet: ports, AS and countries of all
// sizes with the rhythm of day and week, over-dispersed, and single hosts that
// now and then send ten thousand times as much.
type world struct {
	r     *rand.Rand
	keys  []surge.Point // Sources is the mean
	noise float64
}

func newWorld(seed uint64, n int, noise float64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1)), noise: noise}
	for i := range n {
		size := uint64(math.Exp(w.r.Float64() * 9)) // 1 to 8,000 hosts an hour
		p := surge.Point{Dim: observe.ByPort, Key: tcp(uint16(1000 + i)), Sources: size}
		switch i % 10 {
		case 0:
			p.Dim, p.Key = observe.ByCountry, uint32('A'+i/10%26)<<8|uint32('A'+i/260%26)
		case 1, 2:
			p.Dim, p.Key = observe.ByAS, uint32(4713+i)
		}
		w.keys = append(w.keys, p)
	}
	return w
}

func (w *world) poisson(mean float64) uint64 {
	if mean > 50 {
		return uint64(max(0, math.Round(mean+math.Sqrt(mean)*w.r.NormFloat64())))
	}
	n, p := uint64(0), w.r.Float64()
	for l := math.Exp(-mean); p > l; n++ {
		p *= w.r.Float64()
	}
	return n
}

func (w *world) hour(h int) []surge.Point {
	var out []surge.Point
	for i, k := range w.keys {
		phase := float64((h+i%24)%24) / 24 * 2 * math.Pi
		rhythm := 1 + 0.6*math.Sin(phase)
		if h/24%7 >= 5 {
			rhythm *= 0.6
		}
		s := w.poisson(float64(k.Sources) * rhythm * math.Exp(w.noise*w.r.NormFloat64()))
		if s == 0 {
			continue
		}
		p := uint64(float64(s) * 8 * math.Exp(0.6*w.r.NormFloat64()))
		if w.r.IntN(300) == 0 {
			p += 1_000_000
		}
		out = append(out, surge.Point{Dim: k.Dim, Key: k.Key, Packets: max(p, s), Sources: s})
	}
	return out
}

// TestNoAlarmOnRhythm is the precision gate: 400 keys over eight weeks with
// rhythm and noise but without a surge, the short rule's weeks included.
func TestNoAlarmOnRhythm(t *testing.T) {
	for seed := range uint64(3) {
		for _, noise := range []float64{0, 0.15, 0.3} {
			var l log
			d := surge.New(surge.Config{}, &l)
			w := newWorld(seed, 400, noise)
			for h := range 8 * week {
				d.Hour(at(h), w.hour(h))
			}
			if len(l) != 0 {
				t.Errorf("seed %d noise %v: %d of %d tests raised an alarm:\n%s", seed, noise, len(l), 400*8*week, l.lines())
			}
		}
	}
}

// TestSurgesAreFound is the recall gate: a threefold rise of hosts and packets
// for twelve hours, in the midst of noise, for keys of 30 hosts an hour or more.
func TestSurgesAreFound(t *testing.T) {
	found, told, wrong := 0, 0, 0
	for seed := range uint64(3) {
		var l log
		d := surge.New(surge.Config{}, &l)
		w := newWorld(seed, 400, 0.15)
		for h := range 6 * week {
			rows := w.hour(h)
			for i := range rows {
				if up(w, rows[i], h) {
					rows[i].Sources *= 3
					rows[i].Packets *= 3
				}
			}
			d.Hour(at(h), rows)
		}
		for i, k := range w.keys {
			if k.Sources >= 30 && i%4 == 0 {
				told++
			}
		}
		for _, f := range l {
			if f.State != detect.Opened {
				continue
			}
			if h := int(f.Opened.Sub(start).Hours()) - 5*week; h >= 30 && h < 42 {
				found++
			} else {
				wrong++
			}
		}
	}
	if recall := float64(found) / float64(told); recall < 0.95 {
		t.Errorf("recall %.3f of %d surges", recall, told)
	}
	if precision := float64(found) / float64(found+wrong); precision < 0.99 {
		t.Errorf("precision %.3f", precision)
	}
	t.Logf("found %d of %d surges, %d wrong", found, told, wrong)
}

func up(w *world, p surge.Point, h int) bool {
	for i, k := range w.keys {
		if k.Dim == p.Dim && k.Key == p.Key {
			return i%4 == 0 && k.Sources >= 30 && h >= 5*week+30 && h < 5*week+42
		}
	}
	return false
}

// steady is one port at 100 hosts and 1,000 packets an hour.
func steady() surge.Point {
	return surge.Point{Dim: observe.ByPort, Key: tcp(23), Packets: 1000, Sources: 100}
}

// play runs hours of the steady port, with what the changes make of it.
func play(d *surge.Detector, from, to int, change func(h int, p *surge.Point)) {
	for h := from; h < to; h++ {
		p := steady()
		if change != nil {
			change(h, &p)
		}
		d.Hour(at(h), []surge.Point{p})
	}
}

func times(f uint64, from, to int) func(int, *surge.Point) {
	return func(h int, p *surge.Point) {
		if h >= from && h < to {
			p.Packets *= f
			p.Sources *= f
		}
	}
}

func TestLife(t *testing.T) {
	var l log
	d := surge.New(surge.Config{}, &l)
	from := 5*week + 3
	play(d, 0, from, nil)
	if n, ok := d.Baseline(); n != 5 || !ok {
		t.Errorf("baseline of %d weeks, %v", n, ok)
	}
	play(d, from, from+2, times(3, 0, 1<<30))
	if want := []surge.Rising{{Dim: observe.ByPort, Key: tcp(23), Packets: 3000, Sources: 300, Expected: 100, New: false}}; len(d.Rising(5)) != 1 {
		t.Errorf("rising %v", d.Rising(5))
	} else {
		got := d.Rising(5)
		if got[0].Score < 15 || math.Abs(got[0].Expected-100) > 4 {
			t.Errorf("rising %v", got)
		}
		got[0].Score, got[0].Expected = 0, 100
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	play(d, from+2, from+4, times(9, 0, 1<<30))
	play(d, from+4, from+20, nil)
	id := " surge-port-23-tcp-20160905T0300Z\n"
	if want := "opened" + id + "changed" + id + "closed" + id; l.lines() != want {
		t.Fatalf("got\n%swant\n%s", l.lines(), want)
	}
	if !l[0].Changed.Equal(at(from+2)) || !l[2].Closed.Equal(at(from+10)) {
		t.Errorf("opened in the version of %v, closed at %v", l[0].Changed, l[2].Closed)
	}
	if got, want := l[1].Title.JA, "23/tcp へ送るホストが平常の 9.0 倍に増えています(1 時間に 900 ホスト、9,000 パケット。平常は 100 ホスト)"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if got, want := l[1].Title.EN, "Hosts sending to 23/tcp are at 9.0 times their usual number (900 hosts, 9,000 packets in an hour; usually 100 hosts)"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if l[0].Subject != "23/tcp" || l[0].Confidence != 0.95 || l[0].Severity != detect.Note {
		t.Errorf("%+v", l[0])
	}
}

// TestRules holds each threshold and its near miss.
func TestRules(t *testing.T) {
	const from = 5*week + 3
	newPort := func(s, p uint64, hours int) func(int, *surge.Point) {
		return func(h int, q *surge.Point) {
			q.Sources, q.Packets = 0, 0
			if h >= from && h < from+hours {
				q.Sources, q.Packets = s, p
			}
		}
	}
	for _, tc := range []struct {
		name   string
		to     int
		change func(int, *surge.Point)
		want   bool
	}{
		{"threefold for two hours", from + 9, times(3, from, from+2), true},
		{"threefold for one hour", from + 9, times(3, from, from+1), false},
		{"fivefold for one hour", from + 9, times(5, from, from+1), true},
		{"a ninth less than twice", from + 9, func(h int, p *surge.Point) {
			if h >= from {
				p.Sources, p.Packets = 190, 3000
			}
		}, false},
		{"packets alone", from + 9, func(h int, p *surge.Point) {
			if h >= from {
				p.Packets *= 1000
			}
		}, false},
		{"hosts alone", from + 9, func(h int, p *surge.Point) {
			if h >= from {
				p.Sources *= 5
			}
		}, false},
		{"every week at this hour", from + 9, func(h int, p *surge.Point) {
			if h%week < 6 {
				p.Sources *= 5
				p.Packets *= 5
			}
		}, false},
		{"clocks moved by an hour", from + 9, func(h int, p *surge.Point) {
			if h < from && h%week >= 4 && h%week < 7 || h >= from && h%week >= 3 && h%week < 6 {
				p.Sources *= 5
				p.Packets *= 5
			}
		}, false},
		{"one odd week before", from + 9, func(h int, p *surge.Point) {
			times(5, 4*week, 5*week)(h, p)
			times(3, from, from+5)(h, p)
		}, true},
		{"new: ten hosts for three hours", from + 9, newPort(10, 30, 3), true},
		{"new: nine hosts", from + 9, newPort(9, 300, 9), false},
		{"new: two hours", from + 9, newPort(40, 300, 2), false},
		{"new: fifty hosts at once", from + 9, newPort(50, 300, 1), true},
		{"new: one host", from + 9, newPort(1, 1_000_000, 9), false},
		{"not new: as many as ever", from + 9, nil, false},
		// Three weeks alone: the short rule.
		{"short: sixfold for two hours", 3 * week, times(6, 3*week-4, 3*week), true},
		{"short: fourfold", 3 * week, times(4, 3*week-4, 3*week), false},
		{"short: sixfold for one hour", 3 * week, times(6, 3*week-4, 3*week-3), false},
		{"no history", 20, times(50, 10, 20), false},
		{"a day's history", 40, times(6, 30, 40), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l log
			d := surge.New(surge.Config{}, &l)
			play(d, 0, tc.to, tc.change)
			if got := len(l) > 0; got != tc.want {
				t.Errorf("alarm %v, want %v\n%s", got, tc.want, l.lines())
			}
		})
	}
}

func TestNewAndShortAreSaid(t *testing.T) {
	var l log
	d := surge.New(surge.Config{}, &l)
	play(d, 0, 40, times(6, 30, 40))
	if l[0].Confidence != 0.60 || !strings.Contains(l[0].Why.EN, "baseline isn't known yet") || !strings.Contains(l[0].Why.JA, "基準値はまだ") {
		t.Errorf("%+v", l[0])
	}
	if _, ok := d.Baseline(); ok {
		t.Error("a baseline of two days")
	}
	l = nil
	d = surge.New(surge.Config{}, &l)
	for h := range 5*week + 6 {
		rows := []surge.Point{steady(), {Dim: observe.ByAS, Key: 0, Sources: uint64(h) * 1000, Packets: uint64(h) * 1000}}
		if h >= 5*week {
			rows = append(rows, surge.Point{Dim: observe.ByPort, Key: tcp(2323), Sources: 63, Packets: 210},
				surge.Point{Dim: observe.ByAS, Key: 4713, Sources: 29, Packets: 210}, // below 30 for an AS
				surge.Point{Dim: observe.ByCountry, Key: 'J'<<8 | 'P', Sources: 31, Packets: 210},
				surge.Point{Dim: observe.ByTotal, Sources: 1000, Packets: 10000})
		}
		d.Hour(at(h), rows)
	}
	want := "opened surge-port-2323-tcp-20160905T0000Z\nopened surge-country-JP-20160905T0000Z\n"
	if l.lines() != want {
		t.Fatalf("got\n%swant\n%s", l.lines(), want)
	}
	if got, want := l[0].Title.JA, "2323/tcp へ送るホストが新たに現れました(1 時間に 63 ホスト、210 パケット)"; got != want || l[0].Severity != detect.Soon {
		t.Errorf("title %q, want %q", got, want)
	}
	if got, want := l[1].Title.EN, "Hosts sending from country or region JP have newly appeared (31 hosts, 210 packets in an hour)"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
}

func TestGapsAndLateHours(t *testing.T) {
	var l log
	d := surge.New(surge.Config{}, &l)
	from := 5 * week
	for h := range from { // two nights of each week aren't looked at
		if h%week >= 10 && h%week < 14 && h/week < 2 {
			continue
		}
		d.Hour(at(h), []surge.Point{steady()})
	}
	d.Hour(at(from-1), []surge.Point{{Dim: observe.ByPort, Key: tcp(23), Packets: 1 << 40, Sources: 1 << 30}})
	if d.Dropped() != 1 {
		t.Errorf("dropped %d", d.Dropped())
	}
	d.Hour(time.Unix(-3600, 0), nil)
	play(d, from, from+4, times(4, 0, 1<<30))
	if len(l) != 1 {
		t.Fatalf("got %s", l.lines())
	}
	d.Tick(at(from + 4 + 23))
	if len(l) != 1 {
		t.Error("closed too early")
	}
	d.Tick(at(from + 4 + 24))
	if len(l) != 2 || !l[1].Closed.Equal(at(from+4+24)) || !strings.Contains(l[1].Why.EN, "not looked since") {
		t.Errorf("got %s", l.lines())
	}
}

func TestRestartAndOrderChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		hours := rapid.IntRange(1, 7*week).Draw(t, "hours")
		restart := rapid.SliceOfN(rapid.IntRange(0, hours-1), 0, 3).Draw(t, "restarts")
		turn := rapid.IntRange(2, 40).Draw(t, "turn")
		run := func(other bool) (log, []surge.Rising, string) {
			var l log
			cfg := surge.Config{Keys: 30, Blocks: 60} // tight, so that all paths run
			d := surge.New(cfg, &l)
			w := newWorld(seed, 35, 0.3)
			for h := range hours {
				rows := w.hour(h)
				if h%97 == 96 {
					continue
				}
				for i := range rows {
					if h/turn%11 == i%11 { // surges everywhere
						rows[i].Sources *= 8
						rows[i].Packets *= 8
					}
				}
				if other {
					rand.New(rand.NewPCG(seed, uint64(h))).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
				}
				d.Hour(at(h), rows)
				for _, r := range restart {
					if !other || h != r {
						continue
					}
					state, err := d.State()
					if err != nil {
						t.Fatal(err)
					}
					d = surge.New(cfg, &l)
					if err := d.Restore(state); err != nil {
						t.Fatal(err)
					}
					if again, err := d.State(); err != nil || string(again) != string(state) {
						t.Fatalf("the state changed by being restored (%v)", err)
					}
				}
			}
			state, err := d.State()
			if err != nil {
				t.Fatal(err)
			}
			return l, d.Rising(100), string(state)
		}
		want, wantRising, wantState := run(false)
		got, rising, state := run(true)
		if diff := cmp.Diff(want, got) + cmp.Diff(wantRising, rising); diff != "" {
			t.Fatal(diff)
		}
		if state != wantState {
			t.Fatal("another state")
		}
	})
}

// TestOpenly: two hundred hosts that say openly that they scan are no surge,
// neither of a port that nobody asked for nor of one with a habit. Others that
// come with them are, and the finding tells them apart.
func TestOpenly(t *testing.T) {
	fleet := func(bots uint64) func(int, *surge.Point) {
		return func(_ int, p *surge.Point) {
			p.Sources, p.Openly, p.Packets = p.Sources+bots, 200, p.Packets+60_000
		}
	}
	var l log
	d := surge.New(surge.Config{}, &l)
	from := 5*week + 3
	play(d, 0, from, nil)
	rows := func(h int, bots uint64) (r []surge.Point) {
		known, fresh := steady(), surge.Point{Dim: observe.ByPort, Key: tcp(7547)}
		fleet(bots)(h, &known)
		fleet(bots)(h, &fresh)
		return []surge.Point{known, fresh}
	}
	for h := from; h < from+6; h++ {
		d.Hour(at(h), rows(h, 0))
	}
	if len(l) != 0 || len(d.Rising(10)) != 0 {
		t.Fatalf("a fleet of research scanners is said to be a surge: %s%v", l.lines(), d.Rising(10))
	}
	for h := from + 6; h < from+9; h++ {
		d.Hour(at(h), rows(h, 300))
	}
	want := "opened surge-port-23-tcp-20160905T0900Z\nopened surge-port-7547-tcp-20160905T0900Z\n"
	if l.lines() != want {
		t.Fatalf("got\n%swant\n%s", l.lines(), want)
	}
	for i, hosts := range []string{"400", "300"} {
		if f := l[i].Evidence; f[0].Value != hosts || f[2].Key != "research_sources" || f[2].Value != "200" {
			t.Errorf("%s: %+v", l[i].ID, f[:3])
		}
	}
	// A restart knows them; a state of before they were told apart is taken as it is.
	state, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	var again log
	d = surge.New(surge.Config{}, &again)
	if err := d.Restore(state); err != nil {
		t.Fatal(err)
	}
	d.Hour(at(from+9), rows(from+9, 3000))
	if len(again) != 2 || again[0].Evidence[2].Value != "200" {
		t.Errorf("after a restart: %+v", again)
	}
	d = surge.New(surge.Config{}, new(log))
	play(d, 0, from, nil)
	if state, err = d.State(); err != nil {
		t.Fatal(err)
	}
	before := []byte(strings.Replace(string(state[:len(state)-4]), "surge 2", "surge 1", 1))
	if err := surge.New(surge.Config{}, new(log)).Restore(before); err != nil {
		t.Errorf("a state of form 1: %v", err)
	}
}

func TestBounds(t *testing.T) {
	var l log
	d := surge.New(surge.Config{Keys: 2000, Blocks: 3000}, &l)
	rows := make([]surge.Point, 0, 5001)
	for h := range 5*week + 5 {
		rows = append(rows[:0], steady())
		if h >= 5*week {
			times(4, 0, 1<<30)(h, &rows[0])
		}
		for i := range 1500 { // each comes once and is forgotten: nobody may call it new
			rows = append(rows, surge.Point{Dim: observe.ByAS, Key: uint32(1 + h*1500 + i), Packets: 2000, Sources: uint64(1 + i%200)})
		}
		d.Hour(at(h), rows)
	}
	state, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	if most := 2000*(175+6*16) + 3000*352 + 10_000; len(state) > most {
		t.Errorf("a million keys leave %d bytes of state, more than %d", len(state), most)
	}
	if d.Dropped() == 0 {
		t.Error("nothing dropped")
	}
	if want := "opened surge-port-23-tcp-20160905T0000Z\n"; l.lines() != want {
		t.Errorf("got\n%swant\n%s", l.lines(), want)
	}
}

func FuzzRestore(f *testing.F) {
	d := surge.New(surge.Config{}, new(log))
	play(d, 0, 40, times(6, 30, 40))
	state, err := d.State()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[:len(state)-3])
	f.Fuzz(func(_ *testing.T, b []byte) {
		d := surge.New(surge.Config{}, new(log))
		if d.Restore(b) == nil {
			play(d, 40, 50, nil)
			d.Rising(10)
		}
	})
}

func BenchmarkHour(b *testing.B) {
	var l log
	d := surge.New(surge.Config{}, &l)
	rows := make([]surge.Point, 65536)
	for i := range rows {
		rows[i] = surge.Point{Dim: observe.ByPort, Key: tcp(uint16(i)), Packets: 1200, Sources: 20}
	}
	h := 0
	for ; h < 5*week; h += 12 { // every second day and night known
		d.Hour(at(h), rows)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.Hour(at(h), rows)
		h++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/65536, "ns/key")
}
