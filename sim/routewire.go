package sim

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// What BGP says in bytes (RFC 4271, 4760, 6793, 8092, 9234).

const (
	bgpHead   = 19
	bgpMost   = 4096
	bgpUpdate = 2

	attrOrigin      = 1
	attrPath        = 2
	attrNextHop     = 3
	attrCommunities = 8
	attrReach       = 14
	attrUnreach     = 15
	attrLarge       = 32
	attrOTC         = 35

	wellKnown  = 0x40
	optional   = 0x80
	transitive = 0xc0
	extended   = 0x10
)

// Well-known communities (RFC 1997, 7999).
const (
	noExport  = 0xffffff01
	blackhole = 0xffff029a
)

// End-of-RIB of both families (RFC 4724).
var (
	endOfRIB4 = finishBGP(append(startBGP(nil, bgpUpdate), 0, 0, 0, 0))
	endOfRIB6 = finishBGP(append(startBGP(nil, bgpUpdate), 0, 0, 0, 6, optional, attrUnreach, 3, 0, 2, 1))
)

// startBGP appends a message's head; finishBGP sets its length.
func startBGP(b []byte, kind byte) []byte {
	b = append(b, bytes.Repeat([]byte{0xff}, 16)...)
	return append(b, 0, 0, kind)
}

func finishBGP(b []byte) []byte {
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
	return b
}

// attr appends an attribute with what fill appends.
func attr(b []byte, flags, kind byte, fill func([]byte) []byte) []byte {
	b = append(b, flags, kind, 0)
	at := len(b)
	b = fill(b)
	if n := len(b) - at; n > 255 {
		b = append(b, 0)
		copy(b[at+1:], b[at:len(b)-1])
		b[at-3] |= extended
		binary.BigEndian.PutUint16(b[at-1:], uint16(n))
	} else {
		b[at-1] = byte(n)
	}
	return b
}

func appendPath(b []byte, path []uint32) []byte {
	for len(path) > 0 {
		k := min(len(path), 255)
		b = append(b, 2, byte(k)) // AS_SEQUENCE
		for _, as := range path[:k] {
			b = binary.BigEndian.AppendUint32(b, as)
		}
		path = path[k:]
	}
	return b
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	a := p.Addr().As16()
	from := 0
	if p.Addr().Is4() {
		from = 12
	}
	b = append(b, byte(p.Bits()))
	return append(b, a[from:from+(p.Bits()+7)/8]...)
}

// nextHop is a peer's address of a family.
func (n *routeNet) nextHop(peer int32, six bool) netip.Addr {
	a := n.peers[peer].Address
	switch {
	case six && a.Is4():
		return part(peers6, 128, uint64(peer)+1).Addr()
	case !six && a.Is6():
		return n.peers[peer].BGPID
	}
	return a
}

// attributes are those of a route as a peer tells it. For IPv6, MP_REACH_NLRI has the next
// hop alone, as table dumps have it. block is the part of the origin's prefixes that it is for.
func (n *routeNet) attributes(b []byte, peer int32, r route, path []uint32, block int, six bool) []byte {
	return n.attributesFor(b, peer, r, path, block, six, func(b []byte) []byte {
		return append(append(b, 16), n.nextHop(peer, true).AsSlice()...)
	})
}

func (n *routeNet) attributesFor(b []byte, peer int32, r route, path []uint32, block int, six bool, reach func([]byte) []byte) []byte {
	b = attr(b, wellKnown, attrOrigin, func(b []byte) []byte { return append(b, 0) })
	b = attr(b, wellKnown, attrPath, func(b []byte) []byte { return appendPath(b, path) })
	if !six {
		b = attr(b, wellKnown, attrNextHop, func(b []byte) []byte { return append(b, n.nextHop(peer, false).AsSlice()...) })
	}
	x := &n.extras[r.extra]
	b = attr(b, transitive, attrCommunities, func(b []byte) []byte {
		// Where a route was learnt, as many tell it, with numbers for private use.
		b = binary.BigEndian.AppendUint32(b, (64600+uint32(r.class))<<16|uint32(peer)+100)
		b = binary.BigEndian.AppendUint32(b, 64700<<16|uint32(len(path)))
		if block > 0 {
			b = binary.BigEndian.AppendUint32(b, 64800<<16|uint32(block)&0xffff)
		}
		for _, c := range x.communities {
			b = binary.BigEndian.AppendUint32(b, c)
		}
		return b
	})
	if six {
		b = attr(b, optional, attrReach, reach)
	}
	if len(path) > 2 || len(x.large) > 0 {
		b = attr(b, transitive, attrLarge, func(b []byte) []byte {
			if len(path) > 2 {
				for _, v := range [...]uint32{path[1], 1, uint32(r.class)} {
					b = binary.BigEndian.AppendUint32(b, v)
				}
			}
			for _, c := range x.large {
				for _, v := range c {
					b = binary.BigEndian.AppendUint32(b, v)
				}
			}
			return b
		})
	}
	if r.otc != 0 {
		b = attr(b, transitive, attrOTC, func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, r.otc) })
	}
	return b
}

// update appends one UPDATE with as many of the prefixes as it holds, all of the family of
// the first, and says how many those are. A route without a path is withdrawn.
func (n *routeNet) update(b []byte, peer int32, r route, path []uint32, block int, prefixes []netip.Prefix) ([]byte, int) {
	six := prefixes[0].Addr().Is6()
	took, size := 0, bgpMost-bgpHead-200-4*len(path)-8*len(n.extras[r.extra].communities)
	for _, p := range prefixes {
		if size -= 17; p.Addr().Is6() != six || size < 0 {
			break
		}
		took++
	}
	prefixes = prefixes[:took]
	nlri := func(b []byte) []byte {
		for _, p := range prefixes {
			b = appendPrefix(b, p)
		}
		return b
	}
	b = startBGP(b, bgpUpdate)
	gone := r.path < 0
	at := len(b)
	b = append(b, 0, 0)
	if gone && !six {
		b = nlri(b)
		binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	}
	at = len(b)
	b = append(b, 0, 0)
	switch {
	case gone && six:
		b = attr(b, optional, attrUnreach, func(b []byte) []byte { return nlri(append(b, 0, 2, 1)) })
	case !gone:
		b = n.attributesFor(b, peer, r, path, block, six, func(b []byte) []byte {
			b = append(append(b, 0, 2, 1, 16), n.nextHop(peer, true).AsSlice()...)
			return nlri(append(b, 0))
		})
	}
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	if !gone && !six {
		b = nlri(b)
	}
	return finishBGP(b), took
}
