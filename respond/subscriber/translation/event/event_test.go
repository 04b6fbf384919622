package event_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/corpus"
	"sakimori/base/wire/ipfix"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/translation/event"
)

const exported = 1_700_000_000 // 2023-11-14T22:13:20Z

var exporter = netip.MustParseAddrPort("192.0.2.1:4739")

// element is a field of a template with its value in one record.
type element struct {
	id    uint16
	value []byte
}

func num(id uint16, size int, v uint64) element {
	b := binary.BigEndian.AppendUint64(nil, v)
	return element{id, b[8-size:]}
}

func ip(id uint16, a string) element { return element{id, netip.MustParseAddr(a).AsSlice()} }

// message is a message with a template of these elements and records of them; without
// template, the records alone.
func message(version, sequence int, template bool, records ...[]element) []byte {
	u16 := binary.BigEndian.AppendUint16
	set := func(id int, body []byte) []byte {
		return append(u16(u16(nil, uint16(id)), uint16(4+len(body))), body...)
	}
	var sets []byte
	if template {
		b := u16(u16(nil, 256), uint16(len(records[0])))
		for _, e := range records[0] {
			b = u16(u16(b, e.id), uint16(len(e.value)))
		}
		sets = set(map[int]int{9: 0, 10: 2}[version], b)
	}
	var data []byte
	for _, r := range records {
		for _, e := range r {
			data = append(data, e.value...)
		}
	}
	sets = append(sets, set(256, data)...)
	head := u16(u16(nil, uint16(version)), uint16(16+len(sets)))
	if version == 9 {
		head = binary.BigEndian.AppendUint32(head, 0)
	}
	for _, v := range []uint32{exported, uint32(sequence), 7} {
		head = binary.BigEndian.AppendUint32(head, v)
	}
	return append(head, sets...)
}

// words writes records as lines that a person can compare.
func words(r *subscriber.Record) string {
	s := fmt.Sprintf("%s %s", [...]string{"", "begin", "alive", "end", "reset"}[r.Kind], r.Address)
	if !r.Ports.Whole() {
		s += fmt.Sprintf(" %d-%d", r.Ports.First, r.Ports.Last)
	}
	if r.Proto != 0 {
		s += fmt.Sprintf(" proto %d", r.Proto)
	}
	s += fmt.Sprintf(" inside %s at %s by %s", r.Inside, r.At.Format(time.RFC3339Nano), r.Source)
	if r.Session != "" {
		s += " session " + r.Session
	}
	if !r.Since.IsZero() {
		s += " since " + r.Since.Format(time.RFC3339Nano)
	}
	return s
}

// read feeds datagrams to one reader.
func read(cfg event.Config, datagrams ...[]byte) (lines []string, r *event.Reader) {
	r = event.New(cfg)
	for _, b := range datagrams {
		r.Read(exporter, b, func(rec *subscriber.Record) { lines = append(lines, words(rec)) })
	}
	return lines, r
}

