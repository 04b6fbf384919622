package leak_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/detect/leak"
	"sakimori/observe"
)

// leakBy119 has the customer 119, of 11 and 21, pass the routes of 21's customers on to 11.
func (w *world) leakBy119(prefixes int) {
	for i := range prefixes {
		origin := uint32(210 + i%9)
		p := fmt.Sprintf("20.%d.%d.0/24", origin-100, i/9)
		w.say(1, p, 12, 10, 11, 119, 21, origin)
		if i%3 == 0 {
			w.say(2, p, 22, 20, 10, 11, 119, 21, origin)
			w.say(3, p, 32, 30, 10, 11, 119, 21, origin)
		}
		w.wait(10 * time.Millisecond)
	}
}

func (w *world) unleak(prefixes int) {
	for i := range prefixes {
		p := fmt.Sprintf("20.%d.%d.0/24", 210+i%9-100, i/9)
		for peer := range uint32(3) {
			w.say(peer+1, p)
		}
	}
}

// The life of a leak: one incident, told within a second, grown, restored, closed, and the
// same one when it comes again; with both lanes, the raw messages and whose it is.
func TestLeak(t *testing.T) {
	t.Parallel()
	own := []leak.Own{{Prefix: netip.MustParsePrefix("20.113.0.0/16"), Origins: []uint32{213}, Name: "Example Shop", Customer: true}}
	d, l := newDetector(t, leak.Config{Own: own}, leak.Ports{Relation: relations, Name: func(as uint32) string {
		if as == 119 {
			return "Leaky Net"
		}
		return ""
	}})
	w := newWorld(t, d)
	w.usualTable()
	opened := w.now
	w.leakBy119(200)
	w.until(2 * time.Second)
	got := d.Results()
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	r := got[0]
	if r.Kind != "leak" || r.Form != "type 1" || r.Leaker != 119 || r.Adjacency != "11-119" || r.Prefixes != 200 || !r.First.Equal(opened) || r.Detected.Sub(r.First) > 2*time.Second || r.Confidence < 0.8 {
		t.Errorf("%+v", r)
	}
	w.until(61 * time.Second)
	i := l.last[r.ID]
	if i.From != 21 || i.To != 11 || i.Now != 200 || i.MoreSpecific != 200 || i.Severity != detect.Urgent || i.Addresses != 200*256 || i.Seen != 3 || i.Whole != 3 || len(i.Evidence) != 3 {
		t.Errorf("%+v", i)
	}
	if len(i.Own) != 1 || i.Own[0].Name != "Example Shop" || i.Own[0].Prefixes != 22 || !i.Sample[0].Own || i.Sample[0].Cover != own[0].Prefix {
		t.Errorf("%+v %+v", i.Own, i.Sample[0])
	}
	if s := signals(i); !slices.Contains(s, "valley") || !slices.Contains(s, "more-specific-burst") || !slices.Contains(s, "new-transit") || !slices.Contains(s, "own-space") {
		t.Error(s)
	}
	lane := i.Lanes[0]
	if !slices.Equal(lane.Usual, []uint32{12, 10, 20, 21, 210}) || !slices.Equal(lane.Is, []uint32{12, 10, 11, 119, 21, 210}) || lane.Peer != 12 || lane.Cover != netip.MustParsePrefix("20.110.0.0/16") || lane.Routes != 23 {
		t.Errorf("%+v", lane)
	}
	if !strings.Contains(i.Title.EN, "AS119 (Leaky Net)") || !strings.Contains(i.Title.JA, "経路リーク") || i.Why.EN == "" || i.Why.JA == "" {
		t.Errorf("%+v %+v", i.Title, i.Why)
	}
	if len(d.Prefixes(r.ID)) != 200 {
		t.Error("prefixes are missing")
	}
	w.unleak(200)
	w.until(2 * time.Second)
	if i := l.last[r.ID]; i.Now != 0 || !i.Restored || i.State != detect.Changed || i.Lanes[0].Last.IsZero() {
		t.Errorf("restored: %+v", i)
	}
	w.until(311 * time.Second)
	if i := l.last[r.ID]; i.State != detect.Closed || !i.Restored || i.Closed.IsZero() || i.Changed.Sub(i.Closed) < 300*time.Second {
		t.Errorf("closed: %+v", i)
	}
	w.leakBy119(20)
	w.until(2 * time.Second)
	if i := l.last[r.ID]; i.State != detect.Changed || i.Now != 20 || i.Waves != 2 || !i.Closed.IsZero() || len(d.Results()) != 1 {
		t.Errorf("again: %+v", i)
	}
	want := []string{"opened", "grown", "restored", "closed", "reopened"}
	if s := l.steps(r.ID); !slices.Equal(slices.DeleteFunc(s, func(x string) bool { return x == "peer" || x == "shrunk" }), want) {
		t.Errorf("%v, not %v", l.steps(r.ID), want)
	}
	top := 0
	for _, p := range l.point[r.ID] {
		top = max(top, p.Prefixes)
	}
	if top != 200 {
		t.Errorf("the course reaches %d: %+v", top, l.point[r.ID])
	}
	if f := l.finds[0]; f.ID != r.ID || f.Detector != "leak" || f.Subject != "11-119" || f.State != detect.Opened {
		t.Errorf("%+v", f)
	}
}

