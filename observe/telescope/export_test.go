package telescope

import (
	"math"
	"slices"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// KindOf, PortOf and SpoofHint let tests classify a decoded packet without a
// telescope, for oracles that count what the engine should have counted.
func KindOf(p *packet.Packet) observe.Kind { return kindOf(p) }

// PortOf is the port by which an event of this packet is keyed.
func PortOf(p *packet.Packet) uint16 { return portOf(p, kindOf(p)) }

// SpoofHint is spoofHint and forged as the engine calls them for a first packet.
func SpoofHint(p *packet.Packet) bool {
	k := kindOf(p)
	return spoofHint(p, k, mask(p, k, allRules, 0)&^irregular1 != 0) || forged(p.Src)
}

// Fits tells whether a packet of a time fits rule i of Rules, as the engine asks it.
func Fits(i int, p *packet.Packet, at int64) bool {
	return mask(p, kindOf(p), allRules, at)&(1<<i) != 0
}

// ServicePorts are the UDP ports whose answers are known, with the name and
// whether an answer is reflection.
func ServicePorts() map[uint16]string {
	m := map[uint16]string{}
	for port, s := range services {
		m[port] = s.name
	}
	return m
}

// Live is how many events the shards hold, and how many each may.
func (t *Telescope) Live() (live []int, most int) {
	t.each(func(*shard) {})
	for _, w := range t.workers {
		live = append(live, w.shard.entries.live())
	}
	return live, t.cfg.MaxEvents / len(t.workers)
}

// State is a Snapshot that may be kept.
func (t *Telescope) State() []byte { return slices.Clone(t.Snapshot()) }

// SetBytes is what the sets of targets take.
func (t *Telescope) SetBytes() (n int) {
	t.each(func(*shard) {})
	for _, w := range t.workers {
		n += w.shard.blocks.bytes
	}
	return n
}

// Dark tells whether an address is dark at a time (Unix nanoseconds).
func (t *Telescope) Dark(a packet.Addr, at int64) bool { return t.dark.at(at).contains(a) }

// AllOpen is every open event, however small, and the shadows of victims.
func (t *Telescope) AllOpen() []observe.Event {
	var v []observe.Event
	t.each(func(*shard) {})
	for _, w := range t.workers {
		s := w.shard
		for i := range s.entries.n {
			if e := s.entries.at(i); e.marks&markFree == 0 && e.total > 0 {
				v = append(v, s.report(i, true))
			}
		}
	}
	sortEvents(v)
	return v
}

// MaxTime is the latest time that a frame may bear, Unix nanoseconds.
const MaxTime = math.MaxInt64 - 60e9

// Pieces makes a minute of more than n packets a large one.
func (c *Config) Pieces(n int) { c.piece = n }

// Rejoined is the state as it is written when a part is larger than its room,
// and by how many bytes the parts are smaller than theirs.
func Rejoined(state []byte) (joint []byte, spare int) {
	r := reader{rest: state[len(stateMagic):]}
	var parts []writer
	for len(r.rest) > 0 {
		before := len(r.rest)
		r.b = nil
		r.part()
		spare += before - partHead - len(r.b) - len(r.rest)
		parts = append(parts, writer{r.b})
	}
	return joined(parts), spare
}
