package flow_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/observe/flow"
)

// small is a template of 24 bytes, and long the same number with 28.
var (
	small = []int{8, 4, 12, 4, 2, 4, 1, 4, 22, 4, 21, 4}
	long  = []int{8, 4, 10, 4, 12, 4, 2, 4, 1, 4, 22, 4, 21, 4}
)

func smallSet(n uint64) []byte {
	return set(256, record(small, n, 2, 10, 1000, 8000, 9000))
}

// TestWaiting: data that come before their template are read when it comes, as of when they
// came.
func TestWaiting(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	for i := range int64(3) {
		if f := c.take(message9(uint32(i), uint32(10_000+1000*i), uint32(now/second+i), 0, smallSet(uint64(i+1))), now+i*second); len(f) != 0 {
			t.Errorf("%d flows without a template", len(f))
		}
	}
	// Of another domain, which this template isn't of.
	c.take(message9(0, 10_000, uint32(now/second), 1, smallSet(9)), now)
	c.Publish(now)
	if h := c.dir.Exporters()[0]; h.UnknownTemplate != 3 || h.Waiting != 3 || h.Waited != 0 {
		t.Errorf("%+v", h)
	}
	got := c.take(message9(3, 13_000, uint32(now/second+3), 0, set(0, fields(256, small...)), smallSet(4)), now+3*second)
	if len(got) != 4 {
		t.Fatalf("%d flows", len(got))
	}
	// Those that had waited come first; all were at an uptime of 9 s, whenever they came.
	for i, f := range got {
		if int(f.Src.V4()) != i+1 || f.Last != now-second {
			t.Errorf("%d: %+v", i, f)
		}
	}
	c.Publish(now)
	h := c.dir.Exporters()
	if h[0].Waiting != 0 || h[0].Waited != 3 || h[0].WaitedLost != 0 || h[1].Waiting != 1 || h[0].Gaps != 0 {
		t.Errorf("%+v", h)
	}
}

// TestWaitingIsBounded: the oldest make room, of the exporter that sends too many.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{MaxWaiting: 4096, MaxWaitingAll: 6000})
	other := netip.MustParseAddrPort("192.0.2.2:2055")
	if err := c.Ingest(v9(smallSet(77)), other, now); err != nil {
		t.Fatal(err)
	}
	const sent = 1000
	for i := range sent {
		c.take(message9(uint32(i), 10_000, uint32(now/second), 0, smallSet(uint64(i))), now)
	}
	got := c.take(message9(sent, 10_000, uint32(now/second), 0, set(0, fields(256, small...))), now)
	c.Publish(now)
	h := c.dir.Exporters()[1]
	if len(got) == 0 || len(got) > 4096/24 || uint64(len(got)) != h.Waited || h.Waited+h.WaitedLost != sent || int(got[len(got)-1].Src.V4()) != sent-1 {
		t.Errorf("%d flows, %+v", len(got), h)
	}
	if h := c.dir.Exporters()[0]; h.Waiting != 1 || h.WaitedLost != 0 {
		t.Errorf("the other one: %+v", h)
	}
}

// TestTemplateChanges: a number that is used anew with another length, or withdrawn.
func TestTemplateChanges(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	c.take(v9(set(0, fields(256, small...))), now)
	if f := c.one(v9(smallSet(1)), now); f.Src.V4() != 1 {
		t.Errorf("%+v", f)
	}
	if f := c.one(v9(set(0, fields(256, long...)), set(256, record(long, 1, 7, 2, 10, 1000, 8000, 9000))), now); f.In != 7 || f.Dst.V4() != 2 || f.Bytes != 1000 {
		t.Errorf("%+v", f)
	}
	c = newCollector(t, flow.Config{})
	c.take(v10(set(2, fields(256, small...)), smallSet(1)), now)
	if f := c.take(v10(set(2, words(256, 0)), smallSet(1)), now); len(f) != 0 {
		t.Errorf("%d flows of a template that was withdrawn", len(f))
	}
}

// restarted is a collector after a restart with what the one before had to remember.
func restarted(t *testing.T, c *collector, cfg flow.Config) *collector {
	t.Helper()
	c.Publish(now)
	d, err := flow.NewDirectory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Restore(c.dir.Snapshot()); err != nil {
		t.Fatal(err)
	}
	return collectorOf(t, d)
}