// The same evidence without anything that needs no habit: without relations and lists the
// way alone accuses nobody, and with a burst of new more-specifics it does.
func TestByHabitAlone(t *testing.T) {
	t.Parallel()
	for _, n := range []int{30, 200} {
		d, _ := newDetector(t, leak.Config{}, leak.Ports{})
		w := newWorld(t, d)
		w.usualTable()
		w.leakBy119(n)
		w.until(time.Minute)
		r := d.Results()
		if n < 100 && len(r) != 0 {
			t.Errorf("%d prefixes: %+v", n, r)
		}
		if n >= 100 && (len(r) != 1 || r[0].Leaker != 119 || r[0].Adjacency != "11-119") {
			t.Errorf("%d prefixes: %+v", n, r)
		}
	}
}

// 25 August 2017: by public relations the way is no valley. It shows by who stands in the
// middle.
func TestUnexpectedTransit(t *testing.T) {
	t.Parallel()
	rel := func(a, b uint32) (observe.ASRelation, float64) {
		switch [2]uint32{a, b} {
		case [2]uint32{701, 15169}:
			return observe.ASProvider, 0.99
		case [2]uint32{15169, 701}:
			return observe.ASCustomer, 0.99
		}
		return observe.ASUnknown, 0
	}
	for _, listed := range []bool{true, false} {
		cfg := leak.Config{}
		if !listed {
			cfg.Transit = []uint32{15169}
		}
		d, _ := newDetector(t, cfg, leak.Ports{Relation: rel, Tier1: func(uint32) bool { return false }})
		w := newWorld(t, d)
		p := w.peer(1103)
		w.state = true
		for i := range 40 {
			w.say(p, fmt.Sprintf("21.%d.0.0/16", i), 1103, 286, 2914, 4713)
		}
		w.say(p, "8.8.8.0/24", 1103, 286, 701, 15169)
		w.flush()
		w.state = false
		w.wait(time.Hour)
		for i := range 400 {
			w.say(p, fmt.Sprintf("21.%d.%d.0/24", i%40, i/40), 1103, 286, 701, 15169, 4713)
			w.wait(20 * time.Millisecond)
		}
		w.until(25 * time.Second)
		r := d.Results()
		if len(r) != 1 || r[0].Leaker != 15169 || r[0].Adjacency != "701-15169" || slices.Contains(r[0].Signals, "unexpected-transit") != listed || !slices.Contains(r[0].Signals, "more-specific-burst") || !slices.Contains(r[0].Signals, "adjacency-jump") {
			t.Errorf("listed %v: %+v", listed, r)
			continue
		}
		if delay := r[0].Detected.Sub(r[0].First); delay > time.Minute || r[0].Confidence >= 0.8 {
			t.Errorf("one peer alone: after %v with %.2f", delay, r[0].Confidence)
		}
	}
}

