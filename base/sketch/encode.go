package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// The stored form of a set, version 1: a byte 0x10 and the exact identities in
// ascending order as unsigned varints of their differences, after their number;
// or a byte 0x20+p and the registers, six bits each, lowest bits first.
const (
	exactV1 = 0x10
	denseV1 = 0x20
)

// Append writes the stored form of the set after b. The same elements give the
// same bytes in whatever order they were added.
func (s *Set) Append(b []byte) []byte {
	if s.dense == nil {
		ids := s.IDs()
		b = append(b, exactV1)
		b = binary.AppendUvarint(b, uint64(len(ids)))
		var last uint32
		for _, id := range ids {
			b = binary.AppendUvarint(b, uint64(id-last))
			last = id
		}
		return b
	}
	p := bits.Len(uint(len(s.dense))) - 1
	b = append(b, denseV1+uint8(p)) //nolint:gosec // p is at most 16
	var acc uint32
	var have int
	for _, r := range s.dense {
		acc |= uint32(min(r, 63)) << have
		have += 6
		for have >= 8 {
			b = append(b, byte(acc))
			acc >>= 8
			have -= 8
		}
	}
	if have > 0 {
		b = append(b, byte(acc))
	}
	return b
}

var errShort = errors.New("sketch: stored set ends too early")

// Read reads a stored set from the front of b and returns what follows it. The
// memory it takes is bounded by len(b).
func Read(b []byte) (*Set, []byte, error) {
	if len(b) == 0 {
		return nil, nil, errShort
	}
	kind := b[0]
	b = b[1:]
	if kind == exactV1 {
		return readExact(b)
	}
	p := int(kind) - denseV1
	if p < 4 || p > 16 {
		return nil, nil, fmt.Errorf("sketch: stored set begins with 0x%02x: it isn't one, or a newer version wrote it", kind)
	}
	size := (6*(1<<p) + 7) / 8
	if len(b) < size {
		return nil, nil, errShort
	}
	s := &Set{dense: make([]uint8, 1<<p)}
	var acc uint32
	var have, at int
	for i := range s.dense {
		for have < 6 {
			acc |= uint32(b[at]) << have
			at++
			have += 8
		}
		s.dense[i] = uint8(acc & 63)
		acc >>= 6
		have -= 6
	}
	q := 64 - p
	if slices.Max(s.dense) > uint8(q+1) { //nolint:gosec // q is at most 60
		return nil, nil, fmt.Errorf("sketch: stored set holds a register above %d: it is damaged", q+1)
	}
	return s, b[size:], nil
}

// MergeStored adds a stored set. Of the same precision it is read straight into
// the registers: merging a month of days is mostly this.
func (s *Set) MergeStored(f Form, b []byte) error {
	if len(b) > 0 && b[0] >= denseV1+8 && b[0] <= denseV1+16 {
		p := b[0] - denseV1
		if s.dense == nil {
			s.densify(Form{Precision: p})
		}
		if len(s.dense) == 1<<p {
			return s.mergeRegisters(b[1:], p)
		}
	}
	o, _, err := Read(b)
	if err != nil {
		return err
	}
	s.Merge(f, o)
	return nil
}

func (s *Set) mergeRegisters(b []byte, p uint8) error {
	if len(b) < 3*len(s.dense)/4 {
		return errShort
	}
	most := 65 - p
	d := s.dense
	for len(d) >= 4 {
		x := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		r := [4]uint8{uint8(x & 63), uint8(x >> 6 & 63), uint8(x >> 12 & 63), uint8(x >> 18 & 63)}
		for i, v := range r {
			if v > most {
				return fmt.Errorf("sketch: stored set holds a register above %d: it is damaged", most)
			}
			d[i] = max(d[i], v)
		}
		b, d = b[3:], d[4:]
	}
	return nil
}

func readExact(b []byte) (*Set, []byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)) {
		return nil, nil, errShort
	}
	b = b[k:]
	s := &Set{}
	var id uint64
	for i := range n {
		d, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, nil, errShort
		}
		if i > 0 && d == 0 || d > 1<<32-1-id {
			return nil, nil, errors.New("sketch: stored identities aren't ascending: the set is damaged")
		}
		id += d
		b = b[k:]
		s.Add(Form{Precision: 14, Exact: 1<<32 - 1}, uint32(id))
	}
	return s, b, nil
}