func TestEvents(t *testing.T) {
	nat44 := func(kind uint64, more ...element) []element {
		return append([]element{num(230, 1, kind), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(7, 2, 40000), num(227, 2, 2048), num(4, 1, 6), num(323, 8, 1_700_000_001_250)}, more...)
	}
	block := func(kind uint64, more ...element) []element {
		return append([]element{num(230, 1, kind), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(323, 8, 1_700_000_001_250)}, more...)
	}
	const session, at = "198.51.100.7/32 2048-2048 proto 6 inside 100.64.0.9 at 2023-11-14T22:13:21.25Z by 192.0.2.1", "inside 100.64.0.9 at 2023-11-14T22:13:21.25Z by 192.0.2.1"
	tests := []struct {
		name      string
		cfg       event.Config
		record    []element
		want      []string
		malformed string
	}{
		{name: "session created, the historic number", record: nat44(1), want: []string{"begin " + session}},
		{name: "session deleted, the historic number", record: nat44(2), want: []string{"end " + session}},
		{name: "addresses exhausted", record: nat44(3)},
		{name: "NAT44 session created", record: nat44(4), want: []string{"begin " + session}},
		{name: "NAT44 session deleted", record: nat44(5), want: []string{"end " + session}},
		{name: "NAT44 binding created", record: nat44(8), want: []string{"begin " + session}},
		{name: "NAT44 binding deleted", record: nat44(9), want: []string{"end " + session}},
		{name: "ports exhausted", record: nat44(12)},
		{name: "quota exceeded", record: nat44(13)},
		{name: "threshold reached", record: nat44(18)},
		{name: "a VRF", record: nat44(4, num(234, 4, 12)), want: []string{"begin " + session + " vrf 12"}},
		{name: "a name for the exporter", cfg: event.Config{Names: map[netip.Addr]string{exporter.Addr(): "cgn1"}}, record: nat44(4), want: []string{"begin " + strings.Replace(session, "192.0.2.1", "cgn1", 1)}},
		{
			name: "NAT64", record: []element{num(230, 1, 6), ip(27, "2001:db8::64"), ip(225, "198.51.100.7"), num(227, 2, 5), num(4, 1, 17), num(322, 4, 1_700_000_002)},
			want: []string{"begin 198.51.100.7/32 5-5 proto 17 inside 2001:db8::64 at 2023-11-14T22:13:22Z by 192.0.2.1"},
		},
		{
			name: "DS-Lite tells the B4", record: nat44(5, ip(27, "2001:db8::b4")),
			want: []string{"end " + strings.Replace(session, "100.64.0.9", "2001:db8::b4", 1)},
		},
		{name: "block allocated, start and end", record: block(16, num(361, 2, 1024), num(362, 2, 2047)), want: []string{"begin 198.51.100.7/32 1024-2047 " + at}},
		{name: "block taken back, start and number", record: block(17, num(361, 2, 1024), num(363, 2, 1), num(364, 2, 1024)), want: []string{"end 198.51.100.7/32 1024-2047 " + at}},
		{
			name: "a scattered block", record: block(16, num(361, 2, 1024), num(363, 2, 64), num(364, 2, 3)),
			want: []string{"begin 198.51.100.7/32 1024-1024 " + at, "begin 198.51.100.7/32 1088-1088 " + at, "begin 198.51.100.7/32 1152-1152 " + at},
		},
		{name: "a block that ends before it begins", record: block(16, num(361, 2, 2047), num(362, 2, 1024)), malformed: "ends before it begins"},
		{name: "a block beyond the last port", record: block(16, num(361, 2, 65000), num(363, 2, 1), num(364, 2, 1024)), malformed: "beyond 65535"},
		{name: "too scattered", record: block(16, num(361, 2, 0), num(362, 2, 65535), num(363, 2, 2)), malformed: "scattered"},
		{name: "an address binding may be of several", record: block(14)},
		{name: "an address binding of one", cfg: event.Config{Exclusive: true}, record: block(14), want: []string{"begin 198.51.100.7/32 " + at}},
		{name: "and taken back", cfg: event.Config{Exclusive: true}, record: block(15), want: []string{"end 198.51.100.7/32 " + at}},
		{name: "not translated", record: []element{num(230, 1, 4), ip(8, "198.51.100.7"), ip(225, "198.51.100.7"), num(227, 2, 9)}},
		{name: "an ICMP identifier of zero", record: []element{num(230, 1, 4), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 0), num(4, 1, 1)}},
		{name: "nobody inside", record: []element{num(230, 1, 4), ip(8, "0.0.0.0"), ip(225, "198.51.100.7"), num(227, 2, 9)}, malformed: "without an inside address"},
		{name: "a time that is none", record: nat44(4)[:6:6], want: []string{"begin 198.51.100.7/32 2048-2048 proto 6 inside 100.64.0.9 at 2023-11-14T22:13:20Z by 192.0.2.1"}},
		{name: "a time beyond all calendars", record: append(nat44(4)[:6:6], num(323, 8, 1<<63)), malformed: "time that is none"},
		{
			name: "microseconds count from 1900", record: append(nat44(4)[:6:6], num(324, 8, (1_700_000_001+2208988800)<<32|1<<31)),
			want: []string{"begin " + strings.Replace(session, "21.25Z", "21.5Z", 1)},
		},
		{
			name: "a firewall's connection, created", record: []element{num(148, 4, 255), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 2048), num(4, 1, 6), num(233, 1, 1), num(323, 8, 1_700_000_001_250)},
			want: []string{"begin " + session + " session ff"},
		},
		{
			name: "and torn down", record: []element{num(148, 4, 255), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 2048), num(4, 1, 6), num(233, 1, 2), num(323, 8, 1_700_000_001_250), num(152, 8, 1_700_000_000_000)},
			want: []string{"end " + session + " session ff since 2023-11-14T22:13:20Z"},
		},
		{name: "denied", record: []element{ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 2048), num(233, 1, 3)}},
		{name: "a flow that was translated", record: []element{ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 2048), num(1, 8, 1500)}},
	}
	for _, tt := range tests {
		for _, version := range []int{9, 10} {
			got, r := read(tt.cfg, message(version, 0, true, tt.record))
			st := r.Stats()
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s, version %d: - want, + got:\n%s", tt.name, version, d)
			}
			reason := strings.Join(st.Examples, "; ")
			if (tt.malformed == "") != (st.Malformed == 0) || !strings.Contains(reason, tt.malformed) {
				t.Errorf("%s, version %d: malformed %q, want %q", tt.name, version, reason, tt.malformed)
			}
			if len(got) == 0 && st.Malformed == 0 && st.Ignored != 1 {
				t.Errorf("%s, version %d: %d ignored", tt.name, version, st.Ignored)
			}
		}
	}
}

