package translation

import (
	"encoding/binary"
	"net/netip"
)

// wide is an address as a number of 128 bits; an IPv4 address is the last 32, behind
// ::ffff:0:0/96.
type wide struct{ hi, lo uint64 }

func widen(a netip.Addr) wide {
	b := a.As16()
	return wide{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr is the address again.
func (w wide) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], w.hi)
	binary.BigEndian.PutUint64(b[8:], w.lo)
	return netip.AddrFrom16(b).Unmap()
}

// field is n bits from bit at, counted from the left; n is at most 64.
func (w wide) field(at, n int) uint64 {
	shift := 128 - at - n
	v := w.lo
	switch {
	case shift >= 64:
		v = w.hi >> (shift - 64)
	case shift > 0:
		v = w.lo>>shift | w.hi<<(64-shift)
	}
	return v & (1<<n - 1)
}

// with has v in the n bits from bit at, which were zero.
func (w wide) with(at, n int, v uint64) wide {
	shift := 128 - at - n
	switch {
	case shift >= 64:
		w.hi |= v << (shift - 64)
	case shift > 0:
		w.lo |= v << shift
		w.hi |= v >> (64 - shift)
	default:
		w.lo |= v
	}
	return w
}

// first is the bit where a prefix's own family begins in a wide.
func first(p netip.Prefix) int { return 128 - p.Addr().BitLen() }
