package leak_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sakimori/respond/leak"
)

// Junos and IOS XR can't be run here. What is written for them is read back by these two
// small readers, which know no more than the statements of their manuals that are used,
// and must then say of each route what the model says.

// junosTerm is a term of a policy-statement.
type junosTerm struct {
	paths   []string
	ranges  []func(netip.Prefix) bool
	invalid bool
	then    string
}

var junosLines = map[string]*regexp.Regexp{
	"path":   regexp.MustCompile(`^set policy-options as-path (\S+) "([^"]+)"$`),
	"from":   regexp.MustCompile(`^set policy-options policy-statement (\S+) term (\S+) from as-path (\S+)$`),
	"exact":  regexp.MustCompile(`^set policy-options policy-statement (\S+) term (\S+) from route-filter (\S+) exact$`),
	"range":  regexp.MustCompile(`^set policy-options policy-statement (\S+) term (\S+) from route-filter (\S+) prefix-length-range /(\d+)-/(\d+)$`),
	"rov":    regexp.MustCompile(`^set policy-options policy-statement (\S+) term (\S+) from validation-database invalid$`),
	"state":  regexp.MustCompile(`^set policy-options policy-statement (\S+) term (\S+) then validation-state invalid$`),
	"then":   regexp.MustCompile(`^set policy-options policy-statement (\S+) term (\S+) then (reject|next policy)$`),
	"import": regexp.MustCompile(`^set protocols bgp group <group> neighbor (\S+) import (\S+)$`),
}

// junosPath is an AS path expression of Junos over a path written with a space after each AS.
func junosPath(t *testing.T, e string) *regexp.Regexp {
	t.Helper()
	var b strings.Builder
	for f := range strings.FieldsSeq(e) {
		as, more := strings.CutSuffix(f, "+")
		_, err := strconv.Atoi(as)
		switch {
		case f == ".*":
			b.WriteString(`(?:\d+ )*`)
		case err != nil:
			t.Fatalf("%q isn't an AS path expression", e)
		case more:
			b.WriteString(`(?:` + as + ` )+`)
		default:
			b.WriteString(as + " ")
		}
	}
	return regexp.MustCompile("^" + b.String() + "$")
}

// readJunos gives what the text rejects.
func readJunos(t *testing.T, text string) func(*leak.Offered) bool {
	t.Helper()
	paths := map[string]*regexp.Regexp{}
	terms := map[string]*junosTerm{}
	var order []string
	term := func(name string) *junosTerm {
		if terms[name] == nil {
			terms[name] = &junosTerm{}
			order = append(order, name)
		}
		return terms[name]
	}
	imported := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		known := false
		for what, x := range junosLines {
			m := x.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			known = true
			switch what {
			case "path":
				paths[m[1]] = junosPath(t, m[2])
			case "from":
				if paths[m[3]] == nil && !strings.Contains(text, "as-path "+m[3]+" \"") {
					t.Fatalf("no as-path %s", m[3])
				}
				term(m[2]).paths = append(term(m[2]).paths, m[3])
			case "exact":
				p := netip.MustParsePrefix(m[3])
				term(m[2]).ranges = append(term(m[2]).ranges, func(q netip.Prefix) bool { return p == q })
			case "range":
				p := netip.MustParsePrefix(m[3])
				from, _ := strconv.Atoi(m[4])
				to, _ := strconv.Atoi(m[5])
				if from > to || to > p.Addr().BitLen() {
					t.Fatal(line)
				}
				term(m[2]).ranges = append(term(m[2]).ranges, func(q netip.Prefix) bool {
					return p.Addr().Is4() == q.Addr().Is4() && p.Contains(q.Addr()) && from <= q.Bits() && q.Bits() <= to
				})
			case "rov":
				term(m[2]).invalid = true
			case "then":
				term(m[2]).then = m[3]
			case "import":
				imported = true
			}
		}
		if !known {
			t.Fatalf("no statement of Junos: %q", line)
		}
	}
	if !imported || len(order) == 0 {
		t.Fatal("nothing is applied")
	}
	return func(r *leak.Offered) bool {
		path := ""
		for _, as := range r.Path {
			path += fmt.Sprint(as) + " "
		}
		for _, name := range order {
			x := terms[name]
			// Different kinds of condition must all hold, of one kind any.
			if len(x.paths) > 0 && !slices.ContainsFunc(x.paths, func(n string) bool { return paths[n].MatchString(path) }) ||
				len(x.ranges) > 0 && !slices.ContainsFunc(x.ranges, func(f func(netip.Prefix) bool) bool { return f(r.Prefix) }) ||
				x.invalid && !r.ROV.Bad() {
				continue
			}
			return x.then == "reject"
		}
		return false
	}
}

