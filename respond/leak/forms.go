package leak

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sakimori/detect"
)

// form is a filter that is about to be written.
type form struct {
	name     string // of the policy
	house    uint32 // our AS
	neighbor *Neighbor
	x        *Reject
	note     string
}

// vendor is a make of router.
type vendor struct {
	name    string
	write   func(*form) string
	checked detect.Text
}

// says how the form of a filter was checked.
func (v *vendor) says(x *Reject) detect.Text {
	if v.name == "frr" && x.Invalid {
		return detect.Text{
			JA: "この書式のうち match rpki は追加モジュールの命令で、試験では動かしていません。ほかの部分はFRR(bgpd)で試験済みです",
			EN: "match rpki is a command of an additional module and wasn't run in our tests; the rest of the form was, by FRR's bgpd",
		}
	}
	return v.checked
}

// vendors are the makes of routers, in the order of the API.
var vendors = []vendor{
	{"junos", junos, detect.Text{
		JA: "この機種は試験環境で動かせないため、書式を手本と独自の文法検査で確かめたのみです。投入前に commit check で確認してください",
		EN: "this router can't be run in our tests: the text is compared with written examples and a grammar of our own. Try it with commit check first",
	}},
	{"iosxr", iosXR, detect.Text{
		JA: "この機種は試験環境で動かせないため、書式を手本と独自の文法検査で確かめたのみです。投入前に show configuration で確認し、commit confirmed を使ってください",
		EN: "this router can't be run in our tests: the text is compared with written examples and a grammar of our own. Look at it before you commit, and use commit confirmed",
	}},
	{"bird", bird, detect.Text{
		JA: "この書式は試験でBIRD 2が読み込み、実際のセッションで漏えい経路だけを拒否しました(このフィルターそのものの試験ではありません)",
		EN: "in our tests BIRD 2 reads this form, and on a real session rejects leaked routes and no others (the form was tested, not this very filter)",
	}},
	{"frr", frr, detect.Text{
		JA: "この書式は試験でFRR(bgpd)が読み込み、実際のセッションで漏えい経路だけを拒否しました(このフィルターそのものの試験ではありません)",
		EN: "in our tests FRR's bgpd reads this form, and on a real session rejects leaked routes and no others (the form was tested, not this very filter)",
	}},
}

// Vendors are the makes of routers that filters are written for.
func Vendors() (names []string) {
	for _, v := range vendors {
		names = append(names, v.name)
	}
	return names
}

// lines is a text that grows by lines.
type lines struct{ strings.Builder }

func (l *lines) add(format string, args ...any) { fmt.Fprintf(&l.Builder, format+"\n", args...) }

func (f *form) address() string {
	if f.neighbor.Address.IsValid() {
		return f.neighbor.Address.String()
	}
	return "<neighbor-address>"
}

// span is a path's regular expression where each AS may be repeated; each writes one AS.
func (f *form) span(via []uint32, each func(as string) string, between string) string {
	list := make([]string, len(via))
	for i, as := range via {
		list[i] = each(strconv.FormatUint(uint64(as), 10))
	}
	return strings.Join(list, between)
}

// junos is in set form, as it is pasted into configuration mode.
func junos(f *form) string {
	var l lines
	x := f.x
	l.add("# %s: %s", f.note, x.Words().EN)
	more := func(as string) string { return as + "+" }
	begin := ".* "
	if x.First {
		begin = ""
	}
	term := func(name, path string) {
		l.add("set policy-options as-path %s-%s %q", f.name, name, path)
		l.add("set policy-options policy-statement %s term %s from as-path %s-%s", f.name, name, f.name, name)
		l.add("set policy-options policy-statement %s term %s then next policy", f.name, name)
	}
	if x.Through {
		term("own", begin+f.span(x.Via, more, " "))
	}
	for _, as := range x.Spare {
		term(fmt.Sprintf("spare-%d", as), fmt.Sprintf("%s%s %d .*", begin, f.span(x.Via, more, " "), as))
	}
	from := func(name, match string, args ...any) {
		l.add("set policy-options policy-statement %s term %s from %s", f.name, name, fmt.Sprintf(match, args...))
	}
	rule := func(name string, ranges []string) {
		if len(x.Via) > 0 {
			from(name, "as-path %s-leak", f.name)
		} else if x.Origin != 0 {
			from(name, "as-path %s-leak", f.name)
		}
		for _, r := range ranges {
			from(name, "route-filter %s", r)
		}
		if x.Invalid {
			from(name, "validation-database invalid")
			l.add("set policy-options policy-statement %s term %s then validation-state invalid", f.name, name)
		}
		l.add("set policy-options policy-statement %s term %s then reject", f.name, name)
	}
	switch {
	case len(x.Via) > 0:
		l.add("set policy-options as-path %s-leak %q", f.name, begin+f.span(x.Via, more, " ")+" .*")
	case x.Origin != 0:
		l.add("set policy-options as-path %s-leak %q", f.name, fmt.Sprintf(".* %d", x.Origin))
	}
	var ranges []string
	for _, p := range x.Prefixes {
		ranges = append(ranges, p.String()+" exact")
	}
	if x.Longer4 > 0 && x.Longer4 < 32 {
		ranges = append(ranges, fmt.Sprintf("0.0.0.0/0 prefix-length-range /%d-/32", x.Longer4+1))
	}
	if x.Longer6 > 0 && x.Longer6 < 128 {
		ranges = append(ranges, fmt.Sprintf("::/0 prefix-length-range /%d-/128", x.Longer6+1))
	}
	rule("leak", ranges)
	l.add("# in front of the policies that the session has: insert … before …")
	l.add("set protocols bgp group <group> neighbor %s import %s", f.address(), f.name)
	return l.String()
}

