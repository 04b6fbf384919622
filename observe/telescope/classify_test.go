package telescope_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// kind decodes a frame and says what it is.
func kind(t tb, r rec) (observe.Kind, uint16) {
	t.Helper()
	var d packet.Decoder
	var p packet.Packet
	if st := d.Decode(r.link, r.data, r.orig, &p); st != packet.OK {
		t.Fatalf("the frame doesn't decode: %v", st)
	}
	return telescope.KindOf(&p), telescope.PortOf(&p)
}

const (
	host   = "192.0.2.9"    // some host on the Internet
	target = "198.51.100.7" // a dark address
)

// TestTCPFlags goes through all 256 combinations of flags. Four of the eight
// decide; the oracle is the rule in words.
func TestTCPFlags(t *testing.T) {
	for f := range 256 {
		flags := packet.TCPFlags(f)
		has := func(x packet.TCPFlags) bool { return flags&x != 0 }
		var want observe.Kind
		switch {
		case has(packet.RST):
			want = observe.KindTCPRst
		case has(packet.SYN) && has(packet.ACK) && !has(packet.FIN):
			want = observe.KindTCPSynAck
		case has(packet.ACK): // also SYN+ACK+FIN, which nothing answers with
			want = observe.KindTCPAck
		case has(packet.SYN) && !has(packet.FIN):
			want = observe.KindTCPSyn
		default: // FIN, nothing, XMAS, SYN+FIN: all without ACK
			want = observe.KindTCPStealth
		}
		got, port := kind(t, ip{src: host, dst: target}.tcp(tcp{from: 443, to: 50000, flags: flags}))
		if got != want {
			t.Errorf("flags %08b: %s, want %s", f, got, want)
		}
		if wantPort := map[bool]uint16{true: 443, false: 50000}[want.SourcePort()]; port != wantPort {
			t.Errorf("flags %08b (%s): port %d, want %d", f, got, port, wantPort)
		}
	}
}

// TestICMPTypes goes through all types of ICMP and ICMPv6. Backscatter is
// corsaro3's list, 0 3 4 5 11 12 14 16 18; the requests are 8 13 15 17.
func TestICMPTypes(t *testing.T) {
	v4 := map[int]observe.Kind{
		0: observe.KindICMPAnswer, 14: observe.KindICMPAnswer, 16: observe.KindICMPAnswer, 18: observe.KindICMPAnswer,
		3: observe.KindICMPError, 4: observe.KindICMPError, 5: observe.KindICMPError, 11: observe.KindICMPError, 12: observe.KindICMPError,
		8: observe.KindICMPRequest, 13: observe.KindICMPRequest, 15: observe.KindICMPRequest, 17: observe.KindICMPRequest,
	}
	v6 := map[int]observe.Kind{
		1: observe.KindICMPError, 2: observe.KindICMPError, 3: observe.KindICMPError, 4: observe.KindICMPError,
		128: observe.KindICMPRequest, 129: observe.KindICMPAnswer,
	}
	for typ := range 256 {
		for _, c := range []struct {
			h    ip
			want map[int]observe.Kind
		}{{ip{src: host, dst: target}, v4}, {ip{src: "2001:db8::1", dst: "2001:db8:d::1"}, v6}} {
			got, port := kind(t, c.h.icmp(uint8(typ), 5, nil))
			if got != c.want[typ] || port != uint16(typ)<<8|5 {
				t.Errorf("%s type %d: %s port %d, want %s port %d", c.h.src, typ, got, port, c.want[typ], typ<<8|5)
			}
		}
	}
	// ICMPv6 inside IPv4 and other protocols are in no class of their own.
	for _, proto := range []uint8{0, 2, 47, 50, 89, 132, 255} {
		if got, _ := kind(t, frame(ip{src: host, dst: target}, proto, make([]byte, 40))); got != observe.KindOther {
			t.Errorf("protocol %d: %s", proto, got)
		}
	}
}

func dns(flags byte, question string) []byte {
	b := []byte{0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(question))}
	return append(append(b, question...), 0, 0, 1, 0, 1)
}

