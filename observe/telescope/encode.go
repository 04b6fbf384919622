package telescope

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// writer and reader are the plainest of encodings: little-endian numbers in a
// fixed order.
type writer struct{ b []byte }

func (w *writer) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *writer) i64(v int64)  { w.u64(uint64(v)) } //nolint:gosec // the same bits

func (w *writer) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	w.b = append(w.b, b)
}

// any writes fixed-size values; they can't fail to be written.
func (w *writer) any(values ...any) {
	for _, v := range values {
		if b, err := binary.Append(w.b, binary.LittleEndian, v); err == nil {
			w.b = b
		}
	}
}

func (w *writer) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }

func (w *writer) addr(a packet.Addr) {
	w.u64(a.Hi)
	w.u64(a.Lo)
}

// extend makes room for n bytes, which the caller fills.
func (w *writer) extend(n int) []byte {
	l := len(w.b)
	w.b = slices.Grow(w.b, n)[:l+n]
	return w.b[l:]
}

// How many bytes things take as they are written.
const (
	entryBytes, queuedBytes, sampleBytes, sourceBytes = 48, 28, 22, 48
	scanBytes, addrBytes                              = 58, 16
)

// entry writes an event whose source stands at place from among the sources.
func (w *writer) entry(e *entry, a *aside, from uint32) {
	b, le := w.extend(entryBytes), binary.LittleEndian
	le.PutUint32(b, from)
	le.PutUint64(b[4:], uint64(e.last))   //nolint:gosec // the same bits
	le.PutUint64(b[12:], uint64(a.first)) //nolint:gosec // the same bits
	le.PutUint32(b[20:], e.total)
	le.PutUint32(b[24:], e.seen)
	le.PutUint16(b[28:], e.port)
	le.PutUint16(b[30:], e.asks)
	le.PutUint16(b[32:], e.marks)
	b[34], b[35] = e.kind, e.proto
	le.PutUint16(b[36:], e.agreed)
	le.PutUint16(b[38:], e.differ)
	le.PutUint32(b[40:], e.seq)
	le.PutUint32(b[44:], e.dst)
	if e.marks&markQueued == 0 {
		return
	}
	b = w.extend(queuedBytes)
	le.PutUint32(b, a.minute)
	le.PutUint32(b[4:], a.packets)
	le.PutUint64(b[8:], uint64(a.firstIn)) //nolint:gosec // the same bits
	for i, n := range a.bins {
		le.PutUint16(b[16+2*i:], n)
	}
}

func (w *writer) sample(m *sample) {
	b, le := w.extend(sampleBytes), binary.LittleEndian
	le.PutUint32(b, m.dst.V4())
	le.PutUint32(b[4:], m.seq)
	le.PutUint16(b[8:], m.id)
	le.PutUint16(b[10:], m.window)
	le.PutUint16(b[12:], m.srcPort)
	le.PutUint16(b[14:], m.toPort)
	le.PutUint16(b[16:], m.length)
	b[18], b[19], b[20], b[21] = m.ttl, m.flags, m.options, 0
	if !m.dst.Is4() {
		b[21] = 1
		w.addr(m.dst)
	}
}

// targets writes the elements, or the registers of what isn't exact.
func (w *writer) targets(b *blocks, t *targets) {
	w.b = append(w.b, byte(t.form))
	w.bool(t.zero)
	if t.form >= formDense {
		for _, word := range b.at(t.block, t.form) {
			w.u32(word)
		}
		return
	}
	w.u16(t.n)
	out, k := w.extend(4*int(t.n)), 0
	for _, id := range b.elements(t) {
		if k == len(out) {
			break
		}
		binary.LittleEndian.PutUint32(out[k:], id)
		if id != 0 { // an empty place of a table, which can't be foreseen, is written over
			k += 4
		}
	}
}

// source writes what isn't known of a source by its address, after that.
func (w *writer) source(src *source) {
	b, le := w.extend(sourceBytes), binary.LittleEndian
	le.PutUint64(b, src.addr.Hi)
	le.PutUint64(b[8:], src.addr.Lo)
	le.PutUint32(b[16:], src.window)
	le.PutUint32(b[20:], src.minute)
	le.PutUint32(b[24:], src.hour)
	le.PutUint16(b[28:], src.opened)
	b[30], b[31], b[32], b[33] = src.seen[0], src.seen[1], src.hosts, src.marks
	le.PutUint16(b[34:], src.agreed)
	le.PutUint16(b[36:], src.differ)
	le.PutUint32(b[38:], src.seq)
	le.PutUint32(b[42:], src.dst)
	le.PutUint16(b[46:], src.port)
}

func (w *writer) counts(c *counts) {
	w.i64(c.start)
	for d := range c.dims {
		w.cells(&c.dims[d])
	}
}

