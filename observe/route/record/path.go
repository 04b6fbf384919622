package record

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/zeebo/xxh3"

	"sakimori/observe"
)

// What is true of a path, in its first byte; behind it stand the code of ORIGIN, the
// next hop with its length, and numbers as varints.
const (
	pathSet = 1 << iota
	pathConfed
	pathOTC
	pathAtomic
)

// encode appends a path as it is kept. Equal bytes are equal paths.
func encode(b []byte, p *observe.RoutePath) []byte {
	flags := byte(0)
	for i, is := range [...]bool{p.Set, p.Confed, p.HasOTC, p.Atomic} {
		if is {
			flags |= 1 << i
		}
	}
	b = append(b, flags, p.OriginCode)
	switch {
	case p.NextHop.Is4():
		a := p.NextHop.As4()
		b = append(append(b, 4), a[:]...)
	case p.NextHop.Is6():
		a := p.NextHop.As16()
		b = append(append(b, 16), a[:]...)
	default:
		b = append(b, 0)
	}
	number := func(v uint32) { b = binary.AppendUvarint(b, uint64(v)) }
	number(p.Origin)
	number(p.OTC)
	number(p.LocalPref)
	number(p.MED)
	number(p.Aggregator)
	number(uint32(len(p.ASes))) //nolint:gosec // of one message
	for _, as := range p.ASes {
		number(as)
	}
	number(uint32(len(p.Communities))) //nolint:gosec // of one message
	for _, c := range p.Communities {
		number(c)
	}
	number(uint32(len(p.Large))) //nolint:gosec // of one message
	for _, c := range p.Large {
		number(c[0])
		number(c[1])
		number(c[2])
	}
	return b
}

// keyOf is the key of an encoded path, never 0. Two of ten million different ones share
// one with a chance of 3 in a million.
func keyOf(b []byte, seed uint64) uint64 { return max(xxh3.HashSeed(b, seed), 1) }

var errPath = errors.New("a path that isn't whole")

// decode reads what encode wrote.
func decode(b []byte) (*observe.RoutePath, error) {
	if len(b) < 3 || len(b) < 3+int(b[2]) {
		return nil, errPath
	}
	p := &observe.RoutePath{
		Set: b[0]&pathSet != 0, Confed: b[0]&pathConfed != 0, HasOTC: b[0]&pathOTC != 0, Atomic: b[0]&pathAtomic != 0, OriginCode: b[1],
	}
	p.NextHop, _ = netip.AddrFromSlice(b[3 : 3+b[2]])
	b = b[3+b[2]:]
	bad := false
	number := func() uint32 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v >= 1<<32 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return uint32(v)
	}
	list := func() (l []uint32) {
		for range number() {
			if bad {
				break
			}
			l = append(l, number())
		}
		return l
	}
	p.Origin, p.OTC, p.LocalPref, p.MED, p.Aggregator = number(), number(), number(), number(), number()
	p.ASes, p.Communities = list(), list()
	for range number() {
		if bad {
			break
		}
		p.Large = append(p.Large, [3]uint32{number(), number(), number()})
	}
	if bad || len(b) > 0 {
		return nil, errPath
	}
	return p, nil
}
