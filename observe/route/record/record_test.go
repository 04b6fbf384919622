package record_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/bgp"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/record"
)

const epoch = int64(1_700_000_000) * 1e9

func at(t int64) time.Time { return time.Unix(0, t).UTC() }

func opened(tb testing.TB) (*store.Store, *record.Record) {
	tb.Helper()
	s, err := store.Open(tb.Context(), tb.TempDir(), store.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	r, err := record.New(tb.Context(), s)
	if err != nil {
		tb.Fatal(err)
	}
	return s, r
}

func writer(tb testing.TB, r *record.Record, o record.Options) *record.Writer {
	tb.Helper()
	w, err := r.Writer(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func save(tb testing.TB, s *store.Store, w *record.Writer) {
	tb.Helper()
	serial := w.Cut()
	if err := s.Tx(tb.Context(), func(tx *store.Tx) error { return w.Save(tb.Context(), tx, serial) }); err != nil {
		tb.Fatal(err)
	}
}

// world is a table that knows only what a writer asks for, and what stood when.
type world struct {
	observe.RouteTable
	prefixes []netip.Prefix
	paths    []observe.RoutePath
	now      map[lane]uint32
}

type lane struct {
	prefix uint32
	peer   uint32
	id     uint32
}

func (w *world) Path(id uint32) *observe.RoutePath { return &w.paths[id-1] }
func (w *world) Uses(uint32) int                   { return 1 }
func (w *world) Prefix(n uint32) netip.Prefix      { return w.prefixes[n-1] }

func (w *world) Peer(n uint32) *observe.RoutePeer {
	p := &observe.RoutePeer{Number: n, Feed: "feed", Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), AS: 64500 + n, Last: at(epoch), Routes: int(n)}
	if n > 2 {
		p.Router, p.RD, p.View = netip.MustParseAddr("2001:db8::1"), 7, observe.RouteLocal
	}
	return p
}

func newWorld() *world {
	w := &world{now: map[lane]uint32{}}
	for _, s := range []string{
		"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.128/25", "10.1.2.129/32", "203.0.113.0/24", "255.255.255.0/24",
		"::/0", "2001:db8::/32", "2001:db8:0:8000::/49", "2001:db8::8000/113", "2001:db8::8001/128", "ffff::/16",
	} {
		w.prefixes = append(w.prefixes, netip.MustParsePrefix(s))
	}
	for i := range uint32(9) {
		p := observe.RoutePath{
			ID: i + 1, ASes: []uint32{64500, 4200000000 + i}[:1+i%2], Origin: 64500, NextHop: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), MED: i, OriginCode: uint8(i % 3),
		}
		if i%3 == 1 {
			p.Communities, p.Large, p.HasOTC, p.OTC, p.Atomic, p.Aggregator = []uint32{1, 1 << 31}, [][3]uint32{{1, 2, 1<<32 - 1}}, true, 64500, true, 5
			p.NextHop = netip.MustParseAddr("2001:db8::2")
		}
		if i%3 == 2 {
			p.Set, p.Confed, p.Origin, p.NextHop, p.ASes, p.LocalPref = true, true, 0, netip.Addr{}, nil, 100
		}
		w.paths = append(w.paths, p)
	}
	return w
}

// step changes something at random, and tells the writer.
func (w *world) step(r *rand.Rand, to *record.Writer, t int64) {
	b := observe.RouteBatch{Table: w}
	for range 1 + r.IntN(3) {
		l := lane{uint32(1 + r.IntN(len(w.prefixes))), uint32(1 + r.IntN(4)), 0}
		if l.peer == 4 {
			l.id = r.Uint32N(3)
		}
		path := uint32(0)
		if r.IntN(3) > 0 {
			path = uint32(1 + r.IntN(len(w.paths)))
		}
		was := w.now[l]
		if path == was {
			continue
		}
		w.now[l] = path
		if path == 0 {
			delete(w.now, l)
		}
		b.Routes = append(b.Routes, observe.Route{At: t, Prefix: l.prefix, Peer: l.peer, ID: l.id, Path: path, Was: was, Marks: observe.RouteMarks(r.IntN(16))})
	}
	to.Routed(&b)
}

// again tells everything anew.
func (w *world) again(to *record.Writer, t int64) {
	b := observe.RouteBatch{Table: w}
	for l, path := range w.now {
		b.Routes = append(b.Routes, observe.Route{At: t, Prefix: l.prefix, Peer: l.peer, ID: l.id, Path: path, Marks: observe.RouteState})
	}
	to.Routed(&b)
	to.Until(at(t))
}

// want is what Show must say, as lines.
func (w *world) want(now map[lane]uint32, p netip.Prefix) (lines []string) {
	cover := -1
	for l := range now {
		if q := w.prefixes[l.prefix-1]; q.Bits() < p.Bits() && q.Contains(p.Addr()) {
			cover = max(cover, q.Bits())
		}
	}
	for l, path := range now {
		q := w.prefixes[l.prefix-1]
		var match observe.RouteMatch
		switch {
		case q == p:
			match = observe.RouteExact
		case q.Bits() == cover && q.Contains(p.Addr()):
			match = observe.RouteCover
		case q.Bits() > p.Bits() && p.Contains(q.Addr()):
			match = observe.RouteInside
		default:
			continue
		}
		lines = append(lines, say(q, match, w.Peer(l.peer), l.id, w.paths[path-1]))
	}
	slices.Sort(lines)
	return lines
}

func say(q netip.Prefix, match observe.RouteMatch, p *observe.RoutePeer, id uint32, path observe.RoutePath) string {
	path.ID = 0
	return fmt.Sprintf("%s %s %s %s %s %d %d %s %d %+v", match, q, p.Feed, p.Router, p.Address, p.AS, p.RD, p.View, id, path)
}

func told(s observe.RouteShown) (lines []string) {
	for _, r := range s.Routes {
		if len(r.Path.Communities) == 0 {
			r.Path.Communities = nil
		}
		lines = append(lines, say(r.Prefix, r.Match, &r.Peer, r.ID, r.Path))
	}
	slices.Sort(lines)
	return lines
}

// TestTime: whatever time and prefix is asked for, the answer is what stood then; over
// transactions that failed, restarts of the writer, and after what is old was deleted.
func TestTime(t *testing.T) {
	t.Parallel()
	s, rec := opened(t)
	o := record.Options{Part: 1 << 63}
	w, world, r := writer(t, rec, o), newWorld(), rand.New(rand.NewPCG(1, 2))
	var stood []map[lane]uint32
	const steps = 300
	time := func(i int) int64 { return epoch + int64(i)*30e9 }
	for i := range steps {
		world.step(r, w, time(i))
		stood = append(stood, maps.Clone(world.now))
		switch r.IntN(12) {
		case 0:
			save(t, s, w)
		case 1: // the disk says no
			serial := w.Cut()
			_ = s.Tx(t.Context(), func(tx *store.Tx) error {
				_ = w.Save(t.Context(), tx, serial)
				return fmt.Errorf("no")
			})
		case 2: // killed after a checkpoint: a run begins that hears everything anew
			w.Until(at(time(i + 1)))
			save(t, s, w)
			_ = s.Tx(t.Context(), func(tx *store.Tx) error { return w.Save(t.Context(), tx, 1<<60) }) // nothing of it comes twice
			w = writer(t, rec, o)
			world.again(w, time(i+1)-1)
		}
	}
	save(t, s, w)
	ask := func(from int) {
		t.Helper()
		for range 40 {
			i, p := from+r.IntN(steps-from), world.prefixes[r.IntN(len(world.prefixes))]
			if r.IntN(3) == 0 {
				p = netip.PrefixFrom(p.Addr(), r.IntN(p.Addr().BitLen()+1)).Masked()
			}
			got, err := rec.Show(t.Context(), observe.RouteQuery{Prefix: p, At: at(time(i) + r.Int64N(30e9-1)), Limit: 1000})
			if i == steps-1 && !got.Known { // it ends with the last line
				continue
			}
			if err != nil || !got.Known || got.More || got.Lost != 0 {
				t.Fatal(got.Known, got.More, got.Lost, err)
			}
			if want := world.want(stood[i], p); !slices.Equal(told(got), want) {
				t.Fatalf("%s at step %d:\n%q\nnot\n%q", p, i, told(got), want)
			}
		}
	}
	ask(0)
	gone, err := rec.Retain(t.Context(), at(time(200)))
	if err != nil || gone < 100 {
		t.Fatal(gone, err)
	}
	ask(200)
	if got, err := rec.Show(t.Context(), observe.RouteQuery{Prefix: world.prefixes[0], At: at(time(100)), Limit: 1}); err != nil || got.Known || got.Kept.From != at(time(200)) {
		t.Errorf("what was deleted is told: %+v %v", got, err)
	}
	if err := rec.Forget(t.Context(), o.Part); err != nil {
		t.Fatal(err)
	}
	if got, err := rec.Show(t.Context(), observe.RouteQuery{Prefix: world.prefixes[0], At: at(time(250)), Limit: 1}); err != nil || got.Known {
		t.Errorf("%+v %v", got, err)
	}
}

// TestHistory: changes come back as they were told, the latest first.
func TestHistory(t *testing.T) {
	t.Parallel()
	s, rec := opened(t)
	w, world := writer(t, rec, record.Options{Part: 3}), newWorld()
	one := func(t int64, prefix, path, was uint32, marks observe.RouteMarks) {
		w.Routed(&observe.RouteBatch{Table: world, Routes: []observe.Route{{At: t, Prefix: prefix, Peer: 1, Path: path, Was: was, Marks: marks}}})
	}
	one(epoch, 4, 1, 0, observe.RouteState|observe.RouteFirst)
	one(epoch+1e9, 3, 2, 0, 0)
	one(epoch+3e9, 4, 2, 1, 0)
	one(epoch+2e9, 4, 0, 2, observe.RouteMalformed) // its clock went back
	one(epoch+4e9, 5, 3, 0, 0)
	save(t, s, w)
	q := observe.RouteQuery{Prefix: world.prefixes[3], Range: observe.Range{From: at(epoch), To: at(epoch + 10e9)}, Limit: 10}
	list, more, err := rec.History(t.Context(), q, false)
	if err != nil || more || len(list) != 3 {
		t.Fatal(len(list), more, err)
	}
	if c := list[0]; c.Path != nil || c.Was.MED != 1 || c.Marks != observe.RouteMalformed || c.At != at(epoch+3e9) {
		t.Errorf("%+v", c)
	}
	if c := list[2]; c.Was != nil || c.Path.MED != 0 || c.Peer.AS != 64501 || c.Marks != observe.RouteState|observe.RouteFirst {
		t.Errorf("%+v", c)
	}
	if list, more, err = rec.History(t.Context(), q, true); err != nil || more || len(list) != 5 {
		t.Errorf("with what is around and inside: %d %v %v", len(list), more, err)
	}
	q.Limit = 2
	if list, more, err = rec.History(t.Context(), q, true); err != nil || !more || len(list) != 2 {
		t.Errorf("%d %v %v", len(list), more, err)
	}
	for _, bad := range []observe.RouteQuery{{Limit: 1}, {Prefix: world.prefixes[0]}} {
		if _, err := rec.Show(t.Context(), bad); err == nil {
			t.Errorf("%+v was answered", bad)
		}
	}
}

// TestBounds: what is beyond them is counted, told with the answer, and Full may save.
func TestBounds(t *testing.T) {
	t.Parallel()
	s, rec := opened(t)
	world := newWorld()
	some := func(w *record.Writer, n int, t int64, marks observe.RouteMarks) {
		for i := range n {
			l := []observe.Route{{At: t, Prefix: 1, Peer: 1, Path: uint32(1 + i%2), Was: uint32(2 - i%2), Marks: marks}}
			w.Routed(&observe.RouteBatch{Table: world, Routes: l})
		}
	}
	w := writer(t, rec, record.Options{Part: 1, Pending: 10, PerMinute: 6})
	some(w, 8, epoch, 0)                       // two too many for a minute
	some(w, 4, epoch+60e9, observe.RouteState) // the minute is new, and there is room for four
	some(w, 3, epoch+60e9, observe.RouteState) // there is none
	if st := w.Stats(); st.Changes != 10 || st.Dropped != 5 || w.Pending() != 10 || st.Paths != 2 {
		t.Errorf("%+v, %d wait", st, w.Pending())
	}
	save(t, s, w)
	if got, err := rec.Show(t.Context(), observe.RouteQuery{Prefix: world.prefixes[0], At: at(epoch + 60e9), Limit: 1}); err != nil || got.Lost != 5 || len(got.Routes) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	w.Saved(1)
	if w.Pending() != 0 {
		t.Errorf("%d wait", w.Pending())
	}
	var full *record.Writer
	full = writer(t, rec, record.Options{Part: 2, Pending: 10, Full: func() {
		save(t, s, full)
		full.Saved(1 << 60)
	}})
	some(full, 100, epoch, observe.RouteState)
	if st := full.Stats(); st.Changes != 100 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	parts, err := rec.Parts(t.Context())
	if err != nil || parts[1].Dropped != 5 || parts[2].Changes < 90 {
		t.Errorf("%+v %v", parts, err)
	}
}

// TestRuns: after a start of the program what the run before knew counts no more, once
// there was time to hear the tables; and between two runs nothing is known.
func TestRuns(t *testing.T) {
	t.Parallel()
	for _, parts := range [][]uint64{{1, 2, 3}, {1, 1, 1}} {
		runs(t, parts)
	}
}

func runs(t *testing.T, parts []uint64) {
	t.Helper()
	s, rec := opened(t)
	world := newWorld()
	one := func(part uint64, peer uint32, when int64) {
		w := writer(t, rec, record.Options{Part: part, Live: true})
		w.Routed(&observe.RouteBatch{Table: world, Routes: []observe.Route{{At: when, Prefix: 4, Peer: peer, Path: 1, Marks: observe.RouteState}}})
		w.Until(at(when + 60e9))
		save(t, s, w)
	}
	minute := int64(60e9)
	one(parts[0], 1, epoch)
	one(parts[1], 2, epoch+4*minute)
	one(parts[2], 3, epoch+60*minute)
	for when, want := range map[int64][]uint32{
		-1:                 nil,
		0:                  {64501},
		3 * minute:         {64501}, // it may have been the present
		5 * minute:         {64501, 64502},
		7 * minute:         {64502},
		20 * minute:        nil,
		60*minute + 30*1e9: {64503},
		70 * minute:        {64503},
		100 * minute:       nil,
	} {
		got, err := rec.Show(t.Context(), observe.RouteQuery{Prefix: world.prefixes[3], At: at(epoch + when), Limit: 9})
		var list []uint32
		for _, r := range got.Routes {
			list = append(list, r.Peer.AS)
		}
		if err != nil || !slices.Equal(list, want) || got.Known != (want != nil) {
			t.Errorf("after %s: %v, known %v, not %v; %v", time.Duration(when), list, got.Known, want, err)
		}
	}
}

// TestTable: what a real table hands on, with numbers of paths that are given anew again
// and again, is what stands in it.
func TestTable(t *testing.T) {
	t.Parallel()
	s, rec := opened(t)
	w := writer(t, rec, record.Options{Part: 1})
	tab, err := route.New(route.Config{Batch: 16, Grace: -1}, w)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 3000 {
		peer := tab.PeerOf(route.Key{Feed: "f", Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}), AS: 64500}, epoch)
		nlri := []byte{24, 100, 0, byte(r.IntN(8))}
		attributes := []byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 1, byte(r.IntN(12)), 0x40, 3, 4, 10, 0, 0, 1}
		body := append([]byte{0, 0, 0, byte(len(attributes))}, append(attributes, nlri...)...)
		switch {
		case i%100 == 99:
			tab.Down(peer, epoch+int64(i)*1e8)
			tab.Up(peer, epoch+int64(i)*1e8, netip.Addr{})
			continue
		case r.IntN(3) == 0:
			body = append(append([]byte{0, 4}, nlri...), 0, 0)
		}
		m := append(slices.Repeat([]byte{0xff}, 16), 0, byte(19+len(body)), 2)
		if err := tab.Update(peer, bgp.Options{AS4: true}, append(m, body...), epoch+int64(i)*1e8); err != nil {
			t.Fatal(err)
		}
	}
	tab.Flush()
	save(t, s, w)
	got, err := rec.Show(t.Context(), observe.RouteQuery{Prefix: netip.MustParsePrefix("100.0.0.0/8"), At: at(epoch + 3000e8), Limit: 100})
	if err != nil || got.Known { // it told nothing until then
		t.Fatal(got.Known, err)
	}
	got, err = rec.Show(t.Context(), observe.RouteQuery{Prefix: netip.MustParsePrefix("100.0.0.0/8"), At: got.Kept.To, Limit: 100})
	if err != nil || len(got.Routes) != tab.Counts().Routes || len(got.Routes) < 5 {
		t.Fatalf("%d routes, the table has %d; %v", len(got.Routes), tab.Counts().Routes, err)
	}
	for _, x := range got.Routes {
		n := tab.Number(x.Prefix)
		for peer := range uint32(4) {
			if p := tab.Peer(peer); p.Address == x.Peer.Address && tab.Path(tab.At(n, peer)).Origin != x.Path.Origin {
				t.Errorf("%s of %s is by %d, not %d", x.Prefix, p.Address, tab.Path(tab.At(n, peer)).Origin, x.Path.Origin)
			}
		}
	}
}
