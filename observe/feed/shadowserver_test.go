package feed_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/clock"
	"sakimori/observe"
	"sakimori/observe/feed"
)

// sinkholeHeader is that of event4_sinkhole in 2026, by Shadowserver's page, with a
// column that nobody has heard of.
const sinkholeHeader = `"timestamp","severity","protocol","src_ip","src_port","src_asn","src_geo","src_hostname","device_vendor","device_type","device_model","dst_ip","dst_port","infection","family","tag","moon_phase"`

func TestSinkholeRow(t *testing.T) {
	reports, _ := all(t, sinkholeHeader+"\n"+
		`"2026-11-25 03:04:05","critical","tcp","198.0.2.7",40123,64500,"JP","a,b.example","Acme","router","X 1","192.88.98.1",8080,"downadup","Kido","tag1","waxing"`+"\r\n",
		feed.Options{Format: feed.Shadowserver, Name: "2026-11-26-event4_sinkhole-japan-asn.csv"})
	want := []observe.Report{{
		Source: "test", Type: "event4_sinkhole", Claim: observe.ClaimInfected,
		Address: addr("198.0.2.7"), Port: 40123, Proto: 6, At: time.Date(2026, 11, 25, 3, 4, 5, 0, time.UTC), Slack: time.Second,
		Family: "conficker", Service: 8080, Device: "Acme X 1",
		Fields: []observe.Field{
			{Name: "severity", Value: "critical"},
			{Name: "src_asn", Value: "64500"},
			{Name: "src_geo", Value: "JP"},
			{Name: "src_hostname", Value: "a,b.example"},
			{Name: "device_type", Value: "router"},
			{Name: "dst_ip", Value: "192.88.98.1"},
			{Name: "tag", Value: "tag1"},
			{Name: "moon_phase", Value: "waxing"},
			{Name: "infection", Value: "downadup"},
		},
		Raw:  []byte(`"2026-11-25 03:04:05","critical","tcp","198.0.2.7",40123,64500,"JP","a,b.example","Acme","router","X 1","192.88.98.1",8080,"downadup","Kido","tag1","waxing"`),
		Came: came, Where: "2026-11-26-event4_sinkhole-japan-asn.csv:2",
	}}
	if d := cmp.Diff(want, reports, compareAddr); d != "" {
		t.Error(d)
	}
}

