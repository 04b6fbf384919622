package record_test

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow/record"
)

// truth is what minutes should have, counted the slow way.
type truth struct {
	minutes map[int64]map[observe.Flow]sum // by start; the flow has only what rows differ in
	began   int64                          // first minute that is open
	horizon int64                          // minutes
	stats   record.Stats
}

type sum struct{ packets, bytes, flows uint64 }

func (s sum) plus(o sum) sum { return sum{s.packets + o.packets, s.bytes + o.bytes, s.flows + o.flows} }

// until is n × t / life, by other arithmetic than the record's.
func until(n uint64, t, life int64) uint64 {
	x := new(big.Int).Mul(new(big.Int).SetUint64(n), big.NewInt(t))
	return x.Div(x, big.NewInt(life)).Uint64()
}

func (t *truth) take(f observe.Flow) {
	last := f.Last / 60e9
	if t.began == 0 || last-t.horizon > t.began {
		t.began = last - t.horizon
	}
	t.stats.Flows++
	t.stats.Packets += f.Packets
	t.stats.Bytes += f.Bytes
	if last < t.began {
		t.stats.LateFlows++
	}
	k := f
	k.First, k.Last, k.Packets, k.Bytes, k.Seen, k.Rate = 0, 0, 0, 0, 0, 0
	life := f.Last - f.First + 1
	var done sum
	for m := f.First / 60e9; m <= last; m++ {
		to := min((m+1)*60e9-f.First, life)
		upto := sum{packets: until(f.Packets, to, life), bytes: until(f.Bytes, to, life)}
		part := sum{packets: upto.packets - done.packets, bytes: upto.bytes - done.bytes}
		done = upto
		if m < t.began {
			t.stats.LatePackets += part.packets
			t.stats.LateBytes += part.bytes
			continue
		}
		if m == last {
			part.flows = 1
		}
		if part == (sum{}) {
			continue
		}
		if t.minutes[m*60] == nil {
			t.minutes[m*60] = map[observe.Flow]sum{}
		}
		t.minutes[m*60][k] = t.minutes[m*60][k].plus(part)
	}
}

// in adds up what fits in [from, to).
func (t *truth) in(from, to int64, fits func(observe.Flow) bool) (all sum) {
	for start, rows := range t.minutes {
		for f, s := range rows {
			if start >= from && start < to && fits(f) {
				all = all.plus(s)
			}
		}
	}
	return all
}

func everything(observe.Flow) bool { return true }

// someFlow is one of a small town's, that ended about a time.
func someFlow(r *rand.Rand, about int64) observe.Flow {
	f := observe.Flow{
		Src: packet.V4(0xc6336400 + uint32(r.IntN(30))), Dst: packet.V4(0xcb007100 + uint32(r.IntN(30))), SrcPort: uint16(1024 + r.IntN(20)), DstPort: uint16(53 + r.IntN(3)*195),
		Proto: packet.UDP, Exporter: uint32(1 + r.IntN(3)), In: uint32(r.IntN(3)), Out: uint32(r.IntN(2)), SrcAS: 64500, Rate: 1,
		Last: about*1e9 - r.Int64N(400e9), Packets: uint64(1 + r.IntN(300)), TOS: uint8(r.IntN(2)),
	}
	if r.IntN(3) == 0 {
		f.Proto, f.TCPFlags = packet.TCP, packet.TCPFlags(r.IntN(4))
	}
	switch r.IntN(20) {
	case 0:
		f.First = f.Last - r.Int64N(1500e9) // longer than the horizon
	case 1:
		f.Last -= 700e9 // late
		f.First = f.Last - r.Int64N(90e9)
	case 2:
		f.Src, f.Dst = packet.Addr{Hi: 0x20010db8_00000000, Lo: uint64(r.IntN(5))}, packet.Addr{Hi: 0x20010db8_00010000, Lo: 1<<63 + uint64(r.IntN(5))}
		fallthrough
	default:
		f.First = f.Last - r.Int64N(100e9)
	}
	f.Bytes, f.Seen = f.Packets*uint64(40+r.IntN(1400)), uint32(f.Packets)
	return f
}

