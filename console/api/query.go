package api

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

const (
	day         = 24 * time.Hour
	longestSpan = 30 * 366 * day
	mostPoints  = 12_000 // of a series: a week of minutes, a year of hours
)

// span reads from and to. What isn't given is taken from the data's own time,
// not the wall clock's: a capture of 2016 is shown in 2016. ok is false when
// nothing was given and there is no data to take it from.
func (s *Server) span(q SpanQuery) (r observe.Range, ok bool, err error) {
	end, have := s.deps.Inputs.DataTime()
	return parseSpan(q.From, q.To, end, have)
}

func parseSpan(from, to string, end time.Time, have bool) (r observe.Range, ok bool, err error) {
	if r.From, err = parseTime(from, "from"); err != nil {
		return r, false, err
	}
	if r.To, err = parseTime(to, "to"); err != nil {
		return r, false, err
	}
	if r.To.IsZero() {
		switch {
		case have:
			// The end of the data's last hour: of hours the sets of sources and
			// targets are kept, so that hosts can be counted over whole hours and
			// need not be bounded by adding minutes up.
			r.To = end.UTC().Truncate(time.Hour).Add(time.Hour)
			if !r.From.IsZero() && !r.From.Before(r.To) {
				r.To = r.From.Add(day)
			}
		case r.From.IsZero():
			return observe.Range{}, false, nil
		default:
			r.To = r.From.Add(day)
		}
	}
	if r.From.IsZero() {
		r.From = r.To.Add(-day)
	}
	if !r.From.Before(r.To) {
		return r, false, fail("range_invalid")
	}
	if r.To.Sub(r.From) > longestSpan {
		return r, false, fail("range_too_long", int(longestSpan/day))
	}
	return r, true, nil
}

func parseTime(s, name string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 || t.Year() > 2261 { // what Unix nanoseconds hold
		return time.Time{}, fail("filter_invalid", s, name, "2016-09-01T00:00:00Z")
	}
	return t.UTC(), nil
}

// before is the span of equal length just before r.
func before(r observe.Range) observe.Range {
	return observe.Range{From: r.From.Add(r.From.Sub(r.To)), To: r.From}
}

// grainFor picks the grain that gives a few hundred points.
func grainFor(word string, r observe.Range) (observe.Grain, error) {
	length := r.To.Sub(r.From)
	g := observe.Day
	switch word {
	case "", "auto":
		if length <= 6*time.Hour {
			g = observe.Minute
		} else if length <= 14*day {
			g = observe.Hour
		}
	default:
		var err error
		if g, err = observe.ParseGrain(word); err != nil {
			return g, fail("filter_invalid", word, "grain", "auto, minute, hour, day")
		}
	}
	if n := int64(length/time.Second) / g.Seconds(); n > mostPoints {
		return g, fail("too_many_points", n, mostPoints)
	}
	return g, nil
}

var protocols = [...]struct {
	number uint8
	name   string
}{
	{packet.ICMP, "icmp"},
	{2, "igmp"},
	{4, "ipip"},
	{packet.TCP, "tcp"},
	{packet.UDP, "udp"},
	{41, "ipv6"},
	{47, "gre"},
	{50, "esp"},
	{51, "ah"},
	{packet.ICMPv6, "icmp6"},
	{89, "ospf"},
	{132, "sctp"},
	{136, "udplite"},
}

// protocolName is the name of an IANA protocol number, or the number.
func protocolName(n uint8) string {
	for _, p := range protocols {
		if p.number == n {
			return p.name
		}
	}
	return strconv.Itoa(int(n))
}

