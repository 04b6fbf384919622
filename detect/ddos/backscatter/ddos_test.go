package backscatter_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/ddos/backscatter"
	"sakimori/observe"
)

var start = time.Date(2016, 10, 1, 3, 0, 0, 0, time.UTC)

type log []detect.Finding

func (l *log) Find(f detect.Finding) { *l = append(*l, f) }

func (l log) lines() string {
	var b strings.Builder
	for _, f := range l {
		fmt.Fprintf(&b, "%s %s\n", f.State, f.ID)
	}
	return b.String()
}

func addr(s string) packet.Addr { return packet.FromNetip(netip.MustParseAddr(s)) }

// answer is one packet of backscatter.
type answer struct {
	at    time.Duration // after start
	from  string
	port  uint16
	proto uint8
	kind  observe.Kind
	flags observe.Flags
}

// at is answers of 198.51.100.9 from 80/tcp at the given seconds.
func at(seconds ...float64) []answer {
	out := make([]answer, len(seconds))
	for i, s := range seconds {
		out[i] = answer{time.Duration(s * 1e9), "198.51.100.9", 80, packet.TCP, observe.KindTCPSynAck, 0}
	}
	return out
}

// every is n answers, evenly over [from, to] seconds.
func every(n int, from, to float64) []answer {
	s := make([]float64, n)
	for i := range s {
		s[i] = from + (to-from)*float64(i)/float64(max(n-1, 1))
	}
	return at(s...)
}

func change(in []answer, f func(*answer)) []answer {
	out := slices.Clone(in)
	for i := range out {
		f(&out[i])
	}
	return out
}