// xrPath reads one item of an as-path-set.
func xrPath(t *testing.T, item string) func([]uint32) bool {
	t.Helper()
	m := regexp.MustCompile(`^(passes-through|neighbor-is|originates-from) '([\d ]+)'$`).FindStringSubmatch(item)
	if m == nil {
		t.Fatalf("no condition on a path: %q", item)
	}
	want := m[2]
	return func(path []uint32) bool {
		text := " "
		for i, as := range path {
			if i == 0 || path[i-1] != as { // without exact, repeats count once
				text += fmt.Sprint(as) + " "
			}
		}
		switch m[1] {
		case "passes-through":
			return strings.Contains(text, " "+want+" ")
		case "neighbor-is":
			return strings.HasPrefix(text, " "+want+" ")
		}
		return strings.HasSuffix(text, " "+want+" ")
	}
}

// xrRange reads one item of a prefix-set.
func xrRange(t *testing.T, item string) func(netip.Prefix) bool {
	t.Helper()
	m := regexp.MustCompile(`^(\S+/\d+)(?: ge (\d+) le (\d+))?$`).FindStringSubmatch(item)
	if m == nil {
		t.Fatalf("no item of a prefix-set: %q", item)
	}
	p := netip.MustParsePrefix(m[1])
	if m[2] == "" {
		return func(q netip.Prefix) bool { return p == q }
	}
	ge, _ := strconv.Atoi(m[2])
	le, _ := strconv.Atoi(m[3])
	if ge > le || le > p.Addr().BitLen() {
		t.Fatal(item)
	}
	return func(q netip.Prefix) bool {
		return p.Addr().Is4() == q.Addr().Is4() && p.Contains(q.Addr()) && ge <= q.Bits() && q.Bits() <= le
	}
}

// readXR gives what the text drops.
func readXR(t *testing.T, text string) func(*leak.Offered) bool {
	t.Helper()
	type test = func(*leak.Offered) bool
	prefixSets, pathSets := map[string][]func(netip.Prefix) bool{}, map[string][]func([]uint32) bool{}
	var drops test
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '!' {
			lines = append(lines, line)
		}
	}
	set := func(i int) (items []string, next int) {
		for ; lines[i] != "end-set"; i++ {
			item, comma := strings.CutSuffix(lines[i], ",")
			if comma == (lines[i+1] == "end-set") {
				t.Fatalf("a comma stands between items and not after the last: %q", lines[i])
			}
			items = append(items, item)
		}
		return items, i
	}
	condition := func(c string) test {
		c, negated := strings.CutPrefix(c, "not ")
		var is test
		switch f := strings.Fields(c); {
		case strings.HasPrefix(c, "as-path in ") && pathSets[f[2]] != nil:
			list := pathSets[f[2]]
			is = func(r *leak.Offered) bool {
				return slices.ContainsFunc(list, func(f func([]uint32) bool) bool { return f(r.Path) })
			}
		case strings.HasPrefix(c, "as-path originates-from "):
			one := xrPath(t, strings.TrimPrefix(c, "as-path "))
			is = func(r *leak.Offered) bool { return one(r.Path) }
		case strings.HasPrefix(c, "destination in ("):
			var list []func(netip.Prefix) bool
			for item := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(c, "destination in ("), ")"), ", ") {
				list = append(list, xrRange(t, item))
			}
			is = func(r *leak.Offered) bool {
				return slices.ContainsFunc(list, func(f func(netip.Prefix) bool) bool { return f(r.Prefix) })
			}
		case strings.HasPrefix(c, "destination in ") && prefixSets[f[2]] != nil:
			list := prefixSets[f[2]]
			is = func(r *leak.Offered) bool {
				return slices.ContainsFunc(list, func(f func(netip.Prefix) bool) bool { return f(r.Prefix) })
			}
		case c == "validation-state is invalid":
			is = func(r *leak.Offered) bool { return r.ROV.Bad() }
		default:
			t.Fatalf("no condition: %q", c)
		}
		return func(r *leak.Offered) bool { return is(r) != negated }
	}
	for i := 0; i < len(lines); i++ {
		f := strings.Fields(lines[i])
		switch {
		case f[0] == "prefix-set" && len(f) == 2:
			var items []string
			items, i = set(i + 1)
			for _, x := range items {
				prefixSets[f[1]] = append(prefixSets[f[1]], xrRange(t, x))
			}
		case f[0] == "as-path-set" && len(f) == 2:
			var items []string
			items, i = set(i + 1)
			for _, x := range items {
				pathSets[f[1]] = append(pathSets[f[1]], xrPath(t, x))
			}
		case f[0] == "route-policy" && len(f) == 2:
			if !slices.Equal(lines[i+2:i+5], []string{"drop", "endif", "end-policy"}) {
				t.Fatalf("%q", lines[i:])
			}
			m := regexp.MustCompile(`^if (.*) then$`).FindStringSubmatch(lines[i+1])
			var all []test
			for c := range strings.SplitSeq(m[1], " and ") {
				all = append(all, condition(c))
			}
			drops = func(r *leak.Offered) bool { return !slices.ContainsFunc(all, func(f test) bool { return !f(r) }) }
			i += 4
		default:
			t.Fatalf("no statement of IOS XR: %q", lines[i])
		}
	}
	return drops
}

