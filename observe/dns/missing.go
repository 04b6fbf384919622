package dns

import (
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"sakimori/base/sketch"
	"sakimori/base/wire/dns"
)

// Missing hears of zones directly below which many names were asked for in a second that
// don't exist, and how many different ones: a flood of made-up names (water torture) has
// hardly two alike. Only names of clients are in it that consent to being matched; who
// asked isn't. It is called under the Observer's lock and must not call back.
type Missing interface {
	Missing(zone string, distinct, nx uint64, at time.Time)
}

const (
	missingZones = 4096 // that are told apart in a second; further ones aren't counted
	missingLeast = 100  // names in a second from which on a zone is told
)

// missing counts one second.
type missing struct {
	second int64 // Unix
	zones  map[string]*missingZone
	seed   maphash.Seed
}

type missingZone struct {
	nx    uint64
	names sketch.Set
}

// missed counts an answer that the name doesn't exist.
func (o *Observer) missed(e *Exchange) {
	m := &o.missing
	if s := e.At / int64(time.Second); s != m.second {
		o.tellMissing()
		m.second = s
	}
	parent := e.Name.Parent()
	if parent.Labels() < 2 { // of a top level domain everybody mistypes names
		return
	}
	z := m.zones[string(parent)]
	if z == nil {
		if len(m.zones) >= missingZones {
			return
		}
		if m.zones == nil {
			m.zones, m.seed = map[string]*missingZone{}, maphash.MakeSeed()
		}
		z = &missingZone{}
		m.zones[string(parent)] = z
	}
	z.nx++
	z.names.Add(sketch.Coarse, uint32(maphash.Bytes(m.seed, e.Name))) //nolint:gosec // 32 bits of a hash
}

// tellMissing tells of the second that is over.
func (o *Observer) tellMissing() {
	m := &o.missing
	for _, zone := range slices.Sorted(maps.Keys(m.zones)) {
		if z := m.zones[zone]; z.nx >= missingLeast {
			o.cfg.Missing.Missing(dns.Name(zone).String(), z.names.Count(), z.nx, time.Unix(m.second, 0).UTC())
		}
	}
	clear(m.zones)
}
