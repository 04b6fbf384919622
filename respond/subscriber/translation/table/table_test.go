package table_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/translation/table"
)

func load(text string) (*table.Table, error) {
	var m table.Mapping
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&m); err != nil {
		return nil, err
	}
	return table.New(m)
}

func tab(t testing.TB, text string) *table.Table {
	t.Helper()
	m, err := load(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// words writes records as lines that a person can compare.
func words(r *subscriber.Record) string {
	s := fmt.Sprintf("%s %s %d-%d/%d", [...]string{"", "begin", "alive", "end", "reset"}[r.Kind], r.Address, r.Ports.First, r.Ports.Last, r.Proto)
	for _, v := range []struct {
		name string
		is   bool
		v    any
	}{
		{"inside", r.Inside.IsValid(), r.Inside},
		{"at", true, r.At.Format(time.RFC3339Nano)},
		{"since", !r.Since.IsZero(), r.Since.Format(time.RFC3339Nano)},
		{"until", !r.Until.IsZero(), r.Until.Format(time.RFC3339Nano)},
		{"by", true, r.Source},
		{"session", r.Session != "", r.Session},
		{"line", r.Line != "", r.Line},
	} {
		if v.is {
			s += fmt.Sprint(" ", v.name, " ", v.v)
		}
	}
	return s
}

// blocks is a log of port blocks in Japanese time, with columns that nobody needs.
const blocks = `
name: blocks
zone: Asia/Tokyo
time: 2006/01/02 15:04:05
columns: {kind: 種別, source: 装置, address: global, ports: ポート, protocol: proto, inside: private, at: 日時}
kinds: {割当: begin, 解放: end, 統計: ignore}
protocols: {全て: 0}
`

func TestRead(t *testing.T) {
	tests := []struct{ name, mapping, log, want string }{
		{
			"port blocks, Japanese", blocks,
			"\ufeff日時,装置,種別,private,global,ポート,proto,備考\r\n2026/11/26 21:00:00,cgn1,割当,100.64.0.9,198.51.100.7,1024-2047,全て,\"a, \"\"b\"\"\"\r\n\r\n2026/11/26 21:00:01,cgn1,統計,,,,,\n2026/11/26 21:30:00,cgn1,解放,100.64.0.9,198.51.100.7,2048,UDP,",
			"begin 198.51.100.7/32 1024-2047/0 inside 100.64.0.9 at 2026-11-26T12:00:00Z by cgn1\nend 198.51.100.7/32 2048-2048/17 inside 100.64.0.9 at 2026-11-26T12:30:00Z by cgn1",
		},
		{
			"no header, numbers, tabs, milliseconds", `{name: n, comma: tab, no_header: true, kind: alive, source: bras, time: unix_ms, columns: {address: "2", line: "3", at: "1", until: "4"}}`,
			"1795694400000\t2001:db8:1200::/56\tuser@example.jp\t1795698000000\n",
			"alive 2001:db8:1200::/56 0-0/0 at 2026-11-26T12:00:00Z until 2026-11-26T13:00:00Z by bras line user@example.jp",
		},
		{
			"a use in one row: it ended, and since when", `{name: s, kind: end, source: nas, columns: {address: ip, session: id, at: stop, since: start, first_port: lo, last_port: hi}}`,
			"start,stop,ip,id,lo,hi\n2026-11-26T12:00:00+09:00,2026-11-26T13:00:00+09:00,198.51.100.7,s1,1,9\n",
			"end 198.51.100.7/32 1-9/0 at 2026-11-26T04:00:00Z since 2026-11-26T03:00:00Z by nas session s1",
		},
		{
			"a source that begins anew", `{name: r, time: unix, kinds: {on: reset}, columns: {kind: k, source: nas, address: ip, at: t}}`,
			"k,nas,ip,t\non,nas1,,1795694400\n", "reset invalid Prefix 0-0/0 at 2026-11-26T12:00:00Z by nas1",
		},
	}
	for _, tt := range tests {
		m := tab(t, tt.mapping)
		for _, r := range []io.Reader{strings.NewReader(tt.log), iotest.OneByteReader(strings.NewReader(tt.log))} {
			var got []string
			st, err := m.Read(r, func(r *subscriber.Record) { got = append(got, words(r)) })
			if d := cmp.Diff(tt.want, strings.Join(got, "\n")); err != nil || d != "" || st.Malformed > 0 || st.Records != uint64(len(got)) {
				t.Errorf("%s: %v, %+v, - want, + got:\n%s", tt.name, err, st, d)
			}
		}
	}
}

// Each bad row is counted with line and column, says nothing of what stood there, and
// leaves the next.
func TestBadRows(t *testing.T) {
	m := tab(t, `{name: b, time: unix, kinds: {a: begin}, columns: {kind: k, source: s, address: ip, ports: p, protocol: proto, inside: in, at: t, since: since}}`)
	tests := []struct{ row, want string }{
		{"secret,nas,192.0.2.1,1-2,6,10.0.0.1,1795694400,", "column k: a word that kinds doesn't have"},
		{"a,,192.0.2.1,1-2,6,10.0.0.1,1795694400,", "column s: empty"},
		{"a,nas,secret,1-2,6,10.0.0.1,1795694400,", "column ip: neither an address nor a prefix"},
		{"a,nas,192.0.2.1,1-secret,6,10.0.0.1,1795694400,", "column p: not a port from 0 to 65535"},
		{"a,nas,192.0.2.1,3-2,6,10.0.0.1,1795694400,", "column p: the last port is below the first"},
		{"a,nas,192.0.2.1,0,6,10.0.0.1,1795694400,", "column p: port 0 alone can't be given to anybody"},
		{"a,nas,192.0.2.1,1-65536,6,10.0.0.1,1795694400,", "column p: not a port"},
		{"a,nas,192.0.2.1,1-2,secret,10.0.0.1,1795694400,", "column proto: a protocol that isn't known"},
		{"a,nas,192.0.2.1,1-2,6,secret,1795694400,", "column in: not an address"},
		{"a,nas,192.0.2.1,1-2,6,10.0.0.1,secret,", "column t: not a time"},
		{"a,nas,192.0.2.1,1-2,6,10.0.0.1,99999999999999,", "column t: not a time"},
		{"a,nas,192.0.2.1,1-2,6,10.0.0.1,1795694400,1795694401", "column since: later than t"},
		{"a,nas", "column t: not a time"},
		{`a,"nas`, "a quote isn't closed"},
		{`a,"nas"secret,`, "a quote isn't closed, or something follows it"},
		{strings.Repeat(",", 5000), "more than 4096 columns"},
		{strings.Repeat("x", 2<<20), "longer than 1 MiB"},
	}
	for _, tt := range tests {
		n := 0
		st, err := m.Read(strings.NewReader("k,s,ip,p,proto,in,t,since\n"+tt.row+"\na,nas,192.0.2.1,1-2,6,10.0.0.1,1795694400,\n"), func(*subscriber.Record) { n++ })
		if err != nil || n != 1 || st.Malformed != 1 || !strings.HasPrefix(st.Examples[0], "line 2: ") || !strings.Contains(st.Examples[0], tt.want) || strings.Contains(st.Examples[0], "secret") {
			t.Errorf("%.50q: %v, %d records, %+v", tt.row, err, n, st)
		}
	}
}

func TestFilesThatAreNotTheLog(t *testing.T) {
	m := tab(t, blocks)
	boom := errors.New("boom")
	for _, tt := range []struct {
		r    io.Reader
		want string
	}{
		{strings.NewReader(""), "the file is empty"},
		{strings.NewReader("日時,装置,種別,private,global,proto\n"), `line 1 has no column "ポート"`},
		{strings.NewReader("\"日時\n"), "line 1, which must name the columns: a quote"},
		{io.MultiReader(strings.NewReader("日時,装置,種別,private,global,ポート,proto\n"), iotest.ErrReader(boom)), "line 2: boom"},
	} {
		if _, err := m.Read(tt.r, func(*subscriber.Record) {}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

func TestRefusedMappings(t *testing.T) {
	const c = `columns: {address: a, at: t`
	for _, tt := range []struct{ text, want string }{
		{`{name: x, kind: end, source: s, columns: {address: a}}`, `table "x": columns address and at must be named`},
		{`{name: x, kind: end, ` + c + `}}`, "name column source, or give source"},
		{`{name: x, source: s, ` + c + `}}`, "either name column kind"},
		{`{name: x, source: s, kind: end, ` + c + `, kind: k}}`, "either name column kind"},
		{`{name: x, source: s, ` + c + `, kind: k}}`, "kinds is missing"},
		{`{name: x, source: s, kinds: {a: start}, ` + c + `, kind: k}}`, `kinds, "a": "start" is none of begin`},
		{`{name: x, source: s, kind: stop, ` + c + `}}`, `kind: "stop" is none of begin`},
		{`{name: x, source: s, kind: end, comma: ";;", ` + c + `}}`, "comma is"},
		{`{name: x, source: s, kind: end, zone: JST, ` + c + `}}`, "zone \"JST\" isn't known"},
		{`{name: x, source: s, kind: end, time: "15:04:05", ` + c + `}}`, "from the year to the minute"},
		{`{name: x, source: s, kind: end, time: yyyy-mm-dd, ` + c + `}}`, "from the year to the minute"},
		{`{name: x, source: s, kind: end, no_header: true, ` + c + `}}`, "columns are numbers from 1"},
		{`{name: x, source: s, kind: end, ` + c + `, ports: p, first_port: f}}`, "either column ports, or first_port"},
		{`{name: x, source: s, kind: end, ` + c + `, last_port: f}}`, "without first_port"},
		{`{name: x, source: s, kind: end, ` + c + `, sources: f}}`, "unknown field"},
	} {
		if _, err := load(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
}

// FuzzRead: no file crashes the reader; what it hands out makes sense; and a line that
// encoding/csv takes is cut as it cuts it.
func FuzzRead(f *testing.F) {
	f.Add("a,nas,192.0.2.1,1-2,6,10.0.0.1,1795694400,1795694400")
	f.Add(`"a","na""s",2001:db8::/56,,,,1795694400`)
	f.Add(`a"b,`)
	m := tab(f, `{name: b, no_header: true, time: unix, kinds: {a: begin, r: reset}, columns: {kind: "1", source: "2", address: "3", ports: "4", protocol: "5", inside: "6", at: "7", since: "8"}}`)
	one := tab(f, `{name: b, no_header: true, time: unix, kind: reset, columns: {source: "2", session: "3", line: "4", address: "5", at: "1"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		st, err := m.Read(strings.NewReader(text), func(r *subscriber.Record) {
			if r.Kind != subscriber.Reset && (!r.Address.IsValid() || r.Address != r.Address.Masked()) || r.At.IsZero() || r.Ports.Last < r.Ports.First || r.Since.After(r.At) || r.Source == "" {
				t.Fatalf("%+v", r)
			}
		})
		if err != nil || st.Records+st.Ignored+st.Malformed > uint64(strings.Count(text, "\n")+1) {
			t.Fatalf("%v, %+v", err, st)
		}
		c := csv.NewReader(strings.NewReader("1795694400," + text))
		row, err := c.Read()
		if err != nil || strings.ContainsAny(text, "\r\n") || len(row) < 4 || len(row) > 4 && strings.TrimSpace(row[4]) != "" || strings.TrimSpace(row[1]) == "" {
			return
		}
		var got []string
		if _, err := one.Read(strings.NewReader("1795694400,"+text), func(r *subscriber.Record) { got = []string{r.Source, r.Session, r.Line} }); err != nil {
			t.Fatal(err)
		}
		want := []string{strings.TrimSpace(row[1]), strings.TrimSpace(row[2]), strings.TrimSpace(row[3])}
		if !slices.Equal(got, want) {
			t.Fatalf("%q, encoding/csv %q", got, want)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	const n = 10000
	var s strings.Builder
	s.WriteString("日時,装置,種別,private,global,ポート,proto,備考\n")
	for i := range n {
		fmt.Fprintf(&s, "2026/11/26 21:00:00,cgn1,割当,100.64.%d.%d,198.51.100.7,1024-2047,全て,\n", i>>8, i&255)
	}
	m := tab(b, blocks)
	b.ReportAllocs()
	for b.Loop() {
		st, err := m.Read(strings.NewReader(s.String()), func(*subscriber.Record) {})
		if err != nil || st.Records != n {
			b.Fatal(err, st)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
