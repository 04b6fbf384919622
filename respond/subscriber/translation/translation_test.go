package translation_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/translation"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func rules(t testing.TB, text string) *translation.Rules {
	t.Helper()
	r, err := load(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// load reads a configuration as the command does.
func load(text string) (*translation.Rules, error) {
	var c translation.Config
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		return nil, err
	}
	return translation.New(c)
}

// three is a configuration with each kind of rule. The MAP rule is the first example
// of RFC 7597's appendix A.
const three = `
deterministic:
  - {name: cgn-osaka, version: "1", until: 2026-06-01T00:00:00Z, inside: [100.64.0.0/24], outside: [198.51.100.0/30], ports: 1000}
  - {name: cgn-osaka, version: "2", from: 2026-06-01T00:00:00Z, inside: [100.64.0.0/24], outside: [198.51.100.0/30], ports: 1000, fill: round_robin}
  - {name: aftr-deterministic, inside: ["2001:db8:b4::/56"], unit: 64, outside: [198.51.100.128/28], ports: 4000, per_address: 16, order: staggered}
map:
  - {name: map-east, version: a6, ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16}
  - {name: map-whole, ipv6: "2001:db8:8000::/40", ipv4: 203.0.113.128/25, ea_bits: 7}
  - {name: map-one, ipv6: "2001:db8:9000:100::/56", ipv4: 203.0.113.1/32, ea_bits: 0, psid: 3, psid_length: 4, psid_offset: 4}
  - {name: map-two, ipv6: "2001:db8:9000:200::/56", ipv4: 203.0.113.1/32, ea_bits: 0, psid: 4, psid_length: 4, psid_offset: 4}
lw4o6:
  - name: aftr
    bindings:
      - {ipv6: "2001:db8:46::1/128", ipv4: 203.0.113.9, psid: 1, psid_length: 2}
      - {ipv6: "2001:db8:46::2/128", ipv4: 203.0.113.9, psid: 2, psid_length: 2}
      - {ipv6: "2001:db8:47::/56", ipv4: 203.0.113.10}
`

