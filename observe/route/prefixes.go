package route

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/gaissmai/bart"

	"sakimori/base/pages"
)

// key is a prefix: its address from the left, an IPv4 one in the upper half of hi.
type key struct {
	hi, lo uint64
	meta   uint16 // bits, and metaV6
}

const (
	metaBits = 0xff
	metaV6   = 1 << 8
)

func keyOf(p netip.Prefix) key {
	a := p.Addr()
	if a.Is4() {
		b := a.As4()
		return key{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32, meta: uint16(p.Bits())} //nolint:gosec // at most 32
	}
	b := a.As16()
	return key{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]), meta: uint16(p.Bits()) | metaV6} //nolint:gosec // at most 128
}

func (k *key) netip() netip.Prefix {
	if k.meta&metaV6 == 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(k.hi>>32))
		return netip.PrefixFrom(netip.AddrFrom4(b), int(k.meta&metaBits))
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), int(k.meta&metaBits))
}

// entry is a prefix with its routes: one line of the processor's memory. Up to three
// routes stand in it, more in a piece of the pool.
type entry struct {
	hi, lo uint64
	pool   uint32 // where the piece begins
	meta   uint16 // as of key; from metaClass on the class of the piece, 0 none
	n      uint16 // routes
	gone   uint16 // when a peer last withdrew it, and which one
	left   uint16
	few    [3]route
}

const (
	metaClass = 9
	metaKey   = 1<<metaClass - 1
)

func (e *entry) key() key    { return key{e.hi, e.lo, e.meta & metaKey} }
func (e *entry) class() int  { return int(e.meta >> metaClass) }
func (e *entry) family() int { return int(e.meta >> 8 & 1) }

// route is what one peer says of a prefix.
type route struct {
	peer uint16
	when uint16 // of its last change, see moment; the highest bit is the peer's session, see peer.turn
	path uint32
	id   uint32
}

// prefixes numbers prefixes from 1, in the order in which they were first announced.
type prefixes struct {
	slots   *pages.Span[uint64] // hash << 32 | number; 0 free. Open addressing, at most half full
	entries *pages.Span[entry]
	n       int                // numbers that were given
	live    int                // prefixes that somebody announces
	tree    bart.Table[uint32] // all that have a number, to find what is around and inside
	seed    [2]uint64
	pool    pool
}

func newPrefixes(c *Config, seed [2]uint64) *prefixes {
	return &prefixes{
		slots: pages.Reserve[uint64](1 << 12), entries: pages.Reserve[entry](c.MaxPrefixes + 1), seed: seed,
		pool: pool{span: pages.Reserve[route](2*c.MaxRoutes + 1<<10), end: 1},
	}
}

func (p *prefixes) hash(k *key) uint32 {
	hi, lo := bits.Mul64(k.hi^p.seed[0], k.lo^p.seed[1]^uint64(k.meta)<<40)
	hi, lo = bits.Mul64(hi^lo^k.hi^uint64(k.meta), 0x9e3779b97f4a7c15)
	x := hi ^ lo
	return uint32(x ^ x>>32) //nolint:gosec // folded
}

// slot is where the search for a hash begins.
func (p *prefixes) slot(hash uint32) *uint64 {
	return &p.slots.All[hash&uint32(len(p.slots.All)-1)] //nolint:gosec // a power of two below 2³²
}

// seems is the number of the first prefix with a hash: mostly the one that is looked for.
func (p *prefixes) seems(hash uint32) uint32 { return seems(p.slots.All, hash) }

func seems(slots []uint64, hash uint32) uint32 {
	mask := uint32(len(slots) - 1) //nolint:gosec // a power of two below 2³²
	for i := hash & mask; slots[i] != 0; i = (i + 1) & mask {
		if uint32(slots[i]>>32) == hash {
			return uint32(slots[i]) //nolint:gosec // the lower half is the number
		}
	}
	return 0
}

// is tells whether the entry is of a prefix.
func (e *entry) is(k *key) bool { return e.hi == k.hi && e.lo == k.lo && e.meta&metaKey == k.meta }

// find gives the number of a prefix, 0 where it has none.
func (p *prefixes) find(k *key, hash uint32) uint32 {
	mask := uint32(len(p.slots.All) - 1) //nolint:gosec // as above
	for i := hash & mask; p.slots.All[i] != 0; i = (i + 1) & mask {
		s := p.slots.All[i]
		if uint32(s>>32) != hash {
			continue
		}
		n := uint32(s) //nolint:gosec // the lower half
		if p.entries.All[n].is(k) {
			return n
		}
	}
	return 0
}

