package speakertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sakimori/base/daemon"
)

// goBGP is GoBGP's daemon.
func goBGP(t testing.TB, r *Router) {
	t.Helper()
	api := daemon.Port(t, r.Addr.Addr())
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
[neighbors.transport.config]
passive-mode = true
local-address = %q
`, r.Link.AS, r.Addr.Port(), r.Addr.Addr(), r.Link.Us.Addr(), r.Link.OurAS, r.Link.Password, r.Link.Hold, r.Addr.Addr())
	conf += each("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = %q\n", "ipv4-unicast", "ipv6-unicast", "ipv4-flowspec", "ipv6-flowspec")
	line := func(args ...string) ([]byte, error) {
		return daemon.Ask("gobgp", append([]string{"-u", api.Addr().String(), "-p", fmt.Sprint(api.Port())}, args...)...)
	}
	r.Name, r.Args = "gobgpd", []string{"-f", r.Write(t, "gobgpd.toml", conf), "--api-hosts", api.String(), "--pprof-disable"}
	r.show = func(family string) ([]byte, error) {
		return line("global", "rib", "-a", strings.TrimSuffix(family, "-unicast"))
	}
}

// each writes a line or more for each family.
func each(format string, families ...string) string {
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, format, f)
	}
	return b.String()
}

// bird is BIRD 2.
func bird(t testing.TB, r *Router) {
	t.Helper()
	var routes strings.Builder
	for _, p := range r.Link.Announce {
		fmt.Fprintf(&routes, "route %s blackhole; ", p)
	}
	password := ""
	if r.Link.Password != "" {
		password = fmt.Sprintf("password %q;", r.Link.Password)
	}
	conf := fmt.Sprintf(`log stderr all;
router id 192.0.2.2;
flow4 table flowtab4; flow6 table flowtab6;
protocol device {}
protocol static { ipv4; %s }
protocol bgp sakimori {
	local %s port %d as %d; neighbor %s as %d; passive; strict bind; multihop; hold time %d; %s
	ipv4 { import all; export where source = RTS_STATIC; };
	ipv6 { import all; export none; };
	flow4 { table flowtab4; import all; export none; };
	flow6 { table flowtab6; import all; export none; };
}
`, routes.String(), r.Addr.Addr(), r.Addr.Port(), r.Link.AS, r.Link.Us.Addr(), r.Link.OurAS, r.Link.Hold, password)
	control := filepath.Join(r.Dir, "bird.ctl")
	r.Name, r.Args = "bird", []string{"-f", "-c", r.Write(t, "bird.conf", conf), "-s", control, "-P", filepath.Join(r.Dir, "bird.pid")}
	r.show = func(family string) ([]byte, error) {
		table := map[string]string{"ipv4-unicast": "master4", "ipv6-unicast": "master6", "ipv4-flowspec": "flowtab4", "ipv6-flowspec": "flowtab6"}[family]
		return daemon.Ask("birdc", "-r", "-s", control, "show", "route", "table", table, "protocol", "sakimori", "all")
	}
}

// frr is FRR's bgpd alone: without zebra, so that nothing gets near the kernel's routes.
func frr(t testing.TB, r *Router) {
	t.Helper()
	us := r.Link.Us.Addr()
	password := ""
	if r.Link.Password != "" {
		password = fmt.Sprintf(" neighbor %s password %s\n", us, r.Link.Password)
	}
	conf := fmt.Sprintf(`router bgp %[1]d
 bgp router-id 192.0.2.3
 no bgp default ipv4-unicast
 no bgp ebgp-requires-policy
 neighbor %[2]s remote-as %[3]d
 neighbor %[2]s passive
 neighbor %[2]s disable-connected-check
 neighbor %[2]s timers %[4]d %[5]d
%[6]s`, r.Link.AS, us, r.Link.OurAS, max(1, r.Link.Hold/3), r.Link.Hold, password)
	conf += each(" address-family %s\n  neighbor "+us.String()+" activate\n exit-address-family\n", "ipv4 unicast", "ipv6 unicast", "ipv4 flowspec", "ipv6 flowspec")
	r.Name = "bgpd"
	r.Args = []string{
		"-Z", "-S", "-n", "-P", "0", "-p", fmt.Sprint(r.Addr.Port()), "-l", r.Addr.Addr().String(), "--vty_socket", r.Dir,
		"-f", r.Write(t, "bgpd.conf", conf), "-i", filepath.Join(r.Dir, "bgpd.pid"), "--log", "stdout",
	}
	r.show = func(family string) ([]byte, error) {
		afi, safi, _ := strings.Cut(family, "-")
		what := fmt.Sprintf("show bgp %s %s detail", afi, safi)
		if safi == "unicast" {
			what = fmt.Sprintf("show bgp %s unicast community 65535:666", afi)
		}
		return daemon.Ask("vtysh", "--vty_socket", r.Dir, "-d", "bgpd", "-c", what)
	}
}

// exaBGP writes what it receives as JSON; it has no table, so one is kept of that. It calls us
// where the link says where, as it does in the field.
func exaBGP(t testing.TB, r *Router) {
	t.Helper()
	password, call := "", "passive true;"
	if r.Link.Password != "" {
		password = fmt.Sprintf("md5-password %q;", r.Link.Password)
	}
	if p := r.Link.Us.Port(); p != 0 {
		call = fmt.Sprintf("connect %d;", p)
	}
	// Its own output stays open, or ExaBGP takes it for dead; it is started before ExaBGP gives up root.
	sink := r.Write(t, "sink.sh", "exec cat 3>&1 >&2\n")
	conf := fmt.Sprintf(`process sink { run /bin/sh %s; encoder json; }
neighbor %s {
	router-id 192.0.2.5; local-address %s; local-as %d; peer-as %d; hold-time %d; %s %s
	family { ipv4 unicast; ipv6 unicast; ipv4 flow; ipv6 flow; }
	api { processes [ sink ]; neighbor-changes; receive { parsed; update; } }
}
`, sink, r.Link.Us.Addr(), r.Addr.Addr(), r.Link.AS, r.Link.OurAS, r.Link.Hold, call, password)
	r.Name, r.Args = "exabgp", []string{r.Write(t, "exabgp.conf", conf)}
	r.Env = []string{"exabgp.tcp.bind=" + r.Addr.Addr().String(), fmt.Sprintf("exabgp.tcp.port=%d", r.Addr.Port()), "exabgp.api.cli=false", "exabgp.daemon.drop=false"}
	r.show = func(family string) ([]byte, error) { return []byte(table(r.Said(), family)), nil }
}

// table is what stands of a family after all that ExaBGP has written: the lines that announced
// it.
func table(said, family string) string {
	family = strings.Replace(strings.Replace(family, "-", " ", 1), "flowspec", "flow", 1)
	type nlri struct{ NLRI, String string } // of unicast, of flowspec
	stands := map[nlri]string{}
	for line := range strings.Lines(said) {
		var m struct {
			Type     string
			Neighbor struct {
				State   string
				Message struct {
					Update struct {
						Announce map[string]map[string][]nlri // family, next hop
						Withdraw map[string][]nlri
					}
				}
			}
		}
		if json.Unmarshal([]byte(line), &m) != nil {
			continue // of its log, or a mark of the end
		}
		if m.Type == "state" && m.Neighbor.State == "down" {
			clear(stands)
		}
		for _, list := range m.Neighbor.Message.Update.Announce[family] {
			for _, n := range list {
				stands[n] = line
			}
		}
		for _, n := range m.Neighbor.Message.Update.Withdraw[family] {
			delete(stands, n)
		}
	}
	return strings.Join(slices.Sorted(maps.Values(stands)), "")
}
