package packet_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
)

// innermost are the packets inside the tunnels of real captures, as tshark sees
// them. Where a frame holds no whole tunnel (a later fragment, a bridged ARP, an
// ERSPAN frame that isn't Ethernet, PPTP's GRE) it is the outer one.
var innermost = map[string]map[string]int{
	"erspan.pcap":                                    {"10.200.0.3 > 10.200.0.224": 49, "192.168.69.10 > 192.168.69.2": 120, "192.168.69.2 > 192.168.69.10": 80, "192.168.69.2 > 192.168.69.255": 30, "192.168.69.2 > 224.0.0.252": 2, "fe80::34f7:703d:ac05:43d6 > ff02::1:2": 4, "fe80::34f7:703d:ac05:43d6 > ff02::1:3": 2},
	"erspanI.pcap":                                   {"172.16.133.2 > 172.217.11.78": 5, "172.217.11.78 > 172.16.133.2": 5},
	"erspanII.pcap":                                  {"23.0.0.2 > 23.0.0.3": 2, "23.0.0.3 > 23.0.0.2": 2},
	"gre.pcapng":                                     {"109.105.228.253 > 10.177.98.84": 1},
	"vxlan.pcap":                                     {"10.10.20.4 > 157.240.224.35": 50, "10.10.20.4 > 8.8.8.8": 4, "157.240.224.35 > 10.10.20.4": 69, "8.8.8.8 > 10.10.20.4": 4},
	"tcpdump/erspan-type-i-1.pcap":                   {"10.52.128.233 > 10.52.128.234": 1, "10.52.128.234 > 10.52.128.233": 1},
	"tcpdump/erspan-type-i-3.pcap":                   {"192.168.90.17 > 192.168.90.127": 1},
	"tcpdump/erspan-type-ii-1.pcap":                  {"10.48.6.1 > 224.0.0.13": 1},
	"tcpdump/erspan-type-ii-2.pcap":                  {"10.200.100.2 > 224.0.0.102": 4, "10.200.100.3 > 224.0.0.102": 4, "10.200.101.2 > 224.0.0.2": 4, "10.200.101.3 > 224.0.0.2": 4},
	"tcpdump/erspan-type-iii-ft-0.pcap":              {"10.29.11.1 > 10.29.20.21": 9},
	"tcpdump/erspan-type-iii-ft-7.pcap":              {"192.168.1.172 > 192.168.1.249": 58},
	"tcpdump/vxlan.pcap":                             {"192.168.202.1 > 192.168.203.1": 1, "192.168.203.1 > 192.168.202.1": 1, "192.168.203.3 > 192.168.203.5": 4, "192.168.203.5 > 192.168.203.3": 4},
	"tcpdump/vxlan_port_8472.pcap":                   {"192.168.202.1 > 192.168.203.1": 1, "192.168.203.1 > 192.168.202.1": 1, "192.168.203.3 > 192.168.203.5": 4, "192.168.203.5 > 192.168.203.3": 4},
	"zeek-tunnels/4in4.pcap":                         {"10.0.0.1 > 10.0.0.2": 1},
	"zeek-tunnels/4in6.pcap":                         {"70.55.213.211 > 192.88.99.1": 1},
	"zeek-tunnels/6in4.pcap":                         {"dead::beef > cafe::babe": 1},
	"zeek-tunnels/6in6.pcap":                         {"dead::beef > cafe::babe": 1},
	"zeek-tunnels/6in6-tunnel-change.pcap":           {"dead::beef > cafe::babe": 2},
	"zeek-tunnels/6in6in6.pcap":                      {"dead::beef > cafe::babe": 1},
	"zeek-tunnels/gre-erspan3-dot1q.pcap":            {"172.31.10.2 > 172.31.10.31": 1, "172.31.10.31 > 172.31.10.2": 1},
	"zeek-tunnels/gre-sample.pcap":                   {"129.170.17.4 > 66.59.111.190": 1, "172.28.2.3 > 66.59.111.190": 16, "18.26.4.105 > 66.59.111.190": 1, "66.59.111.182 > 66.59.111.190": 1, "66.59.111.190 > 129.170.17.4": 1, "66.59.111.190 > 172.28.2.3": 18, "66.59.111.190 > 18.26.4.105": 1, "66.59.111.190 > 66.59.111.182": 1},
	"zeek-tunnels/gre-within-gre.pcap":               {"10.10.25.1 > 192.168.1.2": 312, "192.168.1.2 > 10.10.25.1": 312, "3.3.3.1 > 224.0.0.9": 2, "3.3.3.2 > 224.0.0.9": 2},
	"zeek-tunnels/ping6-in-ipv4.pcap":                {"2001:db8:0:1::1 > 2001:db8:0:1::2": 5, "2001:db8:0:1::2 > 2001:db8:0:1::1": 5},
	"zeek-tunnels/vxlan-encapsulated-http.pcap":      {"172.16.11.201 > 54.86.237.188": 7, "54.86.237.188 > 172.16.11.201": 5},
	"zeek-tunnels/vxlan-inner-tcp-bad-checksum.pcap": {"10.0.0.1 > 10.0.0.2": 1},
	"zeek-tunnels/vxlan-triple-v2.pcap":              {"4.4.4.4 > 4.4.4.9": 1},
	"zeek-tunnels/vxlan.pcap":                        {"10.0.0.1 > 10.0.0.2": 4, "10.0.0.2 > 10.0.0.1": 4, "192.168.56.11 > 192.168.56.12": 1, "192.168.56.12 > 192.168.56.11": 1},
	"zeek-tunnels/tunnel-direct-bypass.pcap":         {"10.20.0.1 > 10.20.0.2": 20},
}

