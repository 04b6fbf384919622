package record_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/telescope/record"
)

func bucket(g observe.Grain, start int64, looked float64, rows ...record.Row) record.Bucket {
	return record.Bucket{Grain: g, Start: start, DarkV4: 1000, Looked: looked, Rows: rows}
}

func total(packets uint64) record.Row {
	return record.Row{Dim: observe.ByTotal, Packets: packets, Sources: 1, Targets: 1}
}

func port(key uint32, packets uint64) record.Row {
	return record.Row{Dim: observe.ByPort, Key: key, Packets: packets, Sources: 1, Targets: 1}
}

func event(id uint64, source string, p uint16, kind observe.Kind, first, last int64) observe.Event {
	return observe.Event{
		ID: id, Source: netip.MustParseAddr(source), Port: p, Proto: 6, Kind: kind, First: at(first), Last: at(last),
		Packets: 100, Targets: observe.Unique{N: 40, Err: 0.0081}, Coverage: 0.04, Rate: 1.5, Tool: observe.Mirai,
		Country: "JP", ASN: 4713, Flags: observe.Scanner | observe.SpoofHint, Sample: []string{"SYN to 192.0.2.1", "seq == dst"},
	}
}

func TestEventsByPages(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s, r := open(t, dir)
	const n = 60
	var closed, opened []observe.Event
	want := map[uint64]observe.Event{}
	for i := range uint64(n) {
		e := event(i|1<<63, fmt.Sprintf("192.0.2.%d", i%3), uint16([]int{23, 80}[i%2]), observe.KindTCPSyn, epoch+int64(i), epoch+100+int64(i/4)) // four end together
		if i%10 == 0 {
			e.Source, e.Sample, e.Tool, e.Flags, e.Country = netip.MustParseAddr("2001:db8::1"), nil, observe.Unknown, 0, ""
		}
		if i%6 == 0 {
			e.Open = true
			opened = append(opened, e)
		} else {
			closed = append(closed, e)
		}
		want[e.ID] = e
	}
	// Everything comes open first, and then as it is; the first time twice.
	first := make([]observe.Event, 0, n)
	for _, e := range want {
		e.Open, e.Packets, e.Last = true, 1, e.First
		first = append(first, e)
	}
	for _, b := range []record.Batch{{Open: first}, {Open: first}, {Closed: closed[:20], Open: opened}, {Closed: closed}} {
		b.Part = 7
		write(t, s, r, b)
	}
	pages := func(r *record.Record, q observe.EventQuery) map[uint64]observe.Event {
		t.Helper()
		got := map[uint64]observe.Event{}
		last := time.Unix(1<<40, 0)
		for {
			rows, next, err := r.Events(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range rows {
				if _, twice := got[e.ID]; twice || e.Last.After(last) {
					t.Errorf("event %d is twice or out of order", e.ID)
				}
				got[e.ID], last = e, e.Last
			}
			if q.After = next; next == "" {
				return got
			}
		}
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, pages(r, observe.EventQuery{Port: -1, Limit: 7}), same); diff != "" {
		t.Error(diff)
	}
	in := observe.Range{From: at(epoch + 102), To: at(epoch + 40)}
	for name, c := range map[string]struct {
		q    observe.EventQuery
		take func(observe.Event) bool
	}{
		"source":   {observe.EventQuery{Port: -1, Source: netip.MustParseAddr("::ffff:192.0.2.1")}, func(e observe.Event) bool { return e.Source == netip.MustParseAddr("192.0.2.1") }},
		"port":     {observe.EventQuery{Port: 23}, func(e observe.Event) bool { return e.Port == 23 }},
		"kind":     {observe.EventQuery{Port: -1, Kinds: []observe.Kind{observe.KindUDP, observe.KindTCPRst}}, func(observe.Event) bool { return false }},
		"tool":     {observe.EventQuery{Port: -1, Tools: []observe.Tool{observe.Unknown, observe.Nmap}}, func(e observe.Event) bool { return e.Tool == observe.Unknown }},
		"open":     {observe.EventQuery{Port: -1, Open: true}, func(e observe.Event) bool { return e.Open }},
		"scanners": {observe.EventQuery{Port: -1, Scanners: true}, func(e observe.Event) bool { return e.Flags&observe.Scanner != 0 }},
		"range":    {observe.EventQuery{Port: -1, Range: in}, func(e observe.Event) bool { return !e.Last.Before(in.From) && e.First.Before(in.To) }},
		"both": {observe.EventQuery{Port: 23, Scanners: true, Range: in}, func(e observe.Event) bool {
			return e.Port == 23 && e.Flags&observe.Scanner != 0 && !e.Last.Before(in.From) && e.First.Before(in.To)
		}},
	} {
		c.q.Limit = 9
		expect := map[uint64]observe.Event{}
		for id, e := range want {
			if c.take(e) {
				expect[id] = e
			}
		}
		if diff := cmp.Diff(expect, pages(r, c.q), same); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, q := range []observe.EventQuery{{}, {Limit: 501}, {Limit: 1, Port: 65536}, {Limit: 1, After: "nonsense"}} {
		if _, _, err := r.Events(ctx, q); err == nil {
			t.Errorf("%+v was taken", q)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, r = open(t, dir)
	if diff := cmp.Diff(want, pages(r, observe.EventQuery{Port: -1, Limit: 500}), same); diff != "" {
		t.Error("after opening again:", diff)
	}
}

func TestAddress(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	a := event(1, "192.0.2.9", 23, observe.KindTCPSyn, epoch+1800, epoch+3*3600+1800)
	b := event(2, "192.0.2.9", 2323, observe.KindTCPSyn, epoch+5*3600, epoch+5*3600)
	c := event(3, "192.0.2.9", 443, observe.KindTCPSynAck, epoch+5*3600, epoch+5*3600+9) // an answer: 443 is its own port
	c.Open = true
	var hours []record.Bucket
	for h := range int64(8) {
		hours = append(hours, bucket(observe.Hour, epoch+h*3600, 1))
	}
	write(t, s, r, record.Batch{Part: 1, Buckets: hours, Closed: []observe.Event{a, b, event(4, "192.0.2.8", 1, observe.KindUDP, epoch, epoch)}, Open: []observe.Event{c}})
	got, err := r.Address(ctx, netip.MustParseAddr("192.0.2.9"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Packets != 300 || !got.First.Equal(a.First) || !got.Last.Equal(c.Last) || len(got.Events) != 3 {
		t.Errorf("%+v", got)
	}
	wantPorts := []observe.Row{
		{Key: 6<<16 | 23, Packets: 100, Sources: observe.Unique{N: 1}, Targets: a.Targets},
		{Key: 6<<16 | 2323, Packets: 100, Sources: observe.Unique{N: 1}, Targets: b.Targets},
	}
	if diff := cmp.Diff(wantPorts, got.Ports); diff != "" {
		t.Error(diff)
	}
	var packets []uint64
	for _, p := range got.Series {
		packets = append(packets, p.Packets)
	}
	// 100 packets over three hours from 00:30: a sixth, two thirds, a sixth.
	if diff := cmp.Diff([]uint64{16, 33, 34, 17, 0, 200}, packets); diff != "" {
		t.Error(diff)
	}
	if got, err := r.Address(ctx, netip.MustParseAddr("192.0.2.10")); got != nil || err != nil {
		t.Errorf("never seen: %v, %v", got, err)
	}
}

func TestYears(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	day := func(y int, m time.Month, d int) int64 { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() }
	iot := []uint32{6<<16 | 23, 6<<16 | 2323}
	write(t, s, r, record.Batch{Part: 1, Buckets: []record.Bucket{
		bucket(observe.Day, day(2015, 12, 31), 1, total(1000), port(6<<16|23, 100), port(6<<16|80, 900)),
		bucket(observe.Day, day(2016, 1, 1), 0.5, total(1000), port(6<<16|23, 200), port(6<<16|2323, 90)),
		bucket(observe.Day, day(2016, 5, 1), 0, total(0)),
		bucket(observe.Day, day(2018, 5, 1), 1, total(50)),
	}})
	write(t, s, r, record.Batch{Part: 2, Buckets: []record.Bucket{bucket(observe.Day, day(2016, 1, 1), 0.75, total(500))}})
	p := func(f float64) *float64 { return &f }
	want := []observe.Year{
		{Year: 2015, Packets: 1000, IoT: 100, DarkDays: 1000, PerAddress: 365, DaysCovered: 1},
		{Year: 2016, Packets: 1500, IoT: 290, DarkDays: 1250, PerAddress: 438, Factor: p(1.2), IoTFactor: p(2.32), DaysCovered: 1},
		{Year: 2018, Packets: 50, DarkDays: 1000, PerAddress: 18.25, DaysCovered: 1},
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9*math.Max(1, math.Abs(a)) })
	for range 2 { // from days, and from months
		got, err := r.Years(ctx, iot)
		if diff := cmp.Diff(want, got, near); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if err := r.Rollup(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// A late day takes its month out of the roll-up again.
	write(t, s, r, record.Batch{Part: 3, Buckets: []record.Bucket{bucket(observe.Day, day(2015, 12, 30), 1, total(7))}})
	got, err := r.Years(ctx, nil)
	if err != nil || got[0].Packets != 1007 || got[0].IoT != 0 || got[0].DaysCovered != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRetention(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	now := at(epoch + 10*86400 + 90)
	var b []record.Bucket
	for d := range int64(10) {
		b = append(b, bucket(observe.Day, epoch+d*86400, 1, total(60), port(1, 60)), bucket(observe.Hour, epoch+d*86400+3600, 1, total(60), port(1, 60)),
			bucket(observe.Minute, epoch+d*86400+3600, 1, record.Row{Packets: 60, Sources: 1, SourceSet: []byte{0, 1}}))
	}
	gap := func(d int64) observe.Gap {
		return observe.Gap{From: at(epoch + d*86400), To: at(epoch + d*86400 + 5), Input: "eth0", Reason: "restart", Dropped: 3}
	}
	write(t, s, r, record.Batch{
		Part: 1, Buckets: b, Gaps: []observe.Gap{gap(1), gap(8)},
		Closed: []observe.Event{event(1, "192.0.2.1", 1, observe.KindUDP, epoch, epoch+86400), event(2, "192.0.2.1", 1, observe.KindUDP, epoch, epoch+9*86400)},
		Open:   []observe.Event{event(3, "192.0.2.1", 1, observe.KindUDP, epoch, epoch)},
	})
	if err := r.Rollup(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Retain(ctx, now, record.Policy{}); err != nil || got != (record.Deleted{}) {
		t.Errorf("a policy that keeps all: %+v, %v", got, err)
	}
	got, err := r.Retain(ctx, now, record.Policy{Minutes: 48 * time.Hour, Hours: 4 * 24 * time.Hour, Days: 8 * 24 * time.Hour, Events: 5 * 24 * time.Hour})
	want := record.Deleted{Buckets: [3]int64{8, 6, 2}, Rows: [3]int64{8, 12, 4}, Events: 1, Gaps: 1}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	gaps, err := r.Gaps(ctx, observe.Range{From: at(0), To: now})
	if diff := cmp.Diff([]observe.Gap{gap(8)}, gaps); diff != "" || err != nil {
		t.Error(diff, err)
	}
	// Where minutes are gone hours answer, and where these are gone days do.
	for _, c := range []struct {
		from, to int64
		want     uint64
	}{
		{9*86400 + 3600, 9*86400 + 3660, 60}, // a minute that is kept
		{9*86400 + 3660, 9*86400 + 7200, 0},  // the other minutes of that hour: seen as empty
		{7*86400 + 3600, 7*86400 + 3600 + 1800, 60},
		{7*86400 + 3600, 7*86400 + 3600 + 1740, 0}, // less than half of the hour
		{4 * 86400, 4*86400 + 43200, 60},
		{4 * 86400, 4*86400 + 43140, 0},
		{86400, 2 * 86400, 0}, // deleted
		{0, 10 * 86400, 480},
	} {
		p, err := r.Total(ctx, observe.Range{From: at(epoch + c.from), To: at(epoch + c.to)})
		if err != nil || p.Packets != c.want {
			t.Errorf("from %d to %d: %d packets, want %d, %v", c.from, c.to, p.Packets, c.want, err)
		}
	}
	first, last, looked, err := r.Covered(ctx, observe.Range{From: at(epoch), To: now})
	if err != nil || !looked || !first.Equal(at(epoch+2*86400)) || !last.Equal(at(epoch+9*86400+3660)) {
		t.Errorf("covered %v to %v, %v, %v", first, last, looked, err)
	}
	first, last, looked, err = r.Covered(ctx, observe.Range{From: at(epoch + 9*86400 + 3610), To: at(epoch + 9*86400 + 3620)})
	if err != nil || !looked || !first.Equal(at(epoch+9*86400+3610)) || !last.Equal(at(epoch+9*86400+3620)) {
		t.Errorf("inside a minute: %v to %v, %v, %v", first, last, looked, err)
	}
	if _, _, looked, err = r.Covered(ctx, observe.Range{From: at(epoch), To: at(epoch + 86400)}); looked || err != nil {
		t.Errorf("deleted days count as looked at: %v", err)
	}
}

func TestImportsAndState(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s, r := open(t, dir)
	i := record.Import{ID: "one", Name: "a.pcap", Digest: [16]byte{1, 2}, Size: 99, Config: [16]byte{3}, Frames: 10, Started: at(epoch), Part: 5}
	write(t, s, r, record.Batch{Part: 5, Import: &i, State: []byte("after 10")})
	i.Frames = 20
	write(t, s, r, record.Batch{Part: 5, Import: &i}) // the state of 10 stays, as nothing was said
	check := func(want []record.Import, state string) {
		t.Helper()
		got, err := r.Unfinished(ctx)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if b, err := r.State(ctx, 5); string(b) != state || err != nil {
			t.Errorf("state %q, want %q, %v", b, state, err)
		}
	}
	check([]record.Import{i}, "after 10")
	if got, err := r.Imported(ctx, i.Digest); got != nil || err != nil {
		t.Errorf("an unfinished import counts as done: %v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, r = open(t, dir)
	check([]record.Import{i}, "after 10")
	i.Done, i.Frames, i.Finished, i.Result = true, 30, at(epoch+60), []byte(`{"packets":30}`)
	write(t, s, r, record.Batch{Part: 5, Import: &i, State: []byte{}})
	check(nil, "")
	got, err := r.Imported(ctx, i.Digest)
	if diff := cmp.Diff(&i, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	all, err := r.Imports(ctx, 10)
	if len(all) != 1 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestBaseline(t *testing.T) {
	ctx := t.Context()
	s, r := open(t, t.TempDir())
	now := epoch + 30*86400 + 5*3600
	var b []record.Bucket
	for k := range int64(5) {
		for _, off := range []int64{-3600, 0, 3600} {
			if k != 2 { // nobody looked two weeks ago
				b = append(b, bucket(observe.Hour, now-k*7*86400+off, 1, port(9, uint64(100*k+off/3600+1))))
			}
		}
	}
	write(t, s, r, record.Batch{Part: 1, Buckets: b})
	got, err := r.Baseline(ctx, observe.ByPort, 9, at(now+1799), 4)
	if err != nil {
		t.Fatal(err)
	}
	var packets []uint64
	for _, p := range got {
		packets = append(packets, p.Packets)
	}
	if diff := cmp.Diff([]uint64{401, 301, 101}, packets); diff != "" {
		t.Error(diff)
	}
	if got, err := r.Baseline(ctx, observe.ByPort, 8, at(now), 4); err != nil || len(got) != 3 || got[0].Packets != 0 {
		t.Errorf("a port that nobody asked for: %v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	s, r := open(t, t.TempDir())
	for name, b := range map[string][]record.Bucket{
		"not a start": {bucket(observe.Hour, epoch+60, 1)},
		"no grain":    {bucket(observe.Grain(3), epoch, 1)},
		"twice":       {bucket(observe.Hour, epoch, 1), bucket(observe.Hour, epoch, 1)},
	} {
		if err := s.Tx(ctx, func(tx *store.Tx) error { return r.Write(tx, record.Batch{Buckets: b}) }); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	in := observe.Range{From: at(epoch), To: at(epoch + 86400)}
	write(t, s, r, record.Batch{Buckets: []record.Bucket{bucket(observe.Day, epoch, 1, port(1, 1))}})
	if _, err := r.Top(ctx, observe.ByPort, in, "bytes", 10, 0); err == nil || !strings.Contains(err.Error(), "packets or sources") {
		t.Errorf("order: %v", err)
	}
	if _, err := r.Top(ctx, observe.ByPort, in, "packets", 0, 0); err == nil {
		t.Error("limit 0")
	}
	// Nothing there, and ranges turned round, are no errors.
	for _, q := range []observe.Range{{From: in.To, To: in.From}, {From: at(epoch + 40*86400), To: at(epoch + 50*86400)}, {}} {
		rows, err := r.Top(ctx, observe.ByPort, q, "packets", 10, 0)
		if err != nil || len(rows) != 0 {
			t.Errorf("%v: %v, %v", q, rows, err)
		}
		if p, err := r.Total(ctx, q); err != nil || p.Packets != 0 {
			t.Errorf("%v: %v, %v", q, p, err)
		}
		if _, keys, _, _, err := r.Heat(ctx, q, 10); err != nil || len(keys) != 0 {
			t.Errorf("%v: %v, %v", q, keys, err)
		}
		if p, err := r.Series(ctx, observe.ByPort, 1, q, observe.Hour); err != nil || len(p) != 0 {
			t.Errorf("%v: %v, %v", q, p, err)
		}
	}
	if years, err := r.Years(ctx, nil); err != nil || len(years) != 1 {
		t.Errorf("%v, %v", years, err)
	}
}

func TestDocsNameEveryColumn(t *testing.T) {
	doc := []byte(record.Docs())
	for _, word := range []string{"telescope_count_minute", "| sources_err | FLOAT |", "| source_set | BLOB |", "protocol<<16 \\| port", "telescope_import"} {
		if !bytes.Contains(doc, []byte(word)) {
			t.Errorf("the docs lack %q", word)
		}
	}
}