// What is no incident: a line that fails, and all that hangs on it; an owner who splits
// his space; a new peering; a session that ends.
func TestInnocent(t *testing.T) {
	t.Parallel()
	d, _ := newDetector(t, leak.Config{Own: []leak.Own{{Prefix: netip.MustParsePrefix("20.113.0.0/16"), Origins: []uint32{213}}}}, leak.Ports{Relation: relations})
	w := newWorld(t, d)
	w.usualTable()
	for s := range uint32(9) { // 20-21 fails: 21 is reached through 31, by a peering of 31 and 21
		w.say(1, fmt.Sprintf("20.%d.0.0/16", 110+s), 12, 10, 30, 31, 21, 210+s)
		w.wait(time.Second)
	}
	for i := range 256 {
		for v, p := range []uint32{12, 22, 32} {
			w.say(uint32(v)+1, fmt.Sprintf("20.113.%d.0/24", i), w.usual(p, 213)...)
		}
	}
	w.wait(time.Minute)
	for s := range uint32(9) {
		w.saying(2, netip.MustParsePrefix(fmt.Sprintf("20.%d.0.0/16", 110+s)), observe.RoutePath{}, observe.RouteDown)
	}
	w.until(10 * time.Minute)
	if r := d.Results(); len(r) != 0 {
		t.Errorf("%+v", r)
	}
}

// A hijack: exact, of a part, of idle own space, by a forged neighbour; and those who may.
func TestHijack(t *testing.T) {
	t.Parallel()
	cfg := leak.Config{
		AS: []uint32{213}, Neighbors: []leak.Neighbor{{AS: 21, Relation: "provider"}},
		Own:      []leak.Own{{Prefix: netip.MustParsePrefix("20.113.0.0/16"), Origins: []uint32{213}}, {Prefix: netip.MustParsePrefix("20.250.0.0/16"), Origins: []uint32{213}}},
		Siblings: [][]uint32{{213, 777}}, Mitigators: []uint32{666}, Anycast: []netip.Prefix{netip.MustParsePrefix("20.210.0.0/16")},
		Maintenance: []leak.Window{{From: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC), AS: 888, Why: "moves house"}},
	}
	for _, c := range []struct {
		prefix string
		path   []uint32
		form   string // "": nothing
		leaker uint32
		by     string // a signal
	}{
		{"20.113.0.0/16", []uint32{31, 315}, "exact", 315, "origin-change"},
		{"20.113.7.0/24", []uint32{31, 315}, "more-specific", 315, "more-specific"},
		{"20.250.1.0/24", []uint32{31, 315}, "squatting", 315, "squatting"},
		{"20.113.0.0/16", []uint32{31, 315, 213}, "first-hop", 315, "new-upstream"},
		{"20.110.0.0/16", []uint32{31, 315}, "exact", 315, "moas-conflict"}, // of others
		{"20.113.7.0/24", []uint32{31, 777}, "", 0, ""},                     // a sibling
		{"20.113.7.0/24", []uint32{31, 666}, "", 0, ""},                     // a mitigator
		{"20.113.7.0/24", []uint32{31, 888}, "", 0, ""},                     // work that was told
		{"20.210.0.0/16", []uint32{31, 315}, "", 0, ""},                     // anycast
		{"20.110.7.0/24", []uint32{31, 315}, "", 0, ""},                     // a part of others', without a ROA: may be a customer's
		{"20.111.0.0/16", []uint32{21}, "", 0, ""},                          // a provider for its customer
	} {
		d, l := newDetector(t, cfg, leak.Ports{Relation: relations})
		w := newWorld(t, d)
		w.usualTable()
		for i, way := range [][]uint32{{12, 10, 30}, {22, 20, 30}, {32, 30}} {
			w.say(uint32(i)+1, c.prefix, append(way, c.path...)...)
		}
		w.until(3 * time.Second)
		r := d.Results()
		switch {
		case c.form == "" && len(r) != 0:
			t.Errorf("%s by %v: %+v", c.prefix, c.path, r)
		case c.form == "":
		case len(r) != 1 || r[0].Kind != "hijack" || r[0].Form != c.form || r[0].Leaker != c.leaker || !slices.Contains(r[0].Signals, c.by):
			t.Errorf("%s by %v: not %s: %+v", c.prefix, c.path, c.form, r)
		case strings.HasPrefix(c.prefix, "20.113") && (r[0].Confidence < 0.8 || r[0].Expected != 213 || l.last[r[0].ID].Severity != detect.Urgent):
			t.Errorf("%+v", r[0])
		}
	}
}

