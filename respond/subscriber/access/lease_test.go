package access_test

import (
	"io"
	"strings"
	"testing"

	"sakimori/base/clock"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// The leases of these tests are looked at on the day of arrival.
func asKea(o access.LeaseOptions) func(io.Reader, access.Emit) (subscriber.Stats, error) {
	o.Clock = clock.Fixed(arrival)
	return func(r io.Reader, e access.Emit) (subscriber.Stats, error) { return access.ReadKea(r, o, e) }
}

func asISC(o access.LeaseOptions) func(io.Reader, access.Emit) (subscriber.Stats, error) {
	o.Clock = clock.Fixed(arrival)
	return func(r io.Reader, e access.Emit) (subscriber.Stats, error) { return access.ReadISC(r, o, e) }
}

const (
	four = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n"
	six  = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source\n"
)

// 1775044800 is noon of the day of arrival.
func TestKea(t *testing.T) {
	agent := `{ "ISC": { "relay-agent-info": { "remote-id": "722D39"&#x2c "sub-options": "0x01046F6C743102027239" } } }`
	for _, tt := range []struct {
		name, text string
		o          access.LeaseOptions
		want       string
	}{
		{"by client identifier", four + "203.0.113.7,00:1a:2b:3c:4d:5e,01:00:1a:2b:3c:4d:5e,3600,1775048400,1,0,0,,0,\n", access.LeaseOptions{Source: "k1"}, "Begin, 203.0.113.7/32, line 01:00:1a:2b:3c:4d:5e, source k1, at 12:00:00, until 13:00:00"},
		{"by hardware address", four + "203.0.113.7,00:1A:2B:3C:4D:5E,01:02,3600,1775048400,1,0,0,,0,\n", access.LeaseOptions{MAC: true}, "Begin, 203.0.113.7/32, line 00:1a:2b:3c:4d:5e, at 12:00:00, until 13:00:00"},
		{"without an identifier", four + "203.0.113.7,00:1a:2b:3c:4d:5e,,3600,1775048400,1,0,0,,0,\n", access.LeaseOptions{}, "Begin, 203.0.113.7/32, line 00:1a:2b:3c:4d:5e, at 12:00:00, until 13:00:00"},
		{"by circuit", four + "203.0.113.7,00:01,01:02,3600,1775048400,1,0,0,,0," + agent + "\n", access.LeaseOptions{MAC: true}, "Begin, 203.0.113.7/32, line olt1|r9, at 12:00:00, until 13:00:00"},
		{"by circuit, as Kea 2.2 wrote it", four + `203.0.113.7,00:01,01:02,3600,1775048400,1,0,0,,0,{ "ISC": { "relay-agent-info": "0x01046F6C7431" } }` + "\n", access.LeaseOptions{}, "Begin, 203.0.113.7/32, line olt1, at 12:00:00, until 13:00:00"},
		{"a context of the operator's own", four + `203.0.113.7,00:01,01:02,3600,1775048400,1,0,0,,0,{ "comment": "x&#x2cy" }` + "\n", access.LeaseOptions{}, "Begin, 203.0.113.7/32, line 01:02, at 12:00:00, until 13:00:00"},
		{"reclaimed", four + "203.0.113.7,00:01,01:02,3600,1775044800,1,0,0,,2,\n", access.LeaseOptions{}, "End, 203.0.113.7/32, line 01:02, at 12:00:00"},
		{"given back", four + "203.0.113.7,00:01,01:02,0,1775044800,1,0,0,,0,\n", access.LeaseOptions{}, "End, 203.0.113.7/32, line 01:02, at 12:00:00"},
		{"declined", four + "203.0.113.7,,,3600,1775048400,1,0,0,,1,\n", access.LeaseOptions{}, "End, 203.0.113.7/32, at 12:00:00"},
		{"for ever", four + "203.0.113.7,00:01,01:02,4294967295,6070012095,1,0,0,,0,\n", access.LeaseOptions{}, "Begin, 203.0.113.7/32, line 01:02, at 12:00:00"},
		{"IPv6, one address", six + "2001:db8::7,00:03:00:01:aa,3600,1775048400,1,1800,0,9,128,0,0,,,0,,,\n", access.LeaseOptions{}, "Begin, 2001:db8::7/128, line 00:03:00:01:aa, at 12:00:00, until 13:00:00"},
		{"IPv6, a prefix", six + "2001:db8:7::,00:03:00:01:aa,3600,1775048400,1,1800,2,9,56,0,0,,,0,,,\n", access.LeaseOptions{}, "Begin, 2001:db8:7::/56, line 00:03:00:01:aa, at 12:00:00, until 13:00:00"},
		{"IPv6, by the relay next to the client", six + `2001:db8:7::,00:03,3600,1775048400,1,1800,2,9,56,0,0,,,0,{ "ISC": { "relay-info": [ { "hop": 1&#x2c "options": "0x0012000166" }&#x2c { "hop": 0&#x2c "options": "0x001200046574683000250006000000097239" } ] } },,` + "\n", access.LeaseOptions{}, "Begin, 2001:db8:7::/56, line eth0|r9, at 12:00:00, until 13:00:00"},
		{"other columns, another order", "expire,x,valid_lifetime,address,y\n1775048400,1,3600,203.0.113.7,2\n", access.LeaseOptions{}, "Begin, 203.0.113.7/32, at 12:00:00, until 13:00:00"},
		{"two files in one, and an empty line", four + "\n" + six + "2001:db8::7,00:03,3600,1775048400,1,1800,0,0,128,0,0,,,0,,,\n", access.LeaseOptions{}, "Begin, 2001:db8::7/128, line 00:03, at 12:00:00, until 13:00:00"},
		{"no address", four + "x,,,3600,1775048400,1,0,0,,0,\n", access.LeaseOptions{}, "line 2: no address, or one that can't be read"},
		{"a prefix of everything", six + "::,00:03,3600,1775048400,1,1800,2,9,0,0,0,,,0,,,\n", access.LeaseOptions{}, "line 2: no address, or one that can't be read"},
		{"a prefix without a length", six + "2001:db8:7::,00:03,3600,1775048400,1,1800,2,9,129,0,0,,,0,,,\n", access.LeaseOptions{}, "line 2: a delegated prefix without a length"},
		{"fields are missing", four + "203.0.113.7,00:01\n", access.LeaseOptions{}, "line 2: fewer fields than the first line names"},
		{"fields too many", four + "203.0.113.7,,,3600,1775048400,1,0,0,,0,,x\n", access.LeaseOptions{}, "line 2: more fields than the first line names"},
		{"no time", four + "203.0.113.7,,,3600,x,1,0,0,,0,\n", access.LeaseOptions{}, "line 2: no time, or one that can't be read"},
		{"1970", four + "203.0.113.7,,,3600,3600,1,0,0,,0,\n", access.LeaseOptions{}, "line 2: its time lies before 2000"},
		{"the day after tomorrow", four + "203.0.113.7,,,0,1775217600,1,0,0,,2,\n", access.LeaseOptions{}, "line 2: its time lies more than a day ahead"},
		{"an unknown state", four + "203.0.113.7,,,3600,1775048400,1,0,0,,9,\n", access.LeaseOptions{}, "line 2: an unknown state"},
		{"an unknown type", six + "2001:db8::7,00:03,3600,1775048400,1,1800,7,9,128,0,0,,,0,,,\n", access.LeaseOptions{}, "line 2: an unknown type of lease"},
		{"an identifier that is none", four + "203.0.113.7,fred,,3600,1775048400,1,0,0,,0,\n", access.LeaseOptions{}, "line 2: an identifier can't be read"},
		{"an identifier of 300 bytes", four + "203.0.113.7," + strings.Repeat("00:", 299) + "00,,3600,1775048400,1,0,0,,0,\n", access.LeaseOptions{}, "line 2: an identifier can't be read"},
		{"a broken context", four + `203.0.113.7,,,3600,1775048400,1,0,0,,0,{ "ISC": ` + "\n", access.LeaseOptions{}, "line 2: its user_context can't be read"},
		{"half an option", four + `203.0.113.7,,,3600,1775048400,1,0,0,,0,{ "ISC": { "relay-agent-info": "0x01046F" } }` + "\n", access.LeaseOptions{}, "line 2: its user_context can't be read"},
		{"a long line, and the next", four + strings.Repeat("x", 1e6) + "\n203.0.113.7,,,3600,1775048400,1,0,0,,0,\n", access.LeaseOptions{}, "Begin, 203.0.113.7/32, at 12:00:00, until 13:00:00; line 2: a line is too long"},
	} {
		got, _, err := read(tt.text, asKea(tt.o))
		if got != tt.want || err != nil {
			t.Errorf("%s: %v\n%s, want\n%s", tt.name, err, got, tt.want)
		}
	}
	for _, text := range []string{"hello\n", "address,expire\n", strings.Repeat(",", 100) + "\n"} {
		if _, _, err := read(text, asKea(access.LeaseOptions{})); err == nil || !strings.Contains(err.Error(), "line 1: not a lease file of Kea") {
			t.Errorf("%q: %v", text[:min(len(text), 20)], err)
		}
	}
}

func TestISC(t *testing.T) {
	const noon = "3 2026/04/01 12:00:00;\n"
	lease := func(body string) string { return "lease 203.0.113.7 {\n" + body + "}\n" }
	good := lease("  starts " + noon + "  ends 3 2026/04/01 13:00:00;\n  binding state active;\n  uid 1:2;\n")
	const fine = "Begin, 203.0.113.7/32, line 01:02, at 12:00:00, until 13:00:00"
	for _, tt := range []struct {
		name, text string
		o          access.LeaseOptions
		want       string
	}{
		{"active", good, access.LeaseOptions{Source: "d"}, "Begin, 203.0.113.7/32, line 01:02, source d, at 12:00:00, until 13:00:00"},
		{"on one line", strings.ReplaceAll(good, "\n", " "), access.LeaseOptions{}, fine},
		{"renewed later", lease("starts " + noon + "cltt 3 2026/04/01 12:30:00; ends 3 2026/04/01 13:30:00; binding state active; hardware ethernet 0:1a:2b:3c:4d:5e;"), access.LeaseOptions{}, "Begin, 203.0.113.7/32, line 00:1a:2b:3c:4d:5e, at 12:30:00, until 13:30:00"},
		{"by hardware address", lease("starts " + noon + "uid 1:2; hardware ethernet 0:1a:2b:3c:4d:5e;"), access.LeaseOptions{MAC: true}, "Begin, 203.0.113.7/32, line 00:1a:2b:3c:4d:5e, at 12:00:00"},
		{"by circuit", lease("starts " + noon + `uid "\001\"a"; option agent.circuit-id "olt1/7"; option agent.remote-id 0:4:ff;`), access.LeaseOptions{MAC: true}, "Begin, 203.0.113.7/32, line olt1/7|0x0004ff, at 12:00:00"},
		{"Unix time and no end", lease("starts epoch 1775044800; # Wed Apr 1\n ends never;"), access.LeaseOptions{}, "Begin, 203.0.113.7/32, at 12:00:00"},
		{"released", lease("starts 3 2026/04/01 11:00:00; ends " + noon + "binding state free; next binding state free; uid 1:2;"), access.LeaseOptions{}, "End, 203.0.113.7/32, line 01:02, at 12:00:00"},
		{"abandoned, as dhcpd 2 wrote it", lease("starts " + noon + "abandoned;"), access.LeaseOptions{}, "End, 203.0.113.7/32, at 12:00:00"},
		{"never given", lease("binding state backup;"), access.LeaseOptions{}, ""},
		{"what nobody asks for", "# comment { ; }\nfailover peer \"x\" state { my state normal at 1 2026/04/01 10:00:00; }\nhost h { dynamic; }\n" +
			lease("starts "+noon+`set vendor = "a;b{}"; on expiry or release { execute ("x", "lease 1 {"); } uid 1:2; ends 3 2026/04/01 13:00:00;`), access.LeaseOptions{}, fine},
		{"IPv6", "authoring-byte-order little-endian;\nia-na \"\\011\\000\\000\\000\\000\\003ab\" {\n  cltt " + noon + "  iaaddr 2001:db8::7 {\n    binding state active;\n    preferred-life 375;\n    ends 3 2026/04/01 13:00:00;\n  }\n}\n", access.LeaseOptions{}, "Begin, 2001:db8::7/128, line 00:03:61:62, at 12:00:00, until 13:00:00"},
		{"IPv6, two prefixes, of a big-endian machine", "authoring-byte-order big-endian;\nia-pd \"\\000\\000\\000\\011ab\" { cltt " + noon + "iaprefix 2001:db8:7::/56 { binding state active; ends never; } iaprefix 2001:db8:8::/56 { binding state released; ends " + noon + "} }", access.LeaseOptions{}, "Begin, 2001:db8:7::/56, line 61:62, at 12:00:00; End, 2001:db8:8::/56, line 61:62, at 12:00:00"},
		{"a lease after an association", "ia-pd \"\\000\\000\\000\\000ab\" { cltt " + noon + "iaprefix 2001:db8:7::/56 { binding state active; } }" + good, access.LeaseOptions{}, "Begin, 2001:db8:7::/56, line 61:62, at 12:00:00; " + fine},
		{"not closed, and the next", "lease 203.0.113.9 {\n starts " + noon + good, access.LeaseOptions{}, fine + "; line 1: a block isn't closed"},
		{"an association not closed, and the next", "\nia-na \"\\011\\000\\000\\000ab\" { cltt " + noon + good, access.LeaseOptions{}, fine + "; line 2: a block isn't closed"},
		{"the file ends in a lease", good + "lease 203.0.113.9 {\n starts", access.LeaseOptions{}, fine + "; line 7: a block isn't closed"},
		{"the file ends in a statement", good + "lease", access.LeaseOptions{}, fine + "; line 7: the file ends in a statement"},
		{"a brace too many", "}\n" + good, access.LeaseOptions{}, fine + "; line 1: a brace too many"},
		{"no address", "lease fred { starts " + noon + "}" + good, access.LeaseOptions{}, fine + "; line 1: no address, or one that can't be read"},
		{"no name of a lease", "lease { starts " + noon + "}" + good, access.LeaseOptions{}, fine + "; line 1: no address, or one that can't be read"},
		{"no time", lease("binding state active;") + good, access.LeaseOptions{}, fine + "; line 1: no time, or one that can't be read"},
		{"a time that is none", lease("starts 3 2026/04/01 25:00:00;") + good, access.LeaseOptions{}, fine + "; line 1: a statement can't be read: starts"},
		{"1970", lease("starts epoch 1;") + good, access.LeaseOptions{}, fine + "; line 1: its time lies before 2000"},
		{"an unknown state", lease("starts "+noon+"binding state x;") + good, access.LeaseOptions{}, fine + "; line 1: an unknown state"},
		{"an identifier that is none", lease("starts "+noon+"uid fred;") + good, access.LeaseOptions{}, fine + "; line 1: a statement can't be read: uid"},
		{"a string that doesn't end", lease("starts "+noon+"uid \"fred;\n; starts "+noon) + good, access.LeaseOptions{}, fine + "; line 1: a statement can't be read: uid"},
		{"an association of three bytes", "ia-na \"abc\" { iaaddr 2001:db8::7 { } }" + good, access.LeaseOptions{}, fine + "; line 1: an identifier can't be read"},
		{"a million bytes", lease("starts "+noon+"set x = \""+strings.Repeat("x", 1e6)+"\"; uid 1:2; ends 3 2026/04/01 13:00:00;") + good, access.LeaseOptions{}, fine + "; " + fine},
	} {
		got, s, err := read(tt.text, asISC(tt.o))
		if got != tt.want || err != nil {
			t.Errorf("%s: %v\n%s, want\n%s", tt.name, err, got, tt.want)
		}
		if tt.want == "" && s.Ignored != 1 {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}
