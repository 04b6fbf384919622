package route

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"unsafe"

	"sakimori/base/pages"
	"sakimori/base/wire/bgp"
	"sakimori/observe"
)

// A path is kept as words: a head, AS numbers, communities, large communities, and where
// sets or confederations stand in it all segments. Equal words are equal paths; what a
// RoutePath refers to are parts of them.
const (
	wordFlags = iota
	wordASes  // their number, communities' << 16
	wordLarge // their number, words of segments' << 16
	wordOrigin
	wordOTC
	wordLocalPref
	wordMED
	wordAggregator
	wordHop  // and the three behind it
	wordHead = wordHop + 4
)

// Flags of a path; the code of ORIGIN is in the lowest two bits.
const (
	flagAtomic = 4 << iota
	flagSet
	flagConfed
	flagOTC
	flagMED
	flagLocalPref
	flagAggregator
	flagHop4
	flagHop6
)

// wordsOf appends the words of a path as the peer told it. FRR puts the router's own AS
// before it when it tells of it by BMP: that is taken off.
func wordsOf(w []uint32, u *bgp.Update, hop netip.Addr, p *bgp.Path, from *peer) []uint32 {
	u.Path(p)
	if len(p.ASes) > 1 && from.own != 0 && p.ASes[0] == from.own && p.ASes[1] == from.AS && from.AS != from.own {
		p.ASes = p.ASes[1:]
	}
	start := len(w)
	w = append(w, make([]uint32, wordHead)...)
	h := w[start:]
	flags := uint32(u.Origin & 3)
	set := func(is bool, flag uint32) {
		if is {
			flags |= flag
		}
	}
	set(u.Atomic, flagAtomic)
	set(p.Set, flagSet)
	set(p.Confed, flagConfed)
	set(u.Has.Has(bgp.AttrOnlyToCustomers), flagOTC)
	set(u.Has.Has(bgp.AttrMED), flagMED)
	set(u.Has.Has(bgp.AttrLocalPref), flagLocalPref)
	set(u.Has.Has(bgp.AttrAggregator), flagAggregator)
	switch {
	case hop.Is4():
		b := hop.As4()
		h[wordHop] = binary.BigEndian.Uint32(b[:])
		flags |= flagHop4
	case hop.Is6():
		b := hop.As16()
		for i := range 4 {
			h[wordHop+i] = binary.BigEndian.Uint32(b[4*i:])
		}
		flags |= flagHop6
	}
	// A message has no more than 65,535 bytes: each number fits.
	communities, large := len(u.Communities)/4, len(u.Large)/12
	h[wordFlags] = flags
	h[wordASes] = uint32(len(p.ASes)) | uint32(communities)<<16 //nolint:gosec // see above
	h[wordLarge] = uint32(large)                                //nolint:gosec // see above
	h[wordOrigin] = p.Origin
	h[wordOTC], h[wordLocalPref], h[wordMED], h[wordAggregator] = u.OTC, u.LocalPref, u.MED, u.Aggregator
	w = append(w, p.ASes...)
	for b := u.Communities; len(b) >= 4; b = b[4:] {
		w = append(w, binary.BigEndian.Uint32(b))
	}
	for b := u.Large[:12*large]; len(b) >= 4; b = b[4:] {
		w = append(w, binary.BigEndian.Uint32(b))
	}
	if p.Set || p.Confed {
		n := len(w)
		for _, s := range p.Segments {
			w = append(append(w, uint32(s.Kind)), p.Of(s)...)
		}
		w[start+wordLarge] |= uint32(len(w)-n) << 16 //nolint:gosec // see above
	}
	return w
}

// pathNote is what is known of a path besides.
type pathNote struct {
	uses  uint32
	at    uint32 // of its words
	words uint32
	hash  uint32
}

// paths interns paths. Numbers count from 1; one that nobody uses any more is free after
// the batch.
type paths struct {
	slots  *pages.Span[uint64] // hash << 32 | number; 0 free. Open addressing, at most half full
	used   int
	notes  *pages.Span[pathNote]
	shown  [][]observe.RoutePath // by number, pathChunk each
	next   uint32                // the first number that was never given
	free   []uint32
	idle   []uint32 // whose uses went to 0 in this batch, some perhaps twice
	most   int
	memory words
	seed   [2]uint64
}

