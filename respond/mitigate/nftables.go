package mitigate

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sakimori/base/wire/packet"
)

// nftables writes a script for `nft -f`: a table of its own that is replaced as a whole
// and deleted as one. It hooks in before connection tracking puts datagrams together, so
// that fragments are seen as they come.
func nftables(rules []Rule) (string, error) {
	name := nameOf(rules)
	var limits, lines strings.Builder
	for i := range rules {
		r := &rules[i]
		var act string
		switch r.Action {
		case Drop, RTBH:
			act = "counter drop"
		case Pass:
			act = "counter accept"
		case RateBytes, RatePackets:
			unit := "bytes/second"
			if r.Action == RatePackets {
				unit = "/second"
			}
			fmt.Fprintf(&limits, "\tlimit rate%d { rate over %.0f%s%s }\n", i, r.Rate, space(r.Action == RateBytes), unit)
			act = fmt.Sprintf("limit name \"rate%d\" counter drop", i)
		case Mark:
			act = fmt.Sprintf("%s dscp set %d", ip(r.Match.family()), r.DSCP)
		default:
			return "", fmt.Errorf("nftables can't %s: announce it by flowspec", r.Action)
		}
		for _, m := range r.Match.nft() {
			fmt.Fprintf(&lines, "\t\t%s %s\n", m, act)
		}
	}
	return fmt.Sprintf("#!/usr/sbin/nft -f\n# 解除・remove: nft delete table inet %[1]s\ntable inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n%[2]s\tchain filter {\n\t\ttype filter hook prerouting priority -450; policy accept;\n%[3]s\t}\n}\n",
		name, limits.String(), lines.String()), nil
}

func space(yes bool) string {
	if yes {
		return " "
	}
	return ""
}

func ip(family int) string {
	if family == 6 {
		return "ip6"
	}
	return "ip"
}

// nft writes a match: one line, or one for each part of a datagram.
func (m *Match) nft() []string {
	family := m.family()
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	prefix := func(side string, p netip.Prefix) {
		if p.IsValid() {
			add("%s %s %s", ip(family), side, p)
		}
	}
	set := func(name string, s Set) {
		if len(s) > 0 {
			add("%s { %s }", name, s.write("", "", "-", ", "))
		}
	}
	prefix("daddr", m.Dst)
	prefix("saddr", m.Src)
	w, _ := m.whole() // a rule that is written was checked
	set("meta l4proto", w.Proto)
	set("th dport", m.DstPort)
	set("th sport", m.SrcPort)
	icmp := "icmp"
	if family == 6 {
		icmp = "icmpv6"
	}
	set(icmp+" type", m.ICMPType)
	set(icmp+" code", m.ICMPCode)
	if f := m.Flags; f != (Flags{}) {
		add("tcp flags & %#x == %#x", uint8(f.Set|f.Clear), uint8(f.Set))
	}
	set("meta length", m.Length)
	set(ip(family)+" dscp", m.DSCP)
	all := strings.Join(parts, " ")
	if w.Fragment == anyFragment || m.Fragment == 0 {
		return []string{all}
	}
	of := map[Fragments]string{Whole: "ip frag-off & 0x3fff == 0", First: "ip frag-off & 0x3fff == 0x2000", Later: "ip frag-off & 0x1fff != 0"}
	if family == 6 {
		of = map[Fragments]string{Whole: "exthdr frag missing", First: "exthdr frag exists frag frag-off 0", Later: "frag frag-off > 0"}
	}
	var lines []string
	for _, f := range []Fragments{Whole, First, Later} {
		if w.Fragment&f != 0 {
			lines = append(lines, all+" "+of[f])
		}
	}
	return lines
}

// iptables writes a script for a shell. Its matches know less than rules do: what takes
// several of them becomes several lines.
func iptables(rules []Rule) (string, error) {
	const most = 500 // lines
	name := nameOf(rules)
	chain := "S" + strings.TrimPrefix(name, "sakimori") // a chain's name has 28 letters at most
	var lines []string
	families := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		tool := "iptables"
		if r.Match.family() == 6 {
			tool = "ip6tables"
		}
		families[tool] = true
		var act string
		switch r.Action {
		case Drop, RTBH:
			act = "-j DROP"
		case Pass:
			act = "-j ACCEPT"
		case RateBytes, RatePackets:
			const packets, bytes = 1_000_000, 1 << 32 // the most that hashlimit counts a second
			if r.Action == RatePackets && r.Rate > packets || r.Rate >= bytes {
				return "", fmt.Errorf("iptables can't limit to %.0f a second: use nftables", r.Rate)
			}
			unit := "b/s"
			if r.Action == RatePackets {
				unit = "/sec"
			}
			act = fmt.Sprintf("-m hashlimit --hashlimit-name %s_%d --hashlimit-above %.0f%s -j DROP", chain, i, r.Rate, unit)
		default:
			return "", fmt.Errorf("iptables' table raw can't %s: announce it by flowspec", r.Action)
		}
		list, err := r.Match.ipt()
		if err != nil {
			return "", err
		}
		for _, m := range list {
			lines = append(lines, fmt.Sprintf("%s -w -t raw -A %s %s %s\n", tool, chain, m, act))
		}
		if len(lines) > most {
			return "", fmt.Errorf("iptables takes more than %d lines for it: use nftables", most)
		}
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\nset -e\n")
	for _, tool := range []string{"iptables", "ip6tables"} {
		if families[tool] {
			fmt.Fprintf(&b, "# 解除・remove: %[1]s -w -t raw -D PREROUTING -j %[2]s; %[1]s -w -t raw -F %[2]s; %[1]s -w -t raw -X %[2]s\n%[1]s -w -t raw -N %[2]s\n", tool, chain)
		}
	}
	b.WriteString(strings.Join(lines, ""))
	for _, tool := range []string{"iptables", "ip6tables"} {
		if families[tool] {
			fmt.Fprintf(&b, "%s -w -t raw -I PREROUTING -j %s\n", tool, chain)
		}
	}
	return b.String(), nil
}

