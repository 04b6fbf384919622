package feed_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/feed"
)

// said is what a report says, in a line.
func said(r observe.Report) string {
	s := r.Type + " " + string(r.Claim) + " " + r.Address.String()
	if r.Mediated {
		s += " mediated"
	}
	return s
}

func field(r observe.Report, name string) string {
	i := slices.IndexFunc(r.Fields, func(f observe.Field) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return r.Fields[i].Value
}

func TestXARF(t *testing.T) {
	const v4 = `{"xarf_version":"4.2.0","report_id":"1","timestamp":"2026-11-25T03:04:05Z","reporter":{"org":"o"},"source_identifier":"198.0.2.7","source_port":40001,"destination_port":23,"protocol":"tcp",`
	const v3 = `{"Version":"3","ReporterInfo":{"ReporterOrg":"o"},"Report":{"Date":"2026-11-25T03:04:05Z",`
	tests := []struct {
		name, text, want string
		port, service    uint16
	}{
		{"botnet", v4 + `"category":"infrastructure","type":"botnet","malware_family":"Mirai"}`, "infrastructure/botnet infected 198.0.2.7", 40001, 23},
		{"login", v4 + `"category":"connection","type":"login_attack"}`, "connection/login_attack attacking 198.0.2.7", 40001, 23},
		{"login, draft", v4 + `"class":"connection","type":"login-attack"}`, "connection/login-attack attacking 198.0.2.7", 40001, 23},
		{"a bot", v4 + `"category":"connection","type":"infected_host","bot_type":"malicious"}`, "connection/infected_host infected 198.0.2.7", 40001, 23},
		{"a crawler", v4 + `"category":"connection","type":"infected_host","bot_type":"search_engine"}`, "connection/infected_host other 198.0.2.7", 40001, 23},
		{"a crawler, draft", v4 + `"category":"connection","type":"bot","bot_type":"ai_agent"}`, "connection/bot other 198.0.2.7", 40001, 23},
		{"an amplifier", v4 + `"category":"connection","type":"ddos_amplification"}`, "connection/ddos_amplification exposed 198.0.2.7", 0, 40001},
		{"open", v4 + `"category":"vulnerability","type":"open_service","service_port":3389}`, "vulnerability/open_service exposed 198.0.2.7", 0, 3389},
		{"phishing", v4 + `"category":"content","type":"phishing"}`, "content/phishing hosting 198.0.2.7", 0, 40001},
		{"spam", v4 + `"category":"messaging","type":"spam"}`, "messaging/spam spamming 198.0.2.7", 40001, 23},
		{"a list", v4 + `"category":"reputation","type":"botnet"}`, "reputation/botnet other 198.0.2.7", 40001, 23},
		{"copyright", v4 + `"category":"copyright","type":"p2p"}`, "copyright/p2p other 198.0.2.7", 40001, 23},
		{"new", v4 + `"category":"novelty","type":"thing"}`, "novelty/thing other 198.0.2.7", 40001, 23},
		{"v3 botnet", v3 + `"ReportClass":"System","ReportType":"botnet","Source":{"IP":"198.0.2.7","Port":99,"Type":"ip"}}}`, "System/botnet infected 198.0.2.7", 99, 0},
		{"v1 spam", v3 + `"ReportClass":"Activity","ReportType":"Spam","SourceIp":"198.0.2.7","SourcePort":99,"DestinationPort":25}}`, "Activity/Spam spamming 198.0.2.7", 99, 25},
		{"v3 test", v3 + `"Test":true,"ReportClass":"System","ReportType":"botnet","SourceIp":"198.0.2.7"}}`, "System/botnet other 198.0.2.7", 0, 0},
	}
	for _, tt := range tests {
		reports, st := all(t, tt.text, feed.Options{Format: feed.XARF, Name: tt.name})
		if len(reports) != 1 {
			t.Errorf("%s: %v", tt.name, st.Named)
			continue
		}
		r := reports[0]
		if said(r) != tt.want || r.Port != tt.port || r.Service != tt.service || !r.At.Equal(time.Date(2026, 11, 25, 3, 4, 5, 0, time.UTC)) || r.Slack != time.Second {
			t.Errorf("%s: %s port %d service %d at %s, want %s port %d service %d", tt.name, said(r), r.Port, r.Service, r.At, tt.want, tt.port, tt.service)
		}
		if field(r, "reporter.org")+field(r, "ReporterInfo.ReporterOrg") != "o" {
			t.Errorf("%s: a field was dropped: %v", tt.name, r.Fields)
		}
		// A port that is open, or a protocol over IP, is told once.
		if tt.name == "botnet" && (r.Family != "mirai" || r.Proto != 6 || field(r, "protocol") != "") {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
	for name, text := range map[string]string{
		"no_address":     `{"xarf_version":"4.2.0","timestamp":"2026-11-25T03:04:05Z"}`,
		"not_an_address": `{"xarf_version":"4.2.0","timestamp":"2026-11-25T03:04:05Z","source_identifier":"https://198.0.2.7/"}`,
		"no_zone":        `{"xarf_version":"4.2.0","timestamp":"2026-11-25 03:04:05","source_identifier":"198.0.2.7"}`,
		"no_time":        `{"xarf_version":"4.2.0","source_identifier":"198.0.2.7"}`,
		"json":           `{"xarf_version":"4.2.0",}`,
		"not_an_object":  `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
	} {
		if _, st := all(t, text, feed.Options{Format: feed.XARF}); st.Malformed != 1 || st.Named[0].Why.String() != name {
			t.Errorf("%s: %v", text, st.Named)
		}
	}
}

func TestIntelMQ(t *testing.T) {
	const flat = `{"feed.name":"F","time.source":"2026-11-25T03:04:05+00:00","source.ip":"198.0.2.7","source.port":1024,"destination.port":80,"protocol.transport":"tcp","extra.new":"kept",`
	tests := []struct{ text, want string }{
		{flat + `"classification.type":"infected-system","malware.name":"Mirai"}`, "infected-system infected 198.0.2.7"},
		{`{"feed":{"name":"F"},"time":{"source":"2026-11-25T03:04:05+00:00"},"source":{"ip":"198.0.2.7","port":1024},"classification":{"type":"infected-system"},"extra":{"new":"kept"}}`, "infected-system infected 198.0.2.7"},
		{flat + `"classification.type":"infected-system","classification.identifier":"sinkhole-dns"}`, "infected-system infected 198.0.2.7 mediated"},
		{strings.Replace(flat, `"F"`, `"Sinkhole-DNS"`, 1) + `"classification.type":"other"}`, "other other 198.0.2.7 mediated"},
		{flat + `"classification.type":"infected-system","protocol.application":"dns"}`, "infected-system infected 198.0.2.7 mediated"},
		{strings.Replace(flat, ":80,", ":53,", 1) + `"classification.type":"infected-system"}`, "infected-system infected 198.0.2.7 mediated"},
		{flat + `"classification.type":"infected-system","extra._origin":"dnsmalware"}`, "infected-system infected 198.0.2.7 mediated"},
		{flat + `"classification.type":"ddos","classification.identifier":"amplification-ddos-victim"}`, "ddos other 198.0.2.7"},
		{flat + `"classification.type":"ddos"}`, "ddos attacking 198.0.2.7"},
		{flat + `"classification.type":"infected-system","classification.taxonomy":"test"}`, "infected-system other 198.0.2.7"},
		{flat + `"classification.type":"blacklist"}`, "blacklist other 198.0.2.7"},
		{flat + `"classification.type":"brute-force"}`, "brute-force attacking 198.0.2.7"},
		{flat + `"classification.type":"vulnerable-system"}`, "vulnerable-system exposed 198.0.2.7"},
		{flat + `"classification.type":"c2-server"}`, "c2-server hosting 198.0.2.7"},
		{flat + `"classification.type":"spam"}`, "spam spamming 198.0.2.7"},
	}
	var lines []string
	for _, tt := range tests {
		lines = append(lines, tt.text, `{"source.ip": "198.0.2.9", "broken`)
	}
	reports, st := all(t, strings.Join(lines, "\n"), feed.Options{Format: feed.IntelMQ, Name: "events.json"})
	if len(reports) != len(tests) || st.Malformed != uint64(len(tests)) {
		t.Fatalf("%d reports, %d malformed, want %d each", len(reports), st.Malformed, len(tests))
	}
	for i, tt := range tests {
		if said(reports[i]) != tt.want || field(reports[i], "extra.new") != "kept" || field(reports[i], "feed.name") == "" {
			t.Errorf("%s: %s, want %s", tt.text, said(reports[i]), tt.want)
		}
	}
	if reports[2].Where != "events.json:5" || st.Named[1].Line != 4 {
		t.Errorf("places: %s, %v", reports[2].Where, st.Named[:2])
	}
}

