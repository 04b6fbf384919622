package flow_test

import (
	"testing"
	"time"

	"sakimori/observe/flow"
)

const second = int64(time.Second)

// TestTimes: when a flow was, by our clock.
func TestTimes(t *testing.T) {
	t.Parallel()
	const export = now / second // as exporters say it
	ntp := func(ns int64) uint64 { return uint64(ns/second+2208988800)<<32 | uint64(ns%second)<<32/1e9 }
	for _, tt := range []struct {
		name        string
		ipfix       bool
		clock       flow.Clock
		fields      []int
		values      []uint64
		arrival     int64 // after the export, ns
		first, last int64 // before the arrival, ns
		ignored     bool
		cut         bool
	}{
		{name: "uptime", fields: []int{22, 4, 21, 4}, values: []uint64{7000, 9000}, first: 3 * second, last: second},
		{name: "uptime, late by a second", fields: []int{22, 4, 21, 4}, values: []uint64{7000, 9000}, arrival: second, first: 3 * second, last: second},
		{name: "uptime, one clock a year off", fields: []int{22, 4, 21, 4}, values: []uint64{7000, 9000}, arrival: 365 * 24 * 3600 * second, first: 3 * second, last: second},
		{name: "uptime, begun before the exporter", fields: []int{22, 4, 21, 4}, values: []uint64{1<<32 - 5000, 9000}, first: 15 * second, last: second},
		{name: "uptime, in the future", fields: []int{22, 4, 21, 4}, values: []uint64{15000, 16000}, first: second, last: 0, ignored: true},
		{name: "uptime, turned round", fields: []int{22, 4, 21, 4}, values: []uint64{9000, 7000}, first: 3 * second, last: 3 * second, cut: true},
		{name: "uptime, too long", fields: []int{22, 4, 21, 4}, values: []uint64{1<<32 - 4000000, 9000}, first: 3601 * second, last: second, cut: true},
		{name: "uptime, too old", fields: []int{22, 4, 21, 4}, values: []uint64{1<<32 - 4002000, 1<<32 - 4000000}, first: 2 * second, last: 0, ignored: true},
		{name: "uptime, by arrival", clock: flow.Arrival, fields: []int{22, 4, 21, 4}, values: []uint64{7000, 9000}, first: 2 * second, last: 0},
		{name: "milliseconds", fields: []int{152, 8, 153, 8}, values: []uint64{uint64(export*1000 - 3000), uint64(export*1000 - 1000)}, first: 3 * second, last: second},
		{name: "milliseconds, of IPFIX", ipfix: true, fields: []int{152, 8, 153, 8}, values: []uint64{uint64(export*1000 - 3000), uint64(export*1000 - 1000)}, first: 3 * second, last: second},
		{name: "milliseconds, an hour's skew", ipfix: true, arrival: 3600 * second, fields: []int{152, 8, 153, 8}, values: []uint64{uint64(export*1000 - 3000), uint64(export*1000 - 1000)}, first: 3 * second, last: second},
		{name: "milliseconds, years off", ipfix: true, arrival: 5 * 365 * 24 * 3600 * second, fields: []int{152, 8, 153, 8}, values: []uint64{uint64(export*1000 - 3000), uint64(export*1000 - 1000)}, first: 2 * second, last: 0, ignored: true},
		{name: "milliseconds, years ahead", ipfix: true, arrival: -5 * 365 * 24 * 3600 * second, fields: []int{152, 8, 153, 8}, values: []uint64{uint64(export*1000 - 3000), uint64(export*1000 - 1000)}, first: 2 * second, last: 0, ignored: true},
		{name: "milliseconds, of another age", ipfix: true, fields: []int{152, 8, 153, 8}, values: []uint64{5000, 6000}, first: second, last: 0, ignored: true},
		{name: "milliseconds, nonsense", ipfix: true, fields: []int{152, 8, 153, 8}, values: []uint64{1 << 63, 1<<64 - 1}, first: 0, last: 0, ignored: true},
		{name: "within the second of the export", ipfix: true, fields: []int{152, 8, 153, 8}, values: []uint64{uint64(export * 1000), uint64(export*1000 + 900)}, first: 900 * second / 1000, last: 0},
		{name: "seconds", ipfix: true, fields: []int{150, 4, 151, 4}, values: []uint64{uint64(export - 3), uint64(export - 1)}, first: 3 * second, last: second},
		{name: "microseconds", ipfix: true, fields: []int{154, 8, 155, 8}, values: []uint64{ntp(now - 3*second), ntp(now - second)}, first: 3 * second, last: second},
		{name: "nanoseconds", ipfix: true, fields: []int{156, 8, 157, 8}, values: []uint64{ntp(now - 3*second), ntp(now - second)}, first: 3 * second, last: second},
		{name: "microseconds before the export", ipfix: true, fields: []int{158, 4, 159, 4}, values: []uint64{3000000, 1000000}, first: 3 * second, last: second},
		{name: "uptime of IPFIX, and since when", ipfix: true, fields: []int{160, 8, 22, 4, 21, 4}, values: []uint64{uint64(export*1000 - 10000), 7000, 9000}, first: 3 * second, last: second},
		{name: "uptime of IPFIX alone", ipfix: true, fields: []int{22, 4, 21, 4}, values: []uint64{7000, 9000}, first: 2 * second, last: 0},
		{name: "end and duration", ipfix: true, fields: []int{153, 8, 161, 4}, values: []uint64{uint64(export*1000 - 1000), 2000}, first: 3 * second, last: second},
		{name: "one observation", ipfix: true, fields: []int{323, 8}, values: []uint64{uint64(export*1000 - 1000)}, first: second, last: second},
		{name: "none", first: 0, last: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t, flow.Config{Default: flow.Settings{Clock: tt.clock}})
			f := append([]int{8, 4, 12, 4, 2, 4, 1, 4}, tt.fields...)
			b := v9(set(0, fields(256, f...)), set(256, record(f, append([]uint64{1, 2, 10, 1000}, tt.values...)...)))
			if tt.ipfix {
				b = v10(set(2, fields(256, f...)), set(256, record(f, append([]uint64{1, 2, 10, 1000}, tt.values...)...)))
			}
			at := now + tt.arrival
			got := c.one(b, at)
			// NTP's fractions aren't nanoseconds.
			if d := at - got.First - tt.first; d < -10 || d > 10 {
				t.Errorf("began %s before it came, want %s", time.Duration(at-got.First), time.Duration(tt.first))
			}
			if d := at - got.Last - tt.last; d < -10 || d > 10 {
				t.Errorf("ended %s before it came, want %s", time.Duration(at-got.Last), time.Duration(tt.last))
			}
			if h := c.health(); (h.ClockIgnored == 1) != tt.ignored || (h.Cut == 1) != tt.cut || h.Skew == nil || *h.Skew != tt.arrival/1e6 {
				t.Errorf("%d ignored, %d cut, skew %v", h.ClockIgnored, h.Cut, *h.Skew)
			}
		})
	}
}

