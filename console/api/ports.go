package api

import (
	"sakimori/base/wire/packet"
)

// portName is what a key of observe.ByPort is commonly used for, in English and
// Japanese, "" when this table doesn't know. Names are those of the IANA
// registry where it has a telling one, and else what is attacked there.
func portName(key uint32) (en, ja string) {
	proto, port := uint8(key>>16), uint16(key) //nolint:gosec // the halves of the key
	if isICMP(proto) {
		for _, p := range icmpNames {
			if p.proto == proto && p.typ == uint8(port>>8) {
				return p.en, p.ja
			}
		}
		return "", ""
	}
	for _, p := range portNames {
		if p.port != port || (p.proto != 0 && p.proto != proto) {
			continue
		}
		if p.ja == "" {
			return p.en, p.en
		}
		return p.en, p.ja
	}
	return "", ""
}

const (
	tcp  = packet.TCP
	udp  = packet.UDP
	both = 0
)

var icmpNames = [...]struct {
	proto, typ uint8
	en, ja     string
}{
	{packet.ICMP, 0, "echo reply", "エコー応答"},
	{packet.ICMP, 3, "destination unreachable", "宛先到達不能"},
	{packet.ICMP, 5, "redirect", "リダイレクト"},
	{packet.ICMP, 8, "echo request (ping)", "エコー要求（ping）"},
	{packet.ICMP, 11, "time exceeded", "時間超過"},
	{packet.ICMP, 13, "timestamp request", "時刻要求"},
	{packet.ICMP, 15, "information request", "情報要求"},
	{packet.ICMP, 17, "address mask request", "マスク要求"},
	{packet.ICMPv6, 1, "destination unreachable", "宛先到達不能"},
	{packet.ICMPv6, 3, "time exceeded", "時間超過"},
	{packet.ICMPv6, 128, "echo request (ping)", "エコー要求（ping）"},
	{packet.ICMPv6, 129, "echo reply", "エコー応答"},
}