// Whom a type accuses, and of what. Every row has four addresses in it.
func TestTypes(t *testing.T) {
	const src, dst, ip, referer = "198.0.2.1", "198.0.2.2", "198.0.2.3", "198.0.2.4"
	event := `"timestamp","src_ip","src_port","dst_ip","dst_port","http_referer_ip","infection","application"` + "\n" + `"2026-11-25 00:00:00",` + src + `,1024,` + dst + `,80,` + referer + `,mirai,http`
	device := `"timestamp","ip","port","tag"` + "\n" + `"2026-11-25 00:00:00",` + ip + `,23,telnet`
	tests := []struct {
		file, text string
		address    string
		claim      observe.Claim
		mediated   bool
		port       uint16
		service    uint16
		family     string
		known      bool
	}{
		{"event4_sinkhole", event, src, observe.ClaimInfected, false, 1024, 80, "mirai", true},
		{"event6_sinkhole", event, src, observe.ClaimInfected, false, 1024, 80, "mirai", true},
		{"event4_sinkhole_http", event, src, observe.ClaimInfected, false, 1024, 80, "mirai", true},
		{"event4_microsoft_sinkhole_http", event, src, observe.ClaimInfected, false, 1024, 80, "mirai", true},
		{"event4_sinkhole_dns", event, src, observe.ClaimInfected, true, 1024, 80, "mirai", true},
		{"event6_sinkhole_dns", event, src, observe.ClaimInfected, true, 1024, 80, "mirai", true},
		{"event4_sinkhole", strings.Replace(event, ",80,", ",53,", 1), src, observe.ClaimInfected, true, 1024, 53, "mirai", true},
		{"event4_sinkhole", strings.Replace(event, "mirai,http", "mirai,DNS", 1), src, observe.ClaimInfected, true, 1024, 80, "mirai", true},
		{"event9_new_sinkhole_by_dns", event, src, observe.ClaimOther, true, 1024, 80, "", false},
		{"event4_sinkhole_http_referer", event, referer, observe.ClaimHosting, false, 1024, 80, "", true},
		{"event4_honeypot_brute_force", event, src, observe.ClaimAttacking, false, 1024, 80, "", true},
		{"event4_honeypot_darknet", event, src, observe.ClaimAttacking, false, 1024, 80, "mirai", true},
		{"event4_honeypot_ddos", event, src, observe.ClaimHosting, false, 1024, 80, "", true},
		{"event4_honeypot_ddos_amp", event, src, observe.ClaimOther, false, 1024, 80, "", true},
		{"event4_honeypot_ddos_target", event, dst, observe.ClaimOther, false, 0, 80, "", true},
		{"event4_ddos_participant", event, src, observe.ClaimAttacking, false, 1024, 80, "", true},
		{"event4_ip_spoofer", event, src, observe.ClaimOther, false, 1024, 80, "", true},
		{"event4_something_new", event, src, observe.ClaimOther, false, 1024, 80, "", false},
		{"scan_telnet", device, ip, observe.ClaimExposed, false, 0, 23, "", true},
		{"scan6_telnet", device, ip, observe.ClaimExposed, false, 0, 23, "", true},
		{"scan_of_next_year", device, ip, observe.ClaimExposed, false, 0, 23, "", true},
		{"scanner", device, ip, observe.ClaimOther, false, 0, 23, "", false},
		{"device_id6", device, ip, observe.ClaimOther, false, 0, 23, "", true},
		{"population_http", device, ip, observe.ClaimOther, false, 0, 23, "", true},
		{"compromised_website", device, ip, observe.ClaimHosting, false, 0, 23, "", true},
		{"compromised_iot", device, ip, observe.ClaimInfected, false, 0, 23, "", true},
		{"blocklist", device, ip, observe.ClaimOther, false, 0, 23, "", true},
	}
	for _, tt := range tests {
		for _, name := range []string{"2026-11-26-" + tt.file + "-japan-asn.csv", tt.file + ".csv.gz"} {
			reports, st := all(t, tt.text, feed.Options{Format: feed.Shadowserver, Name: name})
			if len(reports) != 1 {
				t.Fatalf("%s: %+v", name, st)
			}
			r := reports[0]
			if r.Type != tt.file || r.Address != addr(tt.address) || r.Claim != tt.claim || r.Mediated != tt.mediated || r.Port != tt.port || r.Service != tt.service || r.Family != tt.family {
				t.Errorf("%s: %s is %s, mediated %v, port %d, service %d, family %q", name, r.Address, r.Claim, r.Mediated, r.Port, r.Service, r.Family)
			}
			if (st.Unknown == 0) != tt.known {
				t.Errorf("%s: known should be %v", name, tt.known)
			}
		}
	}
}

