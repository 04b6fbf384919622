package bgp

import (
	"encoding/binary"
	"net/netip"
)

// Prefix is one prefix of an UPDATE. Its address stands left in Hi and Lo, an IPv4 one in
// the upper half of Hi; bits behind the mask are zero whatever was sent.
type Prefix struct {
	Hi, Lo uint64
	ID     uint32 // ADD-PATH identifier; 0 where there are none
	Bits   uint8
	Family Family
}

// Netip is the prefix in the words of the standard library.
func (p *Prefix) Netip() netip.Prefix { return netip.PrefixFrom(p.Addr(), int(p.Bits)) }

// Addr is its first address.
func (p *Prefix) Addr() netip.Addr {
	if !p.Family.IPv6() {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(p.Hi>>32))
		return netip.AddrFrom4(a)
	}
	var a [16]byte
	binary.BigEndian.PutUint64(a[:], p.Hi)
	binary.BigEndian.PutUint64(a[8:], p.Lo)
	return netip.AddrFrom16(a)
}

// Block is prefixes of one family that an UPDATE announces or withdraws together. A copy
// of it is walked anew.
type Block struct {
	Family    Family
	NextHop   netip.Addr // of announced ones. IPv4 prefixes may have one of IPv6 (RFC 8950)
	LinkLocal netip.Addr // the second next hop that IPv6 may have

	addPath bool
	rest    []byte
}

// Empty tells whether no prefix is left.
func (b *Block) Empty() bool { return len(b.rest) == 0 }

// Next gives the next prefix and tells whether there was one. Update.Parse has looked at
// them all: a block holds no damage.
func (b *Block) Next(p *Prefix) bool {
	if len(b.rest) == 0 {
		return false
	}
	n, ok := b.read(p)
	if !ok { // can't be: trim has seen it
		b.rest = nil
		return false
	}
	b.rest = b.rest[n:]
	return true
}

// read reads the first prefix and tells how many bytes it has.
func (b *Block) read(p *Prefix) (int, bool) {
	r, at := b.rest, 0
	p.ID, p.Family = 0, b.Family
	if b.addPath {
		if len(r) < 5 {
			return 0, false
		}
		p.ID, at = binary.BigEndian.Uint32(r), 4
	}
	p.Bits = r[at]
	at++
	size := (int(p.Bits) + 7) >> 3
	if int(p.Bits) > widths[b.Family] || len(r)-at < size {
		return 0, false
	}
	p.Hi, p.Lo = 0, 0
	switch v := r[at:]; {
	case size == 3: // of IPv4 most are /24, or end in the third byte
		p.Hi = uint64(v[0])<<56 | uint64(v[1])<<48 | uint64(v[2])<<40
	case len(v) >= 16:
		p.Hi, p.Lo = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
	default: // near the end
		for i, b := range v[:size] {
			if i < 8 {
				p.Hi |= uint64(b) << (56 - 8*i)
			} else {
				p.Lo |= uint64(b) << (120 - 8*i)
			}
		}
	}
	p.mask()
	return at + size, true
}

// widths are the bits of an address by family.
var widths = [...]int{IPv4Unicast: 32, IPv4Multicast: 32, IPv6Unicast: 128, IPv6Multicast: 128, Other: -1}

// trim tells whether all prefixes of the block can be read, and cuts off what can't.
func (b *Block) trim() bool {
	r, width, head := b.rest, widths[b.Family], 1
	if b.addPath {
		head = 5
	}
	at := 0
	for at < len(r) {
		n := head
		if at+n <= len(r) {
			bits := int(r[at+head-1])
			n += (bits + 7) >> 3
			if bits > width {
				n = len(r) + 1
			}
		}
		if at+n > len(r) {
			b.rest = r[:at]
			return false
		}
		at += n
	}
	return true
}

// guess tells whether the block must have been written the other way: with identifiers
// although nobody said so, or without them. Identifiers below 2^24 begin with a zero byte;
// read without them it would be 0.0.0.0/0.
func (b *Block) guess() bool {
	if len(b.rest) == 0 || b.addPath == (b.rest[0] == 0) || b.clean() {
		return false
	}
	other := *b
	other.addPath = !b.addPath
	return other.clean()
}

// clean tells whether the block reads as a careful sender writes it: to the end, without
// bits behind the mask and without the same 0.0.0.0/0 twice.
func (b *Block) clean() bool {
	copied, all := *b, false
	var p Prefix
	for len(copied.rest) > 0 {
		n, ok := copied.read(&p)
		if !ok || p.Bits&7 != 0 && copied.rest[n-1]<<(p.Bits&7) != 0 || p.Bits == 0 && all && !b.addPath {
			return false
		}
		all = all || p.Bits == 0
		copied.rest = copied.rest[n:]
	}
	return true
}

// ParsePrefix reads a prefix as messages write them, its length in bits first, and tells
// how many bytes it has; false where it is too long for its family or b too short.
func ParsePrefix(b []byte, f Family, p *Prefix) (int, bool) {
	if len(b) == 0 {
		return 0, false
	}
	block := Block{Family: f, rest: b}
	return block.read(p)
}

// PrefixOf is the prefix of an address as it is written in full, four bytes or sixteen.
func PrefixOf(address []byte, bits uint8, f Family) Prefix {
	p := Prefix{Family: f, Bits: bits}
	if len(address) == 16 {
		p.Hi, p.Lo = binary.BigEndian.Uint64(address), binary.BigEndian.Uint64(address[8:])
	} else {
		p.Hi = uint64(binary.BigEndian.Uint32(address)) << 32
	}
	p.mask()
	return p
}

// mask makes the bits behind the prefix's length zero.
func (p *Prefix) mask() {
	if p.Bits <= 64 { // a shift by 64 gives 0
		p.Hi &= ^uint64(0) << (64 - p.Bits)
		p.Lo = 0
	} else {
		p.Lo &= ^uint64(0) << (128 - p.Bits)
	}
}