// iosXR is in the route policy language.
func iosXR(f *form) string {
	var l lines
	x := f.x
	l.add("! %s: %s", f.note, x.Words().EN)
	if len(x.Prefixes) > 0 {
		l.add("prefix-set %s", f.name)
		for i, p := range x.Prefixes {
			l.add("  %s%s", p, comma(i, len(x.Prefixes)))
		}
		l.add("end-set\n!")
	}
	through, ends := "passes-through", "originates-from"
	if x.First {
		through = "neighbor-is"
	}
	via := pathText(x.Via)
	if len(x.Via) > 0 {
		l.add("as-path-set %s\n  %s '%s'\nend-set\n!", f.name, through, via)
		var pass []string
		if x.Through {
			pass = append(pass, fmt.Sprintf("%s '%s'", ends, via))
		}
		for _, as := range x.Spare {
			pass = append(pass, fmt.Sprintf("%s '%s %d'", through, via, as))
		}
		if len(pass) > 0 {
			l.add("as-path-set %s-PASS", f.name)
			for i, p := range pass {
				l.add("  %s%s", p, comma(i, len(pass)))
			}
			l.add("end-set\n!")
		}
	}
	var parts []string
	switch {
	case len(x.Via) > 0:
		parts = append(parts, "as-path in "+f.name)
		if x.Through || len(x.Spare) > 0 {
			parts = append(parts, "not as-path in "+f.name+"-PASS")
		}
	case x.Origin != 0:
		parts = append(parts, fmt.Sprintf("as-path originates-from '%d'", x.Origin))
	}
	if len(x.Prefixes) > 0 {
		parts = append(parts, "destination in "+f.name)
	}
	if x.Longer4 > 0 || x.Longer6 > 0 {
		var ranges []string
		if x.Longer4 > 0 && x.Longer4 < 32 {
			ranges = append(ranges, fmt.Sprintf("0.0.0.0/0 ge %d le 32", x.Longer4+1))
		}
		if x.Longer6 > 0 && x.Longer6 < 128 {
			ranges = append(ranges, fmt.Sprintf("::/0 ge %d le 128", x.Longer6+1))
		}
		parts = append(parts, "destination in ("+strings.Join(ranges, ", ")+")")
	}
	if x.Invalid {
		parts = append(parts, "validation-state is invalid")
	}
	l.add("route-policy %s", f.name)
	l.add("  if %s then\n    drop\n  endif\nend-policy\n!", strings.Join(parts, " and "))
	l.add("! put this first into the session's own policy (AS%d, %s), so that what it drops goes no further:", f.neighbor.AS, f.address())
	l.add("!   apply %s", f.name)
	return l.String()
}

func comma(i, n int) string {
	if i+1 < n {
		return ","
	}
	return ""
}

// bird is a function for the import filter.
func bird(f *form) string {
	var l lines
	x := f.x
	fn := strings.ToLower(strings.ReplaceAll(f.name, "-", "_"))
	l.add("# %s: %s", f.note, x.Words().EN)
	l.add("function %s()\n{", fn)
	if len(x.Via) > 0 {
		begin := "* "
		if x.First {
			begin = ""
		}
		via := f.span(x.Via, func(as string) string { return as + "+" }, " ")
		if x.Through {
			l.add("\tif bgp_path ~ [= %s%s =] then return false;", begin, via)
		}
		if len(x.Spare) > 0 {
			l.add("\tif bgp_path ~ [= %s%s [%s] * =] then return false;", begin, via, strings.ReplaceAll(pathText(x.Spare), " ", ", "))
		}
		l.add("\tif !(bgp_path ~ [= %s%s * =]) then return false;", begin, via)
	} else if x.Origin != 0 {
		l.add("\tif bgp_path.last != %d then return false;", x.Origin)
	}
	if len(x.Prefixes) > 0 {
		for _, family := range []struct {
			four bool
			name string
		}{{true, "NET_IP4"}, {false, "NET_IP6"}} {
			if list := x.prefixes(family.four); len(list) > 0 {
				l.add("\tif net.type = %s then {\n\t\tif !(net ~ [ %s ]) then return false;\n\t}", family.name, joined(list))
			} else {
				l.add("\tif net.type = %s then return false;", family.name)
			}
		}
	}
	if x.Longer4 > 0 {
		l.add("\tif net.type = NET_IP4 && net.len <= %d then return false;", x.Longer4)
	}
	if x.Longer6 > 0 {
		l.add("\tif net.type = NET_IP6 && net.len <= %d then return false;", x.Longer6)
	}
	if x.Invalid {
		l.add("\t# r4 and r6: your roa4 and roa6 tables")
		l.add("\tif net.type = NET_IP4 then {\n\t\tif roa_check(r4, net, bgp_path.last) != ROA_INVALID then return false;\n\t}")
		l.add("\tif net.type = NET_IP6 then {\n\t\tif roa_check(r6, net, bgp_path.last) != ROA_INVALID then return false;\n\t}")
	}
	l.add("\treturn true;\n}")
	l.add("# first in the import filter of the session with AS%d, %s:", f.neighbor.AS, f.address())
	l.add("#\tif %s() then reject;", fn)
	return l.String()
}