// A broken line is counted and named, spoils no other, and accuses nobody.
func TestBrokenRows(t *testing.T) {
	const good = `"2026-11-25 00:00:00","high","udp",198.0.2.7,7,64500,"JP","host",,,,,99,"mirai",,,"x"`
	tests := []struct{ name, row, why string }{
		{"a quote not closed", `"2026-11-25 00:00:00","high,"udp",198.0.2.9,7,64500,"JP",,,,,,99,"mirai",,,"x"`, "quote"},
		{"a quote open to the end", `"2026-11-25 00:00:00",high,udp,198.0.2.9,7,64500,JP,,,,,,99,mirai,,,"x`, "quote"},
		{"cut in the address", `"2026-11-25 00:00:00","high","udp",198.0.2.9`, "too_few_columns"},
		{"cut before the service", `"2026-11-25 00:00:00","high","udp",198.0.2.9,7,64500,"JP"`, "too_few_columns"},
		{"a comma too many", good + ",more", "too_many_columns"},
		{"shifted by one", `"2026-11-25 00:00:00","high",198.0.2.9,7,64500,"JP","host",,,,,99,"mirai",,,,"x"`, "not_an_address"},
		{"no address", `"2026-11-25 00:00:00","high","udp",,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "no_address"},
		{"a name for an address", `"2026-11-25 00:00:00","high","udp",host.example,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "not_an_address"},
		{"a network", `"2026-11-25 00:00:00","high","udp",198.0.2.0/24,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "a_network"},
		{"private", `"2026-11-25 00:00:00","high","udp",10.0.0.9,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "not_public"},
		{"shared", `"2026-11-25 00:00:00","high","udp",100.64.0.9,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "not_public"},
		{"multicast", `"2026-11-25 00:00:00","high","udp",ff0e::1,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "not_public"},
		{"mapped and private", `"2026-11-25 00:00:00","high","udp",::ffff:192.168.1.1,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "not_public"},
		{"a link-local zone", `"2026-11-25 00:00:00","high","udp",2400:8500::1%eth0,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "not_public"},
		{"no time", `,"high","udp",198.0.2.9,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "no_time"},
		{"no such day", `"2026-02-30 00:00:00","high","udp",198.0.2.9,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "not_a_time"},
		{"the future", `"2026-11-28 00:00:00","high","udp",198.0.2.9,7,64500,"JP","host",,,,,99,"mirai",,,"x"`, "in_the_future"},
		{"a port too high", `"2026-11-25 00:00:00","high","udp",198.0.2.9,65536,64500,"JP","host",,,,,99,"mirai",,,"x"`, "port"},
		{"too long", strings.Repeat("x", feed.DefaultMaxLine+1), "too_long"},
		{"binary", "\x00\xff\x1b[2J", "too_few_columns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Join([]string{sinkholeHeader, good, "", tt.row, good, good, ""}, "\n")
			reports, st := all(t, text, feed.Options{Format: feed.Shadowserver, Name: "event4_sinkhole.csv"})
			if len(reports) != 3 || st.Malformed != 1 {
				t.Fatalf("%d reports, %d malformed, want 3 and 1: %v", len(reports), st.Malformed, st.Named)
			}
			for _, r := range reports {
				if r.Address != addr("198.0.2.7") || r.Port != 7 || r.Service != 99 || r.Family != "mirai" {
					t.Errorf("a broken line got into %s: %+v", r.Where, r)
				}
			}
			if st.Named[0].Line != 4 || st.Named[0].Why.String() != tt.why {
				t.Errorf("line %d: %s, want line 4: %s", st.Named[0].Line, st.Named[0].Why, tt.why)
			}
		})
	}
}

