package indicator_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/observe"
	"sakimori/observe/feed/indicator"
)

// Every form of a value, and its normal form or the reason why it has none.
func TestNormal(t *testing.T) {
	tests := []struct{ in, kind, want string }{
		{"C2.Example.NET.", "name", "c2.example.net"},
		{"*.evil.example.net", "name", "evil.example.net"},
		{".evil.example.net", "name", "evil.example.net"},
		{"a_b.-x-.r3---sn.example.net", "name", "a_b.-x-.r3---sn.example.net"},
		{"evil[.]example[.]net", "name", "evil.example.net"},
		{"evil(dot)example{.}net", "name", "evil.example.net"},
		{`evil\.example\.net`, "name", "evil.example.net"},
		{"日本語.example.jp", "name", "xn--wgv71a119e.example.jp"},
		{"日本語。example。jp", "name", "xn--wgv71a119e.example.jp"},
		{"ＥＶＩＬ．example.jp", "name", "evil.example.jp"},
		{"XN--WGV71A119E.example.jp", "name", "xn--wgv71a119e.example.jp"},
		{"xn--a.example.jp", "", "idn"},
		{"a\u200bb.example.jp", "name", "ab.example.jp"}, // mapped to nothing (UTS 46)
		{"com", "", "top_level"},
		{"localhost", "", "special_use"},
		{"dbkjbueuvmf5hh7z.onion", "", "special_use"},
		{"printer.local", "", "special_use"},
		{"4.3.2.1.in-addr.arpa", "", "special_use"},
		{"a..example.net", "", "not_a_name"},
		{"-", "", "no_value"},
		{"ev il.example.net", "", "several_values"},
		{"evil,example.net", "", "not_a_name"},
		{strings.Repeat("a", 64) + ".example.net", "", "not_a_name"},
		{strings.Repeat("a.", 126) + "com", "", "not_a_name"},
		{"evil.example.-x", "", "not_a_name"},

		{"1.1.1.1", "address", "1.1.1.1"},
		{"1[.]1[.]1[.]1", "address", "1.1.1.1"},
		{"1.1.1.1/32", "address", "1.1.1.1"},
		{"::ffff:1.1.1.1", "address", "1.1.1.1"},
		{"2606:4700:4700:0::1111", "address", "2606:4700:4700::1111"},
		{"2606:4700:4700::1111/128", "address", "2606:4700:4700::1111"},
		{"2606:4700:4700::1111%eth0", "", "zone"},
		{"010.1.1.1", "", "not_an_address"},
		{"1.1.1", "", "not_an_address"},
		{"1.1.1.256", "", "not_an_address"},
		{"10.0.0.1", "", "not_public"},
		{"127.0.0.1", "", "not_public"},
		{"192.0.2.1", "", "not_public"},
		{"224.0.0.1", "", "not_public"},
		{"fe80::1", "", "not_public"},
		{"::1", "", "not_public"},
		{"64:ff9b:1::1", "", "not_public"},

		{"1.1.1.1:443", "endpoint", "1.1.1.1:443"},
		{"1.1.1.1[:]443", "endpoint", "1.1.1.1:443"},
		{"[2606:4700:4700::1111]:0443", "endpoint", "[2606:4700:4700::1111]:443"},
		{"1.1.1.1:0", "", "port"},
		{"1.1.1.1:65536", "", "port"},
		{"1.1.1.1:", "", "port"},
		{"10.0.0.1:443", "", "not_public"},
		{"evil.example.net:8080", "host", "evil.example.net"}, // not what is below it
		{"evil.example.net:0", "", "port"},

		{"1.1.1.77/24", "prefix", "1.1.1.0/24"},
		{"2606:4700:4700::1111/48", "prefix", "2606:4700:4700::/48"},
		{"::ffff:1.1.1.77/120", "prefix", "1.1.1.0/24"},
		{"1.1.1.1/33", "", "not_a_prefix"},
		{"1.1.1.1/", "", "not_a_prefix"},
		{"0.0.0.0/0", "", "too_wide"},
		{"1.0.0.0/7", "", "too_wide"},
		{"2000::/3", "", "too_wide"},
		{"192.0.0.0/16", "", "not_public"}, // 192.0.2.0/24 is in it
		{"10.1.0.0/16", "", "not_public"},

		{"http://evil.example.net/a/B?c=D#e", "url", "http://evil.example.net/a/B?c=D"},
		{"HTTP://Evil.Example.NET", "url", "http://evil.example.net/"},
		{"hxxps://evil[.]example[.]net:443/x", "url", "https://evil.example.net/x"},
		{"http://evil.example.net:80?x", "url", "http://evil.example.net/?x"},
		{"http://evil.example.net:8080/", "url", "http://evil.example.net:8080/"},
		{"http://user:secret@evil.example.net/", "url", "http://evil.example.net/"},
		{"http://1.1.1.1:08080/bin.sh", "url", "http://1.1.1.1:8080/bin.sh"},
		{"http://[2606:4700:4700:0::1111]/x", "url", "http://[2606:4700:4700::1111]/x"},
		{"http://日本語.example.jp/あ", "url", "http://xn--wgv71a119e.example.jp/あ"},
		{"ftp://evil.example.net/x", "url", "ftp://evil.example.net/x"},
		{"http://192.168.0.1/x", "", "not_public"},
		{"http://evil.onion/", "", "special_use"},
		{"http:///x", "", "no_host"},
		{"http://evil.example.net:x/", "", "port"},
		{"gopher://evil.example.net/", "", "scheme"},
		{"javascript://evil.example.net/", "", "scheme"},
		{"http://[::1", "", "url"},
		{"http://" + strings.Repeat("a", 5000), "", "too_long"},
		{"/bins/arm7", "", "no_host"},
		{"evil.example.net/bins/arm7", "", "no_scheme"},
	}
	for _, tt := range tests {
		list, st := all(t, "# a list\n"+tt.in+"\n", indicator.Options{Format: indicator.Plain, Name: "list"})
		got, kind := "", ""
		switch {
		case len(list) == 1:
			got, kind = list[0].Value, string(list[0].Kind)
			if list[0].Line != 2 || list[0].Where != "list:2" {
				t.Errorf("%s stands in %s, line %d", tt.in, list[0].Where, list[0].Line)
			}
		case len(st.Named) == 1 && st.Named[0].Line == 2:
			got = st.Named[0].Why.String()
		}
		if got != tt.want || kind != tt.kind {
			t.Errorf("%.80q: %s %q, want %s %q", tt.in, kind, got, tt.kind, tt.want)
		}
		if len(list) == 1 { // what is normal stays so
			again, _ := all(t, got+"\n", indicator.Options{Format: indicator.Plain})
			if len(again) != 1 || again[0].Value != got {
				t.Errorf("%q becomes %+v", got, again)
			}
		}
	}
}

