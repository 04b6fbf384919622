package gates_test

import (
	"compress/bzip2"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/detect/leak"
	"sakimori/observe/route"
)

// leakFile is a recorded file and what was said of it.
type leakFile struct {
	name     string
	elements uint64
	said     []string
}

// recorded are real files: those with an incident, of which exactly one is wanted, and
// ordinary ones, of which none is.
var recorded = []struct {
	path      string
	own       string // a prefix and its AS
	origin    uint32
	relations bool
	holder    bool // it takes to know whose the space is, and nobody wrote that down
	kind      string
	leaker    uint32
}{
	{path: "incidents-mrt/pakistan_youtube_2008.mrt", own: "208.65.152.0/22", origin: 36561, kind: "hijack", leaker: 17557},
	{path: "incidents-mrt/pakistan_youtube_2008.mrt", holder: true, kind: "hijack", leaker: 17557},
	{path: "incidents-mrt/cloudflare_verizon_2019_104.18.32.0_21.mrt", relations: true, kind: "leak", leaker: 396531},
	{path: "incidents-mrt/cloudflare_verizon_2019_104.31.0.0_21.mrt", relations: true, kind: "leak", leaker: 396531},
	{path: "incidents-mrt/indosat_2014.mrt", holder: true, kind: "hijack", leaker: 4761},
	{path: "bgpdump/data/bview.20020722.2337.gz"},
	{path: "bgpdump/data/updates.20020722.2238.gz"},
	{path: "bgpdump/data/updates.20070211.0141.gz"},
	{path: "bgpdump/data/updates.20071015.1505.gz"},
	{path: "bgpdump/data/updates.20100722.2015.gz"},
	{path: "ris/ris.rrc06.updates.1427846400.gz"},
	{path: "ris/routeviews.route-views.jinx.updates.1427846400.bz2"},
	{path: "ris/rrc15-updates.20100227.1610.gz"},
	{path: "ris/bgpipe-sample.mrt"},
}

// leakFiles reads them all; the table is kept in the page. Where they aren't, it is skipped.
func leakFiles(t *testing.T) (list []leakFile) {
	dir := corpus.Folder(t, "bgp")
	var caida []byte
	if f, err := os.Open(filepath.Join(dir, "asrel", "20161101.as-rel.txt.bz2")); err != nil {
		t.Fatal(err)
	} else {
		if caida, err = io.ReadAll(bzip2.NewReader(f)); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	world, unbuilt := places(t), withoutGeography(t)
	holder := func(a netip.Addr) uint32 {
		_, as := world.Owner(packet.FromNetip(a))
		return as
	}
	for _, r := range recorded {
		if r.holder && unbuilt {
			t.Logf("SKIPPED, NOT TESTED: %s needs the geography: run make build first", r.path)
			continue
		}
		cfg := leak.Config{Paths: 1 << 19, Prefixes: 1 << 18, Ways: 1 << 18, Adjacencies: 1 << 15}
		name, relations := filepath.Base(r.path), []byte(nil)
		if r.own != "" {
			cfg.Own = []leak.Own{{Prefix: netip.MustParsePrefix(r.own), Origins: []uint32{r.origin}}}
			name += " (--own " + r.own + ")"
		}
		if r.relations {
			relations = caida
			name += " (--relations)"
		}
		w := newLookout(t, cfg, leak.Ports{Holder: holder}, relations, nil, nil, time.Time{})
		n, err := route.Read(t.Context(), w.table, filepath.Join(dir, r.path), route.ReadOptions{Each: func(second int64) { w.detector.Tick(time.Unix(second, 0)) }})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w.table.Flush()
		w.detector.Finish()
		f := leakFile{name: name, elements: n.Elements}
		right := 0
		for _, id := range w.order {
			a := w.incidents[id]
			f.said = append(f.said, saidOfIncident(&a))
			if string(a.Kind) == r.kind && a.Leaker == r.leaker {
				right++
			}
		}
		if r.kind == "" && len(f.said) > 0 || r.kind != "" && (right != 1 || len(f.said) != 1) {
			t.Errorf("%s: said %q; %s by AS%d is right", name, f.said, r.kind, r.leaker)
		}
		list = append(list, f)
	}
	return list
}
