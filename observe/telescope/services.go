package telescope

import (
	"bytes"
	"encoding/binary"
)

// answer says what a datagram from a service's port is.
type answer uint8

const (
	notAnswer answer = iota // a question, or nothing of the service
	isAnswer                // what the service says when it is asked
)

// service recognises the answers of one UDP service. A datagram from its port
// is judged by its payload; when the capture cut the payload off, by the ports
// alone: a question goes to a service's port, an answer comes from it.
type service struct {
	name      string
	reflected bool // the answer is known to be larger than the question: DRDoS
	answer    func(payload []byte) answer
}

// services are keyed by the service's UDP port. DNS, plain NTP time, SNMP and
// QUIC answer at about the size of the question or are attacked themselves, so
// their answers are backscatter; the others are the reflectors of US-CERT
// TA14-017A and its later additions, whose answers are reflection.
var services = map[uint16]service{
	17:    {"qotd", true, always},
	19:    {"chargen", true, always},
	53:    {"dns", false, dnsAnswer},
	69:    {"tftp", true, tftpAnswer},
	111:   {"portmap", true, rpcAnswer},
	123:   {"ntp", false, ntpAnswer},
	137:   {"netbios-ns", true, dnsAnswer},
	161:   {"snmp", false, snmpAnswer},
	389:   {"cldap", true, cldapAnswer},
	427:   {"slp", true, slpAnswer},
	443:   {"quic", false, quicAnswer},
	500:   {"isakmp", true, ikeAnswer},
	520:   {"rip", true, ripAnswer},
	1434:  {"mssql", true, firstByte(0x05)},
	1900:  {"ssdp", true, prefix("HTTP/1.")},
	3283:  {"ard", true, always},
	3478:  {"stun", true, stunAnswer},
	3702:  {"ws-discovery", true, contains("ProbeMatch")},
	4500:  {"isakmp-nat-t", true, ikeAnswer},
	5060:  {"sip", false, prefix("SIP/2.0 ")},
	5093:  {"sentinel", true, always},
	5353:  {"mdns", true, dnsAnswer},
	5683:  {"coap", true, coapAnswer},
	10001: {"ubiquiti", true, always},
	11211: {"memcached", true, memcachedAnswer},
	17185: {"vxworks-wdb", true, rpcAnswer},
	27015: {"steam", true, steamAnswer},
	32414: {"plex", true, prefix("HTTP/1.")},
	37810: {"dhdiscover", true, dhipAnswer},
}

func always([]byte) answer { return isAnswer }

func when(is bool) answer {
	if is {
		return isAnswer
	}
	return notAnswer
}

func firstByte(b byte) func([]byte) answer {
	return func(p []byte) answer { return when(p[0] == b) }
}

func prefix(s string) func([]byte) answer {
	return func(p []byte) answer { return when(bytes.HasPrefix(p, []byte(s))) }
}

func contains(s string) func([]byte) answer {
	return func(p []byte) answer { return when(bytes.Contains(p, []byte(s))) }
}

// dnsAnswer reads the QR bit (RFC 1035 §4.1.1; NetBIOS and mDNS use the same header).
func dnsAnswer(p []byte) answer { return when(len(p) >= 3 && p[2]&0x80 != 0) }

// ntpAnswer is true of a server's or a broadcast's time (modes 4 and 5, RFC 5905);
// control and private answers are ntpAmplified.
func ntpAnswer(p []byte) answer { m := p[0] & 7; return when(m == 4 || m == 5 || ntpAmplified(p)) }

// ntpAmplified is true of an answer to a control (mode 6, RFC 9327) or private
// (mode 7, monlist) request: the response bit is set.
func ntpAmplified(p []byte) bool {
	switch p[0] & 7 {
	case 6:
		return len(p) >= 2 && p[1]&0x80 != 0
	case 7:
		return p[0]&0x80 != 0
	}
	return false
}

// snmpAnswer finds the response PDU (context tag 2, RFC 3416) after version and
// community, walking the BER lengths.
func snmpAnswer(p []byte) answer {
	body, _, ok := ber(p, 0x30)
	if !ok {
		return notAnswer
	}
	_, rest, ok := ber(body, 0x02)
	if !ok {
		return notAnswer
	}
	if len(rest) > 0 && rest[0] == 0x30 { // SNMPv3: the PDU is further in, and may be encrypted
		return notAnswer
	}
	_, rest, ok = ber(rest, 0x04)
	return when(ok && len(rest) > 0 && rest[0] == 0xa2)
}

// ber reads one element with the given tag: its content as far as it was
// captured, and what follows.
func ber(p []byte, tag byte) (content, rest []byte, ok bool) {
	if len(p) < 2 || p[0] != tag {
		return nil, nil, false
	}
	n, p := int(p[1]), p[2:]
	if n&0x80 != 0 {
		k := n & 0x7f
		if k == 0 || k > 3 || len(p) < k {
			return nil, nil, false
		}
		n = 0
		for _, b := range p[:k] {
			n = n<<8 | int(b)
		}
		p = p[k:]
	}
	n = min(n, len(p))
	return p[:n], p[n:], true
}

