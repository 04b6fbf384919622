package flow_test

import (
	"strings"
	"testing"
	"time"

	"sakimori/observe/flow"
)

// TestAdvice: what is wrong with an exporter is said in both languages, and what isn't isn't.
func TestAdvice(t *testing.T) {
	t.Parallel()
	off, near := int64(-20_000), int64(40)
	well := flow.Health{Protocol: "sflow5", Datagrams: 1_000_000, Records: 7_000_000, Flows: 7_000_000, Samples: 7_000_000, Rates: []flow.Rate{{Rate: 1000, Flows: 7_000_000}}, PoolRate: 1010, Skew: &near, Gaps: 10, GapsOf: "datagrams", Late: 3, Last: time.Unix(1000, 0)}
	for want, change := range map[string]func(*flow.Health){
		"neither":     func(h *flow.Health) { h.Protocol = "unknown" },
		"can't read":  nil,
		"be read":     func(h *flow.Health) { h.Malformed = []flow.Malformed{{Reason: "set", Count: 5000}} },
		"sampled":     func(h *flow.Health) { h.RateUnknown = 7_000_000 },
		"template":    func(h *flow.Health) { h.Waiting = 3 },
		"limit":       func(h *flow.Health) { h.Limited = 1_000_000 },
		"lost":        func(h *flow.Health) { h.Gaps = 20_000 },
		"per_port":    func(h *flow.Health) { h.Restarts = 500_000 },
		"arrival":     func(h *flow.Health) { h.ClockIgnored = 7_000_000 },
		"-20000 ms":   func(h *flow.Health) { h.Skew = &off },
		"1 in 4000":   func(h *flow.Health) { h.PoolRate = 4000 },
		"couldn't":    func(h *flow.Health) { h.Missed = 100_000 },
		"datagrams w": func(h *flow.Health) { h.Gaps, h.GapsOf = 20_000, "" },
	} {
		h := well
		if change == nil {
			if list := h.Advice(); len(list) != 0 || h.State(h.Last.Add(time.Minute)) != flow.OK || h.State(h.Last.Add(time.Hour)) != flow.Stale {
				t.Errorf("all is well, but %v", list)
			}
			continue
		}
		change(&h)
		list := h.Advice()
		if len(list) != 1 || !strings.Contains(list[0].EN, want) || len([]rune(list[0].JA)) == len(list[0].JA) || strings.Contains(list[0].EN+list[0].JA, "%!") || h.State(h.Last) != flow.Faulty {
			t.Errorf("%q: %v", want, list)
		}
	}
}
