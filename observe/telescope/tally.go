package telescope

import (
	"slices"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// tally is what a telescope has seen since it was made: the totals of one
// import, exact where the minutes' counts would be sketched.
type tally struct {
	Totals
	sources   sketch.Set             // of packets to dark space
	hits      []uint64               // bitmap of the dark IPv4 addresses hit, up to a /8 of them
	hits4     sketch.Set             // the same of a larger space
	hits6     sketch.Set             // the IPv6 ones
	Answering map[packet.Addr]uint64 // dark addresses that sent something, and how often
	ports     *portTallies           // nil when nobody asked for them
	scans     []scan                 // that have ended, of this shard's sources; as the ports only when asked for
}

// Totals are the plain sums of a tally.
type Totals struct {
	Frames      uint64 // everything read
	NotIP       uint64 // ARP and the like: fine, but nothing for a telescope
	Malformed   uint64 // headers that contradict themselves, or cut off below IP
	Unknown     uint64 // of a link type that isn't read
	DarkPackets uint64 // datagrams to dark space, fragments once
	Fragments   uint64 // further fragments of these
	FromDark    uint64 // sent from dark space: takes part in no verdict
	Classes     [observe.Classes]uint64
	Evicted     uint64 // events ended early for want of memory
	Late        uint64 // packets counted in a later minute than their own
}

// portTally is what is kept of a port beside its packets.
type portTally struct{ sources sketch.Set }

// maxAnswering bounds the list of dark addresses that answer. A telescope that
// reaches it isn't dark.
const maxAnswering = 65536

func (t *tally) undecoded(st packet.Status) {
	switch st {
	case packet.NotIP:
		t.NotIP++
	case packet.UnknownLink:
		t.Unknown++
	default:
		t.Malformed++
	}
}

func (t *tally) hit(dst packet.Addr, number uint32) {
	switch {
	case !dst.Is4():
	case t.hits == nil:
		t.hits4.Add(sketch.Exact, number)
		return
	default:
		t.hits[number>>6] |= 1 << (number & 63)
		return
	}
	t.hits6.Add(sketch.Exact, number)
}

// tallied notes who an event is of: once for each tally.
func (s *shard) tallied(e *entry) {
	id := identity(e.src)
	if src := s.sources.at(e.source); src.marks&markCounted == 0 {
		src.marks |= markCounted
		s.tally.sources.Add(sketch.Exact, id)
	}
	if s.tally.ports != nil && observe.Kind(e.kind).Class() == observe.Scan {
		s.tally.portOf(portKey(e.proto, e.port)).sources.Add(sketch.Exact, id)
	}
}

func (t *tally) portOf(key uint32) *portTally {
	at := t.ports.at(key)
	if *at == nil {
		*at = &portTally{}
	}
	return *at
}

// portTallies are found by index for TCP and UDP, as they are asked for with
// every packet and event.
type portTallies struct {
	packets  [2][1 << 16]uint64 // of TCP and UDP
	tcp, udp [1 << 16]*portTally
	rest     map[uint32]*restTally
}

type restTally struct {
	packets uint64
	*portTally
}

// count is where the packets of a port are counted.
func (p *portTallies) count(key uint32) *uint64 {
	switch key >> 16 {
	case packet.TCP:
		return &p.packets[0][key&0xffff]
	case packet.UDP:
		return &p.packets[1][key&0xffff]
	}
	return &p.other(key).packets
}

func (p *portTallies) other(key uint32) *restTally {
	r := p.rest[key]
	if r == nil {
		r = &restTally{}
		p.rest[key] = r
	}
	return r
}

func (p *portTallies) at(key uint32) **portTally {
	switch key >> 16 {
	case packet.TCP:
		return &p.tcp[key&0xffff]
	case packet.UDP:
		return &p.udp[key&0xffff]
	}
	return &p.other(key).portTally
}

// keys are those of the ports that were seen, in order.
func (p *portTallies) keys() []uint32 {
	var keys []uint32
	if p == nil {
		return nil
	}
	for i := range p.tcp {
		if p.tcp[i] != nil || p.packets[0][i] > 0 {
			keys = append(keys, portKey(packet.TCP, uint16(i)))
		}
		if p.udp[i] != nil || p.packets[1][i] > 0 {
			keys = append(keys, portKey(packet.UDP, uint16(i)))
		}
	}
	for k := range p.rest {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (t *tally) mergeHits(o *tally) {
	t.hits4.Merge(sketch.Exact, &o.hits4)
	for i, w := range o.hits {
		t.hits[i] |= w
	}
}

// merge adds the tally of another shard of the same telescope.
func (t *tally) merge(o *tally) {
	t.Frames += o.Frames
	t.NotIP += o.NotIP
	t.Malformed += o.Malformed
	t.Unknown += o.Unknown
	t.DarkPackets += o.DarkPackets
	t.Fragments += o.Fragments
	t.FromDark += o.FromDark
	t.Evicted += o.Evicted
	t.Late += o.Late
	for i := range t.Classes {
		t.Classes[i] += o.Classes[i]
	}
	t.sources.Merge(sketch.Exact, &o.sources)
	t.hits6.Merge(sketch.Exact, &o.hits6)
	t.mergeHits(o)
	for a, n := range o.Answering { // every shard has the same list
		t.Answering[a] = max(t.Answering[a], n)
	}
	for _, key := range o.ports.keys() {
		*t.ports.count(key) += *o.ports.count(key)
		t.portOf(key).sources.Merge(sketch.Exact, &o.portOf(key).sources)
	}
}

// bitmapMost is the largest space whose hits are kept as a bitmap: a /8 in 2 MiB.
const bitmapMost = 1 << 24

func newTally(v4 uint64, ports bool) tally {
	t := tally{Answering: map[packet.Addr]uint64{}}
	if v4 <= bitmapMost {
		t.hits = make([]uint64, (v4+63)/64)
	}
	if ports {
		t.ports = &portTallies{rest: map[uint32]*restTally{}}
	}
	return t
}

// hitV4 is how many dark IPv4 addresses were hit.
func (t *tally) hitV4() uint64 {
	if t.hits == nil {
		return t.hits4.Count()
	}
	return ones(t.hits)
}
