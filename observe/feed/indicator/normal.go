package indicator

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

const (
	mostURL = 4096 // bytes
	// No malware has more of the Internet than that; whoever writes it wrote something
	// else: the largest entries of Spamhaus DROP are a /10.
	widest4, widest6 = 8, 19
)

// normal brings a value into its normal form: see observe.IndicatorKind. kind is what
// the list says that it is; where it doesn't, its form tells.
func (j *job) normal(s string, kind observe.IndicatorKind) (observe.IndicatorKind, string, Reason) {
	s = refang(strings.TrimSpace(s))
	if reading.Nothing(s) {
		return "", "", noValue
	}
	if len(s) > mostURL {
		return "", "", tooLong
	}
	switch kind {
	case observe.IndicatorName, observe.IndicatorHost:
		name, why := domain(strings.TrimPrefix(s, "*."))
		return kind, name, why
	case observe.IndicatorAddress, observe.IndicatorPrefix: // lists write one where they promise the other
		if strings.IndexByte(s, '/') >= 0 {
			return j.prefix(s)
		}
		return j.address(s)
	case observe.IndicatorEndpoint:
		return j.endpoint(s)
	case observe.IndicatorURL:
		return j.url(s)
	}
	return j.guess(s)
}

// guess tells from the form of a value what it is. No value has two readings, but
// that of an IPv6 address with a port behind it and no brackets: it is an address.
func (j *job) guess(s string) (observe.IndicatorKind, string, Reason) {
	switch {
	case strings.Contains(s, "://"):
		return j.url(s)
	case s[0] == '/':
		return "", "", noHost
	case strings.IndexByte(s, '/') >= 0:
		host, _, _ := strings.Cut(s, "/")
		if numeric(host) || strings.IndexByte(host, ':') >= 0 && strings.Count(host, ":") > 1 {
			return j.prefix(s)
		}
		return "", "", noScheme
	case s[0] == '[':
		return j.endpoint(s)
	case strings.Count(s, ":") > 1:
		return j.address(s)
	case strings.IndexByte(s, ':') >= 0:
		host, number, _ := strings.Cut(s, ":")
		if numeric(host) {
			return j.endpoint(s)
		}
		// Names are blocked whatever the port: as little as can be.
		if !isPort(number) {
			return "", "", badPort
		}
		name, why := domain(host)
		return observe.IndicatorHost, name, why
	case numeric(s):
		return j.address(s)
	}
	name, why := domain(strings.TrimPrefix(strings.TrimPrefix(s, "*"), "."))
	return observe.IndicatorName, name, why
}

