package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
)

// A leaf is the file of a minute's counts. Minutes are most of all rows (80
// million a day in a telescope of NICTER's size) and are asked for least: here
// a row is some 5 bytes that cost nothing at a commit. The form, all numbers
// little-endian:
//
//	magic "SKL1"; CRC-32C of the rest of the head and of the index
//	number of rows; number of blocks
//	index, for each block: place of its first row (8 bytes); offset, size and CRC-32C
//	blocks of 512 rows in order of dim and key
//
// A row is four varints: how far its place is from that of the row before, in
// the first row of a block from the block's; packets; sources and targets,
// doubled, and one more where 4 bytes of standard error follow.
const (
	leafMagic = "SKL1"
	leafHead  = 16
	leafSlot  = 20
	leafBlock = 512
)

// leafOf is the leaf of rows in order of dim and key.
func leafOf(rows []Row) ([]byte, error) {
	le := binary.LittleEndian
	blocks := (len(rows) + leafBlock - 1) / leafBlock
	b := make([]byte, leafHead+blocks*leafSlot, leafHead+blocks*leafSlot+8*len(rows))
	var before uint64
	for i := range rows {
		w := &rows[i]
		p := place(w.Dim, w.Key)
		if i > 0 && p <= before {
			return nil, fmt.Errorf("row %d (dim %d, key %d) isn't in order", i, w.Dim, w.Key)
		}
		if max(w.Sources, w.Targets) > math.MaxInt64 {
			return nil, fmt.Errorf("%d distinct sources and %d targets are too many", w.Sources, w.Targets)
		}
		if i%leafBlock == 0 {
			slot := b[leafHead+i/leafBlock*leafSlot:]
			le.PutUint64(slot, p)
			le.PutUint32(slot[8:], uint32(len(b))) //nolint:gosec // checked below
			before = p
		}
		b = binary.AppendUvarint(b, p-before)
		b = binary.AppendUvarint(b, w.Packets)
		b = appendDistinct(b, w.Sources, w.SourcesErr)
		b = appendDistinct(b, w.Targets, w.TargetsErr)
		before = p
		if (i+1)%leafBlock == 0 || i+1 == len(rows) {
			slot := b[leafHead+i/leafBlock*leafSlot:]
			block := b[le.Uint32(slot[8:]):]
			le.PutUint32(slot[12:], uint32(len(block))) //nolint:gosec // checked below
			le.PutUint32(slot[16:], crc32.Checksum(block, castagnoli))
		}
		if len(b) > math.MaxInt32 {
			return nil, fmt.Errorf("%d rows in one minute", len(rows))
		}
	}
	copy(b, leafMagic)
	le.PutUint32(b[8:], uint32(len(rows))) //nolint:gosec // fewer than bytes
	le.PutUint32(b[12:], uint32(blocks))   //nolint:gosec // fewer than rows
	le.PutUint32(b[4:], crc32.Checksum(b[8:leafHead+blocks*leafSlot], castagnoli))
	return b, nil
}

func appendDistinct(b []byte, n uint64, err float32) []byte {
	if err == 0 {
		return binary.AppendUvarint(b, n<<1)
	}
	return binary.LittleEndian.AppendUint32(binary.AppendUvarint(b, n<<1|1), math.Float32bits(err))
}

// leaf is an open one.
type leaf struct {
	name  string
	file  *os.File
	rows  int
	index []byte
}

// usualLeaf is how much of a leaf is read at first: the index of 104,000 rows.
const usualLeaf = 4 << 10

func (l *leaf) damaged(err error) error {
	return errors.Join(fmt.Errorf("the counts in %s are damaged: restore the data folder from a backup, or delete it and import again", l.name), err)
}

// open reads the index.
func (l *leaf) open(d *desk) error {
	b := d.take(usualLeaf)
	n, err := l.file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", l.name, err)
	}
	if n < leafHead || string(b[:len(leafMagic)]) != leafMagic {
		return l.damaged(nil)
	}
	le := binary.LittleEndian
	sum, rows, blocks := le.Uint32(b[4:]), int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))
	if blocks != (rows+leafBlock-1)/leafBlock {
		return l.damaged(nil)
	}
	size := leafHead + blocks*leafSlot
	if size > int64(n) {
		info, err := l.file.Stat()
		if err != nil || info.Size() < size {
			return l.damaged(err)
		}
		b = d.take(int(size))
		if _, err := l.file.ReadAt(b, 0); err != nil {
			return l.damaged(err)
		}
	}
	l.rows, l.index = int(rows), b[leafHead:size]
	if crc32.Checksum(b[8:size], castagnoli) != sum {
		return l.damaged(nil)
	}
	return nil
}