func TestInsideOfTunnels(t *testing.T) {
	dir := corpus.Folder(t, "pcap", "encap")
	d := packet.Decoder{Tunnels: packet.GRE | packet.ERSPAN | packet.VXLAN | packet.IPIP, VXLANPort: 8472}
	for name, want := range innermost {
		got := map[string]int{}
		err := each(filepath.Join(dir, name), func(i int, f packet.Frame, data []byte) {
			var p packet.Packet
			if s := d.Decode(f.Link, data, f.Orig, &p); s != packet.OK {
				t.Errorf("%s frame %d: %v", name, i+1, s)
			}
			got[p.Src.String()+" > "+p.Dst.String()]++
		})
		if os.IsNotExist(err) {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestTunnelsAreLookedIntoOnlyOnRequest: each kind answers to its own switch.
func TestTunnelsAreLookedIntoOnlyOnRequest(t *testing.T) {
	dir := corpus.Folder(t, "pcap", "encap")
	for name, need := range map[string]packet.Tunnels{
		"zeek-tunnels/gre-sample.pcap": packet.GRE, "zeek-tunnels/gre-within-gre.pcap": packet.GRE,
		"erspanI.pcap": packet.ERSPAN, "erspanII.pcap": packet.ERSPAN, "tcpdump/erspan-type-iii-ft-0.pcap": packet.ERSPAN,
		"vxlan.pcap": packet.VXLAN, "zeek-tunnels/4in6.pcap": packet.IPIP, "zeek-tunnels/6in4.pcap": packet.IPIP,
	} {
		for on := range packet.Tunnels(16) {
			d := packet.Decoder{Tunnels: on}
			_ = each(filepath.Join(dir, name), func(i int, f packet.Frame, data []byte) {
				var p packet.Packet
				s := d.Decode(f.Link, data, f.Orig, &p)
				if inside := p.Flags&packet.Tunnelled != 0; s != packet.OK || inside != (on&need != 0) {
					t.Errorf("%s frame %d with tunnels %04b: %v, inside %v", name, i+1, on, s, inside)
				}
			})
		}
	}
}
