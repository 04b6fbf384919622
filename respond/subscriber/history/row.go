// Package history keeps the spans of use of addresses: hundreds of millions on disk,
// a few in memory, and any of them found in microseconds.
//
// New records go to a log, which is synced before they are acknowledged, and into a
// table in memory. A full table becomes a sorted file; small files are merged into
// larger ones behind the scenes. The spans of one use join in any order, so neither
// a crash nor a merge changes an answer.
package history

import (
	"encoding/binary"
	"unsafe"

	"sakimori/respond/subscriber"
)

// row is a span as it lies in files, 88 bytes in the machine's order: files are mapped,
// not read.
type row struct {
	addr, holder       [16]byte
	first, last        int64
	begin, end, until  int64
	session            uint64
	port0, port1       uint16
	source             uint16
	bits, proto, flags uint8
	_                  [7]byte
}

// rowBytes is what a use takes on disk.
const rowBytes = int(unsafe.Sizeof(row{}))

const (
	flagPoint uint8 = 1 << iota
	flagInside
	flagUnnamed
)

func rowOf(s *subscriber.Span) row {
	r := row{
		addr: s.Addr, holder: s.Holder.ID, first: s.First, last: s.Last, begin: s.Begin, end: s.End, until: s.Until,
		session: s.Session, port0: s.Ports.First, port1: s.Ports.Last, source: s.Source, bits: s.Bits, proto: s.Proto,
	}
	if s.Point {
		r.flags |= flagPoint
	}
	if s.Holder.Inside {
		r.flags |= flagInside
	}
	if s.Holder.Unnamed {
		r.flags |= flagUnnamed
	}
	return r
}

func (r *row) span() subscriber.Span {
	return subscriber.Span{
		Use: subscriber.Use{
			Addr: r.addr, Bits: r.bits, Ports: subscriber.Ports{First: r.port0, Last: r.port1}, Proto: r.proto, Point: r.flags&flagPoint != 0,
			Source: r.source, Session: r.session, Holder: subscriber.Holder{ID: r.holder, Inside: r.flags&flagInside != 0, Unnamed: r.flags&flagUnnamed != 0},
		},
		First: r.first, Last: r.last, Begin: r.begin, End: r.end, Until: r.until,
	}
}

// bytesOf is the memory of rows.
func bytesOf(rows []row) []byte {
	if len(rows) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&rows[0])), len(rows)*rowBytes) //nolint:gosec // rows hold no pointers
}

// rowsIn is the same the other way; b must be aligned, and a multiple of rowBytes.
func rowsIn(b []byte) []row {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*row)(unsafe.Pointer(&b[0])), len(b)/rowBytes) //nolint:gosec // rows hold no pointers, any bytes are a row
}

// key orders rows as subscriber.Span.Compare does up to the ports.
type key struct {
	addr  [16]byte
	bits  uint8
	port0 uint16
}

func (r *row) key() key { return key{r.addr, r.bits, r.port0} }

// keyBytes is what a key takes in a file.
const keyBytes = 19

func (k key) append(b []byte) []byte {
	b = append(append(b, k.addr[:]...), k.bits)
	return binary.LittleEndian.AppendUint16(b, k.port0)
}

func keyIn(b []byte) (k key) {
	copy(k.addr[:], b)
	k.bits, k.port0 = b[16], binary.LittleEndian.Uint16(b[17:])
	return k
}

func (k *key) less(o *key) bool {
	for i := range k.addr {
		if k.addr[i] != o.addr[i] {
			return k.addr[i] < o.addr[i]
		}
	}
	if k.bits != o.bits {
		return k.bits < o.bits
	}
	return k.port0 < o.port0
}
