// Package routertest puts filters and policies before real routers: BIRD 2 and FRR's
// bgpd, started on loopback in the test's folder and ended with it, with neighbours that
// announce what a test gives them.
package routertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sakimori/base/daemon"
	"sakimori/respond/leak"
)

// Kind is a program.
type Kind string

// The kinds.
const (
	BIRD Kind = "bird"
	FRR  Kind = "frr"
)

var programs = map[Kind][]string{BIRD: {"bird", "birdc"}, FRR: {"bgpd", "vtysh"}}

// Needs skips, loudly, where a program isn't installed; on a build machine that is a failure.
func Needs(t testing.TB, kinds ...Kind) {
	t.Helper()
	for _, k := range kinds {
		daemon.Needs(t, programs[k]...)
	}
}

// Session is one neighbour of the router.
type Session struct {
	AS      uint32
	Address netip.Addr // of loopback, its own
	Import  string     // BIRD: what stands in the import filter; FRR: the name of the route-map
	Role    string     // BIRD: our role (RFC 9234), "" none
}

// Router is one that runs.
type Router struct {
	*daemon.Program

	Kind     Kind
	Addr     netip.AddrPort
	sessions []Session
}

// New starts a router of an AS with a text in its configuration: definitions, functions,
// lists and maps that the sessions' imports name.
func New(t testing.TB, k Kind, as uint32, text string, sessions ...Session) *Router {
	t.Helper()
	Needs(t, k)
	r := &Router{Program: daemon.New(t, "bird"), Kind: k, sessions: sessions, Addr: daemon.Port(t, netip.MustParseAddr("127.0.0.1"))}
	if k == BIRD {
		conf := r.reads(t, r.bird(as, text))
		r.Args = []string{"-f", "-c", conf, "-s", r.control(), "-P", filepath.Join(r.Dir, "bird.pid")}
	} else {
		conf := r.reads(t, r.frr(as, text))
		r.Name, r.Args = "bgpd", []string{
			"-Z", "-S", "-n", "-P", "0", "-p", fmt.Sprint(r.Addr.Port()), "-l", r.Addr.Addr().String(), "--vty_socket", r.Dir,
			"-f", conf, "-i", filepath.Join(r.Dir, "bgpd.pid"), "--log", "stdout",
		}
	}
	r.Start(t)
	daemon.Await(t, 20*time.Second, r.Name+" listens", func() error { return r.Up(t, r.Addr) })
	return r
}

// Reads fails the test where a router doesn't read a configuration.
func Reads(t testing.TB, k Kind, text string) {
	t.Helper()
	Needs(t, k)
	(&Router{Program: daemon.New(t, ""), Kind: k}).reads(t, text)
}

// reads has the router check a configuration, and gives its file.
func (r *Router) reads(t testing.TB, text string) string {
	t.Helper()
	conf := r.Write(t, string(r.Kind)+".conf", text)
	if r.Kind == BIRD {
		if out, err := daemon.Ask("bird", "-p", "-c", conf); err != nil {
			t.Fatalf("BIRD doesn't read it: %v\n%s\n%s", err, out, text)
		}
		return conf
	}
	// What it can't read it names by line, and goes on.
	out, err := daemon.Ask("bgpd", "-C", "-Z", "-S", "-n", "-f", conf, "-i", filepath.Join(r.Dir, "check.pid"), "--vty_socket", r.Dir)
	if err != nil || bytes.Contains(out, []byte("line ")) {
		t.Fatalf("FRR doesn't read it: %v\n%s\n%s", err, out, text)
	}
	return conf
}

func (r *Router) control() string { return filepath.Join(r.Dir, "bird.ctl") }

func (r *Router) bird(as uint32, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "log stderr { warning, error, fatal, bug, auth };\nrouter id 192.0.2.2;\nprotocol device {}\n%s\n", text)
	for i, s := range r.sessions {
		role := ""
		if s.Role != "" {
			role = "local role " + s.Role + ";"
		}
		fmt.Fprintf(&b, `protocol bgp n%d {
	local 127.0.0.1 port %d as %d; neighbor %s as %d; passive; strict bind; multihop; %s
	ipv4 { import keep filtered; import filter { %s }; export none; };
	ipv6 { import keep filtered; import filter { %s }; export none; };
}
`, i, r.Addr.Port(), as, s.Address, s.AS, role, s.Import, s.Import)
	}
	return b.String()
}