func TestAnswers(t *testing.T) {
	r := rules(t, three)
	turn := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name, address string
		port          uint16
		proto         uint8
		at            time.Time
		skew          time.Duration
		reason        translation.Reason
		inside, rule  string
	}{
		{"the RFC's example", "192.0.2.18", 1232, 6, noon, 0, translation.Found, "2001:db8:12:3400::/56", "map-east a6"},
		{"its last range", "192.0.2.18", 64723, 17, noon, 0, translation.Found, "2001:db8:12:3400::/56", "map-east a6"},
		{"one port further, the next subscriber", "192.0.2.18", 1236, 6, noon, 0, translation.Found, "2001:db8:12:3500::/56", "map-east a6"},
		{"below the offset", "192.0.2.18", 1023, 6, noon, 0, translation.ReservedPort, "", "map-east a6"},
		{"an ICMP identifier is a port", "192.0.2.18", 1232, 1, noon, 0, translation.Found, "2001:db8:12:3400::/56", "map-east a6"},
		{"no port told", "192.0.2.18", 0, 6, noon, 0, translation.NoPort, "", "map-east a6"},
		{"a protocol without ports", "192.0.2.18", 1232, 47, noon, 0, translation.NoPortProtocol, "", "map-east a6"},
		{"an IPv4-mapped address is the IPv4 one", "::ffff:192.0.2.18", 1232, 6, noon, 0, translation.Found, "2001:db8:12:3400::/56", "map-east a6"},
		{"a whole address needs no port", "203.0.113.130", 0, 47, noon, 0, translation.Found, "2001:db8:8004::/47", "map-whole "},
		{"a rule of one subscriber", "203.0.113.1", 0x1300, 6, noon, 0, translation.Found, "2001:db8:9000:100::/56", "map-one "},
		{"the other of the same address", "203.0.113.1", 0x1400, 6, noon, 0, translation.Found, "2001:db8:9000:200::/56", "map-two "},
		{"neither of them", "203.0.113.1", 0x1500, 6, noon, 0, translation.Unassigned, "", "map-one "},
		{"lightweight 4over6", "203.0.113.9", 0x4000, 6, noon, 0, translation.Found, "2001:db8:46::1/128", "aftr "},
		{"its second subscriber", "203.0.113.9", 0xbfff, 6, noon, 0, translation.Found, "2001:db8:46::2/128", "aftr "},
		{"a PSID without subscriber", "203.0.113.9", 80, 6, noon, 0, translation.Unassigned, "", "aftr "},
		{"a whole address by binding", "203.0.113.10", 0, 50, noon, 0, translation.Found, "2001:db8:47::/56", "aftr "},
		{"before the change", "198.51.100.0", 2024, 6, turn.Add(-time.Second), 0, translation.Found, "100.64.0.1/32", "cgn-osaka 1"},
		{"at the change", "198.51.100.0", 2024, 6, turn, 0, translation.Found, "100.64.0.4/32", "cgn-osaka 2"},
		{"a clock that may be wrong across the change", "198.51.100.0", 2024, 6, turn, time.Second, translation.Ambiguous, "", "cgn-osaka 1"},
		{"across it, but the same subscriber", "198.51.100.0", 1024, 6, turn, time.Second, translation.Found, "100.64.0.0/32", "cgn-osaka 1"},
		{"a reserved port", "198.51.100.0", 443, 6, noon, 0, translation.ReservedPort, "", "cgn-osaka 2"},
		{"more shares than ports", "198.51.100.3", 65100, 6, noon, 0, translation.Unassigned, "", "cgn-osaka 2"},
		{"staggered", "198.51.100.128", 1024 + 16*5 + 7, 6, noon, 0, translation.Found, "2001:db8:b4:7::/64", "aftr-deterministic "},
		{"staggered, the leftover ports", "198.51.100.128", 65534, 6, noon, 0, translation.Unassigned, "", "aftr-deterministic "},
		{"nobody's address", "233.252.0.1", 5000, 6, noon, 0, translation.NoRule, "", " "},
	}
	for _, tt := range tests {
		a := r.Ask(translation.Query{Address: netip.MustParseAddr(tt.address), Port: tt.port, Proto: tt.proto, At: tt.at, Skew: tt.skew})
		inside := ""
		if a.Inside.IsValid() {
			inside = a.Inside.String()
		}
		if a.Reason != tt.reason || inside != tt.inside || a.Rule+" "+a.Version != tt.rule {
			t.Errorf("%s: %s, %q by %s %s", tt.name, a.Reason, inside, a.Rule, a.Version)
		}
		if text := a.Reason.Text(); text.JA == "" || text.EN == "" {
			t.Errorf("%s has no words", a.Reason)
		}
	}
	a := r.Ask(translation.Query{Address: netip.MustParseAddr("198.51.100.0"), Port: 2024, At: turn, Skew: time.Hour})
	if strings.Join(a.Others, ", ") != "cgn-osaka 1, cgn-osaka 2" {
		t.Errorf("ambiguous between %q", a.Others)
	}
}

func TestOutsideTheTime(t *testing.T) {
	r := rules(t, `
map:
  - {name: m, version: old, from: 2026-01-01T00:00:00Z, until: 2026-02-01T00:00:00Z, ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16}
  - {name: m, version: new, from: 2026-02-01T00:00:01Z, ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16}
`)
	ask := func(at string, skew time.Duration) translation.Answer {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		return r.Ask(translation.Query{Address: netip.MustParseAddr("192.0.2.18"), Port: 1232, Proto: 6, At: when, Skew: skew})
	}
	for _, tt := range []struct {
		at   string
		skew time.Duration
		want translation.Reason
	}{
		{"2025-12-31T23:59:59Z", 0, translation.OutsideTime},
		{"2026-01-01T00:00:00Z", 0, translation.Found},
		{"2026-01-01T00:00:00Z", time.Second, translation.OutsideTime}, // not the whole of the time
		{"2026-01-31T23:59:59Z", 0, translation.Found},
		{"2026-02-01T00:00:00Z", 0, translation.OutsideTime}, // the second without a rule
		{"2026-02-01T00:00:00Z", time.Minute, translation.OutsideTime},
		{"2026-02-01T00:00:01Z", 0, translation.Found},
		{"2126-01-01T00:00:00Z", time.Hour, translation.Found},
	} {
		if a := ask(tt.at, tt.skew); a.Reason != tt.want || a.Inside.IsValid() != (tt.want == translation.Found) {
			t.Errorf("%s ± %s: %s, %s", tt.at, tt.skew, a.Reason, a.Inside)
		}
	}
}

