package leak_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/detect/leak"
	"sakimori/observe"
)

// world is a table of routes made of maps, and who hands its changes on.
type world struct {
	t        testing.TB
	paths    []*observe.RoutePath // 0 isn't used
	uses     []int
	free     []uint32
	freed    []uint32 // free once the batch is over
	byPath   map[string]uint32
	peers    []*observe.RoutePeer
	prefixes []netip.Prefix
	numbers  map[netip.Prefix]uint32
	at       map[[2]uint32]uint32 // prefix, peer → path
	now      time.Time
	batch    []observe.Route
	messages [][]byte
	cut      func() bool // whether the batch ends here
	to       *leak.Detector
	state    bool
	view     observe.RouteView
}

func newWorld(t testing.TB, to *leak.Detector) *world {
	t.Helper()
	return &world{
		t: t, to: to, paths: make([]*observe.RoutePath, 1), uses: make([]int, 1), peers: make([]*observe.RoutePeer, 1), prefixes: make([]netip.Prefix, 1),
		byPath: map[string]uint32{}, numbers: map[netip.Prefix]uint32{}, at: map[[2]uint32]uint32{}, now: time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC),
	}
}

func (w *world) Path(id uint32) *observe.RoutePath { return w.paths[id] }
func (w *world) Peer(n uint32) *observe.RoutePeer  { return w.peers[n] }
func (w *world) Prefix(n uint32) netip.Prefix      { return w.prefixes[n] }
func (w *world) Number(p netip.Prefix) uint32      { return w.numbers[p] }
func (w *world) At(n, peer uint32) uint32          { return w.at[[2]uint32{n, peer}] }
func (w *world) Uses(path uint32) int              { return w.uses[path] }
func (w *world) Cover(uint32) uint32               { w.t.Fatal("not asked"); return 0 }
func (w *world) Inside(netip.Prefix, func(uint32) bool) {
	w.t.Fatal("not asked")
}
func (w *world) Of(uint32, func(peer, path uint32) bool) { w.t.Fatal("not asked") }
func (w *world) Seen(uint32) (peers, whole int)          { w.t.Fatal("not asked"); return 0, 0 }

// peer adds one.
func (w *world) peer(as uint32) uint32 {
	n := uint32(len(w.peers))
	w.peers = append(w.peers, &observe.RoutePeer{Number: n, Feed: "test", Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), AS: as, Up: true, ServesAll: true, View: w.view})
	return n
}

func (w *world) number(p netip.Prefix) uint32 {
	n, ok := w.numbers[p]
	if !ok {
		n = uint32(len(w.prefixes))
		w.numbers[p] = n
		w.prefixes = append(w.prefixes, p)
	}
	return n
}

// path gives a path its number.
func (w *world) path(p observe.RoutePath) uint32 {
	if len(p.ASes) > 0 && p.Origin == 0 {
		p.Origin = p.ASes[len(p.ASes)-1]
	}
	k := fmt.Sprint(p)
	if id, ok := w.byPath[k]; ok {
		return id
	}
	var id uint32
	if n := len(w.free); n > 0 {
		id, w.free = w.free[n-1], w.free[:n-1]
	} else {
		id = uint32(len(w.paths))
		w.paths, w.uses = append(w.paths, nil), append(w.uses, 0)
	}
	p.ID = id
	w.paths[id] = &p
	w.byPath[k] = id
	return id
}

// say has a peer announce a prefix, or withdraw it without ASes.
func (w *world) say(peer uint32, p string, ases ...uint32) {
	w.saying(peer, netip.MustParsePrefix(p), observe.RoutePath{ASes: ases}, 0)
}

func (w *world) saying(peer uint32, p netip.Prefix, path observe.RoutePath, marks observe.RouteMarks) {
	n := w.number(p)
	is := uint32(0)
	if len(path.ASes) > 0 || path.Set {
		is = w.path(path)
	}
	key := [2]uint32{n, peer}
	was := w.at[key]
	if is == was {
		return
	}
	if w.state {
		marks |= observe.RouteState
	}
	w.messages = append(w.messages, fmt.Appendf(nil, "%d %v %v", peer, p, path.ASes))
	w.batch = append(w.batch, observe.Route{At: w.now.UnixNano(), Prefix: n, Peer: peer, Path: is, Was: was, Message: uint32(len(w.messages)), Marks: marks})
	w.at[key] = is
	if is != 0 {
		w.uses[is]++
	}
	if was != 0 {
		if w.uses[was]--; w.uses[was] == 0 {
			w.freed = append(w.freed, was)
		}
	}
	if w.cut != nil && w.cut() {
		w.flush()
	}
}

