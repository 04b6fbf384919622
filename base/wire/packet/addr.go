package packet

import (
	"encoding/binary"
	"net/netip"
)

// Addr is an IPv4 or IPv6 address in 16 bytes without a pointer, so that tables
// of millions of them cost the garbage collector nothing. IPv4 is held as
// ::ffff:a.b.c.d (RFC 4291 §2.5.5.2). The zero Addr is ::, "no address".
type Addr struct{ Hi, Lo uint64 }

const mapped = 0xffff << 32 // the low half of ::ffff:0.0.0.0

// V4 makes an Addr from an IPv4 address in host order.
func V4(a uint32) Addr { return Addr{Lo: mapped | uint64(a)} }

// FromNetip converts; an IPv4-mapped IPv6 address and its IPv4 form are one.
func FromNetip(a netip.Addr) Addr {
	b := a.As16()
	return Addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// Is4 tells whether it is an IPv4 address.
func (a Addr) Is4() bool { return a.Hi == 0 && a.Lo>>32 == 0xffff }

// V4 is the IPv4 address in host order; without meaning unless Is4.
func (a Addr) V4() uint32 { return uint32(a.Lo) } //nolint:gosec // the low half is the address

// Netip converts to the standard library's form, IPv4 unmapped.
func (a Addr) Netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b).Unmap()
}

// String is the address as people write it.
func (a Addr) String() string { return a.Netip().String() }

// Compare orders addresses numerically, IPv4 among the IPv6 addresses at
// ::ffff:0:0/96.
func (a Addr) Compare(b Addr) int {
	switch {
	case a.Hi < b.Hi:
		return -1
	case a.Hi > b.Hi:
		return 1
	case a.Lo < b.Lo:
		return -1
	case a.Lo > b.Lo:
		return 1
	}
	return 0
}
