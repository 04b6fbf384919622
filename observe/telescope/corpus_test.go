package telescope_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe/telescope"
)

func read(t tb, cfg telescope.Config, path string) *rig {
	t.Helper()
	r := build(t, cfg)
	f, err := pcap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		b := r.Block()
		err = f.ReadBlock(&b.Block)
		r.Ingest(b)
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("%s: %v", path, err)
	}
	return r.finish()
}

// count is how many packets a tcpdump filter finds in a capture. The numbers were
// taken when the test was written; where tcpdump is installed they are taken again.
type count struct {
	n      uint64
	filter string
}

// The classes of TCP in tcpdump's words: SYN without ACK, RST and FIN; SYN and
// ACK; RST; none of SYN, ACK and RST, or SYN with FIN; the rest with ACK.
const (
	isSyn     = "tcp[13] & 0x17 = 2"
	isSynAck  = "tcp[13] & 0x17 = 0x12"
	isRst     = "tcp[13] & 4 != 0"
	isStealth = "(tcp[13] & 0x16 = 0 or tcp[13] & 0x17 = 3)"
	isAck     = "tcp[13] & 0x14 = 0x10 and not tcp[13] & 0x17 = 0x12"
)

// captures are real captures, with the addresses that are taken to be dark.
var captures = []struct {
	file                    string
	dark                    []string
	scan, back, refl, other count
	from                    count
	sources                 uint64
	scanner                 string // who scans; "" nobody
	rows                    int    // its ports
	tool                    string
}{
	{
		file: "scan/mirai-signature-2pkt.pcap", dark: []string{"185.100.143.115/32", "95.130.237.126/32"},
		scan: count{2, "tcp[13] = 2 and tcp[4:4] = ip[16:4]"}, sources: 1, scanner: "116.90.231.16", rows: 1, tool: "mirai",
	},
	// One of the two addresses alone: one packet is no evidence.
	{file: "scan/mirai-signature-2pkt.pcap", dark: []string{"185.100.143.115/32"}, scan: count{1, "dst 185.100.143.115"}, sources: 1},
	{
		file: "scan/pcaphunt-ps-tcp_syn.pcap", dark: []string{"10.0.0.0/30", "10.0.0.254/32"},
		scan: count{4993, isSyn}, sources: 1, scanner: "10.0.0.140", rows: 1000, tool: "nmap",
	},
	{
		file: "scan/synscan.pcap", dark: []string{"64.13.134.52/32"}, scan: count{1994, isSyn + " and dst 64.13.134.52"},
		from: count{17, "src 64.13.134.52"}, sources: 1, scanner: "172.16.0.8", rows: 1000, tool: "nmap",
	},
	// The other side: the scanned host's answers aren't an attack on it, as they
	// were asked for, and its 17 packets no scan.
	{
		file: "scan/synscan.pcap", dark: []string{"172.16.0.8/32"}, back: count{17, "(" + isSynAck + " or " + isRst + ") and dst 172.16.0.8"},
		from: count{1994, "src 172.16.0.8"}, sources: 1,
	},
	{
		file: "scan/simplescan-445_scan.pcap", dark: []string{"10.10.0.0/16", "192.168.0.0/16"}, scan: count{21, "vlan and dst port 445 and " + isSyn},
		sources: 1, scanner: "176.192.150.3", rows: 1, tool: "unknown",
	},
	{
		file: "scan/simplescan-multiport_scan.pcap", dark: []string{"10.10.0.0/16", "192.168.0.0/16"}, scan: count{10, "vlan and src 125.27.226.209 and " + isSyn},
		from: count{6, "vlan and dst 125.27.226.209"}, sources: 1, scanner: "125.27.226.209", rows: 1, tool: "irregular-syn",
	},
	// Ten ports of one host: fewer than the fifteen of a port scan.
	{file: "scan/simplescan-port_scan.pcap", dark: []string{"192.168.2.22/32"}, scan: count{10, isSyn}, sources: 1},
	{
		file: "scan/simplescan-scan_with_zero_windows.pcap", dark: []string{"10.0.0.0/32", "10.0.0.2/31", "10.0.0.4/30", "10.0.0.8/31"},
		scan: count{9, isSyn + " and not dst 10.0.0.1"}, sources: 1, scanner: "10.0.0.1", rows: 1, tool: "irregular-syn",
	},
	{
		file: "scan/slips-icmp-sweep.pcap", dark: []string{"192.168.1.112/28"}, scan: count{8, "icmp[0] = 8 and dst net 192.168.1.112/28"},
		from: count{2, "src net 192.168.1.112/28"}, sources: 1, scanner: "192.168.1.109", rows: 1, tool: "unknown",
	},
	{
		file: "scan/pcaphunt-hs-icmpScan.pcap", dark: []string{"10.0.0.32/27"}, scan: count{64, "icmp[0] = 8 and dst net 10.0.0.32/27"},
		sources: 1, scanner: "10.0.0.128", rows: 1, tool: "unknown",
	},
	// The scanner itself taken for dark: the answers that it gets were asked for.
	{
		file: "scan/nmap-vsn.pcap", dark: []string{"192.168.1.71/32"}, back: count{15, "dst 192.168.1.71 and (udp src port 53 or " + isSynAck + " or " + isRst + ")"},
		from: count{29, "ip src 192.168.1.71"}, sources: 5,
	},
	{
		file: "scan/vnc-scanner.pcap", dark: []string{"10.0.0.149/32"}, scan: count{1, isSyn + " and dst 10.0.0.149"}, back: count{3, isRst + " and dst 10.0.0.149"},
		other: count{6, isAck + " and dst 10.0.0.149"}, from: count{10, "src 10.0.0.149"}, sources: 1,
	},
	{
		file: "scan/sshguess.pcap", dark: []string{"192.168.56.103/32"}, scan: count{11, isSyn + " and dst 192.168.56.103"},
		other: count{243, isAck + " and dst 192.168.56.103"}, from: count{177, "src 192.168.56.103"}, sources: 1,
	},

	// A flood that its victim sees: 37,623 forged sources, not one of them a scanner.
	{file: "ddos/pkt.TCP.synflood.spoofed.pcap", dark: []string{"10.10.10.10/32"}, scan: count{37841, isSyn}, sources: 37623},
	{file: "ddos/amp.TCP.syn.optionallyACK.optionallysamePort.pcapng", dark: []string{"10.10.10.10/32"}, scan: count{354, isSyn}, back: count{542, isSynAck}, sources: 60},
	{file: "ddos/amp.UDP.isakmp.pcap", dark: []string{"10.10.10.10/32"}, refl: count{3984, "udp src port 4500"}, sources: 2767},
	{file: "ddos/denial6-5.pcap", dark: []string{"2001:db8:1::1/128"}, scan: count{35690, "ip6[40] = 128 or (ip6 and dst 2001:db8:1::1)"}, from: count{16, "src 2001:db8:1::1"}, sources: 1},
	// Source and destination are both ff02::1: nothing that an address of dark
	// space could prove.
	{file: "ddos/rsmurf6.pcap", dark: []string{"ff02::1/128"}, from: count{1000, "src ff02::1"}},
	{file: "ddos/portmapper-many-unanswered-calls.pcapng.gz", dark: []string{"10.0.0.2/32"}, scan: count{n: 1}, other: count{n: 186}, from: count{n: 2}, sources: 1},
	// Each client asks one server, and this one's side is dark.
	{file: "ddos/dhcp_flood.pcap", dark: []string{"128.2.7.0/24"}, scan: count{225, "dst net 128.2.7.0/24"}, from: count{225, "src net 128.2.7.0/24"}, sources: 225},
	{file: "ddos/dhcp-request-flood.pcap", dark: []string{"255.255.255.255/32"}, scan: count{10000, "udp dst port 67"}, sources: 1},

	{file: "scan/maltrail-corpus/port_scan.pcap", dark: []string{"198.51.100.7/32"}, scan: count{20, isSyn + " and dst 198.51.100.7"}, sources: 1, scanner: "203.0.113.9", rows: 20, tool: "irregular-syn"},
	{file: "scan/maltrail-corpus/stealth_scan_fin.pcap", dark: []string{"198.51.100.7/32"}, scan: count{20, isStealth + " and dst 198.51.100.7"}, sources: 1, scanner: "203.0.113.9", rows: 20, tool: "unknown"},
	{file: "scan/maltrail-corpus/stealth_scan_null.pcap", dark: []string{"198.51.100.7/32"}, scan: count{20, isStealth + " and dst 198.51.100.7"}, sources: 1, scanner: "203.0.113.9", rows: 20, tool: "unknown"},
	{file: "scan/maltrail-corpus/stealth_scan_xmas.pcap", dark: []string{"198.51.100.7/32"}, scan: count{20, isStealth + " and dst 198.51.100.7"}, sources: 1, scanner: "203.0.113.9", rows: 20, tool: "unknown"},
	{file: "scan/maltrail-corpus/udp_scan.pcap", dark: []string{"198.51.100.7/32"}, scan: count{20, "udp and dst 198.51.100.7"}, sources: 1, scanner: "203.0.113.9", rows: 20, tool: "unknown"},
	{file: "scan/maltrail-corpus/infection_scan.pcap", dark: []string{"10.9.9.0/24"}, scan: count{40, isSyn + " and dst net 10.9.9.0/24"}, sources: 1, scanner: "10.0.0.5", rows: 1, tool: "irregular-syn"},
	{file: "scan/maltrail-corpus/ack_sweep_no_fp.pcap", dark: []string{"198.51.100.7/32"}, other: count{20, isAck + " and dst 198.51.100.7"}, sources: 1},
	{file: "scan/maltrail-corpus/clean_tcp.pcap", dark: []string{"1.1.1.1/32"}, scan: count{20, isSyn + " and dst 1.1.1.1"}, from: count{20, "src 1.1.1.1"}, sources: 1},
	{file: "scan/maltrail-corpus/duplicate_syn.pcap", dark: []string{"66.66.66.66/32"}, scan: count{8, isSyn}, sources: 1},
	{file: "scan/maltrail-corpus/fragments.pcap", dark: []string{"66.66.66.66/32"}, scan: count{1, "ip[6:2] & 0x1fff = 0"}, sources: 1},
	{file: "scan/maltrail-corpus/icmp.pcap", dark: []string{"66.66.66.66/32"}, scan: count{1, "icmp[0] = 8"}, back: count{1, "icmp[0] = 0"}, sources: 1},
	{file: "scan/maltrail-corpus/ipv6.pcap", dark: []string{"dead::/64"}, from: count{3, "ip6 and src net dead::/64"}},
	{file: "scan/maltrail-corpus/ipv6.pcap", dark: []string{"dead::2/128", "dead::beef/128"}, scan: count{3, "ip6 and (dst dead::2 or dst dead::beef)"}, sources: 1},
	{file: "scan/maltrail-corpus/dns_exhaustion.pcap", dark: []string{"8.8.8.8/32"}, scan: count{40, "udp dst port 53"}, sources: 1},
	{file: "scan/maltrail-corpus/dns_nxdomain_flood.pcap", dark: []string{"203.0.113.5/32"}, back: count{25, "udp src port 53"}, sources: 1},
	{file: "scan/maltrail-corpus/vlan.pcap", dark: []string{"66.66.66.66/32", "8.8.8.8/32"}, scan: count{n: 3}, sources: 1},
	{file: "scan/maltrail-corpus/pppoe.pcap", dark: []string{"66.66.66.66/32"}, scan: count{n: 2}, sources: 1},
	{file: "scan/maltrail-corpus/dlt_raw.pcap", dark: []string{"66.66.66.66/32"}, scan: count{1, isSyn}, sources: 1},
	{file: "scan/maltrail-corpus/dlt_sll.pcap", dark: []string{"66.66.66.66/32"}, scan: count{1, isSyn}, sources: 1},
	{file: "scan/maltrail-corpus/web_scan.pcap", dark: []string{"198.51.100.7/32"}, other: count{14, isAck + " and dst 198.51.100.7"}, sources: 1},
}

