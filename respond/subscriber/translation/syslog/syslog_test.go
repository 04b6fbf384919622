package syslog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/clock"
	"sakimori/base/corpus"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/translation/syslog"
)

var arrival = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func parser(t testing.TB, cfg syslog.Config) *syslog.Parser {
	t.Helper()
	p, err := syslog.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// words writes records as lines that a person can compare.
func words(r *subscriber.Record) string {
	s := fmt.Sprintf("%s %s %d-%d", [...]string{"", "begin", "alive", "end", "reset"}[r.Kind], r.Address, r.Ports.First, r.Ports.Last)
	if r.Proto != 0 {
		s += fmt.Sprintf(" proto %d", r.Proto)
	}
	s += fmt.Sprintf(" inside %s at %s by %s", r.Inside, r.At.Format(time.RFC3339Nano), r.Source)
	if r.Line != "" {
		s += " line " + r.Line
	}
	if r.Session != "" {
		s += " session " + r.Session
	}
	if !r.Since.IsZero() {
		s += " since " + r.Since.Format(time.RFC3339Nano)
	}
	return s
}

func parse(p *syslog.Parser, line string) (list []string, err error) {
	err = p.Parse([]byte(line), arrival, func(r *subscriber.Record) { list = append(list, words(r)) })
	return list, err
}

func TestForms(t *testing.T) {
	const pba = `internal-ip="100.64.0.9" block-used="1" block-max-per-host="4" block-port-low="48640" block-port-high="48895" reflexive-ip="198.51.100.7" nat-pool-name="guest"`
	const flow = `source-address="100.64.0.9" source-port="46776" destination-address="203.0.113.5" destination-port="80" service-name="junos-http" nat-source-address="198.51.100.7" nat-source-port="53328" nat-destination-address="203.0.113.5" nat-destination-port="80" src-nat-rule-name="r" protocol-id="6" session-id="92317"`
	tests := []struct {
		name, line string
		want       []string
	}{
		{
			"SRX, block given, RFC 5424", `<14>1 2022-04-04T14:45:40.5Z srx1 RT_NAT - RT_SRC_NAT_PBA_ALLOC [junos@2636.1.1.1.2.129 ` + pba + ` logical-system-id="0" epoch-time-64="624b0492"]`,
			[]string{"begin 198.51.100.7/32 48640-48895 inside 100.64.0.9 at 2022-04-04T14:45:38Z by srx1"},
		},
		{
			"SRX, block goes on: the epoch is when it was given", `<14>1 2022-04-04T15:00:00Z srx1 RT_NAT - RT_SRC_NAT_PBA_INTERIM [junos@2636.1.1.1.2.129 ` + pba + ` logical-system-id="3" epoch-time-64="624b0492"]`,
			[]string{"alive 198.51.100.7/32 48640-48895 inside 100.64.0.9 at 2022-04-04T15:00:00Z by srx1 lsys 3 since 2022-04-04T14:45:38Z"},
		},
		{
			"SRX, block taken back, no header", `RT_NAT - RT_SRC_NAT_PBA_RELEASE [` + pba + ` logical-system-id="0" epoch-time-64="624b0cc7"]`,
			[]string{"end 198.51.100.7/32 48640-48895 inside 100.64.0.9 at 2022-04-04T15:20:39Z by syslog"},
		},
		{
			"SRX, unstructured", `<14>Jun 30 22:44:25 bng-01 RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber 100.64.0.9 used/maximum [10/15] blocks, allocates port block [24064-24191] from 198.51.100.7 in source pool P lsys_id: 0 epoch 0x6a44007a`,
			[]string{"begin 198.51.100.7/32 24064-24191 inside 100.64.0.9 at 2026-06-30T17:44:26Z by bng-01"},
		},
		{
			"SRX, unstructured without epoch", `<14>Jun 30 22:44:25 bng-01 RT_NAT: RT_SRC_NAT_PBA_RELEASE: Subscriber 100.64.0.9 used/maximum [5/15] blocks, releases port block [1024-1151] from 198.51.100.7 in source pool P`,
			[]string{"end 198.51.100.7/32 1024-1151 inside 100.64.0.9 at 2026-06-30T22:44:25Z by bng-01"},
		},
		{
			"SRX, session created", `<14>1 2026-11-01T00:00:00.25+09:00 srx1 RT_FLOW - RT_FLOW_SESSION_CREATE [junos@2636.1.1.1.2.129 ` + flow + `]`,
			[]string{"begin 198.51.100.7/32 53328-53328 proto 6 inside 100.64.0.9 at 2026-10-31T15:00:00.25Z by srx1 session 92317"},
		},
		{
			"MX-SPC3, session closed", `<14>1 2026-11-01T00:01:00Z mx RT_FLOW - RT_FLOW_SESSION_CLOSE_USF [junos@2636.1.1.1.2.25 reason="TCP FIN" ` + strings.Replace(flow, `session-id="92317"`, `session-id-32="17" elapsed-time="45"`, 1) + `]`,
			[]string{"end 198.51.100.7/32 53328-53328 proto 6 inside 100.64.0.9 at 2026-11-01T00:01:00Z by mx session 17 since 2026-11-01T00:00:15Z"},
		},
		{
			"SRX, session without translation", `<14>1 2026-11-01T00:00:00Z srx1 RT_FLOW - RT_FLOW_SESSION_CREATE [junos@2636.1.1.1.2.129 ` + strings.Replace(flow, "198.51.100.7", "100.64.0.9", 1) + `]`, nil,
		},
		{"SRX, session denied", `<14>1 2026-11-01T00:00:00Z srx1 RT_FLOW - RT_FLOW_SESSION_DENY [source-address="100.64.0.9"]`, nil},
		{
			"SRX, unstructured session of old", `<23>Nov 18 09:56:58  gw RT_FLOW: RT_FLOW_SESSION_CREATE: session created 100.64.0.9/58662->203.0.113.8/53 junos-dns-udp 198.51.100.7/55893->203.0.113.8/53 INET None 17 OUT TRUST NET 6316 N/A(N/A) vlan.192`,
			[]string{"begin 198.51.100.7/32 55893-55893 proto 17 inside 100.64.0.9 at 2026-11-18T09:56:58Z by gw session 6316"},
		},
		{
			"SRX, unstructured close with tags and types", `<14>Nov 18 09:56:58 gw RT_FLOW: RT_FLOW_SESSION_CLOSE: session closed TCP CLIENT RST: 100.64.0.9/49706->203.0.113.8/443 0x0 junos-https 198.51.100.7/47698->203.0.113.8/443 0x0 source rule 3 N/A N/A 6 p in out 1357210 10(2358) 7(5379) 58 UNKNOWN`,
			[]string{"end 198.51.100.7/32 47698-47698 proto 6 inside 100.64.0.9 at 2026-11-18T09:56:58Z by gw session 1357210 since 2026-11-18T09:56:00Z"},
		},
		{
			"MS-DPC of a DS-Lite home; the card's date is UTC", `Oct 30 21:46:04  mx (FPC Slot 2, PIC Slot 0) 2011-10-31 04:46:04 [FWNAT]:ASP_NAT_PORT_BLOCK_ALLOC: 2001:db8:0:0:0:0:0:1 -> 198.51.100.3:1050-1099`,
			[]string{"begin 198.51.100.3/32 1050-1099 inside 2001:db8::1 at 2011-10-31T04:46:04Z by mx"},
		},
		{
			"MS-DPC, goes on", `Oct 30 21:46:04  mx (FPC Slot 2, PIC Slot 0) 2012-09-27 07:00:00 [FWNAT]:ASP_NAT_PORT_BLOCK_ACTIVE: 100.64.0.9 -> 198.51.100.3:1090-1094 0x5063f6a4`,
			[]string{"alive 198.51.100.3/32 1090-1094 inside 100.64.0.9 at 2012-09-27T07:00:00Z by mx since 2012-09-27T06:48:04Z"},
		},
		{
			"MS-MPC, with the space in its time", `May 31 19:30:45 mx 2026-05-31 10: 30:45: cgn{SSET}[jservices-nat]: JSERVICES_NAT_PORT_BLOCK_RELEASE: 100.64.0.9 -> 198.51.100.3:1024-1087`,
			[]string{"end 198.51.100.3/32 1024-1087 inside 100.64.0.9 at 2026-05-31T10:30:45Z by mx"},
		},
		{"MS-DPC, no block left", `Oct 30 21:46:04  mx 2011-10-31 04:46:04 [FWNAT]:ASP_NAT_PORT_BLOCK_EXHAUSTED: 100.64.0.9`, nil},
		{
			"A10, batch", `2026-05-02T11:34:56.87+00:00 192.0.2.254 cgn0/part  CEF:0|A10|CFW|6.0.0-P1|CGN 106|Nat Port Batch Pool Allocated|5|proto=UDP src=100.64.0.9 sourceTranslatedAddress=198.51.100.12 sourceTranslatedPort=22016 cn3=22271 cn3Label=Last Nat Port`,
			[]string{"begin 198.51.100.12/32 22016-22271 proto 17 inside 100.64.0.9 at 2026-05-02T11:34:56.87Z by 192.0.2.254"},
		},
		{
			"A10, port with its own time", `cgn0/part CEF:0|A10|CFW|6.0.0-P1|CGN 101|Nat Port Freed|5|proto=ICMP src=100.64.0.9 spt=37892 sourceTranslatedAddress=198.51.100.8 sourceTranslatedPort=37892 rt=1777721696870`,
			[]string{"end 198.51.100.8/32 37892-37892 proto 1 inside 100.64.0.9 at 2026-05-02T11:34:56.87Z by cgn0/part"},
		},
		{"A10, something else", `cgn0 CEF:0|A10|CFW|6.0.0-P1|CGN 120|Quota Exceeded|5|src=100.64.0.9`, nil},
		{
			"IOS XR, two events", `<134>1 2026 May 31 10:30:45 192.0.2.3 - - NAT44 - [UserbasedA - 100.64.0.9 Broadband - 198.51.100.1 - 2048 3071 - -][UserbasedW - 100.64.0.10 - - 198.51.100.1 - 4096 5119 - -]`,
			[]string{
				"begin 198.51.100.1/32 2048-3071 inside 100.64.0.9 at 2026-05-31T10:30:45Z by 192.0.2.3 vrf Broadband",
				"end 198.51.100.1/32 4096-5119 inside 100.64.0.10 at 2026-05-31T10:30:45Z by 192.0.2.3",
			},
		},
		{
			"IOS XR, DS-Lite session behind a relay", `May 31 10:31:00 relay 1 2026 May 31 10:30:45 203.0.113.3 - - DSLITE - [SessionbasedAD UDP 192.168.0.2 - 2001:db8::b4 198.51.100.1 5000 2048 - 203.0.113.5 53]`,
			[]string{"begin 198.51.100.1/32 2048-2048 proto 17 inside 2001:db8::b4 at 2026-05-31T10:30:45Z by 203.0.113.3"},
		},
		{
			"IOS XE", `<14>123456789: asr1: Nov 21 12:00:01.123 JST: %IOSXE-6-PLATFORM: F0: cpp_cp: QFP:0.0 Thread:105 TS:00000000000000 %NAT-6-LOG_TRANSLATION: Created Translation UDP 100.64.0.9:44593 198.51.100.1:21129 203.0.113.5:53 203.0.113.5:53 7`,
			[]string{"begin 198.51.100.1/32 21129-21129 proto 17 inside 100.64.0.9 at 2026-11-21T03:00:01.123Z by asr1 vrf 7"},
		},
		{
			"IOS", `<190>Nov 20 10:00:00 r1 77: *Nov 20 09:59:59.1: %IPNAT-6-NAT_DELETED: Deleted tcp 100.64.0.9:43800 198.51.100.32:1024 203.0.113.1:80 203.0.113.1:80`,
			[]string{"end 198.51.100.32/32 1024-1024 proto 6 inside 100.64.0.9 at 2026-11-20T10:00:00Z by r1"},
		},
		{
			"IOS, newer", `<190>77: *Nov 20 09:59:59.1: %IPNAT-6-CREATED: icmp 100.64.0.9:7 198.51.100.32:8 203.0.113.1:7 203.0.113.1:7`,
			[]string{"begin 198.51.100.32/32 8-8 proto 1 inside 100.64.0.9 at 2026-11-20T09:59:59.1Z by syslog"},
		},
		{
			"SR OS", `<142>Oct  8 11:14:26 192.0.2.5 TMNX: 7 vprn601 NAT-MINOR-tmnxNatPlBlockAllocationLsn-2012 [NAT]:  {2} Map 198.51.100.28 [2002-2005] MDA 1/2 -- 276824064 classic-lsn-sub %3 vprn601 100.64.10.101 at 2026/10/08 11:14:26`,
			[]string{"begin 198.51.100.28/32 2002-2005 inside 100.64.10.101 at 2026-10-08T11:14:26Z by 192.0.2.5 vprn601"},
		},
		{
			"SR OS, L2-aware: the subscriber has a name", `<142>Oct  8 11:14:26 192.0.2.5 TMNX: 8 Base NAT-MINOR-tmnxNatPlBlockAllocationL2Aw-2013 [NAT]:  {3} Free 198.51.100.28 [2002-2005] MDA 1/2 -- sub-0042 l2-aware-sub %1 Base 192.168.1.1 at 2026/10/08 12:00:00`,
			[]string{"end 198.51.100.28/32 2002-2005 inside 192.168.1.1 at 2026-10-08T12:00:00Z by 192.0.2.5 Base line sub-0042"},
		},
		{
			"F5, NAPT", `Nov  8 11:14:26 bigip info tmm: LSN_ADD 100.64.0.9%1:40000 6 198.51.100.1%0:2048 203.0.113.5 443`,
			[]string{"begin 198.51.100.1/32 2048-2048 proto 6 inside 100.64.0.9 at 2026-11-08T11:14:26Z by bigip rd 1"},
		},
		{
			"F5, PBA", `Nov  8 11:14:26 bigip "LSN_PB_ALLOCATED" "100.64.0.9%0" "198.51.100.9%0: 5555 - 6666"`,
			[]string{"begin 198.51.100.9/32 5555-6666 inside 100.64.0.9 at 2026-11-08T11:14:26Z by bigip"},
		},
		{
			"F5, NAPT in pairs", `Nov  8 11:14:26 bigip ip_protocol="UDP",lsn_event="LSN_DELETE",start="1762600000000",cli="100.64.0.9:40000",nat="198.51.100.1:2048",duration="8080",pem_subscriber_id="No-lookup"`,
			[]string{"end 198.51.100.1/32 2048-2048 proto 17 inside 100.64.0.9 at 2025-11-08T11:06:48.08Z by bigip since 2025-11-08T11:06:40Z"},
		},
		{
			"F5, PBA in pairs", `Nov  8 11:14:26 bigip lsn_event="LSN_PB_RELEASED",lsn_client="2001:db8::b4",lsn_pb="198.51.100.9: 5555 - 6666"`,
			[]string{"end 198.51.100.9/32 5555-6666 inside 2001:db8::b4 at 2026-11-08T11:14:26Z by bigip"},
		},
		{
			"the draft's port mapping", `<134>1 2026-06-26T17:23:06Z cgn NAT 1234 APMADD [napmap SSUBIX="0" SVLAN="0" IATYP="IPv4" ISADDR="100.64.0.9" ISPORT="1024" XATYP="IPv4" XSADDR="198.51.100.1" XSPORT="2048" PROTO="6"]`,
			[]string{"begin 198.51.100.1/32 2048-2048 proto 6 inside 100.64.0.9 at 2026-06-26T17:23:06Z by cgn"},
		},
		{
			"the draft's session of a DS-Lite home", `<134>1 2026-06-26T17:23:06Z cgn NAT 1234 SDEL [nsess SSUBIX="4" IATYP="IPv4" ISADDR="192.168.0.9" ISPORT="1024" XATYP="IPv4" XSADDR="198.51.100.1" XSPORT="2048" PROTO="17" SV6ENC="2001:db8::b4"]`,
			[]string{"end 198.51.100.1/32 2048-2048 proto 17 inside 2001:db8::b4 at 2026-06-26T17:23:06Z by cgn subscriber 4"},
		},
		{"an ICMP identifier of zero", `<190>77: *Nov 20 09:59:59.1: %IPNAT-6-CREATED: icmp 100.64.0.9:7 198.51.100.32:0 203.0.113.1:7 203.0.113.1:7`, nil},
		{"something else", `<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8`, nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		p := parser(t, syslog.Config{})
		got, err := parse(p, tt.line)
		if d := cmp.Diff(tt.want, got); err != nil || d != "" {
			t.Errorf("%s: %v, - want, + got:\n%s", tt.name, err, d)
		}
		if st := p.Stats(); st.Records != uint64(len(tt.want)) || (st.Ignored == 1) != (len(tt.want) == 0) {
			t.Errorf("%s: %+v", tt.name, st)
		}
	}
}

// A line of a known form that can't be used is malformed; the reason tells nothing of
// what stood there.
func TestBrokenLines(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"no time", `RT_FLOW - RT_FLOW_SESSION_CREATE [source-address="100.64.0.9" nat-source-address="198.51.100.7" nat-source-port="53328" protocol-id="6"]`, "no time is told"},
		{"an address cut", `RT_NAT - RT_SRC_NAT_PBA_ALLOC [internal-ip="100.64.0" block-port-low="48640" block-port-high="48895" reflexive-ip="198.51.100.7" epoch-time-64="624b0492"]`, "address is missing or damaged"},
		{"a block backwards", `RT_NAT - RT_SRC_NAT_PBA_ALLOC [internal-ip="100.64.0.9" block-port-low="48640" block-port-high="4" reflexive-ip="198.51.100.7" epoch-time-64="624b0492"]`, "port is missing or damaged"},
		{"an unknown word", `RT_NAT - RT_SRC_NAT_PBA_OTHER [internal-ip="100.64.0.9"]`, "doesn't look like the form"},
		{"cut after the arrow", `Oct 30 21:46:04 mx 2011-10-31 04:46:04 [FWNAT]:ASP_NAT_PORT_BLOCK_ALLOC: 100.64.0.9 ->`, "doesn't look like the form"},
		{"a port of six digits", `Oct 30 21:46:04 mx 2011-10-31 04:46:04 [FWNAT]:ASP_NAT_PORT_BLOCK_ALLOC: 100.64.0.9 -> 198.51.100.3:100000-100001`, "port is missing or damaged"},
		{"CEF cut", `Oct 30 21:46:04 a10 CEF:0|A10|CFW|6.0.0`, "doesn't look like the form"},
		{"a batch without its end", `Oct 30 21:46:04 a10 CEF:0|A10|CFW|6.0.0-P1|CGN 106|Nat Port Batch Pool Allocated|5|proto=UDP src=100.64.0.9 sourceTranslatedAddress=198.51.100.12 sourceTranslatedPort=22016`, "port is missing"},
		{"a day that no year has", `<14>Apr 31 22:44:25 bng-01 RT_NAT: RT_SRC_NAT_PBA_RELEASE: Subscriber 100.64.0.9 used/maximum [5/15] blocks, releases port block [1024-1151] from 198.51.100.7 in source pool P`, "no time is told"},
		{"a bracket cut", `<134>1 2026 May 31 10:30:45 192.0.2.3 - - NAT44 - [UserbasedA - 100.64.0.9 Broadband`, "doesn't look like the form"},
		{"SR OS without a time", `Oct  8 11:14:26 192.0.2.5 NAT-MINOR-tmnxNatPlBlockAllocationLsn-2012 [NAT]:  {2} Map 198.51.100.28 [2002-2005] MDA 1/2 -- 1 classic-lsn-sub %3 vprn601 100.64.10.101 at noon`, "no time is told"},
	}
	for _, tt := range tests {
		p := parser(t, syslog.Config{})
		got, err := parse(p, tt.line)
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(got) > 0 || strings.Contains(err.Error(), "100.64") {
			t.Errorf("%s: %v, %q", tt.name, err, got)
		}
		if st := p.Stats(); st.Malformed != 1 || len(st.Examples) != 1 || !strings.HasPrefix(st.Examples[0], "line 1: ") {
			t.Errorf("%s: %+v", tt.name, st)
		}
	}
	if _, err := syslog.New(syslog.Config{Zone: "Tokyo"}); err == nil || !strings.Contains(err.Error(), "Asia/Tokyo") {
		t.Errorf("zone: %v", err)
	}
}

