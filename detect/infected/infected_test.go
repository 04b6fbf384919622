package infected_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/infected"
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

// see is one sighting of the own address 203.0.113.7, n minutes after start:
// a SYN scan of 23/tcp that the changes make into something else.
func see(n int, change ...func(*observe.Sighting)) observe.Sighting {
	at := start.Add(time.Duration(n) * time.Minute)
	s := observe.Sighting{
		Source: addr("203.0.113.7"), Minute: at.Unix(), First: at.UnixNano(),
		Last: at.Add(30 * time.Second).UnixNano(), Since: start.UnixNano(),
		Packets: 10, Total: uint32(10 * (n + 1)), Targets: 3, Port: 23, Proto: packet.TCP, Kind: observe.KindTCPSyn,
		Flags: observe.Own | observe.Scanner,
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

type change = func(*observe.Sighting)

func flags(f observe.Flags) change { return func(s *observe.Sighting) { s.Flags = observe.Own | f } }
func targets(n uint32) change      { return func(s *observe.Sighting) { s.Targets = n } }
func tool(t observe.Tool) change   { return func(s *observe.Sighting) { s.Tool = t } }
func total(n uint32) change        { return func(s *observe.Sighting) { s.Packets, s.Total = n, n } }
func port(p uint16) change         { return func(s *observe.Sighting) { s.Port = p } }
func proto(p uint8) change         { return func(s *observe.Sighting) { s.Proto = p } }
func kind(k observe.Kind) change   { return func(s *observe.Sighting) { s.Kind = k } }
func source(a string) change       { return func(s *observe.Sighting) { s.Source = addr(a) } }
func foreign(s *observe.Sighting)  { s.Flags &^= observe.Own }
func since(d time.Duration) change {
	return func(s *observe.Sighting) { s.Since = start.Add(d).UnixNano() }
}
func minutes(n int) time.Time            { return start.Add(time.Duration(n) * time.Minute) }
func one(c ...change) []observe.Sighting { return []observe.Sighting{see(0, c...)} }

func ports(n int, c ...change) []observe.Sighting {
	var out []observe.Sighting
	for i := range n {
		out = append(out, see(0, append(c, total(1), port(uint16(1000+i)))...))
	}
	return out
}

func TestAccuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []observe.Sighting
		want string // "" none, else the family
	}{
		{"scan of three targets", one(), "unknown"},
		{"three targets without the telescope's flag", one(flags(0)), ""},
		{"two targets, many packets", one(flags(0), targets(2), total(100000)), ""},
		{"two targets, flagged for a tool that people run by hand", one(targets(2), tool(observe.Hping3)), ""},
		{"two targets, masscan", one(targets(2), tool(observe.MasscanNew)), "unknown"},
		{"Mirai, two packets", one(flags(0), targets(1), tool(observe.Mirai), total(2)), "mirai"},
		{"Mirai, one packet", one(flags(0), targets(1), tool(observe.Mirai), total(1)), ""},
		{"Mirai, one packet on each of two ports", []observe.Sighting{
			see(0, flags(0), targets(1), tool(observe.Mirai), total(1)),
			see(0, flags(0), targets(1), tool(observe.Mirai), total(1), port(2323)),
		}, "mirai"},
		{"fifteen ports of one target", ports(15, targets(1)), "unknown"},
		{"fourteen ports of one target", ports(14, targets(1)), ""},
		{"fifteen ports, no flag", ports(15, targets(1), flags(0)), ""},
		{"traceroute", func() []observe.Sighting {
			var out []observe.Sighting
			for i := range 90 {
				out = append(out, see(0, targets(1), total(1), kind(observe.KindUDP), proto(packet.UDP), port(uint16(33434+i))))
			}
			return out
		}(), ""},
		{"not ours", one(foreign), ""},
		{"solicited", one(flags(observe.Scanner | observe.Solicited)), ""},
		{"forged perhaps", one(flags(observe.Scanner | observe.SpoofHint)), ""},
		{"asks for amplification", one(flags(observe.Scanner|observe.AmplifierAsk), kind(observe.KindUDP), proto(packet.UDP), port(53)), ""},
		{"scan, where nobody can forge", one(source("203.0.113.200")), "unknown"},
		{"research", one(flags(observe.Scanner | observe.Research)), ""},
		{"exempt", one(source("203.0.113.130")), ""},
		{"backscatter", one(kind(observe.KindTCPSynAck)), ""},
		{"reset", one(kind(observe.KindTCPRst)), ""},
		{"ICMP error", one(kind(observe.KindICMPError), proto(packet.ICMP)), ""},
		{"reflection", one(kind(observe.KindUDPReflected), proto(packet.UDP)), ""},
		{"stray acknowledgements", one(kind(observe.KindTCPAck)), ""},
		{"fragment", one(kind(observe.KindFragment)), ""},
		{"IPv6", one(source("2001:db8::7")), "unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l log
			d := infected.New(infected.Config{
				Exempt:   []netip.Prefix{netip.MustParsePrefix("203.0.113.128/26")},
				Verified: []netip.Prefix{netip.MustParsePrefix("203.0.113.192/26")},
			}, &l)
			d.Sight(tc.in)
			if len(l) != 0 {
				t.Fatal("judged before the minute was over")
			}
			d.Tick(minutes(1))
			got := ""
			if all := d.All(); len(all) > 0 {
				got = all[0].Family
			}
			if got != tc.want || (len(l) == 1) != (tc.want != "") {
				t.Errorf("accused as %q with %d findings, want %q", got, len(l), tc.want)
			}
			if len(l) == 1 && strings.Contains(l[0].Why.EN, "can't be excluded") == strings.HasPrefix(l[0].Subject, "203.0.113.2") {
				t.Errorf("whether somebody may have forged %s: %s", l[0].Subject, l[0].Why.EN)
			}
		})
	}
}