func TestLossIsCounted(t *testing.T) {
	rec := []element{num(230, 1, 4), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 2048)}
	got, r := read(
		event.Config{},
		message(10, 0, false, rec),        // before its template
		message(10, 1, true, rec, rec),    // its number may be anything
		message(10, 3, false, rec),        //
		message(10, 14, false, rec),       // ten are missing
		message(10, 15, false, rec)[:20],  // cut
		[]byte{0, 5, 0, 0, 0, 0, 0, 0, 0}, // NetFlow version 5
	)
	e := r.Exporters()
	if len(got) != 4 || len(e) != 1 || e[0].Lost != 10 || e[0].NoTemplate != 1 || e[0].Messages != 4 || e[0].Records != 4 || e[0].Domain != 7 || e[0].Address != exporter.Addr() {
		t.Errorf("%d records of %+v", len(got), e)
	}
	st := r.Stats()
	if st.Malformed != 3 || len(st.Examples) != 3 || !strings.HasPrefix(st.Examples[1], "packet 5: ") {
		t.Errorf("%+v", st)
	}
}

// However many exporters are invented, memory stays, and all is still read.
func TestExportersAreBounded(t *testing.T) {
	r := event.New(event.Config{Exporters: 10, Fields: 200})
	rec := []element{num(230, 1, 4), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 2048)}
	var sources []string
	for i := range 100 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 1)
		if err := r.Read(from, message(10, 0, true, rec), func(rec *subscriber.Record) { sources = append(sources, rec.Source) }); err != nil {
			t.Fatal(err)
		}
	}
	e := r.Exporters()
	if len(e) != 11 || e[0].Address.IsValid() || e[0].Messages != 90 || len(sources) != 100 || sources[99] != "203.0.113.99" {
		t.Errorf("%d exporters, first %+v; %d sources", len(e), e[0], len(sources))
	}
}