// feed gives a writer flows of some minutes, saved now and then; transactions fail, and
// the process dies, between. It is what is in the store then.
func feed(t *testing.T, s *store.Store, o record.Options, seed uint64, minutes int) (*record.Record, *truth) {
	t.Helper()
	ctx := t.Context()
	rec, err := record.New(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	know := &truth{minutes: map[int64]map[observe.Flow]sum{}, horizon: 10}
	w := writer(t, s, o)
	var unsaved []observe.Flow
	failed := errors.New("as if the disk were full")
	save := func() {
		serial := w.Cut()
		err := s.Tx(ctx, func(tx *store.Tx) error {
			if err := w.Save(ctx, tx, serial); err != nil || r.IntN(4) > 0 {
				return err
			}
			return failed
		})
		if errors.Is(err, failed) && r.IntN(2) == 0 {
			return // goes on, and saves it the next time
		}
		if errors.Is(err, failed) { // killed: what wasn't acknowledged comes again
			w = writer(t, s, o)
			w.Take(unsaved)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		unsaved = nil
	}
	for i := range minutes * 12 {
		batch := make([]observe.Flow, 1+r.IntN(30))
		for j := range batch {
			batch[j] = someFlow(r, epoch+int64(i)*5)
			know.take(batch[j])
		}
		w.Take(batch)
		unsaved = append(unsaved, batch...)
		if r.IntN(8) == 0 {
			save()
		}
	}
	last := w.Cut()
	if err := s.Tx(ctx, func(tx *store.Tx) error { return w.Save(ctx, tx, last) }); err != nil {
		t.Fatal(err)
	}
	got := w.Stats()
	got.Raw, got.RawLeft = 0, 0
	if d := cmp.Diff(know.stats, got); d != "" {
		t.Errorf("counted otherwise (-truth +got):\n%s", d)
	}
	return rec, know
}

// Ranges that are answered from each grain.
func spanOf(g observe.FlowGrain) observe.Range {
	return observe.Range{From: at(epoch - 7200), To: at(epoch + map[observe.FlowGrain]int64{observe.FlowMinute: 3500, observe.FlowFive: 86400, observe.FlowHour: 500_000}[g])}
}

var kept = []observe.FlowGrain{observe.FlowMinute, observe.FlowFive, observe.FlowHour}

// TestTotalsAgree: at every grain each exporter has to the packet what came in, whatever
// was folded, failed or died meanwhile.
func TestTotalsAgree(t *testing.T) {
	t.Parallel()
	const seed = 1 // the first few dozen were tried
	rec, know := feed(t, opened(t), record.Options{Part: 1<<63 + seed, Keys: 40, Raw: 2, Places: atlas{}, Customers: atlas{}}, seed, 22)
	for _, g := range kept {
		in := spanOf(g)
		top, err := rec.Top(t.Context(), observe.FlowByExporter, observe.FlowQuery{Range: in, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if top.Grain != g || len(top.Rows) != 3 {
			t.Fatalf("grain %s, not %s; %d exporters", top.Grain, g, len(top.Rows))
		}
		want := know.in(in.From.Unix(), in.To.Unix(), everything)
		if got := (sum{top.Total.Packets, top.Total.Bytes, top.Total.Flows}); got != want {
			t.Errorf("%s: %v in all, not %v", g, got, want)
		}
		for _, row := range top.Rows {
			want := know.in(in.From.Unix(), in.To.Unix(), func(f observe.Flow) bool { return uint64(f.Exporter) == row.Key.Number })
			if got := (sum{row.Packets, row.Bytes, row.Flows}); got != want {
				t.Errorf("%s: exporter %d has %v, not %v", g, row.Key.Number, got, want)
			}
		}
		dst, err := rec.Top(t.Context(), observe.FlowByDst, observe.FlowQuery{Range: in, Limit: 1000})
		if err != nil || dst.LeftOut.Packets == 0 {
			t.Fatalf("%s: nothing was folded: %+v %v", g, dst.LeftOut, err)
		}
		for _, row := range dst.Rows {
			truth := know.in(in.From.Unix(), in.To.Unix(), func(f observe.Flow) bool { return f.Dst.Netip() == row.Key.Addr })
			if truth.bytes < row.Bytes || truth.bytes-row.Bytes > dst.LeftOut.Bytes || truth.packets < row.Packets || truth.packets-row.Packets > dst.LeftOut.Packets {
				t.Errorf("%s: %s has %d bytes, of %d, and %d are left out", g, row.Key.Addr, row.Bytes, truth.bytes, dst.LeftOut.Bytes)
			}
		}
	}
	rowsLackWhatIsSaid(t, rec, know)
	filtersSayWhatMayFit(t, rec, know)
}

// rowsLackWhatIsSaid: a row of a minute has all of its key but for what is said.
func rowsLackWhatIsSaid(t *testing.T, rec *record.Record, know *truth) {
	t.Helper()
	rows, lacks := pages(t, rec, observe.FlowQuery{Range: spanOf(observe.FlowMinute), Limit: 500})
	for _, row := range rows {
		if row.Folded != 0 {
			continue
		}
		f := row.Flow
		start := f.First / 1e9
		f.First, f.Last, f.Packets, f.Bytes, f.Seen, f.Rate, f.DstAS = 0, 0, 0, 0, 0, 0, 0 // that of the destination is estimated
		want := know.minutes[start][f]
		if row.Flow.Bytes > want.bytes || want.bytes-row.Flow.Bytes > lacks.Bytes || want.packets-row.Flow.Packets > lacks.Packets {
			t.Errorf("%+v has %d bytes of %d, and may lack %d", f, row.Flow.Bytes, want.bytes, lacks.Bytes)
		}
	}
}

// filtersSayWhatMayFit: of what was folded, a filter takes nothing that doesn't fit, and
// says how much may.
func filtersSayWhatMayFit(t *testing.T, rec *record.Record, know *truth) {
	t.Helper()
	span := spanOf(observe.FlowMinute)
	for name, f := range filters() {
		top, err := rec.Top(t.Context(), observe.FlowByProto, observe.FlowQuery{FlowFilter: f.FlowFilter, Range: span, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		want := know.in(span.From.Unix(), span.To.Unix(), f.fits)
		if top.Total.Bytes > want.bytes || top.Total.Bytes+top.Maybe.Bytes < want.bytes {
			t.Errorf("%s: %d bytes fit, and %d may: in truth %d", name, top.Total.Bytes, top.Maybe.Bytes, want.bytes)
		}
	}
}

// pages are all rows that a search finds, page by page.
func pages(t *testing.T, rec *record.Record, q observe.FlowQuery) (rows []observe.FlowRow, lacks observe.FlowLack) {
	t.Helper()
	after := ""
	for {
		page, err := rec.Search(t.Context(), q, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Rows) > q.Limit || page.Next != "" && len(page.Rows) < q.Limit {
			t.Fatalf("a page of %d rows, of %d, and next %q", len(page.Rows), q.Limit, page.Next)
		}
		rows, lacks, after = append(rows, page.Rows...), page.Lacks, page.Next
		if after == "" {
			return rows, lacks
		}
	}
}