// TestRestart: templates, sampling rates, names and numbers outlive a restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	other := netip.MustParseAddrPort("192.0.2.2:2055")
	if err := c.Ingest(message5(0, 10_000, uint32(now/second), 0, 1), other, now); err != nil {
		t.Fatal(err)
	}
	c.take(v9(
		set(0, fields(256, small...)),
		set(1, options9(300, []int{1, 4}, 34, 4), options9(301, []int{1, 4}, 48, 1, 50, 4), options9(302, []int{2, 4}, 34, 4), options9(303, []int{2, 4}, 82, 8)),
		set(300, record([]int{1, 4, 34, 4}, 0, 100)), set(301, record([]int{1, 4, 48, 1, 50, 4}, 0, 1, 200)), set(302, record([]int{2, 4, 34, 4}, 7, 400)),
		set(303, append([]byte{0, 0, 0, 7}, "et-0/0/7"...))), now)
	d := restarted(t, c, flow.Config{})
	if f := d.one(v9(smallSet(1)), now); f.Rate != 100 || f.Exporter != 2 {
		t.Errorf("%+v", f)
	}
	with := append(slices.Clone(small), 48, 1)
	if f := d.one(v9(set(0, fields(257, with...)), set(257, record(with, 1, 2, 10, 1000, 8000, 9000, 1))), now); f.Rate != 200 {
		t.Errorf("%+v", f)
	}
	with = append(slices.Clone(small), 10, 4)
	if f := d.one(v9(set(0, fields(258, with...)), set(258, record(with, 1, 2, 10, 1000, 8000, 9000, 7))), now); f.Rate != 400 {
		t.Errorf("%+v", f)
	}
	d.Publish(now)
	if n := d.dir.Interface(2, 7); n != "et-0/0/7" {
		t.Errorf("%q", n)
	}
	if list := d.dir.Exporters(); len(list) != 1 {
		t.Errorf("%+v", list) // the other one wasn't heard of
	}
	if _, is := d.dir.Exporter(1); !is {
		t.Error("the other one has lost its number")
	}
	// What wasn't heard of is remembered for the next one.
	e := restarted(t, d, flow.Config{})
	if err := e.Ingest(message5(0, 10_000, uint32(now/second), 0, 1), other, now); err != nil {
		t.Fatal(err)
	}
	e.Flush()
	if len(e.flows) != 1 || e.flows[0].Exporter != 1 {
		t.Errorf("%+v", e.flows)
	}
}

// TestSnapshotIsStable: the same is kept in the same bytes.
func TestSnapshotIsStable(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	for i := range 20 {
		c.take(message9(uint32(i), 10_000, uint32(now/second), uint32(i%3), set(0, fields(256+i, small...)), set(1, options9(400, []int{1, 4}, 48, 1, 50, 4)), set(400, record([]int{1, 4, 48, 1, 50, 4}, 0, uint64(i), 200))), now)
	}
	c.Publish(now)
	first := c.dir.Snapshot()
	d := restarted(t, c, flow.Config{})
	if got := d.dir.Snapshot(); !bytes.Equal(first, got) {
		t.Errorf("- before, + after:\n%s", cmp.Diff(string(first), string(got)))
	}
}

// TestDistrust: a template of before a restart that was changed meanwhile misreads nothing.
func TestDistrust(t *testing.T) {
	t.Parallel()
	equal := []int{12, 4, 8, 4, 22, 4, 21, 4, 2, 4, 1, 4} // as long as small, in another order
	for _, tt := range []struct {
		name   string
		fields []int
		values []uint64
	}{
		{"longer", long, []uint64{1, 7, 2, 10, 1000, 8000, 9000}},
		{"in another order", equal, []uint64{2, 1, 8000, 9000, 10, 4_000_000_000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{})
			c.take(v9(set(0, fields(256, small...))), now)
			d := restarted(t, c, flow.Config{})
			data := set(256, record(tt.fields, tt.values...))
			if f := d.take(v9(data), now); len(f) != 0 {
				t.Errorf("misread: %+v", f)
			}
			got := d.take(v9(set(0, fields(256, tt.fields...))), now)
			if len(got) != 1 || got[0].Src.V4() != 1 || got[0].Dst.V4() != 2 || got[0].Packets != 10 {
				t.Errorf("%+v", got)
			}
			if h := d.health(); h.Distrusted != 1 || h.Waited != 1 {
				t.Errorf("%+v", h)
			}
		})
	}
	// One that the exporter sent again is trusted again: what is left of a set is padding.
	c := newCollector(t, flow.Config{})
	c.take(v9(set(0, fields(256, small...))), now)
	d := restarted(t, c, flow.Config{})
	d.take(v9(set(0, fields(256, small...))), now)
	if f := d.take(v9(set(256, record(small, 1, 2, 10, 1000, 8000, 9000), make([]byte, 20))), now); len(f) != 1 {
		t.Errorf("%d flows", len(f))
	}
}

// TestBadSnapshot: what is no snapshot is refused, and nothing of it taken.
func TestBadSnapshot(t *testing.T) {
	t.Parallel()
	c := newCollector(t, flow.Config{})
	c.take(v9(set(0, fields(256, small...))), now)
	c.Publish(now)
	good := c.dir.Snapshot()
	for _, b := range [][]byte{
		nil, []byte("{}"), []byte("null"), good[:len(good)/2], bytes.Replace(good, []byte(`"form":1`), []byte(`"form":2`), 1),
		bytes.Replace(good, []byte(`"number":1`), []byte(`"number":7`), 1), bytes.Replace(good, []byte(`"version":9`), []byte(`"version":5`), 1),
		bytes.Replace(good, []byte(`"raw":"AQA`), []byte(`"raw":"AAA`), 1),
	} {
		d, err := flow.NewDirectory(flow.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if d.Restore(b) == nil {
			t.Errorf("taken: %s", b)
		}
		if n := len(d.Snapshot()); n > 80 {
			t.Errorf("%d bytes of %s were taken", n, b)
		}
	}
	if c.dir.Restore(good) == nil {
		t.Error("restored while datagrams come")
	}
}