func mail(kind string, parts ...string) string {
	return "From: a@reporter.example\r\nMessage-ID: <1@reporter.example>\r\nX-Old: 1\r\nMIME-Version: 1.0\r\nContent-Type: " + kind + "; boundary=b\r\n\r\n--b\r\n" +
		strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
}

const (
	text    = "Content-Type: text/plain\r\n\r\nSomebody is naughty.\r\n"
	arfPart = "Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\nSource-IP: 198.0.2.7\r\nSource-Port: 2525\r\nArrival-Date: Wed, 25 Nov 2026 12:04:05 +0900\r\nIncidents: 3\r\nReported-Domain: a.example\r\nReported-Domain: b.example\r\n"
)

func TestARF(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"abuse", arfPart, "abuse spamming 198.0.2.7"},
		{"virus", strings.Replace(arfPart, "abuse", "virus", 1), "virus spamming 198.0.2.7"},
		{"it was no spam", strings.Replace(arfPart, "abuse", "not-spam", 1), "not-spam other 198.0.2.7"},
		{"opt-out", strings.Replace(arfPart, "abuse", "opt-out", 1), "opt-out other 198.0.2.7"},
		{"IPv6", strings.Replace(arfPart, "198.0.2.7", "[IPv6:2400:8500::1]", 1), "abuse spamming 2400:8500::1"},
		{"of drafts", strings.Replace(arfPart, "Arrival-Date", "Received-Date", 1), "abuse spamming 198.0.2.7"},
		{"folded", strings.Replace(arfPart, "Wed, 25", "Wed,\r\n 25", 1), "abuse spamming 198.0.2.7"},
		{"without time", strings.Replace(arfPart, "Arrival-Date", "X-Date", 1), "no_time"},
		{"two addresses", arfPart + "Source-IP: 198.0.2.8\r\n", "not_an_address"},
		{"no address", strings.Replace(arfPart, "Source-IP", "X-IP", 1), "no_address"},
		{"no report", "Content-Type: text/html\r\n\r\n<p>", "no_report"},
	}
	for _, tt := range tests {
		reports, st := all(t, mail("multipart/report; report-type=feedback-report", text, tt.text), feed.Options{Format: feed.Mail, Name: "1.eml"})
		if st.Rows != 1 {
			t.Fatalf("%s: %+v", tt.name, st)
		}
		if len(reports) == 0 {
			if got := st.Named[0].Why.String(); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
			continue
		}
		r := reports[0]
		if said(r) != tt.want || r.Port != 2525 || r.Where != "<1@reporter.example>" || field(r, "Incidents") != "3" || !r.At.Equal(time.Date(2026, 11, 25, 3, 4, 5, 0, time.UTC)) {
			t.Errorf("%s: %s, want %s: %+v", tt.name, said(r), tt.want, r)
		}
	}
	for name, text := range map[string]string{"too_long": strings.Repeat("x", 2000), "message": "no header\r\n\r\n", "no_report": "Subject: hello\r\n\r\nhello"} {
		if _, st := all(t, text, feed.Options{Format: feed.Mail, MaxMessage: 1000}); st.Rows != 1 || st.Named[0].Why.String() != name {
			t.Errorf("%s: %v", name, st.Named)
		}
	}
}

