package geo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"sakimori/base/wire/packet"
)

// The packed file is what a program carries. At its front stands, as look-ups use
// it, what they need: so a program starts with a read of some megabytes. The
// compact file follows, and is opened when somebody asks for a position or
// brings files of their own. Numbers are little endian; the front is
//
//	"sakipac" and the version byte 1
//	seven lengths of 4 bytes: of the sources, in bytes; IPv4 ranges; IPv6 ranges;
//	         AS names; their text, in bytes; the compact file, its lower and upper half
//	sources: as in the compact file
//	columns: IPv4 starts (4 bytes), their AS (4) and country (2); the same of IPv6
//	         (16, the high half first); AS number (4) and end in the text (4) of each name
//	the names' text
//	XXH3-64 of everything above, 8 bytes
const packMagic = "sakipac\x01"

const packHead = len(packMagic) + 7*4

// sizes are the lengths in the head.
type sizes struct {
	sources, v4, v6, names, text uint32
	compact                      uint64
}

// front is the length of everything before the compact file.
func (s *sizes) front() uint64 {
	return uint64(packHead) + uint64(s.sources) + 10*uint64(s.v4) + 22*uint64(s.v6) + 8*uint64(s.names) + uint64(s.text) + 8
}

// Pack writes the packed file.
func (b *Builder) Pack() ([]byte, error) {
	compact, err := b.Encode()
	if err != nil {
		return nil, err
	}
	t := b.ownerTable()
	sources := appendSources(nil, t.source)
	le := binary.LittleEndian
	w := []byte(packMagic)
	for _, n := range []int{
		len(sources), len(t.owners.v4.start), len(t.owners.v6.start), len(t.names.asn), len(t.names.text),
		len(compact) & math.MaxUint32, len(compact) >> 32,
	} {
		w = le.AppendUint32(w, uint32(n)) //nolint:gosec // the compact file bounds them
	}
	w = append(w, sources...)
	for _, a := range t.owners.v4.start {
		w = le.AppendUint32(w, a)
	}
	w = appendOwners(w, t.owners.v4.val)
	for _, a := range t.owners.v6.start {
		w = le.AppendUint64(le.AppendUint64(w, a.Hi), a.Lo)
	}
	w = appendOwners(w, t.owners.v6.val)
	for _, n := range t.names.asn {
		w = le.AppendUint32(w, n)
	}
	for _, n := range t.names.end {
		w = le.AppendUint32(w, n)
	}
	w = append(w, t.names.text...)
	w = le.AppendUint64(w, xxh3.Hash(w))
	return append(w, compact...), nil
}

func appendOwners(w []byte, list []owner) []byte {
	for _, o := range list {
		w = binary.LittleEndian.AppendUint32(w, o.asn)
	}
	for _, o := range list {
		w = append(w, o.country[:]...)
	}
	return w
}

// Unpack makes the Table of a packed file, which must stay readable: positions
// are read when somebody asks for one.
func Unpack(file io.ReaderAt, size int64) (*Table, error) {
	s, err := readSizes(file, size)
	if err != nil {
		return nil, err
	}
	r := columns{r: io.NewSectionReader(file, 0, int64(s.front())), sum: xxh3.New(), buf: make([]byte, 64<<10)} //nolint:gosec // at most size
	r.skip(packHead)
	t := &Table{source: r.sources(s.sources)}
	t.owners.v4 = v4Table[owner]{start: r.numbers(s.v4, true), val: r.owners(s.v4)}
	t.owners.v6 = v6Table[owner]{start: r.addrs(s.v6), val: r.owners(s.v6)}
	t.names = names{asn: r.numbers(s.names, true), end: r.numbers(s.names, false), text: r.text(s.text)}
	sum := r.sum.Sum64()
	check := r.next(8)
	switch n := len(t.names.end); {
	case r.err == nil && binary.LittleEndian.Uint64(check) != sum:
		return nil, fmt.Errorf("%w (its checksum is wrong)", errCompact)
	case r.err == nil && n > 0 && t.names.end[n-1] != s.text,
		r.err == nil && s.v4 > 0 && t.owners.v4.start[0] != 0,
		r.err == nil && s.v6 > 0 && t.owners.v6.start[0] != packet.Addr{}:
		r.err = errColumns
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w (%w)", errCompact, r.err)
	}
	t.owners.v4.done()
	t.owners.v6.done()
	t.places = sync.OnceValues(func() (*places, error) {
		b, err := decodePacked(file, size)
		if err != nil {
			return nil, err
		}
		return b.places(), nil
	})
	return t, nil
}