// The usual offsets of Japanese providers, 4 and 6, with prefixes for documentation: 15
// ranges of 16 ports and 63 of 4 of each 256th of an address.
func TestUsualOffsets(t *testing.T) {
	for _, tt := range []struct {
		offset, ranges, each int
		first, last          subscriber.Ports
	}{
		{4, 15, 16, subscriber.Ports{First: 0x1340, Last: 0x134f}, subscriber.Ports{First: 0xf340, Last: 0xf34f}},
		{6, 63, 4, subscriber.Ports{First: 1232, Last: 1235}, subscriber.Ports{First: 64720, Last: 64723}},
	} {
		r := rules(t, fmt.Sprintf(`map: [{name: m, ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16, psid_offset: %d, psid_length: 8}]`, tt.offset))
		s := r.Shares(netip.MustParseAddr("2001:db8:12:34ff::1"), noon)
		if len(s) != 1 || s[0].Address.String() != "192.0.2.18/32" || len(s[0].Ports) != tt.ranges {
			t.Fatalf("offset %d: %+v", tt.offset, s)
		}
		p := s[0].Ports
		if p[0] != tt.first || p[len(p)-1] != tt.last || int(p[0].Last-p[0].First)+1 != tt.each {
			t.Errorf("offset %d: %v … %v", tt.offset, p[0], p[len(p)-1])
		}
	}
}

