package record_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow/record"
)

// atlas puts 198.51.100.0/24 into JP and everything else into US; 203.0.113.0/24 is
// ours, and its lower half a customer's.
type atlas struct{}

func (atlas) Place(a packet.Addr) (string, uint32) {
	if jp(a) {
		return "JP", 64496
	}
	return "US", 64497
}

func jp(a packet.Addr) bool { return a.Is4() && a.V4()>>8 == 0xc63364 }

func (atlas) Customer(a packet.Addr) (string, bool) {
	switch {
	case !a.Is4() || a.V4()>>8 != 0xcb0071:
		return "", false
	case a.V4()&0xff < 15:
		return "o'Hara", true
	}
	return "", true
}

// filter is one, and what it means.
type filter struct {
	observe.FlowFilter
	fits func(observe.Flow) bool
}

func filters() map[string]filter {
	netOf := netip.MustParsePrefix
	in := func(a packet.Addr, p string) bool { return netOf(p).Contains(a.Netip()) }
	return map[string]filter{
		"all":       {observe.FlowFilter{}, everything},
		"dst":       {observe.FlowFilter{Dst: []netip.Prefix{netOf("203.0.113.0/28")}}, func(f observe.Flow) bool { return in(f.Dst, "203.0.113.0/28") }},
		"src v6":    {observe.FlowFilter{Src: []netip.Prefix{netOf("2001:db8::/33")}}, func(f observe.Flow) bool { return f.Src.Hi == 0x20010db8_00000000 }},
		"dst v6":    {observe.FlowFilter{Dst: []netip.Prefix{netOf("2001:db8:1::8000:0:0:2/127")}}, func(f observe.Flow) bool { return in(f.Dst, "2001:db8:1::8000:0:0:2/127") }},
		"addr":      {observe.FlowFilter{Addr: []netip.Prefix{netOf("203.0.113.7/32"), netOf("198.51.100.9/32")}}, func(f observe.Flow) bool { return in(f.Dst, "203.0.113.7/32") || in(f.Src, "198.51.100.9/32") }},
		"proto":     {observe.FlowFilter{Protos: []uint8{6}, DstPorts: []uint16{53, 443}}, func(f observe.Flow) bool { return f.Proto == 6 && (f.DstPort == 53 || f.DstPort == 443) }},
		"port":      {observe.FlowFilter{Ports: []uint16{53, 1030}}, func(f observe.Flow) bool { return f.DstPort == 53 || f.SrcPort == 1030 }},
		"src as":    {observe.FlowFilter{SrcAS: []uint32{64500}}, everything},
		"dst as":    {observe.FlowFilter{DstAS: []uint32{64496}}, func(observe.Flow) bool { return false }},
		"as":        {observe.FlowFilter{AS: []uint32{64496, 64497}}, everything},
		"country":   {observe.FlowFilter{Countries: []string{"JP"}}, func(f observe.Flow) bool { return jp(f.Src) }},
		"exporter":  {observe.FlowFilter{Exporters: []uint32{2}}, func(f observe.Flow) bool { return f.Exporter == 2 }},
		"interface": {observe.FlowFilter{Interfaces: []observe.FlowInterface{{Exporter: 3, Index: 1}}}, func(f observe.Flow) bool { return f.Exporter == 3 && (f.In == 1 || f.Out == 1) }},
		"in":        {observe.FlowFilter{Way: observe.FlowIn}, func(f observe.Flow) bool { return f.Dst.Is4() }},
		"out":       {observe.FlowFilter{Way: observe.FlowOut}, func(observe.Flow) bool { return false }},
		"customer":  {observe.FlowFilter{Customers: []string{"o'Hara", "nobody"}}, func(f observe.Flow) bool { c, _ := (atlas{}).Customer(f.Dst); return c == "o'Hara" }},
		"flags":     {observe.FlowFilter{Flags: packet.SYN}, func(f observe.Flow) bool { return f.TCPFlags&packet.SYN != 0 }},
	}
}