// TestReadBack: what is written for Junos and IOS XR says of each route what the model
// says, for all forms.
func TestReadBack(t *testing.T) {
	t.Parallel()
	all := rejects()
	all["invalid"] = leak.Reject{Invalid: true}
	all["invalid, way"] = leak.Reject{Via: []uint32{64510}, Through: true, Invalid: true, Longer4: 20, Longer6: 47}
	routes := offered(64501, world)
	for name, x := range all {
		for vendor, read := range map[string]func(*testing.T, string) func(*leak.Offered) bool{"junos": readJunos, "iosxr": readXR} {
			text := leak.Form(vendor, "SAKIMORI-64501", 64500, leak.Neighbor{AS: 64501}, x)
			rejected := read(t, text)
			for i := range routes {
				if rejected(&routes[i]) != x.Fits(&routes[i]) {
					t.Errorf("%s, %s: %s by %v: rejected %v\n%s", vendor, name, routes[i].Prefix, routes[i].Path, rejected(&routes[i]), text)
				}
			}
		}
	}
}

// TestGolden: the text itself, as it was compared with the manuals.
func TestGolden(t *testing.T) {
	t.Parallel()
	x := leak.Reject{
		Via: []uint32{64502, 64510}, Through: true, Spare: []uint32{64511},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/20"), netip.MustParsePrefix("2001:db8:20::/48")},
	}
	n := leak.Neighbor{AS: 64501, Address: netip.MustParseAddr("192.0.2.1")}
	for vendor, want := range map[string]string{
		"junos": `# SAKIMORI-X: reject paths through 64502 64510, but those that AS64510 originates, but the usual ones to 1 ASes behind it, 2 listed prefixes
set policy-options as-path SAKIMORI-X-own ".* 64502+ 64510+"
set policy-options policy-statement SAKIMORI-X term own from as-path SAKIMORI-X-own
set policy-options policy-statement SAKIMORI-X term own then next policy
set policy-options as-path SAKIMORI-X-spare-64511 ".* 64502+ 64510+ 64511 .*"
set policy-options policy-statement SAKIMORI-X term spare-64511 from as-path SAKIMORI-X-spare-64511
set policy-options policy-statement SAKIMORI-X term spare-64511 then next policy
set policy-options as-path SAKIMORI-X-leak ".* 64502+ 64510+ .*"
set policy-options policy-statement SAKIMORI-X term leak from as-path SAKIMORI-X-leak
set policy-options policy-statement SAKIMORI-X term leak from route-filter 10.20.0.0/20 exact
set policy-options policy-statement SAKIMORI-X term leak from route-filter 2001:db8:20::/48 exact
set policy-options policy-statement SAKIMORI-X term leak then reject
# in front of the policies that the session has: insert … before …
set protocols bgp group <group> neighbor 192.0.2.1 import SAKIMORI-X
`,
		"iosxr": `! SAKIMORI-X: reject paths through 64502 64510, but those that AS64510 originates, but the usual ones to 1 ASes behind it, 2 listed prefixes
prefix-set SAKIMORI-X
  10.20.0.0/20,
  2001:db8:20::/48
end-set
!
as-path-set SAKIMORI-X
  passes-through '64502 64510'
end-set
!
as-path-set SAKIMORI-X-PASS
  originates-from '64502 64510',
  passes-through '64502 64510 64511'
end-set
!
route-policy SAKIMORI-X
  if as-path in SAKIMORI-X and not as-path in SAKIMORI-X-PASS and destination in SAKIMORI-X then
    drop
  endif
end-policy
!
! put this first into the session's own policy (AS64501, 192.0.2.1), so that what it drops goes no further:
!   apply SAKIMORI-X
`,
		"cisco": "",
	} {
		if got := leak.Form(vendor, "SAKIMORI-X", 64500, n, x); got != want {
			t.Errorf("%s:\n%s", vendor, got)
		}
	}
}