func TestRefusedConfigurations(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no name", `map: [{ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16}]`, "entry 1 of map has no name"},
		{"two that meet", `
map: [{name: east, version: "1", ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16}]
deterministic: [{name: osaka, inside: [10.0.0.0/30], outside: [192.0.2.64/32], ports: 1000}]`, `rule "osaka" and rule "east" version "1" give the same public addresses at one time`},
		{"versions that meet", `
deterministic:
  - {name: osaka, version: "1", until: 2026-06-02T00:00:00Z, inside: [10.0.0.0/30], outside: [192.0.2.64/32], ports: 1000}
  - {name: osaka, version: "2", from: 2026-06-01T00:00:00Z, inside: [10.0.0.0/30], outside: [192.0.2.65/32], ports: 1000}`, `rule "osaka" version "1" and rule "osaka" version "2" are in force at one time`},
		{"a version twice", `
deterministic:
  - {name: osaka, until: 2026-06-01T00:00:00Z, inside: [10.0.0.0/30], outside: [192.0.2.64/32], ports: 1000}
  - {name: osaka, from: 2026-06-01T00:00:00Z, inside: [10.0.0.0/30], outside: [192.0.2.65/32], ports: 1000}`, `rule "osaka" is there twice`},
		{"ends before it begins", `map: [{name: m, from: 2026-06-01T00:00:00Z, until: 2026-05-01T00:00:00Z, ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16}]`, "ends before it begins"},
		{"a prefix of 72 bits", `map: [{name: m, ipv6: "2001:db8::/56", ipv4: 192.0.2.0/24, ea_bits: 16}]`, "end-user prefix would have 72 bits"},
		{"bits behind the length", `map: [{name: m, ipv6: "2001:db8::/40", ipv4: 192.0.2.1/24, ea_bits: 16}]`, "write 192.0.2.0/24"},
		{"a PSID that doesn't fit", `map: [{name: m, ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 16, psid_length: 6}]`, "leave 8"},
		{"more than 16 bits of port", `map: [{name: m, ipv6: "2001:db8::/40", ipv4: 192.0.2.0/24, ea_bits: 20, psid_offset: 6}]`, "a port has 16 bits"},
		{"PSIDs in common", `
map:
  - {name: a, ipv6: "2001:db8:1::/56", ipv4: 192.0.2.1/32, ea_bits: 0, psid: 1, psid_length: 2}
  - {name: b, ipv6: "2001:db8:2::/56", ipv4: 192.0.2.1/32, ea_bits: 0, psid: 3, psid_length: 3}`, `rule "a" and rule "b" give the same public addresses`},
		{"room for fewer", `deterministic: [{name: d, inside: [10.0.0.0/24], outside: [192.0.2.0/32], ports: 1000}]`, "256 subscribers, but 1 addresses for 64 each have room for 64"},
		{"mixed families", `deterministic: [{name: d, inside: [10.0.0.0/24, "2001:db8::/64"], outside: [192.0.2.0/28], ports: 1000}]`, "IPv4 and IPv6 are mixed"},
		{"an unknown order", `deterministic: [{name: d, inside: [10.0.0.0/24], outside: [192.0.2.0/28], ports: 1000, order: random}]`, `order is "random"`},
		{"no ports", `deterministic: [{name: d, inside: [10.0.0.0/24], outside: [192.0.2.0/28]}]`, "0 ports a subscriber"},
		{"an unknown key", `map: [{name: m, ipv4: 192.0.2.0/24, ealen: 8}]`, "unknown field"},
		{"bindings in common", `lw4o6: [{name: t, bindings: [{ipv6: "2001:db8::1/128", ipv4: 192.0.2.1, psid: 1, psid_length: 2}, {ipv6: "2001:db8::2/128", ipv4: 192.0.2.1, psid: 5, psid_length: 4}]}]`, "binding 2 has a port that another"},
		{"the same PSID", `lw4o6: [{name: t, bindings: [{ipv6: "2001:db8::1/128", ipv4: 192.0.2.1, psid: 1, psid_length: 2}, {ipv6: "2001:db8::2/128", ipv4: 192.0.2.1, psid: 1, psid_length: 2}]}]`, "binding 2 has a port that another"},
		{"a B4 twice", `lw4o6: [{name: t, bindings: [{ipv6: "2001:db8::1/128", ipv4: 192.0.2.1}, {ipv6: "2001:db8::1/128", ipv4: 192.0.2.2}]}]`, "binding 2: its B4 has a binding already"},
	}
	for _, tt := range tests {
		_, err := load(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// mapRule draws a rule, with the fields as an oracle wants them.
func mapRule(t *rapid.T) (translation.MAP, int) {
	r := rapid.IntRange(8, 32).Draw(t, "r")
	o := rapid.IntRange(0, 48).Draw(t, "o")
	k := max(0, o-(32-r))
	n := rapid.IntRange(16, 60).Draw(t, "n")
	a := rapid.IntRange(0, 15).Draw(t, "a")
	if k > 0 && a+k > 16 || n+o > 64 {
		t.Skip("no rule")
	}
	var v6 [16]byte
	for i := range 8 {
		v6[i] = rapid.Byte().Draw(t, "v6")
	}
	v6[0] = 0x20
	p6, _ := netip.AddrFrom16(v6).Prefix(n)
	p4, _ := netip.AddrFrom4([4]byte{rapid.Byte().Draw(t, "v4"), rapid.Byte().Draw(t, "v4"), rapid.Byte().Draw(t, "v4"), rapid.Byte().Draw(t, "v4")}).Prefix(r)
	return translation.MAP{Name: "m", IPv6: p6, IPv4: p4, EABits: o, Offset: &a}, k
}

// digits writes an address in binary.
func digits(a netip.Addr) (s string) {
	for _, b := range a.AsSlice() {
		s += fmt.Sprintf("%08b", b)
	}
	return s
}

// MAP as RFC 7597 draws it, with digits instead of arithmetic, and back again.
func TestMAPEqualsItsDrawing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, k := mapRule(t)
		rs, err := translation.New(translation.Config{MAP: []translation.MAP{m}})
		if err != nil {
			t.Fatal(err)
		}
		v4 := m.IPv4.Addr().As4()
		host := rapid.Uint64Range(0, 1<<(32-m.IPv4.Bits())-1).Draw(t, "host")
		binary.BigEndian.PutUint32(v4[:], binary.BigEndian.Uint32(v4[:])|uint32(host))
		address := netip.AddrFrom4(v4)
		port := rapid.Uint16Min(1).Draw(t, "port")
		got := rs.Ask(translation.Query{Address: address, Port: port, Proto: 6, At: noon})

		ps := fmt.Sprintf("%016b", port)
		psid := ""
		if k > 0 {
			psid = ps[*m.Offset : *m.Offset+k]
			if *m.Offset > 0 && !strings.Contains(ps[:*m.Offset], "1") {
				if got.Reason != translation.ReservedPort {
					t.Fatalf("port %d: %s", port, got.Reason)
				}
				return
			}
		}
		suffix := digits(address)[m.IPv4.Bits():min(32, m.IPv4.Bits()+m.EABits)]
		want := digits(m.IPv6.Addr())[:m.IPv6.Bits()] + suffix + psid
		if got.Reason != translation.Found || got.Inside.Bits() != len(want) || digits(got.Inside.Addr())[:len(want)] != want {
			t.Fatalf("%s port %d: %+v, want %s", address, port, got, want)
		}
		back := rs.Shares(got.Inside.Addr(), noon)
		if len(back) != 1 || !back[0].Address.Contains(address) || !holds(back[0].Ports, port) {
			t.Fatalf("%s has %+v, not %s port %d", got.Inside, back, address, port)
		}
	})
}