// TestRealTranslator reads a capture of NetFlow version 9 from a translator. What is
// expected was read off tshark's dissection.
func TestRealTranslator(t *testing.T) {
	var got []string
	r := event.New(event.Config{})
	for _, b := range corpus.Datagrams(t, corpus.Folder(t, "flow", "akvorado", "nat.pcap")) {
		if err := r.Read(netip.MustParseAddrPort("10.143.52.1:2055"), b, func(rec *subscriber.Record) { got = append(got, words(rec)) }); err != nil {
			t.Error(err)
		}
	}
	var file []string
	f, err := os.Open(corpus.Folder(t, "flow", "akvorado", "nat.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := event.ReadCapture(f, event.Config{}, func(rec *subscriber.Record) error { file = append(file, words(rec)); return nil })
	if err != nil || st.Records != uint64(len(got)) || !slices.Equal(file, got) {
		t.Errorf("the file gives %q, %+v, %v", file, st, err)
	}
	want := []string{
		"begin 10.143.52.29/32 35303-35303 proto 17 inside 172.16.100.198 at 2025-06-04T15:09:00.45Z by 10.143.52.1",
		"begin 10.143.52.29/32 52510-52510 proto 6 inside 172.16.100.198 at 2025-06-04T15:09:00.458Z by 10.143.52.1",
		"begin 10.143.52.29/32 55942-55942 proto 6 inside 172.16.100.115 at 2025-06-04T15:09:00.545Z by 10.143.52.1",
		"end 10.143.52.29/32 38444-38444 proto 17 inside 172.16.103.254 at 2025-06-04T15:09:00.598Z by 10.143.52.1",
		"begin 10.143.52.29/32 50200-50200 proto 17 inside 172.16.100.211 at 2025-06-04T15:09:00.894Z by 10.143.52.1",
		"begin 10.143.52.29/32 53684-53684 proto 17 inside 172.16.100.211 at 2025-06-04T15:09:00.894Z by 10.143.52.1",
		"begin 10.143.52.29/32 57563-57563 proto 6 inside 172.16.100.211 at 2025-06-04T15:09:00.899Z by 10.143.52.1",
		"begin 10.143.52.29/32 54526-54526 proto 6 inside 172.16.100.18 at 2025-06-04T15:09:01.13Z by 10.143.52.1",
		"begin 10.143.52.29/32 640-640 proto 17 inside 172.16.103.50 at 2025-06-04T15:09:01.235Z by 10.143.52.1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("- want, + got:\n%s", d)
	}
}

// TestRealFirewall reads the events of two ASAs, which translate nothing: address and port
// are the same on both sides. That gives nobody an address.
func TestRealFirewall(t *testing.T) {
	dir := corpus.Folder(t, "flow", "logstash")
	for _, tt := range []struct {
		files []string
		want  int
	}{
		{[]string{"netflow9_test_cisco_asa_1_tpl.dat", "netflow9_test_cisco_asa_1_data.dat"}, 14},
		{[]string{"netflow9_test_cisco_asa_2_tpl_26x.dat", "netflow9_test_cisco_asa_2_tpl_27x.dat", "netflow9_test_cisco_asa_2_data.dat"}, 19},
	} {
		var all [][]byte
		for _, name := range tt.files {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
		got, r := read(event.Config{}, all...)
		st, e := r.Stats(), r.Exporters()
		if len(got) > 0 || e[0].Records != uint64(tt.want) || st.Ignored != uint64(tt.want) || st.Malformed > 0 {
			t.Errorf("%s: %q of %d records, %+v", tt.files[0], got, e[0].Records, st)
		}
	}
}

// FuzzRead: whatever is sent, the reader doesn't crash, and what it hands out makes
// sense.
func FuzzRead(f *testing.F) {
	f.Add(message(10, 0, true, []element{num(230, 1, 16), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(361, 2, 1024), num(363, 2, 64), num(364, 2, 3), num(323, 8, 1_700_000_001_250)}), true)
	f.Add(message(9, 0, true, []element{num(230, 1, 5), ip(27, "2001:db8::1"), ip(225, "198.51.100.7"), num(227, 2, 1024), num(324, 8, 1<<63)}), false)
	f.Add(message(9, 0, true, []element{num(148, 4, 5), num(233, 1, 5), ip(8, "10.0.0.1"), ip(40001, "198.51.100.7"), num(40003, 2, 1024), num(152, 8, 5)}), false)
	f.Fuzz(func(t *testing.T, b []byte, exclusive bool) {
		r := event.New(event.Config{Exclusive: exclusive, Fields: 4096, Exporters: 4})
		n := uint64(0)
		for range 2 {
			r.Read(exporter, slices.Clip(b), func(rec *subscriber.Record) {
				n++
				if rec.Kind == 0 || !rec.Address.IsValid() || !rec.Inside.IsValid() || rec.Inside == rec.Address.Addr() || rec.At.IsZero() ||
					rec.Ports.Last < rec.Ports.First || rec.Ports.Whole() && !exclusive || rec.Since.After(rec.At) || rec.Source == "" {
					t.Fatalf("%+v", rec)
				}
			})
		}
		if st := r.Stats(); st.Records != n {
			t.Fatalf("%d handed out, %d counted", n, st.Records)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	const n = 30
	var sessions, blocks [][]element
	for i := range n {
		sessions = append(sessions, []element{num(323, 8, 1_700_000_001_250), num(230, 1, uint64(4+i%2)), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(4, 1, 6), num(7, 2, 40000), num(227, 2, 2048+uint64(i)), ip(12, "203.0.113.5"), num(11, 2, 443), num(234, 4, 3)})
		blocks = append(blocks, []element{num(323, 8, 1_700_000_001_250), num(230, 1, uint64(16+i%2)), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(361, 2, 1024*uint64(1+i)), num(362, 2, 1024*uint64(1+i)+1023), num(234, 4, 3)})
	}
	for _, bb := range []struct {
		name string
		all  [][]element
	}{{"sessions", sessions}, {"blocks", blocks}} {
		b.Run(bb.name, func(b *testing.B) {
			r := event.New(event.Config{})
			got := 0
			take := func(*subscriber.Record) { got++ }
			if err := r.Read(exporter, message(10, 0, true, bb.all...), take); err != nil {
				b.Fatal(err)
			}
			data := message(10, 0, false, bb.all...)
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Read(exporter, data, take); err != nil {
					b.Fatal(err)
				}
			}
			if got != n*(b.N+1) {
				b.Fatalf("%d records", got)
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}

// Reading a message of known templates allocates nothing.
func TestNothingIsAllocated(t *testing.T) {
	rec := []element{num(230, 1, 4), ip(8, "100.64.0.9"), ip(225, "198.51.100.7"), num(227, 2, 2048), num(234, 4, 3)}
	r := event.New(event.Config{})
	take := func(*subscriber.Record) {}
	b := message(ipfix.IPFIX, 0, true, rec, rec, rec)
	r.Read(exporter, b, take)
	if n := testing.AllocsPerRun(100, func() { r.Read(exporter, b, take) }); n != 0 {
		t.Errorf("%.1f allocations a message", n)
	}
}
