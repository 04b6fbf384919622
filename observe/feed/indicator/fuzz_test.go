package indicator_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/reading"
)

// holds reads whatever it is given and checks what holds for all of it.
func holds(t *testing.T, data []byte, o indicator.Options) {
	t.Helper()
	o.Source, o.Came, o.MaxLine, o.MaxMessage, o.MaxBytes = "fuzz", came, 1<<12, 1<<14, 1<<20
	var taken uint64
	st, err := indicator.Read(strings.NewReader(string(data)), o, func(in *observe.Indicator) error {
		taken++
		good := false
		switch in.Kind {
		case observe.IndicatorName, observe.IndicatorHost:
			good = strings.Contains(in.Value, ".") && in.Value == strings.ToLower(in.Value) && len(in.Value) <= 253 && !strings.HasSuffix(in.Value, ".") && !strings.ContainsAny(in.Value, " /:*\x00")
		case observe.IndicatorAddress:
			a, err := netip.ParseAddr(in.Value)
			good = err == nil && a.String() == in.Value && !reading.Reserved(a)
		case observe.IndicatorEndpoint:
			a, err := netip.ParseAddrPort(in.Value)
			good = err == nil && a.String() == in.Value && !reading.Reserved(a.Addr()) && a.Port() > 0
		case observe.IndicatorPrefix:
			p, err := netip.ParsePrefix(in.Value)
			good = err == nil && p.Masked().String() == in.Value && !p.IsSingleIP() && !reading.ReservedIn(p)
		case observe.IndicatorURL:
			scheme, rest, ok := strings.Cut(in.Value, "://")
			good = ok && scheme == strings.ToLower(scheme) && strings.Contains(rest, "/") && !strings.ContainsAny(rest, "# \n")
		}
		if !good || !utf8.ValidString(in.Value+in.Family+in.Evidence+in.Where) {
			t.Errorf("%+v", in)
		}
		if in.Source != "fuzz" || in.Role == "" || in.Line < 1 || !(in.Confidence >= 0 && in.Confidence <= 1) || in.First.After(came.Add(24*time.Hour)) || in.Last.After(came.Add(24*time.Hour)) {
			t.Errorf("%+v", in)
		}
		return nil
	})
	if bad := (*reading.Unreadable)(nil); err != nil && !errors.As(err, &bad) {
		t.Fatalf("not said in words: %v", err)
	}
	if st.Read != st.Accepted+st.Rejected || st.Accepted != taken || len(st.Named) > indicator.MostNamed {
		t.Fatalf("%+v, %d taken", st, taken)
	}
	var w strings.Builder
	if err := st.Write(&w); err != nil {
		t.Fatal(err)
	}
}

func FuzzLists(f *testing.F) {
	f.Add([]byte("# x\nevil.example.net # y\n1.1.1.1:443\nhxxp://evil[.]example.net/a#b\n1.1.1.0/24\n日本語.jp\n[::1]:1\n"))
	f.Add([]byte("0.0.0.0 a.example.net b.example.net\n127.0.0.1 localhost\n"))
	f.Add([]byte("# Reference: x\n/arm7\nevil.example.net/x\nevil.example.net:80\n"))
	f.Add([]byte("1.4.0.0/17 ; SBL1\nAS1 ; x\n"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []indicator.Format{indicator.Auto, indicator.Plain, indicator.Hosts, indicator.Maltrail, indicator.Drop} {
			holds(t, data, indicator.Options{Format: format})
		}
	})
}

func FuzzTables(f *testing.F) {
	f.Add([]byte("# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n\"1\",\"2026-11-01 00:00:06\",\"http://1.1.1.1/x\",\"online\",\"\",\"\",\"Mozi\",\"\",\"\"\n"))
	f.Add([]byte("\"first_seen_utc\",\"dst_ip\",\"dst_port\",\"c2_status\",\"last_online\",\"malware\"\n\"2021-01-17 07:30:05\",\"1.1.1.1\",\"443\",\"online\",\"\",\"Dridex\"\n"))
	f.Add([]byte("first_seen_utc,ioc_value,ioc_type,threat_type,malware_printable,last_seen_utc,confidence_level,reference\n\"2021-01-17 07:30:05\", \"1.1.1.1:443\", \"ip:port\", \"botnet_cc\", \"X\", \"\", \"7\", \"\"\n"))
	f.Add([]byte("evil.example.net,Domain used by x,2016-11-12 15:02,http://x/\n"))
	f.Add([]byte("v;p;c\nevil.example.net;80;1\n"))
	m := &indicator.Mapping{Value: "v", Port: "p", Confidence: "c", Comma: ";"}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []indicator.Format{indicator.URLhaus, indicator.Feodo, indicator.ThreatFox, indicator.Bambenek} {
			holds(t, data, indicator.Options{Format: format})
		}
		holds(t, data, indicator.Options{Format: indicator.CSV, Mapping: m})
	})
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`[{"ip_address": "1.1.1.1", "port": 443, "status": "online", "first_seen": "2021-01-17 07:30:05", "malware": "Dridex"}]`))
	f.Add([]byte(`{"1": [{"ioc_value": "1.1.1.1:443", "ioc_type": "ip:port", "threat_type": "botnet_cc"}], "query_status": "ok"}`))
	f.Add([]byte(`{"response": [{"Event": {"Attribute": [{"type": "ip-dst|port", "to_ids": true, "value": "1.1.1.1|443"}], "Object": [{"Attribute": []}], "Tag": [{"name": "tlp:white"}], "Galaxy": []}}]}`))
	f.Add([]byte(`{"type": "bundle", "objects": [{"type": "indicator", "id": "i", "pattern": "[domain-name:value = 'evil.example.net']", "valid_from": "2026-01-01T00:00:00Z"}, {"type": "relationship"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []indicator.Format{indicator.Auto, indicator.Feodo, indicator.ThreatFox, indicator.MISP, indicator.STIX} {
			holds(t, data, indicator.Options{Format: format})
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("[domain-name:value = 'a.example.net' OR (ipv4-addr:value IN ('1.1.1.1') AND network-traffic:dst_port = 443)] FOLLOWEDBY [url:value NOT LIKE '%'] WITHIN 5 SECONDS")
	f.Add("[file:hashes.'SHA-256' = 'ef' AND EXISTS windows-registry-key:values[*].name]")
	f.Fuzz(func(t *testing.T, s string) {
		if len(indicator.Pattern(s)) == 0 {
			t.Error("a pattern is neither told nor refused")
		}
	})
}
