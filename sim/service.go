package sim

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The payloads of services over UDP, by their port.
const (
	portChargen   = 19
	portDNS       = 53
	portNTP       = 123
	portSNMP      = 161
	portCLDAP     = 389
	portQUIC      = 443
	portSyslog    = 514
	portSSDP      = 1900
	portSIP       = 5060
	portDHT       = 6881
	portMemcached = 11211
	portNetcore   = 53413
)

// dnsName is a name in wire form; DNS probes ask for a name of their own, so
// that the answer finds its way back to them.
func dnsName(b []byte, name string) []byte {
	for l := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0)
}

func dnsQuery(b []byte, id uint16, name string, qtype uint16) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	b = dnsName(b, name)
	b = binary.BigEndian.AppendUint16(b, qtype)
	return append(b, 0, 1)
}

// dnsAnswer is what a resolver under a flood of invented names says: NXDOMAIN,
// or REFUSED.
func dnsAnswer(b []byte, r *rng) []byte {
	at := len(b)
	b = dnsQuery(b, r.u16(), fmt.Sprintf("%08x.example.net", r.u32()), 1)
	b[at+2], b[at+3] = 0x81, 0x83
	if r.below(3) == 0 {
		b[at+3] = 0x85
	}
	return b
}

const monlist = 42 // MON_GETLIST_1 of ntpd's mode 7

// request is the probe that scanners send to a port; ports without one of their
// own get that of 53413, which was asked for everywhere in 2016.
func request(b []byte, port uint16, r *rng) []byte {
	switch port {
	case portChargen:
		return append(b, 1)
	case portDNS:
		return dnsQuery(b, r.u16(), fmt.Sprintf("%08x.probe.example.org", r.u32()), 1)
	case portNTP:
		b = append(b, 0x17, 0, 3, monlist)
		return append(b, make([]byte, 44)...)
	case portSNMP:
		return snmp(b, 0xa0, r.u32()&0x7fffffff, nil)
	case portCLDAP:
		b = append(b, 0x30, 0x25, 2, 1, 1, 0x63, 0x20, 4, 0, 10, 1, 0, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0, 0x87, 11)
		return append(append(b, "objectclass"...), 0x30, 0)
	case portQUIC:
		b = append(b, 0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8) // a version that forces negotiation (RFC 9000 §15)
		b = binary.BigEndian.AppendUint64(b, r.u64())
		b = append(b, 8)
		b = binary.BigEndian.AppendUint64(b, r.u64())
		b = append(b, 0) // no token
		b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(1200-len(b)-2))
		return append(b, make([]byte, 1200-len(b))...)
	case portSyslog:
		return fmt.Appendf(b, "<134>Oct  1 00:00:00 gateway app[%d]: link up", r.below(9999))
	case portSSDP:
		return append(b, "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n"...)
	case portSIP:
		return fmt.Appendf(b, "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK-%d;rport\r\nMax-Forwards: 70\r\n"+
			"From: \"scanner\"<sip:100@192.0.2.1>;tag=%08x\r\nTo: <sip:100@192.0.2.1>\r\nCall-ID: %d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
			r.below(1<<31), r.u32(), r.below(1<<31))
	case portDHT:
		b = append(b, "d1:ad2:id20:"...)
		b = binary.BigEndian.AppendUint64(b, r.u64())
		b = binary.BigEndian.AppendUint64(b, r.u64())
		b = binary.BigEndian.AppendUint32(b, r.u32())
		return append(b, "e1:q4:ping1:t2:aa1:y1:qe"...)
	case portMemcached:
		return append(b, "\x00\x01\x00\x00\x00\x01\x00\x00stats\r\n"...)
	}
	return append(b, "AA\x00\x00AAAA netcore\x00"...) // the back door behind 53413/UDP
}