func joined(list []netip.Prefix) string {
	s, _ := some(list, len(list))
	return s
}

// frr is a route-map. Its expressions are POSIX's, where _ is a space or an end.
func frr(f *form) string {
	var l lines
	x := f.x
	l.add("! %s: %s", f.note, x.Words().EN)
	if x.Invalid {
		l.add("! needs bgpd's module rpki (bgpd -M rpki) with a connected cache")
	}
	begin := "_"
	if x.First {
		begin = "^"
	}
	seq := 5
	path := func(what, expression string) {
		l.add("bgp as-path access-list %s seq %d %s %s", f.name, seq, what, expression)
		seq += 5
	}
	if len(x.Via) > 0 {
		// Each AS may be repeated; the last brings its own end.
		head := begin + f.span(x.Via[:len(x.Via)-1], func(as string) string { return "(" + as + "_)+" }, "")
		last := strconv.FormatUint(uint64(x.Via[len(x.Via)-1]), 10)
		if x.Through {
			path("deny", fmt.Sprintf("%s(%s_)*%s$", head, last, last))
		}
		for _, as := range x.Spare {
			path("deny", fmt.Sprintf("%s(%s_)+%d_", head, last, as))
		}
		path("permit", head+last+"_")
	} else if x.Origin != 0 {
		path("permit", fmt.Sprintf("_%d$", x.Origin))
	}
	four, six := x.families()
	lists := len(x.Prefixes) > 0 || x.Longer4 > 0 || x.Longer6 > 0
	prefix := func(ip, suffix string, list []netip.Prefix, longer, longest int, all string) (any bool) {
		n := 5
		for _, p := range list {
			l.add("%s prefix-list %s-%s seq %d permit %s", ip, f.name, suffix, n, p)
			n += 5
			any = true
		}
		if longer > 0 && longer < longest {
			l.add("%s prefix-list %s-%s seq %d permit %s ge %d", ip, f.name, suffix, n, all, longer+1)
			any = true
		}
		return any
	}
	if lists {
		four = prefix("ip", "4", x.prefixes(true), x.Longer4, 32, "0.0.0.0/0")
		six = prefix("ipv6", "6", x.prefixes(false), x.Longer6, 128, "::/0")
	}
	n := 10
	rule := func(match string) {
		l.add("route-map %s deny %d", f.name, n)
		n += 10
		if len(x.Via) > 0 || x.Origin != 0 {
			l.add(" match as-path %s", f.name)
		}
		if match != "" {
			l.add(" match %s", match)
		}
		if x.Invalid { // a command of a module
			l.add(" match rpki invalid")
		}
		l.add("exit")
	}
	switch {
	case !lists:
		rule("")
	default:
		if four {
			rule("ip address prefix-list " + f.name + "-4")
		}
		if six {
			rule("ipv6 address prefix-list " + f.name + "-6")
		}
	}
	l.add("! what the session's route-map has so far goes behind it: call <existing-route-map>")
	l.add("route-map %s permit 1000\nexit", f.name)
	l.add("router bgp %d", f.house)
	for _, family := range []string{"ipv4", "ipv6"} {
		if family == "ipv4" && four || family == "ipv6" && six {
			l.add(" address-family %s unicast\n  neighbor %s route-map %s in\n exit-address-family", family, f.address(), f.name)
		}
	}
	l.add("exit")
	return l.String()
}

// Form writes a filter for one make of router, "" for one that isn't known. name is what
// it is called there.
func Form(vendor, name string, house uint32, n Neighbor, x Reject) string {
	for _, v := range vendors {
		if v.name == vendor {
			return v.write(&form{name: name, house: house, neighbor: &n, x: &x, note: name})
		}
	}
	return ""
}
