package choice

import (
	"net/netip"
	"sync"
	"time"

	"sakimori/base/clock"
)

// How often one visitor may ask. Behind a shared address many do, each by ports of their
// own, so that the bound is of 1024 ports together.
const (
	visitMost   = 60
	visitWindow = 10 * time.Minute
	visitors    = 100_000
)

type visitor struct {
	addr  netip.Addr
	ports uint16
}

// visits counts who asked how often. All whom the table doesn't hold count together.
type visits struct {
	clock clock.Clock
	mu    *sync.Mutex
	by    map[visitor]visit
}

type visit struct {
	since time.Time
	n     int
}

func newVisits(c clock.Clock) visits {
	return visits{clock: c, mu: &sync.Mutex{}, by: map[visitor]visit{}}
}

// may counts a visit, and tells whether it is one of those that are allowed. A home has a
// whole /64 of IPv6 addresses.
func (v *visits) may(a netip.Addr, port uint16) bool {
	who := visitor{a, port >> 10}
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			who = visitor{addr: p.Addr()}
		}
	}
	now := v.clock.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.by[who]; !known && len(v.by) >= visitors {
		for k, x := range v.by {
			if now.Sub(x.since) >= visitWindow {
				delete(v.by, k)
			}
		}
		if len(v.by) >= visitors {
			who = visitor{}
		}
	}
	x := v.by[who]
	if now.Sub(x.since) >= visitWindow {
		x = visit{since: now}
	}
	x.n++
	v.by[who] = x
	return x.n <= visitMost
}
