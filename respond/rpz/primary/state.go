package primary

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/lawful"
	"sakimori/respond/rpz"
)

// PeerState is what is known of a peer, as it can be shown.
type PeerState struct {
	Name    string      `json:"name"`
	Vendor  string      `json:"vendor"`
	Pool    string      `json:"pool"`
	Address netip.Addr  `json:"address"` // from which it asked last
	Zones   []ZoneState `json:"zones"`
	Errors  []Trouble   `json:"errors"` // the newest last
	// Refused counts by reason: unsigned, key, signature, time, truncated, address, tls, zone.
	Refused     map[string]uint64 `json:"refused"`
	Full        uint64            `json:"full_transfers"`
	Incremental uint64            `json:"incremental_transfers"`
	Cut         uint64            `json:"cut_transfers"`
}

// ZoneState is what a peer has of a zone.
type ZoneState struct {
	Zone   rpz.Zone  `json:"zone"`
	Serial uint32    `json:"serial"` // 0: not known
	How    How       `json:"how,omitempty"`
	At     time.Time `json:"at,omitzero"` // when that was known
	Asked  time.Time `json:"asked,omitzero"`
	Told   uint32    `json:"told,omitempty"` // serial in the last NOTIFY that it answered
	ToldAt time.Time `json:"told_at,omitzero"`
	Last   *Transfer `json:"last,omitempty"`
	// Habit: so many differences it took before it fetched all of the zone again, though it
	// had it. 0: it never did.
	SinceFull int `json:"since_full"`
	FullAfter int `json:"full_after"`

	asked uint32 // the serial that it was told when it asked for the SOA
}

// How a peer's serial is known.
type How string

// The ways, the surest first.
const (
	Fetched  How = "fetched"  // it read a transfer to the end
	Said     How = "said"     // it asked for what came after it
	Presumed How = "presumed" // it asked for the SOA, and for nothing more
	Kept     How = "kept"     // it was so when this was written down, before a restart of ours; not heard since
)

// Transfer is how one went.
type Transfer struct {
	Kind     string        `json:"kind"` // axfr, ixfr
	From     uint32        `json:"from,omitempty"`
	To       uint32        `json:"to"`
	Bytes    int           `json:"bytes"`
	Messages int           `json:"messages"`
	Took     time.Duration `json:"took"`
	At       time.Time     `json:"at"`
}

// Trouble is one that a person should look at.
type Trouble struct {
	At time.Time `json:"at"`
	lawful.Text
}

// mostTroubles are kept of a peer.
const mostTroubles = 10

// peer is a peer with what is known of it.
type peer struct {
	*Peer
	mu      sync.Mutex
	state   PeerState
	changed chan struct{} // closed at the next change
}

func newPeer(p *Peer) *peer {
	x := &peer{Peer: p, changed: make(chan struct{}), state: PeerState{Name: p.Name, Vendor: p.Vendor, Pool: p.Pool, Refused: map[string]uint64{}}}
	for _, z := range rpz.Zones() {
		if p.takes(z) {
			x.state.Zones = append(x.state.Zones, ZoneState{Zone: z})
		}
	}
	return x
}

// recall takes what was known before a restart. It isn't believed, only shown, until the peer
// is heard again; the counts go on.
func (p *peer) recall(was *PeerState) {
	p.state.Address, p.state.Full, p.state.Incremental, p.state.Cut = was.Address, was.Full, was.Incremental, was.Cut
	p.state.Errors = slices.Clone(was.Errors[max(0, len(was.Errors)-mostTroubles):])
	maps.Copy(p.state.Refused, was.Refused)
	for i := range p.state.Zones {
		for _, z := range was.Zones {
			if p.state.Zones[i].Zone == z.Zone {
				if z.Serial != 0 {
					z.How = Kept
				}
				z.asked = 0
				p.state.Zones[i] = z
			}
		}
	}
}

// on changes what is known of a zone; z "" of none.
func (p *peer) on(z rpz.Zone, do func(*PeerState, *ZoneState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.state.Zones, func(x ZoneState) bool { return x.Zone == z })
	var of *ZoneState
	if i >= 0 {
		of = &p.state.Zones[i]
	}
	do(&p.state, of)
	close(p.changed)
	p.changed = make(chan struct{})
}

// zone is what is known of a zone, and what is closed when it changes.
func (p *peer) zone(z rpz.Zone) (ZoneState, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.state.Zones {
		if x.Zone == z {
			return x, p.changed
		}
	}
	return ZoneState{}, p.changed
}

func (p *peer) trouble(at time.Time, ja, en string) {
	p.on("", func(s *PeerState, _ *ZoneState) {
		if n := len(s.Errors); n > 0 && s.Errors[n-1].EN == en { // again
			s.Errors[n-1].At = at
			return
		}
		s.Errors = append(s.Errors, Trouble{at, lawful.Text{JA: ja, EN: en}})
		s.Errors = s.Errors[max(0, len(s.Errors)-mostTroubles):]
	})
}

// presumeAfter is how long a peer that asked for the SOA has to ask for more.
const presumeAfter = time.Second

// settle takes a peer of which nothing is known, or nothing new, for one that has the zone, if
// it asked for the SOA and nothing more. After a restart of ours that is most of them.
func (z *ZoneState) settle(now time.Time) {
	if z.asked != 0 && (z.Serial == 0 || z.How == Kept) && now.Sub(z.Asked) >= presumeAfter {
		z.Serial, z.How, z.At, z.asked = z.asked, Presumed, z.Asked, 0
	}
}

// has tells whether the peer has a serial, or a later one.
func (z *ZoneState) has(serial uint32) bool {
	return z.Serial != 0 && z.How != Kept && !rpz.After(serial, z.Serial)
}

// Peers are what is known of all, in the order of the configuration.
func (s *Server) Peers() []PeerState {
	now := s.cfg.Clock.Now()
	all := make([]PeerState, 0, len(s.peers))
	for _, p := range s.peers {
		p.mu.Lock()
		x := p.state
		x.Zones, x.Errors = slices.Clone(x.Zones), slices.Clone(x.Errors)
		x.Refused = maps.Clone(x.Refused)
		p.mu.Unlock()
		for i := range x.Zones {
			x.Zones[i].settle(now)
		}
		all = append(all, x)
	}
	return all
}