// One bracket that is damaged leaves the others.
func TestDamageLeavesTheRest(t *testing.T) {
	got, err := parse(parser(t, syslog.Config{}), `<134>1 2026 May 31 10:30:45 192.0.2.3 - - NAT44 - [UserbasedA - 100.64.0.9][Portblockrunout - 100.64.0.9 - - - - - - - -][UserbasedA - 100.64.0.10 - - 198.51.100.1 - 4096 5119 - -]`)
	if err == nil || len(got) != 1 || !strings.Contains(got[0], "100.64.0.10") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTheYearThatIsMissing(t *testing.T) {
	const line = `<14>%s gw RT_FLOW: RT_FLOW_SESSION_CREATE: session created 100.64.0.9/58662->203.0.113.8/53 dns 198.51.100.7/55893->203.0.113.8/53 INET None 17 OUT TRUST NET 6316`
	for _, tt := range []struct{ date, zone, arrival, want string }{
		{"Nov 26 11:59:59", "", "2026-11-26T12:00:00Z", "2026-11-26T11:59:59Z"},
		{"Dec 31 23:59:59", "", "2027-01-01T00:00:03Z", "2026-12-31T23:59:59Z"},
		{"Jan  1 00:00:01", "", "2026-12-31T23:59:58Z", "2027-01-01T00:00:01Z"}, // the sender's clock is fast
		{"Nov 28 12:00:00", "", "2026-11-26T12:00:00Z", "2025-11-28T12:00:00Z"}, // too fast to be a clock: a year old
		{"Feb 29 12:00:00", "", "2026-11-26T12:00:00Z", "2024-02-29T12:00:00Z"},
		{"Jan  1 08:00:00", "Asia/Tokyo", "2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z"},
		{"Nov 26 2019 11:59:59", "", "2026-11-26T12:00:00Z", "2019-11-26T11:59:59Z"},
		{"Nov 26 11:59:59 UTC:", "Asia/Tokyo", "2026-11-26T12:00:00Z", "2026-11-26T11:59:59Z"},
		{"2026-11-26T11:59:59", "Asia/Tokyo", "2026-11-26T12:00:00Z", "2026-11-26T02:59:59Z"},
	} {
		when, err := time.Parse(time.RFC3339, tt.arrival)
		if err != nil {
			t.Fatal(err)
		}
		var got time.Time
		err = parser(t, syslog.Config{Zone: tt.zone}).Parse(fmt.Appendf(nil, line, tt.date), when, func(r *subscriber.Record) { got = r.At })
		if err != nil || got.Format(time.RFC3339) != tt.want {
			t.Errorf("%s arrived at %s: %s, want %s, %v", tt.date, tt.arrival, got, tt.want, err)
		}
	}
}

const (
	first  = `RT_NAT - RT_SRC_NAT_PBA_ALLOC [internal-ip="100.64.0.1" block-port-low="1024" block-port-high="2047" reflexive-ip="198.51.100.7" epoch-time-64="624b0492"]`
	second = `RT_NAT - RT_SRC_NAT_PBA_ALLOC [internal-ip="100.64.0.2" block-port-low="2048" block-port-high="3071" reflexive-ip="198.51.100.7" epoch-time-64="624b0492"]`
)

func TestFraming(t *testing.T) {
	counted := func(s string) string { return fmt.Sprintf("%d %s", len(s), s) }
	tests := []struct {
		name, stream string
		records      int
		malformed    uint64
	}{
		{"newlines", first + "\n" + second + "\n", 2, 0},
		{"the last without", first + "\n" + second, 2, 0},
		{"carriage returns and empty lines", first + "\r\n\r\n\n" + second + "\r\n", 2, 0},
		{"NUL behind", first + "\x00\n" + second + "\x00\n", 2, 0},
		{"octet counting", counted("<14>"+first) + counted("<14>"+second), 2, 0},
		{"octet counting with newlines within and behind", counted("<14>"+first+"\n") + "\n" + counted("<14>"+second), 2, 0},
		{"both", counted("<14>"+first) + second + "\n", 2, 0},
		{"a line that begins with a number", "1 " + first + "\n" + "77 things\n" + second, 2, 0},
		{"counted, cut", counted("<14>" + first)[:100], 0, 1},
		{"too long a line", strings.Repeat("x", 200<<10) + "\n" + first, 1, 1},
		{"too long and never ended", strings.Repeat("x", 200<<10), 0, 1},
		{"too long a count", "99999 <14>" + strings.Repeat("x", 99995) + counted("<14>"+first), 1, 1},
		{"nothing", "", 0, 0},
	}
	for _, tt := range tests {
		for _, r := range []io.Reader{strings.NewReader(tt.stream), iotest.OneByteReader(strings.NewReader(tt.stream))} {
			p := parser(t, syslog.Config{})
			n := 0
			if err := p.Read(r, clock.Fixed(arrival), func(*subscriber.Record) { n++ }); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if st := p.Stats(); n != tt.records || st.Malformed != tt.malformed {
				t.Errorf("%s: %d records, %+v", tt.name, n, st)
			}
		}
	}
	boom := errors.New("boom")
	p := parser(t, syslog.Config{})
	n := 0
	err := p.Read(io.MultiReader(strings.NewReader(first+"\n"), iotest.ErrReader(boom)), clock.Fixed(arrival), func(*subscriber.Record) { n++ })
	if !errors.Is(err, boom) || n != 1 || !strings.Contains(err.Error(), "after line 1") {
		t.Errorf("%d records, %v", n, err)
	}
}

// A sender that writes one short line and waits is read at once.
func TestReadDoesNotWait(t *testing.T) {
	in, out := io.Pipe()
	got := make(chan string)
	done := make(chan error)
	go func() {
		p, err := syslog.New(syslog.Config{Live: true})
		if err == nil {
			err = p.Read(in, clock.Fixed(arrival), func(r *subscriber.Record) { got <- words(r) })
		}
		done <- err
	}()
	if _, err := io.WriteString(out, `%IPNAT-6-CREATED: udp 100.64.0.9:7 198.51.100.32:8 203.0.113.1:7`+"\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-got:
		if want := "begin 198.51.100.32/32 8-8 proto 17 inside 100.64.0.9 at 2026-11-26T12:00:00Z by syslog"; s != want {
			t.Errorf("%s, want %s", s, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for more")
	}
	out.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(corpus.Folder(t, "subscriber", "cgnat-samples.log"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSamples reads lines as vendors' own documents show them. Those without any time are
// refused in a file, and take the time of arrival when they come live.
func TestSamples(t *testing.T) {
	want := []string{
		"begin 1.2.84.172/32 48640-48895 inside 10.0.10.10 at 2022-04-04T14:45:38Z by syslog",
		"alive 1.2.84.172/32 48640-48895 inside 10.0.10.10 at 2022-04-04T14:45:38Z by syslog since 2022-04-04T14:45:38Z",
		"end 1.2.84.172/32 48640-48895 inside 10.0.10.10 at 2022-04-04T15:20:39Z by syslog",
		"begin 33.33.0.3/32 1050-1099 inside 3002::1 at 2011-10-31T04:46:04Z by graphite",
		"end 33.33.0.3/32 1050-1099 inside 3002::1 at 2011-10-31T04:48:34Z by graphite",
	}
	p := parser(t, syslog.Config{})
	var got []string
	if err := p.Read(bytes.NewReader(sample(t)), clock.Fixed(arrival), func(r *subscriber.Record) { got = append(got, words(r)) }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("- want, + got:\n%s", d)
	}
	if st := p.Stats(); st.Malformed != 5 || st.Ignored != 1 || st.Reasons["A10 CEF: no time is told: let the sender or a relay write one"] != 4 {
		t.Errorf("%+v", st)
	}
	p, got = parser(t, syslog.Config{Live: true}), nil
	if err := p.Read(bytes.NewReader(sample(t)), clock.Fixed(arrival), func(r *subscriber.Record) { got = append(got, words(r)) }); err != nil {
		t.Fatal(err)
	}
	live := []string{
		"begin 1.2.84.172/32 53328-53328 proto 6 inside 10.0.10.10 at 2026-11-26T12:00:00Z by syslog session 92317",
		"begin 99.99.99.13/32 48856-48856 proto 1 inside 100.65.161.0 at 2026-11-26T12:00:00Z by cgn0.thn2/cgn-demo",
		"end 99.99.99.8/32 37892-37892 proto 1 inside 100.65.150.5 at 2026-11-26T12:00:00Z by cgn0.thn2/cgn-demo",
		"begin 99.99.99.12/32 22016-22271 proto 17 inside 100.65.140.73 at 2026-11-26T12:00:00Z by cgn0.thn2/cgn-demo",
		"end 99.99.99.12/32 22016-22271 proto 17 inside 100.65.140.73 at 2026-11-26T12:00:00Z by cgn0.thn2/cgn-demo",
	}
	for _, l := range live {
		if !strings.Contains(strings.Join(got, "\n"), l) {
			t.Errorf("live: %s is missing", l)
		}
	}
	if st := p.Stats(); st.Malformed != 0 || len(got) != 10 {
		t.Errorf("live: %d records, %+v", len(got), st)
	}
}