// snmp is a v2c message with the public community for sysDescr.0: a request
// (value nil) or a response.
func snmp(b []byte, pdu byte, id uint32, value []byte) []byte {
	item := []byte{5, 0}
	if value != nil {
		item = append([]byte{4, byte(len(value))}, value...)
	}
	n := byte(len(item))
	b = append(b, 0x30, 39+n, 2, 1, 1, 4, 6)
	b = append(b, "public"...)
	b = append(b, pdu, 26+n, 2, 4)
	b = binary.BigEndian.AppendUint32(b, id)
	b = append(b, 2, 1, 0, 2, 1, 0, 0x30, 12+n, 0x30, 10+n, 6, 8, 0x2b, 6, 1, 2, 1, 1, 1, 0)
	return append(b, item...)
}

// answer is what a flooded server says to a request that somebody forged.
func answer(b []byte, port uint16, r *rng) []byte {
	switch port {
	case portDNS:
		return dnsAnswer(b, r)
	case portNTP: // mode 4, stratum 2 (RFC 5905)
		b = append(b, 0x24, 2, 3, 0xe8, 0, 0, 0x0b, 0xb8, 0, 0, 0x10, 0, 192, 0, 2, 123)
		for range 4 {
			b = binary.BigEndian.AppendUint64(b, 0xdb9f_0000_0000_0000|r.u64()>>24)
		}
		return b
	case portSNMP:
		return snmp(b, 0xa2, r.u32()&0x7fffffff, []byte("Linux gateway 4.14.0"))
	}
	// QUIC version negotiation (RFC 9000 §17.2.1)
	b = append(b, 0x80|byte(r.u64()), 0, 0, 0, 0, 8)
	b = binary.BigEndian.AppendUint64(b, r.u64())
	b = append(b, 8)
	b = binary.BigEndian.AppendUint64(b, r.u64())
	return append(b, 0, 0, 0, 1, 0x6b, 0x33, 0x43, 0xcf)
}

// amplified is the long answer of a reflector.
func amplified(b []byte, port uint16, r *rng) []byte {
	switch port {
	case portNTP: // six entries of a monitor list, 72 bytes each
		b = append(b, 0xd7, byte(r.below(100)), 3, monlist, 0, 6, 0, 72)
		for range 6 * 9 {
			b = binary.BigEndian.AppendUint64(b, r.u64())
		}
		return b
	case portSSDP:
		return fmt.Appendf(b, "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\nLOCATION: http://192.168.1.1:1900/rootDesc.xml\r\n"+
			"SERVER: Linux/3.4 UPnP/1.0 MiniUPnPd/1.9\r\nST: upnp:rootdevice\r\nUSN: uuid:%08x-0000-0000-0000-000000000000::upnp:rootdevice\r\n\r\n", r.u32())
	case portMemcached:
		b = append(b, 0, 1, 0, 0, 0, 1, 0, 0)
		return fmt.Appendf(b, "STAT pid %d\r\nSTAT uptime %d\r\nSTAT version 1.4.25\r\nSTAT curr_connections 10\r\nSTAT bytes %d\r\nEND\r\n",
			r.below(30000), r.below(1<<24), r.below(1<<30))
	case portCLDAP: // a result entry with one long attribute
		const long = 800
		b = append(b, 0x30, 0x82, 0x03, 0x42, 2, 1, 1, 0x64, 0x82, 0x03, 0x3b, 4, 0, 0x30, 0x82, 0x03, 0x35)
		b = append(b, 0x30, 0x82, 0x03, 0x31, 4, 7)
		b = append(b, "service"...)
		b = append(b, 0x31, 0x82, 0x03, 0x24, 4, 0x82, 0x03, 0x20)
		for range long {
			b = append(b, 'a'+byte(r.below(26)))
		}
		return b
	}
	for i := range 8 { // chargen (RFC 864): lines of 72 characters
		for k := range 72 {
			b = append(b, ' '+byte((i+k)%95))
		}
		b = append(b, '\r', '\n')
	}
	return b
}
