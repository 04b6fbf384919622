package leak_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/detect"
	"sakimori/respond/leak"
	"sakimori/respond/leak/routertest"
)

// TestJune2019 takes the paths of a real leak (AS396531 to AS701, 24 June 2019) as if one
// neighbour of ours had brought them, among paths of other years: the filter that is chosen is put before real
// routers, and they reject each leaked path and no other.
func TestJune2019(t *testing.T) {
	t.Parallel()
	type update struct {
		Kind      string
		Timestamp time.Time
		Path      []uint32 `json:"as_path"`
	}
	var updates []update
	for _, name := range []string{"cloudflare_verizon_2019_104.18.32.0_21.json", "indosat_2014.json", "pakistan_youtube_2008.json", "telekom_malaysia_2015.json"} {
		b, err := os.ReadFile(corpus.Folder(t, "bgp", "incidents", name))
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Updates []update }
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		updates = append(updates, file.Updates...)
	}
	const us, neighbor = 65010, 64501
	i := &detect.Incident{ID: "I-2019", State: detect.Opened, Kind: detect.Leak, Opened: updates[0].Timestamp, Leaker: 396531, To: 701, From: 33154, Prefixes: detect.Counted{N: 20000}}
	h := &leak.House{AS: us, Neighbors: []leak.Neighbor{{AS: neighbor}}}
	hits := leak.NewHits(h, i, nil)
	var routes []leak.Offered
	seen := map[string]bool{}
	leaked := 0
	for _, u := range updates {
		key := fmt.Sprint(u.Path)
		if u.Kind != "announce" || seen[key] || slices.Contains(u.Path, us) {
			continue
		}
		seen[key] = true
		// A path each: what a filter must tell apart are those.
		r := leak.Offered{
			At: u.Timestamp, Neighbor: neighbor, Path: append([]uint32{neighbor}, u.Path...), ROV: leak.ROVNotFound,
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{104, byte(len(routes) >> 8), byte(len(routes)), 0}), 24),
		}
		if hits.Has(&r) {
			leaked++
		}
		routes = append(routes, r)
	}
	if leaked < 100 || len(routes)-leaked < 200 {
		t.Fatalf("%d leaked paths of %d: that proves little", leaked, len(routes))
	}
	list, err := leak.Filters(t.Context(), h, i, nil, tables{neighbor: routes})
	if err != nil || len(list) != 4 || list[0].Rejects != leaked || list[0].Misses != 0 || list[0].AlsoRejects != 0 {
		t.Fatal(list, err)
	}
	for _, kind := range []routertest.Kind{routertest.BIRD, routertest.FRR} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			routertest.Needs(t, kind)
			f := list[slices.IndexFunc(list, func(f leak.Filter) bool { return f.Vendor == string(kind) })]
			s := routertest.Session{AS: neighbor, Address: netip.AddrFrom4([4]byte{127, 0, 3, byte(len(kind))}), Import: "SAKIMORI-64501-396531"}
			text := f.Text
			if kind == routertest.BIRD {
				s.Import = "if sakimori_64501_396531() then reject; accept;"
			} else {
				text, _, _ = strings.Cut(text, "router bgp")
			}
			took := routertest.New(t, kind, us, text, s).Feed(t, [][]leak.Offered{routes})[0]
			for k := range routes {
				if took[routes[k].Prefix] == hits.Has(&routes[k]) {
					t.Errorf("%v: taken %v", routes[k].Path, took[routes[k].Prefix])
				}
			}
		})
	}
}
