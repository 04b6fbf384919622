package telescope

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sakimori/base/sketch"
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

const entryBytes, queuedBytes, sampleBytes, sourceBytes = 48, 28, 22, 48 // as written

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
		if id != 0 { // an empty place of a table
			binary.LittleEndian.PutUint32(out[k:], id)
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
}

// size is how many bytes the cells take at most.
func (c *cells) size() (n int) {
	c.each(func(_ uint32, cell *counter) { n += 20 + cell.sources.RawSize() + cell.targets.RawSize() })
	return n + 4
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
}

func (w *writer) text(s string) {
	w.u16(uint16(min(len(s), math.MaxUint16)))
	w.b = append(w.b, s[:min(len(s), math.MaxUint16)]...)
}

func (w *writer) sights(v []observe.Sighting) {
	w.u32(uint32(len(v))) //nolint:gosec // below 2^32
	w.any(v)
}

type reader struct {
	ases *register // for the counts that are read
	b    []byte
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = errors.New(what)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail("it ends too early")
		return make([]byte, min(n, 8))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) i64() int64  { return int64(r.u64()) } //nolint:gosec // the same bits
func (r *reader) bool() bool  { return r.take(1)[0] != 0 }

func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }

func (r *reader) addr() packet.Addr { return packet.Addr{Hi: r.u64(), Lo: r.u64()} }

// entry reads an event and the place of its source among the sources.
func (r *reader) entry() (e entry, a aside, from uint32) {
	from = r.u32()
	e.last, a.first, e.total, e.seen = r.i64(), r.i64(), r.u32(), r.u32()
	e.port, e.asks, e.marks = r.u16(), r.u16(), r.u16()
	e.kind, e.proto = r.u8(), r.u8()
	e.agreed, e.differ, e.seq, e.dst = r.u16(), r.u16(), r.u32(), r.u32()
	if e.marks&markQueued != 0 {
		a.minute, a.packets, a.firstIn = r.u32(), r.u32(), r.i64()
		for i := range a.bins {
			a.bins[i] = r.u16()
		}
	}
	return e, a, from
}

func (r *reader) sample() sample {
	m := sample{
		dst: packet.V4(r.u32()), seq: r.u32(), id: r.u16(), window: r.u16(), srcPort: r.u16(), toPort: r.u16(), length: r.u16(),
		ttl: r.u8(), flags: r.u8(), options: r.u8(),
	}
	if r.bool() {
		m.dst = r.addr()
	}
	return m
}

// targets reads targets into the blocks of the shard that they go to.
func (r *reader) targets(b *blocks) (t targets) {
	f, zero := form(r.u8()), r.bool()
	if r.err != nil || f >= forms {
		r.fail("targets of an unknown form")
		return t
	}
	if t = (targets{form: f, zero: zero}); f != formNear {
		t.block = b.take(f)
	}
	if f >= formDense {
		for i, at := 0, b.at(t.block, f); i < len(at); i++ {
			at[i] = r.u32()
		}
		return t
	}
	n := r.u16()
	if n > most[f] {
		r.fail("more targets than their form holds")
		return t
	}
	for range n {
		if id := r.u32(); id != 0 {
			b.insert(&t, id)
		}
	}
	return t
}

func (r *reader) any(values ...any) {
	for _, v := range values {
		n, err := binary.Decode(r.b, binary.LittleEndian, v)
		if err != nil {
			r.fail("it ends too early")
			return
		}
		r.b = r.b[n:]
	}
}

func (r *reader) set() *sketch.Set {
	if r.err != nil {
		return &sketch.Set{}
	}
	s, rest, err := sketch.Read(r.b)
	if err != nil {
		r.fail(err.Error())
		return &sketch.Set{}
	}
	r.b = rest
	return s
}

func (r *reader) source() source {
	return source{
		addr: r.addr(), window: r.u32(), minute: r.u32(), hour: r.u32(), opened: r.u16(),
		seen: [2]uint8{r.u8(), r.u8()}, hosts: r.u8(), marks: r.u8(),
		evidence: evidence{agreed: r.u16(), differ: r.u16(), seq: r.u32(), dst: r.u32()}, port: r.u16(),
	}
}

func (r *reader) raw(s *sketch.Set, f sketch.Form) {
	if r.err != nil {
		return
	}
	rest, err := s.ReadRaw(f, r.b)
	if err != nil {
		r.fail(err.Error())
		return
	}
	r.b = rest
}

func (r *reader) counts() *counts {
	c := newCounts(r.i64(), r.ases)
	for d := range c.dims {
		r.cells(&c.dims[d])
	}
	return c
}

func (r *reader) cells(c *cells) {
	ases := uint32(len(r.ases.list())) //nolint:gosec // below 2^22
	for range r.u32() {
		key := r.u32()
		if r.err != nil || !c.has(key, ases) {
			r.fail("the counts have an unknown key")
			return
		}
		cell := c.at(key)
		cell.packets, cell.hosts = r.u64(), r.u64()
		r.raw(&cell.sources, c.form(key))
		r.raw(&cell.targets, c.form(key))
	}
}