// A finding that lasts is told again and again, with when it was seen last, although
// nothing about it is new; one that nobody sees any more isn't.
func TestLasts(t *testing.T) {
	var l log
	d := infected.New(infected.Config{}, &l)
	last := 0
	for n := 0; n < 20*60; n += 7 {
		d.Sight([]observe.Sighting{see(n, total(1), targets(3))})
		d.Tick(minutes(n + 1))
		last = n
	}
	for n := range 30 * 60 {
		d.Tick(minutes(last + 1 + n))
	}
	var told []string
	for _, f := range l {
		for _, e := range f.Evidence {
			if e.Key == "last" {
				told = append(told, string(f.State)+" "+e.Value)
			}
		}
	}
	want := []string{ // at 04:03 there are ten times as many packets; then it only lasts
		"opened 2016-10-01T03:00:30Z", "changed 2016-10-01T04:03:30Z", "changed 2016-10-01T10:07:30Z", "changed 2016-10-01T16:11:30Z",
		"changed 2016-10-01T22:15:30Z", "closed 2016-10-01T22:57:30Z",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestLife(t *testing.T) {
	var l log
	d := infected.New(infected.Config{}, &l)
	var in []observe.Sighting
	for n := range 5 { // 23/tcp in five minutes, 2323/tcp from the third
		in = append(in, see(n, tool(observe.Mirai), targets(uint32(412+n))))
		if n >= 2 {
			in = append(in, see(n, tool(observe.Mirai), port(2323), total(1), targets(1), flags(0)))
		}
	}
	in = append(in, see(3, port(443), flags(0), targets(1), total(900))) // a misconfiguration beside it
	in = sorted(in)
	d.Sight(in)
	for n := range 30 * 60 {
		d.Tick(minutes(5 + n))
	}
	want := "opened infected-203.0.113.7-20161001T0300Z\n" +
		"changed infected-203.0.113.7-20161001T0300Z\n" +
		"closed infected-203.0.113.7-20161001T0300Z\n"
	if l.lines() != want {
		t.Fatalf("got\n%swant\n%s", l.lines(), want)
	}
	if got := l[1].Changed; !got.Equal(minutes(11)) {
		t.Errorf("changed at %v, want ten minutes after it opened", got)
	}
	if got, want := l[2].Closed, minutes(4).Add(30*time.Second+24*time.Hour); !got.Equal(want) {
		t.Errorf("closed at %v, want %v", got, want)
	}
	if got, want := l[0].Title.JA, "203.0.113.7 が未使用アドレス 412 件の 23/tcp へ接続を試みています(Mirai の特徴に一致)"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if got, want := l[0].Title.EN, "203.0.113.7 is trying to connect to 23/tcp on 412 unused addresses (fits Mirai)"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	wantFacts := []detect.Fact{
		{Key: "packets", Value: "53", Unit: "packets"},
		{Key: "targets", Value: "416", Unit: "addresses", Error: "of the widest event: a lower bound"},
		{Key: "ports", Value: "23/tcp 2323/tcp"},
		{Key: "first", Value: "2016-10-01T03:00:00Z"},
		{Key: "last", Value: "2016-10-01T03:04:30Z"},
		{Key: "family", Value: "mirai"},
		{Key: "tool", Value: "mirai"},
		{Key: "tool_versions", Value: "2016 and its descendants"},
		{Key: "chance_match", Value: "2^-32", Unit: "per packet"},
		{Key: "not_counted", Value: "900", Unit: "packets", Error: "to dark space, but no scan"},
		{Key: "per_minute", Value: "03:00 10, 03:01 10, 03:02 11, 03:03 911, 03:04 11", Unit: "packets", Error: "the first minutes only, UTC"},
	}
	if diff := cmp.Diff(wantFacts, l[2].Evidence); diff != "" {
		t.Error(diff)
	}
	wantAll := []infected.Infected{{
		Address: addr("203.0.113.7"), Packets: 53, Family: "mirai",
		First: start, Last: minutes(4).Add(30 * time.Second),
		Ports: []infected.PortCount{{23, packet.TCP, 50, "mirai"}, {2323, packet.TCP, 3, "mirai"}},
	}}
	if diff := cmp.Diff(wantAll, d.All()); diff != "" {
		t.Error(diff)
	}
	if n := len(d.Current()); n != 0 {
		t.Errorf("%d current after it closed", n)
	}
	// It comes back: a new finding, the same row.
	d.Sight([]observe.Sighting{see(48*60, total(7), since(48*time.Hour))})
	d.Tick(minutes(48*60 + 1))
	if got := l[3].ID; got != "infected-203.0.113.7-20161003T0300Z" {
		t.Errorf("the recurrence is %s", got)
	}
	if all := d.All(); len(all) != 1 || all[0].Packets != 60 || all[0].Family != "mirai" {
		t.Errorf("both episodes give %+v", all)
	}
}

func TestWithdrawn(t *testing.T) {
	var l log
	d := infected.New(infected.Config{}, &l)
	d.Sight([]observe.Sighting{
		see(0, tool(observe.Mirai), targets(1), total(2)),
		see(1, tool(observe.Unknown), targets(1), total(9), flags(0)),
		see(2, tool(observe.Unknown), targets(1), total(20), flags(0)),
	})
	d.Tick(minutes(9))
	if want := "opened infected-203.0.113.7-20161001T0300Z\nclosed infected-203.0.113.7-20161001T0300Z\n"; l.lines() != want {
		t.Errorf("got\n%swant\n%s", l.lines(), want)
	}
	if len(d.All()) != 0 {
		t.Errorf("a withdrawn accusation is still listed: %v", d.All())
	}
}

// A later event of the same port without the fingerprint takes nothing back.
func TestAnotherEventKeepsTheFamily(t *testing.T) {
	var l log
	d := infected.New(infected.Config{}, &l)
	d.Sight([]observe.Sighting{
		see(0, tool(observe.Mirai), total(5)),
		see(200, tool(observe.Unknown), total(1), targets(1), since(200*time.Minute)),
	})
	d.Tick(minutes(300))
	if all := d.All(); len(all) != 1 || all[0].Family != "mirai" || all[0].Packets != 6 {
		t.Errorf("got %+v", all)
	}
}

func TestTextsInBothLanguages(t *testing.T) {
	var l log
	d := infected.New(infected.Config{}, &l)
	d.Sight([]observe.Sighting{
		see(0, tool(observe.MasscanNew)),
		see(0, source("203.0.113.9"), kind(observe.KindUDP), proto(packet.UDP), port(5060)),
		see(0, source("203.0.113.10"), kind(observe.KindICMPRequest), proto(packet.ICMP), port(0x800)),
	})
	d.Tick(minutes(1))
	for i, want := range []string{
		"203.0.113.7 is trying to connect to 23/tcp on 3 unused addresses (fits masscan, 2023-11-07 or later)",
		"203.0.113.9 is sending probes to 5060/udp on 3 unused addresses (fits no known tool)",
		"203.0.113.10 is sending probes to ICMP 8/0 on 3 unused addresses (fits no known tool)",
	} {
		f := l[i]
		if f.Title.EN != want {
			t.Errorf("title %q, want %q", f.Title.EN, want)
		}
		if f.Title.JA == "" || f.Why.JA == "" || f.Why.EN == "" || strings.Contains(f.Title.JA+f.Why.JA+f.Why.EN, "%!") {
			t.Errorf("texts %+v %+v", f.Title, f.Why)
		}
		if i > 0 && f.Confidence > 0.7 {
			t.Errorf("%s: confidence %v without TCP", f.Subject, f.Confidence)
		}
	}
}

func TestBounds(t *testing.T) {
	var l log
	d := infected.New(infected.Config{Hosts: 100, Entries: 300, Pending: 64}, &l)
	d.Sight([]observe.Sighting{see(0)})
	const n = 1_000_000
	batch := make([]observe.Sighting, 0, 1000)
	for i := range n {
		s := see(i/50_000, flags(0), targets(1), port(uint16(i)))
		s.Source = packet.V4(0x0a000000 + uint32(i/3))
		if batch = append(batch, s); len(batch) == cap(batch) {
			d.Sight(batch)
			batch = batch[:0]
		}
	}
	d.Tick(minutes(60))
	state, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	if len(state) > 100*300+300*100 {
		t.Errorf("a million sources leave %d bytes of state", len(state))
	}
	if d.Dropped() < n/3-200 {
		t.Errorf("dropped %d, want every candidate that went", d.Dropped())
	}
	if all := d.All(); len(all) != 1 || all[0].Address != addr("203.0.113.7") {
		t.Errorf("the open finding was lost: %v", all)
	}
}

func sorted(in []observe.Sighting) []observe.Sighting {
	out := append([]observe.Sighting(nil), in...)
	for i := range out {
		for j := i; j > 0 && out[j].Minute < out[j-1].Minute; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// draw makes a small random history of a few addresses, in order of minute.
func draw(t *rapid.T) []observe.Sighting {
	var out []observe.Sighting
	at := 0
	for range rapid.IntRange(1, 40).Draw(t, "sightings") {
		at += rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 5, 30, 1441}).Draw(t, "pause")
		n := at - rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(t, "late")
		s := see(max(n, 0),
			source(fmt.Sprintf("203.0.113.%d", rapid.IntRange(1, 3).Draw(t, "source"))),
			port(rapid.SampledFrom([]uint16{23, 2323, 80}).Draw(t, "port")),
			tool(rapid.SampledFrom([]observe.Tool{0, 0, observe.Mirai, observe.MasscanNew}).Draw(t, "tool")),
			targets(rapid.Uint32Range(1, 4).Draw(t, "targets")),
			flags(rapid.SampledFrom([]observe.Flags{0, observe.Scanner, observe.SpoofHint}).Draw(t, "flags")),
			since(time.Duration(rapid.IntRange(0, 3).Draw(t, "since"))*time.Minute),
		)
		s.Packets = rapid.Uint32Range(1, 200).Draw(t, "packets")
		s.Total = s.Packets + rapid.Uint32Range(0, 5).Draw(t, "before")
		out = append(out, s)
	}
	return out
}

func run(in [][]observe.Sighting) (log, []infected.Infected) {
	var l log
	d := infected.New(infected.Config{}, &l)
	for _, b := range in {
		d.Sight(b)
	}
	d.Tick(minutes(1000 * 60))
	return l, d.All()
}

func TestCutsOrderAndRestartChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		want, wantAll := run([][]observe.Sighting{in})

		var cuts [][]observe.Sighting
		for rest := in; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			cuts, rest = append(cuts, rest[:n]), rest[n:]
		}
		got, all := run(cuts)
		if diff := cmp.Diff(want, got) + cmp.Diff(wantAll, all); diff != "" {
			t.Fatalf("cut into batches: %s", diff)
		}

		var shuffled []observe.Sighting
		for i := 0; i < len(in); {
			j := i
			for j < len(in) && in[j].Minute == in[i].Minute {
				j++
			}
			shuffled = append(shuffled, rapid.Permutation(in[i:j]).Draw(t, "order")...)
			i = j
		}
		got, all = run([][]observe.Sighting{shuffled})
		if diff := cmp.Diff(want, got) + cmp.Diff(wantAll, all); diff != "" {
			t.Fatalf("another order within the minute: %s", diff)
		}

		var l log
		d := infected.New(infected.Config{}, &l)
		for _, b := range cuts {
			d.Sight(b)
			state, err := d.State()
			if err != nil {
				t.Fatal(err)
			}
			d = infected.New(infected.Config{}, &l)
			if err := d.Restore(state); err != nil {
				t.Fatal(err)
			}
			again, err := d.State()
			if err != nil || string(again) != string(state) {
				t.Fatalf("the state changed by being restored (%v)", err)
			}
		}
		d.Tick(minutes(1000 * 60))
		if diff := cmp.Diff(want, l) + cmp.Diff(wantAll, d.All()); diff != "" {
			t.Fatalf("restarted after each batch: %s", diff)
		}
	})
}