// portNames are the ports that matter in a darknet, by number.
var portNames = [...]struct {
	port   uint16
	proto  uint8 // 0 both
	en, ja string
}{
	{7, both, "echo", ""},
	{17, udp, "qotd (amplifier)", "QOTD（増幅）"},
	{19, udp, "chargen (amplifier)", "CHARGEN（増幅）"},
	{20, tcp, "ftp-data", ""},
	{21, tcp, "ftp", ""},
	{22, tcp, "ssh", ""},
	{23, tcp, "telnet", "Telnet（IoT）"},
	{25, tcp, "smtp", "SMTP（メール）"},
	{37, both, "time", ""},
	{53, both, "dns", ""},
	{67, udp, "dhcp server", ""},
	{69, udp, "tftp", ""},
	{79, tcp, "finger", ""},
	{80, tcp, "http", ""},
	{81, tcp, "http (cameras)", "HTTP（カメラ）"},
	{82, tcp, "http (cameras)", "HTTP（カメラ）"},
	{83, tcp, "http (cameras)", "HTTP（カメラ）"},
	{84, tcp, "http (cameras)", "HTTP（カメラ）"},
	{85, tcp, "http (cameras)", "HTTP（カメラ）"},
	{88, both, "kerberos", ""},
	{102, tcp, "s7comm (industrial)", "S7comm（制御機器）"},
	{110, tcp, "pop3", "POP3（メール）"},
	{111, both, "portmapper", ""},
	{113, tcp, "ident", ""},
	{123, udp, "ntp", ""},
	{135, tcp, "msrpc", ""},
	{137, udp, "netbios-ns", ""},
	{139, tcp, "netbios-ssn", ""},
	{143, tcp, "imap", "IMAP（メール）"},
	{161, udp, "snmp", ""},
	{179, tcp, "bgp", ""},
	{389, tcp, "ldap", ""},
	{389, udp, "cldap (amplifier)", "CLDAP（増幅）"},
	{427, both, "slp", ""},
	{443, tcp, "https", ""},
	{443, udp, "quic", ""},
	{444, tcp, "snpp / https", ""},
	{445, tcp, "smb", "SMB（ファイル共有）"},
	{465, tcp, "smtps", "SMTPS（メール）"},
	{500, udp, "ike", ""},
	{502, tcp, "modbus (industrial)", "Modbus（制御機器）"},
	{512, tcp, "rexec", ""},
	{513, tcp, "rlogin", ""},
	{514, tcp, "rsh", ""},
	{514, udp, "syslog", ""},
	{515, tcp, "lpd (printers)", "LPD（プリンター）"},
	{520, udp, "rip", ""},
	{523, both, "db2", ""},
	{548, tcp, "afp", ""},
	{554, tcp, "rtsp (cameras)", "RTSP（カメラ）"},
	{587, tcp, "submission", "サブミッション（メール）"},
	{623, udp, "ipmi", ""},
	{631, both, "ipp (printers)", "IPP（プリンター）"},
	{636, tcp, "ldaps", ""},
	{873, tcp, "rsync", ""},
	{993, tcp, "imaps", "IMAPS（メール）"},
	{995, tcp, "pop3s", "POP3S（メール）"},
	{1023, tcp, "telnet (bots)", "Telnet（ボット）"},
	{1025, tcp, "msrpc", ""},
	{1080, tcp, "socks proxy", "SOCKS プロキシ"},
	{1194, both, "openvpn", ""},
	{1433, tcp, "ms-sql", ""},
	{1434, udp, "ms-sql browser", ""},
	{1521, tcp, "oracle", ""},
	{1588, tcp, "webauth (bots)", "WebAuth（ボット）"},
	{1723, tcp, "pptp", ""},
	{1883, tcp, "mqtt", ""},
	{1900, udp, "ssdp / upnp", ""},
	{1911, tcp, "niagara fox (industrial)", "Niagara Fox（制御機器）"},
	{2000, tcp, "mikrotik bandwidth test / sccp", ""},
	{2049, both, "nfs", ""},
	{2082, tcp, "cpanel", ""},
	{2083, tcp, "cpanel (tls)", ""},
	{2181, tcp, "zookeeper", ""},
	{2222, tcp, "ssh (alternate)", "SSH（別ポート）"},
	{2323, tcp, "telnet (alternate, IoT)", "Telnet（別ポート、IoT）"},
	{2375, tcp, "docker", ""},
	{2376, tcp, "docker (tls)", ""},
	{2379, tcp, "etcd", ""},
	{3000, tcp, "http (development)", "HTTP（開発用）"},
	{3128, tcp, "http proxy", "HTTP プロキシ"},
	{3306, tcp, "mysql", ""},
	{3389, both, "rdp", "RDP（遠隔操作）"},
	{3478, udp, "stun", ""},
	{3702, udp, "ws-discovery (amplifier)", "WS-Discovery（増幅）"},
	{4444, tcp, "metasploit default", ""},
	{4500, udp, "ipsec nat-t", ""},
	{4567, tcp, "tr-069 (routers)", "TR-069（ルーター）"},
	{4786, tcp, "cisco smart install", ""},
	{5000, tcp, "upnp / http (nas)", "UPnP・HTTP（NAS）"},
	{5038, tcp, "asterisk manager", ""},
	{5060, both, "sip", "SIP（IP 電話）"},
	{5061, both, "sips", "SIPS（IP 電話）"},
	{5358, tcp, "telnet (bots)", "Telnet（ボット）"},
	{5353, udp, "mdns", ""},
	{5432, tcp, "postgresql", ""},
	{5555, tcp, "adb (Android)", "ADB（Android）"},
	{5672, tcp, "amqp", ""},
	{5683, udp, "coap", "CoAP（IoT）"},
	{5900, tcp, "vnc", "VNC（遠隔操作）"},
	{5901, tcp, "vnc", "VNC（遠隔操作）"},
	{5938, tcp, "teamviewer", ""},
	{5984, tcp, "couchdb", ""},
	{5985, tcp, "winrm", ""},
	{6000, tcp, "x11", ""},
	{6379, tcp, "redis", ""},
	{6443, tcp, "kubernetes", ""},
	{6667, tcp, "irc", ""},
	{6789, tcp, "bots (telnet)", "ボット（Telnet）"},
	{6881, both, "bittorrent", ""},
	{7001, tcp, "weblogic", ""},
	{7547, tcp, "tr-069 (routers)", "TR-069（ルーター）"},
	{7574, tcp, "tr-069 (alternate)", "TR-069（別ポート）"},
	{8000, tcp, "http (alternate)", "HTTP（別ポート）"},
	{8008, tcp, "http (alternate)", "HTTP（別ポート）"},
	{8080, tcp, "http proxy / alternate", "HTTP（別ポート、プロキシ）"},
	{8081, tcp, "http (alternate)", "HTTP（別ポート）"},
	{8088, tcp, "http / yarn", ""},
	{8089, tcp, "splunk / http", ""},
	{8090, tcp, "http (cameras)", "HTTP（カメラ）"},
	{8123, tcp, "home assistant / proxy", ""},
	{8291, tcp, "winbox (MikroTik)", "Winbox（MikroTik）"},
	{8443, tcp, "https (alternate)", "HTTPS（別ポート）"},
	{8545, tcp, "ethereum rpc", ""},
	{8728, tcp, "mikrotik api", ""},
	{8888, tcp, "http (alternate)", "HTTP（別ポート）"},
	{9000, tcp, "http (nas, cameras)", "HTTP（NAS、カメラ）"},
	{9001, tcp, "tor / http", ""},
	{9090, tcp, "http (management)", "HTTP（管理画面）"},
	{9100, tcp, "jetdirect (printers)", "JetDirect（プリンター）"},
	{9200, tcp, "elasticsearch", ""},
	{9527, tcp, "camera console", "カメラの保守用"},
	{9530, tcp, "camera backdoor (dvrip)", "カメラの裏口（DVRIP）"},
	{10000, tcp, "webmin", ""},
	{10001, udp, "ubiquiti discovery (amplifier)", "Ubiquiti 探索（増幅）"},
	{11211, both, "memcached", ""},
	{17185, udp, "vxworks debug", ""},
	{20000, both, "dnp3 (industrial)", "DNP3（制御機器）"},
	{23231, tcp, "bots (telnet)", "ボット（Telnet）"},
	{26, tcp, "telnet (bots)", "Telnet（ボット）"},
	{27017, tcp, "mongodb", ""},
	{32764, tcp, "router backdoor", "ルーターの裏口"},
	{34567, tcp, "dvrip (recorders)", "DVRIP（録画装置）"},
	{37215, tcp, "Huawei HG532 (CVE-2017-17215)", ""},
	{37777, tcp, "Dahua (recorders)", "Dahua（録画装置）"},
	{44818, both, "ethernet/ip (industrial)", "EtherNet/IP（制御機器）"},
	{47808, udp, "bacnet (buildings)", "BACnet（ビル設備）"},
	{49152, tcp, "upnp", ""},
	{50050, tcp, "cobalt strike default", ""},
	{52869, tcp, "Realtek UPnP (CVE-2014-8361)", ""},
	{53413, udp, "Netis routers (backdoor)", "Netis ルーター（裏口）"},
	{60001, tcp, "Jaws recorders", "Jaws（録画装置）"},
}