// decodePacked reads the compact file inside a packed one.
func decodePacked(file io.ReaderAt, size int64) (*Builder, error) {
	s, err := readSizes(file, size)
	if err != nil {
		return nil, err
	}
	compact := make([]byte, s.compact)
	if _, err := file.ReadAt(compact, int64(s.front())); err != nil && !errors.Is(err, io.EOF) { //nolint:gosec // at most size
		return nil, fmt.Errorf("read the geography: %w", err)
	}
	return Decode(compact)
}

// readSizes reads the head, and holds it to the size of the file: so nothing is
// allocated that the file doesn't fill.
func readSizes(file io.ReaderAt, size int64) (s sizes, err error) {
	var head [packHead]byte
	if _, err := file.ReadAt(head[:], 0); err != nil || string(head[:len(packMagic)]) != packMagic {
		return s, fmt.Errorf("%w (it does not begin as one)", errCompact)
	}
	n := func(i int) uint32 { return binary.LittleEndian.Uint32(head[len(packMagic)+4*i:]) }
	s = sizes{n(0), n(1), n(2), n(3), n(4), uint64(n(5)) | uint64(n(6))<<32}
	if s.compact > maxFile || s.front()+s.compact != uint64(size) { //nolint:gosec // a size
		return s, fmt.Errorf("%w (it is not as long as it says)", errCompact)
	}
	return s, nil
}

var errColumns = errors.New("its inside contradicts itself")

// columns reads the front of a packed file, piece by piece. After the first
// error it gives what it has.
type columns struct {
	r   io.Reader
	sum *xxh3.Hasher
	buf []byte
	err error
}

// next is the next n bytes, at most those of buf, valid until the next call.
func (c *columns) next(n int) []byte {
	b := c.buf[:n]
	if c.err == nil {
		_, c.err = io.ReadFull(c.r, b)
	}
	_, _ = c.sum.Write(b) // never fails
	return b
}

func (c *columns) skip(n int) { c.next(n) }

// each gives the next n elements of a width to take, many at a time.
func (c *columns) each(n uint32, width int, take func(b []byte)) {
	for left := int(n); left > 0 && c.err == nil; {
		k := min(left, len(c.buf)/width)
		take(c.next(k * width))
		left -= k
	}
}

// numbers are n numbers that don't descend; distinct: that ascend.
func (c *columns) numbers(n uint32, distinct bool) []uint32 {
	list := make([]uint32, 0, n)
	least := uint64(0)
	c.each(n, 4, func(b []byte) {
		for ; len(b) >= 4; b = b[4:] {
			v := binary.LittleEndian.Uint32(b)
			if uint64(v) < least {
				c.err = errColumns
			}
			if least = uint64(v); distinct {
				least++
			}
			list = append(list, v)
		}
	})
	return list
}

// addrs are n addresses that ascend.
func (c *columns) addrs(n uint32) []packet.Addr {
	list := make([]packet.Addr, 0, n)
	var last packet.Addr
	c.each(n, 16, func(b []byte) {
		for ; len(b) >= 16; b = b[16:] {
			a := packet.Addr{Hi: binary.LittleEndian.Uint64(b), Lo: binary.LittleEndian.Uint64(b[8:])}
			if len(list) > 0 && a.Compare(last) <= 0 {
				c.err = errColumns
			}
			last = a
			list = append(list, a)
		}
	})
	return list
}

func (c *columns) owners(n uint32) []owner {
	list := make([]owner, n)
	at := 0
	c.each(n, 4, func(b []byte) {
		for ; len(b) >= 4; b = b[4:] {
			list[at].asn = binary.LittleEndian.Uint32(b)
			at++
		}
	})
	at = 0
	c.each(n, 2, func(b []byte) {
		for ; len(b) >= 2; b = b[2:] {
			list[at].country = [2]byte(b)
			at++
		}
	})
	return list
}

func (c *columns) bytes(n uint32) []byte {
	list := make([]byte, 0, n)
	c.each(n, 1, func(b []byte) { list = append(list, b...) })
	return list
}

func (c *columns) text(n uint32) string {
	b := c.bytes(n)
	if !utf8.Valid(b) {
		c.err = errColumns
	}
	return string(b)
}

func (c *columns) sources(n uint32) []Source {
	r := reader{b: c.bytes(n)}
	list := r.sources()
	if c.err == nil && (r.bad || len(r.b) > 0) {
		c.err = errColumns
	}
	return list
}
