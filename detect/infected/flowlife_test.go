package infected_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/infected"
	"sakimori/observe"
)

// TestFlowsTakenBack: flows that come later and show that most were met end a finding.
func TestFlowsTakenBack(t *testing.T) {
	t.Parallel()
	s := newStreet(3)
	for i := range 30 {
		s.fails(bot, stranger(i), 9999, float64(i))
	}
	for i := range 30 {
		s.meets(bot, stranger(i), 9999, 120+float64(i))
	}
	log, found := judged(t, infected.FlowsConfig{}, infected.FlowsPorts{}, s.list)
	if len(log) != 2 || log[0].State != detect.Opened || log[1].State != detect.Closed || log[1].ID != log[0].ID || len(found) != 0 {
		t.Errorf("%v, %v", log, found)
	}
}

// TestFlowsPardoned: of who was pardoned nothing is said again on that port while it goes
// on.
func TestFlowsPardoned(t *testing.T) {
	t.Parallel()
	s := newStreet(3)
	for i := range 30 {
		s.fails(bot, stranger(i), 9999, float64(i))
		s.meets(bot, stranger(i), 9999, 120+float64(i))
	}
	for i := range 100 {
		s.fails(bot, stranger(100+i), 9999, 160+5*float64(i))
	}
	log, found := judged(t, infected.FlowsConfig{}, infected.FlowsPorts{}, s.list)
	if len(log) != 2 || len(found) != 0 {
		t.Errorf("%v, %v", log, found)
	}
}

// TestFlowsSettle: nothing is said before exporters had the time to tell of what came
// about.
func TestFlowsSettle(t *testing.T) {
	t.Parallel()
	s := newStreet(3)
	for i := range 30 {
		s.fails(bot, stranger(i), 9999, float64(i)/2)
		s.meets(bot, stranger(i), 9999, 40+float64(i)/10)
	}
	log, _ := judged(t, infected.FlowsConfig{}, infected.FlowsPorts{}, s.list)
	if len(log) != 0 {
		t.Errorf("%v", log)
	}
}

// TestFlowsLife: a finding opens, changes when there is much more, and closes after the
// quiet; every version has one id.
func TestFlowsLife(t *testing.T) {
	t.Parallel()
	s := newStreet(4)
	for i := range 3000 {
		s.fails(bot, stranger(i), 23, float64(i))
	}
	log := &versions{}
	d := infected.NewFlows(infected.FlowsConfig{Own: []netip.Prefix{homes}}, infected.FlowsPorts{}, log)
	d.Take(s.list)
	d.Tick(start.Add(3000*time.Second + 25*time.Hour))
	if n := len(log.list); n < 3 || n > 8 {
		t.Fatalf("%d versions", n)
	}
	first, last := log.list[0], log.list[len(log.list)-1]
	if first.State != detect.Opened || last.State != detect.Closed || last.Closed.IsZero() {
		t.Errorf("%v … %v", first, last)
	}
	if delay := first.Changed.Sub(start); delay > 80*time.Second {
		t.Errorf("told after %v", delay)
	}
	for _, f := range log.list {
		if f.ID != first.ID || !strings.HasPrefix(f.ID, "infected-scan-203.0.113.66-") {
			t.Errorf("id %s", f.ID)
		}
	}
	if len(d.Found()) != 0 {
		t.Errorf("%v", d.Found())
	}
}

var c2, sink = netip.MustParseAddr("198.51.100.99"), netip.MustParseAddr("198.51.100.98")

// listed is a list of two servers.
func listed(a netip.Addr, port uint16, _ time.Time) (string, string, observe.Contact, bool) {
	switch {
	case a == c2 && port == 6667:
		return "e1", "mirai", observe.NoContact, true
	case a == sink:
		return "e2", "qakbot", observe.Sinkholed, true
	}
	return "", "", 0, false
}