func TestPublic(t *testing.T) {
	o := indicator.Options{Format: indicator.Plain, Public: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	list, st := all(t, "192.0.2.7\n192.0.2.7:80\nhttp://192.0.2.7/\n192.0.2.0/25\n192.0.0.0/16\n198.51.100.7\n", o)
	if len(list) != 4 || reasonsOf(&st)["not_public"] != 2 {
		t.Errorf("%+v", list)
	}
}

const c2, distribution = observe.RoleC2, observe.RoleDistribution

// The documented forms of the tables and documents that the corpus has no sample of.
func TestForms(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	feodo := observe.Indicator{Kind: "endpoint", Value: "1.1.1.1:443", Role: c2, Family: "dridex", First: at("2021-01-17 07:30:05"), Last: at("2021-01-18 00:00:00"), Online: new(true)}
	threatfox := observe.Indicator{Kind: "endpoint", Value: "1.1.1.1:8080", Role: c2, Family: "cobalt strike", First: at("2026-01-02 03:04:05"), Last: at("2026-01-03 03:04:05"), Confidence: 0.75, Evidence: "https://example.net/a,b"}
	tests := []struct {
		name, text string
		format     indicator.Format
		want       []observe.Indicator
		why        counts
	}{
		{
			"hosts", "# hosts\n127.0.0.1\tlocalhost\n0.0.0.0 Evil.example.net other.example.net # x\n::1 ip6-localhost\n1.1.1.1 redirected.example.net\n", indicator.Hosts, []observe.Indicator{
				{Kind: "host", Value: "evil.example.net", Role: "other", Line: 3}, {Kind: "host", Value: "other.example.net", Role: "other", Line: 3},
			}, counts{"not_a_name": 1},
		},
		{
			"urlhaus.csv", "# abuse.ch URLhaus\n#\n# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n" +
				`"27","2026-11-01 00:00:06","http://1.1.1.1:4/bin.sh","offline","2026-11-02 03:00:00","malware_download","32-bit,elf,Mozi","https://urlhaus.abuse.ch/url/27/","x"` + "\n" +
				`"28","2026-11-01 00:00:06","http://evil.example.net/a","online","None","malware_download","","https://urlhaus.abuse.ch/url/28/","x"` + "\n" +
				`"29","yesterday","http://evil.example.net/b","online",,"malware_download","None","",""` + "\n" +
				`"30","2027-11-01 00:00:06","http://evil.example.net/c","online",,"malware_download","None","",""` + "\n", indicator.URLhaus, []observe.Indicator{
				{Kind: "url", Value: "http://1.1.1.1:4/bin.sh", Role: distribution, Family: "mozi", First: at("2026-11-01 00:00:06"), Last: at("2026-11-02 03:00:00"), Online: new(false), Evidence: "https://urlhaus.abuse.ch/url/27/", Line: 4},
				{Kind: "url", Value: "http://evil.example.net/a", Role: distribution, First: at("2026-11-01 00:00:06"), Online: new(true), Evidence: "https://urlhaus.abuse.ch/url/28/", Line: 5},
			}, counts{"not_a_time": 1, "in_the_future": 1},
		},
		{
			"feodo.csv", "# Feodo Tracker\n#\n" + `"first_seen_utc","dst_ip","dst_port","c2_status","last_online","malware"` + "\n" +
				`"2021-01-17 07:30:05","1.1.1.1","443","online","2021-01-18","Dridex"` + "\n# END 1 entries\n", indicator.Feodo, []observe.Indicator{line(feodo, 4)}, nil,
		},
		{
			"feodo.json", "[\n  {\"ip_address\": \"1.1.1.1\", \"port\": 443, \"status\": \"online\", \"hostname\": null, \"as_number\": 13335, \"first_seen\": \"2021-01-17 07:30:05\", \"last_online\": \"2021-01-18\", \"malware\": \"Dridex\"},\n  {\"ip_address\": \"10.0.0.1\", \"port\": 443, \"status\": \"online\", \"first_seen\": \"2021-01-17 07:30:05\", \"last_online\": null, \"malware\": \"Dridex\"},\n  7\n]\n",
			indicator.Feodo,
			[]observe.Indicator{line(feodo, 2)},
			counts{"not_public": 1, "json": 1},
		},
		{
			"threatfox.csv", "# ThreatFox\n# \"first_seen_utc\",\"ioc_id\",\"ioc_value\",\"ioc_type\",\"threat_type\",\"fk_malware\",\"malware_alias\",\"malware_printable\",\"last_seen_utc\",\"confidence_level\",\"is_compromised\",\"reference\",\"tags\",\"anonymous\",\"reporter\"\n" +
				`"2026-01-02 03:04:05", "1", "1.1.1.1:8080", "ip:port", "botnet_cc", "win.cobalt_strike", "Agentemis,BEACON", "Cobalt Strike", "2026-01-03 03:04:05", "75", "False", "https://example.net/a,b", "x,y", "0", "z"` + "\n" +
				`"2026-01-02 03:04:05", "2", "0749bae92ca336a02c83d126e04ec628", "md5_hash", "payload", "win.x", "None", "X", "", "50", "False", "None", "", "0", "z"` + "\n" +
				`"2026-01-02 03:04:05", "3", "evil.example.net", "domain", "payload_delivery", "win.x", "None", "unknown", "", "101", "False", "None", "", "0", "z"` + "\n",
			indicator.ThreatFox,
			[]observe.Indicator{line(threatfox, 3)},
			counts{"not_network": 1, "confidence": 1},
		},
		{
			"threatfox.json", "{\n  \"1672089\": [\n    {\"ioc_value\": \"1.1.1.1:8080\", \"ioc_type\": \"ip:port\", \"threat_type\": \"botnet_cc\", \"malware\": \"win.cobalt_strike\", \"malware_printable\": \"Cobalt Strike\", \"first_seen_utc\": \"2026-01-02 03:04:05\", \"last_seen_utc\": \"2026-01-03 03:04:05\", \"confidence_level\": 75, \"reference\": \"https://example.net/a,b\", \"tags\": \"x\"}\n  ],\n  \"1672088\": [\n    {\"ioc_value\": \"x\", \"ioc_type\": \"sha256_hash\", \"threat_type\": \"payload\"}]\n}",
			indicator.ThreatFox,
			[]observe.Indicator{line(threatfox, 3)},
			counts{"not_network": 1},
		},
		{
			"threatfox api", `{"query_status": "ok", "data": [{"id": "9", "ioc": "evil.example.net", "threat_type": "botnet_cc", "ioc_type": "domain", "malware_printable": "Unknown malware", "confidence_level": 100, "first_seen": "2026-01-02 03:04:05 UTC", "last_seen": null, "reference": null, "tags": ["Sinkhole", "x"]}]}`, indicator.ThreatFox,
			[]observe.Indicator{{Kind: "name", Value: "evil.example.net", Role: c2, First: at("2026-01-02 03:04:05"), Confidence: 1, Evidence: "threatfox 9", Sinkholed: true, Line: 1}},
			nil,
		},
		{
			"maltrail/elf_x.txt", "# Copyright (c) Maltrail developers\n# Reference: https://a.example\nevil.example.net/x.php\n1.1.1.1/x\n1.1.1.0/24\nevil.example.net:81\n/arm7\n", indicator.Maltrail, []observe.Indicator{
				{Kind: "url", Value: "http://evil.example.net/x.php", Role: "other", Family: "x", Evidence: "https://a.example", Line: 3},
				{Kind: "url", Value: "http://1.1.1.1/x", Role: "other", Family: "x", Evidence: "https://a.example", Line: 4},
				{Kind: "prefix", Value: "1.1.1.0/24", Role: "other", Family: "x", Evidence: "https://a.example", Line: 5},
				{Kind: "host", Value: "evil.example.net", Role: "other", Family: "x", Evidence: "https://a.example", Line: 6},
			}, counts{"no_host": 1},
		},
		{
			"misp", `{"response": [{"Event": {"uuid": "e", "info": "x", "Tag": [{"name": "misp-galaxy:botnet=\"Mirai\""}], "Attribute": [
{"uuid": "a", "type": "ip-dst|port", "category": "Network activity", "to_ids": true, "value": "1.1.1.1|443", "first_seen": "2026-01-02T03:04:05+00:00", "Sighting": [{"type": "0", "date_sighting": "1767412645"}], "Tag": [{"name": "misp:confidence-level=\"fairly-confident\""}, {"name": "kill-chain:Command and Control"}]},
{"uuid": "b", "type": "domain", "category": "Payload delivery", "to_ids": "1", "value": "evil.example.net", "timestamp": 1767323045, "decay_score": [{"score": 40, "decayed": false}]},
{"type": "domain", "to_ids": true, "value": "wrong.example.net", "Sighting": [{"type": "1"}]},
{"type": "domain", "to_ids": true, "value": "old.example.net", "decay_score": [{"score": 0, "decayed": true}]},
{"type": "domain", "to_ids": true, "deleted": true, "value": "gone.example.net"},
{"type": ["domain"], "to_ids": true, "value": "odd.example.net"}, 7]}}]}`, indicator.MISP, []observe.Indicator{
				{Kind: "endpoint", Value: "1.1.1.1:443", Role: c2, Family: "mirai", Confidence: 0.5, First: at("2026-01-02 03:04:05"), Last: at("2026-01-03 03:57:25"), Evidence: "MISP event e attribute a", Line: 2},
				{Kind: "name", Value: "evil.example.net", Role: distribution, Family: "mirai", Confidence: 0.4, First: at("2026-01-02 03:04:05"), Evidence: "MISP event e attribute b", Line: 3},
			}, counts{"false_positive": 1, "decayed": 1, "deleted": 1, "not_network": 1, "json": 1},
		},
		{
			"stix", `{"more": false, "objects": [
{"type": "relationship", "relationship_type": "indicates", "source_ref": "indicator--1", "target_ref": "malware--1"},
{"type": "relationship", "relationship_type": "indicates", "source_ref": "indicator--1", "target_ref": "infrastructure--1"},
{"type": "infrastructure", "id": "infrastructure--1", "infrastructure_types": ["command-and-control"]},
{"type": "indicator", "id": "indicator--1", "modified": "2026-01-01T00:00:00Z", "pattern": "[domain-name:value = 'old.example.net']", "pattern_type": "stix", "valid_from": "2026-01-02T03:04:05Z"},
{"type": "indicator", "id": "indicator--1", "modified": "2026-01-02T00:00:00Z", "confidence": 80, "valid_until": "2027-01-01T00:00:00Z", "object_marking_refs": ["marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"], "pattern": "[domain-name:value = 'evil.example.net' OR ipv4-addr:value = '1.1.1.1']", "pattern_type": "stix", "valid_from": "2026-01-02T03:04:05Z"},
{"type": "indicator", "id": "indicator--2", "modified": "2026-01-02T03:04:05Z", "revoked": true, "pattern": "[ipv4-addr:value = '1.0.0.1']", "pattern_type": "stix", "valid_from": "2026-01-01T03:04:05Z"},
{"type": "indicator", "id": "indicator--3", "indicator_types": ["benign"], "pattern": "[ipv4-addr:value = '1.0.0.1']", "pattern_type": "stix", "valid_from": "2026-01-01T03:04:05Z"},
{"type": "indicator", "id": "indicator--4", "pattern": "alert tcp any any", "pattern_type": "snort", "valid_from": "2026-01-01T03:04:05Z"},
{"type": "indicator", "id": ["x"], "pattern": 7},
{"type": "malware", "id": "malware--1", "name": "Bashlite"}]}`, indicator.STIX, []observe.Indicator{
				{Kind: "name", Value: "evil.example.net", Role: c2, Family: "gafgyt", Confidence: 0.8, First: at("2026-01-02 03:04:05"), Until: at("2027-01-01 00:00:00"), Evidence: "indicator--1 (TLP:GREEN)", Line: 6},
				{Kind: "address", Value: "1.1.1.1", Role: c2, Family: "gafgyt", Confidence: 0.8, First: at("2026-01-02 03:04:05"), Until: at("2027-01-01 00:00:00"), Evidence: "indicator--1 (TLP:GREEN)", Line: 6},
				{Kind: "address", Value: "1.0.0.1", Role: "other", First: at("2026-01-01 03:04:05"), Until: at("2026-01-02 03:04:05"), Evidence: "indicator--2", Line: 7},
			}, counts{"superseded": 1, "benign": 1, "pattern_not_supported": 1, "pattern": 1},
		},
	}
	for _, tt := range tests {
		list, st := all(t, tt.text, indicator.Options{Name: tt.name})
		for i := range list {
			list[i].Source, list[i].Where = "", ""
		}
		if st.Format != tt.format {
			t.Errorf("%s is read as %s", tt.name, st.Format)
		}
		if d := cmp.Diff(tt.want, list); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
		if len(tt.why)+int(st.Rejected) > 0 {
			if d := cmp.Diff(tt.why, reasonsOf(&st)); d != "" {
				t.Errorf("%s: %s", tt.name, d)
			}
		}
	}
}

func line(in observe.Indicator, n int) observe.Indicator {
	in.Line = n
	return in
}

// What a pattern names alone, and what it names only together with something else.
func TestPattern(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"[domain-name:value = 'a.example.net']", "name a.example.net"},
		{"[domain-name:value='a.example.net']", "name a.example.net"},
		{"[domain-name:value IN ('a.example.net', 'b.example.net')]", "name a.example.net, name b.example.net"},
		{"[domain-name:value = 'a.example.net'] OR [url:value = 'http://b.example.net/']", "name a.example.net, url http://b.example.net/"},
		{"([ipv4-addr:value = '1.1.1.1'] OR [ipv6-addr:value = '2606:4700:4700::1111'])", "address 1.1.1.1, address 2606:4700:4700::1111"},
		{"[ipv4-addr:value = '1.1.1.0/24']", "prefix 1.1.1.0/24"},
		{"[ipv4-addr:value ISSUBSET '1.1.1.0/24']", "prefix 1.1.1.0/24"},
		{"[ipv4-addr:value = '1.1.1.1' AND network-traffic:dst_port = 443]", "endpoint 1.1.1.1:443"},
		{"[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '1.1.1.1' AND network-traffic:dst_port = '443' AND network-traffic:protocols[*] = 'tcp']", "endpoint 1.1.1.1:443"},
		{"[network-traffic:dst_ref.value = 'a.example.net' AND network-traffic:dst_port = 443]", "host a.example.net"},
		{"[domain-name:value = 'a.example.net' AND domain-name:resolves_to_refs[*].value = '1.1.1.1']", "name a.example.net"},
		{"[(ipv4-addr:value = '1.1.1.1' OR ipv4-addr:value = '1.0.0.1') AND (network-traffic:dst_port = 80 OR network-traffic:dst_port = 443)]", "endpoint 1.1.1.1:80, endpoint 1.1.1.1:443, endpoint 1.0.0.1:80, endpoint 1.0.0.1:443"},
		{"[ipv4-addr:value = '1.1.1.1' AND file:name = 'x' OR url:value = 'http://b.example.net/']", "combined, url http://b.example.net/"},
		{"[ipv4-addr:value = '1.1.1.1' AND domain-name:value = 'a.example.net']", "combined"},
		{"[ipv4-addr:value = '1.1.1.0/24' AND network-traffic:dst_port = 443]", "combined"},
		{"[network-traffic:dst_port = 443]", "not_network"},
		{"[file:hashes.'SHA-256' = 'ef53']", "not_network"},
		{"[x509-certificate:issuer = 'CN=WEBMAIL' AND x509-certificate:serial_number = '4c:0b']", "not_network"},
		{"[domain-name:value != 'a.example.net']", "pattern_not_supported"},
		{"[domain-name:value NOT = 'a.example.net']", "pattern_not_supported"},
		{"[NOT domain-name:value = 'a.example.net']", "pattern"},
		{"[domain-name:value LIKE '%.example.net']", "pattern_not_supported"},
		{"[domain-name:value MATCHES '^a']", "pattern_not_supported"},
		{"[ipv4-addr:value = '1.1.1.1'] AND [url:value = 'http://b.example.net/']", "pattern_not_supported"},
		{"[ipv4-addr:value = '1.1.1.1'] FOLLOWEDBY [url:value = 'http://b.example.net/'] WITHIN 5 SECONDS", "pattern_not_supported"},
		{"[ipv4-addr:value = '1.1.1.1'] REPEATS 5 TIMES", "pattern_not_supported"},
		{"[ipv4-addr:value = '1.1.1.1'] START t'2026-01-01T00:00:00Z' STOP t'2026-01-02T00:00:00Z'", "pattern_not_supported"},
		{`[url:value = 'http://b.example.net/it\'s']`, "url http://b.example.net/it's"},
		{"[domain-name:value = '']", "no_value"},
		{"[domain-name:value = 'a.example.net'", "pattern"},
		{"[domain-name:value = 'a.example.net']]", "pattern"},
		{"[domain-name:value 'a.example.net']", "pattern"},
		{"domain-name:value = 'a.example.net'", "pattern"},
		{"[domain-name:value = 'a.example.net' OR]", "pattern"},
		{strings.Repeat("(", 100) + "[domain-name:value = 'a.example.net']" + strings.Repeat(")", 100), "pattern"},
		{"[" + strings.Repeat("(url:value='http://b.example.net/' OR url:value='x') AND ", 20) + "url:value='y']", "pattern"},
		{"[]", "pattern"},
		{"", "pattern"},
	}
	for _, tt := range tests {
		if s := strings.Join(indicator.Pattern(tt.pattern), ", "); s != tt.want {
			t.Errorf("%.100s:\n got %s\nwant %s", tt.pattern, s, tt.want)
		}
	}
}

// TestKindColumn: each row says what its value is; a word that isn't a kind takes nothing in.
func TestKindColumn(t *testing.T) {
	t.Parallel()
	o := indicator.Options{Source: "s", Format: indicator.CSV, Mapping: &indicator.Mapping{Value: "value", KindIn: "kind"}}
	var got []string
	st, err := indicator.Read(strings.NewReader("kind,value\nhost,a.example.net\nName,b.example.net\nthing,c.example.net\n,d.example.net\n"), o, func(i *observe.Indicator) error {
		got = append(got, string(i.Kind)+" "+i.Value)
		return nil
	})
	if err != nil || strings.Join(got, ", ") != "host a.example.net, name b.example.net" || st.Rejected != 2 || st.Named[0].Line != 4 {
		t.Errorf("%v, %+v, %v", got, st.Named, err)
	}
	o.Mapping.Kind = observe.IndicatorName
	if _, err := indicator.Read(strings.NewReader(""), o, nil); err == nil {
		t.Error("a kind of all, and one of each")
	}
}
