package feed

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gaissmai/bart"
)

// reserved is the address space in which nobody has a subscriber: the entries of
// IANA's special-purpose registries (RFC 6890) that aren't globally reachable, the
// transition ranges 192.88.99.0/24, 2001::/32 and 2002::/16, and multicast
// (RFC 5771, RFC 4291).
var reserved = func() *bart.Lite {
	t := new(bart.Lite)
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/8", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20",
		"5f00::/16", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		t.Insert(netip.MustParsePrefix(p))
	}
	return t
}()

// address reads an address. Brackets are taken off, an IPv4 address in an IPv6 one
// is unmapped, and a prefix of full length is an address.
func (j *job) address(s string) (netip.Addr, Reason) {
	s = strings.TrimSpace(s)
	if nothing(s) {
		return netip.Addr{}, noAddress
	}
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		s = s[1 : n-1]
		if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") { // RFC 5321, section 4.1.3
			s = s[5:]
		}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Addr{}, notAddress
		}
		if !p.IsSingleIP() {
			return netip.Addr{}, aNetwork
		}
		a = p.Addr()
	}
	if a = a.Unmap(); a.Zone() != "" {
		return netip.Addr{}, notPublic
	}
	for _, p := range j.Public {
		if p.Contains(a) {
			return a, fine
		}
	}
	if reserved.Contains(a) {
		return netip.Addr{}, notPublic
	}
	return a, fine
}

// nothing are the ways to say that nothing is known.
func nothing(s string) bool {
	switch s {
	case "", "-", "?", "null", "NULL", "None", "N/A", "n/a":
		return true
	}
	return false
}

// port reads a port; 0 is not told.
func port(s string) (uint16, Reason) {
	if s = strings.TrimSpace(s); nothing(s) {
		return 0, fine
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, badPort
	}
	return uint16(n), fine
}

// protocol reads the name or the IANA number of a protocol over IP.
func protocol(s string) (uint8, bool) {
	switch s = strings.ToLower(strings.TrimSpace(s)); s {
	case "":
		return 0, true
	case "tcp":
		return 6, true
	case "udp":
		return 17, true
	case "icmp":
		return 1, true
	case "icmpv6", "icmp6", "ipv6-icmp":
		return 58, true
	case "sctp":
		return 132, true
	case "gre":
		return 47, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

// FamiliesDated is the state of the aliases.
var FamiliesDated = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// aliases are other names of the same malware, as feeds use them. "qbot" is missing
// on purpose: one half of the world means qakbot by it, the other gafgyt.
var aliases = map[string]string{
	"downadup":          "conficker",
	"kido":              "conficker",
	"confickerab":       "conficker",
	"zbot":              "zeus",
	"p2pzeus":           "gameover-zeus",
	"gameover":          "gameover-zeus",
	"gameoverzeus":      "gameover-zeus",
	"gameover zeus":     "gameover-zeus",
	"peer-to-peer zeus": "gameover-zeus",
	"bashlite":          "gafgyt",
	"lizkebab":          "gafgyt",
	"torlus":            "gafgyt",
	"geodo":             "emotet",
	"heodo":             "emotet",
	"gamarue":           "andromeda",
	"sirefef":           "zeroaccess",
	"nimnul":            "ramnit",
	"quakbot":           "qakbot",
	"pinkslipbot":       "qakbot",
	"iotmirai":          "mirai",
	"elf.mirai":         "mirai",
}

// family is a name of malware in lower case, under its usual name.
func family(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if nothing(s) || s == "unknown" {
		return ""
	}
	if known, ok := aliases[s]; ok {
		return known
	}
	return clean(s)
}

// clean makes a text one that every store takes: UTF-8 without NUL.
func clean(s string) string {
	if isClean(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func isClean(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