// TestFlowContacts: what talks to a listed server a while apart is found, where its
// consent is there; who only tries is a suspicion; whom a listed server knocks at isn't.
func TestFlowContacts(t *testing.T) {
	t.Parallel()
	const c2, sink = "198.51.100.99", "198.51.100.98"
	for name, c := range map[string]struct {
		play     func(s *street)
		reason   string
		severity detect.Severity
		sure     float64
	}{
		"two connections":           {func(s *street) { s.meets(bot, c2, 6667, 0); s.meets(bot, c2, 6667, 60) }, "contact", detect.Soon, 0.80},
		"a long one, by the minute": {func(s *street) { long(s, bot, c2, 6667, 600) }, "contact", detect.Soon, 0.90},
		"one alone":                 {func(s *street) { s.meets(bot, c2, 6667, 0) }, "", 0, 0},
		"two at once":               {func(s *street) { s.meets(bot, c2, 6667, 0); s.meets(bot, c2, 6667, 5) }, "", 0, 0},
		"its answers to somebody who forged the address": {func(s *street) {
			for i := range 20 {
				s.flow(c2, bot, 6667, 40000, packet.TCP, packet.SYN|packet.ACK, float64(i)*60)
				s.flow(bot, c2, 40000, 6667, packet.TCP, packet.RST|packet.ACK, float64(i)*60+0.1)
			}
		}, "", 0, 0},
		"a page is read for minutes": {func(s *street) { long(s, bot, sink, 443, 240) }, "", 0, 0},
		"another port of it":         {func(s *street) { s.meets(bot, c2, 443, 0); s.meets(bot, c2, 443, 60) }, "", 0, 0},
		"a page is read":             {func(s *street) { s.meets(bot, sink, 443, 0); s.meets(bot, sink, 443, 60) }, "", 0, 0},
		"the web's port for long":    {func(s *street) { long(s, bot, sink, 443, 1800) }, "contact", detect.Soon, 0.88},
		"a SYN":                      {func(s *street) { s.fails(bot, c2, 6667, 0) }, "", 0, 0},
		"nobody answers": {func(s *street) {
			for i := range 10 {
				s.fails(bot, c2, 6667, float64(i)*60)
			}
		}, "attempt", detect.Note, 0.60},
		"it is knocked at": {func(s *street) {
			for i := range 50 {
				s.flow(sink, bot, 40000, uint16(22+i), packet.TCP, packet.SYN, float64(i)*20)
				s.flow(bot, sink, uint16(22+i), 40000, packet.TCP, packet.RST|packet.ACK, float64(i)*20)
			}
		}, "", 0, 0},
		"it is visited": {func(s *street) {
			for i := range 50 {
				s.meets(sink, bot, 80, float64(i)*20)
			}
		}, "", 0, 0},
		"one direction is told": {func(s *street) {
			for i := range 3 {
				s.flow(bot, c2, s.high(), 6667, packet.TCP, data, float64(i)*100)
			}
		}, "contact", detect.Soon, 0.75},
		"without consent": {func(s *street) { s.meets("203.0.113.9", c2, 6667, 0); s.meets("203.0.113.9", c2, 6667, 60) }, "", 0, 0},
	} {
		s := newStreet(5)
		c.play(s)
		may := func(a netip.Addr) bool { return a != netip.MustParseAddr("203.0.113.9") }
		log, found := judged(t, infected.FlowsConfig{}, infected.FlowsPorts{Listed: listed, May: may}, s.list)
		if c.reason == "" {
			if len(log) > 0 || len(found) > 0 {
				t.Errorf("%s: %v %v", name, log, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Reason != c.reason || len(log) == 0 {
			t.Errorf("%s: %v %v", name, found, log)
			continue
		}
		f := log[len(log)-1]
		if f.Severity != c.severity || f.Confidence < c.sure-0.001 || f.Confidence > c.sure+0.001 {
			t.Errorf("%s: severity %d, confidence %.2f: %s", name, f.Severity, f.Confidence, f.Title.EN)
		}
	}
}

// long is a connection that an exporter tells of once a minute.
func long(s *street, src, dst string, port uint16, seconds float64) {
	for at := 0.0; at < seconds; at += 60 {
		s.flow(src, dst, 50000, port, packet.TCP, packet.ACK|packet.PSH, at)
		s.flow(dst, src, port, 50000, packet.TCP, packet.ACK|packet.PSH, at+1)
	}
}

// TestFlowConsentGone: with the consent what was said of contacts ends.
func TestFlowConsentGone(t *testing.T) {
	t.Parallel()
	s := newStreet(6)
	long(s, bot, "198.51.100.99", 6667, 600)
	log := &versions{}
	d := infected.NewFlows(infected.FlowsConfig{Own: []netip.Prefix{homes}}, infected.FlowsPorts{Listed: listed, May: func(netip.Addr) bool { return true }}, log)
	d.Take(s.list)
	d.Keep(func(netip.Addr) bool { return true })
	if len(d.Found()) != 1 {
		t.Fatalf("%v", d.Found())
	}
	d.Keep(func(netip.Addr) bool { return false })
	if last := log.list[len(log.list)-1]; len(d.Found()) != 0 || last.State != detect.Closed {
		t.Errorf("%v, %v", d.Found(), last)
	}
}

// TestTookPart: a source of a flood is found; one whose packets are answers, or whose
// address may well be forged, isn't.
func TestTookPart(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	part := func(change func(*infected.Part)) infected.Part {
		p := infected.Part{Attack: "a1", Address: netip.MustParseAddr(bot), Target: "198.51.100.5", Vectors: []string{"syn", "dns-amplification"}, Packets: 5e5, First: start, Last: start.Add(time.Minute), Confidence: 0.95, Forged: &no}
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		p    infected.Part
		sure float64
	}{
		"a bot":             {part(func(*infected.Part) {}), 0.85},
		"it isn't known":    {part(func(p *infected.Part) { p.Forged = nil }), 0.60},
		"forged":            {part(func(p *infected.Part) { p.Forged = &yes }), 0},
		"a reflector":       {part(func(p *infected.Part) { p.Vectors = []string{"dns-amplification", "fragments"} }), 0},
		"a victim":          {part(func(p *infected.Part) { p.Vectors = []string{"rst", "syn-ack-reflection"} }), 0},
		"somebody else":     {part(func(p *infected.Part) { p.Address = netip.MustParseAddr("198.51.100.1") }), 0},
		"a weak suspicion":  {part(func(p *infected.Part) { p.Confidence = 0.5 }), 0.5},
		"a time that isn't": {part(func(p *infected.Part) { p.Last = p.First.Add(-time.Hour) }), 0},
	} {
		log := &versions{}
		d := infected.NewFlows(infected.FlowsConfig{Own: []netip.Prefix{homes}}, infected.FlowsPorts{}, log)
		took := d.TookPart(c.p)
		if took != (c.sure > 0) || len(log.list) != len(d.Found()) || len(log.list) > 1 {
			t.Errorf("%s: %v %v", name, took, log.list)
			continue
		}
		if took && (log.list[0].Confidence != c.sure || d.Found()[0].Reason != "attack" || !strings.Contains(log.list[0].Title.EN, "198.51.100.5")) {
			t.Errorf("%s: %+v", name, log.list[0])
		}
	}
}

// TestFlowBatches: however flows are cut into batches, the same is said; and a restart
// in between keeps every finding.
func TestFlowBatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := newStreet(rapid.Uint64().Draw(rt, "seed"))
		for _, play := range []string{"readers of pages", "a mail server"} {
			innocents[play](s)
		}
		for i := range rapid.IntRange(0, 300).Draw(rt, "targets") {
			s.fails(bot, stranger(i), 23, float64(i)*s.r.Float64()*4)
		}
		long(s, "203.0.113.8", "198.51.100.99", 6667, 700)
		ports := infected.FlowsPorts{Listed: listed, May: func(netip.Addr) bool { return true }}
		want, found := judged(t, infected.FlowsConfig{}, ports, s.list)
		log := &versions{}
		cfg := infected.FlowsConfig{Own: []netip.Prefix{homes, netip.MustParsePrefix("2001:db8:1::/48")}}
		d := infected.NewFlows(cfg, ports, log)
		for rest := s.list; len(rest) > 0; {
			n := min(len(rest), 1+s.r.IntN(200))
			d.Take(rest[:n])
			rest = rest[n:]
		}
		d.Finish()
		if diff := gocmp.Diff(want, log.list); diff != "" {
			rt.Fatalf("- one batch, + many:\n%s", diff)
		}
		state, err := d.State()
		if err != nil {
			rt.Fatal(err)
		}
		again := infected.NewFlows(cfg, ports, log)
		if err := again.Restore(state); err != nil {
			rt.Fatal(err)
		}
		if diff := gocmp.Diff(found, again.Found(), gocmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			rt.Fatalf("- before, + after a restart:\n%s", diff)
		}
		twice, err := again.State()
		if err != nil || string(twice) != string(state) {
			rt.Fatalf("the state isn't itself: %v\n%s\n%s", err, state, twice)
		}
	})
}