// ipt writes a match as iptables' options, one line for each combination.
func (m *Match) ipt() ([]string, error) {
	family := m.family()
	base := ""
	if m.Dst.IsValid() {
		base += " -d " + m.Dst.String()
	}
	if m.Src.IsValid() {
		base += " -s " + m.Src.String()
	}
	lines := []string{strings.TrimSpace(base)}
	times := func(options []string) {
		var out []string
		for _, l := range lines {
			for _, o := range options {
				out = append(out, l+" "+o)
			}
		}
		lines = out
	}
	each := func(s Set, one func(x Span) string) {
		if len(s) == 0 {
			return
		}
		var options []string
		for _, x := range s {
			options = append(options, one(x))
		}
		times(options)
	}
	w, _ := m.whole() // a rule that is written was checked
	if m.Fragment != 0 && m.Fragment != anyFragment && w.Fragment != Whole|First && w.Fragment != Later {
		return nil, errors.New("iptables can't tell the first fragment from others: use nftables")
	}
	var protos Set
	for _, x := range w.Proto {
		for p := int(x.From); p <= int(x.To) && len(protos) <= topByte; p++ {
			protos = append(protos, Span{uint16(p), uint16(p)}) //nolint:gosec // of 16 bits
		}
	}
	each(protos, func(x Span) string { return fmt.Sprintf("-p %d", x.From) })
	colon := func(x Span) string {
		if x.From == x.To {
			return fmt.Sprint(x.From)
		}
		return fmt.Sprintf("%d:%d", x.From, x.To)
	}
	each(m.DstPort, func(x Span) string { return "-m multiport --dports " + colon(x) })
	each(m.SrcPort, func(x Span) string { return "-m multiport --sports " + colon(x) })
	if len(m.ICMPType)+len(m.ICMPCode) > 0 {
		options, err := m.iptICMP(family)
		if err != nil {
			return nil, err
		}
		times(options)
	}
	if f := m.Flags; (f.Set|f.Clear)&^iptKnown != 0 {
		return nil, errors.New("iptables can't match the flags of ECN: use nftables")
	} else if f != (Flags{}) {
		times([]string{fmt.Sprintf("--tcp-flags %s %s", iptFlags(f.Set|f.Clear), iptFlags(f.Set))})
	}
	each(m.Length, func(x Span) string { return fmt.Sprintf("-m length --length %d:%d", x.From, x.To) })
	if len(m.DSCP) > 0 {
		var dscp []string
		for _, x := range m.DSCP {
			for d := x.From; d <= x.To; d++ {
				dscp = append(dscp, fmt.Sprintf("-m dscp --dscp %d", d))
			}
		}
		times(dscp)
	}
	if m.Fragment == 0 || m.Fragment == anyFragment {
		return lines, nil
	}
	switch {
	case family == 6: // its frag match knows the first fragment, and can't be inverted
		return nil, errors.New("ip6tables can't tell later fragments from others: use nftables")
	case w.Fragment == Later:
		times([]string{"-f"})
	default:
		times([]string{"! -f"})
	}
	return lines, nil
}

func (m *Match) iptICMP(family int) ([]string, error) {
	option := "--icmp-type"
	if family == 6 {
		option = "--icmpv6-type"
	}
	if len(m.ICMPType) == 0 {
		return nil, errors.New("iptables can't match an ICMP code without its type: use nftables")
	}
	var list []string
	for _, t := range m.ICMPType {
		for n := int(t.From); n <= int(t.To); n++ {
			if len(m.ICMPCode) == 0 {
				list = append(list, fmt.Sprintf("%s %d", option, n))
				continue
			}
			for _, c := range m.ICMPCode {
				for k := int(c.From); k <= int(c.To); k++ {
					list = append(list, fmt.Sprintf("%s %d/%d", option, n, k))
				}
			}
		}
	}
	return list, nil
}

// iptables knows six flags: the two of ECN (RFC 3168) it can't match.
const iptKnown = packet.FIN | packet.SYN | packet.RST | packet.PSH | packet.ACK | packet.URG

func iptFlags(f packet.TCPFlags) string {
	if f == 0 {
		return "NONE"
	}
	return strings.ToUpper(strings.ReplaceAll(names(f), "+", ","))
}
