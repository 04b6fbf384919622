package indicator_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/reading"
)

func packed(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zipped(t testing.TB, files map[string]string, order ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range order {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whole files that are broken: what stood before the damage counts, and it is said.
func TestWholeFiles(t *testing.T) {
	list := strings.Repeat("evil.example.net\n", 1000)
	bomb := packed(t, strings.Repeat("evil.example.net\n", 1<<20))
	stix := `{"objects": [{"type": "indicator", "id": "indicator--1", "pattern": "[domain-name:value = 'evil.example.net']", "valid_from": "2026-01-02T03:04:05Z"}]}`
	tests := []struct {
		name, text string
		o          indicator.Options
		accepted   uint64
		say        string // "" it is read to its end
	}{
		{"gzip", packed(t, list), indicator.Options{}, 1000, ""},
		{"gzip, cut", packed(t, list)[:40], indicator.Options{Format: indicator.Plain}, 0, "ends too early"},
		{"gzip, no header", "\x1f\x8b\x00", indicator.Options{}, 0, "gzip header"},
		{"gzip, bomb", bomb, indicator.Options{MaxBytes: 1 << 20}, 61680, "too large"},
		{"zip", zipped(t, map[string]string{"a.txt": list, "b.json": stix}, "a.txt", "b.json"), indicator.Options{}, 1001, ""},
		{"zip, bomb", zipped(t, map[string]string{"a": strings.Repeat(list, 100)}, "a"), indicator.Options{MaxBytes: 1 << 20}, 61680, "too large"},
		{"zip, cut", zipped(t, map[string]string{"a": list}, "a")[:60], indicator.Options{}, 0, "zip is damaged"},
		{"empty", "", indicator.Options{}, 0, ""},
		{"binary", "\x7fELF\x00\x01\x02", indicator.Options{}, 0, "isn't text"},
		{"html", "<!DOCTYPE html><p>Log in", indicator.Options{}, 0, "HTML"},
		{"json, cut", stix[:len(stix)-20], indicator.Options{}, 0, "too early"},
		{"json, broken", strings.Replace(stix, `"id"`, "id", 1), indicator.Options{}, 0, "broken at line 1"},
		{"json, one huge value", `{"objects": [{"type": "indicator", "pattern": "` + strings.Repeat("x", 1<<16), indicator.Options{Format: indicator.STIX, MaxMessage: 1 << 12}, 0, "too large"},
		{"json, deep", `{"type":"bundle","objects":` + strings.Repeat("[", 100_000), indicator.Options{}, 0, ""},
		{"feodo, not a table", "x\ny\n", indicator.Options{Format: indicator.Feodo}, 0, "no header"},
		{"csv without the column", "a,b\n1,2\n", indicator.Options{Format: indicator.CSV, Mapping: &indicator.Mapping{Value: "c"}}, 0, "no header with the column c"},
		{"threatfox refused", `{"query_status": "unknown_auth_key", "data": "x"}`, indicator.Options{Format: indicator.ThreatFox}, 0, "unknown_auth_key"},
		{"a table nobody knows", "a,b\n1,2\n", indicator.Options{}, 0, "csv with a mapping"},
		{"mixed", "0.0.0.0 a.example.net\nb.example.net\n", indicator.Options{}, 0, "name the format plain, hosts, maltrail or drop"},
	}
	for _, tt := range tests {
		_, st, err := try(t, tt.text, tt.o)
		if bad := (*reading.Unreadable)(nil); tt.name == "json, deep" {
			if !errors.As(err, &bad) {
				t.Errorf("%s: %v", tt.name, err)
			}
		} else if (err == nil) != (tt.say == "") || err != nil && (!errors.As(err, &bad) || !strings.Contains(err.Error(), tt.say) || bad.JA == "") || st.Accepted != tt.accepted {
			t.Errorf("%s: %d accepted, %v", tt.name, st.Accepted, err)
		}
	}
}

// A line that is too long, or not text, is one line.
func TestBrokenLines(t *testing.T) {
	text := "\ufeffa.example.net\r\n" + strings.Repeat("x", 100_000) + "\nb.example.net // said\n\xff\xfe\n\x00\nc.example.net"
	list, st := all(t, text, indicator.Options{Format: indicator.Plain})
	if len(list) != 3 || list[0].Value != "a.example.net" || list[2].Line != 6 || st.Rejected != 3 || reasonsOf(&st)["too_long"] != 1 {
		t.Errorf("%+v %v", list, reasonsOf(&st))
	}
	table := "# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n" +
		`"1","2026-11-01 00:00:06","http://a.example.net/` + "\n" + // a quote that isn't closed
		`"2","2026-11-01 00:00:06","http://b.example.net/","online",,,,,` + "\n" + `"3"` + "\n"
	list, st = all(t, table, indicator.Options{Format: indicator.URLhaus})
	if len(list) != 1 || list[0].Line != 3 || reasonsOf(&st)["quote"] != 1 || reasonsOf(&st)["too_few_columns"] != 1 {
		t.Errorf("%+v %v", list, reasonsOf(&st))
	}
}

func TestOptions(t *testing.T) {
	m := &indicator.Mapping{Value: "v"}
	for _, tt := range []struct {
		o   indicator.Options
		say string
	}{
		{indicator.Options{}, "set its source"},
		{indicator.Options{Source: "x", Format: "y"}, "use plain, hosts"},
		{indicator.Options{Source: "x", Format: indicator.CSV}, "needs a mapping"},
		{indicator.Options{Source: "x", Format: indicator.Plain, Mapping: m}, "only the format csv"},
		{indicator.Options{Source: "x", Role: "boss"}, "use c2, distribution"},
		{indicator.Options{Source: "x", Format: indicator.CSV, Mapping: &indicator.Mapping{}}, "names the column of the value"},
		{indicator.Options{Source: "x", Format: indicator.CSV, Mapping: &indicator.Mapping{Value: "v", Kind: "thing"}}, "use name, host"},
		{indicator.Options{Source: "x", Format: indicator.CSV, Mapping: &indicator.Mapping{Value: "v", RoleIn: "r"}}, "go together"},
		{indicator.Options{Source: "x", Format: indicator.CSV, Mapping: &indicator.Mapping{Value: "v", Comma: "||"}}, "one byte"},
	} {
		if _, err := indicator.Read(strings.NewReader("a.example.net\n"), tt.o, nil); err == nil || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%+v: %v", tt.o, err)
		}
	}
	stop := errors.New("full")
	_, err := indicator.Read(strings.NewReader("a.example.net\n"), indicator.Options{Source: "x"}, func(*observe.Indicator) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("the receiver's error is lost: %v", err)
	}
}

func TestMapping(t *testing.T) {
	m := &indicator.Mapping{Value: "Host", Port: "Port", Family: "fam", First: "seen", Until: "until", Confidence: "c", Scale: 10, Evidence: "ref", RoleIn: "what", Roles: map[string]observe.Role{"cc": c2}, Comma: ";"}
	text := "host;port;fam;seen;until;c;ref;what\n1.1.1.1;443;Bashlite;2026-11-01;2026-12-01;7;r;cc\n1.0.0.1;;;;;;;\n1.0.0.1;x;;;;;;\nevil.example.net;;;;;11;;\n"
	list, st := all(t, text, indicator.Options{Format: indicator.CSV, Mapping: m, Zone: time.FixedZone("", 9*3600), Role: distribution})
	if len(list) != 2 || list[0].Value != "1.1.1.1:443" || list[0].Family != "gafgyt" || list[0].Confidence != 0.7 || list[0].Role != c2 || list[0].Evidence != "r" ||
		!list[0].First.Equal(time.Date(2026, 10, 31, 15, 0, 0, 0, time.UTC)) || list[1].Value != "1.0.0.1" || list[1].Role != distribution {
		t.Errorf("%+v", list)
	}
	if why := reasonsOf(&st); why["port"] != 1 || why["confidence"] != 1 {
		t.Errorf("%v", why)
	}
	if _, st := all(t, text, indicator.Options{Format: indicator.CSV, Mapping: m}); reasonsOf(&st)["no_zone"] != 1 {
		t.Errorf("a zone was guessed: %v", reasonsOf(&st))
	}
}

// lined gives so many lines without having them.
type lined struct {
	n, of int
	left  []byte
	line  func(b []byte, i int) []byte
}

func (l *lined) Read(b []byte) (int, error) {
	for len(l.left) < len(b) && l.n < l.of {
		l.left = l.line(l.left, l.n)
		l.n++
	}
	if len(l.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, l.left)
	l.left = append(l.left[:0], l.left[n:]...)
	return n, nil
}

func plainLine(b []byte, i int) []byte { return fmt.Appendf(b, "c%d.evil.example.net\n", i) }

// A million lines take seconds, two allocations each (what the line says and where it
// stands), and as much memory as a thousand.
func TestMillion(t *testing.T) {
	const n = 1_000_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	count := 0
	st, err := indicator.Read(&lined{of: n, line: plainLine}, indicator.Options{Source: "x", Format: indicator.Plain, Name: "list"}, func(*observe.Indicator) error {
		if count++; count%100_000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	if err != nil || st.Accepted != n {
		t.Fatalf("%+v %v", st, err)
	}
	made := float64(after.Mallocs-before.Mallocs) / n
	if made > 3.1 || peak > before.HeapAlloc+64<<20 { // one more is this test's own
		t.Errorf("%.2f allocations a line, %d MiB at most", made, peak>>20)
	}
	// Ten million that can't be used are counted, and a thousand named.
	if st, err = indicator.Read(&lined{of: n, line: func(b []byte, _ int) []byte { return append(b, "/arm7\n"...) }}, indicator.Options{Source: "x", Format: indicator.Maltrail}, nil); err != nil || st.Rejected != n || len(st.Named) != indicator.MostNamed {
		t.Errorf("%d %d %v", st.Rejected, len(st.Named), err)
	}
}

func BenchmarkPlain(b *testing.B) { bench(b, indicator.Options{Format: indicator.Plain}, plainLine) }

func BenchmarkURLhaus(b *testing.B) {
	bench(b, indicator.Options{Format: indicator.URLhaus}, func(b []byte, i int) []byte {
		if i == 0 {
			b = append(b, "# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n"...)
		}
		return fmt.Appendf(b, `"%d","2026-11-01 00:00:06","http://1.1.1.1:4%d/bin.sh","offline","2026-11-02 03:00:00","malware_download","32-bit,elf,Mozi","https://urlhaus.abuse.ch/url/27/","x"`+"\n", i, i%1000)
	})
}

func bench(b *testing.B, o indicator.Options, line func([]byte, int) []byte) {
	o.Source = "x"
	b.ReportAllocs()
	if _, err := indicator.Read(&lined{of: b.N, line: line}, o, func(*observe.Indicator) error { return nil }); err != nil {
		b.Fatal(err)
	}
}
