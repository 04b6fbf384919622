package telescope

import (
	"runtime"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
)

// slab holds elements in chunks, so that they never move, growing copies
// nothing, and an element is named by 32 bits.
type slab[T any] struct {
	chunks [][]T
	n      uint32 // indices handed out
}

const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
)

func (s *slab[T]) at(i uint32) *T { return &s.chunks[i>>chunkBits][i&(chunkSize-1)] }

// take hands out an element.
func (s *slab[T]) take() uint32 {
	if int(s.n>>chunkBits) == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, chunkSize))
	}
	s.n++
	return s.n - 1
}

// column holds the elements of a table of known size side by side, in memory of
// its own. An element is named by 32 bits.
type column[T any] struct {
	all  []T
	span *pages.Span[T]
	n    uint32 // indices handed out
	free []uint32
}

func newColumn[T any](most int) column[T] {
	s := pages.Reserve[T](most)
	return column[T]{all: s.All, span: s}
}

func (c *column[T]) at(i uint32) *T { return &c.all[i] }

// take hands out an element. It may hold what its last user left there.
func (c *column[T]) take() uint32 {
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		return i
	}
	if int(c.n) == len(c.all) { // only a restored table may be too small
		more := newColumn[T](2*len(c.all) + 1)
		copy(more.all, c.all)
		c.all, c.span = more.all, more.span
	}
	c.n++
	return c.n - 1
}

func (c *column[T]) give(i uint32) { c.free = append(c.free, i) }

func (c *column[T]) live() int { return int(c.n) - len(c.free) }

// index is an open-addressing table from hashes to slab indices. The upper half
// of the hash is kept beside the index: it gives the home slot and rejects
// nearly all strangers without touching the slab.
type index struct {
	slots []slot
	span  *pages.Span[slot] // their memory, once they are many
	n     int
}

type slot struct{ tag, ref uint32 } // ref is the slab index + 1, 0 empty

func newIndex() index { return index{slots: make([]slot, 64)} }

// place is where the search for a tag begins.
func (x *index) place(tag uint32) *slot {
	return &x.slots[tag&uint32(len(x.slots)-1)] //nolint:gosec // fewer than 2^32 slots
}

// ref is the slab index + 1 of the first element with this tag: most likely the
// one that is looked for. 0 means that there is none.
func (x *index) ref(tag uint32) uint32 {
	mask := uint32(len(x.slots) - 1) //nolint:gosec // as above
	for i := tag & mask; ; i = (i + 1) & mask {
		if s := x.slots[i]; s.ref == 0 || s.tag == tag {
			return s.ref
		}
	}
}

func (x *index) put(tag, i uint32) {
	if (x.n+1)*4 > len(x.slots)*3 {
		x.grow()
	}
	mask := uint32(len(x.slots) - 1) //nolint:gosec // fewer than 2^32 slots
	p := tag & mask
	for x.slots[p].ref != 0 {
		p = (p + 1) & mask
	}
	x.slots[p] = slot{tag, i + 1}
	x.n++
}

func (x *index) grow() {
	old, hold := x.slots, x.span
	if n := 2 * len(old); n < 1<<16 {
		x.slots = make([]slot, n)
	} else {
		x.span = pages.Reserve[slot](n)
		x.slots = x.span.All
		for i := 0; i < n; i += 512 { // to be read first would give it the page of zeros
			x.slots[i] = slot{}
		}
	}
	mask := uint32(len(x.slots) - 1) //nolint:gosec // as above
	for _, s := range old {
		if s.ref == 0 {
			continue
		}
		p := s.tag & mask
		for x.slots[p].ref != 0 {
			p = (p + 1) & mask
		}
		x.slots[p] = s
	}
	runtime.KeepAlive(hold)
}

// remove takes out the element with this tag and slab index, and closes the gap
// so that no tombstones gather.
func (x *index) remove(tag, i uint32) {
	mask := uint32(len(x.slots) - 1) //nolint:gosec // as above
	p := tag & mask
	for x.slots[p].ref != i+1 {
		if x.slots[p].ref == 0 {
			return
		}
		p = (p + 1) & mask
	}
	x.n--
	for q := p; ; {
		q = (q + 1) & mask
		s := x.slots[q]
		if s.ref == 0 {
			break
		}
		// s may move to p only if its home isn't between p and q.
		if home := s.tag & mask; (q-home)&mask >= (q-p)&mask {
			x.slots[p] = s
			p = q
		}
	}
	x.slots[p] = slot{}
}

// source is what is known of one sending address as long as it has events: 64
// bytes, a line of the cache.
type source struct {
	addr   packet.Addr
	asn    uint32
	place  uint32   // country and AS, as records have them
	events uint32   // entries that refer to it
	window uint32   // minute in which its present window of new ports began
	minute uint32   // the newest minute with a packet of it, and one; 0 none
	hour   uint32   // the newest hour, in the same way
	opened uint16   // ports asked in this window
	seen   [2]uint8 // what it has done in that minute and the one before; see in
	hosts  uint8    // the same of the hour
	flags  uint8    // observe.Own, observe.Research
	marks  uint8
	port   uint16 // of the last packet that evidence has seen
	evidence
}

// The marks of a source.
const (
	markPorts   uint8 = 1 << iota // asked so many ports in one window that it is a port scan
	markStealth                   // has sent stealth packets
	markCounted                   // is in the present tally
)

// entry is one event in the making: what a source sends to one port with one
// kind of packet. It has 64 bytes, a line of the cache.
type entry struct {
	last   int64  // Unix nanoseconds
	total  uint32 // packets since the first; saturates
	source uint32 // index of the source
	seen   uint32 // the newest minute with a packet of it, since the epoch, and one; 0 none
	port   uint16
	kind   uint8
	proto  uint8
	asks   uint16 // packets that ask for an amplified answer; in answers, those that may have been asked for
	marks  uint16
	targets
	evidence
}

// aside is what is seldom needed of an event.
type aside struct {
	first int64 // Unix nanoseconds of the first packet

	// For the sighting of a minute, where detectors want one.
	firstIn int64     // its first packet
	minute  uint32    // since the epoch
	packets uint32    // in that minute
	bins    [6]uint16 // their number by ten seconds; saturate

	sample
}

// The marks of an entry.
const (
	markSpoof   uint16 = 1 << iota // a packet had a hint of a forged source
	markShadow                     // stands for the victim that an ICMP error quotes: not counted
	markQueued                     // on the list of this minute's sightings
	markScanner                    // has met the definition of a scan
	markFree                       // no event: the place is free
	markTallied                    // its source is in the present tally
	markPeer                       // asks as a peer asks a peer
	markOwn                        // sent by one of the operator's own addresses
	markBefore                     // had a packet in the minute before seen, too
)

// sample is the event's first packet, as evidence.
type sample struct {
	dst     packet.Addr
	seq     uint32
	id      uint16
	window  uint16
	srcPort uint16
	toPort  uint16
	length  uint16
	ttl     uint8
	flags   uint8
	options uint8 // bytes of TCP options
}
