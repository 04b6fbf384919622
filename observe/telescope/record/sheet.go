package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sort"

	"sakimori/observe"
)

// A sheet is the file of a bucket's sketches. In a table one sketch would cost a
// read of the 2,048 rows around it; here it is one read of itself. The form, all
// numbers little-endian:
//
//	magic "SKS1"; number of lines; CRC-32C of the lines
//	lines in order of dim and key: dim (4 bytes), key, a slot for each side
//	sketches
//
// A slot is the number of distinct things (8 bytes), and offset, size and
// CRC-32C of the sketch.
const (
	sheetMagic = "SKS1"
	sheetHead  = 12
	sheetSlot  = 20
	sheetLine  = 8 + 2*sheetSlot
	absent     = math.MaxUint32 // size of a sketch that isn't there
)

// side is one of the two things that are counted in a bucket.
type side int

const (
	sources side = iota
	targets
)

func (s side) slot(line []byte) []byte { return line[8+sheetSlot*int(s):][:sheetSlot] }

func (s side) in(line []byte) bool { return binary.LittleEndian.Uint32(s.slot(line)[12:]) != absent }

func (s side) set(w *Row) ([]byte, uint64) {
	if s == sources {
		return w.SourceSet, w.Sources
	}
	return w.TargetSet, w.Targets
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sheetOf is the sheet of rows in order of dim and key; nil when none of them
// has a sketch.
func sheetOf(rows []Row) ([]byte, error) {
	n, size := 0, 0
	for i := range rows {
		if w := &rows[i]; w.SourceSet != nil || w.TargetSet != nil {
			n++
			size += sheetLine + len(w.SourceSet) + len(w.TargetSet)
		}
	}
	if n == 0 {
		return nil, nil
	}
	if size >= absent-sheetHead {
		return nil, fmt.Errorf("%d bytes of sketches in one bucket", size)
	}
	le := binary.LittleEndian
	b := make([]byte, sheetHead+n*sheetLine, sheetHead+size)
	line := b[sheetHead:]
	for i := range rows {
		w := &rows[i]
		if w.SourceSet == nil && w.TargetSet == nil {
			continue
		}
		le.PutUint32(line, uint32(w.Dim))
		le.PutUint32(line[4:], w.Key)
		for _, s := range []side{sources, targets} {
			set, number := s.set(w)
			slot := s.slot(line)
			if set == nil {
				le.PutUint32(slot[12:], absent)
				continue
			}
			le.PutUint64(slot, number)
			le.PutUint32(slot[8:], uint32(len(b)))    //nolint:gosec // checked above
			le.PutUint32(slot[12:], uint32(len(set))) //nolint:gosec // checked above
			le.PutUint32(slot[16:], crc32.Checksum(set, castagnoli))
			b = append(b, set...)
		}
		line = line[sheetLine:]
	}
	copy(b, sheetMagic)
	le.PutUint32(b[4:], uint32(n))
	le.PutUint32(b[8:], crc32.Checksum(b[sheetHead:][:n*sheetLine], castagnoli))
	return b, nil
}

// sheet is an open one.
type sheet struct {
	start int64
	name  string
	file  *os.File
	lines []byte
}

// usualSheet is how much of a sheet is read at first: the lines of 1,365 keys.
const usualSheet = 64 << 10

func (s *sheet) damaged(err error) error {
	return errors.Join(fmt.Errorf("the sketches in %s are damaged: restore the data folder from a backup, or delete it and import again", s.name), err)
}

// open reads the lines.
func (s *sheet) open() error {
	b := make([]byte, usualSheet)
	n, err := s.file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", s.name, err)
	}
	if n < sheetHead || string(b[:len(sheetMagic)]) != sheetMagic {
		return s.damaged(nil)
	}
	size := sheetHead + sheetLine*int64(binary.LittleEndian.Uint32(b[4:]))
	if size > int64(n) {
		info, err := s.file.Stat()
		if err != nil || info.Size() < size {
			return s.damaged(err)
		}
		b = append(b[:n], make([]byte, size-int64(n))...)
		if _, err := s.file.ReadAt(b[n:], int64(n)); err != nil {
			return s.damaged(err)
		}
	}
	s.lines = b[sheetHead:size]
	if crc32.Checksum(s.lines, castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return s.damaged(nil)
	}
	return nil
}

// len is the number of lines, line one of them.
func (s *sheet) len() int { return len(s.lines) / sheetLine }

func (s *sheet) line(i int) []byte { return s.lines[i*sheetLine:][:sheetLine] }

// place is a dimension and a key as one number.
func place(dim observe.Dim, key uint32) uint64 { return uint64(dim)<<32 | uint64(key) }

func placeOf(line []byte) uint64 {
	return place(observe.Dim(line[0]), binary.LittleEndian.Uint32(line[4:]))
}

// find is the line of a key, nil when it has no sketch here.
func (s *sheet) find(dim observe.Dim, key uint32) []byte {
	want := place(dim, key)
	i := sort.Search(s.len(), func(i int) bool { return placeOf(s.line(i)) >= want })
	if i == s.len() || placeOf(s.line(i)) != want {
		return nil
	}
	return s.line(i)
}

// read loads the sketch of one side of a line, where it has one, into memory
// from take.
func (s *sheet) read(line []byte, of side, take func(n int) []byte) (set []byte, number uint64, err error) {
	le, slot := binary.LittleEndian, of.slot(line)
	set = take(int(le.Uint32(slot[12:])))
	if _, err := s.file.ReadAt(set, int64(le.Uint32(slot[8:]))); err != nil {
		return nil, 0, s.damaged(err)
	}
	if crc32.Checksum(set, castagnoli) != le.Uint32(slot[16:]) {
		return nil, 0, s.damaged(nil)
	}
	return set, le.Uint64(slot), nil
}
