package record_test

import (
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/flow/record"
)

func TestTakeAllocatesNothing(t *testing.T) {
	w := writer(t, opened(t), record.Options{Keys: 1000})
	flows := traffic(20_000, 10_000, epoch)
	w.Take(flows)
	if n := testing.AllocsPerRun(3, func() { w.Take(flows) }); n > 0 {
		t.Errorf("%v allocations for %d flows", n, len(flows))
	}
}

// TestFuture: an exporter whose clock is ahead doesn't make all others late.
func TestFuture(t *testing.T) {
	t.Parallel()
	s := opened(t)
	w := writer(t, s, record.Options{Clock: clock.Fixed(at(epoch))})
	f := observe.Flow{Src: packet.V4(1), Dst: packet.V4(2), Packets: 1, Bytes: 1, Rate: 1, First: (epoch + 86400) * 1e9, Last: (epoch + 86401) * 1e9}
	w.Take([]observe.Flow{f})
	f.First, f.Last = (epoch-30)*1e9, epoch*1e9
	w.Take([]observe.Flow{f})
	f.Packets = 1 << 50
	w.Take([]observe.Flow{f})
	st := w.Stats()
	if st.Early != 1 || st.LateFlows != 0 || st.Impossible != 1 || st.Packets != 2 {
		t.Errorf("%+v", st)
	}
	serial := w.Cut()
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return w.Save(t.Context(), tx, serial) }); err != nil {
		t.Fatal(err)
	}
	rec, _ := record.New(t.Context(), s)
	top, err := rec.Top(t.Context(), observe.FlowByProto, observe.FlowQuery{Range: observe.Range{From: at(epoch - 60), To: at(epoch + 60)}, Limit: 1})
	if err != nil || top.Total.Packets != 2 {
		t.Errorf("%+v %v", top.Total, err)
	}
}

// TestNobodySaves: where the store takes nothing for long, detail is given up and the
// totals stay.
func TestNobodySaves(t *testing.T) {
	t.Parallel()
	s := opened(t)
	w := writer(t, s, record.Options{Keys: 10, Horizon: time.Minute})
	n := uint64(0)
	for m := range int64(200) {
		w.Take(traffic(40, 1000, epoch+m*60))
		n += 40
	}
	if w.Stats().Coarse == 0 {
		t.Error("all detail waits in memory")
	}
	finish(t, s, w)
	rec, _ := record.New(t.Context(), s)
	top, err := rec.Top(t.Context(), observe.FlowByExporter, observe.FlowQuery{Range: spanOf(observe.FlowHour), Limit: 9})
	if err != nil || top.Total.Flows != n || len(top.Rows) != 4 {
		t.Errorf("%+v %v", top, err)
	}
}

// TestParts: two writers at once don't count for each other.
func TestParts(t *testing.T) {
	t.Parallel()
	s := opened(t)
	live, old := writer(t, s, record.Options{Part: 1}), writer(t, s, record.Options{Part: 2})
	live.Take(traffic(100, 50, epoch+1800))
	old.Take(traffic(100, 50, epoch)) // half an hour before, and not late
	finish(t, s, old)
	serial := live.Cut()
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return live.Save(t.Context(), tx, serial) }); err != nil {
		t.Fatal(err)
	}
	rec, _ := record.New(t.Context(), s)
	// What isn't in a coarser grain yet stays, and holds up nobody else's.
	gone, err := rec.Retain(t.Context(), at(epoch+10*86400), record.Policy{Raw: time.Hour, Minutes: time.Hour, Fives: time.Hour})
	if err != nil || gone[observe.FlowMinute] == 0 || gone[observe.FlowFive] == 0 {
		t.Errorf("%v went: %v", gone, err)
	}
	for _, g := range kept[2:] {
		top, err := rec.Top(t.Context(), observe.FlowByExporter, observe.FlowQuery{Range: spanOf(g), Limit: 9})
		if err != nil || top.Total.Flows != 200 {
			t.Errorf("%s: %+v %v", g, top.Total, err)
		}
	}
	if _, err := rec.Writer(t.Context(), record.Options{Part: 2}); err == nil {
		t.Error("a part that was finished goes on")
	}
	parts, err := rec.Parts(t.Context())
	if err != nil || parts[1].Flows != 100 || parts[2].Flows != 100 {
		t.Errorf("%+v %v", parts, err)
	}
}
