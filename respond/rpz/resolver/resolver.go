// Package resolver writes complete configurations with which BIND, Unbound, PowerDNS Recursor
// and Knot Resolver obey the policy zones, around the habits by which each of them would fail
// silently. What is avoided, and why, stands in the files as comments. The tests start
// real resolvers from exactly these files.
package resolver

import (
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
)

// Vendor is whose resolver it is.
type Vendor string

// The resolvers, and the releases for which the files are written and tested.
const (
	BIND     Vendor = "bind"    // 9.18
	Unbound  Vendor = "unbound" // 1.17
	PowerDNS Vendor = "pdns"    // Recursor 4.8
	Knot     Vendor = "knot"    // Resolver 5.6
)

// Vendors are all of them.
func Vendors() []Vendor { return []Vendor{BIND, Unbound, PowerDNS, Knot} }

// Site is where the resolver stands and what it is told.
type Site struct {
	Primaries []netip.AddrPort // of the policy zones
	Key       Key              // with which transfers are signed; zero: unsigned
	TLS       TLS              // with which they are encrypted (RFC 9103); zero: they aren't
	Zones     []rpz.Zone       // none: all four
	Clients   []netip.Prefix   // who may ask; nobody else may
	Listen    []netip.AddrPort // where it answers
	Folder    string           // where it keeps what it was transferred
	Upstream  []netip.AddrPort // whom it asks; none: from the root on
	Unsigned  bool             // DNSSEC isn't validated
	Dnstap    string           // Unix socket on which somebody takes dnstap; "" nothing is logged
	Protobuf  netip.AddrPort   // the same for PowerDNS, which logs clients' answers in its own form
	Megabytes int              // a zone's transfer may have; 0: 512
}

// Key is a TSIG key (RFC 8945). Its secret stays in a file of the form that tsig-keygen
// writes, on the resolver's machine.
type Key struct {
	Name      string
	Algorithm string // hmac-sha256, hmac-sha512
	File      string
}

// TLS is how the primary shows who it is.
type TLS struct {
	Name   string // in its certificate
	CAFile string // "": the machine's own authorities
}

// ErrSite is a Site that no configuration can be written for.
var ErrSite = errors.New("no configuration can be written")

// MinTLS and so on are what vendors can't do; Config says it in its notes.

//go:embed files
var files embed.FS

// Config gives the files of a resolver by name, and what a person must know and do besides.
func Config(v Vendor, s Site) (map[string]string, []lawful.Text, error) {
	kind, ok := kinds[v]
	if !ok {
		return nil, nil, fmt.Errorf("%w: there is no vendor %q: take one of %v", ErrSite, v, Vendors())
	}
	s, err := s.complete()
	if err != nil {
		return nil, nil, err
	}
	out := map[string]string{}
	for _, name := range kind.files {
		t, err := template.New(name+".tmpl").Funcs(words).ParseFS(files, "files/"+name+".tmpl")
		if err != nil {
			return nil, nil, err
		}
		var b strings.Builder
		if err := t.Execute(&b, s); err != nil {
			return nil, nil, err
		}
		out[name] = b.String()
	}
	var notes []lawful.Text
	for _, n := range kind.notes {
		if n.when == nil || n.when(s) {
			notes = append(notes, n.text)
		}
	}
	return out, notes, nil
}

// complete fills in what wasn't said, and refuses what can't be.
func (s Site) complete() (Site, error) {
	if len(s.Zones) == 0 {
		s.Zones = rpz.Zones()
	}
	if s.Megabytes == 0 {
		s.Megabytes = 512
	}
	switch {
	case len(s.Primaries) == 0:
		return s, fmt.Errorf("%w: no primary is given", ErrSite)
	case len(s.Listen) == 0:
		return s, fmt.Errorf("%w: say where the resolver listens", ErrSite)
	case len(s.Clients) == 0:
		return s, fmt.Errorf("%w: say whose questions it answers (an open resolver serves attackers)", ErrSite)
	case s.Megabytes < 1:
		return s, fmt.Errorf("%w: a zone of %d MB", ErrSite, s.Megabytes)
	case !filepath.IsAbs(s.Folder):
		return s, fmt.Errorf("%w: the folder of the zones must be an absolute path", ErrSite)
	}
	for _, p := range s.Clients {
		if p.Bits() == 0 {
			return s, fmt.Errorf("%w: %s would make an open resolver: give the own prefixes", ErrSite, p)
		}
		if p != p.Masked() {
			return s, fmt.Errorf("%w: %s has bits set behind its length", ErrSite, p)
		}
	}
	// Whatever goes between quotes of a configuration must not end them.
	for _, w := range []string{s.Folder, s.Dnstap, s.Key.File, s.TLS.CAFile} {
		if strings.ContainsAny(w, "\"'\\\n\r\t {}[]") || w != "" && !filepath.IsAbs(w) {
			return s, fmt.Errorf("%w: %q must be an absolute path without spaces, quotes and brackets", ErrSite, w)
		}
	}
	for _, w := range []string{s.Key.Name, s.TLS.Name} {
		if n, err := dns.ParseName(w); w != "" && (err != nil || strings.ContainsAny(n.String(), "\"'\\ ;{}")) {
			return s, fmt.Errorf("%w: %q isn't a name", ErrSite, w)
		}
	}
	if s.Key.Name != "" {
		if !slices.Contains([]string{"hmac-sha256", "hmac-sha512"}, s.Key.Algorithm) {
			return s, fmt.Errorf("%w: key %s: take hmac-sha256 or hmac-sha512", ErrSite, s.Key.Name)
		}
		if s.Key.File == "" {
			return s, fmt.Errorf("%w: key %s: say in which file its secret stands", ErrSite, s.Key.Name)
		}
	}
	for _, z := range s.Zones {
		if !slices.Contains(rpz.Zones(), z) {
			return s, fmt.Errorf("%w: %q isn't a policy zone", ErrSite, z)
		}
	}
	// Their order decides who is left alone: it isn't anybody's choice.
	s.Zones = slices.Clone(s.Zones)
	slices.SortFunc(s.Zones, func(a, b rpz.Zone) int {
		return slices.Index(rpz.Zones(), a) - slices.Index(rpz.Zones(), b)
	})
	s.Zones = slices.Compact(s.Zones)
	return s, nil
}

// words are what the templates say with.
var words = template.FuncMap{
	// quick: a change in this zone must be seen within seconds.
	"quick": func(z rpz.Zone) bool { return z != rpz.C2 },
	// silent: nothing may be logged of it, for who declined wasn't asked about either.
	"silent": func(z rpz.Zone) bool { return z == rpz.OptOut || z == rpz.Allow },
	"bare":   func(z rpz.Zone) string { return strings.TrimSuffix(string(z), ".") },
	"loopback": func(s Site) bool {
		return slices.ContainsFunc(append(slices.Clone(s.Upstream), s.Primaries...), func(a netip.AddrPort) bool { return a.Addr().IsLoopback() })
	},
	"kind4":  func(a netip.AddrPort) bool { return a.Addr().Is4() },
	"reason": func() string { return Reason },
	"last":   func(i, n int) bool { return i == n-1 },
}

// Reason is the text beside EDE 15 (RFC 8914), where a resolver can say it.
const Reason = "マルウェアの通信先のため遮断しました(いつでも解除できます) / blocked: known malware server (you may opt out at any time)"