func (w *writer) cells(c *cells) {
	w.u32(uint32(len(c.keys) - 1)) //nolint:gosec // below 2^32
	c.each(func(key uint32, cell *counter) {
		w.u32(key)
		w.u64(cell.packets)
		w.u64(cell.hosts)
		w.b = cell.sources.AppendRaw(w.b)
		w.b = cell.targets.AppendRaw(w.b)
	})
	w.openly(c.open)
}

// size is how many bytes the cells take at most.
func (c *cells) size() (n int) {
	c.each(func(_ uint32, cell *counter) { n += 20 + cell.sources.RawSize() + cell.targets.RawSize() })
	return n + 4 + c.open.size()
}

func (c *counts) size() (n int) {
	for d := range c.dims {
		n += c.dims[d].size()
	}
	return n + 16
}

func (w *writer) census(c *census) {
	w.b = c.sources.Append(w.b)
	w.cells(&c.ports)
	w.any(c.hits.v4)
	w.b = c.hits.many.Append(w.b)
	w.b = c.hits.v6.Append(w.b)
}

func (w *writer) log(l *log) {
	w.u32(uint32(l.len())) //nolint:gosec // at most pieceRecords
	for _, chunk := range l.all() {
		b := w.extend(recordBytes * len(chunk))
		for i := range chunk {
			binary.LittleEndian.PutUint32(b[recordBytes*i:], chunk[i].who)
			binary.LittleEndian.PutUint32(b[recordBytes*i+4:], chunk[i].what)
			binary.LittleEndian.PutUint32(b[recordBytes*i+8:], chunk[i].place)
		}
	}
}

const recordBytes = 12

func (w *writer) sheet(s *sheet) {
	w.bool(s.spare)
	w.u64(s.again)
	w.log(&s.packets)
	w.log(&s.hosts)
}

// minutes are the large ones of which pieces have been counted.
func (w *writer) minutes(m map[uint32]*minute) {
	w.u32(uint32(len(m))) //nolint:gosec // at most two
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.u64(m[k].again)
		w.counts(m[k].counts)
	}
}

func (w *writer) span(s *span) {
	w.bool(s != nil)
	if s != nil {
		w.i64(s.looked)
		w.counts(s.counts)
	}
}

func (w *writer) answering(m map[packet.Addr]uint64) {
	w.u32(uint32(len(m))) //nolint:gosec // at most maxAnswering
	for _, a := range slices.SortedFunc(maps.Keys(m), packet.Addr.Compare) {
		w.addr(a)
		w.u64(m[a])
	}
}

func (w *writer) dates(d *Dates) {
	w.bool(d.begun)
	w.i64(d.top)
	w.i64(d.back)
	w.u64(uint64(d.n)) //nolint:gosec // a count
	w.any(d.minutes)
	w.u32(uint32(len(d.waiting.Frames))) //nolint:gosec // at most a window
	w.any(d.waiting.Frames)
	w.u32(uint32(len(d.waiting.Buf))) //nolint:gosec // of so many frames
	w.b = append(w.b, d.waiting.Buf...)
}

func (w *writer) fragments(f *fragments) {
	w.bool(f.slots != nil)
	for _, d := range f.slots {
		w.u64(d.key)
		w.i64(d.seen)
	}
}

// events are those that have ended and wait for the end of the minute.
func (w *writer) events(v []observe.Event) {
	w.u32(uint32(len(v))) //nolint:gosec // below 2^32
	for i := range v {
		e := &v[i]
		w.u64(e.ID)
		w.addr(packet.FromNetip(e.Source))
		w.u16(e.Port)
		w.b = append(w.b, e.Proto, byte(e.Kind), byte(e.Tool), byte(e.Flags))
		w.i64(e.First.UnixNano())
		w.i64(e.Last.UnixNano())
		w.u64(e.Packets)
		w.u64(e.Targets.N)
		w.any(e.Targets.Err, e.Coverage, e.Rate)
		w.text(e.Country)
		w.u32(e.ASN)
		w.text(strings.Join(e.Sample, "\n"))
	}
}

func (w *writer) scan(v *scan) {
	w.addr(v.src)
	w.i64(v.first)
	w.i64(v.last)
	w.u64(v.packets)
	w.u64(v.targets)
	w.any(v.err)
	w.u16(v.port)
	w.b = append(w.b, v.proto, byte(v.tool))
	w.bool(v.research)
	w.bool(v.maybeVictim)
}

func (w *writer) text(s string) {
	w.u16(uint16(min(len(s), math.MaxUint16)))
	w.b = append(w.b, s[:min(len(s), math.MaxUint16)]...)
}

func (w *writer) sights(v []observe.Sighting) {
	w.u32(uint32(len(v))) //nolint:gosec // below 2^32
	w.any(v)
}
