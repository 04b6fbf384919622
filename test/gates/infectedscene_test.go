package gates_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	infectedroom "sakimori/detect/infected"
	"sakimori/observe"
	"sakimori/observe/flow"
	"sakimori/sim"
)

// scanScenes are those in which something could be taken for a scan. (By hand: all of
// sim.FlowScenes; it takes half a minute and says the same of the others.)
var scanScenes = []string{
	"scan-own", "scan-in", "town", "resolver", "gamers", "ntp-server", "flash-crowd", "vector-rst", "vector-syn-ack-reflection",
	"vector-connections", "outgoing-many", "sampling-1000", "london-2012",
}

// TestInfectedByFlowsInScenes: of everything that passes the routers of flow scenes, the
// busy, the victims and the ordinary among it, only who scans is said to; and each of
// those is found, with as many targets.
func TestInfectedByFlowsInScenes(t *testing.T) {
	t.Parallel()
	scans, played := 0, 0
	for _, s := range sim.FlowScenes() {
		if !slices.Contains(scanScenes, s.Name) {
			continue
		}
		played++
		var said told
		d := infectedroom.NewFlows(infectedroom.FlowsConfig{Own: s.Scene.Own}, infectedroom.FlowsPorts{}, &said)
		directory, err := flow.NewDirectory(flow.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		c := directory.Collector(func(list []observe.Flow) { d.Take(list) })
		var now int64
		truth, err := s.Scene.Tell(func(at int64, router int, data []byte) error {
			for ; at-now >= int64(time.Second); now += int64(time.Second) {
				if now == 0 {
					now = at
				}
				c.Flush()
				d.Tick(time.Unix(0, now))
			}
			return c.Ingest(data, s.Scene.Routers[router].Address, at)
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Flush()
		d.Finish()
		want := map[netip.Addr]sim.FlowInfected{}
		for _, x := range truth.Infected {
			if x.Reason == "scan" {
				want[x.Address] = x
			}
		}
		for _, f := range d.Found() {
			x, is := want[f.Address]
			if !is || !slices.Equal(f.Ports, []uint16{x.Port}) || float64(f.Targets) < 0.9*float64(x.Targets) || float64(f.Targets) > 1.1*float64(x.Targets) {
				t.Errorf("%s: %v is said to %s on %v, %d addresses; the truth: %+v", s.Name, f.Address, f.Reason, f.Ports, f.Targets, x)
			}
			delete(want, f.Address)
			scans++
		}
		for a, x := range want {
			t.Errorf("%s: %v scans %d and wasn't found", s.Name, a, x.Port)
		}
	}
	if scans != 2 || played != len(scanScenes) {
		t.Errorf("%d who scan in %d scenes of %d", scans, played, len(scanScenes))
	}
}
