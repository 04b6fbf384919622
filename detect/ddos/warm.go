package ddos

import (
	"math/bits"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// ring is how many seconds a warm object has in hand: a flow that is exported after an
// active time-out of a minute still finds the seconds that it passed in.
const ring = 128

const second = int64(time.Second)

// cell is one second.
type cell struct {
	p, b, f float32 // packets, bytes, new flows
	v, vb   float32 // variance of packets and bytes by sampling
	d       float32 // packets of these that routers say they dropped
}

// slope is what changes from one second to the next while long flows last: a flow of a
// minute is spread over its seconds by four additions instead of sixty.
type slope struct{ p, b, v, vb float32 }

// mix is traffic by its classes: packets, bytes, new flows, and packets the other way.
type mix struct {
	p, b, f, k [classes]float32
}

// usualSpan is the memory of what is usual, in seconds, so that a flood that grows for
// minutes still stands out; recent traffic halves each
// second.
const usualSpan = 600

// past is one flow of what is usual for an object.
type past struct {
	src, dst         packet.Addr
	second           uint32
	packets          float32 // for so many it stands
	length           uint16
	srcPort, dstPort uint16
	proto            uint8
	flags            packet.TCPFlags
	marks            observe.FlowMarks
	used             bool
}

// pasts is how many of them an object has: when none of 128 matches a filter, less
// than 2.3 % of what is usual does (95 %).
const pasts = 128

// warm is an object that may matter: its last seconds, its traffic by class, its
// sources, and a sample of what is usual for it.
type warm struct {
	addr packet.Addr
	role role
	rule uint16
	ours int32 // index in customers or links
	net  int32 // the next wider prefix

	touched bool
	sloped  bool   // the slopes hold something
	lo, hi  uint32 // seconds touched since the last tick
	head    uint32 // the newest second in the ring
	born    uint32
	told    uint32 // when the mixes were brought up to date
	heard   uint32 // when something came last
	over    uint32 // the last second that was over a line
	known   uint16 // for how many seconds the usual has been learned
	attack  int32  // index of its open attack, or 0
	base    int32  // index of its baseline, or 0
	rate    uint32 // the highest sampling rate of late

	cells  [ring]cell
	slopes [ring]slope

	fresh, recent, usual mix

	sources [2]seen // this generation and the one before
	spent   uint32  // when the generation began
	top     [4]busy // the busiest sources of late

	lumps   float32    // packets of late in flows that are told after many seconds
	long    [2]float32 // packets in and out of the last minutes
	high    uint32     // since when it has been above its line
	suspect uint32     // since when a few long flows look unanswered

	every float32 // packets for which one past stands
	until float32 // so many until the next
	next  uint8
	pasts [pasts]past
}

// seen says roughly how many are different: linear counting in 256 bits, good up to
// some thousand.
type seen struct {
	src, dst [4]uint64
	ports    [4]uint64
}

// lump is how many seconds a flow must last for its other half to be told at another
// time, and patience for how many seconds that is waited for where a few of them are all.
const (
	lump     = 3
	patience = 15
)

// generation is how many seconds of arrival a seen lasts.
const generation = 8

// busy is a source and a floor of its packets (Misra and Gries 1982).
type busy struct {
	id uint32
	n  float32
}

// advance brings the ring's head forward.
func (w *warm) advance(to uint32) {
	if to <= w.head {
		return
	}
	for s := max(w.head+1, to-min(to, ring-1)); s <= to; s++ {
		w.cells[s%ring], w.slopes[s%ring] = cell{}, slope{}
	}
	w.head = to
}

// portion is a flow's part of one of its seconds, made once for all its objects.
type portion struct {
	from, to    uint32  // its first and last second
	p, b, v, vb float32 // in all
	first, mid  float32 // shares of the first second and of each between
	last        float32
	flows       float32
	dropped     bool
	dst, port   uint32 // hashes of the destination and its port
}

// spread adds a flow to the seconds that it passed in.
func (w *warm) spread(f *portion) {
	if w.head < f.to {
		w.advance(f.to)
	}
	from := f.from
	if w.lo > from {
		w.lo = from
	}
	if w.hi < f.to {
		w.hi = f.to
	}
	c := &w.cells[from%ring]
	c.f += f.flows
	if f.from == f.to {
		c.p += f.p
		c.b += f.b
		c.v += f.v
		c.vb += f.vb
		if f.dropped {
			c.d += f.p
		}
		return
	}
	c.add(f, f.first)
	w.cells[f.to%ring].add(f, f.last)
	if f.dropped { // rare: second by second
		c.d += f.p * f.first
		w.cells[f.to%ring].d += f.p * f.last
		for s := from + 1; s < f.to; s++ {
			w.cells[s%ring].d += f.p * f.mid
		}
	}
	if f.to-f.from == 1 {
		return
	}
	w.sloped = true
	up, down := &w.slopes[(from+1)%ring], &w.slopes[f.to%ring]
	p, b, v, vb := f.p*f.mid, f.b*f.mid, f.v*f.mid, f.vb*f.mid
	up.p += p
	up.b += b
	up.v += v
	up.vb += vb
	down.p -= p
	down.b -= b
	down.v -= v
	down.vb -= vb
}

func (c *cell) add(f *portion, share float32) {
	c.p += f.p * share
	c.b += f.b * share
	c.v += f.v * share
	c.vb += f.vb * share
}

// settle turns the slopes into seconds.
func (w *warm) settle() {
	if !w.sloped {
		return
	}
	w.sloped = false
	var p, b, v, vb float64
	for s := w.head - min(w.head, ring-1); s <= w.head; s++ {
		d, c := &w.slopes[s%ring], &w.cells[s%ring]
		p += float64(d.p)
		b += float64(d.b)
		v += float64(d.v)
		vb += float64(d.vb)
		if p > 1e-3 { // what is left of rounding isn't traffic
			c.p += float32(p)
			c.b += float32(max(b, 0))
			c.v += float32(max(v, 0))
			c.vb += float32(max(vb, 0))
		}
		*d = slope{}
	}
}

// count adds a flow to what is known of the object besides its seconds.
func (w *warm) count(f *observe.Flow, c class, x *portion, src uint32) {
	w.fresh.p[c] += x.p
	w.fresh.b[c] += x.b
	w.fresh.f[c] += x.flows
	s := &w.sources[0]
	s.src[src>>6&3] |= 1 << (src & 63)
	s.dst[x.dst>>6&3] |= 1 << (x.dst & 63)
	s.ports[x.port>>6&3] |= 1 << (x.port & 63)
	w.rate = max(w.rate, f.Rate)
	if w.role <= foreign {
		w.weigh(src, x.p)
	}
	if w.every > 0 {
		w.remember(f, x)
	}
}

// weigh counts a source among the busiest.
func (w *warm) weigh(id uint32, n float32) {
	least := 0
	for i := range w.top {
		t := &w.top[i]
		if t.id == id {
			t.n += n
			return
		}
		if t.n < w.top[least].n {
			least = i
		}
	}
	t := &w.top[least]
	if by := min(t.n, n); by > 0 {
		for i := range w.top {
			w.top[i].n -= by
		}
		n -= by
	}
	if n > 0 {
		*t = busy{id, n}
	}
}

// remember takes one of so many packets into the sample of what is usual.
func (w *warm) remember(f *observe.Flow, x *portion) {
	w.until -= x.p
	for n := 0; w.until <= 0; n++ {
		if n == pasts/8 { // one record may not fill it all
			w.until = w.every
			return
		}
		w.until += w.every
		w.pasts[w.next%pasts] = past{
			src: f.Src, dst: f.Dst, second: x.to, packets: w.every, length: meanLength(f), srcPort: f.SrcPort, dstPort: f.DstPort,
			proto: f.Proto, flags: f.TCPFlags, marks: f.Marks, used: true,
		}
		w.next++
	}
}

// meanLength is the mean of the bytes of a flow's packets.
func meanLength(f *observe.Flow) uint16 {
	return uint16(min(f.Bytes/max(f.Packets, 1), 65535))
}

// mixed spreads an address over 32 bits.
func mixed(a packet.Addr) uint32 {
	x := (a.Lo ^ bits.RotateLeft64(a.Hi, 32)) * 0x9e3779b97f4a7c15
	return uint32((x ^ x>>29) * 0xd6e8feb86659fd93 >> 32)
}