const pathChunk = 1024

func newPaths(most int, seed [2]uint64) *paths {
	return &paths{
		slots: pages.Reserve[uint64](1 << 12), notes: pages.Reserve[pathNote](most + 1), next: 1, most: most, seed: seed,
		memory: newWords(most),
	}
}

// hash is of words; the seed keeps others from aiming at it.
func (p *paths) hash(w []uint32) uint32 {
	x := p.seed[0] ^ uint64(len(w))
	for len(w) >= 4 {
		hi, lo := bits.Mul64(uint64(w[0])<<32|uint64(w[1])^x, uint64(w[2])<<32|uint64(w[3])^p.seed[1])
		x = hi ^ lo ^ bits.RotateLeft64(x, 29)
		w = w[4:]
	}
	for _, v := range w {
		hi, lo := bits.Mul64(uint64(v)^x, p.seed[1]|1)
		x = hi ^ lo ^ bits.RotateLeft64(x, 29)
	}
	hi, lo := bits.Mul64(x, 0x9e3779b97f4a7c15)
	x = hi ^ lo
	return uint32(x ^ x>>32) //nolint:gosec // folded
}

// slot is where the search for a hash begins.
func (p *paths) slot(hash uint32) *uint64 {
	return &p.slots.All[hash&uint32(len(p.slots.All)-1)] //nolint:gosec // a power of two below 2³²
}

// seems is the number of the first path with a hash: mostly the one that is looked for.
func (p *paths) seems(hash uint32) uint32 { return seems(p.slots.All, hash) }

// is tells whether a number is of these words.
func (p *paths) is(n uint32, w []uint32) bool {
	e := &p.notes.All[n]
	return int(e.words) == len(w) && same(p.memory.of(e), w)
}

// intern gives the number of a path; 0 when there is no room.
func (p *paths) intern(w []uint32, hash uint32) uint32 {
	mask := uint32(len(p.slots.All) - 1) //nolint:gosec // as above
	i := hash & mask
	for ; p.slots.All[i] != 0; i = (i + 1) & mask {
		s := p.slots.All[i]
		if uint32(s>>32) != hash {
			continue
		}
		n := uint32(s) //nolint:gosec // the lower half
		if p.is(n, w) {
			return n
		}
	}
	n := p.next
	if len(p.free) > 0 {
		n = p.free[len(p.free)-1]
	} else if int(n) > p.most {
		return 0
	}
	at, ok := p.memory.take(len(w))
	if !ok {
		return 0
	}
	if n == p.next {
		p.next++
	} else {
		p.free = p.free[:len(p.free)-1]
	}
	p.notes.All[n] = pathNote{at: at, words: uint32(len(w)), hash: hash} //nolint:gosec // of one message
	copy(p.memory.of(&p.notes.All[n]), w)
	p.show(n)
	p.slots.All[i] = uint64(hash)<<32 | uint64(n)
	p.used++
	if 2*p.used > len(p.slots.All) {
		p.grow()
	}
	p.idle = append(p.idle, n) // until a route uses it
	return n
}

