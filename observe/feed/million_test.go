package feed_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/observe"
	"sakimori/observe/feed"
)

// big is a report of event4_sinkhole that is made while it is read. Every tenth
// row is broken, in one of ten ways in turn, and names an address of 192.88.98.0/24:
// whoever is accused there was accused by a broken line.
type big struct {
	rows, made int
	left       []byte
}

var innocent = netip.MustParsePrefix("192.88.98.0/24")

const bigHeader = `"timestamp","protocol","src_ip","src_port","src_asn","src_geo","src_region","src_city","src_hostname","src_naics","src_sector","device_vendor","device_type","device_model","severity","dst_ip","dst_port","dst_asn","dst_geo","dst_region","dst_city","dst_hostname","dst_naics","dst_sector","public_source","infection","family","tag","application","version","event_id"` + "\n"

// ways to break a row, and the reason of each. What follows the row's own columns
// is in tail.
var ways = []struct {
	why string
	row func(tail string) string
}{
	{"too_few_columns", func(string) string { return `"2026-11-25 01:02:03","tcp","192.88.98.1` + `"` }}, // cut off in the address
	{"quote", func(tail string) string { return `"2026-11-25 01:02:03","tcp,"192.88.98.2",1024` + tail }},
	{"quote", func(string) string { return `"2026-11-25 01:02:03","tcp","192.88.98.3",1024,"open to the end` }},
	{"too_many_columns", func(tail string) string {
		return `"2026-11-25 01:02:03","tcp","192.88.98.4",1024` + tail + `,"and more"`
	}},
	{"not_a_time", func(tail string) string { return `"25.11.2026","tcp","192.88.98.5",1024` + tail }},
	{"no_time", func(tail string) string { return `,"tcp","192.88.98.6",1024` + tail }},
	{"port", func(tail string) string { return `"2026-11-25 01:02:03","tcp","192.88.98.7",100000` + tail }},
	{"a_network", func(tail string) string { return `"2026-11-25 01:02:03","tcp","192.88.98.0/24",1024` + tail }},
	{"not_an_address", func(tail string) string { return `"2026-11-25 01:02:03","192.88.98.8","tcp",1024` + tail }},
	{"in_the_future", func(tail string) string { return `"2027-11-25 01:02:03","tcp","192.88.98.9",1024` + tail }},
}

func (b *big) Read(p []byte) (int, error) {
	for len(b.left) < len(p) && b.made < b.rows {
		if b.made == 0 {
			b.left = append(b.left, bigHeader...)
		}
		i := b.made
		b.made++
		tail := `,64500,"JP","TOKYO","SHINJUKU","host-` + strconv.Itoa(i) + `.example",517311,"Communications, Service Provider, and Hosting Service",,,,"critical","192.88.98.200",8080,64501,"DE","HESSEN","FRANKFURT AM MAIN",,518210,"Communications, Service Provider, and Hosting Service","source","mirai","mirai","mirai",,,"` + strconv.Itoa(i) + `"`
		if i%10 == 9 {
			b.left = append(b.left, ways[i/10%len(ways)].row(tail)...)
		} else {
			b.left = fmt.Appendf(b.left, `"2026-11-25 %02d:%02d:%02d","tcp","198.%d.%d.%d",%d%s`, i/3600%24, i/60%60, i%60, i>>16&1, i>>8&0xff, i&0xff, 1024+i%60000, tail)
		}
		b.left = append(b.left, '\n')
	}
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.left)
	b.left = b.left[:copy(b.left, b.left[n:])]
	return n, nil
}

// counting takes reports and keeps none.
type counting struct {
	reports int
	batches int
	heap    uint64 // the most that was alive, in bytes
	accused int
}

func (c *counting) Take(_ context.Context, batch []observe.Report) error {
	c.batches++
	for i := range batch {
		if innocent.Contains(batch[i].Address) {
			c.accused++
		}
	}
	c.reports += len(batch)
	if c.batches%50 == 1 {
		c.heap = max(c.heap, alive())
	}
	return nil
}

// alive is how much of the heap is in use after a collection, in bytes.
func alive() uint64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// A million rows, a hundred thousand of them broken: each is counted by its reason,
// none is lost, nobody is accused by one, and memory doesn't grow with the rows.
func TestMillionRows(t *testing.T) {
	rows := 1_000_000
	if testing.Short() {
		rows = 100_000
	}
	before := alive()
	sink := &counting{}
	in := feed.NewIntake(sink, feed.NewSeen(time.Hour, 100_000), clock.Fixed(came))
	start := time.Now()
	st, err := in.Read(t.Context(), &big{rows: rows}, feed.Options{Source: "shadowserver", Format: feed.Shadowserver, Name: "2026-11-26-event4_sinkhole-big.csv"})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	want := map[string]uint64{}
	for _, w := range ways {
		want[w.why] += uint64(rows) / 10 / uint64(len(ways))
	}
	got := map[string]uint64{}
	for r, n := range st.Why {
		got[r.String()] = n
	}
	for why, n := range want {
		if got[why] != n {
			t.Errorf("%s: %d rows, want %d", why, got[why], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("reasons: %v, want %v", got, want)
	}
	if st.Rows != uint64(rows) || st.Malformed != uint64(rows)/10 || st.Duplicates != 0 || sink.reports != rows-rows/10 {
		t.Errorf("%d rows, %d malformed, %d duplicates, %d reports taken", st.Rows, st.Malformed, st.Duplicates, sink.reports)
	}
	if sink.accused > 0 {
		t.Errorf("%d reports were made of broken lines", sink.accused)
	}
	if len(st.Named) != 20 || st.Named[0].Line != 11 || st.Named[19].Line != 201 {
		t.Errorf("named: %v", st.Named)
	}
	t.Logf("%d rows in %s: %.0f rows/s; %.1f MB alive at most", rows, took.Round(time.Millisecond), float64(rows)/took.Seconds(), float64(sink.heap-min(before, sink.heap))/1e6)
	if grown := sink.heap - min(before, sink.heap); grown > 24<<20 {
		t.Errorf("%d bytes were alive, more than 24 MiB", grown)
	}
}

func BenchmarkShadowserver(b *testing.B) {
	b.ReportAllocs()
	text, err := io.ReadAll(&big{rows: 20_000})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	rows := uint64(0)
	for b.Loop() {
		st, err := feed.Read(&repeated{text: text}, feed.Options{Source: "s", Format: feed.Shadowserver, Name: "event4_sinkhole", Came: came}, func(*observe.Report) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		rows += st.Rows
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkIntelMQ(b *testing.B) {
	b.ReportAllocs()
	const event = `{"feed.name":"F","time.source":"2026-11-25T03:04:05+00:00","source.ip":"198.0.2.7","source.port":1024,"destination.port":80,"protocol.transport":"tcp","classification.type":"infected-system","malware.name":"Mirai","extra.tag":"x","source.asn":64500,"source.geolocation.cc":"JP"}` + "\n"
	var text []byte
	for range 10_000 {
		text = append(text, event...)
	}
	b.SetBytes(int64(len(text)))
	rows := uint64(0)
	for b.Loop() {
		st, err := feed.Read(&repeated{text: text}, feed.Options{Source: "s", Format: feed.IntelMQ, Came: came}, func(*observe.Report) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		rows += st.Rows
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// repeated reads a text once.
type repeated struct{ text []byte }

func (r *repeated) Read(p []byte) (int, error) {
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}
