package leak_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sakimori/respond/leak"
	"sakimori/respond/leak/routertest"
)

// offered makes routes out of lines: prefix, then the path.
func offered(neighbor uint32, text string) (list []leak.Offered) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		r := leak.Offered{Neighbor: neighbor, Prefix: netip.MustParsePrefix(f[0]), ROV: leak.ROVNotFound}
		for _, s := range f[1:] {
			var as uint32
			if _, err := fmt.Sscan(s, &as); err != nil {
				r.ROV = leak.ROV(s)
				continue
			}
			r.Path = append(r.Path, as)
		}
		list = append(list, r)
	}
	return list
}

// world is a table of neighbour 64501, ordinary routes and leaked ones: 64510 leaks what it
// has of 64520 and others to 64502.
const world = `
10.1.0.0/16 64501
10.2.0.0/16 64501 64502
10.3.0.0/16 64501 64502 64510
10.4.0.0/16 64501 64502 64510 64510 64510
10.5.0.0/16 64501 64502 64510 64511
10.6.0.0/16 64501 64502 64510 64510 64512 64513
10.7.0.0/16 64501 64510 64520
10.8.0.0/16 64501 64502 64503 64510 64520
10.9.0.0/16 64501 64502 645101 64520
10.10.0.0/16 64501 64501 64502 64502 64520
10.20.0.0/20 64501 64502 64510 64520 invalid
10.20.16.0/22 64501 64502 64502 64510 64510 64520 64520 invalid
10.20.32.0/24 64501 64501 64502 64510 64521 64520 invalid
10.20.33.0/24 64502 64510 64520 64522 invalid
2001:db8:1::/48 64501 64502 64504
2001:db8:2::/48 64501 64502 64510
2001:db8:3::/48 64501 64502 64510 64511
2001:db8:20::/48 64501 64502 64510 64520 64520 invalid
2001:db8:24::/46 64501 64502 64510 64520 invalid
`

// rejects are all forms that a filter has.
func rejects() map[string]leak.Reject {
	p := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	return map[string]leak.Reject{
		"way":            {Via: []uint32{64502, 64510}},
		"through":        {Via: []uint32{64502, 64510}, Through: true},
		"through, spare": {Via: []uint32{64502, 64510}, Through: true, Spare: []uint32{64511, 64512}},
		"from":           {Via: []uint32{64502, 64510, 64520}},
		"first":          {Via: []uint32{64502, 64510}, First: true, Through: true},
		"one":            {Via: []uint32{64510}, Through: true, Spare: []uint32{64511}},
		"origin":         {Origin: 64520},
		"prefixes":       {Via: []uint32{64502, 64510}, Prefixes: p("10.3.0.0/16", "10.20.0.0/20", "10.20.32.0/24", "2001:db8:20::/48")},
		"four alone":     {Prefixes: p("10.3.0.0/16", "10.20.0.0/20")},
		"six alone":      {Via: []uint32{64502, 64510}, Through: true, Prefixes: p("2001:db8:20::/48")},
		"longer":         {Via: []uint32{64502, 64510}, Through: true, Longer4: 20, Longer6: 46},
		"longer, four":   {Origin: 64520, Longer4: 19, Longer6: 128},
		"longer, six":    {Via: []uint32{64510}, Longer4: 32, Longer6: 47},
	}
}

// TestRouters: what BIRD and FRR make of each form is what the model says, route by route.
func TestRouters(t *testing.T) {
	t.Parallel()
	for _, kind := range []routertest.Kind{routertest.BIRD, routertest.FRR} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			routertest.Needs(t, kind)
			var names []string
			var text strings.Builder
			var sessions []routertest.Session
			all := rejects()
			if kind == routertest.BIRD { // FRR's module for it isn't in every build
				all["invalid"] = leak.Reject{Via: []uint32{64502, 64510}, Invalid: true}
				text.WriteString("roa4 table r4; roa6 table r6;\nprotocol static { roa4 { table r4; }; route 10.20.0.0/16 max 16 as 64999; }\n")
				text.WriteString("protocol static { roa6 { table r6; }; route 2001:db8:20::/43 max 43 as 64999; }\n")
			}
			for name, x := range all {
				n := len(sessions)
				address := netip.AddrFrom4([4]byte{127, 0, 1, byte(n + 1)})
				s := routertest.Session{AS: 64501, Address: address}
				id := fmt.Sprintf("SAKIMORI-%d", n)
				names = append(names, name)
				form := leak.Form(string(kind), id, 64500, leak.Neighbor{AS: 64501, Address: address}, x)
				if kind == routertest.BIRD {
					s.Import = fmt.Sprintf("if sakimori_%d() then reject; accept;", n)
				} else {
					// The session is made by the test; the rest of the text is taken as it is.
					form, _, _ = strings.Cut(form, "router bgp")
					s.Import = id
				}
				text.WriteString(form)
				sessions = append(sessions, s)
			}
			r := routertest.New(t, kind, 64500, text.String(), sessions...)
			routes := offered(64501, world)
			fed := make([][]leak.Offered, len(names))
			for n := range fed {
				fed[n] = routes
			}
			took := r.Feed(t, fed)
			for n, name := range names {
				x, rejected := all[name], 0
				for i := range routes {
					if x.Fits(&routes[i]) {
						rejected++
					}
					if took[n][routes[i].Prefix] == x.Fits(&routes[i]) {
						t.Errorf("%s: %s by %v: the router takes it: %v", name, routes[i].Prefix, routes[i].Path, took[n][routes[i].Prefix])
					}
				}
				if rejected == 0 || rejected == len(routes) {
					t.Errorf("%s rejects %d of %d: that proves nothing", name, rejected, len(routes))
				}
			}
		})
	}
}

// TestWholeText: BIRD and FRR read each form as a whole, with the lines that apply it, and
// the lines of the maxima.
func TestWholeText(t *testing.T) {
	t.Parallel()
	four := leak.Neighbor{AS: 64501, Address: netip.MustParseAddr("192.0.2.1")}
	h := &leak.House{AS: 64500, Neighbors: []leak.Neighbor{four}}
	most := 1000
	m := leak.MaxPrefixes(h, []leak.Count{{Neighbor: 64501, Family: "ipv4", Maximum: &most}})[0]
	t.Run("frr", func(t *testing.T) {
		t.Parallel()
		text := "router bgp 64500\n no bgp default ipv4-unicast\n neighbor 192.0.2.1 remote-as 64501\nexit\n"
		for name, x := range rejects() {
			text += leak.Form("frr", strings.ReplaceAll(strings.ReplaceAll("SAKIMORI-"+name, " ", "-"), ",", ""), 64500, four, x)
		}
		routertest.Reads(t, routertest.FRR, text+m.Lines["frr"])
	})
	t.Run("bird", func(t *testing.T) {
		t.Parallel()
		text, used := "router id 192.0.2.2;\n", ""
		n := 0
		for _, x := range rejects() {
			text += leak.Form("bird", fmt.Sprintf("SAKIMORI-%d", n), 64500, four, x)
			used += fmt.Sprintf("if sakimori_%d() then reject; ", n)
			n++
		}
		routertest.Reads(t, routertest.BIRD, text+"protocol bgp { local as 64500; neighbor 192.0.2.1 as 64501; ipv4 {\n export none; import filter { "+used+"accept; };\n"+m.Lines["bird"]+" }; }\n")
	})
}