// TestSkew: the fastest datagram tells the offset, those that come late don't shift flows; a
// clock that is set is followed at once, one that drifts within minutes.
func TestSkew(t *testing.T) {
	t.Parallel()
	f := []int{8, 4, 12, 4, 2, 4, 1, 4, 22, 4, 21, 4}
	template := v9(set(0, fields(256, f...)))
	c := newCollector(t, flow.Config{})
	c.take(template, now)
	// ended a second before the export at this uptime; the datagram takes so long
	at := func(uptime uint32, takes, ahead int64) int64 {
		b := message9(0, uptime, uint32(now/second+int64(uptime/1000)), 0, set(256, record(f, 1, 2, 10, 1000, uint64(uptime-2000), uint64(uptime-1000))))
		arrival := now + int64(uptime-10_000)*1e6 + takes + ahead
		return c.one(b, arrival).Last - (now + int64(uptime-11_000)*1e6 + ahead)
	}
	if d := at(20_000, 0, 0); d != 0 {
		t.Errorf("off by %d ns", d)
	}
	if d := at(21_000, 3*second, 0); d != 0 {
		t.Errorf("a late one is off by %d ns", d)
	}
	// The uptime lies an hour back: the exporter's idea of it was set.
	if d := at(22_000, 0, 3600*second); d != 0 {
		t.Errorf("after a jump off by %d ns", d)
	}
	// 2 ms a second of drift.
	worst := int64(0)
	for i := range int64(600) {
		worst = max(worst, at(uint32(23_000+1000*i), 0, 3600*second+2e6*i), -at(uint32(23_000+1000*i), 0, 3600*second+2e6*i))
	}
	if worst > 250e6 {
		t.Errorf("with drift off by %s", time.Duration(worst))
	}
}

// TestUptimeWraps: after 49.7 days it begins anew.
func TestUptimeWraps(t *testing.T) {
	t.Parallel()
	f := []int{8, 4, 12, 4, 2, 4, 1, 4, 22, 4, 21, 4}
	c := newCollector(t, flow.Config{})
	c.take(v9(set(0, fields(256, f...))), now)
	for i := range int64(20) {
		up := uint32(1<<32 - 10_000 + i*1000)
		b := message9(uint32(i), up, uint32(now/second+i), 0, set(256, record(f, 1, 2, 10, 1000, uint64(up-2000), uint64(up-1000))))
		if got := c.one(b, now+i*second); got.Last != now+(i-1)*second || got.First != now+(i-2)*second {
			t.Errorf("%d: from %s to %s before", i, time.Duration(now+i*second-got.First), time.Duration(now+i*second-got.Last))
		}
	}
}