// ROAs decide where nothing was written down: a part with an invalid origin is a hijack,
// with a valid one nothing; the origin's own parts beyond the length, in a burst, got out.
func TestROV(t *testing.T) {
	t.Parallel()
	rov := func(p netip.Prefix, as uint32) observe.ROV {
		switch {
		case as == 666:
			return observe.ROVValid
		case !netip.MustParsePrefix("20.113.0.0/16").Overlaps(p):
			return observe.ROVNotFound
		case as != 213:
			return observe.ROVInvalid
		case p.Bits() > 20:
			return observe.ROVInvalidLength
		}
		return observe.ROVValid
	}
	try := func(n int, path ...uint32) []leak.Result {
		d, _ := newDetector(t, leak.Config{}, leak.Ports{Origin: rov})
		w := newWorld(t, d)
		w.usualTable()
		for k := range n {
			for i, way := range [][]uint32{{12, 10}, {22, 20, 10}, {32, 30, 10}} {
				w.say(uint32(i)+1, fmt.Sprintf("20.113.%d.0/24", k), append(way, path...)...)
			}
		}
		w.until(30 * time.Second)
		return d.Results()
	}
	if r := try(1, 11, 115); len(r) != 1 || r[0].Leaker != 115 || !slices.Contains(r[0].Signals, "rov-invalid") {
		t.Errorf("%+v", r)
	}
	if r := try(1, 11, 666); len(r) != 0 {
		t.Errorf("%+v", r)
	}
	if r := try(200, 20, 21, 213); len(r) != 1 || r[0].Form != "type 6" || r[0].Leaker != 213 || r[0].Adjacency != "21-213" {
		t.Errorf("%+v", r)
	}
}

