package ddos

import (
	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// class is what kind of packets a flow is made of. What of it is a flood is for
// form.go to say: most classes are ordinary most of the time.
type class = uint8

const (
	synOnly    class = iota // asks for a connection
	synAck                  // answers to one
	ackOnly                 // data and acknowledgements
	rstOnly                 // refusals
	tcpData                 // of a connection that was seen to carry something, or flags that weren't told
	tcpOdd                  // flags that no TCP sends: none, FIN alone, SYN with FIN
	tcpEmpty                // connections that came about, and carried nothing
	udpAny                  // UDP that is nothing of what follows
	dnsQuery                // to port 53
	icmpAny                 // ICMP, ICMPv6
	laterParts              // fragments without ports
	greAny                  // GRE
	ipAny                   // any other protocol
	reflected               // the first of the reflectors' answers
)

// classes is how many there can be: reflected and one for each reflector.
const classes = 48

// kind names a class as a vector.
type kind struct {
	name   string
	ja, en string
	proto  uint8 // 0 several
	port   uint16
	flags  string
}

var kinds = allKinds()

func allKinds() (k [classes]kind) {
	k[synOnly] = kind{name: "syn", ja: "SYN フラッド", en: "SYN flood", proto: packet.TCP, flags: "SYN"}
	k[synAck] = kind{name: "syn-ack-reflection", ja: "SYN/ACK リフレクション", en: "SYN/ACK reflection", proto: packet.TCP, flags: "SYN,ACK"}
	k[ackOnly] = kind{name: "ack", ja: "ACK フラッド", en: "ACK flood", proto: packet.TCP, flags: "ACK"}
	k[rstOnly] = kind{name: "rst", ja: "RST フラッド", en: "RST flood", proto: packet.TCP, flags: "RST"}
	k[tcpData] = kind{name: "tcp", ja: "TCP フラッド", en: "TCP flood", proto: packet.TCP}
	k[tcpOdd] = kind{name: "tcp-flags", ja: "不正なフラグの TCP フラッド", en: "TCP flood with impossible flags", proto: packet.TCP}
	k[tcpEmpty] = kind{name: "connections", ja: "接続フラッド", en: "connection flood", proto: packet.TCP}
	k[udpAny] = kind{name: "udp", ja: "UDP フラッド", en: "UDP flood", proto: packet.UDP}
	k[dnsQuery] = kind{name: "dns-queries", ja: "DNS クエリーフラッド", en: "flood of DNS queries", proto: packet.UDP}
	k[icmpAny] = kind{name: "icmp", ja: "ICMP フラッド", en: "ICMP flood", proto: packet.ICMP}
	k[laterParts] = kind{name: "fragments", ja: "フラグメントフラッド", en: "flood of fragments"}
	k[greAny] = kind{name: "gre", ja: "GRE フラッド", en: "GRE flood", proto: 47}
	k[ipAny] = kind{name: "ip", ja: "その他プロトコルのフラッド", en: "flood of another protocol"}
	for _, r := range reflectors {
		k[portClass[r.port]] = kind{
			name: r.name + "-amplification", ja: r.ja + " 増幅攻撃", en: r.en + " amplification",
			proto: packet.UDP, port: r.port,
		}
	}
	for i := range k { // IKE has two ports
		if k[i].name == "ike-amplification" {
			k[i].port = 0
		}
	}
	return k
}

// Vectors are the names of all vectors, those of reflectors last.
func Vectors() (names []string) {
	for i := range kinds {
		if kinds[i].name != "" {
			names = append(names, kinds[i].name)
		}
	}
	return names
}

// portClass is the class of a reflector's port, 0 of any other; leastSize its size.
var portClass, leastSize = allPorts()

func allPorts() (c [1 << 16]class, size [classes]uint16) {
	next, byName := reflected, map[string]class{}
	for _, r := range reflectors {
		if _, ok := byName[r.name]; !ok {
			byName[r.name] = next
			next++
		}
		c[r.port] = byName[r.name]
		size[byName[r.name]] = r.size
	}
	return c, size
}

const greProto = 47

// longQuery is how many bytes a query of the DNS never has.
const longQuery = 300

// classOf tells the class of a flow towards its destination.
func classOf(f *observe.Flow) class {
	if f.Marks&observe.FlowFragment != 0 {
		return laterParts
	}
	switch f.Proto {
	case packet.TCP:
		return tcpClass(f)
	case packet.UDP:
		if c := portClass[f.SrcPort]; c != 0 && f.Bytes >= f.Packets*uint64(leastSize[c]) {
			return c
		}
		if f.DstPort == 53 && f.Bytes < f.Packets*longQuery {
			return dnsQuery
		}
		return udpAny
	case packet.ICMP, packet.ICMPv6:
		return icmpAny
	case greProto:
		return greAny
	}
	return ipAny
}

// answerClass tells the class for which a flow vouches as an answer, or a question,
// the other way: of UDP by the service's port, however small.
func answerClass(f *observe.Flow, c class) class {
	if f.Proto == packet.UDP && f.Marks&observe.FlowFragment == 0 {
		if r := portClass[f.DstPort]; r != 0 {
			return r
		}
		if f.SrcPort == 53 {
			return dnsQuery
		}
		return udpAny
	}
	return c
}

const flagBits = packet.FIN | packet.SYN | packet.RST | packet.PSH | packet.ACK | packet.URG

// tcpClass reads the flags of all packets of a flow together.
func tcpClass(f *observe.Flow) class {
	if f.Marks&observe.FlowNoFlags != 0 {
		return tcpData
	}
	const syn, ack, fin, rst, psh = packet.SYN, packet.ACK, packet.FIN, packet.RST, packet.PSH
	fl := f.TCPFlags & flagBits
	switch {
	case fl&(syn|ack) == syn:
		if fl&fin != 0 {
			return tcpOdd
		}
		return synOnly
	case fl&syn != 0: // with ACK: a connection came about, or is answered
		one := f.Packets <= uint64(max(f.Rate, 1))
		switch {
		case fl == syn|ack && (one || f.SrcPort < f.DstPort):
			return synAck
		case fl&psh == 0 && f.Bytes < f.Packets*80 && f.DstPort < f.SrcPort:
			return tcpEmpty
		}
		return tcpData
	case fl == ack:
		return ackOnly
	case fl&ack == 0 && fl&rst == 0:
		return tcpOdd
	case fl&rst != 0 && fl&(psh|fin) == 0:
		return rstOnly
	}
	return tcpData
}

// newFlows is for how many new connections a record stands: what a flood of them is
// counted by. A request for one is one, whoever sampled it; of which connections other
// sampled packets are can't be told, so their number is a floor. UDP and the rest have no
// connections, and are counted by their packets.
func newFlows(f *observe.Flow, c class) float32 {
	switch {
	case c == synOnly:
		return float32(f.Packets)
	case f.Proto != packet.TCP || f.Marks&observe.FlowSample != 0 || f.TCPFlags&packet.SYN == 0:
		return 0
	}
	return 1
}

// words are a vector's in both languages.
func (k *kind) words() detect.Text { return detect.Text{JA: k.ja, EN: k.en} }
