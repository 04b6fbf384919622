package history

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"sakimori/respond/subscriber"
)

// segment is a file of sorted rows, mapped into memory: the kernel keeps what is asked
// for. It begins with a head of its size, and never changes.
type segment struct {
	name  string
	head  segmentHead
	rows  []row
	index []key // of every indexEvery-th row, kept behind the rows: what a search touches of them is one block
	bits  []uint8
	bytes []byte
}

// segmentHead says what is in a segment, and that it is whole.
type segmentHead struct {
	Rows     uint64  `json:"rows"`
	First    int64   `json:"first"`  // earliest sign, Unix nanoseconds
	Last     int64   `json:"last"`   // latest sign or promise
	Widest   uint16  `json:"widest"` // range of ports, their number less one; 0 without any
	Bits     []uint8 `json:"bits"`   // lengths of prefixes
	Sum      uint64  `json:"sum"`    // xxh64 of the rows
	RowBytes int     `json:"row_bytes"`
	Order    uint32  `json:"order"` // the machine's byte order
}

const (
	segmentMagic = "sakimori-history-1\n"
	headBytes    = 4096 // of the file, so that rows lie at a page
	indexEvery   = 64
)

// writeSegment writes rows that come sorted, and syncs the file under its name.
func writeSegment(dir, name string, next func() (*row, bool)) (head segmentHead, err error) {
	tmp := filepath.Join(dir, name+".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return head, fmt.Errorf("write a segment: %w", err)
	}
	defer func() { // after the renaming it is closed already
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(tmp))
		}
	}()
	var index []byte
	head = segmentHead{RowBytes: rowBytes, Order: binary.NativeEndian.Uint32([]byte{1, 2, 3, 4})}
	sum := xxhash.New()
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.Write(make([]byte, headBytes)); err != nil {
		return head, err
	}
	for {
		r, more := next()
		if !more {
			break
		}
		b := bytesOf([]row{*r})
		_, _ = sum.Write(b) // never fails
		if _, err := w.Write(b); err != nil {
			return head, fmt.Errorf("write a segment: %w", err)
		}
		if head.Rows%indexEvery == 0 {
			index = r.key().append(index)
		}
		head.add(r)
	}
	_, _ = sum.Write(index) // as above
	if _, err := w.Write(index); err != nil {
		return head, fmt.Errorf("write a segment: %w", err)
	}
	head.Sum = sum.Sum64()
	if err := w.Flush(); err != nil {
		return head, fmt.Errorf("write a segment: %w", err)
	}
	text, err := json.Marshal(head)
	if err != nil {
		return head, err
	}
	if _, err := f.WriteAt(append([]byte(segmentMagic), text...), 0); err != nil {
		return head, fmt.Errorf("write a segment: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return head, fmt.Errorf("write a segment: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return head, fmt.Errorf("write a segment: %w", err)
	}
	return head, syncDir(dir)
}

func (h *segmentHead) add(r *row) {
	if h.Rows == 0 || r.first < h.First {
		h.First = r.first
	}
	h.Last = max(h.Last, r.last, r.end, r.until)
	if r.port1 != 0 {
		h.Widest = max(h.Widest, r.port1-r.port0)
	}
	if !slices.Contains(h.Bits, r.bits) {
		h.Bits = append(h.Bits, r.bits)
	}
	h.Rows++
}

// openSegment maps a file. With check its rows are read through and compared with their
// sum.
func openSegment(dir, name string, check bool) (*segment, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("open a segment: %w", err)
	}
	defer f.Close()
	var text [headBytes]byte
	if _, err := io.ReadFull(f, text[:]); err != nil || string(text[:len(segmentMagic)]) != segmentMagic {
		return nil, fmt.Errorf("%s is no segment of a history: restore it from a backup", name)
	}
	s := &segment{name: name}
	end := slices.Index(text[:], 0)
	if err := json.Unmarshal(text[len(segmentMagic):max(end, len(segmentMagic))], &s.head); err != nil {
		return nil, fmt.Errorf("%s: its head is damaged: restore it from a backup", name)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open a segment: %w", err)
	}
	size := int(s.head.Rows) * rowBytes                               //nolint:gosec // compared with the file's
	all := size + (int(s.head.Rows)+indexEvery-1)/indexEvery*keyBytes //nolint:gosec // as above
	if s.head.RowBytes != rowBytes || s.head.Order != binary.NativeEndian.Uint32([]byte{1, 2, 3, 4}) || info.Size() != int64(headBytes+all) {
		return nil, fmt.Errorf("%s has %d bytes, or another machine's form: restore it from a backup", name, info.Size())
	}
	if size > 0 {
		s.bytes, err = unix.Mmap(int(f.Fd()), 0, headBytes+all, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
		s.rows = rowsIn(s.bytes[headBytes : headBytes+size])
	}
	if check && size > 0 && xxhash.Sum64(s.bytes[headBytes:]) != s.head.Sum {
		return nil, errors.Join(fmt.Errorf("%s is damaged: restore it from a backup", name), s.close())
	}
	s.bits = s.head.Bits
	if size > 0 {
		for b := s.bytes[headBytes+size:]; len(b) > 0; b = b[keyBytes:] {
			s.index = append(s.index, keyIn(b))
		}
	}
	return s, nil
}

// close unmaps it: nobody may be searching.
func (s *segment) close() error {
	if s.bytes == nil {
		return nil
	}
	b := s.bytes
	s.bytes, s.rows = nil, nil
	return unix.Munmap(b)
}

// find adds the spans to list that an address and a port may belong to. bits is one of
// the lengths of prefixes; addr is masked by it.
func (s *segment) find(list []subscriber.Span, addr [16]byte, bits uint8, port uint16, proto uint8) []subscriber.Span {
	from := key{addr: addr, bits: bits}
	if port > s.head.Widest && port != 0 {
		from.port0 = port - s.head.Widest
	}
	if port != 0 && from.port0 > 0 { // those of the whole address stand before
		list = s.scan(list, key{addr: addr, bits: bits}, 0, port, proto)
	}
	last := port
	if port == 0 {
		last = 1<<16 - 1
	}
	return s.scan(list, from, last, port, proto)
}

// at is the first row that doesn't stand before a key.
func (s *segment) at(k *key) int {
	block := sort.Search(len(s.index), func(i int) bool { return !s.index[i].less(k) })
	i := max(block-1, 0) * indexEvery
	rest := s.rows[i:]
	return i + sort.Search(min(indexEvery, len(rest)), func(n int) bool { o := rest[n].key(); return !o.less(k) })
}

// seek is the first row behind a key.
func (s *segment) seek(k key) int {
	i := s.at(&k)
	for i < len(s.rows) {
		if o := s.rows[i].key(); o != k {
			break
		}
		i++
	}
	return i
}

// scan adds the spans from a key on, up to those whose ports begin at last.
func (s *segment) scan(list []subscriber.Span, from key, last, port uint16, proto uint8) []subscriber.Span {
	i := s.at(&from)
	for ; i < len(s.rows); i++ {
		k := s.rows[i].key()
		if k.addr != from.addr || k.bits != from.bits || k.port0 > last {
			break
		}
		if sp := s.rows[i].span(); sp.Has(port, proto) {
			list = append(list, sp)
		}
	}
	return list
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