// X-ARF before it was JSON.
func TestXARF02(t *testing.T) {
	report := "Content-Type: text/plain; name=\"report.txt\"\r\n\r\n---\r\nReported-From: a@reporter.example\r\nCategory: abuse\r\nReport-Type: login-attack\r\nService: ssh\r\nPort: 22\r\nSource-Type: ipv4\r\nSource: 198.0.2.7\r\nDate: 'Wed, 25 Nov 2026 12:04:05 +0900'\r\nOccurrences: 7\r\n"
	whole := strings.Replace(mail("multipart/mixed", text, report, "Content-Type: text/plain; name=log.txt\r\n\r\nSource: 198.0.2.9\r\n"), "X-Old: 1", "X-ARF: YES", 1)
	reports, st := all(t, whole, feed.Options{Format: feed.Mail})
	if len(reports) != 1 {
		t.Fatal(st.Named)
	}
	if r := reports[0]; said(r) != "abuse/login-attack attacking 198.0.2.7" || r.Service != 22 || r.Port != 0 || field(r, "Occurrences") != "7" {
		t.Errorf("%+v", r)
	}
}

func TestMapped(t *testing.T) {
	m := &feed.Mapping{
		Address: "IP", Time: "When", Family: "bot", Service: "port", Proto: "proto", TypeIn: "what",
		ClaimIn: "what", Claims: map[string]observe.Claim{"bots": observe.ClaimInfected, "spam": observe.ClaimSpamming},
		MediatedIn: "seen_by", MediatedBy: []string{"resolver", "proxy"},
	}
	const table = "what|ip|when|bot|port|proto|seen_by|note\n" +
		"# made by hand\n" +
		"bots|198.0.2.7|2026-11-25 12:04:05|MIRAI|23|tcp|tap|x\n" +
		"bots|198.0.2.8|2026-11-25|-|||resolver|\n" +
		"spam| 198.0.2.9 |1795575845||||proxy|\n" +
		"odd|198.0.2.10|2026-11-25 12:04|||carrier-pigeon||\n"
	want := []string{"bots infected 198.0.2.7", "bots infected 198.0.2.8 mediated", "spam spamming 198.0.2.9 mediated", "odd other 198.0.2.10"}
	slack := []time.Duration{time.Second, 24 * time.Hour, time.Second, time.Minute}
	const objects = `{"what":"bots","ip":"198.0.2.7","when":"2026-11-25 12:04:05","bot":"MIRAI","port":23,"proto":"tcp","seen_by":"tap","note":"x"}
{"what":"bots","ip":"198.0.2.8","when":"2026-11-25","seen_by":"resolver"}
{"what":"spam","ip":"198.0.2.9","when":1795575845,"seen_by":"proxy"}
{"what":"odd","ip":"198.0.2.10","when":"2026-11-25 12:04","proto":"carrier-pigeon"}`
	withComma := *m
	withComma.Comma, withComma.Comment = "|", "#"
	noHeader := withComma
	noHeader.Columns = []string{"what", "ip", "when", "bot", "port", "proto", "seen_by", "note"}
	_, body, _ := strings.Cut(table, "\n")
	for _, in := range []struct {
		text string
		o    feed.Options
	}{
		{table, feed.Options{Format: feed.CSV, Mapping: &withComma}},
		{body, feed.Options{Format: feed.CSV, Mapping: &noHeader}},
		{objects, feed.Options{Format: feed.NDJSON, Mapping: m}},
	} {
		in.o.Zone = time.FixedZone("", 9*3600)
		reports, st := all(t, in.text, in.o)
		if len(reports) != 4 {
			t.Fatalf("%s: %v", in.o.Format, st.Named)
		}
		for i, r := range reports {
			if said(r) != want[i] || r.Slack != slack[i] {
				t.Errorf("%s: %s ± %s, want %s", r.Where, said(r), r.Slack, want[i])
			}
		}
		if r := reports[0]; r.Family != "mirai" || r.Service != 23 || r.Proto != 6 || field(r, "note") != "x" || field(r, "seen_by") != "tap" || len(r.Fields) != 2 || !r.At.Equal(reports[2].At) {
			t.Errorf("%+v", r)
		}
		if r := reports[3]; field(r, "proto") != "carrier-pigeon" || r.Proto != 0 {
			t.Errorf("%+v", r)
		}
		in.o.Zone = nil
		if reports, st := all(t, in.text, in.o); len(reports) != 1 || st.Named[0].Why.String() != "no_zone" {
			t.Errorf("without a zone only seconds since 1970 are known: %v", st.Named)
		}
	}
}