// census reads one of a telescope with so many dark addresses.
func (r *reader) census(v4 uint64) *census {
	c := newCensus(v4)
	c.sources = *r.set()
	r.cells(&c.ports)
	r.any(&c.hits.v4)
	c.hits.many, c.hits.v6 = *r.set(), *r.set()
	return c
}

// register reads the ASes by number, before anything that names one so.
func (r *reader) register() {
	n := r.u32()
	if n == 0 || n > maxASes || uint64(len(r.b)) < 4*uint64(n) {
		r.fail("it has no ASes, or too many")
		return
	}
	asns := make([]uint32, n)
	for i := range asns {
		asns[i] = r.u32()
	}
	r.ases.restore(asns)
}

// minutes reads the large minutes that aren't over; top is the newest one.
func (r *reader) minutes(top uint32) map[uint32]*minute {
	m := map[uint32]*minute{}
	for range r.u32() {
		again := r.u64()
		c := r.counts()
		k := uint32(c.start / 60) //nolint:gosec // checked below
		if r.err != nil || c.start != int64(k)*60 || k != top && k+1 != top {
			r.fail("counts of a minute that isn't open")
			return m
		}
		m[k] = &minute{part: part{minute: k, again: again}, counts: c}
	}
	return m
}

// has tells whether there may be a cell with this key, among so many ASes.
func (c *cells) has(key, ases uint32) bool {
	switch c.dim {
	case observe.ByClass:
		return key < uint32(observe.Classes)
	case observe.ByProtocol:
		return key < 256
	case observe.ByCountry:
		return key < countries
	case observe.ByPort:
		return key < 1<<24
	case observe.ByAS:
		return key < ases
	}
	return false
}

// log reads records of a telescope with so many dark addresses.
func (r *reader) log(to *log, from *shelf, dark uint64) {
	n, ases := r.u32(), uint32(len(r.ases.list())) //nolint:gosec // below 2^22
	for range n {
		v := record{r.u32(), r.u32(), r.u32()}
		if r.err != nil {
			return
		}
		if v.what&far == 0 && uint64(v.who) >= dark || v.as() >= ases || v.country() >= countries {
			r.fail("a record of an unknown address, country or AS")
			return
		}
		to.add(v, from)
	}
}

// span reads an hour or a day, of so many seconds.
func (r *reader) span(seconds int64) *span {
	if !r.bool() {
		return nil
	}
	looked := r.i64()
	s := &span{r.counts(), looked}
	if s.start < 0 || s.start > maxTime/1_000_000_000 || s.start%seconds != 0 || looked < 0 || looked > seconds {
		r.fail("an hour or a day that is none")
		return nil
	}
	return s
}

func (r *reader) answering() map[packet.Addr]uint64 {
	n := r.u32()
	if n > maxAnswering {
		r.fail("too many dark addresses that answer")
		return nil
	}
	m := map[packet.Addr]uint64{}
	for range n {
		a, packets := r.addr(), r.u64()
		if r.err != nil {
			break
		}
		m[a] = packets
	}
	return m
}

func (r *reader) fragments() []datagram {
	if !r.bool() {
		return nil
	}
	slots := make([]datagram, fragmentSlots)
	for i := range slots {
		slots[i] = datagram{r.u64(), r.i64()}
	}
	return slots
}

func (r *reader) events() (v []observe.Event) {
	for range r.u32() {
		e := observe.Event{
			ID: r.u64(), Source: r.addr().Netip(), Port: r.u16(),
			Proto: r.u8(), Kind: observe.Kind(r.u8()), Tool: observe.Tool(r.u8()), Flags: observe.Flags(r.u8()),
			First: r.time(), Last: r.time(), Packets: r.u64(), Targets: observe.Unique{N: r.u64()},
		}
		r.any(&e.Targets.Err, &e.Coverage, &e.Rate)
		e.Country, e.ASN, e.Sample = r.text(), r.u32(), strings.Split(r.text(), "\n")
		if r.err == nil && int(e.Kind) >= observe.Kinds {
			r.fail("an event of an unknown kind")
		}
		if r.err != nil {
			return nil
		}
		v = append(v, e)
	}
	return v
}

func (r *reader) scan() scan {
	v := scan{src: r.addr(), first: r.i64(), last: r.i64(), packets: r.u64(), targets: r.u64()}
	r.any(&v.err)
	v.port, v.proto, v.tool, v.research = r.u16(), r.u8(), observe.Tool(r.u8()), r.bool()
	return v
}

func (r *reader) time() time.Time { return time.Unix(0, r.i64()).UTC() }

func (r *reader) text() string {
	n := int(r.u16())
	if len(r.b) < n {
		r.fail("it ends too early")
		return ""
	}
	return string(r.take(n))
}

func (r *reader) sights() []observe.Sighting {
	n := r.u32()
	size := uint32(binary.Size(observe.Sighting{})) //nolint:gosec // about a hundred
	if uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.fail("it ends too early")
		return nil
	}
	v := make([]observe.Sighting, n)
	r.any(v)
	for i := range v {
		if int(v[i].Kind) >= observe.Kinds {
			r.fail("a sighting of an unknown kind")
			return nil
		}
	}
	return v
}