func holds(list []subscriber.Ports, port uint16) bool {
	for _, p := range list {
		if p.First <= port && port <= p.Last {
			return true
		}
	}
	return len(list) == 0
}

// deterministicRule draws a rule that is small enough to be walked through.
func deterministicRule(t *rapid.T) translation.Deterministic {
	d := translation.Deterministic{
		Name: "d", FirstPort: rapid.IntRange(1, 3000).Draw(t, "first"), LastPort: rapid.IntRange(4000, 65535).Draw(t, "last"),
		Ports: rapid.IntRange(100, 1000).Draw(t, "ports"),
		Order: rapid.SampledFrom([]string{"sequential", "staggered"}).Draw(t, "order"),
		Fill:  rapid.SampledFrom([]string{"address", "round_robin"}).Draw(t, "fill"),
		Inside: rapid.SampledFrom([][]netip.Prefix{
			{netip.MustParsePrefix("100.64.0.0/29")},
			{netip.MustParsePrefix("100.64.0.0/30"), netip.MustParsePrefix("10.0.0.8/31")},
			{netip.MustParsePrefix("2001:db8::/61")},
		}).Draw(t, "inside"),
		Outside: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/29"), netip.MustParsePrefix("203.0.113.7/32")},
	}
	if d.Inside[0].Addr().Is6() {
		d.Unit = 64
	}
	if room := (d.LastPort - d.FirstPort + 1) / d.Ports; rapid.Bool().Draw(t, "dynamic pool") {
		d.PerAddress = rapid.IntRange(1, room).Draw(t, "per address")
	}
	return d
}

// Deterministic NAT is an exact inverse: what the rule gives to subscribers, every port of
// it, it gives back; no port is given twice; and every other port is nobody's.
func TestDeterministicIsInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := deterministicRule(t)
		rs, err := translation.New(translation.Config{Deterministic: []translation.Deterministic{d}})
		if err != nil {
			if strings.Contains(err.Error(), "have room for") {
				t.Skip("more subscribers than room")
			}
			t.Fatal(err)
		}
		owner := map[netip.AddrPort]netip.Prefix{}
		for _, p := range d.Inside {
			bits := p.Addr().BitLen()
			if d.Unit > 0 {
				bits = d.Unit
			}
			for i := range 1 << (bits - p.Bits()) {
				raw := p.Addr().AsSlice()
				raw[bits/8-1] += byte(i)
				a, _ := netip.AddrFromSlice(raw)
				s := rs.Shares(a, noon)
				if len(s) != 1 {
					t.Fatalf("%s has %d shares", a, len(s))
				}
				n := 0
				for _, r := range s[0].Ports {
					for port := int(r.First); port <= int(r.Last); port++ {
						key := netip.AddrPortFrom(s[0].Address.Addr(), uint16(port))
						if _, twice := owner[key]; twice {
							t.Fatalf("%s is given twice", key)
						}
						owner[key] = netip.PrefixFrom(a, bits)
						n++
					}
				}
				if n != d.Ports {
					t.Fatalf("%s has %d ports, not %d", a, n, d.Ports)
				}
			}
		}
		for _, p := range d.Outside {
			for i := range 1 << (32 - p.Bits()) {
				raw := p.Addr().As4()
				raw[3] += byte(i)
				a := netip.AddrFrom4(raw)
				for port := 1 + i; port < 65536; port += 9 {
					got := rs.Ask(translation.Query{Address: a, Port: uint16(port), Proto: 6, At: noon})
					want, given := owner[netip.AddrPortFrom(a, uint16(port))]
					if given != (got.Reason == translation.Found) || given && got.Inside != want {
						t.Fatalf("%s port %d: %+v, want %s", a, port, got, want)
					}
					if outside := port < d.FirstPort || port > d.LastPort; outside != (got.Reason == translation.ReservedPort) {
						t.Fatalf("%s port %d: %s", a, port, got.Reason)
					}
				}
			}
		}
	})
}