// What the samples of the format's own authors say.
func TestXARFCorpus(t *testing.T) {
	dir := corpus.Folder(t, "intel", "xarf")
	for name, want := range map[string]string{
		"samples-v3-botnet_v3_sample.json":                  "System/botnet infected 198.51.100.25",
		"samples-v3-ddos_v3_sample.json":                    "Network/ddos attacking 172.16.254.10",
		"samples-v3-phishing_v3_sample.json":                "no_address", // a URL
		"samples-v3-spam_v3_sample.json":                    "Messaging/spam spamming 192.168.1.100",
		"samples-v4-connection-ddos.json":                   "connection/ddos attacking 192.0.2.155",
		"samples-v4-connection-login-attack.json":           "connection/login_attack attacking 198.51.100.77",
		"samples-v4-connection-port-scan.json":              "connection/port_scan attacking 198.51.100.150",
		"samples-v4-infrastructure-botnet.json":             "infrastructure/botnet infected 198.51.100.25",
		"samples-v4-infrastructure-compromised-server.json": "infrastructure/compromised_server hosting 203.0.113.150",
		"samples-v4-reputation-blocklist.json":              "reputation/blocklist other 203.0.113.200",
		"samples-v4-vulnerability-misconfiguration.json":    "vulnerability/misconfiguration exposed 192.0.2.75",
		"samples-v4-vulnerability-open-service.json":        "vulnerability/open_service exposed 192.0.2.50",
		"xarf-v2-mail.eml":                                  "Activity/Spam spamming 192.0.2.55",
	} {
		o := feed.Options{Format: feed.XARF, Name: name, Public: everything}
		if filepath.Ext(name) == ".eml" {
			o.Format = feed.Mail
		}
		text := slurp(t, filepath.Join(dir, name))
		reports, st := all(t, text, o)
		switch {
		case st.Rows != 1:
			t.Errorf("%s: %d rows", name, st.Rows)
		case len(reports) == 0:
			if st.Named[0].Why.String() != want {
				t.Errorf("%s: %s, want %s", name, st.Named[0].Why, want)
			}
		case said(reports[0]) != want:
			t.Errorf("%s: %s, want %s", name, said(reports[0]), want)
		}
		// The samples' addresses are nobody's.
		o.Public = nil
		if reports, _ := all(t, text, o); len(reports) != 0 {
			t.Errorf("%s accuses %s", name, reports[0].Address)
		}
	}
}