// numeric tells whether a host is meant to be an IPv4 address: its last label has
// digits alone.
func numeric(host string) bool {
	last := strings.TrimSuffix(host, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	return last != "" && reading.Digits(last)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// defanged are the ways in which people write what mustn't become a link.
var defanged = strings.NewReplacer(
	"[.]", ".", "(.)", ".", "{.}", ".", "[dot]", ".", "(dot)", ".", "{dot}", ".", "[DOT]", ".", "(DOT)", ".", `\.`, ".",
	"[:]", ":", "[://]", "://", "[/]", "/", "[at]", "@", "[@]", "@",
)

// refang undoes it.
func refang(s string) string {
	if strings.ContainsAny(s, `[({\`) {
		s = defanged.Replace(s)
	}
	if len(s) > 4 && (s[1] == 'x' || s[1] == 'X') {
		if scheme, rest, ok := strings.Cut(s, "://"); ok {
			switch strings.ToLower(scheme) {
			case "hxxp":
				return "http://" + rest
			case "hxxps":
				return "https://" + rest
			case "fxp", "fxxp":
				return "ftp://" + rest
			}
		}
	}
	return s
}

// public tells whether addresses may be listed.
func (j *job) public(p netip.Prefix) bool {
	for _, q := range j.Public {
		if q.Bits() <= p.Bits() && q.Contains(p.Addr()) {
			return true
		}
	}
	return !reading.ReservedIn(p)
}

func (j *job) addr(s string) (netip.Addr, Reason) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, notAddress
	case a.Zone() != "":
		return a, hasZone
	}
	if a = a.Unmap(); !j.public(netip.PrefixFrom(a, a.BitLen())) {
		return a, notPublic
	}
	return a, fine
}

func (j *job) address(s string) (observe.IndicatorKind, string, Reason) {
	bare := s
	if n := len(s); s[0] == '[' && s[n-1] == ']' {
		bare = s[1 : n-1]
	}
	a, why := j.addr(bare)
	if why != fine {
		return "", "", why
	}
	return observe.IndicatorAddress, printed(a, bare), fine
}

// printed is an address as netip prints it; a text that is it already is taken.
func printed(a netip.Addr, was string) string {
	var b [48]byte
	if string(a.AppendTo(b[:0])) == was {
		return was
	}
	return a.String()
}

func (j *job) prefix(s string) (observe.IndicatorKind, string, Reason) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if host, _, _ := strings.Cut(s, "/"); strings.IndexByte(host, '%') >= 0 {
			return "", "", hasZone
		}
		return "", "", notPrefix
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return "", "", notPrefix
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	switch {
	case p.Addr().Is4() && p.Bits() < widest4, p.Addr().Is6() && p.Bits() < widest6:
		return "", "", tooWide
	case !j.public(p):
		return "", "", notPublic
	case p.IsSingleIP():
		return observe.IndicatorAddress, p.Addr().String(), fine
	}
	return observe.IndicatorPrefix, p.String(), fine
}

func (j *job) endpoint(s string) (observe.IndicatorKind, string, Reason) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || s[0] == '[' && (i == 0 || s[i-1] != ']') {
		return "", "", badPort
	}
	host := s[:i]
	if host != "" && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	a, why := j.addr(host)
	if why != fine {
		return "", "", why
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || n == 0 {
		return "", "", badPort
	}
	var b [64]byte
	p := netip.AddrPortFrom(a, uint16(n))
	if string(p.AppendTo(b[:0])) == s {
		return observe.IndicatorEndpoint, s, fine
	}
	return observe.IndicatorEndpoint, p.String(), fine
}

// special are the ends of names that the public DNS doesn't have (RFC 6761 and IANA's
// list of special-use names), as far as they'd be a mistake in a list. test and
// example aren't there: people try lists with them.
var special = map[string]bool{
	"localhost": true, "local": true, "localdomain": true, "onion": true, "arpa": true, "invalid": true, "internal": true, "alt": true, "lan": true, "home": true, "corp": true,
}

// domain brings a name into its normal form. What resolvers take is taken: underscores
// and hyphens too, wherever they stand.
func domain(s string) (string, Reason) {
	s = strings.TrimSuffix(s, ".")
	if !ascii(s) || strings.Contains(s, "xn--") || strings.Contains(s, "XN--") {
		made, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", badIDN
		}
		s = strings.TrimSuffix(made, ".")
	}
	if s == "" || len(s) > 253 {
		return "", notName
	}
	label, upper, dots := 0, false, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if i == label || i-label > 63 {
				return "", notName
			}
			label = i + 1
			dots++
		case c >= 'A' && c <= 'Z':
			upper = true
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return "", notName
		}
	}
	if n := len(s) - label; n == 0 || n > 63 {
		return "", notName
	}
	if upper {
		s = strings.ToLower(s)
	}
	last := s[label:]
	switch {
	case special[last]:
		return "", specialName
	case dots == 0:
		return "", topLevel
	case reading.Digits(last) || strings.HasPrefix(last, "-") || strings.HasSuffix(last, "-") || strings.IndexByte(last, '_') >= 0:
		return "", notName // no top-level domain is called so
	}
	return s, fine
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// defaults are the schemes that are read, with their ports.
var defaults = map[string]string{"http": "80", "https": "443", "ftp": "21"}

// url brings a URL into its normal form. What stands before an @ isn't part of what
// is asked for, and may be somebody's password: it is left out.
func (j *job) url(s string) (observe.IndicatorKind, string, Reason) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !utf8.ValidString(s) || strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == '"' || r == '<' || r == '>' }) >= 0 {
		return "", "", badURL
	}
	lower := strings.ToLower(scheme)
	usual, ok := defaults[lower]
	if !ok {
		return "", "", badScheme
	}
	rest, _, _ = strings.Cut(rest, "#")
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	number := ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') {
		host, number = host[:i], host[i+1:]
		if number == "" {
			number = usual // "http://host:/" is allowed (RFC 3986, section 6.2.3)
		}
		if !isPort(number) {
			return "", "", badPort
		}
		number = strings.TrimLeft(number, "0")
	}
	if host == "" {
		return "", "", noHost
	}
	var why Reason
	switch {
	case host[0] == '[':
		if !strings.HasSuffix(host, "]") {
			return "", "", badURL
		}
		var a netip.Addr
		if a, why = j.addr(host[1 : len(host)-1]); a.Is6() {
			host = "[" + a.String() + "]"
		} else {
			host = a.String()
		}
	case numeric(host):
		_, host, why = j.address(strings.TrimSuffix(host, "."))
	default:
		host, why = domain(host)
	}
	if why != fine {
		return "", "", why
	}
	if number != "" && number != usual {
		host += ":" + number
	}
	if path == "" || path[0] == '?' {
		path = "/" + path
	}
	if begin := len(lower) + 3 + len(host); len(s) == begin+len(path) && s[begin:] == path && strings.HasPrefix(s, lower) && s[len(lower)+3:begin] == host {
		return observe.IndicatorURL, s, fine
	}
	return observe.IndicatorURL, lower + "://" + host + path, fine
}
