package translation

import (
	"errors"

	"sakimori/respond/subscriber"
)

// portset is the algorithm of RFC 7597 §5.1: a port is Offset bits that aren't all zero,
// then the PSID, then the rest. Without offset bits the PSID stands in front and no port is
// excluded.
type portset struct{ offset, length uint8 }

func newPortset(offset, length int) (portset, error) {
	if offset < 0 || length < 0 || offset+length > 16 {
		return portset{}, errors.New("PSID offset and length: a port has 16 bits, so they may be 16 together at most")
	}
	return portset{uint8(offset), uint8(length)}, nil //nolint:gosec // at most 16
}

// psid is the PSID of a port; false: the port is reserved, its offset bits are zero.
func (s portset) psid(port uint16) (uint16, bool) {
	if s.offset > 0 && port>>(16-s.offset) == 0 {
		return 0, false
	}
	return port >> (16 - s.offset - s.length) & (1<<s.length - 1), true
}

// ports are the ranges of a PSID: 2^offset - 1 of them, or one.
func (s portset) ports(psid uint16) (list []subscriber.Ports) {
	if s.length == 0 && s.offset == 0 {
		return nil // the whole address
	}
	rest := 16 - s.offset - s.length
	begin := 1
	if s.offset == 0 {
		begin = 0
	}
	for i := begin; i < 1<<s.offset; i++ {
		low := i<<(16-s.offset) | int(psid)<<rest
		list = append(list, ports(low, low+1<<rest-1))
	}
	return list
}

// bitmap has a bit for each port.
type bitmap [1 << 16 / 64]uint64

// mark sets the bits of ports and tells whether one was set before.
func (b *bitmap) mark(list []subscriber.Ports) (twice bool) {
	if list == nil {
		list = []subscriber.Ports{{First: 0, Last: 65535}}
	}
	for _, r := range list {
		for p := int(r.First); p <= int(r.Last); p++ {
			twice = twice || b[p>>6]>>(p&63)&1 == 1
			b[p>>6] |= 1 << (p & 63)
		}
	}
	return twice
}