// Tables of Spamhaus's and Team Cymru's, by a mapping.
func TestMappedCorpus(t *testing.T) {
	dir := corpus.Folder(t, "intel", "feeds")
	spamhaus := &feed.Mapping{
		Columns: []string{"ip", "asn", "country", "lastseen", "botname", "domain", "remote_ip", "remote_port", "local_port", "protocol"}, Comment: ";",
		Address: "ip", Time: "lastseen", Family: "botname", Service: "remote_port", Port: "local_port", Proto: "protocol", Claim: observe.ClaimInfected, Type: "cert",
	}
	reports, st := all(t, slurp(t, filepath.Join(dir, "spamhaus-cert.txt")), feed.Options{Format: feed.CSV, Mapping: spamhaus, Public: everything})
	// One line has "192.168.46.8:1660:darkmailer2" where its port should be.
	if len(reports) != 18 || st.Malformed != 1 || st.Named[0].Line != 13 || st.Named[0].Why.String() != "port" {
		t.Errorf("spamhaus: %d reports, %v", len(reports), st.Named)
	}
	if r := reports[3]; r.Family != "mirai" || r.Address != addr("111.111.111.183") || r.Service != 0 || !r.At.Equal(time.Unix(1471111139, 0)) {
		t.Errorf("spamhaus: %+v", r)
	}
	if _, st := all(t, slurp(t, filepath.Join(dir, "spamhaus-cert.txt")), feed.Options{Format: feed.CSV, Mapping: spamhaus}); st.Malformed != 14 {
		t.Errorf("spamhaus: %d of the addresses aren't public, want 14", st.Malformed)
	}
	cymru := &feed.Mapping{
		Columns: []string{"report", "ip", "asn", "timestamp", "comments", "asn_name"}, Comma: "|", Comment: "#", Address: "ip", Time: "timestamp", TypeIn: "report", ClaimIn: "report",
		Claims: map[string]observe.Claim{"bots": observe.ClaimInfected, "bruteforce": observe.ClaimAttacking, "spam": observe.ClaimSpamming, "openresolvers": observe.ClaimExposed, "proxy": observe.ClaimExposed, "phishing": observe.ClaimHosting},
	}
	reports, st = all(t, slurp(t, filepath.Join(dir, "cymru-infected_20171031.txt")), feed.Options{Format: feed.CSV, Mapping: cymru, Zone: time.UTC, Public: everything})
	claims := map[observe.Claim]int{}
	for _, r := range reports {
		claims[r.Claim]++
	}
	if len(reports) != 9 || claims[observe.ClaimInfected] != 4 || claims[observe.ClaimExposed] != 2 || claims[observe.ClaimOther] != 0 {
		t.Errorf("cymru: %v, %v", claims, st.Named)
	}
}