// OTC, ASPA, a forged neighbour, roles of own neighbours.
func TestRegisteredWays(t *testing.T) {
	t.Parallel()
	aspa := func(customer, provider uint32) observe.ASPA {
		switch customer {
		case 210:
			if provider == 21 {
				return observe.ASPAValid
			}
			return observe.ASPAInvalid
		case 119:
			if provider == 11 || provider == 21 {
				return observe.ASPAValid
			}
			return observe.ASPAInvalid
		case 21, 10, 20, 30:
			if customer/10*10 == provider && customer != provider {
				return observe.ASPAValid
			}
			return observe.ASPAInvalid
		}
		return observe.ASPANone
	}
	play := func(p leak.Ports, cfg leak.Config, path observe.RoutePath, view observe.RouteView) []leak.Result {
		d, _ := newDetector(t, cfg, p)
		w := newWorld(t, d)
		w.view = view
		w.usualTable()
		for i := range 3 {
			q := path
			if view == observe.RouteCollector {
				q.ASes = append(append([]uint32{}, [][]uint32{{12, 10}, {22, 20, 10}, {32, 30, 10}}[i]...), path.ASes...)
			} else if i > 0 {
				break
			}
			w.saying(uint32(i)+1, netip.MustParsePrefix("20.110.0.0/16"), q, 0)
		}
		w.until(30 * time.Second)
		return d.Results()
	}
	leaked := observe.RoutePath{ASes: []uint32{11, 119, 21, 210}}
	if r := play(leak.Ports{Hop: aspa}, leak.Config{}, leaked, 0); len(r) != 1 || r[0].Leaker != 119 || r[0].Signals[0] != "aspa-invalid" {
		t.Errorf("ASPA: %+v", r)
	}
	marked := leaked
	marked.HasOTC, marked.OTC = true, 21
	only := func(a, b uint32) (observe.ASRelation, float64) { // what is known of 11 alone
		if a == 11 || b == 11 {
			return relations(a, b)
		}
		return 0, 0
	}
	if r := play(leak.Ports{Relation: only}, leak.Config{}, marked, 0); len(r) != 1 || r[0].Leaker != 119 || r[0].Signals[0] != "otc" || r[0].Confidence < 0.8 {
		t.Errorf("OTC: %+v", r)
	}
	if r := play(leak.Ports{Relation: only}, leak.Config{}, leaked, 0); len(r) != 0 {
		t.Errorf("without OTC: %+v", r)
	}
	if r := play(leak.Ports{Hop: aspa}, leak.Config{}, observe.RoutePath{ASes: []uint32{11, 555, 210}}, 0); len(r) != 1 || r[0].Kind != "hijack" || r[0].Form != "first-hop" || r[0].Leaker != 555 {
		t.Errorf("forged: %+v", r)
	}
	roles := leak.Config{AS: []uint32{99}, Neighbors: []leak.Neighbor{{AS: 12, Relation: "customer"}}}
	offered := observe.RoutePath{ASes: []uint32{12, 10, 20, 21, 210}, HasOTC: true, OTC: 10}
	if r := play(leak.Ports{}, roles, offered, observe.RouteAdjIn); len(r) != 1 || r[0].Leaker != 12 || r[0].Adjacency != "99-12" {
		t.Errorf("a customer offers its provider's route: %+v", r)
	}
	if r := play(leak.Ports{}, roles, offered, observe.RouteLocal); len(r) != 0 {
		t.Errorf("what a router uses is told twice: %+v", r)
	}
}

func ids(list []leak.Result) (out []string) {
	for _, r := range list {
		out = append(out, fmt.Sprintf("%+v", r))
	}
	return out
}

// Before any table is known, of two ASes that announce a prefix the one to which open data
// give it is taken for its owner, when most peers see the other one.
func TestContested(t *testing.T) {
	t.Parallel()
	for _, n := range []int{14, 5} {
		for _, first := range []uint32{17557, 36561} {
			d, l := newDetector(t, leak.Config{}, leak.Ports{Holder: func(netip.Addr) uint32 { return 43515 }}) // a sibling of 36561
			w := newWorld(t, d)
			for i := range uint32(n) {
				w.peer(100 + i)
				w.say(i+1, "208.65.153.0/24", 100+i, 3491, first)
			}
			opened := w.now
			w.until(time.Hour)
			if r := d.Results(); len(r) != 0 {
				t.Errorf("who says which is right? %+v", r)
			}
			for i := range uint32(n) {
				w.say(i+1, "208.65.153.0/24", 100+i, 3491, 17557+36561-first)
				w.wait(time.Second)
			}
			w.until(10 * time.Second)
			r := d.Results()
			if n < 10 {
				if len(r) != 0 {
					t.Errorf("%d peers: %+v", n, r)
				}
				continue
			}
			if len(r) != 1 || r[0].Leaker != 17557 || r[0].Expected != 36561 || r[0].Confidence >= 0.8 || first == 17557 && !r[0].First.Equal(opened) {
				t.Fatalf("%d first: %+v", first, r)
			}
			if i := l.last[r[0].ID]; i.Severity != detect.Note || !strings.HasPrefix(i.Title.EN, "Possible: ") || !strings.Contains(i.Title.JA, "疑い") {
				t.Errorf("%+v", i)
			}
		}
	}
}