// cldapAnswer finds a search result (application tags 4 and 5, RFC 4511).
func cldapAnswer(p []byte) answer {
	body, _, ok := ber(p, 0x30)
	if !ok {
		return notAnswer
	}
	_, rest, ok := ber(body, 0x02)
	return when(ok && len(rest) > 0 && (rest[0] == 0x64 || rest[0] == 0x65))
}

// slpAnswer is true of a service or attribute reply (RFC 2608 §8).
func slpAnswer(p []byte) answer {
	return when(len(p) >= 2 && (p[1] == 2 || p[1] == 7 || p[1] == 10))
}

// rpcAnswer reads the message type of ONC RPC (RFC 5531 §9): 1 is a reply.
func rpcAnswer(p []byte) answer {
	return when(len(p) >= 8 && binary.BigEndian.Uint32(p[4:]) == 1)
}

// tftpAnswer is true of data, acknowledgement, error and option packets (RFC 1350).
func tftpAnswer(p []byte) answer { return when(len(p) >= 2 && p[0] == 0 && p[1] >= 3 && p[1] <= 6) }

// ripAnswer reads the command (RFC 2453 §3.6): 2 is a response.
func ripAnswer(p []byte) answer { return when(p[0] == 2) }

// ikeAnswer is true when the responder's cookie is set (RFC 2408 §3.1, RFC 7296
// §3.1); port 4500 puts four zero bytes before (RFC 3948).
func ikeAnswer(p []byte) answer {
	if len(p) >= 20 && binary.BigEndian.Uint32(p) == 0 {
		p = p[4:]
	}
	return when(len(p) >= 16 && binary.BigEndian.Uint64(p[8:]) != 0)
}

// stunAnswer reads the class bits (RFC 8489 §5): success or error response.
func stunAnswer(p []byte) answer { return when(len(p) >= 2 && p[0]&0xc1 == 0x01) }

// coapAnswer reads the code's class (RFC 7252 §3): 2, 4 and 5 are responses.
func coapAnswer(p []byte) answer { return when(len(p) >= 4 && p[0]>>6 == 1 && p[1] >= 0x40) }

// memcachedAnswer is true of what a server says after the 8-byte UDP header.
func memcachedAnswer(p []byte) answer {
	if len(p) < 8 {
		return notAnswer
	}
	for _, w := range []string{"STAT ", "VALUE ", "END", "ERROR", "VERSION "} {
		if bytes.HasPrefix(p[8:], []byte(w)) {
			return isAnswer
		}
	}
	// Later datagrams of a long answer have a sequence number and no word.
	return when(binary.BigEndian.Uint16(p[2:]) > 0)
}

// steamAnswer is true of the A2S answers I, A, D, E, and of split packets.
func steamAnswer(p []byte) answer {
	if len(p) < 5 {
		return notAnswer
	}
	switch binary.BigEndian.Uint32(p) {
	case 0xfeffffff: // -2, little-endian
		return isAnswer
	case 0xffffffff:
		return when(bytes.IndexByte([]byte("IADEm"), p[4]) >= 0)
	}
	return notAnswer
}

// dhipAnswer is true of what a recorder says to a DHDiscover.search: both begin
// with the same mark. The port is one of those that hosts ask from, so a
// datagram without it is nothing of this service.
func dhipAnswer(p []byte) answer {
	return when(bytes.HasPrefix(p, []byte(" \x00\x00\x00DHIP")) && !bytes.Contains(p, []byte("DHDiscover.search")))
}

// quicAnswer is true of long-header packets from the server's port: version
// negotiation (version 0), Retry, Initial and Handshake (RFC 8999, RFC 9000 §17.2).
func quicAnswer(p []byte) answer { return when(len(p) >= 7 && p[0]&0x80 != 0) }

// amplifierAsk tells whether a datagram to a service asks for an amplified
// answer. Its source may be forged: it is then the victim, not a scanner.
func amplifierAsk(port uint16, p []byte) bool {
	if len(p) == 0 {
		return false
	}
	switch port {
	case 123:
		return p[0]&7 >= 6 && !ntpAmplified(p)
	case 17, 19, 389, 427, 1434, 3283, 3702, 5093, 10001, 11211, 37810:
		return true
	case 1900:
		return bytes.HasPrefix(p, []byte("M-SEARCH"))
	case 53: // a question for ANY (255) is asked by nobody but attackers and testers
		return len(p) >= 17 && p[2]&0x80 == 0 && bytes.Contains(p[12:], []byte{0, 0, 255, 0, 1})
	}
	return false
}

// peerAsk tells a question of BitTorrent's DHT (BEP 5): it goes to an address
// that was a peer once, and its sender isn't looking for hosts.
func peerAsk(p []byte) bool { return bytes.HasPrefix(p, []byte("d1:ad2:id20:")) }