// The other side of precision: nothing that rapid can think of opens a finding
// when no event is flagged and nothing carries Mirai's fingerprint.
func TestNeverWithoutEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		for i := range in {
			in[i].Flags &^= observe.Scanner
			if in[i].Tool == observe.Mirai {
				in[i].Tool = observe.Unknown
			}
		}
		if l, all := run([][]observe.Sighting{in}); len(l) > 0 || len(all) > 0 {
			t.Fatalf("accused: %s", l.lines())
		}
	})
}

func FuzzRestore(f *testing.F) {
	d := infected.New(infected.Config{}, new(log))
	d.Sight([]observe.Sighting{see(0, tool(observe.Mirai)), see(1, port(80)), see(1500, port(81))})
	state, err := d.State()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add(state[:len(state)-3])
	f.Fuzz(func(_ *testing.T, b []byte) {
		d := infected.New(infected.Config{}, new(log))
		if d.Restore(b) == nil {
			d.Tick(minutes(3000))
			d.All()
		}
	})
}

func BenchmarkSight(b *testing.B) {
	for _, bc := range []struct {
		name string
		own  int // one sighting in so many is of an own address
	}{{"foreign", 1 << 30}, {"own1in1000", 1000}, {"own", 1}} {
		b.Run(bc.name, func(b *testing.B) {
			d := infected.New(infected.Config{}, new(log))
			batch := make([]observe.Sighting, 4096)
			for i := range batch {
				batch[i] = see(0, flags(0), targets(1))
				batch[i].Source = packet.V4(0x0a000000 + uint32(i))
				if (i+1)%bc.own != 0 {
					batch[i].Flags = 0
				}
			}
			m := start.Unix()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for j := range batch {
					batch[j].Minute = m + int64(i/16)*60
					batch[j].First = batch[j].Minute * 1e9
					batch[j].Last = batch[j].First
				}
				d.Sight(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/sighting")
		})
	}
}