func TestRowForms(t *testing.T) {
	header := `timestamp,ip,port,banner,"odd ""name""",tag`
	read := func(rows string) ([]observe.Report, feed.Stats) {
		return all(t, "\ufeff"+header+"\n"+rows, feed.Options{Format: feed.Shadowserver, Name: "scan_x.csv"})
	}
	value := func(r observe.Report, name string) string {
		for _, f := range r.Fields {
			if f.Name == name {
				return f.Value
			}
		}
		return ""
	}
	for _, tt := range []struct{ row, banner string }{
		{"2026-11-25 00:00:00,198.0.2.7,23,\"login\nas: \"\"root\"\"\",x,y", "login\nas: \"root\""}, // over two lines
		{`2026-11-25 00:00:00,198.0.2.7,23,"say \"hi\", then",x,y`, `say "hi", then`},               // escaped with a backslash
		{`2026-11-25 00:00:00,198.0.2.7,23,"C:\",x,y`, `C:\`},                                       // which is none here
		{`2026-11-25 00:00:00,198.0.2.7,23,5" disk,x,y`, `5" disk`},
		{"2026-11-25 00:00:00,198.0.2.7,23,\xff\x00,x,y", "\ufffd\ufffd"}, // what no store takes
		{`2026-11-25 00:00:00,198.0.2.7,23,b`, "b"},                       // lacks what doesn't weigh
		{`2026-11-25 00:00:00,198.0.2.7,23,b,x,y,,,`, "b"},                // more, but empty
		{`2026-11-25 00:00:00,[198.0.2.7],23,b,x,y`, "b"},
		{`2026-11-25 00:00:00,::ffff:198.0.2.7,23,b,x,y`, "b"},
		{`2026-11-25 00:00:00,198.0.2.7/32,23,b,x,y`, "b"},
	} {
		reports, st := read(tt.row + "\n" + `2026-11-25 00:00:00,198.0.2.8,22,next,x,y`)
		if len(reports) != 2 {
			t.Errorf("%q: %+v", tt.row, st.Named)
			continue
		}
		if r := reports[0]; value(r, "banner") != tt.banner || r.Address != addr("198.0.2.7") || r.Service != 23 {
			t.Errorf("%q: %+v", tt.row, r)
		}
		if value(reports[1], "banner") != "next" {
			t.Errorf("%q spoiled the next line: %+v", tt.row, reports[1])
		}
	}
	// Half an address is another one.
	reports, st := all(t, "timestamp,port,ip\n2026-11-25 00:00:00,23,198.0.2.7\n2026-11-25 00:00:00,23,198.0.2.1", feed.Options{Format: feed.Shadowserver, Name: "scan_x.csv"})
	if len(reports) != 1 || st.Named[0].Why.String() != "cut_off" {
		t.Errorf("the last line may be cut off: %d reports, %v", len(reports), st.Named)
	}
}

func TestWholeFiles(t *testing.T) {
	for _, tt := range []struct{ name, text, part string }{
		{"scan_x.csv", "", "empty"},
		{"scan_x.csv", "who,what\n1,2\n", "no column timestamp"},
		{"event4_honeypot_ddos_target.csv", "timestamp,src_ip\n2026-11-25,198.0.2.7\n", "dst_ip"},
		{"scan_x.csv", `"timestamp`, "header is broken"},
		{"scan_x.csv.gz", "\x1f\x8b\x08\x00garbage", "damaged"},
		{"scan_x.csv.gz", packed(t, "timestamp,ip\n2026-11-25 00:00:00,198.0.2.7\n")[:40], "damaged or ends too early"},
		{"x.zip", "PK\x03\x04 and no more", "zip is damaged"},
	} {
		_, err := feed.Read(strings.NewReader(tt.text), feed.Options{Source: "test", Format: feed.Shadowserver, Name: tt.name}, func(*observe.Report) error { return nil })
		var bad *feed.Unreadable
		if !errors.As(err, &bad) || !strings.Contains(bad.EN, tt.part) || bad.JA == "" {
			t.Errorf("%s %q: %v, want something with %q", tt.name, tt.text, err, tt.part)
		}
	}
	stop := errors.New("enough")
	st, err := feed.Read(strings.NewReader("timestamp,ip\n2026-11-25 00:00:00,198.0.2.7\n2026-11-25 00:00:00,198.0.2.8\n"),
		feed.Options{Source: "test", Format: feed.Shadowserver, Name: "scan_x"}, func(*observe.Report) error { return stop })
	if !errors.Is(err, stop) || st.Rows != 1 {
		t.Errorf("emit's error came back as %v after %d rows", err, st.Rows)
	}
}

// A zip holds several reports, each with its type in its name.
func TestZip(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"in/2026-11-26-scan_telnet-japan.csv", "event4_honeypot_rdp_scan.csv"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("timestamp,ip,src_ip,tag\n2026-11-25 00:00:00,198.0.2.7,198.0.2.8,x\nbroken\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "reports.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sink := &keeping{}
	st, err := feed.NewIntake(sink, feed.NewSeen(time.Hour, 1000), clock.Fixed(came)).File(t.Context(), path, feed.Options{Source: "test", Format: feed.Shadowserver})
	if err != nil || st.Reports != 2 || st.Malformed != 2 || st.Named[1].File != "reports.zip/event4_honeypot_rdp_scan.csv" {
		t.Fatalf("%v, %+v", err, st)
	}
	var got []string
	for _, r := range sink.has {
		got = append(got, r.Where+" "+said(r))
	}
	slices.Sort(got)
	want := []string{"reports.zip/2026-11-26-scan_telnet-japan.csv:2 scan_telnet exposed 198.0.2.7", "reports.zip/event4_honeypot_rdp_scan.csv:2 event4_honeypot_rdp_scan attacking 198.0.2.8"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// From a stream it can't be read, and a bomb has an end.
	for _, tt := range []struct {
		r    io.Reader
		most int64
		part string
	}{{io.MultiReader(bytes.NewReader(b.Bytes())), 0, "from a stream"}, {bytes.NewReader(b.Bytes()), 100, "too large after decompression"}, {strings.NewReader(packed(t, strings.Repeat("x", 1<<20))), 1000, "too large"}} {
		_, err := feed.Read(tt.r, feed.Options{Source: "test", Format: feed.Shadowserver, Name: "x", MaxBytes: tt.most}, func(*observe.Report) error { return nil })
		if err == nil || !strings.Contains(err.Error(), tt.part) {
			t.Errorf("%v, want %q", err, tt.part)
		}
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