// TestCorpus: real captures give the counts that tcpdump finds, and the right
// one is accused, or nobody.
func TestCorpus(t *testing.T) {
	dir := corpus.Folder(t, "pcap")
	for _, c := range captures {
		r := read(t, dark(c.dark...), filepath.Join(dir, c.file))
		d := r.document()
		name := filepath.Base(c.file) + " " + strings.Join(c.dark, " ")
		got := []uint64{d.Classes.Scan, d.Classes.Backscatter, d.Classes.Reflection, d.Classes.Other, d.FromDark, d.UniqueSources}
		want := []uint64{c.scan.n, c.back.n, c.refl.n, c.other.n, c.from.n, c.sources}
		if !slices.Equal(got, want) || d.DarkPackets != c.scan.n+c.back.n+c.refl.n+c.other.n {
			t.Errorf("%s: scan, backscatter, reflection, other, from dark, sources are %d, want %d", name, got, want)
		}
		if len(d.Scanners) != c.rows {
			t.Errorf("%s: %d scanned ports, want %d", name, len(d.Scanners), c.rows)
		}
		for _, s := range d.Scanners {
			if s.Source.String() != c.scanner || s.Tool != c.tool {
				t.Errorf("%s: %s scans port %d with %s, want %s with %s", name, s.Source, s.Port, s.Tool, c.scanner, c.tool)
				break
			}
		}
		r.Close()
	}
}

