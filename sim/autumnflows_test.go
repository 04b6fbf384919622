package sim_test

import (
	"net/netip"
	"testing"
	"time"

	"sakimori/sim"
)

// TestFlowDay: at its moment an attack is under way, and one that was great has ended.
func TestFlowDay(t *testing.T) {
	t.Parallel()
	moment := time.Date(2016, 10, 6, 18, 0, 0, 0, time.UTC)
	town := netip.MustParsePrefix("198.19.0.0/17")
	var lasts, great bool
	records := uint64(0)
	for _, s := range sim.FlowDay(1, moment, 5*time.Minute, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), town, netip.MustParsePrefix("2001:db8:1::/48")}) {
		truth, err := s.Tell(func(int64, int, []byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		records += truth.Records
		for _, a := range truth.Attacks {
			lasts = lasts || a.Onset.Before(moment) && a.End.After(moment.Add(4*time.Minute)) && a.PeakBPS > 70e9
			great = great || a.End.Before(moment) && a.PeakBPS > 1.1e12 && a.PeakBPS < 1.3e12
		}
	}
	if !lasts || !great || records < 300_000 || records > 1_500_000 {
		t.Errorf("lasts: %v, great: %v, %d records", lasts, great, records)
	}
}