func same(a, b []uint32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (p *paths) grow() {
	old := p.slots
	p.slots = pages.Reserve[uint64](2 * len(old.All))
	mask := uint32(len(p.slots.All) - 1) //nolint:gosec // as above
	for _, s := range old.All {
		if s == 0 {
			continue
		}
		i := uint32(s>>32) & mask
		for p.slots.All[i] != 0 {
			i = (i + 1) & mask
		}
		p.slots.All[i] = s
	}
}

// show fills in what others see of a path.
func (p *paths) show(n uint32) {
	for int(n)/pathChunk >= len(p.shown) {
		p.shown = append(p.shown, make([]observe.RoutePath, pathChunk))
	}
	w := p.memory.of(&p.notes.All[n])
	flags := w[wordFlags]
	r := &p.shown[n/pathChunk][n%pathChunk]
	ases, communities, large := int(w[wordASes]&0xffff), int(w[wordASes]>>16), int(w[wordLarge]&0xffff)
	*r = observe.RoutePath{
		ID: n, Origin: w[wordOrigin], Set: flags&flagSet != 0, Confed: flags&flagConfed != 0, OTC: w[wordOTC], HasOTC: flags&flagOTC != 0,
		LocalPref: w[wordLocalPref], MED: w[wordMED], OriginCode: uint8(flags & 3), Atomic: flags&flagAtomic != 0, Aggregator: w[wordAggregator],
	}
	switch {
	case flags&flagHop4 != 0:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], w[wordHop])
		r.NextHop = netip.AddrFrom4(b)
	case flags&flagHop6 != 0:
		var b [16]byte
		for i := range 4 {
			binary.BigEndian.PutUint32(b[4*i:], w[wordHop+i])
		}
		r.NextHop = netip.AddrFrom16(b)
	}
	w = w[wordHead:]
	r.ASes, w = w[:ases:ases], w[ases:]
	r.Communities, w = w[:communities:communities], w[communities:]
	if large > 0 {
		r.Large = unsafe.Slice((*[3]uint32)(w), large) //nolint:gosec // as many words stand there
	}
}

func (p *paths) use(n uint32) { p.notes.All[n].uses++ }

func (p *paths) drop(n uint32) {
	e := &p.notes.All[n]
	if e.uses--; e.uses == 0 {
		p.idle = append(p.idle, n)
	}
}

// sweep frees what nobody uses; the batch is over.
func (p *paths) sweep() {
	for _, n := range p.idle {
		e := &p.notes.All[n]
		if e.uses > 0 || e.words == 0 {
			continue
		}
		p.forget(e.hash, n)
		p.memory.give(e.at, int(e.words))
		*e = pathNote{}
		p.shown[n/pathChunk][n%pathChunk] = observe.RoutePath{}
		p.free = append(p.free, n)
	}
	p.idle = p.idle[:0]
}

// forget takes a path out of the index; those behind it move up.
func (p *paths) forget(hash, n uint32) {
	all, mask := p.slots.All, uint32(len(p.slots.All)-1) //nolint:gosec // as above
	i := hash & mask
	for uint32(all[i]) != n { //nolint:gosec // the lower half
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; all[j] != 0; j = (j + 1) & mask {
		home := uint32(all[j]>>32) & mask
		if (j-home)&mask >= (j-i)&mask {
			all[i] = all[j]
			i = j
		}
	}
	all[i] = 0
	p.used--
}

// words is the memory of paths: pieces of a few sizes, which are used again.
type words struct {
	span *pages.Span[uint32]
	end  int // what was never used begins here
	free [64][]uint32
}

// newWords has room for so many paths of 64 words; most have some 25.
func newWords(paths int) words { return words{span: pages.Reserve[uint32](64*paths + 1<<16)} }

// sizeOf is the size of a piece for n words, and its class: multiples of four up to 128,
// then each half as large again or twice as large.
func sizeOf(n int) (size, class int) {
	if n <= 128 {
		class = (n + 3) / 4
		return 4 * class, class
	}
	size, class = 192, 33
	for size < n {
		if class&1 == 1 {
			size = size / 3 * 4
		} else {
			size = size / 2 * 3
		}
		class++
	}
	return size, class
}

func (m *words) of(e *pathNote) []uint32 { return m.span.All[e.at : e.at+e.words : e.at+e.words] }

func (m *words) take(n int) (at uint32, ok bool) {
	size, class := sizeOf(n)
	if f := m.free[class]; len(f) > 0 {
		m.free[class] = f[:len(f)-1]
		return f[len(f)-1], true
	}
	if m.end+size > len(m.span.All) {
		return 0, false
	}
	m.end += size
	return uint32(m.end - size), true //nolint:gosec // 64 words for each of at most 2²⁵ paths
}

func (m *words) give(at uint32, n int) {
	_, class := sizeOf(n)
	m.free[class] = append(m.free[class], at)
}