func TestReadBindings(t *testing.T) {
	list, err := translation.ReadBindings(strings.NewReader("psid,ipv4,ipv6,psid_length\n1, 192.0.2.1 ,2001:db8::1,2\n2,192.0.2.1,2001:db8:1::/56,2\n"))
	if err != nil || len(list) != 2 || list[0].IPv6.Bits() != 128 || list[1].IPv6.Bits() != 56 || list[1].PSID != 2 || list[0].PSIDLength != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, tt := range []struct{ text, want string }{
		{"", "no line with the names"},
		{"ipv6,ipv5\n", "column 2 of line 1"},
		{"ipv6,ipv6\n", "column 2 of line 1"},
		{"ipv6,ipv4\n2001:db8::1,secret\n", "line 2, column ipv4: not an address"},
		{"ipv6,ipv4,psid\n2001:db8::1,192.0.2.1,secret\n", "line 2, column psid: not a number"},
		{"ipv6,ipv4\nsecret\n", "what follows binding 0"},
	} {
		if _, err := translation.ReadBindings(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", tt.text, err)
		}
	}
}

// FuzzReadBindings: no table crashes the reader, and no error tells what stood in it.
func FuzzReadBindings(f *testing.F) {
	f.Add("ipv6,ipv4,psid,psid_length,psid_offset\n2001:db8::1,192.0.2.1,1,2,0\n")
	f.Add("ipv6,ipv4\n\"2001:db8::1\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := translation.ReadBindings(strings.NewReader(text))
		if err != nil {
			return
		}
		rs, err := translation.New(translation.Config{Softwires: []translation.Softwires{{Name: "t", Bindings: list}}})
		if err != nil {
			return
		}
		for _, b := range list {
			s := rs.Shares(b.IPv6.Addr(), noon)
			if len(s) == 0 || s[0].Address.Addr() != b.IPv4 {
				t.Fatalf("%v has %+v", b, s)
			}
		}
	})
}

func BenchmarkAsk(b *testing.B) {
	var c translation.Config
	six := 6
	for i := range 256 {
		c.MAP = append(c.MAP, translation.MAP{
			Name: fmt.Sprint("m", i), IPv6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i)}), 40),
			IPv4: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i), 0}), 24), EABits: 16, Offset: &six,
		})
	}
	c.Deterministic = []translation.Deterministic{{Name: "d", Inside: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16")}, Outside: []netip.Prefix{netip.MustParsePrefix("203.0.112.0/22")}, Ports: 1000}}
	rs, err := translation.New(c)
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name string
		at   func(i int) netip.Addr
	}{
		{"MAP", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i), byte(i >> 8)}) }},
		{"deterministic", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 112 + byte(i)&3, byte(i >> 8)}) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				a := rs.Ask(translation.Query{Address: bb.at(i), Port: uint16(2048 + i%32768), Proto: 6, At: noon})
				if a.Reason != translation.Found {
					b.Fatal(a)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlookups/s")
		})
	}
}
