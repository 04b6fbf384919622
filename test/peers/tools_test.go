package peers_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/observe/telescope"
)

// peer is a real program that sends to its own dark part from its own address,
// and what may be said of it.
type peer struct {
	name     string
	line     string            // {src}, {net} (without its length), {dev} and {mac} are filled in
	scans    map[string]string // by port, the tool named; none: not to be accused
	infected bool              // as an own address
}

// Rates are at most 500 packets/s, and every run is of a few hundred.
var cast = []peer{
	{
		name: "nmap -sS", line: "nmap -sS -n -Pn -p 23,80 --max-retries 0 --min-rate 200 --max-rate 450 {net}/25",
		scans: map[string]string{"23/tcp": "nmap", "80/tcp": "nmap"}, infected: true,
	},
	// A kernel's connect() looks like any other program's.
	{
		name: "nmap -sT", line: "nmap -sT -n -Pn -p 23 --max-retries 0 --min-rate 200 --max-rate 450 {net}/26",
		scans: map[string]string{"23/tcp": "unknown"}, infected: true,
	},
	{
		name: "nmap -sU", line: "nmap -sU -n -Pn -p 53,123,161 --max-retries 0 --min-rate 200 --max-rate 450 {net}/27",
		scans: map[string]string{"53/udp": "unknown", "123/udp": "unknown", "161/udp": "unknown"}, infected: true,
	},
	{
		name: "nmap -sX", line: "nmap -sX -n -Pn -p 80 --max-retries 0 --min-rate 200 --max-rate 450 {net}/27",
		scans: map[string]string{"80/tcp": "unknown"}, infected: true,
	},
	// Host discovery: echo and timestamp requests, SYN to 443 (and an ACK to 80, which asks for nothing).
	{
		name: "nmap -sn", line: "nmap -sn -n --max-retries 0 --min-rate 200 --max-rate 450 {net}/27",
		scans: map[string]string{"8.0/icmp": "unknown", "13.0/icmp": "unknown", "443/tcp": "nmap"}, infected: true,
	},
	{
		name: "zmap", line: "zmap -p 2323 -r 450 -i {dev} -G {mac} -S {src} -b /dev/null -o /dev/null -c 1 {net}/24",
		scans: map[string]string{"2323/tcp": "zmap, up to 4.0"}, infected: true,
	},
	{
		name: "zmap icmp", line: "zmap -M icmp_echoscan -r 450 -i {dev} -G {mac} -S {src} -b /dev/null -o /dev/null -c 1 {net}/24",
		scans: map[string]string{"8.0/icmp": "zmap, up to 4.0"}, infected: true,
	},
	{
		name: "zmap udp", line: "zmap -M udp -p 5683 --probe-args=text:x -r 450 -i {dev} -G {mac} -S {src} -b /dev/null -o /dev/null -c 1 {net}/24",
		scans: map[string]string{"5683/udp": "zmap, up to 4.0"}, infected: true,
	},
	// It would wait for ever for a first answer.
	{
		name: "masscan", line: "timeout 5 masscan -p8080,23 --rate 450 --adapter {dev} --adapter-ip {src} --router-mac {mac} --wait 0 {net}/24",
		scans: map[string]string{"8080/tcp": "masscan, before 2023-11-07", "23/tcp": "masscan, before 2023-11-07"}, infected: true,
	},
	// One target 200 times is a tool at work, but nothing that spreads.
	{
		name: "hping3 -S, one target", line: "hping3 -q -S -a {src} -I {dev} -p 445 -i u3000 -c 200 {host}9",
		scans: map[string]string{"445/tcp": "hping3"},
	},
	{
		name: "hping3 -S, many", line: "hping3 -q -S -a {src} -I {dev} -p 80 -i u3000 -c 150 --rand-dest {host}x",
		scans: map[string]string{"80/tcp": "hping3"}, infected: true,
	},
	// One address alone is asked: that is no scan, whatever asks.
	{name: "hping3 --udp, one target", line: "hping3 -q --udp -a {src} -I {dev} -p 53 -i u3000 -c 60 {host}9"},
	{name: "curl", line: "curl -s -m 4 http://{host}10/"},
	{name: "ping", line: "ping -q -c 5 -i 0.3 -W 1 {host}11"},
}

func (p *peer) command(n *network, i int) []string {
	block := strings.TrimSuffix(darkNet(i), "/24")
	return strings.Fields(strings.NewReplacer(
		"{src}", sender(i), "{net}", block, "{host}", strings.TrimSuffix(block, "0"), "{dev}", n.port, "{mac}", n.mac,
	).Replace(p.line))
}

// first is the number of the first sender.
const first = 11

// TestToolsAreNamed: each real tool is named rightly, and people's programs are
// accused of nothing; one after the other, and all at once.
func TestToolsAreNamed(t *testing.T) {
	needs(t, "ip", "sysctl", "tcpdump", "nmap", "zmap", "masscan", "hping3", "curl", "ping")
	t.Parallel()
	n := newNetwork(t)
	for i := range cast {
		n.seat(t, first+i)
	}
	ctx := t.Context()
	t.Run("one after the other", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "single.pcap")
		stop := n.capture(ctx, t, file)
		for i := range cast {
			n.send(ctx, t, cast[i].command(n, first+i))
		}
		stop()
		verdicts(t, file)
	})
	t.Run("all at once", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "together.pcap")
		stop := n.capture(ctx, t, file)
		var all sync.WaitGroup
		for i := range cast {
			all.Go(func() { n.send(ctx, t, cast[i].command(n, first+i)) })
		}
		all.Wait()
		stop()
		verdicts(t, file)
	})
}

// verdicts imports a capture and compares what is said of each sender.
func verdicts(t *testing.T, file string) {
	t.Helper()
	began := time.Now()
	var d telescope.Document
	ask(t.Context(), t, &d, "import", "telescope", "--dark", "198.18.0.0/16", "--own", "198.19.255.0/24", "--progress", "none", "-o", "json", file)
	t.Logf("%d packets, %d to dark space, imported in %s", d.Packets, d.DarkPackets, time.Since(began).Round(time.Millisecond))
	said, infected := map[string]map[string]string{}, map[string]bool{}
	for _, s := range d.Scanners {
		source := s.Source.String()
		if said[source] == nil {
			said[source] = map[string]string{}
		}
		said[source][portOf(s.Port, s.Protocol)] = strings.TrimSuffix(s.Tool+", "+s.ToolVersions, ", ")
	}
	for _, v := range d.Infected {
		infected[v.Address.String()] = true
	}
	for i, p := range cast {
		source := sender(first + i)
		if diff := cmp.Diff(p.scans, said[source]); diff != "" {
			t.Errorf("%s: wrongly judged (-right +said):\n%s", p.name, diff)
		}
		if infected[source] != p.infected {
			t.Errorf("%s: as an own address called infected: %v", p.name, infected[source])
		}
		delete(said, source)
		delete(infected, source)
	}
	if len(said) > 0 || len(infected) > 0 {
		t.Errorf("others are accused: %v %v", slices.Collect(maps.Keys(said)), slices.Collect(maps.Keys(infected)))
	}
	if len(d.Victims) > 0 || d.FromDark > 0 || d.Malformed > 0 {
		t.Errorf("victims %v, from_dark %d, malformed %d", d.Victims, d.FromDark, d.Malformed)
	}
}

func portOf(port uint16, protocol string) string {
	if protocol == "icmp" {
		return fmt.Sprintf("%d.%d/icmp", port>>8, port&0xff)
	}
	return fmt.Sprintf("%d/%s", port, protocol)
}