// TestOracle: rankings and filters against sums made by hand, at each grain.
func TestOracle(t *testing.T) {
	t.Parallel()
	rec, know := feed(t, opened(t), record.Options{Places: atlas{}, Customers: atlas{}}, 7, 15)
	dims := map[observe.FlowBy]func(observe.Flow) observe.FlowKey{
		observe.FlowBySrc:     func(f observe.Flow) observe.FlowKey { return observe.FlowKey{Addr: f.Src.Netip()} },
		observe.FlowByDst:     func(f observe.Flow) observe.FlowKey { return observe.FlowKey{Addr: f.Dst.Netip()} },
		observe.FlowBySrcPort: func(f observe.Flow) observe.FlowKey { return number(uint64(f.Proto)<<16 | uint64(f.SrcPort)) },
		observe.FlowByDstPort: func(f observe.Flow) observe.FlowKey { return number(uint64(f.Proto)<<16 | uint64(f.DstPort)) },
		observe.FlowByProto:   func(f observe.Flow) observe.FlowKey { return number(uint64(f.Proto)) },
		observe.FlowBySrcAS:   func(observe.Flow) observe.FlowKey { return number(64500) },
		observe.FlowByDstAS:   func(observe.Flow) observe.FlowKey { return number(64497) },
		observe.FlowBySrcCountry: func(f observe.Flow) observe.FlowKey {
			return observe.FlowKey{Text: map[bool]string{true: "JP", false: "US"}[jp(f.Src)]}
		},
		observe.FlowByExporter: func(f observe.Flow) observe.FlowKey { return number(uint64(f.Exporter)) },
		observe.FlowByIn:       func(f observe.Flow) observe.FlowKey { return number(uint64(f.Exporter)<<32 | uint64(f.In)) },
		observe.FlowByOut:      func(f observe.Flow) observe.FlowKey { return number(uint64(f.Exporter)<<32 | uint64(f.Out)) },
		observe.FlowByCustomer: func(f observe.Flow) observe.FlowKey {
			c, _ := (atlas{}).Customer(f.Dst)
			return observe.FlowKey{Text: c}
		},
		observe.FlowByFlags: func(f observe.Flow) observe.FlowKey { return number(uint64(f.TCPFlags)) },
	}
	r := rand.New(rand.NewPCG(3, 4))
	for name, filter := range filters() {
		for by, key := range dims {
			if name != "all" && r.IntN(12) > 0 { // all of them would take long
				continue
			}
			g := kept[r.IntN(3)]
			span, order := spanOf(g), []string{"bytes", "packets", "flows"}[r.IntN(3)]
			want := map[observe.FlowKey]sum{}
			for _, rows := range know.minutes {
				for f, s := range rows {
					if filter.fits(f) {
						want[key(f)] = want[key(f)].plus(s)
					}
				}
			}
			top, err := rec.Top(t.Context(), by, observe.FlowQuery{FlowFilter: filter.FlowFilter, Range: span, Order: order, Limit: 5})
			if err != nil {
				t.Fatal(name, by, err)
			}
			if top.Grain != g || top.LeftOut.Packets+top.Maybe.Packets > 0 || len(top.Rows) != min(5, len(want)) {
				t.Errorf("%s by %s: %+v, of %d keys", name, by, top, len(want))
			}
			rank := func(s sum) uint64 {
				return map[string]uint64{"bytes": s.bytes, "packets": s.packets, "flows": s.flows}[order]
			}
			var best []uint64
			for _, s := range want {
				best = append(best, rank(s))
			}
			slices.SortFunc(best, func(a, b uint64) int { return cmp.Compare(b, a) })
			for i, row := range top.Rows {
				got := sum{row.Packets, row.Bytes, row.Flows}
				if got != want[row.Key] || rank(got) != best[i] {
					t.Errorf("%s by %s %s at %s: %+v has %v, not %v; the %d. has %d", name, by, order, g, row.Key, got, want[row.Key], i+1, best[i])
				}
			}
			seriesAdd(t, rec, by, observe.FlowQuery{FlowFilter: filter.FlowFilter, Range: span, Order: order, Limit: 5}, &top)
		}
	}
	talkersAgree(t, rec, know)
}