// stretch is the places in [from, to).
type stretch struct{ from, to uint64 }

// stretches are where the rows of a pick are, in order; its keys are in order.
func (p pick) stretches() []stretch {
	if len(p.keys) == 0 {
		return []stretch{{place(p.dim, 0), place(p.dim+1, 0)}}
	}
	out := make([]stretch, len(p.keys))
	for i, k := range p.keys {
		out[i] = stretch{place(p.dim, k), place(p.dim, k) + 1}
	}
	return out
}

// read hands on the rows at some places, those of one block at a time, which are
// good until take returns. Only the blocks in which they may be are looked at.
func (l *leaf) read(of []stretch, d *desk, take func(rows []count)) error {
	le := binary.LittleEndian
	for i := 0; i < len(l.index); i += leafSlot {
		slot, until := l.index[i:], uint64(math.MaxUint64)
		if i+leafSlot < len(l.index) {
			until = le.Uint64(slot[leafSlot:])
		}
		first := le.Uint64(slot)
		for len(of) > 0 && of[0].to <= first {
			of = of[1:]
		}
		if len(of) == 0 {
			break
		}
		if of[0].from >= until {
			continue
		}
		size := int(le.Uint32(slot[12:]))
		if size > leafBlock*leafRow {
			return l.damaged(nil)
		}
		block := d.take(size)
		if _, err := l.file.ReadAt(block, int64(le.Uint32(slot[8:]))); err != nil {
			return l.damaged(err)
		}
		if crc32.Checksum(block, castagnoli) != le.Uint32(slot[16:]) {
			return l.damaged(nil)
		}
		var ok bool
		if d.rows, ok = readBlock(block, first, of, d.rows[:0]); !ok {
			return l.damaged(nil)
		}
		take(d.rows)
	}
	return nil
}

// leafRow is the most bytes that a row takes.
const leafRow = 4*binary.MaxVarintLen64 + 2*4

// count is a row of a leaf, of one dimension: less than half of a Row.
type count struct {
	packets, sources, targets uint64
	sourcesErr, targetsErr    float32
	key                       uint32
}

// readBlock adds the rows of a block at some places, of which there is one, to
// rows; ok is false where the bytes are no rows.
func readBlock(b []byte, first uint64, of []stretch, rows []count) (out []count, ok bool) {
	r := reader{b, true}
	for p := first; len(r.b) > 0; {
		var w count
		if v, ok := r.small(); ok {
			p += uint64(v & 0xff)
			w.packets, w.sources, w.targets = uint64(v>>8&0xff), uint64(v>>17&0x7f), uint64(v>>25)
		} else {
			p += r.number()
			w.packets = r.number()
			w.sources, w.sourcesErr = r.distinct()
			w.targets, w.targetsErr = r.distinct()
			if !r.ok {
				return rows, false
			}
		}
		for of[0].to <= p {
			if of = of[1:]; len(of) == 0 {
				return rows, true
			}
		}
		if p >= of[0].from {
			w.key = uint32(p) //nolint:gosec // the lower half
			rows = append(rows, w)
		}
	}
	return rows, true
}

// reader takes numbers from the front of bytes.
type reader struct {
	b  []byte
	ok bool
}

// small takes a row of which every number is one byte, and no error follows, as of
// most: a byte each.
func (r *reader) small() (row uint32, ok bool) {
	if len(r.b) < 4 {
		return 0, false
	}
	row = binary.LittleEndian.Uint32(r.b)
	if row&0x81818080 != 0 {
		return 0, false
	}
	r.b = r.b[4:]
	return row, true
}

func (r *reader) number() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are that small
		n := uint64(r.b[0])
		r.b = r.b[1:]
		return n
	}
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.b, r.ok = nil, false
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) distinct() (n uint64, err float32) {
	n = r.number()
	if n&1 == 0 {
		return n >> 1, 0
	}
	if len(r.b) < 4 {
		r.b, r.ok = nil, false
		return 0, 0
	}
	err = math.Float32frombits(binary.LittleEndian.Uint32(r.b))
	r.b = r.b[4:]
	return n >> 1, err
}