// TestFlowRestart: a scan that goes on over a restart stays one finding, and goes on to
// be counted.
func TestFlowRestart(t *testing.T) {
	t.Parallel()
	s := newStreet(7)
	for i := range 2000 {
		s.fails(bot, stranger(i), 23, float64(i))
	}
	log := &versions{}
	cfg := infected.FlowsConfig{Own: []netip.Prefix{homes}}
	d := infected.NewFlows(cfg, infected.FlowsPorts{}, log)
	d.Take(s.list[:1000])
	state, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	d = infected.NewFlows(cfg, infected.FlowsPorts{}, log)
	if err := d.Restore(state); err != nil {
		t.Fatal(err)
	}
	d.Take(s.list[1000:])
	d.Finish()
	if f := d.Found(); len(f) != 1 || f[0].Targets < 1850 || f[0].Targets > 2150 {
		t.Errorf("%v", f)
	}
	for _, f := range log.list {
		if f.ID != log.list[0].ID {
			t.Errorf("%s and %s", f.ID, log.list[0].ID)
		}
	}
	for name, bad := range map[string]string{
		"nothing": "", "another's": "sakimori infected 1\n", "cut": string(state[:len(state)/2]),
		"twice": strings.Replace(string(state), `"Sources":[`, `"Sources":[null,`, 1),
	} {
		if err := d.Restore([]byte(bad)); err == nil {
			t.Errorf("%s was restored", name)
		}
		if len(d.Found()) != 1 {
			t.Errorf("%s changed something", name)
		}
	}
}

