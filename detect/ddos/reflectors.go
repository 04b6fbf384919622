package ddos

// reflector is a kind of server on the Internet that answers with more than it was
// asked, to whom it believes it was.
type reflector struct {
	port   uint16
	name   string // of the vector: name + "-amplification"
	ja, en string // as people call it
	// size is the mean of bytes that packets of such an answer have at least, with
	// headers: below it they are what anybody gets from this service.
	size uint16
	// When the row was written, and by whom it is said to be used.
	dated  string
	source string
}

const (
	alert  = "US-CERT TA14-017A, UDP-Based Amplification Attacks"
	rossow = "Rossow, Amplification Hell (NDSS 2014)"
	house  = "the project's own reference of flows, §6"
)

// reflectors is data: attacks find new ones each year, and a row is all they take.
var reflectors = []reflector{
	{17, "qotd", "QOTD", "QOTD", 100, "2014-01-17", alert},
	{19, "chargen", "CharGEN", "CharGEN", 200, "2014-01-17", alert},
	{53, "dns", "DNS", "DNS", 400, "2014-01-17", alert},
	{69, "tftp", "TFTP", "TFTP", 200, "2016-03-08", "Sieklik, Macfarlane, Buchanan: TFTP as an amplifier (2016)"},
	{111, "portmap", "portmap", "portmap", 100, "2015-08-17", alert},
	{123, "ntp", "NTP", "NTP", 200, "2014-01-17", alert},
	{137, "netbios", "NetBIOS", "NetBIOS", 150, "2014-01-17", alert},
	{161, "snmp", "SNMP", "SNMP", 300, "2014-01-17", alert},
	{389, "cldap", "CLDAP", "CLDAP", 300, "2017-04-11", alert},
	{427, "slp", "SLP", "SLP", 200, "2023-04-25", "CVE-2023-29552"},
	{500, "ike", "IKE", "IKE", 100, "2016-02-25", "Akamai, IKE/IKEv2 ripe for abuse (2016)"},
	{520, "rip", "RIPv1", "RIPv1", 200, "2015-07-01", alert},
	{1194, "openvpn", "OpenVPN", "OpenVPN", 60, "2019-09-01", house},
	{1434, "mssql", "MS SQL", "MS SQL", 150, "2015-02-01", house},
	{1701, "l2tp", "L2TP", "L2TP", 80, "2022-07-01", house},
	{1900, "ssdp", "SSDP", "SSDP", 200, "2014-01-17", alert},
	{3283, "arms", "ARMS", "ARMS", 300, "2019-06-01", house},
	{3478, "stun", "STUN", "STUN", 100, "2021-06-01", house},
	{3702, "wsd", "WS-Discovery", "WS-Discovery", 300, "2019-08-01", house},
	{4500, "ike", "IKE", "IKE", 100, "2026-11-01", "captures of amplification with source port 4500"},
	{5093, "sentinel", "Sentinel", "Sentinel", 200, "2015-07-01", house},
	{5353, "mdns", "mDNS", "mDNS", 100, "2015-03-31", house},
	{5683, "coap", "CoAP", "CoAP", 150, "2019-01-01", house},
	{6881, "bittorrent", "BitTorrent", "BitTorrent", 200, "2014-02-23", rossow},
	{10001, "ubiquiti", "Ubiquiti", "Ubiquiti", 120, "2019-02-01", house},
	{10074, "tp240", "TP-240", "TP-240", 200, "2022-03-08", "CVE-2022-26143"},
	{11211, "memcached", "memcached", "memcached", 300, "2018-02-27", alert},
	{27015, "steam", "Steam", "Steam", 150, "2014-02-23", rossow},
	{32414, "plex", "Plex", "Plex", 150, "2021-02-03", house},
	{37810, "dhdiscover", "DHDiscover", "DHDiscover", 200, "2021-03-01", house},
}

// Reflector is a row of the table of reflectors.
type Reflector struct {
	Port          uint16
	Name          string // of the vector
	Size          uint16 // mean bytes of a packet from which on it is amplification
	Dated, Source string
}

// Reflectors is the table of kinds of servers that attacks are reflected by, by port.
func Reflectors() []Reflector {
	out := make([]Reflector, 0, len(reflectors))
	for _, r := range reflectors {
		out = append(out, Reflector{r.port, r.name + "-amplification", r.size, r.dated, r.source})
	}
	return out
}