// How far a peer is believed counts: one that flaps opens nothing alone, and two of one AS
// are one.
func TestWeights(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		set  func(w *world)
		open bool
	}{
		"sound":     {func(*world) {}, true},
		"flapping":  {func(w *world) { w.peers[1].Damped = true }, false},
		"malformed": {func(w *world) { w.peers[1].Elements, w.peers[1].Malformed = 1000, 100 }, false},
	} {
		d, _ := newDetector(t, leak.Config{}, leak.Ports{Relation: relations})
		w := newWorld(t, d)
		w.usualTable()
		c.set(w)
		for s := range uint32(9) {
			w.say(1, fmt.Sprintf("20.%d.0.0/16", 110+s), 12, 10, 11, 119, 21, 210+s)
		}
		w.until(40 * time.Second)
		r := d.Results()
		if (len(r) == 1) != c.open || c.open && r[0].Confidence >= 0.8 {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// At the end of the input nothing waits any more.
func TestFinish(t *testing.T) {
	t.Parallel()
	d, _ := newDetector(t, leak.Config{}, leak.Ports{Relation: relations})
	w := newWorld(t, d)
	w.usualTable()
	w.say(1, "20.110.0.0/16", 12, 10, 11, 119, 21, 210)
	w.flush()
	if r := d.Results(); len(r) != 0 {
		t.Errorf("%+v", r)
	}
	d.Finish()
	if r := d.Results(); len(r) != 1 || r[0].Leaker != 119 {
		t.Errorf("%+v", r)
	}
	w.until(5 * 365 * 24 * time.Hour) // and years of silence are soon over
}

// What neighbours tell at most is kept.
func TestMaxima(t *testing.T) {
	t.Parallel()
	d, _ := newDetector(t, leak.Config{}, leak.Ports{})
	w := newWorld(t, d)
	w.usualTable()
	for i := range 30 {
		w.say(1, fmt.Sprintf("20.10.%d.0/24", i), 12, 10, 11, 110)
	}
	for i := range 35 {
		w.say(1, fmt.Sprintf("20.10.%d.0/24", i))
	}
	w.flush()
	if m := d.Maxima(); len(m) != 3 || m[0] != (leak.Maximum{AS: 12, Now: 60, Most: 90}) {
		t.Errorf("%+v", m)
	}
}

// How routes are cut into batches, and whether ticks come between, changes nothing that is
// told.
func TestCuts(t *testing.T) {
	t.Parallel()
	play := func(cut func() bool) ([]detect.Incident, []leak.Result) {
		d, l := newDetector(t, leak.Config{Own: []leak.Own{{Prefix: netip.MustParsePrefix("20.113.0.0/16"), Origins: []uint32{213}}}}, leak.Ports{Relation: relations})
		w := newWorld(t, d)
		w.usualTable()
		w.cut = cut
		r := rand.New(rand.NewPCG(1, 2))
		w.leakBy119(120)
		for range 300 {
			w.wait(time.Duration(r.IntN(900)) * time.Millisecond)
			origin := 110 + r.Uint32N(60)
			v := r.Uint32N(3)
			p := fmt.Sprintf("20.%d.0.0/16", r.Uint32N(60)+10)
			switch r.IntN(5) {
			case 0:
				w.say(v+1, p)
			case 1:
				w.say(v+1, fmt.Sprintf("20.%d.%d.0/24", r.IntN(60)+10, r.IntN(4)), w.usual([]uint32{12, 22, 32}[v], origin)...)
			default:
				w.say(v+1, p, w.usual([]uint32{12, 22, 32}[v], origin)...)
			}
		}
		w.unleak(120)
		w.until(20 * time.Minute)
		return l.all, d.Results()
	}
	all, results := play(nil)
	if len(all) < 4 {
		t.Fatalf("%d versions", len(all))
	}
	for _, size := range []int{1, 2, 3, 7, 19, 40} {
		n := 0
		got, end := play(func() bool { n++; return n%size == 0 })
		if !slices.Equal(ids(end), ids(results)) {
			t.Errorf("with batches of %d: %+v, not %+v", size, end, results)
		}
		if len(got) != len(all) {
			t.Fatalf("%d versions with batches of %d, %d with one", len(got), size, len(all))
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], all[i]) {
				t.Errorf("batches of %d:\n%+v, not\n%+v", size, got[i], all[i])
			}
		}
	}
}
