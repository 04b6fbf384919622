package main

import (
	"net/netip"
	"sync"
	"time"

	"sakimori/observe/telescope"
)

// darkPulse tells whether dark space that is always hit has fallen silent: the telescope's
// own sign that its space is routed elsewhere. It knows the dark space only as a whole.
type darkPulse struct {
	mu   sync.Mutex
	dark []netip.Prefix
	rate float64   // packets a second, of some ten minutes
	at   int64     // second that was counted last
	last time.Time // when a packet came last, by the machine's clock
}

// pulseFor is over how many seconds the usual rate is taken, and silentSure how many
// packets must be missing: by chance that happens once in e³⁰ times.
const (
	pulseFor   = 600.0
	silentSure = 30.0
)

// see takes a second in which something came.
func (p *darkPulse) see(s telescope.Second) {
	n := 0.0
	for _, t := range s.Total {
		n += float64(t)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 {
		p.last = time.Now()
	}
	if s.Unix > p.at {
		gone := float64(s.Unix - p.at)
		if p.at == 0 || gone > pulseFor {
			gone = 1
		}
		keep := 1 - gone/pulseFor
		p.rate, p.at = p.rate*max(keep, 0), s.Unix
	}
	p.rate += n / pulseFor
}

// silent tells whether all dark space lies inside a prefix, and so many packets are missing
// that it can't be chance.
func (p *darkPulse) silent(in netip.Prefix) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.dark) == 0 || p.last.IsZero() {
		return false
	}
	for _, d := range p.dark {
		if d.Bits() < in.Bits() || !in.Contains(d.Addr()) {
			return false
		}
	}
	return p.rate*time.Since(p.last).Seconds() >= silentSure
}
