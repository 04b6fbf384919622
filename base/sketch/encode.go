package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	if !s.dense {
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
	b = append(b, denseV1+uint8(s.precision())) //nolint:gosec // at most 16
	for _, w := range s.tab {                   // four registers in three bytes
		x := min(w&0xff, 63) | min(w>>8&0xff, 63)<<6 | min(w>>16&0xff, 63)<<12 | min(w>>24, 63)<<18
		b = append(b, byte(x), byte(x>>8), byte(x>>16)) //nolint:gosec // byte by byte
	}
	return b
}

// The form of a state, which is read again by the same version: as the stored
// one, but an exact set isn't sorted.
const rawV1 = 0x11

// AppendRaw writes the set after b, faster than Append and in more bytes.
func (s *Set) AppendRaw(b []byte) []byte {
	if s.dense {
		return s.Append(b)
	}
	b = append(b, rawV1)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Count())) //nolint:gosec // exact: below 2^32
	if s.zero {
		b = binary.LittleEndian.AppendUint32(b, 0)
	}
	b = slices.Grow(b, 4*int(s.n))
	out, at := b[len(b):len(b)+4*int(s.n)], 0
	for _, id := range s.exact() {
		if at == len(out) {
			break
		}
		binary.LittleEndian.PutUint32(out[at:], id)
		if id != 0 { // can't be foreseen: an empty place is written too, and over it the next one
			at += 4
		}
	}
	return b[:len(b)+len(out)]
}

// RawSize is how many bytes AppendRaw writes at most.
func (s *Set) RawSize() int {
	if s.dense {
		return 1 + 3*len(s.tab)
	}
	return 9 + 4*int(s.n)
}

// ReadRaw reads what AppendRaw wrote into an empty set, and returns what follows
// it. The memory it takes is bounded by len(b), and is f's.
func (s *Set) ReadRaw(f Form, b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != rawV1 {
		o, rest, err := Read(b)
		if err == nil {
			*s = *o
		}
		return rest, err
	}
	if len(b) < 5 {
		return nil, errShort
	}
	n := uint64(binary.LittleEndian.Uint32(b[1:]))
	if b = b[5:]; uint64(len(b)) < 4*n {
		return nil, errShort
	}
	if n > 0 && binary.LittleEndian.Uint32(b) == 0 { // it takes no place in the table
		s.zero = true
		b, n = b[4:], n-1
	}
	f.Exact = 1<<32 - 1
	var ids [256]uint32
	for n > 0 {
		part := ids[:min(n, 256)]
		for i := range part {
			part[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		s.AddAll(f, part)
		b, n = b[4*len(part):], n-uint64(len(part))
	}
	return b, nil
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
	s := &Set{}
	if len(b) < 3<<p/4 {
		return nil, nil, errShort
	}
	s.densify(Form{Precision: uint8(p)})
	if err := s.mergeRegisters(b); err != nil {
		return nil, nil, err
	}
	return s, b[3<<p/4:], nil
}

// mergeRegisters adds stored registers of the same precision.
func (s *Set) mergeRegisters(b []byte) error {
	if len(b) < 3*len(s.tab) {
		return errShort
	}
	most := uint32(65 - s.precision()) //nolint:gosec // above 48
	for i := range s.tab {
		x := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		b = b[3:]
		if x&63 > most || x>>6&63 > most || x>>12&63 > most || x>>18 > most {
			return fmt.Errorf("sketch: stored set holds a register above %d: it is damaged", most)
		}
		if w := x&63 | x>>6&63<<8 | x>>12&63<<16 | x>>18<<24; w != s.tab[i] {
			s.tab[i] = highest(s.tab[i], w)
		}
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
		s.Add(Form{Precision: 14, Exact: 1<<32 - 1}, uint32(id)) //nolint:gosec // checked above
	}
	return s, b, nil
}
