package telescope

import "sakimori/base/wire/packet"

// fragments remembers the datagrams of which a fragment has been counted, so
// that a datagram counts once. It holds the last 4,096 in a table without
// chains: 64 KiB. A datagram whose place another one took in between would be
// counted twice; at a thousand fragmented datagrams within the time that one
// needs to arrive, that is one in five.
type fragments struct{ slots []datagram }

type datagram struct {
	key  uint64
	seen int64 // Unix nanoseconds
}

const fragmentSlots = 4096

// repeated tells whether another fragment of p's datagram was seen within the
// 30 seconds for which fragments may be waited for (RFC 8200 says 60, systems 30).
func (f *fragments) repeated(p *packet.Packet, t int64) bool {
	if f.slots == nil {
		f.slots = make([]datagram, fragmentSlots)
	}
	key := (mix(p.Src)*0x9e3779b97f4a7c15 ^ mix(p.Dst)) + uint64(p.ID)*0xd6e8feb86659fd93 + uint64(p.Proto)
	d := &f.slots[key>>52]
	if d.key == key && t-d.seen < 30e9 && t-d.seen > -30e9 {
		d.seen = t
		return true
	}
	*d = datagram{key, t}
	return false
}