// TestCorpusNumbers takes the numbers of TestCorpus again with tcpdump.
func TestCorpusNumbers(t *testing.T) {
	dir := corpus.Folder(t, "pcap")
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: tcpdump isn't installed")
	}
	for _, c := range captures {
		for _, f := range []count{c.scan, c.back, c.refl, c.other, c.from} {
			if f.filter == "" {
				continue
			}
			out, err := exec.CommandContext(t.Context(), tcpdump, "-n", "-r", filepath.Join(dir, c.file), "--count", f.filter).Output()
			if err != nil {
				t.Errorf("%s: tcpdump %q: %v", c.file, f.filter, err)
				continue
			}
			if got := strings.Fields(string(out)); len(got) == 0 || got[0] != fmt.Sprint(f.n) {
				t.Errorf("%s: tcpdump %q: %s, not %d", c.file, f.filter, out, f.n)
			}
		}
	}
}

// TestNobodyIsAccused takes each address of each harmless capture for dark in
// turn, the clients' as well as the servers': whoever talks to one address,
// however much, is no scanner.
func TestNobodyIsAccused(t *testing.T) {
	dir := corpus.Folder(t, "pcap")
	files, err := filepath.Glob(filepath.Join(dir, "benign", "*.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(dir, "benign", "*", "*.pcap"))
	runs := 0
	for _, file := range append(files, more...) {
		for _, a := range addresses(t, file) {
			cfg := dark(netip.PrefixFrom(a, a.BitLen()).String())
			cfg.Workers = 1
			r := read(t, cfg, file)
			if d := r.document(); len(d.Scanners) > 0 {
				t.Errorf("%s with %s dark: %+v", filepath.Base(file), a, d.Scanners[0])
			}
			r.Close()
			runs++
		}
	}
	t.Logf("%d captures, %d addresses", len(files)+len(more), runs)
	if runs < 200 {
		t.Errorf("only %d addresses: is the corpus whole?", runs)
	}
}

// addresses are the destinations in a capture: up to forty.
func addresses(t tb, file string) (list []netip.Addr) {
	f, err := pcap.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[packet.Addr]bool{}
	var b packet.Block
	var d packet.Decoder
	var p packet.Packet
	for f.ReadBlock(&b) == nil {
		for i, fr := range b.Frames {
			if d.Decode(fr.Link, b.Bytes(i), fr.Orig, &p) == packet.OK && !seen[p.Dst] && len(list) < 40 {
				seen[p.Dst] = true
				list = append(list, p.Dst.Netip())
			}
		}
	}
	return list
}
