package sim_test

import (
	"testing"
	"time"

	"sakimori/sim"
)

func TestAutumn2016(t *testing.T) {
	if testing.Short() {
		t.Skip("two million packets")
	}
	s := sim.Autumn2016(1)
	var packets, from [24]int
	bots := map[int]map[string]bool{}
	s.Label = func(l sim.Label) {
		if l.Port != 2323 || l.Protocol != 6 {
			return
		}
		h := int((l.Time - s.Start.UnixNano()) / int64(time.Hour))
		packets[h]++
		if bots[h] == nil {
			bots[h] = map[string]bool{}
		}
		bots[h][string(l.Source.AsSlice())] = true
	}
	truth, _ := write(t, s)
	for h, b := range bots {
		from[h] = len(b)
	}
	if truth.Packets < 1_500_000 || truth.Packets > 4_000_000 {
		t.Errorf("%d packets", truth.Packets)
	}
	// Packets and hosts of 2323/TCP double every four hours, as the chart of the
	// autumn's weeks does.
	for h := 2; h+4 < 22; h += 2 {
		p, n := float64(packets[h+4])/float64(packets[h]), float64(from[h+4])/float64(from[h])
		if p < 1.5 || p > 2.7 || n < 1.4 || n > 2.7 {
			t.Errorf("from %d to %d o'clock: packets × %.2f, hosts × %.2f", h, h+4, p, n)
		}
	}
	attacks := map[string]int{}
	for _, v := range truth.Victims {
		if v.Attack {
			attacks[v.Address.String()]++
		}
	}
	if len(attacks) != 3 || attacks["198.51.100.10"] != 1 || attacks["198.51.100.53"] != 1 || attacks["203.0.113.80"] != 1 {
		t.Errorf("attacks: %v", attacks)
	}
	mirai := 0
	for _, i := range truth.Infected {
		if i.Family == "mirai" {
			mirai++
		}
		if i.Packets < 40 {
			t.Errorf("%v sends only %d packets", i.Address, i.Packets)
		}
	}
	if len(truth.Infected) != 12 || mirai != 10 {
		t.Errorf("%d infected, %d of them with Mirai", len(truth.Infected), mirai)
	}
	if len(truth.Misconfigured) == 0 || len(truth.Benign) == 0 || truth.FromDark == 0 || truth.Malformed == 0 || truth.DarkAddresses.Hit < 65000 {
		t.Errorf("something is missing: %d dark addresses hit, %d from dark", truth.DarkAddresses.Hit, truth.FromDark)
	}
	t.Logf("%d packets, %d sources, %d scanners, classes %+v", truth.Packets, truth.UniqueSources, len(truth.Scanners), truth.Classes)
}