// sight makes what a telescope makes of packets: a sighting for each minute,
// source, port, protocol and kind, in order of minute and source.
func sight(in []answer) []observe.Sighting {
	type key struct {
		minute int64
		answer
	}
	m := map[key]*observe.Sighting{}
	for _, p := range in {
		t := start.Add(p.at)
		k := key{t.Unix() / 60 * 60, p}
		k.at = 0
		s := m[k]
		if s == nil {
			s = &observe.Sighting{
				Source: addr(p.from), Minute: k.minute, First: t.UnixNano(), Last: t.UnixNano(),
				Port: p.port, Proto: p.proto, Kind: p.kind, Flags: p.flags,
			}
			m[k] = s
		}
		s.First, s.Last = min(s.First, t.UnixNano()), max(s.Last, t.UnixNano())
		s.Packets++
		s.Bins[t.Second()/10]++
	}
	var out []observe.Sighting
	for _, s := range m {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b observe.Sighting) int {
		return cmp.Or(cmp.Compare(a.Minute, b.Minute), a.Source.Compare(b.Source),
			cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

func detector(l *log) *backscatter.Detector {
	return backscatter.New(backscatter.Config{DarkAddresses: 65536}, l)
}

func TestThresholds(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  backscatter.Config
		in   []answer
		want bool
	}{
		{"30 in a window, 60 s", backscatter.Config{}, append(every(29, 0, 50), at(59, 60)...), true},
		{"59.999 s long", backscatter.Config{}, append(every(40, 0, 50), at(59.999)...), false},
		{"60 s long exactly", backscatter.Config{}, append(every(40, 0, 50), at(60)...), true},
		{"29 in each window", backscatter.Config{}, append(every(29, 0, 59), every(29, 60, 119)...), false},
		{"30 across minutes", backscatter.Config{}, append(every(15, 30, 59), every(15, 60, 89)...), false}, // 59 s long
		{"30 across minutes, long enough", backscatter.Config{}, append(append(every(15, 30, 59), every(15, 60, 89)...), at(120)...), true},
		{"30 in 60 s but in no window of ten-second steps", backscatter.Config{}, append(every(30, 5, 64.9), at(130)...), false},
		{"24 packets", backscatter.Config{Window: 10}, every(24, 0, 90), false},
		{"25 packets", backscatter.Config{Window: 10}, every(25, 0, 90), true},
		{"slow for hours", backscatter.Config{}, every(600, 0, 600*3), false}, // 20 in 60 s
		{"split by 301 s of silence", backscatter.Config{}, append(every(20, 0, 40), every(20, 341.1, 381)...), false},
		{"a pause of 300 s", backscatter.Config{}, append(every(40, 0, 40), at(340)...), true},
		{"solicited", backscatter.Config{}, change(every(100, 0, 90), func(a *answer) { a.flags = observe.Solicited }), false},
		{"a scan", backscatter.Config{}, change(every(100, 0, 90), func(a *answer) { a.kind = observe.KindTCPSyn }), false},
		{"reflection", backscatter.Config{}, change(every(100, 0, 90), func(a *answer) { a.kind = observe.KindUDPReflected }), false},
		{"many ports together", backscatter.Config{}, func() []answer {
			in := every(60, 0, 90)
			for i := range in {
				in[i].port, in[i].kind = uint16(1000+i), observe.KindTCPRst
			}
			return in
		}(), true},
		{"two halves of two addresses", backscatter.Config{}, append(every(20, 0, 59),
			change(every(20, 0, 59), func(a *answer) { a.from = "198.51.100.10" })...), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l log
			d := backscatter.New(tc.cfg, &l)
			d.Sight(sight(tc.in))
			d.Tick(start.Add(3 * time.Hour))
			if got := len(l) > 0; got != tc.want {
				t.Errorf("attack: %v, want %v", got, tc.want)
			}
			if got := len(d.Victims()) > 0; got != tc.want {
				t.Errorf("victims: %v, want %v", got, tc.want)
			}
			if !tc.want && tc.in[0].kind.Class() == observe.Backscatter && tc.in[0].flags == 0 && d.BelowThreshold() == 0 {
				t.Error("what stays below isn't counted")
			}
		})
	}
}

func TestLife(t *testing.T) {
	var l log
	d := detector(&l)
	in := every(120, 0, 119) // 60 a minute
	in = append(in, change(every(30, 130, 150), func(a *answer) { a.port = 443 })...)
	in = append(in, change(every(3, 131, 151), func(a *answer) { a.kind, a.proto, a.port = observe.KindICMPError, packet.ICMP, 0x303 })...)
	in = append(in, every(700, 180, 239)...) // more than ten times as many at once
	in = append(in, change(every(5, 200, 201), func(a *answer) { a.kind = observe.KindTCPRst })...)
	d.Sight(sight(in))
	for n := range 120 {
		d.Tick(start.Add(time.Duration(n+4) * time.Minute))
	}
	id := " ddos-198.51.100.9-20161001T0300Z\n"
	if want := "opened" + id + "changed" + id + "closed" + id; l.lines() != want {
		t.Fatalf("got\n%swant\n%s", l.lines(), want)
	}
	if got, want := l[0].Changed, start.Add(2*time.Minute); !got.Equal(want) {
		t.Errorf("opened in the version of %v, want %v", got, want)
	}
	if got, want := l[2].Closed, start.Add(239*time.Second+300*time.Second); !got.Equal(want) {
		t.Errorf("closed at %v, want %v", got, want)
	}
	if got, want := l[0].Title.JA, "198.51.100.9 が送信元を詐称した DoS 攻撃を受けています(80/tcp、応答 120 パケットを観測、推定 65,500 パケット/秒以上)"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if got, want := l[2].Title.EN, "198.51.100.9 is under a denial-of-service attack with forged sources (80/tcp and 2 more; 858 answers seen, estimated at 770,000 packets/s or more)"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if !strings.Contains(l[2].Why.EN, "below 32,800 packets/s") { // the figure of the telescope's reference for a /16
		t.Errorf("the floor is missing: %s", l[2].Why.EN)
	}
	if strings.Contains(l[2].Title.JA+l[2].Title.EN+l[2].Why.JA+l[2].Why.EN, "%!") {
		t.Error("a text is badly formatted")
	}
	if l[0].Severity != detect.Note || l[2].Severity != detect.Soon {
		t.Errorf("severities %v, %v", l[0].Severity, l[2].Severity)
	}
	v := func(port uint16, proto uint8, n uint64, first, last float64) backscatter.Victim {
		return backscatter.Victim{
			Address: addr("198.51.100.9"), Port: port, Proto: proto, Packets: n,
			First: start.Add(time.Duration(first * 1e9)), Last: start.Add(time.Duration(last * 1e9)),
		}
	}
	want := []backscatter.Victim{v(80, 6, 825, 0, 239), v(443, 6, 30, 130, 150), v(0x303, 1, 3, 131, 151)}
	if diff := gocmp.Diff(want, d.Victims()); diff != "" {
		t.Error(diff)
	}
}

func TestNewVectorAlone(t *testing.T) {
	var l log
	d := detector(&l)
	in := every(1200, 0, 1200)
	in = append(in, change(every(30, 130, 150), func(a *answer) { a.port = 443 })...)
	in = append(in, change(every(20, 140, 150), func(a *answer) { a.port = 8080 })...) // too small to be news
	d.Sight(sight(in))
	d.Tick(start.Add(time.Hour))
	if len(l) != 3 || l[1].State != detect.Changed || !l[1].Changed.Equal(start.Add(12*time.Minute)) {
		t.Errorf("got\n%s(changed %v)", l.lines(), l[1].Changed)
	}
}

func TestSeverityAndIPv6(t *testing.T) {
	var l log
	d := detector(&l)
	d.Sight(sight(change(every(200, 0, 100), func(a *answer) { a.from, a.flags = "203.0.113.1", observe.Own })))
	d.Sight(sight(change(every(200, 0, 100), func(a *answer) { a.from = "2001:db8::1" })))
	d.Tick(start.Add(time.Hour))
	if l[0].Severity != detect.Urgent {
		t.Errorf("an own victim has severity %v", l[0].Severity)
	}
	if l[1].ID != "ddos-2001-db8--1-20161001T0300Z" {
		t.Errorf("id %s", l[1].ID)
	}
	for _, f := range l[1].Evidence {
		if strings.HasPrefix(f.Key, "estimated") {
			t.Errorf("IPv6 has an estimate: %v", f)
		}
	}
}

func TestManyVictimsAreOneAttackEach(t *testing.T) {
	var l log
	d := detector(&l)
	var in []answer
	for v := range 50 {
		in = append(in, change(every(60, 0, 90), func(a *answer) { a.from = fmt.Sprintf("198.51.100.%d", v) })...)
	}
	d.Sight(sight(in))
	d.Tick(start.Add(2 * time.Minute))
	if len(l) != 50 || len(d.Victims()) != 50 {
		t.Errorf("%d findings, %d victims", len(l), len(d.Victims()))
	}
}

// A minute whose rest comes after the next minute began gives the same attack.
func TestLateMinute(t *testing.T) {
	whole := sight(every(90, 0, 150))
	in := slices.Clone(whole)
	rest := in[1]
	in[1].Packets, in[1].Bins = in[1].Bins[0], [6]uint32{in[1].Bins[0]}
	rest.Packets -= in[1].Packets
	rest.Bins[0] = 0
	late := []observe.Sighting{in[0], in[1], in[2], rest}
	_, want := run([][]observe.Sighting{whole})
	l, got := run([][]observe.Sighting{late})
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, f := range l[len(l)-1].Evidence {
		if f.Key == "peak_window" && f.Value != "36" {
			t.Errorf("peak %s", f.Value)
		}
	}
}

func TestBounds(t *testing.T) {
	var l log
	d := backscatter.New(backscatter.Config{Victims: 1000, Vectors: 4, Pending: 256}, &l)
	attack := sight(every(300, 0, 299))
	const n = 1_000_000
	batch := make([]observe.Sighting, 0, 1001)
	for i := range n {
		m := i * 5 / n
		if i%(n/5) == 0 {
			batch = append(batch, attack[m])
		}
		s := attack[m]
		s.Source, s.Packets, s.Bins = packet.V4(0x0a000000+uint32(i)), 1, [6]uint32{1}
		s.Port = uint16(i)
		if batch = append(batch, s); len(batch) >= 1000 {
			d.Sight(batch)
			batch = batch[:0]
		}
	}
	d.Sight(batch)
	d.Tick(start.Add(5 * time.Minute))
	state, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	if len(state) > 1000*300+256*120 {
		t.Errorf("a million sources leave %d bytes of state", len(state))
	}
	if got := d.Dropped(); got < n-1000 {
		t.Errorf("dropped %d", got)
	}
	if v := d.Victims(); len(v) != 1 || v[0].Packets != 300 {
		t.Errorf("the attack was lost among a million sources: %v", v)
	}
	// A victim that answers from each port keeps its largest vectors.
	var rst []answer
	for i, p := range every(200, 600, 700) {
		p.from, p.port, p.kind = "198.51.100.77", uint16(i), observe.KindTCPRst
		rst = append(rst, p)
	}
	rst = append(rst, change(every(50, 600, 700), func(a *answer) { a.from = "198.51.100.77" })...)
	d.Sight(sight(rst))
	d.Tick(start.Add(time.Hour))
	v := d.Victims()
	if len(v) != 5 || !slices.ContainsFunc(v, func(v backscatter.Victim) bool { return v.Port == 80 && v.Packets == 50 }) {
		t.Errorf("got %v", v)
	}
}

func FuzzRestore(f *testing.F) {
	d := detector(new(log))
	d.Sight(sight(every(100, 0, 200)))
	state, err := d.State()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[:len(state)-3])
	f.Fuzz(func(_ *testing.T, b []byte) {
		d := detector(new(log))
		if d.Restore(b) == nil {
			d.Tick(start.Add(time.Hour))
			d.Victims()
		}
	})
}

func BenchmarkSight(b *testing.B) {
	for _, bc := range []struct {
		name string
		one  int // one sighting in so many is backscatter
	}{{"scans", 1 << 30}, {"backscatter1in50", 50}, {"backscatter", 1}} {
		b.Run(bc.name, func(b *testing.B) {
			d := detector(new(log))
			batch := make([]observe.Sighting, 4096)
			for i := range batch {
				batch[i] = observe.Sighting{Packets: 1, Bins: [6]uint32{1}, Port: 80, Proto: 6, Kind: observe.KindTCPSyn}
				if (i+1)%bc.one == 0 {
					batch[i].Kind = observe.KindTCPSynAck
				}
			}
			m := start.Unix()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for j := range batch {
					s := &batch[j]
					s.Source = packet.V4(0x0a000000 + uint32(i%16*4096+j))
					s.Minute = m + int64(i/16)*60
					s.First = s.Minute * 1e9
					s.Last = s.First
				}
				d.Sight(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/sighting")
		})
	}
}
