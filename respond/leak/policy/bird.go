package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// BIRD writes the policy for BIRD 2: one function for each neighbour that says whether a
// route is taken, and as comments the channels that use it. What BIRD 2 can't say is a
// comment, too: nothing is left out silently.
func (p *Policy) BIRD() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# the import policy of AS%d", p.as)
	line("# r4 and r6 are the roa4 and roa6 tables")
	p.own.define(line, "sakimori_own")
	if p.bogons != nil {
		p.bogons.define(line, "sakimori_bogons")
		p.plan.define(line, "sakimori_plan")
	}
	for _, n := range p.neighbors {
		p.function(line, n)
	}
	for _, n := range p.neighbors {
		line("# protocol bgp …, neighbor … as %d (%s):", n.as, n.relation)
		for _, c := range []struct {
			name string
			most int
		}{{"ipv4", n.max4}, {"ipv6", n.max6}} {
			limit := ""
			if c.most > 0 {
				limit = fmt.Sprintf(" receive limit %d action restart;", c.most)
			}
			line("#   %s { import filter { if sakimori_in_%d() then accept; reject; };%s };", c.name, n.as, limit)
		}
		if n.aspa {
			line("#   ASPA: BIRD before 2.16 can't check it; there it isn't refused")
		}
	}
	return b.String()
}

// define writes the sets of both families, where there is something in them.
func (x *ranges) define(line func(string, ...any), name string) {
	for _, four := range []bool{true, false} {
		if s := x.set(four); s != "" {
			line("define %s = [ %s ];", name+digit(four), s)
		}
	}
}

func digit(four bool) string {
	if four {
		return "4"
	}
	return "6"
}

func (x *ranges) set(four bool) string {
	var parts []string
	for _, p := range x.order {
		for _, s := range x.at[p] {
			if p.Addr().Is4() == four {
				parts = append(parts, fmt.Sprintf("%s{%d,%d}", p, s.from, s.to))
			}
		}
	}
	return strings.Join(parts, ", ")
}

// netType is the guard of what is about one family.
func netType(four bool) string {
	if four {
		return "net.type = NET_IP4"
	}
	return "net.type = NET_IP6"
}

func (p *Policy) function(line func(string, ...any), n *neighbor) {
	no := func(format string, args ...any) { line("\tif "+format+" then return false;", args...) }
	line("function sakimori_in_%d()\n{", n.as)
	if n.firstAS {
		no("bgp_path.first != %d", n.as)
	}
	no("bgp_path ~ [ %d ]", p.as)
	if p.bogons != nil {
		p.bogons.test(line, "sakimori_bogons", true, p.plan)
	}
	if p.bogonAS {
		var parts []string
		for _, r := range badAS {
			parts = append(parts, fmt.Sprintf("%d..%d", r[0], r[1]))
		}
		no("bgp_path ~ [ %s ]", strings.Join(parts, ", "))
	}
	line("\t# a set at the path's end")
	no("bgp_path.last != bgp_path.last_nonaggregated")
	no("%s && net.len > %d", netType(true), n.long4)
	no("%s && net.len > %d", netType(false), n.long6)
	if !n.own {
		p.own.test(line, "sakimori_own", true, nil)
	}
	if n.prefixes != nil {
		n.prefixes.test(line, "", false, nil)
	}
	if len(n.origins) > 0 {
		no("!(bgp_path.last ~ [ %s ])", numbers(n.origins))
	}
	if len(n.never) > 0 {
		no("bgp_path ~ [ %s ]", numbers(n.never))
	}
	for _, d := range n.denied {
		parts := make([]string, len(d))
		for i, as := range d {
			parts[i] = fmt.Sprintf("%d+", as)
		}
		no("bgp_path ~ [= * %s * =]", strings.Join(parts, " "))
	}
	if n.transitFree && len(p.transitFree) > 0 {
		no("bgp_path ~ [= ? * [ %s ] * =]", numbers(p.transitFree))
	}
	for _, c := range n.communities {
		no("(%d,%d) ~ bgp_community", c>>16, c&0xffff)
	}
	for _, c := range n.large {
		no("(%d,%d,%d) ~ bgp_large_community", c[0], c[1], c[2])
	}
	if n.otc {
		switch n.relation {
		case "customer", "route-server-client":
			no("defined(bgp_otc)")
		case "peer":
			no("defined(bgp_otc) && bgp_otc != %d", n.as)
		}
	}
	if n.rov {
		for _, four := range []bool{true, false} {
			line("\tif %s then {\n\t\tif roa_check(r%s, net, bgp_path.last) = ROA_INVALID then return false;\n\t}", netType(four), digit(four))
		}
	}
	line("\treturn true;\n}")
}

// test refuses what is in the sets and not in those of except, or what isn't in the sets.
// Without a name they are written out.
func (x *ranges) test(line func(string, ...any), name string, inside bool, except *ranges) {
	for _, four := range []bool{true, false} {
		set := x.set(four)
		if set == "" {
			if !inside {
				line("\tif %s then return false;", netType(four))
			}
			continue
		}
		if name == "" {
			set = "[ " + set + " ]"
		} else {
			set = name + digit(four)
		}
		is := "net ~ " + set
		if !inside {
			is = "!(" + is + ")"
		}
		if except != nil && except.set(four) != "" {
			is += " && !(net ~ sakimori_plan" + digit(four) + ")"
		}
		line("\tif %s then {\n\t\tif %s then return false;\n\t}", netType(four), is)
	}
}

func numbers(list []uint32) string {
	parts := make([]string, len(list))
	for i, as := range list {
		parts[i] = fmt.Sprint(as)
	}
	return strings.Join(parts, ", ")
}

// Own is the space that the policy calls ours.
func (p *Policy) Own() []netip.Prefix { return p.own.order }
