package resolvertest

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/resolver"
)

// Primary is a primary of the four policy zones that isn't ours: BIND's.
type Primary struct {
	*Process
	serials map[rpz.Zone]uint32
	// Files is a folder into which the zones are also written, for a resolver that transfers
	// nothing.
	Files string
}

// NewPrimary starts a primary with four empty zones, which notifies a resolver. Without a
// key whoever is on loopback may transfer.
func NewPrimary(t testing.TB, key resolver.Key, notify netip.AddrPort) *Primary {
	t.Helper()
	Needs(t)
	dir, at := t.TempDir(), Port(t)
	p := &Primary{serials: map[rpz.Zone]uint32{}}
	who, include := "127.0.0.0/8;", ""
	if key.Name != "" {
		who, include = fmt.Sprintf("key %q;", key.Name), fmt.Sprintf("include %q;\n", key.File)
	}
	var conf strings.Builder
	conf.WriteString(include)
	fmt.Fprintf(&conf, `options {
	directory %q; pid-file none; session-keyfile none; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; allow-query { any; }; allow-transfer { %s }; notify explicit; also-notify { %s port %d; }; notify-delay 0; notify-rate 100;
	ixfr-from-differences yes; serial-query-rate 100; startup-notify-rate 100; empty-zones-enable no;
};
controls { };
`, dir, at.Port(), who, notify.Addr(), notify.Port())
	for _, z := range rpz.Zones() {
		file := strings.TrimSuffix(string(z), ".") + ".zone"
		fmt.Fprintf(&conf, "zone %q { type primary; file %q; };\n", z, file)
		p.serials[z] = 1
		write(t, filepath.Join(dir, file), Text(z, 1))
	}
	write(t, filepath.Join(dir, "named.conf"), conf.String())
	p.Process = run(t, at, dir, "named", "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
	p.Up(t, netip.Addr{}, "c2")
	return p
}

// Publish replaces the rules of a zone and gives its new serial, once the primary has it.
func (p *Primary) Publish(t testing.TB, z rpz.Zone, rules ...rpz.Rule) uint32 {
	t.Helper()
	p.serials[z]++
	text, file := Text(z, p.serials[z], rules...), strings.TrimSuffix(string(z), ".")
	write(t, filepath.Join(p.Dir, file+".zone"), text)
	if p.Files != "" {
		write(t, filepath.Join(p.Files, file+".rpz"), text)
	}
	p.Hangup()
	Eventually(t, 5*time.Second, "the primary has "+string(z), func() error {
		if at, err := serial(t, p.Addr, string(z)); err != nil || at != p.serials[z] {
			return errors.Join(err, fmt.Errorf("serial %d", at))
		}
		return nil
	})
	return p.serials[z]
}

// Serial is a zone's newest.
func (p *Primary) Serial(z rpz.Zone) uint32 { return p.serials[z] }

// serial asks for a zone's.
func serial(t testing.TB, at netip.AddrPort, zone string) (uint32, error) {
	t.Helper()
	a, err := Ask(t, at, netip.Addr{}, zone, dns.SOA, false)
	return a.Serial, err
}

// Text writes a zone as a file.
func Text(z rpz.Zone, serial uint32, rules ...rpz.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s 5 IN SOA localhost. root.localhost. %d 5 5 864000 5\n%s 5 IN NS localhost.\n", z, serial, z)
	for _, r := range rules {
		owner := r.Name
		if r.Client.IsValid() {
			owner = ClientOwner(r.Client)
		}
		data := r.Data
		if target, ok := targets[r.Action]; ok {
			data = []string{"CNAME " + target}
		}
		for _, d := range data {
			fmt.Fprintf(&b, "%s.%s 5 IN %s\n", owner, z, d)
		}
	}
	return b.String()
}

var targets = map[rpz.Action]string{rpz.NXDomain: ".", rpz.NoData: "*.", rpz.Passthru: "rpz-passthru.", rpz.Drop: "rpz-drop.", rpz.TCPOnly: "rpz-tcp-only."}

// ClientOwner writes a prefix as the draft does: 24.0.2.0.192.rpz-client-ip.
func ClientOwner(p netip.Prefix) string {
	words := []string{strconv.Itoa(p.Bits())}
	if p.Addr().Is4() {
		b := p.Addr().As4()
		for i := 3; i >= 0; i-- {
			words = append(words, strconv.Itoa(int(b[i])))
		}
	} else {
		parts := strings.Split(p.Addr().String(), ":")
		for _, part := range slices.Backward(parts) {
			switch {
			case part != "":
				words = append(words, part)
			case words[len(words)-1] != "zz":
				words = append(words, "zz")
			}
		}
	}
	return strings.Join(words, ".") + ".rpz-client-ip"
}
