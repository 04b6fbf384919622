package sim

import "sakimori/base/wire/packet"

// Protocols that the decoder of packets has no name for.
const (
	protoGRE = 47
	protoESP = 50
)

// Vectors are the ways to flood that scenes know, those without reflectors first. Sizes
// are typical ones, of IP packets.
func Vectors() []Vector { return append(plainVectors(), reflections()...) }

// VectorByName is the vector of that name, the zero Vector when there is none.
func VectorByName(name string) Vector {
	for _, v := range Vectors() {
		if v.Name == name {
			return v
		}
	}
	return Vector{}
}

func plainVectors() []Vector {
	return []Vector{
		{Name: "syn", Proto: packet.TCP, DstPort: 80, Flags: packet.SYN, Sizes: []uint16{40, 44, 60, 52}},
		{Name: "syn-ack-reflection", Proto: packet.TCP, SrcPort: 443, Flags: packet.SYN | packet.ACK, Sizes: []uint16{44, 60}, Sources: 8000},
		{Name: "ack", Proto: packet.TCP, DstPort: 443, Flags: packet.ACK, Sizes: []uint16{40, 52}},
		{Name: "rst", Proto: packet.TCP, DstPort: 443, Flags: packet.RST, Sizes: []uint16{40}},
		{Name: "udp", Proto: packet.UDP, Sizes: []uint16{540, 1052, 1440, 540}, Sources: 4000},
		{Name: "icmp", Proto: packet.ICMP, DstPort: 8 << 8, Sizes: []uint16{84, 1028}, Sources: 3000},
		{Name: "fragments", Proto: packet.UDP, Sizes: []uint16{1500}, Later: 1, Sources: 2000},
		{Name: "gre", Proto: protoGRE, Sizes: []uint16{540, 556}, Sources: 5000},
		{Name: "connections", Proto: packet.TCP, DstPort: 443, Flags: packet.SYN, Sizes: []uint16{60}, Sources: 90000},
		{Name: "dns-queries", Proto: packet.UDP, DstPort: portDNS, Sizes: []uint16{64, 71, 77, 68}, Sources: 900},
	}
}

// reflections are the amplifiers of the reference, by the UDP port that they answer from.
func reflections() []Vector {
	var list []Vector
	for _, a := range []struct {
		port    uint16
		name    string
		sizes   []uint16
		later   int
		sources int
	}{
		{17, "qotd", []uint16{240, 300, 512}, 0, 800},
		{19, "chargen", []uint16{1052, 1500, 1500}, 1, 900},
		{portDNS, "dns", []uint16{1500, 1500, 1100}, 1, 6000},
		{69, "tftp", []uint16{544}, 0, 700},
		{111, "portmap", []uint16{486, 656}, 0, 1500},
		{portNTP, "ntp", []uint16{468}, 0, 4000},
		{137, "netbios", []uint16{229, 265}, 0, 1200},
		{portSNMP, "snmp", []uint16{1200, 1460}, 0, 2500},
		{portCLDAP, "cldap", []uint16{1500, 1500, 900}, 1, 3000},
		{427, "slp", []uint16{1400, 1480}, 0, 600},
		{520, "rip", []uint16{532}, 0, 500},
		{1194, "openvpn", []uint16{82, 110}, 0, 2500},
		{1434, "mssql", []uint16{430, 629}, 0, 900},
		{1701, "l2tp", []uint16{100, 148}, 0, 2000},
		{portSSDP, "ssdp", []uint16{300, 340, 380}, 0, 5000},
		{3283, "arms", []uint16{1032}, 0, 1000},
		{3478, "stun", []uint16{120, 148}, 0, 2500},
		{3702, "wsd", []uint16{650, 1100, 1460}, 0, 2000},
		{5093, "sentinel", []uint16{1460}, 0, 300},
		{5353, "mdns", []uint16{200, 420}, 0, 1500},
		{5683, "coap", []uint16{540, 1100}, 0, 2500},
		{portDHT, "bittorrent", []uint16{320, 390}, 0, 3000},
		{10001, "ubiquiti", []uint16{190, 206}, 0, 1500},
		{10074, "tp240", []uint16{1100, 1300}, 0, 200},
		{portMemcached, "memcached", []uint16{1428}, 0, 900},
		{27015, "steam", []uint16{200, 330}, 0, 1800},
		{32414, "plex", []uint16{280, 310}, 0, 900},
		{37810, "dhdiscover", []uint16{700, 1000}, 0, 1200},
		{4500, "ike", []uint16{246}, 0, 2800},
	} {
		list = append(list, Vector{Name: a.name + "-amplification", Proto: packet.UDP, SrcPort: a.port, Sizes: a.sizes, Later: a.later, Sources: a.sources})
	}
	return list
}
