package ddos

import (
	"math/bits"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
)

// role says what an entry counts of its address.
type role uint8

const (
	nobody   role = iota
	hit           // what comes to a protected address
	takes         // what an own address sends
	foreign       // what own addresses send to another's
	narrow        // what comes to a /24 or /64,
	middle        // a /22 or /56,
	wide          // a /20 or /48
	customer      // what comes to a customer
	link          // what comes through an interface
)

// epoch is how many seconds of arrival a cold object's totals are added up.
const epoch = 10

// entry is an object as long as it is cold: totals of the epoch, and its newest second
// on its own, so that nothing of that second is lost when the object becomes warm. Of
// earlier seconds of the epoch at most 1/8 of a second's line is lost then: by so much
// an object's very first window may be judged too low.
type entry struct {
	addr packet.Addr // of a prefix its first, of a customer its number, of a link exporter and interface

	packets, bytes, flows float32 // of the epoch
	epoch                 uint32  // Unix seconds / epoch
	second                uint32  // Unix seconds
	p, b, f, v            float32 // of that second: packets, bytes, flows, variance of the packets

	net  int32  // index of the next wider prefix; -1 not looked for, -2 there was no room
	warm int32  // index of the warm object, or 0
	rule uint16 // whose lines hold
	role role
}

// table holds the addresses: open addressing with linear probing, no pointers, no
// tombstones (what is deleted is closed up), so that a look-up touches one line of the
// cache, rarely two.
type table struct {
	span  *pages.Span[entry]
	slots []entry
	mask  uint64
	used  int
	full  int // at most so many are used
	hand  uint64
}

func newTable(full int) *table {
	n := 1 << bits.Len(uint(full+full/3-1))
	s := pages.Reserve[entry](n)
	return &table{span: s, slots: s.All, mask: uint64(n - 1), full: full} //nolint:gosec // positive
}

// hash spreads an address and a role over 64 bits.
func hash(a packet.Addr, r role) uint64 {
	x := (a.Lo ^ bits.RotateLeft64(a.Hi, 23) ^ uint64(r)<<56) * 0x9e3779b97f4a7c15
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// find looks for an entry whose hash is h.
func (t *table) find(h uint64, a packet.Addr, r role) *entry {
	for i := h & t.mask; ; i = (i + 1) & t.mask {
		e := &t.slots[i]
		if e.role == nobody {
			return nil
		}
		if e.addr == a && e.role == r {
			return e
		}
	}
}

// add makes an entry that isn't there; nil when the table is full.
func (t *table) add(h uint64, a packet.Addr, r role) *entry {
	if t.used >= t.full {
		return nil
	}
	i := h & t.mask
	for t.slots[i].role != nobody {
		i = (i + 1) & t.mask
	}
	t.used++
	t.slots[i] = entry{addr: a, role: r, net: -1}
	return &t.slots[i]
}

// remove deletes the entry at i and closes the gap: every entry after it that may not
// stand behind an empty slot moves up.
func (t *table) remove(i uint64) {
	t.used--
	for {
		t.slots[i] = entry{}
		j := i
		for {
			j = (j + 1) & t.mask
			e := &t.slots[j]
			if e.role == nobody {
				return
			}
			home := hash(e.addr, e.role) & t.mask
			if (j-home)&t.mask >= (j-i)&t.mask {
				break // it may stand at i
			}
		}
		t.slots[i] = t.slots[j]
		i = j
	}
}

// sweep moves the hand over so many slots and removes what is cold and hasn't been
// seen since the epoch. It tells how many went.
func (t *table) sweep(slots int, since uint32) (gone uint64) {
	for range min(slots, len(t.slots)) {
		e := &t.slots[t.hand]
		if e.role != nobody && e.warm == 0 && e.epoch < since {
			t.remove(t.hand)
			gone++
			continue // what moved up stands here now
		}
		if e.role != nobody {
			e.net = max(e.net, -1) // there may be room now
		}
		t.hand = (t.hand + 1) & t.mask
	}
	return gone
}

// makeRoom removes the coldest of the few entries that follow where h would stand, so
// that an address that became busy gets in.
func (t *table) makeRoom(h uint64) bool {
	var worst uint64
	found := false
	for k := range uint64(32) {
		i := (h + k) & t.mask
		e := &t.slots[i]
		if e.role == nobody || e.warm != 0 {
			continue
		}
		if !found || t.slots[worst].epoch > e.epoch || t.slots[worst].epoch == e.epoch && t.slots[worst].packets > e.packets {
			worst, found = i, true
		}
	}
	if found {
		t.remove(worst)
	}
	return found
}

// overflow finds addresses that become busy although the table is full: a count-min
// sketch (Cormode and Muthukrishnan 2005) of the packets of an epoch. It never counts
// too little, so no busy one is missed; it counts too much by 2/width of the epoch's
// overflow at most with a probability of 1 − 2^-rows, which costs no more than a
// needless entry.
type overflow struct {
	rows  [4][overflowWidth]float32
	epoch uint32
}

const overflowWidth = 1 << 15

// add counts and tells the estimate.
func (o *overflow) add(h uint64, epoch uint32, n float32) float32 {
	if o.epoch != epoch {
		*o = overflow{epoch: epoch}
	}
	least := float32(0)
	for i := range o.rows {
		c := &o.rows[i][h>>(i*12)&(overflowWidth-1)]
		*c += n
		if i == 0 || *c < least {
			least = *c
		}
	}
	return least
}