// add gives a new number; 0 when there is no room.
func (p *prefixes) add(k *key, hash uint32) uint32 {
	if p.n+1 >= len(p.entries.All) {
		return 0
	}
	p.n++
	n := uint32(p.n) //nolint:gosec // at most 2²⁸
	p.entries.All[n] = entry{hi: k.hi, lo: k.lo, meta: k.meta}
	p.tree.Insert(k.netip(), n)
	p.put(uint64(hash)<<32 | uint64(n))
	if 2*p.n > len(p.slots.All) {
		old := p.slots
		p.slots = pages.Reserve[uint64](2 * len(old.All))
		for _, s := range old.All {
			if s != 0 {
				p.put(s)
			}
		}
	}
	return n
}

func (p *prefixes) put(s uint64) {
	mask := uint32(len(p.slots.All) - 1) //nolint:gosec // as above
	i := uint32(s>>32) & mask
	for p.slots.All[i] != 0 {
		i = (i + 1) & mask
	}
	p.slots.All[i] = s
}

// routes are those of a prefix, in the order of peers and ADD-PATH identifiers.
func (p *prefixes) routes(e *entry) []route {
	if e.class() == 0 {
		return e.few[:e.n:e.n]
	}
	return p.pool.span.All[e.pool : e.pool+uint32(e.n)]
}

// place is where the route of a peer stands among routes, or would.
func place(list []route, peer uint16, id uint32) (i int, there bool) {
	lo, hi := 0, len(list)
	for hi-lo > 8 {
		m := int(uint(lo+hi) >> 1)
		if r := &list[m]; r.peer < peer || r.peer == peer && r.id < id {
			lo = m + 1
		} else {
			hi = m
		}
	}
	for ; lo < hi; lo++ {
		if r := &list[lo]; r.peer > peer || r.peer == peer && r.id >= id {
			return lo, r.peer == peer && r.id == id
		}
	}
	if lo < len(list) { // the first beyond what was searched
		r := &list[lo]
		return lo, r.peer == peer && r.id == id
	}
	return lo, false
}

// insert puts a route at its place, false when there is no room.
func (p *prefixes) insert(e *entry, at int, r route) bool {
	if e.n == 1<<16-1 {
		return false
	}
	n := int(e.n)
	if n == p.room(e) && !p.move(e, e.class()+1) {
		return false
	}
	e.n++
	list := p.routes(e)
	copy(list[at+1:], list[at:n])
	list[at] = r
	if n == 0 {
		p.live++
	}
	return true
}

// remove takes a route away.
func (p *prefixes) remove(e *entry, at int) {
	list := p.routes(e)
	copy(list[at:], list[at+1:])
	list[len(list)-1] = route{}
	e.n--
	if e.n == 0 {
		p.live--
	}
	if c := e.class(); c > 0 && int(e.n) <= p.room(e)/4 { // not at half: nobody should go to and fro
		p.move(e, max(c-1, 0))
	}
}

// room is how many routes fit where they are.
func (p *prefixes) room(e *entry) int {
	if c := e.class(); c > 0 {
		return pieceOf(c)
	}
	return len(e.few)
}

// move puts the routes of a prefix into a piece of another class, 0 into the entry itself.
func (p *prefixes) move(e *entry, class int) bool {
	list, was, at := p.routes(e), e.class(), e.pool
	if class == 0 {
		copy(e.few[:], list)
		e.pool, e.meta = 0, e.meta&metaKey
	} else {
		to, ok := p.pool.take(class)
		if !ok {
			return false
		}
		copy(p.pool.span.All[to:], list)
		e.pool, e.meta = to, e.meta&metaKey|uint16(class)<<metaClass //nolint:gosec // at most 15
		clear(e.few[:])
	}
	if was > 0 {
		p.pool.give(at, was)
	}
	return true
}

// pool is the memory of routes beyond three: pieces of 6, 12, 24 … 98,304.
type pool struct {
	span *pages.Span[route]
	end  uint32
	free [16][]uint32
}

func pieceOf(class int) int { return 3 << class }

func (p *pool) take(class int) (uint32, bool) {
	if class >= len(p.free) {
		return 0, false
	}
	if f := p.free[class]; len(f) > 0 {
		p.free[class] = f[:len(f)-1]
		return f[len(f)-1], true
	}
	at, n := p.end, uint32(pieceOf(class)) //nolint:gosec // at most 98,304
	if int(at+n) > len(p.span.All) {
		return 0, false
	}
	p.end += n
	return at, true
}

func (p *pool) give(at uint32, class int) {
	clear(p.span.All[at : int(at)+pieceOf(class)])
	p.free[class] = append(p.free[class], at)
}
