package leak_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/detect/leak"
	"sakimori/observe"
)

// Many owners' prefixes by one origin are one incident; a peer that tells nonsense isn't
// believed; own space that is lost is an outage; routes to be discarded and space that
// nobody may announce.
func TestOthers(t *testing.T) {
	t.Parallel()
	own := leak.Config{Own: []leak.Own{{Prefix: netip.MustParsePrefix("20.113.0.0/16"), Origins: []uint32{213}}, {Prefix: netip.MustParsePrefix("20.114.0.0/16"), Origins: []uint32{213, 214}}}}
	everybody := func(w *world, prefix string, path observe.RoutePath) {
		for i, way := range [][]uint32{{12, 10}, {22, 20, 10}, {32, 30, 10}} {
			q := path
			if len(path.ASes) > 0 {
				q.ASes = append(way, path.ASes...)
			}
			w.saying(uint32(i)+1, netip.MustParsePrefix(prefix), q, 0)
		}
	}
	for what, c := range map[string]struct {
		do   func(w *world)
		want []string // kind leaker prefixes
	}{
		"mass": {func(w *world) {
			for i := range 60 {
				everybody(w, fmt.Sprintf("20.%d.0.0/16", 10+i/20*100+i%20), observe.RoutePath{ASes: []uint32{11, 1190}})
			}
			w.wait(30 * time.Second)
		}, []string{"hijack 1190 60"}},
		"nonsense": {func(w *world) {
			for i := range 200 {
				w.say(1, fmt.Sprintf("20.%d.0.0/16", i%60), 12, 5000+uint32(i), 6000+uint32(i*7))
				w.wait(200 * time.Millisecond)
			}
		}, nil},
		"outage": {func(w *world) {
			for v := range uint32(3) {
				w.say(v+1, "20.113.0.0/16")
				w.say(v+1, "20.114.0.0/16")
			}
			w.until(time.Minute)
		}, []string{"outage 0 2"}},
		"flap": {func(w *world) {
			for range 5 {
				for v := range uint32(3) {
					w.say(v+1, "20.113.0.0/16")
				}
				w.until(20 * time.Second)
				for i, v := range []uint32{12, 22, 32} {
					w.say(uint32(i)+1, "20.113.0.0/16", w.usual(v, 213)...)
				}
				w.until(20 * time.Second)
			}
		}, nil},
		"sessions end": {func(w *world) {
			for v := range uint32(3) {
				w.saying(v+1, netip.MustParsePrefix("20.113.0.0/16"), observe.RoutePath{}, observe.RouteDown)
			}
			w.until(5 * time.Minute)
		}, nil},
		"blackhole": {func(w *world) {
			everybody(w, "20.210.3.4/32", observe.RoutePath{ASes: []uint32{31, 310}, Communities: []uint32{65535<<16 | 666}})
		}, []string{"blackhole 31 1"}},
		"bogon": {func(w *world) {
			everybody(w, "10.3.0.0/16", observe.RoutePath{ASes: []uint32{31, 310}})
		}, []string{"bogon 310 1"}},
		"private AS": {func(w *world) {
			everybody(w, "99.3.0.0/16", observe.RoutePath{ASes: []uint32{31, 310, 64512}})
		}, []string{"bogon 310 1"}},
		"a loop, a set, prepending": {func(w *world) {
			everybody(w, "99.3.0.0/16", observe.RoutePath{ASes: []uint32{31, 310, 31}})
			everybody(w, "99.4.0.0/16", observe.RoutePath{ASes: []uint32{31}, Set: true})
			w.say(1, "20.110.0.0/16", 12, 10, 20, 21, 21, 21, 210, 210)
		}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			d, _ := newDetector(t, own, leak.Ports{Relation: relations})
			w := newWorld(t, d)
			w.usualTable()
			c.do(w)
			w.until(2 * time.Second)
			var got []string
			for _, r := range d.Results() {
				got = append(got, fmt.Sprint(r.Kind, " ", r.Leaker, " ", r.Prefixes))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, not %v", got, c.want)
			}
		})
	}
}