func (r *Router) frr(as uint32, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nrouter bgp %d\n bgp router-id 192.0.2.3\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n", text, as)
	for _, s := range r.sessions {
		fmt.Fprintf(&b, " neighbor %[1]s remote-as %[2]d\n neighbor %[1]s passive\n neighbor %[1]s disable-connected-check\n", s.Address, s.AS)
	}
	for _, f := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, " address-family %s unicast\n", f)
		for _, s := range r.sessions {
			fmt.Fprintf(&b, "  neighbor %[1]s activate\n  neighbor %[1]s soft-reconfiguration inbound\n  neighbor %[1]s route-map %[2]s in\n", s.Address, s.Import)
		}
		b.WriteString(" exit-address-family\n")
	}
	return b.String()
}

// Feed has the neighbour of each session announce routes, and gives for each session the
// prefixes that the router took: it waits until the router has seen all of them.
func (r *Router) Feed(t testing.TB, routes [][]leak.Offered) []map[netip.Prefix]bool {
	t.Helper()
	want := make([]map[netip.Prefix]bool, len(routes))
	for n, list := range routes {
		s := r.sessions[n]
		Speak(t, s.Address, s.AS, r.Addr, list)
		want[n] = map[netip.Prefix]bool{}
		for i := range list {
			want[n][list[i].Prefix] = true
		}
	}
	var took []map[netip.Prefix]bool
	daemon.Await(t, 20*time.Second, "all routes are seen", func() error {
		tables := r.tableBIRD
		if r.Kind == FRR {
			tables = r.tableFRR
		}
		all, accepted, err := tables()
		if err != nil {
			return err
		}
		for n := range want {
			if len(all[n]) != len(want[n]) {
				return fmt.Errorf("session %d: %d of %d", n, len(all[n]), len(want[n]))
			}
		}
		took = accepted
		return nil
	})
	return took
}

// tableBIRD is what each session has announced, and what of it was taken.
func (r *Router) tableBIRD() (all, accepted []map[netip.Prefix]bool, err error) {
	for n := range r.sessions {
		name := fmt.Sprintf("n%d", n)
		yes, err := r.shown("show", "route", "protocol", name)
		if err != nil {
			return nil, nil, err
		}
		both, err := r.shown("show", "route", "filtered", "protocol", name)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(both, yes)
		all, accepted = append(all, both), append(accepted, yes)
	}
	return all, accepted, nil
}

var firstPrefix = regexp.MustCompile(`(?m)^([0-9a-f:.]+/\d+) `)

func (r *Router) shown(args ...string) (map[netip.Prefix]bool, error) {
	out, err := daemon.Ask("birdc", append([]string{"-r", "-s", r.control()}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("birdc: %w: %s", err, out)
	}
	set := map[netip.Prefix]bool{}
	for _, m := range firstPrefix.FindAllSubmatch(out, -1) {
		set[netip.MustParsePrefix(string(m[1]))] = true
	}
	return set, nil
}

// tableFRR asks everything with one command line, which is what costs.
func (r *Router) tableFRR() (all, accepted []map[netip.Prefix]bool, err error) {
	args := []string{"--vty_socket", r.Dir, "-d", "bgpd"}
	for _, s := range r.sessions {
		for _, f := range []string{"ipv4", "ipv6"} {
			for _, what := range []string{"received-routes", "routes"} {
				args = append(args, "-c", fmt.Sprintf("show bgp %s unicast neighbors %s %s json", f, s.Address, what))
			}
		}
	}
	out, err := daemon.Ask("vtysh", args...)
	if err != nil {
		return nil, nil, fmt.Errorf("vtysh: %w: %s", err, out)
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	for range r.sessions {
		seen, took := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
		for range 2 {
			for _, into := range []map[netip.Prefix]bool{seen, took} {
				var x struct {
					ReceivedRoutes, Routes map[netip.Prefix]json.RawMessage
				}
				if err := answers.Decode(&x); err != nil {
					return nil, nil, fmt.Errorf("vtysh: %w: %s", err, out)
				}
				for _, list := range []map[netip.Prefix]json.RawMessage{x.ReceivedRoutes, x.Routes} {
					for p := range list {
						into[p] = true
					}
				}
			}
		}
		all, accepted = append(all, seen), append(accepted, took)
	}
	return all, accepted, nil
}