func number(n uint64) observe.FlowKey { return observe.FlowKey{Number: n} }

// seriesAdd: the lines of a course add up to its ranking.
func seriesAdd(t *testing.T, rec *record.Record, by observe.FlowBy, q observe.FlowQuery, top *observe.FlowTop) {
	t.Helper()
	s, err := rec.Series(t.Context(), by, q, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(list []uint64) (n uint64) {
		for _, v := range list {
			n += v
		}
		return n
	}
	rest := top.Total.Bytes
	for i, l := range s.Rows {
		if l.Key != top.Rows[i].Key || add(l.Bytes) != top.Rows[i].Bytes || add(l.Packets) != top.Rows[i].Packets {
			t.Errorf("%s: the course of %+v adds up to %d, not %d", by, l.Key, add(l.Bytes), top.Rows[i].Bytes)
		}
		rest -= top.Rows[i].Bytes
	}
	if add(s.Other.Bytes) != rest || len(s.Times) != len(s.Other.Bytes) {
		t.Errorf("%s: others have %d, not %d", by, add(s.Other.Bytes), rest)
	}
}

func talkersAgree(t *testing.T, rec *record.Record, know *truth) {
	t.Helper()
	type pair struct {
		src, dst netip.Addr
		proto    uint8
		port     uint16
	}
	want := map[pair]sum{}
	for _, rows := range know.minutes {
		for f, s := range rows {
			p := pair{f.Src.Netip(), f.Dst.Netip(), f.Proto, f.DstPort}
			want[p] = want[p].plus(s)
		}
	}
	talk, err := rec.Talkers(t.Context(), observe.FlowQuery{Range: spanOf(observe.FlowFive), Order: "packets", Limit: 50})
	if err != nil || len(talk.Rows) != 50 {
		t.Fatal(len(talk.Rows), err)
	}
	last := uint64(math.MaxUint64)
	for _, row := range talk.Rows {
		if s := want[pair{row.Src, row.Dst, row.Proto, row.DstPort}]; s != (sum{row.Packets, row.Bytes, row.Flows}) || s.packets > last {
			t.Errorf("%+v: not %v", row, s)
		} else {
			last = s.packets
		}
	}
}

// TestSampling: the error of a sum is that of its samples.
func TestSampling(t *testing.T) {
	t.Parallel()
	s := opened(t)
	w := writer(t, s, record.Options{})
	for i := range 100 {
		w.Take([]observe.Flow{{
			Src: packet.V4(0xc6336401), Dst: packet.V4(0xcb007101), Proto: 17, First: epoch * 1e9, Last: epoch*1e9 + int64(i)*1e9,
			Packets: 4000, Bytes: 400_000, Seen: 4, Rate: 1000, Exporter: 1, Marks: observe.FlowSample,
		}})
	}
	finish(t, s, w)
	rec, err := record.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	top, err := rec.Top(t.Context(), observe.FlowByDst, observe.FlowQuery{Range: observe.Range{From: at(epoch), To: at(epoch + 120)}, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	// 400 samples of 1 in 1000: ± 196 % · √(1/400), nearly, as 1 in 1000 isn't 1 in ∞.
	want := 1.96 * math.Sqrt(400*1000*999)
	c := top.Total
	if c.Packets != 400_000 || math.Abs(c.PacketsError-want) > 1 || math.Abs(c.BytesError-100*want) > 100 || !c.Samples || c.Flows != 0 {
		t.Errorf("%+v, want an error of %.0f", c, want)
	}
	rows, _ := pages(t, rec, observe.FlowQuery{Range: observe.Range{From: at(epoch), To: at(epoch + 120)}, Limit: 5})
	if len(rows) != 2 || rows[0].Flow.Seen+rows[1].Flow.Seen != 400 || rows[1].Flow.Rate != 1069 { // 363,378 packets by 340 samples
		t.Errorf("%+v", rows)
	}
}

func finish(t *testing.T, s *store.Store, w *record.Writer) {
	t.Helper()
	serial := w.Finish()
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return w.Save(t.Context(), tx, serial) }); err != nil {
		t.Fatal(err)
	}
}

// TestFlood: a million forged sources don't hide whom they flood, nor a scan who scans,
// and what is quiet besides keeps its place.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := opened(t)
	w := writer(t, s, record.Options{Keys: 500})
	r := rand.New(rand.NewPCG(5, 6))
	victim, scanner, customer := packet.V4(0xcb007105), packet.V4(0xc6336407), packet.V4(0xcb007150)
	batch := make([]observe.Flow, 0, 1000)
	var all sum
	for i := range 60_000 {
		f := observe.Flow{Src: packet.V4(r.Uint32()), Dst: victim, SrcPort: uint16(1024 + r.IntN(60000)), DstPort: 80, Proto: 6, TCPFlags: packet.SYN, Packets: 1, Bytes: 40, Rate: 1, Seen: 1, Exporter: 1, In: 3}
		switch i % 10 {
		case 1, 2:
			f.Src, f.Dst, f.DstPort = scanner, packet.V4(r.Uint32()), 23
		case 3:
			f.Src, f.Dst, f.SrcPort, f.DstPort, f.Packets, f.Bytes = packet.V4(0xc6336400+uint32(r.IntN(20))), customer, 443, 50_000, 100, 100_000
		}
		f.First, f.Last = (epoch+30)*1e9, (epoch+30)*1e9
		all = all.plus(sum{f.Packets, f.Bytes, 1})
		if batch = append(batch, f); len(batch) == cap(batch) {
			w.Take(batch)
			batch = batch[:0]
		}
	}
	finish(t, s, w)
	rec, _ := record.New(t.Context(), s)
	for _, g := range kept {
		q := observe.FlowQuery{Range: spanOf(g), Order: "flows", Limit: 1}
		for by, who := range map[observe.FlowBy]struct {
			packet.Addr
			flows uint64
		}{observe.FlowByDst: {victim, 42_000}, observe.FlowBySrc: {scanner, 12_000}} {
			top, err := rec.Top(t.Context(), by, q)
			if err != nil {
				t.Fatal(err)
			}
			if len(top.Rows) != 1 || top.Rows[0].Key.Addr != who.Netip() || top.Rows[0].Flows < who.flows*9/10 || (sum{top.Total.Packets, top.Total.Bytes, top.Total.Flows}) != all {
				t.Errorf("%s by %s: %+v, %+v", g, by, top.Rows, top.Total)
			}
		}
		top, err := rec.Top(t.Context(), observe.FlowByDst, observe.FlowQuery{Range: spanOf(g), Limit: 1})
		if err != nil || top.Rows[0].Key.Addr != customer.Netip() || top.Rows[0].Bytes != 600_000_000 {
			t.Errorf("%s: %+v %v", g, top.Rows, err)
		}
	}
}