// TestFlowBounds: many sources and many targets stay within the bounds, what is dropped
// is counted, and who is found stays found.
func TestFlowBounds(t *testing.T) {
	t.Parallel()
	s := newStreet(8)
	for i := range 100 {
		s.fails(bot, stranger(i), 23, float64(i))
	}
	for i := range 20_000 {
		s.fails(fmt.Sprintf("203.0.113.%d", i%200), stranger(s.r.IntN(1e6)), uint16(s.r.IntN(60_000)), 200+float64(i)/1000)
	}
	log := &versions{}
	d := infected.NewFlows(infected.FlowsConfig{Own: []netip.Prefix{homes}, Sources: 50, Places: 4000}, infected.FlowsPorts{}, log)
	d.Take(s.list)
	d.Finish()
	if v := d.LogValue().String(); d.Dropped() == 0 || !strings.Contains(v, "sources") {
		t.Errorf("%d dropped, %s", d.Dropped(), v)
	}
	if sources, places := d.Size(); sources > 50 || places > 4000 {
		t.Errorf("%d sources, %d places", sources, places)
	}
	if f := d.Found(); len(f) != 1 || f[0].Address.String() != bot {
		t.Errorf("%v", f)
	}
}

// TestFlowPlaces: what is forgotten gives its places back, to the last one.
func TestFlowPlaces(t *testing.T) {
	t.Parallel()
	s := newStreet(12)
	for name, play := range innocents {
		if len(name) < 30 {
			play(s)
		}
	}
	for i := range 700 {
		s.fails(bot, stranger(i), 23, float64(i)/10)
	}
	long(s, bot, c2.String(), 6667, 600)
	s.meets("203.0.113.9", sink.String(), 6667, 5)
	slices.SortStableFunc(s.list, func(a, b observe.Flow) int { return cmp.Compare(a.Last, b.Last) })
	d := infected.NewFlows(infected.FlowsConfig{Own: []netip.Prefix{homes}}, infected.FlowsPorts{Listed: listed, May: func(netip.Addr) bool { return true }}, &versions{})
	d.Take(s.list)
	d.TookPart(infected.Part{Attack: "a", Address: netip.MustParseAddr(bot), Target: "x", Vectors: []string{"syn"}, First: start, Last: start.Add(time.Minute), Confidence: 1})
	if sources, places := d.Size(); sources == 0 || places == 0 {
		t.Fatalf("%d sources, %d places", sources, places)
	}
	for h := range 40 {
		d.Tick(start.Add(time.Duration(h) * time.Hour))
	}
	if sources, places := d.Size(); sources != 0 || places != 0 {
		t.Errorf("%d sources, %d places are left", sources, places)
	}
}

// TestFlowsNoAllocation: flows of whom nothing is known allocate nothing.
func TestFlowsNoAllocation(t *testing.T) {
	s := newStreet(9)
	for i := range 1000 {
		s.meets("203.0.113.9", stranger(i), 443, float64(i)/100)
	}
	d := infected.NewFlows(infected.FlowsConfig{Own: []netip.Prefix{homes}}, infected.FlowsPorts{}, &versions{})
	d.Take(s.list)
	if n := testing.AllocsPerRun(20, func() { d.Take(s.list) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkFlows takes flows of households, with a bot among them.
func BenchmarkFlows(b *testing.B) {
	s := newStreet(10)
	for i := range 50 {
		s.page(fmt.Sprintf("203.0.113.%d", i), 0, 300)
	}
	for i := range 3000 {
		s.fails(bot, stranger(i), 23, float64(i)/10)
	}
	slices.SortFunc(s.list, func(a, b observe.Flow) int { return cmp.Compare(a.Last, b.Last) })
	for name, ports := range map[string]infected.FlowsPorts{"scans": {}, "and the list": {Listed: listed, May: func(netip.Addr) bool { return true }}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			d := infected.NewFlows(infected.FlowsConfig{Own: []netip.Prefix{homes}}, ports, &versions{})
			for b.Loop() {
				d.Take(s.list)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(s.list)), "ns/flow")
		})
	}
}
