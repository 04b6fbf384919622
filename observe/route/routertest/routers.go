package routertest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sakimori/base/daemon"
)

func families(list []string) (v4, v6 []string) {
	for _, p := range list {
		if strings.Contains(p, ":") {
			v6 = append(v6, p)
		} else {
			v4 = append(v4, p)
		}
	}
	return v4, v6
}

func each(format string, list ...string) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, format, s)
	}
	return b.String()
}

// goBGP is GoBGP's daemon; its routes are told by its command line.
func goBGP(t testing.TB, r *Router) {
	t.Helper()
	l := &r.Link
	r.api = daemon.Port(t, r.Addr.Addr())
	conf := fmt.Sprintf(`[global.config]
as = %d
router-id = "192.0.2.4"
port = %d
local-address-list = [%q]
[[neighbors]]
[neighbors.config]
neighbor-address = %q
peer-as = %d
auth-password = %q
[neighbors.timers.config]
hold-time = %d
connect-retry = 1
[neighbors.ebgp-multihop.config]
enabled = true
multihop-ttl = 8
[neighbors.transport.config]
passive-mode = %t
remote-port = %d
local-address = %q
`, l.AS, r.Addr.Port(), r.Addr.Addr(), l.Neighbor.Addr(), l.NeighborAS, l.Password, l.Hold, l.Neighbor.Port() == 0, l.Neighbor.Port(), r.Addr.Addr())
	conf += each("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = %q\n", "ipv4-unicast", "ipv6-unicast")
	if l.BMP.IsValid() {
		conf += fmt.Sprintf("[[bmp-servers]]\n[bmp-servers.config]\naddress = %q\nport = %d\nroute-monitoring-policy = \"all\"\nstatistics-timeout = 15\n", l.BMP.Addr(), l.BMP.Port())
	}
	r.Name, r.Args = "gobgpd", []string{"-f", r.Write(t, "gobgpd.toml", conf), "--api-hosts", r.api.String(), "--pprof-disable"}
}

// bird is BIRD 2.
func bird(t testing.TB, r *Router) {
	t.Helper()
	l := &r.Link
	v4, v6 := families(l.Announce)
	password := ""
	if l.Password != "" {
		password = fmt.Sprintf("password %q;", l.Password)
	}
	conf := fmt.Sprintf(`log stderr all;
router id 192.0.2.2;
protocol device {}
protocol static { ipv4; %s }
protocol static { ipv6; %s }
protocol bgp sakimori {
	local %s port %d as %d; neighbor %s port %d as %d; strict bind; multihop; hold time %d; connect retry time 1; error wait time 1,1; connect delay time 1; %s
	ipv4 { import none; export where source = RTS_STATIC; };
	ipv6 { import none; export where source = RTS_STATIC; next hop address 2001:db8::2; };
}
`, each("route %s blackhole; ", v4...), each("route %s blackhole; ", v6...), r.Addr.Addr(), r.Addr.Port(), l.AS, l.Neighbor.Addr(), l.Neighbor.Port(), l.NeighborAS, l.Hold, password)
	r.Name, r.Args = "bird", []string{"-f", "-c", r.Write(t, "bird.conf", conf), "-s", filepath.Join(r.Dir, "bird.ctl"), "-P", filepath.Join(r.Dir, "bird.pid")}
}

// frr is FRR's bgpd alone: without zebra, so that nothing gets near the kernel's routes.
func frr(t testing.TB, r *Router) {
	t.Helper()
	l := &r.Link
	us := l.Neighbor.Addr().String()
	v4, v6 := families(l.Announce)
	far := "ebgp-multihop 8"
	if l.Near {
		far = "ttl-security hops 1"
	}
	conf := fmt.Sprintf(`router bgp %[1]d
 bgp router-id 192.0.2.3
 no bgp default ipv4-unicast
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor %[2]s remote-as %[3]d
 neighbor %[2]s port %[4]d
 neighbor %[2]s update-source %[5]s
 neighbor %[2]s disable-connected-check
 neighbor %[2]s %[8]s
 neighbor %[2]s timers %[6]d %[7]d
 neighbor %[2]s timers connect 1
`, l.AS, us, l.NeighborAS, l.Neighbor.Port(), r.Addr.Addr(), max(1, l.Hold/3), l.Hold, far)
	if l.Password != "" {
		conf += fmt.Sprintf(" neighbor %s password %s\n", us, l.Password)
	}
	// It shows what came before its policy only where it keeps that; and a next hop on
	// loopback is none to others.
	both := each("  neighbor "+us+" %s\n", "activate", "soft-reconfiguration inbound", "route-map hop out")
	conf += " address-family ipv4 unicast\n" + both + each("  network %s\n", v4...) + " exit-address-family\n"
	conf += " address-family ipv6 unicast\n" + both + each("  network %s\n", v6...) + " exit-address-family\n"
	modules := []string(nil)
	if l.BMP.IsValid() {
		modules = []string{"-M", "bmp"}
		conf += fmt.Sprintf(" bmp targets sakimori\n  bmp connect %s port %d min-retry 100 max-retry 500\n  bmp stats interval 1000\n  bmp mirror\n", l.BMP.Addr(), l.BMP.Port())
		conf += each("  bmp monitor %s\n", "ipv4 unicast pre-policy", "ipv4 unicast post-policy", "ipv6 unicast pre-policy", "ipv6 unicast post-policy") + " exit\n"
	}
	conf += "exit\nroute-map hop permit 10\n set ip next-hop 192.0.2.3\n set ipv6 next-hop global 2001:db8::3\n"
	r.Name = "bgpd"
	r.Args = append(modules,
		"-Z", "-S", "-n", "-P", "0", "-p", fmt.Sprint(r.Addr.Port()), "-l", r.Addr.Addr().String(), "--vty_socket", r.Dir,
		"-f", r.Write(t, "bgpd.conf", conf), "-i", filepath.Join(r.Dir, "bgpd.pid"), "--log", "stdout")
}

// exaBGP tells whatever it is told to: its routes are in its own words.
func exaBGP(t testing.TB, r *Router) {
	t.Helper()
	l := &r.Link
	more := ""
	if l.Password != "" {
		more = fmt.Sprintf("md5-password %q; ", l.Password)
	}
	if l.AddPath {
		more += "capability { add-path send; } "
	}
	conf := fmt.Sprintf(`neighbor %s {
	router-id 192.0.2.5; local-address %s; local-as %d; peer-as %d; hold-time %d; connect %d; %s
	family { ipv4 unicast; ipv6 unicast; }
	static { %s}
}
`, l.Neighbor.Addr(), r.Addr.Addr(), l.AS, l.NeighborAS, l.Hold, l.Neighbor.Port(), more, each("route %s; ", l.Announce...))
	r.Name, r.Args = "exabgp", []string{r.Write(t, "exabgp.conf", conf)}
	r.Env = []string{"exabgp.tcp.bind=" + r.Addr.Addr().String(), fmt.Sprintf("exabgp.tcp.port=%d", r.Addr.Port()), "exabgp.api.cli=false", "exabgp.daemon.drop=false"}
}