// TestSearchAndReplay: pages hold together while more is saved; records as they came
// are listed where all of them were kept, and else minutes.
func TestSearchAndReplay(t *testing.T) {
	t.Parallel()
	for _, raw := range []int{0, 1, 1000} {
		t.Run(fmt.Sprint(raw), func(t *testing.T) {
			t.Parallel()
			s := opened(t)
			w := writer(t, s, record.Options{Raw: raw, Horizon: 3 * time.Minute})
			rec, _ := record.New(t.Context(), s)
			r := rand.New(rand.NewPCG(8, 9))
			know := &truth{minutes: map[int64]map[observe.Flow]sum{}, horizon: 3}
			save := func() {
				serial := w.Cut()
				if err := s.Tx(t.Context(), func(tx *store.Tx) error { return w.Save(t.Context(), tx, serial) }); err != nil {
					t.Fatal(err)
				}
			}
			batch := make([]observe.Flow, 0, 150)
			for i := range 900 {
				f := someFlow(r, epoch)
				f.Last = epoch*1e9 + int64(i)*5e8
				f.First = f.Last - r.Int64N(50e9)
				know.take(f)
				if batch = append(batch, f); len(batch) == cap(batch) {
					w.Take(batch)
					batch = batch[:0]
					save()
				}
			}
			q := observe.FlowQuery{Range: observe.Range{From: at(epoch - 600), To: at(epoch + 3000)}, Limit: 150}
			first, err := rec.Search(t.Context(), q, "")
			if err != nil {
				t.Fatal(err)
			}
			want := know.in(0, math.MaxInt64, everything)
			rows, _ := pages(t, rec, q)
			var got sum
			for i, row := range rows {
				got = got.plus(sum{row.Flow.Packets, row.Flow.Bytes, row.Flows})
				if i > 0 && row.Flow.Last > rows[i-1].Flow.Last {
					t.Error("not the latest first")
				}
			}
			grain := map[int]observe.FlowGrain{0: observe.FlowMinute, 1: observe.FlowMinute, 1000: observe.FlowRaw}[raw]
			if got != want || first.Grain != grain || raw == 1000 && len(rows) != 900 {
				t.Errorf("%s: %v of %d rows, not %v", first.Grain, got, len(rows), want)
			}
			save() // minutes of the first page are put together now
			second, err := rec.Search(t.Context(), q, first.Next)
			if err != nil || len(second.Rows) != 150 || second.Rows[0] != rows[150] || second.Rows[149] != rows[299] {
				t.Errorf("the second page changed: %v", err)
			}
			q.Before = at(epoch + 100) // in the middle of a bucket
			early, _ := pages(t, rec, q)
			if len(early) == 0 || len(early) >= len(rows) || slices.ContainsFunc(early, func(w observe.FlowRow) bool { return w.Flow.Last >= q.Before.UnixNano() }) {
				t.Errorf("%d rows of before, of %d", len(early), len(rows))
			}
			q.Before = time.Time{}
			q.MinBytes = 100_000
			few, _ := pages(t, rec, q)
			many := slices.DeleteFunc(slices.Clone(rows), func(w observe.FlowRow) bool { return w.Flow.Bytes < q.MinBytes })
			if !slices.Equal(few, many) || len(many) == len(rows) {
				t.Errorf("%d rows of at least so many bytes, not %d", len(few), len(many))
			}
			if _, err := rec.Search(t.Context(), q, "7 7"); err == nil {
				t.Error("a mark of somebody else's was taken")
			}
			var again sum
			last := int64(0)
			span, err := rec.Replay(t.Context(), q.Range, func(batch []observe.Flow) error {
				for _, f := range batch {
					again = again.plus(sum{f.Packets, f.Bytes, 1})
					if f.Last < last || f.First > f.Last {
						return fmt.Errorf("%d comes after %d", f.Last, last)
					}
					last = f.Last
				}
				return nil
			})
			if err != nil || span.Grain != grain || again.packets != want.packets || again.bytes != want.bytes {
				t.Errorf("replayed %v from %s, not %v: %v", again, span.Grain, want, err)
			}
			if st := w.Stats(); st.Raw+st.RawLeft != map[bool]uint64{true: 900}[raw > 0] || (raw == 1) != (st.RawLeft > 0) {
				t.Errorf("%+v", st)
			}
			retained(t, rec, want)
		})
	}
}

// retained: what is too old goes, and the coarser grain has it still.
func retained(t *testing.T, rec *record.Record, all sum) {
	t.Helper()
	gone, err := rec.Retain(t.Context(), at(epoch+2*3600), record.Policy{Raw: time.Hour, Minutes: time.Hour, Fives: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	in := observe.Range{From: at(epoch - 3600), To: at(epoch + 3600)}
	top, err := rec.Top(t.Context(), observe.FlowByProto, observe.FlowQuery{Range: in, Limit: 1})
	if err != nil || (sum{top.Total.Packets, top.Total.Bytes, top.Total.Flows}) != all || gone[observe.FlowMinute] == 0 {
		t.Errorf("%v went, and %+v is left of %v: %v", gone, top.Total, all, err)
	}
	if page, err := rec.Search(t.Context(), observe.FlowQuery{Range: in, Limit: 1}, ""); err != nil || page.Grain == observe.FlowRaw {
		t.Errorf("records that went are looked for: %s %v", page.Grain, err)
	}
}
