package feed_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sakimori/observe"
	"sakimori/observe/feed"
)

// holds reads whatever it is given and checks what holds for all of it.
func holds(t *testing.T, data []byte, o feed.Options) {
	t.Helper()
	o.Source, o.Came, o.MaxLine, o.MaxMessage, o.MaxBytes = "fuzz", came, 1<<12, 1<<14, 1<<20
	var reports uint64
	st, err := feed.Read(strings.NewReader(string(data)), o, func(r *observe.Report) error {
		reports++
		switch {
		case !r.Address.IsValid() || r.Address.Is4In6() || r.Address.IsPrivate() || r.Address.IsMulticast() || r.Address.IsLoopback() || r.Address.IsLinkLocalUnicast() || r.Address.IsUnspecified():
			t.Errorf("accuses %s", r.Address)
		case r.At.IsZero() || r.Slack <= 0 || r.At.After(came.Add(24*time.Hour)) || r.At.Location() != time.UTC:
			t.Errorf("at %s ± %s", r.At, r.Slack)
		case r.Claim == "" || r.Source != "fuzz" || len(r.Raw) == 0:
			t.Errorf("%+v", r)
		}
		for _, f := range r.Fields {
			if !utf8.ValidString(f.Name+f.Value) || strings.ContainsRune(f.Name+f.Value, 0) {
				t.Errorf("field %q = %q", f.Name, f.Value)
			}
		}
		if !utf8.ValidString(r.Type + r.Family + r.Device + r.Where) {
			t.Errorf("not UTF-8: %+v", r)
		}
		turned := *r
		turned.Fields = slices.Clone(r.Fields)
		slices.Reverse(turned.Fields)
		if feed.ID(r) != feed.ID(&turned) {
			t.Error("the order of the fields is part of the identity")
		}
		return nil
	})
	if bad := (*feed.Unreadable)(nil); err != nil && !errors.As(err, &bad) {
		t.Fatalf("not said in words: %v", err)
	}
	if st.Rows != st.Reports+st.Malformed || st.Reports != reports || len(st.Named) > 20 {
		t.Fatalf("%+v, %d reports", st, reports)
	}
	var sum uint64
	for _, n := range st.Why {
		sum += n
	}
	if sum != st.Malformed {
		t.Fatalf("the reasons are of %d rows, malformed are %d", sum, st.Malformed)
	}
	var w strings.Builder
	if err := st.Write(&w, nil); err != nil {
		t.Fatal(err)
	}
}

func FuzzShadowserver(f *testing.F) {
	f.Add([]byte(sinkholeHeader+"\n"+`"2026-11-25 03:04:05","high","tcp","198.0.2.7",40123,64500,"JP","a,b","Acme","router","X","192.88.98.1",8080,"downadup","Kido","t","x"`), "event4_sinkhole.csv")
	f.Add([]byte("timestamp,ip,port,banner\n2026-11-25,198.0.2.7,23,\"a\nb\"\n2026-11-25,198.0.2.7,23,\"a\\\"b\"\n\"\n"), "scan_x")
	f.Add([]byte("\x1f\x8b\x08"), "scan_x")
	f.Add([]byte("PK\x03\x04"), "scan_x")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		holds(t, data, feed.Options{Format: feed.Shadowserver, Name: strings.ToValidUTF8(name, "?")})
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"xarf_version":"4.2.0","timestamp":"2026-11-25T03:04:05Z","source_identifier":"198.0.2.7","category":"connection","type":"ddos"}`))
	f.Add([]byte(`[{"Report":{"Date":"2026-11-25T03:04:05Z","SourceIp":"198.0.2.7","ReportType":"Spam"}},{"a":[{}]}]`))
	f.Add([]byte("{\"source.ip\":\"198.0.2.7\",\"time.source\":\"2026-11-25T03:04:05Z\"}\n{\"a\n{\"ip\":\"198.0.2.7\",\"t\":1795575845}\n"))
	m := &feed.Mapping{Address: "ip", Time: "t", Family: "f", ClaimIn: "c", Claims: map[string]observe.Claim{"x": observe.ClaimInfected}}
	f.Fuzz(func(t *testing.T, data []byte) {
		holds(t, data, feed.Options{Format: feed.XARF})
		holds(t, data, feed.Options{Format: feed.IntelMQ, Zone: time.UTC})
		holds(t, data, feed.Options{Format: feed.NDJSON, Mapping: m})
	})
}

func FuzzMail(f *testing.F) {
	f.Add([]byte(mail("multipart/report", text, arfPart)))
	f.Add([]byte(strings.Replace(mail("multipart/mixed", text, "Content-Type: text/plain\r\n\r\nSource: 198.0.2.7\r\nDate: 2026-11-25T03:04:05Z\r\n"), "X-Old", "X-ARF", 1)))
	f.Add([]byte(mail("multipart/report", text, "Content-Type: application/json\r\nContent-Transfer-Encoding: base64\r\n\r\neyJzb3VyY2VfaWRlbnRpZmllciI6IjE5OC4wLjIuNyIsInRpbWVzdGFtcCI6IjIwMjYtMTEtMjVUMDM6MDQ6MDVaIn0=\r\n")))
	f.Fuzz(func(t *testing.T, data []byte) { holds(t, data, feed.Options{Format: feed.Mail, Zone: time.UTC}) })
}

func FuzzMapped(f *testing.F) {
	f.Add([]byte("ip|t|c\n198.0.2.7|2026-11-25|x\n#\n198.0.2.7|2026-11-25 12:00|\"y\"\n"))
	m := &feed.Mapping{Address: "ip", Time: "t", Comma: "|", Comment: "#", ClaimIn: "c", Claims: map[string]observe.Claim{"x": observe.ClaimInfected}}
	f.Fuzz(func(t *testing.T, data []byte) {
		holds(t, data, feed.Options{Format: feed.CSV, Mapping: m, Zone: time.UTC})
	})
}
