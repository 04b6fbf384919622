package geo

import (
	"unsafe"

	"sakimori/base/wire/packet"
)

// v4Table holds ranges of IPv4 addresses: val[i] is true from start[i] up to
// the address before start[i+1]; start[0] is 0.0.0.0. index[h] is the first range
// that starts at h<<16 or later, so that a search sees the ranges of one /16.
// An empty table gives zeros.
type v4Table[V comparable] struct {
	start []uint32
	val   []V
	index []uint32 // 65,537 entries
}

func (t *v4Table[V]) find(a uint32) (v V) {
	if len(t.start) == 0 {
		return v
	}
	lo, hi := t.index[a>>16], t.index[a>>16+1]
	for lo < hi { // the first range that starts after a
		mid := (lo + hi) / 2
		if t.start[mid] <= a {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return t.val[lo-1]
}

// push says what holds from start on.
func (t *v4Table[V]) push(start uint32, v V) {
	if n := len(t.val); n == 0 || t.val[n-1] != v {
		t.start, t.val = append(t.start, start), append(t.val, v)
	}
}

// done ends the pushing.
func (t *v4Table[V]) done() {
	t.start, t.val = fitted(t.start), fitted(t.val)
	t.index = make([]uint32, 1<<16+1)
	i := 0
	for h := range t.index {
		for i < len(t.start) && uint64(t.start[i]) < uint64(h)<<16 {
			i++
		}
		t.index[h] = uint32(i)
	}
}

func (t *v4Table[V]) bytes() int {
	var v V
	return 4*(cap(t.start)+cap(t.index)) + int(unsafe.Sizeof(v))*cap(t.val)
}

// v6Table is the same for IPv6. Its index runs over 2000::/3, the global
// unicast space (RFC 4291 §2.4), by /21; what lies below or above falls into the
// first or the last slot.
type v6Table[V comparable] struct {
	start []packet.Addr
	val   []V
	index []uint32 // v6Slots+1 entries
}

const v6Slots = 1 << 18

func v6Slot(a packet.Addr) uint32 {
	const first, last = uint64(0x2000) << 48, uint64(0x3fff)<<48 | 0xffff_ffff_ffff
	return uint32((min(max(a.Hi, first), last) - first) >> 43)
}

func (t *v6Table[V]) find(a packet.Addr) (v V) {
	if len(t.start) == 0 {
		return v
	}
	s := v6Slot(a)
	lo, hi := t.index[s], t.index[s+1]
	for lo < hi {
		mid := (lo + hi) / 2
		if s := &t.start[mid]; s.Hi < a.Hi || s.Hi == a.Hi && s.Lo <= a.Lo {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return t.val[lo-1]
}

func (t *v6Table[V]) push(start packet.Addr, v V) {
	if n := len(t.val); n == 0 || t.val[n-1] != v {
		t.start, t.val = append(t.start, start), append(t.val, v)
	}
}

func (t *v6Table[V]) done() {
	t.start, t.val = fitted(t.start), fitted(t.val)
	t.index = make([]uint32, v6Slots+1)
	i := 0
	for s := range t.index {
		for i < len(t.start) && v6Slot(t.start[i]) < uint32(s) {
			i++
		}
		t.index[s] = uint32(i)
	}
}

func (t *v6Table[V]) bytes() int {
	var v V
	return 16*cap(t.start) + 4*cap(t.index) + int(unsafe.Sizeof(v))*cap(t.val)
}

// fitted is s without spare room, where that is more than a sixteenth.
func fitted[T any](s []T) []T {
	if cap(s)-len(s) <= len(s)/16 {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}