// flush hands the batch on.
func (w *world) flush() {
	if len(w.batch) > 0 {
		w.to.Routed(&observe.RouteBatch{Table: w, Routes: w.batch, Messages: w.messages})
	}
	w.batch, w.messages = nil, nil
	for _, id := range w.freed {
		if w.uses[id] > 0 || w.paths[id] == nil {
			continue
		}
		p := *w.paths[id]
		p.ID = 0
		delete(w.byPath, fmt.Sprint(p))
		w.paths[id] = nil
		w.free = append(w.free, id)
	}
	w.freed = nil
}

// wait lets time pass.
func (w *world) wait(d time.Duration) { w.now = w.now.Add(d) }

// until lets time pass with nothing said.
func (w *world) until(d time.Duration) {
	w.flush()
	w.now = w.now.Add(d)
	w.to.Tick(w.now)
}

// log keeps what the detector tells.
type log struct {
	t     testing.TB
	all   []detect.Incident
	last  map[string]detect.Incident
	finds []detect.Finding
	point map[string][]detect.RoutePoint
}

func (l *log) Incident(i detect.Incident) {
	if l.last == nil {
		l.last = map[string]detect.Incident{}
	}
	l.all = append(l.all, i)
	l.last[i.ID] = i
}

func (l *log) IncidentCourse(id string, p []detect.RoutePoint) {
	if l.point == nil {
		l.point = map[string][]detect.RoutePoint{}
	}
	for _, x := range p {
		list := l.point[id]
		if n := len(list); n > 0 && list[n-1].At == x.At {
			list[n-1] = x
			continue
		}
		l.point[id] = append(list, x)
	}
}

func (l *log) Find(f detect.Finding) { l.finds = append(l.finds, f) }

// steps are the states of an incident, and the steps of its life.
func (l *log) steps(id string) (out []string) {
	for _, h := range l.last[id].History {
		out = append(out, h.Step)
	}
	return out
}

// relations of the small Internet: 10, 20 and 30 are tier 1; 11, 12 buy of 10, 21, 22 of
// 20, 31, 32 of 30; what has three digits buys of the AS with its first two.
func relations(a, b uint32) (observe.ASRelation, float64) {
	up := func(a, b uint32) bool { // is b a provider of a?
		switch {
		case a >= 100 && a < 1000:
			return b == a/10 || a == 119 && b == 21
		case a > 10 && a < 100 && a%10 != 0:
			return b == a/10*10
		}
		return false
	}
	switch {
	case up(a, b):
		return observe.ASCustomer, 0.99
	case up(b, a):
		return observe.ASProvider, 0.99
	case a < 100 && b < 100 && a%10 == 0 && b%10 == 0, a == 11 && b == 31, a == 31 && b == 11:
		return observe.ASPeer, 0.98
	}
	return observe.ASUnknown, 0
}

// usualTable has three peers, of 12, 22 and 32, tell of a /16 of each customer and each
// transit AS.
func (w *world) usualTable() {
	w.peer(12)
	w.peer(22)
	w.peer(32)
	w.state = true
	for _, m := range []uint32{11, 12, 21, 22, 31, 32} {
		for s := range uint32(10) {
			origin := m*10 + s
			for i, v := range []uint32{12, 22, 32} {
				w.say(uint32(i)+1, fmt.Sprintf("20.%d.0.0/16", origin-100), w.usual(v, origin)...)
			}
		}
	}
	w.flush()
	w.state = false
	w.wait(time.Minute)
}

// usual is the valley-free way from a vantage point to an origin of three digits.
func (w *world) usual(v, origin uint32) []uint32 {
	m := origin / 10
	switch {
	case v == m:
		return []uint32{m, origin}
	case v/10 == m/10:
		return []uint32{v, v / 10 * 10, m, origin}
	}
	return []uint32{v, v / 10 * 10, m / 10 * 10, m, origin}
}

func newDetector(t testing.TB, cfg leak.Config, p leak.Ports) (*leak.Detector, *log) {
	t.Helper()
	l := &log{t: t}
	d, err := leak.New(cfg, p, leak.Sinks{Incidents: l, Findings: l})
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}

func signals(i detect.Incident) (out []string) {
	for _, s := range i.Signals {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return out
}
