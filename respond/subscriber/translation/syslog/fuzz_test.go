package syslog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/translation/syslog"
)

// FuzzRead: no stream crashes the reader, what it hands out makes sense, and each line is
// counted once.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		first + "\n" + second, "12 <14>x\n", "<134>1 2026 May 31 10:30:45 192.0.2.3 - - NAT44 - [UserbasedA - 100.64.0.9 B - 198.51.100.1 - 2048 3071 - -][UserbasedW",
		`<14>Nov 18 09:56:58 gw RT_FLOW: RT_FLOW_SESSION_CLOSE: session closed TCP CLIENT RST: 100.64.0.9/49706->203.0.113.8/443 0x0 junos-https 198.51.100.7/47698->203.0.113.8/443 0x0 source rule 3 N/A N/A 6 p in out 1357210 10(2358) 7(5379) 58`,
		`<23>Nov 18 09:56:58  gw RT_FLOW: RT_FLOW_SESSION_CREATE: session created 100.64.0.9/58662->203.0.113.8/53 d 198.51.100.7/55893->203.0.113.8/53 INET None 17 OUT TRUST NET 6316`,
		`May 31 19:30:45 mx 2026-05-31 10: 30:45: cgn{S}[jservices-nat]: JSERVICES_NAT_PORT_BLOCK_RELEASE: 100.64.0.9 -> 198.51.100.3:1024-1087 0x5063f6a4`,
		`cgn0/part CEF:0|A10|CFW|6|CGN 101|Nat Port Freed|5|proto=ICMP src=100.64.0.9 sourceTranslatedAddress=198.51.100.8 sourceTranslatedPort=37892 rt=1777721696870`,
		`<190>77: r1: *Nov 20 09:59:59.1 JST: %IPNAT-6-CREATED: icmp 100.64.0.9:7 198.51.100.32:8 203.0.113.1:7 203.0.113.1:7 4`,
		`<142>Oct  8 11:14:26 h T: NAT-MINOR-tmnxNatPlBlockAllocationL2Aw-2013 [NAT]:  {3} Free 198.51.100.28 [2002-2005] MDA 1/2 -- s l2-aware-sub %1 Base 192.168.1.1 at 2026/10/08 12:00:00`,
		`Nov  8 11:14:26 bigip "LSN_PB_ALLOCATED" "100.64.0.9%0" "198.51.100.9%0: 5555 - 6666"`,
		`Nov  8 11:14:26 bigip lsn_event="LSN_DELETE",start="1762600000000",cli="100.64.0.9:40000",nat="198.51.100.1:2048",duration="8080"`,
		`<134>1 2026-06-26T17:23:06Z cgn NAT 1 APMADD [napmap ISADDR="100.64.0.9" XSADDR="198.51.100.1" XSPORT="2048" PROTO="6"]`,
	} {
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, stream string, live bool) {
		p, err := syslog.New(syslog.Config{Live: live})
		if err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		err = p.Read(strings.NewReader(stream), clock.Fixed(arrival), func(r *subscriber.Record) {
			n++
			if r.Kind == 0 || !r.Address.IsValid() || !r.Inside.IsValid() || r.Inside == r.Address.Addr() || r.Ports.Whole() ||
				r.Ports.Last < r.Ports.First || r.At.IsZero() || r.At.Location() != time.UTC || r.Since.After(r.At) || r.Source == "" {
				t.Fatalf("%+v", r)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if st := p.Stats(); st.Records != n {
			t.Fatalf("%d handed out, %d counted", n, st.Records)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	lines := map[string]func(i int) string{
		"srx-block": func(i int) string {
			return fmt.Sprintf(`<14>1 2022-04-04T14:45:40.5Z srx1 RT_NAT - RT_SRC_NAT_PBA_ALLOC [junos@2636.1.1.1.2.129 internal-ip="100.64.%d.%d" block-used="1" block-max-per-host="4" block-port-low="48640" block-port-high="48895" reflexive-ip="198.51.100.7" nat-pool-name="guest" logical-system-id="0" epoch-time-64="624b0492"]`, i>>8&255, i&255)
		},
		"a10-batch": func(i int) string {
			return fmt.Sprintf(`2026-05-02T11:34:56.87+00:00 192.0.2.254 cgn0/part  CEF:0|A10|CFW|6.0.0-P1|CGN 106|Nat Port Batch Pool Allocated|5|proto=UDP src=100.64.%d.%d sourceTranslatedAddress=198.51.100.12 sourceTranslatedPort=22016 cn3=22271 cn3Label=Last Nat Port`, i>>8&255, i&255)
		},
		"mpc-block": func(i int) string {
			return fmt.Sprintf(`Oct 30 21:46:04  mx (FPC Slot 2, PIC Slot 0) 2026-10-31 04:46:04 [FWNAT]:ASP_NAT_PORT_BLOCK_ALLOC: 2001:db8:0:0:0:0:0:%x -> 198.51.100.3:1050-1099`, i&0xffff)
		},
		"something-else": func(i int) string {
			return fmt.Sprintf(`<34>Oct 11 22:14:15 mymachine sshd[%d]: Accepted publickey for operator from 192.0.2.1 port 50000 ssh2: ED25519 SHA256:abcdefghijklmnop`, i)
		},
	}
	const n = 10000
	for _, name := range []string{"srx-block", "a10-batch", "mpc-block", "something-else"} {
		var s strings.Builder
		for i := range n {
			s.WriteString(lines[name](i) + "\n")
		}
		b.Run(name, func(b *testing.B) {
			got := 0
			b.ReportAllocs()
			b.SetBytes(int64(s.Len()))
			for b.Loop() {
				p := parser(b, syslog.Config{})
				if err := p.Read(strings.NewReader(s.String()), clock.Fixed(arrival), func(*subscriber.Record) { got++ }); err != nil {
					b.Fatal(err)
				}
				if p.Stats().Malformed > 0 {
					b.Fatal(p.Stats())
				}
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlines/s")
		})
	}
}
