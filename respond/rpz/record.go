package rpz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"sakimori/base/wire/dns"
)

// TTL of every record, in seconds: how long a resolver's client may go on believing what
// it was told after the rule is gone.
const TTL = 60

// Where the actions point (draft §3); of NXDomain the root, of NoData below it.
var targets = map[Action]dns.Name{
	NXDomain: dns.Root(),
	NoData:   dns.Name(star + "\x00"),
	Passthru: dns.Name("\x0crpz-passthru\x00"),
	Drop:     dns.Name("\x08rpz-drop\x00"),
	TCPOnly:  dns.Name("\x0crpz-tcp-only\x00"),
}

// String is the action's word on the command line and in the API.
func (a Action) String() string {
	if int(a) < len(actions) {
		return actions[a]
	}
	return fmt.Sprintf("action %d", a)
}

var actions = [...]string{NXDomain: "nxdomain", NoData: "nodata", Passthru: "passthru", Drop: "drop", TCPOnly: "tcp-only", Local: "local"}

// ParseAction reads the word.
func ParseAction(s string) (Action, error) {
	for a, word := range actions {
		if s == word {
			return Action(a), nil // #nosec G115 -- six
		}
	}
	return 0, fmt.Errorf("%w: %.40q is no action: write one of %s", ErrRule, s, strings.Join(actions[:], ", "))
}

// appendRule writes the records of a rule, as they stand in any message about the zone.
func appendRule(dst []byte, zone Zone, r *Rule) ([]byte, error) {
	rel, err := owner(zone, r)
	if err != nil {
		return dst, err
	}
	rel = append(rel, dns.ToQuestion...)
	if r.Action != Local {
		to, known := targets[r.Action]
		if !known || len(r.Data) > 0 {
			return dst, fmt.Errorf("%w: %s: %s takes no data, and must be one of those that are known", ErrRule, r.trigger(), r.Action)
		}
		return dns.AppendRR(dst, rel, dns.CNAME, dns.IN, TTL, to), nil
	}
	if len(r.Data) == 0 {
		return dst, fmt.Errorf("%w: %s: local data without data", ErrRule, r.trigger())
	}
	for _, d := range r.Data {
		kind, data, err := parseData(d)
		if err != nil {
			return dst, fmt.Errorf("%w: %s: %w", ErrRule, r.trigger(), err)
		}
		if kind == dns.CNAME && len(r.Data) > 1 {
			return dst, fmt.Errorf("%w: %s: a CNAME stands alone", ErrRule, r.trigger())
		}
		dst = dns.AppendRR(dst, rel, kind, dns.IN, TTL, data)
	}
	return dst, nil
}

func (r *Rule) trigger() string {
	if r.Client.IsValid() {
		return r.Client.String()
	}
	return fmt.Sprintf("%.80q", r.Name)
}

// parseData reads a type with its data, as in a zone file.
func parseData(s string) (kind uint16, data []byte, err error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToUpper(word) {
	case "A", "AAAA":
		a, err := netip.ParseAddr(rest)
		if err != nil || a.Zone() != "" || a.Is4() != (len(word) == 1) {
			return 0, nil, fmt.Errorf("%.80q: write an address of that family behind %s", s, word)
		}
		if a.Is4() {
			return dns.A, a.AsSlice(), nil
		}
		return dns.AAAA, a.AsSlice(), nil
	case "CNAME":
		n, err := dns.ParseName(rest)
		if err != nil {
			return 0, nil, err
		}
		top := n
		for top.Labels() > 1 {
			top = top.Parent()
		}
		if len(n) == 1 || string(n) == star+"\x00" || bytes.HasPrefix(top[1:], []byte("rpz-")) {
			return 0, nil, fmt.Errorf("%.80q would be read as an action: name the action instead", s)
		}
		return dns.CNAME, n, nil
	case "TXT":
		b, err := parseStrings(rest)
		if err != nil {
			return 0, nil, fmt.Errorf("%.80q: %w", s, err)
		}
		return dns.TXT, b, nil
	}
	return 0, nil, fmt.Errorf("%.80q: local data are A, AAAA, CNAME or TXT", s)
}

// parseStrings reads the strings of a TXT record, in quotes.
func parseStrings(s string) ([]byte, error) {
	var b []byte
	for s != "" {
		if s[0] != '"' {
			return nil, fmt.Errorf("put each string into quotes")
		}
		at, i := len(b), 1
		b = append(b, 0)
		for ; i < len(s) && s[i] != '"'; i++ {
			c := s[i]
			if c == '\\' {
				i++
				if i == len(s) {
					break
				}
				c = s[i]
			}
			b = append(b, c)
		}
		if i >= len(s) {
			return nil, fmt.Errorf("a string isn't closed")
		}
		if n := len(b) - at - 1; n > 255 {
			return nil, fmt.Errorf("a string has %d bytes: 255 at most", n)
		}
		b[at] = byte(len(b) - at - 1) // #nosec G115 -- 255 at most
		s = strings.TrimSpace(s[i+1:])
	}
	if len(b) == 0 || len(b) > 4096 {
		return nil, fmt.Errorf("from one string to 4,096 bytes of them")
	}
	return b, nil
}

// rule reads the records of one owner, as appendRule wrote them.
func rule(records []byte, ref string) (r Rule) {
	n := ownerLen(records)
	r.Name, r.Client = trigger(records[:n])
	r.Ref = ref
	for at := 0; at < len(records); {
		at += n + 2
		kind, size := binary.BigEndian.Uint16(records[at:]), int(binary.BigEndian.Uint16(records[at+8:]))
		data := records[at+10 : at+10+size]
		at += 10 + size
		if kind == dns.CNAME {
			for a, to := range targets {
				if string(data) == string(to) {
					r.Action = a
					return r
				}
			}
		}
		r.Action = Local
		r.Data = append(r.Data, dataString(kind, data))
	}
	return r
}

func dataString(kind uint16, data []byte) string {
	switch kind {
	case dns.A, dns.AAAA:
		a, _ := netip.AddrFromSlice(data)
		return map[bool]string{true: "A ", false: "AAAA "}[a.Is4()] + a.String()
	case dns.CNAME:
		return "CNAME " + dns.Name(data).String() + "."
	}
	var s strings.Builder
	s.WriteString("TXT")
	for len(data) > 0 {
		n := min(int(data[0]), len(data)-1)
		s.WriteString(` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(data[1:1+n])) + `"`)
		data = data[1+n:]
	}
	return s.String()
}

// ownerLen is how many bytes the labels at the begin of a record have, up to the pointer.
func ownerLen(record []byte) int {
	i := 0
	for record[i] < 0xc0 {
		i += 1 + int(record[i])
	}
	return i
}
