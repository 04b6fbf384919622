package gates_test

import (
	"fmt"
	"math"
	"strings"

	"sakimori/observe/telescope"
)

// totals: every sum of the document is exactly that of the truth. The truth
// counts later fragments among the dark packets, the document beside them.
func totals(o *outcome, s *score) {
	t, d := &o.truth, &o.doc
	same := func(what string, said, truth any) {
		s.claim(said == truth, "%s: said %v, in truth %v", what, said, truth)
	}
	same("packets", d.Packets, t.Packets)
	same("dark_packets", d.DarkPackets+d.Fragments, t.DarkPackets)
	same("fragments", d.Fragments, t.LaterFragment)
	same("from_dark", d.FromDark, t.FromDark)
	same("malformed", d.Malformed, t.Malformed)
	same("classes.scan", d.Classes.Scan, t.Classes.Scan)
	same("classes.backscatter", d.Classes.Backscatter, t.Classes.Backscatter)
	same("classes.reflection", d.Classes.Reflection, t.Classes.Reflection)
	same("classes.other", d.Classes.Other, t.Classes.Other)
	same("sum of classes", d.Classes.Scan+d.Classes.Backscatter+d.Classes.Reflection+d.Classes.Other, d.DarkPackets)
	same("monitored", d.DarkAddresses.Monitored, t.DarkAddresses.Monitored)
	same("hit", d.DarkAddresses.Hit, t.DarkAddresses.Hit)
	same("hit_v6", d.DarkAddresses.HitV6, t.DarkAddresses.Hit6)
	same("late", d.Late, uint64(0))
	same("evicted", d.Evicted, uint64(0))
	if d.First == nil || d.Last == nil {
		s.claim(false, "first or last is missing")
	} else {
		same("first", d.First.UnixMicro(), t.First.UnixMicro())
		same("last", d.Last.UnixMicro(), t.Last.UnixMicro())
	}
	near := func(what string, said uint64, err float64, truth uint64) {
		s.claim(math.Abs(float64(said)-float64(truth)) <= sigmas*err*float64(truth), "%s: said %d (±%.2f %%), in truth %d", what, said, 100*err, truth)
	}
	near("unique_sources", d.UniqueSources, d.UniqueSourcesErr, t.UniqueSources)
	type count struct {
		packets, sources uint64
		err              float64
	}
	ports := map[string]count{}
	for _, p := range d.Ports {
		ports[fmt.Sprintf("%d/%s", p.Port, p.Protocol)] = count{p.Packets, p.Sources, p.SourcesErr}
	}
	wrong, packets := []string{}, uint64(0)
	for _, p := range t.Ports {
		k := fmt.Sprintf("%d/%s", p.Port, telescope.ProtocolName(p.Protocol))
		c, ok := ports[k]
		delete(ports, k)
		packets += p.Packets
		if !ok || c.packets != p.Packets || math.Abs(float64(c.sources)-float64(p.Sources)) > sigmas*c.err*float64(p.Sources) {
			wrong = append(wrong, fmt.Sprintf("%s: said %+v, in truth %+v", k, c, p))
		}
	}
	for k, c := range ports {
		wrong = append(wrong, fmt.Sprintf("%s: said %+v, in truth nothing", k, c))
	}
	s.claim(len(wrong) == 0, "ports: %s", strings.Join(wrong[:min(len(wrong), 5)], "; "))
	same("packets of all ports", packets, t.Classes.Scan)
}

// sigmas is how many standard errors a sketched count may be off: with some
// thousand counts five are exceeded once in a thousand runs.
const sigmas = 5