func parseProtocol(s string) (uint8, bool) {
	for _, p := range protocols {
		if p.name == strings.ToLower(s) {
			return p.number, true
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

func isICMP(proto uint8) bool { return proto == packet.ICMP || proto == packet.ICMPv6 }

// portKey writes a key of observe.ByPort: 23/tcp, or 8.0/icmp with type and code.
func portKey(key uint32) string {
	proto, port := uint8(key>>16), uint16(key) //nolint:gosec // the halves of the key
	if isICMP(proto) {
		return fmt.Sprintf("%d.%d/%s", port>>8, port&0xff, protocolName(proto))
	}
	return fmt.Sprintf("%d/%s", port, protocolName(proto))
}

func parsePortKey(s string) (uint32, bool) {
	number, name, ok := strings.Cut(s, "/")
	proto, known := parseProtocol(name)
	if !ok || !known {
		return 0, false
	}
	if isICMP(proto) {
		typ, code, ok := strings.Cut(number, ".")
		t, err := strconv.ParseUint(typ, 10, 8)
		c, err2 := strconv.ParseUint(code, 10, 8)
		return uint32(proto)<<16 | uint32(t)<<8 | uint32(c), ok && err == nil && err2 == nil
	}
	port, err := strconv.ParseUint(number, 10, 16)
	return uint32(proto)<<16 | uint32(port), err == nil
}

// unknownCountry is CLDR's region code for "unknown", which browsers can name.
const unknownCountry = "ZZ"

// keyText writes a key of dim.
func keyText(dim observe.Dim, key uint32) string {
	switch dim {
	case observe.ByClass:
		return observe.Class(key).String() //nolint:gosec // a class
	case observe.ByProtocol:
		return protocolName(uint8(key)) //nolint:gosec // a protocol number
	case observe.ByPort:
		return portKey(key)
	case observe.ByCountry:
		if key == 0 {
			return unknownCountry
		}
		return string([]byte{byte(key >> 8), byte(key)}) //nolint:gosec // two letters
	case observe.ByAS:
		return "AS" + strconv.FormatUint(uint64(key), 10)
	default:
		return ""
	}
}

// parseKey reads what keyText writes.
func parseKey(dim observe.Dim, s string) (key uint32, err error) {
	ok, example := false, ""
	switch dim {
	case observe.ByTotal:
		ok, example = s == "", "(none)"
	case observe.ByClass:
		example = "scan"
		for c := range uint32(observe.Classes) {
			if observe.Class(c).String() == s {
				key, ok = c, true
			}
		}
	case observe.ByProtocol:
		var n uint8
		example = "tcp"
		n, ok = parseProtocol(s)
		key = uint32(n)
	case observe.ByPort:
		example = "23/tcp"
		key, ok = parsePortKey(s)
	case observe.ByCountry:
		example = "JP"
		if up := strings.ToUpper(s); up == unknownCountry {
			ok = true
		} else if len(up) == 2 && isUpper(up[0]) && isUpper(up[1]) {
			key, ok = uint32(up[0])<<8|uint32(up[1]), true
		}
	case observe.ByAS:
		example = "AS4713"
		n, perr := strconv.ParseUint(strings.TrimPrefix(strings.ToUpper(s), "AS"), 10, 32)
		key, ok = uint32(n), perr == nil
	}
	if !ok {
		return 0, fail("key_invalid", s, dim, example)
	}
	return key, nil
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// name is what people call a key of dim, in English and Japanese; "" where the
// browser knows better (countries) or nobody does.
func (s *Server) name(dim observe.Dim, key uint32) (en, ja string) {
	switch dim {
	case observe.ByTotal:
		return "all", "全体"
	case observe.ByClass:
		return classNames(observe.Class(key)) //nolint:gosec // a class
	case observe.ByProtocol:
		up := strings.ToUpper(protocolName(uint8(key))) //nolint:gosec // a protocol number
		return up, up
	case observe.ByPort:
		return portName(key)
	case observe.ByAS:
		if key == 0 {
			return "unknown", "不明"
		}
		if s.deps.Geo != nil {
			org := s.deps.Geo.ASName(key)
			return org, org
		}
	}
	return "", ""
}

func classNames(c observe.Class) (en, ja string) {
	switch c {
	case observe.Scan:
		return "scan", "スキャン"
	case observe.Backscatter:
		return "backscatter", "跳ね返り"
	case observe.Reflection:
		return "reflection", "リフレクション"
	default:
		return "other", "その他"
	}
}

func parseKinds(s string) ([]observe.Kind, error) {
	var kinds []observe.Kind
	for word := range strings.SplitSeq(s, ",") {
		if word == "" {
			continue
		}
		n := len(kinds)
		for k := range observe.Kinds {
			if kind := observe.Kind(k); kind.String() == word {
				kinds = append(kinds, kind)
			}
		}
		if len(kinds) == n {
			return nil, fail("filter_invalid", word, "kind", "tcp-syn")
		}
	}
	return kinds, nil
}

// parsePort reads the port of an event and, where the text tells the protocol,
// the kinds of event that this protocol has. Without a text it is -1, any.
func parsePort(s string) (port int, kinds []observe.Kind, err error) {
	if s == "" {
		return -1, nil, nil
	}
	number, proto, _ := strings.Cut(s, "/")
	if strings.Contains(number, ".") && proto == "" {
		proto = "icmp"
	}
	if proto == "" {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return -1, nil, fail("filter_invalid", s, "port", "23, 23/tcp, 8.0/icmp")
		}
		return int(n), nil, nil
	}
	key, ok := parsePortKey(number + "/" + proto)
	if !ok {
		return -1, nil, fail("filter_invalid", s, "port", "23, 23/tcp, 8.0/icmp")
	}
	switch p := uint8(key >> 16); { //nolint:gosec // the protocol of the key
	case p == packet.TCP:
		kinds = []observe.Kind{observe.KindTCPSyn, observe.KindTCPStealth, observe.KindTCPAck, observe.KindTCPSynAck, observe.KindTCPRst}
	case p == packet.UDP:
		kinds = []observe.Kind{observe.KindUDP, observe.KindUDPAnswer, observe.KindUDPReflected}
	case isICMP(p):
		kinds = []observe.Kind{observe.KindICMPRequest, observe.KindICMPAnswer, observe.KindICMPError}
	default:
		kinds = []observe.Kind{observe.KindOther, observe.KindFragment}
	}
	return int(key & 0xffff), kinds, nil
}

// parseTools takes a tool's name for all of its versions.
func parseTools(s string) ([]observe.Tool, error) {
	var tools []observe.Tool
	for word := range strings.SplitSeq(s, ",") {
		if word == "" {
			continue
		}
		n := len(tools)
		for t := observe.Unknown; t <= observe.IrregularSYN; t++ {
			if t.String() == word {
				tools = append(tools, t)
			}
		}
		if len(tools) == n {
			return nil, fail("filter_invalid", word, "tool", "mirai, zmap, masscan, nmap")
		}
	}
	return tools, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fail("address_invalid", s)
	}
	return a.Unmap(), nil
}

var flagNames = [...]struct {
	flag observe.Flags
	name string
}{
	{observe.Own, "own"},
	{observe.Research, "research"},
	{observe.SpoofHint, "spoof_hint"},
	{observe.Solicited, "solicited"},
	{observe.FirstMinute, "first_minute"},
	{observe.Scanner, "scanner"},
	{observe.AmplifierAsk, "amplifier_ask"},
}

func flagWords(f observe.Flags) []string {
	words := []string{}
	for _, n := range flagNames {
		if f&n.flag != 0 {
			words = append(words, n.name)
		}
	}
	return words
}
