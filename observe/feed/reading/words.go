package reading

import (
	"net/netip"
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

// Reserved tells whether an address is of nobody.
func Reserved(a netip.Addr) bool { return reserved.Contains(a) }

// ReservedIn tells whether some of a prefix is of nobody.
func ReservedIn(p netip.Prefix) bool {
	if reserved.Contains(p.Addr()) {
		return true
	}
	if !p.IsSingleIP() {
		for range reserved.Subnets(p) {
			return true
		}
	}
	return false
}

// Nothing are the ways to say that nothing is known.
func Nothing(s string) bool {
	switch s {
	case "", "-", "?", "null", "NULL", "None", "N/A", "n/a":
		return true
	}
	return false
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

// Family is a name of malware in lower case, under its usual name.
func Family(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if Nothing(s) || s == "unknown" {
		return ""
	}
	if known, ok := aliases[s]; ok {
		return known
	}
	return Clean(s)
}

// IsFamily tells whether a word, in any case, is a name of malware for certain: lists
// have it among other tags.
func IsFamily(s string) bool {
	s = strings.ToLower(strings.TrimSpace(s))
	if _, ok := aliases[s]; ok {
		return true
	}
	return families[s]
}

// families are the usual names of those that have others, and of those of devices in
// homes.
var families = func() map[string]bool {
	m := map[string]bool{}
	for _, f := range aliases {
		m[f] = true
	}
	for _, f := range []string{"mozi", "hajime", "moobot", "xorddos", "kaiten", "tsunami", "dridex", "trickbot", "bazarloader", "icedid", "pikabot", "agenttesla", "asyncrat", "redline", "lokibot", "remcos", "njrat"} {
		m[f] = true
	}
	return m
}()

// Clean makes a text one that every store takes: UTF-8 without NUL.
func Clean(s string) string {
	if IsClean(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// IsClean tells whether a text is such a one.
func IsClean(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
