package policy

import (
	"slices"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// Plain adds the rules without which resolvers read a zone differently. The list's
// own publisher leaves out what is nested and needs none of it; the tests, whose zones are
// of chance, do.
//
// BIND and Unbound look for wildcards as a name server does (RFC 4592): a name that exists
// hides the wildcards above it. With *.evil.example and cdn.evil.example listed, they answer
// x.cdn.evil.example truly, while PowerDNS and Knot block it; with an exception it is the
// other way round, and they block what was to be left alone. So below a wildcard every name
// that exists, be it only as part of another, gets a wildcard of its own, and a rule where it
// has none: what the nearest wildcard above says.
func Plain(rules []rpz.Rule) []rpz.Rule {
	out := slices.Clone(rules)
	tree := make(map[string]*[2]*rpz.Rule, len(rules)/2)
	at := func(n dns.Name) *[2]*rpz.Rule { return tree[string(n)] }
	bases := make([]dns.Name, 0, len(rules)/2)
	for i := range rules {
		if rules[i].Name == "" {
			continue
		}
		n, err := dns.ParseName(rules[i].Name)
		if err != nil {
			continue // whoever compiles or publishes it says so
		}
		kind := exact
		if len(n) >= 3 && n[0] == 1 && n[1] == '*' {
			kind, n = wild, n[2:]
		}
		node := at(n)
		if node == nil {
			node = &[2]*rpz.Rule{}
			tree[string(n)] = node
			bases = append(bases, n)
		}
		if node[kind] == nil {
			node[kind] = &rules[i]
		}
	}
	above := func(n dns.Name) *rpz.Rule {
		for len(n) > 1 {
			n = n.Parent()
			if node := at(n); node != nil && node[wild] != nil {
				return node[wild]
			}
		}
		return nil
	}
	for _, base := range bases {
		for n := base; len(n) > 1; n = n.Parent() {
			by := above(n)
			if by == nil {
				break
			}
			node := at(n)
			if node == nil {
				node = &[2]*rpz.Rule{}
				tree[string(n)] = node
			}
			for kind := range node {
				if node[kind] != nil {
					continue
				}
				r := *by
				r.Name = n.String()
				if kind == wild {
					r.Name = "*." + r.Name
				}
				out = append(out, r)
				node[kind] = &r
			}
		}
	}
	return out
}