func rpc(kind byte) []byte {
	return append([]byte{0x3c, 1, 2, 3, 0, 0, 0, kind}, make([]byte, 20)...)
}

func ike(responder byte, marker ...byte) []byte {
	b := append([]byte{}, marker...)
	b = append(b, 1, 2, 3, 4, 5, 6, 7, 8)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, responder)
	return append(b, 0x21, 0x20, 0x22, 8, 0, 0, 0, 0, 0, 0, 0, 28)
}

func snmp(pdu byte) []byte {
	return append([]byte{0x30, 0x29, 2, 1, 1, 4, 6, 'p', 'u', 'b', 'l', 'i', 'c', pdu, 0x1c, 2, 4, 1, 2, 3, 4, 2, 1, 0, 2, 1, 0}, make([]byte, 14)...)
}

func ldap(op byte) []byte { return []byte{0x30, 0x0c, 2, 1, 7, op, 7, 10, 1, 0, 4, 0, 4, 0} }

func dhip(json string) []byte {
	return append(append([]byte(" \x00\x00\x00DHIP"), make([]byte, 24)...), json...)
}

// services are an answer and a question of each known service. A service whose
// every datagram counts as an answer has no question here: nobody asks from its port.
var services = map[uint16]struct{ answers, questions [][]byte }{
	17:  {answers: [][]byte{[]byte("\"Nothing is so common-place as to wish to be remarkable.\"")}},
	19:  {answers: [][]byte{[]byte(" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ")}},
	53:  {[][]byte{dns(0x81, "example"), dns(0x84, "example")}, [][]byte{dns(1, "example"), dns(0, "example"), {1, 2}}},
	69:  {[][]byte{{0, 3, 0, 1, 'x'}, {0, 4, 0, 1}, {0, 5, 0, 1, 'n', 'o', 0}, {0, 6, 't', 0, '1', 0}}, [][]byte{[]byte("\x00\x01a.pdf\x00octet\x00"), []byte("\x00\x02a\x00octet\x00"), {0}}},
	111: {[][]byte{rpc(1)}, [][]byte{rpc(0), {1, 2, 3}}},
	123: {
		[][]byte{append([]byte{0x24, 1, 3, 0xee}, make([]byte, 44)...), append([]byte{0x25, 1, 3, 0xee}, make([]byte, 44)...)},
		[][]byte{append([]byte{0x23, 0, 6, 0xec}, make([]byte, 44)...), append([]byte{0xe3, 0, 6, 0xec}, make([]byte, 44)...), {0x16, 1, 0, 1}, {0x17, 0, 3, 0x2a}},
	},
	137:   {[][]byte{dns(0x84, " CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")}, [][]byte{dns(0, " CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")}},
	161:   {[][]byte{snmp(0xa2)}, [][]byte{snmp(0xa0), snmp(0xa1), snmp(0xa5), {0x30}, {0x31, 3, 2, 1, 1}, {0x30, 0x84, 0xff, 0xff, 0xff, 0xff}}},
	389:   {[][]byte{ldap(0x64), ldap(0x65)}, [][]byte{ldap(0x63), ldap(0x60), []byte("x")}},
	427:   {[][]byte{{2, 2, 0, 20}, {2, 7, 0, 20}, {2, 10, 0, 20}}, [][]byte{{2, 1, 0, 20}, {2, 9, 0, 20}, {2}}},
	443:   {[][]byte{{0x80, 0, 0, 0, 0, 0, 8, 1}, {0xc0, 0, 0, 0, 1, 0, 8, 1}, {0xf0, 0, 0, 0, 1, 0, 8, 1}}, [][]byte{{0x40, 1, 2, 3, 4, 5, 6, 7}, {0xc0, 0, 0}}},
	500:   {[][]byte{ike(9)}, [][]byte{ike(0), {1, 2, 3}}},
	520:   {[][]byte{{2, 2, 0, 0}}, [][]byte{{1, 2, 0, 0}}},
	1434:  {[][]byte{append([]byte{5, 0x58, 0}, "ServerName;X;"...)}, [][]byte{{2}, {3}, {4, 'a'}}},
	1900:  {[][]byte{[]byte("HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\n")}, [][]byte{[]byte("M-SEARCH * HTTP/1.1\r\n"), []byte("NOTIFY * HTTP/1.1\r\n")}},
	3283:  {answers: [][]byte{{0, 1, 3, 0xea, 0, 1, 0, 0}}},
	3478:  {[][]byte{{1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, {1, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42}}, [][]byte{{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, {0, 0x11, 0, 0}, {1}}},
	3702:  {[][]byte{[]byte("<soap:Body><d:ProbeMatches><d:ProbeMatch>")}, [][]byte{[]byte("<soap:Body><d:Probe>")}},
	4500:  {[][]byte{ike(9, 0, 0, 0, 0), ike(9)}, [][]byte{ike(0, 0, 0, 0, 0), {0xff}}},
	5060:  {[][]byte{[]byte("SIP/2.0 200 OK\r\n")}, [][]byte{[]byte("OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n"), []byte("SIP/3")}},
	5093:  {answers: [][]byte{{0x7a, 0, 0, 0, 0, 0}}},
	5353:  {[][]byte{dns(0x84, "local")}, [][]byte{dns(0, "local")}},
	5683:  {[][]byte{{0x60, 0x45, 1, 2}, {0x60, 0x84, 1, 2}, {0x50, 0xa0, 1, 2}}, [][]byte{{0x40, 1, 1, 2}, {0x50, 3, 1, 2}, {0x40, 1}}},
	10001: {answers: [][]byte{{1, 0, 0, 0x90, 2, 0, 10}}},
	11211: {
		[][]byte{[]byte("\x00\x01\x00\x00\x00\x01\x00\x00STAT pid 1\r\n"), []byte("\x00\x01\x00\x00\x00\x01\x00\x00VALUE a 0 1\r\n"), []byte("\x00\x01\x00\x00\x00\x01\x00\x00END\r\n"), []byte("\x00\x01\x00\x05\x00\x09\x00\x00xxxxx"), []byte("\x00\x01\x00\x00\x00\x01\x00\x00VERSION 1.5")},
		[][]byte{[]byte("\x00\x01\x00\x00\x00\x01\x00\x00stats\r\n"), []byte("\x00\x01\x00\x00\x00\x01\x00\x00gets a\r\n"), {0, 1}},
	},
	17185: {[][]byte{rpc(1)}, [][]byte{rpc(0)}},
	27015: {[][]byte{[]byte("\xff\xff\xff\xffI\x11"), []byte("\xff\xff\xff\xffA1234"), []byte("\xff\xff\xff\xffD\x00"), []byte("\xfe\xff\xff\xff1234")}, [][]byte{[]byte("\xff\xff\xff\xffTSource Engine Query\x00"), []byte("\xff\xff\xff\xffU1234"), []byte("\xff\xff\xff\xfe1234"), {0xff}}},
	32414: {[][]byte{[]byte("HTTP/1.0 200 OK\r\n")}, [][]byte{[]byte("M-SEARCH * HTTP/1.1\r\n")}},
	37810: {[][]byte{dhip(`{"mac":"aa","method":"client.notifyDevInfo"}`)}, [][]byte{dhip(`{"method":"DHDiscover.search"}`), []byte("GET /")}},
}

// backscatter are the services whose answers are about as long as the question.
var backscatter = map[uint16]bool{53: true, 123: true, 161: true, 443: true, 5060: true}

// TestUDPServices gives each known service an answer and a question of its own:
// an answer is backscatter or reflection and keyed by the service's port, a
// question from that port asks for the port it goes to.
func TestUDPServices(t *testing.T) {
	for port, name := range telescope.ServicePorts() {
		s, ok := services[port]
		if !ok || len(s.answers) == 0 {
			t.Errorf("no payload for %s (%d)", name, port)
			continue
		}
		want := observe.KindUDPReflected
		if backscatter[port] {
			want = observe.KindUDPAnswer
		}
		for _, p := range s.answers {
			if got, at := kind(t, ip{src: host, dst: target}.udp(port, 41000, p)); got != want || at != port {
				t.Errorf("%s answer %q: %s port %d, want %s port %d", name, p, got, at, want, port)
			}
		}
		for _, p := range s.questions {
			if got, at := kind(t, ip{src: host, dst: target}.udp(port, port, p)); got != observe.KindUDP || at != port {
				t.Errorf("%s question %q: %s port %d, want udp", name, p, got, at)
			}
		}
		// The same bytes to the service are a question, whoever sends them.
		for _, p := range append(s.answers, s.questions...) {
			if got, at := kind(t, ip{src: host, dst: target}.udp(41000, port, p)); got != observe.KindUDP || at != port {
				t.Errorf("%s, from a high port to it: %s port %d, want udp", name, got, at)
			}
		}
	}
	for port := range services {
		if telescope.ServicePorts()[port] == "" {
			t.Errorf("a payload for port %d, which isn't known", port)
		}
	}
	// What ntpd says to mode 6 and mode 7 requests is amplified: reflection.
	for _, p := range [][]byte{{0x16, 0x82, 0, 1, 0, 0}, {0x97, 0, 3, 0x2a, 0, 6}, {0xd7, 0x80, 3, 0x2a}} {
		if got, at := kind(t, ip{src: host, dst: target}.udp(123, 80, p)); got != observe.KindUDPReflected || at != 123 {
			t.Errorf("NTP answer % x: %s port %d", p, got, at)
		}
	}
}

// TestCutPayload: where the snapshot length cut the payload off, the ports tell
// an answer: it comes from a service and goes to none. An empty datagram, and
// one to a service, isn't an answer.
func TestCutPayload(t *testing.T) {
	v6 := ip{src: "2001:db8::1", dst: "2001:db8:d::1"}
	v4 := ip{src: host, dst: target}
	payload := make([]byte, 60)
	for _, c := range []struct {
		name string
		r    rec
		want observe.Kind
	}{
		{"dns to a high port", v4.udp(53, 41000, payload).cut(28), observe.KindUDPAnswer},
		{"the same of IPv6", v6.udp(53, 41000, payload).cut(48), observe.KindUDPAnswer},
		{"chargen to a high port", v4.udp(19, 41000, payload).cut(28), observe.KindUDPReflected},
		{"dns to dns", v4.udp(53, 53, payload).cut(28), observe.KindUDP},
		{"ntp to ntp", v4.udp(123, 123, payload).cut(28), observe.KindUDP},
		{"dns to a low port", v4.udp(53, 1023, payload).cut(28), observe.KindUDP},
		{"an empty datagram", v4.udp(53, 41000, nil), observe.KindUDP},
		{"an empty datagram of IPv6", v6.udp(53, 41000, nil), observe.KindUDP},
		{"from no service", v4.udp(7777, 41000, payload).cut(28), observe.KindUDP},
		{"cut inside the UDP header", v4.udp(53, 41000, payload).cut(26), observe.KindOther},
		{"cut inside the TCP header", syn(host, target, 23).cut(30), observe.KindOther},
	} {
		if got, _ := kind(t, c.r); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestFragmentsOnce: a datagram counts once however many fragments it has and
// whichever comes first, and whichever worker has it; another datagram of the
// same hosts counts again, and so does the same identification 30 s later.
func TestFragmentsOnce(t *testing.T) {
	first := frame(ip{src: host, dst: target, id: 5, frag: 0x2000}, packet.UDP, udpBody(40000, 53, make([]byte, 16)))
	later := frame(ip{src: host, dst: target, id: 5, frag: 0x2003}, packet.UDP, make([]byte, 24))
	last := frame(ip{src: host, dst: target, id: 5, frag: 6}, packet.UDP, make([]byte, 24))
	other := frame(ip{src: host, dst: target, id: 6, frag: 0x2003}, packet.UDP, make([]byte, 24))
	for _, c := range []struct {
		name    string
		recs    []rec
		dark    uint64
		further uint64
		classes map[observe.Class]uint64
	}{
		{"in order", []rec{first.at(start), later.at(start + 1), last.at(start + 2)}, 1, 2, map[observe.Class]uint64{observe.Scan: 1}},
		{"a later one first", []rec{later.at(start), first.at(start + 1), last.at(start + 2)}, 1, 2, map[observe.Class]uint64{observe.Other: 1}},
		{"two datagrams", []rec{first.at(start), other.at(start + 1), later.at(start + 2)}, 2, 1, map[observe.Class]uint64{observe.Scan: 1, observe.Other: 1}},
		{"31 s later", []rec{first.at(start), last.at(start + 31*second)}, 2, 0, map[observe.Class]uint64{observe.Scan: 1, observe.Other: 1}},
		{"29 s later", []rec{first.at(start), last.at(start + 29*second)}, 1, 1, map[observe.Class]uint64{observe.Scan: 1}},
	} {
		for _, workers := range []int{1, 3} {
			cfg := dark("198.51.100.0/24")
			cfg.Workers = workers
			d := watch(t, cfg, c.recs...).document()
			got := map[observe.Class]uint64{}
			for class, n := range classes(d) {
				if n > 0 {
					got[observe.Class(class)] = n
				}
			}
			if d.DarkPackets != c.dark || d.Fragments != c.further || !cmp.Equal(got, c.classes) {
				t.Errorf("%s, %d workers: %d dark, %d further, classes %v", c.name, workers, d.DarkPackets, d.Fragments, got)
			}
		}
	}
	// An "atomic" IPv6 fragment (RFC 6946) is a whole packet.
	atomic := append([]byte{packet.TCP, 0, 0, 0, 0, 0, 0, 1}, tcpBody(tcp{from: 1, to: 23, flags: packet.SYN})...)
	r := frame(ip{src: "2001:db8::1", dst: "2001:db8:d::1"}, 44, atomic)
	if d := watch(t, dark("2001:db8:d::/64"), r.at(start), r.at(start+1)).document(); d.DarkPackets != 2 || d.Fragments != 0 || d.Classes.Scan != 2 {
		t.Errorf("atomic fragments: %+v", d)
	}
}

// TestFromDark: what dark space sends is counted apart and takes part in no
// verdict; answers to the address that sent are solicited from then on, but
// whoever scans it is still a scanner.
func TestFromDark(t *testing.T) {
	cfg := dark("198.51.100.0/24")
	synAck := func(dst string) rec {
		return ip{src: host, dst: dst}.tcp(tcp{from: 443, to: 50000, flags: packet.SYN | packet.ACK})
	}
	r := build(t, cfg).feed(
		synAck(target).at(start), // before it sends
		ip{src: target, dst: host}.tcp(tcp{from: 50000, to: 443, flags: packet.SYN}).at(start+second),
		ip{src: target, dst: "198.51.100.9"}.icmp(8, 0, nil).at(start+2*second), // dark to dark
		synAck(target).at(start+3*minute),
		synAck("198.51.100.8").at(start+3*minute), // another dark address, which has sent nothing
	)
	for i := range 20 {
		r.feed(syn("203.0.113.5", fmt.Sprintf("198.51.100.%d", 7+i%3), 23).at(start + 3*minute + int64(i)))
	}
	r.finish()
	d := r.document()
	if d.FromDark != 2 || d.DarkPackets != 23 || d.UniqueSources != 2 || d.Packets != 25 {
		t.Errorf("from_dark %d, dark %d, sources %d", d.FromDark, d.DarkPackets, d.UniqueSources)
	}
	if len(d.Answering) != 1 || d.Answering[0].Address.String() != target || d.Answering[0].Packets != 2 {
		t.Errorf("answering: %+v", d.Answering)
	}
	if len(d.Scanners) != 1 || d.Scanners[0].Source.String() != "203.0.113.5" {
		t.Errorf("scanners: %+v", d.Scanners)
	}
	var flags []bool
	for _, s := range r.sights() {
		if s.Source.String() == host {
			flags = append(flags, s.Flags&observe.Solicited != 0)
		}
	}
	if !cmp.Equal(flags, []bool{false, true}) {
		t.Errorf("solicited by minute: %v", flags)
	}
	// Its answer to the other address alone isn't solicited.
	alone := watch(t, cfg, ip{src: target, dst: host}.icmp(8, 0, nil).at(start), synAck("198.51.100.8").at(start+1))
	if e := alone.one(t); e.Flags&observe.Solicited != 0 {
		t.Error("an answer to an address that sent nothing is called solicited")
	}
}

// TestSolicitedShare: the answers of a flood's victim go everywhere, so single
// ones that reach an address which had sent something don't clear it.
func TestSolicitedShare(t *testing.T) {
	for _, c := range []struct {
		asked, others int
		want          bool
	}{{0, 16, false}, {1, 0, true}, {1, 15, true}, {1, 16, false}, {10, 150, true}, {10, 151, false}} {
		recs := []rec{ip{src: target, dst: host}.icmp(8, 0, nil)}
		for i := range c.asked + c.others {
			dst := target
			if i >= c.asked {
				dst = "198.51.100.200"
			}
			recs = append(recs, ip{src: host, dst: dst}.tcp(tcp{from: 443, to: 50000, flags: packet.SYN | packet.ACK}))
		}
		for i := range recs {
			recs[i].t = start + int64(i)
		}
		r := watch(t, dark("198.51.100.0/24"), recs...)
		if got := r.one(t).Flags&observe.Solicited != 0; got != c.want {
			t.Errorf("%d of %d answers asked for: solicited %v", c.asked, c.asked+c.others, got)
		}
	}
}

// TestQuotes: an ICMP error names its victim by the packet that it quotes. The
// router that sends it is none; a victim that answers itself is one.
func TestQuotes(t *testing.T) {
	const router, victim = "203.0.113.1", "192.0.2.80"
	quote := func(from, src, dst string) rec {
		q := ipPacket(ip{src: src, dst: dst}, packet.UDP, udpBody(4444, 53, make([]byte, 4)))
		return ip{src: from, dst: target}.icmp(3, 1, q)
	}
	tcpQuote := ip{src: router, dst: target}.icmp(11, 0, ipPacket(ip{src: target, dst: victim}, packet.TCP, tcpBody(tcp{from: 5, to: 80, flags: packet.SYN}))[:28])
	v6 := ip{src: "2001:db8:f::1", dst: "2001:db8:d::1"}.icmp(1, 3, ipPacket(ip{src: "2001:db8:d::1", dst: "2001:db8:f::80"}, packet.UDP, udpBody(9, 53, nil)))
	type seen struct {
		Source    string
		Port      uint16
		Proto     uint8
		Packets   uint32
		Solicited bool
	}
	router3 := seen{router, 0x0301, packet.ICMP, 1, true}
	for _, c := range []struct {
		name string
		recs []rec
		want []seen
	}{
		{"a router's", []rec{quote(router, target, victim)}, []seen{{victim, 53, packet.UDP, 1, false}, router3}},
		{"the victim's own", []rec{quote(victim, target, victim)}, []seen{{victim, 53, packet.UDP, 1, false}, {victim, 0x0301, packet.ICMP, 1, true}}},
		{"two routers, one victim", []rec{quote(router, target, victim), quote("203.0.113.2", target, victim)}, []seen{
			{victim, 53, packet.UDP, 2, false}, router3, {"203.0.113.2", 0x0301, packet.ICMP, 1, true},
		}},
		{"of TCP, eight bytes of it", []rec{tcpQuote}, []seen{{victim, 80, packet.TCP, 1, false}, {router, 0x0b00, packet.ICMP, 1, true}}},
		{"of IPv6", []rec{v6}, []seen{{"2001:db8:f::1", 0x0103, packet.ICMPv6, 1, true}, {"2001:db8:f::80", 53, packet.UDP, 1, false}}},
		{"whose source isn't dark", []rec{quote(router, "192.0.2.1", victim)}, []seen{router3}},
		{"whose destination is dark", []rec{quote(router, target, "198.51.100.99")}, []seen{router3}},
		{"that makes no sense", []rec{ip{src: router, dst: target}.icmp(3, 1, []byte{0x15, 2, 3})}, []seen{router3}},
		{"to an address that has sent", []rec{ip{src: target, dst: victim}.udp(4444, 53, nil), quote(router, target, victim)}, []seen{{victim, 53, packet.UDP, 1, true}, router3}},
	} {
		for _, workers := range []int{1, 2, 3, 5} {
			cfg := dark("198.51.100.0/24", "2001:db8:d::/64")
			cfg.Workers = workers
			for i := range c.recs {
				c.recs[i].t = start + int64(i)
			}
			r := watch(t, cfg, c.recs...)
			var got []seen
			for _, s := range r.sights() {
				got = append(got, seen{s.Source.String(), s.Port, s.Proto, s.Packets, s.Flags&observe.Solicited != 0})
				if s.Kind != observe.KindICMPError {
					t.Errorf("%s: a sighting of %s", c.name, s.Kind)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s, %d workers (-want +got):\n%s", c.name, workers, d)
			}
			// A victim that somebody else's error names sent no packet.
			d := r.document()
			sum := uint64(0)
			for _, n := range classes(d) {
				sum += n
			}
			if sum != d.DarkPackets || d.DarkPackets+d.FromDark != uint64(len(c.recs)) || len(d.Scanners) > 0 {
				t.Errorf("%s: %d dark packets, %d in classes, %d scanners", c.name, d.DarkPackets, sum, len(d.Scanners))
			}
		}
	}
}

// TestSpoofHints checks each hint, and what is none.
func TestSpoofHints(t *testing.T) {
	from := func(src string) rec { return syn(src, target, 23) }
	raw := ip{src: host, dst: target, ttl: 250}.tcp(tcp{from: 1, to: 2, flags: packet.SYN, window: 512})
	masscan := ip{src: host, dst: target, ttl: 250, id: low(0xc6336407 ^ 23 ^ 77)}.tcp(tcp{from: 1, to: 23, seq: 77, flags: packet.SYN, window: 1024})
	for _, c := range []struct {
		name string
		r    rec
		want bool
	}{
		{"an ordinary host", from(host), false},
		{"host part 0", from("192.0.2.0"), true},
		{"host part 255", from("192.0.2.255"), true},
		{"this network", from("0.0.0.9"), true},
		{"loopback", from("127.0.0.9"), true},
		{"10/8", from("10.1.2.3"), true},
		{"172.16/12", from("172.31.2.3"), true},
		{"beside 172.16/12", from("172.32.2.3"), false},
		{"192.168/16", from("192.168.2.3"), true},
		{"multicast", from("224.1.2.3"), true},
		{"reserved", from("240.1.2.3"), true},
		{"port 0 asked", syn(host, target, 0), true},
		{"from port 0", ip{src: host, dst: target}.udp(0, 53, []byte("x")), true},
		{"fragment without ports", frame(ip{src: host, dst: target, frag: 3}, packet.ICMP, make([]byte, 8)), false},
		{"TTL of a raw socket", raw, true},
		{"TTL of a raw socket, of a named tool", masscan, false},
		{"TTL 199", ip{src: host, dst: target, ttl: 199}.tcp(tcp{from: 1, to: 2, flags: packet.SYN}), false},
		{"TTL 255 of an answer", ip{src: host, dst: target, ttl: 255}.tcp(tcp{from: 1, to: 2, flags: packet.SYN | packet.ACK}), false},
		{"IPv6", syn("2001:db8::", "2001:db8:d::1", 23), false},
	} {
		var d packet.Decoder
		var p packet.Packet
		d.Decode(c.r.link, c.r.data, 0, &p)
		if got := telescope.SpoofHint(&p); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if p.Dst.Is4() {
			e := watch(t, dark("198.51.100.0/24"), c.r.at(start)).one(t)
			if got := e.Flags&observe.SpoofHint != 0; got != c.want {
				t.Errorf("%s: the event says %v", c.name, got)
			}
		}
	}
}

// TestMaybeVictim: a scanner of amplifiers is shown with the doubt that its address
// may be forged, but where it scans openly or the operator knows that nobody can.
func TestMaybeVictim(t *testing.T) {
	monlist := []byte{0x17, 0, 3, 0x2a, 0, 0, 0, 0}
	cfg := own(dark("198.51.100.0/24"), "192.0.2.0/24")
	cfg.Verified = []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}
	cfg.Research = func(a packet.Addr) bool { return a == packet.V4(0xcb007107) }
	want := map[string]bool{"203.0.113.6": true, "203.0.113.7": false, "192.0.2.9": true, "192.0.2.200": false}
	var recs []rec
	for i := range 40 {
		for src := range want {
			recs = append(recs, ip{src: src, dst: fmt.Sprintf("198.51.100.%d", i)}.udp(40000, 123, monlist).at(start+int64(i)*second))
		}
		recs = append(recs, ip{src: "192.0.2.9", dst: fmt.Sprintf("198.51.100.%d", i)}.udp(40000, 161, snmp(0xa0)).at(start+int64(i)*second))
	}
	r := watch(t, cfg, recs...)
	r.move(t, 3)                    // the state keeps it
	for _, e := range r.AllOpen() { // research is flagged, and known as such
		if asks := e.Flags&observe.AmplifierAsk != 0; asks != (e.Port == 123 && e.Source.String() != "192.0.2.200") {
			t.Errorf("%s %d: asks amplifiers: %v", e.Source, e.Port, asks)
		}
	}
	for _, s := range r.document().Scanners {
		if said := s.MaybeVictim; said != (s.Port == 123 && want[s.Source.String()]) {
			t.Errorf("%s %d: maybe a victim: %v", s.Source, s.Port, said)
		}
	}
	cfg.Verified = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}
	if _, err := telescope.New(cfg, &sink{}); err == nil || !strings.Contains(err.Error(), "192.0.0.0/16") {
		t.Errorf("a verified prefix that isn't own: %v", err)
	}
}

// TestAmplifierAsks: whoever asks few dark addresses again and again for an
// amplified answer may be the victim that an attacker forged; whoever asks many
// looks for amplifiers.
func TestAmplifierAsks(t *testing.T) {
	monlist := []byte{0x17, 0, 3, 0x2a, 0, 0, 0, 0}
	anyQuestion := append([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4}, "test\x00\x00\xff\x00\x01"...)
	for _, c := range []struct {
		name           string
		port           uint16
		payload        []byte
		targets, times int
		scan, asks     bool
	}{
		{"monlist, 2 targets 60 times", 123, monlist, 2, 60, false, true},
		{"monlist, 5 targets 40 times", 123, monlist, 5, 40, false, true},
		{"monlist, 5 targets 9 times", 123, monlist, 5, 9, true, true},
		{"monlist, 200 targets once", 123, monlist, 200, 1, true, true},
		{"memcached, 3 targets 30 times", 11211, []byte("\x00\x01\x00\x00\x00\x01\x00\x00stats\r\n"), 3, 30, false, true},
		{"ANY, 3 targets 30 times", 53, anyQuestion, 3, 30, false, true},
		{"A, 3 targets 30 times", 53, dns(1, "example"), 3, 30, true, false},
		{"M-SEARCH, 3 targets 30 times", 1900, []byte("M-SEARCH * HTTP/1.1\r\n"), 3, 30, false, true},
		{"NOTIFY, 3 targets 30 times", 1900, []byte("NOTIFY * HTTP/1.1\r\n"), 3, 30, true, false},
		{"plain NTP, 3 targets 30 times", 123, append([]byte{0x23}, make([]byte, 47)...), 3, 30, true, false},
		{"empty datagrams to chargen", 19, nil, 3, 30, true, false},
	} {
		var recs []rec
		for i := range c.targets * c.times {
			dst := fmt.Sprintf("198.51.100.%d", i%c.targets)
			recs = append(recs, ip{src: host, dst: dst}.udp(40000, c.port, c.payload).at(start+int64(i)*second))
		}
		r := watch(t, dark("198.51.100.0/24"), recs...)
		e := r.one(t)
		if scan, asks := e.Flags&observe.Scanner != 0, e.Flags&observe.AmplifierAsk != 0; scan != c.scan || asks != c.asks {
			t.Errorf("%s: scanner %v, asks %v", c.name, scan, asks)
		}
		if d := r.document(); (len(d.Scanners) == 1) != c.scan {
			t.Errorf("%s: %d scanners in the document", c.name, len(d.Scanners))
		}
	}
}
