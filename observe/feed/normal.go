package feed

import (
	"net/netip"
	"strconv"
	"strings"

	"sakimori/observe/feed/reading"
)

// address reads an address. Brackets are taken off, an IPv4 address in an IPv6 one
// is unmapped, and a prefix of full length is an address.
func (j *job) address(s string) (netip.Addr, Reason) {
	s = strings.TrimSpace(s)
	if reading.Nothing(s) {
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
	if reading.Reserved(a) {
		return netip.Addr{}, notPublic
	}
	return a, fine
}

// port reads a port; 0 is not told.
func port(s string) (uint16, Reason) {
	if s = strings.TrimSpace(s); reading.Nothing(s) {
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
